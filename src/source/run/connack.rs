//! CONNACK: whether the session is the known one, and what the broker does not support. Outdated state is removed from
//! the disk before the bridge subscribes or reads.

use std::time::Duration;

use super::Source;
use crate::clock;
use crate::config::{MqttUrl, MqttVersion};
use crate::mqtt::limits::Limits;
use crate::mqtt::packet::ConnAck;
use crate::source::caution::Caution;
use crate::source::intake::Journal;
use crate::source::session::Shared;
use crate::source::stored::SaveError;

impl<J: Journal> Source<J> {
    /// The requests that the broker has refused or is known not to support.
    pub(super) fn limits(&mut self, connack: &ConnAck) -> Limits {
        let Shared { config, stored, caution, .. } = &mut self.shared;
        if stored.address != address_of(&config.urls[self.url]) {
            // Another broker: what is known of the last one says nothing.
            stored.identifiers_tell_nothing = false;
            *caution = Caution::new(&config.retry);
        }
        let mut limits = connack.limits.clone();
        limits.subscription_identifiers &= !stored.identifiers_tell_nothing;
        limits
    }

    /// Returns whether the session is the one of the stored list. If not, this is on the disk before the session is
    /// subscribed to or read.
    pub(super) async fn adopt_session(&mut self, session_present: bool) -> Result<bool, SaveError> {
        let Shared { config, stored, file, .. } = &mut self.shared;
        let address = address_of(&config.urls[self.url]);
        let is_known = session_present && stored.address == address;
        if !is_known {
            stored.address = address;
            stored.qos2_clear_pending = true;
            file.save(stored);
            file.settled().await?;
        }
        Ok(is_known)
    }

    /// Tells what CONNACK says about the session.
    pub(super) fn report(&self, connack: &ConnAck) {
        let Shared { config, stored, events, .. } = &self.shared;
        if !connack.session_present {
            if stored.filters.is_empty() {
                events.session_new();
            } else if let [only] = &config.urls[..]
                && stored.address != address_of(only)
            {
                // Of several, this one may have had a session too.
                events.session_elsewhere(&stored.address);
            } else if stored.filters.values().all(|filter| filter.granted == 0) {
                events.session_not_kept();
            } else {
                events.session_lost(self.away());
            }
        }
        let asked_s = config.session_expiry.as_secs();
        if let Some(granted_s) = connack.session_expiry_s.filter(|&granted_s| u64::from(granted_s) < asked_s)
            && config.version == MqttVersion::V5
        {
            events.session_expiry_shortened(asked_s, granted_s);
        }
    }

    /// How long this client was away at most, as far as is known.
    fn away(&self) -> Option<Duration> {
        if let Some(until) = self.connected_until {
            return Some(until.elapsed());
        }
        // The wall clock may have jumped meanwhile; it is for a message only.
        let away_us = clock::now().as_micros().saturating_sub(self.shared.stored.last_connected_us?);
        Some(Duration::from_micros(u64::try_from(away_us).unwrap_or(0)))
    }
}

/// As the stored list has it.
fn address_of(url: &MqttUrl) -> String {
    format!("{}:{}", url.host, url.port)
}
