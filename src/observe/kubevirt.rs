//! What the catalog knows of `KubeVirt`: its settings and sizes, the machines, and which templates it takes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::catalog::{Catalog, Workload};
use super::machine::{self, Cluster, Overcommit};
use super::machines::{Machines, Unbound};
use super::template::{Owner, Template};
use super::volume::claim_name;
use super::{arc, names};
use crate::api::ResourcePool;
use crate::api::kubevirt as seen;
use crate::api::pruned::{PersistentVolumeClaim, Pod};
use crate::api::template::machine::{InstancetypeKind, Machine};
use crate::model::delta::Delta;
use crate::model::labelled::MakerKind;
use crate::model::spec::{MemberRef, NamedAmounts, Runtime, ShapeSpec};
use crate::model::time::{Span, Time};

/// Whether `KubeVirt` takes a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Check {
    /// It makes no machines.
    Unneeded,
    /// It is to be asked.
    Wanted,
    /// It does.
    Taken,
    /// It does not, and says why.
    Refused(Arc<str>),
}

/// All that is known of it.
#[derive(Clone, Debug, Default)]
pub struct KubeVirt {
    machines: Machines,
    cluster: Cluster,
    /// By namespace (none: of the cluster) and name.
    sizes: BTreeMap<(Option<Arc<str>>, Arc<str>), seen::InstancetypeSpec>,
    /// Workloads whose templates it is to be asked about.
    pub(super) to_check: BTreeSet<Arc<str>>,
    /// Those whose templates it has refused: how often in a row, and when it is asked again.
    refused: BTreeMap<Arc<str>, (u32, Time)>,
}

/// What was refused may be taken later: a size is made, a feature is switched on. It is asked about again after so long, which
/// doubles each time.
const ASK_AGAIN: Span = Span::seconds(10);
const ASK_AGAIN_AT_MOST: Span = Span::minutes(5);

/// How far the machines of a pool are overcommitted, as far as it says.
pub(super) fn overcommit(pool: &ResourcePool) -> Overcommit {
    let said = pool.spec.virtual_machines.clone().unwrap_or_default();
    Overcommit {
        cpu_milli: machine::milli(said.cpu_overcommit.as_ref()),
        memory_milli: machine::milli(said.memory_overcommit.as_ref()),
    }
}

impl Catalog {
    /// What each pool says, and whose child it is: all that machines' requests depend on.
    pub(super) fn overcommits(&self) -> Vec<(Arc<str>, Option<Arc<str>>, Overcommit)> {
        let says =
            |overcommit: &Overcommit| overcommit.cpu_milli.is_some() || overcommit.memory_milli.is_some();
        if !self.pools.values().any(|pool| says(&pool.overcommit)) {
            return Vec::new();
        }
        let all = self.pools.iter();
        all.map(|(name, pool)| (Arc::clone(name), pool.spec.parent.clone(), pool.overcommit)).collect()
    }

    /// What counts in a pool: what it says, else what the next above it says that does.
    pub fn overcommit(&self, pool: &str) -> Overcommit {
        let mut found = Overcommit::default();
        let mut next = self.pools.get(pool);
        // Parents may form a cycle.
        for _ in 0..self.pools.len() {
            let Some(pool) = next else { break };
            found.cpu_milli = found.cpu_milli.or(pool.overcommit.cpu_milli);
            found.memory_milli = found.memory_milli.or(pool.overcommit.memory_milli);
            next = pool.spec.parent.as_ref().and_then(|parent| self.pools.get(parent));
        }
        found
    }

    /// The shape of the members of a workload, or what is wrong with its template.
    pub(super) fn shape(
        &self,
        template: &Template,
        check: &Check,
        owner: Owner<'_>,
    ) -> Result<Arc<ShapeSpec>, Arc<str>> {
        let Some(machine) = &template.machine else { return template.shape_for(owner) };
        let size = machine.ask.instancetype.as_ref().and_then(|(kind, name)| {
            let namespace = (*kind == InstancetypeKind::Namespaced).then(|| Arc::from(owner.namespace));
            self.kubevirt.sizes.get(&(namespace, name.as_str().into()))
        });
        let cluster = &self.kubevirt.cluster;
        let mut shape = machine::shape(machine, self.overcommit(owner.pool), cluster, size)?;
        shape.terms = machine::terms(template, machine, owner)?;
        // What is missing by Weir's own words comes first: they say what to write.
        match check {
            Check::Refused(words) => Err(Arc::clone(words)),
            Check::Unneeded | Check::Wanted | Check::Taken => {
                Ok(Arc::new(with_claims(shape, machine, owner)))
            }
        }
    }

