//! The simulator and the real control plane agree: the same pools, nodes and workloads start in the same order, on the same
//! nodes.

use std::process::Command;

use serde_json::{Value, json};

use super::api::{Api, Checks, NODES, POOLS, workloads};
use super::cluster::Cluster;
use super::operator::Account;
use super::web::{Web, port_in_log};

const SPACE: &str = "lab";
/// Starts and ends that are nearer to each other than this may change their order on a busy machine.
const APART: f64 = 3.0;
/// Estimates may be so many seconds away from what happens: pods take a moment to start and to be seen to end, each time.
const WRONG_AT_MOST: f64 = 12.0;

fn pool(name: &str, parent: Option<&str>, reservation: &str, strategy: &str) -> Value {
    let nodes = if parent.is_none() { json!({"selector": {}}) } else { Value::Null };
    json!({"apiVersion": "weir.dev/v1alpha1", "kind": "ResourcePool", "metadata": {"name": name}, "spec": {
        "parent": parent, "nodes": nodes, "placement": {"strategy": strategy},
        "resources": [{"name": "cpu", "reservation": reservation}], "access": {"namespaces": {}}}})
}

/// Name, pool, priority, members, cores of each, seconds that it runs. Members of one workload do not end at the very same time, so
/// only the last has several.
const WORK: [(&str, &str, i32, u32, u32, u32); 9] = [
    ("first", "left", 9, 1, 3, 8),
    ("wide", "left", 8, 1, 4, 22),
    ("small", "right", 7, 1, 2, 5),
    ("next", "right", 6, 1, 2, 19),
    ("large", "left", 5, 1, 4, 14),
    ("block", "right", 4, 1, 4, 7),
    ("late", "left", 3, 1, 3, 15),
    ("tiny", "right", 2, 1, 1, 16),
    ("last", "left", 1, 3, 2, 11),
];

fn work((name, pool, priority, replicas, cores, seconds): (&str, &str, i32, u32, u32, u32)) -> Value {
    json!({
        "apiVersion": "weir.dev/v1alpha1", "kind": "PooledWorkload", "metadata": {"name": name},
        "spec": {"pool": pool, "priority": priority, "replicas": replicas, "expectedDuration": format!("{seconds}s"),
            "template": {"pod": {
                "metadata": {"annotations": {"sim.weir.dev/run-for": format!("{seconds}s")}},
                "spec": {"containers": [{"name": "main", "image": "x", "resources": {
                    "requests": {"cpu": cores.to_string()}}}]}}}},
    })
}

/// Starts in order, those at one time together, by name.
fn groups(mut starts: Vec<(f64, String)>, apart: f64) -> Vec<Vec<String>> {
    starts.sort_by(|one, other| one.partial_cmp(other).unwrap());
    let mut groups: Vec<(f64, Vec<String>)> = Vec::new();
    for (at, name) in starts {
        match groups.last_mut().filter(|(last, _)| at - *last < apart) {
            Some((_, group)) => group.push(name),
            None => groups.push((at, vec![name])),
        }
    }
    groups
        .into_iter()
        .map(|(_, mut group)| {
            group.sort();
            group
        })
        .collect()
}

