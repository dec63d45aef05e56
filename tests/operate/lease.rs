//! Two candidates for one Lease, against a stand-in that keeps it and checks versions.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use weir::operate::health::Health;
use weir::operate::lead::{Leadership, Timing};
use weir::operate::lease::{Candidate, Lost};
use weir::operate::metrics::Metrics;

use super::stub::{Asked, Reply, Stub, failure, missing};

/// Keeps one object as the API server would: versions are checked, and change with each write.
#[derive(Default)]
pub struct Kept {
    pub object: Option<Value>,
    pub version: u64,
    pub down: bool,
}

pub fn keep(kept: &Arc<Mutex<Kept>>, asked: &Asked) -> Reply {
    let mut kept = kept.lock().unwrap();
    if kept.down {
        return Reply::Say(503, failure(503, "ServiceUnavailable", "down"));
    }
    let current = kept.object.as_ref().map(|object| object["metadata"]["resourceVersion"].clone());
    match (asked.method.as_str(), current) {
        ("GET" | "PUT", None) => return missing(),
        ("GET", Some(_)) => return Reply::Say(200, kept.object.clone().unwrap()),
        ("POST", Some(_)) => return Reply::Say(409, failure(409, "AlreadyExists", "it is there")),
        ("PUT", Some(current)) if asked.body["metadata"]["resourceVersion"] != current => {
            return Reply::Say(409, failure(409, "Conflict", "the object has been modified"));
        }
        _ => {}
    }
    kept.version += 1;
    let mut object = asked.body.clone();
    object["metadata"]["resourceVersion"] = json!(kept.version.to_string());
    kept.object = Some(object.clone());
    Reply::Say(200, object)
}

fn lease() -> (Arc<Mutex<Kept>>, Stub) {
    let kept = Arc::new(Mutex::new(Kept::default()));
    let behind = kept.clone();
    (kept, Stub::handling(move |asked| Some(keep(&behind, asked))))
}

/// As in running, ten times as fast.
const TIMING: Timing = Timing {
    lease: Duration::from_millis(1500),
    renew: Duration::from_millis(300),
    give_up: Duration::from_secs(1),
    retry: Duration::from_millis(50),
};

fn candidate(stub: &Stub, identity: &str) -> Candidate {
    Candidate::new(stub.client(), "weir-system", "weir", identity, TIMING, Leadership::none())
}

#[tokio::test]
async fn one_leads_and_the_other_takes_over_when_it_goes_silent() {
    let (kept, stub) = lease();
    let (mut a, mut b) = (candidate(&stub, "a"), candidate(&stub, "b"));
    a.acquire().await;
    assert!(a.leadership().holds());
    // It does not renew: a paused process. Its right to write ends before the other's begins.
    b.acquire().await;
    assert!(b.leadership().holds() && !a.leadership().holds());
    assert_eq!(kept.lock().unwrap().object.as_ref().unwrap()["spec"]["leaseTransitions"], 1);
    assert_eq!(a.keep().await, Lost::NotRenewed);
}

#[tokio::test]
async fn a_leader_that_renews_keeps_the_lead() {
    let (_, stub) = lease();
    let (mut a, mut b) = (candidate(&stub, "a"), candidate(&stub, "b"));
    a.acquire().await;
    let token = a.leadership();
    let renewing = tokio::spawn(async move { a.keep().await });
    assert!(tokio::time::timeout(Duration::from_secs(4), b.acquire()).await.is_err());
    assert!(token.holds());
    renewing.abort();
}

#[tokio::test]
async fn a_leader_that_cannot_renew_stops_in_time() {
    let (kept, stub) = lease();
    let mut a = candidate(&stub, "a");
    a.acquire().await;
    kept.lock().unwrap().down = true;
    let began = tokio::time::Instant::now();
    assert_eq!(a.keep().await, Lost::NotRenewed);
    assert!(began.elapsed() <= Duration::from_millis(1300), "{:?}", began.elapsed());
    assert!(!a.leadership().holds());
}

#[tokio::test]
async fn a_leader_that_finds_another_in_the_lease_stops_at_once() {
    let (kept, stub) = lease();
    let mut a = candidate(&stub, "a");
    a.acquire().await;
    {
        let mut kept = kept.lock().unwrap();
        let object = kept.object.as_mut().unwrap();
        object["spec"]["holderIdentity"] = json!("b");
        object["metadata"]["resourceVersion"] = json!("77");
    }
    assert_eq!(a.keep().await, Lost::Taken);
}

#[tokio::test]
async fn a_lease_that_was_given_back_is_taken_at_once() {
    let (_, stub) = lease();
    let (mut a, mut b) = (candidate(&stub, "a"), candidate(&stub, "b"));
    a.acquire().await;
    a.release().await;
    assert!(!a.leadership().holds());
    let began = tokio::time::Instant::now();
    b.acquire().await;
    assert!(began.elapsed() < Duration::from_secs(1));
}

#[tokio::test]
async fn one_that_may_not_write_the_lease_says_so_and_asks_seldom_and_leads_when_it_may() {
    let kept = Arc::new(Mutex::new(Kept::default()));
    let may = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let (behind, allowed) = (kept.clone(), may.clone());
    let stub = Stub::handling(move |asked| {
        if asked.method == "GET" || allowed.load(std::sync::atomic::Ordering::SeqCst) {
            return Some(keep(&behind, asked));
        }
        let words = "leases.coordination.k8s.io is forbidden: User \"weir\" cannot create resource \"leases\" in API group \
                     \"coordination.k8s.io\" in the namespace \"weir-system\"";
        Some(Reply::Say(403, failure(403, "Forbidden", words)))
    });
    let (health, metrics) = (Health::default(), Arc::new(Metrics::default()));
    let mut a = candidate(&stub, "a");
    a.report_to(health.clone(), metrics.clone());
    assert!(tokio::time::timeout(Duration::from_secs(3), a.acquire()).await.is_err());
    let text = health.text();
    let wanted = "not ready: the operator may not create leases of coordination.k8s.io in the namespace weir-system, so it cannot lead";
    assert!(text.starts_with(wanted) && text.contains("docs/rbac.yaml"), "{text}");
    let missing = |is: u8| format!("weir_permission_missing{{request=\"lease\"}} {is}\n");
    assert!(metrics.text().unwrap().contains(&missing(1)));
    let tries = stub.asked().iter().filter(|asked| asked.method == "POST").count();
    // After 50, 100, 200, 400, ... ms.
    assert!((2..=7).contains(&tries), "{tries} tries in three seconds");
    may.store(true, std::sync::atomic::Ordering::SeqCst);
    tokio::time::timeout(Duration::from_secs(16), a.acquire()).await.expect("it leads");
    assert_eq!(health.text(), "ok\n");
    assert!(metrics.text().unwrap().contains(&missing(0)));
}
