//! Moves of machines that run: `VirtualMachineInstanceMigration`s, by the phases that the real controllers go through. The
//! pod at the target waits for a scheduler to bind it.
//!
//! An annotation of the migration, or of what it moves, `sim.weir.dev/migration`, makes it `fail` or `hang` once its target is ready.

use serde_json::{Value, json};

use super::{Act, INSTANCE, delete, is_deleting, launcher, patch, text};

/// The kind of migrations.
pub const MIGRATION: &str = "VirtualMachineInstanceMigration";
const HOW: &str = "/metadata/annotations/sim.weir.dev~1migration";
const FINALIZER: &str = "kubevirt.io/migrationJobFinalize";
const JOB: &str = "kubevirt.io/migrationJobUID";

/// Whether a pod is the target of a migration.
pub fn is_target(pod: &Value) -> bool {
    pod["metadata"]["labels"].get(JOB).is_some()
}

/// What follows of one migration.
pub fn step(migration: &Value, instance: Option<&Value>, pods: &[&Value]) -> Option<Act> {
    let uid = text(migration, "/metadata/uid");
    let target = pods.iter().find(|pod| text(pod, "/metadata/labels/kubevirt.io~1migrationJobUID") == uid);
    let set = |phase: &str| Some(patch(MIGRATION, migration, json!({"status": {"phase": phase}})));
    let phase = text(migration, "/status/phase");
    let is_over = matches!(phase, "Succeeded" | "Failed");
    let held = migration["metadata"]["finalizers"].as_array().is_some_and(|all| !all.is_empty());
    if is_deleting(migration) {
        // One that is under way is aborted first; one whose machine is on its target already goes on to its end.
        let moved = instance.is_some_and(|one| one["status"]["migrationState"]["migrationUid"] == uid);
        if is_over {
            return held.then(|| patch(MIGRATION, migration, json!({"metadata": {"finalizers": null}})));
        }
        if !moved {
            return match target {
                Some(pod) if !is_deleting(pod) => Some(delete("Pod", pod)),
                _ => set("Failed"),
            };
        }
    }
    if is_over {
        return None;
    }
    if !held && !is_deleting(migration) {
        return Some(patch(MIGRATION, migration, json!({"metadata": {"finalizers": [FINALIZER]}})));
    }
    let Some(instance) = instance.filter(|one| text(one, "/status/phase") == "Running" && !is_deleting(one))
    else {
        return set("Failed");
    };
    if target.is_some_and(|pod| matches!(text(pod, "/status/phase"), "Failed" | "Succeeded")) {
        return set("Failed");
    }
    let state = &instance["status"]["migrationState"];
    match phase {
        // Held while the machine cannot be moved.
        "" | "Pending" => is_movable(instance).then(|| set("Scheduling")).flatten(),
        "Scheduling" => match target {
            None => Some(Act::Create(target_of(migration, instance))),
            Some(pod) if text(pod, "/status/phase") == "Running" => set("Scheduled"),
            Some(_) => None,
        },
        "Scheduled" => set("PreparingTarget"),
        "PreparingTarget" => set("TargetReady"),
        "TargetReady" => set("Running"),
        "Running" => match [migration, instance]
            .map(|one| text(one, HOW))
            .into_iter()
            .find(|how| !how.is_empty())
            .unwrap_or_default()
        {
            "hang" => None,
            "fail" if state["migrationUid"] == uid => match target {
                Some(pod) if !is_deleting(pod) => Some(delete("Pod", pod)),
                _ => set("Failed"),
            },
            "fail" => Some(ended(migration, instance, *target?, pods, true)),
            _ if state["migrationUid"] != uid => Some(ended(migration, instance, *target?, pods, false)),
            _ => {
                let source = pods.iter().find(|pod| !is_target(pod) && !is_deleting(pod));
                match source.filter(|pod| text(pod, "/metadata/name") == text(state, "/sourcePod")) {
                    Some(source) => Some(delete("Pod", source)),
                    None => set("Succeeded"),
                }
            }
        },
        _ => None,
    }
}

fn is_movable(instance: &Value) -> bool {
    let conditions = instance["status"]["conditions"].as_array();
    conditions
        .is_some_and(|all| all.iter().any(|one| one["type"] == "LiveMigratable" && one["status"] == "True"))
}

