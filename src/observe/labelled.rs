//! Objects of others that make pods: which one made a pod, and which are labelled for a pool.

use std::sync::Arc;

use kube::core::ObjectMeta;

use super::arc;
use super::catalog::Catalog;
use super::pod;
use crate::api::kubevirt::INSTANCE;
use crate::api::labels;
use crate::api::reasons::Reason;
use crate::model::delta::Delta;
use crate::model::labelled::{Maker, MakerKind, Unheeded};

/// The label that a Deployment's controller gives pods, and the end of the name of what it makes them by.
const TEMPLATE_HASH: &str = "pod-template-hash";

/// What is kept of a labelled object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// `metadata.uid`.
    pub uid: Arc<str>,
    /// The pool that it is labelled for.
    pub pool: Arc<str>,
    /// What was told of it last.
    told: Option<Result<(), Unheeded>>,
}

/// What is to be told of a labelled object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct News {
    /// Of which.
    pub known: Known,
    /// Whether its label is heeded, and why not.
    pub standing: Result<(), Unheeded>,
    /// In one word.
    pub reason: Reason,
    /// In a sentence.
    pub message: String,
}

/// The API version of a kind.
pub const fn api_version(kind: MakerKind) -> &'static str {
    match kind {
        MakerKind::Deployment | MakerKind::StatefulSet => "apps/v1",
        MakerKind::Job => "batch/v1",
        MakerKind::VirtualMachine => "kubevirt.io/v1",
    }
}

/// What made a pod, if that may be labelled: by its controller.
pub fn maker(metadata: &ObjectMeta) -> Option<Maker> {
    let owner = metadata.owner_references.iter().flatten().find(|owner| owner.controller == Some(true))?;
    let group = owner.api_version.split_once('/').map_or("", |(group, _)| group);
    let (kind, name) = match (group, owner.kind.as_str()) {
        ("apps", "ReplicaSet") => {
            // It is named after its Deployment, and after the template that it makes pods of.
            let hash = metadata.labels.as_ref()?.get(TEMPLATE_HASH)?;
            (MakerKind::Deployment, owner.name.strip_suffix(hash.as_str())?.strip_suffix('-')?)
        }
        ("apps", "StatefulSet") => (MakerKind::StatefulSet, owner.name.as_str()),
        ("batch", "Job") => (MakerKind::Job, owner.name.as_str()),
        // What runs of a machine has its name.
        ("kubevirt.io", INSTANCE) => (MakerKind::VirtualMachine, owner.name.as_str()),
        _ => return None,
    };
    Some(Maker { namespace: arc(metadata.namespace.as_ref()), kind, name: name.into() })
}

impl Catalog {
    /// An object that makes pods was seen: whether it is labelled for a pool. What Weir made itself is no such object.
    pub fn labelled(&mut self, kind: MakerKind, metadata: &ObjectMeta) -> Vec<Delta> {
        let maker = named(kind, metadata.namespace.as_deref(), metadata.name.as_deref());
        let pool = metadata.labels.as_ref().and_then(|labels| labels.get(labels::POOL));
        let Some(pool) = pool.filter(|_| pod::owner(metadata).is_none()) else {
            return self.label_gone(maker);
        };
        let uid = arc(metadata.uid.as_ref());
        let pool: Arc<str> = pool.as_str().into();
        let same = |known: &&Known| known.uid == uid && known.pool == pool;
        if self.labelled.get(&maker).as_ref().is_some_and(same) {
            return Vec::new();
        }
        self.labelled.insert(maker.clone(), Known { uid, pool: Arc::clone(&pool), told: None });
        vec![Delta::Labelled { maker: Arc::new(maker), pool: Some(pool) }]
    }

    /// It is gone.
    pub fn labelled_gone(&mut self, kind: MakerKind, namespace: &str, name: &str) -> Vec<Delta> {
        self.label_gone(named(kind, Some(namespace), Some(name)))
    }

    fn label_gone(&mut self, maker: Maker) -> Vec<Delta> {
        let before = self.labelled.remove(&maker);
        before.map(|_| Delta::Labelled { maker: Arc::new(maker), pool: None }).into_iter().collect()
    }

    /// What is to be told of a labelled object, if that is news: `standing` says whether its label is heeded.
    pub fn news_of_label(
        &self,
        maker: &Maker,
        standing: impl FnOnce(&str) -> Option<Unheeded>,
    ) -> Option<News> {
        let known = self.labelled.get(maker)?;
        let standing = standing(&known.pool).map_or(Ok(()), Err);
        let Known { pool, told, .. } = known;
        if *told == Some(standing) {
            return None;
        }
        let Maker { namespace, .. } = maker;
        let (reason, message) = match standing {
            Ok(()) => (
                Reason::Adopted,
                format!(
                    "its pods on the nodes of pool {pool:?} count as load of that pool, by the label {}; it is scheduled as \
                     before, and Weir evicts none of them",
                    labels::POOL
                ),
            ),
            Err(Unheeded::NoPool) => (
                Reason::PoolNotFound,
                format!(
                    "the label {} names {pool:?}, and there is no pool of that name: create it, or write the name of another",
                    labels::POOL
                ),
            ),
            Err(Unheeded::Namespace) => (
                Reason::NamespaceNotAllowed,
                format!(
                    "the label {} comes to nothing: access.namespaces of pool {pool:?} does not select namespace \
                     {namespace:?}; ask its owner to select it, or write the name of another pool",
                    labels::POOL
                ),
            ),
        };
        Some(News { known: known.clone(), standing, reason, message })
    }

