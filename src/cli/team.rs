//! `postroom team`.

use crate::inbox::admin_team::TeamRequest;
use clap::Subcommand;

#[derive(Subcommand)]
pub enum Team {
    /// Add a team. An inbox knows it once it has one of the inbox's members.
    #[command(
        after_help = "Example:\n  postroom team add Billing --member ann@example.com --member bob@example.com"
    )]
    Add {
        name: String,
        #[arg(long, value_name = "EMAIL")]
        member: Vec<String>,
    },
    /// List all teams with their people.
    #[command(after_help = "Example:\n  postroom team list --json")]
    List,
    /// Give nothing new to a team; what it has keeps its name.
    #[command(after_help = "Example:\n  postroom team disable Billing")]
    Disable { team: String },
    /// Put somebody into a team.
    #[command(after_help = "Example:\n  postroom team join Billing cat@example.com")]
    Join { team: String, email: String },
    /// Take somebody out of a team.
    #[command(after_help = "Example:\n  postroom team leave Billing cat@example.com")]
    Leave { team: String, email: String },
}

impl Team {
    /// What it asks.
    pub fn request(self) -> TeamRequest {
        match self {
            Team::Add { name, member } => TeamRequest::Add { name, members: member },
            Team::List => TeamRequest::List,
            Team::Disable { team } => TeamRequest::Disable { team },
            Team::Join { team, email } => TeamRequest::MemberAdd { team, email },
            Team::Leave { team, email } => TeamRequest::MemberRemove { team, email },
        }
    }
}
