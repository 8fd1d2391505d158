//! Postgres URLs, in both of libpq's forms, with the parameters that PG* variables and the password file add.
//!
//! A finding contains nothing of a URL but the names of its parameters: a password in the wrong place would look like
//! a host or a port.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio_postgres::config::{ChannelBinding, LoadBalanceHosts, SslNegotiation, TargetSessionAttrs};

use super::address::{ENCODE, is_host};
use super::database::check_certificate_pair;
use super::libpq::{Parameters, parse};
use super::secret::{is_needed, readable_file, resolve, secret};
use super::table::Table;
use super::value::Value;
use crate::config::passfile::is_private;
use crate::config::report::nearest;
use crate::config::{Passfile, PostgresUrl, Secret, SecretSource, SinkTls, SslMode};

const PORT: u16 = 5432;
/// As for the broker.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Where Debian and Red Hat put the server's socket.
const SOCKET_DIRECTORY: &str = "/var/run/postgresql";
const SCHEMA: &str = "public";
const APPLICATION_NAME: &str = "rowbridge";

/// Parameters that have a meaning here, with the PG* variable that stands in for each.
pub(in crate::config) const PARAMETERS: [(&str, &str); 24] = [
    ("host", "PGHOST"),
    ("hostaddr", "PGHOSTADDR"),
    ("port", "PGPORT"),
    ("user", "PGUSER"),
    ("password", "PGPASSWORD"),
    ("dbname", "PGDATABASE"),
    ("passfile", "PGPASSFILE"),
    ("options", "PGOPTIONS"),
    ("application_name", "PGAPPNAME"),
    ("fallback_application_name", ""),
    ("connect_timeout", "PGCONNECT_TIMEOUT"),
    ("target_session_attrs", "PGTARGETSESSIONATTRS"),
    ("load_balance_hosts", "PGLOADBALANCEHOSTS"),
    ("channel_binding", "PGCHANNELBINDING"),
    ("sslmode", "PGSSLMODE"),
    ("sslnegotiation", "PGSSLNEGOTIATION"),
    ("sslrootcert", "PGSSLROOTCERT"),
    ("sslcert", "PGSSLCERT"),
    ("sslkey", "PGSSLKEY"),
    ("tcp_user_timeout", ""),
    ("keepalives", ""),
    ("keepalives_idle", ""),
    ("keepalives_interval", ""),
    ("keepalives_count", ""),
];

/// Accepted and without effect: what they ask for is so anyway.
const IGNORED: [&str; 4] = ["client_encoding", "gssencmode", "sslsni", "sslcompression"];

/// The URL with everything that fills its gaps; `None` after a finding that leaves no URL.
pub(super) fn decode(text: &str, value: &Value<'_>, table: &Table<'_>) -> Option<PostgresUrl> {
    let mut parameters = match parse(text) {
        Ok(parameters) => parameters,
        Err(problem) => {
            value.refuse(problem, format!("postgres://USER@HOST:PORT/DATABASE?name=value; {ENCODE}"));
            return None;
        }
    };
    check_names(&mut parameters, value);
    let given: Vec<String> = parameters.keys().cloned().collect();
    for (name, variable) in PARAMETERS {
        if let Some(content) = value.cx.environment.get(variable).filter(|content| !content.is_empty())
            && !parameters.contains_key(name)
        {
            parameters.insert(name.to_owned(), content.clone());
        }
    }
    let reader = Reader { parameters: &parameters, given: &given, value };
    let config = connection(&reader);
    // As in libpq: whoever names the system's certificates wants them compared.
    let wants_check = reader.get("sslrootcert") == Some("system");
    let default = if wants_check { SslMode::VerifyFull } else { SslMode::Prefer };
    let ssl_mode = reader.choice("sslmode", default, &SSL_MODES);
    if wants_check && ssl_mode != SslMode::VerifyFull {
        reader.refuse("sslmode", "verify-full, which `sslrootcert=system` needs; or no sslmode");
    }
    let tls = tls(table.table("tls"), &reader, ssl_mode);
    let password = password(table, &reader, given.iter().any(|name| name == "password"));
    let passfile = passfile(&reader);
    let schema = schema(table);
    Some(PostgresUrl { config: with_ssl_mode(config, ssl_mode), password, passfile, ssl_mode, tls, schema })
}

