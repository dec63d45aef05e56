//! Moves of virtual machines and pods while the API server is restarted, the operator killed, and KubeVirt taken away.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::api::{Api, Checks, NODES, POOLS, pause, pods, workloads};
use super::cluster::Cluster;
use super::operator::{Account, Operator};
use crate::kubevirt::real;

const SPACE: &str = "shop";
const INSTANCES: &str = "/apis/kubevirt.io/v1/namespaces/shop/virtualmachineinstances";
const MACHINES: &str = "/apis/kubevirt.io/v1/namespaces/shop/virtualmachines";
const MIGRATIONS: &str = "/apis/kubevirt.io/v1/namespaces/shop/virtualmachineinstancemigrations";

struct Bench {
    api: Api,
    cluster: Cluster,
    checks: Checks,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn moves_survive_restarts_of_the_api_server_and_of_the_operator_and_kubevirt_may_go() {
    let mut bench = begin().await;
    let account = Account::least(&bench.cluster, &bench.api).await;
    let stand_in = tokio::spawn(real::run(bench.api.client.clone()));
    let operator = account.start(&[]);
    bench.drained_while_the_api_server_restarts(&operator).await;
    let operator = bench.asked_and_killed(operator, &account).await;
    bench.without_kubevirt().await;
    stand_in.abort();
    operator.stop();
}

async fn begin() -> Bench {
    let mut checks = Checks::begin("migrations");
    let cluster = Cluster::up(&["--no-nodes", "--audit"]);
    let api = Api::new(&cluster.kubeconfig()).await;
    api.machine_nodes(3).await;
    let pool = json!({
        "apiVersion": "weir.dev/v1alpha1", "kind": "ResourcePool", "metadata": {"name": "all"},
        "spec": {"nodes": {"selector": {"matchLabels": {"kubevirt.io/schedulable": "true"}}},
                 "placement": {"strategy": "BinPack"}, "resources": [{"name": "cpu"}], "access": {"namespaces": {}}}});
    api.post(POOLS, pool).await;
    api.namespace(SPACE).await;
    real::install(&api.client).await.unwrap();
    let ready =
        |nodes: &[Value]| nodes.len() == 3 && nodes.iter().all(|node| node["spec"]["taints"].is_null());
    api.until_list(NODES, 60, ready).await;
    checks.ok("a control plane with three nodes and KubeVirt's kinds is up");
    Bench { api, cluster, checks }
}

fn machine() -> Value {
    json!({
        "apiVersion": "weir.dev/v1alpha1", "kind": "PooledWorkload", "metadata": {"name": "db"},
        "spec": {"pool": "all", "template": {"virtualMachine": {"spec": {"template": {"spec": {"domain": {
            "cpu": {"cores": 10}, "memory": {"guest": "1Gi"}, "devices": {}}}}}}}},
    })
}

fn service() -> Value {
    json!({
        "apiVersion": "weir.dev/v1alpha1", "kind": "PooledWorkload", "metadata": {"name": "web"},
        "spec": {"pool": "all", "replicas": 2, "completion": "KeepRunning", "template": {"pod": {
            "metadata": {"annotations": {"sim.weir.dev/start-after": "3s"}},
            "spec": {"containers": [{"name": "main", "image": "x", "resources": {"requests": {"cpu": "1"}}}]},
        }}},
    })
}

fn is_live(pod: &Value) -> bool {
    let ended = ["Succeeded", "Failed"].iter().any(|phase| pod["status"]["phase"] == *phase);
    pod["metadata"]["deletionTimestamp"].is_null() && !ended
}

fn nodes_of(workload: &Value) -> Vec<String> {
    let placements = workload["status"]["placements"].as_array().into_iter().flatten();
    placements.map(|one| one["node"].as_str().unwrap_or_default().to_owned()).collect()
}

impl Bench {
    fn restart_api_server(&self) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/controlplane/cluster.sh");
        let output = Command::new(script)
            .args(["restart", "--dir"])
            .arg(&self.cluster.dir)
            .arg("kube-apiserver")
            .env_remove("KUBECONFIG")
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    async fn until_runs(&self, name: &str, seconds: u64, at: impl Fn(&[String]) -> bool) -> Value {
        let runs = |found: &Value| found["status"]["phase"] == "Running" && at(&nodes_of(found));
        self.api.until(&format!("{}/{name}", workloads(SPACE)), seconds, runs).await
    }

