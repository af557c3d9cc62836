//! One connection of a client to us, as a state machine: octets in ([`Session::receive`]), actions
//! out ([`Session::next_action`]), answers to actions in ([`Session::recipient_answer`],
//! [`Session::delivery_answer`]). SMTP (RFC 5321) and LMTP (RFC 2033).
//!
//! Invariants:
//! - The actions are the same however the octets are cut into pieces, so pipelining
//!   (RFC 2920) needs no code of its own.
//! - A positive reply to a message is made only from the caller's `Accepted` for each recipient, or `Told`
//!   where the sender hears of it otherwise.
//! - While an action waits for its answer nothing that follows in the input is looked at.
//! - No more is held than one piece of input, one line and one message of the permitted size.
//!
//! Deliberately absent: timeouts, counting connections and TLS itself (`wire/smtp_in.rs`). Chunks are
//! in `session/chunks.rs`, who the client is in `session/access.rs`.

mod access;
mod chunks;
#[cfg(test)]
mod order_tests;
mod replies;

pub use self::access::Rights;

use self::access::Forwarded;
use self::chunks::{Chunk, Chunks};
use self::replies::{delivery_reply, hops, joined_reply, no_space, over_quota, too_large};
use super::command::{self, Command, MailParameters, RcptParameters};
use super::data::{DataFault, DataReceiver};
use super::reply::Reply;
use crate::mail::envelope::{Envelope, NotTaken, Protocol, ReportWish};
use crate::types::Address;
use crate::types::limits::{
    SMTP_COMMAND_BYTES_MAX, SMTP_ERRORS_MAX, SMTP_HOPS_MAX, SMTP_RECIPIENTS_MAX, SMTP_TRANSACTIONS_MAX,
    UPLOAD_SIZE_BYTES_MAX,
};
use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;

/// Which of the two protocols is spoken. A listener speaks one of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Dialect {
    Smtp,
    Lmtp,
}

/// What all sessions of a server share.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SessionSettings {
    /// Our name in the greeting; also the domain of a bare `<Postmaster>`.
    pub hostname: String,
    pub message_size_bytes_max: usize,
    pub recipients_max: usize,
    pub errors_max: usize,
    pub transactions_max: usize,
    pub hops_max: usize,
}

impl SessionSettings {
    /// The limits of `types/limits.rs`.
    pub fn new(hostname: impl Into<String>) -> Self {
        Self {
            hostname: hostname.into(),
            message_size_bytes_max: UPLOAD_SIZE_BYTES_MAX,
            recipients_max: SMTP_RECIPIENTS_MAX,
            errors_max: SMTP_ERRORS_MAX,
            transactions_max: SMTP_TRANSACTIONS_MAX,
            hops_max: SMTP_HOPS_MAX,
        }
    }
}

/// What the caller is to do next.
#[derive(PartialEq, Eq, Debug)]
pub enum Action {
    /// Send this.
    Reply(Reply),
    /// Find out whether whoever is at this address sends no faster than they may, then call
    /// [`Session::pace_answer`].
    CheckPace(Option<IpAddr>),
    /// Find out whether we take mail for it, then call [`Session::recipient_answer`].
    CheckRecipient(Address),
    /// Keep the message durably, then call [`Session::delivery_answer`].
    Deliver { envelope: Envelope, content: Vec<u8> },
    /// Send what is to be sent, shake hands as a TLS server, then call [`Session::tls_ready`].
    StartTls,
    /// Find out whether the password is right, then call [`Session::login_answer`].
    Login { name: String, password: String },
    /// Send what is to be sent, then close the connection.
    Close,
}

/// Whether we take mail for an address.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RecipientAnswer {
    Known,
    Unknown,
    /// It can't be told now.
    TryLater,
    /// There is more to do than can be done.
    Busy,
    /// Its account has no room for another message.
    OverQuota,
    /// There is too little free disk to take mail at all.
    NoSpace,
}

/// What became of a message for one recipient. The reasons are shown to the client.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DeliveryAnswer {
    /// It is kept, durably, and can be found by this id.
    Accepted {
        id: String,
    },
    TryLater(String),
    /// The recipient's account has no room for it.
    OverQuota,
    NoSpace,
    Refused(NotTaken),
    /// Refused, while others got it: the caller sees to it that the sender hears of it.
    Told(NotTaken),
}

/// One connection.
#[derive(Debug)]
pub struct Session {
    settings: Arc<SessionSettings>,
    dialect: Dialect,
    peer: Option<IpAddr>,
    rights: Rights,
    /// Whom the client logged in as.
    login: Option<String>,
    forwarded: Option<Forwarded>,
    hello: Option<Hello>,
    state: State,
    input: Vec<u8>,
    /// How much of `input` is done with.
    read: usize,
    /// The line at the front of `input` has lost its beginning, being too long.
    overlong: bool,
    pending: VecDeque<Action>,
    errors: usize,
    transactions: usize,
}

#[derive(Debug)]
struct Hello {
    name: String,
    extended: bool,
}

#[derive(Debug)]
enum State {
    /// Between transactions.
    Idle,
    /// After MAIL; the flag tells that some RCPT was refused.
    Open(Envelope, bool),
    /// [`Action::CheckPace`] waits for its answer.
    Pacing(Envelope),
    /// [`Action::CheckRecipient`] waits for its answer.
    Checking(Envelope, bool, Address, ReportWish),
    /// After DATA.
    Receiving(Envelope, DataReceiver),
    /// After a BDAT that wasn't the last.
    Chunked(Envelope, Chunks),
    /// The octets of a BDAT are awaited.
    Chunk(Envelope, Chunks, Chunk),
    /// So many octets of a refused BDAT are thrown away before its reply; then the transaction goes on
    /// where there is one, with what [`State::Open`] has.
    Skipping(Option<(Envelope, bool)>, u64, Reply),
    /// [`Action::Deliver`] waits for the answers of this many recipients.
    Delivering(usize),
    /// [`Action::StartTls`] is carried out.
    Encrypting,
    /// The response to the challenge of AUTH is awaited.
    LoggingIn,
    /// [`Action::Login`] waits for its answer; the name.
    Verifying(String),
    Closed,
}

