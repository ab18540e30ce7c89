use super::*;
use proptest::prelude::*;
use std::collections::BTreeSet;

fn accept(window: &mut Window, index: u64) -> bool {
    match window.check(index) {
        Ok(token) => {
            window.commit(token);
            true
        }
        Err(Replayed) => false,
    }
}

#[test]
fn a_check_without_its_commit_changes_nothing() {
    let mut window = Window::EMPTY;
    assert!(window.check(7).is_ok());
    assert_eq!(window.highest(), None);
    assert!(accept(&mut window, 7));
    assert!(window.check(500).is_ok());
    assert_eq!(window.highest(), Some(7));
    assert!(window.check(6).is_ok());
}

#[test]
fn the_window_is_128_wide() {
    let mut window = Window::EMPTY;
    assert!(accept(&mut window, 1000));
    assert!(window.check(1000 - 127).is_ok());
    assert_eq!(window.check(1000 - 128).err(), Some(Replayed));
    assert!(accept(&mut window, 1000 - 127));
    assert_eq!(window.check(1000 - 127).err(), Some(Replayed));
    assert!(accept(&mut window, 1001));
    assert_eq!(window.check(1000 - 127).err(), Some(Replayed), "fell out of the window");
    assert_eq!(window.check(1000).err(), Some(Replayed), "still in the window");
}

#[test]
fn index_0_is_accepted_once() {
    let mut window = Window::EMPTY;
    assert!(accept(&mut window, 0));
    assert!(!accept(&mut window, 0));
}

#[test]
fn jumps_of_any_size_clear_exactly_what_they_pass() {
    for jump in [1, 63, 64, 65, 127, 128, 129, 1 << 32, u64::MAX - 300] {
        let mut window = Window::EMPTY;
        assert!(accept(&mut window, 300));
        assert!(accept(&mut window, 300 + jump));
        assert_eq!(window.check(300).err(), Some(Replayed), "jump {jump}");
        let between = window.check(300 + jump - 1).is_ok();
        assert_eq!(between, jump > 1, "jump {jump}");
    }
}

proptest! {
    /// The oracle keeps every accepted index in a set.
    #[test]
    fn the_window_equals_a_set(
        start in 0..1u64 << 48,
        steps in proptest::collection::vec(prop_oneof![
            8 => -140..140i64,
            1 => -2000..2000i64,
            1 => Just(1 << 33),
        ], 1..400),
    ) {
        let (mut window, mut accepted) = (Window::EMPTY, BTreeSet::new());
        let mut at = start;
        for step in steps {
            at = at.saturating_add_signed(step);
            let fresh = match accepted.last() {
                Some(&highest) if at <= highest => {
                    highest - at < WINDOW && !accepted.contains(&at)
                }
                _ => true,
            };
            prop_assert_eq!(accept(&mut window, at), fresh, "index {}", at);
            if fresh {
                accepted.insert(at);
            }
            prop_assert_eq!(window.highest(), accepted.last().copied());
        }
    }
}
