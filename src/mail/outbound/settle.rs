//! What a relay's word, or its silence, means for each recipient.

use super::{Finished, RelayReply, Verdict};
use crate::store::rows::submission::*;
use crate::types::limits;

/// What a "try later" means by now.
#[derive(Clone, Copy)]
struct Fate {
    /// Nothing is tried any more.
    given_up: bool,
    /// The relay may have taken it.
    unknown: bool,
}

/// Takes down what was said of each recipient that waits, in their order. `over`: nothing is tried any more.
pub(super) fn settle_waiting<'r>(
    row: &mut SubmissionRow,
    note: &mut QueueMarkRow,
    replies: impl IntoIterator<Item = &'r RelayReply>,
    over: bool,
    finished: &mut Finished,
) {
    let of_each = if note.perhaps.is_empty() { note.uncertain } else { 0 };
    note.perhaps.resize(row.recipients.len(), of_each);
    let all = row.recipients.iter_mut().zip(&mut note.perhaps);
    for ((recipient, perhaps), reply) in all.filter(|(recipient, _)| !recipient.settled).zip(replies) {
        let is_unknown = reply.verdict == Verdict::Unknown;
        *perhaps += u32::from(is_unknown);
        finished.uncertain |= is_unknown;
        let fate = Fate {
            given_up: over || *perhaps > limits::UNCERTAIN_RESENDS_MAX,
            // A relay that couldn't be asked again, or that knows it for a repetition, may have taken it the time
            // before.
            unknown: *perhaps > 0,
        };
        settle(recipient, reply, fate, finished);
        if recipient.settled {
            *perhaps = 0;
        }
    }
    note.uncertain += u32::from(finished.uncertain);
    if !note.is_unsure() {
        // What the relay said of whoever waits is certain: any other may be asked next.
        (note.uncertain, note.handed_to) = (0, None);
        note.perhaps.clear();
    }
}

