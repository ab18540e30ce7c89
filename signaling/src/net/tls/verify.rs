//! The two verifiers that rustls asks. Signatures of the handshake are always checked for real;
//! only the question whom to trust is ours.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};

use super::names::names;
use super::trust::Trust;
use crate::trunk::{Host, Trunk, TrunkId};

/// Checks servers that we connect to for one trunk.
#[derive(Debug)]
pub(super) struct PeerOfTrunk {
    trust: Arc<Trust>,
    trunk: TrunkId,
    /// One of these must stand in the certificate; empty when a pin says it all.
    names: Vec<String>,
}

impl PeerOfTrunk {
    pub(super) fn new(trust: Arc<Trust>, trunk: &Trunk, host: &Host) -> Self {
        Self { trust, trunk: trunk.id, names: trunk.server_names_at(host) }
    }
}

impl ServerCertVerifier for PeerOfTrunk {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _asked: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.trust.vouch(self.trunk, end_entity, intermediates, now)?;
        check_names(end_entity, &self.names)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.trust.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.trust.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.trust.algorithms.supported_schemes()
    }
}

/// Checks clients that connect to us. A client may show no certificate: whether that is enough
/// depends on the trunk, and attribution decides it. A certificate that is shown must be vouched
/// for by some trunk.
#[derive(Debug)]
pub(super) struct PeersOfTrunks {
    trust: Arc<Trust>,
}

impl PeersOfTrunks {
    pub(super) fn new(trust: Arc<Trust>) -> Self {
        Self { trust }
    }
}

impl ClientCertVerifier for PeersOfTrunks {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    /// No hints: they would tell every caller whom we trunk with.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.trust.vouch_any(end_entity, intermediates, now)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.trust.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.trust.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.trust.algorithms.supported_schemes()
    }
}

#[derive(Debug, thiserror::Error)]
#[error(
    "the peer's certificate names {theirs}, but the trunk expects {ours}; correct \
         tls_peer_names, or the peer's certificate"
)]
struct WrongName {
    theirs: String,
    ours: String,
}

/// Whether a certificate that is vouched for has one of the expected names; none are expected where a
/// pin says it all.
pub(super) fn check_names(
    end_entity: &CertificateDer<'_>,
    expected: &[String],
) -> Result<ServerCertVerified, Error> {
    if expected.is_empty() {
        return Ok(ServerCertVerified::assertion());
    }
    let theirs = names(end_entity).ok_or(CertificateError::BadEncoding)?;
    match theirs.iter().any(|name| expected.contains(name)) {
        true => Ok(ServerCertVerified::assertion()),
        false => Err(wrong_name(&theirs, expected)),
    }
}

pub(super) fn wrong_name(theirs: &[String], ours: &[String]) -> Error {
    let list = |names: &[String]| match names.is_empty() {
        true => String::from("nobody"),
        false => names.join(", "),
    };
    let reason = WrongName { theirs: list(theirs), ours: list(ours) };
    CertificateError::Other(rustls::OtherError(Arc::new(reason))).into()
}
