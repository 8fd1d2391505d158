//! Which byte of an exchange is hit, and by what: from a seed, so that the seeds sweep every byte.

use std::time::Duration;

use crate::support::fault::{Fault, Trap, Way};

/// Longer than anything takes on a good link, shorter than anybody's patience.
const SHORT: Duration = Duration::from_millis(150);
/// Longer than the bridge waits for an answer, so that it is back before the far end hears of anything.
const BLACK_HOLE: Duration = Duration::from_secs(30);

/// How many bytes an exchange has.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lengths {
    pub(crate) up: u64,
    pub(crate) down: u64,
    /// Bytes upwards before which a stranded rest would be a second client (MQTT's CONNECT) and not a stale answer.
    pub(crate) greeting: u64,
}

impl Lengths {
    fn total(self) -> u64 {
        self.up + self.down
    }

    /// Whether so many turns have hit each byte.
    pub(crate) fn are_swept_by(self, turns: u64) -> bool {
        turns >= self.total()
    }
}

/// The `turn`th trap of an exchange. `black_holes` = one turn in how many is one: noticing them takes time.
pub(crate) fn trap(turn: u64, lengths: Lengths, black_holes: u64) -> Trap {
    let total = lengths.total();
    // A stride without a common divisor visits each byte once in `total` turns, and few turns reach all parts.
    let stride = (total * 618 / 1_000..).find(|&stride| stride > 0 && divisor(stride, total) == 1).unwrap();
    let byte = u64::try_from(u128::from(turn) * u128::from(stride) % u128::from(total)).unwrap();
    let (way, after) = if byte < lengths.up { (Way::Up, byte) } else { (Way::Down, byte - lengths.up) };
    // The second sweep meets each byte with the next kind.
    let fault = match (turn + turn / total) % 9 {
        _ if turn % black_holes == black_holes / 2 => Fault::BlackHole(BLACK_HOLE),
        0 => Fault::Reset,
        1 => Fault::HoldThenReset(SHORT),
        2 => Fault::HalfClose,
        3 => Fault::Close,
        4 => Fault::Hold(SHORT),
        5 => Fault::Split,
        6 if way == Way::Up && after >= lengths.greeting => Fault::Strand(SHORT),
        7 => Fault::Slow(Duration::from_millis(10)),
        _ => Fault::Reset,
    };
    Trap { way, after, fault }
}

fn divisor(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { divisor(b, a % b) }
}

#[test]
fn as_many_turns_as_an_exchange_has_bytes_hit_each_of_them() {
    let lengths = Lengths { up: 210, down: 333, greeting: 70 };
    let hit: std::collections::BTreeSet<_> =
        (0..543).map(|turn| trap(turn, lengths, 20)).map(|t| (t.way as u8, t.after)).collect();
    assert_eq!(hit.len(), 543);
    assert!(lengths.are_swept_by(543) && !lengths.are_swept_by(542));
}
