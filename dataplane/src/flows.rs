//! The slab of flows, reserved at start.
//!
//! The guest chooses the slot; a slot's generation tells its lives apart. Only a higher generation
//! opens a slot, so whatever still names an old life (a late completion, a repeated command)
//! finds nothing.

use std::ptr::NonNull;

use abi::FlowId;
use rtp::rtcp::Translation;

use crate::flow::Flow;
use crate::{large_pages, prefetch};

/// All flows of a worker.
pub struct Flows {
    slots: Vec<Option<Flow>>,
    /// Small enough to stay in the cache: the relay asks it about the peer of every packet.
    lives: Lives,
    open: u32,
}

/// The latest generation of each slot, and whether it is open.
pub struct Lives(Vec<Life>);

#[derive(Clone, Copy, Default)]
struct Life {
    latest: u32,
    open: bool,
}

impl Lives {
    pub fn is_open(&self, id: FlowId) -> bool {
        let life = self.0.get(id.index as usize);
        life.is_some_and(|life| life.open && life.latest == id.generation)
    }
}

/// Why a slot does not open.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SlotError {
    /// The index is beyond the slab.
    Beyond,
    /// The generation is not newer than the slot's latest.
    Stale,
    /// An older life is still open.
    Occupied(FlowId),
}

impl Flows {
    pub fn new(capacity: u32) -> Flows {
        let mut slots: Vec<Option<Flow>> = Vec::with_capacity(capacity as usize);
        let room = slots.spare_capacity_mut();
        large_pages::ask(NonNull::from(&mut *room).cast::<u8>(), size_of_val(room));
        slots.resize_with(capacity as usize, || None);
        Flows { slots, lives: Lives(vec![Life::default(); capacity as usize]), open: 0 }
    }

    /// How many there may be.
    pub fn capacity(&self) -> u32 {
        self.slots.len() as u32
    }

    pub fn open_count(&self) -> u32 {
        self.open
    }

    /// The first open slot at or after `index`; of those between only the lives are read.
    pub fn next_open(&self, index: u32) -> Option<u32> {
        let lives = self.lives.0.get(index as usize..)?;
        let ahead = lives.iter().position(|life| life.open)?;
        u32::try_from(ahead).ok()?.checked_add(index)
    }

    /// May `id` open its slot?
    ///
    /// # Errors
    /// [`SlotError`].
    pub fn vacancy(&self, id: FlowId) -> Result<(), SlotError> {
        let life = self.lives.0.get(id.index as usize).ok_or(SlotError::Beyond)?;
        match (id.generation > life.latest, life.open) {
            (false, _) => Err(SlotError::Stale),
            (true, true) => {
                Err(SlotError::Occupied(FlowId { index: id.index, generation: life.latest }))
            }
            (true, false) => Ok(()),
        }
    }

    /// Puts a flow into its slot, which [`Flows::vacancy`] has granted.
    pub fn insert(&mut self, flow: Flow) {
        let (index, generation) = (flow.id.index, flow.id.generation);
        let place = (self.slots.get_mut(index as usize), self.lives.0.get_mut(index as usize));
        if let (Some(slot), Some(life)) = place {
            *slot = Some(flow);
            *life = Life { latest: generation, open: true };
            self.open += 1;
        }
    }

    /// Did a newer life than `id` take the slot?
    pub fn is_stale(&self, id: FlowId) -> bool {
        self.lives.0.get(id.index as usize).is_some_and(|life| life.latest > id.generation)
    }

    /// Takes a flow out. Its contexts and keys wipe themselves when `used` has looked at it.
    pub fn remove<R>(&mut self, id: FlowId, used: impl FnOnce(&Flow) -> R) -> Option<R> {
        let result = used(self.get_mut(id)?);
        if let Some(slot) = self.slots.get_mut(id.index as usize) {
            // In place: a moved flow would leave its keys behind on the stack.
            *slot = None;
        }
        if let Some(life) = self.lives.0.get_mut(id.index as usize) {
            life.open = false;
        }
        self.open -= 1;
        Some(result)
    }

