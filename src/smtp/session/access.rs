//! Who the client is and what it may do: STARTTLS (RFC 3207), AUTH (RFC 4954), and XCLIENT, by which
//! a trusted proxy tells whom it speaks for.
//!
//! Invariants: what came before the handshake is forgotten after it, and nothing may follow
//! STARTTLS before it; a password is never asked for in the clear.

use super::{Action, Reply, Session, State};
use crate::auth::LoginError;
use crate::mail::envelope::Envelope;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use std::net::IpAddr;

/// What a connection may do, as the caller knows its peer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Rights {
    /// The connection is encrypted from its first octet.
    pub encrypted: bool,
    /// STARTTLS is offered.
    pub starttls: bool,
    /// AUTH is offered, once the connection is encrypted.
    pub login: bool,
    /// A certificate of the client's will do in place of a login.
    pub certificates: bool,
    /// Nothing is taken from this peer unless it logs in.
    pub must_login: bool,
    /// The peer may say whom it speaks for.
    pub xclient: bool,
    /// The peer is a gateway of ours.
    pub gateway: bool,
    /// How fast messages come is asked for at each MAIL.
    pub paced: bool,
}

/// Whom a proxy speaks for.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Forwarded {
    pub(super) address: Option<IpAddr>,
    pub(super) helo: Option<String>,
}

/// A line of AUTH that answers a challenge; base64 of a name and a password.
const LOGIN_BYTES_MAX: usize = 1024;

impl Session {
    /// Offers what this peer may use. To be called before the first action is asked for.
    pub fn with_rights(mut self, rights: Rights) -> Self {
        self.rights = rights;
        self
    }

    /// The lines of the reply to EHLO that depend on the peer and the state of the connection.
    pub(super) fn offers(&self) -> Vec<String> {
        let mut offers = Vec::new();
        if self.rights.starttls && !self.rights.encrypted {
            offers.push("STARTTLS".to_owned());
        }
        if self.rights.login && self.rights.encrypted && self.login.is_none() {
            offers.push("AUTH PLAIN".to_owned());
        }
        if self.rights.xclient {
            offers.push(format!("XCLIENT {}", super::command::XCLIENT_ATTRIBUTES.join(" ")));
        }
        offers
    }

    /// Why this peer may deliver nothing yet.
    pub(super) fn must_login_first(&self) -> Option<Reply> {
        if !self.rights.must_login || self.login.is_some() {
            return None;
        }
        Some(match (self.rights.login, self.rights.encrypted) {
            (true, true) => Reply::new(530, "5.7.0", "Log in first"),
            (true, false) if self.rights.starttls => {
                Reply::new(530, "5.7.0", "Say STARTTLS first, then log in")
            }
            (false, false) if self.rights.starttls && self.rights.certificates => {
                Reply::new(530, "5.7.0", "Say STARTTLS first, with a certificate of yours")
            }
            _ => Reply::new(554, "5.7.1", "Your address may not deliver here"),
        })
    }

    pub(super) fn starttls(&mut self) {
        if !self.rights.starttls || self.rights.encrypted {
            return self.mistake(Reply::new(502, "5.5.1", "STARTTLS isn't offered here"));
        }
        if self.in_transaction() {
            return self.out_of_order("STARTTLS comes before MAIL");
        }
        // RFC 3207 §4.2, §6: what follows in the clear is somebody else's word in the client's mouth.
        if self.read < self.input.len() {
            self.reply(Reply::new(554, "5.5.1", "Nothing may follow STARTTLS before the handshake"));
            return self.end();
        }
        self.reply(Reply::new(220, "2.0.0", "Begin the handshake"));
        self.pending.push_back(Action::StartTls);
        self.state = State::Encrypting;
    }

    /// The handshake that [`Action::StartTls`] asked for has succeeded.
    pub fn tls_ready(&mut self) {
        if matches!(self.state, State::Encrypting) {
            self.state = State::Idle;
            self.rights.encrypted = true;
            // RFC 3207 §4.2: nothing that was said before counts.
            self.hello = None;
            self.input = Vec::new();
            self.read = 0;
        }
    }

