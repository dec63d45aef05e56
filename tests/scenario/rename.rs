//! Several scenarios share one cluster: what they name there gets a prefix, and what they see loses it.

use serde_json::{Value, json};

use super::expand::{Key, NAMESPACE, is_namespaced, merge};

/// The prefix of one scenario.
#[derive(Clone, Debug)]
pub struct Prefix(pub String);

impl Prefix {
    /// Of the scenario with that number.
    pub fn of(number: usize) -> Self {
        Self(format!("s{number:02}-"))
    }

    fn put(&self, value: &mut Value) {
        if let Some(text) = value.as_str() {
            *value = json!(format!("{}{text}", self.0));
        }
    }

    /// A key as it is in the cluster.
    pub fn key(&self, key: &Key) -> Key {
        let mut key = key.clone();
        if is_namespaced(&key.kind) {
            key.namespace = format!("{}{}", self.0, key.namespace);
        } else {
            key.name = format!("{}{}", self.0, key.name);
        }
        key
    }

    /// A manifest, or a patch of an object of that kind, as it is in the cluster.
    pub fn object(&self, kind: &str, object: &Value) -> Value {
        let mut object = object.clone();
        if is_namespaced(kind) {
            if let Some(namespace) = object.pointer_mut("/metadata/namespace") {
                self.put(namespace);
            }
        } else if let Some(name) = object.pointer_mut("/metadata/name") {
            self.put(name);
        }
        let names: &[&str] = match kind {
            "PooledWorkload" => &["/spec/pool", "/spec/priorityClassName"],
            "ResourcePool" => &["/spec/parent"],
            "Pod" => &["/spec/nodeName"],
            "Deployment" | "StatefulSet" | "Job" | "VirtualMachine" => &["/metadata/labels/weir.dev~1pool"],
            "PersistentVolumeClaim" => &["/spec/volumeName"],
            "PersistentVolume" => &["/spec/claimRef/namespace"],
            "Node" => &["/metadata/labels/kubernetes.io~1hostname"],
            _ => &[],
        };
        for name in names {
            if let Some(value) = object.pointer_mut(name) {
                self.put(value);
            }
        }
        // Nodes that an annotation names.
        let asks = |text: &str| text.replace("to=", &format!("to={}", self.0));
        if let Some(value) = object.pointer_mut("/metadata/annotations/weir.dev~1migrate")
            && let Some(text) = value.as_str().map(asks)
        {
            *value = json!(text);
        }
        let mine = json!({"scenario": self.0.trim_end_matches('-')});
        // Each scenario has nodes of its own.
        if let Some(selector) = object.pointer_mut("/spec/nodes/selector").filter(|_| kind == "ResourcePool")
        {
            merge(selector, Some(json!({"matchLabels": mine})));
        }
        if let Some(template) = object.pointer_mut("/spec/template/spec")
            && matches!(kind, "Deployment" | "StatefulSet" | "Job" | "VirtualMachine")
        {
            merge(template, Some(json!({"nodeSelector": mine})));
        }
        if kind == "Node" && object["kind"] == "Node" {
            merge(&mut object["metadata"], Some(json!({"labels": mine})));
        }
        object
    }

    /// What was seen, as the scenario speaks of it.
    pub fn strip(&self, seen: &Value) -> Value {
        serde_json::from_str(&seen.to_string().replace(&self.0, "")).unwrap()
    }
}

/// The namespaces that objects are in.
pub fn namespaces<'a>(objects: impl Iterator<Item = &'a Value>) -> Vec<String> {
    let mut all: Vec<String> = objects
        .filter(|object| is_namespaced(object["kind"].as_str().unwrap_or_default()))
        .map(|object| object["metadata"]["namespace"].as_str().unwrap_or(NAMESPACE).to_owned())
        .collect();
    all.sort();
    all.dedup();
    all
}