    pub fn get_mut(&mut self, id: FlowId) -> Option<&mut Flow> {
        self.look_up(id).map(|(flow, _)| flow)
    }

    /// A flow and, beside it, the lives of all.
    pub fn look_up(&mut self, id: FlowId) -> Option<(&mut Flow, &Lives)> {
        if !self.lives.is_open(id) {
            return None;
        }
        let flow = self.slots.get_mut(id.index as usize)?.as_mut()?;
        Some((flow, &self.lives))
    }

    /// Asks the processor for what a packet of the flow will touch. Any index will do.
    pub fn prefetch(&self, index: u32) {
        if let Some(slot) = self.slots.get(index as usize) {
            for offset in Flow::HOT_LINES {
                prefetch::line(slot, offset);
            }
        }
    }

    /// Asks for what more a packet of the flow will touch, where the hot lines are there.
    pub fn prefetch_contexts(&self, index: u32) {
        if let Some(Some(flow)) = self.slots.get(index as usize) {
            flow.prefetch_contexts();
        }
    }

    /// How the packets of the flow's peer were renumbered; `None` when they were not.
    pub fn translation_of_peer(&mut self, id: FlowId) -> Option<Translation> {
        let peer = self.get_mut(id)?.peer;
        self.get_mut(peer)?.continuity.translation()
    }

    /// Points a flow to where its peer finds the far side, as far as it does.
    pub fn aim(&mut self, id: FlowId) {
        let Some(flow) = self.get_mut(id) else { return };
        let peer = flow.peer;
        let Some((rtp, rtcp)) = self.get_mut(peer).map(|peer| (peer.source_rtp, peer.source_rtcp))
        else {
            return;
        };
        if let Some(flow) = self.get_mut(id) {
            flow.withdraw();
            flow.aim.follow(&rtp, &rtcp);
        }
    }

    /// The flow in a slot, whatever its generation.
    pub fn at_mut(&mut self, index: u32) -> Option<&mut Flow> {
        self.slots.get_mut(index as usize)?.as_mut()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::tests::{flow, id};

    #[test]
    fn a_slot_opens_for_newer_generations_only() {
        let mut flows = Flows::new(2);
        assert_eq!(flows.vacancy(id(2, 1)), Err(SlotError::Beyond));
        assert_eq!(flows.vacancy(id(0, 3)), Ok(()));
        flows.insert(flow(id(0, 3)));
        assert_eq!(flows.vacancy(id(0, 3)), Err(SlotError::Stale));
        assert_eq!(flows.vacancy(id(0, 4)), Err(SlotError::Occupied(id(0, 3))));
        assert_eq!(flows.remove(id(0, 3), |flow| flow.id), Some(id(0, 3)));
        assert_eq!(flows.vacancy(id(0, 3)), Err(SlotError::Stale));
        assert_eq!(flows.vacancy(id(0, 4)), Ok(()));
    }

    #[test]
    fn an_old_name_finds_nothing() {
        let mut flows = Flows::new(1);
        flows.insert(flow(id(0, 1)));
        flows.remove(id(0, 1), |_| ());
        flows.insert(flow(id(0, 2)));
        assert!(flows.get_mut(id(0, 1)).is_none());
        assert!(flows.get_mut(id(0, 2)).is_some());
        assert!(flows.remove(id(0, 1), |_| ()).is_none());
        assert_eq!(flows.open_count(), 1);
    }

    #[test]
    fn only_open_slots_are_visited() {
        let mut flows = Flows::new(9);
        for index in [1, 4, 8] {
            flows.insert(flow(id(index, 1)));
        }
        flows.remove(id(4, 1), |_| ());
        let next: Vec<_> = (0..11).map(|index| flows.next_open(index)).collect();
        let (one, eight) = (Some(1), Some(8));
        let after = [eight; 7];
        assert_eq!(next[..2], [one; 2]);
        assert_eq!(next[2..9], after);
        assert_eq!(next[9..], [None; 2]);
    }
}
