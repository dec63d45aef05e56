//! Nodes that would do: found by programmes, tried by the simulator.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use serde_json::{Map, Value, json};

use super::super::load::Loaded;
use super::super::say;
use super::{Offer, Plan};
use crate::api::quantity::counted;
use crate::model::resources::DERIVED_NAMES;
use crate::model::selector::Operator;
use crate::model::spec::NamedAmounts;
use crate::model::time::Span;
use crate::optimise::capacity::{Cover, Kind, Work, cover, fit};
use crate::simulate::{Settings, fits_alone, simulate};

/// How long is looked for cheaper nodes, once there are some that do.
const POLISH: Duration = Duration::from_secs(20);
/// How long one programme may take.
const SOLVE: Duration = Duration::from_secs(5);
/// Nodes that are tried at most.
const MOST_NODES: u32 = 20_000;
/// Between what surely is too little and what covers all at once it is halved so often.
const HALVINGS: u32 = 6;
/// Prices in parts of that.
const PARTS: f64 = 1000.0;

/// Work, and the kinds of nodes that it may have.
pub struct Fleet {
    loaded: Loaded,
    pub(super) offers: Vec<Offer>,
    pub(super) wait: Span,
    /// Nodes that are there already.
    pub(super) there: usize,
    default_duration: Option<Span>,
    kinds: Vec<Kind>,
    works: Vec<Load>,
    resources: Vec<String>,
    labels: BTreeMap<String, String>,
}

