//! What the chart renders, and that the Kustomize base and the copies in the chart say the same.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};

use super::{NAMESPACE, chart, find, good, label, objects, root, template};

/// A file with values.
pub fn values(name: &str) -> PathBuf {
    root().join("tests/chart/values").join(name)
}

pub fn rendered(name: &str) -> Vec<Value> {
    let file = values(name).display().to_string();
    let arguments: &[&str] = if name.is_empty() { &[] } else { &["-f", &file] };
    objects(&good(template(arguments), "helm template"))
}

fn generating() -> bool {
    std::env::var_os("WEIR_GENERATE").is_some()
}

/// Writes the file, if that is asked for; else it must be as it would be written.
pub fn is_up_to_date(path: &str, wanted: &str) {
    let file = root().join(path);
    if generating() {
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, wanted).unwrap();
    }
    let found = fs::read_to_string(&file).unwrap_or_default();
    assert!(found == wanted, "{path} is not what it is made from: run `make generate`");
}

/// Tests run side by side: what one makes, others read.
fn copies() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        for name in ["resourcepools.yaml", "pooledworkloads.yaml"] {
            let crd = fs::read_to_string(root().join("crds").join(name)).unwrap();
            is_up_to_date(&format!("charts/weir/files/crds/{name}"), &crd);
        }
        let defaults = fs::read_to_string(chart().join("values.yaml")).unwrap();
        is_up_to_date("charts/weir/files/values.yaml", &defaults);
        let rights = fs::read_to_string(root().join("docs/rbac.yaml")).unwrap();
        is_up_to_date("charts/weir/files/rbac.yaml", &rights);
    });
}

#[test]
fn generated_copies_of_the_chart_are_up_to_date() {
    copies();
    let there = fs::read_dir(root().join("crds")).unwrap().count();
    let copied = fs::read_dir(chart().join("files/crds")).unwrap().count();
    assert_eq!(there, copied, "each file of crds/ is in the chart");
}

#[test]
fn generated_kustomize_base_is_up_to_date_and_gives_what_the_chart_gives() {
    copies();
    let text = good(template(&[]), "helm template");
    let mut files: BTreeMap<String, String> = BTreeMap::new();
    for document in text.split("---\n").filter(|document| !document.contains("helm.sh/hook")) {
        let Some((source, body)) =
            document.strip_prefix("# Source: weir/templates/").and_then(|rest| rest.split_once('\n'))
        else {
            assert!(document.trim().is_empty(), "what is that? {document}");
            continue;
        };
        // What only Helm needs to know.
        let lines = body.lines().filter(|line| {
            !line.contains("helm.sh/")
                && !line.contains("app.kubernetes.io/managed-by:")
                && !line.trim().is_empty()
        });
        let file = files.entry(source.to_owned()).or_insert_with(|| {
            "# Made from the chart with its default values; `make generate` writes it anew.\n".to_owned()
        });
        file.push_str("---\n");
        lines.for_each(|line| {
            file.push_str(line);
            file.push('\n');
        });
    }
    for (name, text) in &files {
        is_up_to_date(&format!("kustomize/base/{name}"), text);
    }
    let listed: Value =
        serde_yaml::from_str(&fs::read_to_string(root().join("kustomize/base/kustomization.yaml")).unwrap())
            .unwrap();
    let listed: BTreeSet<&str> =
        listed["resources"].as_array().unwrap().iter().map(|one| one.as_str().unwrap()).collect();
    let made: BTreeSet<&str> = files.keys().map(String::as_str).chain(["namespace.yaml"]).collect();
    assert_eq!(listed, made, "kustomize/base/kustomization.yaml lists just these");
    same_by_kustomize(&objects(&text));
}

/// kubectl, which brings Kustomize.
pub fn kubectl() -> PathBuf {
    let output = Command::new(root().join("tests/controlplane/control-plane.sh")).output().unwrap();
    let folder = PathBuf::from(good(output, "control-plane.sh").trim());
    let given = std::env::var_os("KUBEBUILDER_ASSETS").map(|folder| PathBuf::from(folder).join("kubectl"));
    given.filter(|path| path.exists()).unwrap_or_else(|| folder.join("kubectl"))
}

