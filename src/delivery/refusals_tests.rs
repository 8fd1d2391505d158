//! Which refusals are told when, and in which words.

use super::*;
use crate::clock::Timestamp;
use crate::message::{Properties, Qos};

fn message(seq: u64) -> Message<'static> {
    Message {
        topic: "a/b",
        payload: b"s3cret",
        qos: Qos::AtLeastOnce,
        retain: false,
        dup: false,
        properties: Properties::NONE,
        received_at: Timestamp(0),
        fault: None,
        seq: Seq(seq),
    }
}

fn kind(rule: &str, reason: &'static str) -> Kind {
    Kind { whose: Whose::Rule(rule.into()), reason, fate: Fate::DeadLetter }
}

fn refused(seqs: impl IntoIterator<Item = u64>) -> Refused {
    let mut refused = Refused::new("a/b", "why");
    seqs.into_iter().for_each(|seq| refused.add(Seq(seq)));
    refused
}

fn after(begun: Instant, seconds: u64) -> Instant {
    begun + Duration::from_secs(seconds)
}

#[test]
fn the_first_of_a_rule_and_reason_is_due_at_once_and_then_once_a_minute_with_all_that_came() {
    let mut log = RefusalLog::new("local".into());
    let begun = Instant::now();
    let mut due = |kind: Kind, seqs: &[u64], seconds| {
        log.due(kind, refused(seqs.iter().copied()), after(begun, seconds)).map(|(_, due)| due.count)
    };
    assert_eq!(due(kind("r", "value"), &[1, 2], 0), Some(2));
    assert_eq!(due(kind("r", "value"), &[3], 1), None);
    assert_eq!(due(kind("r", "parse"), &[4], 2), Some(1), "each reason by itself");
    assert_eq!(due(kind("s", "value"), &[5], 2), Some(1), "each rule by itself");
    assert_eq!(due(kind("r", "value"), &[6, 7, 8], 59), None);
    assert_eq!(due(kind("r", "value"), &[9], 60), Some(5));
    assert_eq!(due(kind("r", "value"), &[10], 61), None);
}

#[tokio::test(start_paused = true)]
async fn what_comes_within_the_minute_is_told_after_it_also_if_nothing_more_comes() {
    let mut log = RefusalLog::new("local".into());
    let rule: Arc<str> = "r".into();
    let note = |log: &mut RefusalLog, seqs: std::ops::Range<u64>| {
        let mut refusals = Refusals::default();
        seqs.for_each(|seq| refusals.add(Some(&rule), "value", Fate::DeadLetter, &message(seq), "why"));
        log.note(&mut refusals);
    };
    let untold =
        |log: &RefusalLog| log.kinds.values().filter_map(|noted| noted.untold.as_ref()).map(|r| r.count).sum::<u64>();
    note(&mut log, 0..1);
    note(&mut log, 1..300);
    log.tell_due();
    assert_eq!(untold(&log), 299);
    tokio::time::advance(SILENCE).await;
    log.tell_due();
    assert_eq!(untold(&log), 0);
    note(&mut log, 300..302);
    log.tell_rest();
    assert_eq!(untold(&log), 0);
    assert_eq!(log.total, Unwritten { dead_lettered: 302, dropped: 0 });
}

#[test]
fn the_kinds_are_bounded_and_none_is_forgotten_before_it_was_told() {
    let mut log = RefusalLog::new("local".into());
    let begun = Instant::now();
    let rules = |from: u64| (from..from + KINDS_MAX as u64 + 10).map(|rule| (rule, kind(&format!("r{rule}"), "value")));
    let mut told = 0;
    for (rule, kind) in rules(0) {
        told += log.due(kind, refused([rule]), begun).map_or(0, |(_, due)| due.count);
    }
    assert!(log.kinds.len() <= KINDS_MAX + 1, "one more for the others");
    let waiting = log.kinds.values().filter_map(|noted| noted.untold.as_ref()).map(|refused| refused.count);
    assert_eq!(told + waiting.sum::<u64>(), KINDS_MAX as u64 + 10);
    for (rule, kind) in rules(1_000) {
        log.due(kind, refused([rule]), after(begun, 60));
    }
    assert!(log.kinds.len() <= KINDS_MAX + 1);
    let mut batch = Refusals::default();
    for rule in 0..10_000 {
        batch.add(Some(&format!("r{rule}").into()), "value", Fate::Dropped, &message(rule), "why");
    }
    assert!(batch.0.len() <= KINDS_MAX + 1);
    assert_eq!(batch.0.values().map(|refused| refused.count).sum::<u64>(), 10_000);
}

#[test]
fn sequence_numbers_are_told_as_spans() {
    let shown = |seqs: &[u64]| refused(seqs.iter().copied()).spans.to_string();
    assert_eq!(shown(&[3, 4, 5, 9, 12, 13]), "3-5,9,12-13");
    let mut first = refused([3, 4]);
    first.merge(&refused([5, 9]));
    assert_eq!((first.count, first.spans.to_string().as_str()), (4, "3-5,9"));
    let even: Vec<u64> = (1..=30).map(|half| 2 * half).collect();
    let many = refused(even);
    assert_eq!(many.count, 30);
    assert!(many.spans.to_string().ends_with(",38,40..60"), "{}", many.spans);
}

#[test]
fn a_line_is_short_and_names_the_command_that_lists_them() {
    let long = Refused::new(&"ä".repeat(1_000), &format!("{}\nsecond line", "e".repeat(1_000)));
    assert_eq!((long.topic.len(), long.error.len()), (TOPIC_BYTES_MAX, ERROR_BYTES_MAX));
    assert_eq!(
        list_command("local", &Whose::Rule("readings".into()), "value"),
        "rowbridge dead-letters list --database local --rule readings --reason value"
    );
    assert_eq!(
        list_command("local", &Whose::Rule("it's mine".into()), "value"),
        r"rowbridge dead-letters list --database local --rule 'it'\''s mine' --reason value"
    );
    assert_eq!(
        list_command("local", &Whose::Nobody, "unmatched"),
        "rowbridge dead-letters list --database local --reason unmatched"
    );
}
