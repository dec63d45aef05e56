//! The controllers of the pure runner that make pods of others: Deployments, `StatefulSet`s and Jobs, as far as scenarios
//! need them.

use serde_json::{Value, json};

use super::expand::{Key, merge};
use super::store::Store;

/// The hash that ends the name of what a Deployment makes its pods by.
const HASH: &str = "5d8f7c9b6";

/// Makes the pods that are missing, and deletes those that are too many.
pub fn run(store: &mut Store) {
    for kind in ["Deployment", "StatefulSet", "Job"] {
        let all: Vec<(Key, Value)> =
            store.of_kind(kind).map(|(key, object)| (key.clone(), object.clone())).collect();
        for (key, object) in all {
            if object["metadata"]["deletionTimestamp"].is_null() {
                keep(store, &key, &object);
            }
        }
    }
}

fn keep(store: &mut Store, key: &Key, object: &Value) {
    let (version, owner, name) = match key.kind.as_str() {
        "Deployment" => ("apps/v1", "ReplicaSet", format!("{}-{HASH}", key.name)),
        "StatefulSet" => ("apps/v1", "StatefulSet", key.name.clone()),
        _ => ("batch/v1", "Job", key.name.clone()),
    };
    let wanted =
        object["spec"][if key.kind == "Job" { "parallelism" } else { "replicas" }].as_u64().unwrap_or(1);
    for index in 0..20 {
        let pod = Key::new("Pod", &key.namespace, &format!("{name}-{index}"));
        let there = store.get(&pod).is_some();
        if index >= wanted && there {
            drop(store.delete(&pod, None));
        }
        if index < wanted && !there {
            let mut made = object["spec"]["template"].clone();
            let metadata = json!({
                "name": pod.name, "namespace": pod.namespace,
                "ownerReferences": [{
                    "apiVersion": version, "kind": owner, "name": name, "uid": object["metadata"]["uid"], "controller": true,
                }],
            });
            merge(&mut made, Some(json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata})));
            if key.kind == "Deployment" {
                merge(&mut made["metadata"], Some(json!({"labels": {"pod-template-hash": HASH}})));
            }
            drop(store.create(&made));
        }
    }
}
