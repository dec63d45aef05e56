//! What pools use, decision by decision: what is decided at one time is taken in the world at once.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::decide::decision::Decision;
use crate::model::amount::Limit;
use crate::model::resources::{Amounts, ResourceId};
use crate::model::world::World;
use crate::plan::reason::friendly_amount;

/// What a pool uses, and what it may use.
type Stands = (Amounts, Vec<(ResourceId, Limit)>);

/// All pools, by name.
pub struct Tally(BTreeMap<Arc<str>, Stands>);

impl Tally {
    /// As they stand before anything is decided.
    pub fn of(world: &mut World) -> Self {
        let names: Vec<Arc<str>> = world.pool_names().cloned().collect();
        let stands = names.into_iter().filter_map(|name| {
            let resources = world.pool_report(&name)?.resources;
            let used = resources.iter().map(|one| (one.resource, one.allocated)).collect();
            Some((name, (used, resources.iter().map(|one| (one.resource, one.limit)).collect())))
        });
        Self(stands.collect())
    }

    /// Counts an admission, and says how its pool stands then; nothing of any other decision. `world` is as it was before.
    pub fn count(&mut self, decision: &Decision, world: &World) -> String {
        let Decision::Admit { workload, pool, placements, .. } = decision else { return String::new() };
        let Some(workload) = world.workload_ids.get(workload).and_then(|id| world.workload(*id)) else {
            return String::new();
        };
        let charge = world.asks(workload).times(u32::try_from(placements.len()).unwrap_or(u32::MAX));
        let path = world.pool_ids.get(pool).and_then(|id| world.pool(*id)).map(|pool| pool.path.clone());
        for above in path.unwrap_or_default() {
            let name = world.pool(above).map(|pool| &pool.spec.name);
            if let Some((used, _)) = name.and_then(|name| self.0.get_mut(name)) {
                used.add(&charge);
            }
        }
        let Some((used, limits)) = self.0.get(pool) else { return String::new() };
        let asked = limits.iter().filter(|(resource, _)| !charge.get(*resource).is_zero());
        let stands: Vec<String> = asked
            .map(|(resource, limit)| {
                let name = world.resources().name(*resource);
                let used = friendly_amount(name, used.get(*resource));
                match limit {
                    Limit::At(limit) => format!("{name} {used} of {}", friendly_amount(name, *limit)),
                    Limit::Unlimited => format!("{name} {used}"),
                }
            })
            .collect();
        if stands.is_empty() { String::new() } else { format!("; the pool then uses {}", stands.join(", ")) }
    }
}
