//! Objects as expectations speak of them, and the comparison.
//!
//! An expectation is compared field by field with a view: maps may leave out, lists and texts must be equal,
//! `message` must be contained, `null` must be absent. A text in place of a map is the phase; `gone` is an
//! object that is not there.

use serde_json::{Map, Value, json};

use super::expand::Key;
use super::file::Expect;

/// Whoever can show objects.
pub trait Look {
    /// The object as the API server has it.
    fn get(&self, key: &Key) -> Option<Value>;
    /// Admissions since the beginning, by name, in order; what is in one group has no order.
    fn starts(&self) -> Vec<Vec<String>>;
    /// Writes of taints of a node since the beginning; none where they are not counted.
    fn node_writes(&self, node: &str) -> Option<u32>;
    /// Writes since the beginning about a workload; none where they are not counted.
    fn writes(&self, workload: &Key) -> Option<Value>;
    /// Events since the beginning about an object, each its reason and its note.
    fn events(&self, object: &Key) -> Vec<(String, String)>;
}

/// What is not as it is expected to be.
pub fn compare(expect: &Expect, look: &dyn Look) -> Vec<String> {
    let mut wrong = Vec::new();
    for (kind, view, all) in [
        ("PooledWorkload", workload as fn(&Value) -> Value, &expect.workloads),
        ("ResourcePool", pool, &expect.pools),
        ("Pod", pod, &expect.pods),
        ("VirtualMachine", machine, &expect.machines),
        ("VirtualMachineInstance", instance, &expect.instances),
        ("Node", node, &expect.nodes),
    ] {
        for (name, expected) in all {
            let key = Key::named(kind, name);
            let seen = look.get(&key).map(|object| view(&object));
            hold_one(&format!("{kind} {name}"), expected, seen.as_ref(), &mut wrong);
        }
    }
    if let Some(expected) = &expect.starts {
        let seen = look.starts();
        if !is_order_of(expected, &seen) {
            wrong.push(format!("starts: expected {expected:?}, and it was {seen:?}"));
        }
    }
    for (name, expected) in &expect.node_writes {
        if let Some(seen) = look.node_writes(name).filter(|seen| seen != expected) {
            wrong.push(format!("writes of node {name}: expected {expected}, and it was {seen}"));
        }
    }
    for (name, expected) in &expect.writes {
        if let Some(seen) = look.writes(&Key::named("PooledWorkload", name)) {
            hold(&format!("writes of {name}"), "", expected, Some(&seen), &mut wrong);
        }
    }
    for (name, expected) in &expect.events {
        let mut seen = Map::new();
        for (reason, note) in Key::parse(name).map(|key| look.events(&key)).unwrap_or_default() {
            let count = seen.get(&reason).and_then(|one: &Value| one["count"].as_u64()).unwrap_or(0) + 1;
            seen.insert(reason, json!({"count": count, "message": note}));
        }
        hold_one(&format!("events of {name}"), expected, Some(&Value::Object(seen)), &mut wrong);
    }
    wrong
}

/// Whether `expected` is one of the orders that `seen` allows.
fn is_order_of(expected: &[String], seen: &[Vec<String>]) -> bool {
    let mut rest = expected;
    for group in seen {
        if rest.len() < group.len() {
            return false;
        }
        let (these, later) = rest.split_at(group.len());
        let (mut these, mut group) = (these.to_vec(), group.clone());
        these.sort();
        group.sort();
        if these != group {
            return false;
        }
        rest = later;
    }
    rest.is_empty()
}

fn hold_one(what: &str, expected: &Value, seen: Option<&Value>, wrong: &mut Vec<String>) {
    match (expected, seen) {
        (Value::String(word), None) if word == "gone" => {}
        (Value::String(word), Some(seen)) if word == "gone" => {
            wrong.push(format!("{what}: expected to be gone, and it is {}", short(seen)));
        }
        (_, None) => wrong.push(format!("{what}: is not there")),
        (Value::String(word), Some(seen)) => hold(what, ".phase", &json!(word), seen.get("phase"), wrong),
        (_, Some(seen)) => {
            let before = wrong.len();
            hold(what, "", expected, Some(seen), wrong);
            if wrong.len() > before {
                wrong.push(format!("    {what} is {}", short(seen)));
            }
        }
    }
}

fn hold(what: &str, at: &str, expected: &Value, seen: Option<&Value>, wrong: &mut Vec<String>) {
    let nothing = Value::Null;
    let value = seen.unwrap_or(&nothing);
    let is_message = at.ends_with(".message") || at.contains(".messages.");
    match expected {
        Value::Object(fields) => {
            for (key, part) in fields {
                hold(what, &format!("{at}.{key}"), part, value.get(key), wrong);
            }
        }
        Value::String(words) if is_message => {
            if !value.as_str().is_some_and(|text| text.contains(words)) {
                wrong.push(format!("{what}: {at} does not say {words:?}: {value}"));
            }
        }
        Value::Array(all) if is_message => {
            for words in all {
                hold(what, at, words, seen, wrong);
            }
        }
        _ if expected == value => {}
        _ => wrong.push(format!("{what}: {at} expected {expected}, and it is {value}")),
    }
}

