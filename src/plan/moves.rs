//! Moves in words and as writes: a member that goes to another node, and why one stays.

use std::sync::Arc;

use super::event::{Action, Told};
use super::machine::{self, MachineWrite};
use super::reason::{self, Refused};
use super::scripts::{Desk, script};
use super::write::{Script, Write};
use crate::api::Reason;
use crate::api::nodes::{MigrationCause, MigrationStatus};
use crate::decide::decision::{Obstacle, Placement, Way};
use crate::model::moves::{How, Stay, Why};
use crate::model::report::{MemberReport, MoveReport, WorkloadReport};
use crate::model::resources::ResourceTable;
use crate::model::spec::{MemberRef, Runtime};
use crate::observe::catalog::Workload;
use crate::observe::names;

/// Workloads whose members move that are named.
const MOST_NAMED: usize = 2;

/// Why a member moves, in a sentence.
fn cause(why: Why, from: &str, for_whom: Option<&str>) -> String {
    match (why, for_whom) {
        (Why::Drain, _) => format!("{from} is drained"),
        (Why::Rebalance, _) => format!("{from} is used more than others of its pool"),
        (Why::MakeRoom, Some(whom)) => format!("{whom} finds room on {from} then"),
        (Why::MakeRoom, None) => format!("others find room on {from} then"),
        (Why::Asked, _) => "somebody has asked for it".to_owned(),
        (Why::Others, _) => "a migration that Weir did not begin".to_owned(),
    }
}

fn cause_of(way: &Way) -> String {
    cause(way.why, &way.from, way.for_whom.as_deref())
}

/// What is said of a workload that waits for members of others to move.
pub(super) fn awaited(nodes: &[(Arc<str>, u32)], of: &[Arc<str>]) -> String {
    let Some(((node, count), others)) = nodes.split_first() else {
        return "room is being made for it".to_owned();
    };
    let members = if *count == 1 { "member" } else { "members" };
    let off: Vec<String> = [format!("{count} {members} to move off {node}")]
        .into_iter()
        .chain(others.iter().map(|(node, count)| format!("{count} off {node}")))
        .collect();
    let shown: Vec<String> = of.iter().take(MOST_NAMED).map(ToString::to_string).collect();
    let more = of.len().saturating_sub(MOST_NAMED);
    let more = if more > 0 { format!(" and {more} more workloads") } else { String::new() };
    let whose = if more.is_empty() { shown.join(" and ") } else { shown.join(", ") };
    format!("room is being made for it: it waits for {} (of {whose}{more})", off.join(" and "))
}

/// A move as a placement shows it.
pub fn shown(known: &Workload, member: &MemberReport) -> Option<MigrationStatus> {
    let one = member.moves.as_ref().filter(|one| !one.given_up)?;
    let cause = match one.why {
        Why::Drain => MigrationCause::Drain,
        Why::Rebalance => MigrationCause::Rebalance,
        Why::MakeRoom => MigrationCause::MakeRoom,
        Why::Asked => MigrationCause::Asked,
        Why::Others => MigrationCause::Others,
    };
    let name = match one.how {
        How::MakeBeforeBreak | How::BreakBeforeMake => {
            names::member(&known.spec.name, member.index, one.attempt)
        }
        // What others call theirs is not known.
        How::Live if one.why == Why::Others => names::host(&known.spec.name, member.index),
        How::Live => names::migration(&known.spec.name, member.index, one.attempt),
    };
    Some(MigrationStatus { node: one.to.to_string(), name, cause })
}

fn under_way(report: &WorkloadReport) -> impl Iterator<Item = (&MemberReport, &MoveReport)> {
    let moves = report.members.iter().filter_map(|member| Some((member, member.moves.as_ref()?)));
    moves.filter(|(_, one)| !one.given_up)
}

