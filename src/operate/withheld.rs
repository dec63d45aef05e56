//! Kinds of which the API server shows nothing: what that means is said, in the log, by `/readyz`, in the metrics and by an
//! event of the Lease, and the rest goes on as far as it can.

use tracing::{info, warn};

use super::term::Term;
use crate::model::delta::Delta;
use crate::model::time::Time;
use crate::plan::event;
use crate::watch::follow::Withheld;
use crate::watch::seen::{KINDS, NEEDED};

/// What to do about it.
pub(super) const RIGHTS: &str =
    "Give the operator the rights of docs/rbac.yaml: helm upgrade does, or kubectl apply -f docs/rbac.yaml";
const DEFINITIONS: &str =
    "Install the definitions: helm upgrade does, or kubectl apply --server-side -f crds/";

/// What comes of it that nothing of a kind is seen.
fn consequence(kind: usize) -> &'static str {
    match KINDS.get(kind).copied().unwrap_or_default() {
        "Namespace" => "nobody new is admitted, since pools select namespaces by their labels",
        "PriorityClass" => "workloads that name a class wait; those that have run keep their priority",
        "PersistentVolumeClaim" | "PersistentVolume" => {
            "workloads whose pods use volumes that are there wait"
        }
        "Deployment" | "StatefulSet" | "Job" => "those that are labelled for a pool are not counted",
        _ if kind < NEEDED => "nothing is decided; what runs goes on",
        _ => "virtual machines wait as where KubeVirt is not installed",
    }
}

/// What is said of it.
fn words(kind: usize, why: &Withheld) -> String {
    let name = KINDS.get(kind).copied().unwrap_or_default();
    let so = consequence(kind);
    match why {
        Withheld::Forbidden(said) => {
            format!(
                "the operator may not list and watch {name}, so {so}. The API server says: {said}. {RIGHTS}"
            )
        }
        Withheld::Unknown => format!("the cluster does not know the kind {name}, so {so}. {DEFINITIONS}"),
    }
}

impl Term {
    /// Nothing of the kind is shown.
    pub(super) fn withheld(&mut self, kind: usize, why: &Withheld, now: Time) {
        let name = KINDS.get(kind).copied().unwrap_or_default();
        let text = words(kind, why);
        let news = if kind < NEEDED {
            self.told.health.problem(name, Some(text.clone()))
        } else {
            self.told.health.note(name, Some(text.clone()))
        };
        if *why != Withheld::Unknown {
            self.metrics.lacks(request(kind), true);
        }
        if news {
            warn!(kind = name, "{text}");
            self.writer.event(Box::new(event::of_operator(&self.lease, &text, &self.instance, now)));
        }
        if kind >= NEEDED && self.listed.insert(kind) {
            // As where there is none of it, since it was never seen.
            let none = match name {
                "VirtualMachine" => self.catalog.kubevirt(false),
                "PriorityClass" => self.catalog.classes_are_hidden(true),
                _ => Vec::new(),
            };
            self.take(none, now);
        }
    }

    /// All of the kind was shown.
    pub(super) fn granted(&mut self, kind: usize, now: Time) {
        let name = KINDS.get(kind).copied().unwrap_or_default();
        self.metrics.lacks(request(kind), false);
        if self.told.health.problem(name, None) | self.told.health.note(name, None) {
            info!(kind = name, "is shown again");
        }
        if name == "PriorityClass" {
            let deltas = self.catalog.classes_are_hidden(false);
            self.take(deltas, now);
        }
    }

    fn take(&mut self, deltas: Vec<Delta>, now: Time) {
        for delta in deltas {
            self.apply(delta, now);
        }
    }
}

/// What the metric calls it.
fn request(kind: usize) -> &'static str {
    const NAMES: [&str; KINDS.len()] = [
        "list_resource_pool",
        "list_pooled_workload",
        "list_pod",
        "list_node",
        "list_namespace",
        "list_priority_class",
        "list_persistent_volume_claim",
        "list_persistent_volume",
        "list_virtual_machine",
        "list_virtual_machine_instance",
        "list_kube_virt",
        "list_virtual_machine_instancetype",
        "list_virtual_machine_cluster_instancetype",
        "list_virtual_machine_instance_migration",
        "list_deployment",
        "list_stateful_set",
        "list_job",
    ];
    NAMES.get(kind).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_requests_are_those_of_their_kinds() {
        for (kind, name) in KINDS.iter().enumerate() {
            let bare = request(kind).replace('_', "");
            assert_eq!(bare, format!("list{}", name.to_lowercase()));
        }
    }

    #[test]
    fn what_is_said_names_the_kind_what_comes_of_it_and_what_to_do() {
        let said = words(5, &Withheld::Forbidden("no".to_owned()));
        assert!(
            said.contains("PriorityClass") && said.contains("wait") && said.contains("docs/rbac.yaml"),
            "{said}"
        );
        let said = words(0, &Withheld::Unknown);
        assert!(
            said.contains("ResourcePool") && said.contains("nothing is decided") && said.contains("crds/"),
            "{said}"
        );
    }
}
