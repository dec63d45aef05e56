//! What `weir report` says: of objects in files, of an API server, of a Prometheus; what it says where something is missing;
//! and its page, in a real browser. All numbers that are expected are reckoned by hand from the objects in `cases/report/`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};

use super::web::{Server, api_server, forbidden};
use super::{browsed, cases, refused, said, weir};

const AT: &str = "2026-11-25T04:00:00Z";
const FILES: [&str; 4] = ["-f", "report", "--at", AT];

pub fn report(more: &[&str]) -> Value {
    read(&[&["report", "-o", "json"], &FILES[..], more].concat())
}

fn read(args: &[&str]) -> Value {
    let output = weir(args);
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn pool<'a>(report: &'a Value, name: &str) -> &'a Value {
    report["pools"].as_array().unwrap().iter().find(|one| one["name"] == name).unwrap()
}

pub fn texts(of: &Value) -> Vec<&str> {
    of.as_array().unwrap().iter().map(|one| one.as_str().unwrap()).collect()
}

/// Each of some rows in short: the values of these fields.
fn rows(of: &Value, fields: &[&str]) -> Vec<String> {
    let row = |one: &Value| {
        let value =
            |field: &&str| one[*field].as_str().map_or_else(|| one[*field].to_string(), ToOwned::to_owned);
        fields.iter().map(value).collect::<Vec<_>>().join(" ")
    };
    of.as_array().unwrap().iter().map(row).collect()
}

#[test]
fn what_needs_attention_comes_first_with_what_to_do() {
    let found = report(&[]);
    assert_eq!(
        rows(&found["attention"], &["pool", "kind", "reason"]),
        [
            "spare Stalled ParentCycle",
            "company ExhaustionPredicted TrendReachesLimit",
            "research CapacityPressure PendingTooLong",
            "ops CannotStart ExceedsLimit",
        ]
    );
    assert_eq!(found["attention"][1]["action"], "Add nodes or licences in time, or lower what is asked for.");
    let table = said(&weir(&[&["report"], &FILES[..]].concat()));
    let first: Vec<&str> = table.lines().take(5).collect();
    assert_eq!(first[0], "4 pools at 2026-11-25T04:00:00Z, and the last 7d");
    assert_eq!(first[2], "NEEDS ATTENTION");
    assert!(
        first[3].starts_with("- pool spare: Stalled (ParentCycle)") && first[4].starts_with("  What to do: "),
        "{table}"
    );
    for words in [
        "company     cpu             32        -         30     21         70%   2026-11-25T09:00:00Z",
        "1 start is left out: it had been evicted before",
        "research  6           4         0.84%             3.10%                 TimeLimit",
        "the least that is covered is 2d",
    ] {
        assert!(table.contains(words), "{words:?} is not in\n{table}");
    }
}

#[test]
fn waits_and_runs_are_those_that_the_objects_tell() {
    let found = report(&[]);
    let research = &pool(&found, "research")["workloads"];
    // 10, 30 and 20 minutes of those that ended, 60 of train; old waited for 5. again was evicted.
    let waits = &research["waits"];
    assert_eq!(
        (&waits["count"], &waits["mean"], &waits["median"], &waits["p95"]),
        (&5.into(), &1500.into(), &1200.into(), &3600.into())
    );
    assert_eq!(research["waitsUnknown"], 1);
    // Within the 48 hours for which finished ones stay: 60, 120 and 30 minutes. gone never ran.
    let runs = &research["runs"];
    assert_eq!(
        (&runs["count"], &runs["mean"], &runs["median"], &runs["p95"]),
        (&3.into(), &4200.into(), &3600.into(), &7200.into())
    );
    assert_eq!(
        (&research["succeeded"], &research["failed"], &research["coveredSeconds"]),
        (&3.into(), &1.into(), &172_800.into())
    );
    assert_eq!(
        (&research["succeededADay"], &research["ends"]),
        (&1.5.into(), &json!({"Completed": 3, "MaxWaitExceeded": 1}))
    );
    // waits since three, back since twenty to four.
    let waiting = &research["waiting"];
    assert_eq!(
        (&waiting["count"], &waiting["mean"], &waiting["longest"]),
        (&2.into(), &2400.into(), &3600.into())
    );
    assert_eq!(
        (&research["longestWaiting"], &research["waitingFor"]),
        (&"team/waits".into(), &json!({"WaitingForQuota": 2}))
    );
    assert_eq!(
        (&research["evictions"], &research["evicted"], &research["running"]),
        (&3.into(), &json!({"Preempted": 1}), &2.into())
    );
    let company = &pool(&found, "company")["workloads"];
    assert_eq!(
        (&company["succeeded"], &company["running"], &company["waits"]["count"]),
        (&4.into(), &3.into(), &7.into())
    );
    // A day back: only three and nightly have ended since four in the morning of the day before but one and two.
    let short = report(&["--since", "3h"]);
    let runs = &pool(&short, "company")["workloads"];
    assert_eq!(
        (&runs["succeeded"], &runs["failed"], &runs["coveredSeconds"]),
        (&2.into(), &1.into(), &10_800.into())
    );
}