    /// Whether `KubeVirt` takes the template of a workload that was seen: it is asked about each until it does.
    /// One that was admitted when it is first seen was taken then.
    pub(super) fn check_of(&mut self, uid: &Arc<str>, template: &Arc<Template>, is_held: bool) -> Check {
        if template.machine.is_none() {
            self.kubevirt.to_check.remove(uid);
            return Check::Unneeded;
        }
        let same = |known: &&Workload| known.template.as_ref().is_some_and(|one| Arc::ptr_eq(one, template));
        match self.workloads.get(uid).filter(same).map(|known| &known.check) {
            Some(known @ (Check::Taken | Check::Refused(_))) => known.clone(),
            None if is_held && !self.workloads.contains_key(uid) => Check::Taken,
            Some(Check::Wanted | Check::Unneeded) | None => {
                self.kubevirt.to_check.insert(Arc::clone(uid));
                Check::Wanted
            }
        }
    }

    /// Some workloads whose templates `KubeVirt` is to be asked about now; they are not named again until it could not be
    /// asked, or has refused them for a while.
    pub fn take_checks(&mut self, most: usize, now: Time) -> Vec<Arc<str>> {
        self.ask_again(|due| due <= now);
        let first: Vec<Arc<str>> = self.kubevirt.to_check.iter().take(most).cloned().collect();
        for uid in &first {
            self.kubevirt.to_check.remove(uid);
        }
        first
    }

    /// Whether anything is to be asked.
    pub fn wants_checks(&self) -> bool {
        !self.kubevirt.to_check.is_empty()
    }

    /// When what was refused is asked about again.
    pub fn next_check(&self) -> Option<Time> {
        self.kubevirt.refused.values().map(|(_, due)| *due).min()
    }

    /// Those of whom it is time are asked about again. What was said of them stands until then.
    fn ask_again(&mut self, is_time: impl Fn(Time) -> bool) {
        let workloads = &self.workloads;
        let is_refused =
            |uid: &Arc<str>| workloads.get(uid).is_some_and(|known| matches!(known.check, Check::Refused(_)));
        let KubeVirt { refused, to_check, .. } = &mut self.kubevirt;
        refused.retain(|uid, _| is_refused(uid));
        for (uid, (_, due)) in refused.iter_mut().filter(|(_, (_, due))| is_time(*due)) {
            // Until it has answered.
            *due = Time(i64::MAX);
            to_check.insert(Arc::clone(uid));
        }
    }

    /// `KubeVirt` has answered about the template of that generation: it takes it, or says why not; none: it could not
    /// be asked.
    pub fn checked(
        &mut self,
        uid: &str,
        generation: i64,
        answer: Option<Result<(), Arc<str>>>,
        now: Time,
    ) -> Vec<Delta> {
        let Some((uid, known)) = self.workloads.get_key_value(uid) else { return Vec::new() };
        let uid = Arc::clone(uid);
        if matches!(known.check, Check::Taken | Check::Unneeded) {
            return Vec::new();
        }
        let Some(answer) = answer.filter(|_| known.generation == generation) else {
            self.kubevirt.to_check.insert(uid);
            return Vec::new();
        };
        let refused = &mut self.kubevirt.refused;
        if answer.is_ok() {
            refused.remove(&uid);
        } else {
            let (times, due) = refused.entry(Arc::clone(&uid)).or_insert((0, now));
            *due = now + ASK_AGAIN.doubled(*times, ASK_AGAIN_AT_MOST);
            *times = times.saturating_add(1);
        }
        if let Some(known) = self.workloads.get_mut(&uid) {
            known.check = match answer {
                Ok(()) => Check::Taken,
                Err(words) => Check::Refused(format!("KubeVirt refuses the template: {words}").into()),
            };
        }
        self.reshape_one(&uid)
    }

    /// `KubeVirt` is there, or is gone with all that it says.
    pub fn kubevirt(&mut self, is_there: bool) -> Vec<Delta> {
        let machines = self.workloads.iter().filter(|(_, one)| one.spec.runtime == Runtime::VirtualMachine);
        let machines: Vec<Arc<str>> = machines.map(|(uid, _)| Arc::clone(uid)).collect();
        if is_there {
            // Another version may take what the last refused.
            for uid in machines {
                if let Some(known) = self.workloads.get_mut(&uid)
                    && matches!(known.check, Check::Refused(_))
                {
                    known.check = Check::Wanted;
                    self.kubevirt.to_check.insert(uid);
                }
            }
        }
        let mut deltas = self.reshape();
        deltas.push(Delta::KubeVirt(is_there));
        deltas
    }

