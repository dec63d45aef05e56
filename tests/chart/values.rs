//! Values that make no sense are refused by Helm, with words that tell where.

use super::{chart, helm, template, text};

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
    ("operator.maxInFlight=0", &["at '/operator/maxInFlight'", "minimum: got 0, want 1"]),
    ("operator.logFormat=xml", &["at '/operator/logFormat'", "'text', 'json'"]),
    ("resources.requests.cpu=much", &["at '/resources/requests/cpu'", "does not match pattern"]),
    ("resources.cpu=1", &["at '/resources'", "additional properties 'cpu' not allowed"]),
    ("crds.keep=yes please", &["at '/crds/keep'", "got string, want boolean"]),
    ("rbac.editMayUse={Lab_1}", &["at '/rbac/editMayUse/0'", "does not match pattern"]),
    ("admission.poolNodes.enabled=1", &["at '/admission/poolNodes/enabled'", "got number, want boolean"]),
    ("admission.poolNode.enabled=true", &["at '/admission'", "additional properties 'poolNode' not allowed"]),
    ("networkPolicy.apiServerPorts={70000}", &["at '/networkPolicy/apiServerPorts/0'", "want 65,535"]),
    ("metrics.serviceMonitor.interval=30", &["at '/metrics/serviceMonitor/interval'", "want string"]),
    ("metrics.exposed=yes please", &["at '/metrics/exposed'", "got string, want boolean"]),
    ("metrics.tls.secretName=Weir_TLS", &["at '/metrics/tls/secretName'", "does not match pattern"]),
    ("metrics.readers[0].kind=Robot", &["at '/metrics/readers/0", "'ServiceAccount', 'User', 'Group'"]),
    (
        "metrics.readers[0].kind=ServiceAccount,metrics.readers[0].name=prometheus",
        &["at '/metrics/readers/0", "missing property 'namespace'"],
    ),
    (
        "metrics.serviceMonitor.enabled=true,metrics.exposed=false",
        &["Prometheus cannot reach what is told on localhost only", "set metrics.exposed to true"],
    ),
    ("podLabels.team=7", &["at '/podLabels/team'", "got number, want string"]),
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
