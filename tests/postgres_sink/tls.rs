//! `sslmode` as libpq has it, against a server with a certificate made for the test.

use std::fs;
use std::path::PathBuf;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rowbridge::config::{Secret, SecretSource, SinkTls, SslMode};
use rowbridge::sink::{Class, PostgresSink, Sink as _, SinkError};
use tempfile::TempDir;

use super::{Place, database_of, postgres_url};
use crate::support::postgres::{Postgres, PostgresOptions};

/// A CA, a server certificate for `localhost`, and a client certificate for the role `postgres`.
struct Certificates {
    directory: TempDir,
    server: Vec<(String, Vec<u8>)>,
}

impl Certificates {
    fn new() -> Certificates {
        let directory = tempfile::tempdir().unwrap();
        let (ca_key, ca) = authority();
        let ca_pem = ca.self_signed(&ca_key).unwrap().pem();
        let issuer = Issuer::new(ca, ca_key);
        let (server, server_key) = signed(&issuer, "localhost");
        let (client, client_key) = signed(&issuer, "postgres");
        let (other_key, other) = authority();
        for (name, text) in [
            ("ca.pem", ca_pem.as_str()),
            ("client.pem", &client),
            ("client.key", &client_key),
            ("other.pem", &other.self_signed(&other_key).unwrap().pem()),
        ] {
            fs::write(directory.path().join(name), text).unwrap();
        }
        let server = [("server.crt", server), ("server.key", server_key), ("ca.crt", ca_pem)]
            .map(|(name, text)| (name.to_owned(), text.into_bytes()));
        Certificates { directory, server: server.into() }
    }

    fn path(&self, name: &str) -> Option<PathBuf> {
        Some(self.directory.path().join(name))
    }

    fn server(&self, hba: &[&str]) -> Postgres {
        let settings = [("ssl", "on"), ("ssl_ca_file", "ca.crt")].map(|(name, value)| (name.into(), value.into()));
        Postgres::start_with(PostgresOptions {
            fsync: false,
            settings: settings.into(),
            hba: hba.iter().map(|&line| line.into()).collect(),
            files: self.server.clone(),
            binaries: None,
        })
    }
}

fn authority() -> (KeyPair, CertificateParams) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, "a CA");
    (KeyPair::generate().unwrap(), params)
}

fn signed(issuer: &Issuer<'_, KeyPair>, name: &str) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    (params.signed_by(&key, issuer).unwrap().pem(), key.serialize_pem())
}

/// Connects as the options say; tells whether the session is encrypted.
async fn connect(server: &Postgres, host: &str, mode: SslMode, tls: SinkTls) -> Result<bool, SinkError> {
    let application = format!("app-{mode:?}");
    let mut url = postgres_url(&format!(
        "postgres://postgres@{host}:{}/postgres?application_name={application}&connect_timeout=5",
        server.port()
    ));
    (url.ssl_mode, url.tls) = (mode, tls);
    let mut sink = PostgresSink::new(&database_of(url));
    sink.connect().await?;
    let encrypted = server.psql(
        "postgres",
        &format!(
            "SELECT ssl FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE application_name = '{application}'"
        ),
    );
    sink.close().await.unwrap();
    Ok(encrypted == "t")
}

#[tokio::test]
async fn each_mode_checks_what_it_should_and_no_more() {
    let certificates = Certificates::new();
    let server = certificates.server(&[]);
    let with_ca = |name: &str| SinkTls { ca_file: certificates.path(name), ..SinkTls::default() };
    let none = SinkTls::default;
    // The certificate is for localhost, not for 127.0.0.1.
    for (host, mode, tls, expected) in [
        ("127.0.0.1", SslMode::Disable, none(), Ok(false)),
        ("127.0.0.1", SslMode::Prefer, none(), Ok(true)),
        ("127.0.0.1", SslMode::Prefer, with_ca("other.pem"), Ok(true)),
        ("127.0.0.1", SslMode::Require, none(), Ok(true)),
        ("127.0.0.1", SslMode::Require, with_ca("ca.pem"), Ok(true)),
        ("127.0.0.1", SslMode::Require, with_ca("other.pem"), Err("tls")),
        ("127.0.0.1", SslMode::VerifyCa, with_ca("ca.pem"), Ok(true)),
        ("127.0.0.1", SslMode::VerifyCa, with_ca("other.pem"), Err("tls")),
        ("127.0.0.1", SslMode::VerifyFull, with_ca("ca.pem"), Err("tls")),
        ("localhost", SslMode::VerifyFull, with_ca("ca.pem"), Ok(true)),
        ("localhost", SslMode::VerifyFull, with_ca("other.pem"), Err("tls")),
        ("localhost", SslMode::VerifyFull, with_ca("missing.pem"), Err("tls_files")),
    ] {
        let result = connect(&server, host, mode, tls.clone()).await;
        match (result, expected) {
            (Ok(encrypted), Ok(expected)) => assert_eq!(encrypted, expected, "{host} {mode:?} {tls:?}"),
            (Err(error), Err(code)) => {
                // A file that is missing may be on its way: that is tried again.
                let class = if code == "tls_files" { Class::Transient } else { Class::Table };
                assert_eq!((error.class, error.code.as_str()), (class, code), "{host} {mode:?}: {error}");
            }
            (result, _) => panic!("{host} {mode:?} {tls:?}: {result:?}"),
        }
    }
}

