//! Values that make no sense are refused by Helm, with words that tell where.

use std::collections::BTreeSet;

use super::{NAMESPACE, chart, good, helm, template, text};

/// What is set, and what Helm's refusal says.
const NONSENSE: &[(&str, &[&str])] = &[
    ("replicas=-1", &["at '/replicas'", "minimum: got -1, want 0"]),
    ("replicas=two", &["at '/replicas'", "got string, want integer"]),
    ("replicas=100", &["at '/replicas'", "maximum: got 100, want 9"]),
    ("replicaCount=3", &["additional properties 'replicaCount' not allowed"]),
    ("image.repository=", &["at '/image/repository'", "does not match pattern"]),
    ("image.repository=HTTPS://registry/weir", &["at '/image/repository'", "does not match pattern"]),
    ("image.digest=md5:0", &["at '/image/digest'", "sha256:"]),
    ("image.pullPolicy=Sometimes", &["at '/image/pullPolicy'", "'Always', 'IfNotPresent', 'Never'"]),
    ("operator.lostAfter=5", &["at '/operator/lostAfter'", "got number, want string"]),
    ("operator.lostAfter=5min", &["at '/operator/lostAfter'", "does not match pattern"]),
    ("operator.lostAfter=30s1m", &["at '/operator/lostAfter'", "does not match pattern"]),
    ("operator.lostAfter=0s", &["at '/operator/lostAfter'", "does not match pattern '[1-9]'"]),
    ("operator.lostAfter=500ms", &["operator.lostAfter is 500ms: write 5s or more"]),
    ("operator.staleAfter=", &["at '/operator/staleAfter'", "does not match pattern '[1-9]'"]),
    ("operator.staleAfter=91.5555s", &["at '/operator/staleAfter'", "does not match pattern"]),
    ("operator.staleAfter=1234567s", &["at '/operator/staleAfter'", "does not match pattern"]),
    ("operator.staleAfter=1m29s", &["operator.staleAfter is 1m29s: write 90s or more"]),
    ("operator.maxInFlight=0", &["at '/operator/maxInFlight'", "minimum: got 0, want 1"]),
    ("operator.logFormat=xml", &["at '/operator/logFormat'", "'text', 'json'"]),
    ("resources.requests.cpu=much", &["at '/resources/requests/cpu'", "does not match pattern"]),
    ("resources.limits.memory=4GB", &["at '/resources/limits/memory'", "does not match pattern"]),
    ("image.tag=latest please", &["at '/image/tag'", "does not match pattern"]),
    ("resources.cpu=1", &["at '/resources'", "additional properties 'cpu' not allowed"]),
    ("crds.keep=yes please", &["at '/crds/keep'", "got string, want boolean"]),
    ("rbac.editMayUse={Lab_1}", &["at '/rbac/editMayUse/0'", "does not match pattern"]),
    ("admission.poolNodes.enabled=1", &["at '/admission/poolNodes/enabled'", "got number, want boolean"]),
    ("admission.poolNode.enabled=true", &["at '/admission'", "additional properties 'poolNode' not allowed"]),
    ("admission.poolNodes.exemptNamespaces={Storage}", &["/exemptNamespaces/0'", "does not match pattern"]),
    ("admission.kubevirtControllers=all", &["at '/admission/kubevirtControllers'", "want array"]),
    ("podDisruptionBudget.minAvailable=2", &["additional properties 'minAvailable' not allowed"]),
    ("networkPolicy.metricsFrom[0].namespace=a", &["/metricsFrom/0'", "'namespace' not allowed"]),
    (
        "networkPolicy.metricsFrom[0].ipBlock.except={}",
        &["/metricsFrom/0/ipBlock'", "missing property 'cidr'"],
    ),
    ("networkPolicy.apiServerPorts={70000}", &["at '/networkPolicy/apiServerPorts/0'", "want 65,535"]),
    ("metrics.serviceMonitor.interval=30", &["at '/metrics/serviceMonitor/interval'", "want string"]),
    ("metrics.serviceMonitor.interval=1.5m", &["at '/metrics/serviceMonitor/interval'", "does not match"]),
    ("metrics.exposed=yes please", &["at '/metrics/exposed'", "got string, want boolean"]),
    ("metrics.tls.secretName=Weir_TLS", &["at '/metrics/tls/secretName'", "does not match pattern"]),
    ("metrics.tls.caKey=", &["at '/metrics/tls/caKey'", "minLength: got 0, want 1"]),
    ("metrics.readers[0].kind=Robot", &["at '/metrics/readers/0", "'ServiceAccount', 'User', 'Group'"]),
    (
        "metrics.readers[0].kind=ServiceAccount,metrics.readers[0].name=prometheus",
        &["at '/metrics/readers/0", "missing property 'namespace'"],
    ),
    (
        "metrics.serviceMonitor.enabled=true,metrics.exposed=false",
        &["Prometheus cannot reach what is told on localhost only", "set metrics.exposed to true"],
    ),
    (
        "metrics.prometheusRule.enabled=true,metrics.exposed=false",
        &["metrics.prometheusRule.enabled is true", "Prometheus cannot read", "set metrics.exposed to true"],
    ),
    ("uninstall.release=never", &["at '/uninstall/release'", "got string, want boolean"]),
    ("podLabels.team=7", &["at '/podLabels/team'", "got number, want string"]),
    ("tolerations[0].taint=a", &["at '/tolerations/0'", "additional properties 'taint' not allowed"]),
    ("tolerations[0].effect=Never", &["at '/tolerations/0/effect'", "'NoSchedule'"]),
    ("tolerations=all", &["at '/tolerations'", "got string, want array"]),
];

