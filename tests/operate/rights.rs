//! What the API server forbids: it is said once, asked for seldom and by one for all, and everything else goes on.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::json;
use weir::apply::Answer;
use weir::apply::rights::Missing;
use weir::plan::write::{Script, Write};

use super::apply::{Bench, bench, create, status};
use super::stub::{Asked, Reply, Stub, failure};

const REVIEWS: &str = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";

/// What the API server says to one who lacks a right.
fn forbidden(verb: &str, resource: &str, group: &str, namespace: &str) -> Reply {
    let words = format!(
        "{resource} \"x\" is forbidden: User \"system:serviceaccount:weir-system:weir\" cannot {verb} resource \"{resource}\" in API \
         group \"{group}\" in the namespace \"{namespace}\""
    );
    Reply::Say(403, failure(403, "Forbidden", &words))
}

fn evict(namespace: &str, name: &str) -> Write {
    Write::EvictPod { namespace: namespace.into(), name: name.into(), uid: "p".into() }
}

/// Most tries within that time, where pauses are 50 ms doubled up to 400.
fn most(time: Duration) -> usize {
    5 + usize::try_from(time.as_millis()).unwrap() / 400
}

/// Which right is there, and what is said of it.
#[derive(Clone)]
struct Law {
    may_evict: Arc<AtomicBool>,
    /// What a review says: the truth, that it is allowed, or nothing (403).
    review: Arc<Mutex<Review>>,
}

#[derive(Clone, Copy, PartialEq)]
enum Review {
    True,
    AlwaysAllowed,
    Forbidden,
}

impl Law {
    fn stub(review: Review) -> (Self, Stub) {
        let law = Self { may_evict: Arc::default(), review: Arc::new(Mutex::new(review)) };
        let asked = law.clone();
        (law, Stub::handling(move |one| Some(asked.answer(one))))
    }

    fn answer(&self, asked: &Asked) -> Reply {
        let may = self.may_evict.load(Ordering::SeqCst);
        if asked.path.starts_with(REVIEWS) {
            return match *self.review.lock().unwrap() {
                Review::True => Reply::Say(201, json!({"status": {"allowed": may}})),
                Review::AlwaysAllowed => Reply::Say(201, json!({"status": {"allowed": true}})),
                Review::Forbidden => Reply::Say(403, failure(403, "Forbidden", "nobody may ask")),
            };
        }
        match asked.path.split('/').nth(4) {
            Some("work") if asked.path.contains("/eviction") && !may => {
                forbidden("create", "pods/eviction", "", "work")
            }
            _ => Reply::Say(201, json!({"metadata": {"uid": "p", "resourceVersion": "9"}})),
        }
    }
}

fn evictions(stub: &Stub, namespace: &str) -> usize {
    let path = format!("/namespaces/{namespace}/pods/");
    stub.asked().iter().filter(|asked| asked.path.contains(&path) && asked.path.contains("/eviction")).count()
}

fn reviews(stub: &Stub) -> usize {
    stub.asked().iter().filter(|asked| asked.path.starts_with(REVIEWS)).count()
}

/// Carries out one write; whether it was done, what was refused, and what was said of rights meanwhile.
async fn one(bench: &mut Bench, write: Write) -> (bool, Option<String>, Vec<Answer>) {
    bench.writer.submit(Script { object: "uid-w".into(), steps: vec![vec![write]] });
    let mut rights = Vec::new();
    loop {
        match bench.answers.recv().await.unwrap() {
            Answer::Done { completed, refused, .. } => return (completed, refused, rights),
            right @ Answer::Right { .. } => rights.push(right),
            _ => {}
        }
    }
}

/// What is said of rights within that time.
async fn told(bench: &mut Bench, longest: Duration) -> Option<Answer> {
    tokio::time::timeout(longest, bench.answers.recv()).await.ok().flatten()
}

#[tokio::test]
async fn what_is_forbidden_is_told_once_and_not_asked_for_again_and_again() {
    let (law, stub) = Law::stub(Review::True);
    let mut bench = bench(stub);
    let began = Instant::now();
    let (done, refused, rights) = one(&mut bench, evict("work", "a")).await;
    assert!(!done && refused.unwrap().contains("cannot create resource"));
    let [Answer::Right { kind: "evict_pod", lack: Some(lack) }] = rights.as_slice() else {
        panic!("{rights:?}")
    };
    assert_eq!(lack.missing.to_string(), "create pods/eviction in the namespace work");
    assert!(bench.metrics.text().unwrap().contains("weir_permission_missing{request=\"evict_pod\"} 1\n"));
    // Others of the kind in that namespace are refused without a request, those elsewhere and of other kinds are not.
    for count in 0..50 {
        let (done, refused, rights) = one(&mut bench, evict("work", &format!("a{count}"))).await;
        assert!(!done && refused.is_some() && rights.is_empty(), "{rights:?}");
    }
    assert_eq!(evictions(&bench.stub, "work"), 1);
    assert!(one(&mut bench, evict("other", "a")).await.0);
    assert!(one(&mut bench, create()).await.0 && one(&mut bench, status("5")).await.0);
    // The API server is asked less and less often whether it was given: after 50, 100, 200, 400, 400, ... ms.
    assert_eq!(told(&mut bench, Duration::from_secs(3)).await, None);
    let asked = reviews(&bench.stub);
    assert!((2..=most(began.elapsed())).contains(&asked), "{asked}");
    law.may_evict.store(true, Ordering::SeqCst);
    let again = told(&mut bench, Duration::from_secs(5)).await;
    assert_eq!(
        again,
        Some(Answer::Right { kind: "evict_pod", lack: None }),
        "though nothing was to be written"
    );
    assert!(bench.metrics.text().unwrap().contains("weir_permission_missing{request=\"evict_pod\"} 0\n"));
    assert_eq!(one(&mut bench, evict("work", "a")).await, (true, None, vec![]));
    assert_eq!(evictions(&bench.stub, "work"), 2);
}

