//! BDAT (RFC 3030): a message in chunks whose length is told before.
//!
//! Invariants: exactly the octets that a BDAT announced are taken for content, whatever they are
//! and whatever becomes of them, so a client and we never disagree about where the next command
//! begins; after a chunk that was refused the transaction is over.

use super::{Action, DataFault, Envelope, Reply, Session, State, too_large};

/// The chunks of a message so far.
#[derive(Debug)]
pub(super) struct Chunks {
    content: Vec<u8>,
    size_bytes_max: usize,
    fault: Option<DataFault>,
}

impl Chunks {
    fn new(size_bytes_max: usize) -> Self {
        Self { content: Vec::new(), size_bytes_max, fault: None }
    }

    fn keep(&mut self, octets: &[u8]) {
        if self.content.len().saturating_add(octets.len()) > self.size_bytes_max {
            self.fail(DataFault::TooLarge);
        }
        if self.fault.is_none() {
            self.content.extend_from_slice(octets);
        }
    }

    /// Forgets the content; the chunk is read to its end and refused.
    pub(super) fn fail(&mut self, fault: DataFault) {
        self.fault.get_or_insert(fault);
        self.content = Vec::new();
    }

    /// The memory that they take up.
    pub(super) fn held_bytes(&self) -> usize {
        self.content.capacity()
    }
}

/// A chunk whose octets are awaited.
#[derive(Debug)]
pub(super) struct Chunk {
    left: u64,
    last: bool,
    size: u64,
}

impl Session {
    pub(super) fn bdat(&mut self, size: u64, last: bool) {
        let chunk = Chunk { left: size, last, size };
        match self.take_state() {
            State::Open(envelope, _) if !envelope.recipients.is_empty() => {
                let chunks = Chunks::new(self.settings.message_size_bytes_max);
                self.state = State::Chunk(envelope, chunks, chunk);
            }
            State::Chunked(envelope, chunks) => self.state = State::Chunk(envelope, chunks, chunk),
            // RFC 3030 §2: the octets come, whatever we think of the command.
            State::Open(envelope, true) => {
                let code = if self.dialect == super::Dialect::Lmtp { 503 } else { 554 };
                let reply = Reply::new(code, "5.5.1", "No valid recipients");
                self.state = State::Skipping(Some((envelope, true)), size, reply);
            }
            before => {
                let reply = Reply::new(503, "5.5.1", "MAIL and RCPT come before BDAT");
                // A transaction that is open stays so: its recipients may follow.
                let open = if let State::Open(envelope, _) = before { Some((envelope, false)) } else { None };
                self.state = State::Skipping(open, size, reply);
            }
        }
    }

    /// Takes what there is of the chunk; false until all of it came.
    pub(super) fn take_chunk(&mut self) -> bool {
        let input = self.input.get(self.read..).unwrap_or_default();
        let (left, taken) = match &mut self.state {
            State::Chunk(_, chunks, chunk) => {
                let taken = input.len().min(usize::try_from(chunk.left).unwrap_or(usize::MAX));
                chunks.keep(&input[..taken]);
                (&mut chunk.left, taken)
            }
            State::Skipping(_, left, _) => {
                let taken = input.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                (left, taken)
            }
            _ => return true,
        };
        // `taken` is at most `left`, which fits 64 bits.
        *left -= taken as u64;
        let ended = *left == 0;
        self.read += taken;
        if ended {
            self.chunk_ended();
        }
        ended
    }

    fn chunk_ended(&mut self) {
        match self.take_state() {
            State::Skipping(open, _, reply) => {
                let refused = matches!(open, Some((_, true)));
                if let Some((envelope, refused)) = open {
                    self.state = State::Open(envelope, refused);
                }
                // A client that pipelines knows of refused recipients too late: no mistake.
                if refused { self.reply(reply) } else { self.mistake(reply) }
            }
            State::Chunk(envelope, chunks, chunk) => self.chunk_taken(envelope, chunks, &chunk),
            other => self.state = other,
        }
    }

