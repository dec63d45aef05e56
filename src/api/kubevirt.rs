//! The little that Weir reads and writes of `KubeVirt`'s objects.

use std::borrow::Cow;

use k8s_openapi::{ClusterResourceScope, NamespaceResourceScope};
use kube::Resource;
use std::collections::BTreeMap;

use kube::core::ObjectMeta;
use serde::Deserialize;

use super::quantity::counted;

use super::pruned::{Condition, Resources, or_default, quantity, resource};
use super::pruned_meta::own_meta;

/// Group of machines.
pub const GROUP: &str = "kubevirt.io";
/// Group and version of machines, as manifests write them.
pub const API_VERSION: &str = "kubevirt.io/v1";
/// The kind of machines.
pub const MACHINE: &str = "VirtualMachine";
/// The kind of running machines.
pub const INSTANCE: &str = "VirtualMachineInstance";
/// Where this is among `featureGates`, migrations have priorities.
pub const ORDERED_MIGRATIONS: &str = "MigrationPriorityQueue";
/// The kind of moves of running machines.
pub const INSTANCE_MIGRATION: &str = "VirtualMachineInstanceMigration";
/// The scheduler that machines name, so that no other binds their pods.
pub const SCHEDULER: &str = "weir";

/// Not running; its disks stay.
pub const HALTED: &str = "Halted";
/// Started again whenever it ends.
pub const ALWAYS: &str = "Always";
/// Started once.
pub const ONCE: &str = "Once";

/// A label of nodes that machines can run on.
pub const SCHEDULABLE: &str = "kubevirt.io/schedulable";
/// A label that nodes have whose CPU model `KubeVirt` knows no more.
pub const OBSOLETE_MODEL: &str = "node-labeller.kubevirt.io/obsolete-host-model";
/// With this begin labels of nodes for the CPU models that they can show to a guest.
pub const CPU_MODEL: &str = "cpu-model.node.kubevirt.io/";
/// With this begin labels of nodes for the features of their CPUs.
pub const CPU_FEATURE: &str = "cpu-feature.node.kubevirt.io/";
/// A label of nodes whose kubelet gives out whole CPUs.
pub const CPU_MANAGER: &str = "cpumanager";
/// The label that tells what a pod is of `KubeVirt`: of a machine that runs, [`LAUNCHER`].
pub const KUBEVIRT: &str = "kubevirt.io";
/// See [`KUBEVIRT`].
pub const LAUNCHER: &str = "virt-launcher";
/// An annotation of a pod that only waits for the volumes of a machine to be made.
pub const EPHEMERAL: &str = "kubevirt.io/ephemeral-provisioning";
/// An annotation of a pod that says how much of its memory is not the guest's, in bytes. `KubeVirt` writes it where its gate
/// `VmiMemoryOverheadReport` is on.
pub const OVERHEAD: &str = "kubevirt.io/memory-overhead-bytes";
/// A label of a pod that a machine is being moved to.
pub const MIGRATION: &str = "kubevirt.io/migrationJobUID";

/// A machine.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct VirtualMachine {
    /// Labels and annotations only those of Weir.
    #[serde(default, deserialize_with = "own_meta")]
    pub metadata: ObjectMeta,
    /// What it shall be.
    #[serde(default, deserialize_with = "or_default")]
    pub spec: VirtualMachineSpec,
    /// How it is.
    #[serde(default, deserialize_with = "or_default")]
    pub status: MachineStatus,
}
resource!(VirtualMachine, NamespaceResourceScope, "kubevirt.io", "v1", "VirtualMachine", "virtualmachines");

/// How a machine is.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MachineStatus {
    /// `Running`, `Starting`, ... or what keeps it from that.
    pub printable_status: Option<String>,
    /// `Failure`, `Ready`, ...
    #[serde(deserialize_with = "or_default")]
    pub conditions: Vec<Condition>,
}

/// What `printableStatus` says of a machine that cannot start.
pub const TROUBLES: [&str; 8] = [
    "CrashLoopBackOff",
    "DataVolumeError",
    "ErrImagePull",
    "ErrorDataVolumeNotFound",
    "ErrorPvcNotFound",
    "ErrorUnschedulable",
    "ImagePullBackOff",
    "Unknown",
];

