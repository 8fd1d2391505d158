//! A broker that misbehaves on command: the test writes its half of the conversation, byte by byte.
//!
//! It knows no sessions and no topics. A test accepts a connection as a [`Peer`] and says what goes over it: withhold,
//! repeat or reorder packets, refuse filters, lie about the session, cut the line at any byte.

use std::io;
use std::net::Ipv4Addr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

/// Long enough for anything on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    V3,
    V5,
}

pub(crate) const BOTH: [Version; 2] = [Version::V3, Version::V5];

/// Listens on a loopback port.
pub(crate) struct FakeBroker {
    listener: TcpListener,
}

/// One client, connected.
pub(crate) struct Peer {
    stream: TcpStream,
    unread: Vec<u8>,
    pub(crate) version: Version,
}

/// A packet of the client's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Packet {
    pub(crate) first: u8,
    pub(crate) body: Vec<u8>,
}

/// What a SUBSCRIBE asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Subscribe {
    pub(crate) packet_id: u16,
    pub(crate) filters: Vec<String>,
    pub(crate) identifier: Option<u32>,
    pub(crate) user_properties: Vec<(String, String)>,
}

impl FakeBroker {
    pub(crate) async fn start() -> FakeBroker {
        FakeBroker { listener: TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap() }
    }

    pub(crate) fn port(&self) -> u16 {
        self.listener.local_addr().unwrap().port()
    }

    /// Takes the next connection and reads its CONNECT.
    pub(crate) async fn accept(&self) -> Peer {
        self.accept_with_connect().await.0
    }

    /// The next client's CONNECT.
    pub(crate) async fn accept_connect(&self) -> Packet {
        self.accept_with_connect().await.1
    }

    /// Takes the next connection and reads nothing of it.
    pub(crate) async fn connection(&self) -> Peer {
        let (stream, _) = timeout(PATIENCE, self.listener.accept()).await.expect("a client connects").unwrap();
        stream.set_nodelay(true).unwrap();
        Peer { stream, unread: Vec::new(), version: Version::V3 }
    }

    async fn accept_with_connect(&self) -> (Peer, Packet) {
        let mut peer = self.connection().await;
        let connect = peer.expect(0x10).await;
        peer.version = if connect.body[6] == 5 { Version::V5 } else { Version::V3 };
        (peer, connect)
    }

    /// Whether nobody connects for so long.
    pub(crate) async fn is_left_alone(&self, how_long: Duration) -> bool {
        timeout(how_long, self.listener.accept()).await.is_err()
    }

    /// Takes the next connection, accepts the session, grants every filter.
    pub(crate) async fn welcome(&self, session_present: bool) -> Peer {
        let mut peer = self.accept().await;
        peer.send(&connack(peer.version, session_present)).await;
        if !session_present {
            peer.grant().await;
        }
        peer
    }
}

