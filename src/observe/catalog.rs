//! What must be known of objects for writing that the world does not keep: names, versions, templates and the
//! status that was last seen. It also turns workloads, pools, classes and pods into deltas, since a workload's
//! priority depends on classes that come and go.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;

use super::kubevirt::{Check, KubeVirt, overcommit};
use super::labelled::Known as Label;
use super::machine::Overcommit;
use super::template::{Owner, Template, Templates};
use super::volume::Volumes;
use super::{Notes, arc, asked, names, node, patch, pod, pool, workload};
use crate::api::pool::{ResourcePool, ResourcePoolStatus};
use crate::api::pruned::{Node, PersistentVolume, Pod, Poison, PriorityClass, Taint};
use crate::api::workload::{PooledWorkload, PooledWorkloadStatus};
use crate::model::delta::Delta;
use crate::model::labelled::Maker;
use crate::model::spec::{MemberRef, PoolSpec, WorkloadSpec};

/// With this begins what is wrong with a workload whose priority class is not there.
pub const CLASS_PROBLEM: &str = "spec.priorityClassName: ";

/// What is kept of a workload.
#[derive(Clone, Debug)]
pub struct Workload {
    /// What the world was told; its record is left out.
    pub spec: WorkloadSpec,
    /// `metadata.resourceVersion`, as last read or written.
    pub resource_version: Arc<str>,
    /// `metadata.generation`.
    pub generation: i64,
    /// The template; none if the object cannot be read.
    pub template: Option<Arc<Template>>,
    /// Whether `KubeVirt` takes the template, of machines.
    pub(super) check: Check,
    priority: Option<i32>,
    class: Option<Arc<str>>,
    /// As JSON: a hundred thousand may wait.
    status: Box<str>,
}

impl Workload {
    /// The status as last read or written.
    pub fn status(&self) -> PooledWorkloadStatus {
        serde_json::from_str(&self.status).unwrap_or_default()
    }
}

/// What is kept of a pool.
#[derive(Clone, Debug)]
pub struct Pool {
    /// What the world was told.
    pub spec: PoolSpec,
    /// `metadata.resourceVersion`, as last read or written.
    pub resource_version: Arc<str>,
    /// `metadata.generation`.
    pub generation: i64,
    /// `metadata.finalizers`.
    pub finalizers: Vec<String>,
    /// The status as last read or written.
    pub status: ResourcePoolStatus,
    /// How far its machines are overcommitted, as far as it says.
    pub(super) overcommit: Overcommit,
}

/// What is kept of a node.
#[derive(Clone, Debug)]
pub struct KnownNode {
    /// `metadata.resourceVersion`, as last read.
    pub resource_version: Arc<str>,
    /// `spec.taints`, all of them.
    pub taints: Vec<Taint>,
    /// For which pool Weir has tainted it, by its annotation.
    pub tainted_for: Option<Arc<str>>,
}

/// What is known of objects beside the world.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    pub(super) workloads: BTreeMap<Arc<str>, Workload>,
    pub(super) pools: BTreeMap<Arc<str>, Pool>,
    nodes: BTreeMap<Arc<str>, KnownNode>,
    /// Value and whether it is the default, by name.
    classes: BTreeMap<Arc<str>, (i32, bool)>,
    /// The operator may not see them.
    classes_hidden: bool,
    templates: Templates,
    pub(super) volumes: Volumes,
    pub(super) kubevirt: KubeVirt,
    /// Objects of others that are labelled for pools.
    pub(super) labelled: BTreeMap<Maker, Label>,
    /// Names of members' pods, by UID, where they are not what the member's name would be.
    odd_names: BTreeMap<Arc<str>, Arc<str>>,
    pub(super) touched: Touched,
    pub(super) notes: Notes,
}

/// Objects whose status must be looked at again though the world may not have changed: their generation is
/// another, or somebody else wrote their status.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Touched {
    /// Names of pools.
    pub pools: BTreeSet<Arc<str>>,
    /// UIDs of workloads.
    pub workloads: BTreeSet<Arc<str>>,
}

