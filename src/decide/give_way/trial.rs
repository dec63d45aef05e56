//! Trials: taking members out of the world and putting them back, to see what would fit without them.

use crate::model::ids::{NodeId, PeerId, PoolId, WorkloadId};
use crate::model::peers::Part;
use crate::model::pools::Use;
use crate::model::resources::Amounts;
use crate::model::spec::HostPort;
use crate::model::workloads::Slot;
use crate::model::world::{World, remove_ports};

/// What members of one workload take, so that they can be lifted out of the world and put back.
#[derive(Debug)]
pub struct Lifted {
    /// Whose.
    pub workload: WorkloadId,
    pool: PoolId,
    charge: Amounts,
    loads: Vec<Load>,
    /// It is the whole workload, and not one member of it.
    whole: bool,
}

/// What one member takes of a node.
#[derive(Debug)]
struct Load {
    node: NodeId,
    requests: Amounts,
    ports: Vec<HostPort>,
    peer: Option<PeerId>,
}

/// Which members are lifted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// All with an index below this one: those above are lifted already.
    Below(u32),
    /// That one.
    One(u32),
}

/// Lifts members of an admitted workload out of the world, save for those that are leaving anyway: they are
/// reckoned as gone by whoever looks ahead.
pub fn lift(world: &mut World, id: WorkloadId, which: Which) -> Option<Lifted> {
    let workload = world.workload(id)?;
    let pool = workload.pool?;
    let (requests, on_node) = (world.requests(workload), world.loads(workload));
    let ports = workload
        .shape
        .and_then(|shape| world.shapes.get(shape))
        .map(|shape| shape.spec.host_ports.clone())
        .unwrap_or_default();
    let mut charge = Amounts::new();
    let mut loads = Vec::new();
    for (index, member) in (0_u32..).zip(&workload.members) {
        let meant = match which {
            Which::Below(most) => index < most,
            Which::One(one) => index == one,
        };
        if !meant || member.terminating || workload.sheds(index) {
            continue;
        }
        if member.slot.charged() {
            charge.add(&World::charge_of(workload, index, member, &requests));
        }
        match member.slot {
            Slot::Assumed(node) => loads.push(Load {
                node,
                requests: on_node.clone(),
                ports: ports.clone(),
                peer: workload.peer,
            }),
            Slot::Live => {
                let pod = member.pod.as_ref().and_then(|uid| world.pods.get(uid));
                if let Some((pod, node)) = pod.and_then(|pod| Some((pod, pod.node?))) {
                    loads.push(Load {
                        node,
                        requests: pod.requests.clone(),
                        ports: pod.ports.clone(),
                        peer: Some(pod.peer),
                    });
                }
            }
            Slot::Unplaced | Slot::Backoff(_) | Slot::Succeeded | Slot::Failed => {}
        }
    }
    let whole = matches!(which, Which::Below(_));
    let lifted = Lifted { workload: id, pool, charge, loads, whole };
    weigh(world, &lifted, false);
    Some(lifted)
}

/// Undoes [`lift`].
pub fn put_back(world: &mut World, lifted: &Lifted) {
    weigh(world, lifted, true);
}

/// Undoes [`put_back`].
pub fn lift_again(world: &mut World, lifted: &Lifted) {
    weigh(world, lifted, false);
}

fn weigh(world: &mut World, lifted: &Lifted, add: bool) {
    let workload = world.workload(lifted.workload);
    let namespace = workload.map(|workload| workload.spec.namespace.clone());
    let firm = workload.is_some_and(|workload| !workload.spec.preemptible);
    let charge = |sum: &mut Use| {
        for used in [Some(&mut sum.used), firm.then_some(&mut sum.firm)].into_iter().flatten() {
            if add {
                used.add(&lifted.charge);
            } else {
                used.take(&lifted.charge);
            }
        }
        if !lifted.whole {
            return;
        }
        // A victim makes room among those that run, too.
        sum.running = if add { sum.running + 1 } else { sum.running.saturating_sub(1) };
        if let Some(namespace) = &namespace {
            let here = sum.running_in.entry(namespace.clone()).or_default();
            *here = if add { *here + 1 } else { here.saturating_sub(1) };
            if *here == 0 {
                sum.running_in.remove(namespace);
            }
        }
    };
    world.change_use(lifted.pool, charge);
    for Load { node, requests: load, ports, peer } in &lifted.loads {
        if let Some(peer) = peer {
            world.peers.shift(*peer, *node, Part::All, add);
        }
        world.change_node(*node, |node| {
            if add {
                node.load.add(load);
                node.member_load.add(load);
                node.ports.extend(ports.iter().cloned());
            } else {
                node.load.take(load);
                node.member_load.take(load);
                remove_ports(&mut node.ports, ports);
            }
        });
    }
}

/// Runs a trial that leaves no trace: what it does is undone by itself, and must not look like room that has
/// grown.
pub fn without_trace<T>(world: &mut World, trial: impl FnOnce(&mut World) -> T) -> T {
    let (growth, changed, regrant) = (world.growth, world.changed_pools.clone(), world.regrant);
    let turned = world.peers.turned.clone();
    let upheavals = world.upheavals;
    world.trials += 1;
    let result = trial(world);
    world.trials -= 1;
    world.upheavals = upheavals;
    world.growth = growth;
    world.changed_pools = changed;
    world.regrant = regrant;
    world.peers.turned = turned;
    result
}

/// The least number of `steps` that must be taken, in their order, until `fits` says yes; none if all of them
/// are not enough. `to` brings the world to where so many of them are taken.
///
/// What fits with some steps taken fits with more, so that few numbers are looked at: doubled until it fits,
/// then halved between.
pub fn least_prefix<T>(
    world: &mut World,
    steps: usize,
    mut to: impl FnMut(&mut World, usize),
    mut fits: impl FnMut(&mut World) -> Option<T>,
) -> Option<(usize, T)> {
    let (mut below, mut at) = (None, 0);
    let mut found = loop {
        to(world, at);
        if let Some(result) = fits(world) {
            break (at, result);
        }
        if at >= steps {
            return None;
        }
        below = Some(at);
        at = (at * 2).max(1).min(steps);
    };
    while let Some(least) = below.filter(|below| below + 1 < found.0) {
        let middle = usize::midpoint(least, found.0);
        to(world, middle);
        match fits(world) {
            Some(result) => found = (middle, result),
            None => below = Some(middle),
        }
    }
    to(world, found.0);
    Some(found)
}
