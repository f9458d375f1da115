//! Matrix products by the system's own library: Accelerate on macOS, which alone reaches the processor's matrix unit.
//!
//! It is opened when it is first needed and its one function looked up by name, so a program links without it; where
//! it is missing, the products are computed as elsewhere. The feature `blas` puts any CBLAS of Linux in its place, to
//! try this very code.
#![expect(unsafe_code, reason = "a function of another library; each block says what makes it sound")]

use faer::{MatMut, MatRef};
use libloading::Library;
use std::ffi::c_int;
use std::sync::LazyLock;

/// Where the library is. No file is there: macOS keeps the code of its libraries in one cache.
#[cfg(target_os = "macos")]
const LIBRARY: &str = "/System/Library/Frameworks/Accelerate.framework/Accelerate";
/// A CBLAS, wherever the loader finds it.
#[cfg(not(target_os = "macos"))]
const LIBRARY: &str = "libblas.so.3";

/// `cblas_sgemm`: order, transposition of both sides, M, N, K, α, A, lda, B, ldb, β, C, ldc.
type Sgemm = unsafe extern "C" fn(
    c_int,
    c_int,
    c_int,
    c_int,
    c_int,
    c_int,
    f32,
    *const f32,
    c_int,
    *const f32,
    c_int,
    f32,
    *mut f32,
    c_int,
);

/// `CblasRowMajor`.
const ROW_MAJOR: c_int = 101;
/// `CblasNoTrans`.
const AS_IT_IS: c_int = 111;
/// `CblasTrans`.
const TURNED: c_int = 112;

static SGEMM: LazyLock<Option<Sgemm>> = LazyLock::new(|| {
    // SAFETY: the library is the system's own; opening it runs its initialisers alone.
    let library: &'static Library = Box::leak(Box::new(unsafe { Library::new(LIBRARY) }.ok()?));
    // SAFETY: the type is that of the reference CBLAS, whose integers are 32 bits wide; Accelerate keeps it under this
    // name. The library stays open.
    unsafe { library.get::<Sgemm>(b"cblas_sgemm") }.ok().map(|f| *f)
});

/// Whether there is such a library.
pub(crate) fn is_here() -> bool {
    SGEMM.is_some()
}

/// Computes `to ← alpha·left·right`; `false` if it is not done: without a library, or if one of the matrices has gaps
/// along both axes, or no elements.
///
/// # Panics
/// If the shapes do not fit together.
pub(crate) fn multiply(
    to: MatMut<'_, f32>,
    left: MatRef<'_, f32>,
    right: MatRef<'_, f32>,
    alpha: f32,
) -> bool {
    let (m, n, k) = (to.nrows(), to.ncols(), left.ncols());
    assert!(
        left.nrows() == m && right.nrows() == k && right.ncols() == n,
        "a product of [{m}, {k}] and [{k}, {n}]"
    );
    let sizes = [m, n, k].map(|size| c_int::try_from(size).unwrap_or(0));
    let ([m, n, k], Some(sgemm)) = (sizes, *SGEMM) else { return false };
    let (Some((by, a)), Some((other, b)), Some((AS_IT_IS, c))) =
        (layout(left), layout(right), layout(to.as_ref()))
    else {
        return false;
    };
    if [m, n, k].contains(&0) {
        return false;
    }
    let to = to.as_ptr_mut();
    // SAFETY: the matrices are as large as is said, their rows (or columns, if they are transposed) begin as far apart as
    // `layout` found; nobody else has `to`. With β = 0 what is there is not read.
    unsafe {
        sgemm(ROW_MAJOR, by, other, m, n, k, alpha, left.as_ptr(), a, right.as_ptr(), b, 0.0, to, c);
    }
    true
}

/// How a matrix lies, and from one of its rows (or columns, if it is transposed) to the next.
fn layout(m: MatRef<'_, f32>) -> Option<(c_int, c_int)> {
    let far = |stride: isize, least: usize| {
        c_int::try_from(stride).ok().filter(|_| stride >= least.max(1) as isize)
    };
    match (m.row_stride(), m.col_stride()) {
        (down, 1) => Some((AS_IT_IS, far(down, m.ncols())?)),
        (1, across) => Some((TURNED, far(across, m.nrows())?)),
        _ => None,
    }
}

#[cfg(all(test, any(target_os = "macos", feature = "blas")))]
mod tests {
    use super::*;
    use faer::linalg::matmul::matmul;
    use faer::{Accum, Mat, Par};

    /// Each layout of each side, with and without gaps, against `faer`.
    #[test]
    fn products_are_those_of_faer() {
        assert!(is_here(), "{LIBRARY} is not here");
        let numbers = |rows: usize, cols: usize, stride: usize| -> Vec<f32> {
            (0..rows.max(cols) * stride).map(|i| ((i * 7919 % 1013) as f32 - 506.0) / 64.0).collect()
        };
        for (m, n, k) in [(1, 1, 1), (5, 7, 3), (64, 33, 40), (1, 50, 20), (20, 1, 9)] {
            let (a, b) = (numbers(m, k, 64), numbers(k, n, 64));
            let rows = |v, r, c| MatRef::from_row_major_slice_with_stride(v, r, c, 64);
            let columns = |v, r, c| MatRef::from_column_major_slice_with_stride(v, r, c, 64);
            for left in [rows(&a[..], m, k), columns(&a[..], m, k)] {
                for right in [rows(&b[..], k, n), columns(&b[..], k, n)] {
                    let mut got = vec![f32::NAN; m * n];
                    let to = MatMut::from_row_major_slice_mut(&mut got, m, n);
                    assert!(multiply(to, left, right, 0.5), "{m}×{n}×{k}");
                    let mut want = Mat::zeros(m, n);
                    matmul(want.as_mut(), Accum::Replace, left, right, 0.5, Par::Seq);
                    for (i, got) in got.iter().enumerate() {
                        let want: f32 = want[(i / n, i % n)];
                        // Sums of k products of at most 64.
                        assert!((got - want).abs() <= 64.0 * k as f32 * f32::EPSILON * 4.0, "{got} {want}");
                    }
                }
            }
        }
    }

    #[test]
    fn what_it_cannot_do_is_left_to_others() {
        let (a, mut to) = ([1.0f32; 64], [0.0f32; 4]);
        let dense = MatRef::from_row_major_slice(&a[..4], 2, 2);
        let backwards = dense.reverse_cols();
        let mut product = |left| multiply(MatMut::from_row_major_slice_mut(&mut to, 2, 2), left, dense, 1.0);
        assert!(product(dense) && !product(backwards));
        let none = MatRef::from_row_major_slice(&a[..0], 2, 0);
        let nothing = MatRef::from_row_major_slice(&a[..0], 0, 2);
        assert!(!multiply(MatMut::from_row_major_slice_mut(&mut to, 2, 2), none, nothing, 1.0));
    }
}
