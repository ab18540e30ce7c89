//! Keeping a trunk's way open (`keepalive`): translators and firewalls on it forget silent flows.
//!
//! A datagram of one line end every so often, and on connections a ping (RFC 5626 §3.5.1). A peer
//! that has answered a ping once must go on answering: when it does not, the connection is dead,
//! whatever the kernel says. One that never does may be too old to know pings; nothing is concluded.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use sip::endpoint::Transport;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::Core;
use super::connection::Connection;
use crate::trunk::{Called, Origin, TrunkId, attribute};

/// Sends datagrams to all trunks that want them until the runtime ends.
pub(super) async fn datagrams(core: Arc<Core>) {
    let mut due: Vec<(TrunkId, Instant)> = Vec::new();
    loop {
        let now = Instant::now();
        let table = core.plan.table();
        let wanted = |id| table.get(id).and_then(|trunk| trunk.manner.keepalive);
        due.retain(|(id, _)| wanted(*id).is_some());
        for trunk in table.iter().filter(|t| t.enabled && t.transport == Transport::Udp) {
            let Some(pause) = trunk.manner.keepalive else { continue };
            let at = match due.iter_mut().find(|(id, _)| *id == trunk.id) {
                Some((_, at)) => at,
                None => {
                    due.push((trunk.id, now));
                    let Some((_, at)) = due.last_mut() else { continue };
                    at
                }
            };
            // A trunk that is not resolved yet is looked at again with the next tick.
            if *at <= now
                && let Some(hop) = table.hop(trunk.id)
            {
                *at = now + pause;
                if let Err(cause) =
                    core.listeners.send_datagram(&hop, LINE_END, trunk.manner.signalling_dscp)
                {
                    tracing::debug!(trunk = trunk.name, cause, "keepalive not sent");
                }
            }
        }
        let next = due.iter().map(|(_, at)| *at).min();
        let tick = now + TICK;
        sleep_until(next.map_or(tick, |next| next.clamp(now + TICK_MIN, tick))).await;
    }
}

/// Pings the peer of a connection as its trunk wants it; ends when the peer stops answering.
pub(super) async fn pings(core: &Core, connection: &Arc<Connection>, origin: &Origin) {
    loop {
        let table = core.plan.table();
        let id = match TrunkId::from_tag(connection.tag()) {
            Some(id) => Some(id),
            None => attribute(&table, origin, Called::default()).ok(),
        };
        let trunk = id.and_then(|id| table.get(id));
        let Some(pause) = trunk.and_then(|trunk| trunk.manner.keepalive) else {
            sleep(TICK).await;
            continue;
        };
        drop(table);
        sleep(pause).await;
        let pongs = connection.pongs();
        if connection.ping(Bytes::from_static(PING), core.limits.write_queue_bytes).is_err() {
            return;
        }
        let answered = async {
            while connection.pongs() == pongs {
                connection.ponged().await;
            }
        };
        if timeout(core.limits.pong, answered).await.is_err() && pongs > 0 {
            return;
        }
    }
}

/// New and changed trunks are seen within this time.
const TICK: Duration = Duration::from_secs(1);
const TICK_MIN: Duration = Duration::from_millis(10);
const LINE_END: &[u8] = b"\r\n";
const PING: &[u8] = b"\r\n\r\n";
