//! The answer for people.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::answer::{Answer, Help, Queue, Suggestion};
use super::gather::{UNSEEN, laggards};
use crate::api::Quantity;
use crate::cli::output::{columns, counted, span};

/// Most nodes that are named.
const MOST_NODES: usize = 8;

/// Everything, a paragraph each.
pub fn text(answer: &Answer) -> String {
    let mut text = head(answer);
    let paragraphs = [
        Some(asks(answer)),
        members(answer),
        queue(answer),
        pools(answer),
        nodes(answer),
        evicted(answer),
        help(answer),
    ];
    for paragraph in paragraphs.into_iter().flatten() {
        let _ = write!(text, "\n{paragraph}");
    }
    if !answer.unknown.is_empty() {
        text.push('\n');
    }
    for one in &answer.unknown {
        let _ = writeln!(text, "Not known: {one}.");
    }
    text
}

/// What it does, for how long, and why.
fn head(answer: &Answer) -> String {
    let does = match answer.phase.as_str() {
        UNSEEN => "has not been looked at",
        "Queued" => "waits",
        "Starting" => "is admitted, and starts",
        "Running" => "runs",
        "Migrating" => "runs, and moves to other nodes",
        "Suspended" => "is suspended",
        "Succeeded" => "has succeeded",
        _ => "has failed",
    };
    let ended = matches!(answer.phase.as_str(), "Succeeded" | "Failed");
    let when = match answer.for_seconds {
        Some(seconds) if ended => format!(", {} ago", span(seconds)),
        Some(seconds) => format!(", for {} now", span(seconds)),
        None => String::new(),
    };
    let reason = answer
        .reason
        .as_ref()
        .filter(|reason| **reason != answer.phase)
        .map(|reason| format!(": {reason}"))
        .unwrap_or_default();
    let mut text = format!("{} {does} in pool {}{when}{reason}\n", answer.workload, answer.pool);
    if !answer.message.is_empty() {
        let _ = writeln!(text, "  {}", answer.message);
    }
    if let Some(to_do) = answer.to_do.filter(|to_do| *to_do != "Nothing.") {
        let _ = writeln!(text, "  What to do: {to_do}");
    }
    text
}

fn listed(amounts: &BTreeMap<String, Quantity>) -> String {
    amounts.iter().map(|(name, amount)| format!("{} {name}", amount.as_str())).collect::<Vec<_>>().join(", ")
}

fn asks(answer: &Answer) -> String {
    let members = &answer.members;
    let size = match (members.wanted, members.least) {
        (1, _) => "1 member".to_owned(),
        (wanted, least) if wanted == least => format!("{wanted} members, all of them or none"),
        (wanted, least) => format!("{wanted} members, at least {least} of them"),
    };
    let each = match listed(&members.each) {
        nothing if nothing.is_empty() => String::new(),
        each if members.wanted == 1 => format!(": {each}"),
        each if members.least == 1 => format!(": {each} each"),
        each => format!(": {each} each, {} in all", listed(&members.together)),
    };
    format!("Asks for {size}{each} (priority {})\n", answer.priority)
}

fn members(answer: &Answer) -> Option<String> {
    if answer.placements.is_empty() {
        return None;
    }
    let members = &answer.members;
    let mut text = format!("Members  {} of {} run", members.running, members.wanted);
    for (count, what) in [(members.succeeded, "succeeded"), (members.failed, "failed")] {
        if count > 0 {
            let _ = write!(text, ", {count} {what}");
        }
    }
    let mut on: BTreeMap<&str, usize> = BTreeMap::new();
    for node in answer.placements.iter().filter_map(|one| one.node.as_deref()) {
        *on.entry(node).or_default() += 1;
    }
    if !on.is_empty() {
        let named = on.iter().take(MOST_NODES).map(|(node, count)| match count {
            1 => (*node).to_owned(),
            count => format!("{node} ({count})"),
        });
        let _ = write!(text, "; on {}", named.collect::<Vec<_>>().join(", "));
        if let Some(more) = on.len().checked_sub(MOST_NODES).filter(|more| *more > 0) {
            let _ = write!(text, " and {more} more");
        }
    }
    text.push('\n');
    if let Some(held) = &answer.allocation {
        let all = held.resources.iter().map(|(name, amount)| format!("{name} {}", amount.as_str()));
        let _ = writeln!(text, "Charged  {}", all.collect::<Vec<_>>().join(", "));
        if let Some(overhead) = &held.memory_overhead {
            let _ = writeln!(
                text,
                "         of the memory {} is what KubeVirt adds to the guests'",
                overhead.as_str()
            );
        }
    }
    if !matches!(answer.phase.as_str(), "Succeeded" | "Failed") {
        for (state, count) in laggards(answer) {
            let first = answer.placements.iter().find(|one| one.state == state);
            let named = first.map(|one| format!(", such as {}", one.name)).unwrap_or_default();
            let _ = writeln!(text, "         {count} {state:?}{named}");
        }
    }
    Some(text)
}

