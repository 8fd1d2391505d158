//! A connected stream of bytes to one of the broker's addresses: TCP, TLS or WebSocket.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use rustls::pki_types::ServerName;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::sleep;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::tungstenite;

use super::socket::Socket;
use super::tls::{self, TlsSetupError};
use super::websocket::WebSocket;
use crate::config::{self, MqttUrl, Scheme};
use crate::remedy;

/// An address of the broker's host that has not answered for so long is not waited for alone.
const NEXT_ADDRESS_AFTER: Duration = Duration::from_millis(250);

/// What a session runs on.
pub(crate) trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin + 'static {
    /// The connection below; `None` in a simulation.
    fn tcp(&mut self) -> Option<&mut Socket>;
}

impl ByteStream for Socket {
    fn tcp(&mut self) -> Option<&mut Socket> {
        Some(self)
    }
}

impl ByteStream for TlsStream<Socket> {
    fn tcp(&mut self) -> Option<&mut Socket> {
        Some(self.get_mut().0)
    }
}

impl<S: ByteStream> ByteStream for WebSocket<S> {
    fn tcp(&mut self) -> Option<&mut Socket> {
        self.below().tcp()
    }
}

pub(crate) type Transport = Box<dyn ByteStream>;

/// Why there is no stream to the broker.
#[derive(Debug, Error)]
pub(crate) enum TransportError {
    #[error("cannot connect: {}{}", .0, tcp_advice(.0))]
    Tcp(io::Error),
    #[error(transparent)]
    TlsSetup(#[from] TlsSetupError),
    #[error("{0:?} is not a host name that TLS can check")]
    HostName(String),
    #[error("the TLS handshake failed: {source}{}", tls_advice(.source))]
    Tls { source: io::Error },
    #[error("the WebSocket handshake failed: {0}; check the path in mqtt.url")]
    WebSocket(Box<tungstenite::Error>),
}

/// Connects to `url`. Without a limit of time: the caller has one for this and CONNACK together.
pub(crate) async fn open(url: &MqttUrl, config: &config::Mqtt) -> Result<Transport, TransportError> {
    #[cfg(test)]
    if let Some(link) = crate::simulation::seams::open_link() {
        return link.map(|link| Box::new(link) as Transport).map_err(TransportError::Tcp);
    }
    let addresses = lookup_host((url.host.as_str(), url.port)).await.map_err(TransportError::Tcp)?;
    let tcp = connect(addresses.collect()).await.map_err(TransportError::Tcp)?;
    // An acknowledgement is four bytes: waiting for more to fill a segment would only delay it.
    tcp.set_nodelay(true).map_err(TransportError::Tcp)?;
    let tcp = Socket::Watched(tcp);
    match url.scheme {
        Scheme::Mqtt => Ok(Box::new(tcp)),
        Scheme::Mqtts => Ok(Box::new(encrypt(url, config, tcp).await?)),
        Scheme::Ws => upgrade(url, tcp).await,
        Scheme::Wss => upgrade(url, encrypt(url, config, tcp).await?).await,
    }
}

/// Connects to one of a host's addresses: the next is tried too when one has failed, or has not answered for a while (as in
/// RFC 8305). An address that answers nothing would use up the time of the others.
async fn connect(addresses: Vec<SocketAddr>) -> io::Result<TcpStream> {
    let mut addresses = addresses.into_iter();
    let mut attempts = FuturesUnordered::new();
    let mut failed = None;
    loop {
        attempts.extend(addresses.next().map(TcpStream::connect));
        tokio::select! {
            connected = attempts.next() => match connected {
                Some(Ok(tcp)) => return Ok(tcp),
                Some(Err(error)) => _ = failed.get_or_insert(error),
                None => break,
            },
            () = sleep(NEXT_ADDRESS_AFTER), if addresses.len() > 0 => {}
        }
    }
    Err(failed.unwrap_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the host's name has no address")))
}

async fn encrypt(url: &MqttUrl, config: &config::Mqtt, tcp: Socket) -> Result<TlsStream<Socket>, TransportError> {
    let settings = config.tls.clone();
    let tls = tokio::task::spawn_blocking(move || tls::client_config(&settings))
        .await
        .map_err(|error| TransportError::Tls { source: io::Error::other(error) })??;
    let name = ServerName::try_from(url.host.clone()).map_err(|_| TransportError::HostName(url.host.clone()))?;
    TlsConnector::from(Arc::new(tls)).connect(name, tcp).await.map_err(|source| TransportError::Tls { source })
}

async fn upgrade<S: ByteStream>(url: &MqttUrl, stream: S) -> Result<Transport, TransportError> {
    let address = url.expose();
    let socket = WebSocket::open(&address, stream);
    // The handshake's future holds its request and reply: too large for the session's stack.
    let socket = Box::pin(socket).await.map_err(|error| TransportError::WebSocket(Box::new(error)))?;
    Ok(Box::new(socket))
}

/// The most frequent causes of a failed handshake.
fn tls_advice(error: &io::Error) -> String {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    tls.and_then(crate::tls::advice).map_or(String::new(), |advice| format!("; {advice} (mqtt.tls)"))
}

fn tcp_advice(error: &io::Error) -> String {
    remedy::of_descriptors(error).map_or(String::new(), |remedy| format!("; {remedy}"))
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};

    use super::*;

    /// A listener that takes no connection any more: those that come are not even refused.
    fn hole() -> (TcpListener, Vec<std::net::TcpStream>, SocketAddr) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        rustix::net::listen(&listener, 0).unwrap();
        let address = listener.local_addr().unwrap();
        let wait = Duration::from_millis(100);
        let mut waiting = Vec::new();
        while let Ok(connection) = std::net::TcpStream::connect_timeout(&address, wait) {
            waiting.push(connection);
        }
        (listener, waiting, address)
    }

    #[tokio::test]
    async fn an_address_that_answers_nothing_and_one_that_refuses_do_not_hold_up_the_next() {
        let (_listener, _waiting, hole) = hole();
        let open = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let open = open.local_addr().map(|address| (open, address)).unwrap();
        let closed = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
        // The kernel gives an address up after two minutes.
        let limit = Duration::from_secs(60);
        let connected = tokio::time::timeout(limit, connect(vec![hole, closed, open.1])).await.unwrap().unwrap();
        assert_eq!(connected.peer_addr().unwrap(), open.1);
        let refused = tokio::time::timeout(limit, connect(vec![closed])).await.unwrap().unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        assert_eq!(connect(Vec::new()).await.unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
