//! The two SIP peers on either side of the gateway. Everything they read or write is SIP by `rsip`
//! and SDP by the few lines in [`sdp`]; nothing here is shared with the gateway.

mod dialog;
mod framing;
mod link;
mod message;
mod normalise;
pub(crate) mod pbx;
pub(crate) mod provider;
mod recent;
pub(crate) mod sdp;
mod ua;

pub(crate) use dialog::{Dialog, Numbers, Offered, Placed, place};
pub(crate) use ua::{CallError, Received, Ua};

#[cfg(test)]
mod tests;