/// What is said of the members that move, if any do.
pub fn moving(report: &WorkloadReport, runtime: Runtime) -> Option<String> {
    let (member, one) = under_way(report).next()?;
    let from = member.node.as_deref().unwrap_or("a node that is gone");
    let how = match (one.how, runtime) {
        (How::MakeBeforeBreak, _) => "moves",
        (How::Live, _) => "moves while it runs",
        (How::BreakBeforeMake, Runtime::Pod) => "is evicted and moves",
        (How::BreakBeforeMake, Runtime::VirtualMachine) => "is stopped and moves",
    };
    let others = match under_way(report).count() {
        1 => String::new(),
        count => format!("; {} more members move", count - 1),
    };
    Some(format!(
        "member {} {how} from {from} to {}: {}{others}",
        member.index,
        one.to,
        cause(one.why, from, one.for_whom.as_deref())
    ))
}

/// What is said of the members that stay where they are, if any do that should go, and the reason for it.
pub fn staying(
    report: &WorkloadReport,
    runtime: Runtime,
    of: Refused<'_>,
    table: &ResourceTable,
) -> Option<(Reason, String)> {
    let stays = || report.members.iter().filter_map(|member| Some((member, member.stays.as_ref()?)));
    let (member, stay) = stays().next()?;
    let others = match stays().count() {
        1 => String::new(),
        count => format!("; {} more members stay", count - 1),
    };
    let (index, node) = (member.index, member.node.as_deref().unwrap_or_default());
    let drained = |why: String| {
        let what = format!("member {index} stays on {node}, which is drained: {why}{others}");
        (Reason::StaysOnDrainedNode, what)
    };
    Some(match stay {
        Stay::NoPlace(refusal) => {
            drained(format!("no other node takes it now ({})", reason::message(refusal, of, table)))
        }
        Stay::Never => drained("migration is Never, so it stays until it ends".to_owned()),
        Stay::NotWhileItRuns => drained(
            "the virtual machine cannot be migrated while it runs; migration: Restart lets it be \
             stopped and started on another node"
                .to_owned(),
        ),
        Stay::Failed(until, None) => {
            drained(format!("a move has failed and is tried again at {}", reason::clock(*until)))
        }
        Stay::Failed(until, Some(said)) => drained(format!(
            "its migration is refused ({said}), and is tried again at {}",
            reason::clock(*until)
        )),
        Stay::MigrationWaits(refusal) => (
            Reason::MigrationWaits,
            format!(
                "a migration of member {index} that Weir did not begin waits, and it stays on {node}: no other node takes it now ({}){others}",
                reason::message(refusal, of, table)
            ),
        ),
        Stay::Refused(said) => {
            let what = if runtime == Runtime::VirtualMachine { "migration" } else { "move" };
            let words = format!("member {index} stays on {node}: its {what} is refused ({said}){others}");
            (Reason::MigrationRefused, words)
        }
    })
}

