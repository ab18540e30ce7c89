//! One thread on the load core: sends what is due, drains what came back.
//!
//! Packets are due by the clock, never by what came back, so that a slow device gets no mercy.
//! When the thread was kept from running for long, the packets of that time are left out (and
//! counted as skipped) instead of being thrown at the device in one burst.

use std::io;
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::thread::set_current_timer_slack;

use super::script::Script;
use super::verify::Verifier;
use super::wire::{Ring, Sender};

/// What the load thread and the one that measures share.
pub struct Shared {
    /// Ordinal of the next packet: the clock of the run.
    pub next: AtomicU64,
    /// Leave as soon as possible.
    pub stop: AtomicBool,
    /// Port of the device that each flow sends to now; 0 is silence.
    pub ports: Vec<AtomicU32>,
}

/// What the generator did within the window.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Driven {
    /// Packets handed to the wire, those included that the device's ring had no room for.
    pub sent: u64,
    /// Of `sent`: no room in the device's receive ring.
    pub refused: u64,
    /// Packets that were left out because this thread was held up.
    pub skipped: u64,
    /// Frames that the sink's ring had no room for: a fault of the bench, not of the device.
    pub sink_dropped: u64,
    /// CPU time of this thread over the whole run.
    pub cpu_ns: u64,
    pub wall_ns: u64,
}

/// Everything the load thread works with.
pub struct Load<'a> {
    pub sender: Sender,
    pub ring: Ring,
    pub script: &'a mut Script,
    pub verifier: &'a mut Verifier,
    pub window: std::ops::Range<usize>,
    pub pps: u32,
    pub shared: &'a Shared,
}

impl Load<'_> {
    /// Runs until the script is spent, then waits for stragglers.
    ///
    /// # Errors
    /// Those of the wire.
    pub fn run(mut self) -> io::Result<Driven> {
        // Best effort: without them the pace is coarser, which the skipped packets would show.
        let _ = set_current_timer_slack(NonZeroU64::new(1));
        let _ = super::wire::rise_above_others();
        let thread = rustix::thread::gettid().as_raw_nonzero().get().cast_unsigned();
        let cpu = || crate::account::thread_ns(std::process::id(), thread);
        let cpu_before = cpu();
        let mut sent_at = vec![0; self.script.len()];
        let mut driven = Driven::default();
        self.ring.dropped()?;
        let start = Instant::now();
        while self.send_due(start, &mut sent_at, &mut driven)? {
            self.collect(&sent_at);
            std::thread::sleep(TICK);
        }
        let end = Instant::now();
        while end.elapsed() < STRAGGLERS && !self.shared.stop.load(Ordering::Relaxed) {
            std::thread::sleep(TICK);
            self.collect(&sent_at);
        }
        driven.sink_dropped = self.ring.dropped()?;
        driven.cpu_ns = cpu().saturating_sub(cpu_before);
        driven.wall_ns = u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        Ok(driven)
    }

    /// Sends what is due; `false` when the script is spent or the run is over.
    fn send_due(
        &mut self,
        start: Instant,
        sent_at: &mut [u64],
        driven: &mut Driven,
    ) -> io::Result<bool> {
        let mut next = self.shared.next.load(Ordering::Relaxed) as usize;
        let total = self.script.len();
        let due = (start.elapsed().as_nanos() * u128::from(self.pps) / 1_000_000_000) as usize;
        let due = due.min(total);
        if due.saturating_sub(next) > BURST_MAX {
            let held = due - BURST_MAX;
            driven.skipped += overlap(&self.window, next..held);
            next = held;
        }
        while next < due {
            let end = due.min(next + CHUNK);
            self.send_chunk(next..end, sent_at, driven)?;
            next = end;
            self.shared.next.store(next as u64, Ordering::Relaxed);
        }
        Ok(next < total && !self.shared.stop.load(Ordering::Relaxed))
    }

    fn send_chunk(
        &mut self,
        chunk: std::ops::Range<usize>,
        sent_at: &mut [u64],
        driven: &mut Driven,
    ) -> io::Result<()> {
        for n in chunk.clone() {
            self.redirect(n);
        }
        let mut frames = [[].as_slice(); CHUNK];
        let mut count = 0;
        let now = realtime_ns();
        for n in chunk.clone() {
            let silent = self.port(n) == 0;
            let Some(frame) = self.script.frame(n).filter(|_| !silent) else { continue };
            if let (Some(place), Some(at)) = (frames.get_mut(count), sent_at.get_mut(n)) {
                *place = frame;
                *at = now;
                count += 1;
                driven.sent += u64::from(self.window.contains(&n));
            }
        }
        let sent = self.sender.send(frames.get(..count).unwrap_or_default())?;
        if self.window.contains(&chunk.start) {
            driven.refused += sent.refused as u64;
        }
        Ok(())
    }

    /// Follows a call to its new port.
    fn redirect(&mut self, n: usize) {
        let port = self.port(n);
        if port & MOVED != 0 {
            self.script.redirect(n, port as u16);
        }
    }

    fn port(&self, n: usize) -> u32 {
        let flow = self.script.flow_of(n) as usize;
        self.shared.ports.get(flow).map_or(0, |port| port.load(Ordering::Relaxed))
    }

    fn collect(&mut self, sent_at: &[u64]) {
        let verifier = &mut *self.verifier;
        self.ring.drain(|received| {
            verifier.take(received.frame, received.at_ns, |n| sent_at.get(n).copied().unwrap_or(0));
        });
    }
}

fn overlap(a: &std::ops::Range<usize>, b: std::ops::Range<usize>) -> u64 {
    a.end.min(b.end).saturating_sub(a.start.max(b.start)) as u64
}

fn realtime_ns() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)
}

/// In [`Shared::ports`]: the port is another than the script was prepared with.
pub const MOVED: u32 = 1 << 16;
/// How often the thread looks at the clock.
const TICK: Duration = Duration::from_micros(50);
/// Packets of one send call.
const CHUNK: usize = 64;
/// Packets that are sent at once after a hold-up: half of the 256 that the ring of a veth takes.
const BURST_MAX: usize = 128;
/// How long packets may be under way after the last one was sent.
const STRAGGLERS: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_overlap_by_what_both_hold() {
        assert_eq!(overlap(&(10..20), 0..5), 0);
        assert_eq!(overlap(&(10..20), 5..15), 5);
        assert_eq!(overlap(&(10..20), 12..13), 1);
        assert_eq!(overlap(&(10..20), 0..99), 10);
    }
}
