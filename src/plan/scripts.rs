//! Decisions to scripts: which writes carry them out, and in which order.

use std::sync::Arc;

use k8s_openapi::api::events::v1::Event;
use serde_json::Value;

use super::event::{self, Action, Told};
use super::machine::{self, MachineWrite};
use super::pod::{self, pods};
use super::workload_status::{self, Urgency};
use super::write::{Script, Write};
use super::{alerts, pool_status, reason};
use crate::api::labels;
use crate::api::pool::ResourcePoolStatus;
use crate::api::workload::PooledWorkloadStatus;
use crate::decide::decision::{Decision, DropReason, Placement};
use crate::model::report::{MemberReport, MemberState, PoolReport, WorkloadReport};
use crate::model::spec::{FinishReason, MemberRef, Runtime, StopReason};
use crate::model::time::Time;
use crate::model::world::World;
use crate::observe::catalog::{Catalog, Pool, Workload};
use crate::observe::machines::{Unbound, parse_run};
use crate::observe::patch;

/// All that planning looks at.
#[derive(Clone, Copy)]
pub struct Desk<'a> {
    /// The world, after the decisions were taken in it.
    pub world: &'a World,
    /// What is known beside it.
    pub catalog: &'a Catalog,
    /// Name of the running operator, for events.
    pub instance: &'a str,
    /// Now.
    pub now: Time,
}

/// A status that shall be written.
#[derive(Clone, Debug, PartialEq)]
pub struct StatusWrite<S> {
    /// How soon.
    pub urgency: Urgency,
    /// The patch.
    pub write: Write,
    /// What the status then says.
    pub next: S,
    /// What it tells; the driver bounds their number.
    pub event: Option<Box<Event>>,
    /// What a pool's alerts tell: each once, when it begins and when it ends.
    pub alerts: Vec<Event>,
}

