//! `/debug/world`: the world of the leader as a dump, for `weir replay`.
//!
//! The cycle copies its world between what it has taken in and what it decides, as it does for estimates; the copy is written
//! beside it. One dump is written at a time.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tracing::{debug, warn};

use super::http::Told;
use super::term::Term;
use crate::decide::decision::Decision;
use crate::dump::{self, Dump};
use crate::model::time::Time;

/// So long the cycle may take to come round.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a cycle hands over.
pub(super) type Taken = (dump::State, Time, String);
/// Who waits for it.
pub(super) type Asked = oneshot::Sender<Taken>;

/// Where whoever leads is asked for its world.
#[derive(Clone, Debug, Default)]
pub struct Worlds {
    leader: Arc<Mutex<Option<mpsc::Sender<Asked>>>>,
    turn: Arc<tokio::sync::Mutex<()>>,
}

impl Worlds {
    /// A term begins, and answers those who ask from now on until it drops what it is given here.
    pub(super) fn lead(&self) -> mpsc::Receiver<Asked> {
        let (ask, asked) = mpsc::channel(1);
        *self.leader.lock().unwrap_or_else(PoisonError::into_inner) = Some(ask);
        asked
    }

    async fn take(&self) -> Option<Taken> {
        let leader = self.leader.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let (answer, taken) = oneshot::channel();
        leader?.send(answer).await.ok()?;
        taken.await.ok()
    }
}

impl Term {
    /// Gives a copy of the world to those who have asked for it.
    pub(super) fn show_world(&mut self, now: Time) {
        for asked in std::mem::take(&mut self.asked) {
            let state = dump::State {
                decided: self.lately.all(),
                durations: self.estimates.durations.expected(&self.catalog),
                world: self.world.clone(),
            };
            // Whoever asked may have gone.
            let _ = asked.send((state, now, self.instance.clone()));
        }
    }

    /// Remembers a decision for dumps.
    pub(super) fn remember(&mut self, decision: &Decision, now: Time) {
        let known = self.catalog.get(decision.workload());
        let title = known.map(|known| format!("{}/{}", known.spec.namespace, known.spec.name).into());
        self.lately.note(now, title, decision, &self.world);
    }
}

/// Answers `/debug/world`, with pseudonyms for `?anonymise=true`.
pub(super) async fn world(State(told): State<Told>, RawQuery(query): RawQuery) -> Response {
    let anonymise = match query.as_deref().unwrap_or_default() {
        "" | "anonymise=false" => false,
        "anonymise=true" | "anonymise" => true,
        other => {
            let words =
                format!("{other:?} is not understood: write /debug/world or /debug/world?anonymise=true\n");
            return (StatusCode::BAD_REQUEST, words).into_response();
        }
    };
    let Ok(turn) = Arc::clone(&told.worlds.turn).try_lock_owned() else {
        let words = "another dump is being written: ask again in a moment\n";
        return (StatusCode::TOO_MANY_REQUESTS, words).into_response();
    };
    let taken = match timeout(PATIENCE, told.worlds.take()).await {
        Ok(Some(taken)) => taken,
        Ok(None) => {
            let words =
                "this operator does not lead, and decides nothing: ask the one that holds the Lease\n";
            return (StatusCode::SERVICE_UNAVAILABLE, words).into_response();
        }
        Err(_) => {
            let words = format!("the cycle did not come round within {} s\n", PATIENCE.as_secs());
            return (StatusCode::SERVICE_UNAVAILABLE, words).into_response();
        }
    };
    let written = spawn_blocking(move || {
        let _turn = turn;
        let (state, at, operator) = taken;
        let dump = Dump::new(state, at, Some(operator));
        if anonymise { dump.anonymised()?.0.text() } else { dump.text() }
    });
    match written.await {
        Ok(Ok(text)) => {
            debug!(bytes = text.len(), anonymise, "the world is told");
            ([(CONTENT_TYPE, "application/json")], text).into_response()
        }
        Ok(Err(error)) => failed(&error.to_string()),
        Err(error) => failed(&error.to_string()),
    }
}

fn failed(problem: &str) -> Response {
    warn!(%problem, "a dump could not be written");
    (StatusCode::INTERNAL_SERVER_ERROR, format!("the dump could not be written: {problem}\n")).into_response()
}
