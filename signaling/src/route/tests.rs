use super::*;

pub fn route(id: u32, called: &str) -> Route {
    Route {
        id: RouteId(id),
        name: format!("r{id}"),
        direction: RouteDirection::Outbound,
        position: 0,
        from_trunk: None,
        called: Pattern::parse(called).unwrap(),
        caller: Pattern::Any,
        strip: 0,
        prepend: String::new(),
        destination: Destination::Trunk(TrunkId(9)),
        emergency: false,
        schedule: None,
        ring_limit: RING_LIMIT_DEFAULT,
        enabled: true,
    }
}

/// A Friday, 13:46 in UTC.
pub fn query(called: &str) -> Query<'_> {
    let at = "2026-11-27T13:46:00Z".parse().unwrap();
    Query { from: TrunkId(1), called, caller: "100", at }
}

fn chosen(routes: Vec<Route>, called: &str) -> Option<(u32, String)> {
    let decision = Routes::new(routes).decide(&query(called)).ok();
    decision.map(|decision| (decision.route_id.0, decision.called))
}

#[test]
fn the_first_match_by_position_wins() {
    let mut late = route(0, "4930");
    late.position = 2;
    let mut early = route(1, "49*");
    early.position = 1;
    assert_eq!(chosen(vec![late, early], "4930"), Some((1, "4930".into())));
    assert_eq!(chosen(vec![route(0, "*"), route(1, "*")], "1"), Some((0, "1".into())));
}

#[test]
fn each_test_of_a_route_can_pass_its_call_on() {
    type Change = fn(&mut Route);
    let changes: [(Change, Miss); 6] = [
        (|r| r.enabled = false, Miss::Disabled),
        (|r| r.from_trunk = Some(TrunkId(2)), Miss::FromTrunk),
        (|r| r.called = Pattern::Exact("5".into()), Miss::Called),
        (|r| r.caller = Pattern::Exact("200".into()), Miss::Caller),
        (|r| r.schedule = Some(Schedule::parse("UTC; Sat").unwrap()), Miss::Closed),
        (|r| r.strip = 4, Miss::Short),
    ];
    for (change, miss) in changes {
        let mut first = route(0, "*");
        assert!(first.fit(&query("123")).is_ok(), "positive control");
        change(&mut first);
        assert_eq!(first.fit(&query("123")), Err(miss.clone()));
        assert_eq!(chosen(vec![first, route(1, "*")], "123"), Some((1, "123".into())), "{miss:?}");
    }
}

#[test]
fn a_route_that_names_what_the_call_is_takes_it() {
    let mut named = route(0, "/^12/");
    named.from_trunk = Some(TrunkId(1));
    named.caller = Pattern::parse("_1XX").unwrap();
    named.schedule = Some(Schedule::parse("Europe/Berlin; Fri 14:00-15:00").unwrap());
    assert_eq!(chosen(vec![named, route(1, "*")], "123"), Some((0, "123".into())));
}

#[test]
fn numbers_are_rewritten_and_never_vanish() {
    let mut strip = route(0, "0*");
    (strip.strip, strip.prepend) = (1, "+49".into());
    assert_eq!(chosen(vec![strip.clone()], "030123"), Some((0, "+4930123".into())));
    strip.strip = 9;
    assert_eq!(chosen(vec![strip.clone(), route(1, "*")], "030"), Some((1, "030".into())));
    (strip.strip, strip.prepend) = (3, String::new());
    assert_eq!(chosen(vec![strip], "030"), None);
}

#[test]
fn a_decision_carries_what_the_route_says() {
    let mut emergency = route(3, "112");
    emergency.emergency = true;
    emergency.destination = Destination::Group(GroupId(4));
    emergency.ring_limit = Duration::from_secs(60);
    let decision = Routes::new(vec![emergency]).decide(&query("112")).unwrap();
    assert_eq!((decision.route.as_str(), decision.emergency), ("r3", true));
    assert_eq!(decision.destination, Destination::Group(GroupId(4)));
    assert_eq!(decision.ring_limit, Duration::from_secs(60));
}

#[test]
fn no_route_says_why() {
    let error = Routes::default().decide(&query("1")).unwrap_err();
    assert!(error.to_string().contains("no enabled route"));
}
