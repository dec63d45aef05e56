//! One control plane, and what a test does to it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

static COUNT: AtomicUsize = AtomicUsize::new(0);

pub struct Cluster {
    pub dir: PathBuf,
    arguments: Vec<String>,
    environment: BTreeMap<String, String>,
}

impl Cluster {
    /// Starts one; the arguments are those of `cluster.sh up`.
    pub fn up(arguments: &[&str]) -> Self {
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("weir-test-{}-{number}", std::process::id()));
        let arguments = arguments.iter().map(|one| (*one).to_owned()).collect();
        let mut cluster = Self { dir, arguments, environment: BTreeMap::new() };
        cluster.again();
        cluster
    }

    /// Starts again what has died.
    pub fn again(&mut self) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/controlplane/cluster.sh");
        let output = Command::new(script)
            .args(["up", "--dir"])
            .arg(&self.dir)
            .args(&self.arguments)
            .env_remove("KUBECONFIG")
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "there is no control plane: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        let text = std::fs::read_to_string(self.dir.join("env")).unwrap();
        let lines = text.lines().filter_map(|line| line.split_once('='));
        self.environment =
            lines.map(|(key, value)| (key.to_owned(), value.trim_matches(['\'', '"']).to_owned())).collect();
    }

    pub fn value(&self, key: &str) -> &str {
        self.environment.get(key).unwrap_or_else(|| panic!("no {key} in the cluster's env"))
    }

    pub fn path(&self, key: &str) -> PathBuf {
        self.value(key).into()
    }

    pub fn kubeconfig(&self) -> PathBuf {
        self.path("KUBECONFIG")
    }

    /// Ends a process of the cluster as a power cut would.
    pub fn kill(&self, pid_key: &str) {
        signal("-KILL", self.value(pid_key));
    }
}

/// Sends a signal to one process.
pub fn signal(which: &str, pid: &str) {
    assert!(pid.parse::<u32>().is_ok_and(|pid| pid > 1), "{pid:?} is no process");
    let done = Command::new("kill").args([which, pid]).status().unwrap();
    assert!(done.success(), "kill {which} {pid} failed");
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/controlplane/cluster.sh");
        let mut command = Command::new(script);
        command.args(["down", "--dir"]).arg(&self.dir);
        let failed = std::thread::panicking();
        if failed {
            command.arg("--keep-logs");
            println!("logs are in {}", self.dir.display());
        }
        let ended = command.output();
        if !ended.is_ok_and(|output| output.status.success()) {
            println!("{} could not be ended", self.dir.display());
        } else if !failed {
            let _ = std::fs::remove_dir_all(&self.dir);
        }
    }
}
