//! What a delta says of one object: everything parsed, nothing optional that need not be.
//!
//! `observe/` makes these of Kubernetes objects; scenarios and the simulator make them directly.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::amount::{Amount, Limit};
use super::asked::{Asked, MoveRequest};
pub use super::balance::Rebalancing;
use super::batch::Tuned;
pub use super::dedicated::PoolKind;
use super::indexes::IndexSet;
pub use super::machines::{Run, Runtime};
pub use super::moves::Migration;
pub use super::pace::{Aging, Rate};
pub use super::podspec::{MemberRef, PodPhase, PodSpec};
use super::selector::{LabelSelector, Labels, NodeTerm, Requirement, Taint, Toleration};
use super::terms::PodTerms;
use super::time::{Span, Time};

/// Amounts by resource name, as deltas carry them; the world interns the names.
pub type NamedAmounts = BTreeMap<Arc<str>, Amount>;

/// How a pool orders its queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "controller", derive(serde::Serialize, serde::Deserialize))]
pub enum Policy {
    /// By creation.
    FirstComeFirstServed,
    /// By priority, then creation.
    #[default]
    Priority,
    /// By turns: what has used up its time slice goes to the tail.
    RoundRobin,
    /// The namespace with the least weighted dominant share first, then by priority and creation.
    FairShare,
}

impl Policy {
    /// Whether priorities order its queue, and so say who gives way to whom.
    pub fn heeds_priority(self) -> bool {
        match self {
            Self::Priority | Self::FairShare => true,
            Self::FirstComeFirstServed | Self::RoundRobin => false,
        }
    }
}

/// Whether a blocked head holds those behind it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "controller", derive(serde::Serialize, serde::Deserialize))]
pub enum Queueing {
    /// It does.
    Strict,
    /// Those that fit may pass, until the head was passed for too long.
    #[default]
    BestEffort,
    /// Those that fit may pass if by their declared durations they do not delay the head.
    Backfill,
}

/// Which lower priorities give way to a workload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "controller", derive(serde::Serialize, serde::Deserialize))]
pub enum WithinPool {
    /// None.
    Never,
    /// Those of its own pool.
    #[default]
    LowerPriority,
}

/// What a pool below its reservation takes back from borrowers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "controller", derive(serde::Serialize, serde::Deserialize))]
pub enum Reclaim {
    /// Nothing: it waits until they end.
    Never,
    /// From workloads of lower priority.
    LowerPriority,
    /// From any.
    #[default]
    Any,
}

/// How a node is chosen among those that fit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "controller", derive(serde::Serialize, serde::Deserialize))]
pub enum Strategy {
    /// The fullest.
    BinPack,
    /// The emptiest.
    Spread,
    /// The one whose resources are then used in proportion.
    #[default]
    Balanced,
    /// The one that then has the least more room that the typical work cannot use.
    LeastFragmentation,
    /// What a solver finds for the whole batch; where it says nothing, as `Balanced`.
    Optimal,
}

/// Whether a pool admits, and keeps what runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "controller", derive(serde::Serialize, serde::Deserialize))]
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
#[cfg_attr(feature = "controller", derive(serde::Serialize, serde::Deserialize))]
pub enum Completion {
    /// When its members have succeeded.
    #[default]
    RunToCompletion,
    /// Never; a member that ends is started again.
    KeepRunning,
}

/// What a member's failure does to the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "controller", derive(serde::Serialize, serde::Deserialize))]
pub enum OnMemberFailure {
    /// Nothing: the member alone is started again.
    #[default]
    RestartMember,
    /// All members are stopped and started again.
    RestartGang,
}

/// What a pool tells of by itself; nothing where all is absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "controller", derive(serde::Serialize, serde::Deserialize))]
pub struct Alerts {
    /// That much of a limit is allocated, in percent.
    pub utilization_percent: Option<i32>,
    /// A workload waits for longer.
    pub pending_for: Option<Span>,
    /// By the trend a resource is used up within that time.
    pub exhaustion_within: Option<Span>,
}

/// What a pool is promised and bounded to, of one resource.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "controller", derive(serde::Serialize, serde::Deserialize))]
pub struct Entitlement {
    /// The resource's name.
    pub resource: Arc<str>,
    /// What it gets whenever it asks.
    pub reservation: Amount,
    /// What it never passes.
    pub limit: Limit,
    /// How much of its idle reservation others may use.
    pub lending: Limit,
    /// Of a root: how much there is of what no node offers, such as a licence.
    pub capacity: Option<Amount>,
}

