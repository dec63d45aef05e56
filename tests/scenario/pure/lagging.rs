//! Watches that lag: what is told of one kind comes later than what is told of the others, as after a watch broke.
//!
//! When things happen is another time then, so a scenario's own expectations say nothing here. What must hold all the same:
//! the world does not contradict itself and promises nothing twice, what is really there is not too much, and once all was
//! told, the world is what a start would make of it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use serde_json::Value;
use weir::api::quantity::counted;
use weir::model::delta::Delta;
use weir::model::report::MemberState;
use weir::model::spec::MemberRef;
use weir::model::time::{Span, Time};
use weir::model::world::{Tuning, World};
use weir::observe::catalog::Catalog;
use weir::observe::names::shown_attempt;

use super::super::expand::Key;
use super::super::kubelet::LOST;
use super::super::store::Change;
use super::Pure;
use crate::kubevirt::MACHINE;

/// What is told late.
pub(super) struct Lag {
    kind: String,
    by: Span,
    held: VecDeque<(Time, Change)>,
    /// What the world was told of and was not told to be gone, of the kind.
    known: BTreeMap<Key, Value>,
    /// By node: the most cpu, in thousandths, that it has offered.
    offered: BTreeMap<String, i64>,
}

impl Lag {
    pub(super) fn of(kind: &str, by: Span) -> Self {
        let (held, known, offered) = (VecDeque::new(), BTreeMap::new(), BTreeMap::new());
        Self { kind: kind.to_owned(), by, held, known, offered }
    }

    /// What of the changes is told now, and what was held until now. What lags by more than a second is listed anew: all is
    /// told that is there, and nothing of what was between.
    pub(super) fn told(&mut self, mut changes: Vec<Change>, now: Time) -> Vec<Change> {
        for change in changes.extract_if(.., |change| change.kind() == self.kind) {
            self.held.push_back((now + self.by, change));
        }
        let due = |(at, _): &(Time, Change)| *at <= now;
        if self.by > Span::seconds(1) && self.held.front().is_some_and(due) {
            let held = std::mem::take(&mut self.held);
            let last: BTreeMap<Key, Change> =
                held.into_iter().map(|(_, change)| (Key::of(change.object()), change)).collect();
            for (key, change) in last {
                self.list(key, change, &mut changes);
            }
        }
        while self.held.front().is_some_and(due) {
            changes.extend(self.held.pop_front().map(|(_, change)| change));
        }
        changes
    }

    fn list(&mut self, key: Key, change: Change, changes: &mut Vec<Change>) {
        let there = matches!(change, Change::Seen(_)).then(|| change.object().clone());
        let uid = |object: &Value| object["metadata"]["uid"].clone();
        let known = self.known.remove(&key);
        if let Some(known) = known.filter(|known| there.as_ref().map(uid) != Some(uid(known))) {
            changes.push(Change::Gone(known));
        }
        if let Some(there) = there {
            self.known.insert(key, there);
            changes.push(change);
        }
    }

    /// When more is told.
    pub(super) fn next(&self) -> Option<Time> {
        self.held.front().map(|(at, _)| *at)
    }
}

fn lives(pod: &Value) -> bool {
    let ended = ["Succeeded", "Failed"].iter().any(|phase| pod["status"]["phase"] == *phase);
    !ended && pod["metadata"]["labels"].get(LOST).is_none()
}

fn cpu(pod: &Value) -> i64 {
    let containers = pod["spec"]["containers"].as_array().into_iter().flatten();
    let asked = containers.filter_map(|one| one["resources"]["requests"]["cpu"].as_str());
    asked.map(|text| counted("cpu", text).unwrap()).sum()
}

fn owner(pod: &Value) -> &Value {
    &pod["metadata"]["ownerReferences"][0]
}

