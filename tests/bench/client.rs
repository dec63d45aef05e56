//! Writes of the load program: each is one request, answered with metadata as the operator asks for it.

use anyhow::{Context as _, Result, bail, ensure};
use axum::http::header::USER_AGENT;
use axum::http::{HeaderValue, Method};
use kube::Client;
use serde_json::Value;
use weir::apply::call::{JSON, MERGE, Written, WrittenMeta, request};

/// Sends requests under one user agent, by which the audit log tells them apart.
#[derive(Clone)]
pub struct Sender {
    pub client: Client,
    pub agent: &'static str,
}

impl Sender {
    /// Creates an object under `path`.
    pub async fn create(&self, path: &str, object: &Value) -> Result<WrittenMeta> {
        self.send(Method::POST, path, JSON, object).await
    }

    /// Merges `patch` into the object at `path`.
    pub async fn merge(&self, path: &str, patch: &Value) -> Result<WrittenMeta> {
        self.send(Method::PATCH, path, MERGE, patch).await
    }

    async fn send(&self, method: Method, path: &str, content: &str, body: &Value) -> Result<WrittenMeta> {
        let mut request = match request(method, path, content, serde_json::to_vec(body)?) {
            Ok(request) => request,
            Err(error) => bail!(error),
        };
        request.headers_mut().insert(USER_AGENT, HeaderValue::from_static(self.agent));
        let answer = self.client.send(request.map(Into::into)).await?;
        let status = answer.status();
        let body = axum::body::to_bytes(axum::body::Body::new(answer.into_body()), 16 << 20).await?;
        ensure!(status.is_success(), "{path}: {status}: {}", String::from_utf8_lossy(&body));
        let written: Written = serde_json::from_slice(&body).context("an answer cannot be read")?;
        Ok(written.metadata)
    }
}
