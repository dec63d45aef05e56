//! The reference of the command line, made from the program; and that every command that pages tell of is one.

use std::fmt::Write as _;

use clap::{Command, CommandFactory as _};
use weir::cli::{Cli, Name, exit};

use super::{blocks, generated, pages};

/// Subcommands as a page.
fn reference() -> String {
    let mut text = "# Command line: reference\n\nMade from the program itself by `make generate`. How it is used stands in \
                    [the command line](../cli.md); `weir man DIR` writes the same as man pages. As a plugin of kubectl, write `kubectl weir` for \
                    `weir`.\n\n## Exit codes\n\n| code | meaning |\n|---|---|\n"
        .to_owned();
    for (code, meaning) in exit::TABLE {
        writeln!(text, "| {code} | {meaning} |").unwrap();
    }
    let mut command = Name::Weir.command();
    command.build();
    for subcommand in command.get_subcommands() {
        section(subcommand, &mut text);
    }
    text
}

fn section(command: &Command, text: &mut String) {
    let mut command = command.clone();
    let usage = command.render_usage().to_string();
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    writeln!(text, "\n## weir {}\n\n{about}.\n", command.get_name()).unwrap();
    writeln!(text, "```\n{}\n```\n", usage.trim_start_matches("Usage: ")).unwrap();
    writeln!(text, "| argument | default | meaning |\n|---|---|---|").unwrap();
    for argument in
        command.get_arguments().filter(|argument| !matches!(argument.get_id().as_str(), "help" | "version"))
    {
        let long = argument.get_long().map(|long| format!("--{long}"));
        let short = argument.get_short().map(|short| format!("-{short}"));
        let value = argument
            .get_value_names()
            .filter(|_| argument.get_action().takes_values())
            .and_then(|names| names.first().map(ToString::to_string));
        let names: Vec<String> = short.into_iter().chain(long).collect();
        let shown = match (names.is_empty(), value) {
            (true, value) => value.unwrap_or_else(|| argument.get_id().to_string()),
            (false, None) => names.join(", "),
            (false, Some(value)) => format!("{} {value}", names.join(", ")),
        };
        let defaults: Vec<String> = argument
            .get_default_values()
            .iter()
            .map(|value| format!("`{}`", value.to_string_lossy()))
            .collect();
        let environment = argument.get_env().map(|name| format!("${}", name.to_string_lossy()));
        let default: Vec<String> = environment.into_iter().chain(defaults).collect();
        let takes = argument.get_action().takes_values();
        let values: Vec<String> = argument
            .get_possible_values()
            .iter()
            .filter(|value| takes && !value.is_hide_set())
            .map(|value| format!("`{}`", value.get_name()))
            .collect();
        let mut help = argument
            .get_help()
            .map(ToString::to_string)
            .unwrap_or_default()
            .replace('|', "\\|")
            .replace('<', "&lt;");
        if !values.is_empty() {
            write!(help, ": {}", values.join(", ")).unwrap();
        }
        writeln!(text, "| `{shown}` | {} | {help} |", default.join(", ")).unwrap();
    }
}

#[test]
fn the_reference_of_the_command_line_is_that_of_the_program() {
    generated("docs/reference/cli.md", &reference());
}

/// Whoever trusts that the command line only reads must know what does not.
#[test]
fn subcommands_that_write_to_the_cluster_are_named() {
    let mut writers = std::collections::BTreeSet::new();
    for path in super::files_below(&super::root().join("src/cli"), "rs") {
        let text = std::fs::read_to_string(&path).unwrap();
        let inside = path.strip_prefix(super::root().join("src/cli")).unwrap().display().to_string();
        if ["PatchParams", "PostParams", "DeleteParams", "EvictParams"].iter().any(|one| text.contains(one)) {
            writers.insert(inside.split(['/', '.']).next().unwrap().replace('_', "-"));
        }
    }
    assert_eq!(writers.iter().map(String::as_str).collect::<Vec<_>>(), ["migrate", "release"]);
    for (name, words) in [("docs/cli.md", "writes to the cluster"), ("docs/security.md", "it only reads")] {
        let (_, page) = pages().into_iter().find(|(page, _)| page == name).unwrap();
        let paragraph = page.split("\n\n").flat_map(|one| one.split("\n|")).find(|one| one.contains(words));
        let paragraph = paragraph.unwrap_or_else(|| panic!("{name} does not say {words:?}"));
        for writer in &writers {
            assert!(paragraph.contains(&format!("`weir {writer}`")), "{name}: {writer} writes: {paragraph}");
        }
    }
}

#[test]
fn the_table_of_exit_codes_is_that_of_the_program() {
    let (_, page) = pages().into_iter().find(|(name, _)| name == "docs/cli.md").unwrap();
    for (code, meaning) in exit::TABLE {
        assert!(
            page.contains(&format!("| {code} | {meaning} |")),
            "docs/cli.md does not say: {code} {meaning}"
        );
    }
}

/// Command lines of `weir` in a line of shell: after `kubectl`, too, and in pipes.
fn commands(line: &str) -> Vec<Vec<String>> {
    let line = line.trim().trim_start_matches("$ ");
    let line = line.split(" #").next().unwrap_or_default();
    let parts = line.split(['|', ';', '&', '(', ')', '`']);
    let words = parts.map(|part| part.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
    let called = words.filter_map(|words| {
        let words =
            if words.first().is_some_and(|first| first == "kubectl") { words[1..].to_vec() } else { words };
        (words.first().is_some_and(|first| first == "weir") && words.len() > 1).then_some(words)
    });
    // What follows a redirection is no argument.
    called.map(|words| words.into_iter().take_while(|word| !word.starts_with(['>', '<'])).collect()).collect()
}

#[test]
fn commands_that_pages_tell_of_are_understood() {
    let mut seen = 0;
    let mut wrong = Vec::new();
    // The reference shows usages, which are no commands.
    for (name, page) in pages().into_iter().filter(|(name, _)| name != "docs/reference/cli.md") {
        let in_blocks = ["", "sh", "bash", "shell"].iter().flat_map(|language| blocks(&page, language));
        let lines = in_blocks.flat_map(|(line, text)| {
            let joined = text.replace("\\\n", " ");
            joined.lines().map(|one| (line, one.to_owned())).collect::<Vec<_>>()
        });
        // And whole commands in running text, where nothing is left out.
        let spans = page
            .split('`')
            .skip(1)
            .step_by(2)
            .filter(|span| span.starts_with("weir ") || span.starts_with("kubectl weir "));
        let spans = spans.filter(|span| !span.contains(['\n', '…', '|'])).map(|span| (0, span.to_owned()));
        for (line, text) in lines.chain(spans) {
            for mut words in commands(&text) {
                seen += 1;
                // A mere name of a subcommand is no command line.
                if words.len() == 2 && Cli::command().find_subcommand(&words[1]).is_some() {
                    continue;
                }
                for word in &mut words {
                    *word = word.trim_matches(['"', '\'', ',']).to_owned();
                }
                if let Err(error) = Cli::command().try_get_matches_from(&words)
                    && error.use_stderr()
                {
                    let first = error.to_string().lines().next().unwrap_or_default().to_owned();
                    wrong.push(format!("{name}:{line}: {}: {first}", words.join(" ")));
                }
            }
        }
    }
    assert!(seen > 20, "only {seen} commands were found");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
