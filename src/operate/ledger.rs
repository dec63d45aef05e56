//! The ledgers: one `ConfigMap` a root pool, written by compare and swap before any pod is created.
//!
//! A write names the version that it replaces and this leader's epoch. Who took the lead since has raised the
//! epoch, and so the writes of an older leader fail here, whatever it believes; it admits nothing more.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use axum::http::{Method, Request};
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;
use thiserror::Error;
use tokio::time::sleep;
use tracing::{debug, error, info, warn};

use crate::apply::call::{Caller, JSON, Outcome};
use crate::apply::rights::Missing;
use crate::model::delta::InFlight;
use crate::model::spec::MemberRef;
use crate::model::time::Time;
use crate::plan::ledger::{self, Ledger, LedgerError};

/// On every ledger: the name of its root pool.
pub const LABEL: &str = "weir.dev/ledger";

/// The requests about ledgers, as metrics name them: each needs a right of its own.
pub const LIST: &str = "list_ledgers";
/// See [`LIST`].
pub const READ: &str = "read_ledger";
/// See [`LIST`].
pub const CREATE: &str = "create_ledger";
/// See [`LIST`].
pub const WRITE: &str = "ledger";

/// Why nothing was reserved.
#[derive(Debug, Error)]
pub enum ReserveError {
    /// Another leads: this process must stop.
    #[error("another leads: the ledger {ledger} has epoch {epoch} of {holder}")]
    Lost {
        /// Which ledger says so.
        ledger: String,
        /// Its epoch.
        epoch: u64,
        /// Its holder.
        holder: String,
    },
    /// The lead ended meanwhile.
    #[error("this process does not lead any more")]
    NotLeading,
    /// The ledger cannot be read, or would be too large.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The API server refuses to have it read or written.
    #[error("{what} cannot be {done}: {words}")]
    Refused {
        /// The request, as metrics name it.
        request: &'static str,
        /// Which ledger, or all.
        what: String,
        /// What cannot be done with it.
        done: &'static str,
        /// The API server's words.
        words: String,
    },
}

impl ReserveError {
    /// Whether it ends this term.
    pub fn ends_the_term(&self) -> bool {
        matches!(self, Self::Lost { .. } | Self::NotLeading)
    }

    /// The right that is missing, and the request that needs it.
    pub fn lack(&self) -> Option<(&'static str, Missing)> {
        match self {
            Self::Refused { request, words, .. } => Some((*request, Missing::read(words)?)),
            _ => None,
        }
    }
}

/// One admission in flight, and what is still to come of it.
#[derive(Debug)]
struct Entry {
    flight: InFlight,
    unseen: BTreeSet<u32>,
    /// The status was written after its members were known.
    recorded: bool,
    /// The status that was read at the start told of the admission. That of members placed anew is told by
    /// their pods.
    shown: bool,
}

impl Entry {
    fn new(flight: InFlight) -> Self {
        let unseen = flight.placements.keys().copied().collect();
        Self { flight, unseen, recorded: false, shown: false }
    }

    /// Whether members and status say all that it says.
    fn told(&self) -> bool {
        (self.recorded || self.shown) && self.unseen.is_empty()
    }
}

/// The ledger of one root pool, as last written or read.
#[derive(Debug, Default)]
struct Book {
    /// None: it does not exist.
    version: Option<String>,
    entries: BTreeMap<u64, Entry>,
    /// Entries have left since it was written.
    stale: bool,
}

/// All ledgers of one term.
pub struct Ledgers {
    caller: Caller,
    namespace: String,
    holder: String,
    epoch: u64,
    books: BTreeMap<Arc<str>, Book>,
    of_workload: HashMap<Arc<str>, Vec<(Arc<str>, u64)>>,
    next: u64,
    /// What is found from here on came too late to be taken over.
    taken_over: bool,
}

#[derive(Deserialize)]
struct Maps {
    items: Option<Vec<ConfigMap>>,
}

/// A ledger as it was read.
enum Found {
    Nothing,
    Map(Box<ConfigMap>),
}

impl Ledgers {
    /// Ledgers in `namespace`, of which none is read yet.
    pub fn new(caller: Caller, namespace: &str, holder: &str) -> Self {
        Self {
            caller,
            namespace: namespace.to_owned(),
            holder: holder.to_owned(),
            epoch: 0,
            books: BTreeMap::new(),
            of_workload: HashMap::new(),
            next: 0,
            taken_over: false,
        }
    }

