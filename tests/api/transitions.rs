//! What may change while a workload is admitted.

use kube::CustomResourceExt as _;
use serde_json::{Value, json};
use weir::api::PooledWorkload;

fn workload(admitted: &str) -> Value {
    json!({
        "apiVersion": "weir.dev/v1alpha1",
        "kind": "PooledWorkload",
        "metadata": {"name": "w", "namespace": "n"},
        "spec": {
            "pool": "p", "replicas": 4, "completion": "RunToCompletion",
            "template": {"pod": {"spec": {"containers": [{"name": "a", "image": "b"}]}}},
        },
        "status": {"conditions": [{
            "type": "Admitted", "status": admitted, "reason": "Admitted", "message": "",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        }]},
    })
}

fn update(old: &Value, pointer: &str, value: Value) -> Vec<String> {
    let schema = serde_json::to_value(PooledWorkload::crd()).unwrap()["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone();
    let mut new = old.clone();
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    new.pointer_mut(parent).unwrap()[key] = value;
    kube_cel::Validator::new()
        .validate(&schema, &new, Some(old))
        .map_or_else(|errors| errors.iter().map(|e| e.message.clone()).collect(), |()| Vec::new())
}

#[test]
fn what_an_admitted_workload_is_made_from_stays() {
    for (pointer, value) in [
        ("/spec/pool", json!("other")),
        ("/spec/minReplicas", json!(2)),
        ("/spec/completion", json!("KeepRunning")),
        ("/spec/template/pod/metadata", json!({"labels": {"a": "b"}})),
        ("/spec/template/pod/spec", json!({"containers": [{"name": "a", "image": "c"}]})),
    ] {
        let messages = update(&workload("True"), pointer, value.clone());
        assert!(
            messages.len() == 1
                && messages[0].contains("cannot change while the workload is admitted: set spec.suspend"),
            "{pointer}: {messages:?}"
        );
        assert_eq!(update(&workload("False"), pointer, value), [""; 0], "{pointer}");
    }
}

#[test]
fn size_priority_and_suspension_may_change_at_any_time() {
    for (pointer, value) in [
        ("/spec/replicas", json!(5)),
        ("/spec/priority", json!(7)),
        ("/spec/suspend", json!(true)),
        ("/spec/backoffLimit", json!(0)),
        ("/spec/maxDuration", json!("1h")),
    ] {
        assert_eq!(update(&workload("True"), pointer, value), [""; 0], "{pointer}");
    }
}
