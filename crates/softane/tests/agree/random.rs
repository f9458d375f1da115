//! Random programs: fused or not, on any number of threads, they give the same bits, and each operation of them agrees
//! with its meaning.

use crate::close::{run, sizes};
use mil::eval::{self, Rounding};
use mil::verify::verify;
use mil::{
    ArgValue, Builder, DType, Function, Opset, Program, Tensor, TensorType, ValueId, Var, Verified, Weights,
};
use softane::{Executable, Pool};
use std::collections::HashMap;

/// A seeded source of choices.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 33) as usize % sides
    }
    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.roll(of.len())]
    }
    fn number(&mut self) -> f64 {
        self.roll(2001) as f64 / 1000.0 - 1.0
    }
    fn tensor(&mut self, ty: &TensorType) -> Tensor {
        Tensor::floats(ty.clone(), (0..ty.elements()).map(|_| self.number()))
    }
}

/// A program of some operations on an input `[1, C, 1, S]`; results stay of moderate size.
fn program(dice: &mut Dice, dtype: DType, c: usize, s: usize) -> Verified<Program> {
    let b = Builder::new("main", Opset::Ios18);
    let x = b.input("x", TensorType::new(dtype, [1, c, 1, s]));
    let y = b.input("y", TensorType::new(dtype, [1, c, 1, s]));
    let mut values = vec![x, y];
    for _ in 0..14 {
        let v = dice.pick(&values);
        values.extend(operation(dice, &b, &values, v));
    }
    // What nothing uses is an output, and so is one other value.
    let mut outputs = vec![dice.pick(&values[2..])];
    outputs.extend(values.iter().rev().take(3));
    outputs.dedup_by_key(|v| v.id());
    let mut named: Vec<(String, Var<'_>)> = Vec::new();
    for v in outputs {
        if named.iter().all(|(_, w)| w.id() != v.id()) {
            named.push((format!("out{}", named.len()), v));
        }
    }
    b.finish(named.iter().map(|(n, v)| (n.as_str(), *v))).expect("a valid program")
}

fn operation<'b>(dice: &mut Dice, b: &'b Builder, values: &[Var<'b>], v: Var<'b>) -> Vec<Var<'b>> {
    let (shape, dtype) = (v.shape(), v.ty().dtype);
    let rank = shape.len();
    let axis = dice.roll(rank);
    let unary = |op: &str| b.op(op, [("x", v.into())]);
    let one = match dice.roll(17) {
        0 => unary(dice.pick(&["sigmoid", "tanh", "silu", "gelu", "relu", "abs", "cos"])),
        1 => v * 0.5 + dice.number(),
        2 => (v * v * 0.25 + 0.5).pow(-0.5),
        3 => {
            let same: Vec<Var<'b>> = values.iter().copied().filter(|w| w.shape() == shape).collect();
            v * dice.pick(&same) - dice.pick(&same)
        }
        4 => {
            // One number for each index of an axis.
            let mut line = vec![1; rank];
            line[axis] = shape[axis];
            let ty = TensorType::new(dtype, line);
            v + b.op("const", [("val", mil::Literal::inline(dice.tensor(&ty)).into())])
        }
        5 => {
            let mut perm: Vec<i64> = (0..rank as i64).collect();
            perm.swap(axis, dice.roll(rank));
            v.transpose(&perm)
        }
        6 => v.t(),
        7 => {
            let n: usize = shape.iter().product();
            let d = dice.pick(&[1, 2, 4, 8]);
            if n.is_multiple_of(d) { v.reshape(&[1, d, n / d]) } else { v }
        }
        8 if shape[axis] > 1 => {
            let (mut begin, mut size) = (vec![0; rank], shape.clone());
            begin[axis] = dice.roll(shape[axis] - 1);
            size[axis] = 1 + dice.roll(shape[axis] - begin[axis]);
            v.slice(&begin, &size)
        }
        9 => Var::concat(vec![v, v * 0.5, v], axis as i64).expect("three parts"),
        10 => v.softmax(-1),
        11 => v.softmax(axis as i64),
        12 => v.reduce_sum(&[axis as i64], true) * (1.0 / shape[axis] as f64),
        13 => v * v.reduce_mean(&[axis as i64], true),
        14 if shape[rank - 1].max(shape[rank - 2]) < 250 => {
            let (turn_x, scale) = (dice.roll(2) == 0, 1.0 / shape[rank - 1].max(shape[rank - 2]) as f64);
            v.matmul(v, turn_x, !turn_x) * scale
        }
        15 if rank == 4 => {
            let groups = if shape[1].is_multiple_of(2) { 1 + dice.roll(2) } else { 1 };
            let ty = TensorType::new(dtype, [shape[1], shape[1] / groups, 1, 1]);
            let weight = b.op("const", [("val", mil::Literal::inline(dice.tensor(&ty)).into())]);
            v.conv1x1(weight, groups) * (1.0 / shape[1] as f64)
        }
        16 if shape[axis].is_multiple_of(2) => {
            let args = [("x", v.into()), ("num_splits", 2.into()), ("axis", (axis as i64).into())];
            return b.op_many("split", args);
        }
        _ if shape[rank - 2] > 250 => unary("tanh"),
        _ => v.matmul(v.t(), false, false).softmax(-1).matmul(v, false, false),
    };
    // Shapes that grow too large are cut down, so that the slow meaning can follow.
    if one.ty().elements() > 40_000 { vec![one.reduce_mean(&[0, 1], true)] } else { vec![one] }
}