    /// This term's number.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Raises the epoch of every ledger, so that no older leader can reserve any more, and returns what was in
    /// flight. Everything else must be read after this. `term` counts how often the lead changed hands: where
    /// there is no ledger yet it alone tells an older leader's from a newer one's.
    ///
    /// # Errors
    /// Where another took the lead meanwhile.
    pub async fn take_over(&mut self, term: u64) -> Result<Vec<InFlight>, ReserveError> {
        let found = self.list().await?;
        let mut readable = Vec::new();
        self.epoch = term;
        for map in found {
            let name = map.metadata.name.clone().unwrap_or_default();
            let root = map.metadata.labels.as_ref().and_then(|labels| labels.get(LABEL)).cloned();
            let Some(root) = root.filter(|root| ledger::name(root) == name) else { continue };
            match decode(&name, &map) {
                Ok(read) => {
                    self.epoch = self.epoch.max(read.epoch);
                    readable.push((Arc::<str>::from(root), map, read));
                }
                Err(unreadable) => error!(error = %unreadable, "a ledger cannot be read"),
            }
        }
        self.epoch = self.epoch.saturating_add(1);
        let mut in_flight = Vec::new();
        for (root, map, read) in readable {
            in_flight.extend(self.adopt(&root, &map, read));
            in_flight.extend(self.write(&root, Vec::new()).await?);
        }
        self.taken_over = true;
        info!(epoch = self.epoch, ledgers = self.books.len(), in_flight = in_flight.len(), "took over");
        Ok(in_flight)
    }

    /// Reserves admissions under one root pool. Returns what an older leader had written there after the
    /// take-over: its ledger was not there before, and it is not kept.
    ///
    /// # Errors
    /// Nothing was reserved; see [`ReserveError::ends_the_term`].
    pub async fn reserve(
        &mut self,
        root: &Arc<str>,
        flights: Vec<InFlight>,
    ) -> Result<Vec<InFlight>, ReserveError> {
        self.write(root, flights).await
    }

    /// Whether all that this places is reserved already.
    pub fn covers(&self, flight: &InFlight) -> bool {
        let ids = self.of_workload.get(&flight.workload).into_iter().flatten();
        let entries: Vec<&Entry> =
            ids.filter_map(|(root, id)| self.books.get(root)?.entries.get(id)).collect();
        !entries.is_empty()
            && flight.placements.iter().all(|(index, place)| {
                entries.iter().any(|entry| {
                    entry.unseen.contains(index) && entry.flight.placements.get(index) == Some(place)
                })
            })
    }

    /// Bytes that may still be reserved under a root pool at once.
    pub fn room(&self, root: &str) -> usize {
        let used: usize = self.books.get(root).map_or(0, |book| {
            book.entries
                .values()
                .filter(|entry| !entry.told())
                .map(|entry| Ledger::size_of_entry(&entry.flight))
                .sum()
        });
        (ledger::MAX_BYTES - 10_000).saturating_sub(used)
    }

    /// The member is there, or will never be by this admission.
    pub fn seen(&mut self, member: &MemberRef) {
        self.settle(&member.workload, |entry| {
            if entry
                .flight
                .placements
                .get(&member.index)
                .is_some_and(|(attempt, _)| *attempt <= member.attempt)
            {
                entry.unseen.remove(&member.index);
            }
        });
    }

    /// The status of the workload was written after its admissions were carried out.
    pub fn recorded(&mut self, workload: &str) {
        self.settle(workload, |entry| entry.recorded |= entry.unseen.is_empty());
    }

    /// The status of the workload, as it was read, says that it was admitted then (in whole seconds).
    pub fn shows(&mut self, workload: &str, admitted_at: Time) {
        let seconds = |time: Time| time.0.div_euclid(1000);
        self.settle(workload, |entry| {
            entry.shown |= seconds(entry.flight.at) == seconds(admitted_at);
        });
    }

    /// Workloads that have something in flight.
    pub fn workloads(&self) -> Vec<Arc<str>> {
        self.of_workload.keys().cloned().collect()
    }

    /// The workload is gone: nothing of it matters any more.
    pub fn gone(&mut self, workload: &str) {
        self.settle(workload, |entry| {
            entry.unseen.clear();
            entry.recorded = true;
        });
    }

    /// Members that are in flight, of one workload.
    pub fn unseen(&self, workload: &str) -> usize {
        self.of_workload.get(workload).map_or(0, |ids| {
            ids.iter()
                .filter_map(|(root, id)| self.books.get(root)?.entries.get(id))
                .map(|entry| entry.unseen.len())
                .sum()
        })
    }

