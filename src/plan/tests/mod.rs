//! From objects to writes, as scenarios.

mod bench;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::workload_status::Urgency;
use super::write::Write;
use super::{Desk, ledger};
use crate::api::pruned::{Guarded, PriorityClass};
use crate::api::workload::Phase;
use crate::api::{PooledWorkload, conditions};
use crate::decide::{decide, decision::Decision};
use crate::model::delta::Delta;
use crate::model::spec::MemberRef;
use crate::model::time::Time;
use bench::{Bench, START, events, kinds};

#[test]
fn a_pod_that_starts_soon_costs_a_create_two_patches_and_two_events() {
    let mut bench = Bench::new();
    bench.workload("train", "1", &json!({}));
    assert_eq!(bench.urgency("train"), Urgency::No, "nobody looked at it yet");
    let scripts = bench.cycle();
    assert_eq!(kinds(&scripts[0]), [vec!["create pod"], vec!["event"]]);
    assert_eq!(bench.pods["train-0"]["spec"]["nodeName"], "node-a");
    assert_eq!(
        events(&scripts),
        [(
            "Admit".to_owned(),
            "Admitted".to_owned(),
            "admitted to pool \"batch\", on node node-a".to_owned()
        )]
    );
    assert_eq!(bench.urgency("train"), Urgency::Later, "it may run within some seconds");
    bench.pass(800);
    bench.runs("train-0");
    bench.cycle();
    assert_eq!(bench.urgency("train"), Urgency::Now);
    let (patch, event) = bench.write_status("train").unwrap();
    assert_eq!(event.map(|event| event.reason), None);
    assert_eq!(patch["phase"], "Running");
    assert_eq!(bench.urgency("train"), Urgency::No, "and then it is quiet");
    assert!(bench.cycle().is_empty());

    bench.pass(60_000);
    bench.ends("train-0", 0);
    let scripts = bench.cycle();
    assert_eq!(kinds(&scripts[0]), [vec!["patch workload"], vec!["event"]]);
    assert_eq!(events(&scripts)[0].1, "Completed");
    assert_eq!(bench.urgency("train"), Urgency::No);
    let writes = |is: fn(&Write) -> bool| bench.writes.iter().filter(|write| is(write)).count();
    assert_eq!(writes(|write| matches!(write, Write::CreatePod { .. })), 1);
    assert_eq!(writes(|write| matches!(write, Write::PatchWorkloadStatus { .. })), 2);
    assert_eq!(writes(|write| matches!(write, Write::Event(_))), 2);
    assert_eq!(bench.writes.len(), 5);
}

#[test]
fn the_status_of_a_running_and_of_a_finished_workload() {
    let mut bench = Bench::new();
    bench.workload("train", "1", &json!({"replicas": 2, "priority": 5}));
    bench.cycle();
    bench.pass(3_000);
    bench.runs("train-0");
    bench.runs("train-1");
    bench.cycle();
    bench.write_status("train");
    let mut status = serde_json::to_value(bench.status("train")).unwrap();
    let list = status["conditions"].take();
    assert_eq!(
        status,
        json!({
            "observedGeneration": 1,
            "phase": "Running",
            "priority": 5,
            "allocation": {"pool": "batch", "priority": 5, "replicas": 2,
                           "resources": {"cpu": "2", "memory": "2Gi", "pods": "2"}, "admittedAt": "2023-11-14T22:13:20Z"},
            "members": {"desired": 2, "placed": 2, "running": 2, "succeeded": 0, "failed": 0},
            "placements": [
                {"index": 0, "name": "train-0", "node": "node-a", "state": "Running", "attempt": 1},
                {"index": 1, "name": "train-1", "node": "node-b", "state": "Running", "attempt": 1},
            ],
            "startedAt": "2023-11-14T22:13:23Z",
            "summary": {"members": "2/2", "node": "2 nodes", "runtime": "Pod"},
            "conditions": null,
        })
    );
    let shown: Vec<_> = list
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (&one["type"], &one["status"], &one["reason"]))
        .map(|(one, two, three)| {
            format!("{}={} {}", one.as_str().unwrap(), two.as_str().unwrap(), three.as_str().unwrap())
        })
        .collect();
    assert_eq!(shown, ["Ready=True Running", "Admitted=True Admitted", "Running=True Running"]);

    bench.pass(1_000);
    bench.ends("train-0", 0);
    bench.ends("train-1", 0);
    bench.cycle();
    let status = bench.status("train");
    assert_eq!(status.phase, Some(Phase::Succeeded));
    assert_eq!(status.succeeded_indexes.as_deref(), Some("0-1"));
    assert_eq!(status.allocation, None);
    assert!(status.started_at.is_some() && status.finished_at.is_some());
    assert!(conditions::is_true(&status.conditions, conditions::READY), "succeeded is Ready");
    assert!(conditions::is_true(&status.conditions, conditions::FINISHED));
    assert_eq!(bench.condition("train", "Admitted").unwrap().0, "False");
    assert_eq!(bench.condition("train", "Finished").unwrap().2, "2 of 2 members succeeded");
}

