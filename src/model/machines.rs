//! Virtual machines: what of them the world keeps beside their pods.
//!
//! One run of a machine, from when it is told to run until all of it is gone, is a pod of the world. A machine keeps its
//! name and its disks from run to run, so it must not be told to run again before its last run is over.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::amount::Amount;
use super::ids::WorkloadId;
use super::nodes::Node;
use super::pods::Pod;
use super::refusal::NodeRejection;
use super::resources::{Amounts, ResourceId};
use super::selector::{Labels, NodeTerm, Requirement};
use super::time::Time;
use super::workloads::Workload;
use super::world::World;

/// What the members of a workload are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "controller", derive(serde::Serialize, serde::Deserialize))]
pub enum Runtime {
    /// Pods.
    #[default]
    Pod,
    /// Virtual machines.
    VirtualMachine,
}

impl Runtime {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Pod, Self::VirtualMachine];
}

/// What is known of a run of a virtual machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "controller", derive(serde::Serialize, serde::Deserialize))]
pub struct Run {
    /// It can be moved to another node while it runs.
    pub live_migratable: bool,
    /// The last migration of it that was Weir's, while it is there.
    pub passage: Option<Arc<Passage>>,
    /// It is on another node than the one that its machine's template names.
    pub astray: bool,
    /// What `KubeVirt` says that keeps the machine from starting.
    pub trouble: Option<Arc<str>>,
    /// Of its memory, what is not the guest's, in bytes, once `KubeVirt` has said it.
    #[cfg_attr(feature = "controller", serde(default))]
    pub overhead: Option<Amount>,
    /// What its pod wants of its node, until the pod runs.
    pub starting: Option<Arc<Starting>>,
}

/// What a pod of a machine wants of its node: `KubeVirt` writes more into it than the machine's template says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "controller", derive(serde::Serialize, serde::Deserialize))]
pub struct Starting {
    /// Labels that the node must have.
    pub selector: Vec<Requirement>,
    /// One of these terms must select it, if there are any.
    pub affinity: Option<Vec<NodeTerm>>,
    /// Claims of its volumes: `namespace/name`.
    pub claims: Vec<Arc<str>>,
    /// How far those are that are made for the node that the pod is on.
    pub volumes: Making,
}

/// How far volumes are that are made for a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "controller", derive(serde::Serialize, serde::Deserialize))]
pub enum Making {
    /// Nothing is to be said about them.
    #[default]
    Settled,
    /// A claim waits and does not know for which node.
    Unset,
    /// A volume cannot be made for the node, as who makes it has said.
    Refused,
}

/// A migration of what runs of a machine to another node.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "controller", derive(serde::Serialize, serde::Deserialize))]
pub struct Passage {
    /// Its UID.
    pub uid: Arc<str>,
    /// Which move of its member it is, from 0.
    pub attempt: u32,
    /// Name of the node that it goes to.
    pub to: Arc<str>,
    /// When it was created.
    pub since: Time,
    /// How far it has come.
    pub state: PassageState,
    /// Weir did not begin it: somebody, or an eviction, did. The labels that its node must have; `to` is empty before its
    /// pod is bound.
    pub others: Option<Arc<Labels>>,
    /// What the pod that it goes to wants of its node, until that pod runs.
    pub target: Option<Arc<Starting>>,
}

/// How far a migration has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "controller", derive(serde::Serialize, serde::Deserialize))]
pub enum PassageState {
    /// It is under way.
    UnderWay {
        /// Its pod waits to be bound.
        unbound: bool,
        /// `KubeVirt` has not begun it: others move first.
        #[cfg_attr(feature = "controller", serde(default))]
        queued: bool,
    },
    /// It is done.
    Succeeded,
    /// The machine stays where it is.
    Failed,
}

impl Passage {
    /// Whether it has not ended.
    pub fn is_under_way(&self) -> bool {
        matches!(self.state, PassageState::UnderWay { .. })
    }

    /// Whether its pod waits to be bound.
    pub fn is_unbound(&self) -> bool {
        matches!(self.state, PassageState::UnderWay { unbound: true, .. })
    }
}

