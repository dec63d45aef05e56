//! Pods: members and those that others made.

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

use super::{Notes, arc, labelled, names, requests, terms, time};
use crate::api::labels;
use crate::api::pruned::{Condition, ContainerStatus, Pod, PodStatus};
use crate::model::delta::Delta;
use crate::model::spec::{MemberRef, PodPhase, PodSpec};

/// Words of the kubelet and of controllers for pods that ended without their containers being to blame.
const NOT_TO_BLAME: [&str; 12] = [
    "NodeAffinity",
    "NodeLost",
    "NodePorts",
    "NodeShutdown",
    "PodOSNotSupported",
    "PodOSSelectorNodeLabelDoesNotMatch",
    "Preempted",
    "Preempting",
    "Shutdown",
    "Terminated",
    "TopologyAffinityError",
    "UnexpectedAdmissionError",
];

/// A pod that was seen; none if it is on no node and nobody's member.
pub fn pod(pod: &Pod, notes: &mut Notes) -> Option<Delta> {
    let spec = read(pod, notes);
    (spec.node.is_some() || spec.member.is_some()).then(|| Delta::Pod(Box::new(spec)))
}

/// A pod, wherever it is and whosever.
pub fn read(pod: &Pod, notes: &mut Notes) -> PodSpec {
    let metadata = &pod.metadata;
    let member = member(metadata);
    let pinned = metadata.annotations.as_ref().and_then(|annotations| annotations.get(labels::NODE));
    let bound = pod.spec.node_name.as_deref().filter(|node| !node.is_empty());
    // Anybody may write the annotation; it counts for members alone.
    let node = bound.or(pinned.filter(|_| member.is_some()).map(String::as_str));
    let of_what = format!(
        "pod {}/{}",
        metadata.namespace.as_deref().unwrap_or_default(),
        metadata.name.as_deref().unwrap_or_default()
    );
    PodSpec {
        uid: arc(metadata.uid.as_ref()),
        node: node.map(Arc::from),
        bound: bound.is_some(),
        created: time(metadata.creation_timestamp.as_ref()),
        terminating: metadata.deletion_timestamp.is_some(),
        phase: phase(&pod.status),
        requests: requests::effective(&pod.spec, &pod.status, &of_what, notes),
        host_ports: requests::host_ports(&pod.spec),
        neighbour: Arc::new(terms::neighbour(pod)),
        maker: member.is_none().then(|| labelled::maker(metadata).map(Arc::new)).flatten(),
        member,
        machine: None,
    }
}

/// A pod that is gone.
pub fn pod_gone(pod: &Pod) -> Delta {
    Delta::PodGone(arc(pod.metadata.uid.as_ref()))
}

/// Which member a pod is: by its owner, and by its labels or else its name.
pub fn member(metadata: &ObjectMeta) -> Option<MemberRef> {
    let owner = owner(metadata)?;
    let number = |key: &str| metadata.labels.as_ref()?.get(key)?.parse::<u32>().ok();
    let by_name = metadata.name.as_deref().and_then(|name| names::parse_member(&owner.name, name));
    let by_labels = number(labels::INDEX).zip(number(labels::ATTEMPT).map(names::model_attempt));
    let (index, attempt) = by_name.or(by_labels)?;
    Some(MemberRef { workload: owner.uid.as_str().into(), index, attempt })
}

/// The reference to the workload that controls the pod.
pub fn owner(metadata: &ObjectMeta) -> Option<&OwnerReference> {
    metadata.owner_references.iter().flatten().find(|owner| {
        owner.controller == Some(true)
            && owner.kind == "PooledWorkload"
            && owner.api_version.split_once('/').is_some_and(|(group, _)| group == crate::api::GROUP)
    })
}

fn phase(status: &PodStatus) -> PodPhase {
    let condition =
        |kind: &str| status.conditions.iter().find(|one| one.kind == kind && one.status == "True");
    match status.phase.as_deref() {
        Some("Succeeded") => PodPhase::Succeeded,
        Some("Failed") => failed(status, condition("DisruptionTarget")),
        // Unknown is a node that no longer says anything of a pod that ran.
        Some("Running") => {
            let ready = condition("Ready");
            PodPhase::Running { ready_since: ready.map(|ready| time(ready.last_transition_time.as_ref())) }
        }
        Some("Unknown") => PodPhase::Running { ready_since: None },
        _ => PodPhase::Pending,
    }
}

