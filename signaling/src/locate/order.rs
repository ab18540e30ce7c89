//! The order in which the servers of a place are tried (RFC 2782, page 3).

use std::net::SocketAddr;

use super::Server;

/// Draws one order: groups from low to high, within a group by weighted lot, every address of
/// every server exactly once. `random` gives a number in `0..=bound`.
pub fn draw(servers: &[Server], random: &mut dyn FnMut(u32) -> u32) -> Vec<SocketAddr> {
    let mut left: Vec<&Server> = servers.iter().collect();
    // Servers without weight first, so that they have a chance next to heavy ones (RFC 2782).
    left.sort_by_key(|server| (server.group, server.weight != 0));
    let mut order = Vec::new();
    while let Some(group) = left.first().map(|server| server.group) {
        let size = left.iter().take_while(|server| server.group == group).count();
        let total = left.iter().take(size).map(|server| u32::from(server.weight)).sum();
        let lot = random(total).min(total);
        let mut sum = 0;
        let place = left.iter().take(size).position(|server| {
            sum += u32::from(server.weight);
            sum >= lot
        });
        let chosen = left.remove(place.unwrap_or(0));
        for address in &chosen.addresses {
            if !order.contains(address) {
                order.push(*address);
            }
        }
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(group: u16, weight: u16, last: u8) -> Server {
        let addresses = vec![SocketAddr::from(([192, 0, 2, last], 5060))];
        Server { group, weight, name: String::new(), addresses }
    }

    fn lasts(order: &[SocketAddr]) -> Vec<u8> {
        let last = |address: &SocketAddr| match address.ip() {
            std::net::IpAddr::V4(ip) => ip.octets()[3],
            std::net::IpAddr::V6(_) => 0,
        };
        order.iter().map(last).collect()
    }

    /// Numbers that anybody can repeat.
    fn dice(mut state: u64) -> impl FnMut(u32) -> u32 {
        move |bound| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            ((state >> 33) % (u64::from(bound) + 1)) as u32
        }
    }

    #[test]
    fn groups_come_in_order_and_nobody_is_forgotten() {
        let servers = [server(2, 0, 4), server(1, 10, 2), server(0, 5, 1), server(1, 0, 3)];
        for seed in 0..100 {
            let order = lasts(&draw(&servers, &mut dice(seed)));
            assert_eq!((order[0], order[3], order.len()), (1, 4, 4), "{order:?}");
        }
    }

    #[test]
    fn weights_share_the_first_place() {
        let servers = [server(0, 60, 1), server(0, 30, 2), server(0, 10, 3), server(0, 0, 4)];
        let (mut first, mut random) = ([0_u32; 5], dice(7));
        for _ in 0..10_000 {
            first[usize::from(lasts(&draw(&servers, &mut random))[0])] += 1;
        }
        for (last, share) in [(1, 6_000), (2, 3_000), (3, 1_000)] {
            assert!(first[last].abs_diff(share) < 300, "{last}: {}", first[last]);
        }
        assert!((1..=300).contains(&first[4]), "weight 0 has a small chance: {}", first[4]);
    }

    #[test]
    fn the_ends_of_the_lot_are_fair() {
        let servers = [server(0, 1, 1), server(0, 1, 2)];
        assert_eq!(lasts(&draw(&servers, &mut |_| 0)), [1, 2]);
        assert_eq!(lasts(&draw(&servers, &mut |bound| bound)), [2, 1]);
        assert_eq!(lasts(&draw(&servers, &mut |_| u32::MAX)), [2, 1]);
        assert!(draw(&[], &mut |_| 0).is_empty());
    }

    #[test]
    fn one_address_of_two_servers_is_tried_once() {
        let twice = [server(0, 0, 1), server(1, 0, 1)];
        assert_eq!(draw(&twice, &mut |_| 0).len(), 1);
    }
}
