//! Pools: what their spec says, read as far as it can be.

use std::sync::Arc;

use super::selectors::label_selector;
use super::{arc, asked, time};
use crate::api::ResourcePool;
use crate::api::alerts::PoolAlerts;
use crate::api::nodes;
use crate::api::optimal::{OptimalPlacement, OptimalWeights};
use crate::api::pool::{self, PoolLimits, PriorityRange};
use crate::api::pruned::Poison;
use crate::api::quantity;
use crate::api::runtime;
use crate::model::amount::{Amount, Limit};
use crate::model::batch::{Tuned, Weights};
use crate::model::selector::LabelSelector;
use crate::model::spec::{
    Aging, Alerts, Entitlement, Policy, PoolKind, PoolSpec, Queueing, Rate, Rebalancing, Reclaim, Runtime,
    StopPolicy, Strategy, WithinPool,
};
use crate::model::time::Span;

/// What a pool says. What cannot be read is in `problem`, and the pool is then stalled.
pub fn pool(seen: &Result<ResourcePool, Poison>) -> PoolSpec {
    match seen {
        Ok(pool) => read(pool),
        Err(poison) => {
            // Nothing is admitted in it; what it was before is unknown, so it keeps nothing of it either.
            let problem = format!("the object cannot be read: {}", poison.problem);
            PoolSpec { problem: Some(problem.into()), ..empty(&poison.metadata) }
        }
    }
}

fn empty(metadata: &kube::core::ObjectMeta) -> PoolSpec {
    PoolSpec {
        name: arc(metadata.name.as_ref()),
        uid: arc(metadata.uid.as_ref()),
        created: time(metadata.creation_timestamp.as_ref()),
        deleting: metadata.deletion_timestamp.is_some(),
        ..PoolSpec::default()
    }
}

