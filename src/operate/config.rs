//! What `weir run` takes.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::ValueEnum;
use kube::{Client, Config};

use super::http::Places;
use super::lead::Timing;
use crate::apply::Limits;
use crate::model::time::Span;

/// How the log is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// What `weir run` takes.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Namespace of the Lease and of the ledgers; it must exist
    #[arg(long, env = "POD_NAMESPACE", default_value = "weir-system")]
    pub namespace: String,
    /// Name of this process in the Lease; default: the name of the host and a number
    #[arg(long, env = "POD_NAME")]
    pub identity: Option<String>,
    /// Name of the Lease
    #[arg(long, default_value = "weir")]
    pub lease_name: String,
    /// Another may lead when the Lease was not renewed for that long
    #[arg(long, value_parser = duration, default_value = "15s")]
    pub lease_duration: Duration,
    /// A leader that could not renew for that long stops writing
    #[arg(long, value_parser = duration, default_value = "10s")]
    pub lease_give_up: Duration,
    /// A leader renews that often
    #[arg(long, value_parser = duration, default_value = "5s")]
    pub lease_renew: Duration,
    /// Requests in flight at most, events aside
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=4096))]
    pub max_in_flight: u16,
    /// Members on a node that is not ready for that long are placed elsewhere
    #[arg(long, value_parser = lost_after, default_value = "5m")]
    pub lost_after: Duration,
    /// Nothing is decided while a watch has been silent for that long (the API server speaks once a minute)
    #[arg(long, value_parser = stale_after, default_value = "3m")]
    pub stale_after: Duration,
    /// Where health is served; on an address of the loopback interface metrics too, unless they have their own
    #[arg(long, default_value = "0.0.0.0:8080")]
    pub http_addr: SocketAddr,
    /// Where metrics are served: by TLS, to those who may read them by RBAC; on the loopback interface to everybody there
    #[arg(long)]
    pub metrics_addr: Option<SocketAddr>,
    /// A folder with `tls.crt` and `tls.key` for that; default: a certificate that the process makes for itself
    #[arg(long, requires = "metrics_addr")]
    pub metrics_tls_dir: Option<PathBuf>,
    /// How the log is written; what is in it follows `RUST_LOG`
    #[arg(long, value_enum, default_value_t)]
    pub log_format: LogFormat,
}

/// A duration as it is written in manifests, for arguments.
///
/// # Errors
/// Where it is none.
pub fn duration(text: &str) -> Result<Duration, String> {
    let parsed: crate::api::Duration = text.parse().map_err(|error| format!("{error}"))?;
    u64::try_from(parsed.as_millis()).map(Duration::from_millis).map_err(|error| error.to_string())
}

/// What no node that comes back soon survives is no bound: kubelets report every ten seconds.
const LOST_AFTER_AT_LEAST: Duration = Duration::from_secs(5);
/// The API server speaks once a minute, and not to the second.
const STALE_AFTER_AT_LEAST: Duration = Duration::from_secs(90);
/// More often than that it would be a burden to renew.
const RENEW_AT_LEAST: Duration = Duration::from_millis(100);

fn lost_after(text: &str) -> Result<Duration, String> {
    let given = duration(text)?;
    let why =
        "every node that is not ready for a moment would lose its members: write 5s or more, such as 5m";
    if given < LOST_AFTER_AT_LEAST { Err(why.to_owned()) } else { Ok(given) }
}

fn stale_after(text: &str) -> Result<Duration, String> {
    let given = duration(text)?;
    let why = "the API server speaks once a minute, so that often nothing would be decided: write 90s or more, such as 3m";
    if given < STALE_AFTER_AT_LEAST { Err(why.to_owned()) } else { Ok(given) }
}

impl Args {
    /// The election's times.
    ///
    /// # Errors
    /// Where two could lead at once, or the Lease would be written all the time.
    pub fn timing(&self) -> anyhow::Result<Timing> {
        let timing = Timing {
            lease: self.lease_duration,
            renew: self.lease_renew,
            give_up: self.lease_give_up,
            retry: (self.lease_renew / 5).min(Duration::from_secs(1)).max(Duration::from_millis(20)),
        };
        ensure!(
            timing.renew < timing.give_up && timing.give_up < timing.lease,
            "--lease-renew must be shorter than --lease-give-up, and that shorter than --lease-duration: \
             a leader must stop writing before another starts"
        );
        ensure!(
            timing.lease >= Duration::from_secs(1) && timing.lease.subsec_nanos() == 0,
            "--lease-duration is whole seconds in the Lease: write 1s or more, such as 15s"
        );
        ensure!(
            timing.renew >= RENEW_AT_LEAST,
            "--lease-renew would have the Lease written without a pause: write 100ms or more, such as 5s"
        );
        Ok(timing)
    }

