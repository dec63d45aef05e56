//! Completion of words: in bash, zsh and fish, and for kubectl, which asks a program called
//! `kubectl_complete-weir`. Names of pools, workloads, nodes and namespaces come from the cluster; where it does
//! not answer at once there are none.

use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap_complete::CompletionCandidate;
use clap_complete::engine;
use clap_complete::env::{Bash, CompleteEnv, EnvCompleter, Fish, Shells, Zsh};
use k8s_openapi::api::core::v1::{Namespace, Node};
use kube::api::{Api, ListParams, ObjectMeta};
use kube::config::Kubeconfig;
use serde::de::DeserializeOwned;

use super::{Name, cluster, exit, output};
use crate::api::{PooledWorkload, ResourcePool};

/// A shell that sets this asks for words.
const VARIABLE: &str = "WEIR_COMPLETE";
/// kubectl asks a program of this name.
const ASKED_BY_KUBECTL: &str = "kubectl_complete-weir";
/// Longest wait for the cluster: somebody has pressed a key.
const PATIENCE: Duration = Duration::from_secs(2);
/// Most names that are offered.
const MOST: u32 = 500;

/// What `weir completion` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// For which shell; kubectl: the program by which kubectl completes `kubectl weir`
    #[arg(value_enum)]
    shell: Shell,
}

/// What completes words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Shell {
    /// `source <(weir completion bash)` in ~/.bashrc
    Bash,
    /// `source <(weir completion zsh)` in ~/.zshrc
    Zsh,
    /// `weir completion fish > ~/.config/fish/completions/weir.fish`
    Fish,
    /// `weir completion kubectl > kubectl_complete-weir`, executable, in a folder of $PATH
    Kubectl,
}

/// Prints the script.
///
/// # Errors
/// Where it cannot be printed.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let shell: &dyn EnvCompleter = match args.shell {
        Shell::Bash => &Bash,
        Shell::Zsh => &Zsh,
        Shell::Fish => &Fish,
        Shell::Kubectl => &Kubectl,
    };
    let mut script = Vec::new();
    shell.write_registration(VARIABLE, "weir", "weir", &caller()?.to_string_lossy(), &mut script)?;
    io::stdout().lock().write_all(&script)?;
    Ok(ExitCode::SUCCESS)
}

/// What the script calls: the program as it was called itself, by name or by path, so that it lasts over an update. Links
/// are not followed, for what they lead to may go: krew, whose links kubectl calls, keeps each version in a folder of its own.
fn caller() -> anyhow::Result<PathBuf> {
    match std::env::args_os().next().filter(|program| !program.is_empty()).map(PathBuf::from) {
        Some(program) if program.components().count() == 1 && program.is_relative() => Ok(program),
        Some(program) => std::path::absolute(program),
        None => std::env::current_exe(),
    }
    .context("cannot tell where this program is")
}

/// Answers a shell, or kubectl, that asks for words; none if nobody does.
pub fn asked(name: Name) -> Option<ExitCode> {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let program = arguments.first().and_then(|program| Path::new(program).file_stem());
    if program.is_some_and(|program| program == ASKED_BY_KUBECTL) {
        let words = arguments.into_iter().skip(1).collect();
        let done = Kubectl.write_complete(&mut Name::Plugin.command(), words, None, &mut io::stdout().lock());
        return Some(ExitCode::from(if done.is_ok() { exit::DONE } else { exit::FAILED }));
    }
    let shells = Shells(&[&Bash, &Zsh, &Fish, &Kubectl]);
    let here = std::env::current_dir().ok();
    let complete = CompleteEnv::with_factory(|| name.command()).var(VARIABLE).shells(shells);
    match complete.try_complete(arguments, here.as_deref()) {
        Ok(false) => None,
        Ok(true) => Some(ExitCode::SUCCESS),
        Err(error) => {
            let _ = error.print();
            Some(ExitCode::from(exit::FAILED))
        }
    }
}

/// kubectl's own way: the words that were typed after `kubectl weir` come as arguments, the last of them unfinished;
/// the answer is a word a line, with a tab before what it means, and a last line that says what else may follow.
struct Kubectl;

/// kubectl shall not offer names of files.
const NO_FILES: &str = ":4";

impl EnvCompleter for Kubectl {
    fn name(&self) -> &'static str {
        "kubectl"
    }

    fn is(&self, name: &str) -> bool {
        name == "kubectl"
    }

    fn write_registration(
        &self,
        var: &str,
        _name: &str,
        _bin: &str,
        completer: &str,
        buf: &mut dyn Write,
    ) -> Result<(), io::Error> {
        let quoted = completer.replace('\'', r"'\''");
        writeln!(buf, "#!/bin/sh\n# kubectl asks this program for the words after `kubectl weir`.")?;
        writeln!(buf, "{var}=kubectl exec '{quoted}' -- \"$@\"")
    }

    fn write_complete(
        &self,
        cmd: &mut clap::Command,
        args: Vec<OsString>,
        current_dir: Option<&Path>,
        buf: &mut dyn Write,
    ) -> Result<(), io::Error> {
        // The engine wants the program's name first.
        let mut words = vec![OsString::from("kubectl-weir")];
        words.extend(args);
        if words.len() == 1 {
            words.push(OsString::new());
        }
        let last = words.len() - 1;
        for candidate in engine::complete(cmd, words, last, current_dir)? {
            let help = candidate.get_help().map(ToString::to_string).unwrap_or_default();
            let word = candidate.get_value().to_string_lossy();
            match help.lines().next().filter(|line| !line.is_empty()) {
                Some(help) => writeln!(buf, "{word}\t{help}")?,
                None => writeln!(buf, "{word}")?,
            }
        }
        writeln!(buf, "{NO_FILES}")
    }
}

