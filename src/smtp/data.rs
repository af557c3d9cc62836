//! The octets between DATA and the end of the message (RFC 5321 §4.1.1.4, §4.5.2), received from a
//! client and prepared for the relay.
//!
//! Invariants:
//! - Only CR LF `.` CR LF ends a message; the CR LF that ended the DATA command counts as the
//!   first one, so `.` CR LF alone is an empty message.
//! - A dot that stands alone on what some other server might take for a line — begun or ended by
//!   a bare CR, a bare LF or with NULs around the dot — never ends the message, and the message is
//!   refused when its true end has come. Two servers that disagree about the end of a message let
//!   a sender smuggle a second one in; refusing is the only answer that is right for both readings.
//! - Elsewhere a bare CR or LF is kept as the octet that it is. RFC 5321 §2.3.8 forbids clients to
//!   send them, but gateways pass on what old software wrote, away from a dot it harms nobody, and
//!   content that is hashed and kept must be what was sent. It is never a line end here.
//! - The result doesn't depend on how the octets were cut into pieces.
//!
//! Deliberately absent: a limit on the length of a line (§4.5.3.1.6 asks for 1000, mail has more).

use memchr::memchr2;

/// Receives one message.
#[derive(Debug)]
pub struct DataReceiver {
    state: State,
    content: Vec<u8>,
    size_bytes: usize,
    size_bytes_max: usize,
    fault: Option<DataFault>,
}

/// Why a message that ended properly is refused. The first fault found is kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DataFault {
    /// A lone dot between line breaks that aren't CR LF.
    LoneDot,
    /// More octets than the limit.
    TooLarge,
    /// There was no memory for it; told by [`DataReceiver::give_up`].
    NoRoom,
}

/// Where the next octet stands. `Break` is any CR or LF; "clean" is a line begun by CR LF.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// Inside a line.
    Middle,
    /// After a CR that may begin a CR LF.
    Cr,
    /// At the start of a clean line.
    LineStart,
    /// After a bare LF, or after a break and NULs: other servers may see a line start here.
    DoubtfulStart,
    /// After a dot at the start of a clean line; the dot is held back.
    Dot,
    /// After CR LF `.` CR.
    DotCr,
    /// After a dot at a doubtful start, or a dot followed by NULs.
    DoubtfulDot,
}

impl DataReceiver {
    /// A receiver for a message of at most `size_bytes_max` octets.
    pub fn new(size_bytes_max: usize) -> Self {
        Self { state: State::LineStart, content: Vec::new(), size_bytes: 0, size_bytes_max, fault: None }
    }

    /// Takes octets up to the end of the message. Gives how many were taken, and whether the end
    /// was among them; what follows the end isn't touched.
    pub fn receive(&mut self, input: &[u8]) -> (usize, bool) {
        let mut at = 0;
        while let Some(rest) = input.get(at..).filter(|rest| !rest.is_empty()) {
            if self.state == State::Middle {
                let plain = memchr2(b'\r', b'\n', rest).unwrap_or(rest.len());
                self.keep(&rest[..plain]);
                at += plain;
                if plain == rest.len() {
                    break;
                }
            }
            let Some(&octet) = input.get(at) else { break };
            at += 1;
            if self.step(octet) {
                return (at, true);
            }
        }
        (at, false)
    }

    /// How many octets of memory the message takes up now.
    pub fn held_bytes(&self) -> usize {
        self.content.capacity()
    }

    /// Forgets the content and goes on to the end, where the message is refused for now.
    pub fn give_up(&mut self) {
        self.fail(DataFault::NoRoom);
    }

    /// The content, dots unstuffed, or why it is refused. To be called after the end was seen.
    pub fn finish(self) -> Result<Vec<u8>, DataFault> {
        match self.fault {
            None => Ok(self.content),
            Some(fault) => Err(fault),
        }
    }

    /// One octet; true at the end of the message.
    fn step(&mut self, octet: u8) -> bool {
        let (next, verdict) = transition(self.state, octet);
        match verdict {
            Verdict::Keep => self.keep(&[octet]),
            Verdict::HoldDot => {}
            Verdict::LoneDot => {
                self.fail(DataFault::LoneDot);
            }
            Verdict::End => return true,
        }
        self.state = next;
        false
    }

