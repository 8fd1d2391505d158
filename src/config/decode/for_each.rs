//! `for_each`: the paths whose elements become rows.

use super::jq;
use super::value::Value;
use crate::config::ForEach;
use crate::rule::{ColumnSource, Source};

const FORMS: &str = "payload.readings, for arrays in arrays [payload.groups, item.values], or auto";

/// Deeper nesting is a matter of `transform`.
const LEVELS_MAX: usize = 2;

pub(super) fn decode(value: Option<Value<'_>>, has_fields: bool) -> ForEach {
    let Some(value) = value else { return ForEach::NONE };
    if !has_fields {
        let problem = "needs elements of the payload, and this format has none";
        value.refuse(problem, "a format with fields, such as json");
    }
    if value.as_text().as_deref() == Some("auto") {
        return ForEach::Auto;
    }
    let mut levels = Vec::new();
    for (text, place) in value.texts() {
        let expected = if levels.is_empty() { "payload" } else { "item" };
        match Source::parse(&text) {
            Ok(source @ Source::Payload(_)) if levels.is_empty() => levels.push(source),
            Ok(source @ Source::Item(_)) if !levels.is_empty() => levels.push(source),
            _ => {
                place.refuse(format!("found {}, where `{expected}` or a part of it is expected", place.shown()), FORMS);
                return ForEach::NONE;
            }
        }
    }
    if levels.is_empty() || levels.len() > LEVELS_MAX {
        value.refuse(format!("found {} paths", levels.len()), FORMS);
        return ForEach::NONE;
    }
    ForEach::Paths(levels)
}

/// What a column takes of elements that its rule does not have.
pub(super) fn check(source: &ColumnSource, value: &Value<'_>, levels: usize) {
    if let ColumnSource::Jq(program) = source {
        return jq::check_elements(program, value, levels);
    }
    let depth = |source: &Source| match source {
        Source::Item(_) | Source::Index | Source::Key => 1,
        Source::Parent(_) | Source::ParentIndex | Source::ParentKey => 2,
        _ => 0,
    };
    let wanted = source.sources().map(depth).max().unwrap_or(0);
    if wanted <= levels {
        return;
    }
    match wanted {
        1 => value.refuse("takes an element, and the rule has no `for_each`", format!("for_each: {FORMS}")),
        _ => value.refuse(
            "takes the outer element of two, and the rule has no second `for_each`",
            format!("for_each: {FORMS}"),
        ),
    }
}
