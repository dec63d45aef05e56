//! The election carried out: a Lease read and written over a client of its own.
//!
//! That client must not retry by itself: an old renewal that arrives late must not be taken for a new one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::{Api, PostParams};
use kube::{Client, ResourceExt as _};
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{debug, info, warn};

use super::health::{self, Health};
use super::lead::{Elector, Leadership, Move, Record, Timing};
use super::metrics::Metrics;
use super::withheld::RIGHTS;
use crate::apply::rights::Missing;

/// What is said where the API server answers 401.
const UNAUTHORIZED: &str = "the API server does not know the operator's credentials (401 Unauthorized): its token has expired or was \
                            revoked. A token in a file is read anew within a minute, and kubelets renew theirs; one that \
                            stands in a kubeconfig must be replaced there, and the operator started again";

/// Why the lead ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// Another holds the Lease.
    Taken,
    /// It could not be renewed in time.
    NotRenewed,
}

/// What is done with the Lease, for what is said of it.
const READ: &str = "read";
/// See [`READ`].
const WRITE: &str = "write";

/// Longest pause between two tries of what is forbidden, where nothing is to be lost by it.
const LONGEST: Duration = Duration::from_secs(15);

/// Reading or writing does not go well.
struct Trouble {
    since: Instant,
    words: String,
    /// So often in a row it was forbidden.
    forbidden: u32,
}

/// One candidate at work.
pub struct Candidate {
    api: Api<Lease>,
    name: String,
    namespace: String,
    identity: String,
    timing: Timing,
    elector: Elector,
    leadership: Leadership,
    last: Option<Lease>,
    health: Health,
    metrics: Arc<Metrics>,
    /// What does not go well, and since when.
    trouble: BTreeMap<&'static str, Trouble>,
}

impl Candidate {
    /// A candidate for the Lease `name` in `namespace`. `identity` is this process's alone, and `leadership` is
    /// the token that its writers ask.
    pub fn new(
        client: Client,
        namespace: &str,
        name: &str,
        identity: &str,
        timing: Timing,
        leadership: Leadership,
    ) -> Self {
        Self {
            api: Api::namespaced(client, namespace),
            name: name.to_owned(),
            namespace: namespace.to_owned(),
            identity: identity.to_owned(),
            timing,
            elector: Elector::new(identity, timing),
            leadership,
            last: None,
            health: Health::default(),
            metrics: Arc::default(),
            trouble: BTreeMap::new(),
        }
    }

    /// Says there what keeps it from the Lease.
    pub fn report_to(&mut self, health: Health, metrics: Arc<Metrics>) {
        (self.health, self.metrics) = (health, metrics);
    }

    /// The token that writers ask.
    pub fn leadership(&self) -> Leadership {
        self.leadership.clone()
    }

    /// How often the Lease changed hands, as far as it says.
    pub fn term(&self) -> u64 {
        let transitions = self.last.as_ref().and_then(|lease| lease.spec.as_ref()?.lease_transitions);
        u64::try_from(transitions.unwrap_or(0)).unwrap_or(0)
    }

    /// Returns when the Lease is ours.
    pub async fn acquire(&mut self) {
        let mut told = String::new();
        loop {
            match self.step().await {
                Step::Held => {
                    info!(identity = %self.identity, lease = %self.name, "leads");
                    return;
                }
                Step::Lost(_) => self.elector = Elector::new(self.identity.clone(), self.timing),
                Step::Waiting(until) => {
                    let holder = self.holder();
                    if holder != told {
                        info!(%holder, lease = %self.name, "stands by");
                        told = holder;
                    }
                    sleep_until(until).await;
                }
            }
        }
    }

    /// Renews until the lead is lost. Ending this future ends the renewing, not the lead.
    pub async fn keep(&mut self) -> Lost {
        let mut next = Instant::now() + self.timing.renew;
        loop {
            sleep_until(self.elector.deadline().map_or(next, |deadline| deadline.min(next))).await;
            let lost = match self.step().await {
                Step::Held => {
                    next = Instant::now() + self.timing.renew;
                    continue;
                }
                Step::Waiting(until) => {
                    next = until;
                    if self.elector.leads(Instant::now()) {
                        continue;
                    }
                    Lost::NotRenewed
                }
                Step::Lost(lost) => lost,
            };
            self.leadership.end();
            warn!(identity = %self.identity, ?lost, holder = %self.holder(), "lost the lead");
            return lost;
        }
    }

