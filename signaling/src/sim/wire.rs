//! The shard's way out in a simulation: what it sends waits to be taken.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use bytes::Bytes;
use sip::endpoint::{Config, Endpoint, Hop};

use crate::call::tests::rig::endpoint_config;
use crate::homes::Homes;
use crate::shard::Edge;

/// What the shard did to the network.
pub enum Out {
    /// By the shard with this number.
    Send(usize, Hop, Bytes),
    Close(u64),
}

/// Clones share what waits.
#[derive(Clone, Default)]
pub struct Wire {
    shard: usize,
    out: Rc<RefCell<VecDeque<Out>>>,
}

impl Wire {
    pub fn take(&self) -> Option<Out> {
        self.out.borrow_mut().pop_front()
    }

    /// The same for the shard with this number.
    pub fn of(&self, shard: usize) -> Self {
        Self { shard, out: Rc::clone(&self.out) }
    }
}

impl Edge for Wire {
    fn send(&self, hop: Hop, bytes: Bytes) {
        self.out.borrow_mut().push_back(Out::Send(self.shard, hop, bytes));
    }

    fn close(&self, connection: u64) {
        self.out.borrow_mut().push_back(Out::Close(connection));
    }

    fn contact(&self, hop: &Hop) -> String {
        (endpoint_config().contact)(hop)
    }

    fn plain_contact(&self, hop: &Hop) -> String {
        self.contact(hop)
    }
}

/// The endpoint of the shard with this number.
pub fn endpoint(seed: u64, shard: usize, homes: Homes) -> Endpoint {
    let mut bytes = [1; 32];
    bytes[..8].copy_from_slice(&seed.to_be_bytes());
    bytes[8] += shard as u8;
    let mut endpoint = Endpoint::new(Config { seed: bytes, ..endpoint_config() });
    endpoint.choose_names(move |name| homes.of(name) == shard);
    endpoint
}
