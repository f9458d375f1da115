//! Where and how this engine rounds.
//!
//! | what | how | source |
//! |---|---|---|
//! | storage | every value has the element type that the program declares, fp16 or fp32 | MIL: a value's type is part of the text |
//! | arithmetic | each operation reads its operands widened to f32, computes in f32, and rounds its result once to the declared type, to nearest, ties to even | `mil::eval` with `Rounding::AsTyped`; an Apple engine rounds products to fp16 in the same places, ties away on some generations (ANEForge, M5) |
//! | accumulation | `matmul`, `conv`, sums, means, softmax and norms accumulate in f32 and round the end result alone | measured on M3 Ultra: fp32-class accumulator (h3) |
//! | functions | `exp`, `tanh`, `erf` and what is made of them come from [`crate::math`], within a few units of f32's last place; a power that would be subnormal in f32 is 0 | ours, errors measured by the tests there |
//! | softmax | `exp(x − max x)` times the reciprocal of its sum, all in f32 | as above |
//! | order | sums run in an order fixed by shape, so that neither threads nor runs change a bit | ours |
//! | subnormals | kept; an Apple engine flushes fp16 subnormal products to zero, which loss scaling avoids | IEEE 754; reported by h3 |
//! | overflow | to infinity, as IEEE 754 says; masks use the finite −65504 | ane programs of maderix/ANE |
//! | fused steps | a chain of elementwise operations runs tile by tile, rounded between operations just as if stored | ours: fusing never changes a bit |