    /// Where it is told how things stand.
    pub fn places(&self) -> Places {
        let host = hostname();
        let service = format!("weir-metrics.{}.svc", self.namespace);
        Places {
            http: self.http_addr,
            metrics: self.metrics_addr,
            tls: self.metrics_tls_dir.clone(),
            names: host.into_iter().chain([service, "localhost".to_owned()]).collect(),
        }
    }

    /// The bounds of writing.
    pub fn limits(&self) -> Limits {
        Limits { in_flight: usize::from(self.max_in_flight), ..Limits::default() }
    }

    /// The core's bounds in time.
    pub fn lost_after(&self) -> Span {
        Span(i64::try_from(self.lost_after.as_millis()).unwrap_or(i64::MAX))
    }

    /// A name that no other process has: a restarted one is another candidate.
    pub fn identity(&self) -> String {
        let host = self.identity.clone().or_else(hostname);
        let started = jiff::Timestamp::now().as_millisecond();
        format!("{}_{}_{started:x}", host.as_deref().unwrap_or("weir"), std::process::id())
    }
}

fn hostname() -> Option<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    Some(name.trim().to_owned()).filter(|name| !name.is_empty())
}

/// The cluster that the environment names. Its clients do not try again by themselves: who writes must know
/// what was written.
///
/// # Errors
/// Where there is none.
pub async fn cluster() -> anyhow::Result<Config> {
    let mut config = Config::infer().await.context(
        "there is no cluster to talk to: set KUBECONFIG, or run inside of one with a service account",
    )?;
    config.default_retry = false;
    Ok(config)
}

/// The clients of one process. None of them retries by itself or limits itself.
#[derive(Clone)]
pub struct Clients {
    /// For watches and lists.
    pub watch: Client,
    /// For writes.
    pub write: Client,
}

impl Clients {
    /// Clients for the cluster that the environment names.
    ///
    /// # Errors
    /// Where there is none.
    pub async fn infer() -> anyhow::Result<Self> {
        Self::of(&cluster().await?)
    }

    /// Clients for one cluster.
    ///
    /// # Errors
    /// Where its certificates or credentials cannot be used.
    pub fn of(config: &Config) -> anyhow::Result<Self> {
        let client =
            || Client::try_from(config.clone()).context("the credentials for the cluster cannot be used");
        Ok(Self { watch: client()?, write: client()? })
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Program {
        #[command(flatten)]
        args: Args,
    }

    fn refused(given: &[&str]) -> String {
        let parsed = Program::try_parse_from(["weir"].iter().chain(given));
        match parsed {
            Err(error) => error.to_string(),
            Ok(Program { args }) => args.timing().unwrap_err().to_string(),
        }
    }

    #[test]
    fn durations_that_make_no_sense_are_refused_and_it_is_said_what_to_write() {
        for (flag, value, write) in [
            ("--stale-after", "0s", "write 90s or more, such as 3m"),
            ("--stale-after", "0", "write 90s or more, such as 3m"),
            ("--stale-after", "89s", "write 90s or more, such as 3m"),
            ("--lost-after", "0s", "write 5s or more, such as 5m"),
            ("--lost-after", "4999ms", "write 5s or more, such as 5m"),
            ("--lost-after", "30s1m", "such as 90s, 15m or 2h30m"),
            ("--stale-after", "-3m", "such as 90s, 15m or 2h30m"),
            ("--lease-renew", "0s", "write 100ms or more, such as 5s"),
            ("--lease-renew", "10s", "--lease-renew must be shorter than --lease-give-up"),
            ("--lease-duration", "0s", "--lease-renew must be shorter than --lease-give-up"),
            ("--lease-duration", "10500ms", "write 1s or more, such as 15s"),
            ("--lease-give-up", "15s", "that shorter than --lease-duration"),
        ] {
            let said = refused(&[&format!("{flag}={value}")]);
            assert!(said.contains(flag) && said.contains(write), "{flag}={value}: {said}");
        }
    }

    #[test]
    fn what_is_set_where_nobody_says_makes_sense_and_so_do_the_least_values() {
        for given in [&[][..], &["--stale-after=90s", "--lost-after=5s", "--lease-renew=100ms"]] {
            let parsed = Program::try_parse_from(["weir"].iter().chain(given)).unwrap();
            parsed.args.timing().unwrap();
        }
    }
}
