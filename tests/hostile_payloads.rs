//! Payloads that nobody should send: each is stored or kept as a dead letter, and the stream goes on.

use crate::support::bridge::Bridge;
use crate::support::mosquitto::{DEEP_QUEUE, Mosquitto};
use crate::support::mqtt::Outgoing;
use crate::support::oracle::{column, count, sqlite, value};
use crate::support::publisher::Publisher;

const RULES: &str = "
databases:
  local: { url: 'sqlite:rows.db' }
rules:
  - name: json
    topic: hostile/json
    table: json_rows
    create: true
    columns:
      id: { from: payload.id, type: bigint }
      note: { from: payload.note, type: text }
      amount: { from: payload.amount, type: decimal }
      whole: { from: payload.whole, type: bigint }
      deep: { from: payload.deep, type: json }
  - name: text
    topic: hostile/text
    table: text_rows
    format: text
    create: true
    columns: { body: { from: payload, type: text } }
  - name: bytes
    topic: hostile/bytes
    table: byte_rows
    format: bytes
    create: true
    columns: { body: { from: payload, type: bytes } }
";

fn started(mqtt: &str) -> (Mosquitto, Bridge, Publisher) {
    let broker = Mosquitto::with(DEEP_QUEUE);
    let mut bridge = Bridge::with_mqtt(broker.port(), mqtt, RULES);
    bridge.start();
    let publisher = Publisher::new(broker.port());
    (broker, bridge, publisher)
}

