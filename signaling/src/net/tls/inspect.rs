//! A handshake that is looked at: what the peer showed, what it asked for, and the one fault that
//! an operator has to know. Trust is the same as in [`super::Tls`]; nothing is accepted that a
//! call would refuse.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, Resumption};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::{TLS12, TLS13};
use rustls::{
    AlertDescription, CertificateError, ClientConfig, DigitallySignedStruct, Error, SignatureScheme,
};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::{TlsConnector, client};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::super::NetError;
use super::load::{Identities, days_until};
use super::names::names;
use super::trust::Basis;
use super::verify::check_names;
use crate::trunk::{Host, Trunk};

/// Where our own certificate and the common authorities are: `[sip]`.
#[derive(Clone, Copy, Debug)]
pub struct Files<'a> {
    /// `tls_certificate` and `tls_key`.
    pub own: Option<(&'a Path, &'a Path)>,
    /// `tls_ca`.
    pub authorities: Option<&'a Path>,
}

/// What a handshake showed.
#[derive(Default)]
pub struct Inspection {
    /// `TLSv1_3`, ...
    pub version: Option<String>,
    /// The cipher suite.
    pub suite: Option<String>,
    /// The peer's chain, its own certificate first.
    pub chain: Vec<Shown>,
    /// The peer asked for a certificate of ours.
    pub asked: bool,
    /// And we had one.
    pub answered: bool,
    /// What is wrong; without it the connection stands.
    pub fault: Option<(TlsFault, String)>,
    /// The connection.
    pub connection: Option<client::TlsStream<TcpStream>>,
}

/// One certificate as people name it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Shown {
    /// Its subject.
    pub subject: String,
    /// Who signed it.
    pub issuer: String,
    /// SAN entries, or the CN without them.
    pub names: Vec<String>,
    /// Its last moment.
    pub not_after: String,
    /// Days until then; negative when it is past.
    pub days_left: i64,
}

/// Why a handshake fails.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TlsFault {
    /// No common version or cipher suite.
    Version,
    /// An authority that the trunk does not trust.
    UnknownAuthority,
    /// None of the expected names.
    WrongName,
    /// Expired.
    Expired,
    /// Not valid yet.
    NotYetValid,
    /// The peer wants a certificate of ours that it accepts.
    CertificateDemanded,
    /// Our own files.
    Local,
    /// Anything else.
    Broken,
}

/// Shakes hands with a trunk's peer. `host` is what is asked for in SNI and, without
/// `tls_peer_names` and pin, what the certificate must name.
pub async fn inspect(
    trunk: &Trunk,
    host: &Host,
    files: Files<'_>,
    socket: TcpStream,
) -> Inspection {
    let (seen, asked) = (Arc::new(Seen::default()), Arc::new(Asked::default()));
    let prepared = prepare(trunk, host, files, &seen, &asked);
    let (connector, name) = match prepared {
        Ok(prepared) => prepared,
        Err(error) => {
            let fault = Some((TlsFault::Local, error.to_string()));
            return Inspection { fault, ..Inspection::default() };
        }
    };
    let shaken = connector.connect(name, socket).await;
    let mut inspection = Inspection {
        chain: seen.chain(),
        asked: asked.asked.load(Ordering::Relaxed),
        answered: asked.answered.load(Ordering::Relaxed),
        ..Inspection::default()
    };
    match shaken {
        Err(cause) => {
            let demanded = inspection.asked && !inspection.answered;
            inspection.fault =
                Some((fault_of(&cause, inspection.asked, demanded), super::explain(&cause)));
        }
        Ok(mut connection) => {
            let state = connection.get_ref().1;
            inspection.version = state.protocol_version().map(|version| format!("{version:?}"));
            let suite = state.negotiated_cipher_suite().map(|suite| suite.suite());
            inspection.suite = suite.map(|suite| format!("{suite:?}"));
            // With TLS 1.3 the peer judges our certificate after we believe to be done.
            if inspection.asked
                && let Some(cause) = objection(&mut connection).await
            {
                let fault = fault_of(&cause, true, !inspection.answered);
                inspection.fault = Some((fault, super::explain(&cause)));
                return inspection;
            }
            inspection.connection = Some(connection);
        }
    }
    inspection
}

/// The alert that a peer sends when it does not like our certificate. SIP servers say nothing by
/// themselves, so a byte is as bad as an end.
async fn objection(connection: &mut client::TlsStream<TcpStream>) -> Option<io::Error> {
    let mut byte = [0; 1];
    match timeout(OBJECTION, connection.read(&mut byte)).await {
        Err(_) => None,
        Ok(Ok(_)) => Some(io::Error::from(io::ErrorKind::UnexpectedEof)),
        Ok(Err(cause)) => Some(cause),
    }
}

