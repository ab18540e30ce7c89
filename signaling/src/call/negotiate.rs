//! Offer and answer of one leg: what we write into SDP, and what the data plane is told of it.
//!
//! Each leg has its own keys: nothing that one peer sent, address or key, reaches the other. The
//! key in an `a=crypto` line is the key of whoever wrote the line (RFC 4568 §6.1), so our own line
//! holds the key that protects what we send, and the peer's line the key that unprotects what it
//! sends.

use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;
use sdp::{
    Audio, Crypto, Description, Direction, Fax, Format, Key, Local, Policy, Reject, SdpError, Suite,
};
use sip::wire::StatusCode;

use super::common::Leg;
use crate::trunk::nat::Place;

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
    said: Said,
    is_fax: bool,
}

/// What a description of ours says.
#[derive(Clone)]
pub(super) struct Said {
    /// One for each suite.
    pub keys: Vec<Key>,
    /// Formats under the numbers that it gives them.
    pub formats: Vec<Format>,
    pub ports: Ports,
    /// Identifies the descriptions of one dialog, whichever call it is in (RFC 8866 §5.2).
    pub origin: u64,
    /// Counts them (RFC 3264 §8).
    pub version: u64,
}

/// What the other side of a leg agreed to.
#[derive(Clone)]
pub struct Agreed {
    /// While fax stands: what was agreed of it before.
    pub audio: Audio,
    /// It has fax now, and no audio.
    pub fax: Option<Fax>,
    /// It made the last offer of this leg; else the answer.
    pub offered: bool,
    pub place: Place,
    /// Key with which it encrypts what it sends to us; absent on a plain leg.
    pub receive: Option<abi::Key>,
    /// Key with which we encrypt what we send to it; absent on a plain leg.
    pub send: Option<abi::Key>,
    pub suite: Option<Suite>,
    /// What we told it: the numbers under which it sends, and our key of the suite alone.
    pub(super) said: Said,
    /// Our description.
    pub body: Bytes,
}

impl Agreed {
    /// A side that is not there: it sends nothing and is sent nothing.
    pub fn silenced(&self) -> Self {
        let audio = Audio { direction: Direction::Inactive, ..self.audio.clone() };
        let place =
            Place { rtp: None, rtcp: None, learning: None, is_awaited: false, is_lost: false };
        Self { audio, fax: None, place, receive: None, send: None, suite: None, ..self.clone() }
    }
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
    #[error(
        "the answer gives more than {} payload types other numbers than the offer; \
         the peer should repeat the numbers of the offer",
        abi::format::PAYLOADS_MAX
    )]
    Renumbered,
    #[error(
        "the callee's proxy asks more than {} phones that each bring a key before one answers; \
         media of the later ones passes when they answer",
        Suite::ALL.len() - 1
    )]
    TooManyKeys,
    #[error(
        "the other side of the call does not change between audio and fax (T.38); \
         it goes on as before"
    )]
    Declined,
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
            Self::NoOffer
            | Self::NoAnswer
            | Self::Renumbered
            | Self::TooManyKeys
            | Self::Declined => 488,
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
    let suites = policy.security.suites().iter();
    let keys: Vec<Key> = suites.map(|s| fresh(*s, entropy)).collect::<Result<_, _>>()?;
    let said = Said { keys, formats: Vec::new(), ports, origin, version: origin };
    write_offer(policy, far, said, None)
}

/// The same to a leg that talks already, in another place: what `stands` counts on, with fresh keys.
///
/// # Errors
/// [`Unusable`] when nothing may be offered.
pub(super) fn offer_elsewhere(
    policy: &Policy,
    far: Option<&Audio>,
    ports: Ports,
    stands: &Agreed,
    entropy: Entropy<'_>,
) -> Result<Offered, Unusable> {
    let suites = policy.security.suites().iter();
    let keys: Vec<Key> = suites.map(|s| fresh(*s, entropy)).collect::<Result<_, _>>()?;
    let (origin, version) = (stands.said.origin, stands.said.version + 1);
    let said = Said { keys, formats: Vec::new(), ports, origin, version };
    write_offer(policy, far, said, Some(&stands.body))
}

/// The same for a dialog in which we described our side (`last`) before.
pub(super) fn write_offer(
    policy: &Policy,
    far: Option<&Audio>,
    said: Said,
    last: Option<&[u8]>,
) -> Result<Offered, Unusable> {
    let body = succeed(last, sdp::write_offer(far, policy, &local(&said))?)?;
    let description = Description::parse(&body)?;
    let formats = sdp::read_offer(&description, policy)?.formats;
    let said = Said { formats, ..said };
    Ok(Offered { body: Bytes::from(body), description, said, is_fax: false })
}

