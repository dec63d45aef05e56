//! The real runner: one control plane and one operator for all scenarios, which run side by side, each on nodes,
//! pools and namespaces of its own. Time is real; what is expected must come true within a tolerance.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::{Method, Request};
use futures::{StreamExt as _, stream};
use kube::Client;
use kube::config::{Config, KubeConfigOptions, Kubeconfig};
use serde_json::{Value, json};
use tokio::time::{sleep, sleep_until};

use collector::Collector;

use super::cluster::{ControlPlane, SYSTEM};
use super::expand::{Key, is_namespaced, with_first_recommendation};
use super::file::{Act, Expect, Scenario};
use super::kubelet::LOST;
use super::rename::{Prefix, namespaces};
use super::store::namespace_manifest;
use super::view::{Look, compare};

mod collector;

/// What is expected comes true that late at most: there are two busy cores, not ten.
const TOLERANCE: Duration = Duration::from_secs(15);
/// What waits, or is not there, must still be so after that long.
const HOLDS: Duration = Duration::from_secs(1);
const BETWEEN_LOOKS: Duration = Duration::from_millis(200);
/// So many scenarios at once.
const SIDE_BY_SIDE: usize = 10;
const JSON: &str = "application/json";
const MERGE: &str = "application/merge-patch+json";

/// What became of one scenario.
pub struct Outcome {
    /// Its name.
    pub name: String,
    /// How long it took.
    pub took: Duration,
    /// What was wrong.
    pub wrong: Vec<String>,
}

/// Runs all scenarios.
pub fn run_all(scenarios: &[Scenario]) -> Vec<Outcome> {
    let plane = ControlPlane::start();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let mut outcomes = runtime.block_on(async {
        let config = Kubeconfig::read_from(plane.env("KUBECONFIG")).unwrap();
        let config = Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await.unwrap();
        let api = Api {
            client: Client::try_from(config).unwrap(),
            audit: Arc::from(plane.env("AUDIT_LOG")),
            collector: Arc::default(),
        };
        api.apply(&namespace_manifest(SYSTEM)).await.unwrap();
        let mut operator = plane.operator();
        let outcomes = run_groups(&api, scenarios).await;
        let wrong: Vec<String> = operator.wrong().into_iter().collect();
        (outcomes, wrong.into_iter().chain(operator.stop()).collect::<Vec<String>>())
    });
    if !outcomes.1.is_empty() {
        let name = "the operator runs on and ends when it is told to".to_owned();
        outcomes.0.push(Outcome { name, took: Duration::ZERO, wrong: outcomes.1 });
    }
    outcomes.0
}

/// Those that need no `KubeVirt` first, then one by one those in which it comes and goes, then those that have it.
async fn run_groups(api: &Api, scenarios: &[Scenario]) -> Vec<Outcome> {
    let installs = |one: &Scenario| {
        one.steps.iter().flat_map(|step| &step.acts).any(|act| matches!(act, Act::KubeVirt(_)))
    };
    let group = |one: &Scenario| (installs(one), one.kubevirt);
    let mut outcomes = Vec::new();
    for (which, side_by_side) in
        [((false, false), SIDE_BY_SIDE), ((true, false), 1), ((false, true), SIDE_BY_SIDE)]
    {
        let chosen: Vec<_> = scenarios.iter().enumerate().filter(|(_, one)| group(one) == which).collect();
        if chosen.is_empty() {
            continue;
        }
        let stand_in =
            (which != (false, false)).then(|| tokio::spawn(crate::kubevirt::real::run(api.client.clone())));
        if which.1
            && let Err(problem) = crate::kubevirt::real::install(&api.client).await
        {
            let name = "KubeVirt's kinds can be installed".to_owned();
            outcomes.push(Outcome { name, took: Duration::ZERO, wrong: vec![problem] });
            return outcomes;
        }
        let ran = stream::iter(chosen)
            .map(|(number, scenario)| run(api, scenario, Prefix::of(number)))
            .buffer_unordered(side_by_side)
            .collect::<Vec<Outcome>>()
            .await;
        outcomes.extend(ran);
        if let Some(stand_in) = stand_in {
            stand_in.abort();
        }
    }
    outcomes
}