fn read(object: &ResourcePool) -> PoolSpec {
    let mut problem = Problem(None);
    let spec = &object.spec;
    let pool::ResourcePoolSpec {
        parent,
        nodes,
        kind,
        resources,
        weight,
        priority,
        expandable,
        scheduling: pool::PoolScheduling { policy, queueing, time_slice, aging },
        preemption: pool::PoolPreemption { within_pool, reclaim, min_runtime },
        placement: pool::PoolPlacement { strategy: placement, optimal, topology_key },
        limits,
        virtual_machines: _,
        access: pool::PoolAccess { namespaces, priority: PriorityRange { min, max }, runtimes },
        alerts,
        rebalancing,
        stop_policy,
        ttl_after_finished,
    } = spec;
    let PoolLimits {
        max_running,
        max_queued,
        max_running_per_namespace,
        admission_rate,
        max_resources_per_workload,
    } = &limits.clone().unwrap_or_default();
    let selector = nodes.as_ref().map(|nodes| problem.selector(&nodes.selector, "spec.nodes.selector"));
    PoolSpec {
        parent: parent.as_deref().map(Arc::from),
        nodes: selector,
        entitlements: resources.iter().enumerate().map(|(at, one)| problem.entitlement(at, one)).collect(),
        weight: u32::try_from(*weight).unwrap_or(1).clamp(1, 10_000),
        policy: match policy {
            pool::Policy::FirstComeFirstServed => Policy::FirstComeFirstServed,
            pool::Policy::Priority => Policy::Priority,
            pool::Policy::RoundRobin => Policy::RoundRobin,
            pool::Policy::FairShare => Policy::FairShare,
        },
        queueing: match queueing {
            pool::Queueing::Strict => Queueing::Strict,
            pool::Queueing::BestEffort => Queueing::BestEffort,
            pool::Queueing::Backfill => Queueing::Backfill,
        },
        priority: *priority,
        expandable: *expandable || parent.is_none(),
        time_slice: time_slice.map(span),
        aging: aging.as_ref().map(|aging| Aging {
            every: span(aging.every),
            step: aging.step.max(0),
            most: aging.max.max(0),
        }),
        within_pool: match within_pool {
            pool::WithinPool::Never => WithinPool::Never,
            pool::WithinPool::LowerPriority => WithinPool::LowerPriority,
        },
        reclaim: match reclaim {
            pool::Reclaim::Never => Reclaim::Never,
            pool::Reclaim::LowerPriority => Reclaim::LowerPriority,
            pool::Reclaim::Any => Reclaim::Any,
        },
        min_runtime: min_runtime.map(span).unwrap_or_default(),
        strategy: strategy(*placement),
        optimal: optimal.as_ref().map(tuned).unwrap_or_default(),
        topology_key: topology_key.as_deref().map(Arc::from),
        max_running: max_running.map(at_least_nothing),
        max_queued: max_queued.map(at_least_nothing),
        max_running_per_namespace: max_running_per_namespace.map(at_least_nothing),
        admission_rate: admission_rate.as_ref().map(|rate| Rate {
            count: at_least_nothing(rate.count).max(1),
            period: Span(rate.period.as_millis().max(1)),
            burst: at_least_nothing(rate.burst.unwrap_or(rate.count)).max(1),
        }),
        max_resources_per_workload: max_resources_per_workload
            .iter()
            .map(|(name, amount)| {
                let field = format!("spec.limits.maxResourcesPerWorkload[{name}]");
                (Arc::from(name.as_str()), problem.amount(name, amount, &field))
            })
            .collect(),
        namespaces: namespaces.as_ref().map(|one| problem.selector(one, "spec.access.namespaces")),
        priority_range: (*min, *max),
        alerts: alerts.as_ref().map(alerts_of).unwrap_or_default(),
        runtimes: match runtimes {
            Some(runtimes) => runtimes.iter().copied().map(runtime).collect(),
            None => Runtime::ALL.into(),
        },
        stop: match stop_policy {
            pool::StopPolicy::None => StopPolicy::None,
            pool::StopPolicy::Hold => StopPolicy::Hold,
            pool::StopPolicy::HoldAndDrain => StopPolicy::HoldAndDrain,
        },
        ttl_after_finished: ttl_after_finished.map(span),
        kind: match kind {
            nodes::PoolType::Dedicated if parent.is_none() => PoolKind::Dedicated,
            nodes::PoolType::Shared | nodes::PoolType::Dedicated => PoolKind::Shared,
        },
        rebalancing: rebalancing.as_ref().and_then(balance),
        apply: asked::apply(&object.metadata),
        problem: problem.0.map(Arc::from),
        ..empty(&object.metadata)
    }
}

/// A runtime of the API in the model's words.
pub fn runtime(runtime: runtime::Runtime) -> Runtime {
    match runtime {
        runtime::Runtime::Pod => Runtime::Pod,
        runtime::Runtime::VirtualMachine => Runtime::VirtualMachine,
    }
}

/// A strategy of the API in the model's words.
pub fn strategy(strategy: pool::Strategy) -> Strategy {
    match strategy {
        pool::Strategy::BinPack => Strategy::BinPack,
        pool::Strategy::Spread => Strategy::Spread,
        pool::Strategy::Balanced => Strategy::Balanced,
        pool::Strategy::LeastFragmentation => Strategy::LeastFragmentation,
        pool::Strategy::Optimal => Strategy::Optimal,
    }
}

/// What strategy `Optimal` is told.
fn tuned(of: &OptimalPlacement) -> Tuned {
    let OptimalPlacement { weights, time_limit } = of;
    let OptimalWeights { utilization, throughput, waiting_time, energy } = weights;
    Tuned {
        weights: Weights {
            utilization: at_least_nothing(*utilization),
            throughput: at_least_nothing(*throughput),
            waiting_time: at_least_nothing(*waiting_time),
            energy: at_least_nothing(*energy),
        },
        time_limit: time_limit.map_or(Tuned::default().time_limit, span),
    }
}

fn alerts_of(alerts: &PoolAlerts) -> Alerts {
    let PoolAlerts { utilization_percent, pending_for, exhaustion_within } = alerts;
    Alerts {
        utilization_percent: *utilization_percent,
        pending_for: pending_for.map(span),
        exhaustion_within: exhaustion_within.map(span),
    }
}

