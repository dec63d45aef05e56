//! Commands of the documentation, run as they stand there, on a real control plane: what `kubectl` and `helm` are told to do
//! is possible, and does what the page says. What cannot be run here is in a list, with the reason.

use std::collections::BTreeSet;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

use super::install::{DEPLOYMENT, PATIENCE, Stage, workload};
use super::{good, helm, root};
use crate::real::api::{Api, Checks, NODES, POOLS, pods, workloads};
use crate::real::cluster::Cluster;
use crate::real::operator::Operator;

/// Where pages are, beside those at the top.
const FOLDERS: &[&str] = &["charts", "docs", "examples", "gitops", "kustomize"];

/// Where a line stands, how it begins, and why it is not run.
const NOT_RUN: &[(&str, &str, &str)] = &[
    ("README.md", "$ kubectl get rp", "shows what the demo prints"),
    ("README.md", "kubectl describe pw train-speech", "of the demo; that of docs/workloads.md is run"),
    ("docs/cli.md", "$ kubectl weir why", "shows what the demo prints; tests/cli runs it"),
    ("docs/operating.md", "kubectl apply -f - <<EOF #2", "a Certificate needs cert-manager"),
    ("docs/pools.md", "kubectl annotate rp floor", "tests/scenarios carry out recommendations"),
    ("docs/pools.md", "kubectl get rp floor", "the same"),
    ("docs/replay.md", "kubectl port-forward", "needs a kubelet"),
    ("docs/workloads.md", "kubectl logs", "needs a kubelet"),
];

struct Pages {
    stage: Stage,
    /// Where commands are run: what the repository has is there.
    folder: PathBuf,
    /// Lines that were run, as they stand on their pages.
    run: BTreeSet<(String, String)>,
}

/// The lines of a page's fenced blocks that call `kubectl` or `helm`; one that is there twice is numbered.
fn commands(page: &str) -> Vec<String> {
    let text = std::fs::read_to_string(root().join(page)).unwrap();
    let mut inside = false;
    let mut found: Vec<String> = Vec::new();
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            inside = !inside;
        }
        let bare = line.trim_start().trim_start_matches("$ ");
        if inside && (bare.starts_with("kubectl ") || bare.starts_with("helm ")) {
            let before = found.iter().filter(|one| one.split(" #").next() == Some(line)).count();
            found.push(if before == 0 { line.to_owned() } else { format!("{line} #{}", before + 1) });
        }
    }
    found
}

/// All pages that may tell a user what to do.
fn all_pages() -> Vec<String> {
    let files = |folder: &Path| -> Vec<PathBuf> {
        let all = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        all.filter(|path| path.extension().is_some_and(|ending| ending == "md")).collect()
    };
    let mut found = files(&root());
    let mut folders: Vec<PathBuf> = FOLDERS.iter().map(|folder| root().join(folder)).collect();
    while let Some(folder) = folders.pop() {
        found.extend(files(&folder));
        let below = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
        folders.extend(below.filter(|path| path.is_dir()));
    }
    let name = |path: PathBuf| path.strip_prefix(root()).unwrap().display().to_string();
    found.into_iter().map(name).collect()
}

/// The fenced blocks of a page.
fn blocks(page: &str) -> Vec<String> {
    let text = std::fs::read_to_string(root().join(page)).unwrap();
    let parts = text.split("\n```").skip(1).step_by(2);
    parts.map(|part| part.split_once('\n').map_or("", |(_, body)| body).to_owned() + "\n").collect()
}

impl Pages {
    async fn begin() -> Self {
        helm();
        let cluster = Cluster::up(&["--no-crds", "--nodes", "3"]);
        let api = Api::new(&cluster.kubeconfig()).await;
        let folder = cluster.dir.join("clone");
        std::fs::create_dir_all(folder.join("bin")).unwrap();
        for name in ["charts", "crds", "docs", "examples", "gitops", "kustomize"] {
            symlink(root().join(name), folder.join(name)).unwrap();
        }
        let program = PathBuf::from(env!("CARGO_BIN_EXE_weir"));
        let programs = [
            ("kubectl", cluster.path("KUBECTL")),
            ("helm", PathBuf::from(helm().get_program())),
            ("weir", program.clone()),
            ("kubectl-weir", program),
        ];
        for (name, path) in programs {
            symlink(path, folder.join("bin").join(name)).unwrap();
        }
        let stage = Stage { operator: None, api, cluster, checks: Checks::begin("pages") };
        Self { stage, folder, run: BTreeSet::new() }
    }

