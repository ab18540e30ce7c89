//! UPDATE becomes the configuration of a flow, whole or not at all.

use std::net::{IpAddr, SocketAddr};

use abi::{FlowId, Key, Learning as Permission, Reason, Update};
use rtp::srtp::{MasterKey, Mki, Suite};

use crate::admit::{Egress, Ingress};
use crate::flow::{Flow, Formats, Gate, Silence};
use crate::flows::Flows;
use crate::io::Endpoint;
use crate::latch::{Learning, Network};
use crate::limits::LATCH_WINDOW_RTCP_NS;
use crate::residue;

/// Gives a flow the configuration of `update`.
///
/// # Errors
/// The reason of refusal; nothing has changed then.
pub fn configure(flows: &mut Flows, update: Update, now_ns: u64) -> Result<(), Reason> {
    let peer = update.peer.unwrap_or(FlowId::NONE);
    let unprotect = update.unprotect.as_ref().map(master_key).transpose()?;
    let protect = update.protect.as_ref().map(master_key).transpose()?;
    let peer_local = match flows.get_mut(peer) {
        Some(peer) if echoes(peer, unprotect.as_ref(), protect.as_ref()) => {
            return Err(Reason::BadCommand);
        }
        peer => peer.map(|peer| peer.lease.rtp),
    };
    let flow = flows.get_mut(update.flow).ok_or(Reason::NoSuchFlow)?;
    check_families(flow.lease.rtp, [update.source_rtp, update.source_rtcp])?;
    if let Some(local) = peer_local {
        check_families(local, [update.destination_rtp, update.destination_rtcp])?;
    }
    let permitted =
        flow.ingress_keys.permit(unprotect.as_ref()) && flow.egress_keys.permit(protect.as_ref());
    if !permitted || update.udptl && (flow.ingress_keys.is_keyed() || flow.egress_keys.is_keyed()) {
        return Err(Reason::BadCommand);
    }
    let secure = unprotect.is_some();
    // What the moves of the keys left below would become the unused octets of a boxed context.
    residue::leave_none(|| ());
    flow.ingress_keys.change(unprotect, &mut flow.ingress, |key| Ingress::new(Some(key)));
    residue::leave_none(|| ());
    flow.egress_keys.change(protect, &mut flow.egress, |key| Egress::new(Some(key)));
    flow.peer = peer;
    flow.udptl = update.udptl;
    flow.mux_in = update.rtcp_mux_in;
    flow.mux_out = update.rtcp_mux_out;
    locate(flow, &update, secure, now_ns);
    flow.payloads = update.payloads;
    flow.formats =
        Formats { received: update.received, sent: update.sent, events_sent: update.events_sent };
    flow.quality.state_rate(update.received.map_or(0, |format| format.rate_hz));
    flow.hearing.state(&update);
    flow.alive.state(update.keepalive, now_ns);
    arm(flow, &update, now_ns);
    // Either may be configured first: both learn what the other knows.
    flows.aim(update.flow);
    flows.aim(peer);
    Ok(())
}

/// Whether a leg would be sent to with the key that it sends with: a description that was echoed.
/// Both would encrypt with one key stream. `peer` has the leg's other direction of either key.
fn echoes(peer: &Flow, unprotect: Option<&MasterKey>, protect: Option<&MasterKey>) -> bool {
    unprotect.is_some_and(|key| peer.egress_keys.know(key))
        || protect.is_some_and(|key| peer.ingress_keys.know(key))
}

fn locate(flow: &mut Flow, update: &Update, secure: bool, now_ns: u64) {
    let learning = learning(update.learning);
    let [source_rtp, source_rtcp, rtp, rtcp] =
        [update.source_rtp, update.source_rtcp, update.destination_rtp, update.destination_rtcp]
            .map(|address| address.map(Endpoint::from));
    flow.source_rtp.restate(source_rtp, learning, secure, now_ns);
    flow.source_rtcp.restate(source_rtcp, patient(learning), secure, now_ns);
    if learning != Learning::Off {
        flow.source_rtcp.accompany(&flow.source_rtp, now_ns);
    }
    flow.aim.state(rtp, rtcp);
}

fn arm(flow: &mut Flow, update: &Update, now_ns: u64) {
    let before = flow.gate;
    // A direction without a destination is held too: its packets are counted, its silence is told.
    flow.gate = match (update.relay, update.peer) {
        (true, _) => Gate::Relaying,
        (false, Some(_)) => Gate::Held,
        (false, None) => Gate::NotReady,
    };
    let timeout_ns = u64::from(update.timeout_ms) * 1_000_000;
    if flow.silence.timeout_ns != timeout_ns || flow.gate != before {
        flow.silence = Silence { timeout_ns, since_ns: now_ns, ..Silence::default() };
    }
    flow.silence.stated_ns = now_ns;
}

fn learning(permission: Option<Permission>) -> Learning {
    let Some(Permission { window_ms, within }) = permission else { return Learning::Off };
    let within = within.map(|(ip, prefix)| {
        let mapped = Endpoint::from(SocketAddr::new(ip, 0)).ip;
        let family_bits = if matches!(ip, IpAddr::V4(_)) { V4_MAPPED_BITS } else { 0 };
        Network { ip: mapped, prefix: prefix.saturating_add(family_bits) }
    });
    Learning::Learn { window_ns: u64::from(window_ms) * 1_000_000, within }
}

/// RTCP comes every few seconds only.
fn patient(learning: Learning) -> Learning {
    match learning {
        Learning::Off => Learning::Off,
        Learning::Learn { window_ns, within } => {
            Learning::Learn { window_ns: window_ns.max(LATCH_WINDOW_RTCP_NS), within }
        }
    }
}

fn check_families(local: SocketAddr, remotes: [Option<SocketAddr>; 2]) -> Result<(), Reason> {
    let alike = remotes.iter().flatten().all(|remote| remote.is_ipv4() == local.is_ipv4());
    if alike { Ok(()) } else { Err(Reason::BadCommand) }
}

fn master_key(key: &Key) -> Result<MasterKey, Reason> {
    let suite = match key.suite() {
        abi::Suite::AesCm128HmacSha1_80 => Suite::AesCm128HmacSha1_80,
        abi::Suite::AesCm128HmacSha1_32 => Suite::AesCm128HmacSha1_32,
        abi::Suite::AesCm256HmacSha1_80 => Suite::AesCm256HmacSha1_80,
        abi::Suite::AesCm256HmacSha1_32 => Suite::AesCm256HmacSha1_32,
        abi::Suite::AeadAes128Gcm => Suite::AeadAes128Gcm,
        abi::Suite::AeadAes256Gcm => Suite::AeadAes256Gcm,
    };
    let bare = MasterKey::new(suite, key.key(), key.salt()).map_err(|_| Reason::BadCommand)?;
    match key.mki() {
        None => Ok(bare),
        Some((value, len)) => {
            Mki::new(value, len).map(|mki| bare.with_mki(mki)).ok_or(Reason::BadCommand)
        }
    }
}

/// Bits in front of an IPv4 address in its mapped form (RFC 4291 §2.5.5.2).
const V4_MAPPED_BITS: u8 = 96;
