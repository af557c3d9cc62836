//! `postroom list`: the words of the command line, and how lists are printed.

use crate::inbox::admin_list::{ListLine, ListRequest};
use clap::Subcommand;

/// The subcommands.
#[derive(Subcommand)]
pub enum Lists {
    /// Add a distribution list: what is written to it goes to each of its members.
    #[command(after_help = "Examples:
  postroom list add news@example.com --name News --member ann@example.com --member guest@partner.example
  postroom list add all@example.com --name 'All of us' --post staff --owner ann@example.com")]
    Add {
        email: String,
        #[arg(long)]
        name: String,
        /// Who may write to it: anyone, members, staff, nobody.
        #[arg(long, default_value = "members", value_name = "WHO")]
        post: String,
        /// Whom members turn to; named in List-Owner and List-Unsubscribe.
        #[arg(long, value_name = "EMAIL")]
        owner: Option<String>,
        /// Whoever gets its mail: any address.
        #[arg(long, value_name = "EMAIL")]
        member: Vec<String>,
    },
    /// List all distribution lists.
    #[command(after_help = "Example:\n  postroom list list --json")]
    List,
    /// Show one with its members, and what came back from them.
    #[command(after_help = "Example:\n  postroom list show news@example.com --json")]
    Show { email: String },
    /// Change who may write to it, or its owner.
    #[command(after_help = "Examples:
  postroom list set news@example.com --post staff
  postroom list set news@example.com --post nobody      (it is closed: its address takes no mail)")]
    Set {
        email: String,
        #[arg(long, value_name = "WHO", required_unless_present = "owner")]
        post: Option<String>,
        #[arg(long, value_name = "EMAIL")]
        owner: Option<String>,
    },
    /// Members of a list.
    #[command(subcommand)]
    Member(Member),
}

#[derive(Subcommand)]
pub enum Member {
    /// Add members.
    #[command(
        after_help = "Example:\n  postroom list member add news@example.com bob@example.com cat@example.com"
    )]
    Add {
        list: String,
        #[arg(required = true, value_name = "EMAIL")]
        member: Vec<String>,
    },
    /// Remove a member.
    #[command(after_help = "Example:\n  postroom list member remove news@example.com bob@example.com")]
    Remove { list: String, email: String },
}

impl Lists {
    /// What it asks.
    pub fn request(self) -> ListRequest {
        match self {
            Lists::Add { email, name, post, owner, member } => {
                ListRequest::Add { email, name, posting: post, owner, members: member }
            }
            Lists::List => ListRequest::List,
            Lists::Show { email } => ListRequest::Show { email },
            Lists::Set { email, post, owner } => ListRequest::Set { email, posting: post, owner },
            Lists::Member(Member::Add { list, member }) => {
                ListRequest::MemberAdd { email: list, members: member }
            }
            Lists::Member(Member::Remove { list, email }) => {
                ListRequest::MemberRemove { email: list, member: email }
            }
        }
    }
}

/// Prints lists for people.
pub fn print(lists: &[ListLine]) {
    for list in lists {
        println!("{}\t{}\twritten to by {}", list.email, list.name, list.posting);
        if let Some(owner) = &list.owner {
            println!("\towner\t{owner}");
        }
        for member in &list.members {
            match (&member.last_bounce_at, &member.last_reply) {
                (Some(at), Some(reply)) => {
                    println!(
                        "\tmember\t{}\tcame back {} times, perhaps not delivered {} times, last {at}: {reply}",
                        member.email, member.bounces, member.unsure
                    );
                }
                _ => println!("\tmember\t{}", member.email),
            }
        }
    }
}
