//! Work that Weir did not start: objects of others that make pods and are labelled for a pool.
//!
//! Their pods are that pool's load from the moment they are seen on its nodes: charged along the tree whether or not
//! that passes a limit (nobody is asked, and nothing more is admitted until the excess is gone), and never evicted, so
//! that they count as what may not be preempted. Pods elsewhere take nothing of the pool and are only counted.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::ids::PoolId;
use super::pods::Pod;
use super::resources::Amounts;
use super::time::Time;
use super::world::World;

/// Kinds of objects that may be labelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "controller", derive(serde::Serialize, serde::Deserialize))]
pub enum MakerKind {
    /// `apps/v1` Deployment.
    Deployment,
    /// `batch/v1` Job.
    Job,
    /// `apps/v1` `StatefulSet`.
    StatefulSet,
    /// `kubevirt.io/v1` `VirtualMachine`.
    VirtualMachine,
}

impl MakerKind {
    /// The name of the kind.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Deployment => "Deployment",
            Self::Job => "Job",
            Self::StatefulSet => "StatefulSet",
            Self::VirtualMachine => "VirtualMachine",
        }
    }
}

/// An object that makes pods.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "controller", derive(serde::Serialize, serde::Deserialize))]
pub struct Maker {
    /// Its namespace.
    pub namespace: Arc<str>,
    /// What it is.
    pub kind: MakerKind,
    /// Its name.
    pub name: Arc<str>,
}

/// What one object has made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "controller", derive(serde::Serialize, serde::Deserialize))]
pub(crate) struct Made {
    /// The pool that it is labelled for.
    pub pool: Option<Arc<str>>,
    /// UIDs of its pods.
    pub pods: BTreeSet<Arc<str>>,
}

/// One labelled object as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Labelled {
    /// Which.
    pub maker: Arc<Maker>,
    /// Its pods that are charged.
    pub pods: u32,
    /// Its pods that take something of nodes which are not the pool's.
    pub elsewhere: u32,
    /// What is charged.
    pub charged: Amounts,
}

/// Why a label comes to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unheeded {
    /// There is no pool of that name.
    NoPool,
    /// The pool's `access.namespaces` does not select the namespace.
    Namespace,
}

impl World {
    /// An object was seen that is labelled for a pool, or is so no longer.
    pub(crate) fn labelled_seen(&mut self, maker: &Arc<Maker>, pool: Option<Arc<str>>) {
        let made = self.makers.entry(Arc::clone(maker)).or_default();
        if made.pool == pool {
            self.forget_maker(maker);
            return;
        }
        if let Some(before) = std::mem::replace(&mut made.pool, pool.clone()) {
            self.labelled.remove(&(before, Arc::clone(maker)));
        }
        self.labelled.extend(pool.map(|pool| (pool, Arc::clone(maker))));
        self.reckon_made(maker);
        self.forget_maker(maker);
        self.grow();
    }

    /// The pool that an object is labelled for, if its namespace may use it.
    ///
    /// # Errors
    /// Why the label comes to nothing.
    fn heeded(&self, maker: &Maker, pool: &str) -> Result<PoolId, Unheeded> {
        let id = self.pool_ids.get(pool).copied().ok_or(Unheeded::NoPool)?;
        let labels = self.namespaces.get(&maker.namespace);
        let may = self.pool(id).and_then(|pool| pool.spec.namespaces.as_ref()).zip(labels);
        if may.is_some_and(|(by, labels)| by.matches(labels)) { Ok(id) } else { Err(Unheeded::Namespace) }
    }

    /// Why the label of an object for `pool` comes to nothing, if it does.
    pub fn unheeded(&self, maker: &Maker, pool: &str) -> Option<Unheeded> {
        self.heeded(maker, pool).err()
    }

    /// The pool whose load a pod of others is, wherever it is.
    pub(crate) fn labelled_for(&self, pod: &Pod) -> Option<PoolId> {
        let maker = pod.maker.as_ref().filter(|_| pod.member.is_none())?;
        self.heeded(maker, self.makers.get(maker)?.pool.as_ref()?).ok()
    }