impl Catalog {
    /// The workload with that UID.
    pub fn get(&self, uid: &str) -> Option<&Workload> {
        self.workloads.get(uid)
    }

    /// The pool of that name.
    pub fn get_pool(&self, name: &str) -> Option<&Pool> {
        self.pools.get(name)
    }

    /// All workloads, by UID.
    pub fn workloads(&self) -> impl Iterator<Item = (&Arc<str>, &Workload)> {
        self.workloads.iter()
    }

    /// All pools, by name.
    pub fn pools(&self) -> impl Iterator<Item = (&Arc<str>, &Pool)> {
        self.pools.iter()
    }

    /// The name of a member's pod. `pod` is its UID.
    pub fn pod_name(&self, workload: &Workload, member: &MemberRef, pod: &str) -> Arc<str> {
        let usual = || names::member(&workload.spec.name, member.index, member.attempt).into();
        self.odd_names.get(pod).cloned().unwrap_or_else(usual)
    }

    /// What must be looked at again; empty afterwards.
    pub fn take_touched(&mut self) -> Touched {
        std::mem::take(&mut self.touched)
    }

    /// What could not be read, for the log; empty afterwards.
    pub fn take_notes(&mut self) -> Notes {
        std::mem::take(&mut self.notes)
    }

    /// A workload was seen.
    pub fn workload(&mut self, seen: &Result<PooledWorkload, Poison>) -> Vec<Delta> {
        let object = match seen {
            Ok(object) => object,
            Err(poison) => return self.unreadable_workload(poison),
        };
        let metadata = &object.metadata;
        let uid = arc(metadata.uid.as_ref());
        let generation = metadata.generation.unwrap_or_default();
        let version = arc(metadata.resource_version.as_ref());
        let status = text(object.status.as_ref());
        if let Some(known) = self.workloads.get_mut(&uid) {
            if generation < known.generation {
                return Vec::new();
            }
            if older(&version, &known.resource_version) {
                // Our own write was answered before this came: its spec counts, its status does not.
            } else {
                if known.status != status {
                    self.touched.workloads.insert(Arc::clone(&uid));
                }
                known.resource_version = Arc::clone(&version);
                known.status.clone_from(&status);
            }
            let deleting = metadata.deletion_timestamp.is_some();
            let same = generation == known.generation && known.spec.migrate == asked::request(metadata);
            if same && deleting == known.spec.deleting && known.template.is_some() {
                return Vec::new();
            }
            self.touched.workloads.insert(Arc::clone(&uid));
        }
        let template = self.templates.intern(&object.spec.template, object.spec.effective_completion());
        let is_held = object.status.as_ref().is_some_and(|status| status.allocation.is_some());
        let check = self.check_of(&uid, &template, is_held);
        let class = object.spec.priority_class_name.as_deref().map(Arc::from);
        let priority = object.spec.priority;
        let owner = Owner {
            namespace: object.metadata.namespace.as_deref().unwrap_or_default(),
            name: object.metadata.name.as_deref().unwrap_or_default(),
            uid: &uid,
            pool: &object.spec.pool,
            replicas: u32::try_from(object.spec.replicas).unwrap_or(1),
        };
        let shape = self.shape(&template, &check, owner);
        let mut spec = workload::workload(object, self.priority(priority, class.as_ref()), shape);
        spec.unchecked = check == Check::Wanted;
        spec.labels = Arc::clone(&template.model_labels);
        spec.claims = template.claims;
        let before = self.workloads.remove(&uid);
        let is_new = before.is_none();
        let (resource_version, status) = match before {
            Some(known) => (known.resource_version, known.status),
            None => (version, status),
        };
        let told = WorkloadSpec { record: Default::default(), ..spec.clone() };
        let kept = Workload {
            spec: told,
            resource_version,
            generation,
            template: Some(template),
            check,
            priority,
            class,
            status,
        };
        let of_machines = kept.check != Check::Unneeded;
        self.workloads.insert(Arc::clone(&uid), kept);
        let mut deltas = vec![Delta::Workload(Box::new(spec))];
        if of_machines && is_new {
            deltas.extend(self.machines_of(&uid));
        }
        deltas
    }

