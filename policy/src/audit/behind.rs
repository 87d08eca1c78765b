//! Writing behind: lines go to a thread that writes them, and the guest does not wait.
//!
//! What waits to be written is bounded: so many pieces of 64 KiB. When all are taken, the next
//! piece is dropped whole, so that what is written consists of whole lines, and its events are
//! counted.

use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::{self, JoinHandle};

use super::auditor::Sink;
use super::event::Event;
use super::json::{Header, JsonLines};

/// A sink that writes lines as [`JsonLines`] does, on a thread of its own, and drops what comes too
/// fast for it.
pub struct WriteBehind {
    lines: JsonLines<Pieces>,
}

/// The end at which pieces are handed over.
struct Pieces {
    to: Option<SyncSender<Order>>,
    thread: Option<JoinHandle<()>>,
    dropped: u64,
}

enum Order {
    Piece(Vec<u8>),
    Flush(SyncSender<io::Result<()>>),
}

impl WriteBehind {
    /// Writes to `out`; at most `pieces` of 64 KiB wait.
    ///
    /// Errors: no thread can be had.
    pub fn new(
        out: impl Write + Send + 'static,
        header: &Header<'_>,
        pieces: NonZeroUsize,
    ) -> io::Result<Self> {
        let (to, orders) = sync_channel(pieces.get());
        let name = "palisade-audit".to_owned();
        let thread = thread::Builder::new().name(name).spawn(move || write_all(out, &orders))?;
        let pieces = Pieces { to: Some(to), thread: Some(thread), dropped: 0 };
        Ok(WriteBehind { lines: JsonLines::new(pieces, header) })
    }
}

fn write_all(mut out: impl Write, orders: &Receiver<Order>) {
    let mut failed = None;
    for order in orders {
        match order {
            Order::Piece(piece) if failed.is_none() => failed = out.write_all(&piece).err(),
            Order::Piece(_) => {}
            Order::Flush(done) => {
                let answer = failed.take().map_or_else(|| out.flush(), Err);
                // Who asked may be gone.
                let _ = done.send(answer);
            }
        }
    }
}

impl Sink for WriteBehind {
    fn event(&mut self, event: &Event<'_>) -> io::Result<()> {
        self.lines.event(event)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.lines.flush()
    }

    fn dropped(&self) -> u64 {
        self.lines.out().dropped
    }
}

impl Write for Pieces {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        let Some(to) = &self.to else { return Err(io::ErrorKind::BrokenPipe.into()) };
        match to.try_send(Order::Piece(piece.to_vec())) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => {
                self.dropped += piece.iter().filter(|byte| **byte == b'\n').count() as u64;
            }
            Err(TrySendError::Disconnected(_)) => return Err(io::ErrorKind::BrokenPipe.into()),
        }
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let Some(to) = &self.to else { return Err(io::ErrorKind::BrokenPipe.into()) };
        let (done, answer) = sync_channel(1);
        let gone = |_| io::Error::from(io::ErrorKind::BrokenPipe);
        to.send(Order::Flush(done)).map_err(gone)?;
        answer.recv().map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?
    }
}

impl Drop for Pieces {
    fn drop(&mut self) {
        self.to = None;
        if let Some(thread) = self.thread.take() {
            // It only writes, and has told its errors when it was flushed.
            let _ = thread.join();
        }
    }
}
