//! What would help a workload that waits: changes that people could make, each tried on a copy of the world by the
//! same deciding that the operator does. What does not help is not told.

mod raise;
mod trial;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::answer::{Help, Suggestion};
use crate::api::quantity::shown_amount;
use crate::cli::live::Live;
use crate::cli::output::counted;
use crate::model::amount::Amount;
use crate::model::delta::Delta;
use crate::model::refusal::Refusal;
use crate::model::spec::{NodeSpec, ShapeSpec};
use trial::{Bench, Outcome};

/// Most workloads whose end is tried one by one, and most that are named.
const MOST_ENDS: usize = 24;
const NAMED_ENDS: usize = 2;
/// Most names in a sentence.
const MOST_NAMES: usize = 5;
const MOST_NODES: usize = 3;
/// Kinds of nodes, and how many more of one, are tried.
const KINDS: usize = 4;
const MORE: [u32; 5] = [1, 2, 4, 8, 16];

/// What would help; none where the workload does not wait in the world.
pub fn help(live: &Live, uid: &str) -> Option<Help> {
    let mut bench = Bench::new(live, uid)?;
    let refusal = match bench.as_it_is() {
        Outcome::Waits(refusal) => *refusal,
        outcome => {
            let as_it_is = told("nothing has to change: by what the cluster holds now".to_owned(), &outcome);
            return as_it_is.map(|change| Help { tried: 0, would_help: vec![change] });
        }
    };
    if !may_pass(&refusal) {
        return None;
    }
    let mut found = Vec::new();
    for propose in [raise::raise, fewer, smaller, priority, nodes, uncordon, shorter, ends] {
        if bench.has_time() {
            found.extend(propose(&mut bench, &refusal));
        }
    }
    Some(Help { tried: bench.tried, would_help: found })
}

/// Whether anything that is tried here could help: where it is not allowed to run, or its template is wrong, somebody
/// must change just that.
fn may_pass(refusal: &Refusal) -> bool {
    match refusal {
        Refusal::QueuedBehind(_)
        | Refusal::PoolHeld(_)
        | Refusal::ExceedsLimit { .. }
        | Refusal::QueueFull { .. }
        | Refusal::TooManyRunning { .. }
        | Refusal::WaitingForQuota { .. }
        | Refusal::WouldDelay { .. }
        | Refusal::NoFittingNode(_)
        | Refusal::Fragmented { .. } => true,
        Refusal::NotTried
        | Refusal::PoolNotFound
        | Refusal::PoolStalled(_)
        | Refusal::PoolDeleting(_)
        | Refusal::NamespaceNotAllowed
        | Refusal::PriorityNotAllowed(..)
        | Refusal::RuntimeNotAllowed(_)
        | Refusal::KubeVirtNotInstalled
        | Refusal::InvalidTemplate(_)
        | Refusal::RequestMissing(_)
        | Refusal::RateLimited { .. }
        | Refusal::WaitingForPreempted(_)
        | Refusal::WaitingForMoves { .. }
        | Refusal::CreateRefused { .. } => false,
    }
}

/// A change with what it leads to, if it helps.
fn told(change: String, outcome: &Outcome) -> Option<Suggestion> {
    let (then, cost) = match outcome {
        Outcome::Starts { nodes, cost } if nodes.len() <= MOST_NODES => {
            (format!("it starts at once on {}", some(nodes.iter().map(AsRef::as_ref))), cost)
        }
        Outcome::Starts { nodes, cost } => (format!("it starts at once, on {} nodes", nodes.len()), cost),
        Outcome::MakesRoom(cost) if cost.is_empty() => ("room is made for it at once".to_owned(), cost),
        Outcome::MakesRoom(cost) => ("it starts as soon as they have ended".to_owned(), cost),
        Outcome::Waits(_) | Outcome::Gone => return None,
    };
    Some(Suggestion { change, then, at_the_cost_of: cost.iter().cloned().collect() })
}

