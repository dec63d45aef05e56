use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::model::amount::{Amount, Limit};
use crate::model::report::{Overcommitted, PoolReport, PoolResource};
use crate::model::resources::{ResourceId, ResourceTable};

fn report() -> PoolReport {
    let amount = |units| Amount::new(units);
    let resource = |resource, largest_free| PoolResource {
        resource,
        capacity: amount(64_000),
        unmanaged: amount(500),
        reservation: amount(32_000),
        limit: Limit::At(amount(48_000)),
        allocated: amount(40_000),
        adopted: amount(5_000),
        borrowed: amount(8_000),
        lent: amount(1),
        idle: amount(2),
        available: amount(3),
        pending: amount(4),
        largest_free,
    };
    PoolReport {
        nodes_total: 5,
        nodes_ready: 4,
        nodes_unschedulable: 1,
        resources: vec![
            resource(ResourceId::CPU, Some(amount(16_000))),
            resource(ResourceId::MEMORY, Some(amount(7))),
            resource(ResourceId::INGRESS, None),
            resource(ResourceId::PODS, None),
        ],
        forecast: vec![(ResourceId::CPU, Time(1_900_000_000_500))],
        longest_pending: Some(("team/job".into(), Time(0))),
        queued: 7,
        running: 3,
        finished: 2,
        failed: 1,
        overcommitted: vec![Overcommitted {
            resource: ResourceId::CPU,
            promised: amount(2),
            there: amount(1),
            short: Vec::new(),
        }],
        ..PoolReport::default()
    }
}

fn sample() -> PoolSample {
    PoolSample::new(&report(), Some("company"), Some("company"), 6, &ResourceTable::default())
}

/// Everything was counted at least once.
fn full() -> Metrics {
    let metrics = Metrics::default();
    metrics.wrote("create_pod", "done");
    metrics.decided("admit");
    metrics.saw("Pod");
    metrics.cycle(Duration::from_millis(3), Duration::from_millis(1), 2);
    metrics.leads(true);
    metrics.watch_age("Pod", Duration::from_secs(1));
    metrics.pool(&"team".into(), sample());
    metrics.admitted("team", Some(Time(1000)), Time(21_000));
    metrics.evicted("team", "Reclaimed");
    metrics.ended("team", "Completed");
    metrics.estimated("team", Time(20_000), Time(21_000));
    metrics.lacks("list_node", true);
    metrics.fields_missing("ResourcePool", 2);
    metrics
}

/// Names of metrics with the names of their labels, `le` of histograms aside.
fn told(text: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut all: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (series, _) = line.rsplit_once(' ').unwrap();
        let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
        let labels = labels.trim_end_matches('}').split(',').filter_map(|label| label.split_once('='));
        let labels = labels.map(|(name, _)| name.to_owned()).filter(|name| name != "le").collect();
        let base = ["_bucket", "_sum", "_count"].iter().find_map(|ending| {
            let base = name.strip_suffix(ending)?;
            text.contains(&format!("# TYPE {base} histogram")).then_some(base)
        });
        all.insert(base.unwrap_or(name).to_owned(), labels);
    }
    all
}

#[test]
fn what_is_told_is_what_is_documented_with_just_these_labels() {
    let text = full().text().unwrap();
    let told = told(&text);
    let documented: BTreeMap<String, BTreeSet<String>> = described::ALL
        .iter()
        .flat_map(|(_, all)| *all)
        .map(|one| (one.name.to_owned(), one.labels.iter().map(|label| (*label).to_owned()).collect()))
        .collect();
    assert_eq!(told, documented);
    for one in described::ALL.iter().flat_map(|(_, all)| *all) {
        let base = one.name.trim_end_matches("_total").trim_end_matches("_info");
        let family = if one.kind == "gauge" { one.name } else { base };
        assert!(text.contains(&format!("# TYPE {family} {}\n", one.kind)), "{} is no {}", one.name, one.kind);
        assert!(text.contains(&format!("# HELP {family} {}.\n", one.help)), "{}", one.name);
        assert_eq!(one.kind == "counter", one.name.ends_with("_total"), "{}", one.name);
    }
}

#[test]
fn amounts_are_in_base_units() {
    let text = full().text().unwrap();
    for line in [
        r#"weir_pool_capacity{pool="team",resource="cpu",unit="core"} 64.0"#,
        r#"weir_pool_capacity{pool="team",resource="memory",unit="byte"} 64000.0"#,
        r#"weir_pool_allocated{pool="team",resource="weir.dev/ingress-bandwidth",unit="bit_per_second"} 40000.0"#,
        r#"weir_pool_limit{pool="team",resource="pods",unit="integer"} 48000.0"#,
        r#"weir_pool_largest_free{pool="team",resource="cpu",unit="core"} 16.0"#,
        r#"weir_pool_exhausted_timestamp_seconds{pool="team",resource="cpu"} 1900000000.5"#,
        r#"weir_pool_info{pool="team",parent="company",root="company"} 1.0"#,
        r#"weir_queue_length{pool="team"} 6.0"#,
        r#"weir_pool_nodes{pool="team",state="not_ready"} 1.0"#,
        r#"weir_pool_overcommitted{pool="team"} 1.0"#,
        r#"weir_waiting_seconds_bucket{le="60.0",pool="team"} 1"#,
        r#"weir_waiting_seconds_sum{pool="team"} 20.0"#,
    ] {
        assert!(text.lines().any(|told| told == line), "there is no {line} in\n{text}");
    }
}

#[test]
fn the_number_of_series_does_not_grow_with_workloads() {
    let metrics = full();
    let before = metrics.text().unwrap().lines().count();
    for number in 0..1000_u32 {
        let mut report = report();
        report.queued = number;
        report.longest_pending = Some((format!("n{number}/w{number}").into(), Time(i64::from(number))));
        let sample = PoolSample::new(&report, Some("company"), Some("company"), 9, &ResourceTable::default());
        metrics.pool(&"team".into(), sample);
        metrics.admitted("team", Some(Time(0)), Time(i64::from(number)));
        metrics.evicted("team", "Reclaimed");
        metrics.ended("team", "Completed");
    }
    assert_eq!(metrics.text().unwrap().lines().count(), before);
}

#[test]
fn beyond_two_thousand_pools_nothing_grows() {
    let metrics = full();
    for number in 0..2100_u32 {
        let name: Arc<str> = format!("p{number:05}").into();
        metrics.pool(&name, sample());
    }
    for number in 0..2100_u32 {
        metrics.admitted(&format!("p{number:05}"), None, Time(0));
    }
    let text = metrics.text().unwrap();
    assert!(text.contains("weir_pools_untold 101.0\n"), "2,101 pools are known");
    assert!(text.contains(r#"weir_queue_length{pool="p01999"}"#));
    assert!(!text.contains(r#"weir_queue_length{pool="p02000"}"#));
    let admissions = |label: &str| format!("weir_admissions_total{{pool=\"{label}\"}} ");
    assert!(text.contains(&format!("{}100\n", admissions("-"))), "those beyond count together");
    assert!(!text.contains(&admissions("p02000")));
}

#[test]
fn what_is_gone_is_told_no_more() {
    let metrics = full();
    metrics.pool_gone("team");
    assert!(!metrics.text().unwrap().contains("pool=\"team\""));
    let metrics = full();
    metrics.leads(false);
    let text = metrics.text().unwrap();
    assert!(!text.contains("weir_queue_length{"), "only the leader tells of pools");
    assert!(text.contains("weir_admissions_total{pool=\"team\"} 1\n"), "a counter never goes back");
}
