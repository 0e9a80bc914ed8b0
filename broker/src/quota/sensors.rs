//! PURE. What each party has used lately. Bounded: who is idle is forgotten after an hour, as in
//! Kafka, and if there are too many, those who have been silent longest.

use std::collections::HashMap;

use crate::quota::book::Party;
use crate::quota::bucket::Bucket;
use crate::quota::key::Key;
use crate::quota::rate::Rate;

/// Parties that are remembered, about 1 KiB each.
const SENSORS_MAX: usize = 10_000;
/// Silent for so long: forgotten.
const IDLE_MS: i64 = 3_600_000;
/// How often idle ones are looked for.
const SWEEP_MS: i64 = 60_000;

#[derive(Clone, Debug, Default)]
struct Sensor {
    rate: Rate,
    bucket: Bucket,
    /// How long it was held back, and how often.
    delayed_ms: Rate,
    delays: Rate,
    used_ms: i64,
}

/// What is shown of a party.
#[derive(Clone, Debug, PartialEq)]
pub struct Shown {
    /// What is limited.
    pub key: Key,
    /// Who.
    pub party: Party,
    /// How much per second.
    pub per_second: f64,
    /// How long it was held back, on average.
    pub delay_ms: f64,
}

/// See the head of this file.
#[derive(Debug, Default)]
pub struct Sensors {
    by_party: HashMap<(Key, Party), Sensor>,
    swept_ms: i64,
}

impl Sensors {
    /// Counts what was used; how long the party must be held back for it.
    pub fn charge(
        &mut self,
        (key, party): (Key, Party),
        used: f64,
        limit: f64,
        now_ms: i64,
    ) -> i64 {
        let sensor = self.sensor(key, party, now_ms);
        sensor.rate.record(used, now_ms);
        let delay_ms = sensor.rate.measure(now_ms).delay_ms(limit).min(key.throttle_max_ms());
        sensor.note_delay(delay_ms, now_ms);
        delay_ms
    }

    /// Whether it has used anything lately.
    pub fn has_used(&mut self, who: &(Key, Party), now_ms: i64) -> bool {
        let sensor = self.by_party.get_mut(who);
        sensor.is_some_and(|sensor| sensor.rate.measure(now_ms).per_second > 0.0)
    }

    /// Takes back what was counted a moment ago.
    pub fn take_back(&mut self, (key, party): (Key, Party), used: f64, now_ms: i64) {
        self.sensor(key, party, now_ms).rate.record(-used, now_ms);
    }

    /// How long the party must be held back for what it has used before.
    pub fn delay_ms(&mut self, (key, party): (Key, Party), limit: f64, now_ms: i64) -> i64 {
        let sensor = self.sensor(key, party, now_ms);
        sensor.rate.measure(now_ms).delay_ms(limit).min(key.throttle_max_ms())
    }

    /// Takes permits; `Err`: there are none for so long, and nothing was taken.
    pub fn take(
        &mut self,
        (key, party): (Key, Party),
        permits: f64,
        limit: f64,
        now_ms: i64,
    ) -> Result<(), i64> {
        let sensor = self.sensor(key, party, now_ms);
        let delay_ms = sensor.bucket.delay_ms(limit, now_ms).min(key.throttle_max_ms());
        if delay_ms > 0 {
            sensor.note_delay(delay_ms, now_ms);
            return Err(delay_ms);
        }
        sensor.take(permits, limit, now_ms);
        Ok(())
    }

    /// Takes permits whether there are any or not; how long the party must be held back for it.
    pub fn overdraw(
        &mut self,
        (key, party): (Key, Party),
        permits: f64,
        limit: f64,
        now_ms: i64,
    ) -> i64 {
        let sensor = self.sensor(key, party, now_ms);
        sensor.take(permits, limit, now_ms);
        let delay_ms = sensor.bucket.delay_ms(limit, now_ms).min(key.throttle_max_ms());
        sensor.note_delay(delay_ms, now_ms);
        delay_ms
    }

    /// All parties, in no order.
    pub fn shown(&mut self, now_ms: i64) -> Vec<Shown> {
        self.sweep(now_ms);
        let all = self.by_party.iter_mut().map(|((key, party), sensor)| {
            let count = sensor.delays.sum(now_ms);
            let delay_ms = if count > 0.0 { sensor.delayed_ms.sum(now_ms) / count } else { 0.0 };
            let per_second = sensor.rate.measure(now_ms).per_second;
            Shown { key: *key, party: party.clone(), per_second, delay_ms }
        });
        all.collect()
    }

