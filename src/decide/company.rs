//! The pods around: what placing depends on beside the nodes themselves.
//!
//! Affinity to pods, anti-affinity of both sides and topology spread, with the meaning of kube-scheduler's
//! filters (`InterPodAffinity`, `PodTopologySpread`), and Weir's own: keeping a workload's members together and
//! spreading them. Each constraint is a count by domain, taken from the world once a question; a trial counts the
//! members that it has placed on top. Workloads that want nothing of all this, and that no pod keeps off, have no
//! company and cost nothing here.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::model::ids::{NodeId, WorkloadId};
use crate::model::nodes::Node;
use crate::model::peers::{Here, Peer};
use crate::model::refusal::NodeRejection;
use crate::model::selector::{Taint, TaintEffect, untolerated};
use crate::model::spec::{NodeSpec, ShapeSpec};
use crate::model::terms::{PodTerm, PodTerms, SpreadTerm};
use crate::model::workloads::{Slot, Workload};
use crate::model::world::World;

use super::gate::topology_key;
use super::place::{Horizon, Question, is_selected, suits};

/// What a pod that a preferred spread constraint counts weighs in its domain.
const SOFT_SPREAD_WEIGHT: i64 = 100;
/// Domains that are tried where members must share one and none is there yet.
const MOST_STARTS: usize = 16;

/// The values of one node label, numbered in their order, and the domain of each node.
#[derive(Clone, Debug)]
struct Axis {
    key: Arc<str>,
    of: Vec<Option<u32>>,
    domains: usize,
}

impl Axis {
    fn new(world: &World, key: &Arc<str>) -> Self {
        let value = |node: &Node| node.spec.as_ref()?.labels.get(key).cloned();
        let values: BTreeSet<Arc<str>> = world.nodes.iter().filter_map(|(_, node)| value(node)).collect();
        let numbers: BTreeMap<Arc<str>, u32> = values.into_iter().zip(0_u32..).collect();
        let mut of = Vec::new();
        for (at, node) in world.nodes.iter() {
            of.resize(at as usize, None);
            of.push(value(node).and_then(|value| numbers.get(&value).copied()));
        }
        Self { key: Arc::clone(key), of, domains: numbers.len() }
    }

    fn domain(&self, node: NodeId) -> Option<u32> {
        self.of.get(node.at()).copied().flatten()
    }
}

/// Pods of one kind, counted by domain.
#[derive(Clone, Debug)]
struct Counted {
    axis: usize,
    by_domain: Vec<u32>,
}

impl Counted {
    fn add(&mut self, axes: &[Axis], node: NodeId, count: u32) {
        let domain = axes.get(self.axis).and_then(|axis| axis.domain(node));
        if let Some(sum) = domain.and_then(|domain| self.by_domain.get_mut(domain as usize)) {
            *sum = sum.saturating_add(count);
        }
    }

    /// None where the node is in no domain.
    fn at(&self, axes: &[Axis], node: NodeId) -> Option<u32> {
        let domain = axes.get(self.axis)?.domain(node)?;
        self.by_domain.get(domain as usize).copied()
    }
}

/// One spread constraint.
#[derive(Clone, Debug)]
struct Spread {
    counted: Counted,
    /// Domains that are there for it.
    present: BTreeSet<u32>,
    /// Nodes that count.
    eligible: BTreeSet<NodeId>,
    max_skew: u32,
    min_domains: u32,
    /// Whether a member is one of those that are meant, and whether it is counted once it is there.
    own: bool,
    counts_own: bool,
    hard: bool,
    /// What the domain with the fewest has.
    least: u32,
}

impl Spread {
    /// Of members, hard.
    fn of(counted: Counted, eligible: BTreeSet<NodeId>) -> Self {
        let (max_skew, min_domains, own, counts_own, hard, least) = (1, 1, true, true, true, 0);
        let present = BTreeSet::new();
        Self { counted, present, eligible, max_skew, min_domains, own, counts_own, hard, least }
    }

