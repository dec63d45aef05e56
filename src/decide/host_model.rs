//! Machines that have the CPU of their host: where one moves to while it runs it must find what it has, which `KubeVirt` tells by
//! labels of nodes. Its controller asks the same of the node of the pod that the machine moves to.

use crate::model::ids::NodeId;
use crate::model::moves::{How, MemberId};
use crate::model::world::World;

use super::migrate;

/// Before the model that a node gives to such machines.
const HOST_MODEL: &str = "host-model-cpu.node.kubevirt.io/";
/// Before a feature that they get with it.
const REQUIRED: &str = "host-model-required-features.node.kubevirt.io/";
/// Before a model of which a node takes running machines.
const TAKES_MODEL: &str = "cpu-model-migration.node.kubevirt.io/";
/// Before a feature that a node has.
const HAS_FEATURE: &str = "cpu-feature.node.kubevirt.io/";

/// Whether a member that is on a node finds the CPU that it has on another one: all do that do not move while they run.
pub fn finds_its_cpu(world: &World, member: MemberId, from: NodeId, to: NodeId) -> bool {
    lacks(world, member, from).is_none_or(|lacks| !lacks(to))
}

/// Of what nodes a member that is on one finds the CPU that it has not; none where any will do.
pub fn lacks(world: &World, member: MemberId, from: NodeId) -> Option<impl Fn(NodeId) -> bool> {
    let (workload, slot) = world.workload(member.0).zip(world.member(member))?;
    let shape = world.shapes.get(workload.shape?)?;
    if !shape.spec.host_model || migrate::how(workload, slot) != How::Live {
        return None;
    }
    let labels = &world.node(from)?.spec.as_ref()?.labels;
    let wanted = |key: &str| {
        let model = key.strip_prefix(HOST_MODEL).map(|model| format!("{TAKES_MODEL}{model}"));
        model.or_else(|| key.strip_prefix(REQUIRED).map(|feature| format!("{HAS_FEATURE}{feature}")))
    };
    let set = labels.iter().filter(|(_, value)| ***value == *"true");
    let wanted: Vec<String> = set.filter_map(|(key, _)| wanted(key)).collect();
    if wanted.is_empty() {
        return None;
    }
    Some(move |node: NodeId| {
        let labels = world.node(node).and_then(|node| node.spec.as_ref()).map(|spec| &spec.labels);
        let has = |key: &String| {
            labels.and_then(|labels| labels.get(key.as_str())).is_some_and(|value| **value == *"true")
        };
        !wanted.iter().all(has)
    })
}
