//! A SIP Account trunk's registration: when to send which REGISTER (RFC 3261 §10.2). Pure: time,
//! randomness and answers come in, requests go out.
//!
//! ```text
//!               due                   200
//!   Waiting ───────────► Asking ───────────────► Waiting (80 % of what was granted)
//!      ▲                  │  ▲ 401, 407: answered, three tries
//!      │                  └──┘ 423: the registrar's minimum
//!      ├── 403, 404, 405, wrong password ◄──┤  half an hour
//!      └── anything else ◄──────────────────┘  next target at once, then 30 s doubling to 30 min
//! ```
//! There is never more than one REGISTER on its way, and it never stops trying.

use std::time::{Duration, Instant};

use bytes::Bytes;
use sip::digest::{Credentials, client};
use sip::wire::{HeaderName, Method, Request, Response, Uri};

use super::attribution::TOKEN_PARAMETER;
use super::{Trunk, TrunkId};

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
    /// Which of the trunk's addresses is asked.
    target: usize,
    /// The last back-off; zero after a success.
    back_off: Duration,
    /// The registrar may still hold a binding of ours.
    bound: bool,
    status: Status,
}

#[derive(Debug)]
struct Account {
    trunk: TrunkId,
    /// Request-URI: the registrar's domain.
    registrar: String,
    /// To and From.
    address: String,
    route: Option<String>,
    call_id: String,
    credentials: Credentials,
    token: String,
    contact_user: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// Nothing is on its way; the next REGISTER leaves at this moment.
    Waiting(Instant),
    /// A REGISTER is on its way; challenges that it has met.
    Asking(Challenges),
    /// The binding is being removed; challenges that this has met.
    Leaving(Challenges),
    /// The trunk is given up; nothing leaves any more.
    Over,
}

#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
struct Challenges {
    /// Answered with the password.
    answered: u8,
    /// Said that only the nonce was stale.
    stale: u8,
    /// The registrar's minimum has been taken over.
    raised: bool,
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
pub struct Ask {
    /// For `Endpoint::request`.
    pub request: Request,
    /// Which of the trunk's targets it goes to.
    pub target: usize,
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
        let token = trunk.registration_token.as_ref().filter(|_| trunk.register)?;
        let username = trunk.username.as_ref()?;
        let number = trunk.numbers.first().map(|number| number.to_string());
        let mut id = [0; 16];
        entropy(&mut id);
        let port = trunk.port.map(|port| format!(":{port}")).unwrap_or_default();
        let account = Account {
            trunk: trunk.id,
            registrar: format!("sip:{}{port}", trunk.host),
            address: format!("<sip:{username}@{}>", trunk.host),
            route: trunk.outbound_proxy.as_ref().map(|proxy| {
                let port = proxy.port.map(|port| format!(":{port}")).unwrap_or_default();
                format!("<sip:{}{port};lr>", proxy.host)
            }),
            call_id: hex(&id),
            credentials: trunk.credentials()?,
            token: token.expose().clone(),
            contact_user: number.unwrap_or_else(|| username.clone()),
        };
        let start = now + spread.mul_f64(fraction(entropy));
        Some(Self {
            account,
            state: State::Waiting(start),
            cseq: 0,
            expires: EXPIRES_ASKED,
            target: 0,
            back_off: Duration::ZERO,
            bound: false,
            status: Status {
                standing: Standing::Registering,
                reason: String::from("the first REGISTER is about to leave"),
                code: None,
                since: now,
            },
        })
    }

    /// Whose registration this is.
    pub fn trunk(&self) -> TrunkId {
        self.account.trunk
    }

    /// How it stands.
    pub fn status(&self) -> &Status {
        &self.status
    }

    /// When [`Registration::poll`] will have something to send.
    pub fn due(&self) -> Option<Instant> {
        match self.state {
            State::Waiting(at) => Some(at),
            State::Asking(_) | State::Leaving(_) | State::Over => None,
        }
    }

    /// The REGISTER that is due, if one is. `contact` is our Contact URI toward the trunk, without
    /// user and token.
    pub fn poll(&mut self, now: Instant, contact: &str) -> Option<Ask> {
        match self.state {
            State::Waiting(at) if at <= now => {
                self.state = State::Asking(Challenges::default());
                let request = self.request(contact, self.expires)?;
                Some(Ask { request, target: self.target })
            }
            _ => None,
        }
    }

