//! A copy of the world in which something is changed, to see whether the workload would start.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::cli::live::Live;
use crate::cli::output::title;
use crate::decide::decision::{Decided, Decision};
use crate::model::delta::Delta;
use crate::model::ids::PoolId;
use crate::model::nodes::Node;
use crate::model::pods::Pod;
use crate::model::refusal::Refusal;
use crate::model::report::WorkloadPhase;
use crate::model::spec::{NodeSpec, PoolSpec, WorkloadSpec};
use crate::model::time::Time;
use crate::model::world::World;
use crate::optimise::decide_and_solve;

/// Trying ends after that long, and after so many changes: somebody waits for the answer.
const PATIENCE: Duration = Duration::from_secs(5);
const MOST: usize = 120;

/// What became of the workload in the copy.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// It starts, on these nodes, and these others have to go.
    Starts {
        /// Names of nodes.
        nodes: BTreeSet<Arc<str>>,
        /// `namespace/name`.
        cost: BTreeSet<String>,
    },
    /// Room is made for it: these others have to go first.
    MakesRoom(BTreeSet<String>),
    /// It goes on waiting, for that reason.
    Waits(Box<Refusal>),
    /// It is not there any more.
    Gone,
}

impl Outcome {
    /// Whether it gets what it waits for.
    pub fn helps(&self) -> bool {
        matches!(self, Self::Starts { .. } | Self::MakesRoom(_))
    }
}

/// Where changes are tried.
pub struct Bench<'a> {
    live: &'a Live,
    /// The workload.
    pub spec: &'a WorkloadSpec,
    /// How many changes were tried.
    pub tried: usize,
    until: Instant,
}

impl<'a> Bench<'a> {
    /// For one workload; none if it is not known.
    pub fn new(live: &'a Live, uid: &str) -> Option<Self> {
        let spec = &live.catalog.get(uid)?.spec;
        Some(Self { live, spec, tried: 0, until: Instant::now() + PATIENCE })
    }

    /// The world as it is.
    pub fn world(&self) -> &'a World {
        &self.live.world
    }

    /// When the world was read.
    pub fn now(&self) -> Time {
        self.live.now
    }

    /// Whether there is time for more.
    pub fn has_time(&self) -> bool {
        self.tried < MOST && Instant::now() < self.until
    }

    /// How the workload stands without any change.
    pub fn as_it_is(&self) -> Outcome {
        self.outcome(&self.live.world, &Decided::default())
    }

    /// What becomes of the workload when this is so.
    pub fn attempt(&mut self, changes: Vec<Delta>) -> Outcome {
        self.tried += 1;
        let mut world = self.live.world.clone();
        for change in changes {
            world.apply(change, self.live.now);
        }
        let decided = decide_and_solve(&mut world, self.live.now);
        self.outcome(&world, &decided)
    }

    fn outcome(&self, world: &World, decided: &Decided) -> Outcome {
        let Some(report) = world.workload_report(&self.spec.uid) else { return Outcome::Gone };
        match report.phase {
            WorkloadPhase::Queued {
                refusal: Refusal::WaitingForPreempted(_) | Refusal::WaitingForMoves { .. },
                ..
            } => Outcome::MakesRoom(self.cost(decided)),
            WorkloadPhase::Queued { refusal, .. } => Outcome::Waits(Box::new(refusal)),
            WorkloadPhase::Admitted { .. } => Outcome::Starts {
                nodes: report.members.into_iter().filter_map(|member| member.node).collect(),
                cost: self.cost(decided),
            },
            _ => Outcome::Gone,
        }
    }

    /// Who is stopped or gives members away.
    fn cost(&self, decided: &Decided) -> BTreeSet<String> {
        let who = decided.decisions.iter().filter_map(|decision| match decision {
            Decision::Stop { workload, .. } | Decision::Shrink { workload, .. } => Some(workload),
            _ => None,
        });
        let titled = who.filter_map(|uid| {
            let spec = &self.live.catalog.get(uid)?.spec;
            Some(title(&spec.namespace, &spec.name))
        });
        titled.collect()
    }

    /// A pool as it is.
    pub fn pool(&self, name: &str) -> Option<PoolSpec> {
        Some(self.live.catalog.get_pool(name)?.spec.clone())
    }

    /// Nodes of the workload's tree of pools, by name.
    pub fn nodes(&self) -> Vec<&'a NodeSpec> {
        let world = self.world();
        let root = world.pool_ids.get(&self.spec.pool).and_then(|id| world.pool(*id)?.root());
        let of_tree = |node: &'a Node| node.spec.as_ref().filter(|_| root.is_some() && node.root == root);
        world.node_ids.values().filter_map(|id| world.node(*id)).filter_map(of_tree).collect()
    }

    /// Workloads of the same tree that hold quota, least harm first: those of the same pool come before others.
    pub fn running(&self) -> Vec<Arc<str>> {
        let world = self.world();
        let own = world.pool_ids.get(&self.spec.pool);
        let root = own.and_then(|id| world.pool(*id)?.root());
        let mut pools: Vec<_> = world
            .pool_ids
            .values()
            .filter(|id| world.pool(**id).is_some_and(|pool| root.is_some() && pool.root() == root))
            .collect();
        pools.sort_by_key(|id| Some(*id) != own);
        let of = |id: &&PoolId| world.pool(**id).map(|pool| pool.admitted.iter());
        pools
            .iter()
            .filter_map(of)
            .flatten()
            .map(|harm| Arc::clone(&harm.uid))
            .filter(|uid| *uid != self.spec.uid)
            .collect()
    }

    /// `namespace/name` and priority of a workload.
    pub fn titled(&self, uid: &str) -> Option<(String, i32)> {
        let spec = &self.live.catalog.get(uid)?.spec;
        Some((title(&spec.namespace, &spec.name), spec.priority))
    }

    /// What happens when somebody deletes a workload: it and its pods are gone.
    pub fn without(&self, uid: &Arc<str>) -> Vec<Delta> {
        let is_its = |pod: &Pod| pod.member.as_ref().is_some_and(|member| member.workload == *uid);
        let pods = self
            .world()
            .pods
            .iter()
            .filter(|(_, pod)| is_its(pod))
            .map(|(pod, _)| Delta::PodGone(Arc::clone(pod)));
        std::iter::once(Delta::WorkloadGone(Arc::clone(uid))).chain(pods).collect()
    }

    /// The workload with something changed.
    pub fn changed(&self, change: impl FnOnce(&mut WorkloadSpec)) -> Vec<Delta> {
        let mut spec = self.spec.clone();
        change(&mut spec);
        vec![Delta::Workload(Box::new(spec))]
    }
}
