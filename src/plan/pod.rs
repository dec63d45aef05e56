//! The pod of a member: the template, and what Weir says of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::api::{API_VERSION, labels};
use crate::decide::decision::Placement;
use crate::model::spec::Completion;
use crate::observe::{constraints, names};
use k8s_openapi::api::core::v1::{
    Affinity, Container, EnvVar, NodeAffinity, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, Pod,
    PodSpec, Toleration,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

/// What the pods of one workload have in common.
#[derive(Clone, Copy, Debug)]
pub struct Workload<'a> {
    /// `metadata.uid`.
    pub uid: &'a Arc<str>,
    /// `metadata.namespace`.
    pub namespace: &'a Arc<str>,
    /// `metadata.name`.
    pub name: &'a Arc<str>,
    /// The pool that is charged.
    pub pool: &'a str,
    /// Members that it was admitted with.
    pub size: u32,
    /// When it is done.
    pub completion: Completion,
    /// Labels of the template.
    pub labels: &'a BTreeMap<String, String>,
    /// Annotations of the template.
    pub annotations: &'a BTreeMap<String, String>,
    /// The template's pod spec, as it was checked.
    pub spec: &'a PodSpec,
    /// Resources that no node offers: charged, and not asked for by the pod, which no scheduler and no kubelet
    /// would take.
    pub left_out: &'a [&'a str],
    /// The dedicated pool whose taint members tolerate.
    pub dedicated: Option<&'a str>,
}

/// The pods of some members.
pub fn pods(workload: &Workload<'_>, placements: &[Placement]) -> Vec<Pod> {
    let pinned = constraints::needs_default_scheduler(workload.spec);
    placements.iter().map(|placement| pod(workload, placement, pinned)).collect()
}

fn pod(workload: &Workload<'_>, placement: &Placement, pinned: bool) -> Pod {
    let mut spec = workload.spec.clone();
    if workload.completion == Completion::RunToCompletion {
        spec.restart_policy.get_or_insert_with(|| "Never".to_owned());
    }
    spec.subdomain = Some(workload.name.to_string());
    let Placement { index, attempt, node } = placement;
    let mut annotations = workload.annotations.clone();
    if pinned {
        pin(&mut spec, node);
        annotations.insert(labels::NODE.to_owned(), node.to_string());
    } else {
        spec.node_name = Some(node.to_string());
    }
    if let Some(pool) = workload.dedicated {
        let own = spec.tolerations.get_or_insert_default();
        let toleration = tolerates(pool);
        if !own.contains(&toleration) {
            own.push(toleration);
        }
    }
    spec.hostname = Some(names::host(workload.name, *index));
    let environment =
        [(labels::ENV_INDEX, index.to_string()), (labels::ENV_REPLICAS, workload.size.to_string())];
    for container in spec.init_containers.iter_mut().flatten().chain(&mut spec.containers) {
        add_environment(container, &environment);
        leave_out(container, workload.left_out);
    }
    let mut pod_labels = workload.labels.clone();
    pod_labels.extend(
        [
            (labels::POOL, workload.pool.to_owned()),
            (labels::WORKLOAD, workload.name.to_string()),
            (labels::WORKLOAD_UID, workload.uid.to_string()),
            (labels::INDEX, index.to_string()),
            (labels::ATTEMPT, names::shown_attempt(*attempt).to_string()),
        ]
        .map(|(key, value)| (key.to_owned(), value)),
    );
    Pod {
        metadata: ObjectMeta {
            name: Some(names::member(workload.name, *index, *attempt)),
            namespace: Some(workload.namespace.to_string()),
            labels: Some(pod_labels),
            annotations: (!annotations.is_empty()).then_some(annotations),
            owner_references: Some(vec![owner(workload)]),
            ..ObjectMeta::default()
        },
        spec: Some(spec),
        status: None,
    }
}

