//! TLS: our certificate on listeners, per-trunk trust and identity toward peers.
//!
//! TLS 1.2 and 1.3 with rustls on aws-lc-rs. Nothing is resumed: trunks have few connections, and
//! a peer's certificate is then always checked as it is now.

mod https;
mod inspect;
mod load;
mod names;
pub(super) mod renew;
mod trust;
mod verify;

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, PoisonError, RwLock};

use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::NoServerSessionStorage;
use rustls::sign::SingleCertAndKey;
use rustls::version::{TLS12, TLS13};
use rustls::{CertificateError, ClientConfig, ServerConfig};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

use super::NetError;
use crate::config::{Config, Sip};
use crate::locate::Place;
use crate::plan::Plan;
use crate::trunk::{Host, PeerIdentity, Trunk, TrunkId};

pub use https::{Https, LOOKS as HTTPS_LOOKS};
pub use inspect::{Files, Inspection, Shown, TlsFault, certificates, inspect};
pub use load::EXPIRY_WARNING_DAYS;
use load::Identities;
pub use renew::Expiry;
use trust::Trust;
use verify::{PeerOfTrunk, PeersOfTrunks};

/// Everything TLS needs, loaded and checked; replaced as a whole with each plan.
pub struct Tls {
    provider: Arc<CryptoProvider>,
    sip: Sip,
    loaded: RwLock<Arc<Loaded>>,
}

/// What one plan needs.
struct Loaded {
    acceptor: Option<TlsAcceptor>,
    trunks: HashMap<TrunkId, Vec<Client>>,
    trust: Arc<Trust>,
    /// Trunks whose files cannot be used, and why.
    failed: HashMap<TrunkId, String>,
    /// When our certificates end.
    expiries: Vec<Expiry>,
}

/// How we connect to one next hop of a trunk.
struct Client {
    host: Host,
    connector: TlsConnector,
    /// What is asked for.
    name: ServerName<'static>,
}

/// What to do about a trunk whose files cannot be used.
type Failed<'f> = dyn FnMut(TrunkId, NetError) -> Result<(), NetError> + 'f;

