//! Requests against real use, as metrics-server or Prometheus measures it.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use axum::http::Request;
use kube::Client;
use serde_json::Value;

use super::answer::{Report, Usage, UseRow};
use super::gather::{Scope, shown};
use super::seen::Seen;
use crate::api::labels::WORKLOAD;
use crate::api::quantity::counted;
use crate::api::workload::{Phase, PooledWorkloadStatus};
use crate::cli::cluster::in_words;
use crate::cli::output::title;
use crate::model::amount::Amount;
use crate::model::spec::Runtime;
use crate::model::time::Time;
use crate::observe::catalog::Workload;
use crate::report::usage::{Measured, Verdict};

/// The pod in which `KubeVirt` runs a machine is called so, then like the machine.
const LAUNCHER: &str = "virt-launcher-";
/// What is compared.
const RESOURCES: [&str; 2] = ["cpu", "memory"];

/// What was measured of one pod, by resource: cpu in millicores, memory in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Reading {
    /// Used: now, or on average.
    pub used: [Option<f64>; 2],
    /// Most that was used.
    pub peak: [Option<f64>; 2],
    /// Thousandths of seconds of CPU, in place of millicores on average.
    pub cpu_time: Option<f64>,
}

/// What was measured.
#[derive(Clone, Debug, Default)]
pub struct Readings {
    /// By whom.
    pub source: &'static str,
    /// By namespace and name of the pod.
    pub pods: BTreeMap<(String, String), Reading>,
    /// Which workload a pod is of, where that is known by its labels.
    pub workloads: BTreeMap<(String, String), String>,
}

/// Why nothing was measured.
pub enum Without {
    /// Nobody measures.
    NotThere(String),
    /// It may not be read.
    Refused(String),
}

/// What metrics-server says of all pods.
pub async fn of_metrics_server(client: &Client) -> Result<Readings, Without> {
    let request = Request::builder().uri("/apis/metrics.k8s.io/v1beta1/pods").body(Vec::new());
    let request = request.map_err(|error| Without::Refused(error.to_string()))?;
    let list: Value = client.request(request).await.map_err(|error| match &error {
        kube::Error::Api(status) if matches!(status.code, 404 | 503) => Without::NotThere(
            "requests are not compared with use: metrics-server is not installed or not ready, and no --prometheus is given"
                .to_owned(),
        ),
        _ => Without::Refused(in_words(&error, "list pods of metrics.k8s.io")),
    })?;
    let mut readings = Readings { source: "metrics-server, now", ..Readings::default() };
    for pod in list["items"].as_array().into_iter().flatten() {
        let text =
            |pointer: &str| pod.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        let key = (text("/metadata/namespace"), text("/metadata/name"));
        let mut reading = Reading::default();
        for (at, resource) in RESOURCES.iter().enumerate() {
            let usage = |container: &Value| counted(resource, container["usage"][resource].as_str()?).ok();
            let used = pod["containers"].as_array().into_iter().flatten().filter_map(usage);
            reading.used[at] = Some(used.map(|units| units as f64).sum());
        }
        if let Some(workload) = pod["metadata"]["labels"][WORKLOAD].as_str() {
            readings.workloads.insert(key.clone(), workload.to_owned());
        }
        readings.pods.insert(key, reading);
    }
    Ok(readings)
}

/// For how long a member ran in the time looked at, in seconds.
fn ran(status: &PooledWorkloadStatus, seen: &Seen, scope: &Scope) -> f64 {
    let at = |time: Option<&k8s_openapi::apimachinery::pkg::apis::meta::v1::Time>| {
        time.map(|time| Time(time.0.as_millisecond()))
    };
    let from = Time(seen.now.0 - scope.since.0);
    let begin = at(status.started_at.as_ref()).map_or(seen.now, |started| started.max(from));
    let end = at(status.finished_at.as_ref()).map_or(seen.now, |finished| finished.min(seen.now));
    ((end - begin).0 as f64 / 1000.0).max(1.0)
}

/// Pods by namespace and workload: first by their labels, else by the names that statuses tell.
struct Pods<'a> {
    readings: &'a Readings,
    by_label: BTreeMap<(&'a str, &'a str), Vec<&'a Reading>>,
}

impl<'a> Pods<'a> {
    fn new(readings: &'a Readings) -> Self {
        let mut by_label: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for (key, workload) in &readings.workloads {
            let of = (key.0.as_str(), workload.as_str());
            by_label.entry(of).or_default().extend(readings.pods.get(key));
        }
        Self { readings, by_label }
    }

