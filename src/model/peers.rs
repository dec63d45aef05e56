//! Who is on which node, as far as others care: pods by namespace and labels, and what keeps others off.
//!
//! Pods that are alike are one entry with its number on each node, so that a term is matched once for all of
//! them. Members that are about to start count as their pods will.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::ids::{NodeId, PeerId, ShapeId, Slab, WorkloadId};
use super::lookup::Lookup;
use super::selector::NodeTerm;
use super::terms::{Namespaces, Neighbour, PodTerm};
use super::workloads::{Member, Slot, Workload};
use super::world::World;

/// How many alike are on one node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "controller", derive(serde::Serialize, serde::Deserialize))]
pub struct Here {
    /// All that have not ended.
    pub all: u32,
    /// Of these, those that are being deleted.
    pub ending: u32,
    /// Of these, members that are told to leave.
    pub leaving: u32,
}

/// Which of the numbers changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// [`Here::all`].
    All,
    /// [`Here::ending`].
    Ending,
    /// [`Here::leaving`].
    Leaving,
}

impl Here {
    fn change(&mut self, part: Part, add: bool) {
        let number = match part {
            Part::All => &mut self.all,
            Part::Ending => &mut self.ending,
            Part::Leaving => &mut self.leaving,
        };
        *number = if add { number.saturating_add(1) } else { number.saturating_sub(1) };
    }
}

/// On which nodes they are.
pub type On = BTreeMap<NodeId, Here>;

/// Pods that are alike.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "controller", derive(serde::Serialize, serde::Deserialize))]
pub struct Peer {
    /// As others see them.
    pub who: Arc<Neighbour>,
    /// Where they are.
    pub on: On,
    users: u32,
}

/// All pods that are on nodes.
#[derive(Clone, Debug, Default)]
#[cfg_attr(feature = "controller", derive(serde::Serialize, serde::Deserialize))]
pub struct Peers {
    all: Slab<Peer>,
    #[cfg_attr(feature = "controller", serde(with = "super::pairs::looked_up"))]
    ids: Lookup<Arc<Neighbour>, PeerId>,
    by_namespace: BTreeMap<Arc<str>, BTreeSet<PeerId>>,
    /// Required anti-affinity of pods that are there, by the namespaces that it names; under the empty name what
    /// selects namespaces.
    #[cfg_attr(feature = "controller", serde(with = "super::pairs::within"))]
    guards: BTreeMap<Arc<str>, BTreeMap<Arc<PodTerm>, On>>,
    /// Guards that came or went since this was last heeded.
    pub(crate) turned: BTreeSet<Arc<PodTerm>>,
}

impl Peers {
    /// The id of pods like this one, with one more user.
    pub fn intern(&mut self, who: &Arc<Neighbour>) -> PeerId {
        if let Some(id) = self.ids.get(who) {
            if let Some(peer) = self.all.get_mut(id.0) {
                peer.users += 1;
            }
            return *id;
        }
        let id = PeerId(self.all.insert(Peer { who: Arc::clone(who), on: On::new(), users: 1 }));
        self.ids.insert(Arc::clone(who), id);
        self.by_namespace.entry(Arc::clone(&who.namespace)).or_default().insert(id);
        id
    }

    /// One more user of what is interned already.
    pub fn keep(&mut self, id: PeerId) {
        if let Some(peer) = self.all.get_mut(id.0) {
            peer.users += 1;
        }
    }

    /// One user less; it goes with the last.
    pub fn release(&mut self, id: PeerId) {
        let Some(peer) = self.all.get_mut(id.0) else { return };
        peer.users = peer.users.saturating_sub(1);
        if peer.users > 0 {
            return;
        }
        let Some(Peer { who, .. }) = self.all.remove(id.0) else { return };
        self.ids.remove(&who);
        if let Some(here) = self.by_namespace.get_mut(&who.namespace) {
            here.remove(&id);
            if here.is_empty() {
                self.by_namespace.remove(&who.namespace);
            }
        }
    }

    /// Those of that id.
    pub fn get(&self, id: PeerId) -> Option<&Peer> {
        self.all.get(id.0)
    }

    /// Whether any pod keeps others off.
    pub fn has_guards(&self) -> bool {
        !self.guards.is_empty()
    }

