use proptest::prelude::*;

use super::*;

#[path = "qos2_brokers_tests.rs"]
mod brokers;

#[test]
fn a_second_copy_of_an_unreleased_id_is_a_duplicate_with_dup_and_without() {
    let mut table = Qos2Table::default();
    table.take(5, false, 100);
    for dup in [true, false] {
        assert_eq!(table.verdict(5, dup, 100), Qos2Verdict::Duplicate, "[MQTT-4.3.3-10], dup {dup}");
        assert_eq!(table.verdict(5, dup, 101), Qos2Verdict::New, "the broker gave the first one up");
        assert_eq!(table.verdict(6, dup, 100), Qos2Verdict::New);
    }
    table.clear();
    assert_eq!(table.verdict(5, true, 100), Qos2Verdict::New);
}

#[test]
fn a_released_id_is_a_new_message_whatever_it_carries() {
    let mut table = Qos2Table::default();
    table.take(1, false, 100);
    table.release(1);
    for dup in [true, false] {
        assert_eq!(table.verdict(1, dup, 100), Qos2Verdict::New, "dup {dup}");
    }
    assert_eq!(table.len(), 1, "PUBCOMP may be lost");
    table.take(1, true, 100);
    assert_eq!(table.verdict(1, true, 100), Qos2Verdict::Duplicate, "unreleased again");
}

/// A table that has seen ids 1 to `last` in order, over one reconnect; each is released when the next two are taken.
fn in_order(last: u16) -> Qos2Table {
    let mut table = Qos2Table::default();
    for id in 1..=last {
        table.take(id, id == 30, 7);
        if id > 2 {
            table.release(id - 2);
        }
    }
    table
}

#[test]
fn of_a_broker_that_numbers_in_order_a_released_id_is_a_second_copy_until_pubcomp_has_arrived() {
    let mut table = in_order(2_000);
    table.release(1_999);
    assert_eq!(table.verdict(1_999, true, 7), Qos2Verdict::Repeated, "Mosquitto repeats even after PUBREL");
    assert_eq!(table.verdict(1_999, false, 7), Qos2Verdict::New, "it does so with DUP");
    assert_eq!(table.verdict(1_999, true, 8), Qos2Verdict::New);
    // 2,000 was taken before 1,999 was released: its PUBREL says nothing of that PUBCOMP.
    table.release(2_000);
    assert_eq!(table.verdict(1_999, true, 7), Qos2Verdict::Repeated);
    table.take(2_001, false, 7);
    assert_eq!(table.verdict(1_999, true, 7), Qos2Verdict::Repeated);
    table.release(2_001);
    assert_eq!(table.verdict(1_999, true, 7), Qos2Verdict::New, "PUBREL of 2,001 came after PUBCOMP of 1,999");
    assert_eq!(table.verdict(2_001, true, 7), Qos2Verdict::Repeated);
}

#[test]
fn a_number_that_goes_back_ends_the_trust_in_the_order() {
    let mut table = in_order(2_000);
    table.release(1_999);
    table.take(1, false, 9);
    assert_eq!(table.verdict(1_999, true, 7), Qos2Verdict::New);
}

#[test]
fn identifiers_of_messages_that_are_not_recorded_end_the_trust_too() {
    let mut table = in_order(2_000);
    table.release(1_999);
    table.release(Qos2Table::UNRECORDED);
    assert_eq!(table.verdict(1_999, true, 7), Qos2Verdict::New);
    assert_eq!(table.verdict(2_000, true, 7), Qos2Verdict::Duplicate);
}

#[test]
fn without_a_reconnect_or_100_numbers_the_order_is_not_trusted() {
    let mut short = in_order(90);
    short.release(89);
    assert_eq!(short.verdict(89, true, 7), Qos2Verdict::New);
    let mut unbroken = Qos2Table::default();
    for id in 1..=2_000 {
        unbroken.take(id, false, 7);
        unbroken.release(id);
    }
    assert_eq!(unbroken.verdict(2_000, true, 7), Qos2Verdict::New);
}

#[test]
fn messages_of_qos_1_use_up_numbers_too() {
    let mut table = in_order(2_000);
    table.release(1_999);
    table.pass(RELEASED_KEPT - 1);
    assert_eq!(table.verdict(1_999, true, 7), Qos2Verdict::Repeated);
    table.pass(1);
    assert_eq!(table.verdict(1_999, true, 7), Qos2Verdict::New);
    assert_eq!(table.verdict(2_000, true, 7), Qos2Verdict::Duplicate, "an unreleased one stays");
}

#[test]
fn memory_stays_bounded_over_many_rounds_of_ids() {
    let mut table = Qos2Table::default();
    for round in 0..5u64 {
        for id in 1..=u16::MAX {
            table.take(id, false, round);
            table.release(id);
        }
    }
    assert!(table.len() <= 2 && table.released.len() <= 2);
    // A broker that holds everything back and releases the same ids again and again.
    (1..=u16::MAX).for_each(|id| table.take(id, false, 1));
    for _ in 0..5 {
        (1..=u16::MAX).for_each(|id| table.release(id));
        table.take(1, false, 1);
    }
    assert!(table.len() <= 65_535 && table.released.len() <= QUEUE_LEN_MAX);
}

#[test]
fn a_snapshot_of_an_earlier_build_is_read() {
    let mut old = 2u32.to_le_bytes().to_vec();
    for (id, released, age, hash) in [(7u16, 1u8, 5u32, 70u64), (8, 0, 0, 80)] {
        old.extend_from_slice(&id.to_le_bytes());
        old.push(released);
        old.extend_from_slice(&age.to_le_bytes());
        old.extend_from_slice(&hash.to_le_bytes());
    }
    let table = Qos2Table::decode(&old).unwrap();
    assert_eq!(table.verdict(8, false, 80), Qos2Verdict::Duplicate);
    assert_eq!(table.verdict(7, true, 70), Qos2Verdict::New);
    assert_eq!(table.len(), 2);
}

proptest! {
    #[test]
    fn a_snapshot_restores_the_table(
        ops in prop::collection::vec((0u8..12, 1u16..50, 0u64..4, any::<bool>()), 0..300),
    ) {
        let mut table = Qos2Table::default();
        let mut restored = Qos2Table::default();
        for (op, id, hash, dup) in ops {
            for table in [&mut table, &mut restored] {
                match op {
                    0..6 => table.take(id, dup, hash),
                    6..9 => table.release(id),
                    9 => table.pass(hash * 3000),
                    10 if hash == 0 => table.clear(),
                    _ => {}
                }
            }
            let mut bytes = Vec::new();
            table.encode(&mut bytes);
            prop_assert_eq!(bytes.len(), table.encoded_len());
            restored = Qos2Table::decode(&bytes).unwrap();
            prop_assert_eq!(&restored, &table);
        }
    }

    #[test]
    fn hostile_snapshots_never_panic(bytes: Vec<u8>) {
        let _ = Qos2Table::decode(&bytes);
    }
}
