//! What a pod asks of its node: the effective request, as Kubernetes computes it (KEP-753, KEP-2837).
//!
//! Containers and sidecars run together, so they add up. An init container runs alone but for the sidecars
//! that were started before it, so only the largest such moment counts. Pod-level resources stand in place of
//! that sum; the overhead of the runtime comes on top. After a resize in place a container counts with the
//! larger of what its spec asks for and what the node has set aside for it.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Notes;
use super::amounts::Exact;
use crate::api::pruned::{Container, ContainerStatus, PodSpec, PodStatus};
use crate::model::amount::Amount;
use crate::model::spec::{HostPort, NamedAmounts};

/// Effective requests of a pod, with `pods: 1`. `of_what` names it in notes.
pub fn effective(spec: &PodSpec, status: &PodStatus, of_what: &str, notes: &mut Notes) -> NamedAmounts {
    let mut total = of_containers(spec, status, of_what, notes);
    let pod_limits = Exact::read(&spec.resources.limits, of_what, notes).only(counts_for_pods);
    let mut pod_requests = Exact::read(&spec.resources.requests, of_what, notes).only(counts_for_pods);
    // As the API server completes them: with limits but no request, the containers' sum, else the limit.
    if !spec.resources.limits.is_empty() {
        pod_requests.complete(&total.only(|name| counts_for_pods(name) && !name.starts_with("hugepages-")));
        pod_requests.complete(&pod_limits);
    }
    total.replace(&pod_requests);
    total.add(&Exact::read(&spec.overhead, of_what, notes));
    let mut requests = total.charged();
    requests.insert(Arc::from("pods"), Amount::new(1));
    requests
}

/// Resources that may be set for the pod as a whole.
fn counts_for_pods(resource: &str) -> bool {
    matches!(resource, "cpu" | "memory") || resource.starts_with("hugepages-")
}

fn of_containers<'a>(
    spec: &'a PodSpec,
    status: &'a PodStatus,
    of_what: &str,
    notes: &mut Notes,
) -> Exact<'a> {
    let statuses: BTreeMap<&str, &ContainerStatus> = status
        .init_container_statuses
        .iter()
        .chain(&status.container_statuses)
        .map(|status| (status.name.as_str(), status))
        .collect();
    let mut running = Exact::default();
    for container in &spec.containers {
        running.add(&of_container(container, &statuses, of_what, notes));
    }
    let mut sidecars = Exact::default();
    let mut largest_start = Exact::default();
    for container in &spec.init_containers {
        let own = of_container(container, &statuses, of_what, notes);
        if is_sidecar(container) {
            running.add(&own);
            sidecars.add(&own);
            largest_start.raise(&sidecars);
        } else {
            let mut moment = sidecars.clone();
            moment.add(&own);
            largest_start.raise(&moment);
        }
    }
    running.raise(&largest_start);
    running
}

fn of_container<'a>(
    container: &'a Container,
    statuses: &BTreeMap<&str, &'a ContainerStatus>,
    of_what: &str,
    notes: &mut Notes,
) -> Exact<'a> {
    let mut own = Exact::read(&container.resources.requests, of_what, notes);
    own.complete(&Exact::read(&container.resources.limits, of_what, notes));
    if let Some(status) = statuses.get(container.name.as_str()) {
        own.raise(&Exact::read(&status.allocated_resources, of_what, notes));
        own.raise(&Exact::read(&status.resources.requests, of_what, notes));
    }
    own
}

fn is_sidecar(init: &Container) -> bool {
    init.restart_policy.as_deref() == Some("Always")
}

