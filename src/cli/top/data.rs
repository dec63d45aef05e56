//! What `weir top` shows, as of one moment; `-o json` prints it as it is.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

use crate::api::pool_status::ResourceStatus;
use crate::api::quantity::{counted, shown_amount};
use crate::api::workload::{Phase, PooledWorkloadStatus};
use crate::api::{Quantity, ResourcePoolStatus, conditions};
use crate::cli::cluster::Cluster;
use crate::cli::live::{self, Live};
use crate::cli::output::title;
use crate::cli::tree::tree;
use crate::model::nodes::Node;
use crate::model::resources::ResourceId;
use crate::model::world::World;
use crate::observe::catalog::{Pool, Workload};

/// Pools, nodes and workloads.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Snapshot {
    /// Roots by name, each with what is below it.
    pub pools: Vec<PoolRow>,
    /// By name.
    pub nodes: Vec<NodeRow>,
    /// Those that wait first, by pool and place in the queue; then the others, by pool and name.
    pub workloads: Vec<WorkloadRow>,
    /// What could not be read, and why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unknown: Vec<String>,
}

/// How much of something is in use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Use {
    /// Name of the resource.
    pub name: String,
    /// In use.
    pub used: Quantity,
    /// Of how much: a pool's limit, what a node offers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub of: Option<Quantity>,
    /// In percent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub percent: Option<i64>,
}

/// A pool.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PoolRow {
    /// Its name.
    pub name: String,
    /// The pool above.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
    /// How many are above it.
    pub depth: usize,
    /// Its nodes.
    pub nodes: i32,
    /// Those that are ready and schedulable.
    pub nodes_ready: i32,
    /// What is in use of what it may use.
    pub resources: Vec<Use>,
    /// Workloads that wait.
    pub queued: i32,
    /// Workloads that hold quota.
    pub running: i32,
    /// Whether it admits work.
    pub ready: bool,
    /// Why it does not, or what to look at.
    pub reason: String,
}

/// A node.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeRow {
    /// Its name.
    pub name: String,
    /// The root pool that has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
    /// Ready, `NotReady`, Cordoned or Draining.
    pub state: &'static str,
    /// What pods request of what it offers.
    pub resources: Vec<Use>,
    /// Pods on it that have not ended.
    pub pods: usize,
}

/// A workload.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkloadRow {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its pool.
    pub pool: String,
    /// The priority that counts.
    pub priority: i32,
    /// Where it stands; absent before it was looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,
    /// Why.
    pub reason: String,
    /// Its place in the queue.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub position: Option<u32>,
    /// Members that run.
    pub running: i32,
    /// Members that are wanted.
    pub wanted: u32,
    /// For how many seconds it has stood there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub for_seconds: Option<i64>,
}

/// Reads all that may be read; of workloads those of one namespace, if it is given.
///
/// # Errors
/// Where the cluster cannot be reached.
pub async fn read(cluster: &Cluster, namespace: Option<&str>) -> anyhow::Result<Snapshot> {
    let mut live = live::read(&cluster.client).await?;
    live.list_own(&cluster.client, namespace.unwrap_or(&cluster.namespace)).await;
    Ok(Snapshot {
        pools: pools(&live),
        nodes: nodes(&live.world),
        workloads: workloads(&live, namespace),
        unknown: live.missing.into_values().collect(),
    })
}

fn percent(used: i64, of: i64) -> Option<i64> {
    i64::try_from(i128::from(used) * 100 / i128::from(of.max(1))).ok().filter(|_| of > 0)
}

/// All pools, each after the one above it.
fn pools(live: &Live) -> Vec<PoolRow> {
    tree(&live.catalog).into_iter().map(|(pool, depth)| pool_row(pool, depth)).collect()
}

fn pool_row(pool: &Pool, depth: usize) -> PoolRow {
    let ResourcePoolStatus { nodes, resources, workloads, conditions, .. } = &pool.status;
    let (nodes, workloads) = (nodes.clone().unwrap_or_default(), workloads.clone().unwrap_or_default());
    let alarm = [
        conditions::STALLED,
        conditions::OVERCOMMITTED,
        conditions::CAPACITY_PRESSURE,
        conditions::EXHAUSTION_PREDICTED,
    ]
    .into_iter()
    .find_map(|kind| conditions.iter().find(|one| one.type_ == kind && one.status == "True"));
    let ready = conditions.iter().find(|one| one.type_ == conditions::READY);
    PoolRow {
        name: pool.spec.name.to_string(),
        parent: pool.spec.parent.as_ref().map(ToString::to_string),
        depth,
        nodes: nodes.total,
        nodes_ready: nodes.ready,
        resources: resources.iter().map(of_status).collect(),
        queued: workloads.queued,
        running: workloads.running,
        ready: ready.is_some_and(|ready| ready.status == "True"),
        reason: alarm.or(ready).map_or_else(|| "not looked at".to_owned(), |one| one.reason.clone()),
    }
}

