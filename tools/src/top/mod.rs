//! The live view of `trunkline top`.
//!
//! ```text
//! Sample (what the API says, twice) ─► View (rates, shares, percentiles) ─► screen, text or JSON
//! ```
//! Everything between the two arrows is a pure function.

mod sample;
mod screen;
mod text;
mod view;
mod watch;

pub use sample::Sample;
pub use text::text;
pub use view::View;
pub use watch::watch;
