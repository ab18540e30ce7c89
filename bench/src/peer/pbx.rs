//! The secure peer: a PBX that speaks SIP over TLS with certificates on both sides, and SRTP with
//! SDES keys. It offers all suites and prefers another one in each call.

use std::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::link::{Faults, Link};
use super::sdp::{Crypto, Description, Unusable};
use super::ua::{CallError, Received, Ua};
use crate::certs::Certificates;
use crate::media::g711::Law;
use crate::media::{LegKeys, SUITES, SrtpKey};
use crate::run::BenchError;

/// Listens on `listen` with the PBX certificate of `certificates`; calls come out of the receiver.
pub async fn start(
    listen: SocketAddr,
    certificates: &Certificates,
) -> Result<(Rc<Ua>, UnboundedReceiver<Received>), BenchError> {
    let (server, client) = configurations(certificates)?;
    let (sender, inbound) = unbounded_channel();
    let faults = Faults::default();
    let link = Link::tls(listen, server, client, sender, faults.clone()).await;
    let link = link.map_err(|cause| BenchError::Listen { address: listen, cause })?;
    Ok(Ua::start(link, inbound, faults))
}

/// An offer of SRTP at `rtp` with a fresh key for each suite; call number `call` says which suite
/// comes first.
pub fn offer(call: u32, laws: Vec<Law>, rtp: SocketAddr) -> Result<Description, CallError> {
    let mut crypto = Vec::new();
    for (tag, suite) in (1..).zip(preference(call)) {
        crypto.push(Crypto { tag, key: SrtpKey::fresh(suite)? });
    }
    Ok(Description { rtp, laws, crypto: Some(crypto) })
}

/// The keys of a call that we offered: ours of the line that the answer took, theirs of the answer.
pub fn keys_of_answer(offer: Description, answer: Description) -> Result<LegKeys, CallError> {
    let theirs = answer.crypto.into_iter().flatten().next();
    let theirs = theirs.ok_or(Unusable::Missing("a=crypto line in the answer"))?;
    let ours = offer
        .crypto
        .into_iter()
        .flatten()
        .find(|line| line.tag == theirs.tag && line.key.suite() == theirs.key.suite())
        .ok_or(Unusable::Missing("a=crypto line that answers one of the offer"))?;
    Ok(LegKeys { ours: ours.key, theirs: theirs.key })
}

/// The answer to an offer, with the line that we prefer in call number `call`, and a fresh key.
pub fn answer(
    call: u32,
    offer: Description,
    law: Law,
    rtp: SocketAddr,
) -> Result<(Description, LegKeys), CallError> {
    let mut lines: Vec<Crypto> = offer.crypto.into_iter().flatten().collect();
    let preference = preference(call);
    let rank = |line: &Crypto| preference.iter().position(|suite| *suite == line.key.suite());
    lines.sort_by_key(rank);
    let chosen = lines.into_iter().next().ok_or(Unusable::Missing("a=crypto line"))?;
    let ours = SrtpKey::fresh(chosen.key.suite())?;
    let line = Crypto { tag: chosen.tag, key: ours.clone() };
    let answer = Description { rtp, laws: vec![law], crypto: Some(vec![line]) };
    Ok((answer, LegKeys { ours, theirs: chosen.key }))
}

/// The suites in the order that call number `call` prefers. Calls alternate in direction, so two
/// neighbours share a preference and each direction sees all of them.
fn preference(call: u32) -> [rtp::srtp::Suite; 6] {
    let mut suites = SUITES;
    suites.rotate_left((call / 2) as usize % SUITES.len());
    suites
}

type Configurations = (Arc<ServerConfig>, Arc<ClientConfig>);

fn configurations(certificates: &Certificates) -> Result<Configurations, BenchError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    for certificate in chain(&certificates.ca)? {
        roots.add(certificate).map_err(|cause| BenchError::Tls(cause.to_string()))?;
    }
    let roots = Arc::new(roots);
    let tls = |cause: &dyn std::fmt::Display| BenchError::Tls(cause.to_string());
    let key = || {
        PrivateKeyDer::from_pem_file(&certificates.pbx_key)
            .map_err(|cause| unreadable(&certificates.pbx_key, &cause))
    };
    let server = server(&provider, &roots)
        .map_err(|cause| tls(&cause))?
        .with_single_cert(chain(&certificates.pbx)?, key()?)
        .map_err(|cause| tls(&cause))?;
    let client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|cause| tls(&cause))?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain(&certificates.pbx)?, key()?)
        .map_err(|cause| tls(&cause))?;
    Ok((Arc::new(server), Arc::new(client)))
}

type Server = rustls::ConfigBuilder<ServerConfig, rustls::server::WantsServerCert>;

fn server(
    provider: &Arc<CryptoProvider>,
    roots: &Arc<RootCertStore>,
) -> Result<Server, Box<dyn std::error::Error>> {
    let verifier =
        WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone()).build()?;
    Ok(ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier))
}

fn chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, BenchError> {
    CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|cause| unreadable(path, &cause))
}

fn unreadable(path: &Path, cause: &dyn std::fmt::Display) -> BenchError {
    BenchError::Certificates { path: path.to_owned(), cause: cause.to_string() }
}
