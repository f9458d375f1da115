//! Pauses after a refused program; after several refusals in a row the compiler service is not called
//! again. Source: rule W7.

use crate::error::DeviceError;
use crate::facts::{REFUSED_IN_A_ROW, REFUSED_PAUSE};
use std::time::{Duration, Instant};

/// The recent refusals of the compiler service.
#[derive(Debug)]
pub(super) struct CompileBackoff {
    pause: Duration,
    /// Refusals since a program was compiled.
    refused: u32,
    /// The time of the last one.
    last: Option<Instant>,
}

impl CompileBackoff {
    /// The limits of the facts table.
    pub(super) const fn new() -> CompileBackoff {
        CompileBackoff::with(REFUSED_PAUSE.value)
    }

    /// Uses another pause.
    pub(super) const fn with(pause: Duration) -> CompileBackoff {
        CompileBackoff { pause, refused: 0, last: None }
    }

    /// How long to wait, from `now` on, before compiling `kernel`.
    ///
    /// # Errors
    /// `TooManyRefusals`, if the service has refused too many programs in a row.
    pub(super) fn wait(&self, kernel: &str, now: Instant) -> Result<Duration, DeviceError> {
        if self.refused >= REFUSED_IN_A_ROW.value {
            return Err(DeviceError::TooManyRefusals { kernel: kernel.to_owned(), refused: self.refused });
        }
        let since = |last| now.saturating_duration_since(last);
        Ok(self.last.map_or(Duration::ZERO, |last| self.pause.saturating_sub(since(last))))
    }

    /// A program was refused at `now`.
    pub(super) fn refused(&mut self, now: Instant) {
        self.refused += 1;
        self.last = Some(now);
    }

    /// A program was compiled.
    pub(super) fn compiled(&mut self) {
        (self.refused, self.last) = (0, None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_waited_for_and_several_are_the_end() {
        let second = Duration::from_secs(1);
        let (mut backoff, start) = (CompileBackoff::new(), Instant::now());
        assert_eq!(backoff.wait("k", start).unwrap(), Duration::ZERO);
        backoff.refused(start);
        assert_eq!(backoff.wait("k", start).unwrap(), REFUSED_PAUSE.value);
        assert_eq!(backoff.wait("k", start + second).unwrap(), REFUSED_PAUSE.value - second);
        assert_eq!(backoff.wait("k", start + 2 * REFUSED_PAUSE.value).unwrap(), Duration::ZERO);
        backoff.compiled();
        assert_eq!(backoff.wait("k", start).unwrap(), Duration::ZERO);
        for _ in 0..REFUSED_IN_A_ROW.value {
            assert!(backoff.wait("k", start).is_ok());
            backoff.refused(start);
        }
        let error = backoff.wait("k", start + 60 * REFUSED_PAUSE.value).unwrap_err();
        assert!(matches!(&error, DeviceError::TooManyRefusals { kernel, .. } if kernel == "k"), "{error}");
        assert!(error.hint().is_some());
    }
}
