//! Virtual machines while the operator, which has no more rights than the guide gives it, is killed over and over.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use super::api::{Api, Checks, NODES, POOLS, pause, workloads};
use super::cluster::Cluster;
use super::operator::{Account, Operator};
use crate::kubevirt::real;

const COUNT: usize = 6;
const NAMESPACE: &str = "machines";
const MACHINES: &str = "/apis/kubevirt.io/v1/namespaces/machines/virtualmachines";
const INSTANCES: &str = "/apis/kubevirt.io/v1/namespaces/machines/virtualmachineinstances";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn machines_run_once_and_where_they_were_placed_whatever_becomes_of_the_operator() {
    let mut checks = Checks::begin("machines");
    let cluster = Cluster::up(&["--no-nodes", "--audit"]);
    let api = Api::new(&cluster.kubeconfig()).await;
    begin(&api).await;
    let account = Account::least(&cluster, &api).await;
    let stand_in = tokio::spawn(real::run(api.client.clone()));
    checks.ok("a control plane with KubeVirt's kinds, and an operator with the least rights");

    let mut operator = account.start(&[]);
    for number in 0..COUNT {
        api.post(&workloads(NAMESPACE), workload(number)).await;
        operator = killed(operator, &account, number).await;
    }
    all_run(&api).await;
    checks.ok("six machines run, each once, though the operator was killed after each was submitted");

    for number in 0..COUNT {
        suspend(&api, number, true).await;
        operator = killed(operator, &account, number).await;
    }
    let halted =
        |machines: &[Value]| machines.iter().all(|one| one["status"]["printableStatus"] == "Stopped");
    api.until_list(MACHINES, 60, halted).await;
    api.until_list(INSTANCES, 60, <[Value]>::is_empty).await;
    for number in 0..COUNT {
        suspend(&api, number, false).await;
        operator = killed(operator, &account, number).await;
    }
    all_run(&api).await;
    checks.ok("all were stopped and run again, on the disks that they had");

    pause(3000).await;
    let before = versions(&api).await;
    pause(5000).await;
    assert_eq!(before, versions(&api).await, "nothing changes any more");
    checks.ok("and then nothing was written");
    stand_in.abort();
    operator.stop();
}

async fn begin(api: &Api) {
    api.machine_nodes(2).await;
    let pool = json!({
        "apiVersion": "weir.dev/v1alpha1", "kind": "ResourcePool", "metadata": {"name": "all"},
        "spec": {"nodes": {"selector": {"matchLabels": {"kubevirt.io/schedulable": "true"}}},
                 "resources": [{"name": "cpu"}, {"name": "memory"}], "access": {"namespaces": {}}}});
    api.post(POOLS, pool).await;
    api.namespace(NAMESPACE).await;
    real::install(&api.client).await.unwrap();
    let ready =
        |nodes: &[Value]| nodes.len() == 2 && nodes.iter().all(|node| node["spec"]["taints"].is_null());
    api.until_list(NODES, 60, ready).await;
}

fn workload(number: usize) -> Value {
    json!({
        "apiVersion": "weir.dev/v1alpha1", "kind": "PooledWorkload", "metadata": {"name": format!("vm-{number}")},
        "spec": {"pool": "all", "template": {"virtualMachine": {"spec": {
            "dataVolumeTemplates": [{"metadata": {"name": format!("root-{number}")}, "spec": {
                "source": {"blank": {}}, "storage": {"resources": {"requests": {"storage": "1Gi"}}}}}],
            "template": {"spec": {"domain": {
                "cpu": {"cores": 2}, "memory": {"guest": "1Gi"}, "devices": {}}}}}}}},
    })
}

async fn suspend(api: &Api, number: usize, suspend: bool) {
    let path = format!("{}/vm-{number}", workloads(NAMESPACE));
    api.patch(&path, json!({"spec": {"suspend": suspend}})).await;
}

/// Kills the operator, each time a little later, and starts it again.
async fn killed(operator: Operator, account: &Account, number: usize) -> Operator {
    tokio::time::sleep(Duration::from_millis(137 * (number as u64 + 1))).await;
    operator.kill();
    account.start(&[])
}

/// Each machine has one instance that runs, in one pod, on the node that was chosen for it.
async fn all_run(api: &Api) {
    let run = |all: &[Value]| all.len() == COUNT && all.iter().all(|one| one["status"]["phase"] == "Running");
    api.until_list(&workloads(NAMESPACE), 90, run).await;
    let instances = api.until_list(INSTANCES, 30, run).await;
    let owners: BTreeSet<&str> =
        instances.iter().filter_map(|one| one["metadata"]["ownerReferences"][0]["uid"].as_str()).collect();
    assert_eq!(owners.len(), COUNT, "one instance a machine");
    for instance in &instances {
        let chosen = &instance["metadata"]["annotations"]["weir.dev/node"];
        assert_eq!(&instance["status"]["nodeName"], chosen, "it runs where it was placed");
    }
    let pods = format!("/api/v1/namespaces/{NAMESPACE}/pods");
    let live =
        api.list(&pods).await.iter().filter(|pod| pod["metadata"]["deletionTimestamp"].is_null()).count();
    assert_eq!(live, COUNT, "one pod a machine");
}

/// What there is, with its versions.
async fn versions(api: &Api) -> Vec<String> {
    let mut all = Vec::new();
    for path in [MACHINES, INSTANCES, &workloads(NAMESPACE), POOLS] {
        for object in api.list(path).await {
            all.push(format!("{} {}", object["metadata"]["uid"], object["metadata"]["resourceVersion"]));
        }
    }
    all.sort();
    all
}
