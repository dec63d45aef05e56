//! What the API server would say of one object: structural schema, unknown fields, then CEL.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::api::field::{FieldPath, Problems, Step};
use crate::api::names::{is_label_value, is_qualified_name};
use crate::api::quantity::Amount;

/// The schema of one kind.
pub struct Schema {
    own: Value,
    whole: Value,
    rules: kube_cel::CompiledSchema,
}

impl Schema {
    /// From a definition.
    ///
    /// # Errors
    /// Where the definition cannot be written as JSON.
    pub fn of(
        crd: &k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
    ) -> anyhow::Result<Self> {
        let version = serde_json::to_value(crd.spec.versions.first())?;
        let schema = version["schema"]["openAPIV3Schema"].clone();
        let rules = kube_cel::compile_schema(&schema);
        // What every object has beside that.
        let mut whole = schema.clone();
        for known in ["apiVersion", "kind"] {
            whole["properties"][known] = serde_json::json!({"type": "string"});
        }
        whole["properties"]["metadata"] =
            serde_json::json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
        Ok(Self { own: schema, whole, rules })
    }

    /// Validates one object and gives it back with defaults, if its shape is right.
    pub fn validate(&self, object: &Value, problems: &mut Problems) -> Option<Value> {
        let mut object = object.clone();
        if let Value::Object(fields) = &mut object {
            // The API server takes no status from those who write the spec.
            fields.remove("status");
        }
        let named = metadata(&object, problems);
        // As on the API server, rules are not asked about an object whose shape is wrong; unlike there, all
        // else that is wrong does not keep them from speaking.
        if !structure(&self.whole, &mut object, &FieldPath::root(), problems) || !named {
            return None;
        }
        let object = kube_cel::apply_defaults(&self.own, &object);
        if let Err(errors) = kube_cel::Validator::new().validate_compiled(&self.rules, &object, None) {
            for error in &errors {
                let (path, message) = narrowed(&object, parse_path(&error.field_path), &error.message);
                problems.add(path, message);
            }
        }
        Some(object)
    }
}

/// What the metadata of an object may hold.
const METADATA: &[&str] = &[
    "annotations",
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "finalizers",
    "generateName",
    "generation",
    "labels",
    "managedFields",
    "name",
    "namespace",
    "ownerReferences",
    "resourceVersion",
    "selfLink",
    "uid",
];

const NO_TEXT: &str = "write a text, in quotes where it looks like a number or a truth value";

/// What the API server holds of the metadata of every object, as far as people get it wrong; and whether there
/// is a name.
fn metadata(object: &Value, problems: &mut Problems) -> bool {
    let at = FieldPath::of("metadata");
    let Some(metadata) = object.get("metadata").and_then(Value::as_object) else {
        problems.add(at, "write metadata with a name");
        return false;
    };
    let name = metadata.get("name");
    match name {
        Some(Value::String(name)) if !name.is_empty() => {}
        None | Some(Value::Null | Value::String(_)) => problems.add(at.key("name"), "write a name"),
        Some(_) => problems.add(at.key("name"), NO_TEXT),
    }
    if metadata.get("namespace").is_some_and(|n| !n.is_string() && !n.is_null()) {
        problems.add(at.key("namespace"), NO_TEXT);
    }
    for key in metadata.keys().filter(|key| !METADATA.contains(&key.as_str())) {
        let near = nearest(key, METADATA.iter().copied());
        let hint = near.map_or_else(|| "leave it away".to_owned(), |near| format!("did you mean {near}?"));
        problems.add(at.key(key), format!("unknown field: {hint}"));
    }
    for field in ["labels", "annotations"] {
        for (key, value) in metadata.get(field).and_then(Value::as_object).into_iter().flatten() {
            let at = at.key(field).key(key);
            if !is_qualified_name(key) {
                problems.add(at, "write a key such as app or example.com/app");
            } else if let Some(text) = value.as_str() {
                if field == "labels" && !is_label_value(text) {
                    problems.add(at, "write at most 63 letters, digits, '-', '_' and '.'");
                }
            } else {
                problems.add(at, NO_TEXT);
            }
        }
    }
    name.and_then(Value::as_str).is_some_and(|name| !name.is_empty())
}

/// A rule of a whole object often speaks of one field: `limit: write ...`. The finding then belongs there.
fn narrowed(object: &Value, path: FieldPath, message: &str) -> (FieldPath, String) {
    if let Some((field, rest)) = message.split_once(": ")
        && !field.contains(' ')
    {
        let narrower = path.join(&FieldPath::of(field));
        if value_at(object, &narrower).is_some() {
            return (narrower, rest.to_owned());
        }
    }
    (path, message.to_owned())
}

