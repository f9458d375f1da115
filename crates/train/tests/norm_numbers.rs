//! RMSNorm as our kernels write it, on columns of every size: on the software engine, and in the arithmetic that is
//! reported of real engines.

use ane::{DeviceKind, SoftOptions, pack};
use mil::ir::Phase;
use mil::pass::{Cut, Part, Selection, cut};
use mil::tensor::{broadcast_strides, flatten, round_float, strides, unflatten};
use mil::{DType, Function, Operation, Scope, ValueId, Weights};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use train::config::ModelConfig;
use train::model::{Layer, Precision};

const S: usize = 32;

/// The norm of `scope` in a layer of `cfg`, as a program of its own with the parameters `x` and weight.
fn norm_program(cfg: &ModelConfig, scope: &str) -> Part {
    let layer = Layer::new(cfg, Precision::F16).expect("a layer");
    let site = layer.norms.iter().find(|n| (n.groups == 1) == (scope == "norm1")).expect("a norm");
    let scopes = vec![Scope { name: scope.into(), phase: Phase::Forward }];
    let selections = [Selection { name: "norm".into(), scopes }];
    let (baked, kept) = (BTreeMap::new(), BTreeSet::from([site.output]));
    let function = &layer.joint.function;
    let of = Cut { function, selections: &selections, baked: &baked, as_is: false, kept: &kept, width: S };
    cut(&of).expect("cuts").remove(0)
}

fn config(dim: usize, eps: f64) -> ModelConfig {
    let tiny = ModelConfig::preset("tiny").expect("a preset");
    ModelConfig { dim, heads: 4, kv_heads: 4, head_dim: dim / 4, seq: S, rms_eps: eps, ..tiny }
}

