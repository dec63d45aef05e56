//! Carries out scripts: side by side, those of one object in order, with a bound on requests in flight.

use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use axum::http::Request;
use futures::future::join_all;
use k8s_openapi::api::events::v1::Event;
use kube::Client;
use tokio::sync::{Notify, Semaphore, mpsc};
use tokio::time::{Instant, sleep};
use tracing::debug;

use super::answer::{Answer, Child};
use super::call::{Caller, Outcome, Pauses};
use super::create::{Create, pod_path, read};
use super::events;
use super::machine;
use super::remove::{Remove, Removed};
use super::rights::Rights;
use super::status::Patch;
use crate::model::delta::Delta;
use crate::model::spec::MemberRef;
use crate::operate::lead::Leadership;
use crate::operate::metrics::Metrics;
use crate::plan::write::{Script, Write};

/// Bounds of writing.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Requests in flight, events aside.
    pub in_flight: usize,
    /// Events in flight.
    pub events_in_flight: usize,
    /// Events that wait; more are dropped.
    pub events_waiting: usize,
    /// How long to wait, and for what.
    pub pauses: Pauses,
}

impl Default for Limits {
    fn default() -> Self {
        Self { in_flight: 64, events_in_flight: 16, events_waiting: 16_384, pauses: Pauses::default() }
    }
}

/// Takes scripts; dropping it ends all that it began.
pub struct Writer {
    shared: Arc<Shared>,
}

struct Shared {
    caller: Caller,
    permits: Semaphore,
    answers: mpsc::UnboundedSender<Answer>,
    lanes: Mutex<HashMap<Arc<str>, Lane>>,
    events: mpsc::Sender<Box<Event>>,
    metrics: Arc<Metrics>,
}

/// The scripts of one object that wait while one of them is carried out.
#[derive(Default)]
struct Lane {
    waiting: VecDeque<Script>,
    more: Arc<Notify>,
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.close();
    }
}

impl Writer {
    /// A writer for one term of leadership. Answers go to `answers`.
    pub fn new(
        client: Client,
        leadership: Leadership,
        limits: Limits,
        metrics: Arc<Metrics>,
        answers: mpsc::UnboundedSender<Answer>,
    ) -> Self {
        let open = Arc::new(AtomicBool::new(true));
        let rights = Rights::new(metrics.clone(), Some(answers.clone()));
        let caller = Caller { client, leadership, open, pauses: limits.pauses, rights };
        let (events, queue) = mpsc::channel(limits.events_waiting);
        tokio::spawn(events::send_all(caller.clone(), queue, limits.events_in_flight));
        let permits = Semaphore::new(limits.in_flight);
        let lanes = Mutex::default();
        Self { shared: Arc::new(Shared { caller, permits, answers, lanes, events, metrics }) }
    }

    /// Carries out a script, after those of the same object that were given before.
    pub fn submit(&self, script: Script) {
        let mut lanes = self.shared.lanes();
        if let Some(lane) = lanes.get_mut(&script.object) {
            lane.waiting.push_back(script);
            lane.more.notify_waiters();
            return;
        }
        let lane = Lane::default();
        let more = lane.more.clone();
        lanes.insert(script.object.clone(), lane);
        drop(lanes);
        tokio::spawn(self.shared.clone().run(script, more));
    }

    /// Looks whether the pod of a member is there, and answers with what was found.
    pub fn look(&self, member: MemberRef, namespace: Arc<str>, child: Child) {
        tokio::spawn(self.shared.clone().look(member, namespace, child));
    }

    /// What sends requests for this term.
    pub fn caller(&self) -> Caller {
        self.shared.caller.clone()
    }

    /// Sends an event, or drops it.
    pub fn event(&self, event: Box<Event>) {
        self.shared.event(event);
    }

    /// Whether something of this object is in flight or waits.
    pub fn busy(&self, object: &str) -> bool {
        self.shared.lanes().contains_key(object)
    }

    /// How many objects have something in flight.
    pub fn in_flight(&self) -> usize {
        self.shared.lanes().len()
    }

    /// Waits until nothing is in flight, but not longer than that.
    pub async fn settle(&self, longest: Duration) {
        let until = Instant::now() + longest;
        while self.in_flight() > 0 && Instant::now() < until {
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// Sends no request any more.
    pub fn close(&self) {
        self.shared.caller.open.store(false, Ordering::SeqCst);
    }
}

/// What a write holds while it is carried out.
pub struct Hand<'a> {
    shared: &'a Shared,
    lane: Option<(&'a Arc<str>, &'a Notify)>,
    /// What was said against it first.
    refused: OnceLock<String>,
}

impl<'a> Hand<'a> {
    fn new(shared: &'a Shared, lane: Option<(&'a Arc<str>, &'a Notify)>) -> Self {
        Self { shared, lane, refused: OnceLock::new() }
    }

    /// It is refused, by these words.
    pub fn refused(&self, words: String) {
        let _ = self.refused.set(words);
    }

    /// How long to wait, and for what.
    pub fn pauses(&self) -> Pauses {
        self.shared.caller.pauses
    }

    /// Sends one request when there is room for it.
    pub async fn call(&self, kind: &'static str, request: Request<Vec<u8>>) -> Outcome {
        let Ok(permit) = self.shared.permits.acquire().await else { return Outcome::NotLeading };
        let outcome = self.shared.caller.send(kind, request).await;
        drop(permit);
        match &outcome {
            Outcome::Unclear(words) => debug!(kind, %words, "it is not clear what became of a request"),
            Outcome::Refused(_, words) => self.refused(words.clone()),
            _ => {}
        }
        outcome
    }

