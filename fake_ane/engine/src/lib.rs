//! The software engine behind a C interface: what computes inside the fake of AppleNeuralEngine.
//!
//! A slot is a parameter or result in alphabetical order of names, as the hardware is said to bind (rule S1).

mod forms;

use mil::{TensorType, Verified, Weights};
use softane::{Arena, Executable, Pool, Slice, SliceMut};
use std::ffi::{CStr, c_char, c_int};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread;

/// The last axis is a multiple of this, or evaluation fails. Source: rule S6.
const WIDTH: usize = 16;

/// A compiled program.
pub struct Program {
    executable: Executable,
    sides: [Side; 2],
    arena: Mutex<Arena>,
}

/// Parameters or results.
struct Side {
    types: Vec<TensorType>,
    /// For each slot, which one it is.
    slots: Vec<usize>,
}

/// Runs `f` on the engine's own threads, away from the caller's: a thread of the caller's pool that waited for ours would
/// take up other work meanwhile, with the caller's locks in its hands.
fn aside<R: Send>(f: impl FnOnce() -> R + Send) -> Option<R> {
    static POOL: OnceLock<Option<Pool>> = OnceLock::new();
    let pool = POOL.get_or_init(|| Pool::new(2).ok()).as_ref()?;
    thread::scope(|threads| threads.spawn(|| pool.install(f)).join().ok())
}

/// `program` whose fused attention ignores its mask, as the hardware is said to. Source: rule T15.
fn unmasked(program: Verified<mil::Program>) -> Result<Verified<mil::Program>, mil::Report> {
    let mut program = program.into_inner();
    for op in program.functions.iter_mut().flat_map(|f| &mut f.ops) {
        if op.op.name() == "scaled_dot_product_attention" {
            let params = op.op.params;
            op.args.retain(|arg| params[arg.param].name != "attn_mask");
        }
    }
    mil::verify::verify(program)
}

fn compile(text: &str, weights: &Weights) -> Result<Program, String> {
    let program = mil::text::load(text).map_err(|report| report.to_string())?;
    if let Some(form) = forms::refused(program.entry()) {
        return Err(format!("{form} is refused, as FAKE_ANE_REFUSE says"));
    }
    let program = unmasked(program).map_err(|report| report.to_string())?;
    let function = program.entry();
    let side = |values: &[mil::ValueId]| {
        let names: Vec<&str> = values.iter().map(|&v| function.value(v).name.as_str()).collect();
        let mut slots: Vec<usize> = (0..names.len()).collect();
        slots.sort_by_key(|&i| names[i]);
        Side { types: values.iter().map(|&v| function.ty(v).clone()).collect(), slots }
    };
    let sides = [side(&function.inputs), side(&function.outputs)];
    let compile = || Executable::compile(&program, weights).map_err(|e| e.to_string());
    let executable = aside(compile).ok_or("no threads")??;
    Ok(Program { executable, sides, arena: Mutex::default() })
}

/// Compiles `text` with `count` weight files; null, with a sentence in `message`, if that fails.
///
/// # Safety
/// The pointers are to what they say: `text_bytes` bytes, `count` strings, `count` files of `sizes` bytes, and
/// `room ≥ 1` bytes for the sentence.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fake_ane_compile(
    text: *const u8,
    text_bytes: usize,
    paths: *const *const c_char,
    files: *const *const u8,
    sizes: *const usize,
    count: usize,
    message: *mut c_char,
    room: usize,
) -> *mut Program {
    let mut weights = Weights::new();
    // SAFETY: the caller's.
    let text = unsafe { std::slice::from_raw_parts(text, text_bytes) };
    for i in 0..count {
        // SAFETY: the caller's.
        unsafe {
            let path = CStr::from_ptr(*paths.add(i)).to_string_lossy();
            weights.insert(path, std::slice::from_raw_parts(*files.add(i), *sizes.add(i)));
        }
    }
    match compile(&String::from_utf8_lossy(text), &weights) {
        Ok(program) => Box::into_raw(Box::new(program)),
        Err(problem) => {
            let kept = &problem.as_bytes()[..problem.len().min(room.saturating_sub(1))];
            // SAFETY: the caller's, and one byte is left for the end.
            unsafe {
                std::ptr::copy_nonoverlapping(kept.as_ptr().cast(), message, kept.len());
                *message.add(kept.len()) = 0;
            }
            std::ptr::null_mut()
        }
    }
}

/// How many parameters (`side` 0) or results (`side` 1) it has.
///
/// # Safety
/// `program` is one of ours, `side` is 0 or 1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fake_ane_count(program: *const Program, side: usize) -> usize {
    // SAFETY: the caller's.
    unsafe { (&(*program).sides)[side].slots.len() }
}

/// The bytes of a slot; 0 if its last axis is one that evaluation fails with.
///
/// # Safety
/// As of [`fake_ane_count`]; `slot` is below it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fake_ane_bytes(program: *const Program, side: usize, slot: usize) -> usize {
    // SAFETY: the caller's.
    let side = unsafe { &(&(*program).sides)[side] };
    let ty = &side.types[side.slots[slot]];
    let fits = ty.shape.last().is_some_and(|w| w.is_multiple_of(WIDTH));
    ty.bytes().filter(|_| fits).unwrap_or(0)
}

/// Runs once on memory of the slots; 0 for success.
///
/// # Safety
/// `program` is one of ours; `inputs` and `outputs` hold an address for each slot, of as many bytes as it has, aligned
/// to its elements; no output overlaps anything else.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fake_ane_run(
    program: *const Program,
    inputs: *const *const u8,
    outputs: *const *mut u8,
) -> c_int {
    // SAFETY: the caller's.
    let program = unsafe { &*program };
    let [from, to] = &program.sides;
    let size = |ty: &TensorType| ty.bytes().unwrap_or(0);
    let slot = |side: &Side, i: usize| side.slots.iter().position(|&s| s == i).unwrap_or(i);
    let read = |(i, ty): (usize, &TensorType)| {
        // SAFETY: the caller's.
        Slice::of(ty.dtype, unsafe { std::slice::from_raw_parts(*inputs.add(slot(from, i)), size(ty)) })
    };
    let write = |(i, ty): (usize, &TensorType)| {
        // SAFETY: the caller's.
        SliceMut::of(ty.dtype, unsafe { std::slice::from_raw_parts_mut(*outputs.add(slot(to, i)), size(ty)) })
    };
    let sources: Vec<Slice<'_>> = from.types.iter().enumerate().map(read).collect();
    let mut sinks: Vec<SliceMut<'_>> = to.types.iter().enumerate().map(write).collect();
    let mut arena = program.arena.lock().unwrap_or_else(PoisonError::into_inner);
    let arena = &mut *arena;
    match aside(|| program.executable.run(&sources, &mut sinks, arena)) {
        Some(Ok(())) => 0,
        Some(Err(_)) => 1,
        None => 2,
    }
}

/// Ends a program.
///
/// # Safety
/// `program` is one of ours, and is not used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fake_ane_free(program: *mut Program) {
    // SAFETY: the caller's: it was boxed by `fake_ane_compile`.
    drop(unsafe { Box::from_raw(program) });
}
