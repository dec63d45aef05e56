//! What a delta says of one object: everything parsed, nothing optional that need not be.
//!
//! `observe/` makes these of Kubernetes objects; scenarios and the simulator make them directly.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::amount::{Amount, Limit};
use super::indexes::IndexSet;
use super::selector::{LabelSelector, Labels, NodeTerm, Requirement, Taint, Toleration};
use super::time::{Span, Time};

/// Amounts by resource name, as deltas carry them; the world interns the names.
pub type NamedAmounts = BTreeMap<Arc<str>, Amount>;

/// How a pool orders its queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Policy {
    /// By creation.
    FirstComeFirstServed,
    /// By priority, then creation.
    #[default]
    Priority,
}

/// Whether a blocked head holds those behind it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Queueing {
    /// It does.
    Strict,
    /// Those that fit may pass, until the head was passed for too long.
    #[default]
    BestEffort,
}

/// How a node is chosen among those that fit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Strategy {
    /// The fullest.
    BinPack,
    /// The emptiest.
    Spread,
    /// The one whose resources are then used in proportion.
    #[default]
    Balanced,
}

/// Whether a pool admits, and keeps what runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StopPolicy {
    /// Goes on.
    #[default]
    None,
    /// Admits nothing new.
    Hold,
    /// Admits nothing new and evicts what runs.
    HoldAndDrain,
}

/// When a workload is done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Completion {
    /// When its members have succeeded.
    #[default]
    RunToCompletion,
    /// Never; a member that ends is started again.
    KeepRunning,
}

/// What a member's failure does to the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OnMemberFailure {
    /// Nothing: the member alone is started again.
    #[default]
    RestartMember,
    /// All members are stopped and started again.
    RestartGang,
}

/// What a pool is promised and bounded to, of one resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entitlement {
    /// The resource's name.
    pub resource: Arc<str>,
    /// What it gets whenever it asks.
    pub reservation: Amount,
    /// What it never passes.
    pub limit: Limit,
}

/// A `ResourcePool`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolSpec {
    /// `metadata.name`, unique in the cluster.
    pub name: Arc<str>,
    /// `metadata.uid`.
    pub uid: Arc<str>,
    /// `metadata.creationTimestamp`.
    pub created: Time,
    /// `metadata.deletionTimestamp` is set.
    pub deleting: bool,
    /// The parent pool's name; none for a root.
    pub parent: Option<Arc<str>>,
    /// Which nodes; none: the parent's.
    pub nodes: Option<LabelSelector>,
    /// By resource, in the order written.
    pub entitlements: Vec<Entitlement>,
    /// 1..=10000.
    pub weight: u32,
    /// Order of the queue.
    pub policy: Policy,
    /// Whether the head blocks.
    pub queueing: Queueing,
    /// How nodes are chosen.
    pub strategy: Strategy,
    /// Most workloads that run at once, in the subtree.
    pub max_running: Option<u32>,
    /// Most workloads that wait at once, in the subtree.
    pub max_queued: Option<u32>,
    /// Most workloads of one namespace that run at once, in the subtree.
    pub max_running_per_namespace: Option<u32>,
    /// Most that one workload may ask for, all members together.
    pub max_resources_per_workload: NamedAmounts,
    /// Which namespaces may submit; none: nobody.
    pub namespaces: Option<LabelSelector>,
    /// Least and greatest priority that tenants may set.
    pub priority_range: (i32, i32),
    /// Whether it admits.
    pub stop: StopPolicy,
    /// How long finished workloads stay where they say nothing of it.
    pub ttl_after_finished: Option<Span>,
    /// Set when the object could not be read: what and where; the pool is then stalled.
    pub problem: Option<Arc<str>>,
}

impl Default for PoolSpec {
    /// A root without nodes that nobody may use; everything else as the API's defaults have it.
    fn default() -> Self {
        Self {
            name: Arc::default(),
            uid: Arc::default(),
            created: Time(0),
            deleting: false,
            parent: None,
            nodes: None,
            entitlements: Vec::new(),
            weight: 100,
            policy: Policy::default(),
            queueing: Queueing::default(),
            strategy: Strategy::default(),
            max_running: None,
            max_queued: None,
            max_running_per_namespace: None,
            max_resources_per_workload: NamedAmounts::new(),
            namespaces: None,
            priority_range: (-1000, 1000),
            stop: StopPolicy::default(),
            ttl_after_finished: None,
            problem: None,
        }
    }
}

/// A node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeSpec {
    /// `metadata.name`.
    pub name: Arc<str>,
    /// `metadata.labels`.
    pub labels: Labels,
    /// `spec.taints`, without those that mirror `unschedulable` and readiness.
    pub taints: Vec<Taint>,
    /// `spec.unschedulable`: cordoned.
    pub unschedulable: bool,
    /// Not ready since then; none while it is ready.
    pub not_ready_since: Option<Time>,
    /// `status.allocatable`.
    pub allocatable: NamedAmounts,
}

/// A port that a pod takes on its node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostPort {
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: Arc<str>,
    /// The address, `0.0.0.0` for all.
    pub ip: Arc<str>,
    /// The number.
    pub port: u16,
}

