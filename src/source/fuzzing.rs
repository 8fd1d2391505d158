//! Entry points for fuzzing the source: the bytes of a connection through the session's own reader, decoder and store,
//! without a socket. For the targets in `fuzz/` and the test that replays their findings; never in a release.

use super::filter_tree::FilterTree;
use super::intake::Journal;
use super::store::Store;
use crate::clock::Timestamp;
use crate::config::MqttVersion;
use crate::mqtt::inbox::{Frame, Inbox};
use crate::mqtt::packet::{Control, Incoming};
use crate::mqtt::publish::{NotTaken, Publish, TopicAliases, translate_properties};
use crate::rule::TopicPattern;

/// `mqtt.topic_alias_maximum` of the session.
const ALIAS_MAX: u16 = 100;

/// What was made of the bytes.
pub struct Reading<J> {
    pub packets: Vec<Packet>,
    /// Ordinal, first byte (PUBACK 0x40, PUBREC 0x50, PUBCOMP 0x70) and packet identifier of every acknowledgement owed.
    pub owed: Vec<(u64, u8, u16)>,
    /// Why reading ended before the bytes did.
    pub refusal: Option<String>,
    /// The most that the read buffer took.
    pub buffer_bytes: usize,
    /// With everything that was pushed.
    pub journal: J,
}

/// One packet as it was understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Packet {
    Message {
        /// The first byte of the packet.
        first: u8,
        /// All that follows the fixed header; of a packet too large its head.
        body: Vec<u8>,
        too_large: bool,
        dup: bool,
        qos: u8,
        retain: bool,
        topic: Vec<u8>,
        packet_id: u16,
        /// In the form of [`crate::message::Properties`].
        properties: Vec<u8>,
        payload: Vec<u8>,
    },
    /// PUBREL of this packet identifier.
    Release(u16),
    /// Any other, in words.
    Control(String),
}

/// Reads `pieces`, each as one read of the socket brings it, up to the end or the first malformed packet.
pub fn read<'p, J: Journal>(
    version: MqttVersion,
    packet_bytes_max: u32,
    journal: J,
    pieces: impl Iterator<Item = &'p [u8]>,
) -> Reading<J> {
    let mut connection = Connection {
        version,
        inbox: Inbox::new(packet_bytes_max),
        store: Store::new(journal),
        aliases: TopicAliases::new(ALIAS_MAX, false),
        packets: Vec::new(),
        owed: Vec::new(),
    };
    let mut buffer_bytes = 0;
    let mut refusal = None;
    'pieces: for mut piece in pieces {
        while !piece.is_empty() {
            let space = connection.inbox.space();
            let (now, later) = piece.split_at(piece.len().min(space.len()));
            space[..now.len()].copy_from_slice(now);
            connection.inbox.filled(now.len());
            buffer_bytes = buffer_bytes.max(connection.inbox.buffer_bytes());
            piece = later;
            match connection.take_inbox() {
                Ok(()) => continue,
                Err(NotTaken::Malformed(malformed)) => refusal = Some(malformed.to_string()),
                Err(NotTaken::Alias(alias)) => refusal = Some(format!("topic alias {alias}")),
            }
            break 'pieces;
        }
    }
    let Connection { packets, owed, mut store, .. } = connection;
    store.journal.submit();
    Reading { packets, owed, refusal, buffer_bytes, journal: store.journal }
}

struct Connection<J> {
    version: MqttVersion,
    inbox: Inbox,
    store: Store<J>,
    aliases: TopicAliases,
    packets: Vec<Packet>,
    owed: Vec<(u64, u8, u16)>,
}

impl<J: Journal> Connection<J> {
    /// As the session does it, see `Session::next_packet`.
    fn take_inbox(&mut self) -> Result<(), NotTaken> {
        while let Some(frame) = self.inbox.next()? {
            let (first, bytes, too_large) = match &frame {
                Frame::Whole { first, body } => (*first, *body, false),
                Frame::TooLarge { first, head } => (*first, &head[..], true),
            };
            let publish = if too_large {
                Publish::decode_head(self.version, first & 0x0F, bytes)?
            } else {
                match Incoming::decode(self.version, first, bytes)? {
                    Incoming::Publish(publish) => publish,
                    Incoming::Control(Control::PubRel { packet_id }) => {
                        let (ordinal, kind, packet_id) = self.store.release(packet_id);
                        self.owed.push((ordinal, kind as u8, packet_id));
                        self.packets.push(Packet::Release(packet_id));
                        continue;
                    }
                    Incoming::Control(control) => {
                        self.packets.push(Packet::Control(format!("{control:?}")));
                        continue;
                    }
                }
            };
            let owed = self.store.take(&publish, &mut self.aliases, Timestamp(0), too_large)?;
            self.owed.extend(owed.map(|(ordinal, kind, packet_id)| (ordinal, kind as u8, packet_id)));
            let mut properties = Vec::new();
            translate_properties(publish.properties, &mut properties)?;
            self.packets.push(Packet::Message {
                first,
                body: bytes.to_vec(),
                too_large,
                dup: publish.dup,
                qos: publish.qos.level(),
                retain: publish.retain,
                topic: publish.topic.to_vec(),
                packet_id: publish.packet_id,
                properties,
                payload: publish.payload.to_vec(),
            });
        }
        Ok(())
    }
}

/// By the tree of filters: which of `patterns` cover the one at `index`, ascending, share groups apart; and whether
/// another one overlaps it.
pub fn relations(patterns: &[TopicPattern], index: usize) -> (Vec<usize>, bool) {
    let mut tree = FilterTree::new();
    for (number, pattern) in patterns.iter().enumerate() {
        tree.insert(pattern, number);
    }
    let mut covering = tree.covering(&patterns[index]);
    covering.sort_unstable();
    (covering, tree.overlaps_another(&patterns[index], index))
}