fn short(value: &Value) -> String {
    value.to_string()
}

fn put(view: &mut Map<String, Value>, key: &str, value: &Value) {
    if !value.is_null() {
        view.insert(key.to_owned(), value.clone());
    }
}

fn conditions(view: &mut Map<String, Value>, status: &Value) {
    let list = || status["conditions"].as_array().into_iter().flatten();
    let by_type = |field: &str| -> Value {
        let pairs =
            list().map(|one| (one["type"].as_str().unwrap_or_default().to_owned(), one[field].clone()));
        Value::Object(pairs.collect())
    };
    view.insert("conditions".to_owned(), by_type("status"));
    view.insert("reasons".to_owned(), by_type("reason"));
    view.insert("messages".to_owned(), by_type("message"));
    if let Some(ready) = list().find(|one| one["type"] == "Ready") {
        put(view, "reason", &ready["reason"]);
        put(view, "message", &ready["message"]);
    }
}

/// What became of a request to move members: `state` and `message`.
fn asked(view: &mut Map<String, Value>, request: &Value) {
    if !request.is_null() {
        view.insert("asked".to_owned(), json!({"state": request["state"], "message": request["message"]}));
    }
}

/// A workload: `phase`, `reason`, `message`, `node`, `nodes`, `members`, `conditions`, `reasons`, `messages`,
/// `position`, `ahead`, `earliest` and `likely` (its estimated start), `evictions`, `priority`, `succeeded` and `failed` (indexes), `failures`, `replicas` (as
/// admitted), `charged`, `pending` (resources and nodes by reason), `labels`.
fn workload(object: &Value) -> Value {
    let status = &object["status"];
    let mut view = Map::new();
    conditions(&mut view, status);
    put(&mut view, "phase", &status["phase"]);
    put(&mut view, "members", &status["members"]);
    put(&mut view, "position", &status["queue"]["position"]);
    put(&mut view, "ahead", &status["queue"]["ahead"]);
    put(&mut view, "earliest", &status["queue"]["estimatedStart"]["earliest"]);
    put(&mut view, "likely", &status["queue"]["estimatedStart"]["likely"]);
    put(&mut view, "evictions", &status["evictions"]);
    put(&mut view, "priority", &status["priority"]);
    put(&mut view, "succeeded", &status["succeededIndexes"]);
    put(&mut view, "failed", &status["failedIndexes"]);
    put(&mut view, "failures", &status["failures"]);
    asked(&mut view, &status["migrationRequest"]);
    put(&mut view, "replicas", &status["allocation"]["replicas"]);
    put(&mut view, "charged", &status["allocation"]["resources"]);
    put(&mut view, "memoryOverhead", &status["allocation"]["memoryOverhead"]);
    put(&mut view, "node", &status["summary"]["node"]);
    let placements = || status["placements"].as_array().into_iter().flatten();
    let moves: Vec<Value> = placements().map(|one| one["migration"]["node"].clone()).collect();
    view.insert("moves".to_owned(), Value::Array(moves));
    let nodes: Vec<Value> = placements().map(|one| one["node"].clone()).collect();
    view.insert("nodes".to_owned(), Value::Array(nodes));
    let pending = &status["pending"];
    if !pending.is_null() {
        put(&mut view, "reason", &pending["reason"]);
        put(&mut view, "message", &pending["message"]);
        let mut rejected = Map::new();
        for one in pending["nodes"]["rejected"].as_array().into_iter().flatten() {
            rejected.insert(one["reason"].as_str().unwrap_or_default().to_owned(), one["count"].clone());
        }
        let mut seen = by_name(&pending["resources"]);
        seen.insert("nodes".to_owned(), pending["nodes"]["total"].clone());
        seen.insert("rejected".to_owned(), Value::Object(rejected));
        view.insert("pending".to_owned(), Value::Object(seen));
    }
    Value::Object(view)
}

fn by_name(list: &Value) -> Map<String, Value> {
    let all = list.as_array().into_iter().flatten();
    all.map(|one| {
        let mut one = one.clone();
        let name = one.as_object_mut().and_then(|one| one.remove("name")).unwrap_or_default();
        (name.as_str().unwrap_or_default().to_owned(), one)
    })
    .collect()
}

