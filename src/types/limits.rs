//! Every maximum, in one place, unit last. What the session advertises comes from here too, so
//! that a limit can't be told one way and kept another.

use std::time::Duration;

// ── JMAP requests (RFC 8620 §2) ────────────────────────────────────────────────────────────────
/// `maxSizeRequest`.
pub const REQUEST_SIZE_BYTES_MAX: usize = 10 * 1024 * 1024;
/// `maxConcurrentRequests`, per principal.
pub const REQUESTS_CONCURRENT_MAX: usize = 8;
/// `maxCallsInRequest`.
pub const CALLS_IN_REQUEST_MAX: usize = 64;
/// Names of properties in one call; most are of header fields, each of which costs its search.
pub const PROPERTIES_MAX: usize = 500;
/// Octets that all responses of one request tell of messages and blobs; content that is read to tell a part
/// of it counts whole.
pub const REQUEST_TELLS_BYTES_MAX: usize = 256 * 1024 * 1024;
/// `maxObjectsInGet`.
pub const OBJECTS_IN_GET_MAX: usize = 1000;
/// `maxObjectsInSet`.
pub const OBJECTS_IN_SET_MAX: usize = 500;
/// Messages and notes that one transaction erases.
pub const ERASE_MESSAGES_MAX: usize = 2_000;
/// `maxSizeUpload`, and the largest message taken in or composed.
pub const UPLOAD_SIZE_BYTES_MAX: usize = 50 * 1024 * 1024;
/// Uploads that one person has in one account at once; the oldest goes for a further one (RFC 8620 §6).
pub const UPLOADS_OF_ONE_MAX: usize = 1000;
/// Octets of these uploads.
pub const UPLOADS_OF_ONE_BYTES_MAX: u64 = 512 * 1024 * 1024;
/// `maxConcurrentUpload`, per principal.
pub const UPLOADS_CONCURRENT_MAX: usize = 4;
/// How often a /set is begun anew without the objects that its final state can't have.
pub const SET_ROUNDS_MAX: usize = 16;
/// `maxDataSources` (RFC 9404 §3.1), which asks for 64 at least.
pub const BLOB_SOURCES_MAX: usize = 256;
/// Octets that one Blob/upload or Blob/copy makes, all its blobs together.
pub const BLOBS_MADE_SIZE_BYTES_MAX: usize = 128 * 1024 * 1024;
/// An Id (RFC 8620 §1.2).
pub const ID_BYTES_MAX: usize = 255;
/// How deep the JSON of a request may nest.
pub const JSON_DEPTH_MAX: usize = 64;
/// How many octets all result references of one request may resolve to.
pub const REFERENCES_SIZE_BYTES_MAX: usize = 10 * 1024 * 1024;
/// Conditions and operators in one filter.
pub const FILTER_NODES_MAX: usize = 128;
/// Comparators in one sort.
pub const COMPARATORS_MAX: usize = 8;
/// Ids that one /query gives without a `limit` of the client's.
pub const QUERY_IDS_MAX: usize = 100_000;
/// Changes that one /changes gives without a `maxChanges` of the client's.
pub const CHANGES_MAX: usize = 10_000;
/// Emails that a filter without an index may look at, one by one.
pub const FILTER_SCAN_EMAILS_MAX: usize = 100_000;