    /// The settings of the cluster's `KubeVirt` were seen; none: they are gone.
    pub fn kubevirt_settings(&mut self, settings: Option<&seen::KubeVirt>) -> Vec<Delta> {
        let cluster =
            settings.map_or_else(Cluster::default, |settings| Cluster::of(&settings.spec.configuration));
        // A feature that was switched on changes what is taken.
        self.ask_again(|_| true);
        if self.kubevirt.cluster == cluster {
            return Vec::new();
        }
        self.kubevirt.cluster = cluster;
        self.reshape()
    }

    /// Whether migrations have priorities.
    pub fn orders_migrations(&self) -> bool {
        self.kubevirt.cluster.orders_migrations()
    }

    /// A size was seen, of a namespace or of the cluster; none: it is gone.
    pub fn size(
        &mut self,
        namespace: Option<&str>,
        name: &str,
        size: Option<&seen::InstancetypeSpec>,
    ) -> Vec<Delta> {
        let key = (namespace.filter(|namespace| !namespace.is_empty()).map(Arc::from), Arc::from(name));
        let same = match size {
            Some(size) => self.kubevirt.sizes.insert(key, size.clone()).as_ref() == Some(size),
            None => self.kubevirt.sizes.remove(&key).is_none(),
        };
        if same {
            return Vec::new();
        }
        self.ask_again(|_| true);
        self.reshape()
    }

    /// A machine was seen.
    pub fn machine(&mut self, seen: &seen::VirtualMachine) -> Vec<Delta> {
        let mut deltas = self.labelled(MakerKind::VirtualMachine, &seen.metadata);
        let workloads = &self.workloads;
        deltas.extend(self.kubevirt.machines.machine(seen, &|uid| estimate(workloads, uid)));
        deltas
    }

    /// The machines of a workload that were seen before it: what they ask for is known now.
    pub(super) fn machines_of(&mut self, workload: &str) -> Vec<Delta> {
        let workloads = &self.workloads;
        self.kubevirt.machines.of_workload(workload, &|uid| estimate(workloads, uid))
    }

    /// A machine is gone.
    pub fn machine_gone(&mut self, uid: &str, namespace: &str, name: &str) -> Vec<Delta> {
        let mut deltas = self.labelled_gone(MakerKind::VirtualMachine, namespace, name);
        let workloads = &self.workloads;
        deltas.extend(self.kubevirt.machines.machine_gone(&uid.into(), &|uid| estimate(workloads, uid)));
        deltas
    }

    /// What runs of a machine was seen.
    pub fn instance(&mut self, seen: &seen::VirtualMachineInstance) -> Vec<Delta> {
        let workloads = &self.workloads;
        self.kubevirt.machines.instance(seen, &|uid| estimate(workloads, uid))
    }

    /// What ran of a machine is gone.
    pub fn instance_gone(&mut self, uid: &str) -> Vec<Delta> {
        let workloads = &self.workloads;
        self.kubevirt.machines.instance_gone(&uid.into(), &|uid| estimate(workloads, uid))
    }

    /// A migration of what runs of a machine was seen.
    pub fn migration(&mut self, seen: &seen::InstanceMigration) -> Vec<Delta> {
        let workloads = &self.workloads;
        self.kubevirt.machines.migration(seen, &|uid| estimate(workloads, uid))
    }

    /// A migration is gone.
    pub fn migration_gone(&mut self, uid: &str) -> Vec<Delta> {
        let workloads = &self.workloads;
        self.kubevirt.machines.migration_gone(&uid.into(), &|uid| estimate(workloads, uid))
    }

    /// The pod that a run is to move to, while it waits to be bound.
    pub fn unbound_target(&self, run: &str) -> Vec<Unbound> {
        self.kubevirt.machines.unbound_target(run)
    }

    /// A pod was seen; none if it is none of a running machine.
    pub(super) fn machine_pod(&mut self, seen: &Pod) -> Option<Vec<Delta>> {
        let workloads = &self.workloads;
        self.kubevirt.machines.pod(seen, &mut self.notes, &|uid| estimate(workloads, uid))
    }

    pub(super) fn machine_pod_gone(&mut self, seen: &Pod) -> Option<Vec<Delta>> {
        let workloads = &self.workloads;
        let uid = arc(seen.metadata.uid.as_ref());
        self.kubevirt.machines.pod_gone(&uid, &|uid| estimate(workloads, uid))
    }

    /// Claims of a run's pods that are to be made for a node: namespace and name.
    pub fn unset_claims(&self, run: &str, node: &str) -> BTreeSet<(Arc<str>, Arc<str>)> {
        self.kubevirt.machines.unset_claims(run, node)
    }

