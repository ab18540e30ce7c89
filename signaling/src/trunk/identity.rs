//! Who calls: which identity a trunk is told, in which headers, and which identity it is believed.

/// How a trunk's calls say and hear who calls.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct IdentityRules {
    /// Headers that tell the trunk who calls, besides From.
    pub send_rpid: SendRpid,
    /// The trunk keeps to itself who wants to stay unknown: it is told all the same, with
    /// `Privacy: id` (RFC 3325 §7).
    pub trust_identity: bool,
    /// What the trunk asserts in P-Asserted-Identity, Remote-Party-ID and diversions is believed.
    pub trust_inbound_identity: bool,
    /// Which number the trunk is told.
    pub caller_id_policy: CallerIdPolicy,
    /// Telephone numbers in URIs toward the trunk carry `user=phone` (RFC 3261 §19.1.1).
    pub user_phone: bool,
    /// How the trunk is told of diversions.
    pub diversion: DiversionStyle,
}

/// The trunk's `send_rpid`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum SendRpid {
    /// From alone.
    No,
    /// Remote-Party-ID, for systems before RFC 3325.
    Rpid,
    /// P-Asserted-Identity (RFC 3325 §9.1).
    #[default]
    Pai,
    /// Both.
    Both,
}

impl SendRpid {
    pub fn sends_rpid(self) -> bool {
        matches!(self, Self::Rpid | Self::Both)
    }

    pub fn sends_pai(self) -> bool {
        matches!(self, Self::Pai | Self::Both)
    }
}

/// The trunk's `caller_id_policy`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum CallerIdPolicy {
    /// The caller's own number; the trunk's first one for a caller without.
    #[default]
    Pass,
    /// The trunk's first number, whoever calls.
    Trunk,
    /// The caller's number if it is one of the trunk's; else the call is refused.
    DenyForeign,
}

/// The trunk's `diversion`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum DiversionStyle {
    /// Not at all.
    #[default]
    None,
    /// Diversion (RFC 5806).
    Diversion,
    /// History-Info (RFC 7044).
    HistoryInfo,
}
