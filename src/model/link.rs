//! The tree of pools: parents and children, who is cut off, what each is granted.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::amount::{Amount, Limit};
use super::ids::{NodeSetId, PoolId, WorkloadId};
use super::nodes::NodeSet;
use super::pools::{Pool, Use};
use super::report::Overcommitted;
use super::resources::{Amounts, ResourceId};
use super::shapes::intern;
use super::spec::PoolSpec;
use super::world::World;

/// By name: whether a pool is cut off, and its path.
type Standings = BTreeMap<Arc<str>, (Option<Arc<str>>, Vec<PoolId>)>;

impl World {
    /// A pool was seen.
    pub(crate) fn pool_seen(&mut self, mut spec: PoolSpec) {
        let asked = spec.asked.take();
        let name = Arc::clone(&spec.name);
        let id = if let Some(id) = self.pool_ids.get(&name).copied() {
            if self.pool(id).is_some_and(|pool| pool.spec == spec) {
                return;
            }
            id
        } else {
            let mut pool = Pool::new(spec.clone());
            pool.balance.asked = asked;
            let id = PoolId(self.pools.insert(pool));
            self.pool_ids.insert(Arc::clone(&name), id);
            self.rename_pool(&name, Some(id));
            id
        };
        let reservation = spec
            .entitlements
            .iter()
            .map(|one| (self.resources.intern(&one.resource), one.reservation))
            .collect();
        let limits =
            spec.entitlements.iter().map(|one| (self.resources.intern(&one.resource), one.limit)).collect();
        let lending = spec
            .entitlements
            .iter()
            .filter_map(|one| match one.lending {
                Limit::At(most) => Some((self.resources.intern(&one.resource), most)),
                Limit::Unlimited => None,
            })
            .collect();
        let capacity = spec
            .entitlements
            .iter()
            .filter_map(|one| Some((self.resources.intern(&one.resource), one.capacity?)))
            .filter(|_| spec.parent.is_none())
            .collect();
        let max_per_workload = intern(&spec.max_resources_per_workload, &mut self.resources);
        if let Some(pool) = self.pools.get_mut(id.0) {
            pool.reservation = reservation;
            pool.limits = limits;
            pool.lending = lending;
            pool.capacity = capacity;
            pool.max_per_workload = max_per_workload;
            pool.spec = spec;
        }
        self.unlinked.insert(name);
        self.changed_pools.insert(id);
    }

    /// The pool of that name is gone. What runs in it goes on, charged to nobody.
    pub(crate) fn pool_gone(&mut self, name: &Arc<str>) {
        let Some(id) = self.pool_ids.get(name).copied() else { return };
        self.rename_pool(name, None);
        self.pool_ids.remove(name);
        self.reckon_labelled(|_, pool| pool == name);
        self.pools.remove(id.0);
        self.unlinked.insert(Arc::clone(name));
        self.changed_pools.remove(&id);
    }

    /// Moves the workloads that name a pool to it, or away from it.
    fn rename_pool(&mut self, name: &Arc<str>, pool: Option<PoolId>) {
        let workloads: Vec<WorkloadId> = self.by_pool.get(name).into_iter().flatten().copied().collect();
        for id in workloads {
            self.move_workload(id, pool);
        }
    }

    /// Charges a workload to another pool.
    pub(crate) fn move_workload(&mut self, id: WorkloadId, pool: Option<PoolId>) {
        self.nominate(id, Vec::new());
        self.dequeue(id);
        self.count_phase(id, false);
        self.with_members(id, |world| {
            if let Some(workload) = world.workload_mut(id) {
                workload.pool = pool;
            }
        });
        self.count_phase(id, true);
        self.attend(id);
    }

