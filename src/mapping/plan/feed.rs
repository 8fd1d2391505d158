//! The source of a column's value, and what a message has there. Nothing is coerced here: the result only distinguishes
//! a missing source, null, and a value.

use super::{Found, Input};
use crate::mapping::payload::Document;
use crate::mapping::rest::Rest;
use crate::mapping::value::Value;
use crate::message::{Message, Property};

/// Where a column's value comes from.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(in crate::mapping) enum Feed {
    /// Already encoded.
    Constant(Box<[u8]>),
    /// The first of these slots of the payload that has a value.
    Json(Box<[usize]>),
    /// The same of the element at hand under `for_each`.
    Item(Box<[usize]>),
    /// The same of the element around it, under a nested `for_each`.
    Parent(Box<[usize]>),
    /// The element's number, from 0; of the one around it with `true`.
    Index(bool),
    /// The entry's key, likewise.
    Key(bool),
    /// What no column takes.
    Rest(Rest),
    /// The whole payload under `format: text`.
    Text,
    /// The whole payload under `format: bytes`.
    Bytes,
    /// What a program gave: its index in [`Programs`].
    Program(usize),
    Topic,
    /// The capture's index, by pattern.
    Capture(Box<[Option<usize>]>),
    /// From 0; negative from the end.
    Level(i32),
    Property(Box<str>),
    ContentType,
    ResponseTopic,
    CorrelationData,
    MessageExpiry,
    Qos,
    Retain,
    Dup,
    ReceivedAt,
    JournalSeq,
    /// Text that is the same for all messages, not encoded.
    Fixed(Box<str>),
    /// The first that has a value.
    FirstOf(Box<[Feed]>),
    /// The texts of all of them, one behind the other.
    Template(Box<[Feed]>),
}

impl Feed {
    /// The feeds that it is made of: itself, if it is of none.
    pub(in crate::mapping) fn parts(&self) -> &[Feed] {
        match self {
            Feed::FirstOf(parts) | Feed::Template(parts) => parts,
            one => std::slice::from_ref(one),
        }
    }

    pub(in crate::mapping) fn parts_mut(&mut self) -> &mut [Feed] {
        match self {
            Feed::FirstOf(parts) | Feed::Template(parts) => parts,
            one => std::slice::from_mut(one),
        }
    }

    pub(in crate::mapping) fn takes_payload(&self) -> bool {
        matches!(self, Feed::Json(_) | Feed::Text | Feed::Bytes | Feed::Rest(_))
    }

