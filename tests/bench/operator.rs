//! The operator as a process: started, asked for its metrics, ended.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep};

/// A running `weir run`; ended when it is dropped.
pub struct Operator {
    child: Child,
    address: String,
}

impl Operator {
    /// Starts it and waits until it leads and has read all lists.
    pub async fn start(program: &Path, kubeconfig: &str, log: &Path, in_flight: u16) -> Result<Self> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let address = format!("127.0.0.1:{port}");
        let log = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
        let child = Command::new(program)
            .args(["run", "--namespace", "weir-system", "--http-addr", &address])
            .args(["--max-in-flight", &in_flight.to_string()])
            .env("KUBECONFIG", kubeconfig)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let mut operator = Self { child, address };
        let until = Instant::now() + Duration::from_mins(1);
        loop {
            if let Some(status) = operator.child.try_wait()? {
                bail!("the operator ended at once: {status}; see its log");
            }
            if operator.metrics().await.is_ok_and(|all| all.get("weir_leading") == Some(&1.0))
                && operator.get("/readyz").await.is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
            {
                return Ok(operator);
            }
            ensure!(Instant::now() < until, "the operator does not lead after a minute; see its log");
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// Its pid.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Every metric with its labels, as the text names it.
    pub async fn metrics(&self) -> Result<BTreeMap<String, f64>> {
        let answer = self.get("/metrics").await?;
        let lines = answer.lines().filter(|line| !line.starts_with('#'));
        Ok(lines.filter_map(|line| line.rsplit_once(' ')).filter_map(parse).collect())
    }

    async fn get(&self, path: &str) -> Result<String> {
        let address = self.address.clone();
        let ask = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        spawn_blocking(move || {
            let mut stream = TcpStream::connect(address)?;
            stream.write_all(ask.as_bytes())?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        })
        .await?
    }

    /// Ends it as a rollout does, and waits.
    pub async fn stop(mut self) -> Result<()> {
        let pid = self.pid().to_string();
        Command::new("kill").args(["-TERM", &pid]).status().context("cannot call kill")?;
        let until = Instant::now() + Duration::from_secs(20);
        while self.child.try_wait()?.is_none() {
            ensure!(Instant::now() < until, "the operator does not end");
            sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }
}

fn parse((name, value): (&str, &str)) -> Option<(String, f64)> {
    Some((name.to_owned(), value.parse().ok()?))
}

impl Drop for Operator {
    fn drop(&mut self) {
        // Where it has ended already there is nothing to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
