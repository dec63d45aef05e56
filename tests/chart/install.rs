//! The chart's life on a real control plane: rendered and tried, installed as an older version, upgraded, rolled back,
//! worked with, uninstalled, and installed again over what was kept. No containers run: nodes are simulated, so pods of the
//! Deployment become ready without a program in them; the program is started by this test, with the token of the chart's
//! `ServiceAccount` and the arguments of its Deployment, and so is what the hook's Job would run.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use weir::dump::Dump;

use super::gitops::health;
use super::{NAMESPACE, chart, good, helm, objects, template, text, tool};
use crate::kubevirt::real as machines;
use crate::real::api::{Api, CRDS, Checks, NODES, POOLS, pods, workloads};
use crate::real::cluster::Cluster;
use crate::real::operator::{Operator, write_kubeconfig};
use crate::real::web::{Told, Web, port_in_log};

pub const DEPLOYMENT: &str = "/apis/apps/v1/namespaces/weir-system/deployments/weir";
pub const TEAM: &str = "team-a";
/// The user that `KubeVirt`'s controller is.
pub const KUBEVIRT: &str = "system:serviceaccount:kubevirt:kubevirt-controller";
/// What a release may take of its Secret: etcd takes 1.5 MB, and a chart grows.
const MOST_OF_A_SECRET: usize = 700_000;

/// How long anything may take: other tests have clusters of their own meanwhile.
pub const PATIENCE: u64 = 90;
/// The same, for Helm.
const TIMEOUT: &str = "120s";

/// Values of the chart in this test, beside its defaults: all rules are on.
fn values() -> Value {
    json!({
        "admission": {"poolNodes": {
            "enabled": true,
            // These are one and the same administrator in the test's cluster.
            "schedulers": ["system:kube-scheduler", ADMINISTRATOR],
            "daemonSetControllers": ["system:serviceaccount:kube-system:daemon-set-controller", ADMINISTRATOR],
        }},
        "rbac": {"editMayUse": ["open"]},
        "networkPolicy": {"enabled": true},
        "metrics": {
            "readers": [{"kind": "ServiceAccount", "name": "prometheus", "namespace": "monitoring"}],
            "serviceMonitor": {"enabled": true},
            "prometheusRule": {"enabled": true},
            "dashboards": {"enabled": true},
        },
    })
}

/// Who the controllers and the scheduler of the test's cluster are.
const ADMINISTRATOR: &str = "kwok-admin";

pub struct Stage {
    // First, so that it ends before the cluster does.
    pub operator: Option<Operator>,
    pub api: Api,
    pub cluster: Cluster,
    pub checks: Checks,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_chart_comes_works_and_goes_on_a_real_control_plane() {
    helm(); // built before the cluster waits for it
    let cluster = Cluster::up(&["--no-crds", "--nodes", "3", "--audit-reads"]);
    let api = Api::new(&cluster.kubeconfig()).await;
    let mut stage = Stage { operator: None, api, cluster, checks: Checks::begin("chart") };
    stage.is_accepted().await;
    stage.is_installed_upgraded_and_rolled_back().await;
    stage.works().await;
    stage.is_read_rightly().await;
    stage.is_waited_for_by_helm().await;
    stage.is_applied_without_drift().await;
    stage.admits().await;
    stage.is_uninstalled().await;
    stage.uses_what_it_may();
    stage.is_installed_again_and_deleted().await;
}

impl Stage {
    pub fn ok(&mut self, shown: &str) {
        self.checks.ok(shown);
    }