    /// Runs lines of shell and gives what they print.
    fn shell(&self, script: &str) -> String {
        let path = std::env::var("PATH").unwrap_or_default();
        let mut command = Command::new("bash");
        command.args(["-euo", "pipefail", "-c", script]).current_dir(&self.folder);
        command.envs(helm().get_envs().filter_map(|(key, value)| Some((key, value?))));
        command
            .env("PATH", format!("{}:{path}", self.folder.join("bin").display()))
            .env("KUBECONFIG", self.stage.cluster.kubeconfig())
            .env("KUBECACHEDIR", self.stage.cluster.dir.join("cache"))
            .env_remove("HELM_NAMESPACE");
        good(command.output().unwrap(), script)
    }

    /// Runs the block of a page that has these words; what a user must put in is put in, and lines that begin so are left out.
    fn block(&mut self, page: &str, words: &str, put: &[(&str, &str)], without: &str) -> String {
        let block = blocks(page).into_iter().find(|block| block.contains(words));
        let block = block.unwrap_or_else(|| panic!("{page} has no block with {words:?}"));
        let left: Vec<&str> =
            block.lines().filter(|line| without.is_empty() || !line.starts_with(without)).collect();
        self.run.extend(left.iter().map(|line| (page.to_owned(), (*line).to_owned())));
        let mut script = left.join("\n");
        for (what, with) in put {
            assert!(script.contains(what), "{page}: no {what} in {script}");
            script = script.replace(what, with);
        }
        self.shell(&script)
    }

    /// Writes a YAML block of a page to a file.
    fn file(&self, page: &str, words: &str, name: &str) {
        let block = blocks(page).into_iter().find(|block| block.contains(words)).expect(words);
        std::fs::write(self.folder.join(name), block).unwrap();
    }

    async fn nodes(&self, names: &[&str]) {
        for name in names {
            let mut node = crate::real::api::small_node(0);
            node["metadata"]["name"] = json!(name);
            node["metadata"]["labels"]["kubernetes.io/hostname"] = json!(name);
            node["metadata"]["labels"].as_object_mut().unwrap().remove("weir.dev/pool");
            self.stage.api.post(NODES, node).await;
        }
    }

    async fn phase(&self, namespace: &str, name: &str, phase: &str) {
        self.stage.api.until_phase(namespace, name, phase, PATIENCE).await;
    }

    /// The kubelets of this cluster end nothing by themselves.
    async fn ends(&self, namespace: &str, workload: &str) {
        let selector = format!("{}?labelSelector=weir.dev/workload%3D{workload}", pods(namespace));
        for pod in self.stage.api.list(&selector).await {
            let name = pod["metadata"]["name"].as_str().unwrap();
            let ends = json!({"metadata": {"annotations": {"sim.weir.dev/run-for": "0s"}}});
            self.stage.api.patch(&format!("{}/{name}", pods(namespace)), ends).await;
        }
    }

