//! What is wrong with a workload: its template, and what its pool would say of it.

use serde_json::Value;

use super::namespaces::Namespaces;
use super::pools::Pools;
use super::{Severity, Verdicts};
use crate::api::asked;
use crate::api::field::{FieldPath, Problems};
use crate::api::labels::MIGRATE;
use crate::api::quantity::{counted, shown_amount};
use crate::api::requests::{Amounts, effective};
use crate::api::template::{check_annotations, check_machine_template, check_pod_template, derived};
use crate::api::workload::Completion;
use crate::api::{PooledWorkload, ResourcePool};
use crate::observe::machine::{self, Cluster, Overcommit};

const MACHINE_SPEC: &str = "spec.template.virtualMachine.spec";
const POD_SPEC: &str = "spec.template.pod.spec";

/// The template of a workload, which the schema stores as given. It is checked even where the rest is wrong.
pub fn template(object: &Value, problems: &mut Problems) {
    let at = "/spec/template/virtualMachine/spec";
    if let Some(spec) = object.pointer(at).filter(|spec| spec.is_object())
        && let Err(found) = check_machine_template(spec)
    {
        let at = FieldPath::of(MACHINE_SPEC);
        problems.0.extend(found.into_iter().map(|mut problem| {
            problem.path = at.join(&problem.path);
            problem
        }));
    }
    // What is no map at all, the schema has said already.
    let Some(spec) = object.pointer("/spec/template/pod/spec").filter(|spec| spec.is_object()) else {
        return;
    };
    let completion = match object.pointer("/spec/completion").and_then(Value::as_str) {
        Some("KeepRunning") => Completion::KeepRunning,
        _ => Completion::RunToCompletion,
    };
    if let Err(found) = check_pod_template(spec, completion) {
        let at = FieldPath::of(POD_SPEC);
        problems.0.extend(found.into_iter().map(|mut problem| {
            problem.path = at.join(&problem.path);
            problem
        }));
    }
}

/// Annotations that Weir reads, of the workload and of its template.
pub fn annotations(workload: &PooledWorkload, problems: &mut Problems) {
    let request = workload.metadata.annotations.as_ref().and_then(|all| all.get(MIGRATE));
    if let Some(Err(problem)) = request.map(|text| asked::parse(text)) {
        problems.add(FieldPath::of("metadata.annotations"), problem);
    }
    let at = FieldPath::of("spec.template.pod");
    let metadata = workload.spec.template.pod.as_ref().and_then(|pod| pod.metadata.as_ref());
    let found = metadata.map(|metadata| check_annotations(&metadata.annotations)).unwrap_or_default();
    problems.0.extend(found.into_iter().map(|mut problem| {
        problem.path = at.join(&problem.path);
        problem
    }));
}

/// A sound workload against its pool and all pools above that.
pub fn against_pools(
    workload: &PooledWorkload,
    pools: &Pools<'_>,
    namespaces: &Namespaces,
    verdicts: &mut Verdicts,
) {
    let spec = &workload.spec;
    let Some(pool) = pools.get(&spec.pool) else {
        if !pools.is_there(&spec.pool) {
            verdicts.add(
                Severity::Error,
                FieldPath::of("spec.pool"),
                format!("no pool {:?} is among the files: correct the name, or add the pool", spec.pool),
            );
        }
        return;
    };
    access(workload, pool, namespaces, verdicts);
    if let Some(machine) = &spec.template.virtual_machine {
        let Some(requests) = machine_requests(&machine.spec, &spec.pool, pools) else { return };
        size(workload, &requests, pools, verdicts);
        return;
    }
    let Some(template) = &spec.template.pod else { return };
    let Ok(pod) = check_pod_template(&template.spec, spec.effective_completion()) else { return };
    let Ok(mut requests) = effective(&pod) else { return };
    let metadata = template.metadata.clone().unwrap_or_default();
    requests.extend(derived(&pod, &metadata.annotations).unwrap_or_default());
    requested(&spec.pool, &requests, pools, verdicts);
    size(workload, &requests, pools, verdicts);
}

/// What a machine will ask for, as far as that can be known without a cluster: with `KubeVirt`'s own settings where the
/// pools say nothing. What a size stands for only the cluster knows.
fn machine_requests(spec: &Value, pool: &str, pools: &Pools<'_>) -> Option<Amounts> {
    let machine = check_machine_template(spec).ok()?;
    let mut overcommit = Overcommit::default();
    for above in pools.path(pool) {
        let said = above.spec.virtual_machines.clone().unwrap_or_default();
        overcommit.cpu_milli = overcommit.cpu_milli.or(machine::milli(said.cpu_overcommit.as_ref()));
        overcommit.memory_milli = overcommit.memory_milli.or(machine::milli(said.memory_overcommit.as_ref()));
    }
    let shape = machine::shape(&machine, overcommit, &Cluster::default(), None).ok()?;
    Some(shape.requests.iter().map(|(name, amount)| (name.to_string(), amount.units())).collect())
}

