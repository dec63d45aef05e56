//! `weir plan` as a user runs it.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

const KINDS: &str = "
kinds:
- {name: cpu-16, price: 10, allocatable: {cpu: '16', memory: 64Gi}}
- {name: gpu-4, price: 60, allocatable: {cpu: '32', memory: 128Gi, nvidia.com/gpu: '4'}}
";

const POOL: &str = "
apiVersion: weir.dev/v1alpha1
kind: ResourcePool
metadata: {name: lab}
spec:
  nodes: {selector: {matchLabels: {weir.dev/pool: lab}}}
  resources: [{name: cpu}, {name: memory}, {name: nvidia.com/gpu}]
  placement: {strategy: BinPack}
  access: {namespaces: {}}
";

/// A workload of members with that many CPUs and GPUs, which runs for an hour.
fn work(name: &str, replicas: u32, cpus: u32, gpus: u32) -> String {
    format!(
        "---
apiVersion: weir.dev/v1alpha1
kind: PooledWorkload
metadata: {{name: {name}, namespace: team}}
spec:
  pool: lab
  replicas: {replicas}
  expectedDuration: 1h
  template:
    pod:
      spec:
        containers:
        - {{name: main, image: x, resources: {{requests: {{cpu: '{cpus}', memory: 1Gi, nvidia.com/gpu: '{gpus}'}}, limits: {{nvidia.com/gpu: '{gpus}'}}}}}}
"
    )
}

struct Files(PathBuf);

