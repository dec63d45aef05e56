//! Words for refusals, ends and stops: one reason of the documented list, a sentence with its numbers, and the
//! numbers themselves.

use super::{moves, rejection};
use crate::api::quantity::{is_bytes, shown_amount};
use crate::api::reasons::Reason;
use crate::api::workload::{PendingResource, PendingStatus};
use crate::model::amount::Amount;
use crate::model::refusal::{Bound, NodeRejection, NodeTally, Refusal, Shortage};
use crate::model::resources::{ResourceId, ResourceTable};
use crate::model::spec::{FinishReason, Runtime, StopReason};
use crate::model::time::Time;
use crate::observe::catalog::CLASS_PROBLEM;

/// Longest message and longest list that the schema allows.
const MOST_CHARACTERS: usize = 4096;
pub(super) const MOST_ITEMS: usize = 32;

/// What a message says of the workload that was refused.
#[derive(Clone, Copy, Debug)]
pub struct Refused<'a> {
    /// Its namespace.
    pub namespace: &'a str,
    /// Its pool.
    pub pool: &'a str,
    /// Its priority.
    pub priority: i32,
}

/// Why the members of a workload are stopped.
pub fn of_stop(reason: StopReason) -> Reason {
    match reason {
        StopReason::Reclaimed => Reason::Reclaimed,
        StopReason::Preempted => Reason::Preempted,
        StopReason::SliceEnded => Reason::SliceEnded,
        StopReason::Overdue => Reason::Overdue,
        StopReason::Drained => Reason::Drained,
        StopReason::CreateRefused => Reason::CreateRefused,
        // Of what is being deleted nothing is written any more, so its reason is never shown.
        StopReason::Suspended | StopReason::Deleted => Reason::Suspended,
        StopReason::Finished(reason) => of_finish(reason),
        StopReason::GangRestart => Reason::GangRestarted,
    }
}

/// How a workload ended.
pub fn of_finish(reason: FinishReason) -> Reason {
    match reason {
        FinishReason::Completed => Reason::Completed,
        FinishReason::BackoffLimitExceeded => Reason::BackoffLimitExceeded,
        FinishReason::MaxDurationExceeded => Reason::MaxDurationExceeded,
        FinishReason::MaxWaitExceeded => Reason::MaxWaitExceeded,
    }
}

/// The reason of a refusal.
pub fn of_refusal(refusal: &Refusal) -> Reason {
    match refusal {
        Refusal::NotTried => Reason::Queued,
        Refusal::QueuedBehind(_) => Reason::QueuedBehind,
        Refusal::PoolNotFound => Reason::PoolNotFound,
        Refusal::PoolStalled(_) => Reason::PoolStalled,
        Refusal::PoolDeleting(_) => Reason::PoolDeleting,
        Refusal::PoolHeld(_) => Reason::PoolHeld,
        Refusal::NamespaceNotAllowed => Reason::NamespaceNotAllowed,
        Refusal::PriorityNotAllowed(..) => Reason::PriorityNotAllowed,
        Refusal::RuntimeNotAllowed(_) => Reason::RuntimeNotAllowed,
        Refusal::KubeVirtNotInstalled => Reason::KubeVirtNotInstalled,
        Refusal::InvalidTemplate(problem) if problem.starts_with(CLASS_PROBLEM) => {
            Reason::PriorityClassNotFound
        }
        Refusal::InvalidTemplate(_) => Reason::InvalidTemplate,
        Refusal::RequestMissing(_) => Reason::RequestMissing,
        Refusal::ExceedsLimit { .. } => Reason::ExceedsLimit,
        Refusal::QueueFull { .. } => Reason::QueueFull,
        Refusal::TooManyRunning { .. } => Reason::TooManyRunning,
        Refusal::WaitingForQuota { .. } => Reason::WaitingForQuota,
        Refusal::RateLimited { .. } => Reason::RateLimited,
        Refusal::WouldDelay { .. } => Reason::WouldDelay,
        Refusal::NoFittingNode(_) => Reason::NoFittingNode,
        Refusal::Fragmented { .. } => Reason::Fragmented,
        Refusal::WaitingForPreempted(_) => Reason::WaitingForPreempted,
        Refusal::WaitingForMoves { .. } => Reason::WaitingForMoves,
        Refusal::CreateRefused { name_taken: true, .. } => Reason::NameTaken,
        Refusal::CreateRefused { .. } => Reason::CreateRefused,
    }
}

