//! `/cdrs`: the records of attempts, newest first, read from the end of the file that they are
//! written to, and of those that it was rotated to before (`.1`, `.2`, …; compressed ones are not read).

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::openapi::HttpMethod;

use super::endpoint::Parameter;
use super::fields::Shape;
use super::params::Params;
use super::problem::Problem;
use super::{Api, Endpoint, page};
use crate::store::Role;

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::new(HttpMethod::Get, "/cdrs", Some(Role::ReadOnly), "CdrPage", list)
            .about("Records of attempts, newest first")
            .takes(&PARAMETERS),
    ]
}

#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    #[serde(default, deserialize_with = "page::whole")]
    limit: Option<usize>,
    after: Option<String>,
    trunk: Option<String>,
    number: Option<String>,
    id: Option<String>,
}

impl Wanted {
    fn fits(&self, record: &Value) -> bool {
        let text = |field: &str| record.get(field).and_then(Value::as_str).unwrap_or_default();
        self.trunk.as_ref().is_none_or(|t| text("from_trunk") == t || text("to_trunk") == t)
            && self.id.as_ref().is_none_or(|id| text("id") == id)
            && self
                .number
                .as_ref()
                .is_none_or(|n| text("caller").contains(n) || text("called").contains(n))
    }
}

async fn list(State(api): State<Api>, Params(wanted): Params<Wanted>) -> Result<Response, Problem> {
    let limit = page::limit(wanted.limit)?;
    let file = api.gateway.cdrs.clone();
    let read = tokio::task::spawn_blocking(move || newest(&file, limit, &wanted)).await;
    match read {
        Ok(Ok((items, next))) => {
            Ok(axum::Json(json!({ "items": items, "next": next })).into_response())
        }
        Ok(Err(error)) => Err(unreadable(&error.to_string())),
        Err(error) => Err(unreadable(&error.to_string())),
    }
}

fn unreadable(cause: &str) -> Problem {
    tracing::error!(cause, "the file of records cannot be read");
    Problem::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "disk",
        "The disk failed",
        "the records cannot be read",
        "see the gateway's log",
    )
}

