//! Call detail records: one JSON line per attempt, written away from the loop.
//!
//! A [`Record`] grows with the attempt and is written once, when nothing is left of it. The
//! [`Writer`] hands it to a thread through a bounded queue: the loop never waits for a disk. What
//! cannot be queued or written is counted and logged, never silently lost. No secret is in a
//! record: suites are named, keys are not.

mod journal;

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::net::SocketAddr;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, Sender, bounded};
use jiff::{Timestamp, Unit};
use serde::Serialize;

use crate::feed::Step;
use crate::secret::Pii;
use crate::trunk::tally::Outcome;

use journal::Journal;

/// One attempt. Times are UTC with milliseconds (RFC 3339).
#[derive(Clone, PartialEq, Eq, Serialize, Debug)]
pub struct Record {
    /// 128 random bits in hexadecimal; also names the call in logs.
    pub id: String,
    start: Timestamp,
    ring: Option<Timestamp>,
    answer: Option<Timestamp>,
    end: Option<Timestamp>,
    from_trunk: Option<String>,
    to_trunk: Option<String>,
    route: Option<String>,
    /// The failover group that the route names.
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<String>,
    /// Members of the group that were not asked.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    skipped: Vec<Skipped>,
    /// Each INVITE to a callee's trunk, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    attempts: Vec<Attempt>,
    caller: Option<Pii<String>>,
    called: Option<Pii<String>>,
    /// Final SIP status toward the caller: 200 for an answered call.
    code: Option<u16>,
    reason: Option<String>,
    /// `caller`, `callee` or `gateway`; nobody for an attempt that was not answered.
    ended_by: Option<String>,
    /// The call whose side this one took the place of (RFC 3891), and the one that took a place here.
    #[serde(skip_serializing_if = "Option::is_none")]
    replaces: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    replaced_by: Option<String>,
    /// The call that one side transferred (RFC 3515), and the call that came of that.
    #[serde(skip_serializing_if = "Option::is_none")]
    transferred_from: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    transferred_to: Option<String>,
    caller_suite: Option<&'static str>,
    callee_suite: Option<&'static str>,
    /// Where media came from, where that was learned and not signalled.
    #[serde(skip_serializing_if = "Option::is_none")]
    caller_source: Option<SocketAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    callee_source: Option<SocketAddr>,
    /// What an operator should know of the media of this call.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    notes: Vec<&'static str>,
    /// Media from caller to callee.
    forward: Option<Way>,
    /// Media from callee to caller.
    backward: Option<Way>,
    #[serde(skip)]
    key: [u8; 16],
}

/// One INVITE to a callee's trunk.
#[derive(Clone, PartialEq, Eq, Serialize, Debug)]
struct Attempt {
    trunk: String,
    /// The address that was asked.
    target: SocketAddr,
    start: Timestamp,
    /// It rang.
    ring: Option<Timestamp>,
    end: Option<Timestamp>,
    /// How it ended: what was answered, 408 for silence, 503 for a way that does not exist.
    code: Option<u16>,
    reason: Option<String>,
    /// It was answered after it had been given up, and hung up at once.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    late: bool,
}

/// A member of a group that was not asked.
#[derive(Clone, PartialEq, Eq, Serialize, Debug)]
struct Skipped {
    trunk: String,
    why: String,
}

/// Media that was relayed one way.
#[derive(Clone, Copy, PartialEq, Eq, Default, Serialize, Debug)]
pub struct Way {
    /// Packets.
    pub packets: u64,
    /// Bytes of their payloads as received.
    pub bytes: u64,
}

impl Way {
    /// What passed after `before`.
    pub fn since(self, before: Self) -> Self {
        Self {
            packets: self.packets.saturating_sub(before.packets),
            bytes: self.bytes.saturating_sub(before.bytes),
        }
    }
}

