//! Surfaces: memory that the host and an engine both touch.

use crate::apple::{SharedMemory, SharedRead, SharedWrite};
use crate::block::SurfaceBlock;
use crate::error::DeviceError;
use mil::{DType, TensorType};
use softane::{Buffer, QuantMatrix, Slice, SliceMut, convert, gemm::Elements};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// A tensor in memory shared by host and engine; usually `[1, C, 1, S]`, packed, channel-first.
///
/// A *channel* is one index of the second axis: `S` elements of `[1, C, 1, S]`. An internal lock makes it safe to share;
/// the scheduler avoids contention on it.
#[derive(Debug)]
pub struct Surface {
    name: String,
    ty: TensorType,
    memory: SurfaceMemory,
}

/// The memory behind a surface.
#[derive(Debug)]
enum SurfaceMemory {
    /// Memory of this process.
    Host(RwLock<Buffer>),
    #[cfg_attr(
        not(any(all(target_os = "macos", target_arch = "aarch64"), feature = "fake_ane")),
        expect(dead_code, reason = "only an Apple engine makes one")
    )]
    /// An IOSurface, which the Apple Neural Engine reads and writes too.
    Shared(SharedMemory),
    /// Weights that kernels of the software engine read.
    Quant(QuantMatrix),
}

/// A surface's bytes, to read.
#[derive(Debug)]
pub(crate) enum ReadGuard<'a> {
    Host(RwLockReadGuard<'a, Buffer>),
    Shared(SharedRead<'a>),
    Quant(&'a QuantMatrix),
}

impl ReadGuard<'_> {
    /// Its elements, of type `dtype`.
    pub(crate) fn slice(&self, dtype: DType) -> Slice<'_> {
        match self {
            ReadGuard::Host(buffer) => Slice::of(dtype, buffer.bytes()),
            ReadGuard::Shared(shared) => Slice::of(dtype, shared.bytes()),
            ReadGuard::Quant(matrix) => Slice::Quant(matrix),
        }
    }

    /// Its bytes; none of quantised weights.
    fn bytes(&self) -> &[u8] {
        match self {
            ReadGuard::Host(buffer) => buffer.bytes(),
            ReadGuard::Shared(shared) => shared.bytes(),
            ReadGuard::Quant(_) => &[],
        }
    }
}

/// A surface's bytes, to write.
#[derive(Debug)]
pub(crate) enum WriteGuard<'a> {
    Host(RwLockWriteGuard<'a, Buffer>),
    Shared(SharedWrite<'a>),
}

impl WriteGuard<'_> {
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        match self {
            WriteGuard::Host(buffer) => buffer.bytes_mut(),
            WriteGuard::Shared(shared) => shared.bytes_mut(),
        }
    }
}

impl Surface {
    /// A zeroed surface in this process's memory.
    pub(crate) fn host(name: &str, ty: &TensorType) -> Result<Surface, DeviceError> {
        let bytes = Surface::fitting(name, ty)?;
        Ok(Surface::with_memory(name, ty, SurfaceMemory::Host(RwLock::new(Buffer::zeroed(bytes)))))
    }

    /// A surface in memory of at least its size that an Apple engine touches too.
    #[cfg(any(all(target_os = "macos", target_arch = "aarch64"), feature = "fake_ane"))]
    pub(crate) fn shared(name: &str, ty: &TensorType, memory: SharedMemory) -> Surface {
        Surface::with_memory(name, ty, SurfaceMemory::Shared(memory))
    }

    /// A surface of a quantised matrix; `None` if that is not the tensor `ty` of half precision.
    pub(crate) fn quant(name: &str, ty: &TensorType, matrix: QuantMatrix) -> Option<Surface> {
        let fits = ty.dtype == DType::F16
            && ty.elements() == matrix.elements()
            && ty.shape.last() == Some(&matrix.shape()[1]);
        fits.then(|| Surface::with_memory(name, ty, SurfaceMemory::Quant(matrix)))
    }

