//! Parses the text of a source expression. An invalid text is reported with the nearest valid source, or with the
//! syntax.
//!
//! ```text
//! expression = name | "topic" ("." NAME | "[" N "]")? | "payload" step* | "property" ("." NAME | "[" "\"…\"" "]")
//! step       = "." KEY | "[" N "]" | "[" "\"…\"" "]"      (KEY: anything but space . [ ] " ; in quotes, as in JSON)
//! ```

use thiserror::Error;

use super::{Source, Step};

/// Why an expression is not one; names what was found and what is accepted.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("{message}")]
pub struct ExpressionError {
    pub message: String,
    /// The nearest accepted name, if one is near.
    pub suggestion: Option<String>,
}

/// Steps of one path. A payload nested deeper than this is refused anyway (see the JSON reader's own limit).
const STEPS_MAX: usize = 64;

/// The first words of all expressions, for messages and suggestions.
const NAMES: &str = "topic, topic.NAME, topic[N], payload, payload.a.b[0], property.NAME, content_type, response_topic, \
                     correlation_data, message_expiry, qos, retain, dup, received_at, journal.seq, bridge, rule, and with \
                     for_each item, item.a.b, index, key";

const ROOTS: [&str; 21] = [
    "topic",
    "payload",
    "property",
    "content_type",
    "response_topic",
    "correlation_data",
    "message_expiry",
    "qos",
    "retain",
    "dup",
    "received_at",
    "journal",
    "bridge",
    "rule",
    "item",
    "index",
    "key",
    "parent",
    "parent_index",
    "parent_key",
    "unmapped",
];

impl Source {
    pub fn parse(text: &str) -> Result<Source, ExpressionError> {
        let text = text.trim();
        let root = &text[..text.find(['.', '[']).unwrap_or(text.len())];
        let steps = &text[root.len()..];
        let plain = |source: Source| {
            if steps.is_empty() { Ok(source) } else { fail(format!("`{text}`: `{root}` has no parts; write `{root}`")) }
        };
        match root {
            "topic" => topic(text, steps),
            "payload" => Ok(Source::Payload(parse_steps(text, steps)?)),
            "property" => property(text, steps),
            "content_type" => plain(Source::ContentType),
            "response_topic" => plain(Source::ResponseTopic),
            "correlation_data" => plain(Source::CorrelationData),
            "message_expiry" => plain(Source::MessageExpiry),
            "qos" => plain(Source::Qos),
            "retain" => plain(Source::Retain),
            "dup" => plain(Source::Dup),
            "received_at" => plain(Source::ReceivedAt),
            "journal" if steps == ".seq" => Ok(Source::JournalSeq),
            "journal" => Err(ExpressionError {
                message: format!("`{text}` is no source; of the journal there is `journal.seq`"),
                suggestion: Some("journal.seq".to_owned()),
            }),
            "bridge" => plain(Source::Bridge),
            "rule" => plain(Source::Rule),
            "item" => Ok(Source::Item(parse_steps(text, steps)?)),
            "index" => plain(Source::Index),
            "key" => plain(Source::Key),
            "parent" => Ok(Source::Parent(parse_steps(text, steps)?)),
            "parent_index" => plain(Source::ParentIndex),
            "parent_key" => plain(Source::ParentKey),
            "unmapped" => plain(Source::Unmapped),
            "" => fail(format!("the source is empty; accepted are {NAMES}")),
            _ => Err(unknown(text, root, steps)),
        }
    }
}

fn fail<T>(message: String) -> Result<T, ExpressionError> {
    Err(ExpressionError { message, suggestion: None })
}

