//! The repository's rules as a test.
//!
//! A rule that no machine checks decays first in the best codebases, so each rule here fails the
//! build with the file, the line and what to do instead. Rules that rustc or clippy can state are
//! lints in the root `Cargo.toml`; this file holds the others.

use std::fs;
use std::path::{Path, PathBuf};

/// Lines of a source file before its test module.
const FILE_LINES_MAX: usize = 800;
/// Lines of one function, signature and closing brace included.
const FUNCTION_LINES_MAX: usize = 70;
/// Lines of the root README.
const README_LINES_MAX: usize = 150;

/// The only files that may say `unsafe`; each states why in its module comment.
const UNSAFE_FILES: &[&str] = &[
    "bench/src/load/wire.rs",
    "bench/src/media/socket.rs",
    "dataplane/abi/src/memory.rs",
    "dataplane/bpf/src/call.rs",
    "dataplane/bpf/src/memory.rs",
    "dataplane/src/harden/identity.rs",
    "dataplane/src/harden/memory.rs",
    "dataplane/src/io/buffer_ring.rs",
    "dataplane/src/io/buffers.rs",
    "dataplane/src/io/mmsg/messages.rs",
    "dataplane/src/io/packet/messages.rs",
    "dataplane/src/io/packet/options.rs",
    "dataplane/src/io/stamp.rs",
    "dataplane/src/io/uring.rs",
    "dataplane/src/io/watch.rs",
    "dataplane/src/io/xdp/rings.rs",
    "dataplane/src/io/xdp/warden.rs",
    "dataplane/src/large_pages.rs",
    "dataplane/src/prefetch.rs",
];

/// The only files of signaling that may hold a lock, and whose it is. Shards share none: what they
/// have in common is counted by atomics and handed over by queues. So nothing of a call may be here.
const LOCK_FILES: &[(&str, &str)] = &[
    ("signaling/src/net/connection.rs", "the edge's tasks, all on its one thread"),
    ("signaling/src/net/mod.rs", "the edge's thread, and whoever stops it"),
    ("signaling/src/net/pace.rs", "the edge's tasks, all on its one thread"),
    ("signaling/src/net/tls/https.rs", "the API's listener and whoever reads certificates anew"),
    ("signaling/src/net/tls/inspect.rs", "one look at a certificate, and its verifier"),
    (
        "signaling/src/net/tls/mod.rs",
        "the edge, whoever publishes a plan, the first shard's reports",
    ),
    ("signaling/src/plan.rs", "who publishes plans and addresses; shards have readers without one"),
    ("signaling/src/probe/mod.rs", "who asks for tests of connections"),
    ("signaling/src/store/keeper.rs", "the store's thread and the API"),
    ("signaling/src/locate/zone.rs", "tests"),
    ("signaling/src/sim/mod.rs", "tests"),
];
const LOCKS: &[&str] = &["Mutex", "RwLock", "Condvar", "OnceLock", "LazyLock", "Barrier"];

/// Crates that take time and entropy as arguments.
const SANS_IO: &[&str] = &["signaling/sip/src", "signaling/sdp/src", "dataplane/rtp/src"];
const SANS_IO_BANNED: &[&str] = &[
    "Instant::now",
    "SystemTime",
    "thread::",
    "UdpSocket",
    "TcpStream",
    "TcpListener",
    "getrandom",
    "std::fs",
];

/// Which of our crates each of our crates may use (design: dependencies point one way).
const DIRECTION: &[(&str, &[&str])] = &[
    ("signaling/sip", &[]),
    ("signaling/sdp", &[]),
    ("dataplane/rtp", &[]),
    ("dataplane/abi", &[]),
    ("dataplane/recording", &[]),
    ("dataplane/bpf", &[]),
    ("signaling", &["sip", "sdp", "rtp", "abi", "recording"]),
    ("dataplane", &["rtp", "abi", "recording", "bpf"]),
    ("bench", &["sip", "sdp", "rtp", "abi", "bpf"]),
    ("tools", &["sip", "sdp", "rtp", "abi", "signaling", "dataplane", "bench"]),
];
const OURS: &[&str] =
    &["sip", "sdp", "rtp", "abi", "recording", "bpf", "signaling", "dataplane", "bench", "tools"];

