//! Requests for which the operator lacks the right: what is missing and what comes of it is said as for kinds that it may
//! not see (`withheld.rs`), once, and what had been put off is done when the right is there.

use tokio::time::Instant;
use tracing::{info, warn};

use super::ledger;
use super::term::Term;
use super::withheld::RIGHTS;
use crate::apply::rights::Lack;
use crate::model::delta::Delta;
use crate::model::time::Time;
use crate::plan::event;

/// The request of events, which cannot tell of themselves.
const EVENT: &str = "event";

/// What comes of it that a request is forbidden.
pub(super) fn consequence(kind: &str) -> &'static str {
    match kind {
        ledger::LIST | ledger::READ | ledger::CREATE | ledger::WRITE => {
            "nothing is admitted, since what is about to be admitted is written into a ledger first; what runs goes on"
        }
        "create_pod" => "members are not created, and their workloads wait and are tried again",
        "read_pod" | "read_machine" => {
            "it does not find out whether a member is there whose create was not answered, and goes on asking"
        }
        "read_workload" => {
            "it does not find out whose a pod is that has the name of a member, and goes on asking"
        }
        "delete_pod" | "evict_pod" => "pods that shall go stay, and those who wait for their room wait on",
        "delete_workload" => "finished workloads stay longer than ttlAfterFinished",
        "workload_status" => {
            "the status of workloads stays as it was, and nobody is stopped or shrunk, since the status says first why"
        }
        "pool_status" => "the status of pools stays as it was",
        "pool_finalizers" => {
            "a pool that is deleted is gone before its members are, or stays though nobody uses it"
        }
        "node_taints" => "nodes of dedicated pools are not kept from others, or not given back to them",
        "create_machine" | "start_machine" => {
            "virtual machines are not started, and their workloads wait and are tried again"
        }
        "halt_machine" | "delete_machine" | "delete_instance" => {
            "virtual machines that shall stop run on, and those who wait for their room wait on"
        }
        "bind_pod" => "the pods of virtual machines are bound to no node and wait",
        "create_migration" => "virtual machines do not move while they run",
        "delete_migration" => "moves of virtual machines that last too long are not ended",
        "settle_machine" => "virtual machines that have moved would be started on their old node",
        "check_machine" => "templates of virtual machines are not checked before they wait in a queue",
        EVENT => "events do not tell what is decided; the log and the statuses do",
        _ => "what needs it is not done",
    }
}

/// Whether nothing is decided without it.
fn is_needed(kind: &str) -> bool {
    [ledger::LIST, ledger::READ, ledger::CREATE, ledger::WRITE].contains(&kind)
}

/// What is said of it.
fn words(kind: &str, lack: &Lack) -> String {
    let Lack { missing, words, others } = lack;
    let others = match others {
        0 => String::new(),
        1 => " and in another one".to_owned(),
        more => format!(" and in {more} others"),
    };
    let so = consequence(kind);
    format!("the operator may not {missing}{others}, so {so}. The API server says: {words}. {RIGHTS}")
}

impl Term {
    /// A right is missing, or is there again.
    pub(super) fn right(&mut self, kind: &'static str, lack: Option<&Lack>, now: Time) {
        let text = lack.map(|lack| words(kind, lack));
        let news = if is_needed(kind) {
            self.told.health.problem(kind, text.clone())
        } else {
            self.told.health.note(kind, text.clone())
        };
        if !news {
            return;
        }
        let Some(text) = text else {
            info!(request = kind, "the operator may do so again");
            self.try_all_again(now);
            return;
        };
        warn!(request = kind, "{text}");
        if kind != EVENT {
            let event = event::of_operator(&self.lease, &text, &self.instance, now);
            self.writer.event(Box::new(event));
        }
    }

    /// What was put off because it was refused is tried at once.
    fn try_all_again(&mut self, now: Time) {
        let at = Instant::now();
        for (due, _) in &mut self.again {
            *due = at;
        }
        for object in self.setbacks.end_all() {
            self.look_again(&object, at);
        }
        self.tidy_at = None;
        self.apply(Delta::MayCreate, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apply::rights::Missing;

    #[test]
    fn what_is_said_names_the_right_what_comes_of_it_and_what_to_do() {
        let missing = Missing {
            verb: "create".to_owned(),
            resource: "pods/eviction".to_owned(),
            group: String::new(),
            namespace: Some("a".to_owned()),
        };
        let mut lack = Lack { missing, words: "no".to_owned(), others: 0 };
        let said = words("evict_pod", &lack);
        assert!(
            said.starts_with(
                "the operator may not create pods/eviction in the namespace a, so pods that shall go stay"
            ),
            "{said}"
        );
        assert!(
            said.contains("The API server says: no. Give the operator the rights of docs/rbac.yaml"),
            "{said}"
        );
        lack.others = 2;
        assert!(words("evict_pod", &lack).contains("in the namespace a and in 2 others, so"));
    }
}