impl Record {
    /// Begins the record of an attempt; `entropy` fills a buffer with random bytes.
    pub fn start(now: Timestamp, entropy: &mut dyn FnMut(&mut [u8])) -> Self {
        let mut key = [0; 16];
        entropy(&mut key);
        Self {
            id: format!("{:032x}", u128::from_be_bytes(key)),
            start: milliseconds(now),
            ring: None,
            answer: None,
            end: None,
            from_trunk: None,
            to_trunk: None,
            route: None,
            group: None,
            skipped: Vec::new(),
            attempts: Vec::new(),
            caller: None,
            called: None,
            code: None,
            reason: None,
            ended_by: None,
            replaces: None,
            replaced_by: None,
            transferred_from: None,
            transferred_to: None,
            caller_suite: None,
            callee_suite: None,
            caller_source: None,
            callee_source: None,
            notes: Vec::new(),
            forward: None,
            backward: None,
            key,
        }
    }

    /// The id as bytes, for the data plane.
    pub fn key(&self) -> [u8; 16] {
        self.key
    }

    /// Who calls whom, from which trunk.
    pub fn from(&mut self, trunk: &str, caller: String, called: Option<String>) {
        self.from_trunk = Some(trunk.to_owned());
        self.caller = Some(Pii(caller)).filter(|caller| !caller.0.is_empty());
        self.called = called.map(Pii);
    }

    /// By which route the call goes, and through which group.
    pub fn by(&mut self, route: &str, group: Option<&str>) {
        self.route = Some(route.to_owned());
        self.group = group.map(str::to_owned);
    }

    /// Where the call goes. The last one counts.
    pub fn to_trunk(&mut self, trunk: &str) {
        self.to_trunk = Some(trunk.to_owned());
    }

    /// A member of the group is not asked.
    pub fn skipped(&mut self, trunk: &str, why: &str) {
        self.skipped.push(Skipped { trunk: trunk.to_owned(), why: why.to_owned() });
    }

    /// An INVITE goes to a callee's trunk.
    pub fn attempt(&mut self, now: Timestamp, trunk: &str, target: SocketAddr) {
        // Most calls have one.
        self.attempts.reserve_exact(1);
        self.attempts.push(Attempt {
            trunk: trunk.to_owned(),
            target,
            start: milliseconds(now),
            ring: None,
            end: None,
            code: None,
            reason: None,
            late: false,
        });
    }

    /// The attempt under way came to nothing.
    pub fn attempt_over(&mut self, now: Timestamp, code: u16, reason: &str) {
        if let Some(attempt) = self.attempts.last_mut().filter(|attempt| attempt.end.is_none()) {
            attempt.end = Some(milliseconds(now));
            attempt.code = Some(code);
            attempt.reason = Some(reason.to_owned()).filter(|reason| !reason.is_empty());
        }
    }

    /// How many INVITEs went to callees' trunks.
    pub fn attempts(&self) -> usize {
        self.attempts.len()
    }

    /// The attempt with this number, from 1, was answered after it had been given up.
    pub fn answered_late(&mut self, number: usize) {
        let attempt = number.checked_sub(1).and_then(|index| self.attempts.get_mut(index));
        if let Some(attempt) = attempt {
            attempt.late = true;
        }
    }

    /// How far the attempt is.
    pub fn step(&self) -> Step {
        match (self.end, self.answer, self.ring) {
            (Some(_), _, _) => Step::Ended,
            (None, Some(_), _) => Step::Answered,
            (None, None, Some(_)) => Step::Rang,
            (None, None, None) => Step::Began,
        }
    }

    /// How the attempt went; meant for one that is over.
    pub fn outcome(&self) -> Outcome {
        let span =
            |from: Timestamp, to: Timestamp| Duration::try_from(to.duration_since(from)).ok();
        let end = self.end.unwrap_or(self.start);
        Outcome {
            code: self.code.unwrap_or_default(),
            talked: self.answer.map(|answer| span(answer, end).unwrap_or_default()),
            delay: self.ring.or(self.answer).and_then(|heard| span(self.start, heard)),
        }
    }

    /// The same as the callee's trunk sees it: of the last INVITE, where there was one.
    pub fn outcome_of_callee(&self) -> Outcome {
        let whole = self.outcome();
        let Some(attempt) = self.attempts.last() else { return whole };
        let heard = attempt.ring.or(self.answer);
        let delay = heard.and_then(|heard| heard.duration_since(attempt.start).try_into().ok());
        Outcome { code: attempt.code.unwrap_or(whole.code), delay, ..whole }
    }

