//! A template of virtual machines, read as far as Weir must understand it.
//!
//! What it asks of its node is read strictly; the rest is `KubeVirt`'s to judge, which is asked with a dry run.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::PodSpec;
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

use super::{check_pod_template, path_of, plain, refused};
use crate::api::field::{FieldPath, FieldProblem, Problems};
use crate::api::labels;
use crate::api::names::is_dns_subdomain;
use crate::api::quantity::Amount;
use crate::api::workload::Completion;

/// A checked template.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Machine {
    /// What it asks of its node.
    pub ask: Ask,
    /// What narrows the nodes, as in a pod: nothing else is in it.
    pub nodes: PodSpec,
    /// Claims of its volumes that are no machine's own; data volumes have claims of their names.
    pub claims: Vec<String>,
    /// Claims that its data volume templates make: of several machines each has its own.
    pub own_claims: Vec<String>,
}

/// What one machine asks of its node.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ask {
    /// Virtual CPUs by its topology; none where it has none.
    pub vcpus: Option<i64>,
    /// CPUs of its own, and one more for the emulator.
    pub dedicated: Option<bool>,
    /// Guest memory, in bytes; none where it is not said.
    pub guest_bytes: Option<i64>,
    /// The size of its pages, such as `2Mi`, where it wants huge ones.
    pub page: Option<String>,
    /// `domain.resources.requests`, and where one is absent its limit.
    pub requests: BTreeMap<String, String>,
    /// GPUs and other devices of the node, and how many.
    pub devices: BTreeMap<String, i64>,
    /// It has a network of the pod.
    pub tun: bool,
    /// One of its networks is virtio.
    pub vhost: bool,
    /// Its serial console is written to a log.
    pub console_log: bool,
    /// Container disks.
    pub container_disks: i64,
    /// The CPU model that its node must have, or whose model it has: `host-model`, `host-passthrough`.
    pub model: Option<String>,
    /// CPU features that its node must have, or must not have.
    pub features: BTreeMap<String, bool>,
    /// Its size in place of a topology and guest memory: kind and name.
    pub instancetype: Option<(InstancetypeKind, String)>,
    /// What its data volumes ask for, in bytes.
    pub storage_bytes: i64,
}

/// Where an instance type is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum InstancetypeKind {
    /// In the cluster.
    Cluster,
    /// In the namespace of the workload.
    Namespaced,
}

const DISKS_HINT: &str = "leave it away: it is in the namespace of the workload, and belongs to its machine";

/// Reads a kubevirt.io/v1 `VirtualMachineSpec` as `spec.template.virtualMachine.spec` holds it. Paths are relative
/// to it.
///
/// # Errors
/// Everything that is wrong and that Weir knows of, sorted by path.
pub fn check_machine_template(spec: &Value) -> Result<Machine, Vec<FieldProblem>> {
    let mut problems = Problems::default();
    if !spec.is_object() {
        problems.add(
            FieldPath::root(),
            "write a kubevirt.io/v1 VirtualMachineSpec, such as {template: {spec: {domain: {...}}}}",
        );
        return Err(problems.0);
    }
    refused::check_machine(spec, &mut problems);
    metadata(spec.pointer("/template/metadata"), &FieldPath::of("template.metadata"), &mut problems);
    let mut machine = None;
    match serde_path_to_error::deserialize::<_, Written>(spec) {
        Err(error) => problems.add(path_of(error.path()), plain(&error.inner().to_string())),
        Ok(written) => {
            let ask = ask(&written, &mut problems);
            let nodes = nodes(spec, &mut problems);
            let (own_claims, claims) = claims(&written);
            machine = nodes.map(|nodes| Machine { ask, nodes, claims, own_claims });
        }
    }
    match machine {
        Some(machine) if problems.0.is_empty() => Ok(machine),
        _ => {
            problems.0.sort();
            problems.0.dedup();
            Err(problems.0)
        }
    }
}

