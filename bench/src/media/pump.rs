//! One thread that moves the media of every leg of one peer.
//!
//! ```text
//!   each millisecond:  take commands -> send the legs of this slot -> drain every readable socket
//! ```
//!
//! Twenty slots of one millisecond make the 20 ms of a packet; a leg keeps its slot, so its packets
//! are 20 ms apart and the legs are spread evenly. One sleep serves all legs, however many they are.
//! Receiving late costs no accuracy, because the kernel stamps each packet's arrival. A pump that was
//! held up fires the missed slots one after the other, and reads in between: no packet is left out.

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use rustix::event::epoll;
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::oneshot;

use super::g711::Law;
use super::leg::{Leg, LegCounts, LegError, LegSetup};
use super::payload::Way;
use super::socket::Batch;
use super::tone::Tone;

/// The handle of a running pump; its thread ends when this is dropped.
pub struct Pump {
    sends: Way,
    tones: [(Law, Tone); 2],
    control: Sender<Control>,
    live: Arc<Live>,
}

/// Something that happened to the media of one leg.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MediaEvent {
    pub call: u32,
    /// The way of the leg's own packets: it tells the two legs of a call apart.
    pub sends: Way,
    pub mark: MediaMark,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MediaMark {
    /// The leg has sent its last packet.
    Sent,
    /// The leg has received every packet that it expects.
    Complete,
}

/// Totals that others may read while the pump runs.
#[derive(Default)]
struct Live {
    sent: AtomicU64,
    received: AtomicU64,
}

enum Control {
    Open(Box<Leg>),
    Close(u32, oneshot::Sender<LegCounts>),
    Delays(oneshot::Sender<Histogram<u64>>),
}

impl Pump {
    /// Starts the thread. `epoch` is the zero of the run's clock, the same for all pumps of a run.
    pub fn start(
        sends: Way,
        epoch: Instant,
        events: UnboundedSender<MediaEvent>,
    ) -> io::Result<Pump> {
        let (control, commands) = channel();
        let live = Arc::new(Live::default());
        let mut works = Works {
            sends,
            epoch,
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            batch: Batch::new(),
            legs: HashMap::new(),
            slots: [const { Vec::new() }; SLOTS],
            events,
            live: live.clone(),
            delays: empty_delays(),
        };
        thread::Builder::new()
            .name(format!("media-{}", sends.short()))
            .spawn(move || works.run(&commands))?;
        let tones = [Law::A, Law::Mu].map(|law| (law, Tone::new(sends.tone_hz(), law)));
        Ok(Pump { sends, tones, control, live })
    }

    /// Starts the media of a leg: it sends at its next slot.
    pub fn open(&self, setup: LegSetup) -> Result<(), LegError> {
        let [a, mu] = &self.tones;
        let (_, tone) = if setup.law == mu.0 { mu } else { a };
        let leg = Leg::new(setup, self.sends, tone)?;
        // A pump lives until it is finished, which takes the handle: the send cannot fail.
        let _ = self.control.send(Control::Open(Box::new(leg)));
        Ok(())
    }

    /// Drains the leg's sockets a last time, closes them and gives its counts.
    pub async fn close(&self, call: u32) -> LegCounts {
        let (reply, counts) = oneshot::channel();
        let _ = self.control.send(Control::Close(call, reply));
        counts.await.unwrap_or_default()
    }

    /// Packets sent and distinct packets received so far, over all legs.
    pub fn totals(&self) -> (u64, u64) {
        (self.live.sent.load(Ordering::Relaxed), self.live.received.load(Ordering::Relaxed))
    }

    /// The delay of every packet received so far, in nanoseconds.
    pub async fn delays(&self) -> Histogram<u64> {
        let (reply, delays) = oneshot::channel();
        let _ = self.control.send(Control::Delays(reply));
        delays.await.unwrap_or_else(|_| empty_delays())
    }
}

struct Works {
    sends: Way,
    epoch: Instant,
    epoll: OwnedFd,
    batch: Batch,
    legs: HashMap<u32, Box<Leg>>,
    slots: [Vec<u32>; SLOTS],
    events: UnboundedSender<MediaEvent>,
    live: Arc<Live>,
    delays: Histogram<u64>,
}

impl Works {
    /// Until the handle is dropped. An idle pump waits for commands and nothing else.
    fn run(&mut self, commands: &Receiver<Control>) {
        let mut due = Instant::now();
        let mut slot = 0;
        let mut ready = Vec::with_capacity(READY_MAX);
        loop {
            if self.legs.is_empty() {
                let Ok(command) = commands.recv() else { return };
                self.obey(command);
                due = Instant::now();
            }
            loop {
                match commands.try_recv() {
                    Ok(command) => self.obey(command),
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => return,
                }
            }
            for _ in 0..BURST_SLOTS {
                if Instant::now() < due {
                    break;
                }
                self.send_slot(slot);
                slot = (slot + 1) % SLOTS;
                due += TICK;
            }
            self.drain_ready(&mut ready);
            thread::sleep(due.saturating_duration_since(Instant::now()));
        }
    }

