//! The MQTT protocol for every connection to a broker: transport, handshake, packets. Sessions are built on it
//! elsewhere.
//!
//! A link is opened ([`transport`]: TCP, TLS, WebSocket), performs the handshake ([`handshake`]) and is read in bursts
//! ([`inbox`]). Incoming packets are decoded in place ([`packet`]); outgoing ones are encoded into one buffer per
//! wake-up ([`outgoing`]). Only these files distinguish 3.1.1 and 5.0.

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
pub(crate) mod socket;
pub(crate) mod tls;
pub(crate) mod transport;
pub(crate) mod websocket;
pub(crate) mod wire;
