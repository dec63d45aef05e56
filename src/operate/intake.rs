//! What was seen and what was answered, taken into the catalog, the world and the ledgers.

use kube::core::ObjectMeta;
use tracing::warn;

use super::term::{Ended, Term};
use crate::api::kubevirt::{InstancetypeSpec, VirtualMachine};
use crate::api::pruned::{Guarded, Node, PersistentVolume, PersistentVolumeClaim, Pod, PriorityClass};
use crate::apply::Answer;
use crate::model::delta::Delta;
use crate::model::labelled::MakerKind;
use crate::model::time::Time;
use crate::observe::namespace;
use crate::watch::follow::{Change, Withheld};
use crate::watch::known::Key;
use crate::watch::seen::{KINDS, Seen};

impl Term {
    /// Takes one change of one object.
    pub(super) fn see(&mut self, seen: Seen, now: Time) {
        let kind = seen.kind();
        self.metrics.saw(KINDS.get(kind).copied().unwrap_or_default());
        let deltas = match seen {
            Seen::Pool(change) => self.pool(change),
            Seen::Workload(change) => self.workload(change),
            Seen::Pod(change) => self.pod(change),
            Seen::Node(change) => self.node(change),
            Seen::Namespace(change) => {
                one(change, |seen| namespace::namespace(&seen), |key| Delta::NamespaceGone(key.name.into()))
            }
            Seen::PriorityClass(change) => self.priority_class(change),
            Seen::Claim(change) => self.claim(change),
            Seen::Deployment(change) => self.labelled(change, MakerKind::Deployment, |seen| seen.metadata),
            Seen::StatefulSet(change) => self.labelled(change, MakerKind::StatefulSet, |seen| seen.metadata),
            Seen::Job(change) => self.labelled(change, MakerKind::Job, |seen| seen.metadata),
            Seen::Volume(change) => self.volume(change),
            Seen::Machine(change) => self.machine(change),
            Seen::Instance(change) => match change {
                Change::Applied(seen) => Shown::Deltas(self.catalog.instance(&seen)),
                Change::Gone(key) => Shown::Deltas(self.catalog.instance_gone(&key.uid)),
                other => rest(other),
            },
            Seen::Migration(change) => match change {
                Change::Applied(seen) => Shown::Deltas(self.catalog.migration(&seen)),
                Change::Gone(key) => Shown::Deltas(self.catalog.migration_gone(&key.uid)),
                other => rest(other),
            },
            Seen::KubeVirt(change) => match change {
                Change::Applied(seen) => Shown::Deltas(self.catalog.kubevirt_settings(Some(&seen))),
                Change::Gone(_) => Shown::Deltas(self.catalog.kubevirt_settings(None)),
                other => rest(other),
            },
            Seen::Size(change) => match change {
                Change::Applied(seen) => Shown::Deltas(self.size(&seen.metadata, Some(&seen.spec))),
                Change::Gone(key) => Shown::Deltas(self.catalog.size(Some(&key.namespace), &key.name, None)),
                other => rest(other),
            },
            Seen::ClusterSize(change) => match change {
                Change::Applied(seen) => Shown::Deltas(self.size(&seen.metadata, Some(&seen.spec))),
                Change::Gone(key) => Shown::Deltas(self.catalog.size(None, &key.name, None)),
                other => rest(other),
            },
        };
        match deltas {
            Shown::Listed => {
                self.listed.insert(kind);
                self.granted(kind, now);
            }
            Shown::Withheld(why) => self.withheld(kind, &why, now),
            Shown::Machines(is_there) => {
                self.listed.insert(kind);
                self.granted(kind, now);
                for delta in self.catalog.kubevirt(is_there) {
                    self.apply(delta, now);
                }
            }
            Shown::Deltas(deltas) => {
                for delta in deltas {
                    self.apply(delta, now);
                }
            }
        }
    }

