//! Merge patches: the least that turns one object into another (RFC 7396).

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// The merge patch from `last` to `next`; none if they are equal.
pub fn between<T: Serialize>(last: &T, next: &T) -> Option<Value> {
    // Statuses have no maps with other keys than strings: this cannot fail.
    let last = serde_json::to_value(last).unwrap_or_default();
    let next = serde_json::to_value(next).unwrap_or_default();
    merge_patch(&last, &next)
}

/// `last` after the merge patch; `last` itself if what comes out is not one of its kind.
pub fn patched<T: Serialize + DeserializeOwned + Clone>(last: &T, patch: &Value) -> T {
    let mut next = serde_json::to_value(last).unwrap_or_default();
    apply(&mut next, patch);
    serde_json::from_value(next).unwrap_or_else(|_| last.clone())
}

fn apply(value: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *value = patch.clone();
        return;
    };
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    let Value::Object(fields) = value else { return };
    for (key, part) in patch {
        if part.is_null() {
            fields.remove(key);
        } else {
            apply(fields.entry(key.clone()).or_insert(Value::Null), part);
        }
    }
}

fn merge_patch(last: &Value, next: &Value) -> Option<Value> {
    if last == next {
        return None;
    }
    let (Value::Object(last), Value::Object(next)) = (last, next) else { return Some(next.clone()) };
    let mut patch = Map::new();
    for key in last.keys().filter(|key| !next.contains_key(*key)) {
        patch.insert(key.clone(), Value::Null);
    }
    for (key, next) in next {
        let part = match last.get(key) {
            Some(last) => merge_patch(last, next),
            None => Some(next.clone()),
        };
        if let Some(part) = part {
            patch.insert(key.clone(), part);
        }
    }
    Some(Value::Object(patch))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_patch_carries_what_changed_and_nothing_else() {
        let last = json!({"same": 1, "gone": 2, "list": [1, 2], "deep": {"same": 1, "other": 2}});
        let next = json!({"same": 1, "list": [1], "deep": {"same": 1, "other": 3}, "new": {"a": 1}});
        assert_eq!(
            between(&last, &next),
            Some(json!({"gone": null, "list": [1], "deep": {"other": 3}, "new": {"a": 1}}))
        );
        assert_eq!(between(&last, &last), None);
        assert_eq!(patched(&last, &between(&last, &next).unwrap()), next);
    }
}
