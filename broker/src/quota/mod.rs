//! Client quotas: who may use how much of the broker, and how long they are held back who use more.
//!
//! ```text
//! request -> book (whose quota holds?) -> sensors (how much lately?) -> delay -> the answer says it,
//!                                                         and the connection is not read meanwhile
//! ```
//!
//! - Quotas are one small file, saved whole and atomically, before they hold and before the answer.
//! - Without any quota a request costs one atomic load.
//! - Nobody authenticates here, so every client is the user `ANONYMOUS`.
//! - What is used is forgotten by a restart, as in Kafka.

pub mod book;
pub mod bucket;
pub mod entity;
pub mod file;
pub mod gauges;
pub mod key;
pub mod rate;
pub mod sensors;

use std::io;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use crate::clock::Clock;
use crate::log::dir::LogDir;
use crate::log::error::LogError;
use crate::quota::book::{Alteration, Book, Limits, Party};
use crate::quota::entity::{Entity, Filter};
use crate::quota::file::{FILE, decode, encode};
use crate::quota::gauges::QuotaGauges;
use crate::quota::key::Key;
use crate::quota::rate::{WINDOW_COUNT, WINDOW_MS};
use crate::quota::sensors::Sensors;

/// The user of a client that has not authenticated; Kafka's name.
pub const ANONYMOUS: &str = "ANONYMOUS";

/// Why a quota is as it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The client's mistake, in one line.
    Invalid(String),
    /// It cannot be written; the operator is told.
    Storage,
}

/// See the head of this file.
#[derive(Debug)]
pub struct Quotas {
    logs: Arc<LogDir>,
    clock: Arc<dyn Clock>,
    /// The keys that are set for anybody: what a request looks at first.
    keys: AtomicU8,
    book: RwLock<Arc<Book>>,
    changes: Mutex<()>,
    sensors: Mutex<Sensors>,
    gauges: QuotaGauges,
}

impl Quotas {
    /// Reads the file. One that is damaged is refused: clients would be let loose without a word.
    pub fn open(logs: Arc<LogDir>, clock: Arc<dyn Clock>, gauges: QuotaGauges) -> io::Result<Self> {
        let book = match logs.kept(FILE)? {
            Some(bytes) => decode(&bytes).map_err(|why| {
                let text = format!(
                    "{FILE} is damaged ({why}): restore it from a copy, or delete it and set the \
                     client quotas anew"
                );
                io::Error::new(io::ErrorKind::InvalidData, text)
            })?,
            None => Book::default(),
        };
        Ok(Self {
            logs,
            clock,
            keys: AtomicU8::new(book.keys()),
            book: RwLock::new(Arc::new(book)),
            changes: Mutex::new(()),
            sensors: Mutex::new(Sensors::default()),
            gauges,
        })
    }

    /// Whether anything is limited for anybody.
    pub fn is_any(&self) -> bool {
        self.keys.load(Ordering::Relaxed) != 0
    }

    /// Whether that is limited for anybody.
    pub fn is_set(&self, key: Key) -> bool {
        self.keys.load(Ordering::Relaxed) & key.bit() != 0
    }

    /// What is set for the entities that a filter means.
    pub fn described(&self, filter: &Filter) -> Vec<(Entity, Limits)> {
        let book = self.book();
        let meant = book.iter().filter(|(entity, _)| filter.fits(entity));
        meant.map(|(entity, limits)| (entity.clone(), limits.clone())).collect()
    }

    /// Changes quotas, each entity by itself, all durable together; only checks if `is_dry`. Blocks.
    pub fn alter(&self, alterations: &[Alteration], is_dry: bool) -> Vec<Result<(), Refusal>> {
        let _alone = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        let mut book = Book::clone(&self.book());
        let altered = alterations.iter().map(|one| book.alter(one).map_err(Refusal::Invalid));
        let altered: Vec<_> = altered.collect();
        if is_dry || book == *self.book() {
            return altered;
        }
        if let Err(error) = self.save(book) {
            tracing::error!(%error, "client quotas cannot be written");
            return altered.into_iter().map(|one| one.and(Err(Refusal::Storage))).collect();
        }
        altered
    }

    fn save(&self, book: Book) -> Result<(), LogError> {
        self.logs.save(FILE, &encode(&book))?;
        let keys = book.keys();
        *self.book.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(book);
        self.keys.store(keys, Ordering::Relaxed);
        Ok(())
    }

    /// Counts bytes; how long the client must be held back for them.
    pub fn charge(&self, key: Key, client_id: &str, used: f64) -> u32 {
        let Some((limit, party)) = self.limit(key, client_id) else { return 0 };
        let now_ms = self.clock.now_ms();
        told(self.sensors().charge((key, party), used, limit, now_ms))
    }

    /// Counts the time that a thread has worked for a client.
    pub fn charge_time(&self, client_id: &str, busy: Duration) -> u32 {
        self.charge(Key::RequestPercentage, client_id, busy.as_secs_f64() * 100.0)
    }

