//! The manifest for krew, as the release fills it.

use std::path::Path;
use std::process::{Command, Output};

use clap::CommandFactory as _;
use serde_json::Value;
use weir::cli::Cli;

use super::program::{Folder, err, out};

fn krew(folder: &Folder, version: &str) -> Output {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("plugin/krew.sh");
    Command::new(script).args([version, "https://example.com/weir"]).arg(&folder.0).output().unwrap()
}

fn archive(folder: &Folder, name: &str, files: &[&str]) {
    for file in files {
        std::fs::write(folder.0.join(file), name).unwrap();
    }
    let mut tar = Command::new("tar");
    tar.arg("-czf").arg(folder.0.join(name)).arg("-C").arg(&folder.0).args(files);
    assert!(tar.status().unwrap().success());
}

#[test]
fn the_manifest_for_krew_names_what_the_release_offers() {
    let folder = Folder::new("krew");
    assert!(err(&krew(&folder, "v1.2.3")).contains("no archive kubectl-weir-OS-ARCH.tar.gz"));
    let platforms = [("darwin", "arm64"), ("linux", "amd64"), ("linux", "arm64")];
    for (os, arch) in platforms {
        archive(&folder, &format!("kubectl-weir-{os}-{arch}.tar.gz"), &["kubectl-weir", "LICENSE"]);
    }
    assert!(err(&krew(&folder, "1.2")).contains("1.2 is no version: write v1.2.3"));
    let output = krew(&folder, "v1.2.3");
    assert!(output.status.success(), "{}", err(&output));
    let manifest: Value = serde_yaml::from_str(&out(&output)).unwrap();
    assert_eq!(manifest["apiVersion"], "krew.googlecontainertools.github.com/v1alpha2");
    assert_eq!((&manifest["kind"], &manifest["metadata"]["name"]), (&"Plugin".into(), &"weir".into()));
    let spec = &manifest["spec"];
    assert_eq!((&spec["version"], &spec["homepage"]), (&"v1.2.3".into(), &"https://example.com/weir".into()));
    // Krew's index wants a short one without a full stop.
    let short = spec["shortDescription"].as_str().unwrap();
    assert!(short.len() <= 50 && !short.ends_with('.'), "{short}");
    let listed = spec["platforms"].as_array().unwrap();
    assert_eq!(listed.len(), platforms.len());
    for (platform, (os, arch)) in listed.iter().zip(platforms) {
        let labels = &platform["selector"]["matchLabels"];
        assert_eq!((&labels["os"], &labels["arch"]), (&os.into(), &arch.into()));
        let name = format!("kubectl-weir-{os}-{arch}.tar.gz");
        assert_eq!(platform["uri"], format!("https://example.com/weir/releases/download/v1.2.3/{name}"));
        let sum = out(&Command::new("sha256sum").arg(folder.0.join(&name)).output().unwrap());
        assert_eq!(platform["sha256"], sum.split(' ').next().unwrap());
        assert_eq!(
            (&platform["bin"], &platform["files"][1]["from"]),
            (&"kubectl-weir".into(), &"LICENSE".into())
        );
    }
    let described = spec["description"].as_str().unwrap();
    let named =
        described.lines().filter_map(|line| line.trim().strip_prefix("kubectl weir ")?.split(' ').next());
    let named: Vec<&str> = named.collect();
    assert!(named.len() > 3);
    for name in named {
        assert!(Cli::command().find_subcommand(name).is_some(), "there is no `weir {name}`");
    }
    archive(&folder, "kubectl-weir-plan9-amd64.tar.gz", &["kubectl-weir", "LICENSE"]);
    assert!(err(&krew(&folder, "v1.2.3")).contains("for no system that krew knows here"));
    std::fs::remove_file(folder.0.join("kubectl-weir-plan9-amd64.tar.gz")).unwrap();
    archive(&folder, "kubectl-weir-linux-amd64.tar.gz", &["kubectl-weir"]);
    assert!(err(&krew(&folder, "v1.2.3")).contains("does not hold LICENSE"));
}
