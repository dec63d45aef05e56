//! `weir check`: each file in `cases/` is what somebody wrote; its last lines, which begin with `#>`, are what
//! must be found in it, and the file name is the sentence that it proves.

mod agreement;
mod garbage;
mod program;

use std::path::Path;

use weir::cli::check::{Checker, parse};

#[test]
fn every_case_is_found_as_it_says() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/check/cases");
    let mut files: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let checker = Checker::new().unwrap();
    let (mut cases, mut wrong) = (0, Vec::new());
    for path in files {
        let text = std::fs::read_to_string(&path).unwrap();
        let name = path.file_stem().unwrap().to_str().unwrap();
        let expected: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("#> ")).collect();
        assert!(!expected.is_empty(), "{name} says not what must be found");
        let report = checker.check(&[parse("FILE", &text)]).to_string();
        let found: Vec<_> = report.lines().map(|line| line.strip_prefix("FILE:").unwrap_or(line)).collect();
        cases += 1;
        if found != expected {
            wrong.push(format!("{name}\nexpected:\n{}\nfound:\n{}\n", expected.join("\n"), found.join("\n")));
        }
    }
    assert!(cases >= 35, "only {cases} cases were found");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