/// The owner does not wait for its pods when it is deleted in the foreground: some clusters allow
/// `blockOwnerDeletion` only to those who may set the owner's finalizers.
fn owner(workload: &Workload<'_>) -> OwnerReference {
    OwnerReference {
        api_version: API_VERSION.to_owned(),
        kind: "PooledWorkload".to_owned(),
        name: workload.name.to_string(),
        uid: workload.uid.to_string(),
        controller: Some(true),
        block_owner_deletion: Some(false),
    }
}

/// The taint of that pool, and of no other.
pub(super) fn tolerates(pool: &str) -> Toleration {
    Toleration {
        key: Some(labels::TAINT.to_owned()),
        operator: Some("Equal".to_owned()),
        value: Some(pool.to_owned()),
        effect: Some("NoSchedule".to_owned()),
        ..Toleration::default()
    }
}

/// What the user set stays.
fn add_environment(container: &mut Container, environment: &[(&str, String)]) {
    let own = container.env.get_or_insert_default();
    // In front, so that what the user wrote may refer to it: $(WEIR_INDEX).
    let new = environment.iter().filter(|(name, _)| !own.iter().any(|one| one.name == *name));
    let new: Vec<EnvVar> = new
        .map(|(name, value)| EnvVar {
            name: (*name).to_owned(),
            value: Some(value.clone()),
            value_from: None,
        })
        .collect();
    own.splice(0..0, new);
}

fn leave_out(container: &mut Container, left_out: &[&str]) {
    let Some(resources) = &mut container.resources else { return };
    for amounts in [&mut resources.requests, &mut resources.limits].into_iter().flatten() {
        amounts.retain(|name, _| !left_out.contains(&name.as_str()));
    }
}

