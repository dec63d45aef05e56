//! The load program: how fast Weir places work on a real API server, what it writes and what it costs, beside a
//! bare client that makes the same writes on the same cluster. `make bench` runs it; see `docs/benchmarks.md`.

mod audit;
mod client;
mod cluster;
mod load;
mod operator;
mod process;
mod report;
mod run;

use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use clap::{Parser, ValueEnum};

use cluster::Cluster;
use load::Load;
use run::{Bench, Who};

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Variant {
    /// Until the last workload runs; they run on.
    Place,
    /// Until the last workload has finished; each runs for a second.
    Finish,
}

#[derive(Debug, Parser)]
struct Args {
    /// The file `env` of a cluster that was started with --audit
    #[arg(long)]
    env: PathBuf,
    /// The operator
    #[arg(long, default_value = env!("CARGO_BIN_EXE_weir"))]
    weir: PathBuf,
    /// One-pod workloads a run
    #[arg(long, default_value_t = 5000)]
    workloads: usize,
    /// Pairs of runs, the bare client and Weir by turns
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// What to measure, one after another
    #[arg(long, value_enum, default_values_t = [Variant::Place, Variant::Finish])]
    variant: Vec<Variant>,
    /// Workloads submitted at once
    #[arg(long, default_value_t = 64)]
    submitters: usize,
    /// Writes in flight, of the bare client and of the operator
    #[arg(long, default_value_t = 64)]
    in_flight: u16,
    /// Where the operator's logs go
    #[arg(long, default_value = ".")]
    logs: PathBuf,
    /// Set by cargo; without it nothing is measured
    #[arg(long)]
    bench: bool,
}

fn main() -> Result<()> {
    // `cargo test --all-targets` starts this too, and has no cluster for it.
    if !std::env::args().any(|arg| arg == "--bench") {
        println!("nothing is measured: this is started by `make bench`");
        return Ok(());
    }
    let args = Args::parse();
    ensure!(args.bench && args.rounds > 0 && args.workloads > 0, "there is nothing to measure");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(measure(&args))
}

async fn measure(args: &Args) -> Result<()> {
    let cluster = Cluster::open(&args.env).await?;
    let mut bench = Bench::new(cluster, args.weir.clone(), args.in_flight, args.logs.clone());
    println!("{}; {} simulated nodes", process::machine()?, bench.cluster.nodes.len());
    bench.take_sample().await.context("the sample of what the operator writes")?;
    for variant in &args.variant {
        let load = Load {
            workloads: args.workloads,
            submitters: args.submitters,
            ends: *variant == Variant::Finish,
        };
        let mut runs = Vec::new();
        for round in 0..args.rounds {
            // By turns, so that neither always has the younger cluster.
            let order = if round % 2 == 0 { [Who::Bare, Who::Weir] } else { [Who::Weir, Who::Bare] };
            for who in order {
                let run =
                    bench.run(who, round, load).await.with_context(|| format!("{who:?} of round {round}"))?;
                report::one(&run);
                runs.push(run);
            }
        }
        report::all(*variant, load, &runs);
    }
    Ok(())
}
