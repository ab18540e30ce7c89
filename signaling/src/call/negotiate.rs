//! Offer and answer of one leg: what we write into SDP, and what the data plane is told of it.
//!
//! Each leg has its own keys: nothing that one peer sent, address or key, reaches the other. The
//! key in an `a=crypto` line is the key of whoever wrote the line (RFC 4568 §6.1), so our own line
//! holds the key that protects what we send, and the peer's line the key that unprotects what it
//! sends.

use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;
use sdp::{Audio, Description, Key, Local, Policy, Reject, SdpError, Security, Suite};
use sip::wire::StatusCode;

use crate::media::Side;

/// The ports that the data plane leased for one leg, and the address peers are told.
#[derive(Clone, Copy, Debug)]
pub struct Ports {
    pub address: IpAddr,
    pub rtp: u16,
    pub rtcp: u16,
}

/// An offer of ours, kept until its answer came.
pub struct Offered {
    pub body: Bytes,
    description: Description,
    keys: Vec<Key>,
    suites: Vec<Suite>,
}

/// What the other side of a leg agreed to.
pub struct Agreed {
    pub audio: Audio,
    pub side: Side,
    pub suite: Option<Suite>,
}

/// Why a leg's media cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    #[error(transparent)]
    Rejected(#[from] Reject),
    #[error(transparent)]
    Malformed(#[from] SdpError),
    #[error("the call has no offer to answer; the peer must describe its audio")]
    NoOffer,
    #[error("the answer carries no session description; the peer must describe its audio")]
    NoAnswer,
    #[error("a key of our own has the wrong length: {0}; this is a defect, report it")]
    Key(sdp::KeyLengthError),
    #[error("a secure leg lacks a key, or a plain one has one; this is a defect, report it")]
    Keyless,
}

impl Unusable {
    /// The status that refuses the INVITE.
    pub fn status(&self) -> StatusCode {
        let code = match self {
            Self::Rejected(reject) => reject.status(),
            Self::Malformed(error) => error.status(),
            Self::NoOffer | Self::NoAnswer => 488,
            Self::Key(_) | Self::Keyless => 500,
        };
        StatusCode::new(code).unwrap_or(StatusCode::NOT_ACCEPTABLE_HERE)
    }

    /// Warning header: code and text (RFC 3261 §20.43).
    pub fn warning(&self) -> (u16, String) {
        match self {
            Self::Rejected(reject) => reject.warning().unwrap_or((399, reject.to_string())),
            other => (399, other.to_string()),
        }
    }
}

/// Fills a buffer with key material.
pub type Entropy<'a> = &'a mut dyn FnMut(&mut [u8]);

/// Writes our offer toward a leg, with the formats of the other leg's `far` where it has spoken.
///
/// # Errors
/// [`Unusable`] when nothing may be offered: no format is left by the policy.
pub fn offer(
    policy: &Policy,
    far: Option<&Audio>,
    ports: Ports,
    origin: u64,
    entropy: Entropy<'_>,
) -> Result<Offered, Unusable> {
    let suites = match &policy.security {
        Security::Plain => Vec::new(),
        Security::Secure { suites } => suites.clone(),
    };
    let keys: Vec<Key> = suites.iter().map(|s| fresh(*s, entropy)).collect::<Result<_, _>>()?;
    let body = sdp::write_offer(far, policy, &local(ports, origin, &keys))?;
    let description = Description::parse(&body)?;
    Ok(Offered { body: Bytes::from(body), description, keys, suites })
}

/// Reads the answer to an offer of ours.
///
/// # Errors
/// [`Unusable`] when the answer is no answer to our offer.
pub fn accept(offered: &Offered, answer: &[u8], policy: &Policy) -> Result<Agreed, Unusable> {
    let description = Description::parse(answer)?;
    let audio = sdp::read_answer(&description, &offered.description, policy)?;
    let suite = audio.cryptos.first().map(|c| c.suite);
    let ours = suite.and_then(|s| {
        offered.suites.iter().zip(&offered.keys).find(|(o, _)| **o == s).map(|(_, k)| (s, k))
    });
    let side = side(&audio, ours)?;
    Ok(Agreed { audio, side, suite })
}

/// Reads an offer of a peer.
///
/// # Errors
/// [`Unusable`] when the trunk's policy has nothing in common with it.
pub fn read(offer: &[u8], policy: &Policy) -> Result<(Description, Audio), Unusable> {
    let description = Description::parse(offer)?;
    let audio = sdp::read_offer(&description, policy)?;
    Ok((description, audio))
}

/// Writes our answer to a peer's offer, given what the far leg accepted.
///
/// # Errors
/// [`Unusable`] when the far leg's formats and the offer have nothing in common.
pub fn answer(
    offer: &Description,
    chosen: &Audio,
    far: &Audio,
    policy: &Policy,
    ports: Ports,
    origin: u64,
    entropy: Entropy<'_>,
) -> Result<(Bytes, Agreed), Unusable> {
    let suite = chosen.cryptos.first().map(|c| c.suite);
    let keys: Vec<Key> = suite.iter().map(|s| fresh(*s, entropy)).collect::<Result<_, _>>()?;
    let body = sdp::write_answer(offer, chosen, far, policy, &local(ports, origin, &keys))?;
    let side = side(chosen, suite.zip(keys.first()))?;
    Ok((Bytes::from(body), Agreed { audio: chosen.clone(), side, suite }))
}

fn local(ports: Ports, origin: u64, keys: &[Key]) -> Local<'_> {
    Local {
        address: ports.address,
        rtp_port: ports.rtp,
        rtcp_port: ports.rtcp,
        origin_id: origin,
        origin_version: origin,
        keys,
    }
}

