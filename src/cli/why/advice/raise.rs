//! Bounds that pools could raise, one after another, until nothing of them is in the way.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use super::super::answer::Suggestion;
use super::trial::{Bench, Outcome};
use super::{more_nodes, told};
use crate::model::amount::{Amount, Limit};
use crate::model::delta::Delta;
use crate::model::refusal::{Bound, Refusal, Shortage};
use crate::model::resources::ResourceId;
use crate::model::spec::{Entitlement, PoolSpec, StopPolicy};
use crate::plan::reason::friendly_amount;

/// Bounds that are raised one after another.
const ROUNDS: usize = 8;

/// Raises what is in the way until nothing of that kind is; where nodes then are, more of them are added.
pub fn raise(bench: &mut Bench<'_>, refusal: &Refusal) -> Vec<Suggestion> {
    let mut pools: BTreeMap<Arc<str>, PoolSpec> = BTreeMap::new();
    let mut steps: BTreeMap<String, Step> = BTreeMap::new();
    // Who is ahead takes what is raised: each time more is.
    let mut portion = 1;
    let mut refusal = refusal.clone();
    for _ in 0..ROUNDS {
        let more = next(bench, &mut pools, &refusal, portion);
        let is_at_end = more.is_none();
        for (what, step) in more.into_iter().flatten() {
            match steps.entry(what) {
                Entry::Vacant(entry) => drop(entry.insert(step)),
                Entry::Occupied(mut entry) => {
                    entry.get_mut().to = step.to;
                    portion *= 2;
                }
            }
        }
        if steps.is_empty() || !bench.has_time() {
            break;
        }
        let said: Vec<String> =
            steps.iter().map(|(what, step)| format!("{what} from {} to {}", step.from, step.to)).collect();
        let said = said.join(", and ");
        let changed: Vec<Delta> = pools.values().map(|pool| Delta::Pool(Box::new(pool.clone()))).collect();
        if is_at_end {
            let found = more_nodes(bench, &changed);
            return found
                .and_then(|(nodes, outcome)| told(format!("{said}, and {nodes}"), &outcome))
                .into_iter()
                .collect();
        }
        match bench.attempt(changed) {
            Outcome::Waits(next) => refusal = *next,
            outcome => return told(said, &outcome).into_iter().collect(),
        }
    }
    Vec::new()
}

/// From what to what something is raised.
struct Step {
    from: String,
    to: String,
}

impl Step {
    fn new(from: &dyn ToString, to: &dyn ToString) -> Self {
        Self { from: from.to_string(), to: to.to_string() }
    }
}

/// The next bound that is in the way, raised in `pools`.
fn next(
    bench: &Bench<'_>,
    pools: &mut BTreeMap<Arc<str>, PoolSpec>,
    refusal: &Refusal,
    portion: u32,
) -> Option<Vec<(String, Step)>> {
    let named = match refusal {
        Refusal::WaitingForQuota { pool, .. }
        | Refusal::ExceedsLimit { pool, .. }
        | Refusal::TooManyRunning { pool, .. }
        | Refusal::QueueFull { pool, .. }
        | Refusal::PoolHeld(pool) => Arc::clone(pool),
        _ => return None,
    };
    if !pools.contains_key(&named) {
        pools.insert(Arc::clone(&named), bench.pool(&named)?);
    }
    let pool = pools.get_mut(&named)?;
    let step = match refusal {
        Refusal::WaitingForQuota { bound, shortages, .. } => {
            return shortages.iter().map(|one| raised(bench, pool, one, *bound, portion)).collect();
        }
        Refusal::ExceedsLimit { shortage, per_workload: true, .. } => {
            let name = bench.world().resources().name(shortage.resource);
            pool.max_resources_per_workload.insert(name.into(), shortage.requested);
            let say = |amount| friendly_amount(name, amount);
            let step = Step::new(&say(shortage.bound), &say(shortage.requested));
            (format!("raise limits.maxResourcesPerWorkload of {name} in pool {named}"), step)
        }
        Refusal::ExceedsLimit { shortage, bound, .. } => raised(bench, pool, shortage, *bound, 1)?,
        Refusal::TooManyRunning { limit, per_namespace, .. } => {
            let more = limit.saturating_add(portion);
            let field =
                if *per_namespace { &mut pool.max_running_per_namespace } else { &mut pool.max_running };
            *field = Some(more);
            let field = if *per_namespace { "limits.maxRunningPerNamespace" } else { "limits.maxRunning" };
            (format!("raise {field} of pool {named}"), Step::new(limit, &more))
        }
        Refusal::QueueFull { limit, .. } => {
            let more = limit.saturating_add(portion);
            pool.max_queued = Some(more);
            (format!("raise limits.maxQueued of pool {named}"), Step::new(limit, &more))
        }
        Refusal::PoolHeld(_) => {
            let step = Step::new(&format!("{:?}", pool.stop), &"None");
            pool.stop = StopPolicy::None;
            (format!("set stopPolicy of pool {named}"), step)
        }
        _ => return None,
    };
    Some(vec![step])
}

