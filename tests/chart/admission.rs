//! What the admission policies let pass and what they refuse, asked of the API server in the name of real users, as
//! `kubectl --as` does.

use std::time::{Duration, Instant};

use axum::http::Request;
use serde_json::{Value, json};

use super::install::{PATIENCE, Stage, TEAM, container, pool, workload};
use super::{chart, good};
use crate::real::api::{Api, POOLS, pause, pods, workloads};

/// Somebody, and the groups that they are in beside those that everybody is in.
#[derive(Clone, Copy)]
struct User(&'static str, &'static [&'static str]);

/// Edits in the team's namespace, and may use the pool `lab` there.
const ADA: User = User("ada", &[]);
/// May write workloads in the namespace and use the pool, but creates no pods.
const BOB: User = User("bob", &[]);
/// Edits in the namespace, and may use no pool by name.
const CAROL: User = User("carol", &[]);
/// Views the namespace.
const VERA: User = User("vera", &[]);
/// May do everything.
const ROOT: User = User("eve", &["system:masters"]);
/// Makes the jobs of `CronJob`s.
const CRONJOBS: User = User("system:serviceaccount:kube-system:cronjob-controller", &["system:masters"]);
const SCHEDULER: User = User("system:kube-scheduler", &[]);
/// KubeVirt's controller, as the chart's values name it.
const KUBEVIRT: User = User(super::install::KUBEVIRT, &["system:masters"]);
const KUBELET: User = User("system:node:cpu-00", &["system:nodes", "system:masters"]);

struct Cases<'a> {
    api: &'a Api,
    wrong: Vec<String>,
    allowed: usize,
    refused: usize,
}

impl Cases<'_> {
    async fn ask(&self, user: User, method: &str, path: &str, body: &Value) -> Result<Value, String> {
        let kind = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", kind)
            .header("Impersonate-User", user.0);
        for group in user.1 {
            request = request.header("Impersonate-Group", *group);
        }
        let bytes = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        match self.api.client.request(request.body(bytes).unwrap()).await {
            Ok(answer) => Ok(answer),
            Err(kube::Error::Api(status)) => Err(format!("{}: {}", status.code, status.message)),
            Err(error) => panic!("{method} {path}: {error}"),
        }
    }

    async fn allowed(&mut self, user: User, method: &str, path: &str, body: Value) {
        self.allowed += 1;
        if let Err(words) = self.ask(user, method, path, &body).await {
            self.wrong.push(format!("{} may not {method} {path}: {words}\n{body}", user.0));
        }
    }

    async fn refused(&mut self, user: User, method: &str, path: &str, body: Value, by: &str) {
        self.refused += 1;
        match self.ask(user, method, path, &body).await {
            Ok(_) => self.wrong.push(format!("{} may {method} {path}\n{body}", user.0)),
            Err(words) if words.starts_with("403") && words.contains(by) => {}
            Err(words) => {
                self.wrong.push(format!("{}: {method} {path}: the words are not {by:?}: {words}", user.0));
            }
        }
    }

    /// Rights and policies take a moment until the API server heeds them.
    async fn until_heeded(&self, user: User, path: &str, body: &Value, by: Option<&str>) {
        let began = Instant::now();
        loop {
            let answer = self.ask(user, "POST", &format!("{path}?dryRun=All"), body).await;
            let heeded = match (&answer, by) {
                (Ok(_), None) => true,
                (Err(words), Some(by)) => words.contains(by),
                _ => false,
            };
            if heeded {
                return;
            }
            assert!(began.elapsed() < Duration::from_secs(PATIENCE), "{}: {path}: {answer:?}", user.0);
            pause(200).await;
        }
    }
}

const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";

