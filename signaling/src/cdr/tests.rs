use std::fs;

use serde_json::Value;

use super::*;

struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let path =
            std::env::temp_dir().join(format!("trunkline-cdr-{name}-{}", std::process::id()));
        let _fresh = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self) -> PathBuf {
        self.0.join("cdr.jsonl")
    }

    fn records(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.file()).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _left_behind = fs::remove_dir_all(&self.0);
    }
}

fn at(millisecond: i64) -> Timestamp {
    Timestamp::from_millisecond(millisecond).unwrap()
}

fn record() -> Record {
    let mut record = Record::start(at(1_000), &mut |bytes| bytes.fill(0xab));
    record.from("carrier", "+4930123456".into(), Some("+4940654321".into()));
    record
}

#[test]
fn an_answered_call_in_full() {
    let place = Place::new("answered");
    let mut record = record();
    record.by("to the pbx", None);
    record.to_trunk("pbx");
    record.ring(at(1_200));
    record.ring(at(1_300));
    record.answer(at(2_000));
    record.suites(None, Some("AES_CM_128_HMAC_SHA1_80"));
    record.hang_up("caller", "BYE");
    record.hang_up("callee", "BYE");
    record.fail(500, "a consequence");
    record.media(Way { packets: 50, bytes: 8_600 }, Way { packets: 49, bytes: 8_428 });
    record.end(at(3_000));
    let mut writer = Writer::open(&place.file(), false).unwrap();
    writer.write(&record);
    writer.stop();
    assert_eq!(writer.counts(), Counts { written: 1, ..Counts::default() });
    let records = place.records();
    assert_eq!(records.len(), 1);
    let expected: Value = serde_json::from_str(
        r#"{
            "id": "abababababababababababababababab",
            "start": "1970-01-01T00:00:01Z", "ring": "1970-01-01T00:00:01.2Z",
            "answer": "1970-01-01T00:00:02Z", "end": "1970-01-01T00:00:03Z",
            "from_trunk": "carrier", "to_trunk": "pbx", "route": "to the pbx",
            "caller": "+4930123456", "called": "+4940654321",
            "code": 200, "reason": "BYE", "ended_by": "caller",
            "caller_suite": null, "callee_suite": "AES_CM_128_HMAC_SHA1_80",
            "forward": {"packets": 50, "bytes": 8600},
            "backward": {"packets": 49, "bytes": 8428}
        }"#,
    )
    .unwrap();
    assert_eq!(records[0], expected);
    assert_eq!(record.key(), [0xab; 16]);
}

#[test]
fn the_first_failure_counts() {
    let mut record = record();
    record.fail(486, "busy");
    record.fail(487, "cancelled");
    record.end(at(2_000));
    let line: Value = serde_json::from_slice(&record.line(false).unwrap()).unwrap();
    assert_eq!((line["code"].as_u64(), line["reason"].as_str()), (Some(486), Some("busy")));
    assert_eq!(line["answer"], Value::Null);
}

#[test]
fn numbers_are_masked_when_asked_and_never_shown_in_debug() {
    let place = Place::new("masked");
    let mut writer = Writer::open(&place.file(), true).unwrap();
    writer.write(&record());
    writer.stop();
    let records = place.records();
    assert_eq!(records[0]["caller"], "********456");
    assert_eq!(records[0]["called"], "********321");
    let debug = format!("{:?}", record());
    assert!(!debug.contains("4930123456") && !debug.contains("4940654321"), "{debug}");
}

#[test]
fn everything_queued_is_written_at_the_end() {
    let place = Place::new("flush");
    let mut writer = Writer::open(&place.file(), false).unwrap();
    for _ in 0..5_000 {
        writer.write(&record());
    }
    writer.stop();
    assert_eq!(place.records().len(), 5_000);
    assert_eq!(writer.counts().written, 5_000);
    // A second run appends.
    let writer = Writer::open(&place.file(), false).unwrap();
    writer.write(&record());
    drop(writer);
    assert_eq!(place.records().len(), 5_001);
}

#[test]
fn the_file_is_private_and_rotation_is_followed() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new("rotation");
    let writer = Writer::open(&place.file(), false).unwrap();
    assert_eq!(fs::metadata(place.file()).unwrap().permissions().mode() & 0o007, 0);
    writer.write(&record());
    while writer.counts().written < 1 {
        std::thread::yield_now();
    }
    fs::rename(place.file(), place.0.join("old")).unwrap();
    writer.write(&record());
    drop(writer);
    assert_eq!(place.records().len(), 1);
    assert_eq!(fs::read_to_string(place.0.join("old")).unwrap().lines().count(), 1);
}

#[test]
fn a_disk_without_room_is_counted_and_never_blocks() {
    let full = Path::new("/dev/full");
    let mut writer = Writer::open(full, false).unwrap();
    for _ in 0..10 {
        writer.write(&record());
    }
    writer.stop();
    assert_eq!(writer.counts(), Counts { failed: 10, ..Counts::default() });
    writer.write(&record());
    assert_eq!(writer.counts().overflowed, 1);
}

#[test]
fn a_full_queue_is_counted() {
    let (queue, waiting) = bounded(2);
    let writer = Writer { queue: Some(queue), tally: Arc::default(), thread: None };
    for _ in 0..5 {
        writer.write(&record());
    }
    assert_eq!((waiting.len(), writer.counts().overflowed), (2, 3));
}

#[test]
fn a_missing_directory_is_an_error_at_the_start() {
    let missing = Path::new("/nonexistent/cdr.jsonl");
    let error = Writer::open(missing, false).err().unwrap();
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
}

#[test]
fn records_are_gathered_only_while_they_come_fast() {
    let (mut haste, mut now) = (Haste::default(), Instant::now());
    let mut after = |pause: Duration| {
        now += pause;
        let grows = haste.grows(now);
        haste.done(now);
        grows
    };
    let fast = HASTE_PAUSE / 2;
    assert!((0..HASTE_BATCHES).all(|_| !after(fast)), "a burst is written at once");
    assert!(after(fast) && after(fast), "a flood is gathered");
    assert!(!after(HASTE_PAUSE), "the first that comes late is written at once");
    assert!(!after(fast));
}

#[test]
fn what_is_gathered_is_written_when_the_writer_stops() {
    let place = Place::new("gathered");
    let mut writer = Writer::open(&place.file(), false).unwrap();
    for number in 0..500 {
        let mut record = Record { id: format!("call {number}"), ..record() };
        writer.note(&record);
        record.end(at(2_000));
        writer.write(&record);
    }
    writer.stop();
    assert_eq!(writer.counts(), Counts { written: 500, ..Counts::default() });
    assert_eq!(place.records().len(), 500);
    // None is left open: the next process would write its CDR again.
    drop(Writer::open(&place.file(), false).unwrap());
    assert_eq!(place.records().len(), 500);
}
