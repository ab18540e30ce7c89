//! Tests through the public API alone, one binary: malformed input, round trips against an oracle,
//! and the same packets through libsrtp.

#[cfg(test)]
mod bodies;
#[cfg(test)]
mod corpus;
#[cfg(test)]
mod generate;
#[cfg(test)]
mod libsrtp;
#[cfg(test)]
mod malformed;
#[cfg(test)]
mod round_trip;