fn settle(recipient: &mut Recipient, reply: &RelayReply, fate: Fate, finished: &mut Finished) {
    if reply.verdict == Verdict::Accepted && recipient.delivered != Delivered::Queued {
        // A report was quicker than the relay's own word, and says more.
        recipient.settled = true;
        return;
    }
    recipient.smtp_reply = Some(reply.text.clone());
    match reply.verdict {
        Verdict::Accepted => {
            recipient.settled = true;
            // RFC 8621 §7: the relay's "yes" is not yet a delivery.
            recipient.delivered = Delivered::Unknown;
        }
        Verdict::TryLater | Verdict::Unknown if !fate.given_up => {}
        Verdict::TryLater | Verdict::Unknown | Verdict::Refused if fate.unknown => {
            recipient.settled = true;
            recipient.delivered = Delivered::Unknown;
            finished.unsure.push(recipient.address.clone());
        }
        Verdict::TryLater | Verdict::Unknown | Verdict::Refused => {
            recipient.settled = true;
            recipient.delivered = Delivered::No;
            finished.failed.push(recipient.address.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::*;

    fn recipient(address: &str) -> Recipient {
        Recipient {
            address: Address::parse(address).unwrap(),
            parameters: Vec::new(),
            smtp_reply: None,
            delivered: Delivered::Queued,
            settled: false,
        }
    }

    fn submission(recipients: Vec<Recipient>) -> SubmissionRow {
        SubmissionRow {
            identity: IdentityId(1),
            email: EmailId(1),
            thread: ThreadId(1),
            blob: BlobHash([0; 32]),
            mail_from: None,
            mail_from_parameters: Vec::new(),
            recipients,
            send_at: UtcDate(0),
            undo_status: UndoStatus::Final,
            author: PrincipalId(1),
            conversation: None,
            created_at: Millis(0),
            relay: RelayState::Handing { since: Millis(0) },
            attempts: 1,
            idempotency_key: None,
        }
    }

    #[test]
    fn what_nobody_knows_is_known_of_each_recipient_apart() {
        use Verdict::*;
        let said = |verdicts: &[Verdict]| -> Vec<RelayReply> {
            verdicts.iter().map(|verdict| RelayReply { verdict: *verdict, text: "4xx".into() }).collect()
        };
        let mut row = submission(["a@b", "c@d"].map(recipient).to_vec());
        let mut note = QueueMarkRow { handed_to: Some("one".into()), ..QueueMarkRow::default() };
        let mut step = |verdicts: &[Verdict], over| {
            let mut finished = Finished::default();
            settle_waiting(&mut row, &mut note, &said(verdicts), over, &mut finished);
            (finished, note.clone())
        };
        // The relay put the second one off before the message went out, and the connection broke then.
        let (finished, noted) = step(&[Unknown, TryLater], false);
        assert!(finished.uncertain && noted.is_unsure());
        assert_eq!((noted.uncertain, noted.perhaps, noted.handed_to), (1, vec![1, 0], Some("one".into())));
        // It takes the first one: of the second it never had anything, and any relay may be asked.
        let (finished, noted) = step(&[Accepted, TryLater], false);
        assert_eq!((finished.uncertain, noted), (false, QueueMarkRow::default()));
        let (finished, _) = step(&[TryLater], true);
        assert_eq!((finished.failed.len(), finished.unsure.len()), (1, 0));
    }

    #[test]
    fn what_was_noted_before_recipients_were_told_apart_is_of_all_that_wait() {
        let mut row = submission(["a@b", "c@d"].map(recipient).to_vec());
        let mut note =
            QueueMarkRow { uncertain: 1, handed_to: Some("one".into()), ..QueueMarkRow::default() };
        assert!(note.is_unsure());
        let replies = [Verdict::Accepted, Verdict::Unknown];
        let replies = replies.map(|verdict| RelayReply { verdict, text: "4xx".into() });
        let mut finished = Finished::default();
        settle_waiting(&mut row, &mut note, &replies, false, &mut finished);
        // A second time: it is left to people.
        assert_eq!(finished.unsure, [Address::parse("c@d").unwrap()]);
        assert_eq!(note, QueueMarkRow::default());
    }

    #[test]
    fn what_the_relay_says_decides_by_what_may_still_be_tried() {
        let said = |verdict| RelayReply { verdict, text: "451 x".to_owned() };
        let new = || recipient("a@b");
        use Verdict::*;
        // Verdict, given up, unknown: settled, delivered, (failed, unsure).
        for (verdict, given_up, unknown, expected) in [
            (Accepted, false, false, (true, Delivered::Unknown, (0, 0))),
            (TryLater, false, false, (false, Delivered::Queued, (0, 0))),
            (TryLater, false, true, (false, Delivered::Queued, (0, 0))),
            (TryLater, true, false, (true, Delivered::No, (1, 0))),
            (TryLater, true, true, (true, Delivered::Unknown, (0, 1))),
            (Refused, false, false, (true, Delivered::No, (1, 0))),
            // It may be the repetition that it refuses.
            (Refused, false, true, (true, Delivered::Unknown, (0, 1))),
            (Refused, true, true, (true, Delivered::Unknown, (0, 1))),
            (Unknown, false, true, (false, Delivered::Queued, (0, 0))),
            (Unknown, true, true, (true, Delivered::Unknown, (0, 1))),
        ] {
            let (mut recipient, mut finished) = (new(), Finished::default());
            settle(&mut recipient, &said(verdict), Fate { given_up, unknown }, &mut finished);
            let got = (finished.failed.len(), finished.unsure.len());
            assert_eq!(
                (recipient.settled, recipient.delivered, got),
                expected,
                "{verdict:?} {given_up} {unknown}"
            );
        }
        // A bounce that was quicker than the relay's own word stands.
        let mut told = Recipient { delivered: Delivered::No, ..new() };
        settle(
            &mut told,
            &said(Accepted),
            Fate { given_up: false, unknown: false },
            &mut Finished::default(),
        );
        assert_eq!((told.settled, told.delivered), (true, Delivered::No));
    }
}