/// Whether a failed pod failed by its own doing, and the words for it.
fn failed(status: &PodStatus, disrupted: Option<&Condition>) -> PodPhase {
    let reason = status.reason.as_deref().unwrap_or_default();
    let statuses = || status.init_container_statuses.iter().chain(&status.container_statuses);
    let ended = || statuses().filter_map(|one| Some((one, one.state.terminated.as_ref()?)));
    let own_limit = match reason {
        // activeDeadlineSeconds is the template's.
        "DeadlineExceeded" => true,
        // Under pressure the kubelet sets DisruptionTarget or names the node; else a limit of the pod was passed.
        "Evicted" => {
            disrupted.is_none() && !status.message.as_deref().unwrap_or_default().starts_with("The node ")
        }
        _ => false,
    };
    let refused = disrupted.is_some()
        || reason.starts_with("OutOf")
        || reason == "Evicted"
        || NOT_TO_BLAME.contains(&reason)
        || ended().next().is_none();
    if refused && !own_limit {
        let message = match disrupted {
            Some(condition) if reason.is_empty() => {
                words(condition.reason.as_deref(), condition.message.as_deref())
            }
            _ => words(status.reason.as_deref(), status.message.as_deref()),
        };
        return PodPhase::Refused {
            message: message.unwrap_or_else(|| "no container was started".into()).into(),
        };
    }
    let container = ended()
        .find(|(_, end)| end.exit_code != 0)
        .map(|(one, end)| exit(one, end.exit_code, end.reason.as_deref()));
    let own = words(status.reason.as_deref(), status.message.as_deref());
    let message = if own_limit { own.or(container) } else { container.or(own) };
    PodPhase::Failed {
        message: message.unwrap_or_else(|| "the pod failed and does not say why".into()).into(),
    }
}

fn exit(container: &ContainerStatus, code: i32, reason: Option<&str>) -> String {
    match reason.filter(|reason| !reason.is_empty()) {
        Some(reason) => format!("container {} exited with {code} ({reason})", container.name),
        None => format!("container {} exited with {code}", container.name),
    }
}

