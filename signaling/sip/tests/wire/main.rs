//! The wire layer from outside: the RFCs' messages, hostile input, and a second parser's opinion.

mod differential;
mod framer;
mod injection;
mod limits;
mod malformed;
mod rfc4475;
mod rfc5118;
mod seeds;
mod typed;
