//! `weir top` in a real terminal, that of tmux, on a real control plane; and once, for scripts.

use std::process::Command;
use std::time::{Duration, Instant};

use super::live::Bench;
use super::program::{err, out};
use crate::real::api::pause;
use crate::real::operator::Account;

/// A terminal that nobody looks at.
struct Tmux {
    socket: String,
}

impl Tmux {
    /// Runs a command in a terminal of 80 by 24; a shell stays when it ends, so that what it left can be looked at.
    fn start(command: &str) -> Self {
        let there = Command::new("tmux").arg("-V").output();
        assert!(
            there.is_ok_and(|output| output.status.success()),
            "tmux is missing: apt-get install tmux (as root; `tests/controlplane/tools.sh tmux` does it)"
        );
        let tmux = Self { socket: format!("weir-{}", std::process::id()) };
        tmux.tmux(&["-f", "/dev/null", "new-session", "-d", "-s", "top", "-x", "80", "-y", "24", "sh"]);
        tmux.keys(&["PS1='shell> '; clear", "Enter"]);
        tmux.keys(&[command, "Enter"]);
        tmux
    }

    fn tmux(&self, arguments: &[&str]) -> String {
        let output = Command::new("tmux").args(["-L", &self.socket]).args(arguments).output().unwrap();
        assert!(output.status.success(), "tmux {arguments:?}: {}", err(&output));
        out(&output)
    }

    fn keys(&self, keys: &[&str]) {
        self.tmux(&[&["send-keys", "-t", "top"], keys].concat());
    }

    fn screen(&self) -> String {
        self.tmux(&["capture-pane", "-p", "-t", "top"])
    }

    /// With the sequences that make colours.
    fn painted(&self) -> String {
        self.tmux(&["capture-pane", "-p", "-e", "-t", "top"])
    }

    /// Waits until the screen shows all of these words.
    async fn until(&self, words: &[&str]) -> String {
        let began = Instant::now();
        loop {
            let screen = self.screen();
            let missing: Vec<&&str> = words.iter().filter(|one| !screen.contains(**one)).collect();
            if missing.is_empty() {
                return screen;
            }
            assert!(began.elapsed() < Duration::from_secs(20), "{missing:?} is not in\n{screen}");
            pause(50).await;
        }
    }
}