async fn run(api: &Api, scenario: &Scenario, prefix: Prefix) -> Outcome {
    let began = Instant::now();
    let mut real = Real { api, prefix };
    let wrong = match real.setup(scenario).await {
        Ok(()) => real.play(scenario).await,
        Err(problem) => vec![format!("setup: {problem}")],
    };
    real.clean_up(scenario).await;
    let outcome = Outcome { name: scenario.name.clone(), took: began.elapsed(), wrong };
    let word = if outcome.wrong.is_empty() { "ok" } else { "FAILED" };
    println!("scenario {} ... {word} ({:.1} s, real)", outcome.name, outcome.took.as_secs_f64());
    outcome
}

#[derive(Clone)]
struct Api {
    client: Client,
    audit: Arc<str>,
    collector: Arc<Collector>,
}

fn collection(kind: &str, namespace: &str) -> String {
    let (base, plural) = match kind {
        "Pod" => ("/api/v1", "pods"),
        "Node" => ("/api/v1", "nodes"),
        "Namespace" => ("/api/v1", "namespaces"),
        "ResourceQuota" => ("/api/v1", "resourcequotas"),
        "PersistentVolume" => ("/api/v1", "persistentvolumes"),
        "PersistentVolumeClaim" => ("/api/v1", "persistentvolumeclaims"),
        "ServiceAccount" => ("/api/v1", "serviceaccounts"),
        "ConfigMap" => ("/api/v1", "configmaps"),
        "Event" => ("/apis/events.k8s.io/v1", "events"),
        "Deployment" => ("/apis/apps/v1", "deployments"),
        "StatefulSet" => ("/apis/apps/v1", "statefulsets"),
        "Job" => ("/apis/batch/v1", "jobs"),
        "PriorityClass" => ("/apis/scheduling.k8s.io/v1", "priorityclasses"),
        "ResourcePool" => ("/apis/weir.dev/v1alpha1", "resourcepools"),
        "PooledWorkload" => ("/apis/weir.dev/v1alpha1", "pooledworkloads"),
        _ => {
            return crate::kubevirt::crds::collection(kind, namespace)
                .unwrap_or_else(|| panic!("nobody knows where objects of kind {kind} are"));
        }
    };
    if is_namespaced(kind) {
        format!("{base}/namespaces/{namespace}/{plural}")
    } else {
        format!("{base}/{plural}")
    }
}

fn path(key: &Key) -> String {
    format!("{}/{}", collection(&key.kind, &key.namespace), key.name)
}

impl Api {
    async fn call(
        &self,
        method: Method,
        path: &str,
        content: &str,
        body: &Value,
    ) -> Result<Value, (u16, String)> {
        let body = if body.is_null() { Vec::new() } else { serde_json::to_vec(body).unwrap() };
        let request =
            Request::builder().method(method).uri(path).header("content-type", content).body(body).unwrap();
        self.client.request::<Value>(request).await.map_err(|error| match error {
            kube::Error::Api(status) => (status.code, status.message.clone()),
            other => (0, other.to_string()),
        })
    }

    async fn get(&self, key: &Key) -> Result<Option<Value>, String> {
        match self.call(Method::GET, &path(key), JSON, &Value::Null).await {
            Ok(object) => Ok(Some(object)),
            Err((404, _)) => Ok(None),
            Err((_, words)) => Err(words),
        }
    }

    async fn patch(&self, key: &Key, patch: &Value) -> Result<(), String> {
        // What a node offers is in its status, which is written by itself.
        let part = if key.kind == "Node" && patch["status"].is_object() { "/status" } else { "" };
        self.call(Method::PATCH, &format!("{}{part}", path(key)), MERGE, patch)
            .await
            .map(drop)
            .map_err(|(_, words)| words)
    }

    /// Creates it, or merges it into what is there.
    async fn apply(&self, object: &Value) -> Result<(), String> {
        let key = Key::of(object);
        match self.call(Method::POST, &collection(&key.kind, &key.namespace), JSON, object).await {
            Ok(_) => Ok(()),
            Err((409, _)) => self.patch(&key, object).await,
            Err((_, words)) => Err(words),
        }
    }

    async fn delete(&self, key: &Key) -> Result<(), String> {
        self.call(Method::DELETE, &path(key), JSON, &Value::Null).await.map(drop).map_err(|(_, words)| words)
    }

    /// Asks until there is something.
    async fn wait_for<T>(
        &self,
        what: &str,
        key: &Key,
        is: impl Fn(&Value) -> Option<T>,
    ) -> Result<T, String> {
        let until = Instant::now() + TOLERANCE;
        loop {
            if let Some(found) = self.get(key).await?.as_ref().and_then(&is) {
                return Ok(found);
            }
            if Instant::now() > until {
                return Err(format!("{what} of {} {} did not come", key.kind, key.name));
            }
            sleep(BETWEEN_LOOKS).await;
        }
    }
}

