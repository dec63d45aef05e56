//! What the operator counts, and how it is told.

use std::fmt;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

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
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("weir");
        // From a tenth of a millisecond to three seconds.
        let seconds = || Histogram::new(exponential_buckets(0.0001, 2.0, 16));
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
            registry: Mutex::new(Registry::default()),
        };
        registry.register(
            "api_requests",
            "Requests to the API server, by kind and result",
            all.writes.clone(),
        );
        registry.register("decisions", "Decisions, by kind", all.decisions.clone());
        registry.register("watch_events", "Objects shown by watches, by kind", all.seen.clone());
        registry.register("cycles", "Cycles", all.cycles.clone());
        let unit = || Unit::Seconds;
        registry.register_with_unit("cycle", "One cycle", unit(), all.cycle_seconds.clone());
        registry.register_with_unit("decide", "Deciding in one cycle", unit(), all.decide_seconds.clone());
        registry.register_with_unit("watch_age", "Silence of a watch", unit(), all.watch_age_seconds.clone());
        registry.register("leading", "1 while this process leads", all.leading.clone());
        registry.register("objects_in_flight", "Objects with writes in flight", all.in_flight.clone());
        Self { registry: Mutex::new(registry), ..all }
    }
}

impl Metrics {
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

    /// Whether this process leads.
    pub fn leads(&self, leads: bool) {
        self.leading.set(i64::from(leads));
    }

    /// How long a watch has been silent.
    pub fn watch_age(&self, kind: &'static str, age: Duration) {
        self.watch_age_seconds.get_or_create(&KindLabel { kind }).set(age.as_secs_f64());
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
