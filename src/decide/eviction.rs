//! Evictions that are under way while something else happens.

use std::sync::Arc;

use super::decide;
use super::decision::{Decided, Decision};
use super::testing::{node, pool, workload};
use crate::model::delta::Delta;
use crate::model::refusal::Refusal;
use crate::model::report::WorkloadPhase;
use crate::model::spec::{MemberRef, PodPhase, PodSpec, PoolSpec, StopReason, WithinPool, WorkloadSpec};
use crate::model::time::{Span, Time};
use crate::model::world::{Tuning, World};

struct Cluster {
    world: World,
    now: Time,
}

impl Cluster {
    fn start(spec: PoolSpec, cores: &[i64]) -> Self {
        let mut cluster = Self { world: World::new(Tuning::default()), now: Time(1_000_000) };
        cluster.tell(Delta::Namespace { name: "team".into(), labels: Default::default() });
        cluster.tell(Delta::Pool(Box::new(spec)));
        for (at, cores) in cores.iter().enumerate() {
            cluster.tell(Delta::Node(Box::new(node(&format!("n{at}"), *cores))));
        }
        cluster.tell(Delta::Settled);
        cluster
    }

    fn tell(&mut self, delta: Delta) {
        self.world.apply(delta, self.now);
    }

    /// Time passes, and it is decided; pods that are created run at once.
    fn after(&mut self, span: Span) -> Decided {
        self.now = self.now + span;
        let decided = decide(&mut self.world, self.now);
        for decision in &decided.decisions {
            if let Decision::Admit { workload, placements, .. } = decision {
                for one in placements {
                    let running = PodPhase::Running { ready_since: Some(self.now) };
                    self.pod(workload, one.attempt, &one.node, running);
                }
            }
        }
        decided
    }

    fn pod(&mut self, workload: &Arc<str>, attempt: u32, node: &Arc<str>, phase: PodPhase) {
        let requests = super::testing::amounts(&[("cpu", 4000), ("pods", 1)]);
        self.tell(Delta::Pod(Box::new(PodSpec {
            uid: format!("{workload}-{attempt}").into(),
            node: Some(Arc::clone(node)),
            bound: true,
            created: self.now,
            terminating: false,
            phase,
            requests,
            host_ports: Vec::new(),
            neighbour: Default::default(),
            member: Some(MemberRef { workload: Arc::clone(workload), index: 0, attempt }),
            maker: None,
            machine: None,
        })));
    }

    fn submit(&mut self, name: &str, priority: i32) {
        let spec = workload(name, "root", 4, 1, 1, self.now.0);
        self.tell(Delta::Workload(Box::new(WorkloadSpec { priority, ..spec })));
    }
}

fn stopped(decided: &Decided) -> Vec<(&str, StopReason)> {
    let stops = decided.decisions.iter().filter_map(|decision| match decision {
        Decision::Stop { workload, reason, .. } => Some((&**workload, *reason)),
        _ => None,
    });
    stops.collect()
}

#[test]
fn where_a_victim_does_not_leave_for_five_minutes_another_is_chosen() {
    let mut cluster = Cluster::start(pool("root", None, 0, None), &[4, 4]);
    cluster.submit("protected", 0);
    cluster.after(Span::seconds(1));
    cluster.submit("other", 1);
    cluster.after(Span::seconds(1));
    cluster.submit("urgent", 9);
    let decided = cluster.after(Span::seconds(1));
    assert_eq!(stopped(&decided), [("uid-protected", StopReason::Preempted)]);
    // Its disruption budget does not let it go.
    assert_eq!(stopped(&cluster.after(Span::minutes(4))), []);
    let decided = cluster.after(Span::minutes(1));
    assert_eq!(stopped(&decided), [("uid-other", StopReason::Preempted)]);
    assert_eq!(cluster.world.audit(), Vec::<String>::new());
    cluster.tell(Delta::PodGone("uid-other-0".into()));
    cluster.after(Span::seconds(1));
    let report = cluster.world.workload_report("uid-urgent").unwrap();
    assert!(matches!(report.phase, WorkloadPhase::Admitted { .. }), "{report:?}");
    // The first may still go, late, and waits then as any other.
    cluster.tell(Delta::PodGone("uid-protected-0".into()));
    cluster.after(Span::seconds(1));
    assert_eq!(cluster.world.audit(), Vec::<String>::new());
}

#[test]
fn a_pool_that_forbids_preemption_while_one_is_under_way_loses_nothing() {
    let mut cluster = Cluster::start(pool("root", None, 0, None), &[4]);
    cluster.submit("low", 0);
    cluster.after(Span::seconds(1));
    cluster.submit("high", 5);
    assert_eq!(stopped(&cluster.after(Span::seconds(1))), [("uid-low", StopReason::Preempted)]);
    cluster.tell(Delta::Pool(Box::new(PoolSpec {
        within_pool: WithinPool::Never,
        ..pool("root", None, 0, None)
    })));
    cluster.after(Span::seconds(1));
    assert_eq!(cluster.world.audit(), Vec::<String>::new());
    cluster.tell(Delta::PodGone("uid-low-0".into()));
    cluster.after(Span::seconds(1));
    let phase = |cluster: &Cluster, uid| cluster.world.workload_report(uid).unwrap().phase;
    assert!(matches!(phase(&cluster, "uid-high"), WorkloadPhase::Admitted { .. }));
    assert!(matches!(
        phase(&cluster, "uid-low"),
        WorkloadPhase::Queued { refusal: Refusal::WaitingForQuota { .. }, .. }
    ));
}

#[test]
fn when_creates_may_go_through_again_those_that_were_refused_are_tried_at_once() {
    let mut cluster = Cluster::start(pool("root", None, 0, None), &[8]);
    let admitted = |decided: &Decided| -> Vec<(Arc<str>, u32)> {
        let admits = decided.decisions.iter().filter_map(|decision| match decision {
            Decision::Admit { workload, placements, .. } => {
                Some((Arc::clone(workload), placements[0].attempt))
            }
            _ => None,
        });
        admits.collect()
    };
    let refuse = |cluster: &mut Cluster, (uid, attempt): &(Arc<str>, u32), name_taken| {
        let member = MemberRef { workload: Arc::clone(uid), index: 0, attempt: *attempt };
        cluster.tell(Delta::MemberRefused { member, message: "no".into(), name_taken });
    };
    let decide_at = |cluster: &mut Cluster, span| {
        cluster.now = cluster.now + span;
        decide(&mut cluster.world, cluster.now)
    };
    cluster.submit("forbidden", 0);
    cluster.submit("named", 0);
    let tried = admitted(&decide_at(&mut cluster, Span::seconds(1)));
    assert_eq!(tried.len(), 2);
    for one in &tried {
        refuse(&mut cluster, one, *one.0 == *"uid-named");
    }
    assert!(admitted(&decide_at(&mut cluster, Span::seconds(1))).is_empty(), "they wait");
    cluster.tell(Delta::MayCreate);
    let tried = admitted(&decide_at(&mut cluster, Span::seconds(1)));
    let names: Vec<&str> = tried.iter().map(|(uid, _)| &**uid).collect();
    assert_eq!(names, ["uid-forbidden"], "a name that is taken stays so");
    assert_eq!(cluster.world.audit(), Vec::<String>::new());
}