/// A refusal as a status shows it.
pub fn pending(refusal: &Refusal, of: Refused<'_>, table: &ResourceTable) -> PendingStatus {
    let (shortages, tally): (&[Shortage], Option<&NodeTally>) = match refusal {
        Refusal::ExceedsLimit { shortage, .. } => (std::slice::from_ref(shortage), None),
        Refusal::WaitingForQuota { shortages, .. } => (shortages, None),
        Refusal::NoFittingNode(tally) => (&[], Some(tally)),
        Refusal::Fragmented { tally, shortages } => (shortages, Some(tally)),
        _ => (&[], None),
    };
    let resource = |shortage: &Shortage| {
        let name = table.name(shortage.resource);
        PendingResource {
            name: name.to_owned(),
            requested: shown_amount(name, shortage.requested.units()),
            available: shown_amount(name, shortage.bound.less(shortage.used + shortage.kept).units()),
        }
    };
    PendingStatus {
        reason: of_refusal(refusal).as_str().to_owned(),
        message: message(refusal, of, table).chars().take(MOST_CHARACTERS).collect(),
        resources: shortages.iter().take(MOST_ITEMS).map(resource).collect(),
        nodes: tally.map(|tally| rejection::nodes(tally, table)),
    }
}

pub(super) fn count_of(count: u32) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

/// A refusal in a sentence.
pub fn message(refusal: &Refusal, of: Refused<'_>, table: &ResourceTable) -> String {
    let Refused { namespace, pool: own, priority } = of;
    match refusal {
        Refusal::NotTried => "it is in the queue and will be looked at in the next cycle".to_owned(),
        Refusal::PoolNotFound => {
            format!("there is no ResourcePool {own:?}: create it, or write the name of another in spec.pool")
        }
        Refusal::PoolStalled(why) => format!("pool {own:?} is stalled: {why}"),
        Refusal::PoolDeleting(pool) => format!("pool {pool:?} is being deleted and takes nothing new"),
        Refusal::PoolHeld(pool) => format!("pool {pool:?} admits nothing new, by its stopPolicy"),
        Refusal::NamespaceNotAllowed => {
            format!("namespace {namespace:?} is not selected by access.namespaces of pool {own:?}")
        }
        Refusal::PriorityNotAllowed(min, max) => {
            format!(
                "priority {priority} is outside {min} to {max}, which access.priority of pool {own:?} allows"
            )
        }
        Refusal::RuntimeNotAllowed(Runtime::VirtualMachine) => {
            format!("pool {own:?} takes no virtual machines: access.runtimes does not have VirtualMachine")
        }
        Refusal::RuntimeNotAllowed(Runtime::Pod) => {
            format!("pool {own:?} takes no pods: access.runtimes does not have Pod")
        }
        Refusal::KubeVirtNotInstalled => {
            "its members are virtual machines, and the operator sees no KubeVirt in the cluster: it goes on when it is installed, and the operator may list its kinds".to_owned()
        }
        Refusal::InvalidTemplate(problem) => problem.to_string(),
        Refusal::RequestMissing(resource) => {
            let name = table.name(*resource);
            format!(
                "pool {own:?} limits {name}: write resources.requests of {name} on a container of the template"
            )
        }
        Refusal::ExceedsLimit { pool, shortage, per_workload, bound } => {
            let what = if *per_workload { "limits.maxResourcesPerWorkload" } else { of_bound(*bound) };
            let Shortage { resource, requested, bound: limit, .. } = shortage;
            format!(
                "pool {pool:?}: {what} {} can never hold the {} that is asked{}",
                equal(*resource, *limit, table),
                friendly(*resource, *requested, table),
                because(*bound)
            )
        }
        Refusal::QueueFull { pool, limit } => {
            format!("pool {pool:?}: limits.maxQueued={limit} workloads wait already")
        }
        Refusal::TooManyRunning { pool, limit, per_namespace: false } => {
            format!("pool {pool:?}: limits.maxRunning={limit} workloads run already")
        }
        Refusal::TooManyRunning { pool, limit, per_namespace: true } => format!(
            "pool {pool:?}: limits.maxRunningPerNamespace={limit} workloads of namespace {namespace:?} run already"
        ),
        Refusal::WaitingForQuota { pool, bound, shortages } => {
            let what = of_bound(*bound);
            let passed = joined(shortages, |shortage| passed(shortage, table));
            format!("pool {pool:?}: {what} {passed}{}", because(*bound))
        }
        Refusal::RateLimited { pool, next } => {
            format!("pool {pool:?}: limits.admissionRate lets the next one in at {}", clock(*next))
        }
        Refusal::WouldDelay { head, due, endless } => {
            let why = if *endless {
                "it declares no expectedDuration and so counts as endless"
            } else {
                "it would not have ended by then"
            };
            format!(
                "it would delay {head}, which goes first in pool {own:?} and starts by {}: {why}",
                clock(*due)
            )
        }
        Refusal::NoFittingNode(tally) => of_nodes(tally, table),
        Refusal::Fragmented { tally, shortages } => {
            let free = joined(shortages, |shortage| {
                let Shortage { resource, requested, bound, used, .. } = shortage;
                format!(
                    "{} of {} free, {} asked",
                    friendly(*resource, bound.less(*used), table),
                    table.name(*resource),
                    friendly(*resource, *requested, table)
                )
            });
            format!(
                "enough is free in total ({free}), but not where its members would fit: {}",
                of_nodes(tally, table)
            )
        }
        Refusal::WaitingForPreempted(victims) => match victims.as_slice() {
            [] => "room is being made for it".to_owned(),
            [(one, why)] => format!("room is being made for it: {one} {}", leaves(*why)),
            [(one, why), rest @ ..] => {
                format!(
                    "room is being made for it: {one} {}, and {} more are ending",
                    leaves(*why),
                    rest.len()
                )
            }
        },
        Refusal::WaitingForMoves { nodes, of } => moves::awaited(nodes, of),
        Refusal::QueuedBehind(head) => format!("it waits behind {head}, which goes first in pool {own:?}"),
        Refusal::CreateRefused { message, retry_at, name_taken: true } => format!(
            "a foreign pod has the name of a member ({message}): delete it, or rename the workload; tried again at {}",
            clock(*retry_at)
        ),
        Refusal::CreateRefused { message, retry_at, name_taken: false } => {
            format!("the API server refused a member: {message}; tried again at {}", clock(*retry_at))
        }
    }
}

