//! Scenario files: manifests, and one timeline of what is done and what must then be so.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use super::expand::{Key, expand};
use weir::api::Duration;
use weir::model::time::{Span, Time};

/// Nodes are given up after that long in both runners, so that nobody waits five minutes.
pub const LOST_AFTER: Span = Span::seconds(5);
/// What is expected is looked at that long after what was done: statuses may take a second.
const STATUSES_TAKE: i64 = 1_500;
/// Steps that do not say when they happen follow the one before after that long.
const BETWEEN_STEPS: i64 = 2_000;

/// One file.
#[derive(Debug)]
pub struct Scenario {
    /// The name of the file: the sentence that it proves.
    pub name: String,
    /// Nodes, pools and the like: they are there before it begins.
    pub setup: Vec<Value>,
    /// The timeline.
    pub steps: Vec<Step>,
    /// Why it does not run on a real control plane.
    pub only_virtual: Option<String>,
    /// After how long a node that is not ready is given up.
    pub lost_after: Span,
    /// `KubeVirt` is there from the beginning.
    pub kubevirt: bool,
}

/// What is done at one time, and what must then be so.
#[derive(Debug)]
pub struct Step {
    /// Since the beginning.
    pub at: Span,
    /// What is done.
    pub acts: Vec<Act>,
    /// When it is looked at.
    pub look_at: Span,
    /// What must be so.
    pub expect: Expect,
}

/// One thing that is done.
#[derive(Debug)]
pub enum Act {
    /// Create it, or merge it into what is there.
    Apply(Value),
    /// Merge this into it.
    Patch(Key, Value),
    /// Delete it.
    Delete(Key),
    /// The API server must refuse this, in these words.
    Refused(Value, Vec<String>),
    /// The containers of a pod end with this code.
    End(Key, i64),
    /// `KubeVirt` is installed, or taken away.
    KubeVirt(bool),
    /// A node falls silent.
    Lose(String),
    /// And is back.
    Find(String),
}

/// What must be so. All of it is compared with what [`super::view`] shows.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Expect {
    /// By name, or `namespace/name`.
    pub workloads: BTreeMap<String, Value>,
    /// By name.
    pub pools: BTreeMap<String, Value>,
    /// By name, or `namespace/name`.
    pub pods: BTreeMap<String, Value>,
    /// Virtual machines by name, or `namespace/name`.
    pub machines: BTreeMap<String, Value>,
    /// What runs of them, likewise.
    pub instances: BTreeMap<String, Value>,
    /// By name.
    pub nodes: BTreeMap<String, Value>,
    /// By name of a node: writes of its taints since the beginning.
    #[serde(rename = "nodeWrites")]
    pub node_writes: BTreeMap<String, u32>,
    /// Admissions since the beginning, in order.
    pub starts: Option<Vec<String>>,
    /// By name of a workload: writes since the beginning.
    pub writes: BTreeMap<String, Value>,
    /// By `Kind/name` or `Kind/namespace/name`: events since the beginning, by reason.
    pub events: BTreeMap<String, Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Timeline {
    #[serde(rename = "kind")]
    _kind: String,
    #[serde(default = "yes")]
    real: bool,
    because: Option<String>,
    #[serde(default)]
    kubevirt: bool,
    #[serde(rename = "lostAfter")]
    lost_after: Option<Duration>,
    steps: Vec<Written>,
}

