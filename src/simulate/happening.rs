//! What happens to a cluster from outside.

use std::sync::Arc;

use crate::model::delta::Delta;
use crate::model::spec::{NodeSpec, WorkloadSpec};

/// One thing that happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Happening {
    /// A workload is submitted; its time of creation becomes that at which it happens.
    Arrive(Box<WorkloadSpec>),
    /// Its user takes the workload of that UID away.
    Remove(Arc<str>),
    /// A node joins, or is another than it was.
    Join(Box<NodeSpec>),
    /// The node of that name falls silent.
    Fail(Arc<str>),
    /// It is back.
    Recover(Arc<str>),
    /// It is gone for good, with all that is on it.
    Leave(Arc<str>),
    /// It takes nothing new.
    Cordon(Arc<str>),
    /// It takes what fits again, and is drained no more.
    Uncordon(Arc<str>),
    /// It gives its members away.
    Drain(Arc<str>),
    /// Anything else that is seen.
    Told(Box<Delta>),
}