/// A `ResourcePool`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "controller", derive(serde::Serialize, serde::Deserialize))]
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
    /// Among siblings that want idle resources, and among roots that select one node, the higher goes first.
    pub priority: i32,
    /// Whether it may use more than its reservation.
    pub expandable: bool,
    /// Order of the queue.
    pub policy: Policy,
    /// Whether the head blocks.
    pub queueing: Queueing,
    /// How long a workload of a round-robin queue runs before it gives way to one that waits.
    pub time_slice: Option<Span>,
    /// Priority gained by waiting.
    pub aging: Option<Aging>,
    /// Who gives way in the pool.
    pub within_pool: WithinPool,
    /// Who gives its reservation back to it.
    pub reclaim: Reclaim,
    /// A workload of this pool that ran for less gives way to nobody.
    pub min_runtime: Span,
    /// How nodes are chosen.
    pub strategy: Strategy,
    /// Members of one workload are kept together in a domain of that node label, if that can be.
    pub topology_key: Option<Arc<str>>,
    /// What `Optimal` strives for, and for how long.
    pub optimal: Tuned,
    /// Most workloads that run at once, in the subtree.
    pub max_running: Option<u32>,
    /// Most workloads that wait at once, in the subtree.
    pub max_queued: Option<u32>,
    /// Most workloads of one namespace that run at once, in the subtree.
    pub max_running_per_namespace: Option<u32>,
    /// How fast workloads are admitted, in the subtree.
    pub admission_rate: Option<Rate>,
    /// Most that one workload may ask for, all members together.
    pub max_resources_per_workload: NamedAmounts,
    /// Which namespaces may submit; none: nobody.
    pub namespaces: Option<LabelSelector>,
    /// Least and greatest priority that tenants may set.
    pub priority_range: (i32, i32),
    /// What it tells of by itself.
    pub alerts: Alerts,
    /// What members may be.
    pub runtimes: BTreeSet<Runtime>,
    /// Whether it admits.
    pub stop: StopPolicy,
    /// How long finished workloads stay where they say nothing of it.
    pub ttl_after_finished: Option<Span>,
    /// Whether others may run on its nodes.
    pub kind: PoolKind,
    /// How its nodes are evened out; none: they are not.
    pub rebalancing: Option<Rebalancing>,
    /// The id of a recommendation that an annotation asks to carry out.
    pub apply: Option<Arc<str>>,
    /// What its status said, when it was first read, of the last one that was asked for.
    pub asked: Option<Box<Asked>>,
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
            priority: 0,
            expandable: true,
            policy: Policy::default(),
            queueing: Queueing::default(),
            time_slice: None,
            aging: None,
            within_pool: WithinPool::default(),
            reclaim: Reclaim::default(),
            min_runtime: Span(0),
            strategy: Strategy::default(),
            topology_key: None,
            optimal: Tuned::default(),
            max_running: None,
            max_queued: None,
            max_running_per_namespace: None,
            admission_rate: None,
            max_resources_per_workload: NamedAmounts::new(),
            namespaces: None,
            priority_range: (-1000, 1000),
            alerts: Alerts::default(),
            runtimes: Runtime::ALL.into(),
            stop: StopPolicy::default(),
            ttl_after_finished: None,
            kind: PoolKind::default(),
            rebalancing: None,
            apply: None,
            asked: None,
            problem: None,
        }
    }
}

/// A node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "controller", derive(serde::Serialize, serde::Deserialize))]
pub struct NodeSpec {
    /// `metadata.name`.
    pub name: Arc<str>,
    /// `metadata.labels`.
    pub labels: Labels,
    /// `spec.taints`, without those that mirror `unschedulable` and readiness.
    pub taints: Vec<Taint>,
    /// `spec.unschedulable`: cordoned.
    pub unschedulable: bool,
    /// It shall give its members away, if it is cordoned.
    pub drain: bool,
    /// The dedicated pool whose taint Weir has put on it.
    pub tainted_for: Option<Arc<str>>,
    /// Not ready since then; none while it is ready.
    pub not_ready_since: Option<Time>,
    /// `status.allocatable`.
    pub allocatable: NamedAmounts,
}

/// A port that a pod takes on its node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "controller", derive(serde::Serialize, serde::Deserialize))]
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
#[cfg_attr(feature = "controller", derive(serde::Serialize, serde::Deserialize))]
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
    /// Preferred node affinity: weights and terms.
    pub preferred: Vec<(i64, NodeTerm)>,
    /// Of the memory that is requested, what is not its guest's but of the processes around it, in bytes: machines only.
    #[cfg_attr(feature = "controller", serde(default))]
    pub overhead: Amount,
    /// A machine that has the CPU of its host.
    #[cfg_attr(feature = "controller", serde(default))]
    pub host_model: bool,
    /// Claims of its volumes that are there before its pods are: `namespace/name`.
    pub claims: Vec<Arc<str>>,
    /// The same of volumes that each member has for itself, by its index.
    pub own_claims: Vec<Vec<Arc<str>>>,
    /// What it wants of the pods around it, if anything.
    pub terms: Option<Box<PodTerms>>,
}

