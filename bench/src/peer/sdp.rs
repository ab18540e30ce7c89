//! The one session description that the peers speak: one audio stream of G.711, with SDES keys when
//! secure (RFC 8866, RFC 3264, RFC 4568).
//!
//! Written by hand in a few lines on purpose, so that the gateway's own description code is met by an
//! independent reading of the RFCs.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

use crate::media::g711::Law;
use crate::media::{SrtpKey, suite_name, suite_of_name};

/// An offer or answer of one audio stream.
pub struct Description {
    pub rtp: SocketAddr,
    /// In order of preference; an answer names one.
    pub laws: Vec<Law>,
    /// `RTP/SAVP` with these keys, or `RTP/AVP` when `None`.
    pub crypto: Option<Vec<Crypto>>,
}

/// One `a=crypto` line (RFC 4568 §9.1).
pub struct Crypto {
    pub tag: u32,
    pub key: SrtpKey,
}

/// Why a description cannot be used for a call.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    #[error("the session description has no {0}")]
    Missing(&'static str),
    #[error("the audio stream is {found}, this peer speaks only {wanted}")]
    Profile { found: String, wanted: &'static str },
    #[error("the audio stream offers neither PCMA nor PCMU")]
    Codec,
    #[error("an RTP/AVP stream carries a=crypto: its keys would travel in clear")]
    CryptoInClear,
}

impl Description {
    /// The text, ready for a body. `id` is the session id of the `o=` line.
    pub fn write(&self, id: u64) -> String {
        let (address, port) = (self.rtp.ip(), self.rtp.port());
        let profile = if self.crypto.is_some() { SECURE } else { PLAIN };
        let mut text = format!(
            "v=0\r\no=- {id} 1 IN IP4 {address}\r\ns=-\r\nc=IN IP4 {address}\r\nt=0 0\r\n\
             m=audio {port} {profile}"
        );
        for law in &self.laws {
            // Writing into a String cannot fail, here and below.
            let _ = write!(text, " {}", law.payload_type());
        }
        text.push_str("\r\n");
        for law in &self.laws {
            let _ = write!(text, "a=rtpmap:{} {}/8000\r\n", law.payload_type(), law.name());
        }
        for Crypto { tag, key } in self.crypto.iter().flatten() {
            let (suite, inline) = (suite_name(key.suite()), key.inline());
            let _ = write!(text, "a=crypto:{tag} {suite} inline:{}\r\n", inline.as_str());
        }
        text.push_str("a=ptime:20\r\na=sendrecv\r\n");
        text
    }

    /// Reads what the far end sent; `secure` says which of the two profiles must be there.
    pub fn read(text: &[u8], secure: bool) -> Result<Description, Unusable> {
        let text = String::from_utf8_lossy(text);
        let (mut address, mut audio, mut crypto) = (None, None, Vec::new());
        let mut elsewhere = false;
        for line in text.lines().map(str::trim_end) {
            match line.split_once('=') {
                Some(("m", value)) => {
                    elsewhere = audio.is_some() || !value.starts_with("audio ");
                    if !elsewhere {
                        audio = Some(value.to_owned());
                    }
                }
                _ if elsewhere => {}
                Some(("c", value)) => address = value.split(' ').nth(2).map(str::to_owned),
                Some(("a", value)) => crypto.extend(read_crypto(value)),
                _ => {}
            }
        }
        let audio = audio.ok_or(Unusable::Missing("audio stream"))?;
        let mut words = audio.split_whitespace().skip(1);
        let port = words.next().and_then(|port| port.parse().ok()).filter(|port| *port != 0);
        let port: u16 = port.ok_or(Unusable::Missing("audio port: the stream is refused"))?;
        let profile = words.next().unwrap_or_default();
        let wanted = if secure { SECURE } else { PLAIN };
        if profile != wanted {
            return Err(Unusable::Profile { found: profile.to_owned(), wanted });
        }
        let laws: Vec<Law> =
            words.filter_map(|word| Law::of_payload_type(word.parse().ok()?)).collect();
        if laws.is_empty() {
            return Err(Unusable::Codec);
        }
        let address: Option<IpAddr> = address.and_then(|address| address.parse().ok());
        let address = address.ok_or(Unusable::Missing("connection address"))?;
        if secure && crypto.is_empty() {
            return Err(Unusable::Missing("a=crypto line with a suite that this peer knows"));
        }
        if !secure && text.contains("\na=crypto:") {
            return Err(Unusable::CryptoInClear);
        }
        let rtp = SocketAddr::new(address, port);
        Ok(Description { rtp, laws, crypto: secure.then_some(crypto) })
    }
}

/// `crypto:<tag> <suite> inline:<key>[|<lifetime>]`; a line with an MKI or with session parameters
/// is passed over, as RFC 4568 §6.1 and §6.3.7 allow.
fn read_crypto(attribute: &str) -> Option<Crypto> {
    let mut words = attribute.strip_prefix("crypto:")?.split_whitespace();
    let tag = words.next()?.parse().ok()?;
    let suite = suite_of_name(words.next()?)?;
    let mut parts = words.next()?.strip_prefix("inline:")?.split('|');
    let key = SrtpKey::of_inline(suite, parts.next()?)?;
    let has_mki = parts.any(|part| part.contains(':'));
    (!has_mki && words.next().is_none()).then_some(Crypto { tag, key })
}

const PLAIN: &str = "RTP/AVP";
const SECURE: &str = "RTP/SAVP";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::SUITES;

    fn offer(crypto: Option<Vec<Crypto>>) -> Description {
        let rtp = "127.0.0.1:4000".parse().unwrap();
        Description { rtp, laws: vec![Law::A, Law::Mu], crypto }
    }

    fn keys() -> Vec<Crypto> {
        let key = |suite| SrtpKey::fresh(suite).unwrap();
        (1..).zip(SUITES).map(|(tag, suite)| Crypto { tag, key: key(suite) }).collect()
    }

    #[test]
    fn both_profiles_are_read_back() {
        let plain = Description::read(offer(None).write(1).as_bytes(), false).unwrap();
        assert_eq!(plain.rtp, "127.0.0.1:4000".parse().unwrap());
        assert_eq!(plain.laws, [Law::A, Law::Mu]);
        assert!(plain.crypto.is_none());
        let offered = offer(Some(keys()));
        let secure = Description::read(offered.write(1).as_bytes(), true).unwrap();
        for (read, sent) in secure.crypto.iter().flatten().zip(offered.crypto.iter().flatten()) {
            assert_eq!(read.tag, sent.tag);
            assert_eq!(read.key.suite(), sent.key.suite());
            assert_eq!(*read.key.inline(), *sent.key.inline());
        }
        assert_eq!(secure.crypto.map(|lines| lines.len()), Some(SUITES.len()));
    }

    #[test]
    fn the_wrong_profile_is_refused_both_ways() {
        let plain = offer(None).write(1);
        let secure = offer(Some(keys())).write(1);
        let refused = |text: &str, secure| Description::read(text.as_bytes(), secure).err();
        assert!(matches!(refused(&plain, true), Some(Unusable::Profile { .. })));
        assert!(matches!(refused(&secure, false), Some(Unusable::Profile { .. })));
        let mixed = secure.replace(SECURE, PLAIN);
        assert_eq!(refused(&mixed, false), Some(Unusable::CryptoInClear));
        let bare = plain.replace(PLAIN, SECURE);
        assert!(matches!(refused(&bare, true), Some(Unusable::Missing(_))));
    }

    #[test]
    fn foreign_descriptions() {
        let text = "v=0\no=x 1 1 IN IP4 h\ns=-\nt=0 0\nm=audio 5000 RTP/AVP 96 0 101\n\
                    c=IN IP4 192.0.2.7\nm=video 6000 RTP/AVP 97\nc=IN IP4 192.0.2.8\n";
        let read = Description::read(text.as_bytes(), false).unwrap();
        assert_eq!(read.rtp, "192.0.2.7:5000".parse().unwrap());
        assert_eq!(read.laws, [Law::Mu]);
        let refused = text.replace("audio 5000", "audio 0");
        assert!(Description::read(refused.as_bytes(), false).is_err());
        assert!(read_crypto("crypto:1 AES_CM_128_HMAC_SHA1_80 inline:AAAA").is_none());
        let inline = SrtpKey::fresh(rtp::srtp::Suite::AesCm128HmacSha1_80).unwrap().inline();
        let line = format!("crypto:9 AES_CM_128_HMAC_SHA1_80 inline:{}", inline.as_str());
        assert_eq!(read_crypto(&format!("{line}|2^31")).map(|line| line.tag), Some(9));
        assert!(read_crypto(&format!("{line}|2^31|1:4")).is_none());
        assert!(read_crypto(&format!("{line} UNENCRYPTED_SRTP")).is_none());
    }
}