#[test]
fn who_borrows_from_whom_and_what_lies_idle_is_told() {
    let found = report(&[]);
    // Of 30 cpus 29 are reserved; research uses 6 more than its 12: 1 is nobody's, 5 are shared by ops (12 idle) and spare (2).
    assert_eq!(
        rows(&found["borrowing"], &["borrower", "resource", "amount", "from", "lender"]),
        [
            "research cpu 1 Unreserved company",
            "research cpu 4285m Pool ops",
            "research cpu 715m Pool spare",
            "research nvidia.com/gpu 1 Unreserved company",
        ]
    );
    assert_eq!(
        rows(
            &found["idleReservations"],
            &["pool", "resource", "unused", "lent", "percentOfTree", "idleSince"]
        ),
        [
            "ops nvidia.com/gpu 8 0 50.0 2026-11-25T01:05:00Z",
            "ops cpu 12 4285m 37.5 null",
            "spare cpu 2 714m 6.25 null",
        ]
    );
}

#[test]
fn what_is_free_and_what_is_stranded_is_told() {
    let found = report(&[]);
    // n1 has 4 cpus and 5 GPUs free, n2 5 and 6. train (8 cpus, 2 GPUs) fits nowhere: 5 and 6 GPUs are of no use to it. Of again
    // (2 cpus, 1 GPU) two fit on each, which leaves 3 and 4. In the mean 4 and 5.
    // cpus, of 12 workloads: six of 2 leave 0 and 1, web (3) 1 and 2, two of 6, huge and train all, again 0 and 1:
    // 17 twelfths on n1 and 29 on n2, each rounded down to a thousandth.
    assert_eq!(
        rows(
            &pool(&found, "company")["free"],
            &["resource", "free", "largest", "nodes", "stranded", "strandedPercent"]
        ),
        ["cpu 9 5 2 3832m 42", "nvidia.com/gpu 11 6 2 9 81"]
    );
    assert_eq!(pool(&found, "ops")["free"], json!([]), "its nodes are those of the company");
    assert_eq!(pool(&found, "research")["optimal"]["gap"], "0.84%");
}

#[test]
fn one_pool_is_reported_with_those_below_it() {
    let found = report(&["--pool", "ops"]);
    assert_eq!(rows(&found["pools"], &["name"]), ["ops"]);
    assert_eq!(rows(&found["attention"], &["pool", "kind"]), ["ops CannotStart"]);
    assert_eq!(rows(&found["borrowing"], &["borrower", "lender"]), ["research ops"], "it lends");
    assert_eq!(rows(&report(&["--pool", "company"])["pools"], &["name"]).len(), 4);
}

