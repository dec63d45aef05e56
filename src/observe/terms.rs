//! Affinity to pods and topology spread of Kubernetes to the terms of the model. What a term leaves to the pod's
//! own labels and namespace is filled in.

use std::sync::Arc;

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::apimachinery::pkg::apis::meta::v1 as meta;

use super::selectors::label_selector;
use crate::api::labels;
use crate::api::pruned;
use crate::model::selector::{LabelSelector, Labels, Operator, Requirement};
use crate::model::terms::{Neighbour, PodTerm, PodTerms, Preference, SpreadTerm};

/// A member's pod, as its terms speak of it.
#[derive(Clone, Copy, Debug)]
pub struct Whose<'a> {
    /// Its namespace.
    pub namespace: &'a Arc<str>,
    /// Its labels.
    pub labels: &'a Labels,
}

/// Whether a label tells one member of a workload, or one attempt, from another: terms do not speak of it.
fn is_of_one(key: &str) -> bool {
    key == labels::INDEX || key == labels::ATTEMPT
}

/// A pod that was seen, as others see it. What cannot be read keeps nobody off; it was refused on creation.
pub fn neighbour(pod: &pruned::Pod) -> Neighbour {
    let namespace: Arc<str> = super::arc(pod.metadata.namespace.as_ref());
    let mut labels = super::selectors::labels(&pod.metadata);
    labels.retain(|key, _| !is_of_one(key));
    let terms =
        pod.spec.affinity.pod_anti_affinity.required_during_scheduling_ignored_during_execution.iter();
    // The API server has merged matchLabelKeys into the selector when the pod was made.
    let whose = Whose { namespace: &namespace, labels: &Labels::new() };
    let mut apart: Vec<Arc<PodTerm>> = terms
        .filter_map(|term| pod_term(term, whose, "podAntiAffinity").ok())
        .map(|mut term| {
            // Members are told apart by nobody but themselves: where a term does, it is taken to mean them.
            if let Some(by) = &mut term.selector {
                by.requirements.retain(|requirement| !is_of_one(&requirement.key));
            }
            Arc::new(term)
        })
        .collect();
    apart.sort();
    apart.dedup();
    Neighbour { namespace, labels, apart }
}

/// All that a pod spec says of the pods around; none if that is nothing.
///
/// # Errors
/// What is wrong, with its field below the pod spec.
pub fn pod_terms(spec: &core::PodSpec, whose: Whose<'_>) -> Result<Option<Box<PodTerms>>, String> {
    let affinity = spec.affinity.as_ref();
    let to = affinity.and_then(|affinity| affinity.pod_affinity.as_ref());
    let from = affinity.and_then(|affinity| affinity.pod_anti_affinity.as_ref());
    let mut terms = PodTerms { namespace: Arc::clone(whose.namespace), ..PodTerms::default() };
    let required = to.and_then(|to| to.required_during_scheduling_ignored_during_execution.as_ref());
    for (at, term) in required.into_iter().flatten().enumerate() {
        terms.near.push(pod_term(term, whose, &format!("affinity.podAffinity.required[{at}]"))?);
    }
    terms.near_own = !terms.near.is_empty() && terms.near.iter().all(|term| selects(term, whose));
    let required = from.and_then(|from| from.required_during_scheduling_ignored_during_execution.as_ref());
    for (at, term) in required.into_iter().flatten().enumerate() {
        let term = pod_term(term, whose, &format!("affinity.podAntiAffinity.required[{at}]"))?;
        let own = selects(&term, whose);
        terms.apart.push((Arc::new(term), own));
    }
    terms.apart.sort();
    terms.apart.dedup();
    for (preferred, sign, field) in [
        (
            to.and_then(|to| to.preferred_during_scheduling_ignored_during_execution.as_ref()),
            1,
            "podAffinity",
        ),
        (
            from.and_then(|from| from.preferred_during_scheduling_ignored_during_execution.as_ref()),
            -1,
            "podAntiAffinity",
        ),
    ] {
        for (at, one) in preferred.into_iter().flatten().enumerate() {
            let term = pod_term(&one.pod_affinity_term, whose, &format!("affinity.{field}.preferred[{at}]"))?;
            let own = selects(&term, whose);
            terms.prefers.push(Preference { weight: sign * i64::from(one.weight), term, own });
        }
    }
    for (at, one) in spec.topology_spread_constraints.iter().flatten().enumerate() {
        terms.spread.push(spread_term(one, whose, &format!("topologySpreadConstraints[{at}]"))?);
    }
    Ok((!terms.is_empty()).then(|| Box::new(terms)))
}

fn selects(term: &PodTerm, whose: Whose<'_>) -> bool {
    term.selector.as_ref().is_some_and(|by| by.matches(whose.labels))
}

fn pod_term(term: &core::PodAffinityTerm, whose: Whose<'_>, field: &str) -> Result<PodTerm, String> {
    let core::PodAffinityTerm {
        label_selector,
        match_label_keys,
        mismatch_label_keys,
        namespace_selector,
        namespaces,
        topology_key,
    } = term;
    let mut selector = selector(label_selector.as_ref(), &format!("{field}.labelSelector"))?;
    narrow(&mut selector, match_label_keys.as_deref(), Operator::In, whose.labels);
    narrow(&mut selector, mismatch_label_keys.as_deref(), Operator::NotIn, whose.labels);
    let mut namespaces: Vec<Arc<str>> =
        namespaces.iter().flatten().map(|name| Arc::from(name.as_str())).collect();
    if namespaces.is_empty() && namespace_selector.is_none() {
        namespaces.push(Arc::clone(whose.namespace));
    }
    namespaces.sort();
    namespaces.dedup();
    Ok(PodTerm {
        topology: topology_key.as_str().into(),
        selector,
        namespaces,
        namespace_selector: self::selector(
            namespace_selector.as_ref(),
            &format!("{field}.namespaceSelector"),
        )?,
    })
}