impl Session {
    /// A session whose first action is the greeting.
    pub fn new(settings: Arc<SessionSettings>, dialect: Dialect, peer: Option<IpAddr>) -> Self {
        let mut session = Self {
            settings,
            dialect,
            peer,
            rights: Rights::default(),
            login: None,
            forwarded: None,
            hello: None,
            state: State::Idle,
            input: Vec::new(),
            read: 0,
            overlong: false,
            pending: VecDeque::new(),
            errors: 0,
            transactions: 0,
        };
        session.pending.push_back(Action::Reply(session.greeting()));
        session
    }

    fn greeting(&self) -> Reply {
        let name = match self.dialect {
            Dialect::Smtp => "ESMTP",
            Dialect::Lmtp => "LMTP",
        };
        Reply::lines(220, vec![format!("{} {name} Postroom", self.settings.hostname)])
    }

    /// Takes octets of the client. To be called when [`Session::next_action`] gave `None`.
    pub fn receive(&mut self, octets: &[u8]) {
        if matches!(self.state, State::Closed) {
            return;
        }
        self.input.drain(..self.read);
        self.read = 0;
        self.input.extend_from_slice(octets);
    }

    /// The next thing to do; `None` until more octets, or the answer to the last action, arrive.
    pub fn next_action(&mut self) -> Option<Action> {
        loop {
            if let Some(action) = self.pending.pop_front() {
                return Some(action);
            }
            match &mut self.state {
                State::Idle | State::Open(..) | State::Chunked(..) => {
                    let line = self.next_line()?;
                    self.line(line);
                }
                State::LoggingIn => {
                    let line = self.next_line()?;
                    self.login_response(&line.unwrap_or_default());
                }
                State::Receiving(_, receiver) => {
                    let (taken, ended) = receiver.receive(self.input.get(self.read..).unwrap_or_default());
                    self.read += taken;
                    if !ended {
                        return None;
                    }
                    if let State::Receiving(envelope, receiver) = self.take_state() {
                        self.message_ended(envelope, receiver.finish());
                    }
                }
                State::Chunk(..) | State::Skipping(..) => {
                    if !self.take_chunk() {
                        return None;
                    }
                }
                State::Pacing(_)
                | State::Checking(..)
                | State::Delivering(_)
                | State::Encrypting
                | State::Verifying(_)
                | State::Closed => return None,
            }
        }
    }

    /// The answer to [`Action::CheckRecipient`].
    pub fn recipient_answer(&mut self, answer: RecipientAnswer) {
        let State::Checking(mut envelope, refused, address, wish) = self.take_state() else { return };
        let known = answer == RecipientAnswer::Known;
        let reply = match answer {
            RecipientAnswer::Known => Reply::new(250, "2.1.5", "Recipient ok"),
            RecipientAnswer::Unknown => Reply::new(550, "5.1.1", "No such recipient here"),
            RecipientAnswer::TryLater => Reply::new(451, "4.3.0", "The recipient can't be looked up now"),
            RecipientAnswer::Busy => Reply::new(451, "4.3.2", "Busy now, try again later"),
            RecipientAnswer::OverQuota => over_quota(),
            RecipientAnswer::NoSpace => no_space(),
        };
        if known {
            envelope.recipients.push(address);
            envelope.reports.push(wish);
        }
        self.state = State::Open(envelope, refused || !known);
        self.reply(reply);
    }

    /// The answer to [`Action::Deliver`]: one for each recipient of the envelope, in its order. A
    /// missing one counts as `TryLater`.
    pub fn delivery_answer(&mut self, answers: &[DeliveryAnswer]) {
        let State::Delivering(recipients) = self.take_state() else { return };
        let missing = DeliveryAnswer::TryLater("The message can't be kept now".to_owned());
        let answers = (0..recipients).map(|number| answers.get(number).unwrap_or(&missing));
        match self.dialect {
            // RFC 2033 §4.2: a reply for each accepted RCPT, in their order.
            Dialect::Lmtp => self.pending.extend(answers.map(|answer| Action::Reply(delivery_reply(answer)))),
            Dialect::Smtp => self.reply(joined_reply(answers)),
        }
    }

    /// True between MAIL and the reply to the message, while cutting the client off would make it
    /// repeat work.
    pub fn in_transaction(&self) -> bool {
        !matches!(self.state, State::Idle | State::Closed)
    }

    /// True while the octets of a message are awaited.
    pub fn receiving_message(&self) -> bool {
        matches!(self.state, State::Receiving(..) | State::Chunk(..) | State::Skipping(..))
    }

    /// The memory that the message being received takes up.
    pub fn message_bytes(&self) -> usize {
        match &self.state {
            State::Receiving(_, receiver) => receiver.held_bytes(),
            State::Chunk(_, chunks, _) | State::Chunked(_, chunks) => chunks.held_bytes(),
            _ => 0,
        }
    }

    /// Has the message being received refused for now (452), at its end.
    pub fn refuse_for_room(&mut self) {
        match &mut self.state {
            State::Receiving(_, receiver) => receiver.give_up(),
            State::Chunk(_, chunks, _) | State::Chunked(_, chunks) => chunks.fail(DataFault::NoRoom),
            _ => {}
        }
    }

