//! What the kernel says of processes: CPU seconds and memory, and how busy the machine was with others.

use std::fs::read_to_string;

use anyhow::{Context as _, Result};

/// The kernel counts CPU time in hundredths of a second, on every machine that matters here.
const TICKS_A_SECOND: f64 = 100.0;

/// CPU seconds of a process so far, with its threads.
pub fn cpu_seconds(pid: u32) -> Result<f64> {
    let stat =
        read_to_string(format!("/proc/{pid}/stat")).with_context(|| format!("process {pid} is gone"))?;
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
    Ok((ticks(11) + ticks(12)) / TICKS_A_SECOND)
}

/// MiB that a line of `/proc/PID/status` names, such as `VmHWM`.
pub fn mebibytes(pid: u32, line: &str) -> Result<f64> {
    let status = read_to_string(format!("/proc/{pid}/status"))?;
    let found = status.lines().find_map(|one| one.strip_prefix(line)?.strip_prefix(':'));
    let kib: f64 =
        found.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).context("no such line")?;
    Ok(kib / 1024.0)
}

/// CPU seconds that the whole machine was busy so far.
pub fn busy_seconds() -> Result<f64> {
    let stat = read_to_string("/proc/stat")?;
    let line = stat.lines().next().unwrap_or_default();
    let fields: Vec<f64> = line.split_whitespace().skip(1).filter_map(|field| field.parse().ok()).collect();
    // user, nice, system, idle, iowait, irq, softirq, steal
    let busy: f64 = fields
        .iter()
        .take(8)
        .enumerate()
        .filter(|(at, _)| !matches!(at, 3 | 4))
        .map(|(_, ticks)| ticks)
        .sum();
    Ok(busy / TICKS_A_SECOND)
}

/// Cores, memory and processor, in a line.
pub fn machine() -> Result<String> {
    let cores = std::thread::available_parallelism()?;
    let info = read_to_string("/proc/cpuinfo")?;
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split(':').nth(1));
    let memory = read_to_string("/proc/meminfo")?;
    let kib: f64 = memory
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:")?.split_whitespace().next()?.parse().ok())
        .context("no MemTotal")?;
    Ok(format!(
        "{cores} cores ({}), {:.0} GiB of memory",
        model.unwrap_or("unknown").trim(),
        kib / f64::from(1 << 20)
    ))
}