    /// A claim of a volume was seen.
    pub fn claim(&mut self, seen: &PersistentVolumeClaim) -> Vec<Delta> {
        let mut deltas = self.volumes.claim(seen);
        let workloads = &self.workloads;
        deltas.extend(self.kubevirt.machines.claim(seen, &|uid| estimate(workloads, uid)));
        deltas
    }

    /// A claim of a volume is gone.
    pub fn claim_gone(&mut self, namespace: &str, name: &str) -> Vec<Delta> {
        let mut deltas = self.volumes.claim_gone(namespace, name);
        let workloads = &self.workloads;
        deltas.extend(self.kubevirt.machines.claim_gone(namespace, name, &|uid| estimate(workloads, uid)));
        deltas
    }

    /// The pods of a run that wait to be bound.
    pub fn unbound(&self, run: &str) -> Vec<Unbound> {
        self.kubevirt.machines.unbound(run)
    }

    /// What of a run is to be removed by itself, since its machine is told to run another: namespace, name and UID.
    pub fn stale_instance(&self, run: &str) -> Option<(Arc<str>, Arc<str>, Arc<str>)> {
        let machines = &self.kubevirt.machines;
        if machines.is_current(run) { None } else { machines.instance_of(run) }
    }

    /// The name of a member's machine.
    pub fn machine_name(workload: &Workload, member: &MemberRef) -> Arc<str> {
        names::host(&workload.spec.name, member.index).into()
    }
}

/// The shape of machines with the claims of their volumes, as they are named when the machines are made.
fn with_claims(shape: ShapeSpec, machine: &Machine, owner: Owner<'_>) -> ShapeSpec {
    let claim = |name: &str| claim_name(owner.namespace, name);
    let several = owner.replicas > 1;
    let own = machine.own_claims.iter();
    let shared = machine.claims.iter().chain(own.clone().filter(|_| !several));
    let mut claims: Vec<Arc<str>> = shared.map(|name| claim(name)).collect();
    claims.sort();
    claims.dedup();
    let mut own_claims = Vec::new();
    if several && !machine.own_claims.is_empty() {
        let of = |index: u32| own.clone().map(|name| claim(&format!("{name}-{index}"))).collect();
        own_claims.extend((0..owner.replicas).map(of));
    }
    ShapeSpec { claims, own_claims, ..shape }
}

/// What a member asks for by its template.
fn estimate(workloads: &BTreeMap<Arc<str>, Workload>, uid: &str) -> NamedAmounts {
    let shape = workloads.get(uid).and_then(|known| known.spec.shape.as_ref().ok());
    shape.map(|shape| shape.requests.clone()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::PooledWorkload;
    use serde_json::json;

    fn seen(name: &str, status: &serde_json::Value) -> PooledWorkload {
        let domain = json!({"memory": {"guest": "1Gi"}});
        serde_json::from_value(json!({
            "apiVersion": "weir.dev/v1alpha1", "kind": "PooledWorkload",
            "metadata": {"name": name, "namespace": "a", "uid": name, "generation": 1, "resourceVersion": "1"},
            "spec": {"pool": "p", "template": {"virtualMachine": {"spec": {"template": {"spec": {"domain": domain}}}}}},
            "status": status,
        }))
        .unwrap()
    }

    #[test]
    fn kubevirt_is_asked_about_what_waits_and_again_about_what_it_refused() {
        let mut catalog = Catalog::default();
        let runs = json!({"phase": "Running", "allocation": {"pool": "p", "replicas": 1}});
        catalog.workload(&Ok(seen("runs", &runs)));
        catalog.workload(&Ok(seen("waits", &json!({"phase": "Queued"}))));
        assert_eq!(catalog.take_checks(9, Time(0)), ["waits".into()]);
        let refused = || Some(Err("no such gate".into()));
        catalog.checked("waits", 1, refused(), Time(0));
        let mut asked = Vec::new();
        for second in 1..=100 {
            let now = Time(second * 1000);
            for uid in catalog.take_checks(9, now) {
                asked.push(second);
                catalog.checked(&uid, 1, refused(), now);
            }
        }
        assert_eq!(asked, [10, 30, 70], "the pause doubles");
        // At once when the settings change.
        let settings =
            json!({"metadata": {"name": "kubevirt"}, "spec": {"configuration": {"cpuModel": "Haswell"}}});
        catalog.kubevirt_settings(Some(&serde_json::from_value(settings).unwrap()));
        assert_eq!(catalog.take_checks(9, Time(101_000)), ["waits".into()]);
        let deltas = catalog.checked("waits", 1, Some(Ok(())), Time(101_000));
        assert!(matches!(deltas.as_slice(), [Delta::Workload(spec)] if spec.shape.is_ok()), "{deltas:?}");
        assert!(catalog.take_checks(9, Time(i64::MAX)).is_empty());
    }
}
