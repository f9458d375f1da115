//! Recurrent layers: `x` is `[S, B, I]`, a sequence of `S` batches; each step uses the state of the previous one.

mod unroll;

use super::unary::equal_dtypes;
use crate::diag::Reject;
use crate::op::{Absent, Axes, BOOL, Call, Eval, FLOATS, Grad, OpDef, STR, Work, constant, elements, tensor};
use crate::tensor::{Data, Tensor};
use crate::ty::{Opset, Shape, TensorType};

/// `lstm(x, initial_h, initial_c, weight_ih, weight_hh, …)`: long short-term memory.
///
/// ```text
/// [i f o z] = W_ih·x + W_hh·h + b      i, f = φ(i + p_i⊙c), φ(f + p_f⊙c)
/// c ← clip(f⊙c + i⊙ψ(z))              o = φ(o + p_o⊙c),  h ← o⊙χ(c)
/// ```
///
/// φ, ψ, χ are `recurrent_activation`, `cell_activation`, `activation`; p is `peephole`, in the order of the gates.
/// Results: `h` of each step, or only of the last, `[S or 1, B, H]`; the last `h` and `c`, `[B, H]`. `reverse` returns
/// steps in processing order, the last of `x` first. `bidirectional` concatenates both directions, `[…, 2H]`, aligned with
/// `x`; the parameters `…_back` are those of the second.
///
/// coremltools requires constant parameters; here they may be any value.
/// Source: coremltools `iOS15/recurrent.py`, class `lstm`; that the cell is clipped, and the order of `reverse`, from its
/// tests, `test_recurrent.py`.
pub static LSTM: OpDef = OpDef {
    name: "lstm",
    since: Opset::Ios15,
    params: &[
        tensor("x", FLOATS),
        tensor("initial_h", FLOATS),
        tensor("initial_c", FLOATS),
        tensor("weight_ih", FLOATS),
        tensor("weight_hh", FLOATS),
        tensor("bias", FLOATS).optional(),
        tensor("peephole", FLOATS).optional(),
        tensor("weight_ih_back", FLOATS).optional(),
        tensor("weight_hh_back", FLOATS).optional(),
        tensor("bias_back", FLOATS).optional(),
        tensor("peephole_back", FLOATS).optional(),
        constant("direction", STR).or(Absent::Str("forward")),
        constant("output_sequence", BOOL).or(Absent::Bool(false)),
        constant("recurrent_activation", STR).or(Absent::Str("sigmoid")),
        constant("cell_activation", STR).or(Absent::Str("tanh")),
        constant("activation", STR).or(Absent::Str("tanh")),
        constant("clip", FLOATS).optional(),
    ],
    axes: Axes::Tied,
    work: Work::MulAdds(|c, _| mul_adds(c)),
    infer: |a| {
        let plan = Plan::of(a, 4)?;
        check_activations(a, &["recurrent_activation", "cell_activation", "activation"])?;
        if a.has("clip") && (a.float("clip").is_nan() || a.float("clip") < 0.0) {
            return Err(Reject::new("clip-range", "`clip` of `lstm` is a size")
                .label("clip", a.float("clip").to_string()));
        }
        let state = plan.state();
        Ok(vec![plan.sequence(a), state.clone(), state])
    },
    eval: |a| {
        let clip = if a.has("clip") { a.float("clip") } else { f64::INFINITY };
        let [phi, psi, chi] = ["recurrent_activation", "cell_activation", "activation"]
            .map(|name| activation(a, name).unwrap_or(f64::tanh));
        recurrent(a, 4, &|weights, x, h, c| {
            let n = h.len();
            let gates = weights.gates(x, h);
            for k in 0..n {
                let peep = |gate: usize, c: f64| weights.peephole.map_or(0.0, |p| p[gate * n + k] * c);
                let input = phi(gates[k] + peep(0, c[k]));
                let forget = phi(gates[n + k] + peep(1, c[k]));
                c[k] = (forget * c[k] + input * psi(gates[3 * n + k])).clamp(-clip, clip);
                h[k] = phi(gates[2 * n + k] + peep(2, c[k])) * chi(c[k]);
            }
        })
    },
    grad: Grad::Rule(|g| unroll::gradient(g, 4, unroll::lstm_step)),
};

