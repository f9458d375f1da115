//! `Model.proto` and `FeatureTypes.proto`: what a model says of its inputs and outputs. What has no part in a program
//! (texts for people, kinds of models, training) is left out; what reads these messages skips it.

use super::mil::Program;
use prost::{Enumeration, Message, Oneof};

/// A model that is an ML program; this is for writing, [`crate::model`] reads it piece by piece.
#[derive(Clone, PartialEq, Message)]
pub struct Model {
    #[prost(int32, tag = "1")]
    pub specification_version: i32,
    #[prost(message, optional, tag = "2")]
    pub description: Option<ModelDescription>,
    #[prost(message, optional, tag = "502")]
    pub ml_program: Option<Program>,
}

#[derive(Clone, PartialEq, Message)]
pub struct ModelDescription {
    #[prost(message, repeated, tag = "1")]
    pub input: Vec<FeatureDescription>,
    #[prost(message, repeated, tag = "10")]
    pub output: Vec<FeatureDescription>,
    #[prost(string, tag = "11")]
    pub predicted_feature_name: String,
    #[prost(string, tag = "12")]
    pub predicted_probabilities_name: String,
    #[prost(message, repeated, tag = "13")]
    pub state: Vec<FeatureDescription>,
    #[prost(message, repeated, tag = "20")]
    pub functions: Vec<FunctionDescription>,
    #[prost(string, tag = "21")]
    pub default_function_name: String,
    #[prost(message, repeated, tag = "50")]
    pub training_input: Vec<FeatureDescription>,
    #[prost(message, optional, tag = "100")]
    pub metadata: Option<Metadata>,
}

#[derive(Clone, PartialEq, Message)]
pub struct FunctionDescription {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(message, repeated, tag = "2")]
    pub input: Vec<FeatureDescription>,
    #[prost(message, repeated, tag = "3")]
    pub output: Vec<FeatureDescription>,
    #[prost(string, tag = "4")]
    pub predicted_feature_name: String,
    #[prost(string, tag = "5")]
    pub predicted_probabilities_name: String,
    #[prost(message, repeated, tag = "6")]
    pub state: Vec<FeatureDescription>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Metadata {
    #[prost(string, tag = "1")]
    pub short_description: String,
    #[prost(string, tag = "2")]
    pub version_string: String,
    #[prost(string, tag = "3")]
    pub author: String,
    #[prost(string, tag = "4")]
    pub license: String,
    #[prost(message, repeated, tag = "100")]
    pub user_defined: Vec<StringEntry>,
}

#[derive(Clone, PartialEq, Message)]
pub struct StringEntry {
    #[prost(string, tag = "1")]
    pub key: String,
    #[prost(string, tag = "2")]
    pub value: String,
}

#[derive(Clone, PartialEq, Message)]
pub struct FeatureDescription {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(string, tag = "2")]
    pub short_description: String,
    #[prost(message, optional, tag = "3")]
    pub r#type: Option<FeatureType>,
}

#[derive(Clone, PartialEq, Message)]
pub struct FeatureType {
    #[prost(oneof = "feature_type::Kind", tags = "1, 2, 3, 4, 5, 6, 7, 8")]
    pub kind: Option<feature_type::Kind>,
    #[prost(bool, tag = "1000")]
    pub is_optional: bool,
}

pub mod feature_type {
    #[derive(Clone, PartialEq, super::Oneof)]
    pub enum Kind {
        #[prost(message, tag = "1")]
        Int64(super::Empty),
        #[prost(message, tag = "2")]
        Double(super::Empty),
        #[prost(message, tag = "3")]
        String(super::Empty),
        #[prost(message, tag = "4")]
        Image(super::ImageFeatureType),
        #[prost(message, tag = "5")]
        MultiArray(super::ArrayFeatureType),
        #[prost(message, tag = "6")]
        Dictionary(super::DictionaryFeatureType),
        #[prost(message, tag = "7")]
        Sequence(super::Empty),
        #[prost(message, tag = "8")]
        State(super::StateFeatureType),
    }
}

/// A message without fields, or whose fields tell nothing here.
#[derive(Clone, Copy, PartialEq, Message)]
pub struct Empty {}

