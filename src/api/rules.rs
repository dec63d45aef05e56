//! CEL rules that stand in more than one place of the schemas, each with its message.

use kube::core::Rule;

/// cpu: cores with at most three decimals, or milli-cores; an `i64` of milli-cores holds each of them.
const CPU: &str =
    "^[+-]?[0-9]{1,15}([.][0-9]{0,3})?$|^[+-]?[0-9]{1,18}m$|^[+-]?[0-9]{1,6}([.][0-9]{0,3})?[kMG]$";

const RESOURCE_MESSAGE: &str = "write cpu, memory, ephemeral-storage, pods, hugepages-<size>, requests.storage, \
    weir.dev/ingress-bandwidth, weir.dev/egress-bandwidth, or an extended resource with its domain, such as \
    nvidia.com/gpu";

/// What Weir derives from templates, as a list of CEL.
const DERIVED: &str = "'requests.storage', 'weir.dev/ingress-bandwidth', 'weir.dev/egress-bandwidth'";

/// Of a root: what Weir derives needs a declared capacity, since no node offers it.
pub(super) fn derived_has_capacity() -> Rule {
    Rule::new(format!(
        "has(self.spec.parent) || !has(self.spec.resources) \
         || self.spec.resources.all(one, has(one.capacity) || !(one.name in [{DERIVED}]))"
    ))
    .message("spec.resources: write capacity beside requests.storage and bandwidth on a root, such as {name: requests.storage, capacity: 10Ti}: no node offers them")
}

/// A capacity is declared only of what no node offers.
pub(super) fn no_capacity_of_nodes() -> Rule {
    Rule::new(
        "!has(self.capacity) || !(self.name in ['cpu', 'memory', 'ephemeral-storage', 'pods'] || self.name.startsWith('hugepages-'))",
    )
    .message("capacity: leave it away, or write a limit: nodes offer this resource, and what they offer is the capacity")
}

/// Lower-case letters, digits and dashes, as in host names and label values.
pub(super) fn dns_label(path: &str, message_path: &str, max: usize) -> Rule {
    Rule::new(format!("{path}.matches('^[a-z0-9]([-a-z0-9]{{0,{}}}[a-z0-9])?$')", max - 2)).message(&*format!(
        "{message_path}write at most {max} lower-case letters, digits and dashes, beginning and ending with a \
         letter or digit"
    ))
}

fn is_resource(expression: &str) -> String {
    format!(
        "{expression} in ['cpu', 'memory', 'ephemeral-storage', 'pods', {DERIVED}] \
         || {expression}.matches('^hugepages-[1-9][0-9]*[KMG]i$') \
         || (!{expression}.startsWith('weir.dev/') \
         && {expression}.matches('^[a-z0-9]([-a-z0-9.]*[a-z0-9])?/[A-Za-z0-9]([-A-Za-z0-9_.]{{0,61}}[A-Za-z0-9])?$'))"
    )
}

/// Everything else: whole numbers, or fractions of a unit so large that a byte more does not matter.
const OTHER: &str = "^[+-]?[0-9]{1,19}(k|[MGTPE]|[KMGTPE]i)?$|^[+-]?[0-9]{1,16}[.][0-9]{0,9}(k|[MGTPE]|[KMGTPE]i)$\
    |^[+-]?[0-9]{1,4}[eE][0-9]{1,2}$";

fn countable(name: &str, value: &str) -> String {
    // CEL's isInteger() is no help: it denies that 1.5Gi or 5000000Gi is one. What is larger than an i64 the
    // API server caps to one, which is more than 9E.
    format!(
        "string({value}).matches({name} == 'cpu' ? '{CPU}' : '{OTHER}') \
         && quantity(string({value})).compareTo(quantity('9E')) <= 0"
    )
}

/// `self` names a resource that can be metered.
pub(super) fn resource_name() -> Rule {
    Rule::new(is_resource("self")).message(RESOURCE_MESSAGE)
}

/// The keys of the map name resources that can be metered.
pub(super) fn resource_names() -> Rule {
    Rule::new(format!("self.all(k, size(k) <= 253 && ({}))", is_resource("k"))).message(RESOURCE_MESSAGE)
}

const NOT_NEGATIVE: &str = "write a quantity of 0 or more, such as 4, 500m or 64Gi";
const COUNTABLE: &str = "write cpu in cores with at most 3 decimals or in milli-cores, such as 2, 1.5 or 1500m, \
    and any other resource as a whole number of at most 9E or with a suffix, such as 8, 64Gi or 1.5Gi";

