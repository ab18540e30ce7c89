//! Which test shows what each field, status and save-time rule does: a field without a named test is
//! a failing test. The tests named here run by themselves; this one holds the list against the
//! fields, and the names against the sources.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::api::fields;
use crate::trunk::Status;

/// A test: its file under the root of the repository, and its name.
type Test = (&'static str, &'static str);

const CONFIG: &str = "signaling/src/config/tests.rs";
const CALLS: &str = "tools/tests/e2e/calls.rs";
const WAYS: &str = "tools/tests/e2e/fields/reach.rs";
const KAMAILIO: &str = "tools/tests/e2e/registrar.rs";
const TRAFFIC_OF: &str = "tools/tests/e2e/fields/traffic.rs";
const WHO: &str = "tools/tests/e2e/fields/identity.rs";
const STORED: &str = "tools/tests/e2e/stored.rs";
const PLANNER: &str = "signaling/src/planner/tests.rs";
const NUMBERS_OF: &str = "tools/tests/e2e/fields/numbers.rs";
const HUNTS: &str = "tools/tests/e2e/hunting.rs";
const STANDS: &str = "tools/tests/e2e/statuses.rs";
const RUNNING: &str = "tools/tests/e2e/fields/running.rs";
const BELONGING: &str = "tools/tests/e2e/fields/belonging.rs";

const ACCOUNT: Test = (KAMAILIO, "the_account_registers_is_called_and_leaves");
const TRAFFIC: Test = (STORED, "trunks_made_by_rest_carry_calls_survive_edits_and_a_restart");
const RULES: Test = (PLANNER, "each_rule_that_is_broken_is_named_with_its_field");
const REWRITTEN: Test = (NUMBERS_OF, "numbers_are_cut_and_prolonged_on_their_way_in_and_out");
const WRITTEN: Test = (NUMBERS_OF, "numbers_come_and_leave_as_each_trunk_writes_them");
const EDITED: Test = (HUNTS, "weights_timers_and_codes_decide_where_a_call_goes_on");
const STOOD: Test = (STANDS, "each_peer_gives_its_trunk_the_status_that_it_deserves");
const BROKEN: Test = (STANDS, "a_save_that_breaks_a_rule_is_refused_with_its_field_and_remedy");
const CAPPED: Test = (NUMBERS_OF, "each_direction_of_sipps_trunks_has_its_own_cap");
const FITTING: Test = (NUMBERS_OF, "a_call_takes_the_first_route_whose_fields_all_fit");
const BELIEVED: Test =
    ("tools/tests/e2e/fields/trust.rs", "pjsip_is_trusted_by_the_trunks_authority_or_by_its_pin");
const CHALLENGED: Test =
    ("tools/tests/e2e/fields/challenge.rs", "pjsip_proves_that_it_knows_the_inbound_password");
const MD5: Test =
    ("tools/tests/e2e/fields/challenge.rs", "pjsip_proves_by_md5_only_where_its_trunk_allows_it");
const TIMER: Test = (RUNNING, "a_trunk_that_refuses_session_timers_refuses_who_demands_one");
const POLICY: Test = (BELONGING, "the_policy_says_which_calls_of_its_own_a_trunk_takes");
const ALG: Test = (WAYS, "a_trunk_with_sip_alg_is_told_our_outer_address_and_found_behind_its_own");
const KEPT: Test = (WAYS, "a_silent_way_to_pjsip_is_kept_open_and_marked_as_its_trunk_says");
const ACCOUNT_SHOWN: Test = (WHO, "caller_id_policy_and_account_shape_what_sipp_sees");
const TRUSTED: Test = (WHO, "trust_and_diversion_styles_decide_what_sipp_is_told");
const LEARNED: Test = (
    "tools/tests/e2e/reach.rs",
    "a_peer_behind_nat_is_believed_from_the_network_that_its_trunk_names",
);
const HUNTED: Test = ("tools/tests/e2e/hunting.rs", "a_call_goes_on_until_a_carrier_answers");
const PRIVATE: Test = (WHO, "a_caller_who_asks_for_privacy_is_unknown_to_pjsip");
const DIALLED: Test =
    (TRAFFIC_OF, "numbers_are_dialled_nationally_and_leave_as_the_carrier_writes_them");