// ── Mail (RFC 8621 §1.3) ───────────────────────────────────────────────────────────────────────
/// `maxMailboxesPerEmail`.
pub const MAILBOXES_PER_EMAIL_MAX: usize = 64;
/// `maxMailboxDepth`.
pub const MAILBOX_DEPTH_MAX: usize = 10;
/// `maxSizeMailboxName`, in octets.
pub const MAILBOX_NAME_BYTES_MAX: usize = 255;
/// Mailboxes in one account.
pub const MAILBOXES_MAX: usize = 2000;
/// `maxSizeAttachmentsPerEmail`.
pub const ATTACHMENTS_SIZE_BYTES_MAX: usize = 35 * 1024 * 1024;
/// Keywords on one Email.
pub const KEYWORDS_PER_EMAIL_MAX: usize = 64;
/// Emails in one Thread; the next message starts a new one.
pub const THREAD_MESSAGES_MAX: usize = 500;
/// Message-ids that one message may be threaded by (RFC 8621 §3): the first and the last ones.
pub const THREAD_REFERENCES_MAX: usize = 32;
/// MIME parts that are parsed in one message; one with more is kept raw and flagged.
pub const MIME_PARTS_MAX: usize = 1000;
/// How deep MIME parts may nest; a message that nests deeper is kept raw and flagged.
pub const MIME_DEPTH_MAX: usize = 50;
/// Header fields kept of one part; a message with more is kept raw and flagged.
pub const HEADER_FIELDS_MAX: usize = 1000;
/// Octets of header fields kept of all parts of one message; one with more is kept raw and flagged.
pub const HEADER_BYTES_MAX: usize = 256 * 1024;
/// `preview` (RFC 8621 §4.1.4), in characters.
pub const PREVIEW_CHARS_MAX: usize = 256;
/// `preview` of a SearchSnippet (RFC 8621 §5), markup included.
pub const SNIPPET_BYTES_MAX: usize = 255;
/// Text of one message that full-text search reads.
pub const INDEXED_TEXT_BYTES_MAX: usize = 256 * 1024;

// ── SMTP (RFC 5321 §4.5.3) ─────────────────────────────────────────────────────────────────────
/// The part of an address before the `@`; VERP and SRS make long ones.
pub const LOCAL_PART_BYTES_MAX: usize = 255;
/// Recipients of one transaction.
pub const SMTP_RECIPIENTS_MAX: usize = 1000;
/// A command line with its CR LF; §4.5.3.1.4 asks for 512 and extensions add to it.
pub const SMTP_COMMAND_BYTES_MAX: usize = 2048;
/// Connections in all.
pub const SMTP_CONNECTIONS_MAX: usize = 1000;
/// Connections from one address that isn't a configured gateway.
pub const SMTP_CONNECTIONS_PER_ADDRESS_MAX: usize = 20;
/// Messages in a minute from one address that isn't a configured gateway, unless the configuration says
/// otherwise.
pub const SMTP_MESSAGES_PER_MINUTE_DEFAULT: u32 = 600;
/// Addresses whose pace is known; beyond it all begin anew.
pub const SMTP_PACED_ADDRESSES_MAX: usize = 100_000;
/// Bad commands in one session before it is closed.
pub const SMTP_ERRORS_MAX: usize = 20;
/// Transactions in one session before it is asked to reconnect.
pub const SMTP_TRANSACTIONS_MAX: usize = 10_000;
/// Octets of `Received` fields that say a message runs in circles (RFC 5321 §6.3), as a count.
pub const SMTP_HOPS_MAX: usize = 100;
/// Delivered-To fields with the recipient's address that say the same.
pub const DELIVERED_TO_MAX: usize = 3;
/// Wait for a command.
pub const SMTP_COMMAND_SECONDS_MAX: u64 = 300;
/// Wait for the next octets of a message.
pub const SMTP_DATA_SECONDS_MAX: u64 = 180;
/// One message from its DATA command to its end, however steadily its octets drip in.
pub const SMTP_MESSAGE_SECONDS_MAX: u64 = 30 * 60;
/// Wait until the client has taken a reply.
pub const SMTP_REPLY_SECONDS_MAX: u64 = 60;
/// Octets of all messages that are being received at one moment.
pub const SMTP_MESSAGES_IN_FLIGHT_BYTES_MAX: usize = 512 * 1024 * 1024;
/// Wait for a share of that budget before the message is refused for now.
pub const SMTP_BUDGET_SECONDS_MAX: u64 = 20;
/// Messages that are being stored at one moment, of all connections.
pub const SMTP_DELIVERIES_MAX: usize = 64;
/// Messages that wait for their turn to be stored; beyond it no recipient is taken.
pub const SMTP_DELIVERIES_WAITING_MAX: usize = 256;
/// Wait for running transactions when the server stops.
pub const SMTP_SHUTDOWN_SECONDS_MAX: u64 = 20;
/// The text of one line of a reply; §4.5.3.1.5 asks for 512 with code and CR LF.
pub const SMTP_REPLY_TEXT_BYTES_MAX: usize = 400;

