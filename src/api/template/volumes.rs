//! Volumes: all kinds pass; their names must be sound.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{Container, PodSpec, Volume};
use serde_json::Value;

use crate::api::field::{FieldPath, Problems};
use crate::api::names::is_dns_label;
use crate::api::quantity::Amount;

/// Checks the volumes of the pod.
pub(super) fn check(pod: &PodSpec, problems: &mut Problems) {
    let mut names = BTreeSet::new();
    for (index, volume) in pod.volumes.iter().flatten().enumerate() {
        let at = FieldPath::of("volumes").index(index);
        if !is_dns_label(&volume.name) {
            problems.add(at.key("name"), "write at most 63 lower-case letters, digits and dashes");
        } else if !names.insert(&volume.name) {
            problems.add(at.key("name"), format!("{:?} is there twice: write another name", volume.name));
        }
        source(volume, &at, problems);
        super::derived::check_claim(volume, &at, problems);
    }
}

fn source(volume: &Volume, at: &FieldPath, problems: &mut Problems) {
    let sources = serde_json::to_value(volume)
        .ok()
        .and_then(|value| match value {
            Value::Object(fields) => Some(fields.keys().filter(|key| *key != "name").count()),
            _ => None,
        })
        .unwrap_or_default();
    if sources > 1 {
        problems.add(at.clone(), "write one kind of volume only");
    }
    if let Some(limit) = volume.empty_dir.as_ref().and_then(|e| e.size_limit.as_ref()) {
        let at = at.key("emptyDir").key("sizeLimit");
        match Amount::parse(&limit.0) {
            Err(error) => problems.add(at, error.to_string()),
            Ok(amount) if amount.is_negative() => problems.add(at, "write 0 or more"),
            Ok(_) => {}
        }
    }
}

/// Checks that what a container mounts is there.
pub(super) fn mounts(container: &Container, pod: &PodSpec, at: &FieldPath, problems: &mut Problems) {
    let exists = |name: &str| pod.volumes.iter().flatten().any(|volume| volume.name == name);
    let mut paths = BTreeSet::new();
    for (index, mount) in container.volume_mounts.iter().flatten().enumerate() {
        let at = at.key("volumeMounts").index(index);
        if !exists(&mount.name) {
            problems.add(
                at.key("name"),
                format!("no volume {:?} is in volumes: add it or correct the name", mount.name),
            );
        }
        if mount.mount_path.is_empty() {
            problems.add(at.key("mountPath"), "write a path");
        } else if !paths.insert(&mount.mount_path) {
            problems.add(
                at.key("mountPath"),
                format!("{:?} is there twice: write another path", mount.mount_path),
            );
        }
    }
    for (index, device) in container.volume_devices.iter().flatten().enumerate() {
        if !exists(&device.name) {
            problems.add(
                at.key("volumeDevices").index(index).key("name"),
                format!("no volume {:?} is in volumes: add it or correct the name", device.name),
            );
        }
    }
}
