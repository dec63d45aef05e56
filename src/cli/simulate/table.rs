//! A simulation in the terminal.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::report::{GaveWay, Pool, Report, Variant, Workload};
use crate::cli::say::{self, Table, counted};
use crate::model::time::Span;

/// Columns of the bars that show a pool over time.
const BARS: usize = 48;

/// Seconds as people say them.
#[allow(clippy::cast_possible_truncation, reason = "a float that is too large becomes the longest span")]
pub fn time(seconds: f64) -> String {
    say::span(Span((seconds * 1000.0) as i64))
}

fn at(seconds: f64) -> String {
    if seconds < 0.0 { format!("-{}", time(-seconds)) } else { format!("+{}", time(seconds)) }
}

/// All of it; `rows` workloads at most.
pub fn text(report: &Report, rows: usize) -> String {
    let mut text = String::new();
    for note in &report.notes {
        let _ = writeln!(text, "note: {note}");
    }
    if !report.notes.is_empty() {
        text.push('\n');
    }
    if report.variants.len() > 1 {
        side_by_side(report, &mut text);
        return text;
    }
    for variant in &report.variants {
        one(report, variant, rows, &mut text);
    }
    text
}

/// How it ended, in a sentence.
pub fn ending(variant: &Variant) -> String {
    let waiting = variant.workloads.iter().filter(|one| one.outcome == "Waiting").count();
    let running = variant.workloads.iter().filter(|one| one.outcome == "Running").count();
    let say = |count: usize, one: &str, several: &str| match count {
        1 => format!("1 workload {one}"),
        _ => format!("{count} workloads {several}"),
    };
    let how = match variant.stopped {
        "AtRest" if waiting + running == 0 => "everything has ended".to_owned(),
        "AtRest" => format!(
            "nothing more happens: {} for ever, {} for ever",
            say(running, "runs", "run"),
            if waiting == 1 { "1 waits".to_owned() } else { format!("{waiting} wait") }
        ),
        "TimeIsUp" => format!("the time is up: {running} run, {waiting} wait"),
        _ => "it was stopped, since it would go on without end: workloads give way to each other again and again \
              and begin anew. Say --until, or change what makes them give way"
            .to_owned(),
    };
    format!("after {} {how}", time(variant.seconds))
}

fn one(report: &Report, variant: &Variant, rows: usize, text: &mut String) {
    let _ = writeln!(
        text,
        "Simulated {} from {}; {}.\n",
        counted(variant.workloads.len(), "workload"),
        report.start,
        ending(variant)
    );
    text.push_str(&workloads(variant, rows));
    text.push('\n');
    text.push_str(&pools(variant).text());
    text.push('\n');
    over_time(variant, text);
}

fn workloads(variant: &Variant, rows: usize) -> String {
    let mut table = Table::new(["WORKLOAD", "POOL", "ARRIVED", "WAIT", "START", "END", "NODES", "OUTCOME"]);
    for one in variant.workloads.iter().take(rows) {
        table.row(vec![
            one.name.clone(),
            one.pool.clone(),
            at(one.arrived),
            one.wait.map_or_else(|| "-".to_owned(), time),
            one.start.map_or_else(|| "never".to_owned(), at),
            one.end.map_or_else(|| "-".to_owned(), at),
            nodes(&one.nodes),
            outcome(one),
        ]);
    }
    let mut text = table.text();
    if variant.workloads.len() > rows {
        let more = variant.workloads.len() - rows;
        let _ = writeln!(text, "... and {more} more: --rows shows as many as you say, -o json all");
    }
    text
}

/// Nodes with the number of members on each.
pub fn nodes(all: &[String]) -> String {
    let mut count: BTreeMap<&str, usize> = BTreeMap::new();
    for node in all {
        *count.entry(node).or_default() += 1;
    }
    if count.len() > 3 {
        return format!("{} nodes", count.len());
    }
    let each = count
        .iter()
        .map(|(node, count)| if *count > 1 { format!("{node} x{count}") } else { (*node).to_owned() });
    let told = each.collect::<Vec<_>>().join(", ");
    if told.is_empty() { "-".to_owned() } else { told }
}

fn reasons(all: &[GaveWay]) -> String {
    let mut reasons: Vec<&str> = all.iter().map(|one| one.reason).collect();
    reasons.dedup();
    reasons.join(", ")
}

/// How a workload fared, in a line.
pub fn outcome(one: &Workload) -> String {
    let mut told = one.outcome.clone();
    if one.outcome == "Running" && one.duration.is_none() {
        told.push_str(", no duration is known");
    }
    if let Some(why) = &one.why {
        let first = why.split_once(". ").map_or(why.as_str(), |(first, _)| first);
        told = format!("{told}: {first}");
    }
    if one.never_fits {
        told.push_str("; it would not fit even if nothing else was there");
    }
    if !one.gave_way.is_empty() {
        let count = one.gave_way.len();
        let times = if count == 1 { "once".to_owned() } else { format!("{count} times") };
        let _ = write!(told, "; gave way {times} ({})", reasons(&one.gave_way));
    }
    if !one.restarts.is_empty() {
        let count = one.restarts.len();
        let who = if count == 1 { "which" } else { "each of which" };
        let members = counted(count, "member");
        let _ = write!(told, "; evicted {members}, {who} began anew ({})", reasons(&one.restarts));
    }
    if one.losses > 0 {
        let _ = write!(told, "; lost {} with a node", counted(one.losses, "member"));
    }
    if one.moves > 0 {
        let _ = write!(told, "; moved {}", counted(one.moves as usize, "member"));
    }
    told
}

