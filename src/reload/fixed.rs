//! Keys that take effect only at a start.

use crate::config::{Config, Database};

/// Those in which two configurations differ.
pub(super) fn changed(running: &Config, new: &Config) -> Vec<String> {
    let mut keys: Vec<String> = Vec::new();
    let mut compare = |key: &str, is_same: bool| {
        if !is_same {
            keys.push(key.to_owned());
        }
    };
    compare("bridge", running.bridge == new.bridge);
    compare("data_dir", running.data_dir == new.data_dir);
    compare("shutdown_grace", running.shutdown_grace == new.shutdown_grace);
    let (a, b) = (&running.mqtt, &new.mqtt);
    compare("mqtt.url", a.urls == b.urls);
    compare("mqtt.version", a.version == b.version);
    compare("mqtt.client_id", a.client_id == b.client_id);
    compare("mqtt.username", a.username == b.username);
    compare("mqtt.password", a.password == b.password);
    compare("mqtt.session_expiry", a.session_expiry == b.session_expiry);
    compare("mqtt.keep_alive", a.keep_alive == b.keep_alive);
    compare("mqtt.connect_timeout", a.connect_timeout == b.connect_timeout);
    compare("mqtt.retry", a.retry == b.retry);
    compare("mqtt.receive_maximum", a.receive_maximum == b.receive_maximum);
    compare("mqtt.max_packet_size", a.max_packet_size == b.max_packet_size);
    compare("mqtt.topic_alias_maximum", a.topic_alias_maximum == b.topic_alias_maximum);
    compare("mqtt.tls", a.tls == b.tls);
    compare("mqtt.status_topic", a.status_topic == b.status_topic);
    // Whatever is added and not named above.
    let is_named = keys.iter().any(|key| key.starts_with("mqtt"));
    if a != b && !is_named {
        keys.push("mqtt".to_owned());
    }
    if running.journal != new.journal {
        keys.push("journal".to_owned());
    }
    databases(&running.databases, &new.databases, &mut keys);
    if (running.http, &running.http_access) != (new.http, &new.http_access) {
        keys.push("http".to_owned());
    }
    if running.publish != new.publish {
        keys.push("publish".to_owned());
    }
    if running.log.format != new.log.format {
        keys.push("log.format".to_owned());
    }
    keys
}

/// Of a database, `batch` may change.
fn databases(running: &[Database], new: &[Database], keys: &mut Vec<String>) {
    let names = |databases: &[Database]| databases.iter().map(|database| database.name.to_string()).collect::<Vec<_>>();
    if names(running) != names(new) {
        keys.push("databases (which there are, and their order)".to_owned());
        return;
    }
    for (a, b) in running.iter().zip(new) {
        let name = &a.name;
        if a.url != b.url {
            keys.push(format!("databases.{name} (its url, login or tls)"));
        }
        if a.retry != b.retry {
            keys.push(format!("databases.{name}.retry"));
        }
        if a.statement_timeout != b.statement_timeout {
            keys.push(format!("databases.{name}.statement_timeout"));
        }
        if a.park_after != b.park_after {
            keys.push(format!("databases.{name}.park_after"));
        }
    }
}