    async fn instance(&self) -> Value {
        self.api.get(&format!("{INSTANCES}/db-0")).await.unwrap()
    }

    async fn allocated(&self) -> Value {
        let pool = self.api.get(&format!("{POOLS}/all")).await.unwrap();
        pool["status"]["resources"][0]["allocated"].clone()
    }

    /// A node with a machine and two pods of a service gives them away, and meanwhile the API server dies twice.
    async fn drained_while_the_api_server_restarts(&mut self, operator: &Operator) {
        self.api.post(&workloads(SPACE), machine()).await;
        self.api.post(&workloads(SPACE), service()).await;
        let here = |nodes: &[String]| !nodes.is_empty() && nodes.iter().all(|node| node == "node-0");
        self.until_runs("db", 60, here).await;
        self.until_runs("web", 60, here).await;
        let before = self.instance().await["metadata"]["uid"].clone();
        let drain =
            json!({"metadata": {"annotations": {"weir.dev/drain": "true"}}, "spec": {"unschedulable": true}});
        self.api.patch(&format!("{NODES}/node-0"), drain).await;
        self.api
            .until_list(&pods(SPACE), 20, |all| {
                all.iter().any(|pod| pod["spec"]["nodeName"].as_str().is_some_and(|node| node != "node-0"))
            })
            .await;
        self.restart_api_server();
        pause(1500).await;
        self.restart_api_server();
        let away = |nodes: &[String]| !nodes.is_empty() && nodes.iter().all(|node| node != "node-0");
        let db = self.until_runs("db", 90, away).await;
        let web = self.until_runs("web", 90, away).await;
        for workload in [&db, &web] {
            assert_eq!(workload["status"]["evictions"], Value::Null);
            assert_eq!(workload["status"]["failures"], Value::Null);
        }
        assert_eq!(self.instance().await["metadata"]["uid"], before, "the machine ran on");
        let all = self
            .api
            .until_list(&pods(SPACE), 30, |all| all.iter().filter(|pod| is_live(pod)).count() == 3)
            .await;
        assert!(
            all.iter().filter(|pod| is_live(pod)).all(|pod| pod["spec"]["nodeName"] != "node-0"),
            "{all:#?}"
        );
        assert!(!operator.log().contains("panicked"), "{}", operator.log());
        let undo =
            json!({"metadata": {"annotations": {"weir.dev/drain": null}}, "spec": {"unschedulable": null}});
        self.api.patch(&format!("{NODES}/node-0"), undo).await;
        self.checks.ok("a node is drained of a machine and of pods while the API server dies twice: all moved, nothing stopped");
    }

    fn weir(&self, arguments: &[&str]) -> (bool, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_weir"))
            .args(arguments)
            .env("KUBECONFIG", self.cluster.kubeconfig())
            .output()
            .unwrap();
        let text =
            format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        (output.status.success(), text)
    }

    /// What `weir` answers, once what it is asked about has come to rest: it may have moved just before.
    async fn ask(&self, arguments: &[&str]) -> (bool, String) {
        for _ in 0..20 {
            let (done, said) = self.weir(arguments);
            if !said.contains("ask again in a few seconds") {
                return (done, said);
            }
            pause(1000).await;
        }
        self.weir(arguments)
    }

