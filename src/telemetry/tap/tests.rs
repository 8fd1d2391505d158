use super::note::PAYLOAD_BYTES_MAX;
use super::*;
use crate::clock::Timestamp;
use crate::message::{Message, Properties, Qos, Seq};

fn message(seq: u64, payload: &[u8]) -> Message<'_> {
    Message {
        topic: "t",
        payload,
        qos: Qos::AtLeastOnce,
        retain: false,
        dup: false,
        properties: Properties::NONE,
        received_at: Timestamp(0),
        fault: None,
        seq: Seq(seq),
    }
}

fn recorder(taps: &Arc<Taps>) -> Recorder {
    Recorder::new(Arc::clone(taps), "local".into())
}

fn write(recorder: &mut Recorder, rule: &str, seq: u64) {
    recorder.written(&rule.into(), &message(seq, b"{}"), ["rows"].into_iter(), 1);
}

/// Rule, number and outcome of each.
fn shown(taken: &Taken) -> Vec<String> {
    let one = |note: &Value| format!("{} {} {}", note["rule"], note["seq"], note["outcome"]).replace('"', "");
    taken.messages.iter().map(one).collect()
}

#[test]
fn nothing_is_noted_while_nobody_follows_and_a_follower_gets_what_was_committed() {
    let taps = Arc::new(Taps::default());
    let mut recorder = recorder(&taps);
    recorder.begin();
    write(&mut recorder, "a", 1);
    assert!(recorder.notes.list.is_empty());
    let id = taps.open(Vec::new(), 10).unwrap();
    recorder.begin();
    write(&mut recorder, "a", 2);
    // It came to nothing, and is gathered again.
    recorder.begin();
    write(&mut recorder, "a", 2);
    recorder.passed(None, Fate::Unmatched, &message(3, b"x"));
    assert!(taps.take(id).unwrap().messages.is_empty(), "not before it is committed");
    recorder.publish();
    let taken = taps.take(id).unwrap();
    assert_eq!(shown(&taken), ["a 2 written", "null 3 unmatched"]);
    assert_eq!((&taken.messages[0]["tables"][0], taken.not_shown), (&Value::from("rows"), 0));
}

#[test]
fn what_the_database_refuses_was_not_written() {
    let taps = Arc::new(Taps::default());
    let id = taps.open(Vec::new(), 10).unwrap();
    let mut recorder = recorder(&taps);
    recorder.begin();
    (1..=3).for_each(|seq| write(&mut recorder, "a", seq));
    recorder.refused(Some(&"a".into()), Fate::DeadLettered, &message(2, b"x"), "constraint", "too cold");
    recorder.withdraw(&"a".into(), Seq(2));
    recorder.publish();
    let taken = taps.take(id).unwrap();
    assert_eq!(shown(&taken), ["a 1 written", "a 2 dead_lettered", "a 3 written"]);
    assert_eq!((&taken.messages[1]["reason"], &taken.messages[1]["error"]), (&"constraint".into(), &"too cold".into()));
}

#[test]
fn a_flood_is_counted_and_does_not_hide_what_gave_no_row() {
    let taps = Arc::new(Taps::default());
    let (all, one) = (taps.open(Vec::new(), 2).unwrap(), taps.open(vec!["b".to_owned()], 1).unwrap());
    let mut recorder = recorder(&taps);
    for batch in 0..2 {
        recorder.begin();
        (1..=10).for_each(|seq| write(&mut recorder, if seq % 2 == 0 { "b" } else { "a" }, batch * 100 + seq));
        recorder.refused(Some(&"a".into()), Fate::Dropped, &message(batch * 100 + 11, b"x"), "parse", "no JSON");
        recorder.publish();
    }
    let taken = taps.take(all).unwrap();
    assert_eq!(shown(&taken), ["a 1 written", "b 2 written", "a 11 dropped", "a 111 dropped"]);
    assert_eq!(taken.not_shown, 18);
    let taken = taps.take(one).unwrap();
    assert_eq!((shown(&taken), taken.not_shown), (vec!["b 2 written".to_owned()], 9));
}

#[test]
fn followers_are_bounded_and_an_unknown_one_gets_nothing() {
    let taps = Taps::default();
    let ids: Vec<_> = (0..FOLLOWERS_MAX).map(|_| taps.open(Vec::new(), 1).unwrap()).collect();
    assert!(taps.open(Vec::new(), 1).is_none());
    let unknown = (0..).find(|id| !ids.contains(id)).unwrap();
    assert!(taps.take(unknown).is_none() && taps.take(ids[0]).is_some());
}

#[tokio::test(start_paused = true)]
async fn a_follower_that_asks_no_more_is_forgotten() {
    let taps = Arc::new(Taps::default());
    let id = taps.open(Vec::new(), 1).unwrap();
    let mut recorder = recorder(&taps);
    recorder.begin();
    tokio::time::advance(ABSENCE).await;
    write(&mut recorder, "a", 1);
    recorder.publish();
    assert!(taps.take(id).is_none());
    recorder.begin();
    assert!(recorder.interest.is_none());
}

#[test]
fn payloads_are_cut_and_those_that_are_no_text_are_hexadecimal() {
    let long = "é".repeat(PAYLOAD_BYTES_MAX);
    for (payload, field, expected) in [
        (&b"\x1b[2J"[..], "payload", "\x1b[2J".to_owned()),
        (b"\xff\x00", "payload_hex", "ff00".to_owned()),
        (&[&b"x"[..], long.as_bytes()].concat(), "payload", format!("x{}", "é".repeat(255))),
    ] {
        let taps = Arc::new(Taps::default());
        let id = taps.open(Vec::new(), 1).unwrap();
        let mut recorder = recorder(&taps);
        recorder.begin();
        recorder.passed(Some(&"a".into()), Fate::Filtered, &message(1, payload));
        recorder.publish();
        let note = taps.take(id).unwrap().messages.remove(0);
        assert_eq!((&note[field], &note["payload_bytes"]), (&expected.into(), &payload.len().into()));
    }
}
