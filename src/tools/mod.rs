//! The work of commands, without a terminal: functions that take values and return text or data.

pub mod check;
pub mod ddl;
pub mod discover;
pub mod explain;
pub mod golden;
mod live;
pub mod man;
mod yaml;
