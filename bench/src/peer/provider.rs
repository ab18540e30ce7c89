//! The insecure peer: a telephone provider that speaks SIP over UDP or TCP and plain RTP.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::link::{Faults, Link};
use super::sdp::Description;
use super::ua::{Received, Ua};
use crate::media::g711::Law;

/// Listens on `listen`; calls come out of the receiver.
pub async fn start(listen: SocketAddr) -> io::Result<(Rc<Ua>, UnboundedReceiver<Received>)> {
    let (sender, inbound) = unbounded_channel();
    let link = Link::udp(listen, sender).await?;
    Ok(Ua::start(link, inbound, Faults::default()))
}

/// The same over TCP.
pub async fn start_tcp(listen: SocketAddr) -> io::Result<(Rc<Ua>, UnboundedReceiver<Received>)> {
    let (sender, inbound) = unbounded_channel();
    let faults = Faults::default();
    let link = Link::tcp(listen, sender, faults.clone()).await?;
    Ok(Ua::start(link, inbound, faults))
}

/// An offer of plain RTP at `rtp`.
pub fn offer(laws: Vec<Law>, rtp: SocketAddr) -> Description {
    Description { rtp, laws, crypto: None }
}
