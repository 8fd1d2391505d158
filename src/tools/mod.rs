//! What commands do, without a terminal: they are given values and hand back text or data.

pub mod check;
pub mod ddl;
pub mod discover;
pub mod explain;
pub mod golden;
mod live;
pub mod man;
mod yaml;
