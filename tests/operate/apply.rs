//! Each outcome of each write, and how it goes on.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::Instant;
use weir::apply::call::Pauses;
use weir::apply::{Answer, Child, Limits, Writer};
use weir::model::delta::Delta;
use weir::model::spec::MemberRef;
use weir::operate::lead::Leadership;
use weir::operate::metrics::Metrics;
use weir::plan::write::{Script, Write};

use super::stub::{Reply, Stub, exists, failure, leading, missing};

pub struct Bench {
    pub stub: Stub,
    pub writer: Writer,
    pub answers: mpsc::UnboundedReceiver<Answer>,
    pub metrics: Arc<Metrics>,
    leadership: Leadership,
}

pub fn bench(stub: Stub) -> Bench {
    let (out, answers) = mpsc::unbounded_channel();
    let (metrics, leadership) = (Arc::new(Metrics::default()), leading());
    let writer = Writer::new(stub.client(), leadership.clone(), limits(), metrics.clone(), out);
    Bench { stub, writer, answers, metrics, leadership }
}

/// As in running, a hundred times as fast.
fn limits() -> Limits {
    let pauses = Pauses {
        patience: Duration::from_millis(300),
        first: Duration::from_millis(1),
        most: Duration::from_millis(50),
        budget: Duration::from_millis(50),
        rights: (Duration::from_millis(50), Duration::from_millis(400)),
    };
    Limits { pauses, ..Limits::default() }
}

impl Bench {
    /// Carries out one script; what was answered, and whether it was completed.
    async fn carry_out(&mut self, steps: Vec<Vec<Write>>) -> (Vec<Answer>, bool) {
        self.writer.submit(Script { object: "uid-w".into(), steps });
        self.answers().await
    }

    async fn answers(&mut self) -> (Vec<Answer>, bool) {
        let mut all = Vec::new();
        loop {
            match self.answers.recv().await.unwrap() {
                Answer::Done { completed, .. } => return (all, completed),
                answer => all.push(answer),
            }
        }
    }
}

fn member() -> MemberRef {
    MemberRef { workload: "uid-w".into(), index: 0, attempt: 0 }
}

pub fn create() -> Write {
    let pod: Pod = serde_json::from_value(json!({"metadata": {"name": "w-0", "namespace": "n"}})).unwrap();
    Write::CreatePod { member: member(), namespace: "n".into(), pod: Box::new(pod) }
}

pub fn status(version: &str) -> Write {
    Write::PatchWorkloadStatus {
        workload: "uid-w".into(),
        namespace: "n".into(),
        name: "w".into(),
        resource_version: version.into(),
        status: json!({"phase": "Starting"}),
    }
}

fn object(uid: &str) -> Value {
    json!({"metadata": {"name": "x", "uid": uid, "resourceVersion": "9"}})
}

fn owned(uid: &str, owner: &str, kind: &str) -> Value {
    json!({"metadata": {"uid": uid, "resourceVersion": "9",
        "ownerReferences": [{"uid": owner, "kind": kind, "name": "w", "controller": true}]}})
}

fn created(pod: &str) -> Answer {
    Answer::Member(Delta::MemberCreated { member: member(), pod: pod.into() })
}

fn refused(message: &str, name_taken: bool) -> Answer {
    Answer::Member(Delta::MemberRefused { member: member(), message: message.into(), name_taken })
}

#[tokio::test]
async fn a_pod_is_created_and_then_the_status_is_written() {
    let mut bench = bench(Stub::saying([Reply::Say(201, object("p")), Reply::Say(200, object("uid-w"))]));
    let (answers, completed) = bench.carry_out(vec![vec![create()], vec![status("5")]]).await;
    assert!(completed);
    let written = Answer::Written {
        object: "uid-w".into(),
        resource_version: "9".into(),
        status: json!({"phase": "Starting"}),
    };
    assert_eq!(answers, [created("p"), written]);
    let asked = bench.stub.asked();
    assert_eq!(asked[1].body["metadata"]["resourceVersion"], "5");
    assert_eq!(
        bench.stub.lines(),
        [
            "POST /api/v1/namespaces/n/pods",
            "PATCH /apis/weir.dev/v1alpha1/namespaces/n/pooledworkloads/w/status"
        ]
    );
    assert_eq!(bench.metrics.written("create_pod", "done"), 1);
}

#[tokio::test]
async fn a_pod_that_is_there_and_ours_counts_as_created() {
    let there = Reply::Say(200, owned("p", "uid-w", "PooledWorkload"));
    let mut bench = bench(Stub::saying([exists("w-0"), there]));
    assert_eq!(bench.carry_out(vec![vec![create()]]).await, (vec![created("p")], true));
}

