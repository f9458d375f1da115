//! Transposes of activations.

use rayon::prelude::*;

/// Rows and columns of a block.
const BLOCK: usize = 32;

/// Writes the transpose of `from`, `[rows, columns]`, to `to`.
///
/// # Panics
/// If a slice does not have `rows · columns` elements.
pub fn transpose(from: &[f32], rows: usize, columns: usize, to: &mut [f32]) {
    assert!(from.len() == rows * columns && to.len() == from.len(), "[{rows}, {columns}] and its transpose");
    if from.is_empty() {
        return;
    }
    to.par_chunks_mut(BLOCK * rows).enumerate().for_each(|(i, to)| {
        for first in (0..rows).step_by(BLOCK) {
            for (x, to) in to.chunks_exact_mut(rows).enumerate() {
                let column = from[first * columns + i * BLOCK + x..].iter().step_by(columns);
                to[first..].iter_mut().take(BLOCK).zip(column).for_each(|(to, from)| *to = *from);
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_element_goes_to_its_place_and_back() {
        for (rows, columns) in [(1, 1), (3, 70), (33, 32), (64, 5), (100, 101)] {
            let from: Vec<f32> = (0..rows * columns).map(|i| i as f32).collect();
            let (mut to, mut back) = (vec![f32::NAN; from.len()], vec![f32::NAN; from.len()]);
            transpose(&from, rows, columns, &mut to);
            for (i, &x) in to.iter().enumerate() {
                assert_eq!(x, from[i % rows * columns + i / rows], "[{rows}, {columns}]");
            }
            transpose(&to, columns, rows, &mut back);
            assert_eq!(back, from);
        }
    }
}
