//! The cluster that `cluster.sh up --audit` started: its processes, and what a run leaves in it.

use std::collections::BTreeMap;
use std::fs::read_to_string;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::{Namespace, Node, Pod, ServiceAccount};
use k8s_openapi::api::events::v1::Event;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use weir::api::workload::Phase;
use weir::api::{PooledWorkload, ResourcePool};
use weir::operate::config::Clients;

use super::load::{POOL, Sample, workload};
use super::process::cpu_seconds;

/// Processes of the cluster whose CPU time is told, by the names of `DIR/env`.
const PROCESSES: [(&str, &str); 5] = [
    ("API server", "PID_KUBE_APISERVER"),
    ("etcd", "PID_ETCD"),
    ("KWOK", "PID_KWOK_CONTROLLER"),
    ("controller manager", "PID_KUBE_CONTROLLER_MANAGER"),
    ("scheduler", "PID_KUBE_SCHEDULER"),
];

/// The cluster.
pub struct Cluster {
    env: BTreeMap<String, String>,
    /// As the operator makes its own.
    pub client: Client,
    pub nodes: Vec<String>,
}

impl Cluster {
    /// Reads `DIR/env`, and makes the pool and the operator's namespace.
    pub async fn open(env: &Path) -> Result<Self> {
        let text = read_to_string(env).with_context(|| format!("cannot read {}", env.display()))?;
        let pairs = text.lines().filter_map(|line| line.split_once('='));
        let env: BTreeMap<String, String> =
            pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        let kubeconfig = env.get("KUBECONFIG").context("the cluster has no KUBECONFIG")?;
        let kubeconfig = Kubeconfig::read_from(kubeconfig)?;
        let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
        let client = Clients::of(&config)?.write;
        let nodes: Api<Node> = Api::all(client.clone());
        let nodes: Vec<String> = nodes
            .list(&ListParams::default())
            .await?
            .into_iter()
            .filter_map(|node| node.metadata.name)
            .collect();
        let cluster = Self { env, client, nodes };
        cluster.namespace("weir-system").await?;
        let pool: Value = json!({
            "apiVersion": "weir.dev/v1alpha1", "kind": "ResourcePool", "metadata": {"name": POOL},
            "spec": {"nodes": {"selector": {}}, "access": {"namespaces": {}},
                     "resources": [{"name": "cpu"}, {"name": "memory"}]},
        });
        let pools: Api<ResourcePool> = Api::all(cluster.client.clone());
        pools.patch(POOL, &PatchParams::apply("bench").force(), &Patch::Apply(&pool)).await?;
        Ok(cluster)
    }

    pub fn kubeconfig(&self) -> Result<&str> {
        Ok(self.env.get("KUBECONFIG").context("the cluster has no KUBECONFIG")?)
    }

    pub fn audit_log(&self) -> Result<PathBuf> {
        let path = self.env.get("AUDIT_LOG").context("the cluster was started without --audit")?;
        Ok(path.into())
    }

    /// CPU seconds of each process so far.
    pub fn cpu(&self) -> Result<Vec<(&'static str, f64)>> {
        let pid = |key: &str| self.env.get(key).with_context(|| format!("no {key} in the cluster's env"));
        PROCESSES.iter().map(|(name, key)| Ok((*name, cpu_seconds(pid(key)?.parse()?)?))).collect()
    }

    /// Makes a namespace in which pods can be created.
    pub async fn namespace(&self, name: &str) -> Result<()> {
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        namespaces.patch(name, &PatchParams::apply("bench").force(), &Patch::Apply(&namespace)).await?;
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client.clone(), name);
        let until = Instant::now() + Duration::from_mins(1);
        while accounts.get_opt("default").await?.is_none() {
            ensure!(Instant::now() < until, "the namespace {name} got no service account");
            sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    }

