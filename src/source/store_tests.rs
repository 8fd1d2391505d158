use super::*;
use crate::config::MqttVersion;

/// A disk that keeps everything at once, unless told to fail.
#[derive(Default)]
struct Memory {
    messages: Vec<(String, Vec<u8>, Option<Fault>)>,
    table: Qos2Table,
    ordinal: u64,
    generation: u64,
    /// Where acknowledgements wait for a database: how far it is.
    delivered: Option<u64>,
}

impl Journal for Memory {
    fn qos2(&self) -> Qos2Table {
        self.table.clone()
    }

    fn generation(&self) -> u64 {
        self.generation
    }

    fn push_message(&mut self, message: &Message<'_>, qos2: Option<(u16, u64)>) -> u64 {
        if let Some((packet_id, hash)) = qos2 {
            self.table.take(packet_id, message.dup, hash);
        }
        let mut body = Vec::new();
        message.encode(&mut body);
        self.messages.push((message.topic.to_owned(), message.payload.to_vec(), message.fault));
        self.ordinal += 1;
        self.ordinal
    }

    fn push_release(&mut self, packet_id: u16) -> u64 {
        self.table.release(packet_id);
        self.ordinal += 1;
        self.ordinal
    }

    fn push_clear(&mut self) -> u64 {
        self.table.clear();
        self.ordinal += 1;
        self.ordinal
    }

    fn submit(&mut self) {}

    fn discard(&mut self) {}

    fn is_backlogged(&self) -> bool {
        false
    }

    fn durable(&self) -> u64 {
        self.delivered.unwrap_or(self.ordinal)
    }

    fn awaits_delivery(&self) -> bool {
        self.delivered.is_some()
    }

    fn changed(&self) -> impl Future<Output = ()> + Send {
        std::future::pending()
    }
}

fn publish<'a>(flags: u8, body: &'a [u8], version: MqttVersion) -> Publish<'a> {
    Publish::decode(version, flags, body).unwrap()
}

fn take(store: &mut Store<Memory>, aliases: &mut TopicAliases, flags: u8, body: &[u8]) -> Option<Owed> {
    store.take(&publish(flags, body, MqttVersion::V5), aliases, Timestamp(1), false).unwrap()
}

#[test]
fn a_qos_2_message_is_stored_once_in_this_process_and_in_the_next() {
    let mut store = Store::new(Memory::default());
    let mut aliases = TopicAliases::new(10, false);
    let body = [0, 1, b'a', 0, 9, 0, b'x'];
    assert_eq!(take(&mut store, &mut aliases, 0b0100, &body), Some((1, AckKind::PubRec, 9)));
    assert_eq!(take(&mut store, &mut aliases, 0b1100, &body), Some((1, AckKind::PubRec, 9)), "still owed, once stored");
    // The process dies and comes back with what the disk has.
    let mut store = Store::new(store.journal);
    for flags in [0b1100, 0b0100] {
        let owed = take(&mut store, &mut aliases, flags, &body);
        assert_eq!(owed, Some((0, AckKind::PubRec, 9)), "nothing to wait for");
    }
    assert_eq!(store.journal.messages.len(), 1);
    let other = [0, 1, b'a', 0, 9, 0, b'y'];
    take(&mut store, &mut aliases, 0b1100, &other);
    assert_eq!(store.journal.messages.len(), 2, "the same identifier with other content is another message");
    assert_eq!(store.release(9), (3, AckKind::PubComp, 9));
    take(&mut store, &mut aliases, 0b1100, &other);
    assert_eq!(store.journal.messages.len(), 3, "a released identifier may carry the same again");
    store.clear();
    take(&mut store, &mut aliases, 0b1100, &other);
    assert_eq!(store.journal.messages.len(), 4, "a new session knows no identifier");
}

#[test]
fn after_the_journal_lost_something_what_it_lost_is_taken_again() {
    let mut store = Store::new(Memory::default());
    let mut aliases = TopicAliases::new(10, false);
    let body = [0, 1, b'a', 0, 9, 0, b'x'];
    take(&mut store, &mut aliases, 0b0100, &body);
    store.journal.table = Qos2Table::default();
    store.journal.generation += 1;
    assert!(store.is_stale());
    store.renew();
    assert!(!store.is_stale() && store.is_settled());
    take(&mut store, &mut aliases, 0b1100, &body);
    assert_eq!(store.journal.messages.len(), 2);
}

