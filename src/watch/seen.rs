//! All kinds that are followed, in one stream.

use std::time::Duration;

use kube::Client;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::follow::{Change, Follow, follow};
use super::freshness::Freshness;
use crate::api::kubevirt::{
    ClusterInstancetype, InstanceMigration, Instancetype, KubeVirt, VirtualMachine, VirtualMachineInstance,
};
use crate::api::labels::POOL;
use crate::api::pruned::{
    Deployment, Guarded, Job, Namespace, Node, PersistentVolume, PersistentVolumeClaim, Pod, PriorityClass,
    StatefulSet,
};
use crate::api::{PooledWorkload, ResourcePool};
use crate::observe::machines::is_of_machine;
use crate::observe::pod::owner;

/// The kinds, in the order of their marks.
pub const KINDS: [&str; 17] = [
    "ResourcePool",
    "PooledWorkload",
    "Pod",
    "Node",
    "Namespace",
    "PriorityClass",
    "PersistentVolumeClaim",
    "PersistentVolume",
    "VirtualMachine",
    "VirtualMachineInstance",
    "KubeVirt",
    "VirtualMachineInstancetype",
    "VirtualMachineClusterInstancetype",
    "VirtualMachineInstanceMigration",
    "Deployment",
    "StatefulSet",
    "Job",
];

/// How many of them, from the first, nothing can be decided without.
pub const NEEDED: usize = 4;

/// How often a cluster without `KubeVirt` is asked whether it has it by now.
const ASK_AGAIN: Duration = Duration::from_secs(5);

/// One change of one object.
#[derive(Debug)]
pub enum Seen {
    /// Of a pool.
    Pool(Change<Guarded<ResourcePool>>),
    /// Of a workload.
    Workload(Change<Guarded<PooledWorkload>>),
    /// Of a pod that is bound or ours.
    Pod(Change<Pod>),
    /// Of a node.
    Node(Change<Node>),
    /// Of a namespace.
    Namespace(Change<Namespace>),
    /// Of a priority class.
    PriorityClass(Change<PriorityClass>),
    /// Of a claim of a volume.
    Claim(Change<PersistentVolumeClaim>),
    /// Of a volume.
    Volume(Change<PersistentVolume>),
    /// Of a virtual machine.
    Machine(Change<VirtualMachine>),
    /// Of what runs of a virtual machine.
    Instance(Change<VirtualMachineInstance>),
    /// Of `KubeVirt`'s settings.
    KubeVirt(Change<KubeVirt>),
    /// Of a size of machines in a namespace.
    Size(Change<Instancetype>),
    /// Of a size of machines in the cluster.
    ClusterSize(Change<ClusterInstancetype>),
    /// Of a move of what runs of a virtual machine.
    Migration(Change<InstanceMigration>),
    /// Of a Deployment that is labelled for a pool.
    Deployment(Change<Deployment>),
    /// Of such a `StatefulSet`.
    StatefulSet(Change<StatefulSet>),
    /// Of such a Job.
    Job(Change<Job>),
}

impl Seen {
    /// The place of its kind in [`KINDS`].
    pub fn kind(&self) -> usize {
        match self {
            Self::Pool(_) => 0,
            Self::Workload(_) => 1,
            Self::Pod(_) => 2,
            Self::Node(_) => 3,
            Self::Namespace(_) => 4,
            Self::PriorityClass(_) => 5,
            Self::Claim(_) => 6,
            Self::Volume(_) => 7,
            Self::Machine(_) => 8,
            Self::Instance(_) => 9,
            Self::KubeVirt(_) => 10,
            Self::Size(_) => 11,
            Self::ClusterSize(_) => 12,
            Self::Migration(_) => 13,
            Self::Deployment(_) => 14,
            Self::StatefulSet(_) => 15,
            Self::Job(_) => 16,
        }
    }
}

/// Follows all kinds until the set is dropped.
pub fn watch_all(
    client: &Client,
    how: Follow,
    freshness: &Freshness,
    out: &mpsc::Sender<Seen>,
) -> JoinSet<()> {
    let mut watches = JoinSet::new();
    let spare = Follow { needed: false, ..how };
    let mark = |index| freshness.mark(index);
    watches.spawn(follow(client.clone(), how, mark(0), |_| true, Seen::Pool, out.clone()));
    watches.spawn(follow(client.clone(), how, mark(1), |_| true, Seen::Workload, out.clone()));
    watches.spawn(follow(client.clone(), how, mark(2), concerns_us, Seen::Pod, out.clone()));
    watches.spawn(follow(client.clone(), how, mark(3), |_| true, Seen::Node, out.clone()));
    // Of all that make pods, only those that are labelled are of interest.
    let labelled = Follow { labels: Some(POOL), ..spare };
    watches.spawn(follow(client.clone(), labelled, mark(14), |_| true, Seen::Deployment, out.clone()));
    watches.spawn(follow(client.clone(), labelled, mark(15), |_| true, Seen::StatefulSet, out.clone()));
    watches.spawn(follow(client.clone(), labelled, mark(16), |_| true, Seen::Job, out.clone()));
    watches.spawn(follow(client.clone(), spare, mark(4), |_| true, Seen::Namespace, out.clone()));
    watches.spawn(follow(client.clone(), spare, mark(5), |_| true, Seen::PriorityClass, out.clone()));
    watches.spawn(follow(client.clone(), spare, mark(6), |_| true, Seen::Claim, out.clone()));
    watches.spawn(follow(client.clone(), spare, mark(7), |_| true, Seen::Volume, out.clone()));
    let how = Follow { optional: Some(ASK_AGAIN), ..spare };
    watches.spawn(follow(client.clone(), how, mark(8), |_| true, Seen::Machine, out.clone()));
    watches.spawn(follow(client.clone(), how, mark(9), |_| true, Seen::Instance, out.clone()));
    watches.spawn(follow(client.clone(), how, mark(10), |_| true, Seen::KubeVirt, out.clone()));
    watches.spawn(follow(client.clone(), how, mark(11), |_| true, Seen::Size, out.clone()));
    watches.spawn(follow(client.clone(), how, mark(12), |_| true, Seen::ClusterSize, out.clone()));
    watches.spawn(follow(client.clone(), how, mark(13), |_| true, Seen::Migration, out.clone()));
    watches
}

/// Whether a pod takes something of a node, or is a member, or that of a virtual machine.
fn concerns_us(pod: &Pod) -> bool {
    pod.spec.node_name.as_deref().is_some_and(|node| !node.is_empty())
        || owner(&pod.metadata).is_some()
        || is_of_machine(&pod.metadata)
}
