//! Migrations of what runs of machines: Weir's own, and those that others have begun.

use std::sync::Arc;

use super::{Estimate, Launcher, Machines, Vm, Vmi, arc, attempt, node, pod, time};
use crate::api::kubevirt::InstanceMigration;
use crate::api::labels;
use crate::model::delta::Delta;
use crate::model::machines::{Passage, PassageState, Starting};
use crate::model::selector::Labels;
use crate::model::time::Time;

/// A migration of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Migration {
    workload: Arc<str>,
    index: u32,
    attempt: u32,
    node: Arc<str>,
    created: Time,
    phase: Option<String>,
}

/// A migration that others have begun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Foreign {
    namespace: Arc<str>,
    instance: Arc<str>,
    wants: Arc<Labels>,
    created: Time,
    phase: Option<String>,
}

/// How a migration stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Course {
    /// It has not ended.
    UnderWay,
    /// The machine is at its target.
    Succeeded,
    /// The machine is where it was.
    Failed,
}

impl Course {
    /// By the phase that `KubeVirt` gives it.
    fn of(phase: Option<&str>) -> Self {
        match phase {
            Some("Succeeded") => Self::Succeeded,
            Some("Failed") => Self::Failed,
            _ => Self::UnderWay,
        }
    }
}

impl Machines {
    /// A migration was seen.
    pub fn migration(&mut self, seen: &InstanceMigration, estimate: Estimate<'_>) -> Vec<Delta> {
        let metadata = &seen.metadata;
        let uid = arc(metadata.uid.as_ref());
        let label = |key| metadata.labels.as_ref().and_then(|labels| labels.get(key)?.parse().ok());
        let (Some(owner), Some(index), Some(attempt), Some(node)) =
            (pod::owner(metadata), label(labels::INDEX), attempt(metadata), node(metadata))
        else {
            let mut deltas = self.our_migration_gone(&uid, estimate);
            deltas.extend(self.foreign_migration(uid, seen, estimate));
            return deltas;
        };
        let workload: Arc<str> = owner.uid.as_str().into();
        let created = time(metadata.creation_timestamp.as_ref());
        let phase = seen.status.phase.clone();
        let seen = Migration { workload: Arc::clone(&workload), index, attempt, node, created, phase };
        self.migrations.insert(uid, seen);
        self.of_member(&workload, index, estimate)
    }

    /// A migration is gone.
    pub fn migration_gone(&mut self, uid: &Arc<str>, estimate: Estimate<'_>) -> Vec<Delta> {
        let mut deltas = self.our_migration_gone(uid, estimate);
        if let Some(foreign) = self.foreign.remove(uid) {
            deltas.extend(self.of_instance_named(&foreign.namespace, &foreign.instance, estimate));
        }
        deltas
    }

    fn foreign_migration(
        &mut self,
        uid: Arc<str>,
        seen: &InstanceMigration,
        estimate: Estimate<'_>,
    ) -> Vec<Delta> {
        let labels = seen.spec.added_node_selector.iter();
        let labels = labels.map(|(key, value)| (Arc::from(key.as_str()), Arc::from(value.as_str())));
        let foreign = Foreign {
            namespace: arc(seen.metadata.namespace.as_ref()),
            instance: arc(seen.spec.vmi_name.as_ref()),
            wants: Arc::new(labels.collect()),
            created: time(seen.metadata.creation_timestamp.as_ref()),
            phase: seen.status.phase.clone(),
        };
        let (namespace, instance) = (Arc::clone(&foreign.namespace), Arc::clone(&foreign.instance));
        self.foreign.insert(uid, foreign);
        self.of_instance_named(&namespace, &instance, estimate)
    }