    /// Gives the Lease back, so that another may take it at once. The token ends first.
    pub async fn release(&mut self) {
        self.leadership.end();
        let Some(mut lease) = self.last.take() else { return };
        let spec = lease.spec.get_or_insert_default();
        spec.holder_identity = None;
        spec.renew_time = Some(MicroTime(Timestamp::now()));
        let params = PostParams::default();
        match timeout(Duration::from_secs(2), self.api.replace(&self.name, &params, &lease)).await {
            Ok(Ok(_)) => info!(lease = %self.name, "gave the lead back"),
            Ok(Err(error)) => debug!(%error, "could not give the lead back"),
            Err(_) => debug!("could not give the lead back in time"),
        }
    }

    fn holder(&self) -> String {
        let spec = self.last.as_ref().and_then(|lease| lease.spec.as_ref());
        spec.and_then(|spec| spec.holder_identity.clone()).unwrap_or_default()
    }

    async fn step(&mut self) -> Step {
        let now = Instant::now();
        let mut next = self.elector.next(now);
        if matches!(next, Move::Read(_)) || (self.elector.deadline().is_none() && self.last.is_some()) {
            match self.read().await {
                Ok(follows) => next = follows,
                Err(trouble) => return self.complain(READ, trouble.as_ref()),
            }
        }
        match next {
            Move::Read(at) => Step::Waiting(at.max(now + Duration::from_millis(50))),
            Move::Lost => Step::Lost(self.why_lost()),
            Move::Write { over, transitions, acquire } => self.write(over, transitions, acquire).await,
        }
    }

    fn why_lost(&self) -> Lost {
        if self.holder() == self.identity { Lost::NotRenewed } else { Lost::Taken }
    }

    /// As long as a request may take: what is left of the lead, and a renewal's interval at most.
    fn patience(&self) -> Duration {
        let left = self.elector.deadline().map(|at| at.saturating_duration_since(Instant::now()));
        left.unwrap_or(self.timing.renew).min(self.timing.renew).max(Duration::from_millis(100))
    }

    async fn read(&mut self) -> Result<Move, Option<kube::Error>> {
        let answer = timeout(self.patience(), self.api.get_opt(&self.name)).await;
        let lease = answer.map_err(|_| None)?.map_err(Some)?;
        self.relax(READ);
        let follows = self.elector.read(Instant::now(), lease.as_ref().map(record));
        self.last = lease;
        if matches!(follows, Move::Read(_)) && ![self.identity.as_str(), ""].contains(&self.holder().as_str())
        {
            // Another leads: there is nothing to be written.
            self.relax(WRITE);
        }
        Ok(follows)
    }

    async fn write(&mut self, over: Option<String>, transitions: i32, acquire: bool) -> Step {
        let began = Instant::now();
        let lease = self.lease(over.clone(), transitions, acquire);
        let params = PostParams::default();
        let send = async {
            match over {
                None => self.api.create(&params, &lease).await,
                Some(_) => self.api.replace(&self.name, &params, &lease).await,
            }
        };
        match timeout(self.patience(), send).await {
            Ok(Ok(written)) => {
                self.relax(WRITE);
                self.elector.written(began, Instant::now(), record(&written));
                self.last = Some(written);
                if let Some(deadline) = self.elector.deadline() {
                    self.leadership.extend(deadline);
                }
                Step::Held
            }
            Ok(Err(kube::Error::Api(status))) if status.code == 409 => {
                // Somebody else's write, or our own whose answer was lost: look.
                match self.read().await {
                    Ok(Move::Lost) => Step::Lost(self.why_lost()),
                    Ok(Move::Read(at)) => Step::Waiting(at),
                    Ok(Move::Write { .. }) => Step::Waiting(Instant::now() + Duration::from_millis(50)),
                    Err(_) => Step::Waiting(Instant::now() + self.timing.retry),
                }
            }
            Ok(Err(error)) => self.complain(WRITE, Some(&error)),
            Err(_) => self.complain(WRITE, None),
        }
    }

