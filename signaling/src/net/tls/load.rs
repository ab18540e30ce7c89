//! Reading certificates and keys, with errors that name the file and the remedy.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::InconsistentKeys;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::time::ASN1Time;

use super::super::NetError;
use super::Expiry;

/// Certificates of ours, each pair of files read once.
pub(super) struct Identities<'p> {
    provider: &'p CryptoProvider,
    loaded: HashMap<(PathBuf, PathBuf), Arc<SingleCertAndKey>>,
    /// When they end.
    pub(super) expiries: Vec<Expiry>,
}

impl<'p> Identities<'p> {
    pub(super) fn new(provider: &'p CryptoProvider) -> Self {
        Self { provider, loaded: HashMap::new(), expiries: Vec::new() }
    }

    /// A certificate chain and its key: readable, valid today, belonging together.
    pub(super) fn load(
        &mut self,
        certificate: &Path,
        key: &Path,
    ) -> Result<Arc<SingleCertAndKey>, NetError> {
        let files = (certificate.to_owned(), key.to_owned());
        if let Some(known) = self.loaded.get(&files) {
            return Ok(Arc::clone(known));
        }
        let chain = certificates(certificate)?;
        if let Some(leaf) = chain.first() {
            let not_after = check_dates(certificate, leaf)?;
            self.expiries.push(Expiry { file: certificate.to_owned(), not_after });
        }
        let private = PrivateKeyDer::from_pem_file(key).map_err(|cause| pem_error(key, &cause))?;
        let pair =
            CertifiedKey::from_der(chain, private, self.provider).map_err(|cause| match cause {
                rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => failure(
                    key,
                    format!("this is not the key of {}", certificate.display()),
                    "name the key that the certificate was requested with",
                ),
                other => failure(key, other.to_string(), "use an RSA, ECDSA or Ed25519 key"),
            })?;
        let identity = Arc::new(SingleCertAndKey::from(pair));
        self.loaded.insert(files, Arc::clone(&identity));
        Ok(identity)
    }
}

/// All certificates of a PEM file; at least one.
pub(super) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, NetError> {
    let found = CertificateDer::pem_file_iter(path).map_err(|cause| pem_error(path, &cause))?;
    let found: Vec<_> = found.collect::<Result<_, _>>().map_err(|cause| pem_error(path, &cause))?;
    match found.is_empty() {
        true => Err(failure(
            path,
            String::from("there is no certificate in it"),
            "it must hold PEM text with BEGIN CERTIFICATE",
        )),
        false => Ok(found),
    }
}

/// Refuses an expired certificate of ours, warns about one that soon will be. Returns its end, in
/// seconds since 1970.
fn check_dates(path: &Path, leaf: &CertificateDer<'_>) -> Result<i64, NetError> {
    let Ok((_, parsed)) = X509Certificate::from_der(leaf) else {
        let problem = String::from("the certificate cannot be read as X.509");
        return Err(failure(path, problem, "ask the authority for a new one"));
    };
    let (validity, now) = (parsed.validity(), ASN1Time::now());
    if validity.not_after < now {
        let problem = format!("the certificate expired on {}", validity.not_after);
        return Err(failure(path, problem, "renew it and start again"));
    }
    if validity.not_before > now {
        let problem = format!("the certificate is valid only from {}", validity.not_before);
        return Err(failure(path, problem, "check the clock of this host"));
    }
    let left = days_until(validity.not_after.timestamp());
    if left < EXPIRY_WARNING_DAYS {
        tracing::warn!(
            file = %path.display(),
            days_left = left,
            "a certificate of ours expires soon; renew it"
        );
    }
    Ok(validity.not_after.timestamp())
}

/// Whole days until a moment, in seconds since 1970; negative when it is past.
pub(super) fn days_until(moment: i64) -> i64 {
    (moment - ASN1Time::now().timestamp()).div_euclid(86_400)
}

fn pem_error(path: &Path, cause: &pem::Error) -> NetError {
    match cause {
        pem::Error::Io(cause) => {
            let problem = format!("cannot be read: {cause}");
            failure(path, problem, "correct the path, or let this process's user read the file")
        }
        pem::Error::NoItemsFound => failure(
            path,
            String::from("there is no private key in it"),
            "it must hold PEM text with BEGIN PRIVATE KEY",
        ),
        other => failure(path, format!("this is no PEM text: {other}"), "convert it with openssl"),
    }
}

pub(super) fn failure(path: &Path, problem: String, remedy: &str) -> NetError {
    NetError::Certificate { path: path.to_owned(), problem, remedy: remedy.to_owned() }
}

/// Days before expiry from which a start warns.
pub const EXPIRY_WARNING_DAYS: i64 = 30;
