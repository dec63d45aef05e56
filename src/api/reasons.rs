//! The fixed list of reasons that conditions, events and `status.pending` give.
//!
//! `docs/reasons.md` is made from it: each reason says what it means and what to do.

use std::fmt;

macro_rules! reasons {
    ($($name:ident: $meaning:literal, $action:literal;)*) => {
        /// Why something is as it is, in one word.
        #[allow(clippy::doc_markdown, reason = "the texts are also those of docs/reasons.md")]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Reason {
            $(#[doc = $meaning] $name,)*
        }

        impl Reason {
            /// Every reason, in the order of the documentation.
            pub const ALL: &'static [Reason] = &[$(Reason::$name,)*];

            /// The word as the API shows it.
            pub const fn as_str(self) -> &'static str {
                match self { $(Reason::$name => stringify!($name),)* }
            }

            /// What it means.
            pub const fn meaning(self) -> &'static str {
                match self { $(Reason::$name => $meaning,)* }
            }

            /// What to do about it.
            pub const fn action(self) -> &'static str {
                match self { $(Reason::$name => $action,)* }
            }
        }
    };
}

reasons! {
    // Waiting: it may pass by itself.
    Queued: "It was taken into the queue and will be looked at in the next cycle.",
        "Wait: this takes less than a second.";
    WaitingForQuota: "The pool, or a pool above it, has too little left of a resource.",
        "Wait, or ask for less, or raise the limit or reservation of the pool that the message names.";
    WaitingForPreempted: "Room is being made for it: others are ending, and their resources are not free yet.",
        "Wait: it starts when they are gone.";
    WaitingForMoves: "Room is being made for it without stopping anything: members of others move to other nodes.",
        "Wait: it starts when they have moved. If a move fails another way is looked for.";
    QueuedBehind: "The pool's queueing is Strict, or the head was passed for too long, and another workload is ahead.",
        "Wait, raise the priority, or set scheduling.queueing of the pool to BestEffort.";
    TooManyRunning: "The pool, a pool above it, or the namespace runs as many workloads as limits allow.",
        "Wait until one ends, or raise limits.maxRunning or limits.maxRunningPerNamespace.";
    QueueFull: "The pool already has limits.maxQueued workloads waiting.",
        "Wait until some of them start, or raise limits.maxQueued.";
    RateLimited: "The pool, or a pool above it, admits no faster than limits.admissionRate says.",
        "Wait, or raise limits.admissionRate.";
    WouldDelay: "The pool's queueing is Backfill, and by declared durations it would delay the head of the queue.",
        "Wait, or write spec.expectedDuration if it is not there: what ends in time may pass.";
    NoFittingNode: "Within quota, but no node of the pool can take the members; status.pending.nodes counts why.",
        "Wait for nodes to become free or ready, or loosen the template's selector, affinity, tolerations or requests.";
    Fragmented: "The nodes have enough free in total, but on no one node as much as a member asks for.",
        "Wait, ask for smaller members, or use placement.strategy BinPack so that large blocks stay whole.";
    PoolHeld: "The stopPolicy of the pool, or of a pool above it, is Hold or HoldAndDrain.",
        "Set stopPolicy to None when the pool may run work again.";
    PoolNotFound: "No ResourcePool of that name exists.",
        "Create the pool, or write the name of another in spec.pool.";
    PoolStalled: "The pool has no sound place in the tree: a parent is missing, or parents form a cycle.",
        "Correct spec.parent of the pool; its own condition says what is wrong.";
    PoolDeleting: "The pool is being deleted and takes nothing new.",
        "Write the name of another pool in spec.pool.";
    NamespaceNotAllowed: "The namespace is not selected by access.namespaces of the pool.",
        "Ask the pool's owner to select the namespace, or use a pool that does.";
    RuntimeNotAllowed: "access.runtimes of the pool does not have what the members are: Pod or VirtualMachine.",
        "Use a pool that lets them in, or ask the pool's owner.";
    KubeVirtNotInstalled: "The members are virtual machines, and the cluster has no KubeVirt.",
        "Install KubeVirt: the workload goes on by itself then.";
    PriorityNotAllowed: "The priority is outside access.priority of the pool.",
        "Choose a priority between access.priority.min and max of the pool.";
    PriorityClassNotFound: "No PriorityClass of the name in spec.priorityClassName exists.",
        "Create the class, or write another class or a number in spec.priority.";
    CreateRefused: "The API server refused to create a member: a policy, a webhook, a quota or an invalid field.",
        "Read the API server's words in the message and change the template or the policy; it is tried again.";
    NameTaken: "A foreign object already has the name that a member must have.",
        "Delete or rename that object, or rename the workload.";

    // Impossible: somebody must change something.
    ExceedsLimit: "It asks for more than the declared limits could ever give, even in an empty pool.",
        "Ask for less, or raise the limit that the message names.";
    InvalidTemplate: "The template cannot be used; the message names each field, or says what KubeVirt says of it.",
        "Correct the fields; `weir check -f FILE` shows what can be known without a cluster.";
    RequestMissing: "The pool meters cpu or memory, and the template requests none of it.",
        "Write resources.requests of cpu and memory on the containers.";
    InvalidSpec: "The spec holds a value that the schema let pass and that cannot be used; the message names the field.",
        "Correct the field; `weir check -f FILE` shows the same problem offline.";

    // Under way and running.
    Admitted: "It holds quota, and its members are being created.",
        "Nothing.";
    Starting: "Its members were created and fewer than minReplicas of them run.",
        "Wait; `kubectl describe pod` of a member tells what it waits for.";
    Running: "At least minReplicas of its members run.",
        "Nothing.";
    Migrating: "A member moves to another node, because its node is drained, its pool evens out its nodes, another workload finds room so, or somebody asked for it.",
        "Nothing: the message says from where to where.";
    MigrationRefused: "A move that was asked for is not made, or KubeVirt or a policy refuses to migrate a virtual machine; the message says why, word for word.",
        "Do what the message says, and ask again: another value of the annotation is another request.";
    MigrationWaits: "A migration of a virtual machine that Weir did not begin (`virtctl migrate`, `kubectl drain`) waits: no other node takes it.",
        "Make room on other nodes, or delete the VirtualMachineInstanceMigration.";
    MachineTrouble: "KubeVirt says that a virtual machine cannot start, such as DataVolumeError; its words are in the message.",
        "Do what they say: `kubectl describe vm` and its data volumes tell more.";
    NodeUnfit: "The pod of a virtual machine asks for labels that its node does not have, or a volume of it cannot be made for that node, or is not reached from there.",
        "Nothing: it is started on another node, where there is one. Compare the node selector of the launcher pod with the labels of nodes, and the events of its claims, if it happens again.";
    StaysOnDrainedNode: "A node with a member of it is drained, and the member stays: no other node takes it, a move has failed, it is a virtual machine that cannot be migrated while it runs, or migration is Never.",
        "Make room on other nodes, or stop the workload; the message says what is in the way. It is tried again by itself.";
    Suspended: "spec.suspend is true: it holds nothing and does not wait.",
        "Set spec.suspend to false to queue it.";
    BackingOff: "A member failed, was refused or vanished, and is tried again after a delay.",
        "Look at the failed member's log; the delay grows from 10 s to 5 min.";
    GangRestarted: "A member failed, and onMemberFailure is RestartGang: all members are started again.",
        "Look at the failed member's log.";
    Unbound: "A member's pod was left to the default scheduler for its volumes or devices, and is not bound after a minute.",
        "Nothing: it is placed again. Look at the pod's events if it happens again.";

    Adopted: "An object that others made is labelled weir.dev/pool, and its pods on the pool's nodes count as the pool's load.",
        "Nothing. Take the label off to end it.";

    // It had to give way.
    Reclaimed: "Another pool took back its reservation, and this workload ran on what was borrowed.",
        "Wait: it is queued with its old place. A larger reservation of the pool prevents this.";
    Preempted: "A workload of the same pool with a higher priority took its place.",
        "Wait: it is queued with its old place. preemption.minRuntime of the pool, or preemptible: false, prevents this.";
    SliceEnded: "Its time slice was over, and another workload of the pool waited for its place.",
        "Wait: it is queued at the tail, and runs again when its turn comes.";
    Overdue: "It ran for longer than its expectedDuration, and the head of the queue, which it had passed, was due.",
        "Write a longer expectedDuration; it is queued again.";
    Shrunk: "A dynamic workload gave members away so that others could run.",
        "Nothing: it grows again when there is room.";
    NodeLost: "A node with members of it was deleted, or has not been ready for as long as --lost-after says (5 minutes).",
        "Nothing: members are placed again, uncounted.";
    Drained: "The stopPolicy of the pool, or of a pool above it, is HoldAndDrain; or the node was drained.",
        "Wait until the pool is released or another node has room.";

    // It ended.
    Completed: "All members that must succeed have succeeded.",
        "Nothing.";
    BackoffLimitExceeded: "Members failed more often than backoffLimit allows.",
        "Read the failed member's log, correct the cause and create the workload again.";
    MaxDurationExceeded: "It ran for longer than maxDuration.",
        "Raise maxDuration, or make the work shorter.";
    MaxWaitExceeded: "It waited for longer than maxWait.",
        "Raise maxWait or the priority, or use a pool with more room.";

    // Pools.
    AllGood: "The pool admits work.",
        "Nothing.";
    NoNodes: "No node belongs to the pool, so nothing can run in it.",
        "Label nodes so that nodes.selector matches them, or correct the selector.";
    ParentNotFound: "The pool that spec.parent names does not exist.",
        "Create it, or correct spec.parent.";
    ParentCycle: "Following spec.parent leads back to this pool.",
        "Take spec.parent away from one of the pools that the message names.";
    ReservationsExceedParent: "The reservations of the children add up to more than the pool can give.",
        "Lower reservations by the amount in the message, or raise those of the pool.";
    SelectorsOverlap: "Nodes that nodes.selector matches belong to another root pool, which is older.",
        "Make the selectors of the two roots exclude each other.";
    NoOverlap: "Every node that nodes.selector matches belongs to this root.",
        "Nothing.";
    WithinCapacity: "The reservations of the children fit into the pool.",
        "Nothing.";
    UtilizationHigh: "As much of a resource is allocated as alerts.utilizationPercent tells of.",
        "Add nodes or licences, lower what is asked for, or raise alerts.utilizationPercent.";
    PendingTooLong: "A workload waits for longer than alerts.pendingFor.",
        "`kubectl describe pw` of the workload in the message tells what it waits for.";
    NoPressure: "Nothing that alerts.utilizationPercent and alerts.pendingFor tell of is so.",
        "Nothing.";
    TrendReachesLimit: "By the trend of the last hours nothing is left of a resource within alerts.exhaustionWithin.",
        "Add nodes or licences in time, or lower what is asked for.";
    NoTrendToLimit: "By the trend of the last hours enough is left of every resource.",
        "Nothing.";
    InUse: "The pool is being deleted and still has children or running members.",
        "Delete or move them; the pool goes once they are gone.";

    // The operator itself.
    PermissionMissing: "The operator may not do or see something that it needs, or the cluster does not know a kind.",
        "Give it the rights of docs/rbac.yaml, or install the definitions: helm upgrade does both. The rest goes on.";
}

