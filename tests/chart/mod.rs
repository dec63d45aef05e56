//! The Helm chart and the Kustomize base, with the real Helm: what they render (`render.rs`), how wrong values are
//! refused (`values.rs`), whether alerts and dashboards work (`observing.rs`), what reports ask Prometheus (`asked.rs`), what happens to a real control plane when the chart comes and goes (`install.rs`), whether the
//! operator's rights are just those that it needs (`rights.rs`), what the admission policies let pass (`admission.rs`), how
//! kubectl, Helm, Argo CD and Flux read what the operator writes (`reading.rs`), and that commands of the documentation do what it says (`pages.rs`).

#![allow(clippy::needless_pass_by_value, reason = "values that are made where they are given read better")]

mod admission;
mod asked;
mod gitops;
mod install;
pub mod observing;
mod pages;
mod reading;
mod release;
mod render;
mod rights;
mod values;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use serde_json::Value;

/// Where the operator is installed.
const NAMESPACE: &str = "weir-system";

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn chart() -> PathBuf {
    root().join("charts/weir")
}

/// One of the tools that `tools.sh` provides: they are built once and then cached.
pub fn tool(name: &str) -> PathBuf {
    let output = Command::new(root().join("tests/controlplane/tools.sh")).arg(name).output().unwrap();
    assert!(output.status.success(), "{name} cannot be had: {}", String::from_utf8_lossy(&output.stderr));
    PathBuf::from(String::from_utf8(output.stdout).unwrap().trim())
}

/// Helm, with nothing of what the user has set up for it.
fn helm() -> Command {
    static HELM: OnceLock<PathBuf> = OnceLock::new();
    let mut command = Command::new(HELM.get_or_init(|| tool("helm")));
    let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join("helm");
    for (key, folder) in
        [("HELM_CACHE_HOME", "cache"), ("HELM_CONFIG_HOME", "config"), ("HELM_DATA_HOME", "data")]
    {
        command.env(key, home.join(folder));
    }
    command.env_remove("KUBECONFIG").env_remove("HELM_NAMESPACE");
    command
}

fn text(output: &[u8]) -> String {
    String::from_utf8_lossy(output).into_owned()
}

fn good(output: Output, what: &str) -> String {
    let (said, warned) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{what} failed:\n{warned}{said}");
    said
}

/// `helm template` with these arguments.
fn template(arguments: &[&str]) -> Output {
    helm().args(["template", "weir", "-n", NAMESPACE]).arg(chart()).args(arguments).output().unwrap()
}

fn objects(yaml: &str) -> Vec<Value> {
    let all: Vec<Value> = serde_yaml::from_multiple(yaml).unwrap();
    all.into_iter().filter(|object| !object.is_null()).collect()
}

/// `Kind/name`.
fn label(object: &Value) -> String {
    let word = |value: &Value| value.as_str().unwrap_or("?").to_owned();
    format!("{}/{}", word(&object["kind"]), word(&object["metadata"]["name"]))
}

fn find<'a>(objects: &'a [Value], wanted: &str) -> &'a Value {
    let found = objects.iter().find(|object| label(object) == wanted);
    found.unwrap_or_else(|| {
        panic!("there is no {wanted} among {:?}", objects.iter().map(label).collect::<Vec<_>>())
    })
}