    /// `weir migrate` moves a machine; the operator dies while it moves, and when it has moved.
    async fn asked_and_killed(&mut self, operator: Operator, account: &Account) -> Operator {
        let path = format!("{INSTANCES}/db-0");
        self.api.patch(&path, json!({"metadata": {"annotations": {"sim.weir.dev/migration": "hang"}}})).await;
        let before = self.instance().await["metadata"]["uid"].clone();
        let charged = self.allocated().await;
        let (done, said) = self.ask(&["migrate", "shop/db", "--to", "node-9"]).await;
        assert!(!done && said.contains("there is no node node-9"), "{said}");
        let (done, said) = self.ask(&["migrate", "shop/db", "--to", "node-0"]).await;
        assert!(done && said.contains("member 0 moves from") && said.contains("to node-0"), "{said}");
        let hangs = |all: &[Value]| all.iter().any(|one| one["status"]["phase"] == "Running");
        let migrations = self.api.until_list(MIGRATIONS, 30, hangs).await.len();
        operator.kill();
        let operator = account.start(&[]);
        pause(6000).await;
        let db = self.api.get(&format!("{}/db", workloads(SPACE))).await.unwrap();
        assert_eq!(db["status"]["phase"], "Migrating", "{}", db["status"]);
        assert_eq!(db["status"]["migrationRequest"]["state"], "Moving", "{}", db["status"]);
        assert_eq!(self.allocated().await, charged, "it is charged once while it moves");
        self.api.patch(&path, json!({"metadata": {"annotations": {"sim.weir.dev/migration": null}}})).await;
        let there = |found: &Value| {
            nodes_of(found) == ["node-0"] && found["status"]["migrationRequest"]["state"] == "Moved"
        };
        self.api.until(&format!("{}/db", workloads(SPACE)), 60, there).await;
        assert_eq!(self.instance().await["metadata"]["uid"], before, "the machine ran on");
        operator.kill();
        let operator = account.start(&[]);
        pause(6000).await;
        assert_eq!(self.api.list(MIGRATIONS).await.len(), migrations, "nothing is moved a second time");
        let (done, said) = self.ask(&["migrate", "shop/web", "--index", "1", "--wait"]).await;
        assert!(done && said.contains("member 1 has moved from"), "{said}");
        let (done, said) = self.weir(&["migrate", "shop/nothing"]);
        assert!(!done && said.contains("not found"), "{said}");
        self.checks.ok("weir migrate moves a machine and a pod; an operator that dies meanwhile goes on and repeats nothing");
        operator
    }

    /// KubeVirt is taken away with all machines, and comes back.
    async fn without_kubevirt(&mut self) {
        let of_service = |all: Vec<Value>| -> Vec<String> {
            let ours = all.into_iter().filter(|pod| pod["metadata"]["labels"]["weir.dev/workload"] == "web");
            ours.map(|pod| pod["metadata"]["uid"].as_str().unwrap_or_default().to_owned()).collect()
        };
        let before = of_service(self.api.list(&pods(SPACE)).await);
        assert_eq!(before.len(), 2);
        real::uninstall(&self.api.client).await.unwrap();
        let says = |found: &Value| {
            let conditions = found["status"]["conditions"].as_array().into_iter().flatten();
            let mut ready = conditions.filter(|one| one["type"] == "Ready");
            ready.any(|one| one["reason"] == "KubeVirtNotInstalled")
        };
        let db = self.api.until(&format!("{}/db", workloads(SPACE)), 90, says).await;
        assert_eq!(db["status"]["failures"], Value::Null);
        // Pods go on, and others come.
        assert_eq!(of_service(self.api.list(&pods(SPACE)).await), before);
        let mut more = service();
        more["metadata"]["name"] = json!("more");
        self.api.post(&workloads(SPACE), more).await;
        self.until_runs("more", 60, |nodes| nodes.len() == 2).await;
        self.checks.ok("without KubeVirt pods go on, and machines say what is missing");
        real::install(&self.api.client).await.unwrap();
        let machines = |all: &[Value]| all.len() == 1 && all[0]["status"]["printableStatus"] == "Running";
        self.until_runs("db", 120, |nodes| nodes.len() == 1).await;
        self.api.until_list(MACHINES, 30, machines).await;
        assert_eq!(of_service(self.api.list(&pods(SPACE)).await), before);
        self.checks.ok("when it is back, the machine runs again, and no pod was touched");
    }
}
