//! The template of a workload to the shape of its members: what they ask for and which nodes they may have.

use std::sync::Arc;

use k8s_openapi::api::core::v1 as core;
use serde_json::Value;

use super::requests;
use super::selectors::{node_term, toleration};
use crate::api::pruned;
use crate::model::selector::{NodeTerm, Operator, Requirement, Toleration};
use crate::model::spec::ShapeSpec;

/// The shape of the pods that are made from `spec`, the template's pod spec.
///
/// # Errors
/// What is wrong, with its field, for people.
pub fn shape(spec: &Value) -> Result<ShapeSpec, String> {
    let pruned: pruned::PodSpec = parse(spec.clone())?;
    let typed = pod_spec(spec)?;
    let mut notes = Vec::new();
    let requests =
        requests::effective(&pruned, &pruned::PodStatus::default(), "template.pod.spec", &mut notes);
    if let Some(note) = notes.into_iter().next() {
        return Err(note);
    }
    Ok(ShapeSpec {
        requests,
        selector: selector(&typed),
        affinity: affinity(&typed)?,
        tolerations: tolerations(&typed)?,
        host_ports: requests::host_ports(&pruned),
    })
}

/// The template's pod spec in its own type. Quantities that were written as numbers are read as Kubernetes
/// reads them.
///
/// # Errors
/// The field and what is wrong with it.
pub fn pod_spec(spec: &Value) -> Result<core::PodSpec, String> {
    let mut spec = spec.clone();
    quantities_to_text(&mut spec);
    parse(spec)
}

fn parse<T: serde::de::DeserializeOwned>(spec: Value) -> Result<T, String> {
    serde_path_to_error::deserialize(spec)
        .map_err(|error| format!("template.pod.spec.{}: {}", error.path(), error.inner()))
}

/// Kubernetes takes `cpu: 2` and `cpu: 0.5` for quantities; its types in Rust take text alone.
fn quantities_to_text(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                match (key.as_str(), &mut *value) {
                    ("requests" | "limits" | "overhead", Value::Object(amounts)) => {
                        amounts.values_mut().for_each(number_to_text);
                    }
                    ("sizeLimit" | "divisor", amount) => number_to_text(amount),
                    (_, other) => quantities_to_text(other),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(quantities_to_text),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn number_to_text(value: &mut Value) {
    if let Value::Number(number) = value {
        *value = Value::String(number.to_string());
    }
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
    let field = "template.pod.spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution";
    let terms = required.node_selector_terms.iter().enumerate();
    terms
        .map(|(at, term)| node_term(term, &format!("{field}.nodeSelectorTerms[{at}]")))
        .collect::<Result<_, _>>()
        .map(Some)
}

fn tolerations(spec: &core::PodSpec) -> Result<Vec<Toleration>, String> {
    let tolerations = spec.tolerations.iter().flatten().enumerate();
    tolerations.map(|(at, one)| toleration(one, &format!("template.pod.spec.tolerations[{at}]"))).collect()
}

/// Whether the pod must be left to the default scheduler, pinned to its node, since that alone binds its
/// volumes and devices.
pub fn needs_default_scheduler(spec: &core::PodSpec) -> bool {
    let claims = spec.volumes.iter().flatten();
    let mut claims =
        claims.filter(|volume| volume.persistent_volume_claim.is_some() || volume.ephemeral.is_some());
    claims.next().is_some() || spec.resource_claims.as_ref().is_some_and(|claims| !claims.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::amount::Amount;
    use serde_json::json;

    #[test]
    fn everything_that_narrows_the_nodes_is_read() {
        let shape = shape(&json!({
            "nodeSelector": {"disk": "ssd"},
            "os": {"name": "linux"},
            "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
                {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a", "b"]}]},
                {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n1"]}]},
            ]}}},
            "tolerations": [{"operator": "Exists"}, {"key": "gpu", "value": "yes", "effect": "NoSchedule"}],
            "containers": [{"name": "a", "image": "i", "resources": {"requests": {"cpu": 0.5, "memory": 1024}},
                            "ports": [{"containerPort": 80, "hostPort": 8080}]}],
        }))
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
            (json!("a pod"), "template.pod.spec"),
            (json!({"containers": "many"}), "template.pod.spec.containers"),
            (
                json!({"containers": [{"name": "a", "resources": {"requests": {"cpu": "lots"}}}]}),
                "\"lots\" is not",
            ),
            (json!({"containers": [{"name": "a", "resources": {"requests": {"cpu": "-1"}}}]}), "negative"),
            (
                json!({"containers": [], "tolerations": [{"key": "a", "operator": "Like"}]}),
                "template.pod.spec.tolerations[0].operator: write Equal or Exists",
            ),
        ] {
            let problem = shape(&spec).unwrap_err();
            assert!(problem.contains(expected), "{problem} does not say {expected}");
        }
    }

    #[test]
    fn claims_need_the_default_scheduler() {
        let needs = |spec| needs_default_scheduler(&pod_spec(&spec).unwrap());
        assert!(!needs(json!({"containers": [], "volumes": [{"name": "v", "emptyDir": {"sizeLimit": 5}}]})));
        assert!(needs(
            json!({"containers": [], "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}]})
        ));
        assert!(needs(json!({"containers": [], "volumes": [{"name": "v", "ephemeral": {}}]})));
        assert!(needs(
            json!({"containers": [], "resourceClaims": [{"name": "c", "resourceClaimName": "x"}]})
        ));
    }
}
