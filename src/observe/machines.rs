//! Virtual machines, what runs of them, and the pods that `KubeVirt` makes for that: three kinds of objects that are
//! told to the world as one run of a member.
//!
//! A run is known by the UID of its machine and the attempt that was written into its template. It begins when the
//! machine is told to run, and is over when the machine is told to stop and nothing of it is left.

mod chosen;
mod claims;
mod migrations;
mod starting;
#[cfg(test)]
mod testing;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{Notes, arc, names, pod, time};
use crate::api::kubevirt::{
    ALWAYS, EPHEMERAL, GROUP, HALTED, INSTANCE, InstanceStatus, MACHINE, MIGRATION, MachineStatus, OVERHEAD,
    TROUBLES, VirtualMachine, VirtualMachineInstance,
};
use crate::api::labels;
use crate::api::pruned::Condition;
use crate::api::pruned::Pod;
use crate::model::amount::Amount;
use crate::model::delta::Delta;
use crate::model::machines::{PassageState, Starting};
use crate::model::spec::{MemberRef, NamedAmounts, PodPhase, PodSpec, Run};
use crate::model::time::Time;
use claims::Claims;
use kube::core::ObjectMeta;
use migrations::{Foreign, Migration};

/// One run: the UID of the machine and the attempt.
pub fn run(machine: &str, attempt: u32) -> Arc<str> {
    format!("{machine}#{attempt}").into()
}

/// Machine and attempt of a run.
pub fn parse_run(run: &str) -> Option<(&str, u32)> {
    let (machine, attempt) = run.split_once('#')?;
    Some((machine, attempt.parse().ok()?))
}

/// A machine of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Vm {
    workload: Arc<str>,
    index: u32,
    attempt: u32,
    node: Option<Arc<str>>,
    strategy: Option<String>,
    deleting: bool,
    created: Time,
    /// What its data volumes ask for.
    disk_bytes: i64,
    /// What keeps it from starting.
    trouble: Option<Arc<str>>,
}

/// What runs of a machine, ours or not.
#[derive(Clone, Debug, PartialEq)]
struct Vmi {
    machine: Arc<str>,
    namespace: Arc<str>,
    name: Arc<str>,
    attempt: Option<u32>,
    node: Option<Arc<str>>,
    deleting: bool,
    created: Time,
    status: InstanceStatus,
}

/// A pod of what runs.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Launcher {
    instance: Arc<str>,
    namespace: Arc<str>,
    name: Arc<str>,
    ephemeral: bool,
    /// UID of the migration that it is the target of.
    migration: Option<Arc<str>>,
    /// Of its memory, what is not the guest's.
    overhead: Option<Amount>,
    spec: PodSpec,
    /// What it wants of its node, until it runs.
    starting: Option<Arc<Starting>>,
}

/// A pod of a run that waits to be bound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unbound {
    /// Its namespace.
    pub namespace: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
    /// Its UID.
    pub uid: Arc<str>,
}

/// All machines.
#[derive(Clone, Debug, Default)]
pub struct Machines {
    vms: BTreeMap<Arc<str>, Vm>,
    vmis: BTreeMap<Arc<str>, Vmi>,
    /// UIDs of what runs of a machine.
    runs_of: BTreeMap<Arc<str>, BTreeSet<Arc<str>>>,
    launchers: BTreeMap<Arc<str>, Launcher>,
    /// UIDs of the pods of what runs.
    pods_of: BTreeMap<Arc<str>, BTreeSet<Arc<str>>>,
    migrations: BTreeMap<Arc<str>, Migration>,
    foreign: BTreeMap<Arc<str>, Foreign>,
    claims: Claims,
    /// What the world was told, by machine and run.
    told: BTreeMap<Arc<str>, BTreeMap<Arc<str>, PodSpec>>,
    /// Pods that the world was told of as pods of others.
    plain: BTreeSet<Arc<str>>,
}