impl Peer {
    /// Sends bytes. A client that has gone is no failure: a test that cuts the line expects it.
    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        let _ = timeout(PATIENCE, self.stream.write_all(bytes)).await.expect("the client reads");
    }

    /// How many of `bytes` the client lets us send within `how_long`.
    pub(crate) async fn send_for(&mut self, bytes: &[u8], how_long: Duration) -> usize {
        let mut sent = 0;
        let _ = timeout(how_long, async {
            while sent < bytes.len() {
                sent += self.stream.write(&bytes[sent..]).await.unwrap();
            }
        })
        .await;
        sent
    }

    /// The client's next packet; `None` at the end of the connection.
    pub(crate) async fn receive(&mut self) -> Option<Packet> {
        timeout(PATIENCE, self.next()).await.expect("the client sends something").unwrap()
    }

    /// The client's next packet, however long it takes; `None` at the end of the connection. Cancel-safe.
    pub(crate) async fn receive_at_leisure(&mut self) -> Option<Packet> {
        self.next().await.unwrap_or(None)
    }

    /// The next packet, which must begin with this byte.
    #[track_caller]
    pub(crate) fn expect(&mut self, first: u8) -> impl Future<Output = Packet> + '_ {
        let caller = std::panic::Location::caller();
        async move {
            let packet = self.receive().await;
            match packet {
                Some(packet) if packet.first == first => packet,
                other => panic!("{caller}: 0x{first:02X} expected, but {other:02X?} came"),
            }
        }
    }

    /// The connection ends, and nothing more comes before.
    #[track_caller]
    pub(crate) fn expect_end(&mut self) -> impl Future<Output = ()> + '_ {
        let caller = std::panic::Location::caller();
        async move {
            let packet = self.receive().await;
            assert!(packet.is_none(), "{caller}: the end expected, but {packet:02X?} came");
        }
    }

    /// Nothing comes for so long.
    #[track_caller]
    pub(crate) fn expect_silence(&mut self, how_long: Duration) -> impl Future<Output = ()> + '_ {
        let caller = std::panic::Location::caller();
        async move {
            if let Ok(packet) = timeout(how_long, self.next()).await {
                panic!("{caller}: silence expected, but {packet:02X?} came");
            }
        }
    }

    /// The next packet, which must be a SUBSCRIBE.
    pub(crate) async fn subscribe(&mut self) -> Subscribe {
        let packet = self.expect(0x82).await;
        Subscribe::read(self.version, &packet)
    }

    /// Answers the next SUBSCRIBE with QoS 2 for all of its filters; returns what was asked.
    pub(crate) async fn grant(&mut self) -> Subscribe {
        let subscribe = self.subscribe().await;
        let codes = vec![2; subscribe.filters.len()];
        self.send(&suback(self.version, subscribe.packet_id, &codes)).await;
        subscribe
    }

    async fn next(&mut self) -> io::Result<Option<Packet>> {
        loop {
            if let Some(packet) = take_packet(&mut self.unread) {
                return Ok(Some(packet));
            }
            if self.stream.read_buf(&mut self.unread).await.unwrap_or(0) == 0 {
                return Ok(None);
            }
        }
    }
}

impl Subscribe {
    /// Reads a SUBSCRIBE, or an UNSUBSCRIBE, whose filters have no options.
    pub(crate) fn read(version: Version, packet: &Packet) -> Subscribe {
        let (packet_id, mut rest) = (packet.id(), &packet.body[2..]);
        let (mut identifier, mut user_properties) = (None, Vec::new());
        if version == Version::V5 {
            let mut properties = &rest[1..=usize::from(rest[0])];
            rest = &rest[1 + usize::from(rest[0])..];
            while let Some((kind, after)) = properties.split_first() {
                properties = after;
                match kind {
                    11 => {
                        let len = properties.iter().take_while(|&&byte| byte >= 0x80).count() + 1;
                        let bytes = properties[..len].iter().enumerate();
                        identifier = Some(bytes.map(|(n, byte)| u32::from(byte & 0x7F) << (7 * n)).sum());
                        properties = &properties[len..];
                    }
                    0x26 => user_properties.push((string(&mut properties), string(&mut properties))),
                    other => panic!("property {other}"),
                }
            }
        }
        let mut filters = Vec::new();
        while !rest.is_empty() {
            filters.push(string(&mut rest));
            rest = &rest[usize::from(packet.first == 0x82)..];
        }
        Subscribe { packet_id, filters, identifier, user_properties }
    }
}

/// Takes a string of MQTT off `bytes`.
fn string(bytes: &mut &[u8]) -> String {
    let len = usize::from(u16::from_be_bytes([bytes[0], bytes[1]]));
    let text = String::from_utf8(bytes[2..2 + len].to_vec()).unwrap();
    *bytes = &bytes[2 + len..];
    text
}

impl Packet {
    /// The packet identifier with which acknowledgements begin.
    pub(crate) fn id(&self) -> u16 {
        u16::from_be_bytes([self.body[0], self.body[1]])
    }
}

