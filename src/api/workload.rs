//! `PooledWorkload`: members that are admitted to a pool together and placed on its nodes.

#![allow(
    clippy::doc_markdown,
    reason = "the texts are shown by kubectl explain, where backticks only disturb"
)]

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::asked::MoveRequestStatus;
use super::duration::Duration;
use super::nodes::{Migration, MigrationStatus};
pub use super::placement::{MemberSpread, WorkloadPlacement};
use super::quantity::Quantity;
pub use super::queue::{EstimatedStart, QueueStatus};
use super::runtime::{Runtime, WorkloadTemplate};
use super::{rules, schema};

/// The longest name of a workload: members are called after it, and their names are hostnames.
pub const MAX_NAME: usize = 50;

/// What shall run, in which pool, and what happens when it ends.
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "weir.dev",
    version = "v1alpha1",
    kind = "PooledWorkload",
    plural = "pooledworkloads",
    shortname = "pw",
    category = "weir",
    namespaced,
    status = "PooledWorkloadStatus",
    derive = "PartialEq",
    doc = "Work that a pool admits and places: one or more members made from one template, admitted together.",
    validation = rules::dns_label("self.metadata.name", "metadata.name: ", MAX_NAME),
    validation = rules::fixed_while_admitted("template", false),
    validation = rules::fixed_while_admitted("pool", false),
    validation = rules::fixed_while_admitted("completion", true),
    validation = rules::fixed_while_admitted("minReplicas", true),
    validation = rules::fixed_while_admitted("allocation", false),
    printcolumn(name = "Pool", type_ = "string", json_path = ".spec.pool", description = "The pool"),
    printcolumn(name = "Priority", type_ = "integer", json_path = ".status.priority", description = "The priority that counts"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase", description = "Where it stands"),
    printcolumn(name = "Members", type_ = "string", json_path = ".status.summary.members", description = "Members that run / are wanted"),
    printcolumn(name = "Node", type_ = "string", json_path = ".status.summary.node", description = "The node, or how many nodes"),
    printcolumn(name = "Reason", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].reason"#, description = "Why it stands there"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp", description = "Time since it was created"),
    printcolumn(name = "Position", type_ = "integer", json_path = ".status.queue.position", priority = "1", description = "Place in the queue"),
    printcolumn(name = "Estimated start", type_ = "string", json_path = ".status.queue.estimatedStart.likely", priority = "1", description = "When it will likely start"),
    printcolumn(name = "Runtime", type_ = "string", json_path = ".status.summary.runtime", priority = "1", description = "Pod or VirtualMachine")
)]
#[x_kube(
    validation = Rule::new("!(has(self.priority) && has(self.priorityClassName))")
        .message("write either priority or priorityClassName, not both"),
    validation = Rule::new("!has(self.minReplicas) || self.minReplicas <= self.replicas")
        .message("minReplicas: write at most replicas, or leave it away to start all members together"),
    validation = Rule::new("self.allocation != 'Dynamic' || has(self.minReplicas)")
        .message("minReplicas: write the least size that allocation Dynamic may shrink to, such as 1"),
    validation = Rule::new("self.allocation != 'Dynamic' || self.onMemberFailure != 'RestartGang'")
        .message("allocation: write Static, or set onMemberFailure to RestartMember: a gang that restarts as a whole has one size"),
    validation = Rule::new("!has(self.template.virtualMachine) || (has(self.completion) && self.completion == 'RunToCompletion') \
            || !has(self.backoffLimit)")
        .message("backoffLimit: leave it away, or set completion to RunToCompletion: a virtual machine that keeps running is \
            restarted in place by KubeVirt, which does not count"),
    validation = Rule::new("!has(self.template.virtualMachine) || (self.replicas == 1) == (oldSelf.replicas == 1)")
        .message("replicas: write 1 if it was 1, and more than 1 if it was more: the disks of virtual machines are named by it; \
            or make another workload"),
    validation = Rule::new("!has(self.template.virtualMachine) || (has(self.completion) && self.completion == 'RunToCompletion') \
            || self.onMemberFailure != 'RestartGang'")
        .message("onMemberFailure: write RestartMember, or set completion to RunToCompletion: a virtual machine that keeps \
            running is restarted in place, and no other with it"),
    validation = Rule::new("!has(self.migration) || self.migration != 'Live' || has(self.template.virtualMachine)")
        .message("migration: write Restart or Never, or leave it away: only virtual machines move while they run (Live)"),
)]
#[serde(rename_all = "camelCase")]
pub struct PooledWorkloadSpec {
    /// Name of the pool. It cannot change while the workload is admitted.
    #[schemars(length(min = 1, max = 63))]
    pub pool: String,

