#!/usr/bin/env python3
"""A client of Postroom in a page, with nothing but Python's own library.

It takes the conversation that has waited longest, of those that nobody else owns, leaves a note, takes the
reply lock, and answers through the send gate; a refusal is told as the server worded it.

    client.py URL EMAIL PASSWORD "The text of the answer"
"""

import base64
import json
import sys
import urllib.error
import urllib.request

CORE, MAIL, SUBMISSION, PRINCIPALS = (
    "urn:ietf:params:jmap:" + name for name in ("core", "mail", "submission", "principals")
)
OWNERSHIP, STATUS, NOTES, LOCKS = (
    "https://postroom.dev/jmap/" + name for name in ("ownership", "status", "notes", "locks")
)
USING = [CORE, MAIL, SUBMISSION, OWNERSHIP, STATUS, NOTES, LOCKS]


class Refused(Exception):
    """A SetError: what the server refused, and why."""

    def __init__(self, error):
        super().__init__(f"{error['type']}: {error.get('description') or ''}")
        self.error = error


class Inbox:
    """One shared inbox, as one of its members sees it."""

    def __init__(self, url, email, password):
        secret = base64.b64encode(f"{email}:{password}".encode()).decode()
        self.headers = {"Authorization": f"Basic {secret}", "Content-Type": "application/json"}
        session = self.http(url + "/.well-known/jmap")
        self.api = session["apiUrl"]
        # An account with our capabilities is an inbox.
        inboxes = [id for id, one in session["accounts"].items() if OWNERSHIP in one["accountCapabilities"]]
        if not inboxes:
            sys.exit(f"{email} is a member of no inbox")
        self.account = inboxes[0]
        capabilities = session["accounts"][self.account]["accountCapabilities"]
        self.me = capabilities[PRINCIPALS]["currentUserPrincipalId"]

    def http(self, url, body=None):
        data = None if body is None else json.dumps(body).encode()
        try:
            with urllib.request.urlopen(urllib.request.Request(url, data, self.headers)) as response:
                return json.load(response)
        except urllib.error.HTTPError as error:
            # Problem details (RFC 7807) say why.
            sys.exit(f"{url}: {error.code} {json.load(error).get('detail', '')}")

    def ask(self, *calls):
        """Each call is (method, arguments); gives the arguments of each response."""
        calls = [[name, {"accountId": self.account, **args}, str(at)] for at, (name, args) in enumerate(calls)]
        answers = self.http(self.api, {"using": USING, "methodCalls": calls})["methodResponses"]
        for name, args, _ in answers:
            if name == "error":
                raise Refused(args)
        return [args for _, args, _ in answers]

    def set(self, kind, **arguments):
        """One object created or updated; what the response says of it."""
        (told,) = self.ask((f"{kind}/set", arguments))
        for refused in ("notCreated", "notUpdated", "notDestroyed"):
            for error in (told[refused] or {}).values():
                raise Refused(error)
        done = told["created"] or told["updated"] or {}
        return next(iter(done.values()), None)


def main(url, email, password, text):
    inbox = Inbox(url, email, password)
    ids = {"resultOf": "0", "name": "Conversation/query", "path": "/ids"}
    threads = {"resultOf": "1", "name": "Conversation/get", "path": "/list/*/threadIds"}
    emails = {"resultOf": "2", "name": "Thread/get", "path": "/list/*/emailIds"}
    free = {"operator": "OR", "conditions": [{"ownerId": "none"}, {"ownerId": "me"}]}
    waiting = {"operator": "AND", "conditions": [{"isWaiting": True}, free]}
    _, found, _, messages = inbox.ask(
        ("Conversation/query", {"filter": waiting, "sort": [{"property": "waitingSince"}], "limit": 1}),
        ("Conversation/get", {"#ids": ids}),
        ("Thread/get", {"#ids": threads}),
        ("Email/get", {"#ids": emails, "properties": ["from", "subject", "messageId", "receivedAt"]}),
    )
    if not found["list"]:
        sys.exit("nobody waits")
    one = found["list"][0]
    newest = max(messages["list"], key=lambda email: email["receivedAt"])
    print(f"{one['customer']['address']} waits since {one['waitingSince']}: {one['subject']}")

    # Nobody else owns it, or this is refused with `ownerMismatch`.
    inbox.set("Conversation", update={one["id"]: {"ownerId": inbox.me}})
    inbox.set("Note", create={"n": {"conversationId": one["id"], "body": "Answered by a *program*."}})
    lock = inbox.set("ReplyLock", create={"l": {"conversationId": one["id"]}})

    # Claim and note were our own doing, which the gate lets pass: what counts is what others did since.
    (drafts,), identity = (
        answer.get("ids") or answer["list"][0]
        for answer in inbox.ask(("Mailbox/query", {"filter": {"role": "drafts"}}), ("Identity/get", {"ids": None}))
    )
    draft = inbox.set("Email", create={"d": {
        "mailboxIds": {drafts: True},
        "keywords": {"$draft": True, "$seen": True},
        "from": [{"name": identity["name"], "email": identity["email"]}],
        "to": newest["from"],
        "subject": "Re: " + newest["subject"].removeprefix("Re: "),
        "inReplyTo": newest["messageId"],
        "references": newest["messageId"],
        "bodyValues": {"text": {"value": text}},
        "textBody": [{"partId": "text", "type": "text/plain"}],
    }})
    sent = inbox.set("EmailSubmission", create={"s": {
        "identityId": identity["id"],
        "emailId": draft["id"],
        "lockToken": lock["token"],
        "ifVersion": one["version"],
        # Asked again with the same key, nothing is sent twice.
        "idempotencyKey": f"answer-to-{newest['messageId'][0]}",
    }})
    print(f"sent as {sent['id']}")


if __name__ == "__main__":
    if len(sys.argv) != 5:
        sys.exit(__doc__)
    try:
        main(*sys.argv[1:])
    except Refused as refused:
        sys.exit(f"refused: {refused}")
