//! All trunks with the addresses they have right now.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use sip::endpoint::Hop;

use super::{Cidr, Host, Trunk, TrunkId};
use crate::locate::{Located, Place, draw};

/// An immutable snapshot: the trunks, where to reach each, and who may send for each.
///
/// The inbound source set of a trunk is its resolved host, its resolved outbound proxy, addresses
/// that those names stood for until recently, and `source_acl`.
#[derive(Clone, Debug)]
pub struct TrunkTable {
    trunks: Arc<[Arc<Trunk>]>,
    /// Where in `trunks` and `targets` an id stands.
    places: HashMap<TrunkId, usize>,
    names: Names,
    targets: Vec<Vec<SocketAddr>>,
    /// Single addresses and who claims them.
    addresses: HashMap<IpAddr, Vec<TrunkId>>,
    /// Wider networks and who claims them, widest last.
    networks: Vec<(Cidr, TrunkId)>,
}

/// What places stand for, as the resolver tells it.
pub type Names = Arc<HashMap<Place, Located>>;

impl TrunkTable {
    /// A table of trunks whose names are not resolved yet: literal addresses and `source_acl`
    /// only. Ids are unique; of two equal ones the later counts.
    pub fn new<T: Into<Arc<Trunk>>>(trunks: impl IntoIterator<Item = T>) -> Self {
        Self::build(trunks.into_iter().map(Into::into).collect(), Names::default())
    }

    /// The same trunks with names resolved; a place absent from `names` has no address.
    pub fn resolved(&self, names: &Names) -> Self {
        Self::build(Arc::clone(&self.trunks), Arc::clone(names))
    }

    /// The trunk with this id.
    pub fn get(&self, id: TrunkId) -> Option<&Trunk> {
        self.trunks.get(*self.places.get(&id)?).map(|trunk| &**trunk)
    }

    /// The trunk with this name.
    pub fn by_name(&self, name: &str) -> Option<&Trunk> {
        self.iter().find(|trunk| trunk.name == name)
    }

    /// All trunks in the order of the configuration.
    pub fn iter(&self) -> impl Iterator<Item = &Trunk> {
        self.trunks.iter().map(|trunk| &**trunk)
    }

    /// The same, to keep.
    pub fn shared(&self) -> impl Iterator<Item = &Arc<Trunk>> {
        self.trunks.iter()
    }

    /// How many trunks there are.
    pub fn len(&self) -> usize {
        self.trunks.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.trunks.is_empty()
    }

    /// Next-hop addresses of out-of-dialog requests, first choice first: all proxies in order,
    /// within each its servers by priority and weight, the heavier one first. Empty for an unknown
    /// id or a name that does not resolve.
    pub fn targets(&self, id: TrunkId) -> &[SocketAddr] {
        let place = self.places.get(&id);
        place.and_then(|place| self.targets.get(*place)).map_or(&[], Vec::as_slice)
    }

    /// The same addresses in an order drawn for one request: servers of one priority share by
    /// weight (RFC 2782). `random` gives a number in `0..=bound`.
    pub fn draw(&self, id: TrunkId, random: &mut dyn FnMut(u32) -> u32) -> Vec<SocketAddr> {
        let mut order: Vec<SocketAddr> = Vec::new();
        let hops = self.get(id).map(Trunk::next_hops).unwrap_or_default();
        for place in hops {
            for address in draw(&self.located(&place).servers, random) {
                if !order.contains(&address) {
                    order.push(address);
                }
            }
        }
        order
    }

    /// The next hop that an address of a trunk belongs to: its name is what a certificate there
    /// has to carry. The first one for an address of none.
    pub fn host_at(&self, id: TrunkId, address: SocketAddr) -> Option<Host> {
        let hops = self.get(id)?.next_hops();
        let found = hops.iter().find(|place| self.located(place).current().any(|a| a == address));
        found.or(hops.first()).map(|place| place.host.clone())
    }

    /// What a place stands for now.
    fn located(&self, place: &Place) -> Located {
        match &place.host {
            Host::Address(ip) => Located::literal(SocketAddr::new(*ip, place.port_or_default())),
            Host::Name(_) => self.names.get(place).cloned().unwrap_or_default(),
        }
    }

    /// The hop of a new request to the trunk: first target, connection left to the transport.
    pub fn hop(&self, id: TrunkId) -> Option<Hop> {
        let transport = self.get(id)?.transport;
        let remote = *self.targets(id).first()?;
        Some(Hop { transport, remote, connection: 0, tag: id.tag() })
    }

    /// Whether any trunk claims this source address, on whatever transport.
    pub fn knows(&self, source: IpAddr) -> bool {
        !self.claims(source).is_empty()
    }

    /// Whether this trunk claims the source address, alone or with others.
    pub fn is_of(&self, id: TrunkId, source: IpAddr) -> bool {
        self.claims(source).iter().any(|(claims, _)| *claims == id)
    }

    /// Trunks that claim `source`, each with the prefix length of its closest claim.
    pub(super) fn claims(&self, source: IpAddr) -> Vec<(TrunkId, u8)> {
        let source = source.to_canonical();
        let full = Cidr::host(source).prefix();
        let exact = self.addresses.get(&source).into_iter().flatten().map(|id| (*id, full));
        let wide = self.networks.iter().filter(|(net, _)| net.contains(source));
        let mut found: Vec<_> = exact.chain(wide.map(|(net, id)| (*id, net.prefix()))).collect();
        found.sort_by(|a, b| a.0.cmp(&b.0).then(b.1.cmp(&a.1)));
        found.dedup_by_key(|claim| claim.0);
        found
    }

    fn build(trunks: Arc<[Arc<Trunk>]>, names: Names) -> Self {
        let mut table = Self {
            trunks: Arc::clone(&trunks),
            places: trunks.iter().enumerate().map(|(place, trunk)| (trunk.id, place)).collect(),
            names,
            targets: Vec::with_capacity(trunks.len()),
            addresses: HashMap::new(),
            networks: Vec::new(),
        };
        for trunk in trunks.iter() {
            let mut targets: Vec<SocketAddr> = Vec::new();
            for place in trunk.next_hops() {
                let mut servers = table.located(&place).servers;
                servers.sort_by_key(|server| (server.group, std::cmp::Reverse(server.weight)));
                for address in servers.iter().flat_map(|server| &server.addresses) {
                    if !targets.contains(address) {
                        targets.push(*address);
                    }
                }
            }
            table.targets.push(targets);
            for place in trunk.places() {
                let located = table.located(&place);
                let current = located.current().map(|address| address.ip());
                for address in current.chain(located.retired.iter().copied()) {
                    table.claim(Cidr::host(address), address, trunk.id);
                }
            }
            for net in &trunk.source_acl {
                table.claim(*net, net.first(), trunk.id);
            }
        }
        table.networks.sort_by(|a, b| b.0.prefix().cmp(&a.0.prefix()).then(a.1.cmp(&b.1)));
        table
    }

    fn claim(&mut self, net: Cidr, first: IpAddr, id: TrunkId) {
        if net == Cidr::host(first) {
            let claims = self.addresses.entry(first.to_canonical()).or_default();
            if !claims.contains(&id) {
                claims.push(id);
            }
        } else {
            self.networks.push((net, id));
        }
    }
}
