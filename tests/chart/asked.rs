//! What `weir report` asks Prometheus: its own engine answers as the report takes it, and all that is asked for exists.

use std::collections::BTreeSet;
use std::fs;

use serde_json::Value;
use weir::cli::report::queries::Queries;
use weir::model::time::Span;

use super::observing::{known, metrics_of, promtool, scratch};
use super::root;

fn queries() -> Queries {
    Queries::new(Span::minutes(24 * 60), &BTreeSet::from(["team".to_owned(), "more".to_owned()]))
}

#[test]
fn prometheus_answers_reports_as_they_expect() {
    let Queries {
        step,
        allocated,
        most,
        bound,
        queued,
        waits_count,
        waits_sum,
        waits_median,
        waits_p95,
        evictions,
        ends,
        cpu,
        cpu_peak,
        memory,
        memory_peak,
    } = queries();
    assert_eq!(step, 1200);
    let named = [
        ("QUERY_allocated", allocated),
        ("QUERY_most", most),
        ("QUERY_bound", bound),
        ("QUERY_queued", queued),
        ("QUERY_waits_count", waits_count),
        ("QUERY_waits_sum", waits_sum),
        ("QUERY_waits_median", waits_median),
        ("QUERY_waits_p95", waits_p95),
        ("QUERY_evictions", evictions),
        ("QUERY_ends", ends),
        ("QUERY_cpu_peak", cpu_peak),
        ("QUERY_cpu", cpu),
        ("QUERY_memory_peak", memory_peak),
        ("QUERY_memory", memory),
    ];
    let text = fs::read_to_string(root().join("tests/chart/asked.yaml")).unwrap();
    let mut file: Value = serde_yaml::from_str(&text).unwrap();
    let tests = file["tests"][0]["promql_expr_test"].as_array_mut().unwrap();
    assert_eq!(tests.len(), named.len(), "each question is tested");
    for test in tests {
        let mut expression = test["expr"].as_str().unwrap().to_owned();
        for (name, query) in &named {
            expression = expression.replace(name, &query.expression);
        }
        assert!(!expression.contains("QUERY"), "{expression}");
        test["expr"] = expression.into();
    }
    let file = scratch("asked.yaml", &file.to_string());
    let said = promtool(&["test", "rules"], &file);
    assert!(said.contains("SUCCESS"), "{said}");
}

#[test]
fn reports_ask_for_metrics_and_labels_that_exist() {
    let known = known();
    for query in queries().all() {
        let asked = metrics_of(&query.expression);
        for (name, labels) in &asked {
            let has = known.get(name).unwrap_or_else(|| panic!("there is no metric {name}"));
            assert!(labels.iter().all(|label| has.contains(label.as_str())), "{name} has no {labels:?}");
        }
        let is_ours = query.metric.starts_with("weir_");
        assert_eq!(is_ours, asked.iter().any(|(name, _)| name.starts_with(query.metric)), "{query:?}");
        assert!(query.expression.contains(query.metric), "{query:?}");
    }
    // Where there are too many namespaces to name, all pods are asked for.
    let many = (0..60).map(|number| format!("team-{number}")).collect();
    let all = Queries::new(Span::minutes(1), &many);
    assert!(!all.cpu.expression.contains("namespace=~") && all.step == 15, "{all:?}");
}
