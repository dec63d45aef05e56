//! Creating the pod of a member. Its name is a function of the workload, so a create may be repeated: a pod of
//! that name and of the same owner is the one that was asked for.

use std::sync::Arc;

use axum::http::{Method, Request};
use k8s_openapi::api::core::v1::Pod;
use kube::Resource as _;
use tokio::time::sleep;
use tracing::debug;

use super::answer::{Answer, Child};
use super::call::{JSON, Outcome, Written, WrittenMeta, request};
use super::writer::Hand;
use crate::api::PooledWorkload;
use crate::model::delta::Delta;
use crate::model::spec::MemberRef;

/// After that many tries without a clear answer the pod is looked for: if it is not there, and the API server
/// does answer, then it is something behind it (a webhook) that fails, and the workload shall say so.
const PATIENCE: u32 = 7;

/// The pod of one member, to be made.
pub struct Create<'a> {
    /// Which member.
    pub member: &'a MemberRef,
    /// Namespace of the pod.
    pub namespace: &'a Arc<str>,
    /// The pod.
    pub pod: &'a Pod,
}

/// What the name of a member's object holds.
pub enum Look {
    /// That object, with this UID.
    Ours(Arc<str>),
    /// Nothing.
    Nothing,
    /// One that will be gone soon.
    Leaving,
    /// One of somebody else.
    Foreign,
    /// It cannot be told at present.
    Unclear,
    /// This process may not ask any more.
    NotLeading,
}

impl Create<'_> {
    fn name(&self) -> &str {
        self.pod.metadata.name.as_deref().unwrap_or_default()
    }

    /// Creates the pod; whether it is there, and what to tell.
    pub async fn carry_out(&self, hand: &Hand<'_>) -> (bool, Answer) {
        let pauses = hand.pauses();
        let mut failures = 0_u32;
        loop {
            let request = match self.request() {
                Ok(request) => request,
                Err(error) => return self.refused(&error, false),
            };
            let (wait, words) = match hand.call("create_pod", request).await {
                Outcome::Done(body) => match serde_json::from_slice::<Written>(&body) {
                    Ok(Written { metadata }) => return self.created(metadata.uid.into()),
                    Err(error) => (pauses.after(failures), error.to_string()),
                },
                Outcome::Conflict(status) if status.reason == "AlreadyExists" => {
                    match self.look(hand).await {
                        Look::Ours(uid) => return self.created(uid),
                        Look::Foreign => return self.refused(&status.message, true),
                        Look::NotLeading => return self.unknown(),
                        Look::Nothing | Look::Leaving | Look::Unclear => {
                            (pauses.after(failures), status.message)
                        }
                    }
                }
                // Another writer changed what admission counts in (a ResourceQuota): ask again.
                Outcome::Conflict(status) => (pauses.after(failures), status.message),
                Outcome::Later(after, words) => (after.unwrap_or_else(|| pauses.after(failures)), words),
                Outcome::Unclear(words) if failures >= PATIENCE => match self.look(hand).await {
                    Look::Ours(uid) => return self.created(uid),
                    Look::Nothing => return self.refused(&words, false),
                    Look::Foreign => return self.refused(&words, true),
                    Look::NotLeading => return self.unknown(),
                    Look::Leaving | Look::Unclear => (pauses.after(failures), words),
                },
                Outcome::Unclear(words) => (pauses.after(failures), words),
                Outcome::Refused(_, words) | Outcome::Missing(words) => return self.refused(&words, false),
                Outcome::NotLeading => return self.unknown(),
            };
            debug!(namespace = %self.namespace, pod = self.name(), failures, %words, "the create is tried again");
            if hand.overtaken_within(sleep(wait)).await {
                return self.unknown();
            }
            failures = failures.saturating_add(1);
        }
    }

    fn request(&self) -> Result<Request<Vec<u8>>, String> {
        let path = format!("/api/v1/namespaces/{}/pods?fieldManager=weir", self.namespace);
        let body = serde_json::to_vec(self.pod).map_err(|error| error.to_string())?;
        request(Method::POST, &path, JSON, body)
    }

    async fn look(&self, hand: &Hand<'_>) -> Look {
        match find(hand, "read_pod", &pod_path(self.namespace, self.name())).await {
            Err(look) => look,
            Ok(None) => Look::Nothing,
            Ok(Some(pod)) if pod.owner_references.iter().any(|owner| *owner.uid == *self.member.workload) => {
                Look::Ours(pod.uid.into())
            }
            Ok(Some(pod)) => whose(hand, self.namespace, pod).await,
        }
    }

    fn created(&self, pod: Arc<str>) -> (bool, Answer) {
        (true, Answer::Member(Delta::MemberCreated { member: self.member.clone(), pod }))
    }

    fn refused(&self, message: &str, name_taken: bool) -> (bool, Answer) {
        let member = self.member.clone();
        (false, Answer::Member(Delta::MemberRefused { member, message: message.into(), name_taken }))
    }

    fn unknown(&self) -> (bool, Answer) {
        let (member, namespace, child) =
            (self.member.clone(), self.namespace.clone(), Child::pod(self.name()));
        (false, Answer::Unknown { member, namespace, child })
    }
}

/// Whether an object that is not of this workload will be gone soon: it is being deleted, or its owner is a workload (of
/// the same name, before this one) that is gone or going.
pub async fn whose(hand: &Hand<'_>, namespace: &str, there: WrittenMeta) -> Look {
    if there.deletion_timestamp.is_some() {
        return Look::Leaving;
    }
    let kind = PooledWorkload::kind(&());
    let Some(owner) = there.owner_references.into_iter().find(|owner| owner.kind == kind) else {
        return Look::Foreign;
    };
    let path = format!("{}/{}", PooledWorkload::url_path(&(), Some(namespace)), owner.name);
    match find(hand, "read_workload", &path).await {
        Err(look) => look,
        Ok(Some(there)) if there.uid == owner.uid && there.deletion_timestamp.is_none() => Look::Foreign,
        Ok(_) => Look::Leaving,
    }
}

async fn find(hand: &Hand<'_>, kind: &'static str, path: &str) -> Result<Option<WrittenMeta>, Look> {
    read(hand, kind, path).await.map_err(|outcome| match outcome {
        Outcome::NotLeading => Look::NotLeading,
        _ => Look::Unclear,
    })
}

/// Where a pod is.
pub fn pod_path(namespace: &str, name: &str) -> String {
    format!("/api/v1/namespaces/{namespace}/pods/{name}")
}

/// The metadata of an object, none if it is not there.
///
/// # Errors
/// Any other outcome.
pub async fn read(hand: &Hand<'_>, kind: &'static str, path: &str) -> Result<Option<WrittenMeta>, Outcome> {
    let request = request(Method::GET, path, JSON, Vec::new()).map_err(Outcome::Unclear)?;
    match hand.call(kind, request).await {
        Outcome::Done(body) => match serde_json::from_slice::<Written>(&body) {
            Ok(Written { metadata }) => Ok(Some(metadata)),
            Err(error) => Err(Outcome::Unclear(error.to_string())),
        },
        Outcome::Missing(_) => Ok(None),
        other => Err(other),
    }
}
