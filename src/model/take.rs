//! Deltas in: the one way that the world changes from outside.

use super::delta::Delta;
use super::time::Time;
use super::world::World;

impl World {
    /// Takes one delta. `now` dates what follows from it (pauses, ends).
    pub fn apply(&mut self, delta: Delta, now: Time) {
        match delta {
            Delta::Pool(spec) => self.pool_seen(*spec),
            Delta::PoolGone(name) => self.pool_gone(&name),
            Delta::Node(spec) => self.node_seen(*spec),
            Delta::NodeGone(name) => self.node_gone(&name),
            Delta::Namespace { name, labels } => self.namespace_seen(&name, labels),
            Delta::NamespaceGone(name) => self.namespace_gone(&name),
            Delta::Claim { name, terms } => self.claim_seen(&name, terms.as_ref()),
            Delta::Workload(spec) => self.workload_seen(*spec),
            Delta::WorkloadGone(uid) => self.workload_gone(&uid),
            Delta::Pod(spec) => self.pod_seen(*spec, now),
            Delta::PodGone(uid) => self.pod_gone(&uid, now),
            Delta::InFlight(entry) => {
                self.in_flight.entry(std::sync::Arc::clone(&entry.workload)).or_default().push(*entry);
            }
            Delta::Settled => self.settle(now),
            Delta::MemberCreated { member, pod } => self.member_created(&member, &pod),
            Delta::MemberRefused { member, message, name_taken } => {
                self.member_refused(&member, &message, name_taken, now);
            }
            Delta::MayCreate => self.may_create(now),
            Delta::MemberVanished(member) => self.member_vanished(&member, now),
            Delta::MoveRefused { member, attempt, message } => {
                self.passage_refused(&member, attempt, &message, now);
            }
            Delta::Disks { workload, index, bytes } => self.disks_seen(&workload, index, bytes),
            Delta::Labelled { maker, pool } => self.labelled_seen(&maker, pool),
            Delta::KubeVirt(is_there) => self.kubevirt_seen(is_there),
            Delta::Solved(answer) => self.solved(*answer),
        }
    }
}