    fn chunk_taken(&mut self, envelope: Envelope, chunks: Chunks, chunk: &Chunk) {
        let result = match chunks.fault {
            Some(fault) => Err(fault),
            None if chunk.last => Ok(chunks.content),
            None => {
                self.state = State::Chunked(envelope, chunks);
                return self.reply(Reply::new(250, "2.0.0", format!("{} octets received", chunk.size)));
            }
        };
        // RFC 2033 §4.2: only the end of the message has a reply for each recipient.
        match result {
            Err(fault) if !chunk.last => {
                let reply = match fault {
                    DataFault::TooLarge => too_large(),
                    DataFault::NoRoom | DataFault::LoneDot => super::no_space(),
                };
                self.pending.push_back(Action::Reply(reply));
            }
            result => self.message_ended(envelope, result),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Server, lmtp, smtp};
    use super::super::*;

    const OPEN: &str = "C: MAIL FROM:<a@b> BODY=BINARYMIME
        S: 250 2.1.0 Sender ok
        C: RCPT TO:<a@x>
        S: 250 2.1.5 Recipient ok
        ";

    /// Octets of a chunk are written after `D:`, without a CR LF of their own.
    #[test]
    fn a_message_comes_in_chunks_of_any_octets() {
        let server = smtp(&format!(
            "{OPEN}C: BDAT 6
            D: a\\r\\n.\\r\\n
            S: 250 2.0.0 6 octets received
            C: BDAT 4
            D: \\n.\\n\\0
            C: BDAT 0 LAST
            S: 250 2.0.0 4 octets received
            S: 250 2.0.0 Kept as id-a@x
            C: NOOP
            S: 250 2.0.0 Ok"
        ));
        assert_eq!(server.delivered[0].1, b"a\r\n.\r\n\n.\n\0");
        assert!(server.delivered[0].0.binary);
    }

    #[test]
    fn chunks_and_commands_may_be_pipelined() {
        let server = smtp(&format!(
            "{OPEN}C: BDAT 3
            D: abc
            C: BDAT 2 LAST
            D: de
            C: MAIL FROM:<>
            C: RCPT TO:<b@x>
            C: BDAT 1 LAST
            D: x
            C: QUIT
            S: 250 2.0.0 3 octets received
            S: 250 2.0.0 Kept as id-a@x
            S: 250 2.1.0 Sender ok
            S: 250 2.1.5 Recipient ok
            S: 250 2.0.0 Kept as id-b@x
            S: 221 2.0.0 Bye"
        ));
        let contents: Vec<&[u8]> = server.delivered.iter().map(|(_, content)| &content[..]).collect();
        assert_eq!(contents, [&b"abcde"[..], b"x"]);
    }

    #[test]
    fn what_a_refused_chunk_announced_is_content_and_never_a_command() {
        for (before, reply) in [
            ("", "503 5.5.1 MAIL and RCPT come before BDAT"),
            ("C: MAIL FROM:<>\nS: 250 2.1.0 Sender ok\n", "503 5.5.1 MAIL and RCPT come before BDAT"),
            (
                "C: MAIL FROM:<>\nS: 250 2.1.0 Sender ok\nC: RCPT TO:<unknown@x>\nS: 550 5.1.1 No such recipient here\n",
                "554 5.5.1 No valid recipients",
            ),
        ] {
            let server = smtp(&format!(
                "{before}C: BDAT 6 LAST
                D: QUIT\\r\\n
                S: {reply}
                C: NOOP
                S: 250 2.0.0 Ok"
            ));
            assert!(server.delivered.is_empty() && !server.closed);
        }
    }

    #[test]
    fn between_chunks_only_another_chunk_or_an_end_of_the_transaction_fits() {
        let table = [
            ("DATA", "503 5.5.1 BDAT has begun: another BDAT, or RSET", false),
            ("MAIL FROM:<>", "503 5.5.1 A transaction is open already", false),
            ("RCPT TO:<b@x>", "503 5.5.1 BDAT has begun: another BDAT, or RSET", false),
            ("NOOP", "250 2.0.0 Ok", false),
            ("RSET", "250 2.0.0 Ok", true),
            ("HELO d", "250 mx.example", true),
        ];
        for (command, reply, over) in table {
            let end =
                if over { "503 5.5.1 MAIL and RCPT come before BDAT" } else { "250 2.0.0 Kept as id-a@x" };
            let server = smtp(&format!(
                "{OPEN}C: BDAT 1
                D: a
                S: 250 2.0.0 1 octets received
                C: {command}
                S: {reply}
                C: BDAT 1 LAST
                D: b
                S: {end}"
            ));
            assert_eq!(
                server.delivered.first().map(|(_, content)| &content[..]),
                (!over).then_some(&b"ab"[..])
            );
        }
    }

    #[test]
    fn binary_content_comes_by_bdat_only() {
        smtp(&format!(
            "{OPEN}C: DATA
            S: 503 5.5.1 BODY=BINARYMIME needs BDAT (RFC 3030 section 3)
            C: BDAT 1 LAST
            D: a
            S: 250 2.0.0 Kept as id-a@x"
        ));
    }

    #[test]
    fn chunks_that_are_too_large_are_read_to_their_end_and_end_the_transaction() {
        let large = "x".repeat(101);
        let text = "552 5.3.4 The message is larger than SIZE in the reply to EHLO says";
        for last in ["", " LAST"] {
            let server = smtp(&format!(
                "{OPEN}C: BDAT 101{last}
                D: {large}
                S: {text}
                C: BDAT 1 LAST
                D: y
                S: 503 5.5.1 MAIL and RCPT come before BDAT"
            ));
            assert!(server.delivered.is_empty());
        }
        // More than any machine has: skipped as long as the client likes to send.
        let mut server = Server::new(Dialect::Smtp);
        server.run();
        server.send(b"HELO c\r\nMAIL FROM:<>\r\nRCPT TO:<a@x>\r\nBDAT 9999999999999999999\r\n");
        assert!(server.session.receiving_message());
        assert_eq!(server.send(&[b'x'; 5000]), "");
        assert!(server.session.message_bytes() <= 100);
    }

    #[test]
    fn lmtp_answers_for_each_recipient_after_the_last_chunk_only() {
        lmtp(
            "C: MAIL FROM:<>
            C: RCPT TO:<a@x>
            C: RCPT TO:<defer@x>
            C: BDAT 1
            D: a
            C: BDAT 1 LAST
            D: b
            S: 250 2.1.0 Sender ok
            S: 250 2.1.5 Recipient ok
            S: 250 2.1.5 Recipient ok
            S: 250 2.0.0 1 octets received
            S: 250 2.0.0 Kept as id-a@x
            S: 451 4.3.0 Later please",
        );
    }

    #[test]
    fn a_chunked_message_without_room_is_refused_for_now() {
        let mut server = Server::new(Dialect::Smtp);
        server.run();
        server.send(b"HELO c\r\nMAIL FROM:<>\r\nRCPT TO:<a@x>\r\nBDAT 5 LAST\r\nabc");
        assert!(server.session.message_bytes() >= 3);
        server.session.refuse_for_room();
        assert_eq!(server.session.message_bytes(), 0);
        assert_eq!(server.send(b"de"), "452 4.3.1 There is no room for the message now\r\n");
    }
}
