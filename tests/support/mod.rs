//! What the integration tests share: real servers, each in its own directory and on its own port.

pub(crate) mod postgres;