impl Stage {
    /// Gives the users their roles, as NOTES.txt says.
    async fn grant(&self) {
        let notes = std::fs::read_to_string(chart().join("templates/NOTES.txt")).unwrap();
        let role = notes.split("<<EOF\n").nth(1).and_then(|rest| rest.split("EOF\n").next()).unwrap();
        good(self.kubectl(&["apply", "-f", "-"], role), "what NOTES.txt says");
        let rules =
            json!([{"apiGroups": ["kubevirt.io"], "resources": ["virtualmachines"], "verbs": ["create"]}]);
        let machines = json!({"metadata": {"name": "make-machines"}, "rules": rules});
        self.api.post(&format!("{RBAC}/clusterroles"), machines).await;
        for (role, users) in [
            ("make-machines", &["carol"][..]),
            ("edit", &["ada", "carol"]),
            ("view", &["vera"]),
            ("weir-workload-edit", &["bob"]),
            ("use-lab", &["ada", "bob"]),
        ] {
            let subjects: Vec<Value> = users
                .iter()
                .map(|user| json!({"kind": "User", "name": user, "apiGroup": "rbac.authorization.k8s.io"}))
                .collect();
            let binding = json!({
                "metadata": {"name": role},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
                "subjects": subjects,
            });
            self.api.post(&format!("{RBAC}/namespaces/{TEAM}/rolebindings"), binding).await;
        }
    }

    pub async fn admits(&mut self) {
        self.grant().await;
        for name in ["other", "open"] {
            let mut pool = pool(name);
            pool["spec"]["nodes"] = json!({"selector": {"matchLabels": {"nobody": "has-it"}}});
            self.api.post(POOLS, pool).await;
        }
        let api = self.api.clone();
        let mut cases = Cases { api: &api, wrong: Vec::new(), allowed: 0, refused: 0 };
        let place = workloads(TEAM);
        cases.until_heeded(ADA, &place, &workload("first", "lab"), None).await;
        cases.until_heeded(CAROL, &place, &workload("first", "lab"), Some("may not use pool")).await;
        submitting(&mut cases).await;
        labelling(&mut cases).await;
        machines(&mut cases).await;
        members(&mut cases).await;
        nodes_of_pools(&mut cases).await;
        roles(&mut cases).await;
        assert!(cases.wrong.is_empty(), "{}", cases.wrong.join("\n"));
        let shown = format!(
            "{} requests of eight users were let pass and {} refused, each by its rule and with its words",
            cases.allowed, cases.refused
        );
        // Weir's own pods pass all of them, also on nodes that are named.
        self.api.until_phase(TEAM, "ours", "Running", PATIENCE).await;
        self.ok(&shown);
    }
}

/// Who may submit what.
async fn submitting(cases: &mut Cases<'_>) {
    let place = workloads(TEAM);
    let no_pods = "bob may not create pods in namespace team-a";
    let no_use = |user: &str, pool: &str| format!("{user} may not use pool {pool} from namespace team-a");
    cases.allowed(ADA, "POST", &place, workload("ours", "lab")).await;
    cases.refused(BOB, "POST", &place, workload("bobs", "lab"), no_pods).await;
    cases.refused(CAROL, "POST", &place, workload("carols", "lab"), &no_use("carol", "lab")).await;
    cases.refused(ADA, "POST", &place, workload("adas", "other"), &no_use("ada", "other")).await;
    // The chart's value rbac.editMayUse names this one.
    cases.allowed(CAROL, "POST", &place, workload("carols-open", "open")).await;
    // Who changes what was submitted is asked the same.
    let ours = format!("{place}/ours");
    let more = json!({"spec": {"priority": 5}});
    cases.refused(CAROL, "PATCH", &ours, more.clone(), &no_use("carol", "lab")).await;
    cases.refused(BOB, "PATCH", &ours, more, no_pods).await;
    cases.allowed(ADA, "PATCH", &ours, json!({"spec": {"priority": 7}})).await;
    cases.allowed(CAROL, "PATCH", &ours, json!({"metadata": {"labels": {"seen-by": "carol"}}})).await;
    // To stop it needs less than to start it.
    let mut later = workload("later", "lab");
    later["spec"]["suspend"] = json!(true);
    cases.allowed(ADA, "POST", &place, later).await;
    let later = format!("{place}/later");
    cases.refused(ADA, "PATCH", &later, json!({"spec": {"pool": "other"}}), &no_use("ada", "other")).await;
    cases.refused(CAROL, "PATCH", &later, json!({"spec": {"suspend": false}}), &no_use("carol", "lab")).await;
    let edited =
        json!({"spec": {"suspend": true, "template": {"pod": {"metadata": {"labels": {"by": "carol"}}}}}});
    cases.refused(CAROL, "PATCH", &later, edited, &no_use("carol", "lab")).await;
    cases.allowed(ADA, "PATCH", &later, json!({"spec": {"suspend": false}})).await;
    cases.allowed(CAROL, "PATCH", &later, json!({"spec": {"suspend": true}})).await;
    cases.allowed(ADA, "DELETE", &later, Value::Null).await;
}