    /// What was known of it stays, save that nothing more is made of it.
    fn unreadable_workload(&mut self, poison: &Poison) -> Vec<Delta> {
        let read = workload::unreadable(poison);
        let uid = Arc::clone(&read.uid);
        let status = poison.object.get("status").map(ToString::to_string).unwrap_or_default();
        let told = WorkloadSpec { record: Default::default(), ..read.clone() };
        let known = self.workloads.entry(Arc::clone(&uid)).or_insert_with(|| Workload {
            spec: told,
            resource_version: "".into(),
            generation: 0,
            template: None,
            check: Check::Unneeded,
            priority: None,
            class: None,
            status: "".into(),
        });
        known.spec.shape = read.shape;
        known.spec.deleting = read.deleting;
        known.template = None;
        known.priority = Some(known.spec.priority);
        known.resource_version = arc(poison.metadata.resource_version.as_ref());
        known.generation = poison.metadata.generation.unwrap_or_default();
        known.status = status.into();
        let spec = WorkloadSpec { record: read.record, ..known.spec.clone() };
        self.touched.workloads.insert(uid);
        vec![Delta::Workload(Box::new(spec))]
    }

    /// A workload is gone.
    pub fn workload_gone(&mut self, uid: &str) -> Vec<Delta> {
        self.touched.workloads.remove(uid);
        self.kubevirt.to_check.remove(uid);
        match self.workloads.remove_entry(uid) {
            Some((uid, _)) => vec![Delta::WorkloadGone(uid)],
            None => Vec::new(),
        }
    }

    /// A merge patch of a workload's status was answered: it is there, in this version.
    pub fn workload_written(&mut self, uid: &str, resource_version: &str, patch: &Value) {
        if let Some(known) = self.workloads.get_mut(uid)
            && !older(resource_version, &known.resource_version)
        {
            known.resource_version = resource_version.into();
            known.status = text(Some(&patch::patched(&known.status(), patch)));
        }
    }

    /// A pool was seen.
    pub fn pool(&mut self, seen: &Result<ResourcePool, Poison>) -> Vec<Delta> {
        let overcommits = self.overcommits();
        let mut deltas = self.pool_seen(seen);
        if overcommits != self.overcommits() {
            deltas.extend(self.reshape());
        }
        deltas
    }

    fn pool_seen(&mut self, seen: &Result<ResourcePool, Poison>) -> Vec<Delta> {
        let spec = pool::pool(seen);
        let overcommit = seen.as_ref().map(overcommit).unwrap_or_default();
        let (metadata, status) = match seen {
            Ok(object) => (&object.metadata, object.status.clone().unwrap_or_default()),
            Err(poison) => {
                let status = poison.object.get("status").cloned().map(serde_json::from_value);
                (&*poison.metadata, status.and_then(Result::ok).unwrap_or_default())
            }
        };
        let name = Arc::clone(&spec.name);
        let generation = metadata.generation.unwrap_or_default();
        let resource_version = arc(metadata.resource_version.as_ref());
        let finalizers = metadata.finalizers.clone().unwrap_or_default();
        let seen = Pool { spec, resource_version, generation, finalizers, status, overcommit };
        let Some(known) = self.pools.get_mut(&name) else {
            let asked = seen.status.applied_recommendation.as_ref().map(asked::record).map(Box::new);
            let delta = Delta::Pool(Box::new(PoolSpec { asked, ..seen.spec.clone() }));
            self.pools.insert(name, seen);
            return vec![delta];
        };
        if known.spec.uid == seen.spec.uid && older(&seen.resource_version, &known.resource_version) {
            // Our own write was answered before this came; what it shows of the spec comes again.
            if seen.generation <= known.generation {
                return Vec::new();
            }
        }
        if known.generation != seen.generation || known.status != seen.status {
            self.touched.pools.insert(Arc::clone(&name));
        }
        let same = known.spec == seen.spec;
        *known = seen;
        if same { Vec::new() } else { vec![Delta::Pool(Box::new(known.spec.clone()))] }
    }

