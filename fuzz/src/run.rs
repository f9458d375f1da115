//! Any bytes as a program that runs on both engines.

use super::generate::{self, Choices, LARGEST};
use mil::eval::{self, Rounding};
use mil::ir::LiteralData;
use mil::{ArgValue, DType, Data, Function, Program, Tensor, TensorType, Verified, Weights, text};
use softane::{Arena, Buffer, Executable, Slice, SliceMut};

/// Elements of all values, at most; larger programs would only be slower.
const TOTAL: usize = 1 << 16;

/// A text if it begins like one, else choices of a generator. What the verifier accepts runs on both engines without a
/// panic; where the reference engine has a result, the other has it too, of the same type and about the same size.
pub fn try_bytes(bytes: &[u8]) {
    let is_text = bytes.starts_with(b"program") || bytes.starts_with(b"//");
    let program = if is_text {
        let Ok(source) = text::from_utf8(bytes) else { return };
        let Ok(program) = text::load(source) else { return };
        program
    } else {
        let Ok(program) = mil::verify::verify(generate::program(&mut Choices::new(bytes))) else { return };
        // What is accepted is accepted as text, too.
        let printed = text::print(&program);
        match text::load(&printed) {
            Ok(program) => program,
            Err(report) => panic!("{}\n{printed}", report.render("printed.mil", &printed)),
        }
    };
    if is_small(&program) {
        run(&program, bytes);
    }
}

fn is_small(program: &Verified<Program>) -> bool {
    let sizes = program.functions.iter().flat_map(|f| &f.values).map(|v| generate::extent(&v.ty));
    let total = sizes.clone().fold(0usize, usize::saturating_add);
    sizes.max().is_some_and(|n| n <= LARGEST) && total <= TOTAL
}

fn run(program: &Verified<Program>, bytes: &[u8]) {
    let f = program.entry();
    // Engines support strings only as constants.
    let computed = f.operations().filter(|op| op.op.name() != "const").flat_map(|op| &op.results);
    if f.inputs.iter().chain(&f.outputs).chain(computed).any(|&v| f.ty(v).dtype == DType::Str) {
        return;
    }
    let weights = weights(f);
    let types = |ids: &[mil::ValueId]| -> Vec<TensorType> { ids.iter().map(|&v| f.ty(v).clone()).collect() };
    let seed = bytes.iter().fold(7u64, |h, &b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
    let inputs: Vec<Tensor> =
        types(&f.inputs).into_iter().enumerate().map(|(i, ty)| input(ty, seed ^ i as u64)).collect();
    let meaning = |inputs: &[Tensor], rounding| eval::run(program, &weights, inputs, rounding);
    let want = meaning(&inputs, Rounding::AsTyped);
    let got = engine(program, &weights, &inputs, &types(&f.outputs));
    let Ok(want) = want else { return };
    for (tensor, ty) in want.iter().zip(types(&f.outputs)) {
        assert_eq!(tensor.ty, ty, "the reference engine\n{}", text::print(program));
        assert_eq!(tensor.data.len(), ty.elements(), "the reference engine\n{}", text::print(program));
    }
    // What follows from what is no number, IEEE 754 leaves open; exponentials below the normal numbers are 0 in the
    // software engine, as `softane::math` says.
    let mut all = f.clone();
    all.outputs = f.ops.iter().flat_map(|op| op.results.iter().copied()).collect();
    let values = eval::run_function(&all, &weights, &inputs, Rounding::AsTyped).unwrap_or_default();
    let tiny = |x: f64| x != 0.0 && x.abs() < f64::from(f32::MIN_POSITIVE);
    let is_nan = |t: &Tensor| t.to_floats().iter().any(|&x| x.is_nan() || tiny(x));
    let got = got.unwrap_or_else(|e| panic!("softane: {e}\n{}", text::print(program)));
    if values.iter().any(is_nan) {
        return;
    }
    // How far results move if the inputs do: where they jump, the engines may differ.
    let moved: Vec<Vec<Tensor>> = [(0.996, 1e-3), (1.004, -1e-3)]
        .iter()
        .filter_map(|&(by, and)| {
            let inputs: Vec<Tensor> = inputs.iter().map(|t| nudged(t, by, and)).collect();
            meaning(&inputs, Rounding::AsTyped).ok()
        })
        .chain(meaning(&inputs, Rounding::Exact))
        .collect();
    for (n, (got, want)) in got.iter().zip(&want).enumerate() {
        let (g, w) = (got.to_floats(), want.to_floats());
        let moved: Vec<Vec<f64>> = moved.iter().map(|m| m[n].to_floats()).collect();
        let size = w.iter().filter(|x| x.is_finite()).fold(0.0f64, |a, x| a.max(x.abs()));
        let jump = |i: usize| {
            moved
                .iter()
                .map(|m| m.get(i).map_or(f64::NAN, |m| (m - w[i]).abs()))
                .fold(0.0f64, |a, x| if x.is_nan() { f64::INFINITY } else { a.max(x) })
        };
        for i in 0..w.len() {
            let allowed = 0.02 * size + 10.0 * jump(i) + 1e-3;
            if g[i].is_finite() && w[i].is_finite() && (g[i] - w[i]).abs() > allowed {
                let text = text::print(program);
                panic!("result {n}[{i}] is {}, not {} ± {allowed}\n{inputs:?}\n{text}", g[i], w[i]);
            }
        }
    }
}

/// Zeros for every weight file that the function names.
fn weights(f: &Function) -> Weights {
    let mut weights = Weights::new();
    for arg in f.operations().flat_map(|op| &op.args) {
        if let ArgValue::Literal(l) = &arg.value
            && let LiteralData::Blob { path, .. } = &l.data
            && l.ty.elements() <= LARGEST
        {
            let _ = weights.add_zeros(path, &l.ty);
        }
    }
    weights
}

/// Small numbers that depend only on `seed`.
fn input(ty: TensorType, mut seed: u64) -> Tensor {
    let mut next = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        seed >> 40
    };
    let each = 0..ty.elements();
    let data = match ty.dtype {
        float if float.is_float() => Data::Float(each.map(|_| (next() % 97) as f64 / 32.0 - 1.5).collect()),
        DType::Bool => Data::Bool(each.map(|_| next() % 2 == 1).collect()),
        dtype => {
            let (low, high) = dtype.int_range().unwrap_or((0, 0));
            Data::Int(each.map(|_| ((next() % 6) as i64 - 2).clamp(low, high)).collect())
        }
    };
    Tensor { ty, data }.rounded()
}