/// Who may label for a pool what others run.
async fn labelling(cases: &mut Cases<'_>) {
    let no_use = |user: &str, pool: &str| {
        format!("{user} may not use pool {pool} from namespace team-a, so may not label")
    };
    let labels = |pool: &str| json!({"weir.dev/pool": pool});
    let pods = json!({"metadata": {"labels": {"app": "web"}}, "spec": {"restartPolicy": "Always", "containers": [container()]}});
    let place = format!("/apis/apps/v1/namespaces/{TEAM}/deployments");
    let web = |name: &str, labels: Value| {
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "labels": labels},
            "spec": {"replicas": 0, "selector": {"matchLabels": {"app": "web"}}, "template": pods}})
    };
    cases.allowed(ADA, "POST", &place, web("web", labels("lab"))).await;
    cases.refused(CAROL, "POST", &place, web("carols", labels("lab")), &no_use("carol", "lab")).await;
    cases.allowed(CAROL, "POST", &place, web("carols", json!({"app": "web"}))).await;
    let carols = format!("{place}/carols");
    let to = |labels: Value| json!({"metadata": {"labels": labels}});
    cases.refused(CAROL, "PATCH", &carols, to(labels("lab")), &no_use("carol", "lab")).await;
    cases.allowed(CAROL, "PATCH", &carols, to(labels("open"))).await;
    // What is labelled already may be changed otherwise, and the label be taken off.
    cases.allowed(CAROL, "PATCH", &format!("{place}/web"), to(json!({"by": "carol"}))).await;
    cases.refused(ADA, "PATCH", &format!("{place}/web"), to(labels("other")), &no_use("ada", "other")).await;
    cases.allowed(CAROL, "PATCH", &format!("{place}/web"), to(json!({"weir.dev/pool": null}))).await;
    let job = |name: &str| {
        let mut template = pods.clone();
        template["spec"]["restartPolicy"] = json!("Never");
        json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name, "labels": labels("lab")},
            "spec": {"suspend": true, "template": template}})
    };
    let place = format!("/apis/batch/v1/namespaces/{TEAM}/jobs");
    cases.allowed(ADA, "POST", &place, job("adas")).await;
    cases.refused(CAROL, "POST", &place, job("carols"), &no_use("carol", "lab")).await;
    cases.allowed(CRONJOBS, "POST", &place, job("of-a-cronjob")).await;
    let place = format!("/apis/batch/v1/namespaces/{TEAM}/cronjobs");
    let cronjob = |name: &str| {
        let mut template = job("");
        template["metadata"] = json!({"labels": labels("lab")});
        template.as_object_mut().unwrap().retain(|key, _| key == "metadata" || key == "spec");
        json!({"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": name},
            "spec": {"schedule": "0 0 1 1 *", "suspend": true, "jobTemplate": template}})
    };
    cases.allowed(ADA, "POST", &place, cronjob("adas")).await;
    cases.refused(CAROL, "POST", &place, cronjob("carols"), &no_use("carol", "lab")).await;
    let place = format!("/apis/apps/v1/namespaces/{TEAM}/statefulsets");
    let db = json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "db", "labels": labels("lab")},
        "spec": {"replicas": 0, "serviceName": "db", "selector": {"matchLabels": {"app": "web"}}, "template": pods}});
    cases.refused(CAROL, "POST", &place, db.clone(), &no_use("carol", "lab")).await;
    cases.allowed(ADA, "POST", &place, db).await;
    let place = format!("/apis/kubevirt.io/v1/namespaces/{TEAM}/virtualmachines");
    let machine = |name: &str| {
        json!({"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachine", "metadata": {"name": name, "labels": labels("lab")},
            "spec": {"runStrategy": "Halted", "template": {"spec": {"domain": {"devices": {}}}}}})
    };
    cases.refused(CAROL, "POST", &place, machine("carols"), &no_use("carol", "lab")).await;
}