impl Desk<'_> {
    /// The scripts of some decisions, one each, in order. A workload that is gone meanwhile needs none: its pods
    /// go with it.
    pub fn plan(&self, decisions: &[Decision]) -> Vec<Script> {
        decisions.iter().filter_map(|decision| self.script(decision)).collect()
    }

    fn script(&self, decision: &Decision) -> Option<Script> {
        match decision {
            Decision::Admit { workload, pool, at: _, placements } => {
                let known = self.catalog.get(workload)?;
                let size = u32::try_from(placements.len()).unwrap_or(u32::MAX);
                let told = self.event(
                    known,
                    Told {
                        action: Action::Admit,
                        reason: crate::api::Reason::Admitted,
                        note: &admitted(pool, placements),
                        warning: false,
                    },
                );
                script(workload, vec![self.create(known, pool, size, placements), vec![told]])
            }
            Decision::Place { workload, pool, admitted_at: _, size, placements } => {
                let known = self.catalog.get(workload)?;
                script(workload, vec![self.create(known, pool, *size, placements)])
            }
            Decision::Move { workload, pool, admitted_at: _, size, placement, way } => {
                self.begin_move(workload, pool, *size, placement, way)
            }
            Decision::Leave { member, pod, way, ready } => self.leave(member, pod, way, *ready),
            Decision::GiveUpMove { member, pod, way, because } => {
                self.give_up_move(member, pod.as_ref(), way, *because)
            }
            Decision::Stop { workload, reason, for_whom } => {
                self.stop(workload, *reason, for_whom.as_deref())
            }
            Decision::Shrink { workload, to, for_whom } => self.shrink(workload, *to, for_whom.as_deref()),
            Decision::Bind { member, pod, node } => {
                let binds = self.catalog.unbound(pod).into_iter().map(|Unbound { namespace, name, uid }| {
                    let node = Arc::clone(node);
                    Write::Machine(MachineWrite::Bind { namespace, name, uid, node })
                });
                // Volumes that wait for a first consumer are made for the node that this names.
                let selects = self.catalog.unset_claims(pod, node).into_iter().map(|(namespace, claim)| {
                    let node = Arc::clone(node);
                    Write::Machine(MachineWrite::SelectNode { namespace, claim, node })
                });
                script(&member.workload, vec![selects.collect(), binds.collect()])
            }
            Decision::Migrate { member, pod: _, attempt, way } => self.migrate(member, *attempt, way),
            Decision::BindTarget { member, pod, node } => {
                let binds =
                    self.catalog.unbound_target(pod).into_iter().map(|Unbound { namespace, name, uid }| {
                        let node = Arc::clone(node);
                        Write::Machine(MachineWrite::Bind { namespace, name, uid, node })
                    });
                script(&member.workload, vec![binds.collect()])
            }
            Decision::Arrive { member, pod, node } => {
                let known = self.catalog.get(&member.workload)?;
                let settle = MachineWrite::Settle {
                    namespace: Arc::clone(&known.spec.namespace),
                    name: Catalog::machine_name(known, member),
                    uid: parse_run(pod)?.0.into(),
                    node: Arc::clone(node),
                };
                script(&member.workload, vec![vec![Write::Machine(settle)]])
            }
            Decision::Drop { member, pod, reason } => self.drop(member, pod, *reason),
            Decision::Finish { workload, reason } => self.finish(workload, *reason),
            Decision::Expire { workload } => {
                let spec = &self.catalog.get(workload)?.spec;
                let (namespace, name) = (Arc::clone(&spec.namespace), Arc::clone(&spec.name));
                let uid = Arc::clone(workload);
                script(workload, vec![vec![Write::DeleteWorkload { namespace, name, uid }]])
            }
        }
    }

    /// The status says why before any member leaves: a restart in between goes on with it.
    fn stop(&self, workload: &Arc<str>, reason: StopReason, for_whom: Option<&str>) -> Option<Script> {
        let known = self.catalog.get(workload)?;
        let report = self.world.workload_report(workload)?;
        let status = self.patch(known, &report).map(|(write, _)| write);
        let mut leave: Vec<Write> =
            report.members.iter().filter_map(|one| leaving(self.catalog, known, one, reason)).collect();
        if reason != StopReason::Deleted {
            let note = workload_status::stopping(reason, for_whom);
            let told =
                Told { action: Action::Stop, reason: reason::of_stop(reason), note: &note, warning: false };
            leave.push(self.event(known, told));
        }
        script(workload, vec![status.into_iter().collect(), leave])
    }

    /// The status says the lesser size before any member leaves.
    fn shrink(&self, workload: &Arc<str>, to: u32, for_whom: Option<&str>) -> Option<Script> {
        let known = self.catalog.get(workload)?;
        let report = self.world.workload_report(workload)?;
        let status = self.patch(known, &report).map(|(write, _)| write);
        let shed = report.members.iter().filter(|member| member.index >= to);
        let mut leave: Vec<Write> =
            shed.filter_map(|one| leaving(self.catalog, known, one, StopReason::Preempted)).collect();
        let note = match for_whom {
            Some(whom) => format!("shrinks to {to} members so that {whom} can run"),
            None => format!("shrinks to {to} members"),
        };
        let reason = crate::api::Reason::Shrunk;
        leave.push(self.event(known, Told { action: Action::Stop, reason, note: &note, warning: false }));
        script(workload, vec![status.into_iter().collect(), leave])
    }

    /// Failures and successes that the pod shows are written before it is deleted.
    fn drop(&self, member: &MemberRef, pod: &Arc<str>, reason: DropReason) -> Option<Script> {
        let known = self.catalog.get(&member.workload)?;
        let report = self.world.workload_report(&member.workload);
        let remembers = |last: &PooledWorkloadStatus, next: &PooledWorkloadStatus| {
            last.failures == next.failures && last.succeeded_indexes == next.succeeded_indexes
        };
        let status = report.and_then(|report| self.patch(known, &report));
        let status = status.filter(|(_, next)| !remembers(&known.status(), next)).map(|(write, _)| write);
        let delete = match known.spec.runtime {
            Runtime::Pod => Write::DeletePod {
                namespace: Arc::clone(&known.spec.namespace),
                name: self.catalog.pod_name(known, member, pod),
                uid: Arc::clone(pod),
            },
            Runtime::VirtualMachine => self.end_run(known, member, pod)?,
        };
        let told = self.unfit(known, member, pod, reason);
        script(&member.workload, vec![status.into_iter().collect(), vec![delete], told.into_iter().collect()])
    }

    /// Tells why a member does not stay on the node that was chosen for it.
    fn unfit(&self, known: &Workload, member: &MemberRef, pod: &str, reason: DropReason) -> Option<Write> {
        let why = match reason {
            DropReason::NotSelected => "its pod asks for labels that the node does not have",
            DropReason::VolumeElsewhere => {
                "a volume of it cannot be made there, or is not reached from there"
            }
            DropReason::Refused
            | DropReason::NodeLost
            | DropReason::Unbound
            | DropReason::Superseded
            | DropReason::Unwanted
            | DropReason::MoveGivenUp => return None,
        };
        let node = self.world.node_of_pod(pod)?;
        let note = format!("member {} does not start on {node}: {why}; another node is tried", member.index);
        let reason = crate::api::Reason::NodeUnfit;
        Some(self.event(known, Told { action: Action::Move, reason, note: &note, warning: true }))
    }

    fn finish(&self, workload: &Arc<str>, reason: FinishReason) -> Option<Script> {
        let known = self.catalog.get(workload)?;
        let report = self.world.workload_report(workload)?;
        let status = self.patch(known, &report).map(|(write, _)| write);
        let note = workload_status::finished(reason, &report, known);
        let warning = !reason.succeeded();
        let told = Told { action: Action::Finish, reason: reason::of_finish(reason), note: &note, warning };
        let left = report.members.iter();
        let mut rest: Vec<Write> =
            left.filter_map(|one| leaving(self.catalog, known, one, StopReason::Finished(reason))).collect();
        rest.push(self.event(known, told));
        script(workload, vec![status.into_iter().collect(), rest])
    }

    /// Tells a machine to stop; where it runs again already, only what is left of its earlier run is taken away.
    pub(super) fn end_run(&self, known: &Workload, member: &MemberRef, run: &str) -> Option<Write> {
        Some(Write::Machine(match self.catalog.stale_instance(run) {
            Some((namespace, name, uid)) => MachineWrite::DeleteInstance { namespace, name, uid },
            None => MachineWrite::Halt {
                namespace: Arc::clone(&known.spec.namespace),
                name: Catalog::machine_name(known, member),
                uid: parse_run(run)?.0.into(),
            },
        }))
    }

    /// Asks whether `KubeVirt` takes the template of a workload.
    pub fn check(&self, uid: &str) -> Option<Script> {
        let known = self.catalog.get(uid)?;
        // Where it goes is not known, and does not matter.
        let placement = Placement { index: 0, attempt: 0, node: "".into() };
        let mut machine = self.machine(known, &known.spec.pool, &placement)?;
        // One of that name may be there already, stopped.
        let metadata = machine.get_mut("metadata").and_then(Value::as_object_mut)?;
        metadata.remove("name");
        metadata.insert("generateName".to_owned(), format!("{}-", known.spec.name).into());
        let check = MachineWrite::Check {
            workload: Arc::clone(&known.spec.uid),
            generation: known.generation,
            namespace: Arc::clone(&known.spec.namespace),
            machine: Box::new(machine),
        };
        script(&known.spec.uid, vec![vec![Write::Machine(check)]])
    }

    fn machine(&self, known: &Workload, pool: &str, placement: &Placement) -> Option<Value> {
        let spec = &known.spec;
        let template = known.template.as_ref()?;
        let (machine, machine_spec) = template.machine_spec()?;
        let dedicated = self.world.dedicated_root(pool);
        let of = machine::Workload {
            uid: &spec.uid,
            namespace: &spec.namespace,
            name: &spec.name,
            pool,
            replicas: spec.replicas,
            completion: spec.completion,
            labels: &template.labels,
            annotations: &template.annotations,
            machine,
            spec: &machine_spec,
            overcommit: self.catalog.overcommit(pool),
            left_out: &self.world.left_out(pool),
            dedicated: dedicated.as_deref(),
        };
        Some(machine::machine(&of, placement))
    }

    pub(super) fn create(
        &self,
        known: &Workload,
        pool: &str,
        size: u32,
        placements: &[Placement],
    ) -> Vec<Write> {
        if known.spec.runtime == Runtime::Pod {
            return self.create_pods(known, pool, size, placements);
        }
        let made = placements.iter().filter_map(|placement| {
            let member = MemberRef {
                workload: Arc::clone(&known.spec.uid),
                index: placement.index,
                attempt: placement.attempt,
            };
            Some(Write::Machine(MachineWrite::Start {
                namespace: Arc::clone(&known.spec.namespace),
                name: Catalog::machine_name(known, &member),
                machine: Box::new(self.machine(known, pool, placement)?),
                member,
            }))
        });
        made.collect()
    }

    fn create_pods(&self, known: &Workload, pool: &str, size: u32, placements: &[Placement]) -> Vec<Write> {
        let spec = &known.spec;
        let Some((template, pod_spec)) =
            known.template.as_ref().and_then(|template| Some((template, template.pod()?)))
        else {
            return Vec::new();
        };
        let dedicated = self.world.dedicated_root(pool);
        let of = pod::Workload {
            uid: &spec.uid,
            namespace: &spec.namespace,
            name: &spec.name,
            pool,
            size,
            completion: spec.completion,
            labels: &template.labels,
            annotations: &template.annotations,
            spec: &pod_spec,
            left_out: &self.world.left_out(pool),
            dedicated: dedicated.as_deref(),
        };
        let made = placements.iter().zip(pods(&of, placements));
        made.map(|(placement, pod)| Write::CreatePod {
            member: MemberRef {
                workload: Arc::clone(&spec.uid),
                index: placement.index,
                attempt: placement.attempt,
            },
            namespace: Arc::clone(&spec.namespace),
            pod: Box::new(pod),
        })
        .collect()
    }

    pub(super) fn event(&self, known: &Workload, told: Told<'_>) -> Write {
        Write::Event(Box::new(event::of_workload(known, told, self.instance, self.now)))
    }

    /// The status, if it does not tell of the last request yet.
    pub(super) fn request_recorded(&self, known: &Workload) -> Option<Write> {
        let report = self.world.workload_report(&known.spec.uid)?;
        let (write, next) = self.patch(known, &report)?;
        (next.migration_request != known.status().migration_request).then_some(write)
    }

    fn patch(&self, known: &Workload, report: &WorkloadReport) -> Option<(Write, PooledWorkloadStatus)> {
        let last = known.status();
        let next = workload_status::status(report, known, &last, None, self.world.resources(), self.now);
        Some((patch_workload(known, workload_status::diff(&last, &next)?), next))
    }

    /// The status of a workload, if there is something to write. `place` is given when places in the
    /// queue are due.
    pub fn workload_status(
        &self,
        uid: &str,
        place: Option<workload_status::InQueue>,
    ) -> Option<StatusWrite<PooledWorkloadStatus>> {
        let known = self.catalog.get(uid)?;
        let report = self.world.workload_report(uid)?;
        let last = known.status();
        let next = workload_status::status(&report, known, &last, place, self.world.resources(), self.now);
        let urgency = workload_status::urgency(&report, &last, &next);
        if urgency == Urgency::No {
            return None;
        }
        let write = patch_workload(known, patch::between(&last, &next)?);
        let event = event::of_change(known, &last, &next, self.instance, self.now).map(Box::new);
        Some(StatusWrite { urgency, write, next, event, alerts: Vec::new() })
    }

    /// When a pool must be looked at again although nothing changes. `report` is the world's.
    pub fn pool_due(&self, name: &str, report: &PoolReport) -> Option<Time> {
        alerts::due(report, &self.catalog.get_pool(name)?.spec.alerts, self.now)
    }

    /// The status of a pool, if there is something to write, and its finalizers, if they must change. `report`
    /// is the world's.
    pub fn pool_status(
        &self,
        name: &str,
        report: &PoolReport,
    ) -> (Option<StatusWrite<ResourcePoolStatus>>, Option<Write>) {
        let Some(known) = self.catalog.get_pool(name) else { return (None, None) };
        let next = pool_status::status(report, known, self.catalog, self.world.resources(), self.now);
        let status = pool_status::diff(&known.status, &next).map(|status| StatusWrite {
            urgency: Urgency::Soon,
            write: Write::PatchPoolStatus {
                pool: Arc::clone(&known.spec.name),
                resource_version: Arc::clone(&known.resource_version),
                status,
            },
            event: event::of_pool_change(known, &known.status, &next, self.instance, self.now).map(Box::new),
            alerts: event::of_alerts(known, &known.status, &next, self.instance, self.now),
            next,
        });
        (status, finalizers(report, known))
    }
}