    /// The higher goes first where the pool's policy is Priority, within access.priority of the pool. Absent:
    /// that of priorityClassName, else of the cluster's default PriorityClass, else 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = -1_000_000_000, max = 1_000_000_000))]
    pub priority: Option<i32>,

    /// Name of a scheduling.k8s.io PriorityClass whose value is the priority.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub priority_class_name: Option<String>,

    /// Members wanted: 1 to 10000.
    #[serde(default = "default_replicas")]
    #[schemars(range(min = 1, max = 10_000))]
    pub replicas: i32,

    /// Members without which none starts. Absent: replicas, so that all start together. It cannot change while
    /// the workload is admitted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000))]
    pub min_replicas: Option<i32>,

    /// Static: it keeps the number of members that it was admitted with. Dynamic: it grows from minReplicas to
    /// replicas while the pool has room that nobody waits for, and shrinks before others are preempted. It cannot
    /// change while the workload is admitted.
    #[serde(default)]
    pub allocation: Allocation,

    /// RunToCompletion: a member that ends with success is done. KeepRunning: a member that ends is started
    /// again. Absent: RunToCompletion for pods, KeepRunning for virtual machines. It cannot change while the
    /// workload is admitted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completion: Option<Completion>,

    /// How often a member may fail before the workload fails. Absent: 3 for RunToCompletion, no limit for
    /// KeepRunning. Refusals by the kubelet, lost nodes and evictions do not count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1000))]
    pub backoff_limit: Option<i32>,

    /// RestartMember: a member that failed is started again alone. RestartGang: all members are.
    #[serde(default)]
    pub on_member_failure: OnMemberFailure,

    /// The workload is deleted this long after it finished. Absent: the pool's ttlAfterFinished, else it is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_after_finished: Option<Duration>,

    /// true: release everything and leave the queue.
    #[serde(default)]
    pub suspend: bool,

    /// How long it will run. Backfill lets those pass a blocked head that end in time by what is written here, and
    /// evicts what has outlived it when the head is due. Absent: it counts as endless.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = rules::at_least_a_second())]
    pub expected_duration: Option<Duration>,

    /// Whether it may be evicted so that others run. false: it is admitted only within reservations, never on
    /// borrowed resources.
    #[serde(default = "default_preemptible")]
    pub preemptible: bool,

    /// The workload fails when it runs for longer than this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = rules::at_least_a_second())]
    pub max_duration: Option<Duration>,

    /// The workload fails when it waits for longer than this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = rules::at_least_a_second())]
    pub max_wait: Option<Duration>,

    /// Whether members may be moved while the workload runs, because their node is drained or others are idle.
    /// Restart: a member starts again on another node: before it ends on the first one where completion is
    /// KeepRunning and the template has no claims, else afterwards; a virtual machine is stopped, and started on another
    /// node with its disks. Live: a virtual machine is migrated while it runs, or stays where KubeVirt cannot do that.
    /// Never: members stay until they end. Absent: Live for virtual machines, else Restart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub migration: Option<Migration>,

    /// Overrides the placement of the pool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub placement: Option<WorkloadPlacement>,

    /// What each member is made from. It cannot change while the workload is admitted.
    pub template: WorkloadTemplate,
}

/// Members that a workload has when it does not say.
pub const DEFAULT_REPLICAS: i32 = 1;
/// Failures that a member may have when the workload runs to completion and does not say.
pub const DEFAULT_BACKOFF_LIMIT: i32 = 3;

fn default_replicas() -> i32 {
    DEFAULT_REPLICAS
}

fn default_preemptible() -> bool {
    true
}

impl PooledWorkloadSpec {
    /// Members without which none starts.
    pub fn effective_min_replicas(&self) -> i32 {
        self.min_replicas.unwrap_or(self.replicas)
    }

    /// When a member is done.
    pub fn effective_completion(&self) -> Completion {
        self.completion.unwrap_or_else(|| Completion::default_of(self.template.virtual_machine.is_some()))
    }

