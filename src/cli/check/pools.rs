//! What is wrong with pools only when they are seen together: the tree, and what adds up.

use std::collections::{BTreeMap, BTreeSet};

use crate::api::ResourcePool;
use crate::api::field::{FieldPath, Problems};
use crate::api::pool::PoolResource;
use crate::api::quantity::{Quantity, counted, shown_amount};

/// All pools among the files, by name.
pub struct Pools<'a> {
    by_name: BTreeMap<&'a str, &'a ResourcePool>,
    /// Those that are there, but too wrong to be read.
    broken: BTreeSet<&'a str>,
    children: BTreeMap<&'a str, Vec<&'a str>>,
}

/// A limit that somebody declared, and whose.
pub struct Limit<'a> {
    /// The pool.
    pub pool: &'a str,
    /// What it is called there.
    pub what: &'static str,
    /// In the unit of the resource.
    pub amount: i64,
}

fn name_of(pool: &ResourcePool) -> &str {
    pool.metadata.name.as_deref().unwrap_or_default()
}

/// What an entry says, where it can be counted; what cannot was reported by its rule.
fn amount(name: &str, quantity: Option<&Quantity>) -> Option<i64> {
    counted(name, quantity?.as_str()).ok()
}

impl<'a> Pools<'a> {
    /// The pools as a tree; `broken` are the names of those that could not be read.
    pub fn new(pools: &'a [ResourcePool], broken: &'a [String]) -> Self {
        let by_name: BTreeMap<_, _> = pools.iter().map(|pool| (name_of(pool), pool)).collect();
        let mut children: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (name, pool) in &by_name {
            if let Some(parent) = pool.spec.parent.as_deref() {
                children.entry(parent).or_default().push(name);
            }
        }
        Self { by_name, broken: broken.iter().map(String::as_str).collect(), children }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty() && self.broken.is_empty()
    }

    /// Whether a pool of that name is there, however wrong.
    pub fn is_there(&self, name: &str) -> bool {
        self.by_name.contains_key(name) || self.broken.contains(name)
    }

