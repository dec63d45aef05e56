//! The virtual machine of a member: the template, and what Weir says of it; and the writes that concern machines.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::api::kubevirt::{ALWAYS, API_VERSION, INSTANCE_MIGRATION, MACHINE, ONCE, SCHEDULER};
use crate::api::template::machine::Machine;
use crate::api::{self, labels};
use crate::decide::decision::Placement;
use crate::model::spec::{Completion, MemberRef, WorkloadSpec};
use crate::observe::machine::{Overcommit, written};
use crate::observe::names;

use super::pod::tolerates;

/// The label of nodes that a migration chooses one by.
/// The label of nodes for their host.
pub const HOSTNAME: &str = "kubernetes.io/hostname";

/// One write about a machine.
#[derive(Clone, Debug, PartialEq)]
pub enum MachineWrite {
    /// Create the machine of a member, or tell it to run again. It keeps its name and its disks.
    Start {
        /// Which member.
        member: MemberRef,
        /// Namespace of the machine.
        namespace: Arc<str>,
        /// Its name.
        name: Arc<str>,
        /// The machine, whole.
        machine: Box<Value>,
    },
    /// Tell a machine to stop. Its disks stay.
    Halt {
        /// Its namespace.
        namespace: Arc<str>,
        /// Its name.
        name: Arc<str>,
        /// Its UID, a precondition.
        uid: Arc<str>,
    },
    /// Delete a machine, with its disks.
    Delete {
        /// Its namespace.
        namespace: Arc<str>,
        /// Its name.
        name: Arc<str>,
        /// Its UID, a precondition.
        uid: Arc<str>,
    },
    /// Delete what is left of an earlier run: its machine is told to run another.
    DeleteInstance {
        /// Its namespace.
        namespace: Arc<str>,
        /// Its name.
        name: Arc<str>,
        /// Its UID, a precondition.
        uid: Arc<str>,
    },
    /// Move what runs of a machine to another node, while it runs.
    Migrate {
        /// Which member.
        member: MemberRef,
        /// Which move of it.
        attempt: u32,
        /// Its namespace.
        namespace: Arc<str>,
        /// The migration, whole.
        migration: Box<Value>,
    },
    /// End a migration: what runs stays where it is.
    DeleteMigration {
        /// Its namespace.
        namespace: Arc<str>,
        /// Its name.
        name: Arc<str>,
        /// Its UID, a precondition.
        uid: Arc<str>,
    },
    /// Let a machine's template name the node that it is on.
    Settle {
        /// Its namespace.
        namespace: Arc<str>,
        /// Its name.
        name: Arc<str>,
        /// Its UID, a precondition.
        uid: Arc<str>,
        /// The node.
        node: Arc<str>,
    },
    /// Say for which node the volume of a claim is to be made.
    SelectNode {
        /// Its namespace.
        namespace: Arc<str>,
        /// Name of the claim.
        claim: Arc<str>,
        /// The node.
        node: Arc<str>,
    },
    /// Bind a pod to a node.
    Bind {
        /// Its namespace.
        namespace: Arc<str>,
        /// Its name.
        name: Arc<str>,
        /// Its UID, a precondition.
        uid: Arc<str>,
        /// The node.
        node: Arc<str>,
    },
    /// Ask `KubeVirt`, by a dry run, whether it takes a machine.
    Check {
        /// UID of the workload.
        workload: Arc<str>,
        /// Its generation.
        generation: i64,
        /// Namespace of the machine.
        namespace: Arc<str>,
        /// The machine, whole.
        machine: Box<Value>,
    },
}

/// What the machines of one workload have in common.
#[derive(Clone, Copy, Debug)]
pub struct Workload<'a> {
    /// `metadata.uid`.
    pub uid: &'a Arc<str>,
    /// `metadata.namespace`.
    pub namespace: &'a Arc<str>,
    /// `metadata.name`.
    pub name: &'a Arc<str>,
    /// The pool that is charged.
    pub pool: &'a str,
    /// Members that are wanted: with more than one, each has disks of its own.
    pub replicas: u32,
    /// When it is done.
    pub completion: Completion,
    /// Labels of the template.
    pub labels: &'a BTreeMap<String, String>,
    /// Annotations of the template.
    pub annotations: &'a BTreeMap<String, String>,
    /// What the template says.
    pub machine: &'a Machine,
    /// The template's spec, as it was given.
    pub spec: &'a Value,
    /// How far machines of the pool are overcommitted.
    pub overcommit: Overcommit,
    /// What is charged and not asked of nodes, since none offers it.
    pub left_out: &'a [&'a str],
    /// The dedicated pool whose taint members tolerate.
    pub dedicated: Option<&'a str>,
}