/// Words that name everything and therefore nothing.
const VAGUE: &[&str] = &["session", "stream", "channel", "manager", "helper", "util"];

/// What the top level may hold.
const TOP_LEVEL: &[&str] = &[
    ".cargo",
    ".ci",
    ".git",
    ".gitattributes",
    ".gitignore",
    "CHANGELOG.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "README.md",
    "bench",
    "clippy.toml",
    "dataplane",
    "deny.toml",
    "rust-toolchain.toml",
    "rustfmt.toml",
    "signaling",
    "target",
    "tools",
];

struct Source {
    name: String,
    text: String,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

fn walk(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            if path.file_name().is_none_or(|n| n != "target" && n != ".git") {
                walk(&path, found);
            }
        } else {
            found.push(path);
        }
    }
}

fn sources() -> Vec<Source> {
    let mut paths = Vec::new();
    walk(&root(), &mut paths);
    let mut sources: Vec<Source> = paths
        .into_iter()
        .filter(|p| p.extension().is_some_and(|e| e == "rs"))
        .map(|p| Source {
            name: p.strip_prefix(root()).unwrap().to_string_lossy().into_owned(),
            text: fs::read_to_string(&p).unwrap(),
        })
        .collect();
    sources.sort_by(|a, b| a.name.cmp(&b.name));
    assert!(sources.len() > 20, "tidy sees too few files: is it looking at the right root?");
    sources
}

/// Test files by place or name: the limits on length do not apply to them.
fn is_test(name: &str) -> bool {
    name.contains("/tests/") || name.ends_with("/tests.rs") || name.ends_with("tidy.rs")
}

fn production(source: &Source) -> Vec<&str> {
    source.text.lines().take_while(|l| *l != "#[cfg(test)]").collect()
}

fn report(rule: &str, faults: Vec<String>) {
    assert!(faults.is_empty(), "{rule}\n  {}", faults.join("\n  "));
}

/// A line without its string literals and comment, so that words in text do not count.
fn code_of(line: &str) -> String {
    let mut out = String::new();
    let mut quoted = false;
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' if quoted => {
                chars.next();
            }
            '"' => quoted = !quoted,
            '/' if !quoted && chars.peek() == Some(&'/') => break,
            c if !quoted => out.push(c),
            _ => {}
        }
    }
    out
}

fn has_word(code: &str, word: &str) -> bool {
    code.match_indices(word).any(|(at, _)| {
        let ident = |c: char| c.is_alphanumeric() || c == '_';
        !code[..at].chars().next_back().is_some_and(ident)
            && !code[at + word.len()..].chars().next().is_some_and(ident)
    })
}

#[test]
fn files_are_short() {
    let faults = sources()
        .iter()
        .filter(|s| !is_test(&s.name))
        .filter_map(|s| {
            let lines = production(s).len();
            (lines > FILE_LINES_MAX).then(|| format!("{}: {lines} lines", s.name))
        })
        .collect();
    report(
        "a file does one thing in at most 800 lines; split it by what a reader looks for",
        faults,
    );
}

/// Functions as rustfmt lays them out: from the line with `fn` to the brace at its indentation.
fn long_functions(source: &Source) -> Vec<String> {
    let lines = production(source);
    let mut faults = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let code = code_of(line);
        if !has_word(&code, "fn") || code.trim_end().ends_with(';') {
            continue;
        }
        let indent = line.len() - line.trim_start().len();
        let close = format!("{}}}", " ".repeat(indent));
        let Some(length) = lines[at..].iter().position(|l| *l == close) else { continue };
        if length + 1 > FUNCTION_LINES_MAX {
            faults.push(format!("{}:{}: {} lines", source.name, at + 1, length + 1));
        }
    }
    faults
}

