//! One message from us to the relay, without sockets: replies in, orders out.
//!
//! lettre's connection can't give what the outbound queue needs: it takes any 2xx to DATA for
//! consent, refuses a reply without text (RFC 5321 §4.2 allows it) or not in UTF-8, adds an empty
//! line to each message, and hides whether the final dot had gone out when a connection broke.
//! So the dialogue is here, and lettre does the SASL mechanisms. TLS is done by tokio-rustls in
//! `wire/smtp_out.rs`, since lettre's own stream type is deprecated for others' use.
//!
//! Invariants:
//! - The final dot is ordered only after the caller has said that the attempt is on record.
//! - `Accepted` only after a 2xx to the final dot, `Unknown` only when the dot may have arrived
//!   and no reply told what became of the message.
//! - Trouble before MAIL is the relay's or the configuration's, never the message's: `TryLater`.
//! - No CR or LF from an address or a parameter ever reaches a command line.
//!
//! Deliberately absent: PIPELINING (one round trip more for each recipient is no cost towards a
//! relay nearby), CHUNKING. A client is about one message; the next one in the same connection has
//! a client of its own, which resumes.

mod outcome;

use self::outcome::{ours, verdict_of};
use super::reply::RelayReply;
use crate::mail::seven_bit::NoSevenBit;
use crate::types::Address;
use lettre::transport::smtp::authentication::{Credentials, Mechanism};

pub use self::outcome::{Outcome, RecipientOutcome, Verdict};

/// What is sent, beside the message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RelayEnvelope {
    /// The reverse-path; `None` is `<>`.
    pub mail_from: Option<Address>,
    /// Parameters of MAIL, not encoded (RFC 8621 §7). SIZE, BODY and SMTPUTF8 are added as needed.
    pub params: Vec<(String, Option<String>)>,
    pub rcpts: Vec<RelayRecipient>,
}

/// One recipient with its parameters of RCPT, not encoded.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RelayRecipient {
    pub address: Address,
    pub params: Vec<(String, Option<String>)>,
}

/// How the client introduces itself, and what it demands of the relay.
#[derive(Clone, Debug)]
pub struct Introduction {
    /// Our name in EHLO.
    pub hello: String,
    /// The connection must be upgraded by STARTTLS (RFC 3207) before anything is sent.
    pub starttls: bool,
    pub credentials: Option<Credentials>,
}

/// What the caller tells.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// A whole reply came.
    Reply(RelayReply),
    /// The order to upgrade was carried out.
    TlsReady,
    /// What became of the order to convert.
    Converted(Result<Vec<u8>, NoSevenBit>),
    /// The attempt is on record: the message may be sent.
    OnRecord,
    /// The connection broke, timed out or spoke nonsense; or the order couldn't be carried out.
    Lost(String),
}

/// What the caller is to do.
#[derive(PartialEq, Eq, Debug)]
pub enum Order {
    /// Send this, then wait for a reply.
    Command(Vec<u8>),
    /// Upgrade the connection to TLS.
    UpgradeTls,
    /// Write the message in 7-bit octets ([`crate::mail::seven_bit`]), which takes a while for a large one.
    Convert,
    /// Put the attempt on record.
    Record,
    /// Send the message through a [`super::data::DotStuffer`], then wait for a reply. When the connection is
    /// lost before the final dot was handed to it, tell [`Client::lost_before_dot`].
    SendMessage,
    /// It is over. The caller may say QUIT.
    Finish(Outcome),
}

/// Which reply is awaited; the caller chooses its patience by it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Greeting,
    Ehlo {
        encrypted: bool,
        fallback: bool,
    },
    StartTls,
    Upgrading,
    Auth(Mechanism, u8),
    Converting,
    Mail,
    Rcpt(usize),
    Data,
    Recording,
    Message,
    /// Over; tells whether QUIT would be understood.
    Done {
        quit: bool,
    },
}

/// The dialogue about one message.
#[derive(Debug)]
pub struct Client<'m> {
    introduction: Introduction,
    raw: &'m [u8],
    /// The message in 7-bit octets, where the relay takes no others.
    seven_bit: Option<Vec<u8>>,
    envelope: RelayEnvelope,
    needs: Needs,
    offers: Vec<String>,
    state: State,
    answers: Vec<RelayReply>,
    /// Set where the connection or the relay failed, whatever it was doing.
    relay_failed: bool,
    /// The dialogue ended where another message may begin.
    in_step: bool,
}

/// What the message demands of the relay.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Needs {
    size_bytes: usize,
    body_8bit: bool,
    smtputf8: bool,
}

