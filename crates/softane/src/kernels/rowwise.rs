//! Fused matmul and row epilogue, block by block; the intermediate is never stored.
//!
//! Where a softmax follows a mask, columns that the mask hides from every row of a block are not computed. That changes
//! no bit: they are skipped only if the factors bound all scores far from the mask, and then their softmax is 0.

use super::group::{Deferred, Group};
use super::matmul::Matmul;
use super::pointwise::{Stream, load};
use super::tile_program::{Binary, Code, Function, Row, Source};
use super::{TILE, rows_of_each};
use crate::arena::Workers;
use crate::buffer::Buffer;
use crate::convert::Element;
use crate::gemm::{self, GemmKernel, Target};
use crate::memory::Reader;
use half::f16;
use std::cell::RefCell;

/// Stores a [`Group`] of rows one operand of which is a product.
#[derive(Clone, Debug)]
pub(crate) struct Rowwise {
    product: Matmul,
    narrow: bool,
    stream: Stream,
    /// The position of the product among the operands.
    operand: usize,
    mask: Option<Mask>,
    /// Rows and columns of one product.
    m: usize,
    n: usize,
    /// Rows of a block: whole tiles.
    block: usize,
    /// Columns of a block are computed in multiples of this: whole tiles.
    columns: usize,
}

/// An operand that is added to the product, times `scale`, before a softmax, and is the same for all products.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Mask {
    operand: usize,
    scale: f32,
    /// How often it is added: in fp16 the lowest number alone is not below all sums with it.
    times: f32,
}

/// Rows of a block, about.
const BLOCK: usize = 48;

/// The longest row: with a longer one, a block would not stay in the second-level cache.
const LONGEST: usize = 4096;

/// The largest value of a mask that hides.
const HIDES: f32 = -60_000.0;

/// The smallest sum of a mask's value that does not hide, as often as it is added.
const SHOWS: f32 = -1000.0;

/// The largest such sum in a row that the mask hides parts of: scores stay finite in half precision.
const FARTHEST: f32 = 30_000.0;

/// Bounds of the elements of the product, before and after scaling, within which hidden columns are skipped. In half
/// precision none is infinite then, and hidden scores are at least `60 000 − 1000 − 2·29 000 − 64 = 936` below others,
/// 64 being for roundings: at 104 the exponential is 0.
const MOST: [f32; 2] = [60_000.0, 29_000.0];

thread_local! {
    /// The columns that each block of rows computes.
    static REACH: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
}

impl Rowwise {
    /// `None` if `group` is better computed from a product in memory.
    pub fn new(
        group: &Group,
        product: &Deferred,
        kernel: GemmKernel,
        stored_narrow: bool,
    ) -> Option<Rowwise> {
        let rank = group.shape.len();
        let operand = group.operands.iter().position(|v| *v == product.out)?;
        if !group.rows || rank < 2 || product.out.shape != group.shape {
            return None;
        }
        let (m, n) = (group.shape[rank - 2], group.shape[rank - 1]);
        if m < BLOCK / 2 || !(2..=LONGEST).contains(&n) {
            return None;
        }
        let stream = Stream::new(group, 1, stored_narrow);
        let products = group.shape[..rank - 2].iter().product::<usize>();
        let is_shared = |mask: &Mask| {
            let (walk, t) = (&stream.walk, mask.operand);
            walk.inner_step(t) == 1
                && (0..products).all(|b| (0..m).all(|i| walk.row(t, b * m + i) == walk.row(t, i)))
        };
        let mask = mask(&group.code, operand).filter(is_shared);
        let narrow = product.narrow;
        let product = Matmul::new(&product.left, &product.right, None, kernel);
        let block = BLOCK.next_multiple_of(kernel.rows());
        Some(Rowwise { product, narrow, stream, operand, mask, m, n, block, columns: kernel.cols() })
    }

    /// Rows that are computed together after the product.
    fn rows(&self) -> usize {
        (TILE / self.n).clamp(1, self.block)
    }

    /// Multiply-adds of all products.
    pub fn multiplications(&self) -> usize {
        self.product.multiplications()
    }

    /// f32 in each bank it needs: the last holds a block of the product.
    pub fn banks(&self) -> Vec<usize> {
        let mut banks = vec![self.rows() * self.n; self.stream.registers() + 1];
        banks[self.stream.registers()] = self.block * self.n;
        banks
    }