    /// For a template, whether it has a value; what its text is, [`PlanColumn::encode`] finds out.
    pub(super) fn find<'m>(&'m self, input: &Input<'m>) -> Found<'m> {
        let message = input.message;
        let found = match self {
            // Answered by the caller, which has nothing to coerce.
            Feed::Constant(_) => return Found::Null,
            Feed::Json(slots) => return field(&input.document, slots),
            Feed::Item(slots) => return field(&input.element(false).document, slots),
            Feed::Parent(slots) => return field(&input.element(true).document, slots),
            Feed::Index(is_parent) => Some(Value::Int(input.element(*is_parent).index as i64)),
            Feed::Key(is_parent) => input.element(*is_parent).key,
            // Whether it has a value; which, the caller finds out.
            Feed::Rest(rest) => match rest.count(input.around(rest)) {
                0 => return by_position(rest, input.around(rest)),
                _ => Some(Value::Tree("{}")),
            },
            Feed::Text => Some(Value::Text(input.document.text)),
            Feed::Bytes => Some(Value::Bytes(message.payload)),
            Feed::Program(index) => match input.computed.value(*index) {
                None => None,
                Some(None) => return Found::Null,
                Some(value) => value,
            },
            Feed::Topic => Some(Value::Text(message.topic)),
            Feed::Capture(by_pattern) => {
                let index = by_pattern[input.matched.pattern];
                index.map(|index| Value::Text(input.matched.capture(index, message.topic)))
            }
            Feed::Level(level) => topic_level(message.topic, *level).map(Value::Text),
            Feed::Property(name) => message.properties.user(name).map(Value::from_bytes),
            Feed::ContentType => property(message, |property| match property {
                Property::ContentType(text) => Some(Value::from_bytes(text)),
                _ => None,
            }),
            Feed::ResponseTopic => property(message, |property| match property {
                Property::ResponseTopic(text) => Some(Value::from_bytes(text)),
                _ => None,
            }),
            Feed::CorrelationData => property(message, |property| match property {
                Property::CorrelationData(bytes) => Some(Value::Bytes(bytes)),
                _ => None,
            }),
            Feed::MessageExpiry => property(message, |property| match property {
                Property::MessageExpiry(seconds) => Some(Value::Int(seconds.into())),
                _ => None,
            }),
            Feed::Qos => Some(Value::Int(message.qos.level().into())),
            Feed::Retain => Some(Value::Bool(message.retain)),
            Feed::Dup => Some(Value::Bool(message.dup)),
            Feed::ReceivedAt => Some(Value::Instant(message.received_at.as_micros())),
            Feed::JournalSeq => Some(Value::Int(i64::try_from(message.seq.0).unwrap_or(i64::MAX))),
            Feed::Fixed(text) => Some(Value::Text(text)),
            Feed::FirstOf(feeds) => return first_of(feeds, input),
            Feed::Template(parts) => {
                let has_value = |part: &Feed| matches!(part.find(input), Found::Value(_));
                parts.iter().all(has_value).then_some(Value::Text(""))
            }
        };
        found.map_or(Found::Missing, Found::Value)
    }
}

/// What the first of these slots has that has a value.
#[inline(always)]
pub(super) fn field<'m>(document: &Document<'m>, slots: &[usize]) -> Found<'m> {
    match slots.iter().find_map(|slot| document.slot(*slot)) {
        None => Found::Missing,
        Some(None) => Found::Null,
        Some(Some(value)) => Found::Value(value),
    }
}

/// What an array has for the column that takes the rest.
#[inline(never)]
pub(super) fn by_position<'m>(rest: &Rest, document: &Document<'m>) -> Found<'m> {
    match rest.by_position(document).map(|range| document.value(range)) {
        None => Found::Missing,
        Some(None) => Found::Null,
        Some(Some(value)) => Found::Value(value),
    }
}

/// Null, if none has a value and one of them has that.
#[inline(never)]
fn first_of<'m>(feeds: &'m [Feed], input: &Input<'m>) -> Found<'m> {
    let mut lack = Found::Missing;
    for feed in feeds {
        match feed.find(input) {
            Found::Missing => {}
            Found::Null => lack = Found::Null,
            value => return value,
        }
    }
    lack
}

fn property<'m>(message: &Message<'m>, pick: impl Fn(Property<'m>) -> Option<Value<'m>>) -> Option<Value<'m>> {
    message.properties.iter().find_map(pick)
}

/// Levels are short: looking at byte after byte is quicker than what `split` does.
fn topic_level(topic: &str, level: i32) -> Option<&str> {
    let mut rest = topic;
    if level < 0 {
        let last_slash = |rest: &str| rest.bytes().rposition(|byte| byte == b'/');
        for _ in 1..level.unsigned_abs() {
            rest = &rest[..last_slash(rest)?];
        }
        return Some(last_slash(rest).map_or(rest, |slash| &rest[slash + 1..]));
    }
    let slash = |rest: &str| rest.bytes().position(|byte| byte == b'/');
    for _ in 0..level {
        rest = &rest[slash(rest)? + 1..];
    }
    Some(slash(rest).map_or(rest, |slash| &rest[..slash]))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_level_is_what_splitting_the_topic_gives(topic in "[a\u{e9}/]{0,12}", level in 0..14_usize) {
            let from_the_start = i32::try_from(level).unwrap();
            prop_assert_eq!(topic_level(&topic, from_the_start), topic.split('/').nth(level));
            prop_assert_eq!(topic_level(&topic, -from_the_start - 1), topic.rsplit('/').nth(level));
        }
    }
}
