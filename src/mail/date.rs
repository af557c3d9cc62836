//! Dates with their zone: the date-time of RFC 5322 §3.3 with its obsolete forms (§4.3), and the
//! Date of RFC 8620 §1.4.

use crate::types::{Millis, UtcDate};
use jiff::civil::{DateTime, Weekday};
use jiff::tz::Offset;
use serde::{Deserialize, Serialize};
use std::fmt;

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// A moment to the second, and the offset from UTC in which it was written. The local year is
/// within 0 to 9999. Prints as the Date of RFC 8620: `2018-07-10T01:03:11+02:00`, with `Z` where
/// the offset is zero.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct MailDate {
    seconds: i64,
    offset_minutes: i16,
}

impl MailDate {
    /// That moment, written in UTC.
    pub fn utc(moment: Millis) -> Self {
        let seconds = moment.date().0.clamp(-62_135_596_800, 253_402_207_200);
        Self { seconds, offset_minutes: 0 }
    }

    /// The moment, for sorting and filters.
    pub fn date(self) -> UtcDate {
        UtcDate(self.seconds)
    }

    fn of(local: DateTime, offset_minutes: i16) -> Option<Self> {
        let as_utc = Offset::UTC.to_timestamp(local).ok()?.as_second();
        let seconds = as_utc - i64::from(offset_minutes) * 60;
        // An offset that RFC 3339 can't write is resolved, and the moment written in UTC.
        let offset_minutes = if offset_minutes.abs() < 24 * 60 { offset_minutes } else { 0 };
        let date = Self { seconds, offset_minutes };
        date.local().filter(|local| (0..=9999).contains(&local.year())).map(|_| date)
    }

    fn local(self) -> Option<DateTime> {
        let shifted = self.seconds.checked_add(i64::from(self.offset_minutes) * 60)?;
        Some(Offset::UTC.to_datetime(jiff::Timestamp::from_second(shifted).ok()?))
    }

    /// Reads a Date header field's unfolded value; `None` where it isn't a date.
    pub fn parse_rfc5322(text: &str) -> Option<Self> {
        let text = without_comments(text);
        // Commas and white space only part the pieces; the day of the week isn't looked at.
        let mut pieces =
            text.split([' ', '\t', ',', '\r', '\n']).filter(|piece| !piece.is_empty()).peekable();
        if pieces.peek()?.bytes().all(|b| b.is_ascii_alphabetic() || b == b'.') {
            pieces.next();
        }
        let day = number(pieces.next()?, 1..=2)?;
        let month = month_number(pieces.next()?)?;
        let year = full_year(pieces.next()?)?;
        // RFC 5322 §4.3 allows white space around the colons.
        let rest: Vec<&str> = pieces.collect();
        let (time, zone) = split_time(&rest);
        let mut fields = time.split(':');
        let hour = number(fields.next()?, 1..=2)?;
        let minute = number(fields.next()?, 2..=2)?;
        let second = match fields.next() {
            // A leap second is written as the one before it: few readers of RFC 3339 take a 60.
            Some(text) => number(text.split('.').next()?, 1..=2).filter(|s| *s <= 60)?.min(59),
            None => 0,
        };
        if fields.next().is_some() {
            return None;
        }
        let small = |value: u32| i8::try_from(value).ok();
        let year = i16::try_from(year).ok()?;
        let (day, hour) = (small(day)?, small(hour)?);
        let local = DateTime::new(year, small(month)?, day, hour, small(minute)?, small(second)?, 0).ok()?;
        Self::of(local, zone_minutes(&zone)?)
    }

    /// Reads the Date of RFC 8620 §1.4 (RFC 3339 with upper-case letters); a fraction is cut.
    pub fn parse_rfc3339(text: &str) -> Option<Self> {
        let at = text.rfind(['Z', '+', '-']).filter(|at| *at > 18)?;
        let zone = text.get(at..)?;
        let date = UtcDate::parse(&format!("{}Z", text.get(..at)?))?;
        let offset = match zone.as_bytes() {
            b"Z" => 0,
            [sign @ (b'+' | b'-'), hours @ .., b':', m1, m2] if hours.len() == 2 => {
                let hours = number(std::str::from_utf8(hours).ok()?, 2..=2).filter(|hours| *hours < 24)?;
                let digits = [*m1, *m2];
                let minutes = number(std::str::from_utf8(&digits).ok()?, 2..=2).filter(|m| *m < 60)?;
                let total = i16::try_from(hours * 60 + minutes).ok()?;
                if *sign == b'-' { -total } else { total }
            }
            _ => return None,
        };
        let local = Offset::UTC.to_datetime(jiff::Timestamp::from_second(date.0).ok()?);
        Self::of(local, offset)
    }

