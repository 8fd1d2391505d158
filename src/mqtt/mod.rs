//! The protocol, for every connection to a broker: transport, handshake, packets. What a session makes of them is not here.
//!
//! A link is opened ([`transport`]: TCP, TLS, WebSocket), greeted ([`handshake`]) and read burst by burst ([`inbox`]); what
//! came is decoded where it lies ([`packet`]), what goes out is encoded into one buffer a wake-up ([`outgoing`]). 3.1.1 and
//! 5.0 are told apart in these files and nowhere above them.

pub(crate) mod backoff;
pub(crate) mod handshake;
pub(crate) mod inbox;
pub(crate) mod keepalive;
pub(crate) mod limits;
pub(crate) mod link;
pub(crate) mod login;
pub(crate) mod outgoing;
pub(crate) mod packet;
pub(crate) mod publish;
pub(crate) mod publishing;
pub(crate) mod reason;
pub(crate) mod tls;
pub(crate) mod transport;
pub(crate) mod websocket;
pub(crate) mod wire;
