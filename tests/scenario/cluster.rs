//! One real control plane with simulated nodes, and the operator as a process of its own against it.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::file::LOST_AFTER;

/// The namespace of the operator.
pub const SYSTEM: &str = "weir-system";

/// A control plane that ends with this value. Its folder stays, with the logs, until the next one.
pub struct ControlPlane {
    /// Held as long as it is there: two runs would use the same folder.
    _lock: File,
    dir: PathBuf,
    env: BTreeMap<String, String>,
}

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/controlplane/cluster.sh")
}

impl ControlPlane {
    /// Starts one without nodes. It panics where none can be had: nothing passes by skipping.
    pub fn start() -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let lock = File::create(folder.join("scenarios.lock")).unwrap();
        lock.lock().expect("the folder can be locked");
        let dir = folder.join("scenarios");
        if dir.exists() {
            // What an interrupted run left.
            let _ = Command::new(script()).args(["down", "--dir"]).arg(&dir).output();
            let _ = std::fs::remove_dir_all(&dir);
        }
        let output = Command::new(script())
            .args(["up", "--no-nodes", "--audit", "--dir"])
            .arg(&dir)
            .stdin(Stdio::null())
            .output()
            .expect("cluster.sh can be run");
        let mut plane = Self { _lock: lock, dir, env: BTreeMap::new() };
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "the control plane cannot be had:\n{said}");
        let env = std::fs::read_to_string(plane.dir.join("env")).expect("cluster.sh writes env");
        plane.env = env
            .lines()
            .filter_map(|line| line.split_once('='))
            .map(|(key, value)| (key.to_owned(), value.trim_matches(['"', '\'']).to_owned()))
            .collect();
        plane
    }

    /// A line of its `env`.
    pub fn env(&self, key: &str) -> &str {
        self.env.get(key).unwrap_or_else(|| panic!("cluster.sh does not tell {key}"))
    }

    /// Starts the operator.
    pub fn operator(&self) -> Operator {
        let log = self.dir.join("operator.log");
        let file = File::create(&log).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
        command
            .args(["run", "--http-addr", "127.0.0.1:0", "--namespace", SYSTEM, "--lost-after"])
            .arg(format!("{}s", LOST_AFTER.0 / 1000))
            .env("KUBECONFIG", self.env("KUBECONFIG"))
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file);
        Operator { child: command.spawn().expect("the operator can be started"), log }
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        let ended = Command::new(script()).args(["down", "--keep-logs", "--dir"]).arg(&self.dir).output();
        if !ended.is_ok_and(|output| output.status.success()) {
            eprintln!("the control plane in {} was not ended", self.dir.display());
        }
    }
}

/// The operator, which ends with this value.
pub struct Operator {
    child: Child,
    log: PathBuf,
}

impl Operator {
    /// What is wrong with it: it has ended, or has panicked.
    pub fn wrong(&mut self) -> Option<String> {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let last = || {
            log.lines().rev().take(20).collect::<Vec<_>>().into_iter().rev().collect::<Vec<_>>().join("\n")
        };
        if let Ok(Some(status)) = self.child.try_wait() {
            return Some(format!("the operator has ended ({status}):\n{}", last()));
        }
        log.contains("panicked at").then(|| format!("the operator has panicked:\n{}", last()))
    }

    /// Asks it to end and says what it did not do well.
    pub fn stop(mut self) -> Option<String> {
        let wrong = self.wrong();
        let pid = self.child.id().to_string();
        let _ = Command::new("kill").args(["-TERM", &pid]).status();
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(10) {
            if let Ok(Some(status)) = self.child.try_wait() {
                let ended = (!status.success())
                    .then(|| format!("the operator was told to end, and ended with {status}"));
                return wrong.or(ended);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        wrong.or(Some("the operator was told to end, and did not within ten seconds".to_owned()))
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