#[test]
fn one_that_waits_says_why_and_is_not_written_again_for_numbers_alone() {
    let mut bench = Bench::new();
    for name in ["a", "b"] {
        bench.workload(name, "4", &json!({}));
    }
    bench.cycle();
    bench.workload("late", "3", &json!({}));
    bench.cycle();
    assert_eq!(bench.urgency("late"), Urgency::Soon);
    let (patch, event) = bench.write_status("late").unwrap();
    assert_eq!(patch["phase"], "Queued");
    assert_eq!(patch["pending"]["reason"], "WaitingForQuota");
    assert_eq!(
        patch["pending"]["message"],
        r#"pool "batch": what its nodes offer, cpu=8 would be passed by 3 (allocated 8, asked 3)"#
    );
    assert_eq!(patch["pending"]["resources"], json!([{"name": "cpu", "requested": "3", "available": "0"}]));
    let event = event.unwrap();
    assert_eq!((event.action.as_deref(), event.reason.as_deref()), (Some("Wait"), Some("WaitingForQuota")));
    assert_eq!(event.metadata.namespace.as_deref(), Some("vision"));
    assert!(
        bench.condition("late", "Reconciling").is_some_and(|(status, ..)| status == "True"),
        "kstatus: queued"
    );
    assert_eq!(bench.condition("late", "Ready").unwrap().1, "WaitingForQuota");

    bench.node("node-c", "1");
    bench.cycle();
    assert_eq!(bench.urgency("late"), Urgency::No, "other numbers, the same reason");
    bench.ends("a-0", 0);
    bench.cycle();
    assert_eq!(
        bench.urgency("late"),
        Urgency::Soon,
        "it was seen waiting, so its admission is worth a write"
    );
}

#[test]
fn what_can_never_run_is_stalled() {
    let mut bench = Bench::new();
    bench.workload("nowhere", "1", &json!({"pool": "elsewhere"}));
    bench.workload("classy", "1", &json!({"priorityClassName": "high"}));
    bench.workload("odd", "1", &json!({"template": {"pod": {"spec": {"containers": [], "nodeName": "n"}}}}));
    bench.workload("typo", "1", &json!({"replicas": "many"}));
    bench.cycle();
    for (name, reason, words) in [
        ("nowhere", "PoolNotFound", "there is no ResourcePool \"elsewhere\""),
        ("classy", "PriorityClassNotFound", "there is no PriorityClass \"high\""),
        ("odd", "InvalidTemplate", "spec.template.pod.spec.nodeName: leave it away"),
        ("typo", "InvalidTemplate", "spec.replicas"),
    ] {
        bench.write_status(name);
        let (status, said, message) =
            bench.condition(name, "Stalled").unwrap_or_else(|| panic!("{name} is not stalled"));
        assert_eq!((status.as_str(), said.as_str()), ("True", reason), "{name}");
        assert!(message.contains(words), "{message} does not say {words}");
        assert_eq!(bench.condition(name, "Reconciling"), None);
    }
    let class: PriorityClass =
        serde_json::from_value(json!({"metadata": {"name": "high"}, "value": 900})).unwrap();
    let deltas = bench.catalog.priority_class(&class);
    bench.apply(deltas);
    bench.cycle();
    bench.write_status("classy");
    assert_eq!(bench.status("classy").phase, Some(Phase::Starting));
    assert_eq!(bench.status("classy").priority, Some(900));
    assert_eq!(bench.condition("classy", "Stalled"), None);
    assert!(bench.catalog.priority_class_gone("high").len() == 1, "and it is told when the class is gone");
}

