//! Decisions carried out: planned, handed to the writer, and planned again where a write did not go through.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::{debug, warn};

use super::setback::Of;
use super::term::{Term, now};
use crate::apply::Child;
use crate::apply::rights::Missing;
use crate::decide::decision::Decision;
use crate::model::delta::Delta;
use crate::model::spec::MemberRef;
use crate::model::time::Time;
use crate::plan::Desk;
use crate::plan::machine::MachineWrite;
use crate::plan::write::{Script, Write};

/// A decision whose script was not carried out whole is planned again after that long: by then the watch has
/// shown what stood in its way.
const AGAIN: Duration = Duration::from_millis(250);

impl Term {
    /// Carries out decisions. Those that place members are reserved.
    pub(super) fn carry_out(&mut self, decisions: Vec<Decision>, now: Time) {
        for decision in &decisions {
            self.tell(decision, now);
            self.learn(decision, now);
            self.remember(decision, now);
        }
        self.plan_all(decisions, now);
    }

    /// Plans decisions, and hands what comes of it to the writer.
    fn plan_all(&mut self, decisions: Vec<Decision>, now: Time) {
        for decision in decisions {
            let scripts = self.desk(now).plan(std::slice::from_ref(&decision));
            let creates = |write: &Write| {
                matches!(write, Write::CreatePod { .. } | Write::Machine(MachineWrite::Start { .. }))
            };
            if !scripts.iter().any(|script| script.steps.iter().flatten().any(creates)) {
                self.give_up_places(&decision, now);
            }
            for script in scripts {
                self.submit(script, Some(decision.clone()));
            }
        }
    }

    /// What planning looks at.
    pub(super) fn desk(&self, now: Time) -> Desk<'_> {
        Desk { world: &self.world, catalog: &self.catalog, instance: &self.instance, now }
    }

    /// Hands a script to the writer, and remembers what it is for.
    pub(super) fn submit(&mut self, script: Script, carried: Option<Decision>) {
        let at = Instant::now();
        for write in script.steps.iter().flatten() {
            match write {
                Write::CreatePod { member, namespace, pod } => {
                    let name = pod.metadata.name.as_deref().unwrap_or_default();
                    self.assumed.assume(member.clone(), namespace.clone(), Child::pod(name), at);
                }
                Write::Machine(MachineWrite::Start { member, namespace, name, .. }) => {
                    self.assumed.assume(member.clone(), namespace.clone(), Child::machine(name), at);
                }
                _ => {}
            }
        }
        let holds = |write: &Write| matches!(write, Write::SetPoolFinalizers { .. });
        let of = match &carried {
            Some(_) => Of::Decision,
            None if script.steps.iter().flatten().any(holds) => Of::Hold,
            None => Of::Record,
        };
        self.carried.entry(script.object.clone()).or_default().push_back((of, carried));
        self.writer.submit(script);
    }

    /// A script has ended.
    pub(super) fn script_done(&mut self, object: &Arc<str>, completed: bool, refused: Option<&str>) {
        let carried = self.carried.get_mut(object).and_then(std::collections::VecDeque::pop_front);
        let (of, carried) = carried.unwrap_or((Of::Record, None));
        if self.carried.get(object).is_some_and(std::collections::VecDeque::is_empty) {
            self.carried.remove(object);
        }
        if completed {
            self.setbacks.end(object, of);
            return;
        }
        let now = Instant::now();
        let at = match refused {
            Some(words) => self.set_back(object, of, words, now),
            None => now + AGAIN,
        };
        self.again.extend(carried.into_iter().filter(Decision::is_repeated).map(|decision| (at, decision)));
    }

    /// A write was refused: it is told once, and tried again after a pause that grows. When.
    fn set_back(&mut self, object: &Arc<str>, of: Of, words: &str, now: Instant) -> Instant {
        let (due, news) = self.setbacks.refused(object, of, now);
        let name =
            self.catalog.get(object).map(|known| format!("{}/{}", known.spec.namespace, known.spec.name));
        let name = name.as_deref().unwrap_or(object);
        // What is missing of rights is told for all at once.
        if news && Missing::read(words).is_none() {
            warn!(object = name, "a write was refused, and is tried again less and less often: {words}");
        } else {
            debug!(object = name, %words, "a write was refused");
        }
        // The status of a pool that cannot be held waits for nothing.
        self.look_again(object, if of == Of::Hold { now } else { due });
        due
    }

    /// Plans again what was not carried out.
    pub(super) fn repeat(&mut self) {
        let now_at = Instant::now();
        if self.again.iter().all(|(at, _)| *at > now_at) {
            return;
        }
        let (due, later) = std::mem::take(&mut self.again).into_iter().partition(|(at, _)| *at <= now_at);
        self.again = later;
        let due: Vec<(Instant, Decision)> = due;
        let due = due.into_iter().map(|(_, decision)| decision);
        let due: Vec<Decision> = due.filter(|one| self.catalog.get(one.workload()).is_some()).collect();
        self.plan_all(due, now());
    }

    /// A workload is gone: nothing of it is carried out any more. Creates that are under way are still looked
    /// for, since its members count until it is known that they are gone too.
    pub(super) fn forget(&mut self, workload: &str, now: Time) {
        self.records.forget(workload);
        self.setbacks.forget(workload);
        self.estimates.forget(workload);
        self.again.retain(|(_, decision)| **decision.workload() != *workload);
        let (dropped, held) = std::mem::take(&mut self.held)
            .into_iter()
            .partition(|decision| **decision.workload() == *workload);
        self.held = held;
        let dropped: Vec<Decision> = dropped;
        for decision in dropped {
            self.give_up_places(&decision, now);
        }
    }

    /// Places that a decision gave and that nothing will be created at: the world takes them back.
    fn give_up_places(&mut self, decision: &Decision, now: Time) {
        let (workload, placements) = match decision {
            Decision::Admit { workload, placements, .. } | Decision::Place { workload, placements, .. } => {
                (workload, placements.as_slice())
            }
            Decision::Move { workload, placement, .. } => (workload, std::slice::from_ref(placement)),
            _ => return,
        };
        for placement in placements {
            let member = MemberRef {
                workload: Arc::clone(workload),
                index: placement.index,
                attempt: placement.attempt,
            };
            self.apply(Delta::MemberVanished(member), now);
        }
    }
}