fn pools(variant: &Variant) -> Table {
    let mut table = Table::new([
        "POOL",
        "DONE",
        "FAILED",
        "RUN",
        "WAIT",
        "GAVE WAY",
        "MEAN WAIT",
        "MEDIAN",
        "95%",
        "DONE/HOUR",
        "USED (PEAK)",
    ]);
    for pool in &variant.pools {
        let used: Vec<String> = pool
            .utilization
            .iter()
            .map(|one| format!("{} {} ({})", one.resource, say::percent(one.mean), say::percent(one.peak)))
            .collect();
        let wait = |seconds| wait(pool, seconds);
        table.row(vec![
            pool.name.clone(),
            pool.completed.to_string(),
            pool.failed.to_string(),
            pool.running.to_string(),
            pool.waiting.to_string(),
            pool.evictions.to_string(),
            wait(pool.wait_seconds.mean),
            wait(pool.wait_seconds.median),
            wait(pool.wait_seconds.p95),
            format!("{:.1}", pool.per_hour),
            used.join(", "),
        ]);
    }
    table
}

fn thinned(all: &[f64]) -> Vec<f64> {
    let each = all.len().div_ceil(BARS).max(1);
    all.chunks(each).map(|part| part.iter().sum::<f64>() / part.len() as f64).collect()
}

fn over_time(variant: &Variant, text: &mut String) {
    let mut table = Table::new(["OVER TIME", "", "MOST", ""]);
    for pool in variant.pools.iter().filter(|pool| pool.workloads > 0) {
        let most = pool.series.queued.iter().copied().fold(0.0_f64, f64::max);
        let queued = thinned(&pool.series.queued);
        let shares: Vec<f64> = queued.iter().map(|one| if most > 0.0 { one / most } else { 0.0 }).collect();
        table.row(vec![pool.name.clone(), "queue".to_owned(), format!("{most:.0}"), say::bars(&shares)]);
        for (resource, used) in pool.utilization.iter().zip(&pool.series.used) {
            let most = used.iter().copied().fold(0.0_f64, f64::max);
            table.row(vec![
                pool.name.clone(),
                resource.resource.clone(),
                say::percent(most),
                say::bars(&thinned(used)),
            ]);
        }
    }
    if !table.is_empty() {
        text.push_str(&table.text());
    }
}

/// Roots, or all pools if none is.
fn tops(variant: &Variant) -> Vec<&Pool> {
    variant.pools.iter().filter(|pool| pool.parent.is_none()).collect()
}

fn side_by_side(report: &Report, text: &mut String) {
    let count = report.variants.first().map_or(0, |variant| variant.workloads.len());
    let _ = writeln!(
        text,
        "Simulated {} in {} ways, from {}.\n",
        counted(count, "workload"),
        report.variants.len(),
        report.start
    );
    let mut table = Table::new([
        "WAY",
        "POOL",
        "TOOK",
        "DONE",
        "WAIT",
        "GAVE WAY",
        "MEAN WAIT",
        "MEDIAN",
        "95%",
        "LONGEST",
        "DONE/HOUR",
        "USED",
    ]);
    for variant in &report.variants {
        for pool in tops(variant) {
            let used: Vec<String> = pool
                .utilization
                .iter()
                .map(|one| format!("{} {}", one.resource, say::percent(one.mean)))
                .collect();
            let wait = |seconds| wait(pool, seconds);
            table.row(vec![
                variant.name.clone(),
                pool.name.clone(),
                if variant.stopped == "NoEnd" { "no end".to_owned() } else { time(variant.seconds) },
                pool.completed.to_string(),
                pool.waiting.to_string(),
                pool.evictions.to_string(),
                wait(pool.wait_seconds.mean),
                wait(pool.wait_seconds.median),
                wait(pool.wait_seconds.p95),
                wait(pool.wait_seconds.longest),
                format!("{:.1}", pool.per_hour),
                used.join(", "),
            ]);
        }
    }
    text.push_str(&table.text());
    text.push('\n');
    let mut by_pool = Table::with_head(
        ["POOL", "MEDIAN WAIT:"]
            .iter()
            .map(ToString::to_string)
            .chain(report.variants.iter().map(|variant| variant.name.to_uppercase()))
            .collect(),
    );
    for (number, pool) in report.variants.first().map_or(&[][..], |one| &one.pools).iter().enumerate() {
        if pool.parent.is_none() {
            continue;
        }
        let mut row = vec![pool.name.clone(), String::new()];
        row.extend(report.variants.iter().map(|variant| {
            let waits = variant.pools.get(number).map(|pool| pool.wait_seconds);
            waits.filter(|waits| waits.started > 0).map_or_else(|| "-".to_owned(), |waits| time(waits.median))
        }));
        by_pool.row(row);
    }
    if !by_pool.is_empty() {
        text.push_str(&by_pool.text());
    }
}

/// A waiting time of a pool; none where nothing started.
fn wait(pool: &Pool, seconds: f64) -> String {
    if pool.wait_seconds.started == 0 { "-".to_owned() } else { time(seconds) }
}
