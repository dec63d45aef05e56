//! A report for people, in a terminal: first what needs attention, then a table for each question.

use std::collections::BTreeMap;
use std::fmt::{Display, Write as _};

use super::answer::{
    Attention, BorrowingRow, FreeRow, HistoryRow, IdleRow, PoolRow, Report, ResourceRow, Spans, Usage,
    UseRow, WorkloadsRow,
};
use crate::api::quantity::{Quantity, counted};
use crate::cli::output::{columns, counted as so_many, span};
use crate::model::amount::Amount;
use crate::plan::reason::friendly_amount;

const NONE: &str = "-";

/// The report; tables show `rows` rows at most.
pub fn text(report: &Report, rows: usize) -> String {
    let mut text = String::new();
    let since = span(report.since_seconds);
    let pools = so_many(report.pools.len(), "pool");
    let _ = writeln!(text, "{pools} at {}, and the last {since}", report.at);
    attention(&mut text, &report.attention);
    utilisation(&mut text, &report.pools);
    waiting(&mut text, &report.pools);
    runs(&mut text, &report.pools, report.since_seconds);
    borrowing(&mut text, &report.borrowing, rows);
    idle(&mut text, &report.idle_reservations, rows);
    free(&mut text, &report.pools);
    if let Some(usage) = &report.usage {
        used(&mut text, usage, rows);
    }
    optimal(&mut text, &report.pools);
    for note in &report.notes {
        let _ = write!(text, "\nNote: {note}");
    }
    for unknown in &report.unknown {
        let _ = write!(text, "\nNot known: {unknown}");
    }
    if !report.notes.is_empty() || !report.unknown.is_empty() {
        text.push('\n');
    }
    text
}

fn attention(text: &mut String, all: &[Attention]) {
    if all.is_empty() {
        text.push_str("\nNothing needs attention: no pool warns of anything.\n");
        return;
    }
    text.push_str("\nNEEDS ATTENTION\n");
    for Attention { pool, kind, reason, message, action } in all {
        let _ = writeln!(text, "- pool {pool}: {kind} ({reason}): {message}");
        if !action.is_empty() {
            let _ = writeln!(text, "  What to do: {action}");
        }
    }
}

/// A table under a title; it is left out where it has no rows.
fn table(text: &mut String, title: &str, heading: &[&str], rows: Vec<Vec<String>>, most: usize) {
    if rows.is_empty() {
        return;
    }
    let more = rows.len().saturating_sub(most);
    let shown: Vec<Vec<String>> = rows.into_iter().take(most).collect();
    let _ = write!(text, "\n{title}\n{}", columns(heading, &shown));
    if more > 0 {
        let _ = writeln!(text, "and {more} more: --rows shows more of them");
    }
}

fn or_none(of: Option<impl Display>) -> String {
    of.map_or_else(|| NONE.to_owned(), |one| one.to_string())
}

fn percent(of: Option<i64>) -> String {
    of.map_or_else(|| NONE.to_owned(), |one| format!("{one}%"))
}

/// An amount as people say it.
fn say(resource: &str, quantity: &str) -> String {
    let units = counted(resource, Quantity::from(quantity).as_str());
    units.map_or_else(|_| quantity.to_owned(), |units| friendly_amount(resource, Amount::new(units)))
}

fn may_say(resource: &str, quantity: Option<&String>) -> String {
    quantity.map_or_else(|| NONE.to_owned(), |quantity| say(resource, quantity))
}

/// A pool, further to the right the deeper it is.
fn name_of(pool: &PoolRow) -> String {
    format!("{}{}", "  ".repeat(pool.depth), pool.name)
}

fn utilisation(text: &mut String, pools: &[PoolRow]) {
    let has_history = pools.iter().flat_map(|pool| &pool.resources).any(|one| one.history.is_some());
    let mut heading = vec!["POOL", "RESOURCE", "CAPACITY", "RESERVED", "LIMIT", "ALLOCATED", "USED"];
    if has_history {
        heading.extend(["MEAN", "95%", "PEAK"]);
    }
    heading.push("EXHAUSTED");
    let mut rows = Vec::new();
    for pool in pools {
        for (at, one) in pool.resources.iter().enumerate() {
            let ResourceRow {
                name,
                capacity,
                reservation,
                limit,
                allocated,
                pending: _,
                percent: now,
                exhausted_at,
                history,
            } = one;
            let mut row = vec![
                if at == 0 { name_of(pool) } else { String::new() },
                name.clone(),
                may_say(name, capacity.as_ref()),
                may_say(name, reservation.as_ref()),
                may_say(name, limit.as_ref()),
                say(name, allocated),
                percent(*now),
            ];
            if has_history {
                let of = history.as_ref();
                row.extend(
                    [of.map(|one| one.mean), of.map(|one| one.p95), of.map(|one| one.peak)].map(percent),
                );
            }
            let by_history = history.as_ref().and_then(|one| one.exhausted_at.as_ref());
            row.push(match (exhausted_at, by_history) {
                (Some(at), _) => at.clone(),
                (None, Some(at)) => format!("{at} (Prometheus)"),
                (None, None) => NONE.to_owned(),
            });
            rows.push(row);
        }
    }
    let title = "USE (USED is of the limit, or of the capacity where there is none; EXHAUSTED by the trend)";
    table(text, title, &heading, rows, usize::MAX);
}

