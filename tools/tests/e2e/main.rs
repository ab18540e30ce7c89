//! The gateway as a user has it, between peers that nobody here wrote: SIPp on the insecure side,
//! PJSIP on the secure side, tshark in between. `tools/test` installs them.

mod calls;
mod capture;
mod failures;
mod gateway;
mod lines;
mod pbx;
mod refusals;
mod sipp;
mod survival;
