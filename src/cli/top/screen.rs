//! What is on the screen and what keys do: no terminal and no cluster here, so that tests can look at it.

use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Clear, Paragraph, Row as Shown, Table, TableState, Wrap};

use super::data::Snapshot;
use super::sheet::{Sheet, Tone, View};

/// Below that nothing sensible can be shown.
const LEAST: (u16, u16) = (40, 8);

/// What shall be done after a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Nothing but to show it.
    None,
    /// To read the cluster anew, now.
    Refresh,
    /// To explain a workload, `namespace/name`.
    Explain(String),
    /// To end.
    Quit,
}

/// How one view is looked at.
#[derive(Clone, Debug, Default)]
struct Look {
    table: TableState,
    column: Option<usize>,
    reverse: bool,
    filter: String,
}

/// A text in front of the rest.
#[derive(Clone, Debug)]
struct Overlay {
    title: String,
    text: String,
    scroll: u16,
}

/// Everything that is shown.
#[derive(Debug)]
pub struct Screen {
    snapshot: Option<Snapshot>,
    /// When the snapshot was taken, as a clock shows it.
    taken_at: String,
    /// Why there is no newer one.
    problem: Option<String>,
    cluster: String,
    view: View,
    looks: [Look; 3],
    typing: bool,
    overlay: Option<Overlay>,
    colours: bool,
    /// Rows that a page has, as drawn last.
    page: usize,
}

impl Screen {
    /// An empty screen for a cluster; without colours only bold and reverse are used.
    pub fn new(cluster: String, colours: bool) -> Self {
        Self {
            snapshot: None,
            taken_at: String::new(),
            problem: None,
            cluster,
            view: View::Pools,
            looks: Default::default(),
            typing: false,
            overlay: None,
            colours,
            page: 10,
        }
    }

    /// The cluster was read, or could not be.
    pub fn take(&mut self, read: Result<Snapshot, String>, clock: String) {
        match read {
            Ok(snapshot) => {
                self.snapshot = Some(snapshot);
                self.taken_at = clock;
                self.problem = None;
            }
            Err(problem) => self.problem = Some(problem),
        }
    }

    /// What was asked of a workload is answered.
    pub fn explain(&mut self, title: &str, text: String) {
        if let Some(overlay) = self.overlay.as_mut().filter(|overlay| overlay.title == title) {
            overlay.text = text;
        }
    }

    fn look(&mut self) -> &mut Look {
        &mut self.looks[self.view as usize]
    }

    /// The rows as they are shown now.
    fn sheet(&self) -> Sheet {
        let empty = Snapshot::default();
        let look = &self.looks[self.view as usize];
        let mut sheet = Sheet::of(self.snapshot.as_ref().unwrap_or(&empty), self.view);
        sheet.filter(&look.filter);
        sheet.sort(look.column, look.reverse);
        sheet
    }

