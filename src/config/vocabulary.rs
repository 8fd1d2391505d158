//! The keys that bridge.yaml has, and the parameters of its Postgres addresses: words that a message may show wherever
//! they stand.

/// In the order of the alphabet.
const KEYS: [&str; 123] = [
    "alpn",
    "application_name",
    "batch",
    "bridge",
    "ca_file",
    "cert_file",
    "channel_binding",
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
    "dbname",
    "dead_letters",
    "decimal",
    "decode",
    "default",
    "durability",
    "fallback_application_name",
    "for_each",
    "format",
    "from",
    "host",
    "hostaddr",
    "http",
    "influx",
    "insecure_skip_verify",
    "into",
    "journal",
    "jq",
    "keep",
    "keep_alive",
    "keep_by",
    "keepalives",
    "keepalives_count",
    "keepalives_idle",
    "keepalives_interval",
    "key",
    "key_file",
    "level",
    "listen",
    "load_balance_hosts",
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
    "options",
    "park_after",
    "passfile",
    "password",
    "password_file",
    "port",
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
    "sslcert",
    "sslkey",
    "sslmode",
    "sslnegotiation",
    "sslrootcert",
    "statement",
    "statement_timeout",
    "status_topic",
    "subscribe_properties",
    "sync_interval",
    "table",
    "table_aliases",
    "tables",
    "target_session_attrs",
    "tcp_user_timeout",
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
    "user",
    "username",
    "username_file",
    "value",
    "version",
    "when_full",
    "where",
];

/// Whether it is a key of bridge.yaml, in whichever section, or a parameter of an address.
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
