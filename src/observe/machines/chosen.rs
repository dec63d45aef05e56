//! Which of a machine's pods it is in.
//!
//! Pods, machines and migrations are watched one by one, and a watch that broke may tell of it seconds after the others.
//! So neither the node that a machine was last seen on nor the latest pod may say alone where it is.

use std::cmp::Reverse;

use super::migrations::Course;
use super::{Launcher, Machines, Vmi};

impl Machines {
    /// The pod that counts: the one on the machine's node, else the one that it shall start in, else the one that only
    /// waits for its volumes. What it came from by a migration that has succeeded counts no more, though it may linger, and
    /// what it goes to by one that has not ended does not count yet, as long as it has another place.
    pub(super) fn chosen<'a>(&self, pods: &[&'a Launcher], vmi: &Vmi) -> Option<&'a Launcher> {
        let lives = |pod: &Launcher| !pod.spec.phase.ended();
        let stands = |pod: &Launcher| lives(pod) && pod.spec.bound && !pod.ephemeral;
        let by = |pod: &Launcher, state: Course| {
            pod.migration.as_ref().is_some_and(|uid| self.course(uid) == Some(state))
        };
        let arrived = pods.iter().filter(|pod| stands(pod) && by(pod, Course::Succeeded));
        let arrived = arrived.map(|pod| pod.spec.created).max();
        let was_left = |pod: &Launcher| arrived.is_some_and(|arrived| pod.spec.created < arrived);
        let is_target = |pod: &Launcher| by(pod, Course::UnderWay);
        let has_place = pods.iter().any(|pod| stands(pod) && !was_left(pod) && !is_target(pod));
        let node = vmi.status.node_name.as_deref();
        let rank = |pod: &&&'a Launcher| {
            let here = node.is_some() && pod.spec.node.as_deref() == node;
            // A machine moves once at a time: what came by an earlier migration is where a later one begins.
            let came = pod.migration.is_some().then_some(Reverse(pod.spec.created));
            let original = came.is_none();
            (here && lives(pod), stands(pod), original, !pod.ephemeral, lives(pod), came, pod.spec.created)
        };
        let is_no_place = |pod: &Launcher| was_left(pod) || has_place && is_target(pod);
        pods.iter().filter(|pod| !is_no_place(pod)).max_by_key(rank).copied()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::testing::{none, of, owner};
    use super::super::*;

    fn machine() -> VirtualMachine {
        of(json!({
            "metadata": {"name": "db-0", "namespace": "a", "uid": "vm", "ownerReferences": owner("PooledWorkload", "db")},
            "spec": {"runStrategy": "Always", "template": {"metadata": {
                "labels": {"weir.dev/attempt": "1"}, "annotations": {"weir.dev/node": "n0"}}}}}))
    }

    fn instance(node: &str) -> VirtualMachineInstance {
        of(json!({
            "metadata": {"name": "db-0", "namespace": "a", "uid": "vmi", "ownerReferences": owner("VirtualMachine", "vm"),
                         "labels": {"weir.dev/attempt": "1"}, "annotations": {"weir.dev/node": "n0"}},
            "status": {"phase": "Running", "nodeName": node}}))
    }

    /// What becomes of the pod that a machine has left.
    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Source {
        Goes,
        Ends,
        Lingers,
    }

    fn ended(mut pod: Pod) -> Pod {
        pod.status = of(json!({"phase": "Succeeded"}));
        pod
    }

    fn pod(name: &str, created: &str, node: Option<&str>) -> Pod {
        let migration = match name {
            "p1" => json!({"kubevirt.io/migrationJobUID": "m1"}),
            "p2" => json!({"kubevirt.io/migrationJobUID": "m2"}),
            _ => json!({}),
        };
        of(json!({
            "metadata": {"name": name, "namespace": "a", "uid": name, "labels": migration, "creationTimestamp": created,
                         "ownerReferences": owner("VirtualMachineInstance", "vmi")},
            "spec": {"nodeName": node}, "status": {"phase": if node.is_some() { "Running" } else { "Pending" }}}))
    }

    fn migration(attempt: u32, node: &str, phase: &str) -> crate::api::kubevirt::InstanceMigration {
        of(json!({
            "metadata": {"name": format!("db-0-m{attempt}"), "namespace": "a", "uid": format!("m{attempt}"),
                         "ownerReferences": owner("PooledWorkload", "db"),
                         "labels": {"weir.dev/attempt": attempt.to_string(), "weir.dev/index": "0"},
                         "annotations": {"weir.dev/node": node}},
            "spec": {"vmiName": "db-0"}, "status": {"phase": phase}}))
    }

    /// The machine moves from n0 to n1, and back: what there is of each kind at each point of time.
    const POINTS: usize = 9;
    const MOVED: usize = 3;
    const SOURCE_GONE: usize = 4;
    const BACK: usize = 7;

    fn instance_at(point: usize) -> VirtualMachineInstance {
        instance(if (MOVED..BACK).contains(&point) { "n1" } else { "n0" })
    }

    fn pods_at(point: usize, source: Source) -> Vec<Pod> {
        let first = || pod("p0", "2026-01-01T00:00:00Z", Some("n0"));
        let second = |node| pod("p1", "2026-01-01T00:01:00Z", node);
        let third = |node| pod("p2", "2026-01-01T00:02:00Z", node);
        let left = |pods: Vec<Pod>| match source {
            Source::Goes => Vec::new(),
            Source::Ends => pods.into_iter().map(ended).collect(),
            Source::Lingers => pods,
        };
        let with = |left: Vec<Pod>, pods: Vec<Pod>| [left, pods].concat();
        match point {
            0 => vec![first()],
            1 => vec![first(), second(None)],
            2 | 3 => vec![first(), second(Some("n1"))],
            4 => with(left(vec![first()]), vec![second(Some("n1"))]),
            5 => with(left(vec![first()]), vec![second(Some("n1")), third(None)]),
            6 | 7 => with(left(vec![first()]), vec![second(Some("n1")), third(Some("n0"))]),
            _ => with(left(vec![first(), second(Some("n1"))]), vec![third(Some("n0"))]),
        }
    }

    fn migrations_at(point: usize) -> Vec<crate::api::kubevirt::InstanceMigration> {
        let first = |phase| migration(1, "n1", phase);
        let second = |phase| migration(2, "n0", phase);
        match point {
            0 => vec![],
            1 => vec![first("Scheduling")],
            2 | 3 => vec![first("Running")],
            4 => vec![first("Succeeded")],
            5 => vec![first("Succeeded"), second("Scheduling")],
            6 | 7 => vec![first("Succeeded"), second("Running")],
            _ => vec![first("Succeeded"), second("Succeeded")],
        }
    }

    fn told(at: [usize; 3], source: Source) -> PodSpec {
        let mut machines = Machines::default();
        machines.machine(&machine(), &none);
        machines.instance(&instance_at(at[0]), &none);
        for pod in pods_at(at[1], source) {
            machines.pod(&pod, &mut Notes::new(), &none);
        }
        for migration in migrations_at(at[2]) {
            machines.migration(&migration, &none);
        }
        // What was told already is told once more when the machine is told anew.
        machines.told.clear();
        let deltas = machines.machine(&machine(), &none);
        let runs = deltas.into_iter().filter_map(|delta| match delta {
            Delta::Pod(run) if run.machine.is_some() => Some(*run),
            _ => None,
        });
        runs.last().unwrap()
    }

    /// A pod that a machine moves to is bound by Weir alone, which has seen the migration by then.
    fn can_be([_, pods, migrations]: [usize; 3]) -> bool {
        (pods < 2 || migrations >= 1) && (pods < 6 || migrations >= 5)
    }

    fn holds(at: [usize; 3], source: Source) -> bool {
        let run = told(at, source);
        let (node, latest) = (run.node.as_deref(), at.into_iter().max().unwrap_or_default());
        assert!(run.bound, "{source:?} {at:?}: {run:?}");
        if latest < MOVED {
            assert_eq!(node, Some("n0"), "{source:?} {at:?}");
        }
        // Of two pods that live only the migration can tell which one is left.
        let is_told = source != Source::Lingers || at[2] >= SOURCE_GONE;
        let has_left = at[1] >= SOURCE_GONE && is_told && latest < BACK;
        if has_left {
            assert_eq!(node, Some("n1"), "{source:?} {at:?}");
        }
        if at[1] + 1 == POINTS && (source == Source::Goes || at[2] + 1 == POINTS) {
            assert_eq!(node, Some("n0"), "{source:?} {at:?}");
        }
        let passage = run.machine.and_then(|run| run.passage);
        let awaits = passage.as_ref().is_some_and(|passage| passage.is_unbound());
        let waits = matches!((at[1], at[2]), (1, 1..4) | (5, 5..8));
        assert_eq!(awaits, waits, "{source:?} {at:?}");
        has_left
    }

    #[test]
    fn a_machine_is_never_told_to_have_moved_before_it_has_whichever_watch_lags() {
        let points = || 0..POINTS;
        let all = points().flat_map(|a| points().flat_map(move |b| points().map(move |c| [a, b, c])));
        for source in [Source::Goes, Source::Ends, Source::Lingers] {
            let left = all.clone().filter(|at| can_be(*at)).filter(|at| holds(*at, source)).count();
            assert!(left > 20, "{source:?}: {left}");
        }
    }
}
