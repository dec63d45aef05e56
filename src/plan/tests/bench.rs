//! The catalog, the world, deciding and planning, with an API server that is only a table of objects.

use std::collections::BTreeMap;

use k8s_openapi::api::events::v1::Event;
use serde_json::{Value, json};

use crate::api::pruned::Guarded;
use crate::api::workload::PooledWorkloadStatus;
use crate::api::{PooledWorkload, ResourcePool};
use crate::decide::decide;
use crate::model::delta::Delta;
use crate::model::time::Time;
use crate::model::world::{Tuning, World};
use crate::observe::catalog::Catalog;
use crate::observe::{Notes, namespace, node};
use crate::plan::Desk;
use crate::plan::workload_status::Urgency;
use crate::plan::write::{Script, Write};

/// 2023-11-14T22:13:20Z.
pub(super) const START: i64 = 1_700_000_000_000;

pub(super) struct Bench {
    pub(super) world: World,
    pub(super) catalog: Catalog,
    pub(super) now: Time,
    pub(super) version: u64,
    /// Pods that were created and are there, by namespace and name.
    pub(super) pods: BTreeMap<String, Value>,
    pub(super) writes: Vec<Write>,
}

impl Bench {
    /// Two nodes of 4 cores, a namespace, and a pool that takes both.
    pub(super) fn new() -> Self {
        let mut bench = Self::empty();
        for name in ["node-a", "node-b"] {
            bench.node(name, "4");
        }
        bench.pool(
            "batch",
            &json!({
                "nodes": {"selector": {}}, "resources": [{"name": "cpu"}], "access": {"namespaces": {}},
            }),
        );
        bench.apply(vec![Delta::Settled]);
        bench
    }

    pub(super) fn empty() -> Self {
        let mut bench = Self {
            world: World::new(Tuning::default()),
            catalog: Catalog::default(),
            now: Time(START),
            version: 0,
            pods: BTreeMap::new(),
            writes: Vec::new(),
        };
        let seen = serde_json::from_value(json!({"metadata": {"name": "vision"}})).unwrap();
        bench.apply(vec![namespace::namespace(&seen)]);
        bench
    }

    pub(super) fn apply(&mut self, deltas: Vec<Delta>) {
        for delta in deltas {
            self.world.apply(delta, self.now);
        }
    }

    pub(super) fn metadata(&mut self, name: &str, uid: &str, generation: i64) -> Value {
        self.version += 1;
        json!({"name": name, "uid": uid, "generation": generation, "resourceVersion": self.version.to_string(),
               "creationTimestamp": "2023-11-14T22:13:20Z"})
    }

    pub(super) fn node(&mut self, name: &str, cpu: &str) {
        let node = json!({
            "metadata": {"name": name},
            "status": {"allocatable": {"cpu": cpu, "memory": "8Gi", "pods": "110"},
                       "conditions": [{"type": "Ready", "status": "True"}]},
        });
        let mut notes = Notes::new();
        let delta = node::node(&serde_json::from_value(node).unwrap(), &mut notes);
        assert!(notes.is_empty(), "{notes:?}");
        self.apply(vec![delta]);
    }

    pub(super) fn pool(&mut self, name: &str, spec: &Value) {
        let mut metadata = self.metadata(name, &format!("{name}-uid"), 1);
        if let Some(known) = self.catalog.get_pool(name) {
            metadata["generation"] = json!(known.generation + 1);
        }
        let object = json!({"apiVersion": "weir.dev/v1alpha1", "kind": "ResourcePool", "metadata": metadata, "spec": spec});
        let Guarded::<ResourcePool>(seen) = serde_json::from_value(object).unwrap();
        let deltas = self.catalog.pool(&seen);
        self.apply(deltas);
    }

    /// A workload of `replicas` members of `cpu` each; `more` goes into its spec.
    pub(super) fn workload(&mut self, name: &str, cpu: &str, more: &Value) {
        let uid = format!("{name}-uid");
        let generation = self.catalog.get(&uid).map_or(1, |known| known.generation + 1);
        let status = self.catalog.get(&uid).map(|known| serde_json::to_value(known.status()).unwrap());
        let mut metadata = self.metadata(name, &uid, generation);
        metadata["namespace"] = json!("vision");
        let mut spec = json!({"pool": "batch", "template": {"pod": {"spec": {"containers": [
            {"name": "main", "image": "i", "resources": {"requests": {"cpu": cpu, "memory": "1Gi"}}}]}}}});
        for (key, value) in more.as_object().unwrap() {
            spec[key] = value.clone();
        }
        let mut object = json!({"apiVersion": "weir.dev/v1alpha1", "kind": "PooledWorkload", "metadata": metadata, "spec": spec});
        if let Some(status) = status {
            object["status"] = status;
        }
        let Guarded::<PooledWorkload>(seen) = serde_json::from_value(object).unwrap();
        let deltas = self.catalog.workload(&seen);
        self.apply(deltas);
    }

    /// Decides, plans and carries everything out; returns the scripts.
    pub(super) fn cycle(&mut self) -> Vec<Script> {
        let decided = decide(&mut self.world, self.now);
        let desk = Desk { world: &self.world, catalog: &self.catalog, instance: "weir-0", now: self.now };
        let scripts = desk.plan(&decided.decisions);
        for write in scripts.iter().flat_map(|script| script.steps.iter().flatten()) {
            self.carry_out(write.clone());
        }
        scripts
    }

