//! The taint of a dedicated pool on its nodes.

use std::sync::Arc;

use super::write::Write;
use crate::api::labels;
use crate::api::pruned::Taint;
use crate::model::dedicated::Wanted;
use crate::observe::catalog::KnownNode;

const EFFECT: &str = "NoSchedule";

fn is_of(taint: &Taint, pool: &str) -> bool {
    taint.key == labels::TAINT && taint.value.as_deref() == Some(pool) && taint.effect == EFFECT
}

/// The write after which a node bears the taint that it shall; none where that is not known. Taints of others stay as
/// they are, also those with the same key.
pub fn write(node: &Arc<str>, known: &KnownNode, wanted: &Wanted) -> Option<Write> {
    let pool = match wanted {
        Wanted::Unknown => return None,
        Wanted::Nothing => None,
        Wanted::Pool(pool) => Some(pool),
    };
    let is_ours = |taint: &&Taint| known.tainted_for.as_ref().is_some_and(|before| is_of(taint, before));
    let is_wanted = |taint: &Taint| pool.is_some_and(|pool| is_of(taint, pool));
    let kept = known.taints.iter().filter(|taint| is_wanted(taint) || !is_ours(taint));
    let mut taints: Vec<Taint> = kept.cloned().collect();
    if let Some(pool) = pool.filter(|pool| !taints.iter().any(|taint| is_of(taint, pool))) {
        taints.push(Taint {
            key: labels::TAINT.to_owned(),
            value: Some(pool.to_string()),
            effect: EFFECT.to_owned(),
            time_added: None,
        });
    }
    Some(Write::SetNodeTaints {
        node: Arc::clone(node),
        resource_version: Arc::clone(&known.resource_version),
        taints,
        tainted_for: pool.cloned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn written(taints: Value, tainted_for: Option<&str>, wanted: &Wanted) -> Option<(Value, Option<String>)> {
        let known = KnownNode {
            resource_version: "7".into(),
            taints: serde_json::from_value(taints).unwrap(),
            tainted_for: tainted_for.map(Into::into),
        };
        match write(&"n1".into(), &known, wanted)? {
            Write::SetNodeTaints { taints, tainted_for, .. } => {
                Some((serde_json::to_value(taints).unwrap(), tainted_for.map(|pool| pool.to_string())))
            }
            other => panic!("{other:?}"),
        }
    }

    fn taint(value: &str, effect: &str) -> Value {
        json!({"key": "weir.dev/pool", "value": value, "effect": effect})
    }

    #[test]
    fn the_core_knows_the_taint_by_the_same_name() {
        assert_eq!(labels::TAINT, crate::model::dedicated::TAINT);
    }

    #[test]
    fn taints_of_others_stay_with_all_that_they_say() {
        let theirs = json!({"key": "gpu", "effect": "NoExecute", "timeAdded": "2026-01-01T00:00:00Z"});
        let by_hand = taint("lab", "NoSchedule");
        let harder = taint("company", "NoExecute");
        let before = json!([theirs, by_hand, harder]);
        let (taints, marked) = written(before.clone(), None, &Wanted::Pool("company".into())).unwrap();
        let ours = taint("company", "NoSchedule");
        assert_eq!(
            (taints.clone(), marked.as_deref()),
            (json!([theirs, by_hand, harder, ours]), Some("company"))
        );
        assert_eq!(written(taints, Some("company"), &Wanted::Nothing), Some((before, None)));
    }

    #[test]
    fn a_node_that_changes_its_pool_changes_its_taint_in_one_write() {
        let before = json!([taint("old", "NoSchedule")]);
        let (taints, marked) = written(before.clone(), Some("old"), &Wanted::Pool("company".into())).unwrap();
        assert_eq!((taints, marked.as_deref()), (json!([taint("company", "NoSchedule")]), Some("company")));
        assert_eq!(written(before, Some("old"), &Wanted::Unknown), None);
    }

    #[test]
    fn a_taint_that_was_there_is_taken_as_ours_once() {
        let before = json!([taint("company", "NoSchedule")]);
        let (taints, marked) = written(before.clone(), None, &Wanted::Pool("company".into())).unwrap();
        assert_eq!((taints, marked.as_deref()), (before, Some("company")));
    }
}
