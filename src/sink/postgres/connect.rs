//! Connects to a server that accepts the login: hosts in turn, TLS by `sslmode`, a limit on every wait.
//!
//! The driver could try several hosts itself. But then a host that accepts the connection and sends nothing delays all
//! others, and only the last host's error is reported. So each host is tried separately, with its own limit.

use std::time::Duration;

use tokio::net::{TcpStream, UnixStream};
use tokio_postgres::config::{Host, LoadBalanceHosts};
use tokio_postgres::{Config, Error, NoTls};

use super::failure::{explain, own};
use super::session::Session;
use super::tls;
use crate::config::{Account, PostgresUrl, Secret, SslMode};
use crate::sink::{Class, SinkError};

/// For a TCP connection when `connect_timeout` is not given; libpq would wait for ever.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// TCP, TLS and login together may take this many times the connect timeout: a name can have several addresses.
const LOGIN_STEPS: u32 = 3;

/// For a connection that is only to show that somebody answers.
const KNOCK_TIMEOUT: Duration = Duration::from_secs(2);

const DEFAULT_PORT: u16 = 5432;

/// In messages.
const DOING: &str = "connecting";

/// SQLSTATE: an object is not in the state that is needed. Of a login: the database takes no connections.
const NOT_IN_STATE: &str = "55000";
const CLOSED_DATABASE: &str = "the database takes no connections: ALTER DATABASE … ALLOW_CONNECTIONS true";

/// What the server shows as our name when the URL gives none.
const APPLICATION_NAME: &str = "rowbridge";

/// One host of the URL.
struct Candidate {
    config: Config,
    at: String,
    name: String,
    port: u16,
    is_socket: bool,
}

impl Candidate {
    async fn answers(&self) -> bool {
        let port = self.config.get_ports().first().copied().unwrap_or(DEFAULT_PORT);
        if let Some(&address) = self.config.get_hostaddrs().first() {
            return TcpStream::connect((address, port)).await.is_ok();
        }
        match self.config.get_hosts().first() {
            Some(Host::Tcp(name)) => TcpStream::connect((name.as_str(), port)).await.is_ok(),
            Some(Host::Unix(directory)) => {
                UnixStream::connect(directory.join(format!(".s.PGSQL.{port}"))).await.is_ok()
            }
            None => false,
        }
    }
}

/// A session with the first host that takes us and fits `target_session_attrs`.
pub(super) async fn open(url: &PostgresUrl, statement_timeout: Duration) -> Result<Session, SinkError> {
    let mut failures = Vec::new();
    for candidate in candidates(url)? {
        match log_in(url, &candidate, statement_timeout).await {
            Ok(session) => return session.learn().await,
            Err(failure) => failures.push(failure),
        }
    }
    Err(summary(failures))
}

/// Whether one of the hosts takes a connection; nothing is said on it.
pub(super) async fn is_reachable(url: &PostgresUrl) -> bool {
    for candidate in candidates(url).unwrap_or_default() {
        if let Ok(true) = tokio::time::timeout(KNOCK_TIMEOUT, candidate.answers()).await {
            return true;
        }
    }
    false
}

/// One error for all hosts: transient if any of them may become available by itself.
fn summary(mut failures: Vec<SinkError>) -> SinkError {
    let Some(mut last) = failures.pop() else {
        return own(Class::Table, "url", "the URL names no host".into(), "give a host in the database's URL");
    };
    for failure in failures.into_iter().rev() {
        last.message = format!("{}; {}", failure.message, last.message);
        if failure.class == Class::Transient && last.class != Class::Transient {
            (last.class, last.code, last.advice) = (failure.class, failure.code, failure.advice);
        }
    }
    last
}

async fn log_in(url: &PostgresUrl, candidate: &Candidate, timeout: Duration) -> Result<Session, SinkError> {
    // As in libpq, sslmode means nothing on a Unix socket.
    let mode = if candidate.is_socket { SslMode::Disable } else { url.ssl_mode };
    let first = attempt(url, candidate, mode, timeout).await;
    match first {
        // As in libpq, prefer goes on in the clear where TLS fails or pg_hba.conf wants none.
        Err(error) if mode == SslMode::Prefer && ["tls", "28000"].contains(&error.code.as_str()) => {
            attempt(url, candidate, SslMode::Disable, timeout).await.map_err(|_| error)
        }
        result => result,
    }
}

