//! Calls between two real endpoints and a data plane in shared memory, in virtual time. Whatever
//! happens: one CDR for each attempt, and afterwards nothing is left anywhere (`Rig::finish`).

pub mod counting;
pub mod peer;
pub mod plane;
pub mod rig;

mod answered;
mod bypass;
mod challenged;
mod changes;
mod digits;
mod early;
mod faxes;
mod forks;
mod glare;
mod greetings;
mod hunting;
mod identity;
mod media;
mod news;
mod pickups;
mod prack;
mod preferred;
pub mod random;
mod refused;
mod replaced;
mod silence;
mod timers;
mod tones;
mod torture;
mod transfers;
mod ways;
