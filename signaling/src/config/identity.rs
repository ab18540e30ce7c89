//! The fields of a trunk that say who calls.

use super::section::Section;
use crate::trunk::Number;
use crate::trunk::identity::{CallerIdPolicy, DiversionStyle, IdentityRules, SendRpid};

/// Reads them; `numbers` are the trunk's.
pub(super) fn read(section: &mut Section<'_, '_>, numbers: &[Number]) -> IdentityRules {
    let on = |section: &mut Section<'_, '_>, key| section.boolean(key).is_some_and(|f| f.value);
    let rules = IdentityRules {
        send_rpid: match word(section, "send_rpid", &["no", "rpid", "pai", "both"]) {
            Some(0) => SendRpid::No,
            Some(1) => SendRpid::Rpid,
            Some(3) => SendRpid::Both,
            _ => SendRpid::Pai,
        },
        trust_identity: on(section, "trust_identity"),
        trust_inbound_identity: on(section, "trust_inbound_identity"),
        caller_id_policy: match word(section, "caller_id_policy", &CALLER_ID_POLICIES) {
            Some(1) => CallerIdPolicy::Trunk,
            Some(2) => CallerIdPolicy::DenyForeign,
            _ => CallerIdPolicy::Pass,
        },
        user_phone: on(section, "user_phone"),
        diversion: match word(section, "diversion", &["none", "diversion", "history-info"]) {
            Some(1) => DiversionStyle::Diversion,
            Some(2) => DiversionStyle::HistoryInfo,
            _ => DiversionStyle::None,
        },
    };
    if rules.caller_id_policy != CallerIdPolicy::Pass && numbers.is_empty() {
        let problem = "the trunk has no number that its calls could show";
        let remedy = "set virtual_phone_number, or write caller_id_policy = \"pass\"";
        section.error("caller_id_policy", problem, remedy);
    }
    rules
}

fn word(section: &mut Section<'_, '_>, key: &'static str, words: &[&str]) -> Option<usize> {
    section.word(key, words).map(|word| word.value)
}

const CALLER_ID_POLICIES: [&str; 3] = ["pass", "trunk", "deny_foreign"];