const SSL_MODES: [(&str, SslMode); 6] = [
    ("disable", SslMode::Disable),
    ("allow", SslMode::Prefer),
    ("prefer", SslMode::Prefer),
    ("require", SslMode::Require),
    ("verify-ca", SslMode::VerifyCa),
    ("verify-full", SslMode::VerifyFull),
];

/// So that the driver, too, insists on TLS where it must.
fn with_ssl_mode(mut config: tokio_postgres::Config, mode: SslMode) -> tokio_postgres::Config {
    config.ssl_mode(match mode {
        SslMode::Disable => tokio_postgres::config::SslMode::Disable,
        SslMode::Prefer => tokio_postgres::config::SslMode::Prefer,
        SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull => tokio_postgres::config::SslMode::Require,
    });
    config
}

/// Reads parameters and notes what is wrong with them, by name only.
struct Reader<'a, 'v> {
    parameters: &'a Parameters,
    /// The parameters that the URL gives; the others come from PG* variables.
    given: &'a [String],
    value: &'a Value<'v>,
}

impl Reader<'_, '_> {
    fn get(&self, name: &str) -> Option<&str> {
        self.parameters.get(name).map(String::as_str).filter(|text| !text.is_empty())
    }

    fn refuse(&self, name: &str, accepted: &str) {
        let variable = PARAMETERS.iter().find(|(parameter, _)| *parameter == name).map(|(_, variable)| *variable);
        match variable.filter(|_| !self.given.iter().any(|given| given == name)) {
            Some(variable) => self.value.refuse_variable(variable, "is not valid", accepted),
            None => self.value.refuse(format!("parameter `{name}` is not valid"), accepted),
        }
    }

    fn number(&self, name: &str, accepted: &str) -> Option<u64> {
        let text = self.get(name)?;
        let number = text.trim().parse();
        if number.is_err() {
            self.refuse(name, accepted);
        }
        number.ok()
    }

    fn choice<T: Copy>(&self, name: &str, default: T, accepted: &[(&str, T)]) -> T {
        let Some(text) = self.get(name) else { return default };
        match accepted.iter().find(|(word, _)| *word == text) {
            Some((_, chosen)) => *chosen,
            None => {
                let words: Vec<&str> = accepted.iter().map(|(word, _)| *word).collect();
                self.refuse(name, &words.join(", "));
                default
            }
        }
    }
}

fn check_names(parameters: &mut Parameters, value: &Value<'_>) {
    // The driver's name for libpq's keepalives_count.
    if let Some(count) = parameters.remove("keepalives_retries") {
        parameters.insert("keepalives_count".to_owned(), count);
    }
    let known = || PARAMETERS.iter().map(|(name, _)| *name);
    for name in parameters.keys() {
        if known().any(|known| known == name) || IGNORED.contains(&name.as_str()) {
            continue;
        }
        let suggestion = nearest(name, known());
        // A name that is far from all others may be half of a password with a `&` or `=` in it.
        let problem = match &suggestion {
            Some(_) => format!("has a parameter that is not known: `{name}`"),
            None => "has a parameter that is not known".to_owned(),
        };
        value.refuse_with(problem, Some(known().collect::<Vec<_>>().join(", ")), suggestion);
    }
}

