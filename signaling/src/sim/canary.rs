//! Bugs that a test puts in on purpose: the simulation must find each of them.

use std::cell::Cell;

/// A broken reaction of the gateway.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bug {
    /// Ports of calls that are over are never given back.
    KeepsFlows,
    /// Deadlines of calls never come.
    NeverWakes,
    /// The other side of a call that ended is not told.
    SaysNoBye,
    /// Each record is written twice.
    WritesTwice,
}

thread_local! {
    static BUG: Cell<Option<Bug>> = const { Cell::new(None) };
}

/// Whether this thread's gateway has the bug.
pub fn is(bug: Bug) -> bool {
    BUG.get() == Some(bug)
}

/// Puts a bug into this thread's gateway, or takes it out.
pub fn put(bug: Option<Bug>) {
    BUG.set(bug);
}