/// Writes an offer of fax, with what the other leg's peer said. What is said of audio stays.
///
/// # Errors
/// [`Unusable`] when the policy lets no fax pass.
pub(super) fn offer_fax(
    policy: &Policy,
    far: &Fax,
    said: Said,
    last: &[u8],
) -> Result<Offered, Unusable> {
    let body = sdp::write_fax_offer(far, policy, &local(&said))?;
    let body = succeed(Some(last), body)?;
    let description = Description::parse(&body)?;
    Ok(Offered { body: Bytes::from(body), description, said, is_fax: true })
}

fn succeed(last: Option<&[u8]>, body: Vec<u8>) -> Result<Vec<u8>, Unusable> {
    match last {
        Some(last) => Ok(sdp::succeed(&Description::parse(last)?, body)),
        None => Ok(body),
    }
}

/// Reads the answer to an offer of ours.
///
/// # Errors
/// [`Unusable`] when the answer is no answer to our offer.
pub fn accept(offered: &Offered, answer: &[u8], leg: &Leg) -> Result<Agreed, Unusable> {
    let description = Description::parse(answer)?;
    let (said, body) = (offered.said.clone(), offered.body.clone());
    if offered.is_fax {
        let fax = sdp::read_fax_answer(&description, &offered.description)?;
        return agreed_fax(fax, false, said, body, leg);
    }
    let audio = sdp::read_answer(&description, &offered.description, &leg.policy)?;
    agreed(audio, false, said, body, leg)
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

/// Reads an offer of a peer under the first of a trunk's policies that it fits. If it fits none, the
/// reason is that of the first whose profile it has.
///
/// # Errors
/// [`Unusable`] when no policy has anything in common with it.
pub fn read_any(
    offer: &[u8],
    policies: Vec<Policy>,
) -> Result<(Description, Audio, Policy), Unusable> {
    let description = Description::parse(offer)?;
    let mut reason = None;
    for policy in policies {
        match sdp::read_offer(&description, &policy) {
            Ok(audio) => return Ok((description, audio, policy)),
            Err(reject) if matches!(reason, None | Some(Reject::Profile { .. })) => {
                reason = Some(reject);
            }
            Err(_) => {}
        }
    }
    Err(reason.map_or(Unusable::NoOffer, Unusable::Rejected))
}

/// Writes our answer to a peer's offer, given what the far leg accepted.
///
/// # Errors
/// [`Unusable`] when the far leg's formats and the offer have nothing in common.
pub fn answer(
    offer: &Description,
    chosen: &Audio,
    far: &Audio,
    leg: &Leg,
    ports: Ports,
    origin: u64,
    entropy: Entropy<'_>,
) -> Result<(Bytes, Agreed), Unusable> {
    let suite = chosen.cryptos.first().map(|c| c.suite);
    let keys: Vec<Key> = suite.iter().map(|s| fresh(*s, entropy)).collect::<Result<_, _>>()?;
    let mut said = Said { keys, formats: Vec::new(), ports, origin, version: origin };
    let body = Bytes::from(sdp::write_answer(offer, chosen, far, &leg.policy, &local(&said))?);
    said.formats = formats_of(&body, &leg.policy)?;
    Ok((body.clone(), agreed(chosen.clone(), true, said, body, leg)?))
}

/// The formats of a description of ours.
pub(super) fn formats_of(body: &[u8], policy: &Policy) -> Result<Vec<Format>, Unusable> {
    Ok(sdp::read_offer(&Description::parse(body)?, policy)?.formats)
}

pub(super) fn local(said: &Said) -> Local<'_> {
    Local {
        address: said.ports.address,
        rtp_port: said.ports.rtp,
        rtcp_port: said.ports.rtcp,
        origin_id: said.origin,
        origin_version: said.version,
        keys: &said.keys,
    }
}

pub(super) fn fresh(suite: Suite, entropy: Entropy<'_>) -> Result<Key, Unusable> {
    let mut material = zeroize::Zeroizing::new([0_u8; 46]);
    let length = (suite.key_len() + suite.salt_len()).min(material.len());
    let (used, _) = material.split_at_mut(length);
    entropy(used);
    Key::new(suite, used).map_err(Unusable::Key)
}

