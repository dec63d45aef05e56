//! The report as far as objects tell it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::answer::{
    Attention, BorrowingRow, FreeRow, IdleRow, PoolRow, Report, ResourceRow, Spans, WorkloadsRow,
};
use super::seen::Seen;
use crate::api::conditions;
use crate::api::pool_status::{ResourcePoolStatus, ResourceStatus};
use crate::api::quantity::{Quantity, counted, shown_amount};
use crate::api::reasons::Reason;
use crate::api::workload::{Phase, PooledWorkloadStatus};
use crate::cli::load::stamp as clock;
use crate::cli::output::{counted as so_many, title};
use crate::cli::tree::tree;
use crate::decide::fragmentation;
use crate::model::amount::Amount;
use crate::model::time::{Span, Time};
use crate::observe::catalog::{Catalog, Pool, Workload};
use crate::observe::workload::reason;
use crate::plan::pool_status;
use crate::report::borrowing::{self, Borrower, Lender, Level, Sibling};
use crate::report::idle::{self, Reserved};
use crate::report::times::{Life, Times, Window};
use crate::simulate::statistics::Waits;

/// Parents may form a cycle.
const DEEPEST: usize = 64;

/// What is reported on.
pub struct Scope {
    /// Names of the pools.
    pub pools: BTreeSet<String>,
    /// How far back.
    pub since: Span,
    /// By pool, the UIDs of its workloads and of those below it.
    pub workloads: BTreeMap<String, Vec<Arc<str>>>,
}

impl Scope {
    /// All pools, or one and those below it.
    pub fn of(seen: &Seen, pool: Option<&str>, since: Span) -> Self {
        let within = |name: &String| pool.is_none_or(|pool| path(seen, name).any(|above| *above == *pool));
        let pools: BTreeSet<String> = pool_names(seen).into_iter().filter(within).collect();
        let mut workloads: BTreeMap<String, Vec<Arc<str>>> = BTreeMap::new();
        for (uid, known) in seen.catalog.workloads() {
            for above in path(seen, &known.spec.pool).filter(|above| pools.contains(above)) {
                workloads.entry(above).or_default().push(Arc::clone(uid));
            }
        }
        Self { pools, since, workloads }
    }
}

/// A workload in short: its status is read once, though it counts for all pools above it.
struct Short {
    title: String,
    phase: Option<Phase>,
    waits_for: String,
    life: Life,
}

type Shorts = BTreeMap<Arc<str>, Short>;

fn shorts(seen: &Seen) -> Shorts {
    let short = |(uid, known): (&Arc<str>, &Workload)| {
        let status = known.status();
        let pending = status.pending.as_ref().map(|pending| pending.reason.clone());
        let short = Short {
            title: title(&known.spec.namespace, &known.spec.name),
            phase: status.phase,
            waits_for: pending.unwrap_or_else(|| "not looked at".to_owned()),
            life: life(known, &status),
        };
        (Arc::clone(uid), short)
    };
    seen.catalog.workloads().map(short).collect()
}

impl Scope {
    /// The workloads of a pool and of those below it.
    fn of_pool<'a>(&'a self, shorts: &'a Shorts, pool: &str) -> impl Iterator<Item = &'a Short> + Clone {
        self.workloads.get(pool).into_iter().flatten().filter_map(|uid| shorts.get(uid))
    }
}

/// A pool and those above it.
fn path<'a>(seen: &'a Seen, pool: &str) -> impl Iterator<Item = String> + 'a {
    let above = |name: &String| Some(seen.catalog.get_pool(name)?.spec.parent.as_ref()?.to_string());
    std::iter::successors(Some(pool.to_owned()), above).take(DEEPEST)
}

/// Names of pools that are there, and of those that workloads name.
pub fn pool_names(seen: &Seen) -> Vec<String> {
    let there = seen.catalog.pools().map(|(name, _)| name.to_string());
    let named = seen.catalog.workloads().map(|(_, known)| known.spec.pool.to_string());
    there.chain(named).collect::<BTreeSet<_>>().into_iter().collect()
}

