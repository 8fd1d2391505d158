//! `reply` and `reply_prefix` of a rule.

use super::table::Table;
use super::value::Value;
use crate::config::Reply;
use crate::rule::check_reply_topic;

/// Where Machbase Neo answers.
const MACHBASE_PREFIX: &str = "db/reply";

pub(super) fn decode(table: &Table<'_>) -> Option<Reply> {
    let is_machbase = table.get("convention").is_some_and(|value| value.as_text().as_deref() == Some("machbase"));
    let is_wanted = table.flag("reply", false);
    let given = table.get("reply_prefix");
    let prefix = given.as_ref().and_then(prefix);
    if let (Some(value), false) = (given, is_wanted) {
        value.refuse("has no effect: the rule sends no answers", "reply: true");
    }
    let prefix = prefix.or_else(|| is_machbase.then(|| MACHBASE_PREFIX.to_owned()));
    is_wanted.then(|| Reply { prefix: prefix.map(Into::into), by_property: is_machbase })
}

fn prefix(value: &Value<'_>) -> Option<String> {
    let text = value.text()?;
    if let Err(fault) = check_reply_topic(&text, None) {
        value.refuse(format!("found {}: {fault}", value.shown()), "a topic below which answers may go: db/reply");
        return None;
    }
    Some(text)
}