    /// A pool is gone.
    pub fn pool_gone(&mut self, name: &str) -> Vec<Delta> {
        self.touched.pools.remove(name);
        match self.pools.remove_entry(name) {
            Some((name, _)) => vec![Delta::PoolGone(name)],
            None => Vec::new(),
        }
    }

    /// A merge patch of a pool's status was answered: it is there, in this version.
    pub fn pool_written(&mut self, name: &str, resource_version: &str, patch: &Value) {
        if let Some(known) = self.pools.get_mut(name)
            && !older(resource_version, &known.resource_version)
        {
            known.resource_version = resource_version.into();
            known.status = patch::patched(&known.status, patch);
        }
    }

    /// A priority class was seen: workloads that use it may have another priority.
    pub fn priority_class(&mut self, class: &PriorityClass) -> Vec<Delta> {
        let name = arc(class.metadata.name.as_ref());
        let value = (class.value, class.global_default);
        if self.classes.insert(name, value) == Some(value) { Vec::new() } else { self.reshape() }
    }

    /// A priority class is gone.
    pub fn priority_class_gone(&mut self, name: &str) -> Vec<Delta> {
        if self.classes.remove(name).is_some() { self.reshape() } else { Vec::new() }
    }

    /// The operator may not see priority classes, or may.
    pub fn classes_are_hidden(&mut self, hidden: bool) -> Vec<Delta> {
        if self.classes_hidden == hidden {
            return Vec::new();
        }
        self.classes_hidden = hidden;
        self.reshape()
    }

    /// Classes, and what machines are made of, change seldom, so all workloads are looked at.
    pub(super) fn reshape(&mut self) -> Vec<Delta> {
        let changed: Vec<WorkloadSpec> =
            self.workloads.values().filter_map(|known| self.reshaped(known)).collect();
        changed.into_iter().filter_map(|spec| self.put_spec(spec)).collect()
    }

    /// The same for one workload.
    pub(super) fn reshape_one(&mut self, uid: &str) -> Vec<Delta> {
        let changed = self.workloads.get(uid).and_then(|known| self.reshaped(known));
        changed.and_then(|spec| self.put_spec(spec)).into_iter().collect()
    }

    /// What a workload says now, if that is something else than before.
    fn reshaped(&self, known: &Workload) -> Option<WorkloadSpec> {
        let template = known.template.as_ref()?;
        let (priority, shape) = match self.priority(known.priority, known.class.as_ref()) {
            Ok(priority) => (priority, self.shape(template, &known.check, owner_of(&known.spec))),
            // What runs keeps the priority that it has.
            Err(problem) => (known.spec.priority, Err(Arc::from(problem))),
        };
        let unchecked = known.check == Check::Wanted;
        let same =
            priority == known.spec.priority && shape == known.spec.shape && unchecked == known.spec.unchecked;
        (!same).then(|| WorkloadSpec { priority, unchecked, shape, ..known.spec.clone() })
    }

    fn put_spec(&mut self, spec: WorkloadSpec) -> Option<Delta> {
        let uid = Arc::clone(&spec.uid);
        let known = self.workloads.get_mut(&uid)?;
        known.spec = spec;
        let record = workload::record(&known.status());
        let delta = Delta::Workload(Box::new(WorkloadSpec { record, ..known.spec.clone() }));
        self.touched.workloads.insert(uid);
        Some(delta)
    }

