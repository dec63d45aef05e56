//! The world held against itself: every sum reckoned anew from what it is a sum of.
//!
//! Used by tests after every step, and by `weir replay`. It shares no code with what keeps the sums.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::ids::{NodeId, PoolId, WorkloadId};
use super::moves::{How, Stage};
use super::resources::{Amounts, ResourceId};
use super::workloads::{Phase, Slot};
use super::world::World;

/// Sums as they should be.
#[derive(Default)]
struct Expected {
    used: BTreeMap<PoolId, Amounts>,
    firm: BTreeMap<PoolId, Amounts>,
    used_in: BTreeMap<(Option<PoolId>, Arc<str>), Amounts>,
    admitted: BTreeMap<PoolId, usize>,
    leaving: BTreeMap<PoolId, Amounts>,
    nominated: BTreeMap<PoolId, Amounts>,
    running: BTreeMap<PoolId, u32>,
    queued: BTreeMap<PoolId, u32>,
    load: BTreeMap<NodeId, Amounts>,
    load_leaving: BTreeMap<NodeId, Amounts>,
    kept: BTreeMap<NodeId, Amounts>,
    tenants: BTreeMap<NodeId, BTreeMap<(WorkloadId, u32), Amounts>>,
    light: BTreeMap<NodeId, u32>,
}

impl World {
    /// What in the world contradicts itself; empty when all is well.
    pub fn audit(&mut self) -> Vec<String> {
        self.link();
        self.grant_all();
        let expected = self.expect();
        let mut wrong = Vec::new();
        self.audit_pools(&expected, &mut wrong);
        self.audit_nodes(&expected, &mut wrong);
        self.audit_queues(&mut wrong);
        wrong.extend(self.audit_peers());
        self.audit_moves(&mut wrong);
        wrong
    }

    /// Where more is used than may be: pool or node, resource, used, and bound.
    ///
    /// A limit that was lowered or a node that was lost may leave an excess; decisions never add to it.
    pub fn excesses(&mut self) -> Vec<(Arc<str>, ResourceId, i64, i64)> {
        self.link();
        let mut found = Vec::new();
        for (_, pool) in self.pools.iter() {
            for resource in pool.metered.iter() {
                let used = pool.all.used.get(*resource);
                let limit = self.limit(pool, *resource);
                if !limit.holds(used) && !used.is_zero() {
                    let bound = limit.headroom(super::amount::Amount::ZERO).units();
                    found.push((Arc::clone(&pool.spec.name), *resource, used.units(), bound));
                }
            }
        }
        for (_, node) in self.nodes.iter().filter(|(_, node)| node.spec.is_some()) {
            for (resource, load) in node.load.iter() {
                let offered = node.allocatable.get(resource);
                if load > offered {
                    found.push((Arc::clone(&node.name), resource, load.units(), offered.units()));
                }
            }
        }
        found
    }