impl Files {
    fn new(name: &str, work: &str, kinds: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("weir-plan-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("work.yaml"), format!("{POOL}{work}")).unwrap();
        std::fs::write(folder.join("kinds.txt"), kinds).unwrap();
        Self(folder)
    }

    /// Whether it succeeded, and what it said.
    fn plan(&self, more: &[&str]) -> (bool, String) {
        let path = |name: &str| -> PathBuf { Path::new(&self.0).join(name) };
        let output = Command::new(env!("CARGO_BIN_EXE_weir"))
            .arg("plan")
            .arg("--for")
            .arg(path("work.yaml"))
            .arg("--kinds")
            .arg(path("kinds.txt"))
            // However busy the machine is: what is found is not to hang on it.
            .args(if more.contains(&"--time-limit") { &[][..] } else { &["--time-limit", "20m"][..] })
            .args(more)
            .output()
            .unwrap();
        let told = if output.status.success() { output.stdout } else { output.stderr };
        (output.status.success(), String::from_utf8(told).unwrap())
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn counts(plan: &Value) -> Vec<u64> {
    plan["kinds"].as_array().unwrap().iter().map(|kind| kind["nodes"].as_u64().unwrap()).collect()
}

#[test]
fn the_cheapest_nodes_are_found_and_fewer_where_work_may_wait() {
    // Twelve members of 4 GPUs, and forty of 8 CPUs.
    let work: String = (0..12).map(|one| work(&format!("train-{one}"), 1, 8, 4)).collect::<String>()
        + &(0..40).map(|one| self::work(&format!("batch-{one}"), 1, 8, 0)).collect::<String>();
    let files = Files::new("cheap", &work, KINDS);
    let (fine, text) = files.plan(&["-o", "json"]);
    assert!(fine, "{text}");
    let plan: Value = serde_json::from_str(&text).unwrap();
    // Beside each member with GPUs there is room for three without: 36 of 40, and two nodes for the rest.
    assert_eq!(counts(&plan), [2, 12]);
    assert!(plan["bound"].as_f64().unwrap() <= 740.0 && plan["bound"].as_f64().unwrap() > 700.0, "{plan}");
    assert_eq!((plan["cost"].as_f64(), plan["longestWaitSeconds"].as_i64()), (Some(740.0), Some(0)));
    // Within two hours three rounds of an hour can start.
    let (fine, text) = files.plan(&["-o", "json", "--wait", "2h"]);
    assert!(fine, "{text}");
    let later: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(counts(&later)[1], 4, "a third of the nodes with GPUs: {later}");
    assert!(later["cost"].as_f64().unwrap() < 300.0 && later["longestWaitSeconds"] == 7200, "{later}");
    assert!(later["bound"].as_f64().unwrap() <= later["cost"].as_f64().unwrap());
    let (fine, text) = files.plan(&["-o", "yaml", "--wait", "2h"]);
    assert!(fine && text.contains("\nbound: "), "{text}");
    let yaml: Value = serde_yaml::from_str(&text).unwrap();
    assert_eq!((&yaml["kinds"], &yaml["longestWaitSeconds"]), (&later["kinds"], &7200.into()));
    let (fine, table) = files.plan(&[]);
    assert!(fine && table.contains("gpu-4") && table.contains("740.00 in all"), "{table}");
}

#[test]
fn what_no_nodes_would_do_names_what_is_in_the_way() {
    let files = Files::new("large", &work("huge", 1, 8, 8), KINDS);
    let (fine, told) = files.plan(&[]);
    assert!(!fine && told.contains("8 of nvidia.com/gpu on one node"), "{told}");
    assert!(told.contains("the most that a kind has is 4 (gpu-4)"), "{told}");

    let few = KINDS.replace("price: 60,", "price: 60, most: 2,");
    let files = Files::new("few", &work("gang", 3, 8, 4), &few);
    let (fine, told) = files.plan(&[]);
    assert!(!fine && (told.contains("`most`") && told.contains("gang")), "{told}");

    let many: String = (0..3).map(|one| work(&format!("one-{one}"), 1, 8, 4)).collect();
    let files = Files::new("many", &many, &few);
    let (fine, told) = files.plan(&[]);
    assert!(!fine && told.contains("asks for 12 of nvidia.com/gpu") && told.contains("have 8"), "{told}");

    let odd = KINDS.replace("price: 60,", "price: 60, labels: {example.com/gpu: big one},");
    let files = Files::new("label", &many, &odd);
    let (fine, told) = files.plan(&[]);
    assert!(
        !fine && told.contains("kinds[1].labels: \"example.com/gpu\": \"big one\" is no label"),
        "{told}"
    );

    let files = Files::new("typo", &many, &KINDS.replace("price", "prize"));
    let (fine, told) = files.plan(&[]);
    assert!(!fine && told.contains("prize"), "{told}");
}

#[test]
fn limits_of_pools_that_bind_are_named_and_more_nodes_are_not_tried_in_vain() {
    let files = Files::new("limit", &(work("one", 1, 6, 0) + &work("two", 1, 6, 0)), KINDS);
    let manifests = files.0.join("work.yaml");
    let limited =
        std::fs::read_to_string(&manifests).unwrap().replace("{name: cpu}", "{name: cpu, limit: '10'}");
    std::fs::write(&manifests, &limited).unwrap();
    let (fine, told) = files.plan(&[]);
    for words in [
        "no nodes were found that do, and more would not help: with ",
        "team/two waits for longer than 0s: pool \"lab\": limit cpu=10 would be passed by 2",
    ] {
        assert!(!fine && told.contains(words), "{words:?} is not in {told}");
    }
    // An hour later there is room.
    let (fine, told) = files.plan(&["--wait", "1d1h"]);
    assert!(fine, "{told}");
    let running = limited.replace("access:", "limits: {maxRunning: 1}\n  access:");
    std::fs::write(&manifests, running.replace("limit: '10'", "limit: '20'")).unwrap();
    let (fine, told) = files.plan(&[]);
    assert!(!fine && told.contains("pool \"lab\": limits.maxRunning=1 workloads run already"), "{told}");
}

#[test]
fn the_company_of_the_examples_is_told_what_binds_there() {
    let kinds = "
kinds:
- {name: cpu-16, price: 10, allocatable: {cpu: '16', memory: 64Gi}, labels: {kind: cpu}}
- {name: gpu-4, price: 60, most: 20, allocatable: {cpu: '32', memory: 128Gi, nvidia.com/gpu: '4'}, labels: {kind: gpu}}
";
    let files = Files::new("company", "", kinds);
    let company = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/company");
    let output = Command::new(env!("CARGO_BIN_EXE_weir"))
        .args(["plan", "--time-limit", "20m", "--for"])
        .args([&*company, Path::new("--kinds"), &files.0.join("kinds.txt")])
        .output()
        .unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    for words in [
        "more would not help",
        "pool \"analytics\": limit cpu=300 would be passed by 36",
        "limit nvidia.com/gpu=40",
    ] {
        assert!(!output.status.success() && told.contains(words), "{words:?} is not in {told}");
    }
}

#[test]
fn nodes_that_are_there_already_count() {
    let node = |cpus: u32| {
        format!(
            "---
apiVersion: v1
kind: Node
metadata: {{name: there, labels: {{weir.dev/pool: lab}}}}
status: {{allocatable: {{cpu: '{cpus}', memory: 64Gi, pods: '110'}}}}
"
        )
    };
    let small = "kinds: [{name: small, price: 1, most: 2, allocatable: {cpu: '2', memory: 8Gi}}]";
    // Nothing has to be bought, though all that could be is too small.
    let files = Files::new("there", &(work("one", 1, 6, 0) + &node(10)), small);
    let (fine, text) = files.plan(&["-o", "json"]);
    assert!(fine, "{text}");
    let plan: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((counts(&plan), plan["cost"].as_f64()), (vec![0], Some(0.0)));
    // Of five workloads three are on the node that is there, and the bound knows it.
    let five: String = (0..5).map(|one| work(&format!("w{one}"), 1, 3, 0)).collect();
    let kinds = "kinds: [{name: four, price: 7, allocatable: {cpu: '4', memory: 8Gi}}]";
    let files = Files::new("beside", &(five.clone() + &node(10)), kinds);
    let (fine, text) = files.plan(&["-o", "json"]);
    assert!(fine, "{text}");
    let plan: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(counts(&plan), [2]);
    assert!(plan["bound"].as_f64().unwrap() > 8.0, "{plan}");
    // A node that no pool selects does not.
    let other = node(10).replace("weir.dev/pool: lab", "weir.dev/pool: other");
    let files = Files::new("other", &(five + &other), kinds);
    let (fine, text) = files.plan(&["-o", "json"]);
    assert!(fine, "{text}");
    assert_eq!(counts(&serde_json::from_str(&text).unwrap()), [5]);
}

#[test]
fn a_search_without_time_says_so() {
    let files = Files::new("time", &work("one", 1, 8, 0), KINDS);
    let (fine, told) = files.plan(&["--time-limit", "0s"]);
    assert!(
        !fine && told.contains("no nodes were found within 0s that do. Give a longer --time-limit"),
        "{told}"
    );
}
