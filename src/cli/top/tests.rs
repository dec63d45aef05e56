//! The screen without a terminal: what is drawn, and what keys do.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::style::Color;

use super::data::{NodeRow, PoolRow, Snapshot, Use, WorkloadRow};
use super::screen::{Screen, Wish};
use crate::api::Quantity;
use crate::api::workload::Phase;

fn cpu(used: &str, of: &str, percent: i64) -> Use {
    Use {
        name: "cpu".into(),
        used: Quantity(used.into()),
        of: Some(Quantity(of.into())),
        percent: Some(percent),
    }
}

fn pool(name: &str, depth: usize, queued: i32) -> PoolRow {
    PoolRow {
        name: name.into(),
        parent: (depth > 0).then(|| "company".into()),
        depth,
        nodes: 2,
        nodes_ready: 2,
        resources: vec![cpu("3500m", "8", 43)],
        queued,
        running: 1,
        ready: true,
        reason: "AllGood".into(),
    }
}

fn workload(number: usize) -> WorkloadRow {
    WorkloadRow {
        namespace: "team".into(),
        name: format!("job-{number:03}"),
        pool: "batch".into(),
        priority: i32::try_from(100 - number).unwrap(),
        phase: Some(Phase::Queued),
        reason: "WaitingForQuota".into(),
        position: u32::try_from(number + 1).ok(),
        running: 0,
        wanted: 4,
        for_seconds: Some(75),
    }
}

fn snapshot() -> Snapshot {
    let node = NodeRow {
        name: "node-a".into(),
        pool: Some("company".into()),
        state: "Ready",
        resources: vec![cpu("2", "4", 50)],
        pods: 3,
    };
    Snapshot {
        pools: vec![pool("company", 0, 0), pool("batch", 1, 60), pool("lab", 1, 0)],
        nodes: vec![node.clone(), NodeRow { name: "node-b".into(), state: "NotReady", ..node }],
        workloads: (0..60).map(workload).collect(),
        unknown: Vec::new(),
    }
}

struct Seen {
    terminal: Terminal<TestBackend>,
    screen: Screen,
}

impl Seen {
    fn new(width: u16, height: u16, colours: bool) -> Self {
        let mut screen = Screen::new("lab-cluster".to_owned(), colours);
        screen.take(Ok(snapshot()), "12:34:56".to_owned());
        Self { terminal: Terminal::new(TestBackend::new(width, height)).unwrap(), screen }
    }

    fn text(&mut self) -> String {
        self.terminal.draw(|frame| self.screen.draw(frame)).unwrap();
        let buffer = self.terminal.backend().buffer();
        let width = usize::from(buffer.area.width);
        let lines = buffer.content().chunks(width);
        lines
            .map(|line| {
                line.iter().map(ratatui::buffer::Cell::symbol).collect::<String>().trim_end().to_owned()
                    + "\n"
            })
            .collect()
    }

    fn press(&mut self, code: KeyCode) -> Wish {
        self.screen.key(KeyEvent::new(code, KeyModifiers::NONE))
    }

    fn type_in(&mut self, text: &str) {
        for letter in text.chars() {
            self.press(KeyCode::Char(letter));
        }
    }
}

#[test]
fn eighty_columns_show_every_column_and_every_key() {
    let mut seen = Seen::new(80, 24, true);
    let pools = seen.text();
    for words in [
        "weir top  lab-cluster",
        "12:34:56",
        " 1 Pools 3 ",
        " 2 Nodes 2 ",
        " 3 Queues 60",
        "POOL",
        "STATE",
        "\n  batch",
        "3500m/8",
        "q quit",
        "enter queue",
        "space now",
    ] {
        assert!(pools.contains(words), "{words:?} is not in\n{pools}");
    }
    seen.press(KeyCode::Char('2'));
    let nodes = seen.text();
    assert!(nodes.contains("2/4 50%") && nodes.contains("NotReady") && nodes.contains("PODS"), "{nodes}");
    seen.press(KeyCode::Tab);
    let queues = seen.text();
    for words in ["WORKLOAD", "FOR", "team/job-000", "WaitingForQuota", "75s", "0/4", "enter why"] {
        assert!(queues.contains(words), "{words:?} is not in\n{queues}");
    }
    assert_eq!(queues.lines().count(), 24);
}

