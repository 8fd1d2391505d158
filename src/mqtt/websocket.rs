//! MQTT over WebSocket: the binary messages of a WebSocket as a stream of bytes.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use futures_util::{Sink, Stream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self, Message};

use super::transport::ByteStream;

/// A WebSocket message may hold several MQTT packets or a part of one, and is buffered whole. Twice the largest packet of
/// MQTT: a limit below that would end every connection at the same packet, for ever.
const MESSAGE_BYTES_MAX: usize = 512 * 1024 * 1024;

/// A WebSocket that speaks the subprotocol `mqtt`.
pub(crate) struct WebSocket<S> {
    inner: WebSocketStream<S>,
    /// What is left of the message last received.
    received: Bytes,
}

impl<S: ByteStream> WebSocket<S> {
    /// Performs the opening handshake for `url` on a connected stream.
    pub(crate) async fn open(url: &str, stream: S) -> Result<WebSocket<S>, tungstenite::Error> {
        let mut request = url.into_client_request()?;
        request.headers_mut().insert("Sec-WebSocket-Protocol", HeaderValue::from_static("mqtt"));
        let config = WebSocketConfig::default()
            .max_message_size(Some(MESSAGE_BYTES_MAX))
            .max_frame_size(Some(MESSAGE_BYTES_MAX));
        let (inner, _) = tokio_tungstenite::client_async_with_config(request, stream, Some(config)).await?;
        Ok(WebSocket { inner, received: Bytes::new() })
    }
}

impl<S: ByteStream> WebSocket<S> {
    /// The stream that it runs on.
    pub(super) fn below(&mut self) -> &mut S {
        self.inner.get_mut()
    }
}

impl<S: ByteStream> AsyncRead for WebSocket<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        // Several messages may be waiting: take as many as fit, so that one wake-up handles them all.
        while buf.remaining() > 0 {
            if self.received.is_empty() {
                match Pin::new(&mut self.inner).poll_next(cx) {
                    Poll::Ready(Some(Ok(Message::Binary(bytes)))) => self.received = bytes,
                    Poll::Ready(Some(Ok(Message::Text(_)))) => {
                        return Poll::Ready(Err(io::Error::other("the broker sent text over the WebSocket")));
                    }
                    // Pings are answered by the library; after a Close there is nothing more.
                    Poll::Ready(Some(Ok(_))) => {}
                    Poll::Ready(Some(Err(error))) if buf.filled().is_empty() => {
                        return Poll::Ready(Err(into_io(error)));
                    }
                    Poll::Pending if buf.filled().is_empty() => return Poll::Pending,
                    // The end, or an error that the next poll turns into the end: first hand out what there is.
                    Poll::Ready(None | Some(Err(_))) | Poll::Pending => return Poll::Ready(Ok(())),
                }
            }
            let len = self.received.len().min(buf.remaining());
            buf.put_slice(&self.received[..len]);
            self.received.advance(len);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: ByteStream> AsyncWrite for WebSocket<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        ready!(Pin::new(&mut self.inner).poll_ready(cx)).map_err(into_io)?;
        Pin::new(&mut self.inner).start_send(Message::Binary(Bytes::copy_from_slice(buf))).map_err(into_io)?;
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx).map_err(into_io)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_close(cx).map_err(into_io)
    }
}

fn into_io(error: tungstenite::Error) -> io::Error {
    match error {
        tungstenite::Error::Io(error) => error,
        other => io::Error::other(other),
    }
}