    fn expect(&self) -> Expected {
        let mut expected = Expected::default();
        self.expect_tenants(&mut expected);
        for (_, workload) in self.workloads.iter() {
            let path = workload.pool.and_then(|pool| self.pool(pool)).map(|pool| pool.path.clone());
            let path = path.unwrap_or_default();
            let stopping = matches!(workload.phase, Phase::Stopping { .. });
            let requests = self.requests(workload);
            let loads = self.loads(workload);
            for (index, member) in workload.members.iter().enumerate() {
                let mut charge = member.charge.as_deref().unwrap_or(&requests).clone();
                if workload.disks.bytes.keys().any(|one| *one as usize == index) {
                    charge.set(ResourceId::STORAGE, super::amount::Amount::ZERO);
                }
                let charge = &charge;
                let shed = workload.shrink_to.is_some_and(|to| index >= to as usize);
                let told = (stopping || shed) && !workload.stubborn;
                let leaves =
                    (told || member.terminating) && matches!(member.slot, Slot::Live | Slot::Assumed(_));
                let stage = member.moving.as_ref().map(|one| one.stage);
                let leaving = leaves && stage.is_none_or(|stage| stage == Stage::GivenUp);
                let vacating = leaves || member.moving.as_ref().is_some_and(|one| one.vacates());
                if let Some(one) = &member.moving
                    && !one.pod.as_ref().is_some_and(|uid| self.pods.contains_key(uid))
                {
                    expected.load.entry(one.to).or_default().add(&loads);
                }
                if matches!(member.slot, Slot::Live | Slot::Assumed(_) | Slot::Backoff(_)) {
                    let whose = (workload.pool, Arc::clone(&workload.spec.namespace));
                    expected.used_in.entry(whose).or_default().add(charge);
                    for pool in &path {
                        expected.used.entry(*pool).or_default().add(charge);
                        if !workload.spec.preemptible {
                            expected.firm.entry(*pool).or_default().add(charge);
                        }
                        if leaving {
                            expected.leaving.entry(*pool).or_default().add(charge);
                        }
                    }
                }
                if let Slot::Assumed(node) = member.slot {
                    expected.load.entry(node).or_default().add(&loads);
                    if vacating {
                        expected.load_leaving.entry(node).or_default().add(&loads);
                    }
                }
                if let (Slot::Live, Some(pod)) = (&member.slot, &member.pod)
                    && let Some(pod) = self.pods.get(pod)
                    && let Some(node) = pod.node
                    && vacating
                    && pod.loads()
                {
                    expected.load_leaving.entry(node).or_default().add(&pod.requests);
                }
            }
            let disks = Self::disks_of(workload);
            if workload.pool.is_some() && !disks.is_zero() {
                let whose = (workload.pool, Arc::clone(&workload.spec.namespace));
                expected.used_in.entry(whose).or_default().add(&disks);
            }
            for pool in path.iter().filter(|_| !disks.is_zero()) {
                expected.used.entry(*pool).or_default().add(&disks);
                if !workload.spec.preemptible {
                    expected.firm.entry(*pool).or_default().add(&disks);
                }
            }
            let asked = self.asks(workload);
            for node in &workload.nominated {
                expected.kept.entry(*node).or_default().add(&loads);
                for pool in &path {
                    expected.nominated.entry(*pool).or_default().add(&asked);
                    if !workload.spec.preemptible {
                        expected.firm.entry(*pool).or_default().add(&asked);
                    }
                }
            }
            if let (Phase::Admitted { .. }, Some(pool)) = (&workload.phase, workload.pool) {
                *expected.admitted.entry(pool).or_default() += 1;
            }
            for pool in &path {
                let holds = matches!(workload.phase, Phase::Admitted { .. } | Phase::Stopping { .. });
                *expected.running.entry(*pool).or_default() += u32::from(holds);
                let queued = workload.place.as_ref().is_some_and(|place| !place.overflow);
                *expected.queued.entry(*pool).or_default() += u32::from(queued);
            }
        }
        for ((pool, namespace), charge) in self.expected_of_labelled() {
            expected.used_in.entry((Some(pool), namespace)).or_default().add(&charge);
            for above in self.pool(pool).map(|pool| pool.path.clone()).unwrap_or_default() {
                expected.used.entry(above).or_default().add(&charge);
                expected.firm.entry(above).or_default().add(&charge);
            }
        }
        for pod in self.pods.values() {
            if let Some(node) = pod.node.filter(|_| !pod.phase.ended() && !pod.lost) {
                expected.load.entry(node).or_default().add(&pod.requests);
            }
        }
        expected
    }

    fn expect_tenants(&self, expected: &mut Expected) {
        for (id, workload) in self.workloads.iter() {
            for (index, member) in (0_u32..).zip(&workload.members) {
                let pod = member.pod.as_ref().filter(|_| member.slot == Slot::Live);
                let pod =
                    pod.and_then(|uid| self.pods.get(uid)).filter(|pod| !pod.phase.ended() && !pod.lost);
                let Some((pod, node)) = pod.and_then(|pod| Some((pod, pod.node?))) else { continue };
                let tenants = expected.tenants.entry(node).or_default();
                tenants.insert((WorkloadId(id), index), pod.requests.clone());
                *expected.light.entry(node).or_default() +=
                    u32::from(workload.spec.loses_nothing_by_moving());
            }
        }
    }

    fn audit_pools(&self, expected: &Expected, wrong: &mut Vec<String>) {
        for (id, pool) in self.pools.iter() {
            let id = PoolId(id);
            let name = &pool.spec.name;
            let amounts = [
                ("used", &pool.all.used, expected.used.get(&id)),
                ("leaving", &pool.all.leaving, expected.leaving.get(&id)),
                ("firm", &pool.all.firm, expected.firm.get(&id)),
                ("nominated", &pool.all.nominated, expected.nominated.get(&id)),
            ];
            for (what, is, should) in amounts {
                let should = should.cloned().unwrap_or_default();
                if *is != should {
                    wrong.push(format!("pool {name}: {what} is {is:?} and should be {should:?}"));
                }
            }
            for (namespace, used) in &pool.used_in {
                let should = expected.used_in.get(&(Some(id), Arc::clone(namespace))).cloned();
                let should = should.unwrap_or_default();
                if *used != should {
                    wrong.push(format!(
                        "pool {name}: namespace {namespace} uses {used:?} and should use {should:?}"
                    ));
                }
            }
            let admitted = expected.admitted.get(&id).copied().unwrap_or(0);
            if pool.admitted.len() != admitted {
                wrong.push(format!(
                    "pool {name}: {} workloads are listed as admitted, {admitted} are",
                    pool.admitted.len()
                ));
            }
            for (what, is, should) in [
                ("running", pool.all.running, expected.running.get(&id)),
                ("queued", pool.all.queued, expected.queued.get(&id)),
            ] {
                let should = should.copied().unwrap_or(0);
                if is != should {
                    wrong.push(format!("pool {name}: {what} is {is} and should be {should}"));
                }
            }
        }
    }

