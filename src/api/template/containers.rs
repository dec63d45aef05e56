//! Containers and init containers.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{Container, PodSpec, Probe};

use super::{one_of, resources, volumes};
use crate::api::field::{FieldPath, Problems};
use crate::api::labels::{ENV_INDEX, ENV_REPLICAS};
use crate::api::names::is_dns_label;

/// Checks every container of the pod.
pub(super) fn check(pod: &PodSpec, problems: &mut Problems) {
    if pod.containers.is_empty() {
        problems.add(FieldPath::of("containers"), "write at least one container, with name and image");
    }
    let mut names = BTreeSet::new();
    let mut host_ports = BTreeSet::new();
    let init = pod.init_containers.iter().flatten().map(|c| (c, "initContainers"));
    let mut positions = [0, 0];
    for (container, list) in pod.containers.iter().map(|c| (c, "containers")).chain(init) {
        let is_init = list == "initContainers";
        let position = &mut positions[usize::from(is_init)];
        let at = FieldPath::of(list).index(*position);
        *position += 1;
        if !is_dns_label(&container.name) {
            problems.add(at.key("name"), "write at most 63 lower-case letters, digits and dashes");
        } else if !names.insert(container.name.as_str()) {
            problems.add(at.key("name"), format!("{:?} is there twice: write another name", container.name));
        }
        one_container(container, &at, problems);
        if is_init {
            init_container(container, &at, problems);
        } else {
            main_container(container, &at, problems);
        }
        ports(container, pod, &at, &mut host_ports, problems);
        volumes::mounts(container, pod, &at, problems);
    }
}

fn one_container(container: &Container, at: &FieldPath, problems: &mut Problems) {
    if container.image.as_deref().is_none_or(|image| image.trim().is_empty()) {
        problems.add(at.key("image"), "write an image, such as registry.example.com/app:1");
    } else if container.image.as_deref().is_some_and(|image| image.trim() != image) {
        problems.add(at.key("image"), "leave spaces before and after it away");
    }
    let policies = ["Always", "IfNotPresent", "Never"];
    one_of(container.image_pull_policy.as_deref(), &policies, &at.key("imagePullPolicy"), problems);
    if let Some(wanted) = &container.resources {
        resources::check(wanted, &at.key("resources"), problems);
    }
    for (index, variable) in container.env.iter().flatten().enumerate() {
        let at = at.key("env").index(index).key("name");
        if variable.name.is_empty() || variable.name.contains('=') {
            problems.add(at, "write a name, without '='");
        } else if variable.name == ENV_INDEX || variable.name == ENV_REPLICAS {
            problems.add(at, format!("leave it away: Weir sets {}", variable.name));
        }
    }
    for (field, probe) in probes(container) {
        if let Some(probe) = probe {
            let handlers = [
                probe.exec.is_some(),
                probe.grpc.is_some(),
                probe.http_get.is_some(),
                probe.tcp_socket.is_some(),
            ];
            if handlers.into_iter().filter(|there| *there).count() != 1 {
                problems.add(at.key(field), "write one of exec, grpc, httpGet and tcpSocket");
            }
        }
    }
}

fn probes(container: &Container) -> [(&'static str, Option<&Probe>); 3] {
    [
        ("livenessProbe", container.liveness_probe.as_ref()),
        ("readinessProbe", container.readiness_probe.as_ref()),
        ("startupProbe", container.startup_probe.as_ref()),
    ]
}

fn main_container(container: &Container, at: &FieldPath, problems: &mut Problems) {
    if container.restart_policy.is_some() {
        problems.add(
            at.key("restartPolicy"),
            "leave it away: only init containers may have one here; that of the pod stands beside containers",
        );
    }
}

/// Only an init container that goes on running beside the others, a sidecar, may be probed.
fn init_container(container: &Container, at: &FieldPath, problems: &mut Problems) {
    one_of(container.restart_policy.as_deref(), &["Always"], &at.key("restartPolicy"), problems);
    if container.restart_policy.is_some() {
        return;
    }
    for (field, probe) in probes(container) {
        if probe.is_some() {
            problems
                .add(at.key(field), "leave it away, or set restartPolicy of this init container to Always");
        }
    }
    if container.lifecycle.is_some() {
        problems
            .add(at.key("lifecycle"), "leave it away, or set restartPolicy of this init container to Always");
    }
}

fn ports(
    container: &Container,
    pod: &PodSpec,
    at: &FieldPath,
    host_ports: &mut BTreeSet<(String, String, i32)>,
    problems: &mut Problems,
) {
    for (index, port) in container.ports.iter().flatten().enumerate() {
        let at = at.key("ports").index(index);
        let range = 1..=65_535;
        if !range.contains(&port.container_port) {
            problems.add(at.key("containerPort"), "write a port from 1 to 65535");
        }
        one_of(port.protocol.as_deref(), &["TCP", "UDP", "SCTP"], &at.key("protocol"), problems);
        let Some(host_port) = port.host_port.filter(|port| *port != 0) else { continue };
        let at = at.key("hostPort");
        let address = port.host_ip.clone().unwrap_or_default();
        let protocol = port.protocol.clone().unwrap_or_else(|| "TCP".to_owned());
        if !range.contains(&host_port) {
            problems.add(at, "write a port from 1 to 65535");
        } else if pod.host_network == Some(true) && host_port != port.container_port {
            problems.add(at, "write the same as containerPort, since hostNetwork is true");
        } else if !host_ports.insert((address, protocol, host_port)) {
            problems.add(at, format!("{host_port} is there twice: write another port"));
        }
    }
}
