//! Whether the operator's rights are just those that it needs: what the chart grants, compared with what the API server
//! wrote down of its requests.

use std::collections::BTreeSet;
use std::fmt;

use serde_json::Value;

use super::install::Stage;
use super::{NAMESPACE, good, objects, template};

/// Granted, though nothing in the test asks for it: group, resource, verb and the reason.
const NOT_SEEN_HERE: &[(&str, &str, &str, &str)] = &[
    ("weir.dev", "pooledworkloads", "get", "to find out whose a pod is that has the name of a member"),
    ("kubevirt.io", "virtualmachines", "get", "to find out whether a create that was not answered was done"),
    ("kubevirt.io", "virtualmachines", "delete", "of a machine whose workload does not want it any more"),
    ("kubevirt.io", "virtualmachineinstances", "delete", "of what is left of an earlier run of a machine"),
    (
        "kubevirt.io",
        "virtualmachineinstancemigrations",
        "create",
        "to move a machine off a node that is drained",
    ),
    ("kubevirt.io", "virtualmachineinstancemigrations", "delete", "of a migration that does not end in time"),
];

/// One permission: in every namespace, or in the operator's.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Right {
    everywhere: bool,
    group: String,
    resource: String,
    verb: String,
}

impl fmt::Debug for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { everywhere, group, resource, verb } = self;
        let place = if *everywhere { "everywhere" } else { NAMESPACE };
        write!(f, "{verb} {resource}.{group} ({place})")
    }
}

fn words(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().map(|one| one.as_str().unwrap().to_owned()).collect()
}

fn granted() -> BTreeSet<Right> {
    let mut rights = BTreeSet::new();
    for object in objects(&good(template(&["--show-only", "templates/rbac-operator.yaml"]), "helm template"))
    {
        for rule in object["rules"].as_array().into_iter().flatten() {
            assert_eq!(rule["resourceNames"], Value::Null, "names are not compared here");
            for group in words(&rule["apiGroups"]) {
                for resource in words(&rule["resources"]) {
                    for verb in words(&rule["verbs"]) {
                        let everywhere = object["kind"] == "ClusterRole";
                        rights.insert(Right {
                            everywhere,
                            group: group.clone(),
                            resource: resource.clone(),
                            verb,
                        });
                    }
                }
            }
        }
    }
    assert!(rights.iter().all(|right| right.verb != "*" && right.resource != "*"), "{rights:?}");
    rights
}

impl Stage {
    /// After all that the operator did.
    pub fn uses_what_it_may(&mut self) {
        let granted = granted();
        let log = std::fs::read_to_string(self.cluster.path("AUDIT_LOG")).unwrap();
        let user = format!("system:serviceaccount:{NAMESPACE}:weir");
        let (mut used, mut refused, mut requests) = (BTreeSet::new(), BTreeSet::new(), 0);
        // The last thing that happened to its rights is that they were taken from it.
        for line in log.lines().filter(|line| line.contains(&user)) {
            let Ok(entry) = serde_json::from_str::<Value>(line) else { continue };
            if entry["user"]["username"] != user.as_str() {
                continue;
            }
            let of = &entry["objectRef"];
            if of.is_null() {
                // Everybody who is authenticated may read the schema.
                let path = entry["requestURI"].as_str().unwrap_or_default();
                assert!(path.starts_with("/openapi/v3"), "{path} is no object");
                continue;
            }
            let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let resource = match of["subresource"].as_str() {
                Some(sub) => format!("{}/{sub}", word(&of["resource"])),
                None => word(&of["resource"]),
            };
            requests += 1;
            let right = |everywhere| Right {
                everywhere,
                group: word(&of["apiGroup"]),
                resource: resource.clone(),
                verb: word(&entry["verb"]),
            };
            let at_home = of["namespace"] == NAMESPACE && granted.contains(&right(false));
            if entry["responseStatus"]["code"] == 403 {
                refused.insert((right(!at_home), word(&entry["responseStatus"]["message"])));
            } else {
                used.insert(right(!at_home));
            }
        }
        assert!(requests > 50, "only {requests} requests were written down");
        assert!(
            refused.is_empty(),
            "the operator lacks a right, or asks for what it does not need: {refused:#?}"
        );
        let beyond: Vec<&Right> = used.difference(&granted).collect();
        assert!(beyond.is_empty(), "the operator does what the chart does not grant: {beyond:?}");
        let excused: BTreeSet<Right> = NOT_SEEN_HERE
            .iter()
            .map(|(group, resource, verb, _)| Right {
                everywhere: true,
                group: (*group).to_owned(),
                resource: (*resource).to_owned(),
                verb: (*verb).to_owned(),
            })
            .collect();
        let needless: Vec<&Right> =
            granted.iter().filter(|right| !used.contains(right) && !excused.contains(right)).collect();
        assert!(needless.is_empty(), "granted and never used: {needless:?}");
        let wrong: Vec<&Right> =
            excused.iter().filter(|right| used.contains(right) || !granted.contains(right)).collect();
        assert!(wrong.is_empty(), "these are used, or not granted, and need no excuse: {wrong:?}");
        self.ok(&format!(
            "{requests} requests of the operator, none refused; of {} rights that the chart grants, {} were used",
            granted.len(),
            granted.len() - excused.len()
        ));
    }
}