    fn sensor(&mut self, key: Key, party: Party, now_ms: i64) -> &mut Sensor {
        if (now_ms - self.swept_ms).abs() >= SWEEP_MS {
            self.sweep(now_ms);
        }
        if self.by_party.len() >= SENSORS_MAX && !self.by_party.contains_key(&(key, party.clone()))
        {
            self.forget_oldest();
        }
        let sensor = self.by_party.entry((key, party)).or_default();
        sensor.used_ms = now_ms;
        sensor
    }

    fn sweep(&mut self, now_ms: i64) {
        self.swept_ms = now_ms;
        self.by_party.retain(|_, sensor| (now_ms - sensor.used_ms).abs() < IDLE_MS);
    }

    /// A quarter at once, so that a flood of names does not look at all of them for each.
    fn forget_oldest(&mut self) {
        let mut used: Vec<i64> = self.by_party.values().map(|sensor| sensor.used_ms).collect();
        used.sort_unstable();
        let mut left = used.len() / 4;
        let until_ms = used[left.saturating_sub(1)];
        self.by_party.retain(|_, sensor| {
            let is_kept = sensor.used_ms > until_ms || left == 0;
            left -= usize::from(!is_kept);
            is_kept
        });
    }
}

impl Sensor {
    fn take(&mut self, permits: f64, limit: f64, now_ms: i64) {
        self.rate.record(permits, now_ms);
        self.bucket.take(permits, limit, now_ms);
    }

    fn note_delay(&mut self, delay_ms: i64, now_ms: i64) {
        if delay_ms > 0 {
            self.delayed_ms.record(delay_ms as f64, now_ms);
            self.delays.record(1.0, now_ms);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn party(client: impl ToString) -> Party {
        Party { user: String::new(), client: client.to_string() }
    }

    #[test]
    fn who_is_idle_for_an_hour_is_forgotten() {
        let mut sensors = Sensors::default();
        sensors.charge((Key::ProducerBytes, party("a")), 20_000.0, 1000.0, 0);
        assert_eq!(sensors.shown(3_599_999).len(), 1);
        assert!(sensors.shown(3_600_000).is_empty());
    }

    #[test]
    fn a_flood_of_names_is_bounded_and_the_silent_go_first() {
        let mut sensors = Sensors::default();
        for name in 0..2 * SENSORS_MAX {
            sensors.charge((Key::ProducerBytes, party(name)), 1.0, 1000.0, name as i64 / 100);
            assert!(sensors.by_party.len() <= SENSORS_MAX);
        }
        let last = (Key::ProducerBytes, party(2 * SENSORS_MAX - 1));
        assert!(sensors.by_party.contains_key(&last));
        assert!(!sensors.by_party.contains_key(&(Key::ProducerBytes, party(0))));
    }

    #[test]
    fn delays_end_at_the_window_but_for_bytes_and_permits() {
        let mut sensors = Sensors::default();
        let mut charge = |key| sensors.charge((key, party("a")), 60_000.0, 1000.0, 0);
        assert_eq!(charge(Key::ProducerBytes), 50_000);
        assert_eq!(charge(Key::ConsumerBytes), 50_000);
        assert_eq!(charge(Key::RequestPercentage), 1000);
        assert_eq!(charge(Key::Connections), 1000);
        let shown = sensors.shown(0).into_iter().find(|one| one.key == Key::ProducerBytes);
        let shown = shown.expect("it was counted");
        assert_eq!((shown.per_second, shown.delay_ms), (6000.0, 50_000.0));
    }

    #[test]
    fn permits_that_are_not_there_are_refused_and_not_counted() {
        let mut sensors = Sensors::default();
        let mut take = |now_ms| sensors.take((Key::Mutations, party("a")), 15.0, 1.0, now_ms);
        assert_eq!(take(0), Ok(())); // 11 were there
        assert_eq!(take(1000), Err(3000));
        assert_eq!(take(4000), Ok(()));
        let overdrawn = sensors.overdraw((Key::Mutations, party("a")), 5.0, 1.0, 4000);
        assert_eq!(overdrawn, 20_000);
    }
}