    /// Whether entries have left that the ledgers still hold.
    pub fn stale(&self) -> bool {
        self.books.values().any(|book| book.stale)
    }

    /// Writes one of the ledgers that hold more than they must. The cycle waits for it, so the next one has its
    /// turn later: nothing is urgent about tidying up.
    ///
    /// # Errors
    /// See [`ReserveError::ends_the_term`].
    pub async fn flush(&mut self) -> Result<(), ReserveError> {
        let stale = self.books.iter().find(|(_, book)| book.stale).map(|(root, _)| root.clone());
        match stale {
            Some(root) => self.write(&root, Vec::new()).await.map(drop),
            None => Ok(()),
        }
    }

    fn settle(&mut self, workload: &str, change: impl Fn(&mut Entry)) {
        let Some(ids) = self.of_workload.get_mut(workload) else { return };
        let books = &mut self.books;
        ids.retain(|(root, id)| {
            let Some(book) = books.get_mut(root) else { return false };
            let Some(entry) = book.entries.get_mut(id) else { return false };
            change(entry);
            let told = entry.told();
            if told {
                book.entries.remove(id);
                book.stale = true;
            }
            !told
        });
        if ids.is_empty() {
            self.of_workload.remove(workload);
        }
    }

    /// Takes what a ledger says as ours to finish.
    fn adopt(&mut self, root: &Arc<str>, map: &ConfigMap, read: Ledger) -> Vec<InFlight> {
        let flights = read.entries;
        let book = self.books.entry(root.clone()).or_default();
        book.version.clone_from(&map.metadata.resource_version);
        for flight in flights.iter().filter(|_| !self.taken_over).cloned().collect::<Vec<_>>() {
            self.enter(root, flight);
        }
        flights
    }

    fn enter(&mut self, root: &Arc<str>, flight: InFlight) {
        self.next += 1;
        self.of_workload.entry(flight.workload.clone()).or_default().push((root.clone(), self.next));
        self.books.entry(root.clone()).or_default().entries.insert(self.next, Entry::new(flight));
    }

    /// Writes one ledger, with `more` in it, until it is written or cannot be.
    async fn write(&mut self, root: &Arc<str>, more: Vec<InFlight>) -> Result<Vec<InFlight>, ReserveError> {
        let name = ledger::name(root);
        let mut adopted = Vec::new();
        let mut failures = 0_u32;
        if !self.books.contains_key(root) {
            adopted = self.look(root, &name).await?;
        }
        loop {
            let (kind, request) = self.request(root, &name, &more)?;
            match self.caller.send(kind, request).await {
                Outcome::Done(body) => {
                    let map: ConfigMap = serde_json::from_slice(&body)
                        .map_err(|error| unwritable(kind, &name, error.to_string()))?;
                    let book = self.books.entry(root.clone()).or_default();
                    book.version = map.metadata.resource_version;
                    book.stale = false;
                    for flight in more {
                        self.enter(root, flight);
                    }
                    return Ok(adopted);
                }
                Outcome::Conflict(_) => adopted.extend(self.look(root, &name).await?),
                Outcome::Missing(words) => {
                    // To replace: it was deleted. To create: its namespace is not there.
                    let book = self.books.entry(root.clone()).or_default();
                    if book.version.take().is_none() {
                        return Err(unwritable(kind, &name, words));
                    }
                    warn!(ledger = %name, "was deleted and is made anew");
                }
                Outcome::Refused(_, words) => return Err(unwritable(kind, &name, words)),
                Outcome::NotLeading => return Err(ReserveError::NotLeading),
                Outcome::Later(_, words) | Outcome::Unclear(words) => {
                    debug!(ledger = %name, %words, "is written again");
                    sleep(self.caller.pauses.after(failures).min(Duration::from_secs(1))).await;
                    failures = failures.saturating_add(1);
                }
            }
        }
    }

    /// Reads one ledger: either it is still ours, or it is an older leader's and becomes ours, or we have lost.
    async fn look(&mut self, root: &Arc<str>, name: &str) -> Result<Vec<InFlight>, ReserveError> {
        let map = match self.read(name).await? {
            Found::Nothing => {
                self.books.entry(root.clone()).or_default().version = None;
                return Ok(Vec::new());
            }
            Found::Map(map) => map,
        };
        let read = decode(name, &map)?;
        let ours = read.epoch == self.epoch && read.holder == self.holder;
        if read.epoch > self.epoch || (read.epoch == self.epoch && !ours) {
            return Err(ReserveError::Lost {
                ledger: name.to_owned(),
                epoch: read.epoch,
                holder: read.holder,
            });
        }
        if ours {
            // Something else of the object has changed, or a write of ours was carried out and not answered.
            self.books.entry(root.clone()).or_default().version.clone_from(&map.metadata.resource_version);
            return Ok(Vec::new());
        }
        Ok(self.adopt(root, &map, read))
    }

