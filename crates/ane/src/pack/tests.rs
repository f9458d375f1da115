use super::*;
use mil::{DType, Opset};
use std::collections::BTreeMap;

fn f32(shape: &[usize]) -> TensorType {
    TensorType::new(DType::F32, shape)
}

/// `y = w·(x·v)`, and `z = wᵀ·y + u·x`, with 16 columns, which rows of an engine are not.
fn program() -> Verified<Program> {
    let b = Builder::new("main", Opset::Ios18);
    let (x, v) = (b.input("x", f32(&[1, 6, 1, 16])), b.input("v", f32(&[1, 6, 1, 1])));
    let (w, u) = (b.input("w", f32(&[4, 6, 1, 1])), b.input("u", f32(&[6, 6, 1, 1])));
    let y = (x * v).conv1x1(w, 1).named("y");
    let z = y.conv1x1(w.transpose(&[1, 0, 2, 3]), 1) + x.conv1x1(u, 1);
    b.finish([("y", y), ("z", z)]).expect("valid")
}

fn is_weight(program: &Verified<Program>) -> impl Fn(ValueId) -> bool + '_ {
    |v| program.entry().value(v).name != "x"
}

fn ran(program: &Verified<Program>, inputs: &[Tensor]) -> Vec<Tensor> {
    mil::eval::run(program, &mil::Weights::new(), inputs, mil::eval::Rounding::AsTyped).expect("runs")
}

fn floats(tensor: &Tensor) -> &[f64] {
    let Data::Float(values) = &tensor.data else { panic!("floats") };
    values
}

#[test]
fn weights_beside_activations_compute_the_same() {
    let program = program();
    let given = |name: &str, n: usize| -> Vec<f64> {
        let seed = name.len() + usize::from(name.as_bytes()[0]);
        (0..n).map(|i| ((i * 7 + seed) % 11) as f64 - 5.0).collect()
    };
    let f = program.entry();
    let tensors: Vec<Tensor> = f
        .inputs
        .iter()
        .map(|&v| Tensor::floats(f.ty(v).clone(), given(&f.value(v).name, f.ty(v).elements())))
        .collect();
    let want = ran(&program, &tensors);

    let packed = pack_with_weights(&program, 16, &is_weight(&program)).expect("fits");
    let [_, channels, _, width] = packed.input.shape[..] else { panic!("four axes") };
    assert!(width.is_multiple_of(32), "{width}");
    let mut surface = vec![0.0; channels * width];
    for (slot, tensor) in packed.inputs.iter().zip(&tensors) {
        for i in 0..slot.channels * slot.columns {
            let (row, column) = (i / slot.columns, i % slot.columns);
            let from = if slot.transposed { column * slot.channels + row } else { i };
            surface[(slot.channel + row) * width + slot.column + column] = floats(tensor)[from];
        }
    }
    let got = ran(&packed.program, &[Tensor::floats(packed.input.clone(), surface)]);
    let joined = floats(&got[0]);
    for (slot, want) in packed.outputs.iter().zip(&want) {
        let range = slot.channel * 16..(slot.channel + slot.channels) * 16;
        assert_eq!(&joined[range], floats(want), "{}", slot.name);
    }
    assert!(packed.others.is_empty());
    // Products, transposed or not; no convolution, and no separate transpose of a weight.
    let mut ops: BTreeMap<&str, usize> = BTreeMap::new();
    for op in &packed.program.entry().ops {
        *ops.entry(op.op.name()).or_default() += 1;
    }
    assert_eq!((ops.get("conv"), ops.get("transpose"), ops.get("matmul")), (None, None, Some(&3)));
    let text = mil::text::print(&packed.program);
    assert!(!text.contains("strides") && !text.contains("dilations"), "{text}");
}

/// Values stored unchanged, flat and transposed, each on its own surface: the same numbers, and no slice.
#[test]
fn values_apart_compute_the_same_without_slices() {
    let b = Builder::new("main", Opset::Ios18);
    let x = b.input("x", f32(&[1, 6, 1, 16]));
    let flat = b.input("flat", f32(&[1, 2, 3, 16]));
    let transposed = b.input("transposed", f32(&[1, 2, 16, 3]));
    let y = (flat.matmul(transposed, false, false).reduce_sum(&[3], true) + flat).named("y");
    let z = (x * x).named("z");
    let program = b.finish([("y", y), ("z", z)]).expect("valid");
    let f = program.entry();
    let given = |v: ValueId| (0..f.ty(v).elements()).map(move |i| ((i * 7 + v.index()) % 11) as f64 - 5.0);
    let tensors: Vec<Tensor> = f.inputs.iter().map(|&v| Tensor::floats(f.ty(v).clone(), given(v))).collect();
    let want = ran(&program, &tensors);
    let packed = pack_separately(&program, 16).expect("packs");
    assert_eq!(packed.reads().map(|ty| ty.shape[1]).collect::<Vec<_>>(), [6, 6, 6]);
    assert_eq!(packed.inputs.iter().map(|slot| slot.surface).collect::<Vec<_>>(), [0, 1, 2]);
    let text = mil::text::print(&packed.program);
    assert!(!text.contains("slice"), "{text}");
    // The transposed value holds the transpose of each of its two matrices.
    let mut surfaces: Vec<Vec<f64>> = tensors.iter().map(|t| floats(t).to_vec()).collect();
    let from = surfaces[2].clone();
    for (i, to) in surfaces[2].iter_mut().enumerate() {
        *to = from[i / 48 * 48 + i % 16 * 3 + i % 48 / 16];
    }
    let surfaces: Vec<Tensor> =
        packed.reads().zip(surfaces).map(|(ty, values)| Tensor::floats(ty.clone(), values)).collect();
    let got = ran(&packed.program, &surfaces);
    for (slot, want) in packed.outputs.iter().zip(&want) {
        let range = slot.channel * 16..(slot.channel + slot.channels) * 16;
        assert_eq!(&floats(&got[0])[range], floats(want), "{}", slot.name);
    }
}

#[test]
fn what_cannot_lie_beside_activations_is_named() {
    let b = Builder::new("main", Opset::Ios18);
    let (x, w) = (b.input("x", f32(&[1, 6, 1, 16])), b.input("w", f32(&[1, 6, 1, 16])));
    let program = b.finish([("y", x + w)]).expect("valid");
    let error = pack_with_weights(&program, 16, &is_weight(&program)).expect_err("no weight");
    assert!(
        error.to_string().starts_with("weight `w` (tensor<fp32, [1, 6, 1, 16]>) cannot be passed"),
        "{error}"
    );

    let b = Builder::new("main", Opset::Ios18);
    let (x, w) = (b.input("x", f32(&[1, 40_000, 1, 32])), b.input("w", f32(&[20_000, 40_000, 1, 1])));
    let program = b.finish([("y", x.conv1x1(w, 1))]).expect("valid");
    let error = pack_with_weights(&program, 32, &is_weight(&program)).expect_err("too large").to_string();
    assert!(
        error.contains("16384 columns; the largest is `w`") && error.contains("--weights baked"),
        "{error}"
    );
}
