//! What a template says about the pods around it: affinity, anti-affinity and topology spread.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{
    PodAffinityTerm, PodSpec, TopologySpreadConstraint, WeightedPodAffinityTerm,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use super::one_of;
use crate::api::field::{FieldPath, Problems};
use crate::api::labels;
use crate::api::names::{is_dns_label, is_label_value, is_qualified_name};

/// Checks every term.
pub(super) fn check(pod: &PodSpec, problems: &mut Problems) {
    let affinity = pod.affinity.as_ref();
    if let Some(to) = affinity.and_then(|affinity| affinity.pod_affinity.as_ref()) {
        let at = FieldPath::of("affinity.podAffinity");
        required(to.required_during_scheduling_ignored_during_execution.as_deref(), &at, problems);
        preferred(to.preferred_during_scheduling_ignored_during_execution.as_deref(), &at, problems);
    }
    if let Some(from) = affinity.and_then(|affinity| affinity.pod_anti_affinity.as_ref()) {
        let at = FieldPath::of("affinity.podAntiAffinity");
        required(from.required_during_scheduling_ignored_during_execution.as_deref(), &at, problems);
        preferred(from.preferred_during_scheduling_ignored_during_execution.as_deref(), &at, problems);
    }
    let mut met = BTreeSet::new();
    for (index, one) in pod.topology_spread_constraints.iter().flatten().enumerate() {
        let at = FieldPath::of("topologySpreadConstraints").index(index);
        spread(one, &at, problems);
        if !met.insert((&one.topology_key, &one.when_unsatisfiable)) {
            problems.add(
                at.key("topologyKey"),
                format!(
                    "{:?} is there twice with the same whenUnsatisfiable: leave one of them away",
                    one.topology_key
                ),
            );
        }
    }
}

fn required(terms: Option<&[PodAffinityTerm]>, at: &FieldPath, problems: &mut Problems) {
    let at = at.key("requiredDuringSchedulingIgnoredDuringExecution");
    for (index, one) in terms.into_iter().flatten().enumerate() {
        term(one, &at.index(index), problems);
    }
}

fn preferred(terms: Option<&[WeightedPodAffinityTerm]>, at: &FieldPath, problems: &mut Problems) {
    let at = at.key("preferredDuringSchedulingIgnoredDuringExecution");
    for (index, one) in terms.into_iter().flatten().enumerate() {
        let at = at.index(index);
        weight(one.weight, &at, problems);
        term(&one.pod_affinity_term, &at.key("podAffinityTerm"), problems);
    }
}

/// The weight of a preference.
pub(super) fn weight(weight: i32, at: &FieldPath, problems: &mut Problems) {
    if !(1..=100).contains(&weight) {
        problems.add(at.key("weight"), "write 1 to 100");
    }
}

fn term(one: &PodAffinityTerm, at: &FieldPath, problems: &mut Problems) {
    topology(&one.topology_key, at, problems);
    selector(one.label_selector.as_ref(), &at.key("labelSelector"), problems);
    selector(one.namespace_selector.as_ref(), &at.key("namespaceSelector"), problems);
    for (index, name) in one.namespaces.iter().flatten().enumerate().filter(|(_, name)| !is_dns_label(name)) {
        problems.add(at.key("namespaces").index(index), format!("{name:?} is no name of a namespace"));
    }
    let keys = one.match_label_keys.as_deref().unwrap_or_default();
    let other = one.mismatch_label_keys.as_deref().unwrap_or_default();
    label_keys(keys, one.label_selector.as_ref(), &at.key("matchLabelKeys"), problems);
    label_keys(other, one.label_selector.as_ref(), &at.key("mismatchLabelKeys"), problems);
    if let Some(key) = keys.iter().find(|key| other.contains(key)) {
        problems
            .add(at.key("mismatchLabelKeys"), format!("{key:?} is in matchLabelKeys too: leave one away"));
    }
}

