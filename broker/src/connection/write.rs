//! Writing chunks to a socket, many at once, as far as it takes them.

use std::collections::VecDeque;
use std::io::{self, IoSlice};

use bytes::{Buf, Bytes};
use tokio::net::TcpStream;

/// Chunks in one vectored write.
const WRITE_CHUNKS: usize = 64;

/// Writes all of them.
pub(super) async fn write_chunks(stream: &TcpStream, out: &mut VecDeque<Bytes>) -> io::Result<()> {
    while !out.is_empty() {
        let mut slices = [IoSlice::new(&[]); WRITE_CHUNKS];
        let count = out.len().min(WRITE_CHUNKS);
        for (slice, chunk) in slices.iter_mut().zip(out.iter()) {
            *slice = IoSlice::new(chunk);
        }
        match stream.try_write_vectored(&slices[..count]) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => advance(out, written),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => stream.writable().await?,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Drops what was written.
fn advance(out: &mut VecDeque<Bytes>, mut written: usize) {
    while let Some(first) = out.front_mut() {
        if written < first.len() {
            first.advance(written);
            return;
        }
        written -= first.len();
        out.pop_front();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partial_write_goes_on_where_it_stopped() {
        let mut out = VecDeque::from([Bytes::from("abc"), Bytes::new(), Bytes::from("def")]);
        advance(&mut out, 2);
        assert_eq!(out, ["c", "", "def"]);
        advance(&mut out, 2);
        assert_eq!(out, ["ef"]);
        advance(&mut out, 2);
        assert!(out.is_empty());
    }
}
