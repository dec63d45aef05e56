//! What is read decides as what was written, whatever has happened before; with pseudonyms too.

use std::cell::Cell;
use std::sync::Arc;

use super::{Dump, Lately, State, Unusable, VERSION};
use crate::decide::decision::{Decision, Placement};
use crate::decide::testing::{NAMESPACE, node, pool, workload};
use crate::decide::{decide, properties, runs};
use crate::model::delta::Delta;
use crate::model::spec::{PoolSpec, Strategy};
use crate::model::time::Time;
use crate::model::world::{Tuning, World};
use crate::optimise::{decide_and_solve_with, solve_at_once};

fn state(world: &World) -> State {
    State { decided: Vec::new(), durations: Default::default(), world: world.clone() }
}

fn dump(world: &World, now: Time) -> Dump {
    Dump::new(state(world), now, Some("weir-0".to_owned()))
}

/// All of a world, whether it is written or not.
fn all(world: &World) -> String {
    format!("{world:?}")
}

#[derive(Default)]
struct Looked {
    count: Cell<u32>,
    worlds: Cell<u32>,
    decisions: Cell<usize>,
}

impl Looked {
    /// Writes, reads and decides every so often; with pseudonyms too.
    fn look(&self, world: &World, now: Time) {
        self.count.set(self.count.get() + 1);
        let mut one = world.clone();
        let decided = decide(&mut one, now);
        if decided.decisions.is_empty() && !self.count.get().is_multiple_of(16) {
            return;
        }
        let written = dump(world, now);
        let read = Dump::read(&written.text().unwrap(), false).unwrap();
        assert_eq!(read.head.at, now);
        let mut other = read.state.world;
        assert_eq!(all(world), all(&other));
        assert_eq!(decided, decide(&mut other, now), "what is read decides as what was written");
        assert_eq!(all(&one), all(&other), "and is the same afterwards");
        assert_eq!(other.audit(), [""; 0]);
        let (veiled, names) = written.anonymised().unwrap();
        let mut third = Dump::read(&veiled.text().unwrap(), false).unwrap().state.world;
        let meant = decide(&mut third, now).decisions;
        let expected = names.renamed(&decided.decisions).unwrap();
        assert_eq!(meant, expected, "with pseudonyms it decides the same: {names:?}");
        assert_eq!(third.audit(), [""; 0]);
        self.worlds.set(self.worlds.get() + 1);
        self.decisions.set(self.decisions.get() + decided.decisions.len());
    }
}

#[test]
fn what_is_read_decides_as_what_was_written() {
    let looked = Looked::default();
    properties::shown(15, |world, now| looked.look(world, now));
    assert!(
        looked.worlds.get() > 150 && looked.decisions.get() > 150,
        "{:?}",
        (looked.worlds, looked.decisions)
    );
}

#[test]
fn what_is_read_of_machines_decides_as_what_was_written() {
    let looked = Looked::default();
    runs::shown(25, |world, now| looked.look(world, now));
    assert!(
        looked.worlds.get() > 100 && looked.decisions.get() > 100,
        "{:?}",
        (looked.worlds, looked.decisions)
    );
}

/// A node of 8 cores, a pool, and work of so many cores.
fn small(strategy: Strategy, cores: &[i64]) -> World {
    let mut world = World::new(Tuning::default());
    let mut take = |delta| world.apply(delta, Time(1000));
    take(Delta::Namespace { name: NAMESPACE.into(), labels: Default::default() });
    take(Delta::Pool(Box::new(PoolSpec { strategy, ..pool("secret-pool", None, 0, None) })));
    for name in ["secret-node-b", "secret-node-a"] {
        take(Delta::Node(Box::new(node(name, 8))));
    }
    for (at, cores) in (0_i64..).zip(cores) {
        let spec = workload(&format!("secret-work-{at}"), "secret-pool", *cores, 1, 1, at);
        take(Delta::Workload(Box::new(spec)));
    }
    take(Delta::Settled);
    world
}

#[test]
fn batches_are_asked_about_and_answered_as_before() {
    let mut world = small(Strategy::Optimal, &[5, 4, 4, 3]);
    let mut read = Dump::read(&dump(&world, Time(2000)).text().unwrap(), false).unwrap().state.world;
    let solve =
        |world: &mut World| decide_and_solve_with(world, &mut Default::default(), Time(2000), solve_at_once);
    let decided = solve(&mut world);
    assert!(!decided.decisions.is_empty());
    assert_eq!(decided, solve(&mut read));
}

