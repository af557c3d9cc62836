"""jmapc: logs in, lists mailboxes, reads, sets keywords, sends, syncs changes."""

import os

from jmapc import (
    Client,
    Comparator,
    Email,
    EmailAddress,
    EmailBodyPart,
    EmailBodyValue,
    EmailQueryFilterCondition,
    EmailSubmission,
    Ref,
)
from jmapc.methods import (
    CoreEcho,
    EmailChanges,
    EmailGet,
    EmailQuery,
    EmailQueryChanges,
    EmailSet,
    EmailSubmissionGet,
    EmailSubmissionSet,
    IdentityGet,
    MailboxChanges,
    MailboxGet,
    SearchSnippetGet,
    ThreadGet,
)

client = Client.create_with_api_token(os.environ["JMAP_HOST"], os.environ["JMAP_TOKEN"])
assert client.jmap_session.username == os.environ["JMAP_USER"]
echo = client.request(CoreEcho(data={"hello": "world"}), raise_errors=True)
assert echo.data == {"hello": "world"}, echo

mailboxes = client.request(MailboxGet(ids=None), raise_errors=True)
by_role = {mailbox.role: mailbox.id for mailbox in mailboxes.data}
inbox = EmailQueryFilterCondition(in_mailbox=by_role["inbox"])
newest_first = [Comparator(property="receivedAt", is_ascending=False)]
found, mails, threads = client.request(
    [
        EmailQuery(filter=inbox, sort=newest_first, collapse_threads=True, limit=10, calculate_total=True),
        EmailGet(ids=Ref("/ids"), fetch_all_body_values=True),
        ThreadGet(ids=Ref("/list/*/threadId")),
    ],
    raise_errors=True,
)
assert found.response.total == 3, found
newest = mails.response.data[0]
assert newest.subject == "Question 3" and newest.mail_from[0].email == "marta@customer.example", newest
body = newest.body_values[newest.text_body[0].part_id].value
assert body == "Is this number 3? Grüße\n", repr(body)
assert len(threads.response.data) == 3

state, mailbox_state = mails.response.state, mailboxes.state
changed = client.request(
    EmailSet(update={newest.id: {"keywords/$flagged": True, "keywords/$seen": True}}), raise_errors=True
)
assert newest.id in changed.updated, changed
changes = client.request(EmailChanges(since_state=state), raise_errors=True)
assert changes.updated == [newest.id] and not changes.created, changes
again = client.request(EmailGet(ids=[newest.id], properties=["keywords"]), raise_errors=True)
assert again.data[0].keywords == {"$flagged": True, "$seen": True}, again
snippets = client.request(
    SearchSnippetGet(ids=[newest.id], filter=EmailQueryFilterCondition(text="number")), raise_errors=True
)
assert "<mark>number</mark>" in snippets.data[0].preview, snippets

identity = client.request(IdentityGet(), raise_errors=True).data[0]
draft = Email(
    mailbox_ids={by_role["drafts"]: True},
    keywords={"$draft": True},
    mail_from=[EmailAddress(name=identity.name, email=identity.email)],
    to=[EmailAddress(name="Marta", email="marta@customer.example")],
    subject=os.environ["JMAP_SUBJECT"],
    body_values={"1": EmailBodyValue(value="Yes, it is.")},
    text_body=[EmailBodyPart(part_id="1", type="text/plain")],
)
made, sent, *implicit = client.request(
    [
        EmailSet(create={"draft": draft}),
        EmailSubmissionSet(
            create={"send": EmailSubmission(email_id="#draft", identity_id=identity.id)},
            on_success_update_email={
                "#send": {
                    "keywords/$draft": None,
                    f"mailboxIds/{by_role['drafts']}": None,
                    f"mailboxIds/{by_role['sent']}": True,
                }
            },
        ),
    ],
    raise_errors=True,
)
mail, submission = made.response.created["draft"].id, sent.response.created["send"].id
assert len(implicit) == 1 and mail in implicit[0].response.updated, implicit
told = client.request(EmailSubmissionGet(ids=[submission]), raise_errors=True)
assert told.data[0].email_id == mail, told
kept = client.request(EmailGet(ids=[mail], properties=["mailboxIds", "keywords"]), raise_errors=True).data[0]
assert kept.mailbox_ids == {by_role["sent"]: True} and "$draft" not in kept.keywords, kept

changes = client.request(EmailChanges(since_state=state), raise_errors=True)
assert mail in changes.created and newest.id in changes.updated and not changes.has_more_changes, changes
moved = client.request(MailboxChanges(since_state=mailbox_state), raise_errors=True)
assert by_role["sent"] in moved.updated, moved
query = client.request(
    EmailQueryChanges(
        filter=inbox, sort=newest_first, since_query_state=found.response.query_state, collapse_threads=True
    ),
    raise_errors=True,
)
assert query.old_query_state == found.response.query_state, query