#[test]
fn a_failure_is_written_before_the_pod_that_shows_it_is_deleted() {
    let mut bench = Bench::new();
    bench.workload("train", "1", &json!({"backoffLimit": 1}));
    bench.cycle();
    bench.runs("train-0");
    bench.cycle();
    bench.write_status("train");
    bench.ends("train-0", 3);
    bench.cycle();
    assert_eq!(bench.urgency("train"), Urgency::Now);
    bench.write_status("train");
    assert_eq!(bench.status("train").failures[0].count, 1);
    assert_eq!(bench.condition("train", "Ready").unwrap().1, "BackingOff");
    assert!(bench.condition("train", "Ready").unwrap().2.contains("container main exited with 3 (Error)"));
    bench.pass(11_000);
    let scripts = bench.cycle();
    assert!(bench.pods.contains_key("train-0-r2"), "{scripts:?}");
    bench.runs("train-0-r2");
    bench.cycle();
    bench.write_status("train");
    assert_eq!(bench.status("train").placements[0].attempt, 2);
    bench.ends("train-0-r2", 3);
    let scripts = bench.cycle();
    let status = bench.status("train");
    assert_eq!(status.phase, Some(Phase::Failed), "{scripts:?}");
    assert_eq!(status.failed_indexes.as_deref(), Some("0"));
    assert!(conditions::is_true(&status.conditions, conditions::STALLED), "failed is Stalled");
    assert_eq!(
        bench.condition("train", "Finished").unwrap().2,
        "a member failed more often than backoffLimit=1 allows: member 0: container main exited with 3 (Error)"
    );
    assert_eq!(events(&scripts)[0].1, "BackoffLimitExceeded");
}

#[test]
fn a_drained_workload_says_so_first_is_evicted_and_waits_again() {
    let mut bench = Bench::new();
    bench.workload("train", "1", &json!({}));
    bench.cycle();
    bench.runs("train-0");
    bench.cycle();
    bench.write_status("train");
    let drained = json!({"nodes": {"selector": {}}, "resources": [{"name": "cpu"}], "access": {"namespaces": {}},
                         "stopPolicy": "HoldAndDrain"});
    bench.pool("batch", &drained);
    bench.pass(1_000);
    let scripts = bench.cycle();
    assert_eq!(kinds(&scripts[0]), [vec!["patch workload"], vec!["evict pod", "event"]]);
    let Write::PatchWorkloadStatus { status, .. } = &scripts[0].steps[0][0] else { panic!("{scripts:?}") };
    let admitted =
        status["conditions"].as_array().unwrap().iter().find(|one| one["type"] == "Admitted").unwrap();
    assert_eq!((&admitted["status"], &admitted["reason"]), (&json!("True"), &json!("Drained")));
    bench.pass(1_000);
    bench.cycle();
    assert_eq!(bench.urgency("train"), Urgency::Now);
    bench.write_status("train");
    let status = bench.status("train");
    assert_eq!((status.phase, status.evictions), (Some(Phase::Queued), Some(1)));
    assert_eq!(bench.condition("train", "Evicted").unwrap().1, "Drained");
    assert_eq!(bench.condition("train", "Ready").unwrap().1, "PoolHeld");
    assert!(status.queued_at.is_some() && status.allocation.is_none());
    assert_eq!(bench.urgency("train"), Urgency::No, "one eviction is counted once");
}

#[test]
fn suspending_deletes_pods_and_is_ready() {
    let mut bench = Bench::new();
    bench.workload("train", "1", &json!({}));
    bench.cycle();
    bench.runs("train-0");
    bench.cycle();
    bench.write_status("train");
    bench.workload("train", "1", &json!({"suspend": true}));
    let scripts = bench.cycle();
    assert_eq!(kinds(&scripts[0]), [vec!["patch workload"], vec!["delete pod", "event"]]);
    bench.cycle();
    bench.write_status("train");
    let status = bench.status("train");
    assert_eq!((status.phase, status.observed_generation), (Some(Phase::Suspended), Some(2)));
    assert_eq!(bench.condition("train", "Ready").unwrap().0, "True");
    assert!(bench.pods.is_empty());
}

