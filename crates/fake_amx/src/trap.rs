//! The handler of SIGILL.
#![expect(unsafe_code, reason = "signal handlers read the interrupted code and its registers")]

use crate::decode::{Address, Instruction, decode};
use crate::unit::{Fault, Unit};
use std::arch::x86_64::__cpuid_count;
use std::cell::RefCell;
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

thread_local! {
    // Constant and without a destructor: reading it allocates nothing, which a handler must not.
    static UNIT: RefCell<Unit> = const { RefCell::new(Unit::new()) };
}

/// Instructions that were interpreted.
static EXECUTED: AtomicU64 = AtomicU64::new(0);

/// The number of instructions that this process has interpreted, on all threads.
pub fn executed() -> u64 {
    EXECUTED.load(Ordering::Relaxed)
}

/// Handles SIGILL from now on, in all threads. A processor with the unit executes the instructions itself.
///
/// # Panics
/// If the system refuses the handler.
pub fn install() {
    static INSTALLED: OnceLock<()> = OnceLock::new();
    INSTALLED.get_or_init(|| {
        // SAFETY: zeros are a valid value of this C struct.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        action.sa_sigaction = handle as extern "C" fn(i32, *mut libc::siginfo_t, *mut libc::c_void) as usize;
        action.sa_flags = libc::SA_SIGINFO;
        // SAFETY: the handler has the signature for SA_SIGINFO and does nothing that a handler must not.
        let result = unsafe { libc::sigaction(libc::SIGILL, &raw const action, ptr::null_mut()) };
        assert_eq!(result, 0, "the system refuses a handler of SIGILL");
    });
}

/// Whether this processor has the unit, for bf16 and int8, and the system lets this process use it.
pub fn has_real_unit() -> bool {
    const ARCH_REQ_XCOMP_PERM: libc::c_long = 0x1023;
    const TILE_DATA: libc::c_long = 18;
    static HAS: OnceLock<bool> = OnceLock::new();
    *HAS.get_or_init(|| {
        let edx = __cpuid_count(7, 0).edx;
        // SAFETY: the call reads its two arguments alone.
        [22, 24, 25].iter().all(|bit| edx >> bit & 1 == 1)
            && unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, TILE_DATA) } == 0
    })
}

extern "C" fn handle(_: i32, _: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the kernel passes the context of the interrupted thread, which nobody else uses meanwhile.
    let registers = unsafe { &mut (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs };
    if interpret(registers).is_none() {
        // The instruction faults again, and now ends the process.
        // SAFETY: the default action is always valid.
        unsafe { libc::signal(libc::SIGILL, libc::SIG_DFL) };
    }
}

type Registers = [libc::greg_t; 23];

/// Interprets the instruction at the interrupted place and moves on behind it; `None` if a processor would fault.
fn interpret(registers: &mut Registers) -> Option<()> {
    /// The most bytes of an instruction.
    const LONGEST: usize = 15;
    let at = registers[libc::REG_RIP as usize] as usize;
    // SAFETY: the processor has read this instruction; what is behind it on the same page can be read, too.
    let code = |len| unsafe { std::slice::from_raw_parts(at as *const u8, len) };
    let on_page = LONGEST.min(4096 - at % 4096);
    // An instruction that does not end on its page goes on on the next one, which can be read then.
    let (instruction, len) = decode(code(on_page)).or_else(|| decode(code(LONGEST)))?;
    let next = at + len;
    UNIT.with(|unit| execute(&mut *unit.try_borrow_mut().ok()?, instruction, (registers, next)).ok())?;
    EXECUTED.fetch_add(1, Ordering::Relaxed);
    registers[libc::REG_RIP as usize] = next as libc::greg_t;
    Some(())
}

fn execute(unit: &mut Unit, instruction: Instruction, place: (&Registers, usize)) -> Result<(), Fault> {
    match instruction {
        Instruction::Configure(address) => {
            let (start, step) = resolve(address, place);
            let from = start.wrapping_add(step) as *const [u8; 64];
            // SAFETY: the instruction reads these bytes; if they are not there, this faults as it would.
            unit.configure(&unsafe { ptr::read_unaligned(from) })
        }
        Instruction::Release => {
            unit.release();
            Ok(())
        }
        Instruction::Zero(tile) => unit.zero(tile),
        Instruction::Load(tile, address) => {
            let (start, stride) = resolve(address, place);
            unit.load(tile, |i, row| {
                let from = start.wrapping_add(i.wrapping_mul(stride)) as *const u8;
                // SAFETY: the instruction reads this row; if it is not there, this faults as it would.
                unsafe { ptr::copy_nonoverlapping(from, row.as_mut_ptr(), row.len()) };
            })
        }
        Instruction::Store(tile, address) => {
            let (start, stride) = resolve(address, place);
            unit.store(tile, |i, row| {
                let to = start.wrapping_add(i.wrapping_mul(stride)) as *mut u8;
                // SAFETY: the instruction writes this row; if it is not there, this faults as it would.
                unsafe { ptr::copy_nonoverlapping(row.as_ptr(), to, row.len()) };
            })
        }
        Instruction::Multiply(product, tiles) => unit.multiply(product, tiles),
    }
}

/// Base plus displacement, and the scaled index. `next` is the address of the next instruction.
fn resolve(address: Address, (registers, next): (&Registers, usize)) -> (usize, usize) {
    let register = |number: usize| registers[REGISTERS[number] as usize] as usize;
    let base = match (address.base, address.is_relative) {
        (Some(base), _) => register(base),
        (None, true) => next,
        (None, false) => 0,
    };
    let index = address.index.map_or(0, |(index, scale)| register(index).wrapping_mul(scale.into()));
    (base.wrapping_add_signed(address.displacement as isize), index)
}

/// Registers by their number in instructions.
const REGISTERS: [i32; 16] = [
    libc::REG_RAX,
    libc::REG_RCX,
    libc::REG_RDX,
    libc::REG_RBX,
    libc::REG_RSP,
    libc::REG_RBP,
    libc::REG_RSI,
    libc::REG_RDI,
    libc::REG_R8,
    libc::REG_R9,
    libc::REG_R10,
    libc::REG_R11,
    libc::REG_R12,
    libc::REG_R13,
    libc::REG_R14,
    libc::REG_R15,
];
