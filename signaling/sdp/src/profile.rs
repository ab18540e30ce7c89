/// The transport of a media line, as far as it matters to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// `RTP/AVP` or `RTP/AVPF`.
    Plain,
    /// `RTP/SAVP` or `RTP/SAVPF`: keys in `a=crypto`.
    Secure,
    /// Anything else, DTLS-SRTP included.
    Other,
}

impl Profile {
    pub fn of(proto: &str) -> Self {
        let is_one_of =
            |names: [&str; 2]| names.iter().any(|name| name.eq_ignore_ascii_case(proto));
        if is_one_of([AVP, "RTP/AVPF"]) {
            Self::Plain
        } else if is_one_of([SAVP, "RTP/SAVPF"]) {
            Self::Secure
        } else {
            Self::Other
        }
    }
}

pub const AVP: &str = "RTP/AVP";
pub const SAVP: &str = "RTP/SAVP";
