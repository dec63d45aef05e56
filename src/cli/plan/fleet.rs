//! Work, the nodes that are there and the kinds that can be had, as programmes and the simulator take them.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::bail;
use serde_json::{Map, Value, json};

use super::super::load::Loaded;
use super::super::say;
use super::search::{Found, Search};
use super::{Offer, Plan};
use crate::api::quantity::counted;
use crate::model::resources::DERIVED_NAMES;
use crate::model::selector::Operator;
use crate::model::spec::NamedAmounts;
use crate::model::time::Span;
use crate::model::world::World;
use crate::optimise::capacity::{Kind, Work, cover, fit};

/// Nodes that are tried at most.
pub(super) const MOST_NODES: u32 = 20_000;
/// Prices in parts of that.
const PARTS: f64 = 1000.0;

/// Work, and the kinds of nodes that it may have.
pub struct Fleet {
    loaded: Loaded,
    pub(super) offers: Vec<Offer>,
    pub(super) wait: Span,
    /// Nodes that are there already.
    pub(super) there: usize,
    pub(super) default_duration: Option<Span>,
    /// Kinds of nodes that are there already, then those of the offers.
    kinds: Vec<Kind>,
    /// How many of them are there already.
    known: usize,
    pub(super) works: Vec<Load>,
    resources: Vec<String>,
    labels: BTreeMap<String, String>,
}

/// Workloads with equal members that run equally long.
pub(super) struct Load {
    pub(super) work: Work,
    /// Members without which they do not start.
    least: u32,
    duration: Option<Span>,
    /// One of them.
    title: String,
}

impl Fleet {
    /// Reads the work out of a world.
    ///
    /// # Errors
    /// What no kind of node takes.
    pub fn new(
        loaded: Loaded,
        offers: Vec<Offer>,
        wait: Span,
        default_duration: Option<Span>,
    ) -> anyhow::Result<Self> {
        let world = &loaded.world;
        let mut classes: BTreeMap<(NamedAmounts, Option<Span>), Load> = BTreeMap::new();
        for (_, workload) in world.workloads.iter() {
            let spec = &workload.spec;
            let title = format!("{}/{}", spec.namespace, spec.name);
            let shape = match &spec.shape {
                Ok(shape) => shape,
                Err(problem) => bail!("{title} cannot be planned for: {problem}"),
            };
            let duration = spec.expected_duration.or(default_duration);
            let load = classes.entry((shape.requests.clone(), duration)).or_insert_with(|| Load {
                work: Work { ask: Vec::new(), members: 0 },
                least: 0,
                duration,
                title,
            });
            load.work.members = load.work.members.saturating_add(spec.replicas);
            load.least = load.least.saturating_add(spec.min_replicas);
        }
        if classes.is_empty() {
            bail!("there is no workload to plan for: give manifests of workloads and their pools with --for");
        }
        let mut resources: Vec<String> =
            offers.iter().flat_map(|offer| offer.allocatable.keys().cloned()).collect();
        resources.extend(classes.keys().flat_map(|(asks, _)| asks.keys().map(ToString::to_string)));
        resources.sort();
        resources.dedup();
        // What no node offers is not the nodes' to have.
        let declared = world.pools.iter().flat_map(|(_, pool)| &pool.spec.entitlements);
        let declared = declared.filter(|one| one.capacity.is_some()).map(|one| &*one.resource);
        let off: Vec<&str> = declared.chain(DERIVED_NAMES).collect();
        resources.retain(|name| !off.contains(&name.as_str()));
        for ((asks, _), load) in &mut classes {
            let ask = |name: &String| asks.get(name.as_str()).map_or(0, |amount| amount.units());
            load.work.ask = resources.iter().map(ask).collect();
        }
        let mut kinds = there(world, &resources);
        let known = kinds.len();
        kinds.extend(offers.iter().map(|offer| kind(offer, &resources)));
        let mut labels = BTreeMap::new();
        for (_, pool) in world.pools.iter() {
            for wanted in pool.spec.nodes.iter().flat_map(|selector| &selector.requirements) {
                if let (Operator::In, [value]) = (&wanted.operator, wanted.values.as_slice()) {
                    labels.entry(wanted.key.to_string()).or_insert_with(|| value.to_string());
                }
            }
        }
        let there = world.nodes.len();
        let works = classes.into_values().collect();
        Ok(Self { loaded, offers, wait, there, default_duration, kinds, known, works, resources, labels })
    }

