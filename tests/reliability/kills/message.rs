//! The messages of a round, and what must be found of them afterwards.

use std::collections::HashMap;
use std::ops::Range;

use super::database::{Found, Kept};
use crate::support::oracle::Tally;

/// One message in so many is refused by the table's CHECK, one in so many is no JSON: each ends as a dead letter.
pub(crate) const REFUSED_EVERY: u64 = 23;
pub(crate) const REFUSED_REST: u64 = 7;
const MALFORMED_EVERY: u64 = 31;
const MALFORMED_REST: u64 = 5;

const DEVICES: u64 = 5;

/// Message `id` of the round whose topics begin with `place`: topic and payload. Of many lengths.
pub(crate) fn message(place: &str, id: u64) -> (String, String) {
    let topic = format!("{place}/{}", device(id));
    if id % MALFORMED_EVERY == MALFORMED_REST {
        return (topic, format!("no JSON, but \"id\":{id}"));
    }
    let padding = "x".repeat((id * 37 % 211) as usize);
    (topic, format!(r#"{{"id":{id},"temp":{},"padding":"{padding}"}}"#, temp(id)))
}

fn device(id: u64) -> String {
    format!("device{}", id % DEVICES)
}

fn temp(id: u64) -> f64 {
    (id % 40) as f64 + 0.25
}

fn is_letter(id: u64) -> bool {
    id % MALFORMED_EVERY == MALFORMED_REST || id % REFUSED_EVERY == REFUSED_REST
}

/// What was promised for the round.
#[derive(Debug, Clone)]
pub(crate) struct Promise {
    pub(crate) place: String,
    pub(crate) published: Range<u64>,
    pub(crate) qos: u8,
    /// The broker lost what it held of the messages below, through no fault of the bridge.
    pub(crate) lost_by_broker_below: u64,
    /// At QoS 2: how often the broker sent a PUBLISH again after its PUBREL.
    pub(crate) repeats_excused: u64,
    /// The journal had to begin a new id, and may use its numbers again.
    pub(crate) is_renumbered: bool,
    /// A process knows nothing of what the one before it took at QoS 2.
    pub(crate) forgets_qos_2: bool,
}

/// The number of each message found, in the order of the journal; panics if one is not what was published.
fn ids(found: &Found, promise: &Promise) -> Vec<u64> {
    let id_of = |kept: &Kept| match kept {
        Kept::Row { id, device: found, temp: value, .. } => {
            assert!(!is_letter(*id), "message {id} is a row and should be a dead letter");
            assert_eq!((found, *value), (&device(*id), temp(*id)), "message {id} is not what was published");
            *id
        }
        Kept::Letter { topic, payload, reason, seq } => {
            let digits = payload.split("\"id\":").nth(1).unwrap_or_default();
            let digits = digits.split(|character: char| !character.is_ascii_digit()).next().unwrap_or_default();
            let id = digits.parse().unwrap_or_else(|_| panic!("dead letter {seq} ({reason}): {payload:?}"));
            assert!(is_letter(id), "message {id} is a dead letter ({reason}) and should be a row");
            let expected = message(&promise.place, id);
            assert_eq!((topic, payload), (&expected.0, &expected.1), "dead letter {id} is not what was published");
            id
        }
    };
    found.kept.iter().map(id_of).collect()
}

/// How many different messages of the promise are there.
pub(crate) fn distinct(found: &Found, promise: &Promise) -> usize {
    let ids = ids(found, promise).into_iter().filter(|id| *id >= promise.lost_by_broker_below);
    ids.collect::<std::collections::HashSet<_>>().len()
}

/// Checks everything that must be true of a database that holds all; returns how many messages came twice.
pub(crate) fn check(found: &Found, promise: &Promise) -> u64 {
    let ids = ids(found, promise);
    // Once from the journal to the database: every number of it exactly once, none skipped.
    if !promise.is_renumbered {
        check_numbers(found);
    }
    if promise.forgets_qos_2 {
        assert_eq!(found.offsets.len(), 1, "the offset's row is taken over at each start: {:?}", found.offsets);
    }
    let tally = Tally::of(
        ids.iter().filter(|id| **id >= promise.lost_by_broker_below).map(|id| id.cast_signed()),
        promise.published.start.max(promise.lost_by_broker_below)..promise.published.end,
    );
    tally.assert_none_lost("the database");
    if promise.qos == 2 && !promise.forgets_qos_2 {
        if promise.repeats_excused == 0 {
            tally.assert_each_once("the database");
        }
        assert!(
            tally.repeated() as u64 <= promise.repeats_excused,
            "more came twice than the broker repeated: {tally}"
        );
        let mut early: Vec<u64> = ids.iter().copied().filter(|id| *id < promise.lost_by_broker_below).collect();
        let count = early.len();
        early.sort_unstable();
        early.dedup();
        assert_eq!(early.len(), count, "messages of the lost session came twice");
    }
    if !promise.is_renumbered {
        check_order(&ids);
    }
    tally.repeated() as u64
}

fn check_numbers(found: &Found) {
    let seqs: Vec<u64> = found.kept.iter().map(Kept::seq).collect();
    let [next_seq] = found.offsets[..] else { panic!("offset rows: {:?}", found.offsets) };
    let expected: Vec<u64> = (1..next_seq).collect();
    assert!(seqs == expected, "the journal's numbers in the database are not 1..{next_seq}, each once: {seqs:?}");
}

/// Per topic, each message comes for the first time after those published before it.
fn check_order(ids: &[u64]) {
    let mut newest: HashMap<u64, u64> = HashMap::new();
    let mut seen = std::collections::HashSet::new();
    for &id in ids.iter().filter(|id| seen.insert(**id)) {
        if let Some(before) = newest.insert(id % DEVICES, id) {
            assert!(before < id, "message {before} came before message {id} of the same topic");
        }
    }
}