/// How a pool evens out its nodes, if it does.
fn balance(of: &nodes::PoolRebalancing) -> Option<Rebalancing> {
    let nodes::PoolRebalancing { mode, threshold, max_concurrent, cooldown } = of;
    let automatic = match mode {
        nodes::RebalancingMode::Off => return None,
        nodes::RebalancingMode::Recommend => false,
        nodes::RebalancingMode::Automatic => true,
    };
    let or = |given: &Option<i32>, usual: i32| at_least_nothing(given.unwrap_or(usual)).clamp(1, 100);
    Some(Rebalancing {
        automatic,
        threshold: or(threshold, nodes::DEFAULT_THRESHOLD),
        most: or(max_concurrent, nodes::DEFAULT_MAX_CONCURRENT),
        cooldown: cooldown.map_or(Span::seconds(nodes::DEFAULT_COOLDOWN_SECONDS), span),
    })
}

fn span(duration: crate::api::Duration) -> Span {
    Span(duration.as_millis().max(0))
}

fn at_least_nothing(count: i32) -> u32 {
    u32::try_from(count).unwrap_or(0)
}

/// The first thing that was wrong.
struct Problem(Option<String>);

impl Problem {
    fn say(&mut self, what: String) {
        self.0.get_or_insert(what);
    }

    fn selector(
        &mut self,
        selector: &k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector,
        field: &str,
    ) -> LabelSelector {
        label_selector(selector, field).unwrap_or_else(|what| {
            self.say(what);
            LabelSelector::default()
        })
    }

    fn amount(&mut self, name: &str, quantity: &quantity::Quantity, field: &str) -> Amount {
        let counted = match quantity::counted(name, quantity.as_str()) {
            Ok(counted) if counted < 0 => Err(format!("{quantity} is negative: write 0 or more")),
            Ok(counted) => Ok(counted),
            Err(error) => Err(error.to_string()),
        };
        counted.map_or_else(
            |what| {
                self.say(format!("{field}: {what}"));
                Amount::ZERO
            },
            Amount::new,
        )
    }

