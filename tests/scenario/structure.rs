//! The part of a structural schema that people get wrong most: types, enumerations, patterns aside.

use serde_json::Value;

/// Holds a value against its schema.
pub fn check(schema: &Value, value: &Value) -> Result<(), String> {
    at(schema, value, "")
}

fn at(schema: &Value, value: &Value, path: &str) -> Result<(), String> {
    if value.is_null() && schema["nullable"] == true {
        return Ok(());
    }
    let right = match schema["type"].as_str() {
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("string") => value.is_string(),
        Some("boolean") => value.is_boolean(),
        Some("integer") => value.is_i64() || value.is_u64(),
        _ => true,
    };
    if !right {
        return Err(format!("{path}: Invalid value: {value}: must be of type {}", schema["type"]));
    }
    if let Some(allowed) = schema["enum"].as_array()
        && !allowed.contains(value)
    {
        return Err(format!("{path}: Unsupported value: {value}: supported values: {}", schema["enum"]));
    }
    if let (Some(number), least) = (value.as_i64(), &schema["minimum"])
        && least.as_f64().is_some_and(|least| (number as f64) < least)
    {
        return Err(format!("{path}: Invalid value: {value}: should be greater than or equal to {least}"));
    }
    if let (Some(number), most) = (value.as_i64(), &schema["maximum"])
        && most.as_f64().is_some_and(|most| (number as f64) > most)
    {
        return Err(format!("{path}: Invalid value: {value}: should be less than or equal to {most}"));
    }
    if let Some(text) = value.as_str()
        && schema["maxLength"].as_u64().is_some_and(|most| text.chars().count() as u64 > most)
    {
        return Err(format!("{path}: Too long: may not be more than {} bytes", schema["maxLength"]));
    }
    let properties = schema["properties"].as_object();
    for required in schema["required"].as_array().into_iter().flatten() {
        if value.get(required.as_str().unwrap_or_default()).is_none() {
            return Err(format!("{path}.{}: Required value", required.as_str().unwrap_or_default()));
        }
    }
    for (key, part) in value.as_object().into_iter().flatten() {
        let inner =
            properties.and_then(|properties| properties.get(key)).or(schema.get("additionalProperties"));
        match inner {
            Some(inner) => at(inner, part, &format!("{path}.{key}"))?,
            None if path.is_empty() || schema["x-kubernetes-preserve-unknown-fields"] == true => {}
            None if properties.is_none() => {}
            None => return Err(format!("{path}: unknown field {key:?}")),
        }
    }
    for (index, part) in value.as_array().into_iter().flatten().enumerate() {
        at(&schema["items"], part, &format!("{path}[{index}]"))?;
    }
    Ok(())
}
