//! The card: what a network card that coalesces interrupts is between the wire and the device.
//!
//! ```text
//! generator -> veth "tlb-feed" ------ "tlb-gate"   NAPI on the load's core, fired every 200 us
//!                                         |        its XDP program redirects
//!                                         v
//!              veth "tlb-load" ------ "tlb-dut"    frames come in bursts, one wake-up each
//! ```
//! A timer of the device's interface (`coal200`) stands for a card's and is paid by the device's core,
//! dearly in a virtual machine. Here it runs where the card would be. The frames come as a driver has
//! them, in pages and without a socket buffer, for whoever takes them from there.

use bpf::{Assembler, Link, Program, ProgramKind, REDIRECT, Reg, XdpMode};

use super::Side;
use crate::fault::Fault;

/// A card in front of the device. Its interfaces go with their namespace.
pub struct Card {
    /// What the generator sends by.
    pub feed: u32,
    _programs: [Link; 2],
}

impl Card {
    /// Puts one in front of `load`, the device's far end, in its namespace; its work is done on `core`.
    ///
    /// # Errors
    /// Those of the programs that make interfaces; the kernel's about the program.
    pub fn insert(load: &Side, core: usize, coalesce_ns: u64) -> Result<Card, Fault> {
        let [mut feed, mut gate] =
            ["tlb-feed", "tlb-gate"].map(|end| Side::new(load.namespace.clone(), end));
        load.ip(&[
            "link",
            "add",
            &feed.interface,
            "type",
            "veth",
            "peer",
            "name",
            &gate.interface,
        ])?;
        gate.coalesce(coalesce_ns)?;
        for side in [&mut feed, &mut gate] {
            side.prepare()?;
            side.ip(&["link", "set", &side.interface, "mtu", "1500", "up"])?;
            side.identify()?;
        }
        let (from, to) = (gate.index, load.index);
        // With a program it takes what the device's driver sends by itself, too.
        let programs = load.inside(core, || Ok([redirect(from, to)?, Link::xdp_pass(to)?]))?;
        let programs = programs.map_err(Fault::io("put the card's programs into its driver"))?;
        Ok(Card { feed: feed.index, _programs: programs })
    }
}

/// All that comes by interface `from` leaves by `to`.
fn redirect(from: u32, to: u32) -> std::io::Result<Link> {
    let mut a = Assembler::new();
    a.mov_imm(Reg::R1, to.cast_signed());
    a.mov_imm(Reg::R2, 0);
    a.call(REDIRECT);
    a.exit();
    let code = a.finish().map_err(std::io::Error::other)?;
    Link::xdp(&Program::load(ProgramKind::Xdp, &code, "tlb_card")?, from, XdpMode::Native)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use crate::account::Accounting;
    use crate::load::wire::{Ring, Sender};
    use crate::stage::{Plan, Receive, Stage};

    #[test]
    fn what_the_generator_sends_comes_to_the_device_whole_and_in_order() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("SKIPPED: only root can make a stage");
            return;
        }
        let plan = Plan {
            receive: Receive::Nic200,
            accounting: Accounting::Core,
            load_core: 0,
            device_cores: vec![1],
            interfaces: None,
        };
        let stage = Stage::build(plan).unwrap();
        let index = stage.device.index;
        let mut ring = stage.device.inside(1, || Ring::open(index)).unwrap().unwrap();
        let index = stage.feed();
        assert_ne!(index, stage.load.index, "the card is in between");
        let mut sender = stage.load.inside(0, || Sender::open(index)).unwrap().unwrap();
        let (to, from) = (stage.device.mac, [2; 6]);
        let frame = |number: u8| [&to[..], &from, &[8, 0], &[number; 60]].concat();
        let frames: Vec<Vec<u8>> = (0..200).map(frame).collect();
        for burst in frames.chunks(20) {
            let burst: Vec<&[u8]> = burst.iter().map(Vec::as_slice).collect();
            assert_eq!(sender.send(&burst).unwrap().taken, burst.len());
            std::thread::sleep(Duration::from_millis(1));
        }
        let mut seen = Vec::new();
        let until = Instant::now() + Duration::from_secs(10);
        while seen.len() < frames.len() && Instant::now() < until {
            ring.drain(|received| seen.push(received.frame.to_vec()));
        }
        assert_eq!(seen, frames);
    }
}