impl<'m> Client<'m> {
    /// A client that waits for the greeting.
    pub fn new(introduction: Introduction, envelope: RelayEnvelope, raw: &'m [u8]) -> Self {
        let header = header_of(raw);
        let needs = Needs {
            size_bytes: raw.len(),
            body_8bit: !raw.is_ascii(),
            // RFC 6531 §3.4: the sender's address in UTF-8, or a header in UTF-8 (RFC 6532). A recipient's address is
            // that recipient's matter.
            smtputf8: envelope.mail_from.iter().any(Address::needs_smtputf8) || !header.is_ascii(),
        };
        Self {
            introduction,
            raw,
            seven_bit: None,
            envelope,
            needs,
            offers: Vec::new(),
            state: State::Greeting,
            answers: Vec::new(),
            relay_failed: false,
            in_step: false,
        }
    }

    /// Begins at once over a connection that took a message before and has answered RSET since;
    /// `offers` is what [`Client::leftover`] gave then.
    pub fn resume(&mut self, offers: Vec<String>) -> Order {
        self.offers = offers;
        self.mail()
    }

    /// What is to be sent on [`Order::SendMessage`].
    pub fn content(&self) -> &[u8] {
        self.seven_bit.as_deref().unwrap_or(self.raw)
    }

    /// After [`Order::Finish`]: what the relay offers, where the connection can take another message.
    pub fn leftover(&self) -> Option<Vec<String>> {
        self.in_step.then(|| self.offers.clone())
    }

    /// True while the reply to DATA is awaited, which has a timeout of its own.
    pub fn awaits_data_reply(&self) -> bool {
        self.state == State::Data
    }

    /// Whether QUIT would be understood as such, after [`Order::Finish`]: not where the relay
    /// waits for the message or the connection is lost.
    pub fn may_say_quit(&self) -> bool {
        self.state == State::Done { quit: true }
    }

    /// Takes what happened and says what to do next.
    pub fn next(&mut self, event: Event) -> Order {
        match (self.state, event) {
            (_, Event::Lost(reason)) => Order::Finish(self.lost(&reason)),
            (State::Upgrading, Event::TlsReady) => self.ehlo(true),
            (State::Recording, Event::OnRecord) => {
                self.state = State::Message;
                Order::SendMessage
            }
            (State::Converting, Event::Converted(done)) => self.converted(done),
            (_, Event::Reply(reply)) => self.reply(reply),
            (_, Event::TlsReady | Event::Converted(_) | Event::OnRecord) => {
                self.finish(Verdict::TryLater, ours(451, "4.3.0", "events out of order"))
            }
        }
    }

    /// The connection is lost: the outcome. [`Event::Lost`] is for where the dialogue can still
    /// choose.
    pub fn lost(&mut self, reason: &str) -> Outcome {
        self.in_step = false;
        // Where the message can't be converted, or the attempt not be recorded, it is we that failed.
        self.relay_failed = !matches!(self.state, State::Converting | State::Recording | State::Message);
        if self.state == State::Message {
            let text = format!("no reply after the message was sent: {reason}");
            return self.outcome(Verdict::Unknown, ours(451, "4.4.2", &text));
        }
        self.outcome(Verdict::TryLater, ours(451, "4.4.2", reason))
    }

    /// The connection was lost while the message was being sent and before its final dot: the
    /// relay can't have taken it (RFC 5321 §4.1.1.4). A reply that came early says why.
    pub fn lost_before_dot(&mut self, early: Option<RelayReply>, reason: &str) -> Outcome {
        match early.filter(|reply| (400..600).contains(&reply.code)) {
            Some(reply) => self.outcome(verdict_of(reply.code), reply),
            None => {
                self.relay_failed = true;
                self.outcome(Verdict::TryLater, ours(451, "4.4.2", reason))
            }
        }
    }