    async fn read(&self, name: &str) -> Result<Found, ReserveError> {
        let path = format!("{}/{name}", self.path());
        let unreadable = |words| unreadable(READ, format!("the ledger {name}"), words);
        match self.get(READ, &path, unreadable).await? {
            None => Ok(Found::Nothing),
            Some(body) => serde_json::from_slice(&body)
                .map(|map| Found::Map(Box::new(map)))
                .map_err(|error| unreadable(error.to_string())),
        }
    }

    async fn list(&self) -> Result<Vec<ConfigMap>, ReserveError> {
        let path = format!("{}?labelSelector={LABEL}", self.path());
        let unreadable = |words| unreadable(LIST, format!("the ledgers in {}", self.namespace), words);
        let Some(body) = self.get(LIST, &path, unreadable).await? else { return Ok(Vec::new()) };
        let maps: Maps = serde_json::from_slice(&body).map_err(|error| unreadable(error.to_string()))?;
        Ok(maps.items.unwrap_or_default())
    }

    async fn get(
        &self,
        kind: &'static str,
        path: &str,
        unreadable: impl Fn(String) -> ReserveError,
    ) -> Result<Option<Vec<u8>>, ReserveError> {
        let mut failures = 0_u32;
        loop {
            let request = full(Method::GET, path, Vec::new()).map_err(&unreadable)?;
            match self.caller.send(kind, request).await {
                Outcome::Done(body) => return Ok(Some(body.into())),
                Outcome::Missing(_) => return Ok(None),
                Outcome::Refused(_, words) => return Err(unreadable(words)),
                Outcome::NotLeading => return Err(ReserveError::NotLeading),
                Outcome::Conflict(_) | Outcome::Later(..) | Outcome::Unclear(_) => {
                    sleep(self.caller.pauses.after(failures).min(Duration::from_secs(1))).await;
                    failures = failures.saturating_add(1);
                }
            }
        }
    }

    fn path(&self) -> String {
        format!("/api/v1/namespaces/{}/configmaps", self.namespace)
    }

    fn request(
        &self,
        root: &Arc<str>,
        name: &str,
        more: &[InFlight],
    ) -> Result<(&'static str, Request<Vec<u8>>), ReserveError> {
        let book = self.books.get(root);
        let entries =
            book.into_iter().flat_map(|book| book.entries.values()).map(|entry| entry.flight.clone());
        let ledger = Ledger {
            epoch: self.epoch,
            holder: self.holder.clone(),
            entries: entries.chain(more.iter().cloned()).collect(),
        };
        let version = book.and_then(|book| book.version.clone());
        let (kind, method, path) = match version {
            None => (CREATE, Method::POST, format!("{}?fieldManager=weir", self.path())),
            Some(_) => (WRITE, Method::PUT, format!("{}/{name}?fieldManager=weir", self.path())),
        };
        let map = ConfigMap {
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                namespace: Some(self.namespace.clone()),
                resource_version: version,
                labels: Some([(LABEL.to_owned(), root.to_string())].into()),
                ..ObjectMeta::default()
            },
            data: Some(ledger.encode(name)?),
            ..ConfigMap::default()
        };
        let body = serde_json::to_vec(&map).map_err(|error| unwritable(kind, name, error.to_string()))?;
        Ok((kind, full(method, &path, body).map_err(|words| unwritable(kind, name, words))?))
    }
}

/// A request that is answered with the whole object.
fn full(method: Method, path: &str, body: Vec<u8>) -> Result<Request<Vec<u8>>, String> {
    crate::apply::call::whole(method, path, JSON, body)
}

fn unreadable(request: &'static str, what: String, words: String) -> ReserveError {
    ReserveError::Refused { request, what, done: "read", words }
}

fn unwritable(request: &'static str, name: &str, words: String) -> ReserveError {
    ReserveError::Refused { request, what: format!("the ledger {name}"), done: "written", words }
}

fn decode(name: &str, map: &ConfigMap) -> Result<Ledger, LedgerError> {
    Ledger::decode(name, map.data.as_ref().unwrap_or(&BTreeMap::new()))
}
