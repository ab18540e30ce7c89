//! How the digits of a trunk's calls come and go (`dtmf_mode`, `send_media`).

/// Both directions of a trunk.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct DigitRules {
    /// `dtmf_mode`: how digits are negotiated, and how they come from the trunk.
    pub mode: DtmfMode,
    /// `send_media`: how they are sent to it; `None` as they come (`SAME`).
    pub send: Option<DtmfMode>,
}

/// A way for digits.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum DtmfMode {
    /// Telephone events in RTP (RFC 4733).
    #[default]
    Rfc2833,
    /// INFO with application/dtmf-relay.
    Info,
    /// INFO with application/dtmf.
    ShortInfo,
    /// Tones in G.711.
    Inband,
    /// Telephone events where the peer has them, else tones.
    Auto,
}

impl DtmfMode {
    /// Whether telephone events are negotiated.
    pub fn has_events(self) -> bool {
        matches!(self, Self::Rfc2833 | Self::Auto)
    }

    /// Whether digits come and go by INFO.
    pub fn is_info(self) -> bool {
        matches!(self, Self::Info | Self::ShortInfo)
    }
}

impl DigitRules {
    /// How digits are sent to the trunk.
    pub fn sends(&self) -> DtmfMode {
        self.send.unwrap_or(self.mode)
    }

    /// Telephone events both ways.
    pub fn are_events(&self) -> bool {
        self.mode == DtmfMode::Rfc2833 && self.sends() == DtmfMode::Rfc2833
    }
}
