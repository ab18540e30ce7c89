//! OPTIONS and the check of the account.

use std::time::Instant;

use bytes::Bytes;
use sip::digest::client;
use sip::wire::{HeaderName, Method, NameAddr, Request, Response, Uri};

use super::Kit;
use super::line::{Line, Silence};
use super::step::{Failure, Outcome};
use super::way;
use crate::trunk::Trunk;
use crate::trunk::attribution::TOKEN_PARAMETER;

/// Who we say that we are, as the answer has to repeat it.
#[derive(Clone, Debug)]
pub(super) struct Own {
    /// `host:port` of our Via.
    pub(super) sent_by: String,
    /// Our host in From.
    pub(super) host: String,
    /// `host:port` of the Contact that the gateway itself registers.
    pub(super) registered: String,
}

/// OPTIONS: code, time, Allow, Server; and whether what we said came back unchanged.
pub(super) async fn options(kit: &Kit, line: &mut Line, trunk: &Trunk, own: &Own) -> Outcome {
    let Some(request) = request(trunk, own, Method::Options, None) else {
        return unwritable(trunk);
    };
    let begun = Instant::now();
    let answer = asked(kit, line, trunk, request).await;
    let response = match answer {
        Ok(response) => response,
        Err(silence) => return silent(&silence, "OPTIONS"),
    };
    let code = response.status.code();
    let rtt = begun.elapsed().as_millis();
    let text = format!("answered {code} {} after {rtt} ms", reason(&response));
    let outcome = match code {
        200..=299 => Outcome::pass(text),
        401 | 407 => Outcome::fail(
            Failure::Unauthorized,
            text,
            "set username and password, or have our address put on the peer's list",
        ),
        403 => Outcome::fail(
            Failure::Forbidden,
            text,
            "have our address put on the peer's list, or correct host and from_domain",
        ),
        404 => Outcome::warn(
            Failure::NotFound,
            text,
            "the peer is there but does not know this domain; compare host with its configuration",
        ),
        408 | 500..=599 => Outcome::fail(
            Failure::Declined,
            text,
            "the peer is there and cannot serve; ask its operator",
        ),
        _ => Outcome::pass(text),
    };
    let outcome = outcome.fact("code", code).fact("rtt_ms", rtt);
    let outcome = noted(outcome, &response, &[HeaderName::Allow, HeaderName::Server]);
    judge_echo(outcome, &response, own)
}

/// REGISTER without a Contact: the registrar checks the account and tells its bindings, and
/// changes none (RFC 3261 §10.2.3).
pub(super) async fn register(kit: &Kit, line: &mut Line, trunk: &Trunk, own: &Own) -> Outcome {
    let Some(username) = &trunk.username else {
        return Outcome::fail(Failure::Unauthorized, "the trunk has no username", "set username");
    };
    let Some(request) = request(trunk, own, Method::Register, Some(username)) else {
        return unwritable(trunk);
    };
    let response = match asked(kit, line, trunk, request).await {
        Ok(response) => response,
        Err(silence) => return silent(&silence, "REGISTER"),
    };
    let code = response.status.code();
    let text = format!("the registrar answered {code} {}", reason(&response));
    let outcome = match code {
        200..=299 => return bindings(trunk, own, &response, text),
        401 | 407 => Outcome::fail(
            Failure::Unauthorized,
            text,
            "correct username, password or auth_username: the registrar does not accept them",
        ),
        403 => Outcome::fail(
            Failure::Forbidden,
            text,
            "ask the provider: the account is blocked, or not allowed from our address",
        ),
        404 => Outcome::fail(
            Failure::NotFound,
            text,
            "correct username or host: the registrar does not know the account",
        ),
        _ => Outcome::fail(
            Failure::RegistrationRefused,
            text,
            "ask the provider what the registrar wants",
        ),
    };
    outcome.fact("code", code)
}

/// Whether the binding that the gateway holds is the one that it asked for.
fn bindings(trunk: &Trunk, own: &Own, response: &Response, text: String) -> Outcome {
    let contacts = response.headers.contacts().unwrap_or_default();
    let outcome = Outcome::pass(format!("{text}; {} bindings", contacts.len()))
        .fact("code", response.status.code())
        .fact("bindings", contacts.len());
    let token = trunk.registration_token.as_ref().map(|token| token.expose().as_bytes());
    let ours = contacts.iter().filter_map(|contact| contact.uri.as_sip()).find(|uri| {
        let said = uri.params.get(TOKEN_PARAMETER).map(|said| said.as_ref());
        token.is_some() && said == token
    });
    let Some(ours) = ours else { return outcome };
    let port = ours.port.map(|port| format!(":{port}")).unwrap_or_default();
    let seen = format!("{}{port}", ours.host);
    if seen == own.registered {
        return outcome.fact("our binding", seen);
    }
    let text = format!("our binding reads {seen}, but we registered {}", own.registered);
    outcome.fact("our binding", &seen).but(Failure::SipRewritten, &text, REWRITTEN)
}

