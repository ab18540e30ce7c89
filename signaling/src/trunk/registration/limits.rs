//! Every time and count of a registration: name, value, reason.

use std::time::Duration;

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
pub const FLOW_LOST_DELAY: Duration = Duration::from_secs(1);
/// A connection that lived so long is no flapping one (RFC 5626 §4.5).
pub const FLOW_PROVEN: Duration = Duration::from_secs(120);
/// Service-Route entries that are kept.
pub const SERVICE_ROUTES_MAX: usize = 8;
