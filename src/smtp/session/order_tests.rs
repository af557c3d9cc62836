//! Each command in each state: what it is answered, what state it leads to, and that a refused one changes
//! nothing (RFC 5321 §4.1.4; RFC 3030 §2, RFC 3207 §4, RFC 4954 §4, RFC 2033 §4).

use super::tests::Server;
use super::{Dialect, Rights};

/// The states that a client sees, each with the lines that lead there.
const STATES: [(&str, &str); 6] = [
    ("connected", ""),
    ("greeted", "EHLO c\r\n"),
    ("mail", "EHLO c\r\nMAIL FROM:<a@b>\r\n"),
    ("refused", "EHLO c\r\nMAIL FROM:<a@b>\r\nRCPT TO:<unknown@x>\r\n"),
    ("rcpt", "EHLO c\r\nMAIL FROM:<a@b>\r\nRCPT TO:<a@x>\r\n"),
    ("chunk", "EHLO c\r\nMAIL FROM:<a@b>\r\nRCPT TO:<a@x>\r\nBDAT 2\r\nhi"),
];

/// A command, and for each state in their order the code of the reply and the state that follows: `=` is the
/// same one.
const TABLE: [(&str, [(u16, &str); 6]); 27] = [
    // Whoever says who they are anew ends the transaction.
    ("EHLO c\r\n", [(250, "greeted"); 6]),
    ("HELO c\r\n", [(250, "greeted"); 6]),
    ("LHLO c\r\n", [(500, "="); 6]),
    ("EHLO\r\n", [(501, "="); 6]),
    ("MAIL FROM:<a@b>\r\n", [(503, "="), (250, "mail"), (503, "="), (503, "="), (503, "="), (503, "=")]),
    ("MAIL FROM:a@b\r\n", [(501, "="); 6]),
    (
        "MAIL FROM:<a@b> SIZE=1000\r\n",
        [(503, "="), (552, "="), (503, "="), (503, "="), (503, "="), (503, "=")],
    ),
    ("MAIL FROM:<a@b> WHAT=1\r\n", [(555, "="); 6]),
    ("RCPT TO:<a@x>\r\n", [(503, "="), (503, "="), (250, "rcpt"), (250, "rcpt"), (250, "rcpt"), (503, "=")]),
    (
        "RCPT TO:<unknown@x>\r\n",
        [(503, "="), (503, "="), (550, "refused"), (550, "refused"), (550, "rcpt"), (503, "=")],
    ),
    ("RCPT TO:\r\n", [(501, "="); 6]),
    ("DATA\r\n", [(503, "="), (503, "="), (503, "="), (554, "="), (354, "content"), (503, "=")]),
    ("DATA now\r\n", [(501, "="); 6]),
    ("BDAT 2\r\nhi", [(503, "="), (503, "="), (503, "="), (554, "="), (250, "chunk"), (250, "chunk")]),
    (
        "BDAT 2 LAST\r\nhi",
        [(503, "="), (503, "="), (503, "="), (554, "="), (250, "greeted"), (250, "greeted")],
    ),
    ("BDAT 0 LAST\r\n", [(503, "="), (503, "="), (503, "="), (554, "="), (250, "greeted"), (250, "greeted")]),
    ("BDAT\r\n", [(501, "="); 6]),
    (
        "RSET\r\n",
        [
            (250, "connected"),
            (250, "greeted"),
            (250, "greeted"),
            (250, "greeted"),
            (250, "greeted"),
            (250, "greeted"),
        ],
    ),
    ("RSET all\r\n", [(501, "="); 6]),
    ("NOOP\r\n", [(250, "="); 6]),
    ("NOOP really\r\n", [(250, "="); 6]),
    ("VRFY a\r\n", [(252, "="); 6]),
    ("EXPN all\r\n", [(502, "="); 6]),
    ("HELP\r\n", [(214, "="); 6]),
    ("WHAT\r\n", [(500, "="); 6]),
    ("AUTH PLAIN\r\n", [(502, "="), (538, "="), (503, "="), (503, "="), (503, "="), (503, "=")]),
    ("XCLIENT ADDR=192.0.2.1\r\n", [(550, "="); 6]),
];

fn in_state(state: &str) -> Server {
    let (_, lines) = STATES.iter().find(|(name, _)| *name == state).unwrap_or_else(|| panic!("{state}"));
    let mut server = Server::new(Dialect::Smtp);
    server.session = server.session.with_rights(Rights { starttls: true, login: true, ..Rights::default() });
    server.run();
    server.send(lines.as_bytes());
    server
}

