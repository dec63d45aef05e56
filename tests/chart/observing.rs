//! Alerts and dashboards: they are what Prometheus understands, they ask for metrics and labels that exist, and alerts
//! fire when they should and not otherwise.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};
use weir::operate::metrics::described;

use super::render::rendered;
use super::{NAMESPACE, chart, find, good, objects, root, template, tool};

/// Labels that Prometheus adds to what it scrapes.
const SCRAPED: [&str; 2] = ["instance", "job"];

/// A file of this run.
pub fn scratch(name: &str, text: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("observing");
    fs::create_dir_all(&folder).unwrap();
    let path = folder.join(name);
    fs::write(&path, text).unwrap();
    path
}

pub fn promtool(arguments: &[&str], file: &PathBuf) -> String {
    good(Command::new(tool("promtool")).args(arguments).arg(file).output().unwrap(), "promtool")
}

/// The groups of the chart's `PrometheusRule`, as it is rendered with this value.
fn groups_with(set: &str) -> Value {
    let arguments = ["--set", &format!("metrics.prometheusRule.enabled=true,{set}")];
    find(&objects(&good(template(&arguments), "helm template")), "PrometheusRule/weir")["spec"].clone()
}

fn groups() -> Value {
    groups_with("operator.staleAfter=3m")
}

fn rules() -> Vec<Value> {
    groups()["groups"][0]["rules"].as_array().unwrap().clone()
}

/// The expressions of all panels of all dashboards, with the panel's title.
pub fn queries() -> Vec<(String, String)> {
    let config = find(&rendered("full.yaml"), "ConfigMap/weir-dashboards").clone();
    let files = config["data"].as_object().unwrap();
    let there = fs::read_dir(chart().join("dashboards")).unwrap().count();
    assert_eq!(files.len(), there, "each file of dashboards/ is in the ConfigMap");
    let mut found = Vec::new();
    for (name, text) in files {
        let dashboard: Value = serde_json::from_str(text.as_str().unwrap()).unwrap();
        for panel in dashboard["panels"].as_array().unwrap() {
            let targets = panel["targets"].as_array().into_iter().flatten();
            let title = format!("{name}: {}", panel["title"].as_str().unwrap());
            found.extend(targets.map(|one| (title.clone(), one["expr"].as_str().unwrap().to_owned())));
        }
        for variable in dashboard["templating"]["list"].as_array().unwrap() {
            if let Some(query) = variable["definition"].as_str() {
                let inner =
                    query.strip_prefix("label_values(").and_then(|rest| rest.strip_suffix(')')).unwrap();
                let (metric, label) = inner.split_once(", ").unwrap();
                found.push((format!("{name}: variable"), format!("{metric}{{{label}=\"\"}}")));
            }
        }
    }
    found
}

/// Expressions of alerts.
pub fn expressions() -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    rules().iter().map(|rule| (text(&rule["alert"]), text(&rule["expr"]))).collect()
}

/// Each metric that an expression names, with the labels that it selects by.
pub fn metrics_of(expression: &str) -> Vec<(String, Vec<String>)> {
    let mut found = Vec::new();
    let mut rest = expression;
    let part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    while let Some(begin) = rest.find(part) {
        let end = rest[begin..].find(|c| !part(c)).map_or(rest.len(), |end| begin + end);
        let word = &rest[begin..end];
        rest = &rest[end..];
        let mut labels = Vec::new();
        if let Some((selector, after)) = rest.strip_prefix('{').and_then(|rest| rest.split_once('}')) {
            let each = selector.split(',').filter_map(|one| one.split_once(['=', '!']));
            labels.extend(each.map(|(name, _)| name.trim().to_owned()));
            rest = after;
        }
        if word.starts_with("weir_") || word.starts_with("process_") {
            found.push((word.to_owned(), labels));
        }
    }
    found
}

/// Names as Prometheus stores them, with their labels.
pub fn known() -> BTreeMap<String, BTreeSet<&'static str>> {
    let mut known = BTreeMap::new();
    for one in described::ALL.iter().flat_map(|(_, all)| *all) {
        let labels: BTreeSet<&str> = one.labels.iter().copied().chain(SCRAPED).collect();
        if one.kind == "histogram" {
            let with_bound = labels.iter().copied().chain(["le"]).collect();
            known.insert(format!("{}_bucket", one.name), with_bound);
            for ending in ["_sum", "_count"] {
                known.insert(format!("{}{ending}", one.name), labels.clone());
            }
        } else {
            known.insert(one.name.to_owned(), labels);
        }
    }
    known
}

