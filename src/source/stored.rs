//! `data_dir/subscriptions.json`: the filters that this client has in the broker's session.
//!
//! At connect the list is compared with the filters that the rules need, so that unchanged filters are left alone and
//! their retained messages are not sent again. The list is written only after the broker confirmed (SUBACK, UNSUBACK),
//! so a crash in between costs a second SUBSCRIBE, never a missing one.
//!
//! From before CONNECT is sent until CONNACK is processed the list counts as unconfirmed. A broker that had lost the
//! session creates a new, empty one at CONNECT, and if its answer gets lost, the next one says "session present". The
//! bridge subscribes to every filter of an unconfirmed list again; CONNECT is not sent before the disk has the mark.
//! Subscription identifiers are written before they are used and never given to another filter, because messages in the
//! journal still carry them.
//!
//! Another session (the broker lost ours, another address, another client id) has other QoS 2 packet identifiers, so
//! the journal must forget its own. This is written down before the session is subscribed to or read, and removed once
//! the journal's clear record is durable, before the first message is taken. So a full journal does not prevent
//! subscribing.
//!
//! The file is replaced as a whole: temporary file, fsync, rename, fsync of the directory. A missing file is a first
//! start; an unreadable one is treated likewise, and costs a SUBSCRIBE to every filter.

mod file;

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::path::Path;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

pub(super) use self::file::SaveError;
pub use self::file::SubscriptionsFile;
use crate::journal::{self, Fs};

const FILE_NAME: &str = "subscriptions.json";

/// Identifiers start here on a first start.
const IDENTIFIER_FIRST: u32 = 1;

/// So many identifiers that are out of use are remembered: 10,000 filters that are all replaced at once.
const RETIRED_MAX: usize = 10_000;

/// The largest identifier that MQTT 5 can carry.
pub(super) const IDENTIFIER_MAX: u32 = 268_435_455;

/// The stored state of the session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredSubscriptions {
    /// The session is this client's; another client id has another session.
    pub client_id: String,
    /// `host:port` of the broker that has the session; another broker has another one. Empty = none was reached yet.
    #[serde(default)]
    pub address: String,
    /// Whether the journal has yet to forget the QoS 2 packet identifiers of an earlier session.
    #[serde(default)]
    pub qos2_clear_pending: bool,
    /// Whether the broker at `address` was seen to send copies of a message that all have the same identifiers.
    #[serde(default)]
    pub identifiers_tell_nothing: bool,
    /// Whether `filters` can be trusted when the broker still has a session.
    #[serde(default)]
    pub confirmed: bool,
    /// Each confirmed by the broker, by filter. A list in the file.
    #[serde(with = "filter_list")]
    pub filters: IndexMap<String, StoredFilter>,
    /// The identifiers of the filters that the rules ask for, by filter. One whose filter goes is never given again: a filter
    /// that comes back gets another.
    #[serde(default)]
    pub identifiers: BTreeMap<String, u32>,
    /// Those whose filters are gone, while the journal may hold messages with them: each with the next identifier to give
    /// when it went.
    #[serde(default)]
    pub retired: BTreeMap<u32, u32>,
    /// The next identifier to give.
    #[serde(default = "identifier_first")]
    pub next_identifier: u32,
    /// When the client was last known to be connected, in microseconds since 1970: for a message only.
    #[serde(default)]
    pub last_connected_us: Option<i64>,
}

/// A subscription that the broker confirmed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredFilter {
    pub filter: String,
    /// The QoS asked for.
    pub qos: u8,
    /// The QoS the broker granted.
    pub granted: u8,
    /// The MQTT 5 subscription identifier.
    #[serde(default)]
    pub identifier: Option<u32>,
    /// The user properties that went with it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub properties: Vec<(String, String)>,
}

/// The filters as a list, each with its name in it.
mod filter_list {
    use indexmap::IndexMap;
    use serde::{Deserialize, Deserializer, Serializer};

    use super::StoredFilter;

    pub(super) fn serialize<S: Serializer>(
        filters: &IndexMap<String, StoredFilter>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(filters.values())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<IndexMap<String, StoredFilter>, D::Error> {
        let list = Vec::<StoredFilter>::deserialize(deserializer)?;
        Ok(list.into_iter().map(|stored| (stored.filter.clone(), stored)).collect())
    }
}

fn identifier_first() -> u32 {
    IDENTIFIER_FIRST
}

impl StoredSubscriptions {
    /// Nothing is known.
    pub fn empty(client_id: &str) -> StoredSubscriptions {
        StoredSubscriptions {
            client_id: client_id.to_owned(),
            address: String::new(),
            qos2_clear_pending: false,
            identifiers_tell_nothing: false,
            confirmed: false,
            filters: IndexMap::new(),
            identifiers: BTreeMap::new(),
            retired: BTreeMap::new(),
            next_identifier: IDENTIFIER_FIRST,
            last_connected_us: None,
        }
    }

    /// Reads the file in `data_dir`. `None` on a first start.
    fn load(fs: &impl Fs, data_dir: &Path) -> Option<StoredSubscriptions> {
        let path = data_dir.join(FILE_NAME);
        // What cannot be read at once is tried again: without the file, QoS 2 messages under way at a crash come twice.
        let text = match journal::read_file(fs, &path).or_else(|_| journal::read_file(fs, &path)) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => return Some(Self::unreadable(&path, &error)),
        };
        match serde_json::from_slice(&text) {
            Ok(stored) => Some(stored),
            Err(error) => Some(Self::unreadable(&path, &error)),
        }
    }

