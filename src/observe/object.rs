//! Any object of a kind that is watched, as JSON: what manifests, lists and tests hand over.

use serde_json::Value;

use super::catalog::Catalog;
use super::namespace;
use crate::api::kubevirt::InstancetypeSpec;
use crate::api::pruned::Guarded;
use crate::model::delta::Delta;
use crate::model::labelled::MakerKind;

/// The kinds that are understood, with their groups.
pub const KINDS: [(&str, &str); 17] = [
    ("weir.dev", "ResourcePool"),
    ("weir.dev", "PooledWorkload"),
    ("", "Pod"),
    ("", "Node"),
    ("", "Namespace"),
    ("scheduling.k8s.io", "PriorityClass"),
    ("", "PersistentVolumeClaim"),
    ("", "PersistentVolume"),
    ("kubevirt.io", "VirtualMachine"),
    ("kubevirt.io", "VirtualMachineInstance"),
    ("kubevirt.io", "KubeVirt"),
    ("kubevirt.io", "VirtualMachineInstanceMigration"),
    ("instancetype.kubevirt.io", "VirtualMachineInstancetype"),
    ("instancetype.kubevirt.io", "VirtualMachineClusterInstancetype"),
    ("apps", "Deployment"),
    ("apps", "StatefulSet"),
    ("batch", "Job"),
];

/// The kind of an object, if it is one that is understood.
pub fn kind_of(object: &Value) -> Option<&'static str> {
    let version = object.get("apiVersion")?.as_str()?;
    let kind = object.get("kind")?.as_str()?;
    let group = version.split_once('/').map_or("", |(group, _)| group);
    KINDS.iter().find(|(of, name)| *of == group && *name == kind).map(|(_, name)| *name)
}

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

impl Catalog {
    /// An object was seen, new or changed; nothing comes of kinds that are not watched.
    ///
    /// # Errors
    /// Where it is no object of its kind. Pools and workloads that cannot be read spoil themselves alone.
    pub fn object(&mut self, kind: &str, object: Value) -> Result<Vec<Delta>, serde_json::Error> {
        use serde_json::from_value as read;
        Ok(match kind {
            "PooledWorkload" => self.workload(&read::<Guarded<_>>(object)?.0),
            "ResourcePool" => self.pool(&read::<Guarded<_>>(object)?.0),
            "Pod" => self.pod(&read(object)?),
            "Node" => vec![self.node(&read(object)?)],
            "Namespace" => vec![namespace::namespace(&read(object)?)],
            "PriorityClass" => self.priority_class(&read(object)?),
            "PersistentVolumeClaim" => self.claim(&read(object)?),
            "PersistentVolume" => self.volume(&read(object)?),
            "VirtualMachine" => self.machine(&read(object)?),
            "VirtualMachineInstance" => self.instance(&read(object)?),
            "VirtualMachineInstanceMigration" => self.migration(&read(object)?),
            "KubeVirt" => self.kubevirt_settings(Some(&read(object)?)),
            "VirtualMachineInstancetype" | "VirtualMachineClusterInstancetype" => {
                let size: InstancetypeSpec = read(object.get("spec").cloned().unwrap_or_default())?;
                self.size(
                    Some(text(&object, "/metadata/namespace")),
                    text(&object, "/metadata/name"),
                    Some(&size),
                )
            }
            _ => match maker_kind(kind) {
                Some(kind) => {
                    self.labelled(kind, &read(object.get("metadata").cloned().unwrap_or_default())?)
                }
                None => Vec::new(),
            },
        })
    }

    /// An object is gone, as it was last.
    ///
    /// # Errors
    /// Where it is no object of its kind.
    pub fn object_gone(&mut self, kind: &str, object: &Value) -> Result<Vec<Delta>, serde_json::Error> {
        let (namespace, name) = (text(object, "/metadata/namespace"), text(object, "/metadata/name"));
        let uid = text(object, "/metadata/uid");
        Ok(match kind {
            "PooledWorkload" => self.workload_gone(uid),
            "ResourcePool" => self.pool_gone(name),
            "Pod" => self.pod_gone(&serde_json::from_value(object.clone())?),
            "Node" => vec![self.node_gone(name)],
            "Namespace" => vec![Delta::NamespaceGone(name.into())],
            "PriorityClass" => self.priority_class_gone(name),
            "PersistentVolumeClaim" => self.claim_gone(namespace, name),
            "PersistentVolume" => self.volume_gone(name),
            "VirtualMachine" => self.machine_gone(uid, namespace, name),
            "VirtualMachineInstance" => self.instance_gone(uid),
            "VirtualMachineInstanceMigration" => self.migration_gone(uid),
            "KubeVirt" => self.kubevirt_settings(None),
            "VirtualMachineInstancetype" | "VirtualMachineClusterInstancetype" => {
                self.size(Some(namespace), name, None)
            }
            _ => match maker_kind(kind) {
                Some(kind) => self.labelled_gone(kind, namespace, name),
                None => Vec::new(),
            },
        })
    }
}

fn maker_kind(kind: &str) -> Option<MakerKind> {
    match kind {
        "Deployment" => Some(MakerKind::Deployment),
        "StatefulSet" => Some(MakerKind::StatefulSet),
        "Job" => Some(MakerKind::Job),
        _ => None,
    }
}