/// An unknown name: the nearest known one, or the advice for a payload field written without `payload.`.
fn unknown(text: &str, root: &str, steps: &str) -> ExpressionError {
    // A third of the letters wrong is a typing error, more is another word.
    let distance_max = (root.chars().count() / 3).max(1);
    let nearest = ROOTS
        .iter()
        .map(|name| (strsim::damerau_levenshtein(&root.to_lowercase(), name), name))
        .filter(|(distance, _)| *distance <= distance_max)
        .min();
    let suggestion = match nearest {
        Some((_, &"journal")) => Some("journal.seq".to_owned()),
        Some((_, &"property")) if steps.is_empty() => None,
        Some((_, name)) => Some(format!("{name}{steps}")),
        None => None,
    };
    let message = if nearest.is_some() {
        format!("`{text}` is no source; accepted are {NAMES}")
    } else {
        format!("`{text}` is no source; accepted are {NAMES} (a field of the payload is `payload.{text}`)")
    };
    ExpressionError { message, suggestion }
}

fn topic(text: &str, steps: &str) -> Result<Source, ExpressionError> {
    let mut parsed = parse_steps(text, steps)?;
    match (parsed.pop(), parsed.is_empty()) {
        (None, _) => Ok(Source::Topic),
        (Some(Step::Key(name)), true) => Ok(Source::TopicCapture(name)),
        (Some(Step::Index(level)), true) => Ok(Source::TopicLevel(level)),
        (Some(_), false) => fail(format!("`{text}`: of the topic there is `topic.NAME` (a capture) and `topic[N]`")),
    }
}

fn property(text: &str, steps: &str) -> Result<Source, ExpressionError> {
    // A property's name may hold dots and brackets of its own: after the first dot, everything is the name.
    if let Some(name) = steps.strip_prefix('.')
        && !name.is_empty()
    {
        return Ok(Source::Property(name.to_owned()));
    }
    match parse_steps(text, steps).as_deref() {
        Ok([Step::Key(name)]) => Ok(Source::Property(name.clone())),
        _ => fail(format!("`{text}`: name the user property as `property.NAME` or `property[\"odd name\"]`")),
    }
}

/// Parses what follows the first word.
fn parse_steps(text: &str, mut rest: &str) -> Result<Vec<Step>, ExpressionError> {
    let mut steps = Vec::new();
    while let Some(first) = rest.chars().next() {
        if steps.len() == STEPS_MAX {
            return fail(format!("`{text}`: a path has at most {STEPS_MAX} steps"));
        }
        let (step, after) = match first {
            '.' => key_step(text, &rest[1..])?,
            '[' => bracket_step(text, &rest[1..])?,
            _ => return fail(format!("`{text}`: `.key`, `[N]` or `[\"odd key\"]` is expected where `{rest}` stands")),
        };
        steps.push(step);
        rest = after;
    }
    Ok(steps)
}

fn key_step<'t>(text: &str, rest: &'t str) -> Result<(Step, &'t str), ExpressionError> {
    let key = &rest[..rest.find(['.', '[']).unwrap_or(rest.len())];
    if key.is_empty() {
        return fail(format!("`{text}`: a name is missing after a dot"));
    }
    if key.chars().any(|c| c.is_whitespace() || c.is_control() || matches!(c, ']' | '"' | '\'')) {
        return fail(format!("`{text}`: a key with spaces, quotes or brackets is written `[\"odd key\"]`"));
    }
    Ok((Step::Key(key.to_owned()), &rest[key.len()..]))
}

