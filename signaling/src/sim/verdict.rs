//! A run to its end, and what must hold then.

use std::collections::BTreeSet;

use serde_json::Value;
use sip::endpoint::Counts;

use super::Tally;
use super::world::World;
use crate::call::tests::plane::Plane;

/// Seconds after which the last deed was done; until when everything must have drained.
const DONE: u64 = 185;
const DRAINED: u64 = 400;

impl World {
    /// Runs to the end.
    pub fn play(mut self) -> Result<Tally, String> {
        self.run_until(DONE);
        let mut second = DONE;
        // Probes of trunks go on; between two of them nothing is left.
        while let Err(left) = self.drained() {
            second += 5;
            if second > DRAINED {
                self.problems.push(left);
                break;
            }
            self.run_until(second);
        }
        self.check_callers();
        self.check_records();
        self.tally.attempts = self.attempts.len() as u64;
        self.tally.digest = self.digest();
        match self.problems.is_empty() {
            true => Ok(self.tally),
            false => Err(format!("{:?}: {}", self.began_with, self.problems.join("; "))),
        }
    }

    /// Runs until nothing is left; the records.
    pub fn end(mut self) -> Vec<Value> {
        for _ in 0..60 {
            self.pass(5);
            if self.drained().is_ok() {
                break;
            }
        }
        assert_eq!(self.drained(), Ok(()));
        self.check_records();
        assert_eq!(self.problems, Vec::<String>::new());
        self.records()
    }

    fn drained(&mut self) -> Result<(), String> {
        let is_indexed = self.shards.iter().any(|shard| {
            let index = &shard.world.index;
            !index.clients.is_empty()
                || !index.servers.is_empty()
                || !index.dialogs.is_empty()
                || !index.deadlines.is_empty()
                || !index.stopping.is_empty()
        });
        let states: Vec<_> = self.calls().iter().map(|call| call.state).collect();
        // All shards count the same places.
        let loads = &self.plan.view().counts.loads;
        let places: u32 = loads.values().map(|load| load.used().all()).sum();
        let flows: usize = self.planes.iter().map(Plane::open_flows).sum();
        let mut left = Vec::new();
        let mut note = |what: &str, is_left: bool| {
            if is_left {
                left.push(String::from(what));
            }
        };
        note(&format!("calls are left: {states:?}"), !states.is_empty());
        note("the index is not empty", is_indexed);
        note(&format!("{places} places are held"), places > 0);
        note(&format!("{flows} flows are open"), flows > 0);
        for shard in &self.shards {
            let media = &shard.world.media;
            note("dialogs are away", !shard.calls.away().is_empty());
            note("slots are held", media.free_slots() != media.slots());
            let counts = shard.world.endpoint.counts();
            note(&format!("the gateway has {counts:?}"), counts != Counts::default());
        }
        for (who, peer) in self.peers.iter_mut().enumerate() {
            let counts = peer.counts();
            note(&format!("peer {who} has {counts:?}"), counts != Counts::default());
            note(&format!("peer {who} still talks"), !peer.live.is_empty());
        }
        if left.is_empty() { Ok(()) } else { Err(left.join(", ")) }
    }

    /// Each caller hears how its call ended, or knows that nobody answers.
    fn check_callers(&mut self) {
        for who in 0..self.peers.len() {
            let peer = &self.peers[who];
            let placed = self.placed.iter().filter(|(caller, _)| *caller == who);
            let unheard = placed.filter(|(_, client)| {
                let mut heard = peer.responses.iter();
                !heard.any(|(of, response)| of == client && response.status.is_final())
            });
            let (unheard, failures) = (unheard.count(), peer.failures);
            if unheard > failures {
                self.problems.push(format!("{unheard} callers of {who} heard nothing"));
            }
            if self.is_perfect && failures > 0 {
                self.problems.push(format!("{failures} requests of {who} got no answer"));
            }
        }
    }

    fn records(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.directory.join("cdr.jsonl")).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).unwrap_or_default()).collect()
    }

    /// Exactly one record for each attempt.
    fn check_records(&mut self) {
        self.shards.iter_mut().for_each(|shard| shard.world.cdrs.stop());
        self.cdrs.stop();
        let records = self.records();
        let ids: BTreeSet<_> = records.iter().map(|record| record["id"].to_string()).collect();
        // Transfers make calls without an INVITE of a caller.
        let made = records.iter().filter(|record| record.get("transferred_from").is_some()).count();
        self.tally.transferred += made as u64;
        let replaced = records.iter().filter(|record| record.get("replaced_by").is_some());
        self.tally.replaced += replaced.count() as u64;
        let notes = records.iter().filter_map(|record| record["notes"].as_array());
        let picked = |note: &Value| note.as_str().is_some_and(|note| note.starts_with("picked up"));
        self.tally.picked_up += notes.flatten().filter(|note| picked(note)).count() as u64;
        if records.len() != self.attempts.len() + made || ids.len() != records.len() {
            let (attempts, records, ids) = (self.attempts.len() + made, records.len(), ids.len());
            self.problems.push(format!("{records} records, {ids} ids of {attempts} attempts"));
        }
        if records.iter().any(|record| record["end"].is_null() || record["code"].is_null()) {
            self.problems.push(String::from("a record does not say how it ended"));
        }
        let answered = records.iter().filter(|record| !record["answer"].is_null());
        self.tally.answered = answered.count() as u64;
    }
}
