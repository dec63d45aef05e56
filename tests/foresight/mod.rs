//! What `weir simulate`, `weir what-if` and `weir report` say: the program itself, on manifests; and pages, in a real browser.

mod replay;
mod report;
mod secure;
mod web;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn cases() -> PathBuf {
    root().join("tests/foresight/cases")
}

fn weir(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_weir")).args(args).current_dir(cases()).output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn json(args: &[&str]) -> Value {
    let output = weir(args);
    assert!(output.status.code().is_some_and(|code| code == 0 || code == 2), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// What it says on standard error, and that it exits with that code.
fn refused(args: &[&str], code: i32) -> String {
    let output = weir(args);
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

fn workload<'a>(of: &'a Value, name: &str) -> &'a Value {
    let all = of["workloads"].as_array().unwrap();
    all.iter().find(|one| one["name"] == name).unwrap_or_else(|| panic!("{name} is not there"))
}

#[test]
fn a_folder_is_simulated_and_told_by_workload_and_pool() {
    let report = json(&["simulate", "-f", "lab.yaml", "-o", "json"]);
    let variant = &report["variants"][0];
    assert_eq!((&variant["stopped"], &variant["seconds"]), (&"AtRest".into(), &3300.0.into()));
    let train = workload(variant, "research/train");
    assert_eq!(
        (&train["start"], &train["wait"], &train["end"]),
        (&900.0.into(), &900.0.into(), &3300.0.into())
    );
    assert_eq!(train["nodes"].as_array().unwrap().len(), 2);
    let pools = variant["pools"].as_array().unwrap();
    let lab = pools.iter().find(|pool| pool["name"] == "lab").unwrap();
    assert_eq!((&lab["completed"], &lab["waitSeconds"]["started"]), (&3.into(), &4.into()));
    assert_eq!((&lab["waitSeconds"]["mean"], &lab["waitSeconds"]["p95"]), (&225.0.into(), &900.0.into()));
    assert_eq!(lab["series"]["at"].as_array().unwrap().len(), 240);
    let table = said(&weir(&["simulate", "-f", "lab.yaml"]));
    for words in
        ["research/train    batch    +0s       15m    +15m    +55m   node-1, node-2   Completed", "OVER TIME"]
    {
        assert!(table.contains(words), "{words:?} is not in\n{table}");
    }
}

#[test]
fn yaml_says_what_json_says() {
    for args in
        [&["simulate", "-f", "lab.yaml"][..], &["what-if", "-f", "full.yaml", "--with", "urgent.yaml"]]
    {
        let text = said(&weir(&[args, &["-o", "yaml"]].concat()));
        assert!(!text.starts_with('{'), "{text}");
        // It begins when it is asked.
        let without_start = |mut value: Value| {
            value.as_object_mut().unwrap().remove("start");
            value
        };
        let yaml = without_start(serde_yaml::from_str(&text).unwrap());
        assert!(yaml.as_object().is_some_and(|fields| fields.len() > 2), "{text}");
        assert!(yaml == without_start(json(&[args, &["-o", "json"]].concat())), "{args:?}: {text}");
    }
}

#[test]
fn what_declares_no_duration_is_said_and_treated_as_endless() {
    let table = said(&weir(&["simulate", "-f", "lab.yaml"]));
    let words =
        "1 workload declares no duration, so it runs for ever (ops/web): write its spec.expectedDuration";
    assert!(table.contains(words), "{table}");
    let report = json(&["simulate", "-f", "lab.yaml", "-o", "json", "--default-duration", "10m"]);
    assert_eq!(workload(&report["variants"][0], "ops/web")["outcome"], "Removed");
    assert!(!report["notes"].to_string().contains("no duration"), "{}", report["notes"]);
}

#[test]
fn arrivals_and_events_come_from_lists_and_the_same_seed_gives_the_same() {
    let args = [
        "simulate",
        "-f",
        "lab.yaml",
        "--arrivals",
        "arrivals.list",
        "--events",
        "events.list",
        "--seed",
        "7",
        "-o",
        "json",
    ];
    let report = json(&args);
    let variant = &report["variants"][0];
    assert_eq!(variant["workloads"], json(&args)["variants"][0]["workloads"]);
    assert_eq!(workload(variant, "ops/fix")["arrived"], 720.0);
    assert_eq!(variant["workloads"].as_array().unwrap().len(), 15);
    assert!(variant["runs"].as_array().unwrap().iter().any(|run| run["node"] == "node-1-new-1"));
    let other =
        json(&["simulate", "-f", "lab.yaml", "--arrivals", "arrivals.list", "--seed", "8", "-o", "json"]);
    assert_ne!(
        workload(variant, "research/report-5")["arrived"],
        workload(&other["variants"][0], "research/report-5")["arrived"]
    );
}

#[test]
fn unknown_events_are_told_by_field_with_what_to_write() {
    let folder = std::env::temp_dir().join(format!("weir-events-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    for (text, words) in [
        (
            "- {at: 1m, explode: node-1}",
            "entry 1: explode: unknown field `explode`, expected one of `at`, `workload`",
        ),
        (
            "- {at: 1m, cordon: node-1}\n- {at: 2m, fail: node-9}",
            "entry 2: fail: there is no node \"node-9\": write one of node-1, node-2",
        ),
        (
            "- {at: 1x, fail: node-1}",
            "entry 1: at: \"1x\" is not a duration: write hours, minutes and seconds",
        ),
        ("- {at: 1m}", "entry 1: nothing happens: write exactly one of workload, delete, fail"),
        ("- {at: 1m, fail: node-1, drain: node-1}", "entry 1: fail and drain at once: write exactly one of"),
        (
            "- {at: 1m, workload: nope}",
            "workload: there is no workload \"nope\" among the manifests: write one of research/train",
        ),
        (
            "- {at: 1m, workload: fix, every: 1m}",
            "every and poisson say how far arrivals are apart: write count, too",
        ),
        ("- {at: 1m, fail: node-1, count: 2}", "belong to workload: leave them out"),
        (
            "- {at: 1m, join: {like: node-1, name: node-2}}",
            "join.name: there is a node node-2 already: write another name, or leave it out",
        ),
        (
            "- {at: 1m, join: {like: node-1, name: A b}}",
            "join.name: \"A b\" is no name of a node: write lower-case letters",
        ),
        ("- 5", "entry 1: invalid type: integer `5`, expected an entry such as {at: 10m, fail: node-1}"),
        ("at: 1m", "this is no list: write entries such as `- {at: 10m, fail: node-1}`"),
    ] {
        let path = folder.join("events");
        std::fs::write(&path, text).unwrap();
        let error = refused(&["simulate", "-f", "lab.yaml", "--events", path.to_str().unwrap()], 1);
        assert!(error.contains(words), "{text}: {error}");
    }
    std::fs::remove_dir_all(&folder).unwrap();
    let error = refused(&["simulate"], 1);
    assert!(
        error.contains("there is nothing to read: give manifests with -f PATH, or --from-cluster"),
        "{error}"
    );
    let error = refused(&["simulate", "-f", "lab.yaml", "--compare", "fcfs,fifo"], 1);
    assert!(
        error.contains("\"fifo\" is no policy, queueing or placement strategy: write one of declared"),
        "{error}"
    );
}

#[test]
fn ways_are_put_side_by_side() {
    let twice =
        json(&["simulate", "-f", "lab.yaml", "--compare", "fcfs,fcfs", "-o", "json", "--until", "1d"]);
    assert_eq!(twice["variants"].as_array().unwrap().len(), 1, "twice the same is once");
    let ways = "declared,fcfs,priority,fairshare+backfill,roundrobin,binpack,spread";
    let output = weir(&["simulate", "-f", "lab.yaml", "--arrivals", "arrivals.list", "--compare", ways]);
    let table = said(&output);
    for way in ways.split(',') {
        assert!(table.lines().any(|line| line.starts_with(&format!("{way} "))), "{way}: {table}");
    }
    assert!(table.contains("roundrobin: pool batch has no timeSlice: taken to be 10m"), "{table}");
}

#[test]
fn the_solver_is_put_beside_other_ways() {
    let report = json(&["simulate", "-f", "batch.yaml", "--compare", "declared,optimal", "-o", "json"]);
    // By hand, at 0 and at ten minutes: six and then both of five; or both of five and then six.
    let starts = |variant: usize| {
        ["team/six", "team/five", "team/other"].map(|name| {
            let start = &workload(&report["variants"][variant], name)["start"];
            start.as_f64().unwrap().to_string()
        })
    };
    assert_eq!(starts(0), ["0", "600", "600"]);
    assert_eq!(starts(1), ["600", "0", "0"]);
    assert!(
        report["notes"].to_string().contains("optimal: pool one: queueing is taken to be BestEffort"),
        "{report}"
    );
    let error = refused(&["simulate", "-f", "batch.yaml", "--policy", "optimal+backfill"], 1);
    assert!(error.contains("join optimal with fcfs, priority or besteffort"), "{error}");
}

#[test]
fn what_if_says_who_would_be_disturbed_and_exits_with_2_if_somebody_is_evicted() {
    let args = ["what-if", "-f", "full.yaml", "--with", "urgent.yaml"];
    let output = weir(&args);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let table = said(&output);
    for words in [
        "What if workload team/outage is applied, workload team/monster is applied?",
        "1 workload would be evicted, 1 workload would never fit",
        "team/low   one    +1s    Preempted   team/outage   +25m 1s   +20m",
    ] {
        assert!(table.contains(words), "{words:?} is not in\n{table}");
    }
    let found = json(&[&args[..], &["-o", "json"]].concat());
    assert_eq!(found["evicted"][0]["workload"], "team/low");
    assert_eq!(found["neverFit"][0]["workload"], "team/monster");
    assert!(!found["neverFit"][0]["why"].as_str().unwrap().is_empty(), "{found}");
    let markdown = said(&weir(&[&args[..], &["-o", "markdown"]].concat()));
    assert!(markdown.starts_with("### What if workload team/outage is applied"), "{markdown}");
    assert!(markdown.contains("| team/low | one | +1s | Preempted | team/outage |"), "{markdown}");
}

#[test]
fn what_if_tells_what_nodes_are_worth() {
    let more = json(&["what-if", "-f", "lab.yaml", "--add-nodes", "2", "--like", "node-1", "-o", "json"]);
    assert_eq!(more["earlier"][0]["workload"], "research/train");
    assert_eq!((&more["earlier"][0]["before"], &more["earlier"][0]["after"]), (&900.0.into(), &1.0.into()));
    assert_eq!(
        weir(&["what-if", "-f", "lab.yaml", "--add-nodes", "2", "--like", "node-1"]).status.code(),
        Some(0)
    );
    let less = json(&["what-if", "-f", "lab.yaml", "--without", "node-2", "-o", "json"]);
    assert!(less["evicted"].to_string().contains("NodeLost"), "{less}");
    assert_eq!(less["neverFit"][0]["workload"], "research/train", "{less}");
    assert_eq!(weir(&["what-if", "-f", "lab.yaml", "--without", "node-2"]).status.code(), Some(2));
    let drained = json(&["what-if", "-f", "lab.yaml", "--drain", "node-2", "-o", "json"]);
    assert!(drained["moved"].to_string().contains("ops/web"), "{drained}");
}

/// Writes a list for `--events` or `--arrivals`, which the test may delete with its folder.
fn list(name: &str, text: &str) -> (PathBuf, String) {
    let folder = std::env::temp_dir().join(format!("weir-list-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("list"), text).unwrap();
    let path = folder.join("list").to_str().unwrap().to_owned();
    (folder, path)
}

#[test]
fn what_begins_anew_on_another_node_is_evicted_and_what_keeps_running_moves() {
    let drain = ["what-if", "-f", "pair.yaml", "--drain", "n1"];
    let output = weir(&drain);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let table = said(&output);
    let words = "team/run   lab    +1s    Drained   -     +2h    +2h";
    assert!(table.contains("1 workload would be evicted, 1 workload would move"), "{table}");
    assert!(table.contains(words), "{words:?} is not in\n{table}");

    // The other node fails half an hour later, and is lost after five minutes.
    let (folder, events) = list("pair", "- {at: 30m, fail: n2}");
    let found = json(&[&drain[..], &["--events", &events, "-o", "json"]].concat());
    let evicted = |name: &str| {
        let all = found["evicted"].as_array().unwrap();
        let one = all.iter().find(|one| one["workload"] == name).unwrap();
        (one["reason"].as_str().unwrap().to_owned(), one["at"].as_f64().unwrap().to_string())
    };
    assert_eq!(evicted("team/run"), ("Drained".to_owned(), "1".to_owned()));
    assert_eq!(evicted("team/service"), ("NodeLost".to_owned(), "2100".to_owned()));

    // Where it runs in the end is told, and why it took longer.
    std::fs::write(&events, "- {at: 10m, drain: n1}").unwrap();
    let table = said(&weir(&["simulate", "-f", "pair.yaml", "--events", &events]));
    for words in [
        "1 workload runs for ever, 0 wait for ever",
        "n2      Running, no duration is known; moved 1 member",
        "+2h 10m   n2      Completed; evicted 1 member, which began anew (Drained)",
    ] {
        assert!(table.contains(words), "{words:?} is not in\n{table}");
    }
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn no_two_arrivals_are_the_same() {
    let (folder, arrivals) = list(
        "twice",
        "
- {at: 5m, workload: research/report, count: 2}
- {at: 5m, workload: research/report, count: 2}
- {at: 6m, workload: research/report}
- {at: 7m, workload: ops/fix}
- {at: 7m, workload: ops/fix}
",
    );
    let report = json(&["simulate", "-f", "lab.yaml", "--arrivals", &arrivals, "-o", "json"]);
    let all = report["variants"][0]["workloads"].as_array().unwrap();
    let mut ended: Vec<&str> = all
        .iter()
        .filter(|one| one["outcome"] == "Completed")
        .map(|one| one["name"].as_str().unwrap())
        .collect();
    ended.sort_unstable();
    let reports = [1, 2, 3, 4, 5].map(|number| format!("research/report-{number}"));
    let expected = ["ops/fix", "ops/fix-2"].into_iter().chain(reports.iter().map(String::as_str));
    assert_eq!(ended, expected.chain(["research/train"]).collect::<Vec<_>>());
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn what_if_exits_with_1_where_it_cannot_tell() {
    let error = refused(&["what-if", "-f", "lab.yaml"], 1);
    assert!(error.contains("nothing changes: give --with FILE, --drain NODE"), "{error}");
    let error = refused(&["what-if", "-f", "lab.yaml", "--drain", "node-7"], 1);
    assert!(error.contains("--drain: there is no node \"node-7\": write one of node-1, node-2"), "{error}");
    let error = refused(&["what-if", "-f", "nowhere.yaml", "--drain", "node-1"], 1);
    assert!(error.contains("cannot read nowhere.yaml"), "{error}");
    refused(&["what-if", "-f", "lab.yaml", "--explode"], 1);
    assert_eq!(weir(&["what-if", "--help"]).status.code(), Some(0));
}

/// The program of a real browser: that of `WEIR_CHROMIUM`, or what tools.sh finds or installs.
fn chromium() -> PathBuf {
    let output = Command::new(root().join("tests/controlplane/tools.sh")).arg("chromium").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    PathBuf::from(String::from_utf8(output.stdout).unwrap().trim())
}

/// What a real browser makes of a page, without a network; its console says nothing.
fn browsed(page: &Path) -> String {
    let profile = page.with_extension("profile");
    let output = Command::new(chromium())
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--enable-logging=stderr",
        ])
        // Whatever it might fetch, it could not.
        .args(["--proxy-server=127.0.0.1:9", "--virtual-time-budget=5000", "--dump-dom"])
        .arg(format!("--user-data-dir={}", profile.display()))
        .arg(format!("file://{}", page.display()))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let (dom, log) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let console: Vec<&str> = log.lines().filter(|line| line.contains("CONSOLE")).collect();
    assert_eq!(console, [""; 0], "the page's console says something");
    assert!(dom.contains("data-drawn=\"yes\""), "the page is not drawn to its end:\n{dom}\n{log}");
    dom.into_owned()
}

#[test]
fn the_page_is_drawn_in_a_real_browser_without_a_network() {
    let folder = std::env::temp_dir().join(format!("weir-page-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let args =
        ["simulate", "-f", "lab.yaml", "--arrivals", "arrivals.list", "--compare", "declared,fairshare"];
    let page = said(&weir(&[&args[..], &["-o", "html"]].concat()));
    let report = json(&[&args[..], &["-o", "json"]].concat());
    std::fs::write(folder.join("page.html"), page).unwrap();
    let dom = browsed(&folder.join("page.html"));
    let runs = report["variants"][0]["runs"].as_array().unwrap().len();
    assert!(
        runs > 10 && dom.matches("class=\"run\"").count() == runs,
        "{} of {runs} runs are drawn",
        dom.matches("class=\"run\"").count()
    );
    // A line for each pool in both charts.
    assert_eq!(dom.matches("<polyline").count(), 6);
    assert!(dom.contains("research/report-12") && dom.contains("Side by side"));
    std::fs::remove_dir_all(&folder).unwrap();
}
