//! Stubs for systems without an Apple Neural Engine.

use super::{ClassInfo, Examination, Member, MemberKind};
use crate::device::Device;
use crate::error::DeviceError;
use crate::options::{DeviceOptions, SoftOptions};
use std::convert::Infallible;

/// Uninhabited: this system has no Apple Neural Engine.
#[derive(Debug)]
pub(crate) struct SharedMemory(Infallible);

/// Uninhabited: this system has no Apple Neural Engine.
#[derive(Debug)]
pub(crate) struct SharedRead<'a>(&'a SharedMemory);

/// Uninhabited: this system has no Apple Neural Engine.
#[derive(Debug)]
pub(crate) struct SharedWrite<'a>(&'a SharedMemory);

impl SharedMemory {
    pub(crate) fn read(&self) -> Result<SharedRead<'_>, DeviceError> {
        match self.0 {}
    }

    pub(crate) fn write(&self) -> Result<SharedWrite<'_>, DeviceError> {
        match self.0 {}
    }
}

impl SharedRead<'_> {
    pub(crate) fn bytes(&self) -> &[u8] {
        match self.0.0 {}
    }
}

impl SharedWrite<'_> {
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        match self.0.0 {}
    }
}

/// What this system is.
fn here() -> String {
    let system = match std::env::consts::OS {
        "macos" => "macOS",
        "linux" => "Linux",
        other => other,
    };
    format!("this is {system} on {}, and only macOS on Apple silicon has one", std::env::consts::ARCH)
}

/// Opens the engine.
///
/// # Errors
/// Always.
pub(crate) fn open(_: DeviceOptions, _: SoftOptions) -> Result<Box<dyn Device>, DeviceError> {
    Err(DeviceError::Unavailable { missing: here() })
}

/// Compares the running system with what a kernel needs.
pub fn examine() -> Examination {
    let member = Member {
        name: "AppleNeuralEngine.framework".to_owned(),
        kind: MemberKind::Library,
        encoding: None,
        problem: Some(here()),
    };
    Examination { members: vec![member] }
}

/// The framework's classes whose names contain `filter`.
///
/// # Errors
/// Always.
pub fn classes(_: &str) -> Result<Vec<ClassInfo>, DeviceError> {
    Err(DeviceError::Unavailable { missing: here() })
}
