//! Writes about virtual machines. The name of a machine is a function of its member, and it keeps it from run to run:
//! what is there already is told to run again.

use std::sync::Arc;

use axum::http::{Method, Request};
use serde_json::{Value, json};
use tokio::time::sleep;
use tracing::debug;

use super::answer::{Answer, Child};
use super::call::{JSON, MERGE, Outcome, Written, WrittenMeta, request, whole};
use super::create::{self, Look, pod_path};
use super::writer::Hand;
use crate::api::kubevirt::{HALTED, InstanceMigration, VirtualMachine, VirtualMachineInstance};
use crate::api::labels;
use crate::api::pruned::{PersistentVolumeClaim, SELECTED_NODE};
use crate::model::delta::Delta;
use crate::model::spec::MemberRef;
use crate::observe::machines::run;
use crate::observe::{names, patch};
use crate::plan::machine::{MachineWrite, without_priority};
use kube::Resource as _;

/// After so many tries without a clear answer it is looked whether the API server answers at all: if so, something behind
/// it fails (a webhook), and the workload shall say so.
const PATIENCE: u32 = 7;

/// Where a machine is.
pub fn machine_path(namespace: &str, name: &str) -> String {
    format!("{}/{name}", VirtualMachine::url_path(&(), Some(namespace)))
}

/// Carries out one write; whether it went well, and what to tell.
pub async fn carry_out(write: MachineWrite, hand: &Hand<'_>) -> (bool, Option<Answer>) {
    match write {
        MachineWrite::Start { member, namespace, name, machine } => {
            let start = Start { member: &member, namespace: &namespace, name: &name, machine: &machine };
            let (done, answer) = start.carry_out(hand).await;
            (done, Some(answer))
        }
        MachineWrite::Halt { namespace, name, uid } => {
            let body = json!({"metadata": {"uid": uid}, "spec": {"runStrategy": HALTED}});
            let path = format!("{}?fieldManager=weir", machine_path(&namespace, &name));
            (insist("halt_machine", hand, || request(Method::PATCH, &path, MERGE, bytes(&body))).await, None)
        }
        MachineWrite::Delete { namespace, name, uid } => {
            (delete("delete_machine", &machine_path(&namespace, &name), &uid, hand).await, None)
        }
        MachineWrite::DeleteInstance { namespace, name, uid } => {
            let path = format!("{}/{name}", VirtualMachineInstance::url_path(&(), Some(&namespace)));
            (delete("delete_instance", &path, &uid, hand).await, None)
        }
        MachineWrite::Migrate { member, attempt, namespace, migration } => {
            migrate(member, attempt, &namespace, &migration, hand).await
        }
        MachineWrite::DeleteMigration { namespace, name, uid } => {
            let path = format!("{}/{name}", InstanceMigration::url_path(&(), Some(&namespace)));
            (delete("delete_migration", &path, &uid, hand).await, None)
        }
        MachineWrite::Settle { namespace, name, uid, node } => {
            let annotations = json!({labels::NODE: node});
            let template = json!({"metadata": {"annotations": annotations}});
            let body = json!({"metadata": {"uid": uid}, "spec": {"template": template}});
            let path = format!("{}?fieldManager=weir", machine_path(&namespace, &name));
            (
                insist("settle_machine", hand, || request(Method::PATCH, &path, MERGE, bytes(&body))).await,
                None,
            )
        }
        MachineWrite::SelectNode { namespace, claim, node } => {
            let body = json!({"metadata": {"annotations": {SELECTED_NODE: node}}});
            let path = PersistentVolumeClaim::url_path(&(), Some(&namespace));
            let path = format!("{path}/{claim}?fieldManager=weir");
            (insist("select_node", hand, || request(Method::PATCH, &path, MERGE, bytes(&body))).await, None)
        }
        MachineWrite::Bind { namespace, name, uid, node } => {
            let body = json!({
                "apiVersion": "v1", "kind": "Binding",
                "metadata": {"name": name, "namespace": namespace, "uid": uid},
                "target": {"apiVersion": "v1", "kind": "Node", "name": node},
            });
            let path = format!("{}/binding?fieldManager=weir", pod_path(&namespace, &name));
            (insist("bind_pod", hand, || request(Method::POST, &path, JSON, bytes(&body))).await, None)
        }
        MachineWrite::Check { workload, generation, namespace, machine } => {
            let answer = check(&namespace, &machine, hand).await;
            (true, answer.map(|answer| Answer::Checked { workload, generation, answer }))
        }
    }
}

