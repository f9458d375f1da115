//! Small programs on tiles: runs of f32 that stay in the first-level cache.
//!
//! A [`Code`] describes a computation on operands, one instruction per operation; [`TileProgram::new`] assigns its values
//! registers, which are rows of working memory. Each instruction rounds its result just as if it were stored.

use super::functions::{PointwiseInput, binary, by_row, unary};
use crate::buffer::Buffer;
use crate::convert;
use std::collections::HashMap;

pub(crate) use super::functions::{Binary, Row, Unary};

/// The operation of an instruction.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Function {
    Unary(Unary, Source),
    Binary(Binary, Source, Source),
    Row(Row, Source),
}

/// The source of an instruction's argument.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Source {
    /// An operand, by position.
    Operand(usize),
    /// The result of an earlier instruction, by position.
    Result(usize),
    /// This number.
    Number(f32),
}

/// One instruction.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Instruction {
    pub function: Function,
    /// Whether the result is rounded to half precision.
    pub round: bool,
}

/// Instructions and which source is the result.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Code {
    pub instructions: Vec<Instruction>,
    pub result: Source,
}

impl Function {
    fn sources(&self) -> [Option<Source>; 2] {
        match *self {
            Function::Unary(_, a) | Function::Row(_, a) => [Some(a), None],
            Function::Binary(_, a, b) => [Some(a), Some(b)],
        }
    }

    /// `f` of two sources.
    pub fn of_pair(f: Binary, x: Source, y: Source) -> Function {
        match (f, y) {
            (Binary::Pow, Source::Number(y)) => Function::Unary(Unary::Pow(y), x),
            _ => Function::Binary(f, x, y),
        }
    }

    /// The same with other sources.
    pub fn map(self, mut f: impl FnMut(Source) -> Source) -> Function {
        match self {
            Function::Unary(u, a) => Function::Unary(u, f(a)),
            Function::Row(r, a) => Function::Row(r, f(a)),
            Function::Binary(b, x, y) => {
                let x = f(x);
                Function::Binary(b, x, f(y))
            }
        }
    }
}

/// Where a value is while a tile runs.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Place {
    Register(usize),
    Number(f32),
}

/// One act on registers.
#[derive(Clone, Debug, PartialEq)]
enum Act {
    Load { operand: usize, to: usize },
    Unary { f: Unary, a: Place, to: usize, round: bool },
    Binary { f: Binary, a: Place, b: Place, to: usize, round: bool },
    Row { f: Row, a: Place, to: usize, round: bool },
}

/// A [`Code`] with registers.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct TileProgram {
    acts: Vec<Act>,
    /// The registers of the results.
    results: Vec<usize>,
    /// How many registers it uses.
    pub registers: usize,
}

impl TileProgram {
    /// Assigns a register to every value of `code`. With `stored_narrow` the result is rounded when it is stored, so
    /// the last instruction need not do it.
    pub fn new(code: &Code, stored_narrow: bool) -> TileProgram {
        TileProgram::several(&code.instructions, &[code.result], stored_narrow)
    }

    /// The same for several results.
    pub fn several(instructions: &[Instruction], results: &[Source], stored_narrow: bool) -> TileProgram {
        let mut last_use = HashMap::new();
        let key = |s: Source| match s {
            Source::Operand(i) => Some((0, i)),
            Source::Result(i) => Some((1, i)),
            Source::Number(_) => None,
        };
        for (at, i) in instructions.iter().enumerate() {
            for source in i.function.sources().into_iter().flatten().filter_map(key) {
                last_use.insert(source, at);
            }
        }
        let unread = |at: usize| !last_use.contains_key(&(1, at));
        let stored: Vec<bool> = (0..instructions.len())
            .map(|at| stored_narrow && unread(at) && results.contains(&Source::Result(at)))
            .collect();
        last_use.extend(results.iter().filter_map(|&r| key(r)).map(|k| (k, usize::MAX)));
        let mut allocation = Allocation::default();
        for (at, i) in instructions.iter().enumerate() {
            let round = i.round && !stored[at];
            let act = match i.function {
                Function::Unary(f, a) => {
                    let a = allocation.read(a);
                    Act::Unary { f, a, to: allocation.result(at), round }
                }
                Function::Row(f, a) => {
                    let a = allocation.read(a);
                    Act::Row { f, a, to: allocation.result(at), round }
                }
                Function::Binary(f, a, b) => {
                    let (a, b) = (allocation.read(a), allocation.read(b));
                    Act::Binary { f, a, b, to: allocation.result(at), round }
                }
            };
            allocation.acts.push(act);
            allocation.registers.free(|k| last_use.get(&k).copied().unwrap_or(0) <= at);
        }
        let results = results.iter().enumerate().map(|(i, &result)| match allocation.read(result) {
            Place::Register(r) => r,
            a @ Place::Number(_) => {
                let to = allocation.registers.take((2, i));
                allocation.acts.push(Act::Unary { f: Unary::Copy, a, to, round: false });
                to
            }
        });
        let results = results.collect();
        let Allocation { acts, registers, .. } = allocation;
        TileProgram { acts, results, registers: registers.owner.len() }
    }

