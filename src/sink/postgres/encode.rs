//! Cells in binary COPY's format: each field is its length (i32, −1 for NULL) and its bytes, all big-endian, as the
//! type's `*_recv` function in the server reads them.
//!
//! | type | bytes |
//! |---|---|
//! | types that the server casts | their text |
//! | bool, int2/4/8, float4/8, uuid, bytea, text and enums | as they are |
//! | json / jsonb | the text / a version byte 1 and the text |
//! | date | i32 days since 2000-01-01 |
//! | time, timestamp, timestamptz | i64 microseconds since midnight / 2000-01-01T00:00:00 |
//! | interval | i64 microseconds, i32 days, i32 months |
//! | numeric | digit count, weight, sign, display scale (i16 each), then base-10,000 digits (i16) |
//! | inet, cidr | family 2 or 3, prefix bits, 0, address length, address |
//! | array | dimensions i32, has-NULL i32, element OID u32, per dimension length and lower bound i32, then the elements |
//!
//! A cell that does not fit its column violates the contract with mapping. It must neither panic in production nor
//! become another value. So it is written with the field length [`MISFIT`], which the server refuses for every type
//! with 22P04, or with 22P02 or 22P03 where rows go by INSERT: exactly this row is found and becomes a dead letter.

use std::net::IpAddr;

use crate::batch::RowEncoder;
use crate::schema::{Cell, ColumnType, PostgresDialect};

/// What begins every binary COPY: signature, no flags, no extension.
pub(super) const COPY_HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";

/// What ends it: −1 in place of a row's column count.
pub(super) const COPY_TRAILER: &[u8] = &[0xff, 0xff];

/// Field length of NULL.
const NULL: i32 = -1;

/// A field length that the server refuses for any type: "invalid field size", 22P04.
const MISFIT: i32 = -2;

/// 2000-01-01 in days and microseconds since 1970-01-01.
const EPOCH_DAYS: i32 = 10_957;
const EPOCH_MICROS: i64 = EPOCH_DAYS as i64 * 86_400_000_000;

/// Postgres' limits of numeric: digits before and after the decimal point.
const NUMERIC_INTEGER_DIGITS_MAX: i64 = 131_072;
const NUMERIC_SCALE_MAX: i64 = 16_383;

/// Encodes rows as tuples of binary COPY.
#[derive(Debug, Clone, Copy, Default)]
pub struct PostgresEncoder;

impl RowEncoder for PostgresEncoder {
    type Dialect = PostgresDialect;

    fn begin_row(&self, column_count: usize, out: &mut Vec<u8>) {
        // A Postgres table has at most 1,600 columns.
        out.extend_from_slice(&i16::try_from(column_count).unwrap_or(i16::MAX).to_be_bytes());
    }

    // Put into each branch of coercion, where cell and type are known: one line of `field` is left of it there.
    #[inline(always)]
    fn cell(&self, column_type: &ColumnType, cell: Cell<'_>, out: &mut Vec<u8>) {
        let start = out.len();
        if field(column_type, cell, out).is_none() {
            put_misfit(start, out);
            debug_assert!(false, "mapping made a cell that does not fit {column_type:?}");
        }
    }
}

/// Takes back what was written of a field and marks it as one that the server refuses.
#[cold]
fn put_misfit(start: usize, out: &mut Vec<u8>) {
    out.truncate(start);
    out.extend_from_slice(&MISFIT.to_be_bytes());
}

