//! Metrics and debugging as the cluster sees them: by TLS, to whom the API server knows and RBAC lets, and to nobody when it
//! cannot be asked; complete, and without names of workloads; and the log, with a line for each decision.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use rcgen::{CertificateParams, KeyPair};
use serde_json::{Value, json};
use weir::operate::metrics::described;

use super::api::{Api, Checks, POOLS, pause, pods, workloads};
use super::cluster::Cluster;
use super::operator::{Account, NAMESPACE, Operator};
use super::web::{Told, Web, port_in_log};

const WORK: &str = "work";
/// It is in templates, and nowhere else.
const CANARY: &str = "hunter2-canary";
const TLS: &str = "serves metrics by TLS";
const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";
/// Told only after hours, or where something is wrong.
const SELDOM: [&str; 3] = [
    "weir_pool_exhausted_timestamp_seconds",
    "weir_permission_missing",
    "weir_estimated_start_error_seconds_count",
];

struct Bench {
    operator: Operator,
    api: Api,
    cluster: Cluster,
    checks: Checks,
    open: Web,
    port: u16,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_are_told_to_whom_the_api_server_lets() {
    let mut bench = begin().await;
    bench.asks_who_asks().await;
    bench.works().await;
    bench.tells_everything().await;
    bench.tells_its_world().await;
    bench.logs_each_decision().await;
    bench.shows_the_certificate_that_it_is_given().await;
    bench.tells_nothing_when_nobody_can_be_asked().await;
    bench.operator.stop();
}

async fn begin() -> Bench {
    let mut checks = Checks::begin("exposure");
    let cluster = Cluster::up(&["--no-nodes", "--audit"]);
    let api = Api::new(&cluster.kubeconfig()).await;
    let account = Account::least(&cluster, &api).await;
    let more = ["--metrics-addr", "0.0.0.0:0", "--log-format", "json"];
    let mut command = account.command(&more);
    command.env("RUST_LOG", "info,weir::decision=debug");
    let operator = Operator::spawn(command, &cluster.dir, "weir");
    let open = Web::plain(port_in_log(&operator.path(), "serves health").await);
    let port = port_in_log(&operator.path(), TLS).await;
    open.until("/readyz", 30, |told| told.code == 200 && told.text == "ok\n").await;
    checks.ok("an operator leads, with the rights of the documentation");
    Bench { operator, api, cluster, checks, open, port }
}

/// A `ServiceAccount`'s token, with the right to get a path if one is given.
async fn reader(api: &Api, name: &str, path: Option<&str>) -> String {
    let accounts = format!("/api/v1/namespaces/{NAMESPACE}/serviceaccounts");
    api.post(&accounts, json!({"metadata": {"name": name}})).await;
    if let Some(path) = path {
        let rules = json!([{"nonResourceURLs": [path], "verbs": ["get"]}]);
        api.post(&format!("{RBAC}/clusterroles"), json!({"metadata": {"name": name}, "rules": rules})).await;
        let binding = json!({
            "metadata": {"name": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
            "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": NAMESPACE}],
        });
        api.post(&format!("{RBAC}/clusterrolebindings"), binding).await;
    }
    let token = api.post(&format!("{accounts}/{name}/token"), json!({"spec": {}})).await;
    token["status"]["token"].as_str().unwrap().to_owned()
}

