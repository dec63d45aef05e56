//! One term of leadership: everything that is known, and the one cycle that acts on it.
//!
//! All of it is dropped when the term ends. What survives is in the cluster: objects, statuses and ledgers.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tracing::{debug, info, warn};

use super::config::{Args, Clients};
use super::confirm::Assumptions;
use super::debug::Asked;
use super::definitions;
use super::estimate::Estimates;
use super::health;
use super::http::Told;
use super::lead::Leadership;
use super::ledger::{self, Ledgers, ReserveError};
use super::metrics::Metrics;
use super::record::Records;
use super::reserve::pause;
use super::setback::{Of, Setbacks};
use crate::apply::{Answer, Writer};
use crate::decide::decide;
use crate::decide::decision::Decision;
use crate::dump::Lately;
use crate::model::batch::{self, Problem};
use crate::model::delta::{Delta, InFlight};
use crate::model::time::Time;
use crate::model::world::{Tuning, World};
use crate::observe::catalog::Catalog;
use crate::optimise::solve;
use crate::watch::follow::Follow;
use crate::watch::freshness::Freshness;
use crate::watch::seen::{KINDS, Seen, watch_all};

/// At least that long between two cycles: events that come close together are taken together.
const BETWEEN_CYCLES: Duration = Duration::from_millis(10);
/// The ledgers are written once more when nothing was reserved for that long and entries have left them.
const QUIET: Duration = Duration::from_secs(2);
/// Without any event the cycle runs this often: to look at the age of the caches.
const IDLE: Duration = Duration::from_secs(5);
/// Events that wait for the cycle; watches are held back beyond that.
const WAITING: usize = 8192;
/// `KubeVirt` is asked about so many templates at once, and then not for that long.
const CHECKS_AT_ONCE: usize = 8;
const BETWEEN_CHECKS: Duration = Duration::from_millis(250);
/// Where it could not be asked, it is not for that long.
const ASK_LATER: Duration = Duration::from_secs(5);
/// Writes that are in flight when the process is told to end may take that long.
const FAREWELL: Duration = Duration::from_secs(5);

/// How a term ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Another leads, or this process could not show that it does.
    Lost,
    /// The process was told to end.
    Stopped,
}

/// One term.
pub struct Term {
    pub(super) catalog: Catalog,
    pub(super) world: World,
    pub(super) ledgers: Ledgers,
    pub(super) writer: Writer,
    pub(super) leadership: Leadership,
    pub(super) metrics: Arc<Metrics>,
    pub(super) instance: String,
    /// Namespace and name of the Lease.
    pub(super) lease: (String, String),
    pub(super) listed: BTreeSet<usize>,
    pub(super) assumed: Assumptions,
    pub(super) records: Records,
    /// When those at the front of queues will start.
    pub(super) estimates: Estimates,
    /// Decisions that the ledger has no room for yet.
    pub(super) held: Vec<Decision>,
    /// Decisions that are being carried out, script by script.
    pub(super) carried: HashMap<Arc<str>, VecDeque<(Of, Option<Decision>)>>,
    /// Decisions that are to be carried out again.
    pub(super) again: Vec<(Instant, Decision)>,
    /// What was refused, and how often.
    pub(super) setbacks: Setbacks,
    /// What was said when a ledger could last not be written, by root pool.
    pub(super) unwritten: BTreeMap<Arc<str>, String>,
    /// Ledgers are not tidied before then, since it was refused.
    pub(super) tidy_at: Option<Instant>,
    pub(super) reserved_at: Option<Instant>,
    /// At least that long between the last reservation and the next.
    pub(super) pause: Duration,
    began: Instant,
    in_flight: Vec<InFlight>,
    freshness: Freshness,
    stale_after: Duration,
    stale: bool,
    seen: mpsc::Receiver<Seen>,
    answers: mpsc::UnboundedReceiver<Answer>,
    solved: mpsc::UnboundedReceiver<batch::Answer>,
    solver: mpsc::UnboundedSender<batch::Answer>,
    /// Who wants to see the world.
    worlds: mpsc::Receiver<Asked>,
    pub(super) asked: Vec<Asked>,
    /// The last decisions, for those.
    pub(super) lately: Lately,
    came: Vec<Seen>,
    solutions: Vec<batch::Answer>,
    came_back: Vec<Answer>,
    wake_at: Option<Time>,
    /// Before then `KubeVirt` is not asked about templates.
    check_at: Instant,
    /// Something happened that may be decided on.
    stirred: bool,
    pub(super) told: Told,
    _watches: JoinSet<()>,
}

