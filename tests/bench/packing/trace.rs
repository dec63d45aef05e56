//! A trace: nodes, and tasks in order of creation. Read from two CSV files, or made up in the same shape.

use std::path::Path;

/// A node of a trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    pub name: String,
    pub milli_cpus: i64,
    pub mib: i64,
    pub gpus: i64,
}

/// A task of a trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    pub milli_cpus: i64,
    pub mib: i64,
    /// One that shares a GPU counts as if it had it alone.
    pub gpus: i64,
    /// It shares a GPU.
    pub shares: bool,
    /// Seconds.
    pub created: i64,
    pub deleted: i64,
}

/// Nodes and tasks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trace {
    pub nodes: Vec<Node>,
    pub tasks: Vec<Task>,
}

impl Task {
    /// What it asks for: cores in thousandths, MiB and GPUs.
    pub fn ask(&self) -> [i64; 3] {
        [self.milli_cpus, self.mib, self.gpus]
    }
}

impl Node {
    /// What it offers.
    pub fn offers(&self) -> [i64; 3] {
        [self.milli_cpus, self.mib, self.gpus]
    }
}

impl Trace {
    /// Reads a folder with one file of nodes and one of tasks, told apart by their columns.
    pub fn read(folder: &Path) -> Result<Self, String> {
        let mut trace = Self::default();
        let entries = std::fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        for entry in entries {
            let path = entry.map_err(|error| error.to_string())?.path();
            if path.extension().is_none_or(|extension| extension != "csv") {
                continue;
            }
            let text =
                std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
            trace.take(&text).map_err(|error| format!("{}: {error}", path.display()))?;
        }
        if trace.nodes.is_empty() || trace.tasks.is_empty() {
            return Err(format!("{}: needs a CSV file of nodes and one of tasks", folder.display()));
        }
        trace.tasks.sort_by_key(|task| task.created);
        Ok(trace)
    }