/// Who may submit virtual machines, and say which are members.
async fn machines(cases: &mut Cases<'_>) {
    let place = workloads(TEAM);
    let mut machine = workload("ours-too", "lab");
    machine["spec"]["suspend"] = json!(true);
    machine["spec"]["template"] = json!({"virtualMachine": {"spec": {"template": {"spec": {"domain": {}}}}}});
    let no_machines = "ada may not create virtual machines in namespace team-a";
    cases.refused(ADA, "POST", &place, machine.clone(), no_machines).await;
    cases.allowed(ROOT, "POST", &place, machine).await;
    let place = format!("/apis/kubevirt.io/v1/namespaces/{TEAM}/virtualmachines");
    let with = |name: &str, metadata: Value, template: Value| {
        let mut machine = json!({"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachine", "metadata": metadata,
            "spec": {"runStrategy": "Halted", "template": {"metadata": template, "spec": {"domain": {}}}}});
        machine["metadata"]["name"] = json!(name);
        machine
    };
    let ours = json!({"labels": {"weir.dev/workload": "ours"}});
    let noted = json!({"annotations": {"weir.dev/node": "cpu-00"}});
    let owned = json!({"ownerReferences": [{"apiVersion": "weir.dev/v1alpha1", "kind": "PooledWorkload", "name": "ours",
        "uid": "00000000-0000-0000-0000-000000000000"}]});
    let none = || json!({});
    for (metadata, template, by) in [
        (ours.clone(), none(), "labels of virtual machines that begin with weir.dev/"),
        (noted.clone(), none(), "annotations of virtual machines that begin with weir.dev/"),
        (none(), ours.clone(), "labels in the templates of virtual machines that begin with weir.dev/"),
        (none(), noted.clone(), "annotations in the templates of virtual machines that begin with weir.dev/"),
        (owned.clone(), none(), "a virtual machine whose owner is a PooledWorkload"),
    ] {
        cases.refused(ROOT, "POST", &place, with("false", metadata, template), by).await;
    }
    cases.allowed(ROOT, "POST", &place, with("own", json!({"labels": {"app": "db"}}), none())).await;
    // A machine of one's own may be labelled for a pool.
    let labelled = json!({"metadata": {"labels": {"weir.dev/pool": "lab"}}});
    cases.allowed(ROOT, "PATCH", &format!("{place}/own"), labelled).await;
    let more = json!({"metadata": {"labels": {"weir.dev/workload": "ours"}}});
    cases.refused(ROOT, "PATCH", &format!("{place}/own"), more, "save for weir.dev/pool").await;
    // A migration that says that it is Weir's would be taken for one after a restart.
    let migrations = format!("/apis/kubevirt.io/v1/namespaces/{TEAM}/virtualmachineinstancemigrations");
    let migration = |name: &str, metadata: Value| {
        let mut migration = json!({"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstanceMigration",
            "metadata": metadata, "spec": {"vmiName": "own"}});
        migration["metadata"]["name"] = json!(name);
        migration
    };
    for (metadata, by) in [
        (ours.clone(), "labels of virtual machines"),
        (noted, "annotations of virtual machines"),
        (owned, "a virtual machine whose owner is a PooledWorkload"),
    ] {
        cases.refused(ROOT, "POST", &migrations, migration("false", metadata), by).await;
    }
    cases.allowed(ROOT, "POST", &migrations, migration("own", none())).await;
    let mut labelled = pod("launcher", ours, json!({}));
    labelled["metadata"]["labels"]["kubevirt.io"] = json!("virt-launcher");
    cases.allowed(KUBEVIRT, "POST", &format!("{}?dryRun=All", pods(TEAM)), labelled).await;
}

