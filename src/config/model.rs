//! A valid configuration, with every default and its reason. Names are resolved, patterns parsed and units converted.
//! `load` makes it, the rest of the program only reads it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::query::Query;
use super::rule::Rule;
use super::{Passfile, Publication, SecretSource, StatusTopic};

/// A whole, valid configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// The file it was read from, for messages; `None` when nothing but the environment was given.
    pub file: Option<PathBuf>,
    pub bridge: Bridge,
    pub named: Named,
    pub data_dir: PathBuf,
    pub mqtt: Mqtt,
    pub journal: Journal,
    /// In the order of the file: the first takes the dead letters that no rule claims. Never empty.
    pub databases: Vec<Database>,
    pub rules: Vec<Arc<Rule>>,
    pub publish: Vec<Publication>,
    pub queries: Vec<Query>,
    pub unmatched: Unmatched,
    pub dead_letters: DeadLetters,
    pub http: Http,
    pub http_access: HttpAccess,
    pub log: Log,
    /// How long a stop may take before it is forced. 10 s: systemd's default patience is 90 s, Docker's 10 s.
    pub shutdown_grace: Duration,
}

/// Identity of this bridge in the databases' offset tables; default: the MQTT client id.
pub type Bridge = Arc<str>;

/// Which of the bridge's names the user gave; the others are defaults, and `identity` may know better.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Named {
    pub client_id: bool,
    pub bridge: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MqttVersion {
    V3,
    V5,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    Mqtt,
    Mqtts,
    Ws,
    Wss,
}

/// One broker address. Credentials in the URL are moved to [`Mqtt::username`] and [`Mqtt::password`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MqttUrl {
    pub scheme: Scheme,
    /// Without brackets for IPv6.
    pub host: String,
    /// Default 1883, 8883, 80, 443 by scheme.
    pub port: u16,
    /// For ws and wss, default `/mqtt`, which Mosquitto and EMQX accept; empty otherwise.
    pub path: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mqtt {
    /// Tried in turn; never empty.
    pub urls: Vec<MqttUrl>,
    pub version: MqttVersion,
    pub client_id: String,
    /// A token is often given as the user name.
    pub username: Option<SecretSource>,
    pub password: Option<SecretSource>,
    /// 7 days: a long weekend plus a repair; brokers cap it as they like.
    pub session_expiry: Duration,
    pub keep_alive: Duration,
    pub connect_timeout: Duration,
    /// 1000: at 20 (Mosquitto's default window) each fdatasync would cover 20 messages at most.
    pub receive_maximum: u16,
    /// Bytes, the whole packet. 1 MiB: EMQX's default. Not announced: a broker would drop what is larger without a word.
    pub max_packet_size: u32,
    /// How many topic aliases an MQTT 5 broker may use towards us. 0: several brokers get them wrong.
    pub topic_alias_maximum: u16,
    /// Waits before the next attempt to connect. 200 ms: most cuts heal at once. 30 s: a broker that was down for an
    /// hour is found again within this time.
    pub retry: Retry,
    pub tls: MqttTls,
    /// Where the bridge tells whether it is there: `online`, and `offline` as the will.
    pub status_topic: Option<StatusTopic>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MqttTls {
    pub ca_file: Option<PathBuf>,
    pub cert_file: Option<PathBuf>,
    pub key_file: Option<PathBuf>,
    pub alpn: Vec<String>,
    pub insecure_skip_verify: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// fdatasync before the broker gets its acknowledgement.
    Commit,
    /// Acknowledge at once, fdatasync at this interval: what arrived since is lost in a power cut.
    Interval(Duration),
    /// The acknowledgement waits until every database has committed; the journal lies in memory.
    Delivered,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenFull {
    Pause,
    DropOldest,
    DropNewest,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Corruption {
    Quarantine,
    Halt,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Journal {
    pub durability: Durability,
    /// With [`Durability::Commit`]: how long a message waits at most for others that are synced together with it.
    pub sync_interval: Duration,
    /// Bytes. 16 MiB: small enough to trim soon, large enough that a rotation is rare.
    pub segment_size: u64,
    /// Bytes of all segments together.
    pub max_size: u64,
    pub when_full: WhenFull,
    /// How long delivered messages stay, for a database that fails over to a replica which lacks them.
    pub keep: Duration,
    pub on_corruption: Corruption,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Database {
    pub name: Arc<str>,
    pub url: DatabaseUrl,
    pub batch: Batch,
    pub retry: Retry,
    pub statement_timeout: Duration,
    /// How long the database is held for a bad table before only that table's rules wait. 30 s: a migration takes a moment.
    pub park_after: Duration,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DatabaseUrl {
    /// Path of the file, relative to the working directory.
    Sqlite(PathBuf),
    Postgres(Box<PostgresUrl>),
}

/// How to reach Postgres: the URL's parts, with PG* variables in the gaps. Its `Debug` shows neither user nor password.
#[derive(Clone, PartialEq, Eq)]
pub struct PostgresUrl {
    /// Everything but the password, sslmode and the certificates: hosts, ports, user, dbname, target_session_attrs,
    /// connect_timeout, keepalives, application_name, options. `tokio_postgres::Config` prints no password.
    pub config: tokio_postgres::Config,
    pub password: Option<SecretSource>,
    /// Asked where there is no password; libpq's file of passwords by server.
    pub passfile: Option<Passfile>,
    pub ssl_mode: SslMode,
    pub tls: SinkTls,
    /// The schema in which unqualified tables, and Rowbridge's own, live.
    pub schema: String,
}

/// As libpq has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SslMode {
    Disable,
    /// TLS if the server offers it, without checking who it is. `allow` is treated alike.
    Prefer,
    /// TLS without checking who the server is, unless a CA is given: then as [`SslMode::VerifyCa`].
    Require,
    VerifyCa,
    VerifyFull,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SinkTls {
    pub ca_file: Option<PathBuf>,
    pub cert_file: Option<PathBuf>,
    pub key_file: Option<PathBuf>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// 5000 rows: past it, binary COPY gains less than 5 % per doubling.
    pub max_rows: usize,
    /// Bytes of encoded rows.
    pub max_bytes: usize,
    /// 50 ms: how long a row waits for others before a commit begins; a lone row of a quiet stream does not wait
    /// (`delivery/company.rs`).
    pub max_wait: Duration,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retry {
    pub min: Duration,
    pub max: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unmatched {
    Ignore,
    DeadLetter,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetters {
    pub keep: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Http {
    Off,
    Listen(SocketAddr),
}

/// Who may read over HTTP.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HttpAccess {
    /// What a client must send for all but the health checks; `None`: nothing.
    pub token: Option<SecretSource>,
    /// Host names under which clients reach the bridge, besides loopback and the listen address; in lower case.
    pub hosts: Vec<String>,
}

impl HttpAccess {
    /// The path under `token_file`, as the configuration has it.
    pub fn token_file(&self) -> Option<&Path> {
        match &self.token {
            Some(SecretSource::File(file)) => Some(file.named()),
            Some(SecretSource::Value(_)) | None => None,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Text on a terminal; under systemd, text without time and colour; otherwise text.
    Auto,
    Text,
    Json,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// A tracing directive: `info`, or `info,rowbridge::source=debug`.
    pub level: String,
    pub format: LogFormat,
}
