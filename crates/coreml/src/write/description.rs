//! What a model file says of its inputs, outputs and states.

use super::flexible::Flexible;
use super::refuse;
use crate::dtype::{in_description, opset_in_file};
use crate::notes::TEXT_VERSION;
use crate::proto::model::{
    ArrayFeatureType, DictionaryFeatureType, Empty, FeatureDescription, FeatureType, FunctionDescription,
    Metadata, ModelDescription, ShapeRange, SizeRange, StateFeatureType, StringEntry, array_feature_type,
    dictionary_feature_type, feature_type,
};
use feature_type::Kind;
use mil::text::tree::{Dim, Func, Name, Param, Span, Tree, Type};
use mil::{DType, Diagnostic};
use std::collections::HashMap;

/// The first specification with several functions, and with states.
const IOS18: i32 = 9;
/// The first one with inputs and outputs of fp16.
const IOS16: i32 = 7;
/// The first one with inputs and outputs of int8.
const IOS26: i32 = 10;

/// The description, the version of the specification that it needs, and names of inputs whose sizes are taken to be any.
pub struct Described {
    pub description: ModelDescription,
    pub version: i32,
    pub any_size: Vec<String>,
}

/// Describes the functions of the program.
///
/// # Errors
/// If an input, output or state is of a type that Core ML does not pass, or of a newer specification than the opset.
pub fn description(tree: &Tree<'_>) -> Result<Described, Diagnostic> {
    let version = |f: &Func<'_>| opset_in_file(f.opset.text).map_or(0, |(_, version)| version);
    let newest = tree.functions.iter().map(version).max().unwrap_or(0);
    let mut any_size = Vec::new();
    let mut functions = Vec::with_capacity(tree.functions.len());
    for f in &tree.functions {
        functions.push(Describing { f, version: version(f), any_size: &mut any_size }.function()?);
    }
    let mut description = ModelDescription {
        metadata: Some(Metadata {
            user_defined: vec![StringEntry {
                key: TEXT_VERSION.to_owned(),
                value: tree.version.text.to_owned(),
            }],
            ..Metadata::default()
        }),
        ..ModelDescription::default()
    };
    match (functions.pop(), tree.functions.last()) {
        (Some(one), Some(f)) if functions.is_empty() && f.name.text == "main" => {
            description.input = one.input;
            description.output = one.output;
            description.state = one.state;
            description.predicted_feature_name = one.predicted_feature_name;
            description.predicted_probabilities_name = one.predicted_probabilities_name;
        }
        (Some(last), Some(f)) => {
            if newest < IOS18 {
                let text = format!("a model file of opset {} has one function, called `main`", f.opset);
                return Err(refuse(
                    text,
                    f.name.span,
                    "write it for ios18, or keep one function and call it `main`",
                ));
            }
            functions.push(last);
            description.default_function_name = tree.main().map_or("", |f| f.name.text).to_owned();
            description.functions = functions;
        }
        _ => {}
    }
    Ok(Described { description, version: newest, any_size })
}

struct Describing<'t, 's> {
    f: &'t Func<'s>,
    version: i32,
    any_size: &'t mut Vec<String>,
}

impl Describing<'_, '_> {
    fn function(&mut self) -> Result<FunctionDescription, Diagnostic> {
        let f = self.f;
        let flexible = Flexible::of(f);
        let mut own = FunctionDescription { name: f.name.text.to_owned(), ..FunctionDescription::default() };
        for param in &f.params {
            match &param.ty {
                Type::State(wrapped) => own.state.push(self.state(param, wrapped)?),
                _ => own.input.push(self.input(param, &flexible)?),
            }
        }
        let statements = f.block.statements.iter().flat_map(|s| &s.outputs);
        let types: HashMap<&str, &Type<'_>> =
            f.params.iter().chain(statements).map(|p| (p.name.text, &p.ty)).collect();
        for name in &f.block.results {
            if let Some(ty) = types.get(name.text) {
                own.output.push(self.output(*name, ty)?);
            }
        }
        let classifier = f.block.statements.iter().find(|s| s.op.text == "classify");
        if let Some([label, probabilities]) = classifier.map(|s| &s.outputs[..]) {
            own.predicted_feature_name = label.name.text.to_owned();
            own.predicted_probabilities_name = probabilities.name.text.to_owned();
        }
        Ok(own)
    }

