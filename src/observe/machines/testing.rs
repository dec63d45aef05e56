//! Objects of virtual machines as tests need them.

use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::model::spec::NamedAmounts;

/// Read as it is read of the API server.
pub(super) fn of<T: DeserializeOwned>(object: Value) -> T {
    serde_json::from_value(object).unwrap()
}

/// Nothing is known of what a member asks for.
pub(super) fn none(_: &str) -> NamedAmounts {
    NamedAmounts::new()
}

/// The reference to the owner of that kind.
pub(super) fn owner(kind: &str, uid: &str) -> Value {
    let version = if kind == "PooledWorkload" { "weir.dev/v1alpha1" } else { "kubevirt.io/v1" };
    json!([{"apiVersion": version, "kind": kind, "name": "db", "uid": uid, "controller": true}])
}
