//! Two hosts and a wire between them, for tests that need frames: network namespaces and a veth
//! pair, gone with the value.
//!
//! ```text
//! near: 10.99.0.1/24, fd99::1/64 on "near"  -----  "far": 10.99.0.2/24, fd99::2/64
//! ```

#![allow(dead_code, reason = "each who includes it uses its part")]

use std::fs::File;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

pub const NEAR: [&str; 2] = ["10.99.0.1", "fd99::1"];
pub const FAR: [&str; 2] = ["10.99.0.2", "fd99::2"];
/// The ends of a second wire.
pub const NEAR2: &str = "10.98.0.1";
pub const FAR2: &str = "10.98.0.2";

pub struct Stage {
    near: String,
    far: String,
}

impl Stage {
    /// `None` where namespaces cannot be made: only root may.
    pub fn build() -> Option<Stage> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        if !rustix::process::geteuid().is_root() {
            return None;
        }
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = |side: &str| format!("tl-{side}-{}-{number}", std::process::id());
        let stage = Stage { near: name("near"), far: name("far") };
        for namespace in [&stage.near, &stage.far] {
            ip(&format!("netns add {namespace}"));
            ip(&format!("-n {namespace} link set lo up"));
        }
        let (near, far) = (&stage.near, &stage.far);
        ip(&format!("link add near netns {near} type veth peer name far netns {far}"));
        for (namespace, link, addresses) in [(near, "near", NEAR), (far, "far", FAR)] {
            let [four, six] = addresses;
            ip(&format!("-n {namespace} address add {four}/24 dev {link}"));
            ip(&format!("-n {namespace} address add {six}/64 dev {link} nodad"));
            ip(&format!("-n {namespace} link set {link} up"));
        }
        Some(stage)
    }

    /// A second wire between the same hosts: "near2", which has [`NEAR2`], and "far2".
    pub fn add_wire(&self) {
        let (near, far) = (&self.near, &self.far);
        ip(&format!("link add near2 netns {near} type veth peer name far2 netns {far}"));
        for (namespace, link, address) in [(near, "near2", NEAR2), (far, "far2", FAR2)] {
            ip(&format!("-n {namespace} address add {address}/24 dev {link}"));
            ip(&format!("-n {namespace} link set {link} up"));
        }
    }

    /// `ip` on the near or far side.
    pub fn near(&self, arguments: &str) {
        ip(&format!("-n {} {arguments}", self.near));
    }

    pub fn far(&self, arguments: &str) {
        ip(&format!("-n {} {arguments}", self.far));
    }

    /// What `ip` says on the near side.
    pub fn ask_near(&self, arguments: &str) -> String {
        let words = arguments.split_ascii_whitespace();
        let said = Command::new("ip").args(["-n", &self.near]).args(words).output();
        String::from_utf8_lossy(&said.unwrap().stdout).into_owned()
    }

    /// A way to the near side for a thread that is to live there.
    pub fn near_door(&self) -> Door {
        Door(self.near.clone())
    }

    /// Runs `work` on the near side.
    pub fn at_near<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let there = scope.spawn(|| {
                self.enter_near();
                work()
            });
            there.join().unwrap()
        })
    }

    /// Moves the calling thread, and those it starts, to the near side.
    pub fn enter_near(&self) {
        enter(&self.near);
    }

    pub fn enter_far(&self) {
        enter(&self.far);
    }

    /// Runs `work` on the far side.
    pub fn at_far<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let there = scope.spawn(|| {
                self.enter_far();
                work()
            });
            there.join().unwrap()
        })
    }
}

/// Leads a thread to one side.
pub struct Door(String);

impl Door {
    pub fn enter(&self) {
        enter(&self.0);
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        for namespace in [&self.near, &self.far] {
            let _ = Command::new("ip").args(["netns", "del", namespace]).status();
        }
    }
}

fn enter(namespace: &str) {
    let file = File::open(format!("/run/netns/{namespace}")).unwrap();
    let kind = Some(LinkNameSpaceType::Network);
    move_into_link_name_space(std::os::fd::AsFd::as_fd(&file), kind).unwrap();
}

fn ip(arguments: &str) {
    let done = Command::new("ip").args(arguments.split_ascii_whitespace()).output().unwrap();
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "ip {arguments}: {said}");
}
