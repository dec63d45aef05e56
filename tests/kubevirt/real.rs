//! The stand-in on a control plane.

use std::time::Duration;

use axum::http::{Method, Request};
use kube::Client;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::crds::{self, collection};
use super::migration::MIGRATION;
use super::{Act, INSTANCE, MACHINE, Snapshot, step};

const BETWEEN_LOOKS: Duration = Duration::from_millis(150);
const PATIENCE: Duration = Duration::from_secs(20);
const CRDS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

async fn call(
    client: &Client,
    method: Method,
    path: &str,
    content: &str,
    body: &Value,
) -> Result<Value, (u16, String)> {
    let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
    let request =
        Request::builder().method(method).uri(path).header("content-type", content).body(body).unwrap();
    client.request::<Value>(request).await.map_err(|error| match error {
        kube::Error::Api(status) => (status.code, status.message.clone()),
        other => (0, other.to_string()),
    })
}

/// Installs the definitions and waits until they are served.
pub async fn install(client: &Client) -> Result<(), String> {
    let until = Instant::now() + PATIENCE;
    for crd in crds::all() {
        let name = crd["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        loop {
            match call(client, Method::POST, CRDS, "application/json", &crd).await {
                Ok(_) => break,
                Err((409, _)) if is_established(client, &name).await => break,
                Err((_, words)) if Instant::now() > until => return Err(format!("{name}: {words}")),
                Err(_) => sleep(BETWEEN_LOOKS).await,
            }
        }
        while !is_established(client, &name).await {
            if Instant::now() > until {
                return Err(format!("{name} is not served"));
            }
            sleep(BETWEEN_LOOKS).await;
        }
    }
    Ok(())
}

async fn is_established(client: &Client, name: &str) -> bool {
    let path = format!("{CRDS}/{name}");
    let Ok(crd) = call(client, Method::GET, &path, "application/json", &Value::Null).await else {
        return false;
    };
    let conditions = crd["status"]["conditions"].as_array();
    crd["metadata"]["deletionTimestamp"].is_null()
        && conditions
            .is_some_and(|all| all.iter().any(|one| one["type"] == "Established" && one["status"] == "True"))
}

/// Takes the definitions away, and with them all machines.
pub async fn uninstall(client: &Client) -> Result<(), String> {
    for crd in crds::all().iter().rev() {
        let path = format!("{CRDS}/{}", crd["metadata"]["name"].as_str().unwrap_or_default());
        call(client, Method::DELETE, &path, "application/json", &Value::Null)
            .await
            .map_err(|(_, words)| words)?;
    }
    Ok(())
}

/// Does what follows from the objects, until it is dropped.
pub async fn run(client: Client) {
    loop {
        if let Some(seen) = look(&client).await {
            for act in step(&seen) {
                // What has changed meanwhile is looked at again: conflicts are usual here.
                let _ = carry_out(&client, act).await;
            }
        }
        sleep(BETWEEN_LOOKS).await;
    }
}

async fn list(client: &Client, path: &str, kind: &str) -> Option<Vec<Value>> {
    let list = match call(client, Method::GET, path, "application/json", &Value::Null).await {
        Ok(list) => list,
        // Its definition is going: what is left of the other kinds still has to be let go of.
        Err((404, _)) => return Some(Vec::new()),
        Err(_) => return None,
    };
    let mut items = list["items"].as_array().cloned().unwrap_or_default();
    for item in &mut items {
        item["kind"] = json!(kind);
    }
    Some(items)
}

async fn look(client: &Client) -> Option<Snapshot> {
    Some(Snapshot {
        machines: list(client, "/apis/kubevirt.io/v1/virtualmachines", MACHINE).await?,
        instances: list(client, "/apis/kubevirt.io/v1/virtualmachineinstances", INSTANCE).await?,
        migrations: list(client, "/apis/kubevirt.io/v1/virtualmachineinstancemigrations", MIGRATION).await?,
        pods: list(client, "/api/v1/pods?labelSelector=kubevirt.io%3Dvirt-launcher", "Pod").await?,
        claims: list(client, "/api/v1/persistentvolumeclaims", "PersistentVolumeClaim").await?,
    })
}

fn path(kind: &str, namespace: &str, name: &str) -> String {
    let all = match kind {
        "PersistentVolume" => "/api/v1/persistentvolumes".to_owned(),
        "PersistentVolumeClaim" => format!("/api/v1/namespaces/{namespace}/persistentvolumeclaims"),
        _ => collection(kind, namespace).unwrap_or_else(|| format!("/api/v1/namespaces/{namespace}/pods")),
    };
    format!("{all}/{name}")
}

async fn carry_out(client: &Client, act: Act) -> Result<(), (u16, String)> {
    match act {
        Act::Create(object) => {
            let kind = object["kind"].as_str().unwrap_or_default();
            let namespace = object["metadata"]["namespace"].as_str().unwrap_or_default();
            let all = path(kind, namespace, "");
            call(client, Method::POST, all.trim_end_matches('/'), "application/json", &object).await?;
        }
        Act::Patch(kind, namespace, name, version, mut patch) => {
            let mut at = path(kind, &namespace, &name);
            // Instances have no subresource for their status.
            if kind != INSTANCE && patch.get("status").is_some() {
                at.push_str("/status");
            }
            patch["metadata"]["resourceVersion"] = json!(version);
            call(client, Method::PATCH, &at, "application/merge-patch+json", &patch).await?;
        }
        Act::Delete(kind, namespace, name, uid) => {
            let body = json!({"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": uid}});
            call(client, Method::DELETE, &path(kind, &namespace, &name), "application/json", &body).await?;
        }
    }
    Ok(())
}
