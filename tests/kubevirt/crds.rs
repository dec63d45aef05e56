//! The definitions of `KubeVirt`'s kinds, as small as they can be: the real ones are 4 MB.

use serde_json::{Value, json};

use super::{CANNOT_MIGRATE, IMMOVABLE, KEEPS_PRIORITIES};

/// Kind, plural, group, version, in namespaces, with a status subresource.
const KINDS: [(&str, &str, &str, &str, bool, bool); 6] = [
    ("VirtualMachineInstance", "virtualmachineinstances", "kubevirt.io", "v1", true, false),
    ("VirtualMachineInstanceMigration", "virtualmachineinstancemigrations", "kubevirt.io", "v1", true, true),
    ("KubeVirt", "kubevirts", "kubevirt.io", "v1", true, true),
    (
        "VirtualMachineInstancetype",
        "virtualmachineinstancetypes",
        "instancetype.kubevirt.io",
        "v1beta1",
        true,
        false,
    ),
    (
        "VirtualMachineClusterInstancetype",
        "virtualmachineclusterinstancetypes",
        "instancetype.kubevirt.io",
        "v1beta1",
        false,
        false,
    ),
    // The last: who finds machines finds the rest.
    ("VirtualMachine", "virtualmachines", "kubevirt.io", "v1", true, true),
];

/// The path of a kind's collection, if it is one of these.
pub fn collection(kind: &str, namespace: &str) -> Option<String> {
    let (_, plural, group, version, namespaced, _) = KINDS.iter().find(|(one, ..)| *one == kind)?;
    Some(if *namespaced {
        format!("/apis/{group}/{version}/namespaces/{namespace}/{plural}")
    } else {
        format!("/apis/{group}/{version}/{plural}")
    })
}

/// All definitions.
pub fn all() -> Vec<Value> {
    let open = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    KINDS
        .iter()
        .map(|(kind, plural, group, version, namespaced, status)| {
            let spec = match *kind {
                "VirtualMachine" => machine(),
                "VirtualMachineInstanceMigration" => migration(),
                _ => open.clone(),
            };
            let subresources = if *status { json!({"status": {}}) } else { json!({}) };
            json!({
                "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
                "metadata": {"name": format!("{plural}.{group}")},
                "spec": {
                    "group": group,
                    "scope": if *namespaced { "Namespaced" } else { "Cluster" },
                    "names": {"kind": kind, "plural": plural, "singular": kind.to_lowercase(), "shortNames": short_names(kind)},
                    "versions": [{
                        "name": version, "served": true, "storage": true, "subresources": subresources,
                        "additionalPrinterColumns": columns(kind),
                        "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec, "status": open}}},
                    }],
                },
            })
        })
        .collect()
}

fn short_names(kind: &str) -> &'static [&'static str] {
    match kind {
        "VirtualMachine" => &["vm", "vms"],
        "VirtualMachineInstance" => &["vmi", "vmis"],
        "VirtualMachineInstanceMigration" => &["vmim", "vmims"],
        _ => &[],
    }
}

/// What `kubectl get` shows.
fn columns(kind: &str) -> Value {
    let text = |name: &str, path: &str| json!({"name": name, "type": "string", "jsonPath": path});
    let age = json!({"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"});
    match kind {
        "VirtualMachine" => json!([age, text("Status", ".status.printableStatus")]),
        "VirtualMachineInstance" => {
            json!([age, text("Phase", ".status.phase"), text("NodeName", ".status.nodeName")])
        }
        "VirtualMachineInstanceMigration" => {
            json!([text("Phase", ".status.phase"), text("VMI", ".spec.vmiName"), age])
        }
        _ => json!([age]),
    }
}

/// What KubeVirt's webhooks refuse of migrations.
fn migration() -> Value {
    json!({
        "type": "object", "x-kubernetes-preserve-unknown-fields": true,
        "properties": {"vmiName": {"type": "string"}, "priority": {"type": "string"}},
        "x-kubernetes-validations": [{"rule": "!has(self.priority)", "message": KEEPS_PRIORITIES}, {
            "rule": format!("!has(self.vmiName) || !self.vmiName.startsWith('{IMMOVABLE}')"),
            "message": CANNOT_MIGRATE,
        }],
    })
}

/// What KubeVirt's webhooks refuse, as far as a schema can say it: two disks of one name.
fn machine() -> Value {
    let open = |properties: Value| json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": properties});
    let disk = json!({
        "type": "object", "x-kubernetes-preserve-unknown-fields": true, "required": ["name"],
        "properties": {"name": {"type": "string"}},
    });
    let disks = json!({
        "type": "array", "items": disk, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
    });
    let domain = open(json!({"devices": open(json!({"disks": disks}))}));
    open(json!({"template": open(json!({"spec": open(json!({"domain": domain}))}))}))
}
