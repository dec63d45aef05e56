//! `weir release`: takes Weir's finalizers off all pools, so that it can be uninstalled.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use kube::api::{Api, ListParams, Patch, PatchParams};
use kube::core::PartialObjectMeta;
use serde_json::json;

use crate::api::ResourcePool;
use crate::api::labels::FINALIZER;
use crate::operate::config::Clients;

/// What `weir release` takes.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// How often a pool that changes meanwhile is read again
    #[arg(long, default_value_t = 20)]
    tries: u32,
}

/// Takes the finalizers off.
///
/// # Errors
/// Where there is no cluster, or a pool cannot be changed.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let clients = Clients::infer().await?;
        release(&Api::all(clients.write), args.tries).await
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
