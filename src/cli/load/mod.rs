//! A world from manifests in a folder, from a cluster that is read and never written, or from both.
//!
//! Manifests need not be what an API server has seen: what it would add (UIDs, times of creation, readiness of nodes)
//! is added here, in the order of the files.

mod cluster;

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context as _, ensure};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::check::{self, Checker, Severity};
use super::cluster::Which;
use crate::model::delta::Delta;
use crate::model::spec::{NodeSpec, Runtime};
use crate::model::time::Time;
use crate::model::world::{Tuning, World};
use crate::observe::catalog::Catalog;
use crate::observe::object::kind_of;

/// Where the world is read from.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Source {
    /// Manifests: a file, a folder with all YAML and JSON below it, or - for standard input; may be given several times
    #[arg(short = 'f', long = "filename", value_name = "PATH")]
    pub paths: Vec<PathBuf>,

    /// Read the cluster of the kubeconfig, too; nothing is written there. Manifests replace what has their name
    #[arg(long)]
    pub from_cluster: bool,

    /// Which cluster.
    #[command(flatten)]
    pub which: Which,
}

impl Source {
    /// Reads all of it.
    ///
    /// # Errors
    /// What cannot be read at all.
    pub fn load(&self) -> anyhow::Result<Loaded> {
        ensure!(
            self.from_cluster || !self.paths.is_empty(),
            "there is nothing to read: give manifests with -f PATH, or --from-cluster"
        );
        let mut loaded = Loaded::new(Time(Timestamp::now().as_second().saturating_mul(1000)));
        if self.from_cluster {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(cluster::read(&self.which, &mut loaded))?;
        }
        loaded.files(&self.paths)?;
        loaded.settle();
        Ok(loaded)
    }
}

/// Which object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    kind: &'static str,
    namespace: String,
    name: String,
}

/// A world, and what is known beside it.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What plans and reasons need beside the world.
    pub catalog: Catalog,
    /// Everything that is decided on.
    pub world: World,
    /// When it was read.
    pub now: Time,
    /// What a reader should know: what was guessed, left out, or could not be read.
    pub notes: Vec<String>,
    /// Objects of other kinds, which were not looked at.
    pub ignored: usize,
    /// The metadata and status of what was read.
    known: BTreeMap<Key, Value>,
    machines: bool,
    /// Set while what is read is kept for later instead of being applied.
    later: Option<Vec<Delta>>,
}

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

impl Loaded {
    /// Nothing yet, at that time.
    pub fn new(now: Time) -> Self {
        Self {
            catalog: Catalog::default(),
            world: World::new(Tuning::default()),
            now,
            notes: Vec::new(),
            ignored: 0,
            known: BTreeMap::new(),
            machines: false,
            later: None,
        }
    }

    /// Reads manifests, in the order of their names and lines.
    ///
    /// # Errors
    /// What cannot be read at all.
    pub fn files(&mut self, paths: &[PathBuf]) -> anyhow::Result<()> {
        let files = check::read::files(paths)?;
        self.note_findings(&files)?;
        for file in files {
            for document in file.documents {
                let node = document.map_err(|(at, message)| {
                    anyhow::anyhow!("{}:{}: cannot be read as YAML: {message}", file.name, at.line)
                })?;
                self.manifest(node.value()).with_context(|| format!("in {}", file.name))?;
            }
        }
        Ok(())
    }

    /// What `weir check` would say, in short.
    fn note_findings(&mut self, files: &[check::File]) -> anyhow::Result<()> {
        const SHOWN: usize = 5;
        let report = Checker::new()?.check(files);
        let errors: Vec<_> =
            report.findings.iter().filter(|finding| finding.severity == Severity::Error).collect();
        self.notes.extend(errors.iter().take(SHOWN).map(ToString::to_string));
        if errors.len() > SHOWN {
            self.notes.push(format!("{} more problems: `weir check` lists them", errors.len() - SHOWN));
        }
        Ok(())
    }

    /// Takes one manifest, or the items of a list.
    ///
    /// # Errors
    /// Where it is no object of its kind.
    pub fn manifest(&mut self, mut object: Value) -> anyhow::Result<()> {
        if let Some(Value::Array(items)) = object.get_mut("items").map(Value::take)
            && text(&object, "/kind").ends_with("List")
        {
            let (version, kind) =
                (text(&object, "/apiVersion"), text(&object, "/kind").trim_end_matches("List"));
            let shared = (version != "v1" || !kind.is_empty()).then(|| (version.to_owned(), kind.to_owned()));
            for mut item in items {
                // Items of a typed list do not repeat their kind.
                if let Some((version, kind)) = &shared
                    && item.get("kind").is_none()
                    && let Some(fields) = item.as_object_mut()
                {
                    fields.insert("apiVersion".to_owned(), json!(version));
                    fields.insert("kind".to_owned(), json!(kind));
                }
                self.manifest(item)?;
            }
            return Ok(());
        }
        let Some(kind) = kind_of(&object) else {
            self.ignored += 1;
            return Ok(());
        };
        self.complete(kind, &mut object);
        self.object(kind, object)
    }

