//! Autodiff against finite differences.

use mil::eval::{Rounding, run};
use mil::tensor::unflatten;
use mil::verify::verify;
use mil::{Data, Program, Tensor, ValueId, Verified, Weights};
use std::collections::BTreeMap;

/// Half the distance between the two points of a difference, for inputs of about 1: the error of the method, `h²`,
/// and that of f64's rounding, `2⁻⁵³/h`, are then both near 1e-10.
const STEP: f64 = 1e-5;

/// Relative to the largest element of the gradient: far above the error of the differences for functions whose third
/// derivative is below 1e4, and above the 6e-8 of constants such as 1/3 that a derived fp32 program holds (those of an
/// fp16 program are off by 5e-4, so gradients are tested in fp32); far below any mistake in a rule.
const RELATIVE: f64 = 1e-6;

/// Compares the gradient of `Σ cotangents ⊙ outputs` for each of `wrt`, all in exact arithmetic.
pub fn check(
    program: &Verified<Program>,
    weights: &Weights,
    inputs: &[Tensor],
    cotangents: &[Tensor],
    wrt: &[ValueId],
) -> Result<(), String> {
    let f = program.entry();
    let derived = derive(program, weights, inputs, cotangents, wrt)?;
    let loss = |inputs: &[Tensor]| -> Result<f64, String> {
        let outputs = run(program, weights, inputs, Rounding::Exact).map_err(|e| e.to_string())?;
        let products = outputs.iter().zip(cotangents).map(|(y, dy)| dot(y.as_floats(), dy.as_floats()));
        Ok(products.sum())
    };
    let scale = loss(inputs)?.abs().max(1.0);
    let mut wrong = Vec::new();
    for (id, derived) in wrt.iter().zip(derived) {
        let value = f.value(*id);
        let position = f.inputs.iter().position(|i| i == id);
        let position = position.ok_or_else(|| format!("`{}` is not an input", value.name))?;
        let mut inputs = inputs.to_vec();
        let mut differences = Vec::new();
        for i in 0..value.ty.elements() {
            let mut at = |offset: f64| {
                let Data::Float(x) = &mut inputs[position].data else { return Ok(0.0) };
                let before = x[i];
                x[i] += offset;
                let result = loss(&inputs);
                if let Data::Float(x) = &mut inputs[position].data {
                    x[i] = before;
                }
                result
            };
            differences.push((at(STEP)? - at(-STEP)?) / (2.0 * STEP));
        }
        let largest = differences.iter().fold(0.0, |m: f64, d| m.max(d.abs()));
        // A gradient of zeros is still measured with the error of f64.
        let allowed = RELATIVE * largest + 1e-9 * scale;
        let far = |(d, n): (&f64, &f64)| (d - n).abs() > allowed || d.is_nan() != n.is_nan();
        let pairs = derived.iter().zip(&differences);
        if let Some(i) = pairs.clone().position(far) {
            let mut index = vec![0; value.ty.rank()];
            unflatten(i, &value.ty.shape, &mut index);
            wrong.push(format!(
                "the gradient of `{}` at {index:?} is {}, by differences {}; {} of {} elements are wrong",
                value.name,
                derived[i],
                differences[i],
                pairs.filter(|&p| far(p)).count(),
                differences.len(),
            ));
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n")) }
}

fn dot(x: &[f64], y: &[f64]) -> f64 {
    x.iter().zip(y).map(|(x, y)| x * y).sum()
}

/// The gradients computed by autodiff.
fn derive(
    program: &Verified<Program>,
    weights: &Weights,
    inputs: &[Tensor],
    cotangents: &[Tensor],
    wrt: &[ValueId],
) -> Result<Vec<Vec<f64>>, String> {
    let f = program.entry();
    let joint = mil::grad::backward(f, &f.outputs, wrt).map_err(|e| e.to_string())?;
    let mut function = joint.function;
    let asked: Vec<Option<ValueId>> = wrt.iter().map(|id| joint.cotangents.get(id).copied()).collect();
    function.outputs = asked.iter().copied().flatten().collect();
    let mut values = BTreeMap::new();
    if !function.outputs.is_empty() {
        let outputs = function.outputs.clone();
        let derived =
            verify(Program::of(function)).map_err(|r| format!("the derived program is invalid: {r}"))?;
        let inputs: Vec<Tensor> = inputs.iter().chain(cotangents).cloned().collect();
        let results = run(&derived, weights, &inputs, Rounding::Exact).map_err(|e| e.to_string())?;
        values.extend(outputs.into_iter().zip(results));
    }
    let zeros = |id: &ValueId| vec![0.0; f.ty(*id).elements()];
    let gradient = |(id, asked): (&ValueId, Option<ValueId>)| {
        let tensor = asked.and_then(|at| values.get(&at));
        tensor.map_or_else(|| zeros(id), |t| t.as_floats().to_vec())
    };
    Ok(wrt.iter().zip(asked).map(gradient).collect())
}
