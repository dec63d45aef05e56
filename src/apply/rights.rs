//! Rights that the operator lacks. The API server says which when it refuses a request; what is forbidden in a
//! namespace is then asked for seldom, by one for all, while everything else goes on.
//!
//! Whether a right was given meanwhile is asked of the API server by itself (a `SelfSubjectAccessReview`), so that it is
//! known even where nothing is to be written. Where that is not allowed, or has been wrong, one write in a while tries.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::http::Method;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

use super::answer::Answer;
use super::call::{Caller, JSON, Outcome, whole};
use crate::operate::metrics::Metrics;

/// A right that the operator lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// What it may not do.
    pub verb: String,
    /// With what; a part of it after a slash.
    pub resource: String,
    /// Of which API group; empty: the core's.
    pub group: String,
    /// Where; none: in the whole cluster.
    pub namespace: Option<String>,
}

impl Missing {
    /// What the words of a 403 say is missing; none if it is refused for another reason: policies and quotas have
    /// other words.
    pub fn read(words: &str) -> Option<Self> {
        let (_, rest) = words.split_once(" is forbidden: User \"")?;
        let (_, rest) = rest.split_once("\" cannot ")?;
        let (verb, rest) = rest.split_once(" resource \"")?;
        let (resource, rest) = rest.split_once("\" in API group \"")?;
        let (group, rest) = rest.split_once('"')?;
        let namespace = rest.strip_prefix(" in the namespace \"").and_then(|rest| rest.split_once('"'));
        let is_word = |text: &str| !text.is_empty() && !text.contains([' ', '"']);
        (is_word(verb) && is_word(resource)).then(|| Self {
            verb: verb.to_owned(),
            resource: resource.to_owned(),
            group: group.to_owned(),
            namespace: namespace.map(|(name, _)| name.to_owned()),
        })
    }

    /// The question whether it is missing still.
    fn question(&self) -> Value {
        let (resource, subresource) = self.resource.split_once('/').unwrap_or((&self.resource, ""));
        json!({
            "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": {
                "verb": self.verb, "group": self.group, "resource": resource, "subresource": subresource,
                "namespace": self.namespace.as_deref().unwrap_or_default(),
            }},
        })
    }
}

impl fmt::Display for Missing {
    /// `create pods/eviction in the namespace a`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.verb, self.resource)?;
        if !self.group.is_empty() {
            write!(f, " of {}", self.group)?;
        }
        match &self.namespace {
            Some(namespace) => write!(f, " in the namespace {namespace}"),
            None => write!(f, " in the cluster"),
        }
    }
}

/// What is said of a kind of request that is forbidden somewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lack {
    /// The right, in one namespace.
    pub missing: Missing,
    /// The API server's words.
    pub words: String,
    /// In so many other namespaces too.
    pub others: usize,
}

