//! `weir plan`: how many nodes of which kind some work needs, and what they cost at least.

mod fleet;
mod search;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, bail, ensure};
use serde::Deserialize;
use serde_json::json;

use super::load::{Loaded, Source};
use super::output::{self, Output};
use super::say;
use crate::api::Duration;
use crate::api::names::{is_label_value, is_qualified_name};
use crate::api::quantity::{Quantity, counted};
use crate::model::time::Span;
use fleet::Fleet;

/// What `weir plan` takes.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The work: manifests of workloads, of their pools, and of nodes that are there already; a file, or a folder with all below it
    #[arg(long = "for", value_name = "PATH", required = true)]
    work: Vec<PathBuf>,

    /// The kinds of nodes that can be had, with prices
    #[arg(long, value_name = "FILE")]
    kinds: PathBuf,

    /// No workload waits for longer when all is submitted at once, such as 30m; 0s: all run at the same time
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = say::duration)]
    wait: Duration,

    /// How long workloads run that say nothing of it; without it, for ever
    #[arg(long, value_name = "DURATION", value_parser = say::duration)]
    default_duration: Option<Duration>,

    /// How long to look for nodes that do, and then for fewer
    #[arg(long, value_name = "DURATION", default_value = "1m", value_parser = say::duration)]
    time_limit: Duration,

    /// How the result is printed
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

/// The file of kinds.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kinds {
    kinds: Vec<Offer>,
}

/// A kind of nodes that can be had.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Offer {
    /// Its name.
    name: String,
    /// What one costs, in any unit.
    price: f64,
    /// How many can be had; absent: as many as are needed.
    most: Option<u32>,
    /// What one offers.
    allocatable: BTreeMap<String, Quantity>,
    /// Labels of its nodes, beside those that the pools select.
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

fn read(path: &std::path::Path) -> anyhow::Result<Vec<Offer>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let Kinds { kinds } = serde_yaml::from_str(&text).with_context(|| {
        format!(
            "{}: write kinds: [{{name: small, price: 1.5, allocatable: {{cpu: \"16\", memory: 64Gi}}}}]",
            path.display()
        )
    })?;
    ensure!(!kinds.is_empty(), "{}: kinds: write at least one", path.display());
    for (at, kind) in kinds.iter().enumerate() {
        let fine = (1..=40).contains(&kind.name.len())
            && kind
                .name
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
        ensure!(
            fine,
            "kinds[{at}].name: write at most 40 lower-case letters, digits and dashes, not {:?}",
            kind.name
        );
        ensure!(
            !kinds.iter().take(at).any(|other| other.name == kind.name),
            "kinds[{at}].name: another kind is called {:?}: names tell kinds apart",
            kind.name
        );
        let priced = kind.price.is_finite() && kind.price >= 0.001 && kind.price <= 1e9;
        ensure!(priced, "kinds[{at}].price: write a number from 0.001 to 1000000000, not {}", kind.price);
        for (name, value) in &kind.labels {
            ensure!(
                is_qualified_name(name) && is_label_value(value),
                "kinds[{at}].labels: {name:?}: {value:?} is no label: both are at most 63 letters, digits, dashes, dots and underscores, and a name may have a domain and a slash before it"
            );
        }
        for (name, quantity) in &kind.allocatable {
            if let Err(problem) = counted(name, quantity.as_str()) {
                bail!("kinds[{at}].allocatable.{name}: {problem}");
            }
        }
    }
    Ok(kinds)
}

/// Plans.
///
/// # Errors
/// What cannot be read, and why no nodes would do.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let offers = read(&args.kinds)?;
    let source = Source { paths: args.work.clone(), ..Source::default() };
    let loaded: Loaded = source.load()?;
    for note in &loaded.notes {
        eprintln!("note: {note}");
    }
    let wait = Span(args.wait.as_millis());
    let default_duration = args.default_duration.map(|duration| Span(duration.as_millis()));
    let fleet = Fleet::new(loaded, offers, wait, default_duration)?;
    let plan = fleet.plan(args.time_limit.into())?;
    output::print(args.output, &document(&fleet, &plan), |_| table(&fleet, &plan))?;
    Ok(ExitCode::SUCCESS)
}

/// Nodes that would do.
pub struct Plan {
    /// By kind.
    nodes: Vec<u32>,
    /// What they cost.
    cost: f64,
    /// What no nodes cost less than.
    bound: f64,
    /// The longest wait with them.
    longest: Span,
    /// The time was over before fewer were ruled out.
    late: bool,
}

fn table(fleet: &Fleet, plan: &Plan) -> String {
    let mut text = String::new();
    let wide = fleet.offers.iter().map(|offer| offer.name.len()).max().unwrap_or(4).max(4);
    let _ = writeln!(text, "{:<wide$}  {:>6}  {:>10}  {:>12}", "KIND", "NODES", "PRICE", "COST");
    for (offer, count) in fleet.offers.iter().zip(&plan.nodes) {
        let cost = offer.price * f64::from(*count);
        let _ = writeln!(text, "{:<wide$}  {count:>6}  {:>10.2}  {cost:>12.2}", offer.name, offer.price);
    }
    let over = if plan.bound > 0.0 {
        format!(", {:.1}% above the bound", (plan.cost / plan.bound - 1.0).max(0.0) * 100.0)
    } else {
        String::new()
    };
    let _ = writeln!(
        text,
        "\n{:.2} in all; no nodes of these kinds cost less than {:.2} (linear programme){over}",
        plan.cost, plan.bound
    );
    let _ = writeln!(
        text,
        "{} in the simulation of these nodes: the longest wait is {}, and {} was asked for",
        say::counted(fleet.workloads(), "workload"),
        say::span(plan.longest),
        say::span(fleet.wait)
    );
    if plan.late {
        let _ =
            writeln!(text, "the time limit ended the search: with a longer --time-limit fewer may be found");
    }
    if fleet.there > 0 {
        let _ = writeln!(text, "beside {} that the manifests have", say::counted(fleet.there, "node"));
    }
    text
}

fn document(fleet: &Fleet, plan: &Plan) -> serde_json::Value {
    let kinds = fleet.offers.iter().zip(&plan.nodes).map(|(offer, count)| {
        json!({"name": offer.name, "nodes": count, "price": offer.price, "cost": offer.price * f64::from(*count)})
    });
    json!({
        "kinds": kinds.collect::<Vec<_>>(),
        "cost": plan.cost,
        "bound": plan.bound,
        "workloads": fleet.workloads(),
        "longestWaitSeconds": plan.longest.0 / 1000,
        "askedWaitSeconds": fleet.wait.0 / 1000,
        "timeLimitReached": plan.late,
    })
}