    /// The callee rings. The first time counts.
    pub fn ring(&mut self, now: Timestamp) {
        self.ring.get_or_insert(milliseconds(now));
        if let Some(attempt) = self.attempts.last_mut() {
            attempt.ring.get_or_insert(milliseconds(now));
        }
    }

    /// The callee answered.
    pub fn answer(&mut self, now: Timestamp) {
        self.answer.get_or_insert(milliseconds(now));
        self.code = Some(200);
        self.attempt_over(now, 200, "");
    }

    /// Whether the callee answered.
    pub fn is_answered(&self) -> bool {
        self.answer.is_some()
    }

    /// The attempt failed. The first cause counts: what follows is its consequence.
    pub fn fail(&mut self, code: u16, reason: &str) {
        self.code.get_or_insert(code);
        self.reason.get_or_insert_with(|| reason.to_owned());
    }

    /// An answered call ended. The first cause counts.
    pub fn hang_up(&mut self, ended_by: &str, reason: &str) {
        self.ended_by.get_or_insert_with(|| ended_by.to_owned());
        self.reason.get_or_insert_with(|| reason.to_owned());
    }

    /// It wants the place of a side of the call with this id.
    pub fn replaces(&mut self, id: &str) {
        self.replaces = Some(id.to_owned());
    }

    /// The call with this id took the place of a side.
    pub fn replaced_by(&mut self, id: &str) {
        self.replaced_by = Some(id.to_owned());
    }

    /// It comes of a transfer that a side of the call with this id asked for.
    pub fn transferred_from(&mut self, id: &str) {
        self.transferred_from = Some(id.to_owned());
    }

    /// A side goes on in the call with this id.
    pub fn transferred_to(&mut self, id: &str) {
        self.transferred_to = Some(id.to_owned());
    }

    /// Whether somebody ended an answered call.
    pub fn is_hung_up(&self) -> bool {
        self.ended_by.is_some()
    }

    /// Sets the status that says why the gateway ended the call.
    pub fn code(&mut self, code: u16) {
        self.code = Some(code);
    }

    /// SRTP suites toward caller and callee; `None` is RTP.
    pub fn suites(&mut self, caller: Option<&'static str>, callee: Option<&'static str>) {
        (self.caller_suite, self.callee_suite) = (caller, callee);
    }

    /// Media of a side comes from `remote`, which it did not say. The last one counts.
    pub fn learned(&mut self, from_caller: bool, remote: SocketAddr) {
        let source = if from_caller { &mut self.caller_source } else { &mut self.callee_source };
        *source = Some(remote);
    }

    /// Notes something about the call's media, once; false when it was noted before.
    pub fn note(&mut self, note: &'static str) -> bool {
        let is_new = !self.notes.contains(&note);
        self.notes.extend(is_new.then_some(note));
        is_new
    }

    /// What was relayed.
    pub fn media(&mut self, forward: Way, backward: Way) {
        (self.forward, self.backward) = (Some(forward), Some(backward));
    }

    /// The attempt is over.
    pub fn end(&mut self, now: Timestamp) {
        self.end.get_or_insert(milliseconds(now));
        if let Some(code) = self.code {
            let reason = self.reason.clone().unwrap_or_default();
            self.attempt_over(now, code, &reason);
        }
    }

    /// The line that goes to the file, without its end.
    fn line(&self, mask: bool) -> serde_json::Result<Vec<u8>> {
        if !mask {
            return serde_json::to_vec(self);
        }
        let masked =
            |number: &Option<Pii<String>>| number.as_ref().map(|number| Pii(number.masked()));
        let copy =
            Self { caller: masked(&self.caller), called: masked(&self.called), ..self.clone() };
        serde_json::to_vec(&copy)
    }
}

fn milliseconds(time: Timestamp) -> Timestamp {
    time.round(Unit::Millisecond).unwrap_or(time)
}

