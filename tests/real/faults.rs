//! Simulated nodes and an operator that is killed, paused and overtaken while work streams in.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::api::{Api, Checks, NAMESPACES, NODES, POOLS, pause, pods, workloads};
use super::auditor::{Auditor, name_of, pods_by_member};
use super::cluster::Cluster;
use super::operator::{Account, NAMESPACE, Operator};

const NODE_COUNT: usize = 8;
const NODE_CPUS: i64 = 4;

/// Numbers that look random and are the same in each run (xorshift).
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

struct Bench {
    api: Api,
    cluster: Cluster,
    checks: Checks,
    dice: Dice,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_admitted_twice_or_lost_whatever_becomes_of_the_operator() {
    let mut bench = begin().await;
    let first = Account::create(&bench.cluster, &bench.api, "weir-a").await;
    let second = Account::create(&bench.cluster, &bench.api, "weir-b").await;
    let operator = bench.killed_over_and_over(&first).await;
    bench.quiet().await;
    bench.deleted(&operator).await;
    bench.paused_and_overtaken(operator, &first, &second).await;
}

async fn begin() -> Bench {
    let mut checks = Checks::begin("faults");
    let cluster = Cluster::up(&["--no-nodes", "--audit"]);
    let api = Api::new(&cluster.kubeconfig()).await;
    for number in 0..NODE_COUNT {
        let offers = json!({"cpu": NODE_CPUS.to_string(), "memory": "16Gi", "pods": "110"});
        let node = json!({
            "metadata": {"name": format!("node-{number}"), "labels": {"kind": "small"},
                         "annotations": {"kwok.x-k8s.io/node": "fake"}},
            "status": {"capacity": offers, "allocatable": offers},
        });
        api.post(NODES, node).await;
    }
    // Less than the nodes have, and less for one of the children: each of the three bounds is met.
    for pool in [
        json!({"metadata": {"name": "all"}, "spec": {
            "nodes": {"selector": {"matchLabels": {"kind": "small"}}},
            "resources": [{"name": "cpu", "limit": "26"}, {"name": "memory"}]}}),
        json!({"metadata": {"name": "left"}, "spec": {
            "parent": "all", "resources": [{"name": "cpu", "limit": "10"}], "access": {"namespaces": {}}}}),
        json!({"metadata": {"name": "right"}, "spec": {"parent": "all", "access": {"namespaces": {}}}}),
    ] {
        let mut pool = pool;
        pool["apiVersion"] = json!("weir.dev/v1alpha1");
        pool["kind"] = json!("ResourcePool");
        api.post(POOLS, pool).await;
    }
    let ready = |nodes: &[Value]| {
        nodes.len() == NODE_COUNT && nodes.iter().all(|node| node["spec"]["taints"].is_null())
    };
    api.until_list(NODES, 60, ready).await;
    checks.ok("a control plane with eight nodes is up");
    Bench { api, cluster, checks, dice: Dice(0x5eed_1234_5678_9abc) }
}

/// A workload whose members run for a while and end well; `None` where they run on.
fn workload(name: &str, pool: &str, replicas: u64, cpus: u64, run_for: Option<u64>) -> Value {
    let annotations =
        run_for.map_or(json!({}), |millis| json!({"sim.weir.dev/run-for": format!("{millis}ms")}));
    json!({
        "apiVersion": "weir.dev/v1alpha1", "kind": "PooledWorkload", "metadata": {"name": name},
        "spec": {"pool": pool, "replicas": replicas, "template": {"pod": {
            "metadata": {"annotations": annotations},
            "spec": {"containers": [{"name": "main", "image": "x", "resources": {
                "requests": {"cpu": cpus.to_string(), "memory": "64Mi"}}}]},
        }}},
    })
}

/// Work that streams into a namespace: members by name of the workload.
struct Stream {
    namespace: &'static str,
    replicas: BTreeMap<String, u64>,
}

impl Bench {
    /// Submits work from a task of its own, evenly over some seconds.
    async fn stream(&mut self, namespace: &'static str, count: usize, over: Duration) -> Stream {
        self.api.namespace(namespace).await;
        let mut replicas = BTreeMap::new();
        let mut all = Vec::new();
        for number in 0..count {
            let name = format!("w-{number:03}");
            let pool = if self.dice.below(3) == 0 { "left" } else { "right" };
            let members = 1 + self.dice.below(2);
            let millis = 200 + self.dice.below(1300);
            all.push(workload(&name, pool, members, 1 + self.dice.below(3), Some(millis)));
            replicas.insert(name, members);
        }
        let api = self.api.clone();
        tokio::spawn(async move {
            for workload in all {
                api.post(&workloads(namespace), workload).await;
                tokio::time::sleep(over / u32::try_from(count).unwrap()).await;
            }
        });
        Stream { namespace, replicas }
    }

