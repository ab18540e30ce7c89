//! Calls: two dialogs and a policy.
//!
//! ```text
//!            lease              both flows open   2xx                        ACK
//!  INVITE ──► Leasing ──────────► Inviting ──► Connecting ──► Answering ──► Talking
//!               │ refused           │ failure      (flows armed)  │ no ACK       │ BYE, silence
//!               ▼                   ▼ CANCEL, ring limit          ▼              ▼
//!             Ending ◄────────── Cancelling ◄──────────────────── … ─────────► Ending ─► one CDR
//! ```
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
mod leasing;
mod negotiate;
pub mod plan;
mod proving;
mod renegotiate;
mod table;
mod talking;
pub mod timers;
pub mod urgent;
mod ways;

use std::net::SocketAddr;

use abi::FlowId;
use sip::endpoint::{Cause, ClientId, DialogId, Hop, ServerId};
use sip::wire::{Request, Response};

pub use common::{Common, Party};
pub use desk::{Desk, Settings};
pub use table::{Calls, Index, VOICES_MAX};

use announcing::Announcing;
use answering::Answering;
use connecting::Connecting;
use ending::{Cancelling, Ending};
use greeting::Greeting;
use inviting::Inviting;
use leasing::Leasing;
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
            happening => happening,
        };
        match self {
            State::Leasing(state) => state.on(common, desk, happening),
            State::Greeting(state) => state.on(common, desk, happening),
            State::Inviting(state) => state.on(common, desk, happening),
            State::Connecting(state) => state.on(common, desk, happening),
            State::Answering(state) => state.on(common, desk, happening),
            State::Announcing(state) => state.on(common, desk, happening),
            State::Talking(state) => state.on(common, desk, happening),
            State::Cancelling(state) => state.on(common, desk, happening),
            State::Ending(state) => state.on(common, desk, happening),
            State::Over => State::Over,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
