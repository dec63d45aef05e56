//! Watches pods while a test runs and holds every version of them against the pools' limits, what the nodes
//! offer and the number of live pods of a member. It reads everything by itself, in its own way.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use axum::http::Request;
use futures::TryStreamExt as _;
use kube::core::WatchEvent;
use serde_json::Value;
use tokio::task::JoinHandle;

use super::api::{Api, NODES, POOLS, pause};

/// Thousandths of CPUs, and bytes.
type Load = (i64, i64);

/// A version of a pod.
#[derive(Clone)]
pub struct Version {
    /// What happened: ADDED, MODIFIED or DELETED.
    pub event: &'static str,
    pub pod: Value,
}

#[derive(Default)]
struct Pool {
    parent: Option<String>,
    cpu_limit: Option<i64>,
    memory_limit: Option<i64>,
    peak: Load,
}

#[derive(Default)]
struct Node {
    offers: Load,
    peak: Load,
}

/// What one pod takes while it lives.
struct Live {
    name: String,
    load: Load,
    node: Option<String>,
    pool: Option<String>,
    member: Option<(String, String)>,
}

#[derive(Default)]
struct Book {
    pools: BTreeMap<String, Pool>,
    nodes: BTreeMap<String, Node>,
    live: BTreeMap<String, Live>,
    versions: Vec<Version>,
    violations: Vec<String>,
    looked: u64,
}

/// The auditor. Limits and nodes are read once: they must not change while it watches.
pub struct Auditor {
    book: Arc<Mutex<Book>>,
    task: JoinHandle<()>,
}

impl Auditor {
    pub async fn begin(api: &Api) -> Self {
        let mut book = Book::default();
        for node in api.list(NODES).await {
            let offers = &node["status"]["allocatable"];
            let offers = (cpu(&offers["cpu"]), memory(&offers["memory"]));
            book.nodes.insert(name_of(&node), Node { offers, peak: (0, 0) });
        }
        for pool in api.list(POOLS).await {
            let limit = |resource: &str| {
                let all = pool["spec"]["resources"].as_array()?;
                let one = all.iter().find(|one| one["name"] == resource)?;
                Some(one["limit"].clone()).filter(|limit| !limit.is_null())
            };
            let made = Pool {
                parent: pool["spec"]["parent"].as_str().map(str::to_owned),
                cpu_limit: limit("cpu").as_ref().map(cpu),
                memory_limit: limit("memory").as_ref().map(memory),
                peak: (0, 0),
            };
            book.pools.insert(name_of(&pool), made);
        }
        let list = api.get("/api/v1/pods").await.unwrap();
        for pod in list["items"].as_array().unwrap() {
            book.see("ADDED", pod);
        }
        let version = list["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
        let book = Arc::new(Mutex::new(book));
        let task = tokio::spawn(follow(api.clone(), version, book.clone()));
        Self { book, task }
    }

    /// Every version of the pods of one namespace, in order.
    pub fn versions(&self, namespace: &str) -> Vec<Version> {
        let book = self.book.lock().unwrap();
        let ours = |version: &&Version| version.pod["metadata"]["namespace"] == namespace;
        book.versions.iter().filter(ours).cloned().collect()
    }

    /// A node is said to offer so many (thousandths of) CPUs.
    pub fn believe(&self, node: &str, cpus: i64) {
        self.book.lock().unwrap().nodes.get_mut(node).unwrap().offers.0 = cpus;
    }

    /// The most CPUs (in thousandths) that a pool had at a time.
    pub fn peak_of_pool(&self, pool: &str) -> i64 {
        self.book.lock().unwrap().pools[pool].peak.0
    }

    /// Nodes that were full at some time.
    pub fn full_nodes(&self) -> usize {
        let book = self.book.lock().unwrap();
        book.nodes.values().filter(|node| node.peak.0 == node.offers.0).count()
    }

    /// Pods that live now.
    pub fn live(&self) -> Vec<String> {
        self.book.lock().unwrap().live.values().map(|one| one.name.clone()).collect()
    }

    /// Nothing may have been wrong, and it must have looked.
    pub fn assert_sound(&self) {
        assert!(!self.task.is_finished(), "the auditor's watch broke");
        let book = self.book.lock().unwrap();
        let shown: Vec<_> = book.violations.iter().take(20).cloned().collect();
        assert!(
            shown.is_empty(),
            "{} of {} events break an invariant:\n{}",
            book.violations.len(),
            book.looked,
            shown.join("\n")
        );
        assert!(book.looked > 0, "the auditor saw nothing");
    }

    pub fn looked(&self) -> u64 {
        self.book.lock().unwrap().looked
    }
}

impl Drop for Auditor {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn follow(api: Api, mut version: String, book: Arc<Mutex<Book>>) {
    loop {
        let path = format!("/api/v1/pods?watch=1&allowWatchBookmarks=true&resourceVersion={version}");
        let request = Request::get(path).body(Vec::new()).unwrap();
        let Ok(stream) = api.client.request_events::<Value>(request).await else {
            pause(200).await;
            continue;
        };
        let mut stream = std::pin::pin!(stream);
        while let Ok(Some(event)) = stream.try_next().await {
            let (what, pod) = match event {
                WatchEvent::Added(pod) => ("ADDED", pod),
                WatchEvent::Modified(pod) => ("MODIFIED", pod),
                WatchEvent::Deleted(pod) => ("DELETED", pod),
                WatchEvent::Bookmark(mark) => {
                    version = mark.metadata.resource_version;
                    continue;
                }
                // A gap would make all that follows worthless: the test fails by the task's end.
                WatchEvent::Error(error) => panic!("the auditor's watch: {error}"),
            };
            pod["metadata"]["resourceVersion"].as_str().unwrap().clone_into(&mut version);
            book.lock().unwrap().see(what, &pod);
        }
    }
}

impl Book {
    fn see(&mut self, event: &'static str, pod: &Value) {
        self.looked += 1;
        self.versions.push(Version { event, pod: pod.clone() });
        let uid = pod["metadata"]["uid"].as_str().unwrap();
        let ended = matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
        if event == "DELETED" || ended {
            // A smaller load breaks nothing.
            self.live.remove(uid);
            return;
        }
        let at = format!("{event} at {}", pod["metadata"]["resourceVersion"]);
        self.live.insert(uid.to_owned(), live(pod));
        self.hold_members(uid, &at);
        self.hold_node(uid, &at);
        self.hold_pools(uid, &at);
    }