/// Names in a sentence: all of a few, else the first and how many more.
fn some<'a>(names: impl ExactSizeIterator<Item = &'a str>) -> String {
    let count = names.len();
    let shown: Vec<&str> = names.take(MOST_NAMES).collect();
    match count.saturating_sub(shown.len()) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// A gang that starts with fewer members.
fn fewer(bench: &mut Bench<'_>, _: &Refusal) -> Vec<Suggestion> {
    let least = bench.spec.min_replicas;
    // The most members with which it would start: more are not easier to place.
    let (mut good, mut bad) = (0, least);
    let mut best = None;
    while bad - good > 1 && bench.has_time() {
        let middle = good.midpoint(bad);
        let outcome = bench.attempt(bench.changed(|spec| spec.min_replicas = middle));
        if outcome.helps() {
            (good, best) = (middle, Some(outcome));
        } else {
            bad = middle;
        }
    }
    let change =
        format!("start it with {good} of its {} members (spec.minReplicas: {good})", bench.spec.replicas);
    best.and_then(|outcome| told(change, &outcome)).into_iter().collect()
}

/// Members that ask for less of what there is too little of.
fn smaller(bench: &mut Bench<'_>, refusal: &Refusal) -> Vec<Suggestion> {
    let Ok(shape) = bench.spec.shape.clone() else { return Vec::new() };
    let mut less: BTreeMap<Arc<str>, Amount> = BTreeMap::new();
    let mut asked = String::new();
    for _ in 0..3 {
        let outcome = if less.is_empty() {
            Outcome::Waits(Box::new(refusal.clone()))
        } else {
            let requests = less.clone();
            let shape =
                Arc::new(ShapeSpec { requests: with(&shape.requests, &requests), ..(*shape).clone() });
            bench.attempt(bench.changed(|spec| spec.shape = Ok(shape)))
        };
        if outcome.helps() {
            return told(format!("ask for at most {asked} a member"), &outcome).into_iter().collect();
        }
        let Outcome::Waits(refusal) = outcome else { return Vec::new() };
        let before = less.len();
        for (name, most) in raise::room(bench, &refusal, shape.requests.keys()) {
            let now = shape.requests.get(&name).copied().unwrap_or_default();
            if most.units() > 0 && most < now && !less.contains_key(&name) {
                less.insert(name, most);
            }
        }
        if less.len() == before {
            return Vec::new();
        }
        let each = less.iter().map(|(name, most)| format!("{} {name}", shown_amount(name, most.units()).0));
        asked = each.collect::<Vec<_>>().join(" and ");
    }
    Vec::new()
}

fn with(
    requests: &BTreeMap<Arc<str>, Amount>,
    less: &BTreeMap<Arc<str>, Amount>,
) -> BTreeMap<Arc<str>, Amount> {
    requests.iter().map(|(name, amount)| (Arc::clone(name), *less.get(name).unwrap_or(amount))).collect()
}

/// A higher priority, the least that helps.
fn priority(bench: &mut Bench<'_>, _: &Refusal) -> Vec<Suggestion> {
    let Some((_, most)) = bench.pool(&bench.spec.pool).map(|pool| pool.priority_range) else {
        return Vec::new();
    };
    let own = bench.spec.priority;
    let others = bench.world().by_pool.get(&bench.spec.pool).into_iter().flatten();
    let levels: BTreeSet<i32> = others
        .filter_map(|id| bench.world().workload(*id))
        .filter(|other| other.spec.uid != bench.spec.uid)
        .map(|other| other.spec.priority.saturating_add(1))
        .filter(|level| *level > own && *level <= most)
        .collect();
    let levels: Vec<i32> = levels.into_iter().collect();
    let attempt = |bench: &mut Bench<'_>, level| {
        let changed = bench.changed(|spec| spec.priority = level);
        bench.attempt(changed)
    };
    // A higher priority never makes it worse: the least is found by halves.
    let (mut low, mut high) = (0, levels.len());
    let mut best = None;
    while low < high && bench.has_time() {
        let middle = low.midpoint(high);
        let outcome = attempt(bench, levels[middle]);
        if outcome.helps() {
            best = Some((levels[middle], outcome));
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    let change = |level| format!("give it priority {level} or more (it has {own})");
    best.and_then(|(level, outcome)| told(change(level), &outcome)).into_iter().collect()
}

/// More nodes like those that are there, the kind of which fewest are needed.
fn nodes(bench: &mut Bench<'_>, _: &Refusal) -> Vec<Suggestion> {
    more_nodes(bench, &[]).and_then(|(change, outcome)| told(change, &outcome)).into_iter().collect()
}

/// How many more nodes are needed beside other changes, and what happens then.
fn more_nodes(bench: &mut Bench<'_>, beside: &[Delta]) -> Option<(String, Outcome)> {
    let mut kinds: Vec<&NodeSpec> = Vec::new();
    for node in bench.nodes() {
        let is_known =
            kinds.iter().any(|kind| kind.allocatable == node.allocatable && kind.taints == node.taints);
        if !is_known && !node.unschedulable {
            kinds.push(node);
        }
    }
    let mut best: Option<(u32, &NodeSpec, Outcome)> = None;
    for kind in kinds.into_iter().take(KINDS) {
        for count in MORE {
            if best.as_ref().is_some_and(|(fewest, ..)| *fewest <= count) || !bench.has_time() {
                break;
            }
            let outcome = bench.attempt(beside.iter().cloned().chain(more(kind, count)).collect());
            if outcome.helps() {
                best = Some((count, kind, outcome));
                break;
            }
        }
    }
    best.map(|(count, kind, outcome)| {
        (format!("add {} like {}", counted(count as usize, "node"), kind.name), outcome)
    })
}

fn more(kind: &NodeSpec, count: u32) -> Vec<Delta> {
    let one = |number: u32| {
        let mut node = kind.clone();
        node.name = format!("{}-more-{number}", kind.name).into();
        node.not_ready_since = None;
        if let Some(host) = node.labels.get_mut("kubernetes.io/hostname") {
            *host = Arc::clone(&node.name);
        }
        Delta::Node(Box::new(node))
    };
    (1..=count).map(one).collect()
}

/// Nodes that are cordoned, all of them, then one.
fn uncordon(bench: &mut Bench<'_>, _: &Refusal) -> Vec<Suggestion> {
    let cordoned: Vec<NodeSpec> =
        bench.nodes().into_iter().filter(|node| node.unschedulable).cloned().collect();
    let open = |node: &NodeSpec| Delta::Node(Box::new(NodeSpec { unschedulable: false, ..node.clone() }));
    let mut found = Vec::new();
    if cordoned.is_empty() {
        return found;
    }
    for node in cordoned.iter().take(KINDS) {
        let outcome = bench.attempt(vec![open(node)]);
        found.extend(told(format!("uncordon {}", node.name), &outcome));
        if !found.is_empty() {
            return found;
        }
    }
    let outcome = bench.attempt(cordoned.iter().map(open).collect());
    found.extend(told(format!("uncordon {}", some(cordoned.iter().map(|node| &*node.name))), &outcome));
    found
}

/// A declared duration, where that lets it pass the head of the queue.
fn shorter(bench: &mut Bench<'_>, refusal: &Refusal) -> Vec<Suggestion> {
    let Refusal::WouldDelay { due, .. } = refusal else { return Vec::new() };
    let left = *due - bench.now();
    // A round number below, so that it still holds when somebody has typed it.
    let minutes = (left.0 / 60_000).saturating_sub(1);
    if minutes < 1 {
        return Vec::new();
    }
    let duration = crate::model::time::Span(minutes * 60_000);
    let outcome = bench.attempt(bench.changed(|spec| spec.expected_duration = Some(duration)));
    told(
        format!(
            "declare that it runs for at most {minutes}m, if it does (spec.expectedDuration: {minutes}m)"
        ),
        &outcome,
    )
    .into_iter()
    .collect()
}

/// The end of a workload that runs.
fn ends(bench: &mut Bench<'_>, _: &Refusal) -> Vec<Suggestion> {
    let mut found = Vec::new();
    for uid in bench.running().into_iter().take(MOST_ENDS) {
        if found.len() >= NAMED_ENDS || !bench.has_time() {
            break;
        }
        let Some((title, priority)) = bench.titled(&uid) else { continue };
        let outcome = bench.attempt(bench.without(&uid));
        found
            .extend(told(format!("wait for the end of {title} (priority {priority}), or stop it"), &outcome));
    }
    found
}