/// Sends a last message that fits, and waits until everything before it is settled too.
fn settle(bridge: &mut Bridge, publisher: &mut Publisher) {
    publisher.send("hostile/json", r#"{"id":99}"#);
    bridge.wait_alive("the stream goes on", |bridge| {
        (count(&bridge.rows(), "json_rows WHERE id = 99") == 1).then_some(())
    });
    bridge.wait_drained("local");
}

/// Topic and reason of each dead letter.
fn letters(bridge: &Bridge) -> Vec<(String, String)> {
    let connection = sqlite(&bridge.rows());
    let mut statement =
        connection.prepare("SELECT topic, reason FROM rowbridge_dead_letters ORDER BY seq, id").unwrap();
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    rows.map(Result::unwrap).collect()
}

#[test]
fn a_payload_of_200_kib_is_a_row_like_any_other() {
    let (_broker, mut bridge, mut publisher) = started("");
    let note = "n".repeat(200 * 1024);
    publisher.send("hostile/json", format!(r#"{{"id":1,"note":"{note}"}}"#));
    publisher.send("hostile/text", note.clone());
    publisher.send("hostile/bytes", note.clone());
    settle(&mut bridge, &mut publisher);
    assert_eq!(value::<String>(&bridge.rows(), "SELECT note FROM json_rows WHERE id = 1"), note);
    assert_eq!(value::<String>(&bridge.rows(), "SELECT body FROM text_rows"), note);
    assert_eq!(value::<Vec<u8>>(&bridge.rows(), "SELECT body FROM byte_rows"), note.as_bytes());
    assert!(letters(&bridge).is_empty());
}

/// No broker is told the limit: it would drop the message without a word.
#[test]
fn a_message_over_max_packet_size_is_a_dead_letter_and_the_connection_stays() {
    for version in ["5", "3.1.1"] {
        let (broker, mut bridge, mut publisher) = started(&format!("version: {version}, max_packet_size: 64KiB"));
        publisher.send("hostile/text", "t".repeat(100 * 1024));
        publisher.publish(&Outgoing { qos: 2, ..Outgoing::new("hostile/text", "t".repeat(1100 * 1024)) });
        publisher.publish(&Outgoing { qos: 0, ..Outgoing::new("hostile/text", "t".repeat(70 * 1024)) });
        for number in 1..=10 {
            publisher.send("hostile/text", format!("small {number}"));
        }
        settle(&mut bridge, &mut publisher);
        let expected: Vec<String> = (1..=10).map(|number| format!("small {number}")).collect();
        assert_eq!(column::<String>(&bridge.rows(), "SELECT body FROM text_rows ORDER BY rowid"), expected);
        let expected: Vec<(String, String)> = vec![("hostile/text".into(), "size".into()); 3];
        assert_eq!(letters(&bridge), expected, "MQTT {version}");
        assert_one_connection(&broker);
    }
}

/// The bridge connected once, and stayed.
#[track_caller]
fn assert_one_connection(broker: &Mosquitto) {
    let log = broker.log();
    let connections = log.lines().filter(|line| line.contains("New client connected") && line.contains("as bridge-"));
    assert_eq!(connections.count(), 1, "{log}");
}

#[test]
fn an_empty_payload_is_an_empty_text_and_no_json() {
    let (_broker, mut bridge, mut publisher) = started("");
    for topic in ["hostile/json", "hostile/text", "hostile/bytes"] {
        publisher.send(topic, "");
    }
    settle(&mut bridge, &mut publisher);
    assert_eq!(column::<String>(&bridge.rows(), "SELECT body FROM text_rows"), [""]);
    assert_eq!(column::<Vec<u8>>(&bridge.rows(), "SELECT body FROM byte_rows"), [Vec::<u8>::new()]);
    assert_eq!(letters(&bridge), [("hostile/json".to_owned(), "parse".to_owned())]);
}

#[test]
fn bytes_that_are_not_utf_8_are_stored_as_bytes_and_refused_as_text() {
    let (_broker, mut bridge, mut publisher) = started("");
    let invalid = b"{\"id\":1,\"note\":\"\xff\xfe\x80\"}";
    for topic in ["hostile/json", "hostile/text", "hostile/bytes"] {
        publisher.send(topic, invalid);
    }
    settle(&mut bridge, &mut publisher);
    assert_eq!(column::<Vec<u8>>(&bridge.rows(), "SELECT body FROM byte_rows"), [invalid.to_vec()]);
    let letters = letters(&bridge);
    assert_eq!(letters.iter().map(|(topic, _)| topic.as_str()).collect::<Vec<_>>(), ["hostile/json", "hostile/text"]);
    let payloads = column::<Vec<u8>>(&bridge.rows(), "SELECT payload FROM rowbridge_dead_letters");
    assert_eq!(payloads, [invalid.to_vec(), invalid.to_vec()], "a dead letter keeps the bytes");
}

#[test]
fn a_nul_character_is_kept_where_the_database_can_hold_it() {
    let (_broker, mut bridge, mut publisher) = started("");
    publisher.send("hostile/json", r#"{"id":1,"note":"a\u0000b"}"#);
    publisher.send("hostile/text", "a\0b");
    settle(&mut bridge, &mut publisher);
    assert_eq!(value::<String>(&bridge.rows(), "SELECT note FROM json_rows WHERE id = 1"), "a\0b");
    assert_eq!(value::<String>(&bridge.rows(), "SELECT body FROM text_rows"), "a\0b");
}

#[test]
fn a_number_of_40_digits_is_exact_or_refused_and_never_rounded() {
    let (_broker, mut bridge, mut publisher) = started("");
    let number = "1234567890123456789012345678901234567890";
    publisher.send("hostile/json", format!(r#"{{"id":1,"amount":{number}}}"#));
    publisher.send("hostile/json", format!(r#"{{"id":2,"whole":{number}}}"#));
    publisher.send("hostile/json", r#"{"id":3,"whole":9223372036854775807}"#);
    publisher.send("hostile/json", r#"{"id":4,"whole":-9223372036854775808}"#);
    publisher.send("hostile/json", r#"{"id":5,"whole":9223372036854775808}"#);
    settle(&mut bridge, &mut publisher);
    let amounts = column::<String>(&bridge.rows(), "SELECT CAST(amount AS TEXT) FROM json_rows WHERE id = 1");
    let refused: Vec<Vec<u8>> = column(&bridge.rows(), "SELECT payload FROM rowbridge_dead_letters ORDER BY seq");
    assert!(amounts.iter().all(|amount| amount == number), "{amounts:?}");
    assert_eq!(amounts.len() + refused.len(), 3, "amounts {amounts:?}, refused {refused:?}");
    let wholes = column::<i64>(&bridge.rows(), "SELECT whole FROM json_rows WHERE id IN (3, 4) ORDER BY id");
    assert_eq!(wholes, [i64::MAX, i64::MIN]);
}

#[test]
fn json_nested_200_deep_does_not_harm() {
    let (_broker, mut bridge, mut publisher) = started("");
    let deep = format!("{}1{}", "[".repeat(200), "]".repeat(200));
    publisher.send("hostile/json", format!(r#"{{"other":{deep},"id":1}}"#));
    publisher.send("hostile/json", format!(r#"{{"id":2,"deep":{deep}}}"#));
    publisher.send("hostile/json", "[".repeat(100_000));
    publisher.send("hostile/json", format!(r#"{{"id":3,"deep":{}}}"#, r#"{"a":"#.repeat(50_000)));
    settle(&mut bridge, &mut publisher);
    assert_eq!(value::<i64>(&bridge.rows(), "SELECT count(*) FROM json_rows WHERE id = 1"), 1);
    let kept: i64 = value(&bridge.rows(), "SELECT count(*) FROM json_rows WHERE id = 2");
    assert_eq!(kept + letters(&bridge).len() as i64, 3, "each is a row or a dead letter");
    if kept == 1 {
        assert_eq!(value::<String>(&bridge.rows(), "SELECT deep FROM json_rows WHERE id = 2"), deep);
    }
}