#[tokio::test]
async fn a_server_without_tls_serves_prefer_but_not_require() {
    let server = Place::new().server;
    assert!(!connect(&server, "127.0.0.1", SslMode::Prefer, SinkTls::default()).await.unwrap());
    let error = connect(&server, "127.0.0.1", SslMode::Require, SinkTls::default()).await.unwrap_err();
    assert_eq!((error.class, error.code.as_str()), (Class::Table, "tls"), "{error}");
}

#[tokio::test]
async fn prefer_goes_on_in_the_clear_where_the_server_wants_no_tls_for_us() {
    let certificates = Certificates::new();
    let server = certificates.server(&["hostssl all postgres 127.0.0.1/32 reject"]);
    assert!(!connect(&server, "127.0.0.1", SslMode::Prefer, SinkTls::default()).await.unwrap());
    let error = connect(&server, "127.0.0.1", SslMode::Require, SinkTls::default()).await.unwrap_err();
    assert_eq!((error.class, error.code.as_str()), (Class::Table, "28000"));
}

#[tokio::test]
async fn a_client_certificate_logs_in_and_half_a_pair_is_named() {
    let certificates = Certificates::new();
    let server = certificates.server(&["hostssl all postgres 127.0.0.1/32 cert"]);
    let (cert_file, key_file) = (certificates.path("client.pem"), certificates.path("client.key"));
    let pair = SinkTls { ca_file: certificates.path("ca.pem"), cert_file: cert_file.clone(), key_file };
    // psql, which asks for the state, comes without a certificate: only the login is looked at.
    let mut url = postgres_url(&format!("postgres://postgres@127.0.0.1:{}/postgres", server.port()));
    (url.ssl_mode, url.tls) = (SslMode::VerifyCa, pair);
    PostgresSink::new(&database_of(url.clone())).connect().await.unwrap();
    url.tls = SinkTls { cert_file, ..SinkTls::default() };
    url.ssl_mode = SslMode::Require;
    let error = PostgresSink::new(&database_of(url.clone())).connect().await.unwrap_err();
    assert!(error.message.contains("`tls.cert_file` and `tls.key_file` go together"), "{error}");
    url.tls = SinkTls::default();
    let error = PostgresSink::new(&database_of(url)).connect().await.unwrap_err();
    assert_eq!((error.class, error.code.as_str()), (Class::Table, "28000"), "{error}");
}

#[tokio::test]
async fn a_self_signed_certificate_that_is_its_own_ca_is_trusted_when_it_is_given() {
    let mut certificates = Certificates::new();
    let (key, mut params) = authority();
    params.subject_alt_names = CertificateParams::new(vec!["localhost".to_owned()]).unwrap().subject_alt_names;
    let certificate = params.self_signed(&key).unwrap().pem();
    fs::write(certificates.directory.path().join("self.pem"), &certificate).unwrap();
    certificates.server[0].1 = certificate.into_bytes();
    certificates.server[1].1 = key.serialize_pem().into_bytes();
    let server = certificates.server(&[]);
    let with_ca = |name: &str| SinkTls { ca_file: certificates.path(name), ..SinkTls::default() };
    assert!(connect(&server, "localhost", SslMode::VerifyFull, with_ca("self.pem")).await.unwrap());
    assert!(connect(&server, "127.0.0.1", SslMode::VerifyFull, with_ca("self.pem")).await.is_err());
    assert!(connect(&server, "localhost", SslMode::VerifyCa, with_ca("ca.pem")).await.is_err());
}

#[tokio::test]
async fn a_server_certificate_that_is_itself_in_the_ca_file_needs_nobody_to_vouch_for_it() {
    let certificates = Certificates::new();
    let server = certificates.server(&[]);
    fs::write(certificates.directory.path().join("server.pem"), &certificates.server[0].1).unwrap();
    let pinned = SinkTls { ca_file: certificates.path("server.pem"), ..SinkTls::default() };
    assert!(connect(&server, "localhost", SslMode::VerifyFull, pinned.clone()).await.unwrap());
    let error = connect(&server, "127.0.0.1", SslMode::VerifyFull, pinned).await.unwrap_err();
    assert!(error.advice.contains("subjectAltName"), "{error} {}", error.advice);
    let other = SinkTls { ca_file: certificates.path("other.pem"), ..SinkTls::default() };
    let error = connect(&server, "localhost", SslMode::VerifyFull, other).await.unwrap_err();
    assert!(error.advice.contains("self-signed"), "{error} {}", error.advice);
}

#[tokio::test]
async fn a_password_over_tls_is_bound_to_the_channel() {
    let certificates = Certificates::new();
    let server = certificates.server(&["hostssl all asked 127.0.0.1/32 scram-sha-256"]);
    server.psql(
        "postgres",
        "SET password_encryption = 'scram-sha-256'; CREATE ROLE asked LOGIN SUPERUSER PASSWORD 'geheim'",
    );
    let mut url =
        postgres_url(&format!("postgres://asked@127.0.0.1:{}/postgres?channel_binding=require", server.port()));
    url.password = Some(SecretSource::Value(Secret::new("geheim".into())));
    url.ssl_mode = SslMode::Require;
    PostgresSink::new(&database_of(url)).connect().await.unwrap();
}