    /// Counts one more on a node, or one less.
    pub fn shift(&mut self, id: PeerId, node: NodeId, part: Part, add: bool) {
        let Some(peer) = self.all.get_mut(id.0) else { return };
        change(&mut peer.on, node, part, add);
        if peer.who.apart.is_empty() {
            return;
        }
        let who = Arc::clone(&peer.who);
        for term in &who.apart {
            for key in keys_of(term) {
                let terms = self.guards.entry(Arc::clone(&key)).or_default();
                let there = terms.contains_key(term);
                let on = terms.entry(Arc::clone(term)).or_default();
                change(on, node, part, add);
                let stays = !on.is_empty();
                if !stays {
                    terms.remove(term);
                }
                if terms.is_empty() {
                    self.guards.remove(&key);
                }
                if stays != there {
                    self.turned.insert(Arc::clone(term));
                }
            }
        }
    }

    /// The pods that a term means.
    pub fn meant<'a>(
        &'a self,
        term: &'a PodTerm,
        namespaces: &'a Namespaces,
    ) -> impl Iterator<Item = &'a Peer> + 'a {
        let named = term.namespaces.iter().filter(|_| term.namespace_selector.is_none());
        let searched = self
            .by_namespace
            .keys()
            .filter(|one| term.namespace_selector.is_some() && term.covers(one, namespaces));
        self.selected(named.chain(searched), term.selector.as_ref())
    }

    /// The pods of some namespaces that a selector selects; none where there is no selector.
    pub fn selected<'a>(
        &'a self,
        namespaces: impl Iterator<Item = &'a Arc<str>> + 'a,
        selector: Option<&'a super::selector::LabelSelector>,
    ) -> impl Iterator<Item = &'a Peer> + 'a {
        namespaces
            .filter_map(|one| self.by_namespace.get(one))
            .flatten()
            .filter_map(|id| self.get(*id))
            .filter(move |peer| selector.is_some_and(|by| by.matches(&peer.who.labels)))
    }

    /// What keeps a pod off, and where it is.
    pub fn guards_against<'a>(
        &'a self,
        who: &'a Neighbour,
        namespaces: &'a Namespaces,
    ) -> impl Iterator<Item = (&'a Arc<PodTerm>, &'a On)> + 'a {
        let anywhere: Arc<str> = "".into();
        let keys = [Arc::clone(&who.namespace), anywhere];
        keys.into_iter()
            .filter_map(|key| self.guards.get(&key))
            .flatten()
            .filter(move |(term, _)| term.matches(who, namespaces))
    }

    /// What these indexes would be if they were made anew of `on`, where that differs.
    pub(super) fn audit(&self, mut on: BTreeMap<PeerId, On>, users: &BTreeMap<PeerId, u32>) -> Vec<String> {
        let mut wrong = Vec::new();
        let mut guards: BTreeMap<Arc<str>, BTreeMap<Arc<PodTerm>, On>> = BTreeMap::new();
        for (at, peer) in self.all.iter() {
            let id = PeerId(at);
            let should = on.remove(&id).unwrap_or_default();
            if peer.on != should {
                wrong.push(format!(
                    "pods like {:?}: are on {:?} and should be on {should:?}",
                    peer.who, peer.on
                ));
            }
            if users.get(&id) != Some(&peer.users) {
                wrong.push(format!(
                    "pods like {:?}: {} use it, not {:?}",
                    peer.who,
                    peer.users,
                    users.get(&id)
                ));
            }
            for term in &peer.who.apart {
                for key in keys_of(term) {
                    for (node, here) in &should {
                        let sum =
                            guards.entry(Arc::clone(&key)).or_default().entry(Arc::clone(term)).or_default();
                        let sum = sum.entry(*node).or_default();
                        sum.all += here.all;
                        sum.ending += here.ending;
                        sum.leaving += here.leaving;
                    }
                }
            }
        }
        if self.guards != guards {
            wrong.push(format!("guards are {:?} and should be {guards:?}", self.guards));
        }
        wrong
    }
}

/// Under which namespaces a guard is kept.
fn keys_of(term: &PodTerm) -> Vec<Arc<str>> {
    if term.namespace_selector.is_some() { vec!["".into()] } else { term.namespaces.clone() }
}

