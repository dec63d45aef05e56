//! Workloads: what their spec says, and what their status remembers.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::{arc, asked, names, pool, time};
use crate::api::workload::{self, PooledWorkload, PooledWorkloadStatus};
use crate::api::{Duration, Reason, conditions, nodes};
use crate::model::indexes::IndexSet;
use crate::model::spec::{
    Completion, FinishReason, Migration, OnMemberFailure, ShapeSpec, StopReason, WorkloadRecord, WorkloadSpec,
};
use crate::model::time::{Span, Time};

/// Most members that a workload may have.
const MOST_MEMBERS: u32 = 10_000;

/// What a workload says. `priority` is what its class or number comes to, or why it comes to nothing; `shape` is what
/// its template comes to.
pub fn workload(
    object: &PooledWorkload,
    priority: Result<i32, String>,
    shape: Result<Arc<ShapeSpec>, Arc<str>>,
) -> WorkloadSpec {
    let metadata = &object.metadata;
    let spec = &object.spec;
    let workload::PooledWorkloadSpec {
        pool,
        priority: _,
        priority_class_name: _,
        replicas,
        min_replicas: _,
        allocation,
        completion: _,
        backoff_limit: _,
        on_member_failure,
        ttl_after_finished,
        suspend,
        expected_duration,
        preemptible,
        max_duration,
        max_wait,
        migration: _,
        placement,
        template,
    } = spec;
    let workload::WorkloadPlacement { strategy, topology_key, spread } =
        placement.clone().unwrap_or_default();
    let replicas = u32::try_from(*replicas).unwrap_or(1).clamp(1, MOST_MEMBERS);
    let (priority, shape) = match priority {
        Ok(priority) => (priority, shape),
        Err(problem) => (0, Err(Arc::from(problem))),
    };
    WorkloadSpec {
        uid: arc(metadata.uid.as_ref()),
        namespace: arc(metadata.namespace.as_ref()),
        name: arc(metadata.name.as_ref()),
        created: time(metadata.creation_timestamp.as_ref()),
        deleting: metadata.deletion_timestamp.is_some(),
        pool: pool.as_str().into(),
        priority,
        replicas,
        min_replicas: u32::try_from(spec.effective_min_replicas()).unwrap_or(1).clamp(1, replicas),
        completion: completion_of(spec.effective_completion()),
        backoff_limit: spec.effective_backoff_limit().map(|limit| u32::try_from(limit).unwrap_or(0)),
        on_member_failure: match on_member_failure {
            workload::OnMemberFailure::RestartMember => OnMemberFailure::RestartMember,
            workload::OnMemberFailure::RestartGang => OnMemberFailure::RestartGang,
        },
        suspend: *suspend,
        expected_duration: expected_duration.map(span),
        preemptible: *preemptible,
        dynamic: *allocation == workload::Allocation::Dynamic,
        max_duration: max_duration.map(span),
        max_wait: max_wait.map(span),
        ttl_after_finished: ttl_after_finished.map(span),
        strategy: strategy.map(pool::strategy),
        topology_key: topology_key.as_deref().map(Arc::from),
        spread: spread.as_ref().map(|spread| {
            let max_skew = u32::try_from(spread.max_skew).unwrap_or(1).max(1);
            (Arc::from(spread.topology_key.as_str()), max_skew)
        }),
        labels: Arc::default(),
        runtime: pool::runtime(template.runtime()),
        unchecked: false,
        migration: match spec.effective_migration() {
            nodes::Migration::Restart => Migration::Restart,
            nodes::Migration::Live => Migration::Live,
            nodes::Migration::Never => Migration::Never,
        },
        claims: false,
        migrate: asked::request(metadata),
        shape,
        record: object.status.as_ref().map(record).unwrap_or_default(),
    }
}

/// A completion of the API in the model's words.
pub fn completion_of(completion: workload::Completion) -> Completion {
    match completion {
        workload::Completion::RunToCompletion => Completion::RunToCompletion,
        workload::Completion::KeepRunning => Completion::KeepRunning,
    }
}

fn span(duration: Duration) -> Span {
    Span(duration.as_millis().max(0))
}

/// A workload of which nothing but its metadata, and perhaps its pool and status, can be read.
pub fn unreadable(poison: &crate::api::pruned::Poison) -> WorkloadSpec {
    let metadata = &poison.metadata;
    let shape: Result<Arc<ShapeSpec>, Arc<str>> = Err(problem_of(poison));
    let pool = poison.object.pointer("/spec/pool").and_then(serde_json::Value::as_str).unwrap_or_default();
    let status = poison.object.get("status").cloned().map(serde_json::from_value::<PooledWorkloadStatus>);
    WorkloadSpec {
        uid: arc(metadata.uid.as_ref()),
        namespace: arc(metadata.namespace.as_ref()),
        name: arc(metadata.name.as_ref()),
        created: time(metadata.creation_timestamp.as_ref()),
        deleting: metadata.deletion_timestamp.is_some(),
        pool: pool.into(),
        shape,
        record: status.and_then(Result::ok).as_ref().map(record).unwrap_or_default(),
        ..WorkloadSpec::default()
    }
}