/// Workloads with equal members that run equally long.
struct Load {
    work: Work,
    /// Members without which they do not start.
    least: u32,
    duration: Option<Span>,
    /// One of them: title and UID.
    title: String,
    uid: String,
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
                uid: spec.uid.to_string(),
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
        let kinds = offers.iter().map(|offer| kind(offer, &resources)).collect();
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
        Ok(Self { loaded, offers, wait, there, default_duration, kinds, works, resources, labels })
    }

    /// Workloads that are planned for.
    pub fn workloads(&self) -> usize {
        self.loaded.world.workloads.len()
    }

    /// The cheapest nodes that were found.
    ///
    /// # Errors
    /// What stands in the way, if no nodes do.
    pub fn plan(&self) -> anyhow::Result<Plan> {
        self.check_sizes()?;
        self.check_suits()?;
        let bound = self.bound()?;
        let (nodes, longest) = self.least()?;
        let (nodes, longest) = self.trim(nodes, longest);
        let cost = self.cost(&nodes);
        Ok(Plan { nodes, cost, bound: bound.min(cost), longest })
    }

    fn cost(&self, nodes: &[u32]) -> f64 {
        self.offers.iter().zip(nodes).map(|(offer, count)| offer.price * f64::from(*count)).sum()
    }

    /// Whether there is a kind that has room for a member of each.
    fn check_sizes(&self) -> anyhow::Result<()> {
        for load in &self.works {
            if self.there > 0 || self.kinds.iter().any(|kind| fit(&load.work, kind) >= 1) {
                continue;
            }
            for (at, (name, ask)) in self.resources.iter().zip(&load.work.ask).enumerate() {
                let most = self.kinds.iter().zip(&self.offers).max_by_key(|(kind, _)| kind.offers[at]);
                let Some((kind, offer)) = most else { continue };
                if kind.offers[at] < *ask {
                    bail!(
                        "no kind of node takes {}: a member asks for {} of {name} on one node, and the most that a kind has is {} ({})",
                        load.title,
                        shown(name, *ask),
                        shown(name, kind.offers[at]),
                        offer.name
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

    /// Whether one of each would be admitted if it was alone with enough nodes of every kind.
    fn check_suits(&self) -> anyhow::Result<()> {
        let most = self.works.iter().map(|load| load.work.members).max().unwrap_or(1).clamp(1, 1_000);
        let many: Vec<u32> = self.kinds.iter().map(|kind| most.min(kind.most)).collect();
        let world = self.with(&many)?;
        for load in &self.works {
            if !fits_alone(&world.world, world.now, &load.uid) {
                bail!(
                    "{} would not be admitted though nodes of every kind are free: look at its nodeSelector, affinity and tolerations and at the labels of the kinds, at limits and access of its pool, and at `most` of the kinds; `weir simulate` with such nodes says why",
                    load.title
                );
            }
        }
        Ok(())
    }

    /// What no nodes cost less than. All that may not have ended when the last must start runs at once then; and of all
    /// work what must be done until the last has ended is an area, over that time.
    fn bound(&self) -> anyhow::Result<f64> {
        if self.there > 0 {
            return Ok(0.0);
        }
        let at_once = |load: &Load| load.duration.is_none_or(|duration| duration > self.wait);
        let together: Vec<f64> =
            self.works.iter().map(|load| if at_once(load) { 1.0 } else { 0.0 }).collect();
        let least = |load: &Load| Work { members: load.least, ..load.work.clone() };
        let least: Vec<Work> = self.works.iter().map(least).collect();
        let mut best = 0.0_f64;
        for shares in [together, self.area()] {
            let found = cover(&self.kinds, &least, &shares, false, SOLVE);
            best = best.max(found.with_context(|| self.too_few())?.cost / PARTS);
        }
        Ok(best)
    }

    fn works(&self) -> Vec<Work> {
        self.works.iter().map(|load| load.work.clone()).collect()
    }

    /// The share of each kind of work that must run in the mean until the last has ended.
    fn area(&self) -> Vec<f64> {
        let longest = self.works.iter().filter_map(|load| load.duration).max().unwrap_or_default();
        let whole = (self.wait.0 + longest.0).max(1) as f64;
        let share = |load: &Load| load.duration.map_or(1.0, |duration| duration.0 as f64 / whole);
        self.works.iter().map(share).collect()
    }

    fn too_few(&self) -> String {
        let asked = |at: usize| -> i128 {
            self.works.iter().map(|load| i128::from(load.work.ask[at]) * i128::from(load.work.members)).sum()
        };
        let there = |at: usize| -> i128 {
            self.kinds.iter().map(|kind| i128::from(kind.offers[at]) * i128::from(kind.most)).sum()
        };
        let short = self.resources.iter().enumerate().find(|(at, _)| asked(*at) > there(*at));
        match short {
            Some((at, name)) => {
                let say = |amount: i128| shown(name, i64::try_from(amount).unwrap_or(i64::MAX));
                format!(
                    "no nodes would do: the work asks for {} of {name}, and all kinds at their `most` have {}",
                    say(asked(at)),
                    say(there(at))
                )
            }
            None => "no nodes would do, or none were found in time: `most` of the kinds is too small for what the work asks for together".to_owned(),
        }
    }

    /// The least share of the way from what is surely too little to all at once that does; and where packing takes
    /// more than that, more nodes.
    fn least(&self) -> anyhow::Result<(Vec<u32>, Span)> {
        let works = self.works();
        let least = self.area();
        let between = |part: f64| -> Option<Cover> {
            let shares: Vec<f64> = least.iter().map(|least| least + (1.0 - least) * part).collect();
            cover(&self.kinds, &works, &shares, true, SOLVE)
        };
        let try_at = |part: f64| -> anyhow::Result<Option<(Vec<u32>, Span)>> {
            let Some(cover) = between(part) else { return Ok(None) };
            Ok(self.longest(&cover.nodes)?.map(|longest| (cover.nodes, longest)))
        };
        if let Some(found) = try_at(0.0)? {
            return Ok(found);
        }
        let (mut low, mut high, mut found) = (0.0, 1.0, try_at(1.0)?);
        if found.is_none() {
            return self.more(between(1.0).with_context(|| self.too_few())?.nodes);
        }
        for _ in 0..HALVINGS {
            let middle = f64::midpoint(low, high);
            match try_at(middle)? {
                Some(better) => (found, high) = (Some(better), middle),
                None => low = middle,
            }
        }
        found.with_context(|| self.too_few())
    }

    /// Adds nodes until it does: a twentieth more of those that are taken, of each kind at least one.
    fn more(&self, mut nodes: Vec<u32>) -> anyhow::Result<(Vec<u32>, Span)> {
        loop {
            let before = nodes.clone();
            for (count, kind) in nodes.iter_mut().zip(&self.kinds) {
                if *count > 0 {
                    *count = count.saturating_add((*count / 20).max(1)).min(kind.most);
                }
            }
            if nodes == before {
                // What is taken is all that there is: the others help.
                for (count, kind) in nodes.iter_mut().zip(&self.kinds) {
                    *count = count.saturating_add(1).min(kind.most);
                }
            }
            let all: u32 = nodes.iter().fold(0, |sum, count| sum.saturating_add(*count));
            if nodes == before || all > MOST_NODES {
                bail!(
                    "no nodes were found that do: with {} the longest wait is still more than {}. Limits of the pools, or `most` of the kinds, may be in the way; `weir simulate` says why a workload waits",
                    say::counted(all as usize, "node"),
                    say::span(self.wait)
                );
            }
            if let Some(longest) = self.longest(&nodes)? {
                return Ok((nodes, longest));
            }
        }
    }

    /// Takes nodes away, the dearest first, as long as it still does.
    fn trim(&self, mut nodes: Vec<u32>, mut longest: Span) -> (Vec<u32>, Span) {
        let began = Instant::now();
        let mut order: Vec<usize> = (0..nodes.len()).collect();
        order.sort_by(|one, other| self.offers[*other].price.total_cmp(&self.offers[*one].price));
        for kind in order {
            // As many at once as may be, then fewer.
            let mut step = nodes[kind];
            while step > 0 && began.elapsed() < POLISH {
                let mut fewer = nodes.clone();
                fewer[kind] = fewer[kind].saturating_sub(step);
                match self.longest(&fewer) {
                    Ok(Some(found)) if fewer != nodes => (nodes, longest) = (fewer, found),
                    _ => step /= 2,
                }
            }
        }
        (nodes, longest)
    }

    /// The longest wait with so many nodes; none if somebody waits for longer than is asked for.
    fn longest(&self, nodes: &[u32]) -> anyhow::Result<Option<Span>> {
        let Loaded { world, now, .. } = self.with(nodes)?;
        let settings = Settings {
            default_duration: self.default_duration,
            keeps_history: false,
            until: Some(now + Span(self.wait.0.saturating_add(1))),
            ..Settings::default()
        };
        let simulated = simulate(world, now, settings);
        let mut longest = Span(0);
        for record in &simulated.history.records {
            match record.wait() {
                Some(wait) if wait <= self.wait => longest = longest.max(wait),
                _ => return Ok(None),
            }
        }
        Ok(Some(longest))
    }

    /// The world with so many nodes of each kind.
    fn with(&self, nodes: &[u32]) -> anyhow::Result<Loaded> {
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