    /// Workloads that are planned for.
    pub fn workloads(&self) -> usize {
        self.loaded.world.workloads.len()
    }

    /// The cheapest nodes that were found within that time.
    ///
    /// # Errors
    /// What stands in the way, if no nodes do.
    pub fn plan(&self, limit: Duration) -> anyhow::Result<Plan> {
        self.check_sizes()?;
        let mut search = Search::new(self, limit);
        let there = if self.there > 0 { search.none()? } else { None };
        let (Found { nodes, longest, late }, bound) = if let Some(found) = there {
            (found, 0.0)
        } else {
            let plenty = search.plenty()?;
            let bound = self.bound(search.solve());
            (search.run(plenty)?, bound)
        };
        let cost = self.cost(&nodes);
        Ok(Plan { nodes, cost, bound: bound.min(cost), longest, late })
    }

    fn cost(&self, nodes: &[u32]) -> f64 {
        self.offers.iter().zip(nodes).map(|(offer, count)| offer.price * f64::from(*count)).sum()
    }

    /// Whether there is a kind that has room for a member of each.
    fn check_sizes(&self) -> anyhow::Result<()> {
        for load in &self.works {
            if self.kinds.iter().any(|kind| fit(&load.work, kind) >= 1) {
                continue;
            }
            for (at, (name, ask)) in self.resources.iter().zip(&load.work.ask).enumerate() {
                let names = self.offers.iter().map(|offer| &*offer.name);
                let names = std::iter::repeat_n("there already", self.known).chain(names);
                let most = self.kinds.iter().zip(names).max_by_key(|(kind, _)| kind.offers[at]);
                let Some((kind, offer)) = most else { continue };
                if kind.offers[at] < *ask {
                    bail!(
                        "no kind of node takes {}: a member asks for {} of {name} on one node, and the most that a kind has is {} ({})",
                        load.title,
                        shown(name, *ask),
                        shown(name, kind.offers[at]),
                        offer
                    );
                }
            }
            let asks = self.resources.iter().zip(&load.work.ask).filter(|(_, ask)| **ask > 0);
            let asks: Vec<String> =
                asks.map(|(name, ask)| format!("{} of {name}", shown(name, *ask))).collect();
            bail!(
                "no kind of node takes {}: a member asks for {} on one node, and no kind has all of it",
                load.title,
                asks.join(", ")
            );
        }
        Ok(())
    }

    /// What no nodes cost less than; nothing, where that is not found in time. All that may not have ended when the last must
    /// start runs at once then; and of all work what must be done until the last has ended is an area, over that time.
    fn bound(&self, limit: Duration) -> f64 {
        let at_once = |load: &Load| load.duration.is_none_or(|duration| duration > self.wait);
        let together: Vec<f64> =
            self.works.iter().map(|load| if at_once(load) { 1.0 } else { 0.0 }).collect();
        let least = |load: &Load| Work { members: load.least, ..load.work.clone() };
        let least: Vec<Work> = self.works.iter().map(least).collect();
        let found = [together, self.area()].into_iter().map(|shares| {
            cover(&self.kinds, &least, &shares, false, limit).map_or(0.0, |found| found.cost / PARTS)
        });
        found.fold(0.0, f64::max)
    }

    /// The cheapest nodes beside those that are there whose room, added up, takes a share of each kind of work.
    pub(super) fn candidate(&self, shares: &[f64], limit: Duration) -> Option<Vec<u32>> {
        let works: Vec<Work> = self.works.iter().map(|load| load.work.clone()).collect();
        let found = cover(&self.kinds, &works, shares, true, limit)?;
        Some(found.nodes.into_iter().skip(self.known).collect())
    }

    /// The kinds of the offers.
    pub(super) fn kinds_to_have(&self) -> &[Kind] {
        self.kinds.get(self.known..).unwrap_or_default()
    }

    /// All that can be had.
    pub(super) fn at_most(&self) -> Vec<u32> {
        self.kinds_to_have().iter().map(|kind| kind.most).collect()
    }

