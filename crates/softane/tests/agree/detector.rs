//! A real model, as Apple's compiler wrote it: the Silero voice detector, with int8 weights, convolutions and an LSTM.

use crate::close::run;
use mil::eval::{self, Rounding};
use mil::{Tensor, Weights};
use softane::Executable;
use std::path::Path;

#[test]
fn the_silero_detector_runs_on_both_engines() {
    let folder =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/programs/coremlc/mobius-silero-unified-int8");
    let source = std::fs::read_to_string(folder.join("model.mil")).expect("a text");
    let mut weights = Weights::new();
    let file = std::fs::read(folder.join("weights/weight.bin")).expect("lies beside the program");
    weights.insert("@model_path/weights/weight.bin", file);
    let program = mil::text::load(&source).unwrap_or_else(|e| panic!("{}", e.render("model.mil", &source)));
    let f = program.entry();
    let tone = |ty: &mil::TensorType| {
        Tensor::floats(ty.clone(), (0..ty.elements()).map(|i| 0.3 * (i as f64 * 0.2).sin()))
    };
    let inputs: Vec<Tensor> = f.inputs.iter().map(|&v| tone(f.ty(v))).collect();
    let types: Vec<_> = f.outputs.iter().map(|&v| f.ty(v).clone()).collect();
    let executable = Executable::compile(&program, &weights).expect("compiles");
    let got = run(&executable, &inputs, &types);
    let want = eval::run(&program, &weights, &inputs, Rounding::AsTyped).expect("has a meaning");
    for ((got, want), &v) in got.iter().zip(&want).zip(&f.outputs) {
        // Both round to fp16 after each of about thirty operations, each time by one unit, 2⁻¹¹, at most.
        for (g, w) in got.as_floats().iter().zip(want.as_floats()) {
            assert!(g.is_finite() && (g - w).abs() < 2e-2, "{}: {g}, {w}", f.value(v).name);
        }
    }
    // A probability for each part of the second that is heard.
    let probability = got[0].as_floats();
    assert!(probability.iter().all(|p| (0.0..=1.0).contains(p)), "{probability:?}");
}
