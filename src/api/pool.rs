//! `ResourcePool`: a tree of pools over the nodes that their roots select.

#![allow(
    clippy::doc_markdown,
    reason = "the texts are shown by kubectl explain, where backticks only disturb"
)]
#![allow(clippy::struct_field_names, reason = "the names are the API, and the derives copy the structs")]

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::alerts::PoolAlerts;
use super::duration::Duration;
use super::nodes::{PoolRebalancing, PoolType};
use super::optimal::OptimalPlacement;
pub use super::pool_status::{
    AdoptedObject, NodeCounts, PoolSummary, ResourcePoolStatus, ResourceStatus, WorkloadCounts,
};
use super::quantity::Quantity;
use super::runtime::{PoolVirtualMachines, Runtime};
use super::{rules, schema};

/// What the pool is made of, who may use it, and how it shares.
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "weir.dev",
    version = "v1alpha1",
    kind = "ResourcePool",
    plural = "resourcepools",
    shortname = "rp",
    category = "weir",
    status = "ResourcePoolStatus",
    derive = "PartialEq",
    doc = "A pool of the resources of chosen nodes. Pools form a tree; a root pool owns nodes, and the pools \
           below it share them by reservation, limit and weight.",
    validation = rules::dns_label("self.metadata.name", "metadata.name: ", 63),
    validation = Rule::new("!has(self.spec.parent) || self.spec.parent != self.metadata.name")
        .message("spec.parent: a pool cannot be its own parent; name another pool, or leave parent away for a root"),
    validation = Rule::new("has(self.spec.parent) || self.spec.expandable")
        .message("spec.expandable: write true or leave it away on a root, which has nothing to borrow from"),
    validation = Rule::new("!has(self.spec.parent) || self.spec.type == 'Shared'")
        .message("spec.type: write Shared or leave it away on a pool that has a parent: only roots have nodes of their own"),
    validation = Rule::new("has(self.spec.nodes) || !has(self.spec.rebalancing)")
        .message("spec.rebalancing: leave it away, or write nodes.selector: a pool evens out the nodes that it selects"),
    validation = Rule::new("!has(self.spec.rebalancing) || self.spec.rebalancing.mode == 'Off' || !(self.spec.placement.strategy in ['BinPack', 'LeastFragmentation', 'Optimal'])")
        .message("spec.rebalancing: write mode Off, or set placement.strategy to Spread or Balanced: what fills nodes one after another does not want them even"),
    validation = Rule::new("self.spec.placement.strategy != 'Optimal' || (self.spec.scheduling.queueing == 'BestEffort' && self.spec.scheduling.policy in ['Priority', 'FirstComeFirstServed'])")
        .message("spec.placement.strategy: write Balanced, or set scheduling.queueing to BestEffort and scheduling.policy to Priority or FirstComeFirstServed: Optimal chooses who goes first among equals, and other queues say that themselves"),
    validation = Rule::new("self.spec.placement.strategy != 'Optimal' || !has(self.spec.placement.topologyKey)")
        .message("spec.placement.topologyKey: leave it away, or set strategy to another than Optimal, which does not keep members together; a workload may write its own"),
    validation = Rule::new("self.spec.placement.strategy == 'Optimal' || !has(self.spec.placement.optimal)")
        .message("spec.placement.optimal: leave it away, or set placement.strategy to Optimal: no other strategy looks at it"),
    validation = Rule::new("has(self.spec.parent) || !has(self.spec.resources) || self.spec.resources.all(one, !has(one.lendingLimit))")
        .message("spec.resources: write no lendingLimit on a root, which lends to nobody"),
    validation = Rule::new("!has(self.spec.parent) || !has(self.spec.resources) || self.spec.resources.all(one, !has(one.capacity))")
        .message("spec.resources: write capacity on the root alone, and a limit or reservation here"),
    validation = rules::derived_has_capacity(),
    printcolumn(name = "Nodes", type_ = "integer", json_path = ".status.nodes.total", description = "Nodes that belong to the pool"),
    printcolumn(name = "CPU", type_ = "string", json_path = ".status.summary.cpu", description = "CPU used / limit"),
    printcolumn(name = "Memory", type_ = "string", json_path = ".status.summary.memory", description = "Memory used / limit"),
    printcolumn(name = "Queued", type_ = "integer", json_path = ".status.workloads.queued", description = "Workloads that wait"),
    printcolumn(name = "Running", type_ = "integer", json_path = ".status.workloads.running", description = "Workloads that run"),
    printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#, description = "Whether the pool admits work"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp", description = "Time since it was created"),
    printcolumn(name = "GPUs", type_ = "string", json_path = ".status.summary.gpus", priority = "1", description = "GPUs used / limit"),
    printcolumn(name = "Policy", type_ = "string", json_path = ".spec.scheduling.policy", priority = "1", description = "Order of the queue"),
    printcolumn(name = "Parent", type_ = "string", json_path = ".spec.parent", priority = "1", description = "The pool above"),
    printcolumn(name = "Weight", type_ = "integer", json_path = ".spec.weight", priority = "1", description = "Share of what is idle")
)]
#[serde(rename_all = "camelCase")]
pub struct ResourcePoolSpec {
    /// Name of the pool above this one. Absent: this is a root, which owns the nodes that it selects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub parent: Option<String>,