    /// How many workloads of a namespace are in each phase.
    pub async fn phases(&self, namespace: &str) -> Result<BTreeMap<String, usize>> {
        let workloads: Api<PooledWorkload> = Api::namespaced(self.client.clone(), namespace);
        let mut phases = BTreeMap::new();
        for workload in workloads.list(&ListParams::default()).await? {
            let phase = workload.status.and_then(|status| status.phase);
            *phases.entry(phase.map_or("none".to_owned(), |phase| format!("{phase:?}"))).or_default() += 1;
        }
        Ok(phases)
    }

    /// Waits until no pod of the namespace is in another phase than that.
    pub async fn await_pods(&self, namespace: &str, phase: &str) -> Result<()> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        let others = ListParams::default().fields(&format!("status.phase!={phase}")).limit(1);
        let until = Instant::now() + Duration::from_mins(5);
        while !pods.list_metadata(&others).await?.items.is_empty() {
            ensure!(Instant::now() < until, "pods do not become {phase}");
            sleep(Duration::from_millis(500)).await;
        }
        Ok(())
    }

    /// Removes what a run made, at once.
    pub async fn clean(&self, namespace: &str) -> Result<()> {
        let now = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
        let workloads: Api<PooledWorkload> = Api::namespaced(self.client.clone(), namespace);
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        let events: Api<Event> = Api::namespaced(self.client.clone(), namespace);
        delete_all(&workloads, &now).await?;
        delete_all(&pods, &now).await?;
        delete_all(&events, &now).await
    }

    /// Lets the operator, which must be running, carry one workload from its creation to its end, and keeps what
    /// it wrote.
    pub async fn sample(&self, namespace: &str) -> Result<Sample> {
        let workloads: Api<PooledWorkload> = Api::namespaced(self.client.clone(), namespace);
        let load = super::load::Load { workloads: 1, submitters: 1, ends: true };
        let mut asked = workload(0, load);
        // Long enough to be seen running.
        asked["spec"]["template"]["pod"]["metadata"]["annotations"]["sim.weir.dev/run-for"] = "5s".into();
        let asked: PooledWorkload = serde_json::from_value(asked)?;
        let name = asked.metadata.name.clone().context("no name")?;
        workloads.create(&Default::default(), &asked).await?;
        let mut seen = Vec::new();
        for phase in [Phase::Running, Phase::Succeeded] {
            let until = Instant::now() + Duration::from_mins(1);
            loop {
                let status = workloads.get(&name).await?.status.unwrap_or_default();
                if status.phase == Some(phase) {
                    seen.push(status);
                    break;
                }
                ensure!(Instant::now() < until, "the sample is {:?} and not {phase:?}", status.phase);
                sleep(Duration::from_millis(100)).await;
            }
        }
        sleep(Duration::from_secs(1)).await;
        let events: Api<Event> = Api::namespaced(self.client.clone(), namespace);
        let mut events: Vec<Event> = events
            .list(&ListParams::default())
            .await?
            .into_iter()
            .filter(|event| {
                event.regarding.as_ref().is_some_and(|of| of.kind.as_deref() == Some("PooledWorkload"))
            })
            .collect();
        events.sort_by_key(|event| event.event_time.clone());
        let events: Vec<Value> = events.iter().map(serde_json::to_value).collect::<Result<_, _>>()?;
        let count = events.len();
        let events =
            events.try_into().map_err(|_| anyhow::anyhow!("the sample has {count} events, not 2"))?;
        let statuses = seen.try_into().map_err(|_| anyhow::anyhow!("the sample has not 2 statuses"))?;
        self.clean(namespace).await?;
        Ok(Sample { statuses, events })
    }
}

/// Deletes all objects of a kind, some at a time: the API server ends a request that takes longer than a minute.
async fn delete_all<K>(api: &Api<K>, how: &DeleteParams) -> Result<()>
where
    K: Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    let page = ListParams::default().limit(250);
    let until = Instant::now() + Duration::from_mins(5);
    while !api.list_metadata(&page.clone().limit(1)).await?.items.is_empty() {
        ensure!(Instant::now() < until, "what a run made does not go");
        if let Err(error) = api.delete_collection(how, &page).await {
            // It may have closed the connection and go on deleting.
            eprintln!("deleting goes on: {error}");
        }
        sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}