fn spread(one: &TopologySpreadConstraint, at: &FieldPath, problems: &mut Problems) {
    topology(&one.topology_key, at, problems);
    selector(one.label_selector.as_ref(), &at.key("labelSelector"), problems);
    let keys = one.match_label_keys.as_deref().unwrap_or_default();
    label_keys(keys, one.label_selector.as_ref(), &at.key("matchLabelKeys"), problems);
    if one.max_skew < 1 {
        problems.add(at.key("maxSkew"), "write 1 or more");
    }
    let known = ["DoNotSchedule", "ScheduleAnyway"];
    one_of(Some(&one.when_unsatisfiable), &known, &at.key("whenUnsatisfiable"), problems);
    if one.min_domains.is_some_and(|least| least < 1) {
        problems.add(at.key("minDomains"), "write 1 or more, or leave it away");
    } else if one.min_domains.is_some() && one.when_unsatisfiable != "DoNotSchedule" {
        problems.add(at.key("minDomains"), "leave it away, or set whenUnsatisfiable to DoNotSchedule");
    }
    for (field, policy) in
        [("nodeAffinityPolicy", &one.node_affinity_policy), ("nodeTaintsPolicy", &one.node_taints_policy)]
    {
        one_of(policy.as_deref(), &["Honor", "Ignore"], &at.key(field), problems);
    }
}

fn topology(key: &str, at: &FieldPath, problems: &mut Problems) {
    if !is_qualified_name(key) {
        problems
            .add(at.key("topologyKey"), "write the key of a node label, such as topology.kubernetes.io/zone");
    }
}

/// Members of one workload are decided alike, so that no term may tell them apart.
fn is_of_one(key: &str, at: FieldPath, problems: &mut Problems) -> bool {
    let of_one = key == labels::INDEX || key == labels::ATTEMPT;
    if of_one {
        problems.add(at, format!("leave {key} away: members of a workload are placed alike"));
    }
    of_one
}

fn label_keys(keys: &[String], selector: Option<&LabelSelector>, at: &FieldPath, problems: &mut Problems) {
    if selector.is_none() && !keys.is_empty() {
        problems.add(at.clone(), "leave it away, or write a labelSelector that it narrows, such as {}");
    }
    for (index, key) in keys.iter().enumerate() {
        let at = at.index(index);
        let selected = selector.is_some_and(|by| {
            by.match_labels.iter().flatten().any(|(one, _)| one == key)
                || by.match_expressions.iter().flatten().any(|one| one.key == *key)
        });
        if !is_qualified_name(key) {
            problems.add(at, "write the key of a label, such as example.com/version");
        } else if selected {
            problems.add(at, format!("{key:?} is in labelSelector too: leave one away"));
        } else {
            is_of_one(key, at, problems);
        }
    }
}

fn selector(selector: Option<&LabelSelector>, at: &FieldPath, problems: &mut Problems) {
    let Some(selector) = selector else { return };
    for (key, value) in selector.match_labels.iter().flatten() {
        let at = at.key("matchLabels").key(key);
        if !is_qualified_name(key) {
            problems.add(at, "write the key of a label, such as example.com/app");
        } else if !is_label_value(value) {
            problems.add(at, "write the value of a label: at most 63 letters, digits, '-', '_' and '.'");
        } else {
            is_of_one(key, at, problems);
        }
    }
    for (index, one) in selector.match_expressions.iter().flatten().enumerate() {
        let at = at.key("matchExpressions").index(index);
        let values = one.values.as_deref().unwrap_or_default();
        if is_qualified_name(&one.key) {
            is_of_one(&one.key, at.key("key"), problems);
        } else {
            problems.add(at.key("key"), "write the key of a label, such as example.com/app");
        }
        match one.operator.as_str() {
            "In" | "NotIn" if values.is_empty() => {
                problems.add(at.key("values"), "In and NotIn need at least one value");
            }
            "In" | "NotIn" => {
                for (index, value) in values.iter().enumerate().filter(|(_, value)| !is_label_value(value)) {
                    problems.add(at.key("values").index(index), format!("{value:?} is no value of a label"));
                }
            }
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                problems.add(at.key("values"), "leave it away: Exists and DoesNotExist take no values");
            }
            other => {
                one_of(
                    Some(other),
                    &["In", "NotIn", "Exists", "DoesNotExist"],
                    &at.key("operator"),
                    problems,
                );
            }
        }
    }
}
