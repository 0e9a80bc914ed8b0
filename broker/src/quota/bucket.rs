//! PURE. A bucket of permits that fills steadily: for what comes in bursts, as creating topics does.
//!
//! It holds what may be done in eleven seconds. As long as it is not below zero any amount may be
//! taken, however large; then nothing until it has filled up to zero again.

use crate::quota::rate::{WINDOW_COUNT, WINDOW_MS};

/// See the head of this file.
#[derive(Clone, Debug, Default)]
pub struct Bucket {
    permits: f64,
    filled_ms: Option<i64>,
}

impl Bucket {
    /// How long to wait until something may be taken; 0: now.
    pub fn delay_ms(&mut self, limit: f64, now_ms: i64) -> i64 {
        self.fill(limit, now_ms);
        if self.permits >= 0.0 { 0 } else { (-self.permits / limit * 1000.0).round() as i64 }
    }

    /// Takes so much, whether it may or not.
    pub fn take(&mut self, amount: f64, limit: f64, now_ms: i64) {
        self.fill(limit, now_ms);
        self.permits -= amount;
    }

    fn fill(&mut self, limit: f64, now_ms: i64) {
        let most = limit * (WINDOW_COUNT * WINDOW_MS) as f64 / 1000.0;
        let since_ms = self.filled_ms.map(|filled_ms| now_ms.saturating_sub(filled_ms).max(0));
        let filled = since_ms.map(|since_ms| self.permits + limit * since_ms as f64 / 1000.0);
        self.permits = filled.unwrap_or(most).min(most);
        self.filled_ms = Some(now_ms);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_taken_once_and_the_next_one_waits_until_the_bucket_is_at_zero() {
        let mut bucket = Bucket::default();
        assert_eq!(bucket.delay_ms(2.0, 1000), 0);
        bucket.take(30.0, 2.0, 1000); // 22 were there
        assert_eq!(bucket.delay_ms(2.0, 1000), 4000);
        assert_eq!(bucket.delay_ms(2.0, 4999), 1);
        assert_eq!(bucket.delay_ms(2.0, 5000), 0);
        bucket.take(1.0, 2.0, 5000);
        assert_eq!(bucket.delay_ms(2.0, 5000), 500);
    }

    #[test]
    fn it_never_holds_more_than_eleven_seconds_of_permits() {
        let mut bucket = Bucket::default();
        bucket.take(0.0, 1.0, 0);
        bucket.take(12.0, 1.0, 1_000_000);
        assert_eq!(bucket.delay_ms(1.0, 1_000_000), 1000);
        // A clock that is set back fills nothing.
        assert_eq!(bucket.delay_ms(1.0, 5), 1000);
    }
}