impl ShapeSpec {
    /// Whether a member may use a claim.
    pub fn uses(&self, claim: &str) -> bool {
        self.claims.iter().chain(self.own_claims.iter().flatten()).any(|one| **one == *claim)
    }
}

/// How a finished workload ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "controller", derive(serde::Serialize, serde::Deserialize))]
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
#[cfg_attr(feature = "controller", derive(serde::Serialize, serde::Deserialize))]
pub enum StopReason {
    /// A pool takes back its reservation. Evicted, queued again.
    Reclaimed,
    /// A workload of its pool with a higher priority takes its place. Evicted, queued again.
    Preempted,
    /// Its time slice is over and another waits. Evicted, queued again at the tail.
    SliceEnded,
    /// It ran longer than it had declared, and the head of the queue is due. Evicted, queued again.
    Overdue,
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
        match self {
            Self::Reclaimed | Self::Preempted | Self::SliceEnded | Self::Overdue | Self::Drained => true,
            Self::CreateRefused | Self::Suspended | Self::Finished(_) | Self::GangRestart | Self::Deleted => {
                false
            }
        }
    }
}

/// What a workload's status recorded, read once when it is first seen: the memory that survives a restart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "controller", derive(serde::Serialize, serde::Deserialize))]
pub struct WorkloadRecord {
    /// Admitted at that time, with that many members.
    pub admitted: Option<(Time, u32)>,
    /// Began to wait then; none: when it was created.
    pub queued_at: Option<Time>,
    /// It was evicted since it last ran, for that reason.
    pub evicted: Option<StopReason>,
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
    /// What became of the last request to move members.
    pub asked: Option<Asked>,
}

/// A `PooledWorkload`.
#[allow(clippy::struct_excessive_bools, reason = "each is one fact of the object, and they are independent")]
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "controller", derive(serde::Serialize, serde::Deserialize))]
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
    /// How long it says that it will run.
    pub expected_duration: Option<Span>,
    /// Whether it may be evicted so that others run. One that may not is never admitted on borrowed quota.
    pub preemptible: bool,
    /// Whether it grows and shrinks between `min_replicas` and `replicas` while it runs.
    pub dynamic: bool,
    /// Longest run.
    pub max_duration: Option<Span>,
    /// Longest wait.
    pub max_wait: Option<Span>,
    /// Deleted that long after it finished.
    pub ttl_after_finished: Option<Span>,
    /// In place of the pool's.
    pub strategy: Option<Strategy>,
    /// In place of the pool's.
    pub topology_key: Option<Arc<str>>,
    /// Its members are spread over the domains of that node label, with no more than that difference.
    pub spread: Option<(Arc<str>, u32)>,
    /// Labels of the template.
    pub labels: Arc<Labels>,
    /// What its members are.
    pub runtime: Runtime,
    /// `KubeVirt` was not asked yet whether it takes the template; nothing is admitted before.
    pub unchecked: bool,
    /// Whether its members may be moved to other nodes.
    pub migration: Migration,
    /// Its members use claims, which two pods on two nodes may not share.
    pub claims: bool,
    /// What each member asks for, or what is wrong with the template (fields and what to write).
    pub shape: Result<Arc<ShapeSpec>, Arc<str>>,
    /// What an annotation asks for: that members move.
    pub migrate: Option<Arc<MoveRequest>>,
    /// What its status said when it was read.
    pub record: WorkloadRecord,
}

impl WorkloadSpec {
    /// Whether its members lose nothing when they move: the next pod of one starts before the one that it has ends, or it
    /// is a machine that runs on.
    pub fn loses_nothing_by_moving(&self) -> bool {
        match self.runtime {
            Runtime::VirtualMachine => self.migration == Migration::Live,
            Runtime::Pod => {
                self.completion == Completion::KeepRunning
                    && !self.claims
                    && self.migration != Migration::Never
            }
        }
    }
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
            expected_duration: None,
            preemptible: true,
            dynamic: false,
            max_duration: None,
            max_wait: None,
            ttl_after_finished: None,
            strategy: None,
            topology_key: None,
            spread: None,
            labels: Arc::default(),
            runtime: Runtime::default(),
            unchecked: false,
            migration: Migration::default(),
            claims: false,
            shape: Ok(Arc::default()),
            migrate: None,
            record: WorkloadRecord::default(),
        }
    }
}