    /// The client has shown a certificate that lets it deliver.
    pub fn vouched(&mut self) {
        self.rights.must_login = false;
    }

    pub(super) fn auth(&mut self, mechanism: &str, initial: Option<&str>) {
        if !self.rights.login || self.hello.is_none() {
            return self.mistake(Reply::new(502, "5.5.1", "AUTH isn't offered here"));
        }
        if self.login.is_some() || self.in_transaction() {
            return self.out_of_order("AUTH comes once, before MAIL");
        }
        if !self.rights.encrypted {
            return self.mistake(Reply::new(538, "5.7.11", "A password needs STARTTLS first"));
        }
        if mechanism != "PLAIN" {
            return self.mistake(Reply::new(504, "5.5.4", "The mechanism is PLAIN"));
        }
        match initial {
            Some(initial) => self.login_response(initial.as_bytes()),
            None => {
                self.state = State::LoggingIn;
                // RFC 4954 §4: an empty challenge.
                self.reply(Reply::lines(334, vec![String::new()]));
            }
        }
    }

    /// RFC 4616: authorisation identity, name and password, divided by NUL.
    pub(super) fn login_response(&mut self, line: &[u8]) {
        self.state = State::Idle;
        if line == b"*" {
            return self.mistake(Reply::new(501, "5.0.0", "The login was given up"));
        }
        let decoded = Some(line).filter(|line| line.len() <= LOGIN_BYTES_MAX);
        let decoded = decoded.and_then(|line| BASE64_STANDARD.decode(line).ok());
        let text = decoded.and_then(|octets| String::from_utf8(octets).ok()).unwrap_or_default();
        let pieces: Vec<&str> = text.split('\0').collect();
        match pieces[..] {
            [asked, name, password] if (asked.is_empty() || asked == name) && !name.is_empty() => {
                self.state = State::Verifying(name.to_owned());
                let (name, password) = (name.to_owned(), password.to_owned());
                self.pending.push_back(Action::Login { name, password });
            }
            _ => self.mistake(Reply::new(501, "5.5.2", "That is no response of PLAIN")),
        }
    }

    /// The answer to [`Action::Login`].
    pub fn login_answer(&mut self, answer: Result<(), LoginError>) {
        let State::Verifying(name) = self.take_state() else { return };
        match answer {
            Ok(()) => {
                self.login = Some(name);
                self.reply(Reply::new(235, "2.7.0", "Logged in"));
            }
            Err(LoginError::Refused) => {
                self.mistake(Reply::new(535, "5.7.8", "The name or the password is wrong"));
            }
            // RFC 4954 §6: the password may be right, and nobody looked.
            Err(LoginError::TooSoon { .. }) => {
                self.mistake(Reply::new(454, "4.7.0", "Too many failed logins, try again later"));
            }
        }
    }

    /// For whom the client speaks, as it said by XCLIENT.
    pub fn speaks_for(&self) -> Option<IpAddr> {
        self.forwarded.as_ref()?.address
    }

    /// The answer to [`Action::CheckPace`].
    pub fn pace_answer(&mut self, keeps_it: bool) {
        let State::Pacing(envelope) = self.take_state() else { return };
        if keeps_it {
            return self.opened(envelope);
        }
        self.reply(Reply::new(450, "4.7.1", "You send faster than you may, try again in a minute"));
    }

    /// The transaction has begun.
    pub(super) fn opened(&mut self, envelope: Envelope) {
        self.state = State::Open(envelope, false);
        self.reply(Reply::new(250, "2.1.0", "Sender ok"));
    }

