//! One run: a load, carried out by the bare client or by Weir, and everything that was measured of it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, sleep};

use super::audit::{Actor, Audit, BARE, SUBMITTER, Written, count, last};
use super::client::Sender;
use super::cluster::Cluster;
use super::load::{Bare, EVENTS_IN_FLIGHT, Load, Sample, submit};
use super::operator::Operator;
use super::process::{busy_seconds, cpu_seconds, mebibytes};

/// A run is over when nothing was written for that long: longer than the operator lets any status wait.
const QUIET: Duration = Duration::from_secs(5);
/// Without any progress for that long a run has failed.
const STUCK: Duration = Duration::from_secs(90);

/// Who carries the load out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    Bare,
    Weir,
}

/// What was measured.
#[derive(Debug)]
pub struct Run {
    pub who: Who,
    pub round: usize,
    pub workloads: usize,
    /// Seconds from the first submission to the end of the last one.
    pub submitted: f64,
    /// ... to the last pod, created with its node.
    pub placed: f64,
    /// ... to the last write of a simulated kubelet: all pods run, or have ended.
    pub kubelets: f64,
    /// ... to the last write for a workload: pod, status or event.
    pub written: f64,
    /// Writes of the client or the operator, by kind.
    pub writes: BTreeMap<String, u64>,
    /// Those that were refused (conflicts).
    pub refused: u64,
    /// CPU seconds by process.
    pub cpu: Vec<(&'static str, f64)>,
    /// CPU seconds of everything else on the machine.
    pub others: f64,
    /// Wall-clock seconds that CPU was counted over.
    pub wall: f64,
    /// MiB of the operator: most ever, and at the end.
    pub memory: Option<(f64, f64)>,
}

impl Run {
    /// When all was done: written, and all pods run or have ended.
    pub fn done(&self) -> f64 {
        self.written.max(self.kubelets)
    }
}

/// A cluster, and what to run on it.
pub struct Bench {
    pub cluster: Cluster,
    program: PathBuf,
    in_flight: u16,
    logs: PathBuf,
    sample: Option<Arc<Sample>>,
    count: usize,
}

/// What was true when a run began.
struct Before {
    cpu: Vec<(&'static str, f64)>,
    own: f64,
    operator: f64,
    busy: f64,
    at: Instant,
}

impl Bench {
    pub fn new(cluster: Cluster, program: PathBuf, in_flight: u16, logs: PathBuf) -> Self {
        Self { cluster, program, in_flight, logs, sample: None, count: 0 }
    }

    async fn operator(&mut self) -> Result<Operator> {
        self.count += 1;
        let log = self.logs.join(format!("operator-{}.log", self.count));
        Operator::start(&self.program, self.cluster.kubeconfig()?, &log, self.in_flight).await
    }

    /// Lets the operator carry out one workload, to know what it writes.
    pub async fn take_sample(&mut self) -> Result<()> {
        let operator = self.operator().await?;
        self.cluster.namespace("bench-sample").await?;
        self.sample = Some(Arc::new(self.cluster.sample("bench-sample").await?));
        operator.stop().await
    }

    fn sender(&self, agent: &'static str) -> Sender {
        Sender { client: self.cluster.client.clone(), agent }
    }

    fn before(&self, operator: Option<&Operator>) -> Result<Before> {
        Ok(Before {
            cpu: self.cluster.cpu()?,
            own: cpu_seconds(std::process::id())?,
            operator: operator.map(|operator| cpu_seconds(operator.pid())).transpose()?.unwrap_or(0.0),
            busy: busy_seconds()?,
            at: Instant::now(),
        })
    }

    /// One run, from an empty cluster to an empty cluster.
    pub async fn run(&mut self, who: Who, round: usize, load: Load) -> Result<Run> {
        let what = if load.ends { "finish" } else { "place" };
        let namespace = format!("bench-{what}-{round}-{}", format!("{who:?}").to_lowercase());
        self.cluster.namespace(&namespace).await?;
        let operator = if who == Who::Weir { Some(self.operator().await?) } else { None };
        // What came before shall be over: collections of garbage, caches that are filled.
        sleep(Duration::from_secs(3)).await;
        let audit = Audit::follow(&self.cluster.audit_log()?)?;
        let before = self.before(operator.as_ref())?;
        match &operator {
            None => self.bare(&namespace, load).await?,
            Some(operator) => self.weir(operator, &namespace, load).await?,
        }
        let phase = if load.ends { "Succeeded" } else { "Running" };
        self.cluster.await_pods(&namespace, phase).await?;
        let after = self.before(operator.as_ref())?;
        let phases = self.cluster.phases(&namespace).await?;
        ensure!(phases.get(phase) == Some(&load.workloads), "not all workloads are {phase}: {phases:?}");
        let memory = match &operator {
            None => None,
            Some(operator) => {
                Some((mebibytes(operator.pid(), "VmHWM")?, mebibytes(operator.pid(), "VmRSS")?))
            }
        };
        let lines = audit.end()?;
        if let Some(operator) = operator {
            operator.stop().await?;
        }
        self.cluster.clean(&namespace).await?;
        let run = measured(who, round, &namespace, load, &lines, &before, &after)?;
        Ok(Run { memory, ..run })
    }

