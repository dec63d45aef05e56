//! The little that Weir reads of the objects that others own, as types for `kube::Api` and watchers.
//!
//! Everything else is skipped while reading and never allocated: managed fields, annotations, volumes, probes.
//! Every field may be absent. That, and the API server's own types behind these kinds, is why one of them can
//! be watched without a guard; the two custom resources are read by [`Guarded`], where a bad object spoils
//! itself alone.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::api::core::v1::{NodeSelector, PodAffinityTerm, VolumeNodeAffinity};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::{ClusterResourceScope, NamespaceResourceScope};
use kube::Resource;
use kube::core::ObjectMeta;
use serde::de::{DeserializeOwned, Deserializer};
use serde::{Deserialize, Serialize, de};
use serde_json::Value;
use thiserror::Error;

use super::pruned_meta::{labelled_meta, own_meta};

macro_rules! resource {
    ($type:ty, $scope:ty, $group:literal, $version:literal, $kind:literal, $plural:literal) => {
        impl Resource for $type {
            type DynamicType = ();
            type Scope = $scope;

            fn kind((): &()) -> Cow<'_, str> {
                $kind.into()
            }
            fn group((): &()) -> Cow<'_, str> {
                $group.into()
            }
            fn version((): &()) -> Cow<'_, str> {
                $version.into()
            }
            fn plural((): &()) -> Cow<'_, str> {
                $plural.into()
            }
            fn meta(&self) -> &ObjectMeta {
                &self.metadata
            }
            fn meta_mut(&mut self) -> &mut ObjectMeta {
                &mut self.metadata
            }
        }
    };
}

pub(super) use resource;

/// A pod: what it takes of its node, where it is in its life, and whose it is.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Pod {
    /// Without managed fields; annotations only those of Weir.
    #[serde(default, deserialize_with = "labelled_meta")]
    pub metadata: ObjectMeta,
    /// What it asks for.
    #[serde(default)]
    pub spec: PodSpec,
    /// What became of it.
    #[serde(default)]
    pub status: PodStatus,
}
resource!(Pod, NamespaceResourceScope, "", "v1", "Pod", "pods");

/// What a pod asks for.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodSpec {
    /// The node that it is bound to.
    pub node_name: Option<String>,
    /// The containers.
    #[serde(deserialize_with = "or_default")]
    pub containers: Vec<Container>,
    /// Those that run before, and sidecars.
    #[serde(deserialize_with = "or_default")]
    pub init_containers: Vec<Container>,
    /// What the runtime takes besides.
    #[serde(deserialize_with = "quantities")]
    pub overhead: BTreeMap<String, String>,
    /// Resources of the whole pod, in place of the sum of its containers'.
    #[serde(deserialize_with = "or_default")]
    pub resources: Resources,
    /// Its ports are ports of the node.
    #[serde(deserialize_with = "or_default")]
    pub host_network: bool,
    /// Whom it keeps off, and which nodes it may be on.
    #[serde(deserialize_with = "or_default")]
    pub affinity: Affinity,
    /// Labels that its node must have.
    #[serde(deserialize_with = "or_default")]
    pub node_selector: BTreeMap<String, String>,
    /// Its volumes, of which only claims are read.
    #[serde(deserialize_with = "or_default")]
    pub volumes: Vec<Volume>,
}

/// A volume of a pod.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Volume {
    /// By a claim.
    pub persistent_volume_claim: Option<VolumeClaim>,
}

/// The claim of a pod's volume.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct VolumeClaim {
    /// Its name, in the namespace of the pod.
    pub claim_name: String,
}

/// Of a pod's affinity what concerns others, and what it requires of its node.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Affinity {
    /// Affinity to nodes.
    #[serde(deserialize_with = "or_default")]
    pub node_affinity: NodeAffinity,
    /// Anti-affinity to pods.
    #[serde(deserialize_with = "or_default")]
    pub pod_anti_affinity: PodAntiAffinity,
}

/// What a pod requires of its node.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeAffinity {
    /// One of these terms must select it.
    pub required_during_scheduling_ignored_during_execution: Option<NodeSelector>,
}

/// Of a pod's anti-affinity what concerns others.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodAntiAffinity {
    /// It keeps pods off that these mean.
    #[serde(deserialize_with = "or_default")]
    pub required_during_scheduling_ignored_during_execution: Vec<PodAffinityTerm>,
}