fn value_at<'a>(object: &'a Value, path: &FieldPath) -> Option<&'a Value> {
    path.0.iter().try_fold(object, |value, step| match step {
        Step::Key(key) => value.get(key),
        Step::Index(index) => value.get(index),
    })
}

/// `spec.resources[0]` as the validator writes it. No rule stands below a key with a point in it.
fn parse_path(text: &str) -> FieldPath {
    let mut steps = Vec::new();
    for part in text.split(['.', '[']).filter(|part| !part.is_empty()) {
        match part.strip_suffix(']').map(str::parse) {
            Some(Ok(index)) => steps.push(Step::Index(index)),
            _ => steps.push(Step::Key(part.trim_end_matches(']').to_owned())),
        }
    }
    FieldPath(steps)
}

/// Walks value and schema together and says whether the shape is right: types, and nothing missing. Nulls
/// that mean absence are taken out.
fn structure(schema: &Value, value: &mut Value, at: &FieldPath, problems: &mut Problems) -> bool {
    if schema["x-kubernetes-int-or-string"] == true {
        length(schema, value, at, problems);
        return quantity(value, at, problems);
    }
    let wanted = schema["type"].as_str().unwrap_or_default();
    let fits = match wanted {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        _ => true,
    };
    if !fits {
        problems.add(at.clone(), format!("{} stands where {} belongs", kind(value), named(wanted)));
        return false;
    }
    match value {
        Value::Object(fields) => return object(schema, fields, at, problems),
        Value::Array(items) => return array(schema, items, at, problems),
        Value::Number(number) => range(schema, number.as_f64().unwrap_or_default(), at, problems),
        Value::String(text) => {
            if let Some(known) = schema["enum"].as_array()
                && !known.iter().any(|k| k == text.as_str())
            {
                let known: Vec<_> = known.iter().filter_map(Value::as_str).collect();
                problems.add(at.clone(), format!("{text:?} is not known: write {}", known.join(", ")));
            }
            length(schema, value, at, problems);
        }
        Value::Null | Value::Bool(_) => {}
    }
    true
}

/// Every field that takes numbers and texts alike is a quantity. One that cannot be read, or is too
/// fine for the rules, is told here and taken out, so that no rule stumbles over it.
fn quantity(value: &mut Value, at: &FieldPath, problems: &mut Problems) -> bool {
    let told = match value {
        Value::String(text) => match for_rules(text) {
            Ok(text) => {
                *value = text.into();
                return true;
            }
            Err(message) => message,
        },
        Value::Number(number) if number.is_i64() => return true,
        _ => {
            problems.add(
                at.clone(),
                format!("{} is neither a whole number nor a text: put it in quotes", kind(value)),
            );
            return false;
        }
    };
    problems.add(at.clone(), told);
    *value = Value::Null;
    true
}

/// The quantity as it was written, if the evaluator of the rules can hold it: down to nano-units it holds what
/// [`Amount`] holds. What is finer than that the rules refuse in any case.
fn for_rules(text: &str) -> Result<String, String> {
    let amount = Amount::parse(text).map_err(|error| error.to_string())?;
    let number = text.trim_start_matches(['+', '-']);
    let number_length = number.bytes().take_while(|b| b.is_ascii_digit() || *b == b'.').count();
    let (number, suffix) = number.split_at(number_length);
    let decimals = number.split_once('.').map_or(0, |(_, decimals)| decimals.len());
    let exponent = suffix.strip_prefix(['e', 'E']).and_then(|exponent| exponent.parse::<i64>().ok());
    let power = exponent.unwrap_or(match suffix {
        "n" => -9,
        "u" => -6,
        "m" => -3,
        _ => 0,
    });
    if i64::try_from(decimals).is_ok_and(|decimals| power - decimals < -9) {
        return Err(format!("{text:?} is finer than can be counted: write a rounder quantity"));
    }
    // The evaluator would multiply even a zero until it overflows.
    Ok(if amount.is_zero() && power > 18 { "0e0".to_owned() } else { text.to_owned() })
}

fn range(schema: &Value, number: f64, at: &FieldPath, problems: &mut Problems) {
    let (least, most) = (schema["minimum"].as_f64(), schema["maximum"].as_f64());
    if least.is_none_or(|least| number >= least) && most.is_none_or(|most| number <= most) {
        return;
    }
    let hint = match (least, most) {
        (Some(least), Some(most)) => format!("{least} to {most}"),
        (Some(least), None) => format!("{least} or more"),
        (None, most) => format!("{} or less", most.unwrap_or_default()),
    };
    problems.add(at.clone(), format!("{number} is out of range: write {hint}"));
}