#[tokio::test]
async fn a_foreign_pod_of_that_name_is_told_of_and_ends_the_script() {
    let there = Reply::Say(200, owned("p", "other", "ReplicaSet"));
    let mut bench = bench(Stub::saying([exists("w-0"), there]));
    let (answers, completed) = bench.carry_out(vec![vec![create()], vec![status("5")]]).await;
    assert_eq!(answers, [refused("pods \"w-0\" already exists", true)]);
    assert!(!completed);
}

#[tokio::test]
async fn a_pod_of_another_workload_that_stays_is_foreign() {
    let there = Reply::Say(200, owned("p", "other", "PooledWorkload"));
    let mut bench = bench(Stub::saying([exists("w-0"), there, Reply::Say(200, object("other"))]));
    let (answers, _) = bench.carry_out(vec![vec![create()]]).await;
    assert_eq!(answers, [refused("pods \"w-0\" already exists", true)]);
}

#[tokio::test]
async fn a_pod_of_a_deleted_workload_of_that_name_is_waited_for() {
    let there = || Reply::Say(200, owned("p", "old", "PooledWorkload"));
    let mut bench = bench(Stub::saying([
        exists("w-0"),
        there(),
        Reply::Say(200, object("uid-w")), // the workload of that name is the new one: the old one is gone
        exists("w-0"),
        there(),
        missing(),
        Reply::Say(201, object("q")),
    ]));
    assert_eq!(bench.carry_out(vec![vec![create()]]).await, (vec![created("q")], true));
}

#[tokio::test]
async fn what_is_forbidden_or_invalid_is_refused_in_the_servers_words() {
    for code in [400, 403, 404, 422] {
        let mut bench = bench(Stub::saying([Reply::Say(code, failure(code, "Forbidden", "policy says no"))]));
        let (answers, completed) = bench.carry_out(vec![vec![create()]]).await;
        assert_eq!(answers, [refused("policy says no", false)], "{code}");
        assert!(!completed);
    }
}

#[tokio::test]
async fn a_create_without_an_answer_is_repeated_and_meets_its_own_pod() {
    let there = Reply::Say(200, owned("p", "uid-w", "PooledWorkload"));
    let fails = Reply::Say(500, failure(500, "InternalError", "etcd is slow"));
    let mut bench = bench(Stub::saying([Reply::Hang, fails, exists("w-0"), there]));
    assert_eq!(bench.carry_out(vec![vec![create()]]).await, (vec![created("p")], true));
    assert_eq!(bench.metrics.written("create_pod", "unclear"), 2);
}

#[tokio::test]
async fn a_webhook_that_keeps_failing_is_told_of_when_the_pod_is_surely_not_there() {
    let mut bench = bench(Stub::handling(|asked| {
        Some(match asked.method.as_str() {
            "GET" => missing(),
            _ => Reply::Say(500, failure(500, "InternalError", "failed calling webhook \"x\"")),
        })
    }));
    let (answers, completed) = bench.carry_out(vec![vec![create()]]).await;
    assert_eq!(answers, [refused("failed calling webhook \"x\"", false)]);
    assert!(!completed);
    assert!(bench.stub.asked().len() >= 8);
}