fn connection(reader: &Reader<'_, '_>) -> tokio_postgres::Config {
    let mut config = tokio_postgres::Config::new();
    hosts(reader, &mut config);
    if let Some(user) = reader.get("user") {
        config.user(user);
    }
    if let Some(database) = reader.get("dbname") {
        config.dbname(database);
    }
    if let Some(options) = reader.get("options") {
        config.options(options);
    }
    let name = reader.get("application_name").or_else(|| reader.get("fallback_application_name"));
    config.application_name(name.unwrap_or(APPLICATION_NAME));
    // In libpq, 0 means no limit. Without a limit an unresponsive host would not be noticed, so the default applies.
    let timeout = reader.number("connect_timeout", "seconds").filter(|seconds| *seconds > 0);
    config.connect_timeout(timeout.map_or(CONNECT_TIMEOUT, Duration::from_secs));
    if let Some(millis) = reader.number("tcp_user_timeout", "milliseconds").filter(|millis| *millis > 0) {
        config.tcp_user_timeout(Duration::from_millis(millis));
    }
    keepalives(reader, &mut config);
    // What Rowbridge needs is a server that takes writes; a standby never does.
    let attributes = [
        ("any", TargetSessionAttrs::Any),
        ("read-write", TargetSessionAttrs::ReadWrite),
        ("primary", TargetSessionAttrs::ReadWrite),
    ];
    config.target_session_attrs(reader.choice("target_session_attrs", TargetSessionAttrs::Any, &attributes));
    let bindings = [
        ("disable", ChannelBinding::Disable),
        ("prefer", ChannelBinding::Prefer),
        ("require", ChannelBinding::Require),
    ];
    config.channel_binding(reader.choice("channel_binding", ChannelBinding::Prefer, &bindings));
    let balances = [("disable", LoadBalanceHosts::Disable), ("random", LoadBalanceHosts::Random)];
    config.load_balance_hosts(reader.choice("load_balance_hosts", LoadBalanceHosts::Disable, &balances));
    let negotiations = [("postgres", SslNegotiation::Postgres), ("direct", SslNegotiation::Direct)];
    config.ssl_negotiation(reader.choice("sslnegotiation", SslNegotiation::Postgres, &negotiations));
    config
}

/// With these defaults a server that vanished is noticed within a minute, also while nothing is being sent; the
/// system's would take two hours.
fn keepalives(reader: &Reader<'_, '_>, config: &mut tokio_postgres::Config) {
    const IDLE_SECONDS: u64 = 30;
    const INTERVAL_SECONDS: u64 = 10;
    const COUNT: u32 = 3;
    // As in libpq, 0 asks for the default.
    let seconds = |name: &str, default| {
        let given = reader.number(name, "seconds").filter(|seconds| *seconds > 0);
        Duration::from_secs(given.unwrap_or(default))
    };
    let count = reader.number("keepalives_count", "a number").filter(|count| *count > 0);
    config
        .keepalives(reader.number("keepalives", "0 or 1") != Some(0))
        .keepalives_idle(seconds("keepalives_idle", IDLE_SECONDS))
        .keepalives_interval(seconds("keepalives_interval", INTERVAL_SECONDS))
        .keepalives_retries(count.and_then(|count| count.try_into().ok()).unwrap_or(COUNT));
}

/// Hosts, their addresses and ports: as many addresses as hosts, and one port or as many.
fn hosts(reader: &Reader<'_, '_>, config: &mut tokio_postgres::Config) {
    let default = if Path::new(SOCKET_DIRECTORY).is_dir() { SOCKET_DIRECTORY } else { "localhost" };
    let addresses: Vec<&str> = reader.get("hostaddr").map(|list| list.split(',').collect()).unwrap_or_default();
    let hosts: Vec<&str> = match reader.get("host") {
        Some(list) => list.split(',').collect(),
        None if addresses.is_empty() => vec![default],
        // Only the addresses are dialled; the names are for the certificate.
        None => addresses.clone(),
    };
    if hosts.iter().any(|host| !host.starts_with('/') && !is_host(host)) {
        reader.refuse("host", ENCODE);
    }
    for host in &hosts {
        config.host(if host.is_empty() { default } else { host });
    }
    for address in &addresses {
        match address.trim().parse() {
            Ok(address) => {
                config.hostaddr(address);
            }
            Err(_) => reader.refuse("hostaddr", "numeric IP addresses, separated by commas"),
        }
    }
    if !addresses.is_empty() && addresses.len() != hosts.len() {
        reader.refuse("hostaddr", "as many addresses as hosts");
    }
    let ports: Vec<&str> = reader.get("port").map_or(vec![""], |list| list.split(',').collect());
    if ports.len() > 1 && ports.len() != hosts.len() {
        reader.refuse("port", "one port, or as many as hosts");
    }
    // One port for each host, so that two ways to write the same place compare equal.
    for port in ports.iter().cycle().take(hosts.len().max(ports.len())) {
        match if port.is_empty() { Ok(PORT) } else { port.parse() } {
            Ok(0) | Err(_) => {
                reader
                    .refuse("port", "1 to 65535; special characters of a password as %XX, or better in password_file");
                return;
            }
            Ok(port) => {
                config.port(port);
            }
        }
    }
}