    fn of(&self, known: &Workload, status: &PooledWorkloadStatus) -> Vec<&'a Reading> {
        let (namespace, name) = (&*known.spec.namespace, &*known.spec.name);
        if let Some(pods) = self.by_label.get(&(namespace, name)) {
            return pods.clone();
        }
        let is_machine = known.spec.runtime == Runtime::VirtualMachine;
        let mut found = Vec::new();
        for placement in &status.placements {
            let name =
                if is_machine { format!("{LAUNCHER}{}-", placement.name) } else { placement.name.clone() };
            let key = (namespace.to_owned(), name);
            if !is_machine {
                found.extend(self.readings.pods.get(&key));
                continue;
            }
            let all = self.readings.pods.range(key.clone()..);
            // One run of a machine has five letters more.
            let runs = all.take_while(|((of, pod), _)| *of == key.0 && pod.starts_with(&key.1));
            found.extend(
                runs.filter(|((_, pod), _)| pod.len() == key.1.len() + 5).map(|(_, reading)| reading),
            );
        }
        found
    }
}

#[allow(clippy::cast_possible_truncation, reason = "amounts that were measured")]
fn amount(units: f64) -> Amount {
    Amount::new(units.round() as i64)
}

/// What the pods of a workload request and use of a resource, and how many were measured.
fn measured(known: &Workload, pods: &[&Reading], at: usize, seconds: f64) -> Option<(Measured, usize)> {
    let shape = known.spec.shape.as_ref().ok()?;
    let one = shape.requests.get(RESOURCES[at]).copied().unwrap_or_default();
    let mut sum = Measured::default();
    let mut count = 0;
    for pod in pods {
        let by_time = pod.cpu_time.filter(|_| at == 0).map(|time| time / seconds);
        let Some(used) = pod.used[at].or(by_time) else { continue };
        let peak = pod.peak[at].unwrap_or(used).max(used);
        sum.add(&Measured { requested: one, used: amount(used), peak: amount(peak) });
        count += 1;
    }
    (count > 0).then_some((sum, count))
}

fn row(name: &str, pool: &str, at: usize, of: &Measured, pods: usize, has_peak: bool) -> UseRow {
    let resource = RESOURCES[at];
    UseRow {
        name: name.to_owned(),
        pool: pool.to_owned(),
        resource,
        pods,
        requested: shown(resource, of.requested),
        used: shown(resource, of.used),
        peak: has_peak.then(|| shown(resource, of.peak)),
        percent: of.percent(),
        verdict: None,
    }
}

/// Adds what was measured to the report.
pub fn add(report: &mut Report, seen: &Seen, scope: &Scope, readings: &Readings) {
    let pods = Pods::new(readings);
    let has_peak = readings.pods.values().any(|one| one.peak.iter().any(Option::is_some));
    // By pool: each resource, and how many pods.
    let mut by_pool: BTreeMap<(String, usize), (Measured, usize)> = BTreeMap::new();
    let mut workloads: Vec<(Measured, UseRow)> = Vec::new();
    let mut count = 0;
    for (_, known) in seen.catalog.workloads().filter(|(_, known)| scope.pools.contains(&*known.spec.pool)) {
        let status = known.status();
        if matches!(status.phase, None | Some(Phase::Queued | Phase::Suspended)) {
            continue;
        }
        let found = pods.of(known, &status);
        count += found.len();
        let seconds = ran(&status, seen, scope);
        let name = title(&known.spec.namespace, &known.spec.name);
        for at in 0..RESOURCES.len() {
            let Some((of, measured)) = measured(known, &found, at, seconds) else { continue };
            let (sum, pods) = by_pool.entry((known.spec.pool.to_string(), at)).or_default();
            sum.add(&of);
            *pods += measured;
            let mut row = row(&name, &known.spec.pool, at, &of, measured, has_peak);
            row.verdict = Some(match of.verdict(row.resource == "memory") {
                Verdict::Over => "Over",
                Verdict::Fits => "Fits",
                Verdict::Under => "Under",
            });
            workloads.push((of, row));
        }
    }
    if count == 0 {
        let source = readings.source;
        report
            .notes
            .push(format!("requests are not compared with use: {source} tells of no pod of these workloads"));
        return;
    }
    let total = |resource: &str| -> i128 {
        let of = by_pool.iter().filter(|((_, at), _)| RESOURCES[*at] == resource);
        of.map(|(_, (sum, _))| i128::from(sum.requested.units())).sum::<i128>().max(1)
    };
    let totals: BTreeMap<&str, i128> = RESOURCES.iter().map(|one| (*one, total(one))).collect();
    // Those that fit come last; the others by how much of all that is requested they are wrong.
    workloads.sort_by_cached_key(|(of, row)| {
        let total = totals.get(row.resource).copied().unwrap_or(1);
        (
            row.verdict == Some("Fits"),
            Reverse(i128::from(of.apart(row.resource == "memory").units()) * 1_000_000 / total),
            row.name.clone(),
        )
    });
    let pools = by_pool.iter().map(|((pool, at), (of, pods))| row(pool, pool, *at, of, *pods, has_peak));
    report.usage = Some(Usage {
        source: readings.source,
        pools: pools.collect(),
        workloads: workloads.into_iter().map(|(_, row)| row).collect(),
        pods: count,
    });
}