    /// The nodes that join the pool. A root without it has no nodes; a child without it uses its parent's
    /// nodes, a child with it the part of them that matches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nodes: Option<PoolNodes>,

    /// Roots only. Shared: pods that are no members may run on the nodes too. Dedicated: Weir puts the taint
    /// weir.dev/pool=<name>:NoSchedule on the nodes, members tolerate it, and it goes when a node leaves the pool.
    #[serde(default, rename = "type")]
    pub kind: PoolType,

    /// The resources that are metered, one entry each. Only what the root lists is metered. A child that
    /// leaves one away has reservation 0 and its parent's limit; a root's limit is what its nodes offer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub resources: Vec<PoolResource>,

    /// Share of idle resources among siblings that want them: 1 to 10000.
    #[serde(default = "default_weight")]
    #[schemars(range(min = 1, max = 10_000))]
    pub weight: i32,

    /// Among siblings that want idle resources the higher goes first; weight decides among equals. It also
    /// decides which root has a node that several select, and whose reservations are honoured first.
    #[serde(default)]
    #[schemars(range(min = -1_000_000, max = 1_000_000))]
    pub priority: i32,

    /// Whether it may borrow beyond its reservation from its parent, which may borrow from its own if it is
    /// expandable too. false: what it reserves is also its limit.
    #[serde(default = "default_expandable")]
    pub expandable: bool,

    /// In which order workloads leave the queue.
    #[serde(default)]
    pub scheduling: PoolScheduling,

    /// Who gives way to whom.
    #[serde(default)]
    pub preemption: PoolPreemption,

    /// Which of the nodes that fit is chosen.
    #[serde(default)]
    pub placement: PoolPlacement,

    /// What virtual machines of the pool request where their template does not say. Absent: the parent's, at last the
    /// settings of the cluster's KubeVirt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub virtual_machines: Option<PoolVirtualMachines>,

    /// Bounds on numbers of workloads and on the size of one. They bind the whole subtree.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<PoolLimits>,

    /// Who may submit, and at which priorities. Absent: nobody.
    #[serde(default)]
    pub access: PoolAccess,

    /// When a warning condition and event appear. Absent: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alerts: Option<PoolAlerts>,
    /// Evens out how much the nodes of the pool are used, by moving members. Absent: it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rebalancing: Option<PoolRebalancing>,

    /// None: admits. Hold: admits nothing new. HoldAndDrain: also evicts what runs. It binds the whole subtree.
    #[serde(default)]
    pub stop_policy: StopPolicy,

    /// Finished workloads are deleted this long after they finished, where they do not say themselves.
    /// Absent: they are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_after_finished: Option<Duration>,
}

/// Share that a pool has when it does not say.
pub const DEFAULT_WEIGHT: i32 = 100;

fn default_weight() -> i32 {
    DEFAULT_WEIGHT
}

fn default_expandable() -> bool {
    true
}

/// The nodes of a pool.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PoolNodes {
    /// Labels that a node must have to join. {} selects every node.
    #[schemars(schema_with = "schema::label_selector")]
    pub selector: LabelSelector,
}