/// Now, by the wall clock: times of objects are compared with it.
pub(super) fn now() -> Time {
    Time(Timestamp::now().as_millisecond())
}

impl Term {
    /// Takes the ledgers over, and then begins to read everything.
    ///
    /// # Errors
    /// Where another took the lead meanwhile.
    pub async fn begin(
        args: &Args,
        clients: &Clients,
        leadership: Leadership,
        term: u64,
        identity: &str,
        told: Told,
    ) -> Result<Self, ReserveError> {
        let metrics = told.metrics.clone();
        let (out, answers) = mpsc::unbounded_channel();
        let writer =
            Writer::new(clients.write.clone(), leadership.clone(), args.limits(), metrics.clone(), out);
        let mut ledgers = Ledgers::new(writer.caller(), &args.namespace, identity);
        let in_flight = ledgers.take_over(term).await?;
        told.health.problem(health::LEDGERS, None);
        let freshness = Freshness::new(&KINDS);
        let (out, seen) = mpsc::channel(WAITING);
        let (solver, solved) = mpsc::unbounded_channel();
        let mut watches = watch_all(&clients.watch, Follow::default(), &freshness, &out);
        watches.spawn(definitions::follow(clients.watch.clone(), told.clone()));
        Ok(Self {
            catalog: Catalog::default(),
            world: World::new(Tuning { lost_after: args.lost_after(), ..Tuning::default() }),
            ledgers,
            writer,
            leadership,
            metrics,
            instance: identity.to_owned(),
            lease: (args.namespace.clone(), args.lease_name.clone()),
            listed: BTreeSet::new(),
            assumed: Assumptions::default(),
            records: Records::default(),
            estimates: Estimates::default(),
            held: Vec::new(),
            carried: HashMap::new(),
            again: Vec::new(),
            setbacks: Setbacks::default(),
            unwritten: BTreeMap::new(),
            tidy_at: None,
            reserved_at: None,
            pause: pause(0, Duration::ZERO),
            began: Instant::now(),
            in_flight,
            freshness,
            stale_after: args.stale_after,
            stale: false,
            seen,
            answers,
            solved,
            solver,
            worlds: told.worlds.lead(),
            asked: Vec::new(),
            lately: Lately::default(),
            came: Vec::new(),
            solutions: Vec::new(),
            came_back: Vec::new(),
            wake_at: None,
            check_at: Instant::now(),
            stirred: true,
            told,
            _watches: watches,
        })
    }

