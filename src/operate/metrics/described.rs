//! Every metric, described once: the program registers what stands here, and `docs/metrics.md` is made from it.

use std::fmt::Write as _;

/// One metric.
#[derive(Clone, Copy, Debug)]
pub struct Described {
    /// As it is told; a histogram's has `_bucket`, `_sum` and `_count` behind it.
    pub name: &'static str,
    /// `counter`, `gauge`, `histogram` or `info`.
    pub kind: &'static str,
    /// Names of its labels, in their order.
    pub labels: &'static [&'static str],
    /// What it says.
    pub help: &'static str,
}

impl Described {
    /// What it says, with the full stop that the registry puts there by itself for others.
    pub(super) fn sentence(&self) -> String {
        format!("{}.", self.help)
    }
}

macro_rules! metrics {
    ($($title:literal: { $($name:ident $text:literal $kind:ident [$($label:literal),*] $help:literal;)* })*) => {
        $($(
            #[doc = $help]
            pub const $name: Described = Described {
                name: $text, kind: stringify!($kind), labels: &[$($label),*], help: $help,
            };
        )*)*
        /// All of them, by heading.
        pub const ALL: &[(&str, &[Described])] = &[$(($title, &[$($name),*])),*];
    };
}

metrics! {
    "Pools": {
        POOL_INFO "weir_pool_info" gauge ["pool", "parent", "root"]
            "1 for each pool, with its parent (empty for a root) and its root (empty where it is cut off)";
        QUEUE_LENGTH "weir_queue_length" gauge ["pool"] "Workloads of the pool itself that wait";
        POOL_WORKLOADS "weir_pool_workloads" gauge ["pool", "phase"]
            "Workloads of the pool and those below it: queued, running, finished (well), failed";
        LONGEST_WAIT "weir_pool_longest_wait_seconds" gauge ["pool"]
            "For how long the one of the pool, or of those below it, that waits longest for room has waited; 0 if nobody does";
        POOL_NODES "weir_pool_nodes" gauge ["pool", "state"] "Nodes that have joined: ready, `not_ready`; and of all of them those that are unschedulable (cordoned)";
        POOL_STALLED "weir_pool_stalled" gauge ["pool"] "1 while nothing is admitted because the pool's place in the tree or its spec is wrong";
        POOL_OVERCOMMITTED "weir_pool_overcommitted" gauge ["pool"] "1 while the pools below it reserve more than there is";
        CAPACITY "weir_pool_capacity" gauge ["pool", "resource", "unit"] "What the pool's ready nodes offer, or what its root declares";
        RESERVATION "weir_pool_reservation" gauge ["pool", "resource", "unit"] "What the pool gets whenever it asks";
        LIMIT "weir_pool_limit" gauge ["pool", "resource", "unit"] "What the pool never passes; absent where there is no limit";
        ALLOCATED "weir_pool_allocated" gauge ["pool", "resource", "unit"] "What is charged to the pool and those below it";
        ADOPTED "weir_pool_adopted" gauge ["pool", "resource", "unit"] "Of what is allocated, what labelled objects of others are charged";
        BORROWED "weir_pool_borrowed" gauge ["pool", "resource", "unit"] "Of that, what is beyond its reservation";
        LENT "weir_pool_lent" gauge ["pool", "resource", "unit"] "Of its reservation that is not allocated, what others use";
        IDLE "weir_pool_idle" gauge ["pool", "resource", "unit"] "What nobody uses: of a root's capacity, of a child's reservation";
        AVAILABLE "weir_pool_available" gauge ["pool", "resource", "unit"] "What could be admitted now, as far as quota goes";
        PENDING "weir_pool_pending" gauge ["pool", "resource", "unit"] "What those that wait ask for, in the pool and below it";
        UNMANAGED "weir_pool_unmanaged" gauge ["pool", "resource", "unit"] "Of the capacity, what pods of nobody's workloads take";
        LARGEST_FREE "weir_pool_largest_free" gauge ["pool", "resource", "unit"] "The largest free block on one node; absent for what no node offers";
        EXHAUSTED "weir_pool_exhausted_timestamp_seconds" gauge ["pool", "resource"]
            "When, by the trend, the resource is used up to its limit, in seconds since 1970; absent where no such time is foreseen";
        POOLS_UNTOLD "weir_pools_untold" gauge [] "Pools beyond the first 2,000 by name, of which nothing is told one by one";
    }
    "Workloads, by pool": {
        ADMISSIONS "weir_admissions_total" counter ["pool"] "Workloads that were admitted";
        WAITING "weir_waiting_seconds" histogram ["pool"] "How long they had waited when they were admitted: since they were created, resumed, or evicted";
        ESTIMATE_ERROR "weir_estimated_start_error_seconds" histogram ["pool", "direction"]
            "How far from the start that was first estimated workloads started: earlier or later, which is the direction";
        EVICTIONS "weir_evictions_total" counter ["pool", "reason"] "Workloads that had to give way and wait again";
        ENDS "weir_ends_total" counter ["pool", "reason"] "Workloads that ended, well (Completed) or not";
    }
    "The operator": {
        BUILD "weir_build_info" info ["version", "arch"] "1, with the program's version";
        LEADING "weir_leading" gauge [] "1 while this process leads; only that one tells of pools";
        CYCLES "weir_cycles_total" counter [] "Cycles";
        CYCLE "weir_cycle_seconds" histogram [] "How long a cycle took";
        DECIDE "weir_decide_seconds" histogram [] "How long deciding took in it";
        DECISIONS "weir_decisions_total" counter ["kind"] "Decisions, by kind";
        API_REQUESTS "weir_api_requests_total" counter ["kind", "result"] "Requests that change something at the API server, and what they came to";
        IN_FLIGHT "weir_objects_in_flight" gauge [] "Objects with writes in flight";
        WATCH_EVENTS "weir_watch_events_total" counter ["kind"] "Objects that watches have shown";
        WATCH_AGE "weir_watch_age_seconds" gauge ["kind"] "For how long a watch has been silent; above --stale-after nothing is decided";
        PERMISSION_MISSING "weir_permission_missing" gauge ["request"] "1 while the operator lacks the right to do that: list_ and a kind, or a kind of write";
        FIELDS_MISSING "weir_definition_fields_missing" gauge ["kind"] "Fields that the program knows and the cluster's definition of that kind does not: it is older, and drops what is written there";
    }
    "The process": {
        START "process_start_time_seconds" gauge [] "When the process began, in seconds since 1970";
        PROCESSOR "process_cpu_seconds_total" counter [] "CPU time that the process has used";
        MEMORY "process_resident_memory_bytes" gauge [] "Memory that the process has";
    }
}

/// The page `docs/metrics.md`.
pub fn documentation() -> String {
    let mut page = String::from(
        "# Metrics\n\n\
         Made from `src/operate/metrics/described.rs` by `make generate`; do not edit.\n\n\
         `/metrics` is OpenMetrics text. [Operating](operating.md) tells who may read it, and which alerts and dashboards the chart brings. \
         Counters begin at 0 when the process starts. No label is a workload, a member or a node, so what is told grows with \
         the number of pools and their resources only.\n\n\
         Amounts are in the label `unit`: `core` for `cpu`, `byte` for memory and storage, `bit_per_second` for bandwidth, \
         `integer` for all that is counted in pieces. The label `reason` is one of [reasons.md](reasons.md).\n",
    );
    for (title, all) in ALL {
        let _ =
            write!(page, "\n## {title}\n\n| metric | type | labels | what it says |\n|---|---|---|---|\n");
        for Described { name, kind, labels, help } in *all {
            let labels: Vec<String> = labels.iter().map(|label| format!("`{label}`")).collect();
            let _ = writeln!(page, "| `{name}` | {kind} | {} | {help} |", labels.join(", "));
        }
    }
    page
}
