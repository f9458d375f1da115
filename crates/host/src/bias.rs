//! Gradients of biases: sums of gradients over positions.

use rayon::prelude::*;

use super::LANES;
use super::gemm::Elements;

/// Rows per task, at least.
const ROWS: usize = 64;

/// The gradient of `z = … + b`: `db += Σ_s dz`.
///
/// Shapes: `db` `[O]`, `dz` `[O, S]` with S = `seq`, fp16 or f32.
/// Numerics: sums in f32, in 16 interleaved parts that are added in order.
///
/// # Panics
/// If the lengths do not fit together.
pub fn add_row_sums(db: &mut [f32], dz: Elements<'_>, seq: usize) {
    assert_eq!(db.len() * seq, dz.len(), "rows of {seq} positions");
    match dz {
        Elements::F16(dz) => add(db, dz, seq, |x| x.to_f32()),
        Elements::F32(dz) => add(db, dz, seq, |x| *x),
    }
}

fn add<T: Sync>(db: &mut [f32], dz: &[T], seq: usize, wide: impl Fn(&T) -> f32 + Sync) {
    db.par_iter_mut().zip(dz.par_chunks(seq)).with_min_len(ROWS).for_each(|(db, row)| {
        let mut lanes = [0.0; LANES];
        let (runs, rest) = row.as_chunks::<LANES>();
        for run in runs {
            lanes.iter_mut().zip(run).for_each(|(lane, x)| *lane += wide(x));
        }
        *db += lanes.iter().sum::<f32>() + rest.iter().map(&wide).sum::<f32>();
    });
}

#[cfg(test)]
mod tests {
    use super::super::testing::noise;
    use super::*;

    #[test]
    fn rows_are_added_to_what_is_there() {
        let (o, s) = (70, 21);
        let dz: Vec<f32> = noise(o * s, 1).iter().map(|x| (x * 64.0).round()).collect();
        let mut db = vec![1.0; o];
        add_row_sums(&mut db, (&*dz).into(), s);
        // Small whole numbers: every sum is exact.
        assert!(db.iter().zip(dz.chunks(s)).all(|(db, row)| *db == 1.0 + row.iter().sum::<f32>()));
        let half: Vec<half::f16> = dz.iter().map(|&x| half::f16::from_f32(x)).collect();
        let mut from_half = vec![1.0; o];
        add_row_sums(&mut from_half, (&*half).into(), s);
        assert_eq!(db, from_half);
    }
}
