//! Two replicas: the other takes over within the time of the Lease when the leader is killed, at once when it is told to
//! end, and no two of them ever admit at once.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::api::{Api, Checks, POOLS, pause, workloads};
use super::auditor::Auditor;
use super::cluster::Cluster;
use super::operator::{Account, NAMESPACE, Operator};

const WORK: &str = "work";
/// As `Account::start` has it.
const LEASE: Duration = Duration::from_secs(4);
/// What a busy machine adds.
const SLACK: Duration = Duration::from_secs(3);
const COUNT: usize = 120;

struct Bench {
    api: Api,
    cluster: Cluster,
    checks: Checks,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_other_replica_takes_over_and_no_two_admit_at_once() {
    let checks = Checks::begin("takeover");
    let cluster = Cluster::up(&["--no-nodes", "--audit"]);
    let api = Api::new(&cluster.kubeconfig()).await;
    let mut bench = Bench { api, cluster, checks };
    bench.furnish().await;
    let accounts = [
        Account::create(&bench.cluster, &bench.api, "weir-a").await,
        Account::create(&bench.cluster, &bench.api, "weir-b").await,
    ];
    let auditor = Auditor::begin(&bench.api).await;
    let [first, second] = &accounts;
    let leader = first.start(&[]);
    bench.until_holder(first.name, Duration::from_secs(20)).await;
    let standby = second.start(&[]);
    bench.stream();
    pause(2000).await;

    let began = Instant::now();
    leader.kill();
    let took = bench.until_holder(second.name, LEASE + SLACK).await;
    bench
        .checks
        .ok(&format!("killed: the other leads after {:.1} s; the Lease lasts 4 s", took.as_secs_f64()));
    bench.until_admits(second, began).await;
    let leader = standby;
    let standby = first.start(&[]);
    pause(3000).await;

    let began = Instant::now();
    let stopping = tokio::task::spawn_blocking(move || leader.stop());
    let took = bench.until_holder(first.name, LEASE).await;
    assert!(took < Duration::from_millis(2500), "told to end, it keeps the lead for {took:?}");
    stopping.await.unwrap();
    let ended = began.elapsed();
    bench.checks.ok(&format!(
        "told to end: the other leads after {:.1} s, and the first has ended after {:.1} s",
        took.as_secs_f64(),
        ended.as_secs_f64()
    ));
    bench.until_admits(first, began).await;
    bench.all_done(&auditor).await;
    bench.never_two(3);
    bench.finishes_what_is_in_flight(standby, second).await;
}

impl Bench {
    async fn furnish(&mut self) {
        self.api.small_nodes(6).await;
        let pool = json!({
            "apiVersion": "weir.dev/v1alpha1", "kind": "ResourcePool", "metadata": {"name": "all"},
            "spec": {"nodes": {"selector": {"matchLabels": {"kind": "small"}}}, "access": {"namespaces": {}},
                     "resources": [{"name": "cpu", "limit": "20"}, {"name": "memory"}]},
        });
        self.api.post(POOLS, pool).await;
        self.api.namespace(WORK).await;
    }

    /// Work comes for half a minute, whoever leads.
    fn stream(&self) {
        let api = self.api.clone();
        tokio::spawn(async move {
            for number in 0..COUNT {
                let made = json!({
                    "apiVersion": "weir.dev/v1alpha1", "kind": "PooledWorkload",
                    "metadata": {"name": format!("w-{number:03}")},
                    "spec": {"pool": "all", "template": {"pod": {
                        "metadata": {"annotations": {"sim.weir.dev/run-for": "800ms"}},
                        "spec": {"containers": [{"name": "main", "image": "x", "resources": {
                            "requests": {"cpu": "1", "memory": "64Mi"}}}]}}}},
                });
                api.post(&workloads(WORK), made).await;
                pause(200).await;
            }
        });
    }

    /// How long it takes until that one holds the Lease.
    async fn until_holder(&self, name: &str, most: Duration) -> Duration {
        let began = Instant::now();
        let path = format!("/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases/weir");
        loop {
            let lease = self.api.get(&path).await.unwrap_or_default();
            let holder = lease["spec"]["holderIdentity"].as_str().unwrap_or_default();
            if holder.starts_with(name) {
                return began.elapsed();
            }
            assert!(began.elapsed() < most, "after {most:?} the Lease is held by {holder:?}, not by {name}");
            pause(50).await;
        }
    }

