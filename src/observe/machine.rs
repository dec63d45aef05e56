//! Templates of virtual machines to the shape of their members: what `KubeVirt` will request for each.
//!
//! Before a machine runs, this is an estimate of what the pod will ask for that `KubeVirt` makes of it; once that pod is
//! seen, what it really asks for counts.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::constraints;
use super::template::{Owner, Template};
use super::terms::{Whose, pod_terms};
use crate::api::kubevirt::{
    CPU_FEATURE, CPU_MANAGER, CPU_MODEL, Configuration, DeveloperConfiguration, InstancetypeSpec, KUBEVIRT,
    LAUNCHER, OBSOLETE_MODEL, ORDERED_MIGRATIONS, SCHEDULABLE,
};
use crate::api::labels;
use crate::api::quantity::{Amount as Quantity, counted};
use crate::api::template::machine::{Ask, InstancetypeKind, Machine};
use crate::model::amount::Amount;
use crate::model::selector::{Labels, Operator, Requirement};
use crate::model::spec::{NamedAmounts, ShapeSpec};
use crate::model::terms::PodTerms;

/// Where the spec of a machine stands in a workload.
pub const FIELD: &str = "spec.template.virtualMachine.spec";

/// The CPU of the node, as far as others can give it, too: what machines have that name none.
const HOST_MODEL: &str = "host-model";
/// What stands in place of a model and names none.
const OF_THE_HOST: [&str; 3] = ["", HOST_MODEL, "host-passthrough"];

const MIB: i64 = 1 << 20;
/// What every machine needs beside its guest's memory: the processes around it, and its picture.
const FIXED_OVERHEAD: i64 = 264 * MIB;
/// For each virtual CPU.
const OVERHEAD_A_CPU: i64 = 8 * MIB;
/// Page tables: a byte for so many of the guest.
const GUEST_BYTES_A_TABLE_BYTE: i64 = 512;
/// Where devices of the node are passed through.
const DEVICES_OVERHEAD: i64 = 1024 * MIB;
/// The container that writes the console's log, and that of each container disk: milli-CPUs and bytes.
const CONSOLE_LOG: (i64, i64) = (5, 35_000_000);
const CONTAINER_DISK: (i64, i64) = (1, 1_000_000);
/// What its container keeps on the node.
const EPHEMERAL_STORAGE: i64 = 50_000_000;

/// How far machines are overcommitted: thousandths of what is requested; none where the pool does not say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Overcommit {
    /// Virtual CPUs for a CPU.
    pub cpu_milli: Option<i64>,
    /// Guest memory for a byte.
    pub memory_milli: Option<i64>,
}

/// The settings of the cluster's `KubeVirt`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    cpu_milli: i64,
    memory_percent: i64,
    emulation: bool,
    orders_migrations: bool,
    /// The CPU model of machines that name none.
    model: Option<String>,
}

impl Default for Cluster {
    fn default() -> Self {
        Self::of(&Configuration::default())
    }
}

impl Cluster {
    /// As they are written.
    pub fn of(written: &Configuration) -> Self {
        let Configuration { developer_configuration, cpu_model } = written;
        let DeveloperConfiguration { cpu_allocation_ratio, memory_overcommit, feature_gates, use_emulation } =
            developer_configuration;
        let positive = |value: Option<i64>, default| value.filter(|value| *value > 0).unwrap_or(default);
        Self {
            cpu_milli: positive(*cpu_allocation_ratio, 10).saturating_mul(1000),
            memory_percent: positive(*memory_overcommit, 100),
            emulation: *use_emulation,
            orders_migrations: feature_gates.iter().any(|one| one == ORDERED_MIGRATIONS),
            model: cpu_model.clone().filter(|model| !model.is_empty()),
        }
    }

    /// Whether migrations have priorities.
    pub fn orders_migrations(&self) -> bool {
        self.orders_migrations
    }
}

/// What one pool says of ratios, in thousandths; what cannot be read is left to the pool's schema.
pub fn milli(ratio: Option<&crate::api::Quantity>) -> Option<i64> {
    Quantity::parse(ratio?.as_str()).ok()?.milli_ceil().filter(|milli| *milli > 0)
}

