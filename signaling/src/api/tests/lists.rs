//! Lists in pages.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::super::PAGE_MAX;
use super::rig::*;

#[test]
fn pages_neither_repeat_nor_hide_anything_while_the_list_changes() {
    let rig = Rig::new();
    for number in 0..25 {
        rig.add("/trunks", trunk(&format!("t{number:02}")));
    }
    let mut seen = BTreeSet::new();
    let mut path = String::from("/trunks?limit=10");
    for page in 0.. {
        let reply = rig.ask("GET", &path, Value::Null);
        let link = reply.header("link").to_owned();
        let list = reply.expect(200);
        for item in list["items"].as_array().unwrap() {
            assert!(seen.insert(item["name"].as_str().unwrap().to_owned()), "{item} twice");
        }
        let Some(next) = list["next"].as_str() else {
            assert_eq!((page, link.as_str()), (2, ""));
            break;
        };
        assert_eq!(link, format!("</api/v1/trunks?after={next}>; rel=\"next\""));
        path = format!("/trunks?limit=10&after={next}");
        if page == 0 {
            // The last one shown and one before it go; one is added.
            rig.ask("DELETE", "/trunks/10", Value::Null).expect(200);
            rig.ask("DELETE", "/trunks/3", Value::Null).expect(200);
            rig.add("/trunks", trunk("late"));
        }
    }
    assert_eq!(seen.len(), 26);
}

#[test]
fn routes_are_listed_in_the_order_of_their_evaluation() {
    let rig = Rig::new();
    for (name, direction, position) in
        [("c", "inbound", 7), ("b", "outbound", 3), ("a", "outbound", 1), ("d", "inbound", 7)]
    {
        let route = json!({"name": name, "direction": direction, "position": position,
                           "destination": "x"});
        rig.add("/routes", route);
    }
    let mut names = Vec::new();
    let mut path = String::from("/routes?limit=1");
    loop {
        let list = rig.ask("GET", &path, Value::Null).expect(200);
        names.push(list["items"][0]["name"].as_str().unwrap().to_owned());
        let Some(next) = list["next"].as_str() else { break };
        path = format!("/routes?limit=1&after={next}");
    }
    assert_eq!(names, ["a", "b", "c", "d"]);
}

#[test]
fn lists_are_searched_by_name_and_host() {
    let rig = Rig::new();
    rig.add("/trunks", json!({"name": "Berlin", "host": "sip.example.com"}));
    rig.add("/trunks", json!({"name": "Wien", "host": "192.0.2.7"}));
    let names = |query: &str| {
        let list = rig.ask("GET", &format!("/trunks?{query}"), Value::Null).expect(200);
        let items = list["items"].as_array().unwrap();
        items.iter().map(|item| item["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names("q=berl"), ["Berlin"]);
    assert_eq!(names("q=EXAMPLE"), ["Berlin"]);
    assert_eq!(names("name=Wien"), ["Wien"]);
    assert!(names("name=wien").is_empty());
}

#[test]
fn a_query_that_is_wrong_is_refused_with_its_reason() {
    let rig = Rig::new();
    let above = format!("limit={}", PAGE_MAX + 1);
    for query in ["limit=0", &above, "limit=x", "limit=-1", "after=x", "after=1-2-3", "size=3"] {
        let problem = rig.ask("GET", &format!("/trunks?{query}"), Value::Null).expect(400);
        assert!(!problem["remedy"].as_str().unwrap().is_empty(), "{query}");
    }
    rig.ask("GET", &format!("/trunks?limit={PAGE_MAX}"), Value::Null).expect(200);
}