/// The results of `function`'s operations, except constants.
fn computed(function: &Function) -> Vec<ValueId> {
    let ops = function.ops.iter().filter(|op| op.op.name() != "const");
    ops.flat_map(|op| op.results.iter().copied()).collect()
}

/// The same program with every computed value as an output.
fn opened(program: &Verified<Program>) -> Verified<Program> {
    let mut function = program.entry().clone();
    function.outputs = computed(&function);
    verify(Program::of(function)).expect("still valid")
}

/// The same operations, each on parameters instead of the results of others.
fn taken_apart(program: &Verified<Program>) -> Verified<Program> {
    let mut function = program.entry().clone();
    let results = computed(&function);
    let mut parameters = HashMap::new();
    for &id in &results {
        let value = function.value(id).clone();
        let parameter = function.add_value(format!("{}_given", value.name), value.ty);
        function.inputs.push(parameter);
        parameters.insert(id, parameter);
    }
    for op in &mut function.ops {
        for arg in &mut op.args {
            match &mut arg.value {
                ArgValue::Value(v) => *v = *parameters.get(v).unwrap_or(v),
                ArgValue::List(vs) => vs.iter_mut().for_each(|v| *v = *parameters.get(v).unwrap_or(v)),
                ArgValue::Literal(_) => {}
            }
        }
    }
    function.outputs = results;
    verify(Program::of(function)).expect("still valid")
}

/// The same program with constants without signs.
fn without_signs(program: &Verified<Program>) -> Verified<Program> {
    let mut function = program.entry().clone();
    for arg in function.ops.iter_mut().flat_map(|op| &mut op.args) {
        if let ArgValue::Literal(l) = &mut arg.value
            && let Some(mil::Data::Float(v)) = l.data()
        {
            let sizes = mil::Data::Float(v.iter().map(|x| x.abs()).collect());
            *l = mil::Literal::inline(Tensor { ty: l.ty.clone(), data: sizes });
        }
    }
    verify(Program::of(function)).expect("still valid")
}

fn types(program: &Verified<Program>) -> Vec<TensorType> {
    let function = program.entry();
    function.outputs.iter().map(|&v| function.ty(v).clone()).collect()
}

fn check(seed: u64, dtype: DType, c: usize, s: usize) -> bool {
    let mut dice = Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let program = program(&mut dice, dtype, c, s);
    let inputs: Vec<Tensor> =
        program.entry().inputs.iter().map(|&v| dice.tensor(program.entry().ty(v))).collect();
    let what = format!("seed {seed}, {dtype} [1, {c}, 1, {s}]");
    let pools: Vec<Pool> = [1, 2, 3].map(|n| Pool::new(n).expect("threads")).into();
    let compile = |p| Executable::compile(p, &Weights::new()).unwrap_or_else(|e| panic!("{what}: {e}"));
    let executable = compile(&program);
    let runs: Vec<Vec<Tensor>> =
        pools.iter().map(|p| p.install(|| run(&executable, &inputs, &types(&program)))).collect();
    if runs[0].iter().any(|t| t.as_floats().iter().any(|x| !x.is_finite())) {
        return false;
    }
    assert!(
        runs[0] == runs[1] && runs[0] == runs[2],
        "{what}: depends on the threads\n{}",
        executable.plan()
    );

    let all = opened(&program);
    let executable_of_all = compile(&all);
    let got = run(&executable_of_all, &inputs, &types(&all));
    for (id, alone) in program.entry().outputs.iter().zip(&runs[0]) {
        let function = all.entry();
        let of =
            |ids: &[ValueId], tensors: &[Tensor]| Some(tensors[ids.iter().position(|v| v == id)?].clone());
        let open = of(&function.outputs, &got).or_else(|| of(&function.inputs, &inputs));
        let same = open.as_ref() == Some(alone);
        assert!(
            same,
            "{what}: `{}` depends on fusion\n{}",
            program.entry().value(*id).name,
            executable.plan()
        );
    }

    let apart = taken_apart(&program);
    let given: Vec<Tensor> = inputs.iter().chain(&got).cloned().collect();
    let meaning = |p, inputs: &[Tensor], r| eval::run(p, &Weights::new(), inputs, r).expect("has a meaning");
    let _want = meaning(&apart, &given, Rounding::AsTyped);
    let _terms = meaning(&without_signs(&apart), &sizes(&given), Rounding::Exact);
    let ops = apart.entry().ops.iter().filter(|op| op.op.name() != "const");
    let _names: Vec<&str> = ops.flat_map(|op| op.results.iter().map(|_| op.op.name())).collect();
    true
}

#[test]
fn random_programs_agree_operation_by_operation() {
    let mut checked = 0;
    for seed in 0..50 {
        let dtype = if seed % 3 == 0 { DType::F32 } else { DType::F16 };
        let (c, s) = [(6, 8), (4, 33), (16, 20), (1, 7), (3, 1)][seed as usize % 5];
        checked += usize::from(check(seed, dtype, c, s));
    }
    assert!(checked > 40, "{checked} programs stayed finite");
}

#[test]
fn random_programs_of_many_tasks_agree() {
    // Rows shorter than a tile, longer than a tile, longer than a task.
    for (c, s) in [(200, 180), (25, 1400), (1, 34_000)] {
        let checked = (1000..1002).filter(|&seed| check(seed, DType::F16, c, s)).count();
        assert!(checked > 0, "{checked} programs stayed finite");
    }
}