    /// Takes one object as the API server has it.
    ///
    /// # Errors
    /// Where it is no object of its kind.
    pub fn object(&mut self, kind: &'static str, object: Value) -> anyhow::Result<()> {
        let (namespace, name) = (text(&object, "/metadata/namespace"), text(&object, "/metadata/name"));
        let title = if namespace.is_empty() {
            format!("{kind} {name}")
        } else {
            format!("{kind} {namespace}/{name}")
        };
        if matches!(kind, "ResourcePool" | "PooledWorkload" | "Node" | "Namespace") {
            let key = Key { kind, namespace: namespace.to_owned(), name: name.to_owned() };
            let kept = json!({"metadata": object["metadata"], "status": object["status"]});
            self.known.insert(key, kept);
        }
        self.machines |= kind.starts_with("VirtualMachine") || kind == "KubeVirt";
        let deltas = self.catalog.object(kind, object).with_context(|| format!("{title} cannot be read"))?;
        self.apply(deltas);
        Ok(())
    }

    fn apply(&mut self, deltas: Vec<Delta>) {
        for delta in deltas {
            if let Delta::Workload(spec) = &delta {
                self.machines |= spec.runtime == Runtime::VirtualMachine;
            }
            match &mut self.later {
                Some(later) => later.push(delta),
                None => self.world.apply(delta, self.now),
            }
        }
    }

    /// Adds what an API server would have added; what is there of that name keeps its identity and its status.
    fn complete(&mut self, kind: &'static str, object: &mut Value) {
        let namespaced = matches!(kind, "PooledWorkload" | "Pod" | "PersistentVolumeClaim")
            || kind.starts_with("VirtualMachine") && kind != "VirtualMachineClusterInstancetype";
        if namespaced && text(object, "/metadata/namespace").is_empty() {
            set(object, "metadata", "namespace", json!("default"));
        }
        let (namespace, name) =
            (text(object, "/metadata/namespace").to_owned(), text(object, "/metadata/name").to_owned());
        let number = self.known.len();
        let known = self.known.get(&Key { kind, namespace: namespace.clone(), name: name.clone() });
        let generation = known.and_then(|one| one["metadata"]["generation"].as_i64()).unwrap_or(0) + 1;
        // Where all is created at once, the order of a queue ends in UIDs: that of the files.
        let uid = known
            .map_or(json!(format!("{number:07}.{namespace}.{name}")), |one| one["metadata"]["uid"].clone());
        let created =
            known.map_or(json!(stamp(self.now)), |one| one["metadata"]["creationTimestamp"].clone());
        let status = known.map(|one| one["status"].clone()).filter(|status| !status.is_null());
        for (field, value) in [("uid", uid), ("creationTimestamp", created)] {
            if object["metadata"][field].is_null() {
                set(object, "metadata", field, value);
            }
        }
        set(object, "metadata", "generation", json!(generation));
        if let Some(status) = status
            && object["status"].is_null()
            && let Some(fields) = object.as_object_mut()
        {
            fields.insert("status".to_owned(), status);
        }
        match kind {
            "Node" => complete_node(object, self.now),
            "Namespace" => label(object, "kubernetes.io/metadata.name", &name),
            _ => {}
        }
    }

    /// Everything is read: namespaces that nobody described are there, and the world may be decided on.
    pub fn settle(&mut self) {
        self.add_namespaces();
        if self.machines {
            let deltas = self.catalog.kubevirt(true);
            self.apply(deltas);
        }
        // Nobody is asked whether KubeVirt takes a template: it is taken to do so.
        for uid in self.catalog.take_checks(usize::MAX, self.now) {
            let generation = self.catalog.get(&uid).map_or(0, |known| known.generation);
            let deltas = self.catalog.checked(&uid, generation, Some(Ok(())), self.now);
            self.apply(deltas);
        }
        self.notes.extend(self.catalog.take_notes());
        self.apply(vec![Delta::Settled]);
    }

    /// What applying more manifests would change. The catalog has them then, the world does not.
    ///
    /// # Errors
    /// What cannot be read at all.
    pub fn changes(&mut self, paths: &[PathBuf]) -> anyhow::Result<Vec<Delta>> {
        self.later = Some(Vec::new());
        let read = self.files(paths);
        if read.is_ok() {
            self.settle();
        }
        let mut changes = self.later.take().unwrap_or_default();
        read?;
        changes.retain(|delta| *delta != Delta::Settled);
        Ok(changes)
    }