    pub(super) fn carry_out(&mut self, write: Write) {
        self.writes.push(write.clone());
        match write {
            Write::CreatePod { member, pod, .. } => {
                let mut pod = serde_json::to_value(&pod).unwrap();
                let name = pod["metadata"]["name"].as_str().unwrap().to_owned();
                let uid = format!("{name}-pod");
                pod["metadata"]["uid"] = json!(uid);
                pod["metadata"]["creationTimestamp"] = json!("2023-11-14T22:13:20Z");
                self.pods.insert(name, pod);
                self.apply(vec![Delta::MemberCreated { member, pod: uid.into() }]);
            }
            Write::PatchWorkloadStatus { workload, status, .. } => {
                self.version += 1;
                let version = self.version.to_string();
                self.catalog.workload_written(&workload, &version, &status);
            }
            Write::PatchPoolStatus { pool, status, .. } => {
                self.version += 1;
                let version = self.version.to_string();
                self.catalog.pool_written(&pool, &version, &status);
            }
            Write::EvictPod { name, .. } | Write::DeletePod { name, .. } => self.gone(&name),
            Write::SetPoolFinalizers { .. }
            | Write::SetNodeTaints { .. }
            | Write::DeleteWorkload { .. }
            | Write::Event(_) => {}
            Write::Machine(write) => panic!("there are no machines here: {write:?}"),
        }
    }

    /// The kubelet says this of a pod.
    pub(super) fn kubelet(&mut self, pod: &str, status: Value) {
        let object = self.pods.get_mut(pod).unwrap_or_else(|| panic!("there is no pod {pod}"));
        object["status"] = status;
        let seen = serde_json::from_value(object.clone()).unwrap();
        let delta = self.catalog.pod(&seen).remove(0);
        self.apply(vec![delta]);
    }

    pub(super) fn runs(&mut self, pod: &str) {
        self.kubelet(pod, json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}));
    }

    pub(super) fn ends(&mut self, pod: &str, code: i32) {
        let phase = if code == 0 { "Succeeded" } else { "Failed" };
        let reason = if code == 0 { "Completed" } else { "Error" };
        let terminated =
            json!([{"name": "main", "state": {"terminated": {"exitCode": code, "reason": reason}}}]);
        self.kubelet(pod, json!({"phase": phase, "containerStatuses": terminated}));
    }

    pub(super) fn gone(&mut self, pod: &str) {
        let Some(object) = self.pods.remove(pod) else { return };
        let deltas = self.catalog.pod_gone(&serde_json::from_value(object).unwrap());
        self.apply(deltas);
    }

    /// How soon the workload's status must be written now, without writing it.
    pub(super) fn urgency(&self, name: &str) -> Urgency {
        let desk = Desk { world: &self.world, catalog: &self.catalog, instance: "weir-0", now: self.now };
        desk.workload_status(&format!("{name}-uid"), None).map_or(Urgency::No, |status| status.urgency)
    }

    /// Writes the workload's status if there is something to write; returns the patch and its event.
    pub(super) fn write_status(&mut self, name: &str) -> Option<(Value, Option<Event>)> {
        let desk = Desk { world: &self.world, catalog: &self.catalog, instance: "weir-0", now: self.now };
        let due = desk.workload_status(&format!("{name}-uid"), None)?;
        let Write::PatchWorkloadStatus { status, .. } = due.write.clone() else { panic!("{due:?}") };
        self.carry_out(due.write);
        assert_eq!(self.status(name), due.next, "what was written is what shall be there");
        Some((status, due.event.map(|event| *event)))
    }

    pub(super) fn status(&self, name: &str) -> PooledWorkloadStatus {
        self.catalog.get(&format!("{name}-uid")).unwrap().status()
    }

    pub(super) fn condition(&self, name: &str, kind: &str) -> Option<(String, String, String)> {
        let status = self.status(name);
        let condition = status.conditions.into_iter().find(|one| one.type_ == kind)?;
        Some((condition.status, condition.reason, condition.message))
    }

    pub(super) fn pass(&mut self, millis: i64) {
        self.now = Time(self.now.0 + millis);
    }
}

pub(super) fn events(scripts: &[Script]) -> Vec<(String, String, String)> {
    let writes = scripts.iter().flat_map(|script| script.steps.iter().flatten());
    let events = writes.filter_map(|write| match write {
        Write::Event(event) => {
            Some((event.action.clone().unwrap(), event.reason.clone().unwrap(), event.note.clone().unwrap()))
        }
        _ => None,
    });
    events.collect()
}

pub(super) fn kinds(script: &Script) -> Vec<Vec<&'static str>> {
    let kind = |write: &Write| match write {
        Write::CreatePod { .. } => "create pod",
        Write::PatchWorkloadStatus { .. } => "patch workload",
        Write::PatchPoolStatus { .. } => "patch pool",
        Write::SetPoolFinalizers { .. } => "finalizers",
        Write::SetNodeTaints { .. } => "taints",
        Write::EvictPod { .. } => "evict pod",
        Write::DeletePod { .. } => "delete pod",
        Write::DeleteWorkload { .. } => "delete workload",
        Write::Machine(_) => "machine",
        Write::Event(_) => "event",
    };
    script.steps.iter().map(|step| step.iter().map(kind).collect()).collect()
}
