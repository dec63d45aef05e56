//! Events (events.k8s.io/v1): admitted, gave way, ended, and why something waits or stands still.
//!
//! An event's name is made of what it tells, so the same one is never there twice.

use std::fmt::Write as _;

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};

use super::timestamp;
use crate::api::asked::{MoveRequestState, MoveRequestStatus};
use crate::api::pool::ResourcePoolStatus;
use crate::api::reasons::Reason;
use crate::api::workload::PooledWorkloadStatus;
use crate::api::{API_VERSION, conditions};
use crate::model::labelled::Maker;
use crate::model::time::Time;
use crate::observe::catalog::{Pool, Workload};
use crate::observe::labelled::{Known as Label, api_version};
use crate::observe::workload;

/// Who reports.
pub const CONTROLLER: &str = "weir.dev/operator";
/// Events of objects without a namespace live here.
const NAMESPACE_OF_CLUSTER: &str = "default";
/// Most bytes of a note.
const MOST_BYTES: usize = 1024;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// It was given quota and places.
    Admit,
    /// It had to give way, or its members were stopped.
    Stop,
    /// It ended.
    Finish,
    /// It waits, for another reason than before.
    Wait,
    /// A member of it goes to another node, or does not.
    Move,
    /// A pool admits nothing, as it is declared.
    Stall,
    /// A pool admits again.
    Recover,
    /// A pool tells of what its alerts ask for.
    Warn,
    /// That is over.
    Relax,
    /// The label of an object that others made is heeded, or not.
    Adopt,
}

impl Action {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Admit => "Admit",
            Self::Stop => "Stop",
            Self::Finish => "Finish",
            Self::Wait => "Wait",
            Self::Move => "Move",
            Self::Stall => "Stall",
            Self::Recover => "Recover",
            Self::Warn => "Warn",
            Self::Relax => "Relax",
            Self::Adopt => "Adopt",
        }
    }
}

/// What is told of an object.
#[derive(Clone, Copy, Debug)]
pub struct Told<'a> {
    /// What happened.
    pub action: Action,
    /// Why, in one word.
    pub reason: Reason,
    /// Why, in a sentence.
    pub note: &'a str,
    /// Somebody should look at it.
    pub warning: bool,
}

/// An event of a workload. `instance` names the running operator.
pub fn of_workload(known: &Workload, told: Told<'_>, instance: &str, now: Time) -> Event {
    let regarding = ObjectReference {
        kind: Some("PooledWorkload".to_owned()),
        namespace: Some(known.spec.namespace.to_string()),
        name: Some(known.spec.name.to_string()),
        uid: Some(known.spec.uid.to_string()),
        ..reference()
    };
    event(regarding, told, instance, now)
}

/// An event of a pool.
pub fn of_pool(known: &Pool, told: Told<'_>, instance: &str, now: Time) -> Event {
    let regarding = ObjectReference {
        kind: Some("ResourcePool".to_owned()),
        name: Some(known.spec.name.to_string()),
        uid: Some(known.spec.uid.to_string()),
        ..reference()
    };
    event(regarding, told, instance, now)
}

/// What comes of the label of an object that others made.
pub fn of_label(
    maker: &Maker,
    known: &Label,
    reason: Reason,
    note: &str,
    instance: &str,
    now: Time,
) -> Event {
    let regarding = ObjectReference {
        api_version: Some(api_version(maker.kind).to_owned()),
        kind: Some(maker.kind.as_str().to_owned()),
        namespace: Some(maker.namespace.to_string()),
        name: Some(maker.name.to_string()),
        uid: Some(known.uid.to_string()),
        ..ObjectReference::default()
    };
    let warning = reason != Reason::Adopted;
    event(regarding, Told { action: Action::Adopt, reason, note, warning }, instance, now)
}

/// The operator cannot see or do something: told of the Lease (namespace and name) that it leads by.
pub fn of_operator(lease: &(String, String), note: &str, instance: &str, now: Time) -> Event {
    let (namespace, name) = lease;
    let regarding = ObjectReference {
        api_version: Some("coordination.k8s.io/v1".to_owned()),
        kind: Some("Lease".to_owned()),
        namespace: Some(namespace.clone()),
        name: Some(name.clone()),
        // Two of one moment are about two kinds.
        uid: None,
        ..ObjectReference::default()
    };
    let told = Told { action: Action::Warn, reason: Reason::PermissionMissing, note, warning: true };
    let mut event = event(regarding, told, instance, now);
    event.metadata.name = Some(format!("{name}.{:016x}", fingerprint(&[note], now)));
    event
}

/// What a change of a workload's status tells: that it waits for another reason than before. Admissions and ends
/// are told with their decisions.
pub fn of_change(
    known: &Workload,
    last: &PooledWorkloadStatus,
    next: &PooledWorkloadStatus,
    instance: &str,
    now: Time,
) -> Option<Event> {
    if let Some((reason, stays)) = stays(last, next) {
        let told = Told { action: Action::Move, reason, note: &stays, warning: true };
        return Some(of_workload(known, told, instance, now));
    }
    if let Some(refused) = refused(last.migration_request.as_ref(), next.migration_request.as_ref()) {
        let told =
            Told { action: Action::Move, reason: Reason::MigrationRefused, note: refused, warning: true };
        return Some(of_workload(known, told, instance, now));
    }
    let pending = next.pending.as_ref()?;
    if last.pending.as_ref().is_some_and(|last| last.reason == pending.reason) {
        return None;
    }
    let warning = conditions::is_true(&next.conditions, conditions::STALLED);
    let reason = workload::reason(&pending.reason)?;
    Some(of_workload(
        known,
        Told { action: Action::Wait, reason, note: &pending.message, warning },
        instance,
        now,
    ))
}