    fn audit_nodes(&self, expected: &Expected, wrong: &mut Vec<String>) {
        let mut named_by: BTreeMap<NodeId, u32> = BTreeMap::new();
        for (uid, pod) in self.pods.iter() {
            let Some(id) = pod.node else { continue };
            *named_by.entry(id).or_default() += 1;
            if self.node(id).is_none() {
                wrong.push(format!("pod {uid}: its node is forgotten"));
            }
        }
        for (id, node) in self.nodes.iter() {
            let id = NodeId(id);
            let pods = named_by.get(&id).copied().unwrap_or(0);
            if node.named_by != pods {
                wrong.push(format!("node {}: {} pods name it, and {pods} do", node.name, node.named_by));
            }
            for (what, is, should) in [
                ("load", &node.load, expected.load.get(&id)),
                ("leaving", &node.leaving, expected.load_leaving.get(&id)),
                ("nominated", &node.nominated, expected.kept.get(&id)),
            ] {
                let should = should.cloned().unwrap_or_default();
                if *is != should {
                    wrong.push(format!("node {}: {what} is {is:?} and should be {should:?}", node.name));
                }
            }
            let tenants = expected.tenants.get(&id).cloned().unwrap_or_default();
            let light = expected.light.get(&id).copied().unwrap_or(0);
            if node.tenants != tenants || node.light != light {
                wrong.push(format!(
                    "node {}: {} of {:?} live there, and should {light} of {tenants:?}",
                    node.name, node.light, node.tenants
                ));
            }
            if node.contributed != node.contribution() && !node.sets.is_empty() {
                wrong.push(format!("node {}: adds {:?} to its pools", node.name, node.contributed));
            }
        }
        for (at, set) in self.sets.iter().enumerate() {
            let mut capacity = Amounts::new();
            let mut ready = 0;
            for (_, id) in &set.nodes {
                let Some(node) = self.node(*id) else {
                    wrong.push(format!("set {at}: has a node that is not there"));
                    continue;
                };
                if node.is_ready() {
                    capacity.add(&node.allocatable);
                    ready += 1;
                }
            }
            if set.total.capacity != capacity || set.total.ready != ready {
                wrong.push(format!(
                    "set {at}: capacity is {:?} and should be {capacity:?}",
                    set.total.capacity
                ));
            }
        }
    }

    fn audit_moves(&self, wrong: &mut Vec<String>) {
        for (id, workload) in self.workloads.iter() {
            let id = super::ids::WorkloadId(id);
            let admitted = matches!(workload.phase, Phase::Admitted { .. }) && workload.pool.is_some();
            let moves = admitted && workload.spec.loses_nothing_by_moving();
            if moves != self.movers.contains(&id) {
                wrong.push(format!(
                    "workload {}: is listed as one that loses nothing by moving, or not",
                    workload.title()
                ));
            }
        }
        let mut moves = 0;
        for (id, workload) in self.workloads.iter() {
            for (index, member) in (0_u32..).zip(&workload.members) {
                let Some(one) = &member.moving else { continue };
                moves += 1;
                let name = format!("workload {}: member {index}", workload.title());
                if !self.moving.contains(&(super::ids::WorkloadId(id), index)) {
                    wrong.push(format!("{name} moves and is not listed"));
                }
                let behind = one.goes_on() && one.attempt < member.attempt && one.how != How::Live;
                if behind || one.pod.is_some() && one.pod == member.pod {
                    wrong.push(format!("{name}: its move is behind it: {one:?}"));
                }
                let has_source = member.slot == Slot::Live;
                let apart = one.how == How::Live && !has_source;
                if apart || !has_source && one.stage != Stage::GivenUp && one.stage != Stage::Leaving {
                    wrong.push(format!("{name} moves from nowhere: {:?}, {one:?}", member.slot));
                }
            }
        }
        if moves != self.moving.len() {
            wrong.push(format!("{} members are listed as moving, and {moves} do", self.moving.len()));
        }
    }

    fn audit_queues(&self, wrong: &mut Vec<String>) {
        for (_, pool) in self.pools.iter() {
            for id in pool.queue.iter() {
                let in_place = self.workload(id).is_some_and(|workload| {
                    matches!(workload.phase, Phase::Queued { .. }) && workload.place.is_some()
                });
                if !in_place {
                    wrong.push(format!(
                        "pool {}: its queue has a workload that does not wait",
                        pool.spec.name
                    ));
                }
            }
        }
        for (_, workload) in self.workloads.iter() {
            let waits = matches!(workload.phase, Phase::Queued { .. });
            if !waits && workload.place.is_some() {
                wrong.push(format!("workload {}: stands in a queue and does not wait", workload.title()));
            }
        }
    }
}
