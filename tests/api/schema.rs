//! The definitions: bounded, described, small, and equal to what lies in `crds/`.

use serde_json::Value;
use weir::api::crds;

fn schemas() -> Vec<(&'static str, Value)> {
    crds()
        .into_iter()
        .map(|(file, crd)| {
            let version = serde_json::to_value(&crd.spec.versions[0]).unwrap();
            (file, version["schema"]["openAPIV3Schema"].clone())
        })
        .collect()
}

/// Calls `visit` with every schema and its path. Values below `default` are no schemas.
fn walk(schema: &Value, path: &str, visit: &mut dyn FnMut(&str, &Value)) {
    visit(path, schema);
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        walk(property, &format!("{path}.{name}"), visit);
    }
    for (key, mark) in [("items", "[]"), ("additionalProperties", "{}")] {
        if schema[key].is_object() {
            walk(&schema[key], &format!("{path}{mark}"), visit);
        }
    }
}

fn every_schema(mut visit: impl FnMut(&str, &Value)) -> usize {
    let mut seen = 0;
    for (file, schema) in schemas() {
        walk(&schema, file, &mut |path, schema| {
            seen += 1;
            visit(path, schema);
        });
    }
    seen
}

#[test]
fn every_string_list_and_map_has_a_maximum() {
    let mut missing = Vec::new();
    let seen = every_schema(|path, schema| {
        let bounded = match schema["type"].as_str() {
            Some("string") => schema["enum"].is_array() || schema["maxLength"].is_u64(),
            Some("array") => schema["maxItems"].is_u64() && schema["items"].is_object(),
            Some("object") if schema["additionalProperties"].is_object() => schema["maxProperties"].is_u64(),
            Some("object" | "boolean" | "integer") => true,
            None if schema["x-kubernetes-int-or-string"] == true => schema["maxLength"].is_u64(),
            _ => false,
        };
        if !bounded {
            missing.push(path.to_owned());
        }
    });
    assert!(seen > 100, "only {seen} schemas were walked");
    assert_eq!(missing, [""; 0], "no maximum");
}

#[test]
fn every_integer_of_a_spec_has_bounds() {
    let mut missing = Vec::new();
    every_schema(|path, schema| {
        if path.contains(".spec.")
            && schema["type"] == "integer"
            && !(schema["minimum"].is_number() && schema["maximum"].is_number())
        {
            missing.push(path.to_owned());
        }
    });
    assert_eq!(missing, [""; 0]);
}

#[test]
fn every_field_has_a_description() {
    let mut missing = Vec::new();
    every_schema(|path, schema| {
        // The values of lists and maps of texts are described by their field.
        let is_plain_item = (path.ends_with("[]") || path.ends_with("{}")) && schema["type"] == "string";
        let text = schema["description"].as_str().unwrap_or_default();
        let is_root_metadata = path.ends_with(".yaml.metadata");
        if !is_plain_item && !is_root_metadata && text.len() < 5 {
            missing.push(path.to_owned());
        }
    });
    assert_eq!(missing, [""; 0], "no description");
}

#[test]
fn every_rule_has_a_message_that_says_what_to_write() {
    let mut rules = 0;
    every_schema(|path, schema| {
        for rule in schema["x-kubernetes-validations"].as_array().into_iter().flatten() {
            rules += 1;
            let message = rule["message"].as_str().unwrap_or_default();
            assert!(
                ["write", "set ", "need", "name another"].iter().any(|word| message.contains(word)),
                "{path}: {message:?} says not what to write"
            );
            assert!(!message.contains('\n') && message.len() < 512, "{path}: {message:?}");
        }
    });
    assert!(rules > 20, "{rules}");
}

#[test]
fn every_rule_compiles() {
    for (file, schema) in schemas() {
        let compiled = kube_cel::compile_schema(&schema);
        assert!(!compiled.has_errors(), "{file}: {:?}", compiled.compilation_errors());
    }
}

#[test]
fn the_observed_generation_defaults_to_minus_one() {
    for (file, schema) in schemas() {
        assert_eq!(schema["properties"]["status"]["default"]["observedGeneration"], -1, "{file}");
    }
}

#[test]
fn the_files_in_crds_are_those_of_the_types() {
    for (file, text) in weir::cli::crds::files().unwrap() {
        let path = format!("{}/crds/{file}", env!("CARGO_MANIFEST_DIR"));
        let there = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(there == text, "{path} differs from the types: run `weir crds --dir crds`");
        assert!(text.len() < 100_000, "{path} has {} bytes", text.len());
    }
}

#[test]
fn names_and_columns_are_as_documented() {
    let columns = |crd: &Value, wide: bool| -> Vec<String> {
        crd["spec"]["versions"][0]["additionalPrinterColumns"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|c| (c["priority"].as_i64().unwrap_or(0) > 0) == wide)
            .map(|c| c["name"].as_str().unwrap().to_owned())
            .collect()
    };
    let [pool, workload] = crds().map(|(_, crd)| serde_json::to_value(crd).unwrap());
    assert_eq!(pool["spec"]["names"]["shortNames"][0], "rp");
    assert_eq!(workload["spec"]["names"]["shortNames"][0], "pw");
    for crd in [&pool, &workload] {
        assert_eq!(crd["spec"]["names"]["categories"][0], "weir");
        assert!(crd["spec"]["versions"][0]["subresources"]["status"].is_object());
    }
    assert_eq!(pool["spec"]["scope"], "Cluster");
    assert_eq!(workload["spec"]["scope"], "Namespaced");
    assert_eq!(columns(&pool, false), ["Nodes", "CPU", "Memory", "Queued", "Running", "Ready", "Age"]);
    assert_eq!(columns(&pool, true), ["GPUs", "Policy", "Parent", "Weight"]);
    assert_eq!(columns(&workload, false), ["Pool", "Priority", "Phase", "Members", "Node", "Reason", "Age"]);
    assert_eq!(columns(&workload, true), ["Position", "Estimated start", "Runtime"]);
}
