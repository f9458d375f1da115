//! Apple's Objective-C entry points on top of GCC's runtime and GNUstep's Foundation; x86_64 Linux, for tests alone.
//!
//! `objc2` speaks to Apple's runtime, GCC's lacks a few of its functions: they are here. `class!` and
//! `objc2-foundation` find a class by the address of a linker symbol, which GCC keeps local: see `classes`.
#![cfg(all(target_os = "linux", target_arch = "x86_64", feature = "gnustep"))]

mod classes;

use std::arch::naked_asm;
use std::collections::HashMap;
use std::ffi::{CStr, CString, c_char, c_int, c_uint, c_void};
use std::ptr;
use std::sync::{Mutex, PoisonError};

type Id = *mut c_void;
type Sel = *const c_void;
type Imp = unsafe extern "C" fn(Id, Sel) -> Id;

#[link(name = "objc")]
unsafe extern "C" {
    fn objc_msg_lookup(object: Id, selector: Sel) -> Imp;
    fn sel_registerName(name: *const c_char) -> Sel;
    fn objc_getClass(name: *const c_char) -> Id;
    fn objc_getClassList(classes: *mut Id, count: c_int) -> c_int;
}

/// Looks the method up, then jumps to it with every argument register as it was; a message to nil returns zero.
///
/// # Safety
/// As of Apple's `objc_msgSend`.
#[unsafe(naked)]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn objc_msgSend() {
    naked_asm!(
        "test rdi, rdi",
        "jz 2f",
        "push rbp",
        "mov rbp, rsp",
        "sub rsp, 192",
        "mov [rsp], rdi",
        "mov [rsp+8], rsi",
        "mov [rsp+16], rdx",
        "mov [rsp+24], rcx",
        "mov [rsp+32], r8",
        "mov [rsp+40], r9",
        "mov [rsp+48], rax",
        "movaps [rsp+64], xmm0",
        "movaps [rsp+80], xmm1",
        "movaps [rsp+96], xmm2",
        "movaps [rsp+112], xmm3",
        "movaps [rsp+128], xmm4",
        "movaps [rsp+144], xmm5",
        "movaps [rsp+160], xmm6",
        "movaps [rsp+176], xmm7",
        "call {lookup}@PLT",
        "mov r11, rax",
        "mov rdi, [rsp]",
        "mov rsi, [rsp+8]",
        "mov rdx, [rsp+16]",
        "mov rcx, [rsp+24]",
        "mov r8, [rsp+32]",
        "mov r9, [rsp+40]",
        "mov rax, [rsp+48]",
        "movaps xmm0, [rsp+64]",
        "movaps xmm1, [rsp+80]",
        "movaps xmm2, [rsp+96]",
        "movaps xmm3, [rsp+112]",
        "movaps xmm4, [rsp+128]",
        "movaps xmm5, [rsp+144]",
        "movaps xmm6, [rsp+160]",
        "movaps xmm7, [rsp+176]",
        "leave",
        "jmp r11",
        "2:",
        "xor eax, eax",
        "xor edx, edx",
        "pxor xmm0, xmm0",
        "pxor xmm1, xmm1",
        "ret",
        lookup = sym objc_msg_lookup,
    )
}

/// Sends a message without arguments.
unsafe fn send(object: Id, name: &CStr) -> Id {
    if object.is_null() {
        return object;
    }
    // SAFETY: the caller's object is alive; the methods named here take nothing and return an object or nothing.
    unsafe {
        let selector = sel_registerName(name.as_ptr());
        objc_msg_lookup(object, selector)(object, selector)
    }
}

/// # Safety
/// As of Apple's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn objc_retain(object: Id) -> Id {
    // SAFETY: the caller's.
    unsafe { send(object, c"retain") }
}

/// # Safety
/// As of Apple's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn objc_release(object: Id) {
    // SAFETY: the caller's.
    unsafe { send(object, c"release") };
}

/// # Safety
/// As of Apple's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn objc_autorelease(object: Id) -> Id {
    // SAFETY: the caller's.
    unsafe { send(object, c"autorelease") }
}

/// # Safety
/// As of Apple's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn objc_autoreleaseReturnValue(object: Id) -> Id {
    // SAFETY: the caller's.
    unsafe { objc_autorelease(object) }
}

/// # Safety
/// As of Apple's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn objc_retainAutoreleasedReturnValue(object: Id) -> Id {
    // SAFETY: the caller's.
    unsafe { objc_retain(object) }
}

/// # Safety
/// As of Apple's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn objc_autoreleasePoolPush() -> Id {
    // SAFETY: GNUstep's class, made and filled as any object.
    unsafe { send(send(objc_getClass(c"NSAutoreleasePool".as_ptr()), c"alloc"), c"init") }
}

/// # Safety
/// As of Apple's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn objc_autoreleasePoolPop(pool: Id) {
    // SAFETY: the caller's.
    unsafe { send(pool, c"drain") };
}

/// The registered classes, in memory that the caller frees.
///
/// # Safety
/// As of Apple's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn objc_copyClassList(count: *mut c_uint) -> *mut Id {
    // SAFETY: the runtime fills at most as many places as it is told there are, and says how many there were.
    unsafe {
        let room = objc_getClassList(ptr::null_mut(), 0);
        let places = libc::calloc(room.max(0) as usize + 1, size_of::<Id>()).cast::<Id>();
        let found = if places.is_null() { 0 } else { objc_getClassList(places, room) };
        if !count.is_null() {
            *count = found.clamp(0, room) as c_uint;
        }
        places
    }
}

/// An inline function in GCC's header: the class is the first word of an object.
///
/// # Safety
/// As of Apple's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn object_getClass(object: Id) -> Id {
    if object.is_null() {
        return object;
    }
    // SAFETY: the caller's object is alive.
    unsafe { *(object as *const Id) }
}

/// GCC writes `const void *` as `^rv` where Apple's compiler writes `r^v`.
///
/// # Safety
/// As of Apple's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn method_getTypeEncoding(method: *const c_void) -> *const c_char {
    type Real = unsafe extern "C" fn(*const c_void) -> *const c_char;
    static FIXED: Mutex<Option<HashMap<CString, &'static CStr>>> = Mutex::new(None);
    // SAFETY: the next library with this function is GCC's runtime, whose it is.
    let real = unsafe { libc::dlsym(libc::RTLD_NEXT, c"method_getTypeEncoding".as_ptr()) };
    if real.is_null() {
        return ptr::null();
    }
    // SAFETY: that function, and the caller's method; what it returns is a string that lives as long as the class.
    let types = unsafe {
        let types = std::mem::transmute::<*mut c_void, Real>(real)(method);
        if types.is_null() {
            return types;
        }
        CStr::from_ptr(types)
    };
    let mut bytes = types.to_bytes().to_vec();
    if !bytes.windows(2).any(|w| w == b"^r") {
        return types.as_ptr();
    }
    while let Some(i) = bytes.windows(2).position(|w| w == b"^r") {
        bytes.swap(i, i + 1);
    }
    let mut fixed = FIXED.lock().unwrap_or_else(PoisonError::into_inner);
    let map = fixed.get_or_insert_with(HashMap::new);
    let Ok(key) = CString::new(bytes) else { return types.as_ptr() };
    map.entry(key.clone()).or_insert_with(|| Box::leak(key.into_boxed_c_str())).as_ptr()
}
