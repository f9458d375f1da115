//! Products by the system's library where there is one, otherwise by `faer`: for machines without tiles, and for
//! vectors. Operands become f32 first.

use super::scratch::{self, Local, Shared};
use super::{Elements, Matrix, Product, Store, Target};
use crate::buffer::Buffer;
use crate::convert::Element;
use crate::pool::for_each;
use crate::simd::blas;
use faer::linalg::matmul::matmul as multiply;
use faer::{Accum, MatMut, MatRef, Par};
use rayon::prelude::*;

/// Computes `p` into rows `stride` apart, on the current rayon pool; a task takes `rows` rows, and `done` hears of them.
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
            MatRef::from_row_major_slice(wide, k, n)
        }
    };
    for_each(c.par_chunks_mut(rows * stride).enumerate(), |(i, c)| {
        scratch::local(|Local { left, sums, .. }| {
            block(c, stride, &p.rows(i * rows, rows), right, left, sums)
        });
        done(i * rows, c);
    });
}

/// Computes `p` on the calling thread, `rows` rows at a time.
pub(super) fn serial<T: Target>(c: &mut [T], stride: usize, p: &Product<'_>, rows: usize) {
    scratch::local(|Local { left, right, sums }| {
        let right = seen(&p.right, right);
        for (i, c) in c.chunks_mut(rows * stride).enumerate() {
            block(c, stride, &p.rows(i * rows, rows), right, left, sums);
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
    right: MatRef<'_, f32>,
    left: &mut Buffer,
    sums: &mut Buffer,
) {
    let (rows, n) = (p.left.rows, p.right.cols);
    let left = seen(&p.left, left);
    let sums = scratch::take(sums, rows * n);
    let mut to = MatMut::from_row_major_slice_mut(sums, rows, n);
    if !blas::multiply(to.as_mut(), left, right, p.alpha) {
        multiply(to, Accum::Replace, left, right, p.alpha, Par::Seq);
    }
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

/// Sees a matrix as `faer` does: in place, or widened into `buffer`.
fn seen<'a>(m: &Matrix<'a>, buffer: &'a mut Buffer) -> MatRef<'a, f32> {
    in_place(m).unwrap_or_else(|| {
        let wide = scratch::take(buffer, m.rows * m.cols);
        widen(m, wide);
        MatRef::from_row_major_slice(wide, m.rows, m.cols)
    })
}

/// Sees a matrix as `faer` does, if it is f32 and one of its axes is without gaps.
fn in_place<'a>(m: &Matrix<'a>) -> Option<MatRef<'a, f32>> {
    let Elements::F32(data) = m.from else { return None };
    if m.rows * m.cols == 0 {
        return Some(MatRef::from_row_major_slice(&data[..0], m.rows, m.cols));
    }
    let data = &data[m.at..][..(m.rows - 1) * m.down + (m.cols - 1) * m.across + 1];
    if m.across == 1 && m.down >= m.cols {
        Some(MatRef::from_row_major_slice_with_stride(data, m.rows, m.cols, m.down))
    } else if m.down == 1 && m.across >= m.rows {
        Some(MatRef::from_column_major_slice_with_stride(data, m.rows, m.cols, m.across))
    } else {
        None
    }
}

/// The elements of a matrix, row by row.
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
