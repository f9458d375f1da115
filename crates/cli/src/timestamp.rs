//! Points in time that can be passed to another process.

use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Seconds since 1970.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Timestamp(f64);

impl Timestamp {
    /// The current time.
    pub fn now() -> Timestamp {
        Timestamp(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |t| t.as_secs_f64()))
    }

    /// Seconds from this time until now.
    pub fn elapsed(self) -> f64 {
        (Timestamp::now().0 - self.0).max(0.0)
    }
}

impl From<Instant> for Timestamp {
    fn from(instant: Instant) -> Timestamp {
        Timestamp(Timestamp::now().0 - instant.elapsed().as_secs_f64())
    }
}

impl From<Timestamp> for Instant {
    /// Now, if the time is before the machine's start.
    fn from(timestamp: Timestamp) -> Instant {
        let now = Instant::now();
        let ago = Duration::try_from_secs_f64(timestamp.elapsed()).unwrap_or_default();
        now.checked_sub(ago).unwrap_or(now)
    }
}
