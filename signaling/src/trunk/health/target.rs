//! The probe of one address of a trunk: when to send the next OPTIONS, and what its answers say.
//!
//! ```text
//!             due                answer
//!   Resting ───────► Asking ───────────────► Resting (interval; 10 s while failing)
//!                      └── 5 s, no transport ──┘
//! ```
//! It is down after three failures in a row and up after two successes; what was never heard is up
//! with its first success.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// One address.
#[derive(Clone, Debug)]
pub struct Target {
    address: SocketAddr,
    up: Option<bool>,
    failures: u32,
    successes: u32,
    rtt: Option<Duration>,
    code: Option<u16>,
    why: Why,
    phase: Phase,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// Nothing is on its way; the next probe leaves at this moment.
    Resting(Instant),
    /// A probe left at this moment.
    Asking(Instant),
}

/// Why the last probe failed.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
enum Why {
    #[default]
    Silence,
    Answer,
    Transport(Option<Fault>),
}

/// Why no connection could be had.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fault {
    /// The TLS handshake failed, not what is below it.
    pub is_tls: bool,
    /// What happened, and the remedy.
    pub text: String,
}

/// What became of a target by its last news.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Turn {
    Up,
    Down,
}

impl Target {
    /// A target whose first probe leaves at `first`.
    pub fn new(address: SocketAddr, first: Instant) -> Self {
        Self {
            address,
            up: None,
            failures: 0,
            successes: 0,
            rtt: None,
            code: None,
            why: Why::default(),
            phase: Phase::Resting(first),
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// When something is to be done: to send, or to give up waiting.
    pub fn due(&self) -> Instant {
        match self.phase {
            Phase::Resting(at) => at,
            Phase::Asking(since) => since + GIVE_UP,
        }
    }

    /// Whether a probe is to be sent now.
    pub fn is_due(&self, now: Instant) -> bool {
        matches!(self.phase, Phase::Resting(at) if at <= now)
    }

    /// A probe has left.
    pub fn asked(&mut self, now: Instant) {
        self.phase = Phase::Asking(now);
    }

    /// The probe's final answer. `is_good`: its status says that the peer serves.
    pub fn answered(
        &mut self,
        now: Instant,
        code: u16,
        is_good: bool,
        interval: Duration,
    ) -> Option<Turn> {
        let Phase::Asking(since) = self.phase else { return None };
        self.rtt = Some(now.saturating_duration_since(since));
        self.code = Some(code);
        if is_good {
            let turn = self.succeeded();
            self.rest(since, interval);
            turn
        } else {
            self.failed(now, Why::Answer, interval)
        }
    }

    /// Nothing could be sent, or what was sent got lost with its connection.
    pub fn broke(
        &mut self,
        now: Instant,
        fault: Option<Fault>,
        interval: Duration,
    ) -> Option<Turn> {
        match self.phase {
            Phase::Asking(_) => self.failed(now, Why::Transport(fault), interval),
            Phase::Resting(_) => None,
        }
    }

    /// Gives up waiting when it is time to.
    pub fn tend(&mut self, now: Instant, interval: Duration) -> Option<Turn> {
        match self.phase {
            Phase::Asking(since) if now >= since + GIVE_UP => {
                self.rtt = None;
                self.code = None;
                self.failed(now, Why::Silence, interval)
            }
            _ => None,
        }
    }

    /// The peer did something that proves that it is there.
    pub fn proved(&mut self) -> Option<Turn> {
        self.failures = 0;
        self.successes = UP_AFTER;
        self.settle(true)
    }

    /// Something makes its health doubtful: the next probe leaves now.
    pub fn doubt(&mut self, now: Instant) {
        if let Phase::Resting(at) = self.phase {
            self.phase = Phase::Resting(at.min(now));
        }
    }

    /// Calls say that it is gone: it has to prove itself anew.
    pub fn suspect(&mut self, now: Instant) {
        self.failures = self.failures.max(DOWN_AFTER);
        self.successes = 0;
        self.up = Some(false);
        self.doubt(now);
    }

    /// Nothing is known of it any more.
    pub fn forget(&mut self) {
        (self.up, self.failures, self.successes) = (None, 0, 0);
    }

    /// The probe could not be sent, by no fault of the peer.
    pub fn skip(&mut self, now: Instant, interval: Duration) {
        self.rest(now, interval);
    }

    /// Whether it was heard, or found silent.
    pub fn is_known(&self) -> bool {
        self.up.is_some()
    }

    pub fn is_down(&self) -> bool {
        self.up == Some(false)
    }

    /// Up, but its last answer came late.
    pub fn is_lagging(&self) -> bool {
        self.up == Some(true) && self.rtt.is_some_and(|rtt| rtt > LAGGED_AFTER)
    }

    /// How long the last answer took; `None` when there was none.
    pub fn rtt(&self) -> Option<Duration> {
        self.rtt
    }

    /// Status of the last answer.
    pub fn code(&self) -> Option<u16> {
        self.code
    }

    /// What TLS says against it.
    pub fn tls_fault(&self) -> Option<&str> {
        match &self.why {
            Why::Transport(Some(fault)) if fault.is_tls && self.failures > 0 => Some(&fault.text),
            _ => None,
        }
    }

    /// Why it is down.
    pub fn why_down(&self) -> Cow<'static, str> {
        match &self.why {
            Why::Silence => format!("{} does not answer OPTIONS", self.address).into(),
            Why::Answer => {
                let code = self.code.unwrap_or_default();
                format!("{} answers OPTIONS with {code}", self.address).into()
            }
            Why::Transport(Some(fault)) => fault.text.clone().into(),
            Why::Transport(None) => format!("{} cannot be reached", self.address).into(),
        }
    }

    fn succeeded(&mut self) -> Option<Turn> {
        self.failures = 0;
        self.successes = self.successes.saturating_add(1);
        let is_enough = self.up != Some(false) || self.successes >= UP_AFTER;
        if is_enough { self.settle(true) } else { None }
    }

    fn failed(&mut self, now: Instant, why: Why, interval: Duration) -> Option<Turn> {
        self.why = why;
        self.successes = 0;
        self.failures = self.failures.saturating_add(1);
        let is_enough = self.failures >= DOWN_AFTER;
        let turn = if is_enough { self.settle(false) } else { None };
        self.rest(now, interval);
        turn
    }

    fn settle(&mut self, up: bool) -> Option<Turn> {
        let turned = self.up != Some(up);
        self.up = Some(up);
        turned.then_some(if up { Turn::Up } else { Turn::Down })
    }

    /// Failing, it is asked more often; on the way back up as well.
    fn rest(&mut self, since: Instant, interval: Duration) {
        let is_well = self.failures == 0 && self.up == Some(true);
        let pause = if is_well { interval } else { interval.min(FAILING_INTERVAL) };
        self.phase = Phase::Resting(since + pause);
    }
}

/// Answers that take longer make the trunk LAGGED.
pub const LAGGED_AFTER: Duration = Duration::from_secs(2);
/// A probe without an answer for so long has failed.
pub const GIVE_UP: Duration = Duration::from_secs(5);
/// Time between probes while they fail.
pub const FAILING_INTERVAL: Duration = Duration::from_secs(10);
/// Failures in a row until a target is down.
pub const DOWN_AFTER: u32 = 3;
/// Successes in a row until it is up again.
pub const UP_AFTER: u32 = 2;
