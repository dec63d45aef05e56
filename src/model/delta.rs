//! What changes the world: one thing seen, or one answer to a write.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::amount::Amount;
use super::batch::Answer;
use super::labelled::Maker;
use super::selector::{Labels, NodeTerm};
use super::spec::{MemberRef, NodeSpec, PodSpec, PoolSpec, WorkloadSpec};
use super::time::Time;

/// One change. Deltas of one object come in order; among objects any order will do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delta {
    /// A pool was seen, new or changed.
    Pool(Box<PoolSpec>),
    /// The pool of that name is gone.
    PoolGone(Arc<str>),
    /// A node was seen, new or changed.
    Node(Box<NodeSpec>),
    /// The node of that name is gone.
    NodeGone(Arc<str>),
    /// A namespace was seen, new or changed.
    Namespace {
        /// Its name.
        name: Arc<str>,
        /// Its labels.
        labels: Labels,
    },
    /// The namespace of that name is gone.
    NamespaceGone(Arc<str>),
    /// A claim of a volume (`namespace/name`) was seen: the nodes that reach its volume by one of these terms; none:
    /// it is not bound, or all do.
    Claim {
        /// Which.
        name: Arc<str>,
        /// From where it is reached.
        terms: Option<Arc<[NodeTerm]>>,
    },
    /// A workload was seen, new or changed.
    Workload(Box<WorkloadSpec>),
    /// The workload with that UID is gone.
    WorkloadGone(Arc<str>),
    /// A pod was seen, new or changed. Pods that are on no node and no member's need not be told.
    Pod(Box<PodSpec>),
    /// The pod with that UID is gone.
    PodGone(Arc<str>),
    /// Told after the lists are read at a start: an admission that the ledger held.
    InFlight(Box<InFlight>),
    /// All lists and the ledger are read: what is missing is missing.
    Settled,
    /// A create was answered: the member's pod has this UID (the same name and owner: it is there).
    MemberCreated {
        /// Which member.
        member: MemberRef,
        /// The pod's UID.
        pod: Arc<str>,
    },
    /// A create was refused, and will be if it is repeated at once.
    MemberRefused {
        /// Which member.
        member: MemberRef,
        /// The API server's words.
        message: Arc<str>,
        /// A pod of that name is there and is not ours.
        name_taken: bool,
    },
    /// What may have hindered creates of many is over: who was refused need not wait any longer to be tried again.
    MayCreate,
    /// The API server was asked and has no such pod, though it was created or assumed.
    MemberVanished(MemberRef),
    /// A migration of a machine was not created, and will not be.
    MoveRefused {
        /// Which member.
        member: MemberRef,
        /// Which move of it.
        attempt: u32,
        /// What is said against it.
        message: Arc<str>,
    },
    /// An object that makes pods was seen, labelled for that pool; or it is so no longer.
    Labelled {
        /// Which.
        maker: Arc<Maker>,
        /// Name of the pool.
        pool: Option<Arc<str>>,
    },
    /// Whether the cluster has `KubeVirt`.
    KubeVirt(bool),
    /// A batch was solved.
    Solved(Box<Answer>),
    /// The disks of a member's machine: they are charged for as long as they are there.
    Disks {
        /// UID of the workload.
        workload: Arc<str>,
        /// Index of the member.
        index: u32,
        /// What they ask for, in bytes; nothing: they are gone.
        bytes: Amount,
    },
}

/// One admission, or one placing of members anew, as the ledger records it before any pod is created.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "controller", derive(serde::Serialize, serde::Deserialize))]
pub struct InFlight {
    /// UID of the workload.
    pub workload: Arc<str>,
    /// Name of the pool that is charged.
    pub pool: Arc<str>,
    /// When it was admitted.
    pub at: Time,
    /// Members that it was admitted with: its size.
    pub size: u32,
    /// Index to attempt and node.
    pub placements: BTreeMap<u32, (u32, Arc<str>)>,
}
