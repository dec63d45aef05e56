//! One request and what its answer means. The classes are exhaustive, and each has one way to go on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::body::Bytes;
use axum::http::header::{ACCEPT, CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderMap, Method, Request, StatusCode};
use kube::Client;
use kube::core::Status;
use serde::Deserialize;
use tokio::time::timeout;

use super::events::result;
use super::rights::Rights;
use crate::operate::lead::Leadership;

/// What one request came to.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// Done; the answer's body.
    Done(Bytes),
    /// 404.
    Missing(String),
    /// 409: it is there already, has changed, or is being deleted.
    Conflict(Box<Status>),
    /// 429: ask again after that long, if the API server says how long.
    Later(Option<Duration>, String),
    /// Any other 4xx: it will be refused again.
    Refused(u16, String),
    /// 5xx, no connection, or no answer in time: it may have been carried out or not.
    Unclear(String),
    /// Not sent: this process does not lead any more.
    NotLeading,
}

/// Sends requests for one who leads.
#[derive(Clone)]
pub struct Caller {
    /// To the API server.
    pub client: Client,
    /// Asked before each request.
    pub leadership: Leadership,
    /// False once the term is over: requests of an earlier term must not go out in a later one.
    pub open: Arc<AtomicBool>,
    /// How long to wait, and for what.
    pub pauses: Pauses,
    /// What is forbidden, and where requests are counted.
    pub rights: Arc<Rights>,
}

/// How long to wait, and for what.
#[derive(Clone, Copy, Debug)]
pub struct Pauses {
    /// Longest wait for an answer.
    pub patience: Duration,
    /// Before the second try; it doubles with each failure.
    pub first: Duration,
    /// Longest wait between two tries.
    pub most: Duration,
    /// Between two tries to evict a pod that a disruption budget holds.
    pub budget: Duration,
    /// Between two tries of what the operator lacks the right for: the first, and the longest; it doubles.
    pub rights: (Duration, Duration),
}

impl Default for Pauses {
    fn default() -> Self {
        Self {
            patience: Duration::from_secs(15),
            first: Duration::from_millis(100),
            most: Duration::from_secs(5),
            budget: Duration::from_secs(5),
            rights: (Duration::from_secs(1), Duration::from_secs(30)),
        }
    }
}

impl Pauses {
    /// How long to wait before the try after `failures` that failed.
    pub fn after(&self, failures: u32) -> Duration {
        self.first.saturating_mul(1 << failures.min(20)).min(self.most)
    }
}

/// The part of an answer that is read: the rest is skipped, not built.
#[derive(Debug, Default, Deserialize)]
pub struct Written {
    /// Metadata.
    #[serde(default)]
    pub metadata: WrittenMeta,
}

/// Metadata of an answer.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct WrittenMeta {
    /// UID.
    pub uid: String,
    /// Version.
    pub resource_version: String,
    /// Set while it is being deleted.
    pub deletion_timestamp: Option<String>,
    /// Owners.
    pub owner_references: Vec<WrittenOwner>,
}

/// An owner of an object.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct WrittenOwner {
    /// UID.
    pub uid: String,
    /// Whether it is the one that manages it.
    pub controller: Option<bool>,
    /// Kind.
    pub kind: String,
    /// Name.
    pub name: String,
}

impl Caller {
    /// What is left of the right to write, if there is any.
    pub fn left(&self) -> Option<Duration> {
        self.leadership.left().filter(|_| self.open.load(Ordering::SeqCst))
    }

    /// Sends one request of a kind, once, and counts it. What the operator lacks the right for is refused here, in the words
    /// that the API server last had for it, until it is time to try it again.
    pub async fn send(&self, kind: &'static str, request: Request<Vec<u8>>) -> Outcome {
        let path = request.uri().path().to_owned();
        if let Some(words) = self.rights.withheld(kind, &path, self.pauses.rights) {
            return if self.left().is_some() { Outcome::Refused(403, words) } else { Outcome::NotLeading };
        }
        let outcome = self.call(request).await;
        self.rights.metrics().wrote(kind, result(&outcome));
        self.heed(kind, &path, &outcome);
        outcome
    }

