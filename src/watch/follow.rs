//! One kind, followed for as long as the process leads: list, watch, and again where the watch breaks.

use std::pin::pin;
use std::time::Duration;

use futures::io::{AsyncBufRead, AsyncBufReadExt as _};
use kube::api::{ListParams, WatchParams};
use kube::core::{ObjectMeta, Request};
use kube::{Client, Resource};
use serde::de::DeserializeOwned;
use thiserror::Error;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, info, warn};

use super::freshness::Mark;
use super::known::{Key, Known};
use super::parse::{self, Line, Read};

/// One change of one kind.
#[derive(Debug)]
pub enum Change<K> {
    /// The object is new or changed, or is told again.
    Applied(Box<K>),
    /// The object is new or changed and cannot be read: what can, and what is wrong.
    Unreadable(Box<ObjectMeta>, String),
    /// The object is gone.
    Gone(Key),
    /// A list is complete, and changes from then on are watched: all that there was has been told.
    Listed,
    /// The cluster does not have this kind. It is asked again from time to time.
    Absent,
    /// The API server shows nothing of this kind. It is asked again.
    Withheld(Withheld),
}

/// Why nothing of a kind is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Withheld {
    /// The operator lacks a right; the API server's words.
    Forbidden(String),
    /// The cluster does not know the kind, and it must.
    Unknown,
}

/// How a kind is followed.
#[derive(Clone, Copy, Debug)]
pub struct Follow {
    /// The API server ends a watch after that long, and it is opened again.
    pub watch: Duration,
    /// A watch that says nothing for that long, not even a bookmark (they come each minute), hangs.
    pub silence: Duration,
    /// Objects a page of a list.
    pub page: u32,
    /// Longest wait for a page, or for a watch to begin.
    pub answer: Duration,
    /// The cluster may do without this kind; then it is asked that often whether it has it.
    pub optional: Option<Duration>,
    /// Only objects that this label selector selects.
    pub labels: Option<&'static str>,
    /// Without this kind nothing can be decided: what is not seen would count as not there.
    pub needed: bool,
    /// Before it is tried again; it doubles with each failure.
    pub first: Duration,
    /// The longest pause.
    pub most: Duration,
    /// The longest pause where only the watch is forbidden: each try then reads a whole list.
    pub most_unwatched: Duration,
}

impl Default for Follow {
    fn default() -> Self {
        Self {
            watch: Duration::from_secs(280),
            silence: Duration::from_mins(2),
            page: 500,
            answer: Duration::from_secs(30),
            optional: None,
            labels: None,
            needed: true,
            first: Duration::from_millis(100),
            most: Duration::from_secs(5),
            most_unwatched: Duration::from_secs(30),
        }
    }
}

impl Follow {
    fn pause(&self, failures: u32, unwatched: bool) -> Duration {
        let most = if unwatched { self.most_unwatched } else { self.most };
        self.first.saturating_mul(1 << failures.min(20)).min(most)
    }
}