impl HostPort {
    /// Whether both cannot be on one node.
    pub fn conflicts(&self, other: &Self) -> bool {
        const ALL: &str = "0.0.0.0";
        self.port == other.port
            && self.protocol == other.protocol
            && (self.ip == other.ip || self.ip.as_ref() == ALL || other.ip.as_ref() == ALL)
    }
}

/// What one member asks of its node and its pool. Equal shapes are decided alike.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShapeSpec {
    /// Effective requests (containers, init and sidecar containers, pod level), with `pods: 1`.
    pub requests: NamedAmounts,
    /// `nodeSelector`, as requirements.
    pub selector: Vec<Requirement>,
    /// Required node affinity: one of these terms, if there are any.
    pub affinity: Option<Vec<NodeTerm>>,
    /// Tolerations.
    pub tolerations: Vec<Toleration>,
    /// Ports on the node.
    pub host_ports: Vec<HostPort>,
}

/// How a finished workload ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FinishReason {
    /// All its members succeeded.
    Completed,
    /// A member failed more often than `backoffLimit`.
    BackoffLimitExceeded,
    /// It ran longer than `maxDuration`.
    MaxDurationExceeded,
    /// It waited longer than `maxWait`.
    MaxWaitExceeded,
}

impl FinishReason {
    /// Whether it is a success.
    pub fn succeeded(self) -> bool {
        self == Self::Completed
    }
}

/// Why the members of an admitted workload are stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StopReason {
    /// A pool takes back its reservation. Evicted, queued again.
    Reclaimed,
    /// The pool or an ancestor says `HoldAndDrain`. Evicted, queued again.
    Drained,
    /// The API server refused a member. Deleted, queued again after a pause.
    CreateRefused,
    /// `spec.suspend`. Deleted, suspended.
    Suspended,
    /// The workload ended; what still runs is deleted.
    Finished(FinishReason),
    /// A member failed and `onMemberFailure` is `RestartGang`. Deleted, started again in place.
    GangRestart,
    /// The workload is being deleted.
    Deleted,
}

impl StopReason {
    /// Whether members leave by the eviction API, which honours disruption budgets.
    pub fn evicts(self) -> bool {
        matches!(self, Self::Reclaimed | Self::Drained)
    }
}

/// What a workload's status recorded, read once when it is first seen: the memory that survives a restart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WorkloadRecord {
    /// Admitted at that time, with that many members.
    pub admitted: Option<(Time, u32)>,
    /// Began to wait then; none: when it was created.
    pub queued_at: Option<Time>,
    /// First ran then, in this admission.
    pub started_at: Option<Time>,
    /// Being stopped, for that reason, when last written.
    pub stopping: Option<StopReason>,
    /// Suspended, as last written.
    pub suspended: bool,
    /// Indexes that succeeded.
    pub succeeded: IndexSet,
    /// Counted failures by index.
    pub failures: BTreeMap<u32, u32>,
    /// Last attempt by index, where it is not 0.
    pub attempts: BTreeMap<u32, u32>,
    /// Finished, and when.
    pub finished: Option<(FinishReason, Time)>,
}

/// A `PooledWorkload`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkloadSpec {
    /// `metadata.uid`.
    pub uid: Arc<str>,
    /// `metadata.namespace`.
    pub namespace: Arc<str>,
    /// `metadata.name`.
    pub name: Arc<str>,
    /// `metadata.creationTimestamp`.
    pub created: Time,
    /// `metadata.deletionTimestamp` is set.
    pub deleting: bool,
    /// The pool's name.
    pub pool: Arc<str>,
    /// From `priority`, the `PriorityClass`, or the cluster's default.
    pub priority: i32,
    /// Members wanted.
    pub replicas: u32,
    /// Members without which none starts; at most `replicas`.
    pub min_replicas: u32,
    /// When it is done.
    pub completion: Completion,
    /// Counted failures of one member before the workload fails; none: no limit.
    pub backoff_limit: Option<u32>,
    /// What a failure does to the others.
    pub on_member_failure: OnMemberFailure,
    /// Released and out of the queue.
    pub suspend: bool,
    /// Longest run.
    pub max_duration: Option<Span>,
    /// Longest wait.
    pub max_wait: Option<Span>,
    /// Deleted that long after it finished.
    pub ttl_after_finished: Option<Span>,
    /// In place of the pool's.
    pub strategy: Option<Strategy>,
    /// What each member asks for, or what is wrong with the template (fields and what to write).
    pub shape: Result<Arc<ShapeSpec>, Arc<str>>,
    /// What its status said when it was read.
    pub record: WorkloadRecord,
}

impl Default for WorkloadSpec {
    /// One member that asks for nothing; everything else as the API's defaults have it.
    fn default() -> Self {
        Self {
            uid: Arc::default(),
            namespace: Arc::default(),
            name: Arc::default(),
            created: Time(0),
            deleting: false,
            pool: Arc::default(),
            priority: 0,
            replicas: 1,
            min_replicas: 1,
            completion: Completion::default(),
            backoff_limit: None,
            on_member_failure: OnMemberFailure::default(),
            suspend: false,
            max_duration: None,
            max_wait: None,
            ttl_after_finished: None,
            strategy: None,
            shape: Ok(Arc::default()),
            record: WorkloadRecord::default(),
        }
    }
}

/// Which member a pod is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
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
    /// Set if a workload owns it.
    pub member: Option<MemberRef>,
}
