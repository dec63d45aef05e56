//! A rolling upgrade from an earlier version of the project, with work running: definitions first, then one replica after
//! the other. Nothing that runs is disturbed, nothing is lost, and no two admit at once.
//!
//! The earlier version is built by `tests/upgrade.sh`, which takes minutes: `make test-upgrade` runs this.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use super::api::{Api, Checks, NODES, POOLS, pause, pods, workloads};
use super::auditor::Auditor;
use super::cluster::Cluster;
use super::operator::{Account, Operator};

const WORK: &str = "work";
const SERVICES: usize = 3;
const JOBS: usize = 60;

fn earlier() -> PathBuf {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/upgrade.sh");
    let output = Command::new(script).output().unwrap();
    assert!(
        output.status.success(),
        "the earlier version cannot be had: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    PathBuf::from(String::from_utf8(output.stdout).unwrap().trim())
}

async fn define(api: &Api, folder: &Path) {
    for name in ["resourcepools.yaml", "pooledworkloads.yaml"] {
        let text = std::fs::read_to_string(folder.join(name)).unwrap();
        api.define(serde_yaml::from_str(&text).unwrap()).await;
    }
}

/// A replica of one of the two versions.
fn replica(account: &Account, program: Option<&Path>, folder: &Path) -> Operator {
    let now = account.command(&[]);
    let Some(program) = program else { return Operator::spawn(now, folder, account.name) };
    let mut command = Command::new(program);
    command.args(now.get_args());
    for (name, value) in now.get_envs() {
        command.env(name, value.unwrap_or_default());
    }
    Operator::spawn(command, folder, account.name)
}

fn workload(name: &str, replicas: u64, run_for: Option<&str>) -> Value {
    let annotations = run_for.map_or(json!({}), |time| json!({"sim.weir.dev/run-for": time}));
    let completion = if run_for.is_some() { "RunToCompletion" } else { "KeepRunning" };
    json!({
        "apiVersion": "weir.dev/v1alpha1", "kind": "PooledWorkload", "metadata": {"name": name},
        "spec": {"pool": "all", "replicas": replicas, "completion": completion, "template": {"pod": {
            "metadata": {"annotations": annotations},
            "spec": {"containers": [{"name": "main", "image": "x", "resources": {
                "requests": {"cpu": "1", "memory": "64Mi"}}}]}}}},
    })
}

struct Bench {
    api: Api,
    cluster: Cluster,
    checks: Checks,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "builds an earlier version of the project first: make test-upgrade"]
async fn two_replicas_are_upgraded_one_after_the_other_with_work_running() {
    let earlier = earlier();
    let checks = Checks::begin("upgrade");
    let cluster = Cluster::up(&["--no-nodes", "--no-crds", "--audit"]);
    let api = Api::new(&cluster.kubeconfig()).await;
    define(&api, &earlier.join("crds")).await;
    let mut bench = Bench { api, cluster, checks };
    bench.furnish().await;
    let program = earlier.join("weir");
    let folder = bench.cluster.dir.clone();
    let names = ["weir-old-a", "weir-old-b", "weir-new-a", "weir-new-b"];
    let mut accounts = Vec::new();
    for name in names {
        accounts.push(Account::create(&bench.cluster, &bench.api, name).await);
    }
    let old_a = replica(&accounts[0], Some(&program), &folder);
    let old_b = replica(&accounts[1], Some(&program), &folder);
    let auditor = Auditor::begin(&bench.api).await;
    for number in 0..SERVICES {
        bench.api.post(&workloads(WORK), workload(&format!("service-{number}"), 2, None)).await;
    }
    for number in 0..SERVICES {
        bench.api.until_phase(WORK, &format!("service-{number}"), "Running", 60).await;
    }
    let services = bench.services().await;
    bench.stream();
    bench.until_done(10).await;
    bench.checks.ok("two operators of the earlier version run services and jobs");

    define(&bench.api, &Path::new(env!("CARGO_MANIFEST_DIR")).join("crds")).await;
    bench.until_done(15).await;
    bench.checks.ok("the definitions are upgraded, and the earlier version works on");

    let new_a = replica(&accounts[2], None, &folder);
    tokio::task::spawn_blocking(move || old_a.stop()).await.unwrap();
    bench.until_done(25).await;
    let new_b = replica(&accounts[3], None, &folder);
    tokio::task::spawn_blocking(move || old_b.stop()).await.unwrap();
    bench.until_done(JOBS).await;
    bench.checks.ok("both replicas are replaced, and all jobs are done");

    assert_eq!(bench.services().await, services, "what ran before runs on, in the same pods");
    auditor.assert_sound();
    jobs_ran_once(&auditor);
    let users = bench.reigns();
    assert!(users.len() <= 4 && users.last().is_some_and(|last| last.contains(":weir-new-")), "{users:?}");
    let distinct: BTreeSet<&String> = users.iter().collect();
    assert_eq!(distinct.len(), users.len(), "who admitted, one after the other: {users:?}");
    bench.checks.ok(&format!(
        "services were not disturbed, each job ran once, and no two admitted at once: {users:?}"
    ));
    bench.uses_what_is_new().await;
    for operator in [new_a, new_b] {
        tokio::task::spawn_blocking(move || operator.stop()).await.unwrap();
    }
}

impl Bench {
    async fn furnish(&mut self) {
        self.api.small_nodes(4).await;
        let pool = json!({
            "apiVersion": "weir.dev/v1alpha1", "kind": "ResourcePool", "metadata": {"name": "all"},
            "spec": {"nodes": {"selector": {"matchLabels": {"kind": "small"}}}, "access": {"namespaces": {}},
                     "resources": [{"name": "cpu", "limit": "12"}, {"name": "memory"}]},
        });
        self.api.post(POOLS, pool).await;
        self.api.namespace(WORK).await;
    }

    /// Jobs come all the while.
    fn stream(&self) {
        let api = self.api.clone();
        tokio::spawn(async move {
            for number in 0..JOBS {
                api.post(&workloads(WORK), workload(&format!("job-{number:03}"), 1, Some("700ms"))).await;
                pause(350).await;
            }
        });
    }

    async fn until_done(&self, count: usize) {
        let done =
            |all: &[Value]| all.iter().filter(|one| one["status"]["phase"] == "Succeeded").count() >= count;
        self.api.until_list(&workloads(WORK), 120, done).await;
    }

    /// The pods of services, with what of them must not change.
    async fn services(&self) -> BTreeMap<String, (String, String)> {
        let pods = self.api.list(&pods(WORK)).await;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let ours = pods.iter().filter(|pod| text(&pod["metadata"]["name"]).starts_with("service-"));
        ours.map(|pod| {
            let name = text(&pod["metadata"]["name"]);
            (name, (text(&pod["metadata"]["uid"]), text(&pod["spec"]["nodeName"])))
        })
        .collect()
    }

    /// Who admitted, one after the other.
    fn reigns(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.cluster.path("AUDIT_LOG")).unwrap();
        let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let mut users: Vec<String> = lines
            .filter(|line| {
                let of = &line["objectRef"];
                let pod = of["resource"] == "pods" && line["verb"] == "create" && of["subresource"].is_null();
                pod && line["responseStatus"]["code"] == 201
            })
            .map(|line| line["user"]["username"].as_str().unwrap_or_default().to_owned())
            .filter(|user| user.contains(":weir-"))
            .collect();
        users.dedup();
        users
    }

    /// A field that the earlier version did not have.
    async fn uses_what_is_new(&mut self) {
        let all = format!("{POOLS}/all");
        self.api.patch(&all, json!({"spec": {"type": "Dedicated"}})).await;
        let tainted = |nodes: &[Value]| {
            nodes.iter().all(|node| {
                let taints = node["spec"]["taints"].as_array();
                taints.is_some_and(|taints| taints.iter().any(|taint| taint["key"] == "weir.dev/pool"))
            })
        };
        self.api.until_list(NODES, 60, tainted).await;
        self.checks.ok("and what is new in this version works");
    }
}

fn jobs_ran_once(auditor: &Auditor) {
    let ever = super::auditor::pods_by_member(&auditor.versions(WORK));
    for number in 0..JOBS {
        let name = format!("job-{number:03}");
        let pods = ever.get(&(name.clone(), "0".to_owned())).map_or(0, BTreeSet::len);
        assert_eq!(pods, 1, "{name} had {pods} pods");
    }
}