/// Writes records to a file, in a thread of its own.
pub struct Writer {
    queue: Option<Sender<Entry>>,
    tally: Arc<Tally>,
    thread: Option<JoinHandle<()>>,
}

/// What the thread is given.
enum Entry {
    /// An attempt is under way; this is its record so far.
    Note(Box<Record>),
    /// An attempt is over; this is its CDR.
    Write(Box<Record>),
}

/// What became of the records.
#[derive(Clone, Copy, PartialEq, Eq, Default, Serialize, Debug)]
pub struct Counts {
    /// In the file.
    pub written: u64,
    /// Lost because the file could not be written.
    pub failed: u64,
    /// Lost because the queue was full.
    pub overflowed: u64,
}

#[derive(Default)]
struct Tally {
    written: AtomicU64,
    failed: AtomicU64,
    overflowed: AtomicU64,
}

impl Writer {
    /// Opens `file` for appending and starts the thread. With `mask`, caller and called keep only
    /// their last digits. Attempts that a process left behind when it died get their CDR now.
    ///
    /// # Errors
    /// The system's error when the file cannot be opened or no thread can be had.
    pub fn open(file: &Path, mask: bool) -> io::Result<Self> {
        let mut output = Output::open(file)?;
        let (mut journal, left) = Journal::open(file, Timestamp::now())?;
        for record in &left {
            output.append_line(serde_json::to_vec(record)?)?;
        }
        output.writer.flush()?;
        journal.clear()?;
        if !left.is_empty() {
            tracing::warn!(
                attempts = left.len(),
                "wrote CDRs of attempts that a dead process left"
            );
        }
        let tally = Arc::new(Tally::default());
        let (queue, records) = bounded(QUEUE_RECORDS_MAX);
        let counted = Arc::clone(&tally);
        let thread = std::thread::Builder::new()
            .name(String::from("cdr"))
            .spawn(move || write_all(&records, output, journal, mask, &counted))?;
        Ok(Self { queue: Some(queue), tally, thread: Some(thread) })
    }

    /// Another way into the same file. Records that are queued by it are written out by the writer
    /// that was opened, whose [`Writer::stop`] waits until each of these is gone.
    pub fn share(&self) -> Self {
        Self { queue: self.queue.clone(), tally: Arc::clone(&self.tally), thread: None }
    }

    /// Queues a record. Never blocks; what finds the queue full is counted and logged.
    pub fn write(&self, record: &Record) {
        self.queue(Entry::Write(Box::new(record.clone())));
    }

    /// Notes an attempt that is under way, so that it leaves a CDR even if this process dies.
    pub fn note(&self, record: &Record) {
        self.queue(Entry::Note(Box::new(record.clone())));
    }

    fn queue(&self, entry: Entry) {
        let queued = self.queue.as_ref().is_some_and(|queue| queue.try_send(entry).is_ok());
        if !queued {
            let lost = self.tally.overflowed.fetch_add(1, Ordering::Relaxed) + 1;
            if lost.is_power_of_two() {
                tracing::error!(lost, "CDRs are lost: the disk is slower than the calls");
            }
        }
    }

    /// What became of the records so far.
    pub fn counts(&self) -> Counts {
        Counts {
            written: self.tally.written.load(Ordering::Relaxed),
            failed: self.tally.failed.load(Ordering::Relaxed),
            overflowed: self.tally.overflowed.load(Ordering::Relaxed),
        }
    }