// ── Relay (RFC 5321 §4.5.3.2) ──────────────────────────────────────────────────────────────────
/// Wait for a connection to the relay, and for the TLS handshake.
pub const RELAY_CONNECT_SECONDS_MAX: u64 = 30;
/// Wait for the greeting and for a reply to any command but DATA.
pub const RELAY_REPLY_SECONDS_MAX: u64 = 300;
/// Wait for the reply to DATA.
pub const RELAY_DATA_SECONDS_MAX: u64 = 120;
/// Wait until the relay has taken a block of the message.
pub const RELAY_BLOCK_SECONDS_MAX: u64 = 180;
/// Wait for the reply to the final dot.
pub const RELAY_FINAL_SECONDS_MAX: u64 = 600;
/// One handover in all. It must end before the queue's lease, [`RELAY_LEASE_SECONDS`], does.
pub const RELAY_HANDOVER_SECONDS_MAX: u64 = 14 * 60;
const _: () = assert!(RELAY_HANDOVER_SECONDS_MAX < RELAY_LEASE_SECONDS);
/// Wait for the reply to QUIT, when the outcome is known already.
pub const RELAY_QUIT_SECONDS_MAX: u64 = 5;
/// One reply of the relay, all its lines.
pub const RELAY_REPLY_BYTES_MAX: usize = 64 * 1024;

// ── Submission (RFC 8621 §1.3.2, §7) ───────────────────────────────────────────────────────────
/// Recipients of one submission.
pub const SUBMISSION_RECIPIENTS_MAX: usize = 500;
/// Of these, the addresses that an inbox adds to whatever its members send.
pub const AUTOMATIC_BCC_MAX: usize = 10;
/// ENVID as xtext (RFC 3461 §4.4), in characters.
pub const DSN_ENVID_CHARS_MAX: usize = 100;
/// ORCPT with an address as xtext (RFC 3461 §4.2), in characters.
pub const DSN_ORCPT_CHARS_MAX: usize = 500;
/// Addresses that one disposition notification goes to (RFC 9007).
pub const MDN_RECIPIENTS_MAX: usize = 5;
/// A field of the report in it that a client gives.
pub const MDN_FIELD_BYTES_MAX: usize = 256;
/// Such fields of its own kind.
pub const MDN_EXTENSIONS_MAX: usize = 20;
/// Its subject or its text, as it is given and as it is read.
pub const MDN_TEXT_BYTES_MAX: usize = 64 * 1024;
/// One VacationResponse body, in octets.
pub const VACATION_BODY_BYTES_MAX: usize = 64 * 1024;
/// How long a sender who was answered gets no other automatic answer.
pub const VACATION_ANSWER_SECONDS: u64 = 24 * 60 * 60;
/// Automatic answers of one account in that time: beyond it nobody is answered.
pub const VACATION_ANSWERS_PER_DAY_MAX: usize = 1000;
/// Octets that an account may hold where nobody says otherwise.
pub const QUOTA_OCTETS_DEFAULT: u64 = 1 << 40;
/// Messages that an account may hold where nobody says otherwise.
pub const QUOTA_MESSAGES_DEFAULT: u64 = 10_000_000;
/// Submissions of one Email that a report is looked up for.
pub const REPORTED_SUBMISSIONS_MAX: usize = 100;
/// Reports of one kind kept for one submission; a flood of them says nothing new.
pub const REPORTS_PER_SUBMISSION_MAX: usize = 1000;
/// A message of ours to so many recipients is one to many: each answer is a request of its own.
pub const BROADCAST_RECIPIENTS_MIN: usize = 10;
/// Text of a bounce without a standard form that is looked through.
pub const BOUNCE_TEXT_BYTES_MAX: usize = 16 * 1024;
/// Identities of one account, those of all members counted.
pub const IDENTITIES_MAX: usize = 1000;
/// `maxDelayedSend`, in seconds.
pub const DELAYED_SEND_SECONDS_MAX: u64 = 366 * 24 * 60 * 60;

