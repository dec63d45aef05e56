//! What publishes Weir: the Dockerfile and the workflows, as far as that can be told without running them.

use std::fs;
use std::process::Command;

use super::{root, text, tool};

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap()
}

/// The instructions of the Dockerfile, each in one line.
fn instructions() -> Vec<(String, String)> {
    let mut all = Vec::new();
    let mut open = String::new();
    for line in read("Dockerfile")
        .lines()
        .filter(|line| !line.trim_start().starts_with('#') && !line.trim().is_empty())
    {
        if let Some(part) = line.strip_suffix('\\') {
            open += part;
        } else {
            let whole = std::mem::take(&mut open) + line;
            let (word, rest) = whole.trim().split_once(' ').unwrap();
            all.push((word.to_owned(), rest.trim().to_owned()));
        }
    }
    assert!(open.is_empty(), "the last line goes on");
    all
}

#[test]
fn the_image_holds_one_program_that_runs_as_nobody() {
    let all = instructions();
    let known = ["FROM", "ARG", "RUN", "WORKDIR", "COPY", "USER", "EXPOSE", "ENTRYPOINT", "CMD"];
    let odd: Vec<&String> =
        all.iter().map(|(word, _)| word).filter(|word| !known.contains(&word.as_str())).collect();
    assert!(odd.is_empty(), "what is that for? {odd:?}");
    // Dumps say which commit wrote them.
    let told: Vec<&str> =
        all.iter().filter(|(word, _)| word == "ARG").map(|(_, rest)| rest.as_str()).collect();
    assert_eq!(told, ["WEIR_COMMIT"]);
    assert!(read(".github/workflows/release.yml").contains("build-args: WEIR_COMMIT=${{ github.sha }}"));
    let froms: Vec<usize> = (0..all.len()).filter(|at| all[*at].0 == "FROM").collect();
    assert_eq!(froms.len(), 2, "one stage builds, one ships");
    let (build, ship) = (&all[froms[0]..froms[1]], &all[froms[1]..]);
    let rust = read("Cargo.toml")
        .lines()
        .find_map(|line| line.strip_prefix("rust-version = ").map(str::to_owned))
        .unwrap();
    assert_eq!(
        build[0].1,
        format!("rust:{}-alpine AS build", rust.trim_matches('"')),
        "the compiler that we promise"
    );
    assert!(
        build
            .iter()
            .filter(|(_, rest)| rest.contains("cargo build"))
            .all(|(_, rest)| rest.contains("--locked"))
    );
    assert_eq!(ship[0].1, "scratch");
    let shipped: Vec<&str> =
        ship.iter().filter(|(word, _)| word == "COPY").map(|(_, rest)| rest.as_str()).collect();
    assert_eq!(shipped, ["LICENSE /LICENSE", "--from=build /weir/target/release/weir /weir"]);
    let only = |word: &str| {
        let found: Vec<&str> =
            ship.iter().filter(|(one, _)| one == word).map(|(_, rest)| rest.as_str()).collect();
        assert_eq!(found.len(), 1, "{word}");
        found[0].to_owned()
    };
    // The same user as in the chart, and the arguments of the chart follow the program.
    let user = only("USER");
    let pod = fs::read_to_string(root().join("charts/weir/templates/_helpers.tpl")).unwrap();
    let (uid, gid) = user.split_once(':').unwrap();
    assert!(pod.contains(&format!("runAsUser: {uid}\n")) && pod.contains(&format!("runAsGroup: {gid}\n")));
    assert_eq!(only("ENTRYPOINT"), "[\"/weir\"]");
    assert_eq!(only("CMD"), "[\"run\"]");
    assert_eq!(only("EXPOSE"), "8080 8443");
}