fn times(of: &Spans) -> [String; 3] {
    if of.count == 0 { [NONE; 3].map(str::to_owned) } else { [of.mean, of.median, of.p95].map(span) }
}

fn listed<T: Display>(counts: &BTreeMap<String, T>) -> String {
    let each: Vec<String> = counts.iter().map(|(reason, count)| format!("{reason} {count}")).collect();
    if each.is_empty() { NONE.to_owned() } else { each.join(", ") }
}

fn waiting(text: &mut String, pools: &[PoolRow]) {
    let mut rows = Vec::new();
    let mut unknown = 0;
    for pool in pools {
        let WorkloadsRow { waiting, longest_waiting, waiting_for, waits, waits_unknown, .. } =
            &pool.workloads;
        if pool.depth == 0 {
            unknown += waits_unknown;
        }
        let longest =
            longest_waiting.as_ref().map(|who| format!("{} ({who})", span(waiting.longest.unwrap_or(0))));
        let [mean, median, p95] = times(waits);
        rows.push(vec![
            name_of(pool),
            waiting.count.to_string(),
            or_none(longest),
            waits.count.to_string(),
            mean,
            median,
            p95,
            listed(waiting_for),
        ]);
    }
    let heading = ["POOL", "WAIT NOW", "LONGEST", "STARTED", "MEAN", "MEDIAN", "95%", "WAIT FOR"];
    table(
        text,
        "WAITING (of those that started and are still there: from their creation until they ran)",
        &heading,
        rows,
        usize::MAX,
    );
    if unknown > 0 {
        let (had, their) =
            if unknown == 1 { ("is left out: it", "its") } else { ("are left out: they", "their") };
        let starts = so_many(unknown, "start");
        let _ = writeln!(
            text,
            "{starts} {had} had been evicted before, and nobody notes when {their} last wait began"
        );
    }
    told(text, pools);
}

/// What Prometheus has seen of workloads.
fn told(text: &mut String, pools: &[PoolRow]) {
    let each = pools.iter().filter_map(|pool| Some((pool, pool.history.as_ref()?)));
    let of = each.filter(|(_, one)| one.waits.is_some() || !one.evictions.is_empty() || !one.ends.is_empty());
    let row = |(pool, one): (&PoolRow, &HistoryRow)| {
        let HistoryRow { at: _, queued: _, waits, evictions, ends } = one;
        let waits = waits.unwrap_or_default();
        let [mean, median, p95] = times(&waits);
        vec![name_of(pool), waits.count.to_string(), mean, median, p95, listed(evictions), listed(ends)]
    };
    let heading = ["POOL", "ADMITTED", "MEAN", "MEDIAN", "95%", "EVICTED", "ENDED"];
    let title = "WAITING, AS PROMETHEUS HAS SEEN IT (the pool's own workloads, those that are deleted, too)";
    table(text, title, &heading, of.map(row).collect(), usize::MAX);
}

fn runs(text: &mut String, pools: &[PoolRow], since: i64) {
    let mut rows = Vec::new();
    for pool in pools {
        let WorkloadsRow {
            running,
            runs,
            covered_seconds,
            succeeded,
            failed,
            ends: _,
            succeeded_a_day,
            evictions,
            evicted,
            ..
        } = &pool.workloads;
        let [mean, median, p95] = times(runs);
        rows.push(vec![
            name_of(pool),
            running.to_string(),
            succeeded.to_string(),
            failed.to_string(),
            or_none(succeeded_a_day.map(|count| format!("{count:.1}"))),
            mean,
            median,
            p95,
            span(*covered_seconds),
            evictions.to_string(),
            listed(evicted),
        ]);
    }
    let heading = [
        "POOL",
        "RUN NOW",
        "DONE",
        "FAILED",
        "DONE A DAY",
        "MEAN",
        "MEDIAN",
        "95%",
        "COVERED",
        "EVICTIONS",
        "FOR",
    ];
    table(text, "RUNS", &heading, rows, usize::MAX);
    if let Some(least) =
        pools.iter().map(|pool| pool.workloads.covered_seconds).min().filter(|least| *least < since)
    {
        let _ = writeln!(
            text,
            "Workloads that were deleted, by ttlAfterFinished or by hand, are not in this; the least that is covered is {}",
            span(least)
        );
    }
}

