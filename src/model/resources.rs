//! Names of resources, interned, and vectors of amounts indexed by them.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::amount::Amount;

/// A resource, as an index into every [`Amounts`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "controller", derive(serde::Serialize, serde::Deserialize))]
pub struct ResourceId(pub u16);

impl ResourceId {
    /// `cpu`, in millicores.
    pub const CPU: Self = Self(0);
    /// `memory`, in bytes.
    pub const MEMORY: Self = Self(1);
    /// `pods`, in pieces: every pod loads its node with one.
    pub const PODS: Self = Self(2);
    /// `requests.storage`, in bytes: claims that a template would create.
    pub const STORAGE: Self = Self(3);
    /// `weir.dev/ingress-bandwidth`, in bits a second.
    pub const INGRESS: Self = Self(4);
    /// `weir.dev/egress-bandwidth`, in bits a second.
    pub const EGRESS: Self = Self(5);
    /// What is derived from templates and offered by no node.
    pub const DERIVED: [Self; 3] = [Self::STORAGE, Self::INGRESS, Self::EGRESS];
}

/// The names of [`ResourceId::DERIVED`], in their order.
pub const DERIVED_NAMES: [&str; 3] =
    ["requests.storage", "weir.dev/ingress-bandwidth", "weir.dev/egress-bandwidth"];

/// The resource names met so far. Ids are given in order of first sight and never taken back.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "controller", derive(serde::Serialize, serde::Deserialize))]
pub struct ResourceTable {
    names: Vec<Arc<str>>,
    ids: BTreeMap<Arc<str>, ResourceId>,
}

impl Default for ResourceTable {
    fn default() -> Self {
        let mut table = Self { names: Vec::new(), ids: BTreeMap::new() };
        for name in ["cpu", "memory", "pods"].into_iter().chain(DERIVED_NAMES) {
            table.intern(name);
        }
        table
    }
}

impl ResourceTable {
    /// The id of `name`, a new one if it was never met.
    pub fn intern(&mut self, name: &str) -> ResourceId {
        if let Some(id) = self.ids.get(name) {
            return *id;
        }
        let id = ResourceId(u16::try_from(self.names.len()).unwrap_or(u16::MAX));
        let name: Arc<str> = Arc::from(name);
        self.names.push(Arc::clone(&name));
        self.ids.insert(name, id);
        id
    }

    /// The id of `name`, if it was met.
    pub fn get(&self, name: &str) -> Option<ResourceId> {
        self.ids.get(name).copied()
    }

    /// The name of `id`.
    pub fn name(&self, id: ResourceId) -> &str {
        self.names.get(usize::from(id.0)).map_or("", |name| name)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Never true: `cpu`, `memory` and `pods` are always there.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// All ids, in order of first sight.
    pub fn ids(&self) -> impl Iterator<Item = ResourceId> + use<> {
        (0..u16::try_from(self.names.len()).unwrap_or(u16::MAX)).map(ResourceId)
    }
}

/// How many resources have their amounts at hand: cpu, memory and pods, which is all that most ask for.
const FEW: usize = 3;

/// One amount a resource; what is not there is nothing.
#[derive(Clone, Default)]
#[cfg_attr(feature = "controller", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "controller", serde(from = "Vec<Amount>", into = "Vec<Amount>"))]
pub struct Amounts {
    /// Of the first resources.
    few: [Amount; FEW],
    /// Of those after them.
    more: Vec<Amount>,
}

impl Amounts {
    /// Nothing of anything.
    pub const fn new() -> Self {
        Self { few: [Amount::ZERO; FEW], more: Vec::new() }
    }

    /// The amount of `resource`.
    pub fn get(&self, resource: ResourceId) -> Amount {
        let at = usize::from(resource.0);
        match self.few.get(at) {
            Some(amount) => *amount,
            None => self.more.get(at - FEW).copied().unwrap_or(Amount::ZERO),
        }
    }

    /// Sets the amount of `resource`.
    pub fn set(&mut self, resource: ResourceId, amount: Amount) {
        let at = usize::from(resource.0);
        if let Some(few) = self.few.get_mut(at) {
            *few = amount;
            return;
        }
        if at - FEW >= self.more.len() {
            if amount.is_zero() {
                return;
            }
            self.more.resize(at - FEW + 1, Amount::ZERO);
        }
        self.more[at - FEW] = amount;
    }

