//! The test call: INVITE with an offer, and what the answer says.

use std::time::Instant;

use bytes::Bytes;
use sdp::{Audio, Description, Key, Local, Policy, Suite, read_answer, write_offer};
use sip::endpoint::DialogId;
use sip::wire::{HeaderName, Method, NameAddr, Request, Response, StatusCode, Uri};
use zeroize::Zeroize;

use super::Kit;
use super::ask::{self, Own};
use super::line::Line;
use super::media::{self, Heard, Ports};
use super::step::{Failure, Outcome};
use crate::trunk::{Host, Trunk};

/// A call that was answered.
pub(super) struct Answered {
    dialog: DialogId,
    audio: Audio,
    /// Ours, of the suite that the answer took.
    key: Option<Key>,
}

/// What the call offered.
struct Offer {
    body: Bytes,
    description: Description,
    keys: Vec<Key>,
}

/// An INVITE that was not answered.
struct Refusal {
    outcome: Outcome,
    /// Of the peer's final response, if there was one.
    code: Option<u16>,
}

impl From<Outcome> for Refusal {
    fn from(outcome: Outcome) -> Self {
        Self { outcome, code: None }
    }
}

/// CALL: rings `number` and reads the answer. Where encryption is only preferred, a peer that
/// refuses it with 488 is asked once more without, as calls do.
pub(super) async fn invite(
    kit: &Kit,
    line: &mut Line,
    trunk: &Trunk,
    own: &Own,
    number: &str,
    ports: &Ports,
) -> (Outcome, Option<Answered>) {
    let mut refused = Outcome::fail(Failure::Local, "nothing can be offered", "correct allow");
    for policy in trunk.offers() {
        let offer = match offer(kit, trunk, &policy, ports) {
            Ok(offer) => offer,
            Err(text) => return (Outcome::fail(Failure::Local, text, "correct allow"), None),
        };
        let Some(request) = request(trunk, own, number, &offer.body) else {
            let text = format!("{number} cannot be called");
            let remedy = "give digits, + and digits, or a user";
            return (Outcome::fail(Failure::Local, text, remedy), None);
        };
        let begun = Instant::now();
        match answer(kit, line, trunk, request, &offer.body).await {
            Ok((dialog, response)) => {
                line.ack(dialog);
                let took = begun.elapsed().as_millis();
                let (outcome, audio) = read(&policy, &offer, &response);
                let outcome = outcome.fact("answered after", format!("{took} ms"));
                return taken(kit, line, offer, dialog, outcome, audio).await;
            }
            Err(Refusal { outcome, code }) => {
                refused = outcome;
                if code != Some(StatusCode::NOT_ACCEPTABLE_HERE.code()) {
                    break;
                }
            }
        }
    }
    (refused, None)
}

/// Keeps a call whose answer can be used, and ends any other.
async fn taken(
    kit: &Kit,
    line: &mut Line,
    offer: Offer,
    dialog: DialogId,
    outcome: Outcome,
    audio: Option<Audio>,
) -> (Outcome, Option<Answered>) {
    let Some(audio) = audio else {
        hang_up(kit, line, dialog).await;
        return (outcome, None);
    };
    let suite = audio.cryptos.first().map(|crypto| crypto.key.suite());
    let key = suite.and_then(|suite| offer.keys.into_iter().find(|key| key.suite() == suite));
    (outcome, Some(Answered { dialog, audio, key }))
}

/// MEDIA: five seconds of audio, then the end of the call.
pub(super) async fn talk(kit: &Kit, line: &mut Line, answered: Answered, ports: Ports) -> Outcome {
    let Answered { dialog, audio, key } = answered;
    let heard = media::talk(kit, line, &audio, key.as_ref(), ports).await;
    if !heard.as_ref().is_ok_and(|heard| heard.ended) {
        hang_up(kit, line, dialog).await;
    }
    match heard {
        Ok(heard) => judge(&heard),
        Err(text) => Outcome::fail(Failure::Local, text, "check [media] address and ports"),
    }
}

fn judge(heard: &Heard) -> Outcome {
    let Heard { sent, received, lost, echoed, refused, .. } = *heard;
    let jitter = heard.jitter.as_millis();
    let text =
        format!("{sent} packets sent, {received} came back, {lost} lost, jitter {jitter} ms");
    let outcome = if received == 0 && refused > 0 {
        Outcome::fail(
            Failure::SrtpAuthentication,
            format!("{refused} packets came, and the negotiated key opens none of them"),
            "compare the crypto lines of both sides in the ladder; the peer uses another key",
        )
    } else if received == 0 {
        Outcome::fail(
            Failure::OneWayAudio,
            format!("{sent} packets were sent and none came back"),
            "call an echo service; else check the firewall for the media ports, and the address in \
             our session description ([media] advertise)",
        )
    } else if echoed == 0 {
        Outcome::warn(
            Failure::OneWayAudio,
            format!("{text}, but nothing of what we sent came back"),
            "call an echo service; if it is one, the peer does not hear us",
        )
    } else {
        Outcome::pass(text)
    };
    let outcome = outcome
        .fact("sent", sent)
        .fact("received", received)
        .fact("echoed", echoed)
        .fact("lost", lost)
        .fact("jitter_ms", jitter)
        .fact("srtp_refused", refused);
    let expected = received + lost;
    let outcome = match refused {
        0 => outcome,
        _ if received == 0 => outcome,
        refused => outcome.but(
            Failure::SrtpAuthentication,
            &format!("{refused} packets did not authenticate"),
            "something on the path changes packets, or a second source sends here",
        ),
    };
    let permille = (lost * 1_000).checked_div(expected).unwrap_or(0);
    if permille >= super::limits::LOSS_WARN_PERMILLE || heard.jitter > super::limits::JITTER_WARN {
        let text = format!("{permille} of 1000 packets lost");
        return outcome.but(Failure::MediaLoss, &text, "check the network between the two sides");
    }
    outcome
}

