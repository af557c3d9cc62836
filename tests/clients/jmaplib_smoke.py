"""jmaplib: logs in, lists mailboxes, reads, sets keywords, sends, syncs changes."""

import os

from jmap import CreationRef
from jmap.auth import BasicAuth
from jmap.client import JMAPClient
from jmap.core.patch import keyword_patch
from jmap.sync import ChangeStream

auth = BasicAuth(os.environ["JMAP_USER"], os.environ["JMAP_PASSWORD"])
with JMAPClient.connect(f"https://{os.environ['JMAP_HOST']}/.well-known/jmap", auth=auth) as client:
    with client.batch() as batch:
        mailboxes = batch.mail.mailbox.get(ids=None)
        identities = batch.submission.identity.get(ids=None)
    role = {mailbox.role: mailbox.id for mailbox in mailboxes.result.items}

    with client.batch() as batch:
        found = batch.mail.email.query(
            filter={"inMailbox": role["inbox"]},
            sort=[{"property": "receivedAt", "isAscending": False}],
            limit=10,
            calculate_total=True,
        )
        emails = batch.mail.email.get(
            ids=found.ref_ids(),
            properties=["subject", "from", "receivedAt", "keywords", "textBody", "bodyValues"],
            fetchTextBodyValues=True,
        )
    assert found.result.total == 3, found.result
    oldest = emails.result.items[-1]
    assert oldest.subject == "Question 1" and oldest.from_[0].name == "Marta Lindqvist", oldest
    text = oldest.body_values[oldest.text_body[0].part_id].value
    assert text == "Is this number 1? Grüße\n", repr(text)

    stream = ChangeStream(client, "Email")
    stream.seed(emails.result.state)
    with client.batch() as batch:
        flagged = batch.mail.email.set(update={oldest.id: keyword_patch(add=["$flagged"], remove=["$answered"])})
    assert not flagged.result.has_errors, flagged.result
    changes = stream.catch_up()
    assert list(changes.updated) == [oldest.id] and not changes.created, changes

    identity = identities.result.items[0]
    with client.batch() as batch:
        made = batch.mail.email.set(
            create={
                "draft": {
                    "mailboxIds": {role["drafts"]: True},
                    "keywords": {"$draft": True},
                    "from": [{"email": identity.email, "name": identity.name}],
                    "to": [{"email": "marta@customer.example"}],
                    "subject": os.environ["JMAP_SUBJECT"],
                    "textBody": [{"partId": "body", "type": "text/plain"}],
                    "bodyValues": {"body": {"value": "Yes, it is."}},
                }
            }
        )
        sent = batch.submission.email_submission.set(
            create={"send": {"identityId": identity.id, "emailId": CreationRef("draft")}},
            onSuccessUpdateEmail={
                "#send": {
                    "keywords/$draft": None,
                    f"mailboxIds/{role['drafts']}": None,
                    f"mailboxIds/{role['sent']}": True,
                }
            },
        )
    assert not sent.result.has_errors, sent.result.creation_errors
    mail = made.result.created["draft"].id
    changes = stream.catch_up()
    assert mail in changes.created, changes

    uploaded = client.upload(b"0123456789", content_type="text/plain")
    assert client.download(uploaded.blob_id, name="digits.txt", content_type="text/plain") == b"0123456789"
    assert not client.session_stale