    /// Ends the session with a 421: RFC 5321 §3.8 asks for it before a server closes.
    pub fn close(&mut self, enhanced: &'static str, reason: &str) {
        if !matches!(self.state, State::Closed) {
            self.reply(Reply::new(421, enhanced, format!("{} {reason}", self.settings.hostname)));
            self.end();
        }
    }

    fn take_state(&mut self) -> State {
        std::mem::replace(&mut self.state, State::Idle)
    }

    fn reply(&mut self, reply: Reply) {
        self.pending.push_back(Action::Reply(reply));
    }

    fn end(&mut self) {
        self.pending.push_back(Action::Close);
        self.state = State::Closed;
        self.input = Vec::new();
        self.read = 0;
    }

    /// A mistake of the client's; too many end the session.
    fn mistake(&mut self, reply: Reply) {
        self.reply(reply);
        self.errors += 1;
        if self.errors >= self.settings.errors_max {
            self.close("4.7.0", "Too many errors");
        }
    }

    fn out_of_order(&mut self, text: &str) {
        self.mistake(Reply::new(503, "5.5.1", text));
    }

    /// Takes the next whole line from the input, without its CR LF; an overlong one as `Err`.
    fn next_line(&mut self) -> Option<Result<Vec<u8>, ()>> {
        let rest = self.input.get(self.read..).unwrap_or_default();
        let Some(length) = memchr::memmem::find(rest, b"\r\n") else {
            if rest.len() >= SMTP_COMMAND_BYTES_MAX {
                self.overlong = true;
                // The CR may be half of the CR LF that ends the line.
                self.read = self.input.len() - usize::from(rest.ends_with(b"\r"));
            }
            return None;
        };
        let overlong = std::mem::take(&mut self.overlong) || length + 2 > SMTP_COMMAND_BYTES_MAX;
        let line = if overlong { Err(()) } else { Ok(rest.get(..length)?.to_vec()) };
        self.read += length + 2;
        Some(line)
    }

    fn line(&mut self, line: Result<Vec<u8>, ()>) {
        let Ok(line) = line else {
            // RFC 5321 §4.5.3.1.10.
            return self.mistake(Reply::new(500, "5.5.2", "Line too long"));
        };
        match command::parse(&line) {
            Ok(command) => self.command(command),
            Err(reply) => self.mistake(reply),
        }
    }

    fn command(&mut self, command: Command) {
        match (command, self.dialect) {
            (Command::Ehlo(name), Dialect::Smtp) | (Command::Lhlo(name), Dialect::Lmtp) => {
                self.hello(name, true);
            }
            (Command::Helo(name), Dialect::Smtp) => self.hello(name, false),
            // RFC 2033 §4.1: LMTP refuses HELO and EHLO with 500; SMTP doesn't know LHLO.
            (Command::Ehlo(_) | Command::Helo(_), Dialect::Lmtp) => {
                self.mistake(Reply::new(500, "5.5.1", "This is LMTP: say LHLO"));
            }
            (Command::Lhlo(_), Dialect::Smtp) => {
                self.mistake(Reply::new(500, "5.5.1", "This is SMTP: say EHLO"));
            }
            (Command::Mail { from, parameters }, _) => self.mail(from, parameters),
            (Command::Rcpt { to, parameters }, _) => self.rcpt(to, parameters),
            (Command::Data, _) => self.data(),
            (Command::Bdat { size_bytes, last }, _) => self.bdat(size_bytes, last),
            (Command::StartTls, _) => self.starttls(),
            (Command::Auth { mechanism, initial }, _) => self.auth(&mechanism, initial.as_deref()),
            (Command::Xclient(attributes), _) => self.xclient(attributes),
            (Command::Rset, _) => {
                self.state = State::Idle;
                self.reply(Reply::new(250, "2.0.0", "Ok"));
            }
            (Command::Noop, _) => self.reply(Reply::new(250, "2.0.0", "Ok")),
            // RFC 5321 §3.5.3 allows not to tell; RCPT does.
            (Command::Vrfy, _) => self.reply(Reply::new(252, "2.0.0", "Not told here; RCPT says it")),
            (Command::Help, _) => {
                let verbs =
                    "EHLO HELO LHLO MAIL RCPT DATA BDAT RSET NOOP QUIT VRFY HELP; see RFC 5321, RFC 2033";
                self.reply(Reply::new(214, "2.0.0", verbs));
            }
            (Command::Quit, _) => {
                self.reply(Reply::new(221, "2.0.0", "Bye"));
                self.end();
            }
        }
    }

    /// RFC 5321 §4.1.4: a later EHLO has the effect of RSET.
    fn hello(&mut self, name: String, extended: bool) {
        self.state = State::Idle;
        self.hello = Some(Hello { name, extended });
        let mut lines = vec![self.settings.hostname.clone()];
        if extended {
            lines.extend(
                [
                    "PIPELINING",
                    "8BITMIME",
                    "SMTPUTF8",
                    "ENHANCEDSTATUSCODES",
                    "CHUNKING",
                    "BINARYMIME",
                    "DSN",
                ]
                .map(String::from),
            );
            lines.push("HELP".to_owned());
            lines.push(format!("SIZE {}", self.settings.message_size_bytes_max));
            // RFC 9422 §4.
            let (rcpts, mails) = (self.settings.recipients_max, self.settings.transactions_max);
            lines.push(format!("LIMITS RCPTMAX={rcpts} MAILMAX={mails}"));
            lines.extend(self.offers());
        }
        self.reply(Reply::lines(250, lines));
    }