/// `gru(x, initial_h, weight_ih, weight_hh, …)`: gated recurrent unit.
///
/// ```text
/// r, z = φ(W_ih·x + W_hh·h + b)       o = χ(W_io·x + W_ho·(r⊙h) + b_o)
/// h ← (1 − z)⊙o + z⊙h
/// ```
///
/// φ and χ are `recurrent_activation` and `activation`; the order of the gates is r, o, z. Results: `h` of each step, or of
/// the last alone, `[S or 1, B, H]`; the last `h`, `[B, H]`. `reverse` gives the steps as it takes them.
///
/// coremltools requires constant parameters; here they may be any value.
/// Source: coremltools `iOS15/recurrent.py`, class `gru`. It writes `r ⊙ W_ho·h`, but its tests, `test_recurrent.py`, which
/// ran on Core ML, reset `h` before the product, and that is not what PyTorch does.
pub static GRU: OpDef = OpDef {
    name: "gru",
    since: Opset::Ios15,
    params: &[
        tensor("x", FLOATS),
        tensor("initial_h", FLOATS),
        tensor("weight_ih", FLOATS),
        tensor("weight_hh", FLOATS),
        tensor("bias", FLOATS).optional(),
        constant("direction", STR).or(Absent::Str("forward")),
        constant("output_sequence", BOOL).or(Absent::Bool(false)),
        constant("recurrent_activation", STR).or(Absent::Str("sigmoid")),
        constant("activation", STR).or(Absent::Str("tanh")),
        constant("reset_after", BOOL).or(Absent::Bool(false)).since(Opset::Ios18),
        tensor("input_bias", FLOATS).optional().since(Opset::Ios18),
    ],
    axes: Axes::Tied,
    work: Work::MulAdds(|c, _| mul_adds(c)),
    infer: |a| {
        let plan = Plan::of(a, 3)?;
        check_activations(a, &["recurrent_activation", "activation"])?;
        Ok(vec![plan.sequence(a), plan.state()])
    },
    eval: |a| {
        let [phi, chi] =
            ["recurrent_activation", "activation"].map(|name| activation(a, name).unwrap_or(f64::tanh));
        let input_bias = a.has("input_bias").then(|| a.tensor("input_bias").as_floats());
        recurrent(a, 3, &|weights, x, h, _| {
            let n = h.len();
            let mut input = weights.of_input(x);
            input.iter_mut().zip(input_bias.unwrap_or_default()).for_each(|(gate, b)| *gate += b);
            let hidden = weights.of_hidden(h);
            let reset: Vec<f64> = (0..n).map(|k| phi(input[k] + hidden[k])).collect();
            let fresh: Vec<f64> = match a.bool("reset_after") {
                true => (0..n).map(|k| reset[k] * hidden[n + k]).collect(),
                false => {
                    let kept: Vec<f64> = reset.iter().zip(&*h).map(|(r, h)| r * h).collect();
                    weights.of_hidden(&kept).split_off(n)
                }
            };
            for k in 0..n {
                let update = phi(input[2 * n + k] + hidden[2 * n + k]);
                h[k] = (1.0 - update) * chi(input[n + k] + fresh[k]) + update * h[k];
            }
        })
    },
    grad: Grad::Rule(|g| unroll::gradient(g, 3, unroll::gru_step)),
};

/// `rnn(x, initial_h, weight_ih, weight_hh, …)`: `h ← χ(W_ih·x + W_hh·h + b)`, χ the `activation`.
///
/// Results: `h` of each step, or only of the last, `[S or 1, B, H]`; the last `h`, `[B, H]`. `reverse` gives the steps as it
/// takes them.
///
/// coremltools requires constant parameters; here they may be any value.
/// Source: coremltools `iOS15/recurrent.py`, class `rnn`.
pub static RNN: OpDef = OpDef {
    name: "rnn",
    since: Opset::Ios15,
    params: &[
        tensor("x", FLOATS),
        tensor("initial_h", FLOATS),
        tensor("weight_ih", FLOATS),
        tensor("weight_hh", FLOATS),
        tensor("bias", FLOATS).optional(),
        constant("direction", STR).or(Absent::Str("forward")),
        constant("output_sequence", BOOL).or(Absent::Bool(false)),
        constant("activation", STR).or(Absent::Str("tanh")),
    ],
    axes: Axes::Tied,
    work: Work::MulAdds(|c, _| mul_adds(c)),
    infer: |a| {
        let plan = Plan::of(a, 1)?;
        check_activations(a, &["activation"])?;
        Ok(vec![plan.sequence(a), plan.state()])
    },
    eval: |a| {
        let chi = activation(a, "activation").unwrap_or(f64::tanh);
        recurrent(a, 1, &|weights, x, h, _| {
            let gates = weights.gates(x, h);
            h.iter_mut().zip(gates).for_each(|(h, gate)| *h = chi(gate));
        })
    },
    grad: Grad::Rule(|g| unroll::gradient(g, 1, unroll::rnn_step)),
};

