//! IOSurfaces: memory that the engine reads and writes, locked while the processor touches it.

use super::framework::Framework;
use super::functions::{Functions, IoSurface, PROPERTIES, Property};
use crate::error::DeviceError;
use crate::facts::{MIN_SURFACE_BYTES, SURFACE_ALIGNMENT};
use objc2::rc::{Retained, autoreleasepool};
use objc2::runtime::AnyObject;
use objc2_foundation::{NSDictionary, NSNumber};
use std::ptr::{self, NonNull};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// `kIOSurfaceLockReadOnly`.
const READ_ONLY: u32 = 1;

/// An IOSurface. The lock excludes the engine while threads use it, and writers while others read.
#[derive(Debug)]
pub(crate) struct SharedMemory {
    name: String,
    /// The bytes in use, and the bytes allocated.
    bytes: usize,
    allocated: usize,
    handle: RwLock<Handle>,
}

/// The surface itself.
#[derive(Debug)]
struct Handle {
    surface: Retained<AnyObject>,
    functions: &'static Functions,
}

// SAFETY: an IOSurface is counted atomically, and Apple documents its functions as safe on any thread.
unsafe impl Send for Handle {}
// SAFETY: as above; the bytes are touched through `SharedRead` and `SharedWrite` alone, which the lock keeps apart.
unsafe impl Sync for Handle {}

impl Handle {
    fn raw(&self) -> *mut IoSurface {
        Retained::as_ptr(&self.surface).cast_mut().cast()
    }
}

impl SharedMemory {
    /// The bytes of a surface that engines take, for a tensor of `bytes` bytes.
    ///
    /// # Errors
    /// `SurfaceMemory`, if the size overflows.
    pub(super) fn taken(name: &str, bytes: usize) -> Result<usize, DeviceError> {
        bytes.max(MIN_SURFACE_BYTES.value).checked_next_multiple_of(SURFACE_ALIGNMENT.value).ok_or_else(
            || {
                let reason = format!("{bytes} bytes exceed the address space");
                DeviceError::SurfaceMemory { surface: name.to_owned(), reason }
            },
        )
    }

    /// Zeroed memory of `size` bytes for surface `name`, of which the first `bytes` are used.
    ///
    /// # Errors
    /// `SurfaceMemory`, if the allocation fails.
    pub(super) fn zeroed(
        framework: &'static Framework,
        name: &str,
        bytes: usize,
        size: usize,
    ) -> Result<SharedMemory, DeviceError> {
        let failed = |reason: String| DeviceError::SurfaceMemory { surface: name.to_owned(), reason };
        let functions = &framework.iosurface;
        let size = size.max(bytes);
        let surface = autoreleasepool(|_| {
            let values = PROPERTIES.map(|(_, property)| match property {
                Property::Bytes => NSNumber::new_usize(size),
                Property::Is(value) => NSNumber::new_usize(value),
            });
            let properties = NSDictionary::from_retained_objects(&functions.keys, &values);
            // SAFETY: an `NSDictionary` is a `CFDictionary`; its keys and values are those of the header. The result
            // is null, or a reference that the caller owns, of an object that is released as any other.
            unsafe {
                let surface = (functions.create)(Retained::as_ptr(&properties).cast());
                Retained::from_raw(surface.cast::<AnyObject>())
            }
        });
        let surface =
            surface.ok_or_else(|| failed(format!("the system refused an IOSurface of {size} bytes")))?;
        let handle = Handle { surface, functions };
        // SAFETY: the surface is alive.
        let allocated = unsafe { (functions.size)(handle.raw()) };
        if allocated < size {
            return Err(failed(format!("the system allocated {allocated} bytes instead of {size}")));
        }
        let name = name.to_owned();
        let memory = SharedMemory { name, bytes, allocated, handle: RwLock::new(handle) };
        memory.write()?.bytes_mut().fill(0);
        Ok(memory)
    }

    /// Its size with padding.
    pub(super) fn allocated(&self) -> usize {
        self.allocated
    }