/// Labels and annotations alone, and none of Weir's.
fn metadata(given: Option<&Value>, at: &FieldPath, problems: &mut Problems) {
    for (key, value) in given.and_then(Value::as_object).into_iter().flatten() {
        match key.as_str() {
            "labels" | "annotations" => {
                let ours = value
                    .as_object()
                    .into_iter()
                    .flatten()
                    .filter(|(key, _)| key.starts_with(labels::PREFIX));
                for (label, _) in ours {
                    problems
                        .add(at.key(key).key(label), "leave it away: keys under weir.dev/ are set by Weir");
                }
            }
            "creationTimestamp" if value.is_null() => {}
            _ => problems.add(at.key(key), "leave it away: write labels and annotations only"),
        }
    }
}

/// What narrows the nodes is said and checked as in a pod.
fn nodes(spec: &Value, problems: &mut Problems) -> Option<PodSpec> {
    let mut pod = json!({"containers": [{"name": "compute", "image": "compute"}]});
    for field in ["nodeSelector", "affinity", "tolerations", "topologySpreadConstraints"] {
        if let Some(value) = spec.pointer(&format!("/template/spec/{field}")) {
            pod[field] = value.clone();
        }
    }
    match check_pod_template(&pod, Completion::KeepRunning) {
        Ok(pod) => Some(pod),
        Err(found) => {
            let at = FieldPath::of("template.spec");
            problems.0.extend(
                found.into_iter().map(|one| FieldProblem { path: at.join(&one.path), message: one.message }),
            );
            None
        }
    }
}

fn ask(written: &Written, problems: &mut Problems) -> Ask {
    let Written { template, instancetype, data_volume_templates } = written;
    let VmiSpec { domain, volumes } = &template.spec;
    let Domain { cpu, memory, resources, devices } = domain;
    let at = FieldPath::of("template.spec.domain");
    let mut requests = texts(&resources.limits);
    requests.extend(texts(&resources.requests));
    for (name, text) in &requests {
        let field = if resources.requests.contains_key(name) { "requests" } else { "limits" };
        if let Err(problem) = crate::api::quantity::counted(name, text) {
            problems.add(at.key("resources").key(field).key(name), problem.to_string());
        }
    }
    let mut found = Ask {
        vcpus: cpu.topology(&at.key("cpu"), problems),
        dedicated: cpu.dedicated_cpu_placement.then_some(cpu.isolate_emulator_thread),
        guest_bytes: bytes(memory.guest.as_ref(), &at.key("memory").key("guest"), problems),
        page: memory.hugepages.page_size.clone(),
        requests,
        console_log: devices.log_serial_console != Some(false)
            && devices.autoattach_serial_console != Some(false),
        container_disks: count(volumes.iter().filter(|volume| volume.container_disk.is_some())),
        model: cpu.model.clone().filter(|model| !model.is_empty()),
        instancetype: instancetype.as_ref().and_then(|one| one.read(problems)),
        ..Ask::default()
    };
    if found.instancetype.is_none()
        && instancetype.is_none()
        && memory.guest.is_none()
        && !found.requests.contains_key("memory")
    {
        problems.add(
            at.key("memory").key("guest"),
            "write how much memory the guest has, such as 4Gi, or name an instancetype",
        );
    }
    let pod_network = devices.autoattach_pod_interface != Some(false);
    found.tun = !devices.interfaces.is_empty() || pod_network;
    found.vhost = if devices.interfaces.is_empty() {
        pod_network
    } else {
        devices.interfaces.iter().any(|one| matches!(one.model.as_deref(), None | Some("" | "virtio")))
    };
    for feature in &cpu.features {
        match feature.policy.as_deref() {
            None | Some("" | "require") => {
                found.features.insert(feature.name.clone(), true);
            }
            Some("forbid") => {
                found.features.insert(feature.name.clone(), false);
            }
            Some(_) => {}
        }
    }
    for (list, all) in [("gpus", &devices.gpus), ("hostDevices", &devices.host_devices)] {
        for (index, device) in all.iter().enumerate() {
            if device.device_name.is_empty() {
                problems.add(
                    at.key("devices").key(list).index(index).key("deviceName"),
                    "write the resource that nodes offer, such as nvidia.com/TU104GL_Tesla_T4: claims of devices are not \
                     supported yet",
                );
            } else {
                *found.devices.entry(device.device_name.clone()).or_default() += 1;
            }
        }
    }
    for (index, volume) in data_volume_templates.iter().enumerate() {
        let at = FieldPath::of("dataVolumeTemplates").index(index);
        found.storage_bytes = found.storage_bytes.saturating_add(volume.check(&at, problems));
    }
    found
}

