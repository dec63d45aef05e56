//! Evictions and deletions, each of one object by its UID and of no other that has its name.

use axum::http::{Method, Request};
use kube::Resource as _;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::call::{JSON, Outcome, request};
use super::create::pod_path;
use super::writer::Hand;
use crate::api::PooledWorkload;

/// One object that shall go.
pub struct Remove {
    kind: &'static str,
    method: Method,
    path: String,
    body: Value,
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removed {
    /// It is gone or going.
    Yes,
    /// It was refused.
    Refused,
    /// This process may not ask any more, or cannot.
    No,
    /// A disruption budget holds it: it is tried again for as long as it takes.
    Held,
}

impl Remove {
    /// A pod, by the eviction API. (`kube`'s own call writes `delete_options`, which the API server ignores, and
    /// the precondition with it.)
    pub fn evict(namespace: &str, name: &str, uid: &str) -> Self {
        let body = json!({
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": name, "namespace": namespace},
            "deleteOptions": {"preconditions": {"uid": uid}},
        });
        let path = format!("{}/eviction", pod_path(namespace, name));
        Self { kind: "evict_pod", method: Method::POST, path, body }
    }

    /// A pod.
    pub fn pod(namespace: &str, name: &str, uid: &str) -> Self {
        Self::delete("delete_pod", pod_path(namespace, name), uid)
    }

    /// A workload; its pods follow by garbage collection.
    pub fn workload(namespace: &str, name: &str, uid: &str) -> Self {
        let path = format!("{}/{name}", PooledWorkload::url_path(&(), Some(namespace)));
        Self::delete("delete_workload", path, uid)
    }

    fn delete(kind: &'static str, path: String, uid: &str) -> Self {
        let body = json!({
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "preconditions": {"uid": uid},
            "propagationPolicy": "Background",
        });
        Self { kind, method: Method::DELETE, path, body }
    }

    /// Asks until there is a clear answer.
    pub async fn carry_out(&self, hand: &Hand<'_>) -> Removed {
        let mut failures = 0_u32;
        loop {
            let Ok(request) = self.request() else { return Removed::No };
            let wait = match hand.call(self.kind, request).await {
                // A conflict: another object has the name, so the one that was meant is gone.
                Outcome::Done(_) | Outcome::Missing(_) | Outcome::Conflict(_) => return Removed::Yes,
                Outcome::Refused(..) => return Removed::Refused,
                Outcome::NotLeading => return Removed::No,
                Outcome::Later(..) if self.method == Method::POST => return Removed::Held,
                Outcome::Later(after, _) => after.unwrap_or_else(|| hand.pauses().after(failures)),
                Outcome::Unclear(_) => hand.pauses().after(failures),
            };
            sleep(wait).await;
            failures = failures.saturating_add(1);
        }
    }

    /// Goes on asking where a disruption budget holds the pod, until it goes. Nobody else asks for it meanwhile, so a
    /// refusal does not end it either.
    pub async fn insist(&self, hand: &Hand<'_>) {
        let mut wait = hand.pauses().budget;
        loop {
            wait = match self.carry_out(hand).await {
                Removed::Held => hand.pauses().budget,
                Removed::Refused => wait.saturating_mul(2).min(hand.pauses().rights.1),
                Removed::Yes | Removed::No => return,
            };
            sleep(wait).await;
        }
    }

    fn request(&self) -> Result<Request<Vec<u8>>, String> {
        let body = serde_json::to_vec(&self.body).map_err(|error| error.to_string())?;
        request(self.method.clone(), &self.path, JSON, body)
    }
}
