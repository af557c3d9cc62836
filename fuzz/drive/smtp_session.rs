//! Any octets as an SMTP session: no panic, and the same actions however the octets are cut.

use postroom::smtp::session::{
    Action, DeliveryAnswer, Dialect, RecipientAnswer, Rights, Session, SessionSettings,
};
use std::sync::Arc;

pub fn drive(octets: &[u8]) {
    for dialect in [Dialect::Smtp, Dialect::Lmtp] {
        let whole = actions(dialect, &mut std::iter::once(octets));
        let cut = actions(dialect, &mut octets.chunks(1));
        assert_eq!(whole, cut, "the actions depend on how the octets arrive");
    }
}

fn actions(dialect: Dialect, pieces: &mut dyn Iterator<Item = &[u8]>) -> Vec<String> {
    let settings = Arc::new(SessionSettings::new("mx.harbour.example"));
    let rights = Rights { encrypted: true, login: true, xclient: true, paced: true, ..Rights::default() };
    let mut session = Session::new(settings, dialect, None).with_rights(rights);
    let mut seen = Vec::new();
    loop {
        while let Some(action) = session.next_action() {
            seen.push(format!("{action:?}"));
            match action {
                Action::Reply(_) => {}
                Action::CheckRecipient(_) => session.recipient_answer(RecipientAnswer::Known),
                Action::Deliver { envelope, .. } => {
                    let accepted = DeliveryAnswer::Accepted { id: "m1".into() };
                    session.delivery_answer(&vec![accepted; envelope.recipients.len()]);
                }
                Action::CheckPace(_) => session.pace_answer(true),
                Action::StartTls => session.tls_ready(),
                Action::Login { .. } => session.login_answer(Ok(())),
                Action::Close => return seen,
            }
        }
        let Some(piece) = pieces.next() else { return seen };
        session.receive(piece);
    }
}
