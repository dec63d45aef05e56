//! `LeastFragmentation`: where a member leaves the most room that others can still use.
//!
//! Free room on a node is a fragment to a kind of work if none of that kind can use it there. A node is better the
//! less its fragments grow, in the mean over the typical mix of work (fragmentation gradient descent: Weng et al.,
//! USENIX ATC 2023). The paper looks at GPUs; here every resource counts that the kind of work asks for.

use crate::model::amount::Amount;
use crate::model::charges::on_nodes;
use crate::model::nodes::Node;
use crate::model::resources::{Amounts, ResourceId};
use crate::model::world::World;

/// What is free of one resource on the nodes of a pool that take work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Free {
    /// Of which.
    pub resource: ResourceId,
    /// On all of them together.
    pub all: Amount,
    /// The largest block on one node.
    pub largest: Amount,
    /// Nodes that have some.
    pub nodes: u32,
    /// What members of the typical mix of work could not use of it, on average over those kinds that ask for it.
    pub stranded: Amount,
}

/// What is free on the nodes of a pool, by metered resource; nothing where the pool has no nodes of its own.
pub fn free(world: &mut World, pool: &str) -> Vec<Free> {
    world.link();
    let Some(pool) = world.pool_ids.get(pool).and_then(|id| world.pool(*id)).filter(|pool| pool.owns_nodes)
    else {
        return Vec::new();
    };
    let mix = Mix::of(world, &pool.off_nodes);
    let set = pool.nodes.and_then(|set| world.sets.get(set.at()));
    let nodes: Vec<&Node> = set
        .into_iter()
        .flat_map(|set| &set.nodes)
        .filter_map(|(_, node)| world.node(*node))
        .filter(|node| node.is_open())
        .collect();
    let on_nodes = pool.metered.iter().copied().filter(|resource| !pool.off_nodes.contains(resource));
    let one = |resource: ResourceId| {
        let rooms = || nodes.iter().map(|node| node.room(resource));
        Free {
            resource,
            all: rooms().sum(),
            largest: rooms().max().unwrap_or_default(),
            nodes: u32::try_from(rooms().filter(|room| !room.is_zero()).count()).unwrap_or(u32::MAX),
            stranded: nodes.iter().map(|node| mix.stranded(node, resource)).sum(),
        }
    };
    on_nodes.map(one).collect()
}

/// Kinds of work that are looked at: the most frequent ones.
const MOST_KINDS: usize = 16;
/// A whole node's worth of one resource.
const WHOLE: i128 = 1_000_000;

/// The typical mix of work: what a member of each kind asks for, and how many workloads are of that kind.
#[derive(Clone, Debug, Default)]
pub struct Mix(Vec<(Amounts, i128)>);

impl Mix {
    /// The most frequent shapes of all workloads that are known, waiting or running.
    pub fn of(world: &World, off_nodes: &[ResourceId]) -> Self {
        let mut kinds: Vec<_> = world.shapes.iter().map(|(id, shape)| (shape.users(), id, shape)).collect();
        kinds.sort_by_key(|(users, id, _)| (std::cmp::Reverse(*users), *id));
        kinds.truncate(MOST_KINDS);
        let kind = |(users, _, shape): (u32, _, &crate::model::shapes::Shape)| {
            (on_nodes(&shape.requests, off_nodes).into_owned(), i128::from(users))
        };
        Self(kinds.into_iter().map(kind).collect())
    }

    /// By how much the fragments of a node grow when one more member is placed beside `taken` equal ones, in
    /// millionths of a node: less is better.
    pub fn growth(&self, node: &Node, requests: &Amounts, taken: u32) -> i64 {
        let all: i128 = self.0.iter().map(|(_, users)| users).sum();
        let (mut before, mut after) = (0, 0);
        for (kind, users) in &self.0 {
            before += users * fragment(node, kind, requests, taken);
            after += users * fragment(node, kind, requests, taken.saturating_add(1));
        }
        i64::try_from((after - before) / all.max(1)).unwrap_or(i64::MAX)
    }

    /// What is free of a resource on a node and of no use to members of these kinds, on average over those kinds that ask
    /// for it; nothing where none does.
    fn stranded(&self, node: &Node, resource: ResourceId) -> Amount {
        let asks = |(kind, _): &&(Amounts, i128)| !kind.get(resource).is_zero();
        let (mut useless, mut all) = (0, 0);
        for (kind, users) in self.0.iter().filter(asks) {
            let fit = fitting(node, kind, |resource| i128::from(node.room(resource).units()));
            let used = fit * i128::from(kind.get(resource).units());
            useless += users * (i128::from(node.room(resource).units()) - used);
            all += users;
        }
        Amount::new(i64::try_from(useless / all.max(1)).unwrap_or(i64::MAX))
    }
}

/// How many members of a kind fit into what is free.
fn fitting(node: &Node, kind: &Amounts, free: impl Fn(ResourceId) -> i128) -> i128 {
    let asked = kind.iter().filter(|(resource, _)| *resource != ResourceId::PODS);
    let fit = asked.map(|(resource, one)| free(resource) / i128::from(one.units().max(1))).min();
    let pods = i128::from(node.room(ResourceId::PODS).units());
    match (fit, kind.get(ResourceId::PODS).units()) {
        (Some(fit), pod) if pod > 0 => fit.min(pods / i128::from(pod)),
        (fit, _) => fit.unwrap_or(0),
    }
}

