//! One pass over a `tokenizer.json`: its long lists are counted and not kept, its other parts become values.
//!
//! What the pass keeps is bounded by [`sizes`](super::sizes), so that a file costs little more than its length until its
//! sizes are known.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use tokenizers::AddedToken;

use super::sizes::{self, Sizes, Sum};

/// A `tokenizer.json` without its long lists.
#[derive(Debug, Default)]
pub(super) struct Outline {
    /// All parts except `added_tokens` and the `vocab` and `merges` of `model`.
    pub(super) parts: Value,
    /// The added tokens; not all of them if there are more than the limits allow.
    pub(super) added: Vec<AddedToken>,
    pub(super) sizes: Sizes,
}

impl Outline {
    /// Reads a file.
    ///
    /// # Errors
    /// What is not JSON, or not the JSON of a tokenizer, with line and column.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        let mut outline = Self { parts: Value::Object(Map::new()), ..Self::default() };
        let mut reader = serde_json::Deserializer::from_slice(bytes);
        Whole(&mut outline).deserialize(&mut reader)?;
        reader.end()?;
        Ok(outline)
    }
}

/// Lets a visitor that counts read a value.
macro_rules! visits {
    ($reader:ident => $value:ty, $method:ident) => {
        impl<'de> DeserializeSeed<'de> for $reader<'_> {
            type Value = $value;

            fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<$value, D::Error> {
                deserializer.$method(self)
            }
        }
    };
}

/// The whole file.
struct Whole<'a>(&'a mut Outline);
visits!(Whole => (), deserialize_map);

impl<'de> Visitor<'de> for Whole<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the object of a tokenizer")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Outline { parts, added, sizes } = self.0;
        while let Some(key) = map.next_key_seed(Text)? {
            match &*key {
                "model" => parts["model"] = map.next_value_seed(Model(sizes))?,
                "added_tokens" => map.next_value_seed(Added(added, &mut sizes.added))?,
                name => {
                    sizes.rest.bytes += name.len();
                    let value = map.next_value_seed(Rest(&mut sizes.rest))?;
                    if sizes::keeps_value(&sizes.rest) {
                        parts[name] = value;
                    }
                }
            }
        }
        Ok(())
    }
}

/// The model: its keys except its vocabulary and merges, which are counted.
struct Model<'a>(&'a mut Sizes);
visits!(Model => Value, deserialize_map);

impl<'de> Visitor<'de> for Model<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the object of a tokenizer's model")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut keys = Map::new();
        while let Some(key) = map.next_key_seed(Text)? {
            match &*key {
                "vocab" => map.next_value_seed(Vocabulary(self.0))?,
                "merges" => map.next_value_seed(Merges(self.0.merges.get_or_insert_default()))?,
                name => {
                    self.0.rest.bytes += name.len();
                    let value = map.next_value_seed(Rest(&mut self.0.rest))?;
                    if sizes::keeps_value(&self.0.rest) {
                        keys.insert(name.to_owned(), value);
                    }
                }
            }
        }
        Ok(Value::Object(keys))
    }
}

/// A vocabulary: an id for each name, or a list of pieces with scores.
struct Vocabulary<'a>(&'a mut Sizes);
visits!(Vocabulary => (), deserialize_any);

impl<'de> Visitor<'de> for Vocabulary<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a vocabulary")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(name) = map.next_key_seed(Text)? {
            self.0.vocabulary.add(name.len());
            map.next_value::<IgnoredAny>()?;
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let mut kept = Vec::new();
        while let Some(name) = seq.next_element_seed(Piece)? {
            self.0.vocabulary.add(name.len());
            if sizes::keeps_name(&self.0.vocabulary) {
                kept.push(name);
            }
        }
        self.0.scored = true;
        self.0.beginnings += beginnings(kept);
        Ok(())
    }
}

/// How many distinct beginnings names have, the names themselves included.
fn beginnings(mut names: Vec<Cow<'_, str>>) -> usize {
    names.sort_unstable();
    let mut before: &[u8] = &[];
    let mut sum = 0;
    for name in names.iter().map(|name| name.as_bytes()) {
        let shared = before.iter().zip(name).take_while(|(a, b)| a == b).count();
        sum += name.len() - shared;
        before = name;
    }
    sum
}

/// A piece: a name and its score. The score is not kept.
struct Piece;

impl<'de> DeserializeSeed<'de> for Piece {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Piece {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a piece and its score")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let name = seq.next_element_seed(Text)?.ok_or_else(|| A::Error::invalid_length(0, &self))?;
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(name)
    }
}

/// Merges: pairs of names, or texts with a space between the names.
struct Merges<'a>(&'a mut Sum);
visits!(Merges => (), deserialize_seq);

impl<'de> Visitor<'de> for Merges<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of merges")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while let Some(bytes) = seq.next_element_seed(Merge)? {
            self.0.add(bytes);
        }
        Ok(())
    }
}

/// A merge, of which its bytes are counted.
struct Merge;

impl<'de> DeserializeSeed<'de> for Merge {
    type Value = usize;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<usize, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Merge {
    type Value = usize;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a merge")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<usize, E> {
        Ok(text.len())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<usize, A::Error> {
        let mut bytes = 0;
        while let Some(name) = seq.next_element_seed(Text)? {
            bytes += name.len();
        }
        Ok(bytes)
    }
}

/// Added tokens.
struct Added<'a>(&'a mut Vec<AddedToken>, &'a mut Sum);
visits!(Added => (), deserialize_any);

impl<'de> Visitor<'de> for Added<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of added tokens")
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        // Of a key that is there twice, the library takes the last.
        self.0.clear();
        while let Some(token) = seq.next_element::<AddedToken>()? {
            self.1.add(token.content.len());
            if sizes::keeps_added(self.1) {
                self.0.push(token);
            }
        }
        Ok(())
    }
}

/// Any other value, as long as there are few and short ones; then null.
struct Rest<'a>(&'a mut Sum);
visits!(Rest => Value, deserialize_any);

impl Rest<'_> {
    fn keep(self, value: impl Into<Value>) -> Value {
        self.0.add(0);
        value.into()
    }
}

impl<'de> Visitor<'de> for Rest<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(self.keep(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(self.keep(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(self.keep(value))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Ok(self.keep(value))
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(self.keep(Value::Null))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Value, E> {
        self.0.add(text.len());
        Ok(if sizes::keeps_value(self.0) { text.into() } else { Value::Null })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        self.0.add(0);
        let mut values = Vec::new();
        while let Some(value) = seq.next_element_seed(Rest(self.0))? {
            if sizes::keeps_value(self.0) {
                values.push(value);
            }
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        self.0.add(0);
        let mut keys = Map::new();
        while let Some(key) = map.next_key_seed(Text)? {
            self.0.bytes += key.len();
            let value = map.next_value_seed(Rest(self.0))?;
            if sizes::keeps_value(self.0) {
                keys.insert(key.into_owned(), value);
            }
        }
        Ok(Value::Object(keys))
    }
}

/// A text, of the file's bytes where it has no escapes.
struct Text;

impl<'de> DeserializeSeed<'de> for Text {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Text {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(text))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(text.to_owned()))
    }
}