    /// Takes one delta.
    pub(super) fn apply(&mut self, delta: Delta, now: Time) {
        match &delta {
            Delta::Workload(spec) => {
                self.estimates.durations.note_record(&self.catalog, spec);
                if let Some((at, _)) = spec.record.admitted {
                    self.ledgers.shows(&spec.uid, at);
                }
                // It ended before its entry had left the ledger, perhaps under an older leader.
                if spec.record.finished.is_some() {
                    self.ledgers.gone(&spec.uid);
                }
            }
            Delta::WorkloadGone(uid) => {
                self.ledgers.gone(uid);
                self.forget(uid, now);
            }
            Delta::Pod(spec) => {
                if let Some(member) = &spec.member {
                    self.ledgers.seen(member);
                    self.assumed.seen(member);
                }
            }
            Delta::MemberCreated { member, .. } => {
                self.ledgers.seen(member);
                self.assumed.created(member);
            }
            Delta::MemberRefused { member, .. } | Delta::MemberVanished(member) => {
                self.ledgers.seen(member);
                self.assumed.seen(member);
            }
            _ => {}
        }
        self.world.apply(delta, now);
    }

    /// Takes one answer.
    pub(super) fn answered(&mut self, answer: Answer, now: Time) -> Result<(), Ended> {
        match answer {
            Answer::Member(delta) => self.apply(delta, now),
            Answer::Unknown { member, namespace, child } => {
                if !self.leadership.holds() {
                    return Err(Ended::Lost);
                }
                self.assumed.unknown(member, namespace, child);
            }
            Answer::Checked { workload, generation, answer } => {
                if answer.is_none() {
                    self.ask_later();
                }
                for delta in self.catalog.checked(&workload, generation, answer, now) {
                    self.apply(delta, now);
                }
            }
            Answer::Written { object, resource_version, status } => {
                self.written(&object, &resource_version, &status);
            }
            Answer::Outdated { object } => self.not_written(&object),
            Answer::Right { kind, lack } => self.right(kind, lack.as_ref(), now),
            Answer::Done { object, completed, refused } => {
                self.script_done(&object, completed, refused.as_deref());
            }
        }
        Ok(())
    }

    fn pool(&mut self, change: Change<Guarded<crate::api::ResourcePool>>) -> Shown {
        match change {
            Change::Applied(seen) => Shown::Deltas(self.catalog.pool(&seen.0)),
            Change::Gone(key) => {
                self.metrics.pool_gone(&key.name);
                Shown::Deltas(self.catalog.pool_gone(&key.name))
            }
            Change::Unreadable(meta, problem) => unreadable(&meta, &problem),
            Change::Listed | Change::Absent => Shown::Listed,
            Change::Withheld(why) => Shown::Withheld(why),
        }
    }

    fn workload(&mut self, change: Change<Guarded<crate::api::PooledWorkload>>) -> Shown {
        match change {
            Change::Applied(seen) => Shown::Deltas(self.catalog.workload(&seen.0)),
            Change::Gone(key) => Shown::Deltas(self.catalog.workload_gone(&key.uid)),
            Change::Unreadable(meta, problem) => unreadable(&meta, &problem),
            Change::Listed | Change::Absent => Shown::Listed,
            Change::Withheld(why) => Shown::Withheld(why),
        }
    }

    fn pod(&mut self, change: Change<Pod>) -> Shown {
        match change {
            Change::Applied(pod) => Shown::Deltas(self.catalog.pod(&pod)),
            Change::Gone(Key { uid, .. }) => {
                let metadata = ObjectMeta { uid: Some(uid), ..ObjectMeta::default() };
                Shown::Deltas(self.catalog.pod_gone(&Pod { metadata, ..Pod::default() }))
            }
            Change::Unreadable(meta, problem) => unreadable(&meta, &problem),
            Change::Listed | Change::Absent => Shown::Listed,
            Change::Withheld(why) => Shown::Withheld(why),
        }
    }

    fn claim(&mut self, change: Change<PersistentVolumeClaim>) -> Shown {
        match change {
            Change::Applied(seen) => Shown::Deltas(self.catalog.claim(&seen)),
            Change::Gone(key) => Shown::Deltas(self.catalog.claim_gone(&key.namespace, &key.name)),
            other => rest(other),
        }
    }