/// What a pool is entitled to of one resource.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[x_kube(
    validation = rules::not_negative("reservation"),
    validation = rules::not_negative("limit"),
    validation = rules::countable_field("reservation"),
    validation = rules::countable_field("limit"),
    validation = rules::not_negative("lendingLimit"),
    validation = rules::countable_field("lendingLimit"),
    validation = rules::not_negative("capacity"),
    validation = rules::countable_field("capacity"),
    validation = rules::no_capacity_of_nodes(),
    validation = Rule::new("!has(self.reservation) || !has(self.limit) || !isQuantity(string(self.reservation)) || !isQuantity(string(self.limit)) || quantity(string(self.reservation)).compareTo(quantity(string(self.limit))) <= 0")
        .message("reservation: write at most the limit of the same resource"),
)]
#[serde(rename_all = "camelCase")]
pub struct PoolResource {
    /// Name of the resource: cpu, memory, ephemeral-storage, pods, hugepages-<size>, an extended resource
    /// such as nvidia.com/gpu, or what Weir derives from templates: requests.storage (claims of ephemeral volumes),
    /// weir.dev/ingress-bandwidth and weir.dev/egress-bandwidth (from the annotations kubernetes.io/ingress-bandwidth
    /// and kubernetes.io/egress-bandwidth).
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = rules::resource_name())]
    pub name: String,

    /// What the pool gets whenever it asks, if need be by reclaiming it from borrowers. Absent: 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reservation: Option<Quantity>,

    /// What the pool never passes. Absent: the parent's limit; of a root, what its nodes offer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<Quantity>,

    /// How much of its idle reservation others may borrow. Absent: all of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lending_limit: Option<Quantity>,

    /// For a root: how much there is of what no node offers, such as a software licence or shared storage. It is
    /// charged like any other resource, not looked for on nodes, and left out of what pods request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity: Option<Quantity>,
}

/// In which order workloads leave the queue.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[x_kube(
    validation = Rule::new("self.policy != 'RoundRobin' || has(self.timeSlice)")
        .message("timeSlice: write how long a workload runs before it gives way, such as 30m: policy RoundRobin needs it"),
    validation = Rule::new("self.policy == 'RoundRobin' || !has(self.timeSlice)")
        .message("timeSlice: leave it away, or set policy to RoundRobin: no other policy has time slices"),
    validation = Rule::new("self.policy in ['Priority', 'FairShare'] || !has(self.aging)")
        .message("aging: leave it away, or set policy to Priority or FairShare: no other policy heeds priorities"),
)]
#[serde(rename_all = "camelCase")]
pub struct PoolScheduling {
    /// FirstComeFirstServed: by creation time. Priority: by priority, then by creation time. RoundRobin: by turns
    /// of timeSlice. FairShare: the namespace that has the least goes first (by its dominant share over its label
    /// weir.dev/weight, 100 if it has none), then as Priority.
    #[serde(default)]
    pub policy: Policy,

    /// Strict: the head of the queue blocks those behind it. BestEffort: smaller ones may pass a blocked head,
    /// for at most 10 minutes. Backfill: they may pass it only if by their expectedDuration they do not delay it.
    #[serde(default)]
    pub queueing: Queueing,

    /// For RoundRobin: a workload that ran for this long gives way when another waits that could use its place,
    /// and goes to the tail. 10s to 30 days.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = rules::between("10s", "720h"))]
    pub time_slice: Option<Duration>,

    /// Priority that workloads gain by waiting, so that none starves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aging: Option<PoolAging>,
}

/// Priority that workloads gain by waiting.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PoolAging {
    /// How long to wait for each step: 10s to 30 days.
    #[x_kube(validation = rules::between("10s", "720h"))]
    pub every: Duration,

    /// Priority gained each time.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub step: i32,

    /// Most priority that waiting gains.
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub max: i32,
}

/// The order of a queue.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Policy {
    /// By creation time.
    FirstComeFirstServed,
    /// By priority, then by creation time.
    #[default]
    Priority,
    /// By turns of a time slice.
    RoundRobin,
    /// The namespace that has the least, then by priority and creation time.
    FairShare,
}

/// Whether a blocked head holds the rest of the queue.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Queueing {
    /// It does.
    Strict,
    /// Smaller ones may pass it.
    #[default]
    BestEffort,
    /// Those may pass it that do not delay it.
    Backfill,
}

/// Who gives way to whom.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PoolPreemption {
    /// LowerPriority: a workload that finds no room takes that of workloads of the pool with a lower
    /// spec.priority, where the policy heeds priorities (Priority, FairShare). Never: it waits.
    #[serde(default)]
    pub within_pool: WithinPool,

    /// What the pool, below its reservation, takes back from borrowers. Any: whatever it needs. LowerPriority: only
    /// from workloads of a lower priority. Never: it waits until they end.
    #[serde(default)]
    pub reclaim: Reclaim,

    /// Workloads of this pool that ran for less than this give way to nobody. Absent: 0s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = rules::between("0s", "720h"))]
    pub min_runtime: Option<Duration>,
}

/// Who gives way in a pool.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum WithinPool {
    /// Nobody.
    Never,
    /// Workloads of a lower priority.
    #[default]
    LowerPriority,
}

