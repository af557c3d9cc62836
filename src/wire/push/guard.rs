//! Where a push may go. A subscription's URL is a stranger's word, and the server stands inside of
//! networks that strangers can't reach: it must not become their hand there (RFC 8620 §8.6).
//!
//! The name is resolved, then every address is judged, and the connection is made to an address that
//! passed: a name that resolves otherwise a moment later changes nothing.

use crate::wire::smtp_limits::IpNetwork;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Networks that may be reached beside the public ones.
#[derive(Clone, Default, Debug)]
pub struct Guard {
    pub also: Vec<IpNetwork>,
}

impl Guard {
    /// May the server connect there?
    pub fn allows(&self, address: IpAddr) -> bool {
        is_public(address) || self.also.iter().any(|network| network.contains(address))
    }
}

/// Is the address one of the public internet? By the registries of special-purpose addresses (RFC 6890
/// and its successors); an IPv4 address inside of an IPv6 one is judged as what it is.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => match inner(address) {
            Some(inner) => is_public_v4(inner),
            None => is_public_v6(address),
        },
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let special = match address.octets() {
        // This network, private, loopback, link-local.
        [0 | 10 | 127, ..] | [169, 254, ..] | [192, 168, ..] => true,
        [172, second, ..] => (16..32).contains(&second),
        // Shared by carriers.
        [100, second, ..] => (64..128).contains(&second),
        // Protocol assignments, documentation, 6to4 relays.
        [192, 0, 0 | 2, _] | [198, 51, 100, _] | [203, 0, 113, _] | [192, 88, 99, _] => true,
        // Benchmarks.
        [198, 18 | 19, ..] => true,
        // Multicast, reserved, broadcast.
        [first, ..] => first >= 224,
    };
    !special
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let [first, second, ..] = address.segments();
    // 2000::/3 is all that was given out. Of it: 2001::/23 is for protocols (Teredo, ORCHID …),
    // 2001:db8::/32 and 3fff::/20 are for documentation.
    (0x2000..0x4000).contains(&first)
        && !(first == 0x2001 && (second < 0x0200 || second == 0x0db8))
        && !(first == 0x3fff && second < 0x1000)
}

/// The IPv4 address that an IPv6 address leads to: mapped, compatible, NAT64 (RFC 6052, RFC 8215), 6to4.
fn inner(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let [a, b, c, d, e, f, high, low] = address.segments();
    let of = |high: u16, low: u16| Some(Ipv4Addr::from((u32::from(high) << 16) | u32::from(low)));
    match (a, b) {
        (0, 0) if (c, d, e) == (0, 0, 0) && (f == 0xffff || f == 0) => of(high, low),
        (0x64, 0xff9b) => of(high, low),
        (0x2002, high) => of(high, c),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_public_addresses_are_reached() {
        for public in
            ["9.9.9.9", "172.15.0.1", "172.32.0.1", "100.63.0.1", "2606:4700::1111", "2001:4860::8888"]
        {
            assert!(is_public(public.parse().unwrap()), "{public}");
        }
        for special in [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "127.0.0.1",
            "127.8.8.8",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.1",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::127.0.0.1",
            "::ffff:10.0.0.1",
            "64:ff9b::10.0.0.1",
            "64:ff9b:1::169.254.169.254",
            "100::1",
            "2001::1",
            "2001:db8::1",
            "2002:7f00:1::1",
            "3fff::1",
            "fc00::1",
            "fd12:3456::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(!is_public(special.parse().unwrap()), "{special}");
        }
    }

    #[test]
    fn a_configured_network_is_reached_beside_the_public_ones() {
        let guard = Guard { also: vec![IpNetwork::parse("10.2.0.0/16").unwrap()] };
        for (address, allowed) in [("10.2.3.4", true), ("10.3.0.1", false), ("9.9.9.9", true), ("::1", false)]
        {
            assert_eq!(guard.allows(address.parse().unwrap()), allowed, "{address}");
        }
    }
}
