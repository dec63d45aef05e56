//! `weir check`: reads manifests offline and tells everything that is wrong with them, with file and line.
//!
//! It says what the API server would say (schema, unknown fields, CEL) and what the operator would say later:
//! of pool templates, of the tree of pools, and of workloads that could never run. It needs no cluster.

mod namespaces;
mod pools;
pub mod read;
pub mod schema;
mod workloads;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::process::ExitCode;

use serde::Serialize;

use super::exit;
use super::output::{self, Output, counted};
use crate::api::field::{FieldPath, Problems};
use crate::api::{API_VERSION, GROUP, PooledWorkload, ResourcePool, crds};
use namespaces::Namespaces;
use pools::Pools;
pub use read::{File, Node, Position, Tree, parse};
use schema::Schema;

/// What `weir check` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A file, a folder with all YAML and JSON below it, or - for standard input; may be given several times
    #[arg(short = 'f', long = "filename", value_name = "PATH", value_hint = clap::ValueHint::AnyPath, required = true)]
    paths: Vec<PathBuf>,

    /// How findings are printed
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,

    /// Take warnings for errors
    #[arg(long)]
    strict: bool,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// It would be refused, or could never do what it says.
    Error,
    /// It is taken, and probably not meant so.
    Warning,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
        })
    }
}

/// What is wrong with one object, by severity.
#[derive(Debug, Default)]
pub struct Verdicts(Vec<(Severity, FieldPath, String)>);

impl Verdicts {
    fn add(&mut self, severity: Severity, path: FieldPath, message: impl Into<String>) {
        self.0.push((severity, path, message.into()));
    }

    fn errors(&mut self, problems: Problems) {
        self.0.extend(problems.0.into_iter().map(|p| (Severity::Error, p.path, p.message)));
    }
}

/// One thing that is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Finding {
    /// The file.
    pub file: String,
    /// The line, from 1.
    pub line: u64,
    /// The column, from 1.
    pub column: u64,
    /// How bad it is.
    pub severity: Severity,
    /// The object, as in `pool "x"`; empty where there is none.
    pub object: String,
    /// The field, as in `spec.resources[0].limit`; empty where the whole object is meant.
    pub field: String,
    /// What is wrong, and what to write instead.
    pub message: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: {}: ", self.file, self.line, self.column, self.severity)?;
        for part in [&self.object, &self.field] {
            if !part.is_empty() {
                write!(f, "{part}: ")?;
            }
        }
        f.write_str(&self.message)
    }
}

/// All that was found.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// Pools and workloads that were checked.
    pub objects: usize,
    /// Files that were read.
    pub files: usize,
    /// Objects of other kinds, which were not looked at.
    pub ignored: usize,
    /// How many findings are errors.
    pub errors: usize,
    /// How many are warnings.
    pub warnings: usize,
    /// Workloads that were not checked against a pool, since there is no pool among the files.
    pub without_pools: usize,
    /// What is wrong, by file and line.
    pub findings: Vec<Finding>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in &self.findings {
            writeln!(f, "{finding}")?;
        }
        if self.without_pools > 0 {
            let workloads = counted(self.without_pools, "workload");
            writeln!(f, "note: no pool is among the files, so {workloads} could not be checked against one")?;
        }
        write!(f, "{} in {}", counted(self.objects, "object"), counted(self.files, "file"))?;
        if self.ignored > 0 {
            write!(f, " ({} of other kinds ignored)", self.ignored)?;
        }
        match (self.errors, self.warnings) {
            (0, 0) => write!(f, ": no problems"),
            (errors, 0) => write!(f, ": {}", counted(errors, "error")),
            (0, warnings) => write!(f, ": {}", counted(warnings, "warning")),
            (errors, warnings) => {
                write!(f, ": {}, {}", counted(errors, "error"), counted(warnings, "warning"))
            }
        }
    }
}

/// Reads, checks and prints.
///
/// # Errors
/// What cannot be read at all.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let report = check(&read::files(&args.paths)?)?;
    output::print(args.output, &report, |report| format!("{report}\n"))?;
    Ok(exit::stop_if(report.errors > 0 || (args.strict && report.warnings > 0)))
}