    /// The node of that name.
    pub fn node_spec(&self, name: &str) -> Option<NodeSpec> {
        self.world.node_spec(name).cloned()
    }

    /// Names of all nodes.
    pub fn node_names(&self) -> Vec<String> {
        let nodes = self.known.keys().filter(|key| key.kind == "Node");
        nodes.map(|key| key.name.clone()).collect()
    }

    fn add_namespaces(&mut self) {
        let has = |namespace: &str| {
            self.known.contains_key(&Key {
                kind: "Namespace",
                namespace: String::new(),
                name: namespace.to_owned(),
            })
        };
        let mut missing: Vec<String> = self
            .catalog
            .workloads()
            .map(|(_, known)| known.spec.namespace.to_string())
            .filter(|namespace| !has(namespace))
            .collect();
        missing.sort();
        missing.dedup();
        for name in &missing {
            let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
            drop(self.manifest(object));
        }
        if !missing.is_empty() {
            self.notes.push(format!(
                "no manifest describes the namespace{} {}: taken to be there, with no labels of its own",
                if missing.len() == 1 { "" } else { "s" },
                missing.join(", ")
            ));
        }
    }
}

/// A time as the API writes it.
pub fn stamp(time: Time) -> String {
    Timestamp::from_millisecond(time.0).unwrap_or_default().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn set(object: &mut Value, part: &str, field: &str, value: Value) {
    let Some(fields) = object.as_object_mut() else { return };
    let part = fields.entry(part.to_owned()).or_insert_with(|| Value::Object(Map::new()));
    if let Some(part) = part.as_object_mut() {
        part.insert(field.to_owned(), value);
    }
}

fn label(object: &mut Value, key: &str, value: &str) {
    let mut labels = object["metadata"]["labels"].clone();
    if !labels.is_object() {
        labels = json!({});
    }
    if let Some(labels) = labels.as_object_mut() {
        labels.entry(key.to_owned()).or_insert_with(|| json!(value));
    }
    set(object, "metadata", "labels", labels);
}

/// A node of a manifest is ready, and offers what it has, where it does not say otherwise.
fn complete_node(node: &mut Value, now: Time) {
    if node["status"]["conditions"].is_null() {
        let ready = json!([{"type": "Ready", "status": "True", "lastTransitionTime": stamp(now)}]);
        set(node, "status", "conditions", ready);
    }
    if node["status"]["allocatable"].is_null() {
        let capacity = node["status"]["capacity"].clone();
        set(node, "status", "allocatable", if capacity.is_object() { capacity } else { json!({}) });
    }
    if let Some(allocatable) = node["status"]["allocatable"].as_object_mut() {
        allocatable.entry("pods").or_insert_with(|| json!("110"));
    }
    let name = text(node, "/metadata/name").to_owned();
    label(node, "kubernetes.io/hostname", &name);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str) -> Value {
        json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name},
               "status": {"capacity": {"cpu": "4", "memory": "8Gi"}}})
    }

    fn work(name: &str, replicas: u32) -> Value {
        json!({"apiVersion": "weir.dev/v1alpha1", "kind": "PooledWorkload",
            "metadata": {"name": name, "namespace": "team"},
            "spec": {"pool": "all", "replicas": replicas, "template": {"pod": {"spec": {"containers": [
                {"name": "main", "image": "x", "resources": {"requests": {"cpu": "1", "memory": "1Gi"}}}]}}}}})
    }

    #[test]
    fn manifests_become_a_world_as_if_an_api_server_had_seen_them() {
        let mut loaded = Loaded::new(Time(1_000_000));
        let pool = json!({"apiVersion": "weir.dev/v1alpha1", "kind": "ResourcePool", "metadata": {"name": "all"},
            "spec": {"nodes": {"selector": {}}, "resources": [{"name": "cpu"}], "access": {"namespaces": {}}}});
        loaded
            .manifest(json!({"apiVersion": "v1", "kind": "List", "items": [node("a"), pool, work("one", 2)]}))
            .unwrap();
        loaded
            .manifest(json!({"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "x"}}))
            .unwrap();
        loaded.settle();
        assert_eq!(loaded.ignored, 1);
        assert_eq!(loaded.notes.len(), 1, "{:?}", loaded.notes);
        let decided = crate::decide::decide(&mut loaded.world, loaded.now);
        assert_eq!(decided.decisions.len(), 1, "{decided:?}");
        // The same workload, changed: it is not another.
        loaded.manifest(work("one", 3)).unwrap();
        loaded.settle();
        assert_eq!(loaded.catalog.workloads().count(), 1);
        let (_, known) = loaded.catalog.workloads().next().unwrap();
        assert_eq!((known.spec.replicas, known.generation), (3, 2));
    }
}
