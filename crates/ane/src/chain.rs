//! Stacks of equal 1×1 convolutions whose results are known: the programs of `bench peak`, `sram` and `int8`.
//!
//! Weights are dense, different in each layer, and all ±1 times a scale, so that two layers undo each other up to a
//! shift of the channels: with `H` a Hadamard matrix,
//!
//! ```text
//! layer 2k      s₁·H[o, i + rₖ]      rₖ = 3k + 1
//! layer 2k + 1  s₂·H[i, o + qₖ]      qₖ = 3k + 2,    s₁·s₂·C ≈ 1
//! ```
//!
//! The input is −1, 0 or 1 by a hash of its position. After an even number of layers the input reappears, shifted by one
//! channel for each pair; after an odd number an output is a sum of C inputs. The expected results are thus cheap at any
//! depth, and a skipped layer, zeros, or a copy of the input are detected. In fp16 all partial sums are exact if C is a
//! power of two.

use crate::device::{Device, Kernel};
use crate::error::DeviceError;
use crate::hadamard::Hadamard;
use crate::surface::Surface;
use half::f16;
use mil::blob::{BlobError, BlobWriter};
use mil::{
    Builder, DType, Data, Literal, Opset, Program, Report, Tensor, TensorType, Var, Verified, Weights, ty,
};

/// Outputs compared if each expected value is a sum over all channels.
const SAMPLES: usize = 4096;

/// The error allowed per layer, relative to the largest output; engines may sum in fp16.
const CLOSE: f64 = 1.0 / 256.0;

/// Layers that together may add the same error again.
const CLOSE_LAYERS: f64 = 16.0;

/// The path of the weight file.
const PATH: &str = "@model_path/weights/stack.bin";

/// The quantisation step of int8 activations between pairs of layers: ±1 is ±8 steps.
const UNIT: f64 = 0.125;

/// The most channels of a stack in int8, so that sums stay within ±127 steps.
pub const MOST_INT8_CHANNELS: usize = 512;

/// The arithmetic of a stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StackPrecision {
    /// Weights and activations in fp16.
    F16,
    /// Weights in int8, by `constexpr_affine_dequantize`; activations in int8 between layers, by `quantize` and
    /// `dequantize`.
    W8A8,
}

