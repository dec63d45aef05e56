//! Which of those that were refused are tried again when somebody has left.
//!
//! What waits is kept by classes, and there may be hundreds of them. Each keeps a proof of why it was refused. Where all that
//! changed is that members and pods came and left, a proof is held against the nodes that changed, with sums that never count
//! too little: if even those do not give enough places, the class would be refused again, and stays aside.

use std::collections::BTreeMap;

use crate::model::amount::Amount;
use crate::model::charges::on_nodes;
use crate::model::ids::{NodeId, NodeSetId, PoolId, ShapeId, WorkloadId};
use crate::model::nodes::Node;
use crate::model::pools::Pool;
use crate::model::proof::{Hopeless, Lack, Proof, Rights};
use crate::model::queue::Class;
use crate::model::refusal::Refusal;
use crate::model::resources::{Amounts, ResourceId};
use crate::model::spec::{Policy, Queueing, Reclaim, WithinPool};
use crate::model::time::Time;
use crate::model::workloads::Workload;
use crate::model::world::World;

use super::admit::Desk;
use super::gate::members_wanted;
use super::give_way::ceiling::{Leavers, Leaving};
use super::give_way::census::Whose;
use super::give_way::victims::borrows;
use super::optimal;
use super::order::Entry;
use super::place::Horizon;
use super::quota::{self, Ask};

/// Where more nodes than that have changed, all that wait are tried again.
const MOST_CHANGED: usize = 1_000;

/// What becomes of a reason for which a class was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It holds.
    Holds,
    /// There may be places enough now; all else holds.
    PlacesInDoubt,
    /// They must be tried.
    Unknown,
}

/// A node that has changed, and what its tenants take.
struct Changed {
    id: NodeId,
    tenants: BTreeMap<Whose, Amounts>,
}

/// What has changed since classes were refused.
#[derive(Default)]
pub struct Changes {
    nodes: Vec<Changed>,
    too_many: bool,
    root: Option<PoolId>,
    /// Pools of the tree that borrow, once that was asked.
    borrowing: Option<Vec<(PoolId, bool)>>,
    moving: Leavers,
    /// Of how many changes of nodes what was counted knows.
    counted_at: u64,
    /// Places that were found, so as not to count them again.
    places: BTreeMap<(ShapeId, NodeSetId), u32>,
    hoped_for: BTreeMap<(ShapeId, NodeSetId, Rights, Leaving), u32>,
}

impl Changes {
    /// All nodes that were stirred since this was last asked, if somebody has left since.
    pub fn take(world: &mut World, desk: &mut Desk) -> Self {
        if world.heeded == world.growth {
            return Self::default();
        }
        world.heeded = world.growth;
        let mut ids = std::mem::take(&mut world.stirred);
        ids.sort_unstable();
        ids.dedup();
        if ids.len() > MOST_CHANGED {
            return Self { too_many: true, ..Self::default() };
        }
        let census = desk.placer.census_if_known(world, &mut desk.work);
        let look_at = |id| match census {
            Some(census) => Some(Changed { id, tenants: census.by_owner(id) }),
            None => Some(changed(world, id, world.node(id)?)),
        };
        let nodes = ids.into_iter().filter_map(look_at).collect();
        Self { nodes, moving: Leavers::of(world, &[]), counted_at: world.shifts, ..Self::default() }
    }

    /// Before the classes of a tree are looked at.
    pub fn look_at(&mut self, root: PoolId) {
        self.root = Some(root);
        self.borrowing = None;
        self.places.clear();
        self.hoped_for.clear();
    }

    /// Whether the first of a class, which was refused for that reason, would be refused again.
    pub fn hold(
        &mut self,
        world: &World,
        pool: &Pool,
        class: (&Class, WorkloadId),
        proof: &mut Proof,
        now: Time,
    ) -> bool {
        self.judge(world, pool, class, proof, now) == Verdict::Holds
    }