    /// Whether members are moved while the workload runs.
    pub fn effective_migration(&self) -> Migration {
        let is_machine = self.template.virtual_machine.is_some();
        self.migration.unwrap_or(if is_machine { Migration::Live } else { Migration::Restart })
    }

    /// Failures that a member may have; `None` is no limit.
    pub fn effective_backoff_limit(&self) -> Option<i32> {
        self.backoff_limit.or(match self.effective_completion() {
            Completion::RunToCompletion => Some(DEFAULT_BACKOFF_LIMIT),
            Completion::KeepRunning => None,
        })
    }
}

/// Whether the number of members changes while a workload runs.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Allocation {
    /// It does not.
    #[default]
    Static,
    /// It grows and shrinks between minReplicas and replicas.
    Dynamic,
}

/// When a member is done.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Completion {
    /// When it ends with success.
    #[default]
    RunToCompletion,
    /// Never: it is started again.
    KeepRunning,
}

impl Completion {
    /// Where nothing is said: a virtual machine keeps running, a pod runs to its end.
    pub fn default_of(virtual_machine: bool) -> Self {
        if virtual_machine { Self::KeepRunning } else { Self::RunToCompletion }
    }
}

/// What is started again when a member fails.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnMemberFailure {
    /// That member.
    #[default]
    RestartMember,
    /// All members.
    RestartGang,
}

/// A pod, as a member is made from it.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodTemplate {
    /// Labels and annotations of each pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<TemplateMetadata>,

    /// A core/v1 PodSpec, stored as given and checked when it is read; `weir check` checks it offline.
    /// nodeName, schedulerName, schedulingGates, hostname and subdomain are refused: Weir sets them.
    #[schemars(schema_with = "schema::pod_spec")]
    pub spec: Value,
}

/// Labels and annotations of each member.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TemplateMetadata {
    /// Labels of each member. Those under weir.dev/ are Weir's.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::labels")]
    #[x_kube(validation = rules::label_keys())]
    pub labels: BTreeMap<String, String>,

    /// Annotations of each member. Those under weir.dev/ are Weir's.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::annotations")]
    #[x_kube(validation = rules::label_keys())]
    pub annotations: BTreeMap<String, String>,
}

/// What Weir observed of the workload, and what it must remember over a restart.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("default" = {"observedGeneration": -1}))]
pub struct PooledWorkloadStatus {
    /// The metadata.generation that this status is about; -1 before the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = -1))]
    pub observed_generation: Option<i64>,

    /// Where it stands, for people: Queued, Starting, Running, Migrating, Suspended, Succeeded or Failed.
    /// Programs read the conditions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,

    /// The priority that counts: from priority, the class, or the cluster's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<i32>,

    /// Its place in the queue while it waits, for those near the head.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<QueueStatus>,

    /// Why it waits, in numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending: Option<PendingStatus>,

    /// What it holds while it is admitted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allocation: Option<AllocationStatus>,

    /// The members, counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub members: Option<MemberCounts>,

    /// Indexes of the members that succeeded, as in 0-3,7.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32_768))]
    pub succeeded_indexes: Option<String>,

    /// Indexes of the members that failed for good, as in 0-3,7.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32_768))]
    pub failed_indexes: Option<String>,

    /// How often members failed so far: for each count, the members that failed so often.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1001), extend("x-kubernetes-list-type" = "atomic"))]
    pub failures: Vec<FailureStatus>,

    /// Where the members are; at most the first 100. The label weir.dev/workload finds all of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100), extend("x-kubernetes-list-type" = "atomic"))]
    pub placements: Vec<PlacementStatus>,

    /// When the current wait began: maxWait counts from here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::optional_time")]
    pub queued_at: Option<Time>,

    /// When enough members first ran after the last admission: maxDuration counts from here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::optional_time")]
    pub started_at: Option<Time>,

    /// When it succeeded or failed: ttlAfterFinished counts from here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::optional_time")]
    pub finished_at: Option<Time>,

    /// What became of the annotation weir.dev/migrate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub migration_request: Option<MoveRequestStatus>,

    /// How often it was evicted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub evictions: Option<i32>,

    /// Numbers as the columns of kubectl get show them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<WorkloadSummary>,

