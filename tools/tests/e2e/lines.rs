//! Output of a child process, line by line, waited for and never slept for.

use std::io::{BufRead, BufReader, Read};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// How long any peer may take before the test is called stuck.
pub const PATIENCE: Duration = Duration::from_secs(40);

pub struct Lines {
    receiver: Receiver<String>,
    pub seen: Vec<String>,
}

impl Lines {
    pub fn of(output: impl Read + Send + 'static) -> Self {
        let (sender, receiver) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines() {
                let Ok(line) = line else { return };
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self { receiver, seen: Vec::new() }
    }

    /// Waits for a line that contains `wanted`; lines are never looked at twice.
    pub fn wait(&mut self, wanted: &str) -> String {
        match self.find(|line| line.contains(wanted)) {
            Some(line) => line,
            None => panic!("no line with {wanted:?}; seen:\n{}", self.seen.join("\n")),
        }
    }

    /// Waits for one line for each of `wanted`, in whatever order they come; a line serves one only.
    pub fn wait_each(&mut self, wanted: &[&str]) {
        let mut left = wanted.to_vec();
        while !left.is_empty() {
            let Some(line) = self.find(|line| left.iter().any(|text| line.contains(text))) else {
                panic!("no lines with {left:?}; seen:\n{}", self.seen.join("\n"));
            };
            if let Some(at) = left.iter().position(|text| line.contains(text)) {
                left.swap_remove(at);
            }
        }
    }

    fn find(&mut self, accept: impl Fn(&str) -> bool) -> Option<String> {
        let until = Instant::now() + PATIENCE;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match self.receiver.recv_timeout(left) {
                Ok(line) => {
                    self.seen.push(line.clone());
                    if accept(&line) {
                        return Some(line);
                    }
                }
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return None,
            }
        }
    }

    /// Everything until the process closed its output.
    pub fn rest(&mut self) -> &[String] {
        while let Ok(line) = self.receiver.recv_timeout(PATIENCE) {
            self.seen.push(line);
        }
        &self.seen
    }
}
