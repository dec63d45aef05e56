//! What the rules of the schema let pass, the parsers can read; and for durations the other way round too.

use proptest::prelude::*;
use weir::api::Duration;
use weir::api::quantity::{Amount, counted};
use weir::cli::check::{Checker, parse};

fn findings(yaml: &str) -> Vec<String> {
    thread_local!(static CHECKER: Checker = Checker::new().unwrap());
    CHECKER.with(|c| c.check(&[parse("f", yaml)]).findings.iter().map(ToString::to_string).collect())
}

fn pool(resource: &str, limit: &str) -> String {
    let limit = serde_json::to_string(limit).unwrap();
    format!(
        "apiVersion: weir.dev/v1alpha1\nkind: ResourcePool\nmetadata: {{name: a}}\nspec:\n  nodes: {{selector: {{}}}}\n  \
         resources: [{{name: {resource}, limit: {limit}}}]\n"
    )
}

fn workload(duration: &str) -> String {
    let duration = serde_json::to_string(duration).unwrap();
    format!(
        "apiVersion: weir.dev/v1alpha1\nkind: PooledWorkload\nmetadata: {{name: w, namespace: t}}\nspec:\n  pool: a\n  \
         ttlAfterFinished: {duration}\n  template: {{pod: {{spec: {{containers: [{{name: a, image: b}}]}}}}}}\n"
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn a_quantity_that_passes_can_be_counted(
        resource in proptest::sample::select(vec!["cpu", "memory", "nvidia.com/gpu"]),
        text in prop_oneof![
            "[-+]?[0-9]{1,20}([.][0-9]{0,4})?(n|u|m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei|)",
            "[0-9]{1,3}[eE][-+]?[0-9]{1,2}",
            "[-+0-9.eEkKmMiGn]{1,8}",
        ],
    ) {
        if findings(&pool(resource, &text)).is_empty() {
            let amount = counted(resource, &text);
            prop_assert!(amount.as_ref().is_ok_and(|a| *a >= 0), "{resource} {text}: {amount:?}");
            prop_assert!(resource != "cpu" || Amount::parse(&text).unwrap().is_whole_milli(), "{text}");
        }
    }

    #[test]
    fn durations_pass_when_they_can_be_read(text in prop_oneof![
        "([0-9]{1,7}h)?([0-9]{1,7}m)?([0-9]{1,3}([.][0-9]{1,4})?s)?([0-9]{1,3}ms)?",
        "[0-9.hms]{1,6}",
        "[-0-9dhmsu ]{1,6}",
    ]) {
        let passes = findings(&workload(&text)).is_empty();
        let read = text.parse::<Duration>();
        prop_assert_eq!(passes, read.is_ok(), "{:?}: {:?}", text, read);
    }
}

#[test]
fn sound_quantities_pass() {
    for (resource, text) in [
        ("cpu", "0"),
        ("cpu", "2"),
        ("cpu", "1.5"),
        ("cpu", "1500m"),
        ("cpu", "1.5k"),
        ("memory", "64Gi"),
        ("memory", "1.5Gi"),
        ("memory", "9E"),
        ("memory", "1e3"),
        ("memory", "5000000Gi"),
        ("memory", "1.1Gi"),
        ("memory", "7Ei"),
        ("nvidia.com/gpu", "8"),
    ] {
        assert_eq!(findings(&pool(resource, text)), [""; 0], "{resource} {text}");
    }
}