    fn with_memory(name: &str, ty: &TensorType, memory: SurfaceMemory) -> Surface {
        Surface { name: name.to_owned(), ty: ty.clone(), memory }
    }

    /// The size of a surface of type `ty`, in bytes.
    ///
    /// # Errors
    /// `SurfaceUnfit`, if none can.
    pub(crate) fn fitting(name: &str, ty: &TensorType) -> Result<usize, DeviceError> {
        let bytes = ty.bytes().filter(|_| ty.dtype.is_float());
        bytes.ok_or_else(|| DeviceError::SurfaceUnfit { surface: name.to_owned(), ty: ty.clone() })
    }

    /// Its memory, if an Apple engine can access it.
    #[cfg(any(all(target_os = "macos", target_arch = "aarch64"), feature = "fake_ane"))]
    pub(crate) fn shared_memory(&self) -> Option<&SharedMemory> {
        match &self.memory {
            SurfaceMemory::Host(_) | SurfaceMemory::Quant(_) => None,
            SurfaceMemory::Shared(memory) => Some(memory),
        }
    }

    /// Its name, for messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The type of its tensor.
    pub fn ty(&self) -> &TensorType {
        &self.ty
    }

    /// Its size, in bytes.
    pub fn bytes(&self) -> usize {
        match &self.memory {
            SurfaceMemory::Quant(matrix) => matrix.bytes(),
            _ => self.ty.bytes().unwrap_or(0),
        }
    }

    /// Elements of one channel: `S` of `[1, C, 1, S]`.
    pub fn channel_len(&self) -> usize {
        self.ty.shape.iter().skip(2).product()
    }

    /// Writes `values` contiguously from channel `channel` on, narrowed to the surface's type (to nearest,
    /// ties to even).
    ///
    /// # Errors
    /// `SurfaceRange`, if they exceed the surface; nothing is then written.
    pub fn write(&self, channel: usize, values: &[f32]) -> Result<(), DeviceError> {
        let start = self.range(channel, values.len())?;
        match SliceMut::of(self.ty.dtype, self.lock_mut()?.bytes_mut()) {
            SliceMut::F16(to) => convert::par_narrow(values, &mut to[start..start + values.len()]),
            SliceMut::F32(to) => to[start..start + values.len()].copy_from_slice(values),
            SliceMut::Other(..) => {}
        }
        Ok(())
    }

    /// Reads `out.len()` values from channel `channel` on, widened.
    ///
    /// # Errors
    /// `SurfaceRange`, if they exceed the surface.
    pub fn read(&self, channel: usize, out: &mut [f32]) -> Result<(), DeviceError> {
        self.with(channel, out.len(), |from| match from {
            Elements::F16(from) => convert::par_widen(from, out),
            Elements::F32(from) => out.copy_from_slice(from),
        })
    }

