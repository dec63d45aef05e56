//! Who leads: the rules of the election, without a clock or a client, and the token that every writer asks.
//!
//! The Lease is judged by what this process saw and when by its own monotonic clock; times that others wrote
//! are never compared with it. A leader stops writing `give_up` after the last renewal *began*, and another may
//! start `lease` after it saw that renewal, so a gap lies between the two whatever the clocks say.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// How long things take in the election.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// A Lease that nobody renewed for that long is free.
    pub lease: Duration,
    /// The leader renews that often.
    pub renew: Duration,
    /// A leader that could not renew for that long stops writing; less than `lease`.
    pub give_up: Duration,
    /// Between two tries, of a candidate or of a leader whose renewal failed.
    pub retry: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(15),
            renew: Duration::from_secs(5),
            give_up: Duration::from_secs(10),
            retry: Duration::from_secs(1),
        }
    }
}

/// What the Lease says, as far as the election goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// `metadata.resourceVersion`: it changes with every renewal.
    pub resource_version: String,
    /// `spec.holderIdentity`, empty when it was released.
    pub holder: String,
    /// `spec.leaseDurationSeconds`: how long its holder asked the others to wait.
    pub duration: Option<Duration>,
    /// `spec.leaseTransitions`.
    pub transitions: i32,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Move {
    /// Write the Lease in our name: create it (none was read), or replace this version of it.
    Write {
        /// The version to replace; none to create it.
        over: Option<String>,
        /// `leaseTransitions` to write.
        transitions: i32,
        /// It changes hands, so `acquireTime` is now.
        acquire: bool,
    },
    /// Read it again at that time.
    Read(Instant),
    /// It was ours and is not any more: stop.
    Lost,
}

/// The state of one candidate.
#[derive(Debug)]
pub struct Elector {
    identity: String,
    timing: Timing,
    seen: Option<(Record, Instant)>,
    known_absent: bool,
    held_since: Option<Instant>,
}

impl Elector {
    /// A candidate that has seen nothing yet. `identity` must be this process's alone.
    pub fn new(identity: impl Into<String>, timing: Timing) -> Self {
        Self { identity: identity.into(), timing, seen: None, known_absent: false, held_since: None }
    }

    /// Whether the Lease is ours, as of `now`.
    pub fn leads(&self, now: Instant) -> bool {
        self.deadline().is_some_and(|deadline| now < deadline)
    }

    /// Until when we may write, if the Lease is ours.
    pub fn deadline(&self) -> Option<Instant> {
        self.held_since.map(|since| since + self.timing.give_up)
    }

    /// The Lease was read (none: it does not exist); returns what follows.
    pub fn read(&mut self, now: Instant, record: Option<Record>) -> Move {
        self.known_absent = record.is_none();
        match record {
            None => self.seen = None,
            Some(record) => {
                let same = self.seen.as_ref().is_some_and(|(old, _)| *old == record);
                if !same {
                    self.seen = Some((record, now));
                }
            }
        }
        self.next(now)
    }

    /// Our write was answered well. `began` is when it was sent: the others count from its arrival, later.
    pub fn written(&mut self, began: Instant, now: Instant, record: Record) {
        self.known_absent = false;
        self.seen = Some((record, now));
        self.held_since = Some(began);
    }

    /// What to do at `now`.
    pub fn next(&self, now: Instant) -> Move {
        if let Some(deadline) = self.deadline() {
            let ours = self.seen.as_ref().is_some_and(|(record, _)| record.holder == self.identity);
            if !ours || now >= deadline {
                return Move::Lost;
            }
        }
        let Some((record, since)) = &self.seen else {
            return if self.known_absent {
                Move::Write { over: None, transitions: 0, acquire: true }
            } else {
                Move::Read(now)
            };
        };
        if record.holder == self.identity {
            return Move::Write {
                over: Some(record.resource_version.clone()),
                transitions: record.transitions,
                acquire: self.held_since.is_none(),
            };
        }
        let free_at = *since + record.duration.unwrap_or(self.timing.lease).max(self.timing.lease);
        if record.holder.is_empty() || now >= free_at {
            return Move::Write {
                over: Some(record.resource_version.clone()),
                transitions: record.transitions.saturating_add(1),
                acquire: true,
            };
        }
        Move::Read((now + self.timing.retry).min(free_at))
    }
}

/// May this process write? Shared by all writers and asked before each request; it is false by itself once the
/// deadline passes, even if the task that renews was never scheduled.
#[derive(Clone, Debug)]
pub struct Leadership {
    base: Instant,
    /// Milliseconds after `base`; 0: not leading.
    until: Arc<AtomicU64>,
}

impl Leadership {
    /// Not leading.
    pub fn none() -> Self {
        Self { base: Instant::now(), until: Arc::new(AtomicU64::new(0)) }
    }

    /// Leads until then.
    pub fn extend(&self, deadline: Instant) {
        let millis =
            u64::try_from(deadline.saturating_duration_since(self.base).as_millis()).unwrap_or(u64::MAX);
        self.until.store(millis, Ordering::SeqCst);
    }

