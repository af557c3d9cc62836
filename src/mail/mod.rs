//! Floor 2: messages. What a message is, which Thread it belongs to, which mailboxes show it, what
//! the lists and counts of a mailbox are.
//!
//! Invariant: an Email enters, changes and leaves only by [`message`], which keeps its Thread, the
//! lists, the counts and the sets true in the same transaction. Team rules are one module up, in
//! `inbox`; nothing here knows them.

pub mod envelope;
pub mod mailbox;
pub mod message;
pub mod outbound;
pub mod thread;
