//! Bytes as a program: each byte is a choice, so that a small change of the bytes is a small change of the program.

use mil::ir::{Arg, Operation};
use mil::op::{Absent, Call, Param, Role};
use mil::{ArgValue, DType, Data, Function, Literal, Op, Opset, Program, Tensor, TensorType, ValueId};

/// Operations of a program, at most.
const LONGEST: usize = 6;
/// Elements of a value, at most.
pub const LARGEST: usize = 4096;

/// Elements of a value, empty axes counted as 1: engines refuse by that what is too large.
pub fn extent(ty: &TensorType) -> usize {
    ty.shape.iter().fold(1, |n: usize, &d| n.saturating_mul(d.max(1)))
}

/// What parameters that are words can be.
const WORDS: [&str; 22] = [
    "fp16",
    "fp32",
    "int32",
    "int16",
    "int8",
    "uint8",
    "bool",
    "valid",
    "same",
    "same_lower",
    "custom",
    "constant",
    "reflect",
    "replicate",
    "EXACT",
    "TANH_APPROXIMATION",
    "forward",
    "bidirectional",
    "tanh",
    "relu",
    "sigmoid",
    "nchw,nkch->nkhw",
];

/// Choices that bytes make; none are left when they end.
pub struct Choices<'b> {
    bytes: &'b [u8],
}

impl<'b> Choices<'b> {
    pub fn new(bytes: &'b [u8]) -> Choices<'b> {
        Choices { bytes }
    }

    fn byte(&mut self) -> usize {
        let Some((&first, rest)) = self.bytes.split_first() else { return 0 };
        self.bytes = rest;
        usize::from(first)
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.byte() % all.len()]
    }

    fn number(&mut self) -> i64 {
        match self.byte() {
            n @ 0..240 => n as i64 % 12 - 4,
            n => [0, 16, -100, i64::from(i32::MAX), i64::from(i32::MIN), 255, 127, -128][n % 8],
        }
    }
}

/// The program that `choices` make; operations that their rules refuse are left out.
pub fn program(choices: &mut Choices<'_>) -> Program {
    let opset = choices.of(&[Opset::Ios18, Opset::Ios18, Opset::Ios17, Opset::Ios16, Opset::Ios15]);
    let mut f = Function::empty("main", opset);
    let ops: Vec<Op> = Op::all().collect();
    for _ in 0..1 + choices.byte() % 3 {
        let dtype = choices.of(&[DType::F16, DType::F32, DType::F16, DType::I32, DType::Bool]);
        input(choices, &mut f, dtype);
    }
    while !choices.bytes.is_empty() && f.ops.iter().filter(|o| o.op.name() != "const").count() < LONGEST {
        let at = choices.byte() << 8 | choices.byte();
        operation(choices, &mut f, ops[at % ops.len()]);
    }
    let results = f.ops.iter().filter(|o| o.op.name() != "const").flat_map(|o| &o.results);
    let results: Vec<ValueId> = results.copied().filter(|&v| f.ty(v).dtype != DType::Str).collect();
    // The last one, and some of those before.
    for (n, &v) in results.iter().rev().enumerate() {
        if n == 0 || choices.byte() % 4 == 1 {
            f.outputs.push(v);
        }
    }
    Program::of(f)
}

fn input(choices: &mut Choices<'_>, f: &mut Function, dtype: DType) -> ValueId {
    let rank = choices.byte() % 6;
    let shape: Vec<usize> = (0..rank).map(|_| choices.of(&[1, 2, 3, 4, 1, 2, 6, 0])).collect();
    let id = f.add_value(format!("x{}", f.values.len()), TensorType::new(dtype, shape));
    f.inputs.push(id);
    id
}

/// Adds `op` on arguments that are at hand or made up.
fn operation(choices: &mut Choices<'_>, f: &mut Function, op: Op) {
    let before = f.clone();
    let mut args = Vec::new();
    for (param, p) in op.params.iter().enumerate() {
        if p.absent != Absent::Refused && choices.byte().is_multiple_of(3) {
            continue;
        }
        let value = match p.role {
            Role::Tensor => ArgValue::Value(value(choices, f, p)),
            Role::Variadic => {
                let n = 1 + choices.byte() % 3;
                ArgValue::List((0..n).map(|_| value(choices, f, p)).collect())
            }
            Role::Attribute => ArgValue::Literal(literal(choices, p)),
            Role::Const | Role::Known | Role::Bound => ArgValue::Value(constant(choices, f, p)),
        };
        args.push(Arg { param, value });
    }
    f.ops.push(Operation::new(op, args, Vec::new()));
    let last = &f.ops[f.ops.len() - 1];
    let types = (op.infer)(&Call::new(f, &f.literals(), last));
    match types {
        Ok(types) if types.iter().all(|t| extent(t) <= LARGEST && t.is_known()) => {
            for ty in types {
                let id = f.add_value(format!("v{}", f.values.len()), ty);
                let at = f.ops.len() - 1;
                f.ops[at].results.push(id);
            }
        }
        _ => *f = before,
    }
}

/// A value that `p` takes: one of those at hand, if any is of its type.
fn value(choices: &mut Choices<'_>, f: &mut Function, p: &Param) -> ValueId {
    let at = choices.byte();
    let fits: Vec<ValueId> = f
        .inputs
        .iter()
        .chain(f.ops.iter().flat_map(|o| &o.results))
        .copied()
        .filter(|&v| p.dtypes.contains(&f.ty(v).dtype))
        .collect();
    match at {
        0..200 if !fits.is_empty() => fits[fits.len() - 1 - at % fits.len()],
        200..230 => {
            let dtype = choices.of(p.dtypes);
            if dtype == DType::Str { constant(choices, f, p) } else { input(choices, f, dtype) }
        }
        _ => constant(choices, f, p),
    }
}

fn constant(choices: &mut Choices<'_>, f: &mut Function, p: &Param) -> ValueId {
    let literal = literal(choices, p);
    let id = f.add_value(format!("c{}", f.values.len()), literal.ty.clone());
    f.ops.push(Operation::constant(literal, id));
    id
}

/// A few numbers, truths or words: one, a list, or a list of lists.
fn literal(choices: &mut Choices<'_>, p: &Param) -> Literal {
    let dtype = choices.of(p.dtypes);
    let shape = match choices.byte() % 16 {
        0..6 => vec![],
        n @ 6..13 => vec![n - 5],
        13 => vec![2, 2],
        14 => vec![3, 1, 2],
        _ => vec![0],
    };
    let ty = TensorType::new(dtype, shape);
    let each = 0..ty.elements();
    let data = match dtype {
        float if float.is_float() => Data::Float(each.map(|_| choices.number() as f64 / 2.0).collect()),
        DType::Bool => Data::Bool(each.map(|_| choices.byte() % 2 == 1).collect()),
        DType::Str => Data::Str(each.map(|_| choices.of(&WORDS).to_owned()).collect()),
        _ => {
            let (low, high) = dtype.int_range().unwrap_or((0, 0));
            Data::Int(each.map(|_| choices.number().clamp(low, high)).collect())
        }
    };
    Literal::inline(Tensor { ty, data }.rounded())
}
