//! Health and metrics over HTTP.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tracing::{info, warn};

use super::metrics::Metrics;

/// What is told over HTTP.
#[derive(Clone, Debug, Default)]
pub struct Told {
    /// All metrics.
    pub metrics: Arc<Metrics>,
    /// Whether this process does its work: it leads and has read all lists, or it stands by and sees the Lease.
    pub ready: Arc<AtomicBool>,
}

/// Serves `/healthz`, `/readyz` and `/metrics` for as long as the process lives.
///
/// # Errors
/// Where the address cannot be had.
pub async fn serve(address: SocketAddr, told: Told) -> std::io::Result<()> {
    let listener = TcpListener::bind(address).await?;
    info!(address = %listener.local_addr()?, "serves health and metrics");
    let router = Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(told);
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, router).await {
            warn!(%error, "serves no more");
        }
    });
    Ok(())
}

async fn ready(State(told): State<Told>) -> Response {
    if told.ready.load(Ordering::Relaxed) {
        return "ok\n".into_response();
    }
    (StatusCode::SERVICE_UNAVAILABLE, "has not read all lists yet\n").into_response()
}

async fn metrics(State(told): State<Told>) -> Response {
    match told.metrics.text() {
        Ok(text) => {
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            ([(CONTENT_TYPE, kind)], text).into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
