//! One SIP dialog of a peer, from either side, from the first INVITE to the BYE (RFC 3261 §12).

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use rsip::{Method, Request, Transport, Uri};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::timeout;

use super::message::{self, Draft, Reply};
use super::ua::{CallError, RESEND_MAX, Received, T1, TIMEOUT, Ua};

/// An established call.
pub struct Dialog {
    ua: Rc<Ua>,
    call_id: String,
    /// Our From and their To in requests that we send, with tags.
    local: String,
    remote: String,
    target: Uri,
    address: SocketAddr,
    cseq: u32,
    /// Our description, repeated when the far end refreshes the call.
    description: String,
    requests: UnboundedReceiver<Received>,
}

/// A call that rings here and has no answer yet.
pub struct Offered {
    ua: Rc<Ua>,
    received: Received,
    call_id: String,
    tag: String,
    requests: UnboundedReceiver<Received>,
}

/// The numbers of a call to place.
pub struct Numbers<'a> {
    pub caller: &'a str,
    pub called: &'a str,
}

/// A call that we placed and that was answered.
pub struct Placed {
    pub dialog: Dialog,
    /// Of the answer.
    pub body: Vec<u8>,
    /// When the INVITE left.
    pub sent: Instant,
    /// When the 200 came.
    pub answered: Instant,
}

/// Places a call by way of `gateway`, and acknowledges its answer.
pub async fn place(
    ua: &Rc<Ua>,
    gateway: SocketAddr,
    numbers: Numbers<'_>,
    description: &str,
) -> Result<Placed, CallError> {
    let local = ua.link.local();
    let (call_id, tag) = (format!("{}@{}", token()?, local.ip()), token()?);
    let mut unanswered = Dialog {
        requests: ua.mailbox(&call_id),
        ua: ua.clone(),
        call_id,
        local: format!("<sip:{}@{local}>;tag={tag}", numbers.caller),
        remote: format!("<sip:{}@{gateway}>", numbers.called),
        target: gateway_uri(numbers.called, gateway, ua.link.transport())?,
        address: gateway,
        cseq: 0,
        description: description.to_owned(),
    };
    let branch = branch()?;
    let invite = unanswered.request(Method::Invite, &branch, description);
    let answer = ua.invite(gateway, &invite).await?;
    let response = answer.response;
    unanswered.remote = message::to_value(&response)?;
    unanswered.retarget(message::contact(&response)?, gateway);
    let mut dialog = unanswered;
    dialog.cseq -= 1;
    let ack = dialog.request(Method::Ack, &self::branch()?, "");
    ua.acknowledge(&branch, dialog.address, ack).await?;
    Ok(Placed { dialog, body: response.body, sent: answer.sent, answered: answer.at })
}

impl Offered {
    /// Takes a call: from here on its requests arrive at this call.
    pub fn take(ua: &Rc<Ua>, received: Received) -> Result<Offered, CallError> {
        let call_id = message::call_id(&received.request)?;
        let requests = ua.mailbox(&call_id);
        Ok(Offered { ua: ua.clone(), received, call_id, tag: token()?, requests })
    }

    /// When its INVITE came.
    pub fn at(&self) -> Instant {
        self.received.at
    }

    /// The called number: user part of the request URI.
    pub fn called(&self) -> &str {
        self.received.request.uri.user().unwrap_or_default()
    }

    /// The offer.
    pub fn body(&self) -> &[u8] {
        &self.received.request.body
    }

    /// Rings for a moment.
    pub async fn ring(&mut self, duration: Duration) -> Result<(), CallError> {
        self.respond(180, "").await?;
        let Ok(request) = timeout(duration, self.requests.recv()).await else { return Ok(()) };
        let request = request.ok_or(CallError::Stopped)?;
        if request.request.method != Method::Cancel {
            return Ok(());
        }
        self.ua.respond(&request, plain(200, &self.tag)).await?;
        self.respond(487, "").await?;
        self.until_acknowledged(false).await?;
        Err(CallError::Cancelled)
    }

    /// Refuses the call.
    pub async fn refuse(mut self, code: u16) -> Result<(), CallError> {
        self.respond(code, "").await?;
        self.until_acknowledged(false).await
    }

    /// Answers with 200 and waits for the ACK; hangs up when it does not come
    /// (RFC 3261 §13.3.1.4).
    pub async fn answer(self, gateway: SocketAddr, body: &str) -> Result<Dialog, CallError> {
        self.answer_and_tell(gateway, body, |_| {}).await
    }

    /// As [`Offered::answer`]; `tell` gets the time at which the 200 left.
    pub async fn answer_and_tell(
        mut self,
        gateway: SocketAddr,
        body: &str,
        tell: impl FnOnce(Instant),
    ) -> Result<Dialog, CallError> {
        tell(self.respond(200, body).await?);
        let acknowledged = self.until_acknowledged(true).await;
        let dialog = self.into_dialog(gateway, body)?;
        match acknowledged {
            Ok(()) => Ok(dialog),
            Err(CallError::NoAck) => {
                dialog.bye().await?;
                Err(CallError::NoAck)
            }
            Err(error) => Err(error),
        }
    }