/// What is said of a workload that cannot be read.
pub fn problem_of(poison: &crate::api::pruned::Poison) -> Arc<str> {
    format!("the object cannot be read: {}", poison.problem).into()
}

/// What a status remembers: the inverse of what `plan/workload_status` writes.
pub fn record(status: &PooledWorkloadStatus) -> WorkloadRecord {
    let condition =
        |kind: &str| status.conditions.iter().find(|one| one.type_ == kind && one.status == "True");
    let admitted = condition(conditions::ADMITTED);
    let allocation = status.allocation.as_ref();
    WorkloadRecord {
        admitted: admitted.zip(allocation).map(|(condition, allocation)| {
            let at = allocation.admitted_at.as_ref().unwrap_or(&condition.last_transition_time);
            (time(Some(at)), u32::try_from(allocation.replicas).unwrap_or(0).clamp(1, MOST_MEMBERS))
        }),
        evicted: condition(conditions::EVICTED).and_then(stopping),
        queued_at: status.queued_at.as_ref().map(|at| time(Some(at))),
        started_at: status.started_at.as_ref().map(|at| time(Some(at))),
        stopping: admitted.and_then(stopping),
        suspended: status.phase == Some(workload::Phase::Suspended),
        succeeded: indexes(status.succeeded_indexes.as_deref()),
        failures: failures(status),
        attempts: attempts(status),
        finished: condition(conditions::FINISHED).map(|condition| finished(status, condition)),
        asked: status.migration_request.as_ref().map(asked::record),
    }
}

/// While members leave, the reason of `Admitted` says why.
fn stopping(admitted: &Condition) -> Option<StopReason> {
    Some(match reason(&admitted.reason)? {
        Reason::Reclaimed => StopReason::Reclaimed,
        Reason::Preempted => StopReason::Preempted,
        Reason::SliceEnded => StopReason::SliceEnded,
        Reason::Overdue => StopReason::Overdue,
        Reason::Drained => StopReason::Drained,
        Reason::CreateRefused => StopReason::CreateRefused,
        Reason::Suspended => StopReason::Suspended,
        Reason::GangRestarted => StopReason::GangRestart,
        other => StopReason::Finished(finish_reason(other)?),
    })
}

fn finished(status: &PooledWorkloadStatus, condition: &Condition) -> (FinishReason, Time) {
    let at = status.finished_at.as_ref().unwrap_or(&condition.last_transition_time);
    let reason = reason(&condition.reason).and_then(finish_reason).unwrap_or({
        // A word of another version: what ended stays ended.
        if status.phase == Some(workload::Phase::Succeeded) {
            FinishReason::Completed
        } else {
            FinishReason::BackoffLimitExceeded
        }
    });
    (reason, time(Some(at)))
}

/// The reason of a word.
pub fn reason(word: &str) -> Option<Reason> {
    Reason::ALL.iter().copied().find(|reason| reason.as_str() == word)
}

fn finish_reason(reason: Reason) -> Option<FinishReason> {
    Some(match reason {
        Reason::Completed => FinishReason::Completed,
        Reason::BackoffLimitExceeded => FinishReason::BackoffLimitExceeded,
        Reason::MaxDurationExceeded => FinishReason::MaxDurationExceeded,
        Reason::MaxWaitExceeded => FinishReason::MaxWaitExceeded,
        _ => return None,
    })
}

fn indexes(text: Option<&str>) -> IndexSet {
    // Garbled by hand: the members that are done run again, which is the lesser harm.
    let set = IndexSet::parse(text.unwrap_or_default()).unwrap_or_default();
    if set.len() <= MOST_MEMBERS { set } else { IndexSet::default() }
}

fn failures(status: &PooledWorkloadStatus) -> BTreeMap<u32, u32> {
    let counts = status.failures.iter();
    let counts = counts.filter_map(|one| Some((u32::try_from(one.count).ok()?, indexes(Some(&one.indexes)))));
    counts.flat_map(|(count, set)| set.iter().map(|index| (index, count)).collect::<Vec<_>>()).collect()
}

fn attempts(status: &PooledWorkloadStatus) -> BTreeMap<u32, u32> {
    let placed = status.placements.iter();
    let placed = placed.filter_map(|one| {
        let attempt = names::model_attempt(u32::try_from(one.attempt).ok()?);
        Some((u32::try_from(one.index).ok()?, attempt))
    });
    placed.filter(|(_, attempt)| *attempt != 0).collect()
}
