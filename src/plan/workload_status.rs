//! The status of a workload: from what the world reports, and what the status said last.
//!
//! `observe/workload` reads back what is written here: it is the memory that survives a restart. While members
//! leave, `Admitted` stays true and its reason says why they leave.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time as MetaTime};
use k8s_openapi::jiff::Timestamp;
use serde_json::Value;

use super::reason::{self, Refused};
use super::{Kstatus, meta_time, timestamp};
use super::{asked, moves};
use crate::api::conditions::{self, Wanted};
use crate::api::quantity::shown_amount;
use crate::api::reasons::Reason;
use crate::api::runtime;
use crate::api::workload::{
    AllocationStatus, EstimatedStart, FailureStatus, MemberCounts, MemberState as ShownState, PendingStatus,
    Phase, PlacementStatus, PooledWorkloadStatus, QueueStatus, WorkloadSummary,
};
use crate::model::indexes::IndexSet;
use crate::model::moves::Stay;
use crate::model::refusal::Refusal;
use crate::model::report::{MemberReport, MemberState, WorkloadPhase, WorkloadReport};
use crate::model::resources::ResourceTable;
use crate::model::spec::{FinishReason, Runtime, StopReason};
use crate::model::time::{Span, Time};
use crate::observe::catalog::Workload;
use crate::observe::{names, patch};
use crate::simulate::estimate::Estimate;

/// Most placements and most distinct counts of failures that a status lists.
const MOST_PLACEMENTS: usize = 100;
const MOST_COUNTS: usize = 1001;
const MOST_RESOURCES: usize = 32;

/// How soon a status must be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Urgency {
    /// Not at all: nothing that matters has changed.
    No,
    /// It may wait some seconds: a workload that was never seen otherwise was admitted and starts. When it
    /// runs before, one write says both.
    Later,
    /// It may wait a second, to be merged with the next change.
    Soon,
    /// At once.
    Now,
}

/// A place in the queue that is due to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InQueue {
    /// From 1.
    pub position: u32,
    /// When it will start, where that is known.
    pub estimate: Option<Estimate>,
}

/// An estimate that differs by less than that, or by a tenth of what remains, is not worth a write.
const WORTH_A_WRITE: Span = Span::minutes(1);

/// The status as it shall be. `place` is given when places are due to be written; else the one
/// that was written last stays while the workload waits. Of a workload that is being deleted nothing is written
/// any more: everybody sees by its metadata how it stands.
pub fn status(
    report: &WorkloadReport,
    known: &Workload,
    last: &PooledWorkloadStatus,
    place: Option<InQueue>,
    table: &ResourceTable,
    now: Time,
) -> PooledWorkloadStatus {
    if known.spec.deleting {
        return last.clone();
    }
    let standing = Standing::of(report, known, last, table);
    let queued = matches!(report.phase, WorkloadPhase::Queued { .. });
    let failed = failed(report, known);
    let mut next = PooledWorkloadStatus {
        observed_generation: Some(known.generation),
        phase: Some(standing.phase),
        priority: Some(report.priority),
        queue: if queued {
            place.map(|place| queue(place, last, now)).or_else(|| last.queue.clone())
        } else {
            None
        },
        pending: standing.pending.clone(),
        allocation: allocation(report, last, table),
        members: Some(counts(report, failed.len())),
        succeeded_indexes: (!report.succeeded.is_empty()).then(|| report.succeeded.to_string()),
        failed_indexes: (!failed.is_empty()).then(|| failed.to_string()),
        failures: failures(report),
        placements: placements(report, known),
        queued_at: None,
        started_at: None,
        finished_at: None,
        migration_request: report.asked.as_ref().map(|asked| {
            let (namespace, pool) = (&*known.spec.namespace, &*report.pool);
            asked::status(asked, Refused { namespace, pool, priority: report.priority }, table)
        }),
        evictions: evictions(report, last),
        summary: None,
        conditions: last.conditions.clone(),
    };
    match &report.phase {
        WorkloadPhase::Queued { since, .. } => next.queued_at = Some(meta_time(*since)),
        WorkloadPhase::Admitted { started_at, .. } => next.started_at = started_at.map(meta_time),
        WorkloadPhase::Stopping { .. } => next.started_at.clone_from(&last.started_at),
        WorkloadPhase::Suspended => {}
        WorkloadPhase::Finished { at, .. } => {
            next.started_at.clone_from(&last.started_at);
            next.finished_at = Some(meta_time(*at));
            if report.members.is_empty() {
                next.placements = ended(&last.placements, report);
            }
        }
    }
    next.summary = Some(summary(report, known, &next));
    standing.set(&mut next.conditions, report, known, now);
    next
}