    /// Takes a final answer. `Some` means that the request is to be issued again with these
    /// headers. `targets` is how many addresses the trunk has.
    pub fn answered(
        &mut self,
        now: Instant,
        response: &Response,
        targets: usize,
        entropy: Entropy<'_>,
    ) -> Option<Vec<(HeaderName, Bytes)>> {
        if response.status.is_provisional() {
            return None;
        }
        let code = response.status.code();
        let challenges = match self.state {
            State::Asking(challenges) => challenges,
            State::Leaving(challenges) if code == 401 || code == 407 => {
                return self.challenged_leaving(challenges, response, entropy);
            }
            State::Leaving(_) => {
                self.state = State::Over;
                return None;
            }
            State::Waiting(_) | State::Over => return None,
        };
        self.status.code = Some(code);
        match code {
            200..=299 => self.granted(now, response, entropy),
            401 | 407 => return self.challenged(now, challenges, response, entropy),
            423 => match response.headers.min_expires() {
                Ok(Some(least))
                    if !challenges.raised && least > self.expires && least <= EXPIRES_MAX =>
                {
                    self.state = State::Asking(Challenges { raised: true, ..challenges });
                    self.expires = least;
                    self.cseq += 1;
                    return Some(vec![(HeaderName::Expires, least.to_string().into())]);
                }
                _ => self.refused(now, "423 without a usable Min-Expires", Standing::Rejected),
            },
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

    /// The REGISTER got no answer: timeout, transport, DNS or TLS.
    pub fn failed(&mut self, now: Instant, targets: usize, entropy: Entropy<'_>) {
        if matches!(self.state, State::Asking(_)) {
            self.status.code = None;
            self.unreachable(now, "the registrar does not answer", None, targets, entropy);
        }
    }

    /// The connection that the registration came by is gone (TCP, TLS): registers again within
    /// [`FLOW_LOST_DELAY`] and a little, for the registrar can reach us no other way.
    pub fn flow_lost(&mut self, now: Instant, entropy: Entropy<'_>) {
        if let (State::Waiting(at), Standing::Registered(_)) = (self.state, self.status.standing) {
            let soon = now + FLOW_LOST_DELAY.mul_f64(fraction(entropy));
            self.state = State::Waiting(at.min(soon));
        }
    }

    /// Gives the registration up. The REGISTER that removes it, when there is something to remove.
    pub fn stop(&mut self, contact: &str) -> Option<Ask> {
        self.state = State::Over;
        if !std::mem::take(&mut self.bound) {
            return None;
        }
        self.state = State::Leaving(Challenges::default());
        Some(Ask { request: self.request(contact, 0)?, target: self.target })
    }

    fn granted(&mut self, now: Instant, response: &Response, entropy: Entropy<'_>) {
        let granted = self.granted_seconds(response);
        let lifetime = Duration::from_secs(granted.into());
        // 80 %, give or take a tenth of it, but not in the last seconds.
        let jitter = 0.9 + 0.2 * fraction(entropy);
        let latest = lifetime.saturating_sub(REFRESH_BEFORE).max(lifetime / 2);
        let refresh = lifetime.mul_f64(REFRESH_AT * jitter).min(latest);
        self.state = State::Waiting(now + refresh.max(REFRESH_MIN));
        self.back_off = Duration::ZERO;
        self.bound = true;
        self.stand(now, Standing::Registered(now + lifetime), String::new());
    }

    /// What the registrar granted our Contact, which it may list among others.
    fn granted_seconds(&self, response: &Response) -> u32 {
        let contacts = response.headers.contacts().unwrap_or_default();
        let ours = contacts.iter().find(|contact| {
            let parameters = contact.uri.as_sip().map(|uri| &uri.params);
            let token = parameters.and_then(|parameters| parameters.get(TOKEN_PARAMETER));
            token.is_some_and(|token| token.as_ref() == self.account.token.as_bytes())
        });
        let only = contacts.first().filter(|_| contacts.len() == 1);
        let value = ours.or(only).and_then(|contact| contact.params.get("expires"));
        let value = value.and_then(|value| std::str::from_utf8(value).ok()?.parse().ok());
        let header = || response.headers.expires().ok().flatten();
        value.or_else(header).unwrap_or(self.expires).min(EXPIRES_MAX)
    }

    fn challenged(
        &mut self,
        now: Instant,
        mut met: Challenges,
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
        met: Challenges,
        response: &Response,
        entropy: Entropy<'_>,
    ) -> Option<Vec<(HeaderName, Bytes)>> {
        self.state = State::Over;
        let answer = self.account.answer(response, entropy).filter(|_| met.answered == 0)?;
        self.state = State::Leaving(Challenges { answered: 1, ..met });
        self.cseq += 1;
        Some(vec![answer])
    }

    /// Nothing that trying again soon would change.
    fn refused(&mut self, now: Instant, reason: &str, standing: Standing) {
        self.state = State::Waiting(now + REFUSED_PAUSE);
        self.back_off = Duration::ZERO;
        self.stand(now, standing, reason.to_owned());
    }

    /// The next address at once; after the last one a pause that doubles. Retry-After prolongs it.
    fn unreachable(
        &mut self,
        now: Instant,
        reason: &str,
        wait: Option<Duration>,
        targets: usize,
        entropy: Entropy<'_>,
    ) {
        let next = self.target + 1;
        let pause = if next < targets && wait.is_none() {
            self.target = next;
            Duration::ZERO
        } else {
            self.target = 0;
            self.back_off = (self.back_off * 2).clamp(BACK_OFF_MIN, BACK_OFF_MAX);
            let spread = self.back_off.mul_f64(0.5 + 0.5 * fraction(entropy));
            spread.max(wait.unwrap_or_default().min(RETRY_AFTER_MAX))
        };
        self.state = State::Waiting(now + pause);
        self.stand(now, Standing::Unreachable, reason.to_owned());
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

    fn request(&mut self, contact: &str, expires: u32) -> Option<Request> {
        let account = &self.account;
        self.cseq += 1;
        let uri = Uri::parse(account.registrar.as_bytes()).ok()?;
        let mut request = Request::new(Method::Register, uri);
        let (scheme, rest) = contact.split_once(':')?;
        let contact = format!(
            "<{scheme}:{}@{rest};{TOKEN_PARAMETER}={}>",
            account.contact_user, account.token
        );
        let headers = &mut request.headers;
        if let Some(route) = &account.route {
            headers.push(HeaderName::Route, route.clone());
        }
        headers.push(HeaderName::From, account.address.clone());
        headers.push(HeaderName::To, account.address.clone());
        headers.push(HeaderName::CallId, account.call_id.clone());
        headers.push(HeaderName::CSeq, format!("{} REGISTER", self.cseq));
        headers.push(HeaderName::Contact, contact);
        headers.push(HeaderName::Expires, expires.to_string());
        Some(request)
    }
}

impl Account {
    fn answer(&self, response: &Response, entropy: Entropy<'_>) -> Option<(HeaderName, Bytes)> {
        let mut random = [0; 16];
        entropy(&mut random);
        client::answer(
            &response.headers,
            &self.credentials,
            &Method::Register,
            &self.registrar,
            &[],
            &hex(&random),
            1,
            &|_| true,
        )
    }
}

impl Status {
    /// Whether calls may be routed to the trunk.
    pub fn is_registered(&self, now: Instant) -> bool {
        matches!(self.standing, Standing::Registered(until) if until > now)
    }
}

/// A number in 0..1.
pub(super) fn fraction(entropy: Entropy<'_>) -> f64 {
    let mut bytes = [0; 4];
    entropy(&mut bytes);
    f64::from(u32::from_ne_bytes(bytes)) / f64::from(u32::MAX)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Seconds asked for at first.
pub const EXPIRES_ASKED: u32 = 3_600;
/// Longest registration that is believed or asked for: a day.
pub const EXPIRES_MAX: u32 = 86_400;
/// First REGISTERs after a start are spread over this at most.
pub const START_SPREAD: Duration = Duration::from_secs(60);
/// What each trunk adds to the spread: a few are registered at once.
pub const START_SPREAD_EACH: Duration = Duration::from_millis(500);
/// Part of the granted time after which it is renewed.
pub const REFRESH_AT: f64 = 0.8;
/// Renewed at the latest so long before the end.
pub const REFRESH_BEFORE: Duration = Duration::from_secs(15);
/// Renewed at the earliest after this, whatever was granted.
pub const REFRESH_MIN: Duration = Duration::from_secs(5);
/// How often the password is tried before it counts as wrong.
pub const PASSWORD_TRIES: u8 = 3;
/// How often a nonce may be called stale within one registration.
pub const STALE_TRIES: u8 = 3;
/// Pause after a refusal that time does not cure.
pub const REFUSED_PAUSE: Duration = Duration::from_secs(1_800);
/// First pause after a failure.
pub const BACK_OFF_MIN: Duration = Duration::from_secs(30);
/// Longest pause after failures.
pub const BACK_OFF_MAX: Duration = Duration::from_secs(1_800);
/// Longest Retry-After that is honoured.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(3_600);
/// A lost connection is replaced within this.
pub const FLOW_LOST_DELAY: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests;
