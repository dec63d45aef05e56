//! Pseudonyms for all that users have named, in the order of the names that they stand for.
//!
//! Ties go by name, so a pseudonym begins with the rank of its name among all of them. Equal names have equal
//! pseudonyms wherever they stand, as a node's name that is also the value of a label; `namespace/name` is made of the pseudonyms of both.
//! What is no name stays: the words of Kubernetes and of this program, and numbers in labels, which are compared as such.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize as _;

use super::State;
use super::veil::{Place, Veil, Words};
use crate::decide::decision::Decision;

/// What a name is the name of, the most telling first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Pool,
    Node,
    Workload,
    Namespace,
    Uid,
    Key,
    Word,
}

impl Kind {
    fn of(place: Place) -> Self {
        let Place { of, field, key } = place;
        match (of, field) {
            ("PoolSpec", "name" | "parent") | ("WorkloadSpec", "pool") => Self::Pool,
            ("NodeSpec" | "Node", "name") => Self::Node,
            ("WorkloadSpec", "name") => Self::Workload,
            ("World", "namespaces") if key => Self::Namespace,
            ("World", "pods" | "workload_ids") if key => Self::Uid,
            (_, "namespace") => Self::Namespace,
            (_, "uid" | "pod") | ("MemberRef", "workload") => Self::Uid,
            ("Taint" | "Toleration" | "Requirement", "key") => Self::Key,
            (_, "labels") if key => Self::Key,
            _ => Self::Word,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Pool => "pool",
            Self::Node => "node",
            Self::Workload => "workload",
            Self::Namespace => "namespace",
            Self::Uid => "uid",
            Self::Key => "key",
            Self::Word => "word",
        }
    }
}

/// Words that are not a user's, though they stand where a user's may.
const WORDS: [&str; 13] = [
    "true",
    "false",
    "cpu",
    "memory",
    "pods",
    "storage",
    "ephemeral-storage",
    "requests.storage",
    "TCP",
    "UDP",
    "SCTP",
    "0.0.0.0",
    "::",
];
/// Domains of keys and of resources that are not a user's.
const DOMAINS: [&str; 7] =
    ["kubernetes.io", "k8s.io", "kubevirt.io", "weir.dev", "nvidia.com", "amd.com", "intel.com"];

/// Whether a word tells nothing of whose it is.
fn is_public(word: &str) -> bool {
    let of_domain = |domain: &str| {
        DOMAINS
            .iter()
            .any(|one| domain.strip_suffix(one).is_some_and(|rest| rest.is_empty() || rest.ends_with('.')))
    };
    word.is_empty()
        || WORDS.contains(&word)
        || word.starts_with("hugepages-")
        || word.split_once('/').is_some_and(|(domain, _)| of_domain(domain))
}

/// Whether it is compared as a number, where it is the value of a label.
fn is_number(word: &str, place: Place) -> bool {
    !place.key && matches!(place.field, "labels" | "values" | "namespaces") && word.parse::<i64>().is_ok()
}

/// Both halves of `namespace/name`, and of a key with a domain.
fn halves(word: &str) -> Option<(&str, &str)> {
    let (first, second) = word.split_once('/')?;
    let one = |half: &str| !half.is_empty() && !half.contains(|c: char| c == '/' || c.is_whitespace());
    (one(first) && one(second)).then_some((first, second))
}

/// All strings of a state.
#[derive(Default)]
struct Found(RefCell<(BTreeMap<String, Kind>, BTreeSet<String>)>);

impl Words for Found {
    fn word<'t>(&self, text: &'t str, place: Place) -> Cow<'t, str> {
        let (names, numbers) = &mut *self.0.borrow_mut();
        if is_number(text, place) {
            numbers.insert(text.to_owned());
        } else if !is_public(text) {
            let kind = Kind::of(place);
            match names.get_mut(text) {
                Some(known) => *known = kind.min(*known),
                None => drop(names.insert(text.to_owned(), kind)),
            }
        }
        Cow::Borrowed(text)
    }
}

/// Names, and what stands for each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pseudonyms(BTreeMap<String, String>);

impl Words for Pseudonyms {
    fn word<'t>(&self, text: &'t str, _: Place) -> Cow<'t, str> {
        if let Some(pseudonym) = self.0.get(text) {
            return Cow::Owned(pseudonym.clone());
        }
        // A pair that was put together since.
        let known = |half: &str| self.0.get(half).cloned();
        match halves(text).and_then(|(first, second)| known(first).zip(known(second))) {
            Some((first, second)) => Cow::Owned(format!("{first}/{second}")),
            None => Cow::Borrowed(text),
        }
    }
}

impl Pseudonyms {
    /// For all names of a state.
    pub(super) fn of(state: &State) -> serde_json::Result<Self> {
        let found = Found::default();
        let mut nowhere = serde_json::Serializer::new(std::io::sink());
        state.serialize(Veil::new(&mut nowhere, &found))?;
        let (mut names, numbers) = found.0.into_inner();
        names.retain(|name, _| !numbers.contains(name));
        // Two names in one are not a name of their own.
        let pairs: BTreeMap<String, Kind> = names
            .iter()
            .filter(|(name, kind)| **kind > Kind::Uid && halves(name).is_some())
            .map(|(name, kind)| (name.clone(), *kind))
            .collect();
        for (pair, kind) in &pairs {
            names.remove(pair);
            for half in halves(pair).into_iter().flat_map(|(first, second)| [first, second]) {
                if !is_public(half) && !numbers.contains(half) {
                    names.entry(half.to_owned()).or_insert(*kind);
                }
            }
        }
        let width = names.len().to_string().len();
        let ranked = names.iter().enumerate();
        let mut all: BTreeMap<String, String> = ranked
            .map(|(rank, (name, kind))| (name.clone(), format!("x{rank:0width$}-{}", kind.as_str())))
            .collect();
        for pair in pairs.keys() {
            let half = |half: &str| all.get(half).cloned().unwrap_or_else(|| half.to_owned());
            let both = halves(pair).map(|(first, second)| format!("{}/{}", half(first), half(second)));
            if let Some(both) = both {
                all.insert(pair.clone(), both);
            }
        }
        Ok(Self(all))
    }

    /// Whatever is written of a world, with pseudonyms.
    pub(super) fn applied<T: serde::Serialize>(&self, value: &T) -> serde_json::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        value.serialize(Veil::new(&mut serde_json::Serializer::new(&mut bytes), self))?;
        Ok(bytes)
    }

    /// Decisions as they are with pseudonyms.
    ///
    /// # Errors
    /// Where something cannot be written as JSON, which nothing of a decision is.
    pub fn renamed(&self, decisions: &[Decision]) -> serde_json::Result<Vec<Decision>> {
        serde_json::from_slice(&self.applied(&decisions)?)
    }

    /// What stands for a name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Names with what stands for each, in the order of the names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, pseudonym)| (name.as_str(), pseudonym.as_str()))
    }
}
