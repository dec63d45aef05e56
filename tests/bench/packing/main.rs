//! How well strategies pack the tasks of a trace: `make bench-packing TRACE=folder`; see `docs/benchmarks.md`.

mod ground;
mod measure;
mod packers;
mod trace;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use measure::{Flow, Full};
use trace::{Task, Trace};

const SEED: u64 = 20_230_710;
/// GPUs that are asked for where demand passes capacity, in percent of those that there are.
const DEMAND: i64 = 130;
/// GPUs that are asked for at the most where tasks come and go, in percent of those that there are.
const CROWD: i64 = 110;
/// What a mean share of all resources is counted in.
const WHOLE: i64 = 1_000_000_000;

fn percent(part: f64) -> String {
    format!("{:.2} %", part * 100.0)
}

/// Tasks come and go.
fn flow(title: &str, trace: &Trace) -> Result<(), String> {
    let bounds = measure::bounds(trace);
    println!("\n{title}: {} nodes, {} tasks\n", trace.nodes.len(), trace.tasks.len());
    println!(
        "| strategy | placed at once | later | never | GPU time served | of the bound | peak GPUs | free GPUs fragmented | deciding took |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    for (name, make) in packers::ALL.iter().filter(|(name, _)| *name != "Optimal, 30 s") {
        let Flow { at_once, later, refused, served, peak, fragmented, of_bound, took } =
            measure::flow(trace, &mut *make(trace), &bounds)?;
        println!(
            "| {name} | {at_once} | {later} | {refused} | {} | {} | {peak} | {} | {:.1} s |",
            percent(served),
            percent(of_bound),
            percent(fragmented),
            took.as_secs_f64()
        );
    }
    Ok(())
}

/// All tasks wait at once, and more is asked for than there is.
fn full(title: &str, trace: &Trace) -> Result<(), String> {
    let tasks: Vec<&Task> = trace.tasks.iter().collect();
    let offered = ground::Ground::of(trace).offered();
    let share = |ask: &[i64; 3]| -> i64 {
        ask.iter().zip(offered).map(|(ask, offered)| WHOLE / 3 * ask / offered.max(1)).sum()
    };
    let gpus = ground::bound(trace, &tasks, |ask| ask[2]).ok_or("the bound on GPUs was not found in time")?;
    let all = ground::bound(trace, &tasks, share).ok_or("the bound on all was not found in time")?;
    let cpus = ground::bound(trace, &tasks, |ask| ask[0]).ok_or("the bound on CPUs was not found in time")?;
    println!("\n{title}: {} nodes, {} tasks", trace.nodes.len(), trace.tasks.len());
    println!(
        "bounds: {gpus} of {} GPUs, {} of {} CPUs, {} in the mean of cpu, memory and GPUs\n",
        offered[2],
        cpus / 1000,
        offered[0] / 1000,
        percent(all as f64 / WHOLE as f64)
    );
    println!(
        "| strategy | tasks come | placed | GPUs | of their bound | CPUs | mean of all | of its bound | free GPUs fragmented | deciding took |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|");
    for (name, make) in packers::ALL {
        for (come, together) in [("all at once", usize::MAX), ("100 at a time", 100), ("one by one", 1)] {
            // Without departures the order alone counts to those that look at one after the other.
            if !name.starts_with("Optimal") && together != usize::MAX {
                continue;
            }
            let Full { placed, allocated, fragmented, took } =
                measure::full(trace, &mut *make(trace), together)?;
            println!(
                "| {name} | {come} | {placed} | {} | {} | {} | {} | {} | {} | {:.1} s |",
                allocated[2],
                percent(allocated[2] as f64 / gpus as f64),
                allocated[0] / 1000,
                percent(share(&allocated) as f64 / WHOLE as f64),
                percent(share(&allocated) as f64 / all as f64),
                percent(fragmented),
                took.as_secs_f64()
            );
        }
    }
    Ok(())
}

fn measure_all(folder: Option<&Path>) -> Result<(), String> {
    let trace = if let Some(folder) = folder {
        Trace::read(folder)?
    } else {
        println!("no TRACE is given: the trace is made up");
        Trace::made_up(120, 1_500, SEED)
    };
    full(&format!("Demand passes capacity ({DEMAND} % of the GPUs)"), &trace.inflated(DEMAND, SEED))?;
    flow("As recorded, tasks that share a GPU counted as if they had it alone", &trace)?;
    let (factor, crowded) = trace.crowded(CROWD);
    flow(&format!("Tasks live {factor} times as long"), &crowded)
}

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let (mut bench, mut folder) = (false, None);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--bench" => bench = true,
            "--trace" => folder = args.next().filter(|folder| !folder.is_empty()).map(PathBuf::from),
            _ => {}
        }
    }
    // `cargo test --all-targets` starts this too, unoptimised.
    if !bench {
        println!("nothing is measured: this is started by `make bench-packing`");
        return ExitCode::SUCCESS;
    }
    match measure_all(folder.as_deref()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("error: {problem}");
            ExitCode::FAILURE
        }
    }
}
