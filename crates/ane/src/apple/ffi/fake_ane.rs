//! What tests ask of the fake engine: faults, counts, limits.

use super::framework::{FRAMEWORK, library};
use objc2::rc::autoreleasepool;
use objc2_foundation::NSTemporaryDirectory;
use std::ffi::{CString, c_char, c_int, c_long};
use std::path::PathBuf;
use std::time::Duration;

// Apple's entry points of the Objective-C runtime, which GCC's lacks.
#[link(name = "objc_apple_shim")]
unsafe extern "C" {}

/// `call` is to fail `times` times, after `skip` calls that do not.
///
/// # Errors
/// If the fake engine cannot be asked.
pub fn fault(call: &str, skip: i32, times: i32) -> Result<(), String> {
    let call = CString::new(call).map_err(|e| e.to_string())?;
    let library = library(FRAMEWORK)?;
    // SAFETY: the type is that of `fake_ane.h`.
    unsafe {
        let set = library.get::<unsafe extern "C" fn(*const c_char, c_int, c_int)>(b"fake_ane_fault");
        set.map_err(|e| e.to_string())?(call.as_ptr(), skip, times);
    }
    Ok(())
}

/// How many live of `descriptors`, `models`, `loaded`, `requests`, `surface_objects`, `iosurfaces` or `compiling`.
///
/// # Errors
/// If the fake engine cannot be asked.
pub fn live(thing: &str) -> Result<i64, String> {
    let thing = CString::new(thing).map_err(|e| e.to_string())?;
    let library = library(FRAMEWORK)?;
    // SAFETY: as above.
    unsafe {
        let ask = library.get::<unsafe extern "C" fn(*const c_char) -> c_long>(b"fake_ane_live");
        Ok(ask.map_err(|e| e.to_string())?(thing.as_ptr()))
    }
}

/// Where the folders of programs are.
pub fn folders() -> PathBuf {
    PathBuf::from(autoreleasepool(|_| NSTemporaryDirectory().to_string()))
}

/// Resets the count of refusals, and sets the pause after the next one.
pub fn pause(pause: Duration) {
    super::device::pause_after_refusals(pause);
}

/// After a refusal the fake engine's compiler wants to be left alone for `milliseconds`, or refuses whatever comes, until
/// this is called again; 0 for never.
///
/// # Errors
/// If the fake engine cannot be asked.
pub fn wedge(milliseconds: i32) -> Result<(), String> {
    let library = library(FRAMEWORK)?;
    // SAFETY: the type is that of `fake_ane.h`.
    unsafe {
        let set = library.get::<unsafe extern "C" fn(c_int)>(b"fake_ane_wedge");
        set.map_err(|e| e.to_string())?(milliseconds);
    }
    Ok(())
}

/// Compiling waits, or goes on; it waits for a minute at most.
///
/// # Errors
/// If the fake engine cannot be asked.
pub fn hold(on: bool) -> Result<(), String> {
    let library = library(FRAMEWORK)?;
    // SAFETY: as above.
    unsafe {
        let set = library.get::<unsafe extern "C" fn(c_int)>(b"fake_ane_hold");
        set.map_err(|e| e.to_string())?(c_int::from(on));
    }
    Ok(())
}

/// How many programs the fake engine compiles from now on.
///
/// # Errors
/// If the fake engine cannot be asked.
pub fn compiles(count: i32) -> Result<(), String> {
    let library = library(FRAMEWORK)?;
    // SAFETY: as above.
    unsafe {
        let set = library.get::<unsafe extern "C" fn(c_int)>(b"fake_ane_compiles");
        set.map_err(|e| e.to_string())?(count);
    }
    Ok(())
}
