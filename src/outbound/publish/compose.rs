//! From a change to a message: `where`, `columns`, topic, payload, properties.
//!
//! Only the change and the configuration decide whether a change is ignored, skipped or published. So a change that is
//! read again after a crash has the same outcome, and its offset stays the same.

use std::fmt::Write as _;
use std::sync::Arc;

use crate::config::{Database, DatabaseUrl, Publication, PublishFormat};
use crate::jq::{self, Input, Outputs, Program, Variable};
use crate::outbound::ToPublish;
use crate::outbound::check_topic;
use crate::rule::{Piece, RowSource, Template, is_text};
use crate::sink::{Change, ChangeKind, fields, push_string};

/// Of a string in MQTT.
const STRING_BYTES_MAX: usize = 65_535;

/// What becomes of a change.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Composed {
    /// [`Composer::message`] has it.
    Message,
    /// `where` is not true for the change, or its event is not published. It is counted nowhere.
    Unwanted,
    /// No message can be made of it, for this reason.
    Skipped(String),
}

/// Makes the messages of one publication.
pub(super) struct Composer {
    pub(super) publication: Publication,
    bridge: Arc<str>,
    database: Arc<str>,
    schema: String,
    topic_template: Arc<Template<RowSource>>,
    /// `"offset":{…,"offset":` of every envelope.
    place: String,
    topic: String,
    payload: String,
    properties: Vec<(String, String)>,
    outputs: Outputs,
}

impl Composer {
    pub(super) fn new(bridge: &Arc<str>, database: &Database, publication: Publication) -> Composer {
        let schema = match (&publication.table.schema, &database.url) {
            (Some(schema), _) => schema.clone(),
            (None, DatabaseUrl::Postgres(url)) => url.schema.clone(),
            (None, DatabaseUrl::Sqlite(_)) => "main".to_owned(),
        };
        let mut place = String::from("\"offset\":{\"database\":");
        push_string(&database.name, &mut place);
        place.push_str(",\"topic\":");
        push_string(&publication.name, &mut place);
        place.push_str(",\"table\":");
        push_string(&publication.table.name, &mut place);
        place.push_str(",\"offset\":");
        Composer {
            bridge: Arc::clone(bridge),
            database: Arc::clone(&database.name),
            schema,
            topic_template: Arc::new(publication.topic.clone()),
            place,
            topic: String::new(),
            payload: String::new(),
            properties: Vec::new(),
            outputs: Outputs::default(),
            publication,
        }
    }

    /// Makes the message of a change that would have this offset.
    pub(super) fn compose(&mut self, change: &Change, offset: u64) -> Composed {
        if change.kind.is_meta() {
            return self.compose_meta(change, offset);
        }
        let needs_input =
            self.publication.predicate.is_some() || matches!(self.publication.format, PublishFormat::Program(_));
        let input = if needs_input { input(change, offset) } else { String::new() };
        jq::begin_message();
        if let Some(predicate) = &self.publication.predicate {
            match predicate.is_true(Input::Json(&input), &no_variables) {
                Ok(true) => {}
                Ok(false) => return Composed::Unwanted,
                Err(fault) => return Composed::Skipped(format!("`where` {}", fault.message)),
            }
        }
        // Of a deleted row, what it was.
        let named = change.row.as_deref().or(change.old.as_deref()).unwrap_or("{}");
        let template = Arc::clone(&self.topic_template);
        if let Err(why) = self.fill_topic(&template, change.kind, named, offset) {
            return Composed::Skipped(why);
        }
        self.payload.clear();
        if let Err(why) = self.fill_payload(change, offset, &input) {
            return Composed::Skipped(why);
        }
        self.fill_properties(change.kind, named, offset);
        Composed::Message
    }

