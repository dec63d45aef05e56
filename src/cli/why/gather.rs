//! From objects to an answer: of the workload's own status, of its pools, and of the whole cluster where that may be
//! read.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time as MetaTime};

use super::answer::{Ahead, Answer, Members, Pool, Queue, Resource};
use crate::api::conditions;
use crate::api::quantity::{counted, shown_amount};
use crate::api::reasons::Reason;
use crate::api::workload::{MemberState, Phase, PooledWorkloadStatus};
use crate::api::{PooledWorkload, Quantity, ResourcePool};
use crate::cli::live::Live;
use crate::cli::output::{span, title};
use crate::model::refusal::Refusal;
use crate::model::report::WorkloadPhase;
use crate::model::spec::{NamedAmounts, WorkloadSpec};
use crate::model::time::Time;
use crate::observe::catalog::Catalog;
use crate::plan::reason::{self, Refused};

/// Most of those ahead that are named.
const MOST_AHEAD: usize = 5;
const PODS: &str = "pods";
/// The word for a workload without a status.
pub const UNSEEN: &str = "Unseen";

/// What the workload itself tells.
pub fn of_workload(workload: &PooledWorkload, now: Time) -> Answer {
    let status = workload.status.clone().unwrap_or_default();
    let namespace = workload.metadata.namespace.as_deref().unwrap_or_default();
    let (message, reason) = standing(workload, &status, now);
    let known = reason.as_deref().and_then(|word| Reason::ALL.iter().find(|one| one.as_str() == word));
    let counts = status.members.clone().unwrap_or_default();
    Answer {
        workload: title(namespace, workload.metadata.name.as_deref().unwrap_or_default()),
        pool: workload.spec.pool.clone(),
        phase: status.phase.map_or_else(|| UNSEEN.to_owned(), |phase| format!("{phase:?}")),
        for_seconds: since(workload, &status).map(|since| seconds(&since, now)),
        meaning: known.map(|reason| reason.meaning()),
        to_do: known.map(|reason| reason.action()),
        reason,
        message,
        priority: status.priority.or(workload.spec.priority).unwrap_or_default(),
        members: Members {
            wanted: workload.spec.replicas,
            least: workload.spec.effective_min_replicas(),
            running: counts.running,
            succeeded: counts.succeeded,
            failed: counts.failed,
            ..Members::default()
        },
        evicted: eviction(&status),
        evictions: status.evictions.unwrap_or_default(),
        queue: status.queue.as_ref().map(|queue| Queue {
            position: usize::try_from(queue.position).unwrap_or_default(),
            estimated_start: queue.estimated_start.clone(),
            ..Queue::default()
        }),
        nodes: status.pending.as_ref().and_then(|pending| pending.nodes.clone()),
        placements: status.placements,
        allocation: status.allocation,
        ..Answer::default()
    }
}

fn seconds(from: &MetaTime, now: Time) -> i64 {
    (now.0 - from.0.as_millisecond()).max(0) / 1000
}

fn condition<'a>(status: &'a PooledWorkloadStatus, kind: &str) -> Option<&'a Condition> {
    status.conditions.iter().find(|one| one.type_ == kind)
}

/// Since when it stands where it does.
fn since(workload: &PooledWorkload, status: &PooledWorkloadStatus) -> Option<MetaTime> {
    let admitted = || status.allocation.as_ref().and_then(|allocation| allocation.admitted_at.clone());
    match status.phase {
        None => workload.metadata.creation_timestamp.clone(),
        Some(Phase::Queued) => status.queued_at.clone(),
        Some(Phase::Starting) => admitted(),
        Some(Phase::Running | Phase::Migrating) => status.started_at.clone().or_else(admitted),
        Some(Phase::Succeeded | Phase::Failed) => status.finished_at.clone(),
        Some(Phase::Suspended) => {
            condition(status, conditions::ADMITTED).map(|one| one.last_transition_time.clone())
        }
    }
}

/// Why it stands where it does: a sentence, and a word where there is one.
fn standing(workload: &PooledWorkload, status: &PooledWorkloadStatus, now: Time) -> (String, Option<String>) {
    if status.phase.is_none() {
        let age = workload.metadata.creation_timestamp.as_ref().map_or(0, |at| seconds(at, now));
        let message = format!(
            "no operator has looked at it in the {} since it was created: is Weir running? \
             (kubectl get pods -n weir-system)",
            span(age)
        );
        return (message, None);
    }
    let told = match (&status.pending, status.phase) {
        (Some(pending), _) => Some((pending.message.clone(), pending.reason.clone())),
        (None, Some(Phase::Succeeded | Phase::Failed)) => words(condition(status, conditions::FINISHED)),
        (None, _) => words(condition(status, conditions::READY)),
    };
    let (mut message, reason) = told.unwrap_or_default();
    if status.observed_generation < workload.metadata.generation {
        message.push_str(" (the operator has not looked at the latest change of its spec yet)");
    }
    if workload.metadata.deletion_timestamp.is_some() {
        message.push_str(" (it is being deleted)");
    }
    (message, Some(reason).filter(|reason| !reason.is_empty()))
}

