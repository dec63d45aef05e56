//! What became of writes, as the cycle is told.

use std::sync::Arc;

use serde_json::Value;

use crate::model::delta::Delta;
use crate::model::spec::MemberRef;

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
        /// Name of the pod.
        name: Arc<str>,
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
    /// A write was refused, with the API server's words; it is of no use to repeat it as it is.
    Refused {
        /// UID of the workload or name of the pool.
        object: Arc<str>,
        /// What for.
        message: String,
    },
    /// A script has ended.
    Done {
        /// UID of the workload or name of the pool.
        object: Arc<str>,
        /// Whether all of it was carried out.
        completed: bool,
    },
}