struct Real<'a> {
    api: &'a Api,
    prefix: Prefix,
}

fn touched(scenario: &Scenario) -> impl Iterator<Item = &Value> {
    let acts = scenario.steps.iter().flat_map(|step| &step.acts);
    let applied = acts.filter_map(|act| match act {
        Act::Apply(object) | Act::Refused(object, _) => Some(object),
        _ => None,
    });
    scenario.setup.iter().chain(applied)
}

impl Real<'_> {
    async fn setup(&self, scenario: &Scenario) -> Result<(), String> {
        self.api.collector.knows(self.api, scenario).await?;
        for namespace in namespaces(touched(scenario)) {
            let mut manifest = namespace_manifest(&namespace);
            manifest = self.prefix.object("Namespace", &manifest);
            self.api.apply(&manifest).await?;
        }
        let (nodes, others): (Vec<&Value>, Vec<&Value>) =
            scenario.setup.iter().partition(|object| object["kind"] == "Node");
        for object in nodes.iter().chain(&others) {
            self.apply(object).await?;
        }
        for namespace in namespaces(touched(scenario)) {
            let key = self.prefix.key(&Key::new("ServiceAccount", &namespace, "default"));
            self.api.wait_for("the service account", &key, |_| Some(())).await?;
        }
        for node in nodes {
            let key = self.prefix.key(&Key::of(node));
            self.api.wait_for("readiness", &key, |node| is_ready(node).then_some(())).await?;
        }
        Ok(())
    }

    async fn play(&mut self, scenario: &Scenario) -> Vec<String> {
        let mut began = tokio::time::Instant::now();
        for step in &scenario.steps {
            sleep_until(began + millis(step.at.0)).await;
            let acted = tokio::time::Instant::now();
            for act in &step.acts {
                if let Err(problem) = self.act(act).await {
                    return vec![format!("at {} ms: {act:?}: {problem}", step.at.0)];
                }
            }
            // What took longer than it should moves all that comes after.
            began += acted.elapsed();
            sleep_until(began + millis(step.look_at.0)).await;
            let looked = tokio::time::Instant::now();
            let wrong = self.look(&step.expect).await;
            if !wrong.is_empty() {
                let at = format!("at {} ms and {} s more: ", step.look_at.0, looked.elapsed().as_secs());
                return wrong.into_iter().map(|one| at.clone() + &one).collect();
            }
            began += looked.elapsed();
        }
        Vec::new()
    }

    /// Waits for what is expected; what is still wrong at last.
    async fn look(&self, expect: &Expect) -> Vec<String> {
        if expect.is_empty() {
            return Vec::new();
        }
        let until = Instant::now() + TOLERANCE;
        loop {
            let wrong = self.look_once(expect).await;
            if wrong.is_empty() && must_hold(expect) {
                sleep(HOLDS).await;
                let later = self.look_once(expect).await;
                if later.is_empty() || Instant::now() > until {
                    return later;
                }
            } else if wrong.is_empty() || Instant::now() > until {
                return wrong;
            }
            sleep(BETWEEN_LOOKS).await;
        }
    }

    async fn look_once(&self, expect: &Expect) -> Vec<String> {
        match self.see(expect).await {
            Ok(seen) => compare(expect, &seen),
            Err(problem) => vec![problem],
        }
    }

    async fn see(&self, expect: &Expect) -> Result<Seen, String> {
        let mut seen = Seen::default();
        for (kind, names) in [
            ("PooledWorkload", expect.workloads.keys().collect::<Vec<_>>()),
            ("ResourcePool", expect.pools.keys().collect()),
            ("Pod", expect.pods.keys().collect()),
            ("VirtualMachine", expect.machines.keys().collect()),
            ("VirtualMachineInstance", expect.instances.keys().collect()),
            ("Node", expect.nodes.keys().collect()),
        ] {
            for name in names {
                let key = Key::named(kind, name);
                if let Some(object) = self.api.get(&self.prefix.key(&key)).await? {
                    seen.objects.insert(key, self.prefix.strip(&object));
                }
            }
        }
        if expect.starts.is_some() {
            seen.starts = self.starts().await?;
        }
        for name in expect.node_writes.keys() {
            let node = self.prefix.key(&Key::new("Node", "", name)).name;
            seen.node_writes.insert(name.clone(), self.node_writes(&node));
        }
        for (name, expected) in &expect.writes {
            let key = Key::named("PooledWorkload", name);
            let mut counted = self.writes(&self.prefix.key(&key));
            // A start that takes longer than its status waits for it (three seconds, on a busy machine) is told by
            // itself, and costs one write more. The pure core holds the exact number.
            if counted["objects"].as_i64() == expected["objects"].as_i64().map(|objects| objects + 1) {
                counted["objects"] = expected["objects"].clone();
            }
            seen.writes.insert(key, counted);
        }
        for name in expect.events.keys() {
            let key = Key::parse(name)?;
            seen.events.insert(key.clone(), self.events(&self.prefix.key(&key)).await?);
        }
        Ok(seen)
    }

    async fn events(&self, of: &Key) -> Result<Vec<(String, String)>, String> {
        let namespace = if of.namespace.is_empty() { "default" } else { &of.namespace };
        let list = self.api.call(Method::GET, &collection("Event", namespace), JSON, &Value::Null).await;
        let list = list.map_err(|(_, words)| words)?;
        let ours =
            |event: &&Value| event["regarding"]["kind"] == *of.kind && event["regarding"]["name"] == *of.name;
        let mut all: Vec<Value> = list["items"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(ours)
            .map(|one| self.prefix.strip(one))
            .collect();
        // The list is by name; events are written once, so that their versions tell which came later.
        all.sort_by_key(|one| {
            one["metadata"]["resourceVersion"].as_str().and_then(|version| version.parse::<u64>().ok())
        });
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        Ok(all.iter().map(|one| (text(&one["reason"]), text(&one["note"]))).collect())
    }

    /// By the events of admissions, whose times are whole seconds.
    async fn starts(&self) -> Result<Vec<Vec<String>>, String> {
        let key = self.prefix.key(&Key::named("Event", ""));
        let list = self.api.call(Method::GET, &collection("Event", &key.namespace), JSON, &Value::Null).await;
        let list = list.map_err(|(_, words)| words)?;
        let mut by_time: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for event in list["items"].as_array().into_iter().flatten().filter(|event| event["action"] == "Admit")
        {
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            by_time.entry(text(&event["eventTime"])).or_default().push(text(&event["regarding"]["name"]));
        }
        Ok(by_time.into_values().collect())
    }

    /// By the audit log: what the operator wrote about a workload, members and events included.
    fn writes(&self, workload: &Key) -> Value {
        let log = std::fs::read_to_string(&*self.api.audit).unwrap_or_default();
        let (mut objects, mut events) = (0, 0);
        for line in log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
            let of = &line["objectRef"];
            let name = of["name"].as_str().unwrap_or_default();
            let ours = line["requestURI"].as_str().is_some_and(|uri| uri.contains("fieldManager=weir"));
            // A write that was refused has changed nothing.
            let done = line["responseStatus"]["code"].as_u64().is_some_and(|code| code < 300);
            if of["namespace"] != workload.namespace.as_str() || !ours || !done {
                continue;
            }
            match of["resource"].as_str() {
                Some("events") if name.starts_with(&format!("{}.", workload.name)) => events += 1,
                Some("pods") if name.starts_with(&format!("{}-", workload.name)) => objects += 1,
                Some("pooledworkloads") if name == workload.name => objects += 1,
                _ => {}
            }
        }
        json!({"objects": objects, "events": events})
    }

    /// By the audit log: how often the operator wrote a node.
    fn node_writes(&self, node: &str) -> u32 {
        let log = std::fs::read_to_string(&*self.api.audit).unwrap_or_default();
        let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let ours = lines.filter(|line| {
            let of = &line["objectRef"];
            of["resource"] == "nodes"
                && of["name"] == node
                && line["requestURI"].as_str().is_some_and(|uri| uri.contains("fieldManager=weir"))
                && line["responseStatus"]["code"].as_u64().is_some_and(|code| code < 300)
        });
        u32::try_from(ours.count()).unwrap_or(u32::MAX)
    }

    async fn apply(&self, object: &Value) -> Result<(), String> {
        let kind = object["kind"].as_str().unwrap_or_default();
        self.api.apply(&self.prefix.object(kind, object)).await
    }

    async fn act(&self, act: &Act) -> Result<(), String> {
        match act {
            Act::Apply(object) => self.apply(object).await,
            Act::Patch(key, patch) => {
                let there = self.prefix.key(key);
                let seen = if key.kind == "ResourcePool" { self.api.get(&there).await? } else { None };
                let patch = with_first_recommendation(patch, seen.as_ref());
                self.api.patch(&there, &self.prefix.object(&key.kind, &patch)).await
            }
            Act::Delete(key) => self.api.delete(&self.prefix.key(key)).await,
            Act::Refused(object, words) => match self.apply(object).await {
                Ok(()) => Err("it is not refused".to_owned()),
                Err(said) => {
                    let said = said.replace(&self.prefix.0, "");
                    let missing = words.iter().find(|word| !said.contains(*word));
                    missing.map_or(Ok(()), |word| Err(format!("the refusal does not say {word:?}: {said}")))
                }
            },
            Act::End(key, code) => {
                let key = self.prefix.key(key);
                let running = |pod: &Value| (pod["status"]["phase"] == "Running").then_some(());
                self.api.wait_for("the start", &key, running).await?;
                let annotations =
                    json!({"sim.weir.dev/run-for": "0s", "sim.weir.dev/exit-code": code.to_string()});
                self.api.patch(&key, &json!({"metadata": {"annotations": annotations}})).await
            }
            Act::KubeVirt(true) => crate::kubevirt::real::install(&self.api.client).await,
            Act::KubeVirt(false) => crate::kubevirt::real::uninstall(&self.api.client).await,
            Act::Lose(node) => self.label_lost(node, json!("true")).await,
            Act::Find(node) => self.label_lost(node, Value::Null).await,
        }
    }

    async fn label_lost(&self, node: &str, lost: Value) -> Result<(), String> {
        let key = self.prefix.key(&Key::new("Node", "", node));
        self.api.patch(&key, &json!({"metadata": {"labels": {LOST: lost}}})).await
    }

    /// What is left goes by itself; nobody waits for it.
    async fn clean_up(&self, scenario: &Scenario) {
        for object in
            touched(scenario).filter(|object| object["kind"] == "PooledWorkload" || object["kind"] == "Pod")
        {
            let _ = self.api.delete(&self.prefix.key(&Key::of(object))).await;
        }
        for object in
            touched(scenario).filter(|object| !is_namespaced(object["kind"].as_str().unwrap_or_default()))
        {
            let key = Key::of(object);
            if key.kind != "Node" && key.kind != "Namespace" {
                let _ = self.api.delete(&self.prefix.key(&key)).await;
            }
        }
        for namespace in namespaces(touched(scenario)) {
            let _ = self.api.delete(&self.prefix.key(&Key::new("Namespace", "", &namespace))).await;
        }
    }
}

