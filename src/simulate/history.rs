//! What happened: each workload, each run on a node, and how pools stood over time.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::model::ids::PoolId;
use crate::model::moves::Why;
use crate::model::resources::ResourceId;
use crate::model::spec::{FinishReason, StopReason};
use crate::model::time::{Span, Time};
use crate::model::world::World;

/// How a workload stood at the end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Outcome {
    /// It waits.
    #[default]
    Waiting,
    /// It holds its places.
    Running,
    /// It ended.
    Ended(FinishReason),
    /// Its user took it away.
    Removed,
}

/// One time that a workload gave way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GaveWay {
    /// When.
    pub at: Time,
    /// Why.
    pub reason: StopReason,
    /// For whom (`namespace/name`), if for one.
    pub for_whom: Option<Arc<str>>,
}

/// One time that a member had to leave its node and began anew on another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restart {
    /// When.
    pub at: Time,
    /// Why.
    pub why: Why,
    /// For whom (`namespace/name`), if for one.
    pub for_whom: Option<Arc<str>>,
}

/// What became of one workload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its UID.
    pub uid: Arc<str>,
    /// Its namespace.
    pub namespace: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
    /// Its pool.
    pub pool: Arc<str>,
    /// Its priority, as declared.
    pub priority: i32,
    /// Since when it waited, or would have.
    pub arrived: Time,
    /// It held its places before it all began.
    pub began_before: bool,
    /// When it was admitted first.
    pub started: Option<Time>,
    /// When it ended, or was taken away.
    pub ended: Option<Time>,
    /// How it stood at the end.
    pub outcome: Outcome,
    /// Nodes that its members are on, or were on last, by index.
    pub nodes: BTreeMap<u32, Arc<str>>,
    /// When it gave way.
    pub gave_way: Vec<GaveWay>,
    /// Members that had to leave and began anew: they do not keep running, so nothing takes their place before.
    pub restarts: Vec<Restart>,
    /// Members that moved, and went on all the while.
    pub moves: u32,
    /// When members were lost with their nodes.
    pub losses: Vec<Time>,
    /// How long its members run; none: nobody knows, and they run for ever.
    pub duration: Option<Span>,
}

impl Record {
    /// `namespace/name`.
    pub fn title(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    /// How long it waited until it started first.
    pub fn wait(&self) -> Option<Span> {
        self.started.map(|started| started - self.arrived)
    }
}

/// One member on one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lane {
    /// Name of the node.
    pub node: Arc<str>,
    /// Whose member: a place in the list of records.
    pub record: usize,
    /// Index of the member.
    pub index: u32,
    /// From then.
    pub from: Time,
    /// Until then; none: it goes on.
    pub to: Option<Time>,
}

/// How a pool stood from one time to the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Point {
    /// From then.
    pub at: Time,
    /// Workloads that wait, in the subtree.
    pub queued: u32,
    /// Workloads that are admitted, in the subtree.
    pub running: u32,
    /// Used by the subtree, in the order of the pool's resources.
    pub used: Vec<i64>,
    /// What there is for it: a root's capacity, a child's own or nearest limit, at most the root's capacity.
    pub there: Vec<i64>,
}

/// One pool over time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PoolHistory {
    /// Its parent.
    pub parent: Option<Arc<str>>,
    /// Names of the resources that are metered.
    pub resources: Vec<Arc<str>>,
    /// How it stood, in order of time.
    pub points: Vec<Point>,
}

/// Everything that happened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// In order of arrival.
    pub records: Vec<Record>,
    /// In order of their beginnings.
    pub lanes: Vec<Lane>,
    /// By name.
    pub pools: BTreeMap<Arc<str>, PoolHistory>,
}

impl History {
    /// Notes how all pools stand, where that has changed. Whether any has.
    pub(super) fn note_pools(&mut self, world: &World, now: Time) -> bool {
        let mut any = false;
        for (at, pool) in world.pools.iter() {
            let point = point(world, PoolId(at), now);
            let known = self.pools.entry(Arc::clone(&pool.spec.name)).or_insert_with(|| PoolHistory {
                parent: pool.spec.parent.clone(),
                resources: pool.metered.iter().map(|one| Arc::from(world.resources.name(*one))).collect(),
                points: Vec::new(),
            });
            match known.points.last_mut() {
                Some(last) if Point { at: now, ..last.clone() } == point => continue,
                Some(last) if last.at == now => *last = point,
                _ => known.points.push(point),
            }
            any = true;
        }
        any
    }
}

fn point(world: &World, id: PoolId, now: Time) -> Point {
    let mut point = Point { at: now, queued: 0, running: 0, used: Vec::new(), there: Vec::new() };
    let Some(pool) = world.pool(id) else { return point };
    point.queued = pool.all.queued;
    point.running = pool.all.running;
    for resource in pool.metered.iter() {
        point.used.push(pool.all.used.get(*resource).units());
        point.there.push(there(world, id, *resource));
    }
    point
}

/// The least of all limits from a pool up to its root, and of what the root has.
fn there(world: &World, id: PoolId, resource: ResourceId) -> i64 {
    let Some(pool) = world.pool(id) else { return 0 };
    let capacity = pool
        .root()
        .and_then(|root| world.pool(root))
        .map_or(0, |root| world.capacity(root, resource).units());
    let limits = pool.path.iter().filter_map(|above| world.pool(*above));
    limits.fold(capacity, |least, above| match world.limit(above, resource) {
        crate::model::amount::Limit::At(limit) => least.min(limit.units()),
        crate::model::amount::Limit::Unlimited => least,
    })
}
