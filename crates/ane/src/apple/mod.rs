//! The Apple Neural Engine, through the private framework AppleNeuralEngine.
//!
//! A kernel's life: text and weights make a descriptor, that makes a model, whose identifier names a temporary folder;
//! with the files in it the model is compiled and loaded; requests bind surfaces to it and are evaluated; dropping the
//! kernel unloads the model, then removes the folder. What the framework must offer stands in one table
//! (`selectors`); it is compared with the running system before the first call, so a changed macOS is refused by the
//! name of what changed.
//!
//! Nothing of this was run on a Mac by us: `docs/apple-engine.md` says what is claimed, by whom, and how a Mac tells.
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

/// What the running system offers of what a kernel needs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Examination {
    /// Each thing that is needed, in the order in which it is needed.
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
    /// Types of its return value and arguments as the running system states them; methods alone have some.
    pub encoding: Option<String>,
    /// What is wrong with it.
    pub problem: Option<String>,
}

/// What a member is.
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
    /// What it inherits from.
    pub superclass: Option<String>,
    /// Its methods, those of the class first, each with its types: `+[class selector]`.
    pub methods: Vec<(String, String)>,
}