    /// It does not only hold the Lease.
    async fn until_admits(&mut self, account: &Account, began: Instant) {
        let before = self.admissions().len();
        let user = account.user();
        loop {
            let log = self.admissions();
            if log.len() > before && log.last() == Some(&user) {
                break;
            }
            assert!(began.elapsed() < LEASE + SLACK * 3, "{user} admits nothing");
            pause(100).await;
        }
        let took = began.elapsed().as_secs_f64();
        self.checks.ok(&format!("and admits {took:.1} s after the other was gone"));
    }

    /// Who wrote ledgers and created pods, in the order in which the API server answered.
    fn admissions(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.cluster.path("AUDIT_LOG")).unwrap();
        let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines
            .filter(|line| {
                let of = &line["objectRef"];
                let ledger = of["resource"] == "configmaps"
                    && of["name"].as_str().is_some_and(|name| name.starts_with("weir-ledger-"));
                let pod = of["resource"] == "pods" && line["verb"] == "create" && of["subresource"].is_null();
                let done = line["responseStatus"]["code"].as_u64().is_some_and(|code| code < 300);
                (ledger || pod) && done
            })
            .map(|line| line["user"]["username"].as_str().unwrap_or_default().to_owned())
            .filter(|user| user.contains(":weir-"))
            .collect()
    }

    async fn all_done(&mut self, auditor: &Auditor) {
        let done =
            |all: &[Value]| all.len() == COUNT && all.iter().all(|one| one["status"]["phase"] == "Succeeded");
        self.api.until_list(&workloads(WORK), 120, done).await;
        pause(500).await;
        auditor.assert_sound();
        assert!(auditor.live().is_empty(), "{:?} still live", auditor.live());
        let shown =
            format!("{COUNT} workloads are done, and no limit was passed in {} pod events", auditor.looked());
        self.checks.ok(&shown);
    }

    /// Those who admit follow one another: where two did at once, their writes would alternate.
    fn never_two(&mut self, reigns: usize) {
        let mut users = self.admissions();
        assert!(users.len() > COUNT, "only {} admissions were written down", users.len());
        users.dedup();
        assert_eq!(users.len(), reigns, "who admitted, one after the other: {users:?}");
        self.checks.ok(&format!("{reigns} reigns, one after the other: no two admitted at once"));
    }

    /// What is being created when SIGTERM comes is created whole.
    async fn finishes_what_is_in_flight(&mut self, leader: Operator, next: &Account) {
        let gang = json!({
            "apiVersion": "weir.dev/v1alpha1", "kind": "PooledWorkload", "metadata": {"name": "gang"},
            "spec": {"pool": "all", "replicas": 20, "template": {"pod": {
                "spec": {"containers": [{"name": "main", "image": "x", "resources": {
                    "requests": {"cpu": "1", "memory": "64Mi"}}}]}}}},
        });
        let place = workloads(WORK);
        self.api.post(&place, gang).await;
        let path = format!("{}?labelSelector=weir.dev%2Fworkload%3Dgang", super::api::pods(WORK));
        self.api.until_list(&path, 30, |pods| !pods.is_empty()).await;
        tokio::task::spawn_blocking(move || leader.stop()).await.unwrap();
        let pods = self.api.list(&path).await;
        assert_eq!(pods.len(), 20, "the gang is whole when the operator has ended");
        let uids = |pods: &[Value]| {
            pods.iter().map(|pod| pod["metadata"]["uid"].to_string()).collect::<BTreeSet<_>>()
        };
        let created = uids(&pods);
        let next = next.start(&[]);
        self.api.until_phase(WORK, "gang", "Running", 30).await;
        assert_eq!(
            uids(&self.api.list(&path).await),
            created,
            "the next leader takes the pods up as they are"
        );
        next.stop();
        self.checks.ok(
            "SIGTERM while a gang of twenty is created: it is created whole, and the next leader takes it up",
        );
    }
}