    /// Brings the tree up to date with the pools that were seen or are gone.
    pub(crate) fn link(&mut self) {
        self.release_detained();
        if self.unlinked.is_empty() {
            return;
        }
        let dirty = std::mem::take(&mut self.unlinked);
        let before: Standings = self
            .pools
            .iter()
            .map(|(_, pool)| (Arc::clone(&pool.spec.name), (pool.stalled.clone(), pool.path.clone())))
            .collect();
        self.find_parents();
        self.find_paths();
        self.find_sets_and_meters();
        self.sum_use();
        let sets = self.number_sets();
        self.rejoin_all(sets);
        self.reckon_labelled(|_, _| true);
        self.regrant = true;
        self.regate(&dirty, &before);
        self.grow();
    }

    fn find_parents(&mut self) {
        let links: Vec<(PoolId, Option<PoolId>)> = self
            .pool_ids
            .values()
            .filter_map(|id| {
                let parent = self.pool(*id)?.spec.parent.as_ref();
                Some((*id, parent.and_then(|parent| self.pool_ids.get(parent).copied())))
            })
            .collect();
        for (id, parent) in &links {
            if let Some(pool) = self.pools.get_mut(id.0) {
                pool.parent = *parent;
                pool.children.clear();
            }
        }
        for (id, parent) in links {
            if let Some(parent) = parent.and_then(|parent| self.pools.get_mut(parent.0)) {
                parent.children.push(id);
            }
        }
    }

    fn find_paths(&mut self) {
        self.roots.clear();
        let ids: Vec<PoolId> = self.pool_ids.values().copied().collect();
        for id in ids {
            let (path, stalled) = self.path_of(id);
            if path.len() == 1 && stalled.is_none() {
                self.roots.push(id);
            }
            if let Some(pool) = self.pools.get_mut(id.0) {
                pool.path = path;
                pool.stalled = stalled;
            }
        }
        self.cut_cycles();
    }

    /// Pools on a cycle are nobody's children, so that whoever walks down a tree comes to an end.
    fn cut_cycles(&mut self) {
        let is_own_ancestor = |id: PoolId| {
            let mut at = self.pool(id).and_then(|pool| pool.parent);
            let mut steps = self.pools.len();
            while let Some(above) = at.filter(|above| *above != id && steps > 0) {
                at = self.pool(above).and_then(|pool| pool.parent);
                steps -= 1;
            }
            at == Some(id)
        };
        let stalled =
            self.pool_ids.values().filter(|id| self.pool(**id).is_some_and(|pool| pool.stalled.is_some()));
        let cyclic: Vec<PoolId> = stalled.copied().filter(|id| is_own_ancestor(*id)).collect();
        for id in cyclic {
            let parent = self.pool(id).and_then(|pool| pool.parent);
            if let Some(parent) = parent.and_then(|parent| self.pools.get_mut(parent.0)) {
                parent.children.retain(|child| *child != id);
            }
        }
    }

    /// The way to the root, or to where it breaks off, and why it does.
    fn path_of(&self, id: PoolId) -> (Vec<PoolId>, Option<Arc<str>>) {
        let mut path = Vec::new();
        let mut at = id;
        loop {
            let Some(pool) = self.pool(at) else { return (path, None) };
            if path.contains(&at) {
                let names: Vec<&str> = path
                    .iter()
                    .chain([&at])
                    .filter_map(|id| self.pool(*id))
                    .map(|p| p.spec.name.as_ref())
                    .collect();
                let why = format!("spec.parent makes a cycle: {}", names.join(" -> "));
                return (vec![id], Some(Arc::from(why)));
            }
            path.push(at);
            if let Some(problem) = &pool.spec.problem {
                return (vec![id], Some(Arc::clone(problem)));
            }
            match (&pool.spec.parent, pool.parent) {
                (None, _) => return (path, None),
                (Some(_), Some(parent)) => at = parent,
                (Some(name), None) => {
                    let whose = if at == id {
                        "spec.parent".to_owned()
                    } else {
                        format!("spec.parent of pool {:?}, which is above,", pool.spec.name)
                    };
                    let why = format!("{whose} names {name:?}, and there is no pool of that name");
                    return (vec![id], Some(Arc::from(why)));
                }
            }
        }
    }