/// Appends a field; `None`, and perhaps a part of it, if the cell does not fit the type.
#[inline(always)]
pub(super) fn field(column_type: &ColumnType, cell: Cell<'_>, out: &mut Vec<u8>) -> Option<()> {
    match (column_type, cell) {
        (_, Cell::Null) => out.extend_from_slice(&NULL.to_be_bytes()),
        (ColumnType::Bool, Cell::Bool(value)) => put(&[u8::from(value)], out)?,
        (ColumnType::Int2, Cell::Int(value)) => put(&i16::try_from(value).ok()?.to_be_bytes(), out)?,
        (ColumnType::Int4, Cell::Int(value)) => put(&i32::try_from(value).ok()?.to_be_bytes(), out)?,
        (ColumnType::Int8, Cell::Int(value)) => put(&value.to_be_bytes(), out)?,
        (ColumnType::Float8, Cell::Float(value)) => put(&value.to_be_bytes(), out)?,
        (ColumnType::Float4, Cell::Float(value)) => {
            let narrow = value as f32;
            // A finite value must not become infinite on the way.
            (narrow.is_finite() || !value.is_finite()).then_some(())?;
            put(&narrow.to_be_bytes(), out)?;
        }
        (ColumnType::Numeric(_), Cell::Decimal(text)) => measured(out, |out| numeric(text, out))?,
        (ColumnType::Text { .. } | ColumnType::Enum(_) | ColumnType::Json | ColumnType::Cast(_), Cell::Text(text)) => {
            put(text.as_bytes(), out)?;
        }
        (ColumnType::Jsonb, Cell::Text(text)) => measured(out, |out| {
            out.push(1);
            out.extend_from_slice(text.as_bytes());
            Some(())
        })?,
        (ColumnType::Bytes, Cell::Bytes(bytes)) => put(bytes, out)?,
        (ColumnType::Uuid, Cell::Uuid(bytes)) => put(&bytes, out)?,
        (ColumnType::Date, Cell::Date(days)) => put(&days.checked_sub(EPOCH_DAYS)?.to_be_bytes(), out)?,
        (ColumnType::Time(_), Cell::Time(micros)) => put(&micros.to_be_bytes(), out)?,
        (ColumnType::Timestamp(_) | ColumnType::Timestamptz(_), Cell::Timestamp(micros)) => {
            put(&timestamp(micros)?.to_be_bytes(), out)?;
        }
        (ColumnType::Interval(_), Cell::Interval { months, days, micros }) => measured(out, |out| {
            out.extend_from_slice(&micros.to_be_bytes());
            out.extend_from_slice(&days.to_be_bytes());
            out.extend_from_slice(&months.to_be_bytes());
            Some(())
        })?,
        (ColumnType::Inet, Cell::Text(text)) => measured(out, |out| inet(text, out))?,
        (ColumnType::Array(element, oid), Cell::Array(cells)) => measured(out, |out| array(element, *oid, cells, out))?,
        _ => return None,
    }
    Some(())
}

/// Appends a field of these bytes.
fn put(bytes: &[u8], out: &mut Vec<u8>) -> Option<()> {
    out.extend_from_slice(&i32::try_from(bytes.len()).ok()?.to_be_bytes());
    out.extend_from_slice(bytes);
    Some(())
}

/// Appends a field of what `write` appends, whose length is not known before.
fn measured(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>) -> Option<()>) -> Option<()> {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    write(out)?;
    let length = i32::try_from(out.len() - start - 4).ok()?;
    out[start..start + 4].copy_from_slice(&length.to_be_bytes());
    Some(())
}

/// Microseconds since 1970 as microseconds since 2000.
pub(super) fn timestamp(micros: i64) -> Option<i64> {
    micros.checked_sub(EPOCH_MICROS)
}