    fn mail(&mut self, from: Option<Address>, parameters: MailParameters) {
        let Some(hello) = &self.hello else { return self.out_of_order("Say who you are first") };
        if matches!(self.state, State::Open(..) | State::Chunked(..)) {
            return self.out_of_order("A transaction is open already");
        }
        if let Some(refusal) = self.must_login_first() {
            return self.mistake(refusal);
        }
        if self.transactions >= self.settings.transactions_max {
            return self.close("4.3.2", "Many transactions were made, connect again");
        }
        // RFC 1870 §6.1.
        if parameters.size_bytes.is_some_and(|size| size > self.settings.message_size_bytes_max as u64) {
            return self.reply(too_large());
        }
        let protocol = match (self.dialect, hello.extended, parameters.smtputf8) {
            (Dialect::Lmtp, _, true) => Protocol::Utf8Lmtp,
            (Dialect::Lmtp, _, false) => Protocol::Lmtp,
            (Dialect::Smtp, _, true) => Protocol::Utf8Smtp,
            (Dialect::Smtp, true, false) => Protocol::Esmtp,
            (Dialect::Smtp, false, false) => Protocol::Smtp,
        };
        let told = self.forwarded.clone().unwrap_or_default();
        let envelope = Envelope {
            peer: told.address.or(self.peer),
            smtputf8: parameters.smtputf8,
            body_8bit: parameters.body_8bit,
            binary: parameters.binary,
            from_gateway: self.rights.gateway,
            encrypted: self.rights.encrypted,
            login: self.login.clone(),
            return_full: parameters.return_full,
            envelope_id: parameters.envelope_id,
            ..Envelope::new(told.helo.unwrap_or_else(|| hello.name.clone()), protocol, from)
        };
        self.transactions += 1;
        if self.rights.paced {
            self.pending.push_back(Action::CheckPace(envelope.peer));
            self.state = State::Pacing(envelope);
            return;
        }
        self.opened(envelope);
    }

    fn rcpt(&mut self, to: Option<Address>, parameters: RcptParameters) {
        let (envelope, refused) = match self.take_state() {
            State::Open(envelope, refused) => (envelope, refused),
            other => {
                let begun = matches!(other, State::Chunked(..));
                self.state = other;
                return self.out_of_order(if begun { BDAT_BEGUN } else { "MAIL comes before RCPT" });
            }
        };
        let hostname = &self.settings.hostname;
        let address = to.or_else(|| Address::parse(&format!("postmaster@{hostname}")));
        let reply = match address {
            None => Reply::new(550, "5.1.1", "No such recipient here"),
            Some(address) if address.needs_smtputf8() && !envelope.smtputf8 => command::needs_smtputf8(),
            // RFC 5321 §4.5.3.1.10: those accepted so far stand, the others come in another transaction.
            Some(_) if envelope.recipients.len() >= self.settings.recipients_max => {
                Reply::new(452, "4.5.3", "Too many recipients for one message, send the rest apart")
            }
            Some(address) => {
                self.pending.push_back(Action::CheckRecipient(address.clone()));
                let RcptParameters { notify_success: success, notify_no_failure: no_failure, original } =
                    parameters;
                let wish = ReportWish { success, no_failure, original };
                self.state = State::Checking(envelope, refused, address, wish);
                return;
            }
        };
        self.state = State::Open(envelope, true);
        self.reply(reply);
    }

    fn data(&mut self) {
        match self.take_state() {
            State::Open(envelope, refused) if envelope.binary && !envelope.recipients.is_empty() => {
                self.state = State::Open(envelope, refused);
                self.out_of_order("BODY=BINARYMIME needs BDAT (RFC 3030 section 3)");
            }
            State::Open(envelope, _) if !envelope.recipients.is_empty() => {
                let receiver = DataReceiver::new(self.settings.message_size_bytes_max);
                self.state = State::Receiving(envelope, receiver);
                self.reply(Reply::new(354, "", "Go ahead, end with CR LF . CR LF"));
            }
            // A client that pipelines sends DATA before it knows that its recipients were refused
            // (RFC 2920 §3.1): an answer, not a mistake. LMTP demands 503 (RFC 2033 §4.2).
            State::Open(envelope, true) => {
                self.state = State::Open(envelope, true);
                let code = if self.dialect == Dialect::Lmtp { 503 } else { 554 };
                self.reply(Reply::new(code, "5.5.1", "No valid recipients"));
            }
            other => {
                let begun = matches!(other, State::Chunked(..));
                self.state = other;
                self.out_of_order(if begun { BDAT_BEGUN } else { "MAIL and RCPT come before DATA" });
            }
        }
    }

    /// The whole message came, by DATA or BDAT.
    fn message_ended(&mut self, envelope: Envelope, content: Result<Vec<u8>, DataFault>) {
        let refusal = match content {
            Ok(content) if hops(&content) > self.settings.hops_max => {
                Reply::new(554, "5.4.6", "Too many hops, the message runs in circles")
            }
            Ok(content) => {
                self.state = State::Delivering(envelope.recipients.len());
                return self.pending.push_back(Action::Deliver { envelope, content });
            }
            Err(DataFault::LoneDot) => {
                let text =
                    "A line of one dot begins or ends with a bare CR, LF or NUL (RFC 5321 section 4.1.1.4)";
                Reply::new(554, "5.6.0", text)
            }
            Err(DataFault::TooLarge) => too_large(),
            Err(DataFault::NoRoom) => no_space(),
        };
        tracing::info!(code = refusal.code, status = refusal.enhanced, "a message was refused");
        let replies = if self.dialect == Dialect::Lmtp { envelope.recipients.len() } else { 1 };
        self.pending.extend((0..replies).map(|_| Action::Reply(refusal.clone())));
    }
}

const BDAT_BEGUN: &str = "BDAT has begun: another BDAT, or RSET";

#[cfg(test)]
mod tests {
    //! Sessions as scripts of lines: `C:` what the client sends, `S:` all that the server answers.

    use super::*;
    use crate::auth::LoginError;
    use proptest::prelude::*;
    use std::time::Duration;

