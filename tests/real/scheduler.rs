//! Weir's filter held against kube-scheduler's: the same random pods and nodes go to both.
//!
//! A probe asks for one node by name. What Weir says of it is found on the public path: objects as the API server
//! has them, observed, decided. Those that Weir refuses are put before kube-scheduler side by side (they are bound
//! nowhere, and so hinder nobody); those that Weir takes one by one, and are deleted again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::{StreamExt as _, stream};
use serde_json::{Value, json};
use weir::api::pruned::Guarded;
use weir::decide::decide;
use weir::decide::decision::Decision;
use weir::model::delta::Delta;
use weir::model::refusal::{NodeRejection, Refusal};
use weir::model::report::WorkloadPhase;
use weir::model::time::Time;
use weir::model::world::{Tuning, World};
use weir::observe::catalog::Catalog;
use weir::observe::{Notes, namespace, node as nodes};

use super::api::{Api, Checks, NODES, pause, pods};
use super::cluster::Cluster;
use super::probes::{
    CLAIMS, Dice, Focus, NAMESPACES, NODE_COUNT, Probe, node, node_name, probe, running, volume,
};

const SEED: u64 = 20_261_124;
/// Each filter must refuse so often.
const LEAST: u32 = 100;
const MOST_PROBES: u64 = 6000;
const SIDE_BY_SIDE: usize = 60;
const VOLUMES: &str = "/api/v1/persistentvolumes";

/// kube-scheduler's filters, by what they say, and the focus that makes them say it.
const FILTERS: [(&str, &[&str], Focus); 10] = [
    ("NodeUnschedulable", &["were unschedulable"], Focus::Cordon),
    ("TaintToleration", &["had untolerated taint"], Focus::Taint),
    ("NodeAffinity", &["didn't match Pod's node affinity/selector"], Focus::Selector),
    ("NodePorts", &["didn't have free ports"], Focus::Ports),
    ("NodeResourcesFit", &["Insufficient cpu", "Too many pods"], Focus::Resources),
    ("VolumeBinding", &["didn't match PersistentVolume's node affinity"], Focus::Volume),
    ("PodTopologySpread", &["didn't match pod topology spread constraints"], Focus::Spread),
    ("InterPodAffinity: affinity", &["didn't match pod affinity rules"], Focus::Affinity),
    ("InterPodAffinity: anti-affinity", &["didn't match pod anti-affinity rules"], Focus::AntiAffinity),
    (
        "InterPodAffinity: of pods that are there",
        &["didn't satisfy existing pods anti-affinity rules"],
        Focus::Existing,
    ),
];
/// What kube-scheduler says of a probe: nothing against it, or why not.
type Said = Option<String>;

/// Accepted probes of one focus that are put before kube-scheduler, one by one; that takes time.
const MOST_TAKEN: u32 = 60;
const LEAST_TAKEN: u32 = 30;

#[derive(Default)]
struct Comparison {
    asked: u64,
    /// How often each filter refused.
    refused: BTreeMap<&'static str, u32>,
    /// Probes that both take, by focus.
    taken: BTreeMap<Focus, u32>,
    wrong: Vec<String>,
}

impl Comparison {
    /// What still must be refused, or taken, more often.
    fn lacking(&self) -> Vec<Focus> {
        let few = |name: &str, focus: Focus| {
            self.refused.get(name).copied().unwrap_or(0) < LEAST
                || self.taken.get(&focus).copied().unwrap_or(0) < LEAST_TAKEN
        };
        FILTERS.iter().filter(|(name, _, focus)| few(name, *focus)).map(|(.., focus)| *focus).collect()
    }

    /// What Weir refuses is bound nowhere, and so may be asked for side by side.
    async fn refused(&mut self, api: &Api, probes: &[(Probe, Refusal)]) {
        let answers = stream::iter(probes.iter().map(|(probe, _)| kube_says(api, probe)));
        let answers: Vec<Said> = answers.buffered(SIDE_BY_SIDE).collect().await;
        for ((probe, refusal), said) in probes.iter().zip(answers) {
            let known = said
                .as_ref()
                .map(|said| FILTERS.iter().find(|(_, all, _)| all.iter().any(|words| said.contains(words))));
            match known {
                Some(Some((name, ..))) => *self.refused.entry(name).or_default() += 1,
                Some(None) => self.wrong.push(format!("no filter that is known here says: {said:?}")),
                None => self.wrong.push(format!("Weir alone refuses {}: {refusal:?}", shown(probe))),
            }
        }
    }

    async fn taken(&mut self, api: &Api, probe: &Probe) {
        let taken = self.taken.entry(probe.focus).or_default();
        if *taken >= MOST_TAKEN {
            return;
        }
        *taken += 1;
        if let Some(said) = kube_says(api, probe).await {
            self.wrong.push(format!("Weir takes {}, and kube-scheduler says: {said}", shown(probe)));
        }
    }
}