/// A pool: its resources by name, `nodes`, `queued`, `running`, `finished`, `failed`, `conditions`, `reasons`,
/// `messages`, `reason`, `message`, `forecast` (time by resource), `optimal`, and as its phase `Ready`, `NotReady` or `Deleting`.
fn pool(object: &Value) -> Value {
    let status = &object["status"];
    let mut view = by_name(&status["resources"]);
    conditions(&mut view, status);
    put(&mut view, "nodes", &status["nodes"]);
    put(&mut view, "drain", &status["drain"]);
    put(&mut view, "labelled", &status["adopted"]);
    asked(&mut view, &status["appliedRecommendation"]);
    put(&mut view, "optimal", &status["optimal"]);
    let recommended = status["recommendations"].as_array().into_iter().flatten();
    let recommended = recommended.map(|one| {
        let mut one = one.clone();
        one.as_object_mut().map(|fields| fields.remove("id"));
        one
    });
    view.insert("recommendations".to_owned(), Value::Array(recommended.collect()));
    for count in ["queued", "running", "finished", "failed"] {
        put(&mut view, count, &status["workloads"][count]);
    }
    let phase = if !object["metadata"]["deletionTimestamp"].is_null() {
        "Deleting"
    } else if view["conditions"]["Ready"] == "True" {
        "Ready"
    } else {
        "NotReady"
    };
    view.insert("phase".to_owned(), json!(phase));
    let forecast = status["forecast"].as_array().into_iter().flatten();
    let forecast = forecast
        .map(|one| (one["resource"].as_str().unwrap_or_default().to_owned(), one["exhaustedAt"].clone()));
    view.insert("forecast".to_owned(), Value::Object(forecast.collect()));
    Value::Object(view)
}

/// A machine: `phase` (what it prints), `runStrategy`, `labels`, `annotations`, `disks` (its data volumes), `requests`,
/// `tolerations` (of Weir's taint).
fn machine(object: &Value) -> Value {
    let mut view = Map::new();
    put(&mut view, "phase", &object["status"]["printableStatus"]);
    put(&mut view, "runStrategy", &object["spec"]["runStrategy"]);
    put(&mut view, "labels", &object["metadata"]["labels"]);
    put(&mut view, "annotations", &object["metadata"]["annotations"]);
    let disks = object["spec"]["dataVolumeTemplates"].as_array().into_iter().flatten();
    let disks: Vec<Value> = disks.map(|one| one["metadata"]["name"].clone()).collect();
    view.insert("disks".to_owned(), Value::Array(disks));
    put(&mut view, "requests", &object["spec"]["template"]["spec"]["domain"]["resources"]["requests"]);
    view.insert("tolerations".to_owned(), tolerations(&object["spec"]["template"]["spec"]));
    Value::Object(view)
}

fn tolerations(spec: &Value) -> Value {
    let tolerated = spec["tolerations"].as_array().into_iter().flatten();
    Value::Array(tolerated.filter(|one| one["key"] == "weir.dev/pool").cloned().collect())
}

/// What runs of a machine: `phase` (`Terminating` while it is deleted), `node`, `labels`, `annotations`.
fn instance(object: &Value) -> Value {
    let mut view = Map::new();
    put(&mut view, "phase", &object["status"]["phase"]);
    if !object["metadata"]["deletionTimestamp"].is_null() {
        view.insert("phase".to_owned(), json!("Terminating"));
    }
    put(&mut view, "node", &object["status"]["nodeName"]);
    put(&mut view, "labels", &object["metadata"]["labels"]);
    put(&mut view, "annotations", &object["metadata"]["annotations"]);
    Value::Object(view)
}

/// A node: `taints` of Weir's key as `value:effect`, `taintedFor`, `cordoned`.
fn node(object: &Value) -> Value {
    let taints = object["spec"]["taints"].as_array().into_iter().flatten();
    let taints = taints.filter(|taint| taint["key"] == "weir.dev/pool").map(|taint| {
        let text = |field: &str| taint[field].as_str().unwrap_or_default();
        json!(format!("{}:{}", text("value"), text("effect")))
    });
    json!({
        "taints": taints.collect::<Vec<Value>>(),
        "taintedFor": object["metadata"]["annotations"]["weir.dev/tainted-for"],
        "cordoned": object["spec"]["unschedulable"] == true,
    })
}

/// A pod: `phase` (`Terminating` while it is deleted), `node`, `reason`, `labels`, `annotations`, `env`, `requests` and
/// `limits` of its first container, `hostname`, `subdomain`, `restartPolicy`, `owner`.
fn pod(object: &Value) -> Value {
    let mut view = Map::new();
    let spec = &object["spec"];
    put(&mut view, "phase", &object["status"]["phase"]);
    if !object["metadata"]["deletionTimestamp"].is_null() {
        view.insert("phase".to_owned(), json!("Terminating"));
    }
    put(&mut view, "node", &spec["nodeName"]);
    put(&mut view, "reason", &object["status"]["reason"]);
    for field in ["labels", "annotations"] {
        put(&mut view, field, &object["metadata"][field]);
    }
    for field in ["hostname", "subdomain", "restartPolicy"] {
        put(&mut view, field, &spec[field]);
    }
    put(&mut view, "owner", &object["metadata"]["ownerReferences"][0]["name"]);
    for field in ["requests", "limits"] {
        put(&mut view, field, &spec["containers"][0]["resources"][field]);
    }
    view.insert("tolerations".to_owned(), tolerations(spec));
    let environment = spec["containers"][0]["env"].as_array().into_iter().flatten();
    let environment =
        environment.map(|one| (one["name"].as_str().unwrap_or_default().to_owned(), one["value"].clone()));
    view.insert("env".to_owned(), Value::Object(environment.collect()));
    Value::Object(view)
}