    /// The number, else that of the class, else that of the cluster's default class, else 0.
    fn priority(&self, priority: Option<i32>, class: Option<&Arc<str>>) -> Result<i32, String> {
        match (priority, class) {
            (Some(priority), _) => Ok(priority),
            (None, Some(class)) => self.classes.get(class).map(|(value, _)| *value).ok_or_else(|| {
                if self.classes_hidden {
                    return format!(
                        "{CLASS_PROBLEM}the operator may not list PriorityClasses and so does not know {class:?}: have an \
                         administrator give it the rights of docs/rbac.yaml, or write a number in spec.priority"
                    );
                }
                format!(
                    "{CLASS_PROBLEM}there is no PriorityClass {class:?}: create it, or write the name of another, or \
                     a number in spec.priority"
                )
            }),
            // Where there are several, Kubernetes takes the lowest.
            (None, None) => {
                let defaults = self.classes.values().filter(|(_, default)| *default);
                Ok(defaults.map(|(value, _)| *value).min().unwrap_or(0))
            }
        }
    }

    /// A volume was seen.
    pub fn volume(&mut self, seen: &PersistentVolume) -> Vec<Delta> {
        self.volumes.volume(seen, &mut self.notes)
    }

    /// A volume is gone.
    pub fn volume_gone(&mut self, name: &str) -> Vec<Delta> {
        self.volumes.volume_gone(name)
    }

    /// The node of that name.
    pub fn get_node(&self, name: &str) -> Option<&KnownNode> {
        self.nodes.get(name)
    }

    /// A node was seen.
    pub fn node(&mut self, seen: &Node) -> Delta {
        let delta = node::node(seen, &mut self.notes);
        if let Delta::Node(spec) = &delta {
            let known = KnownNode {
                resource_version: arc(seen.metadata.resource_version.as_ref()),
                taints: seen.spec.taints.clone(),
                tainted_for: spec.tainted_for.clone(),
            };
            self.nodes.insert(Arc::clone(&spec.name), known);
        }
        delta
    }

    /// A node is gone.
    pub fn node_gone(&mut self, name: &str) -> Delta {
        self.nodes.remove(name);
        Delta::NodeGone(name.into())
    }

    /// A pod was seen; nothing comes of one that is on no node and nobody's member.
    pub fn pod(&mut self, seen: &Pod) -> Vec<Delta> {
        if let Some(deltas) = self.machine_pod(seen) {
            return deltas;
        }
        self.member_pod(seen).into_iter().collect()
    }

    fn member_pod(&mut self, seen: &Pod) -> Option<Delta> {
        let delta = pod::pod(seen, &mut self.notes)?;
        if let Delta::Pod(spec) = &delta
            && let Some(member) = &spec.member
            && let (Some(owner), Some(name)) = (pod::owner(&seen.metadata), &seen.metadata.name)
            && names::member(&owner.name, member.index, member.attempt) != *name
        {
            self.odd_names.insert(Arc::clone(&spec.uid), name.as_str().into());
        }
        Some(delta)
    }

    /// A pod is gone.
    pub fn pod_gone(&mut self, seen: &Pod) -> Vec<Delta> {
        if let Some(deltas) = self.machine_pod_gone(seen) {
            return deltas;
        }
        let delta = pod::pod_gone(seen);
        if let Delta::PodGone(uid) = &delta {
            self.odd_names.remove(uid);
        }
        vec![delta]
    }
}

/// Whose pods are made of the template of a workload.
fn owner_of(spec: &WorkloadSpec) -> Owner<'_> {
    let WorkloadSpec { namespace, name, uid, pool, replicas, .. } = spec;
    Owner { namespace, name, uid, pool, replicas: *replicas }
}

fn text(status: Option<&PooledWorkloadStatus>) -> Box<str> {
    status.and_then(|status| serde_json::to_string(status).ok()).unwrap_or_default().into()
}

/// Whether version `one` is older than `other`. Versions of one kind are numbers that grow; where they are
/// none, what comes later is taken to be newer.
fn older(one: &str, other: &str) -> bool {
    match (one.parse::<u64>(), other.parse::<u64>()) {
        (Ok(one), Ok(other)) => one < other,
        _ => false,
    }
}