/// The report.
pub fn report(seen: &mut Seen, scope: &Scope) -> Report {
    let statuses = statuses(seen);
    let mut report = Report {
        at: clock(seen.now),
        since_seconds: scope.since.0 / 1000,
        notes: seen.notes.clone(),
        unknown: seen.unknown.clone(),
        ..Report::default()
    };
    if !seen.knows_nodes {
        report.notes.push(
            "what is free on nodes, and what is stranded there, takes reading nodes and pods".to_owned(),
        );
    }
    let mut free: BTreeMap<String, Vec<FreeRow>> = BTreeMap::new();
    if seen.knows_nodes {
        free.extend(scope.pools.iter().map(|name| (name.clone(), free_rows(seen, name))));
    }
    let seen = &*seen;
    let shorts = shorts(seen);
    let mut times = BTreeMap::new();
    for name in &scope.pools {
        times.insert(name.as_str(), times_of(seen, &shorts, scope, name));
    }
    for (pool, depth) in
        tree(&seen.catalog).into_iter().filter(|(pool, _)| scope.pools.contains(&*pool.spec.name))
    {
        let name = &*pool.spec.name;
        let status = statuses.get(name).cloned().unwrap_or_default();
        let mut row = pool_row(pool, depth, &status);
        row.workloads = workloads_row(&shorts, scope, name, times.get(name));
        row.free = free.remove(name).unwrap_or_default();
        report.pools.push(row);
        attention(&mut report.attention, pool, &status);
    }
    // Pools that may not be read, or are not there, and have workloads.
    for name in scope.pools.iter().filter(|name| seen.catalog.get_pool(name).is_none()) {
        let workloads = workloads_row(&shorts, scope, name, times.get(name.as_str()));
        report.pools.push(PoolRow { name: name.clone(), workloads, ..PoolRow::default() });
    }
    impossible(&mut report.attention, seen, scope);
    report
        .attention
        .sort_by_key(|one| SEVERITY.iter().position(|kind| *kind == one.kind).unwrap_or(SEVERITY.len()));
    report.borrowing = borrowing(seen, scope, &statuses);
    report.idle_reservations = idle(seen, scope, &statuses, &times);
    report
}

/// The statuses of all pools: as they were written, or as they would be where nobody has.
fn statuses(seen: &mut Seen) -> BTreeMap<String, ResourcePoolStatus> {
    let mut all = BTreeMap::new();
    let mut reckoned = Vec::new();
    for (name, pool) in seen.catalog.pools() {
        let written = !pool.status.resources.is_empty() || !seen.knows_nodes;
        let report = if written { None } else { seen.world.pool_report(name) };
        let status = match report {
            Some(report) => {
                reckoned.push(name.to_string());
                pool_status::status(&report, pool, &seen.catalog, seen.world.resources(), seen.now)
            }
            None => pool.status.clone(),
        };
        all.insert(name.to_string(), status);
    }
    if !reckoned.is_empty() {
        seen.notes.push(format!(
            "no operator has written the numbers of {} ({}): they are reckoned from what is there",
            so_many(reckoned.len(), "pool"),
            reckoned.join(", ")
        ));
    }
    all
}

fn text_of(quantity: Option<&Quantity>) -> Option<String> {
    quantity.map(|quantity| quantity.0.clone())
}

/// An amount of a status, in the units of the resource.
pub fn amount(resource: &str, quantity: Option<&Quantity>) -> Option<Amount> {
    quantity.and_then(|quantity| counted(resource, quantity.as_str()).ok()).map(Amount::new)
}

/// An amount as JSON has it.
pub fn shown(resource: &str, amount: Amount) -> String {
    shown_amount(resource, amount.units()).0
}

