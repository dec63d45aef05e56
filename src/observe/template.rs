//! Templates of workloads, checked once for all workloads that have the same.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use k8s_openapi::api::core::v1::PodSpec;

use super::constraints;
use crate::api::template::{check_pod_template, derived};
use crate::api::workload::{Completion, PodTemplate};
use crate::model::amount::Amount;
use crate::model::spec::ShapeSpec;

/// Where the template of a pod stands in a workload.
const POD: &str = "spec.template.pod";

/// A template as it is kept: the pod as compact JSON, since thousands of different ones may wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    /// Labels of each pod.
    pub labels: BTreeMap<String, String>,
    /// Annotations of each pod.
    pub annotations: BTreeMap<String, String>,
    /// The shape of each pod, or what is wrong with the template.
    pub shape: Result<Arc<ShapeSpec>, Arc<str>>,
    /// Its pods use claims, which two pods on two nodes may not be able to share.
    pub claims: bool,
    /// The checked pod spec; empty if something is wrong with it.
    pod: Box<str>,
}

impl Template {
    /// The checked pod spec; none if something is wrong with it, which [`Template::shape`] says.
    pub fn pod(&self) -> Option<PodSpec> {
        serde_json::from_str(&self.pod).ok()
    }

    fn check(template: &PodTemplate, completion: Completion) -> Self {
        let PodTemplate { metadata, spec } = template;
        let metadata = metadata.clone().unwrap_or_default();
        let checked = check_pod_template(spec, completion).map_err(|problems| {
            let problems = problems.iter().map(|problem| {
                let whole = problem.path.0.is_empty();
                if whole {
                    format!("{}: {problem}", constraints::FIELD)
                } else {
                    format!("{}.{problem}", constraints::FIELD)
                }
            });
            problems.collect::<Vec<_>>().join("; ")
        });
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
            Ok((shape, constraints::shares_claims(&pod), json))
        });
        let (shape, claims, pod) = match checked {
            Ok((shape, claims, json)) => (Ok(Arc::new(shape)), claims, json),
            Err(problem) => (Err(Arc::from(problem)), false, String::new()),
        };
        Self { labels: metadata.labels, annotations: metadata.annotations, shape, claims, pod: pod.into() }
    }
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
    pub fn intern(&mut self, template: &PodTemplate, completion: Completion) -> Arc<Template> {
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

    fn template(image: &str) -> PodTemplate {
        PodTemplate { metadata: None, spec: json!({"containers": [{"name": "main", "image": image}]}) }
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
        let bad =
            PodTemplate { metadata: None, spec: json!({"nodeName": "n", "containers": [{"name": "main"}]}) };
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