fn words(condition: Option<&Condition>) -> Option<(String, String)> {
    condition.map(|one| (one.message.clone(), one.reason.clone()))
}

/// Its last eviction, as long as that matters.
fn eviction(status: &PooledWorkloadStatus) -> Option<String> {
    let told = condition(status, conditions::EVICTED).filter(|one| one.status == "True")?;
    Some(format!("{}: {}", told.reason, told.message))
}

/// Members that do not run though they have been placed, by what they do.
pub fn laggards(answer: &Answer) -> BTreeMap<MemberState, usize> {
    let mut found = BTreeMap::new();
    for placement in answer.placements.iter().filter(|one| one.state != MemberState::Running) {
        *found.entry(placement.state).or_default() += 1;
    }
    found
}

/// What a member asks for, as far as the workload alone tells.
pub fn asked_alone(workload: &PooledWorkload) -> NamedAmounts {
    let mut catalog = Catalog::default();
    catalog.workload(&Ok(workload.clone()));
    let uid = workload.metadata.uid.as_deref().unwrap_or_default();
    catalog.get(uid).map(|known| each(&known.spec)).unwrap_or_default()
}

/// What a member asks for; that each is one pod goes without saying.
fn each(spec: &WorkloadSpec) -> NamedAmounts {
    let requests = spec.shape.as_ref().map(|shape| shape.requests.clone()).unwrap_or_default();
    requests.into_iter().filter(|(name, amount)| &**name != PODS && !amount.is_zero()).collect()
}

fn quantities(amounts: &NamedAmounts, times: u32) -> BTreeMap<String, Quantity> {
    let shown = |name: &str, units: i64| shown_amount(name, units);
    amounts
        .iter()
        .map(|(name, amount)| (name.to_string(), shown(name, amount.times(times).units())))
        .collect()
}

/// Writes what members ask for into the answer.
pub fn set_asked(answer: &mut Answer, each: &NamedAmounts) {
    answer.members.each = quantities(each, 1);
    answer.members.together = quantities(each, u32::try_from(answer.members.least).unwrap_or(1));
}

/// What its pool and those above it have of what it asks for, the own one first.
pub fn set_pools(answer: &mut Answer, chain: &[ResourcePool]) {
    if let (Some(queue), Some(own)) = (&mut answer.queue, chain.first()) {
        queue.policy = Some(format!("{:?}", own.spec.scheduling.policy));
    }
    answer.pools = chain
        .iter()
        .map(|pool| {
            let listed = pool.status.iter().flat_map(|status| &status.resources);
            let of = listed.filter_map(|one| {
                let asked = answer.members.together.get(&one.name)?.clone();
                let units = |quantity: &Quantity| counted(&one.name, quantity.as_str()).unwrap_or_default();
                let lacks = one.available.as_ref().map(|available| units(&asked) - units(available));
                Some(Resource {
                    name: one.name.clone(),
                    reservation: one.reservation.clone(),
                    limit: one.limit.clone(),
                    allocated: one.allocated.clone(),
                    available: one.available.clone(),
                    lacks: lacks.filter(|lacks| *lacks > 0).map(|lacks| shown_amount(&one.name, lacks)),
                    asked,
                })
            });
            Pool { name: pool.metadata.name.clone().unwrap_or_default(), resources: of.collect() }
        })
        .collect();
}

/// Why it waits as of now: its status is not written anew while it merely goes on waiting.
pub fn set_refusal(answer: &mut Answer, live: &Live, uid: &str) {
    let Some(report) = live.world.workload_report(uid) else { return };
    let (WorkloadPhase::Queued { refusal, .. }, Some(known)) = (&report.phase, live.catalog.get(uid)) else {
        return;
    };
    let of = Refused { namespace: &known.spec.namespace, pool: &report.pool, priority: report.priority };
    let pending = reason::pending(refusal, of, live.world.resources());
    // What the operator alone knows (that the API server refused a member) it has told.
    if answer.reason.as_ref() == Some(&pending.reason) && *refusal != Refusal::NotTried {
        (answer.message, answer.nodes) = (pending.message, pending.nodes);
    }
}

/// Its exact place in the queue, from the world.
pub fn set_queue(answer: &mut Answer, live: &Live, uid: &str) {
    let front = live.world.queue_front(&answer.pool, usize::MAX);
    let Some(at) = front.iter().position(|(one, _)| &**one == uid) else { return };
    let ahead = front.iter().take(at.min(MOST_AHEAD)).filter_map(|(uid, _)| {
        let spec = &live.catalog.get(uid)?.spec;
        Some(Ahead {
            workload: title(&spec.namespace, &spec.name),
            priority: spec.priority,
            together: quantities(&each(spec), spec.min_replicas),
        })
    });
    answer.queue = Some(Queue {
        position: at + 1,
        length: Some(front.len()),
        ahead: ahead.collect(),
        ..answer.queue.take().unwrap_or_default()
    });
}

/// What a member asks for, by the catalog, which knows pools and `KubeVirt`'s settings.
pub fn asked(live: &Live, uid: &str) -> Option<NamedAmounts> {
    Some(each(&live.catalog.get(uid)?.spec)).filter(|each| !each.is_empty())
}