    /// Leads no more.
    pub fn end(&self) {
        self.until.store(0, Ordering::SeqCst);
    }

    /// What is left of the right to write; none when it is over.
    pub fn left(&self) -> Option<Duration> {
        let deadline = self.base + Duration::from_millis(self.until.load(Ordering::SeqCst));
        deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
    }

    /// Whether it may write now.
    pub fn holds(&self) -> bool {
        self.left().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(version: &str, holder: &str) -> Record {
        Record { resource_version: version.into(), holder: holder.into(), duration: None, transitions: 3 }
    }

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    #[test]
    fn a_missing_lease_is_created_and_then_renewed() {
        let start = Instant::now();
        let mut elector = Elector::new("a", Timing::default());
        assert_eq!(elector.next(start), Move::Read(start));
        assert_eq!(elector.read(start, None), Move::Write { over: None, transitions: 0, acquire: true });
        elector.written(start, start + seconds(1), record("1", "a"));
        assert!(elector.leads(start + seconds(9)));
        assert_eq!(
            elector.next(start + seconds(5)),
            Move::Write { over: Some("1".into()), transitions: 3, acquire: false }
        );
    }

    #[test]
    fn a_leader_stops_ten_seconds_after_its_last_renewal_began() {
        let start = Instant::now();
        let mut elector = Elector::new("a", Timing::default());
        // The answer came four seconds late: the time counts from the request all the same.
        elector.written(start, start + seconds(4), record("1", "a"));
        assert!(!elector.leads(start + seconds(10)));
        assert_eq!(elector.next(start + seconds(10)), Move::Lost);
    }

    #[test]
    fn a_leader_that_sees_another_holder_is_lost_at_once() {
        let start = Instant::now();
        let mut elector = Elector::new("a", Timing::default());
        elector.written(start, start, record("1", "a"));
        assert_eq!(elector.read(start + seconds(1), Some(record("2", "b"))), Move::Lost);
    }

    #[test]
    fn a_leader_whose_renewal_met_a_conflict_of_its_own_goes_on_with_the_new_version() {
        let start = Instant::now();
        let mut elector = Elector::new("a", Timing::default());
        elector.written(start, start, record("1", "a"));
        // The renewal was committed and its answer lost: the Lease has moved on, in our name.
        assert_eq!(
            elector.read(start + seconds(1), Some(record("2", "a"))),
            Move::Write { over: Some("2".into()), transitions: 3, acquire: false }
        );
        assert!(!elector.leads(start + seconds(10)), "a read renews nothing");
    }

    #[test]
    fn a_candidate_waits_for_a_lease_that_does_not_move_by_its_own_clock() {
        let start = Instant::now();
        let mut elector = Elector::new("b", Timing::default());
        assert_eq!(elector.read(start, Some(record("1", "a"))), Move::Read(start + seconds(1)));
        let later = start + seconds(14);
        assert_eq!(elector.read(later, Some(record("1", "a"))), Move::Read(start + seconds(15)));
        assert_eq!(
            elector.read(start + seconds(15), Some(record("1", "a"))),
            Move::Write { over: Some("1".into()), transitions: 4, acquire: true }
        );
    }

    #[test]
    fn every_renewal_seen_starts_the_wait_anew() {
        let start = Instant::now();
        let mut elector = Elector::new("b", Timing::default());
        elector.read(start, Some(record("1", "a")));
        elector.read(start + seconds(14), Some(record("2", "a")));
        assert!(matches!(elector.read(start + seconds(28), Some(record("2", "a"))), Move::Read(_)));
        assert!(matches!(elector.read(start + seconds(29), Some(record("2", "a"))), Move::Write { .. }));
    }

    #[test]
    fn a_released_lease_is_taken_at_once() {
        let start = Instant::now();
        let mut elector = Elector::new("b", Timing::default());
        assert_eq!(
            elector.read(start, Some(record("7", ""))),
            Move::Write { over: Some("7".into()), transitions: 4, acquire: true }
        );
    }

    #[test]
    fn a_holder_that_asked_for_longer_is_waited_for_longer() {
        let start = Instant::now();
        let mut elector = Elector::new("b", Timing::default());
        let mut long = record("1", "a");
        long.duration = Some(seconds(60));
        elector.read(start, Some(long.clone()));
        assert!(matches!(elector.read(start + seconds(59), Some(long.clone())), Move::Read(_)));
        assert!(matches!(elector.read(start + seconds(60), Some(long)), Move::Write { .. }));
    }

    #[test]
    fn the_token_ends_by_itself() {
        let token = Leadership::none();
        assert!(!token.holds());
        token.extend(Instant::now() + Duration::from_millis(50));
        assert!(token.holds());
        std::thread::sleep(Duration::from_millis(60));
        assert!(!token.holds());
        token.extend(Instant::now() + seconds(10));
        assert!(token.holds());
        token.end();
        assert!(!token.holds());
    }
}
