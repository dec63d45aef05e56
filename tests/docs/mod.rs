//! The documentation: it is up to date, its links lead somewhere, what it tells users to write is right, and no
//! option of the program is left out.

mod api;
mod book;
mod cli;

use std::path::{Path, PathBuf};

use clap::CommandFactory as _;
use weir::api::reasons;
use weir::cli::Cli;
use weir::cli::check::{Checker, File, Report, parse};
use weir::operate::metrics::described;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn files_below(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let hidden = path.file_name().unwrap().to_string_lossy().starts_with('.');
        if path.is_dir() && !hidden && !path.ends_with("target") {
            found.extend(files_below(&path, ending));
        } else if path.extension().is_some_and(|ext| ext == ending) {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// Every page, with its path from the root of the repository.
fn pages() -> Vec<(String, String)> {
    files_below(&root(), "md")
        .into_iter()
        .map(|path| {
            let name = path.strip_prefix(root()).unwrap().display().to_string();
            (name, std::fs::read_to_string(path).unwrap())
        })
        .collect()
}

/// The fenced blocks of one language, each with its line.
fn blocks(page: &str, language: &str) -> Vec<(usize, String)> {
    let mut blocks = Vec::new();
    let mut open: Option<(usize, bool, String)> = None;
    for (number, line) in page.lines().enumerate() {
        match (&mut open, line.trim_end().strip_prefix("```")) {
            (None, Some(fence)) => open = Some((number + 2, fence == language, String::new())),
            (Some(_), Some(_)) => {
                let (line, wanted, text) = open.take().unwrap();
                if wanted {
                    blocks.push((line, text));
                }
            }
            (Some((.., text)), None) => {
                text.push_str(line);
                text.push('\n');
            }
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "a block is not closed");
    blocks
}

#[test]
fn reasons_are_those_of_the_program() {
    let path = root().join("docs/reasons.md");
    let wanted = reasons::documentation();
    if std::env::var_os("WEIR_GENERATE").is_some() {
        std::fs::write(&path, &wanted).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(found == wanted, "docs/reasons.md is not what src/api/reasons.rs says: run `make generate`");
}

#[test]
fn metrics_are_those_of_the_program() {
    let path = root().join("docs/metrics.md");
    let wanted = described::documentation();
    if std::env::var_os("WEIR_GENERATE").is_some() {
        std::fs::write(&path, &wanted).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(found == wanted, "docs/metrics.md is not what src/operate/metrics/ says: run `make generate`");
}

/// Writes a page that is made, where that is asked for; else it must be as it would be made.
fn generated(name: &str, wanted: &str) {
    let path = root().join(name);
    if std::env::var_os("WEIR_GENERATE").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, wanted).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(found == wanted, "{name} is not what the program says: run `make generate`");
}

#[test]
fn links_lead_somewhere() {
    let mut seen = 0;
    let mut wrong = Vec::new();
    for (name, page) in pages() {
        let folder = root().join(&name).parent().unwrap().to_owned();
        for link in page.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let target = link.split('#').next().unwrap_or_default();
            if target.is_empty() || target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            seen += 1;
            if !folder.join(target).exists() {
                wrong.push(format!("{name}: {link}"));
            }
        }
    }
    assert!(seen > 20, "only {seen} links were found");
    assert_eq!(wrong, [""; 0], "these lead nowhere");
}

#[test]
fn what_users_are_told_to_write_is_right() {
    let checker = Checker::new().unwrap();
    let mut objects = 0;
    let mut wrong = Vec::new();
    for (name, page) in pages() {
        // The blocks of one page belong together.
        let files: Vec<File> = blocks(&page, "yaml")
            .into_iter()
            .map(|(line, text)| parse(&format!("{name}, block at line {line}"), &text))
            .collect();
        let report: Report = checker.check(&files);
        objects += report.objects;
        wrong.extend(report.findings.iter().map(ToString::to_string));
    }
    assert!(objects > 5, "only {objects} objects were found");
    assert_eq!(wrong, [""; 0]);
}

fn examples(folder: &str) -> Vec<File> {
    let files = files_below(&root().join("examples").join(folder), "yaml");
    assert!(!files.is_empty(), "examples/{folder} has no manifests");
    files
        .iter()
        .map(|path| parse(&path.display().to_string(), &std::fs::read_to_string(path).unwrap()))
        .collect()
}

#[test]
fn the_examples_are_right() {
    let checker = Checker::new().unwrap();
    let mut files = examples("company");
    files.extend(examples("machines"));
    let report = checker.check(&files);
    assert!(report.objects >= 20 && report.findings.is_empty(), "{report}");
}

#[test]
fn the_examples_of_mistakes_are_wrong() {
    let checker = Checker::new().unwrap();
    let mistakes = files_below(&root().join("examples/refused"), "yaml");
    let mut files = examples("company");
    files.extend(examples("refused"));
    let report = checker.check(&files);
    for path in &mistakes {
        let name = path.display().to_string();
        assert_eq!(report.findings.iter().filter(|finding| finding.file == name).count(), 1, "{report}");
    }
    assert_eq!(report.findings.len(), mistakes.len(), "{report}");
}

#[test]
fn every_option_of_the_program_is_told_of() {
    let by_hand = pages().into_iter().filter(|(name, _)| name != "docs/reference/cli.md");
    let told: String = by_hand.map(|(_, page)| page).collect();
    let mut missing = Vec::new();
    for command in Cli::command().get_subcommands() {
        let name = command.get_name();
        if !told.contains(&format!("weir {name}")) {
            missing.push(format!("weir {name}"));
        }
        for option in command.get_arguments().filter_map(clap::Arg::get_long) {
            if !["help", "version"].contains(&option) && !told.contains(&format!("--{option}")) {
                missing.push(format!("weir {name} --{option}"));
            }
        }
    }
    assert_eq!(missing, [""; 0], "no page tells of these");
}
