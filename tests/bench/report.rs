//! What was measured, as text and as tables for `docs/benchmarks.md`.

use super::Variant;
use super::load::Load;
use super::run::{Run, Who};

/// One run, while the next is prepared.
pub fn one(run: &Run) {
    let rate = |seconds: f64| run.workloads as f64 / seconds;
    println!(
        "{:?} {}: submitted {:.1} s, placed {:.1} s ({:.1}/s), kubelets {:.1} s, written {:.1} s, done {:.1}/s",
        run.who,
        run.round,
        run.submitted,
        run.placed,
        rate(run.placed),
        run.kubelets,
        run.written,
        rate(run.done()),
    );
    let cpu: Vec<String> = run.cpu.iter().map(|(name, seconds)| format!("{name} {seconds:.1}")).collect();
    println!("  CPU s in {:.1} s: {}, everything else {:.1}", run.wall, cpu.join(", "), run.others);
    for (kind, count) in &run.writes {
        println!("  {kind}: {count} ({:.4} a workload)", *count as f64 / run.workloads as f64);
    }
    println!("  refused: {}", run.refused);
    if let Some((most, end)) = run.memory {
        println!("  memory: {most:.1} MiB at most, {end:.1} MiB at the end");
    }
}

/// Least, median and greatest.
fn spread(mut values: Vec<f64>, digits: usize) -> String {
    values.sort_by(f64::total_cmp);
    let at = |index: usize| values.get(index).copied().unwrap_or(f64::NAN);
    let (least, most) = (at(0), at(values.len().saturating_sub(1)));
    format!("{least:.digits$} / {:.digits$} / {most:.digits$}", at(values.len() / 2))
}

/// All runs of one variant.
pub fn all(variant: Variant, load: Load, runs: &[Run]) {
    let of = |who: Who| runs.iter().filter(move |run| run.who == who);
    let per_second =
        |who, time: fn(&Run) -> f64| spread(of(who).map(|run| run.workloads as f64 / time(run)).collect(), 1);
    let ratios = |time: fn(&Run) -> f64| {
        let pairs = of(Who::Bare).filter_map(|bare| {
            let weir = of(Who::Weir).find(|weir| weir.round == bare.round)?;
            Some(100.0 * time(bare) / time(weir))
        });
        spread(pairs.collect(), 0)
    };
    println!(
        "\n### {variant:?}: {} workloads, {} pairs, least / median / greatest\n",
        load.workloads,
        runs.len() / 2
    );
    println!("| | bare client | Weir | Weir in % of the bare client |\n|---|---|---|---|");
    let row = |name: &str, time: fn(&Run) -> f64| {
        let (bare, weir) = (per_second(Who::Bare, time), per_second(Who::Weir, time));
        println!("| {name} | {bare} | {weir} | {} |", ratios(time));
    };
    row("placed a second (until the last pod is bound)", |run| run.placed);
    row("done a second", Run::done);
    let memory: Vec<f64> = of(Who::Weir).filter_map(|run| Some(run.memory?.0)).collect();
    let cpu = |name: &str| {
        let named = move |run: &Run| run.cpu.iter().find(|(of, _)| *of == name).map(|(_, seconds)| *seconds);
        spread(of(Who::Weir).filter_map(named).collect(), 1)
    };
    println!("\noperator: {} MiB at most, {} CPU seconds", spread(memory, 1), cpu("Weir"));
    println!("API server: {} CPU seconds, KWOK: {}\n", cpu("API server"), cpu("KWOK"));
}