    /// The Lease could not be read or written (none: there was no answer in time). The same is told once. It is tried
    /// again after a pause: a short one, but where it is forbidden and no lead is to be lost.
    fn complain(&mut self, what: &'static str, error: Option<&kube::Error>) -> Step {
        let now = Instant::now();
        let (since, before, forbidden) = self
            .trouble
            .remove(what)
            .map_or((now, None, 0), |Trouble { since, words, forbidden }| (since, Some(words), forbidden));
        let status = match error {
            Some(kube::Error::Api(status)) => Some(status),
            _ => None,
        };
        let words = match (status, error) {
            (Some(status), _) if !status.message.is_empty() => status.message.clone(),
            (_, Some(error)) => error.to_string(),
            (_, None) => "no answer in time".to_owned(),
        };
        let missing = status.filter(|status| status.code == 403).and_then(|_| Missing::read(&words));
        let mut text = format!("it cannot {what} its Lease {}/{}: {words}", self.namespace, self.name);
        if let Some(missing) = &missing {
            text = format!(
                "the operator may not {missing}, so it cannot lead, and nothing is admitted; what runs goes on. The API server \
                 says: {words}. {RIGHTS}"
            );
            self.metrics.lacks(request(what), true);
        }
        if status.is_some_and(|status| status.code == 401) {
            if self.health.problem(health::CREDENTIALS, Some(UNAUTHORIZED.to_owned())) {
                tracing::error!(%words, "{UNAUTHORIZED}");
            }
        } else if before.is_none_or(|before| before != words) {
            warn!(lease = %self.name, "{text}");
        }
        if missing.is_some() || now - since >= self.timing.lease {
            self.health.problem(health::LEASE, Some(text));
        }
        let leads = self.elector.leads(now);
        let wait = match forbidden {
            _ if leads || missing.is_none() => self.timing.retry,
            forbidden => self.timing.retry.saturating_mul(1 << forbidden.min(10)).min(LONGEST),
        };
        let forbidden = if missing.is_some() { forbidden.saturating_add(1) } else { 0 };
        self.trouble.insert(what, Trouble { since, words, forbidden });
        Step::Waiting(now + wait)
    }

    /// The API server has answered well.
    fn relax(&mut self, what: &'static str) {
        if self.trouble.remove(what).is_some_and(|trouble| trouble.forbidden > 0) {
            self.metrics.lacks(request(what), false);
            info!(lease = %self.name, "the operator may {what} the Lease again");
        }
        if self.trouble.is_empty() {
            self.health.problem(health::LEASE, None);
        }
        if self.health.problem(health::CREDENTIALS, None) {
            info!("the API server knows the operator again");
        }
    }

    fn lease(&self, over: Option<String>, transitions: i32, acquire: bool) -> Lease {
        // What others put on the object stays: a full update starts from what was read.
        let mut lease = self.last.clone().filter(|_| over.is_some()).unwrap_or_else(|| Lease {
            metadata: ObjectMeta {
                name: Some(self.name.clone()),
                namespace: Some(self.namespace.clone()),
                ..ObjectMeta::default()
            },
            spec: None,
        });
        lease.metadata.resource_version = over;
        lease.metadata.managed_fields = None;
        let now = MicroTime(Timestamp::now());
        let spec: &mut LeaseSpec = lease.spec.get_or_insert_default();
        spec.holder_identity = Some(self.identity.clone());
        spec.lease_duration_seconds = i32::try_from(self.timing.lease.as_secs().max(1)).ok();
        spec.lease_transitions = Some(transitions);
        spec.renew_time = Some(now.clone());
        if acquire {
            spec.acquire_time = Some(now);
        }
        lease
    }
}

/// What metrics call it.
fn request(what: &str) -> &'static str {
    if what == READ { "read_lease" } else { "lease" }
}

enum Step {
    Held,
    Lost(Lost),
    Waiting(Instant),
}

fn record(lease: &Lease) -> Record {
    let spec = lease.spec.clone().unwrap_or_default();
    Record {
        resource_version: lease.resource_version().unwrap_or_default(),
        holder: spec.holder_identity.unwrap_or_default(),
        duration: spec
            .lease_duration_seconds
            .and_then(|seconds| u64::try_from(seconds).ok())
            .map(Duration::from_secs),
        transitions: spec.lease_transitions.unwrap_or(0),
    }
}
