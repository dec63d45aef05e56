//! The pools as a tree, for tables.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::observe::catalog::{Catalog, Pool};

/// All pools, each after the one above it, and how many are above it. A pool whose parent is not there stands at the top.
pub fn tree(catalog: &Catalog) -> Vec<(&Pool, usize)> {
    let mut below: BTreeMap<Option<Arc<str>>, Vec<&Pool>> = BTreeMap::new();
    for (_, pool) in catalog.pools() {
        let parent = pool.spec.parent.clone().filter(|parent| catalog.get_pool(parent).is_some());
        below.entry(parent).or_default().push(pool);
    }
    let mut rows = Vec::new();
    let mut open: Vec<(&Pool, usize)> =
        below.remove(&None).into_iter().flatten().rev().map(|pool| (pool, 0)).collect();
    while let Some((pool, depth)) = open.pop() {
        let children = below.remove(&Some(Arc::clone(&pool.spec.name))).into_iter().flatten();
        open.extend(children.rev().map(|child| (child, depth + 1)));
        rows.push((pool, depth));
    }
    // What forms a circle is below nothing.
    rows.extend(below.into_values().flatten().map(|pool| (pool, 0)));
    rows
}
