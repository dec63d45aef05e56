//! The controllers of the pure runner that make pods of others: Deployments, `StatefulSet`s and Jobs, as far as scenarios
//! need them.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::kubevirt::MACHINE;

use super::expand::{Key, merge};
use super::store::Store;

/// The hash that ends the name of what a Deployment makes its pods by.
const HASH: &str = "5d8f7c9b6";

/// Makes the pods that are missing, and deletes those that are too many, or that came after their owner had gone.
pub fn run(store: &mut Store) {
    collect(store);
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

fn collect(store: &mut Store) {
    let owners: BTreeSet<&str> =
        store.of_kind("PooledWorkload").filter_map(|(_, one)| one["metadata"]["uid"].as_str()).collect();
    let orphaned = |object: &Value| {
        let owner = &object["metadata"]["ownerReferences"][0];
        let is_told = !object["metadata"]["deletionTimestamp"].is_null();
        !is_told
            && owner["kind"] == "PooledWorkload"
            && !owner["uid"].as_str().is_some_and(|uid| owners.contains(uid))
    };
    let all = ["Pod", MACHINE].into_iter().flat_map(|kind| store.of_kind(kind));
    let orphans: Vec<Key> = all.filter(|(_, object)| orphaned(object)).map(|(key, _)| key.clone()).collect();
    for key in &orphans {
        drop(store.delete(key, None));
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
