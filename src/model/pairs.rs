//! Maps whose keys are no strings, written as lists of pairs: JSON has no other keys.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Writes a map as pairs, in the order of its keys.
///
/// # Errors
/// Those of the serializer.
pub fn serialize<K: Serialize, V: Serialize, S: Serializer>(
    map: &BTreeMap<K, V>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(map)
}

/// Reads it again.
///
/// # Errors
/// Those of the deserializer.
pub fn deserialize<'de, K: Deserialize<'de> + Ord, V: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<K, V>, D::Error> {
    Ok(Vec::<(K, V)>::deserialize(deserializer)?.into_iter().collect())
}

/// The same of what is looked up.
pub mod looked_up {
    use std::hash::Hash;

    use super::super::lookup::Lookup;
    use super::{Deserialize, Deserializer, Serialize, Serializer};

    /// Writes it as pairs, in the order of its keys.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<K: Hash + Ord + Serialize, V: Serialize, S: Serializer>(
        map: &Lookup<K, V>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(map.iter())
    }

    /// Reads it again.
    ///
    /// # Errors
    /// Those of the deserializer.
    pub fn deserialize<'de, K: Hash + Ord + Deserialize<'de>, V: Deserialize<'de>, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Lookup<K, V>, D::Error> {
        Ok(Vec::<(K, V)>::deserialize(deserializer)?.into_iter().collect())
    }
}

/// The same of maps that are the values of a map.
pub mod within {
    use super::{BTreeMap, Deserialize, Deserializer, Serialize, Serializer};

    /// Writes a map of maps as pairs of pairs.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<K: Serialize, L: Serialize, V: Serialize, S: Serializer>(
        map: &BTreeMap<K, BTreeMap<L, V>>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(map.iter().map(|(key, inner)| (key, inner.iter().collect::<Vec<_>>())))
    }

    /// Reads it again.
    ///
    /// # Errors
    /// Those of the deserializer.
    pub fn deserialize<'de, K, L, V, D>(deserializer: D) -> Result<BTreeMap<K, BTreeMap<L, V>>, D::Error>
    where
        K: Deserialize<'de> + Ord,
        L: Deserialize<'de> + Ord,
        V: Deserialize<'de>,
        D: Deserializer<'de>,
    {
        let pairs = Vec::<(K, Vec<(L, V)>)>::deserialize(deserializer)?;
        Ok(pairs.into_iter().map(|(key, inner)| (key, inner.into_iter().collect())).collect())
    }
}