    pub fn run<T: Element>(&self, reader: &Reader<'_, '_>, out: &mut [T], workers: &Workers) {
        let mut reach = REACH.take();
        self.reach(reader, &mut reach);
        rows_of_each(out, (self.m, self.n), self.block, |b, first, out| {
            let mut banks = workers.mine();
            let reach = &reach[first / self.block..];
            match self.narrow {
                true => self.task::<f16, T>(reader, (b, first), reach, out, &mut banks),
                false => self.task::<f32, T>(reader, (b, first), reach, out, &mut banks),
            }
        });
        REACH.set(reach);
    }

    /// Computes `out`, rows of product `b` from `first` on.
    fn task<P: Target, T: Element>(
        &self,
        reader: &Reader<'_, '_>,
        (b, first): (usize, usize),
        reach: &[usize],
        out: &mut [T],
        banks: &mut [Buffer],
    ) {
        let n = self.n;
        let (registers, block) = banks.split_at_mut(self.stream.registers());
        let block: &mut [P] = bytemuck::cast_slice_mut(block[0].bytes_mut());
        self.product.with(reader, b, |p| {
            let p = p.rows(first, out.len() / n);
            let hides = self.mask.is_some_and(|mask| {
                let most = p.largest();
                most < MOST[0] && most * mask.scale.abs() < MOST[1]
            });
            let width = |i: usize| if hides { reach[i] } else { n };
            gemm::by_blocks(&p, self.block, &width, block, &mut |i, block| {
                let width = width(i);
                let block = P::slice(block);
                let end = out.len().min((i + 1) * self.block * n);
                let out = &mut out[i * self.block * n..end];
                for (j, out) in out.chunks_mut(self.rows() * n).enumerate() {
                    let at = j * self.rows();
                    let start = b * self.m + first + i * self.block + at;
                    let rows = start..start + out.len() / n;
                    let own = Some((self.operand, block.from(at * n, out.len()), n));
                    let values = self.stream.run_with(reader, registers, rows, 0..width, own);
                    for (from, to) in values.chunks_exact(width).zip(out.chunks_exact_mut(n)) {
                        let (to, hidden) = to.split_at_mut(width);
                        T::narrow(from, to);
                        hidden.fill(T::zeroed());
                    }
                }
            });
        });
    }

    /// For each block of rows, the number of columns that the mask shows to some row of it: whole tiles.
    fn reach(&self, reader: &Reader<'_, '_>, reach: &mut Vec<usize>) {
        reach.clear();
        reach.resize(self.m.div_ceil(self.block), self.n);
        let Some(mask) = self.mask else { return };
        let (from, offset) = self.stream.operand(reader, mask.operand);
        let mut row = [0.0; LONGEST];
        let row = &mut row[..self.n];
        for (i, reach) in reach.iter_mut().enumerate() {
            let rows = i * self.block..self.m.min(i * self.block + self.block);
            let seen = rows.map(|r| {
                load(from, offset + self.stream.walk.row(mask.operand, r), 1, row);
                let (shows, farthest) = (SHOWS / mask.times, FARTHEST / mask.times);
                match row.iter().rposition(|&x| x > HIDES || x.is_nan()) {
                    Some(last) if row[last] >= shows && row[..=last].iter().all(|&x| x <= farthest) => {
                        last + 1
                    }
                    _ => self.n,
                }
            });
            let most = seen.max().unwrap_or(self.n);
            *reach = most.next_multiple_of(self.columns).min(self.n);
        }
    }
}

/// The mask, if `code` is a softmax of the product, scaled or not, plus an operand, once or several times.
fn mask(code: &Code, product: usize) -> Option<Mask> {
    let (mut at, mut scale, mut mask) = (Source::Operand(product), 1.0, None::<Mask>);
    for (i, instruction) in code.instructions.iter().enumerate() {
        match instruction.function {
            Function::Binary(Binary::Mul, a, Source::Number(x)) if a == at && i == 0 => scale = x,
            Function::Binary(Binary::Add, a, Source::Operand(m))
                if a == at && m != product && mask.is_none_or(|mask| mask.operand == m) =>
            {
                let times = mask.map_or(1.0, |mask| mask.times + 1.0);
                mask = Some(Mask { operand: m, scale, times });
            }
            Function::Row(Row::Softmax, a) if a == at && i + 1 == code.instructions.len() => return mask,
            _ => return None,
        }
        at = Source::Result(i);
    }
    None
}