impl Pure {
    /// What is wrong with what is really there.
    pub(super) fn excess(&mut self) -> Vec<String> {
        let Some(lag) = &mut self.lag else { return Vec::new() };
        let mut wrong = Vec::new();
        let mut members: BTreeMap<(String, String), usize> = BTreeMap::new();
        // By node: what Weir has put there; nothing where others have put something.
        let mut placed: BTreeMap<String, Option<i64>> = BTreeMap::new();
        for (_, pod) in self.store.of_kind("Pod").filter(|(_, pod)| lives(pod)) {
            let kind = owner(pod)["kind"].as_str().unwrap_or_default();
            if let Some(node) = pod["spec"]["nodeName"].as_str() {
                let sum = placed.entry(node.to_owned()).or_insert(Some(0));
                *sum = sum.filter(|_| kind == "PooledWorkload").map(|sum| sum + cpu(pod));
            }
            if kind == "PooledWorkload" && pod["metadata"]["deletionTimestamp"].is_null() {
                let index = pod["metadata"]["labels"]["weir.dev/index"].as_str().unwrap_or_default();
                let uid = owner(pod)["uid"].as_str().unwrap_or_default();
                *members.entry((uid.to_owned(), index.to_owned())).or_default() += 1;
            }
        }
        for (key, node) in self.store.of_kind("Node") {
            let offers = node["status"]["allocatable"]["cpu"].as_str().unwrap_or("0");
            let offers = counted("cpu", offers).unwrap();
            let most = lag.offered.entry(key.name.clone()).or_default();
            *most = offers.max(*most);
            if let Some(Some(sum)) = placed.get(&key.name).filter(|sum| sum.is_some_and(|sum| sum > *most)) {
                wrong.push(format!(
                    "node {} has {most} thousandths of a cpu, and pods ask for {sum}",
                    key.name
                ));
            }
        }
        for ((uid, index), pods) in members {
            let workload =
                self.store.of_kind("PooledWorkload").find(|(_, one)| one["metadata"]["uid"] == *uid);
            let Some((key, workload)) = workload else { continue };
            // A member that moves while it runs has two for a while.
            let most = if workload["spec"]["completion"] == "KeepRunning" { 2 } else { 1 };
            if pods > most {
                wrong.push(format!("member {index} of {} has {pods} pods", key.name));
            }
        }
        wrong
    }

    /// What was created and was never shown is looked for, as the operator does after half a minute.
    pub(super) fn look_for_unseen(&mut self) {
        let mut vanished = Vec::new();
        for uid in self.names.values() {
            let members = self.world.workload_report(uid).map(|report| report.members).unwrap_or_default();
            for member in members.iter().filter(|member| member.state == MemberState::Starting) {
                let (index, attempt) = (member.index.to_string(), shown_attempt(member.attempt).to_string());
                let is_it = |owned: &Value, labels: &Value| {
                    owner(owned)["uid"] == **uid
                        && labels["weir.dev/index"] == index
                        && labels["weir.dev/attempt"] == attempt
                };
                let pods = self.store.of_kind("Pod").any(|(_, pod)| is_it(pod, &pod["metadata"]["labels"]));
                let machines = self.store.of_kind(MACHINE).any(|(_, machine)| {
                    let labels = &machine["spec"]["template"]["metadata"]["labels"];
                    machine["spec"]["runStrategy"] != "Halted" && is_it(machine, labels)
                });
                if !pods && !machines {
                    let (workload, index, attempt) = (Arc::clone(uid), member.index, member.attempt);
                    vanished.push(MemberRef { workload, index, attempt });
                }
            }
        }
        for member in vanished {
            self.tell(Delta::MemberVanished(member));
        }
    }

    /// What is known when all was told, and would not be known after a start; nothing where a start could not know it.
    pub(super) fn forgets(&mut self) -> Option<Vec<String>> {
        if self.lag.as_ref().is_some_and(|lag| lag.next().is_some()) {
            return None;
        }
        let now = self.now();
        let mut world = World::new(Tuning { lost_after: self.world.tuning.lost_after, ..Tuning::default() });
        let mut catalog = Catalog::default();
        let mut deltas = vec![Delta::KubeVirt(self.store.kubevirt)];
        for object in self.store.all().cloned() {
            let kind = object["kind"].as_str().unwrap_or_default().to_owned();
            deltas.extend(catalog.object(&kind, object).unwrap());
        }
        deltas.push(Delta::Settled);
        for delta in deltas {
            world.apply(delta, now);
        }
        // Members that pause before they start again hold quota that no object shows.
        let rests = |world: &World, uid: &str| {
            let report = world.workload_report(uid);
            let unseen = |state| matches!(state, MemberState::BackingOff | MemberState::Unplaced);
            report.is_none_or(|report| report.members.iter().any(|member| unseen(member.state)))
        };
        if self.names.values().any(|uid| self.catalog.get(uid).is_some() && rests(&self.world, uid)) {
            return None;
        }
        let mut wrong = Vec::new();
        for pool in self.world.pool_names().cloned().collect::<Vec<_>>() {
            let shown = |world: &mut World| {
                let report = world.pool_report(&pool)?;
                let rows = report.resources.iter().map(|one| {
                    let name = world.resources().name(one.resource).to_owned();
                    (name, [one.capacity, one.unmanaged, one.allocated, one.adopted])
                });
                Some(rows.collect::<Vec<_>>())
            };
            let (is, should) = (shown(&mut self.world), shown(&mut world));
            if is != should {
                wrong.push(format!("pool {pool} is {is:?}, and after a start it would be {should:?}"));
            }
        }
        Some(wrong)
    }
}
