//! Nodes that are dedicated and drained while the operator is killed: taints come and go, and members move without
//! ever being away.

use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::api::{Api, Checks, NODES, POOLS, pause, pods, small_node, workloads};
use super::cluster::Cluster;
use super::operator::{Account, Operator};

const SPACE: &str = "shop";

struct Bench {
    api: Api,
    cluster: Cluster,
    checks: Checks,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn taints_and_moves_survive_the_death_of_the_operator() {
    let mut bench = begin().await;
    let account = Account::create(&bench.cluster, &bench.api, "weir-a").await;
    let operator = account.start(&[]);
    let operator = bench.moved(operator, &account).await;
    let operator = bench.untainted_after_a_crash(operator, &account).await;
    bench.released(operator).await;
}

async fn begin() -> Bench {
    let mut checks = Checks::begin("moves");
    let cluster = Cluster::up(&["--no-nodes"]);
    let api = Api::new(&cluster.kubeconfig()).await;
    for number in 0..3 {
        let mut node = small_node(number);
        node["spec"] =
            json!({"taints": [{"key": "weir.dev/pool", "value": "by-hand", "effect": "PreferNoSchedule"}]});
        api.post(NODES, node).await;
    }
    api.post(POOLS, pool("fixed", "small")).await;
    api.namespace(SPACE).await;
    checks.ok("a control plane with three nodes is up");
    Bench { api, cluster, checks }
}

fn pool(name: &str, kind: &str) -> Value {
    json!({"apiVersion": "weir.dev/v1alpha1", "kind": "ResourcePool", "metadata": {"name": name}, "spec": {
        "type": "Dedicated", "nodes": {"selector": {"matchLabels": {"kind": kind}}},
        "placement": {"strategy": "BinPack"},
        "resources": [{"name": "cpu"}], "access": {"namespaces": {}}}})
}

/// Values of the taint of Weir's key with that effect.
fn values<'a>(node: &'a Value, effect: &str) -> Vec<&'a str> {
    let taints = node["spec"]["taints"].as_array().into_iter().flatten();
    let ours = taints.filter(|taint| taint["key"] == "weir.dev/pool" && taint["effect"] == effect);
    ours.map(|taint| taint["value"].as_str().unwrap()).collect()
}

impl Bench {
    async fn until_tainted(&self, node: &str, pool: Option<&str>) {
        let wanted: Vec<&str> = pool.into_iter().collect();
        let good = |node: &Value| values(node, "NoSchedule") == wanted;
        let found = self.api.until(&format!("{NODES}/{node}"), 20, good).await;
        assert_eq!(values(&found, "PreferNoSchedule"), ["by-hand"], "the taint of somebody else is gone");
    }