    /// Locks the bytes for reading by the processor.
    ///
    /// # Errors
    /// `SurfaceMemory`, if the lock fails.
    pub(crate) fn read(&self) -> Result<SharedRead<'_>, DeviceError> {
        let handle = self.handle.read().unwrap_or_else(PoisonError::into_inner);
        let base = self.lock(&handle, READ_ONLY)?;
        Ok(SharedRead { handle, base, bytes: self.bytes })
    }

    /// Locks the bytes for writing by the processor.
    ///
    /// # Errors
    /// `SurfaceMemory`, if the lock fails.
    pub(crate) fn write(&self) -> Result<SharedWrite<'_>, DeviceError> {
        let handle = self.handle.write().unwrap_or_else(PoisonError::into_inner);
        let base = self.lock(&handle, 0)?;
        Ok(SharedWrite { handle, base, bytes: self.bytes })
    }

    /// Excludes the processor's writers while the engine reads.
    pub(super) fn engine_reads(&self) -> EngineReads<'_> {
        EngineReads(self.handle.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Excludes the processor while the engine writes.
    pub(super) fn engine_writes(&self) -> EngineWrites<'_> {
        EngineWrites(self.handle.write().unwrap_or_else(PoisonError::into_inner))
    }

    fn lock(&self, handle: &Handle, options: u32) -> Result<NonNull<u8>, DeviceError> {
        let failed = |reason: String| DeviceError::SurfaceMemory { surface: self.name.clone(), reason };
        // SAFETY: the surface is alive; a null seed is allowed.
        let status = unsafe { (handle.functions.lock)(handle.raw(), options, ptr::null_mut()) };
        if status != 0 {
            return Err(failed(format!("IOSurfaceLock returned {status:#x}")));
        }
        // SAFETY: the surface is alive and locked.
        let base = unsafe { (handle.functions.base)(handle.raw()) };
        // Callers view it as elements of four bytes.
        match NonNull::new(base.cast::<u8>()) {
            Some(base) if base.addr().get().is_multiple_of(16) => Ok(base),
            _ => {
                unlock(handle, options);
                Err(failed(format!("its address {base:p} is null or unaligned")))
            }
        }
    }
}

/// Ends a lock taken with the same options. A failure leaves the lock counted, which is harmless.
fn unlock(handle: &Handle, options: u32) {
    // SAFETY: the surface is alive, and locked with these options.
    let _ = unsafe { (handle.functions.unlock)(handle.raw(), options, ptr::null_mut()) };
}

/// A surface that the engine reads.
pub(super) struct EngineReads<'a>(RwLockReadGuard<'a, Handle>);

/// A surface that the engine writes.
pub(super) struct EngineWrites<'a>(RwLockWriteGuard<'a, Handle>);

/// A surface while the engine uses it.
pub(super) trait Held {
    /// The surface.
    fn surface(&self) -> &Retained<AnyObject>;
}

impl Held for EngineReads<'_> {
    fn surface(&self) -> &Retained<AnyObject> {
        &self.0.surface
    }
}

impl Held for EngineWrites<'_> {
    fn surface(&self) -> &Retained<AnyObject> {
        &self.0.surface
    }
}

/// A surface's bytes, locked for the processor to read.
#[derive(Debug)]
pub(crate) struct SharedRead<'a> {
    handle: RwLockReadGuard<'a, Handle>,
    base: NonNull<u8>,
    bytes: usize,
}

/// A surface's bytes, locked for the processor to write.
#[derive(Debug)]
pub(crate) struct SharedWrite<'a> {
    handle: RwLockWriteGuard<'a, Handle>,
    base: NonNull<u8>,
    bytes: usize,
}

// SAFETY: the pointer is into the surface that the guard keeps; bytes may be read on any thread.
unsafe impl Sync for SharedRead<'_> {}
// SAFETY: as above.
unsafe impl Sync for SharedWrite<'_> {}

impl SharedRead<'_> {
    /// The bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: the surface is locked, its memory at `base` is `allocated ≥ bytes` long and was zeroed when it was
        // made; the guard excludes every writer, the engine too.
        unsafe { std::slice::from_raw_parts(self.base.as_ptr(), self.bytes) }
    }
}

impl SharedWrite<'_> {
    /// The bytes.
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as for `SharedRead`; the guard excludes all other access.
        unsafe { std::slice::from_raw_parts_mut(self.base.as_ptr(), self.bytes) }
    }
}

impl Drop for SharedRead<'_> {
    fn drop(&mut self) {
        unlock(&self.handle, READ_ONLY);
    }
}

impl Drop for SharedWrite<'_> {
    fn drop(&mut self) {
        unlock(&self.handle, 0);
    }
}
