//! Conversion of panics of the `tokenizers` library, which panics on some files, to errors.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

thread_local! {
    /// Whether a panic on this thread is caught and reported as an error.
    static CONTAINED: Cell<bool> = const { Cell::new(false) };
}

/// Whether a panic on this thread will be caught and returned as an error, so that a panic hook should not report it.
pub fn catches_panics() -> bool {
    CONTAINED.get()
}

/// Runs `work` and converts a panic to an error.
///
/// # Errors
/// The error of `work`, or the message of its panic.
pub(super) fn contained<T>(work: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    let before = CONTAINED.replace(true);
    let result = catch_unwind(AssertUnwindSafe(work));
    CONTAINED.set(before);
    result.unwrap_or_else(|panic| Err(format!("the tokenizer library panicked: {}", message(panic.as_ref()))))
}

/// The message of a panic.
fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without a message")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error_and_the_next_call_works() {
        assert!(!catches_panics());
        assert_eq!(contained(|| Ok(catches_panics())), Ok(true));
        let failed: Result<(), String> = contained(|| panic!("index {} is out of range", 7));
        assert_eq!(failed, Err("the tokenizer library panicked: index 7 is out of range".to_owned()));
        assert!(!catches_panics());
        assert_eq!(contained(|| Ok(3)), Ok(3));
        assert_eq!(contained::<()>(|| Err("plain".to_owned())), Err("plain".to_owned()));
    }
}
