//! Labels, annotations and finalizers that Weir writes: each a constant in this one place.

/// On every child: the pool that it is charged to.
pub const POOL: &str = "weir.dev/pool";
/// On every child: the name of its workload.
pub const WORKLOAD: &str = "weir.dev/workload";
/// On every child: the UID of its workload, so that a workload that was deleted and made again is not confused.
pub const WORKLOAD_UID: &str = "weir.dev/workload-uid";
/// On every child: the index of the member, from 0.
pub const INDEX: &str = "weir.dev/index";
/// On every child: which attempt of the member this is, from 1.
pub const ATTEMPT: &str = "weir.dev/attempt";
/// On a pool that is in use: it stays until its children and running members are gone.
pub const FINALIZER: &str = "weir.dev/in-use";
/// Every key of Weir begins with this; tenants may not set such keys in a template.
pub const PREFIX: &str = "weir.dev/";

/// In the environment of every container: the index of the member.
pub const ENV_INDEX: &str = "WEIR_INDEX";
/// In the environment of every container: how many members the workload has.
pub const ENV_REPLICAS: &str = "WEIR_REPLICAS";

/// An annotation on a machine: its spec as it was written last.
pub const APPLIED: &str = "weir.dev/applied";

/// A taint (`NoSchedule`) on the nodes of a dedicated pool; its value is the pool's name.
pub const TAINT: &str = POOL;
/// An annotation on a node that bears the taint: for which pool Weir has put it there.
pub const TAINTED_FOR: &str = "weir.dev/tainted-for";
/// An annotation that people put on a node: with the value `true`, and while the node is cordoned, it gives its members
/// away.
pub const DRAIN: &str = "weir.dev/drain";

/// An annotation that people put on a workload: its members, or one of them, move to other nodes. See `api/asked.rs`.
pub const MIGRATE: &str = "weir.dev/migrate";
/// An annotation that people put on a pool: the recommendation with that id is carried out, once.
pub const APPLY: &str = "weir.dev/apply-recommendation";

/// An annotation on a pod that is left to the default scheduler, and on what runs of a machine: the only node that it may
/// be bound to.
pub const NODE: &str = "weir.dev/node";