    /// The pool that a pod shall be charged to. Of the two pods of a machine that moves the older one is.
    fn charge_for(&self, uid: &Arc<str>, pod: &Pod) -> Option<PoolId> {
        let pool = self.labelled_for(pod)?;
        let counts = |pod: &Pod| {
            pod.node.filter(|_| pod.loads()).is_some_and(|node| self.counts_as_member(node, Some(pool)))
        };
        let machine = pod.maker.as_ref().filter(|maker| maker.kind == MakerKind::VirtualMachine);
        let mut made =
            machine.and_then(|maker| self.makers.get(maker)).into_iter().flat_map(|made| &made.pods);
        let older = |other: &Arc<str>| {
            self.pods.get(other).is_some_and(|one| (one.created, other) < (pod.created, uid) && counts(one))
        };
        (counts(pod) && !made.any(older)).then_some(pool)
    }

    /// Brings the charge of a pod of others up to date.
    pub(crate) fn charge_pod(&mut self, uid: &Arc<str>) {
        let Some(pod) = self.pods.get(uid) else { return };
        let wanted = self.charge_for(uid, pod);
        if pod.charged_to == wanted {
            return;
        }
        let pod = pod.clone();
        self.discharge(&pod);
        if let Some(seen) = self.pods.get_mut(uid) {
            seen.charged_to = wanted;
        }
        if let (Some(pool), Some(maker)) = (wanted, &pod.maker) {
            self.charge_made(pool, maker, &pod.requests, true);
        }
    }

    /// Takes the charge of a pod off its pool.
    pub(crate) fn discharge(&mut self, pod: &Pod) {
        if let (Some(pool), Some(maker)) = (pod.charged_to, &pod.maker) {
            self.charge_made(pool, maker, &pod.requests, false);
            self.grow_by_leaving();
        }
    }

    fn charge_made(&mut self, pool: PoolId, maker: &Maker, requests: &Amounts, add: bool) {
        self.change_use(pool, |sum| {
            if add {
                sum.used.add(requests);
                sum.firm.add(requests);
            } else {
                sum.used.take(requests);
                sum.firm.take(requests);
            }
        });
        let Some(pool) = self.pools.get_mut(pool.0) else { return };
        let used = pool.used_in.entry(Arc::clone(&maker.namespace)).or_default();
        if add {
            used.add(requests);
        } else {
            used.take(requests);
            if used.is_zero() {
                pool.used_in.remove(&maker.namespace);
            }
        }
    }

    /// Lists a pod with what made it, or takes it from there.
    pub(crate) fn list_made(&mut self, uid: &Arc<str>, maker: Option<&Arc<Maker>>, add: bool) {
        let Some(maker) = maker else { return };
        if add {
            self.makers.entry(Arc::clone(maker)).or_default().pods.insert(Arc::clone(uid));
        } else if let Some(made) = self.makers.get_mut(maker) {
            made.pods.remove(uid);
            self.forget_maker(maker);
        }
    }

    /// A pod of others has changed, or is gone.
    pub(crate) fn charge_made_by(&mut self, uid: &Arc<str>, maker: Option<&Arc<Maker>>) {
        self.charge_pod(uid);
        let machine = maker.filter(|maker| maker.kind == MakerKind::VirtualMachine);
        let made = machine.and_then(|maker| self.makers.get(maker)).map(|made| made.pods.clone());
        // Of a machine that has moved, the pod that it moved to is charged now.
        made.iter().flatten().for_each(|other| self.charge_pod(other));
    }

    fn forget_maker(&mut self, maker: &Maker) {
        if self.makers.get(maker).is_some_and(|made| made.pool.is_none() && made.pods.is_empty()) {
            self.makers.remove(maker);
        }
    }

    /// Reckons anew what the pods of one object are charged to, and whose load they are.
    fn reckon_made(&mut self, maker: &Arc<Maker>) {
        self.changed.labels.insert(Arc::clone(maker));
        let pods: Vec<Arc<str>> =
            self.makers.get(maker).into_iter().flat_map(|made| made.pods.iter().cloned()).collect();
        let nodes: BTreeSet<_> = pods
            .iter()
            .filter_map(|uid| self.pods.get(uid))
            .filter(|pod| pod.loads())
            .filter_map(|pod| pod.node)
            .collect();
        for node in nodes {
            self.recount_members(node);
        }
        // What is charged to a pool that it is labelled for no longer is taken off first, also where pods are not counted.
        for uid in &pods {
            self.charge_pod(uid);
        }
        self.changed_pools.extend(
            self.makers
                .get(maker)
                .and_then(|made| made.pool.as_ref())
                .and_then(|pool| self.pool_ids.get(pool))
                .copied(),
        );
    }