    /// A service moves off a drained node, and the operator is killed in each half of it.
    async fn moved(&mut self, mut operator: Operator, account: &Account) -> Operator {
        let service = json!({
            "apiVersion": "weir.dev/v1alpha1", "kind": "PooledWorkload", "metadata": {"name": "web"},
            "spec": {"pool": "fixed", "completion": "KeepRunning", "template": {"pod": {
                "metadata": {"annotations": {
                    "sim.weir.dev/start-after": "6s", "sim.weir.dev/terminate-after": "6s"}},
                "spec": {"containers": [{"name": "main", "image": "x", "resources": {
                    "requests": {"cpu": "1"}}}]},
            }}},
        });
        self.api.post(&workloads(SPACE), service).await;
        let found = self.api.until_phase(SPACE, "web", "Running", 40).await;
        let before = found["status"]["summary"]["node"].as_str().unwrap().to_owned();
        let drain =
            json!({"metadata": {"annotations": {"weir.dev/drain": "true"}}, "spec": {"unschedulable": true}});
        self.api.patch(&format!("{NODES}/{before}"), drain).await;
        self.api
            .until(&format!("{}/web-0-r2", pods(SPACE)), 20, |pod| pod["status"]["phase"] == "Pending")
            .await;
        operator.kill();
        operator = account.start(&[]);
        let mut kills = 1;
        let began = Instant::now();
        loop {
            let all = self.api.list(&pods(SPACE)).await;
            let running = all.iter().filter(|pod| pod["status"]["phase"] == "Running").count();
            assert!(running > 0 && all.len() <= 2, "{} pods, of which {running} run", all.len());
            let leaving = all.iter().any(|pod| !pod["metadata"]["deletionTimestamp"].is_null());
            if leaving && kills == 1 {
                assert_eq!(running, 2, "it leaves only when the other runs");
                operator.kill();
                operator = account.start(&[]);
                kills = 2;
            }
            if kills == 2 && all.len() == 1 && !leaving {
                break;
            }
            assert!(began.elapsed() < Duration::from_mins(1), "it does not move: {all:#?}");
            pause(100).await;
        }
        let good = |found: &Value| {
            let status = &found["status"];
            status["phase"] == "Running" && status["placements"][0]["name"] == "web-0-r2"
        };
        let found = self.api.until(&format!("{}/web", workloads(SPACE)), 30, good).await;
        assert_ne!(found["status"]["summary"]["node"], before.as_str());
        assert_eq!(found["status"]["evictions"], Value::Null);
        let undo =
            json!({"metadata": {"annotations": {"weir.dev/drain": null}}, "spec": {"unschedulable": null}});
        self.api.patch(&format!("{NODES}/{before}"), undo).await;
        self.checks
            .ok("a service moves off a drained node over two times kill -9, and one pod of it runs always");
        operator
    }

    /// A node leaves, and the pool is deleted, while no operator runs.
    async fn untainted_after_a_crash(&mut self, operator: Operator, account: &Account) -> Operator {
        for number in 0..3 {
            self.until_tainted(&format!("node-{number}"), Some("fixed")).await;
        }
        self.checks.ok("the nodes of a dedicated pool are tainted");
        self.api.delete(&format!("{}/web", workloads(SPACE))).await;
        self.api.until_list(&pods(SPACE), 30, <[Value]>::is_empty).await;
        operator.kill();
        self.api.patch(&format!("{NODES}/node-0"), json!({"metadata": {"labels": {"kind": "large"}}})).await;
        let operator = account.start(&[]);
        self.until_tainted("node-0", None).await;
        self.until_tainted("node-1", Some("fixed")).await;
        self.checks.ok("a node that left while no operator ran is without the taint");
        operator.kill();
        let path = format!("{POOLS}/fixed");
        self.api.delete(&path).await;
        assert!(self.api.get(&path).await.is_some(), "a pool is gone while its taints are there");
        // And one that somebody has torn out by force.
        self.api.post(POOLS, pool("torn", "large")).await;
        let operator = account.start(&[]);
        self.api.until_gone(&path, 30).await;
        self.until_tainted("node-1", None).await;
        self.until_tainted("node-2", None).await;
        self.until_tainted("node-0", Some("torn")).await;
        operator.kill();
        self.api.patch(&format!("{POOLS}/torn"), json!({"metadata": {"finalizers": null}})).await;
        self.api.delete(&format!("{POOLS}/torn")).await;
        self.api.until_gone(&format!("{POOLS}/torn"), 10).await;
        let operator = account.start(&[]);
        self.until_tainted("node-0", None).await;
        self.checks.ok("taints of pools that are gone go too");
        operator
    }

    /// `weir release` takes off what is left.
    async fn released(&mut self, operator: Operator) {
        self.api.post(POOLS, pool("last", "small")).await;
        self.until_tainted("node-1", Some("last")).await;
        self.until_tainted("node-2", Some("last")).await;
        operator.stop();
        let output = Command::new(env!("CARGO_BIN_EXE_weir"))
            .arg("release")
            .env("KUBECONFIG", self.cluster.kubeconfig())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        self.until_tainted("node-1", None).await;
        self.until_tainted("node-2", None).await;
        let last = self.api.get(&format!("{POOLS}/last")).await.unwrap();
        assert_eq!(last["metadata"]["finalizers"], Value::Null);
        self.checks.ok("weir release takes taints and finalizers off");
    }
}
