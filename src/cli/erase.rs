//! `postroom erase …`.

use crate::auth::Directory;
use crate::inbox::admin_erase::{EraseRequest, ErasedReport};
use crate::mail::indexer;
use crate::mail::search::SearchIndex;
use crate::store::Store;
use clap::Subcommand;
use std::path::PathBuf;

#[derive(Subcommand)]
pub(super) enum Erase {
    /// Erase conversations of an inbox: messages, notes, names and words, in files and full text, too.
    /// The whole store is rewritten once. Backups keep what they have.
    #[command(after_help = "Examples:
  postroom erase now support@example.com --conversation cab
  postroom erase now support@example.com --customer marta@example.org")]
    Now {
        inbox: String,
        #[arg(long, value_name = "ID", required_unless_present = "customer")]
        conversation: Vec<String>,
        /// Every conversation whose customer has this address.
        #[arg(long, value_name = "EMAIL")]
        customer: Option<String>,
    },
    /// List what was erased, without its content.
    #[command(
        after_help = "Example:\n  postroom erase list --json > erased.json    (keep it beside the backups)"
    )]
    List,
    /// Erase again what a list names, after a restore from an older backup.
    #[command(after_help = "Example:\n  postroom erase again erased.json --data ./restored")]
    Again {
        /// What `postroom erase list --json` printed.
        list: PathBuf,
    },
}

impl Erase {
    pub(super) fn request(self) -> Result<EraseRequest, String> {
        Ok(match self {
            Erase::Now { inbox, conversation, customer } => {
                EraseRequest::Now { inbox, conversations: conversation, customer }
            }
            Erase::List => EraseRequest::List,
            Erase::Again { list } => {
                let text = std::fs::read(&list).map_err(|error| format!("{}: {error}", list.display()))?;
                let report: ErasedReport = serde_json::from_slice(&text)
                    .map_err(|error| format!("{} is no list of what was erased: {error}", list.display()))?;
                EraseRequest::Again { erased: report.erased }
            }
        })
    }
}

/// Has full text hear of what was erased, and its files rewritten.
pub(super) fn purge_search(store: &Store, directory: &Directory, search: &SearchIndex) -> Result<(), String> {
    for (account, _) in directory.current().accounts() {
        indexer::catch_up(store, search, account).map_err(|error| error.to_string())?;
    }
    search.purge().map_err(|error| error.to_string())
}

pub(super) fn print(report: &ErasedReport) {
    for one in &report.erased {
        println!("{}\t{}", one.account_id, one.conversation_id);
    }
    println!("{} conversations, {} messages, {} notes", report.erased.len(), report.emails, report.notes);
}
