//! PURE. How much came per second lately, and how long to wait until it is no more than allowed.
//!
//! ```text
//! | sample | sample | ... | sample now |      a sample begins with what is counted after the last
//!  <----------- window ------------->|now     one is a second old; eleven seconds are looked at
//! ```
//!
//! Kafka's windows: samples of one second, eleven of them. A client that is new is taken as one that
//! was silent before, so the window is ten seconds at least. With a rate of O over a window of W, the
//! delay that brings it to the limit T is (O - T) / T * W.

use std::collections::VecDeque;

/// Length of a sample (`quota.window.size.seconds`).
pub const WINDOW_MS: i64 = 1000;
/// Samples that are looked at (`quota.window.num`).
pub const WINDOW_COUNT: i64 = 11;

#[derive(Copy, Clone, Debug)]
struct Sample {
    start_ms: i64,
    last_ms: i64,
    sum: f64,
}

/// See the head of this file.
#[derive(Clone, Debug, Default)]
pub struct Rate {
    samples: VecDeque<Sample>,
}

/// What a rate is at one moment.
#[derive(Copy, Clone, Debug, PartialEq)]
pub struct Measured {
    /// The amount per second.
    pub per_second: f64,
    /// Over so long.
    pub window_ms: i64,
}

impl Rate {
    /// Counts an amount; a negative one takes back what was counted.
    pub fn record(&mut self, amount: f64, now_ms: i64) {
        // A clock that was set back would let one sample grow until it has caught up.
        if self.samples.back().is_some_and(|last| now_ms < last.start_ms) {
            self.samples.clear();
        }
        match self.samples.back_mut().filter(|last| now_ms - last.start_ms < WINDOW_MS) {
            Some(last) => {
                last.sum += amount;
                last.last_ms = now_ms;
            }
            None => {
                if self.samples.len() as i64 > WINDOW_COUNT {
                    self.samples.pop_front();
                }
                self.samples.push_back(Sample { start_ms: now_ms, last_ms: now_ms, sum: amount });
            }
        }
    }

    /// All that was counted within the window.
    pub fn sum(&mut self, now_ms: i64) -> f64 {
        self.forget_old(now_ms);
        self.samples.iter().map(|sample| sample.sum).sum()
    }

    /// The rate now.
    pub fn measure(&mut self, now_ms: i64) -> Measured {
        let sum = self.sum(now_ms);
        let oldest_ms = self.samples.front().map_or(now_ms, |sample| sample.start_ms);
        let elapsed_ms = (now_ms - oldest_ms).max(0);
        let missing = (WINDOW_COUNT - 1 - elapsed_ms / WINDOW_MS).max(0);
        let window_ms = elapsed_ms + missing * WINDOW_MS;
        Measured { per_second: sum * 1000.0 / window_ms as f64, window_ms }
    }

    /// A sample counts as a whole as long as a part of it lies within the window.
    fn forget_old(&mut self, now_ms: i64) {
        let is_old = |sample: &Sample| now_ms - sample.last_ms >= WINDOW_COUNT * WINDOW_MS;
        while self.samples.front().is_some_and(is_old) {
            self.samples.pop_front();
        }
    }
}

impl Measured {
    /// How long nothing more must come until the rate is `limit`; 0: it is not above.
    pub fn delay_ms(self, limit: f64) -> i64 {
        if self.per_second <= limit {
            return 0;
        }
        // From floating point to whole numbers `as` ends at the bounds, which is what is meant.
        ((self.per_second - limit) / limit * self.window_ms as f64).round() as i64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Every event is kept, and the samples are cut anew each time.
    fn naive(events: &[(i64, f64)], now_ms: i64) -> Measured {
        let mut samples: Vec<Vec<(i64, f64)>> = Vec::new();
        for event in events {
            match samples.last_mut() {
                Some(sample) if event.0 - sample[0].0 < WINDOW_MS => sample.push(*event),
                _ => samples.push(vec![*event]),
            }
        }
        let live = samples.into_iter().filter(|sample| {
            sample.last().is_some_and(|(last_ms, _)| now_ms - last_ms < WINDOW_COUNT * WINDOW_MS)
        });
        let live: Vec<_> = live.collect();
        let sum: f64 = live.iter().flatten().map(|(_, amount)| amount).sum();
        let elapsed_ms = live.first().map_or(0, |sample| now_ms - sample[0].0);
        let mut window_ms = elapsed_ms;
        while window_ms / WINDOW_MS < WINDOW_COUNT - 1 {
            window_ms += WINDOW_MS;
        }
        Measured { per_second: sum / (window_ms as f64 / 1000.0), window_ms }
    }

    proptest! {
        #[test]
        fn it_is_what_the_naive_model_says(
            steps in prop::collection::vec((0i64..4000, 0u32..1_000_000), 1..80),
        ) {
            let (mut rate, mut events, mut now_ms) = (Rate::default(), Vec::new(), 5_000_000);
            for (step_ms, amount) in steps {
                now_ms += step_ms;
                rate.record(f64::from(amount), now_ms);
                events.push((now_ms, f64::from(amount)));
                let (ours, theirs) = (rate.measure(now_ms), naive(&events, now_ms));
                prop_assert_eq!(ours.window_ms, theirs.window_ms);
                prop_assert!((ours.per_second - theirs.per_second).abs() < 1e-6);
                prop_assert!(rate.samples.len() as i64 <= WINDOW_COUNT + 1);
            }
        }

        #[test]
        fn after_the_delay_the_rate_is_the_limit(amount in 20_000u32.., limit in 1u32..2000) {
            let (mut rate, limit) = (Rate::default(), f64::from(limit));
            rate.record(f64::from(amount), 0);
            let measured = rate.measure(0);
            let delay_ms = measured.delay_ms(limit);
            let later = measured.per_second * measured.window_ms as f64
                / (measured.window_ms + delay_ms) as f64;
            prop_assert!((later - limit).abs() / limit < 1e-3, "{} {}", later, limit);
        }
    }

    #[test]
    fn a_burst_is_spread_over_ten_seconds_and_forgotten_after_eleven() {
        let mut rate = Rate::default();
        rate.record(10_000.0, 0);
        assert_eq!(rate.measure(0), Measured { per_second: 1000.0, window_ms: 10_000 });
        assert_eq!(rate.measure(0).delay_ms(1000.0), 0);
        assert_eq!(rate.measure(0).delay_ms(500.0), 10_000);
        assert_eq!(rate.measure(10_999).per_second, 10_000.0 / 10.999);
        assert_eq!(rate.measure(11_000).per_second, 0.0);
    }

    #[test]
    fn what_is_taken_back_was_never_there_and_a_clock_set_back_begins_anew() {
        let mut rate = Rate::default();
        rate.record(500.0, 10_000);
        rate.record(-500.0, 10_020);
        assert_eq!(rate.measure(10_020).per_second, 0.0);
        rate.record(700.0, 10_030);
        rate.record(100.0, 3000);
        assert_eq!(rate.measure(3000).per_second, 10.0);
    }
}
