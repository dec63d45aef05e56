//! Evening out: it comes to rest, and moves only what may be moved.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::strategy::Strategy as _;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use super::decide;
use super::decision::Decision;
use super::testing::{NAMESPACE, amounts, node, pool, workload};
use crate::model::delta::Delta;
use crate::model::moves::Why;
use crate::model::spec::{
    Completion, MemberRef, Migration, PodPhase, PodSpec, PoolSpec, Rebalancing, Strategy, WorkloadSpec,
};
use crate::model::time::{Span, Time};
use crate::model::world::{Tuning, World};

const COOLDOWN: Span = Span::seconds(30);

/// Cores of a pod, whether it keeps running, whether it may move.
type Work = (i64, bool, bool);

struct Cluster {
    world: World,
    now: Time,
    pods: BTreeMap<Arc<str>, PodSpec>,
    moves: u32,
    last: Vec<String>,
}

impl Cluster {
    fn start(nodes: &[i64], automatic: bool, threshold: u32) -> Self {
        let mut cluster = Self {
            world: World::new(Tuning::default()),
            now: Time(1_000_000),
            pods: BTreeMap::new(),
            moves: 0,
            last: Vec::new(),
        };
        cluster.tell(Delta::Namespace { name: NAMESPACE.into(), labels: Default::default() });
        let rebalancing = Some(Rebalancing { automatic, threshold, most: 2, cooldown: COOLDOWN });
        cluster.tell(Delta::Pool(Box::new(PoolSpec {
            strategy: Strategy::Balanced,
            rebalancing,
            ..pool("root", None, 0, None)
        })));
        for (at, cores) in nodes.iter().enumerate() {
            cluster.tell(Delta::Node(Box::new(node(&format!("n{at}"), *cores))));
        }
        cluster.tell(Delta::Settled);
        cluster
    }

    fn tell(&mut self, delta: Delta) {
        self.world.apply(delta, self.now);
    }

    /// A workload that runs on a node already, wherever that is.
    fn running(&mut self, at: usize, node: usize, (cores, keeps_running, may_move): Work) {
        let name = format!("w{at:02}");
        let record = crate::model::spec::WorkloadRecord {
            admitted: Some((self.now, 1)),
            started_at: Some(self.now),
            ..Default::default()
        };
        let spec = WorkloadSpec {
            completion: if keeps_running { Completion::KeepRunning } else { Completion::RunToCompletion },
            migration: if may_move { Migration::Restart } else { Migration::Never },
            record,
            ..workload(&name, "root", cores, 1, 1, 0)
        };
        let uid = Arc::clone(&spec.uid);
        self.tell(Delta::Workload(Box::new(spec)));
        self.show(&uid, 0, &format!("n{node}"), cores);
    }

    fn show(&mut self, workload: &Arc<str>, attempt: u32, node: &str, cores: i64) {
        let pod = PodSpec {
            uid: format!("{workload}-{attempt}").into(),
            node: Some(node.into()),
            bound: true,
            created: self.now,
            terminating: false,
            phase: PodPhase::Running { ready_since: Some(self.now) },
            requests: amounts(&[("cpu", cores * 1000), ("pods", 1)]),
            host_ports: Vec::new(),
            neighbour: Default::default(),
            maker: None,
            machine: None,
            member: Some(MemberRef { workload: Arc::clone(workload), index: 0, attempt }),
        };
        self.pods.insert(Arc::clone(&pod.uid), pod.clone());
        self.tell(Delta::Pod(Box::new(pod)));
    }

