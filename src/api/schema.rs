//! Schemas of the types that are not ours, with the bounds that theirs lack.

use schemars::{Schema, SchemaGenerator, json_schema};

/// A pattern of Kubernetes for label values.
const LABEL_VALUE: &str = "^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$";

/// Most conditions that an object may carry.
const MAX_CONDITIONS: u32 = 16;

/// `metav1.Condition`, bounded, one for each type.
pub(super) fn conditions(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": MAX_CONDITIONS,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
        "items": {
            "type": "object",
            "description": "One aspect of the object's state.",
            "required": ["type", "status", "lastTransitionTime", "reason", "message"],
            "properties": {
                "type": {
                    "type": "string", "maxLength": 64,
                    "description": "What the condition is about, such as Ready.",
                },
                "status": {
                    "type": "string", "enum": ["True", "False", "Unknown"],
                    "description": "Whether it holds.",
                },
                "observedGeneration": {
                    "type": "integer", "format": "int64", "minimum": 0,
                    "description": "The metadata.generation that this was judged on.",
                },
                "lastTransitionTime": {
                    "type": "string", "format": "date-time", "maxLength": 64,
                    "description": "When status last changed.",
                },
                "reason": {
                    "type": "string", "minLength": 1, "maxLength": 128,
                    "description": "Why, in one word of the documented list.",
                },
                "message": {
                    "type": "string", "maxLength": 4096,
                    "description": "Why, in a sentence with numbers.",
                },
            },
        },
    })
}

/// `metav1.LabelSelector`, bounded.
pub(super) fn label_selector(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "x-kubernetes-map-type": "atomic",
        "properties": {
            "matchLabels": {
                "type": "object", "maxProperties": 32,
                "description": "Labels that must be there with these values.",
                "additionalProperties": {"type": "string", "maxLength": 63, "pattern": LABEL_VALUE},
            },
            "matchExpressions": {
                "type": "array", "maxItems": 32, "x-kubernetes-list-type": "atomic",
                "description": "Further requirements; all must hold.",
                "items": {
                    "type": "object",
                    "description": "One requirement on one label.",
                    "required": ["key", "operator"],
                    "properties": {
                        "key": {
                            "type": "string", "minLength": 1, "maxLength": 317,
                            "description": "The label's key.",
                        },
                        "operator": {
                            "type": "string", "enum": ["In", "NotIn", "Exists", "DoesNotExist"],
                            "description": "How the label is compared: In, NotIn, Exists or DoesNotExist.",
                        },
                        "values": {
                            "type": "array", "maxItems": 64, "x-kubernetes-list-type": "atomic",
                            "description": "The values, for In and NotIn only.",
                            "items": {"type": "string", "maxLength": 63, "pattern": LABEL_VALUE},
                        },
                    },
                    "x-kubernetes-validations": [{
                        "rule": "self.operator in ['In', 'NotIn'] \
                            ? has(self.values) && size(self.values) > 0 \
                            : !has(self.values) || size(self.values) == 0",
                        "message": "In and NotIn need values: [...]; Exists and DoesNotExist take none",
                    }],
                },
            },
        },
    })
}

/// [`label_selector`] that may be absent.
pub(super) fn optional_label_selector(generator: &mut SchemaGenerator) -> Schema {
    let mut schema = label_selector(generator);
    schema.insert("nullable".into(), true.into());
    schema
}

/// A moment.
pub(super) fn time(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "format": "date-time", "maxLength": 64})
}

/// A moment that may be absent.
pub(super) fn optional_time(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "format": "date-time", "maxLength": 64, "nullable": true})
}

/// A core/v1 `PodSpec`, stored as given: a typed copy would make the CRD hundreds of kilobytes.
pub(super) fn pod_spec(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
}

/// A kubevirt.io/v1 `VirtualMachineSpec`, stored as given.
pub(super) fn virtual_machine_spec(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
}

/// Labels of a pod.
pub(super) fn labels(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": 64,
        "additionalProperties": {"type": "string", "maxLength": 63, "pattern": LABEL_VALUE},
    })
}

/// Annotations of a pod. The API server bounds all of them together to 256 KiB.
pub(super) fn annotations(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": 64,
        "additionalProperties": {"type": "string", "maxLength": 65_536},
    })
}