/// One pool or workload, with where it came from.
struct Object<'a> {
    file: &'a str,
    node: &'a Node,
    title: String,
    identity: (&'static str, String, String),
    typed: Option<Typed>,
    verdicts: Verdicts,
}

enum Typed {
    Pool(Box<ResourcePool>),
    Workload(Box<PooledWorkload>),
}

/// Checks everything that was read.
///
/// # Errors
/// Where the definitions themselves cannot be used, which is a fault of the program.
pub fn check(files: &[File]) -> anyhow::Result<Report> {
    let checker = Checker::new()?;
    Ok(checker.check(files))
}

/// The schemas of both kinds, ready to be used: making them takes longer than checking a file.
pub struct Checker {
    pools: Schema,
    workloads: Schema,
}

impl Checker {
    /// From the Rust types.
    ///
    /// # Errors
    /// Where the definitions themselves cannot be used, which is a fault of the program.
    pub fn new() -> anyhow::Result<Self> {
        let [(_, pools), (_, workloads)] = crds();
        Ok(Self { pools: Schema::of(&pools)?, workloads: Schema::of(&workloads)? })
    }

    /// Checks everything that was read.
    pub fn check(&self, files: &[File]) -> Report {
        let mut report = Report { files: files.len(), ..Report::default() };
        let mut objects = Vec::new();
        let mut namespaces = Namespaces::default();
        for file in files {
            for document in &file.documents {
                match document {
                    Err((at, message)) => report.findings.push(Finding {
                        file: file.name.clone(),
                        line: at.line,
                        column: at.column,
                        severity: Severity::Error,
                        object: String::new(),
                        field: String::new(),
                        message: format!("cannot be read as YAML: {message}"),
                    }),
                    Ok(node) => gather(&file.name, node, self, &mut objects, &mut namespaces, &mut report),
                }
            }
        }
        report.objects = objects.len();
        duplicates(&mut objects);
        together(&mut objects, &namespaces, &mut report);
        for object in objects {
            report.findings.extend(object.verdicts.0.into_iter().map(|(severity, path, message)| {
                let at = object.node.locate(&path);
                Finding {
                    file: object.file.to_owned(),
                    line: at.line,
                    column: at.column,
                    severity,
                    object: object.title.clone(),
                    field: path.to_string(),
                    message,
                }
            }));
        }
        report.findings.sort();
        report.findings.dedup();
        report.errors = report.findings.iter().filter(|f| f.severity == Severity::Error).count();
        report.warnings = report.findings.len() - report.errors;
        report
    }
}

/// Takes one document, or the items of a List.
fn gather<'a>(
    file: &'a str,
    node: &'a Node,
    checker: &Checker,
    objects: &mut Vec<Object<'a>>,
    namespaces: &mut Namespaces,
    report: &mut Report,
) {
    let finding = |path: &FieldPath, object: &str, message: String| {
        let at = node.locate(path);
        Finding {
            file: file.to_owned(),
            line: at.line,
            column: at.column,
            severity: Severity::Error,
            object: object.to_owned(),
            field: path.to_string(),
            message,
        }
    };
    if !matches!(node.tree, Tree::Map(_)) {
        let message = "this is no object: write apiVersion, kind, metadata and spec".to_owned();
        report.findings.push(finding(&FieldPath::root(), "", message));
        return;
    }
    let (version, kind) =
        (node.text("apiVersion").unwrap_or_default(), node.text("kind").unwrap_or_default());
    if let Some(Node { tree: Tree::List(items), .. }) =
        node.get("items").filter(|_| version == "v1" && kind == "List")
    {
        for item in items {
            gather(file, item, checker, objects, namespaces, report);
        }
        return;
    }
    let ours = version.split('/').next() == Some(GROUP);
    let kind = match kind {
        // Others may have a kind of this name; ours it is when the group is missing or nearly right.
        "ResourcePool" if ours || !version.contains('/') || version.starts_with("weir") => "ResourcePool",
        "PooledWorkload" => "PooledWorkload",
        other if ours => {
            let message = format!("{other:?} is no kind of {GROUP}: write ResourcePool or PooledWorkload");
            report.findings.push(finding(&FieldPath::of("kind"), "", message));
            return;
        }
        other => {
            if version == "v1" && other == "Namespace" {
                namespaces.add(node);
            }
            report.ignored += 1;
            return;
        }
    };
    let metadata = |key| node.get("metadata").and_then(|m| m.text(key)).unwrap_or_default().to_owned();
    let (namespace, name) = (metadata("namespace"), metadata("name"));
    let title = match kind {
        "ResourcePool" => format!("pool {name:?}"),
        _ if namespace.is_empty() => format!("workload {name:?}"),
        _ => format!("workload {:?}", format!("{namespace}/{name}")),
    };
    if version != API_VERSION {
        let message = format!("{version:?} is not known: write {API_VERSION}");
        report.findings.push(finding(&FieldPath::of("apiVersion"), &title, message));
        return;
    }
    let mut object = Object {
        file,
        node,
        title,
        identity: (kind, namespace, name),
        typed: None,
        verdicts: Verdicts::default(),
    };
    alone(&mut object, checker);
    objects.push(object);
}

