//! `weir run` as a process, with a user of its own, so that the audit log tells which one wrote what.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use serde_json::{Value, json};

use super::api::Api;
use super::cluster::{Cluster, signal};

/// Where the Lease and the ledgers are.
pub const NAMESPACE: &str = "weir-system";

/// Somebody who may run the operator.
pub struct Account {
    pub name: &'static str,
    kubeconfig: PathBuf,
    folder: PathBuf,
}

impl Account {
    /// Makes a user that may do everything.
    pub async fn create(cluster: &Cluster, api: &Api, name: &'static str) -> Self {
        if api.get(&format!("/api/v1/namespaces/{NAMESPACE}")).await.is_none() {
            api.namespace(NAMESPACE).await;
        }
        let accounts = format!("/api/v1/namespaces/{NAMESPACE}/serviceaccounts");
        api.post(&accounts, json!({"metadata": {"name": name}})).await;
        let binding = json!({
            "metadata": {"name": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
            "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": NAMESPACE}],
        });
        api.post("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", binding).await;
        Self::with_token(cluster, api, name).await
    }

    /// The user of the guide, with the rights that it gives.
    pub async fn least(cluster: &Cluster, api: &Api) -> Self {
        api.namespace(NAMESPACE).await;
        let text = include_str!("../../docs/rbac.yaml");
        for document in serde_yaml::from_multiple::<serde_json::Value>(text).unwrap() {
            let kind = document["kind"].as_str().unwrap().to_lowercase();
            let path = match document["metadata"]["namespace"].as_str() {
                Some(namespace) if kind == "serviceaccount" => {
                    format!("/api/v1/namespaces/{namespace}/serviceaccounts")
                }
                Some(namespace) => {
                    format!("/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}/{kind}s")
                }
                None => format!("/apis/rbac.authorization.k8s.io/v1/{kind}s"),
            };
            api.post(&path, document).await;
        }
        Self::with_token(cluster, api, "weir").await
    }

    async fn with_token(cluster: &Cluster, api: &Api, name: &'static str) -> Self {
        let accounts = format!("/api/v1/namespaces/{NAMESPACE}/serviceaccounts");
        let token = api.post(&format!("{accounts}/{name}/token"), json!({"spec": {}})).await;
        let folder = cluster.dir.clone();
        let kubeconfig = folder.join(format!("{name}.kubeconfig"));
        write_kubeconfig(cluster, &token["status"]["token"], &kubeconfig);
        Self { name, kubeconfig, folder }
    }

    /// The same user, whose token is in a file.
    pub fn by_token_file(&self, cluster: &Cluster, file: &Path) -> Self {
        let kubeconfig = self.folder.join(format!("{}-by-file.kubeconfig", self.name));
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "c",
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
            "clusters": [{"name": "c", "cluster": {
                "server": cluster.value("API_SERVER_URL"), "certificate-authority": cluster.value("CA_FILE")}}],
            "users": [{"name": "u", "user": {"tokenFile": file}}],
        });
        fs::write(&kubeconfig, config.to_string()).unwrap();
        Self { name: self.name, kubeconfig, folder: self.folder.clone() }
    }

    /// What it asks the API server with.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// Its name in the audit log.
    pub fn user(&self) -> String {
        format!("system:serviceaccount:{NAMESPACE}:{}", self.name)
    }

    /// Starts the operator. A leader that goes away is replaced after four seconds.
    pub fn start(&self, more: &[&str]) -> Operator {
        Operator::spawn(self.command(more), &self.folder, self.name)
    }

    /// What starts it.
    pub fn command(&self, more: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
        command
            .args(["run", "--namespace", NAMESPACE, "--identity", self.name, "--http-addr", "127.0.0.1:0"])
            .args(["--lease-duration", "4s", "--lease-give-up", "3s", "--lease-renew", "1s"])
            .args(more)
            .env("KUBECONFIG", &self.kubeconfig)
            .env("RUST_LOG", "info");
        command
    }
}

/// A kubeconfig for whoever has that token.
pub fn write_kubeconfig(cluster: &Cluster, token: &Value, path: &Path) {
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {
            "server": cluster.value("API_SERVER_URL"), "certificate-authority": cluster.value("CA_FILE")}}],
        "users": [{"name": "u", "user": {"token": token}}],
    });
    fs::write(path, config.to_string()).unwrap();
}

pub struct Operator {
    child: Child,
    log: PathBuf,
}

impl Operator {
    /// Starts it; its log goes to the folder.
    pub fn spawn(mut command: Command, folder: &Path, name: &str) -> Self {
        let path = folder.join(format!("{name}.log"));
        let log = File::options().create(true).append(true).open(&path).unwrap();
        command.env("RUST_BACKTRACE", "1").env("NO_COLOR", "1");
        let child = command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        let operator = Self { child, log: path };
        operator.note(folder, name);
        operator
    }

    /// So that the cluster's end ends it too, whatever becomes of this test.
    fn note(&self, folder: &Path, name: &str) {
        let pid = self.child.id();
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        if let Some(started) = stat.rsplit(") ").next().and_then(|rest| rest.split(' ').nth(19)) {
            let _ = fs::write(folder.join("pids").join(name), format!("{pid} {started}\n"));
        }
    }

    pub fn signal(&self, which: &str) {
        signal(which, &self.child.id().to_string());
    }

    /// It must be running: a crash is not to be taken for a fault that a test made.
    pub fn assert_alive(&mut self) {
        let ended = self.child.try_wait().unwrap();
        assert!(ended.is_none(), "the operator ended by itself ({ended:?}):\n{}", self.tail());
    }

    /// kill -9.
    pub fn kill(mut self) {
        self.assert_alive();
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM, and waits for its end, which must be a good one.
    pub fn stop(mut self) {
        self.assert_alive();
        self.signal("-TERM");
        let status = self.child.wait().unwrap();
        assert!(status.success(), "the operator ended with {status}:\n{}", self.tail());
    }

    /// Where its log is.
    pub fn path(&self) -> PathBuf {
        self.log.clone()
    }

    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    fn tail(&self) -> String {
        let text = self.log();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("the end of {}:\n{}", self.log.display(), self.tail());
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
