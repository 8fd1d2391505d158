//! TLS as defined by libpq's `sslmode`.
//!
//! | sslmode | TLS | chain checked | name checked |
//! |---|---|---|---|
//! | disable | no | | |
//! | prefer | if the server offers it | no | no |
//! | require | yes | only if a CA file is given | no |
//! | verify-ca | yes | yes | no |
//! | verify-full | yes | yes | yes |
//!
//! The CA is `tls.ca_file` (`sslrootcert`); `system`, or none under verify-ca and verify-full, means the system's
//! certificates. A server certificate that is itself in the CA file is trusted (see `crate::tls`). A certificate
//! without subject alternative names fails verify-full. Files are read at every connect, so a renewed certificate needs
//! no restart.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use thiserror::Error;
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::config::{SinkTls, SslMode};
use crate::tls::{Check, Verifier, client_certificate_fault};

/// The CA file's name that stands for the system's certificates, as in `sslrootcert=system`.
const SYSTEM_ROOTS: &str = "system";

/// What PostgreSQL 17 wants to hear when TLS begins without its own handshake; older servers pass over it.
const ALPN: &[u8] = b"postgresql";

/// Why TLS cannot even begin; each names the file.
#[derive(Debug, Error)]
pub(super) enum TlsError {
    #[error("{role} {path} cannot be read: {reason}")]
    File { role: &'static str, path: PathBuf, reason: String },
    #[error("{0} holds no certificate")]
    Empty(PathBuf),
    #[error("the system has no CA certificates: give `tls.ca_file`")]
    NoSystemRoots,
    #[error("`tls.cert_file` and `tls.key_file` go together: one is missing")]
    HalfPair,
    #[error("the client certificate {path} {why}")]
    ClientCertificate { path: PathBuf, why: &'static str },
    #[error("the client certificate {path} and its key do not fit: {reason}")]
    Pair { path: PathBuf, reason: rustls::Error },
    #[error("TLS cannot be set up: {0}")]
    Setup(#[from] rustls::Error),
}

impl TlsError {
    /// Whether a file was missing or not whole at this moment, as while it is being replaced.
    pub(super) fn may_pass(&self) -> bool {
        matches!(self, TlsError::File { .. } | TlsError::Empty(_))
    }
}

/// The connector for a mode other than disable.
pub(super) fn connector(mode: SslMode, files: &SinkTls) -> Result<MakeRustlsConnect, TlsError> {
    let check = match mode {
        SslMode::Disable | SslMode::Prefer => Check::Nothing,
        SslMode::Require if files.ca_file.is_none() => Check::Nothing,
        SslMode::Require | SslMode::VerifyCa => Check::Chain,
        SslMode::VerifyFull => Check::ChainAndName,
    };
    let provider = Arc::new(ring::default_provider());
    let (roots, pinned) = match check {
        Check::Nothing => (RootCertStore::empty(), Vec::new()),
        Check::Chain | Check::ChainAndName => roots(files.ca_file.as_deref())?,
    };
    let verifier = Verifier { check, roots, pinned, provider: Arc::clone(&provider) };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let mut config = match (&files.cert_file, &files.key_file) {
        (Some(certificate), Some(key)) => {
            let chain = certificates("client certificate", certificate)?;
            let key = PrivateKeyDer::from_pem_file(key).map_err(|error| TlsError::File {
                role: "client key",
                path: key.clone(),
                reason: error.to_string(),
            })?;
            builder.with_client_auth_cert(chain, key).map_err(|reason| {
                let path = certificate.clone();
                match client_certificate_fault(&reason) {
                    Some(why) => TlsError::ClientCertificate { path, why },
                    None => TlsError::Pair { path, reason },
                }
            })?
        }
        (None, None) => builder.with_no_client_auth(),
        _ => return Err(TlsError::HalfPair),
    };
    config.alpn_protocols = vec![ALPN.to_vec()];
    Ok(MakeRustlsConnect::new(config))
}

/// The trusted roots, and the file's certificates as they are.
fn roots(ca_file: Option<&Path>) -> Result<(RootCertStore, Vec<CertificateDer<'static>>), TlsError> {
    let mut roots = RootCertStore::empty();
    match ca_file.filter(|path| *path != Path::new(SYSTEM_ROOTS)) {
        None => {
            // A file of the system that cannot be read is passed over as long as others can.
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if roots.is_empty() {
                return Err(TlsError::NoSystemRoots);
            }
            Ok((roots, Vec::new()))
        }
        Some(path) => {
            let certificates = certificates("CA file", path)?;
            roots.add_parsable_certificates(certificates.iter().cloned());
            Ok((roots, certificates))
        }
    }
}

fn certificates(role: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let unreadable =
        |error: rustls::pki_types::pem::Error| TlsError::File { role, path: path.into(), reason: error.to_string() };
    let certificates: Vec<_> =
        CertificateDer::pem_file_iter(path).map_err(unreadable)?.collect::<Result<_, _>>().map_err(unreadable)?;
    if certificates.is_empty() { Err(TlsError::Empty(path.into())) } else { Ok(certificates) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_certificate_of_version_1_is_told_from_one_that_does_not_fit_its_key() {
        // As `openssl x509 -req` makes it without extensions; its key is in the same file.
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/x509_version_1.pem");
        let files = SinkTls { cert_file: Some(file.clone()), key_file: Some(file.clone()), ..SinkTls::default() };
        let error = connector(SslMode::Require, &files).err().unwrap().to_string();
        let words =
            "x509_version_1.pem is a certificate of X.509 version 1, which is not accepted: make one with extensions";
        assert!(error.contains(words), "{error}");
    }
}
