//! Surfaces: memory that the host and an engine both touch.

use crate::error::DeviceError;
use mil::TensorType;
use softane::{Buffer, Slice, SliceMut, convert};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// A tensor in memory that the host and an engine both touch; `[1, C, 1, S]` as a rule, packed, channel-first.
///
/// A *channel* is what one index of the second axis holds: `S` elements of `[1, C, 1, S]`. A lock inside makes it
/// safe to share; whoever schedules the work sees to it that nobody waits there.
#[derive(Debug)]
pub struct Surface {
    name: String,
    ty: TensorType,
    memory: Memory,
}

/// Whose memory it is.
#[derive(Debug)]
enum Memory {
    /// This process's own.
    Host(RwLock<Buffer>),
}

impl Surface {
    /// A zeroed surface in this process's memory.
    pub(crate) fn host(name: &str, ty: &TensorType) -> Result<Surface, DeviceError> {
        match ty.bytes() {
            Some(bytes) if ty.dtype.is_float() => Ok(Surface {
                name: name.to_owned(),
                ty: ty.clone(),
                memory: Memory::Host(RwLock::new(Buffer::zeroed(bytes))),
            }),
            _ => Err(DeviceError::SurfaceUnfit { surface: name.to_owned(), ty: ty.clone() }),
        }
    }

    /// Its name, for messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it holds.
    pub fn ty(&self) -> &TensorType {
        &self.ty
    }

    /// Its size.
    pub fn bytes(&self) -> usize {
        self.ty.bytes().unwrap_or(0)
    }

    /// Elements of one channel: `S` of `[1, C, 1, S]`.
    pub fn channel_len(&self) -> usize {
        self.ty.shape.iter().skip(2).product()
    }

    /// Writes `values` behind one another from channel `channel` on, narrowed to the surface's type (to nearest,
    /// ties to even).
    ///
    /// # Errors
    /// `SurfaceRange`, if they reach past the end; nothing is written then.
    pub fn write(&self, channel: usize, values: &[f32]) -> Result<(), DeviceError> {
        let start = self.range(channel, values.len())?;
        match SliceMut::of(self.ty.dtype, self.lock_mut().bytes_mut()) {
            SliceMut::F16(to) => convert::par_narrow(values, &mut to[start..start + values.len()]),
            SliceMut::F32(to) => to[start..start + values.len()].copy_from_slice(values),
            SliceMut::Other(..) => {}
        }
        Ok(())
    }

    /// Reads as many values as `out` takes from channel `channel` on, widened.
    ///
    /// # Errors
    /// `SurfaceRange`, if they reach past the end.
    pub fn read(&self, channel: usize, out: &mut [f32]) -> Result<(), DeviceError> {
        let start = self.range(channel, out.len())?;
        match Slice::of(self.ty.dtype, self.lock().bytes()) {
            Slice::F16(from) => convert::par_widen(&from[start..start + out.len()], out),
            Slice::F32(from) => out.copy_from_slice(&from[start..start + out.len()]),
            Slice::Other(..) => {}
        }
        Ok(())
    }

    /// Calls `f` with the `elements` elements from channel `channel` on, as they lie there.
    ///
    /// # Errors
    /// `SurfaceRange`, if they reach past the end.
    pub fn with<R>(
        &self,
        channel: usize,
        elements: usize,
        f: impl FnOnce(Slice<'_>) -> R,
    ) -> Result<R, DeviceError> {
        let start = self.range(channel, elements)?;
        let memory = self.lock();
        let size = self.ty.dtype.size().unwrap_or(1);
        Ok(f(Slice::of(self.ty.dtype, &memory.bytes()[start * size..(start + elements) * size])))
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
            return Err(DeviceError::SurfaceCopy {
                from: from.name.clone(),
                from_ty: Box::new(from.ty.clone()),
                to: self.name.clone(),
                to_ty: Box::new(self.ty.clone()),
            });
        }
        let elements = channels.saturating_mul(self.channel_len());
        let (to, start) = (self.range(channel, elements)?, from.range(from_channel, elements)?);
        let size = self.ty.dtype.size().unwrap_or(1);
        let (to, start, len) = (to * size, start * size, elements * size);
        if std::ptr::eq(self, from) {
            self.lock_mut().bytes_mut().copy_within(start..start + len, to);
            return Ok(());
        }
        let source = from.lock();
        convert::par_copy(
            &source.bytes()[start..start + len],
            &mut self.lock_mut().bytes_mut()[to..to + len],
        );
        Ok(())
    }

    /// The first element of channel `channel`, if `elements` elements fit from there.
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

    // A panic while a lock was held leaves plain numbers behind, nothing that could be broken.

    pub(crate) fn lock(&self) -> RwLockReadGuard<'_, Buffer> {
        let Memory::Host(memory) = &self.memory;
        memory.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn lock_mut(&self) -> RwLockWriteGuard<'_, Buffer> {
        let Memory::Host(memory) = &self.memory;
        memory.write().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mil::DType;

    fn surface(name: &str, dtype: DType) -> Surface {
        Surface::host(name, &TensorType::new(dtype, [1, 4, 1, 3])).unwrap()
    }

    #[test]
    fn writes_are_narrowed_and_read_back_from_their_channel() {
        let s = surface("s", DType::F16);
        s.write(2, &[1.0, 1.0 / 3.0, 65520.0, -2.5]).unwrap();
        let mut out = [0.0; 12];
        s.read(0, &mut out).unwrap();
        let third = half::f16::from_f32(1.0 / 3.0).to_f32();
        assert_eq!(out, [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, third, f32::INFINITY, -2.5, 0.0, 0.0]);
        assert_eq!(s.bytes(), 24);
        let second = |slice: Slice<'_>| matches!(slice, Slice::F16([_, x, ..]) if x.to_f32() == third);
        assert!(s.with(2, 4, second).unwrap());
        assert!(s.with(3, 4, |_| ()).is_err());
    }

    #[test]
    fn copies_move_whole_channels() {
        let (a, b) = (surface("a", DType::F32), surface("b", DType::F32));
        a.write(0, &std::array::from_fn::<f32, 12, _>(|i| i as f32)).unwrap();
        b.copy_from(1, &a, 2, 2).unwrap();
        let mut out = [0.0; 12];
        b.read(0, &mut out).unwrap();
        assert_eq!(out, [0.0, 0.0, 0.0, 6.0, 7.0, 8.0, 9.0, 10.0, 11.0, 0.0, 0.0, 0.0]);
        a.copy_from(0, &a, 1, 3).unwrap();
        a.read(0, &mut out).unwrap();
        assert_eq!(out, [3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 11.0, 9.0, 10.0, 11.0]);
    }

    #[test]
    fn what_reaches_outside_is_refused_with_both_sides() {
        let (a, b) = (surface("a", DType::F16), surface("b", DType::F32));
        let error = a.write(3, &[0.0; 4]).unwrap_err().to_string();
        assert_eq!(error, "surface `a` has 4 channels of 3 elements; 4 elements at channel 3 reach outside");
        assert!(matches!(a.read(usize::MAX, &mut [0.0]), Err(DeviceError::SurfaceRange { .. })));
        assert!(matches!(a.copy_from(0, &a, 2, 3), Err(DeviceError::SurfaceRange { .. })));
        assert!(matches!(a.copy_from(0, &b, 0, 1), Err(DeviceError::SurfaceCopy { .. })));
        let words = TensorType::new(DType::I32, [1, 4, 1, 3]);
        assert!(matches!(Surface::host("w", &words), Err(DeviceError::SurfaceUnfit { .. })));
    }
}
