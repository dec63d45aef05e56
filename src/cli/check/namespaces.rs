//! The namespaces among the files: their labels say which pools they may use.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};
use serde_json::Value;

use super::read::{Node, Tree};

/// Labels of namespaces, by name.
#[derive(Debug, Default)]
pub struct Namespaces(BTreeMap<String, BTreeMap<String, String>>);

impl Namespaces {
    /// Takes a Namespace as it was read.
    pub fn add(&mut self, node: &Node) {
        let Some((metadata, name)) = node.get("metadata").and_then(|m| Some((m, m.text("name")?))) else {
            return;
        };
        let mut labels = BTreeMap::new();
        if let Some(Node { tree: Tree::Map(entries), .. }) = metadata.get("labels") {
            for (key, _, value) in entries {
                if let Tree::Scalar(Value::String(value)) = &value.tree {
                    labels.insert(key.clone(), value.clone());
                }
            }
        }
        // Every namespace has this label; the API server sets it.
        labels.insert("kubernetes.io/metadata.name".to_owned(), name.to_owned());
        self.0.insert(name.to_owned(), labels);
    }

    /// Whether a selector matches a namespace; `None` where the namespace is not among the files.
    pub fn is_selected(&self, namespace: &str, selector: &LabelSelector) -> Option<bool> {
        let labels = self.0.get(namespace)?;
        let equal = selector.match_labels.iter().flatten().all(|(key, value)| labels.get(key) == Some(value));
        Some(equal && selector.match_expressions.iter().flatten().all(|wanted| holds(wanted, labels)))
    }
}

fn holds(wanted: &LabelSelectorRequirement, labels: &BTreeMap<String, String>) -> bool {
    let value = labels.get(&wanted.key);
    let listed = value.is_some_and(|value| wanted.values.iter().flatten().any(|listed| listed == value));
    match wanted.operator.as_str() {
        "In" => listed,
        "NotIn" => !listed,
        "Exists" => value.is_some(),
        // DoesNotExist: the schema knows no other.
        _ => value.is_none(),
    }
}