/// The machine of a member.
pub fn machine(workload: &Workload<'_>, placement: &Placement) -> Value {
    let Placement { index, attempt, node } = placement;
    let mut spec = workload.spec.clone();
    // A machine that shall end is started once: how often it is tried again is counted here.
    spec["runStrategy"] = json!(match workload.completion {
        Completion::KeepRunning => ALWAYS,
        Completion::RunToCompletion => ONCE,
    });
    if workload.replicas > 1 {
        own_disks(&mut spec, *index);
    }
    let ours: BTreeMap<&str, String> = [
        (labels::POOL, workload.pool.to_owned()),
        (labels::WORKLOAD, workload.name.to_string()),
        (labels::WORKLOAD_UID, workload.uid.to_string()),
        (labels::INDEX, index.to_string()),
    ]
    .into();
    let template = &mut spec["template"];
    put(&mut template["metadata"], "labels", &ours);
    template["metadata"]["labels"][labels::ATTEMPT] = json!(names::shown_attempt(*attempt).to_string());
    template["metadata"]["annotations"][labels::NODE] = json!(node);
    template["spec"]["schedulerName"] = json!(SCHEDULER);
    if let Some(pool) = workload.dedicated {
        tolerate(&mut template["spec"]["tolerations"], pool);
    }
    for field in ["requests", "limits"] {
        let asked =
            template.pointer_mut(&format!("/spec/domain/resources/{field}")).and_then(Value::as_object_mut);
        if let Some(asked) = asked {
            asked.retain(|name, _| !workload.left_out.contains(&name.as_str()));
        }
    }
    for (resource, amount) in written(workload.machine, workload.overcommit) {
        template["spec"]["domain"]["resources"]["requests"][resource] = json!(amount);
    }
    let mut metadata = json!({
        "name": names::host(workload.name, *index),
        "namespace": workload.namespace,
        "labels": workload.labels,
        "annotations": workload.annotations,
        "ownerReferences": [{
            "apiVersion": api::API_VERSION, "kind": "PooledWorkload", "name": workload.name, "uid": workload.uid,
            "controller": true, "blockOwnerDeletion": false,
        }],
    });
    put(&mut metadata, "labels", &ours);
    // What was written is told apart by this from what others have changed since.
    metadata["annotations"][labels::APPLIED] = json!(spec.to_string());
    json!({"apiVersion": API_VERSION, "kind": MACHINE, "metadata": metadata, "spec": spec})
}

/// The migration of a member's machine to a node, with that node's label for its host, which may be another word than its name; the
/// migration's name is a function of which one it is. Where the node has no such label the binding alone says where it goes. Where
/// `KubeVirt` orders migrations, it has a priority among them.
pub fn migration(
    known: &WorkloadSpec,
    index: u32,
    attempt: u32,
    (node, host): (&str, Option<&str>),
    priority: Option<&str>,
) -> Value {
    let mut made = json!({
        "apiVersion": API_VERSION, "kind": INSTANCE_MIGRATION,
        "metadata": {
            "name": names::migration(&known.name, index, attempt),
            "namespace": known.namespace,
            "labels": {
                labels::POOL: known.pool, labels::WORKLOAD: known.name, labels::WORKLOAD_UID: known.uid,
                labels::INDEX: index.to_string(), labels::ATTEMPT: names::shown_attempt(attempt).to_string(),
            },
            "annotations": {labels::NODE: node},
            "ownerReferences": [{
                "apiVersion": api::API_VERSION, "kind": "PooledWorkload", "name": known.name, "uid": known.uid,
                "controller": true, "blockOwnerDeletion": false,
            }],
        },
        "spec": {
            "vmiName": names::host(&known.name, index),
        },
    });
    if let Some(host) = host {
        made["spec"]["addedNodeSelector"] = json!({HOSTNAME: host});
    }
    if let Some(priority) = priority {
        made["spec"]["priority"] = json!(priority);
    }
    made
}

/// Takes a migration's priority away; whether it had one. `KubeVirt` may keep priorities for its own controllers, and then
/// refuses those of all others.
pub fn without_priority(migration: &mut Value) -> bool {
    migration
        .get_mut("spec")
        .and_then(Value::as_object_mut)
        .is_some_and(|spec| spec.remove("priority").is_some())
}

fn put(metadata: &mut Value, field: &str, more: &BTreeMap<&str, String>) {
    for (key, value) in more {
        metadata[field][*key] = json!(value);
    }
}

/// Adds a toleration of a dedicated pool's taint, if it is not there.
fn tolerate(own: &mut Value, pool: &str) {
    let toleration = json!(tolerates(pool));
    match own.as_array_mut() {
        Some(own) if own.contains(&toleration) => {}
        Some(own) => own.push(toleration),
        None => *own = json!([toleration]),
    }
}