    /// As a Date header field is written (RFC 5322 §3.3): `Tue, 10 Jul 2018 01:03:11 +0200`.
    pub fn rfc5322(self) -> String {
        let Some(local) = self.local() else {
            return "Thu, 01 Jan 1970 00:00:00 +0000".to_owned();
        };
        let weekday = match local.weekday() {
            Weekday::Monday => "Mon",
            Weekday::Tuesday => "Tue",
            Weekday::Wednesday => "Wed",
            Weekday::Thursday => "Thu",
            Weekday::Friday => "Fri",
            Weekday::Saturday => "Sat",
            Weekday::Sunday => "Sun",
        };
        let month = MONTHS.get(usize::from(local.month().unsigned_abs()).wrapping_sub(1)).unwrap_or(&"Jan");
        let (day, year) = (local.day(), local.year());
        let (hour, minute, second) = (local.hour(), local.minute(), local.second());
        let (sign, hours, minutes) = self.zone();
        format!(
            "{weekday}, {day:02} {month} {year:04} {hour:02}:{minute:02}:{second:02} {sign}{hours:02}{minutes:02}"
        )
    }

    fn zone(self) -> (char, u16, u16) {
        let size = self.offset_minutes.unsigned_abs();
        (if self.offset_minutes < 0 { '-' } else { '+' }, size / 60, size % 60)
    }
}

impl fmt::Display for MailDate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(local) = self.local() else {
            return f.write_str("1970-01-01T00:00:00Z");
        };
        write!(f, "{:04}-{:02}-{:02}", local.year(), local.month(), local.day())?;
        write!(f, "T{:02}:{:02}:{:02}", local.hour(), local.minute(), local.second())?;
        match self.zone() {
            (_, 0, 0) => f.write_str("Z"),
            (sign, hours, minutes) => write!(f, "{sign}{hours:02}:{minutes:02}"),
        }
    }
}

/// Comments, which nest and may hold quoted pairs, become a space.
fn without_comments(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut depth = 0usize;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '(' => {
                depth += 1;
                out.push(' ');
            }
            ')' => depth = depth.saturating_sub(1),
            '\\' if depth > 0 => {
                chars.next();
            }
            _ if depth == 0 => out.push(c),
            _ => {}
        }
    }
    out
}

fn number(text: &str, digits: std::ops::RangeInclusive<usize>) -> Option<u32> {
    let fits = digits.contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    fits.then(|| text.parse().ok()).flatten()
}

fn month_number(text: &str) -> Option<u32> {
    let start = text.get(..3)?;
    let at = MONTHS.iter().position(|month| month.eq_ignore_ascii_case(start))?;
    u32::try_from(at + 1).ok()
}

/// RFC 5322 §4.3: two digits mean 1950 to 2049, three count from 1900.
fn full_year(text: &str) -> Option<u32> {
    let year = number(text, 2..=4)?;
    Some(match text.len() {
        2 if year < 50 => year + 2000,
        2 | 3 => year + 1900,
        _ => year,
    })
}

/// Joins what belongs to the time; the next piece is the zone. A zone may be glued to the time.
fn split_time(pieces: &[&str]) -> (String, String) {
    let mut time = String::new();
    let mut at = 0;
    while let Some(piece) = pieces.get(at) {
        if !time.is_empty() && !time.ends_with(':') && !piece.starts_with(':') {
            break;
        }
        time.push_str(piece);
        at += 1;
    }
    match time.find(|c: char| !c.is_ascii_digit() && !matches!(c, ':' | '.')) {
        Some(cut) => (time[..cut].to_owned(), time[cut..].to_owned()),
        None => (time, pieces.get(at).map(|zone| (*zone).to_owned()).unwrap_or_default()),
    }
}

