//! How a place in a list becomes the octets of its key, and how those are divided in a rank tree.

use crate::store::list::Place;
use crate::types::UtcDate;

/// Times are kept in 40 bits, from some 8,700 years before 1970 to as many after.
const TIME_BIAS: i64 = 1 << 38;
const TIME_MAX: i64 = (1 << 40) - 1;

impl Place {
    pub(in crate::store) fn bytes(self) -> [u8; 9] {
        let seconds = self.at.0.saturating_add(TIME_BIAS).clamp(0, TIME_MAX);
        let mut out = [0u8; 9];
        out[..5].copy_from_slice(&(!(seconds as u64)).to_be_bytes()[3..]);
        out[5..].copy_from_slice(&(!self.id).to_be_bytes());
        out
    }

    pub(in crate::store) fn from_bytes(bytes: [u8; 9]) -> Self {
        let mut time = [0xff_u8; 8];
        time[3..].copy_from_slice(&bytes[..5]);
        let mut id = [0u8; 4];
        id.copy_from_slice(&bytes[5..]);
        let seconds = !u64::from_be_bytes(time) as i64;
        Self { at: UtcDate(seconds - TIME_BIAS), id: !u32::from_be_bytes(id) }
    }
}

/// How deep the nodes below a node at `depth` are.
pub(in crate::store) fn below(depth: usize) -> usize {
    if depth == 0 { 4 } else { depth + 1 }
}

/// The depth of the node above one that isn't the root.
pub(in crate::store) fn above(depth: usize) -> usize {
    if depth <= 4 { 0 } else { depth - 1 }
}

/// The digits of a place by which a node at `depth` divides.
pub(in crate::store) fn digits(place: &[u8; 9], depth: usize) -> u16 {
    if depth == 0 {
        u16::from_be_bytes([place[0], place[1]])
    } else if depth.is_multiple_of(2) {
        u16::from(place[depth / 2] >> 4)
    } else {
        u16::from(place[depth / 2] & 15)
    }
}

/// The place with other digits at `depth`.
pub(in crate::store) fn with_digits(mut place: [u8; 9], depth: usize, digits: u16) -> [u8; 9] {
    let [high, low] = digits.to_be_bytes();
    if depth == 0 {
        place[0] = high;
        place[1] = low;
    } else if depth.is_multiple_of(2) {
        place[depth / 2] = (place[depth / 2] & 0x0f) | (low << 4);
    } else {
        place[depth / 2] = (place[depth / 2] & 0xf0) | low;
    }
    place
}
