//! Words for nodes that refuse, as statuses count them.

use super::reason::{MOST_ITEMS, count_of};
use crate::api::workload::{PendingNodes, RejectedNodes};
use crate::model::refusal::{NodeRejection, NodeTally};
use crate::model::resources::ResourceTable;

/// How many nodes refuse, by word.
pub(super) fn nodes(tally: &NodeTally, table: &ResourceTable) -> PendingNodes {
    let rejected = tally.rejected.iter().take(MOST_ITEMS).map(|(rejection, count)| RejectedNodes {
        reason: word(*rejection, table).chars().take(256).collect(),
        count: count_of(*count),
    });
    PendingNodes { total: count_of(tally.total), rejected: rejected.collect() }
}

/// One of [`NODE_REASONS`](crate::api::reasons::NODE_REASONS), with the name of its resource.
fn word(rejection: NodeRejection, table: &ResourceTable) -> String {
    let (word, resource) = match rejection {
        NodeRejection::NotReady => ("NotReady", None),
        NodeRejection::Unschedulable => ("Unschedulable", None),
        NodeRejection::Tainted => ("Tainted", None),
        NodeRejection::NotSelected => ("NotSelected", None),
        NodeRejection::VolumeElsewhere => ("VolumeElsewhere", None),
        NodeRejection::PortTaken => ("PortTaken", None),
        NodeRejection::Insufficient(resource) => ("Insufficient", Some(resource)),
        NodeRejection::TooSmall(resource) => ("TooSmall", Some(resource)),
        NodeRejection::TopologyLabelMissing => ("TopologyLabelMissing", None),
        NodeRejection::TopologySpread => ("TopologySpread", None),
        NodeRejection::PodAffinity => ("PodAffinity", None),
        NodeRejection::PodAntiAffinity => ("PodAntiAffinity", None),
        NodeRejection::ExistingAntiAffinity => ("ExistingAntiAffinity", None),
    };
    resource.map_or_else(|| word.to_owned(), |resource| format!("{word} {}", table.name(resource)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::reasons::NODE_REASONS;
    use crate::model::resources::ResourceId;

    #[test]
    fn every_word_for_a_node_that_refuses_is_documented() {
        let table = ResourceTable::default();
        let words: Vec<String> = [
            NodeRejection::NotReady,
            NodeRejection::Unschedulable,
            NodeRejection::Tainted,
            NodeRejection::NotSelected,
            NodeRejection::VolumeElsewhere,
            NodeRejection::PortTaken,
            NodeRejection::Insufficient(ResourceId::CPU),
            NodeRejection::TooSmall(ResourceId::CPU),
            NodeRejection::TopologyLabelMissing,
            NodeRejection::TopologySpread,
            NodeRejection::PodAffinity,
            NodeRejection::PodAntiAffinity,
            NodeRejection::ExistingAntiAffinity,
        ]
        .into_iter()
        .map(|rejection| word(rejection, &table).replace("cpu", "RESOURCE"))
        .collect();
        let documented: Vec<&str> = NODE_REASONS.iter().map(|(word, ..)| *word).collect();
        assert_eq!(words, documented);
    }
}