    /// After a start: what the statuses of pools show was told before.
    pub fn labels_shown(&mut self) {
        let Self { labelled, pools, .. } = self;
        for (maker, known) in labelled.iter_mut().filter(|(_, known)| known.told.is_none()) {
            let adopted = pools.get(&known.pool).into_iter().flat_map(|pool| &pool.status.adopted);
            let mut same = adopted.filter(|one| {
                one.kind == maker.kind.as_str()
                    && *one.namespace == *maker.namespace
                    && *one.name == *maker.name
            });
            known.told = same.next().map(|_| Ok(()));
        }
    }

    /// It was told.
    pub fn label_told(&mut self, maker: &Maker, standing: Result<(), Unheeded>) {
        if let Some(known) = self.labelled.get_mut(maker) {
            known.told = Some(standing);
        }
    }
}

fn named(kind: MakerKind, namespace: Option<&str>, name: Option<&str>) -> Maker {
    Maker { namespace: namespace.unwrap_or_default().into(), kind, name: name.unwrap_or_default().into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn made_by(api_version: &str, kind: &str, name: &str) -> Option<(&'static str, String)> {
        let metadata = serde_json::from_value(json!({
            "name": "p", "namespace": "team", "labels": {"pod-template-hash": "5d8f"},
            "ownerReferences": [{"apiVersion": api_version, "kind": kind, "name": name, "uid": "u", "controller": true}]}));
        maker(&metadata.unwrap()).map(|maker| (maker.kind.as_str(), maker.name.to_string()))
    }

    #[test]
    fn a_pod_is_known_to_be_made_by_what_controls_it() {
        for (version, kind, name, expected) in [
            ("apps/v1", "ReplicaSet", "web-5d8f", Some(("Deployment", "web"))),
            ("apps/v1", "ReplicaSet", "web-2-5d8f", Some(("Deployment", "web-2"))),
            ("apps/v1", "ReplicaSet", "web5d8f", None),
            ("apps/v1", "ReplicaSet", "web-other", None),
            ("apps/v1", "StatefulSet", "db", Some(("StatefulSet", "db"))),
            ("batch/v1", "Job", "once", Some(("Job", "once"))),
            ("kubevirt.io/v1", "VirtualMachineInstance", "vm", Some(("VirtualMachine", "vm"))),
            ("example.com/v1", "Job", "other", None),
            ("apps/v1", "DaemonSet", "agent", None),
        ] {
            let expected = expected.map(|(kind, name)| (kind, name.to_owned()));
            assert_eq!(made_by(version, kind, name), expected, "{kind} {name}");
        }
    }

    #[test]
    fn a_label_is_told_once_and_again_when_it_changes() {
        let mut catalog = Catalog::default();
        let seen = |labels| {
            serde_json::from_value::<ObjectMeta>(
                json!({"name": "web", "namespace": "team", "uid": "1", "labels": labels}),
            )
            .unwrap()
        };
        let told =
            |catalog: &mut Catalog, labels| catalog.labelled(MakerKind::Deployment, &seen(labels)).len();
        assert_eq!(told(&mut catalog, json!({"app": "web"})), 0);
        assert_eq!(told(&mut catalog, json!({"weir.dev/pool": "a"})), 1);
        assert_eq!(told(&mut catalog, json!({"weir.dev/pool": "a", "more": "labels"})), 0);
        assert_eq!(told(&mut catalog, json!({"weir.dev/pool": "b"})), 1);
        let maker = named(MakerKind::Deployment, Some("team"), Some("web"));
        let news = |catalog: &mut Catalog, standing| {
            let News { standing, reason, message, .. } = catalog.news_of_label(&maker, |_| standing)?;
            catalog.label_told(&maker, standing);
            Some((reason, message))
        };
        let (reason, message) = news(&mut catalog, Some(Unheeded::NoPool)).unwrap();
        assert!(
            reason == Reason::PoolNotFound && message.contains("there is no pool of that name"),
            "{message}"
        );
        assert_eq!(news(&mut catalog, Some(Unheeded::NoPool)), None);
        assert_eq!(news(&mut catalog, None).unwrap().0, Reason::Adopted);
        assert_eq!(told(&mut catalog, json!({})), 1);
        assert_eq!(news(&mut catalog, None), None);
    }

    #[test]
    fn after_a_start_nothing_is_told_that_the_pool_shows() {
        let mut catalog = Catalog::default();
        let labelled = |name| {
            serde_json::from_value::<ObjectMeta>(
                json!({"name": name, "namespace": "team", "uid": name, "labels": {"weir.dev/pool": "a"}}),
            )
        };
        for name in ["web", "new"] {
            assert_eq!(catalog.labelled(MakerKind::Deployment, &labelled(name).unwrap()).len(), 1);
        }
        let pool = json!({"apiVersion": "weir.dev/v1alpha1", "kind": "ResourcePool",
            "metadata": {"name": "a", "uid": "a"}, "spec": {},
            "status": {"adopted": [{"kind": "Deployment", "namespace": "team", "name": "web"}]}});
        assert!(!catalog.pool(&Ok(serde_json::from_value(pool).unwrap())).is_empty());
        catalog.labels_shown();
        let news = |name| {
            let maker = named(MakerKind::Deployment, Some("team"), Some(name));
            catalog.news_of_label(&maker, |_| None).map(|news| news.reason)
        };
        assert_eq!((news("web"), news("new")), (None, Some(Reason::Adopted)));
    }
}
