//! The header of the PROXY protocol, version 2, by which a proxy says whose connection it passes on.
//! It comes before the first octet of SMTP, and only proxies that are configured may send it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What every header begins with.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// The part whose length is always the same.
const FIXED_BYTES: usize = 16;
/// The longest header that is read; further fields behind the addresses are skipped.
pub const PROXY_HEADER_BYTES_MAX: usize = FIXED_BYTES + 2048;

/// What there is of a header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ProxyHeader {
    /// More octets are needed.
    Unfinished,
    /// So many octets are the header; the client's address, where the proxy speaks for one.
    Whole(usize, Option<IpAddr>),
    /// This is no such header.
    Wrong,
}

/// Reads the header that a connection begins with.
pub fn read(input: &[u8]) -> ProxyHeader {
    let known = input.len().min(SIGNATURE.len());
    if input[..known] != SIGNATURE[..known] {
        return ProxyHeader::Wrong;
    }
    let Some(fixed) = input.get(..FIXED_BYTES) else { return ProxyHeader::Unfinished };
    let (version, family) = (fixed[12], fixed[13]);
    let length = FIXED_BYTES + (usize::from(fixed[14]) << 8) + usize::from(fixed[15]);
    if version >> 4 != 2 || length > PROXY_HEADER_BYTES_MAX {
        return ProxyHeader::Wrong;
    }
    let Some(addresses) = input.get(FIXED_BYTES..length) else { return ProxyHeader::Unfinished };
    match (version & 15, family) {
        // LOCAL: the proxy speaks for itself.
        (0, _) => ProxyHeader::Whole(length, None),
        (1, 0x11) => whole(length, four(addresses).map(IpAddr::V4)),
        (1, 0x21) => whole(length, six(addresses).map(IpAddr::V6)),
        // A client without an address that we know of.
        (1, _) => ProxyHeader::Whole(length, None),
        _ => ProxyHeader::Wrong,
    }
}

fn whole(length: usize, address: Option<IpAddr>) -> ProxyHeader {
    match address {
        Some(address) => ProxyHeader::Whole(length, Some(address)),
        None => ProxyHeader::Wrong,
    }
}

/// Source address, destination address, two ports.
fn four(addresses: &[u8]) -> Option<Ipv4Addr> {
    let source: [u8; 4] = addresses.get(..12)?.get(..4)?.try_into().ok()?;
    Some(Ipv4Addr::from(source))
}

fn six(addresses: &[u8]) -> Option<Ipv6Addr> {
    let source: [u8; 16] = addresses.get(..36)?.get(..16)?.try_into().ok()?;
    Some(Ipv6Addr::from(source))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn header(version: u8, family: u8, addresses: &[u8]) -> Vec<u8> {
        let length = addresses.len() as u16;
        [&SIGNATURE[..], &[version, family, (length >> 8) as u8, length as u8], addresses].concat()
    }

    #[test]
    fn a_header_names_the_client_or_is_wrong() {
        let v4 = [192, 0, 2, 7, 10, 0, 0, 1, 0, 25, 0, 25];
        let mut v6 = [0u8; 40];
        v6[15] = 1;
        let client = |text: &str| Some(text.parse::<IpAddr>().unwrap());
        for (input, expected) in [
            (header(0x21, 0x11, &v4), ProxyHeader::Whole(28, client("192.0.2.7"))),
            (header(0x21, 0x21, &v6), ProxyHeader::Whole(56, client("::1"))),
            (header(0x20, 0x11, &v4), ProxyHeader::Whole(28, None)),
            (header(0x20, 0, &[]), ProxyHeader::Whole(16, None)),
            (header(0x21, 0x31, &[0; 216]), ProxyHeader::Whole(232, None)),
            (header(0x21, 0x11, &v4[..11]), ProxyHeader::Wrong),
            (header(0x21, 0x21, &v6[..35]), ProxyHeader::Wrong),
            (header(0x22, 0x11, &v4), ProxyHeader::Wrong),
            (header(0x11, 0x11, &v4), ProxyHeader::Wrong),
            (header(0x21, 0x11, &[0; 3000]), ProxyHeader::Wrong),
            (b"EHLO client\r\n".to_vec(), ProxyHeader::Wrong),
            (b"PROXY TCP4 192.0.2.7 10.0.0.1 25 25\r\n".to_vec(), ProxyHeader::Wrong),
            (Vec::new(), ProxyHeader::Unfinished),
            (header(0x21, 0x11, &v4)[..27].to_vec(), ProxyHeader::Unfinished),
        ] {
            assert_eq!(read(&input), expected, "{}", input.escape_ascii());
        }
    }

    proptest! {
        #[test]
        fn a_header_is_unfinished_until_its_last_octet(family in 0u8..0x40, length in 0usize..100, cut: usize) {
            let whole = header(0x20, family, &vec![7; length]);
            let cut = cut % whole.len();
            prop_assert_eq!(read(&whole[..cut]), ProxyHeader::Unfinished);
            let more = [&whole[..], b"EHLO c\r\n"].concat();
            prop_assert_eq!(read(&more), ProxyHeader::Whole(whole.len(), None));
        }
    }
}
