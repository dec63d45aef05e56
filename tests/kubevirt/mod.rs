//! A stand-in for `KubeVirt`'s virt-controller and virt-handler: it does what Weir depends on, as the real ones were seen
//! to do it. It is part of the tests and of no program that is shipped.
//!
//! One pure function says what follows from the objects as they are; the pure runner carries that out in memory, and
//! [`real`] on a control plane.

pub mod crds;
pub mod launcher;
pub mod migration;
pub mod real;
pub mod volumes;

use serde_json::{Value, json};

/// The objects that it looks at.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// `VirtualMachine`s.
    pub machines: Vec<Value>,
    /// `VirtualMachineInstance`s.
    pub instances: Vec<Value>,
    /// `VirtualMachineInstanceMigration`s.
    pub migrations: Vec<Value>,
    /// Pods of running machines.
    pub pods: Vec<Value>,
    /// `PersistentVolumeClaim`s.
    pub claims: Vec<Value>,
}

/// What it does.
#[derive(Clone, Debug, PartialEq)]
pub enum Act {
    /// Create this.
    Create(Value),
    /// Merge this into an object: kind, namespace, name, resourceVersion, patch.
    Patch(&'static str, String, String, String, Value),
    /// Delete an object: kind, namespace, name, UID.
    Delete(&'static str, String, String, String),
}

/// The kind of machines.
pub const MACHINE: &str = "VirtualMachine";
/// The kind of what runs of a machine.
pub const INSTANCE: &str = "VirtualMachineInstance";
const POD: &str = "Pod";
const MACHINE_FINALIZER: &str = "kubevirt.io/virtualMachineControllerFinalize";
const INSTANCE_FINALIZER: &str = "foregroundDeleteVirtualMachine";

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn is_deleting(object: &Value) -> bool {
    !object["metadata"]["deletionTimestamp"].is_null()
}

fn controller(object: &Value) -> &str {
    text(object, "/metadata/ownerReferences/0/uid")
}

fn patch(kind: &'static str, object: &Value, patch: Value) -> Act {
    let of = |field: &str| text(object, &format!("/metadata/{field}")).to_owned();
    Act::Patch(kind, of("namespace"), of("name"), of("resourceVersion"), patch)
}

fn delete(kind: &'static str, object: &Value) -> Act {
    let of = |field: &str| text(object, &format!("/metadata/{field}")).to_owned();
    Act::Delete(kind, of("namespace"), of("name"), of("uid"))
}

/// What the webhook says of migrations of machines whose names begin with [`IMMOVABLE`].
pub const CANNOT_MIGRATE: &str =
    "Cannot migrate VMI, Reason: DisksNotLiveMigratable, Message: cannot migrate VMI: PVC root is not shared";
/// What it says of migrations with a priority, unless they are of its own controllers.
pub const KEEPS_PRIORITIES: &str = "spec.priority: only virt-controller may set it";
/// So begin the names of machines whose migrations are refused.
pub const IMMOVABLE: &str = "immovable";

/// Why the webhooks would refuse a machine, or a migration.
pub fn refusal(machine: &Value) -> Option<String> {
    if machine["kind"] == migration::MIGRATION {
        if !machine["spec"]["priority"].is_null() {
            return Some(KEEPS_PRIORITIES.to_owned());
        }
        return text(machine, "/spec/vmiName").starts_with(IMMOVABLE).then(|| CANNOT_MIGRATE.to_owned());
    }
    let disks = machine.pointer("/spec/template/spec/domain/devices/disks").and_then(Value::as_array)?;
    let twice =
        (1..disks.len()).find(|at| disks[..*at].iter().any(|one| one["name"] == disks[*at]["name"]))?;
    Some(format!(
        "spec.template.spec.domain.devices.disks[{twice}]: Duplicate value: {}",
        disks[twice]["name"]
    ))
}

/// What follows from the objects as they are: one step of each, at most.
pub fn step(seen: &Snapshot) -> Vec<Act> {
    let mut acts = Vec::new();
    for machine in &seen.machines {
        let uid = text(machine, "/metadata/uid");
        let instance = seen.instances.iter().find(|one| controller(one) == uid);
        acts.extend(of_machine(machine, instance));
        acts.extend(volumes::of_machine(machine, &seen.claims));
    }
    acts.extend(seen.claims.iter().flat_map(volumes::provision));
    for instance in &seen.instances {
        let uid = text(instance, "/metadata/uid");
        let pods: Vec<&Value> = seen.pods.iter().filter(|pod| controller(pod) == uid).collect();
        acts.extend(of_instance(instance, &pods, &seen.claims));
        // A migration that was deleted takes its pod with it, unless the machine is there already.
        let node = text(instance, "/status/nodeName");
        let left = pods.iter().filter(|pod| {
            let job = text(pod, "/metadata/labels/kubevirt.io~1migrationJobUID");
            let is_there = seen.migrations.iter().any(|one| text(one, "/metadata/uid") == job);
            migration::is_target(pod) && !is_there && text(pod, "/spec/nodeName") != node && !is_deleting(pod)
        });
        acts.extend(left.map(|pod| delete(POD, pod)));
    }
    for one in &seen.migrations {
        let instance = seen.instances.iter().find(|instance| {
            instance["metadata"]["name"] == one["spec"]["vmiName"]
                && instance["metadata"]["namespace"] == one["metadata"]["namespace"]
        });
        let uid = instance.map_or("", |instance| text(instance, "/metadata/uid"));
        let pods: Vec<&Value> = seen.pods.iter().filter(|pod| controller(pod) == uid).collect();
        acts.extend(migration::step(one, instance, &pods));
    }
    acts
}

fn of_machine(machine: &Value, instance: Option<&Value>) -> Option<Act> {
    let held = machine["metadata"]["finalizers"].as_array().is_some_and(|all| !all.is_empty());
    if is_deleting(machine) {
        return match instance {
            Some(instance) if is_deleting(instance) => None,
            Some(instance) => Some(delete(INSTANCE, instance)),
            None if held => Some(patch(MACHINE, machine, json!({"metadata": {"finalizers": null}}))),
            None => None,
        };
    }
    if !held {
        return Some(patch(MACHINE, machine, json!({"metadata": {"finalizers": [MACHINE_FINALIZER]}})));
    }
    let strategy = text(machine, "/spec/runStrategy");
    let ended = |instance: &Value| matches!(text(instance, "/status/phase"), "Succeeded" | "Failed");
    let fails = text(machine, "/spec/template/metadata/annotations/sim.weir.dev~1volume") == "fail";
    let (act, status) = match (strategy, instance) {
        ("Always" | "Once", None) if fails => (None, "DataVolumeError"),
        (_, Some(instance)) if is_deleting(instance) => (None, "Stopping"),
        ("Halted", Some(instance)) => (Some(delete(INSTANCE, instance)), "Stopping"),
        ("Halted", None) => (None, "Stopped"),
        ("Always", Some(instance)) if ended(instance) => (Some(delete(INSTANCE, instance)), "Stopping"),
        (_, Some(instance)) if ended(instance) => (None, "Stopped"),
        (_, Some(instance)) if text(instance, "/status/phase") == "Running" => (None, "Running"),
        (_, Some(_)) => (None, "Starting"),
        (_, None) => (Some(Act::Create(instance_of(machine))), "Starting"),
    };
    act.or_else(|| {
        let changed = text(machine, "/status/printableStatus") != status;
        let conditions = if status == "DataVolumeError" {
            json!([{"type": "Failure", "status": "True", "reason": "FailedCreate",
                    "message": "DataVolume root: unable to connect to the registry"}])
        } else {
            Value::Null
        };
        let status = json!({"printableStatus": status, "conditions": conditions});
        changed.then(|| patch(MACHINE, machine, json!({"status": status})))
    })
}

fn instance_of(machine: &Value) -> Value {
    let template = &machine["spec"]["template"];
    json!({
        "apiVersion": "kubevirt.io/v1", "kind": INSTANCE,
        "metadata": {
            "name": machine["metadata"]["name"], "namespace": machine["metadata"]["namespace"],
            "labels": template["metadata"]["labels"], "annotations": template["metadata"]["annotations"],
            "finalizers": [INSTANCE_FINALIZER],
            "ownerReferences": [{
                "apiVersion": "kubevirt.io/v1", "kind": MACHINE, "name": machine["metadata"]["name"],
                "uid": machine["metadata"]["uid"], "controller": true, "blockOwnerDeletion": true,
            }],
        },
        "spec": template["spec"],
        "status": {"phase": "Pending"},
    })
}

fn of_instance(instance: &Value, pods: &[&Value], claims: &[Value]) -> Option<Act> {
    if is_deleting(instance) {
        if let Some(pod) = pods.iter().find(|pod| !is_deleting(pod)) {
            return Some(delete(POD, pod));
        }
        let held = instance["metadata"]["finalizers"].as_array().is_some_and(|all| !all.is_empty());
        let gone = pods.is_empty() && held;
        return gone.then(|| patch(INSTANCE, instance, json!({"metadata": {"finalizers": null}})));
    }
    let set = |phase: &str| Some(patch(INSTANCE, instance, json!({"status": {"phase": phase}})));
    // The pod on its node; the target of a move counts when it is there.
    let node = text(instance, "/status/nodeName");
    let others = || pods.iter().filter(|pod| !launcher::is_ephemeral(pod));
    let here = others().find(|pod| !node.is_empty() && text(pod, "/spec/nodeName") == node);
    let pod = here.or_else(|| others().find(|pod| !migration::is_target(pod)));
    let ended = pod.and_then(|pod| match text(pod, "/status/phase") {
        "Succeeded" => Some("Succeeded"),
        "Failed" => Some("Failed"),
        _ => None,
    });
    let phase = text(instance, "/status/phase");
    match phase {
        "Succeeded" | "Failed" => None,
        "Scheduled" | "Running" if pod.is_none() => set("Failed"),
        _ if ended.is_some() => set(ended.unwrap_or_default()),
        "" | "Pending" => set("Scheduling"),
        "Scheduling" => match pod {
            None => provision(instance, pods, claims),
            Some(pod) if text(pod, "/status/phase") == "Running" => {
                let (node, uid) = (&pod["spec"]["nodeName"], text(pod, "/metadata/uid"));
                Some(patch(
                    INSTANCE,
                    instance,
                    json!({
                        "metadata": {"labels": {"kubevirt.io/nodeName": node}},
                        "status": {"phase": "Scheduled", "nodeName": node, "activePods": {uid: node}},
                    }),
                ))
            }
            Some(_) => None,
        },
        "Scheduled" => {
            let movable = text(instance, "/metadata/annotations/sim.weir.dev~1live-migratable") != "false";
            let since = pod.map_or(&Value::Null, |pod| &pod["status"]["startTime"]);
            let condition = |kind: &str, holds: bool| json!({"type": kind, "status": if holds { "True" } else { "False" }, "lastTransitionTime": since});
            let conditions = [condition("Ready", true), condition("LiveMigratable", movable)];
            Some(patch(
                INSTANCE,
                instance,
                json!({"status": {"phase": "Running", "migrationMethod": "LiveMigration", "conditions": conditions}}),
            ))
        }
        _ => None,
    }
}

/// The pod of an instance; before it, where its volumes wait for a first consumer, one that only lets them be made.
fn provision(instance: &Value, pods: &[&Value], claims: &[Value]) -> Option<Act> {
    let waits = volumes::wait_for_a_consumer(instance);
    let ephemeral = pods.iter().find(|pod| launcher::is_ephemeral(pod));
    let made = volumes::are_made(instance, claims);
    match ephemeral {
        None if waits && !made => Some(Act::Create(launcher::pod(instance, true))),
        None => Some(Act::Create(launcher::pod(instance, false))),
        Some(pod) if made && !is_deleting(pod) => Some(delete(POD, pod)),
        Some(_) => None,
    }
}
