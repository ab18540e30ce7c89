//! `/cdrs`: the records of attempts, newest first, read from the end of the file that they are
//! written to. A file that was rotated away is not looked into.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
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
    #[serde(default, deserialize_with = "page::whole")]
    after: Option<usize>,
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

/// Records that begin before `wanted.after`, newest first, and the place where to go on.
fn newest(file: &Path, limit: usize, wanted: &Wanted) -> io::Result<(Vec<Value>, Option<String>)> {
    let mut file = match File::open(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((Vec::new(), None)),
        opened => opened?,
    };
    let length = file.metadata()?.len();
    let after = wanted.after.and_then(|place| u64::try_from(place).ok());
    let mut end = after.map_or(length, |place| place.min(length));
    let floor = end.saturating_sub(SCAN_BYTES_MAX);
    let mut found = Vec::new();
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
                    return Ok((found, (place > 0).then(|| place.to_string())));
                }
            }
        }
        tail = cut.to_vec();
        end = start;
    }
    Ok((found, (floor > 0).then(|| floor.to_string())))
}

const PARAMETERS: [Parameter; 5] = [
    page::LIMIT,
    Parameter::query("after", Shape::Number(0, u32::MAX as u64), "\"next\" of the page before"),
    Parameter::query("trunk", Shape::Text(64), "Only those from or to the trunk of this name"),
    Parameter::query("number", Shape::Text(64), "Only those whose caller or called has this in it"),
    Parameter::query("id", Shape::Text(64), "Only the one with this id"),
];

/// Bytes looked at for one page; the next page goes on where this one stopped.
pub const SCAN_BYTES_MAX: u64 = 64 * 1024 * 1024;
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
                wanted.after = Some(next.parse().unwrap());
            }
            let fits = |n: &i32| trunk.is_none_or(|trunk| (n % 3 == 0) == (trunk == "a"));
            let all: Vec<i32> = (0..1_000).rev().filter(fits).collect();
            assert_eq!(seen, all, "{trunk:?}");
        }
    }

    #[test]
    fn a_file_that_is_not_there_holds_nothing() {
        let scratch = Scratch::new("cdrs");
        let found = newest(&scratch.path("none"), 5, &Wanted::default()).unwrap();
        assert_eq!(found, (Vec::new(), None));
    }
}