impl Launcher {
    fn waits(&self) -> bool {
        !self.spec.bound && !self.spec.terminating && !self.spec.phase.ended()
    }

    fn unbound(&self, uid: &Arc<str>) -> Unbound {
        Unbound { namespace: Arc::clone(&self.namespace), name: Arc::clone(&self.name), uid: Arc::clone(uid) }
    }
}

/// What a machine comes to.
#[derive(Default)]
struct Found {
    /// Its runs, by their UIDs.
    runs: BTreeMap<Arc<str>, PodSpec>,
    /// Pods of it that count for themselves.
    others: Vec<Arc<str>>,
    /// Pods that its runs stand for.
    own: Vec<Arc<str>>,
}

/// What a member asks for before its pod is seen.
pub type Estimate<'a> = &'a dyn Fn(&str) -> NamedAmounts;

impl Machines {
    /// A machine was seen.
    pub fn machine(&mut self, seen: &VirtualMachine, estimate: Estimate<'_>) -> Vec<Delta> {
        let metadata = &seen.metadata;
        let uid = arc(metadata.uid.as_ref());
        let Some(owner) = pod::owner(metadata) else { return self.machine_gone(&uid, estimate) };
        let name = metadata.name.as_deref().unwrap_or_default();
        let Some((index, _)) = names::parse_member(&owner.name, name) else {
            return self.machine_gone(&uid, estimate);
        };
        let template = &seen.spec.template.metadata;
        let vm = Vm {
            workload: owner.uid.as_str().into(),
            index,
            attempt: attempt(template).unwrap_or(0),
            node: node(template),
            strategy: seen.spec.run_strategy.clone(),
            deleting: metadata.deletion_timestamp.is_some(),
            created: time(metadata.creation_timestamp.as_ref()),
            disk_bytes: seen
                .spec
                .data_volume_templates
                .iter()
                .fold(0, |sum: i64, one| sum.saturating_add(one.bytes())),
            trouble: trouble(&seen.status),
        };
        let mut deltas = Vec::new();
        let (workload, index, bytes) = (Arc::clone(&vm.workload), vm.index, vm.disk_bytes);
        let before = self.vms.insert(Arc::clone(&uid), vm);
        if before.map_or(0, |before| before.disk_bytes) != bytes {
            deltas.push(Delta::Disks { workload, index, bytes: Amount::new(bytes) });
        }
        deltas.extend(self.retell(&uid, estimate));
        deltas
    }

    /// The machines of a workload, of which more is known now.
    pub fn of_workload(&mut self, workload: &str, estimate: Estimate<'_>) -> Vec<Delta> {
        let machines = self.vms.iter().filter(|(_, vm)| *vm.workload == *workload);
        let machines: Vec<Arc<str>> = machines.map(|(uid, _)| Arc::clone(uid)).collect();
        machines.iter().flat_map(|uid| self.retell(uid, estimate)).collect()
    }

    /// A machine is gone.
    pub fn machine_gone(&mut self, uid: &Arc<str>, estimate: Estimate<'_>) -> Vec<Delta> {
        let Some(vm) = self.vms.remove(uid) else { return Vec::new() };
        let mut deltas = self.retell(uid, estimate);
        if vm.disk_bytes > 0 {
            deltas.push(Delta::Disks { workload: vm.workload, index: vm.index, bytes: Amount::ZERO });
        }
        deltas
    }

    /// What runs of a machine was seen.
    pub fn instance(&mut self, seen: &VirtualMachineInstance, estimate: Estimate<'_>) -> Vec<Delta> {
        let metadata = &seen.metadata;
        let uid = arc(metadata.uid.as_ref());
        let Some(machine) = owner(metadata, MACHINE) else { return Vec::new() };
        let vmi = Vmi {
            machine: Arc::clone(&machine),
            namespace: arc(metadata.namespace.as_ref()),
            name: arc(metadata.name.as_ref()),
            attempt: attempt(metadata),
            node: node(metadata),
            deleting: metadata.deletion_timestamp.is_some(),
            created: time(metadata.creation_timestamp.as_ref()),
            status: seen.status.clone(),
        };
        self.vmis.insert(Arc::clone(&uid), vmi);
        self.runs_of.entry(Arc::clone(&machine)).or_default().insert(uid);
        self.retell(&machine, estimate)
    }

