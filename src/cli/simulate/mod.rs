//! `weir simulate`: what will happen to the workloads of some manifests or of a cluster, under a virtual clock.

pub mod html;
pub mod input;
pub mod report;
pub mod table;
pub mod variants;

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, bail, ensure};

use super::load::{Loaded, Source};
use super::say;
use crate::api::Duration;
use crate::model::time::Span;
use crate::simulate::random::Runs;
use crate::simulate::{Settings, simulate};
use report::Report;
use variants::Variant;

/// What `weir simulate` takes.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Where the world is read from.
    #[command(flatten)]
    pub source: Source,

    /// How it is simulated.
    #[command(flatten)]
    pub how: How,

    /// Run all pools that way: fcfs, priority, fairshare, roundrobin; strict, besteffort, backfill; binpack, spread, balanced,
    /// leastfragmentation, optimal; or several joined by +
    #[arg(long, value_name = "WAY")]
    policy: Option<Variant>,

    /// Put several ways side by side, such as declared,fcfs,fairshare+backfill
    #[arg(long, value_name = "WAYS", value_delimiter = ',', conflicts_with = "policy")]
    compare: Vec<Variant>,

    /// How the result is printed; html is one page that needs nothing else
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,

    /// Workloads that the table shows at most
    #[arg(long, value_name = "COUNT", default_value_t = 50)]
    rows: usize,
}

/// How it is simulated.
#[derive(Clone, Debug, clap::Args)]
pub struct How {
    /// Stop after that much simulated time, such as 8h; without it, when nothing more happens
    #[arg(long, value_name = "DURATION", value_parser = say::duration)]
    until: Option<Duration>,

    /// A list of workloads that arrive later
    #[arg(long, value_name = "FILE")]
    arrivals: Option<PathBuf>,

    /// A list of what happens to nodes: they fail, recover, join, leave, are cordoned or drained
    #[arg(long, value_name = "FILE")]
    events: Option<PathBuf>,

    /// How long runs take, compared with what is expected: exactly, times:0.5, uniform:0.5..1.5, exponential, lognormal:0.5
    #[arg(long, value_name = "HOW", default_value = "exactly", value_parser = runs)]
    runs: Runs,

    /// How long workloads run that say nothing of it; without it, for ever
    #[arg(long, value_name = "DURATION", value_parser = say::duration)]
    default_duration: Option<Duration>,

    /// The seed of what is random
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
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
    /// One self-contained page with charts, for a browser.
    Html,
}

fn runs(text: &str) -> anyhow::Result<Runs> {
    const SAYS: &str = "write exactly, times:0.5, uniform:0.5..1.5, exponential or lognormal:0.5";
    let number = |text: &str, most: f64| -> anyhow::Result<f64> {
        let number: f64 = text.parse().with_context(|| format!("{text:?} is no number: {SAYS}"))?;
        ensure!(number > 0.0 && number <= most, "{text} is not above 0 and at most {most}: {SAYS}");
        Ok(number)
    };
    Ok(match text.split_once(':') {
        None if text == "exactly" => Runs::Exactly,
        None if text == "exponential" => Runs::Exponential,
        Some(("times", factor)) => Runs::Times(number(factor, 1000.0)?),
        Some(("lognormal", sigma)) => Runs::LogNormal(number(sigma, 5.0)?),
        Some(("uniform", range)) => {
            let (least, most) =
                range.split_once("..").with_context(|| format!("{range:?} is no range: {SAYS}"))?;
            let (least, most) = (number(least, 1000.0)?, number(most, 1000.0)?);
            ensure!(least <= most, "uniform:{range} ends before it begins: {SAYS}");
            Runs::Uniform(least, most)
        }
        _ => bail!("{text:?} is no distribution: {SAYS}"),
    })
}

impl How {
    /// Settings for the simulator. Workloads that arrive later are taken out of what was loaded.
    ///
    /// # Errors
    /// What is wrong with a list.
    pub fn settings(&self, loaded: &mut Loaded) -> anyhow::Result<Settings> {
        let mut reader = input::Reader::new(loaded, self.seed);
        for path in self.events.iter().chain(&self.arrivals) {
            reader.file(path)?;
        }
        let happenings = reader.done();
        Ok(Settings {
            until: self.until.map(|until| loaded.now + Span(until.as_millis())),
            seed: self.seed,
            runs: self.runs,
            default_duration: self.default_duration.map(|one| Span(one.as_millis())),
            happenings,
            ..Settings::default()
        })
    }
}

/// Says how many workloads declare no duration, and what that means.
pub fn note_endless(loaded: &mut Loaded, settings: &Settings) {
    if settings.default_duration.is_some() {
        return;
    }
    let endless = |spec: &&crate::model::spec::WorkloadSpec| {
        spec.expected_duration.is_none() && !settings.durations.contains_key(&spec.uid)
    };
    let all: Vec<String> = loaded
        .catalog
        .workloads()
        .map(|(_, known)| &known.spec)
        .filter(endless)
        .map(|spec| format!("{}/{}", spec.namespace, spec.name))
        .collect();
    if all.is_empty() {
        return;
    }
    let (declare, run, their) =
        if all.len() == 1 { ("declares", "it runs", "its") } else { ("declare", "they run", "their") };
    loaded.notes.push(format!(
        "{} {declare} no duration, so {run} for ever ({}): write {their} spec.expectedDuration, or give --default-duration",
        say::counted(all.len(), "workload"),
        if all.len() > 4 { format!("{}, ...", all[..4].join(", ")) } else { all.join(", ") }
    ));
}

/// Reads, simulates and prints.
///
/// # Errors
/// What cannot be read.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let mut loaded = args.source.load()?;
    let report = report(args, &mut loaded)?;
    let mut out = std::io::stdout().lock();
    match args.output {
        Output::Table => write!(out, "{}", table::text(&report, args.rows))?,
        Output::Json => writeln!(out, "{}", serde_json::to_string_pretty(&report)?)?,
        Output::Yaml => write!(out, "{}", serde_yaml::to_string(&report)?)?,
        Output::Html => write!(out, "{}", html::page(&report)?)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn report(args: &Args, loaded: &mut Loaded) -> anyhow::Result<Report> {
    let settings = args.how.settings(loaded)?;
    note_endless(loaded, &settings);
    let mut ways = args.compare.clone();
    if ways.is_empty() {
        ways.push(args.policy.clone().unwrap_or_else(Variant::declared));
    }
    let mut report = Report::new(loaded.now, args.how.seed, std::mem::take(&mut loaded.notes));
    // Twice the same is once.
    let mut names = BTreeSet::new();
    ways.retain(|way| names.insert(way.name.clone()));
    if loaded.catalog.workloads().next().is_none() {
        report
            .notes
            .push("there is no workload, so nothing happens: give manifests of workloads with -f".to_owned());
    }
    for way in &ways {
        let (world, notes) = way.applied(loaded);
        report.notes.extend(notes);
        let simulated = simulate(world, loaded.now, settings.clone());
        report.variants.push(report::Variant::of(&way.name, &simulated));
    }
    Ok(report)
}