    /// Writes out everything that is queued and ends the thread.
    pub fn stop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the CDR thread ended by a panic; report this with the log");
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The thread: takes what is queued, writes it, flushes when nothing waits.
fn write_all(
    entries: &Receiver<Entry>,
    mut output: Output,
    mut journal: Journal,
    mask: bool,
    tally: &Tally,
) {
    let mut haste = Haste::default();
    while let Ok(first) = entries.recv() {
        if haste.grows(Instant::now()) {
            std::thread::sleep(GATHER);
        }
        let mut written = Vec::new();
        let mut outcome = output.follow_rotation();
        let batch = entries.try_iter().take(BATCH_RECORDS);
        for entry in std::iter::once(first).chain(batch) {
            match entry {
                Entry::Note(record) => match record.line(mask) {
                    Ok(line) => journal.note(&record.id, &line),
                    Err(cause) => tracing::error!(%cause, "an attempt under way is not noted"),
                },
                Entry::Write(record) => {
                    outcome = outcome.and_then(|()| output.append(&record, mask));
                    written.push(record.id);
                }
            }
        }
        if let Err(cause) = journal.commit() {
            tracing::error!(%cause, "attempts under way are not noted on disk");
        }
        let count = u64::try_from(written.len()).unwrap_or(u64::MAX);
        match outcome.and_then(|()| output.writer.flush()) {
            Ok(()) => {
                tally.written.fetch_add(count, Ordering::Relaxed);
            }
            Err(cause) => {
                let failed = tally.failed.fetch_add(count, Ordering::Relaxed) + count;
                tracing::error!(file = %output.path.display(), %cause, failed,
                    "CDRs are lost; make room on the disk or correct [cdr] file");
                output.discard();
            }
        }
        // Closed only after the flush: a CDR written twice can be told by its id, a lost one not.
        let closed = written.iter().try_for_each(|id| journal.close(id));
        if let Err(cause) = closed.and_then(|()| journal.commit()) {
            tracing::error!(%cause, "ended attempts are not noted on disk");
        }
        haste.done(Instant::now());
    }
}

/// Whether records come so fast that it pays to wait for more of them: each wake-up of the thread
/// costs the shard as much as the record.
#[derive(Default)]
struct Haste {
    done: Option<Instant>,
    in_a_row: u32,
}

impl Haste {
    /// The next record came.
    fn grows(&mut self, now: Instant) -> bool {
        let pause = self.done.map(|done| now.saturating_duration_since(done));
        let is_fast = pause.is_some_and(|pause| pause < HASTE_PAUSE);
        self.in_a_row = if is_fast { self.in_a_row.saturating_add(1) } else { 0 };
        self.in_a_row >= HASTE_BATCHES
    }

    /// All that had come is written.
    fn done(&mut self, now: Instant) {
        self.done = Some(now);
    }
}

struct Output {
    path: PathBuf,
    writer: BufWriter<File>,
    inode: u64,
}

impl Output {
    fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).mode(FILE_MODE).open(path)?;
        let inode = file.metadata()?.ino();
        Ok(Self { path: path.to_owned(), writer: BufWriter::new(file), inode })
    }

    /// Opens the path again when it no longer leads to the open file: somebody rotated it.
    fn follow_rotation(&mut self) -> io::Result<()> {
        let same = std::fs::metadata(&self.path).is_ok_and(|there| there.ino() == self.inode);
        if !same {
            *self = Self::open(&self.path)?;
        }
        Ok(())
    }

    fn append(&mut self, record: &Record, mask: bool) -> io::Result<()> {
        self.append_line(record.line(mask)?)
    }

    fn append_line(&mut self, mut line: Vec<u8>) -> io::Result<()> {
        line.push(b'\n');
        self.writer.write_all(&line)
    }

    /// Forgets what could not be written, so that it is not half written later.
    fn discard(&mut self) {
        if let Ok(file) = self.writer.get_ref().try_clone() {
            let broken = std::mem::replace(&mut self.writer, BufWriter::new(file));
            let (_file, _lost) = broken.into_parts();
        }
    }
}

/// Records that wait for the disk at most: some seconds of calls.
pub const QUEUE_RECORDS_MAX: usize = 16_384;
/// So many times in a row there was another record within so long: some hundred calls a second.
const HASTE_BATCHES: u32 = 32;
const HASTE_PAUSE: Duration = Duration::from_millis(2);
/// How long is waited for more then: what a process that is killed loses of its attempts.
const GATHER: Duration = Duration::from_millis(5);
/// Records written before a flush.
const BATCH_RECORDS: usize = 1_024;
/// The file names people: owner and group only.
const FILE_MODE: u32 = 0o640;

#[cfg(test)]
mod tests;