const PROBED: Test = ("tools/tests/e2e/health.rs", "a_trunk_is_ok_while_its_peer_answers_options");
const PREFERRED: Test = (
    "tools/tests/e2e/fields/encryption.rs",
    "a_trunk_that_prefers_srtp_talks_plainly_to_pjsip_that_has_none",
);
const DEMANDED: Test = (KAMAILIO, "test_connection_names_what_kamailio_wants");

const TRUNK: &[(&str, Test)] = &[
    ("name", TRAFFIC),
    ("failover_group", HUNTED),
    ("host", TRAFFIC),
    ("outbound_proxy", (BELONGING, "calls_leave_by_the_outbound_proxy_with_a_route")),
    ("virtual_phone_number", (BELONGING, "a_number_tells_the_trunks_of_one_address_apart")),
    ("username", ACCOUNT),
    ("password", (KAMAILIO, "a_wrong_password_is_no_registration_and_does_not_hammer")),
    ("register", ACCOUNT),
    ("send_keep_alive", PROBED),
    ("port", TRAFFIC),
    ("transport", (CALLS, "sipp_calls_pjsip_over_tcp")),
    ("secure", (CALLS, "sipp_calls_pjsip_with_an_early_offer")),
    ("incoming_call_policy", POLICY),
    ("sip_alg", ALG),
    ("secure_rtp", PREFERRED),
    (
        "create_subscriptions",
        (
            "tools/tests/e2e/fields/subscriptions.rs",
            "sipp_hears_of_its_messages_through_a_trunk_that_may_subscribe",
        ),
    ),
    (
        "max_concurrent_calls",
        ("tools/tests/e2e/health.rs", "a_trunk_carries_exactly_what_it_may_under_a_hundred_calls"),
    ),
    (
        "nat",
        (
            "tools/tests/e2e/reach.rs",
            "a_peer_behind_nat_is_heard_and_hears_where_its_trunk_allows_it",
        ),
    ),
    ("encryption", ("tools/tests/e2e/refusals.rs", "a_secure_trunk_without_srtp_is_refused")),
    ("keepalive", (WAYS, "a_datagram_keeps_the_way_to_a_trunk_open")),
    (
        "audio_tones",
        (
            "tools/tests/e2e/fields/tones.rs",
            "an_unknown_number_is_told_by_early_media_before_its_404",
        ),
    ),
    (
        "greeting",
        ("tools/tests/e2e/fields/tones.rs", "an_uploaded_greeting_is_heard_until_it_is_removed"),
    ),
    (
        "send_media",
        (
            "tools/tests/e2e/fields/digits.rs",
            "digits_pass_between_pjsip_with_events_and_sipp_with_info",
        ),
    ),
    (
        "dtmf_mode",
        ("tools/tests/e2e/fields/digits.rs", "digits_reach_a_trunk_without_events_as_tones"),
    ),
    ("direct_media", (TRAFFIC_OF, "with_direct_media_each_side_is_told_of_the_other")),
    ("send_rpid", (WHO, "send_rpid_tells_sipp_who_calls")),
    (
        "allow",
        ("tools/tests/e2e/fields/fax.rs", "a_fax_passes_to_sipp_in_a_call_that_began_as_audio"),
    ),
    ("disallow", REWRITTEN),
    ("enabled", (BELONGING, "a_trunk_that_is_switched_off_keeps_its_call_and_takes_no_other")),
    ("direction", (TRAFFIC_OF, "a_trunk_whose_direction_is_outbound_is_called_and_does_not_call")),
    ("allow_mixed", PREFERRED),
    ("source_acl", (BELONGING, "a_network_of_the_acl_belongs_to_its_trunk")),
    ("tls_peer_names", (BELONGING, "pjsip_belongs_to_the_trunk_that_names_its_certificate")),
    ("tls_ca", BELIEVED),
    ("tls_client_cert", DEMANDED),
    ("tls_client_key", DEMANDED),
    ("tls_pin", BELIEVED),
    ("from_user", ACCOUNT_SHOWN),
    ("from_domain", ACCOUNT_SHOWN),
    ("learn_from", LEARNED),
    ("keepalive_interval", (WAYS, "a_datagram_keeps_the_way_to_a_trunk_open")),
    ("rtp_keepalive_interval", KEPT),
    ("signalling_dscp", KEPT),
    ("media_dscp", KEPT),
    ("media_network", (WAYS, "each_side_has_its_media_on_its_own_network")),
    ("rtcp_mux", (WAYS, "rtcp_shares_the_port_of_rtp_with_pjsip_and_has_its_own_at_the_carrier")),
    ("external_address", ALG),
    ("rtp_timeout", (TRAFFIC_OF, "a_call_without_media_ends_after_the_rtp_timeout")),
    ("hold_timeout", (RUNNING, "a_held_call_without_media_ends_after_the_hold_timeout")),
    ("keep_alive_interval", PROBED),
    ("keep_alive_2xx_only", STOOD),
    ("keep_alive_failing_codes", STOOD),
    ("max_inbound_calls", CAPPED),
    ("max_outbound_calls", CAPPED),
    ("max_cps", (TRAFFIC_OF, "max_cps_lets_a_burst_of_sipp_pass_and_refuses_the_flood")),
    ("trust_inbound_identity", PRIVATE),
    ("trust_identity", TRUSTED),
    ("caller_id_policy", ACCOUNT_SHOWN),
    ("user_phone", (WHO, "send_rpid_tells_sipp_who_calls")),
    ("diversion", TRUSTED),
    ("inbound_username", CHALLENGED),
    ("inbound_password", CHALLENGED),
    ("offer_mode", (RUNNING, "a_trunk_that_wants_an_early_offer_is_made_one")),
    ("hold_style", (TRAFFIC_OF, "a_hold_of_pjsip_is_inactive_where_the_carrier_wants_it")),
    ("update", (RUNNING, "a_trunk_without_update_is_told_so_and_refused_one")),
    (
        "refer",
        ("tools/tests/e2e/transfers.rs", "pjsip_transfers_a_call_blindly_and_the_gateway_does_it"),
    ),
    ("session_timer", TIMER),
    (
        "session_expires",
        ("tools/tests/e2e/fields/timers.rs", "a_required_session_timer_is_asked_of_sipp"),
    ),
    ("session_min_se", TIMER),
    (
        "auth_realm",
        (
            "tools/tests/e2e/fields/challenge.rs",
            "sipp_is_given_credentials_only_for_the_trunks_realm",
        ),
    ),
    ("100rel", ("tools/tests/e2e/races.rs", "early_media_is_acknowledged_by_prack_on_each_leg")),
    ("inbound_md5", MD5),
    ("priority", HUNTED),
    ("weight", EDITED),
    ("reach_timer", EDITED),
    ("progress_timer", EDITED),
    ("failover_codes", EDITED),
    ("number_format_in", DIALLED),
    ("number_format_out", DIALLED),
    ("country_code", DIALLED),
    ("trunk_prefix", WRITTEN),
    ("international_prefix", WRITTEN),
    ("tech_prefix", DIALLED),
    ("strip_in", REWRITTEN),
    ("prepend_in", REWRITTEN),
    ("strip_out", REWRITTEN),
    ("prepend_out", REWRITTEN),
];

