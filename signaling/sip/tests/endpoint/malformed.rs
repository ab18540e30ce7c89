//! Messages that parse but make no sense, in every state: nothing panics, nothing grows, and when
//! all is over nothing is left.

use std::time::Duration;

use bytes::Bytes;
use sip::endpoint::{ClientId, Config, Event, Input};
use sip::wire::{HeaderName, Method, StatusCode, parse};

use crate::solo::*;

/// An endpoint in the middle of everything, with a user who answers whatever comes.
struct Busy {
    solo: Solo,
    accepted: u64,
}

impl Busy {
    fn new() -> Self {
        let solo = Solo::with(Config { transactions_max: 64, dialogs_max: 32, ..config(3) });
        Busy { solo, accepted: 0 }
    }

    fn feed(&mut self, bytes: Vec<u8>) {
        let Ok(message) = parse(Bytes::from(bytes)) else { return };
        self.accepted += 1;
        let hop = if self.accepted.is_multiple_of(2) { udp() } else { tcp() };
        self.solo.endpoint.handle_input(self.solo.now, Input::Message { hop, message });
        self.react();
        let counts = self.solo.endpoint.counts();
        assert!(counts.transactions <= 64 + 8 + 64 && counts.dialogs <= 32, "{counts:?}");
    }

    fn react(&mut self) {
        let now = self.solo.now;
        for event in self.solo.events() {
            let endpoint = &mut self.solo.endpoint;
            match event {
                Event::Request { transaction, .. } | Event::InDialog { transaction, .. } => {
                    let progress = StatusCode::SESSION_PROGRESS;
                    let _ = endpoint.respond_reliably(now, transaction, progress, vec![], None);
                    for status in [StatusCode::RINGING, StatusCode::OK] {
                        let _ = endpoint.respond(now, transaction, status, vec![], None);
                    }
                }
                Event::Ack { dialog, .. } | Event::AckMissing { dialog } => {
                    let _ = endpoint.request_in_dialog(now, dialog, Method::Bye, vec![], None);
                    endpoint.close(dialog);
                }
                Event::Response { transaction, dialog, response, .. } => {
                    let _ = endpoint.cancel(now, transaction);
                    if let Some(dialog) = dialog.filter(|_| response.status.is_success()) {
                        let _ = endpoint.ack(now, dialog, None);
                        endpoint.close(dialog);
                    }
                    let extra = vec![(HeaderName::Authorization, Bytes::from("x"))];
                    let _ = endpoint.reissue(now, transaction, extra);
                }
                Event::Cancelled { .. } | Event::PrackMissing { .. } | Event::Failed { .. } => {}
            }
        }
        self.solo.drain();
        self.solo.sent.clear();
    }

    /// An INVITE that rings has no timer of its own.
    fn cancel(&mut self, invite: Option<ClientId>) {
        if let Some(id) = invite {
            let _ = self.solo.endpoint.cancel(self.solo.now, id);
        }
    }

    fn finish(mut self) {
        for _ in 0..80 {
            self.solo.pass(Duration::from_secs(2));
            self.react();
        }
        let counts = self.solo.endpoint.counts();
        assert_eq!(counts.transactions, 0);
    }
}

/// Each byte removed, doubled, and replaced by bytes that mean something to SIP; each line removed
/// and doubled.
fn mutations(text: &str) -> Vec<Vec<u8>> {
    let bytes = text.as_bytes();
    let mut all = vec![bytes.to_vec()];
    for at in 0..bytes.len() {
        let (head, tail) = bytes.split_at(at);
        all.push([head, &tail[1..]].concat());
        all.push([head, &tail[..1], tail].concat());
        for byte in *b" ,;:<>\"@=?%*\\[]\t\0\xff0zA" {
            all.push([head, &[byte], &tail[1..]].concat());
        }
    }
    let lines: Vec<&str> = text.split_inclusive("\r\n").collect();
    for at in 0..lines.len() {
        let without: String =
            lines.iter().enumerate().filter(|(n, _)| *n != at).map(|(_, line)| *line).collect();
        let twice: String =
            lines.iter().enumerate().map(|(n, l)| l.repeat(1 + usize::from(n == at))).collect();
        all.extend([without.into_bytes(), twice.into_bytes()]);
    }
    all
}

const RICH: &str = "Record-Route: <sip:p1.example;lr>, <sip:p2.example>\r\n\
     Contact: \"B, C\" <sip:peer@192.0.2.9:5060;transport=udp>;expires=60\r\n\
     Timestamp: 1\r\n";

#[test]
fn requests_outside_of_dialogs() {
    let mut busy = Busy::new();
    for method in ["INVITE", "OPTIONS", "CANCEL", "ACK"] {
        for (n, message) in mutations(&incoming(method, "c", 1, "", RICH)).into_iter().enumerate() {
            busy.feed(message);
            if n % 50 == 0 {
                busy.solo.pass(GIVE_UP * 2);
                busy.react();
            }
        }
    }
    assert!(busy.accepted > 1000, "the sweep must reach the endpoint: {}", busy.accepted);
    busy.finish();
}

#[test]
fn requests_inside_of_a_dialog() {
    let mut accepted = 0;
    for method in ["INVITE", "UPDATE", "INFO", "ACK"] {
        let mut busy = Busy::new();
        let (_, tag) = busy.solo.called(udp(), "c");
        let text = incoming(method, "c", 2, &tag, RICH);
        for (n, message) in mutations(&text).into_iter().enumerate() {
            busy.feed(message);
            if n % 50 == 0 {
                busy.solo.pass(GIVE_UP * 2);
                busy.react();
            }
        }
        accepted += busy.accepted;
        busy.finish();
    }
    assert!(accepted > 1000, "the sweep must reach the endpoint: {accepted}");
}

#[test]
fn responses() {
    let mut accepted = 0;
    for status in [100, 183, 200, 302, 401, 487] {
        let mut busy = Busy::new();
        let (mut messages, mut last) = (vec![], None);
        let mut n = 0;
        loop {
            // Always a fresh INVITE to answer: most mutations end the one they reach. The texts
            // differ in branch and tags only, so the n-th mutation means the same in each.
            if n % 50 == 0 {
                busy.cancel(last);
                busy.solo.pass(GIVE_UP * 2);
                busy.react();
                let (id, invite) = busy.solo.invite(udp());
                last = Some(id);
                messages = mutations(&reply(&invite, status, "b1", RICH));
            }
            let Some(message) = messages.get(n) else { break };
            busy.feed(message.clone());
            n += 1;
        }
        busy.cancel(last);
        accepted += busy.accepted;
        busy.finish();
    }
    assert!(accepted > 1000, "the sweep must reach the endpoint: {accepted}");
}
