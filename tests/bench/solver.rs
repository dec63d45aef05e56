//! How near the best answers of `Optimal` come where each node is looked at by itself: a few nodes, many classes, gangs.
//! `cargo bench --no-default-features --features solver --bench solver`, and once more with `--features highs`, tells whether
//! `HiGHS` is worth its build; see `docs/optimal.md`. `-- --seconds 2` sets the time of each batch.

use std::process::ExitCode;
use std::time::Instant;

use weir::model::batch::{Class, Node, Problem, WHOLE};
use weir::model::time::Span;
use weir::optimise::solve;
use weir::simulate::random::Random;

const BATCHES: u64 = 12;
const GIB: i64 = 1 << 30;

fn below(random: &mut Random, end: u64) -> i64 {
    i64::try_from(random.next() % end).unwrap_or(0)
}

/// Nodes of 8 to 64 cores, some with GPUs; classes that ask for about twice as much as there is.
fn batch(number: u64, seconds: i64) -> Problem {
    let mut random = Random::new(0x5eed + number);
    let nodes = 4 + below(&mut random, 9);
    let classes = 10 + below(&mut random, 51);
    let mut turn = 0;
    let mut classes: Vec<Class> = (0..classes)
        .map(|_| {
            let members = [1, 1, 1, 2, 3, 4][usize::try_from(below(&mut random, 6)).unwrap_or(0)];
            let cores = 1 + below(&mut random, 12);
            let gpus = if below(&mut random, 3) == 0 { 1 + below(&mut random, 4) } else { 0 };
            let ask = vec![cores * 1_000, (1 + below(&mut random, 48)) * GIB, gpus];
            let jobs = (0..=below(&mut random, 4)).map(|_| {
                turn += 1;
                (turn, format!("job-{turn}").into())
            });
            Class { members, ask, value: 0, jobs: jobs.collect() }
        })
        .collect();
    let nodes: Vec<Node> = (0..nodes)
        .map(|at| {
            let cores = 8 << below(&mut random, 4);
            let gpus = [0, 0, 4, 8][usize::try_from(below(&mut random, 4)).unwrap_or(0)];
            let room = vec![cores * 1_000, cores * 4 * GIB, gpus];
            let suits = vec![true; classes.len()].into();
            Node { name: format!("node-{at:02}").into(), offered: room.clone(), room, idle: true, suits }
        })
        .collect();
    let offered = |resource: usize| nodes.iter().map(|node| node.offered[resource]).sum::<i64>().max(1);
    let offered = [offered(0), offered(1), offered(2)];
    for class in &mut classes {
        let share =
            |(ask, offered): (&i64, &i64)| i128::from(*ask) * i128::from(WHOLE) / i128::from(*offered);
        let shares: i128 = class.ask.iter().zip(&offered).map(share).sum();
        class.value = i64::try_from(shares * i128::from(class.members) / 3).unwrap_or(0) + WHOLE / 1_000;
    }
    Problem {
        pool: "bench".into(),
        number,
        time_limit: Span::seconds(seconds),
        quota: vec![None; offered.len()],
        balanced: vec![0, 1, 2],
        opening: WHOLE / 10_000,
        classes,
        nodes,
    }
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().collect();
    let after = words.iter().position(|word| word == "--seconds").and_then(|at| words.get(at + 1));
    let seconds = after.and_then(|word| word.parse().ok()).unwrap_or(10);
    println!("batch  nodes  classes  Balanced   answer    bound    gap %  seconds  end");
    let mut reached = 0.0;
    for number in 1..=BATCHES {
        let problem = batch(number, seconds);
        let began = Instant::now();
        let answer = solve(&problem);
        let took = began.elapsed().as_secs_f64();
        let figures = answer.figures;
        #[allow(clippy::cast_precision_loss, reason = "parts of a thousand millionth")]
        let share = |value: i64| value as f64 / WHOLE as f64;
        let (value, bound) = (share(figures.value), figures.bound.map_or(f64::NAN, share));
        reached += value / bound / f64::from(u32::try_from(BATCHES).unwrap_or(1));
        println!(
            "{number:5}  {:5}  {:7}  {:8.5}  {value:7.5}  {bound:7.5}  {:7.2}  {took:7.2}  {:?}",
            problem.nodes.len(),
            problem.classes.len(),
            share(figures.balanced),
            100.0 * (1.0 - value / bound),
            figures.end,
        );
    }
    println!("in the mean {:.2} % of the bound", 100.0 * reached);
    ExitCode::SUCCESS
}