/// What the program says of the cluster to that user, as JSON.
fn ask(user: &Account, args: &[&str], code: i32) -> Value {
    let output = Command::new(env!("CARGO_BIN_EXE_weir"))
        .args(args)
        .env("KUBECONFIG", user.kubeconfig())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{args:?}: {said}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The version of each pool and workload: it changes with whatever is written. (Nodes tell of themselves.)
async fn versions(api: &Api) -> Vec<(String, String)> {
    let all = api.list(POOLS).await.into_iter().chain(api.list(&workloads(SPACE)).await);
    let text = |one: &Value, field: &str| one["metadata"][field].as_str().unwrap().to_owned();
    all.map(|one| (text(&one, "name"), text(&one, "resourceVersion"))).collect()
}

/// By the audit log that user, who may do everything, has but read; and has read what the answers are made of.
fn nothing_is_written(cluster: &Cluster, user: &Account) {
    let log = std::fs::read_to_string(cluster.path("AUDIT_LOG")).unwrap();
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let asked: Vec<Value> = lines.filter(|line| line["user"]["username"] == *user.user()).collect();
    let of = |resource: &str| asked.iter().filter(|line| line["objectRef"]["resource"] == resource).count();
    assert!(of("resourcepools") >= 4 && of("pooledworkloads") >= 4 && of("nodes") >= 4, "{asked:#?}");
    let writes = |line: &&Value| {
        // To ask what one may do is written as a question that is not kept.
        !["get", "list", "watch"].iter().any(|verb| line["verb"] == *verb)
            && line["objectRef"]["apiGroup"] != "authorization.k8s.io"
    };
    assert_eq!(asked.iter().filter(writes).collect::<Vec<_>>(), [&Value::Null; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_simulation_of_a_cluster_and_the_cluster_agree_on_order_and_places() {
    let mut checks = Checks::begin("simulated");
    let cluster = Cluster::up(&["--no-nodes", "--audit-reads"]);
    let api = Api::new(&cluster.kubeconfig()).await;
    api.small_nodes(3).await;
    api.post(POOLS, pool("all", None, "0", "Balanced")).await;
    api.post(POOLS, pool("left", Some("all"), "6", "BinPack")).await;
    api.post(POOLS, pool("right", Some("all"), "6", "Spread")).await;
    api.namespace(SPACE).await;
    for one in WORK {
        api.post(&workloads(SPACE), work(one)).await;
    }
    for number in 0..3 {
        let ready = |node: &Value| {
            let all = node["status"]["conditions"].as_array().into_iter().flatten();
            all.into_iter().any(|one| one["type"] == "Ready" && one["status"] == "True")
        };
        api.until(&format!("{NODES}/node-{number}"), 30, ready).await;
    }
    checks.ok("a control plane with nodes, pools and workloads is up, and no operator runs yet");

    let versions = versions(&api).await;
    let reader = Account::create(&cluster, &api, "reader").await;
    let report = ask(&reader, &["simulate", "--from-cluster", "-o", "json"], 0);
    let simulated = report["variants"][0]["workloads"].as_array().unwrap();
    assert!(simulated.iter().all(|one| one["outcome"] == "Completed"), "{simulated:#?}");
    let short = |name: &Value| name.as_str().unwrap().split_once('/').unwrap().1.to_owned();
    // Statuses tell of the last start: that is compared.
    let runs = report["variants"][0]["runs"].as_array().unwrap();
    let last_start = |at: usize| {
        let own = runs.iter().filter(|run| run["workload"] == at);
        own.map(|run| run["from"].as_f64().unwrap()).fold(0.0, f64::max)
    };
    let starts: Vec<(f64, String)> =
        simulated.iter().enumerate().map(|(at, one)| (last_start(at), short(&one["name"]))).collect();
    let apart = |mut times: Vec<f64>, what: &str| {
        times.sort_by(f64::total_cmp);
        let near = times.windows(2).find(|pair| pair[1] - pair[0] < APART);
        assert!(near.is_none(), "{what} are too near to each other for a busy machine: {times:?}");
    };
    let mut times: Vec<f64> = starts.iter().map(|(at, _)| *at).collect();
    times.sort_by(f64::total_cmp);
    times.dedup();
    assert!(times.len() >= 5, "few have to wait: {times:?}");
    apart(times, "starts");
    apart(simulated.iter().map(|one| one["end"].as_f64().unwrap()).collect(), "ends");
    assert!(simulated.iter().any(|one| !one["gaveWay"].as_array().unwrap().is_empty()), "nobody gives way");
    checks.ok("it is simulated from the cluster");
    let what_if = ["what-if", "--from-cluster", "-o", "json"];
    let without = ask(&reader, &[&what_if[..], &["--without", "node-0"]].concat(), 2);
    let lost = without["evicted"].as_array().unwrap();
    assert!(lost.iter().any(|one| one["reason"] == "NodeLost" && one["at"] == 1.0), "{without:#}");
    let more = ask(&reader, &[&what_if[..], &["--add-nodes", "3", "--like", "node-1"]].concat(), 0);
    assert!(!more["earlier"].as_array().unwrap().is_empty(), "{more:#}");
    ask(&reader, &["report", "-o", "json"], 0);
    nothing_is_written(&cluster, &reader);
    assert_eq!(self::versions(&api).await, versions);
    checks.ok("what-if tells of a node that is gone and of nodes that join, and nothing was written");

    let account = Account::create(&cluster, &api, "weir-a").await;
    let operator = account.start(&["--metrics-addr", "127.0.0.1:0"]);
    let web = Web::plain(port_in_log(&operator.path(), "serves metrics").await);
    // Those that the simulation starts with the first do not wait.
    let first = starts.iter().map(|(at, _)| *at).fold(f64::INFINITY, f64::min);
    let waiting: Vec<&str> =
        starts.iter().filter(|(at, _)| *at > first + APART).map(|(_, name)| name.as_str()).collect();
    let mut estimated = Vec::new();
    for name in &waiting {
        let path = format!("{}/{name}", workloads(SPACE));
        let told = |one: &Value| {
            one["status"]["queue"]["estimatedStart"]["likely"].is_string()
                || !matches!(one["status"]["phase"].as_str(), None | Some("Queued"))
        };
        let seen = api.until(&path, 20, told).await;
        let time = |which: &str| {
            let at = seen["status"]["queue"]["estimatedStart"][which].as_str()?;
            Some(at.parse::<jiff::Timestamp>().unwrap().as_second())
        };
        estimated.extend(time("earliest").zip(time("likely")).map(|when| (*name, when)));
    }
    assert!(estimated.len() >= 4, "of {waiting:?} only {estimated:?} have an estimate");
    checks.ok("those that wait are told when they start");

    let mut real = Vec::new();
    for (name, ..) in WORK {
        let found = api.until_phase(SPACE, name, "Succeeded", 120).await;
        let started: jiff::Timestamp = found["status"]["startedAt"].as_str().unwrap().parse().unwrap();
        let nodes: Vec<Value> =
            found["status"]["placements"].as_array().unwrap().iter().map(|one| one["node"].clone()).collect();
        let expected = simulated.iter().find(|one| short(&one["name"]) == name).unwrap();
        assert_eq!(Value::Array(nodes), expected["nodes"], "the nodes of {name}");
        real.push((started.as_second() as f64, name.to_owned()));
    }
    let began = real.iter().map(|(at, _)| *at).fold(f64::INFINITY, f64::min);
    let mut compared = 0;
    for (name, (earliest, likely)) in &estimated {
        let expected = simulated.iter().position(|one| short(&one["name"]) == *name).unwrap();
        // Whoever gives way starts twice, and the estimate is of the first time.
        if !simulated[expected]["gaveWay"].as_array().unwrap().is_empty() {
            continue;
        }
        let (at, _) = real.iter().find(|(_, one)| one == name).unwrap();
        let (earliest, likely) = (*earliest as f64, *likely as f64);
        assert!(
            earliest <= likely && (at - likely).abs() <= WRONG_AT_MOST,
            "{name}: {likely} was likely, it was {at}"
        );
        let expected = last_start(expected) - first;
        let told = likely - began;
        assert!(
            (told - expected).abs() <= APART + 1.0,
            "{name}: {expected} s by the simulation, {told} s by the operator"
        );
        compared += 1;
    }
    assert!(compared >= 3, "{estimated:?}");
    let text = web.get("/metrics", None).await.text;
    let count = |line: &&str| line.starts_with("weir_estimated_start_error_seconds_count");
    let counted: f64 =
        text.lines().filter(count).filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum();
    assert!(
        counted >= estimated.len() as f64,
        "{counted} estimates are counted of {}:\n{text}",
        estimated.len()
    );
    checks.ok("estimates were right, and how right is counted");

    assert_eq!(groups(real, APART - 1.0), groups(starts, 0.5), "the order of starts");
    checks.ok("all started in the order and on the nodes that the simulation told");
    operator.stop();
}