/// What a machine shall be.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct VirtualMachineSpec {
    /// Whether it shall run.
    pub run_strategy: Option<String>,
    /// What its runs are made from.
    #[serde(deserialize_with = "or_default")]
    pub template: MachineTemplate,
    /// Volumes that are made with it.
    #[serde(deserialize_with = "or_default")]
    pub data_volume_templates: Vec<DataVolume>,
}

/// A volume that is made with a machine.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct DataVolume {
    /// What it is made from.
    #[serde(deserialize_with = "or_default")]
    pub spec: DataVolumeSpec,
}

/// What a volume asks for.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct DataVolumeSpec {
    /// In one form.
    pub storage: Option<Claim>,
    /// Or in another.
    pub pvc: Option<Claim>,
}

/// A claim.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Claim {
    /// What it asks for.
    #[serde(deserialize_with = "or_default")]
    pub resources: Resources,
}

impl DataVolume {
    /// What it asks for, in bytes; nothing where that cannot be read.
    pub fn bytes(&self) -> i64 {
        let claim = self.spec.pvc.as_ref().or(self.spec.storage.as_ref());
        let asked = claim.and_then(|claim| claim.resources.requests.get("storage"));
        asked.and_then(|asked| counted("requests.storage", asked).ok()).unwrap_or(0).max(0)
    }
}

/// What runs of a machine are made from.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct MachineTemplate {
    /// Labels and annotations only those of Weir.
    #[serde(default, deserialize_with = "own_meta")]
    pub metadata: ObjectMeta,
}

/// A running machine.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct VirtualMachineInstance {
    /// Labels and annotations only those of Weir.
    #[serde(default, deserialize_with = "own_meta")]
    pub metadata: ObjectMeta,
    /// How it is.
    #[serde(default, deserialize_with = "or_default")]
    pub status: InstanceStatus,
}
resource!(
    VirtualMachineInstance,
    NamespaceResourceScope,
    "kubevirt.io",
    "v1",
    "VirtualMachineInstance",
    "virtualmachineinstances"
);

/// A running machine is to move to another node.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct InstanceMigration {
    /// Labels and annotations only those of Weir.
    #[serde(default, deserialize_with = "own_meta")]
    pub metadata: ObjectMeta,
    /// What shall move, and where to.
    #[serde(default, deserialize_with = "or_default")]
    pub spec: MigrationSpec,
    /// How far it has come.
    #[serde(default, deserialize_with = "or_default")]
    pub status: MigrationStatus,
}
resource!(
    InstanceMigration,
    NamespaceResourceScope,
    "kubevirt.io",
    "v1",
    "VirtualMachineInstanceMigration",
    "virtualmachineinstancemigrations"
);

/// What shall move, and where to.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MigrationSpec {
    /// Name of what runs.
    pub vmi_name: Option<String>,
    /// Labels that the node must have, beside what the machine asks for.
    #[serde(deserialize_with = "or_default")]
    pub added_node_selector: BTreeMap<String, String>,
}

/// How far a migration has come.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct MigrationStatus {
    /// `Pending` and others, at last `Succeeded` or `Failed`.
    pub phase: Option<String>,
}

/// How a running machine is.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct InstanceStatus {
    /// `Pending`, `Scheduling`, `Scheduled`, `Running`, `Succeeded` or `Failed`.
    pub phase: Option<String>,
    /// Its node.
    pub node_name: Option<String>,
    /// Why it failed, in a word.
    pub reason: Option<String>,
    /// `Ready`, `LiveMigratable`, ...
    #[serde(deserialize_with = "or_default")]
    pub conditions: Vec<Condition>,
}

/// The settings of the cluster's `KubeVirt`.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct KubeVirt {
    /// Without labels and annotations.
    #[serde(default, deserialize_with = "own_meta")]
    pub metadata: ObjectMeta,
    /// Its settings.
    #[serde(default, deserialize_with = "or_default")]
    pub spec: KubeVirtSpec,
}
resource!(KubeVirt, NamespaceResourceScope, "kubevirt.io", "v1", "KubeVirt", "kubevirts");

