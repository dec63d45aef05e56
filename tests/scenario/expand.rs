//! Short forms to real manifests: `Nodes`, `Pool` and `Work`. Everything else is taken as it is written.

use serde_json::{Map, Value, json};

/// The namespace of those that name none.
pub const NAMESPACE: &str = "team";

/// Which object: kind, namespace (empty where the kind has none), name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// `Pod`, `Node`, ...
    pub kind: String,
    /// Empty for objects of the cluster.
    pub namespace: String,
    /// The name.
    pub name: String,
}

impl Key {
    /// From `Kind/name` or `Kind/namespace/name`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut parts = text.split('/');
        let (kind, first, second) = (parts.next(), parts.next(), parts.next());
        match (kind, first, second, parts.next()) {
            (Some(kind), Some(name), None, None) => Ok(Self::new(kind, NAMESPACE, name)),
            (Some(kind), Some(namespace), Some(name), None) => Ok(Self::new(kind, namespace, name)),
            _ => Err(format!("{text:?} is not Kind/name or Kind/namespace/name")),
        }
    }

    /// The namespace is left out where the kind has none.
    pub fn new(kind: &str, namespace: &str, name: &str) -> Self {
        let namespace = if is_namespaced(kind) { namespace } else { "" };
        Self { kind: kind.to_owned(), namespace: namespace.to_owned(), name: name.to_owned() }
    }

    /// From `name` or `namespace/name`.
    pub fn named(kind: &str, name: &str) -> Self {
        let (namespace, name) = name.split_once('/').unwrap_or((NAMESPACE, name));
        Self::new(kind, namespace, name)
    }

    /// Of an object.
    pub fn of(object: &Value) -> Self {
        let text = |field: &Value| field.as_str().unwrap_or_default().to_owned();
        Self {
            kind: text(&object["kind"]),
            namespace: text(&object["metadata"]["namespace"]),
            name: text(&object["metadata"]["name"]),
        }
    }
}

/// A patch that applies the first recommendation of a pool names it so: ids are known only when it is there.
const FIRST: &str = "/metadata/annotations/weir.dev~1apply-recommendation";

/// The patch with the id of the first recommendation of the pool, where it says `first`.
pub fn with_first_recommendation(patch: &Value, pool: Option<&Value>) -> Value {
    let mut patch = patch.clone();
    let id = pool.map(|pool| pool["status"]["recommendations"][0]["id"].clone()).unwrap_or_default();
    if let Some(value) = patch.pointer_mut(FIRST).filter(|value| **value == "first") {
        *value = id;
    }
    patch
}

/// Whether objects of a kind live in namespaces.
pub fn is_namespaced(kind: &str) -> bool {
    !matches!(
        kind,
        "Node"
            | "Namespace"
            | "ResourcePool"
            | "PriorityClass"
            | "PersistentVolume"
            | "VirtualMachineClusterInstancetype"
    )
}

/// The manifests that a document stands for.
pub fn expand(document: &Value) -> Result<Vec<Value>, String> {
    let kind = document["kind"].as_str().ok_or("a document has no kind")?;
    let mut objects = match kind {
        "Nodes" => nodes(document)?,
        "Pool" => vec![pool(document)?],
        "Work" => works(document)?,
        "Machine" => machines(document)?,
        _ => vec![document.clone()],
    };
    for object in &mut objects {
        if object["metadata"]["name"].as_str().is_none() {
            return Err(format!("a {kind} has no name"));
        }
        if is_namespaced(object["kind"].as_str().unwrap_or_default())
            && object["metadata"]["namespace"].is_null()
        {
            object["metadata"]["namespace"] = json!(NAMESPACE);
        }
    }
    Ok(objects)
}

fn fields(document: &Value) -> Map<String, Value> {
    let mut fields = document.as_object().cloned().unwrap_or_default();
    fields.remove("kind");
    fields
}

fn name_of(fields: &mut Map<String, Value>, kind: &str) -> Result<String, String> {
    match fields.remove("name") {
        Some(Value::String(name)) => Ok(name),
        _ => Err(format!("a {kind} has no name")),
    }
}

/// `{name, namespace, cores, memory, sim, machine, vmi, ...spec}`: virtual machines of so many cores and so much memory;
/// what `sim` says becomes annotations `sim.weir.dev/...` of its pod, what `machine` and `vmi` say goes into the spec of
/// the machine and of what runs.
fn machines(document: &Value) -> Result<Vec<Value>, String> {
    let mut fields = fields(document);
    let names: Vec<Value> = match fields.remove("name") {
        Some(Value::Array(names)) => names,
        Some(name) => vec![name],
        None => return Err("a Machine has no name".to_owned()),
    };
    let namespace = fields.remove("namespace").unwrap_or_else(|| json!(NAMESPACE));
    let cores = fields.remove("cores").unwrap_or_else(|| json!(1));
    let memory = fields.remove("memory").unwrap_or_else(|| json!("1Gi"));
    let mut vmi = json!({"domain": {"cpu": {"cores": cores}, "memory": {"guest": memory}, "devices": {}}});
    merge(&mut vmi, fields.remove("vmi"));
    let mut spec = json!({"template": {"spec": vmi}});
    if let Some(Value::Object(sim)) = fields.remove("sim") {
        for (key, value) in sim {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            spec["template"]["metadata"]["annotations"][format!("sim.weir.dev/{key}")] = json!(text);
        }
    }
    merge(&mut spec, fields.remove("machine"));
    let mut workload = Value::Object(fields);
    workload["template"] = json!({"virtualMachine": {"spec": spec}});
    let work = |name: Value| {
        json!({
            "apiVersion": "weir.dev/v1alpha1", "kind": "PooledWorkload",
            "metadata": {"name": name, "namespace": namespace}, "spec": workload,
        })
    };
    Ok(names.into_iter().map(work).collect())
}