    /// Those that are not nothing.
    pub fn iter(&self) -> impl Iterator<Item = (ResourceId, Amount)> + '_ {
        let all = self.few.iter().chain(&self.more).enumerate();
        all.filter(|(_, amount)| !amount.is_zero())
            .map(|(at, amount)| (ResourceId(u16::try_from(at).unwrap_or(u16::MAX)), *amount))
    }

    /// Adds each amount of `other`.
    pub fn add(&mut self, other: &Self) {
        self.change(other, |mine, theirs| mine + theirs);
    }

    /// Adds each amount of `other`, `count` times.
    pub fn add_times(&mut self, other: &Self, count: u32) {
        self.change(other, |mine, theirs| mine + theirs.times(count));
    }

    /// Takes each amount of `other`.
    pub fn take(&mut self, other: &Self) {
        self.change(other, |mine, theirs| mine - theirs);
    }

    /// Takes each amount of `other`, `count` times.
    pub fn take_times(&mut self, other: &Self, count: u32) {
        self.change(other, |mine, theirs| mine - theirs.times(count));
    }

    fn change(&mut self, other: &Self, with: impl Fn(Amount, Amount) -> Amount) {
        if self.more.len() < other.more.len() {
            self.more.resize(other.more.len(), Amount::ZERO);
        }
        let theirs = other.few.iter().chain(&other.more);
        for (mine, theirs) in self.few.iter_mut().chain(&mut self.more).zip(theirs) {
            *mine = with(*mine, *theirs);
        }
    }

    /// Each amount `count` times.
    #[must_use]
    pub fn times(&self, count: u32) -> Self {
        Self {
            few: self.few.map(|amount| amount.times(count)),
            more: self.more.iter().map(|amount| amount.times(count)).collect(),
        }
    }

    /// Whether nothing is there.
    pub fn is_zero(&self) -> bool {
        self.few.iter().chain(&self.more).all(|amount| amount.is_zero())
    }
}

impl From<Vec<Amount>> for Amounts {
    fn from(mut all: Vec<Amount>) -> Self {
        let more = all.split_off(all.len().min(FEW));
        let mut few = [Amount::ZERO; FEW];
        few.iter_mut().zip(all).for_each(|(mine, one)| *mine = one);
        Self { few, more }
    }
}

/// In the order of the resources, up to the last of which there is any.
impl From<Amounts> for Vec<Amount> {
    fn from(amounts: Amounts) -> Self {
        let mut all = amounts.few.to_vec();
        all.extend(amounts.more);
        while all.pop_if(|last| last.is_zero()).is_some() {}
        all
    }
}

/// As that list: equal ones are printed alike.
impl fmt::Debug for Amounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Vec::from(self.clone()).fmt(f)
    }
}

impl PartialEq for Amounts {
    fn eq(&self, other: &Self) -> bool {
        // What one of them has beyond the other must be nothing.
        let (short, long) = if self.more.len() <= other.more.len() { (self, other) } else { (other, self) };
        let (shared, rest) = long.more.split_at(short.more.len());
        short.few == long.few && shared == short.more && rest.iter().all(|amount| amount.is_zero())
    }
}

impl Eq for Amounts {}

impl PartialOrd for Amounts {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Amounts {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.iter().cmp(other.iter())
    }
}

impl FromIterator<(ResourceId, Amount)> for Amounts {
    fn from_iter<I: IntoIterator<Item = (ResourceId, Amount)>>(amounts: I) -> Self {
        let mut all = Self::new();
        for (resource, amount) in amounts {
            all.set(resource, all.get(resource) + amount);
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trailing_nothing_makes_no_difference() {
        let mut table = ResourceTable::default();
        let gpu = table.intern("nvidia.com/gpu");
        let mut with: Amounts =
            [(ResourceId::CPU, Amount::new(5)), (gpu, Amount::new(1))].into_iter().collect();
        let without: Amounts = [(ResourceId::CPU, Amount::new(5))].into_iter().collect();
        assert_ne!(with, without);
        with.take(&[(gpu, Amount::new(1))].into_iter().collect());
        assert_eq!(with, without);
        assert_eq!(table.name(gpu), "nvidia.com/gpu");
        // As a list they end with the last of which there is any.
        assert_eq!(Vec::from(with.clone()), [Amount::new(5)]);
        let mut much = with.times(2);
        much.add_times(&[(gpu, Amount::new(3))].into_iter().collect(), 2);
        let list = Vec::from(much.clone());
        assert_eq!((list.len(), list[0], list[usize::from(gpu.0)]), (7, Amount::new(10), Amount::new(6)));
        assert_eq!(Amounts::from(list), much);
    }
}
