//! Virtual machines: what of them the world keeps beside their pods.
//!
//! One run of a machine, from when it is told to run until all of it is gone, is a pod of the world. A machine keeps its
//! name and its disks from run to run, so it must not be told to run again before its last run is over.

use std::sync::Arc;

use super::ids::WorkloadId;
use super::pods::Pod;
use super::spec::Runtime;
use super::world::World;

impl World {
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

    /// Remembers a run, and that its pod wants to be bound.
    pub(crate) fn watch_runs(&mut self, uid: &Arc<str>, pod: &Pod) {
        let Some(member) = pod.member.as_ref().filter(|_| pod.machine) else { return };
        let whose = (Arc::clone(&member.workload), member.index);
        self.runs.entry(whose).or_default().insert(Arc::clone(uid));
        if !pod.bound && pod.loads() && !pod.terminating {
            self.to_bind.insert(Arc::clone(uid));
        }
    }

    /// Forgets a run that is over.
    pub(crate) fn forget_run(&mut self, uid: &Arc<str>) {
        self.to_bind.remove(uid);
        let Some(member) = self.pods.get(uid).filter(|pod| pod.machine).and_then(|pod| pod.member.as_ref())
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