/// The ports that a pod takes on its node, those of containers and sidecars, each once and in order.
pub fn host_ports(spec: &PodSpec) -> Vec<HostPort> {
    let mut ports: Vec<HostPort> = spec
        .containers
        .iter()
        .chain(spec.init_containers.iter().filter(|init| is_sidecar(init)))
        .flat_map(|container| &container.ports)
        .filter_map(|port| {
            let on_node = port.host_port.filter(|port| *port != 0);
            let number = on_node.or(spec.host_network.then_some(port.container_port))?;
            let or = |text: &Option<String>, default: &str| {
                Arc::from(text.as_deref().filter(|text| !text.is_empty()).unwrap_or(default))
            };
            Some(HostPort {
                protocol: or(&port.protocol, "TCP"),
                ip: or(&port.host_ip, "0.0.0.0"),
                port: u16::try_from(number).ok().filter(|port| *port != 0)?,
            })
        })
        .collect();
    ports.sort_unstable();
    ports.dedup();
    ports
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn requests(spec: Value, status: Value) -> Vec<(String, i64)> {
        let mut notes = Notes::new();
        let spec: PodSpec = serde_json::from_value(spec).unwrap();
        let status: PodStatus = serde_json::from_value(status).unwrap();
        let requests = effective(&spec, &status, "pod", &mut notes);
        assert!(notes.is_empty(), "{notes:?}");
        requests.into_iter().map(|(name, amount)| (name.to_string(), amount.units())).collect()
    }

    fn cpu(spec: Value) -> i64 {
        let amounts = requests(spec, json!({}));
        amounts.into_iter().find(|(name, _)| name == "cpu").map_or(0, |(_, amount)| amount)
    }

    fn asks(cpu: &str) -> Value {
        json!({"resources": {"requests": {"cpu": cpu}}})
    }

    fn sidecar(cpu: &str) -> Value {
        json!({"restartPolicy": "Always", "resources": {"requests": {"cpu": cpu}}})
    }

    #[test]
    fn containers_add_up_and_init_containers_count_by_their_largest_moment() {
        for (case, containers, inits, expected) in [
            ("containers add up", vec![asks("1"), asks("500m")], vec![], 1500),
            ("a smaller init container is free", vec![asks("1")], vec![asks("700m")], 1000),
            ("a larger one counts alone", vec![asks("1")], vec![asks("3"), asks("2")], 3000),
            ("sidecars add to containers", vec![asks("1")], vec![sidecar("200m")], 1200),
            ("a sidecar adds to later inits", vec![asks("1")], vec![sidecar("2"), asks("3")], 5000),
            ("but not to earlier ones", vec![asks("1")], vec![asks("3"), sidecar("2")], 3000),
            (
                "all sidecars start before the last init",
                vec![asks("1")],
                vec![sidecar("1"), asks("2"), sidecar("1"), asks("4")],
                6000,
            ),
            ("nothing asked is nothing", vec![json!({})], vec![], 0),
        ] {
            assert_eq!(cpu(json!({"containers": containers, "initContainers": inits})), expected, "{case}");
        }
    }

    #[test]
    fn requests_come_from_limits_where_they_are_absent() {
        let amounts = requests(
            json!({"containers": [{"resources": {
                "requests": {"cpu": "0.1"},
                "limits": {"cpu": 2, "memory": "1Gi", "nvidia.com/gpu": 1},
            }}]}),
            json!({}),
        );
        let expected = [("cpu", 100), ("memory", 1 << 30), ("nvidia.com/gpu", 1), ("pods", 1)];
        assert_eq!(amounts, expected.map(|(name, amount)| (name.to_owned(), amount)));
    }

    #[test]
    fn the_pod_level_stands_in_place_of_the_sum() {
        let containers = json!([asks("1"), asks("1")]);
        for (case, pod, expected) in [
            ("its request counts", json!({"requests": {"cpu": "5"}}), 5000),
            ("a limit alone is completed by the sum", json!({"limits": {"cpu": "7"}}), 2000),
            ("other resources leave the sum", json!({"requests": {"memory": "1Gi"}}), 2000),
        ] {
            assert_eq!(cpu(json!({"containers": containers, "resources": pod})), expected, "{case}");
        }
        let alone = json!({"containers": [{}], "resources": {"limits": {"cpu": "7"}}});
        assert_eq!(cpu(alone), 7000, "a limit counts where no container asks");
    }

    #[test]
    fn the_overhead_comes_on_top() {
        let spec =
            json!({"containers": [asks("1")], "initContainers": [asks("3")], "overhead": {"cpu": "250m"}});
        assert_eq!(cpu(spec), 3250);
    }

    #[test]
    fn after_a_resize_the_larger_counts() {
        let spec = json!({"containers": [{"name": "a", "resources": {"requests": {"cpu": "1"}}}]});
        for (case, allocated, expected) in [("shrinking", "2", 2000), ("growing", "500m", 1000)] {
            let status =
                json!({"containerStatuses": [{"name": "a", "allocatedResources": {"cpu": allocated}}]});
            assert_eq!(requests(spec.clone(), status)[0], ("cpu".to_owned(), expected), "{case}");
        }
    }

    #[test]
    fn ports_on_the_node_are_found() {
        let spec: PodSpec = serde_json::from_value(json!({
            "containers": [{"ports": [
                {"containerPort": 80},
                {"containerPort": 81, "hostPort": 8081},
                {"containerPort": 81, "hostPort": 8081},
                {"containerPort": 53, "hostPort": 53, "protocol": "UDP", "hostIP": "10.0.0.1"},
            ]}],
            "initContainers": [{"ports": [{"containerPort": 1, "hostPort": 1}]}],
        }))
        .unwrap();
        let port =
            |protocol: &str, ip: &str, port| HostPort { protocol: protocol.into(), ip: ip.into(), port };
        assert_eq!(host_ports(&spec), [port("TCP", "0.0.0.0", 8081), port("UDP", "10.0.0.1", 53)]);
        let on_host = PodSpec { host_network: true, ..spec };
        assert!(host_ports(&on_host).contains(&port("TCP", "0.0.0.0", 80)), "hostNetwork takes every port");
    }
}
