//! Rights, tokens and definitions that are not as they should be: the operator says so, in words that help, does what it can
//! without, and goes on by itself when they are mended.

use std::collections::BTreeSet;
use std::time::Instant;

use serde_json::{Value, json};

use super::api::{Api, Checks, POOLS, pause, workloads};
use super::cluster::Cluster;
use super::operator::{Account, NAMESPACE, Operator};
use super::web::{Web, port_in_log};

const WORK: &str = "work";
const ROLE: &str = "/apis/rbac.authorization.k8s.io/v1/clusterroles/weir";
const EVENTS: &str = "/apis/events.k8s.io/v1/namespaces/weir-system/events";

struct Bench {
    operator: Option<Operator>,
    api: Api,
    cluster: Cluster,
    checks: Checks,
    /// The rules of the operator's role, as the documentation has them.
    rules: Value,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_operator_lacks_is_told_and_the_rest_goes_on() {
    let checks = Checks::begin("rights");
    let cluster = Cluster::up(&["--no-nodes", "--no-crds"]);
    let api = Api::new(&cluster.kubeconfig()).await;
    let account = Account::least(&cluster, &api).await;
    let rules = api.get(ROLE).await.unwrap()["rules"].clone();
    let mut bench = Bench { operator: None, api, cluster, checks, rules };
    bench.waits_for_the_definitions(&account).await;
    bench.does_without_kinds(&account).await;
    bench.decides_nothing_without_nodes(&account).await;
    bench.tells_of_older_definitions(&account).await;
    bench.reads_a_new_token(&account).await;
    if let Some(operator) = bench.operator.take() {
        operator.stop();
    }
}

fn pool() -> Value {
    json!({
        "apiVersion": "weir.dev/v1alpha1", "kind": "ResourcePool", "metadata": {"name": "lab"},
        "spec": {"nodes": {"selector": {"matchLabels": {"kind": "small"}}}, "access": {"namespaces": {}},
                 "resources": [{"name": "cpu"}, {"name": "memory"}]},
    })
}

fn workload(name: &str) -> Value {
    json!({
        "apiVersion": "weir.dev/v1alpha1", "kind": "PooledWorkload", "metadata": {"name": name},
        "spec": {"pool": "lab", "template": {"pod": {"spec": {"containers": [{"name": "main", "image": "x",
            "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}}}]}}}},
    })
}

impl Bench {
    /// Starts the operator anew, and returns where its health is.
    async fn start(&mut self, account: &Account, more: &[&str]) -> Web {
        if let Some(operator) = self.operator.take() {
            operator.stop();
        }
        let _ = std::fs::remove_file(self.cluster.dir.join("weir.log"));
        let operator = account.start(more);
        let port = port_in_log(&operator.path(), "serves health").await;
        self.operator = Some(operator);
        Web::plain(port)
    }

    fn log(&self) -> String {
        self.operator.as_ref().unwrap().log()
    }

    /// The documented rights but for these.
    async fn grant_all_but(&self, groups: &[&str], resources: &[&str]) {
        let mut rules = self.rules.clone();
        let named = |words: &Value, some: &[&str]| {
            words.as_array().unwrap().iter().any(|word| some.contains(&word.as_str().unwrap()))
        };
        for rule in rules.as_array_mut().unwrap() {
            if named(&rule["apiGroups"], groups) || named(&rule["resources"], resources) {
                let left: Vec<Value> = rule["resources"].as_array().unwrap().clone();
                let left = left.into_iter().filter(|one| {
                    !resources.contains(&one.as_str().unwrap()) && !named(&rule["apiGroups"], groups)
                });
                rule["resources"] = json!(left.collect::<Vec<Value>>());
            }
        }
        rules.as_array_mut().unwrap().retain(|rule| rule["resources"] != json!([]));
        self.api.patch(ROLE, json!({"rules": rules})).await;
        pause(500).await;
    }

    async fn grant_all(&self) {
        self.api.patch(ROLE, json!({"rules": self.rules})).await;
    }

    async fn define(&self, change: impl Fn(&mut Value)) {
        for text in
            [include_str!("../../crds/resourcepools.yaml"), include_str!("../../crds/pooledworkloads.yaml")]
        {
            let mut crd: Value = serde_yaml::from_str(text).unwrap();
            change(&mut crd);
            self.api.define(crd).await;
        }
    }

    /// The API server publishes the schema of a changed definition with a delay. `good` looks at a pool's properties.
    async fn published(&self, good: impl Fn(&Value) -> bool) {
        let fields = |schema: &Value| {
            let all = schema["components"]["schemas"].as_object().unwrap();
            let pools = all.iter().find(|(name, _)| name.ends_with(".ResourcePool"));
            pools.map(|(_, pool)| pool["properties"].clone())
        };
        let path = "/openapi/v3/apis/weir.dev/v1alpha1";
        self.api.until(path, 60, |schema| fields(schema).is_some_and(|fields| good(&fields))).await;
    }

    /// The operator is there before the definitions are.
    async fn waits_for_the_definitions(&mut self, account: &Account) {
        let web = self.start(account, &[]).await;
        let wanted = "does not know the kind ResourcePool";
        let told = web.until("/readyz", 30, |told| told.code == 503 && told.text.contains(wanted)).await;
        assert!(told.text.contains("kubectl apply --server-side -f crds/"), "{told:?}");
        assert!(self.log().contains(wanted), "{}", self.log());
        self.define(|_| {}).await;
        web.until("/readyz", 30, |told| told.code == 200 && told.text == "ok\n").await;
        self.checks.ok("without the definitions it says which to install, and goes on when they are there");
    }

    /// Priority classes and `KubeVirt`'s kinds may not be listed.
    async fn does_without_kinds(&mut self, account: &Account) {
        self.api.small_nodes(1).await;
        self.api.namespace(WORK).await;
        self.api.post(POOLS, pool()).await;
        let class = json!({"metadata": {"name": "urgent"}, "value": 1000});
        self.api.post("/apis/scheduling.k8s.io/v1/priorityclasses", class).await;
        crate::kubevirt::real::install(&self.api.client).await.unwrap();
        self.grant_all_but(&["kubevirt.io", "instancetype.kubevirt.io"], &["priorityclasses"]).await;
        let web = self.start(account, &[]).await;
        let told =
            web.until("/readyz", 30, |told| told.code == 200 && told.text.contains("PriorityClass")).await;
        assert!(told.text.starts_with("ok\nnote: "), "{told:?}");
        for words in
            ["cannot list resource \"priorityclasses\"", "list and watch VirtualMachine,", "docs/rbac.yaml"]
        {
            assert!(told.text.contains(words), "no {words} in {}", told.text);
        }
        let place = workloads(WORK);
        self.api.post(&place, workload("plain")).await;
        self.api.until_phase(WORK, "plain", "Running", 30).await;
        let mut classed = workload("classed");
        classed["spec"]["priorityClassName"] = json!("urgent");
        self.api.post(&place, classed).await;
        let machine = json!({"domain": {"cpu": {"cores": 1}, "memory": {"guest": "1Gi"}, "devices": {}}});
        let mut virtual_one = workload("virtual");
        virtual_one["spec"]["template"] =
            json!({"virtualMachine": {"spec": {"template": {"spec": machine}}}});
        self.api.post(&place, virtual_one).await;
        let because =
            |reason: &'static str| move |found: &Value| found["status"]["pending"]["reason"] == reason;
        let found = self.api.until(&format!("{place}/classed"), 30, because("PriorityClassNotFound")).await;
        let message = found["status"]["pending"]["message"].as_str().unwrap();
        assert!(message.contains("may not list PriorityClasses"), "{message}");
        self.api.until(&format!("{place}/virtual"), 30, because("KubeVirtNotInstalled")).await;
        let metrics = web.get("/metrics", None).await.text;
        assert!(
            metrics.contains("weir_permission_missing{request=\"list_priority_class\"} 1\n"),
            "{metrics}"
        );
        let named = |events: &[Value]| {
            events.iter().any(|event| {
                event["reason"] == "PermissionMissing"
                    && event["regarding"]["kind"] == "Lease"
                    && event["note"].as_str().is_some_and(|note| note.contains("priorityclasses"))
            })
        };
        self.api.until_list(EVENTS, 20, named).await;
        self.checks.ok("without priority classes and KubeVirt's kinds pods run, and log, /readyz, metric and event say what is missing");
        // Taken away while it runs, what was known stays; given back, all goes on without a restart.
        self.grant_all().await;
        self.api.until_phase(WORK, "classed", "Running", 30).await;
        let waits = |found: &Value| {
            found["status"]["pending"]["reason"].is_string()
                && found["status"]["pending"]["reason"] != "KubeVirtNotInstalled"
        };
        self.api.until(&format!("{place}/virtual"), 40, waits).await;
        let told = web.until("/readyz", 30, |told| told.text == "ok\n").await;
        assert_eq!(told.code, 200);
        let metrics = web.get("/metrics", None).await.text;
        assert!(
            metrics.contains("weir_permission_missing{request=\"list_priority_class\"} 0\n"),
            "{metrics}"
        );
        self.api.delete(&format!("{place}/virtual")).await;
        self.checks.ok("when the rights are given, it goes on by itself");
    }

    /// Without nodes everything would seem to be gone: nothing is decided, and what runs goes on.
    async fn decides_nothing_without_nodes(&mut self, account: &Account) {
        self.grant_all_but(&[], &["nodes"]).await;
        let web = self.start(account, &[]).await;
        let wanted = "may not list and watch Node, so nothing is decided";
        let told = web.until("/readyz", 30, |told| told.code == 503 && told.text.contains(wanted)).await;
        assert!(told.text.contains("cannot list resource \"nodes\""), "{told:?}");
        let place = workloads(WORK);
        self.api.post(&place, workload("later")).await;
        pause(3000).await;
        let later = self.api.get(&format!("{place}/later")).await.unwrap();
        assert!(later["status"]["phase"].is_null(), "{later:#}");
        let plain = self.api.get(&format!("{place}/plain")).await.unwrap();
        assert_eq!(plain["status"]["phase"], "Running");
        self.grant_all().await;
        self.api.until_phase(WORK, "later", "Running", 40).await;
        web.until("/readyz", 10, |told| told.code == 200).await;
        self.checks.ok("without nodes nothing is decided, and it says why; what runs goes on");
    }

    /// An older definition lacks a field that the operator writes, a newer one has one more.
    async fn tells_of_older_definitions(&mut self, account: &Account) {
        let schema = "/spec/versions/0/schema/openAPIV3Schema/properties";
        let pools = |crd: &Value| crd["spec"]["names"]["kind"] == "ResourcePool";
        self.define(|crd| {
            if pools(crd) {
                let resources = format!("{schema}/status/properties/resources/items/properties");
                crd.pointer_mut(&resources).unwrap().as_object_mut().unwrap().remove("available").unwrap();
            }
        })
        .await;
        self.published(|pool| {
            pool["status"]["properties"]["resources"]["items"]["properties"]["available"].is_null()
        })
        .await;
        let web = self.start(account, &[]).await;
        let told = web.until("/readyz", 60, |told| told.code == 200 && told.text.contains("is older")).await;
        let wanted =
            "definition of ResourcePool is older than the operator and drops status.resources[].available";
        assert!(told.text.contains(wanted) && told.text.contains("helm upgrade"), "{told:?}");
        let metrics = web.get("/metrics", None).await.text;
        assert!(metrics.contains("weir_definition_fields_missing{kind=\"ResourcePool\"} 1\n"), "{metrics}");
        self.api.post(&workloads(WORK), workload("under-older")).await;
        self.api.until_phase(WORK, "under-older", "Running", 30).await;
        // What is dropped is not written again and again.
        pause(3000).await;
        let written = async || {
            let text = web.get("/metrics", None).await.text;
            let line = text.lines().find_map(|line| {
                line.strip_prefix("weir_api_requests_total{kind=\"pool_status\",result=\"done\"} ")
            });
            line.map_or(0, |count| count.parse::<u64>().unwrap())
        };
        let before = written().await;
        pause(6000).await;
        let more = written().await - before;
        assert!(more <= 1, "a status that is dropped is written {more} times in 6 s");
        self.checks.ok("an older definition: it names the field that is dropped, and works on");
        self.define(|crd| {
            if pools(crd) {
                let spec = format!("{schema}/spec/properties");
                crd.pointer_mut(&spec).unwrap()["invented"] = json!({"type": "string", "maxLength": 9});
            }
        })
        .await;
        self.published(|pool| pool["spec"]["properties"]["invented"].is_object()).await;
        let web = self.start(account, &[]).await;
        web.until("/readyz", 30, |told| told.code == 200 && told.text == "ok\n").await;
        self.api.patch(&format!("{POOLS}/lab"), json!({"spec": {"invented": "yes"}})).await;
        self.api.post(&workloads(WORK), workload("under-newer")).await;
        self.api.until_phase(WORK, "under-newer", "Running", 30).await;
        let lab = self.api.get(&format!("{POOLS}/lab")).await.unwrap();
        assert_eq!(lab["spec"]["invented"], "yes", "what a newer version wrote stays");
        let metrics = web.get("/metrics", None).await.text;
        assert!(metrics.contains("weir_definition_fields_missing{kind=\"ResourcePool\"} 0\n"), "{metrics}");
        self.checks.ok("a newer definition, with a field in use that it does not know: it goes on");
    }

    /// The token is worth nothing any more; later another is in its file.
    async fn reads_a_new_token(&mut self, account: &Account) {
        let secrets = format!("/api/v1/namespaces/{NAMESPACE}/secrets");
        let mut tokens = Vec::new();
        for name in ["first", "second"] {
            let secret = self.api.post(&secrets, json!({"metadata": {"name": name}})).await;
            let bound =
                json!({"kind": "Secret", "apiVersion": "v1", "name": name, "uid": secret["metadata"]["uid"]});
            let path = format!("/api/v1/namespaces/{NAMESPACE}/serviceaccounts/{}/token", account.name);
            let token = self.api.post(&path, json!({"spec": {"boundObjectRef": bound}})).await;
            tokens.push(token["status"]["token"].as_str().unwrap().to_owned());
        }
        let file = self.cluster.dir.join("token");
        std::fs::write(&file, &tokens[0]).unwrap();
        let by_file = account.by_token_file(&self.cluster, &file);
        let web = self.start(&by_file, &[]).await;
        web.until("/readyz", 30, |told| told.code == 200 && told.text == "ok\n").await;
        self.api.delete(&format!("{secrets}/first")).await;
        let wanted = "does not know the operator's credentials (401 Unauthorized)";
        let told = web.until("/readyz", 60, |told| told.code == 503 && told.text.contains(wanted)).await;
        assert!(told.text.contains("expired or was revoked"), "{told:?}");
        let log = self.log();
        let said: BTreeSet<&str> = log.lines().filter(|line| line.contains(wanted)).collect();
        assert_eq!(said.len(), 1, "said once, in words that help:\n{log}");
        self.checks.ok("a token that is worth nothing any more: log and /readyz say so");
        std::fs::write(&file, &tokens[1]).unwrap();
        let began = Instant::now();
        web.until("/readyz", 90, |told| told.code == 200 && told.text == "ok\n").await;
        self.api.post(&workloads(WORK), workload("by-new-token")).await;
        self.api.until_phase(WORK, "by-new-token", "Running", 30).await;
        let took = began.elapsed().as_secs();
        self.operator.as_mut().unwrap().assert_alive();
        self.checks
            .ok(&format!("a new token in the same file is taken up after {took} s, without a restart"));
    }
}
