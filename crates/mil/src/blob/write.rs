//! Writes weight files and updates them in place.

use crate::blob::BlobError;
use crate::blob::format::{ALIGNMENT, SENTINEL, VERSION, code, locate};
use crate::bytes;
use crate::tensor::Tensor;
use crate::ty::{DType, TensorType};
use half::f16;
use half::slice::HalfFloatSliceExt;

/// Writes one weight file, tensor after tensor.
#[derive(Clone, Debug)]
pub struct BlobWriter {
    path: String,
    bytes: Vec<u8>,
    count: u32,
}

impl BlobWriter {
    /// A writer of a file without tensors. `path` is for messages.
    pub fn new(path: impl Into<String>) -> BlobWriter {
        let mut bytes = vec![0; ALIGNMENT];
        bytes[4..8].copy_from_slice(&VERSION.to_le_bytes());
        BlobWriter { path: path.into(), bytes, count: 0 }
    }

    /// Appends `tensor`, floats rounded to its type, and returns the offset of its metadata record.
    ///
    /// # Errors
    /// If blob storage does not support the element type, or the elements do not match the tensor's type.
    pub fn add(&mut self, tensor: &Tensor) -> Result<u64, BlobError> {
        let ty = &tensor.ty;
        if tensor.data.len() != ty.elements() || !tensor.data.fits(ty.dtype) {
            let elements = tensor.data.len();
            return Err(BlobError::Elements { path: self.path.clone(), ty: ty.clone(), elements });
        }
        let at = self.record(ty)?;
        self.bytes.extend(bytes::pack(ty.dtype, &tensor.data));
        Ok(at)
    }

    /// Appends a tensor of type `ty` with the little-endian elements `payload`, and returns the offset of its
    /// metadata record.
    ///
    /// # Errors
    /// If blob storage does not support the element type, or `payload` does not have the size of `ty`.
    pub fn add_raw(&mut self, ty: &TensorType, payload: &[u8]) -> Result<u64, BlobError> {
        if let Some(size) = bytes::packed_size(ty.dtype, ty.elements())
            && size != payload.len()
        {
            let elements = payload.len() / ty.dtype.size().unwrap_or(1);
            return Err(BlobError::Elements { path: self.path.clone(), ty: ty.clone(), elements });
        }
        let at = self.record(ty)?;
        self.bytes.extend_from_slice(payload);
        Ok(at)
    }

    /// Appends zeros of type `ty`, and returns the offset of their metadata record.
    ///
    /// # Errors
    /// If blob storage does not support the element type, or memory is insufficient.
    pub fn add_zeros(&mut self, ty: &TensorType) -> Result<u64, BlobError> {
        let at = self.record(ty)?;
        // Adding the record has reserved memory for them.
        let size = bytes::packed_size(ty.dtype, ty.elements()).unwrap_or(0);
        self.bytes.resize(self.bytes.len() + size, 0);
        Ok(at)
    }

    /// The file.
    pub fn finish(mut self) -> Vec<u8> {
        self.bytes[..4].copy_from_slice(&self.count.to_le_bytes());
        self.bytes
    }

    /// Appends the record of a tensor and reserves memory for its data, which must follow.
    fn record(&mut self, ty: &TensorType) -> Result<u64, BlobError> {
        let (Some(code), Some(size)) = (code(ty.dtype), bytes::packed_size(ty.dtype, ty.elements())) else {
            return Err(BlobError::Unstorable { path: self.path.clone(), ty: ty.clone() });
        };
        let at = self.bytes.len().next_multiple_of(ALIGNMENT);
        let data = at + ALIGNMENT;
        let room = data.checked_add(size).map(|end| end - self.bytes.len());
        if room.is_none_or(|n| self.bytes.try_reserve_exact(n).is_err()) {
            return Err(BlobError::TooLarge { path: self.path.clone(), ty: ty.clone() });
        }
        self.bytes.resize(data, 0);
        let record = &mut self.bytes[at..];
        record[0..4].copy_from_slice(&SENTINEL.to_le_bytes());
        record[4..8].copy_from_slice(&code.to_le_bytes());
        record[8..16].copy_from_slice(&(size as u64).to_le_bytes());
        record[16..24].copy_from_slice(&(data as u64).to_le_bytes());
        let used = ty.elements().saturating_mul(ty.dtype.bits().unwrap_or(8) as usize);
        let padding = size.saturating_mul(8).saturating_sub(used) as u64;
        record[24..32].copy_from_slice(&padding.to_le_bytes());
        self.count = self.count.saturating_add(1);
        Ok(at as u64)
    }
}

/// Mutable access to a weight file.
#[derive(Debug)]
pub struct WeightFile<'a> {
    pub(super) path: &'a str,
    pub(super) bytes: &'a mut [u8],
}

impl WeightFile<'_> {
    /// As in the text of the program.
    pub fn path(&self) -> &str {
        self.path
    }

    /// The elements of the record at `offset`.
    ///
    /// # Errors
    /// If there is no valid record.
    pub fn entry(&mut self, offset: u64) -> Result<EntryMut<'_>, BlobError> {
        EntryMut::of(self.path, self.bytes, offset)
    }
}

