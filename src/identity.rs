//! `data_dir/identity.json`: the client id and the bridge's name of this data directory.
//!
//! ```text
//! { "client_id": "rowbridge-gw1", "bridge": "rowbridge-gw1" }
//! ```
//! The broker stores a session under the client id, and every database stores an offset under the bridge's name. If the
//! configuration gives no names, both come from the host name, and a new container has a new host name. If the names
//! changed with it, the broker's queue would be abandoned and the whole journal delivered a second time. So the names
//! are stored beside the journal that they belong to. They are on the disk before their first use, and defaults of
//! later starts use the stored names. Names in the configuration take precedence.
//!
//! A data directory of a version without this file uses the client id in `subscriptions.json`. A file that cannot be
//! read counts as missing. This delivers no message twice, because a database that knows the journal under another name
//! is held (`delivery::place`).
//!
//! The caller holds the journal's lock, so no other process uses the directory. A *copy* of the directory is not
//! covered by the lock: two bridges with one client id push each other out of the broker's session, which is logged
//! (`source::run`).

use std::io;
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::journal::{self, Fs, RealFs};
use crate::remedy;
use crate::source::SubscriptionsFile;

const FILE_NAME: &str = "identity.json";

/// As far as the wire and the databases take them; a file with longer names is none of ours.
const CLIENT_ID_BYTES_MAX: usize = 65_535;
const BRIDGE_BYTES_MAX: usize = CLIENT_ID_BYTES_MAX;

/// The names of a data directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    pub client_id: String,
    pub bridge: String,
}

/// How the names in use differ from what was to be expected.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Notice {
    /// The configuration names no client id, and the host name gives another than the remembered one.
    ClientIdKept { by_host_name: String },
    /// The configuration names another client id than the remembered one.
    ClientIdChanged { remembered: String },
    /// The configuration names no bridge, and the client id is another than the remembered name.
    BridgeKept,
    /// The configuration names another bridge than the remembered one.
    BridgeChanged { remembered: String },
}

/// Puts the remembered names into the configuration where it names none, remembers what is then in use, and logs what a
/// person should know. The file is written before this returns; that it cannot be is logged, and tried again at the next
/// start.
pub fn settle<F: Fs + Clone>(fs: &F, config: &mut Config) {
    let known = load(fs, &config.data_dir);
    let notices = adopt(config, known.clone().or_else(|| of_session(fs, &config.data_dir)));
    for notice in &notices {
        tell(config, notice);
    }
    let identity = Identity { client_id: config.mqtt.client_id.clone(), bridge: config.bridge.to_string() };
    if known.as_ref() == Some(&identity) {
        return;
    }
    let path = config.data_dir.join(FILE_NAME);
    if let Err(error) = identity.save(fs, &config.data_dir) {
        let advice = remedy::of_file(&error);
        tracing::warn!(
            path = %path.display(), %error, advice,
            "cannot remember client id and bridge name: as long as this lasts, give both in the configuration before the \
             host name changes"
        );
    }
}

/// As [`settle`], for a command that only reads: nothing is written or logged.
pub fn adopt_remembered(config: &mut Config) {
    let known = load(&RealFs, &config.data_dir).or_else(|| of_session(&RealFs, &config.data_dir));
    adopt(config, known);
}

/// What a data directory of an older version says. Its bridge was called as its client, unless the configuration said
/// otherwise; that is not known.
fn of_session<F: Fs + Clone>(fs: &F, data_dir: &Path) -> Option<Identity> {
    let session = SubscriptionsFile::new(fs.clone(), data_dir.to_owned()).load()?;
    let client_id = Some(session.client_id).filter(|client_id| !client_id.is_empty())?;
    Some(Identity { client_id, bridge: String::new() })
}