fn noise(seed: usize) -> f64 {
    let x = (seed as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let x = (x ^ (x >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    ((x ^ (x >> 32)) >> 11) as f64 / (1u64 << 52) as f64 - 1.0
}

/// `[C, S]`: columns of sizes from 1e-4 to 60,000, even, with one large channel, of equal elements, and of zeros.
fn columns(c: usize) -> Vec<f64> {
    let sizes = [1e-4, 1e-3, 0.02, 0.5, 3.0, 40.0, 300.0, 4096.0, 25_000.0, 60_000.0];
    let element = |n: usize| {
        let (channel, column) = (n / S, n % S);
        let size = sizes[column % sizes.len()];
        let value = match column / sizes.len() {
            0 => size * noise(n),
            1 if channel == c / 3 => size,
            1 => size / 300.0 * noise(n),
            2 => size,
            _ => 0.0,
        };
        round_float(value, DType::F16)
    };
    (0..c * S).map(element).collect()
}

/// The definition: `x·w / √(mean x² + eps)`.
fn defined(x: &[f64], w: &[f64], eps: f64) -> Vec<f64> {
    let c = x.len() / S;
    let mean = |t: usize| (0..c).map(|i| x[i * S + t].powi(2)).sum::<f64>() / c as f64;
    (0..x.len()).map(|n| x[n] * w[n / S] / (mean(n % S) + eps).sqrt()).collect()
}

/// The largest relative L2 error of a column; what should be 0 has to be.
fn worst(got: &[f64], want: &[f64]) -> (usize, f64) {
    let length = |v: &mut dyn Iterator<Item = f64>| v.map(|x| x * x).sum::<f64>().sqrt();
    let column = |v: &'_ [f64], t: usize| v.iter().skip(t).step_by(S).copied().collect::<Vec<_>>();
    let of = |t: usize| {
        let (got, want) = (column(got, t), column(want, t));
        let apart = length(&mut got.iter().zip(&want).map(|(g, w)| g - w));
        match length(&mut want.iter().copied()) {
            0.0 => apart,
            size => apart / size,
        }
    };
    (0..S).map(|t| (t, of(t))).fold((0, 0.0), |most, e| if e.1 <= most.1 { most } else { e })
}

/// Arithmetic that is reported of the engine of M4 and M6: products of 1×1 convolutions are rounded to 2⁻¹⁶, vanish if
/// their exponents sum to −17 or less, and overflow at 2¹⁵ (rules N1, N2); sums of `reduce_sum` are kept in fp16 (N10).
fn narrow(function: &Function, inputs: &[Vec<f64>]) -> Vec<f64> {
    let literals = function.literals();
    let mut values: HashMap<ValueId, Vec<f64>> =
        function.inputs.iter().copied().zip(inputs.iter().cloned()).collect();
    for op in &function.ops {
        let [result] = op.results[..] else { panic!("{}", op.op.name()) };
        let value = match literals[result.index()] {
            Some(literal) if op.op.name() == "const" => match literal.data() {
                Some(mil::Data::Float(x)) => x.clone(),
                _ => continue,
            },
            _ => step(function, op, &values),
        };
        let rounded = value.into_iter().map(|x| round_float(x, DType::F16)).collect();
        values.insert(result, rounded);
    }
    values[&function.outputs[0]].clone()
}

fn step(f: &Function, op: &Operation, values: &HashMap<ValueId, Vec<f64>>) -> Vec<f64> {
    let arg = |name: &str| op.arg_value(name).unwrap_or_else(|| panic!("{} of {}", name, op.op.name()));
    let (x, out) = (arg("x"), f.ty(op.results[0]));
    let elementwise = |g: &dyn Fn(f64, f64) -> f64| -> Vec<f64> {
        let y = arg("y");
        let steps = [x, y].map(|v| broadcast_strides(&f.ty(v).shape, &out.shape));
        let mut index = vec![0; out.shape.len()];
        let at = |n: usize, index: &mut [usize]| {
            unflatten(n, &out.shape, index);
            g(values[&x][flatten(index, &steps[0])], values[&y][flatten(index, &steps[1])])
        };
        (0..out.elements()).map(|n| at(n, &mut index)).collect()
    };
    match op.op.name() {
        "abs" => values[&x].iter().map(|x| x.abs()).collect(),
        "add" => elementwise(&|x, y| x + y),
        "mul" => elementwise(&|x, y| x * y),
        "pow" => elementwise(&f64::powf),
        "reshape" => values[&x].clone(),
        "reduce_max" => {
            let shape = &f.ty(x).shape;
            let (from, to) = (strides(shape), strides(&out.shape));
            let mut most = vec![f64::NEG_INFINITY; out.elements()];
            let mut index = vec![0; shape.len()];
            for n in 0..f.ty(x).elements() {
                unflatten(n, shape, &mut index);
                let x = values[&x][flatten(&index, &from)];
                let folded: Vec<usize> =
                    index.iter().zip(&out.shape).map(|(&i, &d)| if d == 1 { 0 } else { i }).collect();
                let most = &mut most[flatten(&folded, &to)];
                *most = most.max(x);
            }
            most
        }
        "conv" => {
            let weight = arg("weight");
            let [o, i] = [f.ty(weight).shape[0], f.ty(weight).shape[1]];
            let (x, w) = (&values[&x], &values[&weight]);
            (0..o * S).map(|n| sum(&mut (0..i).map(|c| (w[n / S * i + c], x[c * S + n % S])))).collect()
        }
        other => panic!("the norm has an operation `{other}`: say what an engine makes of it"),
    }
}

fn sum(factors: &mut dyn Iterator<Item = (f64, f64)>) -> f64 {
    let exponent = |x: f64| x.abs().log2().floor().max(-14.0);
    let mut total = 0.0;
    for (a, b) in factors.filter(|(a, b)| a * b != 0.0) {
        if exponent(a) + exponent(b) > -17.0 {
            total += (a * b * 65_536.0).round() / 65_536.0;
        }
        if f64::abs(total) >= 32_768.0 {
            return f64::INFINITY;
        }
    }
    total
}

fn weight(c: usize) -> Vec<f64> {
    (0..c).map(|i| round_float(1.0 + 0.5 * noise(i + 77), DType::F16)).collect()
}

#[test]
fn columns_of_every_size_are_normed_on_the_software_engine() {
    let device = ane::open(DeviceKind::Soft, SoftOptions::threads(2).expect("threads")).expect("engine");
    for (dim, eps) in [(64, 1e-5), (288, 1e-6), (768, 1e-12), (2048, 1e-5)] {
        let part = norm_program(&config(dim, eps), "norm1");
        let program = part.program.entry();
        let is_weight = |v| program.value(v).name != "x";
        let packed = pack::pack_with_weights(&part.program, S, &is_weight).expect("packs");
        let mut files = Weights::new();
        for (path, tensor) in &packed.constants {
            files.add_tensor(path, tensor).expect("stored");
        }
        let kernel = device.compile("norm", &packed.program, &files).expect("compiles");
        let [input, output] =
            [&packed.input, &packed.output].map(|ty| device.surface("s", ty).expect("a surface"));
        let (x, w) = (columns(dim), weight(dim));
        for (crossing, slot) in part.inputs.iter().zip(&packed.inputs) {
            let values = if crossing.name == "x" { &x } else { &w };
            let values: Vec<f32> = values.iter().map(|&x| x as f32).collect();
            input.write_block(&slot.block(), &values).expect("fits");
        }
        kernel.dispatch(&[&input], &[&output]).expect("runs");
        let mut got = vec![0.0; dim * S];
        output.read(packed.outputs[0].channel, &mut got).expect("readable");
        let got: Vec<f64> = got.into_iter().map(f64::from).collect();
        let (column, error) = worst(&got, &defined(&x, &w, eps));
        // Five roundings to fp16, of at most 2⁻¹¹ each, on the way of an element.
        assert!(error < 1.5e-3, "D {dim}, eps {eps}: column {column} is {error:.1e} off");
    }
}

#[test]
fn columns_of_every_size_are_normed_in_the_arithmetic_of_engines() {
    for (dim, eps) in [(64, 1e-5), (288, 1e-6), (768, 1e-12), (2048, 1e-5)] {
        let part = norm_program(&config(dim, eps), "norm1");
        let (x, w) = (columns(dim), weight(dim));
        let inputs: Vec<_> =
            part.inputs.iter().map(|c| if c.name == "x" { x.clone() } else { w.clone() }).collect();
        let (column, error) = worst(&narrow(part.program.entry(), &inputs), &defined(&x, &w, eps));
        // As above, and D squares that are rounded to 2⁻¹⁶, beside a sum that is 4096 at least if D is 2048.
        assert!(error < 4e-3, "D {dim}, eps {eps}: column {column} is {error:.1e} off");
    }
}

/// The square that was here before: `mean(x·x)`, infinite from 256 on.
#[test]
fn no_kernel_squares_what_is_not_scaled() {
    let part = norm_program(&config(64, 1e-5), "norm1");
    let names: Vec<&str> = part.program.entry().ops.iter().map(|op| op.op.name()).collect();
    for refused in ["reduce_mean", "reduce_sum", "rsqrt", "sqrt", "real_div"] {
        assert!(!names.contains(&refused), "{refused} in {names:?}");
    }
}

#[test]
fn norms_of_heads_are_right_for_every_size_too() {
    let eps = 1e-6;
    let cfg = ModelConfig { qk_norm: true, ..config(256, eps) };
    let part = norm_program(&cfg, "qk_norm");
    let (c, heads) = (cfg.head_dim, cfg.heads);
    let (x, w) = (columns(heads * c), weight(c));
    let program = part.program.entry();
    let result = program.outputs[0];
    let inputs: Vec<_> =
        part.inputs.iter().map(|i| if i.ty.elements() == x.len() { x.clone() } else { w.clone() }).collect();
    assert_eq!(program.ty(result).elements(), x.len());
    let got = narrow(&single(program), &inputs);
    for h in 0..heads {
        let rows = h * c * S..(h + 1) * c * S;
        let want = defined(&x[rows.clone()], &w, eps);
        let (column, error) = worst(&got[rows], &want);
        assert!(error < 4e-3, "head {h}: column {column} is {error:.1e} off");
    }
}

/// The function with its first result alone.
fn single(function: &Function) -> Function {
    Function { outputs: vec![function.outputs[0]], ..function.clone() }
}