/// Why one that makes room does.
fn leaves(why: Option<StopReason>) -> &'static str {
    match why {
        Some(StopReason::Reclaimed) => "is ending, which runs on what is borrowed",
        Some(StopReason::Preempted) => "is ending, which has a lower priority",
        Some(StopReason::SliceEnded) => "is ending, whose time slice is over",
        Some(StopReason::Overdue) => "is ending, which has run longer than its expectedDuration",
        Some(_) => "is ending",
        None => "gives members away",
    }
}

/// What bounds a pool, in a word.
fn of_bound(bound: Bound) -> &'static str {
    match bound {
        Bound::Limit => "limit",
        Bound::Capacity => "what its nodes offer,",
        Bound::Declared => "declared capacity",
        Bound::NotExpandable | Bound::NotPreemptible => "reservation",
    }
}

/// Why a reservation is the bound.
fn because(bound: Bound) -> &'static str {
    match bound {
        Bound::Limit | Bound::Capacity | Bound::Declared => "",
        Bound::NotExpandable => "; the pool is not expandable and borrows nothing",
        Bound::NotPreemptible => {
            "; what is not preemptible runs on reservations only, never on what is borrowed"
        }
    }
}

/// `cpu=80 would be passed by 12 (allocated 76, asked 16)`.
fn passed(shortage: &Shortage, table: &ResourceTable) -> String {
    let Shortage { resource, requested, bound, used, kept } = shortage;
    let say = |amount| friendly(*resource, amount, table);
    let kept_back =
        if kept.is_zero() { String::new() } else { format!("kept back by lendingLimit {}, ", say(*kept)) };
    format!(
        "{} would be passed by {} (allocated {}, {kept_back}asked {})",
        equal(*resource, *bound, table),
        say((*used + *kept + *requested).less(*bound)),
        say(*used),
        say(*requested)
    )
}