/// The function that parameter `name` names.
fn activation(a: &Call<'_>, name: &str) -> Option<fn(f64) -> f64> {
    match a.str(name).to_ascii_lowercase().as_str() {
        "sigmoid" => Some(|x| 1.0 / (1.0 + (-x).exp())),
        // Scaled by one, like its defaults.
        "tanh" | "scaled_tanh" => Some(f64::tanh),
        "relu" => Some(|x| if x < 0.0 { 0.0 } else { x }),
        "linear" => Some(|x| x),
        "hard_sigmoid" | "sigmoid_hard" => Some(|x| (0.2 * x + 0.5).clamp(0.0, 1.0)),
        _ => None,
    }
}

fn check_activations(a: &Call<'_>, names: &[&'static str]) -> Result<(), Reject> {
    match names.iter().find(|name| activation(a, name).is_none()) {
        None => Ok(()),
        Some(name) => {
            let text = format!("`{}` has no activation `{}`", a.op.name(), a.str(name));
            Err(Reject::new("activation", text)
                .help("use `sigmoid`, `tanh`, `scaled_tanh`, `relu`, `linear` or `hard_sigmoid`"))
        }
    }
}

/// The sizes of a recurrent layer.
struct Plan {
    steps: usize,
    batch: usize,
    hidden: usize,
    /// For each direction, whether it starts at the last element.
    reversed: &'static [bool],
    ty: TensorType,
}

impl Plan {
    /// Checks arguments; `gates` is the number of blocks in a weight.
    fn of(a: &Call<'_>, gates: usize) -> Result<Plan, Reject> {
        let given: Vec<&'static str> = a.op.params.iter().map(|p| p.name).filter(|n| is_value(n)).collect();
        equal_dtypes(a, &given)?;
        let x = a.ty("x");
        let &[steps, batch, input] = x.shape.as_slice() else {
            let text = format!("`{}` needs `x` as [S, B, I]", a.op.name());
            return Err(Reject::new("rank", text).label("x", Shape(&x.shape).to_string()));
        };
        let both = a.op.param("weight_ih_back").is_some();
        let reversed: &[bool] = match a.str("direction") {
            "forward" => &[false],
            "reverse" => &[true],
            "bidirectional" if both => &[false, true],
            other => {
                let text = format!("`{}` has no direction `{other}`", a.op.name());
                let help =
                    if both { "`forward`, `reverse` or `bidirectional`" } else { "`forward` or `reverse`" };
                return Err(Reject::new("direction", text).help(format!("use {help}")));
            }
        };
        let hidden = a.ty("weight_hh").shape.last().copied().unwrap_or(0);
        let all = |n: usize| n.checked_mul(hidden).filter(|&n| n > 0 && hidden.checked_mul(2).is_some());
        let (Some(rows), Some(state)) = (all(gates), all(reversed.len())) else {
            let text = format!("`{}` needs `weight_hh` as [{gates}·H, H]", a.op.name());
            return Err(Reject::new("recurrent-shape", text)
                .label("weight_hh", Shape(&a.ty("weight_hh").shape).to_string()));
        };
        let peephole = rows - hidden;
        let mut expected: Vec<(&'static str, Vec<usize>)> = vec![("initial_h", vec![batch, state])];
        if a.op.param("initial_c").is_some() {
            expected.push(("initial_c", vec![batch, state]));
        }
        expected.push(("input_bias", vec![rows]));
        for names in NAMES.iter().take(reversed.len()) {
            let shapes = [vec![rows, input], vec![rows, hidden], vec![rows], vec![peephole]];
            expected.extend(names.iter().copied().zip(shapes));
        }
        for (name, shape) in expected {
            if a.op.param(name).is_none() {
                continue;
            }
            if !a.has(name) {
                if name.starts_with("weight") {
                    let text = format!("`{}` needs `{name}` for its second direction", a.op.name());
                    return Err(Reject::new("missing-parameter", text));
                }
            } else if a.ty(name).shape != shape {
                let text = format!("`{name}` of `{}` has another shape", a.op.name());
                return Err(Reject::new("recurrent-shape", text)
                    .label(name, Shape(&a.ty(name).shape).to_string())
                    .label("x", Shape(&x.shape).to_string())
                    .label("weight_hh", Shape(&a.ty("weight_hh").shape).to_string())
                    .help(format!("its shape must be {}", Shape(&shape))));
            }
        }
        Ok(Plan { steps, batch, hidden, reversed, ty: TensorType::new(x.dtype, [batch, state]) })
    }

    /// The type of a state.
    fn state(&self) -> TensorType {
        self.ty.clone()
    }

    /// The type of the first result.
    fn sequence(&self, a: &Call<'_>) -> TensorType {
        let steps = if a.bool("output_sequence") { self.steps } else { 1 };
        TensorType::new(self.ty.dtype, [&[steps], self.ty.shape.as_slice()].concat())
    }
}

/// Weights, bias and peephole of each direction.
const NAMES: [[&str; 4]; 2] = [
    ["weight_ih", "weight_hh", "bias", "peephole"],
    ["weight_ih_back", "weight_hh_back", "bias_back", "peephole_back"],
];

/// Whether parameter `name` is a value of the element type that all share.
fn is_value(name: &str) -> bool {
    matches!(name, "x" | "initial_h" | "initial_c" | "clip" | "input_bias")
        || NAMES.iter().flatten().any(|n| *n == name)
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// The parameters of one direction.
struct Weights<'a> {
    /// Total number of gate elements.
    rows: usize,
    input: &'a [f64],
    hidden: &'a [f64],
    bias: Option<&'a [f64]>,
    peephole: Option<&'a [f64]>,
}

impl Weights<'_> {
    /// `W_ih·x + W_hh·h + b`.
    fn gates(&self, x: &[f64], h: &[f64]) -> Vec<f64> {
        self.of_input(x).iter().zip(self.of_hidden(h)).map(|(x, h)| x + h).collect()
    }

