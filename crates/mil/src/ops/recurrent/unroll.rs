//! Recurrent layers written step by step, in simpler operations, to be differentiated.

use super::{NAMES, Plan};
use crate::build::{Input, Var};
use crate::grad::{GradCall, Values};
use crate::op::Call;

/// Sequences of more steps are not differentiated: each writes some hundred operations.
const MOST_STEPS: usize = 256;

/// The gradient of a layer whose weights have `gates` blocks.
pub(super) fn gradient(g: &mut GradCall<'_, '_>, gates: usize, step: UnrolledStep) {
    let Ok(plan) = Plan::of(g, gates) else { return };
    if plan.steps > MOST_STEPS {
        g.refuse(format!("it is unrolled for that, and {} steps are more than {MOST_STEPS}", plan.steps));
        return;
    }
    if g.ty("x").elements() == 0 {
        g.refuse("its sequence is empty");
        return;
    }
    g.through(|a, values| unrolled(a, values, &plan, step));
}

/// One step: of what the input gives to the gates, `[B, gates·H]`, and the state, the next state.
pub(super) type UnrolledStep = for<'b> fn(&Call<'_>, &Weights<'b>, Var<'b>, State<'b>) -> State<'b>;

/// `h` and `c`, `[B, H]`; a layer without cells carries `h` as both.
#[derive(Clone, Copy)]
pub(super) struct State<'b> {
    h: Var<'b>,
    c: Var<'b>,
}

/// The parameters of one direction that a step needs.
pub(super) struct Weights<'b> {
    size: usize,
    hidden: Var<'b>,
    bias: Option<Var<'b>>,
    peephole: Option<Var<'b>>,
}

impl<'b> Weights<'b> {
    /// `W·h` for the gates from number `first` on, `n` of them.
    fn product(&self, h: Var<'b>, first: usize, n: usize) -> Var<'b> {
        let rows = self.hidden.slice(&[first * self.size, 0], &[n * self.size, self.size]);
        h.matmul(rows, false, true)
    }

    /// Gate number `n` of `gates`.
    fn gate(&self, gates: Var<'b>, n: usize) -> Var<'b> {
        let batch = gates.shape()[0];
        gates.slice(&[0, n * self.size], &[batch, self.size])
    }

    /// `gate + p⊙c`, `p` number `n` of the peepholes.
    fn peep(&self, gate: Var<'b>, n: usize, c: Var<'b>) -> Var<'b> {
        match self.peephole {
            Some(p) => gate + p.slice(&[n * self.size], &[self.size]) * c,
            None => gate,
        }
    }
}

pub(super) fn lstm_step<'b>(a: &Call<'_>, w: &Weights<'b>, input: Var<'b>, s: State<'b>) -> State<'b> {
    let [phi, psi, chi] = ["recurrent_activation", "cell_activation", "activation"].map(|name| a.str(name));
    let gates = input + w.product(s.h, 0, 4);
    let i = activated(phi, w.peep(w.gate(gates, 0), 0, s.c));
    let f = activated(phi, w.peep(w.gate(gates, 1), 1, s.c));
    let mut c = f * s.c + i * activated(psi, w.gate(gates, 3));
    if a.has("clip") {
        let size = a.float("clip");
        c = bounded(c, -size, size);
    }
    let o = activated(phi, w.peep(w.gate(gates, 2), 2, c));
    State { h: o * activated(chi, c), c }
}

pub(super) fn gru_step<'b>(a: &Call<'_>, w: &Weights<'b>, input: Var<'b>, s: State<'b>) -> State<'b> {
    let (phi, chi) = (a.str("recurrent_activation"), a.str("activation"));
    let r = activated(phi, w.gate(input, 0) + w.product(s.h, 0, 1));
    let z = activated(phi, w.gate(input, 2) + w.product(s.h, 2, 1));
    let o = if a.bool("reset_after") {
        // The bias of the state, which is in `input` already, is reset with it.
        let bias = w.bias.map(|bias| bias.slice(&[w.size], &[w.size]));
        let (product, input) = (w.product(s.h, 1, 1), w.gate(input, 1));
        match bias {
            Some(bias) => input - bias + r * (product + bias),
            None => input + r * product,
        }
    } else {
        w.gate(input, 1) + w.product(r * s.h, 1, 1)
    };
    let o = activated(chi, o);
    let h = (1.0 - z) * o + z * s.h;
    State { h, c: h }
}

pub(super) fn rnn_step<'b>(a: &Call<'_>, w: &Weights<'b>, input: Var<'b>, s: State<'b>) -> State<'b> {
    let h = activated(a.str("activation"), input + w.product(s.h, 0, 1));
    State { h, c: h }
}

/// Activation `name` of `v`, which the type rule has checked.
fn activated<'b>(name: &str, v: Var<'b>) -> Var<'b> {
    match name.to_ascii_lowercase().as_str() {
        "linear" => v,
        // A fifth is not a binary fraction; five is.
        "hard_sigmoid" | "sigmoid_hard" => bounded(v / 5.0 + 0.5, 0.0, 1.0),
        "scaled_tanh" => v.builder().op("tanh", [("x", v.into())]),
        name => v.builder().op(name, [("x", v.into())]),
    }
}

