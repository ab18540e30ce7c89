//! Who vouches for a peer's certificate: per trunk a set of authorities, or one pinned certificate.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{CertificateError, RootCertStore};
use sha2::{Digest, Sha256};
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::time::ASN1Time;

use super::super::NetError;
use super::Failed;
use super::load::{certificates, failure};
use crate::trunk::{Trunk, TrunkId};

/// What every TLS trunk trusts.
#[derive(Debug)]
pub(super) struct Trust {
    trunks: Vec<(TrunkId, Basis)>,
    pub(super) algorithms: WebPkiSupportedAlgorithms,
}

#[derive(Debug)]
pub(super) enum Basis {
    /// Exactly the certificate with this SHA-256.
    Pin([u8; 32]),
    /// A chain to one of these.
    Authorities(Arc<Authorities>),
}

#[derive(Debug)]
pub(super) struct Authorities {
    /// As they stand in the file: a self-signed peer certificate that is listed itself is trusted
    /// itself, although it is an authority's and no end entity's (CUCM has such).
    listed: Vec<CertificateDer<'static>>,
    roots: Arc<RootCertStore>,
    clients: Arc<dyn ClientCertVerifier>,
}

impl Trust {
    /// Reads the authorities of all trunks. A trunk whose file cannot be used is told to `failed`,
    /// which ends it all by an error, or leaves that trunk without trust in anybody.
    pub(super) fn load(
        tls_ca: Option<&PathBuf>,
        trunks: &[Arc<Trunk>],
        provider: &Arc<CryptoProvider>,
        failed: &mut Failed<'_>,
    ) -> Result<Self, NetError> {
        let mut read: HashMap<PathBuf, Arc<Authorities>> = HashMap::new();
        let mut known = Vec::new();
        for trunk in trunks {
            let Some(settings) = &trunk.tls else { continue };
            let basis = match (settings.pin, settings.ca.as_ref().or(tls_ca)) {
                (Some(pin), _) => Basis::Pin(pin),
                (None, Some(path)) => match authorities(&mut read, path, provider) {
                    Ok(authorities) => Basis::Authorities(authorities),
                    Err(error) => {
                        failed(trunk.id, error)?;
                        continue;
                    }
                },
                // The configuration refuses a trunk that trusts nothing; it stays that way here.
                (None, None) => continue,
            };
            known.push((trunk.id, basis));
        }
        Ok(Self { trunks: known, algorithms: provider.signature_verification_algorithms })
    }

    /// Trunks that vouch for the certificate now.
    pub(super) fn vouching(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
    ) -> Vec<TrunkId> {
        let now = UnixTime::now();
        let verdicts = self.verdicts(leaf, intermediates, now);
        verdicts.into_iter().filter(|(_, verdict)| verdict.is_ok()).map(|(id, _)| id).collect()
    }

    /// What each trunk says. Trunks with the same authorities have the same answer, which is
    /// computed once: a chain costs signatures.
    fn verdicts(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Vec<(TrunkId, Result<(), rustls::Error>)> {
        let mut known: HashMap<*const Authorities, Result<(), rustls::Error>> = HashMap::new();
        let verdict = |(id, basis): &(TrunkId, Basis)| {
            let compute = || basis.vouch(leaf, intermediates, now, &self.algorithms);
            let verdict = match basis {
                Basis::Pin(_) => compute(),
                Basis::Authorities(shared) => {
                    known.entry(Arc::as_ptr(shared)).or_insert_with(compute).clone()
                }
            };
            (*id, verdict)
        };
        self.trunks.iter().map(verdict).collect()
    }

    /// Whether that trunk vouches.
    pub(super) fn vouch(
        &self,
        trunk: TrunkId,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), rustls::Error> {
        let found = self.trunks.iter().find(|(id, _)| *id == trunk);
        let Some((_, basis)) = found else { return Err(CertificateError::UnknownIssuer.into()) };
        basis.vouch(leaf, intermediates, now, &self.algorithms)
    }

    /// Whether any trunk vouches. Of several refusals the most telling is returned: anything says
    /// more than "unknown issuer".
    pub(super) fn vouch_any(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), rustls::Error> {
        let mut refusal = rustls::Error::from(CertificateError::UnknownIssuer);
        for (_, verdict) in self.verdicts(leaf, intermediates, now) {
            match verdict {
                Ok(()) => return Ok(()),
                Err(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer)) => {}
                Err(error) => refusal = error,
            }
        }
        Err(refusal)
    }
}