    /// Every workload must come to its end, and each of its members by one pod.
    async fn all_done_once(&self, stream: &Stream, auditor: &Auditor, seconds: u64) {
        let done = |all: &[Value]| {
            all.len() == stream.replicas.len() && all.iter().all(|one| one["status"]["phase"] == "Succeeded")
        };
        let found = self.api.until_list(&workloads(stream.namespace), seconds, done).await;
        for workload in found {
            let members = stream.replicas[&name_of(&workload)];
            assert_eq!(workload["status"]["members"]["succeeded"], members, "{:#}", workload["status"]);
            assert_eq!(workload["status"]["members"]["failed"], 0, "{:#}", workload["status"]);
        }
        // What the auditor has not been shown yet comes within a moment.
        pause(500).await;
        auditor.assert_sound();
        let ever = pods_by_member(&auditor.versions(stream.namespace));
        for (name, members) in &stream.replicas {
            for index in 0..*members {
                let pods = ever.get(&(name.clone(), index.to_string())).map_or(0, BTreeSet::len);
                assert_eq!(pods, 1, "index {index} of {name} had {pods} pods");
            }
        }
        assert_eq!(ever.len() as u64, stream.replicas.values().sum::<u64>());
        assert!(auditor.live().is_empty(), "{:?} still live", auditor.live());
        // The test is worth something only where the bounds were met.
        assert_eq!(auditor.peak_of_pool("left"), 10_000, "the limit of a child was never met");
        let peak = auditor.peak_of_pool("all");
        assert!(peak >= 25_000, "the limit of the root was never met: {peak}");
        assert!(auditor.full_nodes() >= NODE_COUNT / 2, "only {} nodes were ever full", auditor.full_nodes());
    }

    async fn killed_over_and_over(&mut self, account: &Account) -> Operator {
        let auditor = Auditor::begin(&self.api).await;
        let mut operator = account.start(&[]);
        let stream = self.stream("stream", 200, Duration::from_secs(30)).await;
        let began = Instant::now();
        let mut kills = 0;
        // A successor waits four seconds for the Lease; some are killed before they lead, most while they do.
        while began.elapsed() < Duration::from_secs(35) {
            pause(2000 + self.dice.below(5000)).await;
            operator.kill();
            operator = account.start(&[]);
            kills += 1;
        }
        self.all_done_once(&stream, &auditor, 150).await;
        let told = format!(
            "200 workloads done once each over {kills} times kill -9, {} pod events",
            auditor.looked()
        );
        self.checks.ok(&told);
        operator
    }

    /// Nothing is written while nothing happens, and nothing is left in the ledgers.
    async fn quiet(&mut self) {
        let path = format!("/api/v1/namespaces/{NAMESPACE}/configmaps?labelSelector=weir.dev%2Fledger");
        let empty = |maps: &[Value]| {
            maps.len() == 1
                && maps.iter().all(|map| {
                    let entries: Value =
                        serde_json::from_str(map["data"]["entries"].as_str().unwrap()).unwrap();
                    entries["a"].as_array().is_some_and(Vec::is_empty)
                })
        };
        self.api.until_list(&path, 20, empty).await;
        pause(2000).await;
        let before = self.written().len();
        pause(20_000).await;
        let written: Vec<String> = self.written().split_off(before).iter().map(Write::to_string).collect();
        let ours: Vec<_> = written.iter().filter(|line| line.contains("weir-")).collect();
        let leases = ours.iter().filter(|line| line.contains(" leases/weir ")).count();
        assert!(leases >= 8, "the audit log does not show the Lease: {leases} of {}", written.len());
        let others: Vec<_> = ours.iter().filter(|line| !line.contains(" leases/weir ")).collect();
        assert!(others.is_empty(), "written while nothing happens: {others:#?}");
        self.checks.ok("the ledger is empty, and nothing is written for 20 s but the Lease");
    }