    /// Ready, Reconciling, Stalled, Admitted, Running, Finished and Evicted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,
}

/// Where a workload stands, for people.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Phase {
    /// It waits.
    Queued,
    /// It is admitted, and too few members run yet.
    Starting,
    /// Enough members run.
    Running,
    /// Members move to other nodes.
    Migrating,
    /// It was told to hold nothing and not to wait.
    Suspended,
    /// It ended well.
    Succeeded,
    /// It ended badly.
    Failed,
}

/// Why a workload waits, in numbers.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PendingStatus {
    /// Why, in one word of the documented list.
    #[schemars(length(min = 1, max = 128))]
    pub reason: String,

    /// Why, in a sentence.
    #[serde(default)]
    #[schemars(length(max = 4096))]
    pub message: String,

    /// What was asked for and what the pool could give.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "atomic"))]
    pub resources: Vec<PendingResource>,

    /// Which nodes were looked at, and why they were rejected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nodes: Option<PendingNodes>,
}

/// What was asked for of one resource and what the pool could give.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PendingResource {
    /// Name of the resource.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,

    /// What the workload asks for, all members together.
    pub requested: Quantity,

    /// What the pool could give it now.
    pub available: Quantity,
}

/// Which nodes were looked at, and why they were rejected.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PendingNodes {
    /// Nodes of the pool.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub total: i32,

    /// How many were rejected, by reason.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "atomic"))]
    pub rejected: Vec<RejectedNodes>,
}

/// Nodes that were rejected for one reason.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RejectedNodes {
    /// The reason.
    #[schemars(length(min = 1, max = 256))]
    pub reason: String,

    /// How many.
    #[schemars(range(min = 0))]
    pub count: i32,
}

/// What a workload holds while it is admitted.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AllocationStatus {
    /// The pool that it is charged to.
    #[schemars(length(min = 1, max = 63))]
    pub pool: String,

    /// The priority that it was admitted with.
    #[serde(default)]
    pub priority: i32,

    /// How many members it was admitted with.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub replicas: i32,

    /// What it is charged, by resource, all members together.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32))]
    pub resources: BTreeMap<String, Quantity>,

    /// Of its memory, what its machines need beside their guests: what KubeVirt says, else an estimate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_overhead: Option<Quantity>,

    /// When it was admitted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::optional_time")]
    pub admitted_at: Option<Time>,
}

/// The members of a workload, counted.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MemberCounts {
    /// Those that shall be.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub desired: i32,

    /// Those that have a node.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub placed: i32,

    /// Those that run.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub running: i32,

    /// Those that succeeded.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub succeeded: i32,

    /// Those that failed for good.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub failed: i32,
}

/// The members that failed equally often.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FailureStatus {
    /// How often they failed.
    #[schemars(range(min = 1))]
    pub count: i32,

    /// Their indexes, as in 0-3,7.
    #[schemars(length(min = 1, max = 32_768))]
    pub indexes: String,
}

/// Where one member is.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlacementStatus {
    /// Index of the member.
    #[schemars(range(min = 0))]
    pub index: i32,

    /// Name of its pod or virtual machine.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,

    /// The node that was chosen for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub node: Option<String>,

    /// What it does: Unplaced, BackingOff, Starting, Running, Migrating, Terminating, Succeeded or Failed.
    pub state: MemberState,

    /// Where it moves to, while it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub migration: Option<MigrationStatus>,

    /// Which attempt this is, from 1; from the second on it is part of the pod's name.
    #[serde(default = "first_attempt")]
    #[schemars(range(min = 1))]
    pub attempt: i32,
}

/// What a member does.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum MemberState {
    /// Without a place.
    Unplaced,
    /// Started again after a pause.
    BackingOff,
    /// Created, and not running yet.
    Starting,
    /// Running.
    Running,
    /// Moving to another node.
    Migrating,
    /// Told to end, and still charged.
    Terminating,
    /// Ended with success.
    Succeeded,
    /// Ended without success.
    Failed,
}

/// Numbers as the columns of kubectl get show them.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkloadSummary {
    /// Members that run / are wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub members: Option<String>,

    /// The node of the only member, or how many nodes there are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub node: Option<String>,

    /// What its members are: Pod or VirtualMachine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime: Option<Runtime>,
}

fn first_attempt() -> i32 {
    1
}