/// Mutable elements of a weight file. Updates allocate nothing.
#[derive(Debug)]
pub struct EntryMut<'a> {
    path: &'a str,
    offset: u64,
    dtype: DType,
    bytes: &'a mut [u8],
}

/// Elements that are converted at a time: 2 KiB of fp16 on the stack.
const RUN: usize = 1024;
/// Rows of the source that are transposed at a time: few enough to be fetched ahead side by side.
const TILE_ROWS: usize = 16;
/// Columns of the source that are transposed at a time: four cache lines of fp32.
const TILE_COLS: usize = 64;

impl<'a> EntryMut<'a> {
    pub(super) fn of(path: &'a str, file: &'a mut [u8], offset: u64) -> Result<EntryMut<'a>, BlobError> {
        let record = locate(path, file, offset)?;
        Ok(EntryMut { path, offset, dtype: record.dtype, bytes: &mut file[record.range()] })
    }

    /// The element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// The elements as they are stored: little-endian, in the order of the tensor.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        self.bytes
    }

    /// Overwrites the elements with `values`, narrowed to the type they are stored in: fp32 as they are, fp16 rounded
    /// to nearest, ties to even, beyond 65504 to infinity.
    ///
    /// # Errors
    /// If the elements are no floats, or not as many as `values`.
    pub fn write_f32(&mut self, values: &[f32]) -> Result<(), BlobError> {
        self.check(values.len())?;
        match self.dtype {
            DType::F16 => {
                for (to, from) in self.bytes.as_chunks_mut().0.chunks_mut(RUN).zip(values.chunks(RUN)) {
                    put_f16::<RUN>(to, from);
                }
            }
            _ => put_f32(self.bytes.as_chunks_mut().0, values),
        }
        Ok(())
    }

    /// Overwrites the elements with the transpose of `values`, narrowed as [`EntryMut::write_f32`] does.
    ///
    /// Shapes: `values` is `[rows, cols]`, row-major; the stored matrix is `[cols, rows]`: element `(j, i)` is
    /// `values[i·cols + j]`.
    ///
    /// # Errors
    /// If the elements are no floats, or `values` are not `rows · cols` and as many as the elements.
    pub fn write_f32_transposed(
        &mut self,
        rows: usize,
        cols: usize,
        values: &[f32],
    ) -> Result<(), BlobError> {
        self.check(rows.saturating_mul(cols))?;
        self.check(values.len())?;
        match self.dtype {
            DType::F16 => transpose(self.bytes.as_chunks_mut().0, rows, cols, values, put_f16::<TILE_COLS>),
            _ => transpose(self.bytes.as_chunks_mut().0, rows, cols, values, put_f32),
        }
        Ok(())
    }

    fn check(&self, values: usize) -> Result<(), BlobError> {
        let (path, offset, got) = (|| self.path.to_owned(), self.offset, self.dtype);
        if !matches!(got, DType::F16 | DType::F32) {
            return Err(BlobError::NotFloat { path: path(), offset, got });
        }
        let want = values.saturating_mul(got.size().unwrap_or(1)) as u64;
        let got = self.bytes.len() as u64;
        if got == want { Ok(()) } else { Err(BlobError::Size { path: path(), offset, got, want }) }
    }
}

/// Writes the transpose of `values`, `[rows, cols]`, whose rows `put` narrows to elements of `N` bytes.
fn transpose<const N: usize>(
    to: &mut [[u8; N]],
    rows: usize,
    cols: usize,
    values: &[f32],
    put: impl Fn(&mut [[u8; N]], &[f32]),
) {
    let mut tile = [[[0; N]; TILE_COLS]; TILE_ROWS];
    let mut line = [[0; N]; TILE_ROWS];
    for i in (0..rows).step_by(TILE_ROWS) {
        let height = TILE_ROWS.min(rows - i);
        for j in (0..cols).step_by(TILE_COLS) {
            let width = TILE_COLS.min(cols - j);
            for (y, row) in tile[..height].iter_mut().enumerate() {
                let from = (i + y) * cols + j;
                put(&mut row[..width], &values[from..from + width]);
            }
            for x in 0..width {
                // Processes all rows of the tile, as a loop of fixed length is faster; rows past the end are not written.
                for (element, row) in line.iter_mut().zip(&tile) {
                    *element = row[x];
                }
                let at = (j + x) * rows + i;
                to[at..at + height].copy_from_slice(&line[..height]);
            }
        }
    }
}

/// Writes at most `N` values as fp16.
fn put_f16<const N: usize>(to: &mut [[u8; 2]], from: &[f32]) {
    let mut half = [f16::ZERO; N];
    let half = &mut half[..from.len()];
    half.convert_from_f32_slice(from);
    for (to, x) in to.iter_mut().zip(half) {
        *to = x.to_le_bytes();
    }
}

fn put_f32(to: &mut [[u8; 4]], from: &[f32]) {
    for (to, x) in to.iter_mut().zip(from) {
        *to = x.to_le_bytes();
    }
}
