use std::net::IpAddr;

use thiserror::Error;

use crate::{CryptoError, Suite};

/// Why a description cannot be accepted or written. The text names the thing, the cause and the
/// remedy; it is for logs, call records and diagnostics of the trunk whose peer said it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Reject {
    #[error(
        "no audio line with a port in the description, only [{}]; the peer must offer audio",
        offered.join(", ")
    )]
    NoAudio { offered: Vec<String> },

    #[error(
        "the peer's audio is {said}, this trunk takes {wanted} only; \
         set the same media encryption on both sides"
    )]
    Profile { said: String, wanted: &'static str },

    #[error(
        "no common codec: the peer has [{}], this trunk allows [{}]; \
         change the trunk's allow list or the peer's codecs",
        offered.join(", "), allowed.join(", ")
    )]
    NoCommonFormat { offered: Vec<String>, allowed: Vec<String> },

    #[error(
        "no usable a=crypto line: this trunk takes [{}]{}; make the peer offer one of them",
        list(wanted),
        reasons(skipped)
    )]
    NoCrypto { wanted: Vec<Suite>, skipped: Vec<CryptoError> },

    #[error(
        "the answer's a=crypto has tag {tag} with {suite}, which was not offered; \
         the peer must repeat the tag and suite of one offered line"
    )]
    ForeignCrypto { tag: u32, suite: Suite },

    #[error(
        "the peer's a=crypto has the very key that we sent; \
         the peer must make a key of its own, or it only echoes what it receives"
    )]
    EchoedKey,

    #[error("the connection address {address} is multicast; the peer must give a unicast address")]
    Multicast { address: IpAddr },

    #[error(
        "the connection address '{given}' is not an IP address; \
         the peer must give an address instead of a host name"
    )]
    NotAnAddress { given: String },

    #[error("the audio line has no connection address; the peer must send a c= line")]
    NoConnection,

    #[error("RTP port {port} leaves no port for RTCP; the peer must use a lower port")]
    Port { port: u16 },

    #[error(
        "the answer has {found} media lines, the offer has {wanted}; \
         the peer must answer every line of the offer in its order"
    )]
    MediaLines { wanted: usize, found: usize },

    #[error("the peer refused the audio line of the offer; it accepted the call without audio")]
    Refused,

    #[error(
        "fax by T.38 has no encryption and this trunk must encrypt; \
         send the fax as G.711 audio, or over a trunk without encryption"
    )]
    FaxInClear,

    #[error("the description has no fax line (T.38 over UDPTL) that is accepted")]
    FaxRefused,

    #[error("cannot write the description: {0}")]
    Misuse(&'static str),
}

impl Reject {
    /// The SIP status that refuses such a description.
    pub fn status(&self) -> u16 {
        match self {
            Self::Misuse(_) => 500,
            _ => 488,
        }
    }

    /// Code and text of a Warning header (RFC 3261 §20.43). The text is printable ASCII without
    /// quote and backslash and holds no address.
    pub fn warning(&self) -> Option<(u16, String)> {
        let (code, text) = match self {
            Self::NoAudio { offered } => (
                304,
                format!("Media type not available: offered {}; allowed audio", words(offered)),
            ),
            Self::NoCommonFormat { offered, allowed } => (
                305,
                format!(
                    "Incompatible media format: offered {}; allowed {}",
                    words(offered),
                    words(allowed)
                ),
            ),
            Self::Profile { said, wanted } => {
                (302, format!("Incompatible transport protocol: offered {said}; allowed {wanted}"))
            }
            Self::NoCrypto { wanted, .. } => (
                306,
                format!("Attribute not understood: no usable crypto; allowed {}", list(wanted)),
            ),
            Self::ForeignCrypto { .. } | Self::EchoedKey => {
                (306, String::from("Attribute not understood: crypto does not match the offer"))
            }
            Self::Multicast { .. } => (330, String::from("Multicast not available")),
            Self::NotAnAddress { .. } | Self::NoConnection | Self::Port { .. } => {
                (301, String::from("Incompatible network address formats: give an IP address"))
            }
            Self::MediaLines { .. } | Self::Refused => {
                (304, String::from("Media type not available: audio was not accepted"))
            }
            Self::FaxInClear => (
                302,
                String::from(
                    "Incompatible transport protocol: T.38 has no encryption, which is a must",
                ),
            ),
            Self::FaxRefused => {
                (304, String::from("Media type not available: fax was not accepted"))
            }
            Self::Misuse(_) => return None,
        };
        Some((code, text))
    }
}

fn words(names: &[String]) -> String {
    if names.is_empty() { String::from("none") } else { names.join(" ") }
}

fn list(suites: &[Suite]) -> String {
    suites.iter().map(|suite| suite.name()).collect::<Vec<_>>().join(" ")
}

fn reasons(skipped: &[CryptoError]) -> String {
    match skipped {
        [] => String::from(" and the peer has none"),
        [first, ..] => format!(", {} of the peer's lines skipped, first: {first}", skipped.len()),
    }
}