/// What was typed of the options that say which cluster.
fn typed() -> cluster::Args {
    let mut found = cluster::Args::default();
    let words: Vec<String> = std::env::args().collect();
    let mut words = words.iter().map(String::as_str).peekable();
    while let Some(word) = words.next() {
        let (option, value) = match word.split_once('=') {
            Some((option, value)) => (option, Some(value)),
            None => (word, None),
        };
        if !matches!(option, "--kubeconfig" | "--context" | "--namespace" | "-n") {
            continue;
        }
        let Some(value) = value.or_else(|| words.next()).filter(|value| !value.is_empty()) else { continue };
        match option {
            "--kubeconfig" => found.which.kubeconfig = Some(value.into()),
            "--context" => found.which.context = Some(value.to_owned()),
            _ => found.namespace = Some(value.to_owned()),
        }
    }
    found
}

/// Names from the cluster, or none where it does not answer in time.
fn ask<F>(names: impl FnOnce(cluster::Cluster) -> F) -> Vec<String>
where
    F: Future<Output = Result<Vec<String>, kube::Error>>,
{
    let asked = cluster::block_on(async {
        let cluster = typed().connect().await?;
        Ok(tokio::time::timeout(PATIENCE, names(cluster)).await??)
    });
    asked.unwrap_or_default()
}

fn candidates(names: Vec<String>, current: &OsStr) -> Vec<CompletionCandidate> {
    let current = current.to_string_lossy();
    names.into_iter().filter(|name| name.starts_with(&*current)).map(CompletionCandidate::new).collect()
}

/// Names of contexts of the kubeconfig.
pub fn contexts(current: &OsStr) -> Vec<CompletionCandidate> {
    let read = match typed().which.kubeconfig {
        Some(path) => Kubeconfig::read_from(path),
        None => Kubeconfig::read(),
    };
    let contexts = read.map(|config| config.contexts).unwrap_or_default();
    candidates(contexts.into_iter().map(|context| context.name).collect(), current)
}

/// Names of namespaces.
pub fn namespaces(current: &OsStr) -> Vec<CompletionCandidate> {
    candidates(ask(|cluster| all::<Namespace>(Api::all(cluster.client))), current)
}

/// Names of pools.
pub fn pools(current: &OsStr) -> Vec<CompletionCandidate> {
    candidates(ask(|cluster| all::<ResourcePool>(Api::all(cluster.client))), current)
}

/// Names of nodes.
pub fn nodes(current: &OsStr) -> Vec<CompletionCandidate> {
    candidates(ask(|cluster| all::<Node>(Api::all(cluster.client))), current)
}

/// Workloads as `NAMESPACE/NAME`, or by name where a namespace was typed.
pub fn workloads(current: &OsStr) -> Vec<CompletionCandidate> {
    let words = current.to_string_lossy().into_owned();
    let namespace = words.split_once('/').map(|(namespace, _)| namespace.to_owned());
    let found = ask(|cluster| async move {
        let within = |namespace: &str| Api::<PooledWorkload>::namespaced(cluster.client.clone(), namespace);
        if let Some(namespace) = namespace {
            return Ok(titled(within(&namespace).list_metadata(&page()).await?.items, true));
        }
        if typed().namespace.is_some() {
            return Ok(titled(within(&cluster.namespace).list_metadata(&page()).await?.items, false));
        }
        match Api::<PooledWorkload>::all(cluster.client.clone()).list_metadata(&page()).await {
            Ok(list) => Ok(titled(list.items, true)),
            // A tenant sees what is its own.
            Err(_) => Ok(titled(within(&cluster.namespace).list_metadata(&page()).await?.items, true)),
        }
    });
    candidates(found, current)
}

fn page() -> ListParams {
    ListParams::default().limit(MOST)
}

fn titled(items: Vec<kube::core::PartialObjectMeta<PooledWorkload>>, whole: bool) -> Vec<String> {
    let title = |metadata: ObjectMeta| {
        let name = metadata.name.unwrap_or_default();
        if whole { output::title(&metadata.namespace.unwrap_or_default(), &name) } else { name }
    };
    items.into_iter().map(|item| title(item.metadata)).collect()
}

async fn all<K>(api: Api<K>) -> Result<Vec<String>, kube::Error>
where
    K: kube::Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug,
{
    Ok(api.list_metadata(&page()).await?.items.into_iter().filter_map(|item| item.metadata.name).collect())
}
