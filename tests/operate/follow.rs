//! One kind that may be listed and not watched: no storm of lists, and it is said for as long as it is so.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use weir::api::pruned::PriorityClass;
use weir::watch::follow::{Change, Follow, Withheld, follow};
use weir::watch::freshness::Freshness;

use super::stub::{Reply, Stub, failure};

const NOTHING: u8 = 0;
const LIST: u8 = 1;
const ALL: u8 = 2;
/// It may be watched, and each watch says that its version is forgotten.
const FORGETS: u8 = 3;
/// It is listed, and as it starts the API server asks to come again in a second for watches.
const STARTS: u8 = 4;
/// It is listed, and watches fail.
const FAILS: u8 = 6;
/// It has started anew: it knows its versions from 8 on.
const STARTED: u8 = 5;

/// After that a watch that says nothing is opened again: longer than what counts as well for long.
const SILENCE: Duration = Duration::from_secs(11);

struct Bench {
    stub: Stub,
    may: Arc<AtomicU8>,
    changes: mpsc::Receiver<Change<PriorityClass>>,
    freshness: Freshness,
    /// When watches were asked for.
    watches: Arc<Mutex<Vec<Instant>>>,
}

fn bench(may: u8, needed: bool) -> Bench {
    pausing(may, needed, Duration::from_millis(50))
}

/// Pauses from a millisecond on, up to `most`.
fn pausing(may: u8, needed: bool, most: Duration) -> Bench {
    let may = Arc::new(AtomicU8::new(may));
    let allowed = may.clone();
    let opened: Arc<Mutex<Vec<Instant>>> = Arc::default();
    let opens = opened.clone();
    let stub = Stub::handling(move |asked| {
        let watches = asked.path.contains("watch=true");
        if watches {
            opens.lock().unwrap().push(Instant::now());
        }
        Some(match (allowed.load(Ordering::SeqCst), watches) {
            (ALL, true) => Reply::Open,
            (FAILS, true) => Reply::Say(500, failure(500, "InternalError", "etcd is away")),
            (STARTED, true) if asked.path.contains("resourceVersion=8") => Reply::Open,
            (FORGETS | STARTED, true) => Reply::Say(410, failure(410, "Expired", "too old resource version")),
            (STARTS, true) => {
                let mut busy = failure(429, "TooManyRequests", "storage is (re)initializing");
                busy["details"] = json!({"retryAfterSeconds": 1});
                Reply::Say(429, busy)
            }
            (NOTHING, _) | (LIST, true) => Reply::Say(403, failure(403, "Forbidden", "may not")),
            (may, _) => Reply::Say(
                200,
                json!({
                    "metadata": {"resourceVersion": if may == STARTED { "8" } else { "7" }},
                    "items": [{"metadata": {"name": "urgent", "uid": "u", "resourceVersion": "5"}, "value": 1000}],
                }),
            ),
        })
    });
    let (out, changes) = mpsc::channel(1000);
    let freshness = Freshness::new(&["PriorityClass"]);
    // As in running, a hundred times as fast.
    let millis = Duration::from_millis;
    let how = Follow {
        needed,
        first: millis(1),
        most,
        most_unwatched: millis(300),
        silence: SILENCE,
        ..Follow::default()
    };
    let all: fn(&PriorityClass) -> bool = |_| true;
    tokio::spawn(follow(stub.client(), how, freshness.mark(0), all, |change| change, out));
    Bench { stub, may, changes, freshness, watches: opened }
}

impl Bench {
    /// What is told within that time: (lists that are complete, refusals, objects).
    async fn told(&mut self, within: Duration) -> (usize, usize, usize) {
        let (mut listed, mut withheld, mut applied) = (0, 0, 0);
        let until = Instant::now() + within;
        while let Ok(Some(change)) =
            timeout(until.saturating_duration_since(Instant::now()), self.changes.recv()).await
        {
            match change {
                Change::Listed => listed += 1,
                Change::Withheld(Withheld::Forbidden(_)) => withheld += 1,
                Change::Applied(_) => applied += 1,
                other => panic!("{other:?}"),
            }
        }
        (listed, withheld, applied)
    }

    fn lists(&self) -> usize {
        self.stub.asked().iter().filter(|asked| !asked.path.contains("watch=true")).count()
    }
}

#[tokio::test]
async fn who_may_list_and_not_watch_lists_seldom_and_is_never_told_to_see_all() {
    let mut bench = bench(LIST, false);
    let (listed, withheld, applied) = bench.told(Duration::from_secs(3)).await;
    assert_eq!(listed, 0, "it would end what is said of the missing right");
    let lists = bench.lists();
    // After 1, 2, 4, ... up to 300 ms: about nine in the first half second, and then three a second.
    assert!((4..=20).contains(&lists), "{lists} lists in three seconds");
    assert!(withheld + 1 >= lists && applied + 1 >= lists, "{withheld} {applied} of {lists}");
    bench.may.store(NOTHING, Ordering::SeqCst);
    assert_eq!(bench.told(Duration::from_secs(1)).await.0, 0);
    bench.may.store(ALL, Ordering::SeqCst);
    let (listed, _, applied) = bench.told(Duration::from_secs(2)).await;
    assert_eq!((listed, applied), (1, 1), "it goes on by itself");
}

#[tokio::test]
async fn versions_that_are_forgotten_at_once_make_no_storm_of_lists() {
    let mut bench = bench(FORGETS, true);
    bench.told(Duration::from_secs(2)).await;
    let lists = bench.lists();
    assert!((4..=50).contains(&lists), "{lists} lists in two seconds");
}

#[tokio::test]
async fn after_a_restart_of_the_api_server_all_is_seen_as_soon_as_it_can_be() {
    let mut bench = pausing(STARTS, true, Duration::from_secs(5));
    assert_eq!(bench.told(Duration::from_millis(2500)).await.0, 0);
    bench.may.store(STARTED, Ordering::SeqCst);
    // Once in a second it is asked again, and then nothing is waited for. Pauses had grown to two seconds by now.
    assert_eq!(bench.told(Duration::from_millis(1400)).await.0, 1);
}

#[tokio::test]
async fn a_watch_that_was_well_for_long_is_opened_again_at_once_whatever_was_before() {
    let mut bench = pausing(FAILS, true, Duration::from_secs(5));
    // Pauses grow to two seconds and more.
    bench.told(Duration::from_secs(3)).await;
    bench.may.store(ALL, Ordering::SeqCst);
    assert_eq!(bench.told(Duration::from_secs(3) + SILENCE).await.0, 1);
    let watches = bench.watches.lock().unwrap().clone();
    let [.., opened, again] = watches.as_slice() else { panic!("{watches:?}") };
    let pause = (*again - *opened).checked_sub(SILENCE).unwrap();
    assert!(pause < Duration::from_millis(500), "{pause:?}");
}

#[tokio::test]
async fn a_kind_that_is_needed_and_not_watched_grows_old_though_it_is_listed() {
    let bench = bench(LIST, true);
    tokio::time::sleep(Duration::from_secs(2)).await;
    let age = bench.freshness.oldest().unwrap().1;
    assert!(bench.lists() >= 4 && age > Duration::from_secs(1), "{age:?}");
}