    /// Counts the records of a Fetch answer. If the client must be held back, for them or for the
    /// time that it took before, it does not get them, so they do not count. Whoever has got nothing
    /// lately gets what it has asked for: that is one batch at least, however large.
    pub fn charge_fetch(&self, client_id: &str, bytes: usize) -> u32 {
        let now_ms = self.clock.now_ms();
        let mut delay_ms = 0;
        if let Some((limit, party)) = self.limit(Key::RequestPercentage, client_id) {
            let who = (Key::RequestPercentage, party);
            delay_ms = self.sensors().delay_ms(who, limit, now_ms);
        }
        if let Some((limit, party)) = self.limit(Key::ConsumerBytes, client_id) {
            let who = (Key::ConsumerBytes, party);
            let mut sensors = self.sensors();
            // A batch larger than all that may be read in the window would never be had.
            let is_first = delay_ms == 0 && !sensors.has_used(&who, now_ms);
            let charged_ms = sensors.charge(who.clone(), bytes as f64, limit, now_ms);
            if charged_ms > 0 && is_first {
                return 0;
            }
            delay_ms = delay_ms.max(charged_ms);
            if delay_ms > 0 {
                sensors.take_back(who, bytes as f64, now_ms);
            }
        }
        told(delay_ms)
    }

    /// More in one Fetch answer would always be held back.
    pub fn fetch_bytes_max(&self, client_id: &str) -> Option<i32> {
        let (limit, _) = self.limit(Key::ConsumerBytes, client_id)?;
        // `as` ends at the bounds, which is what is meant.
        Some((limit * ((WINDOW_COUNT - 1) * WINDOW_MS / 1000) as f64) as i32)
    }

    /// The permits of a client to create and delete partitions.
    pub fn mutations<'a>(&'a self, client_id: &str, strictness: Strictness) -> Mutations<'a> {
        let limit = self.limit(Key::Mutations, client_id);
        Mutations { quotas: self, limit, strictness, delay_ms: 0 }
    }

    /// Counts a connection; how long it must be kept waiting, if it must not be served.
    pub fn charge_connection(&self, address: IpAddr) -> u32 {
        if !self.is_set(Key::Connections) {
            return 0;
        }
        let client = address.to_canonical().to_string();
        let Some(limit) = self.book().limit_of_address(&client) else { return 0 };
        let who = (Key::Connections, Party { user: String::new(), client });
        let now_ms = self.clock.now_ms();
        let mut sensors = self.sensors();
        let delay_ms = sensors.charge(who.clone(), 1.0, limit, now_ms);
        if delay_ms > 0 {
            // It is not served, so it does not count.
            sensors.take_back(who, 1.0, now_ms);
            self.gauges.throttled_connections.inc();
        }
        told(delay_ms)
    }

    /// Sets the gauges that only matter when somebody looks.
    pub fn refresh_gauges(&self) {
        let now_ms = self.clock.now_ms();
        let shown = self.sensors().shown(now_ms);
        self.gauges.refresh(shown);
    }

    fn limit(&self, key: Key, client_id: &str) -> Option<(f64, Party)> {
        self.is_set(key).then(|| self.book().limit(key, ANONYMOUS, client_id)).flatten()
    }

    fn book(&self) -> Arc<Book> {
        self.book.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn sensors(&self) -> MutexGuard<'_, Sensors> {
        self.sensors.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A delay as it travels.
fn told(delay_ms: i64) -> u32 {
    u32::try_from(delay_ms).unwrap_or(0)
}

/// What becomes of a change for which there are no permits.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Strictness {
    /// It is refused: the client's version knows the error.
    Strict,
    /// It is made, and the client is held back afterwards.
    Permissive,
}

impl Strictness {
    /// What a client of that version can be told; the error is known from `strict_from` on.
    pub fn of(version: i16, strict_from: i16) -> Strictness {
        if version >= strict_from { Strictness::Strict } else { Strictness::Permissive }
    }
}

/// The permits of one request to create and delete partitions.
#[derive(Debug)]
pub struct Mutations<'a> {
    quotas: &'a Quotas,
    limit: Option<(f64, Party)>,
    strictness: Strictness,
    delay_ms: i64,
}

impl Mutations<'_> {
    /// Takes permits for so many partitions; `false`: there are none, the change must not be made.
    #[must_use]
    pub fn take(&mut self, partitions: usize) -> bool {
        let Some((limit, party)) = &self.limit else { return true };
        let who = (Key::Mutations, party.clone());
        let now_ms = self.quotas.clock.now_ms();
        let mut sensors = self.quotas.sensors();
        let (may, delay_ms) = match self.strictness {
            Strictness::Strict => match sensors.take(who, partitions as f64, *limit, now_ms) {
                Ok(()) => (true, 0),
                Err(delay_ms) => (false, delay_ms),
            },
            Strictness::Permissive => {
                (true, sensors.overdraw(who, partitions as f64, *limit, now_ms))
            }
        };
        self.delay_ms = self.delay_ms.max(delay_ms);
        may
    }

    /// How long the client must be held back after all of it.
    pub fn delay_ms(&self) -> u32 {
        told(self.delay_ms)
    }
}