fn bytes(body: &Value) -> Vec<u8> {
    body.to_string().into_bytes()
}

async fn delete(kind: &'static str, path: &str, uid: &str, hand: &Hand<'_>) -> bool {
    let body = json!({
        "apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": uid}, "propagationPolicy": "Background",
    });
    insist(kind, hand, || request(Method::DELETE, path, JSON, bytes(&body))).await
}

/// Asks until there is a clear answer. What is not there, or is another object by now, needs nothing more.
async fn insist(
    kind: &'static str,
    hand: &Hand<'_>,
    request: impl Fn() -> Result<Request<Vec<u8>>, String>,
) -> bool {
    let mut failures = 0_u32;
    loop {
        let Ok(request) = request() else { return false };
        let wait = match hand.call(kind, request).await {
            // KubeVirt writes the same objects all the time.
            Outcome::Conflict(status) if status.message.contains("the object has been modified") => {
                hand.pauses().after(failures)
            }
            Outcome::Done(_) | Outcome::Missing(_) | Outcome::Conflict(_) => return true,
            Outcome::Refused(..) | Outcome::NotLeading => return false,
            Outcome::Later(after, _) => after.unwrap_or_else(|| hand.pauses().after(failures)),
            Outcome::Unclear(_) => hand.pauses().after(failures),
        };
        sleep(wait).await;
        failures = failures.saturating_add(1);
    }
}

/// Creates a migration. One of its name is the same one, created before.
async fn migrate(
    member: MemberRef,
    attempt: u32,
    namespace: &str,
    migration: &Value,
    hand: &Hand<'_>,
) -> (bool, Option<Answer>) {
    let path = format!("{}?fieldManager=weir", InstanceMigration::url_path(&(), Some(namespace)));
    let mut migration = migration.clone();
    let mut failures = 0_u32;
    loop {
        let outcome = match request(Method::POST, &path, JSON, bytes(&migration)) {
            Ok(request) => hand.call("create_migration", request).await,
            Err(words) => Outcome::Unclear(words),
        };
        if matches!(outcome, Outcome::Refused(..)) && without_priority(&mut migration) {
            continue;
        }
        let words = match &outcome {
            Outcome::Missing(words)
            | Outcome::Later(_, words)
            | Outcome::Refused(_, words)
            | Outcome::Unclear(words) => words.clone(),
            Outcome::Conflict(status) => status.message.clone(),
            Outcome::Done(_) | Outcome::NotLeading => String::new(),
        };
        let wait = match outcome {
            Outcome::Done(_) => return (true, None),
            Outcome::Conflict(status) if status.reason == "AlreadyExists" => return (true, None),
            Outcome::NotLeading => return (false, None),
            Outcome::Later(after, _) if failures < PATIENCE => {
                after.unwrap_or_else(|| hand.pauses().after(failures))
            }
            Outcome::Unclear(_) if failures < PATIENCE => hand.pauses().after(failures),
            // It is tried again as another one, after a pause; if this was created after all, it is seen.
            Outcome::Conflict(_)
            | Outcome::Refused(..)
            | Outcome::Missing(_)
            | Outcome::Later(..)
            | Outcome::Unclear(_) => {
                debug!(%namespace, workload = %member.workload, index = member.index, "a migration is not created");
                let message = words.into();
                return (false, Some(Answer::Member(Delta::MoveRefused { member, attempt, message })));
            }
        };
        sleep(wait).await;
        failures = failures.saturating_add(1);
    }
}

/// What `KubeVirt` says of a machine; none if this process may not ask any more.
async fn check(namespace: &str, machine: &Value, hand: &Hand<'_>) -> Option<Option<Result<(), Arc<str>>>> {
    let path = format!("{}?dryRun=All&fieldManager=weir", VirtualMachine::url_path(&(), Some(namespace)));
    let request = request(Method::POST, &path, JSON, bytes(machine)).ok()?;
    Some(match hand.call("check_machine", request).await {
        // A quota is spent, or a right is missing: that is nothing of the template, and is told when it is created.
        Outcome::Done(_) | Outcome::Refused(403, _) => Some(Ok(())),
        Outcome::Refused(_, words) => Some(Err(words.into())),
        // KubeVirt is not there (any more), or cannot be asked at present.
        Outcome::Missing(_) | Outcome::Conflict(_) | Outcome::Later(..) | Outcome::Unclear(_) => None,
        Outcome::NotLeading => return None,
    })
}

