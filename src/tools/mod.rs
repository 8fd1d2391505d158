//! What commands do, without a terminal.

pub mod check;