    /// Sends one request, once.
    pub async fn call(&self, request: Request<Vec<u8>>) -> Outcome {
        if self.left().is_none() {
            return Outcome::NotLeading;
        }
        // A request that was sent may be carried out after the lead is over, whether it is waited for or not:
        // what it does is guarded by the ledger, by names and by preconditions.
        let patience = self.pauses.patience;
        match timeout(patience, self.exchange(request)).await {
            Ok(Ok((status, headers, body))) => classify(status, &headers, body),
            Ok(Err(error)) => Outcome::Unclear(error),
            Err(_) => Outcome::Unclear(format!("no answer within {} s", patience.as_secs_f32().round())),
        }
    }

    async fn exchange(&self, request: Request<Vec<u8>>) -> Result<(StatusCode, HeaderMap, Bytes), String> {
        let answer = self.client.send(request.map(Into::into)).await.map_err(|error| error.to_string())?;
        let (parts, body) = answer.into_parts();
        let body = axum::body::to_bytes(axum::body::Body::new(body), MOST_BYTES);
        Ok((parts.status, parts.headers, body.await.map_err(|error| error.to_string())?))
    }
}

/// Metadata is all that is read of most answers, so it is all that is asked for: the API server then neither
/// encodes nor sends the rest.
const METADATA: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json";

/// A request that is answered with metadata alone. `path` begins at the root of the API.
///
/// # Errors
/// Where a name makes no path.
pub fn request(method: Method, path: &str, content: &str, body: Vec<u8>) -> Result<Request<Vec<u8>>, String> {
    build(method, path, content, METADATA, body)
}

/// A request that is answered with the whole object.
///
/// # Errors
/// Where a name makes no path.
pub fn whole(method: Method, path: &str, content: &str, body: Vec<u8>) -> Result<Request<Vec<u8>>, String> {
    build(method, path, content, JSON, body)
}

fn build(
    method: Method,
    path: &str,
    content: &str,
    accept: &str,
    body: Vec<u8>,
) -> Result<Request<Vec<u8>>, String> {
    Request::builder()
        .method(method)
        .uri(path)
        .header(ACCEPT, accept)
        .header(CONTENT_TYPE, content)
        .body(body)
        .map_err(|error| error.to_string())
}

/// The content type of whole objects.
pub const JSON: &str = "application/json";
/// The content type of merge patches.
pub const MERGE: &str = "application/merge-patch+json";

/// The API server takes objects of 3 MiB at most, and so answers with no more than that.
const MOST_BYTES: usize = 16 << 20;

fn classify(code: StatusCode, headers: &HeaderMap, body: Bytes) -> Outcome {
    if code.is_success() {
        return Outcome::Done(body);
    }
    let status = serde_json::from_slice::<Status>(&body).unwrap_or_else(|_| {
        let text = String::from_utf8_lossy(&body);
        Status::failure(text.trim().chars().take(500).collect::<String>().as_str(), "")
            .with_code(code.as_u16())
    });
    let message = if status.message.is_empty() { code.to_string() } else { status.message.clone() };
    match code {
        StatusCode::NOT_FOUND => Outcome::Missing(message),
        StatusCode::CONFLICT => Outcome::Conflict(Box::new(status)),
        StatusCode::TOO_MANY_REQUESTS => Outcome::Later(retry_after(headers, &status), message),
        StatusCode::REQUEST_TIMEOUT => Outcome::Unclear(message),
        // A token that ran out is read anew by the client; the request was not carried out.
        StatusCode::UNAUTHORIZED => Outcome::Later(None, message),
        code if code.is_client_error() => Outcome::Refused(code.as_u16(), message),
        code if code.is_server_error() && retry_after(headers, &status).is_some() => {
            Outcome::Later(retry_after(headers, &status), message)
        }
        _ => Outcome::Unclear(message),
    }
}

fn retry_after(headers: &HeaderMap, status: &Status) -> Option<Duration> {
    let said = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse::<u64>().ok());
    let said = said.or_else(|| {
        status
            .details
            .as_ref()
            .map(|details| u64::from(details.retry_after_seconds))
            .filter(|after| *after > 0)
    });
    said.map(|seconds| Duration::from_secs(seconds.min(60)))
}
