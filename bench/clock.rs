//! The clocks of the harness: a steady one for durations, the wall clock for record timestamps.
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

/// Tokio's timers tick once a millisecond: what is left of a wait below this is spent spinning.
const TIMER_TICK: Duration = Duration::from_micros(1_500);

/// The steady clock.
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Milliseconds since 1970.
#[expect(clippy::disallowed_methods, reason = "a load generator stamps its records")]
pub(crate) fn wall_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Waits until then, to the microsecond rather than to the tick of a timer.
pub(crate) async fn until(due: Instant) {
    if let Some(early) = due.checked_sub(TIMER_TICK)
        && now() < early
    {
        tokio::time::sleep_until(early).await;
    }
    while now() < due {
        tokio::task::yield_now().await;
    }
}
