//! How a trunk stands, in one of thirteen words, and why. Pure: facts in, verdict out.

use std::borrow::Cow;

use jiff::Timestamp;
use serde::Serialize;

use super::health::Target;
use super::registration;
use super::{Trunk, TrunkId};

/// The thirteen words.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Debug)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Status {
    /// Registered if it has to be, and the probe is answered in time.
    Ok,
    /// The probe is answered, but late.
    Lagged,
    /// Some of the trunk's addresses do not answer.
    Degraded,
    /// None of them does, or the registrar does not.
    Unreachable,
    /// The first registration is under way.
    Registering,
    /// The registrar does not accept the password.
    AuthFailed,
    /// The registrar refuses the account.
    Rejected,
    /// No connection, because of a certificate or of TLS itself.
    TlsError,
    /// The host name has no address.
    DnsError,
    /// All its calls are up.
    AtCapacity,
    /// It takes no new calls and waits for its last one.
    Draining,
    /// Switched off.
    Disabled,
    /// Nobody looks.
    Unmonitored,
}

impl Status {
    /// All of them, in the order of the specification.
    pub const ALL: [Self; 13] = [
        Self::Ok,
        Self::Lagged,
        Self::Degraded,
        Self::Unreachable,
        Self::Registering,
        Self::AuthFailed,
        Self::Rejected,
        Self::TlsError,
        Self::DnsError,
        Self::AtCapacity,
        Self::Draining,
        Self::Disabled,
        Self::Unmonitored,
    ];

    /// As lists, logs and metrics write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::Lagged => "LAGGED",
            Self::Degraded => "DEGRADED",
            Self::Unreachable => "UNREACHABLE",
            Self::Registering => "REGISTERING",
            Self::AuthFailed => "AUTH_FAILED",
            Self::Rejected => "REJECTED",
            Self::TlsError => "TLS_ERROR",
            Self::DnsError => "DNS_ERROR",
            Self::AtCapacity => "AT_CAPACITY",
            Self::Draining => "DRAINING",
            Self::Disabled => "DISABLED",
            Self::Unmonitored => "UNMONITORED",
        }
    }

    /// Whether a call to the trunk has a chance: a group's next member is asked otherwise. A trunk
    /// that was full when it was looked at may have a place again: admission knows exactly.
    pub fn is_usable(self) -> bool {
        match self {
            Self::Ok | Self::Lagged | Self::Degraded | Self::Unmonitored | Self::AtCapacity => true,
            Self::Unreachable
            | Self::Registering
            | Self::AuthFailed
            | Self::Rejected
            | Self::TlsError
            | Self::DnsError
            | Self::Draining
            | Self::Disabled => false,
        }
    }
}

/// A status with its reason.
#[derive(Clone, PartialEq, Eq, Serialize, Debug)]
pub struct Verdict {
    pub status: Status,
    /// For people; empty when all is well.
    pub reason: Cow<'static, str>,
    /// The last SIP status that the probe or the registration got.
    pub code: Option<u16>,
}

/// A verdict and since when it holds.
#[derive(Clone, PartialEq, Eq, Serialize, Debug)]
pub struct Standing {
    #[serde(flatten)]
    pub verdict: Verdict,
    /// When the status, not its reason, became this.
    pub since: Timestamp,
}

/// A trunk's status became another one.
#[derive(Clone, PartialEq, Eq, Serialize, Debug)]
pub struct StatusNews {
    pub trunk: TrunkId,
    pub name: String,
    /// `None` for a trunk that is new.
    pub was: Option<Status>,
    #[serde(flatten)]
    pub standing: Standing,
}

/// What a verdict is made of.
pub(super) struct Facts<'a> {
    pub(super) trunk: &'a Trunk,
    pub(super) draining: bool,
    pub(super) registration: Option<&'a registration::Status>,
    /// One for each address; empty when the name has none.
    pub(super) targets: &'a [Target],
    /// INVITEs in a row that nobody answered.
    pub(super) unanswered: u32,
    /// Calls that it has now.
    pub(super) used: u32,
}

