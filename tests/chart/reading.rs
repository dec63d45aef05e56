//! How tools read what the operator has written: `kubectl wait`, `helm install --wait`, Argo CD and Flux, on the states of
//! pools and workloads of a real control plane.

use std::path::PathBuf;
use std::process::Output;

use serde_json::{Value, json};

use super::gitops::{by_flux, health};
use super::install::{PATIENCE, Stage, TEAM, pool, workload};
use super::{good, helm, text};
use crate::real::api::{POOLS, workloads};

/// Each state: the object, what `kubectl wait` must see, what it must not see, what Argo CD and Flux say.
type State<'a> = (&'a str, &'a [&'a str], &'a [&'a str], &'a str, &'a str);

const STATES: &[State<'static>] = &[
    (
        "pw/reads-running",
        &["condition=Ready", "jsonpath={.status.phase}=Running"],
        &["condition=Stalled", "condition=Reconciling", "condition=Finished"],
        "Healthy",
        "Healthy",
    ),
    (
        "pw/reads-succeeded",
        &["condition=Ready", "condition=Finished", "jsonpath={.status.phase}=Succeeded"],
        &["condition=Stalled", "condition=Reconciling"],
        "Healthy",
        "Healthy",
    ),
    (
        "pw/reads-queued",
        &["condition=Reconciling", "condition=Ready=false", "jsonpath={.status.phase}=Queued"],
        &["condition=Ready", "condition=Stalled"],
        "Progressing",
        "Progressing",
    ),
    (
        "pw/reads-impossible",
        &["condition=Stalled", "condition=Ready=false", "jsonpath={.status.phase}=Queued"],
        &["condition=Ready", "condition=Reconciling"],
        "Degraded",
        "Degraded",
    ),
    (
        "pw/reads-failed",
        &["condition=Stalled", "condition=Finished", "jsonpath={.status.phase}=Failed"],
        &["condition=Ready", "condition=Reconciling"],
        "Degraded",
        "Degraded",
    ),
    (
        "pw/reads-suspended",
        &["condition=Ready", "jsonpath={.status.phase}=Suspended"],
        &["condition=Stalled", "condition=Reconciling"],
        "Suspended",
        "Healthy",
    ),
    (
        "rp/reads-narrow",
        &["condition=Ready"],
        &["condition=Stalled", "condition=Reconciling"],
        "Healthy",
        "Healthy",
    ),
    (
        "rp/reads-lost",
        &["condition=Stalled", "condition=Ready=false"],
        &["condition=Ready", "condition=Reconciling"],
        "Degraded",
        "Degraded",
    ),
    ("rp/reads-held", &["condition=Ready"], &["condition=Stalled"], "Suspended", "Healthy"),
];

/// A pool below another, which may use so much of the CPU.
fn child(name: &str, parent: &str, cpu: &str) -> Value {
    let mut child = pool(name);
    child["spec"]["nodes"].take();
    child["spec"].as_object_mut().unwrap().remove("nodes");
    child["spec"]["parent"] = json!(parent);
    child["spec"]["resources"] = json!([{"name": "cpu", "limit": cpu}, {"name": "memory"}]);
    child
}

impl Stage {
    /// As a script would wait for it.
    fn waits(&self, object: &str, what: &str, timeout: &str) -> Output {
        let (what, timeout) = (format!("--for={what}"), format!("--timeout={timeout}"));
        self.kubectl(&["wait", "-n", TEAM, object, &what, &timeout], "")
    }