/// What is said of a request to move members that came to nothing, if that is news.
fn refused<'a>(last: Option<&MoveRequestStatus>, next: Option<&'a MoveRequestStatus>) -> Option<&'a str> {
    let in_vain =
        |one: &&MoveRequestStatus| matches!(one.state, MoveRequestState::Refused | MoveRequestState::Failed);
    let same = |one: &&MoveRequestStatus| {
        last.is_none_or(|last| (&last.request, last.state) != (&one.request, one.state))
    };
    next.filter(in_vain).filter(same).map(|one| one.message.as_str())
}

/// What is said of members that stay on nodes that are drained, if that is news.
fn stays(last: &PooledWorkloadStatus, next: &PooledWorkloadStatus) -> Option<(Reason, String)> {
    let of = |status: &PooledWorkloadStatus| {
        let ready = status.conditions.iter().find(|one| one.type_ == conditions::READY)?;
        let reason = workload::reason(&ready.reason)?;
        WORTH_TELLING.contains(&reason).then(|| (reason, ready.message.clone()))
    };
    let before = of(last).map(|(reason, _)| reason);
    of(next).filter(|(reason, _)| before != Some(*reason))
}

/// Reasons of members that are there, of which it is told when they come up.
const WORTH_TELLING: [Reason; 4] =
    [Reason::StaysOnDrainedNode, Reason::MigrationWaits, Reason::MigrationRefused, Reason::MachineTrouble];

/// What a change of a pool's status tells: that it stands still, or no longer does.
pub fn of_pool_change(
    known: &Pool,
    last: &ResourcePoolStatus,
    next: &ResourcePoolStatus,
    instance: &str,
    now: Time,
) -> Option<Event> {
    let stalled = |status: &ResourcePoolStatus| conditions::is_true(&status.conditions, conditions::STALLED);
    let action = match (stalled(last), stalled(next)) {
        (false, true) => Action::Stall,
        (true, false) => Action::Recover,
        _ => return None,
    };
    let ready = next.conditions.iter().find(|one| one.type_ == conditions::READY)?;
    let reason = workload::reason(&ready.reason)?;
    let told = Told { action, reason, note: &ready.message, warning: action == Action::Stall };
    Some(of_pool(known, told, instance, now))
}

/// What a change of a pool's status tells of what its alerts and its annotations ask for.
pub fn of_alerts(
    known: &Pool,
    last: &ResourcePoolStatus,
    next: &ResourcePoolStatus,
    instance: &str,
    now: Time,
) -> Vec<Event> {
    let told =
        [conditions::CAPACITY_PRESSURE, conditions::EXHAUSTION_PREDICTED].into_iter().filter_map(|kind| {
            let now = next.conditions.iter().find(|one| one.type_ == kind)?;
            let action = match (conditions::is_true(&last.conditions, kind), now.status == "True") {
                (false, true) => Action::Warn,
                (true, false) => Action::Relax,
                _ => return None,
            };
            let reason = workload::reason(&now.reason)?;
            Some(Told { action, reason, note: &now.message, warning: action == Action::Warn })
        });
    let asked = refused(last.applied_recommendation.as_ref(), next.applied_recommendation.as_ref());
    let asked = asked.map(|note| Told {
        action: Action::Move,
        reason: Reason::MigrationRefused,
        note,
        warning: true,
    });
    told.chain(asked).map(|told| of_pool(known, told, instance, now)).collect()
}

fn reference() -> ObjectReference {
    ObjectReference { api_version: Some(API_VERSION.to_owned()), ..ObjectReference::default() }
}

fn event(regarding: ObjectReference, told: Told<'_>, instance: &str, now: Time) -> Event {
    let Told { action, reason, note, warning } = told;
    let name = format!(
        "{}.{:016x}",
        regarding.name.as_deref().unwrap_or_default(),
        fingerprint(&[regarding.uid.as_deref().unwrap_or_default(), action.as_str(), reason.as_str()], now)
    );
    Event {
        metadata: ObjectMeta {
            name: Some(name),
            namespace: Some(regarding.namespace.clone().unwrap_or_else(|| NAMESPACE_OF_CLUSTER.to_owned())),
            ..ObjectMeta::default()
        },
        action: Some(action.as_str().to_owned()),
        event_time: Some(MicroTime(timestamp(now))),
        note: Some(cut(note)),
        reason: Some(reason.as_str().to_owned()),
        regarding: Some(regarding),
        reporting_controller: Some(CONTROLLER.to_owned()),
        reporting_instance: Some(instance.chars().take(128).collect()),
        type_: Some(if warning { "Warning" } else { "Normal" }.to_owned()),
        ..Event::default()
    }
}

/// FNV-1a, which is the same in every build.
fn fingerprint(parts: &[&str], now: Time) -> u64 {
    let mut text = String::new();
    for part in parts {
        text.push_str(part);
        text.push('/');
    }
    // Writing to a string does not fail.
    let _ = write!(text, "{}", now.0);
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

fn cut(note: &str) -> String {
    let mut end = note.len().min(MOST_BYTES);
    while !note.is_char_boundary(end) {
        end -= 1;
    }
    note[..end].to_owned()
}
