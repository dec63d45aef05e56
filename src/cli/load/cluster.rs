//! What a cluster holds of the kinds that are watched, read once and never written.

use anyhow::{anyhow, ensure};
use kube::{Client, Resource};

use super::Loaded;
use crate::api::kubevirt::{
    ClusterInstancetype, InstanceMigration, Instancetype, KubeVirt, VirtualMachine, VirtualMachineInstance,
};
use crate::api::labels::POOL;
use crate::api::pruned::{
    Deployment, Job, Namespace, Node, PersistentVolume, PersistentVolumeClaim, Pod, PriorityClass,
    StatefulSet,
};
use crate::api::{PooledWorkload, ResourcePool};
use crate::cli::cluster::Which;
use crate::cli::list::each;

/// Reads all kinds.
pub(super) async fn read(which: &Which, loaded: &mut Loaded) -> anyhow::Result<()> {
    let client = which.connect().await?.client;
    for (kind, is_there) in [
        ("ResourcePool", list::<ResourcePool>(&client, loaded, "ResourcePool").await?),
        ("PooledWorkload", list::<PooledWorkload>(&client, loaded, "PooledWorkload").await?),
    ] {
        ensure!(
            is_there,
            "the cluster has no {kind}: install Weir's custom resource definitions first (`weir crds`)"
        );
    }
    list::<Namespace>(&client, loaded, "Namespace").await?;
    list::<PriorityClass>(&client, loaded, "PriorityClass").await?;
    list::<PersistentVolumeClaim>(&client, loaded, "PersistentVolumeClaim").await?;
    list::<PersistentVolume>(&client, loaded, "PersistentVolume").await?;
    list::<Node>(&client, loaded, "Node").await?;
    list::<Pod>(&client, loaded, "Pod").await?;
    // Of these, what is labelled for a pool.
    list_labelled::<Deployment>(&client, loaded, "Deployment").await?;
    list_labelled::<StatefulSet>(&client, loaded, "StatefulSet").await?;
    list_labelled::<Job>(&client, loaded, "Job").await?;
    // Clusters may be without these.
    list::<KubeVirt>(&client, loaded, "KubeVirt").await?;
    list::<Instancetype>(&client, loaded, "VirtualMachineInstancetype").await?;
    list::<ClusterInstancetype>(&client, loaded, "VirtualMachineClusterInstancetype").await?;
    list::<VirtualMachine>(&client, loaded, "VirtualMachine").await?;
    list::<VirtualMachineInstance>(&client, loaded, "VirtualMachineInstance").await?;
    list::<InstanceMigration>(&client, loaded, "VirtualMachineInstanceMigration").await?;
    Ok(())
}

/// Reads all objects of one kind; whether the cluster has the kind.
async fn list<K: Resource<DynamicType = ()>>(
    client: &Client,
    loaded: &mut Loaded,
    kind: &'static str,
) -> anyhow::Result<bool> {
    list_by::<K>(client, loaded, kind, None).await
}

/// The same of those that are labelled for a pool.
async fn list_labelled<K: Resource<DynamicType = ()>>(
    client: &Client,
    loaded: &mut Loaded,
    kind: &'static str,
) -> anyhow::Result<bool> {
    list_by::<K>(client, loaded, kind, Some(POOL)).await
}

async fn list_by<K: Resource<DynamicType = ()>>(
    client: &Client,
    loaded: &mut Loaded,
    kind: &'static str,
    labels: Option<&str>,
) -> anyhow::Result<bool> {
    let listed = each::<K, anyhow::Error>(client, labels, |object| loaded.object(kind, object)).await;
    listed.map_err(|error| match error.downcast_ref::<kube::Error>() {
        Some(kube::Error::Api(status)) if status.code == 403 => anyhow!(
            "{kind} may not be listed: {}. Reading needs get and list on it, as docs/rbac.yaml has them",
            status.message
        ),
        Some(_) => error.context(format!("cannot list {kind}")),
        None => error,
    })
}