#[test]
fn what_is_wrong_with_the_question_is_told() {
    let of = |more: &[&str]| refused(&[&["report"], &FILES[..], more].concat(), 1);
    for (more, words) in [
        (&["--pool", "reserch"][..], "there is no pool \"reserch\": did you mean research?"),
        (&["--pool", "x"], "there is no pool \"x\": write one of company, ops, research, spare"),
        (
            &["--since", "yesterday"],
            "\"yesterday\" is not a length of time: write days, hours and minutes, such as 12h, 7d or 1d12h",
        ),
        (&["--since", "400d"], "400d is too short or too long: write between 1m and 366d"),
        (
            &["--prometheus", "localhost:9090"],
            "--prometheus \"localhost:9090\" is no address: write one such as http://localhost:9090",
        ),
        (
            &["--prometheus", "http://127.0.0.1:1", "--prometheus-token", "nowhere"],
            "--prometheus-token: cannot read nowhere",
        ),
        (&["--html", "/nowhere/report.html"], "the page cannot be written to /nowhere/report.html"),
        (&["--kubeconfig", "x"], "cannot be used with"),
    ] {
        let error = of(more);
        assert!(error.contains(words), "{more:?}: {error}");
    }
    for (at, words) in [
        (
            "noon",
            "\"noon\" is no time: write one with a day, an hour and a zone, such as 2026-11-25T04:00:00Z",
        ),
        (
            "2020-01-01T00:00:00Z",
            "--at 2020-01-01T00:00:00Z is before what these objects tell of: write when they were written, 2026-",
        ),
    ] {
        let error = refused(&["report", "-f", "report", "--at", at], 1);
        assert!(error.contains(words), "{error}");
    }
    let folder = Folder::new("empty");
    fs::write(folder.0.join("node.yaml"), "apiVersion: v1\nkind: Node\nmetadata: {name: a}\n").unwrap();
    let error = refused(&["report", "-f", folder.0.to_str().unwrap()], 1);
    assert!(error.contains("there are no pools and no workloads: create a ResourcePool first"), "{error}");
}

#[test]
fn a_pool_without_status_is_reckoned_and_nobody_is_said_to_look_at_it() {
    let found = read(&["report", "-f", "full.yaml", "-o", "json"]);
    assert_eq!(rows(&found["pools"][0]["resources"], &["name", "capacity", "allocated"]), ["cpu 4 0"]);
    assert_eq!(rows(&found["attention"], &["pool", "kind"])[0], "one NotLookedAt", "worse comes first");
    assert!(
        texts(&found["notes"])
            .iter()
            .any(|note| note.contains("no operator has written the numbers of 1 pool (one)")),
        "{found}"
    );
}

