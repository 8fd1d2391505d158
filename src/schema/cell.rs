//! A value that fits its column, on its way from coercion to the sink's encoder.

/// One column's value. Which variants a [`crate::schema::ColumnType`] can meet:
///
/// | column type | cell |
/// |---|---|
/// | Bool | Bool |
/// | Int2, Int4, Int8 | Int (in range) |
/// | Float4, Float8 | Float |
/// | Numeric | Decimal |
/// | Text, Enum, Cast, Inet (canonical text, with `/prefix` if it was written) | Text |
/// | Json, Jsonb, JsonText | Text (valid JSON; for Jsonb without `\u0000` and lone surrogates) |
/// | Interval | Interval |
/// | Bytes | Bytes |
/// | Uuid | Uuid |
/// | Date | Date |
/// | Time | Time |
/// | Timestamp, Timestamptz, TimestampText | Timestamp |
/// | Array | Array (elements: Null or what the element type meets, never an array) |
/// | Any | Null, Bool, Int, Float, Text, Bytes |
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Cell<'a> {
    Null,
    Bool(bool),
    Int(i64),
    /// Finite.
    Float(f64),
    /// A finite decimal number as JSON writes it (leading zeros allowed): `-12.5`, `1e3`. It fits its numeric(p,s).
    /// With or without p and s it has at most 131,000 digits, 16,383 of them after the point, in any notation.
    Decimal(&'a str),
    /// Without NUL unless the encoder says that text takes it.
    Text(&'a str),
    Bytes(&'a [u8]),
    Uuid([u8; 16]),
    /// Days since 1970-01-01.
    Date(i32),
    /// Microseconds since midnight.
    Time(i64),
    /// Microseconds since 1970-01-01T00:00:00 (UTC for Timestamptz, local for Timestamp).
    Timestamp(i64),
    /// Postgres keeps the three apart: a month has no fixed number of days, nor a day of hours.
    Interval {
        months: i32,
        days: i32,
        micros: i64,
    },
    /// Elements, each of which fits the array's element type.
    Array(&'a [Cell<'a>]),
}