impl Bench {
    async fn asks_who_asks(&mut self) {
        let web = Web::tls(self.port);
        let nobody = web.get("/metrics", None).await;
        assert!(nobody.code == 401 && nobody.text.contains("Bearer TOKEN"), "{nobody:?}");
        let made_up = web.get("/metrics", Some("made.up.token")).await;
        assert!(made_up.code == 401 && made_up.text.contains("does not know"), "{made_up:?}");
        let stranger = reader(&self.api, "stranger", None).await;
        let refused = web.get("/metrics", Some(&stranger)).await;
        assert!(refused.code == 403 && refused.text.contains("weir-metrics-reader"), "{refused:?}");
        assert!(refused.text.contains("system:serviceaccount:weir-system:stranger"), "{refused:?}");
        let prometheus = reader(&self.api, "prometheus", Some("/metrics")).await;
        let debugger = reader(&self.api, "debugger", Some("/debug/*")).await;
        for _ in 0..20 {
            let told = web.get("/metrics", Some(&prometheus)).await;
            assert!(told.code == 200 && told.text.ends_with("# EOF\n"), "{told:?}");
        }
        // What is not there is not told of to whom may not look, and one right is not the other.
        for path in ["/debug/world", "/debug/world?anonymise=true", "/debug/nothing", "/elsewhere"] {
            assert_eq!(web.get(path, None).await.code, 401, "{path}");
            assert_eq!(web.get(path, Some(&prometheus)).await.code, 403, "{path}");
        }
        assert_eq!(web.get("/debug/nothing", Some(&debugger)).await.code, 404);
        assert_eq!(web.get("/metrics", Some(&debugger)).await.code, 403);
        let posted = web.try_ask("POST", "/metrics", Some(&prometheus)).await.unwrap();
        assert_eq!(posted.code, 405);
        assert!(Web::plain(self.port).try_ask("GET", "/metrics", Some(&prometheus)).await.is_err(), "no TLS");
        // Health is open, and nothing else is where health is.
        assert_eq!(self.open.get("/healthz", None).await.text, "ok\n");
        assert_eq!(self.open.get("/metrics", Some(&prometheus)).await.code, 404);
        // Twenty scrapes are one question: who is it, and may it.
        let log = std::fs::read_to_string(self.cluster.path("AUDIT_LOG")).unwrap();
        let asked = |resource: &str| {
            let ours =
                |line: &&str| line.contains(resource) && line.contains("serviceaccount:weir-system:weir\"");
            log.lines().filter(ours).count()
        };
        let (who, may) = (asked("\"tokenreviews\""), asked("\"subjectaccessreviews\""));
        assert!((5..=12).contains(&who) && (4..=11).contains(&may), "{who} and {may} questions");
        self.checks
            .ok("no token or one made up: 401; without the right: 403; with it: 200; answers are remembered");
    }

    /// One workload ends, one is evicted, one waits.
    async fn works(&mut self) {
        self.api.small_nodes(1).await;
        let pool = json!({
            "apiVersion": "weir.dev/v1alpha1", "kind": "ResourcePool", "metadata": {"name": "lab"},
            "spec": {"nodes": {"selector": {"matchLabels": {"kind": "small"}}}, "access": {"namespaces": {}},
                     "resources": [{"name": "cpu", "limit": "3"}, {"name": "memory"}]},
        });
        self.api.post(POOLS, pool).await;
        self.api.namespace(WORK).await;
        let place = workloads(WORK);
        for (name, cpus, run_for) in [
            ("secret-name-quick", "1", Some("0s")),
            ("secret-name-steady", "2", None),
            ("secret-name-large", "3", None),
        ] {
            let annotations = run_for.map_or(json!({}), |time| json!({"sim.weir.dev/run-for": time}));
            let made = json!({
                "apiVersion": "weir.dev/v1alpha1", "kind": "PooledWorkload", "metadata": {"name": name},
                "spec": {"pool": "lab", "template": {"pod": {
                    "metadata": {"annotations": annotations},
                    "spec": {"containers": [{"name": "main", "image": "x", "resources": {
                        "requests": {"cpu": cpus, "memory": "64Mi"}},
                        "args": [CANARY], "env": [{"name": "PASSWORD", "value": CANARY}]}]}}}},
            });
            self.api.post(&place, made).await;
            let phase = if run_for.is_some() { "Succeeded" } else { "Running" };
            if name != "secret-name-large" {
                self.api.until_phase(WORK, name, phase, 60).await;
            }
        }
        let lab = format!("{POOLS}/lab");
        self.api.patch(&lab, json!({"spec": {"stopPolicy": "HoldAndDrain"}})).await;
        self.api.until_phase(WORK, "secret-name-steady", "Queued", 60).await;
        self.api
            .until_list(&pods(WORK), 60, |pods| pods.iter().all(|pod| pod["status"]["phase"] == "Succeeded"))
            .await;
        pause(1500).await;
    }

