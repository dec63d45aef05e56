//! The status of a pool: from what the world reports, and what the status said last.

use serde_json::Value;

use super::reason::{Refused, friendly_amount};
use super::{Kstatus, alerts, timestamp};
use crate::api::conditions::{self, Wanted};
use crate::api::nodes::{DrainStatus, Recommendation};
use crate::api::optimal::OptimalStatus;
use crate::api::pool::{
    AdoptedObject, NodeCounts, PoolSummary, ResourcePoolStatus, ResourceStatus, WorkloadCounts,
};
use crate::api::quantity::{Quantity, shown_amount};
use crate::api::reasons::Reason;
use crate::model::amount::{Amount, Limit};
use crate::model::balance::Recommendation as Recommended;
use crate::model::batch::{End, Figures};
use crate::model::labelled::Labelled;
use crate::model::report::{DrainReport, Overcommitted, PoolReport, PoolResource};
use crate::model::resources::ResourceTable;
use crate::model::spec::StopPolicy;
use crate::model::time::Time;
use crate::observe::catalog::{Catalog, Pool};
use crate::observe::patch;

const MOST_RESOURCES: usize = 32;
const MOST_ADOPTED: usize = 100;
/// Most pools that are named for getting less than they reserve.
const MOST_SHORT: usize = 3;

/// The status as it shall be.
pub fn status(
    report: &PoolReport,
    known: &Pool,
    catalog: &Catalog,
    table: &ResourceTable,
    now: Time,
) -> ResourcePoolStatus {
    let mut next = ResourcePoolStatus {
        observed_generation: Some(known.generation),
        nodes: Some(NodeCounts {
            total: count(report.nodes_total),
            ready: count(report.nodes_ready),
            unschedulable: count(report.nodes_unschedulable),
        }),
        resources: report.resources.iter().take(MOST_RESOURCES).map(|one| resource(one, table)).collect(),
        workloads: Some(WorkloadCounts {
            queued: count(report.queued),
            running: count(report.running),
            finished: count(report.finished),
            failed: count(report.failed),
        }),
        drain: report.drain.map(|DrainReport { nodes, members, staying }| DrainStatus {
            nodes: count(nodes),
            members: count(members),
            staying: count(staying),
        }),
        adopted: report.labelled.iter().take(MOST_ADOPTED).map(|one| adopted(one, report, table)).collect(),
        recommendations: report.recommendations.iter().map(recommendation).collect(),
        applied_recommendation: report.asked.as_ref().map(|asked| {
            let of = Refused { namespace: "", pool: &known.spec.name, priority: 0 };
            super::asked::status(asked, of, table)
        }),
        optimal: report.batch.as_ref().map(optimal),
        summary: Some(summary(report, table)),
        forecast: alerts::forecast(report, &known.status.forecast, table, now),
        conditions: known.status.conditions.clone(),
    };
    let generation = Some(known.generation);
    let mut put = |kind: &str, status: bool, reason: Reason, message: &str| {
        let wanted = Wanted { kind, status: Some(status), reason, message, observed_generation: generation };
        conditions::set(&mut next.conditions, &wanted, timestamp(now));
    };
    let Standing { kstatus, reason, message } = Standing::of(report, known, catalog);
    let (reconciling, stalled) = (kstatus == Kstatus::Reconciling, kstatus == Kstatus::Stalled);
    put(conditions::READY, kstatus == Kstatus::Ready, reason, &message);
    if reconciling {
        put(conditions::RECONCILING, true, reason, &message);
    }
    if stalled {
        put(conditions::STALLED, true, reason, &message);
    }
    let (too_much, reason, message) = overcommitted(report, table);
    put(conditions::OVERCOMMITTED, too_much, reason, &message);
    let is_root = known.spec.parent.is_none();
    if is_root {
        let (overlaps, reason, message) = overlapping(report);
        put(conditions::OVERLAPPING, overlaps, reason, &message);
    }
    for (kind, there) in [
        (conditions::RECONCILING, reconciling),
        (conditions::STALLED, stalled),
        (conditions::OVERLAPPING, is_root),
    ] {
        if !there {
            conditions::remove(&mut next.conditions, kind);
        }
    }
    alerts::set(&mut next.conditions, report, known, &next.forecast, table, now);
    next
}

