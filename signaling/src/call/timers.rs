//! Session timers (RFC 4028): a peer that is gone without a word is noticed, because somebody
//! refreshes the dialog while it lives.
//!
//! ```text
//!   interval ├──────────── 1/2 ───────────┤ whoever refreshes does it here
//!            ├───────────────────── 1 - 1/3, at most 32 s ──┤ the other ends the call here
//! ```
//! Each leg has its own timer: what a peer asks is between it and us.

use std::time::{Duration, Instant};

use bytes::Bytes;
use sip::wire::{HeaderName, Headers};

use crate::trunk::timer::{INTERVAL_S_MAX, MIN_S, TimerPolicy, TimerRules};

/// What both sides of a dialog agreed to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Agreed {
    pub interval_s: u32,
    /// We refresh; else the peer does.
    pub is_ours: bool,
}

/// Why a request's interval is refused: 422 with this Min-SE (RFC 4028 §6).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TooSmall(pub u32);

/// Headers to add to a message.
pub type Extra = Vec<(HeaderName, Bytes)>;

/// What we agree to when a peer's INVITE or UPDATE asks, or does not (RFC 4028 §9). Nonsense asks for
/// nothing.
///
/// # Errors
/// [`TooSmall`] when the interval is shorter than the trunk's, and the peer can ask again.
pub fn answer(headers: &Headers, rules: &TimerRules) -> Result<Option<Agreed>, TooSmall> {
    if rules.policy == TimerPolicy::Refuse {
        return Ok(None);
    }
    let can = supports(headers);
    let asked = headers.session_expires().ok().flatten();
    if let Some((interval_s, params)) = asked {
        if interval_s < rules.min_s && can {
            return Err(TooSmall(rules.min_s));
        }
        let least = headers.min_se().ok().flatten().unwrap_or(MIN_S).max(rules.min_s);
        let interval_s = interval_s.min(rules.interval_s.max(least));
        let uas = params.get("refresher").is_some_and(|who| who.eq_ignore_ascii_case(b"uas"));
        return Ok(Some(Agreed { interval_s, is_ours: uas || !can }));
    }
    let required = rules.policy == TimerPolicy::Require;
    Ok(required.then_some(Agreed { interval_s: rules.interval_s, is_ours: !can }))
}

/// What the 2xx that agrees says.
pub fn answer_headers(agreed: Option<Agreed>) -> Extra {
    let Some(Agreed { interval_s, is_ours }) = agreed else { return Vec::new() };
    let who = if is_ours { "uas" } else { "uac" };
    let mut extra =
        vec![(HeaderName::SessionExpires, Bytes::from(format!("{interval_s};refresher={who}")))];
    if !is_ours {
        extra.push((HeaderName::Require, Bytes::from_static(b"timer")));
    }
    extra
}

/// What an INVITE of ours says (RFC 4028 §7.1).
pub fn offer_headers(rules: &TimerRules) -> Extra {
    let mut extra = Vec::new();
    if rules.policy != TimerPolicy::Refuse {
        extra.push((HeaderName::Supported, Bytes::from_static(b"timer")));
    }
    if rules.policy == TimerPolicy::Require {
        extra.push((HeaderName::SessionExpires, Bytes::from(rules.interval_s.to_string())));
        extra.push((HeaderName::MinSe, Bytes::from(rules.min_s.to_string())));
    }
    extra
}

/// What an INVITE of ours says after a 422 that names the least interval.
pub fn retry_headers(refusal: &Headers) -> Option<Extra> {
    let least = refusal.min_se().ok().flatten().filter(|least| *least <= INTERVAL_S_MAX)?;
    let least = Bytes::from(least.max(MIN_S).to_string());
    Some(vec![(HeaderName::SessionExpires, least.clone()), (HeaderName::MinSe, least)])
}

/// What a refresh of ours says: we go on refreshing.
pub fn refresh_headers(interval_s: u32) -> Extra {
    vec![
        (HeaderName::Supported, Bytes::from_static(b"timer")),
        (HeaderName::SessionExpires, Bytes::from(format!("{interval_s};refresher=uac"))),
    ]
}

/// What the peer's 2xx to an INVITE or UPDATE of ours agreed to (RFC 4028 §7.2). A peer that knows no
/// timers leaves them to us where the trunk requires them.
pub fn accepted(headers: &Headers, rules: &TimerRules) -> Option<Agreed> {
    if rules.policy == TimerPolicy::Refuse {
        return None;
    }
    if let Some((interval_s, params)) = headers.session_expires().ok().flatten() {
        let uas = params.get("refresher").is_some_and(|who| who.eq_ignore_ascii_case(b"uas"));
        return Some(Agreed { interval_s: interval_s.max(MIN_S), is_ours: !uas });
    }
    let required = rules.policy == TimerPolicy::Require;
    required.then_some(Agreed { interval_s: rules.interval_s, is_ours: true })
}

fn supports(headers: &Headers) -> bool {
    [HeaderName::Supported, HeaderName::Require].iter().any(|name| headers.has_token(name, "timer"))
}

/// The running timer of one dialog.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Running {
    agreed: Agreed,
    /// When the dialog is over unless it is refreshed.
    ends: Instant,
    /// When we refresh next, if it is ours to do.
    refresh: Option<Instant>,
}

/// What is to be done about a dialog now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Due {
    Refresh,
    Expired,
}

impl Running {
    /// Starts with the 2xx that agreed, and again with each refresh.
    pub fn start(agreed: Agreed, now: Instant) -> Option<Self> {
        let interval = Duration::from_secs(agreed.interval_s.into());
        let margin = (interval / 3).min(MARGIN);
        let ends = now.checked_add(interval.checked_sub(margin)?)?;
        let refresh = now.checked_add(interval / 2).filter(|_| agreed.is_ours);
        Some(Self { agreed, ends, refresh })
    }

    pub fn agreed(&self) -> Agreed {
        self.agreed
    }

    /// When there is something to do.
    pub fn next(&self) -> Instant {
        self.refresh.map_or(self.ends, |refresh| refresh.min(self.ends))
    }

    /// What is due; a refresh is due once, until [`Running::failed`] asks for another.
    pub fn due(&mut self, now: Instant) -> Option<Due> {
        if now >= self.ends {
            return Some(Due::Expired);
        }
        self.refresh.take_if(|refresh| now >= *refresh).map(|_| Due::Refresh)
    }

    /// A refresh of ours was refused in a way that may pass.
    pub fn failed(&mut self, now: Instant) {
        self.retry(now, RETRY);
    }

    /// A refresh of ours is to be tried again after `pause`.
    pub fn retry(&mut self, now: Instant, pause: Duration) {
        self.refresh = now.checked_add(pause);
    }
}

/// RFC 4028 §10
const MARGIN: Duration = Duration::from_secs(32);
/// Longer than the pause of both sides of a glare (RFC 3261 §14.1).
const RETRY: Duration = Duration::from_secs(5);