    fn obey(&mut self, command: Control) {
        match command {
            Control::Open(leg) => {
                let key = u64::from(leg.call) * 2;
                for (socket, data) in [(&leg.sockets.rtp, key), (&leg.sockets.rtcp, key + 1)] {
                    // Fails only without memory; the leg then receives nothing and says so.
                    let data = epoll::EventData::new_u64(data);
                    let _ = epoll::add(&self.epoll, socket, data, epoll::EventFlags::IN);
                }
                if let Some(slot) = self.slots.get_mut(leg.call as usize % SLOTS) {
                    slot.push(leg.call);
                }
                self.legs.insert(leg.call, leg);
            }
            Control::Close(call, reply) => {
                self.drain(call, Port::Rtp);
                self.drain(call, Port::Rtcp);
                let counts = self.legs.remove(&call).map(|leg| leg.finish()).unwrap_or_default();
                let _ = reply.send(counts);
            }
            Control::Delays(reply) => drop(reply.send(self.delays.clone())),
        }
    }

    fn send_slot(&mut self, slot: usize) {
        let Some(calls) = self.slots.get_mut(slot) else { return };
        let (legs, events, sends) = (&mut self.legs, &self.events, self.sends);
        let mut sent = 0;
        calls.retain(|call| {
            let Some(leg) = legs.get_mut(call) else { return false };
            let before = leg.counts.sent;
            let more = leg.send_next(elapsed_ns(self.epoch));
            sent += leg.counts.sent - before;
            if !more {
                let _ = events.send(MediaEvent { call: *call, sends, mark: MediaMark::Sent });
            }
            more
        });
        self.live.sent.fetch_add(sent, Ordering::Relaxed);
    }

    fn drain_ready(&mut self, ready: &mut Vec<epoll::Event>) {
        let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
        loop {
            ready.clear();
            let spare = rustix::buffer::spare_capacity(ready);
            if epoll::wait(&self.epoll, spare, Some(&now)).is_err() {
                return;
            }
            for event in ready.iter() {
                let key = event.data.u64();
                let port = if key.is_multiple_of(2) { Port::Rtp } else { Port::Rtcp };
                self.drain((key / 2) as u32, port);
            }
            if ready.len() < ready.capacity() {
                return;
            }
        }
    }

    /// Reads one socket of a leg until nothing waits.
    fn drain(&mut self, call: u32, port: Port) {
        let Some(leg) = self.legs.get_mut(&call) else { return };
        let before = leg.counts.received;
        let was_complete = leg.is_complete();
        loop {
            let socket = match port {
                Port::Rtp => &leg.sockets.rtp,
                Port::Rtcp => &leg.sockets.rtcp,
            };
            // An error here is a pending ICMP answer to something sent: it carries no packet.
            let Ok(more) = self.batch.receive(socket) else { break };
            let now_ns = elapsed_ns(self.epoch);
            for (datagram, age) in self.batch.datagrams() {
                match port {
                    Port::Rtcp => leg.take_rtcp(datagram),
                    Port::Rtp => {
                        if let Some(sent_ns) = leg.take_rtp(datagram) {
                            let arrived_ns = now_ns.saturating_sub(age.as_nanos() as u64);
                            let delay_ns = arrived_ns.saturating_sub(sent_ns);
                            // Grows as needed; what is too long to count is no delay.
                            let _ = self.delays.record(delay_ns.max(1));
                        }
                    }
                }
            }
            if !more {
                break;
            }
        }
        self.live.received.fetch_add(leg.counts.received - before, Ordering::Relaxed);
        if leg.is_complete() && !was_complete {
            let mark = MediaMark::Complete;
            let _ = self.events.send(MediaEvent { call, sends: self.sends, mark });
        }
    }
}

#[derive(Clone, Copy)]
enum Port {
    Rtp,
    Rtcp,
}

impl Way {
    const fn short(self) -> &'static str {
        match self {
            Way::InsecureToSecure => "insecure",
            Way::SecureToInsecure => "secure",
        }
    }
}

fn elapsed_ns(epoch: Instant) -> u64 {
    epoch.elapsed().as_nanos() as u64
}

/// Three significant digits, growing as needed: no bound that could be exceeded.
fn empty_delays() -> Histogram<u64> {
    #[expect(clippy::unwrap_used, reason = "fails only above five significant digits")]
    Histogram::new(3).unwrap()
}

const TICK: Duration = Duration::from_millis(1);
const SLOTS: usize = 20;
/// Slots that a late pump catches up with before it reads again: its sockets hold some 250 packets,
/// so they must not wait for the sending.
const BURST_SLOTS: usize = 10;
const READY_MAX: usize = 256;