/// The least patch from `last` to `next`; none if they are equal but for times.
pub fn diff(last: &ResourcePoolStatus, next: &ResourcePoolStatus) -> Option<Value> {
    patch::between(last, next)
}

fn count(count: u32) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

/// What came of the last batch.
fn optimal(of: &Figures) -> OptimalStatus {
    let Figures { considered, planned, value, bound: _, balanced, end } = *of;
    let percent = |millionths: i64| format!("{}.{:02}%", millionths / 10_000, millionths / 100 % 100);
    let gain = (i128::from(value) - i128::from(balanced)) * 1_000_000 / i128::from(balanced.max(1));
    OptimalStatus {
        considered: count(considered),
        admitted: count(planned),
        gap: of.gap().map(percent),
        gain: (balanced > 0).then(|| percent(i64::try_from(gain).unwrap_or(0).clamp(0, 100_000_000_000))),
        result: match end {
            End::Proven => "Proven",
            End::TimeLimit => "TimeLimit",
            End::Rounded => "Rounded",
            End::Greedy => "Greedy",
        }
        .to_owned(),
    }
}

fn recommendation(of: &Recommended) -> Recommendation {
    let Recommended { id, workload: _, title, index, from, to, gain, used, member: _, source: _, node: _ } =
        of;
    Recommendation {
        id: id.to_string(),
        workload: title.to_string(),
        index: count(*index),
        from: from.to_string(),
        to: to.to_string(),
        reason: format!("{from} is used to {}%, {to} to {}%", used.0, used.1),
        gain: count((*gain).min(100)),
    }
}

fn adopted(of: &Labelled, report: &PoolReport, table: &ResourceTable) -> AdoptedObject {
    let Labelled { maker, pods, elsewhere, charged } = of;
    let metered = report.resources.iter().map(|one| one.resource).take(MOST_RESOURCES);
    let amounts = metered.filter(|resource| !charged.get(*resource).is_zero()).map(|resource| {
        let name = table.name(resource);
        (name.to_owned(), shown_amount(name, charged.get(resource).units()))
    });
    AdoptedObject {
        kind: maker.kind.as_str().to_owned(),
        namespace: maker.namespace.to_string(),
        name: maker.name.to_string(),
        pods: count(*pods),
        elsewhere: count(*elsewhere),
        resources: amounts.collect(),
    }
}

fn resource(of: &PoolResource, table: &ResourceTable) -> ResourceStatus {
    let name = table.name(of.resource);
    let shown = |amount: Amount| Some(shown_amount(name, amount.units()));
    let shown_or_none = |amount: Amount| if amount == Amount::MAX { None } else { shown(amount) };
    let limit: Option<Quantity> = match of.limit {
        Limit::At(limit) => shown(limit),
        Limit::Unlimited => None,
    };
    ResourceStatus {
        name: name.to_owned(),
        capacity: shown(of.capacity),
        unmanaged: shown(of.unmanaged),
        reservation: shown(of.reservation),
        limit,
        allocated: shown(of.allocated),
        adopted: shown(of.adopted).filter(|_| !of.adopted.is_zero()),
        borrowed: shown(of.borrowed),
        lent: shown(of.lent),
        idle: shown(of.idle),
        // Without any limit there is no number to show.
        available: shown_or_none(of.available),
        pending: shown(of.pending),
        utilization_percent: Some(percent(of.allocated, bound(of))),
        largest_free: of.largest_free.and_then(shown),
    }
}

/// What utilisation is measured by: the limit, or what the nodes offer where there is none.
pub(super) fn bound(of: &PoolResource) -> Amount {
    match of.limit {
        Limit::At(limit) => limit,
        Limit::Unlimited => of.capacity,
    }
}

pub(super) fn percent(part: Amount, whole: Amount) -> i32 {
    let (part, whole) = (i128::from(part.units()), i128::from(whole.units()));
    let percent = if whole <= 0 { if part > 0 { 100 } else { 0 } } else { part * 100 / whole };
    i32::try_from(percent.max(0)).unwrap_or(i32::MAX)
}

