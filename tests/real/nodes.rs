//! Real kubelets and containers, two nodes of them: needs root.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::api::{Api, Checks, NODES, POOLS, pause, pods, workloads};
use super::auditor::{Auditor, Version, cpu, name_of};
use super::cluster::Cluster;
use super::operator::{Account, Operator};

const WORK: &str = "work";

/// A workload of one container that runs a line of shell.
fn shell(name: &str, line: &str) -> Value {
    json!({
        "apiVersion": "weir.dev/v1alpha1", "kind": "PooledWorkload",
        "metadata": {"name": name, "namespace": WORK},
        "spec": {"pool": "real", "template": {"pod": {"spec": {
            "terminationGracePeriodSeconds": 20,
            "automountServiceAccountToken": false,
            "enableServiceLinks": false,
            "containers": [{
                "name": "main", "image": "weir.test/busybox:1", "imagePullPolicy": "Never",
                "command": ["sh", "-c", line],
                "resources": {"requests": {"cpu": "20m", "memory": "16Mi"}},
            }],
        }}}},
    })
}

trait With {
    fn with(self, pointer: &str, value: Value) -> Self;
}

impl With for Value {
    /// Sets a field of the spec, or of the template's pod spec where it begins with `pod/`, or of its container.
    fn with(mut self, path: &str, value: Value) -> Self {
        let pod = "/spec/template/pod/spec";
        let (parent, key) = match path.split_once('/') {
            Some(("pod", key)) => (pod.to_owned(), key),
            Some(("container", key)) => (format!("{pod}/containers/0"), key),
            _ => ("/spec".to_owned(), path),
        };
        self.pointer_mut(&parent).unwrap()[key] = value;
        self
    }
}

