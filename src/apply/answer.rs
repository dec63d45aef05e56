//! What became of writes, as the cycle is told.

use std::sync::Arc;

use serde_json::Value;

use super::rights::Lack;
use crate::model::delta::Delta;
use crate::model::spec::MemberRef;

/// The object of a member, by its name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Child {
    /// A pod.
    Pod(Arc<str>),
    /// A virtual machine.
    Machine(Arc<str>),
}

impl Child {
    /// The pod of that name.
    pub fn pod(name: &str) -> Self {
        Self::Pod(name.into())
    }

    /// The machine of that name.
    pub fn machine(name: &str) -> Self {
        Self::Machine(name.into())
    }
}

/// One answer, or the end of a script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A member's pod is there, was refused, or is not there.
    Member(Delta),
    /// Nobody knows whether the pod of this member was created: it must be looked for.
    Unknown {
        /// Which member.
        member: MemberRef,
        /// Namespace of the pod.
        namespace: Arc<str>,
        /// The pod, or the machine that it would be.
        child: Child,
    },
    /// `KubeVirt` was asked whether it takes the template of a workload.
    Checked {
        /// UID of the workload.
        workload: Arc<str>,
        /// The generation that was asked about.
        generation: i64,
        /// It does, or why not; none: it could not be asked.
        answer: Option<Result<(), Arc<str>>>,
    },
    /// A status or a list of finalizers was written.
    Written {
        /// UID of the workload or name of the pool.
        object: Arc<str>,
        /// The object's new version.
        resource_version: Arc<str>,
        /// The merge patch of `status`; empty for finalizers.
        status: Value,
    },
    /// A status was not written: the object has changed since it was read, or is gone.
    Outdated {
        /// UID of the workload or name of the pool.
        object: Arc<str>,
    },
    /// The operator lacks a right, or has it again.
    Right {
        /// Which requests need it, as metrics name them.
        kind: &'static str,
        /// What is missing; none: nothing any more.
        lack: Option<Lack>,
    },
    /// A script has ended.
    Done {
        /// UID of the workload or name of the pool.
        object: Arc<str>,
        /// Whether all of it was carried out.
        completed: bool,
        /// The API server's words where it refused a write: to repeat it at once is of no use.
        refused: Option<String>,
    },
}
