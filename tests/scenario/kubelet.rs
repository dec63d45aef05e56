//! The kubelets of the pure runner: pods run, end, are refused and go as their annotations say, which are those
//! that the simulated nodes of the real control plane read (`tests/controlplane/README.md`).

use std::collections::BTreeMap;

use serde_json::{Value, json};
use weir::api::Duration;
use weir::model::time::{Span, Time};

use super::expand::{Key, merge};
use super::store::{Store, set_ready, stamp};

/// On a node that fell silent.
pub const LOST: &str = "sim.weir.dev/lost";

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum State {
    Pending,
    Running,
    Deleting,
    Ended,
}

/// All kubelets.
#[derive(Default)]
pub struct Kubelets {
    /// Since when a pod is as it is, by UID and number of restarts.
    since: BTreeMap<(String, State, i64), Time>,
}

/// What a kubelet does next.
enum Next {
    Run,
    Refuse,
    End,
    Remove,
}

impl Kubelets {
    /// Does all that is due.
    pub fn run(&mut self, store: &mut Store) {
        let now = store.now;
        let keys: Vec<Key> = store.of_kind("Pod").map(|(key, _)| key.clone()).collect();
        for key in keys {
            bind(store, &key);
            // A pod may run and end at once, and be gone: no more than that.
            for _ in 0..3 {
                let Some((_, next)) = self.next_of(store, &key).filter(|(due, _)| *due <= now) else { break };
                act(store, &key, &next);
            }
        }
    }

    /// When something is due.
    pub fn next(&mut self, store: &Store) -> Option<Time> {
        let keys: Vec<&Key> = store.of_kind("Pod").map(|(key, _)| key).collect();
        keys.into_iter().filter_map(|key| Some(self.next_of(store, key)?.0)).min()
    }

    fn next_of(&mut self, store: &Store, key: &Key) -> Option<(Time, Next)> {
        let pod = store.get(key)?;
        let node = store.get(&Key::new("Node", "", pod["spec"]["nodeName"].as_str()?))?;
        let lost = node["metadata"]["labels"].get(LOST).is_some();
        let deleting = !pod["metadata"]["deletionTimestamp"].is_null();
        let state = match pod["status"]["phase"].as_str() {
            _ if deleting => State::Deleting,
            Some("Pending") => State::Pending,
            Some("Running") => State::Running,
            _ => State::Ended,
        };
        let uid = pod["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
        let restarts = pod["status"]["containerStatuses"][0]["restartCount"].as_i64().unwrap_or_default();
        let since = *self.since.entry((uid, state, restarts)).or_insert(store.now);
        if lost {
            // The garbage collection of pods: what is being deleted on a node that is surely off is gone.
            let taints = node["spec"]["taints"].as_array().into_iter().flatten();
            let is_off = taints.into_iter().any(|taint| taint["key"] == "node.kubernetes.io/out-of-service");
            return (is_off && state == State::Deleting).then_some((since, Next::Remove));
        }
        match state {
            State::Pending if is_refused(pod) => Some((since, Next::Refuse)),
            State::Pending if waits_for_volumes(store, key, pod) => None,
            State::Pending => Some((since + after(pod, "start-after"), Next::Run)),
            State::Running => annotation(pod, "run-for").map(|_| (since + after(pod, "run-for"), Next::End)),
            State::Deleting if pod["status"]["phase"] == "Running" => {
                Some((since + after(pod, "terminate-after"), Next::Remove))
            }
            State::Deleting => Some((since, Next::Remove)),
            State::Ended => None,
        }
    }
}

/// Whether a claim of a pod has no volume yet.
fn waits_for_volumes(store: &Store, key: &Key, pod: &Value) -> bool {
    let mut volumes = pod["spec"]["volumes"].as_array().into_iter().flatten();
    volumes.any(|volume| {
        let name = volume["persistentVolumeClaim"]["claimName"].as_str();
        let claim = name.and_then(|name| store.get(&Key::new("PersistentVolumeClaim", &key.namespace, name)));
        claim.is_some_and(|claim| claim["spec"]["volumeName"].as_str().is_none_or(str::is_empty))
    })
}

fn annotation<'a>(pod: &'a Value, name: &str) -> Option<&'a str> {
    pod["metadata"]["annotations"].get(format!("sim.weir.dev/{name}"))?.as_str()
}

fn is_refused(pod: &Value) -> bool {
    let attempt = pod["metadata"]["labels"]["weir.dev/attempt"].as_str();
    annotation(pod, "refuse").is_some()
        && annotation(pod, "refuse-attempt").is_none_or(|only| Some(only) == attempt)
}