    fn reply(&mut self, reply: RelayReply) -> Order {
        let positive = (200..300).contains(&reply.code);
        // RFC 5321 §3.8: 421 to anything says that the relay closes.
        if reply.code == 421 && self.state != State::Message {
            (self.relay_failed, self.in_step) = (true, false);
            return self.finish(Verdict::TryLater, reply);
        }
        // Any reply that the grammar has room for leaves both sides waiting for MAIL.
        self.in_step = match self.state {
            State::Mail | State::Rcpt(_) => true,
            State::Data => (400..600).contains(&reply.code),
            State::Message => reply.code != 421 && (positive || (400..600).contains(&reply.code)),
            _ => false,
        };
        match self.state {
            State::Greeting if positive => self.ehlo(false),
            State::Ehlo { encrypted, .. } if positive => self.greeted(encrypted, &reply),
            // RFC 5321 §3.2: a relay that doesn't know EHLO is asked with HELO.
            State::Ehlo { encrypted, fallback: false } if (500..=504).contains(&reply.code) => {
                self.state = State::Ehlo { encrypted, fallback: true };
                Order::Command(format!("HELO {}\r\n", self.introduction.hello).into_bytes())
            }
            State::StartTls if positive => {
                self.state = State::Upgrading;
                Order::UpgradeTls
            }
            State::Auth(..) if positive => self.mail(),
            State::Auth(mechanism, rounds) if reply.code == 334 && rounds > 0 => {
                self.challenge(mechanism, rounds, &reply)
            }
            State::Greeting | State::Ehlo { .. } | State::StartTls | State::Auth(..) => {
                self.finish(Verdict::TryLater, reply)
            }
            State::Mail if positive => self.rcpt(0),
            // RFC 4954 §6: 530 asks for AUTH, which is the configuration's fault.
            State::Mail if reply.code == 530 => {
                self.relay_failed = true;
                self.finish(Verdict::TryLater, reply)
            }
            State::Mail => self.finish(verdict_of(reply.code), reply),
            State::Rcpt(number) => {
                self.answers.push(reply);
                self.rcpt(number + 1)
            }
            State::Data if reply.code == 354 => {
                self.state = State::Recording;
                Order::Record
            }
            // A 2xx here isn't consent: nothing was sent, so nothing was taken.
            State::Data if positive => {
                self.finish(Verdict::TryLater, ours(451, "4.5.0", "the relay answered DATA without 354"))
            }
            State::Data => self.finish(verdict_of(reply.code), reply),
            State::Message if positive => self.finish(Verdict::Accepted, reply),
            State::Message if (400..600).contains(&reply.code) => self.finish(verdict_of(reply.code), reply),
            State::Message => self.finish(Verdict::Unknown, reply),
            State::Upgrading | State::Converting | State::Recording | State::Done { .. } => {
                self.finish(Verdict::TryLater, ours(451, "4.5.0", "the relay spoke out of turn"))
            }
        }
    }

    fn ehlo(&mut self, encrypted: bool) -> Order {
        // RFC 3207 §4.2: what was offered before TLS is forgotten.
        self.offers.clear();
        self.state = State::Ehlo { encrypted, fallback: false };
        Order::Command(format!("EHLO {}\r\n", self.introduction.hello).into_bytes())
    }

    fn greeted(&mut self, encrypted: bool, reply: &RelayReply) -> Order {
        let fallback = matches!(self.state, State::Ehlo { fallback: true, .. });
        if !fallback {
            self.offers =
                reply.text.split('\n').skip(1).map(|line| line.trim().to_ascii_uppercase()).collect();
        }
        if self.introduction.starttls && !encrypted {
            if !self.offered("STARTTLS") {
                let text = "the relay doesn't offer STARTTLS, and the configuration demands it";
                return self.finish(Verdict::TryLater, ours(451, "4.7.0", text));
            }
            self.state = State::StartTls;
            return Order::Command(b"STARTTLS\r\n".to_vec());
        }
        match self.introduction.credentials.clone() {
            Some(credentials) => self.auth(&credentials),
            None => self.mail(),
        }
    }

    fn auth(&mut self, credentials: &Credentials) -> Order {
        let offered = self.offers.iter().find_map(|line| line.strip_prefix("AUTH "));
        let has = |name: &str| offered.is_some_and(|line| line.split_whitespace().any(|word| word == name));
        let mechanism = match (has("PLAIN"), has("LOGIN")) {
            (true, _) => Mechanism::Plain,
            (false, true) => Mechanism::Login,
            (false, false) => {
                let text = "the relay offers neither AUTH PLAIN nor AUTH LOGIN";
                return self.finish(Verdict::TryLater, ours(451, "4.7.0", text));
            }
        };
        self.state = State::Auth(mechanism, 3);
        let command = match mechanism.response(credentials, None) {
            Ok(initial) if mechanism.supports_initial_response() => {
                format!("AUTH {mechanism} {}\r\n", base64(&initial))
            }
            _ => format!("AUTH {mechanism}\r\n"),
        };
        Order::Command(command.into_bytes())
    }

    fn challenge(&mut self, mechanism: Mechanism, rounds: u8, reply: &RelayReply) -> Order {
        use ::base64::Engine;
        let challenge = ::base64::engine::general_purpose::STANDARD
            .decode(reply.text.trim())
            .ok()
            .and_then(|octets| String::from_utf8(octets).ok());
        let answer = match (&self.introduction.credentials, challenge) {
            (Some(credentials), Some(challenge)) => mechanism.response(credentials, Some(&challenge)).ok(),
            _ => None,
        };
        match answer {
            Some(answer) => {
                self.state = State::Auth(mechanism, rounds - 1);
                Order::Command(format!("{}\r\n", base64(&answer)).into_bytes())
            }
            None => {
                let text = "the relay's challenge in AUTH can't be answered";
                self.finish(Verdict::TryLater, ours(451, "4.7.0", text))
            }
        }
    }

