//! Parts of MIL that the op table lacks.

use crate::ty::Opset;

/// Operations of compiled programs that we cannot evaluate.
pub(super) const OPERATIONS: &[&str] = &[
    "classify",
    "conv_quantized",
    "custom_layer",
    "list_gather",
    "list_length",
    "list_read",
    "list_scatter",
    "list_write",
    "make_list",
    "pixel_buffer_to_tensor",
    "tensor_buffer_to_tensor",
    "tensor_to_pixel_buffer",
    "tensor_to_tensor_buffer",
    "circular_buffer_to_tensor",
    "tensor_to_circular_buffer",
];

/// Whether an attribute is a remark of Apple's segmenter on an operation.
/// Source: `analytics.mil` of compiler 3600.
pub(crate) fn is_engine_note(attribute: &str) -> bool {
    attribute == "milId" || attribute.starts_with(|c: char| c.is_ascii_uppercase())
}

/// The opset that another name of it, or a later one, stands for.
pub(super) fn opset(name: &str) -> Option<Opset> {
    match name {
        "CoreML5" => Some(Opset::Ios15),
        "CoreML6" => Some(Opset::Ios16),
        "CoreML7" => Some(Opset::Ios17),
        "CoreML8" | "ios26" | "CoreML9" => Some(Opset::Ios18),
        _ => None,
    }
}
