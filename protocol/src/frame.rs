//! Bytes in, whole frames out.
//!
//! A frame is a length of four bytes, big endian, and that many bytes. The length is only a promise:
//! the buffer grows with what arrived, never with what was announced.
use bytes::{Buf, Bytes, BytesMut};

/// Bytes of a frame's length.
pub const LENGTH_BYTES: usize = 4;
/// Room that is there for every read from the socket, at least.
const SPARE_BYTES_MIN: usize = 16 * 1024;
/// Room that a peer which sends large frames is given before the next one has begun.
const SPARE_BYTES_MAX: usize = 256 * 1024;

/// Why a connection cannot go on.
#[derive(Copy, Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// No frame is that short.
    #[error("a frame announces {announced} bytes")]
    Negative {
        /// What the length says.
        announced: i32,
    },
    /// More than the broker takes.
    #[error("a frame announces {announced} bytes, {bytes_max} are allowed")]
    TooLarge {
        /// What the length says.
        announced: usize,
        /// What is allowed.
        bytes_max: usize,
    },
}

/// The bytes of a connection that have arrived and are not yet a request.
#[derive(Debug)]
pub struct FrameBuffer {
    buffer: BytesMut,
    frame_bytes_max: usize,
    /// The largest frame that this peer really sent: so much room is made at once when the next
    /// one begins, which spares it the doublings.
    frame_bytes_seen: usize,
}

impl FrameBuffer {
    /// An empty buffer for frames of up to so many bytes.
    #[must_use]
    pub fn new(frame_bytes_max: usize) -> FrameBuffer {
        FrameBuffer { buffer: BytesMut::new(), frame_bytes_max, frame_bytes_seen: 0 }
    }

    /// From now on frames may have so many bytes.
    pub fn set_frame_bytes_max(&mut self, frame_bytes_max: usize) {
        self.frame_bytes_max = frame_bytes_max;
    }

    /// Where to read the socket into: there is room behind what it holds, which must stay.
    pub fn buffer(&mut self) -> &mut BytesMut {
        let held = self.buffer.len();
        let missing = match self.announced() {
            Ok(Some(announced)) => (LENGTH_BYTES + announced).saturating_sub(held),
            Ok(None) | Err(_) => 0,
        };
        let earned = held.max(self.frame_bytes_seen);
        let spare = self.frame_bytes_seen.clamp(SPARE_BYTES_MIN, SPARE_BYTES_MAX);
        self.buffer.reserve(missing.min(earned).max(spare));
        &mut self.buffer
    }

    /// Bytes that wait for the rest of their frame.
    #[must_use]
    pub fn pending_bytes(&self) -> usize {
        self.buffer.len()
    }

    /// The next whole frame without its length, if it has arrived.
    ///
    /// # Errors
    /// A length that is negative or too large: the connection is to be closed.
    pub fn next_frame(&mut self) -> Result<Option<Bytes>, FrameError> {
        let Some(announced) = self.announced()? else { return Ok(None) };
        if self.buffer.len() - LENGTH_BYTES < announced {
            return Ok(None);
        }
        self.frame_bytes_seen = self.frame_bytes_seen.max(announced);
        self.buffer.advance(LENGTH_BYTES);
        Ok(Some(self.buffer.split_to(announced).freeze()))
    }

    /// The bytes of the next frame, as far as its length has arrived.
    ///
    /// # Errors
    /// A length that is negative or too large: the connection is to be closed.
    pub fn announced(&self) -> Result<Option<usize>, FrameError> {
        let Some(length) = self.buffer.first_chunk::<LENGTH_BYTES>() else { return Ok(None) };
        let announced = i32::from_be_bytes(*length);
        let announced =
            usize::try_from(announced).map_err(|_| FrameError::Negative { announced })?;
        let bytes_max = self.frame_bytes_max;
        if announced > bytes_max {
            return Err(FrameError::TooLarge { announced, bytes_max });
        }
        Ok(Some(announced))
    }
}

#[cfg(test)]
mod tests {
    use bytes::BufMut;

    use super::*;

    fn frame(bytes: &[u8]) -> Vec<u8> {
        let mut frame = u32::try_from(bytes.len()).unwrap().to_be_bytes().to_vec();
        frame.extend_from_slice(bytes);
        frame
    }

    #[test]
    fn frames_come_out_whole_however_they_arrive() {
        let mut sent = frame(b"first");
        sent.extend(frame(b""));
        sent.extend(frame(&[7; 100_000]));
        sent.extend(frame(b"last"));
        for step in [1, 3, 1000, sent.len()] {
            let mut buffer = FrameBuffer::new(1 << 20);
            let mut frames = Vec::new();
            for part in sent.chunks(step) {
                buffer.buffer().put_slice(part);
                while let Some(frame) = buffer.next_frame().unwrap() {
                    frames.push(frame);
                }
            }
            assert_eq!(frames, [&b"first"[..], b"", &[7; 100_000], b"last"], "by {step}");
            assert_eq!(buffer.pending_bytes(), 0);
        }
    }

    #[test]
    fn a_promise_reserves_nothing() {
        let mut buffer = FrameBuffer::new(100 << 20);
        buffer.buffer().put_slice(&(100u32 << 20).to_be_bytes());
        buffer.buffer().put_slice(&[0; 1000]);
        assert_eq!(buffer.next_frame(), Ok(None));
        assert!(buffer.buffer().capacity() <= 64 * 1024);
    }

    #[test]
    fn a_peer_that_kept_a_promise_gets_room_for_the_next() {
        let mut buffer = FrameBuffer::new(1 << 20);
        buffer.buffer().put_slice(&frame(&[1; 500_000]));
        assert_eq!(buffer.next_frame().unwrap().unwrap().len(), 500_000);
        buffer.buffer().put_slice(&500_000u32.to_be_bytes());
        assert!(buffer.buffer().capacity() >= 500_000);
    }

    #[test]
    fn lengths_that_cannot_be_end_the_connection() {
        let mut buffer = FrameBuffer::new(10);
        buffer.buffer().put_slice(&11u32.to_be_bytes());
        let refused = FrameError::TooLarge { announced: 11, bytes_max: 10 };
        assert_eq!(buffer.next_frame(), Err(refused));
        let mut buffer = FrameBuffer::new(10);
        buffer.buffer().put_slice(&(-2i32).to_be_bytes());
        assert_eq!(buffer.next_frame(), Err(FrameError::Negative { announced: -2 }));
    }
}