    fn input(&mut self, param: &Param<'_>, flexible: &Flexible) -> Result<FeatureDescription, Diagnostic> {
        let Type::Tensor { dtype, dims } = &param.ty else {
            return Err(self.unpassed(&param.ty, param.ty_span));
        };
        let name = param.name.text;
        let mut array = self.array(*dtype, dims, &param.ty, param.ty_span)?;
        if dims.is_empty() {
            array.shape = vec![1];
        } else if dims.contains(&None) {
            match flexible.default_shape(name).filter(|shape| shape.len() == dims.len()) {
                Some(default) => {
                    array.shape = default;
                    array.flexibility = flexible.flexibility(name);
                }
                None => {
                    let range = |d: &Dim| match d {
                        Some(n) => SizeRange { lower_bound: *n as u64, upper_bound: *n as i64 },
                        None => SizeRange { lower_bound: 1, upper_bound: -1 },
                    };
                    let size_ranges = dims.iter().map(range).collect();
                    array.flexibility =
                        Some(array_feature_type::Flexibility::ShapeRange(ShapeRange { size_ranges }));
                    self.any_size.push(name.to_owned());
                }
            }
        }
        Ok(feature(name, Kind::MultiArray(array)))
    }

    fn output(&self, name: Name<'_>, ty: &Type<'_>) -> Result<FeatureDescription, Diagnostic> {
        let scalar = |dtype| *ty == Type::scalar(dtype);
        let kind = match ty {
            _ if scalar(DType::Str) => Kind::String(Empty {}),
            _ if scalar(DType::I64) => Kind::Int64(Empty {}),
            Type::Tensor { dtype, dims } => {
                let mut array = self.array(*dtype, dims, ty, name.span)?;
                // As coremltools has it: none if it varies.
                if dims.contains(&None) {
                    array.shape.clear();
                }
                Kind::MultiArray(array)
            }
            Type::Dict(both) if both.0 == Type::scalar(DType::Str) => {
                Kind::Dictionary(DictionaryFeatureType {
                    key: Some(dictionary_feature_type::Key::String(Empty {})),
                })
            }
            Type::Dict(both) if both.0 == Type::scalar(DType::I64) => {
                Kind::Dictionary(DictionaryFeatureType {
                    key: Some(dictionary_feature_type::Key::Int64(Empty {})),
                })
            }
            _ => return Err(self.unpassed(ty, name.span)),
        };
        Ok(feature(name.text, kind))
    }

    fn state(&self, param: &Param<'_>, wrapped: &Type<'_>) -> Result<FeatureDescription, Diagnostic> {
        if self.version < IOS18 {
            let text = format!("a model file of opset {} has no states", self.f.opset);
            return Err(refuse(text, param.ty_span, "write the function for ios18"));
        }
        match wrapped {
            Type::Tensor { dtype: DType::F16, dims } if !dims.contains(&None) => {
                let array = Some(self.array(DType::F16, dims, wrapped, param.ty_span)?);
                Ok(feature(param.name.text, Kind::State(StateFeatureType { array })))
            }
            _ => {
                let text =
                    format!("Core ML's states are fp16 of known sizes, and `{}` is a {wrapped}", param.name);
                Err(refuse(text, param.ty_span, "declare the state as such a tensor"))
            }
        }
    }

    /// Known sizes, and 1 for the others.
    fn array(
        &self,
        dtype: DType,
        dims: &[Dim],
        ty: &Type<'_>,
        span: Span,
    ) -> Result<ArrayFeatureType, Diagnostic> {
        let data_type = in_description(dtype).ok_or_else(|| self.unpassed(ty, span))?;
        let needs = match dtype {
            DType::F16 => (IOS16, "ios16"),
            DType::I8 => (IOS26, "ios26"),
            _ => (0, ""),
        };
        if self.version < needs.0 {
            let text = format!(
                "Core ML passes {dtype} from {} on, and `{}` is of {}",
                needs.1, self.f.name, self.f.opset
            );
            return Err(refuse(text, span, "use a newer opset, or fp32 and `cast`"));
        }
        let shape = dims.iter().map(|d| d.map_or(1, |n| n as i64)).collect();
        Ok(ArrayFeatureType { shape, data_type: data_type as i32, ..ArrayFeatureType::default() })
    }

    fn unpassed(&self, ty: &Type<'_>, span: Span) -> Diagnostic {
        let text = format!("Core ML passes no {ty} into a model or out of it");
        refuse(text, span, "pass fp16, fp32 or int32, and `cast`")
    }
}

fn feature(name: &str, kind: Kind) -> FeatureDescription {
    let r#type = Some(FeatureType { kind: Some(kind), is_optional: false });
    FeatureDescription { name: name.to_owned(), short_description: String::new(), r#type }
}
