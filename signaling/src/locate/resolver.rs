//! Keeps all places of the trunks located and publishes a new table when something changed.
//!
//! Everything here runs on the edge's runtime. The loop reads the newest table and never waits.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sip::endpoint::Transport;
use tokio::task::JoinSet;
use tokio::time::{sleep_until, timeout};

use super::keeper::Keeper;
use super::{Dns, Families, Found, Place};
use crate::plan::LivePlan;

/// The state of the task that locates.
pub struct Resolver {
    live: LivePlan,
    dns: Dns,
    reach: Reach,
    keeper: Keeper,
    asked: JoinSet<(Place, Found)>,
}

/// The address families of each transport's listeners.
#[derive(Clone, Copy, Debug)]
pub struct Reach {
    /// UDP listeners.
    pub udp: Families,
    /// TCP listeners.
    pub tcp: Families,
    /// TLS listeners.
    pub tls: Families,
}

impl Reach {
    /// Both families on every transport.
    pub const ALL: Self = Self { udp: Families::BOTH, tcp: Families::BOTH, tls: Families::BOTH };

    /// Those of one transport.
    pub fn of(&self, transport: Transport) -> Families {
        match transport {
            Transport::Udp => self.udp,
            Transport::Tcp => self.tcp,
            Transport::Tls => self.tls,
        }
    }
}

impl Resolver {
    /// Locates what the newest plan of `live` names, by `dns`.
    pub fn new(live: LivePlan, dns: Dns, reach: Reach) -> Self {
        Self { live, dns, reach, keeper: Keeper::default(), asked: JoinSet::new() }
    }

    /// The first round, so that a start finds its trunks located. What takes longer than `limit`
    /// goes on in [`Resolver::run`].
    pub async fn first(&mut self, limit: Duration) {
        self.follow();
        let all = async {
            while !self.asked.is_empty() {
                self.one().await;
            }
        };
        let _later = timeout(limit, all).await;
    }

    /// Locates until the runtime ends.
    pub async fn run(mut self) {
        let mut plans = self.live.generations();
        loop {
            self.follow();
            // An idle gateway still looks around now and then.
            let idle = Instant::now() + IDLE;
            let next = self.keeper.next().map_or(idle, |next| next.min(idle));
            let full = self.asked.len() >= LOOKUPS_AT_ONCE;
            let next = if full { idle } else { next };
            tokio::select! {
                () = self.one(), if !self.asked.is_empty() => {}
                () = sleep_until(next.into()) => {}
                _plan = plans.changed() => {}
            }
            if self.keeper.expire(Instant::now()) {
                self.live.resolve(Arc::new(self.keeper.located()));
            }
        }
    }

    /// Asks for what is due in the newest table.
    fn follow(&mut self) {
        let now = Instant::now();
        let table = self.live.table();
        let enabled = table.iter().filter(|trunk| trunk.enabled);
        let wanted: BTreeSet<Place> = enabled.flat_map(|trunk| trunk.places()).collect();
        self.keeper.follow(&wanted, now);
        let room = LOOKUPS_AT_ONCE.saturating_sub(self.asked.len());
        for place in self.keeper.due(now, room) {
            let (dns, families) = (self.dns.clone(), self.reach.of(place.transport));
            self.asked.spawn(async move {
                let found = dns.locate(&place, families, &mut |_, _, _| {}).await;
                (place, found)
            });
        }
    }

    /// Takes one result.
    async fn one(&mut self) {
        if let Some(Ok((place, found))) = self.asked.join_next().await
            && self.keeper.take(&place, found, Instant::now())
        {
            self.live.resolve(Arc::new(self.keeper.located()));
        }
        self.follow();
    }
}

/// Searches that run at a time.
pub const LOOKUPS_AT_ONCE: usize = 64;
/// Longest sleep.
const IDLE: Duration = Duration::from_secs(60);
