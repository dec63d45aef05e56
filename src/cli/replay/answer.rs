//! What a dump comes to: one value that is printed as a table, JSON or YAML.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::bail;
use serde::Serialize;

use super::sentence::sentence;
use super::tally::Tally;
use crate::cli::load::stamp;
use crate::cli::output::title;
use crate::cli::say;
use crate::cli::simulate::report::{Report, Variant};
use crate::decide::decision::Decision;
use crate::dump::{self, Dump, Head};
use crate::model::amount::Limit;
use crate::model::ids::WorkloadId;
use crate::model::report::{MemberState, WorkloadPhase, WorkloadReport};
use crate::model::spec::{Strategy, WorkloadSpec};
use crate::model::time::{Span, Time};
use crate::model::workloads::{Phase, Workload};
use crate::model::world::World;
use crate::optimise::decide_and_solve;
use crate::plan::reason::{self, Refused, friendly_amount, of_finish, of_refusal, of_stop};
use crate::simulate::{Settings, simulate};

/// At one time it is decided so often at most.
const MOST_ROUNDS: usize = 1000;
/// So many names are offered where a workload is not there.
const MOST_NAMES: usize = 10;

/// All of it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Answer {
    /// The shape of this object: it changes when fields change their meaning.
    pub format: &'static str,
    /// Who wrote the dump.
    pub dump: About,
    /// What a reader should know.
    pub notes: Vec<String>,
    /// What was decided before the dump was taken, the last last.
    pub before: Vec<Said>,
    /// What is decided of the dump, in order.
    pub decisions: Vec<Said>,
    /// When it is decided again even if nothing happens.
    pub again_at: Option<String>,
    /// Who waits then, in the order of pools and queues.
    pub waiting: Vec<Waiting>,
    /// The workload that was asked about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workload: Option<Looked>,
    /// What comes of it later.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub simulation: Option<Report>,
}

/// Where a dump is from.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct About {
    /// Version that wrote it.
    pub version: String,
    /// Commit of that version, where it is told.
    pub commit: Option<String>,
    /// The version that replays it, where that is another.
    pub replayed_by: Option<String>,
    /// When it was taken.
    pub at: String,
    /// Of whom, where it is told.
    pub operator: Option<String>,
    /// Whether names are pseudonyms.
    pub anonymised: bool,
    /// How many pools it has.
    pub pools: usize,
    /// How many nodes.
    pub nodes: usize,
    /// How many workloads by where they are.
    pub workloads: BTreeMap<&'static str, usize>,
}

/// One decision.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Said {
    /// When.
    pub at: String,
    /// What, in a word.
    pub decision: &'static str,
    /// Whose (`namespace/name`, or the UID where it is not known).
    pub workload: String,
    /// What and why.
    pub text: String,
}

/// One that waits.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Waiting {
    /// `namespace/name`.
    pub workload: String,
    /// Its pool.
    pub pool: String,
    /// Its place in the pool's queue, if it is in it.
    pub position: Option<u32>,
    /// Its priority.
    pub priority: i32,
    /// Since when.
    pub since: String,
    /// How long, in seconds.
    pub seconds: i64,
    /// The documented reason.
    pub reason: &'static str,
    /// In words and numbers.
    pub message: String,
}

/// One workload from near.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Looked {
    /// `namespace/name`.
    pub workload: String,
    /// UID.
    pub uid: String,
    /// Its pool.
    pub pool: String,
    /// `Queued`, `Admitted`, `Stopping`, `Suspended` or `Finished`.
    pub phase: &'static str,
    /// In words and numbers.
    pub text: String,
    /// What else is remembered of it: its place in the queue, evictions, failures.
    pub remembered: Vec<String>,
    /// What each member asks for.
    pub asks: BTreeMap<String, String>,
    /// Members wanted.
    pub members_wanted: u32,
    /// Members that there are: index, node and what each does.
    pub members: Vec<String>,
    /// The pool and those above it: by resource, what is allocated of what may be.
    pub pools: Vec<Room>,
    /// What was and is decided of it.
    pub decisions: Vec<Said>,
}

/// What a pool has of a resource.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Room {
    /// The pool.
    pub pool: String,
    /// The resource.
    pub resource: String,
    /// Allocated.
    pub allocated: String,
    /// Its bound, if it has one.
    pub limit: Option<String>,
    /// What could be admitted.
    pub available: String,
}

/// How it goes on.
#[derive(Clone, Copy, Debug)]
pub struct GoesOn {
    /// For how long.
    pub span: Span,
    /// How long workloads run of which nothing is known.
    pub default_duration: Option<Span>,
}