impl Tls {
    /// Reads all certificates and keys that the configuration names.
    pub fn load(config: &Config) -> Result<Self, NetError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        // Another part of the process may have installed the same one already.
        let _installed = CryptoProvider::clone(&provider).install_default();
        // What is switched off must not keep the gateway from starting.
        let enabled = config.trunks.iter().filter(|trunk| trunk.enabled);
        let enabled: Vec<Arc<Trunk>> = enabled.cloned().collect();
        let loaded = Loaded::read(&provider, &config.sip, &enabled, &mut |_, error| Err(error))?;
        let loaded = RwLock::new(Arc::new(loaded));
        Ok(Self { provider, sip: config.sip.clone(), loaded })
    }

    /// Reads anew what a plan names. A trunk whose files cannot be used is left without TLS, and says
    /// why when somebody connects for it; the others are not disturbed. Connections that are open
    /// stay as they are.
    pub fn follow(&self, plan: &Plan) {
        let mut failed = HashMap::new();
        let read = Loaded::read(&self.provider, &self.sip, &plan.trunks, &mut |trunk, error| {
            tracing::error!(%trunk, %error, "trunk without TLS");
            failed.insert(trunk, error.to_string());
            Ok(())
        });
        match read {
            Ok(mut loaded) => {
                loaded.trunks.retain(|trunk, _| !failed.contains_key(trunk));
                let loaded = Arc::new(Loaded { failed, ..loaded });
                *self.loaded.write().unwrap_or_else(PoisonError::into_inner) = loaded;
            }
            Err(error) => {
                tracing::error!(%error, "new certificates not used; the ones before stay");
            }
        }
    }

    /// Whole days until the certificate that we show to `trunk` expires.
    pub(super) fn days_left(&self, trunk: &Trunk) -> Option<i64> {
        let settings = trunk.tls.as_ref()?;
        let shown = settings.client_cert.as_ref().or(self.sip.tls_certificate.as_ref())?;
        let now = self.now();
        let expiry = now.expiries.iter().find(|expiry| expiry.file == *shown)?;
        Some(load::days_until(expiry.not_after))
    }

    fn now(&self) -> Arc<Loaded> {
        Arc::clone(&self.loaded.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The server's side of a handshake. The identity is there if the peer showed a certificate,
    /// which then is verified.
    pub(super) async fn accept(
        &self,
        socket: TcpStream,
    ) -> io::Result<(server::TlsStream<TcpStream>, Option<PeerIdentity>)> {
        let now = self.now();
        let acceptor = now.acceptor.as_ref().ok_or(io::ErrorKind::Unsupported)?;
        let socket = acceptor.accept(socket).await?;
        let identity = now.identity(socket.get_ref().1.peer_certificates());
        Ok((socket, identity))
    }

    /// The client's side of a handshake with one of a trunk's next hops: the trunk's trust, the
    /// hop's names, our certificate for the trunk.
    pub(super) async fn connect(
        &self,
        hop: Option<(TrunkId, Host)>,
        socket: TcpStream,
    ) -> io::Result<(client::TlsStream<TcpStream>, Option<PeerIdentity>)> {
        let now = self.now();
        let trunk = hop.as_ref().map(|(trunk, _)| trunk);
        let known = trunk.and_then(|trunk| now.trunks.get(trunk)).map_or(&[][..], Vec::as_slice);
        let host = hop.as_ref().map(|(_, host)| host);
        let found = known.iter().find(|client| Some(&client.host) == host);
        let Some(Client { connector, name, .. }) = found else {
            let why = trunk.and_then(|trunk| now.failed.get(trunk));
            let nobody = "no TLS trunk says whom to trust there";
            return Err(io::Error::other(why.map_or(nobody, String::as_str)));
        };
        let socket = connector.connect(name.clone(), socket).await?;
        let identity = now.identity(socket.get_ref().1.peer_certificates());
        Ok((socket, identity))
    }
}

impl Loaded {
    fn read(
        provider: &Arc<CryptoProvider>,
        sip: &Sip,
        trunks: &[Arc<Trunk>],
        failed: &mut Failed<'_>,
    ) -> Result<Self, NetError> {
        let trust = Arc::new(Trust::load(sip.tls_ca.as_ref(), trunks, provider, failed)?);
        let mut identities = Identities::new(provider);
        let own = match (&sip.tls_certificate, &sip.tls_key) {
            (Some(certificate), Some(key)) => Some(identities.load(certificate, key)?),
            _ => None,
        };
        let acceptor = match &own {
            Some(own) => Some(acceptor(provider, &trust, own)?),
            None => None,
        };
        let mut found = HashMap::new();
        for trunk in trunks {
            match clients(provider, &trust, &mut identities, own.as_ref(), trunk) {
                Ok(clients) if clients.is_empty() => {}
                Ok(clients) => {
                    found.insert(trunk.id, clients);
                }
                Err(error) => failed(trunk.id, error)?,
            }
        }
        let expiries = identities.expiries;
        Ok(Self { acceptor, trunks: found, trust, failed: HashMap::new(), expiries })
    }

    fn identity(&self, chain: Option<&[CertificateDer<'_>]>) -> Option<PeerIdentity> {
        let (leaf, intermediates) = chain?.split_first()?;
        Some(PeerIdentity {
            names: names::names(leaf).unwrap_or_default(),
            fingerprint: trust::fingerprint(leaf),
            trusted_by: self.trust.vouching(leaf, intermediates),
        })
    }
}

/// How we connect for a trunk; empty when it has no TLS.
fn clients(
    provider: &Arc<CryptoProvider>,
    trust: &Arc<Trust>,
    identities: &mut Identities<'_>,
    own: Option<&Arc<SingleCertAndKey>>,
    trunk: &Trunk,
) -> Result<Vec<Client>, NetError> {
    let Some(settings) = &trunk.tls else { return Ok(Vec::new()) };
    let identity = match (&settings.client_cert, &settings.client_key) {
        (Some(certificate), Some(key)) => Some(identities.load(certificate, key)?),
        _ => own.cloned(),
    };
    let one = |Place { host, .. }: Place| -> Result<Client, NetError> {
        let connector = connector(provider, trust, trunk, &host, identity.clone())?;
        let name = server_name(&host)?;
        Ok(Client { host, connector, name })
    };
    trunk.next_hops().into_iter().map(one).collect()
}

fn acceptor(
    provider: &Arc<CryptoProvider>,
    trust: &Arc<Trust>,
    own: &Arc<SingleCertAndKey>,
) -> Result<TlsAcceptor, NetError> {
    let verifier = Arc::new(PeersOfTrunks::new(Arc::clone(trust)));
    let mut config = ServerConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(&[&TLS13, &TLS12])?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::<SingleCertAndKey>::clone(own));
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn connector(
    provider: &Arc<CryptoProvider>,
    trust: &Arc<Trust>,
    trunk: &Trunk,
    host: &Host,
    identity: Option<Arc<SingleCertAndKey>>,
) -> Result<TlsConnector, NetError> {
    let verifier = Arc::new(PeerOfTrunk::new(Arc::clone(trust), trunk, host));
    let builder = ClientConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(&[&TLS13, &TLS12])?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let mut config = match identity {
        Some(identity) => builder.with_client_cert_resolver(identity),
        None => builder.with_no_client_auth(),
    };
    config.resumption = Resumption::disabled();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// What we ask for: SNI carries it when it is a name.
fn server_name(host: &Host) -> Result<ServerName<'static>, NetError> {
    match host {
        Host::Address(address) => Ok(ServerName::IpAddress((*address).into())),
        Host::Name(name) => ServerName::try_from(name.clone()).map_err(|_| {
            let problem = format!("{name} cannot be asked for in a TLS handshake");
            NetError::Tls(rustls::Error::General(problem))
        }),
    }
}

/// A handshake's error in words that help.
pub(super) fn explain(cause: &io::Error) -> String {
    let inner = cause.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let Some(error) = inner else { return cause.to_string() };
    match error {
        rustls::Error::InvalidCertificate(fault) => match fault {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                String::from("the peer's certificate has expired; the peer must renew it")
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                String::from("the peer's certificate is not valid yet; check both clocks")
            }
            CertificateError::UnknownIssuer => String::from(
                "the peer's certificate is from an authority that the trunk does not trust; \
                 correct tls_ca",
            ),
            CertificateError::Other(reason) => reason.to_string(),
            other => format!("the peer's certificate is not acceptable: {other}"),
        },
        rustls::Error::AlertReceived(alert) => {
            format!("the peer broke off with {alert:?}; its log says why")
        }
        rustls::Error::PeerIncompatible(reason) => format!(
            "no common TLS version or cipher ({reason:?}); the peer must allow TLS 1.2 or 1.3 \
             with AES-GCM or ChaCha20"
        ),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests;
