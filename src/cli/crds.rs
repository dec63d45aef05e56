//! `weir crds`: the custom resource definitions as YAML, made from the Rust types.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use serde_json::Value;

use crate::api;

/// What `weir crds` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Write one file for each kind to this folder instead of printing them
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// Every file of `crds/`, with its name and text.
///
/// # Errors
/// Where a definition cannot be written as YAML.
pub fn files() -> anyhow::Result<Vec<(&'static str, String)>> {
    api::crds()
        .into_iter()
        .map(|(file, crd)| {
            // By way of JSON values, which drops what is absent and orders keys by name.
            let mut value = serde_json::to_value(&crd).with_context(|| format!("cannot write {file}"))?;
            tidy(&mut value);
            let yaml = serde_yaml::to_string(&value).with_context(|| format!("cannot write {file}"))?;
            Ok((file, format!("# Made by `weir crds` from src/api; `make generate` writes it anew.\n{yaml}")))
        })
        .collect()
}

/// Makes whole numbers look whole (the Go type of bounds is a float) and descriptions flow.
fn tidy(value: &mut Value) {
    match value {
        Value::Number(number) => {
            if let Some(whole) = number.as_f64().filter(|n| n.fract() == 0.0 && n.abs() < 1e15)
                && !number.is_i64()
                && let Ok(whole) = format!("{whole:.0}").parse::<i64>()
            {
                *value = whole.into();
            }
        }
        Value::Array(items) => items.iter_mut().for_each(tidy),
        Value::Object(fields) => {
            for (key, field) in fields {
                match field {
                    Value::String(text) if key == "description" => *text = text.replace('\n', " "),
                    _ => tidy(field),
                }
            }
        }
        _ => {}
    }
}

/// Prints the definitions or writes them to a folder.
///
/// # Errors
/// Where the folder cannot be written.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let files = files()?;
    if let Some(dir) = &args.dir {
        std::fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
        for (file, text) in files {
            let path = dir.join(file);
            std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let mut out = std::io::stdout().lock();
    for (_, text) in files {
        write!(out, "---\n{text}")?;
    }
    Ok(ExitCode::SUCCESS)
}
