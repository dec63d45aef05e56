//! What a delta says of one pod.

use std::sync::Arc;

use super::labelled::Maker;
use super::machines::Run;
use super::spec::{HostPort, NamedAmounts};
use super::terms::Neighbour;
use super::time::Time;

/// Which member a pod is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "controller", derive(serde::Serialize, serde::Deserialize))]
pub struct MemberRef {
    /// UID of the workload, from the owner reference.
    pub workload: Arc<str>,
    /// Index of the member.
    pub index: u32,
    /// Attempt, from 0.
    pub attempt: u32,
}

/// Where a pod is in its life.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "controller", derive(serde::Serialize, serde::Deserialize))]
pub enum PodPhase {
    /// Not running yet.
    Pending,
    /// Running; `ready_since` by its Ready condition.
    Running {
        /// Ready since then; none while it is not.
        ready_since: Option<Time>,
    },
    /// All containers ended with 0.
    Succeeded,
    /// A container ended otherwise: counts against `backoffLimit`.
    Failed {
        /// For people: container, exit code, reason.
        message: Arc<str>,
    },
    /// The kubelet would not take it (`OutOfcpu`, ...), or a node's shutdown or pressure ended it: not counted.
    Refused {
        /// The kubelet's reason and words.
        message: Arc<str>,
    },
}

impl PodPhase {
    /// Whether it takes nothing of its node any more.
    pub fn ended(&self) -> bool {
        match self {
            Self::Succeeded | Self::Failed { .. } | Self::Refused { .. } => true,
            Self::Pending | Self::Running { .. } => false,
        }
    }
}

/// Any pod: a member, or one that others made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodSpec {
    /// `metadata.uid`.
    pub uid: Arc<str>,
    /// `spec.nodeName`; for a pod pinned to a node for the default scheduler and not yet bound, that node.
    pub node: Option<Arc<str>>,
    /// Whether `spec.nodeName` is set.
    pub bound: bool,
    /// Created, by its metadata.
    pub created: Time,
    /// `metadata.deletionTimestamp` is set.
    pub terminating: bool,
    /// Where it is.
    pub phase: PodPhase,
    /// Effective requests, with `pods: 1`.
    pub requests: NamedAmounts,
    /// Ports on the node.
    pub host_ports: Vec<HostPort>,
    /// As others see it who want to be near it or apart from it.
    pub neighbour: Arc<Neighbour>,
    /// Set if a workload owns it.
    pub member: Option<MemberRef>,
    /// What made it, if that may be labelled for a pool and is no workload.
    pub maker: Option<Arc<Maker>>,
    /// It is one run of a virtual machine: the machine's pod, from when the machine is told to run until all of
    /// it is gone.
    pub machine: Option<Run>,
}
