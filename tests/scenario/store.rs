//! The API server of the pure runner: objects in memory, with versions, defaults, rules, preconditions,
//! finalizers, garbage collection and quotas on pods as the real one has them.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};
use weir::model::time::Time;

use crate::kubevirt;

use super::expand::{Key, NAMESPACE, is_namespaced, merge};

/// What a watch would show.
#[derive(Clone, Debug)]
pub enum Change {
    /// There, new or changed.
    Seen(Value),
    /// Not there any more.
    Gone(Value),
}

impl Change {
    /// What it is about.
    pub fn object(&self) -> &Value {
        let (Self::Seen(object) | Self::Gone(object)) = self;
        object
    }

    /// Of which kind that is.
    pub fn kind(&self) -> &str {
        self.object()["kind"].as_str().unwrap_or_default()
    }
}

/// What the API server says instead of doing it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// 404.
    Missing(String),
    /// 409, of that name.
    Exists(String),
    /// 409, another version or UID.
    Conflict(String),
    /// 403 or 422.
    Denied(String),
}

impl Refused {
    /// In words.
    pub fn words(&self) -> &str {
        match self {
            Self::Missing(words) | Self::Exists(words) | Self::Conflict(words) | Self::Denied(words) => words,
        }
    }
}

/// All objects.
pub struct Store {
    objects: BTreeMap<Key, Value>,
    version: u64,
    log: Vec<Change>,
    schemas: &'static BTreeMap<String, Schema>,
    /// Whether `KubeVirt` is there.
    pub kubevirt: bool,
    /// Its clock.
    pub now: Time,
}

/// The schema of one custom resource, and its rules ready for use.
struct Schema {
    shape: Value,
    rules: kube_cel::CompiledSchema,
}

/// By kind. Made once: reading the rules takes longer than most scenarios.
fn schemas() -> &'static BTreeMap<String, Schema> {
    static SCHEMAS: OnceLock<BTreeMap<String, Schema>> = OnceLock::new();
    SCHEMAS.get_or_init(|| {
        let made = weir::api::crds().map(|(_, crd)| {
            let crd = serde_json::to_value(crd).unwrap();
            let kind = crd["spec"]["names"]["kind"].as_str().unwrap().to_owned();
            let shape = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone();
            let rules = kube_cel::compile_schema(&shape);
            (kind, Schema { shape, rules })
        });
        made.into_iter().collect()
    })
}

