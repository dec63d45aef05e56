//! How Argo CD and Flux read both kinds, by the interpreters that they use themselves, and the example of a repository.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use kube_cel::cel::{Context, Program, Value as Cel};
use serde_json::Value;
use weir::api::reasons::Reason;
use weir::cli::check::{Checker, parse};

use super::{good, root, tool};

const KINDS: [&str; 2] = ["ResourcePool", "PooledWorkload"];

fn customization(kind: &str) -> PathBuf {
    root().join("gitops/argocd/resource_customizations/weir.dev").join(kind)
}

fn read(path: PathBuf) -> Value {
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_yaml::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The value as Lua writes it. JSON's strings are Lua's, as long as nothing in them is written \u.
fn lua(value: &Value) -> String {
    match value {
        Value::Null => "nil".to_owned(),
        Value::Array(items) => format!("{{{}}}", items.iter().map(lua).collect::<Vec<_>>().join(",")),
        Value::Object(fields) => {
            let fields =
                fields.iter().map(|(key, value)| format!("[{}]={}", Value::from(key.as_str()), lua(value)));
            format!("{{{}}}", fields.collect::<Vec<_>>().join(","))
        }
        other => other.to_string(),
    }
}

/// What Argo CD says of the object: status and message.
pub fn health(object: &Value) -> (String, String) {
    static GLUA: OnceLock<PathBuf> = OnceLock::new();
    let kind = object["kind"].as_str().unwrap();
    let path = customization(kind).join("health.lua");
    let script = format!(
        "obj = {}\nlocal hs = dofile({})\nprint(hs.status)\nprint(hs.message)",
        lua(object),
        Value::from(path.display().to_string())
    );
    let output = Command::new(GLUA.get_or_init(|| tool("glua"))).arg("-e").arg(script).output().unwrap();
    let said = good(output, "glua");
    let (status, message) = said.trim_end().split_once('\n').unwrap_or_else(|| panic!("{kind}: {said}"));
    (status.to_owned(), message.to_owned())
}

#[test]
fn argo_cd_reads_every_state_rightly() {
    let mut seen = Vec::new();
    for kind in KINDS {
        let tests = read(customization(kind).join("health_test.yaml"));
        for test in tests["tests"].as_array().unwrap() {
            let path = test["inputPath"].as_str().unwrap();
            let (status, message) = health(&read(customization(kind).join(path)));
            assert_eq!(status, test["healthStatus"]["status"], "{kind}/{path}");
            assert_eq!(message, test["healthStatus"]["message"], "{kind}/{path}");
            seen.push(status);
        }
        let data = fs::read_dir(customization(kind).join("testdata")).unwrap().count();
        assert_eq!(
            data,
            tests["tests"].as_array().unwrap().len(),
            "{kind}: each file of testdata has its test"
        );
    }
    for status in ["Healthy", "Progressing", "Degraded", "Suspended"] {
        assert!(seen.iter().any(|one| one == status), "no test ends {status}");
    }
}

/// The test data is what the operator writes: specs that pass the check, reasons of the documented list.
#[test]
fn the_test_data_is_as_the_operator_writes_it() {
    let checker = Checker::new().unwrap();
    for kind in KINDS {
        for entry in fs::read_dir(customization(kind).join("testdata")).unwrap() {
            let path = entry.unwrap().path();
            let object = read(path.clone());
            assert_eq!(object["kind"], kind);
            let report =
                checker.check(&[parse(&path.display().to_string(), &fs::read_to_string(&path).unwrap())]);
            let wrong: Vec<String> = report.findings.iter().map(ToString::to_string).collect();
            // A workload's pool is in another file.
            assert!(wrong.iter().all(|one| one.contains("pool \"lab\"") || one.contains("lab")), "{wrong:?}");
            for condition in object["status"]["conditions"].as_array().into_iter().flatten() {
                let reason = condition["reason"].as_str().unwrap();
                let known = Reason::ALL.iter().any(|one| one.as_str() == reason);
                assert!(known, "{}: there is no reason {reason}", path.display());
            }
        }
    }
}

/// The YAML blocks of a page of the documentation.
fn blocks(page: &str) -> Vec<Value> {
    let text = fs::read_to_string(root().join(page)).unwrap();
    let blocks = text.split("```yaml\n").skip(1).map(|rest| rest.split("\n```").next().unwrap().to_owned());
    blocks.flat_map(|block| super::objects(&block)).collect()
}

/// Whether an expression holds of an object, as Flux evaluates it: over the object's own fields.
fn holds(expression: &str, object: &Value) -> bool {
    let mut context = Context::default();
    for field in ["metadata", "spec", "status"] {
        let value = object.get(field).cloned().unwrap_or_else(|| serde_json::json!({}));
        context.add_variable(field, value).unwrap();
    }
    match Program::compile(expression).unwrap().execute(&context) {
        Ok(Cel::Bool(holds)) => holds,
        other => panic!("{expression}: {other:?}"),
    }
}

/// What Flux says of the object, by the expressions of the page, in the words of Argo CD.
pub fn by_flux(object: &Value) -> &'static str {
    static PAGE: OnceLock<Vec<Value>> = OnceLock::new();
    let flux = PAGE
        .get_or_init(|| blocks("docs/gitops.md"))
        .iter()
        .find(|one| one["spec"]["healthCheckExprs"].is_array())
        .expect("docs/gitops.md tells Flux");
    let all = flux["spec"]["healthCheckExprs"].as_array().unwrap();
    let rules = all.iter().find(|one| one["kind"] == object["kind"]).expect("both kinds have expressions");
    assert_eq!(rules["apiVersion"], "weir.dev/v1alpha1");
    // In this order, as Flux does.
    let says = |rule: &str| holds(rules[rule].as_str().unwrap(), object);
    if says("inProgress") {
        "Progressing"
    } else if says("failed") {
        "Degraded"
    } else if says("current") {
        "Healthy"
    } else {
        "nothing"
    }
}

#[test]
fn flux_reads_every_state_as_argo_cd_does() {
    for kind in KINDS {
        let tests = read(customization(kind).join("health_test.yaml"));
        for test in tests["tests"].as_array().unwrap() {
            let path = test["inputPath"].as_str().unwrap();
            let object = read(customization(kind).join(path));
            let found = by_flux(&object);
            // For kstatus what does as it is told is current, also if it was told to do nothing.
            let wanted = test["healthStatus"]["status"].as_str().unwrap().replace("Suspended", "Healthy");
            assert_eq!(found, wanted, "{kind}/{path}");
        }
    }
}

#[test]
fn the_example_of_a_repository_is_right_in_every_environment() {
    let checker = Checker::new().unwrap();
    let example = root().join("examples/gitops");
    let built = |folder: &str| {
        let path = example.join(folder);
        let output = Command::new(super::render::kubectl()).arg("kustomize").arg(&path).output().unwrap();
        parse(folder, &good(output, folder))
    };
    for environment in ["pools/staging", "pools/production"] {
        let files = [built(environment), built("tenants/vision"), built("tenants/reports")];
        let report = checker.check(&files);
        assert!(report.findings.is_empty(), "{environment}: {report}");
        assert_eq!(report.objects, 5, "three pools and two workloads: {report}");
    }
}