    fn mail(&mut self) -> Order {
        // RFC 6152 §3: to a relay without 8BITMIME the message goes in 7-bit octets, or not at all.
        if self.needs.body_8bit && !self.needs.smtputf8 && !self.offered("8BITMIME") {
            self.state = State::Converting;
            return Order::Convert;
        }
        match self.mail_command() {
            Ok(command) => {
                self.state = State::Mail;
                Order::Command(command.into_bytes())
            }
            Err(refusal) => self.finish(Verdict::Refused, refusal),
        }
    }

    fn converted(&mut self, done: Result<Vec<u8>, NoSevenBit>) -> Order {
        match done {
            Ok(written) => {
                self.needs.size_bytes = written.len();
                self.needs.body_8bit = false;
                self.seven_bit = Some(written);
                self.mail()
            }
            Err(why) => {
                // RFC 6531 §3.2 has a code of its own for a header.
                let code = if why == NoSevenBit::Header { "5.6.9" } else { "5.6.3" };
                let text = format!("the relay lacks 8BITMIME, and the message can't be converted: {why}");
                self.finish(Verdict::Refused, ours(554, code, &text))
            }
        }
    }

    /// MAIL with what the message needs, or why this relay can't carry it.
    fn mail_command(&self) -> Result<String, RelayReply> {
        let path = self.envelope.mail_from.as_ref().map_or("", Address::as_str);
        let mut command = format!("MAIL FROM:<{path}>");
        if let Some(offer) = self.offers.iter().find(|line| *line == "SIZE" || line.starts_with("SIZE ")) {
            let limit = offer.strip_prefix("SIZE ").and_then(|digits| digits.trim().parse::<u64>().ok());
            if limit.is_some_and(|limit| limit > 0 && self.needs.size_bytes as u64 > limit) {
                return Err(ours(
                    552,
                    "5.3.4",
                    &format!("the message is larger than the relay takes ({offer})"),
                ));
            }
            command += &format!(" SIZE={}", self.needs.size_bytes);
        }
        let asked = |name: &str| self.envelope.params.iter().any(|(key, _)| key.eq_ignore_ascii_case(name));
        if self.needs.body_8bit && self.offered("8BITMIME") {
            command += " BODY=8BITMIME";
        }
        let to_utf8 = || self.envelope.rcpts.iter().any(|rcpt| rcpt.address.needs_smtputf8());
        if self.offered("SMTPUTF8") {
            if self.needs.smtputf8 || asked("SMTPUTF8") || to_utf8() {
                command += " SMTPUTF8";
            }
        } else if self.needs.smtputf8 || asked("SMTPUTF8") {
            let text = "the sender's address or the header is in UTF-8, the relay lacks SMTPUTF8";
            return Err(ours(553, "5.6.7", text));
        }
        let ours_already = ["SIZE", "BODY", "SMTPUTF8"];
        let others = self
            .envelope
            .params
            .iter()
            .filter(|(key, _)| !ours_already.iter().any(|name| key.eq_ignore_ascii_case(name)));
        self.push_parameters(&mut command, others)?;
        command += "\r\n";
        Ok(command)
    }