/// Replays a dump.
///
/// # Errors
/// Where it has no workload of the name that is asked about.
pub fn of(dump: Dump, why: Option<&str>, goes_on: Option<GoesOn>) -> anyhow::Result<Answer> {
    let Dump { head, state } = dump;
    let dump::State { decided: before, durations, mut world } = state;
    let now = head.at;
    let asked = why.map(|title| find(&world, title)).transpose()?;
    let mut notes = notes(&head, &world);
    let begin = goes_on.map(|goes_on| (world.clone(), goes_on));
    let about = about(&head, &world);
    let before: Vec<(Arc<str>, Said)> = before
        .iter()
        .map(|one| {
            let dump::Decided { at, title, waited, decision } = one;
            let text = sentence(decision, &world, *waited);
            (Arc::clone(decision.workload()), said(decision, title.as_deref(), &world, *at, text))
        })
        .collect();
    let mut tally = Tally::of(&mut world);
    let mut made = Vec::new();
    let mut again_at = None;
    for round in 0..=MOST_ROUNDS {
        // Whoever is gone afterwards is named as before.
        let known = world.clone();
        let decided = decide_and_solve(&mut world, now);
        again_at = decided.wake_at;
        made.extend(decided.decisions.iter().map(|one| {
            let text = sentence(one, &known, dump::waited(one, &known, now)) + &tally.count(one, &known);
            (Arc::clone(one.workload()), said(one, None, &known, now, text))
        }));
        if decided.decisions.is_empty() {
            break;
        }
        if round == MOST_ROUNDS {
            notes.push(format!(
                "it was decided {MOST_ROUNDS} times at one time, and there is no end of it: this is a fault"
            ));
        }
    }
    let workload = asked.and_then(|uid| looked(&mut world, &uid, &before, &made, now));
    let simulation = begin.map(|(world, goes_on)| later(world, now, goes_on, durations));
    Ok(Answer {
        format: "weir.dev/replay/v1",
        dump: about,
        notes,
        before: before.into_iter().map(|(_, said)| said).collect(),
        decisions: made.into_iter().map(|(_, said)| said).collect(),
        again_at: again_at.map(stamp),
        waiting: waiting(&world, now),
        workload,
        simulation,
    })
}

fn later(world: World, now: Time, goes_on: GoesOn, durations: BTreeMap<Arc<str>, Span>) -> Report {
    let settings = Settings {
        until: Some(now + goes_on.span),
        default_duration: goes_on.default_duration,
        durations,
        ..Settings::default()
    };
    let mut report = Report::new(now, settings.seed, Vec::new());
    report.variants.push(Variant::of("replayed", &simulate(world, now, settings)));
    report
}

fn notes(head: &Head, world: &World) -> Vec<String> {
    let mut notes = Vec::new();
    if head.version != dump::VERSION {
        notes.push(format!(
            "the dump was written by {}, and this is {}: it may have decided otherwise",
            dump::writer(&head.version, head.commit.as_deref()),
            dump::this_one()
        ));
    } else if head.commit.as_deref() != dump::COMMIT {
        notes.push(format!(
            "the dump was written by another build ({}) than this one ({}): it may have decided otherwise",
            dump::writer(&head.version, head.commit.as_deref()),
            dump::this_one()
        ));
    }
    if !world.is_settled() {
        notes.push(
            "the operator had not read all lists yet when the dump was taken, so that nothing is decided"
                .to_owned(),
        );
    }
    let optimal: Vec<&str> = world
        .pools
        .iter()
        .filter(|(_, pool)| pool.spec.strategy == Strategy::Optimal)
        .map(|(_, pool)| &*pool.spec.name)
        .collect();
    if !optimal.is_empty() {
        notes.push(format!(
            "of strategy Optimal ({}): what it asks is solved anew here; where the time limit ended a search, another answer may have been found",
            optimal.join(", ")
        ));
    }
    for (_, pool) in world.pools.iter().filter(|(_, pool)| pool.planning.asked.is_some()) {
        notes.push(format!(
            "pool {}: its batch was being solved when the dump was taken, and nothing of it is admitted before the answer is there; with --until it is asked about again",
            pool.spec.name
        ));
    }
    for fault in world.clone().audit() {
        notes.push(format!("the world contradicts itself, which is a fault of Weir: {fault}"));
    }
    notes
}

fn about(head: &Head, world: &World) -> About {
    let Head { format: _, version, commit, at, operator, anonymised, sum: _ } = head;
    let mut workloads = BTreeMap::new();
    for (_, one) in world.workloads.iter().filter(|(_, one)| !one.gone) {
        *workloads.entry(phase_of(&one.phase)).or_default() += 1;
    }
    About {
        version: version.clone(),
        commit: commit.clone(),
        replayed_by: (version != dump::VERSION || commit.as_deref() != dump::COMMIT).then(dump::this_one),
        at: stamp(*at),
        operator: operator.clone(),
        anonymised: *anonymised,
        pools: world.pools.iter().count(),
        nodes: world.nodes.iter().filter(|(_, node)| node.spec.is_some()).count(),
        workloads,
    }
}