// ── People ─────────────────────────────────────────────────────────────────────────────────────
/// Argon2 computations at once.
pub const ARGON2_PARALLEL_MAX: usize = 2;
/// A password, in octets.
pub const PASSWORD_BYTES_MAX: usize = 1024;
/// A display name, in octets.
pub const NAME_BYTES_MAX: usize = 255;
/// Addresses of one inbox.
pub const INBOX_ADDRESSES_MAX: usize = 100;
/// Addresses that a distribution list passes its mail on to.
pub const LIST_SUBSCRIBERS_MAX: usize = 1000;
/// What is kept of what a mail system said.
pub const LIST_BOUNCE_REPLY_BYTES_MAX: usize = 500;
/// People in a team.
pub const TEAM_MEMBERS_MAX: usize = 1000;
/// Failed logins of one address or one account before further ones wait.
pub const LOGIN_FAILURES_FREE_MAX: u32 = 5;
/// The longest that a failed login makes the next one wait.
pub const LOGIN_DELAY_SECONDS_MAX: u64 = 60;
/// After so long half of the failures are forgotten.
pub const LOGIN_FAILURES_HALVE: Duration = Duration::from_secs(600);
/// Addresses and accounts whose failures are remembered.
pub const LOGIN_FAILURES_TRACKED_MAX: usize = 100_000;
/// Logins that wait for their turn to be verified; further ones are asked to come again.
pub const LOGIN_WAITING_MAX: usize = 64;
/// Verified passwords that are remembered.
pub const LOGIN_CACHE_ENTRIES_MAX: usize = 10_000;
/// Session objects kept ready, for all logins.
pub const SESSIONS_KEPT_MAX: usize = 1024;
/// The longest base of our URLs, as a client asked for it, for which a Session object is kept.
pub const BASE_URL_BYTES_MAX: usize = 255;

// ── Push ───────────────────────────────────────────────────────────────────────────────────────
/// EventSource and WebSocket channels of one principal.
pub const CHANNELS_MAX: usize = 32;
/// The shortest `ping` that is kept, in seconds.
pub const EVENTSOURCE_PING_SECONDS_MIN: u64 = 5;
/// The longest.
pub const EVENTSOURCE_PING_SECONDS_MAX: u64 = 900;
/// Answers and StateChanges that wait until a WebSocket takes them; requests that would add more wait.
pub const WEBSOCKET_QUEUE_MAX: usize = 8;
/// How often a WebSocket that says nothing is pinged.
pub const WEBSOCKET_PING_SECONDS: u64 = 30;
/// Pings without any answer before the channel is given up.
pub const WEBSOCKET_PINGS_UNANSWERED_MAX: u32 = 3;
/// Wait until a WebSocket has taken one message.
pub const WEBSOCKET_SEND_SECONDS_MAX: u64 = 60;
/// How long a WebSocket that a client's fault ended stays, so that the client reads why.
pub const WEBSOCKET_CLOSE_SECONDS_MAX: u64 = 2;
/// How long a WebSocket ticket opens a channel.
pub const WEBSOCKET_TICKET_SECONDS: u64 = 60;
/// Tickets that wait to be used, of one principal.
pub const WEBSOCKET_TICKETS_PER_PRINCIPAL_MAX: usize = 32;

/// Push subscriptions of one principal, those of all their app passwords counted.
pub const PUSH_SUBSCRIPTIONS_PER_PRINCIPAL_MAX: usize = 50;
/// Creations of push subscriptions by one principal in an hour: each posts to a URL that nobody verified.
pub const PUSH_CREATIONS_PER_HOUR_MAX: usize = 100;
/// The URL of a push subscription.
pub const PUSH_URL_BYTES_MAX: usize = 2048;
/// Its `deviceClientId`.
pub const PUSH_DEVICE_ID_BYTES_MAX: usize = 255;
/// Types that it names.
pub const PUSH_TYPES_MAX: usize = 64;
/// The most that `expires` lies ahead; RFC 8620 §7.2 asks for 7 days at least.
pub const PUSH_EXPIRES_SECONDS_MAX: u64 = 30 * 24 * 60 * 60;
/// A subscription that isn't verified is dropped after this time.
pub const PUSH_VERIFY_SECONDS_MAX: u64 = 24 * 60 * 60;
/// Pushes on their way at once.
pub const PUSHES_CONCURRENT_MAX: usize = 16;
/// One push from resolving the name to the status.
pub const PUSH_POST_SECONDS_MAX: u64 = 30;
/// How long a push service may keep a push (RFC 8030 §5.2).
pub const PUSH_TTL_SECONDS: u64 = 24 * 60 * 60;
/// How often it is written down what was pushed: after a crash no more than that is pushed again.
pub const PUSH_POSITIONS_SECONDS: u64 = 15 * 60;
/// Between two pushes of one subscription; what changes meanwhile is told together.
pub const PUSH_REST_MILLISECONDS: u64 = 500;
/// The longest such rest that 429s lead to.
pub const PUSH_THROTTLED_REST_SECONDS_MAX: u64 = 15 * 60;
/// Wait before a push that failed is tried again; it doubles with every further failure.
pub const PUSH_RETRY_SECONDS_MIN: u64 = 5;
/// The longest such wait.
pub const PUSH_RETRY_SECONDS_MAX: u64 = 60 * 60;
/// A subscription whose pushes have failed so long is dropped.
pub const PUSH_GIVE_UP_SECONDS: u64 = 3 * 24 * 60 * 60;

