//! Members that were placed and whose pods were not seen yet. An assumption never ends by itself: the API
//! server is asked.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::term::Term;
use crate::apply::Child;
use crate::model::delta::InFlight;
use crate::model::spec::{MemberRef, Runtime};
use crate::observe::catalog::Catalog;
use crate::observe::names;

/// A pod whose create was answered is shown by the watch long before that.
const SHOWN_WITHIN: Duration = Duration::from_secs(30);
/// A create that was given up without an answer is looked into after that long.
const LOOK_AFTER: Duration = Duration::from_secs(1);

#[derive(Debug)]
struct Assumed {
    namespace: Arc<str>,
    child: Child,
    due: Instant,
}

/// All members whose pods are awaited.
#[derive(Debug, Default)]
pub struct Assumptions {
    members: HashMap<MemberRef, Assumed>,
    next: Option<Instant>,
}

impl Assumptions {
    /// A create is sent.
    pub fn assume(&mut self, member: MemberRef, namespace: Arc<str>, child: Child, now: Instant) {
        self.await_until(member, namespace, child, now + SHOWN_WITHIN);
    }

    /// Nobody knows whether it was created.
    pub fn unknown(&mut self, member: MemberRef, namespace: Arc<str>, child: Child) {
        self.await_until(member, namespace, child, Instant::now() + LOOK_AFTER);
    }

    fn await_until(&mut self, member: MemberRef, namespace: Arc<str>, child: Child, due: Instant) {
        self.members.insert(member, Assumed { namespace, child, due });
        self.next = Some(self.next.map_or(due, |next| next.min(due)));
    }

    /// It was created: from now on it shall be shown soon.
    pub fn created(&mut self, member: &MemberRef) {
        if let Some(assumed) = self.members.get_mut(member) {
            assumed.due = Instant::now() + SHOWN_WITHIN;
        }
    }

    /// Its pod was seen, or there is none.
    pub fn seen(&mut self, member: &MemberRef) {
        self.members.remove(member);
    }

    /// When the next one is due.
    pub fn next(&self) -> Option<Instant> {
        self.next
    }

    /// Those that are to be looked for now; each is due again later.
    pub fn take_due(&mut self, now: Instant) -> Vec<(MemberRef, Arc<str>, Child)> {
        if self.next.is_none_or(|next| next > now) {
            return Vec::new();
        }
        let mut due: Vec<_> = self
            .members
            .iter_mut()
            .filter(|(_, assumed)| assumed.due <= now)
            .map(|(member, assumed)| {
                assumed.due = now + SHOWN_WITHIN;
                (member.clone(), assumed.namespace.clone(), assumed.child.clone())
            })
            .collect();
        due.sort();
        self.next = self.members.values().map(|assumed| assumed.due).min();
        due
    }

    /// Looks again sooner: it cannot be looked for at present.
    pub fn later(&mut self, member: &MemberRef, now: Instant) {
        if let Some(assumed) = self.members.get_mut(member) {
            assumed.due = now + LOOK_AFTER;
            self.next = Some(self.next.map_or(assumed.due, |next| next.min(assumed.due)));
        }
    }
}

impl Term {
    /// What an older leader has placed may have been created or not, or be gone again: what no list shows is looked for,
    /// unless it is created now.
    pub(super) fn look_for(&mut self, flight: &InFlight) {
        let Some(known) = self.catalog.get(&flight.workload) else { return };
        for (index, (attempt, node)) in &flight.placements {
            let placements = [(*index, (*attempt, node.clone()))].into();
            if !self.ledgers.covers(&InFlight { placements, ..flight.clone() }) {
                // A list has shown it.
                continue;
            }
            let member = MemberRef { workload: flight.workload.clone(), index: *index, attempt: *attempt };
            let child = match known.spec.runtime {
                Runtime::Pod => Child::pod(&names::member(&known.spec.name, *index, *attempt)),
                Runtime::VirtualMachine => Child::Machine(Catalog::machine_name(known, &member)),
            };
            self.assumed.unknown(member, known.spec.namespace.clone(), child);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(index: u32) -> MemberRef {
        MemberRef { workload: "w".into(), index, attempt: 0 }
    }

    #[test]
    fn what_is_not_shown_in_time_is_looked_for() {
        let now = Instant::now();
        let mut assumptions = Assumptions::default();
        assumptions.assume(member(0), "n".into(), Child::pod("w-0"), now);
        assumptions.assume(member(1), "n".into(), Child::pod("w-1"), now);
        assert!(assumptions.take_due(now + Duration::from_secs(29)).is_empty());
        assumptions.seen(&member(0));
        let due = assumptions.take_due(now + Duration::from_secs(30));
        assert_eq!(due, [(member(1), Arc::from("n"), Child::pod("w-1"))]);
        assert!(assumptions.take_due(now + Duration::from_secs(31)).is_empty());
        assert_eq!(assumptions.next(), Some(now + Duration::from_mins(1)));
        assumptions.seen(&member(1));
        assert!(assumptions.take_due(now + Duration::from_secs(90)).is_empty());
        assert_eq!(assumptions.next(), None);
    }
}
