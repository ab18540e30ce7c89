use std::fmt;

/// A codec that a trunk can allow or disallow. Any other codec can only pass a trunk whose list of
/// allowed codecs is empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Codec {
    Pcma,
    Pcmu,
    G722,
    G729,
    Opus,
    Amr,
    AmrWb,
    Ilbc,
    Gsm,
    /// Fax relay (`fax.rs`). It is no audio format: allowing it keeps nothing of an audio line.
    T38,
}

impl Codec {
    pub const ALL: [Self; 10] = [
        Self::Pcma,
        Self::Pcmu,
        Self::G722,
        Self::G729,
        Self::Opus,
        Self::Amr,
        Self::AmrWb,
        Self::Ilbc,
        Self::Gsm,
        Self::T38,
    ];

    /// The name in a trunk's `allow` and `disallow` lists.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Opus => "OPUS",
            Self::Ilbc => "ILBC",
            Self::T38 => "T38",
            other => other.encoding(),
        }
    }

    /// The codec of that list name, in any case of letters.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|codec| codec.name().eq_ignore_ascii_case(name))
    }

    /// The codec that `a=rtpmap` calls by this encoding name, in any case of letters.
    pub fn of_encoding(encoding: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .filter(|&codec| codec != Self::T38)
            .find(|codec| codec.encoding().eq_ignore_ascii_case(encoding))
    }

    /// The registered encoding name, spelled as its registration spells it.
    pub const fn encoding(self) -> &'static str {
        match self {
            Self::Pcma => "PCMA",
            Self::Pcmu => "PCMU",
            Self::G722 => "G722",
            Self::G729 => "G729",
            Self::Opus => "opus",
            Self::Amr => "AMR",
            Self::AmrWb => "AMR-WB",
            Self::Ilbc => "iLBC",
            Self::Gsm => "GSM",
            Self::T38 => "t38",
        }
    }
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