/// What members of one kind could not use of what is free on a node on which `taken` members are placed: of each
/// resource that they ask for what is left when as many of them are there as fit, in millionths of the node.
fn fragment(node: &Node, kind: &Amounts, requests: &Amounts, taken: u32) -> i128 {
    let free = |resource: ResourceId| {
        i128::from(node.room(resource).less(requests.get(resource).times(taken)).units())
    };
    let asked = || kind.iter().filter(|(resource, _)| *resource != ResourceId::PODS);
    let fit =
        asked().map(|(resource, one)| free(resource) / i128::from(one.units().max(1))).min().unwrap_or(0);
    asked()
        .map(|(resource, one)| {
            let offered = i128::from(node.allocatable.get(resource).units().max(1));
            (free(resource) - fit * i128::from(one.units())) * WHOLE / offered
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::resources::ResourceTable;

    fn gpu_node(gpu: ResourceId, used: i64) -> Node {
        let mut node = Node::named("n".into());
        node.spec = Some(crate::model::spec::NodeSpec::default());
        node.allocatable.set(gpu, Amount::new(8));
        node.load.set(gpu, Amount::new(used));
        node
    }

    fn gpus(gpu: ResourceId, count: i64) -> Amounts {
        [(gpu, Amount::new(count))].into_iter().collect()
    }

    #[test]
    fn a_gpu_is_taken_where_it_breaks_no_block() {
        let gpu = ResourceTable::default().intern("nvidia.com/gpu");
        let mix = Mix([1, 2, 4, 8].map(|count| (gpus(gpu, count), 1)).into());
        let one = gpus(gpu, 1);
        // By hand, in GPUs that cannot be used by members of 1, 2, 4 and 8, an eighth of a node each.
        // All free: 0 0 0 0 before, 0 1 3 7 after.
        assert_eq!(mix.growth(&gpu_node(gpu, 0), &one, 0), 11 * 125_000 / 4);
        // One free: 0 1 1 1 before, none after.
        assert_eq!(mix.growth(&gpu_node(gpu, 7), &one, 0), -3 * 125_000 / 4);
        // Four free: 0 0 0 4 before, 0 1 3 3 after.
        assert_eq!(mix.growth(&gpu_node(gpu, 4), &one, 0), 3 * 125_000 / 4);
        // Beside one that is placed there already: 0 1 3 7 before, 0 0 2 6 after.
        assert_eq!(mix.growth(&gpu_node(gpu, 0), &one, 1), -3 * 125_000 / 4);
    }

    #[test]
    fn what_no_member_can_use_is_stranded() {
        let gpu = ResourceTable::default().intern("nvidia.com/gpu");
        // Three of eight are free: members of one use all, members of two leave one, members of four leave three.
        let of = |sizes: &[(i64, i128)]| {
            Mix(sizes.iter().map(|(count, users)| (gpus(gpu, *count), *users)).collect())
        };
        let node = gpu_node(gpu, 5);
        assert_eq!(of(&[(1, 1)]).stranded(&node, gpu), Amount::ZERO);
        assert_eq!(of(&[(2, 1)]).stranded(&node, gpu), Amount::new(1));
        assert_eq!(of(&[(1, 1), (4, 2)]).stranded(&node, gpu), Amount::new(2));
        assert_eq!(Mix::default().stranded(&node, gpu), Amount::ZERO, "nobody asks for it");
        // The node's CPUs are used up: no GPU of it is of use to who needs a CPU.
        let with_cpu: Amounts =
            [(gpu, Amount::new(1)), (ResourceId::CPU, Amount::new(1))].into_iter().collect();
        assert_eq!(Mix(vec![(with_cpu, 1)]).stranded(&node, gpu), Amount::new(3));
        // No pod more fits on it.
        let with_pod: Amounts =
            [(gpu, Amount::new(1)), (ResourceId::PODS, Amount::new(1))].into_iter().collect();
        assert_eq!(Mix(vec![(with_pod, 1)]).stranded(&node, gpu), Amount::new(3));
    }

    #[test]
    fn work_that_would_strand_gpus_by_taking_their_cpus_goes_elsewhere() {
        let gpu = ResourceTable::default().intern("nvidia.com/gpu");
        let mut with_gpus = gpu_node(gpu, 0);
        with_gpus.allocatable.set(ResourceId::CPU, Amount::new(32_000));
        with_gpus.load.set(ResourceId::CPU, Amount::new(16_000));
        let mut without = Node::named("m".into());
        without.allocatable.set(ResourceId::CPU, Amount::new(32_000));
        let training: Amounts =
            [(gpu, Amount::new(8)), (ResourceId::CPU, Amount::new(16_000))].into_iter().collect();
        let small: Amounts = [(ResourceId::CPU, Amount::new(1_000))].into_iter().collect();
        let mix = Mix(vec![(training, 1), (small.clone(), 3)]);
        // It would leave eight GPUs and fifteen CPUs that no training can use.
        assert!(mix.growth(&with_gpus, &small, 0) > 0);
        assert!(mix.growth(&without, &small, 0) < mix.growth(&with_gpus, &small, 0));
    }
}