/// What tells one state from every other: the replies to two rows of commands, each in a session of its own.
fn probed(session: impl Fn() -> Server) -> String {
    // RSET at the end tells whether somebody said who they are.
    let rows: [&[u8]; 2] = [
        b"RCPT TO:<unknown@x>\r\nMAIL FROM:<>\r\nRSET\r\nMAIL FROM:<>\r\n",
        b"BDAT 0\r\nMAIL FROM:<>\r\nRSET\r\nMAIL FROM:<>\r\n",
    ];
    let replies = rows.map(|row| {
        let mut server = session();
        // Not so many mistakes that the session ends.
        server.session.errors = 0;
        server.send(row)
    });
    replies.concat()
}

/// A session in that state, in which something more was said.
fn after(state: &str, command: &str) -> Server {
    let mut server = in_state(state);
    server.send(command.as_bytes());
    server
}

fn code(replies: &str) -> u16 {
    let last = replies.lines().last().unwrap_or_default();
    last.get(..3).and_then(|code| code.parse().ok()).unwrap_or_else(|| panic!("{replies:?}"))
}

#[test]
fn each_command_in_each_state_has_its_reply_and_a_refused_one_changes_nothing() {
    let mut wrong = Vec::new();
    for (command, cells) in TABLE {
        for ((state, _), (expected, next)) in STATES.iter().zip(cells) {
            let mut server = in_state(state);
            let replied = code(&server.send(command.as_bytes()));
            if replied != expected {
                wrong.push(format!("{command:?} in {state}: {replied} in place of {expected}"));
            }
            if next == "content" {
                assert_eq!(server.send(b"MAIL FROM:<x@y>\r\nQUIT\r\n"), "", "content is no command");
                assert!(server.send(b".\r\n").starts_with("250 2.0.0 Kept as id-a@x"));
                assert_eq!(server.delivered[0].1, b"MAIL FROM:<x@y>\r\nQUIT\r\n");
                continue;
            }
            let next = if next == "=" { state } else { next };
            let (came, expected) = (probed(|| after(state, command)), probed(|| in_state(next)));
            if came != expected {
                wrong.push(format!(
                    "{command:?} in {state} doesn't lead to {next}:\n{came}in place of\n{expected}"
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn the_states_can_be_told_apart() {
    for (one, _) in STATES {
        for (other, _) in STATES.iter().filter(|(other, _)| *other != one) {
            assert_ne!(probed(|| in_state(one)), probed(|| in_state(other)), "{one} and {other}");
        }
    }
}

#[test]
fn quit_ends_every_state_and_starttls_is_for_those_without_a_transaction() {
    for (state, _) in STATES {
        let mut server = in_state(state);
        assert_eq!(server.send(b"QUIT\r\n"), "221 2.0.0 Bye\r\n", "{state}");
        assert!(server.closed && server.delivered.is_empty(), "{state}");
        let mut server = in_state(state);
        let (expected, next) = match state {
            // RFC 3207 §4.2: whoever said who they are says it again.
            "connected" | "greeted" => (220, "connected"),
            _ => (503, state),
        };
        assert_eq!(code(&server.send(b"STARTTLS\r\n")), expected, "{state}");
        assert_eq!(probed(|| after(state, "STARTTLS\r\n")), probed(|| in_state(next)), "{state}");
    }
}

#[test]
fn over_tls_a_client_logs_in_once_and_outside_of_a_transaction() {
    let rights = Rights { encrypted: true, login: true, must_login: true, ..Rights::default() };
    let mut server = Server::new(Dialect::Smtp);
    server.session = server.session.with_rights(rights);
    server.run();
    for (line, expected) in [
        ("AUTH PLAIN", 502),
        ("EHLO c", 250),
        ("MAIL FROM:<a@b>", 530),
        ("AUTH PLAIN", 334),
        // Whatever comes now is the response.
        ("RSET", 501),
        ("AUTH PLAIN AGFubgBzZWNyZXQ=", 235),
        ("AUTH PLAIN AGFubgBzZWNyZXQ=", 503),
        ("MAIL FROM:<a@b>", 250),
        ("AUTH PLAIN", 503),
    ] {
        assert_eq!(code(&server.send(format!("{line}\r\n").as_bytes())), expected, "{line}");
        server.session.errors = 0;
    }
}