fn queue(answer: &Answer) -> Option<String> {
    let Queue { position, length, policy, estimated_start, ahead } = answer.queue.as_ref()?;
    let of = length.map(|length| format!(" of {length}")).unwrap_or_default();
    let by = policy.as_ref().map(|policy| format!(", by policy {policy}")).unwrap_or_default();
    let mut text = format!("Queue    it is {position}{of}{by}");
    text.push_str(if *position == 1 { "; nothing is ahead\n" } else { "\n" });
    if let Some(start) = estimated_start {
        let clock = |time: &Time| time.0.strftime("%Y-%m-%d %H:%M:%SZ").to_string();
        let _ = writeln!(
            text,
            "         likely to start at {}, at the earliest at {}",
            clock(&start.likely),
            clock(&start.earliest)
        );
    }
    for one in ahead {
        let asks = listed(&one.together);
        let _ = writeln!(
            text,
            "         ahead: {} (priority {}{}{asks})",
            one.workload,
            one.priority,
            if asks.is_empty() { "" } else { "; " }
        );
    }
    if let Some(more) = position.checked_sub(1 + ahead.len()).filter(|more| *more > 0 && !ahead.is_empty()) {
        let _ = writeln!(text, "         and {more} more");
    }
    Some(text)
}

fn pools(answer: &Answer) -> Option<String> {
    if !matches!(answer.phase.as_str(), "Queued" | UNSEEN) {
        return None;
    }
    let or_dash =
        |amount: &Option<Quantity>| amount.as_ref().map_or("-", |amount| amount.as_str()).to_owned();
    let rows: Vec<Vec<String>> = answer
        .pools
        .iter()
        .flat_map(|pool| {
            pool.resources.iter().enumerate().map(move |(at, one)| {
                vec![
                    if at == 0 { pool.name.clone() } else { String::new() },
                    one.name.clone(),
                    or_dash(&one.reservation),
                    or_dash(&one.limit),
                    or_dash(&one.allocated),
                    or_dash(&one.available),
                    one.asked.as_str().to_owned(),
                    one.lacks.as_ref().map_or_else(String::new, |lacks| lacks.as_str().to_owned()),
                ]
            })
        })
        .collect();
    let heading = ["POOL", "RESOURCE", "RESERVED", "LIMIT", "ALLOCATED", "AVAILABLE", "ASKED", "LACKS"];
    (!rows.is_empty()).then(|| columns(&heading, &rows))
}

fn nodes(answer: &Answer) -> Option<String> {
    let nodes = answer.nodes.as_ref()?;
    let refused: i32 = nodes.rejected.iter().map(|one| one.count).sum();
    let mut text = format!(
        "Nodes    {} of {} would take a member\n",
        nodes.total.saturating_sub(refused).max(0),
        nodes.total
    );
    for one in &nodes.rejected {
        let _ = writeln!(text, "         {:>5}  {}", one.count, one.reason);
    }
    Some(text)
}

fn evicted(answer: &Answer) -> Option<String> {
    let told = answer.evicted.as_ref()?;
    let times = usize::try_from(answer.evictions).unwrap_or_default().max(1);
    Some(format!("Evicted  {} so far; last {told}\n", counted(times, "time")))
}

fn help(answer: &Answer) -> Option<String> {
    let Help { tried, would_help } = answer.help.as_ref()?;
    if would_help.is_empty() {
        return Some(format!(
            "What would help: none of {} that were tried on a copy of the cluster is enough by itself\n",
            counted(*tried, "change")
        ));
    }
    let mut text =
        "What would help, each by itself (tried on a copy of the cluster; nothing was changed)\n".to_owned();
    for Suggestion { change, then, at_the_cost_of } in would_help {
        let cost = match at_the_cost_of.len() {
            0 => String::new(),
            count => {
                let first: Vec<&str> = at_the_cost_of.iter().take(3).map(String::as_str).collect();
                let more = count.checked_sub(first.len()).filter(|more| *more > 0);
                let more = more.map(|more| format!(" and {more} more")).unwrap_or_default();
                format!("; at the cost of {}{more}", first.join(", "))
            }
        };
        let _ = writeln!(text, "  - {change}: {then}{cost}");
    }
    Some(text)
}
