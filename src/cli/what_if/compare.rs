//! Two simulations, workload by workload and pool by pool.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::cli::simulate::report::{GaveWay, Pool, Variant, WaitSeconds, Workload};

/// Starts that differ by less are the same.
const SAME: f64 = 1.5;

/// What a change does.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Comparison {
    /// The shape of this object: it changes when fields change their meaning.
    pub format: &'static str,
    /// What changes, in words.
    pub changes: Vec<String>,
    /// What a reader should know.
    pub notes: Vec<String>,
    /// Who would be evicted, have members evicted that begin anew, or lose members with their node, and does not without the change.
    pub evicted: Vec<Evicted>,
    /// Who would not fit even if nothing else was there.
    pub never_fit: Vec<Waits>,
    /// Who would wait for ever, and does not without the change or is new.
    pub never_start: Vec<Waits>,
    /// Whose members would move to other nodes.
    pub moved: Vec<Moved>,
    /// Who would start later.
    pub later: Vec<Shifted>,
    /// Who would start earlier, or at all.
    pub earlier: Vec<Shifted>,
    /// Workloads that are new.
    pub new: Vec<New>,
    /// Workloads of which nothing changes.
    pub unchanged: usize,
    /// By name.
    pub pools: Vec<PoolChange>,
    /// The simulation ended before all had come to rest.
    #[serde(skip)]
    goes_on: bool,
}

/// Who gives way.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Evicted {
    /// `namespace/name`.
    pub workload: String,
    /// Its pool.
    pub pool: String,
    /// Why: a reason, or `NodeLost`.
    pub reason: String,
    /// For whom.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub for_whom: Option<String>,
    /// When, in seconds since the beginning.
    pub at: f64,
    /// When it ends then; none: never, or not yet.
    pub ends: Option<f64>,
    /// When it ends without the change.
    pub ended_before: Option<f64>,
}

/// Who waits.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Waits {
    /// `namespace/name`.
    pub workload: String,
    /// Its pool.
    pub pool: String,
    /// Why, in words.
    pub why: String,
}

/// Whose members move.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Moved {
    /// `namespace/name`.
    pub workload: String,
    /// Its pool.
    pub pool: String,
    /// How many moves more than without the change.
    pub moves: u32,
}

/// Who starts at another time, in seconds since the beginning.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Shifted {
    /// `namespace/name`.
    pub workload: String,
    /// Its pool.
    pub pool: String,
    /// Without the change; none: never.
    pub before: Option<f64>,
    /// With it.
    pub after: f64,
}

/// A workload that is new.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct New {
    /// `namespace/name`.
    pub workload: String,
    /// Its pool.
    pub pool: String,
    /// How long it waits; none: for ever.
    pub wait: Option<f64>,
    /// Nodes of its members.
    pub nodes: Vec<String>,
    /// Why it waits, if it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// How a pool fares before and after.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PoolChange {
    /// Its name.
    pub pool: String,
    /// Without the change; none: it is new.
    pub before: Option<PoolShort>,
    /// With it.
    pub after: Option<PoolShort>,
}

/// A pool in short.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PoolShort {
    /// Workloads that ended well.
    pub completed: usize,
    /// Workloads that wait at the end.
    pub waiting: usize,
    /// Of those that started.
    pub wait_seconds: WaitSeconds,
    /// By resource, 1 being all.
    pub utilization: BTreeMap<String, f64>,
}

impl PoolShort {
    fn of(pool: &Pool) -> Self {
        Self {
            completed: pool.completed,
            waiting: pool.waiting,
            wait_seconds: pool.wait_seconds,
            utilization: pool.utilization.iter().map(|one| (one.resource.clone(), one.mean)).collect(),
        }
    }
}

impl Comparison {
    /// What the change did.
    pub fn of(changes: Vec<String>, notes: Vec<String>, before: &Variant, after: &Variant) -> Self {
        let mut comparison = Self {
            format: "weir.dev/what-if/v1",
            changes,
            notes,
            evicted: Vec::new(),
            never_fit: Vec::new(),
            never_start: Vec::new(),
            moved: Vec::new(),
            later: Vec::new(),
            earlier: Vec::new(),
            new: Vec::new(),
            unchanged: 0,
            pools: pools(before, after),
            goes_on: after.stopped != "AtRest",
        };
        let known: BTreeMap<&str, &Workload> = before.workloads.iter().map(|one| (&*one.name, one)).collect();
        for one in &after.workloads {
            comparison.workload(known.get(&*one.name).copied(), one);
        }
        comparison
    }

