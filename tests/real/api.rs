//! The API server, in plain JSON: nothing of Weir's own types or clients is used here.

use std::path::Path;
use std::time::{Duration, Instant};

use axum::http::Request;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::{Value, json};

pub const POOLS: &str = "/apis/weir.dev/v1alpha1/resourcepools";
pub const NODES: &str = "/api/v1/nodes";
pub const CRDS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
pub const NAMESPACES: &str = "/api/v1/namespaces";

/// Where workloads of a namespace are.
pub fn workloads(namespace: &str) -> String {
    format!("/apis/weir.dev/v1alpha1/namespaces/{namespace}/pooledworkloads")
}

/// Where pods of a namespace are.
pub fn pods(namespace: &str) -> String {
    format!("/api/v1/namespaces/{namespace}/pods")
}

#[derive(Clone)]
pub struct Api {
    pub client: Client,
}

impl Api {
    pub async fn new(kubeconfig: &Path) -> Self {
        let config = Kubeconfig::read_from(kubeconfig).unwrap();
        let config = Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await.unwrap();
        Self { client: Client::try_from(config).unwrap() }
    }

    async fn ask(&self, method: &str, path: &str, kind: &str, body: &Value) -> Result<Value, kube::Error> {
        let bytes = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        let request = Request::builder().method(method).uri(path).header("content-type", kind);
        self.client.request(request.body(bytes).unwrap()).await
    }

    /// None where there is no such thing.
    /// The same as another user, who may do everything.
    pub async fn acting_as(&self, kubeconfig: &Path, user: &str) -> Self {
        let config = Kubeconfig::read_from(kubeconfig).unwrap();
        let mut config = Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await.unwrap();
        config.auth_info.impersonate = Some(user.to_owned());
        config.auth_info.impersonate_groups = Some(vec!["system:masters".to_owned()]);
        Self { client: Client::try_from(config).unwrap() }
    }

    pub async fn get(&self, path: &str) -> Option<Value> {
        match self.ask("GET", path, "application/json", &Value::Null).await {
            Ok(found) => Some(found),
            Err(kube::Error::Api(status)) if status.code == 404 => None,
            Err(error) => panic!("GET {path}: {error}"),
        }
    }

    pub async fn list(&self, path: &str) -> Vec<Value> {
        let found = self.get(path).await.unwrap_or_else(|| panic!("there is no {path}"));
        found["items"].as_array().cloned().unwrap_or_default()
    }

    pub async fn post(&self, path: &str, body: Value) -> Value {
        let answer = self.ask("POST", path, "application/json", &body).await;
        answer.unwrap_or_else(|error| panic!("POST {path}: {error}\n{body:#}"))
    }

    pub async fn patch(&self, path: &str, body: Value) -> Value {
        let answer = self.ask("PATCH", path, "application/merge-patch+json", &body).await;
        answer.unwrap_or_else(|error| panic!("PATCH {path}: {error}\n{body:#}"))
    }

    pub async fn put(&self, path: &str, body: Value) -> Value {
        let answer = self.ask("PUT", path, "application/json", &body).await;
        answer.unwrap_or_else(|error| panic!("PUT {path}: {error}"))
    }

    pub async fn delete(&self, path: &str) {
        match self.ask("DELETE", path, "application/json", &Value::Null).await {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            Err(error) => panic!("DELETE {path}: {error}"),
        }
    }

    pub async fn namespace(&self, name: &str) {
        self.post(NAMESPACES, json!({"metadata": {"name": name}})).await;
    }

    /// Simulated nodes `node-0`, `node-1`, ... as [`small_node`] has them.
    pub async fn small_nodes(&self, count: usize) {
        for number in 0..count {
            self.post(NODES, small_node(number)).await;
        }
    }

    /// The same that can run virtual machines, by their label `kubevirt.io/schedulable`.
    pub async fn machine_nodes(&self, count: usize) {
        for number in 0..count {
            let mut node = small_node(number);
            node["metadata"]["labels"] = json!({"kubevirt.io/schedulable": "true"});
            for offers in ["capacity", "allocatable"] {
                node["status"][offers]["ephemeral-storage"] = json!("100Gi");
                for device in ["kvm", "tun", "vhost-net"] {
                    node["status"][offers][format!("devices.kubevirt.io/{device}")] = json!("100");
                }
            }
            self.post(NODES, node).await;
        }
    }

