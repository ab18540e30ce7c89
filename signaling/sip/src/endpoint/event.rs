//! What goes into an endpoint and what comes out.

use std::time::Instant;

use bytes::Bytes;

use super::Hop;
use crate::wire::{Message, Request, Response};

/// A server transaction: a request to answer. Never reused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ServerId(pub(super) u64);

impl ServerId {
    /// No transaction: nobody hears what it is answered.
    pub const NONE: Self = Self(0);
}

/// A client transaction: a request that we sent. Never reused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ClientId(pub(super) u64);

/// A dialog, early or confirmed. Never reused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct DialogId(pub(super) u64);

/// What the outside reports.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "handed over once, by value; a box would cost more")]
pub enum Input {
    /// A message came from `hop`.
    Message { hop: Hop, message: Message },
    /// Sending to `hop` failed, or its connection died. It concerns the transactions on that
    /// connection, and those to that remote and tag that have no connection of their own.
    Failed { hop: Hop },
    /// The moment that `Output::Timeout` named has come.
    Timer,
}

/// What the outside must do.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "taken once, by value; a box would cost more")]
pub enum Output {
    Transmit {
        hop: Hop,
        bytes: Bytes,
    },
    Event(Event),
    /// Nothing more now; hand in `Input::Timer` at this moment at the latest.
    Timeout(Instant),
    /// Nothing more now and no timer runs.
    Idle,
}

/// What happened. Every `Request` and `InDialog` must be answered by `respond` or dropped by
/// `drop_server`: no timer of RFC 3261 does it.
#[derive(Clone, Debug)]
pub enum Event {
    /// A new request outside of any dialog. 100 Trying to an INVITE is sent after 200 ms.
    Request { transaction: ServerId, hop: Hop, request: Request },
    /// A new request in a dialog, its CSeq in order: BYE, re-INVITE, INFO, UPDATE, ...
    InDialog { transaction: ServerId, dialog: DialogId, hop: Hop, request: Request },
    /// The INVITE was cancelled; the CANCEL is answered, the INVITE wants its 487.
    Cancelled { transaction: ServerId },
    /// The ACK for our 2xx, once.
    Ack { dialog: DialogId, request: Request },
    /// No PRACK for our reliable provisional response within 64*T1: the INVITE was refused with 504
    /// and its dialog is gone (RFC 3262 §3). What was held back behind it was never sent.
    PrackMissing { transaction: ServerId },
    /// No ACK for our 2xx within 64*T1: end the dialog by BYE (RFC 3261 §13.3.1.4).
    AckMissing { dialog: DialogId },
    /// A response: provisional except 100, each fork's 2xx once, or the final one. `dialog` is the
    /// one that it made or belongs to.
    Response { transaction: ClientId, dialog: Option<DialogId>, hop: Hop, response: Response },
    /// No final response will come. Early dialogs of the request are gone.
    Failed { transaction: ClientId, cause: Cause },
}

/// Why a request failed without a response.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cause {
    /// Timer B or F, or 64*T1 after an unanswered CANCEL (RFC 3261 §9.1).
    Timeout,
    /// `Input::Failed`.
    Transport,
}