/// `password` or `password_file`, the URL, `PGPASSWORD`: the first that has one.
fn password(table: &Table<'_>, reader: &Reader<'_, '_>, is_in_url: bool) -> Option<SecretSource> {
    if let Some(ours) = secret(table, "password", "password_file") {
        if is_in_url {
            reader.value.refuse("carries a password, and one is given beside it", "one of them, best `password_file`");
        }
        return Some(ours);
    }
    reader.get("password").map(|password| SecretSource::Value(Secret::new(password.to_owned())))
}

/// Asked last.
fn passfile(reader: &Reader<'_, '_>) -> Option<Passfile> {
    let user = reader.value.cx.environment.get("USER").cloned();
    if let Some(named) = reader.get("passfile") {
        let path = PathBuf::from(named);
        if is_needed(reader.value.cx) && path.exists() && !is_private(&path) {
            reader.refuse("passfile", "a file that nobody else can read: chmod 600");
        }
        return Some(Passfile { path, is_named: true, user });
    }
    let home = reader.value.cx.environment.get("HOME")?;
    Some(Passfile { path: Path::new(home).join(".pgpass"), is_named: false, user })
}

/// The `tls` mapping; the URL's parameters fill what it leaves out.
fn tls(table: Table<'_>, reader: &Reader<'_, '_>, mode: SslMode) -> SinkTls {
    let file = |key, parameter: &str| {
        let ours = readable_file(&table, key);
        // libpq's word for the system's certificates, which is what no file means here.
        let theirs = reader.get(parameter).filter(|path| *path != "system");
        ours.or_else(|| {
            let path = resolve(reader.value.cx, Path::new(theirs?));
            if is_needed(reader.value.cx)
                && let Err(error) = std::fs::File::open(&path)
            {
                reader.refuse(parameter, &format!("a readable file; `{}` cannot be read: {error}", path.display()));
            }
            Some(path)
        })
    };
    let tls = SinkTls {
        ca_file: file("ca_file", "sslrootcert"),
        cert_file: file("cert_file", "sslcert"),
        key_file: file("key_file", "sslkey"),
    };
    check_certificate_pair(&table);
    if reader.get("sslcert").is_some() != reader.get("sslkey").is_some() && table.get("cert_file").is_none() {
        reader.value.refuse("has only one of sslcert and sslkey", "both or neither");
    }
    if mode == SslMode::Disable {
        for key in ["ca_file", "cert_file"] {
            if let Some(value) = table.get(key) {
                value.refuse("has no effect: the URL says sslmode=disable", "sslmode=verify-full");
            }
        }
    }
    table.finish();
    tls
}

fn schema(table: &Table<'_>) -> String {
    let Some(value) = table.get("schema") else { return SCHEMA.to_owned() };
    let Some(text) = value.text() else { return SCHEMA.to_owned() };
    if text.is_empty() || text.len() > crate::rule::IDENTIFIER_BYTES_MAX || text.contains(['\0', '"', '.']) {
        value.refuse(format!("found {}", value.shown()), "the name of a schema, without quotes");
    }
    text
}
