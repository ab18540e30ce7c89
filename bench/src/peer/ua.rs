//! A small SIP user agent over one [`Link`]: transactions in the least form that is honest.
//!
//! ```text
//!   wire -> dispatch -+- response         -> the client transaction of its branch
//!                     +- repeated request -> the stored response again
//!                     +- request in a call -> the mailbox of its Call-ID
//!                     +- new INVITE       -> 100, then whoever takes calls
//!                     +- OPTIONS          -> 200
//! ```
//!
//! Timers are those of RFC 3261 §17 with their default values; over TLS nothing is sent twice except
//! a 2xx that nobody acknowledged (RFC 3261 §13.3.1.4).

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use rsip::message::HasHeaders as _;
use rsip::{Header, Method, Request, Response, SipMessage, Transport};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::spawn_local;
use tokio::time::{sleep, timeout};

use super::link::{Faults, Inbound, Link, ReplyPath};
use super::message::{self, Draft, Reply, Unreadable};
use super::recent::Recent;
use super::sdp::Unusable;
use crate::media::LegError;

/// The user agent of one peer, shared by all its calls.
pub struct Ua {
    pub link: Link,
    faults: Faults,
    clients: RefCell<HashMap<String, UnboundedSender<(Response, Instant)>>>,
    /// ACKs by the branch of their INVITE: a repeated final response gets the same ACK again.
    acks: RefCell<Recent<String, (SocketAddr, Vec<u8>)>>,
    /// Last response by branch and method; `None` while there is none.
    served: RefCell<Recent<String, Option<Vec<u8>>>>,
    mailboxes: RefCell<HashMap<String, UnboundedSender<Received>>>,
    resent: Cell<u64>,
    repeated: Cell<u64>,
}

/// The final response to an INVITE, and both ends of the wait for it.
pub struct Answer {
    pub response: Response,
    /// Before the first INVITE was handed to the transport.
    pub sent: Instant,
    /// When the response came, see [`Inbound::at`].
    pub at: Instant,
}

/// A request from the far end, and where its answer goes.
pub struct Received {
    pub request: Request,
    pub source: SocketAddr,
    /// When it came, see [`Inbound::at`].
    pub at: Instant,
    path: ReplyPath,
}