fn bracket_step<'t>(text: &str, rest: &'t str) -> Result<(Step, &'t str), ExpressionError> {
    if rest.starts_with('"') {
        let mut strings = serde_json::Deserializer::from_str(rest).into_iter::<String>();
        if let Some(Ok(key)) = strings.next()
            && let Some(after) = rest[strings.byte_offset()..].strip_prefix(']')
        {
            return Ok((Step::Key(key), after));
        }
        return fail(format!("`{text}`: the quoted key does not end with `\"]`"));
    }
    if let Some(quoted) = rest.strip_prefix('\'') {
        return match quoted.split_once("']") {
            Some((key, after)) => Ok((Step::Key(key.to_owned()), after)),
            None => fail(format!("`{text}`: the quoted key does not end with `']`")),
        };
    }
    let Some((number, after)) = rest.split_once(']') else {
        return fail(format!("`{text}`: a bracket is not closed; write `[0]` or `[\"odd key\"]`"));
    };
    match number.trim().parse() {
        Ok(index) => Ok((Step::Index(index), after)),
        Err(_) => fail(format!("`{text}`: `[{number}]` is no index; write a whole number, or a key as `[\"key\"]`")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(name: &str) -> Step {
        Step::Key(name.to_owned())
    }

    #[test]
    fn every_source_of_the_contract_is_read() {
        let payload = |steps: Vec<Step>| Source::Payload(steps);
        for (text, source) in [
            ("topic", Source::Topic),
            ("topic.site", Source::TopicCapture("site".into())),
            ("topic[0]", Source::TopicLevel(0)),
            ("topic[-1]", Source::TopicLevel(-1)),
            ("payload", payload(vec![])),
            ("payload.a.b[0]", payload(vec![key("a"), key("b"), Step::Index(0)])),
            ("payload[-2].x", payload(vec![Step::Index(-2), key("x")])),
            (r#"payload["odd key"].b"#, payload(vec![key("odd key"), key("b")])),
            (r#"payload["q\"]\u0041"]"#, payload(vec![key("q\"]A")])),
            ("payload['odd.key']", payload(vec![key("odd.key")])),
            ("payload.größe-1", payload(vec![key("größe-1")])),
            ("property.unit", Source::Property("unit".into())),
            ("property.a.b", Source::Property("a.b".into())),
            (r#"property["a b"]"#, Source::Property("a b".into())),
            ("content_type", Source::ContentType),
            ("response_topic", Source::ResponseTopic),
            ("correlation_data", Source::CorrelationData),
            ("message_expiry", Source::MessageExpiry),
            ("qos", Source::Qos),
            ("retain", Source::Retain),
            ("dup", Source::Dup),
            (" received_at ", Source::ReceivedAt),
            ("journal.seq", Source::JournalSeq),
            ("bridge", Source::Bridge),
            ("rule", Source::Rule),
            ("item", Source::Item(vec![])),
            ("item.a[1]", Source::Item(vec![key("a"), Step::Index(1)])),
            ("index", Source::Index),
            ("key", Source::Key),
            ("parent.name", Source::Parent(vec![key("name")])),
            ("parent_index", Source::ParentIndex),
            ("parent_key", Source::ParentKey),
            ("unmapped", Source::Unmapped),
        ] {
            assert_eq!(Source::parse(text), Ok(source), "{text}");
        }
    }

    #[test]
    fn a_near_miss_is_answered_with_the_right_name() {
        for (text, suggestion) in [
            ("paylod.temp", Some("payload.temp")),
            ("topics.site", Some("topic.site")),
            ("recieved_at", Some("received_at")),
            ("journal.sequence", Some("journal.seq")),
            ("QOS", Some("qos")),
            ("temperature", None),
        ] {
            let error = Source::parse(text).unwrap_err();
            assert_eq!(error.suggestion.as_deref(), suggestion, "{text}: {error}");
        }
    }

    #[test]
    fn a_bare_field_name_is_answered_with_the_payload_path() {
        assert!(Source::parse("temperature").unwrap_err().message.contains("`payload.temperature`"));
    }

    #[test]
    fn malformed_expressions_are_refused_with_the_remedy() {
        for (text, remedy) in [
            ("", "accepted are"),
            ("payload.", "a name is missing"),
            ("payload..a", "a name is missing"),
            ("payload[", "not closed"),
            ("payload[x]", "no index"),
            ("payload[99999999999]", "no index"),
            ("payload[\"x", "does not end"),
            ("payload['x", "does not end"),
            ("payload.a b", "[\"odd key\"]"),
            ("payload[0]x", "is expected"),
            ("topic.a.b", "topic.NAME"),
            ("property", "property.NAME"),
            ("property.", "property.NAME"),
            ("qos.x", "has no parts"),
        ] {
            let error = Source::parse(text).unwrap_err();
            assert!(error.message.contains(remedy), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(text in "(payload|topic|property)?[\\[\\]\"'.a-c0-9é\\\\-]{0,20}") {
            if let Err(error) = Source::parse(&text) {
                prop_assert!(!error.message.is_empty());
            }
        }
    }
}
