//! The process: stands by, leads, stands by again, until it is told to end.

use std::future::Future;
use std::io::IsTerminal as _;
use std::time::Duration;

use anyhow::Context as _;
use kube::Config;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tracing::{error, info};
use tracing_subscriber::EnvFilter;

use super::config::{Args, Clients, LogFormat, cluster};
use super::election::{Election, Lease, Standing};
use super::health;
use super::http::{self, Told};
use super::lead::Leadership;
use super::term::{Ended, Term};

/// Begins to log, as asked.
pub fn log(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info,kube_client=off"));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
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
    let config = cluster().await?;
    let told = Told::default();
    http::serve(args.places(), &config, told.clone()).await?;
    Box::pin(operate(args, config, told, stopped)).await
}

/// Runs the operator until `stop` says so.
///
/// # Errors
/// Where the configuration contradicts itself, or the cluster's credentials cannot be used.
pub async fn operate(
    args: &Args,
    config: Config,
    told: Told,
    mut stop: watch::Receiver<bool>,
) -> anyhow::Result<()> {
    let clients = Clients::of(&config)?;
    let lease = Lease {
        namespace: args.namespace.clone(),
        name: args.lease_name.clone(),
        identity: args.identity(),
        timing: args.timing()?,
    };
    let identity = lease.identity.clone();
    info!(version = env!("CARGO_PKG_VERSION"), %identity, namespace = %args.namespace, "starts");
    let election = Election::begin(config, lease, told.health.clone())?;
    loop {
        told.metrics.leads(false);
        // One that stands by is ready: a rollout must not wait for it to lead.
        told.health.stands_by();
        let mut watched = election.standing.clone();
        let leads = watched.wait_for(|standing| *standing != Standing::StandsBy);
        let Some(standing) = until(&mut stop, leads).await else {
            election.give_back().await;
            return Ok(());
        };
        let standing = *standing.context("the election has ended")?;
        let Standing::Leads { term, number } = standing else { continue };
        told.metrics.leads(true);
        told.health.problem(health::LISTS, Some("it leads, and has not read all lists yet".to_owned()));
        let work = lead(args, &clients, &told, election.leadership.clone(), term, &identity, &mut stop);
        let lost = watched.wait_for(|now| *now != Standing::Leads { term, number });
        let ended = tokio::select! {
            ended = work => ended,
            _ = lost => Ended::Lost,
        };
        election.give_back().await;
        if ended == Ended::Stopped {
            return Ok(());
        }
    }
}

/// Leads for one term.
async fn lead(
    args: &Args,
    clients: &Clients,
    told: &Told,
    leadership: Leadership,
    term: u64,
    identity: &str,
    stop: &mut watch::Receiver<bool>,
) -> Ended {
    let begun = Term::begin(args, clients, leadership, term, identity, told.clone());
    let Some(begun) = until(stop, begun).await else { return Ended::Stopped };
    match begun {
        Ok(term) => term.run(stop).await,
        Err(error) => {
            error!(%error, "cannot take over");
            // Not at once again: what stands in the way does not pass so fast.
            tokio::time::sleep(Duration::from_secs(2)).await;
            Ended::Lost
        }
    }
}

/// What `work` comes to, or none if the process is told to end before.
async fn until<T>(stop: &mut watch::Receiver<bool>, work: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        _ = stop.wait_for(|stop| *stop) => None,
        done = work => Some(done),
    }
}
