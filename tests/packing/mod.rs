//! What `make bench-packing` measures, on a small trace that is made up: that it measures rightly, not how much.

#[path = "../bench/packing/ground.rs"]
mod ground;
#[path = "../bench/packing/measure.rs"]
mod measure;
#[path = "../bench/packing/packers.rs"]
mod packers;
#[path = "../bench/packing/trace.rs"]
mod trace;

use trace::{Task, Trace};

const SEED: u64 = 11;

#[test]
fn a_trace_is_read_from_two_files() {
    let folder = std::env::temp_dir().join(format!("weir-trace-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("nodes.csv"), "sn,cpu_milli,memory_mib,gpu,model\nn-0,96000,393216,8,G2\n")
        .unwrap();
    let columns = "name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec,qos,pod_phase,creation_time,deletion_time,scheduled_time";
    let rows = "p-1,6000,12288,1,460,,LS,Running,427,900,427\np-0,12000,16384,2,1000,,LS,Running,0,700,0\n";
    std::fs::write(folder.join("tasks.csv"), format!("{columns}\n{rows}")).unwrap();
    let read = Trace::read(&folder).unwrap();
    assert_eq!(read.nodes.len(), 1);
    assert_eq!(read.nodes[0].offers(), [96_000, 393_216, 8]);
    let shares: Vec<([i64; 3], bool)> = read.tasks.iter().map(|task| (task.ask(), task.shares)).collect();
    assert_eq!(shares, [([12_000, 16_384, 2], false), ([6_000, 12_288, 1], true)], "in order of creation");
    std::fs::write(folder.join("tasks.csv"), format!("{columns}\np-0,many,1,1,1000,,LS,Running,0,7,0\n"))
        .unwrap();
    let problem = Trace::read(&folder).unwrap_err();
    assert!(problem.contains("line 2") && problem.contains("many"), "{problem}");
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn whoever_packs_a_full_cluster_stays_within_the_bound() {
    let trace = Trace::made_up(30, 400, SEED).inflated(150, SEED);
    let tasks: Vec<&Task> = trace.tasks.iter().collect();
    let bound = ground::bound(&trace, &tasks, |ask| ask[2]).unwrap();
    let mut gpus = std::collections::BTreeMap::new();
    for (name, make) in packers::ALL {
        let full = measure::full(&trace, &mut *make(&trace), usize::MAX).unwrap();
        assert!(full.allocated[2] <= bound, "{name}: {} of at most {bound}", full.allocated[2]);
        assert!((0.0..=1.0).contains(&full.fragmented) && full.took.as_nanos() > 0, "{name}: {full:?}");
        assert!(full.placed > 50 && full.placed < trace.tasks.len(), "{name} placed {}", full.placed);
        gpus.insert(*name, full.allocated[2]);
    }
    assert!(gpus["LeastFragmentation"] > gpus["random"], "{gpus:?}");
}

#[test]
fn every_task_is_placed_or_refused_once() {
    let (factor, trace) = Trace::made_up(50, 250, SEED).crowded(110);
    assert!(factor > 1, "the trace is crowded as it is: this test proves nothing");
    let bounds = measure::bounds(&trace);
    assert!(!bounds.is_empty());
    let mut refused = 0;
    for (name, make) in packers::ALL {
        let flow = measure::flow(&trace, &mut *make(&trace), &bounds).unwrap();
        assert_eq!(flow.at_once + flow.later + flow.refused, trace.tasks.len(), "{name}: {flow:?}");
        assert!(flow.served > 0.1 && flow.served <= 1.0 && flow.of_bound <= 1.0, "{name}: {flow:?}");
        refused += flow.refused + flow.later;
    }
    assert!(refused > 0, "nobody had to wait: this test proves nothing");
}