fn pool_row(pool: &Pool, depth: usize, status: &ResourcePoolStatus) -> PoolRow {
    let nodes = status.nodes.clone().unwrap_or_default();
    let is_root = pool.spec.parent.is_none();
    let resource = |one: &ResourceStatus| {
        let forecast = status.forecast.iter().find(|forecast| forecast.resource == one.name);
        let percent = one.utilization_percent.map(i64::from);
        ResourceRow {
            name: one.name.clone(),
            capacity: text_of(one.capacity.as_ref()),
            reservation: text_of(one.reservation.as_ref()).filter(|_| !is_root),
            limit: text_of(one.limit.as_ref()),
            allocated: text_of(one.allocated.as_ref()).unwrap_or_else(|| "0".to_owned()),
            pending: text_of(one.pending.as_ref()),
            percent,
            exhausted_at: forecast.map(|one| clock(Time(one.exhausted_at.0.as_millisecond()))),
            history: None,
        }
    };
    PoolRow {
        name: pool.spec.name.to_string(),
        parent: pool.spec.parent.as_ref().map(ToString::to_string),
        depth,
        nodes: nodes.total,
        nodes_ready: nodes.ready,
        resources: status.resources.iter().map(resource).collect(),
        optimal: status.optimal.clone(),
        ..PoolRow::default()
    }
}

/// The latest time at which pools and workloads say that something happened.
pub fn latest(catalog: &Catalog) -> Option<Time> {
    let pools = catalog.pools().map(|(_, pool)| pool.spec.created);
    let workloads = catalog.workloads().flat_map(|(_, known)| {
        let Life { created, waits_since, started, finished, .. } = life(known, &known.status());
        [Some(created), waits_since, started, finished.map(|(at, ..)| at)]
    });
    pools.chain(workloads.flatten()).max()
}

/// What a workload's object tells of its life.
fn life(known: &Workload, status: &PooledWorkloadStatus) -> Life {
    let at = |time: Option<&k8s_openapi::apimachinery::pkg::apis::meta::v1::Time>| {
        time.map(|time| Time(time.0.as_millisecond()))
    };
    let is = |kind: &str| status.conditions.iter().find(|one| one.type_ == kind && one.status == "True");
    let waits = matches!(status.phase, None | Some(Phase::Queued));
    let ended = is(conditions::FINISHED).map(|one| Arc::from(one.reason.as_str()));
    Life {
        created: known.spec.created,
        waits_since: waits.then(|| at(status.queued_at.as_ref()).unwrap_or(known.spec.created)),
        started: at(status.started_at.as_ref()),
        finished: at(status.finished_at.as_ref()).map(|at| {
            let well = status.phase == Some(Phase::Succeeded);
            (at, well, ended.unwrap_or_else(|| Arc::from(if well { "Completed" } else { "Failed" })))
        }),
        evictions: status.evictions.and_then(|count| u32::try_from(count).ok()).unwrap_or(0),
        evicted_for: is(conditions::EVICTED).map(|one| Arc::from(one.reason.as_str())),
        kept: known.spec.ttl_after_finished,
    }
}

fn times_of(seen: &Seen, shorts: &Shorts, scope: &Scope, pool: &str) -> Times {
    let lives = scope.of_pool(shorts, pool).map(|short| &short.life);
    let below = |name: &&String| path(seen, name).any(|above| above == pool);
    let known = |name: &String| seen.catalog.get_pool(name);
    let kept = scope.pools.iter().filter(below).filter_map(|name| known(name)?.spec.ttl_after_finished).min();
    let begun = seen.catalog.get_pool(pool).map_or(Time(0), |pool| pool.spec.created);
    Times::of(lives, Window { now: seen.now, asked: scope.since, begun, kept })
}

/// Spans in seconds.
pub fn spans(of: Waits) -> Spans {
    let Waits { started, mean, median, p95, longest } = of;
    let seconds = |span: Span| (span.0 + 500) / 1000;
    Spans {
        count: started,
        mean: seconds(mean),
        median: seconds(median),
        p95: seconds(p95),
        longest: Some(seconds(longest)),
    }
}

