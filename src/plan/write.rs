//! Writes as values: what `apply/` carries out, in which order.

use std::sync::Arc;

use serde_json::Value;

use super::machine::MachineWrite;
use crate::api::pruned::Taint;
use crate::model::spec::MemberRef;

/// One write to the API server.
#[derive(Clone, Debug, PartialEq)]
pub enum Write {
    /// Create the pod of a member. A 409 is looked into: the same owner UID means that it is there.
    CreatePod {
        /// Which member.
        member: MemberRef,
        /// Namespace of the pod.
        namespace: Arc<str>,
        /// The pod, whole.
        pod: Box<k8s_openapi::api::core::v1::Pod>,
    },
    /// Merge-patch `status` of a workload, with the resourceVersion as a precondition where it is known.
    PatchWorkloadStatus {
        /// UID of the workload.
        workload: Arc<str>,
        /// Its namespace.
        namespace: Arc<str>,
        /// Its name.
        name: Arc<str>,
        /// The resourceVersion that was read.
        resource_version: Arc<str>,
        /// The merge patch of `status` alone.
        status: Value,
    },
    /// Merge-patch `status` of a pool, likewise.
    PatchPoolStatus {
        /// Its name.
        pool: Arc<str>,
        /// The resourceVersion that was read.
        resource_version: Arc<str>,
        /// The merge patch of `status` alone.
        status: Value,
    },
    /// Put the list of finalizers on a pool.
    SetPoolFinalizers {
        /// Its name.
        pool: Arc<str>,
        /// The resourceVersion that was read.
        resource_version: Arc<str>,
        /// All finalizers that shall be there.
        finalizers: Vec<String>,
    },
    /// Put the list of taints on a node, and the annotation that says for which pool Weir has tainted it.
    SetNodeTaints {
        /// Its name.
        node: Arc<str>,
        /// The resourceVersion that was read.
        resource_version: Arc<str>,
        /// All taints that shall be there.
        taints: Vec<Taint>,
        /// The pool; none takes the annotation away.
        tainted_for: Option<Arc<str>>,
    },
    /// Evict a pod by the eviction API; 429 (a disruption budget) is tried again until it goes.
    EvictPod {
        /// Namespace of the pod.
        namespace: Arc<str>,
        /// Name of the pod.
        name: Arc<str>,
        /// Its UID, a precondition.
        uid: Arc<str>,
    },
    /// Delete a pod.
    DeletePod {
        /// Namespace of the pod.
        namespace: Arc<str>,
        /// Name of the pod.
        name: Arc<str>,
        /// Its UID, a precondition.
        uid: Arc<str>,
    },
    /// Delete a workload (its pods follow by garbage collection).
    DeleteWorkload {
        /// Its namespace.
        namespace: Arc<str>,
        /// Its name.
        name: Arc<str>,
        /// Its UID, a precondition.
        uid: Arc<str>,
    },
    /// Something about a virtual machine.
    Machine(MachineWrite),
    /// Create an event (events.k8s.io/v1). Never repeated, never waited for.
    Event(Box<k8s_openapi::api::events::v1::Event>),
}

/// What is written for one object, in order: the writes of one step may run side by side, and the next step
/// begins when all of them are answered well. A refused write ends the script; its answer is a delta, and the
/// next cycle decides anew.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Script {
    /// UID of the workload or name of the pool: scripts of one object never run side by side.
    pub object: Arc<str>,
    /// The steps.
    pub steps: Vec<Vec<Write>>,
}