/// Compares what the answer repeats with what we said (RFC 3261 §8.2.6.2 has it repeated as it is).
fn judge_echo(outcome: Outcome, response: &Response, own: &Own) -> Outcome {
    let Ok(via) = response.headers.via() else { return outcome };
    let port = via.port.map(|port| format!(":{port}")).unwrap_or_default();
    let echoed = format!("{}{port}", via.host);
    let seen = via.received().map(|address| address.to_string());
    let outcome = match &seen {
        Some(address) => outcome.fact("seen as", address),
        None => outcome,
    };
    let from = response.headers.from().ok();
    let from = from.as_ref().and_then(|from| from.uri.as_sip()).map(|uri| uri.host.to_string());
    let rewritten = if echoed != own.sent_by {
        Some(format!("our Via said {} and came back as {echoed}", own.sent_by))
    } else {
        let from = from.filter(|host| !host.eq_ignore_ascii_case(&own.host));
        from.map(|host| format!("our From said {} and came back as {host}", own.host))
    };
    match rewritten {
        Some(text) => outcome.but(Failure::SipRewritten, &text, REWRITTEN),
        None => outcome,
    }
}

/// Sends a request, answers one challenge with the trunk's account, and gives the final answer.
async fn asked(
    kit: &Kit,
    line: &mut Line,
    trunk: &Trunk,
    request: Request,
) -> Result<Response, Silence> {
    let (method, uri) = (request.method.clone(), request.uri.to_string());
    let client = line.send(request).await?;
    let response = line.ask(client, kit.patience.answer).await?;
    let challenged = matches!(response.status.code(), 401 | 407);
    let Some(answer) =
        challenged.then(|| credentials(kit, trunk, &response, &method, &uri, &[])).flatten()
    else {
        return Ok(response);
    };
    let client = line.again(client, vec![answer])?;
    line.ask(client, kit.patience.answer).await
}

/// The answer to a challenge by the trunk's account.
pub(super) fn credentials(
    kit: &Kit,
    trunk: &Trunk,
    response: &Response,
    method: &Method,
    uri: &str,
    body: &[u8],
) -> Option<(HeaderName, Bytes)> {
    let cnonce = kit.token();
    let credentials = trunk.credentials()?;
    let own = |realm: &str| trunk.allows_realm(realm);
    client::answer(&response.headers, &credentials, method, uri, body, &cnonce, 1, &own)
}

/// A request to the trunk's domain. `account` names whom it is about.
fn request(trunk: &Trunk, own: &Own, method: Method, account: Option<&str>) -> Option<Request> {
    let user = account.map(|user| format!("{user}@")).unwrap_or_default();
    let domain = trunk.domain_uri("");
    let uri = Uri::parse(domain.as_bytes()).ok()?;
    let to = match account {
        Some(_) => format!("<sip:{user}{}>", trunk.host),
        None => NameAddr::new(uri.clone()).to_string(),
    };
    let from = match (account, &trunk.from_domain) {
        (Some(_), _) => to.clone(),
        (None, _) => format!("<sip:trunkline@{}>", own.host),
    };
    let mut request = Request::new(method, uri);
    let headers = &mut request.headers;
    if let Some(route) = trunk.proxy_route() {
        headers.push(HeaderName::Route, route);
    }
    headers.push(HeaderName::From, from);
    headers.push(HeaderName::To, to);
    Some(request)
}

/// Facts from headers that people ask for.
fn noted(mut outcome: Outcome, response: &Response, names: &[HeaderName]) -> Outcome {
    for name in names {
        let values: Vec<String> = response
            .headers
            .all(name)
            .map(|value| String::from_utf8_lossy(value).into_owned())
            .collect();
        if !values.is_empty() {
            outcome = outcome.fact(&name.to_string(), values.join(", "));
        }
    }
    outcome
}

/// No answer.
pub(super) fn silent(silence: &Silence, what: &str) -> Outcome {
    match silence {
        Silence::Timeout => Outcome::fail(
            Failure::Timeout,
            format!("{what} is not answered"),
            "check the address, the firewalls, and whether the peer knows our address",
        ),
        Silence::Broken(cause) => {
            let (failure, text) = way::fault(cause);
            Outcome::fail(failure, format!("{what}: {text}"), way::remedy(failure))
        }
        Silence::Closed => {
            let text = format!("the peer closed the connection instead of answering {what}");
            Outcome::fail(Failure::Closed, text, way::remedy(Failure::Closed))
        }
        Silence::Unsendable(cause) => {
            let remedy = "correct host, username and numbers of the trunk";
            Outcome::fail(Failure::Local, format!("{what}: {cause}"), remedy)
        }
    }
}

fn unwritable(trunk: &Trunk) -> Outcome {
    let text = format!("no SIP URI can be written for {}", trunk.host);
    Outcome::fail(Failure::Local, text, "correct host")
}

pub(super) fn reason(response: &Response) -> String {
    let text = String::from_utf8_lossy(&response.reason).into_owned();
    if text.is_empty() { response.status.reason().to_owned() } else { text }
}

pub(super) const REWRITTEN: &str =
    "switch off SIP ALG (SIP helper, SIP fixup) on the router or firewall on the path, or use TLS";
