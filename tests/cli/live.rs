//! What the program says of a real cluster, to its administrator and to a tenant who sees one namespace; and that what it
//! suggests is true.

use std::process::{Command, Output};

use serde_json::{Value, json};

use super::program::{Folder, err, out};
use crate::real::api::{Api, Checks, NODES, POOLS, workloads};
use crate::real::cluster::Cluster;
use crate::real::operator::Account;

const SPACE: &str = "team";
/// With two more, that is beyond those whose positions are in statuses.
const WAITING: usize = 20;

pub struct Bench {
    pub cluster: Cluster,
    pub api: Api,
    pub checks: Checks,
    pub folder: Folder,
}

impl Bench {
    /// Two nodes of four CPUs, and a pool that may use four of the eight.
    pub async fn begin(what: &'static str) -> Self {
        let cluster = Cluster::up(&["--no-nodes"]);
        let api = Api::new(&cluster.kubeconfig()).await;
        for name in ["node-a", "node-b"] {
            let offers = json!({"cpu": "4", "memory": "16Gi", "pods": "110"});
            let node = json!({
                "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name},
                             "annotations": {"kwok.x-k8s.io/node": "fake"}},
                "status": {"capacity": offers, "allocatable": offers}});
            api.post(NODES, node).await;
        }
        api.post(
            POOLS,
            pool(
                "company",
                json!({"nodes": {"selector": {}}, "resources": [{"name": "cpu"}, {"name": "memory"}]}),
            ),
        )
        .await;
        api.post(
            POOLS,
            pool("batch", json!({"parent": "company", "resources": [{"name": "cpu", "limit": "4"}]})),
        )
        .await;
        api.namespace(SPACE).await;
        let mut checks = Checks::begin(what);
        checks.ok("a control plane with two nodes is up");
        Self { cluster, api, checks, folder: Folder::new(what) }
    }

    /// The program, as the administrator.
    pub fn weir(&self, arguments: &[&str]) -> Output {
        self.as_user("weir", None).args(arguments).output().unwrap()
    }

    /// The program under a name, in somebody's name.
    pub fn as_user(&self, program: &str, user: Option<&str>) -> Command {
        let mut command = self.folder.named(program);
        let config = match user {
            None => self.cluster.kubeconfig(),
            Some(user) => {
                let mut config: Value =
                    serde_yaml::from_str(&std::fs::read_to_string(self.cluster.kubeconfig()).unwrap())
                        .unwrap();
                config["users"][0]["user"]["as"] = user.into();
                let path = self.folder.0.join(format!("{user}.config"));
                std::fs::write(&path, config.to_string()).unwrap();
                path
            }
        };
        command.env("KUBECONFIG", config);
        command
    }

    pub fn json(&self, arguments: &[&str]) -> Value {
        let output = self.weir(&[arguments, &["-o", "json"]].concat());
        assert!(output.status.success(), "{arguments:?}: {}", err(&output));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    pub async fn give(&self, name: &str, priority: i32, cpu: &str) {
        self.api.post(&workloads(SPACE), workload(name, priority, cpu)).await;
    }

    pub async fn until_waits(&self, name: &str, reason: &str) {
        let is = |found: &Value| found["status"]["pending"]["reason"] == reason;
        self.api.until(&format!("{}/{name}", workloads(SPACE)), 30, is).await;
    }
}

fn pool(name: &str, mut spec: Value) -> Value {
    spec["access"] = json!({"namespaces": {}});
    json!({"apiVersion": "weir.dev/v1alpha1", "kind": "ResourcePool", "metadata": {"name": name}, "spec": spec})
}

