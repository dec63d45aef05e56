//! A simulation as one page with charts. It needs nothing else: no server, no network.

use super::report::Report;
use super::table;
use crate::cli::page;

const PAGE: &str = include_str!("page.html");
/// Members on nodes that a page draws at most: a browser has an end.
const MOST_RUNS: usize = 20_000;
/// Workloads that a page lists at most.
const MOST_WORKLOADS: usize = 5_000;

/// The page.
///
/// # Errors
/// Where the report cannot be written as JSON, which it can.
pub fn page(report: &Report) -> anyhow::Result<String> {
    let mut shown = report.clone();
    for variant in &mut shown.variants {
        let (runs, workloads) = (variant.runs.len(), variant.workloads.len());
        if runs > MOST_RUNS {
            variant.runs.truncate(MOST_RUNS);
            shown
                .notes
                .push(format!("{}: the first {MOST_RUNS} of {runs} runs on nodes are drawn", variant.name));
        }
        if workloads > MOST_WORKLOADS {
            shown.notes.push(format!(
                "{}: the first {MOST_WORKLOADS} of {workloads} workloads are listed",
                variant.name
            ));
        }
    }
    let endings: Vec<String> = report.variants.iter().map(table::ending).collect();
    let mut value = serde_json::to_value(&shown)?;
    value["endings"] = serde_json::to_value(endings)?;
    value["mostWorkloads"] = MOST_WORKLOADS.into();
    Ok(page::page(PAGE, &serde_json::to_string(&value)?))
}
