//! The network between the bridge and the broker: bytes in memory, which arrive when the script says so.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::mqtt::socket::Socket;
use crate::mqtt::transport::ByteStream;

/// Connections on their way to the broker.
#[derive(Default)]
pub(super) struct Network {
    state: Mutex<Listening>,
}

#[derive(Default)]
struct Listening {
    refuses: bool,
    opened: VecDeque<Arc<Wire>>,
}

impl Network {
    pub(super) fn connect(&self) -> io::Result<Link> {
        let mut state = self.state.lock().unwrap();
        if state.refuses {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        let wire = Arc::new(Wire::default());
        state.opened.push_back(Arc::clone(&wire));
        Ok(Link { wire })
    }

    pub(super) fn set_refuses(&self, refuses: bool) {
        self.state.lock().unwrap().refuses = refuses;
    }

    /// The newest connection that the broker has not met.
    pub(super) fn accept(&self) -> Option<Arc<Wire>> {
        self.state.lock().unwrap().opened.drain(..).next_back()
    }
}

/// One connection, between its ends.
#[derive(Default)]
pub(super) struct Wire {
    state: Mutex<Bytes>,
}

#[derive(Default)]
struct Bytes {
    /// Arrived at the bridge.
    to_bridge: VecDeque<u8>,
    /// Written by the bridge, not read by the broker.
    to_broker: VecDeque<u8>,
    ended: Option<End>,
    /// The bridge's end is closed or gone.
    is_left: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

/// How a connection ends for the bridge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Closed,
    Reset,
    /// Nothing comes any more, and what is written goes nowhere.
    Silent,
}

/// What a socket's buffer takes.
const UNREAD_MAX: usize = 400;

impl Wire {
    fn lock(&self) -> MutexGuard<'_, Bytes> {
        self.state.lock().unwrap()
    }

    /// Bytes arrive at the bridge.
    pub(super) fn arrive(&self, bytes: impl Iterator<Item = u8>) {
        let mut state = self.lock();
        state.to_bridge.extend(bytes);
        state.reader.take().into_iter().for_each(Waker::wake);
    }

    /// At most `max` bytes that the bridge wrote arrive at the broker.
    pub(super) fn read(&self, max: usize) -> Vec<u8> {
        let mut state = self.lock();
        let len = max.min(state.to_broker.len());
        let bytes = state.to_broker.drain(..len).collect();
        state.writer.take().into_iter().for_each(Waker::wake);
        bytes
    }

    pub(super) fn unread(&self) -> usize {
        self.lock().to_broker.len()
    }

    pub(super) fn is_left(&self) -> bool {
        self.lock().is_left
    }

    /// The bridge hears of it after what has arrived.
    pub(super) fn end(&self, end: End) {
        let mut state = self.lock();
        state.ended.get_or_insert(end);
        state.reader.take().into_iter().for_each(Waker::wake);
        state.writer.take().into_iter().for_each(Waker::wake);
    }
}

/// The bridge's end.
pub(crate) struct Link {
    wire: Arc<Wire>,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.wire.lock().is_left = true;
    }
}

impl ByteStream for Link {
    fn tcp(&mut self) -> Option<&mut Socket> {
        None
    }
}

impl AsyncRead for Link {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut state = self.wire.lock();
        if state.to_bridge.is_empty() {
            return match state.ended {
                Some(End::Closed) => Poll::Ready(Ok(())),
                Some(End::Reset) => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
                Some(End::Silent) | None => {
                    state.reader = Some(cx.waker().clone());
                    Poll::Pending
                }
            };
        }
        let len = buf.remaining().min(state.to_bridge.len());
        state.to_bridge.drain(..len).for_each(|byte| buf.put_slice(&[byte]));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Link {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut state = self.wire.lock();
        match state.ended {
            Some(End::Silent) => return Poll::Ready(Ok(bytes.len())),
            Some(_) => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            None => {}
        }
        let len = bytes.len().min(UNREAD_MAX.saturating_sub(state.to_broker.len()));
        if len == 0 {
            state.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        state.to_broker.extend(&bytes[..len]);
        Poll::Ready(Ok(len))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.wire.lock().is_left = true;
        Poll::Ready(Ok(()))
    }
}