    /// All writes so far.
    fn written(&self) -> Vec<Write> {
        let text = std::fs::read_to_string(self.cluster.path("AUDIT_LOG")).unwrap();
        text.lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .map(|line: Value| Write::of(&line))
            .collect()
    }

    async fn deleted(&mut self, operator: &Operator) {
        let auditor = Auditor::begin(&self.api).await;
        self.deleted_namespace().await;
        self.deleted_while_it_starts().await;
        self.deleted_pool().await;
        pause(500).await;
        auditor.assert_sound();
        assert!(auditor.live().is_empty(), "{:?} still live", auditor.live());
        assert!(!operator.log().contains("panicked"));
    }

    /// A namespace is deleted while its workloads wait, start and run.
    async fn deleted_namespace(&mut self) {
        self.api.namespace("doomed").await;
        for number in 0..20 {
            let mut made = workload(&format!("w-{number}"), "left", 2, 1, None);
            let annotations = &mut made["spec"]["template"]["pod"]["metadata"]["annotations"];
            annotations["sim.weir.dev/start-after"] = json!("1s");
            annotations["sim.weir.dev/terminate-after"] = json!("1s");
            self.api.post(&workloads("doomed"), made).await;
        }
        let some = |pods: &[Value]| pods.len() >= 5;
        self.api.until_list(&pods("doomed"), 20, some).await;
        self.api.delete(&format!("{NAMESPACES}/doomed")).await;
        self.api.until_gone(&format!("{NAMESPACES}/doomed"), 60).await;
        self.api.until(&format!("{POOLS}/left"), 20, idle).await;
        self.checks.ok("a namespace goes with all its workloads, and the pool has everything back");
    }

    /// Workloads that are deleted at once, or a moment after they were made.
    async fn deleted_while_it_starts(&mut self) {
        self.api.namespace("brief").await;
        for number in 0..20 {
            let name = format!("w-{number}");
            let made = workload(&name, "right", 3, 1, None);
            self.api.post(&workloads("brief"), made).await;
            pause(self.dice.below(60)).await;
            self.api.delete(&format!("{}/{name}", workloads("brief"))).await;
        }
        self.api.until_list(&workloads("brief"), 20, <[Value]>::is_empty).await;
        self.api.until_list(&pods("brief"), 30, <[Value]>::is_empty).await;
        self.api.until(&format!("{POOLS}/right"), 20, idle).await;
        self.checks.ok("workloads that are deleted while they start leave nothing behind");
    }

    /// A pool that is deleted in use stays until it is empty.
    async fn deleted_pool(&mut self) {
        let pool = json!({"apiVersion": "weir.dev/v1alpha1", "kind": "ResourcePool", "metadata": {"name": "spare"},
                          "spec": {"parent": "all", "access": {"namespaces": {}}}});
        self.api.post(POOLS, pool).await;
        let all = workloads("brief");
        self.api.post(&all, workload("stays", "spare", 2, 1, None)).await;
        self.api.until_phase("brief", "stays", "Running", 20).await;
        let path = format!("{POOLS}/spare");
        self.api.until(&path, 10, |pool| !pool["metadata"]["finalizers"].is_null()).await;
        self.api.delete(&path).await;
        // Pools and workloads are watched apart: one that comes in the same instant may be seen first.
        pause(1000).await;
        self.api.post(&all, workload("late", "spare", 1, 1, None)).await;
        pause(2000).await;
        let late = self.api.get(&format!("{all}/late")).await.unwrap();
        assert_eq!(late["status"]["phase"], "Queued", "{:#}", late["status"]);
        let stays = self.api.get(&format!("{all}/stays")).await.unwrap();
        assert_eq!(stays["status"]["phase"], "Running", "{:#}", stays["status"]);
        assert!(self.api.get(&path).await.is_some(), "the pool is gone while it is in use");
        self.api.delete(&format!("{all}/stays")).await;
        self.api.until_gone(&path, 20).await;
        self.api.delete(&format!("{all}/late")).await;
        self.api.until_gone(&format!("{all}/late"), 20).await;
        self.checks.ok("a pool that is deleted in use takes nothing new, and goes when it is empty");
    }

