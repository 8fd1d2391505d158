//! Templates: text with sources in braces, such as `{topic.site}-{payload.id}`.
//!
//! ```text
//! template = (TEXT | "{{" | "}}" | "{" expression "}")*        ("{{" and "}}" stand for one brace)
//! ```
//!
//! A brace inside a quoted key belongs to the key: `{payload["a}b"]}`. The text in the braces is a [`Source`], or
//! whatever the caller of [`Template::parse_with`] parses there.

use std::fmt;

use crate::rule::{ExpressionError, Source};

/// Pieces of one template. Each is looked at for every message.
const PIECES_MAX: usize = 64;

/// A parsed template.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Template<S = Source> {
    /// As written.
    text: String,
    /// No two texts in succession, and no empty text.
    pieces: Vec<Piece<S>>,
}

/// One part of a template.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Piece<S = Source> {
    /// Literal text, with `{{` and `}}` as single braces.
    Text(String),
    Source(S),
}

impl Template {
    /// Parses a template whose braces hold sources.
    pub fn parse(text: &str) -> Result<Template, ExpressionError> {
        Template::parse_with(text, Source::parse)
    }
}

impl<S> Template<S> {
    /// Parses a template; `read` parses what stands between the braces.
    pub fn parse_with(
        text: &str,
        read: impl Fn(&str) -> Result<S, ExpressionError>,
    ) -> Result<Template<S>, ExpressionError> {
        let mut pieces = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(brace) = rest.find(['{', '}']) {
            literal.push_str(&rest[..brace]);
            let found = &rest[brace..];
            if let Some(after) = found.strip_prefix("{{").or_else(|| found.strip_prefix("}}")) {
                literal.push_str(&found[..1]);
                rest = after;
                continue;
            }
            let Some(inside) = found.strip_prefix('{') else {
                return fail(text, "a `}` closes nothing; a brace that is text is written `}}`");
            };
            let Some(end) = closing_brace(inside) else {
                return fail(text, "a `{` is not closed; a brace that is text is written `{{`");
            };
            let expression = inside[..end].trim();
            if expression.is_empty() {
                return fail(text, "`{}` names no source; braces that are text are written `{{}}`");
            }
            push_text(&mut pieces, &mut literal);
            pieces.push(Piece::Source(read(expression).map_err(|error| within(text, expression, error))?));
            rest = &inside[end + 1..];
        }
        literal.push_str(rest);
        push_text(&mut pieces, &mut literal);
        if pieces.len() > PIECES_MAX {
            return fail(text, &format!("a template has at most {PIECES_MAX} pieces"));
        }
        Ok(Template { text: text.to_owned(), pieces })
    }

    /// The template as written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    pub fn pieces(&self) -> &[Piece<S>] {
        &self.pieces
    }

    pub fn sources(&self) -> impl Iterator<Item = &S> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Source(source) => Some(source),
            Piece::Text(_) => None,
        })
    }

    /// What it gives for every message, if no source is in it.
    pub fn constant(&self) -> Option<&str> {
        match self.pieces.as_slice() {
            [] => Some(""),
            [Piece::Text(text)] => Some(text),
            _ => None,
        }
    }
}

impl<S> fmt::Display for Template<S> {
    /// As written.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn push_text<S>(pieces: &mut Vec<Piece<S>>, literal: &mut String) {
    if !literal.is_empty() {
        pieces.push(Piece::Text(std::mem::take(literal)));
    }
}

/// Where the brace stands that ends an expression. Quoted keys may hold braces.
fn closing_brace(inside: &str) -> Option<usize> {
    let bytes = inside.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'}' => return Some(at),
            b'[' => at += quoted_key(&inside[at + 1..]),
            _ => {}
        }
        at += 1;
    }
    None
}

/// Bytes of the quoted key at the beginning of `rest`; 0 if there is none.
fn quoted_key(rest: &str) -> usize {
    match rest.as_bytes().first() {
        Some(b'\'') => rest[1..].find("']").map_or(0, |end| end + 2),
        Some(b'"') => {
            let mut strings = serde_json::Deserializer::from_str(rest).into_iter::<String>();
            if matches!(strings.next(), Some(Ok(_))) { strings.byte_offset() } else { 0 }
        }
        _ => 0,
    }
}

fn fail<T>(text: &str, why: &str) -> Result<T, ExpressionError> {
    Err(ExpressionError { message: format!("`{text}`: {why}"), suggestion: None })
}