#[test]
fn functions_fit_one_screen() {
    let all = sources();
    let faults = all.iter().filter(|s| !is_test(&s.name)).flat_map(long_functions).collect();
    report("a function fits one screen of 70 lines; give its parts their own names", faults);
}

#[test]
fn unsafe_lives_in_named_files() {
    let faults = sources()
        .iter()
        .filter(|s| !UNSAFE_FILES.contains(&s.name.as_str()) && !is_test(&s.name))
        .flat_map(|s| {
            s.text
                .lines()
                .enumerate()
                .filter(|(_, l)| has_word(&code_of(l), "unsafe"))
                .map(|(i, _)| format!("{}:{}", s.name, i + 1))
                .collect::<Vec<_>>()
        })
        .collect();
    report("unsafe outside the files named in tidy.rs", faults);
}

/// Lines of a shard's that name a lock.
fn locks(source: &Source) -> Vec<String> {
    let is_lock = |line: &str| LOCKS.iter().any(|lock| has_word(&code_of(line), lock));
    let lines = production(source);
    let found = lines.iter().enumerate().filter(|(_, line)| is_lock(line));
    found.map(|(at, _)| format!("{}:{}", source.name, at + 1)).collect()
}

#[test]
fn no_lock_is_shared_between_shards() {
    let may = |name: &str| LOCK_FILES.iter().any(|(file, _)| *file == name);
    let all = sources();
    let of_shards = all.iter().filter(|s| s.name.starts_with("signaling/") && !is_test(&s.name));
    let faults = of_shards.clone().filter(|s| !may(&s.name)).flat_map(locks).collect();
    report("a lock outside the files named in tidy.rs; count by atomics or hand over", faults);
    let unused = LOCK_FILES.iter().filter(|(file, _)| {
        !of_shards.clone().any(|source| source.name == *file && !locks(source).is_empty())
    });
    report("files named in tidy.rs have a lock", unused.map(|(f, _)| (*f).to_owned()).collect());
}

#[test]
fn unsafe_blocks_say_why() {
    let mut faults = Vec::new();
    for source in sources() {
        let lines: Vec<&str> = source.text.lines().collect();
        for (at, line) in lines.iter().enumerate() {
            let code = code_of(line);
            if !code.contains("unsafe {") && !code.contains("unsafe impl") {
                continue;
            }
            let before = lines[at.saturating_sub(8)..=at].iter();
            if !before.into_iter().any(|l| l.contains("SAFETY:")) {
                faults.push(format!("{}:{}", source.name, at + 1));
            }
        }
    }
    report("each unsafe block carries its SAFETY reason", faults);
}

#[test]
fn sans_io_crates_have_no_clock_socket_thread_or_entropy() {
    let mut faults = Vec::new();
    for source in sources() {
        if !SANS_IO.iter().any(|p| source.name.starts_with(p)) || is_test(&source.name) {
            continue;
        }
        for (at, line) in production(&source).iter().enumerate() {
            let code = code_of(line);
            for banned in SANS_IO_BANNED {
                if code.contains(banned) {
                    faults.push(format!("{}:{}: {banned}", source.name, at + 1));
                }
            }
        }
    }
    report("a sans-IO crate takes time and entropy as arguments", faults);
}

#[test]
fn dependencies_point_one_way() {
    let mut faults = Vec::new();
    for (folder, allowed) in DIRECTION {
        let manifest = fs::read_to_string(root().join(folder).join("Cargo.toml")).unwrap();
        for line in manifest.lines() {
            let name = line.split(['.', ' ', '=']).next().unwrap_or("");
            if OURS.contains(&name) && !allowed.contains(&name) {
                faults.push(format!("{folder}/Cargo.toml uses {name}"));
            }
        }
        if manifest.contains("[features]") {
            faults.push(format!("{folder}/Cargo.toml declares cargo features"));
        }
    }
    for line in fs::read_to_string(root().join("dataplane/Cargo.toml")).unwrap().lines() {
        if line.starts_with("tokio") {
            faults.push("dataplane/Cargo.toml: no async runtime enters dataplane".into());
        }
    }
    report("dependencies point one way, and our crates have no features", faults);
}

