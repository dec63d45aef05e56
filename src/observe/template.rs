//! Templates of workloads, checked once for all workloads that have the same.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use k8s_openapi::api::core::v1::PodSpec;

use serde_json::Value;

use super::terms::Whose;
use super::{constraints, machine};
use crate::api::field::FieldProblem;
use crate::api::labels;
use crate::api::runtime::{VirtualMachineTemplate, WorkloadTemplate};
use crate::api::template::machine::Machine;
use crate::api::template::{check_machine_template, check_pod_template, derived};
use crate::api::workload::{Completion, PodTemplate, TemplateMetadata};
use crate::model::amount::Amount;
use crate::model::selector::Labels;
use crate::model::spec::ShapeSpec;

/// Where the template of a pod stands in a workload.
const POD: &str = "spec.template.pod";

/// A template as it is kept: the pod or machine as compact JSON, since thousands of different ones may wait.
#[derive(Clone, Debug, PartialEq)]
pub struct Template {
    /// Labels of each member.
    pub labels: BTreeMap<String, String>,
    /// Annotations of each member.
    pub annotations: BTreeMap<String, String>,
    /// The labels, as the world keeps them.
    pub model_labels: Arc<Labels>,
    /// Whether the shape hangs on whose pods they are.
    personal: bool,
    /// The shape of each pod, or what is wrong with the template; without what hangs on whose pods they are, and of
    /// a machine without what hangs on its pool.
    shape: Result<Arc<ShapeSpec>, Arc<str>>,
    /// Its pods use claims, which two pods on two nodes may not be able to share.
    pub claims: bool,
    /// What a machine says, if it is one and sound.
    pub machine: Option<Box<Machine>>,
    /// The checked spec; empty if something is wrong with it.
    spec: Box<str>,
}

/// Whose pods are made of a template.
#[derive(Clone, Copy, Debug)]
pub struct Owner<'a> {
    /// Namespace of the workload.
    pub namespace: &'a str,
    /// Its name.
    pub name: &'a str,
    /// Its UID.
    pub uid: &'a str,
    /// Its pool.
    pub pool: &'a str,
    /// Members that are wanted.
    pub replicas: u32,
}

impl Template {
    /// The checked pod spec; none if something is wrong with it, which [`Template::shape`] says.
    pub fn pod(&self) -> Option<PodSpec> {
        if self.machine.is_some() {
            return None;
        }
        serde_json::from_str(&self.spec).ok()
    }

    /// A number that equal templates share, and others hardly ever (FNV-1a, 64 bits).
    pub fn likeness(&self) -> u64 {
        let metadata =
            self.labels.iter().chain(&self.annotations).flat_map(|(key, value)| [key.as_str(), value]);
        let bytes = metadata.chain([&*self.spec]).flat_map(|text| text.bytes().chain([0]));
        bytes
            .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
    }

    /// The shape of the pods of one workload.
    ///
    /// # Errors
    /// What is wrong with the template.
    pub fn shape_for(&self, of: Owner<'_>) -> Result<Arc<ShapeSpec>, Arc<str>> {
        let shape = self.shape.clone()?;
        let Some(pod) = self.pod().filter(|_| self.personal) else { return Ok(shape) };
        let mut labels = (*self.model_labels).clone();
        for (key, value) in
            [(labels::POOL, of.pool), (labels::WORKLOAD, of.name), (labels::WORKLOAD_UID, of.uid)]
        {
            labels.insert(key.into(), value.into());
        }
        let namespace: Arc<str> = of.namespace.into();
        let personal = constraints::personal(&shape, &pod, Whose { namespace: &namespace, labels: &labels });
        personal.map(Arc::new).map_err(Arc::from)
    }

    /// The spec of a machine as it was given, if it is one and sound.
    pub fn machine_spec(&self) -> Option<(&Machine, Value)> {
        Some((self.machine.as_deref()?, serde_json::from_str(&self.spec).ok()?))
    }

    fn check(template: &WorkloadTemplate, completion: Completion) -> Self {
        match template {
            WorkloadTemplate { pod: None, virtual_machine: Some(machine) } => Self::check_machine(machine),
            WorkloadTemplate { pod: Some(pod), virtual_machine: None } => Self::check_pod(pod, completion),
            WorkloadTemplate { pod: Some(_), .. } | WorkloadTemplate { virtual_machine: None, .. } => Self {
                labels: BTreeMap::new(),
                annotations: BTreeMap::new(),
                model_labels: Arc::default(),
                personal: false,
                claims: false,
                shape: Err("spec.template: write exactly one of pod and virtualMachine".into()),
                machine: None,
                spec: "".into(),
            },
        }
    }

    fn check_machine(template: &VirtualMachineTemplate) -> Self {
        let VirtualMachineTemplate { metadata, spec } = template;
        let metadata = metadata.clone().unwrap_or_default();
        let checked = check_machine_template(spec).map_err(|problems| joined(machine::FIELD, &problems));
        let (shape, machine, spec) = match checked {
            Ok(machine) => (Ok(Arc::default()), Some(Box::new(machine)), spec.to_string()),
            Err(problem) => (Err(Arc::from(problem)), None, String::new()),
        };
        let TemplateMetadata { labels, annotations } = metadata;
        let model_labels = model_labels(&labels);
        Self {
            labels,
            annotations,
            model_labels,
            personal: false,
            shape,
            claims: false,
            machine,
            spec: spec.into(),
        }
    }