/// By kubectl's own Kustomize.
fn same_by_kustomize(by_helm: &[Value]) {
    let output =
        Command::new(kubectl()).arg("kustomize").arg(root().join("kustomize/base")).output().unwrap();
    let by_kustomize = objects(&good(output, "kubectl kustomize"));
    let bare = |object: &Value| {
        let mut object = object.clone();
        for field in ["labels", "annotations"] {
            if let Some(map) = object["metadata"].get_mut(field).and_then(Value::as_object_mut) {
                map.retain(|key, _| !key.contains("helm.sh/") && key != "app.kubernetes.io/managed-by");
                if map.is_empty() {
                    object["metadata"].as_object_mut().unwrap().remove(field);
                }
            }
        }
        object
    };
    let hook = |object: &Value| object["metadata"]["annotations"]["helm.sh/hook"].is_string();
    let wanted: BTreeMap<String, Value> =
        by_helm.iter().filter(|object| !hook(object)).map(|object| (label(object), bare(object))).collect();
    let mut found: BTreeMap<String, Value> =
        by_kustomize.iter().map(|object| (label(object), bare(object))).collect();
    let namespace = found.remove(&format!("Namespace/{NAMESPACE}")).expect("Kustomize makes the namespace");
    assert_eq!(namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"], "restricted");
    assert_eq!(wanted.keys().collect::<Vec<_>>(), found.keys().collect::<Vec<_>>());
    let mut wrong = Vec::new();
    for (name, object) in &wanted {
        differences(name, object, &found[name], &mut wrong);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Where the two differ: whole definitions would be too much to print.
fn differences(path: &str, one: &Value, other: &Value, into: &mut Vec<String>) {
    match (one, other) {
        (Value::Object(one), Value::Object(other)) if one.keys().eq(other.keys()) => {
            one.iter()
                .for_each(|(key, value)| differences(&format!("{path}/{key}"), value, &other[key], into));
        }
        (Value::Array(one), Value::Array(other)) if one.len() == other.len() => {
            let both = one.iter().zip(other).enumerate();
            both.for_each(|(at, (one, other))| differences(&format!("{path}/{at}"), one, other, into));
        }
        _ if one != other => into.push(format!("{path}: {one:.200} is not {other:.200}")),
        _ => {}
    }
}

/// The rights are written once.
#[test]
fn the_operators_rights_are_those_of_the_documentation() {
    let documented = objects(&fs::read_to_string(root().join("docs/rbac.yaml")).unwrap());
    let rendered = rendered("");
    for object in &documented {
        let found = find(&rendered, &label(object));
        for field in ["rules", "roleRef", "subjects"] {
            assert_eq!(object[field], found[field], "{} differs in {field}", label(object));
        }
        assert_eq!(object["metadata"]["namespace"], found["metadata"]["namespace"], "{}", label(object));
    }
    assert!(documented.len() >= 5);
}

#[test]
fn values_decide_what_is_rendered() {
    let kinds = |objects: &[Value]| objects.iter().map(label).collect::<BTreeSet<String>>();
    let (minimal, standard, full) = (rendered("minimal.yaml"), rendered(""), rendered("full.yaml"));
    let only = |more: &[Value], less: &[Value]| {
        kinds(more).difference(&kinds(less)).cloned().collect::<Vec<String>>()
    };
    assert_eq!(only(&minimal, &standard), [""; 0]);
    assert_eq!(
        only(&standard, &minimal),
        [
            "ClusterRole/weir-metrics-auth",
            "ClusterRoleBinding/weir-metrics-auth",
            "CustomResourceDefinition/pooledworkloads.weir.dev",
            "CustomResourceDefinition/resourcepools.weir.dev",
            "Job/weir-release",
            "PodDisruptionBudget/weir",
            "Service/weir-metrics",
            "ValidatingAdmissionPolicy/weir-labelled",
            "ValidatingAdmissionPolicy/weir-members",
            "ValidatingAdmissionPolicy/weir-members-machines",
            "ValidatingAdmissionPolicy/weir-submit",
            "ValidatingAdmissionPolicyBinding/weir-labelled",
            "ValidatingAdmissionPolicyBinding/weir-members",
            "ValidatingAdmissionPolicyBinding/weir-members-machines",
            "ValidatingAdmissionPolicyBinding/weir-submit",
        ]
    );
    assert_eq!(
        only(&full, &standard),
        [
            "ClusterRoleBinding/weir-metrics-reader",
            "ClusterRoleBinding/weir-pool-view",
            "ConfigMap/weir-dashboards",
            "NetworkPolicy/weir",
            "PrometheusRule/weir",
            "ServiceMonitor/weir",
            "ValidatingAdmissionPolicy/weir-pool-nodes",
            "ValidatingAdmissionPolicy/weir-pool-nodes-bindings",
            "ValidatingAdmissionPolicyBinding/weir-pool-nodes",
            "ValidatingAdmissionPolicyBinding/weir-pool-nodes-bindings",
        ]
    );
    let keep = |objects: &[Value]| {
        find(objects, "CustomResourceDefinition/resourcepools.weir.dev")["metadata"]["annotations"].clone()
    };
    assert_eq!(keep(&standard), json!({"helm.sh/resource-policy": "keep"}));
    assert_eq!(keep(&full), Value::Null);
    let image = |objects: &[Value]| {
        find(objects, "Deployment/weir")["spec"]["template"]["spec"]["containers"][0]["image"].clone()
    };
    assert_eq!(image(&standard), "weir:0.1.0");
    assert_eq!(image(&full), "registry.example:5000/team/weir:v0.1.0");
    assert!(image(&minimal).as_str().unwrap().starts_with("registry.example/weir@sha256:0123"));
    let uses = find(&full, "ClusterRole/weir-workload-edit")["rules"][1].clone();
    assert_eq!(
        uses,
        json!({"apiGroups": ["weir.dev"], "resources": ["resourcepools"], "verbs": ["use"], "resourceNames": ["lab", "company"]})
    );
}

/// Where nothing else may be reached, the Job before uninstalling reaches the API server as the operators do.
#[test]
fn the_network_policy_is_that_of_all_pods_of_the_chart() {
    let full = rendered("full.yaml");
    let policy = find(&full, "NetworkPolicy/weir");
    let selects = policy["spec"]["podSelector"]["matchLabels"].as_object().unwrap();
    for object in ["Deployment/weir", "Job/weir-release"] {
        let labels = &find(&full, object)["spec"]["template"]["metadata"]["labels"];
        assert!(selects.iter().all(|(key, value)| labels[key] == *value), "{object}: {labels} {selects:?}");
    }
    assert!(policy["spec"]["podSelector"]["matchExpressions"].is_null());
    assert_eq!(policy["spec"]["egress"][1]["ports"], json!([{"protocol": "TCP", "port": 6443}]));
}

/// The chart is of the program's version, and its arguments are the program's.
#[test]
fn the_chart_fits_the_program() {
    let about: Value =
        serde_yaml::from_str(&fs::read_to_string(chart().join("Chart.yaml")).unwrap()).unwrap();
    assert_eq!(about["appVersion"], env!("CARGO_PKG_VERSION"));
    let full = rendered("full.yaml");
    for (object, path) in
        [("Deployment/weir", "/spec/template/spec"), ("Job/weir-release", "/spec/template/spec")]
    {
        let pod = find(&full, object).pointer(path).unwrap();
        let arguments =
            pod["containers"][0]["args"].as_array().unwrap().iter().map(|one| one.as_str().unwrap());
        let parsed = <weir::cli::Cli as clap::Parser>::try_parse_from(["weir"].into_iter().chain(arguments));
        assert!(parsed.is_ok(), "{object}: {}", parsed.unwrap_err());
    }
}
