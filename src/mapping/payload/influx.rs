//! InfluxDB's line protocol: `measurement,tag=value field=1.5,other=3i 1670380342000000001`, one point per line.
//!
//! A point is `{measurement, tags, fields, time}`. Tags are strings; fields are numbers (`i` and `u` with every digit),
//! booleans or strings. `time` is in nanoseconds since 1970, whatever the unit in the payload; it is missing if the
//! line has none. Lines that begin with `#` are comments. A string may span several lines.

mod line;

use std::borrow::Cow;

use self::line::{Lines, Point, Text};
use super::picked::Picked;
use super::tree::{Node, PathTree};
use super::{Each, PayloadFault};
use crate::config::Precision;

/// With `numbers_only` other fields are passed over.
pub(super) fn documents<E: From<PayloadFault>>(
    precision: Precision,
    numbers_only: bool,
    text: &str,
    tree: &PathTree,
    picked: &mut Picked,
    each: Each<'_, E>,
) -> Result<(), E> {
    let root = &tree.root;
    let part = |key: &str| root.member(key.as_bytes(), &mut 0);
    let (measurement, tags, fields, time) = (part("measurement"), part("tags"), part("fields"), part("time"));
    let mut lines = Lines::new(text);
    let mut point = Point::default();
    let mut is_empty = true;
    while let Some(number) = lines.next(&mut point)? {
        is_empty = false;
        if numbers_only {
            point.fields.retain(|(_, field)| matches!(field, line::Field::Number(_)));
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

fn write_field(field: &line::Field<'_>, picked: &mut Picked) {
    match field {
        line::Field::Text(text) => write_text(text, picked),
        line::Field::Bool(truth) => picked.push_bool(*truth),
        line::Field::Number(number) => picked.text.push_str(number),
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
