//! Pools, nodes and workloads as tests need them: everything at its default but what a test is about.

use std::sync::Arc;

use crate::model::amount::{Amount, Limit};
use crate::model::selector::{LabelSelector, Operator, Requirement};
use crate::model::spec::{Entitlement, NamedAmounts, NodeSpec, PoolSpec, ShapeSpec, Strategy, WorkloadSpec};
use crate::model::terms::{PodTerm, PodTerms};
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
        parent: parent.map(Arc::from),
        nodes: parent.is_none().then(Default::default),
        entitlements: vec![Entitlement {
            resource: "cpu".into(),
            reservation: Amount::new(reservation * 1000),
            limit: limit.map_or(Limit::Unlimited, |limit| Limit::At(Amount::new(limit * 1000))),
            lending: Limit::Unlimited,
            capacity: None,
        }],
        strategy: Strategy::BinPack,
        namespaces: Some(Default::default()),
        ..PoolSpec::default()
    }
}

/// What no node offers, and a root may declare to have.
pub const LICENCE: &str = "example.com/licence";

/// A pool that also meters licences: a root declares so many, or none are spoken of; another pool reserves them.
pub fn with_licences(mut pool: PoolSpec, capacity: Option<i64>) -> PoolSpec {
    pool.entitlements.retain(|one| one.resource.as_ref() != LICENCE);
    pool.entitlements.extend(capacity.map(|capacity| Entitlement {
        resource: LICENCE.into(),
        reservation: Amount::new(if pool.parent.is_some() { capacity } else { 0 }),
        limit: Limit::Unlimited,
        lending: Limit::Unlimited,
        capacity: pool.parent.is_none().then(|| Amount::new(capacity)),
    }));
    pool
}

/// A node of so many cores.
pub fn node(name: &str, cores: i64) -> NodeSpec {
    NodeSpec {
        name: name.into(),
        labels: [("host".into(), name.into())].into(),
        allocatable: amounts(&[("cpu", cores * 1000), ("pods", 110)]),
        ..NodeSpec::default()
    }
}

/// A workload of `replicas` members of so many cores.
pub fn workload(name: &str, pool: &str, cores: i64, least: u32, replicas: u32, created: i64) -> WorkloadSpec {
    WorkloadSpec {
        uid: format!("uid-{name}").into(),
        namespace: NAMESPACE.into(),
        name: name.into(),
        created: Time(created),
        pool: pool.into(),
        replicas,
        min_replicas: least,
        backoff_limit: Some(3),
        shape: Ok(Arc::new(ShapeSpec {
            requests: amounts(&[("cpu", cores * 1000), ("pods", 1)]),
            ..ShapeSpec::default()
        })),
        ..WorkloadSpec::default()
    }
}

/// The same workload, of pods that are called `app` and may not be beside others of that name on a node.
pub fn apart(spec: WorkloadSpec, app: &str) -> WorkloadSpec {
    let by = Requirement { key: "app".into(), operator: Operator::In, values: vec![app.into()] };
    let term = PodTerm {
        topology: "host".into(),
        selector: Some(LabelSelector { requirements: vec![by] }),
        namespaces: vec![NAMESPACE.into()],
        namespace_selector: None,
    };
    let terms =
        PodTerms { namespace: NAMESPACE.into(), apart: vec![(Arc::new(term), true)], ..PodTerms::default() };
    let shape = spec
        .shape
        .as_ref()
        .map(|shape| Arc::new(ShapeSpec { terms: Some(Box::new(terms)), ..(**shape).clone() }));
    let shape = shape.map_err(Arc::clone);
    called(WorkloadSpec { shape, ..spec }, app)
}

/// The same workload, of pods that are called `app`.
pub fn called(spec: WorkloadSpec, app: &str) -> WorkloadSpec {
    WorkloadSpec { labels: Arc::new([("app".into(), app.into())].into()), ..spec }
}
