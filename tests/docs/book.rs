//! The pages as a book: none is left out, and links to headings meet one.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{files_below, pages, root};
use crate::chart::tool;

/// A heading as links name it, as GitHub and mdbook do.
fn anchor(heading: &str) -> String {
    let plain: String = heading.chars().filter(|letter| !matches!(letter, '`' | '*')).collect();
    let kept = plain.trim().to_lowercase();
    let kept = kept.chars().filter(|letter| letter.is_alphanumeric() || matches!(letter, ' ' | '-' | '_'));
    kept.map(|letter| if letter == ' ' { '-' } else { letter }).collect()
}

fn headings(page: &str) -> BTreeSet<String> {
    let mut fenced = false;
    let mut found = BTreeSet::new();
    for line in page.lines() {
        fenced ^= line.starts_with("```");
        if !fenced && line.starts_with('#') {
            found.insert(anchor(line.trim_start_matches('#')));
        }
    }
    found
}

#[test]
fn the_book_has_every_page() {
    let summary = std::fs::read_to_string(root().join("docs/SUMMARY.md")).unwrap();
    let listed: BTreeSet<String> = summary
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next())
        .map(|page| format!("docs/{page}"))
        .collect();
    let there: BTreeSet<String> = pages()
        .into_iter()
        .map(|(name, _)| name)
        .filter(|name| name.starts_with("docs/") && name != "docs/SUMMARY.md")
        .collect();
    assert_eq!(listed, there, "docs/SUMMARY.md must list each page of docs/ once");
    assert_eq!(summary.matches("](").count(), listed.len(), "a page is listed twice");
}

#[test]
fn links_to_headings_meet_one() {
    let all: std::collections::BTreeMap<_, _> = pages().into_iter().collect();
    let mut seen = 0;
    let mut wrong = Vec::new();
    for (name, page) in &all {
        let folder = root().join(name).parent().unwrap().to_owned();
        for link in page.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let Some((target, heading)) = link.split_once('#').filter(|(target, _)| !target.contains("://"))
            else {
                continue;
            };
            let path = if target.is_empty() { root().join(name) } else { folder.join(target) };
            let Ok(path) = path.canonicalize() else { continue };
            if path.extension().is_none_or(|ending| ending != "md") {
                continue;
            }
            seen += 1;
            if !headings(&std::fs::read_to_string(path).unwrap()).contains(heading) {
                wrong.push(format!("{name}: {link}"));
            }
        }
    }
    assert!(seen > 10, "only {seen} links to headings were found");
    assert!(wrong.is_empty(), "these meet no heading:\n{}", wrong.join("\n"));
}

/// Values of an attribute in a page that mdbook made: all are in double quotes.
fn values<'a>(page: &'a str, attribute: &str) -> impl Iterator<Item = &'a str> {
    let begins = format!(" {attribute}=\"");
    page.match_indices(&begins)
        .map(|(at, begins)| &page[at + begins.len()..])
        .filter_map(|rest| rest.split('"').next())
        .collect::<Vec<_>>()
        .into_iter()
}

/// What is wrong with a link of a page, if anything is.
fn amiss(book: &Path, page: &Path, link: &str) -> Option<String> {
    if link.contains("://") || link.starts_with("mailto:") {
        return None;
    }
    let (target, heading) = link.split_once('#').unwrap_or((link, ""));
    let path: PathBuf = match target {
        "" => page.to_owned(),
        _ => page.parent()?.join(target),
    };
    let Some(path) = path.canonicalize().ok().filter(|path| path.starts_with(book) && path.is_file()) else {
        return Some(format!("{}: {link} is not in the book", page.display()));
    };
    let html = path.extension().is_some_and(|ending| ending == "html");
    if heading.is_empty() || !html {
        return None;
    }
    let there = std::fs::read_to_string(&path).unwrap();
    let met = values(&there, "id").any(|id| id == heading);
    (!met).then(|| format!("{}: {link} meets no heading", page.display()))
}

#[test]
fn the_book_is_made_and_each_of_its_links_leads_somewhere_in_it() {
    let book = Path::new(env!("CARGO_TARGET_TMPDIR")).join("book");
    let _ = std::fs::remove_dir_all(&book);
    let made = Command::new(tool("mdbook")).arg("build").arg("-d").arg(&book).arg(root()).output().unwrap();
    let book = book.canonicalize().unwrap();
    let said = String::from_utf8_lossy(&made.stderr).into_owned();
    assert!(made.status.success() && !said.contains("WARN") && !said.contains("ERROR"), "{said}");
    let (mut seen, mut wrong) = (0, Vec::new());
    for page in files_below(&book, "html") {
        // What is shown for a page that is not there may be anywhere; the page for printing repeats all others.
        if page.file_name().is_some_and(|name| name == "404.html" || name == "print.html") {
            continue;
        }
        let text = std::fs::read_to_string(&page).unwrap();
        let loaded = values(&text, "src").collect::<Vec<_>>();
        assert!(loaded.iter().all(|from| !from.contains("//")), "{}: loads {loaded:?}", page.display());
        for link in values(&text, "href").chain(loaded) {
            seen += 1;
            wrong.extend(amiss(&book, &page, link));
        }
    }
    assert!(seen > 500, "only {seen} links were found");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn pictures_are_drawn_by_hand_and_need_nothing_from_elsewhere() {
    let mut seen = 0;
    for entry in std::fs::read_dir(root().join("docs/images")).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        assert!(text.starts_with("<svg xmlns=") && text.trim_end().ends_with("</svg>"), "{name}");
        assert!(
            text.contains("<title ") && text.contains("<desc "),
            "{name} says nothing to those who cannot see it"
        );
        assert!(
            !text.contains("href=") && !text.contains("<script") && !text.contains("@import"),
            "{name} loads something"
        );
        assert!(
            pages().iter().any(|(_, page)| page.contains(&format!("images/{name}"))),
            "no page shows {name}"
        );
        seen += 1;
    }
    assert!(seen >= 2);
}
