//! Whether the operator does its work, and what keeps it from doing all of it: what `/readyz` says.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What problems are about, beside kinds: it leads and does not know all yet, what it knows is too old, it ends, the API
/// server does not know who it is, it cannot read its Lease.
pub const LISTS: &str = "lists";
/// See [`LISTS`].
pub const STALE: &str = "stale";
/// See [`LISTS`].
pub const ENDS: &str = "ends";
/// See [`LISTS`].
pub const CREDENTIALS: &str = "credentials";
/// See [`LISTS`].
pub const LEASE: &str = "lease";
/// It cannot take the ledgers over, and so does not come to lead.
pub const LEDGERS: &str = "ledgers";

/// Shared by all that can be in the way.
#[derive(Clone, Debug, Default)]
pub struct Health(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// What keeps it from its work, by what it is about.
    problems: BTreeMap<String, String>,
    /// What it does without.
    notes: BTreeMap<String, String>,
}

impl Health {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It cannot do its work because of that, or can again. Whether this is news.
    pub fn problem(&self, about: &str, problem: Option<String>) -> bool {
        put(&mut self.state().problems, about, problem)
    }

    /// It does its work, but not all of it, because of that, or does again. Whether this is news.
    pub fn note(&self, about: &str, note: Option<String>) -> bool {
        put(&mut self.state().notes, about, note)
    }

    /// It does not lead, so that only what keeps it from taking over matters.
    pub fn stands_by(&self) {
        let mut state = self.state();
        state.problems.retain(|about, _| [CREDENTIALS, LEASE, LEDGERS].contains(&about.as_str()));
        state.notes.clear();
    }

    /// Whether nothing keeps it from its work.
    pub fn is_ready(&self) -> bool {
        self.state().problems.is_empty()
    }

    /// What `/readyz` says.
    pub fn text(&self) -> String {
        let state = self.state();
        let mut text = String::new();
        if state.problems.is_empty() {
            text.push_str("ok\n");
        }
        for problem in state.problems.values() {
            let _ = writeln!(text, "not ready: {problem}");
        }
        for note in state.notes.values() {
            let _ = writeln!(text, "note: {note}");
        }
        text
    }
}

fn put(into: &mut BTreeMap<String, String>, about: &str, words: Option<String>) -> bool {
    match words {
        // The words may change with the time; that something is in the way is told once.
        Some(words) => into.insert(about.to_owned(), words).is_none(),
        None => into.remove(about).is_some(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_are_told_until_they_pass_and_notes_keep_nobody_from_working() {
        let health = Health::default();
        assert!(health.is_ready() && health.text() == "ok\n");
        assert!(health.note("Node", Some("may not list nodes".to_owned())), "news");
        assert!(health.is_ready());
        assert_eq!(health.text(), "ok\nnote: may not list nodes\n");
        assert!(health.problem("lists", Some("one".to_owned())), "news");
        assert!(!health.problem("lists", Some("two".to_owned())), "no news");
        assert!(!health.is_ready());
        assert_eq!(health.text(), "not ready: two\nnote: may not list nodes\n");
        assert!(health.problem("lists", None));
        assert!(!health.problem("lists", None));
        assert!(health.is_ready());
    }
}