/// The file and those that it was rotated to (`.1`, `.2`, …), newest first, each with its inode.
fn files(newest: &Path) -> io::Result<Vec<(u64, File)>> {
    let mut found = Vec::new();
    for number in 0..=ROTATED_MAX {
        let mut path = newest.as_os_str().to_owned();
        if number > 0 {
            path.push(format!(".{number}"));
        }
        match File::open(&path) {
            Ok(file) => {
                let inode = file.metadata()?.ino();
                // Rotated between two of these steps.
                if found.iter().all(|(seen, _)| *seen != inode) {
                    found.push((inode, file));
                }
            }
            // logrotate may be about to make the newest one.
            Err(error) if error.kind() == io::ErrorKind::NotFound && number == 0 => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => break,
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

/// A place in the records: a file, whatever its name is now, and an octet in it.
fn place(inode: u64, octet: u64) -> String {
    format!("{inode}-{octet}")
}

fn read_place(text: &str) -> Option<(u64, u64)> {
    let (inode, octet) = text.split_once('-')?;
    Some((inode.parse().ok()?, octet.parse().ok()?))
}

/// Records before the place `wanted.after`, newest first, and the place where to go on.
fn newest(file: &Path, limit: usize, wanted: &Wanted) -> io::Result<(Vec<Value>, Option<String>)> {
    let mut files = files(file)?;
    let after = wanted.after.as_deref().and_then(read_place);
    if let Some((inode, _)) = after {
        let at = files.iter().position(|(there, _)| *there == inode);
        files.drain(..at.unwrap_or(files.len()));
    }
    let (mut found, mut budget) = (Vec::new(), SCAN_BYTES_MAX);
    let mut end = after.map(|(_, octet)| octet);
    for (inode, mut file) in files {
        let length = file.metadata()?.len();
        let end = end.take().map_or(length, |octet| octet.min(length));
        let stopped = scan(&mut file, end, &mut budget, limit, wanted, &mut found)?;
        if stopped > 0 || found.len() == limit {
            return Ok((found, Some(place(inode, stopped))));
        }
    }
    Ok((found, None))
}

/// Looks through a file from `end` toward its beginning; where it stopped.
fn scan(
    file: &mut File,
    mut end: u64,
    budget: &mut u64,
    limit: usize,
    wanted: &Wanted,
    found: &mut Vec<Value>,
) -> io::Result<u64> {
    let floor = end.saturating_sub(*budget);
    *budget -= end - floor;
    // The beginning of the block before, where a line was cut.
    let mut tail: Vec<u8> = Vec::new();
    while end > floor {
        let start = end.saturating_sub(BLOCK_BYTES).max(floor);
        let mut block = vec![0; usize::try_from(end - start).unwrap_or_default()];
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(&mut block)?;
        block.append(&mut tail);
        let first = match start {
            0 => 0,
            _ => block.iter().position(|byte| *byte == b'\n').map_or(block.len(), |at| at + 1),
        };
        let (cut, lines) = block.split_at(first.min(block.len()));
        let mut place = start + u64::try_from(block.len()).unwrap_or_default();
        for line in lines.split_inclusive(|byte| *byte == b'\n').rev() {
            place -= u64::try_from(line.len()).unwrap_or_default();
            // A line that is being written has no end yet.
            let Ok(record) = serde_json::from_slice::<Value>(line) else { continue };
            if wanted.fits(&record) {
                found.push(record);
                if found.len() == limit {
                    return Ok(place);
                }
            }
        }
        tail = cut.to_vec();
        end = start;
    }
    Ok(floor)
}

const PARAMETERS: [Parameter; 5] = [
    page::LIMIT,
    Parameter::query("after", Shape::Text(64), "\"next\" of the page before"),
    Parameter::query("trunk", Shape::Text(64), "Only those from or to the trunk of this name"),
    Parameter::query("number", Shape::Text(64), "Only those whose caller or called has this in it"),
    Parameter::query("id", Shape::Text(64), "Only the one with this id"),
];

/// Bytes looked at for one page; the next page goes on where this one stopped.
pub const SCAN_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Rotated files that are looked into.
pub const ROTATED_MAX: usize = 99;
const BLOCK_BYTES: u64 = 64 * 1024;

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::store::tests::Scratch;

    #[test]
    fn pages_go_through_the_whole_file_from_its_end_once() {
        let scratch = Scratch::new("cdrs");
        let path = scratch.path("cdr.jsonl");
        let mut file = File::create(&path).unwrap();
        let padding = "x".repeat(701);
        for number in 0..1_000 {
            let trunk = if number % 3 == 0 { "a" } else { "b" };
            let record = json!({"id": number.to_string(), "from_trunk": trunk, "pad": padding});
            writeln!(file, "{record}").unwrap();
        }
        write!(file, "{{\"id\": \"half").unwrap();
        for trunk in [None, Some("a"), Some("b")] {
            let mut wanted = Wanted { trunk: trunk.map(String::from), ..Wanted::default() };
            let mut seen: Vec<i32> = Vec::new();
            loop {
                let (items, next) = newest(&path, 7, &wanted).unwrap();
                seen.extend(
                    items.iter().map(|r| r["id"].as_str().unwrap().parse::<i32>().unwrap()),
                );
                let Some(next) = next else { break };
                wanted.after = Some(next);
            }
            let fits = |n: &i32| trunk.is_none_or(|trunk| (n % 3 == 0) == (trunk == "a"));
            let all: Vec<i32> = (0..1_000).rev().filter(fits).collect();
            assert_eq!(seen, all, "{trunk:?}");
        }
    }

    #[test]
    fn pages_go_on_in_rotated_files_although_the_newest_is_rotated_meanwhile() {
        let scratch = Scratch::new("cdrs-rotated");
        let path = scratch.path("cdr.jsonl");
        let write = |path: &Path, from: usize| {
            let mut file = File::create(path).unwrap();
            (from..from + 10).for_each(|n| writeln!(file, "{{\"id\":\"{n}\"}}").unwrap());
        };
        for (name, from) in [("cdr.jsonl.2", 0), ("cdr.jsonl.1", 10), ("cdr.jsonl", 20)] {
            write(&scratch.path(name), from);
        }
        let (mut wanted, mut seen) = (Wanted::default(), Vec::new());
        loop {
            let (items, next) = newest(&path, 4, &wanted).unwrap();
            seen.extend(items.iter().map(|r| r["id"].as_str().unwrap().parse::<usize>().unwrap()));
            if seen.len() == 8 {
                for (old, new) in
                    [("jsonl.2", "jsonl.3"), ("jsonl.1", "jsonl.2"), ("jsonl", "jsonl.1")]
                {
                    let at = |name: &str| scratch.path(&format!("cdr.{name}"));
                    std::fs::rename(at(old), at(new)).unwrap();
                }
                write(&path, 30);
            }
            let Some(next) = next else { break };
            wanted.after = Some(next);
        }
        assert_eq!(seen, (0..30).rev().collect::<Vec<_>>(), "each once, none of the newer ones");
        let gone = Wanted { after: Some(place(1, 5)), ..Wanted::default() };
        assert_eq!(newest(&path, 4, &gone).unwrap(), (Vec::new(), None), "a file that is gone");
        for odd in ["", "-", "x-1", "1", "1-x", "99999999999999999999-1"] {
            assert_eq!(read_place(odd), None, "{odd}");
        }
    }

    #[test]
    fn a_file_that_is_not_there_holds_nothing() {
        let scratch = Scratch::new("cdrs");
        let found = newest(&scratch.path("none"), 5, &Wanted::default()).unwrap();
        assert_eq!(found, (Vec::new(), None));
    }
}
