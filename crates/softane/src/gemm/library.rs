//! Products by the system's library. Operands become f32 first.

use super::kernel::accelerate::{self, Operand};
use super::product::{Product, Store};
use super::scratch::{self, Local, Shared};
use super::target::Target;
use super::view::Matrix;
use crate::buffer::{Buffer, Elements};
use crate::convert::Element;
use crate::pool::for_each;
use rayon::prelude::*;

/// Whether the library can compute `p`.
pub(super) fn takes(p: &Product<'_>) -> bool {
    let ((m, n, k), (a, b)) = (p.shape(), (p.left, p.right));
    accelerate::takes(&[m, n, k])
        && accelerate::takes(&[a.down, a.across, b.down, b.across].map(|s| s.max(1)))
}

/// Computes `p` into rows with stride `stride`, on the current rayon pool; a task computes
/// `rows` rows and passes them to `done`.
pub(super) fn parallel<T: Target>(
    c: &mut [T],
    stride: usize,
    p: &Product<'_>,
    rows: usize,
    done: &(impl Fn(usize, &[T]) + Sync),
) {
    let (n, k) = (p.right.cols, p.left.cols);
    let mut shared = Shared::new(if in_place(&p.right).is_some() { 0 } else { k * n });
    let right = match in_place(&p.right) {
        Some(right) => right,
        None => {
            let wide = &mut shared.f32s_mut()[..k * n];
            wide.par_chunks_mut(n).enumerate().for_each(|(i, row)| widen(&p.right.part(i, i + 1), row));
            Operand { data: wide, shape: (k, n), stride: n, transposed: false }
        }
    };
    for_each(c.par_chunks_mut(rows * stride).enumerate(), |(i, c)| {
        scratch::local(|Local { left, sums, .. }| {
            block(c, stride, &p.rows(i * rows, rows), right, [left, sums]);
        });
        done(i * rows, c);
    });
}

/// Computes `p` on the calling thread, `rows` rows at a time.
pub(super) fn serial<T: Target>(c: &mut [T], stride: usize, p: &Product<'_>, rows: usize) {
    scratch::local(|Local { left, right, sums, .. }| {
        let right = operand(&p.right, right);
        for (i, c) in c.chunks_mut(rows * stride).enumerate() {
            block(c, stride, &p.rows(i * rows, rows), right, [left, sums]);
        }
    });
}

/// See [`super::by_blocks`].
pub(super) fn by_blocks<T: Target>(
    p: &Product<'_>,
    rows: usize,
    width: &dyn Fn(usize) -> usize,
    to: &mut [T],
    each: &mut dyn FnMut(usize, &mut [T]),
) {
    let (m, n, _) = p.shape();
    for i in 0..m.div_ceil(rows) {
        let p = p.rows(i * rows, rows).columns(width(i));
        serial(&mut to[..p.left.rows * n], n, &p, rows);
        each(i, to);
    }
}

fn block<T: Target>(
    c: &mut [T],
    stride: usize,
    p: &Product<'_>,
    right: Operand<'_>,
    [left, sums]: [&mut Buffer; 2],
) {
    let (rows, n) = (p.left.rows, p.right.cols);
    let left = operand(&p.left, left);
    let sums = scratch::take(sums, rows * n);
    accelerate::multiply(sums, left, right, p.alpha);
    for (i, (c, line)) in c.chunks_mut(stride).zip(sums.chunks_exact_mut(n)).enumerate() {
        let c = &mut c[..n];
        if let Some(bias) = p.bias.get(i) {
            line.iter_mut().for_each(|x| *x += bias);
        }
        if p.store == Store::Add {
            line.iter_mut().zip(&*c).for_each(|(x, old)| *x += old.get());
        }
        T::narrow(line, c);
    }
}

/// A matrix in the library's format: in place, or widened into `buffer`.
fn operand<'a>(m: &Matrix<'a>, buffer: &'a mut Buffer) -> Operand<'a> {
    in_place(m).unwrap_or_else(|| {
        let wide = scratch::take(buffer, m.rows * m.cols);
        widen(m, wide);
        Operand { data: wide, shape: (m.rows, m.cols), stride: m.cols, transposed: false }
    })
}

/// A matrix in the library's format, if it is f32 and contiguous along one axis.
fn in_place<'a>(m: &Matrix<'a>) -> Option<Operand<'a>> {
    let Elements::F32(data) = m.from else { return None };
    if m.rows * m.cols == 0 {
        return None;
    }
    let data = &data[m.at..][..(m.rows - 1) * m.down + (m.cols - 1) * m.across + 1];
    let shape = (m.rows, m.cols);
    if m.across == 1 && m.down >= m.cols {
        Some(Operand { data, shape, stride: m.down, transposed: false })
    } else if m.down == 1 && m.across >= m.rows {
        Some(Operand { data, shape, stride: m.across, transposed: true })
    } else {
        None
    }
}

/// Writes the elements of a matrix row by row.
fn widen(m: &Matrix<'_>, to: &mut [f32]) {
    for (r, to) in to.chunks_exact_mut(m.cols.max(1)).enumerate() {
        let at = m.at + r * m.down;
        match (m.from, m.across) {
            (Elements::F16(from), 1) => Element::widen(&from[at..at + to.len()], to),
            (Elements::F32(from), 1) => Element::widen(&from[at..at + to.len()], to),
            (from, across) => to.iter_mut().enumerate().for_each(|(i, x)| *x = from.get(at + i * across)),
        }
    }
}
