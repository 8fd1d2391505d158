//! From a message to rows: which rules take it, what they read from it, and how the values fit the live table.

mod cell;
mod expression;
mod map;
mod time;
mod topic;

pub use cell::Cell;
pub use expression::{ColumnSource, ExpressionError, Source, Step};
pub use map::{CompileFault, Mapper, Outcome, ValueFault};
pub use time::{TimeFormat, TimeFormatError};
pub use topic::{TopicPattern, TopicPatternError};
