//! The ledger's content to and from the data of its `ConfigMap`, one a root pool.
//!
//! It holds the admissions in flight: those whose members may not all have been created yet. Names of nodes
//! and pools stand once, in tables; neighbouring indexes with the same attempt and node are one range.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::model::delta::InFlight;
use crate::model::time::Time;

/// Most bytes of one ledger: an object may have 1.5 MiB in etcd and a `ConfigMap` 1 MiB of data.
pub const MAX_BYTES: usize = 900_000;

const FORMAT: &str = "format";
const EPOCH: &str = "epoch";
const HOLDER: &str = "holder";
const ENTRIES: &str = "entries";
/// The only format there is.
const CURRENT_FORMAT: &str = "1";

/// The name of the ledger of a root pool.
pub fn name(root: &str) -> String {
    format!("weir-ledger-{root}")
}

/// What one ledger says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    /// Raised by each leader before its first reservation; a lower one is an old leader's.
    pub epoch: u64,
    /// Who leads, for people.
    pub holder: String,
    /// Admissions in flight.
    pub entries: Vec<InFlight>,
}

/// Why a ledger cannot be read or written.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum LedgerError {
    /// Not what this version of Weir writes.
    #[error(
        "ConfigMap {name} is not a ledger that this version of Weir can read ({problem}): nothing is admitted \
         under this root pool. Put back its last good content, or, when every member pod that it may speak of is \
         listed (kubectl get pods -A -l weir.dev/pool), delete it: Weir then counts the pods that are there and begins it anew"
    )]
    Unreadable {
        /// Name of the `ConfigMap`.
        name: String,
        /// The key and what is wrong with it.
        problem: String,
    },
    /// Too many admissions at once.
    #[error(
        "ConfigMap {name} would have {bytes} bytes, more than {MAX_BYTES}: fewer admissions at once must be reserved"
    )]
    TooLarge {
        /// Name of the `ConfigMap`.
        name: String,
        /// What it would have.
        bytes: usize,
    },
}

/// The entries as they are written. Short names: there are thousands of them.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Compact {
    /// Names of nodes.
    n: Vec<Arc<str>>,
    /// Names of pools.
    p: Vec<Arc<str>>,
    /// Admissions.
    a: Vec<Admission>,
}

/// UID, pool, time in milliseconds, size, ranges.
type Admission = (Arc<str>, usize, i64, u32, Vec<Range>);
/// First and last index, attempt, node.
type Range = (u32, u32, u32, usize);

#[derive(Default)]
struct Table {
    names: Vec<Arc<str>>,
    places: BTreeMap<Arc<str>, usize>,
}

impl Table {
    fn place(&mut self, name: &Arc<str>) -> usize {
        if let Some(place) = self.places.get(name) {
            return *place;
        }
        self.names.push(Arc::clone(name));
        self.places.insert(Arc::clone(name), self.names.len() - 1);
        self.names.len() - 1
    }
}

impl Ledger {
    /// The data of the `ConfigMap` `name`.
    ///
    /// # Errors
    /// More than [`MAX_BYTES`].
    pub fn encode(&self, name: &str) -> Result<BTreeMap<String, String>, LedgerError> {
        let data = self.data();
        let bytes = data.iter().map(|(key, value)| key.len() + value.len()).sum();
        if bytes > MAX_BYTES {
            return Err(LedgerError::TooLarge { name: name.to_owned(), bytes });
        }
        Ok(data)
    }

