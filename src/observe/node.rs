//! Nodes: labels, taints, readiness and what they offer.

use super::amounts::Exact;
use super::{Notes, arc, selectors, time};
use crate::api::labels;
use crate::api::pruned::{Condition, Node};
use crate::model::delta::Delta;
use crate::model::selector::Taint;
use crate::model::spec::NodeSpec;

/// Taints that only mirror what the model reads elsewhere: readiness and cordon.
const MIRRORS: [&str; 3] =
    ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable", "node.kubernetes.io/unschedulable"];

/// A node that was seen.
pub fn node(node: &Node, notes: &mut Notes) -> Delta {
    let metadata = &node.metadata;
    let name = arc(metadata.name.as_ref());
    let of_what = format!("node {name}");
    let ready = node.status.conditions.iter().find(|condition| condition.kind == "Ready");
    let since = |condition: Option<&Condition>| {
        time(
            condition
                .and_then(|ready| ready.last_transition_time.as_ref())
                .or(metadata.creation_timestamp.as_ref()),
        )
    };
    let is_ready = ready.is_some_and(|ready| ready.status == "True");
    let mut taints: Vec<Taint> = Vec::new();
    for taint in node.spec.taints.iter().filter(|taint| !MIRRORS.contains(&taint.key.as_str())) {
        let Some(effect) = selectors::taint_effect(&taint.effect) else {
            notes.push(format!(
                "{of_what}: taint {} has the unknown effect {:?} and is left out",
                taint.key, taint.effect
            ));
            continue;
        };
        let value = taint.value.as_deref().unwrap_or_default().into();
        taints.push(Taint { key: taint.key.as_str().into(), value, effect });
    }
    let annotation = |key: &str| metadata.annotations.as_ref()?.get(key).map(String::as_str);
    Delta::Node(Box::new(NodeSpec {
        drain: annotation(labels::DRAIN) == Some("true"),
        tainted_for: annotation(labels::TAINTED_FOR).map(Into::into),
        labels: selectors::labels(metadata),
        taints,
        // A node that is being deleted takes nothing new.
        unschedulable: node.spec.unschedulable || metadata.deletion_timestamp.is_some(),
        not_ready_since: (!is_ready).then(|| since(ready)),
        allocatable: Exact::read(&node.status.allocatable, &of_what, notes).offered(),
        name,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::amount::Amount;
    use crate::model::time::Time;
    use serde_json::{Value, json};

    fn seen(object: Value) -> (NodeSpec, Notes) {
        let mut notes = Notes::new();
        match node(&serde_json::from_value(object).unwrap(), &mut notes) {
            Delta::Node(spec) => (*spec, notes),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_ready_node_offers_what_is_allocatable() {
        let (spec, notes) = seen(json!({
            "metadata": {"name": "n1", "labels": {"zone": "a"}, "creationTimestamp": "1970-01-01T00:00:05Z",
                         "managedFields": [{"manager": "kubelet"}],
                         "annotations": {"a": "b", "weir.dev/drain": "true", "weir.dev/tainted-for": "company"}},
            "spec": {"podCIDR": "10.0.0.0/24", "taints": [
                {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"},
                {"key": "node.kubernetes.io/memory-pressure", "effect": "NoSchedule"},
                {"key": "gpu", "value": "yes", "effect": "NoExecute"},
                {"key": "odd", "effect": "Sometimes"},
            ], "unschedulable": true},
            "status": {"allocatable": {"cpu": "3920m", "memory": "7Gi", "pods": "110", "nvidia.com/gpu": "2", "bad": "x"},
                       "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "1970-01-01T00:00:09Z"}]},
        }));
        assert_eq!(spec.name.as_ref(), "n1");
        assert_eq!(spec.labels.get("zone").map(AsRef::as_ref), Some("a"));
        assert!(spec.unschedulable && spec.drain);
        assert_eq!(spec.tainted_for.as_deref(), Some("company"));
        assert_eq!(spec.not_ready_since, None);
        let taints: Vec<&str> = spec.taints.iter().map(|taint| taint.key.as_ref()).collect();
        assert_eq!(taints, ["node.kubernetes.io/memory-pressure", "gpu"]);
        assert_eq!(spec.allocatable.get("cpu"), Some(&Amount::new(3920)));
        assert_eq!(spec.allocatable.get("nvidia.com/gpu"), Some(&Amount::new(2)));
        assert_eq!(notes.len(), 2, "{notes:?}");
    }

    #[test]
    fn a_node_is_not_ready_since_its_condition_says_so_or_since_it_is_there() {
        let (spec, _) = seen(json!({"metadata": {"name": "n", "creationTimestamp": "1970-01-01T00:00:05Z"}}));
        assert_eq!(spec.not_ready_since, Some(Time(5000)));
        let (spec, _) = seen(json!({"metadata": {"name": "n"}, "status": {"conditions": [
            {"type": "Ready", "status": "Unknown", "lastTransitionTime": "1970-01-01T00:00:09Z"}]}}));
        assert_eq!(spec.not_ready_since, Some(Time(9000)));
    }
}
