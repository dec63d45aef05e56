//! The reference of the API, made from the definitions, which are made from the Rust types.

use std::fmt::Write as _;

use serde_json::Value;

use super::generated;

fn reference() -> String {
    let mut text = "# API: `weir.dev/v1alpha1`\n\nMade from the types by `make generate`; `kubectl explain` shows the same. How fields are used \
                    stands in [pools](../pools.md) and [workloads](../workloads.md).\n"
        .to_owned();
    for (_, crd) in weir::api::crds() {
        let crd = serde_json::to_value(&crd).unwrap();
        let kind = crd["spec"]["names"]["kind"].as_str().unwrap();
        let short = crd["spec"]["names"]["shortNames"][0].as_str().unwrap();
        let scope = crd["spec"]["scope"].as_str().unwrap();
        let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        writeln!(text, "\n## {kind}\n\n{} Short name `{short}`; scope: {scope}.", describe(schema)).unwrap();
        rules(schema, &mut text);
        for part in ["spec", "status"] {
            let schema = &schema["properties"][part];
            writeln!(text, "\n### {kind}.{part}\n\n{}", describe(schema)).unwrap();
            table(schema, &mut text);
            rules(schema, &mut text);
        }
    }
    text
}

fn describe(schema: &Value) -> String {
    schema["description"].as_str().unwrap_or_default().replace('\n', " ")
}

/// What a field holds, in a word or two.
fn kind_of(schema: &Value) -> String {
    if schema["x-kubernetes-int-or-string"] == true {
        return "quantity".to_owned();
    }
    if let Some(values) = schema["enum"].as_array() {
        let values: Vec<String> =
            values.iter().filter_map(Value::as_str).map(|value| format!("`{value}`")).collect();
        if !values.is_empty() {
            return values.join(", ");
        }
    }
    let kind = schema["type"].as_str().unwrap_or("any");
    let bounds = match (number(&schema["minimum"]), number(&schema["maximum"])) {
        (Some(least), Some(most)) => format!(", {least} to {most}"),
        (Some(least), None) => format!(", at least {least}"),
        (None, Some(most)) => format!(", at most {most}"),
        (None, None) => String::new(),
    };
    match kind {
        "array" => format!("list of {}", kind_of(&schema["items"])),
        "object" if schema["additionalProperties"].is_object() => {
            format!("map to {}", kind_of(&schema["additionalProperties"]))
        }
        "string" if schema["format"] == "date-time" => "time".to_owned(),
        other => format!("{other}{bounds}"),
    }
}

fn number(value: &Value) -> Option<String> {
    value.as_f64().map(|number| format!("{number}"))
}

/// All fields below a schema, each with its path.
fn table(schema: &Value, text: &mut String) {
    writeln!(text, "\n| field | holds | default | meaning |\n|---|---|---|---|").unwrap();
    rows("", schema, text);
}

fn rows(above: &str, schema: &Value, text: &mut String) {
    let Some(fields) = schema["properties"].as_object() else { return };
    let required: Vec<&str> =
        schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    for (name, field) in fields {
        let path = if above.is_empty() { name.clone() } else { format!("{above}.{name}") };
        let inner = if field["type"] == "array" { &field["items"] } else { field };
        let path = if field["type"] == "array" { format!("{path}[]") } else { path };
        let default = match &field["default"] {
            Value::Null if required.contains(&name.as_str()) => "required".to_owned(),
            Value::Null | Value::Object(_) => String::new(),
            other => format!("`{other}`"),
        };
        let meaning = describe(field).replace('|', "\\|").replace('<', "&lt;");
        writeln!(text, "| `{path}` | {} | {default} | {meaning} |", kind_of(field)).unwrap();
        rows(&path, inner, text);
    }
}

/// Rules that the API server checks, as their messages say them.
fn rules(schema: &Value, text: &mut String) {
    let mut said = Vec::new();
    gather(schema, &mut said);
    if said.is_empty() {
        return;
    }
    writeln!(text, "\nThe API server says, where it is so:\n").unwrap();
    for message in said {
        writeln!(text, "- {}", message.replace('<', "&lt;")).unwrap();
    }
}

fn gather(schema: &Value, said: &mut Vec<String>) {
    for rule in schema["x-kubernetes-validations"].as_array().into_iter().flatten() {
        if let Some(message) = rule["message"].as_str() {
            let message = message.split_whitespace().collect::<Vec<_>>().join(" ");
            if !said.contains(&message) {
                said.push(message);
            }
        }
    }
    // Those of the whole object stand with the kind, those below with their part.
    let is_root = schema["properties"]["spec"].is_object();
    for field in schema["properties"].as_object().into_iter().flatten().map(|(_, field)| field) {
        if !is_root {
            gather(field, said);
            gather(&field["items"], said);
        }
    }
}

#[test]
fn the_reference_of_the_api_is_that_of_the_types() {
    generated("docs/reference/api.md", &reference());
}
