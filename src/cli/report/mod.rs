//! `weir report`: what pools use, borrow and leave idle, how long work waits, and what needs attention; from the objects of
//! a cluster or a folder, from metrics-server where it is there, and from Prometheus where one is given. Nothing is written.

mod answer;
mod gather;
mod history;
mod prometheus;
pub mod queries;
mod seen;
mod text;
mod usage;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, bail, ensure};
use clap_complete::engine::ArgValueCompleter;
use jiff::Timestamp;

use super::output::{self, Output};
use super::page::page;
use super::{check, cluster, complete, say};
use crate::model::time::Span;
pub use answer::Report;
use seen::Seen;

const PAGE: &str = include_str!("page.html");
/// Most names that are offered where a pool is not there.
const MOST_NAMES: usize = 10;

/// What `weir report` takes.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  weir report                                             all pools, the last seven days
  weir report --pool research --since 24h --html r.html   one pool and those below it, and a page with charts
  weir report --prometheus http://localhost:9090          with what Prometheus has seen
  weir report -f dump/ --at 2026-11-25T04:00:00Z          from objects that kubectl get -o yaml wrote then")]
pub struct Args {
    /// Only this pool and those below it
    #[arg(long, value_name = "NAME", add = ArgValueCompleter::new(complete::pools))]
    pool: Option<String>,

    /// How far back to look, such as 12h, 7d or 1d12h
    #[arg(long, value_name = "DURATION", default_value = "7d", value_parser = since)]
    since: Span,

    /// Write the report to this file, too: one page with charts that needs nothing else
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    html: Option<PathBuf>,

    /// Rows that a table shows at most
    #[arg(long, value_name = "COUNT", default_value_t = 20)]
    rows: usize,

    /// How the report is printed
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,

    /// Objects with their statuses, as `kubectl get -o yaml` writes them, in place of a cluster: a file, a folder with all below
    /// it, or -; may be given several times
    #[arg(short = 'f', long = "filename", value_name = "PATH", conflicts_with_all = ["kubeconfig", "context", "namespace"])]
    paths: Vec<PathBuf>,

    /// When the objects of -f were written, such as 2026-11-25T04:00:00Z; default: now
    #[arg(long, value_name = "TIME", requires = "paths", value_parser = at)]
    at: Option<Timestamp>,

    /// Which Prometheus.
    #[command(flatten)]
    prometheus: prometheus::Args,

    #[command(flatten)]
    cluster: cluster::Args,
}

fn at(text: &str) -> Result<Timestamp, String> {
    text.parse().map_err(|_| {
        format!("{text:?} is no time: write one with a day, an hour and a zone, such as 2026-11-25T04:00:00Z")
    })
}

/// How far back to look: days, and what is less.
fn since(text: &str) -> Result<Span, String> {
    const DAY: i64 = 24 * 60;
    let span = Span(say::duration(text)?.as_millis());
    if span < Span::minutes(1) || span > Span::minutes(366 * DAY) {
        return Err(format!("{text} is too short or too long: write between 1m and 366d"));
    }
    Ok(span)
}

/// Reads, reckons, prints and writes.
///
/// # Errors
/// Where there is nothing to report, or the page cannot be written.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let report = cluster::block_on(report(args))?;
    output::print(args.output, &report, |report| text::text(report, args.rows))?;
    if let Some(path) = &args.html {
        let html = page(PAGE, &serde_json::to_string(&report)?);
        std::fs::write(path, html)
            .with_context(|| format!("the page cannot be written to {}", path.display()))?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn report(args: &Args) -> anyhow::Result<Report> {
    // What is wrong with the address is told before a cluster is read.
    let prometheus = prometheus::Prometheus::new(&args.prometheus)?;
    let (mut seen, client) = if args.paths.is_empty() {
        let cluster = args.cluster.connect().await?;
        let namespace = args.cluster.namespace.as_deref();
        (seen::of_cluster(&cluster, namespace).await?, Some(cluster.client))
    } else {
        (seen::of_files(&args.paths, args.at)?, None)
    };
    let all = gather::pool_names(&seen);
    check_pools(&seen, &all, args.pool.as_deref())?;
    let scope = gather::Scope::of(&seen, args.pool.as_deref(), args.since);
    let mut report = gather::report(&mut seen, &scope);
    match &prometheus {
        Some(prometheus) => {
            let (told, usage) = history::ask(prometheus, &seen, &scope).await;
            report.unknown.extend(told.unknown.clone());
            history::add(&mut report, &told);
            if let Some(readings) = usage {
                usage::add(&mut report, &seen, &scope, &readings);
            }
        }
        None => match &client {
            Some(client) => match usage::of_metrics_server(client).await {
                Ok(readings) => usage::add(&mut report, &seen, &scope, &readings),
                Err(usage::Without::NotThere(note)) => report.notes.push(note),
                Err(usage::Without::Refused(why)) => report.unknown.push(why),
            },
            None => report.notes.push(
                "requests are not compared with use: that takes a cluster with metrics-server, or --prometheus".to_owned(),
            ),
        },
    }
    Ok(report)
}

/// There is something to report, and the pool that is asked for is there.
fn check_pools(seen: &Seen, all: &[String], pool: Option<&str>) -> anyhow::Result<()> {
    if all.is_empty() {
        ensure!(seen.unknown.is_empty(), "nothing can be reported: {}", seen.unknown.join("; "));
        bail!("there are no pools and no workloads: create a ResourcePool first (docs/start.md)");
    }
    let Some(pool) = pool.filter(|pool| !all.iter().any(|one| one == pool)) else { return Ok(()) };
    let names = || all.iter().map(String::as_str);
    let near = check::schema::nearest(pool, names());
    let hint = match near {
        Some(near) => format!("did you mean {near}?"),
        None if all.len() <= MOST_NAMES => format!("write one of {}", all.join(", ")),
        None => format!("{} are there, among them {}", all.len(), all[..MOST_NAMES].join(", ")),
    };
    let unknown =
        if seen.unknown.is_empty() { String::new() } else { format!("; {}", seen.unknown.join("; ")) };
    bail!("there is no pool {pool:?}: {hint}{unknown}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_understood_and_nonsense_is_told() {
        for (text, minutes) in [("7d", 10_080), ("12h", 720), ("1d12h", 2160), ("90m", 90), ("1m", 1)] {
            assert_eq!(since(text), Ok(Span::minutes(minutes)), "{text}");
        }
        for text in ["", "d", "7", "-1d", "7d7", "a week", "1.5d", "d7h", "99999999999d"] {
            assert!(since(text).unwrap_err().contains("is not a length of time: write days"), "{text}");
        }
        for text in ["0", "59s", "0d", "367d", "100000d"] {
            assert!(since(text).unwrap_err().contains("write between 1m and 366d"), "{text}");
        }
    }
}
