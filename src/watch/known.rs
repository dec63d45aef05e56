//! The names of what was shown, so that a list says what is gone.

use std::collections::HashMap;

use kube::core::ObjectMeta;

/// Which object: enough to tell others that it is gone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// Namespace, empty where there is none.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// UID.
    pub uid: String,
}

impl Key {
    /// The key of an object by its metadata.
    pub fn of(meta: &ObjectMeta) -> Self {
        Self {
            namespace: meta.namespace.clone().unwrap_or_default(),
            name: meta.name.clone().unwrap_or_default(),
            uid: meta.uid.clone().unwrap_or_default(),
        }
    }
}

/// All objects of one kind that were told.
#[derive(Debug, Default)]
pub struct Known {
    objects: HashMap<(String, String), (String, u64)>,
    list: u64,
}

impl Known {
    /// A list begins.
    pub fn begin(&mut self) {
        self.list = self.list.wrapping_add(1);
    }

    /// An object is there. Returns the one of the same name that it replaced, which must be gone.
    #[must_use]
    pub fn show(&mut self, key: &Key) -> Option<Key> {
        let entry = (key.uid.clone(), self.list);
        let old = self.objects.insert((key.namespace.clone(), key.name.clone()), entry);
        old.filter(|(uid, _)| *uid != key.uid).map(|(uid, _)| Key { uid, ..key.clone() })
    }

    /// An object is gone. Returns what was told of that name, if anything was.
    #[must_use]
    pub fn hide(&mut self, key: &Key) -> Option<Key> {
        let name = (key.namespace.clone(), key.name.clone());
        // A deletion that comes late must not hide the object that took the name since.
        if self.objects.get(&name).is_none_or(|(uid, _)| *uid != key.uid) {
            return None;
        }
        self.objects.remove(&name).map(|(uid, _)| Key { uid, ..key.clone() })
    }

    /// The list is complete: returns what was told before and was not in it.
    #[must_use]
    pub fn end(&mut self) -> Vec<Key> {
        let list = self.list;
        let mut gone: Vec<Key> = self
            .objects
            .extract_if(|_, (_, seen)| *seen != list)
            .map(|((namespace, name), (uid, _))| Key { namespace, name, uid })
            .collect();
        gone.sort();
        gone
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str, uid: &str) -> Key {
        Key { namespace: "n".into(), name: name.into(), uid: uid.into() }
    }

    #[test]
    fn a_new_list_says_what_is_gone() {
        let mut known = Known::default();
        known.begin();
        assert_eq!(known.show(&key("a", "1")), None);
        assert_eq!(known.show(&key("b", "2")), None);
        assert_eq!(known.end(), []);
        assert_eq!(known.show(&key("c", "3")), None, "an event after the list");
        known.begin();
        assert_eq!(known.show(&key("b", "2")), None);
        assert_eq!(known.end(), [key("a", "1"), key("c", "3")]);
    }

    #[test]
    fn an_object_of_the_same_name_replaces_the_old_one() {
        let mut known = Known::default();
        assert_eq!(known.show(&key("a", "1")), None);
        assert_eq!(known.show(&key("a", "2")), Some(key("a", "1")));
        assert_eq!(known.hide(&key("a", "1")), None, "late news of the old one");
        assert_eq!(known.hide(&key("a", "2")), Some(key("a", "2")));
        assert_eq!(known.hide(&key("a", "2")), None);
    }
}
