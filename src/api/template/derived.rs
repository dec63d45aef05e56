//! What is derived from a template and metered, though containers do not request it: claims that its pods create,
//! and the bandwidth that the standard annotations ask for.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{PodSpec, Volume};

use crate::api::field::{FieldPath, FieldProblem, Problems};
use crate::api::quantity::{Amount, counted};
use crate::api::requests::Amounts;

/// What is derived: claims in bytes, and bandwidth in bits a second.
pub const DERIVED: [&str; 3] =
    ["requests.storage", "weir.dev/ingress-bandwidth", "weir.dev/egress-bandwidth"];
const STORAGE: &str = DERIVED[0];
/// The annotations that the bandwidth plugin of CNI reads.
const ANNOTATIONS: [(&str, &str); 2] =
    [("kubernetes.io/ingress-bandwidth", DERIVED[1]), ("kubernetes.io/egress-bandwidth", DERIVED[2])];
/// Kubelets take no other bandwidth.
const LEAST_BANDWIDTH: Amount = Amount::from_units(1_000);
const MOST_BANDWIDTH: Amount = Amount::from_units(1_000_000_000_000_000);

/// What one pod of a template has beside what its containers request, by resource, in whole units. Paths of problems are relative to
/// the template of the pod.
///
/// # Errors
/// Annotations that a kubelet would not take.
pub fn derived(pod: &PodSpec, annotations: &BTreeMap<String, String>) -> Result<Amounts, Vec<FieldProblem>> {
    let mut amounts = Amounts::new();
    let claims = pod.volumes.iter().flatten().filter_map(storage);
    // What cannot be counted, the check of volumes has refused.
    let claimed = claims.filter_map(|text| counted(STORAGE, text).ok());
    let storage = claimed.fold(0_i64, i64::saturating_add);
    if storage > 0 {
        amounts.insert(STORAGE.to_owned(), storage);
    }
    let problems = check_annotations(annotations);
    if !problems.is_empty() {
        return Err(problems);
    }
    for (annotation, resource) in ANNOTATIONS {
        if let Some(bandwidth) = annotations.get(annotation).and_then(|text| counted(resource, text).ok()) {
            amounts.insert(resource.to_owned(), bandwidth);
        }
    }
    Ok(amounts)
}

/// Bandwidth that a kubelet would not take.
pub fn check_annotations(annotations: &BTreeMap<String, String>) -> Vec<FieldProblem> {
    let mut problems = Problems::default();
    for (annotation, _) in ANNOTATIONS {
        let Some(text) = annotations.get(annotation) else { continue };
        let at = FieldPath::of("metadata.annotations").key(annotation);
        match Amount::parse(text) {
            Err(error) => problems.add(at, error.to_string()),
            Ok(amount) if !(LEAST_BANDWIDTH..=MOST_BANDWIDTH).contains(&amount) => {
                problems.add(at, format!("{text:?}: write bits a second from 1k to 1P, such as 10M"));
            }
            Ok(_) => {}
        }
    }
    problems.0
}

/// What the claim of an ephemeral volume asks for.
fn storage(volume: &Volume) -> Option<&str> {
    let claim = volume.ephemeral.as_ref()?.volume_claim_template.as_ref()?;
    Some(&claim.spec.resources.as_ref()?.requests.as_ref()?.get("storage")?.0)
}

/// Checks that the claim of an ephemeral volume says how much it is.
pub(super) fn check_claim(volume: &Volume, at: &FieldPath, problems: &mut Problems) {
    if volume.ephemeral.is_none() {
        return;
    }
    let at = at
        .key("ephemeral")
        .key("volumeClaimTemplate")
        .join(&FieldPath::of("spec.resources.requests.storage"));
    match storage(volume).map(|text| (text, Amount::parse(text))) {
        None => problems.add(at, "write how much it claims, such as 10Gi"),
        Some((_, Err(error))) => problems.add(at, error.to_string()),
        Some((text, Ok(amount))) if amount <= Amount::from_units(0) => {
            problems.add(at, format!("{text:?}: write more than 0, such as 10Gi"));
        }
        Some((text, Ok(amount))) if amount.units_ceil().is_none() => {
            problems.add(at, format!("{text:?} is more than can be counted: write a smaller quantity"));
        }
        Some((_, Ok(_))) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn claims_add_up_and_bandwidth_is_read() {
        let claim = |size: &str| json!({"volumeClaimTemplate": {"spec": {"resources": {"requests": {"storage": size}}}}});
        let pod: PodSpec = serde_json::from_value(json!({"containers": [], "volumes": [
            {"name": "a", "ephemeral": claim("10Gi")}, {"name": "b", "ephemeral": claim("512Mi")},
            {"name": "c", "persistentVolumeClaim": {"claimName": "shared"}},
        ]}))
        .unwrap();
        let annotations = [("kubernetes.io/ingress-bandwidth".to_owned(), "10M".to_owned())].into();
        let found = derived(&pod, &annotations).unwrap();
        let expected =
            [("requests.storage", (10 << 30) + (512 << 20)), ("weir.dev/ingress-bandwidth", 10_000_000)];
        assert_eq!(found, expected.map(|(name, amount)| (name.to_owned(), amount)).into());
    }

    #[test]
    fn bandwidth_that_no_kubelet_takes_is_refused() {
        for (text, says) in [
            ("fast", "is not a quantity"),
            ("999", "from 1k to 1P"),
            ("2P", "from 1k to 1P"),
            ("-1", "from 1k"),
        ] {
            let annotations = [("kubernetes.io/egress-bandwidth".to_owned(), text.to_owned())].into();
            let problems = check_annotations(&annotations);
            assert_eq!(problems.len(), 1, "{text}");
            let said = problems[0].to_string();
            assert!(said.starts_with("metadata.annotations[kubernetes.io/egress-bandwidth]: "), "{said}");
            assert!(said.contains(says), "{said}");
        }
    }
}
