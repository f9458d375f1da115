//! Opens the framework and compares it with the table of selectors before any call.

use super::functions::Functions;
use super::selectors::{
    CLASSES, DESCRIPTOR, DEVICE_INFO, MODEL, Of, REQUEST, SELECTORS, SURFACE, Selector, takes,
};
use crate::apple::{Examination, Member, MemberKind};
use crate::error::DeviceError;
use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};
use objc2::rc::{Retained, autoreleasepool};
use objc2::runtime::{AnyClass, AnyObject, Method, Sel};
use objc2::{ffi, msg_send};
use objc2_foundation::NSString;
use std::ffi::CStr;
use std::sync::OnceLock;

/// The path of the framework. It is not a file on disk: the system keeps its libraries in a shared cache.
#[cfg(not(feature = "fake_ane"))]
pub(super) const FRAMEWORK: &str =
    "/System/Library/PrivateFrameworks/AppleNeuralEngine.framework/AppleNeuralEngine";
/// The path of IOSurface.
#[cfg(not(feature = "fake_ane"))]
pub(super) const IOSURFACE: &str = "/System/Library/Frameworks/IOSurface.framework/IOSurface";
/// The fake engine, found by the loader's search path.
#[cfg(feature = "fake_ane")]
pub(super) const FRAMEWORK: &str = "libAppleNeuralEngine.so";
/// The fake engine, found by the loader's search path.
#[cfg(feature = "fake_ane")]
pub(super) const IOSURFACE: &str = "libAppleNeuralEngine.so";

/// The classes and functions that kernels use; each has been compared with the table.
#[derive(Debug)]
pub(super) struct Framework {
    pub(super) descriptor: &'static AnyClass,
    pub(super) model: &'static AnyClass,
    pub(super) request: &'static AnyClass,
    pub(super) surface: &'static AnyClass,
    pub(super) iosurface: Functions,
}

/// Why the framework cannot be used.
#[derive(Clone, Debug)]
enum Absent {
    /// A library or a class is missing.
    Missing(String),
    /// A method has other types than expected.
    Changed(String),
}

impl Framework {
    /// The framework, checked once per process.
    ///
    /// # Errors
    /// `Unavailable` or `Changed`, with the name of the first missing or different item.
    pub(super) fn get() -> Result<&'static Framework, DeviceError> {
        static FOUND: OnceLock<Result<Framework, Absent>> = OnceLock::new();
        FOUND.get_or_init(|| look().1).as_ref().map_err(|absent| match absent.clone() {
            Absent::Missing(missing) => DeviceError::Unavailable { missing },
            Absent::Changed(what) => DeviceError::Changed { what },
        })
    }
}

/// Compares the running system with the requirements of a kernel; calls only functions that describe it.
pub fn examine() -> Examination {
    look().0
}

/// Opens a library for the rest of the process: Objective-C classes cannot be unregistered.
pub(super) fn library(path: &str) -> Result<&'static Library, String> {
    // SAFETY: loading runs the library's initialisers; the paths are those of Apple's own frameworks, or of the
    // fake engine, whose initialisers register classes.
    let opened = unsafe { Library::open(Some(path), RTLD_NOW | RTLD_GLOBAL) };
    match opened {
        Ok(library) => Ok(Box::leak(Box::new(library))),
        Err(e) => Err(format!("it cannot be opened: {e}")),
    }
}

fn look() -> (Examination, Result<Framework, Absent>) {
    let mut seen = Examination::default();
    let mut note = |name: String, kind, encoding, problem: Option<String>| {
        seen.members.push(Member { name, kind, encoding, problem });
    };
    let opened = library(FRAMEWORK);
    note(FRAMEWORK.to_owned(), MemberKind::Library, None, opened.as_ref().err().cloned());
    for name in CLASSES {
        let missing = class(name).is_none().then(|| "no such class".to_owned());
        note(text(name), MemberKind::Class, None, missing);
    }
    for selector in &SELECTORS {
        let (encoding, problem) = selector.compare();
        note(selector.shown(), MemberKind::Method, encoding, problem);
    }
    let surfaces = library(IOSURFACE);
    note(IOSURFACE.to_owned(), MemberKind::Library, None, surfaces.as_ref().err().cloned());
    let functions = surfaces.map_err(|e| (IOSURFACE.to_owned(), e)).and_then(|library| {
        Functions::load(library).map_err(|name| (name, "no such function or constant".to_owned()))
    });
    let functions = match functions {
        Ok(functions) => Some(functions),
        Err((name, problem)) => {
            if name != IOSURFACE {
                note(name, MemberKind::Function, None, Some(problem));
            }
            None
        }
    };
    let found = match (seen.problem(), functions) {
        (Some(Member { name, kind, problem, .. }), _) => {
            let said = format!("{name}: {}", problem.as_deref().unwrap_or_default());
            Err(if *kind == MemberKind::Method { Absent::Changed(said) } else { Absent::Missing(said) })
        }
        (None, Some(iosurface)) => gather(iosurface),
        (None, None) => Err(Absent::Missing(format!("{IOSURFACE}: symbols are missing"))),
    };
    (seen, found)
}

/// The classes, all of which have been compared.
fn gather(iosurface: Functions) -> Result<Framework, Absent> {
    let found = |name: &CStr| class(name).ok_or_else(|| Absent::Missing(text(name)));
    Ok(Framework {
        descriptor: found(DESCRIPTOR)?,
        model: found(MODEL)?,
        request: found(REQUEST)?,
        surface: found(SURFACE)?,
        iosurface,
    })
}

impl Selector {
    /// The method's types on the running system, and the mismatch, if any.
    fn compare(&self) -> (Option<String>, Option<String>) {
        let Some(class) = class(self.class) else {
            return (None, Some("its class is missing".to_owned()));
        };
        let class = if self.of == Of::Class { class.metaclass() } else { class };
        let sel = Sel::register(self.name);
        let encoding = class.instance_method(sel).and_then(encoding);
        match encoding {
            None => (None, Some("no such method".to_owned())),
            Some(found) => {
                let problem = (self.check)(class, sel).err();
                (Some(found), problem)
            }
        }
    }

    /// `+[class selector]`.
    fn shown(&self) -> String {
        let sign = if self.of == Of::Class { '+' } else { '-' };
        format!("{sign}[{} {}]", text(self.class), text(self.name))
    }
}

/// The architecture of the engine, such as `h16g`, if the system reports it.
pub(super) fn architecture() -> Option<String> {
    let class = class(DEVICE_INFO)?;
    let sel = Sel::register(c"aneSubType");
    takes::<(), *mut AnyObject>(class.metaclass(), sel).ok()?;
    autoreleasepool(|_| {
        // SAFETY: the class method has just been compared: no arguments, an object or nil.
        let name: Option<Retained<AnyObject>> = unsafe { msg_send![class, aneSubType] };
        name.and_then(|name| name.downcast::<NSString>().ok()).map(|name| name.to_string())
    })
}

/// A class by name.
fn class(name: &CStr) -> Option<&'static AnyClass> {
    AnyClass::get(name)
}

/// A method's type encoding.
pub(super) fn encoding(method: &Method) -> Option<String> {
    // SAFETY: `method` is one of the runtime's; the string it returns lives as long as the class, which is never
    // unloaded.
    unsafe {
        let types = ffi::method_getTypeEncoding(method);
        (!types.is_null()).then(|| text(CStr::from_ptr(types)))
    }
}

/// A C string of the runtime as text.
pub(super) fn text(name: &CStr) -> String {
    name.to_string_lossy().into_owned()
}