fn queue(place: InQueue, last: &PooledWorkloadStatus, now: Time) -> QueueStatus {
    let InQueue { position, estimate } = place;
    let shown =
        |one: Estimate| EstimatedStart { earliest: meta_time(one.earliest), likely: meta_time(one.likely) };
    let before = last.queue.as_ref().and_then(|queue| queue.estimated_start.clone());
    let near = |before: &MetaTime, after: Time| {
        let worth = WORTH_A_WRITE.max(Span((after - now).0 / 10));
        (before.0.as_millisecond() - after.0).abs() <= worth.0 && before.0 > timestamp(now)
    };
    let estimated_start = match (before, estimate) {
        (Some(before), Some(after)) if near(&before.likely, after.likely) => Some(before),
        (_, after) => after.map(shown),
    };
    QueueStatus { position: count(position), ahead: count(position.saturating_sub(1)), estimated_start }
}

fn count(count: u32) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

fn count_members(report: &WorkloadReport, is: impl Fn(&MemberReport) -> bool) -> u32 {
    u32::try_from(report.members.iter().filter(|member| is(member)).count()).unwrap_or(u32::MAX)
}

fn counts(report: &WorkloadReport, failed: u32) -> MemberCounts {
    let lives =
        |state| matches!(state, MemberState::Starting | MemberState::Running | MemberState::Terminating);
    MemberCounts {
        desired: count(report.desired),
        placed: count(count_members(report, |member| member.node.is_some() && lives(member.state))),
        running: count(count_members(report, |member| member.state == MemberState::Running)),
        succeeded: count(report.succeeded.len()),
        failed: count(failed),
    }
}

/// Those that failed for good: the world says so, or, once all members have left, their failures do.
fn failed(report: &WorkloadReport, known: &Workload) -> IndexSet {
    let said =
        report.members.iter().filter(|member| member.state == MemberState::Failed).map(|member| member.index);
    let passed = |failures: u32| known.spec.backoff_limit.is_some_and(|limit| failures > limit);
    let ended =
        matches!(report.phase, WorkloadPhase::Finished { reason: FinishReason::BackoffLimitExceeded, .. });
    let counted = report
        .failures
        .iter()
        .filter(|(index, failures)| ended && passed(*failures) && !report.succeeded.contains(*index));
    said.chain(counted.map(|(index, _)| *index)).collect()
}

fn failures(report: &WorkloadReport) -> Vec<FailureStatus> {
    let mut by_count: BTreeMap<u32, IndexSet> = BTreeMap::new();
    for (index, failures) in report.failures.iter().filter(|(_, failures)| *failures > 0) {
        by_count.entry(*failures).or_default().insert(*index);
    }
    // Where there are too many to list, the highest counts matter.
    let listed = by_count.iter().rev().take(MOST_COUNTS);
    listed
        .map(|(failures, indexes)| FailureStatus { count: count(*failures), indexes: indexes.to_string() })
        .collect()
}

fn placements(report: &WorkloadReport, known: &Workload) -> Vec<PlacementStatus> {
    let shown = report.members.iter().map(|member| {
        let migration = moves::shown(known, member);
        let state = match member.state {
            MemberState::Starting | MemberState::Running | MemberState::Terminating
                if migration.is_some() =>
            {
                ShownState::Migrating
            }
            MemberState::Unplaced => ShownState::Unplaced,
            MemberState::Starting => ShownState::Starting,
            MemberState::Running => ShownState::Running,
            MemberState::Terminating => ShownState::Terminating,
            MemberState::Succeeded => ShownState::Succeeded,
            MemberState::BackingOff => ShownState::BackingOff,
            MemberState::Failed => ShownState::Failed,
        };
        PlacementStatus {
            index: count(member.index),
            name: match known.spec.runtime {
                Runtime::Pod => names::member(&known.spec.name, member.index, member.attempt),
                Runtime::VirtualMachine => names::host(&known.spec.name, member.index),
            },
            node: member.node.as_ref().map(ToString::to_string),
            state,
            attempt: count(names::shown_attempt(member.attempt)),
            migration,
        }
    });
    shown.take(MOST_PLACEMENTS).collect()
}

