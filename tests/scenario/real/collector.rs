//! Kubernetes' garbage collector looks only every half minute which kinds there are, so in a cluster that has just
//! started it does not delete what a workload owns yet. A scenario that deletes a workload begins when it does.

use std::time::{Duration, Instant};

use axum::http::Method;
use serde_json::{Value, json};
use tokio::sync::OnceCell;
use tokio::time::sleep;

use super::super::expand::Key;
use super::super::file::{Act, Scenario};
use super::super::store::namespace_manifest;
use super::{Api, BETWEEN_LOOKS, JSON, collection, touched};

/// It looks every 30 s, and then lists all objects of what is new; two cores are busy.
const PATIENCE: Duration = Duration::from_mins(2);
const SPACE: &str = "collector";

/// Whether it is known by now to delete what workloads own.
#[derive(Default)]
pub struct Collector {
    config_maps: OnceCell<Result<(), String>>,
    machines: OnceCell<Result<(), String>>,
}

impl Collector {
    /// Returns when it deletes what the scenario needs deleted; at once where it needs nothing.
    ///
    /// # Errors
    ///
    /// It does not within two minutes, or the API server refuses what that is tried with.
    pub async fn knows(&self, api: &Api, scenario: &Scenario) -> Result<(), String> {
        let deletes = |act: &Act| matches!(act, Act::Delete(Key { kind, .. }) if kind == "PooledWorkload");
        let expires = |object: &Value| object.to_string().contains("ttlAfterFinished");
        let mut acts = scenario.steps.iter().flat_map(|step| &step.acts);
        if !acts.any(deletes) && !touched(scenario).any(expires) {
            return Ok(());
        }
        let map = json!({"apiVersion": "v1", "kind": "ConfigMap"});
        self.config_maps.get_or_init(|| deletes_what_is_owned(api, map)).await.clone()?;
        if scenario.kubevirt {
            let machine = json!({"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachine", "spec": {
                "runStrategy": "Halted", "template": {"spec": {"domain": {"devices": {}}}}}});
            self.machines.get_or_init(|| deletes_what_is_owned(api, machine)).await.clone()?;
        }
        Ok(())
    }
}

/// Makes a workload that owns this, deletes it, and waits until the other goes.
async fn deletes_what_is_owned(api: &Api, mut owned: Value) -> Result<(), String> {
    let name = owned["kind"].as_str().unwrap_or_default().to_lowercase();
    let workload = json!({
        "apiVersion": "weir.dev/v1alpha1", "kind": "PooledWorkload",
        "metadata": {"name": name, "namespace": SPACE},
        "spec": {"pool": "none", "suspend": true, "template": {"pod": {"spec": {
            "containers": [{"name": "main", "image": "x", "resources": {"requests": {"cpu": "1"}}}]}}}}});
    api.apply(&namespace_manifest(SPACE)).await?;
    let path = collection("PooledWorkload", SPACE);
    let made = api.call(Method::POST, &path, JSON, &workload).await.map_err(|(_, words)| words)?;
    owned["metadata"] = json!({"name": name, "namespace": SPACE, "ownerReferences": [{
        "apiVersion": "weir.dev/v1alpha1", "kind": "PooledWorkload", "name": name, "uid": made["metadata"]["uid"]}]});
    api.apply(&owned).await?;
    api.delete(&Key::of(&workload)).await?;
    let key = Key::of(&owned);
    let until = Instant::now() + PATIENCE;
    while api.get(&key).await?.is_some() {
        if Instant::now() > until {
            let waited = PATIENCE.as_secs();
            return Err(format!(
                "the garbage collector has not deleted {} {name} of a deleted workload after {waited} s",
                key.kind
            ));
        }
        sleep(BETWEEN_LOOKS).await;
    }
    Ok(())
}