/// `0 of 30 nodes take it: 18 have too little nvidia.com/gpu left, 12 are not selected by ...`.
fn of_nodes(tally: &NodeTally, table: &ResourceTable) -> String {
    let NodeTally { total, rejected, placed, needed } = tally;
    if *total == 0 {
        return "the pool has no nodes".to_owned();
    }
    let refused: u32 = rejected.values().sum();
    let start = match placed {
        0 => format!("{} of {total} nodes take it", total.saturating_sub(refused)),
        _ => format!(
            "{placed} of {needed} members find a node, then {} of {total} take one more",
            total.saturating_sub(refused)
        ),
    };
    let each = rejected.iter().map(|(rejection, count)| {
        let (is, has, does) = if *count == 1 { ("is", "has", "does") } else { ("are", "have", "do") };
        match rejection {
            NodeRejection::NotReady => format!("{count} {is} not ready"),
            NodeRejection::Unschedulable => format!("{count} {is} cordoned"),
            NodeRejection::Tainted => format!("{count} {has} a taint that it does not tolerate"),
            NodeRejection::NotSelected => {
                format!("{count} {is} not selected by its nodeSelector or affinity")
            }
            NodeRejection::VolumeElsewhere => format!("{count} {does} not reach its volume"),
            NodeRejection::TopologyLabelMissing => {
                format!("{count} {has} no label of its spread constraints")
            }
            NodeRejection::TopologySpread => {
                format!("{count} {is} where its spread allows no more before others have as many")
            }
            NodeRejection::PodAffinity => {
                format!("{count} {is} not near the pods that its affinity requires")
            }
            NodeRejection::PodAntiAffinity => {
                format!("{count} {is} near pods that its anti-affinity keeps away from")
            }
            NodeRejection::ExistingAntiAffinity => {
                format!("{count} {is} near pods whose anti-affinity keeps it off")
            }
            NodeRejection::PortTaken => format!("{count} {has} its host port taken"),
            NodeRejection::Insufficient(resource) => {
                format!("{count} {has} too little {} left", table.name(*resource))
            }
            NodeRejection::TooSmall(resource) => {
                format!("{count} {has} too little {} even when empty", table.name(*resource))
            }
        }
    });
    let each: Vec<String> = each.collect();
    if each.is_empty() { start } else { format!("{start}: {}", each.join(", ")) }
}

fn joined(shortages: &[Shortage], say: impl Fn(&Shortage) -> String) -> String {
    shortages.iter().map(say).collect::<Vec<_>>().join("; ")
}

fn equal(resource: ResourceId, amount: Amount, table: &ResourceTable) -> String {
    format!("{}={}", table.name(resource), friendly(resource, amount, table))
}

fn friendly(resource: ResourceId, amount: Amount, table: &ResourceTable) -> String {
    friendly_amount(table.name(resource), amount)
}

/// An amount for people: exact where that is short, else to a tenth: `80`, `500m`, `310Gi`, `1.2Ti`.
pub fn friendly_amount(resource: &str, amount: Amount) -> String {
    if amount == Amount::MAX {
        return "more than can be counted".to_owned();
    }
    let units = amount.units();
    let exact = shown_amount(resource, units).0;
    if !is_bytes(resource) || exact.len() <= 6 {
        return exact;
    }
    let mut scale = 0;
    let mut unit = 1_i64;
    while scale < 6 && units.unsigned_abs() >= unit.unsigned_abs() * 1024 {
        unit *= 1024;
        scale += 1;
    }
    let suffix = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"][scale];
    let tenths = (i128::from(units) * 10 + i128::from(unit) / 2) / i128::from(unit);
    match tenths % 10 {
        0 => format!("{}{suffix}", tenths / 10),
        tenth => format!("{}.{tenth}{suffix}", tenths / 10),
    }
}

/// That nobody can tell when the head of a queue that is backfilled starts.
pub const ENDLESS: &str =
    "when it starts is not known: what runs without an expectedDuration counts as endless";

