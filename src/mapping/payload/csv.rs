//! Comma-separated values of RFC 4180: quoted fields may hold delimiters, line ends and doubled quotes.
//!
//! A record is an array of strings, or an object if the fields have names. All records of a payload have the same
//! number of fields. Records end with LF, CR LF or CR; empty lines are skipped. A quote inside a field that does not
//! begin with a quote is an ordinary character.

mod records;

use self::records::{Field, Records};
use super::picked::{Kind, Picked, Scalars};
use super::tree::{Node, PathTree};
use super::{Each, PayloadFault};
use crate::config::{Csv, CsvHeader};

/// Fields of a usual record.
const FIELDS: usize = 16;

/// Fields of a record: tables have far fewer columns.
const FIELDS_MAX: usize = 65_536;

pub(super) fn documents<E: From<PayloadFault>>(
    csv: &Csv,
    text: &str,
    (tree, scalars): (&PathTree, &Scalars),
    picked: &mut Picked,
    each: Each<'_, E>,
) -> Result<(), E> {
    let is_plain =
        matches!(scalars, Scalars::Plain(_)) && tree.root.slot.is_none() && u32::try_from(text.len()).is_ok();
    let mut records = Records::new(text, csv.delimiter);
    let mut fields: Vec<Field<'_>> = Vec::with_capacity(csv.columns.as_ref().map_or(FIELDS, Vec::len));
    if csv.header != CsvHeader::None {
        records.next(&mut fields)?.ok_or_else(PayloadFault::empty)?;
    }
    let header: Vec<String>;
    let names = if csv.header == CsvHeader::Columns {
        header = fields.iter().map(|field| field.text().trim().to_owned()).collect();
        Some(header.as_slice())
    } else {
        csv.columns.as_deref()
    };
    let mut wanted: Vec<(usize, &Node)> = Vec::with_capacity(names.map_or(0, <[String]>::len));
    let mut likely = 0;
    for (at, name) in names.unwrap_or_default().iter().enumerate() {
        wanted.extend(tree.root.member(name.as_bytes(), &mut likely).map(|node| (at, node)));
    }
    let mut count = names.map(|names| (names.len(), "are named"));
    let mut is_empty = csv.header == CsvHeader::None;
    while let Some(line) = records.next(&mut fields)? {
        is_empty = false;
        let (expected, why) = *count.get_or_insert((fields.len(), "the first record has"));
        if fields.len() != expected {
            let found = fields.len();
            let message = format!("line {line}: a record of {found} fields, where {expected} {why}");
            return Err(PayloadFault::parse(message).into());
        }
        // Doubled quotes must be undone first.
        if is_plain && !fields.iter().any(|field| field.has_pairs) {
            picked.begin_plain(tree);
            let mut row = Row { csv, fields: &fields, picked };
            let put = |row: &mut Row<'_>, node: &Node, at: usize| {
                row.put_range(node, at, text);
                Ok(())
            };
            match names {
                Some(_) => row.named(&wanted, put)?,
                None => row.positional(&tree.root, put)?,
            }
            each(picked.document_in(text, line))?;
            continue;
        }
        picked.begin(tree);
        let mut row = Row { csv, fields: &fields, picked };
        match names {
            _ if tree.root.slot.is_some() => row.whole(&tree.root, names)?,
            Some(_) => row.named(&wanted, Row::put)?,
            None => row.positional(&tree.root, Row::put)?,
        }
        each(picked.document(Some(line)))?;
    }
    if is_empty { Err(PayloadFault::empty().into()) } else { Ok(()) }
}

struct Row<'r> {
    csv: &'r Csv,
    fields: &'r [Field<'r>],
    picked: &'r mut Picked,
}

impl Row<'_> {
    fn whole(&mut self, root: &Node, names: Option<&[String]>) -> Result<(), PayloadFault> {
        let Row { csv, fields, picked } = self;
        picked.whole(root, |picked| {
            picked.text.push(if names.is_some() { '{' } else { '[' });
            for (at, field) in fields.iter().enumerate() {
                match names {
                    Some(names) => picked.push_key(&names[at]),
                    None => picked.push_comma(),
                }
                write(csv, field, picked);
            }
            picked.text.push(if names.is_some() { '}' } else { ']' });
            Ok(())
        })
    }

    #[inline]
    fn named(
        &mut self,
        wanted: &[(usize, &Node)],
        put: impl Fn(&mut Self, &Node, usize) -> Result<(), PayloadFault>,
    ) -> Result<(), PayloadFault> {
        wanted.iter().try_for_each(|(at, node)| put(self, node, *at))
    }

    #[inline]
    fn positional(
        &mut self,
        root: &Node,
        put: impl Fn(&mut Self, &Node, usize) -> Result<(), PayloadFault>,
    ) -> Result<(), PayloadFault> {
        for (index, node) in &root.indexes {
            if (*index as usize) < self.fields.len() {
                put(self, node, *index as usize)?;
            }
        }
        for (from_end, node) in &root.from_end {
            if let Some(at) = self.fields.len().checked_sub(*from_end as usize) {
                put(self, node, at)?;
            }
        }
        Ok(())
    }

    /// The field is a range of the payload's text.
    #[inline]
    fn put_range(&mut self, node: &Node, at: usize, text: &str) {
        let raw = self.fields[at].raw;
        let kind = if self.csv.null.iter().any(|null| null == raw) { Kind::Null } else { Kind::Text };
        self.picked.put(node, kind, range_in(text, raw));
    }

    fn put(&mut self, node: &Node, at: usize) -> Result<(), PayloadFault> {
        let field = &self.fields[at];
        self.picked.scalar(node, |picked| {
            write(self.csv, field, picked);
            Ok(())
        })
    }
}

/// Where a part of a text lies in it. The text has fewer than 2^32 bytes.
pub(super) fn range_in(text: &str, part: &str) -> (u32, u32) {
    let start = part.as_ptr().addr() - text.as_ptr().addr();
    (start as u32, (start + part.len()) as u32)
}

fn write(csv: &Csv, field: &Field<'_>, picked: &mut Picked) {
    if field.has_pairs {
        let text = field.text();
        return if csv.null.iter().any(|null| *null == text) { picked.push_null() } else { picked.push_string(&text) };
    }
    if csv.null.iter().any(|null| null == field.raw) {
        return picked.push_null();
    }
    picked.push_string(field.raw);
}