/// Where members were, once all have left.
fn ended(last: &[PlacementStatus], report: &WorkloadReport) -> Vec<PlacementStatus> {
    let mut placements = last.to_vec();
    for placement in &mut placements {
        let succeeded = u32::try_from(placement.index).is_ok_and(|index| report.succeeded.contains(index));
        placement.state = if succeeded { ShownState::Succeeded } else { ShownState::Failed };
    }
    placements
}

fn allocation(
    report: &WorkloadReport,
    last: &PooledWorkloadStatus,
    table: &ResourceTable,
) -> Option<AllocationStatus> {
    let before = last.allocation.as_ref();
    let (at, size) = match &report.phase {
        WorkloadPhase::Admitted { at, size, .. } => (Some(meta_time(*at)), count(*size)),
        WorkloadPhase::Stopping { .. } => (
            before.and_then(|before| before.admitted_at.clone()),
            before.map_or(count(report.desired), |before| before.replicas),
        ),
        WorkloadPhase::Queued { .. } | WorkloadPhase::Suspended | WorkloadPhase::Finished { .. } => {
            return None;
        }
    };
    let same = before.filter(|before| before.admitted_at == at);
    let charged = report.charged.iter().take(MOST_RESOURCES).map(|(resource, amount)| {
        let name = table.name(resource);
        (name.to_owned(), shown_amount(name, amount.units()))
    });
    Some(AllocationStatus {
        pool: report.pool.to_string(),
        priority: same.map_or(report.priority, |before| before.priority),
        replicas: size,
        resources: charged.collect(),
        memory_overhead: (!report.overhead.is_zero())
            .then(|| shown_amount("memory", report.overhead.units())),
        admitted_at: at,
    })
}

/// One more whenever the world tells of an eviction that the status does not know of.
fn evictions(report: &WorkloadReport, last: &PooledWorkloadStatus) -> Option<i32> {
    let Some((_, _, at)) = report.evicted else { return last.evictions };
    if tells_of_eviction(&last.conditions, at) {
        return last.evictions;
    }
    Some(last.evictions.unwrap_or(0).saturating_add(1))
}

/// Conditions are set after the eviction, so one that is older tells of an earlier one.
fn tells_of_eviction(list: &[Condition], at: Time) -> bool {
    let told = list.iter().find(|one| one.type_ == conditions::EVICTED && one.status == "True");
    told.is_some_and(|told| told.last_transition_time.0 >= timestamp(at))
}

fn summary(report: &WorkloadReport, known: &Workload, next: &PooledWorkloadStatus) -> WorkloadSummary {
    let running = next.members.as_ref().map_or(0, |members| members.running);
    let nodes: BTreeSet<&str> = report.members.iter().filter_map(|member| member.node.as_deref()).collect();
    let placed: BTreeSet<&str> =
        next.placements.iter().filter_map(|placement| placement.node.as_deref()).collect();
    let nodes = if nodes.is_empty() { placed } else { nodes };
    let node = match nodes.len() {
        0 => None,
        1 => nodes.first().map(|node| (*node).to_owned()),
        several => Some(format!("{several} nodes")),
    };
    let runtime = match known.spec.runtime {
        Runtime::Pod => runtime::Runtime::Pod,
        Runtime::VirtualMachine => runtime::Runtime::VirtualMachine,
    };
    WorkloadSummary { members: Some(format!("{running}/{}", report.desired)), node, runtime: Some(runtime) }
}

/// Where a workload stands, as phase and conditions say it.
struct Standing {
    phase: Phase,
    kstatus: Kstatus,
    admitted: bool,
    running: bool,
    reason: Reason,
    message: String,
    pending: Option<PendingStatus>,
}

