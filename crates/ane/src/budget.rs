//! The compile budget of a process: the compiler service stops responding after about a hundred programs.

use crate::error::DeviceError;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// A count of compiled programs with a limit; clones share the count.
#[derive(Clone, Debug)]
pub(crate) struct Budget {
    used: Arc<AtomicU32>,
    limit: u32,
}

impl Budget {
    /// A budget that counts in `used`, which may be shared.
    pub(crate) fn new(used: Arc<AtomicU32>, limit: u32) -> Budget {
        Budget { used, limit }
    }

    /// The remaining number of compilations.
    pub(crate) fn left(&self) -> u32 {
        self.limit.saturating_sub(self.used.load(Ordering::Relaxed))
    }

    /// Counts one more compilation, successful or not.
    ///
    /// # Errors
    /// `CompileBudget`, if the limit is reached; nothing is counted then.
    pub(crate) fn take(&self, kernel: &str) -> Result<(), DeviceError> {
        let more = |used: u32| (used < self.limit).then_some(used + 1);
        match self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more) {
            Ok(_) => Ok(()),
            Err(used) => {
                Err(DeviceError::CompileBudget { kernel: kernel.to_owned(), used, budget: self.limit })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_ends_before_it_is_exceeded() {
        let used = Arc::new(AtomicU32::new(0));
        let budget = Budget::new(Arc::clone(&used), 2);
        budget.take("a").unwrap();
        assert_eq!(budget.left(), 1);
        budget.clone().take("b").unwrap();
        assert_eq!(budget.left(), 0);
        let error = budget.take("c").unwrap_err();
        assert!(error.to_string().contains("`c`") && error.hint().is_some(), "{error}");
        assert_eq!(used.load(Ordering::Relaxed), 2);
        assert_eq!(Budget::new(Arc::clone(&used), 1).left(), 0, "a smaller limit on the same count");
        assert!(Budget::new(used, 3).take("c").is_ok(), "a larger limit on the same count");
    }
}
