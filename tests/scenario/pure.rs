//! The pure runner: the core, observing and planning against an API server and kubelets in memory, with a
//! virtual clock. Nothing in it depends on the machine or on real time.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::events::v1::Event;
use serde_json::{Value, json};
use weir::decide::decision::Decision;
use weir::model::delta::Delta;
use weir::model::spec::FinishReason;
use weir::model::time::{Span, Time};
use weir::model::world::{Tuning, World};
use weir::observe::catalog::Catalog;
use weir::observe::durations::Durations;
use weir::optimise::decide_and_solve;
use weir::plan::Desk;
use weir::plan::write::{Script, Write};
use weir::simulate::estimate::Estimate;

mod lagging;
mod recording;
mod replayed;

use super::controllers;
use super::expand::{Key, with_first_recommendation};
use super::file::{Act, BEGINNING, Scenario};
use super::kubelet::{Kubelets, LOST};
use super::machines;
use super::records::{AGAIN, Records};
use super::store::{Change, Refused, Store, set_ready};
use super::view::{self, Look};
use lagging::Lag;

/// A runner that goes round so often at one time goes round for ever.
const MOST_ROUNDS: usize = 1000;
/// A create whose name is held by a pod that is leaving is tried again after that long.
pub(super) const CREATE_AGAIN: Span = Span::seconds(1);
/// The setup happens that long before the beginning.
const SETTLING: Span = Span::seconds(5);

/// Runs one scenario; what was wrong.
pub fn run(scenario: &Scenario) -> Vec<String> {
    trace(scenario).0
}

/// Runs one scenario; what was wrong, and all that was decided.
pub fn trace(scenario: &Scenario) -> (Vec<String>, Vec<String>) {
    run_through(Pure::new(scenario), scenario)
}

/// Runs one scenario where the watch of a kind tells all that much later; what was wrong, save for what is expected, and
/// whether the world could be held against what a start makes of it.
pub fn lagging(scenario: &Scenario, kind: &str, by: Span) -> (Vec<String>, bool) {
    let mut pure = Pure { lag: Some(Lag::of(kind, by)), ..Pure::new(scenario) };
    for object in &scenario.setup {
        pure.apply(object);
    }
    for step in &scenario.steps {
        pure.advance(BEGINNING + step.at);
        if !pure.wrong.is_empty() {
            break;
        }
        for act in &step.acts {
            pure.act(act);
        }
        // What is not there yet, or is there still, is refused.
        pure.wrong.clear();
        pure.advance(BEGINNING + step.look_at);
    }
    for _ in 0..2 {
        let until = pure.now() + Span::seconds(30);
        pure.advance(until);
        pure.look_for_unseen();
    }
    let until = pure.now() + Span::seconds(10);
    pure.advance(until);
    match pure.forgets().filter(|_| pure.wrong.is_empty()) {
        Some(wrong) => (wrong, true),
        None => (pure.wrong, false),
    }
}

/// Runs one scenario, and decides everything again of dumps; what was decided otherwise, and how many dumps there were.
pub fn replay(scenario: &Scenario) -> (Vec<String>, usize) {
    let (wrong, decided) = run_through(Pure { replays: true, ..Pure::new(scenario) }, scenario);
    (wrong, decided.len())
}

fn run_through(mut pure: Pure, scenario: &Scenario) -> (Vec<String>, Vec<String>) {
    for object in &scenario.setup {
        pure.apply(object);
    }
    pure.advance(BEGINNING);
    for step in &scenario.steps {
        pure.advance(BEGINNING + step.at);
        for act in &step.acts {
            pure.act(act);
        }
        pure.advance(BEGINNING + step.look_at);
        let at = format!("at {} ms: ", step.look_at.0);
        pure.wrong.extend(view::compare(&step.expect, &pure).into_iter().map(|wrong| at.clone() + &wrong));
        if !pure.wrong.is_empty() {
            break;
        }
    }
    (pure.wrong, pure.decided)
}

#[derive(Default)]
struct Count {
    objects: u32,
    events: u32,
    pods: u32,
    statuses: u32,
}