    fn workload(&mut self, before: Option<&Workload>, after: &Workload) {
        let (workload, pool) = (after.name.clone(), after.pool.clone());
        let told = self.told();
        let why = || after.why.clone().unwrap_or_else(|| "it waits for its turn".to_owned());
        let waits = after.start.is_none() && after.outcome == "Waiting";
        if after.never_fits && before.is_none_or(|before| !before.never_fits) {
            self.never_fit.push(Waits { workload: workload.clone(), pool: pool.clone(), why: why() });
        }
        let Some(before) = before else {
            if waits && !after.never_fits && !self.goes_on {
                self.never_start.push(Waits { workload: workload.clone(), pool: pool.clone(), why: why() });
            }
            self.new.push(New {
                workload,
                pool,
                wait: after.wait,
                nodes: after.nodes.clone(),
                why: after.why.clone(),
            });
            return;
        };
        self.note_evictions(before, after);
        if after.moves > before.moves {
            let moves = after.moves - before.moves;
            self.moved.push(Moved { workload: workload.clone(), pool: pool.clone(), moves });
        }
        match (before.start, after.start) {
            (Some(_), None) if !after.never_fits => {
                self.never_start.push(Waits { workload, pool, why: why() });
            }
            (None, Some(start)) => {
                self.earlier.push(Shifted { workload, pool, before: None, after: start });
            }
            (Some(was), Some(is)) if is - was > SAME => {
                self.later.push(Shifted { workload, pool, before: Some(was), after: is });
            }
            (Some(was), Some(is)) if was - is > SAME => {
                self.earlier.push(Shifted { workload, pool, before: Some(was), after: is });
            }
            _ => {}
        }
        if self.told() == told {
            self.unchanged += 1;
        }
    }

    fn told(&self) -> usize {
        self.evicted.len()
            + self.never_fit.len()
            + self.never_start.len()
            + self.moved.len()
            + self.later.len()
            + self.earlier.len()
    }

    /// It, or members of it, give way more often than without the change, or are lost with a node: that is told once, with
    /// the first time that is new.
    fn note_evictions(&mut self, before: &Workload, after: &Workload) {
        let lost = |of: &Workload| -> Vec<GaveWay> {
            let one = |at: &f64| GaveWay { at: *at, reason: "NodeLost", for_whom: None };
            of.lost_at.iter().map(one).collect()
        };
        let (lost_before, lost_after) = (lost(before), lost(after));
        let ways = [
            (&before.gave_way, &after.gave_way),
            (&before.restarts, &after.restarts),
            (&lost_before, &lost_after),
        ];
        let first = ways
            .into_iter()
            .filter_map(|(before, after)| first_new(before, after))
            .min_by(|one, other| one.at.total_cmp(&other.at));
        let Some(GaveWay { at, reason, for_whom }) = first else { return };
        self.evicted.push(Evicted {
            workload: after.name.clone(),
            pool: after.pool.clone(),
            reason: (*reason).to_owned(),
            for_whom: for_whom.clone(),
            at: *at,
            ends: after.end,
            ended_before: before.end,
        });
    }
}

/// The first of several that is not there without the change, where there are more of them with it.
fn first_new<'a>(before: &[GaveWay], after: &'a [GaveWay]) -> Option<&'a GaveWay> {
    let is_new = |one: &&GaveWay| before.iter().all(|other| (other.at - one.at).abs() > SAME);
    let more = after.len() > before.len();
    after.iter().find(is_new).or(after.last()).filter(|_| more)
}

fn pools(before: &Variant, after: &Variant) -> Vec<PoolChange> {
    let by_name = |variant: &Variant| -> BTreeMap<String, PoolShort> {
        variant.pools.iter().map(|pool| (pool.name.clone(), PoolShort::of(pool))).collect()
    };
    let (mut old, mut new) = (by_name(before), by_name(after));
    let mut names: Vec<String> = old.keys().chain(new.keys()).cloned().collect();
    names.sort();
    names.dedup();
    names
        .into_iter()
        .map(|pool| PoolChange { before: old.remove(&pool), after: new.remove(&pool), pool })
        .collect()
}
