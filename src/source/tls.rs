//! The TLS side of mqtts and wss: rustls on ring, with the provider named so that no process-wide default is needed.
//!
//! The files are read at every connect: a renewed certificate is used from the next connection on.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use thiserror::Error;

use crate::config::MqttTls;

/// Why no TLS connection can be attempted. Never shows a key.
#[derive(Debug, Error)]
pub(super) enum TlsSetupError {
    #[error("{key} {path}: {source}; a PEM file is expected")]
    File { key: &'static str, path: PathBuf, source: pem::Error },
    #[error("{key} {path} holds no certificate; a PEM file with at least one is expected")]
    NoCertificate { key: &'static str, path: PathBuf },
    #[error("mqtt.tls.ca_file {path} holds a certificate that cannot be used: {source}")]
    BadRoot { path: PathBuf, source: rustls::Error },
    #[error("this machine has no usable root certificates; install ca-certificates or set mqtt.tls.ca_file")]
    NoNativeRoots,
    #[error("mqtt.tls.cert_file and mqtt.tls.key_file must be given together")]
    HalfAPair,
    #[error("mqtt.tls.cert_file and mqtt.tls.key_file do not fit together: {0}")]
    BadPair(rustls::Error),
    #[error("TLS cannot be set up: {0}")]
    Provider(rustls::Error),
}

/// Builds the configuration of one connection. Reads files: not for the async task.
pub(super) fn client_config(tls: &MqttTls) -> Result<ClientConfig, TlsSetupError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(TlsSetupError::Provider)?;
    let builder = if tls.insecure_skip_verify {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyServer(provider)))
    } else {
        builder.with_root_certificates(roots(tls.ca_file.as_deref())?)
    };
    let mut config = match (&tls.cert_file, &tls.key_file) {
        (Some(cert_file), Some(key_file)) => {
            let key = PrivateKeyDer::from_pem_file(key_file).map_err(|source| TlsSetupError::File {
                key: "mqtt.tls.key_file",
                path: key_file.clone(),
                source,
            })?;
            builder
                .with_client_auth_cert(certificates("mqtt.tls.cert_file", cert_file)?, key)
                .map_err(TlsSetupError::BadPair)?
        }
        (None, None) => builder.with_no_client_auth(),
        _ => return Err(TlsSetupError::HalfAPair),
    };
    config.alpn_protocols = tls.alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    Ok(config)
}

/// The configured authorities, or those of the machine.
fn roots(ca_file: Option<&Path>) -> Result<RootCertStore, TlsSetupError> {
    let mut roots = RootCertStore::empty();
    match ca_file {
        Some(path) => {
            for certificate in certificates("mqtt.tls.ca_file", path)? {
                roots.add(certificate).map_err(|source| TlsSetupError::BadRoot { path: path.to_owned(), source })?;
            }
        }
        None => {
            // A machine's store may hold a few that cannot be parsed; the others serve.
            let (usable, _) = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if usable == 0 {
                return Err(TlsSetupError::NoNativeRoots);
            }
        }
    }
    Ok(roots)
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

/// `insecure_skip_verify`: takes any server certificate, but still checks that the server holds its key.
#[derive(Debug)]
struct AnyServer(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
