//! Claims of machines that have no volume yet. Those whose class waits for a first consumer are made for the node that an
//! annotation names, and not before: kube-scheduler writes it for the pods that it binds, and Weir for those of machines.
//!
//! Who makes volumes takes the annotation off a claim when it cannot make one for that node.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{Estimate, Launcher, Machines};
use crate::api::pruned::{PersistentVolumeClaim, SELECTED_NODE};
use crate::model::delta::Delta;
use crate::model::machines::{Making, Starting};
use crate::observe::volume::claim_name;

/// Which node the volume of a claim is made for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum MadeFor {
    /// Nobody has said.
    Nothing,
    /// This one.
    Node(Arc<str>),
}

/// Claims without a volume, and the pods that have not started and use any.
#[derive(Clone, Debug, Default)]
pub(super) struct Claims {
    /// Claims without a volume.
    waiting: BTreeMap<Arc<str>, MadeFor>,
    /// UIDs of the pods that use a claim.
    users: BTreeMap<Arc<str>, BTreeSet<Arc<str>>>,
    /// Claims of a pod.
    of_pod: BTreeMap<Arc<str>, Vec<Arc<str>>>,
    /// Pods whose node no volume can be made for.
    refused: BTreeSet<Arc<str>>,
}

impl Claims {
    /// A pod that has not started uses claims; none: it has started, or is gone.
    pub(super) fn used(&mut self, pod: &Arc<str>, starting: Option<&Starting>) {
        let now = starting.map(|starting| starting.claims.as_slice()).unwrap_or_default();
        if self.of_pod.get(pod).map(Vec::as_slice).unwrap_or_default() == now {
            return;
        }
        for claim in self.of_pod.remove(pod).unwrap_or_default() {
            if let Some(users) = self.users.get_mut(&claim) {
                users.remove(pod);
                if users.is_empty() {
                    self.users.remove(&claim);
                }
            }
        }
        if now.is_empty() {
            self.refused.remove(pod);
            return;
        }
        for claim in now {
            self.users.entry(Arc::clone(claim)).or_default().insert(Arc::clone(pod));
        }
        self.of_pod.insert(Arc::clone(pod), now.to_vec());
    }

    fn users(&self, claim: &str) -> Vec<Arc<str>> {
        self.users.get(claim).into_iter().flatten().cloned().collect()
    }
}

impl Machines {
    /// A claim was seen.
    pub fn claim(&mut self, seen: &PersistentVolumeClaim, estimate: Estimate<'_>) -> Vec<Delta> {
        let metadata = &seen.metadata;
        let name = claim_name(
            metadata.namespace.as_deref().unwrap_or_default(),
            metadata.name.as_deref().unwrap_or_default(),
        );
        let is_bound = seen.spec.volume_name.as_deref().is_some_and(|volume| !volume.is_empty());
        let node = metadata.annotations.as_ref().and_then(|all| all.get(SELECTED_NODE));
        let node = node.filter(|node| !node.is_empty());
        let made_for = node.map_or(MadeFor::Nothing, |node| MadeFor::Node(node.as_str().into()));
        let waits = !is_bound && metadata.deletion_timestamp.is_none();
        self.claim_waits(&name, waits.then_some(made_for), estimate)
    }

    /// A claim is gone.
    pub fn claim_gone(&mut self, namespace: &str, name: &str, estimate: Estimate<'_>) -> Vec<Delta> {
        self.claim_waits(&claim_name(namespace, name), None, estimate)
    }

