//! Random nodes, pods that run, and pods that ask for a node, for the comparison with kube-scheduler.

use serde_json::{Value, json};

/// Namespaces; the first two are labelled as one team's.
pub const NAMESPACES: [&str; 3] = ["alpha", "beta", "gamma"];
pub const NODE_COUNT: u64 = 24;
pub const CLAIMS: u64 = 6;
const RUNNING: u64 = 60;
/// Nodes that are tainted for certain.
const TAINTED: [u64; 3] = [3, 10, 19];
const APPS: [&str; 4] = ["web", "db", "cache", "batch"];
const KEYS: [&str; 3] = ["zone", "rack", "kubernetes.io/hostname"];

/// Numbers that look random and are the same each time (splitmix64).
pub struct Dice(pub u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.roll() % bound
    }

    pub fn percent(&mut self, chance: u64) -> bool {
        self.below(100) < chance
    }

    pub fn pick<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[usize::try_from(self.below(all.len() as u64)).unwrap()]
    }
}

/// What a probe is mostly about; each makes one of kube-scheduler's filters refuse often.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Focus {
    Cordon,
    Taint,
    Selector,
    Ports,
    Resources,
    Volume,
    Spread,
    Affinity,
    AntiAffinity,
    Existing,
}

pub fn node_name(number: u64) -> String {
    format!("node-{number:02}")
}

pub fn node(number: u64, dice: &mut Dice) -> Value {
    let name = node_name(number);
    let mut labels =
        json!({"kubernetes.io/hostname": name, "disk": dice.pick(&["ssd", "hdd"]), "pool": "all"});
    // Some nodes lack a label that terms speak of.
    if !dice.percent(15) {
        labels["zone"] = json!(dice.pick(&["z0", "z1", "z2"]));
    }
    if !dice.percent(15) {
        labels["rack"] = json!(format!("r{}", dice.below(6)));
    }
    let mut spec = json!({});
    if dice.percent(15) || TAINTED.contains(&number) {
        let effect = dice.pick(&["NoSchedule", "NoExecute", "PreferNoSchedule"]);
        spec["taints"] = json!([{"key": "dedicated", "value": dice.pick(&["a", "b"]), "effect": effect}]);
    }
    if number.is_multiple_of(8) {
        spec["unschedulable"] = json!(true);
    }
    let offers = json!({"cpu": "4", "memory": "8Gi", "pods": "6"});
    json!({
        "metadata": {"name": name, "labels": labels, "annotations": {"kwok.x-k8s.io/node": "fake"}},
        "spec": spec, "status": {"capacity": offers, "allocatable": offers},
    })
}

