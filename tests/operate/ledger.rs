//! Two leaders and one ledger: what an older one believes does not matter.

use std::sync::{Arc, Mutex};

use serde_json::json;
use std::sync::atomic::AtomicBool;
use weir::apply::call::{Caller, Pauses};
use weir::apply::rights::Rights;
use weir::model::delta::InFlight;
use weir::model::spec::MemberRef;
use weir::model::time::Time;
use weir::operate::ledger::{Ledgers, ReserveError};
use weir::operate::metrics::Metrics;

use super::lease::{Kept, keep};
use super::stub::{Reply, Stub, failure, leading};

fn store() -> (Arc<Mutex<Kept>>, Stub) {
    let kept = Arc::new(Mutex::new(Kept::default()));
    let behind = kept.clone();
    let stub = Stub::handling(move |asked| {
        if asked.path.contains("labelSelector") {
            let kept = behind.lock().unwrap();
            return Some(Reply::Say(200, json!({"items": kept.object.iter().collect::<Vec<_>>()})));
        }
        Some(keep(&behind, asked))
    });
    (kept, stub)
}

fn ledgers(stub: &Stub, holder: &str) -> Ledgers {
    let open = Arc::new(AtomicBool::new(true));
    let rights = Rights::new(Arc::new(Metrics::default()), None);
    let pauses = Pauses::default();
    let caller = Caller { client: stub.client(), leadership: leading(), open, pauses, rights };
    Ledgers::new(caller, "weir-system", holder)
}

fn flight(workload: &str) -> InFlight {
    InFlight {
        workload: workload.into(),
        pool: "root".into(),
        at: Time(1000),
        size: 1,
        placements: [(0, (0, "n1".into()))].into(),
    }
}

fn root() -> Arc<str> {
    "root".into()
}

fn member(workload: &str) -> MemberRef {
    MemberRef { workload: workload.into(), index: 0, attempt: 0 }
}