/// The authorities of a file, which is read once.
fn authorities(
    read: &mut HashMap<PathBuf, Arc<Authorities>>,
    path: &PathBuf,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<Authorities>, NetError> {
    if let Some(known) = read.get(path) {
        return Ok(Arc::clone(known));
    }
    let authorities = Arc::new(Authorities::load(path, provider)?);
    read.insert(path.clone(), Arc::clone(&authorities));
    Ok(authorities)
}

impl Basis {
    /// What one trunk trusts by itself: its pin, its authorities, or the common ones.
    pub(super) fn of(
        trunk: &Trunk,
        common: Option<&Path>,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Option<Self>, NetError> {
        let Some(settings) = &trunk.tls else { return Ok(None) };
        match (settings.pin, settings.ca.as_deref().or(common)) {
            (Some(pin), _) => Ok(Some(Self::Pin(pin))),
            (None, Some(path)) => {
                Ok(Some(Self::Authorities(Arc::new(Authorities::load(path, provider)?))))
            }
            (None, None) => Ok(None),
        }
    }

    pub(super) fn vouch(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
        algorithms: &WebPkiSupportedAlgorithms,
    ) -> Result<(), rustls::Error> {
        match self {
            Self::Pin(pin) if fingerprint(leaf) == *pin => check_dates(leaf, now),
            Self::Pin(_) => Err(CertificateError::UnknownIssuer.into()),
            Self::Authorities(authorities) => {
                authorities.vouch(leaf, intermediates, now, algorithms)
            }
        }
    }
}

impl Authorities {
    fn load(path: &Path, provider: &Arc<CryptoProvider>) -> Result<Self, NetError> {
        let listed = certificates(path)?;
        let mut roots = RootCertStore::empty();
        for certificate in &listed {
            roots.add(certificate.clone()).map_err(|cause| {
                let problem = format!("a certificate in it cannot be an authority: {cause}");
                failure(path, problem, "it must hold X.509 version 3 certificates")
            })?;
        }
        let roots = Arc::new(roots);
        let clients =
            WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(provider))
                .build()
                .map_err(|cause| failure(path, cause.to_string(), "correct the file"))?;
        Ok(Self { listed, roots, clients })
    }

    /// A peer on a trunk is client in one connection and server in the next, and many have one
    /// certificate with one extended key usage: either usage is accepted.
    fn vouch(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
        algorithms: &WebPkiSupportedAlgorithms,
    ) -> Result<(), rustls::Error> {
        if self.listed.iter().any(|listed| listed == leaf) {
            return check_dates(leaf, now);
        }
        let parsed = ParsedCertificate::try_from(leaf)?;
        let as_server = verify_server_cert_signed_by_trust_anchor(
            &parsed,
            &self.roots,
            intermediates,
            now,
            algorithms.all,
        );
        as_server.or_else(|refusal| {
            let as_client = self.clients.verify_client_cert(leaf, intermediates, now);
            as_client.map(|_| ()).map_err(|_| refusal)
        })
    }
}

/// The dates of a certificate that is trusted by itself.
fn check_dates(leaf: &CertificateDer<'_>, now: UnixTime) -> Result<(), rustls::Error> {
    let (_, parsed) = X509Certificate::from_der(leaf).map_err(|_| CertificateError::BadEncoding)?;
    let now = i64::try_from(now.as_secs()).ok().and_then(|s| ASN1Time::from_timestamp(s).ok());
    let now = now.ok_or(rustls::Error::FailedToGetCurrentTime)?;
    if parsed.validity().not_after < now {
        return Err(CertificateError::Expired.into());
    }
    if parsed.validity().not_before > now {
        return Err(CertificateError::NotValidYet.into());
    }
    Ok(())
}

/// SHA-256 of a certificate.
pub(super) fn fingerprint(certificate: &CertificateDer<'_>) -> [u8; 32] {
    Sha256::digest(certificate.as_ref()).into()
}
