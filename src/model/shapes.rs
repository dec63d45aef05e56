//! Shapes of members, interned: what is equal is stored and decided once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::ids::{ShapeId, Slab};
use super::resources::{Amounts, ResourceTable};
use super::spec::{NamedAmounts, ShapeSpec};
use super::terms::PodTerms;

/// An interned shape.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "controller", derive(serde::Serialize, serde::Deserialize))]
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
#[cfg_attr(feature = "controller", derive(serde::Serialize, serde::Deserialize))]
pub struct Shapes {
    all: Slab<Shape>,
    #[cfg_attr(feature = "controller", serde(with = "super::pairs"))]
    ids: BTreeMap<Arc<ShapeSpec>, ShapeId>,
    /// Those that may come to fit when pods come that they want near, or that are counted.
    social: BTreeSet<ShapeId>,
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
        if spec.terms.as_ref().is_some_and(|terms| !terms.near.is_empty() || !terms.spread.is_empty()) {
            self.social.insert(id);
        }
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
            self.social.remove(&id);
        }
    }

    /// Whether some shape may come to fit when pods come.
    pub fn has_social(&self) -> bool {
        !self.social.is_empty()
    }

    /// What such shapes want of the pods around them.
    pub fn social(&self) -> impl Iterator<Item = &PodTerms> {
        self.social.iter().filter_map(|id| self.get(*id)?.spec.terms.as_deref())
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