impl Standing {
    fn of(
        report: &WorkloadReport,
        known: &Workload,
        last: &PooledWorkloadStatus,
        table: &ResourceTable,
    ) -> Self {
        let of = Refused { namespace: &known.spec.namespace, pool: &report.pool, priority: report.priority };
        match &report.phase {
            WorkloadPhase::Queued { since: _, refusal } => {
                let mut pending = reason::pending(refusal, of, table);
                if let Some(due) = report.due {
                    pending.message = format!("{}; {}", pending.message, reason::due(due));
                } else if report.endless {
                    pending.message = format!("{}; {}", pending.message, reason::ENDLESS);
                }
                let impossible = refusal.is_impossible();
                Self {
                    phase: Phase::Queued,
                    kstatus: if impossible { Kstatus::Stalled } else { Kstatus::Reconciling },
                    admitted: false,
                    running: false,
                    reason: reason::of_refusal(refusal),
                    message: pending.message.clone(),
                    pending: Some(pending),
                }
            }
            WorkloadPhase::Admitted { .. } => Self::admitted(report, known, of, table),
            WorkloadPhase::Stopping { reason, for_whom } => Self {
                phase: last
                    .phase
                    .filter(|phase| matches!(phase, Phase::Starting | Phase::Running | Phase::Migrating))
                    .unwrap_or(Phase::Running),
                kstatus: Kstatus::Reconciling,
                admitted: true,
                running: false,
                reason: reason::of_stop(*reason),
                message: stopping(*reason, for_whom.as_deref()),
                pending: None,
            },
            WorkloadPhase::Suspended => Self {
                phase: Phase::Suspended,
                kstatus: Kstatus::Ready,
                admitted: false,
                running: false,
                reason: Reason::Suspended,
                message: if report.has_disks {
                    "spec.suspend is true: it does not wait, and holds nothing but for the disks of its virtual machines"
                        .to_owned()
                } else {
                    "spec.suspend is true: it holds nothing and does not wait".to_owned()
                },
                pending: None,
            },
            WorkloadPhase::Finished { reason, at: _ } => Self {
                phase: if reason.succeeded() { Phase::Succeeded } else { Phase::Failed },
                kstatus: if reason.succeeded() { Kstatus::Ready } else { Kstatus::Stalled },
                admitted: false,
                running: false,
                reason: reason::of_finish(*reason),
                message: finished(*reason, report, known),
                pending: None,
            },
        }
    }

    fn admitted(report: &WorkloadReport, known: &Workload, of: Refused<'_>, table: &ResourceTable) -> Self {
        let running = count_members(report, |member| member.state == MemberState::Running);
        let done = report.succeeded.len();
        let needed = known.spec.min_replicas.min(report.desired);
        // With all done it is about to be finished: not starting again.
        let is_running = running.saturating_add(done) >= needed && (running > 0 || done >= report.desired);
        let pending = report.member_refusal.as_ref().map(|refusal| reason::pending(refusal, of, table));
        let moving = moves::moving(report, known.spec.runtime);
        let backing_off = report.members.iter().any(|member| member.state == MemberState::BackingOff);
        let failed = |what: &str| match &report.last_failure {
            Some(failure) => format!("{what}: {failure}"),
            None => what.to_owned(),
        };
        let stays = moves::staying(report, known.spec.runtime, of, table);
        let trouble = report.members.iter().find_map(|member| Some((member.index, member.trouble.clone()?)));
        let (reason, message) = if let Some(moving) = &moving {
            (Reason::Migrating, format!("{running} of {} members run; {moving}", report.desired))
        } else if let Some((reason, stays)) = stays.filter(|_| is_running) {
            (reason, format!("{running} of {} members run; {stays}", report.desired))
        } else if is_running {
            (Reason::Running, format!("{running} of {} members run", report.desired))
        } else if let Some((refusal, pending)) = report.member_refusal.as_ref().zip(pending.as_ref()) {
            (reason::of_refusal(refusal), format!("a member has no place: {}", pending.message))
        } else if let Some((index, trouble)) = trouble {
            let name = names::host(&known.spec.name, index);
            (Reason::MachineTrouble, format!("KubeVirt says of virtual machine {name}: {trouble}"))
        } else if backing_off {
            (Reason::BackingOff, failed("a member is tried again after a pause"))
        } else {
            (Reason::Starting, format!("{running} of {needed} members that must run do"))
        };
        Self {
            phase: match (moving.is_some(), is_running) {
                (true, _) => Phase::Migrating,
                (false, true) => Phase::Running,
                (false, false) => Phase::Starting,
            },
            kstatus: if is_running { Kstatus::Ready } else { Kstatus::Reconciling },
            admitted: true,
            running: is_running,
            reason,
            message,
            pending,
        }
    }

