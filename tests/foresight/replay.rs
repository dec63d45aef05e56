//! What `weir replay` says: the program itself, on dumps that are good, damaged, of another version, and with pseudonyms.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use weir::cli::load::Loaded;
use weir::decide::decide;
use weir::dump::{Dump, FORMAT, Lately, State};
use weir::model::time::Time;

use super::{cases, json, refused, said, weir};

/// 2026-11-25T00:00:00Z.
const NOW: Time = Time(1_795_564_800_000);
/// What no dump may hold.
const SECRET: &str = "hunter2-canary";

/// The dump of a folder of manifests, after its first decisions if that is asked for.
fn dump(manifests: &Path, decided: bool) -> Dump {
    let mut loaded = Loaded::new(NOW);
    loaded.files(&[manifests.to_owned()]).unwrap();
    loaded.settle();
    let mut lately = Lately::default();
    if decided {
        for decision in decide(&mut loaded.world, NOW).decisions {
            let known = loaded.catalog.get(decision.workload()).unwrap();
            let title = format!("{}/{}", known.spec.namespace, known.spec.name);
            lately.note(NOW, Some(title.into()), &decision, &loaded.world);
        }
    }
    let state = State { decided: lately.all(), durations: Default::default(), world: loaded.world };
    Dump::new(state, NOW, Some("weir-0".to_owned()))
}

fn scratch(name: &str, text: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("weir-replay-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path
}

fn lab(name: &str, decided: bool) -> String {
    let text = dump(&cases().join("lab.yaml"), decided).text().unwrap();
    scratch(name, &text).display().to_string()
}

fn piped(args: &[&str], text: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_weir"))
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

/// Whatever becomes of a file, it is read as it was written or refused.
#[test]
fn a_damaged_dump_is_never_taken_for_a_sound_one() {
    let good = std::fs::read(cases().join("world.json")).unwrap();
    let sum = Dump::read(std::str::from_utf8(&good).unwrap(), true).unwrap().head.sum;
    let mut random = 7_u64;
    let mut next = |most: usize| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(random >> 33).unwrap() % most
    };
    let mut refused = 0;
    for _ in 0..300 {
        let mut bytes = good.clone();
        let at = next(bytes.len());
        match next(4) {
            0 => bytes.truncate(at),
            1 => bytes[at] = b"0123456789abcz\"{}[],:-"[next(22)],
            2 => drop(bytes.drain(at..(at + 1 + next(40)).min(good.len()))),
            _ => bytes.extend_from_within(at..),
        }
        match Dump::read(&String::from_utf8(bytes).unwrap(), true) {
            Ok(read) => assert_eq!(read.head.sum, sum),
            Err(_) => refused += 1,
        }
    }
    assert!(refused > 200, "{refused} of 300 were refused");
}

/// The dump beside this test is one of this format. Whoever changes what a world is sees it here.
#[test]
fn a_dump_of_this_format_is_still_read() {
    let path = cases().join("world.json");
    let new = dump(&cases().join("lab.yaml"), true).text().unwrap();
    if std::env::var_os("WEIR_GENERATE").is_some() {
        std::fs::write(&path, &new).unwrap();
    }
    let sum = |text: &str| Dump::read(text, true).map(|dump| dump.head.sum);
    let kept = sum(&std::fs::read_to_string(&path).unwrap()).map_err(|error| error.to_string());
    assert_eq!(
        kept,
        Ok(sum(&new).unwrap()),
        "what a world is has changed, or what is decided of tests/foresight/cases/lab.yaml. If a version with dumps of format \
         {FORMAT} was released, raise dump::FORMAT; then run `make generate`"
    );
}

#[test]
fn a_dump_is_replayed_decision_by_decision_with_the_reasons_of_those_who_wait() {
    let path = lab("fresh.json", false);
    let answer = json(&["replay", &path, "-o", "json"]);
    let simulated = json(&["simulate", "-f", "lab.yaml", "-o", "json", "--until", "1s"]);
    let admitted: Vec<&str> = answer["decisions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| {
            assert_eq!(
                (&one["decision"], &one["at"]),
                (&"admit".into(), &"2026-11-25T00:00:00Z".into()),
                "{one}"
            );
            one["workload"].as_str().unwrap()
        })
        .collect();
    let started: Vec<&str> = simulated["variants"][0]["workloads"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|one| !one["start"].is_null())
        .map(|one| one["name"].as_str().unwrap())
        .collect();
    let sorted = |mut all: Vec<&str>| {
        all.sort_unstable();
        all.join(" ")
    };
    assert_eq!(sorted(admitted), sorted(started), "as the simulator begins");
    let waiting = answer["waiting"].as_array().unwrap();
    assert!(
        waiting.iter().any(|one| one["workload"] == "research/train" && one["reason"] == "WaitingForQuota"),
        "{waiting:?}"
    );
    let table = said(&weir(&["replay", &path]));
    for words in [
        "A dump of weir-0, written by weir",
        "at 2026-11-25T00:00:00Z.",
        "3 pools, 2 nodes, 4 workloads (4 queued).",
        "1. admit ops/fix: 1 member on node-1 in pool urgent: its turn by Priority, BestEffort (priority 0, waited 0s); nodes by Balanced; the pool then uses cpu 4 of 16, memory 4Gi of 64Gi",
        "WAITING: 1 workload",
        "research/train",
    ] {
        assert!(table.contains(words), "{words:?} is not in\n{table}");
    }
}