impl Starting {
    /// Whether a pod may be on a node by what it says of labels.
    pub fn selects(&self, node: &Node) -> bool {
        let Some(spec) = &node.spec else { return false };
        let selected =
            |terms: &Vec<NodeTerm>| terms.iter().any(|term| term.matches(&spec.name, &spec.labels));
        self.selector.iter().all(|one| one.matches(&spec.labels))
            && self.affinity.as_ref().is_none_or(selected)
    }
}

impl World {
    /// What keeps a pod off a node: labels, where it is not bound yet, and volumes.
    pub(crate) fn unfit(&self, starting: &Starting, node: &Node, bound: bool) -> Option<NodeRejection> {
        if !bound && !starting.selects(node) {
            return Some(NodeRejection::NotSelected);
        }
        let reached = starting.claims.iter().all(|claim| self.is_reached(claim, node));
        (!reached || starting.volumes == Making::Refused).then_some(NodeRejection::VolumeElsewhere)
    }

    /// Name of the node of a pod.
    pub fn node_of_pod(&self, uid: &str) -> Option<Arc<str>> {
        Some(Arc::clone(&self.node(self.pods.get(uid)?.node?)?.name))
    }

    /// Whether the volume of a claim is reached from a node; one that is not there yet may be made anywhere.
    pub(crate) fn is_reached(&self, claim: &str, node: &Node) -> bool {
        let Some(spec) = &node.spec else { return false };
        let reaches =
            |terms: &Arc<[NodeTerm]>| terms.iter().any(|term| term.matches(&spec.name, &spec.labels));
        self.claims.get(claim).is_none_or(reaches)
    }

    /// Those of the claims that a member has for itself alone whose volumes only some nodes reach.
    pub(crate) fn own_claims(&self, workload: &Workload, index: u32) -> Vec<Arc<str>> {
        let shape = workload.shape.and_then(|shape| self.shapes.get(shape));
        let own = shape.and_then(|shape| shape.spec.own_claims.get(index as usize)).into_iter().flatten();
        own.filter(|claim| self.claims.contains_key(*claim)).cloned().collect()
    }

    /// The volume of a claim is another, or reached from other nodes: runs that start with it are looked at again.
    pub(crate) fn recheck_starting(&mut self, claim: &Arc<str>) {
        let uses = |uid: &&Arc<str>| {
            let run = self.pods.get(*uid).and_then(|pod| pod.machine.as_ref());
            run.and_then(|run| run.starting.as_ref()).is_some_and(|one| one.claims.contains(claim))
        };
        let found: Vec<Arc<str>> = self.starting.iter().filter(uses).cloned().collect();
        self.to_bind.extend(found);
    }

    /// Whether the cluster has `KubeVirt`.
    pub fn has_kubevirt(&self) -> bool {
        self.kubevirt
    }

    /// `KubeVirt` is there, or is not any more: workloads of machines may enter their queues, or must leave them.
    pub(crate) fn kubevirt_seen(&mut self, is_there: bool) {
        if std::mem::replace(&mut self.kubevirt, is_there) == is_there {
            return;
        }
        let machines = self.workloads.iter().filter(|(_, one)| one.spec.runtime == Runtime::VirtualMachine);
        let machines: Vec<WorkloadId> = machines.map(|(id, _)| WorkloadId(id)).collect();
        for id in machines {
            self.dequeue(id);
            self.attend(id);
        }
        self.grow();
    }

    /// The disks of a member's machine were seen, or are gone.
    pub(crate) fn disks_seen(&mut self, workload: &Arc<str>, index: u32, bytes: Amount) {
        let put = |disks: &mut BTreeMap<u32, Amount>| {
            if bytes.is_zero() {
                disks.remove(&index);
            } else {
                disks.insert(index, bytes);
            }
        };
        let Some(id) = self.workload_ids.get(workload).copied() else {
            let early = self.early_disks.entry(Arc::clone(workload)).or_default();
            put(early);
            if early.is_empty() {
                self.early_disks.remove(workload);
            }
            return;
        };
        // What waits with disks asks for less than what waits without.
        self.nominate(id, Vec::new());
        self.dequeue(id);
        self.with_members(id, |world| {
            if let Some(workload) = world.workload_mut(id) {
                put(&mut workload.disks.bytes);
            }
        });
        self.grow();
        self.attend(id);
    }