#[test]
fn rows_scroll_are_filtered_and_sorted() {
    let mut seen = Seen::new(80, 24, true);
    seen.press(KeyCode::Char('3'));
    assert!(!seen.text().contains("team/job-059"));
    seen.press(KeyCode::End);
    let end = seen.text();
    assert!(end.contains("team/job-059") && !end.contains("team/job-000"), "{end}");
    seen.press(KeyCode::Home);
    assert!(seen.text().contains("team/job-000"));

    seen.press(KeyCode::Char('/'));
    seen.type_in("job-01q");
    let typing = seen.text();
    assert!(typing.contains("/job-01q_") && typing.contains("no queues match the filter"), "{typing}");
    seen.press(KeyCode::Backspace);
    seen.press(KeyCode::Enter);
    let filtered = seen.text();
    assert!(filtered.contains("team/job-019") && !filtered.contains("team/job-020"), "{filtered}");
    seen.press(KeyCode::Esc);
    assert!(seen.text().contains("team/job-005"));

    // By priority, the least first, and the other way round.
    for _ in 0..3 {
        seen.press(KeyCode::Char('s'));
    }
    let sorted = seen.text();
    assert!(sorted.contains("PRIO↑") && sorted.contains("team/job-059"), "{sorted}");
    seen.press(KeyCode::Char('r'));
    let reversed = seen.text();
    assert!(reversed.contains("PRIO↓") && reversed.contains("team/job-000"), "{reversed}");
}

#[test]
fn enter_leads_from_a_pool_to_its_queue_and_from_a_workload_to_why() {
    let mut seen = Seen::new(80, 24, true);
    seen.text();
    seen.press(KeyCode::Down);
    assert_eq!(seen.press(KeyCode::Enter), Wish::None);
    assert!(seen.text().contains("/batch"));
    assert_eq!(seen.press(KeyCode::Enter), Wish::Explain("team/job-000".into()));
    assert!(seen.text().contains("reading the cluster"));
    seen.screen.explain("team/other", "not this".into());
    seen.screen.explain("team/job-000", "because of that".into());
    let why = seen.text();
    assert!(
        why.contains(" why team/job-000 ") && why.contains("because of that") && !why.contains("not this"),
        "{why}"
    );
    assert_eq!(seen.press(KeyCode::Char('q')), Wish::None, "q closes what is in front");
    assert!(!seen.text().contains("because of that"));
    assert_eq!(seen.press(KeyCode::Char('q')), Wish::Quit);
}

#[test]
fn without_colours_nothing_is_coloured_and_small_windows_are_told() {
    for colours in [true, false] {
        let mut seen = Seen::new(80, 24, colours);
        seen.press(KeyCode::Char('2'));
        seen.text();
        let buffer = seen.terminal.backend().buffer();
        let coloured = buffer.content().iter().any(|cell| cell.fg != Color::Reset || cell.bg != Color::Reset);
        assert_eq!(coloured, colours);
    }
    assert!(Seen::new(30, 5, true).text().contains("make the window larger"));
}

#[test]
fn what_is_not_up_to_date_or_not_allowed_is_said() {
    let mut seen = Seen::new(80, 24, true);
    seen.screen.take(Err("the cluster does not answer".into()), "12:34:58".into());
    let stale = seen.text();
    assert!(
        stale.contains("not up to date: the cluster does not answer") && stale.contains("12:34:56"),
        "{stale}"
    );
    let unknown = vec!["you may not list nodes".to_owned(), "you may not list pods".to_owned()];
    seen.screen.take(Ok(Snapshot { unknown, nodes: Vec::new(), ..snapshot() }), "12:34:59".into());
    let partial = seen.text();
    assert!(
        partial.contains("1 more unknown; you may not list nodes") && partial.contains("12:34:59"),
        "{partial}"
    );
}