fn of_status(one: &ResourceStatus) -> Use {
    let units = |quantity: &Quantity| counted(&one.name, quantity.as_str()).unwrap_or_default();
    let used = one.allocated.clone().unwrap_or_else(|| shown_amount(&one.name, 0));
    let of = one.limit.clone().or_else(|| one.capacity.clone());
    Use {
        percent: of.as_ref().and_then(|of| percent(units(&used), units(of))),
        name: one.name.clone(),
        used,
        of,
    }
}

fn nodes(world: &World) -> Vec<NodeRow> {
    world.node_ids.values().filter_map(|id| node_row(world, world.node(*id)?)).collect()
}

fn node_row(world: &World, node: &Node) -> Option<NodeRow> {
    let spec = node.spec.as_ref()?;
    let one = |(resource, offered): (ResourceId, crate::model::amount::Amount)| {
        let name = world.resources().name(resource);
        let used = node.load.get(resource).units();
        let of = offered.units();
        (resource != ResourceId::PODS).then(|| Use {
            name: name.to_owned(),
            used: shown_amount(name, used),
            of: Some(shown_amount(name, of)),
            percent: percent(used, of),
        })
    };
    Some(NodeRow {
        name: node.name.to_string(),
        pool: node.root.and_then(|root| Some(world.pool(root)?.spec.name.to_string())),
        state: match (spec.not_ready_since, spec.unschedulable, spec.drain) {
            (Some(_), ..) => "NotReady",
            (None, true, true) => "Draining",
            (None, true, false) => "Cordoned",
            (None, false, _) => "Ready",
        },
        resources: node.allocatable.iter().filter_map(one).collect(),
        pods: node.pods.len(),
    })
}

fn workloads(live: &Live, namespace: Option<&str>) -> Vec<WorkloadRow> {
    let mut positions: BTreeMap<Arc<str>, u32> = BTreeMap::new();
    for pool in live.world.pool_names() {
        positions.extend(live.world.queue_front(pool, usize::MAX));
    }
    let shown = live
        .catalog
        .workloads()
        .filter(|(_, known)| namespace.is_none_or(|only| *known.spec.namespace == *only));
    let mut rows: Vec<WorkloadRow> =
        shown.map(|(uid, known)| workload_row(known, positions.get(uid).copied(), live)).collect();
    rows.sort_by_cached_key(|row| {
        let waits = row.phase == Some(Phase::Queued) || row.phase.is_none();
        (!waits, row.pool.clone(), row.position.unwrap_or(u32::MAX), title(&row.namespace, &row.name))
    });
    rows
}

fn workload_row(known: &Workload, position: Option<u32>, live: &Live) -> WorkloadRow {
    let status: PooledWorkloadStatus = known.status();
    let waits = status.phase == Some(Phase::Queued);
    let ready = status.conditions.iter().find(|one| one.type_ == conditions::READY);
    let pending = status.pending.as_ref().map(|pending| pending.reason.clone());
    let written = status.queue.as_ref().and_then(|queue| u32::try_from(queue.position).ok());
    let admitted = status.allocation.as_ref().and_then(|one| one.admitted_at.clone());
    let since = match status.phase {
        Some(Phase::Queued) => status.queued_at.clone(),
        Some(Phase::Succeeded | Phase::Failed) => status.finished_at.clone(),
        _ => status.started_at.clone().or(admitted),
    };
    WorkloadRow {
        namespace: known.spec.namespace.to_string(),
        name: known.spec.name.to_string(),
        pool: known.spec.pool.to_string(),
        priority: status.priority.unwrap_or(known.spec.priority),
        phase: status.phase,
        reason: pending
            .or_else(|| ready.map(|one| one.reason.clone()))
            .unwrap_or_else(|| "not looked at".to_owned()),
        // What has been admitted in our copy alone still waits in the cluster.
        position: position.or(written.filter(|_| !live.missing.is_empty())).filter(|_| waits),
        running: status.members.map(|members| members.running).unwrap_or_default(),
        wanted: known.spec.replicas,
        for_seconds: since.map(|since| (live.now.0 - since.0.as_millisecond()).max(0) / 1000),
    }
}
