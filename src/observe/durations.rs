//! How long workloads took that have ended well: others of the same namespace and template are expected to take as long.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::catalog::{Catalog, Workload};
use super::template::Template;
use crate::model::spec::FinishReason;
use crate::model::time::Span;

/// The last so many of one kind count.
const MOST_OF_A_KIND: usize = 20;
/// So many kinds are remembered; beyond that, no new ones.
const MOST_KINDS: usize = 10_000;

/// Namespace, and the likeness of the template.
type Kind = (Arc<str>, u64);

/// What was seen.
#[derive(Clone, Debug, Default)]
pub struct Durations {
    seen: BTreeMap<Kind, VecDeque<Span>>,
}

fn kind(known: &Workload) -> Option<Kind> {
    Some((Arc::clone(&known.spec.namespace), known.template.as_ref()?.likeness()))
}

impl Durations {
    /// A workload that was just seen for the first time had ended before: its record tells how long it took.
    pub fn note_record(&mut self, catalog: &Catalog, spec: &crate::model::spec::WorkloadSpec) {
        let record = &spec.record;
        if let (Some((FinishReason::Completed, ended)), Some(started)) = (record.finished, record.started_at)
        {
            self.note(catalog, &spec.uid, ended - started);
        }
    }

    /// A workload ended well after that long.
    pub fn note(&mut self, catalog: &Catalog, uid: &str, took: Span) {
        let Some(kind) = catalog.get(uid).and_then(kind) else { return };
        if self.seen.len() >= MOST_KINDS && !self.seen.contains_key(&kind) {
            return;
        }
        let all = self.seen.entry(kind).or_default();
        all.push_back(took);
        while all.len() > MOST_OF_A_KIND {
            all.pop_front();
        }
    }

    /// Whether anything was seen.
    pub fn is_empty(&self) -> bool {
        self.seen.is_empty()
    }

    /// How long workloads are expected to take by what was seen of others like them, by UID: the median.
    pub fn expected(&self, catalog: &Catalog) -> BTreeMap<Arc<str>, Span> {
        let mut expected = BTreeMap::new();
        if self.is_empty() {
            return expected;
        }
        // Templates are shared, so each is looked at once.
        let mut likeness: BTreeMap<*const Template, u64> = BTreeMap::new();
        for (uid, known) in catalog.workloads() {
            let Some(template) = &known.template else { continue };
            let like = *likeness.entry(Arc::as_ptr(template)).or_insert_with(|| template.likeness());
            let kind = (Arc::clone(&known.spec.namespace), like);
            if let Some(seen) = self.seen.get(&kind) {
                expected.insert(Arc::clone(uid), median(seen));
            }
        }
        expected
    }
}

fn median(seen: &VecDeque<Span>) -> Span {
    let mut all: Vec<Span> = seen.iter().copied().collect();
    all.sort();
    all.get(all.len().saturating_sub(1) / 2).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_one_that_was_seen() {
        let of = |all: &[i64]| median(&all.iter().map(|one| Span::seconds(*one)).collect());
        assert_eq!(of(&[30, 10, 20]), Span::seconds(20));
        assert_eq!(of(&[30, 10]), Span::seconds(10));
        assert_eq!(of(&[]), Span(0));
    }
}