fn phase_of(phase: &Phase) -> &'static str {
    match phase {
        Phase::Queued { .. } => "Queued",
        Phase::Admitted { .. } => "Admitted",
        Phase::Stopping { .. } => "Stopping",
        Phase::Suspended => "Suspended",
        Phase::Finished { .. } => "Finished",
    }
}

fn said(decision: &Decision, known_as: Option<&str>, world: &World, at: Time, text: String) -> Said {
    let uid = decision.workload();
    let known = world.workload_ids.get(uid).and_then(|id| world.workload(*id));
    let workload = known_as.map(ToOwned::to_owned).or_else(|| Some(known?.title().to_string()));
    Said {
        at: stamp(at),
        decision: decision.word(),
        workload: workload.unwrap_or_else(|| uid.to_string()),
        text,
    }
}

fn titled(spec: &WorkloadSpec) -> String {
    title(&spec.namespace, &spec.name)
}

/// The UID of a workload by what it is called.
fn find(world: &World, wanted: &str) -> anyhow::Result<Arc<str>> {
    let mut all = world.workloads.iter().map(|(_, one)| one).filter(|one| !one.gone);
    if let Some(found) = all.find(|one| titled(&one.spec) == wanted) {
        return Ok(Arc::clone(&found.spec.uid));
    }
    let mut names: Vec<String> = world.workloads.iter().map(|(_, one)| titled(&one.spec)).collect();
    names.sort();
    let count = names.len();
    names.truncate(MOST_NAMES);
    let there = match count {
        0 => "it has none".to_owned(),
        count if count > MOST_NAMES => format!("it has {count}, among them {}", names.join(", ")),
        _ => format!("it has {}", names.join(", ")),
    };
    bail!("--why: the dump has no workload {wanted:?}: {there}; write NAMESPACE/NAME")
}

fn words(workload: &Workload, report: &WorkloadReport, world: &World) -> (&'static str, String) {
    let spec = &workload.spec;
    let of = Refused { namespace: &spec.namespace, pool: &spec.pool, priority: spec.priority };
    match &report.phase {
        WorkloadPhase::Queued { refusal, .. } => {
            (of_refusal(refusal).as_str(), reason::message(refusal, of, world.resources()))
        }
        WorkloadPhase::Admitted { at, size, started_at } => {
            let ran = started_at
                .map_or("it has not run yet".to_owned(), |at| format!("it runs since {}", stamp(at)));
            let without = report.member_refusal.as_ref().map_or(String::new(), |refusal| {
                format!("; a member has no place: {}", reason::message(refusal, of, world.resources()))
            });
            ("Admitted", format!("admitted at {} with {size} members; {ran}{without}", stamp(*at)))
        }
        WorkloadPhase::Stopping { reason, for_whom } => {
            let whom = for_whom.as_ref().map_or(String::new(), |whom| format!(" for {whom}"));
            (
                of_stop(*reason).as_str(),
                format!("its members are leaving{whom}: {}", of_stop(*reason).meaning()),
            )
        }
        WorkloadPhase::Suspended => ("Suspended", "it is released, by spec.suspend".to_owned()),
        WorkloadPhase::Finished { reason, at } => (
            of_finish(*reason).as_str(),
            format!("it ended at {}: {}", stamp(*at), of_finish(*reason).meaning()),
        ),
    }
}

fn waiting(world: &World, now: Time) -> Vec<Waiting> {
    let mut positions: BTreeMap<Arc<str>, u32> = BTreeMap::new();
    for pool in world.pool_names() {
        positions.extend(world.queue_front(pool, world.queue_len(pool)));
    }
    let one = |id: WorkloadId| {
        let workload = world.workload(id).filter(|one| !one.gone)?;
        let report = world.workload_report(&workload.spec.uid)?;
        let WorkloadPhase::Queued { since, .. } = report.phase else { return None };
        let (reason, message) = words(workload, &report, world);
        Some(Waiting {
            workload: titled(&workload.spec),
            pool: workload.spec.pool.to_string(),
            position: positions.get(&workload.spec.uid).copied(),
            priority: workload.spec.priority,
            since: stamp(since),
            seconds: (now - since).0 / 1000,
            reason,
            message,
        })
    };
    let mut all: Vec<Waiting> = world.workloads.iter().filter_map(|(id, _)| one(WorkloadId(id))).collect();
    all.sort_by(|a, b| {
        let key = |one: &Waiting| (one.pool.clone(), one.position.unwrap_or(u32::MAX), one.workload.clone());
        key(a).cmp(&key(b))
    });
    all
}