    /// Conditions that are rarely true are there only while they are. Those of a workload that is known to be
    /// good or waiting are always there, so that `kubectl wait --for=condition=Admitted=false` works.
    fn set(&self, list: &mut Vec<Condition>, report: &WorkloadReport, known: &Workload, now: Time) {
        let generation = Some(known.generation);
        if report.evicted.as_ref().is_some_and(|(_, _, at)| !tells_of_eviction(list, *at)) {
            conditions::remove(list, conditions::EVICTED);
        }
        let mut put = |kind: &str, status: Option<bool>, reason: Reason, message: &str| match status {
            Some(status) => {
                let wanted =
                    Wanted { kind, status: Some(status), reason, message, observed_generation: generation };
                conditions::set(list, &wanted, timestamp(now));
            }
            None => {
                conditions::remove(list, kind);
            }
        };
        let only_if = |holds: bool| holds.then_some(true);
        put(conditions::READY, Some(self.kstatus == Kstatus::Ready), self.reason, &self.message);
        put(
            conditions::RECONCILING,
            only_if(self.kstatus == Kstatus::Reconciling),
            self.reason,
            &self.message,
        );
        put(conditions::STALLED, only_if(self.kstatus == Kstatus::Stalled), self.reason, &self.message);
        let (reason, message) = match &report.phase {
            WorkloadPhase::Admitted { size, .. } => {
                (Reason::Admitted, format!("{size} members are charged to pool {:?}", report.pool))
            }
            _ => (self.reason, self.message.clone()),
        };
        put(conditions::ADMITTED, Some(self.admitted), reason, &message);
        put(conditions::RUNNING, Some(self.running), self.reason, &self.message);
        let finished = matches!(report.phase, WorkloadPhase::Finished { .. });
        put(conditions::FINISHED, only_if(finished), self.reason, &self.message);
        match &report.evicted {
            Some((reason, for_whom, _)) => {
                put(
                    conditions::EVICTED,
                    Some(true),
                    reason::of_stop(*reason),
                    &stopping(*reason, for_whom.as_deref()),
                );
            }
            None => put(conditions::EVICTED, None, self.reason, ""),
        }
    }
}

/// Why members leave, in a sentence.
pub(super) fn stopping(reason: StopReason, for_whom: Option<&str>) -> String {
    let to_whom = for_whom.map(|whom| format!(", for {whom}")).unwrap_or_default();
    match reason {
        StopReason::Reclaimed => {
            format!("its place is taken back by a pool that is below its reservation{to_whom}")
        }
        StopReason::Preempted => {
            format!("a workload of its pool with a higher priority takes its place{to_whom}")
        }
        StopReason::SliceEnded => format!("its time slice is over, and another has its turn{to_whom}"),
        StopReason::Overdue => {
            format!("it has run longer than expectedDuration, and the head of the queue is due{to_whom}")
        }
        StopReason::Drained => format!("a stopPolicy of its pool, or of one above, is HoldAndDrain{to_whom}"),
        StopReason::CreateRefused => "the API server refused a member, so the others are stopped".to_owned(),
        StopReason::Suspended => "spec.suspend is true: its members are stopped".to_owned(),
        StopReason::Finished(FinishReason::MaxDurationExceeded) => {
            "it ran for longer than maxDuration".to_owned()
        }
        StopReason::Finished(_) => "it has ended: members that are left are stopped".to_owned(),
        StopReason::GangRestart => "a member failed, so all members are started again".to_owned(),
        StopReason::Deleted => "it is being deleted".to_owned(),
    }
}

