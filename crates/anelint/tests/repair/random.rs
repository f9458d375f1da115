//! Random small programs: what is repaired means the same, and a second repair finds nothing.

use anelint::repair::{prove, repair};
use mil::build::Input;
use mil::{Builder, DType, Data, Literal, Opset, Program, Tensor, TensorType, Var, Verified, Weights};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

struct Dice(ChaCha8Rng);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0.random_range(0..sides)
    }

    fn literal(&mut self, ty: TensorType) -> Literal {
        let values = (0..ty.elements()).map(|_| self.0.random_range(-1.0..1.0)).collect();
        Literal::inline(Tensor { ty, data: Data::Float(values) }.rounded())
    }
}

/// A program on `[1, C, 1, W]`, of operations that engines want in other words, most of them along `W`.
fn program(dice: &mut Dice) -> Option<Verified<Program>> {
    let dtype = [DType::F16, DType::F32][dice.roll(2)];
    let (c, w) = (1 + dice.roll(4), [1, 2, 5, 12, 16, 20, 32][dice.roll(7)]);
    let ty = TensorType::new(dtype, [1, c, 1, w]);
    let b = Builder::new("main", Opset::Ios18);
    let mut values: Vec<Var<'_>> =
        ["z", "b", "y"][..1 + dice.roll(3)].iter().map(|n| b.input(n, ty.clone())).collect();
    for _ in 0..1 + dice.roll(8) {
        let x = values[dice.roll(values.len())];
        let y = values[dice.roll(values.len())];
        let unary = |op: &str| b.op(op, [("x", x.into())]);
        let float = |v: f64| {
            Input::Literal(Literal::inline(Tensor {
                ty: TensorType::scalar(dtype),
                data: Data::Float(vec![v]),
            }))
        };
        let new = match dice.roll(16) {
            0 => b.op("add", [("x", x.into()), ("y", y.into())]),
            1 => b.op("pow", [("x", x.into()), ("y", float(2.0))]),
            2 => unary("gelu"),
            3 => unary("sigmoid"),
            4 => b.op("inverse", [("x", unary("exp").into())]),
            5 => b.op("rsqrt", [("x", unary("exp").into())]),
            6 => b.op("softmax", [("x", x.into()), ("axis", [1i64, -1][dice.roll(2)].into())]),
            7 => {
                let weight = b.shared(dice.literal(TensorType::new(dtype, [c, c, 1, 1])));
                let bias = b.shared(dice.literal(TensorType::new(dtype, [c])));
                b.op("conv", [("x", x.into()), ("weight", weight.into()), ("bias", bias.into())])
            }
            8 => {
                let mean = b.op(
                    "reduce_mean",
                    [("x", x.into()), ("axes", vec![1i64].into()), ("keep_dims", true.into())],
                );
                b.op("sub", [("x", x.into()), ("y", mean.into())])
            }
            9 => {
                let all = b.op("concat", [("values", vec![x, y].into()), ("axis", 1i64.into())]);
                all.slice(&[0, c / 2, 0, 0], &[1, c, 1, w])
            }
            10 => {
                let table = b.shared(dice.literal(TensorType::new(dtype, [w])));
                b.op("mul", [("x", x.into()), ("y", table.into())])
            }
            11 => {
                x.reshape(&[1, 1, c, w]).t().reshape(&[1, w, c]).transpose(&[0, 2, 1]).reshape(&[1, c, 1, w])
            }
            12 => {
                let rows = x.reshape(&[1, c, w]);
                let weight = b.shared(dice.literal(TensorType::new(dtype, [1, c, c])));
                b.op("matmul", [("x", weight.into()), ("y", rows.into())]).reshape(&[1, c, 1, w])
            }
            13 => {
                let q = x.reshape(&[1, c, w]);
                let k = y.reshape(&[1, c, w]);
                let args = [("query", q.into()), ("key", k.into()), ("value", q.into())];
                b.op("scaled_dot_product_attention", args).reshape(&[1, c, 1, w])
            }
            14 => {
                b.op(
                    "reduce_mean",
                    [("x", x.into()), ("axes", vec![-1i64].into()), ("keep_dims", true.into())],
                ) + x
            }
            _ => b.op("maximum", [("x", x.into()), ("y", y.into())]),
        };
        values.push(new);
    }
    let outputs = 1 + dice.roll(2.min(values.len()));
    let names = ["q", "p"];
    let last = values.into_iter().rev().take(outputs);
    let mut out: Vec<(&str, Var<'_>)> = Vec::new();
    for (name, v) in names.into_iter().zip(last) {
        if out.iter().all(|(_, o)| o.id() != v.id()) && v.ty().shape == ty.shape {
            out.push((name, v));
        }
    }
    b.finish(out).ok()
}

#[test]
fn random_programs_keep_their_meaning_and_settle() {
    let (mut tried, mut padded, mut stuck) = (0, 0, 0);
    for seed in 0..300 {
        let mut dice = Dice(ChaCha8Rng::seed_from_u64(seed));
        let Some(before) = program(&mut dice) else { continue };
        tried += 1;
        let all: Vec<&str> = anelint::repair::REPAIRS.iter().flat_map(|r| r.rules).copied().collect();
        for rules in [None, Some(&all[..])] {
            let repaired = repair(&before, rules);
            let text = || mil::text::print(&before);
            if let Err(e) = prove(&before, &repaired.program, &repaired, &Weights::new(), seed) {
                panic!("{seed}: {e}\n{}\n{}", text(), mil::text::print(&repaired.program));
            }
            let again = repair(&repaired.program, rules);
            assert!(again.is_unchanged(), "{seed}: {}\n{:?}", text(), again.applied);
            padded += usize::from(repaired.applied.iter().any(|a| a.repair.name == "pad-last-axis"));
            for o in &repaired.obstacles {
                assert!(!o.reason.contains("program is wrong"), "{seed}: {}\n{}", o.reason, text());
                stuck += 1;
            }
        }
    }
    println!("{tried} programs, {padded} padded, {stuck} could not be");
    assert!(tried > 200 && padded > 50 && stuck > 20, "{tried} {padded} {stuck}");
}
