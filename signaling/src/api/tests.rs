//! The API as a service, without sockets but for the listener's own tests.

mod access;
mod document;
mod greetings;
mod limits;
mod listener;
mod lists;
mod live;
mod malformed;
mod operations;
mod resources;
mod rig;
mod shown;
mod trials;
mod workers;