fn nudged(tensor: &Tensor, by: f64, and: f64) -> Tensor {
    match &tensor.data {
        Data::Float(v) => {
            let data = Data::Float(v.iter().map(|x| x * by + and).collect());
            Tensor { ty: tensor.ty.clone(), data }.rounded()
        }
        _ => tensor.clone(),
    }
}

/// Compiles and runs on the software engine.
fn engine(
    program: &Verified<Program>,
    weights: &Weights,
    inputs: &[Tensor],
    outputs: &[TensorType],
) -> Result<Vec<Tensor>, String> {
    let executable = Executable::compile(program, weights).map_err(|e| e.to_string())?;
    let size = |ty: &TensorType| ty.bytes().unwrap_or(0);
    let mut from: Vec<Buffer> = inputs.iter().map(|t| Buffer::zeroed(size(&t.ty))).collect();
    for (buffer, tensor) in from.iter_mut().zip(inputs) {
        buffer.bytes_mut().copy_from_slice(&mil::bytes::to_memory(tensor.ty.dtype, &tensor.data));
    }
    let mut to: Vec<Buffer> = outputs.iter().map(|ty| Buffer::zeroed(size(ty))).collect();
    let sources: Vec<Slice<'_>> =
        inputs.iter().zip(&from).map(|(t, b)| Slice::of(t.ty.dtype, b.bytes())).collect();
    let mut sinks: Vec<SliceMut<'_>> =
        outputs.iter().zip(&mut to).map(|(ty, b)| SliceMut::of(ty.dtype, b.bytes_mut())).collect();
    executable.run(&sources, &mut sinks, &mut Arena::default()).map_err(|e| e.to_string())?;
    drop(sinks);
    let tensor = |(ty, b): (&TensorType, &Buffer)| Tensor {
        ty: ty.clone(),
        data: mil::bytes::from_memory(ty.dtype, b.bytes()),
    };
    Ok(outputs.iter().zip(&to).map(tensor).collect())
}