    fn find_sets_and_meters(&mut self) {
        let roots = self.roots.clone();
        let ids: Vec<PoolId> = self.pool_ids.values().copied().collect();
        for id in ids {
            if let Some(pool) = self.pools.get_mut(id.0) {
                pool.metered = Arc::from([]);
                pool.owns_nodes = false;
                pool.nodes = None;
            }
        }
        for root in roots {
            let metered: Arc<[ResourceId]> = self
                .pool(root)
                .map(|pool| {
                    pool.spec
                        .entitlements
                        .iter()
                        .filter_map(|one| self.resources.get(&one.resource))
                        .collect()
                })
                .unwrap_or_default();
            let mut open = vec![root];
            let mut tree = Vec::new();
            let mut bounds_lending = false;
            while let Some(id) = open.pop() {
                let Some(pool) = self.pools.get_mut(id.0) else { continue };
                pool.metered = Arc::clone(&metered);
                pool.owns_nodes = pool.spec.nodes.is_some();
                bounds_lending |= !pool.lending.is_empty();
                open.extend(&pool.children);
                tree.push(id);
            }
            let declared = self.pool(root).into_iter().flat_map(|pool| pool.capacity.keys().copied());
            let mut off_nodes: Vec<ResourceId> = ResourceId::DERIVED.into_iter().chain(declared).collect();
            off_nodes.sort_unstable();
            off_nodes.dedup();
            self.set_off_nodes(&tree, &off_nodes.into());
            if let Some(pool) = self.pools.get_mut(root.0) {
                pool.bounds_lending = bounds_lending;
            }
        }
    }

    /// Numbers the sets of nodes: one for each pool with a selector, shared by those below without one.
    fn number_sets(&mut self) -> Vec<NodeSet> {
        let mut sets = Vec::new();
        let mut open: Vec<(PoolId, Option<NodeSetId>)> =
            self.roots.iter().map(|root| (*root, None)).collect();
        while let Some((id, inherited)) = open.pop() {
            let Some(pool) = self.pools.get_mut(id.0) else { continue };
            pool.nodes = inherited;
            if pool.owns_nodes {
                pool.nodes = Some(NodeSetId(u32::try_from(sets.len()).unwrap_or(u32::MAX)));
                let mut balanced: Vec<ResourceId> = pool.metered.to_vec();
                balanced.extend([ResourceId::CPU, ResourceId::MEMORY]);
                balanced.retain(|one| *one != ResourceId::PODS && !pool.off_nodes.contains(one));
                balanced.sort_unstable();
                balanced.dedup();
                let off_nodes = Arc::clone(&pool.off_nodes);
                sets.push(NodeSet { balanced, off_nodes, ..NodeSet::default() });
            }
            open.extend(pool.children.iter().map(|child| (*child, pool.nodes)));
        }
        sets
    }

    /// Adds up use along the paths, which may be new.
    fn sum_use(&mut self) {
        let ids: Vec<PoolId> = self.pool_ids.values().copied().collect();
        for id in &ids {
            if let Some(pool) = self.pools.get_mut(id.0) {
                pool.all = Use::default();
            }
        }
        for id in ids {
            let Some(pool) = self.pool(id) else { continue };
            let (own, path) = (pool.own.clone(), pool.path.clone());
            for above in path {
                if let Some(above) = self.pools.get_mut(above.0) {
                    above.all.add(&own);
                }
            }
        }
    }

    /// Grants reservations from the roots down: what a parent has, children get in the order priority, weight, age,
    /// name.
    pub(crate) fn grant_all(&mut self) {
        if !std::mem::take(&mut self.regrant) {
            return;
        }
        for root in self.roots.clone() {
            self.grant(root);
        }
    }

