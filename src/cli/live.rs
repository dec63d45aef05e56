//! A cluster as far as one may read it, read once and written never: the World that the operator decides on, and what
//! is known beside it. What may not be read is said, and the rest is there.

use std::collections::BTreeMap;

use anyhow::anyhow;
use futures::future::{BoxFuture, join_all};
use jiff::Timestamp;
use kube::api::{Api, ListParams};
use kube::{Client, Resource};
use serde_json::Value;

use super::cluster;
use super::list::each;
use crate::api::kubevirt::{
    ClusterInstancetype, InstanceMigration, Instancetype, KubeVirt, VirtualMachine, VirtualMachineInstance,
};
use crate::api::labels::POOL;
use crate::api::pruned::{
    Deployment, Job, Namespace, Node, PersistentVolume, PersistentVolumeClaim, Pod, PriorityClass,
    StatefulSet,
};
use crate::api::{PooledWorkload, ResourcePool};
use crate::model::delta::Delta;
use crate::model::time::Time;
use crate::model::world::{Tuning, World};
use crate::observe::catalog::Catalog;
use crate::optimise::decide_and_solve;

/// The resource that workloads are.
pub const WORKLOADS: &str = "pooledworkloads";
const MACHINES: &str = "virtualmachines";

/// A cluster that was read.
pub struct Live {
    /// What is decided on: read, and decided on once, so that queues are in order and refusals are known. What was
    /// decided stays here.
    pub world: World,
    /// What is known beside it.
    pub catalog: Catalog,
    /// When it was read.
    pub now: Time,
    /// Resources that could not be listed, and why, in words.
    pub missing: BTreeMap<&'static str, String>,
}

/// Now, by the wall clock: times of objects are compared with it.
pub fn now() -> Time {
    Time(Timestamp::now().as_millisecond())
}

/// All objects of a kind; nothing where the cluster does not have it.
type Listed = Result<Option<Vec<Value>>, kube::Error>;

/// Reads all that decisions depend on, and decides once.
///
/// # Errors
/// Where the cluster cannot be reached at all.
pub async fn read(client: &Client) -> anyhow::Result<Live> {
    let mut live = look(client).await?;
    decide_and_solve(&mut live.world, live.now);
    Ok(live)
}

/// Reads all that decisions depend on; what stands there is as it is, and nothing is decided.
///
/// # Errors
/// Where the cluster cannot be reached at all.
pub async fn look(client: &Client) -> anyhow::Result<Live> {
    client
        .apiserver_version()
        .await
        .map_err(|error| anyhow!(cluster::in_words(&error, "reach the cluster")))?;
    // In this order: workloads and pods are understood by what comes before them.
    let kinds: Vec<(&'static str, &'static str, BoxFuture<'_, Listed>)> = vec![
        ("KubeVirt", "kubevirts", Box::pin(list::<KubeVirt>(client))),
        ("VirtualMachineInstancetype", "virtualmachineinstancetypes", Box::pin(list::<Instancetype>(client))),
        (
            "VirtualMachineClusterInstancetype",
            "virtualmachineclusterinstancetypes",
            Box::pin(list::<ClusterInstancetype>(client)),
        ),
        ("Namespace", "namespaces", Box::pin(list::<Namespace>(client))),
        ("PriorityClass", "priorityclasses", Box::pin(list::<PriorityClass>(client))),
        ("Node", "nodes", Box::pin(list::<Node>(client))),
        ("ResourcePool", "resourcepools", Box::pin(list::<ResourcePool>(client))),
        ("PersistentVolumeClaim", "persistentvolumeclaims", Box::pin(list::<PersistentVolumeClaim>(client))),
        ("PersistentVolume", "persistentvolumes", Box::pin(list::<PersistentVolume>(client))),
        ("PooledWorkload", WORKLOADS, Box::pin(list::<PooledWorkload>(client))),
        ("Pod", "pods", Box::pin(list::<Pod>(client))),
        ("Deployment", "deployments", Box::pin(labelled::<Deployment>(client))),
        ("StatefulSet", "statefulsets", Box::pin(labelled::<StatefulSet>(client))),
        ("Job", "jobs", Box::pin(labelled::<Job>(client))),
        ("VirtualMachine", MACHINES, Box::pin(list::<VirtualMachine>(client))),
        (
            "VirtualMachineInstance",
            "virtualmachineinstances",
            Box::pin(list::<VirtualMachineInstance>(client)),
        ),
        (
            "VirtualMachineInstanceMigration",
            "virtualmachineinstancemigrations",
            Box::pin(list::<InstanceMigration>(client)),
        ),
    ];
    let (names, asked): (Vec<_>, Vec<_>) =
        kinds.into_iter().map(|(kind, plural, ask)| ((kind, plural), ask)).unzip();
    let lists: Vec<_> = names.into_iter().zip(join_all(asked).await).collect();
    let now = now();
    let world = World::new(Tuning::default());
    let mut live = Live { world, catalog: Catalog::default(), now, missing: BTreeMap::new() };
    // Whether there is KubeVirt is whether there are its machines.
    let kubevirt =
        lists.iter().any(|((_, plural), listed)| *plural == MACHINES && matches!(listed, Ok(Some(_))));
    let deltas = live.catalog.kubevirt(kubevirt);
    live.apply(deltas);
    for ((kind, plural), listed) in lists {
        match listed {
            Ok(objects) => {
                for object in objects.into_iter().flatten() {
                    // One that cannot be read spoils itself alone.
                    let deltas = live.catalog.object(kind, object).unwrap_or_default();
                    live.apply(deltas);
                }
            }
            Err(error) => {
                let why = cluster::in_words(&error, &format!("list {plural}"));
                live.missing.insert(plural, why);
            }
        }
    }
    live.apply(vec![Delta::Settled]);
    Ok(live)
}

impl Live {
    /// Where the workloads of the cluster may not be listed, lists those of one namespace: they are in the catalog then, and
    /// not in the world.
    pub async fn list_own(&mut self, client: &Client, namespace: &str) {
        if !self.missing.contains_key(WORKLOADS) {
            return;
        }
        let api: Api<PooledWorkload> = Api::namespaced(client.clone(), namespace);
        let said = match api.list(&ListParams::default()).await {
            Ok(list) => {
                for item in list.items {
                    self.catalog.workload(&Ok(item));
                }
                format!("only workloads of namespace {namespace:?} are shown: you may not list others")
            }
            Err(error) => {
                cluster::in_words(&error, &format!("list pooledworkloads in namespace {namespace:?}"))
            }
        };
        self.missing.insert(WORKLOADS, said);
    }

    fn apply(&mut self, deltas: Vec<Delta>) {
        for delta in deltas {
            self.world.apply(delta, self.now);
        }
    }
}

/// Reads all objects of a kind.
async fn list<K: Resource<DynamicType = ()>>(client: &Client) -> Listed {
    listed::<K>(client, None).await
}

/// Reads those that are labelled for a pool.
async fn labelled<K: Resource<DynamicType = ()>>(client: &Client) -> Listed {
    listed::<K>(client, Some(POOL)).await
}

async fn listed<K: Resource<DynamicType = ()>>(client: &Client, labels: Option<&str>) -> Listed {
    let mut objects = Vec::new();
    let take = |object| {
        objects.push(object);
        Ok(())
    };
    let is_there = each::<K, kube::Error>(client, labels, take).await?;
    Ok(is_there.then_some(objects))
}