/// The field of a resource entry is a quantity, and not negative.
pub(super) fn not_negative(field: &str) -> Rule {
    let value = format!("string(self.{field})");
    Rule::new(format!(
        "!has(self.{field}) || (isQuantity({value}) && quantity({value}).compareTo(quantity('0')) >= 0)"
    ))
    .message(&*format!("{field}: {NOT_NEGATIVE}"))
}

/// The field of a resource entry can be counted: cpu to the milli-core, others as whole numbers.
pub(super) fn countable_field(field: &str) -> Rule {
    Rule::new(format!(
        "!has(self.{field}) || !isQuantity(string(self.{field})) || ({})",
        countable("self.name", &format!("self.{field}"))
    ))
    .message(&*format!("{field}: {COUNTABLE}"))
}

/// The values of a map of resources are quantities, and not negative.
pub(super) fn not_negative_values() -> Rule {
    Rule::new(
        "self.all(k, isQuantity(string(self[k])) && quantity(string(self[k])).compareTo(quantity('0')) >= 0)",
    )
    .message(NOT_NEGATIVE)
}

/// The values of a map of resources can be counted.
pub(super) fn countable_values() -> Rule {
    Rule::new(format!("self.all(k, !isQuantity(string(self[k])) || ({}))", countable("k", "self[k]")))
        .message(COUNTABLE)
}

/// The field is a ratio of two amounts: a quantity above 0.
pub(super) fn ratio(field: &str, one: &str, other: &str) -> Rule {
    let value = format!("string(self.{field})");
    Rule::new(format!(
        "!has(self.{field}) || (isQuantity({value}) && quantity({value}).compareTo(quantity('1m')) >= 0 \
         && quantity({value}).compareTo(quantity('1k')) <= 0)"
    ))
    .message(&*format!("{field}: write a ratio from 0.001 to 1000, such as {one} or {other}"))
}

/// A duration of a second or more. What is no duration is left to the type's own rule.
pub(super) fn at_least_a_second() -> Rule {
    Rule::new(format!("!self.matches('{}') || duration(self) >= duration('1s')", super::duration::PATTERN))
        .message("write a duration of 1s or more, such as 15m or 2h30m")
}

/// A duration within bounds. What is no duration is left to the type's own rule.
pub(super) fn between(least: &str, most: &str) -> Rule {
    let pattern = super::duration::PATTERN;
    Rule::new(format!(
        "!self.matches('{pattern}') || (duration(self) >= duration('{least}') && duration(self) <= duration('{most}'))"
    ))
    .message(&*format!("write a duration from {least} to {most}, such as 15m or 2h30m"))
}

/// While admitted, `field` of the spec stays as it is.
pub(super) fn fixed_while_admitted(field: &str, optional: bool) -> Rule {
    let same = if optional {
        format!(
            "(has(self.spec.{field}) ? has(oldSelf.spec.{field}) && self.spec.{field} == oldSelf.spec.{field} \
             : !has(oldSelf.spec.{field}))"
        )
    } else {
        format!("self.spec.{field} == oldSelf.spec.{field}")
    };
    Rule::new(format!(
        "!has(oldSelf.status) || !has(oldSelf.status.conditions) \
         || !oldSelf.status.conditions.exists(c, c.type == 'Admitted' && c.status == 'True') || {same}"
    ))
    .message(&*format!(
        "spec.{field} cannot change while the workload is admitted: set spec.suspend to true, wait until the \
         condition Admitted is False, change it, and set spec.suspend to false"
    ))
}

/// The value is the key of a label.
pub(super) fn label_key() -> Rule {
    Rule::new(
        "self.matches('^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$')",
    )
    .message("write the key of a node label, such as topology.kubernetes.io/zone or example.com/rack")
}

/// The keys of a map of labels or annotations are qualified names, and none of them is Weir's.
pub(super) fn label_keys() -> Rule {
    Rule::new(
        "self.all(k, size(k) <= 317 && !k.startsWith('weir.dev/') \
         && k.matches('^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$'))",
    )
    .message(
        "write keys such as app or example.com/app: at most 63 letters, digits, '-', '_' and '.' after the \
         optional domain; keys under weir.dev/ are set by Weir",
    )
}