    fn grant(&mut self, root: PoolId) {
        let Some(pool) = self.pool(root) else { return };
        let metered = Arc::clone(&pool.metered);
        let granted = metered
            .iter()
            .map(|resource| match self.limit(pool, *resource) {
                Limit::At(amount) => (*resource, amount),
                Limit::Unlimited => (*resource, Amount::MAX),
            })
            .collect();
        if let Some(pool) = self.pools.get_mut(root.0) {
            pool.granted = granted;
        }
        let mut open = vec![root];
        while let Some(id) = open.pop() {
            self.grant_children(id, &metered);
            open.extend(self.pool(id).map(|pool| pool.children.clone()).unwrap_or_default());
        }
    }

    fn grant_children(&mut self, id: PoolId, metered: &[ResourceId]) {
        let Some(pool) = self.pool(id) else { return };
        let mut left: Amounts = pool.granted.clone();
        let mut children = pool.children.clone();
        children.sort_by_key(|child| {
            self.pool(*child).map(|pool| {
                let spec = &pool.spec;
                (Reverse(spec.priority), Reverse(spec.weight), spec.created, Arc::clone(&spec.name))
            })
        });
        let mut promised = Amounts::new();
        let mut short: Vec<(ResourceId, Arc<str>, Amount, Amount)> = Vec::new();
        for child in children {
            let Some(pool) = self.pools.get_mut(child.0) else { continue };
            let mut granted = Amounts::new();
            for resource in metered {
                let own_limit = match pool.declared_limit(*resource) {
                    Limit::At(limit) => limit,
                    Limit::Unlimited => Amount::MAX,
                };
                let asked = pool.reservation.get(*resource).min(own_limit);
                let given = asked.min(left.get(*resource));
                if given < asked {
                    short.push((*resource, Arc::clone(&pool.spec.name), asked, given));
                }
                promised.set(*resource, promised.get(*resource) + asked);
                granted.set(*resource, given);
                left.set(*resource, left.get(*resource).less(given));
            }
            if pool.granted != granted {
                self.changed_pools.insert(child);
                pool.granted = granted;
            }
        }
        let Some(pool) = self.pools.get_mut(id.0) else { return };
        let over: Vec<Overcommitted> = metered
            .iter()
            .map(|resource| Overcommitted {
                resource: *resource,
                promised: promised.get(*resource),
                there: pool.granted.get(*resource),
                short: short
                    .iter()
                    .filter(|(of, ..)| of == resource)
                    .map(|(_, name, asked, given)| (Arc::clone(name), *asked, *given))
                    .collect(),
            })
            .filter(|one| one.promised > one.there)
            .collect();
        if pool.overcommitted != over {
            pool.overcommitted = over;
            self.changed_pools.insert(id);
        }
        pool.granted_own = left;
    }

    /// Looks again at all that wait in pools whose rules may have changed.
    fn regate(&mut self, dirty: &BTreeSet<Arc<str>>, before: &Standings) {
        let mut names = dirty.clone();
        let mut pools = Vec::new();
        for (id, pool) in self.pools.iter() {
            let moved = before.get(&pool.spec.name) != Some(&(pool.stalled.clone(), pool.path.clone()));
            let above = pool.path.iter().filter_map(|above| self.pool(*above));
            if moved || above.into_iter().any(|above| dirty.contains(&above.spec.name)) {
                names.insert(Arc::clone(&pool.spec.name));
                pools.push(PoolId(id));
            }
        }
        for name in names {
            let workloads: Vec<WorkloadId> = self.by_pool.get(&name).into_iter().flatten().copied().collect();
            for id in workloads {
                self.dequeue(id);
                self.attend(id);
            }
        }
        for id in pools {
            self.changed_pools.insert(id);
            if let Some(pool) = self.pools.get_mut(id.0) {
                pool.queue.unpark();
            }
        }
    }
}