pub(super) struct Pure {
    pub(super) store: Store,
    kubelets: Kubelets,
    pub(super) world: World,
    pub(super) catalog: Catalog,
    records: Records,
    durations: Durations,
    estimates: BTreeMap<Arc<str>, Estimate>,
    again: Vec<(Time, Decision)>,
    pub(super) creates: Vec<(Time, Arc<str>, Write)>,
    wake_at: Option<Time>,
    stirred: bool,
    starts: Vec<String>,
    decided: Vec<String>,
    told: BTreeMap<Key, Vec<(String, String)>>,
    counts: BTreeMap<Arc<str>, Count>,
    pub(super) names: BTreeMap<Key, Arc<str>>,
    /// Writes of taints, by node.
    taints: BTreeMap<String, u32>,
    /// Whether all that is decided is decided again of a dump.
    replays: bool,
    /// A kind whose watch lags.
    lag: Option<Lag>,
    wrong: Vec<String>,
}

impl Pure {
    fn new(scenario: &Scenario) -> Self {
        let begins = Time(BEGINNING.0 - SETTLING.0);
        let mut world = World::new(Tuning { lost_after: scenario.lost_after, ..Tuning::default() });
        world.apply(Delta::Settled, begins);
        let mut store = Store::new(begins);
        store.kubevirt = scenario.kubevirt;
        world.apply(Delta::KubeVirt(scenario.kubevirt), begins);
        Self {
            store,
            kubelets: Kubelets::default(),
            world,
            catalog: Catalog::default(),
            records: Records::default(),
            durations: Durations::default(),
            estimates: BTreeMap::new(),
            again: Vec::new(),
            creates: Vec::new(),
            wake_at: None,
            stirred: true,
            starts: Vec::new(),
            decided: Vec::new(),
            told: BTreeMap::new(),
            counts: BTreeMap::new(),
            names: BTreeMap::new(),
            taints: BTreeMap::new(),
            replays: false,
            lag: None,
            wrong: Vec::new(),
        }
    }

    pub(super) fn now(&self) -> Time {
        self.store.now
    }

    fn wrong(&mut self, what: impl std::fmt::Display) {
        let at = self.now() - BEGINNING;
        self.wrong.push(format!("at {} ms: {what}", at.0));
    }

    /// Lets time pass, from one thing that is due to the next.
    fn advance(&mut self, until: Time) {
        for round in 0.. {
            self.settle();
            if round > MOST_ROUNDS {
                self.wrong("time does not pass".to_owned());
            }
            if !self.wrong.is_empty() {
                return;
            }
            let others = self.again.iter().map(|(at, _)| *at).chain(self.creates.iter().map(|(at, ..)| *at));
            let checks = self.catalog.next_check().filter(|_| self.store.kubevirt);
            let held = self.lag.as_ref().and_then(Lag::next);
            let due = [self.kubelets.next(&self.store), self.wake_at, self.records.next(), checks, held];
            let next = due.into_iter().flatten().chain(others).min();
            match next.filter(|next| *next <= until) {
                Some(next) => self.store.now = next.max(self.now()),
                None => break,
            }
        }
        if self.now() < until {
            self.store.now = until;
            self.settle();
        }
    }

    /// Goes round until nothing more follows at this time.
    fn settle(&mut self) {
        for _ in 0..MOST_ROUNDS {
            self.kubelets.run(&mut self.store);
            machines::run(&mut self.store);
            controllers::run(&mut self.store);
            let mut log = self.store.take_log();
            if let Some(lag) = &mut self.lag {
                log = lag.told(log, self.store.now);
            }
            let due = self.wake_at.is_some_and(|at| at <= self.now());
            if log.is_empty() && !self.stirred && !due && !self.is_due() {
                return;
            }
            self.stirred |= !log.is_empty();
            for change in log {
                self.see(change);
            }
            if self.stirred || due {
                self.cycle();
            }
            self.repeat();
            self.check_machines();
            self.record();
            for wrong in self.excess() {
                self.wrong(wrong);
            }
            if !self.wrong.is_empty() {
                return;
            }
        }
        self.wrong("the cycle goes round and round".to_owned());
    }

