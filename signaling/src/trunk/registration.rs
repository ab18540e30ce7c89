//! A SIP Account trunk's registration: when to send which REGISTER (RFC 3261 §10.2). Pure: time,
//! randomness and answers come in, requests go out.
//!
//! ```text
//!               due                   200
//!   Waiting ───────────► Asking ───────────────► Waiting (80 % of what was granted)
//!      ▲                  │  ▲ 401, 407: answered, three tries
//!      │                  └──┘ 423: the registrar's minimum; 439: without RFC 5626
//!      ├── 403, 404, 405, wrong password ◄──┤  half an hour
//!      └── anything else ◄──────────────────┘  next address at once, then 30 s doubling to 30 min
//! ```
//! There is never more than one REGISTER on its way, and it never stops trying.

mod account;
pub mod limits;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use sip::digest::client;
use sip::wire::{HeaderName, Request, Response};

use super::{Trunk, TrunkId};

use account::{Account, Round};
pub use limits::*;

/// Fills a buffer with random bytes.
pub type Entropy<'e> = &'e mut dyn FnMut(&mut [u8]);

/// The registration of one trunk.
#[derive(Debug)]
pub struct Registration {
    account: Account,
    state: State,
    /// CSeq of the last REGISTER, re-issues included.
    cseq: u32,
    /// Expires that is asked for.
    expires: u32,
    /// Whether RFC 5626 is asked for.
    outbound: bool,
    /// Our Contact in the last REGISTER, without user and token.
    contact: String,
    /// Which address is asked: the one that worked, until it does not.
    target: Option<SocketAddr>,
    /// Addresses that failed in this round.
    tried: Vec<SocketAddr>,
    /// The longest Retry-After of this round.
    wait: Duration,
    /// The last back-off; zero after a success.
    back_off: Duration,
    /// The connection that carries the registration.
    flow: Option<Flow>,
    /// Connections in a row that were lost when young.
    flaps: u32,
    /// The registrar may still hold a binding of ours.
    bound: bool,
    service_route: Vec<Bytes>,
    status: Status,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// Nothing is on its way; the next REGISTER leaves at this moment.
    Waiting(Instant),
    /// A REGISTER is on its way; what it has met.
    Asking(Met),
    /// The binding is being removed; what this has met.
    Leaving(Met),
    /// The trunk is given up; nothing leaves any more.
    Over,
}

/// Answers that one REGISTER has met.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
struct Met {
    /// Answered with the password.
    answered: u8,
    /// Said that only the nonce was stale.
    stale: u8,
    /// The registrar's minimum has been taken over.
    raised: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Flow {
    connection: u64,
    since: Instant,
}

/// How the registration stands, for operators.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Status {
    /// In one word.
    pub standing: Standing,
    /// Why, when it is not registered.
    pub reason: String,
    /// The registrar's last final status.
    pub code: Option<u16>,
    /// Since when.
    pub since: Instant,
}

/// The registration in one word.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing {
    /// Not yet, and no reason to worry.
    Registering,
    /// Until this moment, unless renewed.
    Registered(Instant),
    /// The password is wrong, or no challenge can be answered.
    AuthFailed,
    /// The registrar refuses the account.
    Rejected,
    /// The registrar does not answer, or cannot serve.
    Unreachable,
}

/// A REGISTER to send.
#[derive(Clone, Debug)]
pub struct Register {
    /// For `Endpoint::request`.
    pub request: Request,
    /// Which of the trunk's addresses it goes to.
    pub remote: SocketAddr,
}

/// What a registration needs of its trunk's surroundings when a REGISTER leaves.
pub struct Way<'a> {
    /// The trunk's addresses, best first.
    pub targets: &'a [SocketAddr],
    /// Our Contact URI toward one of them, without user and token.
    pub contact: &'a dyn Fn(SocketAddr) -> String,
    /// The Route to the outbound proxy, if there is one.
    pub route: Option<&'a str>,
}