    /// The same for all objects that `which` chooses and that are labelled.
    pub(crate) fn reckon_labelled(&mut self, which: impl Fn(&Maker, &Arc<str>) -> bool) {
        let labelled = self.labelled.iter().filter(|(pool, maker)| which(maker, pool));
        let makers: Vec<Arc<Maker>> = labelled.map(|(_, maker)| Arc::clone(maker)).collect();
        for maker in &makers {
            self.reckon_made(maker);
        }
    }

    /// The objects that are labelled for a pool and heeded, by namespace, kind and name.
    pub(crate) fn labelled_in(&self, pool: &str) -> Vec<Labelled> {
        let of_pool = self.labelled.iter().filter(|(of, _)| **of == *pool);
        let labelled = of_pool.filter_map(|(_, maker)| {
            self.heeded(maker, pool).ok()?;
            Some((maker, self.makers.get(maker)?))
        });
        labelled
            .map(|(maker, made)| {
                let mut one =
                    Labelled { maker: Arc::clone(maker), pods: 0, elsewhere: 0, charged: Amounts::new() };
                for pod in made.pods.iter().filter_map(|uid| self.pods.get(uid)).filter(|pod| pod.loads()) {
                    if pod.charged_to.is_some() {
                        one.pods += 1;
                        one.charged.add(&pod.requests);
                    } else if !pod.counted && pod.node.is_some() {
                        one.elsewhere += 1;
                    }
                }
                one
            })
            .collect()
    }

    /// What labelled objects are charged, of a pool and those below it.
    pub(crate) fn charged_to_labelled(&self, pool: PoolId) -> Amounts {
        let mut sum = Amounts::new();
        let made = self.labelled.iter().filter_map(|(_, maker)| self.makers.get(maker));
        let charged = made.flat_map(|made| &made.pods);
        for pod in charged.filter_map(|uid| self.pods.get(uid)) {
            let above = pod.charged_to.and_then(|id| self.pool(id)).map(|own| &own.path);
            if above.is_some_and(|path| path.contains(&pool)) {
                sum.add(&pod.requests);
            }
        }
        sum
    }

    /// Charges of pods of others as they should be: pool and namespace to amounts. Reckoned from what was seen alone.
    pub(crate) fn expected_of_labelled(&self) -> BTreeMap<(PoolId, Arc<str>), Amounts> {
        let mut expected: BTreeMap<(PoolId, Arc<str>), Amounts> = BTreeMap::new();
        let mut machines: BTreeMap<&Maker, (Time, &Arc<str>, PoolId, &Amounts)> = BTreeMap::new();
        for (uid, pod) in
            self.pods.iter().filter(|(_, pod)| !pod.phase.ended() && !pod.lost && pod.member.is_none())
        {
            let Some(maker) = &pod.maker else { continue };
            let Some(name) = self.makers.get(maker).and_then(|made| made.pool.as_ref()) else { continue };
            let Some((id, pool)) = self.pool_ids.get(name).and_then(|id| Some((*id, self.pool(*id)?))) else {
                continue;
            };
            let root = pod.node.and_then(|node| self.node(node)?.root);
            let open = pool.spec.namespaces.as_ref().zip(self.namespaces.get(&maker.namespace));
            if root.is_none() || root != pool.root() || !open.is_some_and(|(by, labels)| by.matches(labels)) {
                continue;
            }
            if maker.kind == MakerKind::VirtualMachine {
                let one = machines.entry(maker).or_insert((pod.created, uid, id, &pod.requests));
                if (pod.created, uid) < (one.0, one.1) {
                    *one = (pod.created, uid, id, &pod.requests);
                }
                continue;
            }
            expected.entry((id, Arc::clone(&maker.namespace))).or_default().add(&pod.requests);
        }
        for (maker, (_, _, pool, requests)) in machines {
            expected.entry((pool, Arc::clone(&maker.namespace))).or_default().add(requests);
        }
        expected
    }
}