#[test]
fn what_was_decided_before_is_told_and_is_not_decided_again() {
    let path = lab("decided.json", true);
    let answer = json(&["replay", &path, "-o", "json"]);
    assert_eq!(answer["decisions"], serde_json::json!([]), "{answer}");
    assert_eq!(answer["before"].as_array().unwrap().len(), 3, "{answer}");
    assert_eq!(answer["dump"]["workloads"]["Admitted"], 3);
    let one = said(&weir(&["replay", &path, "--why", "ops/fix"]));
    for words in [
        "ops/fix (",
        "in pool urgent: Admitted",
        "wants 1 member, each with cpu 4",
        "member 0, attempt 0, starts on node-1",
        "urgent   cpu",
        "DECIDED OF IT: 1 decision",
    ] {
        assert!(one.contains(words), "{words:?} is not in\n{one}");
    }
    let waits = said(&weir(&["replay", &path, "--why", "research/train"]));
    assert!(
        waits.contains("Queued\n  WaitingForQuota: ")
            && waits.contains("it waits for 0s, is 1 of 1 in its queue")
            && waits.contains("DECIDED OF IT: 0 decisions"),
        "{waits}"
    );
    let nobody = refused(&["replay", &path, "--why", "ops/nobody"], 1);
    assert!(nobody.contains("no workload \"ops/nobody\"") && nobody.contains("ops/fix"), "{nobody}");
}

#[test]
fn a_replay_goes_on_under_a_virtual_clock_as_the_simulator_does() {
    let path = lab("later.json", false);
    let answer = json(&["replay", &path, "-o", "json", "--until", "2h"]);
    let simulated = json(&["simulate", "-f", "lab.yaml", "-o", "json", "--until", "2h"]);
    let of = |report: &Value| {
        let all = report["variants"][0]["workloads"].as_array().unwrap();
        all.iter()
            .map(|one| (one["name"].clone(), one["start"].clone(), one["end"].clone(), one["nodes"].clone()))
            .collect::<Vec<_>>()
    };
    assert_eq!(of(&answer["simulation"]), of(&simulated));
    let table = said(&weir(&["replay", &path, "--until", "2h"]));
    assert!(
        table.contains("DECIDED NOW") && table.contains("Simulated 4 workloads from 2026-11-25T00:00:00Z"),
        "{table}"
    );
    let alone = refused(&["replay", &path, "--default-duration", "2h"], 1);
    assert!(alone.contains("--until"), "{alone}");
}

#[test]
fn with_pseudonyms_the_same_is_decided_and_no_name_is_told() {
    let path = lab("named.json", false);
    let output = weir(&["replay", &path, "--anonymise"]);
    assert!(output.status.success(), "{output:?}");
    let veiled = said(&output);
    for name in ["train", "report", "research", "ops", "urgent", "batch", "lab", "node-1", "weir-0"] {
        assert!(!veiled.contains(&format!("\"{name}\"")), "{name} is in {veiled}");
    }
    let read = piped(&["replay", "-", "-o", "json"], &veiled);
    let veiled: Value = serde_json::from_slice(&read.stdout).unwrap();
    let plain = json(&["replay", &path, "-o", "json"]);
    assert_eq!((&veiled["dump"]["anonymised"], &plain["dump"]["anonymised"]), (&true.into(), &false.into()));
    assert_eq!(veiled["dump"]["operator"], Value::Null);
    // Decision by decision the same, with each name always replaced by the same pseudonym.
    let mut names = std::collections::BTreeMap::new();
    let all = |answer: &Value, part: &str, field: &str| -> Vec<String> {
        answer[part].as_array().unwrap().iter().map(|one| one[field].as_str().unwrap().to_owned()).collect()
    };
    for part in ["decisions", "waiting"] {
        for (plain, veiled) in all(&plain, part, "workload").into_iter().zip(all(&veiled, part, "workload")) {
            assert!(veiled.ends_with("-workload") && veiled.contains("-namespace/"), "{veiled}");
            assert_eq!(names.entry(plain).or_insert_with(|| veiled.clone()), &veiled);
        }
    }
    assert_eq!(names.len(), 4, "{names:?}");
    assert_eq!(all(&plain, "decisions", "decision"), all(&veiled, "decisions", "decision"));
    assert_eq!(all(&plain, "waiting", "reason"), all(&veiled, "waiting", "reason"));
    let order: Vec<&String> = names.values().collect();
    assert!(order.is_sorted(), "pseudonyms are in the order of names: {names:?}");
}