/// What is wrong with an object whatever stands beside it.
fn alone(object: &mut Object<'_>, checker: &Checker) {
    let value = object.node.value();
    let mut problems = Problems::default();
    let is_pool = object.identity.0 == "ResourcePool";
    let schema = if is_pool { &checker.pools } else { &checker.workloads };
    let sound = schema.validate(&value, &mut problems);
    if is_pool {
        if !object.identity.1.is_empty() {
            object.verdicts.add(
                Severity::Warning,
                FieldPath::of("metadata.namespace"),
                "leave it away: a pool belongs to no namespace",
            );
        }
        object.typed =
            sound.and_then(|v| serde_json::from_value(v).ok()).map(|pool| Typed::Pool(Box::new(pool)));
    } else {
        workloads::template(&value, &mut problems);
        let typed: Option<PooledWorkload> = sound.and_then(|v| serde_json::from_value(v).ok());
        if let Some(workload) = &typed {
            workloads::annotations(workload, &mut problems);
        }
        object.typed = typed.map(|workload| Typed::Workload(Box::new(workload)));
    }
    object.verdicts.errors(problems);
}

/// The same name twice: the later would replace the earlier.
fn duplicates(objects: &mut [Object<'_>]) {
    let mut seen: BTreeMap<(&'static str, String, String), (String, Position)> = BTreeMap::new();
    for object in objects {
        if object.identity.2.is_empty() {
            continue;
        }
        let at = FieldPath::of("metadata.name");
        if let Some((file, first)) = seen.get(&object.identity) {
            object.verdicts.add(
                Severity::Error,
                at,
                format!("the same object is in {file}:{} already: rename or remove one of them", first.line),
            );
        } else {
            let here = (object.file.to_owned(), object.node.locate(&at));
            seen.insert(object.identity.clone(), here);
        }
    }
}

/// What is wrong with objects only when they are seen together.
fn together(objects: &mut [Object<'_>], namespaces: &Namespaces, report: &mut Report) {
    let typed: Vec<ResourcePool> = objects
        .iter()
        .filter_map(|object| match &object.typed {
            Some(Typed::Pool(pool)) => Some((**pool).clone()),
            _ => None,
        })
        .collect();
    let broken: Vec<String> = objects
        .iter()
        .filter(|object| object.identity.0 == "ResourcePool" && object.typed.is_none())
        .map(|object| object.identity.2.clone())
        .collect();
    let pools = Pools::new(&typed, &broken);
    for object in objects {
        match &object.typed {
            Some(Typed::Pool(pool)) => {
                let mut problems = Problems::default();
                if let Some(pool) = pools.get(pool.metadata.name.as_deref().unwrap_or_default()) {
                    pools.check(pool, &mut problems);
                }
                object.verdicts.errors(problems);
            }
            Some(Typed::Workload(_)) if pools.is_empty() => report.without_pools += 1,
            Some(Typed::Workload(workload)) => {
                workloads::against_pools(workload, &pools, namespaces, &mut object.verdicts);
            }
            None => {}
        }
    }
}
