//! The Apple Neural Engine, through the private framework AppleNeuralEngine.
//!
//! A kernel's life: text and weights make a descriptor, that makes a model, whose identifier names a temporary folder;
//! with the files in it the model is compiled and loaded; requests bind surfaces to it and are evaluated; dropping the
//! kernel unloads the model, then removes the folder. One table (`selectors`) lists the required
//! methods; it is compared with the running system before the first call, so on a changed macOS the error names what
//! changed.
//!
//! We have not run this on a Mac: `docs/apple-engine.md` lists the claims, their sources, and how to check them on a Mac.
//! On x86_64 Linux the same code runs against a fake of the framework (feature `fake_ane`).
//!
//! Not here: packing (`pack`), rules of the engine (`rules`).

#[cfg(any(test, all(target_os = "macos", target_arch = "aarch64"), feature = "fake_ane"))]
mod backoff;
#[cfg(not(any(all(target_os = "macos", target_arch = "aarch64"), feature = "fake_ane")))]
#[path = "unsupported.rs"]
mod ffi;
#[cfg(any(all(target_os = "macos", target_arch = "aarch64"), feature = "fake_ane"))]
#[expect(unsafe_code, reason = "messages to Objective-C objects; each block says why it is sound")]
mod ffi;
#[cfg(all(unix, any(test, target_os = "macos", feature = "fake_ane")))]
mod folder;

pub(crate) use ffi::{SharedMemory, SharedRead, SharedWrite, open};
pub use ffi::{classes, examine};

#[cfg(feature = "fake_ane")]
pub use ffi::fake_ane;

/// The required members of the framework, checked on the running system.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Examination {
    /// All required members, in order of use.
    pub members: Vec<Member>,
}

impl Examination {
    /// The first thing that is missing or different.
    pub fn problem(&self) -> Option<&Member> {
        self.members.iter().find(|m| m.problem.is_some())
    }
}

/// A library, a class or a method that a kernel needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its name: a path, a class, or `+[class selector]`.
    pub name: String,
    /// What it is.
    pub kind: MemberKind,
    /// Types of its return value and arguments on the running system; only methods have them.
    pub encoding: Option<String>,
    /// The mismatch, if any.
    pub problem: Option<String>,
}

/// The kind of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum MemberKind {
    Library,
    Function,
    Class,
    Method,
}

/// A class of the framework, as the running system describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassInfo {
    /// Its name.
    pub name: String,
    /// Its superclass.
    pub superclass: Option<String>,
    /// Its methods, those of the class first, each with its types: `+[class selector]`.
    pub methods: Vec<(String, String)>,
}