const GROUP: &[(&str, Test)] = &[
    ("name", EDITED),
    ("strategy", EDITED),
    ("reach_timer", EDITED),
    ("progress_timer", EDITED),
    ("failover_codes", EDITED),
    ("hunt_after_ringing", (HUNTS, "a_group_hunts_on_after_early_media_where_it_says_so")),
];

const ROUTES: &[(&str, Test)] = &[
    ("name", FITTING),
    ("direction", FITTING),
    ("position", FITTING),
    ("from_trunk", FITTING),
    ("called", FITTING),
    ("caller", FITTING),
    ("strip", FITTING),
    ("prepend", FITTING),
    ("destination", TRAFFIC),
    ("emergency", (NUMBERS_OF, "an_emergency_call_reaches_sipp_through_trunks_that_are_full")),
    ("schedule", FITTING),
    ("ring_limit", (NUMBERS_OF, "a_route_lets_it_ring_no_longer_than_it_says")),
    ("enabled", FITTING),
];

const STATUSES: &[(Status, Test)] = &[
    (Status::Ok, ("tools/tests/e2e/health.rs", "a_trunk_is_ok_while_its_peer_answers_options")),
    (Status::Lagged, STOOD),
    (Status::Degraded, STOOD),
    (Status::Unreachable, STOOD),
    (Status::Registering, STOOD),
    (Status::AuthFailed, STOOD),
    (Status::Rejected, STOOD),
    (Status::TlsError, ("tools/tests/e2e/actions.rs", "a_peer_that_speaks_no_tls_is_a_tls_error")),
    (Status::DnsError, STOOD),
    (Status::AtCapacity, STOOD),
    (Status::Draining, STOOD),
    (Status::Disabled, STOOD),
    (Status::Unmonitored, STOOD),
];

