//! Instructions for one packet or message of the hot paths, counted by valgrind and compared with
//! what was recorded in `instructions.txt`.
//!
//! Instructions do not depend on what else the machine does, so this can be a test where time cannot.
//! Each path runs twice, with [`FEW`] and with [`MANY`] repetitions; the difference is what the
//! repetitions cost, without start and end of the program. Valgrind knows no SHA or vector AES
//! instructions: the counts are of the code that older processors run.
//!
//! A path that costs more than [`TOLERANCE`] above its record fails. To record what it costs now:
//! `TRUNKLINE_RENEW=1 cargo test --release -p bench --test instructions`, and say why in the commit.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by a panic"
)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Program (an example of the package that owns the path) and path.
const PATHS: [(&str, &str); 6] = [
    ("media_paths", "relay"),
    ("media_paths", "relay-cm80"),
    ("media_paths", "srtp-cm80"),
    ("media_paths", "srtp-gcm"),
    ("sip_paths", "sip-read"),
    ("sip_paths", "sip-write"),
];
const FEW: u64 = 500;
const MANY: u64 = 2_500;
/// Share by which a path may cost more than recorded, from a build that is not incremental. The
/// compiler divides a crate otherwise when it builds incrementally, and inlines otherwise then: 17 %
/// more for the cheapest path.
const TOLERANCE: f64 = 0.25;

#[test]
fn no_path_costs_more_instructions_than_recorded() {
    let measured: BTreeMap<&str, u64> =
        PATHS.iter().map(|(program, path)| (*path, each(program, path))).collect();
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/instructions.txt");
    if std::env::var_os("TRUNKLINE_RENEW").is_some() {
        std::fs::write(&file, record(&measured)).unwrap();
    }
    let recorded = read(&std::fs::read_to_string(&file).unwrap());
    let faults = compare(&recorded, &measured);
    println!("{}", record(&measured));
    assert!(
        faults.is_empty(),
        "{}\nIf that is meant: TRUNKLINE_RENEW=1 cargo test --release -p bench --test instructions",
        faults.join("\n")
    );
}

/// The gate sees what it is for.
#[test]
fn a_path_that_costs_more_is_named_and_one_that_costs_less_is_not() {
    let recorded = read("# a comment\nrelay 1000\nsip-read 2000\n");
    let compare = |relay, read| compare(&recorded, &[("relay", relay), ("sip-read", read)].into());
    assert!(compare(1_249, 500).is_empty());
    let faults = compare(1_251, 2_000);
    assert!(faults.len() == 1 && faults[0].contains("relay: 1251") && faults[0].contains("1000"));
    assert!(super_set(&recorded).contains("no record"));
}

fn super_set(recorded: &BTreeMap<String, u64>) -> String {
    compare(recorded, &[("relay", 1), ("sip-read", 1), ("new", 1)].into()).concat()
}

/// What is wrong, one line each.
fn compare(recorded: &BTreeMap<String, u64>, measured: &BTreeMap<&str, u64>) -> Vec<String> {
    let fault = |(path, now): (&&str, &u64)| {
        let Some(then) = recorded.get(*path) else {
            return Some(format!("{path}: {now} instructions, and no record"));
        };
        let more = *now as f64 > *then as f64 * (1.0 + TOLERANCE);
        more.then(|| format!("{path}: {now} instructions, recorded are {then}"))
    };
    measured.iter().filter_map(fault).collect()
}

fn record(measured: &BTreeMap<&str, u64>) -> String {
    let mut text = String::from("# instructions for one packet or message, see instructions.rs\n");
    for (path, count) in measured {
        writeln!(text, "{path} {count}").unwrap();
    }
    text
}

fn read(text: &str) -> BTreeMap<String, u64> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let (path, count) = line.split_once(' ').unwrap();
            (path.to_owned(), count.parse().unwrap())
        })
        .collect()
}

fn each(program: &str, path: &str) -> u64 {
    let (few, many) = (counted(program, path, FEW), counted(program, path, MANY));
    (many - few) / (MANY - FEW)
}

/// Instructions of the whole program.
fn counted(program: &str, path: &str, count: u64) -> u64 {
    let at = examples().join(program);
    assert!(at.is_file(), "{}: cargo build --release --workspace --examples", at.display());
    let run = Command::new("valgrind")
        .args(["--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null"])
        .arg(&at)
        .args([path, &count.to_string()])
        .output()
        .expect("valgrind is missing (Debian: apt-get install valgrind)");
    let said = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{program} {path} {count}: {said}");
    let line = said.lines().find_map(|line| line.split_once("refs:")).expect(&said);
    line.1.trim().replace(',', "").parse().expect(&said)
}

/// Examples are built beside the tests.
fn examples() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.parent().unwrap().parent().unwrap().join("examples")
}