    /// What ran of a machine is gone.
    pub fn instance_gone(&mut self, uid: &Arc<str>, estimate: Estimate<'_>) -> Vec<Delta> {
        let Some(vmi) = self.vmis.remove(uid) else { return Vec::new() };
        if let Some(runs) = self.runs_of.get_mut(&vmi.machine) {
            runs.remove(uid);
            if runs.is_empty() {
                self.runs_of.remove(&vmi.machine);
            }
        }
        let mut deltas = self.retell(&vmi.machine, estimate);
        // Pods that outlive it take something of their nodes still.
        let pods: Vec<Arc<str>> = self.pods_of.get(uid).into_iter().flatten().cloned().collect();
        for pod in pods {
            deltas.extend(self.tell_plain(&pod));
        }
        deltas
    }

    /// A pod of what runs was seen.
    pub fn pod(&mut self, seen: &Pod, notes: &mut Notes, estimate: Estimate<'_>) -> Option<Vec<Delta>> {
        let metadata = &seen.metadata;
        let instance = owner(metadata, INSTANCE)?;
        let uid = arc(metadata.uid.as_ref());
        let is = |map: Option<&BTreeMap<String, String>>, key| map.is_some_and(|map| map.contains_key(key));
        let spec = pod::read(seen, notes);
        let starting = (spec.phase == PodPhase::Pending).then(|| Arc::new(starting::read(seen, notes)));
        self.claims.used(&uid, starting.as_deref());
        let launcher = Launcher {
            instance: Arc::clone(&instance),
            namespace: arc(metadata.namespace.as_ref()),
            name: arc(metadata.name.as_ref()),
            ephemeral: is(metadata.annotations.as_ref(), EPHEMERAL),
            migration: metadata
                .labels
                .as_ref()
                .and_then(|labels| labels.get(MIGRATION))
                .map(|uid| uid.as_str().into()),
            overhead: metadata
                .annotations
                .as_ref()
                .and_then(|annotations| annotations.get(OVERHEAD)?.parse().ok())
                .filter(|bytes: &i64| *bytes > 0)
                .map(Amount::new),
            spec,
            starting,
        };
        self.launchers.insert(Arc::clone(&uid), launcher);
        self.pods_of.entry(Arc::clone(&instance)).or_default().insert(Arc::clone(&uid));
        Some(match self.vmis.get(&instance).map(|vmi| Arc::clone(&vmi.machine)) {
            Some(machine) if self.vms.contains_key(&machine) => self.retell(&machine, estimate),
            _ => self.tell_plain(&uid),
        })
    }

    /// A pod is gone; none if it was none of these.
    pub fn pod_gone(&mut self, uid: &Arc<str>, estimate: Estimate<'_>) -> Option<Vec<Delta>> {
        let launcher = self.launchers.remove(uid)?;
        self.claims.used(uid, None);
        if let Some(pods) = self.pods_of.get_mut(&launcher.instance) {
            pods.remove(uid);
            if pods.is_empty() {
                self.pods_of.remove(&launcher.instance);
            }
        }
        let mut deltas = Vec::new();
        if self.plain.remove(uid) {
            deltas.push(Delta::PodGone(Arc::clone(uid)));
        }
        if let Some(machine) = self.vmis.get(&launcher.instance).map(|vmi| Arc::clone(&vmi.machine)) {
            deltas.extend(self.retell(&machine, estimate));
        }
        Some(deltas)
    }