    /// Runs the cycle until the lead is lost or `stop` says so.
    pub async fn run(mut self, stop: &mut watch::Receiver<bool>) -> Ended {
        let mut next = Instant::now();
        loop {
            let ended = tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => Some(Ended::Stopped),
                open = self.wait(next) => (!open).then_some(Ended::Lost),
            };
            match ended {
                Some(Ended::Stopped) => return self.farewell().await,
                Some(Ended::Lost) => return Ended::Lost,
                None => {}
            }
            let began = Instant::now();
            if let Err(ended) = self.cycle().await {
                return ended;
            }
            next = began + BETWEEN_CYCLES;
        }
    }

    /// Waits for something to do, but at least until `earliest`. Whether there will be more.
    async fn wait(&mut self, earliest: Instant) -> bool {
        sleep_until(earliest).await;
        let due = self.due();
        // Receiving many loses nothing when it is given up.
        tokio::select! {
            count = self.seen.recv_many(&mut self.came, WAITING) => count > 0,
            count = self.answers.recv_many(&mut self.came_back, WAITING) => count > 0,
            count = self.solved.recv_many(&mut self.solutions, WAITING) => count > 0,
            count = self.worlds.recv_many(&mut self.asked, WAITING) => count > 0,
            () = sleep_until(due) => true,
        }
    }

    /// When there is something to do even if nothing comes.
    fn due(&self) -> Instant {
        let now = Instant::now();
        let mut due = now + IDLE;
        if self.may_decide() {
            if self.stirred || !self.held.is_empty() {
                due = due.min(self.reservable_at());
            }
            if let Some(wake_at) = self.wake_at {
                let millis = u64::try_from(wake_at.0.saturating_sub(self::now().0)).unwrap_or(0);
                due = due.min((now + Duration::from_millis(millis)).max(self.reservable_at()));
            }
        }
        if self.ledgers.stale() {
            due = due.min(self.quiet_at());
        }
        if self.catalog.wants_checks() && self.world.has_kubevirt() {
            due = due.min(self.check_at.max(now));
        }
        if let Some(check) = self.catalog.next_check().filter(|_| self.world.has_kubevirt()) {
            let millis = u64::try_from(check.0.saturating_sub(self::now().0)).unwrap_or(0);
            due = due.min((now + Duration::from_millis(millis).min(IDLE)).max(self.check_at));
        }
        let again = self.again.iter().map(|(at, _)| *at);
        let others = self
            .records
            .next()
            .into_iter()
            .chain(self.assumed.next())
            .chain(self.estimates.next(now))
            .chain(again);
        others.fold(due, Instant::min)
    }

    fn reservable_at(&self) -> Instant {
        self.reserved_at.map_or(self.began, |at| at + self.pause)
    }

    fn quiet_at(&self) -> Instant {
        let quiet = self.reserved_at.map_or(self.began, |at| at + QUIET);
        self.tidy_at.map_or(quiet, |at| at.max(quiet))
    }

    fn may_decide(&self) -> bool {
        self.world.is_settled() && !self.stale
    }

    async fn cycle(&mut self) -> Result<(), Ended> {
        let began = Instant::now();
        if !self.leadership.holds() {
            return Err(Ended::Lost);
        }
        self.take_all()?;
        self.look_at_ages();
        self.settle();
        self.show_world(now());
        let mut deciding = Duration::ZERO;
        let due = self.wake_at.is_some_and(|at| at <= now());
        let wanted = self.stirred || due || !self.held.is_empty();
        if wanted && self.may_decide() && Instant::now() >= self.reservable_at() {
            let began = Instant::now();
            let decided = decide(&mut self.world, now());
            deciding = began.elapsed();
            self.stirred = false;
            self.wake_at = decided.wake_at;
            self.put(decided.questions);
            let go = self.reserve(decided.decisions, now()).await?;
            self.carry_out(go, now());
        }
        self.repeat();
        self.check_machines();
        self.record(now());
        self.confirm();
        self.flush().await?;
        self.metrics.cycle(began.elapsed(), deciding, self.writer.in_flight());
        Ok(())
    }

    /// Takes all that has come, up to a bound.
    fn take_all(&mut self) -> Result<(), Ended> {
        let now = now();
        while let Ok(answer) = self.answers.try_recv() {
            self.came_back.push(answer);
        }
        while self.came.len() < WAITING
            && let Ok(seen) = self.seen.try_recv()
        {
            self.came.push(seen);
        }
        while let Ok(answer) = self.solved.try_recv() {
            self.solutions.push(answer);
        }
        self.stirred |= !self.came.is_empty() || !self.came_back.is_empty() || !self.solutions.is_empty();
        // What was answered was done before what is shown now.
        for answer in std::mem::take(&mut self.came_back) {
            self.answered(answer, now)?;
        }
        for seen in std::mem::take(&mut self.came) {
            self.see(seen, now);
        }
        for answer in std::mem::take(&mut self.solutions) {
            debug!(pool = %answer.pool, figures = ?answer.figures, "a batch is solved");
            self.world.apply(Delta::Solved(Box::new(answer)), now);
        }
        for note in self.catalog.take_notes() {
            warn!(%note, "could not be read in full");
        }
        Ok(())
    }

    /// Has batches solved beside the cycle. A thread each, which the process does not wait for when it ends: a pool
    /// puts one question at a time, and its answer is never waited for longer than its time.
    fn put(&self, questions: Vec<Problem>) {
        for problem in questions {
            let solver = self.solver.clone();
            std::thread::spawn(move || {
                let answer = solve(&problem);
                // Nobody listens once the term is over.
                let _ = solver.send(answer);
            });
        }
    }

    fn look_at_ages(&mut self) {
        for (kind, age) in self.freshness.ages() {
            self.metrics.watch_age(kind, age);
        }
        let Some((kind, age)) = self.freshness.oldest() else { return };
        let stale = age > self.stale_after;
        if stale && !self.stale {
            warn!(kind, age_seconds = age.as_secs(), "nothing is decided: what is known is too old");
        } else if !stale && self.stale {
            info!("what is known is fresh again");
        }
        self.stale = stale;
        let old = stale.then(|| {
            format!("nothing is decided, since the watch of {kind} has been silent for {} s", age.as_secs())
        });
        self.told.health.problem(health::STALE, old);
    }

    /// When all lists are read, what was in flight is told and the world is complete.
    fn settle(&mut self) {
        if self.world.is_settled() || self.listed.len() < KINDS.len() {
            return;
        }
        let now = now();
        for flight in std::mem::take(&mut self.in_flight) {
            self.look_for(&flight);
            self.world.apply(Delta::InFlight(Box::new(flight)), now);
        }
        self.apply(Delta::Settled, now);
        for workload in self.ledgers.workloads() {
            if self.catalog.get(&workload).is_none() {
                self.ledgers.gone(&workload);
            }
        }
        self.stirred = true;
        self.catalog.labels_shown();
        self.records.all(&self.catalog);
        info!(
            pools = self.catalog.pools().count(),
            workloads = self.catalog.workloads().count(),
            "has read all lists"
        );
        self.told.health.problem(health::LISTS, None);
    }

    /// Asks `KubeVirt` about templates that it was not asked about yet, a few at a time.
    fn check_machines(&mut self) {
        let at = Instant::now();
        if !self.world.is_settled() || !self.world.has_kubevirt() || at < self.check_at {
            return;
        }
        let due = self.catalog.take_checks(CHECKS_AT_ONCE, now());
        if due.is_empty() {
            return;
        }
        self.check_at = at + BETWEEN_CHECKS;
        for uid in due {
            if let Some(script) = self.desk(now()).check(&uid) {
                self.submit(script, None);
            }
        }
    }

    /// `KubeVirt` could not be asked: not again at once.
    pub(super) fn ask_later(&mut self) {
        self.check_at = Instant::now() + ASK_LATER;
    }

    /// Looks for pods that were not shown.
    fn confirm(&mut self) {
        let now = Instant::now();
        for (member, namespace, child) in self.assumed.take_due(now) {
            if self.writer.busy(&member.workload) {
                self.assumed.later(&member, now);
            } else {
                debug!(%namespace, ?child, "is looked for");
                self.writer.look(member, namespace, child);
            }
        }
    }

    async fn flush(&mut self) -> Result<(), Ended> {
        if !self.ledgers.stale() || Instant::now() < self.quiet_at() {
            return Ok(());
        }
        self.reserved_at = Some(Instant::now());
        // No object of that name has a status.
        let ledgers: Arc<str> = ledger::LABEL.into();
        match self.ledgers.flush().await {
            Ok(()) => {
                self.setbacks.end(&ledgers, Of::Record);
                self.tidy_at = None;
                Ok(())
            }
            Err(error) if error.ends_the_term() => {
                warn!(%error, "nothing more is reserved");
                Err(Ended::Lost)
            }
            Err(error) => {
                let (due, news) = self.setbacks.refused(&ledgers, Of::Record, Instant::now());
                self.tidy_at = Some(due);
                if news && error.lack().is_none() {
                    warn!(%error, "a ledger could not be tidied");
                }
                Ok(())
            }
        }
    }

    /// What is in flight is finished; nothing new is begun.
    async fn farewell(mut self) -> Ended {
        info!(in_flight = self.writer.in_flight(), "ends: finishes what is in flight");
        self.writer.settle(FAREWELL).await;
        // Statuses of what was just done are worth a moment; the next leader would write them too.
        if self.take_all().is_ok() {
            self.record(now());
            self.writer.settle(Duration::from_secs(1)).await;
        }
        self.writer.close();
        self.told.health.problem(health::ENDS, Some("it was told to end".to_owned()));
        Ended::Stopped
    }
}