fn fault_of(cause: &io::Error, asked: bool, demanded: bool) -> TlsFault {
    use AlertDescription as A;
    let inner = cause.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    match inner {
        Some(Error::InvalidCertificate(fault)) => match fault {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                TlsFault::Expired
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                TlsFault::NotYetValid
            }
            CertificateError::UnknownIssuer => TlsFault::UnknownAuthority,
            CertificateError::Other(_)
            | CertificateError::NotValidForName
            | CertificateError::NotValidForNameContext { .. } => TlsFault::WrongName,
            _ => TlsFault::Broken,
        },
        Some(Error::PeerIncompatible(_)) => TlsFault::Version,
        Some(Error::AlertReceived(alert)) => match alert {
            A::ProtocolVersion | A::InsufficientSecurity => TlsFault::Version,
            A::CertificateRequired => TlsFault::CertificateDemanded,
            A::BadCertificate
            | A::UnsupportedCertificate
            | A::CertificateRevoked
            | A::CertificateExpired
            | A::CertificateUnknown
            | A::UnknownCA
            | A::AccessDenied
                if asked =>
            {
                TlsFault::CertificateDemanded
            }
            A::HandshakeFailure if demanded => TlsFault::CertificateDemanded,
            // Before the peer said anything else: it likes none of our suites (RFC 5246 §7.2.2).
            A::HandshakeFailure if !asked => TlsFault::Version,
            _ => TlsFault::Broken,
        },
        None if demanded && cause.kind() == io::ErrorKind::UnexpectedEof => {
            TlsFault::CertificateDemanded
        }
        _ => TlsFault::Broken,
    }
}

fn prepare(
    trunk: &Trunk,
    host: &Host,
    files: Files<'_>,
    seen: &Arc<Seen>,
    asked: &Arc<Asked>,
) -> Result<(TlsConnector, ServerName<'static>), NetError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let basis = Basis::of(trunk, files.authorities, &provider)?;
    let settings = trunk.tls.as_ref();
    let own =
        settings.and_then(|tls| Some((tls.client_cert.as_deref()?, tls.client_key.as_deref()?)));
    let identity = match own.or(files.own) {
        Some((certificate, key)) => Some(Identities::new(&provider).load(certificate, key)?),
        None => None,
    };
    let verifier = Recorder {
        basis,
        names: trunk.server_names_at(host),
        algorithms: provider.signature_verification_algorithms,
        seen: Arc::clone(seen),
    };
    let resolver = Arc::new(Asking { asked: Arc::clone(asked), own: identity });
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13, &TLS12])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_client_cert_resolver(resolver);
    config.resumption = Resumption::disabled();
    Ok((TlsConnector::from(Arc::new(config)), super::server_name(host)?))
}

/// What the verifier saw.
#[derive(Default, Debug)]
struct Seen(Mutex<Vec<Shown>>);

impl Seen {
    fn chain(&self) -> Vec<Shown> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Checks like the trunk's verifier, and remembers what it was shown.
#[derive(Debug)]
struct Recorder {
    basis: Option<Basis>,
    names: Vec<String>,
    algorithms: WebPkiSupportedAlgorithms,
    seen: Arc<Seen>,
}

impl ServerCertVerifier for Recorder {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _asked: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let chain = std::iter::once(end_entity).chain(intermediates);
        let shown = chain.take(CHAIN_MAX).filter_map(|certificate| show(certificate)).collect();
        *self.seen.0.lock().unwrap_or_else(PoisonError::into_inner) = shown;
        let Some(basis) = &self.basis else { return Err(CertificateError::UnknownIssuer.into()) };
        basis.vouch(end_entity, intermediates, now, &self.algorithms)?;
        check_names(end_entity, &self.names)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// Whether the peer asked for our certificate.
#[derive(Default)]
struct Asked {
    asked: AtomicBool,
    answered: AtomicBool,
}

/// Gives our certificate and notes that it was asked for.
struct Asking {
    asked: Arc<Asked>,
    own: Option<Arc<SingleCertAndKey>>,
}

impl fmt::Debug for Asking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Asking").finish_non_exhaustive()
    }
}

impl ResolvesClientCert for Asking {
    fn resolve(&self, hints: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.asked.asked.store(true, Ordering::Relaxed);
        let own = self.own.as_ref()?;
        let found = ResolvesClientCert::resolve(&**own, hints, schemes);
        self.asked.answered.store(found.is_some(), Ordering::Relaxed);
        found
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// What a PEM file holds, in its order.
///
/// # Errors
/// [`NetError`]: that it cannot be read, or holds no certificate.
pub fn certificates(file: &Path) -> Result<Vec<Shown>, NetError> {
    Ok(super::load::certificates(file)?.iter().filter_map(show).collect())
}

fn show(certificate: &CertificateDer<'_>) -> Option<Shown> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let end = parsed.validity().not_after;
    Some(Shown {
        subject: parsed.subject().to_string(),
        issuer: parsed.issuer().to_string(),
        names: names(certificate).unwrap_or_default(),
        not_after: end.to_string(),
        days_left: days_until(end.timestamp()),
    })
}

/// How long a peer may take to refuse our certificate after a TLS 1.3 handshake.
const OBJECTION: std::time::Duration = std::time::Duration::from_millis(500);
/// Certificates of a chain that are shown.
const CHAIN_MAX: usize = 8;