    pub(super) fn xclient(&mut self, attributes: Vec<(String, Option<String>)>) {
        if !self.rights.xclient {
            return self.mistake(Reply::new(550, "5.7.0", "You may not say whom you speak for"));
        }
        if self.in_transaction() {
            return self.out_of_order("XCLIENT comes before MAIL");
        }
        let mut told = Forwarded::default();
        for (name, value) in attributes {
            let Some(value) = value else { continue };
            match name.as_str() {
                "ADDR" => match address(&value) {
                    Some(address) => told.address = Some(address),
                    None => return self.mistake(Reply::new(501, "5.5.4", "ADDR is no address")),
                },
                "HELO" if super::command::is_helo_name(&value) => told.helo = Some(value),
                _ => {}
            }
        }
        self.forwarded = Some(told);
        // The session begins anew, greeting included.
        self.hello = None;
        self.state = State::Idle;
        self.pending.push_back(Action::Reply(self.greeting()));
    }
}

/// `192.0.2.1` or `IPV6:2001:db8::1`.
fn address(text: &str) -> Option<IpAddr> {
    let six = text.split_at_checked(5).filter(|(tag, _)| tag.eq_ignore_ascii_case("IPV6:"));
    six.map_or(text, |(_, address)| address).parse().ok()
}

#[cfg(test)]
mod tests {
    use super::super::tests::script_with;
    use super::Rights;

    fn rights() -> Rights {
        Rights { starttls: true, login: true, must_login: true, ..Rights::default() }
    }

    #[test]
    fn a_peer_that_must_log_in_does_so_over_tls() {
        let server = script_with(
            rights(),
            "S: 220 mx.example ESMTP Postroom
            C: EHLO c
            S: EHLO STARTTLS
            C: MAIL FROM:<>
            S: 530 5.7.0 Say STARTTLS first, then log in
            C: AUTH PLAIN AGFubgBzZWNyZXQ=
            S: 538 5.7.11 A password needs STARTTLS first
            C: STARTTLS
            S: 220 2.0.0 Begin the handshake
            C: MAIL FROM:<>
            S: 503 5.5.1 Say who you are first
            C: EHLO c
            S: EHLO AUTH PLAIN
            C: AUTH PLAIN AGFubgB3cm9uZw==
            S: 535 5.7.8 The name or the password is wrong
            C: AUTH PLAIN AGFubgBzZWNyZXQ=
            S: 235 2.7.0 Logged in
            C: MAIL FROM:<>
            S: 250 2.1.0 Sender ok
            C: RCPT TO:<a@x>
            S: 250 2.1.5 Recipient ok
            C: BDAT 0 LAST
            S: 250 2.0.0 Kept as id-a@x",
        );
        let (envelope, _) = &server.delivered[0];
        assert_eq!((envelope.with().as_str(), envelope.login.as_deref()), ("ESMTPSA", Some("ann")));
    }

    #[test]
    fn a_login_that_nobody_looked_at_may_be_tried_later() {
        let text = "S: 220 mx.example ESMTP Postroom
            C: EHLO c
            S: EHLO AUTH PLAIN
            C: AUTH PLAIN AGFubgBhZ2Fpbg==
            S: 454 4.7.0 Too many failed logins, try again later
            C: AUTH PLAIN AGFubgBzZWNyZXQ=
            S: 235 2.7.0 Logged in";
        script_with(Rights { encrypted: true, ..rights() }, text);
    }

    #[test]
    fn what_a_client_says_to_a_challenge_is_a_login_or_a_mistake() {
        let encrypted = Rights { encrypted: true, ..rights() };
        for (line, reply) in [
            ("AGFubgBzZWNyZXQ=", "235 2.7.0 Logged in"),
            ("YW5uAGFubgBzZWNyZXQ=", "235 2.7.0 Logged in"),
            ("Ym9iAGFubgBzZWNyZXQ=", "501 5.5.2 That is no response of PLAIN"),
            ("AABzZWNyZXQ=", "501 5.5.2 That is no response of PLAIN"),
            ("not base64", "501 5.5.2 That is no response of PLAIN"),
            ("", "501 5.5.2 That is no response of PLAIN"),
            ("*", "501 5.0.0 The login was given up"),
        ] {
            script_with(
                encrypted,
                &format!(
                    "S: 220 mx.example ESMTP Postroom
                    C: EHLO c
                    S: EHLO AUTH PLAIN
                    C: AUTH LOGIN
                    S: 504 5.5.4 The mechanism is PLAIN
                    C: AUTH PLAIN
                    S: 334 
                    C: {line}
                    S: {reply}"
                ),
            );
        }
    }