fn change(on: &mut On, node: NodeId, part: Part, add: bool) {
    let here = on.entry(node).or_default();
    here.change(part, add);
    if *here == Here::default() {
        on.remove(&node);
    }
}

/// Pods that came, went or began to leave since this was last heeded: more of all, and more that are ending.
pub(crate) type Moved = BTreeMap<(Arc<Neighbour>, NodeId), (i64, i64)>;

impl World {
    /// Counts one more of a kind of pods on a node, or one less.
    pub(crate) fn shift_peer(&mut self, id: PeerId, node: NodeId, part: Part, add: bool) {
        if self.shapes.has_social()
            && let Some(peer) = self.peers.get(id)
        {
            let moved = self.moved.entry((Arc::clone(&peer.who), node)).or_default();
            let one = if add { 1 } else { -1 };
            match part {
                Part::All => moved.0 += one,
                Part::Ending => moved.1 += one,
                Part::Leaving => {}
            }
        }
        self.peers.shift(id, node, part, add);
    }

    /// What may fit now that pods came or went for which those that wait look.
    pub(crate) fn heed_peers(&mut self) {
        let moved = std::mem::take(&mut self.moved);
        let heeded = moved
            .iter()
            .filter(|(_, more)| **more != (0, 0))
            .any(|((who, _), _)| self.shapes.social().any(|terms| terms.heeds(who, &self.namespaces)));
        if heeded {
            self.grow();
        }
    }

    /// Reckons the indexes of who is where anew, and tells what differs.
    pub(super) fn audit_peers(&self) -> Vec<String> {
        let mut on: BTreeMap<PeerId, On> = BTreeMap::new();
        let mut users: BTreeMap<PeerId, u32> = BTreeMap::new();
        let mut count = |peer: PeerId, node: NodeId, part: Part| {
            on.entry(peer).or_default().entry(node).or_default().change(part, true);
        };
        for pod in self.pods.values() {
            *users.entry(pod.peer).or_default() += 1;
            if let Some(node) = pod.node.filter(|_| !pod.phase.ended()) {
                count(pod.peer, node, Part::All);
                if pod.terminating {
                    count(pod.peer, node, Part::Ending);
                }
            }
        }
        let mut wrong = Vec::new();
        for (_, workload) in self.workloads.iter() {
            let stopping = matches!(workload.phase, super::workloads::Phase::Stopping { .. });
            if let Some(peer) = workload.peer {
                *users.entry(peer).or_default() += 1;
                // A place that is kept keeps others off as the member will.
                for node in &workload.nominated {
                    count(peer, *node, Part::All);
                }
            }
            for (index, member) in (0_u32..).zip(&workload.members) {
                let told = (stopping || workload.sheds(index)) && !workload.stubborn;
                let moves_on = member.moving.as_ref().is_some_and(|one| one.vacates());
                if let (Some(reserved), Some(peer)) = (self.reserves(member), workload.peer) {
                    count(peer, reserved.to, Part::All);
                }
                let pod = member.pod.as_ref().and_then(|uid| self.pods.get(uid));
                let (peer, node) = match member.slot {
                    Slot::Assumed(node) => (workload.peer, Some(node)),
                    Slot::Live => {
                        (pod.map(|pod| pod.peer), pod.filter(|pod| pod.loads()).and_then(|pod| pod.node))
                    }
                    Slot::Unplaced | Slot::Backoff(_) | Slot::Succeeded | Slot::Failed => (None, None),
                };
                let Some(node) = node else { continue };
                let Some(peer) = peer else {
                    wrong.push(format!(
                        "{}: a member is about to start and counted as nobody",
                        workload.title()
                    ));
                    continue;
                };
                if matches!(member.slot, Slot::Assumed(_)) {
                    count(peer, node, Part::All);
                }
                if member.terminating || told || moves_on {
                    count(peer, node, Part::Leaving);
                }
            }
        }
        wrong.extend(self.peers.audit(on, &users));
        wrong
    }