    fn hold_members(&mut self, uid: &str, at: &str) {
        let Some(member) = &self.live[uid].member else { return };
        let same = self.live.values().filter(|one| one.member.as_ref() == Some(member));
        let names: Vec<&str> = same.map(|one| one.name.as_str()).collect();
        if names.len() > 1 {
            self.violations.push(format!("I3 {at}: {names:?} live at once for index {}", member.1));
        }
    }

    fn hold_node(&mut self, uid: &str, at: &str) {
        let Some(name) = &self.live[uid].node else { return };
        let load = sum(self.live.values().filter(|one| one.node.as_ref() == Some(name)));
        let Some(node) = self.nodes.get_mut(name) else { return };
        node.peak = (node.peak.0.max(load.0), node.peak.1.max(load.1));
        if load.0 > node.offers.0 || load.1 > node.offers.1 {
            self.violations.push(format!("I2 {at}: node {name} has {load:?} of {:?}", node.offers));
        }
    }

    fn hold_pools(&mut self, uid: &str, at: &str) {
        let mut next = self.live[uid].pool.clone();
        while let Some(name) = next.take() {
            let load = sum(self.live.values().filter(|one| self.is_below(one.pool.as_deref(), &name)));
            let Some(pool) = self.pools.get_mut(&name) else { return };
            pool.peak = (pool.peak.0.max(load.0), pool.peak.1.max(load.1));
            let over = pool.cpu_limit.is_some_and(|limit| load.0 > limit)
                || pool.memory_limit.is_some_and(|limit| load.1 > limit);
            if over {
                let limits = (pool.cpu_limit, pool.memory_limit);
                self.violations.push(format!("I1 {at}: pool {name} has {load:?} of {limits:?}"));
            }
            next.clone_from(&pool.parent);
        }
    }

    fn is_below(&self, pool: Option<&str>, above: &str) -> bool {
        let mut next = pool;
        while let Some(name) = next {
            if name == above {
                return true;
            }
            next = self.pools.get(name).and_then(|pool| pool.parent.as_deref());
        }
        false
    }
}

fn live(pod: &Value) -> Live {
    let labels = &pod["metadata"]["labels"];
    let label = |key: &str| labels[key].as_str().map(str::to_owned);
    let requests =
        pod["spec"]["containers"].as_array().unwrap().iter().map(|one| &one["resources"]["requests"]);
    let load =
        requests.fold((0, 0), |all: Load, one| (all.0 + cpu(&one["cpu"]), all.1 + memory(&one["memory"])));
    Live {
        name: format!("{}/{}", pod["metadata"]["namespace"].as_str().unwrap(), name_of(pod)),
        load,
        node: pod["spec"]["nodeName"].as_str().map(str::to_owned),
        pool: label("weir.dev/pool"),
        member: label("weir.dev/workload-uid").zip(label("weir.dev/index")),
    }
}

fn sum<'a>(all: impl Iterator<Item = &'a Live>) -> Load {
    all.fold((0, 0), |load, one| (load.0 + one.load.0, load.1 + one.load.1))
}

pub fn name_of(object: &Value) -> String {
    object["metadata"]["name"].as_str().unwrap().to_owned()
}

/// Pods that ever were, by workload and index.
pub fn pods_by_member(versions: &[Version]) -> BTreeMap<(String, String), BTreeSet<String>> {
    let mut all: BTreeMap<_, BTreeSet<String>> = BTreeMap::new();
    for Version { pod, .. } in versions {
        let labels = &pod["metadata"]["labels"];
        let label = |key: &str| labels[key].as_str().map(str::to_owned);
        if let Some(member) = label("weir.dev/workload").zip(label("weir.dev/index")) {
            all.entry(member).or_default().insert(pod["metadata"]["uid"].as_str().unwrap().to_owned());
        }
    }
    all
}

/// Thousandths of CPUs. Only what these tests write is understood.
pub fn cpu(value: &Value) -> i64 {
    match value.as_str() {
        None => 0,
        Some(text) => match text.strip_suffix('m') {
            Some(milli) => milli.parse().unwrap(),
            None => text.parse::<i64>().unwrap() * 1000,
        },
    }
}

fn memory(value: &Value) -> i64 {
    let Some(text) = value.as_str() else { return 0 };
    for (unit, bytes) in [("Ki", 1 << 10), ("Mi", 1 << 20), ("Gi", 1 << 30)] {
        if let Some(count) = text.strip_suffix(unit) {
            return count.parse::<i64>().unwrap() * bytes;
        }
    }
    text.parse().unwrap()
}
