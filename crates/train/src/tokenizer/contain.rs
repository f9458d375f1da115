//! Calls into the `tokenizers` library: it panics on some files, and nothing of that may reach a user.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::Once;

thread_local! {
    /// Whether a panic on this thread is caught and reported as an error.
    static CONTAINED: Cell<bool> = const { Cell::new(false) };
}

/// Runs `work`; a panic in it becomes an error with what the panic said, and nothing is printed.
///
/// # Errors
/// What `work` returns, or what its panic said.
pub(super) fn contained<T>(work: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    static HOOK: Once = Once::new();
    // All other panics are reported as before.
    HOOK.call_once(|| {
        let report = take_hook();
        set_hook(Box::new(move |info| {
            if !CONTAINED.get() {
                report(info);
            }
        }));
    });
    let before = CONTAINED.replace(true);
    let result = catch_unwind(AssertUnwindSafe(work));
    CONTAINED.set(before);
    result.unwrap_or_else(|panic| Err(format!("the tokenizer library panicked: {}", said(panic.as_ref()))))
}

/// The message of a panic.
fn said(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without a message")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error_and_the_next_call_works() {
        let failed: Result<(), String> = contained(|| panic!("index {} is out of range", 7));
        assert_eq!(failed, Err("the tokenizer library panicked: index 7 is out of range".to_owned()));
        assert_eq!(contained(|| Ok(3)), Ok(3));
        assert_eq!(contained::<()>(|| Err("plain".to_owned())), Err("plain".to_owned()));
    }
}
