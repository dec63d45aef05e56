//! What the pure runner decides, decided again of a dump.

use weir::decide::decision::Decided;
use weir::dump::{Dump, State};
use weir::model::time::Time;
use weir::model::world::World;
use weir::optimise::decide_and_solve;

/// Where what is read of a dump of `world`, or of the same with pseudonyms, decides otherwise than `world` did.
pub fn differs(world: &World, now: Time, decided: &Decided) -> Vec<String> {
    let state = State { decided: Vec::new(), durations: Default::default(), world: world.clone() };
    let dump = Dump::new(state, now, None);
    let (veiled, names) = dump.anonymised().unwrap();
    let again = |dump: &Dump| {
        let mut world = Dump::read(&dump.text().unwrap(), false).unwrap().state.world;
        let decided = decide_and_solve(&mut world, now);
        (decided, world.audit())
    };
    let mut wrong = Vec::new();
    let (read, contradictions) = again(&dump);
    if read != *decided {
        wrong.push(format!("what is read of a dump decides otherwise: {read:?} and not {decided:?}"));
    }
    wrong.extend(contradictions);
    let (read, contradictions) = again(&veiled);
    let meant = names.renamed(&decided.decisions).unwrap();
    if read.decisions != meant || read.wake_at != decided.wake_at {
        wrong.push(format!("with pseudonyms it decides otherwise: {read:?} and not {meant:?}"));
    }
    wrong.extend(contradictions);
    wrong
}
