//! One TCP or TLS connection: a reader that frames, a writer that drains a bounded queue.
//!
//! Both run in one task, so that the end of either is the end of the connection, and the shard
//! hears of it exactly once.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Bytes, BytesMut};
use sip::endpoint::{Hop, Transport};
use sip::wire::{Frame, Framer, ParseError};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, timeout, timeout_at};

use super::counters::Counters;
use super::limits::{HOPS_MAX, READ_BYTES, WRITE_BYTES};
use super::{Core, Inbound, Listener, keepalive};
use crate::trunk::{Called, Origin, attribute};

/// What others hold of a connection.
pub(super) struct Connection {
    number: u64,
    /// As the first message was sent (dialled) or as messages arrive (accepted).
    hop: Hop,
    /// The listener that accepted it; `None` for connections that we opened.
    accepted_by: Option<Listener>,
    queue: mpsc::UnboundedSender<Write>,
    queued: AtomicUsize,
    closing: AtomicBool,
    /// A message came that belongs to a trunk.
    proven: AtomicBool,
    evicted: AtomicBool,
    abort: Notify,
    /// Hops that messages were queued for, to tell them of a failure.
    hops: Mutex<Vec<Hop>>,
    /// Pongs that came.
    pongs: AtomicUsize,
    ponged: Notify,
}

/// The other end of a connection's queue.
pub(super) type Queue = mpsc::UnboundedReceiver<Write>;

pub(super) enum Write {
    Bytes(Bytes),
    /// Write what came before, then close.
    Close,
}

/// Why a connection ended, for the log and the counters.
enum End {
    /// The peer closed, or we were asked to.
    Closed,
    FirstMessageMissed,
    Idle,
    PongMissed,
    /// Another connection took its place.
    Evicted,
    WriteStuck,
    Malformed,
    Broken(std::io::Error),
}

impl Connection {
    /// A connection that is to be opened for a hop.
    pub(super) fn dialled(number: u64, hop: Hop) -> (Arc<Self>, Queue) {
        Self::new(number, hop, None)
    }

    /// A connection that a peer opened.
    pub(super) fn accepted(
        number: u64,
        listener: Listener,
        remote: SocketAddr,
    ) -> (Arc<Self>, Queue) {
        let transport = listener.transport;
        let hop = Hop { transport, remote, connection: number, tag: 0 };
        Self::new(number, hop, Some(listener))
    }

    fn new(number: u64, hop: Hop, accepted_by: Option<Listener>) -> (Arc<Self>, Queue) {
        let (queue, receiver) = mpsc::unbounded_channel();
        let connection = Self {
            number,
            hop,
            accepted_by,
            queue,
            queued: AtomicUsize::new(0),
            closing: AtomicBool::new(false),
            proven: AtomicBool::new(false),
            evicted: AtomicBool::new(false),
            abort: Notify::new(),
            hops: Mutex::new(Vec::new()),
            pongs: AtomicUsize::new(0),
            ponged: Notify::new(),
        };
        (Arc::new(connection), receiver)
    }

    pub(super) fn number(&self) -> u64 {
        self.number
    }

    pub(super) fn transport(&self) -> Transport {
        self.hop.transport
    }

    pub(super) fn remote(&self) -> SocketAddr {
        self.hop.remote
    }

    /// Tag of the trunk that it was opened for.
    pub(super) fn tag(&self) -> u32 {
        self.hop.tag
    }

    /// How messages to the same place find it; `None` for accepted connections.
    pub(super) fn opened_key(&self) -> Option<(Transport, SocketAddr, u32)> {
        let key = (self.hop.transport, self.hop.remote, self.hop.tag);
        self.accepted_by.is_none().then_some(key)
    }

    /// Whether it may not be evicted.
    pub(super) fn is_proven(&self) -> bool {
        self.proven.load(Ordering::Relaxed)
    }

    /// Ends it at once, in the middle of its handshake too.
    pub(super) fn evict(&self) {
        self.evicted.store(true, Ordering::Relaxed);
        self.closing.store(true, Ordering::Relaxed);
        self.abort.notify_one();
    }

    /// Waits until it is to end at once.
    pub(super) async fn aborted(&self) {
        self.abort.notified().await;
    }