/// The machine of one member, to be made or told to run again.
struct Start<'a> {
    member: &'a MemberRef,
    namespace: &'a Arc<str>,
    name: &'a Arc<str>,
    machine: &'a Value,
}

impl Start<'_> {
    async fn carry_out(&self, hand: &Hand<'_>) -> (bool, Answer) {
        let pauses = hand.pauses();
        let mut failures = 0_u32;
        loop {
            let outcome = match self.create() {
                Ok(request) => hand.call("create_machine", request).await,
                Err(error) => return self.refused(&error, false),
            };
            let outcome = match outcome {
                Outcome::Conflict(status) if status.reason == "AlreadyExists" => {
                    match self.run_again(hand).await {
                        Ok(outcome) => outcome,
                        Err(Look::Foreign) => return self.refused(&status.message, true),
                        Err(Look::NotLeading) => return self.unknown(),
                        Err(Look::Ours(_) | Look::Nothing | Look::Leaving | Look::Unclear) => {
                            Outcome::Conflict(status)
                        }
                    }
                }
                other => other,
            };
            let (wait, words) = match outcome {
                Outcome::Done(body) => match serde_json::from_slice::<Written>(&body) {
                    Ok(Written { metadata }) => return self.started(&metadata),
                    Err(error) => (pauses.after(failures), error.to_string()),
                },
                Outcome::Conflict(status) => (pauses.after(failures), status.message.clone()),
                Outcome::Later(after, words) => (after.unwrap_or_else(|| pauses.after(failures)), words),
                Outcome::Unclear(words) if failures >= PATIENCE => match self.look(hand).await {
                    Ok(_) => return self.refused(&words, false),
                    Err(_) => (pauses.after(failures), words),
                },
                Outcome::Unclear(words) => (pauses.after(failures), words),
                Outcome::Refused(_, words) | Outcome::Missing(words) => return self.refused(&words, false),
                Outcome::NotLeading => return self.unknown(),
            };
            debug!(namespace = %self.namespace, machine = %self.name, failures, %words, "the machine is started again");
            if hand.overtaken_within(sleep(wait)).await {
                return self.unknown();
            }
            failures = failures.saturating_add(1);
        }
    }

    fn create(&self) -> Result<Request<Vec<u8>>, String> {
        let path = format!("{}?fieldManager=weir", VirtualMachine::url_path(&(), Some(self.namespace)));
        request(Method::POST, &path, JSON, bytes(self.machine))
    }

    async fn look(&self, hand: &Hand<'_>) -> Result<Option<Value>, Look> {
        match hand
            .call(
                "read_machine",
                whole(Method::GET, &machine_path(self.namespace, self.name), JSON, Vec::new())
                    .map_err(|_| Look::Unclear)?,
            )
            .await
        {
            Outcome::Done(body) => serde_json::from_slice(&body).map(Some).map_err(|_| Look::Unclear),
            Outcome::Missing(_) => Ok(None),
            Outcome::NotLeading => Err(Look::NotLeading),
            _ => Err(Look::Unclear),
        }
    }

    /// Tells a machine that is there to run: changes what the template changed since it was last written, and leaves alone
    /// what others have set.
    async fn run_again(&self, hand: &Hand<'_>) -> Result<Outcome, Look> {
        let Some(there) = self.look(hand).await? else { return Err(Look::Nothing) };
        let metadata =
            serde_json::from_value::<WrittenMeta>(there["metadata"].clone()).map_err(|_| Look::Unclear)?;
        if !metadata.owner_references.iter().any(|owner| *owner.uid == *self.member.workload) {
            return Err(create::whose(hand, self.namespace, metadata).await);
        }
        if metadata.deletion_timestamp.is_some() {
            return Err(Look::Leaving);
        }
        let body = again(&there, self.machine);
        let path = format!("{}?fieldManager=weir", machine_path(self.namespace, self.name));
        let request = request(Method::PATCH, &path, MERGE, bytes(&body)).map_err(|_| Look::Unclear)?;
        Ok(hand.call("start_machine", request).await)
    }

    fn started(&self, metadata: &WrittenMeta) -> (bool, Answer) {
        let pod = run(&metadata.uid, self.member.attempt);
        (true, Answer::Member(Delta::MemberCreated { member: self.member.clone(), pod }))
    }

    fn refused(&self, message: &str, name_taken: bool) -> (bool, Answer) {
        let member = self.member.clone();
        (false, Answer::Member(Delta::MemberRefused { member, message: message.into(), name_taken }))
    }

    fn unknown(&self) -> (bool, Answer) {
        let child = Child::Machine(Arc::clone(self.name));
        (false, Answer::Unknown { member: self.member.clone(), namespace: self.namespace.clone(), child })
    }
}

