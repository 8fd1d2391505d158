//! The MQTT session against a broker that misbehaves on command, with a journal in memory: what is acknowledged, when,
//! and on which connection; and against a real Mosquitto, over every transport.

#[path = "../support/fake_broker.rs"]
pub(crate) mod fake_broker;
#[path = "../support/fake_session.rs"]
mod fake_session;
mod memory_journal;
#[path = "../support/picky_broker.rs"]
pub(crate) mod picky_broker;

mod acknowledging;
mod connecting;
mod cuts;
mod habits;
mod hostile;
mod keeping_alive;
mod mosquitto;
mod picky;
mod real_journal;
pub(crate) mod source;
mod subscribing;
mod trust;