/// What is written into a machine's requests since its template does not say: cpu and memory.
pub fn written(machine: &Machine, overcommit: Overcommit) -> BTreeMap<&'static str, String> {
    let Ask { vcpus, dedicated, guest_bytes, page, requests, instancetype, .. } = &machine.ask;
    let mut written = BTreeMap::new();
    if instancetype.is_some() {
        // KubeVirt refuses requests beside an instance type.
        return written;
    }
    if let Some(ratio) = overcommit.cpu_milli.filter(|_| dedicated.is_none() && !requests.contains_key("cpu"))
    {
        let cpus = divided(vcpus.unwrap_or(1), 1_000_000, ratio);
        written.insert("cpu", format!("{}m", cpus.max(1)));
    }
    if let (Some(ratio), Some(guest)) = (overcommit.memory_milli, guest_bytes)
        && page.is_none()
        && !requests.contains_key("memory")
    {
        written.insert("memory", divided(*guest, 1000, ratio).to_string());
    }
    written
}

/// The shape of members that are made from a template.
///
/// # Errors
/// What is missing, with its field.
pub fn shape(
    machine: &Machine,
    overcommit: Overcommit,
    cluster: &Cluster,
    size: Option<&InstancetypeSpec>,
) -> Result<ShapeSpec, String> {
    let mut ask = machine.ask.clone();
    ask.model = ask.model.or_else(|| size?.cpu.model.clone()).or_else(|| cluster.model.clone());
    ask.requests.extend(written(machine, overcommit).into_iter().map(|(name, text)| (name.to_owned(), text)));
    let mut overcommitted = None;
    match (&ask.instancetype, size) {
        (Some(_), Some(size)) => overcommitted = resize(&mut ask, size)?,
        (Some((kind, name)), None) => return Err(missing(*kind, name)),
        (None, _) => {}
    }
    let mut shape = constraints::shape(&machine.nodes)?;
    let (requests, overhead) = requests(&ask, cluster, overcommitted)?;
    (shape.requests, shape.overhead) = (requests, Amount::new(overhead));
    shape.selector.extend(selector(&ask));
    for (key, value) in size.into_iter().flat_map(|size| &size.node_selector) {
        shape.selector.push(is(key.clone(), value));
    }
    shape.host_model = matches!(ask.model.as_deref(), None | Some("" | HOST_MODEL));
    Ok(shape)
}

/// What the pods of a workload's machines say of the pods around.
///
/// # Errors
/// What is wrong, with its field.
pub fn terms(
    template: &Template,
    machine: &Machine,
    owner: Owner<'_>,
) -> Result<Option<Box<PodTerms>>, String> {
    if !constraints::has_terms(&machine.nodes) {
        return Ok(None);
    }
    // The pod has the labels of what runs of the machine, and KubeVirt's.
    let spec = template.machine_spec().map(|(_, spec)| spec).unwrap_or_default();
    let own = spec.pointer("/template/metadata/labels").and_then(serde_json::Value::as_object);
    let own = own.into_iter().flatten().filter_map(|(key, value)| Some((key.as_str(), value.as_str()?)));
    let ours = [
        (labels::POOL, owner.pool),
        (labels::WORKLOAD, owner.name),
        (labels::WORKLOAD_UID, owner.uid),
        (KUBEVIRT, LAUNCHER),
    ];
    let all: Labels = own.chain(ours).map(|(key, value)| (Arc::from(key), Arc::from(value))).collect();
    let namespace: Arc<str> = owner.namespace.into();
    pod_terms(&machine.nodes, Whose { namespace: &namespace, labels: &all })
        .map_err(|problem| format!("{FIELD}.template.spec.{problem}"))
}

fn missing(kind: InstancetypeKind, name: &str) -> String {
    let kind = match kind {
        InstancetypeKind::Cluster => "VirtualMachineClusterInstancetype",
        InstancetypeKind::Namespaced => "VirtualMachineInstancetype",
    };
    format!(
        "{FIELD}.instancetype: there is no {kind} {name:?}: create it, or write the name of another, or write \
         template.spec.domain.cpu and memory in its place"
    )
}

