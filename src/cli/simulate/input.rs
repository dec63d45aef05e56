//! What happens meanwhile: lists of arrivals and of what nodes do, as files.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, bail, ensure};
use serde::Deserialize;

use crate::api::Duration;
use crate::cli::load::Loaded;
use crate::model::delta::Delta;
use crate::model::spec::{NodeSpec, WorkloadSpec};
use crate::model::time::{Span, Time};
use crate::simulate::happening::Happening;
use crate::simulate::random::Random;

/// Most copies that one entry makes.
const MOST_COPIES: u32 = 1_000_000;

/// One entry of a list: when, and exactly one thing that happens.
#[derive(Debug, Deserialize)]
#[serde(
    deny_unknown_fields,
    rename_all = "camelCase",
    expecting = "an entry such as {at: 10m, fail: node-1}"
)]
struct Entry {
    at: Duration,
    workload: Option<String>,
    count: Option<u32>,
    every: Option<Duration>,
    poisson: Option<Duration>,
    duration: Option<Duration>,
    pool: Option<String>,
    priority: Option<i32>,
    delete: Option<String>,
    fail: Option<String>,
    recover: Option<String>,
    leave: Option<String>,
    cordon: Option<String>,
    uncordon: Option<String>,
    drain: Option<String>,
    join: Option<Join>,
}

/// Nodes that join.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", expecting = "nodes such as {like: node-1, count: 4}")]
struct Join {
    like: String,
    count: Option<u32>,
    name: Option<String>,
}

/// What is in a list, in its order.
pub struct Reader<'a> {
    loaded: &'a mut Loaded,
    seed: u64,
    /// Entries so far: each draws numbers of its own.
    entries: usize,
    joined: BTreeMap<Arc<str>, NodeSpec>,
    /// Arrivals so far, by the UID of the workload that they are like: no two of them are the same.
    arrived: BTreeMap<Arc<str>, u32>,
    found: Vec<(Time, Happening)>,
}

impl<'a> Reader<'a> {
    /// Of what was loaded: workloads that arrive later are taken out of it.
    pub fn new(loaded: &'a mut Loaded, seed: u64) -> Self {
        Self {
            loaded,
            seed,
            entries: 0,
            joined: BTreeMap::new(),
            arrived: BTreeMap::new(),
            found: Vec::new(),
        }
    }

    /// All that was read.
    pub fn done(self) -> Vec<(Time, Happening)> {
        self.found
    }

    /// Reads one file.
    ///
    /// # Errors
    /// What is wrong with it: which entry, which field, and what to write.
    pub fn file(&mut self, path: &Path) -> anyhow::Result<()> {
        let name = path.display();
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {name}"))?;
        self.text(&text).with_context(|| format!("{name}"))
    }

