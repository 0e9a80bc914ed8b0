//! The socket of one connection: frames go out in order, answers go to whoever waits for them.
//!
//! - An answer never grows past [`ANSWER_BYTES_MAX`], nor faster than its bytes arrive.
//! - After any doubt the link is closed for good, and everybody who waits is told.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, oneshot};

/// The largest answer that is read. A broker that announces more is not believed.
const ANSWER_BYTES_MAX: usize = 256 << 20;

/// What the two halves of a connection share.
#[derive(Debug, Default)]
pub(super) struct Link {
    state: Mutex<LinkState>,
}

#[derive(Debug, Default)]
pub(super) struct LinkState {
    /// The number of the next request.
    pub(super) next_id: i32,
    /// Who waits for which answer.
    pub(super) waiting: HashMap<i32, oneshot::Sender<Bytes>>,
    /// Why the connection is of no more use.
    pub(super) closed: Option<String>,
}

impl Link {
    pub(super) fn state(&self) -> std::sync::MutexGuard<'_, LinkState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The first reason stays. Everybody who waits is told.
    pub(super) fn close(&self, reason: &str) {
        let mut state = self.state();
        state.closed.get_or_insert_with(|| reason.to_owned());
        state.waiting.clear();
    }
}

/// Writes what is to go out, in order, until the link or its owner is gone.
pub(super) async fn write_frames(
    mut target: OwnedWriteHalf,
    mut frames: mpsc::UnboundedReceiver<Bytes>,
    link: Arc<Link>,
) {
    while let Some(frame) = frames.recv().await {
        if let Err(error) = target.write_all(&frame).await {
            return link.close(&error.to_string());
        }
    }
}

/// Hands each answer to whoever waits for it.
pub(super) async fn read_answers(mut source: OwnedReadHalf, link: Arc<Link>) {
    let reason = loop {
        match read_frame(&mut source).await {
            Ok(frame) => {
                let correlation_id = (&frame[..4]).get_i32();
                match link.state().waiting.remove(&correlation_id) {
                    // Whoever asked may have gone; the answer is theirs to drop.
                    Some(answer) => drop(answer.send(frame)),
                    None => break format!("answer {correlation_id} was never asked for"),
                }
            }
            Err(reason) => break reason,
        }
    };
    link.close(&reason);
}

/// One answer without its length, header included: at least the correlation id.
async fn read_frame(source: &mut OwnedReadHalf) -> Result<Bytes, String> {
    let size = match source.read_i32().await {
        Ok(size) => usize::try_from(size).unwrap_or(0),
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            return Err("closed by the broker".to_owned());
        }
        Err(error) => return Err(error.to_string()),
    };
    if !(4..=ANSWER_BYTES_MAX).contains(&size) {
        return Err(format!("an answer of {size} bytes is outside 4..={ANSWER_BYTES_MAX}"));
    }
    // Grows with what arrives, not with what was announced.
    let mut frame = BytesMut::with_capacity(size.min(1 << 20));
    while frame.len() < size {
        let left = size - frame.len();
        let read = (&mut *source).take(left as u64).read_buf(&mut frame).await;
        match read {
            Ok(0) => return Err("closed by the broker within an answer".to_owned()),
            Ok(_) => {}
            Err(error) => return Err(error.to_string()),
        }
    }
    Ok(frame.freeze())
}