/// Why nodes are refused, as `status.pending.nodes.rejected[].reason` says it: the word, what it means, what to do.
pub const NODE_REASONS: &[(&str, &str, &str)] = &[
    ("NotReady", "The node is not ready.", "Wait, or look at the node."),
    ("Unschedulable", "The node is cordoned.", "Uncordon it: `kubectl uncordon`."),
    (
        "Tainted",
        "The node has a taint that the template does not tolerate.",
        "Tolerate it, or remove the taint.",
    ),
    (
        "NotSelected",
        "The template's nodeSelector or required node affinity does not select the node.",
        "Loosen them, or label the node.",
    ),
    (
        "VolumeElsewhere",
        "The volume of a claim of the template is not reached from the node.",
        "Wait for room where the volume is, or use another claim.",
    ),
    ("PortTaken", "A host port of the template is taken on the node.", "Wait, or use another port."),
    ("Insufficient RESOURCE", "The node has too little of the resource left.", "Wait, or ask for less."),
    (
        "TooSmall RESOURCE",
        "The node has too little of the resource even when it is empty.",
        "Ask for less, or add larger nodes.",
    ),
    (
        "TopologyLabelMissing",
        "The node lacks the label of a spread constraint.",
        "Label the node, or choose another topologyKey.",
    ),
    (
        "TopologySpread",
        "With one more member the node's domain would have more than maxSkew beyond the one that has fewest.",
        "Wait for room in the other domains, or raise maxSkew.",
    ),
    (
        "PodAffinity",
        "No pod that the required affinity of the template wants near is in the node's domain.",
        "Start those pods, or make the affinity preferred.",
    ),
    (
        "PodAntiAffinity",
        "A pod that the required anti-affinity of the template wants away is in the node's domain.",
        "Wait until it ends, or make the anti-affinity preferred.",
    ),
    (
        "ExistingAntiAffinity",
        "The required anti-affinity of a pod in the node's domain keeps the members off.",
        "Wait until that pod ends, or change its anti-affinity or the labels of the template.",
    ),
];