    /// A workload is seen after its machines.
    pub(crate) fn take_early_disks(&mut self, id: WorkloadId) {
        let Some(workload) = self.workload(id) else { return };
        let uid = Arc::clone(&workload.spec.uid);
        let Some(disks) = self.early_disks.remove(&uid) else { return };
        self.with_members(id, |world| {
            if let Some(workload) = world.workload_mut(id) {
                workload.disks.bytes = disks;
            }
        });
    }

    /// What the disks that are there are charged.
    pub(crate) fn disks_of(workload: &Workload) -> Amounts {
        let mut sum = Amounts::new();
        sum.set(ResourceId::STORAGE, workload.disks.bytes.values().copied().sum());
        sum
    }

    /// Charges the disks that are there, or that are not any more.
    pub(crate) fn charge_disks(&mut self, id: WorkloadId) {
        let Some(workload) = self.workload_mut(id) else { return };
        if workload.disks.bytes.is_empty() && workload.disks.charged.is_none() {
            return;
        }
        let amounts = Self::disks_of(workload);
        let firm = !workload.spec.preemptible;
        let wanted = workload.pool.filter(|_| !amounts.is_zero()).map(|pool| (pool, amounts, firm));
        let before = std::mem::replace(&mut workload.disks.charged, wanted.clone());
        if before == wanted {
            return;
        }
        for (charge, add) in [(before, false), (wanted, true)] {
            let Some((pool, amounts, firm)) = charge else { continue };
            self.count_namespace(id, pool, &amounts, add);
            self.change_use(pool, |sum| {
                for used in [Some(&mut sum.used), firm.then_some(&mut sum.firm)].into_iter().flatten() {
                    if add {
                        used.add(&amounts);
                    } else {
                        used.take(&amounts);
                    }
                }
            });
        }
        self.touch(id);
    }

    /// Remembers a run, and that its pod wants to be bound.
    pub(crate) fn watch_runs(&mut self, uid: &Arc<str>, pod: &Pod) {
        let Some(member) = pod.member.as_ref().filter(|_| pod.machine.is_some()) else { return };
        let whose = (Arc::clone(&member.workload), member.index);
        self.runs.entry(whose).or_default().insert(Arc::clone(uid));
        let starting = pod.machine.as_ref().and_then(|run| run.starting.as_ref());
        let lives = pod.loads() && !pod.terminating;
        if lives && (!pod.bound || starting.is_some_and(|one| !one.claims.is_empty())) {
            self.to_bind.insert(Arc::clone(uid));
        }
        if lives && starting.is_some_and(|one| !one.claims.is_empty()) {
            self.starting.insert(Arc::clone(uid));
        } else {
            self.starting.remove(uid);
        }
        if pod.machine.as_ref().is_some_and(|run| run.astray) && pod.bound && pod.loads() && !pod.terminating
        {
            self.astray.insert(Arc::clone(uid));
        }
    }

    /// Forgets a run that is over.
    pub(crate) fn forget_run(&mut self, uid: &Arc<str>) {
        self.to_bind.remove(uid);
        self.starting.remove(uid);
        self.astray.remove(uid);
        let Some(member) =
            self.pods.get(uid).filter(|pod| pod.machine.is_some()).and_then(|pod| pod.member.as_ref())
        else {
            return;
        };
        let whose = (Arc::clone(&member.workload), member.index);
        if let Some(runs) = self.runs.get_mut(&whose) {
            runs.remove(uid);
            if runs.is_empty() {
                self.runs.remove(&whose);
            }
        }
        // Its member, or its whole workload, may have waited for this to be placed again.
        let Some(id) = self.workload_ids.get(&whose.0).copied() else { return };
        if let Some(workload) = self.workload_mut(id) {
            workload.tried_at = None;
        }
        self.attend(id);
    }

    /// Whether any machine of a workload still has a run that is not over.
    pub(crate) fn any_still_runs(&self, workload: &Arc<str>) -> bool {
        let from = (Arc::clone(workload), 0);
        self.runs.range(from..).next().is_some_and(|((whose, _), _)| whose == workload)
    }

    /// Whether a machine still has a run that is not over.
    pub(crate) fn still_runs(&self, workload: &Arc<str>, index: u32) -> bool {
        self.runs.contains_key(&(Arc::clone(workload), index))
    }
}
