//! Matrices of half precision, kept in 4 or 8 bits an element.

use crate::convert::Element;
use crate::simd::vectorised;
#[cfg(target_arch = "x86_64")]
use crate::simd::x86;
use half::f16;
use rayon::prelude::*;

/// Elements of a row that are decoded together; rows are whole multiples of it.
pub const RUN: usize = 32;

/// How the elements of a matrix are coded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Coding {
    /// The level of each code of 4 bits; `None`: codes of 8 bits, which are signed numbers and their own levels.
    pub levels: Option<[f32; 16]>,
    /// Neighbours in a row that share a scale and a shift: 16 or 32.
    pub group: usize,
}

/// A matrix `[rows, cols]` of half precision whose elements are kept as codes: each is `level · scale + shift`.
///
/// Numerics: product and sum in f32, each rounded, then rounded to half precision: the value that a matrix of half precision
/// holds if it was made of such a file.
#[derive(Clone, Debug, PartialEq)]
pub struct QuantMatrix {
    rows: usize,
    cols: usize,
    pub(crate) coding: Coding,
    pub(crate) codes: Vec<u8>,
    /// Scale and shift of each group.
    pub(crate) scales: Vec<[f32; 2]>,
}

impl Coding {
    /// Bytes that the codes of [`RUN`] elements take.
    pub fn run_bytes(&self) -> usize {
        if self.levels.is_some() { RUN / 2 } else { RUN }
    }

    /// The values of whole runs of elements, from their codes and their groups' scales and shifts. Of a run's 4-bit codes, the low
    /// halves of the bytes are the first 16 elements. Not rounded to half precision.
    ///
    /// # Panics
    /// If there are fewer codes, scales or shifts.
    pub fn decode_all(&self, codes: &[u8], scales: &[[f32; 2]], to: &mut [f32]) {
        let (bytes, groups) = (self.run_bytes(), RUN / self.group);
        let runs = to.len() / RUN;
        assert!(codes.len() >= runs * bytes && scales.len() >= runs * groups, "codes of {runs} runs");
        vectorised(
            #[inline(always)]
            || {
                let each = codes.chunks_exact(bytes).zip(scales.chunks_exact(groups));
                for ((codes, scales), to) in each.zip(to.chunks_exact_mut(RUN)) {
                    self.decode(codes, scales, to);
                }
            },
        );
    }

    /// The values of one run.
    #[inline(always)]
    fn decode(&self, codes: &[u8], scales: &[[f32; 2]], to: &mut [f32]) {
        let (codes, to) = (&codes[..self.run_bytes()], &mut to[..RUN]);
        let [low_scale, high_scale] = [scales[0], scales[scales.len().min(RUN / self.group) - 1]];
        let value = |level: f32, [scale, shift]: [f32; 2]| level * scale + shift;
        let (low, high) = to.split_at_mut(RUN / 2);
        match self.levels {
            Some(levels) => {
                for ((low, high), code) in low.iter_mut().zip(high).zip(codes) {
                    *low = value(levels[usize::from(code & 15)], low_scale);
                    *high = value(levels[usize::from(code >> 4)], high_scale);
                }
            }
            None => {
                let level = |code: u8| f32::from(code as i8);
                for (x, &code) in low.iter_mut().zip(codes) {
                    *x = value(level(code), low_scale);
                }
                for (x, &code) in high.iter_mut().zip(&codes[RUN / 2..]) {
                    *x = value(level(code), high_scale);
                }
            }
        }
    }
}

impl QuantMatrix {
    /// A matrix of these codes, row by row, and scales and shifts of its groups; `None` if they are not as many as it has, rows
    /// are not whole runs, or groups have another size than 16 or 32.
    pub fn new(
        coding: Coding,
        [rows, cols]: [usize; 2],
        codes: Vec<u8>,
        scales: Vec<[f32; 2]>,
    ) -> Option<QuantMatrix> {
        let elements = rows.checked_mul(cols)?;
        let fits = matches!(coding.group, 16 | RUN)
            && cols.is_multiple_of(RUN)
            && codes.len() == elements / RUN * coding.run_bytes()
            && scales.len() == elements / coding.group;
        fits.then_some(QuantMatrix { rows, cols, coding, codes, scales })
    }

    /// Rows and columns.
    pub fn shape(&self) -> [usize; 2] {
        [self.rows, self.cols]
    }

    /// Bytes that it takes.
    pub fn bytes(&self) -> usize {
        self.codes.len() + size_of_val(&self.scales[..])
    }

    /// The number of elements.
    pub fn elements(&self) -> usize {
        self.rows * self.cols
    }

    /// The same with row `i` taken from row `from(i)`.
    ///
    /// # Panics
    /// If there is no such row.
    #[must_use]
    pub fn with_rows(&self, from: impl Fn(usize) -> usize) -> QuantMatrix {
        let (codes, scales) = (self.cols / RUN * self.coding.run_bytes(), self.cols / self.coding.group);
        let rows = || (0..self.rows).map(&from);
        QuantMatrix {
            codes: rows().flat_map(|row| &self.codes[row * codes..][..codes]).copied().collect(),
            scales: rows().flat_map(|row| &self.scales[row * scales..][..scales]).copied().collect(),
            ..*self
        }
    }

    /// The elements from element `first` on, row by row; both ends are at whole runs.
    ///
    /// # Panics
    /// If there are none, or an end is within a run.
    pub fn widen(&self, first: usize, to: &mut [f16]) {
        self.check(first, to.len());
        #[cfg(target_arch = "x86_64")]
        if x86::has_avx512() {
            return x86::quant_widen(self, first, to);
        }
        let mut wide = [0.0; CHUNK];
        for (first, to) in (first..).step_by(CHUNK).zip(to.chunks_mut(CHUNK)) {
            let wide = &mut wide[..to.len()];
            self.decode(first, wide);
            <f16 as Element>::narrow(wide, to);
        }
    }

    /// The same elements as numbers of single precision.
    ///
    /// # Panics
    /// As [`QuantMatrix::widen`].
    pub fn values(&self, first: usize, to: &mut [f32]) {
        let mut half = [f16::ZERO; CHUNK];
        for (first, to) in (first..).step_by(CHUNK).zip(to.chunks_mut(CHUNK)) {
            let half = &mut half[..to.len()];
            self.widen(first, half);
            <f16 as Element>::widen(half, to);
        }
    }

    /// The values of elements before they are rounded to half precision.
    fn decode(&self, first: usize, to: &mut [f32]) {
        let codes = &self.codes[first / RUN * self.coding.run_bytes()..];
        self.coding.decode_all(codes, &self.scales[first / self.coding.group..], to);
    }

    /// Whether its elements are `values`, rounded to half precision; on the current rayon pool.
    pub fn is(&self, values: &[f32]) -> bool {
        self.elements() == values.len()
            && values.par_chunks(COMPARED).enumerate().all(|(i, values)| {
                let mut both = [vec![f16::ZERO; values.len()], vec![f16::ZERO; values.len()]];
                <f16 as Element>::narrow(values, &mut both[0]);
                self.widen(i * COMPARED, &mut both[1]);
                both[0] == both[1]
            })
    }

    fn check(&self, first: usize, len: usize) {
        let fits = first.is_multiple_of(RUN) && len.is_multiple_of(RUN);
        assert!(
            fits && first + len <= self.elements(),
            "{len} of {} elements from {first} on",
            self.elements()
        );
    }
}

/// Elements that are decoded at a time: they fit in the first-level cache.
const CHUNK: usize = 1024;

/// Elements that a task compares.
const COMPARED: usize = 1 << 14;