/// What is copied is there, and .dockerignore lets it through.
#[test]
fn the_image_is_built_from_files_that_are_there() {
    let ignored = read(".dockerignore");
    let let_through: Vec<&str> = ignored.lines().filter_map(|line| line.strip_prefix('!')).collect();
    assert_eq!(ignored.lines().next(), Some("*"));
    let all = instructions();
    let copies = all.iter().filter(|(word, rest)| word == "COPY" && !rest.starts_with("--from"));
    let mut seen = 0;
    for (_, rest) in copies {
        let mut words: Vec<&str> = rest.split(' ').collect();
        words.pop();
        for source in words {
            seen += 1;
            assert!(root().join(source).exists(), "there is no {source}");
            assert!(let_through.contains(&source), ".dockerignore keeps {source} out");
        }
    }
    assert!(seen >= 6);
    // Every target of the manifest that the image does not build is left out on purpose.
    for path in read("Cargo.toml").lines().filter_map(|line| line.strip_prefix("path = ")) {
        let path = path.trim_matches('"');
        let folder = path.split('/').next().unwrap();
        let stub = read("Dockerfile").contains(path);
        assert!(
            stub || let_through.iter().any(|one| path.starts_with(one)),
            "{folder}: {path} is not in the image's build"
        );
    }
}

/// Known weaknesses, licences and sources are looked at for every change, once a week, and before anything is published.
#[test]
fn what_it_is_built_from_is_checked_by_every_workflow() {
    for name in ["ci", "matrix", "release"] {
        let workflow: serde_json::Value =
            serde_yaml::from_str(&read(&format!(".github/workflows/{name}.yml"))).unwrap();
        let steps = workflow["jobs"]["deny"]["steps"].as_array().unwrap();
        assert_eq!(steps.last().unwrap()["run"], ".ci/deny", "{name}");
        assert!(workflow["jobs"]["deny"]["if"].is_null(), "{name}: always");
        // Each other job of the release comes after it, by whom it needs.
        let mut job = "krew".to_owned();
        while name == "release" && job != "deny" {
            job = workflow["jobs"][&job]["needs"].as_str().unwrap_or_else(|| panic!("{job}")).to_owned();
        }
    }
    let script = read(".ci/deny");
    let checks = script.lines().find_map(|line| line.split_once(" check ")).unwrap().1;
    assert_eq!(checks.split(' ').collect::<Vec<_>>(), ["advisories", "bans", "licenses", "sources"]);
    assert!(script.contains("cargo install") && script.contains("--locked"));
    assert!(!script.contains("|| true") && script.contains("set -euo pipefail"));
    let output = Command::new("bash").arg("-n").arg(root().join(".ci/deny")).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
}

#[test]
fn workflows_are_sound_and_pin_what_they_use() {
    let folder = root().join(".github/workflows");
    let mut files: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.push(root().join("examples/gitops/pipeline/check.yaml"));
    assert!(files.len() >= 3);
    // Without helpers that a machine may have or not, so that it says the same everywhere.
    let output = Command::new(tool("actionlint"))
        .args(["-no-color", "-shellcheck=", "-pyflakes="])
        .args(&files)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    let mut used = 0;
    for file in &files {
        let workflow = fs::read_to_string(file).unwrap();
        for line in workflow.lines().filter_map(|line| line.split_once("uses: ")) {
            used += 1;
            let (action, version) =
                line.1.split_once(" # v").unwrap_or_else(|| panic!("{}: no version", line.1));
            let (_, commit) = action.split_once('@').unwrap();
            let pinned = commit.len() == 40 && commit.bytes().all(|c| c.is_ascii_hexdigit());
            assert!(pinned && version.starts_with(|c: char| c.is_ascii_digit()), "{} is not pinned", line.1);
        }
        // Texts of others come by the environment, never into a script.
        let workflow: serde_json::Value = serde_yaml::from_str(&workflow).unwrap();
        let jobs = workflow["jobs"].as_object().unwrap();
        for step in jobs.values().flat_map(|job| job["steps"].as_array().unwrap()) {
            let script = step["run"].as_str().unwrap_or_default();
            assert!(!script.contains("${{"), "an expression in a script: {script}");
        }
        assert_eq!(workflow["permissions"], serde_json::json!({"contents": "read"}), "{}", file.display());
    }
    assert!(used >= 10);
}