/// A container.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Container {
    /// Its name.
    pub name: String,
    /// What it asks for.
    #[serde(deserialize_with = "or_default")]
    pub resources: Resources,
    /// Its ports.
    #[serde(deserialize_with = "or_default")]
    pub ports: Vec<Port>,
    /// `Always` makes an init container a sidecar.
    pub restart_policy: Option<String>,
}

/// Requests and limits, by resource, as written.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Resources {
    /// What is set aside.
    #[serde(deserialize_with = "quantities")]
    pub requests: BTreeMap<String, String>,
    /// What is never passed.
    #[serde(deserialize_with = "quantities")]
    pub limits: BTreeMap<String, String>,
}

/// A port of a container.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Port {
    /// In the pod.
    pub container_port: i64,
    /// On the node.
    pub host_port: Option<i64>,
    /// On which address of the node.
    #[serde(rename = "hostIP")]
    pub host_ip: Option<String>,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: Option<String>,
}

/// What became of a pod.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodStatus {
    /// `Pending`, `Running`, `Succeeded`, `Failed` or `Unknown`.
    pub phase: Option<String>,
    /// The kubelet's word for why.
    pub reason: Option<String>,
    /// The kubelet's sentence for why.
    pub message: Option<String>,
    /// All conditions.
    #[serde(deserialize_with = "or_default")]
    pub conditions: Vec<Condition>,
    /// Of the init containers.
    #[serde(deserialize_with = "or_default")]
    pub init_container_statuses: Vec<ContainerStatus>,
    /// Of the containers.
    #[serde(deserialize_with = "or_default")]
    pub container_statuses: Vec<ContainerStatus>,
}

/// A condition of a pod or a node.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Condition {
    /// Which.
    #[serde(rename = "type")]
    pub kind: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// Why, in a word.
    pub reason: Option<String>,
    /// Why, in a sentence.
    pub message: Option<String>,
    /// Since when.
    pub last_transition_time: Option<Time>,
}

/// What became of a container.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ContainerStatus {
    /// Its name.
    pub name: String,
    /// What it does.
    #[serde(deserialize_with = "or_default")]
    pub state: ContainerState,
    /// What the node set aside for it, after a resize in place.
    #[serde(deserialize_with = "quantities")]
    pub allocated_resources: BTreeMap<String, String>,
    /// What it runs with.
    #[serde(deserialize_with = "or_default")]
    pub resources: Resources,
}

/// What a container does: only its end is of interest.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct ContainerState {
    /// It has ended.
    pub terminated: Option<Terminated>,
}

/// How a container ended.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Terminated {
    /// Its exit code.
    pub exit_code: i32,
    /// `Error`, `OOMKilled`, ...
    pub reason: Option<String>,
}

/// A node.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Node {
    /// Without managed fields and foreign annotations.
    #[serde(default, deserialize_with = "labelled_meta")]
    pub metadata: ObjectMeta,
    /// Taints and cordon.
    #[serde(default)]
    pub spec: NodeSpec,
    /// Readiness and what it offers.
    #[serde(default)]
    pub status: NodeStatus,
}
resource!(Node, ClusterResourceScope, "", "v1", "Node", "nodes");

/// Taints and cordon of a node.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeSpec {
    /// Cordoned.
    #[serde(deserialize_with = "or_default")]
    pub unschedulable: bool,
    /// Its taints.
    #[serde(deserialize_with = "or_default")]
    pub taints: Vec<Taint>,
}

/// A taint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Taint {
    /// Its key.
    pub key: String,
    /// Its value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// `NoSchedule`, `PreferNoSchedule` or `NoExecute`.
    pub effect: String,
    /// Since when, where that is kept: as it was written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_added: Option<String>,
}

/// Readiness of a node and what it offers.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeStatus {
    /// What pods may take.
    #[serde(deserialize_with = "quantities")]
    pub allocatable: BTreeMap<String, String>,
    /// All conditions.
    #[serde(deserialize_with = "or_default")]
    pub conditions: Vec<Condition>,
}

/// A namespace: its labels.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Namespace {
    /// Without managed fields and annotations.
    #[serde(default, deserialize_with = "labelled_meta")]
    pub metadata: ObjectMeta,
}
resource!(Namespace, ClusterResourceScope, "", "v1", "Namespace", "namespaces");

/// A Deployment that is labelled for a pool.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Deployment {
    /// Of the labels, those of Weir.
    #[serde(default, deserialize_with = "own_meta")]
    pub metadata: ObjectMeta,
}
resource!(Deployment, NamespaceResourceScope, "apps", "v1", "Deployment", "deployments");

