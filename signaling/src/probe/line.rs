//! A short-lived endpoint with a socket of its own: nothing of a test passes through the shard, so
//! no call can feel it. Requests that arrive here are not calls and are never processed: all but
//! those of the test's own dialog are dropped.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use sip::endpoint::{
    Cause, ClientId, Config, DialogId, Endpoint, Event, Hop, Input, Output, Transport,
};
use sip::transaction::Timers;
use sip::wire::{Frame, Framer, Message, Method, Request, Response, StatusCode, parse};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::UdpSocket;
use tokio::time::timeout_at;

use super::ladder::Ladder;

/// What carries the test.
pub(super) enum Socket {
    Udp(UdpSocket),
    Bytes(Box<dyn Duplex>, Framer),
}

/// A TCP or TLS connection.
pub(super) trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Duplex for T {}

/// Why no answer came.
#[derive(Debug)]
pub(super) enum Silence {
    /// Nothing in time.
    Timeout,
    /// The socket broke.
    Broken(io::Error),
    /// The peer closed the connection.
    Closed,
    /// The request could not even be written.
    Unsendable(String),
}

/// The endpoint and its socket.
pub(super) struct Line {
    endpoint: Endpoint,
    socket: Socket,
    hop: Hop,
    local: SocketAddr,
    pub(super) ladder: Ladder,
    broken: Option<Silence>,
    timer: Option<Instant>,
}

/// How a line introduces itself.
pub(super) struct Introduction {
    /// `host:port` in Via.
    pub(super) sent_by: String,
    /// Contact URI.
    pub(super) contact: String,
    pub(super) seed: [u8; 32],
}

impl Line {
    pub(super) fn new(
        socket: Socket,
        transport: Transport,
        ends: (SocketAddr, SocketAddr),
        introduction: Introduction,
        ladder: Ladder,
    ) -> Self {
        let Introduction { sent_by, contact, seed } = introduction;
        let endpoint = Endpoint::new(Config {
            seed,
            timers: Timers::default(),
            transactions_max: TRANSACTIONS_MAX,
            dialogs_max: TRANSACTIONS_MAX,
            user_agent: concat!("Trunkline/", env!("CARGO_PKG_VERSION")).to_owned(),
            via: Box::new(move |_| sent_by.clone()),
            contact: Box::new(move |_| contact.clone()),
            stays: Box::new(|_, _| true),
        });
        let (local, remote) = ends;
        // One connection, one number: answers are taken from it alone.
        let hop = Hop { transport, remote, connection: 1, tag: 1 };
        Self { endpoint, socket, hop, local, ladder, broken: None, timer: None }
    }

    /// Sends a request.
    pub(super) async fn send(&mut self, request: Request) -> Result<ClientId, Silence> {
        let sent = self.endpoint.request(Instant::now(), self.hop, request);
        sent.map_err(|cause| Silence::Unsendable(cause.to_string()))
    }

    /// Sends a refused request again with more headers.
    pub(super) fn again(
        &mut self,
        client: ClientId,
        extra: Vec<(sip::wire::HeaderName, Bytes)>,
    ) -> Result<ClientId, Silence> {
        let sent = self.endpoint.reissue(Instant::now(), client, extra);
        sent.map_err(|cause| Silence::Unsendable(cause.to_string()))
    }

    /// Acknowledges a 2xx.
    pub(super) fn ack(&mut self, dialog: DialogId) {
        let _answered_already = self.endpoint.ack(Instant::now(), dialog, None);
    }

    /// Gives an INVITE up.
    pub(super) fn cancel(&mut self, client: ClientId) {
        let _over_already = self.endpoint.cancel(Instant::now(), client);
    }

    /// Sends a request inside the test's dialog.
    pub(super) fn inside(&mut self, dialog: DialogId, method: Method) -> Option<ClientId> {
        let now = Instant::now();
        self.endpoint.request_in_dialog(now, dialog, method, Vec::new(), None).ok()
    }

    /// The next answer to `client` until `deadline`; provisional ones too.
    pub(super) async fn answer(
        &mut self,
        client: ClientId,
        deadline: Instant,
    ) -> Result<(Option<DialogId>, Response), Silence> {
        loop {
            match self.event(deadline).await? {
                Event::Response { transaction, dialog, response, .. } if transaction == client => {
                    return Ok((dialog, response));
                }
                Event::Failed { transaction, cause } if transaction == client => {
                    let why = self.broken.take();
                    return Err(match cause {
                        Cause::Timeout => Silence::Timeout,
                        Cause::Transport => why.unwrap_or(Silence::Closed),
                    });
                }
                other => self.dismiss(other),
            }
        }
    }

    /// The final answer to a request that is no INVITE.
    pub(super) async fn ask(
        &mut self,
        client: ClientId,
        limit: Duration,
    ) -> Result<Response, Silence> {
        let deadline = Instant::now() + limit;
        loop {
            let (_, response) = self.answer(client, deadline).await?;
            if !response.status.is_provisional() {
                return Ok(response);
            }
        }
    }