fn borrowing(text: &mut String, all: &[BorrowingRow], most: usize) {
    let row = |one: &BorrowingRow| {
        let BorrowingRow { resource, borrower, own, amount, from, lender } = one;
        vec![
            if *own { format!("{borrower} (its own workloads)") } else { borrower.clone() },
            resource.clone(),
            say(resource, amount),
            match *from {
                "Pool" => lender.clone(),
                "Unreserved" => format!("nobody: {lender} has it beyond its children's reservations"),
                _ => format!("what {lender} itself borrows"),
            },
        ]
    };
    table(
        text,
        "BORROWED NOW",
        &["BORROWER", "RESOURCE", "AMOUNT", "FROM"],
        all.iter().map(row).collect(),
        most,
    );
}

fn idle(text: &mut String, all: &[IdleRow], most: usize) {
    let knows = all.iter().any(|one| one.never_used.is_some());
    let mut heading =
        vec!["POOL", "RESOURCE", "RESERVED", "ALLOCATED", "UNUSED", "OF ALL", "LENT", "IDLE SINCE"];
    if knows {
        heading.push("NEVER USED");
    }
    let row = |one: &IdleRow| {
        let IdleRow {
            pool,
            resource,
            reservation,
            allocated,
            unused,
            lent,
            percent_of_tree,
            idle_since,
            never_used,
        } = one;
        let mut row = vec![
            pool.clone(),
            resource.clone(),
            say(resource, reservation),
            say(resource, allocated),
            say(resource, unused),
            format!("{percent_of_tree:.1}%"),
            say(resource, lent),
            or_none(idle_since.as_ref()),
        ];
        if knows {
            row.push(may_say(resource, never_used.as_ref()));
        }
        row
    };
    let title = "RESERVED AND UNUSED, dearest first (OF ALL: in percent of what the tree has)";
    table(text, title, &heading, all.iter().map(row).collect(), most);
}

fn free(text: &mut String, pools: &[PoolRow]) {
    let each = pools.iter().flat_map(|pool| pool.free.iter().map(move |one| (pool, one)));
    let row = |(pool, one): (&PoolRow, &FreeRow)| {
        let FreeRow { resource, free, largest, nodes, stranded, stranded_percent } = one;
        vec![
            pool.name.clone(),
            resource.clone(),
            say(resource, free),
            nodes.to_string(),
            say(resource, largest),
            say(resource, stranded),
            percent(*stranded_percent),
        ]
    };
    let title =
        "FREE ON NODES (STRANDED: of no use to the workloads that are known, on average over their kinds)";
    let heading = ["POOL", "RESOURCE", "FREE", "ON NODES", "LARGEST BLOCK", "STRANDED", "OF FREE"];
    table(text, title, &heading, each.map(row).collect(), usize::MAX);
}

fn used(text: &mut String, usage: &Usage, most: usize) {
    let Usage { source, pools, workloads, pods } = usage;
    let row = |one: &UseRow| {
        let UseRow { name, pool: _, resource, pods, requested, used, peak, percent: of, verdict } = one;
        vec![
            name.clone(),
            (*resource).to_owned(),
            pods.to_string(),
            say(resource, requested),
            say(resource, used),
            may_say(resource, peak.as_ref()),
            percent(*of),
            match verdict {
                Some("Over") => "asks for more than twice what it uses".to_owned(),
                Some("Under") => "uses more than it asks for".to_owned(),
                _ => String::new(),
            },
        ]
    };
    let heading =
        |what: &'static str| [what, "RESOURCE", "PODS", "REQUESTED", "USED", "PEAK", "OF REQUEST", ""];
    let title = format!("REQUESTS AND USE, BY POOL ({source}; {})", so_many(*pods, "pod"));
    table(text, &title, &heading("POOL"), pools.iter().map(row).collect(), usize::MAX);
    let wrong = workloads.iter().filter(|one| one.verdict != Some("Fits"));
    let title = "REQUESTS THAT DO NOT FIT, worst first";
    table(text, title, &heading("WORKLOAD"), wrong.map(row).collect(), most);
}

fn optimal(text: &mut String, pools: &[PoolRow]) {
    let each = pools.iter().filter_map(|pool| Some((pool, pool.optimal.as_ref()?)));
    let rows = each.map(|(pool, of)| {
        vec![
            pool.name.clone(),
            of.considered.to_string(),
            of.admitted.to_string(),
            or_none(of.gap.as_ref()),
            or_none(of.gain.as_ref()),
            of.result.clone(),
        ]
    });
    let heading = ["POOL", "CONSIDERED", "ADMITTED", "GAP TO THE BOUND", "BETTER THAN BALANCED", "SEARCH"];
    table(
        text,
        "STRATEGY OPTIMAL, the last batch of which something was admitted",
        &heading,
        rows.collect(),
        usize::MAX,
    );
}