    /// The first `len` elements of result `i`, after [`TileProgram::run`].
    pub fn result<'r>(&self, i: usize, registers: &'r mut [Buffer], len: usize) -> &'r mut [f32] {
        &mut registers[self.results[i]].f32s_mut()[..len]
    }

    /// Runs on tiles of `len` elements in rows of `row`; `load(operand, to)` fetches operands. Returns the first
    /// result.
    pub fn run<'r>(
        &self,
        registers: &'r mut [Buffer],
        len: usize,
        row: usize,
        mut load: impl FnMut(usize, &mut [f32]),
    ) -> &'r mut [f32] {
        for act in &self.acts {
            let to = match *act {
                Act::Load { to, .. }
                | Act::Unary { to, .. }
                | Act::Binary { to, .. }
                | Act::Row { to, .. } => to,
            };
            // No instruction writes a register that it reads.
            let mut target = std::mem::take(&mut registers[to]);
            let out = &mut target.f32s_mut()[..len];
            let value = |p: Place| match p {
                Place::Register(r) => PointwiseInput::Many(&registers[r].f32s()[..len]),
                Place::Number(x) => PointwiseInput::One(x),
            };
            let round = match *act {
                Act::Load { operand, .. } => {
                    load(operand, out);
                    false
                }
                Act::Unary { f, a, round, .. } => {
                    unary(f, value(a), out);
                    round
                }
                Act::Binary { f, a, b, round, .. } => {
                    binary(f, value(a), value(b), out);
                    round
                }
                Act::Row { f, a, round, .. } => {
                    by_row(f, value(a), out, row);
                    round
                }
            };
            if round {
                convert::round(out);
            }
            registers[to] = target;
        }
        self.result(0, registers, len)
    }
}

/// The registers of values while a program is built.
#[derive(Default)]
struct Allocation {
    acts: Vec<Act>,
    registers: Registers,
    places: HashMap<(u8, usize), usize>,
}

impl Allocation {
    /// Where `source` is; an operand is loaded at its first use.
    fn read(&mut self, source: Source) -> Place {
        match source {
            Source::Number(x) => Place::Number(x),
            Source::Result(at) => Place::Register(self.result(at)),
            Source::Operand(operand) => {
                let Allocation { acts, registers, places } = self;
                Place::Register(*places.entry((0, operand)).or_insert_with(|| {
                    let to = registers.take((0, operand));
                    acts.push(Act::Load { operand, to });
                    to
                }))
            }
        }
    }

    /// The register of the result of instruction `at`.
    fn result(&mut self, at: usize) -> usize {
        let Allocation { registers, places, .. } = self;
        *places.entry((1, at)).or_insert_with(|| registers.take((1, at)))
    }
}

/// Which value owns which register.
#[derive(Default)]
struct Registers {
    owner: Vec<Option<(u8, usize)>>,
}

impl Registers {
    fn take(&mut self, key: (u8, usize)) -> usize {
        let free = self.owner.iter().position(Option::is_none).unwrap_or(self.owner.len());
        if free == self.owner.len() {
            self.owner.push(None);
        }
        self.owner[free] = Some(key);
        free
    }

    fn free(&mut self, dead: impl Fn((u8, usize)) -> bool) {
        for owner in &mut self.owner {
            if owner.is_some_and(&dead) {
                *owner = None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registers_are_reused_and_constants_need_none() {
        // ((x·2) + y)·x, where x is loaded once and kept
        let (x, y) = (Source::Operand(0), Source::Operand(1));
        let i = |function| Instruction { function, round: false };
        let code = Code {
            instructions: vec![
                i(Function::Binary(Binary::Mul, x, Source::Number(2.0))),
                i(Function::Binary(Binary::Add, Source::Result(0), y)),
                i(Function::Binary(Binary::Mul, Source::Result(1), x)),
                i(Function::Unary(Unary::Square, Source::Result(2))),
            ],
            result: Source::Result(3),
        };
        let tile = TileProgram::new(&code, false);
        assert!(tile.registers <= 4, "{tile:?}");
        let mut registers: Vec<Buffer> = (0..tile.registers).map(|_| Buffer::zeroed(12)).collect();
        let mut loads = Vec::new();
        let out = tile.run(&mut registers, 3, 3, |operand, to| {
            loads.push(operand);
            to.copy_from_slice(if operand == 0 { &[1.0, 2.0, 3.0] } else { &[10.0, 20.0, 30.0] });
        });
        assert_eq!(out, [144.0, 2304.0, 11664.0]);
        assert_eq!(loads, [0, 1]);
    }

    #[test]
    fn a_lone_operand_or_number_is_a_result() {
        let copy = Code { instructions: vec![], result: Source::Operand(0) };
        let mut registers = vec![Buffer::zeroed(8)];
        assert_eq!(TileProgram::new(&copy, true).run(&mut registers, 2, 2, |_, to| to.fill(5.0)), [5.0, 5.0]);
        let number = Code { instructions: vec![], result: Source::Number(3.0) };
        assert_eq!(TileProgram::new(&number, true).run(&mut registers, 2, 2, |_, _| {}), [3.0, 3.0]);
    }
}