/// How it ended, in a sentence.
pub(super) fn finished(reason: FinishReason, report: &WorkloadReport, known: &Workload) -> String {
    let span = |span: Option<crate::model::time::Span>| {
        span.map(|span| format!(" of {}", crate::api::Duration::from_millis(span.0))).unwrap_or_default()
    };
    match reason {
        FinishReason::Completed => {
            format!("{} of {} members succeeded", report.succeeded.len(), report.desired)
        }
        FinishReason::BackoffLimitExceeded => {
            let limit = known.spec.backoff_limit.unwrap_or_default();
            let last = report.last_failure.as_ref().map(|last| format!(": {last}")).unwrap_or_default();
            format!("a member failed more often than backoffLimit={limit} allows{last}")
        }
        FinishReason::MaxDurationExceeded => {
            format!("it ran for longer than maxDuration{}", span(known.spec.max_duration))
        }
        FinishReason::MaxWaitExceeded => {
            format!("it waited for longer than maxWait{}", span(known.spec.max_wait))
        }
    }
}

/// The least patch from `last` to `next`; none if nothing that matters changed.
pub fn diff(last: &PooledWorkloadStatus, next: &PooledWorkloadStatus) -> Option<Value> {
    if what_matters(last) == what_matters(next) {
        return None;
    }
    patch::between(last, next)
}

/// Without words and numbers that change while a workload merely goes on waiting.
fn what_matters(status: &PooledWorkloadStatus) -> PooledWorkloadStatus {
    let mut status = status.clone();
    if let Some(pending) = &mut status.pending {
        let reason = std::mem::take(&mut pending.reason);
        *pending = PendingStatus { reason, ..PendingStatus::default() };
    }
    for condition in &mut status.conditions {
        condition.message.clear();
        condition.last_transition_time = MetaTime(Timestamp::UNIX_EPOCH);
    }
    // The order of conditions is nobody's business, nor when they were last found to be as they are.
    status.conditions.sort_by(|one, other| one.type_.cmp(&other.type_));
    status
}

/// Whether `next` tells of another time than `last` at which a move that has failed is tried again.
fn tells_when(report: &WorkloadReport, last: &PooledWorkloadStatus, next: &PooledWorkloadStatus) -> bool {
    let tells = |status: &PooledWorkloadStatus, when: &str| {
        status.conditions.iter().any(|one| one.message.contains(when))
    };
    report.members.iter().any(|member| match member.stays {
        Some(Stay::Failed(until, _)) => {
            let when = reason::clock(until);
            tells(next, &when) && !tells(last, &when)
        }
        _ => false,
    })
}

/// How soon `next` must be written over `last`.
///
/// A workload that nobody looked at yet is not written: the next cycle says more of it.
/// A one-pod workload that starts within some seconds costs two writes: admitted and running, and finished.
pub fn urgency(report: &WorkloadReport, last: &PooledWorkloadStatus, next: &PooledWorkloadStatus) -> Urgency {
    let fresh = last.phase.is_none() && last.conditions.is_empty();
    let untried = matches!(&report.phase, WorkloadPhase::Queued { refusal: Refusal::NotTried, .. });
    if fresh && untried {
        return Urgency::No;
    }
    if what_matters(last) == what_matters(next) {
        // A time that is over is no answer to when: that one is told anew.
        return if tells_when(report, last, next) { Urgency::Soon } else { Urgency::No };
    }
    let becomes = |kind: &str| {
        conditions::is_true(&next.conditions, kind) && !conditions::is_true(&last.conditions, kind)
    };
    let reason = |status: &PooledWorkloadStatus| {
        let admitted =
            status.conditions.iter().find(|one| one.type_ == conditions::ADMITTED && one.status == "True");
        admitted.map(|one| one.reason.clone())
    };
    let stops =
        reason(next).is_some_and(|next| next != Reason::Admitted.as_str()) && reason(next) != reason(last);
    let asked = next.migration_request != last.migration_request;
    let fails = next.failures != last.failures || next.failed_indexes != last.failed_indexes;
    if becomes(conditions::FINISHED)
        || becomes(conditions::EVICTED)
        || becomes(conditions::RUNNING)
        || stops
        || fails
        || asked
    {
        return Urgency::Now;
    }
    if fresh && becomes(conditions::ADMITTED) { Urgency::Later } else { Urgency::Soon }
}