    /// Whether the machine of a run is still told to run it, and what runs of an earlier attempt otherwise.
    pub fn is_current(&self, run: &str) -> bool {
        parse_run(run)
            .is_some_and(|(machine, attempt)| self.vms.get(machine).is_none_or(|vm| vm.attempt == attempt))
    }

    /// What is left of an earlier run: namespace, name and UID.
    pub fn instance_of(&self, run: &str) -> Option<(Arc<str>, Arc<str>, Arc<str>)> {
        let (machine, attempt) = parse_run(run)?;
        let uids = self.runs_of.get(machine)?;
        uids.iter().find_map(|uid| {
            let vmi = self.vmis.get(uid).filter(|vmi| vmi.attempt == Some(attempt))?;
            Some((Arc::clone(&vmi.namespace), Arc::clone(&vmi.name), Arc::clone(uid)))
        })
    }

    /// The pods of a run that wait to be bound; those that it is moved to are bound by its move.
    pub fn unbound(&self, run: &str) -> Vec<Unbound> {
        let pods = self.pods_of_run(run).filter(|(_, pod)| pod.waits() && pod.migration.is_none());
        pods.map(|(uid, pod)| pod.unbound(uid)).collect()
    }

    /// The pods of a run, by their UIDs.
    fn pods_of_run(&self, run: &str) -> impl Iterator<Item = (&Arc<str>, &Launcher)> {
        let (vmis, attempt) = match parse_run(run) {
            Some((machine, attempt)) => (self.runs_of.get(machine), attempt),
            None => (None, 0),
        };
        let vmis = vmis.into_iter().flatten().filter(move |uid| {
            self.vmis.get(*uid).is_some_and(|vmi| vmi.attempt.is_none_or(|one| one == attempt))
        });
        let pods = vmis.flat_map(|uid| self.pods_of.get(uid).into_iter().flatten());
        pods.filter_map(|uid| Some((uid, self.launchers.get(uid)?)))
    }

    /// The pod that a run is to move to, while it waits to be bound.
    pub fn unbound_target(&self, run: &str) -> Vec<Unbound> {
        let runs = parse_run(run).and_then(|(machine, _)| self.told.get(machine)?.get(run));
        let passage = runs.and_then(|spec| spec.machine.as_ref()?.passage.as_ref());
        let Some(passage) = passage.filter(|passage| passage.is_under_way()) else { return Vec::new() };
        let target = |pod: &&Launcher| pod.waits() && pod.migration.as_deref() == Some(&*passage.uid);
        self.launchers.iter().filter(|(_, pod)| target(pod)).map(|(uid, pod)| pod.unbound(uid)).collect()
    }

    /// Tells of a pod as of one of others.
    fn tell_plain(&mut self, uid: &Arc<str>) -> Vec<Delta> {
        let Some(launcher) = self.launchers.get(uid).filter(|pod| pod.spec.node.is_some()) else {
            return Vec::new();
        };
        self.plain.insert(Arc::clone(uid));
        vec![Delta::Pod(Box::new(launcher.spec.clone()))]
    }

    /// Tells what has changed of a machine's runs.
    fn retell(&mut self, machine: &Arc<str>, estimate: Estimate<'_>) -> Vec<Delta> {
        let mut deltas = Vec::new();
        let Found { runs, others, own } = self.runs(machine, estimate);
        for uid in own {
            if self.plain.remove(&uid) {
                deltas.push(Delta::PodGone(uid));
            }
        }
        for uid in others {
            deltas.extend(self.tell_plain(&uid));
        }
        let before = self.told.remove(machine).unwrap_or_default();
        for run in before.keys().filter(|run| !runs.contains_key(*run)) {
            deltas.push(Delta::PodGone(Arc::clone(run)));
        }
        for (run, spec) in &runs {
            if before.get(run) != Some(spec) {
                deltas.push(Delta::Pod(Box::new(spec.clone())));
            }
        }
        if !runs.is_empty() {
            self.told.insert(Arc::clone(machine), runs);
        }
        deltas
    }