    /// Carries on until `deadline`, or until the peer ends the dialog: then `true`.
    pub(super) async fn hold(&mut self, deadline: Instant) -> bool {
        loop {
            match self.event(deadline).await {
                Ok(Event::InDialog { transaction, request, .. })
                    if request.method == Method::Bye =>
                {
                    let now = Instant::now();
                    let (ok, none) = (StatusCode::OK, Vec::new());
                    let _gone = self.endpoint.respond(now, transaction, ok, none, None);
                    self.flush().await;
                    return true;
                }
                Ok(other) => self.dismiss(other),
                Err(_) => return false,
            }
        }
    }

    /// What nobody waits for.
    fn dismiss(&mut self, event: Event) {
        match event {
            // Never a call: this endpoint exists for its own requests alone.
            Event::Request { transaction, .. } | Event::InDialog { transaction, .. } => {
                self.endpoint.drop_server(transaction);
            }
            _ => {}
        }
    }

    /// Runs the endpoint until it has an event.
    async fn event(&mut self, deadline: Instant) -> Result<Event, Silence> {
        loop {
            if let Some(event) = self.flush().await {
                return Ok(event);
            }
            let until = self.timer.map_or(deadline, |timer| timer.min(deadline));
            let heard = timeout_at(until.into(), receive(&mut self.socket)).await;
            let now = Instant::now();
            match heard {
                Err(_) if now >= deadline => return Err(Silence::Timeout),
                Err(_) => self.endpoint.handle_input(now, Input::Timer),
                Ok(Ok(heard)) => self.take(now, heard).await,
                Ok(Err(silence)) => {
                    self.broken = Some(silence);
                    self.endpoint.handle_input(now, Input::Failed { hop: self.hop });
                    // With nothing left to fail, the break itself is the news.
                    if let Some(event) = self.flush().await {
                        return Ok(event);
                    }
                    return Err(self.broken.take().unwrap_or(Silence::Closed));
                }
            }
        }
    }

    async fn take(&mut self, now: Instant, heard: Vec<(Message, Bytes)>) {
        for (message, raw) in heard {
            self.ladder.add(false, self.hop.transport, (self.local, self.hop.remote), &raw);
            self.endpoint.handle_input(now, Input::Message { hop: self.hop, message });
        }
    }

    /// Writes what waits to be written; the first event ends it.
    async fn flush(&mut self) -> Option<Event> {
        loop {
            match self.endpoint.poll_output() {
                Output::Transmit { hop, bytes } => {
                    self.ladder.add(true, hop.transport, (self.local, hop.remote), &bytes);
                    if let Err(cause) = self.write(hop.remote, &bytes).await {
                        self.broken = Some(Silence::Broken(cause));
                        let failed = Input::Failed { hop: self.hop };
                        self.endpoint.handle_input(Instant::now(), failed);
                    }
                }
                Output::Event(event) => return Some(event),
                Output::Timeout(at) => {
                    self.timer = Some(at);
                    return None;
                }
                Output::Idle => {
                    self.timer = None;
                    return None;
                }
            }
        }
    }

    /// A connected UDP socket tells of ICMP; it follows a dialog to where the peer's Contact leads.
    async fn write(&mut self, remote: SocketAddr, bytes: &[u8]) -> io::Result<()> {
        match &mut self.socket {
            Socket::Udp(socket) => {
                if remote != self.hop.remote {
                    socket.connect(remote).await?;
                    self.hop.remote = remote;
                }
                socket.send(bytes).await.map(|_| ())
            }
            Socket::Bytes(socket, _) => {
                socket.write_all(bytes).await?;
                socket.flush().await
            }
        }
    }
}

/// Whole messages with their text. What is no message is passed over: the test judges answers.
async fn receive(socket: &mut Socket) -> Result<Vec<(Message, Bytes)>, Silence> {
    let mut buffer = vec![0; RECEIVE_BYTES];
    match socket {
        Socket::Udp(socket) => {
            let length = socket.recv(&mut buffer).await.map_err(Silence::Broken)?;
            let raw = Bytes::copy_from_slice(buffer.get(..length).unwrap_or_default());
            Ok(parse(raw.clone()).ok().map(|message| (message, raw)).into_iter().collect())
        }
        Socket::Bytes(socket, framer) => {
            let length = socket.read(&mut buffer).await.map_err(Silence::Broken)?;
            if length == 0 {
                return Err(Silence::Closed);
            }
            let broken = |_| Silence::Closed;
            framer.push(buffer.get(..length).unwrap_or_default()).map_err(broken)?;
            let mut messages = Vec::new();
            while let Some(frame) = framer.next().map_err(broken)? {
                if let Frame::Message(message) = frame {
                    let raw = message.to_bytes();
                    messages.push((message, raw));
                }
            }
            Ok(messages)
        }
    }
}

/// A test has a handful of transactions.
const TRANSACTIONS_MAX: usize = 32;
const RECEIVE_BYTES: usize = 65_535;
