//! The pod that a machine runs in.

use serde_json::{Value, json};

use super::{INSTANCE, text, volumes};

const EPHEMERAL: &str = "kubevirt.io/ephemeral-provisioning";
/// Annotations of what runs: a label (`key=value`) that its pods ask of their nodes beside what its template says, and one that
/// the pods that it moves to do.
const ASKS: &str = "sim.weir.dev/launcher-asks";
const TARGET_ASKS: &str = "sim.weir.dev/target-asks";
const MIB: u64 = 1 << 20;

/// Whether a pod only lets volumes be made.
pub fn is_ephemeral(pod: &Value) -> bool {
    pod["metadata"]["annotations"].get(EPHEMERAL).is_some()
}

/// The pod of an instance.
pub fn pod(instance: &Value, ephemeral: bool) -> Value {
    let (name, uid) = (text(instance, "/metadata/name"), text(instance, "/metadata/uid"));
    let mut labels = instance["metadata"]["labels"].clone();
    let mut annotations = instance["metadata"]["annotations"].clone();
    for (key, value) in [
        ("kubevirt.io", "virt-launcher"),
        ("kubevirt.io/created-by", uid),
        ("vm.kubevirt.io/name", name),
        ("vmi.kubevirt.io/id", name),
    ] {
        labels[key] = json!(value);
    }
    annotations["kubevirt.io/domain"] = json!(name);
    annotations["descheduler.alpha.kubernetes.io/request-evict-only"] = json!("");
    if ephemeral {
        annotations[EPHEMERAL] = json!("true");
    }
    let spec = &instance["spec"];
    let (requests, overhead) = requests(&spec["domain"]);
    annotations["kubevirt.io/memory-overhead-bytes"] = json!(overhead.to_string());
    let mut selector = json!({"kubevirt.io/schedulable": "true"});
    for (key, value) in spec["nodeSelector"].as_object().into_iter().flatten() {
        selector[key] = value.clone();
    }
    ask(&mut selector, instance, ASKS);
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": format!("virt-launcher-{name}-{}", suffix(uid, ephemeral)),
            "namespace": instance["metadata"]["namespace"], "labels": labels, "annotations": annotations,
            "ownerReferences": [{
                "apiVersion": "kubevirt.io/v1", "kind": INSTANCE, "name": name, "uid": uid,
                "controller": true, "blockOwnerDeletion": true,
            }],
        },
        "spec": {
            "schedulerName": spec["schedulerName"],
            "restartPolicy": "Never",
            "nodeSelector": selector,
            "tolerations": spec["tolerations"],
            "volumes": volumes::of_pod(instance),
            "terminationGracePeriodSeconds": 1,
            "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
                {"matchExpressions": [{"key": "node-labeller.kubevirt.io/obsolete-host-model", "operator": "DoesNotExist"}]}]}}},
            "initContainers": [{
                "name": "guest-console-log", "image": "registry.example.com/virt-launcher:1", "restartPolicy": "Always",
                "resources": {"requests": {"cpu": "5m", "memory": "35M"}},
            }],
            "containers": [{
                "name": "compute", "image": "registry.example.com/virt-launcher:1",
                "resources": {"requests": requests, "limits": {
                    "devices.kubevirt.io/kvm": "1", "devices.kubevirt.io/tun": "1", "devices.kubevirt.io/vhost-net": "1"}},
            }],
        },
    })
}

/// Adds what the pod that a machine moves to asks for.
pub fn ask_as_target(selector: &mut Value, instance: &Value) {
    ask(selector, instance, TARGET_ASKS);
}

fn ask(selector: &mut Value, instance: &Value, annotation: &str) {
    let asked = instance["metadata"]["annotations"][annotation].as_str().unwrap_or_default();
    if let Some((key, value)) = asked.split_once('=') {
        selector[key] = json!(value);
    }
}

/// Five letters that another instance would not have.
fn suffix(uid: &str, ephemeral: bool) -> String {
    let mut hash = uid.bytes().fold(if ephemeral { 7 } else { 5 }, |hash: u64, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let mut letters = String::new();
    for _ in 0..5 {
        letters.push(char::from(b'a' + u8::try_from(hash % 26).unwrap()));
        hash /= 26;
    }
    letters
}

fn bytes(quantity: &Value) -> Option<u64> {
    let text = quantity.as_str()?;
    let (number, unit) = match text.find(|c: char| !c.is_ascii_digit()) {
        None => (text, 1),
        Some(at) => (
            &text[..at],
            match &text[at..] {
                "Mi" => MIB,
                "Gi" => 1024 * MIB,
                other => panic!("the stand-in knows no {other:?}"),
            },
        ),
    };
    Some(number.parse::<u64>().unwrap() * unit)
}

/// What its container asks for, and the part of its memory that is not the guest's.
fn requests(domain: &Value) -> (Value, u64) {
    let of = |field: &str| domain["cpu"][field].as_u64().unwrap_or(1);
    let vcpus = of("cores") * of("sockets") * of("threads");
    let guest = bytes(&domain["memory"]["guest"]).unwrap_or(1024 * MIB);
    let overhead = guest / 512 + vcpus * 8 * MIB + 264 * MIB;
    let asked = &domain["resources"]["requests"];
    let cpu = asked["cpu"].as_str().map_or_else(|| format!("{}m", vcpus * 100), str::to_owned);
    let memory = bytes(&asked["memory"]).unwrap_or(guest) + overhead;
    let requests = json!({
        "cpu": cpu, "memory": memory.to_string(), "ephemeral-storage": "50M",
        "devices.kubevirt.io/kvm": "1", "devices.kubevirt.io/tun": "1", "devices.kubevirt.io/vhost-net": "1",
    });
    (requests, overhead)
}
