//! Calls: two dialogs and a policy.
//!
//! ```text
//!            lease              both flows open   2xx                        ACK
//!  INVITE ──► Leasing ──────────► Inviting ──► Connecting ──► Answering ──► Talking
//!               │ refused           │ failure      (flows armed)  │ no ACK       │ BYE, silence
//!               ▼                   ▼ CANCEL, ring limit          ▼              ▼
//!             Ending ◄────────── Cancelling ◄──────────────────── … ─────────► Ending ─► one CDR
//! ```
//! A call that comes of a transfer begins without an INVITE, and passes `Joining` (`joining.rs`).
//! A state is a struct that owns exactly what is valid in it and is consumed to make the next. What
//! every state needs (trunks, flows, the CDR) is in [`Common`]. States act on the world through a
//! [`Desk`]: the endpoint, the data plane, the tables. There is no socket here and no clock.

pub mod announcing;
mod answering;
mod asker;
mod bypass;
mod challenge;
mod changing;
mod common;
mod connecting;
mod desk;
pub mod dtmf;
mod early;
mod ending;
mod fax;
mod greeting;
pub mod headers;
mod hunt;
mod hunting;
mod identity;
mod inviting;
mod joining;
mod leasing;
pub mod letter;
mod negotiate;
mod newcomer;
pub mod plan;
mod proving;
mod referring;
mod renegotiate;
mod table;
mod talking;
pub mod timers;
pub mod urgent;
mod ways;

use std::net::SocketAddr;

use abi::FlowId;
use sip::endpoint::{Cause, ClientId, DialogId, Hop, ServerId};
use sip::wire::{Request, Response, StatusCode};

pub use common::{Common, Party};
pub use desk::{Desk, Settings};
pub use table::{Calls, Index, VOICES_MAX};

use crate::media::Token;

use announcing::Announcing;
use answering::Answering;
use common::Leg;
use connecting::Connecting;
use ending::{Cancelling, Ending};
use greeting::Greeting;
use inviting::Inviting;
use joining::Joining;
use leasing::Leasing;
use newcomer::Newcomer;
use talking::Talking;

/// Where a call is.
pub enum State {
    /// The data plane is asked for ports.
    Leasing(Box<Leasing>),
    /// The caller's trunk greets it.
    Greeting(Box<Greeting>),
    /// The callee is asked; it may ring.
    Inviting(Box<Inviting>),
    /// The callee answered; the data plane is being told.
    Connecting(Box<Connecting>),
    /// The caller has its answer and has not acknowledged yet.
    Answering(Box<Answering>),
    /// The attempt came to nothing; a voice tells the caller why.
    Announcing(Box<Announcing>),
    /// Sides of other calls come over.
    Joining(Box<Joining>),
    /// Both dialogs are confirmed.
    Talking(Box<Talking>),
    /// The caller has its final answer; the callee's INVITE is being cancelled.
    Cancelling(Cancelling),
    /// BYEs are out and flows are being closed.
    Ending(Ending),
    /// Nothing is left: the CDR is written.
    Over,
}