fn fresh(suite: Suite, entropy: Entropy<'_>) -> Result<Key, Unusable> {
    let mut material = zeroize::Zeroizing::new([0_u8; 46]);
    let length = (suite.key_len() + suite.salt_len()).min(material.len());
    let (used, _) = material.split_at_mut(length);
    entropy(used);
    Key::new(suite, used).map_err(Unusable::Key)
}

/// A secure leg has both keys or is no leg: a missing key means plain RTP to the data plane.
fn side(audio: &Audio, ours: Option<(Suite, &Key)>) -> Result<Side, Unusable> {
    let receive = audio.cryptos.first().map(|c| wire_key(c.suite, &c.key)).transpose()?;
    let send = ours.map(|(suite, key)| wire_key(suite, key)).transpose()?;
    if audio.secure != receive.is_some() || audio.secure != send.is_some() {
        return Err(Unusable::Keyless);
    }
    Ok(Side {
        rtp: reachable(audio.rtp),
        rtcp: reachable(audio.rtcp),
        rtcp_mux: audio.rtcp_mux,
        receive,
        send,
    })
}

fn reachable(address: SocketAddr) -> Option<SocketAddr> {
    (!address.ip().is_unspecified()).then_some(address)
}

/// The same key as the data plane is told.
fn wire_key(suite: Suite, key: &Key) -> Result<abi::Key, Unusable> {
    let suite = match suite {
        Suite::AesCm128HmacSha1_80 => abi::Suite::AesCm128HmacSha1_80,
        Suite::AesCm128HmacSha1_32 => abi::Suite::AesCm128HmacSha1_32,
        Suite::AeadAes128Gcm => abi::Suite::AeadAes128Gcm,
        Suite::AeadAes256Gcm => abi::Suite::AeadAes256Gcm,
    };
    abi::Key::new(suite, key.key(), key.salt()).ok_or(Unusable::Keyless)
}

/// The address to tell a peer: the configured one, else the one the ports are bound to.
pub fn ports(advertise: Option<IpAddr>, rtp: SocketAddr, rtcp: SocketAddr) -> Ports {
    Ports { address: advertise.unwrap_or(rtp.ip()), rtp: rtp.port(), rtcp: rtcp.port() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OFFER: &str = "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n\
        m=audio 4000 RTP/SAVP 8\r\na=crypto:1 AES_CM_128_HMAC_SHA1_80 \
        inline:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwd\r\n";

    fn policy(security: Security) -> Policy {
        let (allow, disallow) = (Vec::new(), Vec::new());
        Policy { security, allow, disallow, disallow_all: false, rtcp_mux: false }
    }

    #[test]
    fn a_secure_leg_without_a_key_is_no_leg() {
        let suites = vec![Suite::AesCm128HmacSha1_80];
        let (_, audio) = read(OFFER.as_bytes(), &policy(Security::Secure { suites })).unwrap();
        let key = Key::new(Suite::AesCm128HmacSha1_80, &[7; 30]).unwrap();
        let whole = side(&audio, Some((Suite::AesCm128HmacSha1_80, &key))).unwrap();
        assert!(whole.receive.is_some() && whole.send.is_some(), "positive control");
        assert!(matches!(side(&audio, None), Err(Unusable::Keyless)), "nothing of ours to protect");
        let wrong = side(&audio, Some((Suite::AeadAes256Gcm, &key)));
        assert!(matches!(wrong, Err(Unusable::Keyless)), "a key of another suite");
        let mut stripped = audio.clone();
        stripped.cryptos.clear();
        let ours = Some((Suite::AesCm128HmacSha1_80, &key));
        assert!(matches!(side(&stripped, ours), Err(Unusable::Keyless)));
    }
}
