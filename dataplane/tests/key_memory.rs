//! Keys in the memory of a running data plane: there during a call, nowhere a moment after it. The
//! data plane runs in a process of its own (this binary, started again), so that the keys of the
//! test are not found in its place.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by a panic"
)]

mod rig;

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use abi::{Key, Suite, Update};
use aes::cipher::{BlockCipherEncrypt, KeyInit};
use dataplane::Stop;
use rig::{Call, Rig, config, home, own_address, wire};

#[test]
fn keys_are_gone_within_a_second_of_the_calls_end() {
    let config = config(own_address(), 16, 20_000..=20_099);
    let host = Host::start(&config);
    let mut rig = Rig::attached(config);
    let suites =
        [Suite::AesCm128HmacSha1_80, Suite::AeadAes128Gcm, Suite::AeadAes256Gcm].into_iter();
    for (index, suite) in (0_u32..).zip(suites) {
        let call = Call::place(&mut rig, 2 * index, 1);
        let (outward, inward) = (random_key(suite), random_key(suite));
        let secrets: Vec<Vec<u8>> =
            [&outward, &inward].into_iter().flat_map(|key| [master(key), media(key)]).collect();
        assert_eq!(host.find(&secrets), [0; 4], "{suite:?}: known before they were told");
        rig.update(Update { protect: Some(outward), ..call.update_a() });
        rig.update(Update { unprotect: Some(inward), ..call.update_b() });
        call.far_a.rtp.send_to(&rig::packet::rtp(1), call.at_a.0).unwrap();
        assert_ne!(rig::receive(&call.far_b.rtp).0, rig::packet::rtp(1), "protected");
        let used = host.find(&secrets);
        assert!(used.iter().all(|hits| *hits > 0), "{suite:?}: {used:?} hits during the call");
        rig.close(call.a);
        rig.close(call.b);
        let closed = Instant::now();
        while host.find(&secrets) != [0; 4] {
            let left = host.find(&secrets);
            assert!(closed.elapsed() < Duration::from_secs(1), "{suite:?}: {left:?} hits are left");
        }
    }
}

fn random_key(suite: Suite) -> Key {
    let mut octets = [0; 46];
    File::open("/dev/urandom").unwrap().read_exact(&mut octets).unwrap();
    let (key, salt) = octets.split_at(32);
    Key::new(suite, &key[..suite.key_len()], &salt[..suite.salt_len()]).unwrap()
}

fn master(key: &Key) -> Vec<u8> {
    key.key().to_vec()
}

/// The first block of the media encryption key (RFC 3711 §4.3.1, label 0), which is the first round
/// key of its schedule too.
fn media(key: &Key) -> Vec<u8> {
    let mut block = [0; 16];
    block[..key.salt().len()].copy_from_slice(key.salt());
    let mut block = block.into();
    match key.key().len() {
        16 => aes::Aes128::new_from_slice(key.key()).unwrap().encrypt_block(&mut block),
        _ => aes::Aes256::new_from_slice(key.key()).unwrap().encrypt_block(&mut block),
    }
    block.to_vec()
}

/// A data plane in a process of its own; it ends when its standard input does.
struct Host(Child);

impl Host {
    fn start(config: &dataplane::Config) -> Host {
        // Other backends have this file as a module.
        let name = module_path!().split_once("::").map(|(_, module)| format!("{module}::child"));
        let name = name.as_deref().unwrap_or("child");
        let address = home(config.networks[0][0]).to_string();
        let spawn = || {
            Command::new(std::env::current_exe().unwrap())
                .args(["--exact", name, "--ignored", "--nocapture"])
                .env(ADDRESS, &address)
                .env(SOCKET, &config.socket)
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .spawn()
                .unwrap()
        };
        Host(wire::with(|wire| wire.stage.at_near(spawn)).unwrap_or_else(spawn))
    }

    /// How often each secret is in the process's memory.
    fn find(&self, secrets: &[Vec<u8>]) -> Vec<usize> {
        let directory = format!("/proc/{}", self.0.id());
        let memory = File::open(format!("{directory}/mem")).unwrap();
        let mut hits = vec![0; secrets.len()];
        for line in fs::read_to_string(format!("{directory}/maps")).unwrap().lines() {
            let mut fields = line.split_ascii_whitespace();
            let (range, rights) = (fields.next().unwrap(), fields.next().unwrap());
            if !rights.starts_with("rw") {
                continue;
            }
            let (start, end) = range.split_once('-').unwrap();
            let [start, end] = [start, end].map(|text| u64::from_str_radix(text, 16).unwrap());
            let mut octets = vec![0; (end - start) as usize];
            // A mapping that has gone meanwhile holds nothing.
            let read = memory.read_at(&mut octets, start).unwrap_or(0);
            for (secret, hits) in secrets.iter().zip(&mut hits) {
                *hits += octets[..read].windows(secret.len()).filter(|at| at == secret).count();
            }
        }
        hits
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

#[test]
#[ignore = "the part of a child process"]
fn child() {
    let (Ok(address), Ok(socket)) = (std::env::var(ADDRESS), std::env::var(SOCKET)) else { return };
    let mut config = config(address.parse().unwrap(), 16, 20_000..=20_099);
    config.socket = socket.into();
    let stop = Stop::new().unwrap();
    let running = std::thread::spawn({
        let stop = stop.clone();
        move || dataplane::run(config, stop)
    });
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    stop.trigger();
    running.join().unwrap().unwrap();
}

const ADDRESS: &str = "TRUNKLINE_TEST_ADDRESS";
const SOCKET: &str = "TRUNKLINE_TEST_SOCKET";
