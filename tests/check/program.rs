//! The program itself: files, folders, standard input, exit codes and JSON.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

const GOOD: &str =
    "apiVersion: weir.dev/v1alpha1\nkind: ResourcePool\nmetadata: {name: a}\nspec: {nodes: {selector: {}}}\n";
const BAD: &str = "apiVersion: weir.dev/v1alpha1\nkind: ResourcePool\nmetadata: {name: b}\nspec:\n  parent: a\n  weight: 0\n";

/// A folder of its own for each test, gone afterwards.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("weir-check-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str, text: impl AsRef<[u8]>) -> &Self {
        let path = self.0.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
        self
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn weir(folder: &Folder, args: &[&str], stdin: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_weir"))
        .args(args)
        .current_dir(&folder.0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(stdin.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn a_folder_is_read_with_all_that_is_below_it() {
    let folder = Folder::new("folder");
    folder
        .file("pools/a.yaml", GOOD)
        .file("pools/deep/er/b.yml", BAD)
        .file("pools/c.json", r#"{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "n"}}"#)
        .file("pools/readme.md", "{{{")
        .file("pools/.git/x.yaml", "{{{");
    let output = weir(&folder, &["check", "-f", "pools"], "");
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(
        text(&output.stdout),
        "pools/deep/er/b.yml:6:3: error: pool \"b\": spec.weight: 0 is out of range: write 1 to 10000\n\
         2 objects in 3 files (1 of other kinds ignored): 1 error\n"
    );
}

#[test]
fn several_paths_and_standard_input_are_read_as_one() {
    let folder = Folder::new("stdin");
    folder.file("a.yaml", GOOD);
    let output = weir(
        &folder,
        &["check", "-f", "a.yaml", "-f", "-", "-f", "a.yaml"],
        &BAD.replace("weight: 0", "weight: 1"),
    );
    assert_eq!(text(&output.stdout), "2 objects in 2 files: no problems\n");
    assert_eq!(output.status.code(), Some(0));
    let output = weir(&folder, &["check", "-f", "-"], "spec: [");
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stdout).starts_with("<stdin>:1:"), "{}", text(&output.stdout));
}

#[test]
fn what_cannot_be_read_at_all_exits_with_one() {
    let folder = Folder::new("unreadable");
    folder.file("latin.yaml", b"name: caf\xe9\n").file("a.yaml", GOOD);
    for (args, expected) in [
        (vec!["check", "-f", "nowhere.yaml"], "cannot read nowhere.yaml"),
        (vec!["check", "-f", "latin.yaml"], "cannot read latin.yaml: it is not UTF-8 text"),
        (vec!["check"], "--filename"),
        (vec!["check", "-f", "a.yaml", "-o", "xml"], "xml"),
    ] {
        let output = weir(&folder, &args, "");
        assert_eq!(output.status.code(), Some(1), "{args:?}");
        assert!(text(&output.stderr).contains(expected), "{args:?}: {}", text(&output.stderr));
        assert_eq!(text(&output.stdout), "", "{args:?}");
    }
}

#[test]
fn programs_get_json() {
    let folder = Folder::new("json");
    folder.file("a.yaml", GOOD).file("b.yaml", BAD);
    let output = weir(&folder, &["check", "-f", ".", "-o", "json"], "");
    assert_eq!(output.status.code(), Some(2));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["objects"], 2);
    assert_eq!(report["errors"], 1);
    let finding = &report["findings"][0];
    assert_eq!((finding["line"].as_u64(), finding["column"].as_u64()), (Some(6), Some(3)));
    assert_eq!(finding["field"], "spec.weight");
    assert_eq!(finding["severity"], "error");
    assert_eq!(finding["object"], "pool \"b\"");
}

#[test]
fn warnings_fail_only_when_strict() {
    let folder = Folder::new("strict");
    folder.file("a.yaml", GOOD.replace("name: a", "name: a, namespace: x"));
    let output = weir(&folder, &["check", "-f", "a.yaml"], "");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stdout));
    assert!(text(&output.stdout).ends_with("1 object in 1 file: 1 warning\n"));
    assert_eq!(weir(&folder, &["check", "-f", "a.yaml", "--strict"], "").status.code(), Some(2));
}

#[test]
fn the_definitions_are_printed_and_written() {
    let folder = Folder::new("crds");
    let printed = weir(&folder, &["crds"], "");
    assert_eq!(text(&printed.stdout).matches("kind: CustomResourceDefinition").count(), 2);
    assert!(weir(&folder, &["crds", "--dir", "out/crds"], "").status.success());
    for (file, expected) in weir::cli::crds::files().unwrap() {
        assert_eq!(std::fs::read_to_string(folder.0.join("out/crds").join(file)).unwrap(), expected);
    }
}
