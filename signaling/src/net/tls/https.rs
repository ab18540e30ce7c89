//! TLS of the API's listener (`[http] tls_certificate`, `tls_key`): TLS 1.2 and 1.3, no certificate of
//! clients, who show tokens.
//!
//! The files are looked at every so often, and read when they changed. Half of a new pair changes nothing.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rustls::ServerConfig;
use rustls::version::{TLS12, TLS13};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, server};

use super::super::NetError;
use super::load::Identities;
use super::renew::{Stamp, stamp};

/// The certificate and its key, as files and as they are used.
pub struct Https {
    files: [PathBuf; 2],
    acceptor: RwLock<TlsAcceptor>,
}

impl Https {
    /// Reads the pair.
    ///
    /// # Errors
    /// [`NetError`] names the file, what is wrong with it and the remedy.
    pub fn load(certificate: &Path, key: &Path) -> Result<Self, NetError> {
        let acceptor = RwLock::new(acceptor(certificate, key)?);
        Ok(Self { files: [certificate.to_owned(), key.to_owned()], acceptor })
    }

    /// Our side of a handshake.
    ///
    /// # Errors
    /// What the client did wrong, or that it took too long.
    pub async fn accept(&self, socket: TcpStream) -> io::Result<server::TlsStream<TcpStream>> {
        let acceptor = self.acceptor.read().unwrap_or_else(PoisonError::into_inner).clone();
        let shaken = tokio::time::timeout(HANDSHAKE, acceptor.accept(socket)).await;
        shaken.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    /// Looks at the files until the runtime ends, each time after `pause`.
    pub async fn follow(self: Arc<Self>, pause: Duration) {
        let mut seen = self.stamps();
        loop {
            tokio::time::sleep(pause).await;
            let this = Arc::clone(&self);
            let looked = tokio::task::spawn_blocking(move || {
                let now = this.stamps();
                if now != seen {
                    this.renew();
                }
                now
            });
            match looked.await {
                Ok(now) => seen = now,
                Err(_) => return,
            }
        }
    }

    fn renew(&self) {
        let [certificate, key] = &self.files;
        match acceptor(certificate, key) {
            Ok(new) => {
                *self.acceptor.write().unwrap_or_else(PoisonError::into_inner) = new;
                tracing::info!("the certificate of [http] was read anew");
            }
            Err(error) => {
                tracing::error!(%error, "new certificate of [http] not used; the one before stays");
            }
        }
    }

    fn stamps(&self) -> [Stamp; 2] {
        let [certificate, key] = &self.files;
        [stamp(certificate), stamp(key)]
    }
}

fn acceptor(certificate: &Path, key: &Path) -> Result<TlsAcceptor, NetError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let identity = Identities::new(&provider).load(certificate, key)?;
    let mut config = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&TLS13, &TLS12])?
        .with_no_client_auth()
        .with_cert_resolver(identity);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// How often the files are looked at.
pub const LOOKS: Duration = Duration::from_secs(30);
