//! Lays a host that was written down as text out into a directory, for tests.
//!
//! ```text
//! # a comment
//! /path = a line of text
//! /path += one more line
//! each c 0-7: /sys/devices/system/cpu/cpu{c}/topology/core_id = {c%4}
//! ```
//! `{c+4*2}` is reckoned from left to right, without precedence. `{0x128}` is the digit 0, 128 times,
//! with blanks between.

use std::fs;
use std::path::{Path, PathBuf};

use super::cpus::Cpus;

/// A laid out host; removed with the value.
pub struct Laid(PathBuf);

impl Laid {
    /// Lays `text` out; `name` tells tests that run at once apart.
    pub fn out(text: &str, name: &str) -> Laid {
        let root = std::env::temp_dir().join(format!("trunkline-{name}-{}", std::process::id()));
        let _left_over = fs::remove_dir_all(&root);
        for line in text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#')) {
            let Some(rest) = line.strip_prefix("each ") else {
                put(&root, &expand(line, "", 0));
                continue;
            };
            let (head, body) = rest.split_once(": ").unwrap();
            let (name, range) = head.split_once(' ').unwrap();
            for value in Cpus::from_list(range).unwrap().iter() {
                put(&root, &expand(body, name, value));
            }
        }
        Laid(root)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Laid {
    fn drop(&mut self) {
        let _gone_already = fs::remove_dir_all(&self.0);
    }
}

fn put(root: &Path, line: &str) {
    let (path, text) = line.split_once('=').unwrap_or_else(|| panic!("no path: {line}"));
    let file = root.join(path.trim_end_matches('+').trim().trim_start_matches('/'));
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    let before =
        if path.ends_with('+') { fs::read_to_string(&file).unwrap() } else { String::new() };
    fs::write(&file, format!("{before}{}\n", text.trim().replace("\\0", "\0"))).unwrap();
}

/// Fills the braces of a line.
fn expand(line: &str, name: &str, value: usize) -> String {
    let mut out = String::new();
    let mut rest = line;
    while let Some((text, after)) = rest.split_once('{') {
        let (inside, after) = after.split_once('}').unwrap();
        out.push_str(text);
        if let Some((what, times)) = inside.split_once('x') {
            out.push_str(&vec![what; times.parse().unwrap()].join(" "));
        } else if let Some(sum) = inside.strip_prefix(name).filter(|_| !name.is_empty()) {
            out.push_str(&reckon(value, sum).to_string());
        } else {
            // Braces of JSON.
            out.push_str(&format!("{{{inside}}}"));
        }
        rest = after;
    }
    out + rest
}

fn reckon(mut value: usize, mut sum: &str) -> usize {
    while let Some(operator) = sum.chars().next() {
        let end = sum[1..].find(|c: char| !c.is_ascii_digit()).map_or(sum.len(), |at| at + 1);
        let operand: usize = sum[1..end].parse().unwrap();
        value = match operator {
            '+' => value + operand,
            '*' => value * operand,
            '/' => value / operand,
            '%' => value % operand,
            other => panic!("{other}"),
        };
        sum = &sum[end..];
    }
    value
}