#[test]
fn an_alias_stands_for_its_topic_until_it_is_given_another() {
    let mut store = Store::new(Memory::default());
    let mut aliases = TopicAliases::new(10, false);
    take(&mut store, &mut aliases, 0, &[0, 1, b'a', 3, 35, 0, 7]);
    take(&mut store, &mut aliases, 0, &[0, 0, 3, 35, 0, 7]);
    take(&mut store, &mut aliases, 0, &[0, 1, b'b', 3, 35, 0, 7]);
    take(&mut store, &mut aliases, 0, &[0, 0, 3, 35, 0, 7]);
    take(&mut store, &mut aliases, 0, &[0, 0, 0]);
    let seen: Vec<_> = store.journal.messages.iter().map(|(topic, _, fault)| (topic.as_str(), *fault)).collect();
    let unknown = ("", Some(Fault::UnknownAlias));
    assert_eq!(seen, [("a", None), ("a", None), ("b", None), ("b", None), unknown]);
}

#[test]
fn an_alias_that_does_not_hold_is_refused_or_put_up_with_without_a_guess() {
    let bodies: [(&[u8], u16); 5] = [
        (&[0, 0, 3, 35, 0, 8], 8),
        (&[0, 0, 3, 35, 0, 0], 0),
        (&[0, 0, 3, 35, 0, 11], 11),
        (&[0, 1, b'c', 3, 35, 0, 0], 0),
        (&[0, 1, b'd', 3, 35, 0, 11], 11),
    ];
    let mut store = Store::new(Memory::default());
    for (body, alias) in bodies {
        let mut aliases = TopicAliases::new(10, false);
        let taken = store.take(&publish(0, body, MqttVersion::V5), &mut aliases, Timestamp(1), false);
        assert_eq!((taken, aliases.take_misused()), (Err(NotTaken::Alias(alias)), Some(alias)));
    }
    assert_eq!(store.journal.messages.len(), 0);
    let mut aliases = TopicAliases::new(10, true);
    bodies.iter().for_each(|(body, _)| _ = take(&mut store, &mut aliases, 0, body));
    let seen: Vec<_> = store.journal.messages.iter().map(|(topic, _, fault)| (topic.as_str(), *fault)).collect();
    let unknown = ("", Some(Fault::UnknownAlias));
    assert_eq!(seen, [unknown, unknown, unknown, ("c", None), ("d", None)]);
}

#[test]
fn a_topic_that_is_no_text_is_kept_readable_and_within_bounds() {
    let mut store = Store::new(Memory::default());
    let mut aliases = TopicAliases::new(10, false);
    take(&mut store, &mut aliases, 0, &[0, 3, b'a', 0xFF, b'b', 0]);
    take(&mut store, &mut aliases, 0, &[0, 3, b'a', 0, b'b', 0]);
    let longest = [&[0xFF; 2][..], &[0xFE; 65_535][..], &[0]].concat();
    take(&mut store, &mut aliases, 0, &longest);
    let messages = &store.journal.messages;
    assert_eq!(messages[0].0, "a\u{FFFD}b");
    assert_eq!(messages[1].0, "a\u{FFFD}b");
    assert_eq!(messages[2].0.len(), 65_535, "a multiple of the replacement's three bytes");
    assert!(messages.iter().all(|message| message.2 == Some(Fault::TopicNotUtf8)));
}

/// Otherwise an outage of the database would store it once for each connection.
#[test]
fn a_qos_1_message_that_waits_for_the_database_is_known_when_it_comes_again() {
    let (first, again) = (0b0010, 0b1010);
    let mut store = Store::new(Memory { delivered: Some(0), ..Memory::default() });
    let mut aliases = TopicAliases::new(10, false);
    let (a, other, b) = ([0, 1, b'a', 0, 9, 0, b'x'], [0, 1, b'a', 0, 9, 0, b'y'], [0, 1, b'b', 0, 10, 0, b'x']);
    assert_eq!(take(&mut store, &mut aliases, first, &a), Some((1, AckKind::PubAck, 9)));
    assert_eq!(take(&mut store, &mut aliases, first, &b), Some((2, AckKind::PubAck, 10)));
    // On the next connection: acknowledged with what was taken last.
    assert_eq!(take(&mut store, &mut aliases, again, &a), Some((2, AckKind::PubAck, 9)));
    assert_eq!(store.journal.messages.len(), 2);
    // Other content, or no repetition at all: another message.
    take(&mut store, &mut aliases, again, &other);
    take(&mut store, &mut aliases, first, &b);
    assert_eq!(store.journal.messages.len(), 4);
    // Acknowledged, and perhaps in vain; or the identifier is another message's by now.
    store.journal.delivered = Some(4);
    take(&mut store, &mut aliases, again, &b);
    assert_eq!(store.journal.messages.len(), 5);
    // Another session.
    store.clear();
    take(&mut store, &mut aliases, again, &b);
    assert_eq!(store.journal.messages.len(), 6);
}

#[test]
fn with_a_durable_journal_each_qos_1_message_is_taken() {
    let mut store = Store::new(Memory::default());
    let mut aliases = TopicAliases::new(10, false);
    for flags in [0b0010, 0b1010] {
        take(&mut store, &mut aliases, flags, &[0, 1, b'a', 0, 9, 0, b'x']);
    }
    assert_eq!(store.journal.messages.len(), 2);
}