#[tokio::test]
async fn a_server_that_asks_for_patience_gets_it() {
    let mut bench = bench(Stub::saying([Reply::Later(429, 1), Reply::Say(201, object("p"))]));
    let began = Instant::now();
    assert_eq!(bench.carry_out(vec![vec![create()]]).await, (vec![created("p")], true));
    assert!(began.elapsed() >= Duration::from_secs(1), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_status_of_an_old_version_is_dropped() {
    let conflict = Reply::Say(409, failure(409, "Conflict", "the object has been modified"));
    let mut bench = bench(Stub::saying([conflict]));
    let (answers, completed) = bench.carry_out(vec![vec![status("1")], vec![create()]]).await;
    assert_eq!(answers, [Answer::Outdated { object: "uid-w".into() }]);
    assert!(!completed, "and what was to follow it is not done");
}

#[tokio::test]
async fn nothing_is_sent_by_one_who_does_not_lead() {
    let mut bench = bench(Stub::saying([]));
    bench.leadership.end();
    let (answers, completed) = bench.carry_out(vec![vec![create()]]).await;
    let unknown = Answer::Unknown { member: member(), namespace: "n".into(), child: Child::pod("w-0") };
    assert_eq!((answers, completed), (vec![unknown], false));
    assert!(bench.stub.asked().is_empty());
}

#[tokio::test]
async fn nothing_of_an_earlier_term_is_sent_in_a_later_one() {
    let mut bench = bench(Stub::handling(|_| Some(Reply::Say(500, failure(500, "InternalError", "down")))));
    bench.writer.submit(Script { object: "uid-w".into(), steps: vec![vec![create()]] });
    while bench.stub.asked().is_empty() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    bench.writer.close();
    assert!(!bench.answers().await.1);
    let asked = bench.stub.asked().len();
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(bench.leadership.holds());
    assert_eq!(bench.stub.asked().len(), asked);
}

#[tokio::test]
async fn a_create_that_is_tried_again_gives_way_to_the_next_script_of_its_workload() {
    let mut bench = bench(Stub::handling(|asked| {
        Some(match asked.method.as_str() {
            "POST" => Reply::Say(503, failure(503, "ServiceUnavailable", "down")),
            _ => Reply::Say(200, object("uid-w")),
        })
    }));
    bench.writer.submit(Script { object: "uid-w".into(), steps: vec![vec![create()]] });
    while bench.stub.asked().len() < 3 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let (answers, completed) = {
        bench.writer.submit(Script { object: "uid-w".into(), steps: vec![vec![status("5")]] });
        bench.answers().await
    };
    assert!(matches!(answers.as_slice(), [Answer::Unknown { .. }]), "{answers:?}");
    assert!(!completed);
    let (answers, completed) = bench.answers().await;
    assert!(matches!(answers.as_slice(), [Answer::Written { .. }]) && completed, "{answers:?}");
}

#[tokio::test]
async fn an_eviction_names_the_uid_and_is_repeated_while_a_budget_holds_the_pod() {
    let evict = Write::EvictPod { namespace: "n".into(), name: "w-0".into(), uid: "p".into() };
    let budget = || Reply::Say(429, failure(429, "TooManyRequests", "would violate the budget"));
    let mut bench = bench(Stub::saying([budget(), budget(), Reply::Say(201, json!({}))]));
    // The script goes on meanwhile: a budget may hold the pod for long.
    assert_eq!(bench.carry_out(vec![vec![evict]]).await, (vec![], true));
    tokio::time::sleep(Duration::from_millis(600)).await;
    let asked = bench.stub.asked();
    assert_eq!(asked.len(), 3);
    assert_eq!(asked[0].body["deleteOptions"]["preconditions"]["uid"], "p");
}

#[tokio::test]
async fn a_deletion_names_the_uid_and_what_is_gone_is_well() {
    let delete = || Write::DeletePod { namespace: "n".into(), name: "w-0".into(), uid: "p".into() };
    let other = Reply::Say(409, failure(409, "Conflict", "the UID in the precondition does not match"));
    let mut bench = bench(Stub::saying([missing(), other]));
    assert_eq!(bench.carry_out(vec![vec![delete()], vec![delete()]]).await, (vec![], true));
    assert_eq!(bench.stub.asked()[0].body["preconditions"]["uid"], "p");
}

#[tokio::test]
async fn a_member_that_nobody_knows_of_is_looked_for() {
    let mut bench = bench(Stub::saying([missing(), Reply::Say(200, owned("p", "uid-w", "PooledWorkload"))]));
    bench.writer.look(member(), "n".into(), Child::pod("w-0"));
    assert_eq!(bench.answers.recv().await, Some(Answer::Member(Delta::MemberVanished(member()))));
    bench.writer.look(member(), "n".into(), Child::pod("w-0"));
    assert_eq!(bench.answers.recv().await, Some(created("p")));
}

#[tokio::test]
async fn events_are_not_waited_for() {
    let event = || Write::Event(Box::default());
    let mut bench = bench(Stub::handling(|_| Some(Reply::Hang)));
    assert_eq!(bench.carry_out(vec![vec![event()], vec![event()]]).await, (vec![], true));
}

#[tokio::test]
async fn no_more_than_so_many_requests_are_in_flight() {
    let mut bench = bench(Stub::handling(|_| Some(Reply::Hang)));
    for index in 0..200 {
        bench.writer.submit(Script { object: format!("w{index}").into(), steps: vec![vec![create()]] });
    }
    tokio::time::sleep(Duration::from_millis(150)).await;
    // The others wait until these are given up.
    assert_eq!(bench.stub.asked().len(), 64);
    bench.writer.close();
    assert!(bench.answers.try_recv().is_err());
}