    fn claim_waits(&mut self, claim: &Arc<str>, now: Option<MadeFor>, estimate: Estimate<'_>) -> Vec<Delta> {
        let before = self.claims.waiting.remove(claim);
        let same = before == now;
        let was_given_up = now == Some(MadeFor::Nothing);
        if let Some(now) = now {
            self.claims.waiting.insert(Arc::clone(claim), now);
        }
        if same {
            return Vec::new();
        }
        let users = self.claims.users(claim);
        if let Some(MadeFor::Node(refusing)) = before.filter(|_| was_given_up) {
            for uid in &users {
                let there = |pod: &Launcher| pod.spec.bound && pod.spec.node.as_ref() == Some(&refusing);
                if self.launchers.get(uid).is_some_and(there) {
                    self.claims.refused.insert(Arc::clone(uid));
                }
            }
        }
        let of = |uid: &Arc<str>| {
            let machine = &self.vmis.get(&self.launchers.get(uid)?.instance)?.machine;
            self.vms.contains_key(machine).then(|| Arc::clone(machine))
        };
        let machines: BTreeSet<Arc<str>> = users.iter().filter_map(of).collect();
        machines.iter().flat_map(|machine| self.retell(machine, estimate)).collect()
    }

    /// What a pod wants of its node, until it runs.
    pub(super) fn starting(&self, pod: &Launcher) -> Option<Arc<Starting>> {
        let asks = pod.starting.as_ref()?;
        let node = pod.spec.node.as_ref().filter(|_| pod.spec.bound);
        let volumes = match node {
            Some(_) if self.claims.refused.contains(&pod.spec.uid) => Making::Refused,
            Some(node) if self.unset(pod, node).next().is_some() => Making::Unset,
            // The claims of what is not bound are annotated before it is.
            Some(_) | None => Making::Settled,
        };
        Some(match volumes {
            Making::Settled => Arc::clone(asks),
            Making::Unset | Making::Refused => Arc::new(Starting { volumes, ..Starting::clone(asks) }),
        })
    }