    /// What a machine comes to, as things are.
    fn runs(&self, machine: &Arc<str>, estimate: Estimate<'_>) -> Found {
        let Found { mut runs, mut others, mut own } = Found::default();
        let vmis = || self.runs_of.get(machine).into_iter().flatten();
        let Some(vm) = self.vms.get(machine) else {
            for uid in vmis() {
                others.extend(self.pods_of.get(uid).into_iter().flatten().cloned());
            }
            return Found { runs, others, own };
        };
        let started = vm.strategy.as_deref() != Some(HALTED);
        let asked = estimate(&vm.workload);
        for (uid, vmi) in vmis().filter_map(|uid| Some((uid, self.vmis.get(uid)?))) {
            let attempt = vmi.attempt.unwrap_or(vm.attempt);
            let pods: Vec<&Launcher> = self
                .pods_of
                .get(uid)
                .into_iter()
                .flatten()
                .filter_map(|uid| self.launchers.get(uid))
                .collect();
            let chosen = self.chosen(&pods, vmi);
            let passage = self.passage(vm, vmi, &pods);
            // The room of the one that it moves to is reckoned by the move.
            let awaited = passage.as_ref().filter(|one| one.state != PassageState::Failed);
            for pod in &pods {
                let uid = Arc::clone(&pod.spec.uid);
                let is_chosen = chosen.is_some_and(|chosen| chosen.spec.uid == uid);
                let is_awaited =
                    pod.migration.is_some() && pod.migration.as_ref() == awaited.map(|one| &one.uid);
                let is_left =
                    chosen.is_some_and(|chosen| chosen.migration.is_some()) && pod.spec.node.is_some();
                if !is_chosen && !is_awaited && (pod.migration.is_some() || is_left) {
                    others.push(uid);
                } else {
                    own.push(uid);
                }
            }
            let stale = attempt != vm.attempt;
            let spec = PodSpec {
                terminating: !started || vm.deleting || stale,
                ..of_instance(vm, vmi, attempt, chosen, &asked)
            };
            let run_of = spec.machine.clone().unwrap_or_default();
            let starting = chosen.and_then(|pod| self.starting(pod));
            let spec = PodSpec { machine: Some(Run { passage, starting, ..run_of }), ..spec };
            runs.insert(run(machine, attempt), PodSpec { uid: run(machine, attempt), ..spec });
        }
        let current = run(machine, vm.attempt);
        if started && !runs.contains_key(&current) {
            let member =
                MemberRef { workload: Arc::clone(&vm.workload), index: vm.index, attempt: vm.attempt };
            let spec = PodSpec {
                uid: Arc::clone(&current),
                node: vm.node.clone(),
                bound: true,
                created: vm.created,
                terminating: vm.deleting,
                phase: PodPhase::Pending,
                requests: asked,
                host_ports: Vec::new(),
                neighbour: Arc::default(),
                member: Some(member),
                maker: None,
                machine: Some(Run { trouble: vm.trouble.clone(), ..Run::default() }),
            };
            runs.insert(current, spec);
        }
        Found { runs, others, own }
    }
}

