//! What a request costs its client: the bytes that it brought, and the time that was worked for it.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Instant;
use weir_protocol::header::RequestHeader;
use weir_protocol::throttle;

use crate::api::{Pending, Reply};
use crate::quota::Quotas;
use crate::quota::key::Key;

const PRODUCE: i16 = 0;

/// What one request costs.
#[derive(Debug)]
pub(super) struct Charge {
    api_key: i16,
    api_version: i16,
    client_id: String,
    request_bytes: usize,
    /// How long threads have worked for it; waiting does not count.
    busy: Duration,
    /// All of the time until it is done counts: a thread works for it so long.
    pub(super) is_work: bool,
}

impl Charge {
    pub(super) fn new(header: &RequestHeader, request_bytes: usize) -> Charge {
        Charge {
            api_key: header.api_key,
            api_version: header.api_version,
            client_id: header.client_id.as_deref().unwrap_or_default().to_owned(),
            request_bytes,
            busy: Duration::ZERO,
            is_work: false,
        }
    }

    /// A thread has worked for it; for `is_work` the last word holds, which is the whole time.
    pub(super) fn worked(&mut self, busy: Duration) {
        self.busy = if self.is_work { busy } else { self.busy + busy };
    }

    /// Charges the quotas, and says in the answer how long the client is held back.
    pub(super) fn settle(self, quotas: &Quotas, reply: Reply) -> (Reply, u32) {
        let mut throttle_ms = 0;
        if self.api_key == PRODUCE {
            let bytes = self.request_bytes as f64;
            throttle_ms = quotas.charge(Key::ProducerBytes, &self.client_id, bytes);
        }
        // Without an answer only the bytes are charged, as in Kafka.
        if !matches!(reply, Reply::Silence) {
            throttle_ms = throttle_ms.max(quotas.charge_time(&self.client_id, self.busy));
        }
        let (mut answer, handler_ms) = match reply {
            Reply::Answer(answer) => (answer, 0),
            Reply::Throttled(answer, handler_ms) => (answer, handler_ms),
            reply => return (reply, throttle_ms),
        };
        let throttle_ms = throttle_ms.max(handler_ms);
        if throttle_ms > 0 {
            throttle::set(&mut answer, self.api_key, self.api_version, throttle_ms);
        }
        (Reply::Answer(answer), throttle_ms)
    }
}

/// A reply that is not there yet, while the time of its polls is taken.
pub(super) struct Timed<'a> {
    pending: &'a mut Pending,
    charge: Option<&'a mut Charge>,
}

impl<'a> Timed<'a> {
    pub(super) fn new(pending: &'a mut Pending, charge: Option<&'a mut Charge>) -> Timed<'a> {
        Timed { pending, charge }
    }
}

impl Future for Timed<'_> {
    type Output = Reply;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Reply> {
        let Timed { pending, charge } = &mut *self;
        match charge.as_mut().filter(|charge| !charge.is_work) {
            None => pending.as_mut().poll(context),
            Some(charge) => {
                let since = Instant::now();
                let polled = pending.as_mut().poll(context);
                charge.worked(since.elapsed());
                polled
            }
        }
    }
}
