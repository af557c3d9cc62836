// jmap-jam: logs in, lists mailboxes, reads, sets keywords, sends, syncs changes.
// The library is found in JMAP_MODULES, where `make clients` installs it.

import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const { JMAP_HOST, JMAP_TOKEN, JMAP_SUBJECT, JMAP_MODULES } = process.env;
const entry = createRequire(`${JMAP_MODULES}/`).resolve("jmap-jam");
const { JamClient } = await import(pathToFileURL(entry));

const jam = new JamClient({ bearerToken: JMAP_TOKEN, sessionUrl: `https://${JMAP_HOST}/.well-known/jmap` });
const accountId = await jam.getPrimaryAccount();

const [mailboxes] = await jam.api.Mailbox.get({ accountId, ids: null });
const role = Object.fromEntries(mailboxes.list.map((mailbox) => [mailbox.role, mailbox.id]));

const [{ query, emails }] = await jam.requestMany((t) => {
  const query = t.Email.query({
    accountId,
    filter: { inMailbox: role.inbox },
    sort: [{ property: "receivedAt", isAscending: false }],
    collapseThreads: true,
  });
  const emails = t.Email.get({
    accountId,
    ids: query.$ref("/ids"),
    properties: ["subject", "from", "keywords", "textBody", "bodyValues"],
    fetchTextBodyValues: true,
  });
  return { query, emails };
});
assert.equal(query.ids.length, 3);
const middle = emails.list[1];
assert.equal(middle.subject, "Question 2");
assert.equal(middle.bodyValues[middle.textBody[0].partId].value, "Is this number 2? Grüße\n");

const [flagged] = await jam.api.Email.set({ accountId, update: { [middle.id]: { "keywords/$flagged": true } } });
assert.deepEqual(flagged.updated, { [middle.id]: null });
const [changes] = await jam.api.Email.changes({ accountId, sinceState: emails.state });
assert.deepEqual(changes.updated, [middle.id]);

const [identities] = await jam.api.Identity.get({ accountId, ids: null });
const identity = identities.list[0];
const [draft] = await jam.api.Email.set({
  accountId,
  create: {
    draft: {
      mailboxIds: { [role.drafts]: true },
      keywords: { $draft: true },
      from: [{ email: identity.email, name: identity.name }],
      to: [{ email: "marta@customer.example", name: null }],
      subject: JMAP_SUBJECT,
      textBody: [{ partId: "1", type: "text/plain" }],
      bodyValues: { 1: { value: "Yes, it is." } },
    },
  },
});
const mail = draft.created.draft.id;
const [sent] = await jam.api.EmailSubmission.set({
  accountId,
  create: { send: { identityId: identity.id, emailId: mail } },
  onSuccessUpdateEmail: {
    "#send": {
      "keywords/$draft": null,
      [`mailboxIds/${role.drafts}`]: null,
      [`mailboxIds/${role.sent}`]: true,
    },
  },
});
assert.ok(sent.created.send.id);
const [kept] = await jam.api.Email.get({ accountId, ids: [mail], properties: ["mailboxIds"] });
assert.deepEqual(kept.list[0].mailboxIds, { [role.sent]: true });
const [since] = await jam.api.Email.changes({ accountId, sinceState: emails.state });
assert.ok(since.created.includes(mail));

const uploaded = await jam.uploadBlob(accountId, "0123456789");
assert.equal(uploaded.size, 10);
