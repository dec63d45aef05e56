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

    let files = Files::new("typo", &many, &KINDS.replace("price", "prize"));
    let (fine, told) = files.plan(&[]);
    assert!(!fine && told.contains("prize"), "{told}");
}