    /// The same, and whether all that is in doubt is how many places there are.
    pub fn judge(
        &mut self,
        world: &World,
        pool: &Pool,
        (class, id): (&Class, WorkloadId),
        proof: &mut Proof,
        now: Time,
    ) -> Verdict {
        if self.too_many || proof.upheavals != world.upheavals || optimal::plans(pool) {
            return Verdict::Unknown;
        }
        self.catch_up(world);
        let (Some(workload), Some(set)) = (world.workload(id), pool.nodes) else { return Verdict::Unknown };
        let Some(rights) = rights(world, pool, workload, class) else { return Verdict::Unknown };
        if rights.below > proof.rights.below
            || rights.levels > proof.rights.levels
            || rights.whole_pool && !proof.rights.whole_pool
        {
            return Verdict::Unknown;
        }
        if self.borrowing.is_none() && rights.levels > 0 {
            self.borrowing = self.root.map(|root| borrowing(world, root));
        }
        // What is known is taken off it only if it holds.
        let (mut lack, mut later) = (proof.now, proof.later);
        let lacks = match &mut lack {
            Lack::Quota => lacks_quota(world, pool, workload),
            Lack::Room(spare) => take_from(spare, self.places_for(world, class.shape, set)),
        };
        let hopeless = match &mut later {
            Hopeless::Nodes(spare) => {
                let hoped_for = self.hoped_for(world, class.shape, set, (rights, Leaving::EvictedOrMoved));
                take_from(spare, hoped_for) && !self.spreads(rights, &proof.borrowing)
            }
            Hopeless::Nobody { moves_help } => {
                let moves = *moves_help && !(world.movers.is_empty() && world.moving.is_empty());
                !moves && !self.any_victims(pool, rights)
            }
            Hopeless::Rests { until, .. } if until.is_some_and(|until| until <= now) => false,
            Hopeless::Rests { spare: None, .. } => !self.any_victims(pool, rights),
            Hopeless::Rests { spare: Some(spare), .. } => {
                let hoped_for = self.hoped_for(world, class.shape, set, (rights, Leaving::Evicted));
                take_from(spare, hoped_for) && !self.spreads(rights, &proof.borrowing)
            }
        };
        match (lacks, hopeless, lack) {
            (true, true, _) => {
                (proof.now, proof.later) = (lack, later);
                Verdict::Holds
            }
            (false, true, Lack::Room(_)) => {
                proof.later = later;
                Verdict::PlacesInDoubt
            }
            _ => Verdict::Unknown,
        }
    }

    /// Forgets what was counted before nodes changed that were looked at.
    fn catch_up(&mut self, world: &World) {
        if self.counted_at == world.shifts {
            return;
        }
        for one in &mut self.nodes {
            if let Some(node) = world.node(one.id).filter(|node| node.changed_at > self.counted_at) {
                *one = changed(world, one.id, node);
            }
        }
        self.counted_at = world.shifts;
        self.places.clear();
        self.hoped_for.clear();
        self.borrowing = None;
    }

    fn borrow(&self) -> &[(PoolId, bool)] {
        self.borrowing.as_deref().unwrap_or_default()
    }

    /// Whether pools borrow that did not when the proof was made.
    fn spreads(&self, rights: Rights, before: &[(PoolId, bool)]) -> bool {
        rights.levels > 0 && !self.borrow().iter().all(|one| before.binary_search(one).is_ok())
    }

    fn any_victims(&self, pool: &Pool, rights: Rights) -> bool {
        any_victims(pool, rights, || self.borrow().iter())
    }

    /// For how many members of a shape the nodes that changed have room at most.
    fn places_for(&mut self, world: &World, shape: ShapeId, set: NodeSetId) -> u32 {
        let nodes = &self.nodes;
        *self.places.entry((shape, set)).or_insert_with(|| {
            count(world, (shape, set), nodes, |node, _, resource| node.node.room(resource))
        })
    }

    /// The same if all left who might give way, or move.
    fn hoped_for(
        &mut self,
        world: &World,
        shape: ShapeId,
        set: NodeSetId,
        (rights, leaving): (Rights, Leaving),
    ) -> u32 {
        let (nodes, moving) = (&self.nodes, &self.moving);
        let borrowing = self.borrowing.as_deref().unwrap_or_default();
        *self.hoped_for.entry((shape, set, rights, leaving)).or_insert_with(|| {
            count(world, (shape, set), nodes, |one, freed, resource| {
                let freed = freed.get_or_insert_with(|| {
                    let mut freed = moving.on_the_move(one.changed.id).cloned().unwrap_or_default();
                    for ((pool, priority, light), load) in &one.changed.tenants {
                        let borrows = || borrowing.binary_search(&(*pool, true)).is_ok();
                        let moves = *light && leaving == Leaving::EvictedOrMoved;
                        if moves || rights.reach(*pool, *priority, borrows) {
                            freed.add(load);
                        }
                    }
                    freed
                });
                one.node.room_later(resource) + freed.get(resource)
            })
        })
    }
}

/// A node that is counted.
struct Counted<'a> {
    node: &'a Node,
    changed: &'a Changed,
}