#[test]
fn nonsense_is_refused_in_words() {
    let mut wrong = Vec::new();
    for (set, words) in NONSENSE {
        let output = template(&["--set", set]);
        let said = text(&output.stderr);
        if output.status.success() {
            wrong.push(format!("{set} is not refused"));
        }
        for word in words.iter().filter(|word| !said.contains(*word)) {
            wrong.push(format!("{set}: the refusal does not say {word:?}:\n{said}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What Helm lets pass the program takes: pods that crash after a good `helm install` are the worse refusal.
#[test]
fn durations_are_those_that_the_program_takes() {
    const OPTIONS: [(&str, &str); 2] = [("lostAfter", "--lost-after"), ("staleAfter", "--stale-after")];
    let schema: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(chart().join("values.schema.json")).unwrap()).unwrap();
    assert_eq!(schema["$defs"]["duration"]["pattern"], weir::api::duration::PATTERN);
    assert_eq!(schema["$defs"]["duration"]["maxLength"], weir::api::duration::MAX_LENGTH);
    let by_helm = |value: &str, duration: &str| {
        let output = template(&["--set-string", &format!("operator.{value}={duration}")]);
        (output.status.success(), text(&output.stderr))
    };
    let by_program = |option: &str, duration: &str| {
        let arguments = ["weir", "run", &format!("{option}={duration}")];
        <weir::cli::Cli as clap::Parser>::try_parse_from(arguments).is_ok()
    };
    for (duration, fine) in [
        ("90s", true),
        ("2m30s", true),
        ("1.5h", true),
        ("100h1ms", true),
        ("1h30m15.25s500ms", true),
        ("30s2m", false),
        ("2m30", false),
        ("1d", false),
        ("120.0005s", false),
        ("1234567s", false),
        ("100500.5ms", false),
        ("-5m", false),
        ("5 m", false),
    ] {
        for (value, option) in OPTIONS {
            assert_eq!(by_program(option, duration), fine, "{option}={duration}");
            let (passed, said) = by_helm(value, duration);
            assert_eq!(passed, fine, "operator.{value}={duration}: {said}");
        }
    }
    // Neither takes anything shorter than the other.
    for (at, (least, less)) in [("5s", "4s999ms"), ("90s", "1m29.999s")].into_iter().enumerate() {
        let (value, option) = OPTIONS[at];
        assert!(by_helm(value, least).0 && by_program(option, least), "{value}={least}");
        assert!(!by_helm(value, less).0 && !by_program(option, less), "{value}={less}");
    }
}

/// A release that is upgraded with --reuse-values knows the values of an older chart only. Each that it lacks is as it is
/// by default, alone or with all that is beside it.
#[test]
fn values_that_are_missing_are_as_by_default() {
    let values: serde_json::Value =
        serde_yaml::from_str(&std::fs::read_to_string(chart().join("values.yaml")).unwrap()).unwrap();
    let mut paths: Vec<String> = leaves("", &values);
    // What is inside of these is the user's: null takes it away.
    for path in &mut paths {
        if let Some((labels, _)) = path.split_once(".labels.") {
            *path = format!("{labels}.labels");
        }
    }
    assert!(paths.len() > 40, "{paths:?}");
    let parents = paths.iter().filter_map(|path| path.rsplit_once('.')).map(|(parent, _)| parent.to_owned());
    let parents: BTreeSet<String> = parents.filter(|parent| parent.contains('.')).collect();
    let tops = values.as_object().unwrap().keys().cloned().collect();
    for missing in [paths, parents.into_iter().collect(), tops] {
        let sets: Vec<String> = missing.iter().map(|path| format!("{path}=null")).collect();
        let missing = good(template(&["--set", &sets.join(",")]), "helm template");
        assert_eq!(missing, good(template(&[]), "helm template"));
    }
    // Also of what is off by default.
    let on = "metrics.serviceMonitor.enabled=true,metrics.prometheusRule.enabled=true,metrics.dashboards.enabled=true,\
              admission.poolNodes.enabled=true,networkPolicy.enabled=true";
    let lacks = "metrics.exposed=null,metrics.tls=null,metrics.readers=null,metrics.dashboards.annotations=null,\
                 admission.kubevirtControllers=null,networkPolicy.apiServerPorts=null,operator.staleAfter=null";
    let (all, some) = (template(&["--set", on]), template(&["--set", &format!("{on},{lacks}")]));
    assert_eq!(good(some, "helm template"), good(all, "helm template"));
    // And what a user takes away on purpose stays away.
    let taken = good(template(&["--set", "resources.limits=null"]), "helm template");
    let deployment = taken.split("---\n").find(|one| one.contains("kind: Deployment")).unwrap().to_owned();
    assert!(!deployment.contains("limits:") && deployment.contains("requests:"), "{deployment}");
}

/// Whoever watches without saying who may read is told.
#[test]
fn the_notes_say_who_must_be_let_read_metrics() {
    let notes = |set: &str| {
        let mut command = helm();
        command.args(["install", "weir", "--dry-run=client", "-n", NAMESPACE]).arg(chart());
        good(command.args(["--set", set]).output().unwrap(), "helm install --dry-run")
    };
    let words = "kubectl create clusterrolebinding weir-metrics-reader --clusterrole=weir-metrics-reader";
    assert!(notes("metrics.serviceMonitor.enabled=true").contains(words));
    assert!(notes("metrics.prometheusRule.enabled=true").contains(words));
    let reader = "metrics.readers[0].kind=User,metrics.readers[0].name=prometheus";
    assert!(!notes(&format!("metrics.serviceMonitor.enabled=true,{reader}")).contains(words));
    assert!(!notes("replicas=2").contains(words));
}

/// Every value of values.yaml is in the schema, and every one of the schema in values.yaml, or a typing error in either
/// would go unnoticed.
#[test]
fn the_schema_knows_just_the_values_that_there_are() {
    fn walk(path: &str, values: &serde_json::Value, schema: &serde_json::Value, wrong: &mut Vec<String>) {
        let Some(properties) = schema["properties"].as_object() else { return };
        let values = values.as_object().cloned().unwrap_or_default();
        for name in values.keys().filter(|name| !properties.contains_key(*name)) {
            wrong.push(format!("{path}/{name} is not in the schema"));
        }
        for (name, schema) in properties.iter().filter(|(name, _)| *name != "global") {
            match values.get(name) {
                Some(value) => walk(&format!("{path}/{name}"), value, schema, wrong),
                None => wrong.push(format!("{path}/{name} is not in values.yaml")),
            }
        }
    }
    let read = |name: &str| std::fs::read_to_string(chart().join(name)).unwrap();
    let values: serde_json::Value = serde_yaml::from_str(&read("values.yaml")).unwrap();
    let schema: serde_json::Value = serde_json::from_str(&read("values.schema.json")).unwrap();
    let mut wrong = Vec::new();
    walk("", &values, &schema, &mut wrong);
    assert_eq!(wrong, [""; 0]);
    // And the page that tells of the values names each.
    let page = read("README.md");
    let untold: Vec<String> =
        leaves("", &values).into_iter().filter(|path| !page.contains(&format!("`{path}`"))).collect();
    assert_eq!(untold, [""; 0], "charts/weir/README.md does not tell of these");
}

fn leaves(path: &str, value: &serde_json::Value) -> Vec<String> {
    match value.as_object() {
        Some(fields) if !fields.is_empty() && !path.ends_with("resources") => fields
            .iter()
            .flat_map(|(name, value)| {
                leaves(&format!("{path}{}{name}", if path.is_empty() { "" } else { "." }), value)
            })
            .collect(),
        _ => vec![path.to_owned()],
    }
}

#[test]
fn helm_finds_nothing_to_complain_about() {
    for values in ["", "minimal.yaml", "full.yaml"] {
        let mut command = helm();
        command.arg("lint").arg("--strict").arg(chart());
        if !values.is_empty() {
            command.arg("-f").arg(super::render::values(values));
        }
        let output = command.output().unwrap();
        let said = text(&output.stdout) + &text(&output.stderr);
        assert!(output.status.success() && said.contains("0 chart(s) failed"), "{values}: {said}");
        assert!(!said.contains("[WARNING]") && !said.contains("[ERROR]"), "{values}: {said}");
    }
}