    fn settings() -> Arc<SessionSettings> {
        Arc::new(SessionSettings {
            message_size_bytes_max: 100,
            recipients_max: 3,
            errors_max: 5,
            transactions_max: 4,
            hops_max: 2,
            ..SessionSettings::new("mx.example")
        })
    }

    /// A session with a caller behind it that answers by the local part of the recipient.
    pub(super) struct Server {
        pub(super) session: Session,
        pub(super) delivered: Vec<(Envelope, Vec<u8>)>,
        /// Whose pace was asked for; the third time is once too often.
        pub(super) paced: Vec<Option<IpAddr>>,
        pub(super) closed: bool,
    }

    impl Server {
        pub(super) fn new(dialect: Dialect) -> Self {
            let session = Session::new(settings(), dialect, None);
            Self { session, delivered: Vec::new(), paced: Vec::new(), closed: false }
        }

        pub(super) fn run(&mut self) -> String {
            let mut out = Vec::new();
            while let Some(action) = self.session.next_action() {
                match action {
                    Action::Reply(reply) => reply.write_to(&mut out),
                    Action::CheckRecipient(address) => {
                        self.session.recipient_answer(match address.as_str().split('@').next() {
                            Some("unknown") => RecipientAnswer::Unknown,
                            Some("later") => RecipientAnswer::TryLater,
                            Some("full") => RecipientAnswer::NoSpace,
                            _ => RecipientAnswer::Known,
                        });
                    }
                    Action::Deliver { envelope, content } => {
                        let answers: Vec<_> = envelope.recipients.iter().map(Self::answer).collect();
                        self.delivered.push((envelope, content));
                        self.session.delivery_answer(&answers);
                    }
                    Action::CheckPace(peer) => {
                        self.paced.push(peer);
                        self.session.pace_answer(self.paced.len() <= 2);
                    }
                    Action::StartTls => self.session.tls_ready(),
                    Action::Login { name, password } => {
                        let right = name == "ann" && password == "secret";
                        let wait = LoginError::TooSoon { retry_after: Duration::from_secs(9) };
                        let wrong = if password == "again" { wait } else { LoginError::Refused };
                        self.session.login_answer(if right { Ok(()) } else { Err(wrong) });
                    }
                    Action::Close => self.closed = true,
                }
            }
            String::from_utf8(out).expect("replies are ASCII")
        }

        fn answer(recipient: &Address) -> DeliveryAnswer {
            match recipient.as_str().split('@').next() {
                Some("refuse") => DeliveryAnswer::Refused("Not this one".into()),
                Some("told") => DeliveryAnswer::Told("Nor this one".into()),
                Some("defer") => DeliveryAnswer::TryLater("Later please".into()),
                Some("nospace") => DeliveryAnswer::NoSpace,
                _ => DeliveryAnswer::Accepted { id: format!("id-{}", recipient.as_str()) },
            }
        }

        pub(super) fn send(&mut self, octets: &[u8]) -> String {
            self.session.receive(octets);
            self.run()
        }
    }

    /// Plays a script. `\n`, `\r` and `\0` may be written in `C:` lines and in `D:` lines, which have
    /// no CR LF of their own; `S: EHLO` is the whole reply to EHLO, with one more line where it is named.
    #[track_caller]
    fn script(dialect: Dialect, text: &str) -> Server {
        play(Server::new(dialect), text)
    }

    /// The same with a peer that has rights.
    #[track_caller]
    pub(super) fn script_with(rights: Rights, text: &str) -> Server {
        let mut server = Server::new(Dialect::Smtp);
        server.session = server.session.with_rights(rights);
        play(server, text)
    }

    fn ehlo(more: &str) -> String {
        let offers = "PIPELINING 8BITMIME SMTPUTF8 ENHANCEDSTATUSCODES CHUNKING BINARYMIME DSN HELP";
        let mut lines: Vec<&str> = vec!["mx.example"];
        lines.extend(offers.split(' '));
        lines.extend(["SIZE 100", "LIMITS RCPTMAX=3 MAILMAX=4"]);
        lines.extend(Some(more).filter(|more| !more.is_empty()));
        let last = lines.len() - 1;
        let line =
            |(at, line): (usize, &&str)| format!("250{}{line}\r\n", if at == last { ' ' } else { '-' });
        lines.iter().enumerate().map(line).collect()
    }