    async fn bare(&self, namespace: &str, load: Load) -> Result<()> {
        let (out, submitted) = mpsc::unbounded_channel();
        let bare = Bare {
            sender: self.sender(BARE),
            namespace: namespace.into(),
            load,
            nodes: self.cluster.nodes.clone().into(),
            sample: self.sample.clone().context("there is no sample")?,
            in_flight: Arc::new(Semaphore::new(self.in_flight.into())),
            events_in_flight: Arc::new(Semaphore::new(EVENTS_IN_FLIGHT)),
        };
        let bare = tokio::spawn(bare.run(submitted));
        submit(&self.sender(SUBMITTER), namespace, load, Some(out)).await?;
        bare.await?
    }

    /// Submits, and waits until the operator has nothing more to write.
    async fn weir(&self, operator: &Operator, namespace: &str, load: Load) -> Result<()> {
        let progress = async || -> Result<(f64, f64)> {
            let metrics = operator.metrics().await?;
            let of = |kind: &str| {
                let key = format!("weir_api_requests_total{{kind=\"{kind}\",result=\"done\"}}");
                metrics.get(&key).copied().unwrap_or(0.0)
            };
            let pods = of("create_pod");
            Ok((pods, pods + of("workload_status") + of("event")))
        };
        submit(&self.sender(SUBMITTER), namespace, load, None).await?;
        let (mut last, mut since) = (progress().await?, Instant::now());
        loop {
            sleep(Duration::from_millis(250)).await;
            let now = progress().await?;
            if now != last {
                (last, since) = (now, Instant::now());
            }
            if last.0 >= load.workloads as f64 && since.elapsed() > QUIET {
                return Ok(());
            }
            if since.elapsed() > STUCK {
                bail!("the operator made {} of {} pods and then nothing more", last.0, load.workloads);
            }
        }
    }
}

fn measured(
    who: Who,
    round: usize,
    namespace: &str,
    load: Load,
    lines: &[Written],
    before: &Before,
    after: &Before,
) -> Result<Run> {
    let actor = match who {
        Who::Bare => Actor::Bare,
        Who::Weir => Actor::Weir,
    };
    let here: Vec<Written> = lines.iter().filter(|line| line.namespace == namespace).cloned().collect();
    let submissions = || here.iter().filter(|line| line.actor == Actor::Submitter);
    let begin = submissions().map(|line| line.began).min().context("nothing was submitted")?;
    let count_submitted = submissions().filter(|line| line.succeeded).count();
    ensure!(count_submitted == load.workloads, "the audit log shows {count_submitted} submissions");
    let end = |of: &dyn Fn(&Written) -> bool| {
        last(&here, begin, of).context("the audit log does not show what was written")
    };
    let (writes, refused) = count(lines, actor);
    let mut cpu: Vec<(&'static str, f64)> =
        before.cpu.iter().zip(&after.cpu).map(|((name, from), (_, to))| (*name, to - from)).collect();
    cpu.push((
        if who == Who::Bare { "bare client and submitter" } else { "submitter" },
        after.own - before.own,
    ));
    if who == Who::Weir {
        cpu.push(("Weir", after.operator - before.operator));
    }
    let known: f64 = cpu.iter().map(|(_, seconds)| seconds).sum();
    Ok(Run {
        who,
        round,
        workloads: load.workloads,
        submitted: end(&|line| line.actor == Actor::Submitter)?,
        placed: end(&|line| line.actor == actor && line.kind == "create pods")?,
        kubelets: end(&|line| line.actor == Actor::Kwok)?,
        written: end(&|line| line.actor == actor)?,
        writes,
        refused,
        cpu,
        others: (after.busy - before.busy - known).max(0.0),
        wall: after.at.duration_since(before.at).as_secs_f64(),
        memory: None,
    })
}