impl Registration {
    /// The registration of a trunk that registers; `None` for others. The first REGISTER leaves at
    /// a random moment within `spread`, so that a restart is no storm.
    pub fn new(
        trunk: &Trunk,
        now: Instant,
        spread: Duration,
        entropy: Entropy<'_>,
    ) -> Option<Self> {
        let account = Account::new(trunk, entropy)?;
        let start = now + spread.mul_f64(fraction(entropy));
        Some(Self {
            account,
            state: State::Waiting(start),
            cseq: 0,
            expires: EXPIRES_ASKED,
            outbound: trunk.transport.is_reliable(),
            contact: String::new(),
            target: None,
            tried: Vec::new(),
            wait: Duration::ZERO,
            back_off: Duration::ZERO,
            flow: None,
            flaps: 0,
            bound: false,
            service_route: Vec::new(),
            status: Status {
                standing: Standing::Registering,
                reason: String::from("the first REGISTER is about to leave"),
                code: None,
                since: now,
            },
        })
    }

    /// Draws the Call-ID of all its REGISTERs anew until it fits; to be called before the first.
    pub fn choose_call_id(&mut self, entropy: Entropy<'_>, fits: &dyn Fn(&[u8]) -> bool) {
        self.account.choose_call_id(entropy, fits);
    }

    /// Whose registration this is.
    pub fn trunk(&self) -> TrunkId {
        self.account.trunk
    }

    /// The trunk's name when it began.
    pub fn name(&self) -> &str {
        &self.account.name
    }

    /// How it stands.
    pub fn status(&self) -> &Status {
        &self.status
    }

    /// The registrar's Service-Route: what requests of this trunk carry as Route (RFC 3608 §6.1).
    pub fn service_route(&self) -> &[Bytes] {
        &self.service_route
    }

    /// When [`Registration::poll`] will have something to send.
    pub fn due(&self) -> Option<Instant> {
        match self.state {
            State::Waiting(at) => Some(at),
            State::Asking(_) | State::Leaving(_) | State::Over => None,
        }
    }

    /// The address that is asked, or was last.
    pub fn target(&self) -> Option<SocketAddr> {
        self.target
    }

    /// Whether nothing will happen any more.
    pub fn is_over(&self) -> bool {
        self.state == State::Over
    }

    /// The REGISTER that is due, if one is. Without an address the registrar counts as silent.
    pub fn poll(&mut self, now: Instant, way: &Way<'_>, entropy: Entropy<'_>) -> Option<Register> {
        if self.due().is_none_or(|at| at > now) {
            return None;
        }
        self.state = State::Asking(Met::default());
        let target = self.choose(way.targets);
        let sent = target.and_then(|remote| self.request(remote, way, self.expires));
        if sent.is_none() {
            self.status.code = None;
            self.unreachable(now, "the host has no address", None, &[], entropy);
        }
        sent
    }

    /// Takes a final answer that came on `connection`. `Some` means that the request is to be
    /// issued again with these headers.
    pub fn answered(
        &mut self,
        now: Instant,
        response: &Response,
        connection: u64,
        targets: &[SocketAddr],
        entropy: Entropy<'_>,
    ) -> Option<Vec<(HeaderName, Bytes)>> {
        if response.status.is_provisional() {
            return None;
        }
        let code = response.status.code();
        let met = match self.state {
            State::Asking(met) => met,
            State::Leaving(met) if code == 401 || code == 407 => {
                return self.challenged_leaving(met, response, entropy);
            }
            State::Leaving(_) => {
                self.state = State::Over;
                return None;
            }
            State::Waiting(_) | State::Over => return None,
        };
        self.status.code = Some(code);
        match code {
            200..=299 => self.granted(now, response, connection, entropy),
            401 | 407 => return self.challenged(now, met, response, entropy),
            423 => match response.headers.min_expires() {
                Ok(Some(least)) if !met.raised && least > self.expires && least <= EXPIRES_MAX => {
                    self.state = State::Asking(Met { raised: true, ..met });
                    self.expires = least;
                    self.cseq += 1;
                    return Some(vec![(HeaderName::Expires, least.to_string().into())]);
                }
                _ => self.refused(now, "423 without a usable Min-Expires", Standing::Rejected),
            },
            439 if self.outbound => {
                self.outbound = false;
                self.cseq += 1;
                return self.account.without_outbound(&self.contact);
            }
            403..=405 => {
                let reason = format!("the registrar refuses the account with {code}");
                self.refused(now, &reason, Standing::Rejected);
            }
            _ => {
                let wait = response.headers.retry_after().ok().flatten();
                let wait = wait.map(|seconds| Duration::from_secs(seconds.into()));
                let reason = format!("the registrar answers {code}");
                self.unreachable(now, &reason, wait, targets, entropy);
            }
        }
        None
    }

