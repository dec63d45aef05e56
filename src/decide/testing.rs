//! Pools, nodes and workloads as tests need them: everything at its default but what a test is about.

use std::sync::Arc;

use crate::model::amount::{Amount, Limit};
use crate::model::spec::{
    Completion, Entitlement, NamedAmounts, NodeSpec, OnMemberFailure, Policy, PoolSpec, Queueing, ShapeSpec,
    StopPolicy, Strategy, WorkloadRecord, WorkloadSpec,
};
use crate::model::time::Time;

/// The namespace of all workloads.
pub const NAMESPACE: &str = "team";

/// Amounts by name, in units.
pub fn amounts(pairs: &[(&str, i64)]) -> NamedAmounts {
    pairs.iter().map(|(name, units)| (Arc::from(*name), Amount::new(*units))).collect()
}

/// A pool over `cpu` in cores; everything else at its default.
pub fn pool(name: &str, parent: Option<&str>, reservation: i64, limit: Option<i64>) -> PoolSpec {
    PoolSpec {
        name: name.into(),
        uid: format!("pool-{name}").into(),
        created: Time(0),
        deleting: false,
        parent: parent.map(Arc::from),
        nodes: parent.is_none().then(Default::default),
        entitlements: vec![Entitlement {
            resource: "cpu".into(),
            reservation: Amount::new(reservation * 1000),
            limit: limit.map_or(Limit::Unlimited, |limit| Limit::At(Amount::new(limit * 1000))),
        }],
        weight: 100,
        policy: Policy::Priority,
        queueing: Queueing::BestEffort,
        strategy: Strategy::BinPack,
        max_running: None,
        max_queued: None,
        max_running_per_namespace: None,
        max_resources_per_workload: NamedAmounts::new(),
        namespaces: Some(Default::default()),
        priority_range: (-1000, 1000),
        stop: StopPolicy::None,
        ttl_after_finished: None,
        problem: None,
    }
}

/// A node of so many cores.
pub fn node(name: &str, cores: i64) -> NodeSpec {
    NodeSpec {
        name: name.into(),
        labels: Default::default(),
        taints: Vec::new(),
        unschedulable: false,
        not_ready_since: None,
        allocatable: amounts(&[("cpu", cores * 1000), ("pods", 110)]),
    }
}

/// A workload of `replicas` members of so many cores.
pub fn workload(name: &str, pool: &str, cores: i64, least: u32, replicas: u32, created: i64) -> WorkloadSpec {
    WorkloadSpec {
        uid: format!("uid-{name}").into(),
        namespace: NAMESPACE.into(),
        name: name.into(),
        created: Time(created),
        deleting: false,
        pool: pool.into(),
        priority: 0,
        replicas,
        min_replicas: least,
        completion: Completion::RunToCompletion,
        backoff_limit: Some(3),
        on_member_failure: OnMemberFailure::RestartMember,
        suspend: false,
        max_duration: None,
        max_wait: None,
        ttl_after_finished: None,
        strategy: None,
        shape: Ok(Arc::new(ShapeSpec {
            requests: amounts(&[("cpu", cores * 1000), ("pods", 1)]),
            ..ShapeSpec::default()
        })),
        record: WorkloadRecord::default(),
    }
}