/// A time as objects carry it: to the second.
pub fn stamp(time: Time) -> Value {
    let seconds = Timestamp::from_second(time.0.div_euclid(1000)).unwrap_or_default();
    json!(seconds.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
}

/// A UID that is a function of what it is for and when, and that tells nothing of who came first.
fn uid(key: &Key, version: u64) -> String {
    let text = format!("{}/{}/{}/{version}", key.kind, key.namespace, key.name);
    let hash = |seed: u64| {
        text.bytes().fold(seed, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
    };
    let (one, two) = (hash(0xcbf2_9ce4_8422_2325), hash(0x9e37_79b9_7f4a_7c15));
    let mixed = (one ^ (one >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    format!(
        "{:08x}-{:04x}-4{:03x}-8000-{:012x}",
        mixed >> 32,
        mixed & 0xffff,
        (mixed >> 16) & 0xfff,
        two >> 16
    )
}

impl Store {
    /// With the two custom resources installed.
    pub fn new(now: Time) -> Self {
        Self {
            objects: BTreeMap::new(),
            version: 100,
            log: Vec::new(),
            schemas: schemas(),
            kubevirt: false,
            now,
        }
    }

    /// What happened since this was last asked.
    pub fn take_log(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.log)
    }

    /// One object.
    pub fn get(&self, key: &Key) -> Option<&Value> {
        self.objects.get(key)
    }

    /// All objects.
    pub fn all(&self) -> impl Iterator<Item = &Value> {
        self.objects.values()
    }

    /// All objects of a kind.
    pub fn of_kind<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = (&'a Key, &'a Value)> {
        self.objects.iter().filter(move |(key, _)| key.kind == kind)
    }

    /// Defaults and rules, as the API server has them for custom resources.
    fn admit(&self, object: &Value, old: Option<&Value>) -> Result<Value, Refused> {
        let Some(schema) = self.schemas.get(object["kind"].as_str().unwrap_or_default()) else {
            return Ok(object.clone());
        };
        let object = kube_cel::apply_defaults(&schema.shape, object);
        super::structure::check(&schema.shape, &object).map_err(Refused::Denied)?;
        kube_cel::Validator::new().validate_compiled(&schema.rules, &object, old).map_err(|errors| {
            let all: Vec<String> =
                errors.iter().map(|one| format!("{}: {}", one.field_path, one.message)).collect();
            Refused::Denied(all.join("; "))
        })?;
        Ok(object)
    }

    fn put(&mut self, key: &Key, mut object: Value) -> Value {
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.objects.insert(key.clone(), object.clone());
        self.log.push(Change::Seen(object.clone()));
        object
    }

    /// Creates an object.
    pub fn create(&mut self, manifest: &Value) -> Result<Value, Refused> {
        let key = Key::of(manifest);
        if let Some(there) = self.objects.get(&key) {
            let plural = format!("{}s", key.kind.to_lowercase());
            let _ = there;
            return Err(Refused::Exists(format!("{plural} {:?} already exists", key.name)));
        }
        self.serves(&key.kind)?;
        self.may_create(&key)?;
        if matches!(key.kind.as_str(), kubevirt::MACHINE | kubevirt::migration::MIGRATION)
            && let Some(words) = self.machine_refusal(manifest)
        {
            return Err(Refused::Denied(words));
        }
        let mut object = self.admit(manifest, None)?;
        if self.schemas.contains_key(&key.kind)
            && let Some(fields) = object.as_object_mut()
        {
            fields.remove("status");
        }
        let uid = uid(&key, self.version);
        merge(
            &mut object["metadata"],
            Some(json!({"uid": uid, "creationTimestamp": stamp(self.now), "generation": 1})),
        );
        match key.kind.as_str() {
            "Pod" if object["status"].is_null() => object["status"] = json!({"phase": "Pending"}),
            "Node" => set_ready(&mut object, "True", self.now),
            _ => {}
        }
        Ok(self.put(&key, object))
    }

    /// Why `KubeVirt`'s webhooks would refuse a machine, or a migration: its size must be there.
    pub fn machine_refusal(&self, manifest: &Value) -> Option<String> {
        let size = &manifest["spec"]["instancetype"];
        if let Some(name) = size["name"].as_str() {
            let cluster = "VirtualMachineClusterInstancetype";
            let kind = size["kind"].as_str().unwrap_or(cluster);
            let namespace = if kind == cluster { "" } else { &Key::of(manifest).namespace };
            if self.get(&Key::new(kind, namespace, name)).is_none() {
                return Some(format!("instancetype: {kind} {name:?} not found"));
            }
        }
        kubevirt::refusal(manifest)
    }

    /// `KubeVirt`'s kinds are there when it is.
    fn serves(&self, kind: &str) -> Result<(), Refused> {
        if self.kubevirt || kubevirt::crds::collection(kind, "").is_none() {
            return Ok(());
        }
        Err(Refused::Missing("the server could not find the requested resource".to_owned()))
    }

    /// Namespaces come into being when something is put into them; a `ResourceQuota` bounds the pods.
    fn may_create(&mut self, key: &Key) -> Result<(), Refused> {
        if !is_namespaced(&key.kind) {
            return Ok(());
        }
        let namespace = Key::new("Namespace", "", &key.namespace);
        if !self.objects.contains_key(&namespace) {
            self.create(&namespace_manifest(&key.namespace))?;
        }
        if key.kind != "Pod" {
            return Ok(());
        }
        let used = self.of_kind("Pod").filter(|(other, _)| other.namespace == key.namespace).count();
        for (quota, object) in
            self.of_kind("ResourceQuota").filter(|(quota, _)| quota.namespace == key.namespace)
        {
            let hard = &object["spec"]["hard"]["pods"];
            if let Some(hard) = hard.as_str().and_then(|hard| hard.parse::<usize>().ok())
                && used >= hard
            {
                let (pod, quota) = (&key.name, &quota.name);
                return Err(Refused::Denied(format!(
                    "pods {pod:?} is forbidden: exceeded quota: {quota}, requested: pods=1, used: pods={used}, \
                     limited: pods={hard}"
                )));
            }
        }
        Ok(())
    }

    /// Merges a patch into an object: what users and controllers do that know what they want.
    pub fn patch(&mut self, key: &Key, patch: &Value) -> Result<Value, Refused> {
        let Some(old) = self.objects.get(key).cloned() else {
            return Err(Refused::Missing(format!("{key:?} not found")));
        };
        let mut object = old.clone();
        merge(&mut object, Some(patch.clone()));
        let mut object = self.admit(&object, Some(&old))?;
        if object == old {
            return Ok(old);
        }
        if object["spec"] != old["spec"] {
            let generation = old["metadata"]["generation"].as_i64().unwrap_or_default();
            object["metadata"]["generation"] = json!(generation + 1);
        }
        let no_finalizers = object["metadata"]["finalizers"].as_array().is_none_or(Vec::is_empty);
        if no_finalizers && key.kind != "Pod" && !object["metadata"]["deletionTimestamp"].is_null() {
            self.remove(key);
            return Ok(object);
        }
        Ok(self.put(key, object))
    }

    /// Merges a patch if the object still has that version.
    pub fn patch_version(&mut self, key: &Key, version: &str, patch: &Value) -> Result<Value, Refused> {
        match self.objects.get(key) {
            Some(there) if there["metadata"]["resourceVersion"] != version => {
                Err(Refused::Conflict(format!("{key:?} has been modified")))
            }
            _ => self.patch(key, patch),
        }
    }

    /// Begins to delete an object. A pod stays until its kubelet lets it go, anything with finalizers until they
    /// are gone.
    pub fn delete(&mut self, key: &Key, uid: Option<&str>) -> Result<(), Refused> {
        let Some(object) = self.objects.get(key).cloned() else {
            return Err(Refused::Missing(format!("{key:?} not found")));
        };
        if uid.is_some_and(|uid| object["metadata"]["uid"] != uid) {
            return Err(Refused::Conflict(format!("{key:?} has another UID")));
        }
        if !object["metadata"]["deletionTimestamp"].is_null() {
            return Ok(());
        }
        let held = object["metadata"]["finalizers"].as_array().is_some_and(|all| !all.is_empty());
        let on_node = key.kind == "Pod" && object["spec"]["nodeName"].is_string();
        if held || on_node {
            let mut object = object;
            object["metadata"]["deletionTimestamp"] = stamp(self.now);
            self.put(key, object);
        } else {
            self.remove(key);
        }
        Ok(())
    }

    /// Removes an object for good, and what it owns.
    pub fn remove(&mut self, key: &Key) {
        let Some(object) = self.objects.remove(key) else { return };
        self.version += 1;
        self.log.push(Change::Gone(object.clone()));
        let owns = match key.kind.as_str() {
            "PooledWorkload" => ["Pod", kubevirt::MACHINE],
            kubevirt::MACHINE => ["PersistentVolumeClaim", kubevirt::INSTANCE],
            kubevirt::INSTANCE => ["Pod", kubevirt::INSTANCE],
            _ => return,
        };
        let owner = &object["metadata"]["uid"];
        let owned: Vec<Key> = owns
            .into_iter()
            .flat_map(|kind| self.of_kind(kind))
            .filter(|(_, pod)| pod["metadata"]["ownerReferences"][0]["uid"] == *owner)
            .map(|(key, _)| key.clone())
            .collect();
        for pod in owned {
            let _ = self.delete(&pod, None);
        }
    }
}

/// A namespace with the label that pools select by.
pub fn namespace_manifest(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": {NAMESPACE: name}}})
}

/// Sets the Ready condition of a node or a pod.
pub fn set_ready(object: &mut Value, status: &str, now: Time) {
    object["status"]["conditions"] =
        json!([{"type": "Ready", "status": status, "lastTransitionTime": stamp(now)}]);
}