fn workloads_row(shorts: &Shorts, scope: &Scope, pool: &str, times: Option<&Times>) -> WorkloadsRow {
    let named = |counts: &BTreeMap<Arc<str>, usize>| {
        counts.iter().map(|(name, count)| (name.to_string(), *count)).collect::<BTreeMap<_, _>>()
    };
    let mut row = WorkloadsRow::default();
    let mut longest: Option<(Time, &str)> = None;
    for Short { title, phase, waits_for, life } in scope.of_pool(shorts, pool) {
        match phase {
            Some(Phase::Starting | Phase::Running | Phase::Migrating) => row.running += 1,
            None | Some(Phase::Queued) => *row.waiting_for.entry(waits_for.clone()).or_default() += 1,
            Some(Phase::Suspended | Phase::Succeeded | Phase::Failed) => {}
        }
        if let Some(since) = life.waits_since {
            longest = Some(longest.map_or((since, title.as_str()), |one| one.min((since, title.as_str()))));
        }
    }
    let Some(times) = times else { return row };
    WorkloadsRow {
        waiting: spans(times.waiting),
        longest_waiting: longest.map(|(_, who)| who.to_owned()),
        waits: spans(times.waits),
        waits_unknown: times.left_out,
        runs: spans(times.runs),
        covered_seconds: times.covered.0 / 1000,
        succeeded: times.succeeded,
        failed: times.failed,
        ends: named(&times.ends),
        succeeded_a_day: times.a_day().map(|thousandths| thousandths as f64 / 1000.0),
        evictions: times.evictions,
        evicted: named(&times.evicted),
        ..row
    }
}

/// What needs attention, worst first.
const SEVERITY: [&str; 8] = [
    conditions::STALLED,
    conditions::OVERCOMMITTED,
    conditions::EXHAUSTION_PREDICTED,
    conditions::CAPACITY_PRESSURE,
    CANNOT_START,
    conditions::OVERLAPPING,
    conditions::READY,
    NOT_LOOKED_AT,
];
/// Workloads that wait in vain.
const CANNOT_START: &str = "CannotStart";
/// A pool without a status.
const NOT_LOOKED_AT: &str = "NotLookedAt";

/// What a word of the documented list says to do.
fn action(word: &str) -> String {
    reason(word).map_or_else(String::new, |reason: Reason| reason.action().to_owned())
}

fn attention(into: &mut Vec<Attention>, pool: &Pool, status: &ResourcePoolStatus) {
    let warns = |one: &&Condition| {
        let wrong = if one.type_ == conditions::READY { "False" } else { "True" };
        one.status == wrong && one.type_ != conditions::RECONCILING && SEVERITY.contains(&one.type_.as_str())
    };
    let stalled = conditions::is_true(&status.conditions, conditions::STALLED);
    let told = status.conditions.iter().filter(warns);
    // A pool that is stalled is not ready for the same reason.
    for one in told.filter(|one| one.type_ != conditions::READY || !stalled) {
        into.push(Attention {
            pool: pool.spec.name.to_string(),
            kind: one.type_.clone(),
            reason: one.reason.clone(),
            message: one.message.clone(),
            action: action(&one.reason),
        });
    }
    // The status of a new pool says -1.
    if pool.status.observed_generation.is_none_or(|generation| generation < 0) {
        into.push(Attention {
            pool: pool.spec.name.to_string(),
            kind: NOT_LOOKED_AT.to_owned(),
            reason: NOT_LOOKED_AT.to_owned(),
            message: "no operator has looked at the pool".to_owned(),
            action: "Start Weir, or see in its log why it does not lead.".to_owned(),
        });
    }
}