async fn attempt(
    url: &PostgresUrl,
    candidate: &Candidate,
    mode: SslMode,
    statement_timeout: Duration,
) -> Result<Session, SinkError> {
    let at = candidate.at.as_str();
    let mut config = candidate.config.clone();
    if let Some(password) = password(url, candidate)? {
        config.password(password.expose());
    }
    config.ssl_mode(match mode {
        SslMode::Disable => tokio_postgres::config::SslMode::Disable,
        SslMode::Prefer => tokio_postgres::config::SslMode::Prefer,
        SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull => tokio_postgres::config::SslMode::Require,
    });
    let limit = config.get_connect_timeout().copied().unwrap_or(CONNECT_TIMEOUT).saturating_mul(LOGIN_STEPS);
    // Boxed: the driver's connect futures are large, and this is not a hot path.
    let login = async {
        if mode == SslMode::Disable {
            let (client, connection) = Box::pin(config.connect(NoTls)).await.map_err(|error| refused(&error, at))?;
            return Ok(Session::start(client, connection, at.to_owned(), statement_timeout));
        }
        let connector = tls::connector(mode, &url.tls).map_err(|error| {
            // A file that is being replaced is there again in a moment.
            let class = if error.may_pass() { Class::Transient } else { Class::Table };
            let advice = "check the files named under `tls`, and that Rowbridge's user may read them";
            own(class, "tls_files", format!("{DOING} ({at}): {error}"), advice)
        })?;
        let (client, connection) = Box::pin(config.connect(connector)).await.map_err(|error| refused(&error, at))?;
        Ok(Session::start(client, connection, at.to_owned(), statement_timeout))
    };
    tokio::time::timeout(limit, Box::pin(login)).await.unwrap_or_else(|_| {
        Err(own(
            Class::Transient,
            "connect",
            format!("{DOING} ({at}): no login within {} s", limit.as_secs()),
            "the server or the network does not answer; Rowbridge tries again",
        ))
    })
}

/// What an error of the login means.
fn refused(error: &Error, at: &str) -> SinkError {
    let explained = explain(error, DOING, at);
    match explained.code.as_str() {
        NOT_IN_STATE => SinkError { advice: CLOSED_DATABASE, ..explained },
        _ => explained,
    }
}

/// The password for this host, read anew each time: what is in a file today may not be what was there yesterday.
fn password(url: &PostgresUrl, candidate: &Candidate) -> Result<Option<Secret>, SinkError> {
    const ADVICE: &str = "the file is read at every attempt: correct it, and let Rowbridge's user read it";
    let at = &candidate.at;
    if let Some(source) = &url.password {
        let secret = source.read().map_err(|error| {
            own(Class::Transient, "secret_file", format!("connecting ({at}): {} {error}", error.key), ADVICE)
        })?;
        return Ok(Some(secret));
    }
    let Some(passfile) = &url.passfile else { return Ok(None) };
    let Some(user) = passfile.user(url.config.get_user()) else { return Ok(None) };
    let database = url.config.get_dbname().unwrap_or(user);
    let account = Account { host: &candidate.name, port: candidate.port, database, user };
    passfile
        .find(&account)
        .map_err(|error| own(Class::Transient, "secret_file", format!("connecting ({at}): {error}"), ADVICE))
}

