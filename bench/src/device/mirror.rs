//! A bare relay inside the bench, with a fault on request: the positive controls.
//!
//! A bench that reports no loss proves something only if it reports the loss that is there. The
//! mirror stands where a device stands, receives from the same wire and sends to it, and spoils
//! what it is told to spoil. Plain RTP only.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddrV4;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, Sender as Mailbox, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::{CallOpen, CallPlan, Device, Identity, LegOpen};
use crate::account::Executor;
use crate::fault::Fault;
use crate::load::frame::{self, HEADERS, Mac};
use crate::load::wire::{Ring, Sender};
use crate::stage::{DEVICE_ADDRESS, Stage};

/// What the mirror does wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Damage {
    None,
    /// Every hundredth packet is dropped.
    Loss,
    /// Every packet is held for 5 ms.
    Delay,
    /// One octet of the payload of every hundredth packet is changed.
    Corruption,
    /// Every hundredth packet is sent twice.
    Repetition,
    /// Every hundredth packet goes to the far end of another call.
    Misdelivery,
}

/// Where packets that reach a port go: from which port, to whom.
type Routes = HashMap<u16, (u16, SocketAddrV4)>;

pub struct Mirror {
    damage: Damage,
    routes: Mailbox<Routes>,
    known: Routes,
    thread: Option<JoinHandle<std::io::Result<()>>>,
    thread_id: Arc<AtomicU32>,
    stop: Arc<AtomicBool>,
    failed: Arc<Mutex<Option<String>>>,
}

impl Mirror {
    /// Starts its thread in the device's namespace, on the device's core.
    ///
    /// # Errors
    /// The wire cannot be opened there.
    pub fn start(damage: Damage, stage: &Stage) -> Result<Mirror, Fault> {
        let (routes, inbox) = channel();
        let stop = Arc::new(AtomicBool::new(false));
        let thread_id = Arc::new(AtomicU32::new(0));
        let core = stage.plan.device_cores.first().copied().unwrap_or(1);
        let index = stage.device.index;
        let wires = stage
            .device
            .inside(core, || Ok::<_, std::io::Error>((Sender::open(index)?, Ring::open(index)?)))?;
        let (sender, ring) = wires.map_err(Fault::io("open the device's wire"))?;
        let failed = Arc::new(Mutex::new(None));
        let relay = Relay {
            spoiler: Spoiler::new(damage, stage.macs_back()),
            sender,
            ring,
            inbox,
            held: VecDeque::new(),
        };
        let (own_stop, own_id) = (stop.clone(), thread_id.clone());
        let thread = std::thread::spawn(move || {
            let _ = crate::stage::pin(core);
            let id = rustix::thread::gettid().as_raw_nonzero().get().cast_unsigned();
            own_id.store(id, Ordering::Release);
            relay.run(&own_stop)
        });
        while thread_id.load(Ordering::Acquire) == 0 {
            std::thread::yield_now();
        }
        let known = Routes::new();
        Ok(Mirror { damage, routes, known, thread: Some(thread), thread_id, stop, failed })
    }
}

impl Device for Mirror {
    fn identity(&self) -> Identity {
        Identity {
            name: "mirror".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            tuning: format!("damage {:?}", self.damage),
        }
    }

    fn executor(&self) -> Executor {
        Executor::Thread(self.thread_id.load(Ordering::Acquire))
    }

    fn open(&mut self, call: &CallPlan) -> Result<CallOpen, Fault> {
        if call.a.key.is_some() || call.b.key.is_some() {
            return Err(Fault::new("the mirror relays plain RTP only", "choose `relay`"));
        }
        let open = route(&mut self.known, call);
        let gone = |_| Fault::new("the mirror is gone", "");
        self.routes.send(self.known.clone()).map_err(gone)?;
        Ok(open)
    }

    fn close(&mut self, call: u32) -> Result<(), Fault> {
        let port = PORT_FIRST + 4 * call as u16;
        self.known.remove(&port);
        self.known.remove(&(port + 2));
        Ok(())
    }

    fn drops(&self) -> Vec<(String, u64)> {
        let failed = self.failed.lock().ok().and_then(|failed| failed.clone());
        failed.map(|why| (why, 1)).into_iter().collect()
    }
}

