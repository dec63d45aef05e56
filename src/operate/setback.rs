//! Objects of which a write was refused: when they are tried again, and whether it is told.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

/// The first pause, doubled with each refusal up to the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(30));

/// Which writes of an object: one going through says nothing of the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Of {
    /// What was decided.
    Decision,
    /// Its status, or its taint.
    Record,
    /// What keeps a pool in use from being deleted.
    Hold,
}

/// The refusals of one term, in a row, and when it is tried again.
#[derive(Debug, Default)]
pub struct Setbacks {
    refusals: HashMap<(Arc<str>, Of), (u32, Instant)>,
}

impl Setbacks {
    /// A write was refused. When it is tried again, and whether this is news.
    pub fn refused(&mut self, object: &Arc<str>, of: Of, at: Instant) -> (Instant, bool) {
        let (refusals, due) = self.refusals.entry((object.clone(), of)).or_insert((0, at));
        let (first, most) = PAUSES;
        *due = at + first.saturating_mul(1 << (*refusals).min(20)).min(most);
        *refusals = refusals.saturating_add(1);
        (*due, *refusals == 1)
    }

    /// Until when it is put off, if it is.
    pub fn until(&self, object: &Arc<str>, of: Of, at: Instant) -> Option<Instant> {
        if self.refusals.is_empty() {
            return None;
        }
        self.refusals.get(&(object.clone(), of)).map(|(_, due)| *due).filter(|due| *due > at)
    }

    /// It went through.
    pub fn end(&mut self, object: &Arc<str>, of: Of) {
        if !self.refusals.is_empty() {
            self.refusals.remove(&(object.clone(), of));
        }
    }

    /// The object is gone.
    pub fn forget(&mut self, object: &str) {
        self.refusals.retain(|(of, _), _| **of != *object);
    }

    /// What hindered is over: all objects whose records were put off.
    pub fn end_all(&mut self) -> Vec<Arc<str>> {
        let all = std::mem::take(&mut self.refusals).into_keys();
        all.filter(|(_, of)| *of != Of::Decision).map(|(object, _)| object).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_refused_again_and_again_is_tried_less_and_less_and_told_once() {
        let at = Instant::now();
        let mut setbacks = Setbacks::default();
        let a: Arc<str> = "a".into();
        let pauses: Vec<(Duration, bool)> = (0..9)
            .map(|_| setbacks.refused(&a, Of::Decision, at))
            .map(|(due, news)| (due.duration_since(at), news))
            .collect();
        let (first, most) = PAUSES;
        assert_eq!(pauses[0], (first, true));
        assert_eq!(pauses[1], (first * 2, false));
        assert_eq!(pauses[8], (most, false));
        assert_eq!(setbacks.refused(&a, Of::Record, at), (at + first, true), "another write of it");
        assert_eq!(setbacks.until(&a, Of::Record, at), Some(at + first));
        assert_eq!(setbacks.until(&a, Of::Record, at + first), None);
        assert_eq!(setbacks.until(&a, Of::Hold, at), None);
        setbacks.end(&a, Of::Decision);
        assert_eq!(setbacks.refused(&a, Of::Decision, at), (at + first, true));
        assert_eq!(setbacks.end_all(), std::slice::from_ref(&a));
        assert_eq!(setbacks.refused(&a, Of::Record, at), (at + first, true));
        setbacks.forget("a");
        assert!(setbacks.end_all().is_empty());
    }
}
