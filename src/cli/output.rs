//! How answers are printed: a table for people, JSON or YAML for programs.

use std::io::Write as _;

use serde::Serialize;

/// How an answer is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Output {
    /// For people.
    #[default]
    #[value(alias = "text")]
    Table,
    /// One JSON object.
    Json,
    /// One YAML document.
    Yaml,
}

/// Prints an answer; `table` makes the text for people, which ends in a newline.
///
/// # Errors
/// Where standard output cannot be written.
pub fn print<T: Serialize>(
    output: Output,
    answer: &T,
    table: impl FnOnce(&T) -> String,
) -> anyhow::Result<()> {
    let text = match output {
        Output::Table => table(answer),
        Output::Json => serde_json::to_string_pretty(answer)? + "\n",
        Output::Yaml => serde_yaml::to_string(answer)?,
    };
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(())
}

/// Rows under a heading, each column as wide as it must be; lines do not end in spaces.
pub fn columns(heading: &[&str], rows: &[Vec<String>]) -> String {
    let all = || {
        let heading: Vec<String> = heading.iter().map(|word| (*word).to_owned()).collect();
        std::iter::once(heading).chain(rows.iter().cloned())
    };
    let width =
        |at: usize| all().map(|row| row.get(at).map_or(0, |cell| cell.chars().count())).max().unwrap_or(0);
    let widths: Vec<usize> = (0..heading.len()).map(width).collect();
    let mut text = String::new();
    for row in all() {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// How long something takes or took, as `kubectl` shows it: `45s`, `12m`, `3h20m`, `5d`.
pub fn span(seconds: i64) -> String {
    let seconds = seconds.max(0);
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7200 => format!("{}m", seconds / 60),
        7200..172_800 => match seconds % 3600 / 60 {
            0 => format!("{}h", seconds / 3600),
            minutes => format!("{}h{minutes}m", seconds / 3600),
        },
        _ => format!("{}d", seconds / 86_400),
    }
}

/// A workload as it is named: `namespace/name`.
pub fn title(namespace: &str, name: &str) -> String {
    format!("{namespace}/{name}")
}

/// `1 pool`, `2 pools`.
pub fn counted(count: usize, word: &str) -> String {
    if count == 1 { format!("1 {word}") } else { format!("{count} {word}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_they_must_be() {
        let rows = [vec!["a".to_owned(), "1".to_owned()], vec!["longer".to_owned(), String::new()]];
        assert_eq!(columns(&["NAME", "COUNT"], &rows), "NAME    COUNT\na       1\nlonger\n");
    }

    #[test]
    fn spans_are_short() {
        for (seconds, shown) in
            [(-3, "0s"), (119, "119s"), (120, "2m"), (7200, "2h"), (12_060, "3h21m"), (172_800, "2d")]
        {
            assert_eq!(span(seconds), shown);
        }
    }
}
