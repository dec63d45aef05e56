//! Fields of a template that Weir sets itself, or that it does not honour yet.

use serde_json::Value;

use crate::api::field::{FieldPath, Problems};

/// Fields that are refused, by their path in the `PodSpec`, with what to do instead.
const REFUSED: &[(&str, &str)] = &[
    ("nodeName", "leave it away: Weir chooses the node"),
    ("schedulerName", "leave it away: Weir places the pod"),
    ("schedulingGates", "leave it away: a workload waits in the pool's queue; use spec.suspend to hold it"),
    ("hostname", "leave it away: Weir sets it to <workload>-<index>"),
    ("subdomain", "leave it away: Weir sets it to the name of the workload"),
    ("ephemeralContainers", "leave it away: they can only be added to a running pod, as kubectl debug does"),
    ("priority", "leave it away: write the priority in spec.priority of the workload"),
    ("priorityClassName", "leave it away: write the class in spec.priorityClassName of the workload"),
    ("preemptionPolicy", "leave it away: the pool says who gives way"),
    ("overhead", "leave it away: it comes from a RuntimeClass, and these are not supported yet"),
    ("runtimeClassName", "runtime classes are not supported yet: leave it away"),
    ("resources", "resources of the whole pod are not supported yet: write them on the containers"),
];

/// Fields of a `VirtualMachineSpec` that are refused, likewise.
const REFUSED_OF_MACHINES: &[(&str, &str)] = &[
    ("running", "leave it away: Weir starts and stops the machine; use spec.suspend to stop it"),
    (
        "runStrategy",
        "leave it away: Weir starts and stops the machine; completion says whether it is started again",
    ),
    ("template.spec.schedulerName", "leave it away: Weir chooses the node"),
    (
        "template.spec.priorityClassName",
        "leave it away: write the class in spec.priorityClassName of the workload",
    ),
];

/// Reports every refused field of a template of machines that is there.
pub(super) fn check_machine(spec: &Value, problems: &mut Problems) {
    for (path, message) in REFUSED_OF_MACHINES {
        let found = path.split('.').try_fold(spec, |value, key| value.get(key));
        if found.is_some_and(says_something) {
            problems.add(FieldPath::of(path), *message);
        }
    }
}

/// Sysctls that a kubelet allows without being told to.
const SAFE_SYSCTLS: &[&str] = &[
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ping_group_range",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.tcp_wmem",
];

/// Reports every refused field that is there. Null, and an empty list or map, say nothing and pass.
pub(super) fn check(spec: &Value, problems: &mut Problems) {
    for (path, message) in REFUSED {
        let found = path.split('.').try_fold(spec, |value, key| value.get(key));
        if found.is_some_and(says_something) {
            problems.add(FieldPath::of(path), *message);
        }
    }
    sysctls(spec, problems);
}

pub(super) fn says_something(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Array(items) => !items.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
        Value::String(text) => !text.is_empty(),
        Value::Bool(_) | Value::Number(_) => true,
    }
}

/// A kubelet refuses a pod with a sysctl that it was not told to allow.
fn sysctls(spec: &Value, problems: &mut Problems) {
    let is_true = |key: &str| spec.get(key).and_then(Value::as_bool) == Some(true);
    let list = spec.pointer("/securityContext/sysctls").and_then(Value::as_array);
    for (index, sysctl) in list.into_iter().flatten().enumerate() {
        let Some(name) = sysctl.get("name").and_then(Value::as_str) else { continue };
        let at = FieldPath::of("securityContext.sysctls").index(index).key("name");
        let dotted = name.replace('/', ".");
        if !SAFE_SYSCTLS.contains(&dotted.as_str()) {
            problems.add(at, format!("{name:?} is not one that every kubelet allows: leave it away"));
        } else if dotted.starts_with("net.") && is_true("hostNetwork") {
            problems.add(at, format!("{name:?} cannot be set with hostNetwork: leave one of them away"));
        } else if dotted.starts_with("kernel.shm") && is_true("hostIPC") {
            problems.add(at, format!("{name:?} cannot be set with hostIPC: leave one of them away"));
        }
    }
}
