//! What the stages use of the edge's TLS.

use tokio::net::TcpStream;
use tokio_rustls::client;

pub(super) use crate::net::{TlsFiles as Files, inspect};

/// An open connection.
pub(super) type Connection = client::TlsStream<TcpStream>;
