//! The whole gateway core, one shard or two, between two user agents and a data plane, in virtual time, from a seed.
//!
//! ```text
//!   carrier (UDP) ◄── loses, repeats, reorders, delays ──► Shard ◄── a connection that drops ──► pbx (TLS)
//!                                                            │ shared memory
//!                                                          Plane that refuses, pauses, loses, dies
//! ```
//! Both clocks jump, a stranger knocks, the operator edits the plan and ends calls. Whatever happens:
//! every call ends, no transaction, dialog, flow or place is left, each attempt has exactly one
//! record, and strangers hear nothing. A seed that fails is played again by the command that the
//! failure prints; the bugs of `canary.rs` must be found.

mod agents;
mod canary;
mod crossing;
mod faults;
mod footprint;
mod verdict;
mod wire;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

pub use canary::{Bug, is as breaks};
use world::World;

/// Seeds that the checks play.
const SEEDS: u64 = 10_000;
/// Seeds within which each bug must be found.
const SEEDS_CANARY: u64 = 400;
/// Where a call may be (`announcing` needs prompts, which no world here has).
const STATES: [&str; 7] =
    ["leasing", "inviting", "connecting", "answering", "talking", "cancelling", "ending"];
/// Names the seed that [`replay`] plays.
const SEED: &str = "TRUNKLINE_SIM_SEED";
/// Names how many shards it is played on.
const SHARDS: &str = "TRUNKLINE_SIM_SHARDS";

/// What a run came to.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Tally {
    /// INVITEs that reached calls.
    pub attempts: u64,
    /// Those of another shard than the first.
    pub elsewhere: u64,
    pub answered: u64,
    /// Messages that the network lost or repeated.
    pub lost: u64,
    pub repeated: u64,
    /// Connections that dropped.
    pub dropped: u64,
    /// States that calls were in when one dropped, as bits of [`STATES`].
    pub dropped_in: u8,
    /// Places that were asked for, and transfers.
    pub moves: u64,
    /// Calls that came of transfers, and calls of which a side was replaced.
    pub transferred: u64,
    pub replaced: u64,
    /// Calls that were picked up while they rang.
    pub picked_up: u64,
    /// Messages and letters that shards handed each other.
    pub passed: u64,
    /// Calls of which a side came from another shard.
    pub crossed: u64,
    /// Data planes that died.
    pub planes: u64,
    /// Everything that the gateway sent and when, in one number.
    pub digest: u64,
}

/// Plays one seed.
fn play(seed: u64, shards: usize) -> Result<Tally, String> {
    let played = catch_unwind(AssertUnwindSafe(|| World::new(seed, shards).play()));
    played.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| String::from(*text)));
        Err(format!("panicked: {}", text.unwrap_or_default()))
    })
}

fn how_to_replay(seed: u64, shards: usize) -> String {
    format!(
        "{SHARDS}={shards} {SEED}={seed} cargo test --release -p signaling --lib sim::replay -- --nocapture --ignored"
    )
}

/// Plays seeds on two threads; the tallies added, and the seeds that failed, the first few.
fn play_all(seeds: u64, shards: usize) -> (Tally, Vec<(u64, String)>) {
    let (next, all) = (AtomicU64::new(0), Mutex::new((Tally::default(), Vec::new())));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds {
                        return;
                    }
                    let played = play(seed, shards);
                    let mut all = all.lock().unwrap();
                    match played {
                        Ok(tally) => all.0.add(tally),
                        Err(why) if all.1.len() < 5 => all.1.push((seed, why)),
                        Err(_) => {}
                    }
                }
            });
        }
    });
    all.into_inner().unwrap()
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.attempts += other.attempts;
        self.elsewhere += other.elsewhere;
        self.answered += other.answered;
        self.lost += other.lost;
        self.repeated += other.repeated;
        self.dropped += other.dropped;
        self.dropped_in |= other.dropped_in;
        self.planes += other.planes;
        self.moves += other.moves;
        self.transferred += other.transferred;
        self.replaced += other.replaced;
        self.picked_up += other.picked_up;
        self.passed += other.passed;
        self.crossed += other.crossed;
    }
}

#[test]
fn ten_thousand_seeds_leave_nothing() {
    let begun = std::time::Instant::now();
    let tally = all_well(1);
    println!("{SEEDS} seeds in {:?}: {tally:?}", begun.elapsed());
    // What this is for did happen.
    assert!(tally.attempts > SEEDS && tally.answered > SEEDS / 2, "{tally:?}");
    assert!(tally.lost > SEEDS && tally.repeated > SEEDS, "{tally:?}");
    assert_eq!(tally.dropped_in, u8::MAX >> 1, "connections dropped in every state");
    assert!(tally.dropped > SEEDS / 10 && tally.planes > SEEDS / 100, "{tally:?}");
    assert!(tally.moves > SEEDS / 4 && tally.transferred > SEEDS / 20, "{tally:?}");
    assert!(tally.replaced > SEEDS / 100 && tally.picked_up > SEEDS / 100, "{tally:?}");
}

/// The same seeds end as well where calls are divided among two shards.
#[test]
fn ten_thousand_seeds_leave_nothing_on_two_shards() {
    let tally = all_well(2);
    println!("{SEEDS} seeds: {tally:?}");
    assert!(tally.elsewhere > SEEDS / 2, "both have calls: {tally:?}");
    assert!(tally.attempts - tally.elsewhere > SEEDS / 2, "both have calls: {tally:?}");
    // Attended transfers join calls of both.
    assert!(tally.passed > SEEDS / 50 && tally.crossed > SEEDS / 500, "{tally:?}");
    // Whatever Call-ID who replaces has.
    assert!(tally.replaced > SEEDS / 100, "{tally:?}");
    assert_eq!(tally.dropped_in, u8::MAX >> 1, "connections dropped in every state");
}

fn all_well(shards: usize) -> Tally {
    let (tally, failed) = play_all(SEEDS, shards);
    for (seed, why) in &failed {
        println!("seed {seed}: {why}\nreplay: {}", how_to_replay(*seed, shards));
    }
    assert!(failed.is_empty(), "{} seeds and more failed", failed.len());
    tally
}

/// Positive control: a simulation that finds no bug shows nothing.
#[test]
fn each_bug_that_is_put_in_is_found() {
    for bug in [Bug::KeepsFlows, Bug::NeverWakes, Bug::SaysNoBye, Bug::WritesTwice] {
        canary::put(Some(bug));
        let found = (0..SEEDS_CANARY).find_map(|seed| Some((seed, play(seed, 1).err()?)));
        canary::put(None);
        let (seed, why) = found.unwrap_or_else(|| panic!("{bug:?} was not found"));
        println!("{bug:?} by seed {seed}: {why}");
        assert_eq!(play(seed, 1).err(), None, "without {bug:?} seed {seed} is well");
    }
}

/// The same seed gives the same run, to the byte.
#[test]
fn a_seed_plays_the_same_twice() {
    for seed in 0..40 {
        for shards in [1, 2] {
            assert_eq!(play(seed, shards), play(seed, shards), "seed {seed}, {shards} shards");
        }
    }
    assert_ne!(play(1, 1), play(2, 1));
}

/// Plays the seed that the environment names, and says what came of it.
#[test]
#[ignore = "for one seed by hand"]
fn replay() {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let (seed, shards) = (number(SEED).unwrap_or(0), number(SHARDS).unwrap_or(1));
    match World::new(seed, shards as usize).aloud().play() {
        Ok(tally) => println!("seed {seed}: {tally:?}"),
        Err(why) => panic!("seed {seed}: {why}"),
    }
}
