//! The keys that bridge.yaml has: words that a message may show wherever they stand.

/// In the order of the alphabet.
const KEYS: [&str; 101] = [
    "alpn",
    "batch",
    "bridge",
    "ca_file",
    "cert_file",
    "charset",
    "client_id",
    "columns",
    "compression",
    "connect_timeout",
    "convention",
    "create",
    "csv",
    "data_dir",
    "database",
    "databases",
    "dead_letters",
    "decimal",
    "decode",
    "default",
    "durability",
    "for_each",
    "format",
    "from",
    "http",
    "influx",
    "insecure_skip_verify",
    "into",
    "journal",
    "jq",
    "keep",
    "keep_alive",
    "keep_by",
    "key",
    "key_file",
    "level",
    "listen",
    "log",
    "map",
    "max",
    "max_bytes",
    "max_expanded",
    "max_packet_size",
    "max_rows",
    "max_size",
    "max_wait",
    "min",
    "mode",
    "mqtt",
    "name",
    "on_corruption",
    "on_error",
    "park_after",
    "password",
    "password_file",
    "protobuf",
    "publish",
    "qos",
    "queries",
    "receive_maximum",
    "regex",
    "reply",
    "required",
    "retained",
    "retry",
    "rules",
    "rules_from",
    "scale",
    "schema",
    "segment_size",
    "session_expiry",
    "shift",
    "shutdown_grace",
    "sparkplug",
    "statement",
    "statement_timeout",
    "status_topic",
    "subscribe_properties",
    "sync_interval",
    "table",
    "table_aliases",
    "tables",
    "template",
    "time",
    "tls",
    "topic",
    "topic_alias_maximum",
    "transform",
    "type",
    "tz",
    "unit",
    "unmapped",
    "unmatched",
    "url",
    "urls",
    "username",
    "username_file",
    "value",
    "version",
    "when_full",
    "where",
];

/// Whether it is a key of bridge.yaml, in whichever section.
pub(super) fn is_known_key(key: &str) -> bool {
    KEYS.binary_search(&key).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keys_are_sorted() {
        assert!(KEYS.is_sorted());
    }

    #[test]
    fn every_key_of_the_reference_is_known() {
        const CHOSEN_BY_THE_USER: [&str; 2] = ["local", "cloud"];
        let reference = include_str!("testdata/reference.yaml");
        let keys = reference.lines().filter_map(|line| {
            let (key, _) = line.trim_start_matches([' ', '-']).split_once(':')?;
            key.chars().all(|c| c.is_ascii_lowercase() || c == '_').then_some(key)
        });
        let unknown = keys.filter(|key| !key.is_empty() && !is_known_key(key) && !CHOSEN_BY_THE_USER.contains(key));
        assert_eq!(unknown.collect::<Vec<_>>(), Vec::<&str>::new());
    }
}