fn array(element: &ColumnType, oid: u32, cells: &[Cell<'_>], out: &mut Vec<u8>) -> Option<()> {
    // Postgres writes an empty array without dimensions.
    let dimensions = i32::from(!cells.is_empty());
    out.extend_from_slice(&dimensions.to_be_bytes());
    out.extend_from_slice(&i32::from(cells.contains(&Cell::Null)).to_be_bytes());
    out.extend_from_slice(&oid.to_be_bytes());
    if !cells.is_empty() {
        out.extend_from_slice(&i32::try_from(cells.len()).ok()?.to_be_bytes());
        out.extend_from_slice(&1i32.to_be_bytes());
    }
    cells.iter().try_for_each(|cell| field(element, *cell, out))
}

/// `a.b.c.d`, `a:b::c`, each with an optional `/bits`.
fn inet(text: &str, out: &mut Vec<u8>) -> Option<()> {
    let (address, bits) = match text.split_once('/') {
        Some((address, bits)) => (address, Some(bits.parse::<u8>().ok()?)),
        None => (text, None),
    };
    let mut put = |family: u8, bits_max: u8, octets: &[u8]| {
        let bits = bits.unwrap_or(bits_max);
        out.extend_from_slice(&[family, bits, 0, octets.len() as u8]);
        out.extend_from_slice(octets);
        (bits <= bits_max).then_some(())
    };
    match address.parse::<IpAddr>().ok()? {
        IpAddr::V4(address) => put(2, 32, &address.octets()),
        IpAddr::V6(address) => put(3, 128, &address.octets()),
    }
}

/// A decimal number in plain or exponent notation, or `NaN`.
///
/// The value is kept exactly, the display scale too: `1.50` stays `1.50`, `15e-1` becomes `1.5`, `1e3` becomes `1000`.
fn numeric(text: &str, out: &mut Vec<u8>) -> Option<()> {
    if text == "NaN" {
        out.extend_from_slice(&[0, 0, 0, 0, 0xC0, 0, 0, 0]);
        return Some(());
    }
    let (negative, unsigned) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
        None => (unsigned, 0),
    };
    let (integer, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = || integer.bytes().chain(fraction.bytes());
    let digit_count = integer.len() + fraction.len();
    (digit_count > 0 && digits().all(|byte| byte.is_ascii_digit())).then_some(())?;

    // The value is 0.DIGITS × 10^point.
    let point = i64::try_from(integer.len()).ok()? + i64::from(exponent);
    let scale = (i64::try_from(fraction.len()).ok()? - i64::from(exponent)).max(0);
    let leading_zeros = digits().take_while(|&byte| byte == b'0').count();
    let is_zero = leading_zeros == digit_count;
    let in_limits =
        scale <= NUMERIC_SCALE_MAX && (is_zero || point - leading_zeros as i64 <= NUMERIC_INTEGER_DIGITS_MAX);
    in_limits.then_some(())?;
    let significant = digits().skip(leading_zeros).map(|byte| byte - b'0');
    let point = if is_zero { 0 } else { point - leading_zeros as i64 };
    put_numeric(negative && !is_zero, significant, point, scale, out)
}

/// `digits` × 10^(`point` − their count), without leading zeros, in groups of four around the decimal point.
fn put_numeric(
    negative: bool,
    digits: impl Iterator<Item = u8>,
    point: i64,
    scale: i64,
    out: &mut Vec<u8>,
) -> Option<()> {
    let start = out.len();
    // The first group's weight: its digits stand for group × 10,000^weight.
    let weight = (point - 1).div_euclid(4);
    out.extend_from_slice(&[0; 2]);
    out.extend_from_slice(&i16::try_from(weight).ok()?.to_be_bytes());
    out.extend_from_slice(&(if negative { 0x4000u16 } else { 0 }).to_be_bytes());
    out.extend_from_slice(&u16::try_from(scale).ok()?.to_be_bytes());

    let groups = out.len();
    // The first group may have fewer than four digits, the last is filled with zeros.
    let mut room = (point - 1).rem_euclid(4) + 1;
    let mut group = 0u16;
    for digit in digits {
        group = group * 10 + u16::from(digit);
        room -= 1;
        if room == 0 {
            out.extend_from_slice(&group.to_be_bytes());
            (group, room) = (0, 4);
        }
    }
    if room < 4 && group > 0 {
        let shift = u32::try_from(room).ok()?;
        out.extend_from_slice(&(group * 10u16.pow(shift)).to_be_bytes());
    }
    // Groups of zeros at the end are not stored.
    while out.len() > groups && out[out.len() - 2..] == [0, 0] {
        out.truncate(out.len() - 2);
    }
    let count = i16::try_from((out.len() - groups) / 2).ok()?;
    if count == 0 {
        // Zero has weight 0.
        out[start + 2..start + 4].fill(0);
    }
    out[start..start + 2].copy_from_slice(&count.to_be_bytes());
    Some(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Digit count, weight, sign, scale and digits, as 16-bit numbers.
    fn numeric_words(text: &str) -> Option<Vec<u16>> {
        let mut out = Vec::new();
        numeric(text, &mut out)?;
        Some(out.chunks(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect())
    }

    #[test]
    fn numerics_have_the_groups_that_postgres_sends() {
        assert_eq!(numeric_words("0").unwrap(), [0, 0, 0, 0]);
        assert_eq!(numeric_words("-0.00").unwrap(), [0, 0, 0, 2]);
        assert_eq!(numeric_words("1").unwrap(), [1, 0, 0, 0, 1]);
        assert_eq!(numeric_words("10000").unwrap(), [1, 1, 0, 0, 1]);
        assert_eq!(numeric_words("12345.678").unwrap(), [3, 1, 0, 3, 1, 2345, 6780]);
        assert_eq!(numeric_words("-0.0001").unwrap(), [1, 0xFFFF, 0x4000, 4, 1]);
        assert_eq!(numeric_words("0.00001").unwrap(), [1, 0xFFFE, 0, 5, 1000]);
        assert_eq!(numeric_words("15e-1").unwrap(), [2, 0, 0, 1, 1, 5000]);
        assert_eq!(numeric_words("1.5E+3").unwrap(), [1, 0, 0, 0, 1500]);
        assert_eq!(numeric_words("NaN").unwrap(), [0, 0, 0xC000, 0]);
    }

    #[test]
    fn what_is_no_decimal_number_or_beyond_the_limits_does_not_fit() {
        for text in ["", "-", ".", "1e", "e5", "1e200000", "1e-16384", "Infinity", "0x1", "1_0", "1.2.3", "é"] {
            assert_eq!(numeric_words(text), None, "{text}");
        }
    }

    #[test]
    fn a_cell_that_does_not_fit_is_a_field_that_the_server_refuses() {
        let mut out = vec![0; 4];
        for (column_type, cell) in [
            (ColumnType::Int2, Cell::Int(40_000)),
            (ColumnType::Int8, Cell::Bool(true)),
            (ColumnType::Numeric(None), Cell::Decimal("1e1000000")),
        ] {
            assert_eq!(field(&column_type, cell, &mut out), None);
            put_misfit(4, &mut out);
            assert_eq!(out, [[0; 4], MISFIT.to_be_bytes()].concat());
            out.truncate(4);
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_the_number_and_address_parsers_panic(text in "[-+0-9.eENa:/]{0,60}|.{0,20}") {
            let _ = numeric(&text, &mut Vec::new());
            let _ = inet(&text, &mut Vec::new());
        }

        #[test]
        fn every_field_is_as_long_as_it_says(text in ".{0,40}", number: i64, bytes: Vec<u8>, absent: bool) {
            let text_type = ColumnType::Text { max_chars: None };
            let elements = [if absent { Cell::Null } else { Cell::Text(&text) }, Cell::Text("x")];
            let fields = [
                (&text_type, Cell::Text(&text)),
                (&ColumnType::Int8, Cell::Int(number)),
                (&ColumnType::Bytes, Cell::Bytes(&bytes)),
                (&ColumnType::Jsonb, Cell::Text("{}")),
                (&ColumnType::Array(Box::new(text_type.clone()), 25), Cell::Array(&elements)),
                (&ColumnType::Int8, Cell::Null),
            ];
            for (column_type, cell) in fields {
                let mut out = Vec::new();
                PostgresEncoder.cell(column_type, cell, &mut out);
                let length = i32::from_be_bytes(out[..4].try_into().unwrap());
                prop_assert_eq!(usize::try_from(length).unwrap_or(0), out.len() - 4);
            }
        }
    }
}