fn yes() -> bool {
    true
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Written {
    at: Option<Duration>,
    apply: Vec<Value>,
    patch: BTreeMap<String, Value>,
    delete: Vec<String>,
    refused: Vec<Refused>,
    end: BTreeMap<String, i64>,
    lose: Vec<String>,
    find: Vec<String>,
    kubevirt: Option<bool>,
    expect: Option<Expect>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Refused {
    object: Value,
    because: Words,
}

/// One text or several.
#[derive(Deserialize)]
#[serde(untagged)]
pub enum Words {
    /// One.
    One(String),
    /// All of them.
    All(Vec<String>),
}

impl Words {
    /// All of them.
    pub fn all(self) -> Vec<String> {
        match self {
            Self::One(one) => vec![one],
            Self::All(all) => all,
        }
    }
}

impl Scenario {
    /// Reads one file.
    pub fn read(path: &Path) -> Result<Self, String> {
        let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
        let name = path.file_stem().and_then(|stem| stem.to_str()).ok_or("its name is no text")?;
        Self::parse(name, &text)
    }

    /// Reads the text of one file.
    pub fn parse(name: &str, text: &str) -> Result<Self, String> {
        let documents: Vec<Value> = serde_yaml::from_multiple(text).map_err(|error| error.to_string())?;
        let (mut timelines, rest): (Vec<Value>, Vec<Value>) =
            documents.into_iter().filter(|one| !one.is_null()).partition(|one| one["kind"] == "Scenario");
        let (Some(timeline), true) = (timelines.pop(), timelines.is_empty()) else {
            return Err("there must be one document of kind Scenario".to_owned());
        };
        let timeline: Timeline =
            serde_path_to_error::deserialize(&timeline).map_err(|error| format!("Scenario: {error}"))?;
        let mut setup = Vec::new();
        let mut works = Vec::new();
        for document in &rest {
            for object in expand(document)? {
                let into = if object["kind"] == "PooledWorkload" || object["kind"] == "Pod" {
                    &mut works
                } else {
                    &mut setup
                };
                into.push(object);
            }
        }
        let mut steps = Vec::new();
        if !works.is_empty() {
            steps.push(Step {
                at: Span(0),
                acts: works.into_iter().map(Act::Apply).collect(),
                look_at: Span(0),
                expect: Expect::default(),
            });
        }
        let mut last = Span(if steps.is_empty() { -BETWEEN_STEPS } else { 0 });
        for written in timeline.steps {
            let step = written.step(last)?;
            if step.at < last {
                return Err(format!("step at {} ms comes before the one above it", step.at.0));
            }
            last = step.at;
            steps.push(step);
        }
        if steps.iter().all(|step| step.expect.is_empty()) {
            return Err("it expects nothing".to_owned());
        }
        let only_virtual = match (timeline.real, timeline.because) {
            (true, None) => None,
            (false, Some(because)) => Some(because),
            (true, Some(_)) => return Err("because: says why real is false, which it is not".to_owned()),
            (false, None) => return Err("real: false needs because: and a reason".to_owned()),
        };
        let lost_after = timeline.lost_after.map_or(LOST_AFTER, |after| Span(after.as_millis()));
        if lost_after != LOST_AFTER && only_virtual.is_none() {
            return Err("lostAfter can be chosen where real is false only".to_owned());
        }
        Ok(Self {
            name: name.to_owned(),
            setup,
            steps,
            only_virtual,
            lost_after,
            kubevirt: timeline.kubevirt,
        })
    }
}

impl Written {
    fn step(self, last: Span) -> Result<Step, String> {
        let Self { at, apply, patch, delete, refused, end, lose, find, kubevirt, expect } = self;
        let mut acts: Vec<Act> = kubevirt.into_iter().map(Act::KubeVirt).collect();
        for document in &apply {
            acts.extend(expand(document)?.into_iter().map(Act::Apply));
        }
        for one in refused {
            let mut objects = expand(&one.object)?;
            let (Some(object), true) = (objects.pop(), objects.is_empty()) else {
                return Err("refused: takes one object each".to_owned());
            };
            acts.push(Act::Refused(object, one.because.all()));
        }
        for (key, patch) in patch {
            acts.push(Act::Patch(Key::parse(&key)?, patch));
        }
        for key in delete {
            acts.push(Act::Delete(Key::parse(&key)?));
        }
        for (pod, code) in end {
            acts.push(Act::End(Key::parse(&format!("Pod/{pod}"))?, code));
        }
        acts.extend(lose.into_iter().map(Act::Lose));
        acts.extend(find.into_iter().map(Act::Find));
        if acts.is_empty() && expect.is_none() {
            return Err("a step does nothing and expects nothing".to_owned());
        }
        let at = at.map_or(Span(last.0 + BETWEEN_STEPS), |at| Span(at.as_millis()));
        let look_at = if acts.is_empty() { at } else { at_later(at) };
        Ok(Step { at, acts, look_at, expect: expect.unwrap_or_default() })
    }
}

fn at_later(at: Span) -> Span {
    Span(at.0 + STATUSES_TAKE)
}

impl Expect {
    /// Whether nothing is expected.
    pub fn is_empty(&self) -> bool {
        let Self { workloads, pools, pods, machines, instances, nodes, node_writes, starts, writes, events } =
            self;
        let maps = [workloads, pools, pods, machines, instances, nodes, writes, events];
        maps.iter().all(|map| map.is_empty()) && node_writes.is_empty() && starts.is_none()
    }
}

/// The beginning of virtual time.
pub const BEGINNING: Time = Time(1_767_225_600_000);