#[tokio::test]
async fn where_nobody_may_ask_for_rights_a_write_tries_now_and_then() {
    let (law, stub) = Law::stub(Review::Forbidden);
    let mut bench = bench(stub);
    let (mut tried, began) = (0, Instant::now());
    while began.elapsed() < Duration::from_secs(2) {
        let (done, _, rights) = one(&mut bench, evict("work", "a")).await;
        assert!(!done);
        tried += rights.len();
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(tried, 1, "told once");
    assert_eq!(reviews(&bench.stub), 1);
    let sent = evictions(&bench.stub, "work");
    assert!((2..=most(began.elapsed())).contains(&sent), "{sent} tries");
    law.may_evict.store(true, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_millis(500)).await;
    let (done, _, rights) = one(&mut bench, evict("work", "a")).await;
    assert!(done);
    assert_eq!(rights, [Answer::Right { kind: "evict_pod", lack: None }]);
}

#[tokio::test]
async fn a_review_that_is_wrong_is_not_believed_twice() {
    let (_, stub) = Law::stub(Review::AlwaysAllowed);
    let mut bench = bench(stub);
    let (mut told, began) = (0, Instant::now());
    while began.elapsed() < Duration::from_secs(2) {
        told += one(&mut bench, evict("work", "a")).await.2.len();
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(told, 3, "forbidden, allowed as it is said, forbidden, and no more");
    assert_eq!(reviews(&bench.stub), 1);
    let sent = evictions(&bench.stub, "work");
    assert!((3..=most(began.elapsed())).contains(&sent), "{sent} tries");
}

#[tokio::test]
async fn many_refused_at_once_count_as_one() {
    let (_, stub) = Law::stub(Review::True);
    let mut bench = bench(stub);
    for count in 0..60 {
        let steps = vec![vec![evict("work", &format!("a{count}"))]];
        bench.writer.submit(Script { object: format!("w{count}").into(), steps });
    }
    let (mut done, mut told) = (0, 0);
    while done < 60 {
        match bench.answers.recv().await.unwrap() {
            Answer::Done { .. } => done += 1,
            Answer::Right { .. } => told += 1,
            _ => {}
        }
    }
    assert_eq!(told, 1);
}

#[tokio::test]
async fn events_that_are_forbidden_are_told_of_and_not_sent() {
    let stub = Stub::handling(|asked| {
        Some(if asked.path.starts_with(REVIEWS) {
            Reply::Say(201, json!({"status": {"allowed": false}}))
        } else {
            forbidden("create", "events", "events.k8s.io", "default")
        })
    });
    let mut bench = bench(stub);
    bench.writer.event(Box::default());
    let said = bench.answers.recv().await;
    assert!(matches!(&said, Some(Answer::Right { kind: "event", lack: Some(_) })), "{said:?}");
    for _ in 0..100 {
        bench.writer.event(Box::default());
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(bench.metrics.written("event", "refused"), 1);
    assert!(bench.metrics.text().unwrap().contains("weir_permission_missing{request=\"event\"} 1\n"));
}

#[tokio::test]
async fn a_policy_that_refuses_is_no_missing_right() {
    let words = "pods \"a\" is forbidden: exceeded quota: small";
    let mut bench = bench(Stub::handling(move |_| Some(Reply::Say(403, failure(403, "Forbidden", words)))));
    for _ in 0..3 {
        let (done, refused, rights) = one(&mut bench, evict("work", "a")).await;
        assert!(!done && refused.as_deref() == Some(words) && rights.is_empty(), "{rights:?}");
    }
    assert_eq!(evictions(&bench.stub, "work"), 3, "each is a matter of its own");
    assert!(!bench.metrics.text().unwrap().contains("weir_permission_missing{request=\"evict_pod\"} 1"));
}

#[tokio::test]
async fn an_eviction_that_a_budget_held_goes_on_when_it_is_forbidden_meanwhile() {
    let (law, stub) = Law::stub(Review::True);
    let held = Arc::new(AtomicBool::new(true));
    let (budget, under) = (held.clone(), law.clone());
    let stub = {
        drop(stub);
        Stub::handling(move |asked| {
            Some(if asked.path.contains("/eviction") && budget.load(Ordering::SeqCst) {
                Reply::Say(429, failure(429, "TooManyRequests", "would violate the budget"))
            } else {
                under.answer(asked)
            })
        })
    };
    let mut bench = bench(stub);
    assert!(one(&mut bench, evict("work", "a")).await.0, "its script goes on");
    tokio::time::sleep(Duration::from_millis(200)).await;
    held.store(false, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_millis(500)).await;
    law.may_evict.store(true, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(bench.metrics.written("evict_pod", "done"), 1);
}

#[test]
fn the_words_of_a_policy_name_no_right() {
    assert_eq!(Missing::read("policy says no"), None);
}
