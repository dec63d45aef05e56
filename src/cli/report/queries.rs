//! What Prometheus is asked. Each question names the metric that it needs and who has to be scraped for it.

use std::collections::BTreeSet;

use crate::model::time::Span;

/// Parts that the time is cut into: as many samples as a trend takes.
const PARTS: i64 = 72;
/// Over which rates are taken, at least.
const RATE: i64 = 300;
/// More namespaces than that are not named one by one.
const MOST_NAMESPACES: usize = 50;

/// A question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// In `PromQL`.
    pub expression: String,
    /// A metric that it needs.
    pub metric: &'static str,
    /// What to scrape to have it.
    pub scrape: &'static str,
}

const WEIR: &str = "have it scrape Weir (serviceMonitor.enabled of the chart, or docs/operating.md)";
const KUBELET: &str = "have it scrape the kubelets' /metrics/cadvisor, as kube-prometheus does";

fn of_weir(metric: &'static str, expression: String) -> Query {
    Query { expression, metric, scrape: WEIR }
}

fn of_kubelet(metric: &'static str, expression: String) -> Query {
    Query { expression, metric, scrape: KUBELET }
}

/// All questions about one stretch of time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queries {
    /// Seconds between two samples of what is asked over time.
    pub step: i64,
    /// Over time, by pool and resource: what is allocated, on average over a step.
    pub allocated: Query,
    /// Over time, by pool and resource: the most that was allocated in a step.
    pub most: Query,
    /// Over time, by pool and resource: the limit, or the capacity where there is none, on average over a step.
    pub bound: Query,
    /// Over time, by pool: workloads that waited, on average over a step.
    pub queued: Query,
    /// By pool: how many were admitted.
    pub waits_count: Query,
    /// By pool: how long all of them had waited.
    pub waits_sum: Query,
    /// By pool: how long half of them had waited at most.
    pub waits_median: Query,
    /// By pool: how long 95 of 100 had waited at most.
    pub waits_p95: Query,
    /// By pool and reason.
    pub evictions: Query,
    /// By pool and reason.
    pub ends: Query,
    /// By namespace and pod: seconds of CPU that were used.
    pub cpu: Query,
    /// By namespace and pod: the most CPUs that were used over five minutes.
    pub cpu_peak: Query,
    /// By namespace and pod: bytes of memory on average.
    pub memory: Query,
    /// By namespace and pod: bytes of memory at most.
    pub memory_peak: Query,
}

impl Queries {
    /// About the last `since`, and pods in these namespaces.
    pub fn new(since: Span, namespaces: &BTreeSet<String>) -> Self {
        let seconds = (since.0 / 1000).max(60);
        let step = (seconds / PARTS).max(15);
        let by_resource = |of: &str| format!("max by (pool, resource) ({of})");
        let waited = |part: &str, by: &str| {
            format!("sum by ({by}) (increase(weir_waiting_seconds_{part}[{seconds}s]))")
        };
        let quantile = |share: &str| {
            let expression = format!("histogram_quantile({share}, {})", waited("bucket", "pool, le"));
            of_weir("weir_waiting_seconds", expression)
        };
        let counted = |metric: &'static str| {
            of_weir(metric, format!("sum by (pool, reason) (increase({metric}[{seconds}s]))"))
        };
        let few = (1..=MOST_NAMESPACES).contains(&namespaces.len());
        let all = namespaces.iter().map(String::as_str).collect::<Vec<_>>().join("|");
        let within = if few { format!(", namespace=~\"{all}\"") } else { String::new() };
        let pods = format!("{{container!=\"\", container!=\"POD\"{within}}}");
        let cpu = format!("container_cpu_usage_seconds_total{pods}");
        let memory = format!("container_memory_working_set_bytes{pods}");
        let by_pod = |of: String| format!("sum by (namespace, pod) ({of})");
        let fine = (seconds / (4 * PARTS)).max(RATE);
        let (weir_allocated, cpu_name, memory_name) = (
            "weir_pool_allocated",
            "container_cpu_usage_seconds_total",
            "container_memory_working_set_bytes",
        );
        Self {
            step,
            allocated: of_weir(
                weir_allocated,
                by_resource(&format!("avg_over_time({weir_allocated}[{step}s])")),
            ),
            most: of_weir(weir_allocated, by_resource(&format!("max_over_time({weir_allocated}[{step}s])"))),
            bound: of_weir(
                "weir_pool_capacity",
                format!(
                    "{} or {}",
                    by_resource(&format!("avg_over_time(weir_pool_limit[{step}s])")),
                    by_resource(&format!("avg_over_time(weir_pool_capacity[{step}s])"))
                ),
            ),
            queued: of_weir(
                "weir_pool_workloads",
                format!("max by (pool) (avg_over_time(weir_pool_workloads{{phase=\"queued\"}}[{step}s]))"),
            ),
            waits_count: of_weir("weir_waiting_seconds", waited("count", "pool")),
            waits_sum: of_weir("weir_waiting_seconds", waited("sum", "pool")),
            waits_median: quantile("0.5"),
            waits_p95: quantile("0.95"),
            evictions: counted("weir_evictions_total"),
            ends: counted("weir_ends_total"),
            cpu: of_kubelet(cpu_name, by_pod(format!("increase({cpu}[{seconds}s])"))),
            cpu_peak: of_kubelet(
                cpu_name,
                format!("max_over_time(({})[{seconds}s:{fine}s])", by_pod(format!("rate({cpu}[{RATE}s])"))),
            ),
            memory: of_kubelet(memory_name, by_pod(format!("avg_over_time({memory}[{seconds}s])"))),
            memory_peak: of_kubelet(memory_name, by_pod(format!("max_over_time({memory}[{seconds}s])"))),
        }
    }

    /// All of them.
    pub fn all(&self) -> [&Query; 14] {
        let Self {
            step: _,
            allocated,
            most,
            bound,
            queued,
            waits_count,
            waits_sum,
            waits_median,
            waits_p95,
            evictions,
            ends,
            cpu,
            cpu_peak,
            memory,
            memory_peak,
        } = self;
        [
            allocated,
            most,
            bound,
            queued,
            waits_count,
            waits_sum,
            waits_median,
            waits_p95,
            evictions,
            ends,
            cpu,
            cpu_peak,
            memory,
            memory_peak,
        ]
    }
}