// ── Team ───────────────────────────────────────────────────────────────────────────────────────
/// A note's body.
pub const NOTE_BYTES_MAX: usize = 256 * 1024;
/// Earlier versions that are kept of one note, and their octets in all; the oldest ones go.
pub const NOTE_VERSIONS_MAX: usize = 50;
pub const NOTE_VERSIONS_BYTES_MAX: usize = 512 * 1024;
/// Days for which an inbox may keep what notes said before edits.
pub const RETENTION_DAYS_MAX: u32 = 36_500;
/// Mentions in a note.
pub const NOTE_MENTIONS_MAX: usize = 100;
/// Attachments of a note.
pub const NOTE_ATTACHMENTS_MAX: usize = 50;
/// Conversations that a filter or sort without a list of its own may look at, one by one.
pub const FILTER_SCAN_CONVERSATIONS_MAX: usize = 100_000;
/// The same of notes.
pub const FILTER_SCAN_NOTES_MAX: usize = 100_000;
/// The same of activities.
pub const FILTER_SCAN_ACTIVITIES_MAX: usize = 100_000;
/// Categories, resolutions or trusted senders that an inbox lists, each.
pub const WORDS_MAX: usize = 200;
/// An inbox's guide and its signature, each.
pub const GUIDE_BYTES_MAX: usize = 64 * 1024;
/// Tags on a conversation.
pub const TAGS_MAX: usize = 64;
/// One tag or category, in octets.
pub const TAG_BYTES_MAX: usize = 128;
/// How long a presence lease lives after its last sign of life.
pub const PRESENCE_SECONDS: u64 = 30;
/// Presence leases of one member in an inbox.
pub const PRESENCES_PER_MEMBER_MAX: usize = 32;
/// Presence leases in an inbox.
pub const PRESENCES_PER_INBOX_MAX: usize = 10_000;
/// The shortest reply lock.
pub const LOCK_SECONDS_MIN: u64 = 15;
/// The longest.
pub const LOCK_SECONDS_MAX: u64 = 600;
/// A reply lock where neither the client nor the inbox says.
pub const LOCK_SECONDS_DEFAULT: u64 = 120;
/// Notifications of changed rights that are kept for a person (RFC 9670 §3).
pub const SHARE_NOTIFICATIONS_MAX: usize = 100;
/// Participants kept of one conversation.
pub const PARTICIPANTS_MAX: usize = 100;
/// `reopenWithin` where the inbox doesn't say.
pub const REOPEN_WITHIN_DAYS_DEFAULT: u32 = 30;
/// A plain client's second submission sooner than this is its own retry, not a person's yes.
pub const PLAIN_YES_SECONDS_MIN: u64 = 10;
/// A later one is asked again.
pub const PLAIN_YES_SECONDS_MAX: u64 = 10 * 60;
/// How long a state that a member set is safe from another's full replacement of `mailboxIds`.
pub const STALE_COPY_SECONDS_MAX: u64 = 60 * 60;
/// How long the same content by the same principal is taken for the same submission.
pub const DUPLICATE_SEND_SECONDS_MAX: u64 = 24 * 60 * 60;
/// How long a refusal of level block asks for `acknowledge`.
pub const BLOCK_REMEMBERED_SECONDS_MAX: u64 = 24 * 60 * 60;