    fn settle(&mut self) {
        let count = |domain: &u32| self.counted.by_domain.get(*domain as usize).copied().unwrap_or(0);
        let few = self.present.len() < self.min_domains as usize;
        self.least = if few { 0 } else { self.present.iter().map(count).min().unwrap_or(u32::MAX) };
    }

    fn refuses(&self, axes: &[Axis], node: NodeId) -> Option<NodeRejection> {
        let Some(count) = self.counted.at(axes, node) else {
            return Some(NodeRejection::TopologyLabelMissing);
        };
        let skew = i64::from(count) + i64::from(self.own) - i64::from(self.least);
        (skew > i64::from(self.max_skew)).then_some(NodeRejection::TopologySpread)
    }

    fn take(&mut self, axes: &[Axis], node: NodeId) {
        if self.counts_own && self.eligible.contains(&node) {
            self.counted.add(axes, node, 1);
            self.settle();
        }
    }
}

/// Members of one workload are kept together.
#[derive(Clone, Debug)]
struct Gather {
    /// Members of it that are placed.
    placed: Counted,
    /// The domains, the one to be filled first first.
    positions: Vec<usize>,
}

/// Everything around that matters for one workload at one time.
#[derive(Clone, Debug, Default)]
pub struct Company {
    axes: Vec<Axis>,
    near: Vec<Counted>,
    /// Some pod is wanted near and is there.
    near_met: bool,
    near_own: bool,
    apart: Vec<(Counted, bool)>,
    guards: Vec<Counted>,
    spread: Vec<Spread>,
    prefers: Vec<(i64, Counted, bool)>,
    gather: Option<Gather>,
    /// Only nodes of that domain.
    only: Option<(usize, u32)>,
}

/// How good a node is for a member by what is around it: less is better.
pub type Manners = (usize, i64);

/// What a node could take of members, in the order of the ranking.
pub struct Capacity {
    /// Which node.
    pub node: NodeId,
    /// How many members it has room for.
    pub members: u32,
}

impl Company {
    /// What is around for a workload; none if nothing of it matters.
    pub fn of(world: &World, id: WorkloadId, question: Question) -> Option<Self> {
        let workload = world.workload(id)?;
        let pool = world.pool(workload.pool?)?;
        let shape = world.shapes.get(question.shape)?;
        let key = topology_key(pool, workload);
        let guarded = world.peers.has_guards();
        let terms = shape.spec.terms.as_deref();
        if terms.is_none() && key.is_none() && workload.spec.spread.is_none() && !guarded {
            return None;
        }
        let mut company = Self::default();
        if guarded {
            company.add_guards(world, id, question.horizon);
        }
        if let Some(terms) = terms {
            company.add_terms(world, &shape.spec, terms, question.horizon);
        }
        if let Some((key, max_skew)) = &workload.spec.spread {
            company.add_own_spread(world, workload, question, &shape.spec, key, *max_skew);
        }
        if let Some(key) = key {
            let axis = company.axis(world, &key);
            let mut placed = company.counted(axis);
            for node in homes(world, workload) {
                placed.add(&company.axes, node, 1);
            }
            company.gather = Some(Gather { placed, positions: Vec::new() });
        }
        let empty = company.axes.is_empty();
        (!empty).then_some(company)
    }

    fn axis(&mut self, world: &World, key: &Arc<str>) -> usize {
        if let Some(at) = self.axes.iter().position(|axis| axis.key == *key) {
            return at;
        }
        self.axes.push(Axis::new(world, key));
        self.axes.len() - 1
    }

    fn counted(&self, axis: usize) -> Counted {
        let domains = self.axes.get(axis).map_or(0, |axis| axis.domains);
        Counted { axis, by_domain: vec![0; domains] }
    }