fn access(workload: &PooledWorkload, pool: &ResourcePool, namespaces: &Namespaces, verdicts: &mut Verdicts) {
    let range = &pool.spec.access.priority;
    if let Some(priority) = workload.spec.priority
        && !(range.min..=range.max).contains(&priority)
    {
        verdicts.add(
            Severity::Error,
            FieldPath::of("spec.priority"),
            format!(
                "{priority} is not allowed by the pool {:?}: write {} to {}",
                workload.spec.pool, range.min, range.max
            ),
        );
    }
    let runtime = workload.spec.template.runtime();
    if pool.spec.access.runtimes.as_ref().is_some_and(|runtimes| !runtimes.contains(&runtime)) {
        verdicts.add(
            Severity::Error,
            FieldPath::of("spec.template"),
            format!(
                "access.runtimes of the pool {:?} does not have {runtime:?}: name another pool, or add it there",
                workload.spec.pool
            ),
        );
    }
    let namespace = workload.metadata.namespace.as_deref().unwrap_or_default();
    let message = match &pool.spec.access.namespaces {
        None => format!(
            "the pool {:?} lets no namespace submit: write access: {{namespaces: {{...}}}} in it, or name another pool",
            workload.spec.pool
        ),
        Some(selector) if namespaces.is_selected(namespace, selector) == Some(false) => format!(
            "access.namespaces of the pool {:?} does not select the namespace {namespace:?}: label it so, or name another pool",
            workload.spec.pool
        ),
        Some(_) => return,
    };
    verdicts.add(Severity::Error, FieldPath::of("spec.pool"), message);
}

/// Where the spec of the members stands.
fn at_spec(workload: &PooledWorkload) -> &'static str {
    if workload.spec.template.virtual_machine.is_some() { MACHINE_SPEC } else { POD_SPEC }
}

/// Rule 9: cpu and memory that a pool meters must be requested, or a pod would run beside the quota.
fn requested(pool: &str, requests: &Amounts, pools: &Pools<'_>, verdicts: &mut Verdicts) {
    let Some(root) = pools.root(pool) else { return };
    for resource in ["cpu", "memory"] {
        let metered = root.spec.resources.iter().any(|entry| entry.name == resource);
        if metered && requests.get(resource).copied().unwrap_or(0) == 0 {
            verdicts.add(
                Severity::Error,
                FieldPath::of(POD_SPEC).key("containers"),
                format!("the pool meters {resource} and no container requests any: write resources: {{requests: {{{resource}: ...}}}}"),
            );
        }
    }
}

/// What could never fit, even into an empty pool; and what can only fit in part.
fn size(workload: &PooledWorkload, requests: &Amounts, pools: &Pools<'_>, verdicts: &mut Verdicts) {
    let spec = &workload.spec;
    let (least, most) = (spec.effective_min_replicas(), spec.replicas);
    for (resource, request) in requests {
        let mut bounds = Vec::new();
        if let Some(limit) = pools.smallest_limit(&spec.pool, resource, !spec.preemptible) {
            bounds.push((
                limit.amount,
                format!(
                    "the {} of {} of the pool {:?}",
                    limit.what,
                    shown_amount(resource, limit.amount),
                    limit.pool
                ),
            ));
        }
        for pool in pools.path(&spec.pool) {
            let bound =
                pool.spec.limits.as_ref().and_then(|limits| limits.max_resources_per_workload.get(resource));
            if let Some(bound) = bound.and_then(|bound| counted(resource, bound.as_str()).ok()) {
                let name = pool.metadata.name.as_deref().unwrap_or_default();
                bounds.push((
                    bound,
                    format!(
                        "maxResourcesPerWorkload of {} of the pool {name:?}",
                        shown_amount(resource, bound)
                    ),
                ));
            }
        }
        let Some((bound, words)) = bounds.into_iter().min_by_key(|(bound, _)| *bound) else { continue };
        for (severity, members, at, hint) in [
            (Severity::Error, least, at_spec(workload), "ask for less, or raise it"),
            (Severity::Warning, most, "spec.replicas", "not all of them will ever run together"),
        ] {
            let total = request.saturating_mul(i64::from(members));
            if total > bound {
                let members =
                    if members == 1 { "1 member asks".to_owned() } else { format!("{members} members ask") };
                verdicts.add(
                    severity,
                    FieldPath::of(at),
                    format!(
                        "{members} for {} of {resource}, more than {words}: {hint}",
                        shown_amount(resource, total)
                    ),
                );
                break;
            }
        }
    }
}