struct Bench {
    // First, so that it ends before the cluster does.
    operator: Operator,
    auditor: Auditor,
    api: Api,
    cluster: Cluster,
    checks: Checks,
    /// Thousandths of CPUs that each node has.
    cpus: i64,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn work_runs_ends_fails_stops_and_moves_on_real_nodes() {
    let mut bench = begin().await;
    // The fuller node comes first, and so one of the two volumes is looked for on the wrong one.
    bench.api.post(&workloads(WORK), fills("real-0", bench.cpus)).await;
    bench.api.until_list(&pods_of("fills-real-0"), 20, |pods| pods.len() == 1).await;
    // All at once: they wait for different things.
    bench.ask_for_volumes().await;
    for workload in [ends(), fails(), recovers(), stops(), fills("real-1", bench.cpus)] {
        bench.api.post(&workloads(WORK), workload).await;
    }
    bench.ended().await;
    bench.refused().await;
    bench.failed().await;
    bench.recovered().await;
    bench.stopped_and_resumed().await;
    bench.has_volumes().await;
    bench.operator.assert_alive();
    bench.auditor.assert_sound();
    bench.checks.ok("no node was loaded beyond what it said to offer, and no member lived twice");
    bench.lost().await;
    bench.operator.stop();
}

async fn begin() -> Bench {
    let mut checks = Checks::begin("real nodes");
    let cluster = Cluster::up(&["--no-nodes", "--real", "2", "--node-grace", "10s"]);
    let api = Api::new(&cluster.kubeconfig()).await;
    checks.ok("two kubelets are up");
    let pool = json!({
        "apiVersion": "weir.dev/v1alpha1", "kind": "ResourcePool", "metadata": {"name": "real"},
        "spec": {
            "nodes": {"selector": {"matchLabels": {"kind": "real"}}},
            "resources": [{"name": "cpu"}, {"name": "memory"}],
            "placement": {"strategy": "BinPack"},
            "access": {"namespaces": {}},
        },
    });
    api.post(POOLS, pool).await;
    api.namespace(WORK).await;
    let node = api.get(&format!("{NODES}/real-0")).await.unwrap();
    let cpus = cpu(&node["status"]["allocatable"]["cpu"]);
    let auditor = Auditor::begin(&api).await;
    let account = Account::create(&cluster, &api, "weir-a").await;
    let operator = account.start(&["--lost-after", "15s"]);
    api.until(&format!("{POOLS}/real"), 60, |pool| pool["status"]["nodes"]["ready"] == 2).await;
    checks.ok("the pool has both of them");
    Bench { operator, auditor, api, cluster, checks, cpus }
}

fn ends() -> Value {
    let line = r#"echo "$WEIR_INDEX of $WEIR_REPLICAS on $(hostname)" >/dev/termination-log"#;
    shell("ends", line).with("replicas", json!(3))
}

fn fails() -> Value {
    shell("fails", "exit 7").with("backoffLimit", json!(1))
}

fn recovers() -> Value {
    let attempt = json!({"name": "ATTEMPT", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['weir.dev/attempt']"}}});
    let line = r#"echo "attempt $ATTEMPT" >/dev/termination-log; [ "$ATTEMPT" != 1 ] || exit 5"#;
    shell("recovers", line).with("container/env", json!([attempt]))
}

fn stops() -> Value {
    let line = r"trap 'echo told >/dev/termination-log; sleep 1; exit 0' TERM; while :; do sleep 0.1; done";
    shell("stops", line).with("pod/nodeSelector", json!({"kubernetes.io/hostname": "real-1"}))
}

/// Three quarters of one node.
fn fills(node: &str, cpus: i64) -> Value {
    let most = json!({"requests": {"cpu": format!("{}m", cpus * 3 / 4), "memory": "16Mi"}});
    shell(&format!("fills-{node}"), "exec sleep 3600")
        .with("container/resources", most)
        .with("pod/terminationGracePeriodSeconds", json!(1))
        .with("pod/nodeSelector", json!({"kubernetes.io/hostname": node}))
}

/// The pods of a workload that are there.
fn pods_of(workload: &str) -> String {
    format!("{}?labelSelector=weir.dev%2Fworkload%3D{workload}", pods(WORK))
}

fn terminated(pod: &Value) -> &Value {
    &pod["status"]["containerStatuses"][0]["state"]["terminated"]
}

fn finished(workload: &Value) -> &Value {
    let all = workload["status"]["conditions"].as_array().unwrap();
    all.iter().find(|one| one["type"] == "Finished").unwrap_or(&Value::Null)
}

impl Bench {
    fn versions_of(&self, workload: &str) -> Vec<Version> {
        let all = self.auditor.versions(WORK);
        all.into_iter().filter(|one| one.pod["metadata"]["labels"]["weir.dev/workload"] == workload).collect()
    }

    /// Names of all pods that a workload ever had, in order.
    fn names_of(&self, workload: &str) -> Vec<String> {
        let all = self.versions_of(workload);
        all.iter().filter(|one| one.event == "ADDED").map(|one| name_of(&one.pod)).collect()
    }

    async fn ended(&mut self) {
        let workload = self.api.until_phase(WORK, "ends", "Succeeded", 60).await;
        assert_eq!(workload["status"]["succeededIndexes"], "0-2");
        assert_eq!(finished(&workload)["status"], "True");
        let mut said: Vec<String> = Vec::new();
        for pod in self.api.list(&pods_of("ends")).await {
            assert_eq!(terminated(&pod)["exitCode"], 0, "{pod:#}");
            assert!(
                terminated(&pod)["containerID"].as_str().is_some_and(|id| id.starts_with("containerd://"))
            );
            said.push(terminated(&pod)["message"].as_str().unwrap().trim().to_owned());
        }
        said.sort();
        assert_eq!(said, ["0 of 3 on ends-0", "1 of 3 on ends-1", "2 of 3 on ends-2"]);
        self.checks.ok("containers run to their end, and know their index, number and host name");
    }

    async fn refused(&mut self) {
        for node in ["real-0", "real-1"] {
            self.api.until_phase(WORK, &format!("fills-{node}"), "Running", 60).await;
        }
        let half = json!({"requests": {"cpu": format!("{}m", self.cpus / 2), "memory": "16Mi"}});
        let workload =
            shell("refused", "exit 0").with("container/resources", half).with("backoffLimit", json!(0));
        self.api.post(&workloads(WORK), workload).await;
        self.api.until_phase(WORK, "refused", "Queued", 20).await;
        // While the kubelet is away for a moment, the node says that it has half as many CPUs again, and then not any
        // more. (A running kubelet believes what its node says.)
        self.auditor.believe("real-0", self.cpus * 3 / 2);
        self.cluster.kill("PID_REAL_0_KUBELET");
        self.say_cpus("real-0", self.cpus * 3 / 2).await;
        let there = |pods: &[Value]| pods.iter().any(|pod| pod["spec"]["nodeName"] == "real-0");
        self.api.until_list(&pods_of("refused"), 8, there).await;
        self.say_cpus("real-0", self.cpus).await;
        self.cluster.again();
        // Weir deletes what was refused: the auditor has seen it.
        let deadline = Instant::now() + Duration::from_mins(1);
        while !self.versions_of("refused").iter().any(|one| one.pod["status"]["reason"] == "OutOfcpu") {
            assert!(Instant::now() < deadline, "the kubelet refuses nothing");
            pause(100).await;
        }
        self.api.delete(&format!("{}/fills-real-1", workloads(WORK))).await;
        let workload = self.api.until_phase(WORK, "refused", "Succeeded", 60).await;
        let versions = self.versions_of("refused");
        let refusal = &versions.iter().find(|one| one.pod["status"]["reason"] == "OutOfcpu").unwrap().pod;
        assert_eq!(
            (&refusal["spec"]["nodeName"], &refusal["status"]["phase"]),
            (&json!("real-0"), &json!("Failed"))
        );
        let last = &versions.last().unwrap().pod;
        assert_eq!(last["spec"]["nodeName"], "real-1");
        assert_eq!(self.names_of("refused"), ["refused-0", "refused-0-r2"]);
        assert!(workload["status"]["failures"].is_null(), "{:#}", workload["status"]);
        self.checks.ok("what a kubelet refuses (OutOfcpu) goes to the other node, with no failures allowed");
    }

    async fn say_cpus(&self, node: &str, cpus: i64) {
        let status = json!({"status": {"allocatable": {"cpu": format!("{cpus}m")}}});
        self.api.patch(&format!("{NODES}/{node}/status"), status).await;
    }

    async fn failed(&mut self) {
        let workload = self.api.until_phase(WORK, "fails", "Failed", 60).await;
        let message = finished(&workload)["message"].as_str().unwrap_or_default();
        assert!(message.contains("exited with 7"), "{message}");
        assert_eq!(finished(&workload)["reason"], "BackoffLimitExceeded");
        assert_eq!(workload["status"]["failedIndexes"], "0");
        assert_eq!(self.names_of("fails"), ["fails-0", "fails-0-r2"]);
        self.checks.ok("exit codes are counted against backoffLimit and told");
    }

    async fn recovered(&mut self) {
        let workload = self.api.until_phase(WORK, "recovers", "Succeeded", 60).await;
        assert_eq!(workload["status"]["succeededIndexes"], "0");
        assert_eq!(self.names_of("recovers"), ["recovers-0", "recovers-0-r2"]);
        let versions = self.versions_of("recovers");
        let ended: Vec<_> =
            versions.iter().map(|one| terminated(&one.pod)).filter(|end| !end.is_null()).collect();
        assert!(ended.iter().any(|end| end["exitCode"] == 5 && end["message"] == "attempt 1\n"), "{ended:?}");
        assert!(ended.iter().any(|end| end["exitCode"] == 0 && end["message"] == "attempt 2\n"), "{ended:?}");
        self.checks.ok("a second attempt may succeed");
    }

    async fn stopped_and_resumed(&mut self) {
        let path = format!("{}/stops", workloads(WORK));
        self.api.until_phase(WORK, "stops", "Running", 60).await;
        self.api.patch(&path, json!({"spec": {"suspend": true}})).await;
        let workload = self.api.until_phase(WORK, "stops", "Suspended", 30).await;
        assert!(workload["status"]["succeededIndexes"].is_null(), "{:#}", workload["status"]);
        assert!(self.api.list(&pods_of("stops")).await.is_empty());
        let versions = self.versions_of("stops");
        let ends: Vec<_> =
            versions.iter().map(|one| terminated(&one.pod)).filter(|end| !end.is_null()).collect();
        let graceful = ends.iter().any(|end| end["exitCode"] == 0 && end["message"] == "told\n");
        assert!(graceful, "it was not told, or had no time: {ends:?}");
        self.checks
            .ok("a suspended workload is told by SIGTERM, has its time, and an exit 0 then is no success");

        self.api.patch(&path, json!({"spec": {"suspend": false}})).await;
        self.api.until_phase(WORK, "stops", "Running", 30).await;
        assert_eq!(self.names_of("stops").len(), 2);
        self.api.delete(&path).await;
        self.api.until_gone(&path, 10).await;
        self.api.until_list(&pods_of("stops"), 20, <[Value]>::is_empty).await;
        let ends = self.versions_of("stops");
        let last = ends.iter().rev().map(|one| terminated(&one.pod)).find(|end| !end.is_null()).unwrap();
        assert_eq!(last["message"], "told\n", "{last}");
        self.checks.ok("it runs again when it is resumed, and ends as gently when it is deleted");
    }

    /// A volume on each node, each of a class of its own, and a workload for each.
    async fn ask_for_volumes(&self) {
        for node in ["real-0", "real-1"] {
            let folder = self.cluster.dir.join("volumes").join(node);
            std::fs::create_dir_all(&folder).unwrap();
            let class = json!({"metadata": {"name": node}, "provisioner": "kubernetes.io/no-provisioner",
                               "volumeBindingMode": "WaitForFirstConsumer"});
            self.api.post("/apis/storage.k8s.io/v1/storageclasses", class).await;
            let there = json!([{"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}]);
            let volume = json!({"metadata": {"name": node}, "spec": {
                "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "storageClassName": node,
                "local": {"path": folder},
                "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": there}]}},
            }});
            self.api.post("/api/v1/persistentvolumes", volume).await;
            let claim = json!({"metadata": {"name": node}, "spec": {
                "accessModes": ["ReadWriteOnce"], "storageClassName": node,
                "resources": {"requests": {"storage": "1Gi"}}}});
            self.api.post(&format!("/api/v1/namespaces/{WORK}/persistentvolumeclaims"), claim).await;
            let line = "hostname >/data/written";
            let workload = shell(&format!("keeps-{node}"), line)
                .with("pod/volumes", json!([{"name": "data", "persistentVolumeClaim": {"claimName": node}}]))
                .with("container/volumeMounts", json!([{"name": "data", "mountPath": "/data"}]));
            self.api.post(&workloads(WORK), workload).await;
        }
    }

    async fn has_volumes(&mut self) {
        for node in ["real-0", "real-1"] {
            let name = format!("keeps-{node}");
            self.api.until_phase(WORK, &name, "Succeeded", 120).await;
            let written = self.cluster.dir.join("volumes").join(node).join("written");
            let written =
                std::fs::read_to_string(written).expect("the container did not write into the volume");
            assert_eq!(written.trim(), format!("{name}-0"));
            let claim = format!("/api/v1/namespaces/{WORK}/persistentvolumeclaims/{node}");
            let claim = self.api.get(&claim).await.unwrap();
            assert_eq!(
                (&claim["status"]["phase"], &claim["spec"]["volumeName"]),
                (&json!("Bound"), &json!(node))
            );
            let versions = self.versions_of(&name);
            let first = &versions[0].pod;
            assert!(
                first["spec"]["nodeName"].is_null(),
                "it was not left to the scheduler: {:#}",
                first["spec"]
            );
            let last = &versions.last().unwrap().pod;
            assert_eq!(last["spec"]["nodeName"], node);
        }
        self.checks
            .ok("claims that wait for a consumer are bound by the scheduler, on the node of their volume");
    }

    async fn lost(&mut self) {
        let lasts = shell("lasts", "exec sleep 3600").with("completion", json!("KeepRunning"));
        self.api.post(&workloads(WORK), lasts).await;
        self.api.until_phase(WORK, "lasts", "Running", 30).await;
        let pod = self.api.list(&pods_of("lasts")).await.remove(0);
        let (lost, other) = match pod["spec"]["nodeName"].as_str().unwrap() {
            "real-0" => ("real-0", "real-1"),
            _ => ("real-1", "real-0"),
        };
        let number = lost.replace("real-", "");
        self.cluster.kill(&format!("PID_REAL_{number}_KUBELET"));
        let moved = |pods: &[Value]| {
            pods.iter().any(|pod| pod["spec"]["nodeName"] == other && pod["status"]["phase"] == "Running")
        };
        self.api.until_list(&pods_of("lasts"), 90, moved).await;
        let workload = self.api.until_phase(WORK, "lasts", "Running", 10).await;
        assert!(workload["status"]["failures"].is_null(), "{:#}", workload["status"]);
        let pool =
            self.api.until(&format!("{POOLS}/real"), 10, |pool| pool["status"]["nodes"]["ready"] == 1).await;
        assert_eq!(pool["status"]["nodes"]["total"], 2);
        self.checks.ok("with its kubelet killed a node is lost, and its member runs on the other one");

        self.cluster.again();
        let one = |pods: &[Value]| pods.len() == 1 && pods[0]["spec"]["nodeName"] == other;
        self.api.until_list(&pods_of("lasts"), 60, one).await;
        self.api.until(&format!("{POOLS}/real"), 60, |pool| pool["status"]["nodes"]["ready"] == 2).await;
        let again =
            shell("again", "exit 0").with("pod/nodeSelector", json!({"kubernetes.io/hostname": lost}));
        self.api.post(&workloads(WORK), again).await;
        self.api.until_phase(WORK, "again", "Succeeded", 60).await;
        assert_eq!(self.names_of("lasts").len(), 2);
        self.checks
            .ok("the kubelet comes back: what was left behind goes, the rest stays, and new work runs there");
    }
}
