//! Labels and what selects by them, with the meaning that Kubernetes gives them.

use std::collections::BTreeMap;
use std::sync::Arc;

/// Labels of an object.
pub type Labels = BTreeMap<Arc<str>, Arc<str>>;

/// How a requirement compares a label's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "controller", derive(serde::Serialize, serde::Deserialize))]
pub enum Operator {
    /// The value is one of those listed.
    In,
    /// The value is none of those listed, or the label is absent.
    NotIn,
    /// The label is there.
    Exists,
    /// The label is absent.
    DoesNotExist,
    /// The value is an integer above the one listed.
    Gt,
    /// The value is an integer below the one listed.
    Lt,
}

/// One condition on one label.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "controller", derive(serde::Serialize, serde::Deserialize))]
pub struct Requirement {
    /// The label's key.
    pub key: Arc<str>,
    /// How its value is compared.
    pub operator: Operator,
    /// With what.
    pub values: Vec<Arc<str>>,
}

impl Requirement {
    /// Whether `labels` meet it.
    pub fn matches(&self, labels: &Labels) -> bool {
        self.accepts(labels.get(&self.key).map(AsRef::as_ref))
    }

    /// Whether a label with this `value` (none: absent) meets it.
    pub fn accepts(&self, value: Option<&str>) -> bool {
        let listed = |value: &str| self.values.iter().any(|one| one.as_ref() == value);
        match (self.operator, value) {
            (Operator::In, Some(value)) => listed(value),
            (Operator::NotIn, Some(value)) => !listed(value),
            (Operator::NotIn | Operator::DoesNotExist, None) | (Operator::Exists, Some(_)) => true,
            (Operator::Gt, Some(value)) => self.compare(value).is_some_and(|(value, bound)| value > bound),
            (Operator::Lt, Some(value)) => self.compare(value).is_some_and(|(value, bound)| value < bound),
            (Operator::DoesNotExist, Some(_))
            | (Operator::In | Operator::Exists | Operator::Gt | Operator::Lt, None) => false,
        }
    }

    fn compare(&self, value: &str) -> Option<(i64, i64)> {
        Some((value.parse().ok()?, self.values.first()?.parse().ok()?))
    }
}

/// All requirements at once; an empty one selects everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "controller", derive(serde::Serialize, serde::Deserialize))]
pub struct LabelSelector {
    /// The requirements; `matchLabels` are [`Operator::In`] with one value.
    pub requirements: Vec<Requirement>,
}

impl LabelSelector {
    /// Whether `labels` meet all requirements.
    pub fn matches(&self, labels: &Labels) -> bool {
        self.requirements.iter().all(|requirement| requirement.matches(labels))
    }
}

/// One term of a required node affinity: labels and the node's name (`matchFields: metadata.name`).
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "controller", derive(serde::Serialize, serde::Deserialize))]
pub struct NodeTerm {
    /// Requirements on labels.
    pub labels: Vec<Requirement>,
    /// Requirements on the node's name.
    pub name: Vec<Requirement>,
}

impl NodeTerm {
    /// Whether a node is selected. A term without any requirement selects nothing, as in Kubernetes.
    pub fn matches(&self, name: &str, labels: &Labels) -> bool {
        !(self.labels.is_empty() && self.name.is_empty())
            && self.labels.iter().all(|requirement| requirement.matches(labels))
            && self.name.iter().all(|requirement| requirement.accepts(Some(name)))
    }
}

/// What a taint does to pods that do not tolerate it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "controller", derive(serde::Serialize, serde::Deserialize))]
pub enum TaintEffect {
    /// No new pods.
    NoSchedule,
    /// Rather no new pods; not a filter.
    PreferNoSchedule,
    /// No pods; those that run are evicted.
    NoExecute,
}

/// A taint of a node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "controller", derive(serde::Serialize, serde::Deserialize))]
pub struct Taint {
    /// Its key.
    pub key: Arc<str>,
    /// Its value, empty if none.
    pub value: Arc<str>,
    /// What it does.
    pub effect: TaintEffect,
}

/// A toleration of a pod.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "controller", derive(serde::Serialize, serde::Deserialize))]
pub struct Toleration {
    /// The taint's key; none: every key (with `exists`).
    pub key: Option<Arc<str>>,
    /// `operator: Exists`, so that the value does not matter.
    pub exists: bool,
    /// The taint's value, for `operator: Equal`.
    pub value: Arc<str>,
    /// The effect tolerated; none: every effect.
    pub effect: Option<TaintEffect>,
}

impl Toleration {
    /// Whether `taint` is tolerated.
    pub fn tolerates(&self, taint: &Taint) -> bool {
        self.effect.is_none_or(|effect| effect == taint.effect)
            && self.key.as_ref().map_or(self.exists, |key| *key == taint.key)
            && (self.exists || self.value == taint.value)
    }
}

/// The first taint that keeps a pod with `tolerations` off a node with `taints`.
pub fn untolerated<'a>(taints: &'a [Taint], tolerations: &[Toleration]) -> Option<&'a Taint> {
    taints.iter().find(|taint| {
        taint.effect != TaintEffect::PreferNoSchedule
            && !tolerations.iter().any(|toleration| toleration.tolerates(taint))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs.iter().map(|(key, value)| (Arc::from(*key), Arc::from(*value))).collect()
    }

    fn requirement(operator: Operator, values: &[&str]) -> Requirement {
        Requirement { key: Arc::from("k"), operator, values: values.iter().map(|v| Arc::from(*v)).collect() }
    }

    #[test]
    fn operators_mean_what_kubernetes_means() {
        let five = labels(&[("k", "5")]);
        let none = labels(&[]);
        for (operator, values, on_five, on_none) in [
            (Operator::In, vec!["4", "5"], true, false),
            (Operator::NotIn, vec!["4"], true, true),
            (Operator::NotIn, vec!["5"], false, true),
            (Operator::Exists, vec![], true, false),
            (Operator::DoesNotExist, vec![], false, true),
            (Operator::Gt, vec!["4"], true, false),
            (Operator::Lt, vec!["4"], false, false),
            (Operator::Gt, vec!["many"], false, false),
        ] {
            let requirement = requirement(operator, &values);
            assert_eq!(requirement.matches(&five), on_five, "{operator:?} {values:?} on 5");
            assert_eq!(requirement.matches(&none), on_none, "{operator:?} {values:?} on nothing");
        }
    }

    #[test]
    fn an_empty_term_selects_nothing_and_an_empty_selector_everything() {
        assert!(!NodeTerm::default().matches("n", &labels(&[])));
        assert!(LabelSelector::default().matches(&labels(&[])));
    }

    #[test]
    fn a_taint_is_tolerated_by_key_value_and_effect() {
        let taint = Taint { key: "gpu".into(), value: "yes".into(), effect: TaintEffect::NoSchedule };
        let equal = |value: &str| Toleration {
            key: Some("gpu".into()),
            exists: false,
            value: value.into(),
            effect: None,
        };
        assert!(untolerated(std::slice::from_ref(&taint), &[equal("yes")]).is_none());
        assert!(untolerated(std::slice::from_ref(&taint), &[equal("no")]).is_some());
        let all = Toleration { key: None, exists: true, value: "".into(), effect: None };
        assert!(untolerated(std::slice::from_ref(&taint), &[all]).is_none());
        let soft = Taint { effect: TaintEffect::PreferNoSchedule, ..taint };
        assert!(untolerated(&[soft], &[]).is_none());
    }
}
