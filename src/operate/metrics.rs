//! What the operator counts, and how it is told. Each metric is described once, in `described.rs`; names end in their
//! unit, and no label is a workload's, a member's or a node's.

pub mod described;
mod pools;
mod process;

use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Metric, Registry, Unit};

use self::described::Described;
pub use self::pools::PoolSample;
use self::pools::Pools;
use crate::model::time::Time;

/// One label with a fixed set of values.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabel {
    kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WriteLabels {
    kind: &'static str,
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabel {
    request: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PoolLabel {
    pool: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabels {
    pool: String,
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DirectionLabels {
    pool: String,
    direction: &'static str,
}

const EARLIER: &str = "earlier";
const LATER: &str = "later";

/// From a second to a week: how long workloads wait.
const WAITS: [f64; 13] =
    [1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 7200.0, 14_400.0, 43_200.0, 86_400.0, 259_200.0, 604_800.0];

fn waits() -> Histogram {
    Histogram::new(WAITS)
}

/// All metrics of the process.
pub struct Metrics {
    registry: Mutex<Registry>,
    writes: Family<WriteLabels, Counter>,
    decisions: Family<KindLabel, Counter>,
    seen: Family<KindLabel, Counter>,
    cycles: Counter,
    cycle_seconds: Histogram,
    decide_seconds: Histogram,
    watch_age_seconds: Family<KindLabel, Gauge<f64, AtomicU64>>,
    leading: Gauge,
    in_flight: Gauge,
    admissions: Family<PoolLabel, Counter>,
    evictions: Family<ReasonLabels, Counter>,
    ends: Family<ReasonLabels, Counter>,
    waiting_seconds: Family<PoolLabel, Histogram, fn() -> Histogram>,
    estimate_error_seconds: Family<DirectionLabels, Histogram, fn() -> Histogram>,
    permission_missing: Family<RequestLabel, Gauge>,
    definition_fields_missing: Family<KindLabel, Gauge>,
    pools: Arc<Pools>,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Default for Metrics {
    fn default() -> Self {
        // From a tenth of a millisecond to thirteen seconds.
        let seconds = || Histogram::new(exponential_buckets(0.0001, 2.0, 18));
        let all = Self {
            writes: Family::default(),
            decisions: Family::default(),
            seen: Family::default(),
            cycles: Counter::default(),
            cycle_seconds: seconds(),
            decide_seconds: seconds(),
            watch_age_seconds: Family::default(),
            leading: Gauge::default(),
            in_flight: Gauge::default(),
            admissions: Family::default(),
            evictions: Family::default(),
            ends: Family::default(),
            waiting_seconds: Family::new_with_constructor(waits as fn() -> Histogram),
            estimate_error_seconds: Family::new_with_constructor(waits as fn() -> Histogram),
            permission_missing: Family::default(),
            definition_fields_missing: Family::default(),
            pools: Arc::default(),
            registry: Mutex::new(Registry::default()),
        };
        Self { registry: Mutex::new(all.register()), ..all }
    }
}

/// Registers a metric under its name: the registry puts the prefix and the unit there by itself, and `_total`.
fn add(registry: &mut Registry, what: &Described, metric: impl Metric) {
    let name = what.name.trim_start_matches("weir_").trim_end_matches("_total").trim_end_matches("_info");
    match name.strip_suffix("_seconds") {
        Some(name) => registry.register_with_unit(name, what.help, Unit::Seconds, metric),
        None => registry.register(name, what.help, metric),
    }
}

impl Metrics {
    fn register(&self) -> Registry {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(process::Process));
        let ours = registry.sub_registry_with_prefix("weir");
        let Self {
            registry: _,
            writes,
            decisions,
            seen,
            cycles,
            cycle_seconds,
            decide_seconds,
            watch_age_seconds,
            leading,
            in_flight,
            admissions,
            evictions,
            ends,
            waiting_seconds,
            estimate_error_seconds,
            permission_missing,
            definition_fields_missing,
            pools,
        } = self;
        let build = [("version", env!("CARGO_PKG_VERSION")), ("arch", std::env::consts::ARCH)];
        add(ours, &described::BUILD, Info::new(build));
        add(ours, &described::LEADING, leading.clone());
        add(ours, &described::API_REQUESTS, writes.clone());
        add(ours, &described::IN_FLIGHT, in_flight.clone());
        add(ours, &described::DECISIONS, decisions.clone());
        add(ours, &described::WATCH_EVENTS, seen.clone());
        add(ours, &described::WATCH_AGE, watch_age_seconds.clone());
        add(ours, &described::PERMISSION_MISSING, permission_missing.clone());
        add(ours, &described::FIELDS_MISSING, definition_fields_missing.clone());
        add(ours, &described::CYCLES, cycles.clone());
        add(ours, &described::CYCLE, cycle_seconds.clone());
        add(ours, &described::DECIDE, decide_seconds.clone());
        add(ours, &described::ADMISSIONS, admissions.clone());
        add(ours, &described::EVICTIONS, evictions.clone());
        add(ours, &described::ENDS, ends.clone());
        add(ours, &described::WAITING, waiting_seconds.clone());
        add(ours, &described::ESTIMATE_ERROR, estimate_error_seconds.clone());
        ours.register_collector(Box::new(pools.clone()));
        registry
    }

    /// A request to the API server came to this.
    pub fn wrote(&self, kind: &'static str, result: &'static str) {
        self.writes.get_or_create(&WriteLabels { kind, result }).inc();
    }

    /// How many requests of that kind came to that.
    pub fn written(&self, kind: &'static str, result: &'static str) -> u64 {
        self.writes.get_or_create(&WriteLabels { kind, result }).get()
    }

    /// Something was decided.
    pub fn decided(&self, kind: &'static str) {
        self.decisions.get_or_create(&KindLabel { kind }).inc();
    }

    /// An object was shown.
    pub fn saw(&self, kind: &'static str) {
        self.seen.get_or_create(&KindLabel { kind }).inc();
    }

    /// A cycle took that long, and deciding in it that long.
    pub fn cycle(&self, took: Duration, deciding: Duration, in_flight: usize) {
        self.cycles.inc();
        self.cycle_seconds.observe(took.as_secs_f64());
        self.decide_seconds.observe(deciding.as_secs_f64());
        self.in_flight.set(i64::try_from(in_flight).unwrap_or(i64::MAX));
    }

    /// Whether this process leads. What one who does not lead knew of pools is not told: it is another's to tell.
    pub fn leads(&self, leads: bool) {
        self.leading.set(i64::from(leads));
        if !leads {
            self.pools.clear();
            self.watch_age_seconds.clear();
            self.permission_missing.clear();
            self.definition_fields_missing.clear();
        }
    }

    /// How long a watch has been silent.
    pub fn watch_age(&self, kind: &'static str, age: Duration) {
        self.watch_age_seconds.get_or_create(&KindLabel { kind }).set(age.as_secs_f64());
    }

    /// The operator may not do that, or may again.
    pub fn lacks(&self, request: &'static str, lacks: bool) {
        let label = RequestLabel { request };
        if lacks {
            self.permission_missing.get_or_create(&label).set(1);
        } else if let Some(gauge) = self.permission_missing.get(&label) {
            gauge.set(0);
        }
    }

    /// The cluster's definition of a kind lacks so many fields that the program knows.
    pub fn fields_missing(&self, kind: &'static str, count: usize) {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        self.definition_fields_missing.get_or_create(&KindLabel { kind }).set(count);
    }

    /// A workload of that pool was admitted, after it had waited since then.
    pub fn admitted(&self, pool: &str, since: Option<Time>, now: Time) {
        let label = PoolLabel { pool: self.pools.label(pool) };
        self.admissions.get_or_create(&label).inc();
        if let Some(since) = since {
            // An object may be said to be younger than now.
            let waited = (now - since).0.max(0);
            self.waiting_seconds.get_or_create(&label).observe(seconds(waited));
        }
    }

    /// A workload of that pool started now, and was first estimated to start then.
    pub fn estimated(&self, pool: &str, likely: Time, now: Time) {
        let direction = if now < likely { EARLIER } else { LATER };
        let labels = DirectionLabels { pool: self.pools.label(pool), direction };
        let away = (now.0 - likely.0).saturating_abs();
        self.estimate_error_seconds.get_or_create(&labels).observe(seconds(away));
    }

    /// A workload of that pool was evicted.
    pub fn evicted(&self, pool: &str, reason: &'static str) {
        let pool = self.pools.label(pool);
        self.evictions.get_or_create(&ReasonLabels { pool, reason }).inc();
    }

    /// A workload of that pool has ended.
    pub fn ended(&self, pool: &str, reason: &'static str) {
        let pool = self.pools.label(pool);
        self.ends.get_or_create(&ReasonLabels { pool, reason }).inc();
    }

    /// How a pool stands.
    pub fn pool(&self, name: &Arc<str>, sample: PoolSample) {
        self.pools.set(name, sample);
    }

    /// A pool is gone, and what was counted of it with it.
    pub fn pool_gone(&self, name: &str) {
        if !self.pools.remove(name) {
            return;
        }
        let label = PoolLabel { pool: name.to_owned() };
        self.admissions.remove(&label);
        self.waiting_seconds.remove(&label);
        for direction in [EARLIER, LATER] {
            self.estimate_error_seconds.remove(&DirectionLabels { pool: name.to_owned(), direction });
        }
        for reason in crate::api::reasons::Reason::ALL {
            let labels = ReasonLabels { pool: name.to_owned(), reason: reason.as_str() };
            self.evictions.remove(&labels);
            self.ends.remove(&labels);
        }
    }

    /// All of it as `OpenMetrics` text.
    ///
    /// # Errors
    /// Never, in practice.
    pub fn text(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry.lock().unwrap_or_else(PoisonError::into_inner))?;
        Ok(text)
    }
}

fn seconds(millis: i64) -> f64 {
    millis as f64 / 1000.0
}

#[cfg(test)]
mod tests;