/// A pool in use gets the finalizer once; it is taken away when the pool is deleted and not in use any more.
fn finalizers(report: &PoolReport, known: &Pool) -> Option<Write> {
    let held = known.finalizers.iter().any(|one| one == labels::FINALIZER);
    let mut finalizers = known.finalizers.clone();
    match (known.spec.deleting, report.in_use, held) {
        (false, true, false) => finalizers.push(labels::FINALIZER.to_owned()),
        (true, false, true) => finalizers.retain(|one| one != labels::FINALIZER),
        _ => return None,
    }
    Some(Write::SetPoolFinalizers {
        pool: Arc::clone(&known.spec.name),
        resource_version: Arc::clone(&known.resource_version),
        finalizers,
    })
}

fn patch_workload(known: &Workload, status: Value) -> Write {
    Write::PatchWorkloadStatus {
        workload: Arc::clone(&known.spec.uid),
        namespace: Arc::clone(&known.spec.namespace),
        name: Arc::clone(&known.spec.name),
        resource_version: Arc::clone(&known.resource_version),
        status,
    }
}

/// What makes a member leave, if it lives and is not leaving already.
fn leaving(catalog: &Catalog, known: &Workload, member: &MemberReport, reason: StopReason) -> Option<Write> {
    if known.spec.runtime == Runtime::VirtualMachine {
        return stopping_machine(known, member, reason);
    }
    match member.state {
        MemberState::Starting | MemberState::Running => {}
        MemberState::Unplaced
        | MemberState::BackingOff
        | MemberState::Terminating
        | MemberState::Succeeded
        | MemberState::Failed => return None,
    }
    let pod = member.pod.as_ref()?;
    let whose =
        MemberRef { workload: Arc::clone(&known.spec.uid), index: member.index, attempt: member.attempt };
    let (namespace, name) = (Arc::clone(&known.spec.namespace), catalog.pod_name(known, &whose, pod));
    let uid = Arc::clone(pod);
    Some(if reason.evicts() {
        Write::EvictPod { namespace, name, uid }
    } else {
        Write::DeletePod { namespace, name, uid }
    })
}

