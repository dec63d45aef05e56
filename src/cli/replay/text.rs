//! A replay in the terminal.

use std::fmt::Write as _;

use super::answer::{Answer, Looked, Said};
use crate::cli::say::{self, Table, counted};
use crate::cli::simulate::table;
use crate::model::time::Span;

/// All of it; each part has so many rows at most.
pub fn text(answer: &Answer, rows: usize) -> String {
    let Answer { format: _, dump, notes, before, decisions, again_at, waiting, workload, simulation } =
        answer;
    let mut text = String::new();
    let of = dump.operator.as_ref().map_or(String::new(), |one| format!(" of {one}"));
    let named = if dump.anonymised { ", with pseudonyms" } else { "" };
    let wrote = crate::dump::writer(&dump.version, dump.commit.as_deref());
    let _ = writeln!(text, "A dump{of}, written by {wrote} at {}{named}.", dump.at);
    let phases: Vec<String> =
        dump.workloads.iter().map(|(phase, count)| format!("{count} {}", phase.to_lowercase())).collect();
    let _ = writeln!(
        text,
        "{}, {}, {}{}.",
        counted(dump.pools, "pool"),
        counted(dump.nodes, "node"),
        counted(dump.workloads.values().sum(), "workload"),
        if phases.is_empty() { String::new() } else { format!(" ({})", phases.join(", ")) }
    );
    for note in notes {
        let _ = writeln!(text, "note: {note}");
    }
    if let Some(looked) = workload {
        one(looked, &mut text);
    } else {
        let _ = writeln!(text, "\nDECIDED BEFORE: {}", counted(before.len(), "decision"));
        let first = before.len().saturating_sub(rows);
        if first > 0 {
            let _ = writeln!(text, "  ({first} earlier ones are not shown: --rows)");
        }
        list(&before[first..], 0, &mut text);
        let _ = writeln!(text, "\nDECIDED NOW: {}", counted(decisions.len(), "decision"));
        list(decisions.get(..rows).unwrap_or(decisions), 1, &mut text);
        if decisions.len() > rows {
            let _ = writeln!(text, "  ({} more are not shown: --rows)", decisions.len() - rows);
        }
        if let Some(at) = again_at {
            let _ = writeln!(text, "  and again at {at}, if nothing happens before");
        }
        let _ = writeln!(text, "\nWAITING: {}", counted(waiting.len(), "workload"));
        let mut table = Table::new(["POOL", "PLACE", "WORKLOAD", "PRIORITY", "WAITS", "REASON", "WHY"]);
        for one in waiting.iter().take(rows) {
            table.row(vec![
                one.pool.clone(),
                one.position.map_or("-".to_owned(), |at| at.to_string()),
                one.workload.clone(),
                one.priority.to_string(),
                say::span(Span::seconds(one.seconds)),
                one.reason.to_owned(),
                one.message.clone(),
            ]);
        }
        if !waiting.is_empty() {
            text.push_str(&table.text());
        }
        if waiting.len() > rows {
            let _ = writeln!(text, "({} more are not shown: --rows)", waiting.len() - rows);
        }
    }
    if let Some(report) = simulation {
        text.push('\n');
        text.push_str(&table::text(report, rows));
    }
    text
}

/// Decisions, numbered from `first`, or with their times where that is 0.
fn list(decisions: &[Said], first: usize, text: &mut String) {
    for (at, one) in decisions.iter().enumerate() {
        let Said { at: time, decision, workload, text: words } = one;
        let mark = if first == 0 { time.clone() } else { format!("{}.", at + first) };
        let _ = writeln!(text, "  {mark} {decision} {workload}: {words}");
    }
}

fn one(looked: &Looked, text: &mut String) {
    let Looked {
        workload,
        uid,
        pool,
        phase,
        text: words,
        remembered,
        asks,
        members_wanted,
        members,
        pools,
        decisions,
    } = looked;
    let asks: Vec<String> = asks.iter().map(|(name, amount)| format!("{name} {amount}")).collect();
    let _ = writeln!(text, "\n{workload} ({uid}) in pool {pool}: {phase}\n  {words}");
    for words in remembered {
        let _ = writeln!(text, "  {words}");
    }
    let _ = writeln!(
        text,
        "  wants {}, each with {}",
        counted(*members_wanted as usize, "member"),
        asks.join(", ")
    );
    for member in members {
        let _ = writeln!(text, "  {member}");
    }
    let mut table = Table::new(["POOL", "RESOURCE", "ALLOCATED", "LIMIT", "AVAILABLE"]);
    for room in pools {
        let limit = room.limit.clone().unwrap_or_else(|| "none".to_owned());
        table.row(vec![
            room.pool.clone(),
            room.resource.clone(),
            room.allocated.clone(),
            limit,
            room.available.clone(),
        ]);
    }
    if !pools.is_empty() {
        let _ = write!(text, "\n{}", table.text());
    }
    let _ = writeln!(text, "\nDECIDED OF IT: {}", counted(decisions.len(), "decision"));
    list(decisions, 0, text);
}
