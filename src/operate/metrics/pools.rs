//! How pools stand, as gauges: the last sample of each pool is told when somebody asks.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

use super::described::{self, Described};
use super::seconds;
use crate::api::quantity::{Unit as Counted, is_bytes};
use crate::model::amount::{Amount, Limit};
use crate::model::report::{PoolReport, PoolResource};
use crate::model::resources::{DERIVED_NAMES, ResourceTable};
use crate::model::time::Time;

/// Pools that are told one by one; labels must have a bound.
const MOST: usize = 2000;
/// The label of those that are not.
const OTHERS: &str = "-";

/// One pool, as it stood when something of it changed last.
#[derive(Clone, Debug)]
pub struct PoolSample {
    parent: String,
    root: String,
    queue_length: u64,
    phases: [(&'static str, u32); 4],
    waits_since: Option<Time>,
    nodes: [(&'static str, u32); 3],
    stalled: bool,
    overcommitted: bool,
    resources: Vec<Resource>,
    exhausted: Vec<(String, Time)>,
}

/// One resource of a pool, in its base unit.
#[derive(Clone, Debug)]
struct Resource {
    name: String,
    unit: &'static str,
    /// In the order of [`AMOUNTS`].
    amounts: [Option<f64>; AMOUNTS.len()],
}

/// Gauges of amounts.
const AMOUNTS: [Described; 12] = [
    described::CAPACITY,
    described::RESERVATION,
    described::LIMIT,
    described::ALLOCATED,
    described::ADOPTED,
    described::BORROWED,
    described::LENT,
    described::IDLE,
    described::AVAILABLE,
    described::PENDING,
    described::UNMANAGED,
    described::LARGEST_FREE,
];

impl PoolSample {
    /// Takes the sample. `queue_length` is of the pool's own queue.
    pub fn new(
        report: &PoolReport,
        parent: Option<&str>,
        root: Option<&str>,
        queue_length: usize,
        names: &ResourceTable,
    ) -> Self {
        let PoolReport {
            nodes_total,
            nodes_ready,
            nodes_unschedulable,
            resources,
            forecast,
            longest_pending,
            queued,
            running,
            finished,
            failed,
            stalled,
            overcommitted,
            ..
        } = report;
        Self {
            parent: parent.unwrap_or_default().to_owned(),
            root: root.unwrap_or_default().to_owned(),
            queue_length: u64::try_from(queue_length).unwrap_or(u64::MAX),
            phases: [
                ("queued", *queued),
                ("running", *running),
                ("finished", *finished),
                ("failed", *failed),
            ],
            waits_since: longest_pending.as_ref().map(|(_, since)| *since),
            nodes: [
                ("ready", *nodes_ready),
                ("not_ready", nodes_total.saturating_sub(*nodes_ready)),
                ("unschedulable", *nodes_unschedulable),
            ],
            stalled: stalled.is_some(),
            overcommitted: !overcommitted.is_empty(),
            resources: resources.iter().map(|one| Resource::new(one, names)).collect(),
            exhausted: forecast.iter().map(|(id, at)| (names.name(*id).to_owned(), *at)).collect(),
        }
    }
}

impl Resource {
    fn new(one: &PoolResource, names: &ResourceTable) -> Self {
        let PoolResource {
            resource,
            capacity,
            unmanaged,
            reservation,
            limit,
            allocated,
            adopted,
            borrowed,
            lent,
            idle,
            available,
            pending,
            largest_free,
        } = one;
        let name = names.name(*resource);
        let limit = match limit {
            Limit::Unlimited => None,
            Limit::At(amount) => Some(*amount),
        };
        let all = [
            Some(*capacity),
            Some(*reservation),
            limit,
            Some(*allocated),
            Some(*adopted),
            Some(*borrowed),
            Some(*lent),
            Some(*idle),
            Some(*available),
            Some(*pending),
            Some(*unmanaged),
            *largest_free,
        ];
        let of = |amount: Amount| in_base_unit(name, amount);
        Self { name: name.to_owned(), unit: unit(name), amounts: all.map(|amount| amount.map(of)) }
    }
}

fn in_base_unit(resource: &str, amount: Amount) -> f64 {
    let units = amount.units() as f64;
    match Counted::of(resource) {
        Counted::Milli => units / 1000.0,
        Counted::One => units,
    }
}

fn unit(resource: &str) -> &'static str {
    match resource {
        "cpu" => "core",
        name if is_bytes(name) => "byte",
        name if DERIVED_NAMES.contains(&name) => "bit_per_second",
        _ => "integer",
    }
}

/// All pools.
#[derive(Debug, Default)]
pub(super) struct Pools(Mutex<BTreeMap<Arc<str>, PoolSample>>);

impl Pools {
    fn all(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, PoolSample>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set(&self, name: &Arc<str>, sample: PoolSample) {
        self.all().insert(name.clone(), sample);
    }

    /// Whether it was there.
    pub(super) fn remove(&self, name: &str) -> bool {
        self.all().remove(name).is_some()
    }

    pub(super) fn clear(&self) {
        self.all().clear();
    }

    /// What a pool is called in labels.
    pub(super) fn label(&self, name: &str) -> String {
        let all = self.all();
        let told = all.len() < MOST
            || all.range::<str, _>((Bound::Unbounded, Bound::Excluded(name))).nth(MOST - 1).is_none();
        if told { name } else { OTHERS }.to_owned()
    }
}

/// Encodes one gauge of all pools.
struct Gauge<'a, 'b> {
    encoder: &'a mut DescriptorEncoder<'b>,
    all: &'a BTreeMap<Arc<str>, PoolSample>,
}

impl Gauge<'_, '_> {
    /// `values` gives the further labels and the values of one pool.
    fn tell<const N: usize>(
        &mut self,
        what: &Described,
        values: impl Fn(&PoolSample, &mut dyn FnMut([&str; N], f64) -> fmt::Result) -> fmt::Result,
    ) -> fmt::Result {
        let name = what.name.trim_start_matches("weir_");
        let (name, unit) = match name.strip_suffix("_seconds") {
            Some(name) => (name, Some(&Unit::Seconds)),
            None => (name, None),
        };
        let mut metric = self.encoder.encode_descriptor(name, &what.sentence(), unit, MetricType::Gauge)?;
        for (pool, sample) in self.all.iter().take(MOST) {
            values(sample, &mut |more, value| {
                let labels: Vec<(&str, &str)> =
                    what.labels.iter().copied().zip(std::iter::once(&**pool).chain(more)).collect();
                metric.encode_family(&labels)?.encode_gauge(&value)
            })?;
        }
        Ok(())
    }
}

impl Collector for Pools {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let all = self.all();
        let now = Timestamp::now().as_millisecond();
        let mut gauge = Gauge { encoder: &mut encoder, all: &all };
        gauge.tell(&described::POOL_INFO, |one, tell| tell([&one.parent, &one.root], 1.0))?;
        gauge.tell(&described::QUEUE_LENGTH, |one, tell| tell([], one.queue_length as f64))?;
        gauge.tell(&described::POOL_WORKLOADS, |one, tell| {
            one.phases.iter().try_for_each(|(phase, count)| tell([*phase], f64::from(*count)))
        })?;
        gauge.tell(&described::LONGEST_WAIT, |one, tell| {
            tell([], one.waits_since.map_or(0.0, |since| seconds(now.saturating_sub(since.0).max(0))))
        })?;
        gauge.tell(&described::POOL_NODES, |one, tell| {
            one.nodes.iter().try_for_each(|(state, count)| tell([*state], f64::from(*count)))
        })?;
        gauge.tell(&described::POOL_STALLED, |one, tell| tell([], f64::from(u8::from(one.stalled))))?;
        gauge.tell(&described::POOL_OVERCOMMITTED, |one, tell| {
            tell([], f64::from(u8::from(one.overcommitted)))
        })?;
        for (at, what) in AMOUNTS.iter().enumerate() {
            gauge.tell(what, |one, tell| {
                one.resources.iter().try_for_each(|Resource { name, unit, amounts }| {
                    amounts.get(at).copied().flatten().map_or(Ok(()), |value| tell([name, *unit], value))
                })
            })?;
        }
        gauge.tell(&described::EXHAUSTED, |one, tell| {
            one.exhausted.iter().try_for_each(|(resource, at)| tell([resource], seconds(at.0)))
        })?;
        let untold = all.len().saturating_sub(MOST) as f64;
        let what = &described::POOLS_UNTOLD;
        encoder
            .encode_descriptor(
                what.name.trim_start_matches("weir_"),
                &what.sentence(),
                None,
                MetricType::Gauge,
            )?
            .encode_gauge(&untold)
    }
}
