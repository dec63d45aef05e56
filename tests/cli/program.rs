//! Without a cluster: names, exit codes, completion and man pages.

use std::collections::BTreeSet;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use clap::CommandFactory as _;
use weir::cli::{Cli, exit};

/// A folder of its own for each test, with the program under another name in it; gone afterwards.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new(test: &str) -> Self {
        let path = std::env::temp_dir().join(format!("weir-cli-{test}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// The program under that name.
    pub fn named(&self, name: &str) -> Command {
        let path = self.0.join(name);
        if !path.exists() {
            symlink(env!("CARGO_BIN_EXE_weir"), &path).unwrap();
        }
        let mut command = Command::new(path);
        command.current_dir(&self.0).env_remove("KUBECONFIG").env("HOME", &self.0).stdin(Stdio::null());
        command
    }

    pub fn run(&self, name: &str, arguments: &[&str]) -> Output {
        self.named(name).args(arguments).output().unwrap()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

pub fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn usage_says_the_name_by_which_it_was_called() {
    let folder = Folder::new("name");
    for (name, usage, example) in [
        ("weir", "Usage: weir why [OPTIONS] <WORKLOAD>", "\n  weir why vision/"),
        ("kubectl-weir", "Usage: kubectl weir why [OPTIONS] <WORKLOAD>", "\n  kubectl weir why vision/"),
    ] {
        let output = folder.run(name, &["why", "--help"]);
        assert_eq!(output.status.code(), Some(0));
        assert!(out(&output).contains(usage) && out(&output).contains(example), "{}", out(&output));
    }
    assert!(err(&folder.run("kubectl-weir", &["why"])).contains("Usage: kubectl weir why"));
}

#[test]
fn exit_codes_are_those_of_the_table() {
    let folder = Folder::new("exit");
    let pool = "apiVersion: weir.dev/v1alpha1\nkind: ResourcePool\nmetadata: {name: a}\nspec: {weight: 0, nodes: {selector: {}}}\n";
    std::fs::write(folder.0.join("wrong.yaml"), pool).unwrap();
    std::fs::write(folder.0.join("right.yaml"), pool.replace('0', "1")).unwrap();
    std::fs::write(folder.0.join("broken.config"), "][").unwrap();
    let nowhere = "apiVersion: v1\nkind: Config\ncurrent-context: c\ncontexts: [{name: c, context: {cluster: c, user: u}}]\n\
                   clusters: [{name: c, cluster: {server: \"http://127.0.0.1:1\"}}]\nusers: [{name: u, user: {}}]\n";
    std::fs::write(folder.0.join("nowhere.config"), nowhere).unwrap();
    let told: BTreeSet<u8> = exit::TABLE.iter().map(|(code, _)| *code).collect();
    let mut seen = BTreeSet::new();
    for (arguments, code, words) in [
        (&["--version"][..], exit::DONE, ""),
        (&["check", "-f", "right.yaml"], exit::DONE, ""),
        (&["check", "-f", "wrong.yaml"], exit::STOP, ""),
        (&["check", "-f", "missing.yaml"], exit::FAILED, "cannot read missing.yaml"),
        (&["check"], exit::FAILED, "--filename"),
        (&["chekc"], exit::FAILED, "'check'"),
        (&["why", "a/b/c"], exit::FAILED, "no cluster to talk to: set KUBECONFIG"),
        (&["why", "a/b/c", "--kubeconfig", "nowhere.config"], exit::FAILED, "write NAMESPACE/NAME"),
        (
            &["why", "a/b", "--kubeconfig", "missing.config"],
            exit::FAILED,
            "cannot read the kubeconfig missing.config",
        ),
        (
            &["why", "a/b", "--kubeconfig", "broken.config"],
            exit::FAILED,
            "cannot read the kubeconfig broken.config",
        ),
        (
            &["why", "a/b", "--kubeconfig", "nowhere.config"],
            exit::FAILED,
            "cannot read workload \"b\" in namespace \"a\"",
        ),
        (&["why", "a/b", "--kubeconfig", "nowhere.config", "--context", "x"], exit::FAILED, "x"),
    ] {
        let output = folder.run("weir", arguments);
        assert_eq!(output.status.code(), Some(i32::from(code)), "{arguments:?}: {}", err(&output));
        assert!(err(&output).contains(words), "{arguments:?}: {}", err(&output));
        seen.insert(code);
    }
    assert_eq!(seen, told, "each code of the table is shown");
}

/// docs/cli.md promises it of all.
#[test]
fn whatever_is_printed_can_be_printed_as_table_json_or_yaml() {
    let command = Cli::command();
    let mut seen = Vec::new();
    for subcommand in command.get_subcommands() {
        let Some(option) = subcommand.get_arguments().find(|one| one.get_long() == Some("output")) else {
            continue;
        };
        let values: Vec<String> =
            option.get_possible_values().iter().map(|value| value.get_name().to_owned()).collect();
        assert_eq!(&values[..3], ["table", "json", "yaml"], "{}", subcommand.get_name());
        seen.push(subcommand.get_name());
    }
    assert_eq!(seen, ["check", "plan", "replay", "report", "simulate", "top", "what-if", "why"]);
}

#[test]
fn a_reader_that_has_enough_is_no_mistake() {
    let folder = Folder::new("pipe");
    folder.named("weir");
    let script = "set -o pipefail; ./weir crds | head -n 1";
    let output = Command::new("bash").args(["-c", script]).current_dir(&folder.0).output().unwrap();
    assert_eq!((out(&output).as_str(), err(&output).as_str()), ("---\n", ""));
    assert!(output.status.success());
}

#[test]
fn each_subcommand_has_a_man_page() {
    let folder = Folder::new("man");
    assert!(folder.run("weir", &["man", "pages"]).status.success());
    let page = |name: &str| std::fs::read_to_string(folder.0.join("pages").join(name)).unwrap();
    assert!(page("weir.1").contains("Exit codes: 0 done"));
    let mut options = 0;
    for subcommand in Cli::command().get_subcommands() {
        let page = page(&format!("weir-{}.1", subcommand.get_name()));
        for option in subcommand.get_arguments().filter_map(clap::Arg::get_long) {
            // As roff writes a hyphen.
            let written = format!("\\-\\-{}", option.replace('-', "\\-"));
            assert!(page.contains(&written), "{} does not tell of --{option}", subcommand.get_name());
            options += 1;
        }
    }
    assert!(options > 10);
}

/// What bash offers for the last of some words, by the script that users source.
fn offered_by_bash(folder: &Folder, words: &[&str]) -> Vec<String> {
    let script = out(&folder.run("weir", &["completion", "bash"]));
    std::fs::write(folder.0.join("completion.bash"), script).unwrap();
    let quoted: Vec<String> = words.iter().map(|word| format!("'{word}'")).collect();
    let last = words.len() - 1;
    let asks = format!(
        "source ./completion.bash; COMP_WORDS=({}); COMP_CWORD={last}; COMP_TYPE=9; \
         _clap_complete_weir weir '{}' '{}'; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
        quoted.join(" "),
        words[last],
        words[last - 1]
    );
    let mut command = Command::new("bash");
    command
        .args(["--norc", "-c", &asks])
        .current_dir(&folder.0)
        .env("HOME", &folder.0)
        .env_remove("KUBECONFIG");
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", err(&output));
    out(&output).lines().map(str::to_owned).collect()
}

#[test]
fn bash_completes_subcommands_options_values_and_files() {
    let folder = Folder::new("bash");
    std::fs::write(folder.0.join("manifest.yaml"), "").unwrap();
    assert_eq!(offered_by_bash(&folder, &["weir", "chec"]), ["check"]);
    assert!(offered_by_bash(&folder, &["weir", "check", "--"]).contains(&"--strict".to_owned()));
    assert_eq!(offered_by_bash(&folder, &["weir", "why", "-o", ""]), ["table", "json", "yaml"]);
    assert_eq!(offered_by_bash(&folder, &["weir", "check", "-f", "mani"]), ["manifest.yaml"]);
    // No cluster: nothing is offered, and nothing is said.
    let offered = offered_by_bash(&folder, &["weir", "why", ""]);
    assert!(offered.iter().all(|word| word.starts_with("--")), "{offered:?}");
}

#[test]
fn each_shell_gets_a_script_that_calls_the_program() {
    let folder = Folder::new("shells");
    for (shell, word, asks) in [
        ("bash", "complete -o", "WEIR_COMPLETE=\"bash\""),
        ("zsh", "#compdef weir", "WEIR_COMPLETE=\"zsh\""),
        ("fish", "complete --keep-order", "WEIR_COMPLETE=fish"),
        ("kubectl", "#!/bin/sh", "WEIR_COMPLETE=kubectl"),
    ] {
        let script = out(&folder.run("weir", &["completion", shell]));
        assert!(script.contains(word) && script.contains(asks), "{script}");
    }
}

#[test]
fn kubectl_is_answered_as_it_expects() {
    let folder = Folder::new("kubectl");
    let by_name = folder.run("kubectl_complete-weir", &["completion", "f"]);
    assert_eq!(out(&by_name), "fish\t`weir completion fish > ~/.config/fish/completions/weir.fish`\n:4\n");
    assert!(out(&folder.run("kubectl_complete-weir", &[""])).contains("\nwhy\tSay why a workload waits"));
    // By the script, as an executable that kubectl finds.
    let script = folder.0.join("script");
    std::fs::write(&script, out(&folder.run("weir", &["completion", "kubectl"]))).unwrap();
    let by_script = Command::new("sh").arg(&script).args(["completion", "f"]).output().unwrap();
    assert_eq!(out(&by_script), out(&by_name), "{}", err(&by_script));
}

/// As krew does: a link in a folder of `$PATH`, and each version in a folder of its own, of which the older is removed.
#[test]
fn completion_lasts_when_the_program_is_replaced_behind_its_link() {
    let folder = Folder::new("link");
    let link = folder.0.join("kubectl-weir");
    let put = |version: &str| {
        let store = folder.0.join(version);
        std::fs::create_dir(&store).unwrap();
        std::fs::hard_link(env!("CARGO_BIN_EXE_weir"), store.join("kubectl-weir"))
            .or_else(|_| std::fs::copy(env!("CARGO_BIN_EXE_weir"), store.join("kubectl-weir")).map(|_| ()))
            .unwrap();
        let _ = std::fs::remove_file(&link);
        symlink(store.join("kubectl-weir"), &link).unwrap();
    };
    put("v1");
    // kubectl calls a plugin by its whole path.
    let for_kubectl = out(&folder.run("kubectl-weir", &["completion", "kubectl"]));
    let for_bash = out(&folder.run("kubectl-weir", &["completion", "bash"]));
    let script = folder.0.join("kubectl_complete-weir");
    std::fs::write(&script, for_kubectl).unwrap();
    put("v2");
    std::fs::remove_dir_all(folder.0.join("v1")).unwrap();
    let output = Command::new("sh").arg(&script).args(["completion", "f"]).output().unwrap();
    assert!(out(&output).starts_with("fish\t"), "{}{}", out(&output), err(&output));
    assert!(for_bash.contains(link.to_str().unwrap()) && !for_bash.contains("v1"), "{for_bash}");
    // Called by its name it is found by its name, wherever it is then.
    let mut by_name = Command::new("bash");
    by_name.args(["-c", "kubectl-weir completion kubectl"]).env("PATH", {
        let path = std::env::var("PATH").unwrap_or_default();
        format!("{}:{path}", folder.0.display())
    });
    let script = out(&by_name.output().unwrap());
    assert!(script.contains("exec 'kubectl-weir' --"), "{script}");
}

#[test]
fn settings_of_the_operator_that_make_no_sense_end_it_with_what_to_write() {
    let folder = Folder::new("settings");
    for (log, flag, said) in [
        ("weir=verbose", None, ["RUST_LOG=weir=verbose", "such as RUST_LOG=info,weir::decision=debug"]),
        ("inof", None, ["RUST_LOG=inof", "operator.log"]),
        ("info", Some("--stale-after=0"), ["--stale-after", "write 90s or more, such as 3m"]),
        ("info", Some("--lost-after=0s"), ["--lost-after", "write 5s or more, such as 5m"]),
        ("info", Some("--lease-renew=0s"), ["--lease-renew", "write 100ms or more, such as 5s"]),
    ] {
        let output = folder.named("weir").arg("run").args(flag).env("RUST_LOG", log).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        let text = err(&output);
        assert!(said.iter().all(|words| text.contains(words)), "{text}");
        assert!(text.lines().count() <= 3, "{text}");
    }
}
