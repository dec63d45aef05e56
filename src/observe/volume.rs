//! Claims and volumes: from which nodes the volume of a bound claim is reached.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::selectors::node_term;
use super::{Notes, arc};
use crate::api::pruned::{PersistentVolume, PersistentVolumeClaim};
use crate::model::delta::Delta;
use crate::model::selector::NodeTerm;

/// Claims that are bound, and volumes that only some nodes reach.
#[derive(Clone, Debug, Default)]
pub struct Volumes {
    /// The volume of a claim (`namespace/name`).
    bound: BTreeMap<Arc<str>, Arc<str>>,
    /// The claims of a volume.
    claims: BTreeMap<Arc<str>, BTreeSet<Arc<str>>>,
    from: BTreeMap<Arc<str>, Arc<[NodeTerm]>>,
}

/// How a claim is named.
pub fn claim_name(namespace: &str, name: &str) -> Arc<str> {
    Arc::from(format!("{namespace}/{name}"))
}

impl Volumes {
    /// A claim was seen.
    pub fn claim(&mut self, seen: &PersistentVolumeClaim) -> Vec<Delta> {
        let metadata = &seen.metadata;
        let name = claim_name(
            metadata.namespace.as_deref().unwrap_or_default(),
            metadata.name.as_deref().unwrap_or_default(),
        );
        let volume = seen.spec.volume_name.as_deref().filter(|volume| !volume.is_empty());
        self.bind(&name, volume.map(Arc::from))
    }

    /// A claim is gone.
    pub fn claim_gone(&mut self, namespace: &str, name: &str) -> Vec<Delta> {
        self.bind(&claim_name(namespace, name), None)
    }

    fn bind(&mut self, claim: &Arc<str>, volume: Option<Arc<str>>) -> Vec<Delta> {
        if self.bound.get(claim) == volume.as_ref() {
            return Vec::new();
        }
        if let Some(before) = self.bound.remove(claim)
            && let Some(claims) = self.claims.get_mut(&before)
        {
            claims.remove(claim);
            if claims.is_empty() {
                self.claims.remove(&before);
            }
        }
        let terms = volume.as_ref().and_then(|volume| self.from.get(volume)).cloned();
        if let Some(volume) = volume {
            self.claims.entry(Arc::clone(&volume)).or_default().insert(Arc::clone(claim));
            self.bound.insert(Arc::clone(claim), volume);
        }
        vec![Delta::Claim { name: Arc::clone(claim), terms }]
    }

    /// A volume was seen.
    pub fn volume(&mut self, seen: &PersistentVolume, notes: &mut Notes) -> Vec<Delta> {
        let name = arc(seen.metadata.name.as_ref());
        let terms = seen.spec.node_affinity.as_ref().and_then(|affinity| affinity.required.as_ref());
        let read = terms.map(|required| {
            let terms = required.node_selector_terms.iter().enumerate();
            let field = |at| format!("spec.nodeAffinity.required.nodeSelectorTerms[{at}]");
            terms.map(|(at, term)| node_term(term, &field(at))).collect::<Result<Vec<_>, _>>()
        });
        match read {
            Some(Ok(terms)) => self.reach(&name, Some(&terms.into())),
            None => self.reach(&name, None),
            Some(Err(problem)) => {
                notes.push(format!("volume {name}: {problem}; it counts as reached from every node"));
                self.reach(&name, None)
            }
        }
    }

    /// A volume is gone.
    pub fn volume_gone(&mut self, name: &str) -> Vec<Delta> {
        self.reach(&Arc::from(name), None)
    }

    fn reach(&mut self, volume: &Arc<str>, terms: Option<&Arc<[NodeTerm]>>) -> Vec<Delta> {
        if self.from.get(volume) == terms {
            return Vec::new();
        }
        match terms {
            Some(terms) => self.from.insert(Arc::clone(volume), Arc::clone(terms)),
            None => self.from.remove(volume),
        };
        let claims = self.claims.get(volume).into_iter().flatten();
        claims.map(|claim| Delta::Claim { name: Arc::clone(claim), terms: terms.cloned() }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn claim(volume: &str) -> PersistentVolumeClaim {
        serde_json::from_value(
            json!({"metadata": {"namespace": "a", "name": "data"}, "spec": {"volumeName": volume}}),
        )
        .unwrap()
    }

    fn volume(host: &str) -> PersistentVolume {
        serde_json::from_value(
            json!({"metadata": {"name": "v"}, "spec": {"nodeAffinity": {"required": {"nodeSelectorTerms": [
            {"matchExpressions": [{"key": "host", "operator": "In", "values": [host]}]}]}}}}),
        )
        .unwrap()
    }

    fn told(deltas: &[Delta]) -> Vec<(&str, Option<&str>)> {
        let one = |delta: &Delta| match delta {
            Delta::Claim { name, terms } => {
                let value = terms.as_ref().map(|terms| terms[0].labels[0].values[0].clone());
                (name.to_string(), value.map(|value| value.to_string()))
            }
            other => panic!("{other:?}"),
        };
        let all: Vec<_> = deltas.iter().map(one).collect();
        all.into_iter().map(|(name, value)| (&*name.leak(), value.map(|value| &*value.leak()))).collect()
    }

    #[test]
    fn claims_follow_their_volumes_in_whatever_order_both_are_seen() {
        let mut notes = Notes::new();
        let mut volumes = Volumes::default();
        assert_eq!(told(&volumes.claim(&claim("v"))), [("a/data", None)]);
        assert_eq!(told(&volumes.volume(&volume("n1"), &mut notes)), [("a/data", Some("n1"))]);
        assert_eq!(volumes.volume(&volume("n1"), &mut notes), [], "nothing new");
        assert_eq!(told(&volumes.volume(&volume("n2"), &mut notes)), [("a/data", Some("n2"))]);
        assert_eq!(told(&volumes.claim_gone("a", "data")), [("a/data", None)]);
        assert_eq!(told(&volumes.claim(&claim("v"))), [("a/data", Some("n2"))]);
        assert_eq!(told(&volumes.volume_gone("v")), [("a/data", None)]);
        assert_eq!(volumes.claim(&claim("")).len(), 1, "bound no more");
        assert!(notes.is_empty());
    }
}
