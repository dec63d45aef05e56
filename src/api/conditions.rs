//! Condition types, and setting them so that `lastTransitionTime` moves only when the status does.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;

use super::reasons::Reason;

/// kstatus: the object does what it should. Both kinds.
pub const READY: &str = "Ready";
/// kstatus: it is on its way there. Both kinds.
pub const RECONCILING: &str = "Reconciling";
/// kstatus: it will not get there unless somebody changes something. Both kinds.
pub const STALLED: &str = "Stalled";

/// Pools: the children's reservations add up to more than the pool can give.
pub const OVERCOMMITTED: &str = "Overcommitted";
/// Pools: nodes that the selector matches belong to another root.
pub const OVERLAPPING: &str = "Overlapping";
/// Pools: so much is allocated, or somebody waits for so long, that `alerts` tells of it.
pub const CAPACITY_PRESSURE: &str = "CapacityPressure";
/// Pools: by the trend a resource is used up within `alerts.exhaustionWithin`.
pub const EXHAUSTION_PREDICTED: &str = "ExhaustionPredicted";

/// Workloads: it holds quota.
pub const ADMITTED: &str = "Admitted";
/// Workloads: at least `minReplicas` members run.
pub const RUNNING: &str = "Running";
/// Workloads: it has ended, well or badly.
pub const FINISHED: &str = "Finished";
/// Workloads: it was admitted, had to give way, and waits again.
pub const EVICTED: &str = "Evicted";

/// Longest message that the schema allows, in characters.
pub const MAX_MESSAGE: usize = 4096;

/// What a condition shall say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted<'a> {
    /// The type, a constant of this file.
    pub kind: &'a str,
    /// True, false, or `None` for Unknown.
    pub status: Option<bool>,
    /// Why, in one word.
    pub reason: Reason,
    /// Why, in a sentence. Cut to what the schema allows.
    pub message: &'a str,
    /// The generation that was judged.
    pub observed_generation: Option<i64>,
}

/// Sets one condition and says whether anything changed. A new `now` alone is no change.
pub fn set(conditions: &mut Vec<Condition>, wanted: &Wanted<'_>, now: Timestamp) -> bool {
    let status = match wanted.status {
        Some(true) => "True",
        Some(false) => "False",
        None => "Unknown",
    };
    let message: String = wanted.message.chars().take(MAX_MESSAGE).collect();
    let mut next = Condition {
        type_: wanted.kind.to_owned(),
        status: status.to_owned(),
        reason: wanted.reason.as_str().to_owned(),
        message,
        observed_generation: wanted.observed_generation,
        last_transition_time: Time(now),
    };
    let Some(current) = conditions.iter_mut().find(|c| c.type_ == wanted.kind) else {
        conditions.push(next);
        return true;
    };
    if current.status == next.status {
        next.last_transition_time = current.last_transition_time.clone();
    }
    let changed = *current != next;
    *current = next;
    changed
}

/// Takes one condition away and says whether it was there.
pub fn remove(conditions: &mut Vec<Condition>, kind: &str) -> bool {
    let before = conditions.len();
    conditions.retain(|c| c.type_ != kind);
    conditions.len() != before
}

/// Whether the condition is there and True.
pub fn is_true(conditions: &[Condition], kind: &str) -> bool {
    conditions.iter().any(|c| c.type_ == kind && c.status == "True")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(status: bool, message: &str) -> Wanted<'_> {
        Wanted {
            kind: READY,
            status: Some(status),
            reason: Reason::Completed,
            message,
            observed_generation: Some(3),
        }
    }

    #[test]
    fn the_transition_time_moves_only_with_the_status() {
        let (first, later) = (Timestamp::from_second(100).unwrap(), Timestamp::from_second(200).unwrap());
        let mut list = Vec::new();
        assert!(set(&mut list, &wanted(true, "a"), first));
        assert!(!set(&mut list, &wanted(true, "a"), later), "the same again is no change");
        assert!(set(&mut list, &wanted(true, "b"), later));
        assert_eq!(list[0].last_transition_time.0, first);
        assert!(set(&mut list, &wanted(false, "b"), later));
        assert_eq!(list[0].last_transition_time.0, later);
        assert!(!is_true(&list, READY));
        assert!(remove(&mut list, READY));
        assert!(!remove(&mut list, READY));
    }

    #[test]
    fn a_message_is_cut_to_what_the_schema_allows() {
        let mut list = Vec::new();
        set(&mut list, &wanted(true, &"ä".repeat(MAX_MESSAGE + 10)), Timestamp::UNIX_EPOCH);
        assert_eq!(list[0].message.chars().count(), MAX_MESSAGE);
    }
}
