//! Compiles a column's sources.

use std::sync::Arc;

use super::{Column, ColumnSource, Compilation, Demands, Feed, Format, RowEncoder, Step, Value, place};
use crate::mapping::rest::Rest;
use crate::rule::{Piece, Source, Template};

impl<R: RowEncoder> Compilation<'_, R> {
    /// Whether the column has no value where a payload, or under `for_each` an element, has none of the fields.
    pub(super) fn needs_field(&self, source: &ColumnSource) -> bool {
        let is_field = |source: &Source| match source {
            Source::Item(_) => true,
            Source::Payload(_) => self.rule.for_each.is_empty(),
            _ => false,
        };
        match source {
            ColumnSource::From(source) => is_field(source),
            ColumnSource::FirstOf(sources) => sources.iter().all(is_field),
            ColumnSource::Template(template) => template.sources().any(is_field),
            ColumnSource::Value(_) | ColumnSource::Jq(_) => false,
        }
    }

    /// What gives a column its values; `None` after a fault.
    pub(super) fn feed(
        &mut self,
        source: &ColumnSource,
        is_adjusted: bool,
        name: &str,
        live: &Column,
        demands: &Demands,
    ) -> Option<Feed> {
        let feed = match source {
            ColumnSource::From(source) => self.source(source, name)?,
            ColumnSource::FirstOf(sources) => {
                let feeds: Vec<Option<Feed>> = sources.iter().map(|source| self.source(source, name)).collect();
                Feed::FirstOf(feeds.into_iter().collect::<Option<_>>()?)
            }
            ColumnSource::Template(template) => self.template(template, name)?,
            ColumnSource::Jq(program) => {
                self.programs.push(Arc::clone(program));
                Feed::Program(self.programs.len() - 1)
            }
            ColumnSource::Value(_) => unreachable!("literals are encoded by the caller"),
        };
        let Feed::Fixed(text) = &feed else { return Some(feed) };
        if is_adjusted {
            return Some(feed);
        }
        match self.encoded(Value::Text(text), live, demands) {
            Ok(bytes) => Some(Feed::Constant(bytes)),
            Err(misfit) => {
                self.fault(format!("column `{name}` ({}): {}", live.type_name, misfit.0), None);
                None
            }
        }
    }

    fn template(&mut self, template: &Template, name: &str) -> Option<Feed> {
        if let Some(text) = template.constant() {
            return Some(Feed::Fixed(text.into()));
        }
        let parts: Vec<Option<Feed>> = template
            .pieces()
            .iter()
            .map(|piece| match piece {
                Piece::Text(text) => Some(Feed::Fixed(text.as_str().into())),
                Piece::Source(source) => self.source(source, name),
            })
            .collect();
        Some(Feed::Template(parts.into_iter().collect::<Option<_>>()?))
    }

    /// What a source becomes; `None` after a fault.
    fn source(&mut self, source: &Source, name: &str) -> Option<Feed> {
        Some(match source {
            Source::Payload(steps) => return self.payload(steps, name),
            Source::Item(steps) => Feed::Item(place(&mut self.item_paths, steps)),
            Source::Parent(steps) => Feed::Parent(place(&mut self.parent_paths, steps)),
            Source::Index => Feed::Index(false),
            Source::ParentIndex => Feed::Index(true),
            Source::Key => Feed::Key(false),
            Source::ParentKey => Feed::Key(true),
            Source::TopicCapture(capture) => return self.capture(capture, name),
            Source::Unmapped => Feed::Rest(self.rest()),
            Source::Bridge => Feed::Fixed(self.bridge.into()),
            Source::Rule => Feed::Fixed((*self.rule.name).into()),
            Source::Topic => Feed::Topic,
            Source::TopicLevel(level) => Feed::Level(*level),
            Source::Property(property) => Feed::Property(property.as_str().into()),
            Source::ContentType => Feed::ContentType,
            Source::ResponseTopic => Feed::ResponseTopic,
            Source::CorrelationData => Feed::CorrelationData,
            Source::MessageExpiry => Feed::MessageExpiry,
            Source::Qos => Feed::Qos,
            Source::Retain => Feed::Retain,
            Source::Dup => Feed::Dup,
            Source::ReceivedAt => Feed::ReceivedAt,
            Source::JournalSeq => Feed::JournalSeq,
        })
    }

    /// The keys come when all paths are known.
    pub(super) fn rest(&mut self) -> Rest {
        let is_item = !self.rule.for_each.is_empty();
        let paths = if is_item { &mut self.item_paths } else { &mut self.paths };
        let slot = place(paths, &[])[0];
        Rest { slot, is_item, at: None, taken: Box::default(), folded: Box::default(), has_rivals: false }
    }

    fn payload(&mut self, steps: &[Step], name: &str) -> Option<Feed> {
        let format = match &self.rule.format {
            _ if self.rule.has_fields() => return Some(Feed::Json(place(&mut self.paths, steps))),
            Format::Decoded(_) if steps.is_empty() => return Some(Feed::Json(place(&mut self.paths, steps))),
            Format::Text if steps.is_empty() => return Some(Feed::Text),
            Format::Bytes if steps.is_empty() => return Some(Feed::Bytes),
            Format::Text => "text",
            _ => "bytes",
        };
        let why = format!(
            "column `{name}`: a payload of `format: {format}` has no parts; write `payload`, or `format: json`"
        );
        self.fault(why, None);
        None
    }

    fn capture(&mut self, capture: &str, name: &str) -> Option<Feed> {
        let by_pattern: Box<[Option<usize>]> =
            self.rule.topics.iter().map(|topic| topic.captures().position(|known| known == capture)).collect();
        if by_pattern.iter().any(Option::is_some) {
            return Some(Feed::Capture(by_pattern));
        }
        let mut known: Vec<&str> = self.rule.topics.iter().flat_map(|topic| topic.captures()).collect();
        known.dedup();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        self.fault(format!("column `{name}`: the topic pattern captures no `{capture}` (it captures: {known})"), None);
        None
    }
}