/// All reasons as a page of documentation: `docs/reasons.md`.
pub fn documentation() -> String {
    let head = "# Reasons\n\nWhat conditions, events and `status.pending.reason` say, what each means, and what to \
                do.\n\n| reason | meaning | what to do |\n|---|---|---|\n";
    let rows = Reason::ALL.iter().map(|r| format!("| `{r}` | {} | {} |\n", r.meaning(), r.action()));
    let nodes = "\n## Why nodes are refused\n\nWhat `status.pending.nodes.rejected` counts: of each node the first reason that \
                 it gives. Messages say the same in words.\n\n| reason | meaning | what to do |\n|---|---|---|\n";
    let of_nodes =
        NODE_REASONS.iter().map(|(word, meaning, action)| format!("| `{word}` | {meaning} | {action} |\n"));
    std::iter::once(head.to_owned())
        .chain(rows)
        .chain(std::iter::once(nodes.to_owned()))
        .chain(of_nodes)
        .collect()
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_is_a_word_and_says_what_to_do() {
        for reason in Reason::ALL {
            assert!(reason.as_str().chars().all(|c| c.is_ascii_alphabetic()), "{reason}");
            assert!(reason.as_str().len() <= 128, "the schema allows 128 characters");
            assert!(reason.meaning().ends_with('.'), "{reason}: {}", reason.meaning());
            assert!(reason.action().ends_with('.'), "{reason}: {}", reason.action());
        }
    }

    #[test]
    fn the_documentation_has_a_row_for_every_reason() {
        let page = documentation();
        let rows = Reason::ALL.len() + NODE_REASONS.len();
        assert_eq!(page.lines().filter(|line| line.starts_with("| `")).count(), rows);
        assert!(page.lines().all(|line| !line.starts_with('|') || line.matches('|').count() == 4), "{page}");
    }
}