/// A `StatefulSet` that is labelled for a pool.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct StatefulSet {
    /// Of the labels, those of Weir.
    #[serde(default, deserialize_with = "own_meta")]
    pub metadata: ObjectMeta,
}
resource!(StatefulSet, NamespaceResourceScope, "apps", "v1", "StatefulSet", "statefulsets");

/// A Job that is labelled for a pool.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Job {
    /// Of the labels, those of Weir.
    #[serde(default, deserialize_with = "own_meta")]
    pub metadata: ObjectMeta,
}
resource!(Job, NamespaceResourceScope, "batch", "v1", "Job", "jobs");

/// A `PriorityClass`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PriorityClass {
    /// Without managed fields, labels and annotations.
    #[serde(default, deserialize_with = "own_meta")]
    pub metadata: ObjectMeta,
    /// The priority that it stands for.
    #[serde(default)]
    pub value: i32,
    /// It counts where nothing is said.
    #[serde(default, deserialize_with = "or_default")]
    pub global_default: bool,
}
resource!(PriorityClass, ClusterResourceScope, "scheduling.k8s.io", "v1", "PriorityClass", "priorityclasses");

/// An annotation of a claim: the node that its volume is to be made for.
pub const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";

/// A claim of a volume: which one it has.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct PersistentVolumeClaim {
    /// Without managed fields and labels; of the annotations the node that it is made for.
    #[serde(default, deserialize_with = "own_meta")]
    pub metadata: ObjectMeta,
    /// Which volume.
    #[serde(default)]
    pub spec: ClaimSpec,
}
resource!(
    PersistentVolumeClaim,
    NamespaceResourceScope,
    "",
    "v1",
    "PersistentVolumeClaim",
    "persistentvolumeclaims"
);

/// Which volume a claim has.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClaimSpec {
    /// Its volume, once it is bound.
    pub volume_name: Option<String>,
}

/// A volume: from which nodes it is reached.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct PersistentVolume {
    /// Without managed fields, labels and annotations.
    #[serde(default, deserialize_with = "own_meta")]
    pub metadata: ObjectMeta,
    /// From where.
    #[serde(default)]
    pub spec: VolumeSpec,
}
resource!(PersistentVolume, ClusterResourceScope, "", "v1", "PersistentVolume", "persistentvolumes");

/// From which nodes a volume is reached.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct VolumeSpec {
    /// Absent: from all.
    pub node_affinity: Option<VolumeNodeAffinity>,
}

/// An object that cannot be read: what of it could be, and why not more.
#[derive(Clone, Debug, PartialEq, Error)]
#[error("{problem}")]
pub struct Poison {
    /// Its metadata, pruned.
    pub metadata: Box<ObjectMeta>,
    /// The field and what is wrong with it.
    pub problem: String,
    /// The object as it came, for what can be read of it nevertheless.
    pub object: Box<Value>,
}

/// Reads a `K`; one that cannot be read spoils itself alone and neither its list nor its watch.
///
/// Unlike `kube::core::DeserializeGuard` it says which field is wrong, and it drops managed fields.
#[derive(Clone, Debug)]
pub struct Guarded<K>(pub Result<K, Poison>);

impl<'de, K: DeserializeOwned + Resource> Deserialize<'de> for Guarded<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        let metadata = value.get("metadata").cloned().unwrap_or_default();
        // Metadata comes from the API server itself. Were it unreadable, there would be no object to speak of.
        let metadata = labelled_meta(metadata).map_err(de::Error::custom)?;
        Ok(Self(match serde_path_to_error::deserialize::<_, K>(&value) {
            Ok(mut object) => {
                *object.meta_mut() = metadata;
                Ok(object)
            }
            Err(error) => {
                let problem = format!("{}: {}", error.path(), error.inner());
                Err(Poison { metadata: Box::new(metadata), problem, object: Box::new(value) })
            }
        }))
    }
}

impl<K: Resource> Resource for Guarded<K> {
    type DynamicType = K::DynamicType;
    type Scope = K::Scope;

    fn kind(dt: &Self::DynamicType) -> Cow<'_, str> {
        K::kind(dt)
    }
    fn group(dt: &Self::DynamicType) -> Cow<'_, str> {
        K::group(dt)
    }
    fn version(dt: &Self::DynamicType) -> Cow<'_, str> {
        K::version(dt)
    }
    fn plural(dt: &Self::DynamicType) -> Cow<'_, str> {
        K::plural(dt)
    }
    fn meta(&self) -> &ObjectMeta {
        self.0.as_ref().map_or_else(|poison| &*poison.metadata, K::meta)
    }
    fn meta_mut(&mut self) -> &mut ObjectMeta {
        self.0.as_mut().map_or_else(|poison| &mut *poison.metadata, K::meta_mut)
    }
}

