//! The process: stands by, leads, stands by again, until it is told to end.

use std::future::Future;
use std::sync::atomic::Ordering;

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{oneshot, watch};
use tracing::{error, info};
use tracing_subscriber::EnvFilter;

use super::config::{Args, Clients, LogFormat};
use super::http::{self, Told};
use super::lease::{Candidate, Lost};
use super::term::{Ended, Term};

/// Begins to log, as asked.
pub fn log(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info,kube_client=off"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A second subscriber in one process (tests) is no reason to fail.
    let _ = match format {
        LogFormat::Text => log.try_init(),
        LogFormat::Json => log.json().flatten_event(true).try_init(),
    };
}

/// Runs the operator until SIGTERM or SIGINT.
///
/// # Errors
/// Where there is no cluster, the configuration contradicts itself, or the address cannot be had.
pub async fn run(args: &Args) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen to SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen to SIGINT")?;
    let (stop, stopped) = watch::channel(false);
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => info!("SIGTERM"),
            _ = interrupt.recv() => info!("SIGINT"),
        }
        let _ = stop.send(true);
    });
    let clients = Clients::infer().await?;
    let told = Told::default();
    let address = args.http_addr;
    http::serve(address, told.clone()).await.with_context(|| format!("cannot listen on {address}"))?;
    operate(args, &clients, told, stopped).await
}

/// Runs the operator until `stop` says so.
///
/// # Errors
/// Where the configuration contradicts itself.
pub async fn operate(
    args: &Args,
    clients: &Clients,
    told: Told,
    mut stop: watch::Receiver<bool>,
) -> anyhow::Result<()> {
    let timing = args.timing()?;
    let identity = args.identity();
    let candidate =
        || Candidate::new(clients.lease.clone(), &args.namespace, &args.lease_name, &identity, timing);
    info!(version = env!("CARGO_PKG_VERSION"), %identity, namespace = %args.namespace, "starts");
    loop {
        let mut candidate = candidate();
        told.metrics.leads(false);
        // One that stands by is ready: a rollout must not wait for it to lead.
        told.ready.store(true, Ordering::Relaxed);
        if until(&mut stop, candidate.acquire()).await.is_none() {
            return Ok(());
        }
        told.metrics.leads(true);
        told.ready.store(false, Ordering::Relaxed);
        if lead(args, clients, &told, candidate, &identity, &mut stop).await == Ended::Stopped {
            return Ok(());
        }
    }
}

/// Leads for one term.
async fn lead(
    args: &Args,
    clients: &Clients,
    told: &Told,
    mut candidate: Candidate,
    identity: &str,
    stop: &mut watch::Receiver<bool>,
) -> Ended {
    let (leadership, number) = (candidate.leadership(), candidate.term());
    let (end, ended) = oneshot::channel::<()>();
    // A task of its own: a long cycle must not delay a renewal.
    let (lost, mut was_lost) = oneshot::channel::<Lost>();
    let keeper = tokio::spawn(async move {
        tokio::select! {
            how = candidate.keep() => { let _ = lost.send(how); }
            _ = ended => {}
        }
        candidate
    });
    let work = async {
        let begun = Term::begin(args, clients, leadership.clone(), number, identity, told.clone());
        let Some(begun) = until(stop, begun).await else { return Ended::Stopped };
        match begun {
            Ok(term) => term.run(stop).await,
            Err(error) => {
                error!(%error, "cannot take over");
                // Not at once again: what stands in the way does not pass so fast.
                tokio::time::sleep(std::time::Duration::from_secs(2)).await;
                Ended::Lost
            }
        }
    };
    let how = tokio::select! {
        how = work => how,
        _ = &mut was_lost => Ended::Lost,
    };
    drop(end);
    match keeper.await {
        Ok(mut candidate) => candidate.release().await,
        Err(error) => error!(%error, "the renewal of the Lease broke"),
    }
    how
}

/// What `work` comes to, or none if the process is told to end before.
async fn until<T>(stop: &mut watch::Receiver<bool>, work: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        _ = stop.wait_for(|stop| *stop) => None,
        done = work => Some(done),
    }
}
