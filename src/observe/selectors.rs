//! Selectors, terms, taints and tolerations of Kubernetes to those of the model.

use std::sync::Arc;

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::apimachinery::pkg::apis::meta::v1 as meta;

use crate::model::selector::{
    LabelSelector, Labels, NodeTerm, Operator, Requirement, TaintEffect, Toleration,
};

/// The labels of an object.
pub fn labels(metadata: &meta::ObjectMeta) -> Labels {
    let labels = metadata.labels.iter().flatten();
    labels.map(|(key, value)| (Arc::from(key.as_str()), Arc::from(value.as_str()))).collect()
}

/// A label selector. `field` is where it stands.
///
/// # Errors
/// An operator that does not exist, or values that do not fit it.
pub fn label_selector(selector: &meta::LabelSelector, field: &str) -> Result<LabelSelector, String> {
    let equal = selector.match_labels.iter().flatten().map(|(key, value)| {
        Ok(Requirement {
            key: key.as_str().into(),
            operator: Operator::In,
            values: vec![value.as_str().into()],
        })
    });
    let further = selector.match_expressions.iter().flatten().enumerate().map(|(at, expression)| {
        let field = format!("{field}.matchExpressions[{at}]");
        let requirement = requirement(
            &expression.key,
            &expression.operator,
            expression.values.as_deref().unwrap_or_default(),
            &field,
        )?;
        match requirement.operator {
            Operator::Gt | Operator::Lt => Err(format!(
                "{field}.operator: write In, NotIn, Exists or DoesNotExist in place of Gt and Lt"
            )),
            _ => Ok(requirement),
        }
    });
    Ok(LabelSelector { requirements: equal.chain(further).collect::<Result<_, _>>()? })
}

/// One term of a required node affinity. `field` is where it stands.
///
/// # Errors
/// An operator that does not exist, values that do not fit it, or a field other than the name.
pub fn node_term(term: &core::NodeSelectorTerm, field: &str) -> Result<NodeTerm, String> {
    let read =
        |list: &Option<Vec<core::NodeSelectorRequirement>>, name: &str| -> Result<Vec<Requirement>, String> {
            let one = |(at, one): (usize, &core::NodeSelectorRequirement)| {
                let field = format!("{field}.{name}[{at}]");
                requirement(&one.key, &one.operator, one.values.as_deref().unwrap_or_default(), &field)
            };
            list.iter().flatten().enumerate().map(one).collect()
        };
    let labels = read(&term.match_expressions, "matchExpressions")?;
    let name = read(&term.match_fields, "matchFields")?;
    if let Some(other) = name.iter().find(|requirement| requirement.key.as_ref() != "metadata.name") {
        return Err(format!("{field}.matchFields: the only field is metadata.name, not {:?}", other.key));
    }
    Ok(NodeTerm { labels, name })
}

fn requirement(key: &str, operator: &str, values: &[String], field: &str) -> Result<Requirement, String> {
    let (operator, fits) = match operator {
        "In" => (Operator::In, !values.is_empty()),
        "NotIn" => (Operator::NotIn, !values.is_empty()),
        "Exists" => (Operator::Exists, values.is_empty()),
        "DoesNotExist" => (Operator::DoesNotExist, values.is_empty()),
        "Gt" => (Operator::Gt, values.len() == 1),
        "Lt" => (Operator::Lt, values.len() == 1),
        other => {
            return Err(format!(
                "{field}.operator: write In, NotIn, Exists, DoesNotExist, Gt or Lt in place of {other:?}"
            ));
        }
    };
    if !fits {
        return Err(format!("{field}.values: In and NotIn need values, Gt and Lt one, the others none"));
    }
    let values = values.iter().map(|value| Arc::from(value.as_str())).collect();
    Ok(Requirement { key: key.into(), operator, values })
}

/// The effect of a taint, none if there is no such effect.
pub fn taint_effect(effect: &str) -> Option<TaintEffect> {
    Some(match effect {
        "NoSchedule" => TaintEffect::NoSchedule,
        "PreferNoSchedule" => TaintEffect::PreferNoSchedule,
        "NoExecute" => TaintEffect::NoExecute,
        _ => return None,
    })
}

/// A toleration. `field` is where it stands.
///
/// # Errors
/// An operator or effect that does not exist.
pub fn toleration(toleration: &core::Toleration, field: &str) -> Result<Toleration, String> {
    let exists = match toleration.operator.as_deref() {
        None | Some("" | "Equal") => false,
        Some("Exists") => true,
        Some(other) => return Err(format!("{field}.operator: write Equal or Exists in place of {other:?}")),
    };
    let key = toleration.key.as_deref().filter(|key| !key.is_empty()).map(Arc::from);
    if key.is_none() && !exists {
        return Err(format!("{field}.key: write a key, or operator: Exists to tolerate every taint"));
    }
    let effect = match toleration.effect.as_deref() {
        None | Some("") => None,
        Some(effect) => Some(taint_effect(effect).ok_or_else(|| {
            format!("{field}.effect: write NoSchedule, PreferNoSchedule or NoExecute in place of {effect:?}")
        })?),
    };
    Ok(Toleration { key, exists, value: toleration.value.as_deref().unwrap_or_default().into(), effect })
}
