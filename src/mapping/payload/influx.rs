//! InfluxDB's line protocol: `measurement,tag=value field=1.5,other=3i 1670380342000000001`, one point per line.
//!
//! A point is `{measurement, tags, fields, time}`. Tags are strings; fields are numbers (`i` and `u` with every digit),
//! booleans or strings. `time` is in nanoseconds since 1970, whatever the unit in the payload; it is missing if the
//! line has none. Lines that begin with `#` are comments. A string may span several lines.

mod line;

use std::borrow::Cow;

use self::line::{Field, Lines, Point, Text};
use super::csv::range_in;
use super::picked::{Kind, Picked, Scalars};
use super::tree::{Node, PathTree};
use super::{Each, PayloadFault};
use crate::config::Precision;

/// What of a point is wanted.
struct Wanted<'n> {
    measurement: Option<&'n Node>,
    tags: Option<&'n Node>,
    fields: Option<&'n Node>,
    time: Option<&'n Node>,
}

/// With `numbers_only` other fields are passed over.
pub(super) fn documents<E: From<PayloadFault>>(
    (precision, numbers_only): (Precision, bool),
    text: &str,
    (tree, scalars): (&PathTree, &Scalars),
    picked: &mut Picked,
    each: Each<'_, E>,
) -> Result<(), E> {
    let root = &tree.root;
    let part = |key: &str| root.member(key.as_bytes(), &mut 0);
    let wanted =
        Wanted { measurement: part("measurement"), tags: part("tags"), fields: part("fields"), time: part("time") };
    let is_whole = |node: Option<&Node>| node.is_some_and(|node| node.slot.is_some());
    let has_whole = root.slot.is_some() || is_whole(wanted.tags) || is_whole(wanted.fields);
    let is_plain = matches!(scalars, Scalars::Plain(_)) && !has_whole && u32::try_from(text.len()).is_ok();
    let Wanted { measurement, tags, fields, time } = wanted;
    let mut lines = Lines::new(text);
    let mut point = Point::default();
    let mut is_empty = true;
    while let Some(number) = lines.next(&mut point)? {
        is_empty = false;
        if numbers_only {
            point.fields.retain(|(_, field)| matches!(field, Field::Number(_)));
        }
        if is_plain {
            picked.begin_plain(tree);
            if wanted.put_ranges(&point, precision, text, picked).is_some() {
                each(picked.document_in(text, number))?;
                continue;
            }
        }
        picked.begin(tree);
        if root.slot.is_some() {
            picked.whole::<PayloadFault>(root, |picked| {
                write_point(&point, precision, picked);
                Ok(())
            })?;
        } else {
            if let Some(node) = measurement {
                picked.scalar::<PayloadFault>(node, |picked| {
                    write_text(&point.measurement, picked);
                    Ok(())
                })?;
            }
            if let Some(node) = tags {
                pick(node, &point.tags, picked, write_text)?;
            }
            if let Some(node) = fields {
                pick(node, &point.fields, picked, write_field)?;
            }
            if let (Some(node), Some(time)) = (time, point.time) {
                picked.scalar::<PayloadFault>(node, |picked| {
                    write_time(time, precision, picked);
                    Ok(())
                })?;
            }
        }
        each(picked.document(Some(number)))?;
    }
    if is_empty { Err(PayloadFault::empty().into()) } else { Ok(()) }
}

impl Wanted<'_> {
    /// Takes the values as ranges of the payload's text; `None` if one of them is not written in it as it is.
    fn put_ranges(&self, point: &Point<'_>, precision: Precision, text: &str, picked: &mut Picked) -> Option<()> {
        if let Some(node) = self.measurement {
            picked.put(node, Kind::Text, range_in(text, point.measurement.borrowed()?));
        }
        if let Some(node) = self.tags {
            each_member(node, &point.tags, |node, tag| {
                picked.put(node, Kind::Text, range_in(text, tag.borrowed()?));
                Some(())
            })?;
        }
        if let Some(node) = self.fields {
            each_member(node, &point.fields, |node, field| {
                let (kind, range) = match field {
                    Field::Text(of_field) => (Kind::Text, range_in(text, of_field.borrowed()?)),
                    Field::Bool(truth) => (Kind::Bool(*truth), (0, 0)),
                    Field::Number(Cow::Borrowed(number)) => (Kind::Json, range_in(text, number)),
                    Field::Number(Cow::Owned(_)) => return None,
                };
                picked.put(node, kind, range);
                Some(())
            })?;
        }
        if let (Some(node), Some(time)) = (self.time, point.time) {
            let is_as_written =
                precision == Precision::Nanoseconds && line::is_plain_number(point.time_text) && time != 0;
            picked.put(node, Kind::Json, is_as_written.then(|| range_in(text, point.time_text))?);
        }
        Some(())
    }
}