/// Narrows the required node affinity to one node, in every term: terms are alternatives.
fn pin(spec: &mut PodSpec, node: &str) {
    let requirement = NodeSelectorRequirement {
        key: "metadata.name".to_owned(),
        operator: "In".to_owned(),
        values: Some(vec![node.to_owned()]),
    };
    let node_affinity = spec
        .affinity
        .get_or_insert_with(Affinity::default)
        .node_affinity
        .get_or_insert_with(NodeAffinity::default);
    let required = node_affinity
        .required_during_scheduling_ignored_during_execution
        .get_or_insert_with(|| NodeSelector { node_selector_terms: vec![NodeSelectorTerm::default()] });
    for term in &mut required.node_selector_terms {
        term.match_fields.get_or_insert_default().push(requirement.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn made(spec: &Value, completion: Completion, placement: &Placement) -> Value {
        let labels: BTreeMap<String, String> = [("app".to_owned(), "train".to_owned())].into();
        let annotations: BTreeMap<String, String> = [("note".to_owned(), "kept".to_owned())].into();
        let workload = Workload {
            uid: &"w-uid".into(),
            namespace: &"vision".into(),
            name: &"train".into(),
            pool: "research",
            size: 4,
            completion,
            labels: &labels,
            annotations: &annotations,
            spec: &serde_json::from_value(spec.clone()).unwrap(),
            left_out: &["license.example.com/solver"],
            dedicated: None,
        };
        let pods = pods(&workload, std::slice::from_ref(placement));
        serde_json::to_value(&pods[0]).unwrap()
    }

    fn placement(index: u32, attempt: u32) -> Placement {
        Placement { index, attempt, node: "node-7".into() }
    }

    #[test]
    fn a_member_is_the_template_with_its_place_and_its_names() {
        let spec = json!({
            "initContainers": [{"name": "prepare", "image": "i"}],
            "containers": [{"name": "main", "image": "i", "resources": {"requests": {"cpu": "2"}},
                            "env": [{"name": "RANK", "value": "$(WEIR_INDEX)"}, {"name": "WEIR_REPLICAS", "value": "8"}]}],
        });
        let pod = made(&spec, Completion::RunToCompletion, &placement(3, 0));
        assert_eq!(
            pod,
            json!({
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {
                    "name": "train-3",
                    "namespace": "vision",
                    "labels": {
                        "app": "train",
                        "weir.dev/attempt": "1",
                        "weir.dev/index": "3",
                        "weir.dev/pool": "research",
                        "weir.dev/workload": "train",
                        "weir.dev/workload-uid": "w-uid",
                    },
                    "annotations": {"note": "kept"},
                    "ownerReferences": [{
                        "apiVersion": "weir.dev/v1alpha1", "kind": "PooledWorkload", "name": "train", "uid": "w-uid",
                        "controller": true, "blockOwnerDeletion": false,
                    }],
                },
                "spec": {
                    "nodeName": "node-7",
                    "hostname": "train-3",
                    "subdomain": "train",
                    "restartPolicy": "Never",
                    "initContainers": [{"name": "prepare", "image": "i", "env": [
                        {"name": "WEIR_INDEX", "value": "3"}, {"name": "WEIR_REPLICAS", "value": "4"}]}],
                    "containers": [{"name": "main", "image": "i", "resources": {"requests": {"cpu": "2"}}, "env": [
                        {"name": "WEIR_INDEX", "value": "3"},
                        {"name": "RANK", "value": "$(WEIR_INDEX)"},
                        {"name": "WEIR_REPLICAS", "value": "8"},
                    ]}],
                },
            })
        );
    }

    #[test]
    fn what_no_node_offers_is_not_asked_for() {
        let amounts = json!({"cpu": "1", "license.example.com/solver": "2"});
        let spec =
            json!({"containers": [{"name": "main", "resources": {"requests": amounts, "limits": amounts}}]});
        let pod = made(&spec, Completion::RunToCompletion, &placement(0, 0));
        let left = json!({"requests": {"cpu": "1"}, "limits": {"cpu": "1"}});
        assert_eq!(pod["spec"]["containers"][0]["resources"], left);
    }

    #[test]
    fn later_attempts_have_other_names_and_the_same_host() {
        let spec = json!({"containers": [{"name": "main"}], "restartPolicy": "OnFailure"});
        let pod = made(&spec, Completion::RunToCompletion, &placement(0, 2));
        assert_eq!(pod["metadata"]["name"], "train-0-r3");
        assert_eq!(pod["metadata"]["labels"]["weir.dev/attempt"], "3");
        assert_eq!(pod["spec"]["hostname"], "train-0");
        assert_eq!(pod["spec"]["restartPolicy"], "OnFailure");
        let kept = made(&json!({"containers": []}), Completion::KeepRunning, &placement(0, 0));
        assert_eq!(kept["spec"].get("restartPolicy"), None, "Kubernetes' own default is Always");
    }

    #[test]
    fn a_pod_with_claims_is_pinned_in_every_term_and_left_to_the_default_scheduler() {
        let claim = json!([{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]);
        let pin = json!({"key": "metadata.name", "operator": "In", "values": ["node-7"]});
        let plain =
            made(&json!({"containers": [], "volumes": claim}), Completion::RunToCompletion, &placement(0, 0));
        assert_eq!(plain["spec"].get("nodeName"), None);
        assert_eq!(plain["metadata"]["annotations"]["weir.dev/node"], "node-7");
        let required = |pod: &Value| {
            pod["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"].clone()
        };
        assert_eq!(required(&plain), json!([{"matchFields": [pin]}]));

        let terms = json!([
            {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a"]}]},
            {"matchFields": [{"key": "metadata.name", "operator": "NotIn", "values": ["node-8"]}]},
        ]);
        let narrowed = made(
            &json!({"containers": [], "volumes": claim, "affinity": {"nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}}),
            Completion::RunToCompletion,
            &placement(0, 0),
        );
        assert_eq!(
            required(&narrowed),
            json!([
                {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a"]}], "matchFields": [pin]},
                {"matchFields": [{"key": "metadata.name", "operator": "NotIn", "values": ["node-8"]}, pin]},
            ])
        );
    }
}
