//! The table of selectors: each class and method with the types that we call it with.
//!
//! Source of all: `maderix/ANE`, its training programs and its bridge, which call them with these types on M3 to M5
//! under macOS 15 and 26. The types of each check are what our calls pass; they are compared with the running
//! system's own description before the first call.

use super::functions::IoSurface;
use objc2::encode::{EncodeArguments, EncodeReturn};
use objc2::runtime::{AnyClass, AnyObject, Bool, Sel};
use std::ffi::CStr;

/// The text and weights of a program.
pub(super) const DESCRIPTOR: &CStr = c"_ANEInMemoryModelDescriptor";
/// A model: a program and its state on the engine.
pub(super) const MODEL: &CStr = c"_ANEInMemoryModel";
/// Surfaces bound to a program.
pub(super) const REQUEST: &CStr = c"_ANERequest";
/// A surface object for requests.
pub(super) const SURFACE: &CStr = c"_ANEIOSurfaceObject";
/// Information about the engine; used for its name only.
pub(super) const DEVICE_INFO: &CStr = c"_ANEDeviceInfo";

/// The classes that a kernel needs.
pub(super) const CLASSES: [&CStr; 4] = [DESCRIPTOR, MODEL, REQUEST, SURFACE];

/// The receiver of a method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Of {
    /// A class method.
    Class,
    /// An instance method.
    Instance,
}

/// Checks the types of a method.
type Check = fn(&AnyClass, Sel) -> Result<(), String>;

/// A method that is called.
pub(super) struct Selector {
    pub(super) class: &'static CStr,
    pub(super) of: Of,
    pub(super) name: &'static CStr,
    pub(super) check: Check,
}

type Object = *mut AnyObject;
type ErrorOut = *mut *mut AnyObject;

/// Every method that is called, in the order of a kernel's life cycle.
pub(super) const SELECTORS: [Selector; 9] = [
    Selector {
        class: DESCRIPTOR,
        of: Of::Class,
        name: c"modelWithMILText:weights:optionsPlist:",
        check: takes::<(Object, Object, Object), Object>,
    },
    Selector {
        class: MODEL,
        of: Of::Class,
        name: c"inMemoryModelWithDescriptor:",
        check: takes::<(Object,), Object>,
    },
    Selector { class: MODEL, of: Of::Instance, name: c"hexStringIdentifier", check: takes::<(), Object> },
    Selector {
        class: MODEL,
        of: Of::Instance,
        name: c"compileWithQoS:options:error:",
        check: takes::<(u32, Object, ErrorOut), Bool>,
    },
    Selector {
        class: MODEL,
        of: Of::Instance,
        name: c"loadWithQoS:options:error:",
        check: takes::<(u32, Object, ErrorOut), Bool>,
    },
    Selector {
        class: SURFACE,
        of: Of::Class,
        name: c"objectWithIOSurface:",
        check: takes::<(*mut IoSurface,), Object>,
    },
    Selector {
        class: REQUEST,
        of: Of::Class,
        name: c"requestWithInputs:inputIndices:outputs:outputIndices:weightsBuffer:perfStats:procedureIndex:",
        check: takes::<(Object, Object, Object, Object, Object, Object, Object), Object>,
    },
    Selector {
        class: MODEL,
        of: Of::Instance,
        name: c"evaluateWithQoS:options:request:error:",
        check: takes::<(u32, Object, Object, ErrorOut), Bool>,
    },
    Selector {
        class: MODEL,
        of: Of::Instance,
        name: c"unloadWithQoS:error:",
        check: takes::<(u32, ErrorOut), Bool>,
    },
];

/// Compares a method's types with `A` and `R`.
pub(super) fn takes<A: EncodeArguments, R: EncodeReturn>(class: &AnyClass, sel: Sel) -> Result<(), String> {
    class.verify_sel::<A, R>(sel).map_err(|e| e.to_string())
}