    pub fn kubectl(&self, arguments: &[&str], input: &str) -> std::process::Output {
        use std::io::Write as _;
        let mut child = Command::new(self.cluster.path("KUBECTL"))
            .arg("--kubeconfig")
            .arg(self.cluster.kubeconfig())
            .args(arguments)
            .env("KUBECACHEDIR", self.cluster.dir.join("cache"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    }

    fn helm(&self, arguments: &[&str]) -> Command {
        let mut command = helm();
        command.env("KUBECONFIG", self.cluster.kubeconfig()).args(["-n", NAMESPACE]).args(arguments);
        command
    }

    fn helm_with_values(&self, verb: &str, chart: &Path, values: &Value) -> String {
        let file = self.cluster.dir.join("values.json");
        std::fs::write(&file, values.to_string()).unwrap();
        let mut command = self.helm(&[verb, "weir", "--wait", "--timeout", TIMEOUT]);
        let said = good(command.arg(chart).arg("-f").arg(file).output().unwrap(), &format!("helm {verb}"));
        self.release_is_small();
        said
    }

    /// What each set of values renders is what this API server takes, and what its standard for pods allows.
    async fn is_accepted(&mut self) {
        let monitoring = tool("monitoring-crds");
        for kind in ["servicemonitors", "prometheusrules"] {
            let file = monitoring.join(format!("monitoring.coreos.com_{kind}.yaml"));
            good(
                self.kubectl(&["apply", "--server-side", "-f", &file.display().to_string()], ""),
                "monitoring",
            );
            self.api.until_established(&format!("{kind}.monitoring.coreos.com"), PATIENCE).await;
        }
        let standard = json!({
            "pod-security.kubernetes.io/enforce": "restricted",
            "pod-security.kubernetes.io/warn": "restricted",
        });
        let namespace = json!({"metadata": {"name": NAMESPACE, "labels": standard}});
        self.api.post("/api/v1/namespaces", namespace).await;
        for name in ["", "minimal.yaml", "full.yaml"] {
            let file = super::render::values(name).display().to_string();
            let arguments: &[&str] = if name.is_empty() { &[] } else { &["-f", &file] };
            let yaml = good(template(arguments), "helm template");
            let output = self.kubectl(&["apply", "--server-side", "--dry-run=server", "-f", "-"], &yaml);
            let warned = text(&output.stderr);
            let taken = good(output, "kubectl apply").lines().count();
            assert_eq!(taken, objects(&yaml).len(), "with {name:?}");
            assert!(!warned.contains("Warning"), "with {name:?}: {warned}");
        }
        self.ok("the API server takes what default, minimal and full values render, without a warning");
    }

    /// The chart as it might have been before: another word in a definition, and without some values.
    fn older_chart(&self) -> PathBuf {
        let folder = self.cluster.dir.join("older");
        good(Command::new("cp").arg("-r").arg(chart()).arg(&folder).output().unwrap(), "cp");
        for (name, now, then) in [
            ("Chart.yaml", "version: 0.1.0\n", "version: 0.0.1\n"),
            ("files/crds/resourcepools.yaml", "Nodes that belong to the pool", "An older word"),
            ("values.yaml", "  exposed: true\n", ""),
            ("values.yaml", "  kubevirtControllers:", "  #"),
            ("values.yaml", "  staleAfter: 3m\n", ""),
        ] {
            let text = std::fs::read_to_string(folder.join(name)).unwrap();
            assert!(text.contains(now), "{name}");
            std::fs::write(folder.join(name), text.replace(now, then)).unwrap();
        }
        folder
    }

    async fn column(&self) -> Value {
        let crd =
            self.api.get(&format!("{CRDS}/resourcepools.weir.dev")).await.expect("the definition is there");
        crd["spec"]["versions"][0]["additionalPrinterColumns"][0]["description"].clone()
    }

    async fn is_installed_upgraded_and_rolled_back(&mut self) {
        let older = self.older_chart();
        let said = self.helm_with_values("install", &older, &json!({}));
        assert!(said.contains("kubectl create rolebinding use-lab"), "{said}");
        assert_eq!(self.column().await, "An older word");
        // kubectl does not write over what is Helm's.
        let crds = super::root().join("crds").display().to_string();
        let said = text(&self.kubectl(&["apply", "--server-side", "-f", &crds], "").stderr);
        assert!(said.contains("conflict with \"helm\""), "{said}");
        assert_eq!(self.column().await, "An older word");
        let ready = |found: &Value, wanted: i64| found["status"]["readyReplicas"] == wanted;
        assert!(ready(&self.api.get(DEPLOYMENT).await.unwrap(), 2), "helm --wait waits for the operators");
        self.ok("installed with helm --wait in a namespace that enforces the standard restricted; two pods are ready");
        // Not as the documentation says, but as many do: the values of the older chart are kept, and it had fewer.
        for how in ["--reuse-values", "--reset-then-reuse-values"] {
            let mut upgrade = self.helm(&["upgrade", "weir", how, "--wait", "--timeout", TIMEOUT]);
            good(upgrade.arg(chart()).output().unwrap(), how);
            let found = self.api.get(DEPLOYMENT).await.unwrap();
            let arguments = found["spec"]["template"]["spec"]["containers"][0]["args"].to_string();
            for wanted in ["--metrics-addr=0.0.0.0:8443", "--stale-after=3m"] {
                assert!(arguments.contains(wanted), "{how}: {arguments}");
            }
        }
        let mut more = values();
        more["replicas"] = json!(3);
        self.helm_with_values("upgrade", &chart(), &more);
        assert_eq!(self.column().await, "Nodes that belong to the pool");
        assert!(ready(&self.api.get(DEPLOYMENT).await.unwrap(), 3));
        good(
            self.helm(&["rollback", "weir", "1", "--wait", "--timeout", TIMEOUT]).output().unwrap(),
            "helm rollback",
        );
        assert_eq!(self.column().await, "An older word");
        assert!(ready(&self.api.get(DEPLOYMENT).await.unwrap(), 2));
        self.helm_with_values("upgrade", &chart(), &values());
        assert_eq!(self.column().await, "Nodes that belong to the pool");
        let shown = format!(
            "upgraded, rolled back and upgraded again, definitions included; a release takes {} KB",
            self.release_is_small() / 1000
        );
        self.ok(&shown);
    }

    /// How many bytes the largest Secret of a release has.
    fn release_is_small(&self) -> usize {
        let output = self.kubectl(&["get", "secrets", "-n", NAMESPACE, "-l", "owner=helm", "-o", "json"], "");
        let list: Value = serde_json::from_str(&good(output, "kubectl get secrets")).unwrap();
        let sizes: Vec<usize> =
            list["items"].as_array().unwrap().iter().map(|one| one.to_string().len()).collect();
        let most = sizes.iter().copied().max().expect("Helm keeps its releases in Secrets");
        assert!(most < MOST_OF_A_SECRET, "{sizes:?}");
        most
    }

    /// The program as the object's pods would run it: with its arguments and its account's token.
    pub async fn program(&self, object: &str, name: &str) -> Command {
        let found = self.api.get(object).await.unwrap_or_else(|| panic!("there is no {object}"));
        let pod = &found["spec"]["template"]["spec"];
        let account = pod["serviceAccountName"].as_str().unwrap();
        let path = format!("/api/v1/namespaces/{NAMESPACE}/serviceaccounts/{account}/token");
        let token = self.api.post(&path, json!({"spec": {"expirationSeconds": 3600}})).await;
        let kubeconfig = self.cluster.dir.join(format!("{name}.kubeconfig"));
        write_kubeconfig(&self.cluster, &token["status"]["token"], &kubeconfig);
        let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
        // Ports are the test's own: another test may have these.
        let arguments = pod["containers"][0]["args"].as_array().unwrap().iter();
        command.args(arguments.map(|one| match one.as_str().unwrap() {
            one if one.contains("-addr=") => one.rsplit_once(':').unwrap().0.to_owned() + ":0",
            one => one.to_owned(),
        }));
        command.env("KUBECONFIG", kubeconfig);
        for variable in pod["containers"][0]["env"].as_array().unwrap() {
            let value = match variable["valueFrom"]["fieldRef"]["fieldPath"].as_str() {
                Some("metadata.namespace") => NAMESPACE,
                Some("metadata.name") => name,
                _ => variable["value"].as_str().unwrap(),
            };
            command.env(variable["name"].as_str().unwrap(), value);
        }
        command
    }

    /// Work of every kind is done with the rights that the chart gives.
    async fn works(&mut self) {
        let mut command = self.program(DEPLOYMENT, "weir").await;
        command.args(["--lease-duration", "4s", "--lease-give-up", "3s", "--lease-renew", "1s"]);
        let operator = Operator::spawn(command, &self.cluster.dir, "weir");
        let log = operator.path();
        self.operator = Some(operator);
        self.is_read_by_prometheus(&log).await;
        self.api.namespace(TEAM).await;
        self.api.post(POOLS, pool("lab")).await;
        // One ends and is deleted; one is suspended; one is evicted.
        let mut quick = workload("quick", "lab");
        quick["spec"]["ttlAfterFinished"] = json!("1s");
        quick["spec"]["template"]["pod"]["metadata"] = json!({"annotations": {"sim.weir.dev/run-for": "0s"}});
        let place = workloads(TEAM);
        self.api.post(&place, quick).await;
        for name in ["paused", "drained"] {
            self.api.post(&place, workload(name, "lab")).await;
            self.api.until_phase(TEAM, name, "Running", PATIENCE).await;
        }
        self.api.until_gone(&format!("{place}/quick"), PATIENCE).await;
        self.api.patch(&format!("{place}/paused"), json!({"spec": {"suspend": true}})).await;
        self.api.until_gone(&format!("{}/paused-0", pods(TEAM)), PATIENCE).await;
        let lab = format!("{POOLS}/lab");
        self.api.patch(&lab, json!({"spec": {"stopPolicy": "HoldAndDrain"}})).await;
        self.api.until_phase(TEAM, "drained", "Queued", PATIENCE).await;
        self.api.patch(&lab, json!({"spec": {"stopPolicy": "None"}})).await;
        self.api.until_phase(TEAM, "drained", "Running", PATIENCE).await;
        // A pod of somebody else has the name of a member.
        let mut foreign = json!({"metadata": {"name": "taken-0"}, "spec": {"schedulerName": "nobody"}});
        foreign["spec"]["containers"] = json!([container()]);
        self.api.post(&pods(TEAM), foreign).await;
        self.api.post(&place, workload("taken", "lab")).await;
        let taken = format!("{place}/taken");
        self.api.until(&taken, PATIENCE, |found| found["status"]["pending"]["reason"] == "NameTaken").await;
        self.api.delete(&taken).await;
        self.dedicates(&lab).await;
        self.runs_a_machine().await;
        let pool = self.api.until(&lab, PATIENCE, |pool| pool["status"]["workloads"]["running"] == 1).await;
        assert_eq!(pool["metadata"]["finalizers"], json!(["weir.dev/in-use"]));
        self.operator.as_mut().unwrap().assert_alive();
        for (path, wanted) in [("lab", "Healthy"), ("paused", "Suspended"), ("drained", "Healthy")] {
            let path = if path == "lab" { lab.clone() } else { format!("{place}/{path}") };
            let (status, message) = health(&self.api.get(&path).await.unwrap());
            assert_eq!(status, wanted, "{path}: {message}");
        }
        self.ok(
            "work ran to its end, was suspended, and evicted, with the rights and the arguments of the chart",
        );
    }

    /// Whom the values let may read metrics, and nobody else.
    async fn is_read_by_prometheus(&mut self, log: &Path) {
        self.api.namespace("monitoring").await;
        let accounts = "/api/v1/namespaces/monitoring/serviceaccounts";
        let web = Web::tls(port_in_log(log, "serves metrics by TLS").await);
        for (name, code) in [("prometheus", 200), ("stranger", 403)] {
            self.api.post(accounts, json!({"metadata": {"name": name}})).await;
            let token = self.api.post(&format!("{accounts}/{name}/token"), json!({"spec": {}})).await;
            let told = web.get("/metrics", token["status"]["token"].as_str()).await;
            assert_eq!(told.code, code, "{name}: {}", told.text);
        }
        // The role for dumps is there, and is bound by whoever wants one.
        let name = "debugger";
        self.api.post(accounts, json!({"metadata": {"name": name}})).await;
        let token = self.api.post(&format!("{accounts}/{name}/token"), json!({"spec": {}})).await;
        let token = token["status"]["token"].as_str();
        assert_eq!(web.get("/debug/world", token).await.code, 403);
        let binding = json!({
            "metadata": {"name": "weir-debugger"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "weir-debug-reader"},
            "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": "monitoring"}],
        });
        self.api.post("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", binding).await;
        // What was refused is remembered for ten seconds.
        let whole = |told: &Told| told.code == 200 && told.text.contains("\"settled\":true");
        let told = web.until_by("/debug/world", token, 30, whole).await;
        let dump = Dump::read(&told.text, false).unwrap();
        assert!(dump.state.world.is_settled() && dump.head.operator.is_some_and(|one| !one.is_empty()));
        self.ok("metrics are read by TLS by the ServiceAccount that the values name, and by no other; dumps by those who are bound to their role");
    }