/// The save-time rules of the specification, 1 to 10.
const SAVE_RULES: [Test; 10] = [
    BROKEN,
    BROKEN,
    BROKEN,
    BROKEN,
    BROKEN,
    BROKEN,
    BROKEN,
    BROKEN,
    (STANDS, "the_plain_port_with_tls_is_warned_of"),
    BROKEN,
];

/// The fields of the specification's form, in its order.
const FORM: [&str; 27] = [
    "name",
    "failover_group",
    "host",
    "outbound_proxy",
    "virtual_phone_number",
    "username",
    "password",
    "register",
    "send_keep_alive",
    "port",
    "transport",
    "secure",
    "incoming_call_policy",
    "sip_alg",
    "secure_rtp",
    "create_subscriptions",
    "max_concurrent_calls",
    "nat",
    "encryption",
    "keepalive",
    "audio_tones",
    "send_media",
    "dtmf_mode",
    "direct_media",
    "send_rpid",
    "allow",
    "disallow",
];

/// What is wrong with a list of tests for these names.
fn missing<'n>(
    names: impl IntoIterator<Item = &'n str>,
    shown: impl IntoIterator<Item = (&'n str, Test)>,
) -> Vec<String> {
    let names: BTreeSet<&str> = names.into_iter().collect();
    let (mut wrong, mut seen) = (Vec::new(), BTreeSet::new());
    for (name, (file, test)) in shown {
        if !names.contains(name) {
            wrong.push(format!("{name}: there is none"));
        }
        if !seen.insert(name) {
            wrong.push(format!("{name}: listed twice"));
        }
        if !is_test(file, test) {
            wrong.push(format!("{name}: {file} has no test {test}"));
        }
    }
    wrong.extend(names.difference(&seen).map(|name| format!("{name}: no test")));
    wrong
}

fn is_test(file: &str, name: &str) -> bool {
    let root: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().into();
    let text = std::fs::read_to_string(root.join(file)).unwrap_or_default();
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let head = format!("fn {name}() {{");
    lines.windows(2).any(|pair| pair[0] == "#[test]" && pair[1] == head)
}

#[test]
fn each_field_has_a_named_test() {
    for (fields, shown) in [(fields::TRUNK, TRUNK), (fields::GROUP, GROUP), (fields::ROUTE, ROUTES)]
    {
        let names = fields.iter().map(|field| field.name);
        assert_eq!(missing(names, shown.iter().copied()), [""; 0]);
        let unique: BTreeSet<&str> = fields.iter().map(|field| field.name).collect();
        assert_eq!(unique.len(), fields.len(), "each field once");
    }
    let form = FORM.iter().filter(|name| fields::find(fields::TRUNK, name).is_none());
    assert_eq!(form.count(), 0, "the form's fields are fields");
}

#[test]
fn each_status_and_each_rule_has_a_named_test() {
    let all = Status::ALL.iter().map(|status| status.as_str());
    let shown = STATUSES.iter().map(|(status, test)| (status.as_str(), *test));
    assert_eq!(missing(all, shown), [""; 0]);
    for (number, (file, test)) in (1..).zip(SAVE_RULES) {
        assert!(is_test(file, test), "rule {number}: {file} has no test {test}");
    }
    assert!(is_test(RULES.0, RULES.1), "and all of them by the API");
}

/// The lists above are worth something: what is not there is found.
#[test]
fn a_field_without_a_test_is_found() {
    assert_eq!(missing(["new"], []), ["new: no test"]);
    let gone = missing(["new"], [("new", (CONFIG, "no_such_test"))]);
    assert!(gone.len() == 1 && gone[0].contains("has no test no_such_test"), "{gone:?}");
    let other = missing([], [("old", ACCOUNT)]);
    assert_eq!(other, ["old: there is none"]);
    assert!(!is_test(CONFIG, "config"), "a function is no test");
}
