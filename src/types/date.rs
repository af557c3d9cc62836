//! UTCDate (RFC 8620 §1.4), to the second.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::Offset;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A date in UTC: seconds since 1970-01-01T00:00:00Z. Prints as `2014-10-30T06:12:00Z`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub struct UtcDate(pub i64);

impl UtcDate {
    /// Reads an RFC 3339 date with `Z` and upper-case letters, as RFC 8620 §1.4 wants; a fraction
    /// is read and cut.
    pub fn parse(text: &str) -> Option<Self> {
        let body = text.strip_suffix('Z')?;
        let bytes = body.as_bytes();
        if bytes.len() < 19 || bytes[10] != b'T' || !body.is_ascii() {
            return None;
        }
        if let Some(fraction) = bytes.get(19..)
            && !fraction.is_empty()
            && (fraction[0] != b'.' || fraction.len() < 2 || !fraction[1..].iter().all(u8::is_ascii_digit))
        {
            return None;
        }
        let civil: DateTime = body[..19].parse().ok()?;
        Some(Self(Offset::UTC.to_timestamp(civil).ok()?.as_second()))
    }
}

impl fmt::Display for UtcDate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.clamp(-62_135_596_800, 253_402_207_200);
        match Timestamp::from_second(seconds) {
            Ok(moment) => {
                let civil = Offset::UTC.to_datetime(moment);
                write!(
                    f,
                    "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z",
                    civil.year(),
                    civil.month(),
                    civil.day(),
                    civil.hour(),
                    civil.minute(),
                    civil.second()
                )
            }
            Err(_) => f.write_str("1970-01-01T00:00:00Z"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_read_and_printed_in_the_form_of_rfc_8620() {
        for text in ["2014-10-30T06:12:00Z", "1970-01-01T00:00:00Z", "1969-12-31T23:59:59Z"] {
            assert_eq!(UtcDate::parse(text).map(|date| date.to_string()), Some(text.to_owned()));
        }
        assert_eq!(UtcDate::parse("2014-10-30T06:12:00.250Z"), UtcDate::parse("2014-10-30T06:12:00Z"));
        for wrong in [
            "2014-10-30t06:12:00Z",
            "2014-10-30T06:12:00",
            "2014-10-30T06:12:00+00:00",
            "2014-10-30",
            "2014-13-30T06:12:00Z",
            "2014-10-30T06:12:00.Z",
            "2014-10-30T06:12:00é",
            "",
        ] {
            assert_eq!(UtcDate::parse(wrong), None, "{wrong}");
        }
    }
}
