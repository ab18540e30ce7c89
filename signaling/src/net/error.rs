//! Why the edge cannot start: what, cause, remedy.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use sip::endpoint::Transport;

/// What keeps the edge from starting.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// A listener cannot be opened.
    #[error("cannot listen on {} {address}: {}", transport.as_str(), explain(.cause, holder.as_deref()))]
    Listen {
        /// Its transport.
        transport: Transport,
        /// Its address.
        address: SocketAddr,
        /// The kernel's answer.
        cause: io::Error,
        /// The process that has the port, as far as we may know.
        holder: Option<String>,
    },
    /// A certificate or key is not usable.
    #[error("{}: {problem}; {remedy}", path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
        /// What to do.
        remedy: String,
    },
    /// TLS itself refuses the configuration.
    #[error("TLS cannot be configured: {0}")]
    Tls(#[from] rustls::Error),
    /// No thread or no event queue.
    #[error("cannot start the thread of the SIP edge: {0}; raise the limits on threads and files")]
    Runtime(io::Error),
}

impl NetError {
    /// Whether an edit of the configuration is the remedy.
    pub fn is_configuration(&self) -> bool {
        !matches!(self, Self::Runtime(_))
    }
}

/// Cause and remedy of a failure to listen, for operators.
pub fn explain(cause: &io::Error, holder: Option<&str>) -> String {
    match (cause.kind(), holder) {
        (io::ErrorKind::AddrInUse, Some(holder)) => {
            format!("the port is taken by {holder}; stop it, or choose another port in [sip]")
        }
        (io::ErrorKind::AddrInUse, None) => String::from(
            "the port is taken; `ss -lnptu` as root shows by whom; stop it, or choose another \
             port in [sip]",
        ),
        (io::ErrorKind::AddrNotAvailable, _) => {
            String::from("no interface has this address; `ip address` lists them; correct [sip]")
        }
        (io::ErrorKind::PermissionDenied, _) => String::from(
            "ports below 1024 need a privilege; choose a higher port, or grant \
             CAP_NET_BIND_SERVICE",
        ),
        _ => format!("{cause}; check the address in [sip]"),
    }
}
