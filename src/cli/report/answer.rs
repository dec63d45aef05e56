//! What a report says, as `-o json` and the page have it. Amounts are Kubernetes' quantities, times are seconds.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::api::optimal::OptimalStatus;

/// All of it.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// As of when.
    pub at: String,
    /// How far back it looks.
    pub since_seconds: i64,
    /// What somebody should look at, worst first.
    pub attention: Vec<Attention>,
    /// Roots by name, each with what is below it.
    pub pools: Vec<PoolRow>,
    /// Who uses whose room now.
    pub borrowing: Vec<BorrowingRow>,
    /// What is reserved and not used now, dearest first.
    pub idle_reservations: Vec<IdleRow>,
    /// Requests against real use; absent where nothing was measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// What a reader should know.
    pub notes: Vec<String>,
    /// What could not be read, and is therefore missing.
    pub unknown: Vec<String>,
}

/// What somebody should look at.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Attention {
    /// The pool.
    pub pool: String,
    /// A condition of the pool, or what else it is.
    pub kind: String,
    /// Why, in a word of the documented list.
    pub reason: String,
    /// Why, in a sentence with numbers.
    pub message: String,
    /// What to do.
    pub action: String,
}

/// A pool.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PoolRow {
    /// Its name.
    pub name: String,
    /// The pool above it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
    /// How many are above it.
    pub depth: usize,
    /// Its nodes, and those of them that are ready.
    pub nodes: i32,
    /// Those that are ready.
    pub nodes_ready: i32,
    /// What it has and uses.
    pub resources: Vec<ResourceRow>,
    /// Workloads of it and of those below it.
    pub workloads: WorkloadsRow,
    /// What is free on its nodes; of pools that have their own.
    pub free: Vec<FreeRow>,
    /// What came of its last batch under the strategy Optimal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub optimal: Option<OptimalStatus>,
    /// What Prometheus has seen of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub history: Option<HistoryRow>,
}

/// One resource of a pool. Percents are of the limit, or of the capacity where there is no limit.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ResourceRow {
    /// Which.
    pub name: String,
    /// What nodes offer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capacity: Option<String>,
    /// What it is entitled to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reservation: Option<String>,
    /// What it never passes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<String>,
    /// What is charged.
    pub allocated: String,
    /// What those that wait ask for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pending: Option<String>,
    /// Allocated now, in percent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub percent: Option<i64>,
    /// When nothing is left of it, by the trend that its status tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exhausted_at: Option<String>,
    /// What Prometheus has seen of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub history: Option<ShareRow>,
}

/// What was allocated over time, in percent.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ShareRow {
    /// On average.
    pub mean: i64,
    /// 95 of 100 parts of the time had no more.
    pub p95: i64,
    /// At most.
    pub peak: i64,
    /// When nothing is left of it, by the trend of that time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exhausted_at: Option<String>,
    /// Seconds since the beginning.
    pub at: Vec<i64>,
    /// 1 is all.
    pub shares: Vec<f64>,
}

/// Spans: how many, and how long.
#[derive(Clone, Copy, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Spans {
    /// How many.
    pub count: usize,
    /// On average.
    pub mean: i64,
    /// Half of them are no longer.
    pub median: i64,
    /// 95 of 100 are no longer.
    pub p95: i64,
    /// The longest, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub longest: Option<i64>,
}

/// Workloads of a pool and those below it.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkloadsRow {
    /// Those that wait now, and for how long they have.
    pub waiting: Spans,
    /// Who has waited longest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub longest_waiting: Option<String>,
    /// Those that wait, by reason.
    pub waiting_for: BTreeMap<String, usize>,
    /// Those that hold quota now.
    pub running: usize,
    /// Of those that started in the time looked at: from when they were created until enough members ran.
    pub waits: Spans,
    /// Those that started in that time after an eviction: their last wait is not known.
    pub waits_unknown: usize,
    /// Of those that ended in the time covered: how long they ran.
    pub runs: Spans,
    /// How far back finished workloads are known.
    pub covered_seconds: i64,
    /// Ended well in that time.
    pub succeeded: usize,
    /// Ended badly in that time.
    pub failed: usize,
    /// Ends by reason.
    pub ends: BTreeMap<String, usize>,
    /// Ended well, a day; none where less than a minute is covered.
    pub succeeded_a_day: Option<f64>,
    /// How often those that are there were evicted.
    pub evictions: u32,
    /// Those that have not run since their last eviction, by its reason.
    pub evicted: BTreeMap<String, usize>,
}

/// What is free of a resource on the nodes of a pool.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FreeRow {
    /// Which.
    pub resource: String,
    /// In all.
    pub free: String,
    /// The largest block on one node.
    pub largest: String,
    /// Nodes that have some.
    pub nodes: u32,
    /// Of no use to the workloads that are known, on average over their kinds.
    pub stranded: String,
    /// The same in percent of what is free.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stranded_percent: Option<i64>,
}

/// Who uses whose room.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BorrowingRow {
    /// Of which resource.
    pub resource: String,
    /// The pool that uses more than it reserves; own: its own workloads use what children reserve.
    pub borrower: String,
    /// The borrower is the parent, for its own workloads.
    pub own: bool,
    /// How much.
    pub amount: String,
    /// Pool, Unreserved or Above.
    pub from: &'static str,
    /// The pool that lends; of Unreserved and Above, the parent.
    pub lender: String,
}

/// A reservation that is not all used.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct IdleRow {
    /// Whose.
    pub pool: String,
    /// Of which resource.
    pub resource: String,
    /// Reserved.
    pub reservation: String,
    /// Allocated now.
    pub allocated: String,
    /// Not used, without what is told of the pools below.
    pub unused: String,
    /// Of that, what others use.
    pub lent: String,
    /// Not used, in percent of what the tree has.
    pub percent_of_tree: f64,
    /// Nothing of it has been used since then, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle_since: Option<String>,
    /// Never used in the time looked at, as Prometheus has seen it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub never_used: Option<String>,
}

/// Requests against real use.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Usage {
    /// Who has measured.
    pub source: &'static str,
    /// By pool.
    pub pools: Vec<UseRow>,
    /// Those whose requests fit worst first.
    pub workloads: Vec<UseRow>,
    /// Pods that were measured.
    pub pods: usize,
}

/// One resource of a workload or pool.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct UseRow {
    /// The pool, or the workload.
    pub name: String,
    /// Its pool.
    pub pool: String,
    /// Which resource.
    pub resource: &'static str,
    /// Pods that were measured.
    pub pods: usize,
    /// Requested by them.
    pub requested: String,
    /// Used by them: now, or on average.
    pub used: String,
    /// Most that they used; absent where only now is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peak: Option<String>,
    /// Used in percent of what is requested.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub percent: Option<i64>,
    /// Of a workload Over, Fits or Under: whether it requests too much, or too little.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verdict: Option<&'static str>,
}

/// What Prometheus has seen of a pool.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HistoryRow {
    /// Workloads that waited, in it and those below it: seconds since the beginning, and how many.
    pub at: Vec<i64>,
    /// How many.
    pub queued: Vec<f64>,
    /// How long workloads of the pool itself had waited when they were admitted, deleted ones and such that were evicted
    /// before, too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waits: Option<Spans>,
    /// Evictions of workloads of the pool itself by reason.
    pub evictions: BTreeMap<String, i64>,
    /// Ends of workloads of the pool itself by reason.
    pub ends: BTreeMap<String, i64>,
}
