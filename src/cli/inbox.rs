//! `postroom inbox`.

use crate::inbox::admin::AdminRequest;
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
                AdminRequest::InboxAdd { email, name, aliases: alias, members }
            }
            Self::List => AdminRequest::InboxList,
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
