//! What the pod of a machine wants of its node. `KubeVirt` writes more into it than a template says: the CPU model of the
//! cluster, features that the node that a machine comes from has, what instance types and the cluster's settings ask for.

use std::sync::Arc;

use crate::api::pruned::Pod;
use crate::model::machines::{Making, Starting};
use crate::model::selector::{Operator, Requirement};
use crate::observe::Notes;
use crate::observe::selectors::node_term;
use crate::observe::volume::claim_name;

/// Reads it.
pub(super) fn read(pod: &Pod, notes: &mut Notes) -> Starting {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let selector = pod.spec.node_selector.iter().map(|(key, value)| Requirement {
        key: key.as_str().into(),
        operator: Operator::In,
        values: vec![value.as_str().into()],
    });
    let required =
        pod.spec.affinity.node_affinity.required_during_scheduling_ignored_during_execution.as_ref();
    let affinity = required.map(|required| {
        let terms = required.node_selector_terms.iter().enumerate();
        terms
            .map(|(at, term)| node_term(term, &format!("nodeSelectorTerms[{at}]")))
            .collect::<Result<Vec<_>, _>>()
    });
    let affinity = match affinity.transpose() {
        Ok(affinity) => affinity,
        Err(problem) => {
            let name = pod.metadata.name.as_deref().unwrap_or_default();
            notes.push(format!("pod {namespace}/{name}: {problem}; its node affinity is not heeded"));
            None
        }
    };
    let claims = pod.spec.volumes.iter().filter_map(|volume| volume.persistent_volume_claim.as_ref());
    let mut claims: Vec<Arc<str>> = claims.map(|claim| claim_name(namespace, &claim.claim_name)).collect();
    claims.sort();
    claims.dedup();
    Starting { selector: selector.collect(), affinity, claims, volumes: Making::Settled }
}
