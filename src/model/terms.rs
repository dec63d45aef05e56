//! What pods want of the pods around them: terms of affinity and of spread, with the meaning that Kubernetes
//! gives them. Everything that a term leaves open is filled in: namespaces, and keys taken from the pod's labels.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::selector::{LabelSelector, Labels};

/// A pod as others see it who want to be near it or apart from it. Equal ones are stored once.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "controller", derive(serde::Serialize, serde::Deserialize))]
pub struct Neighbour {
    /// Its namespace.
    pub namespace: Arc<str>,
    /// Its labels, without those that tell one member of a workload from another.
    pub labels: Labels,
    /// Its required anti-affinity: it keeps those that match off.
    pub apart: Vec<Arc<PodTerm>>,
}

/// The label of a member's pod that names its pool.
pub const POOL: &str = "weir.dev/pool";
/// The label of a member's pod that names its workload.
pub const WORKLOAD: &str = "weir.dev/workload";
/// The label of a member's pod that holds the UID of its workload.
pub const WORKLOAD_UID: &str = "weir.dev/workload-uid";

/// Labels of all namespaces, by name.
pub type Namespaces = BTreeMap<Arc<str>, Labels>;

/// Which pods are meant, and in which domain of nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "controller", derive(serde::Serialize, serde::Deserialize))]
pub struct PodTerm {
    /// The node label whose values are the domains.
    pub topology: Arc<str>,
    /// Which pods; none: no pod.
    pub selector: Option<LabelSelector>,
    /// In these namespaces.
    pub namespaces: Vec<Arc<str>>,
    /// And in those that this selects.
    pub namespace_selector: Option<LabelSelector>,
}

impl PodTerm {
    /// Whether pods of a namespace can be meant.
    pub fn covers(&self, namespace: &Arc<str>, namespaces: &Namespaces) -> bool {
        self.namespaces.contains(namespace)
            || self.namespace_selector.as_ref().is_some_and(|by| {
                namespaces.get(namespace).map_or(by.requirements.is_empty(), |one| by.matches(one))
            })
    }

    /// Whether a pod is meant.
    pub fn matches(&self, who: &Neighbour, namespaces: &Namespaces) -> bool {
        self.selector.as_ref().is_some_and(|by| by.matches(&who.labels))
            && self.covers(&who.namespace, namespaces)
    }
}

/// A preferred term of affinity (weight above 0) or anti-affinity (below).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "controller", derive(serde::Serialize, serde::Deserialize))]
pub struct Preference {
    /// From -100 to 100.
    pub weight: i64,
    /// Which pods.
    pub term: PodTerm,
    /// Whether the pod itself is one of them.
    pub own: bool,
}

/// A constraint on how pods are spread over domains.
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is one word of the constraint, and they are independent"
)]
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "controller", derive(serde::Serialize, serde::Deserialize))]
pub struct SpreadTerm {
    /// The node label whose values are the domains.
    pub topology: Arc<str>,
    /// Most that a domain may have more than the one that has least; 1 or more.
    pub max_skew: u32,
    /// With fewer domains than that, the least counts as none.
    pub min_domains: u32,
    /// A filter, and not merely a preference.
    pub hard: bool,
    /// Which pods of the namespace are counted; none: no pod.
    pub selector: Option<LabelSelector>,
    /// Whether the pod itself is one of them.
    pub own: bool,
    /// Only nodes count that its node selector and required node affinity match.
    pub heeds_affinity: bool,
    /// Only nodes count whose taints it tolerates.
    pub heeds_taints: bool,
}

/// All that a pod wants of the pods around it.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "controller", derive(serde::Serialize, serde::Deserialize))]
pub struct PodTerms {
    /// Its namespace, where it matters.
    pub namespace: Arc<str>,
    /// Required affinity: a pod that all of these mean is in its domain of each.
    pub near: Vec<PodTerm>,
    /// Whether it is itself such a pod.
    pub near_own: bool,
    /// Required anti-affinity, and whether the pod itself is meant.
    pub apart: Vec<(Arc<PodTerm>, bool)>,
    /// Preferred affinity and anti-affinity.
    pub prefers: Vec<Preference>,
    /// Topology spread constraints.
    pub spread: Vec<SpreadTerm>,
}

impl PodTerms {
    /// Whether it says nothing.
    pub fn is_empty(&self) -> bool {
        let Self { namespace: _, near, near_own: _, apart, prefers, spread } = self;
        near.is_empty() && apart.is_empty() && prefers.is_empty() && spread.is_empty()
    }

    /// Whether it may come to fit when such a pod comes, or is counted no more.
    pub fn heeds(&self, who: &Neighbour, namespaces: &Namespaces) -> bool {
        let counted = |term: &SpreadTerm| {
            who.namespace == self.namespace
                && term.selector.as_ref().is_some_and(|by| by.matches(&who.labels))
        };
        self.near.iter().any(|term| term.matches(who, namespaces)) || self.spread.iter().any(counted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::selector::{Operator, Requirement};

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs.iter().map(|(key, value)| (Arc::from(*key), Arc::from(*value))).collect()
    }

    fn by(key: &str, value: &str) -> LabelSelector {
        let requirement =
            Requirement { key: key.into(), operator: Operator::In, values: vec![Arc::from(value)] };
        LabelSelector { requirements: vec![requirement] }
    }

    #[test]
    fn a_term_means_pods_by_labels_and_namespace() {
        let namespaces: Namespaces =
            [("a".into(), labels(&[("team", "x")])), ("b".into(), labels(&[]))].into();
        let web = |namespace: &str| Neighbour {
            namespace: namespace.into(),
            labels: labels(&[("app", "web")]),
            apart: Vec::new(),
        };
        let term = |names: &[&str], selector: Option<LabelSelector>| PodTerm {
            topology: "zone".into(),
            selector: Some(by("app", "web")),
            namespaces: names.iter().map(|name| Arc::from(*name)).collect(),
            namespace_selector: selector,
        };
        assert!(term(&["b"], None).matches(&web("b"), &namespaces));
        assert!(!term(&["b"], None).matches(&web("a"), &namespaces));
        assert!(term(&["b"], Some(by("team", "x"))).matches(&web("a"), &namespaces));
        assert!(term(&[], Some(LabelSelector::default())).matches(&web("unseen"), &namespaces));
        let nobody = PodTerm { selector: None, ..term(&["a"], None) };
        assert!(!nobody.matches(&web("a"), &namespaces), "without a selector no pod is meant");
        let other = PodTerm { selector: Some(by("app", "db")), ..term(&["a"], None) };
        assert!(!other.matches(&web("a"), &namespaces));
    }
}