    fn check_pod(template: &PodTemplate, completion: Completion) -> Self {
        let PodTemplate { metadata, spec } = template;
        let metadata = metadata.clone().unwrap_or_default();
        let checked =
            check_pod_template(spec, completion).map_err(|problems| joined(constraints::FIELD, &problems));
        let checked = checked.and_then(|pod| {
            let json =
                serde_json::to_string(&pod).map_err(|error| format!("{}: {error}", constraints::FIELD))?;
            let mut shape = constraints::shape(&pod)?;
            let more = derived(&pod, &metadata.annotations).map_err(|problems| {
                let problems = problems.iter().map(|problem| format!("{POD}.{problem}"));
                problems.collect::<Vec<_>>().join("; ")
            })?;
            shape
                .requests
                .extend(more.iter().map(|(name, units)| (Arc::from(name.as_str()), Amount::new(*units))));
            Ok((shape, json, constraints::is_personal(&pod), constraints::shares_claims(&pod)))
        });
        let (shape, spec, personal, claims) = match checked {
            Ok((shape, json, personal, claims)) => (Ok(Arc::new(shape)), json, personal, claims),
            Err(problem) => (Err(Arc::from(problem)), String::new(), false, false),
        };
        let TemplateMetadata { labels, annotations } = metadata;
        let model_labels = model_labels(&labels);
        Self { labels, annotations, model_labels, personal, shape, claims, machine: None, spec: spec.into() }
    }
}

/// Labels as the world keeps them.
fn model_labels(labels: &BTreeMap<String, String>) -> Arc<Labels> {
    let own = labels.iter().map(|(key, value)| (Arc::from(key.as_str()), Arc::from(value.as_str())));
    Arc::new(own.collect())
}

/// All problems in one sentence, each with its field.
fn joined(field: &str, problems: &[FieldProblem]) -> String {
    let problems = problems.iter().map(|problem| {
        let whole = problem.path.0.is_empty();
        if whole { format!("{field}: {problem}") } else { format!("{field}.{problem}") }
    });
    problems.collect::<Vec<_>>().join("; ")
}

/// The templates in use, each once.
#[derive(Clone, Debug, Default)]
pub struct Templates {
    by_text: BTreeMap<(bool, Box<str>), Weak<Template>>,
    /// Swept when there are more than this: twice what was alive after the last sweep.
    sweep_above: usize,
}

impl Templates {
    /// The template, checked now if it was not met.
    pub fn intern(&mut self, template: &WorkloadTemplate, completion: Completion) -> Arc<Template> {
        let text = serde_json::to_string(template).unwrap_or_default();
        let key = (completion == Completion::KeepRunning, text.into_boxed_str());
        if let Some(known) = self.by_text.get(&key).and_then(Weak::upgrade) {
            return known;
        }
        let checked = Arc::new(Template::check(template, completion));
        self.by_text.insert(key, Arc::downgrade(&checked));
        if self.by_text.len() > self.sweep_above {
            self.by_text.retain(|_, template| template.strong_count() > 0);
            self.sweep_above = (self.by_text.len() * 2).max(64);
        }
        checked
    }

    /// How many there are, dead ones that are not swept yet included.
    pub fn len(&self) -> usize {
        self.by_text.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.by_text.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn of(spec: Value) -> WorkloadTemplate {
        WorkloadTemplate { pod: Some(PodTemplate { metadata: None, spec }), virtual_machine: None }
    }

    fn template(image: &str) -> WorkloadTemplate {
        of(json!({"containers": [{"name": "main", "image": image}]}))
    }

    #[test]
    fn equal_templates_are_one_and_unused_ones_go() {
        let mut templates = Templates::default();
        let first = templates.intern(&template("a"), Completion::RunToCompletion);
        let again = templates.intern(&template("a"), Completion::RunToCompletion);
        assert!(Arc::ptr_eq(&first, &again));
        let kept = templates.intern(&template("a"), Completion::KeepRunning);
        assert!(!Arc::ptr_eq(&first, &kept), "another completion, another restart policy");
        for image in 0..1000 {
            templates.intern(&template(&image.to_string()), Completion::RunToCompletion);
        }
        assert!(templates.len() <= 129, "{} are kept", templates.len());
        assert_eq!(first.pod().unwrap().restart_policy.as_deref(), Some("Never"));
    }

    #[test]
    fn both_sides_call_what_is_derived_alike() {
        assert_eq!(crate::api::template::DERIVED, crate::model::resources::DERIVED_NAMES);
    }

    #[test]
    fn all_problems_are_said_with_their_fields() {
        let bad = of(json!({"nodeName": "n", "containers": [{"name": "main"}]}));
        let bad = Templates::default().intern(&bad, Completion::RunToCompletion);
        let problem = bad.shape.clone().unwrap_err();
        assert!(problem.contains("spec.template.pod.spec.nodeName: "), "{problem}");
        assert!(
            problem.contains("; spec.template.pod.spec.containers[0].image: ")
                || problem.contains("spec.template.pod.spec.containers[0].image: "),
            "{problem}"
        );
        assert!(bad.pod().is_none());
    }
}
