mod rig;
use abi::{Counter, Suite};
use rig::packet::rtp;
use rig::{Call, Rig};
#[test]
fn idle_and_busy() {
    let mut rig = Rig::start();
    std::thread::sleep(std::time::Duration::from_secs(1));
    let (b0, w0) = (rig.counter(Counter::BusyNs), rig.counter(Counter::Wakeups));
    std::thread::sleep(std::time::Duration::from_secs(5));
    println!(
        "idle: {} us cpu in 5 s, {} wakeups",
        (rig.counter(Counter::BusyNs) - b0) / 1000,
        rig.counter(Counter::Wakeups) - w0
    );
    for (k, suite) in
        [None, Some(Suite::AesCm128HmacSha1_80), Some(Suite::AeadAes128Gcm)].into_iter().enumerate()
    {
        let calls: Vec<Call> =
            (0..16).map(|n| Call::place(&mut rig, 2 * n, 1 + k as u32)).collect();
        for c in &calls {
            match suite {
                None => c.join(&mut rig),
                Some(s) => c.join_secure(&mut rig, s),
            }
            c.far_b.rtp.set_nonblocking(true).unwrap();
        }
        std::thread::sleep(std::time::Duration::from_millis(300));
        let (b0, w0, r0) = (
            rig.counter(Counter::BusyNs),
            rig.counter(Counter::Wakeups),
            rig.counter(Counter::RelayedRtp),
        );
        let t = std::time::Instant::now();
        let mut buf = [0u8; 2048];
        for seq in 0..8000u16 {
            for c in &calls {
                c.far_a.rtp.send_to(&rtp(seq), c.at_a.0).unwrap();
            }
            for c in &calls {
                while c.far_b.rtp.recv_from(&mut buf).is_ok() {}
            }
            let want = std::time::Duration::from_micros(320 * seq as u64);
            while t.elapsed() < want {
                std::thread::yield_now();
            }
        }
        std::thread::sleep(std::time::Duration::from_millis(500));
        let n = rig.counter(Counter::RelayedRtp) - r0;
        println!(
            "{suite:?}: {n} packets in {:?}, {} ns cpu each, {} wakeups",
            t.elapsed(),
            (rig.counter(Counter::BusyNs) - b0) / n.max(1),
            rig.counter(Counter::Wakeups) - w0
        );
        for c in &calls {
            rig.close(c.a);
            rig.close(c.b);
        }
    }
}