/// How many members of a shape nodes take by the room that `room` tells.
fn count(
    world: &World,
    (shape, set): (ShapeId, NodeSetId),
    nodes: &[Changed],
    mut room: impl FnMut(&Counted<'_>, &mut Option<Amounts>, ResourceId) -> Amount,
) -> u32 {
    let Some(shape) = world.shapes.get(shape) else { return u32::MAX };
    let loads = on_nodes(&shape.requests, world.off_nodes_of(set));
    let mut sum = 0_u32;
    for changed in nodes {
        let Some(node) = world.node(changed.id).filter(|node| node.sets.contains(&set)) else { continue };
        if loads.iter().any(|(resource, amount)| node.allocatable.get(resource) < amount) {
            continue;
        }
        let counted = Counted { node, changed };
        let mut known = None;
        let most = loads
            .iter()
            .map(|(resource, amount)| {
                let room = room(&counted, &mut known, resource).units().max(0);
                room.checked_div(amount.units()).unwrap_or(i64::MAX)
            })
            .min()
            .unwrap_or(i64::MAX);
        sum = sum.saturating_add(u32::try_from(most).unwrap_or(u32::MAX));
    }
    sum
}

fn take_from(spare: &mut u32, found: u32) -> bool {
    let Some(left) = spare.checked_sub(found) else { return false };
    *spare = left;
    true
}

fn changed(world: &World, id: NodeId, node: &Node) -> Changed {
    let mut tenants: BTreeMap<Whose, Amounts> = BTreeMap::new();
    let mut lodge = |workload: WorkloadId, load: Option<&Amounts>| {
        let Some(one) = world.workload(workload) else { return };
        let Some(pool) = one.pool else { return };
        let sum = tenants.entry((pool, one.spec.priority, world.movers.contains(&workload))).or_default();
        match load {
            Some(load) => sum.add(load),
            None => sum.add(&world.loads(one)),
        }
    };
    for ((workload, _), load) in &node.tenants {
        lodge(*workload, Some(load));
    }
    for (workload, _) in &node.assumed {
        lodge(*workload, None);
    }
    Changed { id, tenants }
}

/// Pools of a tree that borrow: each with whether it does without its children.
fn borrowing(world: &World, root: PoolId) -> Vec<(PoolId, bool)> {
    let mut found = Vec::new();
    let mut open = vec![root];
    while let Some(id) = open.pop() {
        let Some(pool) = world.pool(id) else { continue };
        open.extend(&pool.children);
        found.extend(
            [false, true]
                .map(|own| (id, own))
                .into_iter()
                .filter(|(id, own)| borrows(world, *id, *own, None)),
        );
    }
    found.sort_unstable();
    found
}

/// Whether somebody may give way, as those who hold a proof would tell.
pub(super) fn may_any_leave(world: &World, pool: &Pool, rights: Rights) -> bool {
    let borrow = pool.root().filter(|_| rights.levels > 0).map(|root| borrowing(world, root));
    any_victims(pool, rights, || borrow.as_deref().unwrap_or_default().iter())
}

fn any_victims<'a, T: Iterator<Item = &'a (PoolId, bool)>>(
    pool: &Pool,
    rights: Rights,
    borrow: impl FnOnce() -> T,
) -> bool {
    let own = pool.admitted.first().is_some_and(|one| rights.reach(rights.pool, one.priority, || false));
    own || rights.levels > 0 && borrow().any(|(other, own)| *own && *other != rights.pool)
}

/// Who may give way to a workload; none where other pods matter to it.
pub(super) fn rights(world: &World, pool: &Pool, workload: &Workload, class: &Class) -> Option<Rights> {
    let shape = world.shapes.get(class.shape)?;
    let alone = class.topology_key.is_none()
        && class.spread.is_none()
        && class.guards.is_empty()
        && shape.spec.terms.is_none();
    if !alone {
        return None;
    }
    let slices = pool.spec.policy == Policy::RoundRobin && pool.spec.time_slice.is_some();
    let whole_pool = !world.dynamic.is_empty() || pool.spec.queueing == Queueing::Backfill || slices;
    let heeds = pool.spec.within_pool != WithinPool::Never && pool.spec.policy.heeds_priority();
    let below = if heeds { workload.spec.priority } else { i32::MIN };
    let charge = shape.requests.times(class.min_replicas);
    let levels = match pool.spec.reclaim {
        Reclaim::Never => 0,
        // At no level but that of its own children it is more than nothing, too.
        Reclaim::LowerPriority | Reclaim::Any => {
            quota::within_reservation(world, pool, &charge).map_or(0, |levels| levels + 1)
        }
    };
    Some(Rights { pool: *pool.path.first()?, below, whole_pool, levels })
}

fn lacks_quota(world: &World, pool: &Pool, workload: &Workload) -> bool {
    let request = world.asks(workload);
    let (least, _) = members_wanted(workload);
    let reserved = !workload.spec.preemptible;
    let ask = Ask { request: &request, least, most: least, horizon: Horizon::Now, reserved };
    quota::room(world, pool, ask).is_err()
}

/// The proof that a workload would be refused again, as long as nobody leaves; none where that cannot be told.
pub fn prove(world: &World, entry: &Entry, refusal: &Refusal, later: Hopeless) -> Option<Proof> {
    let pool = world.pool(entry.pool)?;
    let workload = world.workload(entry.workload)?;
    let rights = rights(world, pool, workload, &entry.class)?;
    let now = match refusal {
        Refusal::WaitingForQuota { .. } => Lack::Quota,
        Refusal::Fragmented { .. } | Refusal::NoFittingNode(_) if lacks_quota(world, pool, workload) => {
            Lack::Quota
        }
        // What may not delay another was looked for beside what that is promised.
        _ if pool.spec.queueing == Queueing::Backfill => return None,
        Refusal::Fragmented { tally, .. } | Refusal::NoFittingNode(tally) => {
            Lack::Room(tally.needed.checked_sub(tally.placed + 1)?)
        }
        _ => return None,
    };
    let borrowing = match (later, pool.root()) {
        (Hopeless::Nodes(_) | Hopeless::Rests { spare: Some(_), .. }, Some(root)) if rights.levels > 0 => {
            borrowing(world, root)
        }
        _ => Vec::new(),
    };
    Some(Proof { upheavals: world.upheavals, now, later, rights, borrowing })
}