/// The URL's hosts in the order to try them.
fn candidates(url: &PostgresUrl) -> Result<Vec<Candidate>, SinkError> {
    let all = &url.config;
    let (hosts, addresses, ports) = (all.get_hosts(), all.get_hostaddrs(), all.get_ports());
    let count = hosts.len().max(addresses.len());
    let unequal = (!hosts.is_empty() && !addresses.is_empty() && hosts.len() != addresses.len())
        || (ports.len() > 1 && ports.len() != count);
    if unequal {
        let message = "the URL names different numbers of hosts, addresses and ports".to_owned();
        return Err(own(Class::Table, "url", message, "give one port, or one for each host"));
    }
    let mut candidates: Vec<Candidate> = (0..count)
        .map(|index| {
            let port = ports.get(index).or(ports.first()).copied().unwrap_or(DEFAULT_PORT);
            let mut config = without_hosts(url);
            config.port(port);
            if let Some(&address) = addresses.get(index) {
                config.hostaddr(address);
            }
            let (name, is_socket) = match hosts.get(index) {
                Some(Host::Tcp(name)) => (name.clone(), false),
                #[cfg(unix)]
                Some(Host::Unix(path)) => (path.display().to_string(), true),
                // An address without a name stands for the name in TLS.
                None => (addresses[index].to_string(), false),
            };
            config.host(name.as_str());
            let database = all.get_dbname().or(all.get_user()).unwrap_or_default();
            Candidate { config, at: format!("{name}:{port}/{database}"), name, port, is_socket }
        })
        .collect();
    if all.get_load_balance_hosts() == LoadBalanceHosts::Random && count > 1 {
        // Without randomness the order of the URL serves as well.
        candidates.rotate_left(getrandom::u32().unwrap_or(0) as usize % count);
    }
    Ok(candidates)
}

/// Everything of the URL but the hosts and the password: the driver's configuration cannot take a host away again.
fn without_hosts(url: &PostgresUrl) -> Config {
    let all = &url.config;
    let mut config = Config::new();
    if let Some(user) = all.get_user() {
        config.user(user);
    }
    if let Some(database) = all.get_dbname() {
        config.dbname(database);
    }
    if let Some(options) = all.get_options() {
        config.options(options);
    }
    if let Some(timeout) = all.get_tcp_user_timeout() {
        config.tcp_user_timeout(*timeout);
    }
    if let Some(interval) = all.get_keepalives_interval() {
        config.keepalives_interval(interval);
    }
    if let Some(retries) = all.get_keepalives_retries() {
        config.keepalives_retries(retries);
    }
    config
        .application_name(all.get_application_name().unwrap_or(APPLICATION_NAME))
        .ssl_negotiation(all.get_ssl_negotiation())
        .connect_timeout(all.get_connect_timeout().copied().unwrap_or(CONNECT_TIMEOUT))
        .keepalives(all.get_keepalives())
        .keepalives_idle(all.get_keepalives_idle())
        .target_session_attrs(all.get_target_session_attrs())
        .channel_binding(all.get_channel_binding())
        .load_balance_hosts(all.get_load_balance_hosts());
    config
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{SecretSource, SinkTls};

    fn url(text: &str) -> PostgresUrl {
        PostgresUrl {
            config: text.parse().unwrap(),
            password: Some(SecretSource::Value(Secret::new("geheim".into()))),
            passfile: None,
            ssl_mode: SslMode::Prefer,
            tls: SinkTls::default(),
            schema: "public".into(),
        }
    }

    #[test]
    fn every_host_is_tried_by_itself_with_its_own_port() {
        let candidates = candidates(&url("postgres://u@a:1,b:2/db?target_session_attrs=read-write")).unwrap();
        let names: Vec<_> = candidates.iter().map(|candidate| candidate.at.as_str()).collect();
        assert_eq!(names, ["a:1/db", "b:2/db"]);
        assert!(candidates.iter().all(|candidate| candidate.config.get_hosts().len() == 1));
        let secret = password(&url("postgres://u@a/db"), &candidates[0]).unwrap().unwrap();
        assert_eq!(secret.expose(), "geheim");
    }

    #[test]
    fn an_address_without_a_name_and_a_socket_directory_are_hosts_too() {
        let by_address = candidates(&url("hostaddr=127.0.0.1 port=7 dbname=d")).unwrap();
        assert_eq!(by_address[0].at, "127.0.0.1:7/d");
        let by_socket = candidates(&url("host=/run/postgresql user=u")).unwrap();
        assert!(by_socket[0].is_socket);
    }

    #[test]
    fn one_host_that_may_come_back_makes_the_whole_failure_transient() {
        let of = |class, message: &str| own(class, "x", message.into(), "wait");
        let error = summary(vec![of(Class::Transient, "a is down"), of(Class::Table, "b refuses")]);
        assert_eq!((error.class, error.message.as_str()), (Class::Transient, "a is down; b refuses"));
    }
}
