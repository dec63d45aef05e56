//! The template of a workload to the shape of its members: what they ask for and which nodes they may have.

use std::sync::Arc;

use k8s_openapi::api::core::v1 as core;

use super::requests;
use super::selectors::{node_term, toleration};
use super::terms::{Whose, pod_terms};
use super::volume::claim_name;
use crate::api::pruned;
use crate::model::amount::Amount;
use crate::model::selector::{NodeTerm, Operator, Requirement, Toleration};
use crate::model::spec::ShapeSpec;

/// Where the pod spec stands in a workload.
pub const FIELD: &str = "spec.template.pod.spec";

/// The shape of the pods that are made from `spec`, a pod spec that [`check_pod_template`] let pass.
///
/// # Errors
/// What is wrong, with its field, for people.
///
/// [`check_pod_template`]: crate::api::template::check_pod_template
pub fn shape(spec: &core::PodSpec) -> Result<ShapeSpec, String> {
    let json = serde_json::to_value(spec).map_err(|error| format!("{FIELD}: {error}"))?;
    let pruned: pruned::PodSpec =
        serde_json::from_value(json).map_err(|error| format!("{FIELD}: {error}"))?;
    let mut notes = Vec::new();
    let requests = requests::effective(&pruned, &pruned::PodStatus::default(), FIELD, &mut notes);
    if let Some(note) = notes.into_iter().next() {
        return Err(note);
    }
    Ok(ShapeSpec {
        requests,
        selector: selector(spec),
        affinity: affinity(spec)?,
        tolerations: tolerations(spec)?,
        host_ports: requests::host_ports(&pruned),
        preferred: preferred(spec)?,
        overhead: Amount::ZERO,
        host_model: false,
        claims: Vec::new(),
        own_claims: Vec::new(),
        terms: None,
    })
}

/// Whether the shape hangs on whose pods they are: what is wanted of the pods around, and claims.
pub fn is_personal(spec: &core::PodSpec) -> bool {
    has_terms(spec) || claims(spec).next().is_some()
}

/// Whether something is wanted of the pods around.
pub fn has_terms(spec: &core::PodSpec) -> bool {
    let affinity = spec.affinity.as_ref();
    affinity.is_some_and(|one| one.pod_affinity.is_some() || one.pod_anti_affinity.is_some())
        || spec.topology_spread_constraints.as_ref().is_some_and(|all| !all.is_empty())
}

/// The shape of pods of one workload, of that of the template.
///
/// # Errors
/// What is wrong, with its field, for people.
pub fn personal(shape: &ShapeSpec, spec: &core::PodSpec, whose: Whose<'_>) -> Result<ShapeSpec, String> {
    let terms = pod_terms(spec, whose).map_err(|problem| format!("{FIELD}.{problem}"))?;
    let mut claims: Vec<Arc<str>> = claims(spec).map(|name| claim_name(whose.namespace, name)).collect();
    claims.sort();
    claims.dedup();
    Ok(ShapeSpec { claims, terms, ..shape.clone() })
}

fn claims(spec: &core::PodSpec) -> impl Iterator<Item = &str> {
    let claims = spec.volumes.iter().flatten().filter_map(|volume| volume.persistent_volume_claim.as_ref());
    claims.map(|claim| claim.claim_name.as_str())
}

fn preferred(spec: &core::PodSpec) -> Result<Vec<(i64, NodeTerm)>, String> {
    let affinity = spec.affinity.as_ref().and_then(|affinity| affinity.node_affinity.as_ref());
    let preferred =
        affinity.and_then(|node| node.preferred_during_scheduling_ignored_during_execution.as_ref());
    let at = "affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution";
    let one = |(index, one): (usize, &core::PreferredSchedulingTerm)| {
        let field = format!("{FIELD}.{at}[{index}].preference");
        let term = node_term(&one.preference, &field)?;
        // An empty term says nothing, and one without weight prefers nothing.
        let weighs = one.weight != 0 && !(term.labels.is_empty() && term.name.is_empty());
        Ok::<_, String>(weighs.then_some((i64::from(one.weight), term)))
    };
    preferred.into_iter().flatten().enumerate().map(one).filter_map(Result::transpose).collect()
}

fn selector(spec: &core::PodSpec) -> Vec<Requirement> {
    let equal = |key: &str, value: &str| Requirement {
        key: key.into(),
        operator: Operator::In,
        values: vec![Arc::from(value)],
    };
    let mut selector: Vec<Requirement> =
        spec.node_selector.iter().flatten().map(|(key, value)| equal(key, value)).collect();
    // The kubelet refuses pods for another system than its own.
    selector.extend(spec.os.as_ref().map(|os| equal("kubernetes.io/os", &os.name)));
    selector
}

