//! Receiving datagrams: many per wake-up.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;

use bytes::Bytes;
use sip::endpoint::{Hop, Transport};
use sip::wire::{Fault, parse};

use super::counters::Counters;
use super::limits::{DATAGRAM_BYTES_MAX, DATAGRAMS_PER_TURN};
use super::{Core, Inbound, Listener};
use crate::trunk::{Called, Origin, attribute};

/// Receives until the runtime ends.
pub(super) async fn receive(core: Arc<Core>, listener: Listener, socket: UdpSocket) {
    let socket = match tokio::net::UdpSocket::from_std(socket) {
        Ok(socket) => socket,
        Err(cause) => {
            tracing::error!(listener = %listener.local, %cause, "UDP listener lost; restart");
            return;
        }
    };
    let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
    loop {
        if let Err(cause) = socket.readable().await {
            tracing::error!(listener = %listener.local, %cause, "UDP listener lost; restart");
            return;
        }
        for _ in 0..DATAGRAMS_PER_TURN {
            match socket.try_recv_from(&mut buffer) {
                Ok((length, source)) => {
                    let datagram = buffer.get(..length).unwrap_or_default();
                    take(&core, listener, source, datagram);
                }
                Err(cause) if cause.kind() == std::io::ErrorKind::WouldBlock => break,
                // An ICMP answer to something that we sent: says nothing about receiving.
                Err(_) => {}
            }
        }
        tokio::task::yield_now().await;
    }
}

fn take(core: &Core, listener: Listener, source: SocketAddr, datagram: &[u8]) {
    let origin = Origin {
        transport: Transport::Udp,
        local: listener.local,
        source,
        peer: None,
        opened_for: None,
    };
    let trunks = core.plan.table();
    if core.inboxes.are_crowded() && !trunks.knows(source.ip()) {
        Counters::count(&core.counters.datagrams_dropped);
        return;
    }
    let tag = attribute(&trunks, &origin, Called::default()).map_or(0, |id| id.tag());
    let connection = core.listeners.flow(listener, source);
    let hop = Hop { transport: Transport::Udp, remote: source, connection, tag };
    let raw = Bytes::copy_from_slice(datagram);
    let (shard, inbound) = match parse(raw.clone()) {
        Ok(message) => (core.inboxes.home(&message), Inbound::Message { hop, origin, message }),
        // Line ends alone keep a NAT binding open (RFC 5626 §3.5.1 has them on connections only).
        Err(error) if error.fault() == Fault::Empty => return,
        Err(error) => {
            Counters::count(&core.counters.malformed);
            (0, Inbound::Malformed { hop, origin, error, raw })
        }
    };
    let counters = &core.counters;
    match core.inboxes.offer(shard, inbound) {
        true => Counters::count(&counters.messages_in),
        false => Counters::count(&counters.datagrams_dropped),
    }
}