impl Drop for Mirror {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(Ok(Err(error))) = self.thread.take().map(JoinHandle::join)
            && let Ok(mut failed) = self.failed.lock()
        {
            *failed = Some(error.to_string());
        }
    }
}

struct Relay {
    spoiler: Spoiler,
    sender: Sender,
    ring: Ring,
    inbox: Receiver<Routes>,
    held: VecDeque<(Instant, Vec<u8>)>,
}

impl Relay {
    fn run(mut self, stop: &AtomicBool) -> std::io::Result<()> {
        while !stop.load(Ordering::Relaxed) {
            while let Ok(routes) = self.inbox.try_recv() {
                self.spoiler.routes = routes;
            }
            let Relay { spoiler, ring, held, .. } = &mut self;
            ring.drain(|received| {
                let now = Instant::now();
                spoiler.relay(received.frame, |hold, frame| held.push_back((now + hold, frame)));
            });
            self.send()?;
            std::thread::sleep(TICK);
        }
        Ok(())
    }

    fn send(&mut self) -> std::io::Result<()> {
        let now = Instant::now();
        let due = self.held.iter().take_while(|(at, _)| *at <= now).count();
        let frames: Vec<&[u8]> = self.held.iter().take(due).map(|(_, f)| f.as_slice()).collect();
        self.sender.send(&frames)?;
        self.held.drain(..due);
        Ok(())
    }
}

/// Decides what becomes of each frame. Pure, so that a test needs no wire.
pub struct Spoiler {
    damage: Damage,
    macs: (Mac, Mac),
    routes: Routes,
    count: u64,
}

impl Spoiler {
    pub fn new(damage: Damage, macs: (Mac, Mac)) -> Spoiler {
        Spoiler { damage, macs, routes: Routes::new(), count: 0 }
    }

    /// Hands each frame that leaves for `frame` to `leave`, and how long it is held before.
    pub fn relay(&mut self, frame: &[u8], mut leave: impl FnMut(Duration, Vec<u8>)) {
        let Spoiler { damage, macs, routes, count } = self;
        let Some(datagram) = frame::parse(frame) else { return };
        let Some((from, to)) = routes.get(&datagram.to.port()) else { return };
        *count += 1;
        let chosen = *count % ONE_IN == 0;
        let other = routes.values().find(|(_, other)| chosen && other.ip() == to.ip());
        let to = match (*damage, other) {
            (Damage::Misdelivery, Some((_, other))) => other,
            _ => to,
        };
        let from = SocketAddrV4::new(DEVICE_ADDRESS, *from);
        let mut out = frame::headers(*macs, from, *to, datagram.payload.len() as u16).to_vec();
        out.extend_from_slice(datagram.payload);
        match damage {
            Damage::Loss if chosen => return,
            Damage::Corruption if chosen => {
                if let Some(octet) = out.get_mut(HEADERS + SPOILT_OCTET) {
                    *octet ^= 0x10;
                }
            }
            Damage::Repetition if chosen => leave(Duration::ZERO, out.clone()),
            _ => {}
        }
        leave(if *damage == Damage::Delay { HELD } else { Duration::ZERO }, out);
    }

    /// Joins the legs of a call; gives their addresses.
    #[cfg(test)]
    pub fn open(&mut self, call: &CallPlan) -> CallOpen {
        route(&mut self.routes, call)
    }
}

fn route(routes: &mut Routes, call: &CallPlan) -> CallOpen {
    let port = PORT_FIRST + 4 * call.index as u16;
    routes.insert(port, (port + 2, call.b.far));
    routes.insert(port + 2, (port, call.a.far));
    let leg = |port| LegOpen { device: SocketAddrV4::new(DEVICE_ADDRESS, port), key: None };
    CallOpen { a: leg(port), b: leg(port + 2) }
}

const PORT_FIRST: u16 = 20_000;
/// Damage is done to one packet in this many. It shares no factor with the sampling of flows.
const ONE_IN: u64 = 101;
const HELD: Duration = Duration::from_millis(5);
/// Within the payload of the packet, beyond its RTP header.
const SPOILT_OCTET: usize = 60;
const TICK: Duration = Duration::from_micros(100);
