//! Why those of a class that was refused would be refused again: kept with the class, and held against what has changed since.
//! As long as it holds, they are not tried again.

use super::ids::PoolId;
use super::time::Time;

/// Why it would be refused again.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "controller", derive(serde::Serialize, serde::Deserialize))]
pub struct Proof {
    /// As many changes of another kind than that somebody leaves had been seen.
    pub upheavals: u64,
    /// Why it does not fit.
    pub now: Lack,
    /// Why nobody can make room for it.
    pub later: Hopeless,
    /// Who could have given way to it.
    pub rights: Rights,
    /// Pools that borrowed.
    pub borrowing: Vec<(PoolId, bool)>,
}

/// Why it does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "controller", derive(serde::Serialize, serde::Deserialize))]
pub enum Lack {
    /// A pool of its path has no quota left for it.
    Quota,
    /// Nodes take too few of its members: no more than so many places may be found beside them.
    Room(u32),
}

/// Why nobody can make room for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "controller", derive(serde::Serialize, serde::Deserialize))]
pub enum Hopeless {
    /// Even if all left who may, nodes would take too few: no more than so many places may be found beside those.
    Nodes(u32),
    /// There is nobody who could give way, and moves do not help, or nobody could move.
    Nobody {
        /// Moves would help.
        moves_help: bool,
    },
    /// Moves were looked for in vain, and are not looked for again before then, if they matter at all; and who could be evicted
    /// leaves too little.
    Rests {
        /// Until then; none where moves do not matter.
        until: Option<Time>,
        /// Even if all left who may be evicted, no more than so many places may be found beside those; none where there is nobody.
        spare: Option<u32>,
    },
}

/// Who may give way to one that waits, roughly: never fewer than do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(feature = "controller", derive(serde::Serialize, serde::Deserialize))]
pub struct Rights {
    /// Its pool.
    pub pool: PoolId,
    /// Those of its own pool below that priority.
    pub below: i32,
    /// All of its own pool.
    pub whole_pool: bool,
    /// Those that borrow beside it, at so many levels.
    pub levels: usize,
}

impl Rights {
    /// Whether somebody of that pool and priority might give way; `borrows` tells whether the pool uses more than it reserves.
    pub fn reach(&self, pool: PoolId, priority: i32, borrows: impl FnOnce() -> bool) -> bool {
        if pool == self.pool {
            self.whole_pool || priority < self.below
        } else {
            self.levels > 0 && borrows()
        }
    }
}

/// When moves are looked for again for a class for which none were found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "controller", derive(serde::Serialize, serde::Deserialize))]
pub struct Rest {
    /// Then.
    pub until: Time,
    /// How often they were looked for in vain.
    pub failures: u32,
    /// As many changes of another kind than that somebody leaves had been seen.
    pub upheavals: u64,
}