/// Workloads that wait and will not start unless somebody changes something, by pool and reason.
fn impossible(into: &mut Vec<Attention>, seen: &Seen, scope: &Scope) {
    let mut found: BTreeMap<(String, String), (usize, String, String)> = BTreeMap::new();
    for (_, known) in seen.catalog.workloads().filter(|(_, known)| scope.pools.contains(&*known.spec.pool)) {
        let status = known.status();
        let stalled =
            status.conditions.iter().find(|one| one.type_ == conditions::STALLED && one.status == "True");
        let Some(stalled) = stalled.filter(|_| status.phase == Some(Phase::Queued)) else { continue };
        let name = title(&known.spec.namespace, &known.spec.name);
        let of = found.entry((known.spec.pool.to_string(), stalled.reason.clone()));
        let (count, first, _) = of.or_insert_with(|| (0, name.clone(), stalled.message.clone()));
        *count += 1;
        if name < *first {
            *first = name;
        }
    }
    into.extend(found.into_iter().map(|((pool, reason), (count, first, message))| {
        let who = if count == 1 { first } else { format!("{} such as {first}", so_many(count, "workload")) };
        Attention {
            pool,
            kind: CANNOT_START.to_owned(),
            message: format!("{who} will not start as things are: {message}"),
            action: action(&reason),
            reason,
        }
    }));
}

fn free_rows(seen: &mut Seen, pool: &str) -> Vec<FreeRow> {
    let all = fragmentation::free(&mut seen.world, pool);
    let row = |one: fragmentation::Free| {
        let fragmentation::Free { resource, all, largest, nodes, stranded } = one;
        let name = seen.world.resources().name(resource);
        let percent = i128::from(stranded.units()) * 100 / i128::from(all.units().max(1));
        FreeRow {
            resource: name.to_owned(),
            free: shown(name, all),
            largest: shown(name, largest),
            nodes,
            stranded: shown(name, stranded),
            stranded_percent: (!all.is_zero()).then(|| i64::try_from(percent).unwrap_or(100)),
        }
    };
    all.into_iter().map(row).collect()
}

type Statuses = BTreeMap<String, ResourcePoolStatus>;

fn resource_of<'a>(statuses: &'a Statuses, pool: &str, resource: &str) -> Option<&'a ResourceStatus> {
    statuses.get(pool)?.resources.iter().find(|one| one.name == resource)
}

/// The pools directly below each pool, by name.
fn children(seen: &Seen) -> BTreeMap<String, Vec<String>> {
    let mut below: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, pool) in seen.catalog.pools() {
        if let Some(parent) = &pool.spec.parent {
            below.entry(parent.to_string()).or_default().push(name.to_string());
        }
    }
    below
}

/// Who uses whose room: of each pool, what goes on among those below it.
fn borrowing(seen: &Seen, scope: &Scope, statuses: &Statuses) -> Vec<BorrowingRow> {
    let mut rows = Vec::new();
    for (parent, children) in children(seen) {
        let Some(known) = seen.catalog.get_pool(&parent) else { continue };
        let within =
            scope.pools.contains(&parent) || children.iter().any(|child| scope.pools.contains(child));
        for one in statuses.get(&parent).into_iter().flat_map(|status| &status.resources).filter(|_| within) {
            let resource = one.name.as_str();
            let level = level(statuses, one, &children, known.spec.parent.is_none());
            for flow in borrowing::flows(&level) {
                // What the parent itself borrows for its own workloads is told one level above.
                if flow.borrower == Borrower::Own && flow.lender == Lender::Above {
                    continue;
                }
                let (borrower, own) = match flow.borrower {
                    Borrower::Pool(name) => (name.to_string(), false),
                    Borrower::Own => (parent.clone(), true),
                };
                let (from, lender) = match flow.lender {
                    Lender::Pool(name) => ("Pool", name.to_string()),
                    Lender::Unreserved => ("Unreserved", parent.clone()),
                    Lender::Above => ("Above", parent.clone()),
                };
                if [&borrower, &lender].into_iter().any(|name| scope.pools.contains(name)) {
                    let amount = shown(resource, flow.amount);
                    rows.push(BorrowingRow {
                        resource: resource.to_owned(),
                        borrower,
                        own,
                        amount,
                        from,
                        lender,
                    });
                }
            }
        }
    }
    rows
}