#[test]
fn nothing_of_templates_is_in_a_dump_but_what_is_decided_on() {
    let manifest = format!(
        r#"
apiVersion: v1
kind: Node
metadata: {{name: node-1, annotations: {{note: {SECRET}}}}}
status: {{capacity: {{cpu: "8", memory: 32Gi}}}}
---
apiVersion: weir.dev/v1alpha1
kind: ResourcePool
metadata: {{name: lab, annotations: {{note: {SECRET}}}}}
spec: {{nodes: {{selector: {{}}}}, resources: [{{name: cpu}}], access: {{namespaces: {{}}}}}}
---
apiVersion: weir.dev/v1alpha1
kind: PooledWorkload
metadata: {{name: train, namespace: research, annotations: {{note: {SECRET}}}}}
spec:
  pool: lab
  template:
    pod:
      metadata: {{annotations: {{note: {SECRET}}}}}
      spec:
        serviceAccountName: {SECRET}
        imagePullSecrets: [{{name: {SECRET}}}]
        volumes: [{{name: {SECRET}, secret: {{secretName: {SECRET}}}}}]
        containers:
        - name: {SECRET}
          image: {SECRET}
          command: [{SECRET}]
          args: ["--password={SECRET}"]
          env: [{{name: PASSWORD, value: {SECRET}}}]
          envFrom: [{{secretRef: {{name: {SECRET}}}}}]
          volumeMounts: [{{name: {SECRET}, mountPath: /{SECRET}}}]
          resources: {{requests: {{cpu: "1"}}}}
"#
    );
    for decided in [false, true] {
        let text = dump(&scratch("canary.yaml", &manifest), decided).text().unwrap();
        assert!(text.contains("research") && !text.contains(SECRET), "{text}");
    }
}

#[test]
fn what_is_no_dump_of_this_version_is_refused_with_what_to_do() {
    let good = std::fs::read_to_string(lab("good.json", true)).unwrap();
    let version = format!("\"version\":\"{}\"", env!("CARGO_PKG_VERSION"));
    let refuses = |name: &str, text: &str, words: &[&str]| {
        let said = refused(&["replay", &scratch(name, text).display().to_string()], 1);
        for word in [&[name], words].concat() {
            assert!(said.contains(word), "{word:?} is not in {said}");
        }
        assert!(said.lines().count() == 1 && said.starts_with("error: "), "{said}");
    };
    refuses("empty.json", "", &["no dump of Weir", "/debug/world"]);
    refuses("pod.yaml", "kind: Pod\n", &["no dump of Weir", "/debug/world"]);
    refuses("pod.json", "{\"kind\": \"Pod\"}", &["no dump of Weir", "/debug/world"]);
    refuses("answer.json", "this operator does not lead, and decides nothing", &["no dump of Weir"]);
    refuses("half.json", &good[..good.len() / 2], &["ends in line 1, column", "fetch it again"]);
    refuses(
        "edited.json",
        &good.replace("research", "resaerch"),
        &["damaged or was edited", "fetch it again"],
    );
    refuses(
        "field.json",
        &good.replace("\"settled\":true,", ""),
        &["missing field `settled`", "another build"],
    );
    refuses(
        "version.json",
        &good.replace(&version, "\"version\":\"0.0.9\""),
        &["written by weir 0.0.9", "this is weir", "replay it with that version", "--any-version"],
    );
    refuses(
        "format.json",
        &good
            .replace(&version, "\"version\":\"9.0.0\"")
            .replace(&format!("\"format\":{FORMAT}"), "\"format\":99"),
        &[
            "weir 9.0.0 in format 99",
            &format!("reads format {FORMAT}"),
            "replay it with weir 9.0.0",
            "take a new dump",
        ],
    );
    let missing = refused(&["replay", "/nowhere/world.json"], 1);
    assert!(missing.contains("cannot read /nowhere/world.json"), "{missing}");
    let other = good.replace(&version, "\"version\":\"0.0.9\"");
    let path = scratch("other.json", &other).display().to_string();
    let replayed = said(&weir(&["replay", &path, "--any-version"]));
    assert!(replayed.contains("note: the dump was written by weir 0.0.9, and this is weir"), "{replayed}");
    let packed = piped(&["replay", "-"], "\u{1f}").stderr;
    assert!(String::from_utf8(packed).unwrap().contains("no dump of Weir"));
    let zipped = scratch("zipped.json.gz", "");
    std::fs::write(&zipped, [0x1f, 0x8b, 8, 0]).unwrap();
    assert!(
        refused(&["replay", &zipped.display().to_string()], 1).contains("gunzip -c FILE | weir replay -")
    );
}