    /// All that is documented, all that alerts and dashboards ask for, and no name of a workload.
    async fn tells_everything(&mut self) {
        let token = reader(&self.api, "grafana", Some("/metrics")).await;
        let web = Web::tls(self.port);
        // The API server publishes the schema of new definitions with a delay.
        let all = |told: &Told| told.text.contains("weir_definition_fields_missing{");
        let text = web.until_by("/metrics", Some(&token), 60, all).await.text;
        let series = text.lines().filter(|line| !line.starts_with('#'));
        let names: BTreeSet<&str> = series.filter_map(|line| line.split(['{', ' ']).next()).collect();
        let mut asked: BTreeSet<String> = BTreeSet::new();
        for (_, expression) in
            crate::chart::observing::queries().into_iter().chain(crate::chart::observing::expressions())
        {
            asked.extend(crate::chart::observing::metrics_of(&expression).into_iter().map(|(name, _)| name));
        }
        for one in described::ALL.iter().flat_map(|(_, all)| *all) {
            asked.insert(if one.kind == "histogram" {
                format!("{}_count", one.name)
            } else {
                one.name.to_owned()
            });
        }
        let missing: Vec<&String> = asked
            .iter()
            .filter(|name| !names.contains(name.as_str()) && !SELDOM.contains(&name.as_str()))
            .collect();
        assert!(missing.is_empty(), "not told: {missing:?}\n{text}");
        assert!(
            !text.contains("secret-name") && !text.contains("node-0"),
            "names of workloads or nodes are told"
        );
        for line in [
            "weir_leading 1",
            "weir_queue_length{pool=\"lab\"} 2.0",
            "weir_pool_capacity{pool=\"lab\",resource=\"cpu\",unit=\"core\"} 4.0",
            "weir_pool_limit{pool=\"lab\",resource=\"cpu\",unit=\"core\"} 3.0",
            "weir_admissions_total{pool=\"lab\"} 2",
            "weir_waiting_seconds_count{pool=\"lab\"} 2",
            "weir_evictions_total{pool=\"lab\",reason=\"Drained\"} 1",
            "weir_ends_total{pool=\"lab\",reason=\"Completed\"} 1",
            "weir_definition_fields_missing{kind=\"ResourcePool\"} 0",
        ] {
            assert!(text.lines().any(|told| told == line), "there is no {line} in\n{text}");
        }
        self.checks.ok("every documented metric and every one that alerts and dashboards name is told, in numbers that are right");
    }

    /// Whoever may read it gets a dump; what is replayed of it is what the operator has told by statuses.
    async fn tells_its_world(&mut self) {
        let token = reader(&self.api, "reporter", Some("/debug/*")).await;
        let web = Web::tls(self.port);
        let told = web.get("/debug/world", Some(&token)).await;
        assert!(told.code == 200 && told.text.contains("secret-name-steady"), "{told:?}");
        assert!(!told.text.contains(CANARY), "what templates hold is in a dump");
        let odd = web.get("/debug/world?names=none", Some(&token)).await;
        assert!(odd.code == 400 && odd.text.contains("?anonymise=true"), "{odd:?}");
        let veiled = web.get("/debug/world?anonymise=true", Some(&token)).await;
        assert!(veiled.code == 200 && !veiled.text.contains("secret-name"), "{veiled:?}");
        assert!(!veiled.text.contains("node-0") && !veiled.text.contains("\"lab\""), "{veiled:?}");
        let (plain, veiled) = (self.replayed("world", &told.text), self.replayed("veiled", &veiled.text));
        assert_eq!(plain["decisions"], json!([]), "all that could be decided was decided");
        // As the statuses say, and in that order.
        let mut queued = 0;
        for workload in self.api.list(&workloads(WORK)).await {
            let name = workload["metadata"]["name"].as_str().unwrap();
            let said = plain["waiting"].as_array().unwrap().iter();
            let said = said.filter(|one| one["workload"] == format!("{WORK}/{name}")).collect::<Vec<_>>();
            if workload["status"]["phase"] != "Queued" {
                assert!(said.is_empty(), "{workload}");
                continue;
            }
            queued += 1;
            let pending = &workload["status"]["queue"]["pending"];
            let pending = if pending.is_null() { &workload["status"]["pending"] } else { pending };
            for field in ["reason", "message"] {
                assert!(pending[field].is_string(), "{workload}");
                assert_eq!(pending[field], said[0][field], "{workload}");
            }
        }
        assert_eq!(queued, 2);
        let all = |answer: &Value, part: &str, field: &str| -> Vec<Value> {
            answer[part].as_array().unwrap().iter().map(|one| one[field].clone()).collect()
        };
        let before = all(&plain, "before", "decision");
        for decision in ["admit", "finish", "stop"] {
            assert!(before.contains(&json!(decision)), "{decision} is not in {plain}");
        }
        let evicted =
            plain["before"].as_array().unwrap().iter().find(|one| one["decision"] == "stop").unwrap();
        assert_eq!(evicted["workload"], "work/secret-name-steady");
        assert!(evicted["text"].as_str().unwrap().contains("evicted: Drained"), "{evicted}");
        assert_eq!(before, all(&veiled, "before", "decision"));
        assert_eq!(all(&plain, "waiting", "reason"), all(&veiled, "waiting", "reason"));
        assert_eq!(plain["dump"]["workloads"], json!({"Finished": 1, "Queued": 2}));
        self.checks.ok("its world is told to whoever may read it, without what templates hold, and is replayed to what statuses say");
    }