fn level(statuses: &Statuses, parent: &ResourceStatus, children: &[String], is_root: bool) -> Level {
    let resource = parent.name.as_str();
    let of = |quantity: Option<&Quantity>| amount(resource, quantity).unwrap_or_default();
    let below: Vec<(&String, &ResourceStatus)> =
        children.iter().filter_map(|child| Some((child, resource_of(statuses, child, resource)?))).collect();
    let sum = |part: fn(&ResourceStatus) -> Option<&Quantity>| -> Amount {
        below.iter().map(|(_, child)| of(part(child))).sum()
    };
    let own = of(parent.allocated.as_ref()).less(sum(|child| child.allocated.as_ref()));
    let has = match (is_root, &parent.limit) {
        (false, _) => of(parent.reservation.as_ref()),
        (true, Some(limit)) => of(Some(limit)),
        (true, None) => of(parent.capacity.as_ref()).less(of(parent.unmanaged.as_ref())),
    };
    let unreserved = has.less(sum(|child| child.reservation.as_ref()));
    let sibling = |(name, child): &(&String, &ResourceStatus)| Sibling {
        name: Arc::from(name.as_str()),
        borrowed: of(child.borrowed.as_ref()),
        lent: of(child.lent.as_ref()),
    };
    Level {
        children: below.iter().map(sibling).collect(),
        unreserved: unreserved.less(own),
        own: own.less(unreserved),
        is_root,
    }
}

/// What is reserved and not used, dearest first.
fn idle(seen: &Seen, scope: &Scope, statuses: &Statuses, times: &BTreeMap<&str, Times>) -> Vec<IdleRow> {
    let children = children(seen);
    let none = Vec::new();
    let mut all = Vec::new();
    for (name, pool) in seen.catalog.pools().filter(|(_, pool)| pool.spec.parent.is_some()) {
        let Some(status) = statuses.get(&**name).filter(|_| scope.pools.contains(&**name)) else { continue };
        let root = path(seen, name).last().unwrap_or_default();
        for one in &status.resources {
            let of = |quantity: Option<&Quantity>| amount(&one.name, quantity).unwrap_or_default();
            let unused =
                |child: &ResourceStatus| of(child.reservation.as_ref()).less(of(child.allocated.as_ref()));
            let below = children.get(&**name).unwrap_or(&none).iter();
            let reserved = Reserved {
                reservation: of(one.reservation.as_ref()),
                allocated: of(one.allocated.as_ref()),
                below: below.filter_map(|child| resource_of(statuses, child, &one.name)).map(unused).sum(),
                whole: resource_of(statuses, &root, &one.name)
                    .map_or(Amount::ZERO, |root| of(root.capacity.as_ref())),
            };
            all.push(((pool, one), reserved));
        }
    }
    let row = |((pool, one), reserved): ((&Pool, &ResourceStatus), Reserved)| {
        let name = one.name.as_str();
        let unused = reserved.unused();
        // Nothing of it is used: since the last one has ended, if anybody is there to tell.
        let last = times.get(&*pool.spec.name).and_then(|times| times.last_end);
        IdleRow {
            pool: pool.spec.name.to_string(),
            resource: name.to_owned(),
            reservation: shown(name, reserved.reservation),
            allocated: shown(name, reserved.allocated),
            unused: shown(name, unused),
            lent: shown(name, amount(name, one.lent.as_ref()).unwrap_or_default().min(unused)),
            percent_of_tree: reserved.cost() as f64 / 10_000.0,
            idle_since: last.filter(|_| reserved.allocated.is_zero()).map(clock),
            never_used: None,
        }
    };
    idle::dearest_first(all).into_iter().map(row).collect()
}