/// Takes the size in place of what the template does not say; what of its memory is not requested, in percent.
fn resize(ask: &mut Ask, size: &InstancetypeSpec) -> Result<Option<i64>, String> {
    let InstancetypeSpec { cpu, memory, gpus, host_devices, node_selector: _ } = size;
    ask.vcpus = Some(cpu.guest.max(1));
    if cpu.dedicated_cpu_placement {
        ask.dedicated = Some(cpu.isolate_emulator_thread);
    }
    let guest =
        memory.guest.as_deref().and_then(|guest| counted("memory", guest).ok()).filter(|guest| *guest > 0);
    let name = ask.instancetype.as_ref().map(|(_, name)| name.as_str()).unwrap_or_default();
    let missing = || format!("{FIELD}.instancetype: {name:?} does not say how much memory.guest it has");
    ask.guest_bytes = Some(guest.ok_or_else(missing)?);
    ask.page = memory.hugepages.page_size.clone().or_else(|| ask.page.take());
    for device in gpus.iter().chain(host_devices).filter(|device| !device.device_name.is_empty()) {
        *ask.devices.entry(device.device_name.clone()).or_default() += 1;
    }
    Ok(memory.overcommit_percent.filter(|percent| (1..100).contains(percent)))
}

/// What the pod of a machine asks for, and what of its memory is not the guest's.
fn requests(ask: &Ask, cluster: &Cluster, overcommitted: Option<i64>) -> Result<(NamedAmounts, i64), String> {
    let own = |name: &str| ask.requests.get(name).and_then(|text| counted(name, text).ok());
    let vcpus = ask.vcpus.or_else(|| own("cpu").map(|milli| divided(milli, 1, 1000))).unwrap_or(1).max(1);
    let Some(guest) = ask.guest_bytes.or_else(|| own("memory")) else {
        return Err(format!(
            "{FIELD}.template.spec.domain.memory.guest: write how much memory the guest has"
        ));
    };
    let cpu = own("cpu").unwrap_or_else(|| match ask.dedicated {
        Some(emulator) => vcpus.saturating_add(i64::from(emulator)).saturating_mul(1000),
        None => divided(vcpus, 1_000_000, cluster.cpu_milli),
    });
    let asked = own("memory").unwrap_or_else(|| match overcommitted {
        Some(percent) => divided(guest, 100 - percent, 100),
        None => divided(guest, 100, cluster.memory_percent),
    });
    let overhead = FIXED_OVERHEAD
        .saturating_add(OVERHEAD_A_CPU.saturating_mul(vcpus))
        .saturating_add(divided(guest, 1, GUEST_BYTES_A_TABLE_BYTE))
        .saturating_add(if ask.devices.is_empty() { 0 } else { DEVICES_OVERHEAD });
    let (log_cpu, log_memory) = if ask.console_log { CONSOLE_LOG } else { (0, 0) };
    let (disk_cpu, disk_memory) = CONTAINER_DISK;
    let disks = ask.container_disks;
    let mut amounts: BTreeMap<&str, i64> = BTreeMap::new();
    amounts.insert("cpu", sum(&[cpu, log_cpu, disk_cpu.saturating_mul(disks)]));
    let around = sum(&[overhead, log_memory, disk_memory.saturating_mul(disks)]);
    let pages = ask.page.as_ref().map(|page| format!("hugepages-{page}"));
    match &pages {
        Some(pages) => {
            amounts.insert("memory", around);
            amounts.insert(pages, asked);
        }
        None => {
            amounts.insert("memory", asked.saturating_add(around));
        }
    }
    amounts.insert("ephemeral-storage", EPHEMERAL_STORAGE);
    amounts.insert("pods", 1);
    let devices = [("kvm", !cluster.emulation), ("tun", ask.tun), ("vhost-net", ask.vhost)];
    let mut named: NamedAmounts =
        amounts.into_iter().map(|(name, amount)| (Arc::from(name), Amount::new(amount))).collect();
    for (device, _) in devices.into_iter().filter(|(_, wanted)| *wanted) {
        named.insert(format!("devices.kubevirt.io/{device}").into(), Amount::new(1));
    }
    for (device, count) in &ask.devices {
        named.insert(device.as_str().into(), Amount::new(*count));
    }
    for (name, text) in &ask.requests {
        if !matches!(name.as_str(), "cpu" | "memory") && !named.contains_key(name.as_str()) {
            let amount = counted(name, text).map_err(|error| format!("{FIELD}: {name}: {error}"))?;
            named.insert(name.as_str().into(), Amount::new(amount));
        }
    }
    named.insert("requests.storage".into(), Amount::new(ask.storage_bytes));
    named.retain(|_, amount| !amount.is_zero());
    Ok((named, overhead))
}

