//! The user agents against each other on loopback: what they refuse, and what they refuse to lose.

use std::net::{SocketAddr, UdpSocket};
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::{LocalSet, spawn_local};

use super::ua::{CallError, Received, Ua};
use super::{Numbers, Offered, Placed, pbx, place, provider};
use crate::certs::{self, Certificates};

const NUMBERS: Numbers<'_> = Numbers { caller: "390600000001", called: "390200000001" };

fn on_local_set<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, work)
}

fn any_port() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

/// A provider that does `work` with the first call that comes.
async fn callee<F: Future<Output = ()> + 'static>(
    work: impl FnOnce(Rc<Ua>, Received) -> F + 'static,
) -> SocketAddr {
    let (ua, mut calls) = provider::start(any_port()).await.unwrap();
    let at = ua.link.local();
    spawn_local(async move {
        let received = calls.recv().await.unwrap();
        work(ua, received).await;
        // Stays to serve what comes later.
        std::future::pending::<()>().await;
    });
    at
}

#[test]
fn a_refusal_reaches_the_caller_with_its_code() {
    on_local_set(async {
        let at = callee(|ua, received| async move {
            let offered = Offered::take(&ua, received).unwrap();
            assert_eq!(offered.called(), NUMBERS.called);
            assert_eq!(offered.body(), b"v=0\r\n");
            // Returns when the refusal was acknowledged.
            offered.refuse(488).await.unwrap();
        })
        .await;
        let (caller, _calls) = provider::start(any_port()).await.unwrap();
        let refused = place(&caller, at, NUMBERS, "v=0\r\n").await.err().unwrap();
        assert!(matches!(refused, CallError::Refused { code: 488, .. }), "{refused}");
        assert!(caller.faults().is_empty());
    });
}

#[test]
fn either_side_may_hang_up() {
    for caller_hangs_up in [true, false] {
        on_local_set(async {
            let at = callee(move |ua, received| async move {
                let mut offered = Offered::take(&ua, received).unwrap();
                let gateway = any_port(); // the Contact says where the caller is
                offered.ring(Duration::from_millis(10)).await.unwrap();
                let mut dialog = offered.answer(gateway, "answer").await.unwrap();
                match caller_hangs_up {
                    true => dialog.until_bye().await.unwrap(),
                    false => dialog.bye().await.unwrap(),
                }
            })
            .await;
            let (caller, _calls) = provider::start(any_port()).await.unwrap();
            let Placed { mut dialog, body, .. } =
                place(&caller, at, NUMBERS, "offer").await.unwrap();
            assert_eq!(body, b"answer");
            match caller_hangs_up {
                true => dialog.bye().await.unwrap(),
                false => dialog.until_bye().await.unwrap(),
            }
        });
    }
}

/// Sends `request` to a provider from a plain socket; gives the first line of the answer.
fn answer_to(request: &str) -> String {
    on_local_set(async {
        let (ua, _calls) = provider::start(any_port()).await.unwrap();
        let asking = tokio::net::UdpSocket::bind(any_port()).await.unwrap();
        asking.connect(ua.link.local()).await.unwrap();
        let text = format!(
            "{request} sip:x@127.0.0.1 SIP/2.0\r\nv: SIP/2.0/UDP 127.0.0.1;branch=z9hG4bK1;rport\r\n\
             f: <sip:a@b>;tag=1\r\nt: <sip:c@d>{}\r\ni: id\r\nCSeq: 1 {request}\r\n{}l: 0\r\n\r\n",
            if request == "BYE" { ";tag=2" } else { "" },
            if request == "INVITE" { "Require: 100rel\r\n" } else { "" },
        );
        asking.send(text.as_bytes()).await.unwrap();
        let mut answer = [0; 2048];
        let length = asking.recv(&mut answer).await.unwrap();
        let answer = String::from_utf8_lossy(&answer[..length]).into_owned();
        answer.split("\r\n").next().unwrap().to_owned()
    })
}

#[test]
fn requests_outside_a_call_get_their_proper_answer() {
    assert!(answer_to("OPTIONS").starts_with("SIP/2.0 200 "));
    assert!(answer_to("BYE").starts_with("SIP/2.0 481 "));
    assert!(answer_to("CANCEL").starts_with("SIP/2.0 481 "));
    assert!(answer_to("REGISTER").starts_with("SIP/2.0 405 "));
    assert!(answer_to("INVITE").starts_with("SIP/2.0 420 "));
}

