//! The little of metadata that is read: Weir's own labels and annotations, or all labels where others are asked for.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{OwnerReference, Time};
use kube::core::ObjectMeta;
use serde::Deserialize;
use serde::de::Deserializer;

use super::{kubevirt, labels, pruned};

/// Metadata as far as it is read, with `L` of the labels.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", bound = "L: Deserialize<'de> + Default")]
struct Meta<L> {
    name: Option<String>,
    namespace: Option<String>,
    uid: Option<String>,
    resource_version: Option<String>,
    generation: Option<i64>,
    creation_timestamp: Option<Time>,
    deletion_timestamp: Option<Time>,
    finalizers: Option<Vec<String>>,
    owner_references: Option<Vec<OwnerReference>>,
    labels: Option<L>,
    annotations: Option<OwnAnnotations>,
}

#[derive(Default, Deserialize)]
#[serde(transparent)]
struct AllLabels(BTreeMap<String, String>);

/// The labels of members that are read; `labels` holds the same words.
#[derive(Default, Deserialize)]
struct OwnLabels {
    #[serde(rename = "weir.dev/index")]
    index: Option<String>,
    #[serde(rename = "weir.dev/attempt")]
    attempt: Option<String>,
    #[serde(rename = "weir.dev/pool")]
    pool: Option<String>,
    #[serde(rename = "kubevirt.io/migrationJobUID")]
    migration: Option<String>,
}

/// The annotations that are read; `labels`, `kubevirt` and `pruned` hold the same words.
#[derive(Default, Deserialize)]
struct OwnAnnotations {
    #[serde(rename = "weir.dev/node")]
    node: Option<String>,
    #[serde(rename = "weir.dev/drain")]
    drain: Option<String>,
    #[serde(rename = "weir.dev/tainted-for")]
    tainted_for: Option<String>,
    #[serde(rename = "weir.dev/migrate")]
    migrate: Option<String>,
    #[serde(rename = "weir.dev/apply-recommendation")]
    apply: Option<String>,
    #[serde(rename = "kubevirt.io/ephemeral-provisioning")]
    ephemeral: Option<String>,
    #[serde(rename = "kubevirt.io/memory-overhead-bytes")]
    overhead: Option<String>,
    #[serde(rename = "volume.kubernetes.io/selected-node")]
    selected_node: Option<String>,
}

impl OwnAnnotations {
    fn into_map(self) -> Option<BTreeMap<String, String>> {
        let Self { node, drain, tainted_for, migrate, apply, ephemeral, overhead, selected_node } = self;
        let all = [
            (labels::NODE, node),
            (labels::DRAIN, drain),
            (labels::TAINTED_FOR, tainted_for),
            (labels::MIGRATE, migrate),
            (labels::APPLY, apply),
            (kubevirt::EPHEMERAL, ephemeral),
            (kubevirt::OVERHEAD, overhead),
            (pruned::SELECTED_NODE, selected_node),
        ];
        let all: BTreeMap<_, _> =
            all.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect();
        (!all.is_empty()).then_some(all)
    }
}

impl From<AllLabels> for BTreeMap<String, String> {
    fn from(labels: AllLabels) -> Self {
        labels.0
    }
}

impl From<OwnLabels> for BTreeMap<String, String> {
    fn from(own: OwnLabels) -> Self {
        let OwnLabels { index, attempt, pool, migration } = own;
        [
            (labels::INDEX, index),
            (labels::ATTEMPT, attempt),
            (labels::POOL, pool),
            (kubevirt::MIGRATION, migration),
        ]
        .into_iter()
        .filter_map(|(key, value)| Some((key.to_owned(), value?)))
        .collect()
    }
}

impl<L: Into<BTreeMap<String, String>>> Meta<L> {
    fn into_meta(self) -> ObjectMeta {
        ObjectMeta {
            name: self.name,
            namespace: self.namespace,
            uid: self.uid,
            resource_version: self.resource_version,
            generation: self.generation,
            creation_timestamp: self.creation_timestamp,
            deletion_timestamp: self.deletion_timestamp,
            finalizers: self.finalizers,
            owner_references: self.owner_references,
            labels: self.labels.map(Into::into).filter(|labels| !labels.is_empty()),
            annotations: self.annotations.and_then(OwnAnnotations::into_map),
            ..ObjectMeta::default()
        }
    }
}

pub(super) fn own_meta<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ObjectMeta, D::Error> {
    Ok(Meta::<OwnLabels>::deserialize(deserializer)?.into_meta())
}

pub(super) fn labelled_meta<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ObjectMeta, D::Error> {
    Ok(Meta::<AllLabels>::deserialize(deserializer)?.into_meta())
}