/// As the source's, on another node.
fn target_of(migration: &Value, instance: &Value) -> Value {
    let mut pod = launcher::pod(instance, false);
    let (uid, name) = (text(migration, "/metadata/uid"), text(migration, "/metadata/name"));
    let own = text(&pod, "/metadata/name").to_owned();
    pod["metadata"]["name"] = json!(format!("{own}-{}", &uid[..uid.len().min(5)]));
    pod["metadata"]["labels"][JOB] = json!(uid);
    pod["metadata"]["annotations"]["kubevirt.io/migrationJobName"] = json!(name);
    for (key, value) in migration["spec"]["addedNodeSelector"].as_object().into_iter().flatten() {
        pod["spec"]["nodeSelector"][key] = value.clone();
    }
    launcher::ask_as_target(&mut pod["spec"]["nodeSelector"], instance);
    let created_by = json!({"matchLabels": {"kubevirt.io/created-by": instance["metadata"]["uid"]}});
    pod["spec"]["affinity"]["podAntiAffinity"] = json!({"requiredDuringSchedulingIgnoredDuringExecution": [
        {"labelSelector": created_by, "topologyKey": "kubernetes.io/hostname"}]});
    pod
}

/// The move has ended: where the machine is, is its instance's to tell.
fn ended(migration: &Value, instance: &Value, target: &Value, pods: &[&Value], failed: bool) -> Act {
    let source = pods.iter().find(|pod| !is_target(pod));
    let (node, uid) = (&target["spec"]["nodeName"], text(target, "/metadata/uid"));
    let state = json!({
        "migrationUid": migration["metadata"]["uid"],
        "sourceNode": instance["status"]["nodeName"], "targetNode": node,
        "sourcePod": source.map(|pod| pod["metadata"]["name"].clone()), "targetPod": target["metadata"]["name"],
        "completed": true, "failed": failed,
        "failureReason": failed.then_some("the guest could not be moved"),
    });
    let mut status = json!({"migrationState": state});
    let mut metadata = json!({});
    if !failed {
        status["nodeName"] = node.clone();
        status["activePods"] = json!({uid: node});
        metadata["labels"]["kubevirt.io/nodeName"] = node.clone();
    }
    patch(INSTANCE, instance, json!({"metadata": metadata, "status": status}))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kubevirt::{MACHINE, Snapshot};

    /// Objects in memory, whose pods run as soon as they are bound.
    struct Cluster {
        objects: Vec<Value>,
        made: usize,
    }

    impl Cluster {
        fn add(&mut self, mut object: Value) {
            self.made += 1;
            object["metadata"]["uid"] = json!(format!("uid-{}", self.made));
            self.objects.push(object);
        }

        fn of(&self, kind: &str) -> Vec<Value> {
            self.objects.iter().filter(|one| one["kind"] == kind).cloned().collect()
        }

        fn run(&mut self, target: &str) {
            for _ in 0..60 {
                for pod in self.objects.iter_mut().filter(|one| one["kind"] == "Pod") {
                    let node = if is_target(pod) { target } else { "source" };
                    pod["spec"]["nodeName"] = json!(node);
                    pod["status"]["phase"] = json!("Running");
                }
                let seen = Snapshot {
                    machines: self.of(MACHINE),
                    instances: self.of(INSTANCE),
                    migrations: self.of(MIGRATION),
                    pods: self.of("Pod"),
                    claims: Vec::new(),
                };
                for act in crate::kubevirt::step(&seen) {
                    match act {
                        Act::Create(object) => self.add(object),
                        Act::Patch(kind, _, name, _, patch) => {
                            let is =
                                |one: &&mut Value| one["kind"] == kind && one["metadata"]["name"] == *name;
                            let object = self.objects.iter_mut().find(is).unwrap();
                            crate::scenario::merged(object, patch);
                        }
                        Act::Delete(_, _, _, uid) => {
                            self.objects.retain(|one| one["metadata"]["uid"] != *uid);
                        }
                    }
                }
            }
        }

        fn moved(how: &str) -> (String, String, usize) {
            let mut cluster = Self { objects: Vec::new(), made: 0 };
            cluster.add(json!({"kind": MACHINE, "metadata": {"name": "vm", "namespace": "n", "finalizers": ["f"]}, "spec": {
                "runStrategy": "Always", "template": {"metadata": {"labels": {}, "annotations": {}}, "spec": {"domain": {}}}}}));
            cluster.run("target");
            cluster.add(json!({"kind": MIGRATION, "spec": {"vmiName": "vm"}, "metadata": {
                "name": "move", "namespace": "n", "annotations": {"sim.weir.dev/migration": how}}}));
            cluster.run("target");
            let phase = text(&cluster.of(MIGRATION)[0], "/status/phase").to_owned();
            let node = text(&cluster.of(INSTANCE)[0], "/status/nodeName").to_owned();
            (phase, node, cluster.of("Pod").len())
        }
    }

    #[test]
    fn a_machine_is_moved_or_stays_where_it_is() {
        let owned = |(phase, node, pods): (&str, &str, usize)| (phase.to_owned(), node.to_owned(), pods);
        assert_eq!(Cluster::moved("well"), owned(("Succeeded", "target", 1)));
        assert_eq!(Cluster::moved("fail"), owned(("Failed", "source", 1)));
        assert_eq!(Cluster::moved("hang"), owned(("Running", "source", 2)));
    }
}