pub fn workload(name: &str, priority: i32, cpu: &str) -> Value {
    let container =
        json!({"name": "main", "image": "x", "resources": {"requests": {"cpu": cpu, "memory": "1Gi"}}});
    json!({"apiVersion": "weir.dev/v1alpha1", "kind": "PooledWorkload", "metadata": {"name": name}, "spec": {
        "pool": "batch", "priority": priority, "template": {"pod": {"spec": {"containers": [container]}}}}})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn why_explains_and_its_suggestions_come_true() {
    let mut bench = Bench::begin("why").await;
    unseen(&mut bench).await;
    let account = Account::create(&bench.cluster, &bench.api, "weir-a").await;
    let _operator = account.start(&[]);
    waits(&mut bench).await;
    tenants(&mut bench).await;
    words(&mut bench);
    comes_true(&mut bench).await;
}

/// Before any operator has run, that is what it says.
async fn unseen(bench: &mut Bench) {
    bench.give("first", 5, "4").await;
    let text = out(&bench.weir(&["why", "team/first"]));
    assert!(text.contains("team/first has not been looked at in pool batch"), "{text}");
    assert!(text.contains("is Weir running?"), "{text}");
    bench.checks.ok("without an operator, why asks whether one runs");
}

async fn waits(bench: &mut Bench) {
    bench.api.until_phase(SPACE, "first", "Running", 60).await;
    bench.give("second", 3, "2").await;
    bench.until_waits("second", "WaitingForQuota").await;
    for number in 0..WAITING {
        bench.give(&format!("more-{number:02}"), 0, "1").await;
    }
    bench.give("last", -1, "1").await;
    bench.until_waits("last", "WaitingForQuota").await;

    let answer = bench.json(&["why", "second", "-n", SPACE]);
    assert_eq!(answer["queue"]["position"], 1);
    assert_eq!(answer["queue"]["length"], WAITING + 2);
    assert_eq!(answer["pools"][0]["name"], "batch");
    assert_eq!(answer["pools"][1]["name"], "company");
    let cpu = &answer["pools"][0]["resources"][0];
    assert_eq!(
        (&cpu["limit"], &cpu["allocated"], &cpu["lacks"]),
        (&json!("4"), &json!("4"), &json!("2")),
        "{answer:#}"
    );
    let help = answer["help"]["wouldHelp"].as_array().unwrap();
    let find =
        |words: &str| help.iter().find(|one| one["change"].as_str().unwrap().starts_with(words)).unwrap();
    assert_eq!(find("raise")["change"], "raise the limit of cpu in pool batch from 4 to 6");
    assert_eq!(find("raise")["then"], "it starts at once on node-b");
    assert_eq!(find("give it priority")["change"], "give it priority 6 or more (it has 3)");
    assert_eq!(find("give it priority")["atTheCostOf"], json!(["team/first"]));
    assert!(
        find("wait for the end of team/first")["then"].as_str().unwrap().starts_with("it starts at once")
    );

    let last = bench.json(&["why", "team/last"]);
    assert_eq!(last["queue"]["position"], WAITING + 2, "positions beyond the first 20 are told too");
    assert_eq!(last["queue"]["ahead"][0]["workload"], "team/second");
    let text = out(&bench.weir(&["why", "team/last"]));
    for words in [
        "team/last waits in pool batch, for ",
        ": WaitingForQuota\n",
        "pool \"batch\": limit cpu=4 would be passed by 1 (allocated 4, asked 1)",
        "Asks for 1 member: 1 cpu, 1Gi memory (priority -1)",
        "Queue    it is 22 of 22, by policy Priority",
        "ahead: team/second (priority 3; 2 cpu, 1Gi memory)",
        "and 16 more",
        "POOL     RESOURCE  RESERVED  LIMIT",
        "What would help, each by itself",
    ] {
        assert!(text.contains(words), "{words:?} is not in\n{text}");
    }
    let runs = out(&bench.weir(&["why", "team/first"]));
    assert!(
        runs.starts_with("team/first runs in pool batch, for ") && runs.contains("1 of 1 run; on node-"),
        "{runs}"
    );
    bench.checks.ok("why tells the position, the numbers and what would help");
}

/// A tenant reads what is in the namespace, and is told what that leaves open.
async fn tenants(bench: &mut Bench) {
    let group = "/apis/rbac.authorization.k8s.io/v1/namespaces/team";
    let rule = json!({"apiGroups": ["weir.dev"], "resources": ["pooledworkloads"], "verbs": ["get", "list"]});
    bench.api.post(&format!("{group}/roles"), json!({"metadata": {"name": "reader"}, "rules": [rule]})).await;
    let binding = json!({"metadata": {"name": "reader"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reader"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "vera"}]});
    bench.api.post(&format!("{group}/rolebindings"), binding).await;
    let ask = |arguments: &[&str]| bench.as_user("weir", Some("vera")).args(arguments).output().unwrap();
    let output = ask(&["why", "team/second"]);
    let text = out(&output);
    assert!(output.status.success(), "{}", err(&output));
    for words in [
        "team/second waits in pool batch",
        "limit cpu=4 would be passed by 2 (allocated 4, asked 2)",
        "Asks for 1 member: 2 cpu, 1Gi memory (priority 3)",
        "Not known: its exact place in the queue, and what would help",
        "Not known: you may not list nodes (",
        "Not known: you may not read pool \"batch\" (",
    ] {
        assert!(text.contains(words), "{words:?} is not in\n{text}");
    }
    let output = ask(&["why", "default/x"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        err(&output).contains("you may not read workload \"x\" in namespace \"default\""),
        "{}",
        err(&output)
    );
    bench.checks.ok("a tenant gets the workload's own numbers, and is told what may not be read");
}

/// Names that are completed, and names that are wrong.
fn words(bench: &mut Bench) {
    let offered = |user: Option<&str>, arguments: &[&str]| {
        out(&bench.as_user("kubectl_complete-weir", user).args(arguments).output().unwrap())
    };
    assert_eq!(offered(None, &["why", "team/se"]), "team/second\n:4\n");
    assert_eq!(offered(None, &["why", "te"]).lines().count(), WAITING + 4);
    assert_eq!(offered(None, &["why", "-n", SPACE, "fi"]), "first\n:4\n");
    assert_eq!(offered(None, &["why", "--namespace", "tea"]), "team\n:4\n");
    assert_eq!(offered(Some("vera"), &["why", "team/fi"]), "team/first\n:4\n", "a tenant's own are offered");
    let output = bench.weir(&["why", "team/nobody"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        err(&output).contains("no workload \"nobody\" in namespace \"team\": 23 others are there"),
        "{}",
        err(&output)
    );
    bench.checks.ok("names are completed from the cluster");
}

/// The limit is raised as suggested, and it starts.
async fn comes_true(bench: &mut Bench) {
    let raised = json!({"spec": {"resources": [{"name": "cpu", "limit": "6"}]}});
    bench.api.patch(&format!("{POOLS}/batch"), raised).await;
    let found = bench.api.until_phase(SPACE, "second", "Running", 30).await;
    assert_eq!(found["status"]["placements"][0]["node"], "node-b");
    bench.checks.ok("the limit is raised as suggested, and the workload runs where that was foretold");
}