/// What a status says is what a restarted operator remembers.
#[test]
fn a_restart_goes_on_where_the_status_left_off() {
    let mut bench = Bench::new();
    bench.workload("train", "1", &json!({"replicas": 3, "minReplicas": 2, "backoffLimit": 3}));
    bench.cycle();
    for pod in ["train-0", "train-1", "train-2"] {
        bench.runs(pod);
    }
    bench.cycle();
    bench.ends("train-0", 0);
    bench.ends("train-1", 3);
    bench.pass(11_000);
    bench.cycle();
    bench.write_status("train");
    let before = bench.world.workload_report("train-uid").unwrap();

    let mut restarted = Bench::empty();
    restarted.now = bench.now;
    restarted.version = bench.version;
    for name in ["node-a", "node-b"] {
        restarted.node(name, "4");
    }
    let known = bench.catalog.get("train-uid").unwrap();
    let object = json!({
        "apiVersion": "weir.dev/v1alpha1", "kind": "PooledWorkload",
        "metadata": {"name": "train", "namespace": "vision", "uid": "train-uid", "generation": 1, "resourceVersion": "99",
                     "creationTimestamp": "2023-11-14T22:13:20Z"},
        "spec": {"pool": "batch", "replicas": 3, "minReplicas": 2, "backoffLimit": 3, "template": {"pod": {"spec": {
            "containers": [{"name": "main", "image": "i", "resources": {"requests": {"cpu": "1", "memory": "1Gi"}}}]}}}},
        "status": known.status(),
    });
    let Guarded::<PooledWorkload>(seen) = serde_json::from_value(object).unwrap();
    let deltas = restarted.catalog.workload(&seen);
    let Delta::Workload(spec) = &deltas[0] else { panic!("{deltas:?}") };
    assert_eq!(spec.record.admitted, Some((Time(START), 3)));
    assert_eq!(spec.record.succeeded, before.succeeded);
    assert_eq!(spec.record.failures.clone().into_iter().collect::<Vec<_>>(), before.failures);
    assert_eq!(spec.record.started_at.map(|at| at.0 / 1000), Some(START / 1000));
    restarted.apply(deltas);
    restarted.pool(
        "batch",
        &json!({
            "nodes": {"selector": {}}, "resources": [{"name": "cpu"}], "access": {"namespaces": {}},
        }),
    );
    for pod in bench.pods.values() {
        let delta = restarted.catalog.pod(&serde_json::from_value(pod.clone()).unwrap()).remove(0);
        restarted.apply(vec![delta]);
    }
    restarted.apply(vec![Delta::Settled]);
    let scripts = restarted.cycle();
    assert!(
        scripts.iter().all(|script| kinds(script).concat().iter().all(|kind| *kind != "create pod")),
        "{scripts:?}"
    );
    assert_eq!(restarted.world.workload_report("train-uid").unwrap().failures, before.failures);
}

#[test]
fn our_own_writes_and_old_events_tell_the_world_nothing() {
    let mut bench = Bench::new();
    bench.workload("train", "1", &json!({}));
    bench.catalog.take_touched();
    let object = |version: u64, generation: i64, status: Value| {
        let object = json!({
            "metadata": {"name": "train", "namespace": "vision", "uid": "train-uid", "generation": generation,
                         "resourceVersion": version.to_string(), "creationTimestamp": "2023-11-14T22:13:20Z"},
            "spec": {"pool": "batch", "template": {"pod": {"spec": {"containers": [
                {"name": "main", "image": "i", "resources": {"requests": {"cpu": "1", "memory": "1Gi"}}}]}}}},
            "status": status,
        });
        let Guarded::<PooledWorkload>(seen) = serde_json::from_value(object).unwrap();
        seen
    };
    let patch = json!({"phase": "Running"});
    bench.catalog.workload_written("train-uid", "50", &patch);
    assert!(bench.catalog.workload(&object(40, 1, json!({}))).is_empty(), "older than our write");
    assert_eq!(bench.status("train").phase, Some(Phase::Running));
    assert!(bench.catalog.workload(&object(50, 1, patch.clone())).is_empty());
    assert!(bench.catalog.take_touched().workloads.is_empty(), "our own write is no news");
    assert!(bench.catalog.workload(&object(60, 1, json!({"phase": "Failed"}))).is_empty());
    assert!(bench.catalog.take_touched().workloads.contains("train-uid"), "somebody else's is put right");
    assert_eq!(
        bench.catalog.workload(&object(55, 2, patch)).len(),
        1,
        "a new generation counts even if it is late"
    );
    assert_eq!(&*bench.catalog.get("train-uid").unwrap().resource_version, "60");
}

