//! `postroom queue`: the words of the command line, and how the queue is printed.

use crate::inbox::admin_queue::{QueueReport, QueueRequest};
use clap::Subcommand;

/// The subcommands.
#[derive(Subcommand)]
pub enum Queue {
    /// List what waits to be handed to the relay, the longest waiting first.
    #[command(after_help = "Example:\n  postroom queue list --json")]
    List,
    /// Show one submission: who waits, and what the relay said.
    #[command(after_help = "Example:\n  postroom queue show ab-s7")]
    Show { id: String },
    /// Try now, whatever it waits for.
    #[command(after_help = "Examples:\n  postroom queue retry ab-s7\n  postroom queue retry --all")]
    Retry {
        #[arg(required_unless_present = "all", conflicts_with = "all")]
        id: Option<String>,
        /// Everything that waits.
        #[arg(long)]
        all: bool,
    },
    /// Take one out: who hasn't got it never will, and its sender is told so.
    #[command(after_help = "Example:\n  postroom queue cancel ab-s7")]
    Cancel { id: String },
    /// Hand nothing over any more, until `resume`. What is being handed over ends first.
    #[command(after_help = "Example:\n  postroom queue pause && postroom queue list")]
    Pause,
    /// Go on after `pause`.
    #[command(after_help = "Example:\n  postroom queue resume")]
    Resume,
}

impl Queue {
    /// What it asks.
    pub fn request(self) -> QueueRequest {
        match self {
            Queue::List => QueueRequest::List,
            Queue::Show { id } => QueueRequest::Show(id),
            Queue::Retry { id, .. } => QueueRequest::Retry(id),
            Queue::Cancel { id } => QueueRequest::Cancel(id),
            Queue::Pause => QueueRequest::Pause,
            Queue::Resume => QueueRequest::Resume,
        }
    }
}

/// Prints the queue for people.
pub fn print(report: &QueueReport) {
    for entry in &report.entries {
        let uncertain = match (&entry.perhaps_at, entry.uncertain) {
            (_, 0) => String::new(),
            (None, _) => ", perhaps relayed already".to_owned(),
            (Some(relay), _) => format!(", perhaps relayed already by {relay}"),
        };
        println!(
            "{}\t{}{uncertain}\tnext {}\tattempts {}\tfrom {}\t{}",
            entry.id, entry.state, entry.next_at, entry.attempts, entry.from, entry.subject
        );
        for recipient in &entry.recipients {
            let reply = recipient.reply.as_deref().unwrap_or_default();
            println!("\t{}\t{}\t{reply}", recipient.state, recipient.email);
        }
    }
    for relay in &report.relays {
        let whose = if relay.senders.is_empty() { "others".to_owned() } else { relay.senders.join(" ") };
        print!("relay {}\t{}\tfor {whose}\tpriority {}", relay.name, relay.state, relay.priority);
        match (&relay.down_until, &relay.error) {
            (Some(until), Some(error)) => println!("\tasked last until {until}: {error}"),
            _ => println!(),
        }
    }
    println!("{} in the queue", report.entries.len());
    if report.paused {
        println!("PAUSED: nothing is handed over until `postroom queue resume`");
    }
}
