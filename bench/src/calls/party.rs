//! The two ends of a call: who places it, and who answers.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use rtp::srtp::Suite;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::spawn_local;
use tokio::time::{sleep, timeout};

use super::ledger::Ledger;
use super::{Sides, Step, Wire};
use crate::certs::Certificates;
use crate::media::SrtpKey;
use crate::media::g711::Law;
use crate::peer::sdp::{Crypto, Description};
use crate::peer::{CallError, Dialog, Numbers, Offered, Placed, Received, Ua};
use crate::peer::{pbx, place, provider};
use crate::run::BenchError;

/// Places calls.
pub struct Caller {
    pub ua: Rc<Ua>,
    target: SocketAddr,
}

/// Answers whatever comes, at once.
pub struct Callee {
    pub ua: Rc<Ua>,
}

impl Caller {
    pub async fn start(sides: &Sides) -> Result<Rc<Caller>, BenchError> {
        let (ua, _nobody_calls) = start(sides.caller, sides.caller_at, sides).await?;
        Ok(Rc::new(Caller { ua, target: sides.target }))
    }

    /// One call from INVITE to BYE; the open dialog when it is to stay open.
    pub async fn call(self: Rc<Self>, call: u32, step: Step, ledger: Rc<Ledger>) -> Option<Dialog> {
        let placing = timeout(step.patience, self.place(call, &ledger)).await;
        let dialog = match placing {
            Ok(Ok(dialog)) => dialog,
            Ok(Err(error)) => {
                ledger.fail(call, cause(&error));
                return None;
            }
            Err(_) => {
                let waited = step.patience.as_secs_f64();
                ledger.fail(call, format!("no final answer within {waited} s"));
                return None;
            }
        };
        let Some(hold) = step.hold else {
            ledger.note(call, |record| record.clean = true);
            return Some(dialog);
        };
        sleep(hold).await;
        match dialog.bye().await {
            Ok(()) => ledger.note(call, |record| record.clean = true),
            Err(error) => ledger.fail(call, cause(&error)),
        }
        None
    }

    async fn place(&self, call: u32, ledger: &Ledger) -> Result<Dialog, CallError> {
        let secure = self.ua.is_secure();
        let offer = describe(self.ua.link.local(), call, secure)?.write(u64::from(call) + 1);
        let called = number(call);
        let numbers = Numbers { caller: CALLER, called: &called };
        let now = std::time::Instant::now();
        // Overwritten by the exact time when the answer comes; a call without one counts as offered.
        ledger.note(call, |record| record.sent = Some(now));
        let Placed { dialog, body, sent, answered } =
            place(&self.ua, self.target, numbers, &offer).await?;
        ledger.note(call, |record| (record.sent, record.heard) = (Some(sent), Some(answered)));
        match Description::read(&body, secure) {
            Ok(_) => Ok(dialog),
            Err(error) => {
                dialog.bye().await?;
                Err(error.into())
            }
        }
    }
}

impl Callee {
    pub async fn start(sides: &Sides, ledger: Rc<Ledger>) -> Result<Rc<Callee>, BenchError> {
        let (ua, mut calls) = start(sides.callee, sides.callee_at, sides).await?;
        let callee = Rc::new(Callee { ua });
        let (answering, fallback) = (callee.clone(), sides.target);
        spawn_local(async move {
            while let Some(received) = calls.recv().await {
                spawn_local(answering.clone().serve(received, fallback, ledger.clone()));
            }
        });
        Ok(callee)
    }

    async fn serve(self: Rc<Self>, received: Received, fallback: SocketAddr, ledger: Rc<Ledger>) {
        let Ok(offered) = Offered::take(&self.ua, received) else { return };
        let Some(call) = call_of(offered.called()) else {
            let _ = offered.refuse(NOT_FOUND).await;
            return;
        };
        let at = offered.at();
        ledger.note(call, |record| record.seen = record.seen.or(Some(at)));
        if let Err(error) = self.answer(call, offered, fallback, &ledger).await {
            ledger.fail(call, format!("callee: {}", cause(&error)));
        }
    }