    /// Nodes of a dedicated pool are tainted, and are not any more when it is shared again.
    async fn dedicates(&mut self, pool: &str) {
        let tainted = |node: &Value| {
            let taints = node["spec"]["taints"].as_array();
            taints.is_some_and(|taints| taints.iter().any(|taint| taint["key"] == "weir.dev/pool"))
        };
        for (kind, all) in [("Dedicated", true), ("Shared", false)] {
            self.api.patch(pool, json!({"spec": {"type": kind}})).await;
            let done = |nodes: &[Value]| nodes.iter().all(|node| tainted(node) == all);
            self.api.until_list(NODES, PATIENCE, done).await;
        }
    }

    /// `KubeVirt` comes, as its own user, and a machine runs and is stopped.
    async fn runs_a_machine(&mut self) {
        machines::install(&self.api.client).await.unwrap();
        let node = &self.api.list(NODES).await[0]["metadata"]["name"];
        let node = format!("{NODES}/{}", node.as_str().unwrap());
        self.api.patch(&node, json!({"metadata": {"labels": {"kubevirt.io/schedulable": "true"}}})).await;
        let devices: BTreeMap<String, &str> =
            ["kvm", "tun", "vhost-net"].map(|one| (format!("devices.kubevirt.io/{one}"), "10")).into();
        let offers = json!({"status": {"capacity": devices, "allocatable": devices}});
        self.api.patch(&format!("{node}/status"), offers).await;
        let controller = self.api.acting_as(&self.cluster.kubeconfig(), KUBEVIRT).await;
        let stand_in = tokio::spawn(machines::run(controller.client));
        let mut machine = workload("machine", "lab");
        // Its disk is made when Weir has said for which node.
        machine["spec"]["template"] = json!({"virtualMachine": {"spec": {
            "dataVolumeTemplates": [{"metadata": {"name": "root"}, "spec": {
                "source": {"blank": {}}, "storage": {"resources": {"requests": {"storage": "1Gi"}}}}}],
            "template": {
                "metadata": {"annotations": {"sim.weir.dev/first-consumer": "true"}},
                "spec": {"volumes": [{"name": "root", "dataVolume": {"name": "root"}}], "domain": {
                    "cpu": {"cores": 1}, "memory": {"guest": "1Gi"}, "devices": {}}}}}}});
        let place = workloads(TEAM);
        self.api.post(&place, machine).await;
        self.api.until_phase(TEAM, "machine", "Running", PATIENCE).await;
        self.api.patch(&format!("{place}/machine"), json!({"spec": {"suspend": true}})).await;
        self.api.until_phase(TEAM, "machine", "Suspended", PATIENCE).await;
        self.api.delete(&format!("{place}/machine")).await;
        self.api.until_gone(&format!("{place}/machine"), PATIENCE).await;
        stand_in.abort();
        self.ok("KubeVirt was installed, and a virtual machine ran and was stopped");
    }