    /// Time passes; whether anything was decided.
    fn cycle(&mut self) -> bool {
        self.now = self.now + Span::seconds(7);
        let decided = decide(&mut self.world, self.now);
        for decision in &decided.decisions {
            match decision {
                Decision::Move { workload, placement, way, .. } => {
                    assert_eq!(way.why, Why::Rebalance);
                    self.moves += 1;
                    self.last.push(format!("{workload} {} {}", way.from, way.to));
                    let of = self.pods.values().find(|pod| pod.uid.starts_with(&**workload)).unwrap();
                    let cores = of.requests["cpu"].units() / 1000;
                    self.show(workload, placement.attempt, &placement.node, cores);
                }
                Decision::Leave { pod, ready, .. } => {
                    assert!(ready, "nothing is stopped for balance before its next is ready");
                    self.pods.remove(pod);
                    self.tell(Delta::PodGone(Arc::clone(pod)));
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(self.world.audit(), Vec::<String>::new());
        !decided.decisions.is_empty()
    }

    /// How far the most and the least used node are apart, in percent.
    fn spread(&self) -> i64 {
        let shares = self.world.nodes.iter().map(|(_, node)| {
            let cpu = crate::model::resources::ResourceId::CPU;
            node.load.get(cpu).units() * 100 / node.allocatable.get(cpu).units()
        });
        let all: Vec<i64> = shares.collect();
        all.iter().max().unwrap() - all.iter().min().unwrap()
    }
}

#[test]
fn what_is_recommended_is_what_is_made_and_then_nothing_more_is() {
    let run = |automatic| {
        let mut cluster = Cluster::start(&[8, 8], automatic, 20);
        for (at, cores) in [3, 2, 2, 1].into_iter().enumerate() {
            cluster.running(at, 0, (cores, true, true));
        }
        for _ in 0..30 {
            cluster.cycle();
        }
        cluster
    };
    let proposed = run(false);
    let recommended = proposed.world.clone().pool_report("root").unwrap().recommendations;
    let recommended: Vec<(&str, u32)> = recommended.iter().map(|one| (&*one.title, one.gain)).collect();
    assert_eq!((proposed.moves, recommended), (0, vec![("team/w00", 37), ("team/w03", 12)]));
    let made = run(true);
    assert_eq!((made.moves, made.spread()), (2, 0));
    assert!(made.world.clone().pool_report("root").unwrap().recommendations.is_empty());
}

#[test]
fn what_would_lose_its_work_or_may_not_move_is_left_alone() {
    let mut cluster = Cluster::start(&[8, 8], true, 20);
    cluster.running(0, 0, (4, false, true));
    cluster.running(1, 0, (4, true, false));
    for _ in 0..20 {
        assert!(!cluster.cycle());
    }
    assert_eq!(cluster.spread(), 100);
}

#[test]
fn evening_out_comes_to_rest_whatever_the_nodes_and_the_work() {
    let config = Config { cases: 300, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let work = (1_i64..5, 0_u8..5, 0_u8..5).prop_map(|(cores, keeps, may)| (cores, keeps > 0, may > 0));
    let nodes = proptest::collection::vec(6_i64..40, 2..6);
    let strategy = (nodes, proptest::collection::vec((0_usize..6, work), 1..24), 1_u32..50);
    let total = std::cell::RefCell::new((0, 0));
    let result = runner.run(&strategy, |(nodes, work, threshold)| {
        let mut cluster = Cluster::start(&nodes, true, threshold);
        let mut free = nodes.clone();
        for (at, (node, work)) in work.into_iter().enumerate() {
            // Crowded together, so that there is something to even out.
            let node = (node / 3) % free.len();
            if free[node] >= work.0 {
                free[node] -= work.0;
                cluster.running(at, node, work);
            }
        }
        let before = cluster.spread();
        let mut quiet = 0;
        for _ in 0..400 {
            quiet = if cluster.cycle() { 0 } else { quiet + 1 };
        }
        assert!(quiet > 100, "it never comes to rest: {:?}", cluster.last);
        assert!(cluster.spread() <= before, "it has made things worse: {:?}", cluster.last);
        let mut total = total.borrow_mut();
        total.0 += cluster.moves;
        total.1 += u32::from(cluster.spread() < before);
        Ok(())
    });
    if let Err(failure) = result {
        panic!("{failure}");
    }
    let (moves, better) = total.into_inner();
    assert!(moves >= 300 && better >= 100, "too little is evened out: {moves} moves, {better} times better");
}