    /// The identifiers that were given are not known any more: go on far away from them.
    fn unreadable(path: &Path, error: &dyn std::fmt::Display) -> StoredSubscriptions {
        tracing::warn!(path = %path.display(), %error, "cannot read the stored subscriptions; subscribing to all again");
        Self::forgotten()
    }

    /// Nothing is known, and identifiers were given.
    fn forgotten() -> StoredSubscriptions {
        let random = getrandom::u32().unwrap_or(0x5EED);
        StoredSubscriptions { next_identifier: (1 << 20) + random % (1 << 26), ..StoredSubscriptions::empty("") }
    }

    /// The same state for `client_id`: another client's filters are not in this one's session.
    pub(super) fn for_client(mut self, client_id: &str) -> StoredSubscriptions {
        if self.client_id != client_id {
            self.filters.clear();
            self.address.clear();
            self.confirmed = false;
            self.last_connected_us = None;
            self.client_id = client_id.to_owned();
        }
        self
    }

    /// Takes the identifiers of all filters but those of `living` out of use. `next` is what the next identifier was before
    /// the living ones were given theirs.
    pub(super) fn retire_others(&mut self, living: &HashSet<u32>, next: u32) {
        let retired = &mut self.retired;
        self.identifiers.retain(|_, identifier| {
            let lives = living.contains(identifier);
            if !lives {
                retired.insert(*identifier, next);
            }
            lives
        });
        while self.retired.len() > RETIRED_MAX {
            self.retired.pop_first();
        }
    }

    /// Takes over the identifiers of a plan, which was made of this state. Returns whether they are others.
    pub(super) fn adopt_identifiers(&mut self, plan: &StoredSubscriptions) -> bool {
        self.next_identifier = self.next_identifier.max(plan.next_identifier);
        let is_same = self.identifiers == plan.identifiers && self.retired == plan.retired;
        if !is_same {
            self.identifiers.clone_from(&plan.identifiers);
            self.retired.clone_from(&plan.retired);
        }
        !is_same
    }

    /// The filter as confirmed.
    pub(super) fn filter(&self, filter: &str) -> Option<&StoredFilter> {
        self.filters.get(filter)
    }

    /// The broker confirmed a subscription.
    pub(super) fn subscribed(&mut self, confirmed: StoredFilter) {
        self.filters.insert(confirmed.filter.clone(), confirmed);
    }

    /// The broker confirmed that a subscription is gone, or never was.
    pub(super) fn unsubscribed(&mut self, filter: &str) {
        self.filters.swap_remove(filter);
    }

    /// Replaces the file. Blocks on the disk.
    fn save(&self, fs: &impl Fs, data_dir: &Path) -> io::Result<()> {
        fs.create_dir_all(data_dir)?;
        let unfinished = data_dir.join(format!("{FILE_NAME}.tmp"));
        journal::replace_file(fs, &data_dir.join(FILE_NAME), &unfinished, &serde_json::to_vec_pretty(self)?)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::journal::RealFs;

    pub(super) fn stored() -> StoredSubscriptions {
        let mut stored = StoredSubscriptions::empty("gw1");
        stored.address = "broker:1883".into();
        stored.subscribed(StoredFilter {
            filter: "a/#".into(),
            qos: 1,
            granted: 1,
            identifier: Some(7),
            properties: Vec::new(),
        });
        stored.identifiers.insert("a/#".into(), 7);
        stored.next_identifier = 8;
        stored
    }

    #[test]
    fn what_was_saved_is_loaded() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(StoredSubscriptions::load(&RealFs, dir.path()), None);
        stored().save(&RealFs, dir.path()).unwrap();
        assert_eq!(StoredSubscriptions::load(&RealFs, dir.path()), Some(stored()));
    }

    #[test]
    fn the_filters_are_a_list_in_the_file_and_are_read_as_one() {
        let json = serde_json::to_value(stored()).unwrap();
        assert_eq!(json["filters"], serde_json::json!([{"filter": "a/#", "qos": 1, "granted": 1, "identifier": 7}]));
        let read: StoredSubscriptions = serde_json::from_value(json).unwrap();
        assert_eq!(read.filter("a/#").map(|known| known.granted), Some(1));
    }

    #[test]
    fn a_file_cut_at_any_byte_means_subscribe_again_with_fresh_identifiers() {
        let dir = tempfile::tempdir().unwrap();
        stored().save(&RealFs, dir.path()).unwrap();
        let path = dir.path().join(FILE_NAME);
        let text = fs::read(&path).unwrap();
        for len in 0..text.len() {
            fs::write(&path, &text[..len]).unwrap();
            let loaded = StoredSubscriptions::load(&RealFs, dir.path()).unwrap();
            assert!(loaded.filters.is_empty() && loaded.next_identifier > 8, "cut at {len}");
        }
    }

    #[test]
    fn another_client_has_another_session_but_the_identifiers_stay_taken() {
        let other = stored().for_client("gw2");
        assert!(other.filters.is_empty() && other.address.is_empty());
        assert_eq!(other.next_identifier, 8);
        assert_eq!(stored().for_client("gw1"), stored());
    }
}
