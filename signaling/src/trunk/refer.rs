//! What becomes of a REFER of a trunk's peer (RFC 3515): the trunk's `refer`.

/// A transfer makes a call that somebody pays for, so none is done unless it was asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ReferPolicy {
    /// 603.
    #[default]
    Reject,
    /// The other side of the call is asked, and does it or not.
    Pass,
    /// We do it: the other side of the call is called on in the name of the trunk.
    Local,
}
