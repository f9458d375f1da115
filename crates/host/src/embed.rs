//! The embedding: a row of the table for each token, and its gradient.

use rayon::prelude::*;

use super::error::check_tokens;
use super::gemm::Elements;
use super::squared_norms::RowSquaredNorms;
use super::{HostError, Scratch, simd};

/// Channels copied together: one cache line of a table row.
const CHANNELS: usize = 16;

/// Tasks of a scatter; each owns a range of the table's rows.
const SHARES: usize = 64;

/// Copies the row of `table` that each token selects to a column of `x`.
///
/// Shapes: `table` `[V, D]` row-major, fp16 or f32, `tokens` `[S]`, `x` `[D, S]`.
///
/// # Errors
/// [`HostError::TokenOutOfRange`] if a token is V or more; `x` is then unchanged.
///
/// # Panics
/// If `dim` is 0, or the lengths of `table` and `x` are not V·`dim` and `dim`·S.
pub fn gather<'a>(
    table: impl Into<Elements<'a>>,
    dim: usize,
    tokens: &[u32],
    x: &mut [f32],
) -> Result<(), HostError> {
    let (table, s) = (table.into(), tokens.len());
    check_lengths(table.len(), dim, s, x.len());
    check_tokens("input", tokens, table.len() / dim)?;
    if s == 0 {
        return Ok(());
    }
    x.par_chunks_mut(CHANNELS * s).enumerate().for_each(|(block, x)| {
        let (first, rows) = (block * CHANNELS, x.len() / s);
        for (t, &token) in tokens.iter().enumerate() {
            let at = token as usize * dim + first;
            match table.part(at..at + rows) {
                Elements::F32(row) => row.iter().enumerate().for_each(|(i, &value)| x[i * s + t] = value),
                Elements::F16(row) => {
                    row.iter().enumerate().for_each(|(i, value)| x[i * s + t] = value.to_f32());
                }
            }
        }
    });
    Ok(())
}

/// The width of a table's rows, and the factor on them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rows {
    /// D: the width.
    pub dim: usize,
    /// The factor on embedded tokens.
    pub scale: f32,
}

/// Adds each column of `dx` times the scale to the row of `dtable` that its token selects: the gradient of [`gather`] and the
/// factor. Records the squared norms of those rows in `squares`.
///
/// Shapes: as for [`gather`].
/// Numerics: f32; if several positions select a row, they are added in order of position.
///
/// # Errors
/// [`HostError::TokenOutOfRange`] if a token is V or more; `dtable` is then unchanged.
///
/// # Panics
/// As [`gather`].
pub fn scatter_add(
    dtable: &mut [f32],
    squares: &RowSquaredNorms,
    Rows { dim, scale }: Rows,
    tokens: &[u32],
    dx: &[f32],
    scratch: &mut Scratch,
) -> Result<(), HostError> {
    let s = tokens.len();
    check_lengths(dtable.len(), dim, s, dx.len());
    let vocab = dtable.len() / dim;
    check_tokens("input", tokens, vocab)?;
    if s == 0 {
        return Ok(());
    }

    // Transposed to [S, D], so that each position is contiguous.
    let rows = scratch.take(s * dim);
    rows.par_chunks_mut(CHANNELS * dim).enumerate().for_each(|(block, rows)| {
        let (first, count) = (block * CHANNELS, rows.len() / dim);
        for (d, column) in dx.chunks_exact(s).enumerate() {
            let column = &column[first..][..count];
            column.iter().enumerate().for_each(|(i, &value)| rows[i * dim + d] = value * scale);
        }
    });

    // Each task owns a range of the table's rows and handles the tokens in it.
    let share = vocab.div_ceil(SHARES);
    dtable.par_chunks_mut(share * dim).enumerate().for_each(|(index, dtable)| {
        let owned = index * share..index * share + dtable.len() / dim;
        for (&token, row) in tokens.iter().zip(rows.chunks_exact(dim)) {
            if owned.contains(&(token as usize)) {
                let sum = &mut dtable[(token as usize - owned.start) * dim..][..dim];
                simd(
                    #[inline(always)]
                    || sum.iter_mut().zip(row).for_each(|(sum, x)| *sum += x),
                );
                squares.take(token as usize, sum);
            }
        }
    });
    Ok(())
}

fn check_lengths(table: usize, dim: usize, seq: usize, x: usize) {
    assert!(dim > 0 && table.is_multiple_of(dim), "a table of {table} values has no rows of {dim}");
    assert_eq!(x, dim * seq, "activations of {dim} channels and {seq} positions");
}

#[cfg(test)]
mod tests {
    use super::super::testing::{bits, noise, on_threads};
    use super::*;

    const TOKENS: [u32; 35] = [
        3, 0, 3, 3, 129, 7, 64, 64, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 129, 20,
        21, 22, 23, 24, 25, 26, 0,
    ];

    #[test]
    fn gather_takes_rows_to_columns() {
        for (vocab, dim) in [(130, 1), (130, 16), (130, 37)] {
            let (table, s) = (noise(vocab * dim, 1), TOKENS.len());
            let mut x = vec![f32::NAN; dim * s];
            gather(&*table, dim, &TOKENS, &mut x).unwrap();
            for (t, &token) in TOKENS.iter().enumerate() {
                for d in 0..dim {
                    assert_eq!(x[d * s + t], table[token as usize * dim + d]);
                }
            }
        }
    }

    #[test]
    fn scatter_adds_columns_to_rows_in_order() {
        for (vocab, dim) in [(130, 1), (130, 16), (1000, 37)] {
            let (s, before) = (TOKENS.len(), noise(vocab * dim, 1));
            let dx = noise(dim * s, 2);
            let mut want = before.clone();
            for (t, &token) in TOKENS.iter().enumerate() {
                (0..dim).for_each(|d| want[token as usize * dim + d] += 0.5 * dx[d * s + t]);
            }
            for threads in [1, 2, 3] {
                let (mut got, squares) = (before.clone(), RowSquaredNorms::new(vocab, dim));
                squares.take(0, &before);
                let (rows, mut scratch) = (Rows { dim, scale: 0.5 }, Scratch::new());
                on_threads(threads, || scatter_add(&mut got, &squares, rows, &TOKENS, &dx, &mut scratch))
                    .unwrap();
                assert_eq!(bits(&got), bits(&want), "{threads} threads");
                assert!(squares.are_of(&got));
            }
        }
    }

    #[test]
    fn a_token_past_the_table_is_named_and_nothing_changes() {
        let want = HostError::TokenOutOfRange { role: "input", position: 2, token: 5, vocab: 5 };
        let mut x = [7.0; 6];
        assert_eq!(gather([0.0; 10].as_slice(), 2, &[0, 4, 5], &mut x), Err(want.clone()));
        assert_eq!(x, [7.0; 6]);
        let mut dtable = [7.0; 10];
        let squares = RowSquaredNorms::new(5, 2);
        let rows = Rows { dim: 2, scale: 1.0 };
        let refused = scatter_add(&mut dtable, &squares, rows, &[0, 4, 5], &[1.0; 6], &mut Scratch::new());
        assert_eq!(refused, Err(want.clone()));
        assert_eq!(dtable, [7.0; 10]);
        assert_eq!(want.to_string(), "token 5 at position 2 of the input: the vocabulary has 5 tokens");
    }
}