/// Why a stack cannot be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages say it")]
pub enum StackError {
    #[error("cannot build a stack of {channels} channels: use a power of two, or 12 or 20 times one")]
    Channels { channels: usize },
    #[error("cannot build an int8 stack of {channels} channels: sums overflow above {MOST_INT8_CHANNELS}")]
    Int8Channels { channels: usize },
    #[error("the stack is not valid: {0}")]
    Program(#[from] Report),
    #[error("the stack's weights: {0}")]
    Weights(#[from] BlobError),
}

/// A stack: a program of input `x` and output `y`, both `[1, C, H, W]` in fp16.
#[derive(Debug)]
pub struct Stack {
    /// The program.
    pub program: Verified<Program>,
    /// Its weights, one record for each layer.
    pub weights: Weights,
    /// The shape of input and output.
    pub shape: [usize; 4],
    /// The number of convolutions.
    pub depth: usize,
    /// Its arithmetic.
    pub precision: StackPrecision,
    matrix: Hadamard,
    /// The scale of even and of odd layers.
    scales: [f64; 2],
}

impl Stack {
    /// A stack of `depth` convolutions of `channels` channels on an image of `[height, width]`.
    ///
    /// # Errors
    /// If there are no such weights, or the program is too large for MIL.
    pub fn new(
        channels: usize,
        depth: usize,
        [height, width]: [usize; 2],
        precision: StackPrecision,
    ) -> Result<Stack, StackError> {
        let matrix = Hadamard::new(channels).ok_or(StackError::Channels { channels })?;
        if precision == StackPrecision::W8A8 && channels > MOST_INT8_CHANNELS {
            return Err(StackError::Int8Channels { channels });
        }
        // A power of two near 1/√C, so that sums of many signs stay around 1.
        let first = 2f64.powi(-((channels.ilog2() / 2) as i32));
        let second = f16::from_f64(1.0 / (channels as f64 * first)).to_f64();
        let shape = [1, channels, height, width];
        let mut stack = Stack {
            program: identity(shape)?,
            weights: Weights::new(),
            shape,
            depth,
            precision,
            matrix,
            scales: [first, second],
        };
        let offsets = stack.write_weights()?;
        stack.program = stack.write_program(&offsets)?;
        Ok(stack)
    }

    fn write_weights(&mut self) -> Result<Vec<u64>, StackError> {
        let n = self.matrix.n();
        let dtype = self.weight_dtype();
        let ty = TensorType::new(dtype, [n, n, 1, 1]);
        let mut writer = BlobWriter::new(PATH);
        let mut offsets = Vec::with_capacity(self.depth);
        for layer in 0..self.depth {
            let scale = f16::from_f64(self.scales[layer % 2]);
            let [plus, minus] = [scale.to_le_bytes(), (-scale).to_le_bytes()];
            let mut bytes = Vec::with_capacity(n * n * 2);
            for (o, i) in (0..n).flat_map(|o| (0..n).map(move |i| (o, i))) {
                let negative = self.is_negative(layer, o, i);
                match dtype {
                    DType::I8 => bytes.push(if negative { 0xff } else { 1 }),
                    _ => bytes.extend(if negative { minus } else { plus }),
                }
            }
            offsets.push(writer.add_raw(&ty, &bytes)?);
        }
        self.weights.insert(PATH, writer.finish());
        Ok(offsets)
    }

    fn weight_dtype(&self) -> DType {
        match self.precision {
            StackPrecision::F16 => DType::F16,
            StackPrecision::W8A8 => DType::I8,
        }
    }

    fn write_program(&self, offsets: &[u64]) -> Result<Verified<Program>, Report> {
        let b = Builder::new("main", Opset::Ios18);
        let n = self.matrix.n();
        let ty = TensorType::new(self.weight_dtype(), [n, n, 1, 1]);
        let mut y = b.input("x", ty::f16(self.shape));
        for (layer, &offset) in offsets.iter().enumerate() {
            let literal = Literal::blob(ty.clone(), PATH, offset);
            let scale = self.scales[layer % 2];
            let weight = match self.precision {
                StackPrecision::F16 => b.literal(&format!("w{layer}"), literal),
                StackPrecision::W8A8 => unpacked(&b, literal, scale),
            };
            y = y.conv1x1(weight, 1);
            if self.precision == StackPrecision::W8A8 && layer + 1 < self.depth {
                y = through_int8(y, if layer % 2 == 0 { scale } else { UNIT });
            }
        }
        b.finish([("y", y)])
    }

    /// Whether an element of a layer's weights is negative.
    fn is_negative(&self, layer: usize, o: usize, i: usize) -> bool {
        let (n, k) = (self.matrix.n(), layer / 2);
        match layer % 2 {
            0 => self.matrix.is_negative(o, (i + 3 * k + 1) % n),
            _ => self.matrix.is_negative(i, (o + 3 * k + 2) % n),
        }
    }

    /// The input.
    pub fn input(&self) -> Vec<f32> {
        let columns = self.columns();
        (0..self.matrix.n() * columns).map(|at| value(at / columns, at % columns) as f32).collect()
    }

    /// Dispatches `kernel`, this stack on `device`, once: its surfaces of input and output, and the output.
    ///
    /// # Errors
    /// If the device fails.
    pub fn dispatch_once(
        &self,
        device: &dyn Device,
        kernel: &dyn Kernel,
    ) -> Result<(Surface, Surface, Vec<f32>), DeviceError> {
        let (x, y) = (device.surface("x", &ty::f16(self.shape))?, device.surface("y", &ty::f16(self.shape))?);
        let mut values = self.input();
        x.write(0, &values)?;
        kernel.dispatch(&[&x], &[&y])?;
        y.read(0, &mut values)?;
        Ok((x, y, values))
    }

    /// The first wrong output: its position, value and expected value. Checks all outputs if the depth is even, else 4096
    /// evenly spread ones.
    pub fn wrong(&self, got: &[f32]) -> Option<(usize, f32, f64)> {
        let (n, columns) = (self.matrix.n(), self.columns());
        let pairs = self.depth / 2;
        // Each pair shifts by q − r = 1.
        let shift = pairs % n;
        let factor = match self.precision {
            StackPrecision::F16 => self.pair().powi(pairs as i32),
            // Rounding to int8 restores ±1; the last convolution's result is not rounded.
            StackPrecision::W8A8 if self.depth.is_multiple_of(2) => self.pair(),
            StackPrecision::W8A8 => 1.0,
        };
        let odd = !self.depth.is_multiple_of(2);
        let want = |at: usize| {
            let (o, column) = (at / columns, at % columns);
            let paired = |channel: usize| value((channel + shift) % n, column);
            let sum = match odd {
                false => paired(o),
                true => {
                    let signed = |i: usize| {
                        if self.is_negative(self.depth - 1, o, i) { -paired(i) } else { paired(i) }
                    };
                    (0..n).map(signed).sum()
                }
            };
            factor * f64::from(sum) * if odd { self.scales[0] } else { 1.0 }
        };
        let total = n * columns;
        if got.len() != total {
            return Some((got.len().min(total), f32::NAN, 0.0));
        }
        // An odd step visits every channel and column.
        let step = if odd { (total / SAMPLES).max(1) | 1 } else { 1 };
        let all: Vec<(usize, f64)> = (0..total).step_by(step).map(|at| (at, want(at))).collect();
        let largest = all.iter().fold(f64::MIN_POSITIVE, |m: f64, (_, w)| m.max(w.abs()));
        let close = CLOSE * largest * (1.0 + self.depth as f64 / CLOSE_LAYERS);
        let far = |&(at, want): &(usize, f64)| {
            let error = (f64::from(got[at]) - want).abs();
            error.is_nan() || error > close
        };
        all.into_iter().find(far).map(|(at, want)| (at, got[at], want))
    }

    /// The combined gain of two layers.
    fn pair(&self) -> f64 {
        self.scales[0] * self.scales[1] * self.matrix.n() as f64
    }

    fn columns(&self) -> usize {
        self.shape[2] * self.shape[3]
    }

    /// Multiplications and additions of a run.
    pub fn flops(&self) -> f64 {
        let n = self.matrix.n() as f64;
        2.0 * n * n * self.columns() as f64 * self.depth as f64
    }

    /// Bytes of all weights.
    pub fn weight_bytes(&self) -> usize {
        let n = self.matrix.n();
        n * n * self.depth * self.weight_dtype().size().unwrap_or(1)
    }

    /// Bytes of an input or an output.
    pub fn surface_bytes(&self) -> usize {
        ty::f16(self.shape).bytes().unwrap_or(0)
    }
}

/// A placeholder program.
fn identity(shape: [usize; 4]) -> Result<Verified<Program>, Report> {
    let b = Builder::new("main", Opset::Ios18);
    let x = b.input("x", ty::f16(shape));
    b.finish([("y", x + 0.0)])
}

/// A scalar literal.
fn number(dtype: DType, data: Data) -> Literal {
    Literal::inline(Tensor { ty: TensorType::scalar(dtype), data })
}

/// Dequantises int8 weights with `scale`.
pub fn unpacked(b: &Builder, quantized: Literal, scale: f64) -> Var<'_> {
    b.op(
        "constexpr_affine_dequantize",
        [
            ("quantized_data", quantized.into()),
            ("zero_point", number(DType::I8, Data::Int(vec![0])).into()),
            ("scale", number(DType::F16, Data::Float(vec![scale])).into()),
            ("axis", number(DType::I32, Data::Int(vec![0])).into()),
        ],
    )
}

/// Rounds `x` to int8 with step `scale`, and back.
fn through_int8(x: Var<'_>, scale: f64) -> Var<'_> {
    let b = x.builder();
    let scale = b.scalar(DType::F16, scale);
    let q = b.op("quantize", [("input", x.into()), ("scale", scale.into()), ("output_dtype", "int8".into())]);
    b.op("dequantize", [("input", q.into()), ("scale", scale.into())])
}

/// The input at a position: −1, 0 or 1.
fn value(channel: usize, column: usize) -> i32 {
    let mut h = (channel as u32).wrapping_mul(0x9e37_79b1) ^ (column as u32).wrapping_mul(0x85eb_ca77);
    h = (h ^ h >> 15).wrapping_mul(0x2c1b_3c6d);
    h = (h ^ h >> 12).wrapping_mul(0x297a_2d39);
    ((h ^ h >> 15) % 3) as i32 - 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use mil::eval::{Rounding, run};

    /// The result of the reference evaluator.
    fn reference(stack: &Stack) -> Vec<f32> {
        let x = Tensor::floats(ty::f16(stack.shape), stack.input().into_iter().map(f64::from));
        let y = run(&stack.program, &stack.weights, &[x], Rounding::AsTyped).unwrap();
        y[0].to_floats().into_iter().map(|x| x as f32).collect()
    }

    #[test]
    fn the_known_results_are_those_of_the_reference() {
        for precision in [StackPrecision::F16, StackPrecision::W8A8] {
            for (channels, depth) in [(16, 1), (16, 2), (16, 5), (32, 6), (12, 4), (24, 3)] {
                let stack = Stack::new(channels, depth, [2, 8], precision).unwrap();
                let y = reference(&stack);
                assert_eq!(stack.wrong(&y), None, "{channels} channels, {depth} layers, {precision:?}");
                assert_eq!(stack.flops(), (2 * channels * channels * 16 * depth) as f64);
            }
        }
    }

    #[test]
    fn a_copy_zeros_and_one_wrong_element_are_found() {
        for depth in [3, 4] {
            let stack = Stack::new(16, depth, [1, 16], StackPrecision::F16).unwrap();
            assert!(stack.wrong(&stack.input()).is_some());
            assert!(stack.wrong(&vec![0.0; 256]).is_some());
            let mut y = reference(&stack);
            y[77] += 1.0;
            assert_eq!(stack.wrong(&y).map(|w| w.0), Some(77));
            assert!(stack.wrong(&y[1..]).is_some());
            // One layer less is another result.
            assert!(
                stack
                    .wrong(&reference(&Stack::new(16, depth - 2, [1, 16], StackPrecision::F16).unwrap()))
                    .is_some()
            );
        }
    }

    #[test]
    fn channels_without_a_matrix_are_refused() {
        assert!(matches!(Stack::new(28, 1, [1, 16], StackPrecision::F16), Err(StackError::Channels { .. })));
        assert!(matches!(
            Stack::new(1024, 1, [1, 16], StackPrecision::W8A8),
            Err(StackError::Int8Channels { .. })
        ));
    }
}