/// An error in one expression, as one of the template; its suggestion becomes one of the whole template.
fn within(text: &str, expression: &str, error: ExpressionError) -> ExpressionError {
    let suggestion = error.suggestion.map(|better| text.replacen(expression, &better, 1));
    ExpressionError { message: format!("in the template `{text}`: {}", error.message), suggestion }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(text: &str) -> Piece {
        Piece::Text(text.to_owned())
    }

    fn source(text: &str) -> Piece {
        Piece::Source(Source::parse(text).unwrap())
    }

    #[test]
    fn text_and_sources_take_turns() {
        for (template, pieces) in [
            ("", vec![]),
            ("plain", vec![text("plain")]),
            ("{topic.site}-{payload.id}", vec![source("topic.site"), text("-"), source("payload.id")]),
            ("{topic}{qos}", vec![source("topic"), source("qos")]),
            ("a{{b}}c{{{ qos }}}", vec![text("a{b}c{"), source("qos"), text("}")]),
            (r#"{payload["a}b"]}"#, vec![source(r#"payload["a}b"]"#)]),
            (r#"{payload["\"}"]['}']}x"#, vec![source(r#"payload["\"}"]['}']"#), text("x")]),
            ("größe {payload.größe} m", vec![text("größe "), source("payload.größe"), text(" m")]),
        ] {
            let parsed = Template::parse(template).unwrap();
            assert_eq!(parsed.pieces(), pieces, "{template}");
            assert_eq!(parsed.as_str(), template);
        }
    }

    #[test]
    fn without_sources_it_is_a_constant() {
        let constant = |text: &str| Template::parse(text).unwrap().constant().map(str::to_owned);
        assert_eq!(constant("a{{b"), Some("a{b".to_owned()));
        assert_eq!(constant(""), Some(String::new()));
        assert_eq!(constant("a{qos}"), None);
        assert_eq!(Template::parse("{qos}-{dup}").unwrap().sources().collect::<Vec<_>>(), [&Source::Qos, &Source::Dup]);
    }

    #[test]
    fn mistakes_are_refused_with_the_remedy() {
        for (template, remedy) in [
            ("{topic", "not closed"),
            ("{payload['}", "payload['"),
            ("topic}", "closes nothing"),
            ("{}", "names no source"),
            ("{ }", "names no source"),
            ("{temperature}", "`payload.temperature`"),
            ("{topic.a.b}", "topic.NAME"),
        ] {
            let error = Template::parse(template).unwrap_err();
            assert!(error.message.contains(remedy), "{template}: {error}");
            assert!(error.message.contains(template), "{template}: {error}");
        }
        let near = Template::parse("{topc.site}/x").unwrap_err();
        assert_eq!(near.suggestion.as_deref(), Some("{topic.site}/x"));
        let long = "{qos}".repeat(PIECES_MAX + 1);
        assert!(Template::parse(&long).unwrap_err().message.contains("at most 64"));
    }

    #[test]
    fn other_names_than_sources_may_stand_in_the_braces() {
        let parsed: Template<u8> = Template::parse_with("{1}/x/{2}", |text| Ok(text.parse().unwrap())).unwrap();
        assert_eq!(parsed.sources().copied().collect::<Vec<_>>(), [1, 2]);
    }

    proptest! {
        #[test]
        fn what_is_written_comes_back(
            parts in proptest::collection::vec(
                prop_oneof![
                    "[a-c{}é\"'\\[\\]]{1,5}".prop_map(Ok),
                    prop_oneof![Just("topic.x"), Just("payload[\"}\"].b"), Just("payload['{'][0]"), Just("received_at")]
                        .prop_map(Err),
                ],
                0..12,
            ),
        ) {
            let mut written = String::new();
            let mut pieces: Vec<Piece> = Vec::new();
            for part in &parts {
                match (part, pieces.last_mut()) {
                    (Ok(part), Some(Piece::Text(before))) => before.push_str(part),
                    (Ok(part), _) => pieces.push(text(part)),
                    (Err(expression), _) => pieces.push(source(expression)),
                }
                match part {
                    Ok(part) => written.push_str(&part.replace('{', "{{").replace('}', "}}")),
                    Err(expression) => written.push_str(&format!("{{{expression}}}")),
                }
            }
            let parsed = Template::parse(&written).unwrap();
            prop_assert_eq!(parsed.pieces(), pieces.as_slice());
        }

        #[test]
        fn arbitrary_text_never_panics(text in "[{}\\[\\]\"'.a-cé\\\\]{0,20}|\\{payload[{}\\[\\]\"'.a-cé\\\\]{0,20}") {
            if let Err(error) = Template::parse(&text) {
                prop_assert!(!error.message.is_empty());
            }
        }
    }
}
