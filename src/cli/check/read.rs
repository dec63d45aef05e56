//! Files to documents, with the line and column of every field.

use std::fmt;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use serde_yaml::Spanned;

use crate::api::field::{FieldPath, Step};

/// The largest file that is read, in bytes: more than etcd would ever take, a thousand times over.
const MAX_FILE_BYTES: u64 = 64 << 20;

/// The deepest nesting that is read: that of a pod is a third of it, and a stack has an end.
const MAX_DEPTH: usize = 50;

/// A place in a file, both from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The line.
    pub line: u64,
    /// The column, in characters.
    pub column: u64,
}

/// A value and where it stands.
#[derive(Clone, Debug)]
pub struct Node {
    /// Where it begins.
    pub at: Position,
    /// What it is.
    pub tree: Tree,
}

/// What a node is.
#[derive(Clone, Debug)]
pub enum Tree {
    /// null, a truth value, a number or a text.
    Scalar(Value),
    /// A list.
    List(Vec<Node>),
    /// Keys, where they stand, and their values, in the order of the file.
    Map(Vec<(String, Position, Node)>),
}

impl Node {
    /// The field of a map.
    pub fn get(&self, key: &str) -> Option<&Node> {
        match &self.tree {
            Tree::Map(entries) => entries.iter().find(|(name, ..)| name == key).map(|(.., node)| node),
            _ => None,
        }
    }

    /// The text that a field of a map holds.
    pub fn text(&self, key: &str) -> Option<&str> {
        match &self.get(key)?.tree {
            Tree::Scalar(Value::String(text)) => Some(text),
            _ => None,
        }
    }

    /// The value without its places.
    pub fn value(&self) -> Value {
        match &self.tree {
            Tree::Scalar(value) => value.clone(),
            Tree::List(items) => Value::Array(items.iter().map(Node::value).collect()),
            Tree::Map(entries) => Value::Object(
                entries.iter().map(|(key, _, node)| (key.clone(), node.value())).collect::<Map<_, _>>(),
            ),
        }
    }

    /// Where a field stands: its key, or its value in a list; or as near to it as there is anything.
    pub fn locate(&self, path: &FieldPath) -> Position {
        let (mut node, mut at) = (self, self.at);
        for step in &path.0 {
            let next = match (step, &node.tree) {
                (Step::Key(key), Tree::Map(entries)) => {
                    entries.iter().find(|(name, ..)| name == key).map(|(_, position, node)| (node, *position))
                }
                (Step::Index(index), Tree::List(items)) => items.get(*index).map(|item| (item, item.at)),
                _ => None,
            };
            let Some((next, position)) = next else { break };
            (node, at) = (next, position);
        }
        at
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Tree>::deserialize(deserializer)?;
        let at = Position { line: spanned.referenced.line(), column: spanned.referenced.column() };
        Ok(Self { at, tree: spanned.value })
    }
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TreeVisitor)
    }
}

struct TreeVisitor;

impl<'de> Visitor<'de> for TreeVisitor {
    type Value = Tree;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Tree, E> {
        Ok(Tree::Scalar(Value::Null))
    }

