//! One line or more for each operation: how cases are written here, the cases in a file for each kind.

mod arrange;
mod basic;
mod compressed;
mod draw;
mod fill;
mod functions;
mod image;
mod resize;
mod scatter;

use mil::build::Input;
use mil::{Builder, DType, Data, Literal, Opset, Program, Report, Tensor, TensorType, ValueId, Verified};
use std::fmt;

/// Example arguments of an operation. Floats are of fp16 or fp32 as the test wants; they are seeded, distinct, and
/// between 0.2 and 1.5 in size, so no kink is near.
#[derive(Clone)]
pub struct Case {
    pub op: &'static str,
    args: Vec<(&'static str, Given)>,
    positive: bool,
    /// What the floats are multiplied by.
    scale: f64,
    /// Whether this form of the operation is refused by its gradient rule.
    pub refused: bool,
}

#[derive(Clone, Debug)]
pub enum Given {
    /// An input, to be differentiated.
    Floats(Vec<usize>),
    /// Several inputs, to be differentiated.
    List(Vec<Vec<usize>>),
    /// Any other input.
    Other(Tensor),
    /// A scalar constant of the float type.
    Float(f64),
    Int(i64),
    Ints(Vec<i64>),
    Bool(bool),
    Str(&'static str),
    Literal(Literal),
    /// Several constants.
    Literals(Vec<Literal>),
}

pub fn case(op: &'static str) -> Case {
    Case { op, args: Vec::new(), positive: false, scale: 1.0, refused: false }
}

impl Case {
    pub fn with(mut self, name: &'static str, given: Given) -> Case {
        self.args.push((name, given));
        self
    }
    pub fn floats(self, name: &'static str, shape: &[usize]) -> Case {
        self.with(name, Given::Floats(shape.to_vec()))
    }
    pub fn x(self, shape: &[usize]) -> Case {
        self.floats("x", shape)
    }
    pub fn y(self, shape: &[usize]) -> Case {
        self.floats("y", shape)
    }
    pub fn list(self, name: &'static str, shapes: &[&[usize]]) -> Case {
        self.with(name, Given::List(shapes.iter().map(|s| s.to_vec()).collect()))
    }
    pub fn integers(self, name: &'static str, dtype: DType, shape: &[usize], values: &[i64]) -> Case {
        let tensor = Tensor::new(TensorType::new(dtype, shape), Data::Int(values.to_vec()));
        self.with(name, Given::Other(tensor.expect("fits")))
    }
    pub fn truths(self, name: &'static str, shape: &[usize]) -> Case {
        let n = shape.iter().product::<usize>();
        let values = (0..n).map(|i| i % 3 != 1).collect();
        let tensor = Tensor::new(TensorType::new(DType::Bool, shape), Data::Bool(values));
        self.with(name, Given::Other(tensor.expect("fits")))
    }
    pub fn masks(self, name: &'static str, values: &[bool]) -> Case {
        self.literal(name, TensorType::new(DType::Bool, [values.len()]), Data::Bool(values.to_vec()))
    }
    pub fn literal(self, name: &'static str, ty: TensorType, data: Data) -> Case {
        self.with(name, Given::Literal(Literal::inline(Tensor::new(ty, data).expect("fits"))))
    }
    /// Several constants, each a single number.
    pub fn numbers(self, name: &'static str, values: &[i64]) -> Case {
        let literal = |&x: &i64| single(DType::I32, Data::Int(vec![x]));
        self.with(name, Given::Literals(values.iter().map(literal).collect()))
    }
    /// Several constants, each a single truth value.
    pub fn flags(self, name: &'static str, values: &[bool]) -> Case {
        let literal = |&x: &bool| single(DType::Bool, Data::Bool(vec![x]));
        self.with(name, Given::Literals(values.iter().map(literal).collect()))
    }
    pub fn float(self, name: &'static str, value: f64) -> Case {
        self.with(name, Given::Float(value))
    }
    pub fn int(self, name: &'static str, value: i64) -> Case {
        self.with(name, Given::Int(value))
    }
    pub fn axis(self, value: i64) -> Case {
        self.int("axis", value)
    }
    pub fn ints(self, name: &'static str, values: &[i64]) -> Case {
        self.with(name, Given::Ints(values.to_vec()))
    }
    pub fn axes(self, values: &[i64]) -> Case {
        self.ints("axes", values)
    }
    pub fn flag(self, name: &'static str, value: bool) -> Case {
        self.with(name, Given::Bool(value))
    }
    pub fn str(self, name: &'static str, value: &'static str) -> Case {
        self.with(name, Given::Str(value))
    }
    /// With positive floats alone.
    pub fn positive(mut self) -> Case {
        self.positive = true;
        self
    }
    /// With floats multiplied by `scale`.
    pub fn scaled(mut self, scale: f64) -> Case {
        self.scale = scale;
        self
    }
    /// The gradient rule refuses this form.
    pub fn refused(mut self) -> Case {
        self.refused = true;
        self
    }