/// The claims of its volumes: those that its templates make, and others.
fn claims(written: &Written) -> (Vec<String>, Vec<String>) {
    let names = written.template.spec.volumes.iter().filter_map(|volume| {
        let Volume { persistent_volume_claim, data_volume, ephemeral, container_disk: _ } = volume;
        let claim = persistent_volume_claim.as_ref().or(ephemeral.persistent_volume_claim.as_ref());
        claim.map(|claim| &claim.claim_name).or(data_volume.as_ref().map(|volume| &volume.name))
    });
    let mut names: Vec<String> = names.filter(|name| !name.is_empty()).cloned().collect();
    names.sort();
    names.dedup();
    let templates = &written.data_volume_templates;
    names.into_iter().partition(|name| {
        templates.iter().any(|one| one.metadata.get("name").and_then(Value::as_str) == Some(name))
    })
}

fn count<T>(of: impl Iterator<Item = T>) -> i64 {
    i64::try_from(of.count()).unwrap_or(i64::MAX)
}

fn bytes(text: Option<&Number>, at: &FieldPath, problems: &mut Problems) -> Option<i64> {
    let Number(text) = text?;
    match Amount::parse(text) {
        Ok(amount) if amount.is_negative() || amount.is_zero() => {
            problems.add(at.clone(), "write more than 0, such as 4Gi");
            None
        }
        Ok(amount) => {
            let bytes = amount.units_ceil();
            if bytes.is_none() {
                problems.add(
                    at.clone(),
                    format!("{text:?} is more than can be counted: write a smaller quantity"),
                );
            }
            bytes
        }
        Err(error) => {
            problems.add(at.clone(), error.to_string());
            None
        }
    }
}

fn texts(amounts: &BTreeMap<String, Number>) -> BTreeMap<String, String> {
    amounts.iter().map(|(name, Number(text))| (name.clone(), text.clone())).collect()
}

impl Cpu {
    /// Virtual CPUs: what is absent is 1; none where nothing is said.
    fn topology(&self, at: &FieldPath, problems: &mut Problems) -> Option<i64> {
        let parts = [("cores", self.cores), ("sockets", self.sockets), ("threads", self.threads)];
        for (field, count) in parts {
            if count.is_some_and(|count| !(0..=4096).contains(&count)) {
                problems.add(at.key(field), "write a whole number from 1 to 4096");
            }
        }
        let said = parts.iter().any(|(_, count)| count.is_some_and(|count| count > 0));
        let product = parts.iter().fold(1_i64, |product, (_, count)| {
            product.saturating_mul(count.filter(|count| *count > 0).unwrap_or(1))
        });
        said.then_some(product)
    }
}

impl Instancetype {
    fn read(&self, problems: &mut Problems) -> Option<(InstancetypeKind, String)> {
        let at = FieldPath::of("instancetype");
        if self.infer_from_volume.as_deref().is_some_and(|volume| !volume.is_empty()) {
            problems.add(
                at.key("inferFromVolume"),
                "write name and kind of the instance type: what it stands for must be known before a volume is there",
            );
            return None;
        }
        if !is_dns_subdomain(&self.name) {
            problems.add(at.key("name"), "write the name of an instance type, such as u1.medium");
            return None;
        }
        let kind = match self.kind.to_lowercase().as_str() {
            "" | "virtualmachineclusterinstancetype" | "virtualmachineclusterinstancetypes" => {
                InstancetypeKind::Cluster
            }
            "virtualmachineinstancetype" | "virtualmachineinstancetypes" => InstancetypeKind::Namespaced,
            _ => {
                problems.add(
                    at.key("kind"),
                    "write VirtualMachineClusterInstancetype or VirtualMachineInstancetype",
                );
                return None;
            }
        };
        Some((kind, self.name.clone()))
    }
}