    /// Two tools apply the same again and again: nothing changes, nothing is in conflict.
    async fn is_applied_without_drift(&mut self) {
        let manifests = json!({"apiVersion": "v1", "kind": "List", "items": [pool("steady"), workload("steady", "steady")]});
        // After lab, which has the nodes: a pool without nodes, and a workload that waits.
        let apply = |stage: &Self, manager: &str| {
            let arguments = ["apply", "--server-side", "--field-manager", manager, "-f", "-"];
            good(stage.kubectl(&arguments, &manifests.to_string()), "kubectl apply");
        };
        let paths = [format!("{POOLS}/steady"), format!("{}/steady", workloads(TEAM))];
        apply(self, "flux");
        let reported = |found: &Value| found["status"]["observedGeneration"] == 1;
        for path in &paths {
            self.api.until(path, PATIENCE, reported).await;
        }
        // The operator has said all that it has to say when two looks, a second apart, see the same.
        let versions = async |stage: &Self| {
            let mut versions = Vec::new();
            for path in &paths {
                let found = stage.api.get(path).await.unwrap();
                versions.push((
                    found["metadata"]["generation"].clone(),
                    found["metadata"]["resourceVersion"].clone(),
                ));
            }
            versions
        };
        let began = Instant::now();
        let mut before = versions(self).await;
        loop {
            crate::real::api::pause(1200).await;
            let now = versions(self).await;
            if now == before {
                break;
            }
            assert!(began.elapsed() < Duration::from_secs(PATIENCE), "statuses go on changing: {now:?}");
            before = now;
        }
        for _ in 0..3 {
            apply(self, "flux");
        }
        assert_eq!(versions(self).await, before, "what is applied again changes nothing");
        apply(self, "argocd");
        let after = versions(self).await;
        assert!(before.iter().zip(&after).all(|(before, after)| before.0 == after.0), "{after:?}");
        for path in &paths {
            let found = self.api.get(path).await.unwrap();
            let (status, message) = health(&found);
            assert_eq!(status, "Progressing", "{path}: {message}");
            self.api.delete(path).await;
        }
        self.ok("applied five times by two managers: no conflict, no change, and Argo CD reads what waits as progressing");
    }