/// A kind of request in one namespace (empty: in none).
type Place = (&'static str, String);

/// What is known of it.
#[derive(Debug)]
struct State {
    missing: Missing,
    words: String,
    /// It is forbidden, as far as is known.
    closed: bool,
    /// Before then nobody asks.
    until: Instant,
    /// One asks.
    probed: bool,
    /// Refusals in a row, told by pauses between them.
    refusals: u32,
    /// The API server said that it is allowed and then refused it, or is not to be asked: a write tries.
    by_trying: bool,
}

/// The rights of one term that are missing.
#[derive(Debug)]
pub struct Rights {
    states: Mutex<HashMap<Place, State>>,
    metrics: Arc<Metrics>,
    /// None: nobody is told but by the metric.
    out: Option<mpsc::UnboundedSender<Answer>>,
}

impl Rights {
    /// None is missing as far as is known.
    pub fn new(metrics: Arc<Metrics>, out: Option<mpsc::UnboundedSender<Answer>>) -> Arc<Self> {
        Arc::new(Self { states: Mutex::default(), metrics, out })
    }

    /// Where requests are counted.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    fn states(&self) -> MutexGuard<'_, HashMap<Place, State>> {
        self.states.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The API server's words if this is forbidden and it is not yet time to try it again.
    pub fn withheld(&self, kind: &'static str, path: &str, pauses: (Duration, Duration)) -> Option<String> {
        let mut states = self.states();
        if states.is_empty() {
            return None;
        }
        let state = states.get_mut(&(kind, namespace(path))).filter(|state| state.closed)?;
        let now = Instant::now();
        if now < state.until {
            return Some(state.words.clone());
        }
        // One for all.
        state.until = now + pause(pauses, state.refusals);
        state.probed = true;
        None
    }

    /// A request was refused for want of that right. Whether the API server shall be asked when it is given.
    fn refused(&self, place: &Place, missing: Missing, words: &str, pauses: (Duration, Duration)) -> bool {
        let now = Instant::now();
        let mut states = self.states();
        let state = states.entry(place.clone()).or_insert_with(|| State {
            missing: missing.clone(),
            words: String::new(),
            closed: false,
            until: now,
            probed: false,
            refusals: 0,
            by_trying: false,
        });
        let news = !state.closed;
        // It was said to be allowed, and is not.
        state.by_trying |= news && state.refusals > 0;
        // What was sent before it was known to be forbidden says nothing new.
        if news || state.probed {
            (state.missing, state.words) = (missing, words.to_owned());
            state.until = now + pause(pauses, state.refusals) + pauses.0;
            state.refusals = state.refusals.saturating_add(1);
        }
        (state.closed, state.probed) = (true, false);
        let asks = news && !state.by_trying;
        if news {
            self.tell(&states, place.0);
        }
        asks
    }

    /// A request went through as far as rights go.
    fn allowed(&self, place: &Place) {
        let mut states = self.states();
        if !states.is_empty() && states.remove(place).is_some_and(|state| state.closed) {
            self.tell(&states, place.0);
        }
    }

    /// Says how it stands with requests of a kind.
    fn tell(&self, states: &HashMap<Place, State>, kind: &'static str) {
        let mut closed: Vec<(&str, &State)> = states
            .iter()
            .filter(|((of, _), state)| *of == kind && state.closed)
            .map(|((_, namespace), state)| (namespace.as_str(), state))
            .collect();
        closed.sort_by_key(|(namespace, _)| *namespace);
        let lack = closed.first().map(|(_, state)| Lack {
            missing: state.missing.clone(),
            words: state.words.clone(),
            others: closed.len() - 1,
        });
        self.metrics.lacks(kind, lack.is_some());
        if let Some(out) = &self.out {
            // Nobody listens any more when the term is over.
            let _ = out.send(Answer::Right { kind, lack });
        }
    }

    /// The API server says that it is allowed by now.
    fn given(&self, place: &Place) {
        let mut states = self.states();
        if let Some(state) = states.get_mut(place) {
            state.closed = false;
        }
        self.tell(&states, place.0);
    }

    fn is_closed(&self, place: &Place) -> bool {
        self.states().get(place).is_some_and(|state| state.closed)
    }

    fn change(&self, place: &Place, change: impl FnOnce(&mut State)) {
        if let Some(state) = self.states().get_mut(place) {
            change(state);
        }
    }
}

/// The first pause, doubled with each refusal up to the longest.
fn pause((first, most): (Duration, Duration), refusals: u32) -> Duration {
    first.saturating_mul(1 << refusals.min(20)).min(most)
}

/// The namespace that a path is in; empty where it is in none.
fn namespace(path: &str) -> String {
    let path = path.split('?').next().unwrap_or_default();
    let name = path.split_once("/namespaces/").and_then(|(_, rest)| rest.split_once('/'));
    name.map(|(name, _)| name.to_owned()).unwrap_or_default()
}

impl Caller {
    /// Looks at what became of a request, for the rights that it shows to be there or missing.
    pub(super) fn heed(&self, kind: &'static str, path: &str, outcome: &Outcome) {
        let place = (kind, namespace(path));
        match outcome {
            Outcome::Refused(403, words) => {
                if let Some(missing) = Missing::read(words)
                    && self.rights.refused(&place, missing, words, self.pauses.rights)
                {
                    tokio::spawn(self.clone().ask_until_given(place));
                }
            }
            Outcome::Done(_) | Outcome::Missing(_) | Outcome::Conflict(_) => self.rights.allowed(&place),
            Outcome::Refused(..) | Outcome::Later(..) | Outcome::Unclear(_) | Outcome::NotLeading => {}
        }
    }

    /// Asks from time to time whether a right was given.
    async fn ask_until_given(self, place: Place) {
        let mut wait = self.pauses.rights.0;
        loop {
            sleep(wait).await;
            if self.left().is_none() || !self.rights.is_closed(&place) {
                return;
            }
            match self.may(&place).await {
                Some(true) => {
                    self.rights.given(&place);
                    return;
                }
                Some(false) => {
                    wait = wait.saturating_mul(2).min(self.pauses.rights.1);
                    let until = Instant::now() + wait + self.pauses.rights.0;
                    self.rights.change(&place, |state| state.until = until);
                }
                None => {
                    self.rights.change(&place, |state| state.by_trying = true);
                    return;
                }
            }
        }
    }

    /// Whether the API server says that it is allowed now; none if it does not say.
    async fn may(&self, place: &Place) -> Option<bool> {
        const PATH: &str = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
        let question = self.rights.states().get(place).map(|state| state.missing.question())?;
        let request = whole(Method::POST, PATH, JSON, question.to_string().into_bytes()).ok()?;
        match self.call(request).await {
            Outcome::Done(body) => {
                serde_json::from_slice::<Value>(&body).ok()?["status"]["allowed"].as_bool()
            }
            // It cannot say at present.
            Outcome::Later(..) | Outcome::Unclear(_) => Some(false),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_read_from_the_words_of_the_api_server() {
        let of = |words: &str| Missing::read(words).map(|missing| missing.to_string());
        let user = "User \"system:serviceaccount:weir-system:weir\" cannot";
        let evict = format!(
            "pods \"w-0\" is forbidden: {user} create resource \"pods/eviction\" in API group \"\" in the namespace \"work\""
        );
        assert_eq!(of(&evict).as_deref(), Some("create pods/eviction in the namespace work"));
        let status = format!(
            "pooledworkloads.weir.dev \"w\" is forbidden: {user} patch resource \"pooledworkloads/status\" in API group \"weir.dev\" \
             in the namespace \"work\": RBAC: clusterrole.rbac.authorization.k8s.io \"weir\" not found"
        );
        assert_eq!(
            of(&status).as_deref(),
            Some("patch pooledworkloads/status of weir.dev in the namespace work")
        );
        let nodes = format!(
            "nodes \"n\" is forbidden: {user} patch resource \"nodes\" in API group \"\" at the cluster scope"
        );
        assert_eq!(of(&nodes).as_deref(), Some("patch nodes in the cluster"));
        for other in [
            "pods \"w-0\" is forbidden: exceeded quota: small, requested: pods=1, used: pods=1, limited: pods=1",
            "pods \"w-0\" is forbidden: violates PodSecurity \"restricted:latest\": User \"x\" is not the point",
            "admission webhook \"policy\" denied the request: User \"u\" cannot use the pool \"lab\"",
            "policy says no",
        ] {
            assert_eq!(of(other), None, "{other}");
        }
    }

    #[test]
    fn a_question_names_the_part_of_a_resource() {
        let missing = Missing {
            verb: "create".to_owned(),
            resource: "pods/eviction".to_owned(),
            group: String::new(),
            namespace: Some("a".to_owned()),
        };
        let asked = &missing.question()["spec"]["resourceAttributes"];
        assert_eq!(
            (asked["resource"].as_str(), asked["subresource"].as_str()),
            (Some("pods"), Some("eviction"))
        );
        assert_eq!(asked["namespace"], "a");
    }

    #[test]
    fn places_are_namespaces_of_paths() {
        assert_eq!(namespace("/api/v1/namespaces/work/pods?fieldManager=weir"), "work");
        assert_eq!(namespace("/apis/weir.dev/v1alpha1/resourcepools/namespaces"), "");
        assert_eq!(namespace("/api/v1/nodes/n?x=/namespaces/a/b"), "");
    }
}