    fn count<'a>(
        &self,
        axis: usize,
        peers: impl Iterator<Item = &'a Peer>,
        of: impl Fn(&Here) -> u32,
    ) -> Counted {
        let mut counted = self.counted(axis);
        for peer in peers {
            for (node, here) in &peer.on {
                counted.add(&self.axes, *node, of(here));
            }
        }
        counted
    }

    fn add_guards(&mut self, world: &World, id: WorkloadId, horizon: Horizon) {
        let who = world.as_neighbour(id);
        for (term, on) in world.peers.guards_against(&who, &world.namespaces) {
            let axis = self.axis(world, &term.topology);
            let mut counted = self.counted(axis);
            for (node, here) in on {
                counted.add(&self.axes, *node, there(here, horizon));
            }
            self.guards.push(counted);
        }
    }

    fn add_terms(&mut self, world: &World, shape: &ShapeSpec, terms: &PodTerms, horizon: Horizon) {
        let PodTerms { namespace, near, near_own, apart, prefers, spread } = terms;
        let meant = |term| world.peers.meant(term, &world.namespaces);
        // Who is wanted near is meant by all terms at once.
        for term in near {
            let axis = self.axis(world, &term.topology);
            let all = |peer: &&Peer| near.iter().all(|one| one.matches(&peer.who, &world.namespaces));
            let counted = self.count(axis, meant(term).filter(all), |here| there(here, horizon));
            self.near_met |= counted.by_domain.iter().any(|count| *count > 0);
            self.near.push(counted);
        }
        // Whether its own labels are meant is known; whether its namespace is, hangs on that one's labels.
        let covers = |term: &PodTerm| term.covers(namespace, &world.namespaces);
        self.near_own = *near_own && near.iter().all(covers);
        for (term, own) in apart {
            let axis = self.axis(world, &term.topology);
            let counted = self.count(axis, meant(term), |here| there(here, horizon));
            self.apart.push((counted, *own && covers(term)));
        }
        for preference in prefers {
            let axis = self.axis(world, &preference.term.topology);
            let counted = self.count(axis, meant(&preference.term), |here| there(here, horizon));
            self.prefers.push((preference.weight, counted, preference.own && covers(&preference.term)));
        }
        for term in spread {
            self.add_spread(world, shape, namespace, term, spread, horizon);
        }
    }

    fn add_spread(
        &mut self,
        world: &World,
        shape: &ShapeSpec,
        namespace: &Arc<str>,
        term: &SpreadTerm,
        all: &[SpreadTerm],
        horizon: Horizon,
    ) {
        let axis = self.axis(world, &term.topology);
        let keys: Vec<&Arc<str>> =
            all.iter().filter(|one| one.hard == term.hard).map(|one| &one.topology).collect();
        let counts = |node: &Node| {
            node.spec.as_ref().is_some_and(|spec| {
                keys.iter().all(|key| spec.labels.contains_key(*key))
                    && (!term.heeds_affinity || is_selected(spec, shape))
                    && (!term.heeds_taints || is_tolerated(spec, shape))
            })
        };
        let eligible: BTreeSet<NodeId> =
            world.nodes.iter().filter(|(_, node)| counts(node)).map(|(at, _)| NodeId(at)).collect();
        let mut counted = self.counted(axis);
        // As in kube-scheduler, a selector without requirements counts nobody.
        let selector = term.selector.as_ref().filter(|by| !by.requirements.is_empty());
        for peer in world.peers.selected(std::iter::once(namespace), selector) {
            for (node, here) in peer.on.iter().filter(|(node, _)| eligible.contains(node)) {
                counted.add(&self.axes, *node, stays(here, horizon));
            }
        }
        let SpreadTerm { max_skew, min_domains, own, hard, .. } = *term;
        let counts_own = own && selector.is_some();
        let spread = Spread { max_skew, min_domains, own, counts_own, hard, ..Spread::of(counted, eligible) };
        self.push_spread(spread);
    }

    fn add_own_spread(
        &mut self,
        world: &World,
        workload: &Workload,
        question: Question,
        shape: &ShapeSpec,
        key: &Arc<str>,
        max_skew: u32,
    ) {
        let axis = self.axis(world, key);
        let nodes = world.sets.get(question.set.at()).map(|set| set.nodes.as_slice()).unwrap_or_default();
        let suited = |id: &NodeId| {
            let in_domain = self.axes.get(axis).is_some_and(|axis| axis.domain(*id).is_some());
            in_domain && world.node(*id).is_some_and(|node| suits(world, node, shape).is_none())
        };
        let eligible: BTreeSet<NodeId> = nodes.iter().map(|(_, id)| *id).filter(suited).collect();
        let mut counted = self.counted(axis);
        for node in homes(world, workload) {
            counted.add(&self.axes, node, 1);
        }
        self.push_spread(Spread { max_skew, ..Spread::of(counted, eligible) });
    }

    fn push_spread(&mut self, mut spread: Spread) {
        let axis = self.axes.get(spread.counted.axis);
        spread.present = spread.eligible.iter().filter_map(|node| axis?.domain(*node)).collect();
        spread.settle();
        self.spread.push(spread);
    }

    /// Why a node does not take a member beside those that were taken; in the order of kube-scheduler's filters.
    pub fn refuses(&self, node: NodeId) -> Option<NodeRejection> {
        let axes = &self.axes;
        let mut hard = self.spread.iter().filter(|spread| spread.hard);
        if let Some(rejection) = hard.find_map(|spread| spread.refuses(axes, node)) {
            return Some(rejection);
        }
        let counts = || self.near.iter().map(|counted| counted.at(axes, node));
        let first = !self.near_met && self.near_own;
        if counts().any(|count| count.is_none()) || !first && counts().any(|count| count == Some(0)) {
            return Some(NodeRejection::PodAffinity);
        }
        let taken = |counted: &Counted| counted.at(axes, node).is_some_and(|count| count > 0);
        if self.apart.iter().any(|(counted, _)| taken(counted)) {
            return Some(NodeRejection::PodAntiAffinity);
        }
        if self.guards.iter().any(taken) {
            return Some(NodeRejection::ExistingAntiAffinity);
        }
        let elsewhere =
            |(axis, domain): (usize, u32)| axes.get(axis).and_then(|axis| axis.domain(node)) != Some(domain);
        self.only.is_some_and(elsewhere).then_some(NodeRejection::PodAffinity)
    }

    /// Whether all nodes that take a member are equally good but for their ranking.
    pub fn is_flat(&self) -> bool {
        self.gather.is_none() && self.prefers.is_empty() && self.spread.iter().all(|spread| spread.hard)
    }

    /// How good a node is by what is around it.
    pub fn manners(&self, node: NodeId) -> Manners {
        let axes = &self.axes;
        let position = self.gather.as_ref().map_or(0, |gather| {
            let domain = axes.get(gather.placed.axis).and_then(|axis| axis.domain(node));
            domain.and_then(|domain| gather.positions.get(domain as usize)).copied().unwrap_or(usize::MAX)
        });
        let preferred = self.prefers.iter().map(|(weight, counted, _)| {
            -weight.saturating_mul(i64::from(counted.at(axes, node).unwrap_or(0)))
        });
        let soft = self.spread.iter().filter(|spread| !spread.hard).map(|spread| {
            let most = || spread.counted.by_domain.iter().max().map_or(1, |most| most.saturating_add(1));
            let count = spread.counted.at(axes, node).unwrap_or_else(most);
            SOFT_SPREAD_WEIGHT.saturating_mul(i64::from(count))
        });
        (position, preferred.chain(soft).fold(0, i64::saturating_add))
    }

    /// Counts a member as placed on a node.
    pub fn take(&mut self, node: NodeId) {
        let axes = &self.axes;
        if self.near_own {
            for counted in &mut self.near {
                counted.add(axes, node, 1);
                self.near_met = true;
            }
        }
        let apart = self.apart.iter_mut().filter(|(_, own)| *own).map(|(counted, _)| counted);
        let preferred = self.prefers.iter_mut().filter(|(.., own)| *own).map(|(_, counted, _)| counted);
        for counted in apart.chain(preferred) {
            counted.add(axes, node, 1);
        }
        for spread in &mut self.spread {
            spread.take(axes, node);
        }
    }

    /// Says in which order domains are filled so that `count` members are together: where most of the workload is;
    /// then those that hold all of them, best nodes first; then those that hold most.
    pub fn arrange(&mut self, nodes: &[Capacity], count: u32) {
        let Some(gather) = &mut self.gather else { return };
        let Some(axis) = self.axes.get(gather.placed.axis) else { return };
        gather.positions = vec![usize::MAX; axis.domains];
        for (position, domain) in order(axis, &gather.placed.by_domain, nodes, count).into_iter().enumerate()
        {
            if let Some(at) = gather.positions.get_mut(domain as usize) {
                *at = position;
            }
        }
    }

    /// Where to begin: in any domain; or, where members must be near each other and none is there yet, in one
    /// domain after the other, those first that hold all.
    pub fn starts(&self, nodes: &[Capacity], count: u32) -> Vec<Self> {
        let first = self.near.first().filter(|_| !self.near_met && self.near_own && count > 1);
        let Some((axis, domains)) = first.and_then(|first| {
            let axis = self.axes.get(first.axis)?;
            Some((first.axis, order(axis, &[], nodes, count)))
        }) else {
            return vec![self.clone()];
        };
        let starts = domains.into_iter().take(MOST_STARTS);
        starts.map(|domain| Self { only: Some((axis, domain)), ..self.clone() }).collect()
    }
}