#[derive(Debug, Error)]
enum Broken {
    #[error("the API server has forgotten that version")]
    Expired,
    #[error("silent for too long")]
    Silent,
    #[error("no answer in time")]
    NoAnswer,
    #[error("nobody listens any more")]
    Unwanted,
    #[error("{0}")]
    Client(#[from] kube::Error),
    #[error("cannot be read: {0}")]
    Text(#[from] serde_json::Error),
    #[error("cannot be asked for: {0}")]
    Request(#[from] kube::core::request::Error),
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("the API server says: {0}")]
    Status(String),
}

struct Follower<'a, K, T> {
    client: Client,
    follow: Follow,
    mark: Mark,
    known: Known,
    keep: fn(&K) -> bool,
    tell: &'a (dyn Fn(Change<K>) -> T + Send + Sync),
    out: mpsc::Sender<T>,
    /// All was listed, which is told once it is watched too.
    listed: bool,
    /// The watch is forbidden, or was when it was last opened.
    unwatched: bool,
}

/// Follows all objects of kind `K` that `keep` keeps, and sends what `tell` makes of each change to `out`.
/// Returns when nobody listens any more.
pub async fn follow<K, T>(
    client: Client,
    follow: Follow,
    mark: Mark,
    keep: fn(&K) -> bool,
    tell: impl Fn(Change<K>) -> T + Send + Sync,
    out: mpsc::Sender<T>,
) where
    K: Resource<DynamicType = ()> + DeserializeOwned + Send,
    T: Send,
{
    let known = Known::default();
    let mut follower =
        Follower { client, follow, mark, known, keep, tell: &tell, out, listed: false, unwatched: false };
    let kind = K::kind(&()).into_owned();
    let mut version: Option<String> = None;
    let (mut failures, mut expired) = (0_u32, 0_u32);
    loop {
        let began = Instant::now();
        let broken = match &mut version {
            None => match follower.list().await {
                Ok(listed) => {
                    debug!(%kind, version = %listed, "listed");
                    version = Some(listed);
                    // A list alone is no success: where the watch fails each time, it must not be read without a pause.
                    continue;
                }
                Err(broken) => broken,
            },
            Some(version) => match follower.watch(version).await {
                Ok(lines) if lines > 0 || began.elapsed() > Duration::from_secs(1) => {
                    debug!(%kind, lines, "the watch ended and is opened again");
                    (failures, expired) = (0, 0);
                    continue;
                }
                Ok(_) => Broken::Status("the watch ended at once".to_owned()),
                Err(broken) => broken,
            },
        };
        if began.elapsed() > Duration::from_secs(10) {
            (failures, expired) = (0, 0);
        }
        let mut asked = None;
        match broken {
            Broken::Unwanted => return,
            Broken::Client(kube::Error::Api(status)) if status.code == 404 && follow.optional.is_some() => {
                version = None;
                failures = 0;
                if follower.absent().await.is_err() {
                    return;
                }
                sleep(follow.optional.unwrap_or_default()).await;
                continue;
            }
            Broken::Client(kube::Error::Api(status)) if matches!(status.code, 403 | 404) => {
                // Once it is shown again it is listed anew.
                follower.unwatched = version.take().is_some() || follower.unwatched;
                let why = match status.code {
                    403 => Withheld::Forbidden(status.message.clone()),
                    _ => Withheld::Unknown,
                };
                if follower.withheld(why).await.is_err() {
                    return;
                }
            }
            Broken::Expired => {
                info!(%kind, "is listed again: its watch fell too far behind");
                version = None;
                // The API server answers: those failures that there were while it did not are no reason to wait.
                asked = Some(follow.pause(expired, follower.unwatched));
                expired = expired.saturating_add(1);
            }
            broken => {
                warn!(%kind, error = %broken, "the watch broke and is opened again");
                asked = asked_for(&broken).map(|pause| pause.min(follow.most));
            }
        }
        sleep(asked.unwrap_or_else(|| follow.pause(failures, follower.unwatched))).await;
        failures = failures.saturating_add(1);
    }
}

impl<K, T> Follower<'_, K, T>
where
    K: Resource<DynamicType = ()> + DeserializeOwned + Send,
    T: Send,
{
    async fn send(&self, change: Change<K>) -> Result<(), Broken> {
        self.out.send((self.tell)(change)).await.map_err(|_| Broken::Unwanted)
    }

    async fn applied(&mut self, read: Read<K>) -> Result<(), Broken> {
        let (key, change) = match read {
            Read::Object(object) => {
                let key = Key::of(object.meta());
                if !(self.keep)(&object) {
                    return self.gone(&key).await;
                }
                (key, Change::Applied(Box::new(object)))
            }
            Read::Unreadable(meta, problem) => {
                warn!(kind = %K::kind(&()), name = ?meta.name, namespace = ?meta.namespace, %problem, "cannot be read");
                (Key::of(&meta), Change::Unreadable(meta, problem))
            }
        };
        if let Some(replaced) = self.known.show(&key) {
            self.send(Change::Gone(replaced)).await?;
        }
        self.send(change).await
    }

    /// The kind is not there: nothing of it is.
    async fn absent(&mut self) -> Result<(), Broken> {
        self.known.begin();
        for key in self.known.end() {
            self.send(Change::Gone(key)).await?;
        }
        self.mark.heard();
        self.send(Change::Absent).await
    }

    /// Nothing of the kind is shown. What was shown before may still be so.
    async fn withheld(&mut self, why: Withheld) -> Result<(), Broken> {
        if !self.follow.needed {
            self.mark.heard();
        }
        self.send(Change::Withheld(why)).await
    }

    async fn gone(&mut self, key: &Key) -> Result<(), Broken> {
        match self.known.hide(key) {
            Some(key) => self.send(Change::Gone(key)).await,
            None => Ok(()),
        }
    }

    /// Reads all there is, as of now or later (no resourceVersion is given), and tells what is gone. That it was all is told
    /// when the watch begins: who may list and not watch would else be told to be well again and again.
    async fn list(&mut self) -> Result<String, Broken> {
        let request = Request::new(K::url_path(&(), None));
        let label_selector = self.follow.labels.map(str::to_owned);
        let mut params =
            ListParams { limit: Some(self.follow.page), label_selector, ..ListParams::default() };
        self.known.begin();
        loop {
            let ask = self.client.request_text(request.list(&params)?);
            let text =
                timeout(self.follow.answer, ask).await.map_err(|_| Broken::NoAnswer)?.map_err(expired)?;
            let page = parse::page::<K>(text.as_bytes())?;
            drop(text);
            for item in page.items {
                self.applied(item).await?;
            }
            // What may only be listed now and then is not known well enough to decide on.
            if !self.unwatched {
                self.mark.heard();
            }
            params.continue_token = page.next;
            if params.continue_token.is_none() {
                for key in self.known.end() {
                    self.send(Change::Gone(key)).await?;
                }
                self.listed = true;
                return Ok(page.resource_version);
            }
        }
    }

    /// Tells what changes after `version`, and moves it on, until the watch ends. How much it said.
    async fn watch(&mut self, version: &mut String) -> Result<u64, Broken> {
        let seconds = u32::try_from(self.follow.watch.as_secs()).unwrap_or(280).clamp(1, 290);
        let label_selector = self.follow.labels.map(str::to_owned);
        let params = WatchParams { timeout: Some(seconds), label_selector, ..WatchParams::default() };
        let request = Request::new(K::url_path(&(), None)).watch(&params, version)?;
        let open = self.client.request_stream(request);
        let stream =
            timeout(self.follow.answer, open).await.map_err(|_| Broken::NoAnswer)?.map_err(expired)?;
        self.unwatched = false;
        if std::mem::take(&mut self.listed) {
            self.mark.heard();
            self.send(Change::Listed).await?;
        }
        let mut stream = pin!(stream);
        let mut bytes = Vec::new();
        let mut lines = 0;
        loop {
            bytes.clear();
            if !self.next_line(&mut stream, &mut bytes).await? {
                return Ok(lines);
            }
            lines += 1;
            self.mark.heard();
            match parse::line::<K>(&bytes)? {
                Line::Applied(read) => {
                    let meta = match &read {
                        Read::Object(object) => object.meta(),
                        Read::Unreadable(meta, _) => meta,
                    };
                    let at = meta.resource_version.clone();
                    self.applied(read).await?;
                    move_on(version, at);
                }
                Line::Deleted(meta) => {
                    self.gone(&Key::of(&meta)).await?;
                    move_on(version, meta.resource_version);
                }
                Line::Bookmark(at) => move_on(version, Some(at)),
                Line::Error(status) if status.code == 410 => return Err(Broken::Expired),
                Line::Error(status) => return Err(Broken::Status(status.message.clone())),
            }
        }
    }

    /// Whether there was another whole line.
    async fn next_line(
        &self,
        stream: &mut (impl AsyncBufRead + Unpin),
        bytes: &mut Vec<u8>,
    ) -> Result<bool, Broken> {
        let read = timeout(self.follow.silence, stream.read_until(b'\n', bytes)).await;
        match read {
            Err(_) => Err(Broken::Silent),
            Ok(Ok(0)) => Ok(false),
            // A line that was cut off comes again with the next watch.
            Ok(Ok(_)) => Ok(bytes.last() == Some(&b'\n')),
            Ok(Err(error)) => Err(error.into()),
        }
    }
}

fn move_on(version: &mut String, to: Option<String>) {
    if let Some(to) = to.filter(|to| !to.is_empty()) {
        *version = to;
    }
}

/// The pause that the API server asks for, as it does for a second or two while it starts.
fn asked_for(broken: &Broken) -> Option<Duration> {
    let Broken::Client(kube::Error::Api(status)) = broken else { return None };
    let status = Some(status).filter(|status| status.code == 429)?;
    let seconds = status.details.as_ref()?.retry_after_seconds;
    (seconds > 0).then(|| Duration::from_secs(u64::from(seconds)))
}

fn expired(error: kube::Error) -> Broken {
    match error {
        kube::Error::Api(status) if status.code == 410 => Broken::Expired,
        error => Broken::Client(error),
    }
}
