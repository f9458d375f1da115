//! Test controls of the fake engine: faults, counts, limits.

use super::framework::{FRAMEWORK, library};
use objc2::rc::autoreleasepool;
use objc2_foundation::NSTemporaryDirectory;
use std::ffi::{CString, c_char, c_int, c_long};
use std::path::PathBuf;
use std::time::Duration;

// Entry points of Apple's Objective-C runtime that GCC's lacks.
#[link(name = "objc_apple_shim")]
unsafe extern "C" {}

/// Makes `call` fail `times` times, after `skip` successful calls.
///
/// # Errors
/// If the fake engine's library lacks the function.
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

/// Live objects of one kind: `descriptors`, `models`, `loaded`, `requests`, `surface_objects`, `iosurfaces` or `compiling`.
///
/// # Errors
/// If the fake engine's library lacks the function.
pub fn live(thing: &str) -> Result<i64, String> {
    let thing = CString::new(thing).map_err(|e| e.to_string())?;
    let library = library(FRAMEWORK)?;
    // SAFETY: as above.
    unsafe {
        let ask = library.get::<unsafe extern "C" fn(*const c_char) -> c_long>(b"fake_ane_live");
        Ok(ask.map_err(|e| e.to_string())?(thing.as_ptr()))
    }
}

/// The folder that holds the folders of programs.
pub fn folders() -> PathBuf {
    PathBuf::from(autoreleasepool(|_| NSTemporaryDirectory().to_string()))
}

/// Resets the count of refusals, and sets the pause after the next one.
pub fn pause(pause: Duration) {
    super::device::pause_after_refusals(pause);
}

/// Makes the fake compiler refuse every program that comes within `milliseconds` of a refusal, until the next call of
/// this function; 0 turns this off.
///
/// # Errors
/// If the fake engine's library lacks the function.
pub fn wedge(milliseconds: i32) -> Result<(), String> {
    let library = library(FRAMEWORK)?;
    // SAFETY: the type is that of `fake_ane.h`.
    unsafe {
        let set = library.get::<unsafe extern "C" fn(c_int)>(b"fake_ane_wedge");
        set.map_err(|e| e.to_string())?(milliseconds);
    }
    Ok(())
}

/// Blocks or resumes compilation; it blocks for a minute at most.
///
/// # Errors
/// If the fake engine's library lacks the function.
pub fn hold(on: bool) -> Result<(), String> {
    let library = library(FRAMEWORK)?;
    // SAFETY: as above.
    unsafe {
        let set = library.get::<unsafe extern "C" fn(c_int)>(b"fake_ane_hold");
        set.map_err(|e| e.to_string())?(c_int::from(on));
    }
    Ok(())
}

/// Sets how many more programs the fake engine compiles.
///
/// # Errors
/// If the fake engine's library lacks the function.
pub fn compiles(count: i32) -> Result<(), String> {
    let library = library(FRAMEWORK)?;
    // SAFETY: as above.
    unsafe {
        let set = library.get::<unsafe extern "C" fn(c_int)>(b"fake_ane_compiles");
        set.map_err(|e| e.to_string())?(count);
    }
    Ok(())
}
