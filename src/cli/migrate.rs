//! `weir migrate`: asks the operator to move members of a workload to other nodes, and tells what becomes of it.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap_complete::engine::ArgValueCompleter;
use jiff::Timestamp;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::{cluster, complete, why};
use crate::api::PooledWorkload;
use crate::api::asked::{MoveRequestState, MoveRequestStatus};
use crate::api::labels::MIGRATE;

/// What `weir migrate` takes.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The workload: NAMESPACE/NAME, or NAME in the namespace of -n or of the context
    #[arg(value_name = "WORKLOAD", add = ArgValueCompleter::new(complete::workloads))]
    workload: String,
    /// Where to; default: the node that suits best
    #[arg(long, value_name = "NODE", add = ArgValueCompleter::new(complete::nodes))]
    to: Option<String>,
    /// Which member; default: all of them
    #[arg(long, value_name = "N")]
    index: Option<u32>,
    /// Wait until the members have moved
    #[arg(long)]
    wait: bool,
    /// How long to wait for that
    #[arg(long, default_value = "10m", value_parser = crate::operate::config::duration)]
    timeout: Duration,

    /// Which cluster.
    #[command(flatten)]
    cluster: cluster::Args,
}

/// The operator answers sooner, where it runs.
const ANSWERS_WITHIN: Duration = Duration::from_secs(20);
const LOOKS_EVERY: Duration = Duration::from_millis(250);

/// Asks, and prints what becomes of it.
///
/// # Errors
/// Where there is no such workload, it may not be changed, or nobody answers.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let request = request(args, Timestamp::now());
    cluster::block_on(async {
        let cluster = args.cluster.connect().await?;
        let (namespace, name) =
            why::which(&args.workload, args.cluster.namespace.as_deref(), &cluster.namespace)?;
        let workloads: Api<PooledWorkload> = Api::namespaced(cluster.client, &namespace);
        let patch = json!({"metadata": {"annotations": {MIGRATE: request}}});
        workloads
            .patch(&name, &PatchParams::default(), &Patch::Merge(&patch))
            .await
            .with_context(|| format!("cannot ask for it at the workload {namespace}/{name}"))?;
        follow(&workloads, &name, &request, args).await
    })
}

/// The annotation. It tells when it was written, so that the same asked again is another request.
fn request(args: &Args, now: Timestamp) -> String {
    let to = args.to.iter().map(|to| format!("to={to}"));
    let index = args.index.iter().map(|index| format!("index={index}"));
    to.chain(index).chain([format!("at={now}")]).collect::<Vec<_>>().join(",")
}

async fn follow(
    workloads: &Api<PooledWorkload>,
    name: &str,
    request: &str,
    args: &Args,
) -> anyhow::Result<ExitCode> {
    let began = Instant::now();
    let mut told = String::new();
    loop {
        let seen = workloads.get(name).await.context("cannot read the workload")?;
        let answer = seen.status.and_then(|status| status.migration_request);
        match answer.filter(|answer| answer.request == request) {
            None if began.elapsed() > ANSWERS_WITHIN => bail!(
                "no operator has answered within {} s: does it run? The annotation {MIGRATE} stays, and is handled when it does",
                ANSWERS_WITHIN.as_secs()
            ),
            None => {}
            Some(MoveRequestStatus { state, message, .. }) => {
                if told != message {
                    println!("{message}");
                    told = message;
                }
                match state {
                    MoveRequestState::Moved => return Ok(ExitCode::SUCCESS),
                    MoveRequestState::Refused | MoveRequestState::Failed => return Ok(ExitCode::from(1)),
                    MoveRequestState::Moving if !args.wait => return Ok(ExitCode::SUCCESS),
                    MoveRequestState::Moving if began.elapsed() > args.timeout => {
                        bail!("it still moves after {} s", args.timeout.as_secs())
                    }
                    MoveRequestState::Moving => {}
                }
            }
        }
        sleep(LOOKS_EVERY).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::asked::parse;

    #[test]
    fn what_is_asked_is_what_the_operator_reads() {
        let args = |to: Option<&str>, index| Args {
            workload: "team/db".into(),
            to: to.map(str::to_owned),
            index,
            wait: false,
            timeout: Duration::ZERO,
            cluster: cluster::Args::default(),
        };
        for (to, index) in [(None, None), (Some("node-b"), None), (None, Some(3)), (Some("node-b"), Some(3))]
        {
            let text = request(&args(to, index), Timestamp::UNIX_EPOCH);
            assert_eq!(parse(&text), Ok((index, to.map(str::to_owned))), "{text}");
        }
    }
}
