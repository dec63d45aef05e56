//! How old what we know is.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// When each watch was last heard, shared by the watches, the cycle and the metrics.
#[derive(Clone, Debug)]
pub struct Freshness {
    base: Instant,
    heard: Arc<[(&'static str, AtomicU64)]>,
}

/// The mark of one watch.
#[derive(Clone, Debug)]
pub struct Mark {
    all: Freshness,
    index: usize,
}

impl Freshness {
    /// One mark for each of these kinds, none of them heard yet.
    pub fn new(kinds: &[&'static str]) -> Self {
        let heard = kinds.iter().map(|kind| (*kind, AtomicU64::new(0))).collect();
        Self { base: Instant::now(), heard }
    }

    /// The mark of the kind at this place in the list given to [`Freshness::new`].
    pub fn mark(&self, index: usize) -> Mark {
        Mark { all: self.clone(), index }
    }

    /// How long each kind was silent.
    pub fn ages(&self) -> impl Iterator<Item = (&'static str, Duration)> + '_ {
        let now = Instant::now();
        self.heard.iter().map(move |(kind, heard)| {
            let at = self.base + Duration::from_millis(heard.load(Ordering::Relaxed));
            (*kind, now.saturating_duration_since(at))
        })
    }

    /// The watch that is silent for longest.
    pub fn oldest(&self) -> Option<(&'static str, Duration)> {
        self.ages().max_by_key(|(_, age)| *age)
    }
}

impl Mark {
    /// The watch was heard just now.
    pub fn heard(&self) {
        let millis = u64::try_from(self.all.base.elapsed().as_millis()).unwrap_or(u64::MAX);
        if let Some((_, heard)) = self.all.heard.get(self.index) {
            heard.store(millis, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_watch_counts() {
        let freshness = Freshness::new(&["Pod", "Node"]);
        std::thread::sleep(Duration::from_millis(30));
        freshness.mark(0).heard();
        let (kind, age) = freshness.oldest().unwrap();
        assert!(kind == "Node" && age >= Duration::from_millis(30), "{kind} {age:?}");
        freshness.mark(1).heard();
        assert!(freshness.ages().all(|(_, age)| age < Duration::from_millis(30)));
    }
}