/// Gives data volumes, and what refers to them, the index of the member.
fn own_disks(spec: &mut Value, index: u32) {
    let mut renamed: Vec<String> = Vec::new();
    let templates = spec["dataVolumeTemplates"].as_array_mut();
    for volume in templates.into_iter().flatten() {
        let name = &mut volume["metadata"]["name"];
        if let Some(old) = name.as_str().map(str::to_owned) {
            *name = json!(format!("{old}-{index}"));
            renamed.push(old);
        }
    }
    let volumes = spec.pointer_mut("/template/spec/volumes").and_then(Value::as_array_mut);
    for volume in volumes.into_iter().flatten() {
        for field in ["/dataVolume/name", "/persistentVolumeClaim/claimName"] {
            if let Some(name) = volume.pointer_mut(field)
                && let Some(old) = name.as_str().filter(|old| renamed.iter().any(|one| one == old))
            {
                *name = json!(format!("{old}-{index}"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::template::check_machine_template;

    fn made(spec: &Value, replicas: u32, overcommit: Overcommit, placement: &Placement) -> Value {
        let labels: BTreeMap<String, String> = [("app".to_owned(), "db".to_owned())].into();
        let workload = Workload {
            uid: &"w-uid".into(),
            namespace: &"team".into(),
            name: &"db".into(),
            pool: "research",
            replicas,
            completion: Completion::KeepRunning,
            labels: &labels,
            annotations: &BTreeMap::new(),
            machine: &check_machine_template(spec).unwrap(),
            spec,
            overcommit,
            left_out: &["license.example.com/db"],
            dedicated: None,
        };
        let mut machine = machine(&workload, placement);
        let applied = machine["metadata"]["annotations"]["weir.dev/applied"].take();
        assert_eq!(serde_json::from_str::<Value>(applied.as_str().unwrap()).unwrap(), machine["spec"]);
        machine
    }

    #[test]
    fn a_machine_is_the_template_with_its_place_and_its_names() {
        let spec = json!({"template": {"metadata": {"labels": {"tier": "1"}}, "spec": {
            "domain": {"cpu": {"cores": 8}, "memory": {"guest": "6Gi"},
                       "resources": {"requests": {"license.example.com/db": "1"}}}}}});
        let pool = Overcommit { cpu_milli: Some(4000), memory_milli: Some(1500) };
        let placement = Placement { index: 3, attempt: 1, node: "node-7".into() };
        let machine = made(&spec, 1, pool, &placement);
        assert_eq!(
            machine["metadata"]["labels"],
            json!({"app": "db", "weir.dev/pool": "research", "weir.dev/workload": "db", "weir.dev/workload-uid": "w-uid",
                   "weir.dev/index": "3"})
        );
        assert_eq!(machine["metadata"]["name"], "db-3");
        assert_eq!(machine["metadata"]["ownerReferences"][0]["uid"], "w-uid");
        assert_eq!(
            machine["spec"],
            json!({"runStrategy": "Always", "template": {
                "metadata": {
                    "labels": {"tier": "1", "weir.dev/pool": "research", "weir.dev/workload": "db",
                               "weir.dev/workload-uid": "w-uid", "weir.dev/index": "3", "weir.dev/attempt": "2"},
                    "annotations": {"weir.dev/node": "node-7"}},
                "spec": {"schedulerName": "weir", "domain": {
                    "cpu": {"cores": 8}, "memory": {"guest": "6Gi"},
                    "resources": {"requests": {"cpu": "2000m", "memory": "4294967296"}}}}}})
        );
    }

    #[test]
    fn each_of_several_machines_has_disks_of_its_own() {
        let spec = json!({
            "dataVolumeTemplates": [{"metadata": {"name": "root"}, "spec": {}}],
            "template": {"spec": {"domain": {"memory": {"guest": "1Gi"}}, "volumes": [
                {"name": "root", "dataVolume": {"name": "root"}},
                {"name": "shared", "persistentVolumeClaim": {"claimName": "shared"}}]}}});
        let placement = Placement { index: 2, attempt: 0, node: "n".into() };
        let names = |replicas| {
            let machine = made(&spec, replicas, Overcommit::default(), &placement);
            let volumes = &machine["spec"]["template"]["spec"]["volumes"];
            [
                machine["spec"]["dataVolumeTemplates"][0]["metadata"]["name"].clone(),
                volumes[0]["dataVolume"]["name"].clone(),
                volumes[1]["persistentVolumeClaim"]["claimName"].clone(),
            ]
        };
        assert_eq!(names(1), ["root", "root", "shared"].map(Value::from));
        assert_eq!(names(3), ["root-2", "root-2", "shared"].map(Value::from));
    }
}