    fn entitlement(&mut self, at: usize, resource: &pool::PoolResource) -> Entitlement {
        let pool::PoolResource { name, reservation, limit, lending_limit, capacity } = resource;
        let field = |field: &str| format!("spec.resources[{at}].{field}");
        let reservation = reservation.as_ref().map(|one| self.amount(name, one, &field("reservation")));
        let limit = limit.as_ref().map(|one| self.amount(name, one, &field("limit")));
        let lending = lending_limit.as_ref().map(|one| self.amount(name, one, &field("lendingLimit")));
        let capacity = capacity.as_ref().map(|one| self.amount(name, one, &field("capacity")));
        Entitlement {
            capacity,
            lending: lending.map_or(Limit::Unlimited, Limit::At),
            resource: name.as_str().into(),
            reservation: reservation.unwrap_or_default(),
            limit: limit.map_or(Limit::Unlimited, Limit::At),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::pruned::Guarded;
    use crate::model::time::Time;
    use serde_json::{Value, json};

    fn seen(spec: &Value) -> PoolSpec {
        let object = json!({
            "apiVersion": "weir.dev/v1alpha1", "kind": "ResourcePool",
            "metadata": {"name": "batch", "uid": "u", "creationTimestamp": "1970-01-01T00:00:01Z"},
            "spec": spec,
        });
        let Guarded(object) = serde_json::from_value(object).unwrap();
        pool(&object)
    }

    #[test]
    fn everything_in_a_pool_is_read() {
        let spec = seen(&json!({
            "parent": "company",
            "nodes": {"selector": {"matchLabels": {"a": "b"}, "matchExpressions": [{"key": "c", "operator": "Exists"}]}},
            "resources": [{"name": "cpu", "reservation": "1500m", "limit": "80", "lendingLimit": "500m"}, {"name": "memory", "limit": "1Gi"}, {"name": "pods"}],
            "weight": 300,
            "priority": 7,
            "expandable": false,
            "preemption": {"withinPool": "Never", "reclaim": "LowerPriority", "minRuntime": "5m"},
            "scheduling": {"policy": "FirstComeFirstServed", "queueing": "Strict", "timeSlice": "1m",
                           "aging": {"every": "1m", "step": 10, "max": 100}},
            "placement": {"strategy": "BinPack"},
            "limits": {"maxRunning": 5, "maxQueued": 6, "maxRunningPerNamespace": 7,
                       "admissionRate": {"count": 3, "period": "1m"}, "maxResourcesPerWorkload": {"cpu": "8"}},
            "access": {"namespaces": {}, "priority": {"min": -5, "max": 5}, "runtimes": ["VirtualMachine"]},
            "alerts": {"utilizationPercent": 90, "pendingFor": "30m", "exhaustionWithin": "24h"},
            "stopPolicy": "Hold",
            "ttlAfterFinished": "1h",
        }));
        assert_eq!(spec.problem, None);
        assert_eq!(
            (spec.name.as_ref(), spec.parent.as_deref(), spec.created),
            ("batch", Some("company"), Time(1000))
        );
        assert_eq!(spec.nodes.unwrap().requirements.len(), 2);
        assert_eq!(spec.entitlements[0].reservation, Amount::new(1500));
        assert_eq!(spec.entitlements[0].limit, Limit::At(Amount::new(80_000)));
        assert_eq!(spec.entitlements[0].lending, Limit::At(Amount::new(500)));
        assert_eq!((spec.priority, spec.expandable), (7, false));
        assert_eq!(
            (spec.within_pool, spec.reclaim, spec.min_runtime),
            (WithinPool::Never, Reclaim::LowerPriority, Span::minutes(5))
        );
        assert_eq!(spec.time_slice, Some(Span::minutes(1)));
        assert_eq!(spec.aging, Some(Aging { every: Span::minutes(1), step: 10, most: 100 }));
        assert_eq!(spec.admission_rate, Some(Rate { count: 3, period: Span::minutes(1), burst: 3 }));
        assert_eq!(spec.entitlements[1].limit, Limit::At(Amount::new(1 << 30)));
        assert_eq!(spec.entitlements[2].limit, Limit::Unlimited);
        assert_eq!(
            (spec.weight, spec.policy, spec.queueing),
            (300, Policy::FirstComeFirstServed, Queueing::Strict)
        );
        assert_eq!(
            (spec.max_running, spec.max_queued, spec.max_running_per_namespace),
            (Some(5), Some(6), Some(7))
        );
        assert_eq!(spec.namespaces, Some(LabelSelector::default()));
        assert_eq!(spec.runtimes, [Runtime::VirtualMachine].into());
        assert_eq!(
            (spec.priority_range, spec.stop, spec.strategy),
            ((-5, 5), StopPolicy::Hold, Strategy::BinPack)
        );
        let alerts = Alerts {
            utilization_percent: Some(90),
            pending_for: Some(Span::minutes(30)),
            exhaustion_within: Some(Span::minutes(24 * 60)),
        };
        assert_eq!(spec.alerts, alerts);
        assert_eq!(spec.ttl_after_finished, Some(Span::minutes(60)));
    }

    #[test]
    fn what_cannot_be_read_stalls_the_pool_alone_and_says_where() {
        for (spec, expected) in [
            (
                json!({"resources": [{"name": "cpu", "limit": "lots"}]}),
                "spec.resources[0].limit: \"lots\" is not a quantity",
            ),
            (
                json!({"resources": [{"name": "cpu", "reservation": "-1"}]}),
                "spec.resources[0].reservation: -1 is negative",
            ),
            (json!({"resources": "many"}), "spec.resources"),
            (
                json!({"nodes": {"selector": {"matchExpressions": [{"key": "a", "operator": "Near"}]}}}),
                "spec.nodes.selector.matchExpressions[0].operator",
            ),
        ] {
            let problem = seen(&spec).problem.unwrap();
            assert!(problem.contains(expected), "{problem} does not say {expected}");
        }
    }
}