    fn visit_none<E>(self) -> Result<Tree, E> {
        Ok(Tree::Scalar(Value::Null))
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Tree, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Tree, E> {
        Ok(Tree::Scalar(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Tree, E> {
        Ok(Tree::Scalar(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Tree, E> {
        Ok(Tree::Scalar(value.into()))
    }

    fn visit_i128<E>(self, value: i128) -> Result<Tree, E> {
        Ok(Tree::Scalar(value.to_string().into()))
    }

    fn visit_u128<E>(self, value: u128) -> Result<Tree, E> {
        Ok(Tree::Scalar(value.to_string().into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Tree, E> {
        Ok(Tree::Scalar(value.into()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Tree, E> {
        Ok(Tree::Scalar(value.into()))
    }

    fn visit_string<E>(self, value: String) -> Result<Tree, E> {
        Ok(Tree::Scalar(value.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Tree, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(Tree::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Tree, A::Error> {
        let mut entries = Vec::new();
        while let Some((key, node)) = access.next_entry::<Spanned<String>, Node>()? {
            let at = Position { line: key.referenced.line(), column: key.referenced.column() };
            entries.push((key.value, at, node));
        }
        Ok(Tree::Map(entries))
    }
}

/// One file as it was read.
#[derive(Debug)]
pub struct File {
    /// Its name as findings show it.
    pub name: String,
    /// Its documents; what could not be read as YAML is the place and the parser's words.
    pub documents: Vec<Result<Node, (Position, String)>>,
}

/// The documents of one text.
pub fn parse(name: &str, text: &str) -> File {
    let options = serde_yaml::options! {
        with_snippet: false,
        budget: serde_yaml::budget! { max_depth: MAX_DEPTH },
    };
    let mut reader = text.as_bytes();
    let mut documents = Vec::new();
    for document in serde_yaml::read_with_options::<_, Node>(&mut reader, options) {
        match document {
            Ok(Node { tree: Tree::Scalar(Value::Null), .. }) => {}
            Ok(node) => documents.push(Ok(node)),
            Err(error) => {
                let at = error.location().map_or(Position { line: 1, column: 1 }, |location| Position {
                    line: location.line().max(1),
                    column: location.column().max(1),
                });
                documents.push(Err((at, words(&error.to_string()))));
            }
        }
    }
    File { name: name.to_owned(), documents }
}

/// The parser's first line: findings are one line each, and have their own place.
fn words(message: &str) -> String {
    let line = message.lines().next().unwrap_or_default();
    if line.starts_with("budget breached") || line.starts_with("recursion limit") {
        return "it is nested too deeply, or its aliases grow to too much".to_owned();
    }
    let line = line.split_once(" at line ").map_or(line, |(words, _)| words);
    line.split(", set DuplicateKeyPolicy").next().unwrap_or(line).to_owned()
}

/// Every file that the paths stand for, read: a file, a folder with all that is below it, or `-`.
///
/// # Errors
/// What cannot be read at all.
pub fn files(paths: &[PathBuf]) -> anyhow::Result<Vec<File>> {
    let mut found: Vec<PathBuf> = Vec::new();
    for path in paths {
        if path.as_os_str() != "-" && path.is_dir() {
            below(path, &mut found)?;
        } else {
            found.push(path.clone());
        }
    }
    let mut seen = std::collections::BTreeSet::new();
    found.retain(|path| seen.insert(path.clone()));
    found
        .iter()
        .map(|path| {
            let (name, bytes) = if path.as_os_str() == "-" {
                ("<stdin>".to_owned(), read_bounded(std::io::stdin().lock(), "standard input")?)
            } else {
                let name = path.display().to_string();
                let file = std::fs::File::open(path).with_context(|| format!("cannot read {name}"))?;
                let bytes = read_bounded(file, &name)?;
                (name, bytes)
            };
            let text = String::from_utf8(bytes)
                .with_context(|| format!("cannot read {name}: it is not UTF-8 text"))?;
            Ok(parse(&name, &text))
        })
        .collect()
}

fn read_bounded(source: impl std::io::Read, name: &str) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    source.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).with_context(|| format!("cannot read {name}"))?;
    anyhow::ensure!(bytes.len() as u64 <= MAX_FILE_BYTES, "cannot read {name}: it is larger than 64 MiB");
    Ok(bytes)
}

/// YAML and JSON files below a folder, by name. Hidden ones, and links to folders, are passed over.
fn below(folder: &Path, found: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    let context = || format!("cannot read {}", folder.display());
    let entries: Result<Vec<_>, _> = std::fs::read_dir(folder).with_context(context)?.collect();
    let mut entries = entries.with_context(context)?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        if entry.file_name().to_string_lossy().starts_with('.') {
            continue;
        }
        let path = entry.path();
        if entry.file_type().with_context(context)?.is_dir() {
            below(&path, found)?;
        } else if path.extension().is_some_and(|e| e == "yaml" || e == "yml" || e == "json") && path.is_file()
        {
            found.push(path);
        }
    }
    Ok(())
}