    /// The same without parameter `name`.
    pub fn without(&self, name: &str) -> Case {
        let mut out = self.clone();
        out.args.retain(|(n, _)| *n != name);
        out
    }

    /// The same with the integers of constant `name` as an input.
    pub fn computed(&self, name: &str) -> Option<Case> {
        let mut out = self.clone();
        let (_, given) = out.args.iter_mut().find(|(n, _)| *n == name)?;
        let Given::Ints(values) = &*given else { return None };
        let ty = TensorType::new(DType::I32, [values.len()]);
        *given = Given::Other(Tensor::new(ty, Data::Int(values.clone())).expect("fits"));
        Some(out)
    }

    /// The same with one number, of a shape or a constant, replaced by one of `numbers`: all such cases.
    pub fn perturbed(&self, numbers: &[i64]) -> Vec<Case> {
        let mut out = Vec::new();
        for (i, (_, given)) in self.args.iter().enumerate() {
            let places = match given {
                Given::Floats(shape) => shape.len(),
                Given::List(shapes) => shapes.iter().map(Vec::len).sum(),
                Given::Ints(v) => v.len(),
                Given::Int(_) => 1,
                _ => 0,
            };
            for (place, &number) in (0..places).flat_map(|p| numbers.iter().map(move |n| (p, n))) {
                let mut case = self.clone();
                let size = usize::try_from(number).ok().filter(|&n| n < 100);
                match (&mut case.args[i].1, size) {
                    (Given::Floats(shape), Some(n)) => shape[place] = n,
                    (Given::List(shapes), Some(n)) => {
                        *shapes.iter_mut().flatten().nth(place).expect("counted") = n;
                    }
                    (Given::Ints(v), _) => v[place] = number,
                    (Given::Int(v), _) => *v = number,
                    _ => continue,
                }
                out.push(case);
            }
        }
        out
    }