/// The settings of a `KubeVirt`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct KubeVirtSpec {
    /// Those that count here.
    #[serde(deserialize_with = "or_default")]
    pub configuration: Configuration,
}

/// The settings that count here.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Configuration {
    /// The part that says what machines request.
    #[serde(deserialize_with = "or_default")]
    pub developer_configuration: DeveloperConfiguration,
    /// The CPU model of machines that name none.
    #[serde(rename = "cpuModel")]
    pub cpu_model: Option<String>,
}

/// What machines request that do not say it themselves.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DeveloperConfiguration {
    /// Virtual CPUs for each CPU; 10 where it is absent.
    pub cpu_allocation_ratio: Option<i64>,
    /// Guest memory in percent of what is requested; 100 where it is absent.
    pub memory_overcommit: Option<i64>,
    /// What is switched on that is not yet for everybody.
    #[serde(deserialize_with = "or_default")]
    pub feature_gates: Vec<String>,
    /// Guests run without the help of the CPU, and need no such device.
    #[serde(deserialize_with = "or_default")]
    pub use_emulation: bool,
}

/// A size that machines name, in the cluster.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct ClusterInstancetype {
    /// Without labels and annotations.
    #[serde(default, deserialize_with = "own_meta")]
    pub metadata: ObjectMeta,
    /// The size.
    #[serde(default, deserialize_with = "or_default")]
    pub spec: InstancetypeSpec,
}
resource!(
    ClusterInstancetype,
    ClusterResourceScope,
    "instancetype.kubevirt.io",
    "v1beta1",
    "VirtualMachineClusterInstancetype",
    "virtualmachineclusterinstancetypes"
);

/// A size that machines name, in their namespace.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Instancetype {
    /// Without labels and annotations.
    #[serde(default, deserialize_with = "own_meta")]
    pub metadata: ObjectMeta,
    /// The size.
    #[serde(default, deserialize_with = "or_default")]
    pub spec: InstancetypeSpec,
}
resource!(
    Instancetype,
    NamespaceResourceScope,
    "instancetype.kubevirt.io",
    "v1beta1",
    "VirtualMachineInstancetype",
    "virtualmachineinstancetypes"
);

/// A size.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct InstancetypeSpec {
    /// CPUs.
    #[serde(deserialize_with = "or_default")]
    pub cpu: InstancetypeCpu,
    /// Memory: `guest`, `hugepages.pageSize`, `overcommitPercent`.
    #[serde(deserialize_with = "or_default")]
    pub memory: InstancetypeMemory,
    /// GPUs.
    #[serde(deserialize_with = "or_default")]
    pub gpus: Vec<InstancetypeDevice>,
    /// Other devices.
    #[serde(deserialize_with = "or_default")]
    pub host_devices: Vec<InstancetypeDevice>,
    /// Labels that nodes must have.
    #[serde(deserialize_with = "or_default")]
    pub node_selector: BTreeMap<String, String>,
}

/// CPUs of a size.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct InstancetypeCpu {
    /// How many.
    pub guest: i64,
    /// CPUs of its own. Instance types spell it so, machines `dedicatedCpuPlacement`.
    #[serde(rename = "dedicatedCPUPlacement", deserialize_with = "or_default")]
    pub dedicated_cpu_placement: bool,
    /// One more for the emulator.
    #[serde(deserialize_with = "or_default")]
    pub isolate_emulator_thread: bool,
    /// Its model.
    pub model: Option<String>,
}

/// Memory of a size.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct InstancetypeMemory {
    /// Of the guest, as a quantity.
    #[serde(deserialize_with = "quantity")]
    pub guest: Option<String>,
    /// Percent of it that is not requested.
    pub overcommit_percent: Option<i64>,
    /// Huge pages.
    #[serde(deserialize_with = "or_default")]
    pub hugepages: InstancetypeHugepages,
}

/// Huge pages of a size.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct InstancetypeHugepages {
    /// Such as `2Mi`.
    pub page_size: Option<String>,
}

/// A device of a size.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct InstancetypeDevice {
    /// The resource that nodes offer.
    pub device_name: String,
}