fn summary(report: &PoolReport, table: &ResourceTable) -> PoolSummary {
    let used = |name: &str, is: &dyn Fn(&str) -> bool| {
        let all = report.resources.iter().filter(|one| is(table.name(one.resource)));
        let sums = all.fold(None, |sum: Option<(Amount, Amount)>, one| {
            let (used, whole) = sum.unwrap_or_default();
            Some((used + one.allocated, whole + bound(one)))
        });
        sums.map(|(used, whole)| format!("{}/{}", friendly_amount(name, used), friendly_amount(name, whole)))
    };
    PoolSummary {
        cpu: used("cpu", &|name| name == "cpu"),
        memory: used("memory", &|name| name == "memory"),
        gpus: used("gpus", &|name| name.ends_with("/gpu")),
    }
}

struct Standing {
    kstatus: Kstatus,
    reason: Reason,
    message: String,
}

impl Standing {
    fn of(report: &PoolReport, known: &Pool, catalog: &Catalog) -> Self {
        let say = |kstatus, reason, message: &str| Self { kstatus, reason, message: message.to_owned() };
        let spec = &known.spec;
        if spec.deleting {
            let message = "the pool is being deleted; it goes once its children, workloads and members are gone and its nodes \
                 are without its taint";
            return say(
                Kstatus::Reconciling,
                if report.in_use { Reason::InUse } else { Reason::PoolDeleting },
                message,
            );
        }
        if let Some(why) = &report.stalled {
            return say(Kstatus::Stalled, stalled_reason(why, known, catalog), why);
        }
        match spec.stop {
            // It does what it was told to.
            StopPolicy::Hold => {
                say(Kstatus::Ready, Reason::PoolHeld, "stopPolicy is Hold: nothing new is admitted")
            }
            StopPolicy::HoldAndDrain => {
                let message = "stopPolicy is HoldAndDrain: nothing new is admitted, and what runs is evicted";
                say(Kstatus::Ready, Reason::PoolHeld, message)
            }
            StopPolicy::None if report.nodes_total == 0 => say(
                Kstatus::Reconciling,
                Reason::NoNodes,
                "no node belongs to the pool: label nodes so that they are selected",
            ),
            StopPolicy::None => say(Kstatus::Ready, Reason::AllGood, "the pool admits work"),
        }
    }
}

fn stalled_reason(why: &str, known: &Pool, catalog: &Catalog) -> Reason {
    let parent_is_missing =
        known.spec.parent.as_ref().is_some_and(|parent| catalog.get_pool(parent).is_none());
    if known.spec.problem.is_some() {
        Reason::InvalidSpec
    } else if parent_is_missing {
        Reason::ParentNotFound
    } else if why.contains("cycle") {
        Reason::ParentCycle
    } else {
        Reason::PoolStalled
    }
}

fn overcommitted(report: &PoolReport, table: &ResourceTable) -> (bool, Reason, String) {
    if report.overcommitted.is_empty() {
        return (
            false,
            Reason::WithinCapacity,
            "the reservations of the children fit into the pool".to_owned(),
        );
    }
    let each = report.overcommitted.iter().map(|Overcommitted { resource, promised, there, short }| {
        let name = table.name(*resource);
        let say = |amount: Amount| friendly_amount(name, amount);
        let get = short.iter().take(MOST_SHORT).map(|(pool, asked, given)| {
            format!(", so that pool {pool:?} has {} of its {}", say(*given), say(*asked))
        });
        let more = short.len().saturating_sub(MOST_SHORT);
        let more = if more > 0 { format!(", and {more} more pools less than theirs") } else { String::new() };
        format!(
            "{name}: {} are promised to children and {} can be given, {} too much{}{more}",
            say(*promised),
            say(*there),
            say(promised.less(*there)),
            get.collect::<String>()
        )
    });
    (true, Reason::ReservationsExceedParent, each.collect::<Vec<_>>().join("; "))
}

fn overlapping(report: &PoolReport) -> (bool, Reason, String) {
    if report.overlapping.is_empty() {
        return (false, Reason::NoOverlap, "every node that it selects is its own".to_owned());
    }
    let each = report.overlapping.iter().map(|(other, nodes, theirs)| {
        let noun = if *nodes == 1 { "node" } else { "nodes" };
        if *theirs {
            format!("{nodes} {noun} that it selects belong to pool {other:?}")
        } else {
            format!("{nodes} {noun} of its own are also selected by pool {other:?}")
        }
    });
    (true, Reason::SelectorsOverlap, each.collect::<Vec<_>>().join("; "))
}
