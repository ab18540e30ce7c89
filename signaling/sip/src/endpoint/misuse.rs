//! Calls that the endpoint refuses. Each changes nothing.

use crate::wire::ParseError;

/// Why a call was refused: a mistake of the caller, or a limit.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Misuse {
    #[error("the transaction is over or never was; take its id from a recent event")]
    UnknownTransaction,
    #[error("the dialog was closed or never was; take its id from a recent event")]
    UnknownDialog,
    #[error("the request already has a final response; answer and cancel a request only before it")]
    AlreadyAnswered,
    #[error("the request has no final failure yet; reissue it after 401, 407, 422 or the like")]
    NotAnswered,
    #[error("only an INVITE can be cancelled")]
    NotInvite,
    #[error("ACK and CANCEL are no requests of their own; use `ack` and `cancel`")]
    NotARequest,
    #[error("an INVITE of this dialog is in progress; wait for its end (RFC 3261 §14.1)")]
    InvitePending,
    #[error("no 2xx of this dialog waits for an ACK")]
    NothingToAcknowledge,
    #[error("{what} are at the limit of {limit}; wait, or raise {what}_max")]
    Full { what: &'static str, limit: usize },
    #[error("the request cannot be sent: {0}")]
    Malformed(#[from] ParseError),
}
