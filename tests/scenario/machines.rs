//! Virtual machines in the pure runner: the stand-in on the objects in memory, and what Weir writes of machines.

use std::sync::Arc;

use serde_json::{Value, json};
use weir::apply::machine::again;
use weir::model::delta::Delta;
use weir::observe::machines::run as run_of;
use weir::plan::machine::{MachineWrite, without_priority};
use weir::plan::write::Write;

use super::expand::Key;
use super::pure::{CREATE_AGAIN, Pure};
use super::store::{Refused, Store};
use crate::kubevirt::migration::MIGRATION;
use crate::kubevirt::{Act, INSTANCE, MACHINE, Snapshot, step};

/// Lets the stand-in do all that follows from the objects as they are.
pub fn run(store: &mut Store) {
    if !store.kubevirt {
        return;
    }
    for _ in 0..100 {
        let all = |kind: &str| store.of_kind(kind).map(|(_, object)| object.clone()).collect();
        let seen = Snapshot {
            machines: all(MACHINE),
            instances: all(INSTANCE),
            migrations: all(MIGRATION),
            pods: all("Pod"),
            claims: all("PersistentVolumeClaim"),
        };
        let acts = step(&seen);
        if acts.is_empty() {
            return;
        }
        for act in acts {
            match act {
                Act::Create(object) => drop(store.create(&object)),
                Act::Patch(kind, namespace, name, version, patch) => {
                    drop(store.patch_version(&Key::new(kind, &namespace, &name), &version, &patch));
                }
                Act::Delete(kind, namespace, name, uid) => {
                    drop(store.delete(&Key::new(kind, &namespace, &name), Some(&uid)));
                }
            }
        }
    }
}

impl Pure {
    /// Installs `KubeVirt`, or takes it away with all that is of it.
    pub(super) fn install(&mut self, is_there: bool) {
        self.store.kubevirt = is_there;
        if !is_there {
            for kind in [MIGRATION, MACHINE, INSTANCE] {
                let all: Vec<Key> = self.store.of_kind(kind).map(|(key, _)| key.clone()).collect();
                for key in &all {
                    self.store.remove(key);
                }
            }
        }
        for delta in self.catalog.kubevirt(is_there) {
            self.tell(delta);
        }
    }

    /// Asks about the templates that were not asked about.
    pub(super) fn check_machines(&mut self) {
        if !self.store.kubevirt {
            return;
        }
        for uid in self.catalog.take_checks(usize::MAX, self.now()) {
            if let Some(script) = self.desk().check(&uid) {
                self.run_script(&script);
            }
        }
    }

    /// Carries out one write about a machine; whether it went well.
    pub(super) fn write_machine(&mut self, object: &Arc<str>, write: &MachineWrite) -> bool {
        let patch = |pure: &mut Self, key: &Key, uid: &Arc<str>, patch: &Value| {
            if pure.store.get(key).is_some_and(|there| there["metadata"]["uid"] == **uid) {
                drop(pure.store.patch(key, patch));
            }
            true
        };
        match write {
            MachineWrite::Start { .. } => self.start_machine(object, write),
            MachineWrite::Halt { namespace, name, uid } => {
                let halted = json!({"spec": {"runStrategy": "Halted"}});
                patch(self, &Key::new(MACHINE, namespace, name), uid, &halted)
            }
            MachineWrite::Delete { namespace, name, uid } => {
                self.delete(&Key::new(MACHINE, namespace, name), uid)
            }
            MachineWrite::DeleteInstance { namespace, name, uid } => {
                self.delete(&Key::new(INSTANCE, namespace, name), uid)
            }
            MachineWrite::Migrate { migration, member, attempt, .. } => {
                let mut migration = Value::clone(migration);
                let mut made = self.store.create(&migration);
                if matches!(made, Err(Refused::Denied(_))) && without_priority(&mut migration) {
                    made = self.store.create(&migration);
                }
                if let Err(refused @ Refused::Denied(_)) = made {
                    let (member, attempt, message) = (member.clone(), *attempt, refused.words().into());
                    self.tell(Delta::MoveRefused { member, attempt, message });
                    return false;
                }
                true
            }
            MachineWrite::DeleteMigration { namespace, name, uid } => {
                self.delete(&Key::new(MIGRATION, namespace, name), uid)
            }
            MachineWrite::Settle { namespace, name, uid, node } => {
                let settled =
                    json!({"spec": {"template": {"metadata": {"annotations": {"weir.dev/node": node}}}}});
                patch(self, &Key::new(MACHINE, namespace, name), uid, &settled)
            }
            MachineWrite::SelectNode { namespace, claim, node } => {
                let selected =
                    json!({"metadata": {"annotations": {"volume.kubernetes.io/selected-node": node}}});
                drop(self.store.patch(&Key::new("PersistentVolumeClaim", namespace, claim), &selected));
                true
            }
            MachineWrite::Bind { namespace, name, uid, node } => {
                let key = Key::new("Pod", namespace, name);
                let bound = self.store.get(&key).is_some_and(|pod| pod["spec"]["nodeName"].is_string());
                bound || patch(self, &key, uid, &json!({"spec": {"nodeName": node}}))
            }
            MachineWrite::Check { workload, generation, machine, .. } => {
                let answer = match self.store.machine_refusal(machine) {
                    Some(words) => Err(words.into()),
                    None => Ok(()),
                };
                for delta in self.catalog.checked(workload, *generation, Some(answer), self.now()) {
                    self.tell(delta);
                }
                true
            }
        }
    }

    fn start_machine(&mut self, object: &Arc<str>, write: &MachineWrite) -> bool {
        let MachineWrite::Start { member, namespace, name, machine } = write else { return false };
        let key = Key::new(MACHINE, namespace, name);
        let member = member.clone();
        let done = match self.store.create(machine) {
            Err(Refused::Exists(words)) => {
                let there = self.store.get(&key).cloned().unwrap_or_default();
                if !there["metadata"]["deletionTimestamp"].is_null() {
                    let again =
                        (self.now() + CREATE_AGAIN, Arc::clone(object), Write::Machine(write.clone()));
                    self.creates.push(again);
                    return true;
                }
                let ours = there["metadata"]["ownerReferences"][0]["uid"] == *member.workload;
                if ours {
                    self.store.patch(&key, &again(&there, machine))
                } else {
                    Err(Refused::Exists(words))
                }
            }
            done => done,
        };
        match done {
            Ok(there) => {
                let pod = run_of(there["metadata"]["uid"].as_str().unwrap_or_default(), member.attempt);
                self.tell(Delta::MemberCreated { member, pod });
                true
            }
            Err(refused) => {
                let name_taken = matches!(refused, Refused::Exists(_));
                self.tell(Delta::MemberRefused { member, message: refused.words().into(), name_taken });
                false
            }
        }
    }
}
