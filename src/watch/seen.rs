//! All kinds that are followed, in one stream.

use kube::Client;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::follow::{Change, Follow, follow};
use super::freshness::Freshness;
use crate::api::pruned::{
    Guarded, Namespace, Node, PersistentVolume, PersistentVolumeClaim, Pod, PriorityClass,
};
use crate::api::{PooledWorkload, ResourcePool};
use crate::observe::pod::owner;

/// The kinds, in the order of their marks.
pub const KINDS: [&str; 8] = [
    "ResourcePool",
    "PooledWorkload",
    "Pod",
    "Node",
    "Namespace",
    "PriorityClass",
    "PersistentVolumeClaim",
    "PersistentVolume",
];

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
    let mark = |index| freshness.mark(index);
    watches.spawn(follow(client.clone(), how, mark(0), |_| true, Seen::Pool, out.clone()));
    watches.spawn(follow(client.clone(), how, mark(1), |_| true, Seen::Workload, out.clone()));
    watches.spawn(follow(client.clone(), how, mark(2), concerns_us, Seen::Pod, out.clone()));
    watches.spawn(follow(client.clone(), how, mark(3), |_| true, Seen::Node, out.clone()));
    watches.spawn(follow(client.clone(), how, mark(4), |_| true, Seen::Namespace, out.clone()));
    watches.spawn(follow(client.clone(), how, mark(5), |_| true, Seen::PriorityClass, out.clone()));
    watches.spawn(follow(client.clone(), how, mark(6), |_| true, Seen::Claim, out.clone()));
    watches.spawn(follow(client.clone(), how, mark(7), |_| true, Seen::Volume, out.clone()));
    watches
}

/// Whether a pod takes something of a node, or is a member.
fn concerns_us(pod: &Pod) -> bool {
    pod.spec.node_name.as_deref().is_some_and(|node| !node.is_empty()) || owner(&pod.metadata).is_some()
}