fn words(reason: Option<&str>, message: Option<&str>) -> Option<String> {
    let reason = reason.filter(|reason| !reason.is_empty());
    let message = message.filter(|message| !message.is_empty());
    match (reason, message) {
        (Some(reason), Some(message)) => Some(format!("{reason}: {message}")),
        (one, other) => one.or(other).map(str::to_owned),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::amount::Amount;
    use crate::model::time::Time;
    use serde_json::{Value, json};

    fn seen(object: Value) -> Option<PodSpec> {
        let mut notes = Notes::new();
        let delta = pod(&serde_json::from_value(object).unwrap(), &mut notes)?;
        assert!(notes.is_empty(), "{notes:?}");
        match delta {
            Delta::Pod(spec) => Some(*spec),
            other => panic!("{other:?}"),
        }
    }

    fn of_workload(name: &str, labels: &Value) -> Value {
        json!({"name": name, "namespace": "a", "uid": "p", "creationTimestamp": "1970-01-01T00:00:01Z", "labels": labels,
               "ownerReferences": [{"apiVersion": "weir.dev/v1alpha1", "kind": "PooledWorkload", "name": "train",
                                    "uid": "w", "controller": true}]})
    }

    #[test]
    fn a_member_is_known_by_its_owner_and_its_name_or_labels() {
        let labelled = json!({"weir.dev/index": "4", "weir.dev/attempt": "3"});
        for (name, labels, expected) in [
            ("train-0", json!({}), (0, 0)),
            ("train-7-r2", json!({}), (7, 1)),
            ("train-7", labelled.clone(), (7, 0)),
            ("something-else", labelled, (4, 2)),
        ] {
            let spec = seen(json!({"metadata": of_workload(name, &labels)})).unwrap();
            let member = spec.member.unwrap();
            assert_eq!(
                (member.workload.as_ref(), member.index, member.attempt),
                ("w", expected.0, expected.1),
                "{name}"
            );
        }
        assert!(
            seen(json!({"metadata": of_workload("else", &json!({}))})).is_none(),
            "it is nobody's and nowhere"
        );
    }

    #[test]
    fn a_foreign_pod_counts_where_it_is_bound() {
        assert!(
            seen(json!({"metadata": {"name": "x", "uid": "x", "annotations": {"weir.dev/node": "n1"}}}))
                .is_none()
        );
        let spec = seen(json!({
            "metadata": {"name": "x", "uid": "x", "deletionTimestamp": "1970-01-01T00:00:09Z"},
            "spec": {"nodeName": "n1", "containers": [{"name": "c", "resources": {"requests": {"cpu": "100m"}}}]},
            "status": {"phase": "Running", "conditions": [
                {"type": "Ready", "status": "True", "lastTransitionTime": "1970-01-01T00:00:07Z"}]},
        }))
        .unwrap();
        assert_eq!((spec.node.as_deref(), spec.bound, spec.terminating), (Some("n1"), true, true));
        assert_eq!(spec.phase, PodPhase::Running { ready_since: Some(Time(7000)) });
        assert_eq!(spec.requests.get("cpu"), Some(&Amount::new(100)));
        assert_eq!(spec.requests.get("pods"), Some(&Amount::new(1)));
        assert!(spec.member.is_none());
    }

    #[test]
    fn a_pinned_member_is_on_its_node_before_it_is_bound() {
        let mut metadata = of_workload("train-0", &json!({}));
        metadata["annotations"] = json!({"weir.dev/node": "n1", "huge": "x"});
        let spec = seen(json!({"metadata": metadata})).unwrap();
        assert_eq!((spec.node.as_deref(), spec.bound), (Some("n1"), false));
    }

    #[test]
    fn only_what_containers_did_counts_as_a_failure() {
        let exited = |code: i32, reason: &str| json!([{"name": "main", "state": {"terminated": {"exitCode": code, "reason": reason}}}]);
        let disrupted =
            json!([{"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI"}]);
        for (status, refused, expected) in [
            (json!({"containerStatuses": exited(3, "Error")}), false, "container main exited with 3 (Error)"),
            (
                json!({"containerStatuses": exited(137, "OOMKilled")}),
                false,
                "container main exited with 137 (OOMKilled)",
            ),
            (json!({"initContainerStatuses": exited(1, "")}), false, "container main exited with 1"),
            (
                json!({"containerStatuses": exited(143, "Error"), "conditions": disrupted}),
                true,
                "EvictionByEvictionAPI",
            ),
            (json!({"reason": "OutOfcpu", "message": "too little"}), true, "OutOfcpu: too little"),
            (json!({"reason": "SomethingNew"}), true, "SomethingNew"),
            (json!({}), true, "no container was started"),
            (
                json!({"reason": "UnexpectedAdmissionError", "containerStatuses": exited(1, "")}),
                true,
                "UnexpectedAdmissionError",
            ),
            (
                json!({"reason": "Terminated", "message": "node shutdown", "containerStatuses": exited(137, "")}),
                true,
                "Terminated: node shutdown",
            ),
            (
                json!({"reason": "DeadlineExceeded", "message": "too long"}),
                false,
                "DeadlineExceeded: too long",
            ),
            (
                json!({"reason": "Evicted", "message": "The node was low on resource: memory."}),
                true,
                "Evicted: The node was low on resource: memory.",
            ),
            (
                json!({"reason": "Evicted", "message": "Usage of EmptyDir volume \"v\" exceeds the limit \"1Gi\"."}),
                false,
                "Evicted: Usage of EmptyDir volume \"v\" exceeds the limit \"1Gi\".",
            ),
        ] {
            let mut status = status;
            status["phase"] = json!("Failed");
            let parsed: PodStatus = serde_json::from_value(status.clone()).unwrap();
            let (is_refused, message) = match phase(&parsed) {
                PodPhase::Refused { message } => (true, message),
                PodPhase::Failed { message } => (false, message),
                other => panic!("{other:?}"),
            };
            assert_eq!((is_refused, message.as_ref()), (refused, expected), "{status}");
        }
    }
}