impl Desk<'_> {
    /// The next pod of a member is created.
    pub(super) fn begin_move(
        &self,
        workload: &Arc<str>,
        pool: &str,
        size: u32,
        placement: &Placement,
        way: &Way,
    ) -> Option<Script> {
        let known = self.catalog.get(workload)?;
        let Way { from, to, .. } = way;
        let note = format!("member {} moves from {from} to {to}: {}", placement.index, cause_of(way));
        let told = Told { action: Action::Move, reason: Reason::Migrating, note: &note, warning: false };
        let made = self.create(known, pool, size, std::slice::from_ref(placement));
        // What cannot be created is not told.
        if made.is_empty() {
            return None;
        }
        script(workload, vec![made, vec![self.event(known, told)]])
    }

    /// A member's machine moves while it runs.
    pub(super) fn migrate(&self, member: &MemberRef, attempt: u32, way: &Way) -> Option<Script> {
        let known = self.catalog.get(&member.workload)?;
        let Way { from, to, .. } = way;
        let (index, cause) = (member.index, cause_of(way));
        let note = format!("member {index} moves from {from} to {to} while it runs: {cause}");
        let told = Told { action: Action::Move, reason: Reason::Migrating, note: &note, warning: false };
        let node = self.world.node_ids.get(to).and_then(|id| self.world.node(*id)?.spec.as_ref());
        let host = node.and_then(|spec| spec.labels.get(machine::HOSTNAME)).map(|host| &**host);
        let priority = self.catalog.orders_migrations().then_some(match way.why {
            Why::Asked => "user-triggered",
            Why::Drain | Why::Rebalance | Why::MakeRoom | Why::Others => "system-maintenance",
        });
        let migrate = MachineWrite::Migrate {
            member: member.clone(),
            attempt,
            namespace: Arc::clone(&known.spec.namespace),
            migration: Box::new(machine::migration(&known.spec, index, attempt, (to, host), priority)),
        };
        script(&member.workload, vec![vec![Write::Machine(migrate)], vec![self.event(known, told)]])
    }

    /// A member's pod is evicted, or its machine is stopped, because the member moves.
    pub(super) fn leave(&self, member: &MemberRef, pod: &Arc<str>, way: &Way, ready: bool) -> Option<Script> {
        let known = self.catalog.get(&member.workload)?;
        let Way { from, to, .. } = way;
        let note = if ready {
            format!("member {} is ready on {to}, so that its pod on {from} is evicted", member.index)
        } else {
            let (index, cause) = (member.index, cause_of(way));
            match known.spec.runtime {
                Runtime::Pod => {
                    format!("member {index} is evicted from {from} and starts again on {to}: {cause}")
                }
                Runtime::VirtualMachine => {
                    format!("member {index} is stopped on {from} and starts again on {to}: {cause}")
                }
            }
        };
        let told = Told { action: Action::Move, reason: Reason::Migrating, note: &note, warning: false };
        let evict = match known.spec.runtime {
            Runtime::Pod => Write::EvictPod {
                namespace: Arc::clone(&known.spec.namespace),
                name: self.catalog.pod_name(known, member, pod),
                uid: Arc::clone(pod),
            },
            Runtime::VirtualMachine => self.end_run(known, member, pod)?,
        };
        // A request that is handled is recorded before anything is stopped for it, so that it is not handled again.
        let status = if way.why == Why::Asked && !ready { self.request_recorded(known) } else { None };
        let status = status.into_iter().collect();
        script(&member.workload, vec![status, vec![evict], vec![self.event(known, told)]])
    }

    /// A move is given up: the pod on the other node is deleted, if it is there.
    pub(super) fn give_up_move(
        &self,
        member: &MemberRef,
        pod: Option<&Arc<str>>,
        way: &Way,
        because: Obstacle,
    ) -> Option<Script> {
        let known = self.catalog.get(&member.workload)?;
        let namespace = Arc::clone(&known.spec.namespace);
        let delete = pod.map(|pod| match known.spec.runtime {
            Runtime::Pod => Write::DeletePod {
                namespace,
                name: self.catalog.pod_name(known, member, pod),
                uid: Arc::clone(pod),
            },
            Runtime::VirtualMachine => Write::Machine(MachineWrite::DeleteMigration {
                namespace,
                name: names::migration(&known.spec.name, member.index, member.attempt).into(),
                uid: Arc::clone(pod),
            }),
        });
        let mut writes: Vec<Write> = delete.into_iter().collect();
        if matches!(because, Obstacle::NotReady | Obstacle::Unfit) {
            let within = crate::api::Duration::from_millis(self.world.tuning.moved_within.0);
            let Way { from, to, why, for_whom: _ } = way;
            let index = member.index;
            let note = match known.spec.runtime {
                Runtime::Pod => format!(
                    "member {index} stays on {from}: its pod on {to} was not ready within {within}; it is tried again later"
                ),
                Runtime::VirtualMachine if because == Obstacle::Unfit => format!(
                    "member {index} stays on {from}: the pod of its migration asks for labels that {to} does not have, or for \
                     volumes that are not reached from there; another node is tried later"
                ),
                Runtime::VirtualMachine => format!(
                    "member {index} stays on {from}: its migration to {to} did not end in time; it is tried again later"
                ),
            };
            let reason = match why {
                _ if because == Obstacle::Unfit => Reason::NodeUnfit,
                Why::Drain => Reason::StaysOnDrainedNode,
                Why::Rebalance | Why::MakeRoom | Why::Asked | Why::Others => Reason::Migrating,
            };
            let action = Action::Move;
            writes.push(self.event(known, Told { action, reason, note: &note, warning: true }));
        }
        script(&member.workload, vec![writes])
    }
}