fn millis(millis: i64) -> Duration {
    Duration::from_millis(u64::try_from(millis).unwrap_or(0))
}

fn is_ready(node: &Value) -> bool {
    let conditions = node["status"]["conditions"].as_array();
    let ready =
        conditions.is_some_and(|all| all.iter().any(|one| one["type"] == "Ready" && one["status"] == "True"));
    let taints = node["spec"]["taints"].as_array();
    let born = taints.is_some_and(|all| all.iter().any(|one| one["key"] == "node.kubernetes.io/not-ready"));
    ready && !born
}

/// Whether it could merely be not yet otherwise.
fn must_hold(expect: &Expect) -> bool {
    let waits = |value: &Value| {
        let phase = value.get("phase").unwrap_or(value);
        ["Queued", "Suspended", "gone"].iter().any(|word| phase == word)
    };
    expect.workloads.values().chain(expect.pods.values()).any(waits)
}

#[derive(Default)]
struct Seen {
    objects: BTreeMap<Key, Value>,
    starts: Vec<Vec<String>>,
    writes: BTreeMap<Key, Value>,
    events: BTreeMap<Key, Vec<(String, String)>>,
    node_writes: BTreeMap<String, u32>,
}

impl Look for Seen {
    fn get(&self, key: &Key) -> Option<Value> {
        self.objects.get(key).cloned()
    }

    fn starts(&self) -> Vec<Vec<String>> {
        self.starts.clone()
    }

    fn node_writes(&self, node: &str) -> Option<u32> {
        self.node_writes.get(node).copied()
    }

    fn writes(&self, workload: &Key) -> Option<Value> {
        self.writes.get(workload).cloned()
    }

    fn events(&self, object: &Key) -> Vec<(String, String)> {
        self.events.get(object).cloned().unwrap_or_default()
    }
}
