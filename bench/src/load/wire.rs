//! Raw Ethernet frames on one interface: a sender in batches and a receive ring shared with the
//! kernel. The only unsafe code of the load side: packet(7) has no safe binding.
//!
//! ```text
//! Sender   AF_PACKET + PACKET_QDISC_BYPASS, sendmmsg: no routing, no queue, straight to the driver
//! Ring     TPACKET_V3: blocks of memory that the kernel fills with frames and gives to us
//!          | block descriptor: status, number of frames, first | frame header, frame | ... |
//! ```
//! A block is ours from the moment its status says USER until we write KERNEL; in between nobody
//! else touches it, which is what the slices below rest on.

use std::io;
use std::mem::{self, MaybeUninit};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU32, Ordering};

/// Sends frames on one interface.
pub struct Sender {
    fd: OwnedFd,
}

/// How a batch ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Sent {
    /// Frames that the interface took.
    pub taken: usize,
    /// Frames that the receiver's ring had no room for: lost as on a wire whose far end is full.
    pub refused: usize,
}

impl Sender {
    /// Opens the interface of the calling thread's network namespace. Needs CAP_NET_RAW.
    pub fn open(interface: u32) -> io::Result<Sender> {
        // Protocol 0: it receives nothing.
        let fd = packet_socket(0)?;
        set_option(&fd, libc::PACKET_QDISC_BYPASS, &1)?;
        bind(&fd, interface, 0)?;
        Ok(Sender { fd })
    }

