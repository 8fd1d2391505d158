//! A value that fits its column, on its way from coercion to the sink's encoder.

/// One column's value. Which variants a [`crate::sink::ColumnType`] can meet:
///
/// | column type | cell |
/// |---|---|
/// | Bool | Bool |
/// | Int2, Int4, Int8 | Int (in range) |
/// | Float4, Float8 | Float |
/// | Numeric | Decimal |
/// | Text, Enum, Inet (canonical text) | Text |
/// | Json, Jsonb | Text (valid JSON; without `\u0000` for Jsonb) |
/// | Bytes | Bytes |
/// | Uuid | Uuid |
/// | Date | Date |
/// | Time | Time |
/// | Timestamp, Timestamptz, TimestampText | Timestamp |
/// | Interval | Interval |
/// | Array | Array |
/// | Any | Null, Bool, Int, Float, Text, Bytes |
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Cell<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    /// A finite decimal number in plain or exponent notation, or `NaN`.
    Decimal(&'a str),
    /// Without NUL where the sink is Postgres.
    Text(&'a str),
    Bytes(&'a [u8]),
    Uuid([u8; 16]),
    /// Days since 1970-01-01.
    Date(i32),
    /// Microseconds since midnight.
    Time(i64),
    /// Microseconds since 1970-01-01T00:00:00 (UTC for Timestamptz, local for Timestamp).
    Timestamp(i64),
    /// As Postgres holds it: months and days are not a fixed number of microseconds.
    Interval {
        months: i32,
        days: i32,
        micros: i64,
    },
    /// Elements, each of which fits the array's element type.
    Array(&'a [Cell<'a>]),
}
