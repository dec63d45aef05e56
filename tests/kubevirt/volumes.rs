//! Volumes that wait for a first consumer, and who makes them: CDI and a provisioner, as far as Weir depends on them.
//!
//! Machines with the annotation `sim.weir.dev/first-consumer: "true"` have claims of a class that waits. One is made into a volume
//! when an annotation of it names the node, and not before. For nodes that `sim.weir.dev/no-volume-on` of the machine names none
//! can be made: the provisioner takes the annotation off again.

use serde_json::{Value, json};

use super::{Act, MACHINE, is_deleting, patch, text};

const CLAIM: &str = "PersistentVolumeClaim";
/// A class that nobody else makes volumes of.
const CLASS: &str = "sim-first-consumer";
const WAITS: &str = "/metadata/annotations/sim.weir.dev~1first-consumer";
const NOT_THERE: &str = "sim.weir.dev/no-volume-on";
const SELECTED: &str = "/metadata/annotations/volume.kubernetes.io~1selected-node";

/// Whether the volumes of an instance wait for a first consumer.
pub fn wait_for_a_consumer(instance: &Value) -> bool {
    text(instance, WAITS) == "true"
}

/// Volumes of the pod of an instance.
pub fn of_pod(instance: &Value) -> Vec<Value> {
    let claims = claims_of(instance).enumerate();
    claims
        .map(|(at, claim)| json!({"name": format!("disk-{at}"), "persistentVolumeClaim": {"claimName": claim}}))
        .collect()
}

fn claims_of(instance: &Value) -> impl Iterator<Item = &str> {
    let volumes = instance["spec"]["volumes"].as_array().into_iter().flatten();
    volumes.filter_map(|one| {
        one["dataVolume"]["name"].as_str().or(one["persistentVolumeClaim"]["claimName"].as_str())
    })
}

/// Whether all claims of an instance have volumes.
pub fn are_made(instance: &Value, claims: &[Value]) -> bool {
    let namespace = &instance["metadata"]["namespace"];
    claims_of(instance).all(|name| {
        let is = |claim: &&Value| {
            claim["metadata"]["name"] == name && claim["metadata"]["namespace"] == *namespace
        };
        claims.iter().find(is).is_some_and(|claim| !text(claim, "/spec/volumeName").is_empty())
    })
}

/// The claims of a machine's data volume templates that are not there yet.
pub fn of_machine(machine: &Value, claims: &[Value]) -> Vec<Act> {
    let annotations = &machine["spec"]["template"]["metadata"]["annotations"];
    if annotations["sim.weir.dev/first-consumer"] != "true" || is_deleting(machine) {
        return Vec::new();
    }
    let namespace = &machine["metadata"]["namespace"];
    let templates = machine["spec"]["dataVolumeTemplates"].as_array().into_iter().flatten();
    let missing = templates.filter(|one| {
        let name = &one["metadata"]["name"];
        !claims
            .iter()
            .any(|claim| claim["metadata"]["name"] == *name && claim["metadata"]["namespace"] == *namespace)
    });
    let made = missing.map(|one| {
        let resources = &one["spec"]["storage"]["resources"];
        let mut claim = json!({
            "apiVersion": "v1", "kind": CLAIM,
            "metadata": {
                "name": one["metadata"]["name"], "namespace": namespace,
                "ownerReferences": [{
                    "apiVersion": "kubevirt.io/v1", "kind": MACHINE, "name": machine["metadata"]["name"],
                    "uid": machine["metadata"]["uid"], "controller": true, "blockOwnerDeletion": true,
                }],
            },
            "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": CLASS, "resources": resources},
        });
        if let Some(node) = annotations[NOT_THERE].as_str() {
            claim["metadata"]["annotations"] = json!({NOT_THERE: node});
        }
        Act::Create(claim)
    });
    made.collect()
}

/// What is made of a claim.
pub fn provision(claim: &Value) -> Vec<Act> {
    let node = text(claim, SELECTED);
    let waits = claim["spec"]["storageClassName"] == CLASS && text(claim, "/spec/volumeName").is_empty();
    if !waits || node.is_empty() || is_deleting(claim) {
        return Vec::new();
    }
    // Where scenarios share a cluster, names of nodes have a prefix.
    let not_there = claim["metadata"]["annotations"][NOT_THERE].as_str();
    if not_there.is_some_and(|name| node == name || node.ends_with(&format!("-{name}"))) {
        let annotations = json!({"volume.kubernetes.io/selected-node": null});
        return vec![patch(CLAIM, claim, json!({"metadata": {"annotations": annotations}}))];
    }
    let metadata = &claim["metadata"];
    let volume = format!("pvc-{}", text(claim, "/metadata/uid"));
    let made = json!({
        "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": volume},
        "spec": {
            "capacity": claim["spec"]["resources"]["requests"], "accessModes": claim["spec"]["accessModes"],
            "storageClassName": CLASS, "persistentVolumeReclaimPolicy": "Retain", "local": {"path": "/srv/sim"},
            "claimRef": {
                "apiVersion": "v1", "kind": CLAIM, "namespace": metadata["namespace"], "name": metadata["name"],
                "uid": metadata["uid"],
            },
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [
                {"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}]}]}},
        },
    });
    vec![Act::Create(made), patch(CLAIM, claim, json!({"spec": {"volumeName": volume}}))]
}
