//! The API server's audit log: who wrote what, and when. All figures of writes come from it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use k8s_openapi::jiff::Timestamp;
use serde::Deserialize;

/// User agent of what submits workloads, in both kinds of run.
pub const SUBMITTER: &str = "bench-submitter";
/// User agent of the bare client's other writes.
pub const BARE: &str = "bench-bare";

/// Who writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Actor {
    /// What submits workloads.
    Submitter,
    /// The bare client.
    Bare,
    /// The operator.
    Weir,
    /// The simulated kubelets.
    Kwok,
    /// Kubernetes itself.
    Other,
}

/// One write that succeeded.
#[derive(Clone, Debug)]
pub struct Written {
    pub actor: Actor,
    /// Such as `create pods` or `patch pooledworkloads/status`.
    pub kind: String,
    pub namespace: String,
    pub began: Timestamp,
    pub ended: Timestamp,
    pub succeeded: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    verb: String,
    #[serde(rename = "requestURI")]
    request_uri: String,
    #[serde(default)]
    user_agent: String,
    #[serde(default)]
    object_ref: ObjectRef,
    #[serde(default)]
    response_status: ResponseStatus,
    request_received_timestamp: Timestamp,
    stage_timestamp: Timestamp,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ObjectRef {
    resource: String,
    subresource: String,
    namespace: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ResponseStatus {
    code: u16,
}

impl From<Line> for Written {
    fn from(line: Line) -> Self {
        let actor = match line.user_agent.as_str() {
            SUBMITTER => Actor::Submitter,
            BARE => Actor::Bare,
            agent if agent.starts_with("kwok") => Actor::Kwok,
            agent if agent.starts_with("weir") || line.request_uri.contains("fieldManager=weir") => {
                Actor::Weir
            }
            // The operator's Lease is written without a field manager.
            _ if line.object_ref.resource == "leases" && line.object_ref.namespace == "weir-system" => {
                Actor::Weir
            }
            _ => Actor::Other,
        };
        let ObjectRef { mut resource, subresource, namespace } = line.object_ref;
        if !subresource.is_empty() {
            resource = format!("{resource}/{subresource}");
        }
        Self {
            actor,
            kind: format!("{} {resource}", line.verb),
            namespace,
            began: line.request_received_timestamp,
            ended: line.stage_timestamp,
            succeeded: (200..300).contains(&line.response_status.code),
        }
    }
}

/// Follows the log, also when it is rotated.
pub struct Audit {
    lines: Receiver<Written>,
    stop: Sender<()>,
    reader: JoinHandle<Result<()>>,
}

impl Audit {
    /// Follows the log from its end on.
    pub fn follow(path: &Path) -> Result<Self> {
        let file = open(path)?;
        let skip = file.metadata()?.len();
        let (out, lines) = channel();
        let (stop, stopped) = channel();
        let path = path.to_owned();
        let reader = spawn(move || read(&path, file, skip, &out, &stopped));
        Ok(Self { lines, stop, reader })
    }

    /// All that was written since, when the last of it is in the log.
    pub fn end(self) -> Result<Vec<Written>> {
        sleep(Duration::from_millis(500));
        // It is gone if it failed; then it says so itself.
        let _ = self.stop.send(());
        self.reader.join().map_err(|_| anyhow!("the reader of the audit log panicked"))??;
        Ok(self.lines.try_iter().collect())
    }
}

fn open(path: &Path) -> Result<File> {
    File::open(path).with_context(|| format!("cannot read the audit log {}", path.display()))
}

fn read(path: &PathBuf, mut file: File, skip: u64, out: &Sender<Written>, stop: &Receiver<()>) -> Result<()> {
    std::io::Seek::seek(&mut file, std::io::SeekFrom::Start(skip))?;
    let mut inode = file.metadata()?.ino();
    let mut log = BufReader::new(file);
    let mut line = String::new();
    loop {
        let stopping = stop.try_recv().is_ok();
        while log.read_line(&mut line)? > 0 {
            // The rest of a line that is just being written comes with the next look.
            if !line.ends_with('\n') {
                break;
            }
            let read: Line = serde_json::from_str(&line).context("a line of the audit log cannot be read")?;
            let _ = out.send(read.into());
            line.clear();
        }
        if let Ok(there) = std::fs::metadata(path)
            && there.ino() != inode
        {
            let next = open(path)?;
            inode = next.metadata()?.ino();
            log = BufReader::new(next);
            continue;
        }
        if stopping {
            return Ok(());
        }
        sleep(Duration::from_millis(200));
    }
}

/// How often each kind was written, by actor; and how many writes were refused.
pub fn count(lines: &[Written], actor: Actor) -> (BTreeMap<String, u64>, u64) {
    let mut counts = BTreeMap::new();
    let mut refused = 0;
    for line in lines.iter().filter(|line| line.actor == actor) {
        if line.succeeded {
            *counts.entry(line.kind.clone()).or_default() += 1;
        } else {
            refused += 1;
        }
    }
    (counts, refused)
}

/// When the last write that `of` accepts had ended, in seconds after `begin`.
pub fn last(lines: &[Written], begin: Timestamp, of: impl Fn(&Written) -> bool) -> Option<f64> {
    lines
        .iter()
        .filter(|line| line.succeeded && of(line))
        .map(|line| line.ended)
        .max()
        .map(|end| end.duration_since(begin).as_secs_f64())
}