    fn keep(&mut self, octets: &[u8]) {
        self.size_bytes = self.size_bytes.saturating_add(octets.len());
        if self.size_bytes > self.size_bytes_max {
            self.fail(DataFault::TooLarge);
        }
        if self.fault.is_none() {
            self.content.extend_from_slice(octets);
        }
    }

    fn fail(&mut self, fault: DataFault) {
        self.fault.get_or_insert(fault);
        self.content = Vec::new();
    }
}

/// Prepares a message for DATA, piece by piece (RFC 5321 §4.5.2): dots at the start of a line are
/// doubled, and bare CR or LF, which must not be sent (§2.3.8), become CR LF.
#[derive(Debug)]
pub struct DotStuffer {
    line_start: bool,
    after_cr: bool,
}

impl Default for DotStuffer {
    fn default() -> Self {
        Self { line_start: true, after_cr: false }
    }
}

impl DotStuffer {
    /// Appends what `piece` becomes to `out`.
    pub fn push(&mut self, piece: &[u8], out: &mut Vec<u8>) {
        for &octet in piece {
            if std::mem::take(&mut self.after_cr) {
                self.line_end(out);
                if octet == b'\n' {
                    continue;
                }
            }
            match octet {
                b'\r' => self.after_cr = true,
                b'\n' => self.line_end(out),
                _ => {
                    if octet == b'.' && self.line_start {
                        out.push(b'.');
                    }
                    out.push(octet);
                    self.line_start = false;
                }
            }
        }
    }

    /// Ends the last line where the message didn't. The final dot, [`FINAL_DOT`], comes next.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        if std::mem::take(&mut self.after_cr) || !self.line_start {
            self.line_end(out);
        }
    }

    fn line_end(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"\r\n");
        self.line_start = true;
    }
}

/// What ends a message, after the CR LF of its last line.
pub const FINAL_DOT: &[u8] = b".\r\n";

/// What an octet means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Verdict {
    /// It belongs to the content.
    Keep,
    /// It is a dot or a CR after the dot that may belong to the end, or a stuffed dot.
    HoldDot,
    /// The line before it was a lone dot, but not between CR LF and CR LF.
    LoneDot,
    /// It ends the message.
    End,
}

/// The machine itself.
fn transition(state: State, octet: u8) -> (State, Verdict) {
    use State::*;
    use Verdict::*;
    match (state, octet) {
        (Dot, b'\r') => (DotCr, HoldDot),
        (DotCr, b'\n') => (Middle, End),
        // CR LF `.` CR and then no LF: a server for which CR is a line end has seen the end.
        (DotCr, b'\r') => (Cr, LoneDot),
        (DotCr, _) => (after_break(octet), LoneDot),
        (Dot | DoubtfulDot, b'\n') => (DoubtfulStart, LoneDot),
        (DoubtfulDot, b'\r') => (Cr, LoneDot),
        (Dot | DoubtfulDot, 0) => (DoubtfulDot, Keep),
        // A stuffed dot: it was held back, the rest of the line is content. RFC 5321 §4.5.2.
        (Dot | DoubtfulDot, _) => (Middle, Keep),
        (Cr, b'\n') => (LineStart, Keep),
        (LineStart, b'.') => (Dot, HoldDot),
        (Middle, b'\n') => (DoubtfulStart, Keep),
        (LineStart | DoubtfulStart, b'\n') => (DoubtfulStart, Keep),
        (_, b'\r') => (Cr, Keep),
        (Cr | LineStart | DoubtfulStart, _) => (after_break(octet), Keep),
        (Middle, _) => (Middle, Keep),
    }
}

