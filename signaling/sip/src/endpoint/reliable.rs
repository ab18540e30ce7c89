//! Reliable provisional responses as a server (RFC 3262 §3).
//!
//! ```text
//!   respond_reliably ──► sent, repeated at T1, 2*T1, ... ── PRACK ──► answered ──► what was held back
//!         │ one is unacknowledged                          │ 64*T1
//!         └──► held back, so is a 2xx                      └──► 504, PrackMissing
//! ```
//! One response at a time: the RFC asks it of the first one, and a peer that gets the others one by
//! one never has to sort them. A refusal never waits.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::schedule::{Alarm, Owner};
use super::server::Facts;
use super::{DialogId, Endpoint, Event, Misuse, ServerId};
use crate::wire::{HeaderName, Method, Request, StatusCode};

/// What one INVITE has of reliable provisional responses.
#[derive(Default)]
pub(super) struct Reliable {
    /// Number of the last one; 0 before the first.
    rseq: u32,
    /// The one without PRACK, and its interval of repetition.
    unacked: Option<(Bytes, Duration)>,
    /// What waits for that PRACK, in order.
    held: VecDeque<Held>,
}

/// An answer that is held back.
pub(super) struct Held {
    status: StatusCode,
    headers: Vec<(HeaderName, Bytes)>,
    body: Option<(String, Bytes)>,
}

impl Reliable {
    /// Whether a 2xx has to wait, so that the offer and answer before it are known to have arrived.
    pub(super) fn holds(&self) -> bool {
        self.unacked.is_some() || !self.held.is_empty()
    }

    /// A 2xx waits already: the user has answered.
    pub(super) fn has_answer(&self) -> bool {
        self.held.iter().any(|held| held.status.is_success())
    }

    /// Keeps an answer until its turn. A provisional one too many is dropped: it may get lost on its
    /// way as well.
    pub(super) fn hold(
        &mut self,
        status: StatusCode,
        headers: Vec<(HeaderName, Bytes)>,
        body: Option<(&str, Bytes)>,
    ) {
        if self.held.len() < HELD_MAX || status.is_success() {
            let body = body.map(|(kind, body)| (kind.to_owned(), body));
            self.held.push_back(Held { status, headers, body });
        }
    }
}

impl Endpoint {
    /// Answers an INVITE provisionally so that the peer must acknowledge it: repeated until its
    /// PRACK, which is told as `InDialog` and wants its answer. A peer that did not say `100rel` in
    /// Supported or Require must not get it. While one is unacknowledged, later ones and a 2xx of
    /// `respond` are held back; their dialog is told at once.
    ///
    /// # Errors
    /// Those of `respond`; `NotInvite` for another request or another status than 101 to 199.
    pub fn respond_reliably(
        &mut self,
        now: Instant,
        transaction: ServerId,
        status: StatusCode,
        mut headers: Vec<(HeaderName, Bytes)>,
        body: Option<(&str, Bytes)>,
    ) -> Result<Option<DialogId>, Misuse> {
        let server = self.servers.get_mut(&transaction).ok_or(Misuse::UnknownTransaction)?;
        let request = server.request.as_ref().ok_or(Misuse::AlreadyAnswered)?;
        let fits = status.is_provisional() && status != StatusCode::TRYING;
        if request.method != Method::Invite || !fits {
            return Err(Misuse::NotInvite);
        }
        let reliable = server.reliable.get_or_insert_default();
        if reliable.has_answer() {
            return Err(Misuse::AlreadyAnswered);
        }
        if reliable.holds() {
            reliable.hold(status, headers, body);
            return Ok(server.dialog);
        }
        let first = u32::from(self.mint.below(u8::MAX)) + 1;
        reliable.rseq = if reliable.rseq == 0 { first } else { reliable.rseq + 1 };
        headers.push((HeaderName::Require, Bytes::from_static(b"100rel")));
        headers.push((HeaderName::RSeq, Bytes::from(reliable.rseq.to_string())));
        let dialog = self.answer(now, transaction, status, headers, body)?;
        let timers = self.config.timers;
        let Some(server) = self.servers.get_mut(&transaction) else { return Ok(dialog) };
        if let Some(reliable) = &mut server.reliable {
            reliable.unacked = Some((server.last.clone(), timers.t1));
        }
        let owner = Owner::Server(transaction.0);
        self.schedule.arm(&mut server.armed, owner, Alarm::RepeatReliable, now + timers.t1);
        let limit = now + timers.give_up();
        self.schedule.arm(&mut server.armed, owner, Alarm::PrackMissing, limit);
        Ok(dialog)
    }