    pub(super) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Relaxed)
    }

    /// Queues bytes within `limit`; beyond it the peer does not read, and the connection ends.
    pub(super) fn push(&self, hop: Hop, bytes: Bytes, limit: usize) -> Result<(), &'static str> {
        let length = bytes.len();
        if self.queued.fetch_add(length, Ordering::Relaxed) + length > limit {
            self.queued.fetch_sub(length, Ordering::Relaxed);
            self.closing.store(true, Ordering::Relaxed);
            self.abort.notify_one();
            return Err("the connection's write queue is full: the peer does not read");
        }
        let mut hops = self.hops.lock().unwrap_or_else(PoisonError::into_inner);
        if hops.len() < HOPS_MAX && !hops.contains(&hop) {
            hops.push(hop);
        }
        drop(hops);
        self.queue.send(Write::Bytes(bytes)).map_err(|_| "the connection is closed")
    }

    /// Queues a ping of ours.
    pub(super) fn ping(&self, ping: Bytes, limit: usize) -> Result<(), &'static str> {
        self.push(Hop { connection: self.number, ..self.hop }, ping, limit)
    }

    pub(super) fn pongs(&self) -> usize {
        self.pongs.load(Ordering::Relaxed)
    }

    /// Waits for the next pong.
    pub(super) async fn ponged(&self) {
        self.ponged.notified().await;
    }

    /// Closes after what is queued has been written.
    pub(super) fn close(&self) {
        self.closing.store(true, Ordering::Relaxed);
        // Failure means that it is closed already.
        let _closed = self.queue.send(Write::Close);
    }

    /// Takes the connection out of the table and tells the shards: once `Closed` if it was ever
    /// up, and `Failed` for each hop that was used and does not name it.
    pub(super) async fn bury(self: &Arc<Self>, core: &Core, was_up: bool) {
        self.closing.store(true, Ordering::Relaxed);
        core.table().remove(self);
        if was_up {
            let hop = Hop { connection: self.number, ..self.hop };
            core.inboxes.deliver_all(|| Inbound::Closed { hop }).await;
        }
        let hops = std::mem::take(&mut *self.hops.lock().unwrap_or_else(PoisonError::into_inner));
        for hop in hops {
            if !was_up || hop.connection != self.number {
                core.inboxes.deliver_all(|| Inbound::Failed { hop }).await;
            }
        }
    }
}

/// Serves a connection that is up until it ends, then buries it.
pub(super) async fn serve<S>(
    core: Arc<Core>,
    connection: Arc<Connection>,
    queue: Queue,
    socket: S,
    origin: Origin,
) where
    S: AsyncRead + AsyncWrite,
{
    let (read_half, write_half) = tokio::io::split(socket);
    let end = tokio::select! {
        end = read(&core, &connection, read_half, &origin) => end,
        end = write(&core, &connection, write_half, queue) => end,
        () = keepalive::pings(&core, &connection, &origin) => End::PongMissed,
        () = connection.aborted() => match connection.evicted.load(Ordering::Relaxed) {
            true => End::Evicted,
            false => End::WriteStuck,
        },
    };
    let counters = &core.counters;
    let (peer, transport) = (connection.remote(), connection.transport().as_str());
    match end {
        End::Closed | End::Malformed | End::Evicted => {}
        End::FirstMessageMissed => {
            Counters::count(&counters.first_message_missed);
            tracing::debug!(%peer, transport, "closed: no message in time");
        }
        End::Idle => {
            Counters::count(&counters.idle_closed);
            tracing::debug!(%peer, transport, "closed: idle");
        }
        End::PongMissed => {
            Counters::count(&counters.pongs_missed);
            tracing::warn!(%peer, transport, "connection closed: the peer answers no ping any more");
        }
        End::WriteStuck => {
            Counters::count(&counters.writes_stuck);
            tracing::warn!(%peer, transport, "connection closed: the peer does not read");
        }
        End::Broken(cause) => tracing::debug!(%peer, transport, %cause, "connection broke"),
    }
    connection.bury(&core, true).await;
}

