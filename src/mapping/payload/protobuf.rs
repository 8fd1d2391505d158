//! Protobuf messages of a type in the rule's descriptor file.
//!
//! A message is an object under the names of its fields in the .proto file (their JSON names are found too). Enum
//! values are names; a number without a name stays a number. Bytes are bytes. A `Timestamp` taken whole is its RFC 3339
//! text, a wrapper its value. A field that the sender leaves out has its default, unless the field has presence
//! (`optional`, messages, `oneof`): then it is missing. Unknown fields are ignored.

use std::borrow::Cow;

use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor, ReflectMessage, Value};

use super::epoch;
use super::picked::Picked;
use super::tree::{Node, PathTree};
use super::{Each, PayloadFault};
use crate::config::MessageType;

/// A list takes up to some 50 times the memory of its bytes while it is read.
const MESSAGE_BYTES_MAX: usize = 4 << 20;

pub(super) fn document<E: From<PayloadFault>>(
    message_type: &MessageType,
    payload: &[u8],
    tree: &PathTree,
    picked: &mut Picked,
    each: Each<'_, E>,
) -> Result<(), E> {
    if payload.len() > MESSAGE_BYTES_MAX {
        let mib = MESSAGE_BYTES_MAX >> 20;
        return Err(
            PayloadFault::size(format!("the payload is larger than a protobuf message may be ({mib} MiB)")).into()
        );
    }
    let descriptor = &message_type.descriptor;
    let message = DynamicMessage::decode(descriptor.clone(), payload).map_err(|_| {
        PayloadFault::parse(format!("the payload is not a protobuf message `{}`", descriptor.full_name()))
    })?;
    picked.begin(tree);
    let kind = Kind::Message(descriptor.clone());
    pick(&Value::Message(message), &kind, &tree.root, picked)?;
    each(picked.document(None))
}

/// Takes a value that a path leads to, and those in it.
fn pick(value: &Value, kind: &Kind, node: &Node, picked: &mut Picked) -> Result<(), PayloadFault> {
    picked.scalar(node, |picked| write(value, kind, picked))?;
    if !node.has_parts() {
        return Ok(());
    }
    match value {
        Value::Message(message) => {
            for (field, value) in present(message) {
                let child = node.member(field.name().as_bytes(), &mut 0);
                if let Some(child) = child.or_else(|| node.member(field.json_name().as_bytes(), &mut 0)) {
                    pick(&value, &field.kind(), child, picked)?;
                }
            }
        }
        Value::List(values) => {
            let forward = node.indexes.iter().map(|(index, child)| (Some(*index as usize), child));
            let backward =
                node.from_end.iter().map(|(index, child)| (values.len().checked_sub(*index as usize), child));
            for (index, child) in forward.chain(backward) {
                if let Some(value) = index.and_then(|index| values.get(index)) {
                    pick(value, kind, child, picked)?;
                }
            }
        }
        Value::Map(entries) => {
            let kind = value_kind(kind);
            for (key, value) in entries {
                if let Some(child) = node.member(key_text(key).as_bytes(), &mut 0) {
                    pick(value, &kind, child, picked)?;
                }
            }
        }
        _ => {}
    }
    Ok(())
}

/// The fields that are there, sent or by default.
fn present(message: &DynamicMessage) -> impl Iterator<Item = (FieldDescriptor, Cow<'_, Value>)> {
    let fields: Vec<_> = message.descriptor().fields().collect();
    let is_present = |field: &FieldDescriptor| !field.supports_presence() || message.has_field(field);
    fields.into_iter().filter(is_present).map(|field| {
        let value = message.get_field(&field);
        (field, value)
    })
}

/// Writes a value as JSON.
fn write(value: &Value, kind: &Kind, picked: &mut Picked) -> Result<(), PayloadFault> {
    match value {
        Value::Bool(truth) => picked.push_bool(*truth),
        Value::I32(number) => picked.push_integer(*number),
        Value::I64(number) => picked.push_integer(*number),
        Value::U32(number) => picked.push_integer(*number),
        Value::U64(number) => picked.push_integer(*number),
        Value::F32(number) => picked.push_single(*number),
        Value::F64(number) => picked.push_float(*number),
        Value::String(text) => picked.push_string(text),
        Value::Bytes(bytes) => picked.push_bytes(bytes)?,
        Value::EnumNumber(number) => match kind.as_enum().and_then(|known| known.get_value(*number)) {
            Some(known) => picked.push_string(known.name()),
            None => picked.push_integer(*number),
        },
        Value::Message(message) => write_message(message, picked)?,
        Value::List(values) => {
            picked.text.push('[');
            for value in values {
                picked.push_comma();
                write(value, kind, picked)?;
            }
            picked.text.push(']');
        }
        Value::Map(entries) => {
            let kind = value_kind(kind);
            let mut entries: Vec<_> = entries.iter().map(|(key, value)| (key_text(key), value)).collect();
            entries.sort_by(|one, other| one.0.cmp(&other.0));
            picked.text.push('{');
            for (key, value) in entries {
                picked.push_key(&key);
                write(value, &kind, picked)?;
            }
            picked.text.push('}');
        }
    }
    picked.end().map(drop)
}

fn write_message(message: &DynamicMessage, picked: &mut Picked) -> Result<(), PayloadFault> {
    let descriptor = message.descriptor();
    if is_known(&descriptor, &["Timestamp"]) {
        let part =
            |name| message.get_field_by_name(name).and_then(|value| value.as_i64().or(value.as_i32().map(i64::from)));
        let nanos = part("nanos").unwrap_or(0);
        if !(0..1_000_000_000).contains(&nanos) {
            return Err(PayloadFault::parse("a Timestamp whose nanos are not from 0 to 999999999"));
        }
        let nanoseconds = i128::from(part("seconds").unwrap_or(0)) * 1_000_000_000 + i128::from(nanos);
        let text = epoch::rfc3339(nanoseconds);
        picked.push_string(&text.ok_or_else(|| PayloadFault::parse("a Timestamp outside the years 0 to 9999"))?);
        return Ok(());
    }
    const WRAPPERS: [&str; 9] = [
        "DoubleValue",
        "FloatValue",
        "Int64Value",
        "UInt64Value",
        "Int32Value",
        "UInt32Value",
        "BoolValue",
        "StringValue",
        "BytesValue",
    ];
    if is_known(&descriptor, &WRAPPERS)
        && let Some(field) = descriptor.get_field_by_name("value")
    {
        return write(&message.get_field(&field), &field.kind(), picked);
    }
    picked.text.push('{');
    for (field, value) in present(message) {
        picked.push_key(field.name());
        write(&value, &field.kind(), picked)?;
    }
    picked.text.push('}');
    Ok(())
}

/// Whether it is one of these types of protobuf's own.
fn is_known(descriptor: &MessageDescriptor, names: &[&str]) -> bool {
    descriptor.full_name().strip_prefix("google.protobuf.").is_some_and(|name| names.contains(&name))
}

/// The kind of a map's values; `kind` is that of its entries.
fn value_kind(kind: &Kind) -> Kind {
    match kind {
        Kind::Message(entry) if entry.is_map_entry() => entry.map_entry_value_field().kind(),
        other => other.clone(),
    }
}

fn key_text(key: &MapKey) -> String {
    match key {
        MapKey::Bool(key) => key.to_string(),
        MapKey::I32(key) => key.to_string(),
        MapKey::I64(key) => key.to_string(),
        MapKey::U32(key) => key.to_string(),
        MapKey::U64(key) => key.to_string(),
        MapKey::String(key) => key.clone(),
    }
}