/// `{name, count, labels, allocatable, taints, machines}`: nodes `name-0`, `name-1`, ...; without a count one of that name.
fn nodes(document: &Value) -> Result<Vec<Value>, String> {
    let mut fields = fields(document);
    let name = name_of(&mut fields, "Nodes")?;
    let count = fields.remove("count").map(|count| count.as_u64().ok_or("count is no number")).transpose()?;
    let mut labels = json!({"weir.dev/pool": "company"});
    let mut allocatable = json!({"cpu": "4", "memory": "16Gi", "pods": "110"});
    if fields.remove("machines").is_some_and(|machines| machines == true) {
        labels["kubevirt.io/schedulable"] = json!("true");
        allocatable["ephemeral-storage"] = json!("100Gi");
        for device in ["kvm", "tun", "vhost-net"] {
            allocatable[format!("devices.kubevirt.io/{device}")] = json!("100");
        }
    }
    merge(&mut labels, fields.remove("labels"));
    merge(&mut allocatable, fields.remove("allocatable"));
    let mut spec = json!({});
    if let Some(taints) = fields.remove("taints") {
        spec["taints"] = taints;
    }
    nothing_left(&fields, "Nodes")?;
    let names = match count {
        None => vec![name],
        Some(count) => (0..count).map(|number| format!("{name}-{number}")).collect(),
    };
    Ok(names
        .into_iter()
        .map(|name| {
            let mut labels = labels.clone();
            if labels["kubernetes.io/hostname"].is_null() {
                labels["kubernetes.io/hostname"] = json!(name);
            }
            json!({
                "apiVersion": "v1", "kind": "Node",
                "metadata": {"name": name, "labels": labels, "annotations": {"kwok.x-k8s.io/node": "fake"}},
                "spec": spec,
                "status": {"capacity": allocatable, "allocatable": allocatable},
            })
        })
        .collect())
}

/// `{name, ...spec}`: open to all namespaces; a root has the nodes of the company.
fn pool(document: &Value) -> Result<Value, String> {
    let mut fields = fields(document);
    let name = name_of(&mut fields, "Pool")?;
    let mut spec = json!({"access": {"namespaces": {}}});
    if !fields.contains_key("parent") {
        spec["nodes"] = json!({"selector": {"matchLabels": {"weir.dev/pool": "company"}}});
    }
    // What is written replaces the defaults, field by field.
    for (key, value) in fields {
        spec[key] = value;
    }
    Ok(
        json!({"apiVersion": "weir.dev/v1alpha1", "kind": "ResourcePool", "metadata": {"name": name}, "spec": spec}),
    )
}

/// `{name, namespace, requests, sim, pod, labels, ...spec}`: one container that asks for `requests`; what `sim`
/// says becomes annotations `sim.weir.dev/...`, what `pod` says goes into the pod's spec. A list of names makes
/// several that are equal.
fn works(document: &Value) -> Result<Vec<Value>, String> {
    let mut fields = fields(document);
    let names: Vec<Value> = match fields.remove("name") {
        Some(Value::Array(names)) => names,
        Some(name) => vec![name],
        None => return Err("a Work has no name".to_owned()),
    };
    let namespace = fields.remove("namespace").unwrap_or_else(|| json!(NAMESPACE));
    let requests = fields.remove("requests").unwrap_or_else(|| json!({"cpu": "1"}));
    let mut container = json!({"name": "main", "image": "registry.example.com/work:1"});
    let extended = |name: &str| name.contains('/');
    let limits: Map<String, Value> = requests
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(name, _)| extended(name))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    container["resources"] = json!({"requests": requests});
    if !limits.is_empty() {
        container["resources"]["limits"] = Value::Object(limits);
    }
    let mut pod_spec = json!({"containers": [container]});
    merge(&mut pod_spec, fields.remove("pod"));
    let mut metadata = json!({});
    if let Some(Value::Object(sim)) = fields.remove("sim") {
        for (key, value) in sim {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            metadata["annotations"][format!("sim.weir.dev/{key}")] = json!(text);
        }
    }
    if let Some(labels) = fields.remove("labels") {
        metadata["labels"] = labels;
    }
    let mut spec = Value::Object(fields);
    spec["template"] = json!({"pod": {"spec": pod_spec}});
    if metadata != json!({}) {
        spec["template"]["pod"]["metadata"] = metadata;
    }
    let work = |name: Value| {
        json!({
            "apiVersion": "weir.dev/v1alpha1", "kind": "PooledWorkload",
            "metadata": {"name": name, "namespace": namespace}, "spec": spec,
        })
    };
    Ok(names.into_iter().map(work).collect())
}

fn nothing_left(fields: &Map<String, Value>, kind: &str) -> Result<(), String> {
    match fields.keys().next() {
        Some(key) => Err(format!("a {kind} has no {key}")),
        None => Ok(()),
    }
}

/// Merges `more` into `value` (RFC 7396: null takes away).
pub fn merge(value: &mut Value, more: Option<Value>) {
    let Some(more) = more else { return };
    let Value::Object(more) = more else {
        *value = more;
        return;
    };
    if !value.is_object() {
        *value = json!({});
    }
    let Value::Object(fields) = value else { return };
    for (key, part) in more {
        if part.is_null() {
            fields.remove(&key);
        } else {
            merge(fields.entry(key).or_insert(Value::Null), Some(part));
        }
    }
}
