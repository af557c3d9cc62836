//! `postroom inbox`.

use crate::inbox::admin::AdminRequest;
use crate::inbox::admin_inbox::{InboxChange, InboxRequest};
use clap::Subcommand;

#[derive(Subcommand)]
pub enum Inbox {
    /// Add an inbox.
    #[command(after_help = "Examples:
  postroom inbox add support@example.com --name Support
  postroom inbox add support@example.com --name Support --alias help@example.com \\
      --member ann@example.com:admin --member bob@example.com:agent

Roles: observer (reads), agent (works and replies), lead (takes over), admin.")]
    Add {
        email: String,
        #[arg(long)]
        name: String,
        /// A further address of the inbox.
        #[arg(long, value_name = "EMAIL")]
        alias: Vec<String>,
        /// A member and their role.
        #[arg(long, value_name = "EMAIL:ROLE")]
        member: Vec<String>,
    },
    /// List all inboxes with their members.
    #[command(after_help = "Example:\n  postroom inbox list --json")]
    List,
    /// Change the name or the addresses of an inbox.
    #[command(after_help = "Examples:
  postroom inbox set support@example.com --name 'Example Support'
  postroom inbox set support@example.com --alias jobs@example.com --remove-alias help@example.com
  postroom inbox set support@example.com --email hello@example.com

Mail to an address that is removed is refused from then on, and what waits to be sent from it is held.
A lead can change the name, and an admin the addresses within their domains, in InboxSettings, too.")]
    Set {
        /// Any address of the inbox.
        inbox: String,
        #[arg(long)]
        name: Option<String>,
        /// Its own address from now on; the one of before stays as an alias.
        #[arg(long)]
        email: Option<String>,
        /// A further address of the inbox; *@example.com takes all that is left of a domain.
        #[arg(long, value_name = "EMAIL")]
        alias: Vec<String>,
        /// An address that isn't the inbox's any more.
        #[arg(long, value_name = "EMAIL")]
        remove_alias: Vec<String>,
    },
    /// Members of an inbox.
    #[command(subcommand)]
    Member(Member),
}

#[derive(Subcommand)]
pub enum Member {
    /// Add a member, or change their role.
    #[command(after_help = "Example:\n  postroom inbox member add support@example.com bob@example.com:lead")]
    Add {
        inbox: String,
        #[arg(value_name = "EMAIL:ROLE")]
        member: String,
    },
    /// Remove a member; what they own becomes unowned.
    #[command(after_help = "Example:\n  postroom inbox member remove support@example.com bob@example.com")]
    Remove { inbox: String, email: String },
}

impl Inbox {
    /// What it asks.
    pub fn request(self) -> Result<AdminRequest, String> {
        Ok(match self {
            Self::Add { email, name, alias, member } => {
                let members = member.iter().map(|text| member_and_role(text)).collect::<Result<_, _>>()?;
                AdminRequest::Inbox(InboxRequest::Add { email, name, aliases: alias, members })
            }
            Self::List => AdminRequest::Inbox(InboxRequest::List),
            Self::Set { inbox, name, email, alias, remove_alias } => {
                let (add, remove) = (alias, remove_alias);
                AdminRequest::Inbox(InboxRequest::Set(InboxChange { inbox, name, email, add, remove }))
            }
            Self::Member(Member::Add { inbox, member }) => {
                let (email, role) = member_and_role(&member)?;
                AdminRequest::MemberAdd { inbox, email, role }
            }
            Self::Member(Member::Remove { inbox, email }) => AdminRequest::MemberRemove { inbox, email },
        })
    }
}

fn member_and_role(text: &str) -> Result<(String, String), String> {
    text.rsplit_once(':')
        .map(|(email, role)| (email.to_owned(), role.to_owned()))
        .ok_or_else(|| format!("{text:?} is not EMAIL:ROLE, such as ann@example.com:agent"))
}
