//! A TCP connection that can be left unwatched: incoming bytes wake no task until a reader waits again.
//!
//! An event loop wakes for every segment of a watched socket, even if no task wants to read: a thousand times per
//! second for a thousand small messages. So the watch can be removed, and is set again by the next task that waits for
//! the socket. Writing still works meanwhile: an acknowledgement has room in the kernel's buffer.

use std::io::{self, Write};
use std::net::{self, Shutdown};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// See the module.
#[derive(Debug)]
pub(crate) enum Socket {
    Watched(TcpStream),
    Left(net::TcpStream),
    /// The event loop could not take it up again, which reading or writing said, or could not let go of it.
    Lost,
}

impl Socket {
    /// Until it is read again, what comes in wakes nobody.
    pub(crate) fn leave(&mut self) {
        *self = match std::mem::replace(self, Socket::Lost) {
            Socket::Watched(stream) => stream.into_std().map_or(Socket::Lost, Socket::Left),
            other => other,
        };
    }

    /// Has the kernel acknowledge at once what was received: a sender whose kernel holds small packets back until then
    /// (Nagle's algorithm) sends the rest of a burst.
    pub(crate) fn acknowledge_segments(&self) {
        #[cfg(target_os = "linux")]
        if let Socket::Watched(stream) = self {
            // Without it the rest comes later.
            let _ = stream.set_quickack(true);
        }
    }

    fn watched(&mut self) -> io::Result<Pin<&mut TcpStream>> {
        if !matches!(self, Socket::Watched(_)) {
            *self = match std::mem::replace(self, Socket::Lost) {
                Socket::Left(stream) => Socket::Watched(TcpStream::from_std(stream)?),
                other => other,
            };
        }
        match self {
            Socket::Watched(stream) => Ok(Pin::new(stream)),
            Socket::Left(_) | Socket::Lost => Err(io::ErrorKind::NotConnected.into()),
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.watched()?.poll_read(cx, buf)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if let Socket::Left(stream) = &mut *self {
            match stream.write(buf) {
                // No room: this is to be waited for.
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
                written => return Poll::Ready(written),
            }
        }
        self.watched()?.poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Nothing is held back here.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &*self {
            Socket::Left(stream) => Poll::Ready(stream.shutdown(Shutdown::Write)),
            _ => self.watched()?.poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    async fn pair() -> (Socket, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (Socket::Watched(stream), listener.accept().await.unwrap().0)
    }

    #[tokio::test]
    async fn what_came_while_the_socket_was_left_is_read_later_whole_and_in_order() {
        let (mut socket, mut peer) = pair().await;
        let mut read = [0; 64];
        for round in 0..3 {
            peer.write_all(b"one ").await.unwrap();
            assert_eq!(socket.read(&mut read).await.unwrap(), 4, "round {round}");
            socket.leave();
            peer.write_all(b"two ").await.unwrap();
            peer.write_all(b"three").await.unwrap();
            // Writing goes on meanwhile.
            socket.write_all(b"answer").await.unwrap();
            let mut answer = [0; 6];
            peer.read_exact(&mut answer).await.unwrap();
            socket.leave();
            let mut rest = [0; 9];
            socket.read_exact(&mut rest).await.unwrap();
            assert_eq!(&rest, b"two three", "round {round}");
        }
    }

    #[tokio::test]
    async fn the_end_of_a_connection_that_was_left_is_read_as_well() {
        let (mut socket, peer) = pair().await;
        socket.leave();
        drop(peer);
        assert_eq!(socket.read(&mut [0; 8]).await.unwrap(), 0);
        socket.shutdown().await.unwrap();
    }

    #[tokio::test]
    async fn more_than_the_kernel_holds_is_written_and_read() {
        let (mut socket, mut peer) = pair().await;
        socket.leave();
        let sent: Vec<u8> = (0..20_000_000_u32).map(|n| (n % 251) as u8).collect();
        let echo = tokio::spawn(async move {
            let (mut from, mut to) = peer.split();
            tokio::io::copy(&mut from, &mut to).await.unwrap();
        });
        let (mut reading, mut writing) = tokio::io::split(&mut socket);
        let mut got = vec![0; sent.len()];
        let (written, read) = tokio::join!(writing.write_all(&sent), reading.read_exact(&mut got));
        written.unwrap();
        read.unwrap();
        assert!(got == sent);
        socket.shutdown().await.unwrap();
        echo.await.unwrap();
    }
}