/// Raises the bound of one resource by what is missing, of which so many portions shall fit; none where the nodes are the
/// bound.
fn raised(
    bench: &Bench<'_>,
    pool: &mut PoolSpec,
    shortage: &Shortage,
    bound: Bound,
    portions: u32,
) -> Option<(String, Step)> {
    let name = bench.world().resources().name(shortage.resource).to_owned();
    let needed = shortage.used + shortage.kept + shortage.requested.times(portions);
    let step = Step::new(&friendly_amount(&name, shortage.bound), &friendly_amount(&name, needed));
    let entry = entry(pool, &name);
    let field = match bound {
        Bound::Capacity => return None,
        Bound::Declared => {
            entry.capacity = Some(needed);
            "capacity"
        }
        Bound::Limit => {
            entry.limit = Limit::At(needed);
            "limit"
        }
        Bound::NotExpandable | Bound::NotPreemptible => {
            entry.reservation = needed;
            if let Limit::At(limit) = entry.limit {
                entry.limit = Limit::At(limit.max(needed));
            }
            "reservation"
        }
    };
    Some((format!("raise the {field} of {name} in pool {}", pool.name), step))
}

/// The pool's entry of a resource, made if there is none.
fn entry<'a>(pool: &'a mut PoolSpec, name: &str) -> &'a mut Entitlement {
    let known = pool.entitlements.iter().position(|one| &*one.resource == name);
    let at = known.unwrap_or(pool.entitlements.len());
    if known.is_none() {
        pool.entitlements.push(Entitlement {
            resource: name.into(),
            reservation: Amount::ZERO,
            limit: Limit::Unlimited,
            lending: Limit::Unlimited,
            capacity: None,
        });
    }
    &mut pool.entitlements[at]
}

/// How much of each resource in the way a member could have, rounded down to what people write.
pub fn room<'a>(
    bench: &Bench<'_>,
    refusal: &Refusal,
    asked: impl Iterator<Item = &'a Arc<str>>,
) -> Vec<(Arc<str>, Amount)> {
    let members = i64::from(bench.spec.min_replicas.max(1));
    let named = |resource: ResourceId| Arc::from(bench.world().resources().name(resource));
    let of_shortage = |one: &Shortage| {
        let name: Arc<str> = named(one.resource);
        let left = one.bound.less(one.used + one.kept).units() / members;
        (Arc::clone(&name), round(&name, left))
    };
    match refusal {
        Refusal::WaitingForQuota { shortages, .. } => shortages.iter().map(of_shortage).collect(),
        Refusal::ExceedsLimit { shortage, .. } => vec![of_shortage(shortage)],
        Refusal::NoFittingNode(_) | Refusal::Fragmented { .. } => {
            let mut world = bench.world().clone();
            let Some(report) = world.pool_report(&bench.spec.pool) else { return Vec::new() };
            let largest =
                report.resources.iter().filter_map(|one| Some((named(one.resource), one.largest_free?)));
            let asked: Vec<&Arc<str>> = asked.collect();
            let asked = largest.filter(|(name, _)| asked.contains(&name));
            asked.map(|(name, most)| (Arc::clone(&name), round(&name, most.units()))).collect()
        }
        _ => Vec::new(),
    }
}

/// Down to a tenth of a CPU, or to a mebibyte.
fn round(name: &str, units: i64) -> Amount {
    let step = match name {
        "cpu" => 100,
        _ if crate::api::quantity::is_bytes(name) => 1 << 20,
        _ => 1,
    };
    Amount::new(units - units.rem_euclid(step))
}
