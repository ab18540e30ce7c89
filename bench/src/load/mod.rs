//! Load: frames prepared in advance, sent by the clock, and everything that comes back verified.
//!
//! ```text
//! script   which flow sends what, and every frame of the run in memory before it begins
//! drive    one thread on the load core: sends what is due, drains the ring into the verifier
//! verify   pure: sequence, SSRC, payload, delay of each packet
//! ```

pub mod drive;
pub mod frame;
pub mod packet;
pub mod script;
pub mod verify;
#[expect(unsafe_code, reason = "packet(7) sockets and their rings have no safe binding")]
pub mod wire;
