//! An entry of `queries`: a statement that runs when a message arrives on its topic, and its answer.

use std::sync::Arc;
use std::time::Duration;

use super::Rule;
use crate::rule::{QueryStatement, TopicPattern};
use crate::schema::json_value::TimeForm;

/// One entry of `queries`.
#[derive(Debug, Clone)]
pub struct Query {
    /// Unique; `query-N` (from 1) when the file gives none.
    pub name: Arc<str>,
    pub topic: TopicPattern,
    /// Index into [`super::Config::databases`].
    pub database: usize,
    pub asked: Asked,
    /// Answers go to it and to topics below it only.
    pub reply_prefix: Option<String>,
    /// 1,000: some ten thousand values, which every client takes in one message.
    pub rows_max: usize,
    /// 2 s: from the request's arrival to the end of its statement.
    pub timeout: Duration,
    /// Where it begins in the file.
    pub position: String,
}

/// The content of a request, and the topic of its answer if the request names none.
#[derive(Debug, Clone)]
pub enum Asked {
    /// The entry's own statement.
    Named(Box<Named>),
    /// A statement that the request brings, in Machbase's form.
    Machbase {
        reply: String,
        /// `allow_sql`; without it every request is refused.
        is_allowed: bool,
    },
}

#[derive(Debug, Clone)]
pub struct Named {
    pub statement: QueryStatement,
    /// A rule whose columns are the statement's binds, in their order. `None` if it has none.
    pub parameters: Option<Arc<Rule>>,
    /// A rule with one column: the topic of the answer.
    pub reply: Option<Arc<Rule>>,
    pub format: AnswerFormat,
    pub time: TimeForm,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnswerFormat {
    /// `{"success":true,"reason":"success","elapse":"…","data":{"columns":[…],"types":[…],"rows":[[…]]}}`
    Json,
    /// `[{"column":value,…},…]`
    Rows,
    /// `{"column":value,…}` in each line.
    Ndjson,
    /// With the names of the columns in the first line.
    Csv,
}

impl Query {
    /// By all but its place in the file.
    pub fn is_like(&self, other: &Query) -> bool {
        format!("{:?}", self.without_position()) == format!("{:?}", other.without_position())
    }

    /// As it would be anywhere in the file.
    pub(crate) fn without_position(&self) -> Query {
        let mut query = Query { position: String::new(), ..self.clone() };
        if let Asked::Named(named) = &mut query.asked {
            for rule in [&mut named.parameters, &mut named.reply].into_iter().flatten() {
                Arc::make_mut(rule).position.clear();
            }
        }
        query
    }
}
