//! Parsing of the rule language: the meaning of a text in the configuration, without a message or table.
//!
//! | module | parses |
//! |---|---|
//! | `topic` | topic patterns |
//! | `source` | the source of a value |
//! | `template` | text with sources in braces |
//! | `adjust`, `exact` | adjustments of a value, exact decimal numbers |
//! | `root` | strings that hold another form |
//! | `time`, `go_layout`, `declared_type` | time formats, layouts of Go, column types |
//! | `statement`, `query` | SQL with binds, for rules and for queries |

mod adjust;
mod chooser;
mod convention;
mod declared_type;
mod descriptor;
mod exact;
mod go_layout;
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
pub use go_layout::GoLayout;
pub use message_topic::{TopicFault, check_reply_topic, check_topic, is_text};
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