/// When the head of a queue that is backfilled starts.
pub fn due(time: Time) -> String {
    format!("by declared durations it starts by {}", clock(time))
}

/// A time as the API writes it, to the second.
pub(super) fn clock(time: Time) -> String {
    super::timestamp(time).strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shortage(resource: ResourceId, requested: i64, bound: i64, used: i64) -> Shortage {
        Shortage {
            resource,
            requested: Amount::new(requested),
            bound: Amount::new(bound),
            used: Amount::new(used),
            kept: Amount::ZERO,
        }
    }

    #[test]
    fn refusals_are_said_with_their_numbers() {
        let mut table = ResourceTable::default();
        let gpu = table.intern("nvidia.com/gpu");
        let tally = |rejected: &[(NodeRejection, u32)], placed| NodeTally {
            total: 30,
            rejected: rejected.iter().copied().collect(),
            placed,
            needed: 4,
        };
        let quota =
            |pool: &str, bound, shortages| Refusal::WaitingForQuota { pool: pool.into(), bound, shortages };
        let of = Refused { namespace: "vision", pool: "batch", priority: 2000 };
        let refused = |message: &str, name_taken| Refusal::CreateRefused {
            message: message.into(),
            retry_at: Time(1_700_000_000_123),
            name_taken,
        };
        for (refusal, reason, expected) in [
            (
                quota("batch", Bound::Limit, vec![shortage(ResourceId::CPU, 16_000, 80_000, 76_000)]),
                Reason::WaitingForQuota,
                r#"pool "batch": limit cpu=80 would be passed by 12 (allocated 76, asked 16)"#,
            ),
            (
                quota(
                    "company",
                    Bound::Capacity,
                    vec![shortage(ResourceId::MEMORY, 3 << 30, 10 << 30, 9 << 30), shortage(gpu, 2, 1, 0)],
                ),
                Reason::WaitingForQuota,
                r#"pool "company": what its nodes offer, memory=10Gi would be passed by 2Gi (allocated 9Gi, asked 3Gi); nvidia.com/gpu=1 would be passed by 1 (allocated 0, asked 2)"#,
            ),
            (
                quota(
                    "a",
                    Bound::NotPreemptible,
                    vec![Shortage {
                        kept: Amount::new(4_000),
                        ..shortage(ResourceId::CPU, 2_000, 10_000, 5_000)
                    }],
                ),
                Reason::WaitingForQuota,
                r#"pool "a": reservation cpu=10 would be passed by 1 (allocated 5, kept back by lendingLimit 4, asked 2); what is not preemptible runs on reservations only, never on what is borrowed"#,
            ),
            (
                Refusal::WouldDelay { head: "team/big".into(), due: Time(1_700_000_000_123), endless: true },
                Reason::WouldDelay,
                r#"it would delay team/big, which goes first in pool "batch" and starts by 2023-11-14T22:13:20Z: it declares no expectedDuration and so counts as endless"#,
            ),
            (
                Refusal::ExceedsLimit {
                    pool: "batch".into(),
                    shortage: shortage(ResourceId::CPU, 900_500, 80_000, 0),
                    per_workload: false,
                    bound: Bound::Limit,
                },
                Reason::ExceedsLimit,
                r#"pool "batch": limit cpu=80 can never hold the 900500m that is asked"#,
            ),
            (
                Refusal::NoFittingNode(tally(
                    &[(NodeRejection::Insufficient(gpu), 18), (NodeRejection::NotSelected, 12)],
                    0,
                )),
                Reason::NoFittingNode,
                "0 of 30 nodes take it: 12 are not selected by its nodeSelector or affinity, 18 have too little nvidia.com/gpu left",
            ),
            (
                Refusal::NoFittingNode(tally(
                    &[(NodeRejection::NotReady, 1), (NodeRejection::TooSmall(ResourceId::CPU), 29)],
                    3,
                )),
                Reason::NoFittingNode,
                "3 of 4 members find a node, then 0 of 30 take one more: 1 is not ready, 29 have too little cpu even when empty",
            ),
            (Refusal::NoFittingNode(NodeTally::default()), Reason::NoFittingNode, "the pool has no nodes"),
            (
                Refusal::Fragmented {
                    tally: tally(&[(NodeRejection::Insufficient(ResourceId::CPU), 30)], 0),
                    shortages: vec![shortage(ResourceId::CPU, 16_000, 80_000, 50_000)],
                },
                Reason::Fragmented,
                "enough is free in total (30 of cpu free, 16 asked), but not where its members would fit: 0 of 30 nodes take it: 30 have too little cpu left",
            ),
            (
                Refusal::PriorityNotAllowed(-10, 10),
                Reason::PriorityNotAllowed,
                r#"priority 2000 is outside -10 to 10, which access.priority of pool "batch" allows"#,
            ),
            (
                Refusal::InvalidTemplate("spec.priorityClassName: no".into()),
                Reason::PriorityClassNotFound,
                "spec.priorityClassName: no",
            ),
            (
                Refusal::InvalidTemplate("spec.template: no".into()),
                Reason::InvalidTemplate,
                "spec.template: no",
            ),
            (
                Refusal::RequestMissing(gpu),
                Reason::RequestMissing,
                r#"pool "batch" limits nvidia.com/gpu: write resources.requests of nvidia.com/gpu on a container of the template"#,
            ),
            (
                Refusal::WaitingForPreempted(vec![
                    ("a/x".into(), Some(StopReason::Reclaimed)),
                    ("a/y".into(), None),
                    ("a/z".into(), None),
                ]),
                Reason::WaitingForPreempted,
                "room is being made for it: a/x is ending, which runs on what is borrowed, and 2 more are ending",
            ),
            (
                Refusal::WaitingForMoves {
                    nodes: vec![("n1".into(), 3), ("n2".into(), 1)],
                    of: vec!["a/x".into(), "a/y".into()],
                },
                Reason::WaitingForMoves,
                "room is being made for it: it waits for 3 members to move off n1 and 1 off n2 (of a/x and a/y)",
            ),
            (
                Refusal::WaitingForMoves { nodes: vec![("n1".into(), 1)], of: vec!["a/x".into()] },
                Reason::WaitingForMoves,
                "room is being made for it: it waits for 1 member to move off n1 (of a/x)",
            ),
            (
                refused("denied by policy", false),
                Reason::CreateRefused,
                "the API server refused a member: denied by policy; tried again at 2023-11-14T22:13:20Z",
            ),
            (
                refused("pod x", true),
                Reason::NameTaken,
                "a foreign pod has the name of a member (pod x): delete it, or rename the workload; tried again at 2023-11-14T22:13:20Z",
            ),
        ] {
            assert_eq!(of_refusal(&refusal), reason, "{refusal:?}");
            assert_eq!(message(&refusal, of, &table), expected, "{refusal:?}");
        }
    }

    #[test]
    fn a_status_carries_the_numbers_beside_the_words() {
        let mut table = ResourceTable::default();
        let gpu = table.intern("nvidia.com/gpu");
        let of = Refused { namespace: "a", pool: "p", priority: 0 };
        let refusal = Refusal::Fragmented {
            tally: NodeTally {
                total: 3,
                rejected: [(NodeRejection::Insufficient(gpu), 3)].into(),
                placed: 0,
                needed: 1,
            },
            shortages: vec![shortage(gpu, 4, 8, 3)],
        };
        let status = pending(&refusal, of, &table);
        assert_eq!(status.reason, "Fragmented");
        assert_eq!(
            (status.resources[0].requested.as_str(), status.resources[0].available.as_str()),
            ("4", "5")
        );
        let nodes = status.nodes.unwrap();
        assert_eq!(
            (nodes.total, nodes.rejected[0].reason.as_str(), nodes.rejected[0].count),
            (3, "Insufficient nvidia.com/gpu", 3)
        );
    }

    #[test]
    fn amounts_are_short() {
        for (resource, units, shown) in [
            ("cpu", 80_000, "80"),
            ("cpu", 1500, "1500m"),
            ("memory", 310 << 30, "310Gi"),
            ("memory", 1_319_413_953_331, "1.2Ti"),
            ("memory", 999, "999"),
            ("memory", i64::MAX - 1, "8Ei"),
            ("nvidia.com/gpu", 123_456_789, "123456789"),
        ] {
            assert_eq!(friendly_amount(resource, Amount::new(units)), shown);
        }
    }
}
