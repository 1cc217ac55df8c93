//! The clock of what is measured here, for all examples.

use rustix::time::{ClockId, clock_gettime};
use std::time::Duration;

/// What this thread has had of its processor: whoever else wants that does not matter.
pub fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}
