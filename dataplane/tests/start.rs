//! What an operator reads when the data plane does not start.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by a panic"
)]

mod rig;

use dataplane::{Config, StartError, Stop};
use rig::{Rig, config, own_address};

fn refusal(config: Config) -> StartError {
    dataplane::run(config, Stop::new().unwrap()).unwrap_err()
}

fn good() -> Config {
    config(own_address(), 16, 20_000..=20_099)
}

#[test]
fn refusals_name_the_thing_the_cause_and_the_remedy() {
    type Spoil = fn(&mut Config);
    let table: [(Spoil, u8, &[&str]); 6] = [
        (|c| c.workers = 0, 78, &["media.workers", "0 is outside 1 to 64"]),
        (|c| c.cores = vec![4095], 78, &["core 4095", "may not use", "choose among"]),
        (
            |c| c.networks = vec![vec!["192.0.2.1".parse().unwrap()]],
            69,
            &["192.0.2.1", "ip address"],
        ),
        (|c| c.ports = 20_000..=20_000, 78, &["media.ports", "widen"]),
        (|c| c.socket = "/nonexistent/x.sock".into(), 73, &["/nonexistent/x.sock", "directory"]),
        (|c| c.flows_per_worker = 65_536, 71, &["open files", "131136", "LimitNOFILE"]),
    ];
    for (spoil, code, words) in table {
        let mut config = good();
        spoil(&mut config);
        let checked = dataplane::check(&config);
        let error = refusal(config);
        let text = error.to_string();
        match checked {
            Ok(_) => assert_eq!(code, 73, "only the handover socket is not checked beforehand"),
            Err(checked) => assert_eq!(checked.to_string(), text),
        }
        assert!(words.iter().all(|word| text.contains(word)), "{text}");
        assert_eq!(error.exit_code(), code, "{text}");
    }
}

#[test]
fn a_second_data_plane_on_the_same_socket_is_refused() {
    let rig = Rig::start();
    let mut config = good();
    config.socket = rig.socket().clone();
    let error = refusal(config);
    assert!(error.to_string().contains("another dataplane"), "{error}");
    assert_eq!(error.exit_code(), 73);
}

#[test]
fn a_stop_before_the_start_ends_at_once_and_leaves_no_socket() {
    let config = good();
    let stop = Stop::new().unwrap();
    stop.trigger();
    dataplane::run(config.clone(), stop).unwrap();
    assert!(!config.socket.exists());
}

#[test]
fn several_workers_each_have_a_region_and_ports() {
    let mut config = good();
    config.workers = 3;
    config.ports = 20_000..=20_023;
    let stop = Stop::new().unwrap();
    let thread = {
        let (config, stop) = (config.clone(), stop.clone());
        std::thread::spawn(move || dataplane::run(config, stop))
    };
    let mut workers = Vec::new();
    rig::await_that("handover", || match abi::handover::connect(&config.socket) {
        Ok(handed) => {
            workers = handed;
            true
        }
        Err(_) => false,
    });
    assert_eq!(workers.len(), 3);
    for (n, worker) in workers.iter_mut().enumerate() {
        let open = abi::Open {
            token: 1,
            flow: rig::id(0, 1),
            call: [0; 16],
            network: 0,
            family: abi::Family::Any,
            rtcp_mux_in: true,
            dscp: None,
        };
        worker.guest.commands.push(&abi::Command::open(&open)).unwrap();
        abi::doorbell::ring(&worker.command_bell).unwrap();
        let mut opened = None;
        rig::await_that("OPENED", || {
            opened = worker.guest.events.pop();
            opened.is_some()
        });
        match opened.unwrap().decode().unwrap() {
            abi::Notice::Opened { local_rtp, local_rtcp, .. } => {
                assert_eq!(local_rtp.port(), 20_000 + 8 * n as u16);
                assert_eq!(local_rtcp, local_rtp, "multiplexed");
            }
            other => panic!("{other:?}"),
        }
    }
    stop.trigger();
    thread.join().unwrap().unwrap();
}
