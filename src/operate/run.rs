//! The process: stands by, leads, stands by again, until it is told to end.

use std::env::VarError;
use std::future::Future;
use std::io::IsTerminal as _;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail, ensure};
use kube::Config;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tracing::level_filters::LevelFilter;
use tracing::{debug, error, info};
use tracing_subscriber::EnvFilter;

use super::config::{Args, Clients, LogFormat, cluster};
use super::election::{Election, Lease, Standing};
use super::health;
use super::http::{self, Told};
use super::lead::Leadership;
use super::ledger::ReserveError;
use super::term::{Ended, Term};
use super::withheld::RIGHTS;

/// Between two tries to take the ledgers over: the first pause, doubled up to the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(2);
/// See [`FIRST_PAUSE`].
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// One that could not take over and does not come to lead for that long is taken to be well again.
const FORGIVEN: Duration = Duration::from_mins(1);

/// What is logged where nobody says.
const LOG: &str = "info,kube_client=off";

/// Begins to log, as asked.
///
/// # Errors
/// Where it is not clear what is asked for.
pub fn log(format: LogFormat) -> anyhow::Result<()> {
    let filter = match std::env::var(EnvFilter::DEFAULT_ENV) {
        Ok(text) => filter(&text)?,
        Err(VarError::NotPresent) => EnvFilter::new(LOG),
        Err(VarError::NotUnicode(_)) => bail!("RUST_LOG is not text: {EXAMPLE}"),
    };
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    // A second subscriber in one process (tests) is no reason to fail.
    let _ = match format {
        LogFormat::Text => log.try_init(),
        LogFormat::Json => log.json().flatten_event(true).try_init(),
    };
    Ok(())
}

/// What to write instead.
const EXAMPLE: &str = "write levels (error, warn, info, debug, trace, off), for parts of the program if you like, such as \
                       RUST_LOG=info,weir::decision=debug (the chart's value operator.log)";

/// What `RUST_LOG` asks for. A word that is no level names a part of the program, so that a misspelt level would silence
/// the operator.
fn filter(text: &str) -> anyhow::Result<EnvFilter> {
    if text.trim().is_empty() {
        return Ok(EnvFilter::new(LOG));
    }
    let parsed = EnvFilter::builder().parse(text);
    let parsed = parsed.map_err(|error| anyhow!("RUST_LOG={text} is not understood ({error}): {EXAMPLE}"))?;
    let speaks = |part: &str| {
        let part = part.trim();
        part.contains(['=', '[']) || part.starts_with("weir") || part.parse::<LevelFilter>().is_ok()
    };
    ensure!(
        text.split(',').any(speaks),
        "RUST_LOG={text} names no level and no part of weir, so that nothing would be logged: {EXAMPLE}"
    );
    Ok(parsed)
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
    args.timing()?;
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
    let election = Election::begin(config, lease, &told)?;
    let mut failures = 0;
    // A lead that was given back is over, though the election may not have said so yet.
    let mut last = None;
    loop {
        told.metrics.leads(false);
        // One that stands by is ready: a rollout must not wait for it to lead.
        told.health.stands_by();
        let mut watched = election.standing.clone();
        let leads = async {
            let mut leads = async || {
                let leads = watched.wait_for(
                    |standing| matches!(standing, Standing::Leads { number, .. } if Some(*number) != last),
                );
                leads.await.map(|standing| *standing)
            };
            if let Ok(leads) = timeout(FORGIVEN, leads()).await {
                leads
            } else {
                // Another has led for so long: what was in the way of this one may not be any more.
                told.health.problem(health::LEDGERS, None);
                leads().await
            }
        };
        let Some(standing) = until(&mut stop, leads).await else {
            election.give_back().await;
            return Ok(());
        };
        let standing = standing.context("the election has ended")?;
        let Standing::Leads { term, number } = standing else { continue };
        last = Some(number);
        told.metrics.leads(true);
        told.health.problem(health::LISTS, Some("it leads, and has not read all lists yet".to_owned()));
        let work = lead(
            args,
            &clients,
            &told,
            election.leadership.clone(),
            term,
            &identity,
            &mut stop,
            &mut failures,
        );
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

/// Leads for one term. `failures` counts how often in a row the ledgers could not be taken over.
#[allow(clippy::too_many_arguments, reason = "each is another part of the process, and it is called once")]
async fn lead(
    args: &Args,
    clients: &Clients,
    told: &Told,
    leadership: Leadership,
    term: u64,
    identity: &str,
    stop: &mut watch::Receiver<bool>,
    failures: &mut u32,
) -> Ended {
    let begun = Term::begin(args, clients, leadership, term, identity, told.clone());
    let Some(begun) = until(stop, begun).await else { return Ended::Stopped };
    let error = match begun {
        Ok(term) => {
            *failures = 0;
            return Box::pin(term.run(stop)).await;
        }
        Err(error) => error,
    };
    if error.ends_the_term() {
        error!(%error, "cannot take over");
    } else {
        let text = hindrance(&error);
        if told.health.problem(health::LEDGERS, Some(text.clone())) {
            error!("{text}");
        } else {
            debug!("{text}");
        }
        if let Some((request, _)) = error.lack() {
            told.metrics.lacks(request, true);
        }
    }
    // Not at once again: what stands in the way does not pass so fast.
    let pause = FIRST_PAUSE.saturating_mul(1 << (*failures).min(10)).min(LONGEST_PAUSE);
    *failures = failures.saturating_add(1);
    match until(stop, sleep(pause)).await {
        Some(()) => Ended::Lost,
        None => Ended::Stopped,
    }
}

/// What is said where the ledgers cannot be taken over.
fn hindrance(error: &ReserveError) -> String {
    let so = "it cannot take over the ledgers, and nothing is admitted; what runs goes on";
    match error.lack() {
        Some((_, missing)) => format!("the operator may not {missing}, so {so} ({error}). {RIGHTS}"),
        None => format!("{so} ({error})"),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_rust_log_asks_for_is_understood_or_refused_with_an_example() {
        for good in
            ["info", "info,weir::decision=debug", "WARN", "weir", "kube_client=off,weir=trace", "", "off"]
        {
            assert!(filter(good).is_ok(), "{good}");
        }
        for bad in ["weir=verbose", "verbose", "inof", "info,weir=7x", "weir=debug=info"] {
            let said = filter(bad).unwrap_err().to_string();
            assert!(said.starts_with(&format!("RUST_LOG={bad} ")), "{said}");
            assert!(
                said.contains("RUST_LOG=info,weir::decision=debug") && said.contains("operator.log"),
                "{said}"
            );
        }
    }
}