    /// The REGISTER got no answer: timeout, transport or TLS.
    pub fn failed(&mut self, now: Instant, targets: &[SocketAddr], entropy: Entropy<'_>) {
        match self.state {
            State::Asking(_) => {
                self.status.code = None;
                self.unreachable(now, "the registrar does not answer", None, targets, entropy);
            }
            State::Leaving(_) => self.state = State::Over,
            State::Waiting(_) | State::Over => {}
        }
    }

    /// A connection is gone. When it was the one that the registration came by (TCP, TLS), a new
    /// one is made within [`FLOW_LOST_DELAY`], for the registrar can reach us no other way; one that
    /// is lost again and again is made more and more rarely (RFC 5626 §4.5).
    pub fn flow_lost(&mut self, now: Instant, connection: u64, entropy: Entropy<'_>) {
        let Some(flow) = self.flow.take_if(|flow| flow.connection == connection) else { return };
        let (State::Waiting(at), Standing::Registered(_)) = (self.state, self.status.standing)
        else {
            return;
        };
        let proven = now.saturating_duration_since(flow.since) >= FLOW_PROVEN;
        self.flaps = if proven { 0 } else { self.flaps.saturating_add(1) };
        let pause = match self.flaps {
            0 | 1 => FLOW_LOST_DELAY.mul_f64(fraction(entropy)),
            again => {
                let doubled = BACK_OFF_MIN.saturating_mul(1 << (again - 2).min(10));
                doubled.min(BACK_OFF_MAX).mul_f64(0.5 + 0.5 * fraction(entropy))
            }
        };
        self.state = State::Waiting(at.min(now + pause));
    }

    /// The trunk was edited in what the registrar does not see: a registration that waits after a
    /// failure tries at once.
    pub fn retry(&mut self, now: Instant) {
        let registered = matches!(self.status.standing, Standing::Registered(_));
        if matches!(self.state, State::Waiting(_)) && !registered {
            self.back_off = Duration::ZERO;
            self.state = State::Waiting(now);
        }
    }

    /// Whether the trunk still has the same account.
    pub fn is_of(&self, trunk: &Trunk) -> bool {
        let fresh = Account::new(trunk, &mut |bytes| bytes.fill(0));
        fresh.is_some_and(|account| account.is_same(&self.account))
    }

    /// Gives the registration up. The REGISTER that removes it, when there is something to remove.
    pub fn stop(&mut self, way: &Way<'_>) -> Option<Register> {
        self.state = State::Over;
        self.service_route.clear();
        if !std::mem::take(&mut self.bound) {
            return None;
        }
        let remote = self.target?;
        self.state = State::Leaving(Met::default());
        self.request(remote, way, 0)
    }

    fn granted(
        &mut self,
        now: Instant,
        response: &Response,
        connection: u64,
        entropy: Entropy<'_>,
    ) {
        self.account.accepted(response);
        let granted = self.account.granted(response).unwrap_or(self.expires).min(EXPIRES_MAX);
        let lifetime = Duration::from_secs(granted.into());
        // 80 %, give or take a tenth of it, but not in the last seconds.
        let jitter = 0.9 + 0.2 * fraction(entropy);
        let latest = lifetime.saturating_sub(REFRESH_BEFORE).max(lifetime / 2);
        let refresh = lifetime.mul_f64(REFRESH_AT * jitter).min(latest);
        self.state = State::Waiting(now + refresh.max(REFRESH_MIN));
        (self.back_off, self.wait) = (Duration::ZERO, Duration::ZERO);
        self.tried.clear();
        self.bound = true;
        if self.flow.is_none_or(|flow| flow.connection != connection) {
            self.flow = Some(Flow { connection, since: now });
        }
        let routes = response.headers.name_addrs(&HeaderName::ServiceRoute).unwrap_or_default();
        let routes = routes.iter().take(SERVICE_ROUTES_MAX);
        self.service_route = routes.map(|route| route.to_bytes()).collect();
        self.stand(now, Standing::Registered(now + lifetime), String::new());
    }