    /// The hook's Job ends the operators' work; definitions, pools, workloads and pods stay.
    async fn is_uninstalled(&mut self) {
        let mut uninstall = self.helm(&["uninstall", "weir", "--wait", "--timeout", TIMEOUT]);
        let uninstall = uninstall.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let job = format!("/apis/batch/v1/namespaces/{NAMESPACE}/jobs/weir-release");
        self.api.until(&job, PATIENCE, |job| job["status"]["active"] == 1).await;
        let output = self.program(&job, "weir-release").await.output().unwrap();
        let said = good(output, "weir release");
        assert!(
            said.contains("takes the lead from weir_") && said.contains("resourcepool/lab is let go"),
            "{said}"
        );
        let log = self.operator.as_ref().unwrap().log();
        assert!(log.contains("lost the lead"), "{log}");
        // So far the operator lives, and does not put it back.
        let lab = self.api.get(&format!("{POOLS}/lab")).await.unwrap();
        assert_eq!(lab["metadata"]["finalizers"], Value::Null);
        self.operator.take().unwrap().stop();
        let selector = "labelSelector=app.kubernetes.io/component%3Drelease";
        let found = self.api.list(&format!("{}?{selector}", pods(NAMESPACE))).await;
        let name = found[0]["metadata"]["name"].as_str().unwrap();
        self.api
            .patch(
                &format!("{}/{name}", pods(NAMESPACE)),
                json!({"metadata": {"annotations": {"sim.weir.dev/run-for": "0s"}}}),
            )
            .await;
        let said = good(uninstall.wait_with_output().unwrap(), "helm uninstall");
        assert!(said.contains("kept due to the resource policy"), "{said}");
        assert_eq!(self.column().await, "Nodes that belong to the pool");
        assert!(self.api.get(&format!("{POOLS}/lab")).await.is_some());
        self.api.until_phase(TEAM, "drained", "Running", PATIENCE).await;
        assert!(self.api.get(&format!("{}/drained-0-r2", pods(TEAM))).await.is_some());
        let left = self.kubectl(
            &[
                "get",
                "deployments,services,serviceaccounts,jobs,roles,rolebindings,poddisruptionbudgets,clusterroles,\
                 clusterrolebindings,validatingadmissionpolicies,validatingadmissionpolicybindings",
                "-A",
                "-l",
                "app.kubernetes.io/name=weir",
                "-o",
                "name",
            ],
            "",
        );
        assert_eq!(good(left, "kubectl get"), "");
        self.ok("uninstalled: the hook let go of the pools; definitions, pools, workloads and pods stayed, all else went");
    }