    fn is_due(&self) -> bool {
        let now = self.now();
        self.records.next().is_some_and(|at| at <= now)
            || self.catalog.next_check().is_some_and(|at| at <= now && self.store.kubevirt)
            || self.again.iter().any(|(at, _)| *at <= now)
            || self.creates.iter().any(|(at, ..)| *at <= now)
    }

    fn see(&mut self, change: Change) {
        let (object, gone) = match change {
            Change::Seen(object) => (object, false),
            Change::Gone(object) => (object, true),
        };
        let key = Key::of(&object);
        let kind = key.kind.clone();
        let deltas = if gone {
            self.catalog.object_gone(&kind, &object).unwrap()
        } else {
            if kind == "PooledWorkload" {
                self.names.insert(key, object["metadata"]["uid"].as_str().unwrap_or_default().into());
            }
            self.catalog.object(&kind, object).unwrap()
        };
        for delta in deltas {
            self.tell(delta);
        }
    }

    pub(super) fn tell(&mut self, delta: Delta) {
        let now = self.now();
        self.world.apply(delta, now);
        self.stirred = true;
    }

    /// Decides, holds the world against itself, and carries out.
    fn cycle(&mut self) {
        self.stirred = false;
        let now = self.now();
        let before = self.world.excesses();
        let world = self.replays.then(|| self.world.clone());
        let decided = decide_and_solve(&mut self.world, now);
        self.wake_at = decided.wake_at;
        if let Some(world) = world.filter(|_| !decided.decisions.is_empty()) {
            self.wrong.extend(replayed::differs(&world, now, &decided));
        }
        if self.wake_at.is_some_and(|at| at <= now) {
            self.wrong(format!("decide asks to be woken at {:?}, which is past", self.wake_at));
        }
        for (what, resource, used, bound) in self.world.excesses() {
            let grown =
                !before.iter().any(|(name, one, was, _)| *name == what && *one == resource && used <= *was);
            if grown {
                let resource = self.world.resources().name(resource).to_owned();
                self.wrong(format!(
                    "decide has brought {what} to {used} of {resource}, which may have {bound}"
                ));
            }
        }
        for wrong in self.world.audit() {
            self.wrong(format!("the world contradicts itself: {wrong}"));
        }
        for decision in decided.decisions {
            self.decided.push(format!("{now:?} {decision:?}"));
            if let Decision::Admit { workload, .. } = &decision
                && let Some(known) = self.catalog.get(workload)
            {
                self.starts.push(known.spec.name.to_string());
            }
            if let Decision::Finish { workload, reason: FinishReason::Completed } = &decision
                && let Some(started) = self.catalog.get(workload).and_then(|known| known.status().started_at)
            {
                let took = now - Time(started.0.as_millisecond());
                self.durations.note(&self.catalog, workload, took);
            }
            self.carry_out(&decision);
        }
    }