/// `null` as if the field were absent.
pub(super) fn or_default<'de, T: Deserialize<'de> + Default, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

fn quantities<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, String>, D::Error> {
    let written = Option::<BTreeMap<String, Written>>::deserialize(deserializer)?.unwrap_or_default();
    Ok(written.into_iter().map(|(name, Written(text))| (name, text)).collect())
}

pub(super) fn quantity<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(Option::<Written>::deserialize(deserializer)?.map(|Written(text)| text))
}

/// A quantity as the API server takes it: a string, or a number such as `2` or `0.5`.
struct Written(String);

impl<'de> Deserialize<'de> for Written {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Written;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a quantity such as 4, 500m or 64Gi")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Written, E> {
                Ok(Written(text.to_owned()))
            }
            fn visit_string<E: de::Error>(self, text: String) -> Result<Written, E> {
                Ok(Written(text))
            }
            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Written, E> {
                Ok(Written(number.to_string()))
            }
            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Written, E> {
                Ok(Written(number.to_string()))
            }
            fn visit_f64<E: de::Error>(self, number: f64) -> Result<Written, E> {
                Ok(Written(number.to_string()))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{PooledWorkload, ResourcePool};
    use serde_json::json;

    #[test]
    fn what_is_not_needed_is_skipped_and_null_is_absent() {
        let pod: Pod = serde_json::from_value(json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": "train-0", "namespace": "a", "uid": "u", "resourceVersion": "7", "creationTimestamp": null,
                "labels": {"app": "x", "weir.dev/index": "0", "weir.dev/attempt": "1"},
                "annotations": {"huge": "x".repeat(1000), "weir.dev/node": "n1"},
                "managedFields": [{"manager": "kubelet", "fieldsV1": {"f:status": {}}}],
            },
            "spec": {
                "nodeName": "n1", "hostNetwork": null, "initContainers": null, "overhead": null,
                "containers": [{"name": "c", "image": "i", "resources": {"requests": {"cpu": 2, "memory": "1Gi", "x.y/z": 0.5}},
                                "env": [{"name": "A", "value": "b"}]}],
                "volumes": [{"name": "v", "emptyDir": {}}],
            },
            "status": {"phase": "Pending", "conditions": null, "containerStatuses": [{"name": "c", "state": {"waiting": {"reason": "x"}}}]},
        }))
        .unwrap();
        assert_eq!(pod.metadata.managed_fields, None);
        assert_eq!(pod.metadata.labels.as_ref().map(BTreeMap::len), Some(3));
        assert_eq!(pod.metadata.annotations, Some([("weir.dev/node".to_owned(), "n1".to_owned())].into()));
        let requests = &pod.spec.containers[0].resources.requests;
        assert_eq!(
            (requests["cpu"].as_str(), requests["memory"].as_str(), requests["x.y/z"].as_str()),
            ("2", "1Gi", "0.5")
        );
        assert_eq!(pod.status.container_statuses[0].state.terminated, None);
        let empty: Pod = serde_json::from_value(json!({"metadata": {"name": "bare"}})).unwrap();
        assert_eq!(empty.spec, PodSpec::default());
    }

    #[test]
    fn a_bad_object_spoils_itself_alone_and_names_the_field() {
        let list: Vec<Guarded<PooledWorkload>> = serde_json::from_value(json!([
            {"metadata": {"name": "bad", "uid": "1"}, "spec": {"pool": "p", "replicas": "many", "template": {"pod": {"spec": {}}}}},
            {"metadata": {"name": "good", "uid": "2", "managedFields": [{"manager": "x"}]},
             "spec": {"pool": "p", "template": {"pod": {"spec": {}}}}},
        ]))
        .unwrap();
        let poison = list[0].0.as_ref().unwrap_err();
        assert!(poison.problem.starts_with("spec.replicas: "), "{poison}");
        assert_eq!((list[0].meta().name.as_deref(), list[0].meta().uid.as_deref()), (Some("bad"), Some("1")));
        assert_eq!(list[1].meta().name.as_deref(), Some("good"));
        assert_eq!(list[1].meta().managed_fields, None);
        assert_eq!(Guarded::<ResourcePool>::plural(&()), "resourcepools");
    }
}
