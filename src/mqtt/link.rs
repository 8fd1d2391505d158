//! A connection: the transport, its read buffer, and the bytes that wait to be written.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::Instant;

use super::inbox::Inbox;
use super::transport::Transport;

/// Unwritten bytes past which nothing is read: a broker that sends but does not read cannot make us grow.
const UNWRITTEN_BYTES_MAX: usize = 256 * 1024;

/// The read size for bytes that are discarded.
const LINGER_BYTES: usize = 4096;

/// A connection to the broker, able to read and write at once without splitting or locking.
pub(crate) struct Link {
    transport: Transport,
    pub(crate) inbox: Inbox,
    /// Append packets here; [`Link::exchange`] writes them, all in one go.
    pub(crate) out: BytesMut,
    unflushed: bool,
    /// When bytes last went out.
    pub(crate) last_sent: Instant,
    /// When bytes last came in.
    pub(crate) last_heard: Instant,
}

impl Link {
    pub(crate) fn new(transport: Transport, packet_bytes_max: u32) -> Link {
        let now = Instant::now();
        Link {
            transport,
            inbox: Inbox::new(packet_bytes_max),
            out: BytesMut::new(),
            unflushed: false,
            last_sent: now,
            last_heard: now,
        }
    }

    /// Whether so much is unwritten that reading should wait.
    pub(crate) fn is_clogged(&self) -> bool {
        self.out.len() > UNWRITTEN_BYTES_MAX
    }

    /// Has the kernel acknowledge at once what was received: a sender whose kernel holds small packets back until then
    /// (Nagle's algorithm) sends the rest of a burst.
    pub(crate) fn acknowledge_segments(&mut self) {
        if let Some(socket) = self.transport.tcp() {
            socket.acknowledge_segments();
        }
    }

    /// Until something is to be read again, what comes in wakes nobody.
    pub(crate) fn leave_unread(&mut self) {
        if let Some(socket) = self.transport.tcp() {
            socket.leave();
        }
    }

    /// Writes what is waiting and, if `read`, returns as soon as something was read into the inbox. Without `read` it
    /// returns only with an error. Cancel-safe. The end of the stream is an error of kind `UnexpectedEof`.
    pub(crate) async fn exchange(&mut self, read: bool) -> io::Result<()> {
        poll_fn(|cx| {
            // Writing goes first: acknowledgements are what makes the broker send more.
            if let Poll::Ready(Err(error)) = self.poll_write_out(cx) {
                return Poll::Ready(Err(error));
            }
            if read { self.poll_read_in(cx) } else { Poll::Pending }
        })
        .await
    }

    /// As [`Link::exchange`], but returns as well as soon as all that was waiting is written, if anything was.
    pub(crate) async fn exchange_or_drain(&mut self, read: bool) -> io::Result<()> {
        let was_waiting = !self.out.is_empty();
        poll_fn(|cx| match self.poll_write_out(cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Ready(Ok(())) if was_waiting => Poll::Ready(Ok(())),
            _ if read => self.poll_read_in(cx),
            _ => Poll::Pending,
        })
        .await
    }

    /// Writes all that is waiting and says that no more will come.
    pub(crate) async fn close(&mut self) -> io::Result<()> {
        poll_fn(|cx| self.poll_write_out(cx)).await?;
        self.transport.shutdown().await
    }

    /// After [`Link::close`]: takes no notice of what the broker had sent, until it closes as well. A socket that is closed
    /// with something unread resets the connection, and a broker may then miss the acknowledgements before the farewell.
    pub(crate) async fn linger(&mut self) {
        let mut unread = [0; LINGER_BYTES];
        while matches!(self.transport.read(&mut unread).await, Ok(len) if len > 0) {}
    }

    fn poll_write_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.out.is_empty() {
            crash_point!("source.half_sent", {
                let half = self.out.len() / 2;
                let written = Pin::new(&mut self.transport).poll_write(cx, &self.out[..half]);
                (written, Pin::new(&mut self.transport).poll_flush(cx))
            });
            let written = ready!(Pin::new(&mut self.transport).poll_write(cx, &self.out))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.out.advance(written);
            self.unflushed = true;
            self.last_sent = Instant::now();
        }
        if self.unflushed {
            ready!(Pin::new(&mut self.transport).poll_flush(cx))?;
            self.unflushed = false;
            crash_point!("source.sent");
        }
        Poll::Ready(Ok(()))
    }

    fn poll_read_in(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut buf = ReadBuf::new(self.inbox.space());
        ready!(Pin::new(&mut self.transport).poll_read(cx, &mut buf))?;
        let len = buf.filled().len();
        if len == 0 {
            return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
        }
        self.inbox.filled(len);
        self.last_heard = Instant::now();
        Poll::Ready(Ok(()))
    }
}
