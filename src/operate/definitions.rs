//! Whether the cluster's definitions of both kinds know all that the program knows. Older ones drop fields that are
//! written, by users or by the operator, without a word.

use std::time::Duration;

use axum::http::Request;
use kube::Client;
use serde_json::Value;
use tokio::time::sleep;
use tracing::{debug, warn};

use super::http::Told;
use crate::api;

/// It is looked at that often.
const LOOK: Duration = Duration::from_mins(10);
/// After the API server did not say.
const AGAIN: Duration = Duration::from_secs(5);
/// Every user may read this.
const SCHEMA: &str = "/openapi/v3/apis/weir.dev/v1alpha1";
/// Fields that are named; of more the number is told.
const MOST: usize = 5;

/// The kinds.
const KINDS: [&str; 2] = ["ResourcePool", "PooledWorkload"];

/// Looks at them again and again, and says what is missing.
pub async fn follow(client: Client, told: Told) {
    loop {
        let pause = match read(&client).await {
            Ok(schema) => {
                for kind in KINDS {
                    tell(&told, kind, &missing(kind, &schema));
                }
                LOOK
            }
            Err(error) => {
                debug!(%error, "the definitions cannot be read");
                AGAIN
            }
        };
        sleep(pause).await;
    }
}

async fn read(client: &Client) -> Result<Value, String> {
    let request = Request::get(SCHEMA).body(Vec::new()).map_err(|error| error.to_string())?;
    client.request(request).await.map_err(|error| error.to_string())
}

fn tell(told: &Told, kind: &'static str, missing: &[String]) {
    told.metrics.fields_missing(kind, missing.len());
    let text = (!missing.is_empty()).then(|| {
        let named = missing.iter().take(MOST).cloned().collect::<Vec<_>>().join(", ");
        let more = missing.len().saturating_sub(MOST);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        format!(
            "the cluster's definition of {kind} is older than the operator and drops {named}{more}. Upgrade the definitions: \
             helm upgrade does, or kubectl apply --server-side -f crds/"
        )
    });
    if told.health.note(&format!("definition of {kind}"), text.clone())
        && let Some(text) = text
    {
        warn!(kind, "{text}");
    }
}

/// The paths of fields of the kind that the program knows and the schema does not.
pub fn missing(kind: &str, schema: &Value) -> Vec<String> {
    let of_kind = |one: &&Value| {
        let groups = one["x-kubernetes-group-version-kind"].as_array();
        groups.is_some_and(|groups| groups.iter().any(|group| group["kind"] == kind))
    };
    let schemas = schema["components"]["schemas"].as_object();
    // A kind that is not there at all is told of by its watch.
    let Some(theirs) = schemas.into_iter().flat_map(|all| all.values()).find(of_kind) else {
        return Vec::new();
    };
    let mut missing = Vec::new();
    for (_, crd) in api::crds().iter().filter(|(_, crd)| crd.spec.names.kind == kind) {
        let ours = crd.spec.versions.first().and_then(|version| version.schema.as_ref());
        let ours = ours.and_then(|schema| serde_json::to_value(&schema.open_api_v3_schema).ok());
        for part in ["spec", "status"] {
            if let Some(ours) = &ours {
                compare(part, &ours["properties"][part], &theirs["properties"][part], &mut missing);
            }
        }
    }
    missing
}

fn compare(path: &str, ours: &Value, theirs: &Value, missing: &mut Vec<String>) {
    if theirs.is_null() {
        missing.push(path.to_owned());
        return;
    }
    if theirs["x-kubernetes-preserve-unknown-fields"] == true {
        return;
    }
    for (name, field) in ours["properties"].as_object().into_iter().flatten() {
        compare(&format!("{path}.{name}"), field, &theirs["properties"][name], missing);
    }
    for (inner, shown) in [("items", "[]"), ("additionalProperties", ".*")] {
        if ours[inner].is_object() {
            compare(&format!("{path}{shown}"), &ours[inner], &theirs[inner], missing);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// What an API server says that has our own definitions, but for what `change` does to them.
    fn schema(change: impl Fn(&mut Value)) -> Value {
        let mut schemas = serde_json::Map::new();
        for (file, crd) in api::crds() {
            let version = crd.spec.versions.first().unwrap();
            let mut schema =
                serde_json::to_value(&version.schema.as_ref().unwrap().open_api_v3_schema).unwrap();
            schema["x-kubernetes-group-version-kind"] =
                json!([{"group": "weir.dev", "kind": crd.spec.names.kind}]);
            change(&mut schema);
            schemas.insert(file.to_owned(), schema);
        }
        json!({"components": {"schemas": schemas}})
    }

    #[test]
    fn equal_and_newer_definitions_lack_nothing() {
        for kind in KINDS {
            assert_eq!(missing(kind, &schema(|_| {})), [""; 0]);
            let newer =
                |one: &mut Value| one["properties"]["spec"]["properties"]["news"] = json!({"type": "string"});
            assert_eq!(missing(kind, &schema(newer)), [""; 0]);
        }
    }

    #[test]
    fn what_older_definitions_lack_is_named() {
        let older = |one: &mut Value| {
            one["properties"]["status"]["properties"].as_object_mut().unwrap().remove("conditions");
            let spec = &mut one["properties"]["spec"]["properties"];
            if let Some(items) = spec["resources"]["items"]["properties"].as_object_mut() {
                items.remove("lendingLimit");
            }
        };
        assert_eq!(
            missing("ResourcePool", &schema(older)),
            ["spec.resources[].lendingLimit", "status.conditions"]
        );
        assert_eq!(missing("PooledWorkload", &schema(older)), ["status.conditions"]);
    }
}