/// A volume that only some nodes reach, and claims of it in each namespace would be too many: one claim each.
pub fn volume(number: u64, dice: &mut Dice) -> (Value, Value) {
    let namespace = NAMESPACES[usize::try_from(number % 3).unwrap()];
    let (key, values) = if number < 4 {
        ("zone", json!([dice.pick(&["z0", "z1", "z2"])]))
    } else {
        let one = dice.below(NODE_COUNT);
        ("kubernetes.io/hostname", json!([node_name(one), node_name((one + 7) % NODE_COUNT)]))
    };
    let name = format!("volume-{number}");
    let claim = format!("claim-{number}");
    let modes = json!(["ReadWriteMany"]);
    let reach = json!({"nodeSelectorTerms": [{"matchExpressions": [{"key": key, "operator": "In", "values": values}]}]});
    let volume = json!({
        "metadata": {"name": name},
        "spec": {"capacity": {"storage": "1Gi"}, "accessModes": modes, "storageClassName": "",
                 "persistentVolumeReclaimPolicy": "Retain", "local": {"path": "/srv"}, "nodeAffinity": {"required": reach},
                 "claimRef": {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": namespace, "name": claim}},
    });
    let claim = json!({
        "metadata": {"name": claim, "namespace": namespace},
        "spec": {"accessModes": modes, "storageClassName": "", "volumeName": name, "resources": {"requests": {"storage": "1Gi"}}},
    });
    (volume, claim)
}

fn labels(dice: &mut Dice) -> Value {
    let mut labels = json!({"app": dice.pick(&APPS)});
    if dice.percent(50) {
        labels["version"] = json!(dice.pick(&["1", "2"]));
    }
    labels
}

fn selector(dice: &mut Dice) -> Value {
    match dice.below(10) {
        0 => json!({}),
        1 => json!({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": [dice.pick(&APPS)]}]}),
        2 => json!({"matchExpressions": [{"key": "version", "operator": "Exists"}]}),
        3 => {
            json!({"matchExpressions": [{"key": "version", "operator": "DoesNotExist"}, {"key": "app", "operator": "In", "values": [dice.pick(&APPS)]}]})
        }
        _ => json!({"matchLabels": {"app": dice.pick(&APPS)}}),
    }
}

/// A term of affinity to pods.
fn term(dice: &mut Dice) -> Value {
    let mut term = json!({"topologyKey": dice.pick(&KEYS)});
    if !dice.percent(5) {
        term["labelSelector"] = selector(dice);
        let by_version = term["labelSelector"].to_string().contains("version");
        if dice.percent(15) && !by_version {
            term[*dice.pick(&["matchLabelKeys", "mismatchLabelKeys"])] = json!(["version"]);
        }
    }
    match dice.below(6) {
        0 => term["namespaces"] = json!([dice.pick(&NAMESPACES)]),
        1 => term["namespaceSelector"] = json!({"matchLabels": {"team": "one"}}),
        2 => term["namespaceSelector"] = json!({}),
        _ => {}
    }
    term
}

fn required(terms: &[Value]) -> Value {
    json!({"requiredDuringSchedulingIgnoredDuringExecution": terms})
}

fn container(cpu: &str, port: Option<Value>) -> Value {
    let mut container = json!({
        "name": "main", "image": "registry.example.com/work:1",
        "resources": {"requests": {"cpu": cpu, "memory": "64Mi"}},
    });
    if let Some(port) = port {
        container["ports"] = json!([port]);
    }
    container
}

fn host_port(dice: &mut Dice) -> Value {
    let mut port = json!({"containerPort": 80, "hostPort": 8000 + dice.below(2)});
    if dice.percent(30) {
        port["hostIP"] = json!(dice.pick(&["127.0.0.1", "10.0.0.1"]));
    }
    if dice.percent(20) {
        port["protocol"] = json!("UDP");
    }
    port
}

/// Pods that run, each on a node already.
pub fn running(dice: &mut Dice) -> Vec<Value> {
    let mut pods = Vec::new();
    for number in 0..RUNNING {
        let port = dice.percent(40).then(|| host_port(dice));
        let cpu = *dice.pick(&["100m", "500m", "1", "1500m"]);
        let mut spec = json!({
            "nodeName": node_name(dice.below(NODE_COUNT)), "terminationGracePeriodSeconds": 3600,
            "tolerations": [{"operator": "Exists"}], "containers": [container(cpu, port)],
        });
        if number % 4 == 0 {
            let mut one = term(dice);
            // Guards that mean everybody would leave nothing to compare.
            one["labelSelector"] = json!({"matchLabels": {"app": dice.pick(&APPS)}});
            one.as_object_mut().unwrap().retain(|key, _| !key.contains("abelKeys"));
            spec["affinity"] = json!({"podAntiAffinity": required(&[one])});
        }
        let name = format!("running-{number}");
        let annotations = json!({"sim.weir.dev/terminate-after": "1h"});
        pods.push(json!({
            "metadata": {"name": name, "namespace": dice.pick(&NAMESPACES), "labels": labels(dice), "annotations": annotations},
            "spec": spec,
        }));
    }
    pods
}

/// A pod that asks for one node.
#[derive(Clone)]
pub struct Probe {
    pub focus: Focus,
    pub name: String,
    pub namespace: &'static str,
    pub node: String,
    pub labels: Value,
    pub spec: Value,
}

pub fn probe(number: u64, focus: Focus, dice: &mut Dice) -> Probe {
    let mut namespace = *dice.pick(&NAMESPACES);
    let mut node = dice.below(NODE_COUNT);
    if focus == Focus::Cordon && dice.percent(50) {
        node = dice.below(3) * 8;
    } else if focus != Focus::Cordon && node.is_multiple_of(8) {
        // Cordoned ones are the focus of others.
        node += 1;
    }
    if focus == Focus::Taint && dice.percent(50) {
        node = *dice.pick(&TAINTED);
    }
    let tolerant = |dice: &mut Dice| match (focus, dice.below(4)) {
        (Focus::Taint, 0) => {
            json!([{"key": "dedicated", "operator": "Equal", "value": "a", "effect": "NoSchedule"}])
        }
        (Focus::Taint, _) => json!([]),
        (Focus::Cordon, _) => json!([{"key": "dedicated", "operator": "Exists"}]),
        (_, 0) => json!([{"key": "dedicated", "operator": "Equal", "value": "b"}]),
        _ => json!([{"key": "dedicated", "operator": "Exists"}]),
    };
    let cpu = match focus {
        Focus::Resources => *dice.pick(&["1", "2", "3", "5"]),
        _ => *dice.pick(&["50m", "100m"]),
    };
    let port = (focus == Focus::Ports || dice.percent(3)).then(|| host_port(dice));
    let mut spec = json!({"containers": [container(cpu, port)], "tolerations": tolerant(dice)});
    if focus == Focus::Selector || dice.percent(5) {
        spec["nodeSelector"] = json!({"disk": dice.pick(&["ssd", "hdd"])});
    }
    if focus == Focus::Selector && dice.percent(50) {
        let operator = *dice.pick(&["In", "NotIn"]);
        let one =
            json!({"matchExpressions": [{"key": "zone", "operator": operator, "values": ["z0", "z1"]}]});
        let other = json!({"matchExpressions": [{"key": "rack", "operator": "Exists"}]});
        let terms = if dice.percent(50) { json!([one]) } else { json!([one, other]) };
        spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"] =
            terms;
    }
    if focus == Focus::Affinity || dice.percent(3) {
        let count = if dice.percent(25) { 2 } else { 1 };
        let terms: Vec<Value> = (0..count).map(|_| term(dice)).collect();
        spec["affinity"]["podAffinity"] = required(&terms);
    }
    if focus == Focus::AntiAffinity || dice.percent(3) {
        spec["affinity"]["podAntiAffinity"] = required(&[term(dice)]);
    }
    if focus == Focus::Spread || dice.percent(3) {
        spec["topologySpreadConstraints"] = spread(dice);
    }
    if focus == Focus::Volume {
        let claim = dice.below(CLAIMS);
        namespace = NAMESPACES[usize::try_from(claim % 3).unwrap()];
        spec["volumes"] =
            json!([{"name": "data", "persistentVolumeClaim": {"claimName": format!("claim-{claim}")}}]);
    }
    let labels =
        if focus == Focus::Existing || dice.percent(30) { labels(dice) } else { json!({"app": "none"}) };
    Probe { focus, name: format!("probe-{number}"), namespace, node: node_name(node), labels, spec }
}

fn spread(dice: &mut Dice) -> Value {
    let first = dice.below(3);
    let count = if dice.percent(25) { 2 } else { 1 };
    let all: Vec<Value> = (0..count)
        .map(|more| {
            let key = KEYS[usize::try_from((first + more) % 3).unwrap()];
            let hard = dice.percent(85);
            let mut one = json!({
                "maxSkew": 1 + dice.below(3), "topologyKey": key,
                "whenUnsatisfiable": if hard { "DoNotSchedule" } else { "ScheduleAnyway" },
            });
            if !dice.percent(5) {
                one["labelSelector"] = selector(dice);
                if dice.percent(15) && !one["labelSelector"].to_string().contains("version") {
                    one["matchLabelKeys"] = json!(["version"]);
                }
            }
            if hard && dice.percent(20) {
                one["minDomains"] = json!(1 + dice.below(8));
            }
            if dice.percent(20) {
                one["nodeAffinityPolicy"] = json!(dice.pick(&["Honor", "Ignore"]));
            }
            if dice.percent(20) {
                one["nodeTaintsPolicy"] = json!(dice.pick(&["Honor", "Ignore"]));
            }
            one
        })
        .collect();
    json!(all)
}