#[test]
fn what_cannot_be_read_is_a_fault_and_a_keep_alive_is_none() {
    on_local_set(async {
        let (ua, _calls) = provider::start(any_port()).await.unwrap();
        let stranger = UdpSocket::bind(any_port()).unwrap();
        for wire in ["\r\n\r\n", "\0\0", "nonsense"] {
            stranger.send_to(wire.as_bytes(), ua.link.local()).unwrap();
        }
        // Answered after the others were read: the order of a socket.
        let (other, _calls) = provider::start(any_port()).await.unwrap();
        let refused = place(&other, ua.link.local(), NUMBERS, "");
        let _ = tokio::time::timeout(Duration::from_millis(200), refused).await;
        let faults = ua.faults();
        assert_eq!(faults.len(), 1, "{faults:?}");
        let from = stranger.local_addr().unwrap().to_string();
        assert!(faults[0].contains(&from) && faults[0].contains("unreadable"), "{faults:?}");
    });
}

struct Scratch(std::path::PathBuf);

impl Scratch {
    fn certificates() -> (Scratch, Certificates) {
        let mut random = [0; 8];
        getrandom::fill(&mut random).unwrap();
        let name = format!("trunkline-peer-{:016x}", u64::from_be_bytes(random));
        let scratch = Scratch(std::env::temp_dir().join(name));
        let loopback = ["127.0.0.1".parse().unwrap()];
        let certificates = certs::write(&scratch.0, &loopback, &loopback).unwrap();
        (scratch, certificates)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Both peers with their own set of certificates; how the call of the first ends.
async fn call_between(first: &Certificates, second: &Certificates) -> (String, Vec<String>) {
    let (callee, mut calls): (_, UnboundedReceiver<_>) =
        pbx::start(any_port(), second).await.unwrap();
    let at = callee.link.local();
    let answering = callee.clone();
    spawn_local(async move {
        while let Some(received) = calls.recv().await {
            Offered::take(&answering, received).unwrap().refuse(486).await.unwrap();
        }
    });
    let (caller, _calls) = pbx::start(any_port(), first).await.unwrap();
    let placing = place(&caller, at, NUMBERS, "");
    // A certificate refused after the handshake (TLS 1.3) ends the connection without an answer.
    let ended = match tokio::time::timeout(Duration::from_secs(1), placing).await {
        Ok(ended) => ended.err().unwrap().to_string(),
        Err(_) => "no answer".into(),
    };
    // The callee may hear of a refusal after the caller: TLS alerts travel.
    let heard = async {
        while callee.faults().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    if !ended.contains("486") {
        tokio::time::timeout(Duration::from_secs(10), heard).await.unwrap();
    }
    (ended, callee.faults())
}

#[test]
fn tls_needs_the_same_authority_on_both_sides() {
    let (_one, one) = Scratch::certificates();
    let (_other, other) = Scratch::certificates();
    on_local_set(async {
        // The positive control: with one authority the call goes through to its refusal.
        let (ended, faults) = call_between(&one, &one).await;
        assert!(ended.contains("486"), "{ended}");
        assert!(faults.is_empty(), "{faults:?}");
        let (ended, faults) = call_between(&one, &other).await;
        assert!(ended.contains("cannot be reached"), "{ended}");
        assert!(faults[0].contains("TLS handshake"), "{faults:?}");
        // Trusts the callee's authority, but bears a certificate of its own.
        let mixed = Certificates { ca: other.ca.clone(), ..one };
        let (ended, faults) = call_between(&mixed, &other).await;
        assert_eq!(ended, "no answer");
        assert!(faults[0].contains("TLS handshake"), "{faults:?}");
    });
}

#[test]
fn private_keys_are_for_their_owner() {
    use std::os::unix::fs::PermissionsExt as _;
    let (_scratch, certificates) = Scratch::certificates();
    for key in [&certificates.gateway_key, &certificates.pbx_key] {
        assert_eq!(std::fs::metadata(key).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