    pub(super) fn desk(&self) -> Desk<'_> {
        Desk { world: &self.world, catalog: &self.catalog, instance: "test", now: self.now() }
    }

    fn carry_out(&mut self, decision: &Decision) {
        for script in self.desk().plan(std::slice::from_ref(decision)) {
            if !self.run_script(&script) && decision.is_repeated() {
                self.again.push((self.now() + AGAIN, decision.clone()));
            }
        }
    }

    fn repeat(&mut self) {
        let now = self.now();
        let (due, later) = std::mem::take(&mut self.again).into_iter().partition(|(at, _)| *at <= now);
        self.again = later;
        let due: Vec<(Time, Decision)> = due;
        for (_, decision) in due {
            self.carry_out(&decision);
        }
        let (due, later) = std::mem::take(&mut self.creates).into_iter().partition(|(at, ..)| *at <= now);
        self.creates = later;
        let due: Vec<(Time, Arc<str>, Write)> = due;
        for (_, object, write) in due {
            self.write(&object, &write);
        }
    }

    pub(super) fn run_script(&mut self, script: &Script) -> bool {
        let Script { object, steps } = script;
        steps.iter().all(|step| {
            let done: Vec<bool> = step.iter().map(|write| self.write(object, write)).collect();
            done.into_iter().all(|done| done)
        })
    }

    /// Carries out one write; whether it went well.
    fn write(&mut self, object: &Arc<str>, write: &Write) -> bool {
        let count = self.counts.entry(Arc::clone(object)).or_default();
        match write {
            Write::Event(_) => count.events += 1,
            _ => count.objects += 1,
        }
        match write {
            Write::CreatePod { pod, .. } => {
                count.pods += 1;
                self.create_pod(object, write, &serde_json::to_value(pod).unwrap())
            }
            Write::PatchWorkloadStatus { namespace, name, resource_version, status, .. } => {
                count.statuses += 1;
                self.patch_status(
                    object,
                    &Key::new("PooledWorkload", namespace, name),
                    resource_version,
                    status,
                )
            }
            Write::PatchPoolStatus { pool, resource_version, status } => {
                self.patch_status(object, &Key::new("ResourcePool", "", pool), resource_version, status)
            }
            Write::SetPoolFinalizers { pool, resource_version, finalizers } => {
                let patch = json!({"metadata": {"finalizers": finalizers}});
                self.store
                    .patch_version(&Key::new("ResourcePool", "", pool), resource_version, &patch)
                    .is_ok()
            }
            Write::SetNodeTaints { node, resource_version, taints, tainted_for } => {
                let annotations = json!({"weir.dev/tainted-for": tainted_for});
                let patch = json!({"metadata": {"annotations": annotations}, "spec": {"taints": taints}});
                self.store.patch_version(&Key::new("Node", "", node), resource_version, &patch).is_ok()
            }
            Write::EvictPod { namespace, name, uid } | Write::DeletePod { namespace, name, uid } => {
                self.delete(&Key::new("Pod", namespace, name), uid)
            }
            Write::DeleteWorkload { namespace, name, uid } => {
                self.delete(&Key::new("PooledWorkload", namespace, name), uid)
            }
            Write::Machine(write) => self.write_machine(object, write),
            Write::Event(event) => {
                self.tell_of(event);
                true
            }
        }
    }

    fn tell_of(&mut self, event: &Event) {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let of = event.regarding.clone().unwrap_or_default();
        let key = Key { kind: text(&of.kind), namespace: text(&of.namespace), name: text(&of.name) };
        self.told.entry(key).or_default().push((text(&event.reason), text(&event.note)));
    }

    /// What is not there, or is another, needs no deleting.
    pub(super) fn delete(&mut self, key: &Key, uid: &Arc<str>) -> bool {
        let _ = self.store.delete(key, Some(uid));
        true
    }

    fn create_pod(&mut self, object: &Arc<str>, write: &Write, pod: &Value) -> bool {
        let Write::CreatePod { member, .. } = write else { return false };
        let member = member.clone();
        let uid_of = |pod: &Value| pod["metadata"]["uid"].as_str().unwrap_or_default().into();
        let (message, name_taken) = match self.store.create(pod) {
            Ok(created) => {
                self.tell(Delta::MemberCreated { member, pod: uid_of(&created) });
                return true;
            }
            Err(Refused::Exists(words)) => {
                let there = self.store.get(&Key::of(pod)).cloned().unwrap_or_default();
                let owner = &there["metadata"]["ownerReferences"][0];
                let owner_lives =
                    self.names.values().any(|uid| owner["uid"] == **uid && self.catalog.get(uid).is_some());
                if owner["uid"] == *member.workload {
                    self.tell(Delta::MemberCreated { member, pod: uid_of(&there) });
                    return true;
                }
                let leaving = !there["metadata"]["deletionTimestamp"].is_null()
                    || (owner["kind"] == "PooledWorkload" && !owner_lives);
                if leaving {
                    self.creates.push((self.now() + CREATE_AGAIN, Arc::clone(object), write.clone()));
                    return true;
                }
                (words, true)
            }
            Err(refused) => (refused.words().to_owned(), false),
        };
        self.tell(Delta::MemberRefused { member, message: message.into(), name_taken });
        false
    }

    fn patch_status(&mut self, object: &Arc<str>, key: &Key, version: &str, status: &Value) -> bool {
        match self.store.patch_version(key, version, &json!({"status": status})) {
            Ok(written) => {
                let version = written["metadata"]["resourceVersion"].as_str().unwrap_or_default();
                if key.kind == "ResourcePool" {
                    self.catalog.pool_written(object, version, status);
                } else {
                    self.catalog.workload_written(object, version, status);
                }
                true
            }
            Err(Refused::Denied(words)) => {
                self.wrong(format!("a status of {} is refused: {words}", key.name));
                false
            }
            Err(_) => {
                let records = if key.kind == "ResourcePool" {
                    &mut self.records.pools
                } else {
                    &mut self.records.workloads
                };
                records.insert(Arc::clone(object), self.store.now + AGAIN);
                false
            }
        }
    }

    fn apply(&mut self, object: &Value) {
        let key = Key::of(object);
        let done = if self.store.get(&key).is_some() {
            self.store.patch(&key, object)
        } else {
            self.store.create(object)
        };
        if let Err(refused) = done {
            self.wrong(format!("{} {} is refused: {}", key.kind, key.name, refused.words()));
        }
    }

    /// Does what the timeline says.
    fn act(&mut self, act: &Act) {
        let done = match act {
            Act::Apply(object) => {
                self.apply(object);
                Ok(())
            }
            Act::Patch(key, patch) => {
                let patch = with_first_recommendation(patch, self.store.get(key));
                self.store.patch(key, &patch).map(drop)
            }
            Act::Delete(key) => self.store.delete(key, None),
            Act::Refused(object, words) => {
                self.refused(object, words);
                Ok(())
            }
            Act::End(key, code) => {
                let annotations =
                    json!({"sim.weir.dev/run-for": "0s", "sim.weir.dev/exit-code": code.to_string()});
                self.store.patch(key, &json!({"metadata": {"annotations": annotations}})).map(drop)
            }
            Act::KubeVirt(is_there) => {
                self.install(*is_there);
                Ok(())
            }
            Act::Lose(name) => self.set_node(name, "Unknown", &json!("true")),
            Act::Find(name) => self.set_node(name, "True", &Value::Null),
        };
        if let Err(refused) = done {
            self.wrong(format!("{act:?} is refused: {}", refused.words()));
        }
    }

    fn refused(&mut self, object: &Value, words: &[String]) {
        let key = Key::of(object);
        let there = self.store.get(&key).is_some();
        let answer = if there { self.store.patch(&key, object) } else { self.store.create(object) };
        match answer {
            Ok(_) => self.wrong(format!("{} {} is not refused", key.kind, key.name)),
            Err(refused) => {
                for word in words.iter().filter(|word| !refused.words().contains(*word)) {
                    self.wrong(format!("the refusal does not say {word:?}: {}", refused.words()));
                }
            }
        }
    }

    fn set_node(&mut self, name: &str, ready: &str, lost: &Value) -> Result<(), Refused> {
        let key = Key::new("Node", "", name);
        let mut patch = json!({"metadata": {"labels": {LOST: lost}}});
        set_ready(&mut patch, ready, self.now());
        self.store.patch(&key, &patch).map(drop)
    }
}

impl Look for Pure {
    fn get(&self, key: &Key) -> Option<Value> {
        self.store.get(key).cloned()
    }

    fn starts(&self) -> Vec<Vec<String>> {
        self.starts.iter().map(|name| vec![name.clone()]).collect()
    }

    fn node_writes(&self, node: &str) -> Option<u32> {
        Some(self.taints.get(node).copied().unwrap_or(0))
    }

    fn writes(&self, workload: &Key) -> Option<Value> {
        let none = Count::default();
        let count = self.names.get(workload).and_then(|uid| self.counts.get(uid)).unwrap_or(&none);
        let Count { objects, events, pods, statuses } = count;
        Some(json!({"objects": objects, "events": events, "pods": pods, "statuses": statuses}))
    }

    fn events(&self, object: &Key) -> Vec<(String, String)> {
        self.told.get(object).cloned().unwrap_or_default()
    }
}