/// What makes a machine stop. One that has ended well is told so too: else it could not be started again.
fn stopping_machine(known: &Workload, member: &MemberReport, reason: StopReason) -> Option<Write> {
    let (machine, _) = parse_run(member.pod.as_ref()?)?;
    let whose =
        MemberRef { workload: Arc::clone(&known.spec.uid), index: member.index, attempt: member.attempt };
    let namespace = Arc::clone(&known.spec.namespace);
    let (name, uid) = (Catalog::machine_name(known, &whose), Arc::from(machine));
    Some(Write::Machine(if reason == StopReason::Deleted {
        MachineWrite::Delete { namespace, name, uid }
    } else {
        MachineWrite::Halt { namespace, name, uid }
    }))
}

/// Where it was placed, in a sentence.
fn admitted(pool: &str, placements: &[Placement]) -> String {
    match placements {
        [one] => format!("admitted to pool {pool:?}, on node {}", one.node),
        several => {
            let nodes: std::collections::BTreeSet<&Arc<str>> = several.iter().map(|one| &one.node).collect();
            format!("admitted to pool {pool:?}: {} members on {} nodes", several.len(), nodes.len())
        }
    }
}

/// Without empty steps; none if nothing is left.
pub(super) fn script(object: &Arc<str>, steps: Vec<Vec<Write>>) -> Option<Script> {
    let steps: Vec<_> = steps.into_iter().filter(|step| !step.is_empty()).collect();
    (!steps.is_empty()).then(|| Script { object: Arc::clone(object), steps })
}
