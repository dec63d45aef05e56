//! `weir why`: why a workload waits, or what became of it, in words and numbers, and what would help.
//!
//! Whoever may read the workload gets an answer from its status. Whoever may read more gets more: its pools, its
//! exact place in the queue, and what would help, which is tried on a copy of what the cluster holds. Nothing is
//! ever written.

mod advice;
mod answer;
mod gather;
mod text;

use std::process::ExitCode;

use anyhow::{anyhow, bail};
use clap_complete::engine::ArgValueCompleter;
use kube::api::{Api, ListParams};

use super::cluster::{self, Cluster, in_words};
use super::complete;
use super::live::{self, Live};
use super::output::{self, Output};
use crate::api::workload::Phase;
use crate::api::{PooledWorkload, ResourcePool};
pub use answer::Answer;

/// Most pools above one another that are asked for.
const DEEPEST: usize = 16;
/// Most names that are offered where a workload is not there.
const MOST_NAMES: usize = 10;

/// What `weir why` takes.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  weir why vision/fix-recall            why this workload waits, and what would help
  weir why fix-recall -n vision         the same
  weir why vision/fix-recall -o json    for programs")]
pub struct Args {
    /// The workload: NAMESPACE/NAME, or NAME in the namespace of -n or of the context
    #[arg(value_name = "WORKLOAD", add = ArgValueCompleter::new(complete::workloads))]
    workload: String,

    /// How the answer is printed
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,

    /// Do not try what would help: faster where very much waits
    #[arg(long)]
    no_advice: bool,

    #[command(flatten)]
    cluster: cluster::Args,
}

/// Finds out and prints.
///
/// # Errors
/// Where there is no such workload, or it may not be read.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let answer = cluster::block_on(async {
        let cluster = args.cluster.connect().await?;
        let (namespace, name) = which(&args.workload, args.cluster.namespace.as_deref(), &cluster.namespace)?;
        let workload = find(&cluster, &namespace, &name).await?;
        Ok(answer(&cluster, &workload, !args.no_advice).await)
    })?;
    output::print(args.output, &answer, text::text)?;
    Ok(ExitCode::SUCCESS)
}

/// Finds out of one workload, `namespace/name`, for people.
pub async fn explain(cluster: &Cluster, title: &str) -> String {
    let found = async {
        let (namespace, name) = which(title, None, &cluster.namespace)?;
        find(cluster, &namespace, &name).await
    };
    match found.await {
        Ok(workload) => text::text(&answer(cluster, &workload, true).await),
        Err(error) => format!("{error:#}"),
    }
}

/// Namespace and name of what was typed.
///
/// # Errors
/// Where that names no workload.
pub fn which(typed: &str, option: Option<&str>, of_context: &str) -> anyhow::Result<(String, String)> {
    let (namespace, name) = match (typed.split_once('/'), option) {
        (Some((namespace, _)), Some(option)) if namespace != option => {
            bail!("{typed:?} names namespace {namespace:?}, and -n {option:?}: leave one of them away")
        }
        (Some((namespace, name)), _) => (namespace, name),
        (None, option) => (option.unwrap_or(of_context), typed),
    };
    if namespace.is_empty() || name.is_empty() || name.contains('/') {
        bail!("{typed:?} is no workload: write NAMESPACE/NAME, or NAME with -n NAMESPACE");
    }
    Ok((namespace.to_owned(), name.to_owned()))
}

async fn find(cluster: &Cluster, namespace: &str, name: &str) -> anyhow::Result<PooledWorkload> {
    let api: Api<PooledWorkload> = Api::namespaced(cluster.client.clone(), namespace);
    match api.get_opt(name).await {
        Ok(Some(workload)) => Ok(workload),
        Ok(None) => {
            let others = api.list_metadata(&ListParams::default().limit(500)).await;
            let others = others.map(|list| list.items).unwrap_or_default();
            let names: Vec<String> = others.into_iter().filter_map(|item| item.metadata.name).collect();
            let there = match names.len() {
                0 => "there are none in that namespace".to_owned(),
                count @ 1..=MOST_NAMES => {
                    format!(
                        "{} there: {}",
                        if count == 1 { "only this is" } else { "these are" },
                        names.join(", ")
                    )
                }
                count => format!("{count} others are there, among them {}", names[..MOST_NAMES].join(", ")),
            };
            bail!("there is no workload {name:?} in namespace {namespace:?}: {there}")
        }
        Err(error) => {
            let what = format!("read workload {name:?} in namespace {namespace:?}");
            Err(anyhow!(in_words(&error, &what)))
        }
    }
}

async fn answer(cluster: &Cluster, workload: &PooledWorkload, advise: bool) -> Answer {
    let mut answer = gather::of_workload(workload, live::now());
    let uid = workload.metadata.uid.as_deref().unwrap_or_default();
    let waits = workload.status.as_ref().is_some_and(|status| status.phase == Some(Phase::Queued));
    let mut live: Option<Live> = None;
    if waits {
        match live::read(&cluster.client).await {
            Ok(read) if read.missing.is_empty() => live = Some(read),
            Ok(read) => {
                answer.unknown.push(
                    "its exact place in the queue, and what would help, are not known: that takes reading all pools, \
                     workloads, pods and nodes"
                        .to_owned(),
                );
                answer.unknown.extend(read.missing.into_values());
            }
            Err(error) => answer.unknown.push(format!("{error:#}")),
        }
    }
    let asked = live.as_ref().and_then(|live| gather::asked(live, uid));
    gather::set_asked(&mut answer, &asked.unwrap_or_else(|| gather::asked_alone(workload)));
    if let Some(live) = &live {
        gather::set_refusal(&mut answer, live, uid);
        gather::set_queue(&mut answer, live, uid);
        if advise {
            answer.help = advice::help(live, uid);
        }
    }
    let (chain, unknown) = pools(cluster, &workload.spec.pool).await;
    gather::set_pools(&mut answer, &chain);
    if let Some(unknown) = unknown.filter(|unknown| !answer.unknown.contains(unknown)) {
        answer.unknown.push(unknown);
    }
    answer
}

/// A pool and those above it, as far as they may be read, and why not further.
async fn pools(cluster: &Cluster, name: &str) -> (Vec<ResourcePool>, Option<String>) {
    let api: Api<ResourcePool> = Api::all(cluster.client.clone());
    let mut chain = Vec::new();
    let mut next = Some(name.to_owned());
    while let Some(name) = next.take().filter(|_| chain.len() < DEEPEST) {
        match api.get_opt(&name).await {
            Ok(Some(pool)) => {
                next.clone_from(&pool.spec.parent);
                chain.push(pool);
            }
            Ok(None) => {}
            Err(error) => return (chain, Some(in_words(&error, &format!("read pool {name:?}")))),
        }
    }
    (chain, None)
}

#[cfg(test)]
mod tests {
    use super::which;

    #[test]
    fn a_workload_is_named_as_kubectls_users_would() {
        let of = |typed, option| {
            which(typed, option, "here").map(|(namespace, name)| format!("{namespace} {name}"))
        };
        assert_eq!(of("a/b", None).unwrap(), "a b");
        assert_eq!(of("b", None).unwrap(), "here b");
        assert_eq!(of("b", Some("a")).unwrap(), "a b");
        assert_eq!(of("a/b", Some("a")).unwrap(), "a b");
        for (typed, option) in [("a/b", Some("c")), ("a/", None), ("/b", None), ("a/b/c", None), ("", None)] {
            assert!(of(typed, option).is_err(), "{typed:?} {option:?}");
        }
    }
}