async fn read<S>(
    core: &Core,
    connection: &Arc<Connection>,
    mut socket: ReadHalf<S>,
    origin: &Origin,
) -> End
where
    S: AsyncRead + AsyncWrite,
{
    let mut framer = Framer::new();
    let mut buffer = vec![0; READ_BYTES];
    let mut waiting_for_first = connection.accepted_by.is_some();
    let mut deadline = match waiting_for_first {
        true => Instant::now() + core.limits.first_message,
        false => Instant::now() + core.limits.idle,
    };
    loop {
        let length = match timeout_at(deadline, socket.read(&mut buffer)).await {
            Err(_) if waiting_for_first => return End::FirstMessageMissed,
            Err(_) => return End::Idle,
            Ok(Ok(0)) => return End::Closed,
            Ok(Ok(length)) => length,
            Ok(Err(cause)) => return End::Broken(cause),
        };
        let mut pushed = framer.push(buffer.get(..length).unwrap_or_default());
        loop {
            match pushed.and_then(|()| framer.next()) {
                Ok(Some(frame)) => {
                    // Pings keep alive what has spoken SIP, not what holds a place.
                    waiting_for_first &= !matches!(frame, Frame::Message(_));
                    if !waiting_for_first {
                        deadline = Instant::now() + core.limits.idle;
                    }
                    take(core, connection, origin, frame).await;
                }
                Ok(None) => break,
                Err(error) => {
                    refuse(core, connection, origin, error).await;
                    return End::Malformed;
                }
            }
            pushed = Ok(());
        }
    }
}

async fn take(core: &Core, connection: &Arc<Connection>, origin: &Origin, frame: Frame) {
    match frame {
        Frame::Message(message) => {
            let hop = inbound_hop(core, connection, origin);
            if hop.tag != 0 {
                connection.proven.store(true, Ordering::Relaxed);
            }
            Counters::count(&core.counters.messages_in);
            let shard = core.inboxes.home(&message);
            let inbound = Inbound::Message { hop, origin: origin.clone(), message };
            core.inboxes.deliver(shard, inbound).await;
            core.inboxes.breathe(shard).await;
        }
        Frame::Ping => {
            // A peer that pings without reading runs into the queue's limit like any other.
            let hop = Hop { connection: connection.number, ..connection.hop };
            let pong = Bytes::from_static(b"\r\n");
            let _full = connection.push(hop, pong, core.limits.write_queue_bytes);
        }
        Frame::Pong => {
            connection.pongs.fetch_add(1, Ordering::Relaxed);
            connection.ponged.notify_one();
        }
    }
}

async fn refuse(core: &Core, connection: &Arc<Connection>, origin: &Origin, error: ParseError) {
    Counters::count(&core.counters.malformed);
    let hop = inbound_hop(core, connection, origin);
    let origin = origin.clone();
    let inbound = Inbound::Malformed { hop, origin, error, raw: Bytes::new() };
    core.inboxes.deliver(0, inbound).await;
}

/// The way back for a message: this connection, tagged with the trunk if the source tells one.
fn inbound_hop(core: &Core, connection: &Connection, origin: &Origin) -> Hop {
    let tag = match connection.hop.tag {
        0 => attribute(&core.plan.table(), origin, Called::default()).map_or(0, |id| id.tag()),
        tag => tag,
    };
    Hop { connection: connection.number, tag, ..connection.hop }
}

async fn write<S>(
    core: &Core,
    connection: &Connection,
    mut socket: WriteHalf<S>,
    mut queue: Queue,
) -> End
where
    S: AsyncRead + AsyncWrite,
{
    let mut batch = BytesMut::with_capacity(WRITE_BYTES);
    loop {
        let mut next = queue.recv().await;
        // What waits behind it goes into the same write.
        let close = loop {
            match next {
                Some(Write::Bytes(bytes)) => batch.extend_from_slice(&bytes),
                Some(Write::Close) | None => break true,
            }
            if batch.len() >= WRITE_BYTES {
                break false;
            }
            match queue.try_recv() {
                Ok(write) => next = Some(write),
                Err(_) => break false,
            }
        };
        let length = batch.len();
        let written = timeout(core.limits.write, async {
            socket.write_all(&batch).await?;
            socket.flush().await
        });
        match written.await {
            Ok(Ok(())) => {}
            Ok(Err(cause)) => return End::Broken(cause),
            Err(_) => return End::WriteStuck,
        }
        batch.clear();
        connection.queued.fetch_sub(length, Ordering::Relaxed);
        if close {
            // The peer learns that nothing more comes; if it is gone, so be it.
            let _gone = timeout(core.limits.write, socket.shutdown()).await;
            return End::Closed;
        }
    }
}