#[test]
fn alerts_and_dashboards_name_metrics_and_labels_that_exist() {
    let known = known();
    let mut wrong = Vec::new();
    let mut named = BTreeSet::new();
    for (place, expression) in queries().into_iter().chain(expressions()) {
        let all = metrics_of(&expression);
        if all.is_empty() {
            wrong.push(format!("{place}: {expression} names no metric"));
        }
        for (name, labels) in all {
            let Some(has) = known.get(&name) else {
                wrong.push(format!("{place}: there is no metric {name}"));
                continue;
            };
            let missing = labels.iter().filter(|label| !has.contains(label.as_str()));
            wrong.extend(missing.map(|label| format!("{place}: {name} has no label {label}")));
            named.insert(name);
        }
    }
    assert_eq!(wrong, [""; 0]);
    assert!(named.len() >= 30, "dashboards and alerts show only {named:?}");
}

#[test]
fn what_is_named_is_found_in_an_expression() {
    let found = metrics_of(r#"sum by (le, pool) (rate(weir_a_bucket{pool=~"x", b!="c"}[5m])) / weir_d > 2"#);
    let labels = vec!["pool".to_owned(), "b".to_owned()];
    assert_eq!(found, [("weir_a_bucket".to_owned(), labels), ("weir_d".to_owned(), Vec::new())]);
}

#[test]
fn prometheus_understands_every_query_of_the_dashboards() {
    let rules: Vec<Value> = queries()
        .into_iter()
        .enumerate()
        .map(|(number, (_, expression))| {
            let filled =
                expression.replace("$__rate_interval", "5m").replace("$pool", "a").replace("$resource", "b");
            assert!(!filled.contains('$'), "{expression}");
            json!({"record": format!("dashboards:query_{number}"), "expr": filled})
        })
        .collect();
    let count = rules.len();
    let file = scratch("queries.yaml", &json!({"groups": [{"name": "queries", "rules": rules}]}).to_string());
    let said = promtool(&["check", "rules", "--lint=none"], &file);
    assert!(said.contains(&format!("{count} rules found")), "{said}");
}

/// What the chart puts in, and that the file without it is what it gives by default.
#[test]
fn alerts_follow_the_values() {
    let by_default = groups();
    let file: Value =
        serde_yaml::from_str(&fs::read_to_string(chart().join("files/alerts.yaml")).unwrap()).unwrap();
    assert_eq!(file, by_default);
    let text = by_default.to_string();
    for (stale_after, seconds) in [("5m", "150"), ("1m30s", "75"), ("1.5h", "2700"), ("3m20s500ms", "100.25")]
    {
        let silent = text.replace("== 1) > 90", &format!("== 1) > {seconds}"));
        let wanted: Value =
            serde_json::from_str(&silent.replace("after 3m", &format!("after {stale_after}"))).unwrap();
        assert_ne!(wanted, by_default);
        assert_eq!(groups_with(&format!("operator.staleAfter={stale_after}")), wanted, "{stale_after}");
    }
    let mut elsewhere = super::helm();
    elsewhere.args(["template", "weir", "-n", "elsewhere", "--set", "metrics.prometheusRule.enabled=true"]);
    let elsewhere = objects(&good(elsewhere.arg(chart()).output().unwrap(), "helm template"));
    let found = find(&elsewhere, "PrometheusRule/weir")["spec"].to_string();
    assert_eq!(found, text.replace(NAMESPACE, "elsewhere"));
}

#[test]
fn each_alert_fires_when_it_should_and_not_otherwise() {
    let rules_file = scratch("rules.yaml", &groups().to_string());
    let said = promtool(&["check", "rules"], &rules_file);
    assert!(said.contains("SUCCESS"), "{said}");
    let text = fs::read_to_string(root().join("tests/chart/alerts.yaml")).unwrap();
    let tests = scratch(
        "alerts.yaml",
        &text.replace("RULES", &rules_file.display().to_string()).replace("NAMESPACE", NAMESPACE),
    );
    let said = promtool(&["test", "rules"], &tests);
    assert!(said.contains("SUCCESS"), "{said}");
    // Nothing is left out: each alert is seen to fire, and seen not to.
    let tests: Value = serde_yaml::from_str(&text).unwrap();
    let cases =
        tests["tests"].as_array().unwrap().iter().flat_map(|one| one["alert_rule_test"].as_array().unwrap());
    let (mut fired, mut quiet) = (BTreeSet::new(), BTreeSet::new());
    for case in cases {
        let name = case["alertname"].as_str().unwrap().to_owned();
        if case["exp_alerts"].is_array() { &mut fired } else { &mut quiet }.insert(name);
    }
    let alerts: BTreeSet<String> = expressions().into_iter().map(|(name, _)| name).collect();
    assert_eq!(fired, alerts, "each alert is seen to fire");
    assert_eq!(quiet, alerts, "each alert is seen to be quiet");
    for rule in rules() {
        let severity = rule["labels"]["severity"].as_str().unwrap();
        assert!(["critical", "warning", "info"].contains(&severity), "{rule}");
        assert!(rule["annotations"]["summary"].is_string() && rule["annotations"]["description"].is_string());
    }
}
