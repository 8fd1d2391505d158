//! TLS for mqtts and wss: rustls on ring, with the provider named so that no process-wide default is needed.
//!
//! The files are read at every connect, so a renewed certificate is used from the next connection on.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use thiserror::Error;

use crate::config::MqttTls;
use crate::tls::{Check, Verifier, client_certificate_fault};

/// Why no TLS connection can be attempted. Never shows a key.
#[derive(Debug, Error)]
pub(crate) enum TlsSetupError {
    #[error("{key} {path}: {source}; a PEM file is expected")]
    File { key: &'static str, path: PathBuf, source: pem::Error },
    #[error("{key} {path} holds no certificate; a PEM file with at least one is expected")]
    NoCertificate { key: &'static str, path: PathBuf },
    #[error(
        "mqtt.tls.key_file {path} has a passphrase; write the key without one: openssl pkey -in {path} -out NEW_FILE"
    )]
    Passphrase { path: PathBuf },
    #[error("mqtt.tls.ca_file {path} holds a certificate that cannot be used: {source}")]
    BadRoot { path: PathBuf, source: rustls::Error },
    #[error("this machine has no usable root certificates; install ca-certificates or set mqtt.tls.ca_file")]
    NoNativeRoots,
    #[error("mqtt.tls.cert_file and mqtt.tls.key_file must be given together")]
    HalfAPair,
    #[error("mqtt.tls.cert_file {path} {why}")]
    ClientCertificate { path: PathBuf, why: &'static str },
    #[error("mqtt.tls.cert_file and mqtt.tls.key_file do not fit together: {0}")]
    BadPair(rustls::Error),
    #[error("TLS cannot be set up: {0}")]
    Provider(rustls::Error),
}

/// Builds the configuration of one connection. Reads files: not for the async task.
pub(crate) fn client_config(tls: &MqttTls) -> Result<ClientConfig, TlsSetupError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(TlsSetupError::Provider)?;
    let verifier = if tls.insecure_skip_verify {
        // Still checks that the server holds its certificate's key.
        Verifier { check: Check::Nothing, roots: RootCertStore::empty(), pinned: Vec::new(), provider }
    } else {
        let (roots, pinned) = roots(tls.ca_file.as_deref())?;
        Verifier { check: Check::ChainAndName, roots, pinned, provider }
    };
    let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier));
    let mut config = match (&tls.cert_file, &tls.key_file) {
        (Some(cert_file), Some(key_file)) => {
            let key = PrivateKeyDer::from_pem_file(key_file).map_err(|source| key_fault(key_file, source))?;
            let chain = certificates("mqtt.tls.cert_file", cert_file)?;
            builder.with_client_auth_cert(chain, key).map_err(|error| match client_certificate_fault(&error) {
                Some(why) => TlsSetupError::ClientCertificate { path: cert_file.clone(), why },
                None => TlsSetupError::BadPair(error),
            })?
        }
        (None, None) => builder.with_no_client_auth(),
        _ => return Err(TlsSetupError::HalfAPair),
    };
    config.alpn_protocols = tls.alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    Ok(config)
}

fn key_fault(path: &Path, source: pem::Error) -> TlsSetupError {
    // `BEGIN ENCRYPTED PRIVATE KEY`, or `Proc-Type: 4,ENCRYPTED` behind an older head.
    match std::fs::read_to_string(path) {
        Ok(text) if text.contains("ENCRYPTED") => TlsSetupError::Passphrase { path: path.to_owned() },
        _ => TlsSetupError::File { key: "mqtt.tls.key_file", path: path.to_owned(), source },
    }
}

/// The configured authorities, with their certificates as they are, or those of the machine.
fn roots(ca_file: Option<&Path>) -> Result<(RootCertStore, Vec<CertificateDer<'static>>), TlsSetupError> {
    let mut roots = RootCertStore::empty();
    let Some(path) = ca_file else {
        // A machine's store may hold a few that cannot be parsed; the others serve.
        let (usable, _) = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        return if usable == 0 { Err(TlsSetupError::NoNativeRoots) } else { Ok((roots, Vec::new())) };
    };
    let pinned = certificates("mqtt.tls.ca_file", path)?;
    for certificate in &pinned {
        let added = roots.add(certificate.clone());
        added.map_err(|source| TlsSetupError::BadRoot { path: path.to_owned(), source })?;
    }
    Ok((roots, pinned))
}

fn certificates(key: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsSetupError> {
    let failed = |source| TlsSetupError::File { key, path: path.to_owned(), source };
    let certificates = CertificateDer::pem_file_iter(path).map_err(failed)?.collect::<Result<Vec<_>, _>>();
    let certificates = certificates.map_err(failed)?;
    if certificates.is_empty() {
        return Err(TlsSetupError::NoCertificate { key, path: path.to_owned() });
    }
    Ok(certificates)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_certificate_of_version_1_is_told_from_one_that_does_not_fit_its_key() {
        // As `openssl x509 -req` makes it without extensions; its key is in the same file.
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/x509_version_1.pem");
        let tls = MqttTls {
            cert_file: Some(file.clone()),
            key_file: Some(file),
            insecure_skip_verify: true,
            ..MqttTls::default()
        };
        let error = client_config(&tls).unwrap_err().to_string();
        let words =
            "x509_version_1.pem is a certificate of X.509 version 1, which is not accepted: make one with extensions";
        assert!(error.starts_with("mqtt.tls.cert_file ") && error.contains(words), "{error}");
    }
}