#[test]
fn a_pool_says_its_numbers_and_stands() {
    let mut bench = Bench::new();
    bench.workload("train", "1500m", &json!({}));
    bench.cycle();
    bench.workload("huge", "4", &json!({"replicas": 2}));
    bench.cycle();
    let report = bench.world.pool_report("batch").unwrap();
    let desk = Desk { world: &bench.world, catalog: &bench.catalog, instance: "weir-0", now: bench.now };
    let (status, finalizers) = desk.pool_status("batch", &report);
    let status = status.unwrap();
    let cpu = serde_json::to_value(&status.next.resources[0]).unwrap();
    assert_eq!(
        (&cpu["capacity"], &cpu["allocated"], &cpu["pending"]),
        (&json!("8"), &json!("1500m"), &json!("8"))
    );
    assert_eq!((&cpu["largestFree"], &cpu["utilizationPercent"]), (&json!("4"), &json!(18)));
    assert_eq!(status.next.summary.as_ref().unwrap().cpu.as_deref(), Some("1500m/8"));
    assert_eq!(status.next.workloads.as_ref().unwrap().queued, 1);
    assert!(conditions::is_true(&status.next.conditions, "Ready"));
    assert!(
        matches!(finalizers, Some(Write::SetPoolFinalizers { finalizers, .. }) if finalizers == ["weir.dev/in-use"])
    );
    bench.carry_out(status.write);
    let desk = Desk { world: &bench.world, catalog: &bench.catalog, instance: "weir-0", now: bench.now };
    assert_eq!(desk.pool_status("batch", &report).0, None, "the same again is nothing to write");
}

#[test]
fn a_pool_that_cannot_stand_is_stalled_and_says_why() {
    let mut bench = Bench::new();
    bench.pool("orphan", &json!({"parent": "nobody"}));
    bench.pool("one", &json!({"parent": "two"}));
    bench.pool("two", &json!({"parent": "one"}));
    bench.pool("typo", &json!({"parent": "batch", "resources": [{"name": "cpu", "limit": "lots"}]}));
    bench.pool("below", &json!({"parent": "orphan"}));
    for (name, reason, words) in [
        ("orphan", "ParentNotFound", "nobody"),
        ("one", "ParentCycle", "cycle"),
        ("typo", "InvalidSpec", "spec.resources[0].limit"),
        ("below", "PoolStalled", "nobody"),
    ] {
        let report = bench.world.pool_report(name).unwrap();
        let desk = Desk { world: &bench.world, catalog: &bench.catalog, instance: "weir-0", now: bench.now };
        let status = desk.pool_status(name, &report).0.unwrap();
        let stalled = status
            .next
            .conditions
            .iter()
            .find(|one| one.type_ == "Stalled")
            .unwrap_or_else(|| panic!("{name}: {status:?}"));
        assert_eq!(stalled.reason, reason, "{name}");
        assert!(stalled.message.contains(words), "{}", stalled.message);
        let event = status.event.unwrap();
        assert_eq!(
            (event.type_.as_deref(), event.metadata.namespace.as_deref()),
            (Some("Warning"), Some("default"))
        );
    }
}

#[test]
fn what_is_in_flight_goes_through_the_ledger_and_back() {
    let mut bench = Bench::new();
    bench.workload("train", "1", &json!({"replicas": 3}));
    let decided = decide(&mut bench.world, bench.now);
    let [Decision::Admit { workload, pool, at, placements }] = decided.decisions.as_slice() else {
        panic!("{decided:?}")
    };
    let placements: BTreeMap<u32, (u32, Arc<str>)> =
        placements.iter().map(|one| (one.index, (one.attempt, Arc::clone(&one.node)))).collect();
    let entry = crate::model::delta::InFlight {
        workload: Arc::clone(workload),
        pool: Arc::clone(pool),
        at: *at,
        size: 3,
        placements,
    };
    let ledger = ledger::Ledger { epoch: 1, holder: "weir-0".into(), entries: vec![entry] };
    let data = ledger.encode(&ledger::name("batch")).unwrap();
    assert_eq!(ledger::Ledger::decode("weir-ledger-batch", &data), Ok(ledger));
}

#[test]
fn a_pod_with_an_odd_name_is_deleted_by_that_name() {
    let mut bench = Bench::new();
    bench.workload("train", "1", &json!({}));
    bench.cycle();
    let pod = serde_json::from_value(json!({
        "metadata": {"name": "by-hand", "namespace": "vision", "uid": "odd", "labels": {"weir.dev/index": "0", "weir.dev/attempt": "1"},
                     "ownerReferences": [{"apiVersion": "weir.dev/v1alpha1", "kind": "PooledWorkload", "name": "train",
                                          "uid": "train-uid", "controller": true}]},
        "spec": {"nodeName": "node-a"},
    }))
    .unwrap();
    assert_eq!(bench.catalog.pod(&pod).len(), 1);
    let known = bench.catalog.get("train-uid").unwrap();
    let member = MemberRef { workload: "train-uid".into(), index: 0, attempt: 0 };
    assert_eq!(&*bench.catalog.pod_name(known, &member, "odd"), "by-hand");
    assert_eq!(&*bench.catalog.pod_name(known, &member, "train-0-pod"), "train-0");
}
