//! The language of rules, parsing only: what a text of the configuration means, without any message or table at hand.
//!
//! Topic patterns, `topic`; where a value comes from, `source`; text put together from sources, `template`; what is done to
//! a value, `adjust` and `exact`; which strings hold another form, `root`; times, `time`; column types,
//! `declared_type`; SQL with binds, `statement`, and of queries, `query`.

mod adjust;
mod chooser;
mod convention;
mod declared_type;
mod descriptor;
mod exact;
mod message_topic;
mod new_table;
mod query;
mod root;
mod routing;
mod row_source;
mod source;
mod statement;
mod table_name;
mod template;
mod time;
mod topic;

pub use adjust::{Adjustments, Decode, ValueMap};
pub use chooser::{Chooser, DatabaseNaming};
pub use convention::{Address, Convention};
pub use declared_type::DeclaredType;
pub use descriptor::{Descriptor, DescriptorFault, Form, Heading, Notation};
pub use exact::Exact;
pub use message_topic::{TopicFault, check_reply_topic, check_topic};
pub use new_table::{NewIndex, NewTable, columns_sql, primary_key_sql};
pub use query::QueryStatement;
pub use root::Root;
pub(crate) use routing::fits as fits_stars;
pub use routing::{Forbidden, Naming, Routing, TablePattern};
pub use row_source::RowSource;
pub use source::{ColumnSource, ExpressionError, Source, Step};
pub use statement::{Statement, StatementError};
pub(crate) use table_name::IDENTIFIER_BYTES_MAX;
pub use table_name::{TableName, quote};
pub use template::{Piece, Template};
pub(crate) use time::parse_pattern;
pub use time::{TimeFormat, TimeFormatError};
pub(crate) use topic::{Level, Tail};
pub use topic::{TopicPattern, TopicPatternError};