    async fn answer(
        &self,
        call: u32,
        mut offered: Offered,
        fallback: SocketAddr,
        ledger: &Ledger,
    ) -> Result<(), CallError> {
        offered.ring(Duration::ZERO).await?;
        let secure = self.ua.is_secure();
        let offer = match Description::read(offered.body(), secure) {
            Ok(offer) => offer,
            Err(error) => {
                offered.refuse(NOT_ACCEPTABLE_HERE).await?;
                return Err(error.into());
            }
        };
        let mut answer = describe(self.ua.link.local(), call, secure)?;
        let theirs = offer.crypto.into_iter().flatten().next();
        if let (Some(theirs), Some(lines)) = (theirs, &mut answer.crypto) {
            let key = SrtpKey::fresh(theirs.key.suite())?;
            *lines = vec![Crypto { tag: theirs.tag, key }];
        }
        let text = answer.write(u64::from(call) + 1);
        let said = |at| ledger.note(call, |record| record.said = record.said.or(Some(at)));
        let mut dialog = offered.answer_and_tell(fallback, &text, said).await?;
        dialog.until_bye().await
    }
}

type Started = (Rc<Ua>, UnboundedReceiver<Received>);

async fn start(wire: Wire, listen: SocketAddr, sides: &Sides) -> Result<Started, BenchError> {
    if !listen.is_ipv4() {
        return Err(BenchError::Ipv6 { address: listen });
    }
    let failed = |cause| BenchError::Listen { address: listen, cause };
    match wire {
        Wire::Udp => provider::start(listen).await.map_err(failed),
        Wire::Tcp => provider::start_tcp(listen).await.map_err(failed),
        Wire::Tls => pbx::start(listen, &Certificates::in_directory(&sides.certificates)).await,
    }
}

/// One G.711 line, with one key when secure. Nothing is sent from its port: this is signalling load.
fn describe(local: SocketAddr, call: u32, secure: bool) -> Result<Description, CallError> {
    let port = MEDIA_PORT_FIRST + 2 * (call % MEDIA_PORTS) as u16;
    let suite = Suite::AesCm128HmacSha1_80;
    let key = secure.then(|| SrtpKey::fresh(suite)).transpose()?;
    let crypto = key.map(|key| vec![Crypto { tag: 1, key }]);
    Ok(Description { rtp: SocketAddr::new(local.ip(), port), laws: vec![Law::A], crypto })
}

/// The called number of a call.
fn number(call: u32) -> String {
    format!("{CALLED}{call:010}")
}

/// The call that a number belongs to, whatever a gateway put in front.
fn call_of(number: &str) -> Option<u32> {
    let at = number.len().checked_sub(10)?;
    number.get(at..)?.parse().ok()
}

/// A failure in few words, so that equal ones are counted together.
fn cause(error: &CallError) -> String {
    match error {
        CallError::Refused { method, code } => format!("{method} {code}"),
        CallError::NoAnswer { method, .. } => format!("{method} not answered"),
        other => other.to_string(),
    }
}

const CALLER: &str = "390600000001";
const CALLED: &str = "3902";
const MEDIA_PORT_FIRST: u16 = 2_000;
const MEDIA_PORTS: u32 = 9_000;
const NOT_FOUND: u16 = 404;
const NOT_ACCEPTABLE_HERE: u16 = 488;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_known_by_the_end_of_its_number() {
        for call in [0, 1, 4_294_967_295] {
            assert_eq!(call_of(&number(call)), Some(call));
            assert_eq!(call_of(&format!("+00{}", number(call))), Some(call));
        }
        for number in ["", "123", "12345678901x", "é99999999999"] {
            assert_eq!(call_of(number), None, "{number}");
        }
        assert!(number(1).len() <= 15, "no longer than E.164 allows");
    }
}
