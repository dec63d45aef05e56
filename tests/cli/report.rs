//! What `weir report` says of a real cluster: before anybody has looked at its pools, and when one has borrowed what another
//! reserves.

use serde_json::{Value, json};

use super::live::{Bench, workload};
use super::program::{err, out};
use crate::real::api::{POOLS, workloads};
use crate::real::operator::Account;

const SPACE: &str = "team";

fn pool(name: &str, reservation: &str) -> Value {
    json!({"apiVersion": "weir.dev/v1alpha1", "kind": "ResourcePool", "metadata": {"name": name}, "spec": {
        "parent": "company", "access": {"namespaces": {}}, "alerts": {"utilizationPercent": 60},
        "resources": [{"name": "cpu", "reservation": reservation}]}})
}

fn work(pool: &str, name: &str, cpu: &str, seconds: Option<u32>) -> Value {
    let mut work = workload(name, 0, cpu);
    work["spec"]["pool"] = pool.into();
    if let Some(seconds) = seconds {
        let template = &mut work["spec"]["template"]["pod"];
        template["metadata"] = json!({"annotations": {"sim.weir.dev/run-for": format!("{seconds}s")}});
    }
    work
}

fn of_pool<'a>(report: &'a Value, name: &str) -> &'a Value {
    report["pools"].as_array().unwrap().iter().find(|one| one["name"] == name).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_report_tells_how_a_real_cluster_stands() {
    let mut bench = Bench::begin("report").await;
    bench.api.post(POOLS, pool("quiet", "6")).await;
    bench.api.post(POOLS, pool("busy", "1")).await;
    let before = bench.json(&["report"]);
    assert!(
        before["attention"].as_array().unwrap().iter().any(|one| one["kind"] == "NotLookedAt"),
        "{before:#}"
    );
    assert_eq!(of_pool(&before, "company")["resources"][0]["capacity"], "8", "it is reckoned all the same");
    bench.checks.ok("without an operator the report says so, and reckons what there is");

    let account = Account::create(&bench.cluster, &bench.api, "weir-a").await;
    let _operator = account.start(&[]);
    // Two of a cpu each end, and two stay: five cpus, four of them borrowed.
    bench.api.post(&workloads(SPACE), work("busy", "ends", "1", Some(4))).await;
    bench.api.post(&workloads(SPACE), work("busy", "ends-too", "1", Some(4))).await;
    bench.api.until_phase(SPACE, "ends", "Succeeded", 60).await;
    bench.api.until_phase(SPACE, "ends-too", "Succeeded", 60).await;
    bench.api.post(&workloads(SPACE), work("busy", "large", "3", None)).await;
    bench.api.post(&workloads(SPACE), work("busy", "small", "2", None)).await;
    bench.api.until_phase(SPACE, "large", "Running", 60).await;
    bench.api.until_phase(SPACE, "small", "Running", 60).await;
    bench.api.post(&workloads(SPACE), work("batch", "huge", "5", None)).await;
    bench.until_waits("huge", "ExceedsLimit").await;
    let told = |found: &Value| found["status"]["resources"][0]["allocated"] == "5";
    bench.api.until(&format!("{POOLS}/busy"), 30, told).await;
    let lends = |found: &Value| found["status"]["resources"][0]["lent"] == "3";
    bench.api.until(&format!("{POOLS}/quiet"), 30, lends).await;

    let found = bench.json(&["report", "--since", "1h"]);
    let busy = of_pool(&found, "busy");
    assert_eq!(busy["resources"][0]["allocated"], "5", "{found:#}");
    let workloads = &busy["workloads"];
    assert_eq!((&workloads["succeeded"], &workloads["running"]), (&json!(2), &json!(2)), "{busy:#}");
    assert_eq!(
        (&workloads["waits"]["count"], &workloads["runs"]["count"]),
        (&json!(4), &json!(2)),
        "{busy:#}"
    );
    assert!((3..=8).contains(&workloads["runs"]["mean"].as_i64().unwrap()), "they ran for 4 s: {busy:#}");
    assert!(workloads["coveredSeconds"].as_i64().unwrap() < 300, "the pool is not older");
    // Of 8 cpus 7 are reserved; of the four that busy borrows one is nobody's.
    let flows: Vec<String> = found["borrowing"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| format!("{} {} {} {}", one["borrower"], one["resource"], one["amount"], one["lender"]))
        .collect();
    // Of memory nobody reserves anything.
    let expected = [
        r#""busy" "cpu" "1" "company""#,
        r#""busy" "cpu" "3" "quiet""#,
        r#""busy" "memory" "2Gi" "company""#,
    ];
    assert_eq!(flows, expected, "{found:#}");
    let idle = &found["idleReservations"][0];
    assert_eq!((&idle["pool"], &idle["unused"], &idle["lent"]), (&json!("quiet"), &json!("6"), &json!("3")));
    // Three cpus are free: on the nodes of four, 1 beside the large one and 2 beside the small one.
    let free = &of_pool(&found, "company")["free"][0];
    assert_eq!(
        (&free["free"], &free["largest"], &free["nodes"]),
        (&json!("3"), &json!("2"), &json!(2)),
        "{free:#}"
    );
    let attention: Vec<String> = found["attention"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| format!("{} {}", one["pool"].as_str().unwrap(), one["kind"].as_str().unwrap()))
        .collect();
    assert_eq!(attention, ["busy CapacityPressure", "batch CannotStart"], "{found:#}");
    bench.checks.ok("it tells use, waits, runs, who borrows from whom, what is idle and free, and warnings");

    let text = out(&bench.weir(&["report"]));
    for words in [
        "NEEDS ATTENTION\n- pool busy: CapacityPressure (UtilizationHigh): ",
        "metrics-server is not installed",
    ] {
        assert!(text.contains(words), "{words:?} is not in\n{text}");
    }
    let output = bench.as_user("weir", Some("nobody")).arg("report").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(err(&output).contains("nothing can be reported: you may not list"), "{}", err(&output));
    let offered =
        bench.as_user("kubectl_complete-weir", None).args(["report", "--pool", "qu"]).output().unwrap();
    assert_eq!(out(&offered), "quiet\n:4\n", "names of pools are completed");
    bench.checks.ok("the table begins with what needs attention; who may read nothing is told so");
}