    /// The share of each kind of work that must run in the mean until the last has ended.
    pub(super) fn area(&self) -> Vec<f64> {
        let longest = self.works.iter().filter_map(|load| load.duration).max().unwrap_or_default();
        let whole = (self.wait.0 + longest.0).max(1) as f64;
        let share = |load: &Load| load.duration.map_or(1.0, |duration| duration.0 as f64 / whole);
        self.works.iter().map(share).collect()
    }

    /// A resource of which all nodes that may be had have less than what must run at the same time.
    pub(super) fn short_sum(&self) -> Option<String> {
        let at_once = self.works.iter().filter(|load| load.duration.is_none_or(|lasts| lasts > self.wait));
        let asked = |at: usize| -> i128 {
            at_once.clone().map(|load| i128::from(load.work.ask[at]) * i128::from(load.least)).sum()
        };
        let there = |at: usize| -> i128 {
            self.kinds.iter().map(|kind| i128::from(kind.offers[at]) * i128::from(kind.most)).sum()
        };
        let (at, name) = self.resources.iter().enumerate().find(|(at, _)| asked(*at) > there(*at))?;
        let say = |amount: i128| shown(name, i64::try_from(amount).unwrap_or(i64::MAX));
        Some(format!(
            "the work asks for {} of {name}, and all kinds at their `most` have {}{}",
            say(asked(at)),
            say(there(at)),
            if self.known > 0 { ", with the nodes that are there" } else { "" }
        ))
    }

    /// The world with so many nodes of each kind.
    pub(super) fn with(&self, nodes: &[u32]) -> anyhow::Result<Loaded> {
        let mut loaded = self.loaded.clone();
        for (offer, count) in self.offers.iter().zip(nodes) {
            for number in 0..*count {
                loaded.manifest(self.node(offer, number))?;
            }
        }
        loaded.settle();
        Ok(loaded)
    }

    fn node(&self, offer: &Offer, number: u32) -> Value {
        let mut labels: Map<String, Value> = Map::new();
        labels.extend(self.labels.iter().map(|(key, value)| (key.clone(), json!(value))));
        labels.extend(offer.labels.iter().map(|(key, value)| (key.clone(), json!(value))));
        let allocatable: Map<String, Value> = offer
            .allocatable
            .iter()
            .map(|(name, quantity)| (name.clone(), json!(quantity.as_str())))
            .collect();
        json!({
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": format!("{}-{number:05}", offer.name), "labels": labels},
            "status": {"allocatable": allocatable, "capacity": allocatable},
        })
    }
}

/// The nodes of a world that pools have, taken together where they have as much room for work. They cost nothing.
fn there(world: &World, resources: &[String]) -> Vec<Kind> {
    let mut alike: BTreeMap<Vec<i64>, u32> = BTreeMap::new();
    for (_, node) in world.nodes.iter().filter(|(_, node)| node.is_open() && node.root.is_some()) {
        let room = |name: &String| {
            let Some(resource) = world.resources.get(name) else { return 0 };
            // Members of workloads are planned for.
            let others = node.load.get(resource).less(node.member_load.get(resource));
            node.allocatable.get(resource).less(others).units().max(0)
        };
        *alike.entry(resources.iter().map(room).collect()).or_default() += 1;
    }
    alike.into_iter().map(|(offers, most)| Kind { price: 0, offers, most }).collect()
}

fn kind(offer: &Offer, resources: &[String]) -> Kind {
    let offered = |name: &String| match offer.allocatable.get(name) {
        Some(quantity) => counted(name, quantity.as_str()).unwrap_or(0),
        // As the loader has it for nodes that do not say.
        None if name == "pods" => 110,
        None => 0,
    };
    #[allow(clippy::cast_possible_truncation, reason = "prices are bounded when they are read")]
    let price = (offer.price * PARTS).round().max(1.0) as i64;
    Kind {
        price,
        offers: resources.iter().map(offered).collect(),
        most: offer.most.unwrap_or(MOST_NODES).min(MOST_NODES),
    }
}

fn shown(name: &str, units: i64) -> String {
    #[allow(clippy::cast_precision_loss, reason = "shown with one decimal")]
    say::amount(name, units as f64)
}
