//! Every maximum, in one place, unit last. What the session advertises comes from here too, so
//! that a limit can't be told one way and kept another.

// ── JMAP requests (RFC 8620 §2) ────────────────────────────────────────────────────────────────
/// `maxSizeRequest`.
pub const REQUEST_SIZE_BYTES_MAX: usize = 10 * 1024 * 1024;
/// `maxConcurrentRequests`, per principal.
pub const REQUESTS_CONCURRENT_MAX: usize = 8;
/// `maxCallsInRequest`.
pub const CALLS_IN_REQUEST_MAX: usize = 64;
/// `maxObjectsInGet`.
pub const OBJECTS_IN_GET_MAX: usize = 1000;
/// `maxObjectsInSet`.
pub const OBJECTS_IN_SET_MAX: usize = 500;
/// `maxSizeUpload`, and the largest message taken in or composed.
pub const UPLOAD_SIZE_BYTES_MAX: usize = 50 * 1024 * 1024;
/// `maxConcurrentUpload`, per principal.
pub const UPLOADS_CONCURRENT_MAX: usize = 4;
/// How often a /set is begun anew without the objects that its final state can't have.
pub const SET_ROUNDS_MAX: usize = 16;
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
pub const ATTACHMENTS_SIZE_BYTES_MAX: usize = 50 * 1024 * 1024;
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
/// `preview` (RFC 8621 §4.1.4), in characters.
pub const PREVIEW_CHARS_MAX: usize = 256;
/// Text of one message that full-text search reads.
pub const INDEXED_TEXT_BYTES_MAX: usize = 256 * 1024;

// ── SMTP (RFC 5321 §4.5.3) ─────────────────────────────────────────────────────────────────────
/// Recipients of one transaction.
pub const SMTP_RECIPIENTS_MAX: usize = 1000;
/// A command line with its CR LF; §4.5.3.1.4 asks for 512 and extensions add to it.
pub const SMTP_COMMAND_BYTES_MAX: usize = 2048;
/// Connections in all.
pub const SMTP_CONNECTIONS_MAX: usize = 1000;
/// Connections from one address that isn't a configured gateway.
pub const SMTP_CONNECTIONS_PER_ADDRESS_MAX: usize = 20;
/// Bad commands in one session before it is closed.
pub const SMTP_ERRORS_MAX: usize = 20;
/// Transactions in one session before it is asked to reconnect.
pub const SMTP_TRANSACTIONS_MAX: usize = 10_000;
/// Octets of `Received` fields that say a message runs in circles (RFC 5321 §6.3), as a count.
pub const SMTP_HOPS_MAX: usize = 100;
/// Wait for a command.
pub const SMTP_COMMAND_SECONDS_MAX: u64 = 300;
/// Wait for the next octets of a message.
pub const SMTP_DATA_SECONDS_MAX: u64 = 180;

// ── Submission (RFC 8621 §1.3.2, §7) ───────────────────────────────────────────────────────────
/// Recipients of one submission.
pub const SUBMISSION_RECIPIENTS_MAX: usize = 500;
/// `maxDelayedSend`.
pub const DELAYED_SEND_SECONDS_MAX: u64 = 0;

// ── People ─────────────────────────────────────────────────────────────────────────────────────
/// Argon2 computations at once.
pub const ARGON2_PARALLEL_MAX: usize = 2;
/// A password, in octets.
pub const PASSWORD_BYTES_MAX: usize = 1024;
/// A display name, in octets.
pub const NAME_BYTES_MAX: usize = 255;
/// Failed logins of one address or one account before further ones wait.
pub const LOGIN_FAILURES_FREE_MAX: u32 = 5;
/// The longest that a failed login makes the next one wait.
pub const LOGIN_DELAY_SECONDS_MAX: u64 = 60;
/// Addresses and accounts whose failures are remembered.
pub const LOGIN_FAILURES_TRACKED_MAX: usize = 100_000;
/// Verified passwords that are remembered.
pub const LOGIN_CACHE_ENTRIES_MAX: usize = 10_000;

// ── Push ───────────────────────────────────────────────────────────────────────────────────────
/// EventSource channels of one principal.
pub const EVENTSOURCE_CHANNELS_MAX: usize = 32;
/// The shortest `ping` that is kept, in seconds.
pub const EVENTSOURCE_PING_SECONDS_MIN: u64 = 5;
/// The longest.
pub const EVENTSOURCE_PING_SECONDS_MAX: u64 = 900;

// ── Team ───────────────────────────────────────────────────────────────────────────────────────
/// A note's body.
pub const NOTE_BYTES_MAX: usize = 256 * 1024;
/// Mentions in a note.
pub const NOTE_MENTIONS_MAX: usize = 100;
/// Attachments of a note.
pub const NOTE_ATTACHMENTS_MAX: usize = 50;
/// Tags on a conversation.
pub const TAGS_MAX: usize = 64;
/// One tag or category, in octets.
pub const TAG_BYTES_MAX: usize = 128;
/// The shortest reply lock.
pub const LOCK_SECONDS_MIN: u64 = 15;
/// The longest.
pub const LOCK_SECONDS_MAX: u64 = 600;
/// A reply lock where neither the client nor the inbox says.
pub const LOCK_SECONDS_DEFAULT: u64 = 120;
/// Participants kept of one conversation.
pub const PARTICIPANTS_MAX: usize = 100;

// ── Store ──────────────────────────────────────────────────────────────────────────────────────
/// Rows of one commit, blobs apart.
pub const COMMIT_BYTES_MAX: usize = 1024 * 1024;
/// How long a blob that nothing refers to is kept.
pub const BLOB_GRACE_SECONDS: u64 = 24 * 60 * 60;
/// How long a gateway's repeated delivery is recognised.
pub const DEDUP_SECONDS: u64 = 7 * 24 * 60 * 60;
/// Intake and writes stop below this much free disk.
pub const DISK_FREE_BYTES_MIN: u64 = 256 * 1024 * 1024;