/// `v`, at least `low` and at most `high`.
fn bounded<'b>(v: Var<'b>, low: f64, high: f64) -> Var<'b> {
    let (b, dtype) = (v.builder(), v.ty().dtype);
    let bound = |op: &str, v: Var<'b>, y: f64| -> Var<'b> {
        let args: [(&str, Input<'b>); 2] = [("x", v.into()), ("y", b.scalar(dtype, y).into())];
        b.op(op, args)
    };
    bound("minimum", bound("maximum", v, low), high)
}

/// The results of the layer.
fn unrolled<'b>(a: &Call<'_>, values: &Values<'b>, plan: &Plan, step: UnrolledStep) -> Vec<Var<'b>> {
    let (x, first_h) = (values["x"], values["initial_h"]);
    let first_c = values.get("initial_c").copied().unwrap_or(first_h);
    let (batch, size) = (plan.batch, plan.hidden);
    let mut sequences = Vec::new();
    let (mut last_h, mut last_c) = (Vec::new(), Vec::new());
    for (direction, &reversed) in plan.reversed.iter().enumerate() {
        let [w_ih, w_hh, bias, peephole] = NAMES[direction].map(|name| values.get(name).copied());
        let (Some(w_ih), Some(hidden)) = (w_ih, w_hh) else { return Vec::new() };
        let weights = Weights { size, hidden, bias, peephole };
        let own = |v: Var<'b>| v.slice(&[0, direction * size], &[batch, size]);
        let mut state = State { h: own(first_h), c: own(first_c) };
        let inputs = x.matmul(w_ih, false, true);
        let inputs = bias.map_or(inputs, |bias| inputs + bias);
        let inputs = values.get("input_bias").map_or(inputs, |&bias| inputs + bias);
        let width = inputs.shape()[2];
        let mut steps = Vec::new();
        for n in 0..plan.steps {
            let at = if reversed { plan.steps - 1 - n } else { n };
            let input = inputs.slice(&[at, 0, 0], &[1, batch, width]).reshape(&[batch, width]);
            state = step(a, &weights, input, state);
            steps.push(state.h.reshape(&[1, batch, size]));
        }
        if !a.bool("output_sequence") {
            steps.drain(..steps.len() - 1);
        } else if reversed && plan.reversed.len() > 1 {
            steps.reverse();
        }
        sequences.extend(joined(steps, 0));
        last_h.push(state.h);
        last_c.push(state.c);
    }
    let mut results = vec![joined(sequences, 2), joined(last_h, 1)];
    if values.contains_key("initial_c") {
        results.push(joined(last_c, 1));
    }
    results.into_iter().flatten().collect()
}

/// `parts` along `axis`; nothing to do for one.
fn joined(parts: Vec<Var<'_>>, axis: i64) -> Option<Var<'_>> {
    match parts.as_slice() {
        &[one] => Some(one),
        _ => Var::concat(parts, axis),
    }
}