    fn data(&self) -> BTreeMap<String, String> {
        let (mut nodes, mut pools) = (Table::default(), Table::default());
        let mut admissions = Vec::with_capacity(self.entries.len());
        for InFlight { workload, pool, at, size, placements } in &self.entries {
            let mut ranges: Vec<Range> = Vec::new();
            for (index, (attempt, node)) in placements {
                let node = nodes.place(node);
                match ranges.last_mut() {
                    Some(last)
                        if last.1.checked_add(1) == Some(*index) && (last.2, last.3) == (*attempt, node) =>
                    {
                        last.1 = *index;
                    }
                    _ => ranges.push((*index, *index, *attempt, node)),
                }
            }
            admissions.push((Arc::clone(workload), pools.place(pool), at.0, *size, ranges));
        }
        let compact = Compact { n: nodes.names, p: pools.names, a: admissions };
        // Strings and integers alone: this cannot fail.
        let entries = serde_json::to_string(&compact).unwrap_or_default();
        [
            (FORMAT, CURRENT_FORMAT.to_owned()),
            (EPOCH, self.epoch.to_string()),
            (HOLDER, self.holder.clone()),
            (ENTRIES, entries),
        ]
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value))
        .collect()
    }

    /// Reads the data of the `ConfigMap` `name`.
    ///
    /// # Errors
    /// Anything that this version does not write: better no admission than a wrong one.
    pub fn decode(name: &str, data: &BTreeMap<String, String>) -> Result<Self, LedgerError> {
        Self::read(data).map_err(|problem| LedgerError::Unreadable { name: name.to_owned(), problem })
    }

    fn read(data: &BTreeMap<String, String>) -> Result<Self, String> {
        let get = |key: &str| data.get(key).ok_or_else(|| format!("data.{key} is missing"));
        let format = get(FORMAT)?;
        if format != CURRENT_FORMAT {
            return Err(format!("data.{FORMAT} is {format:?}, not {CURRENT_FORMAT:?}"));
        }
        let epoch = get(EPOCH)?.parse().map_err(|error| format!("data.{EPOCH}: {error}"))?;
        let compact: Compact =
            serde_json::from_str(get(ENTRIES)?).map_err(|error| format!("data.{ENTRIES}: {error}"))?;
        let entries =
            compact.a.iter().map(|admission| admission_of(&compact, admission)).collect::<Result<_, _>>()?;
        Ok(Self { epoch, holder: get(HOLDER)?.clone(), entries })
    }

    /// Most bytes that `entry` adds to a ledger: for bounding a batch before it is encoded.
    pub fn size_of_entry(entry: &InFlight) -> usize {
        let InFlight { workload, pool, at: _, size: _, placements } = entry;
        // Times, sizes, indexes of tables, brackets and commas at their longest.
        let names: usize = placements.values().map(|(_, node)| node.len() + 4).sum();
        workload.len() + pool.len() + 80 + names + placements.len() * 48
    }
}

/// Most members that one admission may have; a garbled range would fill the memory.
const MOST_MEMBERS: u32 = 10_000;