    /// Puts a definition in the place of the one that is there, if there is one, and waits until it is served.
    pub async fn define(&self, mut crd: Value) {
        let name = crd["metadata"]["name"].as_str().unwrap().to_owned();
        let path = format!("{CRDS}/{name}");
        if let Some(found) = self.get(&path).await {
            crd["metadata"]["resourceVersion"] = found["metadata"]["resourceVersion"].clone();
            self.put(&path, crd).await;
        } else {
            self.post(CRDS, crd).await;
        }
        self.until_established(&name, 30).await;
    }

    /// Waits until the definition of that name is served.
    pub async fn until_established(&self, name: &str, seconds: u64) {
        let established = |crd: &Value| {
            let conditions = crd["status"]["conditions"].as_array();
            conditions
                .into_iter()
                .flatten()
                .any(|one| one["type"] == "Established" && one["status"] == "True")
        };
        self.until(&format!("{CRDS}/{name}"), seconds, established).await;
    }

    /// Waits until the object is as it should be.
    pub async fn until(&self, path: &str, seconds: u64, good: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + Duration::from_secs(seconds);
        loop {
            let found = self.get(path).await;
            if let Some(found) = found.as_ref().filter(|found| good(found)) {
                return found.clone();
            }
            assert!(Instant::now() < deadline, "after {seconds} s {path} is:\n{}", short(found.as_ref()));
            pause(100).await;
        }
    }

    /// Waits until what is listed is as it should be.
    pub async fn until_list(&self, path: &str, seconds: u64, good: impl Fn(&[Value]) -> bool) -> Vec<Value> {
        let found = self.until(path, seconds, |list| good(list["items"].as_array().unwrap())).await;
        found["items"].as_array().cloned().unwrap()
    }

    pub async fn until_gone(&self, path: &str, seconds: u64) {
        let deadline = Instant::now() + Duration::from_secs(seconds);
        while let Some(found) = self.get(path).await {
            assert!(Instant::now() < deadline, "after {seconds} s {path} still is:\n{}", short(Some(&found)));
            pause(100).await;
        }
    }

    /// Waits for a phase of a workload.
    pub async fn until_phase(&self, namespace: &str, name: &str, phase: &str, seconds: u64) -> Value {
        let path = format!("{}/{name}", workloads(namespace));
        self.until(&path, seconds, |found| found["status"]["phase"] == phase).await
    }
}

fn short(found: Option<&Value>) -> String {
    let Some(found) = found else { return "not there".to_owned() };
    let mut found = found.clone();
    let items = found["items"].as_array_mut();
    for object in items.into_iter().flatten() {
        object["metadata"]["managedFields"].take();
    }
    found["metadata"]["managedFields"].take();
    let text = format!("{found:#}");
    text.chars().take(6000).collect()
}

/// A simulated node of four CPUs and 16Gi, with the label `kind: small`.
pub fn small_node(number: usize) -> Value {
    let offers = json!({"cpu": "4", "memory": "16Gi", "pods": "110"});
    json!({
        "metadata": {"name": format!("node-{number}"), "labels": {"kind": "small"},
                     "annotations": {"kwok.x-k8s.io/node": "fake"}},
        "status": {"capacity": offers, "allocatable": offers},
    })
}

pub async fn pause(millis: u64) {
    tokio::time::sleep(Duration::from_millis(millis)).await;
}

/// Prints what was shown, and how long it took.
pub struct Checks {
    what: &'static str,
    began: Instant,
    last: Instant,
}

impl Checks {
    pub fn begin(what: &'static str) -> Self {
        Self { what, began: Instant::now(), last: Instant::now() }
    }

    pub fn ok(&mut self, shown: &str) {
        let (took, all) = (self.last.elapsed().as_secs_f64(), self.began.elapsed().as_secs_f64());
        println!("{}: {shown} ({took:.1} s, {all:.1} s in all)", self.what);
        self.last = Instant::now();
    }
}