/// Domains that have nodes which take members, in the order in which they are filled.
fn order(axis: &Axis, placed: &[u32], nodes: &[Capacity], count: u32) -> Vec<u32> {
    let mut holds: BTreeMap<u32, (u32, usize)> = BTreeMap::new();
    for (rank, one) in nodes.iter().enumerate() {
        if let Some(domain) = axis.domain(one.node) {
            let (sum, _) = holds.entry(domain).or_insert((0, rank));
            *sum = sum.saturating_add(one.members);
        }
    }
    let mut all: Vec<_> = holds
        .into_iter()
        .map(|(domain, (sum, rank))| {
            let there = placed.get(domain as usize).copied().unwrap_or(0);
            (Reverse(there), count.saturating_sub(sum), rank, domain)
        })
        .collect();
    all.sort_unstable();
    all.into_iter().map(|(.., domain)| domain).collect()
}

/// Whether a template tolerates all taints of a node that keep pods off, also those that mirror a cordon and want
/// of readiness.
fn is_tolerated(spec: &NodeSpec, shape: &ShapeSpec) -> bool {
    let mirror = |key: &str| Taint { key: key.into(), value: "".into(), effect: TaintEffect::NoSchedule };
    let cordon = spec.unschedulable.then(|| mirror("node.kubernetes.io/unschedulable"));
    let not_ready = spec.not_ready_since.map(|_| mirror("node.kubernetes.io/not-ready"));
    let mirrors: Vec<Taint> = cordon.into_iter().chain(not_ready).collect();
    [&spec.taints, &mirrors].into_iter().all(|taints| untolerated(taints, &shape.tolerations).is_none())
}

/// How many are there for affinity: also those that are being deleted, until they are gone.
fn there(here: &Here, horizon: Horizon) -> u32 {
    match horizon {
        Horizon::Now => here.all,
        Horizon::Later => here.all.saturating_sub(here.leaving),
    }
}

/// How many are there for a spread: those that stay.
fn stays(here: &Here, horizon: Horizon) -> u32 {
    let gone = match horizon {
        Horizon::Now => here.ending,
        Horizon::Later => here.ending.max(here.leaving),
    };
    here.all.saturating_sub(gone)
}

/// The nodes of those members of a workload that are placed and stay.
fn homes(world: &World, workload: &Workload) -> Vec<NodeId> {
    let staying = (0_u32..)
        .zip(&workload.members)
        .filter(|(index, member)| !member.terminating && !workload.sheds(*index))
        .map(|(_, member)| member);
    staying
        .filter_map(|member| match member.slot {
            Slot::Assumed(node) => Some(node),
            Slot::Live => world.pods.get(member.pod.as_ref()?).filter(|pod| pod.loads())?.node,
            Slot::Unplaced | Slot::Backoff(_) | Slot::Succeeded | Slot::Failed => None,
        })
        .collect()
}