/// Why a call leg failed, in words for an operator.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    #[error("{target} cannot be reached: {cause}; is the gateway running and listening there?")]
    Unreachable { target: SocketAddr, cause: io::Error },
    #[error("{target} did not answer the {method} within {} s", .waited.as_secs())]
    NoAnswer { target: SocketAddr, method: Method, waited: Duration },
    #[error("{method} was refused with {code}")]
    Refused { method: Method, code: u16 },
    #[error("the caller cancelled")]
    Cancelled,
    #[error("the 200 was not acknowledged within {} s", TIMEOUT.as_secs())]
    NoAck,
    #[error("the far end hung up before the call was set up")]
    HungUpEarly,
    #[error("the peer has been stopped")]
    Stopped,
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    #[error(transparent)]
    Description(#[from] Unusable),
    #[error("no pair of media ports: {0}")]
    Ports(io::Error),
    #[error(transparent)]
    Media(#[from] LegError),
    #[error("the kernel gave no random numbers: {0}")]
    Random(#[from] getrandom::Error),
}

impl Ua {
    /// Starts to dispatch what `inbound` yields; new calls come out of the receiver.
    pub fn start(
        link: Link,
        mut inbound: UnboundedReceiver<Inbound>,
        faults: Faults,
    ) -> (Rc<Ua>, UnboundedReceiver<Received>) {
        let ua = Rc::new(Ua {
            link,
            faults,
            clients: RefCell::default(),
            acks: RefCell::new(Recent::new(TIMEOUT)),
            served: RefCell::new(Recent::new(TIMEOUT)),
            mailboxes: RefCell::default(),
            resent: Cell::new(0),
            repeated: Cell::new(0),
        });
        let (calls, taken) = unbounded_channel();
        let dispatching = ua.clone();
        spawn_local(async move {
            while let Some(inbound) = inbound.recv().await {
                dispatching.dispatch(inbound, &calls).await;
            }
        });
        (ua, taken)
    }

    pub fn is_secure(&self) -> bool {
        self.link.transport() == Transport::Tls
    }

    /// What could not be read or served since the start.
    pub fn faults(&self) -> Vec<String> {
        self.faults.borrow().clone()
    }

    /// Messages that we sent again because nobody answered, and messages that came again.
    pub fn repetitions(&self) -> (u64, u64) {
        (self.resent.get(), self.repeated.get())
    }

    /// Opens the mailbox of a Call-ID: requests of that call arrive there.
    pub fn mailbox(&self, call_id: &str) -> UnboundedReceiver<Received> {
        let (sender, receiver) = unbounded_channel();
        self.mailboxes.borrow_mut().insert(call_id.to_owned(), sender);
        receiver
    }

    pub fn close_mailbox(&self, call_id: &str) {
        self.mailboxes.borrow_mut().remove(call_id);
    }

    /// Sends a request other than INVITE and ACK and waits for its final response
    /// (RFC 3261 §17.1.2).
    pub async fn transact(
        &self,
        target: SocketAddr,
        request: &Request,
    ) -> Result<Response, CallError> {
        let mut client = self.client(request)?;
        let exchanged = client.exchange(self, target, request, Some(RESEND_MAX)).await?;
        let mut response = exchanged.response;
        while response.status_code.code() < 200 {
            (response, _) = client.next(target, request.method, TIMEOUT).await?;
        }
        match response.status_code.code() {
            200..=299 => Ok(response),
            code => Err(CallError::Refused { method: request.method, code }),
        }
    }

    /// Sends an INVITE and waits for its answer; acknowledges a refusal (RFC 3261 §17.1.1). The 2xx
    /// is the caller's to acknowledge.
    pub async fn invite(&self, target: SocketAddr, request: &Request) -> Result<Answer, CallError> {
        let mut client = self.client(request)?;
        let mut answer = client.exchange(self, target, request, None).await?;
        while answer.response.status_code.code() < 200 {
            (answer.response, answer.at) = client.next(target, request.method, RINGING_MAX).await?;
        }
        let code = answer.response.status_code.code();
        if code < 300 {
            return Ok(answer);
        }
        let response = answer.response;
        let ack = message::request(Draft {
            method: Method::Ack,
            uri: request.uri.clone(),
            transport: self.link.transport(),
            local: self.link.local(),
            branch: &client.branch,
            from: &message::from_value(request)?,
            to: &message::to_value(&response)?,
            call_id: &message::call_id(request)?,
            cseq: message::cseq(request)?.0,
            body: "",
        });
        self.acknowledge(&client.branch, target, ack).await?;
        Err(CallError::Refused { method: Method::Invite, code })
    }

    /// Sends an ACK, and again whenever the final response of its INVITE is repeated.
    pub async fn acknowledge(
        &self,
        invite_branch: &str,
        target: SocketAddr,
        ack: Request,
    ) -> Result<(), CallError> {
        let wire = Vec::from(ack);
        let stored = (target, wire.clone());
        self.acks.borrow_mut().insert(Instant::now(), invite_branch.to_owned(), stored);
        self.send(target, &wire).await
    }

    /// Answers a request and remembers the answer for its repetitions; gives the time just before it
    /// was handed to the transport.
    pub async fn respond(
        &self,
        received: &Received,
        reply: Reply<'_>,
    ) -> Result<Instant, CallError> {
        let wire = message::response(&received.request, received.source, &reply)?.to_string();
        let key = server_key(&received.request)?;
        let stored = Some(wire.clone().into_bytes());
        let sent = Instant::now();
        self.served.borrow_mut().insert(sent, key, stored);
        self.reply(received, wire.as_bytes()).await?;
        Ok(sent)
    }

    /// Sends the stored answer again.
    pub async fn respond_again(&self, received: &Received) -> Result<(), CallError> {
        let key = server_key(&received.request)?;
        let stored = self.served.borrow().find(&key).cloned().flatten();
        match stored {
            Some(wire) => {
                self.resent.set(self.resent.get() + 1);
                self.reply(received, &wire).await
            }
            None => Ok(()),
        }
    }

    async fn send(&self, target: SocketAddr, wire: &[u8]) -> Result<(), CallError> {
        let sent = self.link.send(target, wire).await;
        sent.map_err(|cause| CallError::Unreachable { target, cause })
    }

    async fn reply(&self, received: &Received, wire: &[u8]) -> Result<(), CallError> {
        let sent = self.link.reply(&received.path, wire).await;
        sent.map_err(|cause| CallError::Unreachable { target: received.source, cause })
    }

    fn client(&self, request: &Request) -> Result<Client<'_>, CallError> {
        let branch = message::branch(request)?;
        let (sender, responses) = unbounded_channel();
        self.clients.borrow_mut().insert(branch.clone(), sender);
        Ok(Client { clients: &self.clients, branch, responses })
    }

    async fn dispatch(&self, inbound: Inbound, calls: &UnboundedSender<Received>) {
        let Inbound { source, wire, path, at } = inbound;
        if wire.iter().all(|octet| octet.is_ascii_whitespace() || *octet == 0) {
            return; // a keep-alive
        }
        let done = match message::read(&wire) {
            Ok(SipMessage::Response(response)) => self.dispatch_response(response, at).await,
            Ok(SipMessage::Request(request)) => {
                self.dispatch_request(Received { request, source, at, path }, calls).await
            }
            Err(error) => Err(error.into()),
        };
        if let Err(error) = done {
            self.faults.borrow_mut().push(format!("from {source}: {error}"));
        }
    }

    async fn dispatch_response(&self, response: Response, at: Instant) -> Result<(), CallError> {
        let branch = message::branch(&response)?;
        let ack = self.acks.borrow().find(&branch).cloned();
        if let Some((target, wire)) = ack {
            self.repeated.set(self.repeated.get() + 1);
            return self.send(target, &wire).await;
        }
        if let Some(client) = self.clients.borrow().get(&branch) {
            let _ = client.send((response, at));
        }
        Ok(())
    }

    async fn dispatch_request(
        &self,
        received: Received,
        calls: &UnboundedSender<Received>,
    ) -> Result<(), CallError> {
        let method = received.request.method;
        let key = server_key(&received.request)?;
        if method != Method::Ack {
            if self.served.borrow().find(&key).is_some() {
                self.repeated.set(self.repeated.get() + 1);
                return self.respond_again(&received).await;
            }
            self.served.borrow_mut().insert(Instant::now(), key, None);
        }
        let call_id = message::call_id(&received.request)?;
        let mailbox = self.mailboxes.borrow().get(&call_id).cloned();
        let in_dialog = message::to_tag(&received.request)?.is_some();
        let reply = |code| Reply { code, tag: Some(OUTSIDE_TAG), contact: None, body: "" };
        match (method, mailbox) {
            (_, Some(mailbox)) => {
                let _ = mailbox.send(received);
                Ok(())
            }
            (Method::Ack, None) => Ok(()),
            (Method::Invite, None) if !in_dialog => {
                if requires_extension(&received.request) {
                    return self.respond(&received, reply(420)).await.map(drop);
                }
                self.respond(&received, Reply { tag: None, ..reply(100) }).await?;
                let _ = calls.send(received);
                Ok(())
            }
            (Method::Options, None) if !in_dialog => {
                self.respond(&received, reply(200)).await.map(drop)
            }
            (Method::Bye | Method::Cancel | Method::Update | Method::Info, None)
            | (Method::Invite | Method::Options, None) => {
                self.respond(&received, reply(481)).await.map(drop)
            }
            _ => self.respond(&received, reply(405)).await.map(drop),
        }
    }
}

/// A client transaction: it is over when this is dropped.
struct Client<'a> {
    clients: &'a RefCell<HashMap<String, UnboundedSender<(Response, Instant)>>>,
    branch: String,
    responses: UnboundedReceiver<(Response, Instant)>,
}

