//! `weir release`: ends the operators' work, takes Weir's finalizers off all pools and its taints off all nodes, so that it
//! can be uninstalled.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, Taint};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{Api, ListParams, Patch, PatchParams, PostParams};
use kube::core::PartialObjectMeta;
use serde_json::json;

use crate::api::ResourcePool;
use crate::api::labels::{FINALIZER, TAINT, TAINTED_FOR};
use crate::operate::config::Clients;

/// What `weir release` takes.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Namespace of the operators' Lease
    #[arg(long, env = "POD_NAMESPACE", default_value = "weir-system")]
    namespace: String,
    /// Name of the Lease
    #[arg(long, default_value = "weir")]
    lease_name: String,
    /// How often a pool or node that changes meanwhile is read again
    #[arg(long, default_value_t = 20)]
    tries: u32,
}

/// Who holds the Lease meanwhile.
const HOLDER: &str = "weir-release";
/// For how long no operator leads after the last write.
const QUIET: Duration = Duration::from_secs(30);
/// What a Lease says where it does not say it.
const LEASE_SECONDS: i32 = 15;

/// Ends the operators' work and takes the finalizers and taints off.
///
/// # Errors
/// Where there is no cluster, or a pool cannot be changed.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let clients = Clients::infer().await?;
        let leases = Api::namespaced(clients.write.clone(), &args.namespace);
        tokio::time::sleep(take_lead(&leases, args).await?).await;
        release(&Api::all(clients.write.clone()), args.tries).await?;
        untaint(&Api::all(clients.write), args.tries).await
    })?;
    Ok(ExitCode::SUCCESS)
}

/// Takes the Lease from whoever leads, and says how long to wait until that one has certainly stopped writing.
async fn take_lead(leases: &Api<Lease>, args: &Args) -> anyhow::Result<Duration> {
    let name = &args.lease_name;
    for _ in 0..args.tries.max(1) {
        let lease = match leases.get_opt(name).await {
            Ok(Some(lease)) => lease,
            // Nobody has ever led.
            Ok(None) => return Ok(Duration::ZERO),
            Err(kube::Error::Api(status)) if status.code == 403 => return Ok(not_allowed(&status.message)),
            Err(error) => return Err(error).with_context(|| format!("cannot read the Lease {name}")),
        };
        let (taken, former, wait) = taken(lease);
        match leases.replace(name, &PostParams::default(), &taken).await {
            Ok(_) if wait.is_zero() => return Ok(wait),
            Ok(_) => {
                println!("takes the lead from {former}, and waits {} s until it has stopped", wait.as_secs());
                return Ok(wait);
            }
            // It was renewed meanwhile.
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            Err(kube::Error::Api(status)) if status.code == 403 => return Ok(not_allowed(&status.message)),
            Err(error) => return Err(error).with_context(|| format!("cannot write the Lease {name}")),
        }
    }
    bail!("the Lease {name} changes all the time: end the operator first, then run this again")
}

/// The Lease in our hand, who had it, and how long that one may go on. A leader stops within the time that its Lease
/// says after its last renewal; times that others wrote are not compared with our clock.
fn taken(mut lease: Lease) -> (Lease, String, Duration) {
    let spec = lease.spec.get_or_insert_default();
    let former = spec.holder_identity.take().unwrap_or_default();
    let seconds = spec.lease_duration_seconds.unwrap_or(LEASE_SECONDS).clamp(1, 3600);
    let idle = former.is_empty() || former == HOLDER;
    let wait = if idle { Duration::ZERO } else { Duration::from_secs(u64::from(seconds.unsigned_abs())) };
    let now = MicroTime(Timestamp::now());
    spec.holder_identity = Some(HOLDER.to_owned());
    spec.lease_duration_seconds = i32::try_from((wait + QUIET).as_secs()).ok();
    spec.lease_transitions = Some(spec.lease_transitions.unwrap_or(0).saturating_add(1));
    spec.acquire_time = Some(now.clone());
    spec.renew_time = Some(now);
    (lease, former, wait)
}

fn not_allowed(words: &str) -> Duration {
    eprintln!("the Lease cannot be taken, so operators that run are not ended: {words}");
    Duration::ZERO
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
        // An operator that still works puts them back: then this does not end, and says so.
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    bail!(
        "pools get their finalizers back: an operator still works. End it (scale its Deployment to 0), then run this again"
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
