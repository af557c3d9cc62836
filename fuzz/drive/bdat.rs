//! A message sent by BDAT (RFC 3030): what is delivered is what was sent, however it is divided into chunks
//! and however the octets arrive; or it is refused whole.
//!
//! The input's first octets say how: how many of them are sizes of chunks, then those; the rest is content.

use postroom::smtp::session::{Action, DeliveryAnswer, Dialect, RecipientAnswer, Session, SessionSettings};
use std::sync::Arc;

const HELLO: &[u8] = b"EHLO c\r\nMAIL FROM:<a@b.example> BODY=BINARYMIME\r\nRCPT TO:<a@x.example>\r\n";

pub fn drive(octets: &[u8]) {
    let Some((count, rest)) = octets.split_first() else { return };
    let (sizes, content) = rest.split_at(rest.len().min(usize::from(*count % 16)));
    let mut wire = HELLO.to_vec();
    let mut left = content;
    for size in sizes {
        let (chunk, after) = left.split_at(left.len().min(usize::from(*size)));
        wire.extend_from_slice(format!("BDAT {}\r\n", chunk.len()).as_bytes());
        wire.extend_from_slice(chunk);
        left = after;
    }
    wire.extend_from_slice(format!("bdat {} last\r\n", left.len()).as_bytes());
    wire.extend_from_slice(left);
    wire.extend_from_slice(b"QUIT\r\n");
    let whole = run(&mut std::iter::once(&wire[..]));
    assert_eq!(whole, run(&mut wire.chunks(1)), "what happens depends on how the octets arrive");
    let uneven = usize::from(*count).max(2);
    assert_eq!(whole, run(&mut wire.chunks(uneven)), "what happens depends on how the octets arrive");
    let (delivered, replies) = whole;
    match delivered {
        Some(delivered) => assert!(delivered == content, "something else was delivered"),
        // Of octets that aren't looked at only the header can be a reason: it ran in circles.
        None => assert!(replies.iter().any(|reply| reply.starts_with("554 5.4.6 ")), "{replies:?}"),
    }
    // The greeting, EHLO, MAIL, RCPT, each chunk and QUIT have one reply each: no octet of content was
    // taken for a command.
    assert_eq!(replies.len(), 4 + sizes.len() + 2, "{replies:?}");
    assert!(replies.last().is_some_and(|reply| reply.starts_with("221 ")), "{replies:?}");
}

/// What was delivered, and the first line of each reply.
fn run(pieces: &mut dyn Iterator<Item = &[u8]>) -> (Option<Vec<u8>>, Vec<String>) {
    let settings = Arc::new(SessionSettings::new("mx.harbour.example"));
    let mut session = Session::new(settings, Dialect::Smtp, None);
    let (mut delivered, mut replies) = (None, Vec::new());
    loop {
        while let Some(action) = session.next_action() {
            match action {
                Action::Reply(reply) => {
                    let mut line = Vec::new();
                    reply.write_to(&mut line);
                    replies
                        .push(String::from_utf8_lossy(&line).lines().next().unwrap_or_default().to_owned());
                }
                Action::CheckRecipient(_) => session.recipient_answer(RecipientAnswer::Known),
                Action::Deliver { content, .. } => {
                    delivered = Some(content);
                    session.delivery_answer(&[DeliveryAnswer::Accepted { id: "m1".into() }]);
                }
                Action::Close => return (delivered, replies),
                other => panic!("nobody asked for {other:?}"),
            }
        }
        let Some(piece) = pieces.next() else { return (delivered, replies) };
        session.receive(piece);
    }
}