    fn push_parameters<'a>(
        &self,
        command: &mut String,
        parameters: impl Iterator<Item = &'a (String, Option<String>)>,
    ) -> Result<(), RelayReply> {
        for (name, value) in parameters {
            let key = name.to_ascii_uppercase();
            let extension = extension_of(&key);
            // RFC 3461 §5.2.2: to a relay without DSN the message goes without its parameters.
            if extension == Some(DSN) && !self.offered(DSN) {
                continue;
            }
            if !extension.is_some_and(|extension| self.offered(extension)) {
                return Err(ours(555, "5.5.4", &format!("the relay doesn't offer the parameter {key}")));
            }
            *command += &format!(" {key}");
            if let Some(value) = value {
                let encoded = encoded_value(&key, value).ok_or_else(|| {
                    ours(501, "5.5.4", &format!("the parameter {key} has a value that can't be sent"))
                })?;
                *command += &format!("={encoded}");
            }
        }
        Ok(())
    }

    /// RCPT for the recipient of this number, or DATA after the last one.
    fn rcpt(&mut self, number: usize) -> Order {
        let Some(rcpt) = self.envelope.rcpts.get(number) else { return self.data() };
        let mut command = format!("RCPT TO:<{}>", rcpt.address);
        let written = if rcpt.address.needs_smtputf8() && !self.offered("SMTPUTF8") {
            Err(ours(553, "5.6.7", "the address is in UTF-8, the relay lacks SMTPUTF8"))
        } else {
            self.push_parameters(&mut command, rcpt.params.iter())
        };
        match written {
            Ok(()) => {
                self.state = State::Rcpt(number);
                Order::Command((command + "\r\n").into_bytes())
            }
            Err(refusal) => {
                self.answers.push(refusal);
                self.rcpt(number + 1)
            }
        }
    }

    fn data(&mut self) -> Order {
        if self.answers.iter().any(|reply| (200..300).contains(&reply.code)) {
            self.state = State::Data;
            return Order::Command(b"DATA\r\n".to_vec());
        }
        let worth_a_try = self.answers.iter().find(|reply| verdict_of(reply.code) == Verdict::TryLater);
        let reply = worth_a_try.or(self.answers.first()).cloned();
        match reply {
            Some(reply) => self.finish(verdict_of(reply.code), reply),
            None => self.finish(Verdict::Refused, ours(554, "5.5.1", "the message has no recipients")),
        }
    }

    fn finish(&mut self, verdict: Verdict, reply: RelayReply) -> Order {
        Order::Finish(self.outcome(verdict, reply))
    }

    /// The end: recipients whose RCPT was accepted share the fate of the message, the others keep
    /// their own answer; those never asked share it too.
    fn outcome(&mut self, verdict: Verdict, reply: RelayReply) -> Outcome {
        let began = matches!(
            self.state,
            State::Converting
                | State::Mail
                | State::Rcpt(_)
                | State::Data
                | State::Recording
                | State::Message
        );
        let relay_failed = verdict == Verdict::TryLater && (self.relay_failed || !began);
        self.state = State::Done { quit: self.state != State::Recording };
        let answers = std::mem::take(&mut self.answers);
        let recipients = self
            .envelope
            .rcpts
            .iter()
            .enumerate()
            .map(|(number, rcpt)| match answers.get(number) {
                Some(own) if !(200..300).contains(&own.code) => RecipientOutcome {
                    address: rcpt.address.clone(),
                    verdict: verdict_of(own.code),
                    reply: own.clone(),
                },
                _ => RecipientOutcome { address: rcpt.address.clone(), verdict, reply: reply.clone() },
            })
            .collect();
        Outcome { verdict, reply, recipients, relay_failed, dsn: self.offered(DSN) }
    }

    fn offered(&self, extension: &str) -> bool {
        self.offers.iter().any(|line| line.split(' ').next() == Some(extension))
    }
}

/// Everything before the first empty line.
fn header_of(raw: &[u8]) -> &[u8] {
    let end =
        memchr::memmem::find(raw, b"\r\n\r\n").into_iter().chain(memchr::memmem::find(raw, b"\n\n")).min();
    end.and_then(|end| raw.get(..end)).unwrap_or(raw)
}

fn base64(text: &str) -> String {
    use ::base64::Engine;
    ::base64::engine::general_purpose::STANDARD.encode(text)
}

/// RFC 3461.
const DSN: &str = "DSN";

/// Which extension a parameter belongs to (the IANA registry of MAIL and RCPT parameters).
fn extension_of(parameter: &str) -> Option<&'static str> {
    Some(match parameter {
        "RET" | "ENVID" | "NOTIFY" | "ORCPT" => DSN,
        "HOLDFOR" | "HOLDUNTIL" => "FUTURERELEASE",
        "BY" => "DELIVERBY",
        "MT-PRIORITY" => "MT-PRIORITY",
        "REQUIRETLS" => "REQUIRETLS",
        _ => return None,
    })
}

/// The value as it goes over the wire: xtext (RFC 3461 §4) where the parameter is defined so,
/// since JMAP carries it decoded; `None` where the grammar of RFC 5321 §4.1.2 has no room for it.
fn encoded_value(key: &str, value: &str) -> Option<String> {
    let encoded = match key {
        "ENVID" => xtext(value),
        "ORCPT" => {
            let (kind, address) = value.split_once(';')?;
            format!("{kind};{}", xtext(address))
        }
        _ => value.to_owned(),
    };
    let fits = !encoded.is_empty() && encoded.bytes().all(|octet| octet.is_ascii_graphic() && octet != b'=');
    fits.then_some(encoded)
}