    /// Reads one list.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn text(&mut self, text: &str) -> anyhow::Result<()> {
        let list: Vec<serde_json::Value> = serde_yaml::from_str(text)
            .context("this is no list: write entries such as `- {at: 10m, fail: node-1}`")?;
        for (number, value) in list.iter().enumerate() {
            let entry: Entry = serde_path_to_error::deserialize(value).map_err(|error| {
                let words = error.inner().to_string();
                let at = error.path().to_string();
                let at = if at == "." { String::new() } else { format!("{at}: ") };
                anyhow::anyhow!("entry {}: {at}{words}", number + 1)
            })?;
            self.entry(entry).with_context(|| format!("entry {}", number + 1))?;
        }
        Ok(())
    }

    fn entry(&mut self, entry: Entry) -> anyhow::Result<()> {
        self.entries += 1;
        let at = self.loaded.now + Span(entry.at.as_millis());
        let names = [
            ("workload", entry.workload.is_some()),
            ("delete", entry.delete.is_some()),
            ("fail", entry.fail.is_some()),
            ("recover", entry.recover.is_some()),
            ("leave", entry.leave.is_some()),
            ("cordon", entry.cordon.is_some()),
            ("uncordon", entry.uncordon.is_some()),
            ("drain", entry.drain.is_some()),
            ("join", entry.join.is_some()),
        ];
        let given: Vec<&str> = names.iter().filter(|(_, is)| *is).map(|(name, _)| *name).collect();
        let all: Vec<&str> = names.iter().map(|(name, _)| *name).collect();
        ensure!(
            given.len() == 1,
            "{}: write exactly one of {}",
            if given.is_empty() {
                "nothing happens".to_owned()
            } else {
                format!("{} at once", given.join(" and "))
            },
            all.join(", ")
        );
        if entry.workload.is_none() {
            let others = entry.count.is_some()
                || entry.every.is_some()
                || entry.poisson.is_some()
                || entry.duration.is_some()
                || entry.pool.is_some()
                || entry.priority.is_some();
            ensure!(
                !others,
                "count, every, poisson, duration, pool and priority belong to workload: leave them out"
            );
        }
        let node = |name: Option<String>| name.map(Arc::<str>::from);
        let happening = match entry {
            Entry { workload: Some(_), .. } => return self.arrivals(entry, at),
            Entry { join: Some(join), .. } => return self.join(&join, at),
            Entry { delete: Some(name), .. } => Happening::Remove(self.workload(&name, "delete")?.uid),
            Entry { fail, recover, leave, cordon, uncordon, drain, .. } => {
                let all = [
                    ("fail", node(fail), Happening::Fail as fn(Arc<str>) -> Happening),
                    ("recover", node(recover), Happening::Recover),
                    ("leave", node(leave), Happening::Leave),
                    ("cordon", node(cordon), Happening::Cordon),
                    ("uncordon", node(uncordon), Happening::Uncordon),
                    ("drain", node(drain), Happening::Drain),
                ];
                let one = all.into_iter().find_map(|(field, name, make)| Some((field, name?, make)));
                let Some((field, name, make)) = one else { return Ok(()) };
                self.node(&name, field)?;
                make(name)
            }
        };
        self.found.push((at, happening));
        Ok(())
    }

    /// A node of the world, or one that joins.
    fn node(&self, name: &str, field: &str) -> anyhow::Result<NodeSpec> {
        if let Some(spec) = self.joined.get(name).cloned().or_else(|| self.loaded.node_spec(name)) {
            return Ok(spec);
        }
        bail!("{field}: there is no node {name:?}: write {}", choice(&self.loaded.node_names()))
    }

    /// A workload of the manifests: `namespace/name`, or its name where only one has it.
    fn workload(&self, name: &str, field: &str) -> anyhow::Result<WorkloadSpec> {
        let all = self.loaded.catalog.workloads().map(|(_, known)| &known.spec);
        let title = |spec: &WorkloadSpec| format!("{}/{}", spec.namespace, spec.name);
        let found: Vec<&WorkloadSpec> =
            all.filter(|spec| title(spec) == name || *spec.name == *name).collect();
        match found.as_slice() {
            [one] => Ok((*one).clone()),
            [] => {
                let all: Vec<String> =
                    self.loaded.catalog.workloads().map(|(_, known)| title(&known.spec)).collect();
                bail!("{field}: there is no workload {name:?} among the manifests: write {}", choice(&all))
            }
            several => {
                let all: Vec<String> = several.iter().map(|one| title(one)).collect();
                bail!("{field}: several workloads are called {name:?}: write {}", choice(&all))
            }
        }
    }

    fn arrivals(&mut self, entry: Entry, at: Time) -> anyhow::Result<()> {
        let Entry { workload, count, every, poisson, duration, pool, priority, .. } = entry;
        let name = workload.unwrap_or_default();
        let found = self.workload(&name, "workload")?;
        ensure!(
            every.is_none() || poisson.is_none(),
            "every and poisson at once: write every for equal gaps, poisson for random ones with that mean"
        );
        ensure!(
            count.is_some() || (every.is_none() && poisson.is_none()),
            "every and poisson say how far arrivals are apart: write count, too"
        );
        ensure!(
            count.is_none_or(|count| (1..=MOST_COPIES).contains(&count)),
            "count: write a number from 1 to {MOST_COPIES}"
        );
        if let Some(pool) = &pool {
            ensure!(
                self.loaded.catalog.get_pool(pool).is_some(),
                "pool: there is no pool {pool:?}: write {}",
                choice(&self.loaded.catalog.pools().map(|(name, _)| name.to_string()).collect::<Vec<_>>())
            );
        }
        let spec = WorkloadSpec {
            expected_duration: duration.map(|one| Span(one.as_millis())).or(found.expected_duration),
            pool: pool.map_or_else(|| Arc::clone(&found.pool), Arc::from),
            priority: priority.unwrap_or(found.priority),
            ..found
        };
        // It does not arrive by itself any more.
        let now = self.loaded.now;
        self.loaded.world.apply(Delta::WorkloadGone(Arc::clone(&spec.uid)), now);
        let first = self.arrived.get(&spec.uid).copied().unwrap_or(0);
        let last = first.saturating_add(count.unwrap_or(1));
        self.arrived.insert(Arc::clone(&spec.uid), last);
        let mut random = Random::of(self.seed, &format!("{name}#{}", self.entries));
        let mut when = at;
        for number in first.saturating_add(1)..=last {
            // Without a count it is the workload itself, unless that has come already. Its UID is another even then, as the
            // one that was taken out leaves the world with the first decision only.
            let keeps_name = count.is_none() && number == 1;
            let copy = WorkloadSpec {
                uid: format!("{}.{}.{number:07}", spec.uid, at.0).into(),
                name: if keeps_name {
                    Arc::clone(&spec.name)
                } else {
                    format!("{}-{number}", spec.name).into()
                },
                ..spec.clone()
            };
            self.found.push((when, Happening::Arrive(Box::new(copy))));
            when = match (every, poisson) {
                (Some(every), _) => when + Span(every.as_millis()),
                (None, Some(mean)) => when + random.exponential(Span(mean.as_millis())),
                (None, None) => when,
            };
        }
        Ok(())
    }

    fn join(&mut self, join: &Join, at: Time) -> anyhow::Result<()> {
        let model = self.node(&join.like, "join.like")?;
        let count = join.count.unwrap_or(1);
        ensure!((1..=100_000).contains(&count), "join.count: write a number from 1 to 100000");
        for number in 1..=count {
            let name = match &join.name {
                Some(name) if count == 1 => name.clone(),
                Some(name) => format!("{name}-{number}"),
                None => format!("{}-new-{}", join.like, self.joined.len() + 1),
            };
            ensure!(is_node_name(&name), "join.name: {name:?} is no name of a node: {NODE_NAME}");
            ensure!(
                self.node(&name, "").is_err(),
                "join.name: there is a node {name} already: write another name, or leave it out"
            );
            let spec = like(&model, &name);
            self.joined.insert(Arc::clone(&spec.name), spec.clone());
            self.found.push((at, Happening::Join(Box::new(spec))));
        }
        Ok(())
    }
}

/// What a node may be called.
const NODE_NAME: &str =
    "write lower-case letters, digits, dashes and dots, with a letter or digit at both ends";

fn is_node_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    (1..=253).contains(&name.len())
        && name.bytes().all(|byte| plain(byte) || byte == b'-' || byte == b'.')
        && name
            .split('.')
            .all(|part| part.bytes().next().is_some_and(plain) && part.bytes().next_back().is_some_and(plain))
}

/// A ready node of another name.
pub fn like(model: &NodeSpec, name: &str) -> NodeSpec {
    let mut spec = NodeSpec {
        name: name.into(),
        unschedulable: false,
        drain: false,
        not_ready_since: None,
        ..model.clone()
    };
    if let Some(host) = spec.labels.get_mut("kubernetes.io/hostname") {
        *host = name.into();
    }
    spec
}

/// What there is to choose from, in short.
pub fn choice(all: &[String]) -> String {
    const SHOWN: usize = 8;
    match all.len() {
        0 => "nothing: there is none".to_owned(),
        1 => all[0].clone(),
        count if count <= SHOWN => format!("one of {}", all.join(", ")),
        count => format!("one of {}, or {} others", all[..SHOWN].join(", "), count - SHOWN),
    }
}