/// The merge patch that lets a machine that is there run as `wanted`.
pub fn again(there: &Value, wanted: &Value) -> Value {
    let applied = there["metadata"]["annotations"][labels::APPLIED].as_str();
    let applied = applied.and_then(|text| serde_json::from_str::<Value>(text).ok());
    let changed = applied.and_then(|applied| patch::between(&applied, &wanted["spec"]));
    let mut spec = changed.unwrap_or_else(|| wanted["spec"].clone());
    spec["runStrategy"] = wanted["spec"]["runStrategy"].clone();
    let template = &wanted["spec"]["template"]["metadata"];
    for (field, key) in [("labels", labels::ATTEMPT), ("labels", labels::POOL), ("annotations", labels::NODE)]
    {
        spec["template"]["metadata"][field][key] = template[field][key].clone();
    }
    let (labels, annotations) = (&wanted["metadata"]["labels"], &wanted["metadata"]["annotations"]);
    json!({
        "metadata": {
            "uid": there["metadata"]["uid"], "resourceVersion": there["metadata"]["resourceVersion"],
            "labels": labels, "annotations": annotations,
        },
        "spec": spec,
    })
}

/// Looks whether a machine runs what its member was told to run.
pub async fn look(hand: &Hand<'_>, member: MemberRef, namespace: Arc<str>, name: Arc<str>) -> Option<Answer> {
    let start = Start { member: &member, namespace: &namespace, name: &name, machine: &Value::Null };
    Some(match start.look(hand).await {
        Ok(there) => Answer::Member(match there.as_ref().and_then(|there| runs(there, &member)) {
            Some(pod) => Delta::MemberCreated { member, pod },
            None => Delta::MemberVanished(member),
        }),
        Err(Look::NotLeading) => return None,
        Err(_) => Answer::Unknown {
            member: member.clone(),
            namespace: namespace.clone(),
            child: Child::Machine(name),
        },
    })
}

fn runs(there: &Value, member: &MemberRef) -> Option<Arc<str>> {
    let owners = there["metadata"]["ownerReferences"].as_array()?;
    let ours = owners.iter().any(|owner| owner["uid"] == *member.workload);
    let attempt = there["spec"]["template"]["metadata"]["labels"][labels::ATTEMPT].as_str()?;
    let same = attempt == names::shown_attempt(member.attempt).to_string();
    let told = there["spec"]["runStrategy"] != HALTED;
    (ours && same && told).then(|| run(there["metadata"]["uid"].as_str().unwrap_or_default(), member.attempt))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(cores: u32, attempt: &str) -> Value {
        let spec = json!({"runStrategy": "Always", "template": {
            "metadata": {"labels": {"weir.dev/attempt": attempt, "weir.dev/pool": "p"}, "annotations": {"weir.dev/node": "n2"}},
            "spec": {"domain": {"cpu": {"cores": cores}}}}});
        json!({"metadata": {"labels": {}, "annotations": {"weir.dev/applied": spec.to_string()}}, "spec": spec})
    }

    #[test]
    fn what_others_have_set_stays_and_what_the_template_changed_is_changed() {
        let mut there = wanted(2, "1");
        there["metadata"]["uid"] = json!("u");
        there["spec"]["runStrategy"] = json!("Halted");
        there["spec"]["template"]["spec"]["domain"]["firmware"] = json!({"uuid": "kept"});
        let run = json!({"runStrategy": "Always", "template": {"metadata": {
            "labels": {"weir.dev/attempt": "2", "weir.dev/pool": "p"}, "annotations": {"weir.dev/node": "n2"}}}});
        assert_eq!(again(&there, &wanted(2, "2"))["spec"], run);
        let mut changed = run;
        changed["template"]["spec"] = json!({"domain": {"cpu": {"cores": 4}}});
        assert_eq!(again(&there, &wanted(4, "2"))["spec"], changed);
    }
}