    /// The pool of a name.
    pub fn get(&self, name: &str) -> Option<&'a ResourcePool> {
        self.by_name.get(name).copied()
    }

    /// The pool and all above it, up to a root, a missing parent, or where a cycle closes.
    pub fn path(&self, name: &str) -> Vec<&'a ResourcePool> {
        let (mut path, mut seen, mut next) = (Vec::new(), BTreeSet::new(), self.get(name));
        while let Some(pool) = next.filter(|pool| seen.insert(name_of(pool))) {
            path.push(pool);
            next = pool.spec.parent.as_deref().and_then(|parent| self.get(parent));
        }
        path
    }

    /// The smallest limit on a resource that the pool or a pool above it declares. What a pool that is not expandable
    /// reserves is its limit too; with `reserved`, so is what any pool reserves, save for a root.
    pub fn smallest_limit(&self, name: &str, resource: &str, reserved: bool) -> Option<Limit<'a>> {
        let limits = self.path(name).into_iter().flat_map(|pool| {
            let own = entry(pool, resource).map(|(_, entry)| entry);
            let limit = own.and_then(|own| amount(resource, own.limit.as_ref()));
            let reservation = own.and_then(|own| amount(resource, own.reservation.as_ref())).unwrap_or(0);
            let binds = pool.spec.parent.is_some() && (reserved || !pool.spec.expandable);
            let metered = self.root(name).is_some_and(|root| entry(root, resource).is_some());
            let reservation = (binds && metered).then_some(("reservation", reservation));
            let capacity = own.and_then(|own| amount(resource, own.capacity.as_ref()));
            let limits = limit.map(|limit| ("limit", limit)).into_iter().chain(reservation);
            let limits = limits.chain(capacity.map(|capacity| ("capacity", capacity)));
            limits.map(move |(what, amount)| Limit { pool: name_of(pool), what, amount })
        });
        limits.min_by_key(|limit| limit.amount)
    }

    /// The root above a pool, if the whole way to it is there.
    pub fn root(&self, name: &str) -> Option<&'a ResourcePool> {
        self.path(name).pop().filter(|pool| pool.spec.parent.is_none())
    }

    /// Everything that is wrong with one pool as part of the tree.
    pub fn check(&self, pool: &'a ResourcePool, problems: &mut Problems) {
        self.place(pool, problems);
        if self.cycle(name_of(pool)).is_some() {
            // Sums and limits over a circle mean nothing.
            return;
        }
        self.reservations_below(pool, problems);
        self.entries(pool, problems);
    }

    fn place(&self, pool: &'a ResourcePool, problems: &mut Problems) {
        let spec = FieldPath::of("spec");
        match pool.spec.parent.as_deref() {
            None if pool.spec.nodes.is_none() => problems.add(
                spec,
                "a root without nodes.selector has no nodes: write nodes: {selector: {matchLabels: {...}}}, or a parent",
            ),
            None => {}
            Some(parent) if !self.is_there(parent) => problems.add(
                spec.key("parent"),
                format!("no pool {parent:?} is among the files: correct the name, or add the pool"),
            ),
            // That a pool is its own parent, its rule says.
            Some(parent) if parent == name_of(pool) => {}
            Some(_) => {
                if let Some(cycle) = self.cycle(name_of(pool)) {
                    problems.add(
                        spec.key("parent"),
                        format!("the pools form a circle: {}; take parent away from one of them", cycle.join(" -> ")),
                    );
                }
            }
        }
    }

    /// The circle that a pool is part of, from itself back to itself.
    fn cycle(&self, name: &str) -> Option<Vec<&'a str>> {
        let path = self.path(name);
        let last = path.last()?;
        (last.spec.parent.as_deref() == Some(name))
            .then(|| path.iter().chain(path.first()).map(|pool| name_of(pool)).collect())
    }

    /// What the children reserve must be there to be given.
    fn reservations_below(&self, pool: &'a ResourcePool, problems: &mut Problems) {
        let children = self.children.get(name_of(pool)).map(Vec::as_slice).unwrap_or_default();
        let mut sums: BTreeMap<&str, Vec<(&str, i64)>> = BTreeMap::new();
        for child in children.iter().filter_map(|child| self.get(child)) {
            for resource in &child.spec.resources {
                if let Some(amount) = amount(&resource.name, resource.reservation.as_ref())
                    && amount > 0
                {
                    sums.entry(&resource.name).or_default().push((name_of(child), amount));
                }
            }
        }
        for (resource, parts) in sums {
            let sum = parts.iter().fold(0_i64, |sum, (_, amount)| sum.saturating_add(*amount));
            let own = entry(pool, resource);
            let (field, most) = if pool.spec.parent.is_none() {
                // A root can give what it has; where it declares nothing only its nodes tell how much that is.
                let of = |quantity: Option<&Quantity>| amount(resource, quantity);
                let limit = own.and_then(|(_, own)| of(own.limit.as_ref())).map(|limit| (limit, "limit"));
                let capacity =
                    own.and_then(|(_, own)| of(own.capacity.as_ref())).map(|one| (one, "capacity"));
                let Some((most, what)) = limit.into_iter().chain(capacity).min() else { continue };
                (what, most)
            } else {
                ("reservation", own.and_then(|(_, r)| amount(resource, r.reservation.as_ref())).unwrap_or(0))
            };
            if sum > most {
                let list: Vec<_> =
                    parts.iter().map(|(n, a)| format!("{n} {}", shown_amount(resource, *a))).collect();
                let at = own.map_or_else(
                    || FieldPath::of("spec.resources"),
                    |(index, entry)| {
                        let at = FieldPath::of("spec.resources").index(index);
                        if field == "reservation" && entry.reservation.is_none() { at } else { at.key(field) }
                    },
                );
                problems.add(
                    at,
                    format!(
                        "the children reserve {} of {resource} ({}), more than the {field} of {}: lower them by {}, or raise it",
                        shown_amount(resource, sum),
                        list.join(", "),
                        shown_amount(resource, most),
                        shown_amount(resource, sum.saturating_sub(most)),
                    ),
                );
            }
        }
    }

    /// The pool's own entries against what stands above it.
    fn entries(&self, pool: &'a ResourcePool, problems: &mut Problems) {
        let Some(parent) = pool.spec.parent.as_deref() else { return };
        let root = self.root(name_of(pool));
        for (index, resource) in pool.spec.resources.iter().enumerate() {
            let at = FieldPath::of("spec.resources").index(index);
            if let Some(root) = root
                && entry(root, &resource.name).is_none()
            {
                problems.add(
                    at.key("name"),
                    format!(
                        "the root {:?} does not list {}, so it is not metered: add it to the root's resources",
                        name_of(root),
                        resource.name
                    ),
                );
                continue;
            }
            if let Some(reservation) = amount(&resource.name, resource.reservation.as_ref())
                && let Some(limit) = self.smallest_limit(parent, &resource.name, false)
                && reservation > limit.amount
            {
                problems.add(
                    at.key("reservation"),
                    format!(
                        "{} is more than the {} of {} of the pool {:?}: write at most that",
                        shown_amount(&resource.name, reservation),
                        limit.what,
                        shown_amount(&resource.name, limit.amount),
                        limit.pool
                    ),
                );
            }
        }
    }
}

fn entry<'a>(pool: &'a ResourcePool, resource: &str) -> Option<(usize, &'a PoolResource)> {
    pool.spec.resources.iter().enumerate().find(|(_, entry)| entry.name == resource)
}