fn looked(
    world: &mut World,
    uid: &Arc<str>,
    before: &[(Arc<str>, Said)],
    made: &[(Arc<str>, Said)],
    now: Time,
) -> Option<Looked> {
    let report = world.workload_report(uid)?;
    let pools = rooms(world, &report.pool);
    let workload = world.workload(*world.workload_ids.get(uid)?)?;
    let (reason, text) = words(workload, &report, world);
    let asks = match &workload.spec.shape {
        Ok(shape) => shape
            .requests
            .iter()
            .map(|(name, amount)| (name.to_string(), friendly_amount(name, *amount)))
            .collect(),
        Err(_) => BTreeMap::new(),
    };
    let member = |one: &crate::model::report::MemberReport| {
        let state = match one.state {
            MemberState::Unplaced => "has no place",
            MemberState::BackingOff => "starts again after a pause",
            MemberState::Starting => "starts",
            MemberState::Running => "runs",
            MemberState::Terminating => "leaves",
            MemberState::Succeeded => "is done",
            MemberState::Failed => "has failed",
        };
        let node = one.node.as_ref().map_or(String::new(), |node| format!(" on {node}"));
        let goes = one.moves.as_ref().map_or(String::new(), |moves| format!(", moves to {}", moves.to));
        format!("member {}, attempt {}, {state}{node}{goes}", one.index, one.attempt)
    };
    let remembered = remembered(world, workload, &report, now);
    Some(Looked {
        workload: titled(&workload.spec),
        remembered,
        uid: uid.to_string(),
        pool: report.pool.to_string(),
        phase: phase_of(&workload.phase),
        text: format!("{reason}: {text}"),
        asks,
        members_wanted: workload.spec.replicas,
        members: report.members.iter().map(member).collect(),
        pools,
        decisions: before
            .iter()
            .chain(made)
            .filter(|(of, _)| of == uid)
            .map(|(_, said)| said.clone())
            .collect(),
    })
}

/// What is known of a workload beside its phase, in sentences.
fn remembered(world: &World, workload: &Workload, report: &WorkloadReport, now: Time) -> Vec<String> {
    let mut told = Vec::new();
    if let WorkloadPhase::Queued { since, .. } = report.phase {
        let count = world.queue_len(&report.pool);
        let front = world.queue_front(&report.pool, count);
        let place = front.iter().find(|(uid, _)| *uid == workload.spec.uid);
        let place = place.map_or("in no queue".to_owned(), |(_, at)| format!("{at} of {count} in its queue"));
        told.push(format!(
            "it waits for {}, is {place}, and has priority {}",
            say::span(now - since),
            report.priority
        ));
    }
    if let Some((why, whom, at)) = &report.evicted {
        let whom = whom.as_ref().map_or(String::new(), |whom| format!(", for {whom}"));
        told.push(format!("it was evicted at {}: {}{whom}", stamp(*at), of_stop(*why).as_str()));
    }
    if let Some(due) = report.due {
        told.push(format!("by declared durations it starts at {} at the latest", stamp(due)));
    }
    if let Some(said) = &report.last_failure {
        let failures: u32 = report.failures.iter().map(|(_, count)| count).sum();
        told.push(format!("its members have failed {failures} times, the last time: {said}"));
    }
    if let Some(whom) = &report.shrinks_for {
        told.push(format!("it shrinks for {whom}"));
    }
    if !workload.nominated.is_empty() {
        let nodes =
            workload.nominated.iter().filter_map(|id| world.node(*id).map(|node| node.name.to_string()));
        told.push(format!("places are kept for it on {}", nodes.collect::<Vec<_>>().join(", ")));
    }
    if let Some(at) = workload.retry_at.filter(|at| *at > now) {
        told.push(format!("it is not tried before {}", stamp(at)));
    }
    told
}

/// What a pool and those above it have.
fn rooms(world: &mut World, pool: &str) -> Vec<Room> {
    let path = world.pool_ids.get(pool).and_then(|id| world.pool(*id)).map(|pool| pool.path.clone());
    let names: Vec<Arc<str>> = path
        .unwrap_or_default()
        .iter()
        .filter_map(|id| world.pool(*id).map(|pool| Arc::clone(&pool.spec.name)))
        .collect();
    let mut rooms = Vec::new();
    for pool in names {
        for one in world.pool_report(&pool).map(|report| report.resources).unwrap_or_default() {
            let name = world.resources().name(one.resource).to_owned();
            rooms.push(Room {
                pool: pool.to_string(),
                allocated: friendly_amount(&name, one.allocated),
                limit: match one.limit {
                    Limit::At(limit) => Some(friendly_amount(&name, limit)),
                    Limit::Unlimited => None,
                },
                available: friendly_amount(&name, one.available),
                resource: name,
            });
        }
    }
    rooms
}