    /// The operation alone, as a program, with its inputs.
    pub fn build(&self, dtype: DType) -> Result<Built, Report> {
        let b = Builder::new("main", Opset::Ios18);
        let mut inputs = Vec::new();
        let seeded = |shape: &[usize], seed: usize| {
            let tensor = seeded(dtype, shape, seed, self.positive);
            let scaled = tensor.as_floats().iter().map(|x| x * self.scale);
            Tensor::floats(tensor.ty.clone(), scaled)
        };
        let input = |tensor: Tensor, inputs: &mut Vec<Tensor>| {
            let var = b.input(&format!("in{}", inputs.len()), tensor.ty.clone());
            inputs.push(tensor);
            var
        };
        let mut args: Vec<(&'static str, Input<'_>)> = Vec::new();
        for (name, given) in &self.args {
            let value: Input<'_> = match given {
                Given::Floats(shape) => input(seeded(shape, inputs.len()), &mut inputs).into(),
                Given::List(shapes) => {
                    let vars = shapes.iter().map(|s| input(seeded(s, inputs.len()), &mut inputs));
                    vars.collect::<Vec<_>>().into()
                }
                Given::Other(tensor) => input(tensor.clone(), &mut inputs).into(),
                Given::Float(x) => b.scalar(dtype, *x).into(),
                Given::Int(x) => (*x).into(),
                Given::Ints(x) => x.clone().into(),
                Given::Bool(x) => (*x).into(),
                Given::Str(x) => (*x).into(),
                Given::Literal(l) => l.clone().into(),
                Given::Literals(v) => {
                    let vars = v.iter().map(|l| b.op("const", [("val", l.clone().into())]));
                    vars.collect::<Vec<_>>().into()
                }
            };
            args.push((name, value));
        }
        let results = b.op_many(self.op, args);
        let names: Vec<String> = (0..results.len()).map(|i| format!("out{i}")).collect();
        let program = b.finish(names.iter().map(String::as_str).zip(results))?;
        Ok(Built { program, inputs })
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.op)?;
        for (name, given) in &self.args {
            write!(f, " {name}={given:?}")?;
        }
        Ok(())
    }
}

fn single(dtype: DType, data: Data) -> Literal {
    Literal::inline(Tensor::new(TensorType::scalar(dtype), data).expect("fits"))
}

/// A case as a program.
pub struct Built {
    pub program: Verified<Program>,
    pub inputs: Vec<Tensor>,
}

impl Built {
    /// The inputs that can be differentiated.
    pub fn floats(&self) -> Vec<ValueId> {
        self.of_floats(&self.program.entry().inputs)
    }

    /// The results that can be.
    pub fn seeds(&self) -> Vec<ValueId> {
        self.of_floats(&self.program.entry().outputs)
    }

    /// Whether there are both.
    pub fn has_floats(&self) -> bool {
        !self.floats().is_empty() && !self.seeds().is_empty()
    }

    /// A cotangent for each of `seeds`.
    pub fn cotangents(&self) -> Vec<Tensor> {
        let function = self.program.entry();
        let seeds = self.seeds();
        seeds
            .iter()
            .enumerate()
            .map(|(i, &v)| seeded(function.ty(v).dtype, &function.ty(v).shape, 10 + i, false))
            .collect()
    }

    pub fn of_floats(&self, values: &[ValueId]) -> Vec<ValueId> {
        values.iter().copied().filter(|&v| self.program.entry().ty(v).dtype.is_float()).collect()
    }
}

/// Distinct numbers between 0.2 and 1.5 in size, in an order and with signs that depend on `seed`.
fn seeded(dtype: DType, shape: &[usize], seed: usize, positive: bool) -> Tensor {
    let ty = TensorType::new(dtype, shape);
    let n = ty.elements();
    let mut state = 0x9e37_79b9_7f4a_7c15u64.wrapping_mul(seed as u64 + 1);
    let mut random = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let mut order: Vec<usize> = (0..n).collect();
    for i in (1..n).rev() {
        order.swap(i, (random() % (i as u64 + 1)) as usize);
    }
    // Steps of different arguments do not meet.
    let shift = (seed as f64 * 0.382).fract();
    let size = |i: usize| 0.2 + 1.3 * (i as f64 + shift) / n as f64;
    let values: Vec<f64> =
        order.iter().map(|&i| if positive || random() & 64 == 0 { size(i) } else { -size(i) }).collect();
    Tensor::floats(ty, values)
}

/// Every case.
pub fn cases() -> Vec<Case> {
    [
        arrange::cases(),
        basic::cases(),
        compressed::cases(),
        draw::cases(),
        fill::cases(),
        functions::cases(),
        image::cases(),
        resize::cases(),
        scatter::cases(),
    ]
    .concat()
}
