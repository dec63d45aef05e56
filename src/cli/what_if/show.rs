//! What a change does, for a terminal and for a pull request.

use std::fmt::Write as _;

use super::compare::{Comparison, PoolShort};
use crate::cli::say::{self, Table, counted};
use crate::cli::simulate::table::{nodes, time};

/// Rows of one table; a comment has an end.
const ROWS: usize = 100;

/// A heading and its table.
struct Part {
    heading: String,
    table: Table,
    more: usize,
}

fn at(seconds: Option<f64>) -> String {
    seconds.map_or_else(|| "never".to_owned(), |seconds| format!("+{}", time(seconds.max(0.0))))
}

/// One sentence: what matters most.
pub fn verdict(comparison: &Comparison) -> String {
    let mut told = Vec::new();
    let mut add = |count: usize, what: &str| {
        if count > 0 {
            told.push(format!("{} would {what}", counted(count, "workload")));
        }
    };
    add(comparison.evicted.len(), "be evicted");
    add(comparison.never_fit.len(), "never fit");
    add(comparison.never_start.len(), "never start");
    add(comparison.moved.len(), "move");
    add(comparison.later.len(), "start later");
    add(comparison.earlier.len(), "start earlier");
    if told.is_empty() {
        return "Nobody would be disturbed, and nobody would start earlier or later.".to_owned();
    }
    if comparison.evicted.is_empty() {
        told.insert(0, "nobody would be evicted".to_owned());
    }
    let mut sentence = told.join(", ");
    if let Some(first) = sentence.get(..1).map(str::to_uppercase) {
        sentence.replace_range(..1, &first);
    }
    format!("{sentence}.")
}

fn part<T>(heading: String, head: &[&str], all: &[T], row: impl Fn(&T) -> Vec<String>) -> Option<Part> {
    let mut table = Table::with_head(head.iter().map(|one| (*one).to_owned()).collect());
    for one in all.iter().take(ROWS) {
        table.row(row(one));
    }
    (!all.is_empty()).then(|| Part { heading, table, more: all.len().saturating_sub(ROWS) })
}

fn parts(comparison: &Comparison) -> Vec<Part> {
    let Comparison {
        format: _,
        changes: _,
        notes: _,
        evicted,
        never_fit,
        never_start,
        moved,
        later,
        earlier,
        new,
        unchanged: _,
        pools,
        ..
    } = comparison;
    let evicted = part(
        format!("{} would be evicted", counted(evicted.len(), "workload")),
        &["WORKLOAD", "POOL", "WHEN", "WHY", "FOR", "ENDS", "WITHOUT THE CHANGE"],
        evicted,
        |one| {
            vec![
                one.workload.clone(),
                one.pool.clone(),
                at(Some(one.at)),
                one.reason.clone(),
                one.for_whom.clone().unwrap_or_else(|| "-".to_owned()),
                at(one.ends),
                at(one.ended_before),
            ]
        },
    );
    let waits = |heading: String, all| {
        part(heading, &["WORKLOAD", "POOL", "WHY"], all, |one: &super::compare::Waits| {
            vec![one.workload.clone(), one.pool.clone(), one.why.clone()]
        })
    };
    let never_fit = waits(format!("{} would never fit", counted(never_fit.len(), "workload")), never_fit);
    let never_start =
        waits(format!("{} would never start", counted(never_start.len(), "workload")), never_start);
    let moved = part(
        format!("{} would move members to other nodes", counted(moved.len(), "workload")),
        &["WORKLOAD", "POOL", "MOVES"],
        moved,
        |one| vec![one.workload.clone(), one.pool.clone(), one.moves.to_string()],
    );
    let shifted = |heading: String, all| {
        part(
            heading,
            &["WORKLOAD", "POOL", "BEFORE", "AFTER", "DIFFERENCE"],
            all,
            |one: &super::compare::Shifted| {
                let difference = one.before.map_or_else(
                    || "starts at all".to_owned(),
                    |before| {
                        let later = one.after - before;
                        format!("{} {}", time(later.abs()), if later > 0.0 { "later" } else { "earlier" })
                    },
                );
                vec![one.workload.clone(), one.pool.clone(), at(one.before), at(Some(one.after)), difference]
            },
        )
    };
    let later = shifted(format!("{} would start later", counted(later.len(), "workload")), later);
    let earlier = shifted(format!("{} would start earlier", counted(earlier.len(), "workload")), earlier);
    let new = part(
        counted(new.len(), "new workload"),
        &["WORKLOAD", "POOL", "WAITS", "NODES", "WHY"],
        new,
        |one| {
            vec![
                one.workload.clone(),
                one.pool.clone(),
                one.wait.map_or_else(|| "for ever".to_owned(), time),
                nodes(&one.nodes),
                one.why.clone().unwrap_or_else(|| "-".to_owned()),
            ]
        },
    );
    let short =
        |pool: Option<&PoolShort>, say: fn(&PoolShort) -> String| pool.map_or_else(|| "-".to_owned(), say);
    let pools = part(
        "Pools, before and after".to_owned(),
        &["POOL", "MEAN WAIT", "95%", "DONE", "WAIT AT THE END", "USED"],
        pools,
        |one| {
            let both = |say: fn(&PoolShort) -> String| {
                let (before, after) = (short(one.before.as_ref(), say), short(one.after.as_ref(), say));
                if before == after { after } else { format!("{before} -> {after}") }
            };
            vec![
                one.pool.clone(),
                both(|pool| time(pool.wait_seconds.mean)),
                both(|pool| time(pool.wait_seconds.p95)),
                both(|pool| pool.completed.to_string()),
                both(|pool| pool.waiting.to_string()),
                both(|pool| {
                    let all = pool.utilization.iter();
                    all.map(|(name, share)| format!("{name} {}", say::percent(*share)))
                        .collect::<Vec<_>>()
                        .join(", ")
                }),
            ]
        },
    );
    [evicted, never_fit, never_start, moved, later, earlier, new, pools].into_iter().flatten().collect()
}

/// For a terminal.
pub fn text(comparison: &Comparison) -> String {
    let mut text = String::new();
    for note in &comparison.notes {
        let _ = writeln!(text, "note: {note}");
    }
    let _ = writeln!(text, "What if {}?\n\n{}", comparison.changes.join(", "), verdict(comparison));
    for Part { heading, table, more } in parts(comparison) {
        let _ = write!(text, "\n{heading}\n{}", table.text());
        if more > 0 {
            let _ = writeln!(text, "... and {more} more: -o json has all");
        }
    }
    text
}

/// For the comment of a pull request.
pub fn markdown(comparison: &Comparison) -> String {
    let mut text = format!("### What if {}?\n\n**{}**\n", comparison.changes.join(", "), verdict(comparison));
    for note in &comparison.notes {
        let _ = write!(text, "\n> {note}\n");
    }
    for Part { heading, table, more } in parts(comparison) {
        let _ = write!(text, "\n#### {heading}\n\n{}", table.markdown());
        if more > 0 {
            let _ = write!(text, "\n... and {more} more.\n");
        }
    }
    text
}
