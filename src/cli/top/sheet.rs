//! Rows and columns: what a snapshot comes to, how it is sorted and which rows a filter leaves.

use std::cmp::Ordering;

use super::data::{NodeRow, PoolRow, Snapshot, Use, WorkloadRow};
use crate::api::quantity::counted;
use crate::api::workload::Phase;
use crate::cli::output::{span, title};

/// Which rows are shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum View {
    /// Pools.
    #[default]
    Pools,
    /// Nodes.
    Nodes,
    /// Workloads: queues first.
    Queues,
}

impl View {
    /// All, in order.
    pub const ALL: [Self; 3] = [Self::Pools, Self::Nodes, Self::Queues];

    /// As a title.
    pub fn title(self) -> &'static str {
        match self {
            Self::Pools => "Pools",
            Self::Nodes => "Nodes",
            Self::Queues => "Queues",
        }
    }
}

/// By what a cell is sorted.
#[derive(Clone, Debug, PartialEq)]
pub enum Key {
    /// Smallest first.
    Number(i64),
    /// By letter.
    Text(String),
}

impl Key {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Number(one), Self::Number(other)) => one.cmp(other),
            (Self::Text(one), Self::Text(other)) => one.cmp(other),
            (Self::Number(_), Self::Text(_)) => Ordering::Less,
            (Self::Text(_), Self::Number(_)) => Ordering::Greater,
        }
    }
}

/// What stands in one place.
#[derive(Clone, Debug)]
pub struct Cell {
    /// As it is shown.
    pub text: String,
    /// By what it is sorted.
    pub key: Key,
}

fn text(text: impl Into<String>) -> Cell {
    let text = text.into();
    Cell { key: Key::Text(text.clone()), text }
}

fn number(number: impl Into<i64>) -> Cell {
    let number = number.into();
    Cell { text: number.to_string(), key: Key::Number(number) }
}

/// How urgently a row wants to be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// As it should be.
    Plain,
    /// It waits, or is in between.
    Waits,
    /// Somebody should look at it.
    Wrong,
}

/// A row.
#[derive(Clone, Debug)]
pub struct Row {
    /// What it is about: a pool, a node, `namespace/name`.
    pub id: String,
    /// One a column.
    pub cells: Vec<Cell>,
    /// How it is shown.
    pub tone: Tone,
}

