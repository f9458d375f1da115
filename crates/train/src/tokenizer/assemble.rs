//! The library's tokenizer from the parts of a `tokenizer.json`.
//!
//! The library itself reads a model by way of a tree of its values, which takes several times what the model does. Here
//! each part is read as the kind that it says it is.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::value::CowStrDeserializer;
use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde::forward_to_deserialize_any;
use serde_json::Value;
use tokenizers::models::bpe::BPE;
use tokenizers::models::unigram::Unigram;
use tokenizers::models::wordlevel::WordLevel;
use tokenizers::models::wordpiece::WordPiece;
use tokenizers::processors::bert::BertProcessing;
use tokenizers::processors::roberta::RobertaProcessing;
use tokenizers::processors::template::TemplateProcessing;
use tokenizers::{
    DecoderWrapper, ModelWrapper, NormalizerWrapper, PostProcessorWrapper, PreTokenizerWrapper, Tokenizer,
    TokenizerBuilder, TokenizerImpl,
};

use super::outline::Outline;

/// Builds the tokenizer of the file `bytes`, whose outline is `file`.
pub(super) fn assemble(file: &Outline, bytes: &[u8]) -> Result<Tokenizer, String> {
    type Parts = TokenizerImpl<
        ModelWrapper,
        NormalizerWrapper,
        PreTokenizerWrapper,
        PostProcessorWrapper,
        DecoderWrapper,
    >;
    match &file.parts["version"] {
        Value::Null => {}
        version if version == "1.0" => {}
        _ => return Err("its version is not \"1.0\"".to_owned()),
    }
    let parts: Parts = TokenizerBuilder::new()
        .with_model(model(file, bytes)?)
        .with_normalizer(part(file, "normalizer", "normalizer")?)
        .with_pre_tokenizer(part(file, "pre_tokenizer", "pre-tokenizer")?)
        .with_post_processor(post_processor(&file.parts["post_processor"])?)
        .with_decoder(part(file, "decoder", "decoder")?)
        .build()
        .map_err(|error| error.to_string())?;
    let mut tokenizer = Tokenizer::from(parts);
    tokenizer.add_tokens(&file.added);
    Ok(tokenizer)
}

/// The part `key`, if the file has it.
fn part<T: DeserializeOwned>(file: &Outline, key: &str, name: &str) -> Result<Option<T>, String> {
    let value = &file.parts[key];
    Option::deserialize(value).map_err(|error| wrong(name, value, &error))
}

/// The post-processor. The library reports no cause when it rejects one, so that kind is read again on its own to find the cause.
fn post_processor(value: &Value) -> Result<Option<PostProcessorWrapper>, String> {
    Option::deserialize(value).map_err(|error| {
        let of_kind = match value["type"].as_str() {
            Some("TemplateProcessing") => TemplateProcessing::deserialize(value).err(),
            Some("BertProcessing") => BertProcessing::deserialize(value).err(),
            Some("RobertaProcessing") => RobertaProcessing::deserialize(value).err(),
            _ => None,
        };
        wrong("post-processor", value, &of_kind.unwrap_or(error))
    })
}

/// What is wrong with a part.
fn wrong(name: &str, value: &Value, error: &serde_json::Error) -> String {
    let problem = error.to_string();
    if !problem.contains("untagged enum") {
        return format!("its {name}: {problem}");
    }
    match value["type"].as_str() {
        Some(kind) => format!("its {name} has the type {kind}, and not the keys of this type"),
        None => format!("its {name} has no `type`, and not the keys of any type"),
    }
}

/// The model, read as what it says it is, or as what its keys are those of: old files do not say.
fn model(file: &Outline, bytes: &[u8]) -> Result<ModelWrapper, String> {
    let keys = &file.parts["model"];
    let kind = match keys["type"].as_str() {
        Some(kind) => kind,
        None if file.sizes.merges.is_some() => "BPE",
        None if file.sizes.scored => "Unigram",
        None if keys.get("max_input_chars_per_word").is_some() => "WordPiece",
        None => "WordLevel",
    };
    match kind {
        "BPE" => {
            let mut bpe: BPE = read_model(bytes)?;
            // Dropout is for training: with it, encoding is random.
            bpe.dropout = None;
            Ok(bpe.into())
        }
        "Unigram" => read_model::<Unigram>(bytes).map(Into::into),
        "WordPiece" => read_model::<WordPiece>(bytes).map(Into::into),
        _ => read_model::<WordLevel>(bytes).map(Into::into),
    }
}

fn read_model<M: DeserializeOwned>(bytes: &[u8]) -> Result<M, String> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let model = reader.deserialize_map(ModelOf(PhantomData)).map_err(|error| error.to_string())?;
    model.ok_or_else(|| "it has no model".to_owned())
}

/// The model of a file.
struct ModelOf<M>(PhantomData<M>);

impl<'de, M: Deserialize<'de>> Visitor<'de> for ModelOf<M> {
    type Value = Option<M>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the object of a tokenizer")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Option<M>, A::Error> {
        let mut model = None;
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "model" => model = Some(map.next_value_seed(ReadModel(PhantomData))?),
                _ => _ = map.next_value::<IgnoredAny>()?,
            }
        }
        Ok(model)
    }
}

/// A model, read from the keys that it knows.
struct ReadModel<M>(PhantomData<M>);

impl<'de, M: Deserialize<'de>> DeserializeSeed<'de> for ReadModel<M> {
    type Value = M;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<M, D::Error> {
        M::deserialize(KnownKeys(deserializer))
    }
}

/// Hides the keys that a type does not know, and `type`, which is known already: the library's models read the value of an
/// unknown key as the next key.
struct KnownKeys<D>(D);

impl<'de, D: Deserializer<'de>> Deserializer<'de> for KnownKeys<D> {
    type Error = D::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.0.deserialize_any(visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        known: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.0.deserialize_map(OfKnown { known, inner: visitor })
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

/// A visitor or a map of which only known keys are seen.
struct OfKnown<T> {
    known: &'static [&'static str],
    inner: T,
}

impl<'de, V: Visitor<'de>> Visitor<'de> for OfKnown<V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.expecting(f)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<V::Value, A::Error> {
        self.inner.visit_map(OfKnown { known: self.known, inner: map })
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for OfKnown<A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, A::Error> {
        while let Some(key) = self.inner.next_key::<Cow<'_, str>>()? {
            if key != "type" && self.known.contains(&&*key) {
                return seed.deserialize(CowStrDeserializer::new(key)).map(Some);
            }
            self.inner.next_value::<IgnoredAny>()?;
        }
        Ok(None)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        self.inner.next_value_seed(seed)
    }
}
