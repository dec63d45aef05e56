//! What a report is made from: the objects of a cluster as far as one may read them, or those of some files.

use std::path::PathBuf;

use anyhow::ensure;
use jiff::Timestamp;

use crate::cli::cluster::Cluster;
use crate::cli::live::{self, Live};
use crate::cli::load::{Loaded, stamp};
use crate::model::time::{Span, Time};
use crate::model::world::World;
use crate::observe::catalog::Catalog;

/// Kinds without which nothing is known of what is free on nodes.
const PLACES: [&str; 3] = ["nodes", "pods", "resourcepools"];

/// Clocks of machines may differ by so much.
const SKEW: Span = Span::minutes(1);

/// Objects that were seen.
pub struct Seen {
    /// As the operator sees it; nothing was decided.
    pub world: World,
    /// Pools and workloads with their statuses.
    pub catalog: Catalog,
    /// As of then.
    pub now: Time,
    /// What may not be read, and why.
    pub unknown: Vec<String>,
    /// What a reader should know.
    pub notes: Vec<String>,
    /// Whether nodes and all pods on them were seen.
    pub knows_nodes: bool,
}

/// Reads a cluster.
///
/// # Errors
/// Where it cannot be reached.
pub async fn of_cluster(cluster: &Cluster, namespace: Option<&str>) -> anyhow::Result<Seen> {
    let mut live = live::look(&cluster.client).await?;
    live.list_own(&cluster.client, namespace.unwrap_or(&cluster.namespace)).await;
    let knows_nodes = !PLACES.iter().any(|kind| live.missing.contains_key(kind));
    let Live { world, catalog, now, missing } = live;
    Ok(Seen { world, catalog, now, unknown: missing.into_values().collect(), notes: Vec::new(), knows_nodes })
}

/// Reads files.
///
/// # Errors
/// What cannot be read at all.
pub fn of_files(paths: &[PathBuf], at: Option<Timestamp>) -> anyhow::Result<Seen> {
    let now = Time(at.unwrap_or_else(Timestamp::now).as_millisecond());
    let mut loaded = Loaded::new(now);
    loaded.files(paths)?;
    loaded.settle();
    let knows_nodes = !loaded.node_names().is_empty();
    let Loaded { world, catalog, notes, .. } = loaded;
    if let (Some(at), Some(latest)) = (at, super::gather::latest(&catalog)) {
        ensure!(
            latest.0 <= now.0.saturating_add(SKEW.0),
            "--at {at} is before what these objects tell of: write when they were written, {} or later",
            stamp(latest)
        );
    }
    Ok(Seen { world, catalog, now, unknown: Vec::new(), notes, knows_nodes })
}