/// What happens to a call.
pub enum Happening {
    /// A flow holds its ports.
    Opened { flow: FlowId, rtp: SocketAddr, rtcp: SocketAddr },
    /// A flow does what `Common::connect` with this serial said.
    Connected { flow: FlowId, serial: u64 },
    /// The data plane refused a command.
    Refused { reason: abi::Reason },
    /// A flow is gone; its final counts.
    Closed { flow: FlowId, packets: u64, bytes: u64 },
    /// A flow had no media for the call's timeout.
    Silent { flow: FlowId },
    /// What else the data plane tells of a flow: digits, prompts, where media comes from.
    Told(abi::Notice),
    /// The callee's leg answered a request of ours.
    Response { client: ClientId, dialog: Option<DialogId>, hop: Hop, response: Response },
    /// A request of ours got no answer.
    Failed { client: ClientId, cause: Cause },
    /// The caller gave up before a final answer.
    Cancelled,
    /// Somebody is to take the place of a side (RFC 3891).
    Newcomer(Box<Newcomer>),
    /// Another call, of this name, wants a side of this one: it goes on there.
    Wanted { by: Token, id: String, party: Party },
    /// The side that was wanted of that call.
    Guest { from: Token, leg: Box<Leg> },
    /// That call cannot give its side now.
    Unavailable { from: Token },
    /// This call comes of the transfer that a side asked for.
    Begun { call: Token },
    /// How far it is, or how it ended.
    Progress { status: StatusCode },
    /// A 2xx of ours was acknowledged.
    Ack { party: Party, request: Request },
    /// A 2xx of ours was never acknowledged.
    AckMissing,
    /// A reliable provisional response of ours was never acknowledged: the caller was refused.
    PrackMissing,
    /// A request inside one of the call's dialogs.
    Request { party: Party, transaction: ServerId, request: Request },
    /// The deadline that the state set has come.
    Deadline,
    /// The gateway ends all calls, or lost the data plane.
    Stop { reason: &'static str },
}

impl State {
    /// In one word.
    pub fn name(&self) -> &'static str {
        match self {
            State::Leasing(_) => "leasing",
            State::Greeting(_) => "greeting",
            State::Inviting(_) => "inviting",
            State::Connecting(_) => "connecting",
            State::Answering(_) => "answering",
            State::Announcing(_) => "announcing",
            State::Joining(_) => "joining",
            State::Talking(_) => "talking",
            State::Cancelling(_) => "cancelling",
            State::Ending(_) => "ending",
            State::Over => "over",
        }
    }

    /// Consumes the state and what happened; makes the next state.
    fn on(self, common: &mut Common, desk: &mut Desk<'_>, happening: Happening) -> State {
        let happening = match happening {
            // Of ports that were changed for others.
            Happening::Closed { flow, .. } if !common.owns(flow) => return self,
            Happening::Closed { flow, packets, bytes } if !common.is_released() => {
                common.closed(flow, packets, bytes);
                Happening::Stop { reason: "the data plane lost a flow of the call" }
            }
            Happening::Told(notice) => {
                common.told(&notice);
                Happening::Told(notice)
            }
            Happening::Newcomer(newcomer)
                if !matches!(self, State::Talking(_) | State::Inviting(_)) =>
            {
                self.turn_away(*newcomer, common, desk);
                return self;
            }
            Happening::Wanted { by, .. } if !matches!(self, State::Talking(_)) => {
                desk.tell_call(by, Happening::Unavailable { from: common.token });
                return self;
            }
            Happening::Guest { leg, .. } if !matches!(self, State::Joining(_)) => {
                if let Some(dialog) = leg.dialog {
                    desk.own_dialog(common, dialog, Party::Caller);
                    let _nobody_waits = desk.bye(common, dialog);
                }
                return self;
            }
            happening => happening,
        };
        match self {
            State::Leasing(state) => state.on(common, desk, happening),
            State::Greeting(state) => state.on(common, desk, happening),
            State::Inviting(state) => state.on(common, desk, happening),
            State::Connecting(state) => state.on(common, desk, happening),
            State::Answering(state) => state.on(common, desk, happening),
            State::Announcing(state) => state.on(common, desk, happening),
            State::Joining(state) => state.on(common, desk, happening),
            State::Talking(state) => state.on(common, desk, happening),
            State::Cancelling(state) => state.on(common, desk, happening),
            State::Ending(state) => state.on(common, desk, happening),
            State::Over => State::Over,
        }
    }

    /// A call that is over for one side keeps the place of the other while that waits.
    fn keeps_places(&self) -> bool {
        matches!(self, State::Talking(talking) if talking.has_leaver())
    }

    /// Only a call whose sides talk, or that rings, has places to take.
    fn turn_away(&self, newcomer: Newcomer, common: &Common, desk: &mut Desk<'_>) {
        match self {
            // RFC 3891 §3
            State::Cancelling(_) | State::Ending(_) | State::Over => {
                let reason = "the call that it names has ended";
                newcomer.refuse(common, desk, StatusCode::DECLINE, Vec::new(), reason);
            }
            _ if common.leg(newcomer.party).dialog.is_none() => {
                let reason = "the call that it names rings no more, and is not answered yet";
                let status = StatusCode::NOT_ACCEPTABLE_HERE;
                newcomer.refuse(common, desk, status, Vec::new(), reason);
            }
            _ => newcomer.put_off(common, desk, "the call that it names is being set up"),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