/// From whom a reservation is taken back.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reclaim {
    /// From nobody.
    Never,
    /// From borrowers of a lower priority.
    LowerPriority,
    /// From any borrower.
    #[default]
    Any,
}

/// Which of the nodes that fit is chosen.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PoolPlacement {
    /// BinPack: fill used nodes first. Spread: use the emptiest first. Balanced: keep each node's resources
    /// used in proportion. LeastFragmentation: leave as little room as can be that the usual work cannot use, such
    /// as single GPUs where work wants eight. Optimal: a solver looks at all that waits and says who is admitted
    /// and where, for a limited time, and never with less than Balanced would reach.
    #[serde(default)]
    pub strategy: Strategy,

    /// Under the strategy Optimal, what the solver strives for and for how long. Absent: the defaults.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub optimal: Option<OptimalPlacement>,

    /// A node label, such as topology.kubernetes.io/rack: the members of one workload are kept together in one of its
    /// domains, or in as few as can be. It is preferred, and holds no workload back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 317))]
    #[x_kube(validation = rules::label_key())]
    pub topology_key: Option<String>,
}

/// How nodes are scored.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Strategy {
    /// The fullest node first.
    BinPack,
    /// The emptiest node first.
    Spread,
    /// The node whose resources are then used most in proportion.
    #[default]
    Balanced,
    /// The node that then has the least more room that the usual work cannot use.
    LeastFragmentation,
    /// What a solver finds for all that waits together.
    Optimal,
}

/// Bounds on numbers of workloads and on the size of one.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PoolLimits {
    /// Most workloads that run at a time, in the pool and all below it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1_000_000))]
    pub max_running: Option<i32>,

    /// Most workloads that wait at a time, in the pool and all below it; further ones are not queued.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1_000_000))]
    pub max_queued: Option<i32>,

    /// Most workloads of one namespace that run at a time, in the pool and all below it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1_000_000))]
    pub max_running_per_namespace: Option<i32>,

    /// How fast workloads are admitted, in the pool and all below it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admission_rate: Option<AdmissionRate>,

    /// Most that one workload may ask for, all members together, by resource name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32))]
    #[x_kube(
        validation = rules::resource_names(),
        validation = rules::not_negative_values(),
        validation = rules::countable_values()
    )]
    pub max_resources_per_workload: BTreeMap<String, Quantity>,
}

/// How fast workloads are admitted: a token bucket.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AdmissionRate {
    /// Workloads in each period.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub count: i32,

    /// The period: 1s to 30 days.
    #[x_kube(validation = rules::between("1s", "720h"))]
    pub period: Duration,

    /// Most that are admitted at once after a time without any. Absent: count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub burst: Option<i32>,
}

/// Who may submit, and at which priorities.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PoolAccess {
    /// Labels of the namespaces that may submit. Absent: nobody. {}: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::optional_label_selector")]
    pub namespaces: Option<LabelSelector>,

    /// The priorities that workloads may have.
    #[serde(default)]
    pub priority: PriorityRange,

    /// What members of workloads may be: Pod, VirtualMachine. Absent: both.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2), extend("x-kubernetes-list-type" = "set"))]
    pub runtimes: Option<Vec<Runtime>>,
}

/// The priorities that workloads of a pool may have.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[x_kube(validation = Rule::new("self.min <= self.max")
    .message("write min and max so that min is at most max, such as {min: -1000, max: 1000}"))]
#[serde(rename_all = "camelCase")]
pub struct PriorityRange {
    /// The lowest.
    #[serde(default = "default_min_priority")]
    #[schemars(range(min = -1_000_000_000, max = 1_000_000_000))]
    pub min: i32,

    /// The highest.
    #[serde(default = "default_max_priority")]
    #[schemars(range(min = -1_000_000_000, max = 1_000_000_000))]
    pub max: i32,
}

/// Lowest priority that a pool allows when it does not say.
pub const DEFAULT_MIN_PRIORITY: i32 = -1000;
/// Highest priority that a pool allows when it does not say.
pub const DEFAULT_MAX_PRIORITY: i32 = 1000;

fn default_min_priority() -> i32 {
    DEFAULT_MIN_PRIORITY
}

fn default_max_priority() -> i32 {
    DEFAULT_MAX_PRIORITY
}

impl Default for PriorityRange {
    fn default() -> Self {
        Self { min: DEFAULT_MIN_PRIORITY, max: DEFAULT_MAX_PRIORITY }
    }
}

/// Whether a pool admits.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum StopPolicy {
    /// It admits.
    #[default]
    None,
    /// It admits nothing new.
    Hold,
    /// It admits nothing new and evicts what runs.
    HoldAndDrain,
}