fn object(schema: &Value, fields: &mut Map<String, Value>, at: &FieldPath, problems: &mut Problems) -> bool {
    let empty = Map::new();
    let properties = schema["properties"].as_object().unwrap_or(&empty);
    let means_absent =
        |key: &str| properties.get(key).is_some_and(|p| p["nullable"] == true || p.get("default").is_some());
    fields.retain(|key, field| !(field.is_null() && means_absent(key)));
    let mut right = true;
    for required in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        if !fields.contains_key(required) {
            problems.add(at.key(required), "is missing: write it");
            right = false;
        }
    }
    if let Some(most) = schema["maxProperties"].as_u64()
        && fields.len() as u64 > most
    {
        problems.add(at.clone(), format!("has {} entries: write at most {most}", fields.len()));
    }
    let open = schema["x-kubernetes-preserve-unknown-fields"] == true;
    for (key, field) in fields.iter_mut() {
        let at = at.key(key);
        if let Some(property) = properties.get(key) {
            right &= structure(property, field, &at, problems);
        } else if schema["additionalProperties"].is_object() {
            right &= structure(&schema["additionalProperties"], field, &at, problems);
        } else if !open {
            let near = nearest(key, properties.keys().map(String::as_str));
            let hint =
                near.map_or_else(|| "leave it away".to_owned(), |near| format!("did you mean {near}?"));
            problems.add(at, format!("unknown field: {hint}"));
        }
    }
    if !open {
        fields.retain(|_, field| !field.is_null());
    }
    right
}

fn array(schema: &Value, items: &mut [Value], at: &FieldPath, problems: &mut Problems) -> bool {
    if let Some(most) = schema["maxItems"].as_u64()
        && items.len() as u64 > most
    {
        problems.add(at.clone(), format!("has {} entries: write at most {most}", items.len()));
    }
    let mut right = true;
    for (index, item) in items.iter_mut().enumerate() {
        right &= structure(&schema["items"], item, &at.index(index), problems);
    }
    let keys: Vec<&str> = schema["x-kubernetes-list-map-keys"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    if keys.is_empty() {
        return right;
    }
    let mut seen = BTreeSet::new();
    for (index, item) in items.iter().enumerate() {
        let identity: Vec<String> = keys.iter().map(|key| item[*key].to_string()).collect();
        let shown = identity.join(", ");
        if !seen.insert(identity) {
            problems.add(at.index(index), format!("{shown} is there twice: write one entry each"));
        }
    }
    right
}

fn length(schema: &Value, value: &Value, at: &FieldPath, problems: &mut Problems) {
    let Some(text) = value.as_str() else { return };
    let count = text.chars().count() as u64;
    if let Some(most) = schema["maxLength"].as_u64()
        && count > most
    {
        problems.add(at.clone(), format!("has {count} characters: write at most {most}"));
    }
    if let Some(least) = schema["minLength"].as_u64()
        && count < least
    {
        problems.add(at.clone(), "is empty: write something, or leave the field away");
    }
    if let Some(pattern) = schema["pattern"].as_str()
        && !matches(pattern, text)
    {
        problems.add(at.clone(), format!("{text:?} does not match {pattern}"));
    }
}

/// By CEL, whose regular expressions are those of the API server's patterns.
fn matches(pattern: &str, text: &str) -> bool {
    let rule = serde_json::json!({
        "type": "string",
        "x-kubernetes-validations": [{"rule": format!("self.matches({})", serde_json::json!(pattern))}],
    });
    kube_cel::Validator::new().validate(&rule, &Value::from(text), None).is_ok()
}

fn kind(value: &Value) -> String {
    match value {
        Value::Null => "nothing".to_owned(),
        Value::Bool(value) => format!("the truth value {value}"),
        Value::Number(number) => format!("the number {number}"),
        Value::String(text) if text.chars().count() <= 40 => format!("the text {text:?}"),
        Value::String(_) => "a text".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "a map".to_owned(),
    }
}

fn named(wanted: &str) -> &'static str {
    match wanted {
        "object" => "a map",
        "array" => "a list",
        "string" => "a text",
        "boolean" => "true or false",
        "integer" => "a whole number",
        _ => "something else",
    }
}

/// A known name that is at most two edits away.
pub fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    if name.chars().count() > 40 {
        return None;
    }
    let most = if name.len() > 4 { 2 } else { 1 };
    known
        .map(|k| (edits(&name.to_lowercase(), &k.to_lowercase()), k))
        .filter(|(e, _)| *e <= most)
        .min()
        .map(|(_, k)| k)
}

/// The Levenshtein distance.
fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let cost = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = cost.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