fn admission_of(
    compact: &Compact,
    (workload, pool, at, size, ranges): &Admission,
) -> Result<InFlight, String> {
    let garbled = |what: &str| format!("data.{ENTRIES}: admission of {workload}: {what}");
    let pool = compact.p.get(*pool).ok_or_else(|| garbled("no such pool in its table"))?;
    let mut placements = BTreeMap::new();
    for (first, last, attempt, node) in ranges {
        let node = compact.n.get(*node).ok_or_else(|| garbled("no such node in its table"))?;
        if first > last || *last >= MOST_MEMBERS {
            return Err(garbled("no such range of indexes"));
        }
        for index in *first..=*last {
            if placements.insert(index, (*attempt, Arc::clone(node))).is_some() {
                return Err(garbled("an index stands twice"));
            }
        }
    }
    Ok(InFlight {
        workload: Arc::clone(workload),
        pool: Arc::clone(pool),
        at: Time(*at),
        size: *size,
        placements,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn entry(workload: &str, placements: &[(u32, u32, &str)]) -> InFlight {
        InFlight {
            workload: workload.into(),
            pool: "batch".into(),
            at: Time(1_700_000_000_000),
            size: 4,
            placements: placements
                .iter()
                .map(|(index, attempt, node)| (*index, (*attempt, Arc::from(*node))))
                .collect(),
        }
    }

    #[test]
    fn neighbours_on_one_node_are_one_range() {
        let entries = vec![
            entry("w1", &[(0, 0, "n1"), (1, 0, "n1"), (2, 0, "n2"), (4, 0, "n2")]),
            entry("w2", &[(0, 0, "n1"), (1, 1, "n1")]),
        ];
        let ledger = Ledger { epoch: 7, holder: "a".into(), entries };
        let data = ledger.encode("weir-ledger-root").unwrap();
        assert_eq!(
            data["entries"],
            r#"{"n":["n1","n2"],"p":["batch"],"a":[["w1",0,1700000000000,4,[[0,1,0,0],[2,2,0,1],[4,4,0,1]]],["w2",0,1700000000000,4,[[0,0,0,0],[1,1,1,0]]]]}"#
        );
        assert_eq!(Ledger::decode("weir-ledger-root", &data), Ok(ledger));
    }

    #[test]
    fn what_is_garbled_is_refused_with_the_name_of_the_map_and_what_to_do() {
        let good = Ledger { epoch: 1, holder: "a".into(), entries: vec![entry("w", &[(0, 0, "n")])] };
        let good = good.encode("x").unwrap();
        for (key, value) in [
            ("format", Some("2")),
            ("format", None),
            ("epoch", Some("-1")),
            ("holder", None),
            ("entries", Some("{")),
            ("entries", Some(r#"{"n":[],"p":["b"],"a":[["w",0,1,1,[[0,0,0,0]]]]}"#)),
            ("entries", Some(r#"{"n":["n"],"p":[],"a":[["w",0,1,1,[]]]}"#)),
            ("entries", Some(r#"{"n":["n"],"p":["b"],"a":[["w",0,1,1,[[0,4000000000,0,0]]]]}"#)),
            ("entries", Some(r#"{"n":["n"],"p":["b"],"a":[["w",0,1,1,[[0,1,0,0],[1,1,0,0]]]]}"#)),
            ("entries", Some(r#"{"n":["n"],"p":["b"],"a":[],"more":1}"#)),
        ] {
            let mut data = good.clone();
            match value {
                Some(value) => data.insert(key.to_owned(), value.to_owned()),
                None => data.remove(key),
            };
            let error = Ledger::decode("weir-ledger-root", &data).unwrap_err().to_string();
            assert!(error.contains("ConfigMap weir-ledger-root"), "{error}");
            assert!(
                error.contains(&format!("data.{key}")) && error.contains("delete it"),
                "{key} {value:?}: {error}"
            );
        }
    }

    #[test]
    fn a_ledger_that_is_too_large_is_not_written() {
        let workload = "0".repeat(36);
        let one: Vec<(u32, u32, String)> =
            (0..10_000).map(|index| (index, 0, format!("node-{index:0100}"))).collect();
        let one: Vec<(u32, u32, &str)> =
            one.iter().map(|(index, attempt, node)| (*index, *attempt, node.as_str())).collect();
        let ledger = Ledger { epoch: 1, holder: String::new(), entries: vec![entry(&workload, &one)] };
        assert!(matches!(ledger.encode("x"), Err(LedgerError::TooLarge { .. })));
    }

    prop_compose! {
        fn entries()(
            workload in "[a-f0-9-]{36}",
            pool in 0_u32..3,
            at in 0_i64..4_000_000_000_000,
            size in 1_u32..10_000,
            placements in proptest::collection::btree_map(0_u32..10_000, (0_u32..3, 0_u32..4), 0..40),
        ) -> InFlight {
            InFlight {
                workload: workload.into(),
                pool: format!("pool-{pool}").into(),
                at: Time(at),
                size,
                placements: placements
                    .into_iter()
                    .map(|(index, (attempt, node))| (index, (attempt, Arc::from(format!("node-{node}")))))
                    .collect(),
            }
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back_and_its_size_was_foreseen(
            epoch: u64, holder in ".{0,20}", entries in proptest::collection::vec(entries(), 0..20)
        ) {
            let foreseen: usize = entries.iter().map(Ledger::size_of_entry).sum();
            let ledger = Ledger { epoch, holder, entries };
            let data = ledger.encode("x").unwrap();
            prop_assert!(data["entries"].len() <= foreseen + 40, "{} of {foreseen}", data["entries"].len());
            prop_assert_eq!(Ledger::decode("x", &data), Ok(ledger));
        }

        #[test]
        fn no_garbage_makes_it_panic(entries in "\\PC{0,60}") {
            let mut data = Ledger::default().encode("x").unwrap();
            data.insert("entries".to_owned(), entries);
            let _ = Ledger::decode("x", &data);
        }
    }
}