    fn replayed(&self, name: &str, dump: &str) -> Value {
        let path = self.cluster.dir.join(format!("{name}.json"));
        std::fs::write(&path, dump).unwrap();
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_weir"))
            .args(["replay", &path.display().to_string(), "-o", "json"])
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    async fn logs_each_decision(&mut self) {
        let token = reader(&self.api, "counter", Some("/metrics")).await;
        let text = Web::tls(self.port).get("/metrics", Some(&token)).await.text;
        let counted: u64 = text
            .lines()
            .filter(|line| line.starts_with("weir_decisions_total{"))
            .map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap())
            .sum();
        let log = self.operator.log();
        let mut lines = 0;
        for line in log.lines() {
            let entry: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
            if entry["target"] != "weir::decision" {
                continue;
            }
            lines += 1;
            assert_eq!(entry["level"], "DEBUG", "{line}");
            for field in ["decision", "namespace", "name", "pool"] {
                assert!(entry[field].is_string(), "{field} is not in {line}");
            }
        }
        assert!(lines >= 4 && lines == counted, "{lines} lines for {counted} decisions");
        let admitted = log.lines().find(|line| line.contains("\"decision\":\"admit\"")).unwrap();
        assert!(
            admitted.contains("\"nodes\":\"node-0\"") && admitted.contains("\"pool\":\"lab\""),
            "{admitted}"
        );
        self.checks
            .ok(&format!("the log is JSON, with one line at the level debug for each of {lines} decisions"));
    }

    /// A certificate of a folder is shown, and another when it changes; half of one changes nothing.
    async fn shows_the_certificate_that_it_is_given(&mut self) {
        let folder = self.cluster.dir.join("tls");
        std::fs::create_dir_all(&folder).unwrap();
        let name = "weir-metrics.weir-system.svc";
        let first = certificate(&folder, name);
        let account = Account::create(&self.cluster, &self.api, "weir-tls").await;
        let place = folder.display().to_string();
        let standby = account.start(&["--metrics-addr", "0.0.0.0:0", "--metrics-tls-dir", &place]);
        let port = port_in_log(&standby.path(), TLS).await;
        let trusts = |issuer: &[u8]| Web::trusting(port, issuer.to_vec(), name);
        assert_eq!(trusts(&first).get("/metrics", None).await.code, 401);
        let token = reader(&self.api, "other-reporter", Some("/debug/*")).await;
        let told = trusts(&first).get("/debug/world", Some(&token)).await;
        assert!(told.code == 503 && told.text.contains("does not lead"), "{told:?}");
        let other = Web::trusting(port, first.clone(), "another.name");
        assert!(other.try_ask("GET", "/metrics", None).await.is_err(), "the certificate has that name only");
        let key = std::fs::read(folder.join("tls.key")).unwrap();
        std::fs::write(folder.join("tls.key"), &key[..key.len() / 2]).unwrap();
        pause(6000).await;
        assert_eq!(trusts(&first).get("/metrics", None).await.code, 401, "half a key changes nothing");
        assert!(standby.log().contains("keeps the certificate that it has"), "{}", standby.log());
        let second = certificate(&folder, name);
        trusts(&second).until("/metrics", 20, |told| told.code == 401).await;
        assert!(
            trusts(&first).try_ask("GET", "/metrics", None).await.is_err(),
            "the old one is not shown any more"
        );
        standby.stop();
        self.checks.ok("the certificate of a folder is shown, and the next one when it changes");
    }

    async fn tells_nothing_when_nobody_can_be_asked(&mut self) {
        let token = reader(&self.api, "late", Some("/metrics")).await;
        self.cluster.kill("PID_KUBE_APISERVER");
        let web = Web::tls(self.port);
        let told = web.get("/metrics", Some(&token)).await;
        assert!(told.code == 503 && !told.text.contains("weir_"), "{told:?}");
        assert_eq!(web.get("/metrics", None).await.code, 401);
        self.cluster.again();
        self.open.until("/readyz", 60, |told| told.code == 200).await;
        assert_eq!(web.get("/metrics", Some(&token)).await.code, 200);
        self.checks.ok("without the API server nothing is told; with it again, it is");
    }
}

/// Makes a certificate that has signed itself; the issuer's DER.
fn certificate(folder: &Path, name: &str) -> Vec<u8> {
    let params = CertificateParams::new([name.to_owned()]).unwrap();
    let pair = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&pair).unwrap();
    let write = |name: &str, label: &str, der: &[u8]| {
        let path: PathBuf = folder.join(name);
        std::fs::write(path, pem(label, der)).unwrap();
    };
    write("tls.key", "PRIVATE KEY", &pair.serialize_der());
    write("tls.crt", "CERTIFICATE", certificate.der());
    certificate.der().to_vec()
}

fn pem(label: &str, der: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in der.chunks(3) {
        let bits =
            three.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - three.len()));
        for at in 0..4 {
            let letter = LETTERS[(bits >> (18 - 6 * at) & 63) as usize] as char;
            text.push(if at <= three.len() { letter } else { '=' });
        }
    }
    let lines: Vec<&str> =
        text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}