fn after(pod: &Value, name: &str) -> Span {
    let text = annotation(pod, name).unwrap_or("0s");
    let parsed: Duration =
        text.parse().unwrap_or_else(|_| panic!("sim.weir.dev/{name}: {text:?} is no duration"));
    Span(parsed.as_millis())
}

/// The default scheduler: the node that a pod is pinned to, else the one with fewest pods of those that its selector
/// selects and that have no pod of its owner.
fn bind(store: &mut Store, key: &Key) {
    let Some(pod) = store.get(key) else { return };
    let another = pod["spec"]["schedulerName"].as_str().is_some_and(|name| name != "default-scheduler");
    if !pod["spec"]["nodeName"].is_null() || another {
        return;
    }
    let pinned = pod["metadata"]["annotations"]["weir.dev/node"].as_str().map(str::to_owned);
    if let Some(node) = pinned.or_else(|| choose(store, pod)) {
        let _ = store.patch(key, &json!({"spec": {"nodeName": node}}));
    }
}

fn choose(store: &Store, pod: &Value) -> Option<String> {
    let wanted = pod["spec"]["nodeSelector"].as_object()?;
    let selected =
        |node: &Value| wanted.iter().all(|(key, value)| node["metadata"]["labels"].get(key) == Some(value));
    let owner = &pod["metadata"]["ownerReferences"][0]["uid"];
    let there = |name: &str| {
        let pods = store.of_kind("Pod").filter(|(_, other)| other["spec"]["nodeName"] == name);
        pods.fold((0, 0), |(own, all), (_, other)| {
            (own + i32::from(other["metadata"]["ownerReferences"][0]["uid"] == *owner), all + 1)
        })
    };
    let open =
        store.of_kind("Node").filter(|(_, node)| selected(node) && node["spec"]["unschedulable"] != true);
    open.map(|(key, _)| (there(&key.name), key.name.clone())).min().map(|(_, name)| name)
}

fn act(store: &mut Store, key: &Key, next: &Next) {
    let Some(pod) = store.get(key).cloned() else { return };
    let now = store.now;
    match next {
        Next::Refuse => {
            let reason = annotation(&pod, "refuse").unwrap_or_default();
            let usual = format!("Pod was rejected: {reason}");
            let message = annotation(&pod, "refuse-message").unwrap_or(&usual);
            let status = json!({"phase": "Failed", "reason": reason, "message": message, "conditions": null});
            let _ = store.patch(key, &json!({"status": status}));
        }
        Next::Run => {
            let mut status = containers(&pod, &json!({"running": {"startedAt": stamp(now)}}), 0);
            set_ready(&mut status, "True", now);
            merge(&mut status["status"], Some(json!({"phase": "Running", "startTime": stamp(now)})));
            let _ = store.patch(key, &status);
        }
        Next::End => end(store, key, &pod),
        Next::Remove => {
            if pod["status"]["phase"] == "Running" {
                let code = annotation(&pod, "terminate-exit-code").map_or(143, |code| code.parse().unwrap());
                let _ = store.patch(key, &ended(&pod, code, now));
            }
            store.remove(key);
        }
    }
}

fn end(store: &mut Store, key: &Key, pod: &Value) {
    let code: i64 = annotation(pod, "exit-code").map_or(0, |code| code.parse().unwrap());
    let restarts = pod["status"]["containerStatuses"][0]["restartCount"].as_i64().unwrap_or_default();
    let again = match pod["spec"]["restartPolicy"].as_str().unwrap_or("Always") {
        "Never" => false,
        "OnFailure" => code != 0,
        _ => true,
    };
    let patch = if again {
        containers(pod, &json!({"running": {"startedAt": stamp(store.now)}}), restarts + 1)
    } else {
        ended(pod, code, store.now)
    };
    let _ = store.patch(key, &patch);
}

fn ended(pod: &Value, code: i64, now: Time) -> Value {
    let (phase, reason) = if code == 0 { ("Succeeded", "Completed") } else { ("Failed", "Error") };
    let state = json!({"terminated": {"exitCode": code, "reason": reason, "finishedAt": stamp(now)}});
    let mut status = containers(pod, &state, 0);
    set_ready(&mut status, "False", now);
    status["status"]["phase"] = json!(phase);
    status
}

fn containers(pod: &Value, state: &Value, restarts: i64) -> Value {
    let all = pod["spec"]["containers"].as_array().into_iter().flatten();
    let all: Vec<Value> =
        all.map(|one| json!({"name": one["name"], "restartCount": restarts, "state": state})).collect();
    json!({"status": {"containerStatuses": all}})
}