fn is(key: String, value: &str) -> Requirement {
    Requirement { key: key.into(), operator: Operator::In, values: vec![Arc::from(value)] }
}

/// Labels that nodes must have beside what the template says.
fn selector(ask: &Ask) -> Vec<Requirement> {
    let absent =
        |key: &str| Requirement { key: key.into(), operator: Operator::DoesNotExist, values: Vec::new() };
    let mut selector = vec![is(SCHEDULABLE.to_owned(), "true"), absent(OBSOLETE_MODEL)];
    if ask.dedicated.is_some() {
        selector.push(is(CPU_MANAGER.to_owned(), "true"));
    }
    let named = ask.model.as_ref().filter(|model| !OF_THE_HOST.contains(&model.as_str()));
    selector.extend(named.map(|model| is(format!("{CPU_MODEL}{model}"), "true")));
    for (feature, wanted) in &ask.features {
        let label = format!("{CPU_FEATURE}{feature}");
        selector.push(if *wanted { is(label, "true") } else { absent(&label) });
    }
    selector
}

fn sum(amounts: &[i64]) -> i64 {
    amounts.iter().fold(0, |sum: i64, amount| sum.saturating_add(*amount))
}

/// `amount` times `times` over `by`, rounded up.
fn divided(amount: i64, times: i64, by: i64) -> i64 {
    let by = i128::from(by.max(1));
    let product = i128::from(amount) * i128::from(times);
    i64::try_from(product.div_euclid(by) + i128::from(product.rem_euclid(by) != 0)).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::template::check_machine_template;
    use serde_json::{Value, json};

    fn machine(domain: &Value) -> Machine {
        check_machine_template(&json!({"template": {"spec": {"domain": domain}}})).unwrap()
    }

    fn asked(domain: &Value, overcommit: Overcommit) -> BTreeMap<String, i64> {
        let shape = shape(&machine(domain), overcommit, &Cluster::default(), None).unwrap();
        shape.requests.iter().map(|(name, amount)| (name.to_string(), amount.units())).collect()
    }

    /// As a real virt-controller made it: see `docs/virtual-machines.md`.
    #[test]
    fn a_machine_of_four_cores_and_8gi_asks_for_what_kubevirt_asks_for() {
        let asked = asked(&json!({"cpu": {"cores": 4}, "memory": {"guest": "8Gi"}}), Overcommit::default());
        assert_eq!(asked["cpu"], 405);
        assert_eq!(asked["memory"], 8504 * MIB + 35_000_000);
        for device in ["kvm", "tun", "vhost-net"] {
            assert_eq!(asked[&format!("devices.kubevirt.io/{device}")], 1, "{device}");
        }
        assert_eq!((asked["ephemeral-storage"], asked["pods"]), (50_000_000, 1));
    }

    #[test]
    fn what_the_template_says_goes_before_what_the_pool_says_and_that_before_the_cluster() {
        let pool = Overcommit { cpu_milli: Some(4000), memory_milli: Some(1250) };
        let asks = |domain: &Value| {
            let asked = asked(domain, pool);
            (asked["cpu"] - 5, asked["memory"])
        };
        let plain = json!({"cpu": {"cores": 2, "sockets": 2, "threads": 2}, "memory": {"guest": "8000Mi"}});
        let overhead = |guest_mib: i64| (264 + 64) * MIB + guest_mib * MIB / 512 + 35_000_000;
        assert_eq!(asks(&plain), (2000, 6400 * MIB + overhead(8000)));
        let mut said = plain.clone();
        said["resources"] = json!({"requests": {"cpu": "3", "memory": "1000Mi"}});
        assert_eq!(asks(&said), (3000, 1000 * MIB + overhead(8000)));
        let mut dedicated = plain;
        dedicated["cpu"]["dedicatedCpuPlacement"] = json!(true);
        dedicated["cpu"]["isolateEmulatorThread"] = json!(true);
        assert_eq!(asks(&dedicated).0, 9000);
    }

    #[test]
    fn huge_pages_and_devices_are_asked_of_the_node() {
        let asked = asked(
            &json!({"memory": {"guest": "1Gi", "hugepages": {"pageSize": "2Mi"}},
                    "devices": {"gpus": [{"name": "a", "deviceName": "nvidia.com/T4"}, {"name": "b", "deviceName": "nvidia.com/T4"}],
                                "autoattachPodInterface": false, "autoattachSerialConsole": false}}),
            Overcommit::default(),
        );
        assert_eq!((asked["hugepages-2Mi"], asked["nvidia.com/T4"], asked["cpu"]), (1 << 30, 2, 100));
        assert_eq!(asked["memory"], (264 + 8 + 2 + 1024) * MIB);
        assert!(!asked.contains_key("devices.kubevirt.io/tun"));
    }

    #[test]
    fn a_size_stands_in_place_of_a_topology_and_one_that_is_not_there_is_named() {
        let spec =
            json!({"instancetype": {"name": "u1.large"}, "template": {"spec": {"domain": {"devices": {}}}}});
        let machine = check_machine_template(&spec).unwrap();
        let problem = shape(&machine, Overcommit::default(), &Cluster::default(), None).unwrap_err();
        assert!(problem.contains("there is no VirtualMachineClusterInstancetype \"u1.large\""), "{problem}");
        let size = serde_json::from_value(json!({"cpu": {"guest": 2}, "memory": {"guest": "8Gi"}})).unwrap();
        let asked =
            shape(&machine, Overcommit::default(), &Cluster::default(), Some(&size)).unwrap().requests;
        assert_eq!(asked.get("cpu"), Some(&Amount::new(205)));
        assert_eq!(asked.get("memory"), Some(&Amount::new((8192 + 264 + 16 + 16) * MIB + 35_000_000)));
    }

    #[test]
    fn a_size_with_cpus_of_its_own_asks_for_all_of_them() {
        let spec =
            json!({"instancetype": {"name": "cx1.large"}, "template": {"spec": {"domain": {"devices": {}}}}});
        let size = json!({
            "annotations": {"instancetype.kubevirt.io/version": "1"},
            "cpu": {"dedicatedCPUPlacement": true, "guest": 8, "isolateEmulatorThread": true, "model": "host-passthrough"},
            "ioThreadsPolicy": "auto",
            "memory": {"guest": "16Gi", "hugepages": {"pageSize": "2Mi"}},
            "nodeSelector": {"size": "large"},
        });
        let size = serde_json::from_value(size).unwrap();
        let machine = check_machine_template(&spec).unwrap();
        let shape = shape(&machine, Overcommit::default(), &Cluster::default(), Some(&size)).unwrap();
        assert_eq!(shape.requests.get("cpu"), Some(&Amount::new(9005)));
        assert_eq!(shape.requests.get("hugepages-2Mi"), Some(&Amount::new(16 << 30)));
        let keys: Vec<&str> = shape.selector.iter().map(|one| &*one.key).collect();
        assert_eq!(keys.iter().filter(|key| ["cpumanager", "size"].contains(key)).count(), 2, "{keys:?}");
    }

    #[test]
    fn nodes_must_be_able_to_run_it() {
        let machine = machine(&json!({"memory": {"guest": "1Gi"}, "cpu": {"model": "Haswell", "features": [
            {"name": "vmx"}, {"name": "hle", "policy": "forbid"}, {"name": "x", "policy": "optional"}]}}));
        let shape = shape(&machine, Overcommit::default(), &Cluster::default(), None).unwrap();
        let keys: Vec<&str> = shape.selector.iter().map(|one| &*one.key).collect();
        assert_eq!(
            keys,
            [
                "kubevirt.io/schedulable",
                "node-labeller.kubevirt.io/obsolete-host-model",
                "cpu-model.node.kubevirt.io/Haswell",
                "cpu-feature.node.kubevirt.io/hle",
                "cpu-feature.node.kubevirt.io/vmx"
            ]
        );
    }
}