/// A secure leg has both keys or is no leg: a missing key means plain RTP to the data plane. `said`
/// has the keys that we told the peer, one for each suite, of which the agreed one is kept.
pub(super) fn agreed(
    audio: Audio,
    offered: bool,
    mut said: Said,
    body: Bytes,
    leg: &Leg,
) -> Result<Agreed, Unusable> {
    let theirs = audio.cryptos.first();
    let suite = theirs.map(|crypto| crypto.suite);
    let receive = theirs.map(their_key).transpose()?;
    said.keys.retain(|key| Some(key.suite()) == suite);
    let send = said.keys.first().map(wire_key).transpose()?;
    if audio.secure != receive.is_some() || audio.secure != send.is_some() {
        return Err(Unusable::Keyless);
    }
    let place = leg.vantage.place(audio.rtp, audio.rtcp);
    Ok(Agreed { audio, fax: None, offered, place, receive, send, suite, said, body })
}

/// A leg that has fax now: in the clear, and what stood of audio is kept for the way back.
pub(super) fn agreed_fax(
    fax: Fax,
    offered: bool,
    said: Said,
    body: Bytes,
    leg: &Leg,
) -> Result<Agreed, Unusable> {
    let standing = leg.standing.as_ref().ok_or(Unusable::NoOffer)?;
    let (audio, place) = (standing.audio.clone(), leg.vantage.place(fax.address, fax.address));
    let (receive, send, suite) = (None, None, None);
    Ok(Agreed { audio, fax: Some(fax), offered, place, receive, send, suite, said, body })
}

/// The peer's key, with the identifier that its packets name it by. Ours carry none.
fn their_key(crypto: &Crypto) -> Result<abi::Key, Unusable> {
    let key = wire_key(&crypto.key)?;
    match crypto.mki {
        Some(mki) => key.with_mki(mki.value, mki.length).ok_or(Unusable::Keyless),
        None => Ok(key),
    }
}

/// The same key as the data plane is told.
fn wire_key(key: &Key) -> Result<abi::Key, Unusable> {
    let suite = match key.suite() {
        Suite::AesCm256HmacSha1_80 => abi::Suite::AesCm256HmacSha1_80,
        Suite::AesCm256HmacSha1_32 => abi::Suite::AesCm256HmacSha1_32,
        Suite::AesCm128HmacSha1_80 => abi::Suite::AesCm128HmacSha1_80,
        Suite::AesCm128HmacSha1_32 => abi::Suite::AesCm128HmacSha1_32,
        Suite::AeadAes128Gcm => abi::Suite::AeadAes128Gcm,
        Suite::AeadAes256Gcm => abi::Suite::AeadAes256Gcm,
    };
    abi::Key::new(suite, key.key(), key.salt()).ok_or(Unusable::Keyless)
}

/// What to tell a peer of ports: the address that its trunk calls us by where that is of this family,
/// else the one that stands for the ports' own, else that.
pub fn ports(
    external: Option<IpAddr>,
    told: &[(IpAddr, IpAddr)],
    rtp: SocketAddr,
    rtcp: SocketAddr,
) -> Ports {
    let external = external.filter(|ip| ip.is_ipv4() == rtp.is_ipv4());
    let stands = || told.iter().find(|(own, _)| *own == rtp.ip()).map(|(_, told)| *told);
    let address = external.or_else(stands).unwrap_or(rtp.ip());
    Ports { address, rtp: rtp.port(), rtcp: rtcp.port() }
}

#[cfg(test)]
mod tests {
    use sdp::Security;
    use sip::endpoint::{Hop, Transport};

    use super::*;
    use crate::config;

    fn leg(security: Security) -> Leg {
        let text = "[sip]\nudp = [\"192.0.2.1:5060\"]\n[[trunk]]\nname = \"t\"\n\
                    host = \"192.0.2.1\"\n";
        let config = config::parse(text, std::path::Path::new(".")).unwrap();
        let trunk = &config.trunks[0];
        let remote: SocketAddr = "192.0.2.1:5060".parse().unwrap();
        let hop = Hop { transport: Transport::Udp, remote, connection: 0, tag: 1 };
        let policy = Policy { security, allow: Vec::new(), ..trunk.policy() };
        Leg { policy, ..Leg::new(trunk, hop, None) }
    }

    fn offer(suite: Suite, more: &str) -> String {
        let key = match suite.key_len() + suite.salt_len() {
            46 => "T09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PTw",
            44 => "T09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT08",
            30 => "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwd",
            _ => "T09PT09PT09PT09PT09PT09PT09PT09PT09PTw",
        };
        format!(
            "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n\
             m=audio 4000 RTP/SAVP 8\r\na=crypto:1 {suite} inline:{key}{more}\r\n"
        )
    }

    fn agree(audio: Audio, keys: &[Key], leg: &Leg) -> Result<Agreed, Unusable> {
        let address = "192.0.2.1".parse().unwrap();
        let ports = Ports { address, rtp: 20_000, rtcp: 20_001 };
        let said = Said { keys: keys.to_vec(), formats: Vec::new(), ports, origin: 1, version: 1 };
        agreed(audio, true, said, Bytes::new(), leg)
    }