    #[test]
    fn who_sends_faster_than_they_may_is_told_so_at_mail_by_the_address_that_is_spoken_for() {
        let server = script_with(
            Rights { paced: true, xclient: true, ..Rights::default() },
            "S: 220 mx.example ESMTP Postroom
            C: HELO c
            S: 250 mx.example
            C: MAIL FROM:<a@b>
            C: RCPT TO:<a@x>
            S: 250 2.1.0 Sender ok
            S: 250 2.1.5 Recipient ok
            C: RSET
            S: 250 2.0.0 Ok
            C: XCLIENT ADDR=192.0.2.1
            S: 220 mx.example ESMTP Postroom
            C: HELO c
            S: 250 mx.example
            C: MAIL FROM:<a@b> SIZE=101
            S: 552 5.3.4 The message is larger than SIZE in the reply to EHLO says
            C: MAIL FROM:<a@b>
            S: 250 2.1.0 Sender ok
            C: RSET
            S: 250 2.0.0 Ok
            C: MAIL FROM:<a@b>
            C: RCPT TO:<a@x>
            S: 450 4.7.1 You send faster than you may, try again in a minute
            S: 503 5.5.1 MAIL comes before RCPT",
        );
        let told = Some("192.0.2.1".parse().unwrap());
        assert_eq!(server.paced, [None, told, told]);
    }

    #[test]
    fn nothing_may_follow_starttls_before_the_handshake() {
        let server = script_with(
            rights(),
            "S: 220 mx.example ESMTP Postroom
            C: EHLO c
            S: EHLO STARTTLS
            C: STARTTLS
            C: MAIL FROM:<injected@x>
            S: 554 5.5.1 Nothing may follow STARTTLS before the handshake",
        );
        assert!(server.closed && server.delivered.is_empty());
    }

    #[test]
    fn a_peer_that_may_neither_deliver_nor_log_in_is_told_so() {
        script_with(
            Rights { must_login: true, ..Rights::default() },
            "S: 220 mx.example ESMTP Postroom
            C: HELO c
            S: 250 mx.example
            C: MAIL FROM:<>
            S: 554 5.7.1 Your address may not deliver here
            C: AUTH PLAIN x
            S: 502 5.5.1 AUTH isn't offered here
            C: XCLIENT ADDR=192.0.2.1
            S: 550 5.7.0 You may not say whom you speak for",
        );
    }

    #[test]
    fn a_proxy_says_whom_it_speaks_for() {
        let server = script_with(
            Rights { xclient: true, ..Rights::default() },
            "S: 220 mx.example ESMTP Postroom
            C: EHLO proxy
            S: EHLO XCLIENT NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT
            C: XCLIENT ADDR=nowhere
            S: 501 5.5.4 ADDR is no address
            C: XCLIENT ADDR=IPV6:2001:db8::7 HELO=client.example NAME=[UNAVAILABLE]
            S: 220 mx.example ESMTP Postroom
            C: EHLO proxy
            S: EHLO XCLIENT NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT
            C: MAIL FROM:<>
            C: XCLIENT ADDR=192.0.2.1
            C: RCPT TO:<a@x>
            C: BDAT 0 LAST
            S: 250 2.1.0 Sender ok
            S: 503 5.5.1 XCLIENT comes before MAIL
            S: 250 2.1.5 Recipient ok
            S: 250 2.0.0 Kept as id-a@x",
        );
        let (envelope, _) = &server.delivered[0];
        assert_eq!(envelope.peer, Some("2001:db8::7".parse().unwrap()));
        assert_eq!(envelope.helo, "client.example");
    }
}