    /// A member of a workload as others will see it.
    pub(crate) fn as_neighbour(&self, id: WorkloadId) -> Neighbour {
        let Some(workload) = self.workload(id) else { return Neighbour::default() };
        let mut labels = (*workload.spec.labels).clone();
        let spec = &workload.spec;
        for (key, value) in [
            (crate::model::terms::POOL, &spec.pool),
            (crate::model::terms::WORKLOAD, &spec.name),
            (crate::model::terms::WORKLOAD_UID, &spec.uid),
        ] {
            labels.insert(key.into(), Arc::clone(value));
        }
        let terms =
            workload.shape.and_then(|shape| self.shapes.get(shape)).and_then(|one| one.spec.terms.as_ref());
        let apart = terms.map(|terms| terms.apart.iter().map(|(term, _)| Arc::clone(term)).collect());
        Neighbour { namespace: Arc::clone(&spec.namespace), labels, apart: apart.unwrap_or_default() }
    }

    /// The id under which members of a workload that are about to start are counted.
    pub(crate) fn peer_of(&mut self, id: WorkloadId) -> Option<PeerId> {
        let known = self.workload(id)?.peer;
        if known.is_some() {
            return known;
        }
        let who = Arc::new(self.as_neighbour(id));
        let peer = Some(self.peers.intern(&who));
        self.workload_mut(id)?.peer = peer;
        peer
    }

    /// Members of a workload are not about to start, or will look different.
    pub(crate) fn forget_peer(&mut self, id: WorkloadId) {
        let starts = |workload: &Workload| {
            let about_to = |one: &Member| matches!(one.slot, Slot::Assumed(_)) || one.moving.is_some();
            !workload.nominated.is_empty() || workload.members.iter().any(about_to)
        };
        let Some(workload) = self.workload_mut(id).filter(|workload| !starts(workload)) else { return };
        if let Some(peer) = workload.peer.take() {
            self.peers.release(peer);
        }
    }

    /// What keeps members of a workload off nodes, by required anti-affinity of pods that are there: each such
    /// term that means them, whether or not it hinders at present.
    pub(crate) fn guards_of(&self, id: WorkloadId) -> Vec<Arc<PodTerm>> {
        if !self.peers.has_guards() {
            return Vec::new();
        }
        let who = self.as_neighbour(id);
        let mut found: Vec<_> =
            self.peers.guards_against(&who, &self.namespaces).map(|(term, _)| Arc::clone(term)).collect();
        found.sort();
        found
    }

    /// Workloads that wait and that guards mean which came or went: they are decided alike with others than before.
    pub(crate) fn regroup(&mut self) -> bool {
        let turned = std::mem::take(&mut self.peers.turned);
        let mut meant: BTreeSet<WorkloadId> = BTreeSet::new();
        for term in &turned {
            let waiting = |id: &&WorkloadId| self.workload(**id).is_some_and(|one| one.place.is_some());
            if term.namespace_selector.is_some() {
                meant.extend(self.by_namespace.values().flatten().filter(waiting));
            } else {
                let named = term.namespaces.iter().filter_map(|name| self.by_namespace.get(name));
                meant.extend(named.flatten().filter(waiting));
            }
        }
        let mut moved = false;
        for id in meant {
            let Some(mut place) = self.workload(id).and_then(|workload| workload.place.clone()) else {
                continue;
            };
            let guards = self.guards_of(id);
            if place.class.guards == guards {
                continue;
            }
            place.class.guards = guards;
            let passed = self.pool(place.pool).and_then(|pool| pool.passed);
            let pool = place.pool;
            self.enqueue(id, place);
            if let Some(pool) = self.pools.get_mut(pool.0) {
                pool.passed = passed;
            }
            moved = true;
        }
        moved
    }

    /// A claim of volumes was bound to one that only some nodes reach; without terms it is bound to none such.
    pub(crate) fn claim_seen(&mut self, claim: &Arc<str>, terms: Option<&Arc<[NodeTerm]>>) {
        let before = match terms {
            Some(terms) => self.claims.insert(Arc::clone(claim), Arc::clone(terms)),
            None => self.claims.remove(claim),
        };
        if before.as_ref() == terms {
            return;
        }
        let used = |(_, shape): (ShapeId, &super::shapes::Shape)| shape.spec.uses(claim);
        if self.shapes.iter().any(used) {
            self.grow();
        }
        self.recheck_starting(claim);
    }
}