    #[test]
    fn a_secure_leg_without_a_key_is_no_leg() {
        let suite = Suite::AesCm128HmacSha1_80;
        let leg = leg(Security::secure(vec![suite]));
        let (_, audio) = read(offer(suite, "").as_bytes(), &leg.policy).unwrap();
        let key = Key::new(suite, &[7; 30]).unwrap();
        let whole = agree(audio.clone(), std::slice::from_ref(&key), &leg).unwrap();
        assert!(whole.receive.is_some() && whole.send.is_some(), "positive control");
        let keyless = |audio: &Audio, ours: &[Key]| {
            matches!(agree(audio.clone(), ours, &leg), Err(Unusable::Keyless))
        };
        assert!(keyless(&audio, &[]), "nothing of ours to protect");
        let other = Key::new(Suite::AesCm128HmacSha1_32, &[7; 30]).unwrap();
        assert!(keyless(&audio, &[other]), "a key of another suite");
        let mut stripped = audio;
        stripped.cryptos.clear();
        assert!(keyless(&stripped, std::slice::from_ref(&key)));
    }

    #[test]
    fn every_suite_and_the_peers_mki_reach_the_data_plane() {
        let leg = leg(Security::secure(Suite::ALL.to_vec()));
        for suite in Suite::ALL {
            for (more, mki) in [("", None), ("|2^31|1:1", Some((1, 1))), ("|7:4", Some((7, 4)))] {
                let (_, audio) = read(offer(suite, more).as_bytes(), &leg.policy).unwrap();
                let ours = Key::new(suite, &vec![7; suite.key_len() + suite.salt_len()]).unwrap();
                let agreed = agree(audio, std::slice::from_ref(&ours), &leg).unwrap();
                let (receive, send) = (agreed.receive.unwrap(), agreed.send.unwrap());
                assert_eq!(receive.suite(), suite_of(suite));
                assert_eq!(receive.suite(), send.suite());
                assert_eq!(receive.mki(), mki, "{suite} {more}");
                assert_eq!(send.mki(), None, "we name no key");
            }
        }
    }

    fn suite_of(suite: Suite) -> abi::Suite {
        match suite.name() {
            "AEAD_AES_256_GCM" => abi::Suite::AeadAes256Gcm,
            "AEAD_AES_128_GCM" => abi::Suite::AeadAes128Gcm,
            "AES_256_CM_HMAC_SHA1_80" => abi::Suite::AesCm256HmacSha1_80,
            "AES_CM_128_HMAC_SHA1_80" => abi::Suite::AesCm128HmacSha1_80,
            "AES_CM_128_HMAC_SHA1_32" => abi::Suite::AesCm128HmacSha1_32,
            "AES_256_CM_HMAC_SHA1_32" => abi::Suite::AesCm256HmacSha1_32,
            other => panic!("{other}"),
        }
    }

    #[test]
    fn the_advertised_address_is_told_where_its_family_fits() {
        let told_with = |external: Option<&str>, advertise: &[&str], bound: &str| {
            let bound = bound.parse().unwrap();
            let own = ["192.0.2.1", "2001:db8::1"].map(|text| text.parse().unwrap());
            let stands_for = |text: &&str| {
                let told: IpAddr = text.parse().unwrap();
                (own[usize::from(told.is_ipv6())], told)
            };
            let pairs: Vec<_> = advertise.iter().map(stands_for).collect();
            let external = external.map(|text| text.parse().unwrap());
            ports(external, &pairs, bound, bound).address.to_string()
        };
        let told = |advertise: &[&str], bound: &str| told_with(None, advertise, bound);
        assert_eq!(told(&[], "192.0.2.1:4000"), "192.0.2.1");
        assert_eq!(told(&["203.0.113.5"], "192.0.2.1:4000"), "203.0.113.5");
        assert_eq!(told(&["203.0.113.5"], "[2001:db8::1]:4000"), "2001:db8::1");
        let both = ["203.0.113.5", "2001:db8::5"];
        assert_eq!(told(&both, "[2001:db8::1]:4000"), "2001:db8::5");
        // An address of another network, or one that the trunk calls us by.
        assert_eq!(told(&both, "192.0.2.2:4000"), "192.0.2.2");
        assert_eq!(told_with(Some("198.51.100.9"), &both, "192.0.2.1:4000"), "198.51.100.9");
        assert_eq!(told_with(Some("2001:db8::9"), &both, "192.0.2.1:4000"), "203.0.113.5");
    }
}
