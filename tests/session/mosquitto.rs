//! Against a real Mosquitto, over every transport. Debian's has no WebSocket listener: the test stands one before it.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rowbridge::config::{MqttTls, Scheme};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};

use super::fake_broker::{BOTH, Version};
use super::source::{Client, eventually, url};
use crate::support::free_port;
use crate::support::mosquitto::{DEEP_QUEUE, Mosquitto};
use crate::support::publisher::{Load, client_id};

/// A certificate authority, and a certificate for 127.0.0.1 that also serves a client, in a folder.
fn certificates() -> TempDir {
    let folder = TempDir::new().unwrap();
    let authority_key = KeyPair::generate().unwrap();
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    // Under one name, OpenSSL would take the leaf for its own issuer.
    authority.distinguished_name.push(DnType::CommonName, "authority of a test");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority_pem = authority.self_signed(&authority_key).unwrap().pem();
    let issuer = Issuer::new(authority, authority_key);
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    for (name, text) in [("ca.pem", authority_pem), ("cert.pem", leaf.pem()), ("key.pem", key.serialize_pem())] {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

fn tls(certificates: &TempDir) -> MqttTls {
    let file = |name| Some(certificates.path().join(name));
    MqttTls { ca_file: file("ca.pem"), cert_file: file("cert.pem"), key_file: file("key.pem"), ..MqttTls::default() }
}

/// Sends 200 messages at QoS 2 and expects each once.
async fn assert_passes(client: &Client, broker: &Mosquitto) {
    let running = client.start();
    eventually("the subscription is granted", || {
        running.status().subscriptions.first().is_some_and(|known| known.qos_granted == Some(2))
    })
    .await;
    let load = Load::new(broker.port(), 2, 200).start();
    eventually("all is stored", || client.disk.messages().len() >= 200).await;
    eventually("all is acknowledged", || load.is_finished()).await;
    assert_each_once(client, 200);
    running.finish().await;
}

#[track_caller]
fn assert_each_once(client: &Client, count: usize) {
    let mut seen: HashMap<Vec<u8>, usize> = HashMap::new();
    for message in client.disk.messages() {
        *seen.entry(message.payload).or_default() += 1;
    }
    assert_eq!(seen.len(), count, "messages lost");
    let repeated: Vec<_> = seen.iter().filter(|(_, times)| **times > 1).collect();
    assert!(repeated.is_empty(), "stored more than once: {repeated:?}");
}

fn client(version: Version, scheme: Scheme, port: u16) -> Client {
    let mut client = Client::new(version, port).subscribing_to(&["sensors/#"]);
    client.config.urls = vec![url(scheme, port)];
    // Mosquitto repeats QoS 2 messages of a session now and then: the next client, with a disk of its own, must not be
    // the one to get them.
    client.config.client_id = client_id("session");
    client
}

#[tokio::test]
async fn messages_pass_over_tcp_and_over_tls_with_a_client_certificate() {
    let certificates = certificates();
    let folder = certificates.path().display();
    let port = free_port();
    let broker = Mosquitto::with(&format!(
        "listener {port} 127.0.0.1\ncafile {folder}/ca.pem\ncertfile {folder}/cert.pem\nkeyfile {folder}/key.pem\n\
         require_certificate true\n"
    ));
    for version in BOTH {
        assert_passes(&client(version, Scheme::Mqtt, broker.port()), &broker).await;
        let mut secure = client(version, Scheme::Mqtts, port);
        secure.config.tls = tls(&certificates);
        assert_passes(&secure, &broker).await;

        let mut trusting = client(version, Scheme::Mqtts, port);
        trusting.config.tls = MqttTls { ca_file: None, insecure_skip_verify: true, ..tls(&certificates) };
        assert_passes(&trusting, &broker).await;
    }
}

#[tokio::test]
async fn a_certificate_nobody_vouches_for_is_refused_with_the_remedy() {
    let certificates = certificates();
    let folder = certificates.path().display();
    let port = free_port();
    let _broker =
        Mosquitto::with(&format!("listener {port} 127.0.0.1\ncertfile {folder}/cert.pem\nkeyfile {folder}/key.pem\n"));
    let mut stranger = client(Version::V5, Scheme::Mqtts, port);
    let other = self::certificates();
    stranger.config.tls.ca_file = Some(other.path().join("ca.pem"));
    let running = stranger.start();
    eventually("the refusal is shown", || running.status().last_error.is_some()).await;
    let error = running.status().last_error.unwrap();
    assert!(error.contains("TLS handshake") && !running.status().connected, "{error}");
    running.finish().await;

    let mut missing = client(Version::V5, Scheme::Mqtts, port);
    missing.config.tls.ca_file = Some("no/such/file.pem".into());
    let running = missing.start();
    eventually("the missing file is named", || running.status().last_error.is_some()).await;
    let error = running.status().last_error.unwrap();
    assert!(error.contains("mqtt.tls.ca_file no/such/file.pem"), "{error}");
    running.finish().await;
}

#[tokio::test]
async fn messages_pass_over_websockets() {
    let certificates = certificates();
    let broker = Mosquitto::start();
    let plain = gateway(broker.port(), None).await;
    let secure = gateway(broker.port(), Some(acceptor(&certificates))).await;
    for version in BOTH {
        assert_passes(&client(version, Scheme::Ws, plain), &broker).await;
        let mut over_tls = client(version, Scheme::Wss, secure);
        over_tls.config.tls.ca_file = Some(certificates.path().join("ca.pem"));
        assert_passes(&over_tls, &broker).await;
    }
}

#[tokio::test]
async fn qos_2_is_once_over_many_kills() {
    for version in BOTH {
        let broker = Mosquitto::with(DEEP_QUEUE);
        let client = client(version, Scheme::Mqtt, broker.port());
        let running = client.start();
        eventually("the subscription is stored", || client.is_confirmed()).await;
        running.kill().await;
        let disk = client.disk.clone();
        let load = Load::new(broker.port(), 2, 3000).paced_by(200, move || disk.messages().len() as u64).start();
        for round in 0..25u64 {
            let running = client.start();
            tokio::time::sleep(Duration::from_millis(20 + round * 7 % 90)).await;
            running.kill().await;
        }
        let running = client.start();
        eventually("all is stored", || client.disk.messages().len() >= 3000).await;
        eventually("all is acknowledged", || load.is_finished()).await;
        running.finish().await;
        assert_each_once(&client, 3000);
    }
}

fn acceptor(certificates: &TempDir) -> TlsAcceptor {
    let file = |name| certificates.path().join(name);
    let chain: Vec<_> = CertificateDer::pem_file_iter(file("cert.pem")).unwrap().map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_file(file("key.pem")).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

/// A WebSocket listener that passes everything on to `port` over TCP; returns its own port.
async fn gateway(port: u16, tls: Option<TlsAcceptor>) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let own_port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let tls = tls.clone();
            tokio::spawn(async move {
                match tls {
                    None => pass_on(stream, port).await,
                    Some(tls) => pass_on(tls.accept(stream).await.unwrap(), port).await,
                }
            });
        }
    });
    own_port
}

async fn pass_on<S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin>(stream: S, port: u16) {
    #[allow(clippy::result_large_err, reason = "the library's own signature")]
    let check = |request: &Request, mut response: Response| {
        assert_eq!(request.uri().path(), "/mqtt");
        assert_eq!(request.headers()["Sec-WebSocket-Protocol"], "mqtt");
        response.headers_mut().insert("Sec-WebSocket-Protocol", "mqtt".parse().unwrap());
        Ok(response)
    };
    let mut socket = tokio_tungstenite::accept_hdr_async(stream, check).await.unwrap();
    let mut broker = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap();
    // A message of the WebSocket holds any part of a packet, or several: odd sizes show it.
    let mut buffer = [0; 333];
    loop {
        tokio::select! {
            read = broker.read(&mut buffer) => match read {
                Ok(len) if len > 0 => {
                    if socket.send(Message::binary(buffer[..len].to_vec())).await.is_err() {
                        return;
                    }
                }
                _ => return,
            },
            message = socket.next() => match message {
                Some(Ok(Message::Binary(bytes))) => broker.write_all(&bytes).await.unwrap(),
                Some(Ok(_)) => {}
                _ => return,
            },
        }
    }
}
