//! What a cluster holds of the kinds that are watched, read once and never written.

use anyhow::{Context as _, bail};
use kube::api::ListParams;
use kube::core::Request;
use kube::{Client, Resource};
use serde_json::Value;

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

/// Objects a page.
const PAGE: u32 = 500;

/// Reads all kinds.
pub(super) async fn read(which: &Which, loaded: &mut Loaded) -> anyhow::Result<()> {
    let client = which.connect().await?.client;
    let is_there = |found: Option<()>, kind: &str| {
        found.with_context(|| {
            format!(
                "the cluster has no {kind}: install Weir's custom resource definitions first (`weir crds`)"
            )
        })
    };
    let found = list::<ResourcePool>(&client, loaded, "ResourcePool").await?;
    is_there(found, "ResourcePool")?;
    let found = list::<PooledWorkload>(&client, loaded, "PooledWorkload").await?;
    is_there(found, "PooledWorkload")?;
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

/// Reads all objects of one kind, page by page; none if the cluster does not have the kind.
async fn list<K: Resource<DynamicType = ()>>(
    client: &Client,
    loaded: &mut Loaded,
    kind: &'static str,
) -> anyhow::Result<Option<()>> {
    list_by::<K>(client, loaded, kind, None).await
}

/// The same of those that are labelled for a pool.
async fn list_labelled<K: Resource<DynamicType = ()>>(
    client: &Client,
    loaded: &mut Loaded,
    kind: &'static str,
) -> anyhow::Result<Option<()>> {
    list_by::<K>(client, loaded, kind, Some(POOL)).await
}

async fn list_by<K: Resource<DynamicType = ()>>(
    client: &Client,
    loaded: &mut Loaded,
    kind: &'static str,
    labels: Option<&str>,
) -> anyhow::Result<Option<()>> {
    let request = Request::new(K::url_path(&(), None));
    let label_selector = labels.map(ToOwned::to_owned);
    let mut params = ListParams { limit: Some(PAGE), label_selector, ..ListParams::default() };
    loop {
        let mut page: Value = match client.request(request.list(&params)?).await {
            Ok(page) => page,
            Err(kube::Error::Api(status)) if status.code == 404 => return Ok(None),
            Err(kube::Error::Api(status)) if status.code == 403 => {
                bail!(
                    "{kind} may not be listed: {}. Reading needs get and list on it, as docs/rbac.yaml has them",
                    status.message
                )
            }
            Err(error) => return Err(error).with_context(|| format!("cannot list {kind}")),
        };
        if let Some(Value::Array(items)) = page.get_mut("items").map(Value::take) {
            for item in items {
                loaded.object(kind, item)?;
            }
        }
        let next = page["metadata"]["continue"].as_str().filter(|next| !next.is_empty());
        params.continue_token = next.map(ToOwned::to_owned);
        if params.continue_token.is_none() {
            return Ok(Some(()));
        }
    }
}
