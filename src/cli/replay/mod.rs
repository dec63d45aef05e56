//! `weir replay`: what the operator decides of the world of a dump, decision by decision, and why the others wait.
//!
//! The world is taken as it was, and decided on at the time at which it was taken, until nothing more follows; with
//! `--until` it goes on under a virtual clock. Nothing but the file is looked at.

mod answer;
mod sentence;
mod tally;
mod text;

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};

use super::output::{self, Output};
use crate::api::Duration;
use crate::dump::Dump;
use crate::model::time::Span;

/// What `weir replay` takes.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  weir replay world.json                         what is decided now, and why the others wait
  weir replay world.json --why team/train        the same of one workload
  weir replay world.json --until 8h              and what would come of it in the next 8 hours
  weir replay world.json --anonymise > bug.json  a dump with pseudonyms that decides the same")]
pub struct Args {
    /// A dump of /debug/world, or - for standard input
    #[arg(value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    file: PathBuf,

    /// Look at one workload: NAMESPACE/NAME, as the dump names it
    #[arg(long, value_name = "WORKLOAD")]
    why: Option<String>,

    /// Go on under a virtual clock for that long, such as 8h: what is decided comes true, and runs for as long as it is expected to
    #[arg(long, value_name = "DURATION")]
    until: Option<Duration>,

    /// With --until: how long workloads run of which nothing is known; without it, for ever
    #[arg(long, value_name = "DURATION", requires = "until")]
    default_duration: Option<Duration>,

    /// Print the dump with pseudonyms for all that was named by people, in the same order: it decides the same
    #[arg(long, visible_alias = "anonymize", conflicts_with_all = ["why", "until", "output", "rows"])]
    anonymise: bool,

    /// Also replay what another version of weir wrote, which may have decided otherwise
    #[arg(long)]
    any_version: bool,

    /// How the answer is printed
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,

    /// Rows that each part of the table has at most
    #[arg(long, value_name = "COUNT", default_value_t = 50)]
    rows: usize,
}

/// Reads, decides and prints.
///
/// # Errors
/// Where the file is no dump that this version can use.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let name = if args.file == Path::new("-") {
        "standard input".to_owned()
    } else {
        args.file.display().to_string()
    };
    let text = read(&args.file).with_context(|| format!("cannot read {name}"))?;
    let dump = Dump::read(&text, args.any_version).with_context(|| name.clone())?;
    drop(text);
    if args.anonymise {
        let (veiled, _) = dump.anonymised()?;
        let mut out = std::io::stdout().lock();
        out.write_all(veiled.text()?.as_bytes())?;
        out.flush()?;
        return Ok(ExitCode::SUCCESS);
    }
    let goes_on = args.until.map(|until| answer::GoesOn {
        span: Span(until.as_millis()),
        default_duration: args.default_duration.map(|one| Span(one.as_millis())),
    });
    let answer = answer::of(dump, args.why.as_deref(), goes_on)?;
    output::print(args.output, &answer, |answer| text::text(answer, args.rows))?;
    Ok(ExitCode::SUCCESS)
}

fn read(path: &Path) -> anyhow::Result<String> {
    let mut bytes = Vec::new();
    if path == Path::new("-") {
        std::io::stdin().lock().read_to_end(&mut bytes)?;
    } else {
        bytes = std::fs::read(path)?;
    }
    if bytes.starts_with(&[0x1f, 0x8b]) {
        bail!("it is compressed: give it to weir as gunzip -c FILE | weir replay -");
    }
    String::from_utf8(bytes).context("it is no text, and so no dump of Weir")
}