    /// Calls `f` with the `elements` elements from channel `channel` on, in place.
    ///
    /// # Errors
    /// `SurfaceRange`, if they exceed the surface.
    pub fn with<R>(
        &self,
        channel: usize,
        elements: usize,
        f: impl FnOnce(Elements<'_>) -> R,
    ) -> Result<R, DeviceError> {
        let start = self.range(channel, elements)?;
        let memory = self.lock_plain()?;
        let size = self.ty.dtype.size().unwrap_or(1);
        let bytes = &memory.bytes()[start * size..(start + elements) * size];
        let unfit = || DeviceError::SurfaceUnfit { surface: self.name.clone(), ty: self.ty.clone() };
        Slice::of(self.ty.dtype, bytes).floats().map(f).ok_or_else(unfit)
    }

    /// Copies `channels` channels of `from`, from its channel `from_channel` on, to channel `channel` and following.
    ///
    /// # Errors
    /// `SurfaceCopy`, if element types or channel sizes differ; `SurfaceRange`, if either side is too short.
    pub fn copy_from(
        &self,
        channel: usize,
        from: &Surface,
        from_channel: usize,
        channels: usize,
    ) -> Result<(), DeviceError> {
        if from.ty.dtype != self.ty.dtype || from.channel_len() != self.channel_len() {
            return Err(self.no_copy_of(from));
        }
        let elements = channels.saturating_mul(self.channel_len());
        let (to, start) = (self.range(channel, elements)?, from.range(from_channel, elements)?);
        let size = self.ty.dtype.size().unwrap_or(1);
        let (to, start, len) = (to * size, start * size, elements * size);
        if std::ptr::eq(self, from) {
            self.lock_mut()?.bytes_mut().copy_within(start..start + len, to);
            return Ok(());
        }
        let source = from.lock_plain()?;
        convert::par_copy(
            &source.bytes()[start..start + len],
            &mut self.lock_mut()?.bytes_mut()[to..to + len],
        );
        Ok(())
    }

    /// Writes `values`, `[channels, columns]`, to `block`, narrowed as [`Surface::write`] does.
    ///
    /// # Errors
    /// `SurfaceBlock`, if the block is out of range or has another number of elements; nothing is then written.
    pub fn write_block(&self, block: &SurfaceBlock, values: &[f32]) -> Result<(), DeviceError> {
        let (start, width) = (self.corner(block, values.len())?, self.channel_len());
        match SliceMut::of(self.ty.dtype, self.lock_mut()?.bytes_mut()) {
            SliceMut::F16(to) => convert::par_narrow_rows(values, block.columns, &mut to[start..], width),
            SliceMut::F32(to) => convert::par_copy_rows(values, block.columns, &mut to[start..], width),
            SliceMut::Other(..) => {}
        }
        Ok(())
    }

    /// Writes the transpose of `values`, `[columns, channels]`, to `block`, narrowed.
    ///
    /// # Errors
    /// As [`Surface::write_block`].
    pub fn write_block_transposed(&self, block: &SurfaceBlock, values: &[f32]) -> Result<(), DeviceError> {
        let (start, width) = (self.corner(block, values.len())?, self.channel_len());
        let (rows, columns) = (block.columns, block.channels);
        match SliceMut::of(self.ty.dtype, self.lock_mut()?.bytes_mut()) {
            SliceMut::F16(to) => {
                convert::par_narrow_transposed_rows(values, rows, columns, &mut to[start..], width);
            }
            SliceMut::F32(to) => convert::par_transpose_rows(values, rows, columns, &mut to[start..], width),
            SliceMut::Other(..) => {}
        }
        Ok(())
    }

    /// Copies channels of `from`, from its channel `from_channel` on, to `block`, whose columns are as many as those of
    /// `from`.
    ///
    /// # Errors
    /// `SurfaceCopy`, if element types or numbers of columns differ; `SurfaceBlock` and `SurfaceRange`, if either side
    /// is too small.
    pub fn copy_block(
        &self,
        block: &SurfaceBlock,
        from: &Surface,
        from_channel: usize,
    ) -> Result<(), DeviceError> {
        if block.column == 0 && block.columns == self.channel_len() {
            return self.copy_from(block.channel, from, from_channel, block.channels);
        }
        if from.ty.dtype != self.ty.dtype || from.channel_len() != block.columns || std::ptr::eq(self, from) {
            return Err(self.no_copy_of(from));
        }
        let elements = block.elements();
        let (to, start) = (self.corner(block, elements)?, from.range(from_channel, elements)?);
        let size = self.ty.dtype.size().unwrap_or(1);
        let source = from.lock_plain()?;
        convert::par_copy_rows(
            &source.bytes()[start * size..(start + elements) * size],
            block.columns * size,
            &mut self.lock_mut()?.bytes_mut()[to * size..],
            self.channel_len() * size,
        );
        Ok(())
    }

    /// Copies the block `from_block` of `from` to the block of equal size whose first channel and column are `to`. For narrow
    /// blocks: on the calling thread, row by row.
    ///
    /// # Errors
    /// `SurfaceCopy`, if the element types differ or both are one surface; `SurfaceBlock`, if either side is too small.
    pub fn copy_columns(
        &self,
        to: [usize; 2],
        from: &Surface,
        from_block: &SurfaceBlock,
    ) -> Result<(), DeviceError> {
        if from.ty.dtype != self.ty.dtype || std::ptr::eq(self, from) {
            return Err(self.no_copy_of(from));
        }
        let [channel, column] = to;
        let block = SurfaceBlock { channel, column, ..*from_block };
        let (to, start) =
            (self.corner(&block, block.elements())?, from.corner(from_block, block.elements())?);
        let size = self.ty.dtype.size().unwrap_or(1);
        let (source, mut target) = (from.lock_plain()?, self.lock_mut()?);
        let rows = source.bytes()[start * size..].chunks(from.channel_len() * size);
        let target = target.bytes_mut()[to * size..].chunks_mut(self.channel_len() * size);
        let wide = block.columns * size;
        for (from, to) in rows.zip(target).take(block.channels) {
            to[..wide].copy_from_slice(&from[..wide]);
        }
        Ok(())
    }

    fn no_copy_of(&self, from: &Surface) -> DeviceError {
        DeviceError::SurfaceCopy {
            from: from.name.clone(),
            from_ty: Box::new(from.ty.clone()),
            to: self.name.clone(),
            to_ty: Box::new(self.ty.clone()),
        }
    }

    /// The first element of `block`, if it is within the surface and has `elements` elements.
    fn corner(&self, block: &SurfaceBlock, elements: usize) -> Result<usize, DeviceError> {
        let width = self.channel_len();
        let channels = self.ty.elements().checked_div(width).unwrap_or(0);
        let within = |first: usize, count: usize, all: usize| first.saturating_add(count) <= all;
        if within(block.channel, block.channels, channels)
            && within(block.column, block.columns, width)
            && block.elements() == elements
            && elements > 0
        {
            return Ok(block.channel * width + block.column);
        }
        let surface = self.name.clone();
        Err(DeviceError::SurfaceBlock { surface, channels, width, block: *block, elements })
    }

    /// The first element of channel `channel`, if `elements` elements fit from there on.
    fn range(&self, channel: usize, elements: usize) -> Result<usize, DeviceError> {
        let (each, total) = (self.channel_len(), self.ty.elements());
        let start = channel.saturating_mul(each);
        if start.saturating_add(elements) <= total {
            return Ok(start);
        }
        Err(DeviceError::SurfaceRange {
            surface: self.name.clone(),
            channels: total.checked_div(each).unwrap_or(0),
            each,
            channel,
            elements,
        })
    }

    // A panic while a lock was held cannot break an invariant: the data are plain numbers.

    pub(crate) fn lock(&self) -> Result<ReadGuard<'_>, DeviceError> {
        Ok(match &self.memory {
            SurfaceMemory::Host(buffer) => {
                ReadGuard::Host(buffer.read().unwrap_or_else(PoisonError::into_inner))
            }
            SurfaceMemory::Shared(shared) => ReadGuard::Shared(shared.read()?),
            SurfaceMemory::Quant(matrix) => ReadGuard::Quant(matrix),
        })
    }

    /// Its bytes, to read by the host.
    fn lock_plain(&self) -> Result<ReadGuard<'_>, DeviceError> {
        match self.lock()? {
            ReadGuard::Quant(_) => Err(self.only_for_kernels()),
            guard => Ok(guard),
        }
    }

    fn only_for_kernels(&self) -> DeviceError {
        DeviceError::SurfaceQuantised { surface: self.name.clone() }
    }

    pub(crate) fn lock_mut(&self) -> Result<WriteGuard<'_>, DeviceError> {
        Ok(match &self.memory {
            SurfaceMemory::Host(buffer) => {
                WriteGuard::Host(buffer.write().unwrap_or_else(PoisonError::into_inner))
            }
            SurfaceMemory::Shared(shared) => WriteGuard::Shared(shared.write()?),
            SurfaceMemory::Quant(_) => return Err(self.only_for_kernels()),
        })
    }
}

#[cfg(test)]
mod tests;