fn adopt(config: &mut Config, remembered: Option<Identity>) -> Vec<Notice> {
    let Some(Identity { client_id, bridge }) = remembered else { return Vec::new() };
    let mut notices = Vec::new();
    let named = config.named;
    if config.mqtt.client_id != client_id {
        if named.client_id {
            notices.push(Notice::ClientIdChanged { remembered: client_id.clone() });
        } else {
            let by_host_name = std::mem::replace(&mut config.mqtt.client_id, client_id.clone());
            notices.push(Notice::ClientIdKept { by_host_name });
        }
    }
    let is_known = !bridge.is_empty();
    let bridge = if is_known { bridge } else { client_id };
    if named.bridge {
        if is_known && *config.bridge != *bridge {
            notices.push(Notice::BridgeChanged { remembered: bridge });
        }
        return notices;
    }
    if config.mqtt.client_id != bridge {
        notices.push(Notice::BridgeKept);
    }
    config.bridge = Arc::from(bridge);
    notices
}

fn tell(config: &Config, notice: &Notice) {
    let data_dir = config.data_dir.display();
    let (client_id, bridge) = (&config.mqtt.client_id, &config.bridge);
    match notice {
        Notice::ClientIdKept { by_host_name } => tracing::warn!(
            %client_id, %by_host_name, %bridge, %data_dir,
            "the host name has changed; the bridge goes on under the client id of its data directory, whose session and \
             queue the broker keeps. Set mqtt.client_id to that one to be sure of it, or to another to change it on \
             purpose. If this directory is a copy and the original still runs, stop this bridge and give it an empty one"
        ),
        Notice::ClientIdChanged { remembered } => tracing::warn!(
            %client_id, %remembered, %data_dir,
            "mqtt.client_id was changed: the bridge begins a new session, and what the broker still queues for the old \
             client id is not fetched. Run once more with the old one to fetch it"
        ),
        Notice::BridgeKept => tracing::warn!(
            %bridge, %client_id, %data_dir,
            "the bridge keeps the name of its data directory, under which the databases know its journal, although its \
             client id is another. Set `bridge` to that name to be sure of it, or to another to change it on purpose"
        ),
        Notice::BridgeChanged { remembered } => tracing::warn!(
            %bridge, %remembered, %data_dir,
            "`bridge` was changed: offsets begin anew under the new name. A database that knows this journal under the old \
             name is held until its rows are renamed, and says how"
        ),
    }
}

fn load(fs: &impl Fs, data_dir: &Path) -> Option<Identity> {
    let path = data_dir.join(FILE_NAME);
    // A file that cannot be read for the moment is tried again, like the other files.
    let bytes = match journal::read_file(fs, &path).or_else(|_| journal::read_file(fs, &path)) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(error) => return unreadable(&path, &error),
    };
    match serde_json::from_slice::<Identity>(&bytes) {
        Ok(identity) if identity.is_possible() => Some(identity),
        Ok(_) => unreadable(&path, &"it holds no valid client id and bridge name"),
        Err(error) => unreadable(&path, &error),
    }
}

fn unreadable(path: &Path, error: &dyn std::fmt::Display) -> Option<Identity> {
    tracing::warn!(path = %path.display(), %error, "cannot read under which names this data directory is known");
    None
}

impl Identity {
    fn is_possible(&self) -> bool {
        let fits = |name: &str, max: usize| !name.is_empty() && name.len() <= max && !name.contains('\0');
        fits(&self.client_id, CLIENT_ID_BYTES_MAX) && fits(&self.bridge, BRIDGE_BYTES_MAX)
    }

    fn save(&self, fs: &impl Fs, data_dir: &Path) -> io::Result<()> {
        fs.create_dir_all(data_dir)?;
        let unfinished = data_dir.join(format!("{FILE_NAME}.tmp"));
        journal::replace_file(fs, &data_dir.join(FILE_NAME), &unfinished, &serde_json::to_vec(self)?)
    }
}

#[cfg(test)]
#[path = "identity_tests.rs"]
mod tests;
