//! Programs that ran on real Neural Engines run here, without a step on the slow path, and agree with their meaning.

use crate::close::run;
use mil::eval::{self, Rounding};
use mil::ir::LiteralData;
use mil::{Tensor, Weights};
use softane::Executable;
use std::path::Path;

#[test]
fn programs_from_hardware_agree_with_their_meaning() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/programs/ane");
    let files = std::fs::read_dir(&folder).expect("a folder");
    let mut tested = 0;
    for file in
        files.filter_map(|f| Some(f.ok()?.path())).filter(|p| p.extension().is_some_and(|e| e == "mil"))
    {
        let name = file.display();
        let source = std::fs::read_to_string(&file).unwrap_or_else(|e| panic!("{name}: {e}"));
        let source = smaller(&source);
        let program = mil::text::load(&source).unwrap_or_else(|e| panic!("{name}: {e}"));
        let function = program.entry();
        let mut weights = Weights::new();
        let mut state = 1u64;
        let mut numbers = |ty: &mil::TensorType, scale: f64| {
            let mut next = || {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                ((state >> 40) as f64 / (1u64 << 23) as f64 - 1.0) * scale
            };
            Tensor::floats(ty.clone(), (0..ty.elements()).map(|_| next()))
        };
        for literal in function.literals().into_iter().flatten() {
            if let LiteralData::Blob { path, .. } = &literal.data {
                // Weights of a size that keeps activations at theirs.
                let fan_in = literal.ty.shape.iter().skip(1).product::<usize>().max(1) as f64;
                weights.add_tensor(path, &numbers(&literal.ty, 2.0 / fan_in.sqrt())).expect("storable");
            }
        }
        let inputs: Vec<Tensor> = function.inputs.iter().map(|&v| numbers(function.ty(v), 1.0)).collect();
        let types: Vec<_> = function.outputs.iter().map(|&v| function.ty(v).clone()).collect();
        let executable = Executable::compile(&program, &weights).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert!(!executable.plan().contains("reference"), "{name}:\n{}", executable.plan());
        let got = run(&executable, &inputs, &types);
        let want = eval::run(&program, &weights, &inputs, Rounding::AsTyped).expect("has a meaning");
        for (got, want) in got.iter().zip(&want) {
            // Roundings of fp16 (2⁻¹¹) pass through up to thirty operations, of which each may differ by one unit in
            // a few elements: as a whole, results differ by less than two units.
            let (mut wrong, mut size) = (0.0, 0.0);
            for (g, w) in got.as_floats().iter().zip(want.as_floats()) {
                wrong += (g - w).powi(2);
                size += w * w;
            }
            let error = (wrong / size).sqrt();
            assert!(error < 1e-3, "{name}: relative error {error:e}");
        }
        tested += 1;
    }
    assert!(tested > 0, "no programs in {}", folder.display());
}

/// The same program for a model an eighth as wide and as long, so that the slow meaning can follow.
fn smaller(source: &str) -> String {
    let mut out = String::new();
    let mut number = String::new();
    for c in source.chars().chain(['\n']) {
        if c.is_ascii_digit() {
            number.push(c);
            continue;
        }
        // Sizes of axes are multiples of 64 in lists.
        match number.parse::<usize>() {
            Ok(n) if n >= 64 && n % 64 == 0 && out.ends_with([',', '[', ' ']) => {
                out.push_str(&(n / 8).to_string())
            }
            _ => out.push_str(&number),
        }
        number.clear();
        out.push(c);
    }
    out
}
