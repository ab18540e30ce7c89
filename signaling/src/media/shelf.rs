//! What of a worker's shelf is in use: recordings lie where they were put down until their room is needed.
//!
//! A recording that somebody may still hear is never written over; when all of the shelf is heard, the
//! next one finds no room.

use std::time::{Duration, Instant};

use abi::ShelfWriter;
use abi::shelf::{SHELF_OCTETS, shelf_span};

use crate::trunk::tones::Recording;

/// The places of one worker's shelf, each next one behind the last, from the front again at its end.
#[derive(Default)]
pub(super) struct Shelf {
    places: Vec<Place>,
    next: usize,
}

struct Place {
    key: u64,
    at: usize,
    end: usize,
    /// Nobody hears it any more.
    idle_at: Instant,
}

impl Shelf {
    /// Where `recording` lies now, to be said at once; it is put down if need be. `None`: no room.
    pub fn place(
        &mut self,
        writer: &mut ShelfWriter,
        recording: &Recording,
        now: Instant,
    ) -> Option<u32> {
        let idle_at = now + Duration::from_millis(recording.ms().into()) + LEEWAY;
        let known = self.places.iter_mut().find(|place| place.key == recording.key);
        if let Some(place) = known {
            place.idle_at = idle_at;
            return u32::try_from(place.at).ok();
        }
        let at = self.room(recording, now)?;
        if !writer.write(at, &recording.octets) {
            return None;
        }
        let end = at + recording.octets.len();
        self.next = end.next_multiple_of(ALIGNMENT);
        self.places.push(Place { key: recording.key, at, end, idle_at });
        u32::try_from(at).ok()
    }

    /// A place that nobody hears, free from now on.
    fn room(&mut self, recording: &Recording, now: Instant) -> Option<usize> {
        let length = usize::try_from(shelf_span(recording.each())).ok()?;
        let at = if self.next + length > SHELF_OCTETS { 0 } else { self.next };
        let overlaps = |place: &Place| place.at < at + length && at < place.end;
        if self.places.iter().any(|place| overlaps(place) && place.idle_at > now) {
            return None;
        }
        self.places.retain(|place| !overlaps(place));
        Some(at)
    }
}

const ALIGNMENT: usize = 8;
/// How much later than it was told to a worker may begin.
const LEEWAY: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use abi::{Guest, Host, Shape};

    use super::*;
    use crate::trunk::tones::tests::wav;

    #[test]
    fn recordings_lie_apart_until_nobody_hears_them() {
        let host = Host::create(0, Shape { flows: 1, commands: 2, events: 2 }).unwrap();
        let mut guest = Guest::attach(host.fd().try_clone_to_owned().unwrap()).unwrap();
        let (mut shelf, start) = (Shelf::default(), Instant::now());
        // Lengths differ, so that they are different recordings.
        let all: Vec<_> =
            (0..14).map(|n| Recording::of_wav(&wav(15_000 - 10 * n)).unwrap()).collect();
        let mut put = |n: usize, now| shelf.place(&mut guest.shelf, &all[n], now);
        let places: Vec<_> = (0..11).map(|n| put(n, start).unwrap()).collect();
        for (n, pair) in places.windows(2).enumerate() {
            assert!(pair[1] - pair[0] >= u32::try_from(all[n].octets.len()).unwrap());
        }
        assert_eq!(put(3, start), Some(places[3]), "it lies there already");
        assert_eq!(put(11, start), None, "all of them are heard");
        let later = start + Duration::from_secs(21);
        assert_eq!(put(11, later), Some(places[0]), "in the place of the first");
        assert_eq!(put(10, later), Some(places[10]), "which the others do not lose theirs for");
        let mut octets = vec![0; all[11].octets.len()];
        host.shelf.read(places[0] as usize, &mut octets);
        assert!(octets[..] == all[11].octets[..]);
    }
}
