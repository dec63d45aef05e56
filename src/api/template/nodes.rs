//! What a template says about nodes: selector, affinity, tolerations.

use k8s_openapi::api::core::v1::{NodeSelectorRequirement, NodeSelectorTerm, PodSpec, Toleration};

use super::one_of;
use crate::api::field::{FieldPath, Problems};
use crate::api::names::{is_label_value, is_qualified_name};

/// Checks everything that chooses nodes.
pub(super) fn check(pod: &PodSpec, problems: &mut Problems) {
    for (key, value) in pod.node_selector.iter().flatten() {
        let at = FieldPath::of("nodeSelector").key(key);
        if !is_qualified_name(key) {
            problems.add(at, "write the key of a label, such as example.com/zone");
        } else if !is_label_value(value) {
            problems.add(at, "write the value of a label: at most 63 letters, digits, '-', '_' and '.'");
        }
    }
    affinity(pod, problems);
    preferred(pod, problems);
    for (index, toleration) in pod.tolerations.iter().flatten().enumerate() {
        tolerates(toleration, &FieldPath::of("tolerations").index(index), problems);
    }
}

fn affinity(pod: &PodSpec, problems: &mut Problems) {
    let Some(required) = pod
        .affinity
        .as_ref()
        .and_then(|a| a.node_affinity.as_ref())
        .and_then(|n| n.required_during_scheduling_ignored_during_execution.as_ref())
    else {
        return;
    };
    let at = FieldPath::of(
        "affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms",
    );
    if required.node_selector_terms.is_empty() {
        problems.add(at.clone(), "write at least one term");
    }
    for (index, one) in required.node_selector_terms.iter().enumerate() {
        term(one, &at.index(index), problems);
    }
}

fn preferred(pod: &PodSpec, problems: &mut Problems) {
    let affinity = pod.affinity.as_ref().and_then(|affinity| affinity.node_affinity.as_ref());
    let preferred =
        affinity.and_then(|one| one.preferred_during_scheduling_ignored_during_execution.as_ref());
    let at = FieldPath::of("affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution");
    for (index, one) in preferred.into_iter().flatten().enumerate() {
        let at = at.index(index);
        super::terms::weight(one.weight, &at, problems);
        term(&one.preference, &at.key("preference"), problems);
    }
}

fn term(term: &NodeSelectorTerm, at: &FieldPath, problems: &mut Problems) {
    for (index, requirement) in term.match_expressions.iter().flatten().enumerate() {
        expression(requirement, &at.key("matchExpressions").index(index), problems);
    }
    for (index, requirement) in term.match_fields.iter().flatten().enumerate() {
        field(requirement, &at.key("matchFields").index(index), problems);
    }
}

fn expression(requirement: &NodeSelectorRequirement, at: &FieldPath, problems: &mut Problems) {
    let values = requirement.values.as_deref().unwrap_or_default();
    if !is_qualified_name(&requirement.key) {
        problems.add(at.key("key"), "write the key of a label, such as example.com/zone");
    }
    let at_values = at.key("values");
    match requirement.operator.as_str() {
        "In" | "NotIn" if values.is_empty() => {
            problems.add(at_values, "In and NotIn need at least one value");
        }
        "In" | "NotIn" => {
            for (index, value) in values.iter().enumerate().filter(|(_, value)| !is_label_value(value)) {
                problems.add(at_values.index(index), format!("{value:?} is no value of a label"));
            }
        }
        "Exists" | "DoesNotExist" if !values.is_empty() => {
            problems.add(at_values, "leave it away: Exists and DoesNotExist take no values");
        }
        "Gt" | "Lt" if values.len() != 1 || values[0].parse::<i64>().is_err() => {
            problems.add(at_values, "Gt and Lt need one value, a whole number");
        }
        "Exists" | "DoesNotExist" | "Gt" | "Lt" => {}
        other => one_of(
            Some(other),
            &["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"],
            &at.key("operator"),
            problems,
        ),
    }
}

/// The API server knows one field, `metadata.name`, and one value for it.
fn field(requirement: &NodeSelectorRequirement, at: &FieldPath, problems: &mut Problems) {
    if requirement.key != "metadata.name" {
        problems.add(at.key("key"), "write metadata.name: no other field of a node can be matched");
    }
    one_of(Some(&requirement.operator), &["In", "NotIn"], &at.key("operator"), problems);
    if requirement.values.as_ref().map(Vec::len) != Some(1) {
        problems.add(at.key("values"), "write one node name");
    }
}

fn tolerates(toleration: &Toleration, at: &FieldPath, problems: &mut Problems) {
    let filled = |text: &Option<String>| text.as_deref().is_some_and(|text| !text.is_empty());
    let operator = toleration.operator.as_deref().filter(|o| !o.is_empty());
    one_of(operator, &["Equal", "Exists"], &at.key("operator"), problems);
    if filled(&toleration.key) {
        if !toleration.key.as_deref().is_some_and(is_qualified_name) {
            problems.add(at.key("key"), "write the key of a taint, such as example.com/dedicated");
        }
    } else if operator != Some("Exists") {
        problems.add(at.key("operator"), "write Exists, since there is no key");
    }
    if operator == Some("Exists") && filled(&toleration.value) {
        problems.add(at.key("value"), "leave it away: Exists takes no value");
    }
    let effect = toleration.effect.as_deref().filter(|e| !e.is_empty());
    one_of(effect, &["NoSchedule", "PreferNoSchedule", "NoExecute"], &at.key("effect"), problems);
    if toleration.toleration_seconds.is_some() && effect != Some("NoExecute") {
        problems.add(at.key("tolerationSeconds"), "leave it away, or set effect to NoExecute");
    }
}