    fn ok(&mut self, shown: &str) {
        self.stage.ok(shown);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_of_the_pages_do_what_they_say() {
    let mut pages = Pages::begin().await;
    pages.starts().await;
    pages.lets_tenants_in().await;
    pages.works_with_pools().await;
    pages.works_with_workloads().await;
    pages.looks_and_upgrades().await;
    pages.comes_and_goes();
    let mut wrong = Vec::new();
    let mut excused = BTreeSet::new();
    for page in &all_pages() {
        for line in commands(page) {
            let bare = line.strip_suffix(" #2").unwrap_or(&line).to_owned();
            if let Some(reason) = NOT_RUN.iter().find(|(on, begin, _)| on == page && line.starts_with(begin))
            {
                excused.insert(*reason);
            } else if !pages.run.contains(&(page.clone(), bare)) {
                wrong.push(format!("{page}: {line}"));
            }
        }
    }
    assert!(wrong.is_empty(), "run these, or say why not:\n{}", wrong.join("\n"));
    assert_eq!(excused.len(), NOT_RUN.len(), "these are not there any more: {NOT_RUN:?}");
}

impl Pages {
    /// docs/start.md and README.md, from nothing to a workload that has ended.
    async fn starts(&mut self) {
        let page = "docs/start.md";
        self.file(page, "kind: ResourcePool", "lab.yaml");
        self.nodes(&["n1", "n2", "n3", "n4"]).await;
        self.block(page, "helm install weir", &[("REGISTRY", "registry.example")], "");
        let command = self.stage.program(DEPLOYMENT, "weir").await;
        self.stage.operator = Some(Operator::spawn(command, &self.stage.cluster.dir, "weir"));
        let said = std::fs::read_to_string(root().join(page)).unwrap();
        let label = "kubectl label node NODE weir.dev/pool=lab";
        assert!(said.contains(&format!("`{label}`")));
        self.shell(&label.replace("NODE", "n4"));
        self.phase("default", "hello", "Running").await;
        let said = self.block(page, "kubectl get rp,pw", &[], "");
        for words in ["resourcepool.weir.dev/lab", "pooledworkload.weir.dev/hello", "Running"] {
            assert!(said.contains(words), "{words}: {said}");
        }
        self.ok("docs/start.md: installed, a pool, a workload that runs, and it is seen");
        // The README has both in files of their own, and waits for the end.
        self.file("README.md", "kind: ResourcePool", "lab.yaml");
        self.file("README.md", "kind: PooledWorkload", "hello.yaml");
        self.ends("default", "hello").await;
        let said = self.block("README.md", "kubectl wait", &[("-f .", "-f lab.yaml -f hello.yaml")], "");
        assert!(said.contains("hello condition met") && said.contains("Succeeded"), "{said}");
        self.ok("README.md: applied, waited for, explained and checked");
    }

    /// The right to use a pool, as both pages have it.
    async fn lets_tenants_in(&mut self) {
        self.stage.api.namespace("vision").await;
        for page in ["docs/operating.md", "charts/weir/README.md"] {
            self.block(page, "kubectl create rolebinding use-lab", &[], "");
            let can = "kubectl auth can-i use resourcepools.weir.dev/lab --as ada --as-group team-vision -n";
            assert_eq!(self.shell(&format!("{can} vision")).trim(), "yes");
            assert_eq!(self.shell(&format!("{can} default || true")).trim(), "no");
            self.shell("kubectl delete rolebinding use-lab -n vision");
        }
        self.stage.api.namespace("argocd").await;
        self.shell("kubectl create configmap argocd-cm -n argocd --from-literal=url=there");
        self.block("docs/gitops.md", "kubectl create configmap weir-health", &[], "");
        let found = self.stage.api.get("/api/v1/namespaces/argocd/configmaps/argocd-cm").await.unwrap();
        for kind in ["ResourcePool", "PooledWorkload"] {
            let rule = found["data"][format!("resource.customizations.health.weir.dev_{kind}")].as_str();
            assert!(rule.is_some_and(|rule| rule.contains("hs.status")), "{found}");
        }
        assert_eq!(found["data"]["url"], "there");
        let said = self.block("examples/gitops/README.md", "kubectl kustomize", &[], "weir what-if");
        assert!(!said.contains("error"), "{said}");
        self.ok("tenants are let in as two pages say; Argo CD's ConfigMap gets both rules");
    }

    async fn works_with_pools(&mut self) {
        let page = "docs/pools.md";
        self.block(page, "kubectl label node n1", &[], "");
        let mut company = super::install::pool("company");
        company["metadata"]["name"] = json!("company");
        self.stage.api.post(POOLS, company).await;
        let mut research = super::install::pool("research");
        research["spec"].as_object_mut().unwrap().remove("nodes");
        research["spec"]["parent"] = json!("company");
        self.stage.api.post(POOLS, research).await;
        self.stage.api.namespace("team-a").await;
        let place = workloads("team-a");
        self.stage.api.post(&place, workload("steady", "research")).await;
        self.phase("team-a", "steady", "Running").await;
        self.block(page, "kubectl patch rp research", &[], "");
        self.phase("team-a", "steady", "Queued").await;
        self.shell(r#"kubectl patch rp research --type=merge -p '{"spec":{"stopPolicy":"None"}}'"#);
        self.phase("team-a", "steady", "Running").await;
        let company = format!("{POOLS}/company");
        self.block(page, "kubectl cordon n1", &[], "");
        let drained = |pool: &serde_json::Value| pool["status"]["drain"]["nodes"] == 1;
        self.stage.api.until(&company, PATIENCE, drained).await;
        self.shell("kubectl uncordon n1; kubectl annotate node n1 weir.dev/drain-");
        let deployment = json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
            "spec": {
                "selector": {"matchLabels": {"app": "web"}},
                "template": {
                    "metadata": {"labels": {"app": "web"}},
                    "spec": {"containers": [super::install::container()]},
                },
            },
        });
        self.stage.api.post("/apis/apps/v1/namespaces/team-a/deployments", deployment).await;
        let lines: Vec<String> =
            commands(page).into_iter().filter(|line| line.starts_with("$ kubectl -n team-a")).collect();
        assert_eq!(lines.len(), 2);
        self.shell(lines[0].trim_start_matches("$ "));
        let adopted = |pool: &serde_json::Value| !pool["status"]["adopted"].is_null();
        self.stage.api.until(&format!("{POOLS}/research"), PATIENCE, adopted).await;
        // The event comes a moment later.
        let look = lines[1].trim_start_matches("$ ");
        let said = self.shell(&format!("for try in {{1..50}}; do {look} && exit; sleep 0.2; done; exit 1"));
        assert!(said.contains("pool \"research\""), "{said}");
        self.run.extend(lines.into_iter().map(|line| (page.to_owned(), line)));
        self.ok("docs/pools.md: nodes join, a pool is drained, a node is drained, a Deployment counts");
    }

    async fn works_with_workloads(&mut self) {
        let page = "docs/workloads.md";
        // So that the member that is moved to it is not there already.
        self.shell("kubectl cordon n2");
        let mut wide = workload("train-speech", "lab");
        wide["spec"]["replicas"] = json!(500);
        let mut web = workload("web", "company");
        web["spec"]["replicas"] = json!(2);
        web["spec"]["completion"] = json!("KeepRunning");
        let of = [
            ("vision", "train-speech", wide, "Queued"),
            ("shop", "web", web, "Running"),
            ("reports", "report", workload("report", "lab"), "Running"),
        ];
        for (namespace, name, mut object, phase) in of {
            if namespace != "vision" {
                self.stage.api.namespace(namespace).await;
            }
            object["metadata"]["namespace"] = json!(namespace);
            self.stage.api.post(&workloads(namespace), object).await;
            self.phase(namespace, name, phase).await;
        }
        self.shell("kubectl uncordon n2");
        self.ends("reports", "report").await;
        let said = self.block(page, "kubectl wait", &[], "kubectl logs");
        assert!(said.contains("condition met") && said.ends_with("Succeeded"), "{said}");
        let said = self.block(page, "kubectl describe pw train-speech", &[], "");
        assert!(said.contains("REASON") && said.contains("Pending:"), "{said}");
        self.block(page, "kubectl annotate pw web", &[], "");
        let answered = |found: &serde_json::Value| found["status"]["migrationRequest"]["state"] == "Moved";
        self.stage.api.until(&format!("{}/web", workloads("shop")), PATIENCE, answered).await;
        self.ok("docs/workloads.md: waited for its end, seen why it waits, moved by hand");
    }

    async fn looks_and_upgrades(&mut self) {
        let said = self.block(
            "docs/foresight.md",
            "kubectl get pw train -o",
            &[("kubectl get pw train -o", "kubectl get pw train-speech -n vision -o")],
            "",
        );
        assert!(said.contains("ESTIMATED START"), "{said}");
        // The account is made, may read, and is taken away again: what comes between needs a kubelet.
        let lines: Vec<String> = commands("docs/replay.md")
            .into_iter()
            .filter(|line| !line.starts_with("kubectl port-forward"))
            .collect();
        assert_eq!(lines.len(), 3);
        let can = "kubectl auth can-i get /debug/world --as system:serviceaccount:weir-system:weir-debugger";
        self.shell(&lines[..2].join("\n"));
        assert_eq!(self.shell(can).trim(), "yes");
        self.shell(&lines[2]);
        assert_eq!(self.shell(&format!("{can} || true")).trim(), "no");
        self.run.extend(lines.into_iter().map(|line| ("docs/replay.md".to_owned(), line)));
        let page = std::fs::read_to_string(root().join("docs/upgrading.md")).unwrap();
        let get = "helm get values weir -n weir-system -o yaml > values.yaml";
        assert!(page.contains(&format!("`{get}`")));
        self.shell(get);
        self.block("docs/upgrading.md", "helm upgrade", &[], "");
        let found = self.stage.api.get(DEPLOYMENT).await.unwrap();
        let image = found["spec"]["template"]["spec"]["containers"][0]["image"].as_str().unwrap();
        assert!(image.starts_with("registry.example/weir:"), "the values are kept: {image}");
        self.ok("docs/foresight.md, docs/replay.md, and docs/upgrading.md, which keeps the values");
    }

    /// docs/operating.md: away and back again, by Helm and by hand.
    fn comes_and_goes(&mut self) {
        let page = "docs/operating.md";
        self.stage.operator.take().unwrap().stop();
        self.shell(
            "helm uninstall weir -n weir-system --no-hooks --wait && kubectl delete namespace weir-system",
        );
        self.block(page, "helm install weir", &[("REGISTRY", "registry.example")], "");
        assert!(self.shell("kubectl get rp company -o name").contains("company"), "pools are kept");
        self.shell(
            "helm uninstall weir -n weir-system --no-hooks --wait && kubectl delete namespace weir-system",
        );
        // Over the definitions that Helm has left.
        self.block(page, "kubectl apply --server-side -f crds/", &[], "weir run");
        let mut deleted = self.shell("weir release");
        deleted += &self.block(page, "kubectl delete -f crds/", &[], "weir release");
        for words in ["resourcepools.weir.dev", "clusterrole", "namespace \"weir-system\" deleted"] {
            assert!(deleted.contains(words), "{words}: {deleted}");
        }
        // By hand, and then by Helm: the definitions are handed over.
        self.shell("kubectl apply --server-side -f crds/");
        let install =
            "helm install weir charts/weir -n weir-system --create-namespace --set image.repository=x/weir";
        let refused = self.shell(&format!("! {install} 2>&1"));
        assert!(refused.contains("invalid ownership metadata"), "{refused}");
        self.shell(&format!("{install} --take-ownership"));
        let own = self.shell("kubectl get crd resourcepools.weir.dev -o jsonpath='{.metadata.annotations}'");
        assert!(own.contains("\"meta.helm.sh/release-name\":\"weir\""), "{own}");
        // Another release elsewhere: neither a thing of the first, nor its definitions.
        self.shell("helm uninstall weir -n weir-system --no-hooks --wait");
        let elsewhere =
            install.replace("weir-system", "elsewhere").replace("install weir ", "install other ");
        let refused = self.shell(&format!("! {elsewhere} 2>&1"));
        assert!(refused.contains("invalid ownership metadata"), "{refused}");
        self.shell(&format!("{elsewhere} --take-ownership"));
        self.shell("helm uninstall other -n elsewhere --no-hooks --wait");
        let put = [("REGISTRY", "registry.example"), ("helm install", "helm install --take-ownership")];
        self.block("charts/weir/README.md", "helm install weir", &put, "");
        self.ok("docs/operating.md: installed, uninstalled, put there by hand and deleted; definitions are handed over");
    }
}
