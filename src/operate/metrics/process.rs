//! What every process tells of itself, from `/proc`.

use std::fmt;
use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

use super::described::{MEMORY, PROCESSOR, START};

/// `USER_HZ`: what `/proc` counts CPU time in, on every machine that Linux runs on.
const TICKS: f64 = 100.0;

/// Reads `/proc/self` when it is asked.
#[derive(Debug)]
pub(super) struct Process;

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let began = *BEGAN.get_or_init(|| {
            SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
        });
        let seconds = Unit::Seconds;
        let name = START.name.trim_end_matches("_seconds");
        encoder
            .encode_descriptor(name, &START.sentence(), Some(&seconds), MetricType::Gauge)?
            .encode_gauge(&began)?;
        if let Some(used) = processor() {
            let name = PROCESSOR.name.trim_end_matches("_seconds_total");
            encoder
                .encode_descriptor(name, &PROCESSOR.sentence(), Some(&seconds), MetricType::Counter)?
                .encode_counter::<NoLabelSet, f64, u64>(&used, None)?;
        }
        if let Some(bytes) = memory() {
            let name = MEMORY.name.trim_end_matches("_bytes");
            encoder
                .encode_descriptor(name, &MEMORY.sentence(), Some(&Unit::Bytes), MetricType::Gauge)?
                .encode_gauge(&bytes)?;
        }
        Ok(())
    }
}

static BEGAN: OnceLock<f64> = OnceLock::new();

/// CPU time of all threads, in seconds.
fn processor() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The program's name may hold spaces; it ends with the last bracket.
    let mut fields = stat.rsplit(") ").next()?.split(' ').skip(11);
    let ticks: u64 = fields.next()?.parse::<u64>().ok()?.checked_add(fields.next()?.parse().ok()?)?;
    Some(ticks as f64 / TICKS)
}

/// Resident memory, in bytes.
fn memory() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: f64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(kibibytes * 1024.0)
}
