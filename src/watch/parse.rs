//! Lists and watch events as bytes, read in one pass where all is well.
//!
//! An object that cannot be read spoils itself alone: what can be read of it is its metadata.

use std::borrow::Cow;

use kube::Resource;
use kube::core::{ObjectMeta, Status};
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// One object as it was read.
#[derive(Debug)]
pub enum Read<K> {
    /// Well.
    Object(K),
    /// Not at all: its metadata and what is wrong.
    Unreadable(Box<ObjectMeta>, String),
}

/// One line of a watch.
#[derive(Debug)]
pub enum Line<K> {
    /// An object is new or changed.
    Applied(Read<K>),
    /// An object is gone.
    Deleted(Box<ObjectMeta>),
    /// All up to this resourceVersion has been shown.
    Bookmark(String),
    /// The watch ends, and why.
    Error(Box<Status>),
}

/// One page of a list.
#[derive(Debug)]
pub struct Page<K> {
    /// The objects.
    pub items: Vec<Read<K>>,
    /// Where a watch goes on from.
    pub resource_version: String,
    /// Token of the next page, if there is one.
    pub next: Option<String>,
}

#[derive(Deserialize)]
struct Typed<'a, K> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    object: K,
}

#[derive(Deserialize)]
struct Head<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Bare {
    #[serde(default)]
    metadata: ObjectMeta,
}

#[derive(Deserialize)]
#[serde(bound = "K: DeserializeOwned")]
struct List<K> {
    #[serde(default)]
    metadata: ListMeta,
    items: Option<Vec<K>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListMeta {
    #[serde(default)]
    resource_version: String,
    #[serde(default, rename = "continue")]
    next: String,
}

/// Reads one line of a watch.
///
/// # Errors
/// Where the line is no watch event at all.
pub fn line<K: DeserializeOwned + Resource<DynamicType = ()>>(
    bytes: &[u8],
) -> Result<Line<K>, serde_json::Error> {
    let error = match serde_json::from_slice::<Typed<'_, K>>(bytes) {
        Ok(Typed { kind, object }) => match kind.as_ref() {
            "ADDED" | "MODIFIED" => return Ok(Line::Applied(Read::Object(object))),
            "DELETED" => return Ok(Line::Deleted(Box::new(object.meta().clone()))),
            "BOOKMARK" => {
                return Ok(Line::Bookmark(object.meta().resource_version.clone().unwrap_or_default()));
            }
            _ => None,
        },
        Err(error) => Some(error),
    };
    let Head { kind } = serde_json::from_slice(bytes)?;
    if kind == "ERROR" {
        return Ok(Line::Error(serde_json::from_slice::<Typed<'_, Box<Status>>>(bytes)?.object));
    }
    let Bare { metadata } = serde_json::from_slice::<Typed<'_, Bare>>(bytes)?.object;
    Ok(match kind.as_ref() {
        "DELETED" => Line::Deleted(Box::new(metadata)),
        "BOOKMARK" => Line::Bookmark(metadata.resource_version.unwrap_or_default()),
        _ => {
            let problem = error.map_or_else(|| format!("unknown event {kind}"), |error| error.to_string());
            Line::Applied(Read::Unreadable(Box::new(metadata), problem))
        }
    })
}

/// Reads one page of a list.
///
/// # Errors
/// Where it is no list.
pub fn page<K: DeserializeOwned>(bytes: &[u8]) -> Result<Page<K>, serde_json::Error> {
    let (metadata, items) = if let Ok(List { metadata, items }) = serde_json::from_slice::<List<K>>(bytes) {
        (metadata, items.unwrap_or_default().into_iter().map(Read::Object).collect())
    } else {
        let List { metadata, items } = serde_json::from_slice::<List<serde_json::Value>>(bytes)?;
        (metadata, items.unwrap_or_default().into_iter().map(item).collect::<Result<_, _>>()?)
    };
    let ListMeta { resource_version, next } = metadata;
    Ok(Page { items, resource_version, next: Some(next).filter(|next| !next.is_empty()) })
}

fn item<K: DeserializeOwned>(value: serde_json::Value) -> Result<Read<K>, serde_json::Error> {
    match K::deserialize(&value) {
        Ok(object) => Ok(Read::Object(object)),
        Err(error) => {
            let Bare { metadata } = serde_json::from_value(value)?;
            Ok(Read::Unreadable(Box::new(metadata), error.to_string()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::Pod;

    #[test]
    fn events_are_read_and_a_poisonous_object_spoils_itself_alone() {
        let good = br#"{"type":"ADDED","object":{"metadata":{"name":"a"}}}"#;
        assert!(matches!(line::<Pod>(good).unwrap(), Line::Applied(Read::Object(_))));
        let bad = br#"{"type":"MODIFIED","object":{"metadata":{"name":"a","uid":"u"},"spec":7}}"#;
        let Line::Applied(Read::Unreadable(meta, problem)) = line::<Pod>(bad).unwrap() else { panic!() };
        assert_eq!(meta.uid.as_deref(), Some("u"));
        assert!(problem.contains("invalid type"), "{problem}");
        let gone = br#"{"type":"DELETED","object":{"metadata":{"name":"a","uid":"u"},"spec":7}}"#;
        assert!(
            matches!(line::<Pod>(gone).unwrap(), Line::Deleted(meta) if meta.uid.as_deref() == Some("u"))
        );
    }

    #[test]
    fn bookmarks_and_errors_are_told_apart_from_objects() {
        let bookmark = br#"{"type":"BOOKMARK","object":{"kind":"Pod","apiVersion":"v1",
            "metadata":{"resourceVersion":"42","creationTimestamp":null},"spec":{"containers":null},"status":{}}}"#;
        assert!(matches!(line::<Pod>(bookmark).unwrap(), Line::Bookmark(version) if version == "42"));
        let error = br#"{"type":"ERROR","object":{"kind":"Status","apiVersion":"v1","metadata":{},
            "status":"Failure","message":"too old resource version","reason":"Expired","code":410}}"#;
        assert!(matches!(line::<Pod>(error).unwrap(), Line::Error(status) if status.code == 410));
        assert!(line::<Pod>(b"<html>").is_err());
    }

    #[test]
    fn a_page_with_a_poisonous_object_keeps_the_others() {
        let text = br#"{"kind":"PodList","metadata":{"resourceVersion":"7","continue":"next"},"items":[
            {"metadata":{"name":"a"}},{"metadata":{"name":"b"},"spec":[]}]}"#;
        let Page { items, resource_version, next } = page::<Pod>(text).unwrap();
        assert!(matches!(items.as_slice(), [Read::Object(_), Read::Unreadable(..)]));
        assert_eq!((resource_version.as_str(), next.as_deref()), ("7", Some("next")));
        assert!(
            page::<Pod>(br#"{"metadata":{"resourceVersion":"7"},"items":null}"#).unwrap().items.is_empty()
        );
    }
}