    /// `W_ih·x`.
    fn of_input(&self, x: &[f64]) -> Vec<f64> {
        let rows = if x.is_empty() { 0 } else { self.input.len() / x.len() };
        let row = |n: usize| dot(&self.input[n * x.len()..(n + 1) * x.len()], x);
        let mut gates: Vec<f64> = (0..rows).map(row).collect();
        gates.resize(self.rows, 0.0);
        gates
    }

    /// `W_hh·h + b`.
    fn of_hidden(&self, h: &[f64]) -> Vec<f64> {
        let row = |(n, hidden): (usize, &[f64])| dot(hidden, h) + self.bias.map_or(0.0, |b| b[n]);
        self.hidden.chunks(h.len()).enumerate().map(row).collect()
    }
}

/// One step: changes `h` and `c` of one member of the batch.
type CellStep<'a> = dyn Fn(&Weights<'_>, &[f64], &mut [f64], &mut [f64]) + 'a;

/// The results of a layer that applies `step` repeatedly.
fn recurrent(a: &Eval<'_>, gates: usize, step: &CellStep<'_>) -> Vec<Tensor> {
    let Ok(plan) = Plan::of(a, gates) else { return Vec::new() };
    let value = |name: &str| {
        let given = a.op.param(name).is_some() && a.has(name);
        given.then(|| a.tensor(name).as_floats())
    };
    let (x, h0, c0) = (a.tensor("x").as_floats(), a.tensor("initial_h").as_floats(), value("initial_c"));
    let (input, hidden, width) = (a.ty("x").shape[2], plan.hidden, plan.ty.shape[1]);
    let every = a.bool("output_sequence");
    let mut sequence = vec![0.0; a.out().elements()];
    let (mut last_h, mut last_c) = (h0.to_vec(), c0.unwrap_or(h0).to_vec());
    for (direction, &reversed) in plan.reversed.iter().enumerate() {
        let [w_ih, w_hh, bias, peephole] = NAMES[direction].map(value);
        let (Some(w_ih), Some(w_hh)) = (w_ih, w_hh) else { return Vec::new() };
        let weights = Weights { rows: gates * hidden, input: w_ih, hidden: w_hh, bias, peephole };
        for member in 0..plan.batch {
            let state = member * width + direction * hidden..member * width + (direction + 1) * hidden;
            let (h, c) = (&mut last_h[state.clone()], &mut last_c[state.clone()]);
            for n in 0..plan.steps {
                let at = if reversed { plan.steps - 1 - n } else { n };
                let from = (at * plan.batch + member) * input;
                step(&weights, &x[from..from + input], h, c);
                // With two directions, each step is aligned with its input element.
                let row = if plan.reversed.len() > 1 { at } else { n };
                if every {
                    let to = row * plan.batch * width;
                    sequence[to + state.start..to + state.end].copy_from_slice(h);
                }
            }
            if !every {
                sequence[state].copy_from_slice(h);
            }
        }
    }
    let data = [sequence, last_h, last_c].map(Data::Float);
    a.outs().iter().zip(data).map(|(&ty, data)| Tensor { ty: ty.clone(), data }).collect()
}

/// The multiply-adds of a recurrent layer: for each element of the sequence, every weight once.
fn mul_adds(call: &Call<'_>) -> Option<u64> {
    let steps = elements(call.sizes("x")?.get(..2).unwrap_or_default());
    let weights = call.op.params.iter().filter(|p| p.name.starts_with("weight"));
    let weights = weights.filter_map(|p| call.sizes(p.name)).map(elements).fold(0, u64::saturating_add);
    Some(steps.saturating_mul(weights))
}
