//! Statuses, finalizers and taints: merge patches that carry the resourceVersion that they were made from.

use std::sync::Arc;

use axum::http::{Method, Request};
use kube::Resource as _;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::answer::Answer;
use super::call::{MERGE, Outcome, Written, request};
use super::writer::Hand;
use crate::api::pruned::Taint;
use crate::api::{PooledWorkload, ResourcePool, labels};

/// One merge patch.
pub struct Patch<'a> {
    /// UID of the workload or name of the pool or node, for the answer.
    pub object: &'a Arc<str>,
    /// For the metrics.
    pub kind: &'static str,
    /// Where.
    pub path: String,
    /// What; it is taken when it was written.
    body: Value,
}

impl<'a> Patch<'a> {
    /// The status of a workload.
    pub fn workload(
        object: &'a Arc<str>,
        namespace: &str,
        name: &str,
        version: &str,
        status: &Value,
    ) -> Self {
        let path =
            format!("{}/{name}/status?fieldManager=weir", PooledWorkload::url_path(&(), Some(namespace)));
        let body = json!({"metadata": {"resourceVersion": version}, "status": status});
        Self { object, kind: "workload_status", path, body }
    }

    /// The status of a pool.
    pub fn pool(object: &'a Arc<str>, version: &str, status: &Value) -> Self {
        let path = format!("{}/{object}/status?fieldManager=weir", ResourcePool::url_path(&(), None));
        let body = json!({"metadata": {"resourceVersion": version}, "status": status});
        Self { object, kind: "pool_status", path, body }
    }

    /// The finalizers of a pool.
    pub fn finalizers(object: &'a Arc<str>, version: &str, finalizers: &[String]) -> Self {
        let path = format!("{}/{object}?fieldManager=weir", ResourcePool::url_path(&(), None));
        let body = json!({"metadata": {"resourceVersion": version, "finalizers": finalizers}});
        Self { object, kind: "pool_finalizers", path, body }
    }

    /// The taints of a node, and whose they are.
    pub fn taints(
        object: &'a Arc<str>,
        node: &str,
        version: &str,
        taints: &[Taint],
        tainted_for: Option<&str>,
    ) -> Self {
        let path = format!("/api/v1/nodes/{node}?fieldManager=weir");
        let metadata = json!({"resourceVersion": version, "annotations": {labels::TAINTED_FOR: tainted_for}});
        let body = json!({"metadata": metadata, "spec": {"taints": taints}});
        Self { object, kind: "node_taints", path, body }
    }

    /// Writes it; whether it was written, and what to tell.
    pub async fn carry_out(mut self, hand: &Hand<'_>) -> (bool, Option<Answer>) {
        let mut failures = 0_u32;
        let object = self.object.clone();
        loop {
            let request = match self.request() {
                Ok(request) => request,
                Err(message) => {
                    hand.refused(message);
                    return (false, None);
                }
            };
            let wait = match hand.call(self.kind, request).await {
                Outcome::Done(body) => {
                    let version = serde_json::from_slice::<Written>(&body).unwrap_or_default();
                    let resource_version = version.metadata.resource_version.into();
                    let status = self.body.get_mut("status").map_or_else(|| json!({}), Value::take);
                    return (true, Some(Answer::Written { object, resource_version, status }));
                }
                Outcome::Conflict(_) | Outcome::Missing(_) => {
                    return (false, Some(Answer::Outdated { object }));
                }
                Outcome::Later(after, _) => after.unwrap_or_else(|| hand.pauses().after(failures)),
                Outcome::Unclear(_) => hand.pauses().after(failures),
                // The hand knows what was refused.
                Outcome::Refused(..) | Outcome::NotLeading => return (false, None),
            };
            // What comes after it for the same object says more than it does.
            if hand.overtaken_within(sleep(wait)).await {
                return (false, Some(Answer::Outdated { object }));
            }
            failures = failures.saturating_add(1);
        }
    }

    fn request(&self) -> Result<Request<Vec<u8>>, String> {
        let body = serde_json::to_vec(&self.body).map_err(|error| error.to_string())?;
        request(Method::PATCH, &self.path, MERGE, body)
    }
}
