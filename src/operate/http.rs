//! Health, metrics and debugging over HTTP.
//!
//! `/healthz` and `/readyz` are for kubelets: in the clear, for everybody. `/metrics` and `/debug/` are told on an
//! address of the loopback interface in the clear to whoever is on the machine (in the pod), and on any other address by
//! TLS only, to whom the API server knows and lets (`guard.rs`).

mod certificate;
mod guard;
mod listen;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use kube::{Client, Config};
use tokio::net::TcpListener;
use tracing::info;

use self::certificate::Certificate;
use self::guard::Guard;
use super::debug::{self, Worlds};
use super::health::Health;
use super::metrics::Metrics;

/// What is told over HTTP.
#[derive(Clone, Debug, Default)]
pub struct Told {
    /// All metrics.
    pub metrics: Arc<Metrics>,
    /// Whether this process does its work: it leads and has read all lists, or it stands by and sees the Lease.
    pub health: Health,
    /// Where whoever leads is asked for its world.
    pub worlds: Worlds,
}

/// Where it is told.
#[derive(Clone, Debug)]
pub struct Places {
    /// Health; on the loopback interface all of it.
    pub http: SocketAddr,
    /// Metrics and debugging.
    pub metrics: Option<SocketAddr>,
    /// A folder with `tls.crt` and `tls.key`; without it the process makes a certificate of its own.
    pub tls: Option<PathBuf>,
    /// Names that the certificate of its own has.
    pub names: Vec<String>,
}

/// Serves for as long as the process lives.
///
/// # Errors
/// Where an address cannot be had, or the certificate cannot be read.
pub async fn serve(places: Places, config: &Config, told: Told) -> anyhow::Result<()> {
    let Places { http, metrics, tls, names } = places;
    let open = metrics.is_none() && http.ip().is_loopback();
    let router = if open { probes().merge(insight()) } else { probes() };
    let (listener, at) = bind(http).await?;
    info!(address = %at, metrics = open, "serves health");
    listen::plain(listener, router.with_state(told.clone()));
    let Some(address) = metrics else {
        if !open {
            info!("metrics are not served: give --metrics-addr, or an --http-addr on the loopback interface");
        }
        return Ok(());
    };
    let (listener, at) = bind(address).await?;
    if address.ip().is_loopback() {
        info!(address = %at, "serves metrics on this machine only");
        listen::plain(listener, insight().with_state(told));
        return Ok(());
    }
    let certificate = Certificate::begin(tls, names)?;
    let client =
        Client::try_from(config.clone()).context("the credentials for the cluster cannot be used")?;
    let guard = Arc::new(Guard::new(client));
    // The guard stands before unknown paths too: who may not look is not told what there is.
    let router =
        insight().fallback(async || StatusCode::NOT_FOUND).layer(from_fn_with_state(guard, guard::ask));
    info!(address = %at, "serves metrics by TLS to those who may read them");
    listen::tls(listener, certificate.config()?, router.with_state(told));
    Ok(())
}

async fn bind(address: SocketAddr) -> anyhow::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))?;
    let at = listener.local_addr()?;
    Ok((listener, at))
}

fn probes() -> Router<Told> {
    Router::new().route("/healthz", get(async || "ok\n")).route("/readyz", get(ready))
}

/// What is not for everybody.
fn insight() -> Router<Told> {
    Router::new().route("/metrics", get(metrics)).route("/debug/world", get(debug::world))
}

async fn ready(State(told): State<Told>) -> Response {
    let code = if told.health.is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, told.health.text()).into_response()
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