fn xtext(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for octet in value.bytes() {
        if octet.is_ascii_graphic() && octet != b'+' && octet != b'=' {
            out.push(char::from(octet));
        } else {
            out += &format!("+{octet:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::outbound;
    use crate::mail::seven_bit;
    use crate::smtp::reply::ReplyReader;

    fn address(text: &str) -> Address {
        Address::parse(text).expect("a valid address")
    }

    fn envelope(from: &str, rcpts: &[&str]) -> RelayEnvelope {
        let rcpt = |text: &&str| RelayRecipient { address: address(text), params: Vec::new() };
        RelayEnvelope {
            mail_from: Address::parse(from),
            params: Vec::new(),
            rcpts: rcpts.iter().map(rcpt).collect(),
        }
    }

    fn introduction() -> Introduction {
        Introduction { hello: "us.example".into(), starttls: false, credentials: None }
    }

    /// Plays a script: `S:` a line of the relay, `C:` what we must send, `-` another order or event.
    #[track_caller]
    fn play(mut client: Client<'_>, text: &str) -> Option<Outcome> {
        let mut reader = ReplyReader::default();
        let mut order = None;
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            if let Some(line) = line.strip_prefix("S: ") {
                if let Some(reply) = reader.receive(format!("{line}\r\n").as_bytes()).expect("a reply") {
                    order = Some(client.next(Event::Reply(reply)));
                }
            } else if let Some(line) = line.strip_prefix("C: ") {
                assert_eq!(order.take(), Some(Order::Command(format!("{line}\r\n").into_bytes())));
            } else {
                match line {
                    "- upgrade" => {
                        assert_eq!(order.take(), Some(Order::UpgradeTls));
                        order = Some(client.next(Event::TlsReady));
                    }
                    "- convert" => {
                        assert_eq!(order.take(), Some(Order::Convert));
                        order = Some(client.next(Event::Converted(seven_bit::convert(client.raw))));
                    }
                    "- record" => {
                        assert_eq!(order.take(), Some(Order::Record));
                        order = Some(client.next(Event::OnRecord));
                    }
                    "- message" => assert_eq!(order.take(), Some(Order::SendMessage)),
                    "- lost" => order = Some(client.next(Event::Lost("gone".into()))),
                    "- lost before dot" => order = Some(Order::Finish(client.lost_before_dot(None, "gone"))),
                    other => panic!("{other}"),
                }
            }
        }
        match order {
            Some(Order::Finish(outcome)) => Some(outcome),
            None => None,
            other => panic!("{other:?}"),
        }
    }

    #[track_caller]
    fn outcome(text: &str) -> (Verdict, String, Vec<(Verdict, String)>) {
        let client = Client::new(introduction(), envelope("a@us.example", &["b@x", "c@y"]), b"x\r\n");
        let outcome = play(client, text).expect("an outcome");
        let each = outcome.recipients.iter().map(|one| (one.verdict, one.reply.smtp_reply())).collect();
        (outcome.verdict, outcome.reply.smtp_reply(), each)
    }

    const UP_TO_DATA: &str = "S: 220 relay
        C: EHLO us.example
        S: 250 relay
        C: MAIL FROM:<a@us.example>
        S: 250 2.1.0 ok
        C: RCPT TO:<b@x>
        S: 250 2.1.5 ok
        C: RCPT TO:<c@y>
        S: 550-5.1.1 nobody
        S: 550 5.1.1 of that name
        C: DATA
        ";

    #[test]
    fn each_recipient_has_its_own_answer() {
        use Verdict::*;
        let unknown = (Refused, "550 5.1.1 nobody of that name".to_owned());
        let end = |end: &str| outcome(&format!("{UP_TO_DATA}{end}"));
        let all = |verdict, reply: &str| {
            (verdict, reply.to_owned(), vec![(verdict, reply.to_owned()), unknown.clone()])
        };
        let sent = "S: 354 go\n- record\n- message\n";
        assert_eq!(end(&format!("{sent}S: 250 2.0.0 queued")), all(Accepted, "250 2.0.0 queued"));
        assert_eq!(end(&format!("{sent}S: 250")), all(Accepted, "250"));
        assert_eq!(end(&format!("{sent}S: 554 5.7.1 spam")), all(Refused, "554 5.7.1 spam"));
        assert_eq!(end(&format!("{sent}S: 421 4.3.2 bye")), all(TryLater, "421 4.3.2 bye"));
        assert_eq!(end("S: 554 5.7.1 no"), all(Refused, "554 5.7.1 no"));
        assert_eq!(end("S: 250 fine").0, TryLater);
        assert_eq!(end("- lost").0, TryLater);
        assert_eq!(end("S: 354 go\n- lost").0, TryLater);
        assert_eq!(end(&format!("{sent}- lost before dot")).0, TryLater);
        let handover = |text: &str| {
            let client = Client::new(introduction(), envelope("a@us.example", &["b@x", "c@y"]), b"x\r\n");
            let handover = play(client, &format!("{UP_TO_DATA}{sent}{text}")).expect("an outcome").handover();
            handover.replies.iter().map(|reply| reply.verdict).collect::<Vec<_>>()
        };
        assert_eq!(handover("S: 250"), [outbound::Verdict::Accepted, outbound::Verdict::Refused]);
        assert_eq!(handover("- lost"), [outbound::Verdict::Unknown, outbound::Verdict::Refused]);
        let lost = end(&format!("{sent}- lost"));
        assert_eq!((lost.0, lost.2[0].0, lost.2[1].0), (Unknown, Unknown, Refused));
    }

    #[test]
    fn an_address_in_utf8_fails_alone_where_the_relay_cannot_carry_it() {
        let ehlo = "S: 220 relay\nC: EHLO us.example\n";
        let client = || Client::new(introduction(), envelope("a@us.example", &["\u{fc}@x", "b@x"]), b"x\r\n");
        let with = format!("{ehlo}S: 250-relay\nS: 250 SMTPUTF8\nC: MAIL FROM:<a@us.example> SMTPUTF8");
        assert_eq!(play(client(), &with), None);
        let without = format!(
            "{ehlo}S: 250 relay\nC: MAIL FROM:<a@us.example>\nS: 250 ok\nC: RCPT TO:<b@x>\nS: 250 ok\nC: DATA\n\
             S: 354 go\n- record\n- message\nS: 250 2.0.0 queued"
        );
        let outcome = play(client(), &without).expect("an outcome");
        let told: Vec<_> = outcome.recipients.iter().map(|one| (one.verdict, one.reply.code)).collect();
        assert_eq!(told, [(Verdict::Refused, 553), (Verdict::Accepted, 250)]);
    }

    #[test]
    fn without_an_accepted_recipient_nothing_is_sent() {
        let start =
            "S: 220 relay\nC: EHLO us.example\nS: 250 relay\nC: MAIL FROM:<a@us.example>\nS: 250 ok\n";
        let both = |first: &str, second: &str| {
            outcome(&format!("{start}C: RCPT TO:<b@x>\nS: {first}\nC: RCPT TO:<c@y>\nS: {second}"))
        };
        assert_eq!(both("550 no", "450 busy").0, Verdict::TryLater);
        assert_eq!(both("550 no", "551 no").0, Verdict::Refused);
    }

    #[test]
    fn trouble_before_mail_is_never_the_message_s() {
        for text in [
            "S: 554 no service",
            "S: 220 relay\nC: EHLO us.example\nS: 550 go away",
            "S: 220 relay\nC: EHLO us.example\nS: 502 what\nC: HELO us.example\nS: 502 what",
            "- lost",
        ] {
            assert_eq!(outcome(text).0, Verdict::TryLater, "{text}");
        }
    }

    #[test]
    fn what_the_message_needs_is_asked_for_or_refused_precisely() {
        let ehlo = "S: 220 relay\nC: EHLO us.example\n";
        let utf8 =
            || Client::new(introduction(), envelope("\u{fc}@us.example", &["b@x"]), "\u{fc}\r\n".as_bytes());
        let plain = || Client::new(introduction(), envelope("", &["b@x"]), b"12345\r\n");
        assert_eq!(
            play(
                utf8(),
                &format!(
                    "{ehlo}S: 250-relay\nS: 250-size 100\nS: 250-8bitmime\nS: 250 SMTPUTF8\nC: MAIL FROM:<\u{fc}@us.example> SIZE=4 BODY=8BITMIME SMTPUTF8"
                )
            ),
            None
        );
        for raw in ["a: b\r\n\r\n\u{fc}", "a: b\n\n\u{fc}"] {
            let client = Client::new(introduction(), envelope("", &["b@x"]), raw.as_bytes());
            let sent = format!("{ehlo}S: 250-relay\nS: 250 8BITMIME\nC: MAIL FROM:<> BODY=8BITMIME");
            assert_eq!(play(client, &sent), None);
        }
        assert_eq!(play(plain(), &format!("{ehlo}S: 250-relay\nS: 250 SIZE\nC: MAIL FROM:<> SIZE=7")), None);
        let made = |raw: &'static str| Client::new(introduction(), envelope("", &["b@x"]), raw.as_bytes());
        let signed = made("Content-Type: multipart/signed; boundary=b\r\n\r\n--b\r\n\r\n\u{fc}\r\n--b--\r\n");
        let inner = made("Content-Type: message/rfc822\r\n\r\nSubject: \u{fc}\r\n\r\nx");
        // A relay has no part in it when making these fails.
        let mut failed = made("a: b\r\n\r\n\u{fc}abcde");
        assert_eq!(failed.resume(Vec::new()), Order::Convert);
        let Order::Finish(outcome) = failed.next(Event::Lost("gone".into())) else { panic!("it goes on") };
        assert_eq!((outcome.verdict, outcome.relay_failed), (Verdict::TryLater, false));
        // Without 8BITMIME it goes in 7-bit octets, and its size is theirs.
        let mut text = made("a: b\r\n\r\n\u{fc}abcde");
        assert_eq!(text.resume(vec!["SIZE".into()]), Order::Convert);
        text.next(Event::Converted(seven_bit::convert(text.raw)));
        let seven =
            b"a: b\r\nMIME-Version: 1.0\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n=C3=BCabcde";
        assert_eq!((text.content(), text.needs.size_bytes), (&seven[..], seven.len()));
        for (client, offers, reply) in [
            (utf8(), "S: 250 relay", "553 5.6.7"),
            (signed, "S: 250 relay\n- convert", "554 5.6.3"),
            (inner, "S: 250 relay\n- convert", "554 5.6.9"),
            (utf8(), "S: 250-relay\nS: 250 8BITMIME", "553 5.6.7"),
            (plain(), "S: 250-relay\nS: 250 SIZE 6", "552 5.3.4"),
        ] {
            let outcome = play(client, &format!("{ehlo}{offers}")).expect("an outcome");
            assert_eq!(outcome.verdict, Verdict::Refused);
            assert!(outcome.reply.smtp_reply().starts_with(reply), "{outcome:?}");
        }
    }

    #[test]
    fn parameters_are_encoded_and_sent_only_where_offered() {
        let params = vec![
            ("envid".to_owned(), Some("a+b c=d".to_owned())),
            ("RET".to_owned(), Some("HDRS".to_owned())),
        ];
        let client = || {
            Client::new(
                introduction(),
                RelayEnvelope { params: params.clone(), ..envelope("a@b", &["c@d"]) },
                b"",
            )
        };
        let ehlo = "S: 220 relay\nC: EHLO us.example\n";
        let offered =
            format!("{ehlo}S: 250-relay\nS: 250 DSN\nC: MAIL FROM:<a@b> ENVID=a+2Bb+20c+3Dd RET=HDRS");
        assert_eq!(play(client(), &offered), None);
        let left_out = format!("{ehlo}S: 250 relay\nC: MAIL FROM:<a@b>");
        assert_eq!(play(client(), &left_out), None);
        let by =
            RelayEnvelope { params: vec![("BY".into(), Some("9;R".into()))], ..envelope("a@b", &["c@d"]) };
        let other = Client::new(introduction(), by, b"");
        let refused = play(other, &format!("{ehlo}S: 250 relay")).expect("an outcome");
        assert_eq!(
            refused.reply.smtp_reply(),
            "555 5.5.4 Postroom: the relay doesn't offer the parameter BY"
        );
        assert_eq!(encoded_value("RET", "HDRS\r\nDATA"), None);
        assert_eq!(encoded_value("ORCPT", "rfc822;a+b@c"), Some("rfc822;a+2Bb@c".to_owned()));
    }

    #[test]
    fn starttls_comes_first_and_what_was_offered_before_it_is_forgotten() {
        let credentials = Some(Credentials::new("u".into(), "p".into()));
        let client = || {
            let introduction =
                Introduction { starttls: true, credentials: credentials.clone(), ..introduction() };
            Client::new(introduction, envelope("", &["b@x"]), b"")
        };
        let start = "S: 220 relay\nC: EHLO us.example\nS: 250-relay\nS: 250-AUTH PLAIN\nS: 250 STARTTLS
            C: STARTTLS\nS: 220 go\n- upgrade\nC: EHLO us.example\n";
        let plain =
            "S: 250-relay\nS: 250 AUTH LOGIN PLAIN\nC: AUTH PLAIN AHUAcA==\nS: 235 ok\nC: MAIL FROM:<>";
        let login = "S: 250-relay\nS: 250 AUTH LOGIN\nC: AUTH LOGIN\nS: 334 VXNlcm5hbWU6\nC: dQ==
            S: 334 UGFzc3dvcmQ6\nC: cA==\nS: 235 ok\nC: MAIL FROM:<>";
        assert_eq!(play(client(), &format!("{start}{plain}")), None);
        assert_eq!(play(client(), &format!("{start}{login}")), None);
        let none = play(client(), &format!("{start}S: 250 relay")).expect("an outcome");
        assert_eq!((none.verdict, none.reply.code), (Verdict::TryLater, 451));
        let wrong = play(
            client(),
            &format!("{start}S: 250-relay\nS: 250 AUTH PLAIN\nC: AUTH PLAIN AHUAcA==\nS: 535 no"),
        );
        assert_eq!(wrong.map(|outcome| outcome.verdict), Some(Verdict::TryLater));
        let bare = play(client(), "S: 220 relay\nC: EHLO us.example\nS: 250 relay").expect("an outcome");
        assert_eq!(bare.verdict, Verdict::TryLater);
    }
}