    /// Repeats a reliable provisional response, or gives its INVITE up.
    pub(super) fn reliable_alarm(&mut self, now: Instant, id: ServerId, alarm: Alarm) {
        let Some(server) = self.servers.get_mut(&id) else { return };
        let Some(reliable) = &mut server.reliable else { return };
        let Some((bytes, interval)) = &mut reliable.unacked else { return };
        if alarm == Alarm::RepeatReliable {
            // Doubles without the T2 cap (RFC 3262 §3).
            *interval = interval.saturating_mul(2);
            let (bytes, after) = (bytes.clone(), *interval);
            let owner = Owner::Server(id.0);
            self.schedule.arm(&mut server.armed, owner, alarm, now + after);
            let reply = server.reply;
            return self.transmit(reply, bytes);
        }
        // Refused like any other request; only a lost race could have answered it already.
        let refused = self.respond(now, id, StatusCode::SERVER_TIMEOUT, Vec::new(), None);
        if refused.is_ok() {
            self.emit(Event::PrackMissing { transaction: id });
        }
    }

    /// A PRACK of the peer: stops what it acknowledges. False when it acknowledges nothing, which is
    /// answered with 481 (RFC 3262 §3).
    pub(super) fn acknowledged_reliably(
        &mut self,
        dialog: DialogId,
        facts: &Facts,
        request: &Request,
    ) -> bool {
        let Ok(Some((rseq, cseq))) = request.headers.rack() else { return false };
        if cseq.method != Method::Invite || facts.cseq.method != Method::Prack {
            return false;
        }
        let Some(id) = self.dialogs.get(dialog).and_then(|entry| entry.their_invite()) else {
            return false;
        };
        let Some(server) = self.servers.get_mut(&id) else { return false };
        let invite = server.request.as_ref().and_then(|invite| invite.headers.cseq().ok());
        let Some(reliable) = &mut server.reliable else { return false };
        let matches = reliable.rseq == rseq && invite == Some(cseq);
        if !matches || reliable.unacked.take().is_none() {
            return false;
        }
        self.schedule.disarm(&mut server.armed, Alarm::RepeatReliable);
        self.schedule.disarm(&mut server.armed, Alarm::PrackMissing);
        true
    }

    /// The PRACK in a dialog was answered: what waited for it goes.
    pub(super) fn release_held(&mut self, now: Instant, dialog: DialogId) {
        let Some(id) = self.dialogs.get(dialog).and_then(|entry| entry.their_invite()) else {
            return;
        };
        let server = self.servers.get_mut(&id);
        let Some(reliable) = server.and_then(|server| server.reliable.as_mut()) else { return };
        if reliable.unacked.is_some() {
            return;
        }
        let Some(Held { status, headers, body }) = reliable.held.pop_front() else { return };
        let body = body.as_ref().map(|(kind, body)| (kind.as_str(), body.clone()));
        let sent = if status.is_success() {
            self.answer(now, id, status, headers, body)
        } else {
            let later = std::mem::take(&mut reliable.held);
            let sent = self.respond_reliably(now, id, status, headers, body);
            let server = self.servers.get_mut(&id);
            if let Some(reliable) = server.and_then(|server| server.reliable.as_mut()) {
                reliable.held = later;
            }
            sent
        };
        // The transaction was found a moment ago, and is unanswered.
        debug_assert!(sent.is_ok(), "{sent:?}");
    }
}

/// Provisional responses of one INVITE that wait for a PRACK. A gateway passes on what phones of one
/// callee say; more than this is noise.
const HELD_MAX: usize = 8;