    /// Every state that the table of docs/gitops.md has, made by the operator itself.
    pub async fn is_read_rightly(&mut self) {
        let mut held = child("reads-held", "lab", "1");
        held["spec"]["stopPolicy"] = json!("Hold");
        for pool in [child("reads-narrow", "lab", "150m"), child("reads-lost", "nowhere", "1"), held] {
            self.api.post(POOLS, pool).await;
        }
        let place = workloads(TEAM);
        self.api.post(&place, workload("reads-running", "reads-narrow")).await;
        self.api.until_phase(TEAM, "reads-running", "Running", PATIENCE).await;
        self.api.post(&place, workload("reads-queued", "reads-narrow")).await;
        let mut impossible = workload("reads-impossible", "reads-narrow");
        impossible["spec"]["replicas"] = json!(2);
        let mut suspended = workload("reads-suspended", "lab");
        suspended["spec"]["suspend"] = json!(true);
        let mut succeeded = workload("reads-succeeded", "lab");
        let annotations = json!({"sim.weir.dev/run-for": "0s"});
        succeeded["spec"]["template"]["pod"]["metadata"] = json!({"annotations": annotations});
        let mut failed = workload("reads-failed", "lab");
        failed["spec"]["backoffLimit"] = json!(0);
        let annotations = json!({"sim.weir.dev/run-for": "0s", "sim.weir.dev/exit-code": "3"});
        failed["spec"]["template"]["pod"]["metadata"] = json!({"annotations": annotations});
        for workload in [impossible, suspended, succeeded, failed] {
            self.api.post(&place, workload).await;
        }
        let patience = format!("{PATIENCE}s");
        let path = |object: &str| match object.split_once('/').unwrap() {
            ("rp", name) => format!("{POOLS}/{name}"),
            (_, name) => format!("{place}/{name}"),
        };
        for (object, seen, _, argo_cd, flux) in STATES {
            for what in *seen {
                good(self.waits(object, what, &patience), &format!("kubectl wait {object} --for={what}"));
            }
            let found = self.api.get(&path(object)).await.unwrap();
            let (status, message) = health(&found);
            assert_eq!((&*status, by_flux(&found)), (*argo_cd, *flux), "{object}: {message}: {found}");
        }
        // All states are there now; what is not so is not seen either.
        for (object, _, unseen, ..) in STATES {
            for what in *unseen {
                let output = self.waits(object, what, "500ms");
                let said = text(&output.stderr);
                assert!(!output.status.success() && said.contains("timed out"), "{object} {what}: {said}");
            }
        }
        for (object, ..) in STATES {
            self.api.delete(&path(object)).await;
        }
        self.ok("kubectl wait, Argo CD and Flux read nine states of pools and workloads rightly, as the operator wrote them");
    }

    /// A chart of a team's own: a pool, and a workload for it.
    fn teams_chart(&self, replicas: usize) -> PathBuf {
        let folder = self.cluster.dir.join(format!("chart-{replicas}"));
        std::fs::create_dir_all(folder.join("templates")).unwrap();
        let about = json!({"apiVersion": "v2", "name": "team", "version": "1.0.0"});
        std::fs::write(folder.join("Chart.yaml"), about.to_string()).unwrap();
        let mut work = workload("helm-work", "helm-pool");
        work["spec"]["replicas"] = json!(replicas);
        for (name, object) in [("pool.yaml", child("helm-pool", "lab", "250m")), ("work.yaml", work)] {
            std::fs::write(folder.join("templates").join(name), object.to_string()).unwrap();
        }
        folder
    }

    /// Helm 4 waits for pools and workloads of a chart as for all else.
    pub async fn is_waited_for_by_helm(&mut self) {
        let team = |arguments: &[&str]| {
            let mut command = helm();
            command.env("KUBECONFIG", self.cluster.kubeconfig()).args(arguments).args(["-n", TEAM]);
            command
        };
        let install = |replicas: usize, timeout: &str| {
            let mut command = team(&["install", "work", "--wait", "--timeout", timeout]);
            command.arg(self.teams_chart(replicas)).output().unwrap()
        };
        let uninstall = || {
            good(team(&["uninstall", "work", "--wait", "--timeout", "60s"]).output().unwrap(), "uninstall");
        };
        let work = format!("{}/helm-work", workloads(TEAM));
        good(install(2, "90s"), "helm install --wait");
        let found = self.api.get(&work).await.unwrap();
        assert_eq!(found["status"]["phase"], "Running", "it has waited: {found}");
        // What waits is waited for: a second release's work finds the pool full.
        let mut waiting = workload("helm-waiting", "helm-pool");
        waiting["metadata"].as_object_mut().unwrap().remove("namespace");
        let folder = self.teams_chart(1);
        std::fs::remove_file(folder.join("templates/pool.yaml")).unwrap();
        std::fs::write(folder.join("templates/work.yaml"), waiting.to_string()).unwrap();
        let mut second = team(&["install", "waiting", "--wait", "--timeout", "5s"]);
        let output = second.arg(&folder).output().unwrap();
        let said = text(&output.stderr);
        assert!(!output.status.success() && said.contains("helm-waiting"), "{said}");
        assert!(said.contains("InProgress"), "{said}");
        good(team(&["uninstall", "waiting", "--wait", "--timeout", "60s"]).output().unwrap(), "uninstall");
        uninstall();
        // What can never run is not taken for running.
        let output = install(3, "15s");
        let said = text(&output.stderr);
        assert!(!output.status.success() && said.contains("helm-work"), "{said}");
        assert!(said.contains("Failed"), "{said}");
        let found = self.api.get(&work).await.unwrap();
        assert_eq!((&*health(&found).0, by_flux(&found)), ("Degraded", "Degraded"), "{found}");
        uninstall();
        self.ok("helm install --wait waits for a pool and a workload: until it runs, in vain while it waits, and not for what can never run");
    }
}
