//! The functions of IOSurface, looked up in its library.

use libloading::os::unix::Library;
use objc2::encode::{Encoding, RefEncode};
use objc2::runtime::AnyObject;
use objc2_foundation::NSString;
use std::ffi::{c_int, c_void};

/// `struct __IOSurface`, an opaque type.
#[repr(C)]
pub(super) struct IoSurface {
    _opaque: [u8; 0],
}

// SAFETY: the encoding of `struct __IOSurface *`, as compilers write that of a pointer to an unknown structure.
unsafe impl RefEncode for IoSurface {
    const ENCODING_REF: Encoding = Encoding::Pointer(&Encoding::Struct("__IOSurface", &[]));
}

type Create = unsafe extern "C" fn(*const AnyObject) -> *mut IoSurface;
type Lock = unsafe extern "C" fn(*mut IoSurface, u32, *mut u32) -> c_int;
type BaseAddress = unsafe extern "C" fn(*mut IoSurface) -> *mut c_void;
type AllocSize = unsafe extern "C" fn(*mut IoSurface) -> usize;

/// The functions of IOSurface that are used, with the types of its public header `IOSurfaceRef.h`.
pub(super) struct Functions {
    pub create: Create,
    pub lock: Lock,
    pub unlock: Lock,
    pub base: BaseAddress,
    pub size: AllocSize,
    pub keys: [&'static NSString; PROPERTIES.len()],
}

impl std::fmt::Debug for Functions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Functions")
    }
}

// SAFETY: functions and strings that are never changed; Apple documents IOSurface's functions as safe on any thread.
unsafe impl Send for Functions {}
// SAFETY: as above.
unsafe impl Sync for Functions {}

/// The properties of a surface, each computed from its size.
pub(super) const PROPERTIES: [(&str, Property); 6] = [
    ("kIOSurfaceWidth", Property::Bytes),
    ("kIOSurfaceHeight", Property::Is(1)),
    ("kIOSurfaceBytesPerElement", Property::Is(1)),
    ("kIOSurfaceBytesPerRow", Property::Bytes),
    ("kIOSurfaceAllocSize", Property::Bytes),
    ("kIOSurfacePixelFormat", Property::Is(0)),
];

#[derive(Clone, Copy)]
pub(super) enum Property {
    Bytes,
    Is(usize),
}

impl Functions {
    /// Loads the functions; the error is the name of a missing one.
    pub(super) fn load(library: &'static Library) -> Result<Functions, String> {
        // SAFETY: the types are those of `IOSurfaceRef.h`, a public header that has kept them since macOS 10.6; the
        // library stays loaded.
        unsafe {
            let mut keys = [None; PROPERTIES.len()];
            for (key, (name, _)) in keys.iter_mut().zip(PROPERTIES) {
                let symbol = library.get::<*const *const NSString>(name.as_bytes());
                let place: *const *const NSString = *symbol.map_err(|_| name.to_owned())?;
                *key = place.as_ref().and_then(|&string| string.as_ref());
            }
            let keys: Vec<&'static NSString> = keys.into_iter().flatten().collect();
            Ok(Functions {
                create: *library.get::<Create>(b"IOSurfaceCreate").map_err(|_| "IOSurfaceCreate")?,
                lock: *library.get::<Lock>(b"IOSurfaceLock").map_err(|_| "IOSurfaceLock")?,
                unlock: *library.get::<Lock>(b"IOSurfaceUnlock").map_err(|_| "IOSurfaceUnlock")?,
                base: *library
                    .get::<BaseAddress>(b"IOSurfaceGetBaseAddress")
                    .map_err(|_| "IOSurfaceGetBaseAddress")?,
                size: *library
                    .get::<AllocSize>(b"IOSurfaceGetAllocSize")
                    .map_err(|_| "IOSurfaceGetAllocSize")?,
                keys: keys.try_into().map_err(|_| "a property key of IOSurface")?,
            })
        }
    }
}