    fn challenged(
        &mut self,
        now: Instant,
        mut met: Met,
        response: &Response,
        entropy: Entropy<'_>,
    ) -> Option<Vec<(HeaderName, Bytes)>> {
        let stale = met.answered > 0 && client::is_stale(&response.headers);
        match stale {
            true => met.stale += 1,
            false => met.answered += 1,
        }
        if met.answered > PASSWORD_TRIES || met.stale > STALE_TRIES {
            let reason = "the registrar does not accept username and password";
            self.refused(now, reason, Standing::AuthFailed);
            return None;
        }
        let Some(answer) = self.account.answer(response, entropy) else {
            let reason = "the registrar's challenge uses no known digest algorithm";
            self.refused(now, reason, Standing::AuthFailed);
            return None;
        };
        self.state = State::Asking(met);
        self.cseq += 1;
        Some(vec![answer])
    }

    /// One answer for the farewell: the registrar forgets us by itself in time.
    fn challenged_leaving(
        &mut self,
        met: Met,
        response: &Response,
        entropy: Entropy<'_>,
    ) -> Option<Vec<(HeaderName, Bytes)>> {
        self.state = State::Over;
        let answer = self.account.answer(response, entropy).filter(|_| met.answered == 0)?;
        self.state = State::Leaving(Met { answered: 1, ..met });
        self.cseq += 1;
        Some(vec![answer])
    }

    /// Nothing that trying again soon would change.
    fn refused(&mut self, now: Instant, reason: &str, standing: Standing) {
        self.state = State::Waiting(now + REFUSED_PAUSE);
        self.back_off = Duration::ZERO;
        self.bound = false;
        self.account.forget_challenge();
        self.end_round();
        self.service_route.clear();
        self.stand(now, standing, reason.to_owned());
    }

    /// The next address at once; after the last one a pause that doubles. Retry-After prolongs it.
    fn unreachable(
        &mut self,
        now: Instant,
        reason: &str,
        wait: Option<Duration>,
        targets: &[SocketAddr],
        entropy: Entropy<'_>,
    ) {
        self.tried.extend(self.target.take());
        self.wait = self.wait.max(wait.unwrap_or_default().min(RETRY_AFTER_MAX));
        let pause = if targets.iter().any(|target| !self.tried.contains(target)) {
            Duration::ZERO
        } else {
            self.back_off = (self.back_off * 2).clamp(BACK_OFF_MIN, BACK_OFF_MAX);
            let spread = self.back_off.mul_f64(0.5 + 0.5 * fraction(entropy));
            let pause = spread.max(self.wait);
            self.end_round();
            pause
        };
        self.state = State::Waiting(now + pause);
        self.stand(now, Standing::Unreachable, reason.to_owned());
    }

    fn end_round(&mut self) {
        (self.target, self.wait) = (None, Duration::ZERO);
        self.tried.clear();
    }

    /// The address that worked, while the trunk still has it; else the best that was not tried.
    fn choose(&mut self, targets: &[SocketAddr]) -> Option<SocketAddr> {
        let current = self.target.filter(|target| targets.contains(target));
        let untried = || targets.iter().find(|target| !self.tried.contains(target)).copied();
        self.target = current.or_else(untried).or_else(|| targets.first().copied());
        self.target
    }

    fn stand(&mut self, now: Instant, standing: Standing, reason: String) {
        let same =
            std::mem::discriminant(&standing) == std::mem::discriminant(&self.status.standing);
        if !same {
            self.status.since = now;
        }
        self.status.standing = standing;
        self.status.reason = reason;
    }

    fn request(&mut self, remote: SocketAddr, way: &Way<'_>, expires: u32) -> Option<Register> {
        self.cseq += 1;
        self.contact = (way.contact)(remote);
        let round = Round { cseq: self.cseq, expires, outbound: self.outbound };
        let request = self.account.request(&round, way.route, &self.contact)?;
        Some(Register { request, remote })
    }
}

impl Status {
    /// Whether calls may be routed to the trunk.
    pub fn is_registered(&self, now: Instant) -> bool {
        matches!(self.standing, Standing::Registered(until) if until > now)
    }
}

/// A number in 0..=1.
pub(super) fn fraction(entropy: Entropy<'_>) -> f64 {
    let mut bytes = [0; 4];
    entropy(&mut bytes);
    f64::from(u32::from_ne_bytes(bytes)) / f64::from(u32::MAX)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;
