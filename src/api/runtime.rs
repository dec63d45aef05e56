//! What members are, pods or virtual machines, and what they are made from.

#![allow(
    clippy::doc_markdown,
    reason = "the texts are shown by kubectl explain, where backticks only disturb"
)]

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::quantity::Quantity;
use super::workload::{PodTemplate, TemplateMetadata};
use super::{rules, schema};

/// What a member is.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Runtime {
    /// A pod.
    Pod,
    /// A virtual machine of KubeVirt.
    VirtualMachine,
}

/// What virtual machines request where their template does not say.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[x_kube(validation = rules::ratio("cpuOvercommit", "1", "10"), validation = rules::ratio("memoryOvercommit", "1", "1.2"))]
#[serde(rename_all = "camelCase")]
pub struct PoolVirtualMachines {
    /// Virtual CPUs for each CPU that is requested: with 4, a machine of 8 requests 2. From 0.001 to 1000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_overcommit: Option<Quantity>,

    /// Guest memory for each byte that is requested, such as 1.2. From 0.001 to 1000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_overcommit: Option<Quantity>,
}

/// What each member is made from: a pod or a virtual machine.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[x_kube(validation = Rule::new("has(self.pod) != has(self.virtualMachine)")
    .message("write exactly one of pod and virtualMachine"))]
#[serde(rename_all = "camelCase")]
pub struct WorkloadTemplate {
    /// Each member is a pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<PodTemplate>,

    /// Each member is a virtual machine of KubeVirt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub virtual_machine: Option<VirtualMachineTemplate>,
}

/// A virtual machine, as a member is made from it.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VirtualMachineTemplate {
    /// Labels and annotations of each VirtualMachine. Those of its pod stand in spec.template.metadata.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<TemplateMetadata>,

    /// A kubevirt.io/v1 VirtualMachineSpec, stored as given and checked when it is read; `weir check` checks it
    /// offline. running, runStrategy and template.spec.schedulerName are refused: Weir sets them.
    #[schemars(schema_with = "schema::virtual_machine_spec")]
    pub spec: Value,
}

impl WorkloadTemplate {
    /// What members are.
    pub fn runtime(&self) -> Runtime {
        if self.virtual_machine.is_some() { Runtime::VirtualMachine } else { Runtime::Pod }
    }
}
