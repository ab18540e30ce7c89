//! Announcements to the callers of a trunk.

/// The trunk's `audio_tones`: whether and how its callers are told by a voice why their call came
/// to nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum AudioTones {
    #[default]
    None,
    /// Before the answer: nobody pays for it.
    OnEarlyMedia,
    /// As an answered call, for networks that let no early media pass; it may be billed.
    OnAnsweredCalls,
}