/// Where one is after an octet, no line break, that follows something that may be a line break.
fn after_break(octet: u8) -> State {
    match octet {
        b'.' => State::DoubtfulDot,
        0 => State::DoubtfulStart,
        _ => State::Middle,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Content = Result<Vec<u8>, DataFault>;

    /// Feeds `input` whole: the content or the fault, and what was left untouched.
    fn whole(input: &[u8]) -> Option<(Content, Vec<u8>)> {
        let mut receiver = DataReceiver::new(1000);
        let (taken, ended) = receiver.receive(input);
        ended.then(|| (receiver.finish(), input[taken..].to_vec()))
    }

    #[track_caller]
    fn check(input: &[u8], content: Result<&[u8], DataFault>, rest: &[u8]) {
        let expected = Some((content.map(<[u8]>::to_vec), rest.to_vec()));
        assert_eq!(whole(input), expected, "{:?}", input.escape_ascii().to_string());
    }

    #[test]
    fn only_cr_lf_dot_cr_lf_ends_a_message() {
        check(b".\r\n", Ok(b""), b"");
        check(b"a\r\n.\r\nQUIT\r\n", Ok(b"a\r\n"), b"QUIT\r\n");
        check(b"\r\n.\r\n.\r\n", Ok(b"\r\n"), b".\r\n");
        check(b"a\r\r\n.\r\n", Ok(b"a\r\r\n"), b"");
        check(b"a\n\r\n.\r\n", Ok(b"a\n\r\n"), b"");
        for unended in
            [&b""[..], b"a", b"a\r\n", b"a\r\n.", b"a\r\n.\r", b"a.\r\n", b"..\r\n", b"a\r\n..\r\n"]
        {
            assert_eq!(whole(unended), None, "{:?}", unended.escape_ascii().to_string());
        }
    }

    #[test]
    fn a_lone_dot_between_other_line_breaks_never_ends_a_message_and_has_it_refused() {
        let breaks: [&[u8]; 12] = [
            b"\n", b"\r", b"\r\n", b"\n\r", b"\r\r", b"\n\n", b"\r\r\n", b"\0\n", b"\n\0", b"\r\0",
            b"\r\n\0", b"\r\0\n",
        ];
        for before in breaks {
            for after in breaks {
                let clean_before = before.ends_with(b"\r\n");
                let clean_after = after.starts_with(b"\r\n");
                if clean_before && clean_after {
                    continue;
                }
                let smuggled = [b"a", before, b".", after, b"MAIL FROM:<x@y>\r\n"].concat();
                assert_eq!(whole(&smuggled), None, "{}", smuggled.escape_ascii());
                let ended = [&smuggled[..], b".\r\nQUIT\r\n"].concat();
                check(&ended, Err(DataFault::LoneDot), b"QUIT\r\n");
            }
        }
    }

    #[test]
    fn a_lone_dot_at_the_very_start_counts_as_one_after_a_line_break() {
        for start in [&b".\n"[..], b".\r", b".\0\r\n", b".\r\r\n", b"\0.\r\n", b"\n.\r\n"] {
            let input = [start, b"x\r\n.\r\n"].concat();
            check(&input, Err(DataFault::LoneDot), b"");
        }
    }

    #[test]
    fn two_dots_in_a_row_of_doubt_are_found_as_well() {
        check(b"a\r\n.\r.\r\n\r\n.\r\n", Err(DataFault::LoneDot), b"");
        check(b"a\n.\n.\r\nb\r\n.\r\n", Err(DataFault::LoneDot), b"");
    }

    #[test]
    fn bare_line_breaks_away_from_dots_are_kept_as_they_are() {
        check(b"a\nb\rc\r\r\nd\n\n\r\n.\r\n", Ok(b"a\nb\rc\r\r\nd\n\n\r\n"), b"");
        check(b"a\n.b\n..\nc.\n\r\n.\r\n", Ok(b"a\n.b\n..\nc.\n\r\n"), b"");
        check(b"a\0b\r\n\0\r\n.\r\n", Ok(b"a\0b\r\n\0\r\n"), b"");
    }

    #[test]
    fn a_stuffed_dot_is_taken_out_only_after_cr_lf() {
        check(b"..\r\n.\r\n", Ok(b".\r\n"), b"");
        check(b"..a\r\n...\r\n.b\r\na..\r\n\n..c\r\n.\r\n", Ok(b".a\r\n..\r\nb\r\na..\r\n\n..c\r\n"), b"");
    }

    #[test]
    fn a_message_over_the_limit_is_counted_to_its_end_and_not_kept() {
        let mut receiver = DataReceiver::new(4);
        assert_eq!(receiver.receive(b"ab\r\n.\r\n"), (7, true));
        assert_eq!(receiver.finish(), Ok(b"ab\r\n".to_vec()));
        let mut receiver = DataReceiver::new(4);
        assert_eq!(receiver.receive(b"abc\r\nmore and more\r\n"), (20, false));
        assert_eq!(receiver.held_bytes(), 0);
        assert_eq!(receiver.receive(b".\r\nRSET\r\n"), (3, true));
        assert_eq!(receiver.finish(), Err(DataFault::TooLarge));
    }

    #[test]
    fn a_message_without_room_is_read_to_its_end() {
        let mut receiver = DataReceiver::new(100);
        assert_eq!(receiver.receive(b"abc\r\n"), (5, false));
        receiver.give_up();
        assert_eq!(receiver.held_bytes(), 0);
        assert_eq!(receiver.receive(b"\r\n.\r\n"), (5, true));
        assert_eq!(receiver.finish(), Err(DataFault::NoRoom));
    }

    /// What ends a message and what is refused, said over the whole input at once: the reference.
    fn reference(input: &[u8]) -> Option<(bool, usize)> {
        let framed = [b"\r\n", input].concat();
        let end = framed.windows(5).position(|window| window == b"\r\n.\r\n")?;
        let body = &framed[..end + 2];
        let squeezed: Vec<u8> = body.iter().copied().filter(|&octet| octet != 0).collect();
        let is_break = |octet: Option<&u8>| matches!(octet, Some(b'\r' | b'\n'));
        let doubtful = (1..squeezed.len()).any(|at| {
            squeezed[at] == b'.' && is_break(squeezed.get(at - 1)) && is_break(squeezed.get(at + 1))
        });
        // With NULs squeezed out the true end of the message can't be among the lone dots: it isn't in `body`.
        Some((doubtful, end + 5 - 2))
    }

    fn stuffed(pieces: &[&[u8]]) -> Vec<u8> {
        let (mut stuffer, mut out) = (DotStuffer::default(), Vec::new());
        for piece in pieces {
            stuffer.push(piece, &mut out);
        }
        stuffer.finish(&mut out);
        out
    }

    #[test]
    fn messages_are_made_fit_for_data() {
        for (raw, wire) in [
            (&b""[..], &b""[..]),
            (b"a", b"a\r\n"),
            (b".a\r\n..\r\nb.\r\n", b"..a\r\n...\r\nb.\r\n"),
            (b"a\n.\nb\r.\r", b"a\r\n..\r\nb\r\n..\r\n"),
            (b"a\r\r\n", b"a\r\n\r\n"),
        ] {
            assert_eq!(stuffed(&[raw]), wire, "{:?}", raw.escape_ascii().to_string());
        }
    }

    proptest! {
        #[test]
        fn a_stuffed_message_is_received_as_it_was_with_clean_line_ends(
            raw in proptest::collection::vec(proptest::sample::select(b"\r\n.ab".to_vec()), 0..60),
            cut in 0usize..60,
        ) {
            let (one, two) = raw.split_at(cut.min(raw.len()));
            let mut wire = stuffed(&[one, two]);
            prop_assert_eq!(&wire, &stuffed(&[&raw]));
            wire.extend_from_slice(FINAL_DOT);
            let mut receiver = DataReceiver::new(1000);
            prop_assert_eq!(receiver.receive(&wire), (wire.len(), true));
            let text = String::from_utf8(raw).unwrap();
            let mut clean = text.replace("\r\n", "\n").replace('\r', "\n").replace('\n', "\r\n");
            if !clean.is_empty() && !clean.ends_with("\r\n") {
                clean += "\r\n";
            }
            prop_assert_eq!(receiver.finish(), Ok(clean.into_bytes()));
        }

        #[test]
        fn the_machine_agrees_with_the_definition_over_the_whole_input(
            input in proptest::collection::vec(proptest::sample::select(b"\r\n.\0a".to_vec()), 0..40)
        ) {
            let mut receiver = DataReceiver::new(1000);
            let (taken, ended) = receiver.receive(&input);
            match reference(&input) {
                None => prop_assert!(!ended),
                Some((doubtful, end)) => {
                    prop_assert!(ended);
                    prop_assert_eq!(taken, end);
                    prop_assert_eq!(receiver.finish().is_err(), doubtful);
                }
            }
        }

        #[test]
        fn any_chunking_gives_the_same_content(
            input in proptest::collection::vec(proptest::sample::select(b"\r\n.\0ab".to_vec()), 0..60),
            cuts in proptest::collection::vec(1usize..5, 60),
        ) {
            let mut receiver = DataReceiver::new(20);
            let (mut at, mut ended) = (0, false);
            for cut in cuts {
                let piece = &input[at..(at + cut).min(input.len())];
                let (taken, end) = receiver.receive(piece);
                at += taken;
                ended = end;
                if end { break; }
                prop_assert_eq!(taken, piece.len());
            }
            let mut all = DataReceiver::new(20);
            prop_assert_eq!(all.receive(&input), (at, ended));
            prop_assert_eq!(all.finish(), receiver.finish());
        }
    }
}
