//! What a caller's trunk is allowed, before any route is looked at.

use crate::trunk::{Direction, IncomingCallPolicy, Trunk};

/// Why a trunk's call is not even routed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entry {
    /// SIP status.
    pub code: u16,
    /// For the CDR.
    pub reason: &'static str,
}

/// Whether calls of this trunk to this number are routed at all; the number as the trunk wrote it
/// and as we read it.
///
/// # Errors
/// The refusal.
pub fn admit(trunk: &Trunk, written: &str, read: &str) -> Result<(), Entry> {
    if trunk.direction == Direction::Outbound {
        return Err(Entry { code: 403, reason: "the trunk's direction is outbound" });
    }
    match trunk.incoming_call_policy {
        IncomingCallPolicy::Allow | IncomingCallPolicy::Challenge => Ok(()),
        IncomingCallPolicy::KnownNumbers
            if trunk.owns_number(written) || trunk.owns_number(read) =>
        {
            Ok(())
        }
        IncomingCallPolicy::KnownNumbers => {
            Err(Entry { code: 404, reason: "the called number is not the trunk's" })
        }
        IncomingCallPolicy::Reject => {
            Err(Entry { code: 403, reason: "incoming_call_policy is reject" })
        }
    }
}