// ── Store ──────────────────────────────────────────────────────────────────────────────────────
/// Rows of one commit, blobs apart: so many that 500 conversations of three messages are closed or claimed in one.
pub const COMMIT_BYTES_MAX: usize = 4 * 1024 * 1024;
/// How long the change logs tell of a change; an older state gives `cannotCalculateChanges`.
pub const LOG_KEPT_SECONDS: u64 = 30 * 24 * 60 * 60;
/// Commits of one account that its logs tell of at most, however young they are.
pub const LOG_COMMITS_MAX: u64 = 1_000_000;
/// The logs' position is written down so often, and an entry may be kept so much longer.
pub const LOG_MARK_SECONDS: u64 = 24 * 60 * 60;
/// How often what is kept for a time only is swept.
pub const SWEEP_INTERVAL_SECONDS: u64 = 60 * 60;
/// Rows that one commit of a sweep takes away.
pub const SWEEP_ROWS_MAX: usize = 1000;
/// The newest Emails among which those are looked for that a push tells of.
pub const EMAIL_PUSH_LOOKED_AT_MAX: usize = 100;
/// Emails that one look pushes; of more that come at once the newest.
pub const EMAIL_PUSH_EMAILS_MAX: usize = 20;
/// Properties of an Email that a subscription may name.
pub const EMAIL_PUSH_PROPERTIES_MAX: usize = 64;
/// Octets of a subscription's filter.
pub const EMAIL_PUSH_FILTER_BYTES_MAX: usize = 4096;
/// Octets of one request to the admin socket: the largest message in base64, and some.
pub const ADMIN_REQUEST_BYTES_MAX: usize = 80 * 1024 * 1024;
/// Trace header fields at the begin of a message that comes in again, behind each of which it may be known;
/// our own delivery adds three.
pub const KNOWN_BEHIND_FIELDS_MAX: usize = 8;
/// The line before a message of an mbox; a longer one is a line of a letter.
pub const MBOX_SEPARATOR_BYTES_MAX: usize = 1000;
/// Octets of messages after which a page of an export ends.
pub const EXPORT_PAGE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// How long a blob that nothing refers to is kept.
pub const BLOB_GRACE_SECONDS: u64 = 24 * 60 * 60;
/// How long a gateway's repeated delivery is recognised.
pub const DEDUP_SECONDS: u64 = 7 * 24 * 60 * 60;
/// Intake and writes stop below this much free disk.
pub const DISK_FREE_BYTES_MIN: u64 = 256 * 1024 * 1024;
/// The longest that the relay queue's worker sleeps, so that a moved clock is noticed, and what comes due meanwhile.
pub const RELAY_SLEEP_MAX: Duration = Duration::from_millis(500);
/// How long a handover to the relay may take before another one may begin.
pub const RELAY_LEASE_SECONDS: u64 = 15 * 60;
/// Wait before the second attempt to hand a message over; it doubles with every further one.
pub const RELAY_RETRY_SECONDS_MIN: u64 = 10;
/// The longest such wait.
pub const RELAY_RETRY_SECONDS_MAX: u64 = 60 * 60;
/// After this time a message that the relay doesn't take has failed.
pub const RELAY_GIVE_UP_SECONDS: u64 = 3 * 24 * 60 * 60;
/// After this time the sender of a message that the relay doesn't take is told that it is late.
pub const RELAY_WARN_SECONDS: u64 = 4 * 60 * 60;
/// Handovers at once, through all relays.
pub const RELAY_HANDOVERS_MAX: usize = 64;
/// Those through one relay, unless the configuration says otherwise.
pub const RELAY_CONNECTIONS_MAX: usize = 8;
/// Of these, to recipients in one domain.
pub const RELAY_CONNECTIONS_PER_DESTINATION_MAX: usize = 4;
/// How long a relay that failed is asked last; it doubles with every further failure.
pub const RELAY_DOWN_SECONDS_MIN: u64 = 5;
/// The longest such time.
pub const RELAY_DOWN_SECONDS_MAX: u64 = 10 * 60;
/// How long one message is waited for that shows whether a relay answers again.
pub const RELAY_PROBE_SECONDS: u64 = 60;
/// How long a connection to a relay is kept open for the next message.
pub const RELAY_IDLE_SECONDS_MAX: u64 = 5;
/// Messages over one connection to a relay.
pub const RELAY_MESSAGES_PER_CONNECTION_MAX: u32 = 100;
/// Due submissions that the queue's worker knows of at once; each takes some 300 octets.
pub const RELAY_WAITING_MAX: usize = 100_000;
/// How often a message is sent again of which nobody knows whether the relay took it.
pub const UNCERTAIN_RESENDS_MAX: u32 = 1;
/// Merges that are followed from a conversation to the one that has its messages now.
pub const MERGE_HOPS_MAX: usize = 64;
/// Other conversations that a message which bridges them names.
pub const BRIDGED_CONVERSATIONS_MAX: usize = 16;
/// Messages and notes that one merge or split moves; they go in one commit.
pub const MERGE_MESSAGES_MAX: usize = 500;
/// Messages of a conversation; what comes then begins another one, which names it. All of them move in one commit.
pub const CONVERSATION_MESSAGES_MAX: u32 = 1000;
/// What moving one of them writes at most, about.
pub const MOVED_EMAIL_BYTES: usize = 640;