/// The first of these that is true: what the operator said, what stands in the way from far to near,
/// what limits, what is well.
pub(super) fn judge(facts: &Facts<'_>) -> Verdict {
    let Facts { trunk, draining, used, .. } = facts;
    let code = last_code(facts);
    let verdict = |status, reason: Cow<'static, str>| Verdict { status, reason, code };
    if !trunk.enabled {
        return verdict(Status::Disabled, "switched off".into());
    }
    if *draining {
        let reason = format!("takes no new calls; {used} are left");
        return verdict(Status::Draining, reason.into());
    }
    if facts.targets.is_empty() {
        let reason = format!("{} has no address; check the name and the DNS", trunk.next_hop().0);
        return verdict(Status::DnsError, reason.into());
    }
    if let Some((status, reason)) = way_barred(facts).or_else(|| registration_bars(facts)) {
        return verdict(status, reason);
    }
    if let Some(max) = trunk.max_concurrent_calls.filter(|max| used >= max) {
        let reason = format!("all of max_concurrent_calls = {max} are up");
        return verdict(Status::AtCapacity, reason.into());
    }
    let (status, reason) = how_well(facts);
    verdict(status, reason)
}

fn last_code(facts: &Facts<'_>) -> Option<u16> {
    let probed = facts.targets.iter().find_map(|target| target.code());
    let registered = facts.registration.and_then(|registration| registration.code);
    match facts.registration.map(|registration| registration.standing) {
        // What the registrar said is the reason.
        Some(standing) if !matches!(standing, registration::Standing::Registered(_)) => {
            registered.or(probed)
        }
        _ => probed.or(registered),
    }
}

/// No address of the trunk answers.
fn way_barred(facts: &Facts<'_>) -> Option<(Status, Cow<'static, str>)> {
    if facts.unanswered >= UNANSWERED_MAX {
        let reason = format!("{} INVITEs in a row got no answer", facts.unanswered);
        return Some((Status::Unreachable, reason.into()));
    }
    if facts.targets.iter().all(Target::is_down) {
        let tls = facts.targets.iter().find_map(|target| target.tls_fault());
        if let Some(fault) = tls {
            return Some((Status::TlsError, fault.to_owned().into()));
        }
        let why = facts.targets.iter().map(Target::why_down).next().unwrap_or_default();
        return Some((Status::Unreachable, why));
    }
    None
}

fn registration_bars(facts: &Facts<'_>) -> Option<(Status, Cow<'static, str>)> {
    let registration = facts.registration?;
    let status = match registration.standing {
        registration::Standing::Registered(_) => return None,
        registration::Standing::Registering => Status::Registering,
        registration::Standing::AuthFailed => Status::AuthFailed,
        registration::Standing::Rejected => Status::Rejected,
        registration::Standing::Unreachable => {
            match facts.targets.iter().find_map(Target::tls_fault) {
                Some(fault) => return Some((Status::TlsError, fault.to_owned().into())),
                None => Status::Unreachable,
            }
        }
    };
    Some((status, registration.reason.clone().into()))
}

fn how_well(facts: &Facts<'_>) -> (Status, Cow<'static, str>) {
    if facts.trunk.send_keep_alive.is_none() {
        return (Status::Unmonitored, "send_keep_alive is off".into());
    }
    let down = facts.targets.iter().filter(|target| target.is_down()).count();
    if down > 0 {
        let all = facts.targets.len();
        return (Status::Degraded, format!("{down} of {all} addresses do not answer").into());
    }
    let slow = facts.targets.iter().find(|target| target.is_lagging());
    if let Some(slow) = slow {
        let millis = slow.rtt().unwrap_or_default().as_millis();
        return (Status::Lagged, format!("the probe's answer took {millis} ms").into());
    }
    match facts.targets.iter().any(Target::is_known) {
        true => (Status::Ok, "".into()),
        false => (Status::Unmonitored, "not probed yet".into()),
    }
}

/// INVITEs in a row without an answer after which a trunk counts as unreachable at once.
pub const UNANSWERED_MAX: u32 = 3;
