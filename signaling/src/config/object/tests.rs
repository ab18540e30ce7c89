use serde_json::json;

use super::*;
use crate::config::{self, Config};

const TEXT: &str = "[sip]\nudp = [\"192.0.2.1:5060\"]\n\
    [[trunk]]\nname = \"carrier\"\nhost = \"198.51.100.1\"\nvirtual_phone_number = \"+4930100\"\n\
    [[trunk]]\nname = \"pbx\"\nhost = \"198.51.100.2\"\ndirection = \"inbound\"\n\
    [[route]]\nname = \"out\"\nfrom_trunk = \"pbx\"\ndestination = \"carrier\"\n";

fn config() -> Config {
    config::parse(TEXT, Path::new("/etc/trunkline")).unwrap_or_else(|errors| panic!("{errors}"))
}

fn around(config: &Config) -> Surroundings<'_> {
    let base = Path::new("/etc/trunkline");
    Surroundings {
        sip: &config.sip,
        media: &config.media,
        base,
        trunks: &config.trunks,
        groups: &config.groups,
        routes: &config.routes,
    }
}

fn refused(object: serde_json::Value, id: u32) -> Vec<Finding> {
    let config = config();
    trunk_from_json(&object, TrunkId(id), around(&config)).unwrap_err()
}

#[test]
fn an_object_reads_as_the_file_does() {
    let config = config();
    let object = json!({
        "name": "carrier", "host": "198.51.100.1", "virtual_phone_number": ["+4930100"],
        "port": null, "source_acl": [],
    });
    let checked = trunk_from_json(&object, TrunkId(1), around(&config)).unwrap();
    assert_eq!(checked.value, config.trunks[0], "it replaces itself, so it clashes with nobody");
    assert!(checked.warnings.is_empty());
    let object = json!({"name": "out", "from_trunk": 2, "destination": "carrier"});
    let route = route_from_json(&object, RouteId(1), around(&config)).unwrap().value;
    assert_eq!(Some(&route), config.routes.get(RouteId(1)), "by number as by name");
}

#[test]
fn a_finding_names_field_value_rule_and_remedy() {
    let errors = refused(json!({"name": "new", "host": "198.51.100.9", "port": 70_000}), 3);
    assert_eq!(
        serde_json::to_value(&errors).unwrap(),
        json!([{
            "what": "trunk \"new\" field port",
            "field": "port",
            "value": "70000",
            "rule": "70000 is out of range",
            "remedy": "give a number from 1 to 65535",
        }])
    );
    for (object, field, value) in [
        (json!({"name": "n", "host": "h.example", "transport": "SCTP"}), "transport", "SCTP"),
        (json!({"name": "n", "host": "h.example", "prot": 5}), "prot", ""),
        (json!({"name": "n", "host": ["h.example"]}), "host", "h.example"),
        (json!({"name": "n", "host": "h.example", "enabled": "yes"}), "enabled", "yes"),
        (json!({"name": "n", "host": "h.example", "max_cps": 1.5}), "max_cps", "1.5"),
        (json!({"name": "n", "host": "h.example", "max_cps": -1}), "max_cps", "-1"),
        (
            json!({"name": "n", "host": "h.example", "password_file": "/etc/shadow"}),
            "password_file",
            "",
        ),
    ] {
        let errors = refused(object, 3);
        let error = errors.iter().find(|error| error.field.as_deref() == Some(field));
        let error = error.unwrap_or_else(|| panic!("{field}: {errors:?}"));
        assert_eq!(error.value.clone().unwrap_or_default(), value, "{field}");
        assert!(!error.problem.is_empty() && !error.remedy.is_empty());
    }
    let errors = refused(json!("carrier"), 3);
    assert_eq!((errors.len(), errors[0].line), (1, 0));
}

