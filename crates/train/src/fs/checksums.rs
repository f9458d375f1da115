//! Checksums of a safetensors file, stored in its metadata.
//!
//! ```text
//! "backpropane.checksums": {"xxh3": {"header": "0123456789abcdef", "tensors": {"NAME": "fedcba9876543210", …}}}
//! ```
//!
//! Each is XXH3 with 64 bits. A tensor's checksum covers name, number format, shape and bytes, so swapped tensors are
//! detected. The header's covers all other metadata, the list of tensors with their offsets, and the tensors' checksums.
//! Files of other programs have none.
//! Source: Cyan4973/xxHash, `doc/xxhash_spec.md`.

use std::collections::{BTreeMap, HashMap};

use safetensors::tensor::{Metadata, TensorInfo};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3Default;

/// Key of the metadata entry.
pub(crate) const KEY: &str = "backpropane.checksums";

/// Start of the entry's text, to find it under a damaged key.
const BEGINNING: &str = "{\"xxh3\":";

/// The checksums of a file.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Checksums {
    #[serde(with = "hexadecimal")]
    header: u64,
    tensors: BTreeMap<String, Checksum>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Checksum(#[serde(with = "hexadecimal")] u64);

/// The entry's text.
#[derive(Serialize, Deserialize)]
struct Entry {
    xxh3: Checksums,
}

impl Checksums {
    /// Computes the checksums of a file with this header and these tensors.
    pub(super) fn new(header: &Metadata, tensors: impl IntoIterator<Item = (String, u64)>) -> Self {
        let mut sums = Self {
            header: 0,
            tensors: tensors.into_iter().map(|(name, sum)| (name, Checksum(sum))).collect(),
        };
        sums.header = sums.of_header(header);
        sums
    }

    /// Reads the checksums from a file's metadata; `None` if it has none.
    ///
    /// # Errors
    /// If they are damaged.
    pub(super) fn read(metadata: &HashMap<String, String>) -> Result<Option<Self>, String> {
        // A file with a damaged key must not be treated as one without checksums.
        let named = metadata.get_key_value(KEY);
        let Some((key, text)) = named.or_else(|| metadata.iter().find(|(_, v)| v.starts_with(BEGINNING)))
        else {
            return Ok(None);
        };
        if key != KEY {
            return Err(format!("its entry `{KEY}` is called `{key}`"));
        }
        match serde_json::from_str::<Entry>(text) {
            Ok(entry) => Ok(Some(entry.xxh3)),
            Err(error) => Err(format!("its entry `{KEY}` cannot be read: {error}")),
        }
    }

    /// The text of the metadata entry.
    pub(super) fn into_text(self) -> Result<String, serde_json::Error> {
        serde_json::to_string(&Entry { xxh3: self })
    }

    /// The checksum of a tensor.
    pub(super) fn tensor(&self, name: &str) -> Option<u64> {
        self.tensors.get(name).map(|sum| sum.0)
    }

    /// Whether the header matches its checksum.
    pub(super) fn fit(&self, header: &Metadata) -> bool {
        self.header == self.of_header(header)
    }

    fn of_header(&self, header: &Metadata) -> u64 {
        let mut hash = Xxh3Default::new();
        let mut add = |text: &str| {
            hash.update(&(text.len() as u64).to_le_bytes());
            hash.update(text.as_bytes());
        };
        let mut metadata: Vec<_> =
            header.metadata().iter().flatten().filter(|(key, _)| *key != KEY).collect();
        metadata.sort();
        for (key, value) in metadata {
            add(key);
            add(value);
        }
        for name in header.offset_keys() {
            let (start, end) = header.info(&name).map(|info| info.data_offsets).unwrap_or_default();
            add(&name);
            add(&format!("{start} {end} {:016x}", self.tensor(&name).unwrap_or_default()));
        }
        hash.digest()
    }
}

/// Starts the checksum of a tensor; the caller adds its bytes.
pub(super) fn hash_of(name: &str, info: &TensorInfo) -> Xxh3Default {
    let mut hash = Xxh3Default::new();
    hash.update(format!("{name} {} {:?}\n", info.dtype, info.shape).as_bytes());
    hash
}

/// 16 hexadecimal digits: many JSON readers lose bits of 64-bit numbers.
mod hexadecimal {
    use serde::de::{Deserialize, Deserializer, Error};
    use serde::ser::Serializer;

    pub fn serialize<S: Serializer>(sum: &u64, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&format!("{sum:016x}"))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
        let text = String::deserialize(from)?;
        u64::from_str_radix(&text, 16).map_err(|_| D::Error::custom(format!("`{text}` is not a checksum")))
    }
}
