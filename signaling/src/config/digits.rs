//! `dtmf_mode` and `send_media`.

use sdp::Codec;

use super::section::Section;
use crate::trunk::digits::{DigitRules, DtmfMode};

/// Reads both; tones need G.711 among the codecs that are left (rule 7 of the trunk's save-time
/// rules).
pub(super) fn read(
    section: &mut Section<'_, '_>,
    allow: &[Codec],
    disallow: &[Codec],
) -> DigitRules {
    let modes = ["rfc2833", "info", "shortinfo", "inband", "auto"];
    let mode = section.word("dtmf_mode", &modes).map(|word| mode(word.value));
    let send = section.word("send_media", &["RFC2833", "INFO", "SHORTINFO", "INBAND", "SAME"]);
    let send = match send {
        Some(word) if word.value == SAME => None,
        Some(word) => Some(self::mode(word.value)),
        None => Some(DtmfMode::Rfc2833),
    };
    let rules = DigitRules { mode: mode.unwrap_or_default(), send };
    let g711 = [Codec::Pcma, Codec::Pcmu];
    let has_g711 = g711
        .iter()
        .any(|codec| (allow.is_empty() || allow.contains(codec)) && !disallow.contains(codec));
    let tones = [("dtmf_mode", rules.mode), ("send_media", rules.sends())];
    if let Some((key, _)) = tones.iter().find(|(_, mode)| *mode == DtmfMode::Inband && !has_g711) {
        let remedy = "allow PCMA or PCMU, or use \"rfc2833\" or \"info\"";
        section.error(key, "digits as tones need G.711, which the trunk does not allow", remedy);
    }
    rules
}

fn mode(index: usize) -> DtmfMode {
    match index {
        1 => DtmfMode::Info,
        2 => DtmfMode::ShortInfo,
        3 => DtmfMode::Inband,
        4 => DtmfMode::Auto,
        _ => DtmfMode::Rfc2833,
    }
}

/// Place of `SAME` among the words of `send_media`.
const SAME: usize = 4;