impl Drop for Tmux {
    fn drop(&mut self) {
        let _ = Command::new("tmux").args(["-L", &self.socket, "kill-server"]).output();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn top_shows_a_cluster_live_in_a_terminal_and_leaves_it_as_it_was() {
    let mut bench = Bench::begin("top").await;
    let account = Account::create(&bench.cluster, &bench.api, "weir-a").await;
    let _operator = account.start(&[]);
    bench.give("first", 5, "4").await;
    bench.api.until_phase("team", "first", "Running", 60).await;
    bench.give("second", 3, "2").await;
    bench.until_waits("second", "WaitingForQuota").await;

    once(&mut bench);
    let command = format!(
        "KUBECONFIG={} {} top --interval 500ms; echo ended with $?",
        bench.cluster.kubeconfig().display(),
        env!("CARGO_BIN_EXE_weir")
    );
    let tmux = Tmux::start(&command);
    tmux.until(&["weir top", "1 Pools 2", "company", "  batch", "4/4", "q quit"]).await;
    tmux.keys(&["Tab"]);
    tmux.until(&["NODE", "node-a", "node-b", "4/4 100%"]).await;
    tmux.keys(&["3"]);
    tmux.until(&["team/second", "WaitingForQuota", "team/first"]).await;
    assert!(tmux.painted().contains("\u{1b}[38;5;3m"), "what waits is yellow");
    bench.checks.ok("three views, with keys and colours, in 80 by 24");

    bench.give("third", 0, "1").await;
    tmux.until(&["team/third"]).await;
    bench.checks.ok("it is live");

    tmux.keys(&["/"]);
    tmux.keys(&["-l", "second"]);
    tmux.keys(&["Enter"]);
    let filtered = tmux.until(&["/second", "team/second"]).await;
    assert!(!filtered.contains("team/third"), "{filtered}");
    tmux.keys(&["Enter"]);
    tmux.until(&["why team/second", "limit cpu=4 would be passed by 2", "What would help"]).await;
    tmux.keys(&["Escape"]);
    tmux.keys(&["Escape"]);
    tmux.until(&["team/third"]).await;
    bench.checks.ok("rows are filtered, and enter says why");

    tmux.tmux(&["resize-window", "-t", "top", "-x", "120", "-y", "30"]);
    tmux.until(&["space now"]).await;
    assert_eq!(tmux.screen().lines().count(), 30);
    tmux.tmux(&["resize-window", "-t", "top", "-x", "30", "-y", "6"]);
    tmux.until(&["make the window larger"]).await;
    tmux.tmux(&["resize-window", "-t", "top", "-x", "80", "-y", "24"]);
    tmux.until(&["team/third", "q quit"]).await;
    bench.checks.ok("it follows the window");

    tmux.keys(&["q"]);
    let after = tmux.until(&["ended with 0"]).await;
    assert!(!after.contains("WaitingForQuota"), "the screen before is back\n{after}");
    tmux.keys(&["echo ty", "ped", "Enter"]);
    tmux.until(&["typed"]).await;
    bench.checks.ok("q ends it with 0, and the terminal is as it was");

    let command = format!("NO_COLOR=1 {command}");
    tmux.keys(&["clear; ", &command, "Enter"]);
    tmux.until(&["weir top", "company"]).await;
    tmux.keys(&["3"]);
    tmux.until(&["team/second"]).await;
    assert!(!tmux.painted().contains("\u{1b}[38;5;3m"), "no colours");
    let pid = tmux.tmux(&["list-panes", "-t", "top", "-F", "#{pane_pid}"]);
    let children = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", pid.trim())).unwrap();
    crate::real::cluster::signal("-TERM", children.split_whitespace().last().unwrap());
    tmux.until(&["ended with 0"]).await;
    tmux.keys(&["echo ag", "ain", "Enter"]);
    tmux.until(&["again"]).await;
    bench.checks.ok("without colours, and ended by SIGTERM, it leaves the terminal as it was");

    tmux.keys(&["clear; ", &command, "Enter"]);
    tmux.until(&["weir top", "company"]).await;
    let children = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", pid.trim())).unwrap();
    let process = format!("/proc/{}/stat", children.split_whitespace().last().unwrap());
    drop(tmux);
    let began = Instant::now();
    let lives = || std::fs::read_to_string(&process).is_ok_and(|stat| !stat.contains(") Z "));
    while lives() {
        assert!(began.elapsed() < Duration::from_secs(20), "it goes on without its terminal");
        pause(100).await;
    }
    bench.checks.ok("it ends with its terminal");
}

fn once(bench: &mut Bench) {
    let text = out(&bench.weir(&["top", "--once"]));
    for words in ["POOL     NODES", "  batch", "NODE", "node-a", "WORKLOAD", "team/second", "WaitingForQuota"]
    {
        assert!(text.contains(words), "{words:?} is not in\n{text}");
    }
    // Where nobody looks it prints once, as well.
    assert!(out(&bench.weir(&["top"])).contains("team/second"));
    let json = bench.json(&["top"]);
    assert_eq!(json["pools"][0]["name"], "company");
    assert_eq!(json["pools"][1]["resources"][0]["percent"], 100);
    assert_eq!(json["nodes"].as_array().unwrap().len(), 2);
    let used: i64 = json["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|node| node["resources"][0]["percent"].as_i64().unwrap())
        .sum();
    assert_eq!(used, 100, "{json:#}");
    assert_eq!(json["workloads"][0]["name"], "second");
    assert_eq!(json["workloads"][0]["position"], 1);
    let nobody = bench.as_user("weir", Some("nobody")).args(["top", "--once"]).output().unwrap();
    let said = out(&nobody);
    assert!(
        nobody.status.success() && said.contains("no pools") && said.contains("you may not list nodes"),
        "{said}"
    );
    bench.checks.ok("top --once and -o json, also for somebody without rights");
}