impl Client<'_> {
    /// Sends the request until a first response comes, over UDP again and again: timers A and B of an
    /// INVITE (`interval_max` none), E and F of anything else.
    async fn exchange(
        &mut self,
        ua: &Ua,
        target: SocketAddr,
        request: &Request,
        interval_max: Option<Duration>,
    ) -> Result<Answer, CallError> {
        let wire = Vec::from(request.clone());
        let sent = Instant::now();
        ua.send(target, &wire).await?;
        let again = async {
            let mut interval = T1;
            loop {
                sleep(interval).await;
                if matches!(ua.link, Link::Udp { .. }) {
                    ua.resent.set(ua.resent.get() + 1);
                    ua.send(target, &wire).await?;
                }
                interval = (interval * 2).min(interval_max.unwrap_or(TIMEOUT));
            }
        };
        tokio::select! {
            next = self.next(target, request.method, TIMEOUT) => {
                let (response, at) = next?;
                Ok(Answer { response, sent, at })
            }
            failed = again => failed,
        }
    }

    async fn next(
        &mut self,
        target: SocketAddr,
        method: Method,
        waited: Duration,
    ) -> Result<(Response, Instant), CallError> {
        match timeout(waited, self.responses.recv()).await {
            Ok(response) => response.ok_or(CallError::Stopped),
            Err(_) => Err(CallError::NoAnswer { target, method, waited }),
        }
    }
}

impl Drop for Client<'_> {
    fn drop(&mut self) {
        self.clients.borrow_mut().remove(&self.branch);
    }
}

/// What tells server transactions apart, RFC 3261 §17.2.3: a CANCEL has the branch of its INVITE.
fn server_key(request: &Request) -> Result<String, Unreadable> {
    Ok(format!("{} {}", message::branch(request)?, request.method))
}

/// The peers know no extension that could be required (RFC 3261 §8.2.2.3).
fn requires_extension(request: &Request) -> bool {
    request.headers().iter().any(|header| matches!(header, Header::Require(_)))
}

/// Round-trip estimate, RFC 3261 §17.1.1.1.
pub const T1: Duration = Duration::from_millis(500);
/// Longest interval between repetitions, `T2` of RFC 3261 §17.1.2.1.
pub const RESEND_MAX: Duration = Duration::from_secs(4);
/// 64 times T1: timers B, D, F, H, J.
pub const TIMEOUT: Duration = Duration::from_secs(32);
/// How long a peer lets the far end ring.
const RINGING_MAX: Duration = Duration::from_secs(60);
/// To-tag of answers that belong to no dialog.
const OUTSIDE_TAG: &str = "peer";