    /// Waits, unless another script of the same object comes or the lead ends: then what is being tried again is
    /// of no use.
    pub async fn overtaken_within(&self, wait: impl Future<Output = ()>) -> bool {
        if let Some((object, more)) = self.lane {
            let mut told = pin!(more.notified());
            // From here on a script that comes is told; one that came before is seen.
            told.as_mut().enable();
            if self.shared.lanes().get(object).is_some_and(|lane| !lane.waiting.is_empty()) {
                return true;
            }
            tokio::select! {
                () = wait => {}
                () = told => return true,
            }
        } else {
            wait.await;
        }
        self.shared.caller.left().is_none()
    }
}

impl Shared {
    fn lanes(&self) -> MutexGuard<'_, HashMap<Arc<str>, Lane>> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, answer: Answer) {
        // Nobody listens any more when the term is over.
        let _ = self.answers.send(answer);
    }

    fn event(&self, event: Box<Event>) {
        if self.events.try_send(event).is_err() {
            self.metrics.wrote("event", "dropped");
        }
    }

    async fn run(self: Arc<Self>, mut script: Script, more: Arc<Notify>) {
        loop {
            let object = script.object.clone();
            let (completed, refused) = self.carry_out(script, &more).await;
            let next = {
                let mut lanes = self.lanes();
                let next = lanes.get_mut(&object).and_then(|lane| lane.waiting.pop_front());
                if next.is_none() {
                    lanes.remove(&object);
                }
                next
            };
            self.tell(Answer::Done { object, completed, refused });
            match next {
                Some(next) => script = next,
                None => return,
            }
        }
    }

    /// Whether all of it was done, and what was said where it was refused.
    async fn carry_out(self: &Arc<Self>, script: Script, more: &Notify) -> (bool, Option<String>) {
        let Script { object, steps } = script;
        for step in steps {
            let done = match <[Write; 1]>::try_from(step) {
                Ok([write]) => vec![self.write(&object, write, more).await],
                Err(step) => join_all(step.into_iter().map(|write| self.write(&object, write, more))).await,
            };
            if !done.iter().all(|(done, _)| *done) {
                return (false, done.into_iter().find_map(|(_, refused)| refused));
            }
        }
        (true, None)
    }

    async fn write(
        self: &Arc<Self>,
        object: &Arc<str>,
        write: Write,
        more: &Notify,
    ) -> (bool, Option<String>) {
        let hand = Hand::new(self, Some((object, more)));
        let (done, answer) = match write {
            Write::CreatePod { member, namespace, pod } => {
                let create = Create { member: &member, namespace: &namespace, pod: &pod };
                let (done, answer) = create.carry_out(&hand).await;
                (done, Some(answer))
            }
            Write::PatchWorkloadStatus { workload, namespace, name, resource_version, status } => {
                let patch = Patch::workload(&workload, &namespace, &name, &resource_version, &status);
                patch.carry_out(&hand).await
            }
            Write::PatchPoolStatus { pool, resource_version, status } => {
                Patch::pool(&pool, &resource_version, &status).carry_out(&hand).await
            }
            Write::SetPoolFinalizers { pool, resource_version, finalizers } => {
                Patch::finalizers(&pool, &resource_version, &finalizers).carry_out(&hand).await
            }
            Write::SetNodeTaints { node, resource_version, taints, tainted_for } => {
                Patch::taints(object, &node, &resource_version, &taints, tainted_for.as_deref())
                    .carry_out(&hand)
                    .await
            }
            Write::EvictPod { namespace, name, uid } => {
                (self.remove(Remove::evict(&namespace, &name, &uid), &hand).await, None)
            }
            Write::DeletePod { namespace, name, uid } => {
                (self.remove(Remove::pod(&namespace, &name, &uid), &hand).await, None)
            }
            Write::DeleteWorkload { namespace, name, uid } => {
                (self.remove(Remove::workload(&namespace, &name, &uid), &hand).await, None)
            }
            Write::Machine(write) => machine::carry_out(write, &hand).await,
            Write::Event(event) => {
                self.event(event);
                (true, None)
            }
        };
        if let Some(answer) = answer {
            self.tell(answer);
        }
        (done, hand.refused.into_inner())
    }

    async fn remove(self: &Arc<Self>, remove: Remove, hand: &Hand<'_>) -> bool {
        match remove.carry_out(hand).await {
            Removed::Yes => true,
            Removed::Refused | Removed::No => false,
            // A budget may hold it for minutes, which must not hold the other writes of its workload.
            Removed::Held => {
                let shared = self.clone();
                tokio::spawn(async move { remove.insist(&Hand::new(&shared, None)).await });
                true
            }
        }
    }

    async fn look(self: Arc<Self>, member: MemberRef, namespace: Arc<str>, child: Child) {
        let hand = Hand::new(&self, None);
        let name = match child {
            Child::Pod(name) => name,
            Child::Machine(name) => {
                if let Some(answer) = machine::look(&hand, member, namespace, name).await {
                    self.tell(answer);
                }
                return;
            }
        };
        let answer = match read(&hand, "read_pod", &pod_path(&namespace, &name)).await {
            Ok(Some(pod)) if pod.owner_references.iter().any(|owner| *owner.uid == *member.workload) => {
                Answer::Member(Delta::MemberCreated { member, pod: pod.uid.into() })
            }
            Ok(_) => Answer::Member(Delta::MemberVanished(member)),
            Err(Outcome::NotLeading) => return,
            Err(_) => Answer::Unknown { member, namespace, child: Child::Pod(name) },
        };
        self.tell(answer);
    }
}