    /// Sends `frames` in order; each is a whole Ethernet frame.
    ///
    /// # Errors
    /// Those of sendmmsg(2), except "no room at the receiver", which is counted.
    pub fn send(&mut self, frames: &[&[u8]]) -> io::Result<Sent> {
        let mut sent = Sent::default();
        let mut rest = frames;
        while !rest.is_empty() {
            let batch = rest.get(..BATCH).unwrap_or(rest);
            match self.send_batch(batch) {
                Ok(count) => {
                    sent.taken += count;
                    rest = rest.get(count..).unwrap_or_default();
                }
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                    sent.refused += 1;
                    rest = rest.get(1..).unwrap_or_default();
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(sent)
    }

    fn send_batch(&mut self, frames: &[&[u8]]) -> io::Result<usize> {
        let mut slices = [const { MaybeUninit::<libc::iovec>::uninit() }; BATCH];
        // SAFETY: an all-zero mmsghdr is valid: null pointers with zero lengths.
        let mut headers: [libc::mmsghdr; BATCH] = unsafe { mem::zeroed() };
        for ((header, slice), frame) in headers.iter_mut().zip(slices.iter_mut()).zip(frames) {
            let slice = slice.write(libc::iovec {
                iov_base: frame.as_ptr().cast_mut().cast(),
                iov_len: frame.len(),
            });
            header.msg_hdr.msg_iov = slice;
            header.msg_hdr.msg_iovlen = 1;
        }
        let count = frames.len().min(BATCH) as libc::c_uint;
        // SAFETY: the first `count` headers each point at one iovec in this frame of the call, and
        // each iovec at a slice that outlives it; sending only reads them.
        let sent = unsafe { libc::sendmmsg(self.fd.as_raw_fd(), headers.as_mut_ptr(), count, 0) };
        usize::try_from(sent).map_err(|_| io::Error::last_os_error())
    }
}

/// A received frame and when the kernel saw it, in nanoseconds since the Unix epoch.
pub struct Received<'a> {
    pub at_ns: u64,
    pub frame: &'a [u8],
}

/// Receives the IPv4 frames that arrive on one interface.
pub struct Ring {
    fd: OwnedFd,
    memory: NonNull<u8>,
    block: usize,
}

// SAFETY: the mapping belongs to this value alone and is reached through `&mut self` only.
unsafe impl Send for Ring {}

impl Ring {
    /// Opens the interface of the calling thread's network namespace. Needs CAP_NET_RAW.
    pub fn open(interface: u32) -> io::Result<Ring> {
        let fd = packet_socket(0)?;
        set_option(&fd, libc::PACKET_VERSION, &(libc::tpacket_versions::TPACKET_V3 as i32))?;
        let request = libc::tpacket_req3 {
            tp_block_size: BLOCK_SIZE as u32,
            tp_block_nr: BLOCKS as u32,
            tp_frame_size: FRAME_SIZE as u32,
            tp_frame_nr: (BLOCKS * BLOCK_SIZE / FRAME_SIZE) as u32,
            tp_retire_blk_tov: RETIRE_MS,
            tp_sizeof_priv: 0,
            tp_feature_req_word: 0,
        };
        set_option(&fd, libc::PACKET_RX_RING, &request)?;
        // SAFETY: a new shared mapping of the ring that was just made, of exactly its size, at an
        // address of the kernel's choice; the result is checked.
        let memory = unsafe {
            libc::mmap(
                ptr::null_mut(),
                BLOCKS * BLOCK_SIZE,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_POPULATE,
                fd.as_raw_fd(),
                0,
            )
        };
        if memory == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let memory = NonNull::new(memory.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        let ring = Ring { fd, memory, block: 0 };
        // Bound last: nothing arrives before the ring can take it.
        bind(&ring.fd, interface, libc::ETH_P_IP as u16)?;
        Ok(ring)
    }

    /// Hands every frame that has come to `each`, oldest first. Never waits.
    pub fn drain(&mut self, mut each: impl FnMut(Received<'_>)) -> usize {
        let mut frames = 0;
        for _ in 0..BLOCKS {
            // SAFETY: `block` is below BLOCKS, so the block lies inside the mapping.
            let base = unsafe { self.memory.add(self.block * BLOCK_SIZE) };
            // SAFETY: the status word is inside the block, aligned, and shared with the kernel,
            // which writes it as a whole.
            let status = unsafe { AtomicU32::from_ptr(base.add(STATUS_AT).cast().as_ptr()) };
            if status.load(Ordering::Acquire) & libc::TP_STATUS_USER == 0 {
                break;
            }
            // SAFETY: status USER: the kernel has finished with the block and leaves it alone until
            // KERNEL is stored below; the slice does not outlive this turn of the loop.
            let block = unsafe { std::slice::from_raw_parts(base.as_ptr(), BLOCK_SIZE) };
            frames += walk(block, &mut each);
            status.store(libc::TP_STATUS_KERNEL, Ordering::Release);
            self.block = (self.block + 1) % BLOCKS;
        }
        frames
    }

    /// Frames that the ring had no room for since the last call.
    pub fn dropped(&self) -> io::Result<u64> {
        let mut stats = libc::tpacket_stats_v3 { tp_packets: 0, tp_drops: 0, tp_freeze_q_cnt: 0 };
        let mut len = size_of_val(&stats) as libc::socklen_t;
        // SAFETY: the kernel writes at most `len` bytes, the size of the live `stats`.
        let result = unsafe {
            libc::getsockopt(
                self.fd.as_raw_fd(),
                libc::SOL_PACKET,
                libc::PACKET_STATISTICS,
                ptr::from_mut(&mut stats).cast(),
                &raw mut len,
            )
        };
        if result == 0 { Ok(stats.tp_drops.into()) } else { Err(io::Error::last_os_error()) }
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // SAFETY: the mapping was made by `open` with this length and is unmapped once.
        unsafe { libc::munmap(self.memory.as_ptr().cast(), BLOCKS * BLOCK_SIZE) };
    }
}

/// The frames of one block, by the offsets of `tpacket_block_desc` and `tpacket3_hdr`. Offsets that
/// do not fit end the walk.
fn walk(block: &[u8], each: &mut impl FnMut(Received<'_>)) -> usize {
    let word =
        |at: usize| -> Option<u32> { Some(u32::from_ne_bytes(*block.get(at..)?.first_chunk()?)) };
    let (Some(count), Some(first)) = (word(COUNT_AT), word(FIRST_AT)) else { return 0 };
    let mut at = first as usize;
    let mut walked = 0;
    for _ in 0..count {
        let Some(frame) = (|| {
            let [sec, nsec, len] = [word(at + 4)?, word(at + 8)?, word(at + 12)?];
            let mac = u16::from_ne_bytes(*block.get(at + 24..)?.first_chunk()?);
            let start = at + usize::from(mac);
            let frame = block.get(start..start.checked_add(len as usize)?)?;
            Some(Received { at_ns: u64::from(sec) * 1_000_000_000 + u64::from(nsec), frame })
        })() else {
            break;
        };
        each(frame);
        walked += 1;
        let Some(next) = word(at).filter(|next| *next != 0) else { break };
        at += next as usize;
    }
    walked
}

/// Gives the calling thread a fixed priority above ordinary ones, so that other programs on its
/// core do not stop the clock of the load. Needs CAP_SYS_NICE.
pub fn rise_above_others() -> io::Result<()> {
    let param = libc::sched_param { sched_priority: PRIORITY };
    // SAFETY: thread 0 is the calling one and `param` lives through the call.
    let result = unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const param) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn packet_socket(protocol: u16) -> io::Result<OwnedFd> {
    let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC;
    // SAFETY: no pointers; the result is checked.
    let fd = unsafe { libc::socket(libc::AF_PACKET, kind, i32::from(protocol.to_be())) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a descriptor that socket(2) just made and nobody else knows.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn bind(fd: &OwnedFd, interface: u32, protocol: u16) -> io::Result<()> {
    // SAFETY: sockaddr_ll is plain numbers: all zero is a value.
    let mut address: libc::sockaddr_ll = unsafe { mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = protocol.to_be();
    address.sll_ifindex = interface.cast_signed();
    let len = size_of_val(&address) as libc::socklen_t;
    // SAFETY: `address` lives through the call and `len` is its size.
    let result = unsafe { libc::bind(fd.as_raw_fd(), ptr::from_ref(&address).cast(), len) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn set_option<T: Copy>(fd: &OwnedFd, option: libc::c_int, value: &T) -> io::Result<()> {
    // SAFETY: `value` is a live plain value and the length given is its size.
    let result = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            libc::SOL_PACKET,
            option,
            ptr::from_ref(value).cast(),
            size_of::<T>() as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Frames of one sendmmsg: beyond it the cost of the call itself no longer shows.
const BATCH: usize = 64;
/// 64 blocks of 256 KiB: 16 MiB, 300 ms of 150,000 packets/s.
const BLOCKS: usize = 64;
const BLOCK_SIZE: usize = 1 << 18;
/// Only a bound for V3, whose frames are as long as they are.
const FRAME_SIZE: usize = 2048;
/// The kernel gives a block to us after this long, full or not.
const RETIRE_MS: u32 = 2;
/// Anything above 0 is above every ordinary thread.
const PRIORITY: i32 = 10;
/// Offsets inside `tpacket_block_desc`: status, number of frames, offset of the first.
const STATUS_AT: usize = 8;
const COUNT_AT: usize = 12;
const FIRST_AT: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn block(frames: &[&[u8]]) -> Vec<u8> {
        let mut block = vec![0; 48];
        block[COUNT_AT..][..4].copy_from_slice(&(frames.len() as u32).to_ne_bytes());
        block[FIRST_AT..][..4].copy_from_slice(&48_u32.to_ne_bytes());
        for (number, frame) in frames.iter().enumerate() {
            let mut header = [0; 48];
            let next = if number + 1 == frames.len() { 0 } else { 48 + frame.len() as u32 };
            header[..4].copy_from_slice(&next.to_ne_bytes());
            header[4..8].copy_from_slice(&1_u32.to_ne_bytes());
            header[8..12].copy_from_slice(&(number as u32).to_ne_bytes());
            header[12..16].copy_from_slice(&(frame.len() as u32).to_ne_bytes());
            header[24..26].copy_from_slice(&48_u16.to_ne_bytes());
            block.extend_from_slice(&header);
            block.extend_from_slice(frame);
        }
        block
    }

    #[test]
    fn a_block_is_walked_frame_by_frame() {
        let block = block(&[b"first", b"second", b"x"]);
        let mut seen = Vec::new();
        let walked = walk(&block, &mut |received| {
            seen.push((received.at_ns, received.frame.to_vec()));
        });
        assert_eq!(walked, 3);
        assert_eq!(seen[1], (1_000_000_001, b"second".to_vec()));
        assert_eq!(seen[2].1, b"x");
    }

    #[test]
    fn offsets_that_do_not_fit_end_the_walk() {
        let whole = block(&[b"first", b"second"]);
        for len in 0..whole.len() {
            let walked = walk(&whole[..len], &mut |_| {});
            assert!(walked < 2, "{len}");
        }
        for at in 0..48 + 48 {
            let mut bad = whole.clone();
            bad[at] = 0xff;
            walk(&bad, &mut |received| assert!(received.frame.len() <= whole.len()));
        }
    }
}