    #[track_caller]
    fn play(mut server: Server, text: &str) -> Server {
        let mut got = server.run();
        let mut expected = String::new();
        let mut sending = String::new();
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            if let Some(line) = line.strip_prefix("S: ") {
                if !sending.is_empty() {
                    got += &server.send(sending.as_bytes()).replace(" \r\n", "\r\n");
                    sending.clear();
                }
                match line.strip_prefix("EHLO") {
                    Some(more) => expected += &ehlo(more.trim()),
                    None => expected += &format!("{line}\r\n"),
                }
            } else if line.starts_with("C:") || line.starts_with("D:") {
                if sending.is_empty() {
                    assert_eq!(got, expected);
                }
                let (kind, line) = line.split_at(2);
                let line = line.strip_prefix(' ').unwrap_or(line);
                sending += &line.replace("\\n", "\n").replace("\\r", "\r").replace("\\0", "\0");
                if kind == "C:" {
                    sending += "\r\n";
                }
            } else {
                panic!("{line}");
            }
        }
        got += &server.send(sending.as_bytes()).replace(" \r\n", "\r\n");
        assert_eq!(got, expected);
        server
    }

    #[track_caller]
    pub(super) fn smtp(text: &str) -> Server {
        script(
            Dialect::Smtp,
            &format!("S: 220 mx.example ESMTP Postroom\nC: HELO c\nS: 250 mx.example\n{text}"),
        )
    }

    #[track_caller]
    pub(super) fn lmtp(text: &str) -> Server {
        script(Dialect::Lmtp, &format!("S: 220 mx.example LMTP Postroom\nC: LHLO c\nS: EHLO\n{text}"))
    }

    #[test]
    fn a_message_is_taken_in() {
        let server = script(
            Dialect::Smtp,
            "S: 220 mx.example ESMTP Postroom
        C: EHLO gateway.example
        S: EHLO
        C: MAIL FROM:<a@b.example> SIZE=20 BODY=8BITMIME ENVID=a+2Bb RET=FULL
        S: 250 2.1.0 Sender ok
        C: RCPT TO:<support@x.example> NOTIFY=SUCCESS ORCPT=rfc822;help@x.example
        S: 250 2.1.5 Recipient ok
        C: DATA
        S: 354 Go ahead, end with CR LF . CR LF
        C: Subject: hi
        C:
        C: ..dots
        C: .
        S: 250 2.0.0 Kept as id-support@x.example
        C: QUIT
        S: 221 2.0.0 Bye",
        );
        assert!(server.closed);
        let (envelope, content) = &server.delivered[0];
        assert_eq!(content, b"Subject: hi\r\n\r\n.dots\r\n");
        assert_eq!(
            envelope,
            &Envelope {
                recipients: vec![Address::parse("support@x.example").unwrap()],
                body_8bit: true,
                return_full: true,
                envelope_id: Some("a+b".into()),
                reports: vec![ReportWish {
                    success: true,
                    no_failure: true,
                    original: Some("rfc822;help@x.example".into())
                }],
                ..Envelope::new("gateway.example".into(), Protocol::Esmtp, Address::parse("a@b.example"))
            }
        );
    }

    #[test]
    fn everything_may_be_pipelined_and_what_follows_the_dot_is_commands() {
        let server = smtp(
            "C: MAIL FROM:<>
        C: RCPT TO:<a@x>
        C: RCPT TO:<unknown@x>
        C: RCPT TO:<b@x>
        C: DATA
        C: one
        C: .
        C: MAIL FROM:<>
        C: RCPT TO:<c@x>
        C: DATA
        C: two
        C: .
        C: QUIT
        C: NOOP
        S: 250 2.1.0 Sender ok
        S: 250 2.1.5 Recipient ok
        S: 550 5.1.1 No such recipient here
        S: 250 2.1.5 Recipient ok
        S: 354 Go ahead, end with CR LF . CR LF
        S: 250 2.0.0 Kept as id-a@x id-b@x
        S: 250 2.1.0 Sender ok
        S: 250 2.1.5 Recipient ok
        S: 354 Go ahead, end with CR LF . CR LF
        S: 250 2.0.0 Kept as id-c@x
        S: 221 2.0.0 Bye",
        );
        assert_eq!(server.delivered.len(), 2);
        assert_eq!(server.delivered[0].0.mail_from, None);
        assert_eq!(server.delivered[0].0.protocol, Protocol::Smtp);
        assert_eq!(server.delivered[1].1, b"two\r\n");
    }

    #[test]
    fn a_smuggled_message_stays_content_and_has_the_whole_refused() {
        let server = smtp(
            "C: MAIL FROM:<>
        S: 250 2.1.0 Sender ok
        C: RCPT TO:<a@x>
        S: 250 2.1.5 Recipient ok
        C: DATA
        S: 354 Go ahead, end with CR LF . CR LF
        C: one\\n.
        C: MAIL FROM:<admin@x>
        C: RCPT TO:<b@x>
        C: DATA
        C: .
        S: 554 5.6.0 A line of one dot begins or ends with a bare CR, LF or NUL (RFC 5321 section 4.1.1.4)
        C: NOOP
        S: 250 2.0.0 Ok",
        );
        assert!(server.delivered.is_empty());
    }

    #[test]
    fn commands_out_of_order_are_refused() {
        script(
            Dialect::Smtp,
            "S: 220 mx.example ESMTP Postroom
        C: MAIL FROM:<>
        S: 503 5.5.1 Say who you are first
        C: HELO c
        S: 250 mx.example
        C: RCPT TO:<a@x>
        S: 503 5.5.1 MAIL comes before RCPT
        C: DATA
        S: 503 5.5.1 MAIL and RCPT come before DATA
        C: MAIL FROM:<>
        S: 250 2.1.0 Sender ok
        C: MAIL FROM:<>
        S: 503 5.5.1 A transaction is open already
        C: RSET
        S: 250 2.0.0 Ok
        C: DATA
        S: 503 5.5.1 MAIL and RCPT come before DATA
        S: 421 4.7.0 mx.example Too many errors",
        );
    }

    #[test]
    fn a_new_hello_and_rset_end_the_transaction() {
        for command in ["HELO d", "RSET"] {
            let reply = if command == "RSET" { "250 2.0.0 Ok" } else { "250 mx.example" };
            smtp(&format!(
                "C: MAIL FROM:<>
            S: 250 2.1.0 Sender ok
            C: RCPT TO:<a@x>
            S: 250 2.1.5 Recipient ok
            C: {command}
            S: {reply}
            C: RCPT TO:<a@x>
            S: 503 5.5.1 MAIL comes before RCPT"
            ));
        }
    }

    #[test]
    fn recipients_are_answered_one_by_one() {
        let server = smtp(
            "C: MAIL FROM:<>
        S: 250 2.1.0 Sender ok
        C: DATA
        S: 503 5.5.1 MAIL and RCPT come before DATA
        C: RCPT TO:<unknown@x>
        S: 550 5.1.1 No such recipient here
        C: DATA
        S: 554 5.5.1 No valid recipients
        C: RCPT TO:<later@x>
        S: 451 4.3.0 The recipient can't be looked up now
        C: RCPT TO:<full@x>
        S: 452 4.3.1 There is no room for the message now
        C: RCPT TO:<ü@x>
        S: 553 5.6.7 An address in UTF-8 needs the SMTPUTF8 parameter of MAIL
        C: RCPT TO:<Postmaster>
        S: 250 2.1.5 Recipient ok
        C: RCPT TO:<a@x>
        S: 250 2.1.5 Recipient ok
        C: RCPT TO:<b@x>
        S: 250 2.1.5 Recipient ok
        C: RCPT TO:<c@x>
        S: 452 4.5.3 Too many recipients for one message, send the rest apart
        C: DATA
        C: x
        C: .
        S: 354 Go ahead, end with CR LF . CR LF
        S: 250 2.0.0 Kept as id-postmaster@mx.example id-a@x id-b@x",
        );
        assert_eq!(server.delivered[0].0.recipients.len(), 3);
    }

    #[test]
    fn utf_8_addresses_are_taken_with_smtputf8() {
        let server = smtp(
            "C: MAIL FROM:<jürgen@x> SMTPUTF8
        C: RCPT TO:<ü@x>
        C: DATA
        C: .
        S: 250 2.1.0 Sender ok
        S: 250 2.1.5 Recipient ok
        S: 354 Go ahead, end with CR LF . CR LF
        S: 250 2.0.0 Kept as id-?@x",
        );
        assert_eq!(server.delivered[0].0.protocol, Protocol::Utf8Smtp);
        assert!(server.delivered[0].0.smtputf8);
    }

    #[test]
    fn one_reply_stands_for_all_recipients() {
        for (recipients, reply) in [
            (["a", "defer"], "451 4.3.0 Later please"),
            (["refuse", "defer"], "451 4.3.0 Later please"),
            (["refuse", "nospace"], "452 4.3.1 There is no room for the message now"),
            (["a", "refuse"], "554 5.3.0 Not this one"),
            (["a", "told"], "250 2.0.0 Kept as id-a@x"),
            (["told", "defer"], "451 4.3.0 Later please"),
            (["told", "refuse"], "554 5.3.0 Not this one"),
        ] {
            smtp(&format!(
                "C: MAIL FROM:<>
            C: RCPT TO:<{}@x>
            C: RCPT TO:<{}@x>
            C: DATA
            C: .
            S: 250 2.1.0 Sender ok
            S: 250 2.1.5 Recipient ok
            S: 250 2.1.5 Recipient ok
            S: 354 Go ahead, end with CR LF . CR LF
            S: {reply}",
                recipients[0], recipients[1]
            ));
        }
    }

    #[test]
    fn a_message_without_answers_is_never_accepted() {
        let mut session = Session::new(settings(), Dialect::Smtp, None);
        session.receive(b"HELO c\r\nMAIL FROM:<>\r\nRCPT TO:<a@x>\r\nDATA\r\n.\r\n");
        while let Some(action) = session.next_action() {
            match action {
                Action::CheckRecipient(_) => session.recipient_answer(RecipientAnswer::Known),
                Action::Deliver { .. } => break,
                _ => {}
            }
        }
        session.delivery_answer(&[]);
        let reply = Reply::new(451, "4.3.0", "The message can't be kept now");
        assert_eq!(session.next_action(), Some(Action::Reply(reply)));
    }

    #[test]
    fn lmtp_answers_for_each_accepted_recipient() {
        let server = lmtp(
            "C: EHLO c
        S: 500 5.5.1 This is LMTP: say LHLO
        C: MAIL FROM:<a@b>
        C: RCPT TO:<unknown@x>
        C: DATA
        S: 250 2.1.0 Sender ok
        S: 550 5.1.1 No such recipient here
        S: 503 5.5.1 No valid recipients
        C: RCPT TO:<a@x>
        C: RCPT TO:<refuse@x>
        C: RCPT TO:<defer@x>
        C: DATA
        C: .
        S: 250 2.1.5 Recipient ok
        S: 250 2.1.5 Recipient ok
        S: 250 2.1.5 Recipient ok
        S: 354 Go ahead, end with CR LF . CR LF
        S: 250 2.0.0 Kept as id-a@x
        S: 554 5.3.0 Not this one
        S: 451 4.3.0 Later please
        C: MAIL FROM:<a@b>
        C: RCPT TO:<a@x>
        C: RCPT TO:<a@x>
        C: DATA
        C: x\\r.\\r
        C: .
        S: 250 2.1.0 Sender ok
        S: 250 2.1.5 Recipient ok
        S: 250 2.1.5 Recipient ok
        S: 354 Go ahead, end with CR LF . CR LF
        S: 554 5.6.0 A line of one dot begins or ends with a bare CR, LF or NUL (RFC 5321 section 4.1.1.4)
        S: 554 5.6.0 A line of one dot begins or ends with a bare CR, LF or NUL (RFC 5321 section 4.1.1.4)",
        );
        assert_eq!(server.delivered[0].0.protocol, Protocol::Lmtp);
    }

    #[test]
    fn what_is_too_large_is_refused_before_and_after_it_came() {
        let text = "S: 552 5.3.4 The message is larger than SIZE in the reply to EHLO says";
        smtp(&format!(
            "C: MAIL FROM:<> SIZE=101
        {text}
        C: MAIL FROM:<> SIZE=100
        S: 250 2.1.0 Sender ok
        C: RCPT TO:<a@x>
        S: 250 2.1.5 Recipient ok
        C: DATA
        S: 354 Go ahead, end with CR LF . CR LF
        C: {}
        C: .
        {text}",
            "x".repeat(99)
        ));
    }

    #[test]
    fn a_message_that_runs_in_circles_is_refused() {
        smtp(
            "C: MAIL FROM:<>
        C: RCPT TO:<a@x>
        C: DATA
        C: Received: 1
        C: RECEIVED: 2
        C:  Received: folded
        C: received: 3
        C: .
        S: 250 2.1.0 Sender ok
        S: 250 2.1.5 Recipient ok
        S: 354 Go ahead, end with CR LF . CR LF
        S: 554 5.4.6 Too many hops, the message runs in circles",
        );
        assert_eq!(hops(b"Received: 1\r\n\r\nReceived: body\r\n"), 1);
    }

    #[test]
    fn a_line_that_is_too_long_is_refused_however_it_came() {
        let limit = SMTP_COMMAND_BYTES_MAX;
        for (length, fits) in [(limit - 2, true), (limit - 1, false), (limit, false), (10 * limit, false)] {
            let line = format!("NOOP {}\r\nNOOP\r\n", "x".repeat(length - 5));
            let first = if fits { "250 2.0.0 Ok" } else { "500 5.5.2 Line too long" };
            for piece in [1, 7, limit, 100_000] {
                let mut server = Server::new(Dialect::Smtp);
                server.run();
                let got: String = line.as_bytes().chunks(piece).map(|piece| server.send(piece)).collect();
                assert_eq!(got, format!("{first}\r\n250 2.0.0 Ok\r\n"), "{length} in pieces of {piece}");
                assert!(server.session.input.len() <= limit + piece);
            }
        }
    }

    #[test]
    fn other_verbs_are_answered() {
        smtp(
            "C: VRFY someone
        S: 252 2.0.0 Not told here; RCPT says it
        C: HELP
        S: 214 2.0.0 EHLO HELO LHLO MAIL RCPT DATA BDAT RSET NOOP QUIT VRFY HELP; see RFC 5321, RFC 2033
        C: EXPN list
        S: 502 5.5.1 This command isn't offered here
        C: WHAT
        S: 500 5.5.1 Unknown command
        C: NOOP\\nMAIL FROM:<a@b>
        S: 500 5.5.2 A command ends in CR LF and has no other CR, LF or NUL
        C: LHLO c
        S: 500 5.5.1 This is SMTP: say EHLO",
        );
    }

    #[test]
    fn a_session_ends_after_many_transactions() {
        let turn = "C: MAIL FROM:<>\nS: 250 2.1.0 Sender ok\nC: RSET\nS: 250 2.0.0 Ok\n";
        let server = smtp(&format!(
            "{}C: MAIL FROM:<>\nS: 421 4.3.2 mx.example Many transactions were made, connect again",
            turn.repeat(4)
        ));
        assert!(server.closed);
    }

    #[test]
    fn a_message_without_room_is_refused_for_now() {
        let mut server = Server::new(Dialect::Smtp);
        server.run();
        server.send(b"HELO c\r\nMAIL FROM:<>\r\nRCPT TO:<a@x>\r\nDATA\r\nabc\r\n");
        assert!(server.session.receiving_message() && server.session.message_bytes() >= 5);
        server.session.refuse_for_room();
        assert_eq!(server.session.message_bytes(), 0);
        assert_eq!(server.send(b"def\r\n.\r\n"), "452 4.3.1 There is no room for the message now\r\n");
        server.session.close("4.4.2", "Too slow");
        assert_eq!(server.run(), "421 4.4.2 mx.example Too slow\r\n");
        assert_eq!(server.send(b"NOOP\r\n"), "");
    }

    /// Octets that reach deep into the machine more often than random ones do.
    fn hostile_input() -> impl Strategy<Value = Vec<u8>> {
        let pieces: Vec<&'static [u8]> = vec![
            b"EHLO c\r\n",
            b"LHLO c\r\n",
            b"MAIL FROM:<a@b>\r\n",
            b"MAIL FROM:<",
            b"RCPT TO:<a@x>\r\n",
            b"RCPT TO:<unknown@x>\r\n",
            b"RCPT TO:<defer@x>\r\n",
            b"DATA\r\n",
            b"BDAT 5\r\n",
            b"BDAT 3 LAST\r\n",
            b"BDAT 2000 LAST\r\n",
            b"STARTTLS\r\n",
            b"AUTH PLAIN\r\n",
            b"XCLIENT ADDR=192.0.2.1\r\n",
            b".\r\n",
            b"\r\n.\r\n",
            b"\r\n",
            b"\r",
            b"\n",
            b".",
            b"\0",
            b"RSET\r\n",
            b"NOOP\r\n",
            b"text text",
            b"\xff\xfe",
            b"QUIT\r\n",
            b"SIZE=5",
            &[b'x'; 3000],
        ];
        let piece = prop_oneof![
            9 => proptest::sample::select(pieces).prop_map(<[u8]>::to_vec),
            1 => proptest::collection::vec(any::<u8>(), 0..20),
        ];
        proptest::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn any_chunking_of_any_octets_gives_the_same_replies(
            input in hostile_input(),
            cuts in proptest::collection::vec(1usize..4000, 1..20),
            lmtp: bool,
        ) {
            let dialect = if lmtp { Dialect::Lmtp } else { Dialect::Smtp };
            let mut whole = Server::new(dialect);
            let expected = whole.run() + &whole.send(&input);
            let mut pieces = Server::new(dialect);
            let mut got = pieces.run();
            let (mut rest, mut cuts) = (&input[..], cuts.iter().cycle());
            while !rest.is_empty() {
                let (piece, after) = rest.split_at(rest.len().min(*cuts.next().unwrap_or(&1)));
                got += &pieces.send(piece);
                rest = after;
            }
            prop_assert_eq!(got, expected);
            prop_assert_eq!(pieces.delivered, whole.delivered);
            prop_assert_eq!(pieces.closed, whole.closed);
        }
    }
}