fn of_instance(vm: &Vm, vmi: &Vmi, attempt: u32, pod: Option<&Launcher>, asked: &NamedAmounts) -> PodSpec {
    let chosen = vmi.node.clone().or_else(|| vm.node.clone());
    let movable =
        vmi.status.conditions.iter().any(|one| one.kind == "LiveMigratable" && one.status == "True");
    let here = vmi.status.node_name.as_deref();
    let settled = vmi.status.phase.as_deref() == Some("Running")
        && here == pod.and_then(|pod| pod.spec.node.as_deref());
    let astray = settled && vm.node.is_some() && here != vm.node.as_deref();
    let mut requests = pod.map_or_else(|| asked.clone(), |pod| pod.spec.requests.clone());
    if pod.is_some_and(|pod| pod.ephemeral) {
        // The place is kept for the pod that follows.
        for (name, amount) in asked {
            let own = requests.entry(Arc::clone(name)).or_default();
            *own = (*own).max(*amount);
        }
    }
    PodSpec {
        uid: Arc::default(),
        node: pod.and_then(|pod| pod.spec.node.clone()).or(chosen),
        bound: pod.is_none_or(|pod| pod.spec.bound),
        created: pod.map_or(vmi.created, |pod| pod.spec.created),
        terminating: false,
        phase: phase(vm, vmi, pod),
        requests,
        host_ports: Vec::new(),
        neighbour: pod.map(|pod| Arc::clone(&pod.spec.neighbour)).unwrap_or_default(),
        member: Some(MemberRef { workload: Arc::clone(&vm.workload), index: vm.index, attempt }),
        maker: None,
        machine: Some(Run {
            live_migratable: movable,
            passage: None,
            astray,
            overhead: pod.and_then(|pod| pod.overhead),
            trouble: vm.trouble.clone().filter(|_| vmi.status.phase.as_deref() != Some("Running")),
            starting: None,
        }),
    }
}

fn phase(vm: &Vm, vmi: &Vmi, pod: Option<&Launcher>) -> PodPhase {
    if let Some(PodPhase::Refused { message }) = pod.map(|pod| &pod.spec.phase) {
        return PodPhase::Refused { message: Arc::clone(message) };
    }
    // One that shall always run is started again by KubeVirt, in its place.
    let ends = vm.strategy.as_deref() != Some(ALWAYS);
    match vmi.status.phase.as_deref() {
        Some("Running") => {
            let ready = vmi.status.conditions.iter().find(|one| one.kind == "Ready" && one.status == "True");
            PodPhase::Running { ready_since: ready.map(|ready| time(ready.last_transition_time.as_ref())) }
        }
        Some("Succeeded") if ends => PodPhase::Succeeded,
        Some("Failed") if ends => {
            let why = vmi.status.reason.as_deref().filter(|reason| !reason.is_empty());
            let message =
                why.map_or_else(|| "the guest crashed".to_owned(), |why| format!("the guest ended: {why}"));
            PodPhase::Failed { message: message.into() }
        }
        _ => PodPhase::Pending,
    }
}

/// What `KubeVirt` says that keeps a machine from starting.
fn trouble(status: &MachineStatus) -> Option<Arc<str>> {
    let word = status.printable_status.as_deref().filter(|word| TROUBLES.contains(word))?;
    let of = |kind: &str, holds: &str| {
        let says = |one: &&Condition| one.kind == kind && one.status == holds && one.message.is_some();
        status.conditions.iter().find(says).and_then(|one| one.message.clone())
    };
    let message =
        of("Failure", "True").or_else(|| of("DataVolumesReady", "False")).or_else(|| of("Ready", "False"));
    Some(match message {
        Some(message) => format!("{word}: {message}").into(),
        None => word.into(),
    })
}

fn attempt(metadata: &ObjectMeta) -> Option<u32> {
    let shown = metadata.labels.as_ref()?.get(labels::ATTEMPT)?.parse().ok()?;
    Some(names::model_attempt(shown))
}

fn node(metadata: &ObjectMeta) -> Option<Arc<str>> {
    metadata.annotations.as_ref()?.get(labels::NODE).map(|node| node.as_str().into())
}

/// UID of the object of a kind of `KubeVirt` that controls this one.
fn owner(metadata: &ObjectMeta, kind: &str) -> Option<Arc<str>> {
    let mut owners = metadata.owner_references.iter().flatten();
    let owner = owners.find(|owner| {
        owner.controller == Some(true)
            && owner.kind == kind
            && owner.api_version.split_once('/').is_some_and(|(group, _)| group == GROUP)
    });
    owner.map(|owner| owner.uid.as_str().into())
}

/// Whether a pod is that of a running machine.
pub fn is_of_machine(metadata: &ObjectMeta) -> bool {
    owner(metadata, INSTANCE).is_some()
}
