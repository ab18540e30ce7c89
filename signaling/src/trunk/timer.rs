//! Session timers of a trunk's calls (RFC 4028).

/// What is asked of the trunk's peer, and what is granted to it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TimerRules {
    pub policy: TimerPolicy,
    /// `session_expires`: what we ask for, and the longest that we grant, in seconds.
    pub interval_s: u32,
    /// `session_min_se`: the shortest that we grant, in seconds.
    pub min_s: u32,
}

/// The trunk's `session_timer`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum TimerPolicy {
    /// A timer runs where the peer asks for one.
    #[default]
    Accept,
    /// A timer runs in each call; a peer that knows none is refreshed by us.
    Require,
    /// No timer runs.
    Refuse,
}

impl Default for TimerRules {
    fn default() -> Self {
        Self { policy: TimerPolicy::Accept, interval_s: INTERVAL_S, min_s: MIN_S }
    }
}

/// RFC 4028 §4 recommends half an hour.
pub const INTERVAL_S: u32 = 1_800;
/// RFC 4028 §4: no shorter one may be asked for.
pub const MIN_S: u32 = 90;
/// A day; nobody asks for longer.
pub const INTERVAL_S_MAX: u32 = 86_400;
