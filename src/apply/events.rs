//! Events: never repeated, never waited for, and dropped where too many come at once.

use std::sync::Arc;

use axum::http::Method;
use k8s_openapi::api::events::v1::Event;
use tokio::sync::{Semaphore, mpsc};
use tracing::debug;

use super::call::{Caller, JSON, Outcome, request};

/// Sends what comes, some at a time, until nobody has any more to send.
pub async fn send_all(caller: Caller, mut queue: mpsc::Receiver<Box<Event>>, at_once: usize) {
    let permits = Arc::new(Semaphore::new(at_once));
    while let Some(event) = queue.recv().await {
        let Ok(permit) = permits.clone().acquire_owned().await else { return };
        let caller = caller.clone();
        tokio::spawn(async move {
            send(&caller, &event).await;
            drop(permit);
        });
    }
}

async fn send(caller: &Caller, event: &Event) {
    let namespace = event.metadata.namespace.as_deref().unwrap_or("default");
    let path = format!("/apis/events.k8s.io/v1/namespaces/{namespace}/events?fieldManager=weir");
    let request = serde_json::to_vec(event)
        .map_err(|error| error.to_string())
        .and_then(|body| request(Method::POST, &path, JSON, body));
    match request {
        Ok(request) => drop(caller.send("event", request).await),
        Err(words) => debug!(%words, "an event cannot be written"),
    }
}

/// The word of the metrics for an outcome.
pub fn result(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Done(_) => "done",
        Outcome::Missing(_) => "missing",
        Outcome::Conflict(_) => "conflict",
        Outcome::Later(..) => "later",
        Outcome::Refused(..) => "refused",
        Outcome::Unclear(_) => "unclear",
        Outcome::NotLeading => "not_leading",
    }
}