fn entries(kept: &Arc<Mutex<Kept>>) -> String {
    kept.lock().unwrap().object.as_ref().unwrap()["data"]["entries"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn what_was_reserved_is_taken_over_and_the_old_leader_reserves_no_more() {
    let (_, stub) = store();
    let (mut a, mut b) = (ledgers(&stub, "a"), ledgers(&stub, "b"));
    assert!(a.take_over(0).await.unwrap().is_empty());
    a.reserve(&root(), vec![flight("w1")]).await.unwrap();
    assert_eq!(b.take_over(1).await.unwrap(), [flight("w1")]);
    assert!(b.epoch() > a.epoch());
    let error = a.reserve(&root(), vec![flight("w2")]).await.unwrap_err();
    assert!(matches!(&error, ReserveError::Lost { holder, .. } if holder == "b"), "{error}");
    b.reserve(&root(), vec![flight("w3")]).await.unwrap();
}

#[tokio::test]
async fn a_ledger_that_an_old_leader_makes_after_the_take_over_is_taken_over_when_it_is_met() {
    let (_, stub) = store();
    let (mut a, mut b) = (ledgers(&stub, "a"), ledgers(&stub, "b"));
    assert!(a.take_over(0).await.unwrap().is_empty());
    assert!(b.take_over(1).await.unwrap().is_empty());
    // To the old leader nothing tells that it leads no more: there was no ledger yet.
    a.reserve(&root(), vec![flight("w1")]).await.unwrap();
    assert_eq!(b.reserve(&root(), vec![flight("w2")]).await.unwrap(), [flight("w1")]);
    let error = a.reserve(&root(), vec![flight("w3")]).await.unwrap_err();
    assert!(error.ends_the_term(), "{error}");
}

#[tokio::test]
async fn a_conflict_that_is_not_about_the_lead_is_met_by_reading_again() {
    let (kept, stub) = store();
    let mut a = ledgers(&stub, "a");
    a.take_over(0).await.unwrap();
    a.reserve(&root(), vec![flight("w1")]).await.unwrap();
    // Somebody put a label on it.
    kept.lock().unwrap().object.as_mut().unwrap()["metadata"]["resourceVersion"] = json!("500");
    a.reserve(&root(), vec![flight("w2")]).await.unwrap();
    assert!(entries(&kept).contains("w1") && entries(&kept).contains("w2"));
}

#[tokio::test]
async fn a_deleted_ledger_is_made_anew_with_all_that_is_in_flight() {
    let (kept, stub) = store();
    let mut a = ledgers(&stub, "a");
    a.take_over(0).await.unwrap();
    a.reserve(&root(), vec![flight("w1")]).await.unwrap();
    kept.lock().unwrap().object = None;
    a.reserve(&root(), vec![flight("w2")]).await.unwrap();
    assert!(entries(&kept).contains("w1") && entries(&kept).contains("w2"));
}

#[tokio::test]
async fn an_entry_leaves_when_its_members_were_seen_and_the_status_says_so() {
    let (kept, stub) = store();
    let mut a = ledgers(&stub, "a");
    a.take_over(0).await.unwrap();
    a.reserve(&root(), vec![flight("w1"), flight("w2")]).await.unwrap();
    a.recorded("w1");
    assert!(!a.stale(), "a status written before the member is known proves nothing");
    a.seen(&member("w1"));
    assert!(!a.stale(), "the status must be written too");
    a.recorded("w1");
    assert!(a.stale());
    a.flush().await.unwrap();
    assert!(!entries(&kept).contains("w1") && entries(&kept).contains("w2"));
    a.gone("w2");
    a.flush().await.unwrap();
    assert!(!entries(&kept).contains("w2"));
    assert!(!a.stale());
}

#[tokio::test]
async fn an_unreadable_ledger_stops_reserving_in_its_pool_alone() {
    let (kept, stub) = store();
    let mut a = ledgers(&stub, "a");
    a.take_over(0).await.unwrap();
    a.reserve(&root(), vec![flight("w1")]).await.unwrap();
    {
        let mut kept = kept.lock().unwrap();
        let object = kept.object.as_mut().unwrap();
        object["data"]["entries"] = json!("{");
        object["metadata"]["resourceVersion"] = json!("500");
    }
    let error = a.reserve(&root(), vec![flight("w2")]).await.unwrap_err();
    assert!(matches!(error, ReserveError::Ledger(_)) && !error.ends_the_term(), "{error}");
    let mut b = ledgers(&stub, "b");
    assert!(b.take_over(1).await.unwrap().is_empty());
    assert!(b.reserve(&root(), vec![flight("w3")]).await.is_err());
}

#[tokio::test]
async fn what_is_forbidden_of_ledgers_is_named_and_so_is_what_was_to_be_done() {
    let words = |verb: &str| {
        format!(
            "configmaps is forbidden: User \"weir\" cannot {verb} resource \"configmaps\" in API group \"\" in the namespace \
             \"weir-system\""
        )
    };
    let forbids = |method: &'static str, verb: &'static str| {
        let (_, stub) = store();
        Stub::handling(move |asked| {
            if asked.path.contains("selfsubjectaccessreviews") {
                return Some(Reply::Say(201, json!({"status": {"allowed": false}})));
            }
            let lists = asked.path.contains("labelSelector");
            if asked.method == method && lists == (verb == "list") {
                return Some(Reply::Say(403, failure(403, "Forbidden", &words(verb))));
            }
            stub.answer(asked)
        })
    };
    let stub = forbids("GET", "list");
    let error = ledgers(&stub, "a").take_over(0).await.unwrap_err();
    assert!(!error.ends_the_term());
    let said = error.to_string();
    assert!(said.starts_with("the ledgers in weir-system cannot be read: configmaps is forbidden"), "{said}");
    let (request, missing) = error.lack().unwrap();
    assert_eq!(
        (request, missing.to_string().as_str()),
        ("list_ledgers", "list configmaps in the namespace weir-system")
    );

    let stub = forbids("POST", "create");
    let mut a = ledgers(&stub, "a");
    a.take_over(0).await.unwrap();
    for _ in 0..5 {
        let error = a.reserve(&root(), vec![flight("w1")]).await.unwrap_err();
        assert!(error.to_string().starts_with("the ledger weir-ledger-root cannot be written: "), "{error}");
        assert_eq!(error.lack().unwrap().0, "create_ledger");
    }
    let posts = stub
        .asked()
        .iter()
        .filter(|asked| asked.method == "POST" && asked.path.contains("configmaps"))
        .count();
    assert_eq!(posts, 1);
}