    fn labelled<K>(&mut self, change: Change<K>, kind: MakerKind, meta: fn(K) -> ObjectMeta) -> Shown {
        match change {
            Change::Applied(seen) => Shown::Deltas(self.catalog.labelled(kind, &meta(*seen))),
            Change::Gone(key) => Shown::Deltas(self.catalog.labelled_gone(kind, &key.namespace, &key.name)),
            other => rest(other),
        }
    }

    fn volume(&mut self, change: Change<PersistentVolume>) -> Shown {
        match change {
            Change::Applied(seen) => Shown::Deltas(self.catalog.volume(&seen)),
            Change::Gone(key) => Shown::Deltas(self.catalog.volume_gone(&key.name)),
            other => rest(other),
        }
    }

    fn machine(&mut self, change: Change<VirtualMachine>) -> Shown {
        match change {
            Change::Applied(seen) => Shown::Deltas(self.catalog.machine(&seen)),
            Change::Gone(key) => {
                Shown::Deltas(self.catalog.machine_gone(&key.uid, &key.namespace, &key.name))
            }
            Change::Unreadable(meta, problem) => unreadable(&meta, &problem),
            Change::Listed => Shown::Machines(true),
            Change::Absent => Shown::Machines(false),
            Change::Withheld(why) => Shown::Withheld(why),
        }
    }

    fn size(&mut self, metadata: &ObjectMeta, size: Option<&InstancetypeSpec>) -> Vec<Delta> {
        self.catalog.size(metadata.namespace.as_deref(), metadata.name.as_deref().unwrap_or_default(), size)
    }

    fn node(&mut self, change: Change<Node>) -> Shown {
        match change {
            Change::Applied(seen) => Shown::Deltas(vec![self.catalog.node(&seen)]),
            Change::Gone(key) => Shown::Deltas(vec![self.catalog.node_gone(&key.name)]),
            other => rest(other),
        }
    }

    fn priority_class(&mut self, change: Change<PriorityClass>) -> Shown {
        match change {
            Change::Applied(seen) => Shown::Deltas(self.catalog.priority_class(&seen)),
            Change::Gone(key) => Shown::Deltas(self.catalog.priority_class_gone(&key.name)),
            Change::Unreadable(meta, problem) => unreadable(&meta, &problem),
            Change::Listed | Change::Absent => Shown::Listed,
            Change::Withheld(why) => Shown::Withheld(why),
        }
    }
}

/// What a change comes to.
enum Shown {
    Deltas(Vec<Delta>),
    Listed,
    /// All machines were shown, or there can be none.
    Machines(bool),
    /// Nothing of the kind is shown.
    Withheld(Withheld),
}

/// What comes of a change that tells of no object.
fn rest<K>(change: Change<K>) -> Shown {
    match change {
        Change::Unreadable(meta, problem) => unreadable(&meta, &problem),
        Change::Applied(_) | Change::Gone(_) => Shown::Deltas(Vec::new()),
        Change::Listed | Change::Absent => Shown::Listed,
        Change::Withheld(why) => Shown::Withheld(why),
    }
}

fn one<K>(change: Change<K>, seen: impl FnOnce(Box<K>) -> Delta, gone: impl FnOnce(Key) -> Delta) -> Shown {
    match change {
        Change::Applied(object) => Shown::Deltas(vec![seen(object)]),
        Change::Gone(key) => Shown::Deltas(vec![gone(key)]),
        Change::Unreadable(meta, problem) => unreadable(&meta, &problem),
        Change::Listed | Change::Absent => Shown::Listed,
        Change::Withheld(why) => Shown::Withheld(why),
    }
}

/// An object of which not even the metadata makes sense to us: what was known of it stays.
fn unreadable(meta: &ObjectMeta, problem: &str) -> Shown {
    warn!(name = ?meta.name, namespace = ?meta.namespace, %problem, "an object cannot be read and is left as it was");
    Shown::Deltas(Vec::new())
}
