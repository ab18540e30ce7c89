//! The shard's way out in a simulation: what it sends waits to be taken.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use bytes::Bytes;
use sip::endpoint::{Config, Endpoint, Hop};

use crate::call::tests::rig::endpoint_config;
use crate::shard::Edge;

/// What the shard did to the network.
pub enum Out {
    Send(Hop, Bytes),
    Close(u64),
}

/// Clones share what waits.
#[derive(Clone, Default)]
pub struct Wire(Rc<RefCell<VecDeque<Out>>>);

impl Wire {
    pub fn take(&self) -> Option<Out> {
        self.0.borrow_mut().pop_front()
    }
}

impl Edge for Wire {
    fn send(&self, hop: Hop, bytes: Bytes) {
        self.0.borrow_mut().push_back(Out::Send(hop, bytes));
    }

    fn close(&self, connection: u64) {
        self.0.borrow_mut().push_back(Out::Close(connection));
    }

    fn contact(&self, hop: &Hop) -> String {
        (endpoint_config().contact)(hop)
    }

    fn plain_contact(&self, hop: &Hop) -> String {
        self.contact(hop)
    }
}

/// The shard's endpoint.
pub fn endpoint(seed: u64) -> Endpoint {
    let mut bytes = [1; 32];
    bytes[..8].copy_from_slice(&seed.to_be_bytes());
    Endpoint::new(Config { seed: bytes, ..endpoint_config() })
}
