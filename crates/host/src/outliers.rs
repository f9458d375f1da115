//! Outliers of a matrix, multiplied separately where a product rounds its factors to integers.

use super::gemm::Elements;
use super::simd;

/// The largest number of outliers; further ones stay in the matrix.
const MOST: usize = 8192;

/// Columns compared with the limit together.
const RUN: usize = 64;

/// An outlier.
#[derive(Clone, Copy, Debug)]
struct Large {
    row: usize,
    column: usize,
    value: f32,
}

/// Outliers that were removed from a matrix.
#[derive(Debug, Default)]
pub(super) struct Outliers(Vec<Large>);

impl Outliers {
    /// Removes elements larger than `limit` in magnitude from `matrix`, `[rows, columns]`; 0 replaces them.
    pub(super) fn take(&mut self, matrix: &mut [f32], columns: usize, limit: f32) {
        self.0.clear();
        self.0.reserve_exact(MOST);
        simd(
            #[inline(always)]
            || {
                for (row, line) in matrix.chunks_exact_mut(columns).enumerate() {
                    for (i, run) in line.chunks_mut(RUN).enumerate() {
                        if run.iter().fold(false, |any, x| any | (x.abs() > limit)) {
                            self.take_run(run, row, i * RUN, limit);
                        }
                    }
                }
            },
        );
    }

    #[cold]
    fn take_run(&mut self, run: &mut [f32], row: usize, first: usize, limit: f32) {
        let room = MOST - self.0.len();
        let large = run.iter_mut().enumerate().filter(|(_, x)| x.abs() > limit).take(room);
        self.0.extend(large.map(|(i, x)| Large { row, column: first + i, value: std::mem::take(x) }));
    }

    /// Adds their product with `right`, `[columns, width]`, to `to`, `[rows, width]`.
    pub(super) fn multiply(&self, right: &[f32], to: &mut [f32], width: usize) {
        for &Large { row, column, value } in &self.0 {
            add(value, right[column * width..][..width].into(), &mut to[row * width..][..width]);
        }
    }

    /// Adds the product of their transpose with `right`, `[rows, width]`, to `to`, `[columns, width]`.
    pub(super) fn multiply_transposed(&self, right: Elements<'_>, to: &mut [f32], width: usize) {
        for &Large { row, column, value } in &self.0 {
            add(value, right.part(row * width..(row + 1) * width), &mut to[column * width..][..width]);
        }
    }
}

/// Adds `value` times `x` to `to`.
pub(super) fn add(value: f32, x: Elements<'_>, to: &mut [f32]) {
    simd(
        #[inline(always)]
        || match x {
            Elements::F32(x) => to.iter_mut().zip(x).for_each(|(to, x)| *to += value * x),
            Elements::F16(x) => to.iter_mut().zip(x).for_each(|(to, x)| *to += value * x.to_f32()),
        },
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_out_and_what_stays_make_up_the_product() {
        let (rows, columns, width) = (5, 130, 3);
        let number = |i: usize| ((i * 37 % 101) as f32 - 50.0) / 4.0;
        let whole: Vec<f32> = (0..rows * columns).map(number).collect();
        let [wide, tall] = [columns, rows].map(|n| (0..n * width).map(number).collect::<Vec<f32>>());
        let mut rest = whole.clone();
        let mut outliers = Outliers::default();
        outliers.take(&mut rest, columns, 11.0);
        assert!(rest.iter().all(|x| x.abs() <= 11.0));
        assert_eq!(outliers.0.len(), whole.iter().filter(|x| x.abs() > 11.0).count());

        let products = |m: &[f32]| -> (Vec<f32>, Vec<f32>) {
            let (mut straight, mut transposed) = (vec![0.0; rows * width], vec![0.0; columns * width]);
            for (at, x) in m.iter().enumerate() {
                let (row, column) = (at / columns, at % columns);
                for n in 0..width {
                    straight[row * width + n] += x * wide[column * width + n];
                    transposed[column * width + n] += x * tall[row * width + n];
                }
            }
            (straight, transposed)
        };
        // Multiples of ¼: every sum is exact.
        let (mut straight, mut transposed) = products(&rest);
        outliers.multiply(&wide, &mut straight, width);
        outliers.multiply_transposed((&*tall).into(), &mut transposed, width);
        assert_eq!((straight, transposed), products(&whole));
    }

    #[test]
    fn what_is_too_many_stays() {
        let mut matrix = vec![1.0; 2 * MOST];
        let mut outliers = Outliers::default();
        outliers.take(&mut matrix, 64, 0.5);
        assert_eq!(matrix.iter().filter(|&&x| x == 0.0).count(), MOST);
        outliers.take(&mut [0.0, f32::NAN], 2, 0.5);
        assert_eq!(outliers.0.len(), 0, "what is no number stays, too");
    }
}