/// A folder of a test; gone afterwards.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new(test: &str) -> Self {
        let path = std::env::temp_dir().join(format!("weir-report-{test}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn vector(samples: &[(Value, f64)]) -> (u16, String) {
    let result: Vec<Value> = samples
        .iter()
        .map(|(labels, value)| json!({"metric": labels, "value": [1, value.to_string()]}))
        .collect();
    (200, json!({"status": "success", "data": {"resultType": "vector", "result": result}}).to_string())
}

/// 72 points, twenty minutes apart, the last at four.
fn matrix(lines: &[(Value, &dyn Fn(f64) -> f64)]) -> (u16, String) {
    let last: i64 = AT.parse::<jiff::Timestamp>().unwrap().as_second();
    let points = |of: &dyn Fn(f64) -> f64| -> Vec<Value> {
        (1..=72_i32)
            .map(|at| json!([last - i64::from(72 - at) * 1200, of(f64::from(at)).to_string()]))
            .collect()
    };
    let result: Vec<Value> =
        lines.iter().map(|(labels, of)| json!({"metric": labels, "values": points(of)})).collect();
    (200, json!({"status": "success", "data": {"resultType": "matrix", "result": result}}).to_string())
}

const GI: f64 = 1024.0 * 1024.0 * 1024.0;

/// What a Prometheus would answer that has seen the pools of the files for a day.
fn prometheus(path: &str, query: &str) -> (u16, String) {
    let of = |pool: &str, resource: &str| json!({"pool": pool, "resource": resource});
    let why = |pool: &str, reason: &str| json!({"pool": pool, "reason": reason});
    let pod = |name: &str| json!({"namespace": "team", "pod": name});
    let research = || json!({"pool": "research"});
    let has = |words: &str| query.contains(words);
    if path == "/api/v1/query_range" {
        assert!(has("step=1200&"), "{query}");
        return if has("(avg_over_time(weir_pool_allocated[1200s])") {
            matrix(&[(of("company", "cpu"), &|at| 3.0 + at / 4.0), (of("ops", "cpu"), &|_| 3.0)])
        } else if has("max_over_time(weir_pool_allocated") {
            let peak = |at: f64| if (at - 50.0).abs() < 0.5 { 25.0 } else { 1.0 };
            matrix(&[
                (of("company", "cpu"), &peak),
                (of("ops", "cpu"), &|_| 5.0),
                (of("ops", "nvidia.com/gpu"), &|_| 0.0),
            ])
        } else if has("weir_pool_limit") {
            matrix(&[(of("company", "cpu"), &|_| 31.0), (of("ops", "cpu"), &|_| 30.0)])
        } else {
            assert!(has("weir_pool_workloads"), "{query}");
            matrix(&[(json!({"pool": "company"}), &|at| if at > 36.0 { 4.0 } else { 0.0 })])
        };
    }
    assert_eq!(path, "/api/v1/query");
    let both = |train: [f64; 2], web: f64| {
        vector(&[
            (pod("train-0"), train[0]),
            (pod("train-1"), train[1]),
            (pod("web-0"), web),
            (pod("other"), 9.0),
        ])
    };
    match () {
        () if has("weir_waiting_seconds_count") => vector(&[(research(), 40.0)]),
        () if has("weir_waiting_seconds_sum") => vector(&[(research(), 4000.0)]),
        () if has("histogram_quantile(0.5,") => vector(&[(research(), 60.2)]),
        () if has("histogram_quantile(0.95,") => {
            vector(&[(research(), 300.0), (json!({"pool": "ops"}), f64::NAN)])
        }
        () if has("weir_evictions_total") => {
            vector(&[(why("research", "Preempted"), 2.97), (why("ops", "Reclaimed"), 0.1)])
        }
        () if has("weir_ends_total") => vector(&[(why("research", "Completed"), 12.0)]),
        // train has run for five hours, web for six.
        () if has("increase(container_cpu") => both([36_000.0, 18_000.0], 86_400.0),
        () if has("rate(container_cpu") => both([3.0, 2.0], 4.5),
        () if has("avg_over_time(container_memory") => both([GI, GI], GI),
        () if has("max_over_time(container_memory") => both([3.0 * GI, 2.0 * GI], 1.5 * GI),
        () => panic!("{query}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_prometheus_adds_what_it_has_seen() {
    let server = Server::new(prometheus).await;
    let folder = Folder::new("token");
    let token = folder.0.join("token");
    fs::write(&token, "secret\n").unwrap();
    let found = report(&[
        "--since",
        "24h",
        "--prometheus",
        &server.url,
        "--prometheus-token",
        token.to_str().unwrap(),
    ]);
    assert_eq!(found["unknown"], json!([]));
    let asked = server.asked();
    assert!(asked.len() == 14 && asked.iter().all(|one| one.ends_with(" Bearer secret")), "{asked:#?}");
    // 3 + n/4 for n from 1 to 72 of 31: 12.125 on average, the 69th is 20.25; once there were 25.
    let cpu = &pool(&found, "company")["resources"][0]["history"];
    assert_eq!((&cpu["mean"], &cpu["p95"], &cpu["peak"]), (&39.into(), &65.into(), &81.into()));
    // 21 are used at four, 10 are left, and a quarter more every twenty minutes: 40 times that is 13 hours and 20 minutes.
    let exhausted: jiff::Timestamp = cpu["exhaustedAt"].as_str().unwrap().parse().unwrap();
    let expected: jiff::Timestamp = "2026-11-25T17:20:00Z".parse().unwrap();
    assert!((exhausted.as_second() - expected.as_second()).abs() < 60, "{exhausted}");
    assert!(pool(&found, "ops")["resources"][0]["history"]["exhaustedAt"].is_null(), "it does not grow");
    let history = &pool(&found, "research")["history"];
    assert_eq!(history["waits"], json!({"count": 40, "mean": 100, "median": 60, "p95": 300}));
    assert_eq!(
        (&history["evictions"], &history["ends"]),
        (&json!({"Preempted": 3}), &json!({"Completed": 12}))
    );
    assert_eq!(
        pool(&found, "company")["history"]["queued"].as_array().unwrap()[35..37],
        [json!(0.0), json!(4.0)]
    );
    // Of 15 cpus 5 were in use at times, of 8 GPUs none.
    assert_eq!(
        rows(&found["idleReservations"], &["pool", "resource", "neverUsed"]),
        ["ops nvidia.com/gpu 8", "ops cpu 10", "spare cpu null"]
    );
    // Two pods of train ask for 8 cpus and 2Gi each: 36000 and 18000 seconds of cpu in 5 hours are 2 and 1. web asks for 3 and uses 4.
    let fields = ["name", "resource", "pods", "requested", "used", "peak", "verdict"];
    assert_eq!(
        rows(&found["usage"]["workloads"], &fields),
        [
            "team/train cpu 2 16 3 5 Over",
            "team/train memory 2 4Gi 2Gi 5Gi Under",
            "team/web cpu 1 3 4 4500m Under",
            "team/web memory 1 2Gi 1Gi 1536Mi Fits",
        ]
    );
    assert_eq!(
        rows(&found["usage"]["pools"], &["name", "resource", "requested", "used", "percent"]),
        ["ops cpu 3 4 133", "ops memory 2Gi 1Gi 50", "research cpu 16 3 18", "research memory 4Gi 2Gi 50"]
    );
    let table =
        said(&weir(&[&["report"], &FILES[..], &["--since", "24h", "--prometheus", &server.url]].concat()));
    for words in [
        "company     cpu             32        -         30     21         70%   39%   65%  81%",
        "research  40        100s  60s     5m   Preempted 3  Completed 12",
        "team/train  cpu       2     16         3     5      18%         asks for more than twice what it uses",
    ] {
        assert!(table.contains(words), "{words:?} is not in\n{table}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_prometheus_that_does_not_help_is_told_and_the_rest_is_there() {
    let unknown = |url: &str| {
        let found = report(&["--since", "24h", "--prometheus", url]);
        assert_eq!(found["attention"].as_array().unwrap().len(), 4, "the rest is reported");
        texts(&found["unknown"]).join("\n")
    };
    let text = unknown("http://127.0.0.1:1");
    assert!(
        text.contains("cannot reach Prometheus at http://127.0.0.1:1: ")
            && text.contains("the report is made without it"),
        "{text}"
    );
    assert_eq!(text.lines().count(), 1, "it is asked once: {text}");

    let page = Server::new(|_, _| (200, "<html>Grafana</html>".to_owned())).await;
    let text = unknown(&page.url);
    assert!(
        text.contains(
            "answers, but not as Prometheus does (HTTP 200): give the address below which /api/v1/query is"
        ),
        "{text}"
    );
    let missing = Server::new(|_, _| (404, "404 page not found".to_owned())).await;
    assert!(unknown(&missing.url).contains("not as Prometheus does (HTTP 404)"));
    let closed = Server::new(|_, _| (401, String::new())).await;
    assert!(
        unknown(&closed.url)
            .contains("does not let you in (HTTP 401): give a token with --prometheus-token FILE")
    );

    // It fails for one question alone.
    let failing = Server::new(|path, query| {
        if query.contains("weir_pool_limit") {
            let error = json!({"status": "error", "errorType": "execution", "error": "query processing would load too many samples"});
            return (422, error.to_string());
        }
        prometheus(path, query)
    })
    .await;
    let text = unknown(&failing.url);
    assert!(
        text.contains("answers \"query processing would load too many samples\" to max by (pool, resource)"),
        "{text}"
    );
    assert_eq!(text.lines().count(), 1, "{text}");

    let empty = Server::new(|path, _| if path.ends_with("range") { matrix(&[]) } else { vector(&[]) }).await;
    let text = unknown(&empty.url);
    for (metric, scrape) in [
        ("weir_pool_allocated", "have it scrape Weir (serviceMonitor.enabled of the chart"),
        ("container_cpu_usage_seconds_total", "have it scrape the kubelets' /metrics/cadvisor"),
    ] {
        let words = format!("Prometheus knows nothing of {metric} in this time: {scrape}");
        assert!(text.contains(&words), "{words}: {text}");
    }
    assert_eq!(text.lines().count(), 6, "each metric is named once: {text}");
}

fn objects() -> Vec<Value> {
    let mut all = Vec::new();
    for file in ["pools.yaml", "workloads.json", "nodes.json"] {
        let text = fs::read_to_string(cases().join("report").join(file)).unwrap();
        let list: Value = serde_yaml::from_str(&text).unwrap();
        all.extend(list["items"].as_array().unwrap().iter().cloned());
    }
    all
}

/// The program on an API server.
fn on(server: &Server, folder: &Path, args: &[&str]) -> Output {
    let config = folder.join("config");
    let text = json!({"apiVersion": "v1", "kind": "Config", "current-context": "c", "users": [{"name": "u", "user": {}}],
        "clusters": [{"name": "c", "cluster": {"server": server.url}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u", "namespace": "team"}}]});
    fs::write(&config, text.to_string()).unwrap();
    let args = [&["report"], args, &["--kubeconfig", config.to_str().unwrap()]].concat();
    Command::new(env!("CARGO_BIN_EXE_weir")).args(args).output().unwrap()
}

fn of_server(server: &Server, folder: &Path) -> Value {
    let output = on(server, folder, &["-o", "json", "--since", "366d"]);
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_server_is_asked_where_it_is_there() {
    let folder = Folder::new("metrics");
    let metrics = |path: &str| {
        let pod = |name: &str, workload: Option<&str>, containers: Value| {
            let labels = workload.map_or(json!({}), |workload| json!({"weir.dev/workload": workload}));
            json!({"metadata": {"name": name, "namespace": "team", "labels": labels}, "containers": containers})
        };
        let uses = |cpu: &str, memory: &str| json!({"name": "main", "usage": {"cpu": cpu, "memory": memory}});
        (path == "/apis/metrics.k8s.io/v1beta1/pods").then(|| {
            let items = [
                // By its label, with a sidecar; by the name that the status tells; and one of nobody's.
                pod("train-0", Some("train"), json!([uses("1500m", "1Gi"), uses("250000u", "512Mi")])),
                pod("train-1", Some("train"), json!([uses("7000000000n", "512Mi")])),
                pod("web-0", None, json!([uses("100m", "3Gi")])),
                pod("agent", None, json!([uses("100m", "3Gi")])),
            ];
            (200, json!({"kind": "PodMetricsList", "metadata": {}, "items": items}))
        })
    };
    let server = api_server(objects(), metrics).await;
    let found = of_server(&server, &folder.0);
    assert_eq!(
        (&found["usage"]["source"], &found["usage"]["pods"]),
        (&"metrics-server, now".into(), &3.into())
    );
    // 1.5, a quarter and 7 cpus. 1Gi of 6Gi is a sixth, and 2.9 cpus are less of 19.
    assert_eq!(
        rows(&found["usage"]["workloads"], &["name", "resource", "requested", "used", "percent", "verdict"]),
        [
            "team/web memory 2Gi 3Gi 150 Under",
            "team/web cpu 3 100m 3 Over",
            "team/train cpu 16 8750m 54 Fits",
            "team/train memory 4Gi 2Gi 50 Fits",
        ]
    );
    assert_eq!((&found["unknown"], found["pools"].as_array().unwrap().len()), (&json!([]), 4));
    assert_eq!(pool(&found, "company")["free"][0]["free"], "9", "nodes and pods are read");

    let without = api_server(objects(), |_| None).await;
    let found = of_server(&without, &folder.0);
    assert!(texts(&found["notes"]).contains(&"requests are not compared with use: metrics-server is not installed or not ready, and no --prometheus is given"), "{found}");
    let closed =
        api_server(objects(), |path| path.contains("metrics.k8s.io").then(|| forbidden("pods"))).await;
    assert!(
        texts(&of_server(&closed, &folder.0)["unknown"])[0]
            .starts_with("you may not list pods of metrics.k8s.io")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_may_not_be_read_is_told_and_the_rest_is_there() {
    let folder = Folder::new("rights");
    let blind = api_server(objects(), |path| (path == "/api/v1/nodes").then(|| forbidden("nodes"))).await;
    let found = of_server(&blind, &folder.0);
    assert!(texts(&found["unknown"])[0].starts_with("you may not list nodes ("), "{found}");
    assert!(
        texts(&found["notes"])
            .contains(&"what is free on nodes, and what is stranded there, takes reading nodes and pods")
    );
    assert_eq!(pool(&found, "company")["free"], json!([]));
    assert_eq!(pool(&found, "company")["resources"][0]["allocated"], "21", "statuses tell it");

    // A tenant reads the workloads of one namespace alone.
    let own: Vec<Value> = objects().into_iter().filter(|one| one["kind"] == "PooledWorkload").collect();
    let tenant = api_server(Vec::new(), move |path| {
        Some(match path {
            "/version" => return None,
            "/apis/weir.dev/v1alpha1/namespaces/team/pooledworkloads" => {
                (200, json!({"kind": "PooledWorkloadList", "apiVersion": "weir.dev/v1alpha1", "metadata": {}, "items": own}))
            }
            path => forbidden(path.rsplit('/').next().unwrap()),
        })
    })
    .await;
    let found = of_server(&tenant, &folder.0);
    assert_eq!(rows(&found["pools"], &["name"]), ["ops", "research"], "the pools that its workloads name");
    assert_eq!(pool(&found, "research")["workloads"]["waiting"]["count"], 2);
    let unknown = texts(&found["unknown"]).join("\n");
    assert!(
        unknown.contains("only workloads of namespace \"team\" are shown")
            && unknown.contains("you may not list resourcepools"),
        "{unknown}"
    );

    let nothing = api_server(Vec::new(), |path| (path != "/version").then(|| forbidden("all"))).await;
    let output = on(&nothing, &folder.0, &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("nothing can be reported: you may not list"),
        "{output:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_of_a_report_is_drawn_in_a_real_browser_without_a_network() {
    let server = Server::new(prometheus).await;
    let folder = Folder::new("page");
    for (name, more, charts) in
        [("plain.html", &[][..], 0), ("full.html", &["--since", "24h", "--prometheus", &server.url], 2)]
    {
        let page = folder.0.join(name);
        let found = report(&[&["--html", page.to_str().unwrap()], more].concat());
        let dom = browsed(&page);
        // A bar for each pool, of the first resource; a line in both charts for each that has a history.
        assert_eq!(dom.matches("class=\"bar\"").count(), found["pools"].as_array().unwrap().len(), "{dom}");
        let lines = if charts == 0 { 0 } else { 3 };
        assert_eq!(dom.matches("<polyline").count(), lines, "{name}");
        for words in [
            "<b>spare: Stalled (ParentCycle)</b>",
            "<td>nobody: company has it beyond",
            "<td>WaitingForQuota 2</td>",
            "0.84%</td>",
            "<h2>Free on nodes</h2>",
        ] {
            assert!(dom.contains(words), "{words} is not in {name}");
        }
        assert_eq!(dom.contains("<td>asks for more than twice what it uses"), charts > 0, "{name}");
    }
}