/// Waits for the answer; one challenge is answered.
async fn answer(
    kit: &Kit,
    line: &mut Line,
    trunk: &Trunk,
    request: Request,
    body: &[u8],
) -> Result<(DialogId, Response), Refusal> {
    let uri = request.uri.to_string();
    let deadline = Instant::now() + kit.patience.ring;
    let silent = |silence| ask::silent(&silence, "INVITE");
    let mut client = line.send(request).await.map_err(silent)?;
    let mut challenged = false;
    loop {
        let (dialog, response) = match line.answer(client, deadline).await {
            Ok(answer) => answer,
            Err(silence) => {
                line.cancel(client);
                let _gone = line.ask(client, kit.patience.answer).await;
                return Err(ask::silent(&silence, "INVITE").into());
            }
        };
        let code = response.status.code();
        match (code, dialog) {
            (100..=199, _) => {}
            (200..=299, Some(dialog)) => return Ok((dialog, response)),
            (401 | 407, _) if !challenged => {
                challenged = true;
                let answer = ask::credentials(kit, trunk, &response, &Method::Invite, &uri, body);
                match answer.map(|answer| line.again(client, vec![answer])) {
                    Some(Ok(again)) => client = again,
                    _ => return Err(refused(&response)),
                }
            }
            _ => return Err(refused(&response)),
        }
    }
}

fn refused(response: &Response) -> Refusal {
    let code = response.status.code();
    let text = format!("the call was refused with {code} {}", ask::reason(response));
    let (failure, remedy) = match code {
        401 | 407 => (Failure::Unauthorized, "set username and password"),
        403 => (Failure::Forbidden, "ask the peer: our address or caller number is not allowed"),
        404 | 484 | 604 => (Failure::NotFound, "choose another test number, or its other format"),
        415 | 488 | 606 => {
            (Failure::OfferRefused, "compare allow, secure_rtp and encryption with the peer")
        }
        _ => (Failure::Declined, "choose another test number, or ask the peer"),
    };
    Refusal { outcome: Outcome::fail(failure, text, remedy).fact("code", code), code: Some(code) }
}

/// Whether the answer is one that calls on this trunk could use.
fn read(policy: &Policy, offer: &Offer, response: &Response) -> (Outcome, Option<Audio>) {
    let remedy = "compare allow, secure_rtp and encryption with the peer";
    let fail = |text: String| (Outcome::fail(Failure::OfferRefused, text, remedy), None);
    let description = match Description::parse(&response.body) {
        Ok(description) => description,
        Err(error) => return fail(format!("the answer cannot be read: {error}")),
    };
    match read_answer(&description, &offer.description, policy) {
        Err(reject) => fail(format!("the answer does not fit: {reject}")),
        Ok(audio) => {
            let format = audio.formats.first().map(|format| format.encoding.clone());
            let suite = audio.cryptos.first().map(|crypto| crypto.key.suite().name());
            let outcome = Outcome::pass(format!(
                "answered with {} over {}",
                format.unwrap_or_else(|| String::from("no codec")),
                suite.unwrap_or("RTP")
            ));
            (outcome.fact("media", audio.rtp), Some(audio))
        }
    }
}

async fn hang_up(kit: &Kit, line: &mut Line, dialog: DialogId) {
    if let Some(client) = line.inside(dialog, Method::Bye) {
        let _gone = line.ask(client, kit.patience.answer).await;
    }
}

fn offer(kit: &Kit, trunk: &Trunk, policy: &Policy, ports: &Ports) -> Result<Offer, String> {
    let fresh = |suite: &Suite| {
        let mut bytes = vec![0; suite.key_len() + suite.salt_len()];
        kit.fill(&mut bytes);
        let key = Key::new(*suite, &bytes);
        bytes.zeroize();
        key.map_err(|error| error.to_string())
    };
    let keys: Vec<Key> = policy.security.suites().iter().map(fresh).collect::<Result<_, _>>()?;
    // As in calls, `sip_alg` has the outer address written.
    let repaired = match trunk.external_address {
        Some(Host::Address(address)) => Some(address),
        _ => None,
    };
    let local = Local {
        address: repaired.unwrap_or(ports.advertise),
        rtp_port: ports.rtp,
        rtcp_port: ports.rtcp,
        origin_id: u64::from(kit.below(u32::MAX - 1)) + 1,
        origin_version: 1,
        keys: &keys,
    };
    let body = write_offer(None, policy, &local).map_err(|reject| reject.to_string())?;
    let description = Description::parse(&body).map_err(|error| error.to_string())?;
    Ok(Offer { body: Bytes::from(body), description, keys })
}

fn request(trunk: &Trunk, own: &Own, number: &str, body: &Bytes) -> Option<Request> {
    let uri = Uri::parse(trunk.domain_uri(number).as_bytes()).ok()?;
    let mut request = Request::new(Method::Invite, uri.clone());
    let user = trunk.from_user.clone().or_else(|| trunk.username.clone());
    let user = user.unwrap_or_else(|| String::from("trunkline"));
    let host = trunk.from_domain.as_deref().unwrap_or(&own.host);
    let headers = &mut request.headers;
    if let Some(route) = trunk.proxy_route() {
        headers.push(HeaderName::Route, route);
    }
    headers.push(HeaderName::From, format!("<sip:{user}@{host}>"));
    headers.push(HeaderName::To, NameAddr::new(uri).to_string());
    headers.push(HeaderName::Allow, "INVITE, ACK, CANCEL, BYE");
    headers.push(HeaderName::ContentType, "application/sdp");
    request.body = body.clone();
    Some(request)
}
