//! Announcements to the callers of a trunk, and their greeting.

use abi::PromptName;

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

/// What is said to each caller of a trunk before anybody is asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Greeting {
    /// A file of this name and `.wav` in `[media] prompts`.
    pub prompt: PromptName,
    /// In which way; never [`AudioTones::None`].
    pub tones: AudioTones,
}
