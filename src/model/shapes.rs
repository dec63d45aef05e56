//! Shapes of members, interned: what is equal is stored and decided once.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::ids::{ShapeId, Slab};
use super::resources::{Amounts, ResourceTable};
use super::spec::{NamedAmounts, ShapeSpec};

/// An interned shape.
#[derive(Clone, Debug)]
pub struct Shape {
    /// As it was given.
    pub spec: Arc<ShapeSpec>,
    /// Its requests: what a member charges its pool and loads its node with.
    pub requests: Amounts,
    users: u32,
}

impl Shape {
    /// How many workloads have it.
    pub fn users(&self) -> u32 {
        self.users
    }
}

/// All shapes in use.
#[derive(Clone, Debug, Default)]
pub struct Shapes {
    all: Slab<Shape>,
    ids: BTreeMap<Arc<ShapeSpec>, ShapeId>,
}

impl Shapes {
    /// The id of `spec`, with one more user.
    pub fn intern(&mut self, spec: &Arc<ShapeSpec>, table: &mut ResourceTable) -> ShapeId {
        if let Some(id) = self.ids.get(spec) {
            if let Some(shape) = self.all.get_mut(id.0) {
                shape.users += 1;
            }
            return *id;
        }
        let shape = Shape { spec: Arc::clone(spec), requests: intern(&spec.requests, table), users: 1 };
        let id = ShapeId(self.all.insert(shape));
        self.ids.insert(Arc::clone(spec), id);
        id
    }

    /// One user less; the shape goes with the last.
    pub fn release(&mut self, id: ShapeId) {
        let Some(shape) = self.all.get_mut(id.0) else { return };
        shape.users = shape.users.saturating_sub(1);
        if shape.users == 0
            && let Some(shape) = self.all.remove(id.0)
        {
            self.ids.remove(&shape.spec);
        }
    }

    /// All shapes, by id.
    pub fn iter(&self) -> impl Iterator<Item = (ShapeId, &Shape)> {
        self.all.iter().map(|(id, shape)| (ShapeId(id), shape))
    }

    /// The shape of that id.
    pub fn get(&self, id: ShapeId) -> Option<&Shape> {
        self.all.get(id.0)
    }
}

/// Named amounts as interned ones.
pub fn intern(named: &NamedAmounts, table: &mut ResourceTable) -> Amounts {
    named.iter().map(|(name, amount)| (table.intern(name), *amount)).collect()
}
