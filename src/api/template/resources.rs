//! Requests and limits of containers.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ResourceRequirements;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use serde_json::Value;

use crate::api::field::{FieldPath, Problems};
use crate::api::labels::PREFIX;
use crate::api::names::is_qualified_name;
use crate::api::quantity::{Amount, Unit};

/// The API server takes a bare number for a quantity; the typed `Quantity` holds text only.
pub(super) fn numbers_to_text(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(numbers_to_text),
        Value::Object(fields) => {
            for (key, field) in fields {
                match (key.as_str(), field) {
                    ("requests" | "limits" | "overhead", Value::Object(amounts)) => {
                        amounts.values_mut().for_each(number_to_text);
                    }
                    ("sizeLimit" | "divisor", field) => number_to_text(field),
                    (_, field) => numbers_to_text(field),
                }
            }
        }
        _ => {}
    }
}

fn number_to_text(value: &mut Value) {
    if let Value::Number(number) = value {
        *value = Value::String(number.to_string());
    }
}

/// Below this much, a fraction of a byte was hardly meant.
const KIBI: Amount = Amount::from_units(1024);

/// What must be asked for in whole units, and where nothing may be asked for beyond what is promised.
fn is_indivisible(resource: &str) -> bool {
    resource.contains('/') || resource.starts_with("hugepages-")
}

/// Checks the resources of one container.
pub(super) fn check(resources: &ResourceRequirements, at: &FieldPath, problems: &mut Problems) {
    let requests = amounts(resources.requests.as_ref(), &at.key("requests"), problems);
    let limits = amounts(resources.limits.as_ref(), &at.key("limits"), problems);
    for (name, request) in &requests {
        let at = at.key("requests").key(name);
        match limits.get(name) {
            Some(limit) if is_indivisible(name) && request != limit => {
                problems
                    .add(at, format!("write the same amount as in limits: {name} cannot be overcommitted"));
            }
            Some(limit) if request > limit => {
                problems.add(at, "write at most the limit of the same resource");
            }
            None if is_indivisible(name) => {
                problems.add(at, format!("write the same amount in limits: {name} cannot be overcommitted"));
            }
            _ => {}
        }
    }
    let asks = |prefix: &str| requests.keys().chain(limits.keys()).any(|name| name.starts_with(prefix));
    if asks("hugepages-") && !asks("cpu") && !asks("memory") {
        problems.add(at.clone(), "write a request of cpu or memory too: huge pages cannot be had without");
    }
}

fn amounts(
    map: Option<&BTreeMap<String, Quantity>>,
    at: &FieldPath,
    problems: &mut Problems,
) -> BTreeMap<String, Amount> {
    let mut amounts = BTreeMap::new();
    for (name, quantity) in map.into_iter().flatten() {
        let at = at.key(name);
        if name.starts_with(PREFIX) {
            problems.add(
                at,
                "Weir derives it: write the annotations kubernetes.io/ingress-bandwidth and \
                 kubernetes.io/egress-bandwidth in the template's metadata",
            );
            continue;
        }
        if !is_container_resource(name) {
            problems.add(
                at,
                format!(
                    "{name:?} is no resource of a container: write cpu, memory, ephemeral-storage, \
                     hugepages-<size>, or an extended resource with its domain, such as nvidia.com/gpu"
                ),
            );
            continue;
        }
        match amount(name, &quantity.0) {
            Ok(amount) => {
                amounts.insert(name.clone(), amount);
            }
            Err(message) => problems.add(at, message),
        }
    }
    amounts
}

fn amount(name: &str, text: &str) -> Result<Amount, String> {
    let amount = Amount::parse(text).map_err(|error| error.to_string())?;
    if amount.is_negative() {
        return Err(format!("{text:?} is negative: write 0 or more"));
    }
    let counted = match Unit::of(name) {
        Unit::Milli if !amount.is_whole_milli() => {
            return Err(format!("{text:?} is finer than 1m: write milli-cores, such as 1m or 250m"));
        }
        Unit::Milli => amount.milli_ceil(),
        // A fraction of a byte is what 1.1Gi comes to, and is rounded up; 100m is a slip.
        Unit::One if !amount.is_whole() && (is_indivisible(name) || amount < KIBI) => {
            let example = if is_indivisible(name) { "1 or 2" } else { "128Mi or 4Gi" };
            return Err(format!("{text:?} is not a whole number: write whole units, such as {example}"));
        }
        Unit::One => amount.units_ceil(),
    };
    if counted.is_none() {
        return Err(format!("{text:?} is more than can be counted: write a smaller quantity"));
    }
    Ok(amount)
}

fn is_container_resource(name: &str) -> bool {
    if name.contains('/') {
        // The API server keeps these two for itself.
        return is_qualified_name(name) && !name.contains("kubernetes.io/") && !name.starts_with("requests.");
    }
    matches!(name, "cpu" | "memory" | "ephemeral-storage")
        || name.strip_prefix("hugepages-").is_some_and(|size| Amount::parse(size).is_ok_and(|a| !a.is_zero()))
}
