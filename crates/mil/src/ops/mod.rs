//! The op table: one entry an operation.
//!
//! To add one: a `const` in the file of its kind, and its name in `op_table!`. Parser, printer, builder, verifier,
//! reference evaluator and autodiff read the entry; the table's tests loop over it.

pub mod activation;
pub mod affine;
pub mod arrange;
pub mod attention;
pub mod batch_norm;
mod broadcast;
pub mod compressed;
pub mod constant;
pub mod control;
pub mod conv;
pub mod conv_transpose;
pub mod convert;
pub mod crop_resize;
pub mod einsum;
pub mod elementwise;
pub mod fill;
pub mod gather;
mod grid;
pub mod join;
pub mod linear;
pub mod logic;
pub mod maxima;
pub mod normalize;
pub mod order;
pub mod packed;
pub mod pad;
pub(crate) mod parts;
mod places;
pub mod pool;
pub mod quantization;
pub mod random;
pub mod rectifier;
pub mod recurrent;
pub mod reduce;
pub mod resample;
pub mod resize;
pub mod scatter;
pub mod shape;
pub mod slice;
pub mod space;
pub mod state;
pub mod trigonometry;
pub mod unary;
pub mod window;

use crate::op::{Op, OpDef};
use foldhash::HashMap;
use std::sync::LazyLock;

macro_rules! op_table {
    ($($file:ident :: { $($entry:ident),* $(,)? }),* $(,)?) => {
        /// Every entry.
        pub static TABLE: &[&OpDef] = &[$($(&$file::$entry),*),*];
    };
}

/// The operations called `name`, one for each opset that changed its parameters, oldest first.
pub(crate) fn forms(name: &str) -> &'static [Op] {
    static FORMS: LazyLock<HashMap<&str, Vec<Op>>> = LazyLock::new(|| {
        let mut forms: HashMap<&str, Vec<Op>> = HashMap::default();
        for op in Op::all() {
            forms.entry(op.name()).or_default().push(op);
        }
        forms.values_mut().for_each(|f| f.sort_by_key(|op| op.since));
        forms
    });
    FORMS.get(name).map_or(&[], Vec::as_slice)
}

op_table! {
    constant::{CONST},
    control::{COND, WHILE_LOOP},
    state::{READ_STATE, WRITE_STATE, COREML_UPDATE_STATE},
    elementwise::{ADD, SUB, MUL, REAL_DIV, POW, MAXIMUM, MINIMUM, FLOOR_DIV, MOD},
    unary::{
        SQRT, RSQRT, INVERSE, EXP, EXP2, LOG, ERF, SIN, COS, ABS, SIGN, SQUARE, FLOOR, CEIL, ROUND, CLIP, THRESHOLD,
    },
    trigonometry::{TAN, ASIN, ACOS, ATAN, SINH, COSH, ATANH},
    logic::{
        EQUAL, NOT_EQUAL, LESS, LESS_EQUAL, GREATER, GREATER_EQUAL,
        LOGICAL_AND, LOGICAL_OR, LOGICAL_XOR, LOGICAL_NOT, SELECT,
    },
    activation::{SIGMOID, TANH, RELU, SILU, SOFTPLUS, GELU, SOFTMAX},
    rectifier::{
        RELU6, LEAKY_RELU, PRELU, CLAMPED_RELU, THRESHOLDED_RELU, ELU, LINEAR_ACTIVATION, SIGMOID_HARD, SCALED_TANH,
        SOFTPLUS_PARAMETRIC, SOFTSIGN,
    },
    reduce::{
        REDUCE_SUM, REDUCE_MEAN, REDUCE_MAX, REDUCE_MIN, REDUCE_PROD, REDUCE_SUM_SQUARE, REDUCE_L1_NORM,
        REDUCE_L2_NORM, REDUCE_LOG_SUM, REDUCE_LOG_SUM_EXP, REDUCE_ARGMAX, REDUCE_ARGMIN,
    },
    normalize::{LAYER_NORM, L2_NORM},
    batch_norm::{BATCH_NORM, INSTANCE_NORM, LOCAL_RESPONSE_NORM},
    shape::{IDENTITY, RESHAPE, RESHAPE_LIKE, TRANSPOSE, EXPAND_DIMS, SQUEEZE, FLATTEN2D},
    slice::{SLICE_BY_SIZE, SLICE_BY_INDEX, SLICE_UPDATE},
    arrange::{REVERSE, REVERSE_SEQUENCE, BAND_PART, SLIDING_WINDOWS},
    space::{
        DEPTH_TO_SPACE, SPACE_TO_DEPTH, PIXEL_SHUFFLE, PIXEL_UNSHUFFLE, SPACE_TO_BATCH, BATCH_TO_SPACE,
    },
    fill::{SHAPE, RANGE_1D, FILL, FILL_LIKE, ONE_HOT, NON_ZERO},
    order::{CUMSUM, TOPK, ARGSORT},
    random::{RANDOM_UNIFORM, RANDOM_NORMAL, RANDOM_BERNOULLI, RANDOM_CATEGORICAL},
    join::{CONCAT, SPLIT, STACK, TILE},
    gather::{GATHER},
    scatter::{GATHER_ALONG_AXIS, GATHER_ND, SCATTER, SCATTER_ALONG_AXIS, SCATTER_ND},
    resize::{
        UPSAMPLE_NEAREST_NEIGHBOR, UPSAMPLE_BILINEAR, RESIZE_NEAREST_NEIGHBOR, RESIZE_BILINEAR, RESIZE, CROP,
    },
    resample::{RESAMPLE},
    affine::{AFFINE},
    crop_resize::{CROP_RESIZE, CROP_RESIZE_BOXES},
    linear::{MATMUL, LINEAR},
    einsum::{EINSUM},
    conv::{CONV},
    conv_transpose::{CONV_TRANSPOSE},
    recurrent::{LSTM, GRU, RNN},
    pool::{MAX_POOL, AVG_POOL, L2_POOL},
    pad::{PAD},
    attention::{SCALED_DOT_PRODUCT_ATTENTION},
    maxima::{NON_MAXIMUM_SUPPRESSION_IOS15, NON_MAXIMUM_SUPPRESSION},
    convert::{CAST},
    quantization::{QUANTIZE, DEQUANTIZE, CONSTEXPR_AFFINE_DEQUANTIZE},
    packed::{CONSTEXPR_LUT_TO_DENSE, CONSTEXPR_SPARSE_TO_DENSE, CONSTEXPR_CAST},
    compressed::{
        CONSTEXPR_BLOCKWISE_SHIFT_SCALE, CONSTEXPR_LUT_TO_DENSE, CONSTEXPR_SPARSE_TO_DENSE, CONSTEXPR_LUT_TO_SPARSE,
        CONSTEXPR_SPARSE_BLOCKWISE_SHIFT_SCALE,
    },
}

#[cfg(test)]
mod tests {
    #[test]
    fn no_operation_has_64_parameters() {
        assert!(crate::Op::all().all(|op| op.params.len() < 64));
    }
}