impl DataVolume {
    /// Checks it; what it asks for, in bytes.
    fn check(&self, at: &FieldPath, problems: &mut Problems) -> i64 {
        for (field, value) in &self.metadata {
            match field.as_str() {
                "namespace" | "ownerReferences" | "finalizers" if refused::says_something(value) => {
                    problems.add(at.key("metadata").key(field), DISKS_HINT);
                }
                "generateName" => {
                    problems.add(at.key("metadata").key(field), "write a name: volumes refer to it");
                }
                _ => {}
            }
        }
        let named = self.metadata.get("name").and_then(Value::as_str).is_some_and(is_dns_subdomain);
        if !named {
            problems
                .add(at.key("metadata").key("name"), "write a name: lower-case letters, digits, '-' and '.'");
        }
        let (field, claim) =
            if self.spec.pvc.is_some() { ("pvc", &self.spec.pvc) } else { ("storage", &self.spec.storage) };
        let asked = claim.as_ref().and_then(|claim| claim.resources.requests.get("storage"));
        let at = at.key("spec").key(field).key("resources").key("requests").key("storage");
        bytes(asked, &at, problems).unwrap_or(0)
    }
}

/// A number or a text: quantities are written as both.
#[derive(Clone, Debug, Default)]
struct Number(String);

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::String(text) => Ok(Self(text)),
            Value::Number(number) => Ok(Self(number.to_string())),
            _ => Err(serde::de::Error::custom("write a quantity such as 4, 500m or 64Gi")),
        }
    }
}

/// `null` as if the field were absent.
fn or_default<'de, T: Deserialize<'de> + Default, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

macro_rules! written {
    ($($(#[$doc:meta])* struct $name:ident { $($field:ident: $type:ty,)* })*) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Debug, Default, Deserialize)]
            #[serde(rename_all = "camelCase", default)]
            #[allow(clippy::struct_field_names, reason = "the names are those of the API")]
            struct $name {
                $(#[serde(deserialize_with = "or_default")] $field: $type,)*
            }
        )*
    };
}

/// The part of a `VirtualMachineSpec` that is read; its template and domain must be there.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Written {
    template: Template,
    #[serde(default)]
    instancetype: Option<Instancetype>,
    #[serde(default, deserialize_with = "or_default")]
    data_volume_templates: Vec<DataVolume>,
}

#[derive(Clone, Debug, Deserialize)]
struct Template {
    spec: VmiSpec,
}

#[derive(Clone, Debug, Deserialize)]
struct VmiSpec {
    domain: Domain,
    #[serde(default, deserialize_with = "or_default")]
    volumes: Vec<Volume>,
}

written! {
    struct Domain { cpu: Cpu, memory: Memory, resources: Resources, devices: Devices, }
    struct Cpu {
        cores: Option<i64>, sockets: Option<i64>, threads: Option<i64>, model: Option<String>,
        features: Vec<Feature>, dedicated_cpu_placement: bool, isolate_emulator_thread: bool,
    }
    struct Feature { name: String, policy: Option<String>, }
    struct Memory { guest: Option<Number>, hugepages: Hugepages, }
    struct Hugepages { page_size: Option<String>, }
    struct Resources { requests: BTreeMap<String, Number>, limits: BTreeMap<String, Number>, }
    struct Devices {
        gpus: Vec<Device>, host_devices: Vec<Device>, interfaces: Vec<Interface>,
        autoattach_pod_interface: Option<bool>, autoattach_serial_console: Option<bool>, log_serial_console: Option<bool>,
    }
    struct Device { device_name: String, }
    struct Interface { model: Option<String>, }
    struct Volume {
        container_disk: Option<Value>, persistent_volume_claim: Option<ClaimRef>, data_volume: Option<VolumeRef>,
        ephemeral: Ephemeral,
    }
    struct ClaimRef { claim_name: String, }
    struct VolumeRef { name: String, }
    struct Ephemeral { persistent_volume_claim: Option<ClaimRef>, }
    struct Instancetype { name: String, kind: String, infer_from_volume: Option<String>, }
    struct DataVolume { metadata: serde_json::Map<String, Value>, spec: DataVolumeSpec, }
    struct DataVolumeSpec { storage: Option<Claim>, pvc: Option<Claim>, }
    struct Claim { resources: Resources, }
}
