//! What the API server shows, as one stream: a list of each kind, and then its changes.
//!
//! Nothing is decided or kept here but the names of what was shown, so that a list read anew also says what is
//! gone. `kube::runtime::watcher` is not used: it swallows bookmarks, which are how a watch that hangs is told
//! from one that has nothing to say, and its lists may be older than the ledger that was read before them.

pub mod follow;
pub mod freshness;
pub mod known;
pub mod parse;
pub mod seen;
