//! The only loop of signaling: a thread per shard that runs it on real time, real sockets and a
//! real data plane. It waits for a message, a question, a doorbell of the data plane, the nearest
//! deadline or the end; the shard mutates once and drains.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, RecvError, Sender, select};

use crate::End;
use crate::ask::{self, Ask};
use crate::media::{Bells, Media};
use crate::net::Inbound;
use crate::shard::{Moment, Shard};
use crate::start::INBOX_MAX;
use crate::watch::{Bell, watch};

/// How often a lost data plane is looked for.
const ATTACH_PAUSE: Duration = Duration::from_millis(200);
/// How long calls may take to end when the gateway stops.
const STOP_LIMIT: Duration = Duration::from_secs(5);
/// The loop looks around at least this often.
const TICK: Duration = Duration::from_secs(1);
/// Messages that wait, beyond which new calls are refused: half of what may.
const CROWDED: usize = INBOX_MAX / 2;
/// Messages taken in one turn before timers are looked at again.
const BURST: usize = 256;

/// How to find the data plane again.
pub enum Attachment {
    /// The first shard looks for it, and gives each of the others its part.
    Seeks { socket: PathBuf, orphan_grace: Duration, others: Vec<Sender<(Media, Bells)>> },
    /// It is given.
    Given(Receiver<(Media, Bells)>),
}

/// Where a shard's work comes from.
pub struct Sources {
    pub inbox: Receiver<Inbound>,
    pub asks: Receiver<Ask>,
    pub bells: Receiver<Bell>,
    pub stopped: Receiver<End>,
}

/// What runs a shard.
pub struct Driver {
    pub shard: Shard,
    pub attachment: Attachment,
    /// Rings when there is a new plan.
    pub published: Receiver<()>,
    /// Whom the first shard tells how to end.
    pub others: Vec<Sender<End>>,
}

impl Driver {
    /// Runs until told to end. Ending calls takes at most [`STOP_LIMIT`].
    pub fn run(mut self, sources: Sources) {
        let Sources { inbox, asks, mut bells, mut stopped } = sources;
        let mut given = match &self.attachment {
            Attachment::Seeks { .. } => crossbeam::channel::never(),
            Attachment::Given(given) => given.clone(),
        };
        let published = self.published.clone();
        let mut stopping: Option<Instant> = None;
        let mut attach_at = Instant::now();
        loop {
            let wait = self.wait(Instant::now(), stopping, attach_at);
            select! {
                recv(inbox) -> message => {
                    let Ok(message) = message else { return };
                    self.shard.crowded = inbox.len() >= CROWDED;
                    self.shard.receive(Moment::read(), message);
                    for message in inbox.try_iter().take(BURST) {
                        self.shard.receive(Moment::read(), message);
                    }
                }
                recv(asks) -> asked => {
                    // Who asks lives as long as the shard: `start` holds one of them.
                    let Ok(asked) = asked else { return };
                    ask::answer(&mut self.shard, Moment::read(), asked);
                }
                recv(published) -> _plan => {}
                recv(given) -> part => match part {
                    Ok((media, rung)) => {
                        bells = self.take_over(media, rung).unwrap_or(bells);
                    }
                    // The first shard has ended; what to do then `stopped` says.
                    Err(_) => given = crossbeam::channel::never(),
                },
                recv(bells) -> bell => match bell {
                    Ok(Bell::Events) => {}
                    Ok(Bell::Gone) | Err(_) => {
                        bells = crossbeam::channel::never();
                        self.shard.lose_media(Moment::read());
                    }
                },
                recv(stopped) -> end => match self.tell_others(end) {
                    Ok(End::EndCalls) if stopping.is_none() => {
                        tracing::info!(calls = self.shard.calls.len(), "ending");
                        stopping = self.begin_to_stop(Moment::read());
                    }
                    Ok(End::EndCalls) => {}
                    // Who asked for the end need not stay for it.
                    Err(_) if stopping.is_some() => stopped = crossbeam::channel::never(),
                    Ok(End::LeaveCalls) | Err(_) => return self.leave(),
                },
                default(wait) => {}
            }
            let at = Moment::read();
            let now = at.now;
            self.shard.tend(at);
            if !self.shard.attached && now >= attach_at {
                attach_at = now + ATTACH_PAUSE;
                if let Some(found) = self.attach(now) {
                    bells = found;
                }
            }
            let calls = &self.shard.calls;
            let idle = calls.is_empty() && !calls.away().is_needed();
            let idle = idle && self.shard.registrations.is_idle();
            if stopping.is_some_and(|limit| idle || now >= limit) {
                return self.shard.close_records(at, "the gateway stopped");
            }
        }
    }

    /// Calls stay as they are.
    fn leave(&mut self) {
        let calls = self.shard.calls.len();
        tracing::info!(calls, "leaving calls to the data plane");
        self.shard.close_records(Moment::read(), "signaling was stopped; media went on");
    }

    fn tell_others(&self, end: Result<End, RecvError>) -> Result<End, RecvError> {
        if let Ok(end) = end {
            for other in &self.others {
                let _ended_already = other.try_send(end);
            }
        }
        end
    }

    /// No new calls; those that there are end. Until when they may take.
    fn begin_to_stop(&mut self, at: Moment) -> Option<Instant> {
        self.shard.world.health.close();
        self.shard.unregister(at);
        self.shard.stop_calls(at, "the gateway is stopping");
        at.now.checked_add(STOP_LIMIT)
    }

    fn wait(&mut self, now: Instant, stopping: Option<Instant>, attach_at: Instant) -> Duration {
        let seeks = matches!(self.attachment, Attachment::Seeks { .. });
        let attach = (seeks && !self.shard.attached).then_some(attach_at);
        let nearest = [self.shard.next(now), stopping, attach].into_iter().flatten().min();
        nearest.map_or(TICK, |at| at.saturating_duration_since(now).min(TICK))
    }

    fn attach(&mut self, now: Instant) -> Option<Receiver<Bell>> {
        let Attachment::Seeks { socket, orphan_grace, others } = &self.attachment else {
            return None;
        };
        match Media::attach(socket, now, *orphan_grace, others.len() + 1) {
            Ok(parts) => {
                let mut parts = parts.into_iter();
                let own = parts.next();
                for (other, part) in others.iter().zip(parts) {
                    let _ended = other.send(part);
                }
                own.and_then(|(media, bells)| self.attached_to(media, bells))
            }
            Err(error) => {
                tracing::debug!(%error, "data plane not there yet");
                None
            }
        }
    }

    /// The same from another shard, which may have heard of the old one's end before us.
    fn take_over(&mut self, media: Media, bells: Bells) -> Option<Receiver<Bell>> {
        if self.shard.attached {
            self.shard.lose_media(Moment::read());
        }
        self.attached_to(media, bells)
    }

    fn attached_to(&mut self, media: Media, bells: Bells) -> Option<Receiver<Bell>> {
        if !media.has_workers() {
            tracing::error!("the data plane has no worker for this shard; raise [media] workers");
        }
        match watch(bells) {
            Ok(receiver) => {
                tracing::info!("attached to the data plane again");
                self.shard.world.media = media;
                self.shard.attached = true;
                Some(receiver)
            }
            Err(error) => {
                tracing::error!(%error, "no thread for the data plane's doorbells");
                None
            }
        }
    }
}