fn shown(probe: &Probe) -> String {
    format!("{} for {} {} {}", probe.node, probe.namespace, probe.labels, probe.spec)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn weir_binds_nothing_that_the_filters_of_kube_scheduler_refuse() {
    let mut checks = Checks::begin("scheduler");
    let cluster = Cluster::up(&["--no-nodes"]);
    let api = Api::new(&cluster.kubeconfig()).await;
    let mut dice = Dice(SEED);
    furnish(&api, &mut dice).await;
    checks.ok(&format!("{NODE_COUNT} random nodes have their pods and volumes"));
    let (world, catalog) = observe(&api).await;
    let mut compared = Comparison::default();
    loop {
        let lacking = compared.lacking();
        if lacking.is_empty() || compared.asked >= MOST_PROBES {
            break;
        }
        let (mut taken, mut refused) = (Vec::new(), Vec::new());
        for _ in 0..SIDE_BY_SIDE {
            let probe = probe(compared.asked, *dice.pick(&lacking), &mut dice);
            compared.asked += 1;
            match weir_says(&world, &catalog, &probe) {
                None => taken.push(probe),
                Some(refusal) => refused.push((probe, refusal)),
            }
        }
        compared.refused(&api, &refused).await;
        for probe in taken {
            compared.taken(&api, &probe).await;
        }
    }
    let Comparison { asked, refused, taken, wrong } = compared;
    println!("scheduler: {asked} probes; taken by both, by what they are about: {taken:?}");
    println!("scheduler: refused by both, by filter: {refused:?}");
    let first = wrong[..wrong.len().min(10)].join("\n");
    assert!(wrong.is_empty(), "{} of {asked} probes differ:\n{first}", wrong.len());
    for (name, _, focus) in FILTERS {
        let count = refused.get(name).copied().unwrap_or(0);
        assert!(count >= LEAST, "{name} refused only {count} of {asked} probes");
        let count = taken.get(&focus).copied().unwrap_or(0);
        assert!(count >= LEAST_TAKEN, "only {count} probes about {focus:?} were taken");
    }
    checks.ok("Weir takes what kube-scheduler takes, and refuses what it refuses");

    // The one difference, which is meant: a cordon holds also for those who tolerate everything.
    let mut blanket = probe(asked, Focus::Existing, &mut dice);
    blanket.node = node_name(0);
    blanket.spec = json!({"containers": blanket.spec["containers"], "tolerations": [{"operator": "Exists"}]});
    blanket.labels = json!({"app": "none"});
    let refusal = weir_says(&world, &catalog, &blanket);
    assert!(
        matches!(&refusal, Some(Refusal::NoFittingNode(tally)) if tally.rejected.contains_key(&NodeRejection::Unschedulable))
    );
    assert_eq!(kube_says(&api, &blanket).await, None);
    checks.ok("a cordoned node takes nothing of Weir's, whatever it tolerates");
}

/// Makes nodes, namespaces, volumes and the pods that run; some of these are being deleted.
async fn furnish(api: &Api, dice: &mut Dice) {
    for (at, name) in NAMESPACES.iter().enumerate() {
        let team = if at < 2 { "one" } else { "two" };
        api.post("/api/v1/namespaces", json!({"metadata": {"name": name, "labels": {"team": team}}})).await;
        api.until(&format!("/api/v1/namespaces/{name}/serviceaccounts/default"), 30, |_| true).await;
    }
    for number in 0..NODE_COUNT {
        api.post(NODES, node(number, dice)).await;
    }
    for number in 0..CLAIMS {
        let (volume, claim) = volume(number, dice);
        api.post(VOLUMES, volume).await;
        let namespace = claim["metadata"]["namespace"].as_str().unwrap().to_owned();
        api.post(&format!("/api/v1/namespaces/{namespace}/persistentvolumeclaims"), claim).await;
    }
    for number in 0..NODE_COUNT {
        let ready = |node: &Value| {
            let conditions = node["status"]["conditions"].as_array().cloned().unwrap_or_default();
            conditions.iter().any(|one| one["type"] == "Ready" && one["status"] == "True")
                && !node["spec"]["taints"].to_string().contains("not-ready")
        };
        api.until(&format!("{NODES}/{}", node_name(number)), 60, ready).await;
    }
    let all = running(dice);
    for pod in &all {
        api.post(&pods(pod["metadata"]["namespace"].as_str().unwrap()), pod.clone()).await;
    }
    for (at, pod) in all.iter().enumerate() {
        let path = format!(
            "{}/{}",
            pods(pod["metadata"]["namespace"].as_str().unwrap()),
            pod["metadata"]["name"].as_str().unwrap()
        );
        api.until(&path, 60, |pod| pod["status"]["phase"] == "Running").await;
        if at % 6 == 5 {
            api.delete(&path).await;
        }
    }
    for namespace in NAMESPACES {
        let claims = format!("/api/v1/namespaces/{namespace}/persistentvolumeclaims");
        api.until_list(&claims, 60, |all| all.iter().all(|one| one["status"]["phase"] == "Bound")).await;
    }
    pause(2000).await;
}

/// The world as Weir's own watches would show it.
async fn observe(api: &Api) -> (World, Catalog) {
    let mut world = World::new(Tuning::default());
    let mut catalog = Catalog::default();
    let mut deltas = Vec::new();
    let pool = json!({
        "apiVersion": "weir.dev/v1alpha1", "kind": "ResourcePool", "metadata": {"name": "all", "uid": "pool", "generation": 1},
        "spec": {"nodes": {"selector": {"matchLabels": {"pool": "all"}}}, "access": {"namespaces": {}}},
    });
    deltas.extend(catalog.pool(&serde_json::from_value::<Guarded<_>>(pool).unwrap().0));
    for one in api.list("/api/v1/namespaces").await {
        deltas.push(namespace::namespace(&serde_json::from_value(one).unwrap()));
    }
    let mut notes = Notes::new();
    for one in api.list(NODES).await {
        deltas.push(nodes::node(&serde_json::from_value(one).unwrap(), &mut notes));
    }
    for one in api.list("/api/v1/persistentvolumeclaims").await {
        deltas.extend(catalog.claim(&serde_json::from_value(one).unwrap()));
    }
    for one in api.list(VOLUMES).await {
        deltas.extend(catalog.volume(&serde_json::from_value(one).unwrap()));
    }
    for one in api.list("/api/v1/pods").await {
        deltas.extend(catalog.pod(&serde_json::from_value(one).unwrap()));
    }
    assert!(notes.is_empty() && catalog.take_notes().is_empty(), "all that is there can be read: {notes:?}");
    deltas.push(Delta::Settled);
    for delta in deltas {
        world.apply(delta, Time(0));
    }
    assert_eq!(world.audit(), [""; 0]);
    (world, catalog)
}

/// The pod spec of a probe, which asks for its node in every term: terms are alternatives.
fn pinned(probe: &Probe) -> Value {
    let mut spec = probe.spec.clone();
    let pin = json!([{"key": "metadata.name", "operator": "In", "values": [probe.node]}]);
    let required = &mut spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"];
    if required.is_null() {
        *required = json!({"nodeSelectorTerms": [{}]});
    }
    for term in required["nodeSelectorTerms"].as_array_mut().unwrap() {
        term["matchFields"] = pin.clone();
    }
    spec
}

/// Why Weir does not take a probe; none if it does.
fn weir_says(world: &World, catalog: &Catalog, probe: &Probe) -> Option<Refusal> {
    let (mut world, mut catalog) = (world.clone(), catalog.clone());
    let workload = json!({
        "apiVersion": "weir.dev/v1alpha1", "kind": "PooledWorkload",
        "metadata": {"name": probe.name, "namespace": probe.namespace, "uid": "probe", "generation": 1},
        "spec": {"pool": "all", "template": {"pod": {"metadata": {"labels": probe.labels}, "spec": pinned(probe)}}},
    });
    let workload = serde_json::from_value::<Guarded<_>>(workload).unwrap().0;
    for delta in catalog.workload(&workload) {
        world.apply(delta, Time(1));
    }
    let decided = decide(&mut world, Time(1));
    assert_eq!(world.audit(), [""; 0]);
    if let Some(Decision::Admit { placements, .. }) = decided.decisions.first() {
        assert_eq!(placements[0].node, Arc::from(probe.node.as_str()));
        return None;
    }
    match world.workload_report("probe").unwrap().phase {
        WorkloadPhase::Queued {
            refusal: refusal @ (Refusal::NoFittingNode(_) | Refusal::Fragmented { .. }),
            ..
        } => Some(refusal),
        other => panic!("a probe is placed or not: {other:?}\n{}", probe.spec),
    }
}

/// Why kube-scheduler does not take a probe; none if it does. The probe is gone afterwards.
async fn kube_says(api: &Api, probe: &Probe) -> Said {
    let collection = pods(probe.namespace);
    let pod = json!({"metadata": {"name": probe.name, "labels": probe.labels}, "spec": pinned(probe)});
    api.post(&collection, pod).await;
    let path = format!("{collection}/{}", probe.name);
    let until = Instant::now() + Duration::from_secs(30);
    let said = loop {
        let pod = api.get(&path).await.unwrap();
        if pod["spec"]["nodeName"] == probe.node.as_str() {
            break None;
        }
        let conditions = pod["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let refused = conditions
            .into_iter()
            .find(|one| one["type"] == "PodScheduled" && one["reason"] == "Unschedulable");
        if let Some(refused) = refused {
            break Some(refused["message"].as_str().unwrap_or_default().to_owned());
        }
        assert!(Instant::now() < until, "kube-scheduler says nothing of {pod:#}");
        pause(5).await;
    };
    api.delete(&format!("{path}?gracePeriodSeconds=0")).await;
    said
}
