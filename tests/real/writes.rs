//! Rights to write that are taken from the operator while it runs: it says which one is missing and what comes of it, asks for
//! it seldom, serves all else, and goes on by itself when it is given back.

use std::time::Duration;

use serde_json::{Value, json};

use super::api::{Api, Checks, POOLS, pause, pods, workloads};
use super::cluster::Cluster;
use super::operator::{Account, Operator};
use super::web::{Web, port_in_log};

const WORK: &str = "work";
const EVERYWHERE: &str = "/apis/rbac.authorization.k8s.io/v1/clusterroles/weir";
const INSIDE: &str = "/apis/rbac.authorization.k8s.io/v1/namespaces/weir-system/roles/weir";
const EVENTS: &str = "/apis/events.k8s.io/v1/namespaces/weir-system/events";

struct Bench {
    operator: Option<Operator>,
    web: Web,
    api: Api,
    cluster: Cluster,
    checks: Checks,
    account: Account,
    /// The rules of the operator's roles, as the documentation has them.
    rules: [(&'static str, Value); 2],
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_operator_may_not_write_is_told_and_all_else_goes_on() {
    let checks = Checks::begin("writes");
    let cluster = Cluster::up(&["--no-nodes", "--audit-reads"]);
    let api = Api::new(&cluster.kubeconfig()).await;
    let account = Account::least(&cluster, &api).await;
    let rules = async |role| (role, api.get(role).await.unwrap()["rules"].clone());
    let rules = [rules(EVERYWHERE).await, rules(INSIDE).await];
    let operator = account.start(&[]);
    let web = Web::plain(port_in_log(&operator.path(), "serves health").await);
    let mut bench = Bench { operator: Some(operator), web, api, cluster, checks, account, rules };
    bench.begin().await;
    bench.may_not_delete().await;
    bench.may_not_evict().await;
    bench.may_not_write_statuses().await;
    bench.may_not_create_pods().await;
    bench.may_not_hold_pools().await;
    bench.may_not_write_ledgers().await;
    bench.may_not_write_events().await;
    bench.may_not_list_and_watch_at_once().await;
    bench.may_not_renew().await;
    bench.may_not_list_ledgers().await;
    bench.operator.take().unwrap().stop();
}

/// The root `lab` with its nodes, or a pool below it.
fn pool(name: &str) -> Value {
    let mut pool = json!({
        "apiVersion": "weir.dev/v1alpha1", "kind": "ResourcePool", "metadata": {"name": name},
        "spec": {"access": {"namespaces": {}}, "resources": [{"name": "cpu"}, {"name": "memory"}]},
    });
    if name == "lab" {
        pool["spec"]["nodes"] = json!({"selector": {"matchLabels": {"kind": "small"}}});
    } else {
        pool["spec"]["parent"] = json!("lab");
    }
    pool
}

fn workload(name: &str, pool: &str) -> Value {
    json!({
        "apiVersion": "weir.dev/v1alpha1", "kind": "PooledWorkload", "metadata": {"name": name},
        "spec": {"pool": pool, "template": {"pod": {"spec": {"containers": [{"name": "main", "image": "x",
            "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}}}]}}}},
    })
}

/// Rules without these verbs of a resource.
fn without(rules: &Value, resource: &str, verbs: &[&str]) -> Value {
    let mut left = Vec::new();
    for rule in rules.as_array().unwrap() {
        let (with, others): (Vec<Value>, Vec<Value>) =
            rule["resources"].as_array().unwrap().iter().cloned().partition(|one| one == resource);
        let keeps: Vec<&Value> = rule["verbs"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|one| !verbs.contains(&one.as_str().unwrap()))
            .collect();
        for (resources, verbs) in [(others, json!(rule["verbs"])), (with, json!(keeps))] {
            if !resources.is_empty() && verbs != json!([]) {
                left.push(json!({"apiGroups": rule["apiGroups"], "resources": resources, "verbs": verbs}));
            }
        }
    }
    json!(left)
}

impl Bench {
    async fn begin(&mut self) {
        self.api.small_nodes(2).await;
        self.api.namespace(WORK).await;
        self.api.post(POOLS, pool("lab")).await;
        self.runs("first", "lab").await;
        let told = self.web.get("/readyz", None).await;
        assert_eq!((told.code, told.text.as_str()), (200, "ok\n"));
    }

    /// Submits a workload, and waits until it runs.
    async fn runs(&self, name: &str, pool: &str) {
        self.api.post(&workloads(WORK), workload(name, pool)).await;
        self.api.until_phase(WORK, name, "Running", 30).await;
    }

    async fn suspend(&self, name: &str, suspend: bool) {
        self.api.patch(&format!("{}/{name}", workloads(WORK)), json!({"spec": {"suspend": suspend}})).await;
    }

    async fn take(&self, resource: &str, verbs: &[&str]) {
        for (role, rules) in &self.rules {
            self.api.patch(role, json!({"rules": without(rules, resource, verbs)})).await;
        }
        pause(500).await;
    }

    async fn give_back(&self) {
        for (role, rules) in &self.rules {
            self.api.patch(role, json!({"rules": rules})).await;
        }
    }

    /// What is missing is said by `/readyz`, the log, the metric and, but for events, by an event; all of it once.
    async fn is_told(&self, code: u16, request: &str, right: &str) {
        let wanted = format!("the operator may not {right}, so ");
        let told =
            self.web.until("/readyz", 30, |told| told.code == code && told.text.contains(&wanted)).await;
        assert!(told.text.contains("Give the operator the rights of docs/rbac.yaml"), "{told:?}");
        let missing = format!("weir_permission_missing{{request=\"{request}\"}} 1\n");
        self.web.until("/metrics", 5, |told| told.text.contains(&missing)).await;
        let named = |events: &[Value]| {
            let of_it = |event: &&Value| event["note"].as_str().is_some_and(|note| note.contains(&wanted));
            events.iter().filter(of_it).filter(|event| event["reason"] == "PermissionMissing").count() == 1
        };
        if !["event", "lease", "list_ledgers"].contains(&request) {
            self.api.until_list(EVENTS, 20, named).await;
        }
    }

    /// The right is there again, and that is known whether or not it is needed.
    async fn is_well(&self, request: &str, right: &str) {
        let told = self.web.until("/readyz", 40, |told| told.text == "ok\n").await;
        assert_eq!(told.code, 200);
        let missing = format!("weir_permission_missing{{request=\"{request}\"}} 1\n");
        self.web.until("/metrics", 5, |told| !told.text.contains(&missing)).await;
        let log = self.operator.as_ref().unwrap().log();
        let wanted = format!("the operator may not {right}, so ");
        let said: Vec<&str> = log.lines().filter(|line| line.contains(&wanted)).collect();
        assert_eq!(said.len(), 1, "said once:\n{}", said.join("\n"));
        assert!(said[0].contains(" WARN ") || said[0].contains(" ERROR "), "{}", said[0]);
    }

    /// How often the API server refused it for want of a right.
    fn refused(&self, verb: &str, resource: &str, subresource: &str) -> usize {
        let user = self.account.user();
        let text = std::fs::read_to_string(self.cluster.path("AUDIT_LOG")).unwrap();
        let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines
            .filter(|line| {
                let of = &line["objectRef"];
                line["user"]["username"] == user.as_str()
                    && line["responseStatus"]["code"] == 403
                    && line["verb"] == verb
                    && of["resource"] == resource
                    && of["subresource"].as_str().unwrap_or_default() == subresource
            })
            .count()
    }

    fn lines(&self) -> usize {
        self.operator.as_ref().unwrap().log().lines().count()
    }

    /// Ten seconds, in which it is asked for at most that often and nothing more is logged of it.
    async fn keeps_calm(&self, most: usize, (verb, resource, subresource): (&str, &str, &str)) {
        let (refused, lines) = (self.refused(verb, resource, subresource), self.lines());
        assert!(refused > 0, "{verb} {resource}/{subresource} was not asked for");
        tokio::time::sleep(Duration::from_secs(10)).await;
        let more = self.refused(verb, resource, subresource) - refused;
        assert!(more <= most, "{verb} {resource}/{subresource} is asked for {more} times in 10 s");
        let logged = self.lines() - lines;
        assert!(logged <= 2, "{logged} lines are logged in 10 s of quiet");
    }

    /// Three workloads shall stop, and their pods cannot be deleted.
    async fn may_not_delete(&mut self) {
        for name in ["a", "b", "c"] {
            self.runs(name, "lab").await;
        }
        let right = "delete pods in the namespace work";
        self.take("pods", &["delete"]).await;
        for name in ["a", "b", "c"] {
            self.suspend(name, true).await;
        }
        self.is_told(200, "delete_pod", right).await;
        self.runs("beside-deletes", "lab").await;
        self.keeps_calm(2, ("delete", "pods", "")).await;
        for name in ["a", "b", "c"] {
            assert!(self.api.get(&format!("{}/{name}-0", pods(WORK))).await.is_some(), "{name} runs on");
        }
        self.give_back().await;
        self.is_well("delete_pod", right).await;
        for name in ["a", "b", "c"] {
            self.api.until_gone(&format!("{}/{name}-0", pods(WORK)), 20).await;
        }
        self.checks.ok("without deletes it says so, starts others, and deletes when it may");
    }

    /// A pool is drained, and its pods cannot be evicted.
    async fn may_not_evict(&mut self) {
        self.api.post(POOLS, pool("drained")).await;
        self.runs("x", "drained").await;
        let right = "create pods/eviction in the namespace work";
        self.take("pods/eviction", &["create"]).await;
        self.api.patch(&format!("{POOLS}/drained"), json!({"spec": {"stopPolicy": "HoldAndDrain"}})).await;
        self.is_told(200, "evict_pod", right).await;
        self.runs("beside-evictions", "lab").await;
        self.keeps_calm(2, ("create", "pods", "eviction")).await;
        self.give_back().await;
        self.is_well("evict_pod", right).await;
        self.api.until_gone(&format!("{}/x-0", pods(WORK)), 20).await;
        self.checks.ok("without evictions it says so, starts others, and evicts when it may");
    }

    async fn may_not_write_statuses(&mut self) {
        let right = "patch pooledworkloads/status of weir.dev in the namespace work";
        self.take("pooledworkloads/status", &["patch"]).await;
        for name in ["d", "e", "f"] {
            self.api.post(&workloads(WORK), workload(name, "lab")).await;
        }
        self.is_told(200, "workload_status", right).await;
        let runs = |pod: &Value| pod["status"]["phase"] == "Running";
        for name in ["d", "e", "f"] {
            self.api.until(&format!("{}/{name}-0", pods(WORK)), 20, runs).await;
        }
        self.keeps_calm(2, ("patch", "pooledworkloads", "status")).await;
        let used = |pool: &Value| pool["status"]["workloads"]["running"].as_u64().unwrap_or_default() >= 6;
        let found = self.api.get(&format!("{POOLS}/lab")).await.unwrap();
        assert!(used(&found), "the pool's status is written: {}", found["status"]);
        self.give_back().await;
        self.is_well("workload_status", right).await;
        for name in ["d", "e", "f"] {
            self.api.until_phase(WORK, name, "Running", 20).await;
        }
        self.checks.ok("without statuses of workloads it says so, starts them all the same, and writes what was missing when it may");
    }

    async fn may_not_create_pods(&mut self) {
        let right = "create pods in the namespace work";
        self.take("pods", &["create"]).await;
        for name in ["g", "h", "i"] {
            self.api.post(&workloads(WORK), workload(name, "lab")).await;
        }
        self.is_told(200, "create_pod", right).await;
        let because = |found: &Value| {
            let pending = &found["status"]["pending"];
            pending["reason"] == "CreateRefused"
                && pending["message"]
                    .as_str()
                    .is_some_and(|message| message.contains("cannot create resource"))
        };
        self.api.until(&format!("{}/g", workloads(WORK)), 20, because).await;
        self.suspend("d", true).await;
        self.api.until_gone(&format!("{}/d-0", pods(WORK)), 20).await;
        self.keeps_calm(2, ("create", "pods", "")).await;
        self.give_back().await;
        self.is_well("create_pod", right).await;
        for name in ["g", "h", "i"] {
            // At once, and not when each of them would be tried again.
            self.api.until_phase(WORK, name, "Running", 8).await;
        }
        self.checks.ok("without creates it says so, stops others, and creates at once when it may");
    }

    async fn may_not_hold_pools(&mut self) {
        let right = "patch resourcepools of weir.dev in the cluster";
        self.take("resourcepools", &["patch"]).await;
        self.api.post(POOLS, pool("held")).await;
        self.runs("in-held", "held").await;
        self.is_told(200, "pool_finalizers", right).await;
        let used = |pool: &Value| pool["status"]["workloads"]["running"] == 1;
        self.api.until(&format!("{POOLS}/held"), 20, used).await;
        self.keeps_calm(2, ("patch", "resourcepools", "")).await;
        self.give_back().await;
        self.is_well("pool_finalizers", right).await;
        let held = |pool: &Value| pool["metadata"]["finalizers"] == json!(["weir.dev/in-use"]);
        self.api.until(&format!("{POOLS}/held"), 20, held).await;
        self.checks.ok("without finalizers it says so, and the pool's status is written all the same");
    }

    async fn may_not_write_ledgers(&mut self) {
        let right = "update configmaps in the namespace weir-system";
        self.take("configmaps", &["create", "update"]).await;
        for name in ["j", "k", "l"] {
            self.api.post(&workloads(WORK), workload(name, "lab")).await;
        }
        self.is_told(503, "ledger", right).await;
        let because = |found: &Value| {
            let message = found["status"]["pending"]["message"].as_str().unwrap_or_default().to_owned();
            message.contains("the ledger weir-ledger-lab cannot be written: ")
        };
        self.api.until(&format!("{}/j", workloads(WORK)), 20, because).await;
        self.suspend("e", true).await;
        self.api.until_gone(&format!("{}/e-0", pods(WORK)), 20).await;
        self.keeps_calm(2, ("update", "configmaps", "")).await;
        self.give_back().await;
        self.is_well("ledger", right).await;
        for name in ["j", "k", "l"] {
            self.api.until_phase(WORK, name, "Running", 8).await;
        }
        self.checks.ok("without ledgers it is not ready, says so, stops others, and admits when it may");
    }

    async fn may_not_write_events(&mut self) {
        let right = "create events of events.k8s.io in the namespace work";
        self.take("events", &["create"]).await;
        self.runs("without-events", "lab").await;
        self.is_told(200, "event", right).await;
        for name in ["m", "n", "o", "p"] {
            self.runs(name, "lab").await;
        }
        self.keeps_calm(2, ("create", "events", "")).await;
        self.give_back().await;
        self.is_well("event", right).await;
        self.runs("with-events", "lab").await;
        let told = |events: &[Value]| events.iter().any(|event| event["regarding"]["name"] == "with-events");
        self.api.until_list(&format!("/apis/events.k8s.io/v1/namespaces/{WORK}/events"), 20, told).await;
        self.checks.ok("without events it says so and goes on");
    }

    /// One kind may be listed, and its watch not.
    async fn may_not_list_and_watch_at_once(&mut self) {
        self.take("priorityclasses", &["watch"]).await;
        // What is open stays so: another operator begins.
        self.again().await;
        let wanted = "may not list and watch PriorityClass";
        let told = self.web.until("/readyz", 30, |told| told.code == 200 && told.text.contains(wanted)).await;
        assert!(told.text.contains("cannot watch resource \"priorityclasses\""), "{told:?}");
        self.runs("classless", "lab").await;
        let user = self.account.user();
        let lists = || {
            let text = std::fs::read_to_string(self.cluster.path("AUDIT_LOG")).unwrap();
            let of_it = |line: &&str| {
                line.contains(&user)
                    && line.contains("\"verb\":\"list\"")
                    && line.contains("/priorityclasses?")
            };
            text.lines().filter(of_it).count()
        };
        let (before, lines) = (lists(), self.lines());
        assert!(before > 0, "lists are written down");
        for _ in 0..50 {
            let told = self.web.get("/readyz", None).await;
            assert!(told.text.contains(wanted), "it is said all the time: {told:?}");
            pause(200).await;
        }
        let more = lists() - before;
        // After 0.1, 0.2, 0.4, ... s: without pauses they would be a hundred.
        assert!(more <= 10, "{more} lists in 10 s");
        assert!(self.lines() - lines <= 2, "{}", self.operator.as_ref().unwrap().log());
        let events = self.api.list(EVENTS).await;
        let of_it = |event: &&Value| event["note"].as_str().is_some_and(|note| note.contains(wanted));
        assert_eq!(events.iter().filter(of_it).count(), 1);
        self.give_back().await;
        self.web.until("/readyz", 40, |told| told.code == 200 && told.text == "ok\n").await;
        self.checks
            .ok("where a kind may be listed and not watched there is no storm, and it is said until it may");
    }

    /// Starts another operator in the place of the one that runs.
    async fn again(&mut self) {
        let before = self.operator.take().unwrap();
        let log = before.path();
        before.stop();
        std::fs::remove_file(&log).unwrap();
        let operator = self.account.start(&[]);
        self.web = Web::plain(port_in_log(&operator.path(), "serves health").await);
        self.operator = Some(operator);
        self.web.until("/healthz", 20, |told| told.code == 200).await;
    }

    async fn may_not_renew(&mut self) {
        self.again().await;
        self.web.until("/readyz", 30, |told| told.text == "ok\n").await;
        self.runs("q", "lab").await;
        let right = "update leases of coordination.k8s.io in the namespace weir-system";
        self.take("leases", &["update"]).await;
        let wanted = format!("the operator may not {right}, so it cannot lead");
        let told =
            self.web.until("/readyz", 20, |told| told.code == 503 && told.text.contains(&wanted)).await;
        assert!(told.text.contains("docs/rbac.yaml"), "{told:?}");
        // The lead is over, and no longer tried for each second.
        tokio::time::sleep(Duration::from_secs(12)).await;
        self.keeps_calm(3, ("update", "leases", "")).await;
        let metrics = self.web.get("/metrics", None).await.text;
        assert!(metrics.contains("weir_permission_missing{request=\"lease\"} 1\n"), "{metrics}");
        assert!(metrics.contains("weir_leading 0\n"), "{metrics}");
        self.give_back().await;
        self.web.until("/readyz", 40, |told| told.code == 200 && told.text == "ok\n").await;
        self.runs("r", "lab").await;
        self.checks.ok("without the Lease it leads no more, says so, and leads when it may");
    }

    async fn may_not_list_ledgers(&mut self) {
        self.take("configmaps", &["list"]).await;
        self.again().await;
        let right = "list configmaps in the namespace weir-system";
        self.is_told(503, "list_ledgers", right).await;
        let told = self.web.get("/readyz", None).await;
        assert!(told.text.contains("the ledgers in weir-system cannot be read: "), "{told:?}");
        pause(10_000).await;
        self.keeps_calm(3, ("list", "configmaps", "")).await;
        self.give_back().await;
        self.web.until("/readyz", 60, |told| told.code == 200 && told.text == "ok\n").await;
        self.runs("s", "lab").await;
        self.is_well("list_ledgers", right).await;
        self.checks.ok("without the list of ledgers it does not take over, says so, and does when it may");
    }
}
