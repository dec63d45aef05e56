//! Strategy `Optimal` as deciding sees it: what is asked, and what is made of an answer.

use std::sync::Arc;

use super::decision::{Decided, Decision};
use super::{decide, testing};
use crate::model::batch::{Answer, End, Figures, Problem};
use crate::model::delta::Delta;
use crate::model::spec::{PoolSpec, Strategy};
use crate::model::time::{Span, Time};
use crate::model::world::{Tuning, World};

const NOW: Time = Time(1_000_000);

/// Two nodes of 8 cores; a pool that plans; workloads of so many cores each.
fn world(cores: &[i64]) -> World {
    let mut world = World::new(Tuning::default());
    let mut take = |delta| world.apply(delta, NOW);
    take(Delta::Namespace { name: testing::NAMESPACE.into(), labels: Default::default() });
    let pool = PoolSpec { strategy: Strategy::Optimal, ..testing::pool("root", None, 0, None) };
    take(Delta::Pool(Box::new(pool)));
    for name in ["a", "b"] {
        take(Delta::Node(Box::new(testing::node(name, 8))));
    }
    for (at, cores) in (0_i64..).zip(cores) {
        let spec = testing::workload(&format!("w{at}"), "root", *cores, 1, 1, at);
        take(Delta::Workload(Box::new(spec)));
    }
    take(Delta::Settled);
    world
}

fn admitted(decided: &Decided) -> Vec<String> {
    let admitted = decided.decisions.iter().filter_map(|decision| match decision {
        Decision::Admit { workload, placements, .. } => {
            Some(format!("{workload} on {}", placements.first().map_or("", |place| &place.node)))
        }
        _ => None,
    });
    admitted.collect()
}

fn answer(problem: &Problem, places: &[(&str, &str)]) -> Delta {
    let figures = Figures {
        considered: problem.considered(),
        planned: 0,
        value: 1,
        bound: None,
        balanced: 0,
        end: End::Greedy,
    };
    let places =
        places.iter().map(|(uid, node)| (Arc::from(*uid), vec![Arc::from(*node)])).collect::<Vec<_>>();
    Delta::Solved(Box::new(Answer {
        pool: Arc::clone(&problem.pool),
        number: problem.number,
        places,
        figures,
    }))
}

#[test]
fn nothing_is_admitted_before_the_answer_and_all_that_it_says_afterwards() {
    let mut world = world(&[2, 2, 8]);
    let decided = decide(&mut world, NOW);
    assert_eq!(admitted(&decided), [""; 0]);
    let [problem] = decided.questions.as_slice() else { panic!("{:?}", decided.questions) };
    assert_eq!((problem.considered(), problem.classes.len(), problem.nodes.len()), (3, 2, 2));
    assert!(decided.wake_at.is_some_and(|at| at > NOW));
    assert!(decide(&mut world, NOW).questions.is_empty(), "one question at a time");
    world.apply(answer(problem, &[("uid-w0", "b"), ("uid-w1", "b"), ("uid-w2", "a")]), NOW);
    let decided = decide(&mut world, NOW);
    assert_eq!(admitted(&decided), ["uid-w0 on b", "uid-w1 on b", "uid-w2 on a"]);
    assert!(decided.questions.is_empty());
    assert_eq!(world.audit(), [""; 0]);
}

#[test]
fn a_wrong_answer_does_no_harm() {
    let mut world = world(&[6, 6, 6]);
    let decided = decide(&mut world, NOW);
    let problem = &decided.questions[0];
    // Both on one node, one on a node that is not there, and one that does not wait.
    world
        .apply(answer(problem, &[("uid-x", "a"), ("uid-w0", "a"), ("uid-w1", "a"), ("uid-w2", "gone")]), NOW);
    let decided = decide(&mut world, NOW);
    assert_eq!(admitted(&decided), ["uid-w0 on a", "uid-w1 on b"]);
    assert_eq!(world.excesses(), []);
    assert_eq!(world.audit(), [""; 0]);
}

#[test]
fn an_answer_that_does_not_come_is_not_waited_for_and_a_late_one_says_nothing() {
    let mut world = world(&[4, 4]);
    let decided = decide(&mut world, NOW);
    let late = decided.wake_at.unwrap();
    assert_eq!(late, NOW + Span::seconds(3), "a second to solve, and two of grace");
    assert_eq!(admitted(&decide(&mut world, Time(late.0 - 1))), [""; 0]);
    assert_eq!(admitted(&decide(&mut world, late)).len(), 2);
    let before = format!("{:?}", world.pool_report("root"));
    world.apply(answer(&decided.questions[0], &[("uid-w0", "b")]), late);
    assert_eq!(admitted(&decide(&mut world, late)), [""; 0]);
    assert_eq!(format!("{:?}", world.pool_report("root")), before);
}

#[test]
fn a_higher_priority_is_asked_about_first() {
    let mut world = world(&[8, 8]);
    let mut urgent = testing::workload("urgent", "root", 8, 1, 1, 9);
    urgent.priority = 5;
    world.apply(Delta::Workload(Box::new(urgent)), NOW);
    let decided = decide(&mut world, NOW);
    assert_eq!(decided.questions[0].considered(), 1);
    world.apply(answer(&decided.questions[0], &[("uid-urgent", "b")]), NOW);
    let decided = decide(&mut world, NOW);
    assert_eq!(admitted(&decided), ["uid-urgent on b"]);
    assert_eq!(decided.questions[0].considered(), 2, "then the others");
}

#[test]
fn what_a_programme_cannot_speak_of_is_placed_without_it() {
    let mut world = world(&[]);
    let apart = |name: &str| testing::apart(testing::workload(name, "root", 2, 1, 1, 0), "web");
    for name in ["one", "two"] {
        world.apply(Delta::Workload(Box::new(apart(name))), NOW);
    }
    let decided = decide(&mut world, NOW);
    assert!(decided.questions.is_empty());
    assert_eq!(admitted(&decided), ["uid-one on a", "uid-two on b"], "they keep each other off");
}