fn pod(name: &str, metadata: Value, spec: Value) -> Value {
    let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec});
    pod["metadata"]["name"] = json!(name);
    pod["spec"]["containers"] = json!([container()]);
    // So that the scheduler leaves it alone.
    pod["spec"]["schedulerName"] = json!("nobody");
    pod
}

/// Who may say which pods are members.
async fn members(cases: &mut Cases<'_>) {
    let place = pods(TEAM);
    let (labels, annotations, owner) = (
        "labels of pods that begin with weir.dev/",
        "annotations of pods that begin with weir.dev/",
        "a pod whose owner is a PooledWorkload",
    );
    let member = cases.api.until(&format!("{place}/drained-0-r2"), PATIENCE, |_| true).await;
    let owners = member["metadata"]["ownerReferences"].clone();
    assert_eq!(owners[0]["kind"], "PooledWorkload");
    for user in [ADA, ROOT] {
        let false_label = pod("false-label", json!({"labels": {"weir.dev/pool": "lab"}}), json!({}));
        cases.refused(user, "POST", &place, false_label, labels).await;
        let noted = pod("noted", json!({"annotations": {"weir.dev/node": "cpu-00"}}), json!({}));
        cases.refused(user, "POST", &place, noted, annotations).await;
        let owned = pod("owned", json!({"ownerReferences": owners}), json!({}));
        cases.refused(user, "POST", &place, owned, owner).await;
    }
    let own = json!({"labels": {"app": "web"}, "annotations": {"sim.weir.dev.example/x": "y"}});
    cases.allowed(ADA, "POST", &place, pod("web", own, json!({}))).await;
    let web = format!("{place}/web");
    let to = |labels: Value| json!({"metadata": {"labels": labels}});
    cases.allowed(ADA, "PATCH", &web, to(json!({"app": "web2"}))).await;
    cases.refused(ADA, "PATCH", &web, to(json!({"weir.dev/workload": "ours"})), labels).await;
    let theirs = format!("{place}/drained-0-r2");
    cases.refused(ADA, "PATCH", &theirs, to(json!({"weir.dev/workload": null})), labels).await;
    cases.refused(ADA, "PATCH", &theirs, to(json!({"weir.dev/pool": "other"})), labels).await;
    cases.allowed(ADA, "PATCH", &theirs, to(json!({"mine": "too"}))).await;
    let adopted = json!({"metadata": {"ownerReferences": owners}});
    cases.refused(ADA, "PATCH", &web, adopted, owner).await;
}