    /// The message that was just made.
    pub(super) fn message(&self) -> ToPublish<'_> {
        ToPublish {
            qos: self.publication.qos,
            retain: self.publication.retain,
            user_properties: &self.properties,
            ..ToPublish::new(&self.topic, self.payload.as_bytes())
        }
    }

    fn compose_meta(&mut self, change: &Change, offset: u64) -> Composed {
        let (Some(template), Some(columns)) = (self.publication.meta_topic.clone(), &change.row) else {
            return Composed::Unwanted;
        };
        if let Err(why) = self.fill_topic(&template, change.kind, "{}", offset) {
            return Composed::Skipped(why);
        }
        self.payload.clear();
        let _ = write!(self.payload, "{{\"meta\":{{\"event\":\"{}\",\"database\":", change.kind.name());
        push_string(&self.database, &mut self.payload);
        self.payload.push_str(",\"table\":");
        push_string(&self.publication.table.name, &mut self.payload);
        let columns = if columns.is_empty() { "[]" } else { columns };
        let _ = write!(self.payload, ",\"columns\":{columns}}},{}{offset}}}}}", self.place);
        self.properties.clear();
        Composed::Message
    }

    fn fill_topic(
        &mut self,
        template: &Template<RowSource>,
        kind: ChangeKind,
        row: &str,
        offset: u64,
    ) -> Result<(), String> {
        let mut topic = std::mem::take(&mut self.topic);
        topic.clear();
        let filled = self.fill(template, kind, row, offset, &mut topic);
        let result =
            filled.map_err(|missing| format!("the topic names {missing}, which the row has not got")).and_then(|()| {
                let is_ours = template.as_str().starts_with('$');
                if topic.starts_with('$') && !is_ours {
                    return Err("the topic would begin with `$`, which is the broker's own".to_owned());
                }
                check_topic(&topic).map_err(|error| error.to_string())
            });
        self.topic = topic;
        result
    }

    /// A property is left out if its template names what the row has not got, if it is too long for one, or if brokers may
    /// end the connection for its value.
    fn fill_properties(&mut self, kind: ChangeKind, row: &str, offset: u64) {
        let mut properties = std::mem::take(&mut self.properties);
        properties.clear();
        for (name, template) in &self.publication.properties {
            let mut text = String::new();
            let is_filled = self.fill(template, kind, row, offset, &mut text).is_ok();
            if is_filled && text.len() <= STRING_BYTES_MAX && is_text(&text) {
                properties.push((name.clone(), text));
            }
        }
        self.properties = properties;
    }

    /// Appends the text of a template; errs with the name of what is missing.
    fn fill(
        &self,
        template: &Template<RowSource>,
        kind: ChangeKind,
        row: &str,
        offset: u64,
        out: &mut String,
    ) -> Result<(), String> {
        let mut members = None;
        for piece in template.pieces() {
            match piece {
                Piece::Text(text) => out.push_str(text),
                Piece::Source(RowSource::Bridge) => out.push_str(&self.bridge),
                Piece::Source(RowSource::Database) => out.push_str(&self.database),
                Piece::Source(RowSource::Schema) => out.push_str(&self.schema),
                Piece::Source(RowSource::Table) => out.push_str(&self.publication.table.name),
                Piece::Source(RowSource::Event) => out.push_str(kind.name()),
                Piece::Source(RowSource::Offset) => out.push_str(&offset.to_string()),
                Piece::Source(RowSource::Column(column)) => {
                    let members = members.get_or_insert_with(|| fields(row).unwrap_or_default());
                    let value = members.iter().find(|(name, _)| name == column).map(|(_, value)| *value);
                    let text = value.and_then(plain_text).ok_or_else(|| format!("{{row.{column}}}"))?;
                    out.push_str(&text);
                }
            }
        }
        Ok(())
    }

    fn fill_payload(&mut self, change: &Change, offset: u64, input: &str) -> Result<(), String> {
        match &self.publication.format {
            PublishFormat::Envelope => {
                let row = self.chosen(change.row.as_deref());
                let old = change.old.as_deref().map(|old| self.chosen(Some(old)));
                self.payload.push_str("{\"data\":");
                self.payload.push_str(&row);
                self.payload.push(',');
                let events = self.publication.events;
                if events.update || events.delete {
                    let _ = write!(self.payload, "\"event\":\"{}\",", change.kind.name());
                }
                if let Some(old) = old {
                    let _ = write!(self.payload, "\"old\":{old},");
                }
                let _ = write!(self.payload, "{}{offset}}}}}", self.place);
                Ok(())
            }
            PublishFormat::Row => {
                if change.row.is_some() {
                    let row = self.chosen(change.row.as_deref());
                    self.payload.push_str(&row);
                }
                Ok(())
            }
            PublishFormat::Program(program) => run(program, input, &mut self.outputs, &mut self.payload),
        }
    }

    /// The row with the columns that are published.
    fn chosen<'r>(&self, row: Option<&'r str>) -> std::borrow::Cow<'r, str> {
        let Some(row) = row else { return "null".into() };
        let columns = &self.publication.columns;
        let Some(members) = (!columns.is_empty()).then(|| fields(row)).flatten() else { return row.into() };
        let mut text = String::from("{");
        for (name, value) in members.iter().filter(|(name, _)| columns.contains(name)) {
            if text.len() > 1 {
                text.push(',');
            }
            push_string(name, &mut text);
            text.push(':');
            text.push_str(value);
        }
        text.push('}');
        text.into()
    }
}

/// What programs see.
fn input(change: &Change, offset: u64) -> String {
    let row = change.row.as_deref().unwrap_or("null");
    let old = change.old.as_deref().unwrap_or("null");
    format!("{{\"event\":\"{}\",\"row\":{row},\"old\":{old},\"offset\":{offset}}}", change.kind.name())
}

/// Programs that use any are refused with the configuration.
fn no_variables(_: Variable, out: &mut String) {
    out.push_str("null");
}

fn run(program: &Program, input: &str, outputs: &mut Outputs, payload: &mut String) -> Result<(), String> {
    match program.value(Input::Json(input), &no_variables, outputs) {
        Ok(true) => {
            outputs.iter().for_each(|output| payload.push_str(output));
            Ok(())
        }
        Ok(false) => Err("`format` gives nothing".to_owned()),
        Err(fault) => Err(format!("`format` {}", fault.message)),
    }
}

/// A value as text: strings as they are, numbers and booleans as JSON writes them; `None` for NULL and what has parts.
fn plain_text(value: &str) -> Option<String> {
    match value.as_bytes().first()? {
        b'"' => serde_json::from_str(value).ok(),
        b'{' | b'[' | b'n' => None,
        _ => Some(value.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{LoadRequest, load_text};
    use crate::sink::ChangeKey;

    #[test]
    fn the_programs_of_each_row_have_their_time_anew() {
        let text = "mqtt: { url: 'mqtt://localhost' }\ndatabases: { d: { url: 'sqlite:d.db' } }\npublish:\n  - { table: t, topic: t, \
                    where: '[range(.row.n)] | length > 0', format: '[range(.row.n)] | add' }\n";
        let config =
            load_text(&LoadRequest::from_process(None, Vec::new()), text).unwrap_or_else(|found| panic!("{found}"));
        let mut composer = Composer::new(&config.bridge, &config.databases[0], config.publish[0].clone());
        let row = Some("{\"n\":1000}".to_owned());
        let change = Change { key: ChangeKey { xact: 1, number: 1 }, kind: ChangeKind::Insert, row, old: None };
        for offset in 1..=2 {
            jq::spend_message_time();
            assert!(matches!(composer.compose(&change, offset), Composed::Message));
            assert_eq!(composer.payload, "499500");
        }
    }
}