/// A column: its heading and its width; none: what is left over.
pub type Column = (&'static str, Option<u16>);

/// Rows of one view.
#[derive(Clone, Debug)]
pub struct Sheet {
    /// Headings.
    pub columns: &'static [Column],
    /// Rows, in their own order.
    pub rows: Vec<Row>,
}

const POOLS: [Column; 8] = [
    ("POOL", None),
    ("NODES", Some(6)),
    ("CPU", Some(9)),
    ("MEMORY", Some(13)),
    ("GPUS", Some(6)),
    ("WAIT", Some(5)),
    ("RUN", Some(4)),
    ("STATE", Some(13)),
];
const NODES: [Column; 7] = [
    ("NODE", None),
    ("POOL", Some(12)),
    ("STATE", Some(8)),
    ("CPU", Some(15)),
    ("MEMORY", Some(18)),
    ("GPUS", Some(5)),
    ("PODS", Some(4)),
];
const QUEUES: [Column; 7] = [
    ("WORKLOAD", None),
    ("POOL", Some(11)),
    ("PRIO", Some(5)),
    ("PLACE", Some(5)),
    ("MEMBERS", Some(7)),
    ("REASON", Some(19)),
    ("FOR", Some(6)),
];

impl Sheet {
    /// What a snapshot shows in one view.
    pub fn of(snapshot: &Snapshot, view: View) -> Self {
        match view {
            View::Pools => Self { columns: &POOLS, rows: snapshot.pools.iter().map(pool).collect() },
            View::Nodes => Self { columns: &NODES, rows: snapshot.nodes.iter().map(node).collect() },
            View::Queues => {
                Self { columns: &QUEUES, rows: snapshot.workloads.iter().map(workload).collect() }
            }
        }
    }

    /// Keeps rows in which all words of the filter are, in any column.
    pub fn filter(&mut self, filter: &str) {
        let words: Vec<String> = filter.split_whitespace().map(str::to_lowercase).collect();
        self.rows.retain(|row| {
            let all = row.cells.iter().map(|cell| cell.text.to_lowercase()).collect::<Vec<_>>().join(" ");
            words.iter().all(|word| all.contains(word))
        });
    }

    /// Sorts by a column; those that are equal stay in their own order.
    pub fn sort(&mut self, column: Option<usize>, reverse: bool) {
        let Some(column) = column else {
            if reverse {
                self.rows.reverse();
            }
            return;
        };
        self.rows.sort_by(|one, other| {
            let order = match (one.cells.get(column), other.cells.get(column)) {
                (Some(one), Some(other)) => one.key.cmp(&other.key),
                _ => Ordering::Equal,
            };
            if reverse { order.reverse() } else { order }
        });
    }
}

/// Of one resource how much is used of what: `14/16`.
fn of_resource(uses: &[Use], is: impl Fn(&str) -> bool, with_percent: bool) -> Cell {
    let found: Vec<&Use> = uses.iter().filter(|one| is(&one.name)).collect();
    let units = |one: &Use, text: &str| counted(&one.name, text).unwrap_or_default();
    let used: i64 = found.iter().map(|one| units(one, one.used.as_str())).sum();
    let of: i64 = found.iter().filter_map(|one| Some(units(one, one.of.as_ref()?.as_str()))).sum();
    let text = match found.as_slice() {
        [] => "-".to_owned(),
        [one] => {
            let of = one
                .of
                .as_ref()
                .map(|of| format!("/{}", friendly(&one.name, of.as_str())))
                .unwrap_or_default();
            let percent = one
                .percent
                .filter(|_| with_percent)
                .map(|percent| format!(" {percent}%"))
                .unwrap_or_default();
            format!("{}{of}{percent}", friendly(&one.name, one.used.as_str()))
        }
        _ => format!("{used}/{of}"),
    };
    let key = if found.is_empty() {
        -1
    } else {
        i64::try_from(i128::from(used) * 1_000_000 / i128::from(of.max(1))).unwrap_or(i64::MAX)
    };
    Cell { text, key: Key::Number(key) }
}

fn friendly(name: &str, text: &str) -> String {
    let units = counted(name, text).unwrap_or_default();
    crate::plan::reason::friendly_amount(name, crate::model::amount::Amount::new(units))
}

fn is_gpu(name: &str) -> bool {
    name.ends_with("/gpu")
}

fn pool(row: &PoolRow) -> Row {
    let PoolRow { name, parent: _, depth, nodes, nodes_ready, resources, queued, running, ready, reason } =
        row;
    let state = if *ready && reason == "AllGood" { "Ready" } else { reason };
    let tone = match (*ready, *queued > 0) {
        (false, _) => Tone::Wrong,
        (true, _) if state != "Ready" => Tone::Waits,
        (true, true) => Tone::Waits,
        (true, false) => Tone::Plain,
    };
    Row {
        id: name.clone(),
        cells: vec![
            Cell { text: format!("{}{name}", "  ".repeat((*depth).min(6))), key: Key::Text(name.clone()) },
            Cell { text: format!("{nodes_ready}/{nodes}"), key: Key::Number((*nodes).into()) },
            of_resource(resources, |name| name == "cpu", false),
            of_resource(resources, |name| name == "memory", false),
            of_resource(resources, is_gpu, false),
            number(*queued),
            number(*running),
            text(state),
        ],
        tone,
    }
}

fn node(row: &NodeRow) -> Row {
    let NodeRow { name, pool, state, resources, pods } = row;
    Row {
        id: name.clone(),
        cells: vec![
            text(name),
            text(pool.as_deref().unwrap_or("-")),
            text(*state),
            of_resource(resources, |name| name == "cpu", true),
            of_resource(resources, |name| name == "memory", true),
            of_resource(resources, is_gpu, false),
            number(i64::try_from(*pods).unwrap_or(i64::MAX)),
        ],
        tone: match *state {
            "NotReady" => Tone::Wrong,
            "Ready" => Tone::Plain,
            _ => Tone::Waits,
        },
    }
}

fn workload(row: &WorkloadRow) -> Row {
    let WorkloadRow {
        namespace,
        name,
        pool,
        priority,
        phase,
        reason,
        position,
        running,
        wanted,
        for_seconds,
    } = row;
    let name = title(namespace, name);
    let place = position.map_or_else(|| "-".to_owned(), |position| position.to_string());
    let seconds = for_seconds.unwrap_or(-1);
    Row {
        cells: vec![
            text(&name),
            text(pool),
            number(*priority),
            Cell { text: place, key: Key::Number(position.map_or(i64::MAX, i64::from)) },
            Cell { text: format!("{running}/{wanted}"), key: Key::Number((*running).into()) },
            text(reason),
            Cell { text: for_seconds.map_or_else(|| "-".to_owned(), span), key: Key::Number(seconds) },
        ],
        id: name,
        tone: match phase {
            Some(Phase::Failed) => Tone::Wrong,
            None | Some(Phase::Queued | Phase::Starting | Phase::Migrating) => Tone::Waits,
            Some(Phase::Running | Phase::Suspended | Phase::Succeeded) => Tone::Plain,
        },
    }
}