    /// The leader is paused for three times its Lease; another leads meanwhile, and the first one writes nothing
    /// when it wakes.
    async fn paused_and_overtaken(&mut self, mut leader: Operator, first: &Account, second: &Account) {
        let auditor = Auditor::begin(&self.api).await;
        let mut standby = second.start(&[]);
        let stream = self.stream("race", 120, Duration::from_secs(12)).await;
        pause(2500).await;
        standby.assert_alive();
        let before = self.written();
        let wrote_before = before.iter().filter(|one| one.admits()).all(|one| one.user == first.user());
        assert!(wrote_before, "one that stands by writes");
        leader.signal("-STOP");
        let paused = Instant::now();
        let lease = format!("/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases/weir");
        let holder = |lease: &Value| lease["spec"]["holderIdentity"].as_str().unwrap_or_default().to_owned();
        self.api.until(&lease, 15, |lease| holder(lease).starts_with(second.name)).await;
        let taken = paused.elapsed();
        // Four seconds after the last renewal that it saw, and what a busy machine adds.
        assert!(taken < Duration::from_secs(8), "it took over after {taken:?}");
        self.checks.ok(&format!("a paused leader is replaced within {:.1} s", taken.as_secs_f64()));
        tokio::time::sleep(Duration::from_secs(12).saturating_sub(paused.elapsed())).await;
        let overtaken = self.written().len();
        leader.signal("-CONT");
        pause(3000).await;
        leader.assert_alive();
        standby.assert_alive();
        let later = self.written().split_off(overtaken);
        let by_second = later.iter().filter(|one| one.user == second.user() && one.admits()).count();
        assert!(by_second > 10, "the second one admitted nothing meanwhile ({by_second} writes)");
        // What was on its way to the socket when it was stopped may arrive still: an event tells what it had done before.
        let is_of_first = |one: &&Write| one.user == first.user() && !one.is_lease() && !one.is_event();
        let by_first: Vec<_> = later.iter().filter(is_of_first).collect();
        let told: Vec<String> = by_first.iter().map(ToString::to_string).collect();
        assert!(told.is_empty(), "the old leader writes after it was overtaken: {told:#?}");
        self.checks.ok("a leader that wakes after another took over writes nothing and stands by");

        standby.stop();
        self.all_done_once(&stream, &auditor, 120).await;
        let last = self.written().into_iter().rev().find(|one| one.is_ledger() && one.done).unwrap();
        assert_eq!(last.user, first.user(), "the first one leads again");
        self.checks.ok(
            "when the second one is told to end, the first one leads again; 120 workloads are done once each",
        );
        leader.stop();
    }
}

fn idle(pool: &Value) -> bool {
    let all = pool["status"]["resources"].as_array();
    all.into_iter().flatten().all(|one| one["allocated"] == "0")
        && pool["status"]["workloads"]["running"] == 0
}

/// A line of the audit log.
struct Write {
    user: String,
    verb: String,
    resource: String,
    name: String,
    code: u64,
    done: bool,
}

impl Write {
    fn of(line: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let object = &line["objectRef"];
        let code = line["responseStatus"]["code"].as_u64().unwrap_or(0);
        let sub = object["subresource"].as_str().map(|sub| format!(".{sub}")).unwrap_or_default();
        Self {
            user: text(&line["user"]["username"]),
            verb: text(&line["verb"]),
            resource: format!("{}{sub}", text(&object["resource"])),
            name: text(&object["name"]),
            code,
            done: (200..300).contains(&code),
        }
    }

    fn is_lease(&self) -> bool {
        self.resource == "leases"
    }

    fn is_event(&self) -> bool {
        self.resource == "events"
    }

    fn is_ledger(&self) -> bool {
        self.resource == "configmaps" && self.name.starts_with("weir-ledger-")
    }

    /// A ledger or a pod, by an operator.
    fn admits(&self) -> bool {
        self.user.contains(":weir-") && (self.is_ledger() || self.resource == "pods")
    }
}

impl std::fmt::Display for Write {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { user, verb, resource, name, code, done: _ } = self;
        write!(formatter, "{user}: {verb} {resource}/{name} {code}")
    }
}