    /// A key was pressed.
    pub fn key(&mut self, key: KeyEvent) -> Wish {
        if key.kind == KeyEventKind::Release {
            return Wish::None;
        }
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            return if matches!(key.code, KeyCode::Char('c' | 'd')) { Wish::Quit } else { Wish::None };
        }
        if self.overlay.is_some() {
            return self.overlay_key(key.code);
        }
        if self.typing {
            self.type_key(key.code);
            return Wish::None;
        }
        match key.code {
            KeyCode::Char('q') => return Wish::Quit,
            KeyCode::Char(' ') => return Wish::Refresh,
            KeyCode::Enter => return self.enter(),
            KeyCode::Tab | KeyCode::Right => self.turn(1),
            KeyCode::BackTab | KeyCode::Left => self.turn(2),
            KeyCode::Char(digit @ '1'..='3') => {
                self.view = View::ALL[digit as usize - '1' as usize];
            }
            KeyCode::Char('/') => self.typing = true,
            KeyCode::Esc => self.look().filter.clear(),
            KeyCode::Char('s') => self.sort(),
            KeyCode::Char('r') => {
                let look = self.look();
                look.reverse = !look.reverse;
            }
            code => self.step(code),
        }
        Wish::None
    }

    fn turn(&mut self, by: usize) {
        self.view = View::ALL[(self.view as usize + by) % View::ALL.len()];
    }

    /// The next column, and after the last the rows' own order again.
    fn sort(&mut self) {
        let columns = self.sheet().columns.len();
        let look = self.look();
        look.column = match look.column {
            None => Some(0),
            Some(column) => Some(column + 1).filter(|column| *column < columns),
        };
    }

    fn step(&mut self, code: KeyCode) {
        let last = self.sheet().rows.len().saturating_sub(1);
        let page = self.page.max(1);
        let table = &mut self.look().table;
        let at = table.selected().unwrap_or(0);
        let to = match code {
            KeyCode::Up | KeyCode::Char('k') => at.saturating_sub(1),
            KeyCode::Down | KeyCode::Char('j') => at.saturating_add(1),
            KeyCode::PageUp => at.saturating_sub(page),
            KeyCode::PageDown => at.saturating_add(page),
            KeyCode::Home | KeyCode::Char('g') => 0,
            KeyCode::End | KeyCode::Char('G') => last,
            _ => return,
        };
        table.select(Some(to.min(last)));
    }

    fn type_key(&mut self, code: KeyCode) {
        match code {
            KeyCode::Enter => self.typing = false,
            KeyCode::Esc => {
                self.typing = false;
                self.look().filter.clear();
            }
            KeyCode::Backspace => drop(self.look().filter.pop()),
            KeyCode::Char(letter) => self.look().filter.push(letter),
            _ => {}
        }
    }

    fn overlay_key(&mut self, code: KeyCode) -> Wish {
        let Some(overlay) = &mut self.overlay else { return Wish::None };
        let lines = u16::try_from(overlay.text.lines().count()).unwrap_or(u16::MAX);
        match code {
            KeyCode::Char('q') | KeyCode::Esc | KeyCode::Enter => self.overlay = None,
            KeyCode::Up | KeyCode::Char('k') => overlay.scroll = overlay.scroll.saturating_sub(1),
            KeyCode::Down | KeyCode::Char('j') => overlay.scroll = (overlay.scroll + 1).min(lines),
            KeyCode::PageUp => overlay.scroll = overlay.scroll.saturating_sub(10),
            KeyCode::PageDown => overlay.scroll = (overlay.scroll + 10).min(lines),
            _ => {}
        }
        Wish::None
    }

    /// Of a pool or node its workloads or itself, of a workload why it is where it is.
    fn enter(&mut self) -> Wish {
        let sheet = self.sheet();
        let at = self.look().table.selected().unwrap_or(0);
        let Some(row) = sheet.rows.get(at) else { return Wish::None };
        match self.view {
            View::Queues => {
                let text = "reading the cluster ...".to_owned();
                self.overlay = Some(Overlay { title: row.id.clone(), text, scroll: 0 });
                Wish::Explain(row.id.clone())
            }
            View::Pools | View::Nodes => {
                let pool = match self.view {
                    View::Nodes => row.cells.get(1).map(|cell| cell.text.clone()).unwrap_or_default(),
                    _ => row.id.clone(),
                };
                self.view = if self.view == View::Pools { View::Queues } else { View::Pools };
                let look = self.look();
                look.filter = pool;
                look.table.select(Some(0));
                Wish::None
            }
        }
    }

    /// Draws everything.
    pub fn draw(&mut self, frame: &mut Frame<'_>) {
        let area = frame.area();
        if area.width < LEAST.0 || area.height < LEAST.1 {
            frame.render_widget(Paragraph::new("make the window larger; q quits"), area);
            return;
        }
        let notes = self.notes();
        let note_lines = u16::from(notes.is_some());
        let [head, tabs, body, note, foot] = Layout::vertical([
            Constraint::Length(1),
            Constraint::Length(1),
            Constraint::Min(3),
            Constraint::Length(note_lines),
            Constraint::Length(1),
        ])
        .areas(area);
        frame.render_widget(Paragraph::new(self.head(head.width)), head);
        frame.render_widget(Paragraph::new(self.tabs()), tabs);
        self.table(frame, body);
        if let Some(notes) = notes {
            frame.render_widget(Paragraph::new(notes).style(self.tone(Tone::Wrong)), note);
        }
        frame.render_widget(Paragraph::new(self.foot()), foot);
        self.front(frame, area);
    }

    fn head(&self, width: u16) -> Line<'static> {
        let right = if self.taken_at.is_empty() { "reading ...".to_owned() } else { self.taken_at.clone() };
        let left = format!("weir top  {}", self.cluster);
        let room = usize::from(width).saturating_sub(right.chars().count() + 2);
        let left: String = left.chars().take(room).collect();
        Line::from(vec![Span::styled(format!("{left:<room$}  "), bold()), Span::raw(right)])
    }

    fn tabs(&self) -> Line<'static> {
        let mut spans = Vec::new();
        for (number, view) in (1..).zip(View::ALL) {
            let count = self.snapshot.as_ref().map_or(0, |snapshot| Sheet::of(snapshot, view).rows.len());
            let label = format!(" {number} {} {count} ", view.title());
            let style =
                if view == self.view { Style::new().add_modifier(Modifier::REVERSED) } else { Style::new() };
            spans.extend([Span::styled(label, style), Span::raw(" ")]);
        }
        let look = &self.looks[self.view as usize];
        if self.typing || !look.filter.is_empty() {
            let cursor = if self.typing { "_" } else { "" };
            spans.push(Span::styled(format!(" /{}{cursor}", look.filter), bold()));
        }
        Line::from(spans)
    }

    /// What is amiss with what is shown.
    fn notes(&self) -> Option<String> {
        if let Some(problem) = &self.problem {
            return Some(format!("not up to date: {problem}"));
        }
        let unknown = &self.snapshot.as_ref()?.unknown;
        match unknown.as_slice() {
            [] => None,
            [one] => Some(one.clone()),
            [one, rest @ ..] => Some(format!("{} more unknown; {one}", rest.len())),
        }
    }

    fn table(&mut self, frame: &mut Frame<'_>, area: Rect) {
        let sheet = self.sheet();
        self.page = usize::from(area.height.saturating_sub(1));
        let (column, reverse) = (self.look().column, self.look().reverse);
        let heading = sheet.columns.iter().enumerate().map(|(at, (name, _))| {
            let arrow = if reverse { "↓" } else { "↑" };
            if column == Some(at) { format!("{name}{arrow}") } else { (*name).to_owned() }
        });
        let heading = Shown::new(heading).style(bold());
        let rows = sheet
            .rows
            .iter()
            .map(|row| Shown::new(row.cells.iter().map(|cell| cell.text.clone())).style(self.tone(row.tone)));
        let widths =
            sheet.columns.iter().map(|(_, width)| width.map_or(Constraint::Min(10), Constraint::Length));
        let table = Table::new(rows.collect::<Vec<_>>(), widths)
            .header(heading)
            .column_spacing(1)
            .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED));
        let state = &mut self.looks[self.view as usize].table;
        let last = sheet.rows.len().checked_sub(1);
        state.select(last.map(|last| state.selected().unwrap_or(0).min(last)));
        frame.render_stateful_widget(table, area, state);
        if sheet.rows.is_empty() && self.snapshot.is_some() && area.height > 2 {
            let what = self.view.title().to_lowercase();
            let filtered = !self.looks[self.view as usize].filter.is_empty();
            let why = if filtered { "match the filter (esc clears it)" } else { "to show" };
            let line = Rect { y: area.y + 1, height: 1, ..area };
            frame.render_widget(Paragraph::new(format!("no {what} {why}")), line);
        }
    }

    fn foot(&self) -> Line<'static> {
        let enter = match self.view {
            View::Pools => "queue",
            View::Nodes => "pool",
            View::Queues => "why",
        };
        let keys: Vec<(&str, &str)> = if self.overlay.is_some() {
            vec![("↑↓", "scroll"), ("esc", "back"), ("ctrl-c", "quit")]
        } else if self.typing {
            vec![("enter", "keep filter"), ("esc", "clear filter")]
        } else {
            vec![
                ("q", "quit"),
                ("tab", "view"),
                ("↑↓", "row"),
                ("/", "filter"),
                ("s", "sort"),
                ("r", "reverse"),
                ("enter", enter),
                ("space", "now"),
            ]
        };
        let spans = keys
            .into_iter()
            .flat_map(|(key, does)| [Span::styled(key, bold()), Span::raw(format!(" {does}  "))]);
        Line::from(spans.collect::<Vec<_>>())
    }

    fn front(&self, frame: &mut Frame<'_>, area: Rect) {
        let Some(Overlay { title, text, scroll }) = &self.overlay else { return };
        let area = Rect { y: area.y + 1, height: area.height.saturating_sub(2), ..area };
        let block = Block::bordered().title(format!(" why {title} "));
        frame.render_widget(Clear, area);
        let text = Paragraph::new(text.as_str()).block(block).wrap(Wrap { trim: false }).scroll((*scroll, 0));
        frame.render_widget(text, area);
    }

    fn tone(&self, tone: Tone) -> Style {
        match (tone, self.colours) {
            (Tone::Plain, _) | (Tone::Waits, false) => Style::new(),
            (Tone::Waits, true) => Style::new().fg(Color::Yellow),
            (Tone::Wrong, true) => Style::new().fg(Color::Red),
            (Tone::Wrong, false) => bold(),
        }
    }
}

fn bold() -> Style {
    Style::new().add_modifier(Modifier::BOLD)
}
