//! `weir release`: takes Weir's finalizers off all pools and its taints off all nodes, so that it can be uninstalled.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use k8s_openapi::api::core::v1::{Node, Taint};
use kube::api::{Api, ListParams, Patch, PatchParams};
use kube::core::PartialObjectMeta;
use serde_json::json;

use crate::api::ResourcePool;
use crate::api::labels::{FINALIZER, TAINT, TAINTED_FOR};
use crate::operate::config::Clients;

/// What `weir release` takes.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// How often a pool or node that changes meanwhile is read again
    #[arg(long, default_value_t = 20)]
    tries: u32,
}

/// Takes the finalizers and taints off.
///
/// # Errors
/// Where there is no cluster, or a pool cannot be changed.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let clients = Clients::infer().await?;
        release(&Api::all(clients.write.clone()), args.tries).await?;
        untaint(&Api::all(clients.write), args.tries).await
    })?;
    Ok(ExitCode::SUCCESS)
}

async fn release(pools: &Api<ResourcePool>, tries: u32) -> anyhow::Result<()> {
    for _ in 0..tries.max(1) {
        let all = match pools.list_metadata(&ListParams::default()).await {
            Ok(all) => all.items,
            Err(kube::Error::Api(status)) if status.code == 404 => Vec::new(),
            Err(error) => return Err(error).context("cannot list pools"),
        };
        let held: Vec<_> = all.iter().filter(|pool| holds(pool)).collect();
        if held.is_empty() {
            println!("no pool is held by Weir");
            return Ok(());
        }
        for pool in held {
            let_go(pools, pool).await?;
        }
        // An operator that still runs puts them back: then this does not end, and says so.
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    bail!(
        "pools get their finalizers back: end the operator first (scale its Deployment to 0), then run this again"
    )
}

/// Takes taints off that Weir has put on nodes; those of others stay.
async fn untaint(nodes: &Api<Node>, tries: u32) -> anyhow::Result<()> {
    for _ in 0..tries.max(1) {
        let all = nodes.list(&ListParams::default()).await.context("cannot list nodes")?.items;
        let tainted: Vec<&Node> = all.iter().filter(|node| tainted_for(node).is_some()).collect();
        if tainted.is_empty() {
            println!("no node is tainted by Weir");
            return Ok(());
        }
        for node in tainted {
            take_off(nodes, node).await?;
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    bail!(
        "nodes get their taints back: end the operator first (scale its Deployment to 0), then run this again"
    )
}

fn tainted_for(node: &Node) -> Option<&str> {
    node.metadata.annotations.as_ref()?.get(TAINTED_FOR).map(String::as_str)
}

async fn take_off(nodes: &Api<Node>, node: &Node) -> anyhow::Result<()> {
    let name = node.metadata.name.as_deref().unwrap_or_default();
    let pool = tainted_for(node);
    let is_ours =
        |taint: &&Taint| taint.key == TAINT && taint.value.as_deref() == pool && taint.effect == "NoSchedule";
    let taints = node.spec.iter().flat_map(|spec| spec.taints.iter().flatten());
    let kept: Vec<&Taint> = taints.filter(|taint| !is_ours(taint)).collect();
    let metadata =
        json!({"resourceVersion": node.metadata.resource_version, "annotations": {TAINTED_FOR: null}});
    let patch = json!({"metadata": metadata, "spec": {"taints": kept}});
    match nodes.patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await {
        Ok(_) => {
            println!("node/{name} is without its taint");
            Ok(())
        }
        Err(kube::Error::Api(status)) if status.code == 409 || status.code == 404 => Ok(()),
        Err(error) => Err(error).with_context(|| format!("cannot change node/{name}")),
    }
}

fn holds(pool: &PartialObjectMeta<ResourcePool>) -> bool {
    pool.metadata.finalizers.iter().flatten().any(|one| one == FINALIZER)
}

async fn let_go(pools: &Api<ResourcePool>, pool: &PartialObjectMeta<ResourcePool>) -> anyhow::Result<()> {
    let name = pool.metadata.name.as_deref().unwrap_or_default();
    let kept: Vec<&String> =
        pool.metadata.finalizers.iter().flatten().filter(|one| *one != FINALIZER).collect();
    let patch = json!({"metadata": {"resourceVersion": pool.metadata.resource_version, "finalizers": kept}});
    match pools.patch_metadata(name, &PatchParams::default(), &Patch::Merge(&patch)).await {
        Ok(_) => {
            println!("resourcepool/{name} is let go");
            Ok(())
        }
        // It has changed, or is gone: the next list shows which.
        Err(kube::Error::Api(status)) if status.code == 409 || status.code == 404 => Ok(()),
        Err(error) => Err(error).with_context(|| format!("cannot change resourcepool/{name}")),
    }
}
