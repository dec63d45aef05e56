//! The load: one-pod workloads, submitted side by side; and the bare client, which then makes the writes that the
//! operator would make, without deciding, watching or reserving anything.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context as _, Result};
use k8s_openapi::api::core::v1::PodSpec;
use serde_json::{Value, json};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use weir::api::PooledWorkloadStatus;
use weir::apply::call::WrittenMeta;
use weir::decide::decision::Placement;
use weir::model::spec::Completion;
use weir::plan::pod::{self, pods};
use weir::plan::workload_status::diff;

use super::client::Sender;

/// The pool that all workloads ask for.
pub const POOL: &str = "bench";
/// As `weir run` does it.
pub const EVENTS_IN_FLIGHT: usize = 16;

/// What is submitted.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// How many workloads.
    pub workloads: usize,
    /// Submitted at once.
    pub submitters: usize,
    /// Whether pods end by themselves a second after they began.
    pub ends: bool,
}

/// One workload, submitted.
pub struct Submitted {
    number: usize,
    meta: WrittenMeta,
}

fn pod_spec() -> Value {
    json!({"restartPolicy": "Never", "containers": [{
        "name": "main", "image": "registry.example.com/work:1",
        "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}},
    }]})
}

fn name(number: usize) -> String {
    format!("w-{number:05}")
}

fn annotations(load: Load) -> Value {
    if load.ends { json!({"sim.weir.dev/run-for": "1s"}) } else { json!({}) }
}

/// A workload as a user writes it.
pub fn workload(number: usize, load: Load) -> Value {
    json!({
        "apiVersion": "weir.dev/v1alpha1", "kind": "PooledWorkload", "metadata": {"name": name(number)},
        "spec": {"pool": POOL, "template": {"pod": {
            "metadata": {"annotations": annotations(load)}, "spec": pod_spec(),
        }}},
    })
}

/// Submits all of it; what was submitted goes to `out`.
pub async fn submit(
    sender: &Sender,
    namespace: &str,
    load: Load,
    out: Option<mpsc::UnboundedSender<Submitted>>,
) -> Result<()> {
    let next = Arc::new(AtomicUsize::new(0));
    let mut submitters = JoinSet::new();
    for _ in 0..load.submitters {
        let (sender, next, out) = (sender.clone(), next.clone(), out.clone());
        let path = format!("/apis/weir.dev/v1alpha1/namespaces/{namespace}/pooledworkloads");
        submitters.spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= load.workloads {
                    return anyhow::Ok(());
                }
                let meta = sender.create(&path, &workload(number, load)).await?;
                if let Some(out) = &out {
                    out.send(Submitted { number, meta })?;
                }
            }
        });
    }
    drop(out);
    while let Some(done) = submitters.join_next().await {
        done??;
    }
    Ok(())
}

/// What the operator wrote for one such workload, to be written again for others.
#[derive(Clone, Debug)]
pub struct Sample {
    /// The status at its first and second write.
    pub statuses: [PooledWorkloadStatus; 2],
    /// Both events.
    pub events: [Value; 2],
}

/// The bare client.
pub struct Bare {
    pub sender: Sender,
    pub namespace: Arc<str>,
    pub load: Load,
    pub nodes: Arc<[String]>,
    pub sample: Arc<Sample>,
    pub in_flight: Arc<Semaphore>,
    pub events_in_flight: Arc<Semaphore>,
}

impl Bare {
    /// Makes the writes for what comes, as many at once as the operator does, until nothing more comes and all
    /// is written.
    pub async fn run(self, mut submitted: mpsc::UnboundedReceiver<Submitted>) -> Result<()> {
        let bare = Arc::new(self);
        let mut tasks = JoinSet::new();
        while let Some(one) = submitted.recv().await {
            let bare = bare.clone();
            tasks.spawn(async move { bare.place(one).await });
        }
        while let Some(done) = tasks.join_next().await {
            done??;
        }
        Ok(())
    }

    async fn place(self: Arc<Self>, Submitted { number, meta }: Submitted) -> Result<()> {
        let node = self.nodes.get(number % self.nodes.len()).context("there are no nodes")?;
        let path = format!("/api/v1/namespaces/{}/pods?fieldManager=bench", self.namespace);
        let pod = self.pod(number, &meta, node)?;
        self.write(async |sender| sender.create(&path, &pod).await).await?;
        let mut events = JoinSet::new();
        events.spawn(self.clone().event(0, number, meta.uid.clone()));
        let [first, second] = &self.sample.statuses;
        let version =
            self.status(number, &meta.resource_version, &PooledWorkloadStatus::default(), first).await?;
        if self.load.ends {
            self.status(number, &version, first, second).await?;
            events.spawn(self.clone().event(1, number, meta.uid.clone()));
        }
        while let Some(done) = events.join_next().await {
            done??;
        }
        Ok(())
    }

    async fn write(&self, send: impl AsyncFnOnce(&Sender) -> Result<WrittenMeta>) -> Result<WrittenMeta> {
        let _permit = self.in_flight.acquire().await?;
        send(&self.sender).await
    }

    /// The same pod that the operator makes.
    fn pod(&self, number: usize, meta: &WrittenMeta, node: &str) -> Result<Value> {
        let spec: PodSpec = serde_json::from_value(pod_spec())?;
        let annotations = serde_json::from_value(annotations(self.load))?;
        let of = pod::Workload {
            uid: &meta.uid.as_str().into(),
            namespace: &self.namespace,
            name: &name(number).into(),
            pool: POOL,
            size: 1,
            completion: Completion::RunToCompletion,
            labels: &[].into(),
            annotations: &annotations,
            spec: &spec,
            left_out: &[],
            dedicated: None,
        };
        let made = pods(&of, &[Placement { index: 0, attempt: 0, node: node.into() }]);
        Ok(serde_json::to_value(made.first().context("no pod was made")?)?)
    }

    async fn status(
        &self,
        number: usize,
        version: &str,
        last: &PooledWorkloadStatus,
        next: &PooledWorkloadStatus,
    ) -> Result<String> {
        let path = format!(
            "/apis/weir.dev/v1alpha1/namespaces/{}/pooledworkloads/{}/status?fieldManager=bench",
            self.namespace,
            name(number)
        );
        let status = diff(last, next).context("both statuses of the sample are the same")?;
        let patch = json!({"metadata": {"resourceVersion": version}, "status": status});
        Ok(self.write(async |sender| sender.merge(&path, &patch).await).await?.resource_version)
    }

    async fn event(self: Arc<Self>, which: usize, number: usize, uid: String) -> Result<()> {
        let mut event = self.sample.events.get(which).context("no such event")?.clone();
        let metadata = json!({"name": format!("{}.{which:016x}", name(number)), "namespace": self.namespace});
        let object = event.as_object_mut().context("an event is an object")?;
        object.insert("metadata".to_owned(), metadata);
        if let Some(regarding) = object.get_mut("regarding").and_then(Value::as_object_mut) {
            regarding.insert("name".to_owned(), name(number).into());
            regarding.insert("uid".to_owned(), uid.into());
            regarding.insert("namespace".to_owned(), (*self.namespace).into());
        }
        let path = format!("/apis/events.k8s.io/v1/namespaces/{}/events?fieldManager=bench", self.namespace);
        let _permit = self.events_in_flight.acquire().await?;
        self.sender.create(&path, &event).await?;
        Ok(())
    }
}
