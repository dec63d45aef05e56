//! Namespaces: their labels, by which pools say who may submit.

use super::{arc, selectors};
use crate::api::pruned::Namespace;
use crate::model::delta::Delta;

/// A namespace that was seen.
pub fn namespace(namespace: &Namespace) -> Delta {
    Delta::Namespace {
        name: arc(namespace.metadata.name.as_ref()),
        labels: selectors::labels(&namespace.metadata),
    }
}

/// A namespace that is gone.
pub fn namespace_gone(namespace: &Namespace) -> Delta {
    Delta::NamespaceGone(arc(namespace.metadata.name.as_ref()))
}