fn take_packet(unread: &mut Vec<u8>) -> Option<Packet> {
    let (mut len, mut header_len) = (0, 1);
    loop {
        let byte = *unread.get(header_len)?;
        len |= usize::from(byte & 0x7F) << (7 * (header_len - 1));
        header_len += 1;
        if byte & 0x80 == 0 {
            break;
        }
    }
    if unread.len() < header_len + len {
        return None;
    }
    let packet: Vec<u8> = unread.drain(..header_len + len).collect();
    Some(Packet { first: packet[0], body: packet[header_len..].to_vec() })
}

/// Any packet: first byte, length, body.
pub(crate) fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    let mut len = body.len();
    loop {
        let byte = (len % 128) as u8;
        len /= 128;
        bytes.push(if len > 0 { byte | 0x80 } else { byte });
        if len == 0 {
            break;
        }
    }
    bytes.extend_from_slice(body);
    bytes
}

pub(crate) fn connack(version: Version, session_present: bool) -> Vec<u8> {
    connack_with(version, session_present, 0, &[])
}

/// `properties` without their length; MQTT 5 only.
pub(crate) fn connack_with(version: Version, session_present: bool, code: u8, properties: &[u8]) -> Vec<u8> {
    let mut body = vec![u8::from(session_present), code];
    if version == Version::V5 {
        body.push(u8::try_from(properties.len()).unwrap());
        body.extend_from_slice(properties);
    }
    packet(0x20, &body)
}

pub(crate) fn suback(version: Version, packet_id: u16, codes: &[u8]) -> Vec<u8> {
    let mut body = packet_id.to_be_bytes().to_vec();
    if version == Version::V5 {
        body.push(0);
    }
    body.extend_from_slice(codes);
    packet(0x90, &body)
}

pub(crate) fn unsuback(version: Version, packet_id: u16) -> Vec<u8> {
    let mut body = packet_id.to_be_bytes().to_vec();
    if version == Version::V5 {
        body.extend([0, 0]);
    }
    packet(0xB0, &body)
}

/// A PUBLISH in the making.
#[derive(Debug, Clone)]
pub(crate) struct Publish {
    pub(crate) topic: Vec<u8>,
    pub(crate) payload: Vec<u8>,
    pub(crate) qos: u8,
    pub(crate) dup: bool,
    pub(crate) packet_id: u16,
    /// Without their length; MQTT 5 only.
    pub(crate) properties: Vec<u8>,
}

impl Publish {
    pub(crate) fn new(qos: u8, packet_id: u16, payload: impl Into<Vec<u8>>) -> Publish {
        Publish { topic: b"t/a".to_vec(), payload: payload.into(), qos, dup: false, packet_id, properties: vec![] }
    }

    pub(crate) fn topic(mut self, topic: impl Into<Vec<u8>>) -> Publish {
        self.topic = topic.into();
        self
    }

    pub(crate) fn again(mut self) -> Publish {
        self.dup = true;
        self
    }

    /// The topic alias property.
    pub(crate) fn alias(mut self, alias: u16) -> Publish {
        self.properties.push(35);
        self.properties.extend(alias.to_be_bytes());
        self
    }

    pub(crate) fn encode(&self, version: Version) -> Vec<u8> {
        let mut body = u16::try_from(self.topic.len()).unwrap().to_be_bytes().to_vec();
        body.extend_from_slice(&self.topic);
        if self.qos > 0 {
            body.extend(self.packet_id.to_be_bytes());
        }
        if version == Version::V5 {
            body.push(u8::try_from(self.properties.len()).unwrap());
            body.extend_from_slice(&self.properties);
        }
        body.extend_from_slice(&self.payload);
        packet(0x30 | self.qos << 1 | u8::from(self.dup) << 3, &body)
    }
}

pub(crate) fn pubrel(packet_id: u16) -> Vec<u8> {
    packet(0x62, &packet_id.to_be_bytes())
}