/// RFC 5322 §3.3 and §4.3. A name that isn't known, or no zone at all, means that the local offset
/// isn't known: the time is taken as UTC.
fn zone_minutes(zone: &str) -> Option<i16> {
    if let Some(digits) = zone.strip_prefix(['+', '-']) {
        let value = i16::try_from(number(digits, 4..=4)?).ok()?;
        let (hours, minutes) = (value / 100, value % 100);
        let total = (minutes < 60).then_some(hours * 60 + minutes)?;
        return Some(if zone.starts_with('-') { -total } else { total });
    }
    let hours = match zone.to_ascii_uppercase().as_str() {
        "EDT" => -4,
        "EST" | "CDT" => -5,
        "CST" | "MDT" => -6,
        "MST" | "PDT" => -7,
        "PST" => -8,
        name if name.bytes().all(|b| b.is_ascii_alphabetic()) => 0,
        _ => return None,
    };
    Some(hours * 60)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn dates_are_read_with_their_zone_and_in_obsolete_forms() {
        let cases: &[(&str, Option<&str>)] = &[
            (" Tue, 10 Jul 2018 01:03:11 +0200", Some("2018-07-10T01:03:11+02:00")),
            ("10 Jul 2018 01:03 +0000", Some("2018-07-10T01:03:00Z")),
            ("Tue,10 Jul 2018 01:03:11 -0330", Some("2018-07-10T01:03:11-03:30")),
            ("1 Jan 2020 00:00:00 +1300", Some("2020-01-01T00:00:00+13:00")),
            ("1 Jan 2020 00:00:00 +1400 (Kiritimati (far) \\) away)", Some("2020-01-01T00:00:00+14:00")),
            ("21 Nov 97 09:55:06 GMT", Some("1997-11-21T09:55:06Z")),
            ("21 Nov 49 09:55:06 PST", Some("2049-11-21T09:55:06-08:00")),
            ("21 Nov 104 09:55:06 EDT", Some("2004-11-21T09:55:06-04:00")),
            ("Fri, 21 Nov 1997 09(comment):   55  :  06 -0600", Some("1997-11-21T09:55:06-06:00")),
            ("21 nov 1997 9:55:06 Z", Some("1997-11-21T09:55:06Z")),
            ("21 November 1997 09:55:06 UT", Some("1997-11-21T09:55:06Z")),
            ("31 Dec 2016 23:59:60 +0000", Some("2016-12-31T23:59:59Z")),
            ("21 Nov 1997 09:55:06", Some("1997-11-21T09:55:06Z")),
            ("21 Nov 1997 09:55:06 CEST", Some("1997-11-21T09:55:06Z")),
            ("21 Nov 1997 09:55:06.123 +0100", Some("1997-11-21T09:55:06+01:00")),
            ("21 Nov 1997 09:55:06+0100", Some("1997-11-21T09:55:06+01:00")),
            ("21 Nov 1997 09:55:06 -0000", Some("1997-11-21T09:55:06Z")),
            ("21 Nov 1997 09:55:06 +9959", Some("1997-11-17T05:56:06Z")),
            ("31 Feb 2018 01:03:11 +0200", None),
            ("10 Jul 2018 25:03:11 +0200", None),
            ("10 Jul 2018 01:03:11 +0260", None),
            ("10 Jul 2018 01:03:11 +02:00", None),
            ("10 Xyz 2018 01:03:11 +0200", None),
            ("yesterday", None),
            ("Tue, é Jul", None),
            ("10 éul 2018 01:03:11 +0200", None),
            ("", None),
        ];
        for (text, expected) in cases {
            let read = MailDate::parse_rfc5322(text).map(|date| date.to_string());
            assert_eq!(read, expected.map(str::to_owned), "{text}");
        }
    }

    #[test]
    fn a_date_of_rfc_8620_is_read_or_refused() {
        for text in ["2018-07-10T01:03:11+02:00", "2018-07-10T01:03:11Z", "2018-07-10T01:03:11-11:30"] {
            assert_eq!(MailDate::parse_rfc3339(text).map(|date| date.to_string()), Some(text.to_owned()));
        }
        let fraction = MailDate::parse_rfc3339("2018-07-10T01:03:11.250+02:00");
        assert_eq!(fraction, MailDate::parse_rfc3339("2018-07-10T01:03:11+02:00"));
        for wrong in [
            "",
            "Z",
            "2018-07-10T01:03:11",
            "2018-07-10T01:03:11+0200",
            "2018-07-10T01:03:11+24:00",
            "2018-07-10T01:03:11+02:60",
            "2018-07-10T01:03:11+02:00x",
            "2018-07-10t01:03:11+02:00",
            "2018-07-10T01:03:1é+02:00",
        ] {
            assert_eq!(MailDate::parse_rfc3339(wrong), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn a_date_comes_back_from_both_spellings(seconds in -2_000_000_000i64..9_000_000_000, offset in -1439i16..1440) {
            let date = MailDate { seconds, offset_minutes: offset };
            prop_assert_eq!(MailDate::parse_rfc5322(&date.rfc5322()), Some(date));
            prop_assert_eq!(MailDate::parse_rfc3339(&date.to_string()), Some(date));
        }

        #[test]
        fn no_text_makes_the_date_parsers_panic(text in ".{0,60}", close in "[0-9A-Za-z:+,. -]{0,50}") {
            for text in [text, close] {
                if let Some(date) = MailDate::parse_rfc5322(&text) {
                    prop_assert!(MailDate::parse_rfc3339(&date.to_string()).is_some(), "{}", date);
                }
                let _ = MailDate::parse_rfc3339(&text);
            }
        }
    }
}
