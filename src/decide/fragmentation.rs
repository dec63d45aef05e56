//! `LeastFragmentation`: where a member leaves the most room that others can still use.
//!
//! Free room on a node is a fragment to a kind of work if none of that kind can use it there. A node is better the
//! less its fragments grow, in the mean over the typical mix of work (fragmentation gradient descent: Weng et al.,
//! USENIX ATC 2023). The paper looks at GPUs; here every resource counts that the kind of work asks for.

use crate::model::charges::on_nodes;
use crate::model::nodes::Node;
use crate::model::resources::{Amounts, ResourceId};
use crate::model::world::World;

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
    use crate::model::amount::Amount;
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
