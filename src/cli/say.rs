//! Words, numbers and tables for people.

use std::fmt::Write as _;

use crate::api::Duration;
use crate::api::quantity::is_bytes;
use crate::model::time::Span;

/// A span in its two largest units: `45s`, `3m 20s`, `2h 5m`, `1d 4h`.
pub fn span(span: Span) -> String {
    let seconds = span.0.max(0) / 1000;
    if seconds == 0 {
        return if span.0 > 0 { format!("{}ms", span.0) } else { "0s".to_owned() };
    }
    let parts = [(86_400, "d"), (3_600, "h"), (60, "m"), (1, "s")];
    let first = parts.iter().position(|(size, _)| seconds >= *size).unwrap_or(3);
    let mut rest = seconds;
    let mut told = Vec::new();
    for (size, unit) in parts.iter().skip(first).take(2) {
        if rest / size > 0 {
            told.push(format!("{}{unit}", rest / size));
        }
        rest %= size;
    }
    told.join(" ")
}

/// A length of time as it is written on the command line: days, and what the API takes.
///
/// # Errors
/// What to write.
pub fn duration(text: &str) -> Result<Duration, String> {
    const DAY: i64 = 24 * 60;
    let wrong = || {
        format!("{text:?} is not a length of time: write days, hours and minutes, such as 12h, 7d or 1d12h")
    };
    let (days, rest) =
        text.split_once('d').map_or((0, text), |(days, rest)| (days.parse().unwrap_or(-1), rest));
    let rest: Duration = if rest.is_empty() && text.ends_with('d') {
        Duration::default()
    } else {
        rest.parse().map_err(|_| wrong())?
    };
    if !(0..=100_000).contains(&days) {
        return Err(wrong());
    }
    Ok(Duration::from_millis(Span::minutes(days * DAY).0.saturating_add(rest.as_millis())))
}

/// A number and its word.
pub fn counted(count: usize, word: &str) -> String {
    if count == 1 { format!("1 {word}") } else { format!("{count} {word}s") }
}

/// A share in percent.
pub fn percent(share: f64) -> String {
    if !share.is_finite() {
        return "-".to_owned();
    }
    if share > 0.0 && share < 0.01 {
        format!("{:.1}%", share * 100.0)
    } else {
        format!("{:.0}%", share * 100.0)
    }
}

/// An amount as people say it: cores with one decimal, bytes in binary units, else the number.
pub fn amount(resource: &str, units: f64) -> String {
    if resource == "cpu" {
        return decimal(units / 1000.0);
    }
    if is_bytes(resource) {
        let sizes = [(4, "Ti"), (3, "Gi"), (2, "Mi"), (1, "Ki")];
        for (power, unit) in sizes {
            let size = 1024_f64.powi(power);
            if units.abs() >= size {
                return format!("{}{unit}", decimal(units / size));
            }
        }
    }
    decimal(units)
}

fn decimal(number: f64) -> String {
    let text = format!("{number:.1}");
    text.strip_suffix(".0").map_or_else(|| text.clone(), ToOwned::to_owned)
}

/// What the shares of a time are, as bars of eight heights; 1 is the highest.
pub fn bars(shares: &[f64]) -> String {
    const HEIGHTS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    shares
        .iter()
        .map(|share| {
            if *share <= 0.0 || !share.is_finite() {
                return '·';
            }
            let at = HEIGHTS.iter().zip(1_u8..).find(|(_, height)| share * 8.0 <= f64::from(*height) + 1e-9);
            at.map_or('█', |(bar, _)| *bar)
        })
        .collect()
}

/// A table: the first row is its head. Columns are as wide as they must be.
#[derive(Debug, Default)]
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// With that head.
    pub fn new<const N: usize>(head: [&str; N]) -> Self {
        Self { rows: vec![head.iter().map(|one| (*one).to_owned()).collect()] }
    }

    /// With a head whose columns are known when it runs.
    pub fn with_head(head: Vec<String>) -> Self {
        Self { rows: vec![head] }
    }

    /// Adds a row.
    pub fn row(&mut self, row: Vec<String>) {
        self.rows.push(row);
    }

    /// Whether there is no row below the head.
    pub fn is_empty(&self) -> bool {
        self.rows.len() < 2
    }

    /// For a terminal.
    pub fn text(&self) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |at: usize| {
            self.rows.iter().filter_map(|row| row.get(at)).map(|one| one.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let mut text = String::new();
        for row in &self.rows {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                line.push_str(cell);
                let missing = width.saturating_sub(cell.chars().count()) + 3;
                line.extend(std::iter::repeat_n(' ', missing));
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }

    /// For a pull request.
    pub fn markdown(&self) -> String {
        let mut text = String::new();
        for (number, row) in self.rows.iter().enumerate() {
            let cells: Vec<String> = row.iter().map(|cell| cell.replace('|', "\\|")).collect();
            let _ = writeln!(text, "| {} |", cells.join(" | "));
            if number == 0 {
                let _ = writeln!(text, "|{}", "---|".repeat(row.len()));
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_told_in_two_units() {
        for (seconds, told) in [
            (0, "0s"),
            (45, "45s"),
            (60, "1m"),
            (200, "3m 20s"),
            (7_500, "2h 5m"),
            (100_800, "1d 4h"),
            (3_605, "1h"),
        ] {
            assert_eq!(span(Span::seconds(seconds)), told);
        }
        assert_eq!(span(Span(250)), "250ms");
    }

    #[test]
    fn amounts_shares_and_bars_are_short() {
        assert_eq!(amount("cpu", 2500.0), "2.5");
        assert_eq!(amount("memory", 3.0 * 1024.0 * 1024.0 * 1024.0), "3Gi");
        assert_eq!(amount("nvidia.com/gpu", 4.0), "4");
        assert_eq!((percent(0.5).as_str(), percent(0.004).as_str()), ("50%", "0.4%"));
        assert_eq!(bars(&[0.0, 0.1, 0.5, 1.0, 1.2]), "·▁▄██");
    }

    #[test]
    fn tables_are_aligned_and_escaped() {
        let mut table = Table::new(["NAME", "N"]);
        table.row(vec!["a|b".into(), "1".into()]);
        assert_eq!(table.text(), "NAME   N\na|b    1\n");
        assert_eq!(table.markdown(), "| NAME | N |\n|---|---|\n| a\\|b | 1 |\n");
    }
}