#[test]
fn a_new_trunk_is_checked_against_the_others() {
    let taken = json!({
        "name": "carrier", "host": "198.51.100.1", "virtual_phone_number": "+4930100",
    });
    let fields: Vec<_> = refused(taken, 3).into_iter().filter_map(|error| error.field).collect();
    assert_eq!(fields, ["name", "virtual_phone_number"]);
    let same_source = refused(json!({"name": "x", "host": "198.51.100.2"}), 3);
    assert_eq!(same_source[0].field.as_deref(), Some("host"));
    let tcp = json!({"name": "x", "host": "198.51.100.9", "transport": "TCP"});
    assert!(refused(tcp, 3)[0].problem.contains("no tcp listener"));
}

#[test]
fn routes_are_checked_against_trunks_and_names() {
    let config = config();
    let read = |object| route_from_json(&object, RouteId(9), around(&config)).unwrap_err();
    let errors = read(json!({"name": "out", "destination": "nowhere"}));
    let fields: Vec<_> = errors.iter().filter_map(|error| error.field.as_deref()).collect();
    assert_eq!(fields, ["destination", "name"]);
    assert!(errors[0].remedy.contains("\"carrier\" or \"pbx\""), "{errors:?}");
    assert!(read(json!({"name": "in", "destination": 2}))[0].problem.contains("inbound only"));
    assert!(read(json!({"name": "x", "destination": 77}))[0].problem.contains("no trunk \"77\""));
    assert_eq!(read(json!({"name": "x"}))[0].field.as_deref(), Some("destination"));
}

#[test]
fn a_secret_is_in_no_finding_and_stands_for_itself() {
    let long = "hunter2".repeat(100);
    let errors = refused(json!({"name": "x", "host": "h.example", "password": long}), 3);
    assert_eq!(errors.len(), 2, "{errors:?}");
    assert!(!serde_json::to_string(&errors).unwrap().contains("hunter2"));
    let errors = refused(json!({"name": "x", "host": "h.example", "pasword": "hunter2"}), 3);
    assert!(!serde_json::to_string(&errors).unwrap().contains("hunter2"));
    let config = config();
    let object =
        json!({"name": "x", "host": "h.example", "username": "u", "password": "a${HOME}b"});
    let trunk = trunk_from_json(&object, TrunkId(3), around(&config)).unwrap().value;
    assert_eq!(trunk.password.as_ref().unwrap().expose(), "a${HOME}b");
}

/// Whatever JSON comes, there is an answer, and what is accepted can be asked for again.
#[test]
fn any_object_is_read_or_refused() {
    use proptest::prelude::*;
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<f64>().prop_map(Into::into),
        ".*".prop_map(Into::into),
    ];
    let value = leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(serde_json::Value::from),
            proptest::collection::hash_map(".*", inner, 0..4)
                .prop_map(|map| map.into_iter().collect()),
        ]
    });
    let keys = prop_oneof![
        Just("name"),
        Just("host"),
        Just("port"),
        Just("transport"),
        Just("allow"),
        Just("virtual_phone_number"),
        Just("source_acl"),
        Just("nat"),
        Just("password"),
        Just("username"),
        Just("register"),
        Just("outbound_proxy"),
        Just("tls_pin"),
        Just("destination"),
        Just("from_trunk"),
        Just("called"),
        Just("strip"),
        Just("x"),
    ];
    let object = proptest::collection::hash_map(keys, value, 0..10);
    let config = config();
    let mut runner = proptest::test_runner::TestRunner::default();
    runner
        .run(&object, |fields| {
            let object: serde_json::Map<String, serde_json::Value> =
                fields.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
            let object = serde_json::Value::from(object);
            for errors in [
                trunk_from_json(&object, TrunkId(3), around(&config)).err(),
                route_from_json(&object, RouteId(3), around(&config)).err(),
            ] {
                let helps = errors.is_none_or(|errors| {
                    !errors.is_empty() && errors.iter().all(|error| !error.remedy.is_empty())
                });
                prop_assert!(helps);
            }
            Ok(())
        })
        .unwrap();
}