/// Who may place pods on the nodes of pools.
async fn nodes_of_pools(cases: &mut Cases<'_>) {
    let place = pods(TEAM);
    let (named, tolerates, all, binds) = (
        "a pod may not name its node",
        "a pod may not tolerate weir.dev/pool",
        "a pod may not tolerate every taint",
        "may not bind pods to nodes",
    );
    let on_node = json!({"nodeName": "cpu-00"});
    cases.refused(ADA, "POST", &place, pod("on-node", json!({}), on_node.clone()), named).await;
    let tolerating = |one: Value| json!({"tolerations": [{"key": "other", "operator": "Exists"}, one]});
    for (name, toleration, by) in [
        ("equal", json!({"key": "weir.dev/pool", "value": "lab", "effect": "NoSchedule"}), tolerates),
        ("exists", json!({"key": "weir.dev/pool", "operator": "Exists"}), tolerates),
        ("all", json!({"operator": "Exists"}), all),
        ("all-no-schedule", json!({"operator": "Exists", "effect": "NoSchedule"}), all),
    ] {
        cases.refused(ADA, "POST", &place, pod(name, json!({}), tolerating(toleration)), by).await;
    }
    let no_execute = json!({"operator": "Exists", "effect": "NoExecute"});
    cases.allowed(ADA, "POST", &place, pod("stays", json!({}), tolerating(no_execute))).await;
    let added = json!({"spec": {"tolerations": [{"key": "weir.dev/pool", "operator": "Exists"}]}});
    let mut more = cases.api.get(&format!("{place}/stays")).await.unwrap()["spec"]["tolerations"].clone();
    more.as_array_mut().unwrap().push(added["spec"]["tolerations"][0].clone());
    let more = json!({"spec": {"tolerations": more}});
    cases.refused(ADA, "PATCH", &format!("{place}/stays"), more, tolerates).await;
    // Those who may.
    let plugs = |label: &str| {
        let mut pod = pod("hp-volume-x", json!({"labels": {"kubevirt.io": label}}), json!({}));
        pod["spec"]["tolerations"] =
            json!([{"key": "weir.dev/pool", "value": "lab", "effect": "NoSchedule"}]);
        pod
    };
    let dry = format!("{place}?dryRun=All");
    cases.allowed(KUBEVIRT, "POST", &dry, plugs("hotplug-disk")).await;
    cases.refused(KUBEVIRT, "POST", &dry, plugs("another"), tolerates).await;
    cases.refused(ADA, "POST", &dry, plugs("hotplug-disk"), tolerates).await;
    let system = pods("kube-system");
    cases
        .allowed(ROOT, "POST", &system, pod("system", json!({}), tolerating(json!({"operator": "Exists"}))))
        .await;
    let mirror = json!({
        "annotations": {"kubernetes.io/config.mirror": "x"},
        "ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": "cpu-00", "controller": true,
            "uid": cases.api.get("/api/v1/nodes/cpu-00").await.unwrap()["metadata"]["uid"]}],
    });
    let mut shown = pod("mirror", mirror, on_node);
    shown["spec"]["tolerations"] = json!([{"operator": "Exists"}]);
    cases.allowed(KUBELET, "POST", &place, shown).await;
    let daemons = json!({
        "apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "daemons"},
        "spec": {"selector": {"matchLabels": {"app": "daemons"}}, "template": {
            "metadata": {"labels": {"app": "daemons"}},
            "spec": {"containers": [container()], "tolerations": [{"operator": "Exists"}]},
        }},
    });
    let daemon_sets = format!("/apis/apps/v1/namespaces/{TEAM}/daemonsets");
    cases.allowed(ADA, "POST", &daemon_sets, daemons).await;
    let ready = |found: &Value| found["status"]["numberReady"] == 3;
    cases.api.until(&format!("{daemon_sets}/daemons"), PATIENCE, ready).await;
    // Bindings.
    let binding = |pod: &str| json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": pod}, "target": {"kind": "Node", "name": "cpu-00"}});
    cases.refused(ROOT, "POST", &format!("{place}/web/binding"), binding("web"), binds).await;
    let old = format!("/api/v1/namespaces/{TEAM}/bindings");
    cases.refused(ROOT, "POST", &old, binding("web"), binds).await;
    cases.allowed(SCHEDULER, "POST", &format!("{place}/web/binding"), binding("web")).await;
}

/// What the roles let people do.
async fn roles(cases: &mut Cases<'_>) {
    let place = workloads(TEAM);
    cases.allowed(VERA, "GET", &place, Value::Null).await;
    cases.refused(VERA, "POST", &place, workload("veras", "lab"), "cannot create resource").await;
    cases.refused(ADA, "GET", &workloads("default"), Value::Null, "cannot list resource").await;
    cases
        .refused(
            ADA,
            "PATCH",
            &format!("{place}/ours/status"),
            json!({"status": {"phase": "Running"}}),
            "cannot patch",
        )
        .await;
    cases.refused(ADA, "POST", POOLS, pool("adas"), "cannot create resource").await;
    cases
        .refused(
            ADA,
            "PATCH",
            &format!("{POOLS}/lab"),
            json!({"spec": {"weight": 7}}),
            "cannot patch resource",
        )
        .await;
    cases.refused(ADA, "GET", POOLS, Value::Null, "cannot list resource").await;
    cases.allowed(ROOT, "PATCH", &format!("{POOLS}/lab"), json!({"spec": {"weight": 7}})).await;
}
