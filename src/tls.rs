//! Verification of server certificates, for brokers and databases alike.
//!
//! The certificates of a CA file are trust anchors. A server certificate that is itself in the file, bit for bit, is
//! accepted without a signature. OpenSSL accepts such a certificate too. `openssl req -x509` creates it and marks it as
//! an authority, which other verifiers refuse for a server. Its dates are verified, and its name where names are
//! verified.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, RootCertStore, SignatureScheme};

/// How far the server's certificate is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Check {
    Nothing,
    Chain,
    ChainAndName,
}

/// Checks the server's certificate as far as asked; the handshake's signature always.
#[derive(Debug)]
pub(crate) struct Verifier {
    pub(crate) check: Check,
    pub(crate) roots: RootCertStore,
    /// The CA file's certificates, as they are.
    pub(crate) pinned: Vec<CertificateDer<'static>>,
    pub(crate) provider: Arc<CryptoProvider>,
}

impl Verifier {
    fn verify_chain(
        &self,
        parsed: &ParsedCertificate<'_>,
        server: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), rustls::Error> {
        let algorithms = self.provider.signature_verification_algorithms.all;
        match verify_server_cert_signed_by_trust_anchor(parsed, &self.roots, others, now, algorithms) {
            Err(rustls::Error::InvalidCertificate(reason))
                if self.pinned.contains(server) && is_for_others(&reason) =>
            {
                Ok(())
            }
            verdict => verdict,
        }
    }
}

/// Whether only somebody else's word for the certificate is missing. Its dates were checked before that.
fn is_for_others(reason: &CertificateError) -> bool {
    match reason {
        CertificateError::UnknownIssuer => true,
        CertificateError::Other(other) => other.to_string() == "CaUsedAsEndEntity",
        _ => false,
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        server: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if self.check != Check::Nothing {
            let parsed = ParsedCertificate::try_from(server)?;
            self.verify_chain(&parsed, server, others, now)?;
            if self.check == Check::ChainAndName {
                verify_server_name(&parsed, name)?;
            }
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// The most frequent causes of a failed handshake, and their remedies.
pub(crate) fn advice(error: &rustls::Error) -> Option<&'static str> {
    use CertificateError as Certificate;
    let rustls::Error::InvalidCertificate(reason) = error else {
        return match error {
            rustls::Error::InvalidMessage(_) => Some("is this the server's TLS port?"),
            rustls::Error::AlertReceived(_) => Some(
                "the server ended the handshake: does it ask for a client certificate? check cert_file and key_file",
            ),
            _ => None,
        };
    };
    Some(match reason {
        // A bad signature: the authority has the name of the one that signed, and another key.
        Certificate::UnknownIssuer | Certificate::BadSignature => {
            "set ca_file to the certificate of the authority that signed the server's, or, if the server's is \
             self-signed, to that certificate itself"
        }
        Certificate::NotValidForName | Certificate::NotValidForNameContext { .. } => {
            "the certificate is for another name: connect to a name or address among its subjectAltNames (the common \
             name is ignored), or create a certificate for this name"
        }
        Certificate::Expired
        | Certificate::ExpiredContext { .. }
        | Certificate::NotValidYet
        | Certificate::NotValidYetContext { .. } => "renew the certificate, or set this machine's clock right",
        Certificate::Other(other) if other.to_string() == "CaUsedAsEndEntity" => {
            "the server shows an authority's certificate as its own: set ca_file to this very certificate, or have one \
             made that is not marked as an authority"
        }
        reason if is_of_version_1(reason) => {
            "certificates of X.509 version 1 have no names to verify: create one of version 3 with a subjectAltName"
        }
        _ => "the server's certificate was not accepted: check ca_file and the host's name",
    })
}

/// Why a client's certificate cannot be used, as the rest of a sentence that begins with its file; `None` if another reason
/// than the certificate itself keeps it from fitting its key.
pub(crate) fn client_certificate_fault(error: &rustls::Error) -> Option<&'static str> {
    let rustls::Error::InvalidCertificate(reason) = error else { return None };
    is_of_version_1(reason).then_some(
        "is a certificate of X.509 version 1, which is not accepted: make one with extensions, which is of version 3 \
         (`openssl x509 -req` with `-extfile`, or `openssl req -x509` with `-addext`)",
    )
}

fn is_of_version_1(reason: &CertificateError) -> bool {
    matches!(reason, CertificateError::Other(other) if other.to_string() == "UnsupportedCertVersion")
}