/// Calls `put` with each wanted member of the tags or fields.
fn each_member<V>(node: &Node, members: &[(Text<'_>, V)], mut put: impl FnMut(&Node, &V) -> Option<()>) -> Option<()> {
    let mut likely = 0;
    for (key, value) in members {
        if let Some(child) = node.member(key.borrowed()?.as_bytes(), &mut likely) {
            put(child, value)?;
        }
    }
    Some(())
}

/// The wanted members of the tags or fields.
fn pick<V>(
    node: &Node,
    members: &[(Text<'_>, V)],
    picked: &mut Picked,
    write: impl Fn(&V, &mut Picked),
) -> Result<(), PayloadFault> {
    if node.slot.is_some() {
        return picked.whole(node, |picked| {
            write_members(members, picked, write);
            Ok(())
        });
    }
    let mut likely = 0;
    for (key, value) in members {
        if let Some(child) = node.member(key.plain().as_bytes(), &mut likely) {
            picked.scalar::<PayloadFault>(child, |picked| {
                write(value, picked);
                Ok(())
            })?;
        }
    }
    Ok(())
}

fn write_point(point: &Point<'_>, precision: Precision, picked: &mut Picked) {
    picked.text.push('{');
    picked.push_key("measurement");
    write_text(&point.measurement, picked);
    picked.push_key("tags");
    write_members(&point.tags, picked, write_text);
    picked.push_key("fields");
    write_members(&point.fields, picked, write_field);
    if let Some(time) = point.time {
        picked.push_key("time");
        write_time(time, precision, picked);
    }
    picked.text.push('}');
}

fn write_members<V>(members: &[(Text<'_>, V)], picked: &mut Picked, write: impl Fn(&V, &mut Picked)) {
    picked.text.push('{');
    for (key, value) in members {
        picked.push_key(&key.plain());
        write(value, picked);
    }
    picked.text.push('}');
}

fn write_text(text: &Text<'_>, picked: &mut Picked) {
    picked.push_string(&text.plain());
}

fn write_field(field: &Field<'_>, picked: &mut Picked) {
    match field {
        Field::Text(text) => write_text(text, picked),
        Field::Bool(truth) => picked.push_bool(*truth),
        Field::Number(number) => picked.text.push_str(number),
    }
}

/// In nanoseconds.
fn write_time(time: i64, precision: Precision, picked: &mut Picked) {
    picked.push_integer(time);
    if time != 0 {
        picked.text.push_str(match precision {
            Precision::Nanoseconds => "",
            Precision::Microseconds => "000",
            Precision::Milliseconds => "000000",
            Precision::Seconds => "000000000",
        });
    }
}

impl<'t> Text<'t> {
    /// The text itself, if it has no escapes.
    fn borrowed(&self) -> Option<&'t str> {
        self.escapable.is_empty().then_some(self.raw)
    }

    /// Without its escapes.
    fn plain(&self) -> Cow<'t, str> {
        if self.escapable.is_empty() {
            return Cow::Borrowed(self.raw);
        }
        let mut plain = String::with_capacity(self.raw.len());
        let mut rest = self.raw.chars().peekable();
        while let Some(character) = rest.next() {
            let escaped = (character == '\\').then(|| rest.next_if(|next| self.escapable.contains(*next))).flatten();
            plain.push(escaped.unwrap_or(character));
        }
        Cow::Owned(plain)
    }
}
