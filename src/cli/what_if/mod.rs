//! `weir what-if`: who starts earlier or later, gives way, moves or never fits if pools, workloads or nodes change.
//!
//! It simulates twice from the same beginning: once as things are, once with the change a second later. What is there at the
//! beginning runs then, as far as it fits, so that a change shows whom it would disturb.

mod compare;
mod show;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::ensure;

use super::load::{Loaded, Source};
use super::simulate::input::{choice, like};
use super::simulate::report::Variant;
use super::simulate::{How, note_endless};
use crate::model::delta::Delta;
use crate::model::time::{Span, Time};
use crate::simulate::happening::Happening;
use crate::simulate::simulate;
use compare::Comparison;

/// How long after the beginning the change comes.
const CHANGE_AFTER: Span = Span::seconds(1);

/// The exit code when somebody would be evicted.
pub const EVICTED: u8 = 2;
/// The exit code when it cannot be told.
pub const FAILED: u8 = 1;

/// What `weir what-if` takes.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Where the world is read from.
    #[command(flatten)]
    source: Source,

    /// Manifests that are applied: changed or new pools, workloads, nodes; a file or a folder; may be given several times
    #[arg(long = "with", value_name = "PATH")]
    with: Vec<PathBuf>,

    /// A node that is drained; may be given several times
    #[arg(long, value_name = "NODE")]
    drain: Vec<String>,

    /// A node that is gone at once; may be given several times
    #[arg(long, value_name = "NODE")]
    without: Vec<String>,

    /// So many nodes that join
    #[arg(long, value_name = "COUNT", requires = "like")]
    add_nodes: Option<u32>,

    /// The node that those that join are like
    #[arg(long, value_name = "NODE", requires = "add_nodes")]
    like: Option<String>,

    /// How it is simulated.
    #[command(flatten)]
    how: How,

    /// How the result is printed
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

/// How the result is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Output {
    /// For people, in a terminal.
    #[default]
    Table,
    /// One JSON object, for programs.
    Json,
    /// One YAML document.
    Yaml,
    /// For the comment of a pull request.
    Markdown,
}

/// Reads, simulates twice, and prints what is different. Exits with 2 if somebody would be evicted, and with 1 if it cannot be told.
///
/// # Errors
/// Where nothing can be printed.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let comparison = match comparison(args) {
        Ok(comparison) => comparison,
        Err(error) => {
            eprintln!("error: {error:#}");
            return Ok(ExitCode::from(FAILED));
        }
    };
    let mut out = std::io::stdout().lock();
    match args.output {
        Output::Table => write!(out, "{}", show::text(&comparison))?,
        Output::Json => writeln!(out, "{}", serde_json::to_string_pretty(&comparison)?)?,
        Output::Yaml => write!(out, "{}", serde_yaml::to_string(&comparison)?)?,
        Output::Markdown => write!(out, "{}", show::markdown(&comparison))?,
    }
    Ok(ExitCode::from(if comparison.evicted.is_empty() { 0 } else { EVICTED }))
}

fn comparison(args: &Args) -> anyhow::Result<Comparison> {
    let mut loaded = args.source.load()?;
    let mut settings = args.how.settings(&mut loaded)?;
    let at = loaded.now + CHANGE_AFTER;
    let before = simulate(loaded.world.clone(), loaded.now, settings.clone());
    let (words, changes) = changes(args, &mut loaded, at)?;
    note_endless(&mut loaded, &settings);
    settings.happenings.extend(changes);
    let after = simulate(loaded.world.clone(), loaded.now, settings);
    let (before, after) = (Variant::of("before", &before), Variant::of("after", &after));
    Ok(Comparison::of(words, loaded.notes, &before, &after))
}

type Happenings = Vec<(Time, Happening)>;

/// What changes, in words and for the simulator.
fn changes(args: &Args, loaded: &mut Loaded, at: Time) -> anyhow::Result<(Vec<String>, Happenings)> {
    let mut words = Vec::new();
    let mut found = Vec::new();
    if !args.with.is_empty() {
        for delta in loaded.changes(&args.with)? {
            words.extend(named(&delta));
            found.push((at, Happening::Told(Box::new(delta))));
        }
    }
    let known = |loaded: &Loaded, flag: &str, name: &str| {
        ensure!(
            loaded.node_spec(name).is_some(),
            "{flag}: there is no node {name:?}: write {}",
            choice(&loaded.node_names())
        );
        Ok(())
    };
    for name in &args.drain {
        known(loaded, "--drain", name)?;
        words.push(format!("node {name} is drained"));
        found.push((at, Happening::Drain(name.as_str().into())));
    }
    for name in &args.without {
        known(loaded, "--without", name)?;
        words.push(format!("node {name} is gone"));
        found.push((at, Happening::Leave(name.as_str().into())));
    }
    if let (Some(count), Some(name)) = (args.add_nodes, &args.like) {
        known(loaded, "--like", name)?;
        ensure!((1..=100_000).contains(&count), "--add-nodes: write a number from 1 to 100000");
        words.push(format!("{} like {name} join", super::say::counted(count as usize, "node")));
        if let Some(model) = loaded.node_spec(name) {
            for number in 1..=count {
                let spec = like(&model, &format!("{name}-new-{number}"));
                found.push((at, Happening::Join(Box::new(spec))));
            }
        }
    }
    ensure!(
        !words.is_empty(),
        "nothing changes: give --with FILE, --drain NODE, --without NODE, or --add-nodes COUNT --like NODE"
    );
    Ok((words, found))
}

/// What is applied, in words.
fn named(delta: &Delta) -> Option<String> {
    match delta {
        Delta::Pool(spec) => Some(format!("pool {} is applied", spec.name)),
        Delta::Node(spec) => Some(format!("node {} is applied", spec.name)),
        Delta::Workload(spec) => Some(format!("workload {}/{} is applied", spec.namespace, spec.name)),
        _ => None,
    }
}