// ── Full text ──────────────────────────────────────────────────────────────────────────────────
/// A folded word in the index; a longer one is cut, in a query as well.
pub const SEARCH_WORD_BYTES_MAX: usize = 64;
/// An address that is indexed whole. With its place it must fit the octet that holds its length.
pub const SEARCH_ADDRESS_BYTES_MAX: usize = 250;
/// Text of one condition of a filter.
pub const SEARCH_TEXT_BYTES_MAX: usize = 8 * 1024;
/// Words of one condition, those of its phrases counted.
pub const SEARCH_WORDS_MAX: usize = 64;
/// Different words that one `word*` may stand for, in one segment of the index.
pub const SEARCH_PREFIX_TERMS_MAX: usize = 20_000;
/// Messages added or removed that the index hasn't committed; intake of text waits beyond.
pub const TAIL_MESSAGES_MAX: usize = 1024;
/// Terms of messages that the index hasn't committed; intake of text waits beyond.
pub const TAIL_SIZE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Entries that wait to be committed, those that only move an account's position counted.
pub const TAIL_ENTRIES_MAX: usize = 16 * 1024;
/// The index commits at so many messages added or removed …
pub const SEARCH_COMMIT_MESSAGES: usize = 512;
/// … or at so many octets of terms …
pub const SEARCH_COMMIT_SIZE_BYTES: usize = 16 * 1024 * 1024;
/// … or when the oldest has waited so long.
pub const SEARCH_COMMIT_SECONDS_MAX: u64 = 30;
/// Positions alone are committed when one has waited so long.
pub const SEARCH_POSITIONS_SECONDS_MAX: u64 = 600;
/// The index writer and its memory are dropped after so long without work.
pub const SEARCH_WRITER_IDLE_SECONDS: u64 = 10;
/// Heap of the index writer.
pub const SEARCH_WRITER_HEAP_BYTES: usize = 32 * 1024 * 1024;
/// Attempts at a commit before the index is given up and rebuilt.
pub const SEARCH_COMMIT_ATTEMPTS_MAX: u32 = 5;

// ── HTTP ───────────────────────────────────────────────────────────────────────────────────────
/// Connections at once; more wait unaccepted.
pub const HTTP_CONNECTIONS_MAX: usize = 4096;
/// Wait for the header of a request, for the next octets of its body, and for a TLS handshake, where the
/// configuration doesn't say.
pub const HTTP_WAIT_SECONDS_DEFAULT: u64 = 60;
/// A request's body in all, however steadily its octets drip in.
pub const HTTP_BODY_SECONDS_MAX: u64 = 30 * 60;
/// A request's id that a proxy gave.
pub const REQUEST_ID_BYTES_MAX: usize = 64;
/// What a log line shows of a request's path.
pub const LOGGED_PATH_BYTES_MAX: usize = 256;
/// Octets of answers that wait on one HTTP/2 stream.
pub const HTTP2_SEND_BYTES_MAX: usize = 256 * 1024;
/// Octets of a request's header.
pub const HTTP_HEADER_BYTES_MAX: usize = 64 * 1024;
/// Connections at once to the figures for operators.
pub const METRICS_CONNECTIONS_MAX: usize = 16;
/// Octets that an answer has at least to be compressed for who takes that.
pub const HTTP_COMPRESSED_BYTES_MIN: u64 = 1024;
/// Requests at once on one HTTP/2 connection.
pub const HTTP2_STREAMS_MAX: u32 = 100;
/// Octets beyond a body's limit that are read and thrown away, so that the client hears why.
pub const HTTP_DISCARDED_BYTES_MAX: usize = 64 * 1024 * 1024;