fn spread_term(
    term: &core::TopologySpreadConstraint,
    whose: Whose<'_>,
    field: &str,
) -> Result<SpreadTerm, String> {
    let core::TopologySpreadConstraint {
        label_selector,
        match_label_keys,
        max_skew,
        min_domains,
        node_affinity_policy,
        node_taints_policy,
        topology_key,
        when_unsatisfiable,
    } = term;
    let mut selector = selector(label_selector.as_ref(), &format!("{field}.labelSelector"))?;
    narrow(&mut selector, match_label_keys.as_deref(), Operator::In, whose.labels);
    Ok(SpreadTerm {
        topology: topology_key.as_str().into(),
        max_skew: u32::try_from(*max_skew).unwrap_or(1).max(1),
        min_domains: min_domains.and_then(|least| u32::try_from(least).ok()).unwrap_or(1).max(1),
        hard: when_unsatisfiable == "DoNotSchedule",
        own: selector.as_ref().is_some_and(|by| by.matches(whose.labels)),
        selector,
        heeds_affinity: node_affinity_policy.as_deref() != Some("Ignore"),
        heeds_taints: node_taints_policy.as_deref() == Some("Honor"),
    })
}

fn selector(selector: Option<&meta::LabelSelector>, field: &str) -> Result<Option<LabelSelector>, String> {
    selector.map(|selector| label_selector(selector, field)).transpose()
}

/// Requires of each key the value that the pod itself has; a key that it lacks says nothing.
fn narrow(
    selector: &mut Option<LabelSelector>,
    keys: Option<&[String]>,
    operator: Operator,
    labels: &Labels,
) {
    let Some(selector) = selector else { return };
    for key in keys.into_iter().flatten() {
        if let Some((key, value)) = labels.get_key_value(key.as_str()) {
            let values = vec![Arc::clone(value)];
            selector.requirements.push(Requirement { key: Arc::clone(key), operator, values });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn read(spec: Value, labels: &[(&str, &str)]) -> Option<Box<PodTerms>> {
        let spec: core::PodSpec = serde_json::from_value(spec).unwrap();
        let labels: Labels = labels.iter().map(|(key, value)| (Arc::from(*key), Arc::from(*value))).collect();
        pod_terms(&spec, Whose { namespace: &"team".into(), labels: &labels }).unwrap()
    }

    #[test]
    fn what_a_term_leaves_open_is_filled_in() {
        let term = json!({"topologyKey": "zone", "labelSelector": {"matchLabels": {"app": "web"}},
            "matchLabelKeys": ["version", "absent"], "mismatchLabelKeys": ["tenant"]});
        let spec = json!({"containers": [], "affinity": {
            "podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]},
            "podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 7, "podAffinityTerm": {
                "topologyKey": "host", "labelSelector": {}, "namespaceSelector": {}}}]}}});
        let terms = read(spec, &[("app", "web"), ("version", "2"), ("tenant", "a")]).unwrap();
        let near = &terms.near[0];
        assert_eq!(near.namespaces, ["team".into()]);
        let requirements: Vec<_> = near
            .selector
            .iter()
            .flat_map(|by| &by.requirements)
            .map(|one| (one.key.as_ref(), one.operator, one.values[0].as_ref()))
            .collect();
        assert_eq!(
            requirements,
            [("app", Operator::In, "web"), ("version", Operator::In, "2"), ("tenant", Operator::NotIn, "a")]
        );
        assert!(!terms.near_own, "it shuns its own tenant");
        let prefers = &terms.prefers[0];
        assert_eq!((prefers.weight, prefers.own, prefers.term.namespaces.len()), (-7, true, 0));
    }

    #[test]
    fn a_spread_constraint_has_the_defaults_of_kubernetes() {
        let spec = json!({"containers": [], "topologySpreadConstraints": [
            {"maxSkew": 2, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {"matchLabels": {"app": "web"}}},
            {"maxSkew": 1, "topologyKey": "host", "whenUnsatisfiable": "ScheduleAnyway", "nodeAffinityPolicy": "Ignore", "nodeTaintsPolicy": "Honor"},
        ]});
        let terms = read(spec, &[("app", "web")]).unwrap();
        let [hard, soft] = terms.spread.as_slice() else { panic!("{terms:?}") };
        assert_eq!((hard.max_skew, hard.min_domains, hard.hard, hard.own), (2, 1, true, true));
        assert!(hard.heeds_affinity && !hard.heeds_taints);
        assert!(!soft.hard && !soft.own && !soft.heeds_affinity && soft.heeds_taints);
        assert!(read(json!({"containers": []}), &[]).is_none());
    }

    #[test]
    fn a_pod_that_was_seen_is_known_by_its_labels_and_whom_it_keeps_off() {
        let pod: pruned::Pod = serde_json::from_value(json!({
            "metadata": {"name": "x", "namespace": "a", "labels": {"app": "web", "weir.dev/index": "3"}},
            "spec": {"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
                {"topologyKey": "host", "labelSelector": {"matchLabels": {"app": "web", "weir.dev/index": "3"}}}]}}},
        }))
        .unwrap();
        let seen = neighbour(&pod);
        assert_eq!((seen.namespace.as_ref(), seen.labels.len()), ("a", 1));
        assert_eq!(seen.apart[0].selector.as_ref().unwrap().requirements.len(), 1);
        assert_eq!(seen.apart[0].namespaces, ["a".into()]);
    }
}
