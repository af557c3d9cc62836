//! `postroom quota`.

use crate::inbox::admin::AdminRequest;
use crate::inbox::admin_quota::{Limit, QuotaChange, QuotaReport};
use clap::Subcommand;

#[derive(Subcommand)]
pub enum Quota {
    /// Give an account limits of its own. At the soft limit clients add nothing more, at the hard
    /// limit nothing more comes in either: the gateway is told to try again later.
    #[command(after_help = "Examples:
  postroom quota set support@example.com --octets 50000000000 --octets-warn 45000000000
  postroom quota set ann@example.com --messages 100000 --messages-soft 99000
  postroom quota set ann@example.com --reset        (the server's limits hold again)")]
    Set {
        email: String,
        #[arg(long, value_name = "OCTETS")]
        octets: Option<u64>,
        #[arg(long, value_name = "OCTETS", requires = "octets")]
        octets_soft: Option<u64>,
        #[arg(long, value_name = "OCTETS", requires = "octets")]
        octets_warn: Option<u64>,
        #[arg(long, value_name = "COUNT")]
        messages: Option<u64>,
        #[arg(long, value_name = "COUNT", requires = "messages")]
        messages_soft: Option<u64>,
        #[arg(long, value_name = "COUNT", requires = "messages")]
        messages_warn: Option<u64>,
        /// Forget the account's own limits, but for those named here.
        #[arg(long)]
        reset: bool,
    },
    /// Show what an account holds and may hold.
    #[command(after_help = "Example:\n  postroom quota show support@example.com --json")]
    Show { email: String },
}

impl Quota {
    /// What it asks.
    pub fn request(self) -> AdminRequest {
        match self {
            Self::Show { email } => AdminRequest::QuotaShow { email },
            Self::Set {
                email,
                octets,
                octets_soft,
                octets_warn,
                messages,
                messages_soft,
                messages_warn,
                reset,
            } => {
                let limit = |hard: Option<u64>, soft, warn| hard.map(|hard| Limit { hard, soft, warn });
                let octets = limit(octets, octets_soft, octets_warn);
                let messages = limit(messages, messages_soft, messages_warn);
                AdminRequest::QuotaSet(QuotaChange { email, octets, messages, reset })
            }
        }
    }
}

/// Prints it for people.
pub fn print(quota: &QuotaReport) {
    for (name, used, limit) in
        [("octets", quota.octets_used, quota.octets), ("messages", quota.messages_used, quota.messages)]
    {
        let shown = |limit: Option<u64>| limit.map_or("-".to_owned(), |limit| limit.to_string());
        let (warn, soft) = (shown(limit.warn), shown(limit.soft));
        println!("{name}: {used} of {} (warn {warn}, soft {soft})", limit.hard);
    }
}
