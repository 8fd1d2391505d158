//! The messages published in a world, and what the bridge owes for each of them.

/// A message's number, from 0; it tells what the message carries.
pub(super) type Number = u64;

/// What should become of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A row.
    Good,
    /// A dead letter: the payload does not fit the columns.
    Unfit,
    /// A dead letter: the database refuses the row.
    Refused,
    /// A dead letter without its payload: larger than `mqtt.max_packet_size`.
    TooLarge,
}

/// `mqtt.max_packet_size` in every world.
pub(super) const PACKET_BYTES_MAX: u32 = 1500;

pub(super) fn kind_of(number: Number) -> Kind {
    match number % 23 {
        5 => Kind::Unfit,
        11 => Kind::Refused,
        17 => Kind::TooLarge,
        _ => Kind::Good,
    }
}

/// Its topic. What is too large says its number there, as nothing else of it is kept.
pub(super) fn topic_of(number: Number) -> String {
    match (kind_of(number), number * 5 % 7) {
        (Kind::TooLarge, _) => format!("t/large/{number}"),
        (_, 0..3) => "t/a".to_owned(),
        (_, 3..5) => "t/b".to_owned(),
        _ => "d/a".to_owned(),
    }
}

/// The padding that its row holds: of many lengths, and different in each.
pub(super) fn pad_of(number: Number) -> String {
    let len = match number % 13 {
        0 => 700,
        n => n * 9,
    };
    (0..len).map(|at| char::from(b'a' + ((number * 7 + at) % 26) as u8)).collect()
}

/// How many rows it gives, each in a table of its own.
pub(super) fn parts_of(number: Number) -> i64 {
    1 + (number / 2 % 3) as i64
}

/// What its rows say in a column that has a default: those of every other message leave it out.
pub(super) fn extra_of(number: Number) -> Option<i64> {
    (number % 2 == 1).then_some(number as i64)
}

pub(super) fn payload_of(number: Number) -> Vec<u8> {
    let parts: Vec<i64> = (0..parts_of(number)).collect();
    match kind_of(number) {
        Kind::Good | Kind::Refused => {
            let extra = extra_of(number).map(|extra| format!(",\"extra\":{extra}")).unwrap_or_default();
            format!("{{\"n\":{number},\"pad\":\"{}\",\"parts\":{parts:?}{extra}}}", pad_of(number))
        }
        // The last of its rows: those before it must not stay.
        Kind::Unfit => format!("{{\"n\":\"no {number} number\",\"parts\":{parts:?}}}"),
        Kind::TooLarge => "x".repeat(2000),
    }
    .into_bytes()
}

/// Reads the number out of a dead letter's payload, or of its topic if the payload was not kept.
pub(super) fn number_in(text: &[u8]) -> Option<Number> {
    let digits: Vec<u8> =
        text.iter().copied().skip_while(|byte| !byte.is_ascii_digit()).take_while(u8::is_ascii_digit).collect();
    String::from_utf8(digits).ok()?.parse().ok()
}

/// A published message.
#[derive(Debug, Clone)]
pub(super) struct Message {
    pub(super) topic: String,
    pub(super) qos: u8,
    /// The QoS at which the session took it; `None` if it had no subscription for it.
    pub(super) due: Option<u8>,
    /// The broker lost it together with the session, before the bridge had taken it.
    pub(super) is_excused: bool,
    /// The broker sent its PUBLISH again after its PUBREL: it may be stored again.
    pub(super) is_repeated: bool,
    /// The bridge has acknowledged it.
    pub(super) is_acknowledged: bool,
    /// It was acknowledged, and found in every database.
    pub(super) is_found: bool,
}

/// All that was published, by number.
pub(super) type Messages = Vec<Message>;
