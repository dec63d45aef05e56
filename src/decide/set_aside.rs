//! Whether those that are set aside untried would have been refused: asked of copies of the world, in tests alone.

use std::cell::Cell;

use super::admit::{Desk, admit_next};
use super::give_way::{Made, make_room};
use super::order::Entry;
use super::properties;
use crate::model::ids::PoolId;
use crate::model::time::Time;
use crate::model::world::World;

thread_local! {
    /// How often it was asked; none where it is not.
    static ASKED: Cell<Option<u64>> = const { Cell::new(None) };
}

/// Asked of all of a pool that stay set aside.
pub fn check_pool(world: &World, pool: PoolId, now: Time) {
    if ASKED.get().is_none() {
        return;
    }
    let waiting = world.pool(pool).map(|pool| pool.queue.set_aside()).unwrap_or_default();
    for head in waiting {
        check(world, &Entry::of(world, pool, head), now);
    }
}

/// Asked of one.
pub fn check(world: &World, entry: &Entry, now: Time) {
    let Some(asked) = ASKED.get() else { return };
    ASKED.set(Some(asked + 1));
    let mut copy = world.clone();
    copy.journal.clear();
    let (mut desk, mut out) = (Desk::default(), Vec::new());
    let refusal = admit_next(&mut copy, &mut desk, entry, now, &mut out).err();
    let refusal = refusal.unwrap_or_else(|| panic!("{entry:?} is set aside and fits: {out:?}"));
    let made = make_room(&mut copy, &mut desk, entry, &refusal, now, &mut out);
    assert!(made != Made::Begun, "{entry:?} is set aside, and room can be made: {refusal:?}, {out:?}");
}

#[test]
fn whoever_is_set_aside_untried_would_be_refused() {
    ASKED.set(Some(0));
    properties::streams(400);
    let asked = ASKED.replace(None).unwrap_or(0);
    assert!(asked > 1000, "the streams do not contend: asked {asked} times");
}