#[test]
fn no_name_is_left_and_what_is_no_name_is() {
    let mut world = small(Strategy::BinPack, &[5, 4, 4]);
    let mut spec = node("secret-node-b", 8);
    for (key, value) in [
        ("kubernetes.io/hostname", "secret-node-b"),
        ("secret.example.com/secret-rack", "7"),
        ("nvidia.com/gpu.product", "secret-gpu"),
    ] {
        spec.labels.insert(key.into(), value.into());
    }
    world.apply(Delta::Node(Box::new(spec)), Time(1500));
    let mut lately = Lately::default();
    for decision in decide(&mut world.clone(), Time(1600)).decisions {
        lately.note(Time(1600), Some(Arc::from(format!("{NAMESPACE}/secret-work"))), &decision, &world);
    }
    let state = State { decided: lately.all(), ..state(&world) };
    let (veiled, names) =
        Dump::new(state, Time(2000), Some("secret-operator".to_owned())).anonymised().unwrap();
    let text = veiled.text().unwrap();
    assert!(!text.contains("secret") && !text.contains("\"team"), "{text}");
    assert!(veiled.head.anonymised && !veiled.state.decided.is_empty());
    for kept in ["\"cpu\"", "kubernetes.io/hostname", "\"7\"", "nvidia.com/gpu.product"] {
        assert!(text.contains(kept), "{kept} is not in {text}");
    }
    let of = |name: &str| names.get(name).unwrap().to_owned();
    assert!(of("secret-node-a").ends_with("-node") && of("secret-pool").ends_with("-pool"), "{names:?}");
    assert!(
        of("secret-node-a") < of("secret-node-b") && of("secret-node-b") < of("secret-pool"),
        "{names:?}"
    );
    assert_eq!(of("team/secret-work"), format!("{}/{}", of("team"), of("secret-work")));
    let again = veiled.anonymised().unwrap().0.text().unwrap();
    assert!(Dump::read(&again, false).is_ok(), "once more does no harm");
}

#[test]
fn only_the_last_decisions_are_remembered() {
    let mut lately = Lately::default();
    for at in 0..1000 {
        lately.note(Time(at), None, &Decision::Expire { workload: "w".into() }, &World::default());
    }
    let all = lately.all();
    assert_eq!((all.len(), all.last().map(|one| one.at)), (256, Some(Time(999))));
    let gang = |members: u32| Decision::Admit {
        workload: "w".into(),
        pool: "p".into(),
        at: Time(0),
        placements: (0..members).map(|index| Placement { index, attempt: 0, node: "n".into() }).collect(),
    };
    for (members, left) in [(9_000, 256), (9_000, 256), (9_000, 2), (30_000, 1), (1, 1)] {
        lately.note(Time(1000), None, &gang(members), &World::default());
        assert_eq!(lately.all().len(), left, "{members}");
    }
}

#[test]
fn what_cannot_be_used_says_why_and_what_to_do() {
    let good = dump(&small(Strategy::BinPack, &[5]), Time(2000)).text().unwrap();
    let said = |text: &str| Dump::read(text, false).unwrap_err().to_string();
    for nothing in ["", "kind: Pod", "{}", "[1]", "{\"kind\": \"Pod\"}", "{\"weirDump\"", "\"weirDump\""] {
        let words = said(nothing);
        assert!(
            words.contains("no dump of Weir") || words.contains("before it is complete"),
            "{nothing}: {words}"
        );
    }
    assert!(
        said(&good[..good.len() / 2]).contains("before it is complete"),
        "{}",
        said(&good[..good.len() / 2])
    );
    let edited = said(&good.replace("secret-node-a", "secret-node-x"));
    assert!(edited.contains("damaged or was edited") && edited.contains("fetch it again"), "{edited}");
    let renamed = said(&good.replace("\"node_ids\"", "\"nodes_by_name\""));
    assert!(renamed.contains("state.world") && renamed.contains("node_ids"), "{renamed}");
    let version = format!("\"version\":\"{VERSION}\"");
    let other = good.replace(&version, "\"version\":\"0.0.7\"");
    let words = said(&other);
    assert!(
        words.contains("weir 0.0.7") && words.contains(VERSION) && words.contains("--any-version"),
        "{words}"
    );
    assert!(Dump::read(&other, true).is_ok());
    let later = other.replace("\"format\":1", "\"format\":7");
    let words = Dump::read(&later, true).unwrap_err();
    assert!(matches!(words, Unusable::OtherFormat(_)), "{words}");
    let words = words.to_string();
    for part in ["weir 0.0.7", "format 7", "format 1", VERSION, "replay it with"] {
        assert!(words.contains(part), "{words}");
    }
    // Spaces and line breaks are no damage.
    let pretty: serde_json::Value = serde_json::from_str(&good).unwrap();
    assert!(Dump::read(&serde_json::to_string_pretty(&pretty).unwrap(), false).is_ok());
}
