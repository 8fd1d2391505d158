//! A valid configuration, with every default and its reason. Names are resolved, patterns parsed and units converted.
//! `load` makes it, the rest of the program only reads it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::query::Query;
use super::{Format, Passfile, Publication, SecretSource, Shaping, StatusTopic};
use crate::message::Qos;
use crate::rule::{
    Adjustments, Chooser, ColumnSource, DeclaredType, Routing, Source, Statement, TableName, TimeFormat, TopicPattern,
};

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

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Retained {
    Store,
    Skip,
    /// Those that equal the message of their topic that the rule stored last are skipped.
    Changed,
}

/// How rows go into their table. A key is the columns that tell rows apart, each once; empty: the table's primary key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Mode {
    /// A row whose key is there already is refused by the table.
    Insert,
    /// It is passed over.
    Ignore { key: Arc<[Arc<str>]> },
    /// It takes the place of the one that is there.
    Upsert { key: Arc<[Arc<str>]> },
}

impl Mode {
    /// The key that the rule names, empty if it names none; `None` where rows go by no key.
    pub fn key(&self) -> Option<&[Arc<str>]> {
        match self {
            Mode::Insert => None,
            Mode::Ignore { key } | Mode::Upsert { key } => Some(key),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OnError {
    DeadLetter,
    Drop,
    Halt,
}

#[derive(Debug, Clone)]
pub struct Rule {
    /// `rule-N` (from 1) when the file gives none. Unique.
    pub name: Arc<str>,
    /// Never empty.
    pub topics: Arc<[TopicPattern]>,
    pub qos: Qos,
    /// By topic, where one says its own (`filter::1`); empty if none does.
    pub own_qos: Vec<Option<Qos>>,
    /// MQTT 5 user properties, name and value, of the SUBSCRIBE for its topics.
    pub subscribe_properties: Vec<(String, String)>,
    /// Index into [`Config::databases`].
    pub database: usize,
    /// Where each message names its database: the rule is there once for each, under one name.
    pub chooser: Option<Arc<Chooser>>,
    /// With `routing`, the template's text: what people know the rule's tables by. With `statement`,
    /// [`TableName::of_statement`].
    pub table: TableName,
    /// Where each message names its table.
    pub routing: Option<Arc<Routing>>,
    /// Runs once for each row, in place of an INSERT into the table. Its binds are the rule's columns.
    pub statement: Option<Arc<Statement>>,
    pub format: Format,
    pub shaping: Shaping,
    pub for_each: ForEach,
    /// How times are read where no column says it.
    pub times: Option<AutoTimes>,
    /// Rows that one message may give. 100,000: a day of readings at one a second.
    pub rows_max: usize,
    pub unmapped: Unmapped,
    pub columns: Columns,
    /// The table is made if it is missing.
    pub create: Option<Arc<Create>>,
    pub mode: Mode,
    pub retained: Retained,
    pub on_error: OnError,
    /// Messages are answered once they are committed, or refused.
    pub reply: Option<Reply>,
    /// Where the rule begins in the file, as `bridge.yaml:12:5`, for messages about live tables.
    pub position: String,
}

/// The parts of a new table besides its columns. Each list of columns has each column once.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Create {
    /// Empty: the rule's `key`, or none.
    pub primary_key: Vec<Arc<str>>,
    /// None is empty.
    pub indexes: Vec<Vec<Arc<str>>>,
}

/// Where answers to a rule's messages go: to the topic that the message names, if it may.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// Only to this topic and those below it.
    pub prefix: Option<Arc<str>>,
    /// The user property `reply` names the topic as well, and wins over the Response Topic.
    pub by_property: bool,
}

/// What becomes of fields that no column takes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Unmapped {
    Ignore,
    /// The message is refused.
    Error,
    /// They become columns of the table.
    Add,
    /// They go into this column, as a JSON object. With named columns the list has it.
    Column(String),
}

impl Rule {
    /// The QoS that the topic at this index is subscribed with.
    pub fn qos_of(&self, topic: usize) -> Qos {
        self.own_qos.get(topic).copied().flatten().unwrap_or(self.qos)
    }

    /// Whether it is there once more for another database, and this is not the first.
    pub fn is_copy(&self) -> bool {
        self.chooser.as_ref().is_some_and(|chooser| chooser.first != self.database)
    }

    /// The primary key that its table gets if the rule makes it; empty: none.
    pub fn new_key(&self) -> &[Arc<str>] {
        match &self.create {
            Some(create) if !create.primary_key.is_empty() => &create.primary_key,
            _ => self.mode.key().unwrap_or_default(),
        }
    }

    /// The lowest of all its topics.
    pub fn lowest_qos(&self) -> Qos {
        (0..self.topics.len()).map(|topic| self.qos_of(topic)).min().unwrap_or(self.qos)
    }
}

/// How a convention's rows are read: how the times of time columns are written, and which values there must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AutoTimes {
    pub format: TimeFormat,
    pub zone: jiff::tz::TimeZone,
    /// An array has a value for each column that the database does not fill.
    pub needs_all_columns: bool,
}

/// Over what a row is made for each element or entry.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ForEach {
    /// Of the payload, then of its elements: at most two paths. Without any, a payload is one row.
    Paths(Vec<Source>),
    /// Whatever the payload is: an object or an array of values is one row, an array of these several, and so are
    /// `{"data":{"columns":[…],"rows":[[…],…]}}`.
    Auto,
}

impl ForEach {
    pub const NONE: ForEach = ForEach::Paths(Vec::new());

    pub fn is_empty(&self) -> bool {
        self.depth() == 0
    }

    /// How deep elements lie in elements.
    pub fn depth(&self) -> usize {
        match self {
            ForEach::Paths(paths) => paths.len(),
            ForEach::Auto => 1,
        }
    }
}

#[derive(Debug, Clone)]
pub enum Columns {
    /// Payload fields by column name.
    Auto,
    /// In the order of the file. Never empty. Rules with equal columns share the list, others the columns that are equal:
    /// ten thousand rules are mostly alike.
    Named(Arc<[Arc<Column>]>),
}

impl Columns {
    /// A list that is shared with nobody yet.
    pub fn named(columns: Vec<Column>) -> Columns {
        Columns::Named(columns.into_iter().map(Arc::new).collect())
    }
}

#[derive(Debug, Clone)]
pub struct Column {
    pub name: Arc<str>,
    pub source: ColumnSource,
    /// Needed only where `create` cannot tell.
    pub declared: Option<DeclaredType>,
    /// What is done to its values.
    pub adjust: Option<Box<Adjustments>>,
    pub time: Option<TimeFormat>,
    /// Zone of times that carry none; default UTC.
    pub tz: Option<jiff::tz::TimeZone>,
    /// In place of a missing or null value.
    pub default: Option<serde_json::Value>,
    pub required: bool,
    /// Overrides the rule's.
    pub on_error: Option<OnError>,
}

impl Column {
    /// One that is filled from this, and nothing else said.
    pub fn of(name: &str, source: ColumnSource) -> Column {
        Column {
            name: Arc::from(name),
            source,
            declared: None,
            adjust: None,
            time: None,
            tz: None,
            default: None,
            required: false,
            on_error: None,
        }
    }
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