#[test]
fn names_say_what_they_name() {
    let mut faults = Vec::new();
    for source in sources() {
        let file = source.name.rsplit('/').next().unwrap_or("").trim_end_matches(".rs");
        if VAGUE.iter().any(|w| file.split('_').any(|part| part.trim_end_matches('s') == *w)) {
            faults.push(format!("{}: file name", source.name));
        }
        for (at, line) in source.text.lines().enumerate() {
            let code = code_of(line);
            for keyword in ["struct ", "enum ", "trait ", "mod ", "type "] {
                let Some(start) = code.find(keyword) else { continue };
                let rest = &code[start + keyword.len()..];
                let name: String =
                    rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                let lower = name.to_lowercase();
                if code[..start].trim().chars().all(|c| c.is_alphanumeric() || "()_: ".contains(c))
                    && VAGUE.iter().any(|w| lower.contains(w))
                {
                    faults.push(format!("{}:{}: {name}", source.name, at + 1));
                }
            }
        }
    }
    report("a name of ours uses the field's word (design: words)", faults);
}

#[test]
fn top_level_is_fixed() {
    let faults = fs::read_dir(root())
        .unwrap()
        .map(|e| e.unwrap().file_name().to_string_lossy().into_owned())
        .filter(|n| !TOP_LEVEL.contains(&n.as_str()))
        .collect();
    report("the top level is fixed; put it in the folder that owns it", faults);
}

#[test]
fn each_folder_has_its_page() {
    let mut faults: Vec<String> = DIRECTION
        .iter()
        .filter(|(folder, _)| !root().join(folder).join("README.md").is_file())
        .map(|(folder, _)| format!("{folder}/README.md is missing"))
        .collect();
    let page = fs::read_to_string(root().join("README.md")).unwrap();
    if page.lines().count() > README_LINES_MAX {
        faults.push(format!("README.md has {} lines", page.lines().count()));
    }
    report("each folder has a one-page README", faults);
}

#[test]
fn rfc_sections_are_cited_in_one_form() {
    let mut faults = Vec::new();
    for source in sources().iter().filter(|s| !s.name.ends_with("tidy.rs")) {
        for (at, line) in source.text.lines().enumerate() {
            let lower = line.to_lowercase();
            let long_form = lower.split("rfc").skip(1).any(|after| {
                let digits = after.trim_start_matches([' ', '-']);
                let rest = digits.trim_start_matches(|c: char| c.is_ascii_digit());
                rest.len() < digits.len()
                    && (rest.starts_with(" section ") || rest.starts_with(", section "))
            });
            if long_form && line.contains("//") {
                faults.push(format!("{}:{}", source.name, at + 1));
            }
        }
    }
    report("cite an RFC as `RFC 3261 §17.1.1.2`", faults);
}

#[test]
fn dependencies_state_their_reason() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let table = manifest.split("[workspace.dependencies]").nth(1).unwrap();
    let table = table.split("\n[").next().unwrap();
    let faults = table
        .lines()
        .filter(|l| l.contains(" = ") && !l.starts_with('#') && !l.contains("path = "))
        .filter(|l| !l.contains(" # "))
        .map(str::to_owned)
        .collect();
    report("each crate in the dependency table has a one-line reason", faults);
}

#[test]
fn code_of_ignores_text_and_comments() {
    assert!(!has_word(&code_of(r#"let a = "unsafe"; // unsafe"#), "unsafe"));
    assert!(has_word(&code_of("unsafe { }"), "unsafe"), "positive control");
    assert!(!has_word("unsafe_code", "unsafe"));
}

#[test]
fn long_functions_are_found() {
    let body = "    x();\n".repeat(FUNCTION_LINES_MAX);
    let source = Source { name: "control.rs".into(), text: format!("fn long() {{\n{body}}}\n") };
    assert_eq!(long_functions(&source).len(), 1, "positive control");
}