    fn of_instance_named(&mut self, namespace: &str, name: &str, estimate: Estimate<'_>) -> Vec<Delta> {
        let named = self.vmis.values().filter(|vmi| *vmi.namespace == *namespace && *vmi.name == *name);
        let machines: Vec<Arc<str>> = named.map(|vmi| Arc::clone(&vmi.machine)).collect();
        let ours = machines.iter().filter(|machine| self.vms.contains_key(*machine)).cloned();
        ours.collect::<Vec<_>>().iter().flat_map(|uid| self.retell(uid, estimate)).collect()
    }

    /// How a migration stands, if it is known.
    pub(super) fn course(&self, uid: &str) -> Option<Course> {
        let ours = self.migrations.get(uid).map(|one| &one.phase);
        let phase = ours.or_else(|| self.foreign.get(uid).map(|one| &one.phase))?;
        Some(Course::of(phase.as_deref()))
    }

    fn our_migration_gone(&mut self, uid: &Arc<str>, estimate: Estimate<'_>) -> Vec<Delta> {
        let Some(migration) = self.migrations.remove(uid) else { return Vec::new() };
        self.of_member(&migration.workload, migration.index, estimate)
    }

    fn of_member(&mut self, workload: &str, index: u32, estimate: Estimate<'_>) -> Vec<Delta> {
        let machines = self.vms.iter().filter(|(_, vm)| *vm.workload == *workload && vm.index == index);
        let machines: Vec<Arc<str>> = machines.map(|(uid, _)| Arc::clone(uid)).collect();
        machines.iter().flat_map(|uid| self.retell(uid, estimate)).collect()
    }

    /// The last migration of a machine, which others may have begun.
    pub(super) fn passage(&self, vm: &Vm, vmi: &Vmi, pods: &[&Launcher]) -> Option<Arc<Passage>> {
        let state = |uid: &Arc<str>, phase: &Option<String>| match Course::of(phase.as_deref()) {
            Course::Succeeded => PassageState::Succeeded,
            Course::Failed => PassageState::Failed,
            Course::UnderWay => PassageState::UnderWay {
                unbound: pods.iter().any(|pod| pod.waits() && pod.migration.as_ref() == Some(uid)),
                queued: matches!(phase.as_deref(), None | Some("" | "Pending")),
            },
        };
        let of_it =
            self.migrations.iter().filter(|(_, one)| one.index == vm.index && one.workload == vm.workload);
        let ours = of_it.max_by_key(|(_, one)| (one.attempt, one.created));
        let of_it = self.foreign.iter().filter(|(_, one)| {
            one.instance == vmi.name && one.namespace == vmi.namespace && one.created >= vmi.created
        });
        let foreign = of_it.max_by_key(|(uid, one)| {
            (matches!(state(uid, &one.phase), PassageState::UnderWay { .. }), one.created)
        });
        let later = foreign.filter(|(uid, one)| {
            matches!(state(uid, &one.phase), PassageState::UnderWay { .. })
                || ours.is_none_or(|(_, last)| last.created < one.created)
        });
        if let Some((uid, one)) = later {
            let target = pods.iter().find(|pod| pod.migration.as_ref() == Some(uid) && pod.spec.bound);
            return Some(Arc::new(Passage {
                uid: Arc::clone(uid),
                attempt: ours.map_or(0, |(_, last)| last.attempt.saturating_add(1)),
                to: target.and_then(|pod| pod.spec.node.clone()).unwrap_or_default(),
                since: one.created,
                state: state(uid, &one.phase),
                others: Some(Arc::clone(&one.wants)),
                target: self.target_of(uid, pods),
            }));
        }
        let (uid, last) = ours?;
        Some(Arc::new(Passage {
            uid: Arc::clone(uid),
            attempt: last.attempt,
            to: Arc::clone(&last.node),
            since: last.created,
            state: state(uid, &last.phase),
            others: None,
            target: self.target_of(uid, pods),
        }))
    }

    fn target_of(&self, migration: &Arc<str>, pods: &[&Launcher]) -> Option<Arc<Starting>> {
        let target = pods.iter().find(|pod| pod.waits() && pod.migration.as_ref() == Some(migration))?;
        self.starting(target)
    }
}