fn affinity(spec: &core::PodSpec) -> Result<Option<Vec<NodeTerm>>, String> {
    let affinity = spec.affinity.as_ref().and_then(|affinity| affinity.node_affinity.as_ref());
    let Some(required) =
        affinity.and_then(|node| node.required_during_scheduling_ignored_during_execution.as_ref())
    else {
        return Ok(None);
    };
    let at = "affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms";
    let terms = required.node_selector_terms.iter().enumerate();
    terms
        .map(|(index, term)| node_term(term, &format!("{FIELD}.{at}[{index}]")))
        .collect::<Result<_, _>>()
        .map(Some)
}

fn tolerations(spec: &core::PodSpec) -> Result<Vec<Toleration>, String> {
    let tolerations = spec.tolerations.iter().flatten().enumerate();
    tolerations.map(|(index, one)| toleration(one, &format!("{FIELD}.tolerations[{index}]"))).collect()
}

/// Whether the pod must be left to the default scheduler, pinned to its node, since that alone binds its
/// volumes and devices.
pub fn needs_default_scheduler(spec: &core::PodSpec) -> bool {
    let claims = spec.volumes.iter().flatten();
    let mut claims =
        claims.filter(|volume| volume.persistent_volume_claim.is_some() || volume.ephemeral.is_some());
    claims.next().is_some() || spec.resource_claims.as_ref().is_some_and(|claims| !claims.is_empty())
}

/// Whether all pods of a template use the same claims, of storage or devices: two pods on two nodes may not be able
/// to. Claims that are made for each pod are no matter.
pub fn shares_claims(spec: &core::PodSpec) -> bool {
    spec.volumes.iter().flatten().any(|volume| volume.persistent_volume_claim.is_some())
        || spec.resource_claims.iter().flatten().any(|claim| claim.resource_claim_name.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn typed(spec: Value) -> core::PodSpec {
        serde_json::from_value(spec).unwrap()
    }

    #[test]
    fn everything_that_narrows_the_nodes_is_read() {
        let shape = shape(&typed(json!({
            "nodeSelector": {"disk": "ssd"},
            "os": {"name": "linux"},
            "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
                {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a", "b"]}]},
                {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n1"]}]},
            ]}}},
            "tolerations": [{"operator": "Exists"}, {"key": "gpu", "value": "yes", "effect": "NoSchedule"}],
            "containers": [{"name": "a", "image": "i", "resources": {"requests": {"cpu": "0.5", "memory": "1Ki"}},
                            "ports": [{"containerPort": 80, "hostPort": 8080}]}],
        })))
        .unwrap();
        assert_eq!(shape.requests.get("cpu"), Some(&Amount::new(500)));
        assert_eq!(shape.requests.get("memory"), Some(&Amount::new(1024)));
        assert_eq!(shape.selector.len(), 2);
        assert_eq!(shape.selector[1].key.as_ref(), "kubernetes.io/os");
        let terms = shape.affinity.unwrap();
        assert_eq!((terms[0].labels.len(), terms[1].name.len()), (1, 1));
        assert!(shape.tolerations[0].exists && shape.tolerations[0].key.is_none());
        assert_eq!(shape.host_ports[0].port, 8080);
    }

    #[test]
    fn what_is_wrong_is_said_with_its_field() {
        for (spec, expected) in [
            (
                json!({"containers": [{"name": "a", "resources": {"requests": {"cpu": "lots"}}}]}),
                "\"lots\" is not",
            ),
            (json!({"containers": [{"name": "a", "resources": {"requests": {"cpu": "-1"}}}]}), "negative"),
            (
                json!({"containers": [], "tolerations": [{"key": "a", "operator": "Like"}]}),
                "spec.template.pod.spec.tolerations[0].operator: write Equal or Exists",
            ),
        ] {
            let problem = shape(&typed(spec)).unwrap_err();
            assert!(problem.contains(expected), "{problem} does not say {expected}");
        }
    }

    #[test]
    fn claims_need_the_default_scheduler() {
        let needs = |spec| needs_default_scheduler(&typed(spec));
        assert!(!needs(
            json!({"containers": [], "volumes": [{"name": "v", "emptyDir": {"sizeLimit": "5"}}]})
        ));
        assert!(needs(
            json!({"containers": [], "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}]})
        ));
        assert!(needs(json!({"containers": [], "volumes": [{"name": "v", "ephemeral": {}}]})));
        assert!(needs(
            json!({"containers": [], "resourceClaims": [{"name": "c", "resourceClaimName": "x"}]})
        ));
    }
}