    /// Takes the rows of one file.
    pub fn take(&mut self, text: &str) -> Result<(), String> {
        let mut lines = text.lines();
        let columns: Vec<&str> = lines.next().unwrap_or_default().split(',').map(str::trim).collect();
        let at = |name: &str| columns.iter().position(|column| *column == name);
        let missing = |name: &str| format!("has no column {name}");
        let (cpu, mib) =
            (at("cpu_milli").ok_or(missing("cpu_milli"))?, at("memory_mib").ok_or(missing("memory_mib"))?);
        for (number, line) in lines.enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let cells: Vec<&str> = line.split(',').map(str::trim).collect();
            let read = |at: usize| -> Result<i64, String> {
                let cell = cells.get(at).copied().unwrap_or_default();
                cell.parse().map_err(|_| format!("line {}: {cell:?} is no whole number", number + 2))
            };
            if let Some(gpus) = at("num_gpu") {
                let share = at("gpu_milli").ok_or(missing("gpu_milli"))?;
                let (created, deleted) = (
                    at("creation_time").ok_or(missing("creation_time"))?,
                    at("deletion_time").ok_or(missing("deletion_time"))?,
                );
                self.tasks.push(Task {
                    milli_cpus: read(cpu)?,
                    mib: read(mib)?,
                    gpus: read(gpus)?,
                    shares: read(gpus)? == 1 && read(share)? < 1000,
                    created: read(created)?,
                    deleted: read(deleted)?,
                });
            } else {
                let gpus = at("gpu").ok_or(missing("gpu"))?;
                let name = cells.first().copied().unwrap_or_default().to_owned();
                self.nodes.push(Node { name, milli_cpus: read(cpu)?, mib: read(mib)?, gpus: read(gpus)? });
            }
        }
        Ok(())
    }

    /// One that is made up, in the shape of a cluster with GPUs: most tasks ask for one, few for eight, and some for
    /// none and many CPUs.
    pub fn made_up(nodes: usize, tasks: usize, seed: u64) -> Self {
        let mut dice = Dice(seed);
        let kinds = [(96_000, 393_216, 8), (104_000, 524_288, 2), (64_000, 262_144, 4), (16_000, 122_880, 2)];
        let node = |number: usize, dice: &mut Dice| {
            let (milli_cpus, mib, gpus) = kinds[dice.roll(kinds.len())];
            Node { name: format!("node-{number:04}"), milli_cpus, mib, gpus }
        };
        let sizes = [
            (3_000, 6_000, 1, 24),
            (11_000, 48_000, 1, 24),
            (8_000, 30_000, 1, 16),
            (19_000, 64_000, 1, 8),
            (12_000, 57_000, 0, 10),
            (32_000, 49_000, 0, 8),
            (24_000, 96_000, 2, 4),
            (48_000, 180_000, 4, 3),
            (88_000, 360_000, 8, 3),
        ];
        let mut clock = 0;
        let task = |dice: &mut Dice| {
            let mut ticket = dice.roll(100);
            let chosen = sizes.iter().find(|(.., share)| {
                let found = ticket < *share;
                ticket = ticket.saturating_sub(*share);
                found
            });
            let (milli_cpus, mib, gpus, _) = chosen.copied().unwrap_or(sizes[0]);
            clock += i64::try_from(dice.roll(60)).unwrap_or(0);
            let long = i64::try_from(600 + dice.roll(7_200)).unwrap_or(0);
            Task {
                milli_cpus,
                mib,
                gpus,
                shares: gpus == 1 && dice.roll(3) == 0,
                created: clock,
                deleted: clock + long,
            }
        };
        let nodes = (0..nodes).map(|number| node(number, &mut dice)).collect();
        let mut task = task;
        let tasks = (0..tasks).map(|_| task(&mut dice)).collect();
        Self { nodes, tasks }
    }

    /// The tasks that have their GPUs alone, drawn again and again by a seed until they ask for so many percent of
    /// the GPUs that there are, all at once and for ever. (FGD inflates the trace in the same way.)
    pub fn inflated(&self, percent: i64, seed: u64) -> Self {
        let mut dice = Dice(seed);
        let whole: Vec<&Task> = self.tasks.iter().filter(|task| !task.shares).collect();
        let most = self.nodes.iter().map(|node| node.gpus).sum::<i64>() * percent / 100;
        let (mut tasks, mut asked) = (Vec::new(), 0);
        while asked < most && !whole.is_empty() {
            let task = whole[dice.roll(whole.len())];
            asked += task.gpus;
            tasks.push(Task { created: 0, deleted: i64::MAX, ..task.clone() });
        }
        Self { nodes: self.nodes.clone(), tasks }
    }

    /// Every task lives longer, by the least power of two with which so many percent of the GPUs are asked for at a
    /// time, or all tasks are there at a time.
    pub fn crowded(&self, percent: i64) -> (i64, Self) {
        let most = self.nodes.iter().map(|node| node.gpus).sum::<i64>() * percent / 100;
        let mut factor = 1;
        loop {
            let longer = self.stretched(factor);
            if longer.peak() >= most || factor >= 1 << 40 {
                return (factor, longer);
            }
            factor *= 2;
        }
    }

    /// Most GPUs that are asked for at a time.
    fn peak(&self) -> i64 {
        let mut changes: Vec<(i64, i64)> = Vec::new();
        for task in &self.tasks {
            changes.push((task.created, task.gpus));
            changes.push((task.deleted.max(task.created.saturating_add(1)), -task.gpus));
        }
        changes.sort_unstable();
        let (mut asked, mut peak) = (0, 0);
        for (_, change) in changes {
            asked += change;
            peak = peak.max(asked);
        }
        peak
    }

    /// Every task lives so many times as long.
    fn stretched(&self, factor: i64) -> Self {
        let longer = |task: &Task| {
            let lives = (task.deleted - task.created).saturating_mul(factor);
            Task { deleted: task.created.saturating_add(lives), ..task.clone() }
        };
        Self { nodes: self.nodes.clone(), tasks: self.tasks.iter().map(longer).collect() }
    }
}

/// Random numbers that are the same each time (xorshift64*).
pub struct Dice(pub u64);

impl Dice {
    /// A number below `sides`.
    pub fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let high = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(high).unwrap_or(0) % sides.max(1)
    }
}
