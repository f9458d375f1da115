//! Whole products in f32 by the system's own library: Accelerate on macOS, the only way to the processor's matrix unit.
//!
//! The library is opened at the first product and its function looked up by name, so a program links without it. The
//! feature `blas` uses a CBLAS of Linux instead, to test this code.
#![cfg_attr(
    any(all(target_os = "macos", target_arch = "aarch64"), all(target_os = "linux", feature = "blas")),
    expect(unsafe_code, reason = "a function of another library; each block states why it is sound")
)]

/// A row-major matrix of f32 or its transpose: contiguous along one axis.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(
    not(any(all(target_os = "macos", target_arch = "aarch64"), all(target_os = "linux", feature = "blas"))),
    expect(dead_code, reason = "no library reads it on this system")
)]
pub(crate) struct Operand<'a> {
    pub data: &'a [f32],
    /// Rows and columns of the matrix that is multiplied.
    pub shape: (usize, usize),
    /// From one row of `data` to the next, at least the length of one.
    pub stride: usize,
    /// Whether rows of `data` are columns of the matrix.
    pub transposed: bool,
}

pub(crate) use sgemm::{is_available, multiply};

/// Whether the library supports these sizes and strides: none is 0, and all fit in its 32-bit integers.
pub(crate) fn takes(sizes: &[usize]) -> bool {
    sizes.iter().all(|&size| i32::try_from(size).is_ok_and(|size| size > 0))
}

#[cfg(any(all(target_os = "macos", target_arch = "aarch64"), all(target_os = "linux", feature = "blas")))]
mod sgemm {
    use super::Operand;
    use libloading::Library;
    use std::ffi::c_int;
    use std::sync::LazyLock;

    /// The path of the library. It is not a file on disk: macOS keeps its libraries in a shared cache.
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
    const NOT_TRANSPOSED: c_int = 111;
    /// `CblasTrans`.
    const TRANSPOSED: c_int = 112;

    static SGEMM: LazyLock<Option<Sgemm>> = LazyLock::new(|| {
        // SAFETY: the library is the system's own; opening it runs its initialisers alone.
        let library: &'static Library = Box::leak(Box::new(unsafe { Library::new(LIBRARY) }.ok()?));
        // SAFETY: the type is that of the reference CBLAS, whose integers are 32 bits wide; Accelerate keeps it under
        // this name. The library stays open.
        unsafe { library.get::<Sgemm>(b"cblas_sgemm") }.ok().map(|f| *f)
    });

    /// Whether the library is available.
    pub(crate) fn is_available() -> bool {
        SGEMM.is_some()
    }

    /// Computes `to ← alpha·left·right`, `to` row-major without gaps.
    ///
    /// # Panics
    /// If the shapes do not match, a slice is too short, the library is unavailable, or it does not support these sizes.
    pub(crate) fn multiply(to: &mut [f32], left: Operand<'_>, right: Operand<'_>, alpha: f32) {
        let ((m, k), (inner, n)) = (left.shape, right.shape);
        assert!(k == inner && to.len() == m * n, "[{m}, {k}] times [{inner}, {n}] into {}", to.len());
        let sizes = [m, n, k, left.stride, right.stride];
        assert!(super::takes(&sizes), "{sizes:?} for the system's library");
        let [m, n, k, lda, ldb] = sizes.map(|size| size as c_int);
        let Some(sgemm) = *SGEMM else { panic!("{LIBRARY} is not here") };
        let (a, b) = (checked(left), checked(right));
        let order = |side: Operand<'_>| if side.transposed { TRANSPOSED } else { NOT_TRANSPOSED };
        // SAFETY: `checked` has compared the slices with shape and stride, `to` has M·N elements. With β = 0 they are
        // not read.
        unsafe {
            let to = to.as_mut_ptr();
            sgemm(ROW_MAJOR, order(left), order(right), m, n, k, alpha, a, lda, b, ldb, 0.0, to, n);
        }
    }

    /// A pointer to the first element, after checking that all elements are in bounds.
    ///
    /// # Panics
    /// If they are not.
    fn checked(side: Operand<'_>) -> *const f32 {
        let (rows, cols) = if side.transposed { (side.shape.1, side.shape.0) } else { side.shape };
        assert!(side.stride >= cols && side.data.len() >= (rows - 1) * side.stride + cols, "{side:?}");
        side.data.as_ptr()
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        /// Each layout of each side, with and without gaps, against plain sums.
        #[test]
        fn products_are_those_of_plain_sums() {
            assert!(is_available(), "{LIBRARY} is not here");
            let numbers = |len: usize| -> Vec<f32> {
                (0..len).map(|i| ((i * 7919 % 1013) as f32 - 506.0) / 64.0).collect()
            };
            for (m, n, k) in [(1, 1, 1), (5, 7, 3), (64, 33, 40), (1, 50, 20), (20, 1, 9)] {
                let (a, b) = (numbers(64 * 64), numbers(64 * 64 + 7));
                for (by_columns, other) in [(false, false), (false, true), (true, false), (true, true)] {
                    let left = Operand { data: &a, shape: (m, k), stride: 64, transposed: by_columns };
                    let right = Operand { data: &b[7..], shape: (k, n), stride: 64, transposed: other };
                    let mut got = vec![f32::NAN; m * n];
                    multiply(&mut got, left, right, 0.5);
                    let at = |side: &Operand<'_>, i: usize, j: usize| match side.transposed {
                        true => side.data[j * 64 + i],
                        false => side.data[i * 64 + j],
                    };
                    for (i, got) in got.iter().enumerate() {
                        let (i, j) = (i / n, i % n);
                        let want: f32 = (0..k).map(|l| at(&left, i, l) * at(&right, l, j)).sum();
                        // Sums of k products of at most 64.
                        let close = (got - 0.5 * want).abs() <= 64.0 * k as f32 * f32::EPSILON * 4.0;
                        assert!(close, "{got} {want}");
                    }
                }
            }
        }
    }
}

#[cfg(not(any(
    all(target_os = "macos", target_arch = "aarch64"),
    all(target_os = "linux", feature = "blas")
)))]
mod sgemm {
    use super::Operand;

    /// This system has no such library.
    pub(crate) fn is_available() -> bool {
        false
    }

    /// Is never called here.
    pub(crate) fn multiply(_: &mut [f32], _: Operand<'_>, _: Operand<'_>, _: f32) {
        unreachable!("`is_available` is false on this system");
    }
}