    /// Claims of a pod that are not made for its node yet. One that is made for the pod of another machine is left to that.
    fn unset<'a>(&'a self, pod: &'a Launcher, node: &'a str) -> impl Iterator<Item = &'a Arc<str>> {
        let claims = pod.starting.iter().flat_map(|starting| &starting.claims);
        claims.filter(move |claim| match self.claims.waiting.get(*claim) {
            None => false,
            Some(MadeFor::Nothing) => true,
            Some(MadeFor::Node(chosen)) => **chosen != *node && !self.is_made_for_another(pod, claim, chosen),
        })
    }

    fn is_made_for_another(&self, pod: &Launcher, claim: &str, node: &str) -> bool {
        let users = self.claims.users.get(claim).into_iter().flatten();
        let mut users = users.filter_map(|uid| self.launchers.get(uid));
        users.any(|one| {
            let lives = one.spec.bound && !one.spec.terminating && !one.spec.phase.ended();
            lives && one.instance != pod.instance && one.spec.node.as_deref() == Some(node)
        })
    }

    /// Claims of a run's pods that are to be made for `node`: namespace and name.
    pub fn unset_claims(&self, run: &str, node: &str) -> BTreeSet<(Arc<str>, Arc<str>)> {
        let pods = self.pods_of_run(run).map(|(_, pod)| pod).filter(|pod| {
            let elsewhere = pod.spec.bound && pod.spec.node.as_deref() != Some(node);
            !elsewhere && pod.migration.is_none() && !pod.spec.terminating && !pod.spec.phase.ended()
        });
        let claims = pods.flat_map(|pod| self.unset(pod, node));
        claims
            .filter_map(|claim| claim.split_once('/'))
            .map(|(space, name)| (space.into(), name.into()))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::Notes;
    use crate::observe::machines::testing::{none, of, owner};
    use serde_json::json;

    fn with_pod(machines: &mut Machines, name: &str, node: Option<&str>, phase: &str) -> Vec<Delta> {
        let template = json!({"metadata": {"labels": {"weir.dev/attempt": "1"}, "annotations": {"weir.dev/node": "n1"}}});
        let uid = |kind: &str| format!("{name}-{kind}");
        machines.machine(
            &of(json!({
                "metadata": {"name": "db-0", "namespace": "a", "uid": uid("vm"), "ownerReferences": owner("PooledWorkload", name)},
                "spec": {"runStrategy": "Always", "template": template}})),
            &none,
        );
        let mut metadata = template["metadata"].clone();
        metadata["ownerReferences"] = owner("VirtualMachine", &uid("vm"));
        (metadata["name"], metadata["namespace"], metadata["uid"]) =
            (json!("db-0"), json!("a"), json!(uid("vmi")));
        machines.instance(&of(json!({"metadata": metadata, "status": {"phase": "Scheduling"}})), &none);
        let pod = json!({
            "metadata": {"name": "launcher", "namespace": "a", "uid": uid("pod"),
                         "ownerReferences": owner("VirtualMachineInstance", &uid("vmi"))},
            "spec": {"nodeName": node, "nodeSelector": {"cpu": "new"}, "volumes": [
                {"name": "v", "persistentVolumeClaim": {"claimName": "root"}}, {"name": "e", "emptyDir": {}}]},
            "status": {"phase": phase}});
        machines.pod(&of(pod), &mut Notes::new(), &none).unwrap()
    }

    fn seen(machines: &mut Machines, node: Option<&str>, volume: Option<&str>) -> Vec<Delta> {
        let annotations = json!({SELECTED_NODE: node});
        let claim = json!({"metadata": {"name": "root", "namespace": "a", "annotations": annotations}, "spec": {"volumeName": volume}});
        machines.claim(&of(claim), &none)
    }

    fn told(deltas: &[Delta]) -> Option<Making> {
        deltas.iter().find_map(|delta| match delta {
            Delta::Pod(run) => Some(run.machine.as_ref()?.starting.as_ref()?.volumes),
            _ => None,
        })
    }

    fn unset(machines: &Machines, node: &str) -> usize {
        machines.unset_claims("one-vm#0", node).len()
    }

    #[test]
    fn claims_without_a_volume_are_told_for_which_node_they_are_made_and_no_others() {
        let mut machines = Machines::default();
        assert_eq!(seen(&mut machines, None, None), []);
        let deltas = with_pod(&mut machines, "one", None, "Pending");
        assert_eq!(told(&deltas), Some(Making::Settled), "nothing is amiss before it is bound");
        let claim: (Arc<str>, Arc<str>) = ("a".into(), "root".into());
        assert_eq!(machines.unset_claims("one-vm#0", "n1"), [claim].into());
        assert_eq!(seen(&mut machines, Some("n1"), None), [], "the world need not know");
        assert_eq!((unset(&machines, "n1"), unset(&machines, "n2")), (0, 1), "it is right already");
        seen(&mut machines, Some("n1"), Some("v"));
        assert_eq!(unset(&machines, "n2"), 0, "it has a volume");
    }

    #[test]
    fn a_volume_that_cannot_be_made_is_told_of_and_a_claim_that_was_forgotten_too() {
        let mut machines = Machines::default();
        seen(&mut machines, None, None);
        assert_eq!(told(&with_pod(&mut machines, "one", Some("n1"), "Pending")), Some(Making::Unset));
        assert_eq!(told(&seen(&mut machines, Some("n1"), None)), Some(Making::Settled));
        assert_eq!(
            told(&seen(&mut machines, None, None)),
            Some(Making::Refused),
            "the provisioner took it off"
        );
        with_pod(&mut machines, "one", Some("n1"), "Running");
        assert!(machines.claims.users.is_empty() && machines.claims.refused.is_empty(), "it runs");
    }

    #[test]
    fn a_claim_that_is_made_for_another_machine_is_left_to_that() {
        let mut machines = Machines::default();
        with_pod(&mut machines, "other", Some("n2"), "Pending");
        with_pod(&mut machines, "one", None, "Pending");
        seen(&mut machines, Some("n2"), None);
        assert_eq!(unset(&machines, "n1"), 0);
        with_pod(&mut machines, "other", Some("n2"), "Failed");
        assert_eq!(unset(&machines, "n1"), 1);
    }
}
