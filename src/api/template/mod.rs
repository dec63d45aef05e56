//! A pod template, read strictly.
//!
//! The schema stores a template as given, so this is where it is checked: its types, unknown fields, fields
//! that Weir sets itself, fields that no filter honours yet (they are refused, not ignored), and what an API
//! server or a kubelet would refuse and that can be known without a cluster.

mod containers;
mod derived;
pub mod machine;
mod nodes;
mod refused;
mod resources;
mod terms;
mod volumes;

pub use machine::check_machine_template;

use k8s_openapi::api::core::v1::PodSpec;
use serde_json::Value;

use super::field::{FieldPath, FieldProblem, Problems};
use super::names::is_dns_subdomain;
use super::workload::Completion;
pub use derived::{DERIVED, check_annotations, derived};

/// Reads a core/v1 `PodSpec` as `spec.template.pod.spec` holds it. Paths are relative to it.
///
/// What comes back is ready to be used for a pod, but for what Weir itself sets: the restart policy is there
/// (`Never` when it was absent from a template that runs to completion).
///
/// # Errors
/// Everything that is wrong, sorted by path.
pub fn check_pod_template(spec: &Value, completion: Completion) -> Result<PodSpec, Vec<FieldProblem>> {
    let mut problems = Problems::default();
    if !spec.is_object() {
        problems.add(
            FieldPath::root(),
            "write a core/v1 PodSpec, such as {containers: [{name: main, image: ...}]}",
        );
        return Err(problems.0);
    }
    refused::check(spec, &mut problems);
    let mut normal = spec.clone();
    resources::numbers_to_text(&mut normal);
    let read: Result<PodSpec, _> = serde_path_to_error::deserialize(&normal);
    match read {
        Err(error) => problems.add(path_of(error.path()), plain(&error.inner().to_string())),
        Ok(mut pod) => {
            unknown_fields(&normal, &pod, &mut problems);
            check(&pod, completion, &mut problems);
            if problems.0.is_empty() {
                if pod.restart_policy.is_none() && completion == Completion::RunToCompletion {
                    pod.restart_policy = Some("Never".to_owned());
                }
                return Ok(pod);
            }
        }
    }
    problems.0.sort();
    problems.0.dedup();
    Err(problems.0)
}

fn check(pod: &PodSpec, completion: Completion, problems: &mut Problems) {
    restart_policy(pod, completion, problems);
    volumes::check(pod, problems);
    containers::check(pod, problems);
    nodes::check(pod, problems);
    terms::check(pod, problems);
    let at = FieldPath::root();
    one_of(
        pod.dns_policy.as_deref(),
        &["ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"],
        &at.key("dnsPolicy"),
        problems,
    );
    let has_nameservers =
        pod.dns_config.as_ref().and_then(|c| c.nameservers.as_ref()).is_some_and(|n| !n.is_empty());
    if pod.dns_policy.as_deref() == Some("None") && !has_nameservers {
        problems.add(at.key("dnsConfig").key("nameservers"), "write at least one, since dnsPolicy is None");
    }
    if pod.termination_grace_period_seconds.is_some_and(|s| s < 0) {
        problems.add(at.key("terminationGracePeriodSeconds"), "write 0 or more");
    }
    if pod.active_deadline_seconds.is_some_and(|s| !(1..=i64::from(u32::MAX)).contains(&s)) {
        problems.add(at.key("activeDeadlineSeconds"), "write 1 or more, or use maxDuration of the workload");
    }
    for (field, name) in
        [("serviceAccountName", &pod.service_account_name), ("serviceAccount", &pod.service_account)]
    {
        if let Some(name) = name.as_deref()
            && !name.is_empty()
            && !is_dns_subdomain(name)
        {
            problems.add(
                at.key(field),
                "write the name of a ServiceAccount: lower-case letters, digits, '-' and '.'",
            );
        }
    }
    if let Some(os) = &pod.os {
        one_of(Some(&os.name), &["linux", "windows"], &at.key("os").key("name"), problems);
    }
}

/// Rule 10: a member that must end may not be restarted for ever.
fn restart_policy(pod: &PodSpec, completion: Completion, problems: &mut Problems) {
    let at = FieldPath::of("restartPolicy");
    match (pod.restart_policy.as_deref(), completion) {
        (Some("Always"), Completion::RunToCompletion) => problems.add(
            at,
            "Always never ends: write Never or OnFailure, or set completion of the workload to KeepRunning",
        ),
        (policy, _) => one_of(policy, &["Always", "OnFailure", "Never"], &at, problems),
    }
}

/// What was given and is not there any more when it is written again was not known.
fn unknown_fields(given: &Value, read: &PodSpec, problems: &mut Problems) {
    match serde_json::to_value(read) {
        Ok(known) => compare(given, &known, &FieldPath::root(), problems),
        Err(error) => problems.add(FieldPath::root(), format!("cannot be written as JSON: {error}")),
    }
}

fn compare(given: &Value, known: &Value, at: &FieldPath, problems: &mut Problems) {
    match (given, known) {
        (Value::Object(given), Value::Object(known)) => {
            for (key, value) in given {
                match known.get(key) {
                    Some(known) => compare(value, known, &at.key(key), problems),
                    None if value.is_null() => {}
                    None => problems.add(
                        at.key(key),
                        "unknown field: correct its name, or leave it away (fields newer than Kubernetes 1.33 are \
                         not supported yet)",
                    ),
                }
            }
        }
        (Value::Array(given), Value::Array(known)) => {
            for (index, (given, known)) in given.iter().zip(known).enumerate() {
                compare(given, known, &at.index(index), problems);
            }
        }
        _ => {}
    }
}

/// The path as serde tracked it.
fn path_of(path: &serde_path_to_error::Path) -> FieldPath {
    use serde_path_to_error::Segment;
    path.iter().fold(FieldPath::root(), |at, segment| match segment {
        Segment::Seq { index } => at.index(*index),
        Segment::Map { key } => at.key(key),
        Segment::Enum { variant } => at.key(variant),
        Segment::Unknown => at,
    })
}

/// serde's words in plain ones: `invalid type: string "x", expected i32`.
fn plain(message: &str) -> String {
    let message = message
        .strip_prefix("invalid type: ")
        .map_or_else(|| message.to_owned(), |m| format!("wrong type: {m}"));
    message
        .replace("expected i32", "write a whole number")
        .replace("expected i64", "write a whole number")
        .replace("expected a boolean", "write true or false")
        .replace("expected a string", "write a text, in quotes where it looks like a number")
        .replace("expected a sequence", "write a list")
        .replace("expected a map", "write a map")
}

fn one_of(value: Option<&str>, known: &[&str], at: &FieldPath, problems: &mut Problems) {
    if let Some(value) = value
        && !known.contains(&value)
    {
        problems.add(at.clone(), format!("{value:?} is not known: write {}", known.join(", ")));
    }
}