#[derive(Clone, PartialEq, Message)]
pub struct ArrayFeatureType {
    #[prost(int64, repeated, tag = "1")]
    pub shape: Vec<i64>,
    #[prost(enumeration = "ArrayDataType", tag = "2")]
    pub data_type: i32,
    #[prost(oneof = "array_feature_type::Flexibility", tags = "21, 31")]
    pub flexibility: Option<array_feature_type::Flexibility>,
    #[prost(oneof = "array_feature_type::Default", tags = "41, 51, 61")]
    pub default: Option<array_feature_type::Default>,
}

pub mod array_feature_type {
    #[derive(Clone, PartialEq, super::Oneof)]
    pub enum Flexibility {
        #[prost(message, tag = "21")]
        EnumeratedShapes(super::EnumeratedShapes),
        #[prost(message, tag = "31")]
        ShapeRange(super::ShapeRange),
    }

    #[derive(Clone, Copy, PartialEq, super::Oneof)]
    pub enum Default {
        #[prost(int32, tag = "41")]
        Int(i32),
        #[prost(float, tag = "51")]
        Float(f32),
        #[prost(double, tag = "61")]
        Double(f64),
    }
}

#[derive(Clone, PartialEq, Message)]
pub struct EnumeratedShapes {
    #[prost(message, repeated, tag = "1")]
    pub shapes: Vec<Shape>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Shape {
    #[prost(int64, repeated, tag = "1")]
    pub shape: Vec<i64>,
}

#[derive(Clone, PartialEq, Message)]
pub struct ShapeRange {
    #[prost(message, repeated, tag = "1")]
    pub size_ranges: Vec<SizeRange>,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub struct SizeRange {
    #[prost(uint64, tag = "1")]
    pub lower_bound: u64,
    /// Negative for a size without bound.
    #[prost(int64, tag = "2")]
    pub upper_bound: i64,
}

#[derive(Clone, PartialEq, Message)]
pub struct ImageFeatureType {
    #[prost(int64, tag = "1")]
    pub width: i64,
    #[prost(int64, tag = "2")]
    pub height: i64,
    #[prost(oneof = "image_feature_type::Flexibility", tags = "21, 31")]
    pub flexibility: Option<image_feature_type::Flexibility>,
}

pub mod image_feature_type {
    #[derive(Clone, PartialEq, super::Oneof)]
    pub enum Flexibility {
        #[prost(message, tag = "21")]
        EnumeratedSizes(super::EnumeratedSizes),
        #[prost(message, tag = "31")]
        SizeRange(super::ImageSizeRange),
    }
}

#[derive(Clone, PartialEq, Message)]
pub struct EnumeratedSizes {
    #[prost(message, repeated, tag = "1")]
    pub sizes: Vec<ImageSize>,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub struct ImageSize {
    #[prost(uint64, tag = "1")]
    pub width: u64,
    #[prost(uint64, tag = "2")]
    pub height: u64,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub struct ImageSizeRange {
    #[prost(message, optional, tag = "1")]
    pub width: Option<SizeRange>,
    #[prost(message, optional, tag = "2")]
    pub height: Option<SizeRange>,
}

#[derive(Clone, PartialEq, Message)]
pub struct DictionaryFeatureType {
    #[prost(oneof = "dictionary_feature_type::Key", tags = "1, 2")]
    pub key: Option<dictionary_feature_type::Key>,
}

pub mod dictionary_feature_type {
    #[derive(Clone, Copy, PartialEq, super::Oneof)]
    pub enum Key {
        #[prost(message, tag = "1")]
        Int64(super::Empty),
        #[prost(message, tag = "2")]
        String(super::Empty),
    }
}

#[derive(Clone, PartialEq, Message)]
pub struct StateFeatureType {
    #[prost(message, optional, tag = "1")]
    pub array: Option<ArrayFeatureType>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Enumeration)]
#[repr(i32)]
pub enum ArrayDataType {
    Invalid = 0,
    Float16 = 65552,
    Float32 = 65568,
    Double = 65600,
    Int8 = 131_080,
    Int32 = 131_104,
}