    fn into_dialog(mut self, gateway: SocketAddr, body: &str) -> Result<Dialog, CallError> {
        let request = &self.received.request;
        let local = format!("{};tag={}", message::to_value(request)?, self.tag);
        let remote = message::from_value(request)?;
        let target = message::contact(request)?;
        let (_, nothing) = unbounded_channel();
        let mut dialog = Dialog {
            ua: self.ua.clone(),
            // The mailbox is the dialog's from here on.
            call_id: std::mem::take(&mut self.call_id),
            local,
            remote,
            target: target.clone(),
            address: gateway,
            cseq: 0,
            description: body.to_owned(),
            requests: std::mem::replace(&mut self.requests, nothing),
        };
        dialog.retarget(target, gateway);
        Ok(dialog)
    }

    async fn respond(&self, code: u16, body: &str) -> Result<Instant, CallError> {
        let link = &self.ua.link;
        let contact = Some((link.local(), link.transport()));
        let reply = Reply { code, tag: Some(&self.tag), contact, body };
        self.ua.respond(&self.received, reply).await
    }

    /// Repeats the final response until its ACK comes: over UDP any, over TLS only a 2xx.
    async fn until_acknowledged(&mut self, success: bool) -> Result<(), CallError> {
        let repeats = success || self.ua.link.transport() == Transport::Udp;
        let (mut interval, give_up) = (T1, Instant::now() + TIMEOUT);
        loop {
            match timeout(interval, self.requests.recv()).await {
                Ok(None) => return Err(CallError::Stopped),
                Ok(Some(received)) => match received.request.method {
                    Method::Ack => return Ok(()),
                    Method::Bye => {
                        self.ua.respond(&received, plain(200, &self.tag)).await?;
                        return Err(CallError::HungUpEarly);
                    }
                    // Too late to cancel: the final response stands (RFC 3261 §9.2).
                    _ => drop(self.ua.respond(&received, plain(200, &self.tag)).await?),
                },
                Err(_) if Instant::now() >= give_up => return Err(CallError::NoAck),
                Err(_) => {
                    if repeats {
                        self.ua.respond_again(&self.received).await?;
                    }
                    interval = (interval * 2).min(RESEND_MAX);
                }
            }
        }
    }
}

impl Drop for Offered {
    fn drop(&mut self) {
        self.ua.close_mailbox(&self.call_id);
    }
}

impl Dialog {
    /// Serves the far end's requests until its BYE, which is answered.
    pub async fn until_bye(&mut self) -> Result<(), CallError> {
        loop {
            let received = self.requests.recv().await.ok_or(CallError::Stopped)?;
            let refresh = !received.request.body.is_empty();
            let body = if refresh { self.description.as_str() } else { "" };
            let link = &self.ua.link;
            let contact = Some((link.local(), link.transport()));
            match received.request.method {
                Method::Ack => {}
                Method::Bye => {
                    return self.ua.respond(&received, plain(200, "")).await.map(drop);
                }
                Method::Invite => {
                    let body = self.description.as_str();
                    let reply = Reply { code: 200, tag: None, contact, body };
                    self.ua.respond(&received, reply).await?;
                }
                Method::Update => {
                    let reply = Reply { code: 200, tag: None, contact, body };
                    self.ua.respond(&received, reply).await?;
                }
                Method::Info | Method::Options => {
                    self.ua.respond(&received, plain(200, "")).await?;
                }
                _ => drop(self.ua.respond(&received, plain(405, "")).await?),
            }
        }
    }

    /// Hangs up.
    pub async fn bye(mut self) -> Result<(), CallError> {
        let bye = self.request(Method::Bye, &branch()?, "");
        match self.ua.transact(self.address, &bye).await {
            // Both hung up at once, RFC 3261 §15.1.1: the call is over as wanted.
            Err(CallError::Refused { code: 481, .. }) => Ok(()),
            other => other.map(|_| ()),
        }
    }

    /// Later requests go to the Contact; a host name is not looked up, the gateway's address stands.
    fn retarget(&mut self, target: Uri, gateway: SocketAddr) {
        let transport = self.ua.link.transport();
        self.address = message::address_of(&target, transport).unwrap_or(gateway);
        self.target = target;
    }

    fn request(&mut self, method: Method, branch: &str, body: &str) -> Request {
        self.cseq += 1;
        message::request(Draft {
            method,
            uri: self.target.clone(),
            transport: self.ua.link.transport(),
            local: self.ua.link.local(),
            branch,
            from: &self.local,
            to: &self.remote,
            call_id: &self.call_id,
            cseq: self.cseq,
            body,
        })
    }
}

impl Drop for Dialog {
    fn drop(&mut self) {
        self.ua.close_mailbox(&self.call_id);
    }
}

fn plain(code: u16, tag: &str) -> Reply<'_> {
    Reply { code, tag: (!tag.is_empty()).then_some(tag), contact: None, body: "" }
}

fn gateway_uri(user: &str, gateway: SocketAddr, transport: Transport) -> Result<Uri, CallError> {
    let parameter = message::transport_parameter(transport);
    let uri = Uri::try_from(format!("sip:{user}@{gateway}{parameter}"));
    Ok(uri.map_err(message::Unreadable::from)?)
}

fn branch() -> Result<String, CallError> {
    Ok(format!("z9hG4bK{}", token()?))
}

/// 64 random bits, enough for tags (RFC 3261 §19.3 asks for 32).
fn token() -> Result<String, CallError> {
    let mut random = [0; 8];
    getrandom::fill(&mut random)?;
    Ok(format!("{:016x}", u64::from_be_bytes(random)))
}