    /// Over the kept definitions; and with keep=false they go.
    async fn is_installed_again_and_deleted(&mut self) {
        let mut values = values();
        values["crds"] = json!({"keep": false});
        values["uninstall"] = json!({"podAnnotations": {"sim.weir.dev/run-for": "0s"}});
        let said = self.helm_with_values("install", &chart(), &values);
        assert!(said.contains("deletes the definitions"), "{said}");
        good(
            self.helm(&["uninstall", "weir", "--wait", "--timeout", TIMEOUT]).output().unwrap(),
            "helm uninstall",
        );
        let began = Instant::now();
        while self.api.get(&format!("{CRDS}/resourcepools.weir.dev")).await.is_some() {
            assert!(began.elapsed() < Duration::from_secs(PATIENCE), "the definition is still there");
            crate::real::api::pause(100).await;
        }
        self.api.until_list(&pods(TEAM), PATIENCE, |pods| pods.iter().all(|pod| !is_member(pod))).await;
        self.ok(
            "installed again over what was kept, and uninstalled with crds.keep=false: nothing of it is left",
        );
    }
}

fn is_member(pod: &Value) -> bool {
    pod["metadata"]["labels"]["weir.dev/workload"].is_string()
}

/// A pool of the simulated nodes that everybody may submit to.
pub fn pool(name: &str) -> Value {
    json!({
        "apiVersion": "weir.dev/v1alpha1", "kind": "ResourcePool", "metadata": {"name": name},
        "spec": {
            "nodes": {"selector": {"matchLabels": {"weir.dev/pool": "company"}}},
            "resources": [{"name": "cpu"}, {"name": "memory"}],
            "access": {"namespaces": {}},
        },
    })
}

/// One pod that runs on.
pub fn workload(name: &str, pool: &str) -> Value {
    json!({
        "apiVersion": "weir.dev/v1alpha1", "kind": "PooledWorkload",
        "metadata": {"name": name, "namespace": TEAM},
        "spec": {"pool": pool, "template": {"pod": {"spec": {"containers": [container()]}}}},
    })
}

pub fn container() -> Value {
    json!({
        "name": "main", "image": "busybox:1.37", "command": ["sleep", "infinity"],
        "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}},
    })
}
