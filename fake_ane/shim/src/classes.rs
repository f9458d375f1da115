//! Linker symbols of classes.
//!
//! The symbols are defined here as empty words, so that programs link; before `main` every entry of the program's
//! global offset table that is bound to one of them is pointed at the class that the runtime registered under that
//! name. A class that is used and not listed here is a link error that names it.

use std::ffi::{CStr, c_char, c_int, c_void};

macro_rules! class_symbols {
    ($($id:ident $symbol:literal)*) => {
        $(
            /// Stands for the class.
            #[unsafe(export_name = $symbol)]
            pub static $id: [usize; 1] = [0];
        )*
    };
}

class_symbols! {
    NSOBJECT "_OBJC_CLASS_NSObject"
    NSSTRING "_OBJC_CLASS_NSString"
    NSDATA "_OBJC_CLASS_NSData"
    NSMUTABLEDATA "_OBJC_CLASS_NSMutableData"
    NSDICTIONARY "_OBJC_CLASS_NSDictionary"
    NSMUTABLEDICTIONARY "_OBJC_CLASS_NSMutableDictionary"
    NSARRAY "_OBJC_CLASS_NSArray"
    NSNUMBER "_OBJC_CLASS_NSNumber"
    NSVALUE "_OBJC_CLASS_NSValue"
    NSERROR "_OBJC_CLASS_NSError"
}

#[link(name = "gnustep-base")]
unsafe extern "C" {
    #[link_name = "__objc_class_name_NSObject"]
    static FOUNDATION: c_void;
}

/// A reference that keeps Foundation loaded, and so its classes registered before `point_at_classes` runs.
#[used]
static KEEP: Reference = Reference(&raw const FOUNDATION);

struct Reference(#[expect(dead_code, reason = "it is there for the linker")] *const c_void);

// SAFETY: nobody reads it.
unsafe impl Sync for Reference {}

/// Kinds of entries in an ELF file's dynamic section and relocation table.
const DT_NULL: u64 = 0;
const DT_STRTAB: u64 = 5;
const DT_SYMTAB: u64 = 6;
const DT_RELA: u64 = 7;
const DT_RELASZ: u64 = 8;
const R_X86_64_GLOB_DAT: u64 = 6;
/// Bytes of a symbol and of a relocation.
const SYMBOL: usize = 24;
const RELOCATION: usize = 24;
const PAGE: usize = 4096;

unsafe extern "C" fn point(info: *mut libc::dl_phdr_info, _: usize, _: *mut c_void) -> c_int {
    // SAFETY: the loader describes a loaded file; its dynamic section says where the tables are, and these are
    // mapped. The pages of the offset table are made writable first, before `main`, while one thread runs.
    unsafe {
        let base = (*info).dlpi_addr as usize;
        let headers = std::slice::from_raw_parts((*info).dlpi_phdr, (*info).dlpi_phnum as usize);
        let Some(dynamic) = headers.iter().find(|h| h.p_type == libc::PT_DYNAMIC) else { return 0 };
        let (mut symbols, mut strings, mut relocations, mut size) = (0, 0, 0, 0);
        let mut entry = (base + dynamic.p_vaddr as usize) as *const [u64; 2];
        while (*entry)[0] != DT_NULL {
            let value = (*entry)[1] as usize;
            match (*entry)[0] {
                DT_STRTAB => strings = value,
                DT_SYMTAB => symbols = value,
                DT_RELA => relocations = value,
                DT_RELASZ => size = value,
                _ => {}
            }
            entry = entry.add(1);
        }
        // The kernel's own page has addresses that are not moved by `base`.
        if symbols == 0 || strings == 0 || relocations == 0 || strings < base {
            return 0;
        }
        for relocation in std::slice::from_raw_parts(relocations as *const [u64; 3], size / RELOCATION) {
            if relocation[1] & 0xffff_ffff != R_X86_64_GLOB_DAT {
                continue;
            }
            let symbol = (symbols + (relocation[1] >> 32) as usize * SYMBOL) as *const u32;
            let name = CStr::from_ptr((strings + *symbol as usize) as *const c_char);
            let Some(class) = name.to_bytes_with_nul().strip_prefix(b"_OBJC_CLASS_") else { continue };
            let class = super::objc_getClass(class.as_ptr().cast());
            let slot = base + relocation[0] as usize;
            let page = (slot & !(PAGE - 1)) as *mut c_void;
            libc::mprotect(page, PAGE, libc::PROT_READ | libc::PROT_WRITE);
            *(slot as *mut *mut c_void) = class;
        }
    }
    0
}

extern "C" fn point_at_classes() {
    // SAFETY: `point` is what the loader wants to call.
    unsafe { libc::dl_iterate_phdr(Some(point), std::ptr::null_mut()) };
}

#[used]
#[unsafe(link_section = ".init_array")]
static BEFORE_MAIN: extern "C" fn() = point_at_classes;
